// SPDX-License-Identifier: Apache-2.0
/*
 * io/limit.h - how much memory the machine has and this process may use: what the kernel's texts say. Only src/io
 * includes it.
 *
 * The texts are those of proc(5) and of the kernel's documents on cgroups (cgroup-v1/memory.rst, cgroup-v2.rst).
 */
#ifndef IO_LIMIT_H
#define IO_LIMIT_H

#include "io/io.h"

enum { LIMIT_PATH_SIZE = 4096 };

/* Where the limits of a process stand: in `dir` and in each directory above it, up to its first `mount_size` bytes. */
struct limit_place {
    char dir[LIMIT_PATH_SIZE]; /* "": there is no such hierarchy */
    size_t mount_size;
};

struct limit_places {
    struct limit_place v2, v1;
};

/* From /proc/self/cgroup and /proc/self/mountinfo. Text that makes no sense is passed over. */
void limit_places_find(struct slice cgroup, struct slice mountinfo, struct limit_places *out_places);
/* What a file with a limit says. False: no limit ("max", more than 2^63, 0, or nothing that is a number). */
bool limit_parse(struct slice text, uint64_t *out_bytes);
/* MemTotal of /proc/meminfo. False: it is not there. */
bool limit_parse_meminfo(struct slice text, uint64_t *out_bytes);
/* All of it, with "/proc" or, in a test, another directory of that shape. */
void limit_read(const char *proc, struct io_memory *out_memory);

#endif
