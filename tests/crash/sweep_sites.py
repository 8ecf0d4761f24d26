#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which call sites of the engine did a sweep make to fail?

sweep_sites.py BINARY SITES: BINARY is sweep_test of a tree that is not optimized (a call is then where the source has
it, and no call is a jump); SITES is what it wrote with NOKV_SWEEP_SITES. All calls of wrapped functions are found in the
disassembly, and named by file and line. Prints reached/total for allocations and for I/O. Sites that one thread on a
sound machine cannot reach are in sweep_elsewhere.txt, with the test that makes them fail or the reason why none can;
every other site that was not reached is printed, with whether it was called at all, and fails the run.
"""
import os
import re
import subprocess
import sys

CALL = re.compile(r"^\s*([0-9a-f]+):\s+call\s+[0-9a-f]+ <__wrap_(\w+)>")
ADDRESS = re.compile(r"^\s*([0-9a-f]+):\s")
GIVEN_BACK = {"mem_free", "mem_free_ptr", "mem_free_pages"}
# The simulated disk is a tool of tests: its own memory is not the engine's.
NOT_THE_ENGINE = ("src/io/sim", "tests/")


def calls_of(binary):
    """[(return address, function)] of every call of a wrapped function."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", binary], check=True, capture_output=True, text=True).stdout
    calls, waiting = [], None
    for line in text.splitlines():
        address = ADDRESS.match(line)
        if address is None:
            continue
        if waiting:
            calls.append((int(address.group(1), 16), waiting))
            waiting = None
        call = CALL.match(line)
        if call and call.group(2) not in GIVEN_BACK:
            waiting = call.group(2)
    return calls


def lines_of(binary, addresses):
    """{return address: ("src/db/open.c:51", "segments_open")}; the call is in front of where it returns to."""
    given = "\n".join(f"{a - 1:x}" for a in addresses)
    out = subprocess.run(["addr2line", "-f", "-e", binary], input=given, check=True, capture_output=True, text=True).stdout
    lines = out.splitlines()
    named = {}
    for address, within, place in zip(addresses, lines[0::2], lines[1::2]):
        place = place.split(" ")[0]
        at = re.search(r"((?:src|tests)/[\w/.]+:\d+)$", place)
        named[address] = (at.group(1) if at else place, within)
    return named


def elsewhere_read():
    """{(file, function, what it calls): test or reason}"""
    found = {}
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sweep_elsewhere.txt"), encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                path, within, call, why = line.rstrip("\n").split(" ", 3)
                found[(path, within, call)] = why.strip()
    return found


def main():
    binary, sites = sys.argv[1], sys.argv[2]
    seen, failed = set(), set()
    with open(sites, encoding="utf-8") as file:
        for line in file:
            offset, has_failed = line.split()
            seen.add(int(offset, 16))
            if has_failed == "1":
                failed.add(int(offset, 16))
    calls = calls_of(binary)
    names = lines_of(binary, [address for address, _ in calls])
    if not seen & set(names):
        sys.exit("sweep_sites: the sites are not of this binary")
    elsewhere, used = elsewhere_read(), set()
    kinds = {"allocation": {}, "I/O": {}}
    for address, function in calls:
        place, within = names[address]
        if place.startswith(NOT_THE_ENGINE) or not place.startswith("src/"):
            continue
        kind = kinds["allocation" if function.startswith("mem_") else "I/O"]
        state = 2 if address in failed else 1 if address in seen else 0
        key = (place, within, function)
        kind[key] = max(kind.get(key, 0), state)
    missing = 0
    for title, found in kinds.items():
        left = {key for key, state in found.items() if state < 2}
        named = {key for key in left if (key[0].split(":")[0], key[1], key[2]) in elsewhere}
        used |= {(key[0].split(":")[0], key[1], key[2]) for key in named}
        missing += len(left - named)
        print(f"{title} call sites made to fail: {len(found) - len(left)} of {len(found)}; elsewhere: {len(named)}")
        for key in sorted(left - named):
            print(f"  {'called, never failed' if found[key] else 'never called'}: {key[0]} {key[1]}: {key[2]}")
    for key in sorted(set(elsewhere) - used):
        print(f"  sweep_elsewhere.txt: the sweep reaches it, or it is gone: {' '.join(key)}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
