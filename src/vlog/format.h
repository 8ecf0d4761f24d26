// SPDX-License-Identifier: Apache-2.0
/*
 * format.h - the bytes of a value-log segment, for writer, reader and scan. docs/formats/vlog.md says what they mean.
 *
 * Internal to the module. Pure functions over bytes; any thread.
 */
#ifndef VLOG_FORMAT_H
#define VLOG_FORMAT_H

#include "base/coding.h"
#include "base/hash.h"
#include "vlog/vlog.h"

enum {
    VLOG_VERSION = 1,
    VLOG_ALIGN = 8,
    VLOG_CHUNK_LOG2 = 16,
    VLOG_RECORD_HEADER = 32,
    VLOG_CHUNK_SUM = 4, /* bytes per chunk behind the value */
    VLOG_PAGE_CHECKSUM_OFF = PAGE_BYTES - 8,
    VLOG_FIRST = PAGE_BYTES, /* offset of the first record */
};
#define VLOG_OFF_MAX (1ull << 56) /* no segment is as long */

static_assert(VLOG_CHUNK == 1 << VLOG_CHUNK_LOG2, "one number");

enum vlog_type { VLOG_VALUE = 1, VLOG_PADDING = 2 };

/* Which segment it is, as its bytes know it. */
struct segment_id {
    uint64_t number;
    uint64_t salt; /* no two segments have the same, even if their numbers are */
};

struct segment_footer {
    struct segment_id id;
    uint64_t end; /* of the last record or padding */
    uint64_t records;
    uint64_t record_bytes;
    uint64_t value_bytes;
};

void format_header_page(uint8_t page[PAGE_BYTES], struct segment_id id);
enum nokv_status format_header_decode(const uint8_t page[PAGE_BYTES], struct segment_id *out_id) MUST_CHECK;
void format_footer_page(uint8_t page[PAGE_BYTES], const struct segment_footer *f);
/* `file_bytes`: of the file whose last page it is. */
enum nokv_status format_footer_decode(const uint8_t page[PAGE_BYTES], uint64_t file_bytes,
                                      struct segment_footer *out_footer) MUST_CHECK;

/* The multiplication (by 2^64 over the golden ratio, odd) moves small numbers away from the low bits. */
static inline uint64_t segment_seed(struct segment_id id)
{
    return id.number * 0x9e3779b97f4a7c15ull + id.salt;
}

static inline uint64_t chunk_count(uint64_t value_size)
{
    return (value_size + VLOG_CHUNK - 1) >> VLOG_CHUNK_LOG2;
}

static inline uint64_t chunk_size(uint64_t value_size, uint64_t index)
{
    return u64_min(VLOG_CHUNK, value_size - (index << VLOG_CHUNK_LOG2));
}

/*
 * A chunk's checksum in two steps: what its bytes are, which is known before the record has a place, and which chunk of
 * which record it is, which is mixed in by an xor.
 */
static inline uint32_t chunk_raw_sum(const uint8_t *data, size_t size, uint64_t seed)
{
    return checksum32(data, size, seed);
}

static inline uint32_t chunk_sum(uint32_t raw, uint64_t seed, uint64_t record_off, uint64_t index)
{
    uint64_t x = (seed ^ record_off) + (index + 1) * 0x9e3779b97f4a7c15ull;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ull;
    x ^= x >> 32;
    return raw ^ (uint32_t)x;
}

/* A record header, decoded. */
struct record_header {
    enum vlog_type type;
    uint32_t key_size;
    uint64_t tag;
    uint64_t value_size; /* of padding: bytes that follow its header */
};

/* Of padding too. */
static inline uint64_t record_size(const struct record_header *h)
{
    return h->type == VLOG_PADDING ? VLOG_RECORD_HEADER + h->value_size : vlog_record_size(h->key_size, h->value_size);
}

void format_record_header(uint8_t header[VLOG_RECORD_HEADER], uint64_t seed, uint64_t off, struct ikey key,
                          uint64_t value_size);
/* A place of `size` bytes that holds nothing. REQUIRES: size >= VLOG_RECORD_HEADER, a multiple of VLOG_ALIGN. */
void format_padding(uint8_t header[VLOG_RECORD_HEADER], uint64_t seed, uint64_t off, uint64_t size);
/* Could these be a header? Its checksum has not been looked at; lengths are within limits, not within the file. */
bool format_record_claim(const uint8_t header[VLOG_RECORD_HEADER], struct record_header *out_header);
/* Is it the one that was written for `off`? `bytes`: header and key in one piece. */
bool format_record_sound(const uint8_t *bytes, const struct record_header *h, uint64_t seed, uint64_t off);

#endif
