// SPDX-License-Identifier: Apache-2.0
/*
 * lsm/table_writer.h - entries in order in, finished tables out; drops the versions that nobody can see any more.
 *
 * Flush and compaction share it. Values go where value_writer.h says. It owns the files that it writes, tables and
 * segments, until their descriptions are taken: destroying it removes the rest.
 */
#ifndef LSM_TABLE_WRITER_H
#define LSM_TABLE_WRITER_H

#include "lsm/value_writer.h"
#include "lsm/version.h"

struct table_writer_options {
    struct table_env *env;
    enum io_component component; /* IO_FLUSH or IO_COMPACTION */
    enum io_model model;
    struct sst_options sst;
    uint64_t table_bytes;      /* begin another table at this size, between two user keys; 0: never */
    const uint64_t *snapshots; /* sequence numbers that are still read at, ascending; borrowed */
    size_t snapshot_count;
    /* May a tombstone of this key be dropped, because nothing older lies deeper? Asked with ascending keys. NULL: no.
     */
    bool (*is_bottom)(void *arg, struct slice user_key);
    void *is_bottom_arg;
    /* A file number that was never used; thread-safe. */
    uint64_t (*allocate_number)(void *arg);
    void *allocate_arg;
    struct value_writer_options values; /* io, dir, component and the numbers are filled in from above */
};

struct table_writer;

enum nokv_status table_writer_create(const struct table_writer_options *options,
                                     struct table_writer **out_writer) MUST_CHECK;
/* Copies what it keeps. CORRUPT when it is not above the one before. */
enum nokv_status table_writer_add(struct table_writer *w, struct ikey key, struct slice value) MUST_CHECK;
/* Its values are moved by this one. */
struct value_writer *table_writer_value_writer(struct table_writer *w);
/* Finish the last table: all files are durable; the directory entries of segments are, those of tables not yet. */
enum nokv_status table_writer_finish(struct table_writer *w) MUST_CHECK;
/* The finished tables; owned by the writer. */
size_t table_writer_count(const struct table_writer *w);
const struct table_desc *table_writer_table(const struct table_writer *w, size_t index);
uint64_t table_writer_bytes(const struct table_writer *w);
const struct value_writer *table_writer_values(const struct table_writer *w); /* what became of the values */
/* The files are somebody else's now (the MANIFEST names them). */
void table_writer_release(struct table_writer *w);
void table_writer_destroy(struct table_writer *w); /* NULL is accepted */

#endif
