// SPDX-License-Identifier: Apache-2.0
/*
 * sst/filter.h - a blocked Bloom filter: all probes of a key are in one 64-byte line (Putze, Sanders, Singler 2007).
 *
 * The upper half of the key's hash picks the line (multiply-shift), the lower half the bits in it (one multiplication,
 * nine bits per probe); bits 32 to 39, which hardly matter for the line, are the fingerprint in the blocks.
 */
#ifndef SST_FILTER_H
#define SST_FILTER_H

#include "base/coding.h"
#include "sst/format.h"

enum { SST_FILTER_LINE_BYTES = 64, SST_FILTER_PROBES_MAX = 7 };

static inline uint64_t sst_filter_line(uint64_t hash, uint64_t lines)
{
    return ((hash >> 32) * lines) >> 32;
}

/* Pure reading of one cache line. REQUIRES: `line` has 64 bytes. No branch per probe: half of them would be missed. */
static inline bool sst_filter_line_has(const uint8_t *line, uint64_t hash, unsigned probes)
{
    uint64_t m = (hash & UINT32_MAX) * SST_GOLDEN;
    uint64_t all = 1;
    for (unsigned i = 0; i < probes; i++, m <<= 9)
        all &= get_u64(line + (m >> 61) * 8) >> ((m >> 55) & 63);
    return all & 1;
}

static inline void sst_filter_line_add(uint8_t *line, uint64_t hash, unsigned probes)
{
    uint64_t m = (hash & UINT32_MAX) * SST_GOLDEN;
    for (unsigned i = 0; i < probes; i++, m <<= 9) {
        uint8_t *word = line + (m >> 61) * 8;
        put_u64(word, get_u64(word) | 1ull << ((m >> 55) & 63));
    }
}

/* The number of lines for `keys` keys; REQUIRES: both above 0. */
uint64_t sst_filter_lines(uint64_t keys, uint32_t bits_per_key);
unsigned sst_filter_probes(uint32_t bits_per_key);

/* Fill zeroed `lines` lines at `data` from `count` hashes. */
void sst_filter_build(uint8_t *data, uint64_t lines, unsigned probes, const uint64_t *hashes, size_t count);

#endif
