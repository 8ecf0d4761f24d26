# SPDX-License-Identifier: Apache-2.0
"""The claims of the design about I/O models, where they are made, and the rows of `nokv iolab` that they stand or fall by.

A claim says what a document or a comment of this repository says, and is not reworded to fit figures: when one is refuted,
the page says so until the engine or that document changes. A claim that the tool cannot put to the test does not belong here.
"""
from docs_results import apart, beats, best_option, not_behind, same, shorter_by, within

README = "[README](../README.md#components-and-their-io)"
DESIGN = "[here](#the-choice-component-by-component)"
WAL = "[wal.md](wal.md"
VLOG = "[vlog.md](vlog.md"
COLDNESS = "[coldness.h](../src/base/coldness.h)"

SIZES = ("1 KiB", "4 KiB", "16 KiB", "64 KiB", "1 MiB")
LARGE = SIZES[1:]
THREADS = ("1 thread", "2 threads", "16 threads")
SCAN, COMPACTION, COLLECTION = ("gets during a value scan", "gets during a compaction", "gets during a collection")
DURABLE, NO_SYNC = "log commits, durable", "log commits, no sync"
APPEND = "append, size x writers"


class Claim:
    def __init__(self, text, where, *checks):
        self.text, self.where, self.checks = text, where, checks


def value(size):
    return f"value of {size}"


CLAIMS = {
    "wal": [
        Claim("A commit that survives the death of the process costs a store into a shared mapping, not a system call",
              WAL + "#survives-the-death-of-the-process)",
              beats((NO_SYNC, "1 writer"), "shared mapping, large writes", "a write per commit",
                    "an O_DIRECT write per commit", "an io_uring write per commit")),
        Claim("For commits that survive a power cut, `write` and `fdatasync` are the best of the three models", README,
              beats((DURABLE, "1 writer"), "=std", "=direct", "=uring"),
              beats((DURABLE, "16 writers"), "=std", "=direct", "=uring")),
        Claim("Writers share a sync, so sixteen of them commit more than one", WAL + "#how-many-writers-one-sync-serves)",
              apart((DURABLE, "16 writers"), "=std", (DURABLE, "1 writer"), "=std")),
        Claim("The file must not grow with each append: reserved space is cheaper", WAL + "#survives-a-power-cut)",
              beats((APPEND, "150 B x 1"), "preallocated, write + fdatasync", "growing, write + fdatasync"),
              beats((APPEND, "4 KiB x 1"), "preallocated, write + fdatasync", "growing, write + fdatasync")),
        Claim("Blocks that have been written before make appends of 4 KiB cheaper still", WAL + "#survives-a-power-cut)",
              beats((APPEND, "4 KiB x 1"), "recycled, one RWF_DSYNC write", "preallocated, one RWF_DSYNC write")),
        Claim("`fdatasync` and `RWF_DSYNC` cost the same", WAL + "#survives-a-power-cut)",
              same((APPEND, "150 B x 1"), "preallocated, write + fdatasync", "preallocated, one RWF_DSYNC write"),
              same((APPEND, "4 KiB x 1"), "preallocated, write + fdatasync", "preallocated, one RWF_DSYNC write")),
    ],
    "tables": [
        Claim("A hot read through a mapping makes no system call", README,
              within(("read costs, hot", "system calls"), "=mmap", 0, 0)),
        Claim("... and is faster than each model that copies, a cache in the process included", README,
              *(beats(("table page, hot", t), "=mmap") for t in THREADS)),
        Claim("... and costs less processor time than `pread`", README,
              beats(("read costs, hot", "processor"), "=mmap", "pread")),
        Claim("It takes no lock, so two threads read more than one", README,
              apart(("table page, hot", "2 threads"), "=mmap", ("table page, hot", "1 thread"), "=mmap")),
        Claim("The first touch of a page that is in memory, a minor fault, is cheaper than a `pread` of it", DESIGN,
              beats(("first touch of a page", "1 thread"), "mmap, random", "pread")),
        Claim("With `MADV_RANDOM` a cold read is one fault of one page; without it the kernel reads ahead what nobody "
              "asked for", DESIGN,
              within(("read costs, cold", "major faults"), "mmap, random", 0.95, 1.05),
              beats(("table page, cold", "1 thread"), "mmap, random", "mmap, no advice")),
        Claim("A cold read through the mapping is as fast as a `pread`", DESIGN,
              *(not_behind(("table page, cold", t), "mmap, random", "pread") for t in THREADS)),
        Claim("While a level is not in memory, copying its blocks into a cache is better than faults", COLDNESS,
              *(beats(("table page, memory short", t), "pread with a cache", "mmap, random") for t in THREADS)),
        Claim("A device answers many reads under way at once faster than one after the other",
              "[architecture.md](architecture.md#a-read)",
              beats(("table page, cold", "1 thread"), "io_uring, depth 32", "io_uring, depth 1")),
        Claim("Pages of 2 MiB make a memory access cheaper", "[benchmarks.md](benchmarks.md#what-the-figures-rest-on)",
              beats(("cache line of a table", "1 thread"), "mmap, 2 MiB pages", "mmap, 4 KiB pages"),
              beats(("cache line of a table", "1 thread"), "read into memory, 2 MiB pages",
                    "read into memory, 4 KiB pages")),
    ],
    "vlog": [
        Claim("Hot values below 4 KiB are read faster in place than with `pread`", VLOG + "#reading)",
              beats((value("1 KiB"), "hot"), "=mmap", "=pread")),
        Claim("So are larger ones, when all of their pages are in memory", VLOG + "#reading)",
              *(beats((value(s), "hot"), "=mmap", "=pread") for s in LARGE)),
        Claim("A value of 4 KiB and more that is not in memory is read faster at one go than fault by fault",
              VLOG + "#reading)", *(beats((value(s), "cold"), "=pread", "=mmap") for s in LARGE)),
        Claim("A smaller one too, which is why `auto` stops mapping while they are cold", COLDNESS,
              beats((value("1 KiB"), "cold"), "=pread", "=mmap"),
              beats((value("1 KiB"), "memory short"), "=pread", "=mmap")),
        Claim("`auto` is within 10 % of the best value of `vlog_read`, whatever the size, hot or cold", DESIGN,
              best_option([(value(s), state) for s in SIZES for state in ("hot", "cold", "memory short")], "=auto")),
        Claim("`io_uring` reads many values at once, faster than one `pread` after the other", VLOG + "#reading)",
              *(beats((value(s), "cold"), "io_uring, depth 16", "=pread") for s in SIZES[:4])),
        Claim("Values that are read through the page cache push the tables out of it", DESIGN,
              beats((SCAN, "pages kept"), "=direct", "=mmap", "=pread", "=uring")),
        Claim("That can be avoided: `O_DIRECT` leaves all of the tables' pages, and the gets beside it as fast", DESIGN,
              within((SCAN, "pages kept"), "=direct", 99, 100),
              beats((SCAN, "99th pct"), "=direct", "=mmap", "=pread", "=uring")),
        Claim("... and is avoided: with the default of `vlog_read` a scan of values leaves the tables in memory", README,
              within((SCAN, "pages kept"), "=default:vlog_read", 90, 100)),
        Claim("Past the page cache a cold scan is a fifth slower at the most",
              "[benchmarks.md](benchmarks.md#what-a-scan-of-large-values-leaves-of-the-tables-in-the-page-cache)",
              not_behind((SCAN, "the scan"), "=direct", "=pread", part=0.8)),
        Claim("Large values are written faster past the page cache than through it", VLOG + "#writing-directly)",
              beats(("file written at one go", "values 64 KiB"), "=direct", "=std")),
    ],
    "background": [
        Claim("Through the page cache, a compaction evicts what readers use; past it, it does not", README,
              beats((COMPACTION, "pages kept"), "=direct", "=std"),
              within((COMPACTION, "pages kept"), "=direct", 99, 100),
              beats((COMPACTION, "99th pct"), "=direct", "=std")),
        Claim("With the default of `background_io`, background work does not evict what readers use", README,
              within((COMPACTION, "pages kept"), "=default:background_io", 90, 100),
              within((COLLECTION, "pages kept"), "=default:background_io", 90, 100)),
        Claim("Being considerate costs the work itself no speed", DESIGN,
              not_behind((COMPACTION, "compaction"), "=direct", "=std"),
              not_behind((COLLECTION, "collection"), "=direct", "=std")),
        Claim("`io_uring` alone is not considerate: it is another way of asking, and goes through the page cache", DESIGN,
              beats((COMPACTION, "pages kept"), "=direct", "=uring")),
        Claim("`io_uring` writes a table faster than `write`, since the next buffer fills meanwhile", DESIGN,
              beats(("file written at one go", "a table"), "=uring", "=std")),
    ],
    "manifest": [
        Claim("An edit costs little beside the table that it records (at most a tenth), so its model does not matter",
              DESIGN, shorter_by((APPEND, "150 B x 1"), "growing, write + fdatasync",
                                 ("file written at one go", "a table"), "=std", 64 * 1.048576, 10)),
    ],
}
