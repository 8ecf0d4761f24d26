// SPDX-License-Identifier: Apache-2.0
/*
 * lsm/picker.h - which compaction is due, and how much debt there is. Pure: looks at a version, changes nothing.
 *
 * Level targets are dynamic (RocksDB's idea): the largest level sets them from below, so that most data lies in the
 * last level and the levels above together hold about a tenth of it. The first level below level 0 (the base level) has
 * a target between level_base_bytes and level_base_bytes x level_ratio.
 */
#ifndef LSM_PICKER_H
#define LSM_PICKER_H

#include "lsm/version.h"

struct picker_options {
    uint64_t level_base_bytes;
    uint32_t level_ratio;
    uint64_t table_bytes;
    uint32_t l0_compact_files; /* level 0 is merged from this count on when `tidy` */
    uint32_t l0_busy_files;    /* and from this one on otherwise */
};

struct level_targets {
    uint32_t base_level;         /* where level 0 goes */
    uint64_t target[LEVELS_MAX]; /* bytes; 0 for levels above the base */
    double score[LEVELS_MAX];    /* from 1.0 on a compaction is due */
    uint64_t pending_bytes;      /* rough: bytes that compactions still have to read to bring every score below 1 */
};

/* `tidy`: nobody writes, or many read: few sorted runs are worth a merge. */
void picker_targets(const struct version *v, const struct picker_options *options, bool tidy,
                    struct level_targets *out_targets);

/* Inputs of a compaction, by level. Tables are borrowed from the version, which the owner must reference. */
struct compaction_inputs {
    uint32_t level; /* the first level that takes part */
    uint32_t output_level;
    struct table **tables[LEVELS_MAX]; /* owned lists; level 0 newest first */
    size_t counts[LEVELS_MAX];
    bool trivial_move; /* nothing to merge: the tables of `level` only change their level */
};

void compaction_inputs_deinit(struct compaction_inputs *in);
/*
 * The most urgent compaction whose tables are all free (table.compacting is false). *out_found false: none is due or
 * possible. `level0_busy`: one from level 0 runs already. NO_MEMORY.
 */
enum nokv_status picker_pick(const struct version *v, const struct picker_options *options, bool tidy, bool level0_busy,
                             struct compaction_inputs *out_inputs, bool *out_found) MUST_CHECK;
/* Everything that overlaps [first, last] on any level, down to the deepest (data NULL: no bound). */
enum nokv_status picker_pick_range(const struct version *v, struct slice first, struct slice last,
                                   struct compaction_inputs *out_inputs, bool *out_found) MUST_CHECK;

#endif
