// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_compare.h - several engines, interleaved, one child process per engine and group of phases.
 */
#ifndef NOKV_BENCH_COMPARE_H
#define NOKV_BENCH_COMPARE_H

#include "nokv_bench_report.h"
#include "nokv_bench_run.h"

/* `engines`: comma-separated names. `out_path`: the JSON lines are appended there; NULL: kept only for the tables.
 * Returns the exit code. */
int compare_execute(const struct run_options *options, const char *engines, unsigned rounds, const char *out_path);

#endif
