// SPDX-License-Identifier: Apache-2.0
/*
 * format.c - header, footer and properties of a table, to bytes and back.
 *
 * Order of the checks in a page: magic (is it one of ours at all), checksum (is it whole), version and feature flags
 * (do we know it). A damaged page is so CORRUPT and only a sound one from the future is NOT_SUPPORTED.
 *
 * [I1] A decoded footer's regions lie inside the file, in order, page by page without a gap; block_count is at least 1
 *      and at most the number of data pages; filter.size is a multiple of 64 with 1 to 7 probes, or 0 with none.
 *
 * Pure functions on memory: no state, no threads. Properties are names and values rather than a struct so that later
 * versions can add some (the footer's flags are for changes that an older reader must not ignore).
 */
#include "sst/format.h"

static const char header_magic[8] = "NoKVsst\n";
static const char footer_magic[8] = "NoKVend\n";

static_assert(PAGE_BYTES == SST_PAGE_CHECKSUM_OFF + 8, "the checksum ends the page");

uint64_t sst_region_checksum(const uint8_t *data, uint64_t size, uint64_t file_number)
{
    return size == 0 ? 0 : checksum64(data, sst_pages(size) * PAGE_BYTES, file_number);
}

static void page_seal(uint8_t page[PAGE_BYTES], const char magic[8], uint64_t file_number)
{
    memcpy(page, magic, 8);
    put_u32(page + 8, SST_VERSION);
    put_u32(page + 12, 0);
    put_u64(page + 16, file_number);
    put_u64(page + SST_PAGE_CHECKSUM_OFF, checksum64(page, SST_PAGE_CHECKSUM_OFF, 0));
}

static enum nokv_status page_check(const uint8_t *page, const char magic[8], const char *what)
{
    if (memcmp(page, magic, 8) != 0)
        return FAIL(CORRUPT, "sst %s: the magic number is wrong: not a table, or overwritten", what);
    if (get_u64(page + SST_PAGE_CHECKSUM_OFF) != checksum64(page, SST_PAGE_CHECKSUM_OFF, 0))
        return FAIL(CORRUPT, "sst %s: checksum mismatch", what);
    if (get_u32(page + 8) != SST_VERSION)
        return FAIL(NOT_SUPPORTED, "sst %s: version %u; this build reads %d: use a newer release", what,
                    get_u32(page + 8), SST_VERSION);
    if (get_u32(page + 12) != 0)
        return FAIL(NOT_SUPPORTED, "sst %s: unknown feature flags 0x%x: use a newer release", what, get_u32(page + 12));
    return NOKV_OK;
}

void sst_header_encode(uint8_t page[PAGE_BYTES], uint64_t file_number)
{
    memset(page, 0, PAGE_BYTES);
    page_seal(page, header_magic, file_number);
}

enum nokv_status sst_header_decode(const uint8_t page[PAGE_BYTES], uint64_t *out_file_number)
{
    TRY(page_check(page, header_magic, "header"));
    *out_file_number = get_u64(page + 16);
    return NOKV_OK;
}

static uint8_t *put_region(uint8_t *p, const struct sst_region *r)
{
    put_u64(p, r->off);
    put_u64(p + 8, r->size);
    put_u64(p + 16, r->checksum);
    return p + 24;
}

static const uint8_t *get_region(const uint8_t *p, struct sst_region *r)
{
    r->off = get_u64(p);
    r->size = get_u64(p + 8);
    r->checksum = get_u64(p + 16);
    return p + 24;
}

void sst_footer_encode(uint8_t page[PAGE_BYTES], const struct sst_footer *f)
{
    memset(page, 0, PAGE_BYTES);
    put_u64(page + 24, f->file_bytes);
    put_u64(page + 32, f->data.off);
    put_u64(page + 40, f->data.size);
    uint8_t *p = put_region(page + 48, &f->filter);
    p = put_region(p, &f->index);
    p = put_region(p, &f->properties);
    put_u64(p, f->block_count);
    put_u32(p + 8, f->common_size);
    put_u32(p + 12, f->filter_probes);
    page_seal(page, footer_magic, f->file_number);
}

/* Does the region begin at *off, and does it end in front of `end`? Moves *off behind it. */
static bool region_follows(const struct sst_region *r, uint64_t *off, uint64_t end)
{
    if (r->off != *off || r->size > end - *off || sst_pages(r->size) * PAGE_BYTES > end - *off)
        return false;
    *off += sst_pages(r->size) * PAGE_BYTES;
    return true;
}

/* [I1] */
static bool footer_geometry_ok(const struct sst_footer *f, uint64_t file_bytes)
{
    if (f->file_bytes != file_bytes || file_bytes % PAGE_BYTES != 0 || file_bytes < 4 * PAGE_BYTES)
        return false;
    uint64_t off = PAGE_BYTES, end = file_bytes - PAGE_BYTES;
    if (!region_follows(&f->data, &off, end) || !region_follows(&f->filter, &off, end) ||
        !region_follows(&f->index, &off, end) || !region_follows(&f->properties, &off, end) || off != end)
        return false;
    if (f->data.size % PAGE_BYTES != 0 || f->block_count == 0 || f->block_count > f->data.size / PAGE_BYTES ||
        file_bytes / PAGE_BYTES > UINT32_MAX)
        return false;
    if (f->index.size == 0 || f->properties.size == 0 || f->common_size > KEY_SIZE_MAX)
        return false;
    if (f->filter.size == 0)
        return f->filter_probes == 0;
    return f->filter.size % 64 == 0 && f->filter_probes >= 1 && f->filter_probes <= 7;
}

enum nokv_status sst_footer_decode(const uint8_t page[PAGE_BYTES], uint64_t file_bytes, struct sst_footer *out_footer)
{
    TRY(page_check(page, footer_magic, "footer"));
    struct sst_footer f = {
        .file_number = get_u64(page + 16),
        .file_bytes = get_u64(page + 24),
        .data = {.off = get_u64(page + 32), .size = get_u64(page + 40)},
    };
    const uint8_t *p = get_region(page + 48, &f.filter);
    p = get_region(p, &f.index);
    p = get_region(p, &f.properties);
    f.block_count = get_u64(p);
    f.common_size = get_u32(p + 8);
    f.filter_probes = get_u32(p + 12);
    if (!footer_geometry_ok(&f, file_bytes))
        return FAIL(CORRUPT, "sst footer: the regions do not fill the file of %llu bytes (footer says %llu)",
                    (unsigned long long)file_bytes, (unsigned long long)f.file_bytes);
    *out_footer = f;
    return NOKV_OK;
}

/* ---- properties ------------------------------------------------------------------------------------------------ */

static enum nokv_status property_put(struct buf *out, const char *name, struct slice value)
{
    TRY(buf_append_sized(out, slice_make(name, strlen(name))));
    return buf_append_sized(out, value);
}

static enum nokv_status property_put_u64(struct buf *out, const char *name, uint64_t value)
{
    uint8_t bytes[8];
    put_u64(bytes, value);
    return property_put(out, name, slice_make(bytes, sizeof bytes));
}

static enum nokv_status property_put_ikey(struct buf *out, const char *name, struct ikey key)
{
    uint8_t tag[8];
    put_u64(tag, key.tag);
    TRY(buf_append_sized(out, slice_make(name, strlen(name))));
    TRY(buf_append_varint(out, key.user.size + sizeof tag));
    TRY(buf_append(out, key.user.data, key.user.size));
    return buf_append(out, tag, sizeof tag);
}

static enum nokv_status property_put_kinds(struct buf *out, const uint64_t kinds[SST_KIND_BYTES])
{
    uint8_t bytes[SST_KIND_BYTES * 9];
    size_t size = 0;
    for (unsigned i = 0; i < SST_KIND_BYTES; i++) {
        if (kinds[i] == 0)
            continue;
        bytes[size] = (uint8_t)i;
        put_u64(bytes + size + 1, kinds[i]);
        size += 9;
    }
    return property_put(out, "kinds", slice_make(bytes, size));
}

enum nokv_status sst_properties_encode(const struct sst_properties *p, struct buf *out)
{
    TRY(property_put_ikey(out, "smallest", p->smallest));
    TRY(property_put_ikey(out, "largest", p->largest));
    TRY(property_put_u64(out, "entries", p->info.entries));
    TRY(property_put_u64(out, "tombstones", p->info.tombstones));
    TRY(property_put_u64(out, "seq_min", p->info.seq_min));
    TRY(property_put_u64(out, "seq_max", p->info.seq_max));
    TRY(property_put_u64(out, "raw_bytes", p->info.raw_bytes));
    TRY(property_put_u64(out, "filter_keys", p->filter_keys));
    TRY(property_put_kinds(out, p->kinds));
    TRY(property_put_u64(out, "block_bytes", p->block_bytes));
    return property_put_u64(out, "filter_bits_per_key", p->filter_bits_per_key);
}

static bool property_get_ikey(struct slice value, struct ikey *out)
{
    if (value.size < 9 || value.size - 8 > KEY_SIZE_MAX)
        return false;
    *out = (struct ikey){.user = slice_make(value.data, value.size - 8), .tag = get_u64(value.data + value.size - 8)};
    return true;
}

static bool property_get_kinds(struct slice value, uint64_t kinds[SST_KIND_BYTES])
{
    if (value.size % 9 != 0)
        return false;
    for (size_t i = 0; i < value.size; i += 9)
        if (value.data[i] < SST_KIND_BYTES)
            kinds[value.data[i]] = get_u64(value.data + i + 1);
    return true;
}

/* The numbers; the first five of them and both keys are required. */
enum {
    PROPERTY_SMALLEST = 8,
    PROPERTY_LARGEST,
    PROPERTY_REQUIRED = 0x1f | 1 << PROPERTY_SMALLEST | 1 << PROPERTY_LARGEST
};

static bool name_is(struct slice name, const char *text)
{
    return name.size == strlen(text) && memcmp(name.data, text, name.size) == 0;
}

static bool property_set(struct sst_properties *p, struct slice name, struct slice value, unsigned *seen)
{
    const struct {
        const char *name;
        uint64_t *to;
    } numbers[] = {
        {"entries", &p->info.entries},     {"tombstones", &p->info.tombstones},
        {"seq_min", &p->info.seq_min},     {"seq_max", &p->info.seq_max},
        {"raw_bytes", &p->info.raw_bytes}, {"filter_keys", &p->filter_keys},
        {"block_bytes", &p->block_bytes},  {"filter_bits_per_key", &p->filter_bits_per_key},
    };
    static_assert(ARRAY_COUNT(numbers) == PROPERTY_SMALLEST, "bits of `seen`");
    for (unsigned i = 0; i < ARRAY_COUNT(numbers); i++) {
        if (!name_is(name, numbers[i].name))
            continue;
        if (value.size != 8)
            return false;
        *numbers[i].to = get_u64(value.data);
        *seen |= 1u << i;
        return true;
    }
    if (name_is(name, "smallest")) {
        *seen |= 1u << PROPERTY_SMALLEST;
        return property_get_ikey(value, &p->smallest);
    }
    if (name_is(name, "largest")) {
        *seen |= 1u << PROPERTY_LARGEST;
        return property_get_ikey(value, &p->largest);
    }
    if (name_is(name, "kinds"))
        return property_get_kinds(value, p->kinds);
    return true; /* of a later version */
}

static const uint8_t *get_sized(const uint8_t *p, const uint8_t *end, struct slice *out)
{
    uint64_t size = 0;
    p = get_varint64(p, end, &size);
    if (p == NULL || size > (uint64_t)(end - p))
        return NULL;
    *out = slice_make(p, size);
    return p + size;
}

enum nokv_status sst_properties_decode(struct slice bytes, struct sst_properties *out)
{
    struct sst_properties p = {0};
    unsigned seen = 0;
    const uint8_t *at = bytes.data, *end = bytes.data + bytes.size;
    while (at < end) {
        struct slice name, value;
        size_t off = (size_t)(at - bytes.data);
        if ((at = get_sized(at, end, &name)) == NULL || (at = get_sized(at, end, &value)) == NULL ||
            !property_set(&p, name, value, &seen))
            return FAIL(CORRUPT, "sst properties: malformed at byte %zu", off);
    }
    if ((seen & PROPERTY_REQUIRED) != PROPERTY_REQUIRED)
        return FAIL(CORRUPT, "sst properties: a required one is missing (0x%x seen)", seen);
    if (p.info.entries == 0 || p.info.tombstones > p.info.entries || p.info.seq_min > p.info.seq_max ||
        ikey_compare(p.smallest, p.largest) > 0)
        return FAIL(CORRUPT, "sst properties: they contradict each other");
    *out = p;
    return NOKV_OK;
}
