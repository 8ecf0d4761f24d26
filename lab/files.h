// SPDX-License-Identifier: Apache-2.0
/*
 * lab/files.h - the files that are measured: tables and segments of the value log, made by the engine's own writers.
 */
#ifndef LAB_FILES_H
#define LAB_FILES_H

#include "lab/lab.h"
#include "vlog/vlog.h"

enum { LAB_KEY_BYTES = 16, LAB_TABLE_NUMBER = 1, LAB_SEGMENT_NUMBER = 1 };

void lab_key(uint64_t seed, uint64_t index, uint8_t out_key[LAB_KEY_BYTES]); /* ascending with the index */

/* A table of at least `bytes` at lab->dir/name. */
enum nokv_status lab_table_build(const struct lab *lab, struct io *io, const char *name, enum io_model model,
                                 uint64_t bytes, uint64_t seed, uint64_t *out_file_bytes) MUST_CHECK;

/* A file as pages of 4 KiB, each with its checksum: what a read of one is verified with. */
struct lab_pages {
    uint64_t count;
    uint64_t sums[]; /* of count */
};
static inline size_t lab_pages_bytes(uint64_t count)
{
    return sizeof(struct lab_pages) + count * sizeof(uint64_t);
}
/* Whole pages of the file at lab->dir/name; REQUIRES: room for lab_pages_bytes() of its size. */
enum nokv_status lab_pages_take(const struct lab *lab, struct io *io, const char *name,
                                struct lab_pages *out_pages) MUST_CHECK;

/* What a segment holds: value i is lab_fill(seed, i), its key lab_key(seed, i). */
struct lab_values {
    uint64_t seed;
    size_t value_bytes;
    uint64_t count;
    uint64_t *sums;                 /* NULL, or the checksum of each value; borrowed */
    struct vlog_pointer pointers[]; /* of count */
};
static inline size_t lab_values_bytes(uint64_t count)
{
    return sizeof(struct lab_values) + count * sizeof(struct vlog_pointer);
}
/* A sealed segment of values->count values at lab->dir/name; fills in the pointers. */
enum nokv_status lab_segment_build(const struct lab *lab, struct io *io, const char *name, enum io_model model,
                                   struct lab_values *values) MUST_CHECK;

#endif
