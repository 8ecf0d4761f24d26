#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""coverage.py lines|mcdc ROOT BUILD [--html DIR] [--missing WHAT] - what the tests that ran in BUILD have reached of src/.

lines: lines and branches by module, out of gcc's counters through gcovr (gcovr.cfg says what is not counted and why).
mcdc: modified condition/decision coverage, out of clang's, of the code that has to be right after a crash: write-ahead
log, MANIFEST, recovery. A condition is covered when tests have shown that it alone changes the decision.

--missing lists what was not reached of a module (db) or file (db/write.c); --html writes gcovr's pages below DIR.
"""
import argparse
import glob
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LINES_TARGET, BRANCHES_TARGET, MCDC_TARGET = 95.0, 90.0, 95.0
MCDC_FILES = ("src/rlog/*.c", "src/lsm/manifest.c", "src/lsm/edit.c", "src/db/recover*.c")
ASSERT = re.compile(r"\bASSERT\(")  # as in gcovr.cfg


class Count:
    """How many there are of something, and how many were reached."""

    def __init__(self):
        self.total = self.reached = 0

    def add(self, total, reached):
        self.total += total
        self.reached += reached

    def percent(self):
        return 100.0 * self.reached / self.total if self.total else 100.0

    def __str__(self):
        return f"{self.percent():6.1f} %  {self.reached:6} of {self.total:6}"


def source_lines(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read().splitlines()


def is_wanted(path, what):
    """Is src/db/write.c meant by db, by db/write.c or by src/db?"""
    return what is not None and ("/" + path).find("/" + what.removeprefix("src/")) >= 0


# ---- lines and branches ----------------------------------------------------------------------------------------------


def gcovr(root, build, html):
    out = os.path.join(build, "coverage.json")
    command = ["gcovr", "--config", os.path.join(HERE, "gcovr.cfg"), "--root", root, "--filter",
               re.escape(root) + "/src/", "-j", str(os.cpu_count() or 1), "--json", out, os.path.join(build, "src")]
    if html:
        os.makedirs(html, exist_ok=True)
        command[-1:-1] = ["--html-details", os.path.join(html, "index.html")]
    subprocess.run(command, check=True, cwd=root)
    with open(out, encoding="utf-8") as file:
        files = json.load(file)["files"]
    if not files:
        raise SystemExit(f"coverage: no test has run in {build} yet")
    return files


def counted(file):
    return [line for line in file["lines"] if not line["gcovr/noncode"]]


def print_missing_lines(root, file):
    text = source_lines(root, file["file"])
    for line in counted(file):
        number, branches = line["line_number"], line["branches"]
        missed = sum(branch["count"] == 0 for branch in branches)
        if line["count"] == 0:
            why = "not reached"
        elif missed:
            why = f"{missed} of {len(branches)} branches"
        else:
            continue
        print(f"{file['file']}:{number}: {why:20} {text[number - 1].strip()}")


def report_lines(root, build, given):
    modules, whole = {}, (Count(), Count())
    for file in gcovr(root, build, given.html):
        module = file["file"].split("/")[1]
        for lines, branches in (modules.setdefault(module, (Count(), Count())), whole):
            for line in counted(file):
                lines.add(1, line["count"] > 0)
                branches.add(len(line["branches"]), sum(branch["count"] > 0 for branch in line["branches"]))
        if is_wanted(file["file"], given.missing):
            print_missing_lines(root, file)
    print(f"{'module':8} {'lines':28} {'branches':28}")
    for module, (lines, branches) in sorted(modules.items()):
        print(f"{module:8} {lines}   {branches}")
    print(f"{'src':8} {whole[0]}   {whole[1]}")
    good = whole[0].percent() >= LINES_TARGET and whole[1].percent() >= BRANCHES_TARGET
    print(f"coverage: {LINES_TARGET:.0f} % of lines and {BRANCHES_TARGET:.0f} % of branches are wanted: "
          f"{'reached' if good else 'not reached'}")
    return 0 if good else 1


# ---- conditions of decisions -----------------------------------------------------------------------------------------


def programs(build):
    out = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"], check=True, stdout=subprocess.PIPE)
    commands = [test.get("command", [""])[0] for test in json.loads(out.stdout)["tests"]]
    return sorted({path for path in commands if path.startswith(os.path.abspath(build) + os.sep)})


def llvm_cov(root, build):
    profiles = glob.glob(os.path.join(build, "profiles", "*.profraw"))
    if not profiles:
        raise SystemExit(f"coverage: no test has run in {build} yet")
    merged = os.path.join(build, "merged.profdata")
    subprocess.run(["llvm-profdata-19", "merge", "-sparse", "-o", merged, *profiles], check=True)
    sources = sorted(path for pattern in MCDC_FILES for path in glob.glob(os.path.join(root, pattern)))
    first, *others = programs(build)
    objects = [word for program in others for word in ("-object", program)]
    out = subprocess.run(["llvm-cov-19", "export", "-format=text", "-instr-profile", merged, first, *objects,
                          "-sources", *sources], check=True, stdout=subprocess.PIPE)
    return json.loads(out.stdout)["data"][0]["files"]


def decisions_of(root, file):
    """(first line, first column): for each condition, was it shown to matter?"""
    text = source_lines(root, file["filename"])
    found = {}
    for record in file.get("mcdc_records", []):
        place, shown = (record[0], record[1]), record[-1]
        if ASSERT.search(text[place[0] - 1]):
            continue
        before = found.get(place, [False] * len(shown))
        found[place] = [a or b for a, b in zip(before, shown)]
    return found


def print_missing_conditions(root, path, decisions):
    text = source_lines(root, path)
    for (line, _), shown in sorted(decisions.items()):
        if not all(shown):
            which = ", ".join(str(i + 1) for i, one in enumerate(shown) if not one)
            print(f"{path}:{line}: condition {which} of {len(shown)}: {text[line - 1].strip()}")


def report_mcdc(root, build, given):
    whole = Count()
    rows = []
    for file in llvm_cov(root, build):
        path = os.path.relpath(file["filename"], root)
        decisions, conditions = decisions_of(root, file), Count()
        for shown in decisions.values():
            conditions.add(len(shown), sum(shown))
            whole.add(len(shown), sum(shown))
        rows.append((path, len(decisions), conditions))
        if is_wanted(path, given.missing):
            print_missing_conditions(root, path, decisions)
    print(f"{'file':26} {'decisions':>9}   conditions")
    for path, count, conditions in rows:
        print(f"{path:26} {count:9}   {conditions}")
    print(f"{'all of them':26} {'':9}   {whole}")
    good = whole.total > 0 and whole.percent() >= MCDC_TARGET
    print(f"coverage: {MCDC_TARGET:.0f} % of conditions are wanted: {'reached' if good else 'not reached'}")
    return 0 if good else 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["lines", "mcdc"])
    parser.add_argument("root")
    parser.add_argument("build")
    parser.add_argument("--html")
    parser.add_argument("--missing")
    given = parser.parse_args()
    report = report_lines if given.kind == "lines" else report_mcdc
    return report(os.path.realpath(given.root), os.path.abspath(given.build), given)


if __name__ == "__main__":
    sys.exit(main())
