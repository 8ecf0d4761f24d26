#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py BUILD [OPTIONS] [TARGET...] - run fuzz targets, one after the other or some at a time, and say what came of it.

BUILD is a tree of the preset `fuzz`; of targets it has fuzz-targets, a line each: name, program, corpus in the
repository, sources that it is to cover. What a run learns goes to BUILD/corpus/TARGET and is used by the next run; what
breaks a target, to BUILD/found/TARGET, with the command that repeats it; libFuzzer's own output, to BUILD/log.
"""
import argparse
import collections
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import time

RESTARTS_MAX = 5  # of a target that was broken; libFuzzer stops at each finding
CORPUS_BYTES_MAX = 128 << 10  # of a committed corpus; of what is added, large files are left out first
SHARE = 0.95  # of the lines of a decoder, that the committed corpora are to reach

Target = collections.namedtuple("Target", "name program corpus decodes")
Result = collections.namedtuple("Result", "target executions seconds cpu_seconds corpus findings")


def targets_read(build):
    with open(os.path.join(build, "fuzz-targets"), encoding="utf-8") as lines:
        fields = [line.rstrip("\n").split("\t") for line in lines if line.strip()]
    return [Target(name, program, corpus, decodes.split(",") if decodes else []) for name, program, corpus, decodes in fields]


def targets_wanted(targets, names):
    known = {target.name: target for target in targets}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"no fuzz target '{unknown[0]}'; they are: {' '.join(known)}")
    return [known[name] for name in names] if names else targets


def folder(*parts):
    path = os.path.join(*parts)
    os.makedirs(path, exist_ok=True)
    return path


def environment():
    """Sanitizers as in ./dev asan, but with less memory of what was freed, which costs speed."""
    options = {
        "ASAN_OPTIONS": "strict_string_checks=1:malloc_context_size=6:quarantine_size_mb=16:thread_local_quarantine_size_kb=64",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }
    return {**options, **os.environ}


def files_in(path):
    return sorted(name for name in os.listdir(path) if not name.startswith("."))


# ---- running -------------------------------------------------------------------------------------------------------


def executions_of(log):
    found = re.findall(r"stat::number_of_executed_units: (\d+)", log)
    found = found or re.findall(r"^#(\d+)\t", log, re.MULTILINE)
    return int(found[-1]) if found else 0


def run_once(build, target, limit):
    """Returns executions, and seconds of the processor."""
    found, work = folder(build, "found", target.name), folder(build, "corpus", target.name)
    # Without -entropic, whose bookkeeping takes a quarter of the time of targets that reach much.
    command = [target.program, limit, "-timeout=25", "-rss_limit_mb=2048", "-print_final_stats=1", "-entropic=0",
               f"-artifact_prefix={found}/", work]
    if os.path.isdir(target.corpus):
        command.append(target.corpus)
    log_path = os.path.join(folder(build, "log"), target.name + ".txt")
    with open(log_path, "a+", encoding="utf-8", errors="replace") as log:
        log.seek(0, os.SEEK_END)
        start = log.tell()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
        _, process.returncode, usage = os.wait4(process.pid, 0)
        log.seek(start)
        return executions_of(log.read()), usage.ru_utime + usage.ru_stime


def run_target(build, target, seconds, runs):
    """For so long, or so often; again when it was broken, as far as it has time or executions left."""
    found = folder(build, "found", target.name)
    before, begin, executions, cpu = set(files_in(found)), time.monotonic(), 0, 0.0
    log_path = os.path.join(folder(build, "log"), target.name + ".txt")
    if os.path.exists(log_path):
        os.unlink(log_path)
    for _ in range(RESTARTS_MAX + 1):
        known = len(files_in(found))
        left = (runs - executions) if runs else int(seconds - (time.monotonic() - begin))
        if left <= 0:
            break
        more, more_cpu = run_once(build, target, f"-runs={left}" if runs else f"-max_total_time={left}")
        executions, cpu = executions + more, cpu + more_cpu
        if len(files_in(found)) == known:
            break
    new = [os.path.join(found, name) for name in files_in(found) if name not in before]
    corpus = len(files_in(folder(build, "corpus", target.name)))
    return Result(target, executions, time.monotonic() - begin, cpu, corpus, new)


def row_print(name, executions, seconds, cpu, corpus, findings):
    print(f"{name:<18} {executions:>13,} {executions / max(seconds, 0.001):>9,.0f}/s {executions / max(cpu, 0.001):>9,.0f}"
          f" {corpus:>7} {findings:>9} {seconds:>8.0f}", flush=True)


def run_all(build, targets, options):
    seconds = options.minutes * 60 * options.jobs / len(targets)
    print(f"{'target':<18} {'executions':>13} {'wall':>11} {'per cpu s':>9} {'corpus':>7} {'findings':>9} {'seconds':>8}",
          flush=True)
    results, begin = [], time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        waiting = [pool.submit(run_target, build, target, seconds, options.runs) for target in targets]
        for done in concurrent.futures.as_completed(waiting):
            result = done.result()
            results.append(result)
            row_print(result.target.name, result.executions, result.seconds, result.cpu_seconds, result.corpus,
                      len(result.findings))
    findings = [(result.target, path) for result in results for path in result.findings]
    row_print("total", sum(result.executions for result in results), time.monotonic() - begin,
              sum(result.cpu_seconds for result in results), sum(result.corpus for result in results), len(findings))
    for target, path in findings:
        print(f"found: {path}\n  repeat: {target.program} {path}")
    broken = [result.target.name for result in results if result.executions == 0]
    if broken:
        print(f"nothing was run of: {' '.join(broken)}; see {build}/log")
    return 1 if findings or broken else 0


# ---- corpora -------------------------------------------------------------------------------------------------------


def prune(corpus, known):
    """Files that were there before stay."""
    new = [os.path.join(corpus, name) for name in files_in(corpus) if name not in known]
    new.sort(key=os.path.getsize)
    while new and sum(os.path.getsize(os.path.join(corpus, name)) for name in files_in(corpus)) > CORPUS_BYTES_MAX:
        os.unlink(new.pop())


def minimise(build, targets):
    """What the work corpora reach and the committed ones do not is added to these, with as few files as it takes."""
    for target in targets:
        work = folder(build, "corpus", target.name)
        folder(target.corpus)
        before = files_in(target.corpus)
        log_path = os.path.join(folder(build, "log"), target.name + "-merge.txt")
        with open(log_path, "w", encoding="utf-8") as log:
            subprocess.run([target.program, "-merge=1", "-use_counters=0", "-timeout=25", target.corpus, work], stdout=log,
                           stderr=log, env=environment(), check=True)
        prune(target.corpus, before)
        size = sum(os.path.getsize(os.path.join(target.corpus, name)) for name in files_in(target.corpus))
        print(f"{target.name:<20} {len(before):>5} -> {len(files_in(target.corpus)):>5} files, {size:>8,} bytes", flush=True)
    return 0


# ---- coverage ------------------------------------------------------------------------------------------------------


def profile_make(build, target, work):
    """Every file of the corpora once. Returns the raw profile."""
    raw = os.path.join(folder(build, "profile"), target.name + ".profraw")
    corpora = [path for path in (target.corpus, work) if path and os.path.isdir(path)]
    subprocess.run([target.program, "-runs=0", *corpora], env={**os.environ, "LLVM_PROFILE_FILE": raw}, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return raw


def lines_of(lcov):
    """By file: a dictionary of line numbers and counts."""
    lines, here = collections.defaultdict(dict), None
    for line in lcov.splitlines():
        if line.startswith("SF:"):
            here = lines[line[3:]]
        elif line.startswith("DA:"):
            number, count = line[3:].split(",")[:2]
            here[int(number)] = max(int(count), here.get(int(number), 0))
    return lines


def ranges(numbers):
    """1, 2, 3, 7 -> "1-3, 7"."""
    out = []
    for number in numbers:
        if out and out[-1][1] == number - 1:
            out[-1][1] = number
        else:
            out.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in out)


def coverage(build, targets, work_build, root):
    profiles = [profile_make(build, target, work_build and os.path.join(work_build, "corpus", target.name))
                for target in targets]
    merged = os.path.join(build, "profile", "all.profdata")
    subprocess.run(["llvm-profdata-14", "merge", "-sparse", "-o", merged, *profiles], check=True)
    objects = [part for target in targets[1:] for part in ("-object", target.program)]
    lcov = subprocess.run(["llvm-cov-14", "export", "-format=lcov", f"-instr-profile={merged}", targets[0].program, *objects],
                          check=True, capture_output=True, text=True).stdout
    lines, failed = lines_of(lcov), 0
    print(f"{'decoder':<28} {'lines':>6} {'reached':>8} {'share':>7}  not reached")
    for source in sorted({source for target in targets for source in target.decodes}):
        counts = lines.get(os.path.join(root, source), {})
        reached = sum(1 for count in counts.values() if count)
        share = reached / len(counts) if counts else 0
        failed += share < SHARE
        missing = ranges(number for number, count in sorted(counts.items()) if not count)
        print(f"{source:<28} {len(counts):>6} {reached:>8} {share:>7.1%}  {missing}")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(prog="./dev fuzz")
    parser.add_argument("build")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--minimise", action="store_true")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--work", help="with --coverage: a tree of the preset fuzz, whose corpora count as well")
    parser.add_argument("targets", nargs="*")
    options = parser.parse_intermixed_args()
    targets = targets_wanted(targets_read(options.build), options.targets)
    if options.list:
        for target in targets:
            files = len(files_in(target.corpus)) if os.path.isdir(target.corpus) else 0
            print(f"{target.name:<20} {files:>5} files  {' '.join(target.decodes)}")
        return 0
    if options.minimise:
        return minimise(options.build, targets)
    if options.coverage:
        shutil.rmtree(os.path.join(options.build, "profile"), ignore_errors=True)
        return coverage(options.build, targets, options.work, os.getcwd())
    return run_all(options.build, targets, options)


if __name__ == "__main__":
    sys.exit(main())
