#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which call sites of the engine did a sweep make to fail?

sweep_sites.py BINARY SITES [--quiet]: BINARY is sweep_test of a tree that is not optimized (a call is then where the
source has it, and no call is a jump); SITES is what it wrote with NOKV_SWEEP_SITES. All calls of wrapped functions are
found in the disassembly, and named by file and line. Prints reached/total for allocations and for I/O, and each site
that was not reached, with whether it was called at all.
"""
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
    """{return address: "src/db/open.c:51"}; the call is in front of where it returns to."""
    given = "\n".join(f"{a - 1:x}" for a in addresses)
    out = subprocess.run(["addr2line", "-e", binary], input=given, check=True, capture_output=True, text=True).stdout
    named = {}
    for address, place in zip(addresses, out.splitlines()):
        place = place.split(" ")[0]
        at = re.search(r"((?:src|tests)/[\w/.]+:\d+)$", place)
        named[address] = at.group(1) if at else place
    return named


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
    kinds = {"allocation": {}, "I/O": {}}
    for address, function in calls:
        place = names[address]
        if place.startswith(NOT_THE_ENGINE) or not place.startswith("src/"):
            continue
        kind = kinds["allocation" if function.startswith("mem_") else "I/O"]
        state = 2 if address in failed else 1 if address in seen else 0
        key = (place, function)
        kind[key] = max(kind.get(key, 0), state)
    for title, found in kinds.items():
        reached = sum(state == 2 for state in found.values())
        print(f"{title} call sites made to fail: {reached} of {len(found)}")
        for (place, function), state in sorted(found.items()):
            if state < 2:
                print(f"  {'called, never failed' if state else 'never called'}: {place} {function}")


if __name__ == "__main__":
    main()
