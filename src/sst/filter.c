// SPDX-License-Identifier: Apache-2.0
/*
 * filter.c - sizing and filling a table's filter.
 *
 * The builder keeps the hash of each distinct user key (8 bytes) until the table's end, because only then the number of
 * lines is known. The lines are then filled in the order of the keys, which is random over the lines; the next ones are
 * prefetched. The rate of false positives at 10 bits per key is measured by tests/unit/sst/filter_test.c (about 1.2%;
 * an unblocked Bloom filter has 0.9% and needs six cache misses where this one needs one).
 */
#include "sst/filter.h"

uint64_t sst_filter_lines(uint64_t keys, uint32_t bits_per_key)
{
    uint64_t line_bits = SST_FILTER_LINE_BYTES * 8;
    uint64_t lines = (keys * bits_per_key + line_bits - 1) / line_bits;
    return lines < UINT32_MAX ? u64_max(lines, 1) : UINT32_MAX;
}

unsigned sst_filter_probes(uint32_t bits_per_key)
{
    unsigned probes = (bits_per_key * 6 + 5) / 10;
    return probes < 1 ? 1 : probes > SST_FILTER_PROBES_MAX ? SST_FILTER_PROBES_MAX : probes;
}

void sst_filter_build(uint8_t *data, uint64_t lines, unsigned probes, const uint64_t *hashes, size_t count)
{
    enum { AHEAD = 12 };
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count)
            __builtin_prefetch(data + sst_filter_line(hashes[i + AHEAD], lines) * SST_FILTER_LINE_BYTES, 1);
        sst_filter_line_add(data + sst_filter_line(hashes[i], lines) * SST_FILTER_LINE_BYTES, hashes[i], probes);
    }
}
