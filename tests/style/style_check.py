#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""style_check.py ROOT - the rules of this code that a line-by-line look can check.

For all text: the SPDX line, no marks of unfinished work, no path of somebody's machine, at most 1,000 lines.
For C: an opening comment, include guards named after the path, functions of at most 70 lines, 120 columns, no typedef
and no _t in the engine, a comment above each test. For src/: the kernel is reached through src/io only, the heap through
base/alloc.c only, and a library neither prints nor exits.
"""
import os
import re
import sys

from source_tree import Findings, code_only, read_text, tree_files

FILE_LINES_MAX = 1000
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 120

# Written in two parts, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
MACHINE_PATH = re.compile(r"(?<![\w.}/-])/(?:ho" r"me|ro" r"ot|wo" r"rk|Us" r"ers)/[\w.]")

KERNEL = re.compile(
    r"(?<![\w.>])(?:open|openat|creat|close|read|write|pread|pwrite|readv|writev|preadv2?|pwritev2?|lseek|fsync|fdatasync|"
    r"syncfs|sync_file_range|fallocate|posix_fallocate|posix_fadvise|readahead|ftruncate|truncate|copy_file_range|mmap|"
    r"munmap|mremap|madvise|posix_madvise|msync|mincore|mlock|rename|renameat2?|link|unlink|unlinkat|mkdir|mkdirat|rmdir|"
    r"opendir|readdir|closedir|stat|fstat|lstat|fstatat|statx|statvfs|access|fcntl|flock|ioctl|fopen|fdopen|fread|fwrite|"
    r"fclose|fflush|remove|mkstemp|syscall|io_uring_(?!state\b)\w+|nanosleep|clock_nanosleep|usleep|sleep|clock_gettime|gettimeofday|"
    r"time)\s*\(")
KERNEL_ALLOWED = {("src/base/thread.c", "clock_gettime"), ("src/base/arena.c", "madvise"),
                  ("src/base/alloc.c", "mmap"), ("src/base/alloc.c", "munmap")}  # the clock; memory without a file
HEAP = re.compile(
    r"(?<![\w.>])(?:malloc|calloc|realloc|reallocarray|free|strdup|strndup|asprintf|vasprintf|aligned_alloc|posix_memalign|"
    r"open_memstream|getline)\s*\(")
PRINTING = re.compile(r"(?<![\w.>])(?:printf|vprintf|puts|putchar|perror|exit|_exit|abort|fprintf|fputs|system|popen)\s*\(")
PRINTING_ALLOWED = {("src/base/base.c", "fprintf"), ("src/base/base.c", "abort")}

NO_SPDX = (".md", ".json")


def is_c(path):
    return path.endswith((".c", ".h"))


def check_text(path, text, findings):
    lines = text.splitlines()
    if not path.endswith(NO_SPDX) and "SPDX-License-Identifier: Apache-2.0" not in "\n".join(lines[:2]):
        if os.path.basename(path) not in (".gitignore", ".clang-format", ".clang-tidy") and not path.endswith(".in"):
            findings.add(path, 1, "spdx", "no SPDX line")
    if len(lines) > FILE_LINES_MAX:
        findings.add(path, len(lines), "length", f"{len(lines)} lines; {FILE_LINES_MAX} is the limit")
    for number, line in enumerate(lines, 1):
        if UNFINISHED.search(line):
            findings.add(path, number, "unfinished", "a mark of unfinished work")
        if MACHINE_PATH.search(line):
            findings.add(path, number, "machine-path", "a path that exists on one machine only")
        if line != line.rstrip():
            findings.add(path, number, "space", "blanks at the end of the line")


def check_functions(path, text, findings):
    """A function's body begins and ends with a brace in the first column (clang-format sees to that)."""
    start = None
    for number, line in enumerate(text.splitlines(), 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            if number - start - 1 > FUNCTION_LINES_MAX:
                findings.add(path, start, "function", f"{number - start - 1} lines; {FUNCTION_LINES_MAX} is the limit")
            start = None


def guard_is_good(path, text):
    """In the engine the guard is the path below src/ or include/; elsewhere it ends in the file's name."""
    match = re.search(r"^#ifndef (\w+)\n#define \1\n", text, re.MULTILINE)
    if not match:
        return False
    if path.startswith(("src/", "include/")):
        return match.group(1) == re.sub(r"\W", "_", path.split("/", 1)[1]).upper()
    return match.group(1).endswith(re.sub(r"\W", "_", os.path.basename(path)).upper())


def check_c(path, text, findings):
    lines = text.splitlines()
    if path.endswith(".c") and not (len(lines) > 1 and lines[1].startswith("/*")):
        findings.add(path, 2, "opening", "a .c file opens with a comment below its SPDX line")
    if path.endswith(".h") and not guard_is_good(path, text):
        findings.add(path, 1, "guard", "no include guard that is named after the path")
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX:
            findings.add(path, number, "columns", f"{len(line)} columns; {COLUMNS_MAX} is the limit")
    check_functions(path, text, findings)


TEST_FUNCTION = re.compile(r"^static void \w+\(void \*\*\w+\)$")


def check_tests(path, text, findings):
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if TEST_FUNCTION.match(line) and not (number > 1 and re.search(r"\*/\s*$|^//", lines[number - 2])):
            findings.add(path, number, "sentence", "above a test stands a sentence that says what it shows")


def calls(pattern, code):
    for match in pattern.finditer(code):
        yield code.count("\n", 0, match.start()) + 1, match.group(0).rstrip("( \t\n")


def check_engine(path, text, findings):
    code = code_only(text)
    for number, line in enumerate(code.splitlines(), 1):
        if re.search(r"\btypedef\b", line):
            findings.add(path, number, "typedef", "no typedef in the engine")
        if re.search(r"\b(?:struct|enum|union)\s+\w+_t\b", line):
            findings.add(path, number, "suffix", "no _t in the engine")
    if not path.startswith("src/io/"):
        for number, name in calls(KERNEL, code):
            if (path, name) not in KERNEL_ALLOWED:
                findings.add(path, number, "kernel", f"{name}() outside of src/io")
    if path != "src/base/alloc.c":
        for number, name in calls(HEAP, code):
            findings.add(path, number, "heap", f"{name}() outside of base/alloc.c")
    for number, name in calls(PRINTING, code):
        if (path, name) not in PRINTING_ALLOWED:
            findings.add(path, number, "printing", f"{name}(): a library neither prints nor exits")


def check_tree(root, findings):
    files = tree_files(root)
    for path in files:
        text = read_text(root, path)
        check_text(path, text, findings)
        if is_c(path):
            check_c(path, text, findings)
        if is_c(path) and path.startswith("src/"):
            check_engine(path, text, findings)
        if path.startswith("tests/") and path.endswith(".c"):
            check_tests(path, text, findings)
    return len(files)


if __name__ == "__main__":
    found = Findings()
    sys.exit(found.finish("style", check_tree(sys.argv[1], found)))
