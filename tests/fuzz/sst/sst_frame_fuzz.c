// SPDX-License-Identifier: Apache-2.0
/*
 * sst_frame_fuzz.c - any bytes as the header page, the footer page or the properties of a table.
 *
 * Input: one byte that says which (and, with SEALED, that the page gets a right magic and checksum), then the beginning
 * of the page, whose rest is zeros, or the properties. For the footer two bytes more in front: the size of the file, in
 * pages; with FITTING the footer's own idea of it.
 *
 * Checked besides not reading elsewhere: regions lie in the file, in order, without a gap; what is understood is
 * written again and understood the same.
 *
 * The mutator changes fields of a page, lets regions follow each other, and moves whole properties about.
 */
#include "../fuzz.h"
#include "sst/format.h"

enum { HEADER, FOOTER, PROPERTIES, KINDS, SEALED = 4, FITTING = 8 };
enum { HEAD = 1, PAGES_BYTES = 2, FOOTER_USED = 136 };

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static void page_fill(uint8_t page[PAGE_BYTES], const char *magic, bool sealed, const uint8_t *data, size_t size)
{
    size = u64_min(size, PAGE_BYTES);
    memset(page, 0, PAGE_BYTES);
    memcpy(page, data, size);
    if (!sealed)
        return;
    memcpy(page, magic, 8);
    put_u64(page + SST_PAGE_CHECKSUM_OFF, checksum64(page, SST_PAGE_CHECKSUM_OFF, 0));
}

static void must_be_known(enum nokv_status status)
{
    fuzz_must(status == NOKV_OK || status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED, "an odd refusal");
}

static void header_check(bool sealed, const uint8_t *data, size_t size)
{
    uint8_t page[PAGE_BYTES], again[PAGE_BYTES];
    uint64_t number = 0;
    page_fill(page, "NoKVsst\n", sealed, data, size);
    enum nokv_status status = sst_header_decode(page, &number);
    must_be_known(status);
    if (status != NOKV_OK)
        return;
    sst_header_encode(again, number);
    fuzz_must(memcmp(page, again, 24) == 0, "another header page");
}

static void geometry_check(const struct sst_footer *f)
{
    const struct sst_region *regions[] = {&f->data, &f->filter, &f->index, &f->properties};
    uint64_t off = PAGE_BYTES;
    for (size_t i = 0; i < ARRAY_COUNT(regions); i++) {
        fuzz_must(regions[i]->off == off, "a gap between regions");
        off += sst_pages(regions[i]->size) * PAGE_BYTES;
        fuzz_must(off < f->file_bytes, "a region behind the file");
    }
    fuzz_must(off == f->file_bytes - PAGE_BYTES && f->block_count > 0 && f->block_count <= f->file_bytes / PAGE_BYTES,
              "regions and blocks do not fill the file");
    fuzz_must(f->filter_probes <= 7 && (f->filter_probes == 0) == (f->filter.size == 0) && f->filter.size % 64 == 0,
              "an impossible filter");
}

static void footer_check(unsigned choices, const uint8_t *data, size_t size)
{
    uint8_t page[PAGE_BYTES], again[PAGE_BYTES];
    struct sst_footer f;
    if (size < PAGES_BYTES)
        return;
    page_fill(page, "NoKVend\n", choices & SEALED, data + PAGES_BYTES, size - PAGES_BYTES);
    uint64_t file_bytes = choices & FITTING ? get_u64(page + 24) : get_u16(data) * (uint64_t)PAGE_BYTES;
    enum nokv_status status = sst_footer_decode(page, file_bytes, &f);
    must_be_known(status);
    if (status != NOKV_OK)
        return;
    geometry_check(&f);
    sst_footer_encode(again, &f);
    fuzz_must(memcmp(page, again, FOOTER_USED) == 0, "another footer page");
}

static void properties_check(const uint8_t *data, size_t size)
{
    static struct buf once, twice;
    struct sst_properties p, again;
    enum nokv_status status = sst_properties_decode(slice_make(data, size), &p);
    must_be_known(status);
    if (status != NOKV_OK)
        return;
    fuzz_must(p.smallest.user.data >= data && p.largest.user.data + p.largest.user.size <= data + size, "keys");
    once.size = twice.size = 0;
    fuzz_must(sst_properties_encode(&p, &once) == NOKV_OK, "encode");
    fuzz_must(sst_properties_decode(buf_slice(&once), &again) == NOKV_OK, "what was written is not understood");
    fuzz_must(sst_properties_encode(&again, &twice) == NOKV_OK, "encode");
    fuzz_must(slice_equal(buf_slice(&once), buf_slice(&twice)), "what was written is understood differently");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD)
        return 0;
    switch ((data[0] & 3) % KINDS) {
    case HEADER:
        header_check(data[0] & SEALED, data + HEAD, size - HEAD);
        break;
    case FOOTER:
        footer_check(data[0], data + HEAD, size - HEAD);
        break;
    default:
        properties_check(data + HEAD, size - HEAD);
    }
    return 0;
}

/* ---- the mutator ------------------------------------------------------------------------------------------------ */

/* One field of the page is another number. */
static size_t page_change(uint8_t *page, size_t size, size_t max, uint64_t *random)
{
    static const uint8_t fields[] = {8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 132};
    size_t at = fields[fuzz_draw(random, ARRAY_COUNT(fields))], width = at == 8 || at == 12 || at >= 128 ? 4 : 8;
    if (max < FOOTER_USED)
        return size;
    if (size < FOOTER_USED)
        memset(page + size, 0, FOOTER_USED - size);
    uint64_t number = fuzz_number(random);
    memcpy(page + at, &number, width);
    return size < FOOTER_USED ? FOOTER_USED : size;
}

/* Regions that follow each other up to the end of the file. REQUIRES: FOOTER_USED bytes. */
static void footer_fit(uint8_t *page, uint64_t *random)
{
    uint64_t off = PAGE_BYTES;
    put_u32(page + 8, SST_VERSION);
    put_u32(page + 12, 0);
    for (unsigned i = 0; i < 4; i++) {
        uint8_t *region = page + 32 + (i ? 16 + 24 * (i - 1) : 0);
        uint64_t bytes = get_u64(region + 8) % (1 << 20);
        if (i == 0 && (bytes % PAGE_BYTES != 0 || bytes == 0))
            bytes = align_up(bytes + 1, PAGE_BYTES);
        if (i == 1)
            bytes = bytes / 64 * 64;
        put_u64(region, off);
        put_u64(region + 8, bytes);
        off += sst_pages(bytes) * PAGE_BYTES;
    }
    put_u64(page + 24, off + PAGE_BYTES);
    put_u64(page + 120, 1 + get_u64(page + 120) % (get_u64(page + 40) / PAGE_BYTES));
    if (fuzz_draw(random, 4))
        put_u32(page + 132, get_u64(page + 56) ? 1 + get_u32(page + 132) % 7 : 0);
}

static size_t sized_head(const uint8_t *data, const uint8_t *end, uint64_t *out_size)
{
    const uint8_t *p = get_varint64(data, end, out_size);
    return p && *out_size <= (uint64_t)(end - p) ? (size_t)(p - data) + *out_size : 0;
}

/* One piece per property: name and value with their sizes. */
static void properties_split(struct fuzz_pieces *p)
{
    const uint8_t *end = p->data + p->size;
    for (size_t off = p->head; off < p->size; off = p->ends[p->count - 1]) {
        uint64_t size;
        size_t name = sized_head(p->data + off, end, &size);
        size_t value = name ? sized_head(p->data + off + name, end, &size) : 0;
        if (value == 0 || !piece_add(p, name + value))
            break;
    }
    pieces_end(p);
}

/* The value's size is that of what follows the name. */
static void property_repair(struct fuzz_pieces *p, size_t i)
{
    uint8_t value[512];
    uint64_t name_size = 0, value_size = 0;
    const uint8_t *at = piece_at(p, i), *end = at + piece_size(p, i);
    size_t name = sized_head(at, end, &name_size);
    const uint8_t *body = name ? get_varint64(at + name, end, &value_size) : NULL;
    if (body == NULL || (size_t)(end - body) > sizeof value - VARINT64_SIZE_MAX)
        return;
    size_t rest = (size_t)(end - body);
    uint8_t *to = put_varint64(value, rest);
    memcpy(to, body, rest);
    rest += (size_t)(to - value);
    if (piece_resize(p, i, name + rest))
        memcpy(piece_at(p, i) + name, value, rest);
}

static void property_insert(struct fuzz_pieces *p, uint64_t *random)
{
    static const char *const names[] = {"smallest",    "largest",     "entries",   "tombstones",
                                        "seq_min",     "seq_max",     "raw_bytes", "kinds",
                                        "filter_keys", "block_bytes", "cf",        "filter_bits_per_key"};
    uint8_t property[64], *to = property;
    const char *name = names[fuzz_draw(random, ARRAY_COUNT(names))];
    size_t n = strlen(name), value = fuzz_draw(random, 3) ? 8 : 9 * fuzz_draw(random, 3);
    *to++ = (uint8_t)n;
    memcpy(to, name, n);
    to += n;
    *to++ = (uint8_t)value;
    memset(to, 0, 20);
    to[0] = (uint8_t)fuzz_draw(random, 8);
    to[1] = (uint8_t)fuzz_draw(random, 8);
    (void)piece_insert(p, fuzz_draw(random, p->count + 1), property, 2 + n + value);
}

static size_t properties_change(uint8_t *data, size_t size, size_t max, uint64_t *random)
{
    struct fuzz_pieces p;
    pieces_begin(&p, data, HEAD, size, max);
    properties_split(&p);
    if (p.count == 0 || fuzz_draw(random, 3) == 0)
        property_insert(&p, random);
    else
        pieces_change(&p, fuzz_draw(random, 2) ? 9 : 0, random);
    for (size_t i = 0; i < p.count && fuzz_draw(random, 16); i++)
        property_repair(&p, i);
    return p.size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    if (size < HEAD + PAGES_BYTES || fuzz_draw(&random, 4) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    if (fuzz_draw(&random, 8) == 0)
        data[0] = (uint8_t)fuzz_draw(&random, 16);
    unsigned kind = (data[0] & 3) % KINDS;
    if (kind == PROPERTIES)
        return properties_change(data, size, max_size, &random);
    size_t head = HEAD + (kind == FOOTER ? PAGES_BYTES : 0);
    size = head + page_change(data + head, size - head, max_size - head, &random);
    if (kind == FOOTER && size >= head + FOOTER_USED && fuzz_draw(&random, 2)) {
        data[0] = FOOTER | SEALED | FITTING;
        footer_fit(data + head, &random);
    }
    return size;
}
