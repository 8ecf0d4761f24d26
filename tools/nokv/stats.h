// SPDX-License-Identifier: Apache-2.0
/*
 * stats.h - the engine's counters as JSON and as "name value" lines (which shell and awk can read).
 */
#ifndef NOKV_CLI_STATS_H
#define NOKV_CLI_STATS_H

#include <stdbool.h>
#include <stdio.h>

#include <nokv/nokv.h>

/* Print every counter, one "component.wal.writes 12" per line. */
void stats_print_lines(FILE *out, const nokv_stats *stats);
/* Print one JSON object. */
void stats_print_json(FILE *out, const nokv_stats *stats);

/* Write the lines to the file `path`; false with errno set. */
bool stats_write_file(const char *path, const nokv_stats *stats, const char *more_lines);

#endif
