// SPDX-License-Identifier: Apache-2.0
/*
 * format.c - pages, record headers and pointers of the value log, to bytes and back.
 *
 * Order of the checks in a page: magic, checksum, then version and feature flags: a damaged page is CORRUPT and only a
 * sound one from the future is NOT_SUPPORTED.
 *
 * [I1] A decoded footer's end lies in the page in front of it, and its counts fit into the segment.
 * [I2] The checksum of a record header covers the key, not the value: a header that is sound says how long its place is
 *      even when the value behind it never reached the disk, so a scan steps over it exactly.
 *
 * Pure functions on memory: no state, no threads.
 */
#include "vlog/format.h"

static const char header_magic[8] = "NoKVvlg\n";
static const char footer_magic[8] = "NoKVvle\n";

/* offsets inside both pages, and of the footer alone */
enum {
    PAGE_VERSION = 8,
    PAGE_FEATURES = 12,
    PAGE_NUMBER = 16,
    PAGE_SALT = 24,
    FOOTER_END = 32,
    FOOTER_RECORDS = 40,
    FOOTER_RECORD_BYTES = 48,
    FOOTER_VALUE_BYTES = 56,
};

/* offsets inside a record header */
enum {
    RECORD_CHECKSUM = 0,    /* u32, over the rest of the header and the key */
    RECORD_TYPE = 4,        /* u8 */
    RECORD_CHUNK = 5,       /* u8: VLOG_CHUNK_LOG2 */
    RECORD_KEY_SIZE = 6,    /* u16 */
    RECORD_TAG = 8,         /* u64 */
    RECORD_VALUE_SIZE = 16, /* u64 */
    RECORD_RESERVED = 24,   /* u64: 0 */
};

static_assert(KEY_SIZE_MAX <= UINT16_MAX, "a key's size has two bytes");
static_assert(KEY_VALUE_SIZE_MAX <= UINT32_MAX, "a value's size has four bytes in a pointer");

/* ---- pages ----------------------------------------------------------------------------------------------------- */

static void page_begin(uint8_t *page, const char magic[8], struct segment_id id)
{
    memset(page, 0, PAGE_BYTES);
    memcpy(page, magic, 8);
    put_u32(page + PAGE_VERSION, VLOG_VERSION);
    put_u64(page + PAGE_NUMBER, id.number);
    put_u64(page + PAGE_SALT, id.salt);
}

static void page_seal(uint8_t *page)
{
    put_u64(page + VLOG_PAGE_CHECKSUM_OFF, checksum64(page, VLOG_PAGE_CHECKSUM_OFF, 0));
}

static enum nokv_status page_check(const uint8_t *page, const char magic[8], const char *what,
                                   struct segment_id *out_id)
{
    if (memcmp(page, magic, 8) != 0)
        return FAIL(CORRUPT, "vlog %s: the magic number is wrong: not a value log, or overwritten", what);
    if (get_u64(page + VLOG_PAGE_CHECKSUM_OFF) != checksum64(page, VLOG_PAGE_CHECKSUM_OFF, 0))
        return FAIL(CORRUPT, "vlog %s: checksum mismatch", what);
    if (get_u32(page + PAGE_VERSION) != VLOG_VERSION)
        return FAIL(NOT_SUPPORTED, "vlog %s: version %u; this build reads %d: use a newer release", what,
                    get_u32(page + PAGE_VERSION), VLOG_VERSION);
    if (get_u32(page + PAGE_FEATURES) != 0)
        return FAIL(NOT_SUPPORTED, "vlog %s: unknown feature flags 0x%x: use a newer release", what,
                    get_u32(page + PAGE_FEATURES));
    *out_id = (struct segment_id){.number = get_u64(page + PAGE_NUMBER), .salt = get_u64(page + PAGE_SALT)};
    return NOKV_OK;
}

void format_header_page(uint8_t page[PAGE_BYTES], struct segment_id id)
{
    page_begin(page, header_magic, id);
    page_seal(page);
}

enum nokv_status format_header_decode(const uint8_t page[PAGE_BYTES], struct segment_id *out_id)
{
    return page_check(page, header_magic, "header", out_id);
}

void format_footer_page(uint8_t page[PAGE_BYTES], const struct segment_footer *f)
{
    page_begin(page, footer_magic, f->id);
    put_u64(page + FOOTER_END, f->end);
    put_u64(page + FOOTER_RECORDS, f->records);
    put_u64(page + FOOTER_RECORD_BYTES, f->record_bytes);
    put_u64(page + FOOTER_VALUE_BYTES, f->value_bytes);
    page_seal(page);
}

/* [I1] */
static bool footer_fits(const struct segment_footer *f, uint64_t file_bytes)
{
    if (file_bytes % PAGE_BYTES != 0 || file_bytes < 2 * PAGE_BYTES || file_bytes > VLOG_OFF_MAX)
        return false;
    if (f->end < VLOG_FIRST || f->end % VLOG_ALIGN != 0 || align_up(f->end, PAGE_BYTES) != file_bytes - PAGE_BYTES)
        return false;
    return f->record_bytes <= f->end - VLOG_FIRST && f->value_bytes <= f->record_bytes &&
           f->records <= f->record_bytes / VLOG_RECORD_HEADER;
}

enum nokv_status format_footer_decode(const uint8_t page[PAGE_BYTES], uint64_t file_bytes,
                                      struct segment_footer *out_footer)
{
    struct segment_footer f = {
        .end = get_u64(page + FOOTER_END),
        .records = get_u64(page + FOOTER_RECORDS),
        .record_bytes = get_u64(page + FOOTER_RECORD_BYTES),
        .value_bytes = get_u64(page + FOOTER_VALUE_BYTES),
    };
    TRY(page_check(page, footer_magic, "footer", &f.id));
    if (f.end > VLOG_OFF_MAX || !footer_fits(&f, file_bytes))
        return FAIL(CORRUPT, "vlog footer: an end at %llu and %llu bytes of records do not fit a file of %llu bytes",
                    (unsigned long long)f.end, (unsigned long long)f.record_bytes, (unsigned long long)file_bytes);
    *out_footer = f;
    return NOKV_OK;
}

/* ---- records --------------------------------------------------------------------------------------------------- */

uint64_t vlog_record_size(size_t key_size, uint64_t value_size)
{
    return align_up(VLOG_RECORD_HEADER + key_size + value_size + VLOG_CHUNK_SUM * chunk_count(value_size), VLOG_ALIGN);
}

/* Over header and key, which need not stand in one piece. */
static uint32_t header_sum(const uint8_t *header, const uint8_t *key, size_t key_size, uint64_t seed, uint64_t off)
{
    const uint8_t *rest = header + RECORD_TYPE;
    size_t rest_size = VLOG_RECORD_HEADER - RECORD_TYPE;
    uint64_t sum = checksum64(rest, rest_size, seed ^ off);
    return key_size == 0 ? (uint32_t)sum : checksum32(key, key_size, sum);
}

static void header_put(uint8_t *header, enum vlog_type type, size_t key_size, uint64_t tag, uint64_t value_size)
{
    memset(header, 0, VLOG_RECORD_HEADER);
    header[RECORD_TYPE] = (uint8_t)type;
    header[RECORD_CHUNK] = VLOG_CHUNK_LOG2;
    put_u16(header + RECORD_KEY_SIZE, (uint16_t)key_size);
    put_u64(header + RECORD_TAG, tag);
    put_u64(header + RECORD_VALUE_SIZE, value_size);
}

void format_record_header(uint8_t header[VLOG_RECORD_HEADER], uint64_t seed, uint64_t off, struct ikey key,
                          uint64_t value_size)
{
    ASSERT(key.user.size <= KEY_SIZE_MAX && value_size <= KEY_VALUE_SIZE_MAX);
    header_put(header, VLOG_VALUE, key.user.size, key.tag, value_size);
    put_u32(header + RECORD_CHECKSUM, header_sum(header, key.user.data, key.user.size, seed, off));
}

void format_padding(uint8_t header[VLOG_RECORD_HEADER], uint64_t seed, uint64_t off, uint64_t size)
{
    ASSERT(size >= VLOG_RECORD_HEADER && size % VLOG_ALIGN == 0);
    header_put(header, VLOG_PADDING, 0, 0, size - VLOG_RECORD_HEADER);
    put_u32(header + RECORD_CHECKSUM, header_sum(header, NULL, 0, seed, off));
}

bool format_record_claim(const uint8_t header[VLOG_RECORD_HEADER], struct record_header *out_header)
{
    struct record_header h = {
        .type = header[RECORD_TYPE],
        .key_size = get_u16(header + RECORD_KEY_SIZE),
        .tag = get_u64(header + RECORD_TAG),
        .value_size = get_u64(header + RECORD_VALUE_SIZE),
    };
    if (header[RECORD_CHUNK] != VLOG_CHUNK_LOG2 || get_u64(header + RECORD_RESERVED) != 0)
        return false;
    if (h.type == VLOG_VALUE && h.value_size > KEY_VALUE_SIZE_MAX)
        return false;
    if (h.type == VLOG_PADDING &&
        (h.key_size != 0 || h.tag != 0 || h.value_size % VLOG_ALIGN != 0 || h.value_size > VLOG_OFF_MAX))
        return false;
    *out_header = h;
    return h.type == VLOG_VALUE || h.type == VLOG_PADDING;
}

bool format_record_sound(const uint8_t *bytes, const struct record_header *h, uint64_t seed, uint64_t off)
{
    return get_u32(bytes + RECORD_CHECKSUM) == header_sum(bytes, bytes + VLOG_RECORD_HEADER, h->key_size, seed, off);
}

/* ---- pointers -------------------------------------------------------------------------------------------------- */

void vlog_pointer_encode(const struct vlog_pointer *p, uint8_t out[VLOG_POINTER_SIZE])
{
    put_u64(out, p->segment);
    put_u64(out + 8, p->off);
    put_u32(out + 16, p->value_size);
}

enum nokv_status vlog_pointer_decode(struct slice bytes, struct vlog_pointer *out_pointer)
{
    if (bytes.size != VLOG_POINTER_SIZE)
        return FAIL(CORRUPT, "value pointer of %zu bytes; it has %d", bytes.size, VLOG_POINTER_SIZE);
    struct vlog_pointer p = {
        .segment = get_u64(bytes.data), .off = get_u64(bytes.data + 8), .value_size = get_u32(bytes.data + 16)};
    if (p.segment == 0 || p.off < VLOG_FIRST || p.off % VLOG_ALIGN != 0 || p.off > VLOG_OFF_MAX ||
        p.value_size > KEY_VALUE_SIZE_MAX)
        return FAIL(CORRUPT, "value pointer to segment %llu @%llu, %u bytes: out of limits",
                    (unsigned long long)p.segment, (unsigned long long)p.off, p.value_size);
    *out_pointer = p;
    return NOKV_OK;
}
