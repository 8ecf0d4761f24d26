// SPDX-License-Identifier: Apache-2.0
/*
 * target.h - which segment a file is, and the one record in it that a pointer leads to. For all who follow pointers:
 * reader, source, rescue. Internal to the module.
 *
 * No state of its own; any thread. What is not as it should be is CORRUPT, named by segment, file and offset.
 */
#ifndef VLOG_TARGET_H
#define VLOG_TARGET_H

#include "vlog/format.h"

/* A segment's file, as far as its first and its last page tell. */
struct segment {
    const char *path; /* borrowed */
    struct segment_id id;
    uint64_t seed;
    uint64_t file_bytes;
    uint64_t end;                 /* of records; of one that is not sealed the end of the file */
    struct segment_footer footer; /* sealed */
    bool is_sealed;
};

/* Set everything but path, by which the messages call it. `is_active`: it has a writer, and no last page yet. CORRUPT
 * when it is not segment `number`. */
enum nokv_status segment_identify(struct segment *s, struct io_file *file, uint64_t number, bool is_active) MUST_CHECK;
/* A record of it that cannot be believed. */
enum nokv_status segment_bad(const struct segment *s, uint64_t off, const char *what) MUST_CHECK;

/* A pointer that was checked against the segment, and what follows from it. */
struct target {
    const struct segment *segment;
    struct slice key;
    uint64_t off;
    uint64_t value_off;
    uint64_t value_size;
    uint64_t sums_off;
    uint64_t end; /* of its bytes but the zeros behind them */
};

/* `end`: no record ends behind it. */
enum nokv_status target_make(const struct segment *s, uint64_t end, const struct vlog_pointer *p, struct slice key,
                             struct target *out) MUST_CHECK;
/* `bytes`: header and key. */
enum nokv_status target_check_header(const struct target *t, const uint8_t *bytes) MUST_CHECK;
/* `sum`: as it stands behind the value. */
enum nokv_status target_check_chunk(const struct target *t, uint64_t index, const uint8_t *data,
                                    uint32_t sum) MUST_CHECK;
/* Chunks [first, first + count), the last of which may be short; `sums` of all of them. */
enum nokv_status target_check_chunks(const struct target *t, uint64_t first, uint64_t count, const uint8_t *data,
                                     const uint8_t *sums) MUST_CHECK;
/* All of a record, as it stands in memory from its header on; *out_value is in there. */
enum nokv_status target_check_record(const struct target *t, const uint8_t *record, struct slice *out_value) MUST_CHECK;

#endif
