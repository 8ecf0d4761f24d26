# SPDX-License-Identifier: Apache-2.0
"""The files that the style checks look at, and C text with its comments and strings blanked out.

Files are those that git knows or would add; without git (an unpacked archive), all but build trees.
"""
import os
import re
import subprocess

TEXT_SUFFIXES = (".c", ".h", ".cc", ".py", ".sh", ".cmake", ".txt", ".md", ".in", ".map", ".json", ".yml")
TEXT_NAMES = ("dev", "run", ".clang-format", ".clang-tidy", ".gitignore")


def tree_files(root):
    """Paths relative to root, sorted, of the text files."""
    try:
        out = subprocess.run(
            ["git", "-c", f"safe.directory={os.path.realpath(root)}", "-C", root, "ls-files", "-z", "--cached",
             "--others", "--exclude-standard"],
            check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        names = [name for name in out.stdout.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = walk_files(root)
    names = [n for n in names if n.endswith(TEXT_SUFFIXES) or os.path.basename(n) in TEXT_NAMES]
    return sorted({n for n in names if os.path.isfile(os.path.join(root, n))})


def walk_files(root):
    names = []
    for folder, dirs, files in os.walk(root):
        dirs[:] = [d for d in dirs if d != ".git" and not (folder == root and d.startswith("build"))]
        names += [os.path.relpath(os.path.join(folder, f), root) for f in files]
    return names


def read_text(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        return file.read()


C_NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def code_only(text):
    """C text in which comments and literals are blanks; line numbers stay."""
    return C_NOISE.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


class Findings:
    """Collects complaints as `path:line: rule: what`."""

    def __init__(self):
        self.lines = []

    def add(self, path, line, rule, what):
        self.lines.append(f"{path}:{line}: {rule}: {what}")

    def finish(self, name, file_count):
        """Print; the exit code of a check. A check that looked at nothing has failed."""
        for line in self.lines:
            print(line)
        print(f"{name}: {file_count} files, {len(self.lines)} findings")
        return 1 if self.lines or file_count == 0 else 0
