#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""instructions.py PROGRAM BUILD EXPECTED [--accept REASON] [--report FILE] - instructions per operation, and what they were.

Runs each workload of PROGRAM (instructions.c) under callgrind and compares with the figures in EXPECTED. One that grew by
more than 5 % fails (exit code 1); one that fell by more is worth a line. --accept writes the measured figures to EXPECTED
and adds a line there: when, why, and what they were before.

Figures of another compiler, machine or kind of build are others. BUILD says what PROGRAM was built with; when that is not
what EXPECTED was taken with, or valgrind is missing, nothing is compared: exit code 77, and the reason in words.
--report: lines that should be seen although nothing failed go there as well; the file is removed when there are none.
"""
import argparse
import concurrent.futures
import datetime
import os
import re
import shutil
import subprocess
import sys
import tempfile

TOLERANCE = 0.05
PASSED, FAILED, NOT_COMPARED = 0, 1, 77
BUILD_FIELDS = ("compiler", "machine", "build")
FILE_HEADER = """# SPDX-License-Identifier: Apache-2.0
# Instructions per operation of the workloads in instructions.c. Written by ./dev instructions --accept "REASON".
"""
# The C library picks its routines by the processor: the same ones everywhere. No symbol is looked up while it counts.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-AVX,-ERMS,-FSRM,-SSE4_2,-BMI2,-SSSE3,-AVX_Fast_Unaligned_Load",
               "LD_BIND_NOW": "1", "PATH": os.environ.get("PATH", os.defpath)}


class Failure(Exception):
    """What makes a comparison impossible and must not be taken for a good one."""


# ---- the file with the figures --------------------------------------------------------------------------------------


class Figures:
    """Build fields, libc, figures by workload, and the lines on what was accepted when and why."""

    def __init__(self, fields, figures, history=()):
        self.fields, self.figures, self.history = fields, figures, list(history)

    def write(self, path):
        lines = [f"{name} {text}" for name, text in self.fields.items()]
        lines += [f"figure {name} {value:.1f}" for name, value in self.figures.items()]
        with open(path, "w", encoding="utf-8") as file:
            file.write(FILE_HEADER + "\n".join(lines + self.history) + "\n")


def fields_read(path):
    with open(path, encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(" ", 1) for line in file if " " in line)


def figures_read(path):
    fields, figures, history = {}, {}, []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            word, _, rest = line.strip().partition(" ")
            match = re.fullmatch(r"(\w+) (\d+\.\d)", rest)
            if word == "figure" and match:
                figures[match.group(1)] = float(match.group(2))
            elif word == "accepted":
                history.append(line.rstrip("\n"))
            elif word in BUILD_FIELDS + ("libc",):
                fields[word] = rest
            elif word and word != "#":
                raise Failure(f"{path}:{number}: not understood: {line.strip()}")
    return Figures(fields, figures, history)


# ---- comparing ------------------------------------------------------------------------------------------------------


def comparable(name, text):
    """Of a compiler its name and major version matter."""
    return re.sub(r"^(\S+ \d+)\..*", r"\1", text or "nothing") if name == "compiler" else text


def why_not(build, recorded):
    for name in BUILD_FIELDS:
        mine, theirs = comparable(name, build.get(name)), comparable(name, recorded.fields.get(name))
        if mine != theirs:
            return f"{name} is {mine}, the figures are of {theirs}"
    return None


def compare(recorded, measured):
    """Lines on what failed, lines worth reading."""
    failures, notes = [], []
    for name, value in measured.items():
        before = recorded.figures.get(name)
        if before is None:
            failures.append(f"{name}: {value:.1f} instructions per operation, and no figure to compare with")
            continue
        change = f"{name}: {before:.1f} -> {value:.1f} instructions per operation ({100 * (value / before - 1):+.1f} %)"
        if value > before * (1 + TOLERANCE):
            failures.append(change)
        elif value < before * (1 - TOLERANCE):
            notes.append(change)
    failures += [f"{name}: a figure, and no such workload" for name in recorded.figures if name not in measured]
    return failures, notes


def changes(before, after):
    names = list(dict.fromkeys(list(before) + list(after)))
    show = lambda figures, name: f"{figures[name]:.1f}" if name in figures else "none"
    return [f"{name} {show(before, name)} -> {show(after, name)}" for name in names
            if show(before, name) != show(after, name)]


# ---- measuring ------------------------------------------------------------------------------------------------------


def measure_one(program, workload):
    with tempfile.TemporaryDirectory(prefix="nokv-instructions-") as folder:
        out = os.path.join(folder, "callgrind.out")
        run = subprocess.run(
            ["valgrind", "--tool=callgrind", "--toggle-collect=measured", f"--callgrind-out-file={out}", program, workload],
            env=dict(ENVIRONMENT, TMPDIR=folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        operations = re.search(r"^operations (\d+)$", run.stdout, re.MULTILINE)
        if run.returncode != 0 or not operations:
            raise Failure(f"{workload}: exit code {run.returncode}\n{run.stdout}{run.stderr}")
        with open(out, encoding="utf-8") as file:
            total = re.search(r"^totals: (\d+)$", file.read(), re.MULTILINE)
    if not total or int(total.group(1)) == 0:
        raise Failure(f"{workload}: callgrind counted nothing: is measured() in {program}?")
    return int(total.group(1)) / int(operations.group(1))


def measure_all(program):
    """Two at a time."""
    names = subprocess.run([program, "--list"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        values = pool.map(lambda name: measure_one(program, name), names)
        return {name: round(value, 1) for name, value in zip(names, values)}


# ---- the command ----------------------------------------------------------------------------------------------------


def accept(args, build, measured):
    before = figures_read(args.expected) if os.path.exists(args.expected) else Figures({}, {})
    changed = changes(before.figures, measured)
    fields = dict(build, libc=os.confstr("CS_GNU_LIBC_VERSION"))
    changed += [f"{name} {before.fields[name]} -> {fields[name]}" for name in BUILD_FIELDS
                if before.fields.get(name, fields[name]) != fields[name]]
    if not changed:
        print("nothing to accept: the figures are what they were")
        return PASSED
    line = f"accepted {datetime.date.today()}: {args.accept.strip()}: {', '.join(changed)}"
    Figures(fields, measured, before.history + [line]).write(args.expected)
    print(line)
    return PASSED


def check(args, build, measure):
    """Exit code, lines to print, lines to report."""
    recorded = figures_read(args.expected)
    reason = why_not(build, recorded) or (None if shutil.which("valgrind") else "valgrind is not installed")
    if reason:
        line = f"instructions: not compared: {reason}"
        return NOT_COMPARED, [line], [line]
    measured = measure(args.program)
    failures, notes = compare(recorded, measured)
    table = [f"{name:12} {value:10.1f}  was {recorded.figures.get(name, 0):10.1f}" for name, value in measured.items()]
    if notes:
        notes = [f"instructions: fell, {line}" for line in notes]
        notes.append('instructions: so that they stay there: ./dev instructions --accept "REASON"')
    if not failures:
        return PASSED, table + notes, notes
    failures = [f"instructions: grew by more than {100 * TOLERANCE:.0f} %, or is new or gone:"] + failures
    if recorded.fields.get("libc") != os.confstr("CS_GNU_LIBC_VERSION"):
        failures.append(f"the figures are of {recorded.fields.get('libc')}, this is {os.confstr('CS_GNU_LIBC_VERSION')}")
    failures.append('If it has to be so: ./dev instructions --accept "REASON", and commit the file with the change.')
    return FAILED, table + notes + failures, []


def report_write(path, lines):
    if lines:
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    elif os.path.exists(path):
        os.remove(path)


def main(argv, measure=measure_all):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("program", "build", "expected"):
        parser.add_argument(name)
    parser.add_argument("--accept", metavar="REASON")
    parser.add_argument("--report", metavar="FILE")
    args = parser.parse_args(argv)
    try:
        build = fields_read(args.build)
        if args.accept is not None:
            if not args.accept.strip() or "\n" in args.accept:
                raise Failure("--accept wants a reason, of one line")
            if not build.get("build", "").startswith("Release "):
                raise Failure("figures are accepted from a release build only")
            return accept(args, build, measure(args.program))
        code, lines, notes = check(args, build, measure)
    except (Failure, OSError) as error:
        print(f"instructions: {error}")
        return FAILED
    print("\n".join(lines))
    if args.report:
        report_write(args.report, notes)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
