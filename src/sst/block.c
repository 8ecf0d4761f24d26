// SPDX-License-Identifier: Apache-2.0
/*
 * block.c - what is done with a data block off the hot path: naming its damage, and binary search for seeks.
 *
 * Point reads use the fingerprints instead of a binary search: one or two vector comparisons in the block's first cache
 * lines name the entry, where a search over 32 entries would touch five scattered ones. Prefix compression with restart
 * points, the usual alternative, saves space but makes every key a copy.
 */
#include "sst/block.h"

enum nokv_status sst_block_explain(const uint8_t *data, uint64_t extent, uint64_t file_number, uint64_t page)
{
    unsigned long long file = file_number, off = page * PAGE_BYTES;
    if (data[10] != 0)
        return FAIL(NOT_SUPPORTED, "sst %llu block @%llu: unknown codec %u: use a newer release", file, off, data[10]);
    if ((data[11] & ~SST_BLOCK_WIDE) != 0)
        return FAIL(NOT_SUPPORTED, "sst %llu block @%llu: unknown flags 0x%x: use a newer release", file, off,
                    data[11]);
    return FAIL(CORRUPT, "sst %llu block @%llu: header says %u entries in %u bytes of %llu", file, off,
                get_u16(data + 8), get_u32(data + 4), (unsigned long long)extent);
}

bool sst_block_lower_bound(const struct sst_block *b, struct ikey target, uint32_t *out_index)
{
    uint32_t low = 0, high = b->count;
    /* The first three probes are among seven entries: fetch them side by side instead of one after the other. */
    for (uint32_t eighth = 1; eighth < 8 && high >= 16; eighth++)
        __builtin_prefetch(b->data + sst_block_offset(b, high * eighth / 8));
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct sst_entry e;
        if (!sst_block_entry(b, middle, &e))
            return false;
        int c = sst_key_compare(e.key, target.user);
        if (c == 0)
            c = e.tag > target.tag ? -1 : 1; /* equal counts as not below */
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *out_index = low;
    return true;
}
