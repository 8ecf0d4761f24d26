// SPDX-License-Identifier: Apache-2.0
/*
 * vlog_format_fuzz.c - any bytes as a header or footer page of a segment, the header of a record, a pointer, or the
 * first page of the shared buffers (VLOGBUF).
 *
 * Input: one byte that says which (with SEALED the page gets a right magic and checksum, the record header its
 * checksum), then the bytes; of a page what is missing is zeros.
 *
 * Checked besides not reading elsewhere: what is understood lies within the limits that docs/formats/vlog.md names, is
 * written again and understood the same.
 *
 * The mutator changes whole fields.
 */
#include "../fuzz.h"
#include "vlog/shared.h"

enum { HEADER, FOOTER, RECORD, POINTER, SHARED, KINDS, SEALED = 8 };
enum { HEAD = 1, SEED = 77, OFF = 4096, FOOTER_USED = 64 };

static void must_be_known(enum nokv_status status)
{
    fuzz_must(status == NOKV_OK || status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED, "an odd refusal");
}

static void page_fill(uint8_t page[PAGE_BYTES], const char *magic, bool sealed, const uint8_t *data, size_t size)
{
    size = u64_min(size, PAGE_BYTES);
    memset(page, 0, PAGE_BYTES);
    memcpy(page, data, size);
    if (!sealed)
        return;
    memcpy(page, magic, 8);
    put_u64(page + VLOG_PAGE_CHECKSUM_OFF, checksum64(page, VLOG_PAGE_CHECKSUM_OFF, 0));
}

static void header_check(bool sealed, const uint8_t *data, size_t size)
{
    uint8_t page[PAGE_BYTES], again[PAGE_BYTES];
    struct segment_id id;
    page_fill(page, "NoKVvlg\n", sealed, data, size);
    enum nokv_status status = format_header_decode(page, &id);
    must_be_known(status);
    if (status != NOKV_OK)
        return;
    format_header_page(again, id);
    fuzz_must(memcmp(page, again, 32) == 0, "another header page");
}

static void footer_check(bool sealed, const uint8_t *data, size_t size)
{
    uint8_t page[PAGE_BYTES], again[PAGE_BYTES];
    struct segment_footer f;
    if (size < 8)
        return;
    page_fill(page, "NoKVvle\n", sealed, data + 8, size - 8);
    uint64_t end = get_u64(page + 32), fitting = align_up(end, PAGE_BYTES) + PAGE_BYTES;
    uint64_t file_bytes = data[0] & 1 ? fitting : get_u64(data);
    enum nokv_status status = format_footer_decode(page, file_bytes, &f);
    must_be_known(status);
    if (status != NOKV_OK)
        return;
    fuzz_must(f.end >= VLOG_FIRST && f.end <= file_bytes - PAGE_BYTES && f.value_bytes <= f.record_bytes &&
                  f.record_bytes <= f.end - VLOG_FIRST && f.records <= f.record_bytes / VLOG_RECORD_HEADER,
              "counts that do not fit the file");
    format_footer_page(again, &f);
    fuzz_must(memcmp(page, again, FOOTER_USED) == 0, "another footer page");
}

/* A header with its checksum made right, or as it is. */
static void record_check(bool sealed, const uint8_t *data, size_t size)
{
    static uint8_t bytes[VLOG_RECORD_HEADER + KEY_SIZE_MAX], again[VLOG_RECORD_HEADER];
    struct record_header h;
    if (size < VLOG_RECORD_HEADER)
        return;
    size = u64_min(size, sizeof bytes);
    memcpy(bytes, data, size);
    if (!format_record_claim(bytes, &h))
        return;
    fuzz_must(h.type == VLOG_VALUE ? h.value_size <= KEY_VALUE_SIZE_MAX : h.key_size == 0, "beyond the limits");
    if (h.key_size > size - VLOG_RECORD_HEADER)
        return;
    if (h.type == VLOG_PADDING)
        format_padding(again, SEED, OFF, record_size(&h));
    else
        format_record_header(again, SEED, OFF, (struct ikey){slice_make(bytes + VLOG_RECORD_HEADER, h.key_size), h.tag},
                             h.value_size);
    fuzz_must(memcmp(bytes + 4, again + 4, VLOG_RECORD_HEADER - 4) == 0, "another record header");
    if (sealed)
        memcpy(bytes, again, 4);
    fuzz_must(format_record_sound(bytes, &h, SEED, OFF) == (memcmp(bytes, again, 4) == 0), "sound or not");
}

static void pointer_check(const uint8_t *data, size_t size)
{
    uint8_t again[VLOG_POINTER_SIZE];
    struct vlog_pointer p;
    enum nokv_status status = vlog_pointer_decode(slice_make(data, size), &p);
    must_be_known(status);
    if (status != NOKV_OK)
        return;
    fuzz_must(p.segment != 0 && p.off >= VLOG_FIRST && p.off <= VLOG_OFF_MAX && p.value_size <= KEY_VALUE_SIZE_MAX,
              "a pointer beyond the limits");
    vlog_pointer_encode(&p, again);
    fuzz_must(memcmp(data, again, VLOG_POINTER_SIZE) == 0, "another pointer");
}

static void shared_check(bool sealed, const uint8_t *data, size_t size)
{
    static uint8_t shared[BUFFER_COUNT * (VLOG_BUFFER_MIN + PAGE_BYTES) + PAGE_BYTES];
    struct shared_claim c;
    size = u64_min(size, PAGE_BYTES);
    memset(shared, 0, PAGE_BYTES);
    memcpy(shared, data, size);
    if (sealed) {
        memcpy(shared, "NoKVvlb\n", 8);
        put_u32(shared + 8, SHARED_VERSION);
        put_u32(shared + 12, 0);
    }
    uint32_t bytes = shared_buffer_bytes(shared);
    fuzz_must(bytes == 0 || (bytes >= VLOG_BUFFER_MIN && bytes <= VLOG_BUFFER_MAX && bytes % PAGE_BYTES == 0),
              "a buffer beyond the limits");
    for (unsigned i = 0; i < BUFFER_COUNT; i++) {
        if (!shared_claim_decode(shared, VLOG_BUFFER_MIN, i, &c))
            continue;
        fuzz_must(c.segment != 0 && c.size > 0 && c.size <= VLOG_BUFFER_MIN && c.off >= VLOG_FIRST &&
                      c.off % PAGE_BYTES == 0 && c.off <= VLOG_OFF_MAX,
                  "a claim beyond the limits");
        fuzz_must(c.data >= shared + PAGE_BYTES && c.data + c.size <= shared + sizeof shared, "bytes of a claim");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD)
        return 0;
    bool sealed = data[0] & SEALED;
    switch ((data[0] & 7) % KINDS) {
    case HEADER:
        header_check(sealed, data + HEAD, size - HEAD);
        break;
    case FOOTER:
        footer_check(sealed, data + HEAD, size - HEAD);
        break;
    case RECORD:
        record_check(sealed, data + HEAD, size - HEAD);
        break;
    case POINTER:
        pointer_check(data + HEAD, size - HEAD);
        break;
    default:
        shared_check(sealed, data + HEAD, size - HEAD);
    }
    return 0;
}

/* ---- the mutator ------------------------------------------------------------------------------------------------ */

/* Counts that fit: the end, then the numbers of records and bytes. `page` has FOOTER_USED bytes. */
static void footer_fit(uint8_t *page, uint64_t *random)
{
    uint64_t records = fuzz_draw(random, 100), bytes = records * (32 + 8 * fuzz_draw(random, 50));
    put_u32(page + 8, VLOG_VERSION);
    put_u32(page + 12, 0);
    put_u64(page + 32, VLOG_FIRST + bytes + 8 * fuzz_draw(random, 3));
    put_u64(page + 40, records);
    put_u64(page + 48, bytes);
    put_u64(page + 56, bytes / 2);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    size_t wanted = HEAD + 8 + FOOTER_USED;
    if (size < HEAD || max_size < wanted || fuzz_draw(&random, 3) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    if (fuzz_draw(&random, 8) == 0)
        data[0] = (uint8_t)fuzz_draw(&random, 16);
    if ((data[0] & 7) == POINTER)
        wanted = HEAD + VLOG_POINTER_SIZE;
    if (size < wanted)
        memset(data + size, 0, wanted - size);
    size = (data[0] & 7) == POINTER || size < wanted ? wanted : size;
    size_t width = 1u << fuzz_draw(&random, 4);
    uint64_t number = fuzz_number(&random);
    memcpy(data + HEAD + width * fuzz_draw(&random, (wanted - HEAD) / width), &number, width);
    if ((data[0] & 7) == FOOTER && fuzz_draw(&random, 2))
        footer_fit(data + HEAD + 8, &random);
    return size;
}
