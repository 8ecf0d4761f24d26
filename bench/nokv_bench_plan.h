// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_plan.h - ready-made comparisons: which data sets, which workloads on them, how long, how often.
 */
#ifndef NOKV_BENCH_PLAN_H
#define NOKV_BENCH_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One database per engine, and what is done to it. */
struct data_set {
    const char *engines;    /* comma-separated; those that are not built in are left out */
    const char *workloads;  /* as --workloads takes them */
    const char *value_size; /* as --value-size takes it */
    uint64_t keys;
    double seconds; /* of each phase that runs for a time */
    unsigned runs;
    uint64_t memory_limit_bytes; /* as --memory-limit; 0: none */
};

struct plan {
    const char *name;
    const char *text; /* sizes and time, for --help; lines begin with blanks */
    const struct data_set *sets;
    size_t set_count;
    bool count_syscalls; /* in a pass of its own, where the kernel lets us */
};

extern const struct plan plans[];               /* ends with a NULL name */
const struct plan *plan_find(const char *name); /* NULL when there is none */

#endif
