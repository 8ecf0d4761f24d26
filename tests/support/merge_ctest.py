#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""merge_ctest.py OUT TREE=PREFIX[:LABEL]... - one ctest directory that runs the tests of several build trees.

Reads each build/TREE through `ctest --show-only=json-v1` and writes OUT/CTestTestfile.cmake, in which every test has its
tree's prefix, so that one summary line counts them all and a failure says in which tree it was; of a tree with a label,
only the tests that have it. Trees with a prefix are slower, or again the same: NOKV_TEST_SCALE=10 is set for them
unless the environment says otherwise. Slow tests start first.
"""
import json
import os
import subprocess
import sys

# Properties whose value is a list of test or fixture names, which get the prefix too.
NAMES = {"DEPENDS", "FIXTURES_CLEANUP", "FIXTURES_REQUIRED", "FIXTURES_SETUP"}

def quoted(text):
    """A CMake bracket argument: nothing inside is expanded."""
    text = str(text)
    fence = "="
    while f"]{fence}]" in text:
        fence += "="
    return f"[{fence}[{text}]{fence}]"


def property_text(name, value, prefix):
    if isinstance(value, list):
        if name in NAMES:
            value = [prefix + item for item in value]
        return ";".join(str(item) for item in value)
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return str(value)


def test_lines(test, prefix):
    name = prefix + test["name"]
    if "command" not in test:
        raise SystemExit(f"merge_ctest: {name} has no command: was its tree built?")
    properties = {p["name"]: p["value"] for p in test.get("properties", [])}
    if prefix and "NOKV_TEST_SCALE" not in os.environ:
        properties.setdefault("ENVIRONMENT", []).append("NOKV_TEST_SCALE=10")
    if "slow" in properties.get("LABELS", []):
        properties.setdefault("COST", 1000)
    command = " ".join(quoted(word) for word in test["command"])
    lines = [f"add_test({quoted(name)} {command})"]
    for key, value in properties.items():
        text = property_text(key, value, prefix)
        lines.append(f"set_tests_properties({quoted(name)} PROPERTIES {key} {quoted(text)})")
    return lines


def labels(test):
    return [label for p in test.get("properties", []) if p["name"] == "LABELS" for label in p["value"]]


def tree_tests(tree):
    out = subprocess.run(["ctest", "--test-dir", tree, "--show-only=json-v1"], check=True, stdout=subprocess.PIPE)
    return json.loads(out.stdout)["tests"]


def main():
    out_dir, trees = sys.argv[1], [arg.partition("=") for arg in sys.argv[2:]]
    lines = []
    for tree, _, how in trees:
        prefix, _, label = how.partition(":")
        for test in tree_tests(os.path.join(os.path.dirname(out_dir), tree)):
            if not label or label in labels(test):
                lines += test_lines(test, prefix)
    os.makedirs(out_dir, exist_ok=True)
    with open(os.path.join(out_dir, "CTestTestfile.cmake"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
