// SPDX-License-Identifier: Apache-2.0
/*
 * db/batch.h - the payload of a WAL record: one batch of writes, whole. docs/formats/wal.md is the format.
 *
 *   u8 version (1) | u8 flags (0) | u16 zero | u32 count | u64 first sequence number | entries
 *   entry: u8 kind byte | varint column family (0) | varint key size | varint value size | key | value
 *
 * Entry i has sequence number first + i. A user's nokv_batch holds exactly these bytes, with the sequence number filled
 * in when it is written.
 */
#ifndef DB_BATCH_H
#define DB_BATCH_H

#include "base/buf.h"
#include "base/coding.h"
#include "key/key.h"
#include "nokv/nokv.h"

enum { BATCH_VERSION = 1, BATCH_HEADER = 16, BATCH_ENTRY_HEAD_MAX = 1 + 1 + VARINT32_SIZE_MAX + VARINT32_SIZE_MAX };

struct nokv_batch {
    struct buf bytes; /* header and entries; empty until the first entry */
    uint32_t count, deletes;
    uint64_t payload_bytes;  /* keys and values */
    uint64_t value_size_max; /* of the largest value */
};

/* One more entry. TOO_LARGE, NO_MEMORY. */
enum nokv_status batch_append(struct nokv_batch *b, unsigned kind, struct slice key, struct slice value) MUST_CHECK;

static inline void batch_header_encode(uint8_t out[BATCH_HEADER], uint32_t count, uint64_t first_seq)
{
    memset(out, 0, BATCH_HEADER);
    out[0] = BATCH_VERSION;
    put_u32(out + 4, count);
    put_u64(out + 8, first_seq);
}

/* The part of an entry in front of its key; returns its size. */
static inline size_t batch_entry_head_encode(uint8_t out[BATCH_ENTRY_HEAD_MAX], unsigned kind_byte, size_t key_size,
                                             size_t value_size)
{
    uint8_t *p = out;
    *p++ = (uint8_t)kind_byte;
    *p++ = 0;
    p = put_varint64(p, key_size);
    p = put_varint64(p, value_size);
    return (size_t)(p - out);
}

struct batch_reader {
    const uint8_t *p, *end;
    uint32_t left;
    uint64_t seq;
    const char *where; /* names the record in messages; borrowed */
};

struct batch_entry {
    struct ikey key;
    struct slice value;
};

/* The entries of a batch that was built here, from sequence number `seq` on. Borrows the batch. */
static inline struct batch_reader batch_entries(const struct nokv_batch *b, uint64_t seq)
{
    return (struct batch_reader){.p = b->bytes.data + BATCH_HEADER,
                                 .end = b->bytes.data + b->bytes.size,
                                 .left = b->count,
                                 .seq = seq,
                                 .where = "batch"};
}

/* CORRUPT or NOT_SUPPORTED for anything that is not exactly a batch. The payload is borrowed. */
enum nokv_status batch_reader_init(struct batch_reader *r, struct slice payload, const char *where) MUST_CHECK;
/* *out_more false: all entries were read, and nothing is left over. */
enum nokv_status batch_reader_next(struct batch_reader *r, struct batch_entry *out_entry, bool *out_more) MUST_CHECK;

/* Is the pair within the limits of the API? INVALID, TOO_LARGE. */
enum nokv_status key_check(const void *key, size_t key_size) MUST_CHECK;
enum nokv_status value_check(const void *value, size_t value_size) MUST_CHECK;

#endif
