// SPDX-License-Identifier: Apache-2.0
/*
 * writer.c - appending to a record log: through the ring, or straight to the file.
 *
 *     file offsets   64 ........ synced ........ flushed ........ end
 *                     durable     page cache      ring only
 *
 *  [I1] RLOG_FILE_HEADER <= synced <= flushed <= end; each is a record boundary.
 *  [I2] end - flushed <= ring size: a byte of the ring is overwritten only after io_pwrite has moved it to the file. So
 *       at any instruction every acknowledged record stands whole in the file or whole in the ring. flushed is moved on
 *       in whole records for that reason: a record that is half in the file and half in the ring is nobody's.
 *  [I3] With preallocation, reserved >= end + room for a SYNCED and a SEAL record: what the ring holds has its blocks.
 *       Records other than those of rlog_append_kept leave kept_bytes beyond that.
 *
 * Storing into the ring needs no order among the stores: until the last one has happened the checksum does not match,
 * whatever lap of the ring or whichever log the bytes in between are from, because offset and log number seed it.
 *
 * A record that would need more than half of the ring is written to the file directly, in pieces, after the ring was
 * emptied; so are all records when there is no ring.
 *
 * One thread at a time, and beside it one that moves what stands in the ring to the file (rlog_write_full), so that an
 * append hardly ever waits for a system call. Between the two:
 *
 *  [I4] The file is written, and `flushed` moved on, under flush_mu. `end` is moved on without it only by records that
 *       stand whole in the ring (release, so that who sees the new end sees their bytes).
 *
 * After a failure that may have left something half written, `failed` stays set and every call returns POISONED: the
 * file's end is not known any more, and an fdatasync that failed has dropped what it should sync.
 *
 * Why not one pwrite per record: it costs a system call each (1,300 ns against some 30). Why not a mapped log file:
 * a full disk would be a SIGBUS, and the kernel would decide when bytes go out.
 */
#include "base/alloc.h"
#include "base/thread.h"
#include "rlog/format.h"

enum {
    RING_SIZE_MIN = 4096,
    PIECE_BYTES = 64 * 1024,            /* of a record on its direct way to the file */
    RESERVE_BYTES = 2 * RLOG_MARK_SIZE, /* [I3] */
    WRITEBACK_BYTES = 1 << 20,          /* start writing back in steps of this: see rlog_write_behind */
};

struct rlog_writer {
    /* set at creation, then constant */
    struct io_file *file;
    const struct io_shared *shared; /* the ring's; NULL: none */
    uint8_t *ring;                  /* NULL: none */
    size_t ring_size;
    size_t write_chunk;
    struct log_id id;
    uint64_t preallocate_bytes;
    uint64_t kept_bytes;
    void (*full)(void *arg); /* NULL: who appends moves it to the file */
    void *full_arg;
    /* [I4]; written by the one thread (release) */
    _Atomic uint64_t end;
    /* written under flush_mu (release); the one thread reads it without, to see what is free in the ring */
    struct mutex flush_mu;
    _Atomic uint64_t flushed;
    uint64_t written_back; /* write-back was started up to here; protected by flush_mu */
    _Atomic bool failed;   /* relaxed: seen sooner or later */
    /* the state; owned by the one thread */
    uint64_t full_asked; /* `full` was called for what stood in the ring up to here */
    uint64_t synced;
    uint64_t reserved; /* blocks are allocated up to here; UINT64_MAX: nothing is to be reserved */
    size_t ring_pos;   /* end % ring_size */
    bool mark_synced;  /* the next record is to be preceded by RLOG_SYNCED */
    bool detached;     /* RLOG_SEAL is in the file, the ring is another log's */
    bool sealed;       /* and it is durable */
    bool write_behind; /* constant once the log is used */
    bool claims;       /* the logs before it are durable: its marks may say so */
    bool claim_due;    /* and none has said it yet */
    enum nokv_status (*hold_wait)(void *arg); /* NULL: not held */
    void *hold_arg;
    uint8_t *piece; /* PIECE_BYTES; made when first needed */
};

static bool is_soft(enum nokv_status status)
{
    return status == NOKV_ERR_NO_SPACE || status == NOKV_ERR_NO_MEMORY;
}

/* A want of space or of memory that is met so late is no reason to try again: what failed to be written may stand in
 * the ring all the same, whole, and come back. NO_SPACE and NO_MEMORY are for what certainly did not happen. */
static enum nokv_status poison(struct rlog_writer *w, enum nokv_status status)
{
    if (status == NOKV_OK)
        return status;
    atomic_store_explicit(&w->failed, true, memory_order_relaxed);
    return is_soft(status) ? FAIL(IO, "%s", status_message()) : status;
}

static enum nokv_status check_usable(const struct rlog_writer *w)
{
    if (UNLIKELY(atomic_load_explicit(&w->failed, memory_order_relaxed)))
        return FAIL(POISONED, "log %s: an earlier write or sync failed; reopen the database", io_path(w->file));
    return NOKV_OK;
}

/* ---- from the ring to the file --------------------------------------------------------------------------------- */

static uint64_t end_of(const struct rlog_writer *w)
{
    return atomic_load_explicit(&w->end, memory_order_acquire);
}

static uint64_t flushed_of(const struct rlog_writer *w)
{
    return atomic_load_explicit(&w->flushed, memory_order_acquire);
}

static void flushed_set_locked(struct rlog_writer *w, uint64_t flushed)
{
    atomic_store_explicit(&w->flushed, flushed, memory_order_release);
}

/* Move [flushed, end), which is one stretch of the ring or two. */
static enum nokv_status write_stretches(struct rlog_writer *w, uint64_t flushed, uint64_t end)
{
    uint64_t size = end - flushed;
    ASSERT(w->ring != NULL && size <= w->ring_size); /* [I2] */
    size_t pos = (size_t)(flushed % w->ring_size);
    size_t head = (size_t)u64_min(size, w->ring_size - pos);
    TRY(io_pwrite(w->file, w->ring + pos, head, flushed));
    if (head < size)
        TRY(io_pwrite(w->file, w->ring, (size_t)size - head, flushed + head));
    return NOKV_OK;
}

/*
 * Whoever syncs waits for what is in the page cache of this log and, after a change of logs, of the one before. 64 MiB
 * made that 60 to 200 ms; what is on its way already makes it a few.
 */
static void start_writeback_locked(struct rlog_writer *w)
{
    uint64_t flushed = flushed_of(w);
    if (!w->write_behind || flushed - w->written_back < WRITEBACK_BYTES)
        return;
    io_start_writeback(w->file, w->written_back, flushed - w->written_back);
    w->written_back = flushed;
}

static enum nokv_status flush_ring_locked(struct rlog_writer *w)
{
    uint64_t end = end_of(w), flushed = flushed_of(w);
    if (end == flushed)
        return NOKV_OK;
    TRY(check_usable(w));
    TRY(poison(w, write_stretches(w, flushed, end)));
    flushed_set_locked(w, end);
    start_writeback_locked(w);
    return NOKV_OK;
}

static enum nokv_status flush_ring(struct rlog_writer *w)
{
    if (end_of(w) == flushed_of(w))
        return NOKV_OK;
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&w->flush_mu);
    (void)held;
    return flush_ring_locked(w);
}

enum nokv_status rlog_write_full(struct rlog_writer *w)
{
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&w->flush_mu);
    (void)held;
    return flush_ring_locked(w);
}

/* More than a chunk waits in the ring: have it moved, or, when that is late, do it. */
static enum nokv_status ring_is_full(struct rlog_writer *w, uint64_t waiting)
{
    if (w->full == NULL || waiting >= w->ring_size / 2)
        return flush_ring(w);
    uint64_t end = end_of(w);
    if (end - w->full_asked < w->write_chunk)
        return NOKV_OK;
    w->full_asked = end;
    w->full(w->full_arg);
    return NOKV_OK;
}

/* Keep [I3] for `size` more bytes. NO_SPACE and NO_MEMORY leave the writer as it was. */
static enum nokv_status reserve_slow(struct rlog_writer *w, uint64_t size)
{
    uint64_t missing = end_of(w) + size + RESERVE_BYTES + w->kept_bytes - w->reserved;
    uint64_t step = u64_max(missing, w->preallocate_bytes);
    enum nokv_status status = io_preallocate(w->file, w->reserved, step);
    if (status == NOKV_ERR_NO_SPACE && step > missing) {
        step = missing; /* the last bytes of a nearly full disk are still good for something */
        status = io_preallocate(w->file, w->reserved, step);
    }
    if (is_soft(status))
        return status;
    TRY(poison(w, status));
    w->reserved += step;
    return NOKV_OK;
}

static inline enum nokv_status reserve(struct rlog_writer *w, uint64_t size)
{
    if (LIKELY(w->reserved >= end_of(w) + size + RESERVE_BYTES + w->kept_bytes))
        return NOKV_OK;
    return reserve_slow(w, size);
}

/* The same, or, when the disk is full, out of what is kept. */
static enum nokv_status reserve_kept(struct rlog_writer *w, uint64_t size)
{
    enum nokv_status status = reserve(w, size);
    bool is_kept = w->reserved >= end_of(w) + size + RESERVE_BYTES;
    return status == NOKV_ERR_NO_SPACE && is_kept ? NOKV_OK : status;
}

/* ---- one record ------------------------------------------------------------------------------------------------ */

/* REQUIRES: it fits in one piece from ring_pos on. */
static inline void store_in_place(struct rlog_writer *w, enum rlog_type type, const struct slice *parts, size_t count,
                                  uint32_t payload_size, size_t size)
{
    uint8_t *p = w->ring + w->ring_pos;
    put_u64(p + size - 8, 0); /* the padding; what else it covers is written next */
    record_put_header(p, payload_size, w->id.number, type);
    uint8_t *to = p + RLOG_RECORD_HEADER;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size)
            memcpy(to, parts[i].data, parts[i].size);
        to += parts[i].size;
    }
    put_u32(p + RECORD_CHECKSUM, record_checksum(p, payload_size, record_seed(w->id, end_of(w))));
}

/* The finished header, with the checksum over a payload in parts. */
static void make_header(const struct rlog_writer *w, enum rlog_type type, const struct slice *parts, size_t count,
                        uint32_t payload_size, uint8_t header[RLOG_RECORD_HEADER])
{
    record_put_header(header, payload_size, w->id.number, type);
    XXH3_state_t state = {0};
    (void)XXH3_64bits_reset_withSeed(&state, record_seed(w->id, end_of(w)));
    (void)XXH3_64bits_update(&state, header + RECORD_LENGTH, RLOG_RECORD_HEADER - RECORD_LENGTH);
    for (size_t i = 0; i < count; i++)
        if (parts[i].size)
            (void)XXH3_64bits_update(&state, parts[i].data, parts[i].size);
    put_u32(header + RECORD_CHECKSUM, (uint32_t)XXH3_64bits_digest(&state));
}

static size_t store_wrapped(struct rlog_writer *w, size_t pos, const void *data, size_t size)
{
    size_t head = size < w->ring_size - pos ? size : w->ring_size - pos;
    if (head)
        memcpy(w->ring + pos, data, head);
    if (head < size)
        memcpy(w->ring, (const uint8_t *)data + head, size - head);
    return pos + size < w->ring_size ? pos + size : pos + size - w->ring_size;
}

static __attribute__((noinline)) void store_around_end(struct rlog_writer *w, enum rlog_type type,
                                                       const struct slice *parts, size_t count, uint32_t payload_size,
                                                       size_t size)
{
    static const uint8_t zeros[RLOG_ALIGN];
    uint8_t header[RLOG_RECORD_HEADER];
    make_header(w, type, parts, count, payload_size, header);
    size_t pos = store_wrapped(w, w->ring_pos, header, sizeof header);
    for (size_t i = 0; i < count; i++)
        pos = store_wrapped(w, pos, parts[i].data, parts[i].size);
    (void)store_wrapped(w, pos, zeros, size - RLOG_RECORD_HEADER - payload_size);
}

/* REQUIRES: room in the ring. */
static inline void store(struct rlog_writer *w, enum rlog_type type, const struct slice *parts, size_t count,
                         uint32_t payload_size, size_t size)
{
    if (LIKELY(size <= w->ring_size - w->ring_pos))
        store_in_place(w, type, parts, count, payload_size, size);
    else
        store_around_end(w, type, parts, count, payload_size, size);
    w->ring_pos += size;
    if (w->ring_pos >= w->ring_size)
        w->ring_pos -= w->ring_size;
    atomic_store_explicit(&w->end, end_of(w) + size, memory_order_release); /* [I4] */
}

/* ---- straight to the file -------------------------------------------------------------------------------------- */

/* What gathers small parts into pieces on their way to the file. */
struct piece_writer {
    struct rlog_writer *w;
    uint64_t off;
    size_t used;
};

static enum nokv_status piece_flush(struct piece_writer *pw)
{
    if (pw->used == 0)
        return NOKV_OK;
    TRY(io_pwrite(pw->w->file, pw->w->piece, pw->used, pw->off));
    pw->off += pw->used;
    pw->used = 0;
    return NOKV_OK;
}

static enum nokv_status piece_put(struct piece_writer *pw, const void *data, size_t size)
{
    if (size > PIECE_BYTES - pw->used)
        TRY(piece_flush(pw));
    if (size > PIECE_BYTES) {
        TRY(io_pwrite(pw->w->file, data, size, pw->off));
        pw->off += size;
    } else if (size) {
        memcpy(pw->w->piece + pw->used, data, size);
        pw->used += size;
    }
    return NOKV_OK;
}

static enum nokv_status write_pieces(struct rlog_writer *w, const uint8_t header[RLOG_RECORD_HEADER],
                                     const struct slice *parts, size_t count, size_t padding)
{
    static const uint8_t zeros[RLOG_ALIGN];
    struct piece_writer pw = {.w = w, .off = end_of(w)};
    TRY(piece_put(&pw, header, RLOG_RECORD_HEADER));
    for (size_t i = 0; i < count; i++)
        TRY(piece_put(&pw, parts[i].data, parts[i].size));
    TRY(piece_put(&pw, zeros, padding));
    return piece_flush(&pw);
}

/* REQUIRES: the ring is empty. NO_MEMORY leaves the writer as it was. */
static enum nokv_status write_direct_locked(struct rlog_writer *w, enum rlog_type type, const struct slice *parts,
                                            size_t count, uint32_t payload_size, size_t size)
{
    ASSERT(flushed_of(w) == end_of(w));
    if (w->piece == NULL && (w->piece = mem_alloc(PIECE_BYTES)) == NULL)
        return FAIL(NO_MEMORY, "log %s: buffer of %d bytes", io_path(w->file), PIECE_BYTES);
    uint8_t header[RLOG_RECORD_HEADER];
    make_header(w, type, parts, count, payload_size, header);
    TRY(poison(w, write_pieces(w, header, parts, count, size - RLOG_RECORD_HEADER - payload_size)));
    uint64_t end = end_of(w) + size;
    flushed_set_locked(w, end);
    atomic_store_explicit(&w->end, end, memory_order_release);
    if (w->ring)
        w->ring_pos = (size_t)(end % w->ring_size);
    return NOKV_OK;
}

/* ---- append ---------------------------------------------------------------------------------------------------- */

static enum nokv_status append_direct(struct rlog_writer *w, enum rlog_type type, const struct slice *parts,
                                      size_t count, uint32_t payload_size, size_t size)
{
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&w->flush_mu);
    (void)held;
    TRY(flush_ring_locked(w));
    return write_direct_locked(w, type, parts, count, payload_size, size);
}

/* One record of any type. */
static inline enum nokv_status append_record(struct rlog_writer *w, enum rlog_type type, const struct slice *parts,
                                             size_t count, uint64_t payload_size)
{
    uint64_t size = record_size(payload_size);
    if (UNLIKELY(w->ring == NULL || size > w->ring_size / 2))
        return append_direct(w, type, parts, count, (uint32_t)payload_size, (size_t)size);
    if (UNLIKELY(size > w->ring_size - (end_of(w) - flushed_of(w))))
        TRY(flush_ring(w));
    store(w, type, parts, count, (uint32_t)payload_size, (size_t)size);
    if (UNLIKELY(io_shared_is_lost(w->shared)))
        return poison(w, FAIL(IO,
                              "log %s: its shared buffer could not be stored into (SIGBUS): the file system was shut "
                              "down, the device failed, or the buffer's file was cut short",
                              io_path(w->file)));
    return NOKV_OK;
}

/* An RLOG_SYNCED or RLOG_SEAL record. A log that may not speak for those before it claims nothing for itself either. */
static enum nokv_status append_mark(struct rlog_writer *w, enum rlog_type type)
{
    uint8_t covers[RLOG_MARK_PAYLOAD];
    put_u64(covers, w->claims ? w->synced : 0);
    struct slice part = slice_make(covers, sizeof covers);
    return append_record(w, type, &part, 1, sizeof covers);
}

/* The mark that is due: there is room, [I3]. */
static enum nokv_status append_due_mark(struct rlog_writer *w)
{
    if (LIKELY(!w->mark_synced))
        return NOKV_OK;
    TRY(append_mark(w, RLOG_SYNCED));
    w->mark_synced = w->claim_due = false;
    return NOKV_OK;
}

static inline enum nokv_status append_data(struct rlog_writer *w, const struct slice *parts, size_t count,
                                           bool may_use_kept)
{
    TRY(check_usable(w));
    ASSERT(!w->detached);
    uint64_t payload_size = 0;
    for (size_t i = 0; i < count; i++)
        payload_size += parts[i].size;
    if (UNLIKELY(payload_size > RLOG_PAYLOAD_MAX))
        return FAIL(TOO_LARGE, "log %s: record of %llu bytes, at most %u", io_path(w->file),
                    (unsigned long long)payload_size, RLOG_PAYLOAD_MAX);
    uint64_t size = record_size(payload_size);
    TRY(may_use_kept ? reserve_kept(w, size) : reserve(w, size));
    TRY(append_due_mark(w));
    TRY(append_record(w, RLOG_DATA, parts, count, payload_size));
    uint64_t waiting = end_of(w) - flushed_of(w);
    if (UNLIKELY(waiting >= w->write_chunk))
        return ring_is_full(w, waiting);
    return NOKV_OK;
}

enum nokv_status rlog_append(struct rlog_writer *w, const struct slice *parts, size_t count)
{
    return append_data(w, parts, count, false);
}

enum nokv_status rlog_append_kept(struct rlog_writer *w, const struct slice *parts, size_t count)
{
    return append_data(w, parts, count, true);
}

/* ---- flush, sync, seal, hold ----------------------------------------------------------------------------------- */

/*
 * Before anything is made durable: wait until the logs before this one are, and say so. So whatever was synced in this
 * log has a claim in front of it or beside it, and damage to a log before cannot pass for a torn tail.
 */
static enum nokv_status end_hold(struct rlog_writer *w)
{
    if (w->hold_wait != NULL) {
        TRY(poison(w, w->hold_wait(w->hold_arg)));
        rlog_release(w);
    }
    return UNLIKELY(w->claim_due) && end_of(w) > RLOG_FILE_HEADER ? append_due_mark(w) : NOKV_OK;
}

enum nokv_status rlog_flush(struct rlog_writer *w)
{
    TRY(check_usable(w));
    TRY(end_hold(w));
    return flush_ring(w);
}

void rlog_mark_synced(struct rlog_writer *w, uint64_t end)
{
    ASSERT(end <= flushed_of(w));
    if (end <= w->synced)
        return;
    w->synced = end;
    w->mark_synced = true;
}

void rlog_mark_failed(struct rlog_writer *w)
{
    atomic_store_explicit(&w->failed, true, memory_order_relaxed);
}

/* Can one durable write do the work of a write and a sync? When it would be the only thing to be synced. */
static bool one_stretch_is_all(const struct rlog_writer *w)
{
    uint64_t flushed = flushed_of(w), end = end_of(w);
    return w->synced == flushed && flushed < end && end - flushed <= w->ring_size - flushed % w->ring_size;
}

enum nokv_status rlog_sync(struct rlog_writer *w)
{
    TRY(check_usable(w));
    TRY(end_hold(w));
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&w->flush_mu);
    (void)held;
    uint64_t flushed = flushed_of(w), end = end_of(w);
    if (one_stretch_is_all(w)) {
        TRY(poison(w, io_pwrite_durable(w->file, w->ring + flushed % w->ring_size, (size_t)(end - flushed), flushed)));
        flushed_set_locked(w, end);
    } else {
        TRY(flush_ring_locked(w));
        if (w->synced < end)
            TRY(poison(w, io_sync(w->file)));
    }
    rlog_mark_synced(w, end);
    return NOKV_OK;
}

enum nokv_status rlog_write_mark(struct rlog_writer *w)
{
    TRY(check_usable(w));
    ASSERT(!w->detached);
    TRY(append_due_mark(w));
    return rlog_flush(w);
}

enum nokv_status rlog_detach(struct rlog_writer *w)
{
    TRY(check_usable(w));
    if (w->detached)
        return NOKV_OK;
    TRY(append_mark(w, RLOG_SEAL));
    TRY(flush_ring(w));
    w->detached = true;
    w->hold_wait = NULL;
    return NOKV_OK;
}

enum nokv_status rlog_seal(struct rlog_writer *w)
{
    TRY(check_usable(w));
    if (w->sealed)
        return NOKV_OK;
    if (!w->detached)
        TRY(rlog_sync(w)); /* so that the seal covers everything before it */
    TRY(rlog_detach(w));
    if (w->preallocate_bytes != 0)
        TRY(poison(w, io_truncate(w->file, end_of(w))));
    TRY(poison(w, io_sync(w->file)));
    w->synced = end_of(w);
    w->sealed = true;
    return NOKV_OK;
}

void rlog_hold(struct rlog_writer *w, enum nokv_status (*wait)(void *arg), void *arg)
{
    w->hold_wait = wait;
    w->hold_arg = arg;
    w->claims = false;
}

void rlog_release(struct rlog_writer *w)
{
    w->hold_wait = NULL;
    w->claim_due |= !w->claims || end_of(w) == RLOG_FILE_HEADER;
    w->mark_synced |= w->claim_due;
    w->claims = true;
}

void rlog_write_behind(struct rlog_writer *w, bool on)
{
    ASSERT(end_of(w) == RLOG_FILE_HEADER);
    w->write_behind = on;
}

struct io_file *rlog_file(const struct rlog_writer *w)
{
    return w->file;
}

uint64_t rlog_end(const struct rlog_writer *w)
{
    return end_of(w);
}

uint64_t rlog_synced(const struct rlog_writer *w)
{
    return w->synced;
}

uint64_t rlog_number(const struct rlog_writer *w)
{
    return w->id.number;
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

void rlog_writer_destroy(struct rlog_writer *w)
{
    if (w == NULL)
        return;
    io_close_ptr(&w->file);
    mutex_deinit(&w->flush_mu);
    mem_free(w->piece);
    mem_free(w);
}

static enum nokv_status check_options(const struct rlog_writer_options *o)
{
    if (o->kind != RLOG_WAL && o->kind != RLOG_MANIFEST)
        return FAIL(INVALID, "log %s: kind %d", o->path, (int)o->kind);
    if (o->ring && (o->ring->size < RING_SIZE_MIN || o->ring->size % RLOG_ALIGN != 0))
        return FAIL(INVALID, "log %s: a ring of %zu bytes; at least %d and a multiple of %d is possible", o->path,
                    o->ring->size, RING_SIZE_MIN, RLOG_ALIGN);
    return NOKV_OK;
}

/* Nothing secret: only never the same twice, which the two clocks see to. */
static uint64_t make_salt(const struct rlog_writer_options *o)
{
    const uint64_t sources[] = {io_wall_ms(o->io), io_now_ns(o->io), o->number};
    return hash64(sources, sizeof sources);
}

static void set_options(struct rlog_writer *w, const struct rlog_writer_options *o)
{
    w->id = (struct log_id){.number = o->number, .salt = o->salt ? o->salt : make_salt(o)};
    w->preallocate_bytes = o->preallocate_bytes;
    w->kept_bytes = o->preallocate_bytes ? o->kept_bytes : 0;
    w->full = o->full;
    w->full_arg = o->full_arg;
    w->claims = true;
    mutex_init(&w->flush_mu);
    flushed_set_locked(w, RLOG_FILE_HEADER);
    atomic_store_explicit(&w->end, RLOG_FILE_HEADER, memory_order_release);
    w->reserved = o->preallocate_bytes ? RLOG_FILE_HEADER : UINT64_MAX;
    if (o->ring == NULL)
        return;
    w->shared = o->ring;
    w->ring = o->ring->data;
    w->ring_size = o->ring->size;
    w->ring_pos = RLOG_FILE_HEADER;
    size_t chunk = o->write_chunk_bytes ? o->write_chunk_bytes : w->ring_size / 4;
    w->write_chunk = chunk < w->ring_size ? chunk : w->ring_size;
}

/* After this the log exists, empty, whatever happens. */
static enum nokv_status write_file_header(struct rlog_writer *w, const struct rlog_writer_options *o, const char *dir)
{
    uint8_t header[RLOG_FILE_HEADER];
    format_file_header(header, o->kind, w->id.number, w->id.salt);
    TRY(io_pwrite(w->file, header, sizeof header, 0));
    TRY(reserve(w, 0));
    enum nokv_status status = io_sync(w->file);
    if (status == NOKV_OK)
        status = io_sync_dir(o->io, dir);
    w->synced = RLOG_FILE_HEADER;
    return status == NOKV_OK ? NOKV_OK : FAIL(POISONED, "%s", status_message());
}

/* Give the name and the space back. Should that fail too, the log stays as an empty one: its owner has to see to it
 * that no later one gets records before it is gone. */
static void remove_quietly(struct io *io, const char *path)
{
    enum nokv_status status = io_unlink(io, path);
    (void)status;
}

enum nokv_status rlog_writer_create(const struct rlog_writer_options *options, const char *dir,
                                    struct rlog_writer **out_writer)
{
    TRY(check_options(options));
    struct rlog_writer *w = mem_zalloc(sizeof *w);
    if (w == NULL)
        return FAIL(NO_MEMORY, "log %s", options->path);
    set_options(w, options);
    enum nokv_status status = io_open(options->io, options->path, options->component, options->model,
                                      IO_READ | IO_WRITE | IO_CREATE, &w->file);
    if (status != NOKV_OK) {
        rlog_writer_destroy(w);
        return status;
    }
    status = write_file_header(w, options, dir);
    if (status != NOKV_OK) {
        rlog_writer_destroy(w);
        remove_quietly(options->io, options->path);
        return status;
    }
    *out_writer = w;
    return NOKV_OK;
}
