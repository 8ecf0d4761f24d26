// SPDX-License-Identifier: Apache-2.0
/*
 * lsm/manifest.h - the MANIFEST: a record log of version edits, and CURRENT, which names the one in force.
 *
 * Opening a database for writing always begins a new MANIFEST with one edit that describes everything, so a log that
 * was read is never appended to. docs/formats/manifest.md is the format of both files.
 */
#ifndef LSM_MANIFEST_H
#define LSM_MANIFEST_H

#include "lsm/version.h"

/* What CURRENT and its MANIFEST say. */
struct manifest_state {
    uint64_t manifest_number;
    uint64_t log_number;
    uint64_t next_number;
    uint64_t last_seq;
    struct version *version;       /* one reference is the caller's */
    struct segment_desc *segments; /* of the value log, ascending by number; owned: manifest_state_deinit */
    size_t segment_count;
};

struct manifest;

/* Frees the list of segments; the version is the caller's. */
void manifest_state_deinit(struct manifest_state *state);

/* Is there a CURRENT in the directory? */
enum nokv_status manifest_exists(struct io *io, const char *dir, bool *out_exists) MUST_CHECK;
/*
 * Read CURRENT and the MANIFEST that it names and open every table; segments are listed, not looked at. NOT_FOUND
 * without CURRENT; CORRUPT when either is damaged, the MANIFEST is missing, or a table is missing or has another size;
 * NOT_SUPPORTED.
 */
enum nokv_status manifest_recover(struct table_env *env, struct manifest_state *out_state) MUST_CHECK;

/*
 * What was read is written once more, and on the medium from here on: of a process that died, the last edit and the
 * names may be in the page cache only. REQUIRES: before anything else is made durable that rests on it (a log of which
 * it says that it is the first, for one: after a power cut the log before would be needed again, and would not be
 * whole).
 */
enum nokv_status manifest_settle(const struct table_env *env, uint64_t number) MUST_CHECK;

/*
 * The same as manifest_recover without opening a table, beside the process that writes the database or not: what is
 * listed may be gone. *out_total (empty; edit_deinit, on failure too) has each table once in adds, with its level, in
 * no order, and each segment. A MANIFEST that is replaced or written to meanwhile may read as CORRUPT: ask again.
 */
enum nokv_status manifest_list(struct io *io, const char *dir, struct edit *out_total) MUST_CHECK;

/*
 * Begin MANIFEST `number` with everything that `state` describes, durable, and make CURRENT name it, durably.
 * After a failure CURRENT is what it was, or names the complete new file.
 */
enum nokv_status manifest_create(struct table_env *env, uint64_t number, const struct manifest_state *state,
                                 struct manifest **out_manifest) MUST_CHECK;
/* Append an edit and sync. After a failure other than NO_SPACE the manifest must not be used again. */
enum nokv_status manifest_append(struct manifest *m, const struct edit *edit) MUST_CHECK;
void manifest_destroy(struct manifest *m); /* NULL is accepted */
uint64_t manifest_number(const struct manifest *m);
uint64_t manifest_bytes(const struct manifest *m);

/* The edit that makes an empty tree into `state`. */
enum nokv_status manifest_snapshot_edit(const struct manifest_state *state, struct edit *out_edit) MUST_CHECK;

#endif
