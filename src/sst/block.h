// SPDX-License-Identifier: Apache-2.0
/*
 * sst/block.h - looking at a data block in place: its header, its entries, the fingerprints of a point read.
 *
 * A block lies in `extent` bytes (whole pages). Every function here is safe on any bytes: offsets and sizes are checked
 * where they are followed, each time, because a page may be read from the disk anew after its checksum was verified;
 * the checks are predictable branches. Pure reading, fit for io_guarded().
 */
#ifndef SST_BLOCK_H
#define SST_BLOCK_H

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/coding.h"
#include "base/hash.h"
#include "key/key.h"

enum {
    SST_BLOCK_HEADER_BYTES = 12,
    SST_BLOCK_WIDE = 1,           /* flag: offsets of four bytes */
    SST_BLOCK_NARROW_MAX = 65535, /* used bytes up to which offsets have two bytes */
    SST_ENTRY_BYTES_MIN = 10,     /* tag, size of the key, key of one byte */
};

struct sst_block {
    const uint8_t *data;
    uint32_t used;
    uint32_t count;
    uint32_t offsets; /* where the offsets begin */
    uint32_t entries; /* where the entries begin */
    bool wide;
};

struct sst_entry {
    uint64_t tag;
    struct slice key;
    struct slice value;
};

/* Bytes of a block with `count` entries of `entries_size` bytes in all. */
static inline uint64_t sst_block_size(uint64_t count, uint64_t entries_size)
{
    uint64_t size = SST_BLOCK_HEADER_BYTES + count + 2 * (count + 1) + entries_size;
    return size <= SST_BLOCK_NARROW_MAX ? size : size + 2 * (count + 1);
}

static inline uint8_t sst_fingerprint(uint64_t hash)
{
    return (uint8_t)(hash >> 32);
}

/* False: malformed, or of a kind that this build does not know; sst_block_explain() says which. */
static inline bool sst_block_open(const uint8_t *data, uint64_t extent, struct sst_block *out)
{
    uint32_t used = get_u32(data + 4);
    uint32_t count = get_u16(data + 8);
    uint32_t mode = get_u16(data + 10); /* codec, flags */
    bool wide = mode == SST_BLOCK_WIDE << 8;
    out->data = data;
    out->used = used;
    out->count = count;
    out->wide = wide;
    out->offsets = SST_BLOCK_HEADER_BYTES + count;
    out->entries = out->offsets + ((count + 1) << (wide ? 2 : 1));
    bool bad = (mode & ~(uint32_t)(SST_BLOCK_WIDE << 8)) | (count == 0) | (used > extent) |
               ((uint64_t)out->entries + SST_ENTRY_BYTES_MIN * (uint64_t)count > used);
    return !bad;
}

/* Why sst_block_open() failed: NOT_SUPPORTED or CORRUPT. */
enum nokv_status sst_block_explain(const uint8_t *data, uint64_t extent, uint64_t file_number,
                                   uint64_t page) MUST_CHECK;

static inline uint32_t sst_block_offset(const struct sst_block *b, uint32_t i)
{
    const uint8_t *p = b->data + b->offsets;
    return b->wide ? get_u32(p + 4 * (size_t)i) : get_u16(p + 2 * (size_t)i);
}

/* REQUIRES: i < count. False: malformed. */
static inline bool sst_block_entry(const struct sst_block *b, uint32_t i, struct sst_entry *out)
{
    uint64_t off = sst_block_offset(b, i), end = sst_block_offset(b, i + 1);
    if (UNLIKELY(off < b->entries || end > b->used || off + SST_ENTRY_BYTES_MIN > end))
        return false;
    const uint8_t *p = b->data + off, *stop = b->data + end;
    out->tag = get_u64(p);
    uint32_t key_size = 0;
    p = get_varint32(p + 8, stop, &key_size);
    if (UNLIKELY(p == NULL || key_size == 0 || key_size > KEY_SIZE_MAX || key_size > (uint64_t)(stop - p)))
        return false;
    out->key = slice_make(p, key_size);
    out->value = slice_make(p + key_size, (size_t)(stop - p) - key_size);
    return true;
}

/* Equality of `size` bytes without a call; keys are short. */
static inline bool sst_bytes_equal(const uint8_t *a, const uint8_t *b, size_t size)
{
    if (size < 8) {
        for (size_t i = 0; i < size; i++)
            if (a[i] != b[i])
                return false;
        return true;
    }
    for (size_t i = 0; i + 8 < size; i += 8)
        if (get_u64(a + i) != get_u64(b + i))
            return false;
    return get_u64(a + size - 8) == get_u64(b + size - 8);
}

/* key_compare() with the first eight bytes compared as a number. */
static inline int sst_key_compare(struct slice a, struct slice b)
{
    if (LIKELY(a.size >= 8 && b.size >= 8)) {
        uint64_t x = __builtin_bswap64(get_u64(a.data)), y = __builtin_bswap64(get_u64(b.data));
        if (x != y)
            return x < y ? -1 : 1;
    }
    return key_compare(a, b);
}

/*
 * Which of the (up to) 16 fingerprints from `p` on equal `fingerprint`, as bits. Reads 16 bytes whatever stands behind
 * the fingerprints: in a sound block of at least one page that is inside its pages.
 */
static inline uint32_t sst_fingerprint_match(const uint8_t *p, uint8_t fingerprint)
{
#ifdef __SSE2__
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8((char)fingerprint)));
#else
    uint32_t mask = 0;
    for (unsigned i = 0; i < 16; i++)
        mask |= (uint32_t)(p[i] == fingerprint) << i;
    return mask;
#endif
}

/*
 * The first version of `key` whose tag is not above `tag_max`, that is, the newest that may be seen. *out_found tells;
 * false is returned for a malformed block. REQUIRES: it came from sst_block_open() with an extent of whole pages.
 */
static inline bool sst_block_find(const struct sst_block *b, struct slice key, uint64_t hash, uint64_t tag_max,
                                  struct sst_entry *out, uint32_t *out_index, bool *out_found)
{
    const uint8_t *fingerprints = b->data + SST_BLOCK_HEADER_BYTES;
    uint8_t fingerprint = sst_fingerprint(hash);
    for (uint32_t base = 0; base < b->count; base += 16) {
        uint32_t mask = sst_fingerprint_match(fingerprints + base, fingerprint);
        if (b->count - base < 16)
            mask &= (1u << (b->count - base)) - 1;
        for (; mask != 0; mask &= mask - 1) {
            *out_index = base + (uint32_t)__builtin_ctz(mask);
            if (UNLIKELY(!sst_block_entry(b, *out_index, out)))
                return false;
            if (out->key.size == key.size && sst_bytes_equal(out->key.data, key.data, key.size) &&
                LIKELY(out->tag <= tag_max)) {
                *out_found = true;
                return true;
            }
        }
    }
    *out_found = false;
    return true;
}

/* The first entry that is not below `target`, or count. False: malformed. */
bool sst_block_lower_bound(const struct sst_block *b, struct ikey target, uint32_t *out_index);

/* Checksum of a block as it stands in `extent` bytes. */
static inline uint32_t sst_block_checksum(const uint8_t *data, uint64_t extent, uint64_t seed)
{
    return checksum32(data + 4, extent - 4, seed);
}

#endif
