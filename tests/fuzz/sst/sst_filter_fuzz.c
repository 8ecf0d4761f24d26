// SPDX-License-Identifier: Apache-2.0
/*
 * sst_filter_fuzz.c - any bytes as the filter of a table, and filters of any keys.
 *
 * Input: number of probes and of lines (one byte each), number of keys (one byte), so many hashes of eight bytes, then
 * the filter's bytes, as far as they go; the rest is zeros.
 *
 * Checked: a line lies in the filter; whether a filter of any bytes has a key is what docs/formats/sst.md says, bit by
 * bit; a filter that was built of keys has all of them.
 */
#include "../fuzz.h"
#include "sst/filter.h"

enum { HEAD = 3, HASH = 8, LINES_MAX = 32 };

/* As the format says it, without the shortcuts. */
static bool plain_has(const uint8_t *filter, uint64_t lines, unsigned probes, uint64_t hash)
{
    const uint8_t *line = filter + (size_t)(((unsigned __int128)(hash >> 32) * lines) >> 32) * SST_FILTER_LINE_BYTES;
    uint64_t m = (hash % (1ull << 32)) * 0x9E3779B97F4A7C15ull;
    for (unsigned i = 0; i < probes; i++) {
        uint64_t b = (m << (9 * i)) >> 55;
        if (!(line[b / 8] >> b % 8 & 1))
            return false;
    }
    return true;
}

static bool has(const uint8_t *filter, uint64_t lines, unsigned probes, uint64_t hash)
{
    uint64_t line = sst_filter_line(hash, lines);
    fuzz_must(line < lines, "a line behind the filter");
    return sst_filter_line_has(filter + line * SST_FILTER_LINE_BYTES, hash, probes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint64_t hashes[UINT8_MAX + 1];
    if (size < HEAD)
        return 0;
    unsigned probes = 1 + data[0] % SST_FILTER_PROBES_MAX;
    uint64_t lines = 1 + data[1] % LINES_MAX;
    size_t count = u64_min(data[2], (size - HEAD) / HASH), bytes = lines * SST_FILTER_LINE_BYTES;
    uint8_t *filter = calloc(1, bytes);
    fuzz_must(filter != NULL, "calloc");
    for (size_t i = 0; i < count; i++)
        hashes[i] = get_u64(data + HEAD + HASH * i);
    size_t given = u64_min(size - HEAD - HASH * count, bytes);
    memcpy(filter, data + HEAD + HASH * count, given);
    for (size_t i = 0; i < count; i++)
        fuzz_must(has(filter, lines, probes, hashes[i]) == plain_has(filter, lines, probes, hashes[i]), "has");
    sst_filter_build(filter, lines, probes, hashes, count);
    for (size_t i = 0; i < count; i++) {
        fuzz_must(has(filter, lines, probes, hashes[i]), "a key that was added is missing");
        fuzz_must(plain_has(filter, lines, probes, hashes[i]), "built of other bits than the format says");
    }
    free(filter);
    return 0;
}

/* Hashes are the units: one more, one less, another. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    if (size < HEAD || fuzz_draw(&random, 4) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    size_t changed = fuzz_mutate_units(data, size, max_size, HEAD, HASH, &random);
    if (changed >= HEAD && fuzz_draw(&random, 4))
        data[2] = (uint8_t)u64_min((changed - HEAD) / HASH, 1 + fuzz_draw(&random, UINT8_MAX));
    return changed;
}
