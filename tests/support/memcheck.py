#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""memcheck.py BUILD SUPPRESSIONS [TEST...] - the quick unit tests of a build under valgrind's memcheck.

A test fails when it fails by itself, when it accesses what is not its own, when something depends on a value that was
never set (which the sanitizers of ./dev asan do not see), or when memory is left that nothing points to. Slow tests are
the same programs with more rounds, so they are left out.
"""
import concurrent.futures
import json
import os
import subprocess
import sys

SECONDS_MAX = 1200
FOUND = 99  # exit code when valgrind has something to say
SKIPPED = 77


def unit_tests(build, names):
    out = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"], check=True, stdout=subprocess.PIPE)
    folder = os.path.join(os.path.abspath(build), "tests", "unit") + os.sep
    found = {}
    for test in json.loads(out.stdout)["tests"]:
        properties = {p["name"]: p["value"] for p in test.get("properties", [])}
        if test.get("command", [""])[0].startswith(folder) and "quick" in properties.get("LABELS", []):
            found[test["name"]] = test["command"]
    unknown = [name for name in names if name not in found]
    if unknown:
        raise SystemExit(f"memcheck: no quick unit test is called {', '.join(unknown)}")
    return {name: command for name, command in found.items() if not names or name in names}


def valgrind(suppressions, command):
    """The exit code, and what was printed."""
    options = ["--quiet", f"--error-exitcode={FOUND}", "--leak-check=full", "--show-leak-kinds=definite,indirect",
               "--errors-for-leak-kinds=definite,indirect", "--child-silent-after-fork=yes", "--fair-sched=yes",
               f"--suppressions={suppressions}",
               # a store that faults is repeated behind the SIGBUS handler: its registers must be what they were
               "--vex-iropt-register-updates=allregs-at-mem-access"]
    environment = dict(os.environ)
    environment.setdefault("NOKV_TEST_SCALE", "10")
    try:
        done = subprocess.run(["valgrind", *options, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=environment, timeout=SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired as expired:
        return -1, f"it did not end within {SECONDS_MAX} s\n{(expired.stdout or b'').decode(errors='replace')}"
    return done.returncode, done.stdout.decode(errors="replace")


def main():
    build, suppressions, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    tests, failed = unit_tests(build, names), []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        runs = {pool.submit(valgrind, suppressions, command): name for name, command in tests.items()}
        for run in concurrent.futures.as_completed(runs):
            code, output = run.result()
            name = runs[run]
            print(f"{name}: {'sound' if code == 0 else 'skipped' if code == SKIPPED else 'FOUND'}", flush=True)
            if code not in (0, SKIPPED):
                failed.append(name)
                print(output, flush=True)
    print(f"memcheck: {len(tests)} tests, {len(failed)} with findings: {' '.join(sorted(failed)) or 'none'}")
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
