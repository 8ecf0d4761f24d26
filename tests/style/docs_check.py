#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs_check.py ROOT - what the documents say of the tree is so.

Links lead to files and headings that exist; a path of ours in code quotes exists; the table in docs/errors.md is that of
include/nokv/status.h (docs_check.py ROOT --write-errors brings it in step); docs/dependencies.md names each package of
cmake/packages.txt.
"""
import os
import re
import sys

from source_tree import Findings, read_text, tree_files

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
QUOTED_PATH = re.compile(r"`((?:src|tests|docs|include|tools|bench|cmake)/[\w./-]+)`")
STATUS = re.compile(r'X\((NOKV_\w+), (\d+), "([^"]*)"\)')
ERRORS_DOC = "docs/errors.md"


def blank(match):
    return re.sub(r"[^\n]", " ", match.group(0))


def heading_anchors(text):
    """The anchors of a document's headings, as code hosts make them."""
    anchors = set()
    for line in CODE_BLOCK.sub(blank, text).splitlines():
        if line.startswith("#"):
            title = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            anchors.add(title.replace(" ", "-"))
    return anchors


def check_link(root, path, number, target, findings):
    if re.match(r"[a-z]+:", target):
        return
    name, _, anchor = target.partition("#")
    file = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
    if not os.path.exists(os.path.join(root, file)):
        findings.add(path, number, "link", f"{target} leads nowhere")
    elif anchor and file.endswith(".md") and anchor not in heading_anchors(read_text(root, file)):
        findings.add(path, number, "link", f"{target}: no such heading")


def check_document(root, path, findings):
    text = CODE_BLOCK.sub(blank, read_text(root, path))
    for match in LINK.finditer(text):
        check_link(root, path, text.count("\n", 0, match.start()) + 1, match.group(1), findings)
    for match in QUOTED_PATH.finditer(text):
        if not os.path.exists(os.path.join(root, match.group(1))):
            findings.add(path, text.count("\n", 0, match.start()) + 1, "path", f"{match.group(1)} does not exist")


def errors_table(root):
    rows = ["| code | number | meaning |", "| --- | ---: | --- |"]
    for name, number, text in STATUS.findall(read_text(root, "include/nokv/status.h")):
        rows.append(f"| `{name}` | {number} | {text} |")
    return "\n".join(rows) + "\n"


def check_errors(root, findings):
    if errors_table(root) not in read_text(root, ERRORS_DOC):
        findings.add(ERRORS_DOC, 1, "errors", "the table differs from include/nokv/status.h "
                     "(python3 tests/style/docs_check.py . --write-errors)")
    for name, _, _ in STATUS.findall(read_text(root, "include/nokv/status.h")):
        if f"### {name}\n" not in read_text(root, ERRORS_DOC):
            findings.add(ERRORS_DOC, 1, "errors", f"no section on {name}")


def write_errors(root):
    text = read_text(root, ERRORS_DOC)
    table = re.compile(r"^\| code \| number.*?(?=^[^|]|\Z)", re.MULTILINE | re.DOTALL)
    with open(os.path.join(root, ERRORS_DOC), "w", encoding="utf-8") as file:
        file.write(table.sub(lambda _: errors_table(root) + "\n", text, count=1).replace("\n\n\n", "\n\n"))


def check_packages(root, findings):
    document = read_text(root, "docs/dependencies.md")
    for number, line in enumerate(read_text(root, "cmake/packages.txt").splitlines(), 1):
        if line and not line.startswith("#") and f"`{line.split()[1]}`" not in document:
            findings.add("cmake/packages.txt", number, "package", f"{line.split()[1]} is not in docs/dependencies.md")


def check_tree(root, findings):
    files = [path for path in tree_files(root) if path.endswith(".md")]
    for path in files:
        check_document(root, path, findings)
    check_errors(root, findings)
    check_packages(root, findings)
    return len(files)


if __name__ == "__main__":
    if sys.argv[2:] == ["--write-errors"]:
        write_errors(sys.argv[1])
        sys.exit(0)
    found = Findings()
    sys.exit(found.finish("docs", check_tree(sys.argv[1], found)))
