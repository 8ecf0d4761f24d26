// SPDX-License-Identifier: Apache-2.0
/*
 * stream.c - a record whose value comes in parts.
 *
 * A stream takes whole pages of its own for the largest value that may come, so that it shares nothing with appenders
 * who pass it by and may take its time. What comes gathers in a buffer and goes out in whole pages; the checksums of
 * the chunks are computed on the way. The first page is written last, with the header, whose checksum covers the size.
 *
 *     ┃ (padding up to the page) ┃ header key value ....... sums ┊ padding ┃
 *
 * Until then the first page on the disk holds a padding header for itself, or nothing: a crash leaves a place that a
 * scan searches through. Why not one for the whole place: were it given back in part, and the header not corrected
 * because of a crash or a failed write, it would hide the records that came there.
 *
 * [I1] What is not used of the place goes back when nobody took one behind it, and is padding otherwise. Only pages
 *      that were never written to are given back.
 *
 * One thread at a time. Failure: the first failed write is remembered; the place becomes padding when it is abandoned.
 */
#include "base/alloc.h"
#include "vlog/writer.h"

enum { STREAM_BYTES = 256 << 10 };

struct vlog_stream {
    XXH3_state_t hash; /* of the chunk that is coming; asks for 64-byte alignment */
    /* set at the beginning, then constant */
    struct vlog_writer *w;
    struct slice key; /* behind the struct */
    uint64_t size_max;
    /* the state; offsets are relative to the place */
    struct place place;
    uint8_t *buffer; /* STREAM_BYTES: the bytes [off, off + used) */
    uint8_t *first;  /* the first page, once it has left the buffer */
    uint64_t off;    /* a multiple of a page */
    size_t used;
    uint64_t touched; /* a write was tried up to here */
    uint64_t value_size;
    uint32_t *sums; /* raw */
    size_t sum_count;
    size_t sum_capacity;
    enum nokv_status status;
};

/* ---- bytes of the place ---------------------------------------------------------------------------------------- */

static enum nokv_status stream_write(struct vlog_stream *s, const uint8_t *data, size_t size)
{
    s->touched = u64_max(s->touched, s->off + size);
    s->status = io_pwrite(s->w->file, data, size, s->place.off + s->off);
    return s->status;
}

/* Write what has gathered: whole pages. */
static enum nokv_status stream_empty(struct vlog_stream *s)
{
    ASSERT(s->used % PAGE_BYTES == 0);
    if (s->used == 0)
        return NOKV_OK;
    if (s->off == 0)
        memcpy(s->first, s->buffer, PAGE_BYTES);
    TRY(stream_write(s, s->buffer, s->used));
    s->off += s->used;
    s->used = 0;
    return NOKV_OK;
}

static enum nokv_status stream_put(struct vlog_stream *s, const uint8_t *data, size_t size)
{
    while (size > 0) {
        size_t n;
        if (s->used == 0 && s->off != 0 && size >= STREAM_BYTES) {
            n = size - size % PAGE_BYTES;
            TRY(stream_write(s, data, n));
            s->off += n;
        } else {
            n = u64_min(size, STREAM_BYTES - s->used);
            memcpy(s->buffer + s->used, data, n);
            s->used += n;
            if (s->used == STREAM_BYTES)
                TRY(stream_empty(s));
        }
        data += n;
        size -= n;
    }
    return NOKV_OK;
}

static enum nokv_status stream_put_zeros(struct vlog_stream *s, size_t size)
{
    static const uint8_t zeros[PAGE_BYTES];
    ASSERT(size <= sizeof zeros);
    return stream_put(s, zeros, size);
}

/* ---- begin ----------------------------------------------------------------------------------------------------- */

static void stream_free(struct vlog_stream *s)
{
    mem_free(s->buffer);
    mem_free(s->first);
    mem_free(s->sums);
    mem_free(s);
}

static struct vlog_stream *stream_alloc(struct vlog_writer *w, struct slice user_key, uint64_t size_max)
{
    struct vlog_stream *s = mem_alloc_aligned(_Alignof(struct vlog_stream), sizeof *s + user_key.size);
    if (s == NULL)
        return NULL;
    memset(s, 0, sizeof *s);
    s->w = w;
    s->size_max = size_max;
    s->key = slice_make(s + 1, user_key.size);
    if (user_key.size != 0)
        memcpy(s + 1, user_key.data, user_key.size);
    s->buffer = mem_alloc_aligned(PAGE_BYTES, STREAM_BYTES);
    s->first = mem_alloc_aligned(PAGE_BYTES, PAGE_BYTES);
    if (s->buffer == NULL || s->first == NULL) {
        stream_free(s);
        return NULL;
    }
    XXH3_64bits_reset_withSeed(&s->hash, w->seed);
    return s;
}

/* The bytes between the record before and our first page are padding, which stands in buffers. */
static void gap_fill(struct vlog_writer *w, const struct place *p)
{
    if (p->piece_count == 0)
        return;
    uint64_t from = p->pieces[0].off;
    uint8_t header[VLOG_RECORD_HEADER];
    format_padding(header, w->seed, from, p->off - from);
    for (unsigned i = 0; i < p->piece_count; i++) {
        const struct place_piece *piece = &p->pieces[i];
        uint64_t at = piece->off - from;
        memset(piece_data(piece), 0, piece->size);
        if (at < sizeof header)
            memcpy(piece_data(piece), header + at, u64_min(sizeof header - at, piece->size));
    }
    mutex_lock(&w->mu);
    bool left = place_release_locked(w, p);
    mutex_unlock(&w->mu);
    if (left)
        w->full(w->full_arg);
}

enum nokv_status vlog_stream_begin(struct vlog_writer *w, struct slice user_key, uint64_t size_max,
                                   struct vlog_stream **out_stream)
{
    if (user_key.size > KEY_SIZE_MAX || size_max > KEY_VALUE_SIZE_MAX)
        return FAIL(INVALID, "value log: a key of %zu bytes, a value of up to %llu bytes", user_key.size,
                    (unsigned long long)size_max);
    struct vlog_stream *s = stream_alloc(w, user_key, size_max);
    if (s == NULL)
        return FAIL(NO_MEMORY, "value log stream");
    const struct place_shape shape = {
        .size = align_up(vlog_record_size(user_key.size, size_max) + VLOG_RECORD_HEADER, PAGE_BYTES),
        .is_blocks = true};
    enum nokv_status status = place_take(w, &shape, &s->place);
    if (status != NOKV_OK) {
        stream_free(s);
        return status;
    }
    gap_fill(w, &s->place);
    uint8_t header[VLOG_RECORD_HEADER];
    format_padding(header, w->seed, s->place.off, PAGE_BYTES);
    memcpy(s->buffer, header, sizeof header); /* for now */
    s->used = sizeof header;
    s->status = stream_put(s, s->key.data, s->key.size); /* fits: nothing is written */
    ASSERT(s->status == NOKV_OK);
    *out_stream = s;
    return NOKV_OK;
}

/* ---- parts ----------------------------------------------------------------------------------------------------- */

static enum nokv_status chunk_end(struct vlog_stream *s)
{
    TRY(mem_grow(&s->sums, &s->sum_capacity, s->sum_count + 1, sizeof *s->sums));
    s->sums[s->sum_count++] = (uint32_t)XXH3_64bits_digest(&s->hash);
    XXH3_64bits_reset_withSeed(&s->hash, s->w->seed);
    return NOKV_OK;
}

static enum nokv_status stream_hash(struct vlog_stream *s, struct slice part)
{
    while (part.size > 0) {
        size_t n = u64_min(part.size, VLOG_CHUNK - s->value_size % VLOG_CHUNK);
        XXH3_64bits_update(&s->hash, part.data, n);
        s->value_size += n;
        if (s->value_size % VLOG_CHUNK == 0)
            TRY(chunk_end(s));
        part = slice_make(part.data + n, part.size - n);
    }
    return NOKV_OK;
}

enum nokv_status vlog_stream_append(struct vlog_stream *s, struct slice part)
{
    if (s->status != NOKV_OK)
        return FAIL_WITH(s->status, "value log: an earlier part of this value could not be written");
    if (part.size > s->size_max - s->value_size)
        return FAIL_WITH(s->status = NOKV_ERR_INVALID, "value log: a stream of at most %llu bytes gets more",
                         (unsigned long long)s->size_max);
    s->status = stream_hash(s, part);
    TRY(s->status);
    return stream_put(s, part.data, part.size);
}

/* ---- end ------------------------------------------------------------------------------------------------------- */

/* Shrink the place to `size` bytes, if the last place it still is [I1]. */
static void give_back(struct vlog_stream *s, uint64_t size)
{
    struct vlog_writer *w = s->w;
    ASSERT(size % PAGE_BYTES == 0 && size <= s->place.size);
    mutex_lock(&w->mu);
    if (w->end == s->place.off + s->place.size) {
        ASSERT(w->open == NULL);
        writer_end_locked(w, s->place.off + size);
        s->place.size = size;
    }
    mutex_unlock(&w->mu);
}

/* The record needs `size` bytes: whole pages with it and nothing, or a padding header, behind it. */
static uint64_t pages_for(uint64_t size)
{
    uint64_t pages = align_up(size, PAGE_BYTES);
    return pages == size || pages - size >= VLOG_RECORD_HEADER ? pages : pages + PAGE_BYTES;
}

static enum nokv_status put_sums(struct vlog_stream *s)
{
    for (size_t i = 0; i < s->sum_count; i++) {
        uint8_t sum[VLOG_CHUNK_SUM];
        put_u32(sum, chunk_sum(s->sums[i], s->w->seed, s->place.off, i));
        TRY(stream_put(s, sum, sizeof sum));
    }
    return NOKV_OK;
}

/* What stands behind the value, up to the end of a page. */
static enum nokv_status put_tail(struct vlog_stream *s)
{
    uint64_t size = vlog_record_size(s->key.size, s->value_size);
    if (s->value_size % VLOG_CHUNK != 0)
        TRY(chunk_end(s));
    TRY(put_sums(s));
    TRY(stream_put_zeros(s, size - (s->off + s->used)));
    give_back(s, pages_for(size));
    if (size < s->place.size) {
        uint8_t header[VLOG_RECORD_HEADER];
        format_padding(header, s->w->seed, s->place.off + size, s->place.size - size);
        TRY(stream_put(s, header, sizeof header));
    }
    uint64_t at = s->off + s->used;
    TRY(stream_put_zeros(s, align_up(at, PAGE_BYTES) - at));
    return NOKV_OK;
}

static enum nokv_status finish(struct vlog_stream *s, uint64_t tag)
{
    TRY(s->status);
    TRY(put_tail(s));
    bool is_whole = s->off == 0;
    const struct ikey key = {.user = s->key, .tag = tag};
    format_record_header(is_whole ? s->buffer : s->first, s->w->seed, s->place.off, key, s->value_size);
    TRY(stream_empty(s));
    if (is_whole)
        return NOKV_OK;
    s->off = 0;
    return stream_write(s, s->first, PAGE_BYTES);
}

enum nokv_status vlog_stream_end(struct vlog_stream *s, uint64_t tag, struct vlog_pointer *out_pointer)
{
    struct vlog_writer *w = s->w;
    enum nokv_status status = finish(s, tag);
    if (status != NOKV_OK) {
        vlog_stream_abandon(s);
        return FAIL_WITH(status, "%s [ending a streamed value]", status_message());
    }
    mutex_lock(&w->mu);
    place_settle_locked(w);
    w->changes++;
    writer_count_locked(w, s->key.size, s->value_size);
    mutex_unlock(&w->mu);
    *out_pointer =
        (struct vlog_pointer){.segment = w->id.number, .off = s->place.off, .value_size = (uint32_t)s->value_size};
    stream_free(s);
    return NOKV_OK;
}

void vlog_stream_abandon(struct vlog_stream *s)
{
    if (s == NULL)
        return;
    struct vlog_writer *w = s->w;
    give_back(s, align_up(s->touched, PAGE_BYTES));
    if (s->place.size != 0) {
        place_void(w, s->place.off, s->place.size);
    } else {
        mutex_lock(&w->mu);
        place_settle_locked(w);
        mutex_unlock(&w->mu);
    }
    stream_free(s);
}
