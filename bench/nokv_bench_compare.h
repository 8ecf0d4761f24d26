// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_compare.h - several engines, interleaved, one child process per engine and group of phases.
 */
#ifndef NOKV_BENCH_COMPARE_H
#define NOKV_BENCH_COMPARE_H

#include "nokv_bench_plan.h"
#include "nokv_bench_report.h"
#include "nokv_bench_run.h"

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
