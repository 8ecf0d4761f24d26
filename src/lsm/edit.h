// SPDX-License-Identifier: Apache-2.0
/*
 * lsm/edit.h - version edit: one atomic change of the set of files, as one record of the MANIFEST.
 *
 * docs/formats/manifest.md is the format. An edit owns its lists and the key bytes in them (edit_deinit).
 */
#ifndef LSM_EDIT_H
#define LSM_EDIT_H

#include "base/buf.h"
#include "key/key.h"

enum { LEVELS_MAX = 8 };

/* What a table points to in one segment of the value log. */
struct vlog_ref {
    uint64_t segment;
    uint64_t records;
    uint64_t bytes; /* the sum of their vlog_record_size() */
};

/* A table as the MANIFEST describes it. Keys and refs are owned. */
struct table_desc {
    uint64_t number;
    uint64_t file_bytes, entries, tombstones, raw_bytes;
    uint64_t seq_min, seq_max;
    struct ikey smallest, largest;
    struct vlog_ref *refs; /* ascending by segment; none of them empty */
    size_t ref_count;
};

/* Who wrote a segment of the value log. The numbers are part of the MANIFEST's format. */
enum segment_origin { SEGMENT_DIRECT = 1, SEGMENT_FLUSH = 2, SEGMENT_COLLECT = 3, SEGMENT_RECOVERED = 4 };

struct segment_desc {
    uint64_t number;
    uint64_t file_bytes;
    enum segment_origin origin;
    bool sealed; /* it has a footer; otherwise a crash left it */
};

struct edit_add {
    uint32_t level;
    struct table_desc table;
};

struct edit_remove {
    uint32_t level;
    uint64_t number;
};

/* Zero-initialised: an empty edit. */
struct edit {
    bool has_log_number, has_next_number, has_last_seq;
    uint64_t log_number;  /* logs below it are no longer needed */
    uint64_t next_number; /* no file with this number or above was created before */
    uint64_t last_seq;    /* at least the highest sequence number in the tables */
    struct edit_add *adds;
    size_t add_count, add_capacity;
    struct edit_remove *removes;
    size_t remove_count, remove_capacity;
    struct segment_desc *segment_adds; /* one that is known already is described anew */
    size_t segment_add_count, segment_add_capacity;
    uint64_t *segment_removes;
    size_t segment_remove_count, segment_remove_capacity;
};

void edit_deinit(struct edit *e);
/* Copies the keys. */
enum nokv_status edit_add_table(struct edit *e, uint32_t level, const struct table_desc *table) MUST_CHECK;
enum nokv_status edit_remove_table(struct edit *e, uint32_t level, uint64_t number) MUST_CHECK;
enum nokv_status edit_add_segment(struct edit *e, const struct segment_desc *segment) MUST_CHECK;
enum nokv_status edit_remove_segment(struct edit *e, uint64_t number) MUST_CHECK;
const char *segment_origin_name(enum segment_origin origin); /* "flush"; static */

/* Appends the record's payload to `out`. */
enum nokv_status edit_encode(const struct edit *e, struct buf *out) MUST_CHECK;
/* Into an empty edit; on failure the caller still calls edit_deinit. `where` names the file in messages. CORRUPT,
 * NOT_SUPPORTED (a field that must be understood and is not), NO_MEMORY. */
enum nokv_status edit_decode(struct slice payload, const char *where, struct edit *out_edit) MUST_CHECK;

/* For copies of a description. */
enum nokv_status table_desc_copy(const struct table_desc *from, struct table_desc *out_copy) MUST_CHECK;
void table_desc_deinit(struct table_desc *d);

#endif
