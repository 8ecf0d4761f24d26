// SPDX-License-Identifier: Apache-2.0
/*
 * lab/database.h - the database of part 4, as any program would have it: through include/nokv alone.
 *
 * Three kinds of records: hot ones (small, in tables, never written again), values (64 KiB, in the value log) and cold
 * ones (small, in tables of their own). Values and cold records are written again and again; each has a version that
 * follows from the number of the round, so that every byte that is read can be checked.
 */
#ifndef LAB_DATABASE_H
#define LAB_DATABASE_H

#include <nokv/nokv.h>

#include "lab/files.h"

enum { LAB_SMALL_VALUE = 100, LAB_LARGE_VALUE = 64 << 10, LAB_TABLES_MAX = 256 };

struct lab_database {
    uint64_t hot_count, cold_count, value_count;
    uint64_t cold_version;           /* of all cold records */
    uint64_t value_version;          /* the newest; a half of the values got each version */
    unsigned table_count;            /* that hold the hot records */
    char tables[LAB_TABLES_MAX][32]; /* their names */
};

void lab_database_init(const struct lab *lab, struct lab_database *out_d);

/* Nothing in the background unless asked for; buffers that fit a small memory. */
void lab_database_options(const struct lab *lab, nokv_options *out_options);
enum nokv_status lab_database_open(const struct lab *lab, const nokv_options *options, nokv_db **out_db) MUST_CHECK;
enum nokv_status lab_database_close(nokv_db *db) MUST_CHECK;
/* For what a call of nokv/nokv.h returned: its message becomes this thread's. */
enum nokv_status lab_database_result(nokv_status status) MUST_CHECK;

enum nokv_status lab_database_build(const struct lab *lab, struct io *io, struct lab_database *d) MUST_CHECK;
/* All cold records, or half of the values, again, in a new version; merged as far as the next step wants it. */
enum nokv_status lab_database_rewrite_cold(const struct lab *lab, struct lab_database *d) MUST_CHECK;
enum nokv_status lab_database_rewrite_values(const struct lab *lab, struct lab_database *d) MUST_CHECK;
/* Tables and segments out of the page cache. */
enum nokv_status lab_database_drop(const struct lab *lab, struct io *io) MUST_CHECK;
/* Bytes of the hot tables that are in the page cache. */
enum nokv_status lab_database_resident(const struct lab *lab, struct io *io, const struct lab_database *d,
                                       uint64_t *out_bytes) MUST_CHECK;

/* What was read, and what of it was wrong. */
struct lab_tally {
    uint64_t verified, wrong;
};
enum nokv_status lab_database_get_hot(nokv_db *db, const struct lab *lab, uint64_t index,
                                      struct lab_tally *tally) MUST_CHECK;
/* In key order, until `bytes_max` are read or all are. */
enum nokv_status lab_database_scan_values(nokv_db *db, const struct lab *lab, const struct lab_database *d,
                                          uint64_t bytes_max, struct lab_tally *tally) MUST_CHECK;
enum nokv_status lab_database_scan_cold(nokv_db *db, const struct lab *lab, const struct lab_database *d,
                                        struct lab_tally *tally) MUST_CHECK;
/* Work of part 4. */
enum nokv_status lab_database_compact_cold(nokv_db *db) MUST_CHECK;

#endif
