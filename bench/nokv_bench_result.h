// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_result.h - what was measured of one phase of a run, and how it is printed.
 */
#ifndef NOKV_BENCH_RESULT_H
#define NOKV_BENCH_RESULT_H

#include "nokv_bench_run.h"
#include "nokv_bench_usage.h"

/* How a result is written: jansson's flags, for all that writes or copies one. */
#define RESULT_JSON_FLAGS (JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9))

/* A workload of the list, with its number of threads. */
struct phase {
    const struct workload *workload;
    unsigned threads;
};

struct result {
    const struct phase *phase;
    double seconds, ops_per_sec, cpu_us_per_op, other_cores;
    uint64_t ops, user_bytes, found, missing, wrong;
    uint64_t ops_all; /* with those of the warm-up */
    struct counters counters;
    int64_t device_bytes;
    uint64_t device_read_bytes; /* that the process had the device read, those of the warm-up included */
    uint64_t memory_used_bytes; /* that count against the limit, at the end */
    uint64_t blockdev_bytes, disk_bytes, disk_peak_bytes, peak_rss_bytes, peak_anon_bytes;
    uint64_t live_bytes;                                                 /* keys and newest values, at the end */
    uint64_t total_user_bytes, total_device_bytes, total_blockdev_bytes; /* put and written since the first open */
    struct latency latency;
    double background_ops_per_sec;
    uint64_t inserted, driver_bytes; /* keys of this phase; memory that only the checks need */
};

/* One line to standard output. */
void result_print_json(const struct run *run, const struct result *r);
void result_print_text(const struct run *run, const struct result *r);

#endif
