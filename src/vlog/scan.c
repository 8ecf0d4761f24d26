// SPDX-License-Identifier: Apache-2.0
/*
 * scan.c - walking a segment from front to back, with a handle and a window of its own.
 *
 * At each offset there is a record, padding, or nothing sound. A header that is sound says how long its place is,
 * whatever happened to the value; where there is none, the next sound header is searched for at every multiple of 8. A
 * checksum seeded with segment, salt and offset makes what is found unambiguous: 32 bits of it and 20 that are fixed.
 *
 * [I1] Nothing is allocated for a length that has not passed its checksum and does not fit into the file.
 * [I2] Every byte from the first record to `end` (sealed) or to the end of the file is counted in exactly one total:
 *      records, padding, unfinished, damaged. The rest of a sealed segment's last page is checked to be zeros.
 *
 * One thread. Failure: the scan is at its end. A read error is passed on, never taken for damage.
 */
#include "base/alloc.h"
#include "vlog/format.h"

enum { WINDOW_BYTES = 1 << 20 };

struct vlog_scan {
    struct io_file *file;
    char *path;
    struct segment_id id;
    uint64_t seed;
    uint64_t value_size_max;
    bool salvage;
    bool must_be_sound;           /* sealed, or should be */
    struct segment_footer footer; /* sealed */
    uint64_t limit;               /* no record ends behind it */
    uint64_t file_bytes;
    /* the window: bytes [window_off, window_off + window_size) of the file */
    uint8_t *window;
    size_t window_capacity;
    uint64_t window_off;
    size_t window_size;
    /* the state */
    uint64_t off;
    bool at_end;
    uint8_t *key; /* a copy, while the window moves over the value */
    size_t key_capacity;
    uint32_t *sums; /* of the value that is verified */
    size_t sum_capacity;
    struct vlog_scan_totals totals;
};

static enum nokv_status bad(const struct vlog_scan *s, uint64_t off, const char *what)
{
    return FAIL(CORRUPT, "value log %llu (%s) record @%llu: %s", (unsigned long long)s->id.number, s->path,
                (unsigned long long)off, what);
}

/* ---- the window ------------------------------------------------------------------------------------------------ */

static enum nokv_status window_grow(struct vlog_scan *s, size_t capacity)
{
    if (capacity <= s->window_capacity)
        return NOKV_OK;
    uint8_t *window = mem_alloc_aligned(PAGE_BYTES, capacity);
    if (window == NULL)
        return FAIL(NO_MEMORY, "value log scan: a window of %zu bytes", capacity);
    if (s->window_size != 0)
        memcpy(window, s->window, s->window_size);
    mem_free(s->window);
    s->window = window;
    s->window_capacity = align_up(capacity, PAGE_BYTES);
    return NOKV_OK;
}

/* Make [off, off + size) stand in the window; what is there already is kept. REQUIRES: inside the file. */
static enum nokv_status window_show(struct vlog_scan *s, uint64_t off, uint64_t size, const uint8_t **out)
{
    ASSERT(off <= s->file_bytes && size <= s->file_bytes - off);
    if (off < s->window_off || off + size > s->window_off + s->window_size) {
        uint64_t from = off - off % PAGE_BYTES; /* aligned, for O_DIRECT */
        TRY(window_grow(s, u64_max(off + size - from, u64_min(WINDOW_BYTES, s->file_bytes))));
        size_t kept = 0;
        if (from >= s->window_off && from < s->window_off + s->window_size) {
            kept = s->window_off + s->window_size - from;
            memmove(s->window, s->window + (from - s->window_off), kept);
        }
        uint64_t end = u64_min(from + u64_max(s->window_capacity, off + size - from), s->file_bytes);
        s->window_size = 0; /* nothing, should the read fail */
        TRY(io_pread_exact(s->file, s->window + kept, end - from - kept, from + kept));
        s->window_off = from;
        s->window_size = end - from;
    }
    *out = s->window + (off - s->window_off);
    return NOKV_OK;
}

/* ---- verification ---------------------------------------------------------------------------------------------- */

/* Is there a sound header at `off`, whose place fits? */
static enum nokv_status header_at(struct vlog_scan *s, uint64_t off, struct record_header *out, bool *out_sound)
{
    const uint8_t *bytes;
    *out_sound = false;
    if (s->limit - off < VLOG_RECORD_HEADER)
        return NOKV_OK;
    TRY(window_show(s, off, VLOG_RECORD_HEADER, &bytes));
    if (!format_record_claim(bytes, out) || out->key_size > s->limit - off - VLOG_RECORD_HEADER)
        return NOKV_OK;
    TRY(window_show(s, off, VLOG_RECORD_HEADER + out->key_size, &bytes));
    *out_sound = format_record_sound(bytes, out, s->seed, off);
    return NOKV_OK;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Compute the checksums of the value's chunks, which stand in front of those that they should be. */
static enum nokv_status sums_compute(struct vlog_scan *s, uint64_t value_off, uint64_t value_size)
{
    uint64_t count = chunk_count(value_size);
    TRY(mem_grow(&s->sums, &s->sum_capacity, count, sizeof *s->sums));
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *data;
        size_t size = chunk_size(value_size, i);
        TRY(window_show(s, value_off + i * VLOG_CHUNK, size, &data));
        s->sums[i] = chunk_sum(chunk_raw_sum(data, size, s->seed), s->seed, s->off, i);
    }
    return NOKV_OK;
}

static enum nokv_status sums_compare(struct vlog_scan *s, uint64_t sums_off, uint64_t count, bool *out_sound)
{
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *sum;
        TRY(window_show(s, sums_off + i * VLOG_CHUNK_SUM, VLOG_CHUNK_SUM, &sum));
        if (get_u32(sum) != s->sums[i]) {
            *out_sound = false;
            return NOKV_OK;
        }
    }
    return NOKV_OK;
}

/* Everything behind the header and the key. REQUIRES: the record lies in front of `limit`. */
static enum nokv_status value_check(struct vlog_scan *s, const struct record_header *h, bool *out_sound)
{
    uint64_t value_off = s->off + VLOG_RECORD_HEADER + h->key_size, count = chunk_count(h->value_size);
    uint64_t zeros_off = value_off + h->value_size + count * VLOG_CHUNK_SUM, end = s->off + record_size(h);
    const uint8_t *zeros;
    *out_sound = true;
    TRY(sums_compute(s, value_off, h->value_size));
    TRY(sums_compare(s, zeros_off - count * VLOG_CHUNK_SUM, count, out_sound));
    TRY(window_show(s, zeros_off, end - zeros_off, &zeros));
    if (!is_zero(zeros, end - zeros_off))
        *out_sound = false;
    return NOKV_OK;
}

/* ---- what is not sound ----------------------------------------------------------------------------------------- */

/* Count [off, off + size) as lost and go on behind it. */
static enum nokv_status lose(struct vlog_scan *s, uint64_t size, const char *what)
{
    if (s->must_be_sound && !s->salvage)
        return bad(s, s->off, what);
    if (s->must_be_sound)
        s->totals.damaged_bytes += size;
    else
        s->totals.unfinished_bytes += size;
    s->off += size;
    return NOKV_OK;
}

/* The next offset from `off` on with a sound header, or `limit`. */
static enum nokv_status search(struct vlog_scan *s, uint64_t off, uint64_t *out_off)
{
    for (bool sound = false; s->limit - off >= VLOG_RECORD_HEADER; off += VLOG_ALIGN) {
        struct record_header h;
        TRY(header_at(s, off, &h, &sound));
        if (sound) {
            *out_off = off;
            return NOKV_OK;
        }
    }
    *out_off = s->limit;
    return NOKV_OK;
}

static enum nokv_status skip_to_sound(struct vlog_scan *s)
{
    uint64_t next;
    if (s->must_be_sound && !s->salvage) /* do not search for nothing */
        return bad(s, s->off, "there is neither a sound record nor padding");
    TRY(search(s, s->off + VLOG_ALIGN, &next));
    return lose(s, next - s->off, "");
}

/* ---- the walk -------------------------------------------------------------------------------------------------- */

/* What is to be shown of the record, kept while its value is verified: all of it in the window, or the key. */
static enum nokv_status record_hold(struct vlog_scan *s, const struct record_header *h, bool *out_with_value)
{
    const uint8_t *bytes;
    *out_with_value = h->value_size <= s->value_size_max;
    if (*out_with_value)
        return window_show(s, s->off, record_size(h), &bytes);
    TRY(mem_grow(&s->key, &s->key_capacity, h->key_size, 1));
    TRY(window_show(s, s->off, VLOG_RECORD_HEADER + h->key_size, &bytes));
    if (h->key_size != 0)
        memcpy(s->key, bytes + VLOG_RECORD_HEADER, h->key_size);
    return NOKV_OK;
}

static void record_show(const struct vlog_scan *s, const struct record_header *h, bool with_value,
                        struct vlog_record *out)
{
    *out = (struct vlog_record){
        .key = {.user = slice_make(s->key, h->key_size), .tag = h->tag}, .value_size = h->value_size, .off = s->off};
    if (with_value) { /* it has not moved */
        const uint8_t *bytes = s->window + (s->off - s->window_off);
        out->key.user.data = bytes + VLOG_RECORD_HEADER;
        out->value = slice_make(bytes + VLOG_RECORD_HEADER + h->key_size, h->value_size);
    }
}

/* A value record that fits into the segment. */
static enum nokv_status step_record(struct vlog_scan *s, const struct record_header *h, struct vlog_record *out_record,
                                    bool *out_is_record)
{
    bool with_value, sound;
    TRY(record_hold(s, h, &with_value));
    TRY(value_check(s, h, &sound));
    if (!sound)
        return lose(s, record_size(h), "checksum mismatch in the value");
    record_show(s, h, with_value, out_record);
    s->totals.records++;
    s->totals.record_bytes += record_size(h);
    s->totals.value_bytes += h->value_size;
    s->off += record_size(h);
    s->totals.end = s->off;
    *out_is_record = true;
    return NOKV_OK;
}

/* One step: *out_record is set when it came upon a record. */
static enum nokv_status step(struct vlog_scan *s, struct vlog_record *out_record, bool *out_is_record)
{
    struct record_header h;
    bool sound;
    TRY(header_at(s, s->off, &h, &sound));
    if (!sound)
        return skip_to_sound(s);
    uint64_t size = record_size(&h);
    if (size > s->limit - s->off) /* of a place that the file was not yet long enough for */
        return lose(s, s->limit - s->off, "it does not fit into the segment");
    if (h.type == VLOG_VALUE)
        return step_record(s, &h, out_record, out_is_record);
    s->totals.padding_bytes += size;
    s->off += size;
    s->totals.end = s->off;
    return NOKV_OK;
}

/* Behind the last record of a sealed segment. */
static enum nokv_status end_check(struct vlog_scan *s)
{
    const struct segment_footer *f = &s->footer;
    const uint8_t *zeros;
    if (!s->totals.sealed || s->salvage)
        return NOKV_OK;
    uint64_t rest = align_up(f->end, PAGE_BYTES) - f->end;
    TRY(window_show(s, f->end, rest, &zeros));
    if (!is_zero(zeros, rest))
        return bad(s, f->end, "the rest of the last page is not zero");
    if (f->records != s->totals.records || f->record_bytes != s->totals.record_bytes ||
        f->value_bytes != s->totals.value_bytes)
        return bad(s, f->end, "the footer's counts are not those of the records");
    return NOKV_OK;
}

static enum nokv_status walk(struct vlog_scan *s, struct vlog_record *out_record, bool *out_more)
{
    while (!s->at_end && s->off < s->limit) {
        TRY(step(s, out_record, out_more));
        if (*out_more)
            return NOKV_OK;
    }
    if (!s->at_end)
        TRY(end_check(s));
    s->at_end = true;
    return NOKV_OK;
}

enum nokv_status vlog_scan_next(struct vlog_scan *s, struct vlog_record *out_record, bool *out_more)
{
    *out_more = false;
    enum nokv_status status = walk(s, out_record, out_more);
    if (status != NOKV_OK) {
        *out_more = false;
        s->at_end = true;
    }
    return status;
}

/* ---- open ------------------------------------------------------------------------------------------------------ */

/* The last page, if it is the footer of the segment, or of any when the header has been lost. */
static enum nokv_status open_footer(struct vlog_scan *s, bool any)
{
    struct segment_footer f;
    const uint8_t *page;
    uint64_t size = s->file_bytes;
    if (size % PAGE_BYTES != 0 || size < 2 * PAGE_BYTES)
        return NOKV_OK;
    TRY(window_show(s, size - PAGE_BYTES, PAGE_BYTES, &page));
    if (format_footer_decode(page, size, &f) != NOKV_OK)
        return NOKV_OK;
    if (!any && (f.id.number != s->id.number || f.id.salt != s->id.salt))
        return NOKV_OK;
    s->id = f.id;
    s->footer = f;
    s->limit = f.end;
    s->totals.sealed = true;
    return NOKV_OK;
}

static enum nokv_status open_header(struct vlog_scan *s)
{
    const uint8_t *page;
    if (s->file_bytes < VLOG_FIRST || s->file_bytes > VLOG_OFF_MAX)
        return FAIL(CORRUPT, "value log %s: %llu bytes are no segment", s->path, (unsigned long long)s->file_bytes);
    TRY(window_show(s, 0, PAGE_BYTES, &page));
    enum nokv_status status = format_header_decode(page, &s->id);
    if (status != NOKV_OK && status != NOKV_ERR_CORRUPT)
        return status;
    TRY(open_footer(s, status != NOKV_OK));
    if (status == NOKV_OK)
        return NOKV_OK;
    if (!s->salvage || !s->totals.sealed)
        return FAIL(CORRUPT, "value log %s: the header page is damaged", s->path);
    s->totals.damaged_bytes += PAGE_BYTES;
    return NOKV_OK;
}

static enum nokv_status scan_open(struct vlog_scan *s, const struct vlog_scan_options *o)
{
    s->path = mem_strdup(o->path);
    if (s->path == NULL)
        return FAIL(NO_MEMORY, "value log scan of %s", o->path);
    TRY(io_open(o->io, o->path, o->component, o->model, IO_READ | IO_SCAN_ONCE, &s->file));
    TRY(io_size(s->file, &s->file_bytes));
    s->limit = s->file_bytes - s->file_bytes % VLOG_ALIGN;
    TRY(open_header(s));
    s->must_be_sound = s->totals.sealed || o->is_sealed;
    if (s->must_be_sound && !s->totals.sealed && !o->salvage)
        return FAIL(CORRUPT, "value log %s: the footer page is damaged or missing", o->path);
    if (o->number != 0 && s->id.number != o->number)
        return FAIL(CORRUPT, "value log %s: it is segment %llu, not %llu", o->path, (unsigned long long)s->id.number,
                    (unsigned long long)o->number);
    s->seed = segment_seed(s->id);
    s->totals.number = s->id.number;
    s->off = s->totals.end = VLOG_FIRST;
    return NOKV_OK;
}

enum nokv_status vlog_scan_open(const struct vlog_scan_options *options, struct vlog_scan **out_scan)
{
    struct vlog_scan *s = mem_zalloc(sizeof *s);
    if (s == NULL)
        return FAIL(NO_MEMORY, "value log scan of %s", options->path);
    s->value_size_max = options->value_size_max;
    s->salvage = options->salvage;
    enum nokv_status status = scan_open(s, options);
    if (status != NOKV_OK) {
        vlog_scan_close(s);
        return status;
    }
    *out_scan = s;
    return NOKV_OK;
}

struct vlog_scan_totals vlog_scan_totals(const struct vlog_scan *s)
{
    return s->totals;
}

void vlog_scan_close(struct vlog_scan *s)
{
    if (s == NULL)
        return;
    io_close_ptr(&s->file);
    mem_free(s->window);
    mem_free(s->path);
    mem_free(s->key);
    mem_free(s->sums);
    mem_free(s);
}
