// SPDX-License-Identifier: Apache-2.0
/*
 * sst_file_fuzz.c - the input is a table file; once as it is, and once with right checksums. The corpus has sound
 * tables.
 *
 * The mutator changes bytes of one page, mostly where that has its fields, doubles or exchanges pages, and puts right
 * checksums on the whole.
 */
#include "table_fuzz.h"

enum { TABLE_BYTES_MAX = 1 << 17 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t sealed[TABLE_BYTES_MAX];
    const struct slice keys[] = {slice_make("", 0),    slice_make("apple", 5),  slice_make("banana", 6),
                                 slice_make("fig", 3), slice_make("\xff\0", 2), slice_make("\xff\xff\xff", 3)};
    if (size > TABLE_BYTES_MAX)
        return 0;
    if (size > 0)
        memcpy(sealed, data, size);
    fuzz_seal(sealed, size);
    fuzz_table(sealed, size, keys, ARRAY_COUNT(keys));
    if (size > 0 && memcmp(sealed, data, size) != 0)
        fuzz_table(data, size, keys, ARRAY_COUNT(keys));
    return 0;
}

/* ---- the mutator ------------------------------------------------------------------------------------------------ */

/* Bytes of the page, as many as before. */
static void page_change(uint8_t *page, uint64_t *random)
{
    uint8_t scratch[PAGE_BYTES];
    size_t from = fuzz_draw(random, 4) ? fuzz_draw(random, 256) : fuzz_draw(random, PAGE_BYTES - 16);
    size_t size = u64_min(4 + fuzz_draw(random, 64), PAGE_BYTES - from);
    memcpy(scratch, page + from, size);
    size_t changed = LLVMFuzzerMutate(scratch, size, size);
    memcpy(page + from, scratch, changed);
}

static void page_number(uint8_t *page, uint64_t *random)
{
    uint64_t number = fuzz_number(random);
    size_t width = 1u << fuzz_draw(random, 4);
    memcpy(page + fuzz_draw(random, 160 / width) * width, &number, width);
}

static void pages_exchange(uint8_t *a, uint8_t *b)
{
    uint8_t scratch[PAGE_BYTES];
    memcpy(scratch, a, PAGE_BYTES);
    memcpy(a, b, PAGE_BYTES);
    memcpy(b, scratch, PAGE_BYTES);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    size_t pages = size / PAGE_BYTES;
    if (pages < 4 || size % PAGE_BYTES != 0 || fuzz_draw(&random, 16) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    uint8_t *page = data + fuzz_draw(&random, pages) * PAGE_BYTES;
    switch (fuzz_draw(&random, 8)) {
    case 0:
        pages_exchange(page, data + fuzz_draw(&random, pages) * PAGE_BYTES);
        break;
    case 1:
        if (max_size - size < PAGE_BYTES)
            break;
        memmove(page + PAGE_BYTES, page, (size_t)(data + size - page));
        size += PAGE_BYTES;
        put_u64(data + size - PAGE_BYTES + 24, size);
        break;
    case 2:
    case 3:
        page_number(page, &random);
        break;
    default:
        page_change(page, &random);
    }
    fuzz_seal(data, size);
    return size;
}
