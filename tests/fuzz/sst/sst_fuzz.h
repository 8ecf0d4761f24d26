// SPDX-License-Identifier: Apache-2.0
/*
 * sst_fuzz.h - right checksums for the bytes of a table: nothing gets past those otherwise, and a hostile file has
 * right ones.
 */
#ifndef TESTS_FUZZ_SST_SST_FUZZ_H
#define TESTS_FUZZ_SST_SST_FUZZ_H

#include <stdlib.h>

#include "base/epoch.h"
#include "io/io.h"
#include "sst/block.h"
#include "sst/format.h"

static inline void fuzz_require(bool ok)
{
    if (!ok)
        abort();
}

static inline void fuzz_seal_page(uint8_t *page)
{
    put_u64(page + SST_PAGE_CHECKSUM_OFF, checksum64(page, SST_PAGE_CHECKSUM_OFF, 0));
}

/* Where the footer says that regions are, as far as they are in the file. */
static inline void fuzz_seal(uint8_t *data, size_t size)
{
    if (size < 2 * PAGE_BYTES || size % PAGE_BYTES != 0)
        return;
    uint8_t *footer = data + size - PAGE_BYTES;
    uint64_t number = get_u64(footer + 16);
    for (int i = 0; i < 3; i++) {
        uint8_t *region = footer + 48 + 24 * i;
        uint64_t off = get_u64(region), bytes = get_u64(region + 8);
        if (off <= size && bytes <= size - off && sst_pages(bytes) * PAGE_BYTES <= size - off)
            put_u64(region + 16, sst_region_checksum(data + off, bytes, number));
    }
    uint64_t from = get_u64(footer + 32), bytes = get_u64(footer + 40);
    if (from % PAGE_BYTES == 0 && from <= size && bytes <= size - from) {
        for (uint64_t off = from; off + PAGE_BYTES <= from + bytes;) {
            uint64_t extent = u64_max(sst_pages(get_u32(data + off + 4)), 1) * PAGE_BYTES;
            extent = u64_min(extent, (from + bytes - off) / PAGE_BYTES * PAGE_BYTES);
            put_u32(data + off, sst_block_checksum(data + off, extent, sst_block_seed(number, off / PAGE_BYTES)));
            off += extent;
        }
    }
    fuzz_seal_page(data);
    fuzz_seal_page(footer);
}

/* Touch every byte, for the sanitizers. */
static inline unsigned fuzz_touch(struct slice s)
{
    unsigned sum = 0;
    for (size_t i = 0; i < s.size; i++)
        sum += s.data[i];
    return sum;
}

enum { FUZZ_STEPS_MAX = 3000 }; /* of an iterator: a hostile order may not be a walk without end, but it may be long */

#endif
