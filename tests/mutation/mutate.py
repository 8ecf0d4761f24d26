#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mutate.py ROOT BUILD [--list] [--write-list] [--check] [--named] [--jobs N] [NN...] - do the tests notice bugs planted by hand?

patches/NN-name.patch plants one bug each and says in its header what it is, of which class of real bugs, and which tests
must catch it. For each (or for those that are named by their numbers) a scratch copy of the tree below BUILD is patched
and built, with address and undefined sanitizers, and the named tests are run; if they pass, all quick tests, and then
the slow ones (with --named not). A test catches a bug by failing, by a sanitizer's report, or by not ending. The named
tests must pass on the tree as it is.

--list prints the bugs; --write-list makes README.md of them, beside this file. --check only looks whether every patch
applies, changes something, and names tests that there are, and whether README.md is theirs: `BUILD` is then any
configured build tree.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PATCHES = os.path.join(HERE, "patches")
README = os.path.join(HERE, "README.md")
FIELD = re.compile(r"^(what|why|caught by): (.*(?:\n  .*)*)", re.MULTILINE)
SECONDS_MAX = 300      # for one test; the slowest takes some ten of them on a machine that does nothing else
SKIPPED = 77           # exit code of a test that could not run


class Mutation:
    """One patch, and what its header says."""

    def __init__(self, file_name):
        self.path = os.path.join(PATCHES, file_name)
        self.number, _, self.name = file_name[: -len(".patch")].partition("-")
        with open(self.path, encoding="utf-8") as file:
            text = file.read()
        self.head, _, self.diff = text.partition("\n--- ")
        self.fields = {key: " ".join(value.split()) for key, value in FIELD.findall(self.head)}
        self.tests = [name for name in re.split(r"[,\s]+", self.fields.get("caught by", "")) if name]
        match = re.match(r"a/(\S+)", self.diff)
        self.target = match.group(1) if match else ""

    @property
    def module(self):
        return "/".join(self.target.split("/")[1:])


def mutations(numbers=()):
    found = [Mutation(name) for name in sorted(os.listdir(PATCHES)) if name.endswith(".patch")]
    wanted = {number.zfill(2) for number in numbers}
    unknown = wanted - {m.number for m in found}
    if unknown:
        raise SystemExit(f"mutate: there is no bug number {', '.join(sorted(unknown))}")
    return [m for m in found if not wanted or m.number in wanted]


# ---- the tree ---------------------------------------------------------------------------------------------------------


def git(directory, *arguments):
    """git in a directory that is taken for a tree of its own, whatever repository it lies in."""
    environment = dict(os.environ, GIT_CEILING_DIRECTORIES=os.path.dirname(os.path.abspath(directory)))
    command = ["git", "-c", f"safe.directory={os.path.realpath(directory)}", *arguments]
    return subprocess.run(command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)


def apply(directory, mutation, *options):
    """None, or why the patch does not apply."""
    done = git(directory, "apply", *options, mutation.path)
    return None if done.returncode == 0 else done.stderr.decode().strip()


def tree_files(root):
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout.decode().split("\0")
    return [name for name in listed if name and os.path.isfile(os.path.join(root, name))]


def copy_if_changed(source, target):
    """Files that are the same keep their time, so that only what changed is built again."""
    with open(source, "rb") as file:
        wanted = file.read()
    if os.path.exists(target):
        with open(target, "rb") as file:
            if file.read() == wanted:
                return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(source, target)
    shutil.copymode(source, target)


def tree_copy(root, tree):
    names = tree_files(root)
    if not names:
        raise SystemExit("mutate: git does not list the tree's files")
    for name in names:
        copy_if_changed(os.path.join(root, name), os.path.join(tree, name))
    known = set(names)
    for folder, _, files in os.walk(tree):
        for file in files:
            path = os.path.join(folder, file)
            if os.path.relpath(path, tree) not in known:
                os.unlink(path)


# ---- building and testing ---------------------------------------------------------------------------------------------


def run_logged(command, log, **options):
    with open(log, "wb") as file:
        return subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False, **options).returncode


def tail(path, lines):
    with open(path, encoding="utf-8", errors="replace") as file:
        return "".join(file.readlines()[-lines:])


class Test:
    """What ctest knows of one test."""

    def __init__(self, described):
        self.name = described["name"]
        self.command = described.get("command", [])
        self.properties = {p["name"]: p["value"] for p in described.get("properties", [])}
        self.labels = self.properties.get("LABELS", [])


def ctest_tests(build):
    out = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"], check=True, stdout=subprocess.PIPE)
    return {test["name"]: Test(test) for test in json.loads(out.stdout)["tests"]}


REPORTS = (("AddressSanitizer", "ERROR: AddressSanitizer"), ("LeakSanitizer", "ERROR: LeakSanitizer"),
           ("UndefinedBehaviorSanitizer", "runtime error: "), ("a broken invariant", "nokv: broken invariant"))


def symptom(output, timed_out):
    """In which function of the test, and how."""
    failed = re.findall(r"\[  FAILED  \] (\w+)", output)
    function = failed or re.findall(r"\[ RUN      \] (\w+)", output)[-1:]
    how = "it does not end" if timed_out else next((name for name, text in REPORTS if text in output), "")
    if failed and how == "LeakSanitizer": # what a test that stops half way leaves
        how = ""
    return ", ".join(part for part in (function[0] if function else "", how) if part)


class Bench:
    """The scratch copy, its build, and what was found out with it."""

    def __init__(self, root, base, jobs, only_named):
        self.root, self.jobs, self.only_named = root, jobs, only_named
        folders = [os.path.abspath(os.path.join(base, name)) for name in ("tree", "build", "logs", "programs")]
        self.tree, self.build, self.logs, self.programs = folders
        for directory in folders:
            os.makedirs(directory, exist_ok=True)
        self.tests, self.commands = {}, {}
        self.pool = concurrent.futures.ThreadPoolExecutor(jobs)

    def prepare(self):
        tree_copy(self.root, self.tree)
        log = os.path.join(self.logs, "build.log")
        configure = ["cmake", "-S", self.tree, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Sanitize",
                     "-DNOKV_SANITIZE=address,undefined", "-DNOKV_TOOLS=OFF"]
        if run_logged(configure, log) != 0 or not self.compile([], log):
            raise SystemExit(f"mutate: the tree as it is does not build:\n{tail(log, 20)}")
        self.tests = ctest_tests(self.build)
        with open(os.path.join(self.build, "compile_commands.json"), encoding="utf-8") as file:
            entries = {os.path.relpath(entry["file"], self.tree): entry["command"] for entry in json.load(file)}
        self.commands = {source: command for source, command in entries.items() if source.startswith("src/")}

    def compile(self, targets, log):
        return run_logged(["ninja", "-C", self.build, f"-j{self.jobs}", *targets], log) == 0

    def run(self, name, log, program=None):
        """None when the test passes; otherwise how it does not. `program`: instead of the one that was built."""
        test = self.tests[name]
        command = [program or test.command[0], *test.command[1:]]
        environment = dict(os.environ, ASAN_OPTIONS="detect_stack_use_after_return=1:strict_string_checks=1",
                           UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1")
        environment.setdefault("NOKV_TEST_SCALE", "10")
        with open(log, "wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment,
                                       cwd=test.properties.get("WORKING_DIRECTORY", self.build), start_new_session=True)
            timed_out = False
            try:
                process.wait(SECONDS_MAX)
            except subprocess.TimeoutExpired:
                timed_out = True
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode in (0, SKIPPED):
            return None
        with open(log, encoding="utf-8", errors="replace") as file:
            return symptom(file.read(), timed_out) or f"exit code {process.returncode}"

    def begin(self, names, log_of):
        return [(name, self.pool.submit(self.run, name, log_of(name))) for name in names]

    @staticmethod
    def first_that_fails(runs):
        """The first of these tests, in their order, that does not pass."""
        found = None
        for name, run in runs:
            if found is not None:
                run.cancel()
            elif run.result() is not None:
                found = name, run.result()
        return found

    def log_of(self, mutation):
        return lambda name: os.path.join(self.logs, f"{mutation.number}-{name}.log")

    def others(self, mutation):
        """The tests that are not named, the quick ones first."""
        rest = [t for t in self.tests.values() if t.name not in mutation.tests and t.command]
        return [t.name for t in sorted(rest, key=lambda t: "quick" not in t.labels)]

    def plant(self, mutation, targets):
        """Patch and build; None, or why that is not possible."""
        why = apply(self.tree, mutation)
        if why is not None:
            return f"the patch does not apply: {why.splitlines()[0]}"
        log = os.path.join(self.logs, f"{mutation.number}-build.log")
        return None if self.compile(targets, log) else f"it does not build, see {log}"

    def uproot(self, mutation):
        copy_if_changed(os.path.join(self.root, mutation.target), os.path.join(self.tree, mutation.target))

    def patched_copy(self, mutation):
        """A folder with the target, patched; or why there is none."""
        folder = os.path.join(self.programs, mutation.number)
        shutil.rmtree(folder, ignore_errors=True)
        copy_if_changed(os.path.join(self.root, mutation.target), os.path.join(folder, mutation.target))
        return folder, apply(folder, mutation)

    def compile_copy(self, mutation, folder, log):
        """Objects with the bug: of the file, or, of a header, of all files of its module. None: they do not build."""
        objects = []
        for source, command in self.commands.items():
            in_module = os.path.dirname(source) == os.path.dirname(mutation.target)
            if source != mutation.target and not (mutation.target.endswith(".h") and in_module):
                continue
            patched = os.path.join(folder if source == mutation.target else self.tree, source)
            words = [word.replace(os.path.join(self.tree, source), patched) for word in shlex.split(command)]
            objects.append(os.path.join(folder, os.path.basename(source) + ".o"))
            words[words.index("-o") + 1] = objects[-1]
            words.insert(1, "-I" + os.path.join(folder, "src"))
            if run_logged(words, log, cwd=self.build) != 0:
                return None
        return objects

    def link_copy(self, name, folder, objects, log):
        """The test's program with these objects, which stand in front of the archive that has the sound ones."""
        path = os.path.relpath(self.tests[name].command[0], self.build)
        out = subprocess.run(["ninja", "-C", self.build, "-t", "commands", "-s", path], check=True,
                             stdout=subprocess.PIPE)
        link = out.stdout.decode().splitlines()[-1]
        program = os.path.join(folder, name)
        link = link.replace(f" -o {path} ", f" {' '.join(objects)} -o {program} ")
        return program if run_logged(["sh", "-c", link], log, cwd=self.build) == 0 else None

    def run_named(self, mutation):
        """(test, how), None when none noticed, or why it could not be tried."""
        folder, why = self.patched_copy(mutation)
        if why is not None:
            return f"the patch does not apply: {why.splitlines()[0]}"
        log = os.path.join(self.logs, f"{mutation.number}-build.log")
        objects = self.compile_copy(mutation, folder, log)
        for name in mutation.tests if objects else []:
            program = self.link_copy(name, folder, objects, log)
            if program is None:
                return f"it does not link, see {log}"
            how = self.run(name, self.log_of(mutation)(name), program)
            os.unlink(program)
            if how is not None:
                return name, how
        return None if objects else f"it does not build, see {log}"

    def try_others(self, mutation):
        why = self.plant(mutation, [])
        found = None if why else self.first_that_fails(self.begin(self.others(mutation), self.log_of(mutation)))
        self.uproot(mutation)
        return found


# ---- commands ---------------------------------------------------------------------------------------------------------


def command_list(chosen):
    for m in chosen:
        print(f"{m.number} {m.name} ({m.target})\n   {m.fields['what']}\n   {m.fields['why']}\n"
              f"   caught by: {', '.join(m.tests)}")


def readme_of(chosen):
    rows = [f"| {m.number} | `{m.target}` | {m.fields.get('what', '')} | {', '.join(f'`{t}`' for t in m.tests)} |\n"
            for m in chosen]
    return ("# Bugs that are planted by hand\n\n"
            "Each is a patch in `patches`, whose header also says why it is real. `./dev mutate` plants them one by one and\n"
            "runs the tests that must notice; `./dev mutate --write-list` writes this page.\n\n"
            "| | in | what | caught by |\n| --- | --- | --- | --- |\n" + "".join(rows))


def command_write_list(chosen):
    with open(README, "w", encoding="utf-8") as file:
        file.write(readme_of(chosen))
    return 0


def is_readme_current(chosen):
    if not os.path.exists(README):
        return False
    with open(README, encoding="utf-8") as file:
        return file.read() == readme_of(chosen)


def complaints_of(root, tests, mutation):
    if not re.fullmatch(r"\d\d", mutation.number) or not re.fullmatch(r"[a-z0-9-]+", mutation.name):
        yield "its name is not NN-words-in-lower-case.patch"
    for field in ("what", "why", "caught by"):
        if not mutation.fields.get(field):
            yield f"its header does not say '{field}: ...'"
    if not mutation.target.startswith("src/"):
        yield "it does not change a file below src/"
    for name in mutation.tests:
        if name not in tests:
            yield f"there is no test {name}"
    why = apply(root, mutation, "--check")
    if why is not None:
        yield f"it does not apply any more: {why}"


def command_check(root, build, chosen):
    tests, failed = ctest_tests(build), 0
    numbers = [m.number for m in chosen]
    for m in chosen:
        for complaint in complaints_of(root, tests, m):
            print(f"{os.path.relpath(m.path, root)}: {complaint}")
            failed += 1
    if len(numbers) != len(set(numbers)):
        print("a number is given twice")
        failed += 1
    if len(chosen) == len(mutations()) and not is_readme_current(chosen):
        print("tests/mutation/README.md is not theirs: ./dev mutate --write-list")
        failed += 1
    print(f"mutation: {len(chosen)} patches, {failed} complaints")
    return 1 if failed or not chosen else 0


def begin_baseline(bench, chosen):
    """The named tests without any bug: they must pass, or their verdict would mean nothing."""
    names = sorted({test for m in chosen for test in m.tests})
    unknown = [name for name in names if name not in bench.tests]
    if unknown:
        raise SystemExit(f"mutate: there is no test {', '.join(unknown)}")
    return bench.begin(names, lambda name: os.path.join(bench.logs, f"baseline-{name}.log"))


def verdict(bench, mutation, tried):
    """(was it caught, what to say)."""
    found = tried.result()
    if isinstance(found, str):
        return False, f"NOT TRIED: {found}"
    if found is not None:
        return True, f"{found[0]}: {found[1]}"
    found = None if bench.only_named else bench.try_others(mutation)
    if found is not None:
        return True, f"{found[0]}: {found[1]} (not among those that were named)"
    return False, "SURVIVED"


def command_run(bench, chosen):
    begin = time.monotonic()
    bench.prepare()
    baseline = begin_baseline(bench, chosen)
    tried = [(m, bench.pool.submit(bench.run_named, m)) for m in chosen]
    unsound = bench.first_that_fails(baseline)
    if unsound is not None:
        bench.pool.shutdown(cancel_futures=True)
        raise SystemExit(f"mutate: {unsound[0]} fails without any bug ({unsound[1]}), see {bench.logs}")
    rows = []
    for m, outcome in tried:
        rows.append((m, *verdict(bench, m, outcome)))
        print(f"{m.number} {m.name}: {rows[-1][2]}", flush=True)
    print(f"\n{'':2} {'planted bug':32} {'where':22} caught by")
    for m, _, text in rows:
        print(f"{m.number} {m.name:32} {m.module:22} {text}")
    caught = sum(row[1] for row in rows)
    print(f"mutation: {len(rows)} planted bugs, {caught} caught, {len(rows) - caught} not, "
          f"{time.monotonic() - begin:.0f} s")
    return 0 if caught == len(rows) else 1


def main():
    parser = argparse.ArgumentParser(prog="./dev mutate", description="Do the tests notice bugs planted by hand?")
    parser.add_argument("root")
    parser.add_argument("build")
    parser.add_argument("numbers", nargs="*", metavar="NN")
    parser.add_argument("--list", action="store_true", help="only say which bugs there are")
    parser.add_argument("--write-list", action="store_true", help="only write tests/mutation/README.md, of all of them")
    parser.add_argument("--check", action="store_true", help="only see whether the patches apply")
    parser.add_argument("--named", action="store_true", help="run no others than the tests that are named")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_intermixed_args()
    chosen = mutations(given.numbers)
    if given.list:
        command_list(chosen)
        return 0
    if given.write_list:
        return command_write_list(mutations())
    if given.check:
        return command_check(given.root, given.build, chosen)
    return command_run(Bench(given.root, given.build, given.jobs, given.named), chosen)


if __name__ == "__main__":
    sys.exit(main())
