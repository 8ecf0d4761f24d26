// SPDX-License-Identifier: Apache-2.0
/*
 * lab/append.h - the three files of part 1: single appends, the engine's log, files that are written at one go.
 */
#ifndef LAB_APPEND_H
#define LAB_APPEND_H

#include "lab/lab.h"

enum { LAB_SYNC_SLICES = 2 }; /* a sync takes milliseconds: samples of part 1 are so much longer */

/* Read `count` records of lab_fill(seed, 0...) back from the disk; the row counts what is wrong. */
enum nokv_status lab_append_check(struct lab_bench *bench, const char *path, uint64_t seed, size_t record_bytes,
                                  uint64_t count) MUST_CHECK;
/* Commits to the engine's log. */
enum nokv_status lab_log(struct lab *lab) MUST_CHECK;
/* Tables and segments of the value log. */
enum nokv_status lab_bulk(struct lab *lab) MUST_CHECK;

#endif
