// SPDX-License-Identifier: Apache-2.0
/*
 * target.c - the pages that say which segment a file is, and the checks that a record must pass before a byte of it is
 * believed.
 *
 * [I1] A target lies in front of the `end` that it was made for, so its lengths can be followed.
 * [I2] Nothing that the bytes say is followed before it was compared with the pointer: the record's sizes are the
 *      pointer's, or it is refused.
 *
 * Pure functions but for segment_identify; what they are called on may be a mapping (io_guarded): they do not allocate,
 * lock or call the kernel.
 */
#include "vlog/target.h"

#include "base/alloc.h"

enum nokv_status segment_bad(const struct segment *s, uint64_t off, const char *what)
{
    return FAIL(CORRUPT, "value log %llu (%s) record @%llu: %s", (unsigned long long)s->id.number, s->path,
                (unsigned long long)off, what);
}

/* The last page, if it is a sound footer. Of a segment that a crash left it is anything. */
static enum nokv_status identify_footer(struct segment *s, struct io_file *file, uint8_t *page)
{
    struct segment_footer f;
    uint64_t size = s->file_bytes;
    if (size % PAGE_BYTES != 0 || size < 2 * PAGE_BYTES)
        return NOKV_OK;
    TRY(io_pread_exact(file, page, PAGE_BYTES, size - PAGE_BYTES));
    if (format_footer_decode(page, size, &f) != NOKV_OK || f.id.number != s->id.number || f.id.salt != s->id.salt)
        return NOKV_OK;
    s->is_sealed = true;
    s->end = f.end;
    s->footer = f;
    return NOKV_OK;
}

enum nokv_status segment_identify(struct segment *s, struct io_file *file, uint64_t number, bool is_active)
{
    uint8_t *page CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, PAGE_BYTES);
    if (page == NULL)
        return FAIL(NO_MEMORY, "value log: a page of %s", s->path);
    *s = (struct segment){.path = s->path};
    TRY(io_size(file, &s->file_bytes));
    if (s->file_bytes > VLOG_OFF_MAX)
        return FAIL(CORRUPT, "value log: %llu bytes are no segment", (unsigned long long)s->file_bytes);
    TRY(io_pread_exact(file, page, PAGE_BYTES, 0));
    TRY(format_header_decode(page, &s->id));
    if (s->id.number != number)
        return FAIL(CORRUPT, "value log: the header is of segment %llu", (unsigned long long)s->id.number);
    s->seed = segment_seed(s->id);
    s->end = s->file_bytes;
    return is_active ? NOKV_OK : identify_footer(s, file, page);
}

enum nokv_status target_make(const struct segment *s, uint64_t end, const struct vlog_pointer *p, struct slice key,
                             struct target *out)
{
    uint64_t size = vlog_record_size(key.size, p->value_size);
    if (p->segment != s->id.number || p->off < VLOG_FIRST || p->off % VLOG_ALIGN != 0 || p->off > end ||
        size > end - p->off)
        return segment_bad(s, p->off, "the pointer leads out of the segment"); /* [I1] */
    *out = (struct target){.segment = s, .key = key, .off = p->off, .value_size = p->value_size};
    out->value_off = p->off + VLOG_RECORD_HEADER + key.size;
    out->sums_off = out->value_off + p->value_size;
    out->end = out->sums_off + VLOG_CHUNK_SUM * chunk_count(p->value_size);
    return NOKV_OK;
}

enum nokv_status target_check_header(const struct target *t, const uint8_t *bytes)
{
    struct record_header h;
    if (!format_record_claim(bytes, &h) || h.type != VLOG_VALUE)
        return segment_bad(t->segment, t->off, "there is no record");
    if (h.key_size != t->key.size || h.value_size != t->value_size) /* [I2] */
        return segment_bad(t->segment, t->off, "its sizes are not those of the pointer");
    if (!format_record_sound(bytes, &h, t->segment->seed, t->off))
        return segment_bad(t->segment, t->off, "checksum mismatch in header or key");
    if (!slice_equal(slice_make(bytes + VLOG_RECORD_HEADER, h.key_size), t->key))
        return segment_bad(t->segment, t->off, "it belongs to another key");
    return NOKV_OK;
}

enum nokv_status target_check_chunk(const struct target *t, uint64_t index, const uint8_t *data, uint32_t sum)
{
    uint64_t seed = t->segment->seed;
    uint32_t raw = chunk_raw_sum(data, chunk_size(t->value_size, index), seed);
    if (chunk_sum(raw, seed, t->off, index) != sum)
        return FAIL(CORRUPT, "value log %llu (%s) record @%llu: checksum mismatch in chunk %llu of the value",
                    (unsigned long long)t->segment->id.number, t->segment->path, (unsigned long long)t->off,
                    (unsigned long long)index);
    return NOKV_OK;
}

enum nokv_status target_check_chunks(const struct target *t, uint64_t first, uint64_t count, const uint8_t *data,
                                     const uint8_t *sums)
{
    for (uint64_t i = 0; i < count; i++)
        TRY(target_check_chunk(t, first + i, data + i * VLOG_CHUNK, get_u32(sums + i * VLOG_CHUNK_SUM)));
    return NOKV_OK;
}

enum nokv_status target_check_record(const struct target *t, const uint8_t *record, struct slice *out_value)
{
    const uint8_t *value = record + (t->value_off - t->off);
    TRY(target_check_header(t, record));
    TRY(target_check_chunks(t, 0, chunk_count(t->value_size), value, value + t->value_size));
    *out_value = slice_make(value, t->value_size);
    return NOKV_OK;
}
