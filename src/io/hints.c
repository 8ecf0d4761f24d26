// SPDX-License-Identifier: Apache-2.0
/*
 * Hints for many places of mappings at once: the kernel begins to read all of them, and the caller waits, where it
 * comes to one of them too early, in a page fault for a page that is already on its way.
 *
 * A piece that is in the page cache costs one system call (mincore), one that is not two (and madvise WILLNEED, which
 * reads exactly that extent whatever other advice the mapping was given, and returns when the reads are submitted).
 * Where the kernel does not tell what is cached nothing is asked for.
 *
 * Threading: one thread per struct. Failure: a hint that is not taken is a read that is waited for later.
 * Why not io_uring: see docs/architecture.md, "A read": it was measured.
 */
#include "base/coldness.h"
#include <sys/resource.h>

#include "io/io.h"

enum { BLOCKS_PER_PAGE = 8 }; /* of 512 bytes, which is what rusage counts */

void io_hints_end(struct io_hints *hints)
{
    size_t size = hints->end - hints->off;
    if (size != 0 && io_map_resident(hints->map, hints->off, size) < size) {
        (void)io_map_advise(hints->map, hints->off, size, IO_ADVICE_WILLNEED);
        hints->cold++;
    }
    hints->off = hints->end = 0;
}

void io_hints_add(struct io_hints *hints, const struct io_map *map, size_t off, size_t size)
{
    size_t begin = off & ~(size_t)(PAGE_BYTES - 1), end = u64_min(align_up(off + size, PAGE_BYTES), map->size);
    if (hints->map == map && begin <= hints->end && end >= hints->off) {
        hints->off = u64_min(hints->off, begin);
        hints->end = u64_max(hints->end, end);
        return;
    }
    io_hints_end(hints);
    hints->map = map;
    hints->off = begin;
    hints->end = end;
}

/* Every read that reaches the device is counted in blocks; kernels that do not count those count faults that waited. */
uint64_t io_read_time(struct io *io, uint64_t begin_ns)
{
    static _Thread_local uint64_t pages_before;
    uint64_t ns = io_now_ns(io) - begin_ns;
    if (LIKELY(ns < COLDNESS_NS))
        return ns;
    uint64_t pages = io_thread_pages_read();
    bool has_read = pages != pages_before;
    pages_before = pages;
    return has_read ? ns : 0;
}

uint64_t io_thread_pages_read(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_THREAD, &usage) != 0)
        return 0;
    return u64_max((uint64_t)usage.ru_inblock / BLOCKS_PER_PAGE, (uint64_t)usage.ru_majflt);
}
