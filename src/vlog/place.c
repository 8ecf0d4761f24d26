// SPDX-License-Identifier: Apache-2.0
/*
 * place.c - places in a segment that is being written, and the buffers in which most of their bytes gather.
 *
 * An append takes a place: the next `size` bytes of the file. Small records stand in buffers of 1 MiB, each of which
 * goes out in one piece when it is full. A large value's whole pages, its middle, are written from the caller's
 * memory; only the record's first and last bytes, up to the nearest page, stand in buffers, together with those of the
 * neighbours. So each page of the file is written by one buffer or by one middle, whole, whoever shares it.
 *
 *     ... ┃ small ┊ small ┊ head ┃      middle      ┃ tail ┊ small ┊ head ┃   middle ...      ┃ page boundaries
 *         └────── buffer ────────┘ caller's memory  └────── buffer ───────┘
 *
 * [I1] A buffer begins at a page. While none is open, `end` is at one: buffers are closed at a page only.
 * [I2] Live buffers cover disjoint pages; a page that no live buffer covers is written by its middle's owner only, and
 *      bytes below `end` that no live buffer covers and whose append is complete are in the file.
 * [I3] Who holds a place never waits before its bytes are there. So whoever waits for `copying` waits for a copy in
 *      memory, never for the disk, and buffers are asked for before the place is taken.
 * [I4] A place is taken at most once; bytes behind `end` are zeros or were never written. What failed becomes padding.
 * [I5] One thread at a time writes a buffer (`writing`): an older image of a page can not overtake a newer one.
 * [I6] A byte of shared memory is claimed before it is stored, and the claims of all buffers, free ones included, are
 *      disjoint: no page is ever in two buffers. So a rescue may lay them over the file in any order.
 *
 * Threading: everything here is called with mu held, which is let go around copies, reads and writes.
 *
 * Failure: a buffer that could not be written stays CLOSED with its bytes, readable, and is tried again by whoever
 * needs a buffer or flushes; that one gets the error. Why not report it to the appender who happened to write it: its
 * record may be whole in another buffer, and all the others' in this one have been acknowledged.
 */
#include "base/alloc.h"
#include "vlog/shared.h"

enum { HOLES_MAX = 1024 };

static uint64_t page_up(uint64_t off)
{
    return align_up(off, PAGE_BYTES);
}

static uint64_t page_down(uint64_t off)
{
    return off & ~(uint64_t)(PAGE_BYTES - 1);
}

enum nokv_status writer_usable_locked(const struct vlog_writer *w)
{
    if (UNLIKELY(w->failed))
        return FAIL(POISONED, "value log %s: an earlier sync failed; reopen the database", io_path(w->file));
    return NOKV_OK;
}

void writer_end_locked(struct vlog_writer *w, uint64_t end)
{
    ASSERT(w->open != NULL || end % PAGE_BYTES == 0); /* [I1] */
    w->end = end;
    atomic_store_explicit(&w->end_shown, end, memory_order_relaxed);
}

void writer_count_locked(struct vlog_writer *w, uint64_t key_size, uint64_t value_size)
{
    w->done.records++;
    w->done.record_bytes += vlog_record_size(key_size, value_size);
    w->done.value_bytes += value_size;
}

/* ---- buffers --------------------------------------------------------------------------------------------------- */

/* Appenders have left, and nobody writes it. */
static bool buffer_is_quiet(const struct vlog_buffer *b)
{
    return b->state != BUFFER_FREE && b->copying == 0 && !b->writing;
}

static bool buffer_is_due(const struct vlog_buffer *b)
{
    return b->state == BUFFER_CLOSED && buffer_is_quiet(b) && b->flushed < b->used;
}

static void buffer_free_if_done(struct vlog_buffer *b)
{
    if (b->state != BUFFER_CLOSED || !buffer_is_quiet(b) || b->readers != 0 || b->flushed < b->used)
        return;
    b->state = BUFFER_FREE;
    b->used = b->flushed = 0;
}

static void buffer_close(struct vlog_writer *w)
{
    struct vlog_buffer *b = TAKE(w->open);
    ASSERT(b->state == BUFFER_OPEN && b->used % PAGE_BYTES == 0); /* [I1] */
    b->state = BUFFER_CLOSED;
}

/* Without mu. Bytes at and behind `to` may be stored at the same time, so a last part of a page is copied first. */
static enum nokv_status buffer_store(const struct vlog_writer *w, const struct vlog_buffer *b, uint32_t from,
                                     uint32_t to)
{
    if (!w->whole_blocks) {
        TRY(io_pwrite(w->file, b->data + from, to - from, b->off + from));
        if (to == w->buffer_bytes) /* it will not change any more: the sync should not have to wait for all of it */
            io_start_writeback(w->file, b->off, to);
        return NOKV_OK;
    }
    uint32_t first = (uint32_t)page_down(from), last = (uint32_t)page_down(to);
    if (first < last)
        TRY(io_pwrite(w->file, b->data + first, last - first, b->off + first));
    if (last == to)
        return NOKV_OK;
    uint8_t *page = b->data + w->buffer_bytes;
    memcpy(page, b->data + last, to - last);
    memset(page + (to - last), 0, PAGE_BYTES - (to - last));
    return io_pwrite(w->file, page, PAGE_BYTES, b->off + last);
}

/* REQUIRES: quiet. */
static enum nokv_status buffer_write_locked(struct vlog_writer *w, struct vlog_buffer *b)
{
    enum nokv_status status = NOKV_OK;
    do {
        uint32_t from = b->flushed, to = b->used;
        ASSERT(buffer_is_quiet(b) && from < to);
        b->writing = true; /* [I5] */
        mutex_unlock(&w->mu);
        status = buffer_store(w, b, from, to);
        mutex_lock(&w->mu);
        b->writing = false;
        if (status == NOKV_OK) {
            b->flushed = to;
            w->changes++;
        }
    } while (status == NOKV_OK && buffer_is_due(b)); /* it was filled and closed meanwhile, and left to us */
    buffer_free_if_done(b);
    cond_broadcast(&w->changed);
    return status;
}

static unsigned buffers_free(const struct vlog_writer *w)
{
    unsigned count = 0;
    for (unsigned i = 0; i < BUFFER_COUNT; i++)
        count += w->buffers[i].state == BUFFER_FREE;
    return count;
}

/* Memory for `count` free buffers. */
static enum nokv_status buffers_allocate(struct vlog_writer *w, unsigned count)
{
    for (unsigned i = 0; i < BUFFER_COUNT && count > 0; i++) {
        struct vlog_buffer *b = &w->buffers[i];
        if (b->state != BUFFER_FREE)
            continue;
        if (b->data == NULL)
            b->data = mem_alloc_aligned(PAGE_BYTES, w->buffer_bytes + PAGE_BYTES);
        if (b->data == NULL)
            return FAIL(NO_MEMORY, "value log buffer of %u bytes", w->buffer_bytes);
        count--;
    }
    return NOKV_OK;
}

static struct vlog_buffer *buffer_open(struct vlog_writer *w)
{
    struct vlog_buffer *b = w->buffers;
    while (b->state != BUFFER_FREE || b->data == NULL) {
        b++;
        ASSERT(b < w->buffers + BUFFER_COUNT); /* place_take made sure of it */
    }
    ASSERT(w->end % PAGE_BYTES == 0); /* [I1] */
    b->off = w->end;
    b->state = BUFFER_OPEN;
    if (b->claim != NULL)
        shared_claim_begin(b->claim, w->id.number, b->off);
    return w->open = b;
}

void writer_drop_buffers_locked(struct vlog_writer *w)
{
    w->open = NULL;
    for (unsigned i = 0; i < BUFFER_COUNT; i++) {
        struct vlog_buffer *b = &w->buffers[i];
        ASSERT(w->sealed && b->flushed == b->used && b->copying == 0 && !b->writing);
        b->state = BUFFER_FREE; /* nobody begins to read in it */
        b->used = b->flushed = 0;
    }
    for (unsigned i = 0; i < BUFFER_COUNT; i++) {
        struct vlog_buffer *b = &w->buffers[i];
        while (b->readers != 0)
            cond_wait(&w->changed, &w->mu);
        if (b->claim == NULL)
            mem_free(b->data);
        b->data = b->claim = NULL;
    }
}

/* Write one that waits for it, or wait until something changes. */
static enum nokv_status buffers_make_room(struct vlog_writer *w)
{
    for (unsigned i = 0; i < BUFFER_COUNT; i++)
        if (buffer_is_due(&w->buffers[i]))
            return buffer_write_locked(w, &w->buffers[i]);
    cond_wait(&w->changed, &w->mu);
    return NOKV_OK;
}

/* The live buffer that holds the byte at `off`, or NULL, and then *out_next is where the next one begins. */
static struct vlog_buffer *buffer_at(struct vlog_writer *w, uint64_t off, uint64_t *out_next)
{
    *out_next = UINT64_MAX;
    for (unsigned i = 0; i < BUFFER_COUNT; i++) {
        struct vlog_buffer *b = &w->buffers[i];
        if (b->state == BUFFER_FREE)
            continue;
        if (off >= b->off && off - b->off < b->used)
            return b;
        if (b->off > off)
            *out_next = u64_min(*out_next, b->off);
    }
    return NULL;
}

/* ---- places ---------------------------------------------------------------------------------------------------- */

/* How a shape falls on the file from `end` on. */
struct plan {
    uint64_t off;    /* of the place */
    uint64_t head;   /* bytes in buffers from `end` on */
    uint64_t middle; /* then past the buffers */
    uint64_t tail;   /* then in buffers */
    unsigned buffers;
};

static struct plan plan_make(const struct vlog_writer *w, const struct place_shape *shape)
{
    struct plan plan = {.off = w->end, .head = shape->size};
    if (shape->is_blocks) {
        plan.head = page_up(w->end) - w->end;
        if (plan.head > 0 && plan.head < VLOG_RECORD_HEADER)
            plan.head += PAGE_BYTES; /* the gap is padding, which has a header */
        plan.off += plan.head;
        plan.middle = shape->size;
    } else if (shape->value_end != 0) {
        uint64_t from = page_up(w->end + shape->head), to = page_down(w->end + shape->value_end);
        ASSERT(from < to);
        plan.head = from - w->end;
        plan.middle = to - from;
        plan.tail = w->end + shape->size - to;
    }
    uint64_t room = w->open ? w->buffer_bytes - w->open->used : 0;
    if (plan.head > room)
        plan.buffers = (unsigned)((plan.head - room + w->buffer_bytes - 1) / w->buffer_bytes);
    plan.buffers += plan.tail != 0;
    ASSERT(plan.buffers < BUFFER_COUNT && plan.tail <= w->buffer_bytes);
    return plan;
}

static enum nokv_status reserve_slow(struct vlog_writer *w, uint64_t wanted)
{
    uint64_t missing = wanted - w->reserved, step = u64_max(missing, w->preallocate_bytes);
    enum nokv_status status = io_preallocate(w->file, w->reserved, step);
    if (status == NOKV_ERR_NO_SPACE && step > missing) {
        step = missing; /* the last bytes of a nearly full disk are still good for something */
        status = io_preallocate(w->file, w->reserved, step);
    }
    if (status == NOKV_OK)
        w->reserved += step;
    return status;
}

/* Blocks for everything up to `end`, and for the footer behind it. */
static enum nokv_status reserve(struct vlog_writer *w, uint64_t end)
{
    uint64_t wanted = page_up(end) + PAGE_BYTES;
    return LIKELY(wanted <= w->reserved) ? NOKV_OK : reserve_slow(w, wanted);
}

/* Room to remember one more hole. */
static enum nokv_status holes_reserve(struct vlog_writer *w)
{
    return mem_grow(&w->holes, &w->hole_capacity, w->hole_count + w->exposed + 1, sizeof *w->holes);
}

static enum nokv_status place_plan(struct vlog_writer *w, const struct place_shape *shape, struct plan *out)
{
    for (;;) {
        TRY(writer_usable_locked(w));
        if (w->gate != 0) {
            cond_wait(&w->changed, &w->mu);
            continue;
        }
        *out = plan_make(w, shape);
        if (buffers_free(w) < out->buffers) {
            TRY(buffers_make_room(w)); /* lets go of mu: look again */
            continue;
        }
        if (out->middle != 0 && w->hole_count >= HOLES_MAX) {
            TRY(writer_fill_holes_locked(w)); /* the same */
            continue;
        }
        TRY(reserve(w, w->end + out->head + out->middle + out->tail));
        if (out->middle != 0)
            TRY(holes_reserve(w));
        return buffers_allocate(w, out->buffers);
    }
}

/* The next `size` bytes of the file, in buffers. */
static void take_buffered(struct vlog_writer *w, struct place *p, uint64_t size)
{
    while (size > 0) {
        struct vlog_buffer *b = w->open ? w->open : buffer_open(w);
        uint32_t n = (uint32_t)u64_min(size, w->buffer_bytes - b->used);
        ASSERT(p->piece_count < PIECES_MAX && b->off + b->used == w->end);
        p->pieces[p->piece_count++] = (struct place_piece){.buffer = b, .off = w->end, .size = n};
        b->used += n;
        b->copying++;
        if (b->claim != NULL)
            shared_claim_grow(b->claim, b->used); /* [I6] */
        writer_end_locked(w, w->end + n);
        size -= n;
        if (b->used == w->buffer_bytes)
            buffer_close(w);
    }
}

enum nokv_status place_take(struct vlog_writer *w, const struct place_shape *shape, struct place *out)
{
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&w->mu);
    (void)held;
    struct plan plan;
    ASSERT(!w->sealed);
    TRY(place_plan(w, shape, &plan));
    *out = (struct place){.off = plan.off, .size = shape->size};
    take_buffered(w, out, plan.head);
    if (plan.middle == 0)
        return NOKV_OK;
    if (w->open)
        buffer_close(w);
    out->middle_off = w->end;
    writer_end_locked(w, w->end + plan.middle);
    out->middle_end = w->end;
    w->exposed++;
    take_buffered(w, out, plan.tail);
    return NOKV_OK;
}

bool place_release_locked(struct vlog_writer *w, const struct place *p)
{
    bool left = false;
    for (unsigned i = 0; i < p->piece_count; i++)
        p->pieces[i].buffer->copying--;
    for (unsigned i = 0; i < p->piece_count; i++) {
        struct vlog_buffer *b = p->pieces[i].buffer;
        if (!buffer_is_due(b))
            continue;
        left = w->full != NULL;
        if (left)
            break;
        enum nokv_status status = buffer_write_locked(w, b);
        (void)status; /* it stays, with our bytes: see above */
    }
    cond_broadcast(&w->changed);
    return left;
}

enum nokv_status vlog_writer_write_full(struct vlog_writer *w)
{
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&w->mu);
    (void)held;
    for (unsigned i = 0; i < BUFFER_COUNT;) {
        if (!w->failed && buffer_is_due(&w->buffers[i])) {
            TRY(buffer_write_locked(w, &w->buffers[i]));
            i = 0; /* mu was let go of */
        } else {
            i++;
        }
    }
    return NOKV_OK;
}

/* ---- what failed ----------------------------------------------------------------------------------------------- */

/* Store over bytes of a place of one's own, wherever they are by now. */
static enum nokv_status patch_locked(struct vlog_writer *w, uint64_t off, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        uint64_t next;
        struct vlog_buffer *b = buffer_at(w, off, &next);
        if (b != NULL && b->writing) {
            cond_wait(&w->changed, &w->mu);
            continue;
        }
        size_t n;
        if (b != NULL) {
            uint32_t at = (uint32_t)(off - b->off);
            n = u64_min(size, b->used - at);
            memcpy(b->data + at, bytes, n);
            b->flushed = b->flushed < at ? b->flushed : at;
            if (buffer_is_due(b))
                TRY(buffer_write_locked(w, b));
        } else {
            n = u64_min(size, next - off);
            mutex_unlock(&w->mu);
            enum nokv_status status = io_pwrite(w->file, bytes, n, off);
            mutex_lock(&w->mu);
            TRY(status);
            w->changes++;
        }
        off += n;
        bytes += n;
        size -= n;
    }
    return NOKV_OK;
}

enum nokv_status writer_fill_holes_locked(struct vlog_writer *w)
{
    while (w->hole_count > 0) {
        struct vlog_hole hole = w->holes[--w->hole_count];
        w->exposed++; /* keeps room for it */
        uint8_t header[VLOG_RECORD_HEADER];
        format_padding(header, w->seed, hole.off, hole.size);
        enum nokv_status status = patch_locked(w, hole.off, header, sizeof header);
        w->exposed--;
        if (status != NOKV_OK) {
            w->holes[w->hole_count++] = hole;
            return status;
        }
    }
    return NOKV_OK;
}

void place_settle_locked(struct vlog_writer *w)
{
    ASSERT(w->exposed > 0);
    w->exposed--;
}

void place_void(struct vlog_writer *w, uint64_t off, uint64_t size)
{
    mutex_lock(&w->mu);
    place_settle_locked(w);
    ASSERT(w->hole_count < w->hole_capacity);
    w->holes[w->hole_count++] = (struct vlog_hole){.off = off, .size = size};
    enum nokv_status status = writer_fill_holes_locked(w);
    (void)status; /* it stays a hole; sealing tries again, and has to succeed */
    mutex_unlock(&w->mu);
}

/* ---- flush ----------------------------------------------------------------------------------------------------- */

/* A live buffer with unwritten bytes that lie below `end`. */
static struct vlog_buffer *buffer_to_flush(struct vlog_writer *w, uint64_t end)
{
    for (unsigned i = 0; i < BUFFER_COUNT; i++) {
        struct vlog_buffer *b = &w->buffers[i];
        if (b->state != BUFFER_FREE && b->flushed < b->used && b->off + b->flushed < end)
            return b;
    }
    return NULL;
}

static void gate_open(struct vlog_writer *w, bool *gated)
{
    if (*gated && --w->gate == 0)
        cond_broadcast(&w->changed);
    *gated = false;
}

enum nokv_status writer_flush_locked(struct vlog_writer *w)
{
    uint64_t end = w->end;
    enum nokv_status status = NOKV_OK;
    bool gated = false;
    struct vlog_buffer *b;
    while (status == NOKV_OK && (b = buffer_to_flush(w, end)) != NULL) {
        if (buffer_is_quiet(b)) {
            gate_open(w, &gated); /* mu is held until it is known what is written */
            status = buffer_write_locked(w, b);
            continue;
        }
        if (!gated && b->state == BUFFER_OPEN && b->copying != 0) { /* else there is always somebody in it */
            gated = true;
            w->gate++;
        }
        cond_wait(&w->changed, &w->mu);
    }
    gate_open(w, &gated);
    return status;
}

/* ---- reading what is being written ----------------------------------------------------------------------------- */

enum nokv_status writer_read(struct vlog_writer *w, struct io_file *file, void *buffer, size_t size, uint64_t off)
{
    uint8_t *to = buffer;
    while (size > 0) {
        uint64_t next;
        mutex_lock(&w->mu);
        struct vlog_buffer *b = buffer_at(w, off, &next);
        size_t n = b ? u64_min(size, b->off + b->used - off) : u64_min(size, next - off);
        const uint8_t *from = b ? b->data + (off - b->off) : NULL;
        if (b != NULL)
            b->readers++;
        mutex_unlock(&w->mu);
        if (b == NULL) {
            TRY(io_pread_exact(file, to, n, off)); /* [I2] */
        } else {
            memcpy(to, from, n);
            mutex_lock(&w->mu);
            b->readers--;
            buffer_free_if_done(b);
            if (b->state == BUFFER_FREE)
                cond_broadcast(&w->changed);
            mutex_unlock(&w->mu);
        }
        to += n;
        off += n;
        size -= n;
    }
    return NOKV_OK;
}
