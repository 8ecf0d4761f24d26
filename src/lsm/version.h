// SPDX-License-Identifier: Apache-2.0
/*
 * lsm/version.h - a version: which tables make up the tree at one moment. Immutable once built, counted references.
 *
 * Level 0 holds flushed memtables, newest first, with overlapping keys. Levels 1 to LEVELS_MAX - 1 hold tables that are
 * disjoint by user key and sorted. A newer version of a key is never in a deeper place than an older one.
 *
 * A table is shared by the versions that contain it. When the last of them goes and the MANIFEST no longer names the
 * table, its number is handed to table_env.obsolete, whose owner unlinks the file.
 */
#ifndef LSM_VERSION_H
#define LSM_VERSION_H

#include <stdatomic.h>

#include "base/coldness.h"
#include "base/thread.h"
#include "lsm/edit.h"
#include "sst/sst.h"

/* What tables need of their database; outlives them. */
struct table_env {
    struct io *io;
    const char *dir;
    struct sst_access access; /* how tables are read */
    bool is_adaptive;         /* mapped tables of a level that is not in memory are asked with sst_reader_get_cold */
    struct coldness cold[LEVELS_MAX];
    _Atomic bool is_any_cold; /* of those; relaxed */
    /* protected by names_mu: a sync of the directory has failed. The kernel tells one caller, and the next sync says
     * nothing of the names that were lost: table_env_sync_names */
    bool names_failed;
    struct mutex names_mu;
    /* Called on whichever thread drops the last reference; must not block and must not take the database's lock. */
    void (*obsolete)(struct table_env *env, uint64_t number);
};

/* The names of finished tables become durable. A failure is POISONED, for this caller and for every later one. */
enum nokv_status table_env_sync_names(struct table_env *env) MUST_CHECK;

struct table {
    /* set when opened, then constant */
    struct table_env *env;
    struct table_desc desc;
    struct sst_reader *reader;
    uint64_t smallest_prefix, largest_prefix; /* key_prefix(.., 0) */
    /* atomic */
    _Atomic uint32_t refs; /* relaxed up, acq_rel down */
    _Atomic bool removed;  /* the MANIFEST no longer names it; set once, before the last unref */
    /* protected by the database's mutex */
    bool compacting;
};

struct level {
    struct table **tables;
    size_t count;
    uint64_t bytes;
    uint64_t value_bytes; /* in the value log, that the tables point to */
    /* levels above 0: for each table the key_prefix of its largest key behind the bytes common to all of the level */
    uint64_t *largest_prefixes;
    size_t common_size;
};

struct version {
    struct level levels[LEVELS_MAX];
    _Atomic uint32_t refs;
};

/* Opens the file. One reference is the caller's. */
enum nokv_status table_open(struct table_env *env, const struct table_desc *desc, struct table **out_table) MUST_CHECK;
void table_ref(struct table *t);
void table_unref(struct table *t); /* NULL is accepted */

enum nokv_status version_create_empty(struct version **out_version) MUST_CHECK;
/*
 * `base` with `edit` applied. Tables that it adds are taken from `opened` (matched by number; borrowed) or opened.
 * CORRUPT (naming `where`) when the edit removes what is not there, adds what is, or makes a level overlap.
 */
enum nokv_status version_apply(const struct version *base, const struct edit *edit, struct table_env *env,
                               struct table **opened, size_t opened_count, const char *where,
                               struct version **out_version) MUST_CHECK;
void version_ref(struct version *v);
void version_unref(struct version *v); /* NULL is accepted */

/*
 * The newest version of `user_key` visible at `seq`, wherever it is. *out_table is the table that holds it (borrowed
 * from the version), NULL when nothing was found. No lock, no allocation, no system call on hot pages.
 */
enum nokv_status version_get(const struct version *v, struct slice user_key, uint64_t seq, struct lookup *out_lookup,
                             struct table **out_table) MUST_CHECK;

/*
 * For whoever looks up many keys: the tables that may hold the key, newest first; asks for their filter lines ahead of
 * the first look. `hash` is sst_key_hash(user_key); `out_readers` has room for version_candidates_max(v). False: there
 * are more than that (level 0 under heavy debt): use version_get.
 */
size_t version_candidates_max(const struct version *v);
bool version_candidates(const struct version *v, struct slice user_key, uint64_t hash, struct sst_reader **out_readers,
                        uint32_t *out_count) MUST_CHECK;

/*
 * Append one iterator per level-0 table and one per further level that has tables to `out_iters`, which has room for
 * version_iter_count(v). They borrow the version. On failure none is left.
 */
size_t version_iter_count(const struct version *v);
enum nokv_status version_iters_create(const struct version *v, struct iter **out_iters, size_t *out_count) MUST_CHECK;

/* The index of the first table of a level above 0 whose largest user key is >= user_key; count when there is none. */
size_t level_find(const struct level *level, struct slice user_key);
/*
 * The tables of a level that overlap [smallest, largest] (user keys; data NULL: no bound), in order, as [*out_begin,
 * *out_end). For levels above 0 only.
 */
void level_overlap(const struct level *level, struct slice smallest, struct slice largest, size_t *out_begin,
                   size_t *out_end);
bool table_overlaps(const struct table *t, struct slice smallest, struct slice largest);

/*
 * The concatenation of sorted, disjoint tables: opens one at a time with open(open_arg, ..), on demand. `tables` is
 * borrowed. Movement allocates only when it crosses to another table.
 */
enum nokv_status concat_iter_create(struct table *const *tables, size_t count,
                                    enum nokv_status (*open)(void *arg, struct table *t, struct iter **out_iter),
                                    void *open_arg, struct iter **out_iter) MUST_CHECK;

#endif
