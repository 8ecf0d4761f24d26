// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_group.h - a memory cgroup with a limit: makes the machine small for one process, its page cache included.
 */
#ifndef NOKV_BENCH_GROUP_H
#define NOKV_BENCH_GROUP_H

#include <stdbool.h>
#include <stdint.h>

struct group {
    char dir[4096]; /* of the group; "": there is none */
    char mount[64]; /* where the controller was mounted for it; "": it was mounted already */
};

enum { GROUP_LIMIT_MIN = 4 << 20 };

/* Make an empty group with that limit. Returns NULL or, in words (static), why none can be made here; then nothing is
 * left behind. End with group_remove(). */
const char *group_create(uint64_t limit_bytes, struct group *out_group);
/* Times that the kernel killed a process because the limit left no room. */
uint64_t group_oom_kills(const struct group *group);
/* REQUIRES: the processes in it have ended. Nothing for a zeroed group; a failure is said on standard error. */
void group_remove(struct group *group);

/* `dir`: of a group. Move this process there, for good; ends the program when that fails. Memory that it has already is
 * not counted there. */
void group_join(const char *dir);
/* Does what is swapped out count against the limit as well? True where there is no swap. */
bool group_swap_bounded(const char *dir);
/* Bytes that are charged to the group now, pages of files included; 0 when it does not tell. */
uint64_t group_bytes(const char *dir);

#endif
