// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_compare.h - several engines, interleaved, one child process per engine and group of phases; and reports.
 */
#ifndef NOKV_BENCH_COMPARE_H
#define NOKV_BENCH_COMPARE_H

#include <stdio.h>

#include "nokv_bench_plan.h"
#include "nokv_bench_run.h"

enum { REPORT_RECORDS_MAX = 4096, REPORT_NAME_SIZE = 24 };

/* One phase of one run, as its JSON line says. */
struct record {
    char engine[REPORT_NAME_SIZE], version[REPORT_NAME_SIZE], workload[REPORT_NAME_SIZE];
    char after[REPORT_NAME_SIZE]; /* the workload that wrote before it in the same process; "" for the first */
    unsigned generation;          /* overwrites before it, itself included */
    unsigned round, threads, filter_bits;
    uint64_t keys, value_size, memory_bytes, wrong, found, missing;
    double ops, seconds, ops_per_sec, p50_us, p99_us, p999_us, max_us, cpu_us_per_op, other_cores;
    double user_bytes, device_bytes, blockdev_bytes, disk_bytes, peak_rss_bytes, peak_anon_bytes;
    double mb_per_sec, disk_peak_bytes, space_amp, space_amp_peak, write_amp, write_amp_blockdev;
};

struct report {
    size_t count;
    struct record records[REPORT_RECORDS_MAX];
};

/* Take in one JSON line; false when it is none of ours. */
bool report_add(struct report *report, const char *line);
/* Terms, rates with ratios, latencies, costs: Markdown tables. */
void report_print(const struct report *report, FILE *out);

struct compare_options {
    const struct run_options *run; /* directory, seed, memory and what else is the same for all data sets */
    const struct data_set *sets;   /* one after the other */
    size_t set_count;
    const char *out_path; /* the JSON lines are appended there; NULL: kept only for the tables */
    bool count_syscalls;
};

/* Measure, and print the tables to standard output. Returns the exit code: 0; 1 when an engine failed or something came
 * back wrong; 130 when interrupted. */
int compare_execute(const struct compare_options *options);

#endif
