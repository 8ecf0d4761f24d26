#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""layers_check.py ROOT - the include table of docs/architecture.md.

An include goes strictly downward: a module includes itself and lower layers, never a sibling. From outside, a module is
entered by its front door only. Tools, benchmarks of the whole and tests/e2e/cli see include/nokv only. The laboratory,
lab/, sees the modules that it measures and include/nokv; of it tools see lab/iolab.h, and the engine nothing.
"""
import re
import sys

from source_tree import Findings, read_text, tree_files

LAYERS = {"base": 0, "io": 1, "key": 1, "iter": 2, "rlog": 2, "cache": 2, "mem": 3, "sst": 3, "vlog": 3, "lsm": 4, "db": 5}

# What others may include of a module where it is not MODULE/MODULE.h alone; None: each header is a door of its own.
FRONT_DOORS = {"base": None, "io": {"io/io.h", "io/sim.h"}, "lsm": None}

# What the engine may include of the public headers: status codes everywhere, all of it at the top.
PUBLIC_BELOW_TOP = {"nokv/status.h"}

# What lab/ may include of the engine, through the front doors, and what others may include of it.
LAB_MODULES = {"base", "io", "key", "rlog", "sst", "vlog"}
LAB_DOOR = "lab/iolab.h"

INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)


def includes(text):
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match.group(1)


def module_of(header):
    module = header.split("/")[0]
    return module if "/" in header and module in LAYERS else None


def check_module(path, number, header, findings):
    own = path.split("/")[1]
    other = module_of(header)
    if own not in LAYERS:
        findings.add(path, number, "layer", f"module {own} is not in the include table")
    elif header.startswith("nokv/"):
        if own != "db" and header not in PUBLIC_BELOW_TOP:
            findings.add(path, number, "layer", f"{own} includes {header}; only db sees all of the public interface")
    elif other and other != own:
        if LAYERS[other] >= LAYERS[own]:
            findings.add(path, number, "layer", f"{own} includes {header}, which is not below it")
        doors = FRONT_DOORS.get(other, {f"{other}/{other}.h"})
        if doors is not None and header not in doors:
            findings.add(path, number, "door", f"{header} is not the front door of {other}")


def sees_public_only(path):
    if path.startswith(("tools/", "tests/e2e/cli/", "include/")):
        return True
    # bench/nokv_bench* and the engines measure the whole through its interface; mem_bench.c and the like one module.
    return path.startswith("bench/") and (not path.endswith("_bench.c") or path.startswith("bench/nokv_bench"))


def check_lab(path, number, header, findings):
    module = module_of(header)
    doors = FRONT_DOORS.get(module, {f"{module}/{module}.h"})
    if module and module not in LAB_MODULES:
        findings.add(path, number, "layer", f"lab includes {header}; it measures {', '.join(sorted(LAB_MODULES))}")
    elif module and doors is not None and header not in doors:
        findings.add(path, number, "door", f"{header} is not the front door of {module}")


def check_tree(root, findings):
    files = [path for path in tree_files(root) if path.endswith((".c", ".h", ".cc"))]
    for path in files:
        for number, header in includes(read_text(root, path)):
            if header.startswith("lab/") and not path.startswith(("lab/", "tests/unit/lab/")):
                if not path.startswith("tools/") or header != LAB_DOOR:
                    findings.add(path, number, "door", f"includes {header}; {LAB_DOOR} is for tools, the rest for lab/")
            elif path.startswith("src/"):
                check_module(path, number, header, findings)
            elif path.startswith("lab/"):
                check_lab(path, number, header, findings)
            elif sees_public_only(path) and module_of(header):
                findings.add(path, number, "public", f"includes {header}; only include/nokv is for programs")
    return len(files)


if __name__ == "__main__":
    found = Findings()
    sys.exit(found.finish("layers", check_tree(sys.argv[1], found)))
