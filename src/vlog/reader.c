// SPDX-License-Identifier: Apache-2.0
/*
 * reader.c - values out of a segment, in place or copied.
 *
 * In place: a sealed segment is mapped when first asked for it (no read-ahead: values are scattered). A record's
 * header, key and chunks are verified when first touched, and a bitmap remembers that; each bit stands for 32 bytes of
 * the file, and no two records or chunks begin in the same 32, because the shortest record has 32 and begins at a
 * multiple of 8. The bitmap comes in leaves of 4 KiB, one per MiB of the file that is read; a reader stops making them
 * at BITMAP_BYTES_MAX, and then verifies what has no leaf each time.
 *
 * Small values under AUTO are in place while they are in memory, and copied while they are not: base/coldness.h. A
 * record of 1,000 bytes lies in two pages one time in four; a read brings both at one go, two faults one after the
 * other, and pages that were only read, not mapped, are the first to go when memory is short.
 *
 * Copied: header, key and the chunks that are asked for are read and verified each time, since the bytes may come from
 * the device each time. A record of one chunk is one read; a larger one takes one read for its header, and then reads
 * of several MiB straight into the caller's memory and the checksums that belong to them. The one read of a small one
 * can be taken apart, so that somebody who knows the next values asks for them together: the same read, the same
 * checks.
 *
 * [I1] Nothing is written to after open but the mapping (once), the bitmap and the counts in `object`.
 * [I2] Mapped bytes are touched under io_guarded() only; lengths are checked against the file wherever they are
 *      followed, and against the pointer: a mapped page may be read again from a disk that has gone bad since.
 *
 * Threading: any number of threads. Failure: a bad chunk is reported by every call that needs it; others stay readable.
 * Why not map the segment that is being written: decision 4 of the design; and its last bytes are not in the file.
 */
#include "base/alloc.h"
#include "base/thread.h"
#include "vlog/target.h"
#include "vlog/writer.h"

enum {
    BIT_BYTES = 32,
    LEAF_WORDS = 512,
    LEAF_SPAN = LEAF_WORDS * 64 * BIT_BYTES, /* bytes of the file */
    BITMAP_BYTES_MAX = 8 << 20,              /* 2 GiB of a segment */
    RUN_CHUNKS = 64,                         /* read at once: 4 MiB */
    CACHED_TRUSTED = 4096,
    CACHED_ASK = 16,
    HINT_MAX = 1 << 20, /* of a larger value this much is read ahead */
};

static_assert(BIT_BYTES <= (int)VLOG_RECORD_HEADER, "no two records in one bit");

struct leaf {
    _Atomic uint64_t words[LEAF_WORDS]; /* relaxed: the bytes that they speak of do not change */
};

struct leaf_slot {
    _Atomic(struct leaf *) leaf; /* set once; release and acquire: it is zeroed before it is seen */
};

struct vlog_reader {
    struct pinned_object object;
    /* set at open, then constant */
    struct io *io;
    struct vlog_writer *writer;
    struct io_file *file;
    char *path;
    struct segment segment; /* with a writer: ask it for the end */
    enum vlog_read_model model;
    struct coldness *coldness; /* NULL: none */
    /* atomic: NULL until a long scan needs it; set once, release and acquire */
    _Atomic(struct io_file *) scan_file;
    size_t leaf_count;
    struct leaf_slot *leaves;
    _Atomic uint64_t bitmap_bytes;  /* relaxed: a bound, not a lock */
    _Atomic uint32_t cached_streak; /* relaxed: a guess */
    _Atomic bool is_faulted;        /* relaxed: a page of the mapping could not be read at least once */
    /* protected by map_mu until `data` says that it is there */
    struct mutex map_mu;
    struct io_map map;
    /* atomic: stored once with release after `map` was filled in; acquire by readers */
    _Atomic(const uint8_t *) data;
};

/* ---- what has been verified ------------------------------------------------------------------------------------ */

static struct leaf *leaf_make(struct vlog_reader *r, size_t index)
{
    struct leaf *leaf = NULL, *seen = NULL;
    if (atomic_fetch_add_explicit(&r->bitmap_bytes, sizeof *leaf, memory_order_relaxed) < BITMAP_BYTES_MAX)
        leaf = mem_zalloc(sizeof *leaf);
    if (leaf != NULL && atomic_compare_exchange_strong_explicit(&r->leaves[index].leaf, &seen, leaf,
                                                                memory_order_release, memory_order_acquire))
        return leaf;
    mem_free(leaf);
    atomic_fetch_sub_explicit(&r->bitmap_bytes, sizeof *leaf, memory_order_relaxed);
    return seen; /* somebody else's, or none */
}

static bool is_verified(const struct vlog_reader *r, uint64_t off)
{
    struct leaf *leaf = atomic_load_explicit(&r->leaves[off / LEAF_SPAN].leaf, memory_order_acquire);
    uint64_t bit = off % LEAF_SPAN / BIT_BYTES;
    return leaf && (atomic_load_explicit(&leaf->words[bit / 64], memory_order_relaxed) >> bit % 64 & 1);
}

static void verified_set(struct vlog_reader *r, uint64_t off)
{
    struct leaf *leaf = atomic_load_explicit(&r->leaves[off / LEAF_SPAN].leaf, memory_order_acquire);
    uint64_t bit = off % LEAF_SPAN / BIT_BYTES;
    if (leaf != NULL || (leaf = leaf_make(r, off / LEAF_SPAN)) != NULL)
        atomic_fetch_or_explicit(&leaf->words[bit / 64], 1ull << bit % 64, memory_order_relaxed);
}

/* ---- in place -------------------------------------------------------------------------------------------------- */

static enum nokv_status map_make(struct vlog_reader *r, const uint8_t **out_data)
{
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&r->map_mu);
    (void)held;
    if (r->map.data == NULL) {
        TRY(io_map(r->file, &r->map));
        if (r->map.size != r->segment.file_bytes) {
            io_unmap(&r->map);
            r->map = (struct io_map){0};
            return segment_bad(&r->segment, 0, "the file has changed its size");
        }
        io_map_advise(&r->map, 0, r->map.size, IO_ADVICE_RANDOM);
        atomic_store_explicit(&r->data, r->map.data, memory_order_release);
    }
    *out_data = r->map.data;
    return NOKV_OK;
}

/* Is this a value that is read through the mapping while such values are in memory? */
static bool is_mapped_if_hot(const struct vlog_reader *r, uint64_t value_size)
{
    return r->model == VLOG_READ_AUTO && value_size < VLOG_MAPPED_BELOW && r->segment.is_sealed;
}

/* Is this value read through the mapping, cached or not? */
static bool is_mapped(const struct vlog_reader *r, uint64_t value_size)
{
    return r->segment.is_sealed && (r->model == VLOG_READ_MMAP || (is_mapped_if_hot(r, value_size) &&
                                                                   !(r->coldness && coldness_is_cold(r->coldness))));
}

static enum nokv_status map_guarded(struct vlog_reader *r, enum nokv_status (*fn)(void *arg), void *arg)
{
    enum nokv_status status = io_guarded(fn, arg);
    if (LIKELY(status != NOKV_ERR_IO))
        return status;
    atomic_store_explicit(&r->is_faulted, true, memory_order_relaxed);
    return FAIL(IO,
                "value log %llu (%s): a page could not be read: the device failed, or the file was cut short (SIGBUS); "
                "look at the kernel's log, then nokv verify",
                (unsigned long long)r->segment.id.number, r->path);
}

struct verify_call {
    const struct target *t;
    const uint8_t *data; /* the mapping */
    uint64_t chunk;
};

/* What a bit stands for: a chunk, and with the first one header and key. That of a later chunk is the end of the chunk
 * before it, because the next record may begin right behind a short last one. */
static uint64_t chunk_bit(const struct target *t, uint64_t chunk)
{
    return chunk == 0 ? t->off : t->value_off + chunk * VLOG_CHUNK - BIT_BYTES;
}

static enum nokv_status header_guarded(void *arg)
{
    const struct verify_call *c = arg;
    return target_check_header(c->t, c->data + c->t->off);
}

static enum nokv_status verify_guarded(void *arg)
{
    const struct verify_call *c = arg;
    const struct target *t = c->t;
    if (c->chunk == 0)
        TRY(header_guarded(arg));
    if (t->value_size == 0)
        return NOKV_OK;
    return target_check_chunk(t, c->chunk, c->data + t->value_off + c->chunk * VLOG_CHUNK,
                              get_u32(c->data + t->sums_off + c->chunk * VLOG_CHUNK_SUM));
}

/* Is it still what it was when its bit was set, as far as this pointer goes? One cache line. */
static enum nokv_status known_guarded(void *arg)
{
    const struct verify_call *c = arg;
    struct record_header h;
    const uint8_t *bytes = c->data + c->t->off;
    if (!format_record_claim(bytes, &h) || h.type != VLOG_VALUE || h.key_size != c->t->key.size ||
        h.value_size != c->t->value_size || !slice_equal(slice_make(bytes + VLOG_RECORD_HEADER, h.key_size), c->t->key))
        return target_check_header(c->t, bytes); /* says what is wrong */
    return NOKV_OK;
}

static enum nokv_status map_verify(struct vlog_reader *r, struct verify_call *c, uint64_t first, uint64_t last)
{
    for (c->chunk = first; c->chunk <= last; c->chunk++) {
        uint64_t bit = chunk_bit(c->t, c->chunk);
        if (c->chunk != 0 && is_verified(r, bit))
            continue;
        if (c->chunk == 0 && is_verified(r, bit)) {
            TRY(map_guarded(r, known_guarded, c));
            continue;
        }
        TRY(map_guarded(r, verify_guarded, c));
        verified_set(r, bit);
    }
    return NOKV_OK;
}

static enum nokv_status touch_guarded(void *arg)
{
    const struct verify_call *c = arg;
    (void)*(const volatile uint8_t *)(c->data + c->t->end - 1);
    return NOKV_OK;
}

/* Whoever asked will read it: the page that it ends in belongs to what the read costs. */
static enum nokv_status map_touch(struct vlog_reader *r, const uint8_t *data, const struct target *t)
{
    struct verify_call c = {.t = t, .data = data};
    return map_guarded(r, touch_guarded, &c);
}

/* Header, key and the chunks of value bytes [off, off + size) are what was written; *out_data is the mapping. */
static enum nokv_status map_prepare(struct vlog_reader *r, const struct target *t, uint64_t off, uint64_t size,
                                    const uint8_t **out_data)
{
    const uint8_t *data = atomic_load_explicit(&r->data, memory_order_acquire);
    if (data == NULL)
        TRY(map_make(r, &data));
    struct verify_call c = {.t = t, .data = data};
    uint64_t first = off >> VLOG_CHUNK_LOG2, last = size ? (off + size - 1) >> VLOG_CHUNK_LOG2 : first;
    if (first != 0)
        TRY(map_guarded(r, header_guarded, &c));
    if (first == 0 || size != 0)
        TRY(map_verify(r, &c, first, last));
    *out_data = data;
    return NOKV_OK;
}

/*
 * A large value that is in the page cache anyway is not copied out of it. One that is not would cost a page fault and a
 * small read for each page, as nothing is read ahead in the mapping: that one is read at one go. Should pages go in
 * between, or the kernel tell nothing, it is those faults.
 *
 * To ask the kernel is a system call. When CACHED_TRUSTED answers in a row were yes, only one in CACHED_ASK is asked
 * for again: whatever the share of values that are gone, faults that this brings cost less than what it saves, because
 * with one in a thousand gone trust is hardly ever reached. What was never looked at is asked for each time.
 */
static bool is_cached(struct vlog_reader *r, const struct target *t)
{
    static _Thread_local unsigned turn;
    uint32_t streak = atomic_load_explicit(&r->cached_streak, memory_order_relaxed);
    if (streak >= CACHED_TRUSTED && is_verified(r, t->off) && ++turn % CACHED_ASK != 0)
        return true;
    bool cached = io_map_resident(&r->map, t->off, t->end - t->off) >= t->end - t->off;
    if (!cached || streak < CACHED_TRUSTED)
        atomic_store_explicit(&r->cached_streak, cached ? streak + 1 : 0, memory_order_relaxed);
    return cached;
}

/* They are far from each other and from all that was touched before: fetch them side by side. */
static void record_prefetch(const struct vlog_reader *r, const uint8_t *data, uint64_t off)
{
    struct leaf *leaf = atomic_load_explicit(&r->leaves[off / LEAF_SPAN].leaf, memory_order_acquire);
    __builtin_prefetch(data + off);
    __builtin_prefetch(data + off + CACHE_LINE);
    if (leaf)
        __builtin_prefetch(&leaf->words[off % LEAF_SPAN / BIT_BYTES / 64]);
}

static bool is_mapped_if_cached(const struct vlog_reader *r, uint64_t value_size)
{
    return r->segment.is_sealed && r->model == VLOG_READ_AUTO && value_size >= VLOG_MAPPED_BELOW;
}

enum nokv_status vlog_read_in_place(struct vlog_reader *r, const struct vlog_pointer *p, struct slice user_key,
                                    struct slice *out_value)
{
    *out_value = slice_make(NULL, 0);
    bool only_cached = is_mapped_if_cached(r, p->value_size);
    if (!only_cached && !is_mapped(r, p->value_size))
        return NOKV_OK;
    struct target t;
    const uint8_t *data = atomic_load_explicit(&r->data, memory_order_acquire);
    TRY(target_make(&r->segment, r->segment.end, p, user_key, &t));
    enum nokv_status status = data == NULL ? map_make(r, &data) : NOKV_OK;
    if (status != NOKV_OK)
        return only_cached ? NOKV_OK : status; /* a copy needs no mapping */
    record_prefetch(r, data, t.off);
    if (only_cached && !is_cached(r, &t))
        return NOKV_OK;
    bool is_timed = !only_cached && r->coldness && coldness_is_due(r->coldness);
    uint64_t begin = is_timed ? io_now_ns(r->io) : 0;
    TRY(map_prepare(r, &t, 0, t.value_size, &data));
    if (UNLIKELY(is_timed)) {
        TRY(map_touch(r, data, &t));
        (void)coldness_note(r->coldness, io_read_time(r->io, begin));
    }
    *out_value = slice_make(data + t.value_off, t.value_size);
    return NOKV_OK;
}

struct copy_call {
    void *to;
    const uint8_t *from;
    size_t size;
};

static enum nokv_status copy_guarded(void *arg)
{
    const struct copy_call *c = arg;
    memcpy(c->to, c->from, c->size);
    return NOKV_OK;
}

static enum nokv_status read_mapped(struct vlog_reader *r, const struct target *t, uint64_t off, void *buffer,
                                    size_t size)
{
    const uint8_t *data;
    TRY(map_prepare(r, t, off, size, &data));
    struct copy_call c = {.to = buffer, .from = data + t->value_off + off, .size = size};
    return size == 0 ? NOKV_OK : map_guarded(r, copy_guarded, &c);
}

/* ---- copied ---------------------------------------------------------------------------------------------------- */

static enum nokv_status fetch(const struct vlog_reader *r, void *buffer, size_t size, uint64_t off)
{
    return r->writer ? writer_read(r->writer, r->file, buffer, size, off) : io_pread_exact(r->file, buffer, size, off);
}

/* The read that brings a whole record of at most one chunk. */
static struct io_read_request small_request(const struct vlog_reader *r, const struct target *t)
{
    struct io_read_request request = {.file = r->file, .off = t->off, .size = t->end - t->off};
    if (r->model == VLOG_READ_DIRECT && !r->writer && r->segment.is_sealed) { /* what O_DIRECT would do, at once */
        request.off -= t->off % PAGE_BYTES;
        request.size = align_up(t->end, PAGE_BYTES) - request.off;
    }
    return request;
}

/* A record of at most one chunk: all of it at once. */
static enum nokv_status read_small(const struct vlog_reader *r, const struct target *t, uint64_t off, uint8_t *to,
                                   size_t size)
{
    struct slice value;
    struct io_read_request request = small_request(r, t);
    uint8_t *scratch CLEANUP(mem_free_ptr) =
        mem_alloc_aligned(request.off == t->off ? CACHE_LINE : PAGE_BYTES, request.size);
    if (scratch == NULL)
        return FAIL(NO_MEMORY, "value log record of %zu bytes", request.size);
    TRY(fetch(r, scratch, request.size, request.off));
    TRY(target_check_record(t, scratch + (t->off - request.off), &value));
    if (size != 0)
        memcpy(to, value.data + off, size);
    return NOKV_OK;
}

static enum nokv_status read_header(const struct vlog_reader *r, const struct target *t)
{
    size_t size = VLOG_RECORD_HEADER + t->key.size;
    uint8_t small[512], *bytes = small;
    uint8_t *large CLEANUP(mem_free_ptr) = NULL;
    if (size > sizeof small) {
        bytes = large = mem_alloc(size);
        if (large == NULL)
            return FAIL(NO_MEMORY, "value log key of %zu bytes", t->key.size);
    }
    TRY(fetch(r, bytes, size, t->off));
    return target_check_header(t, bytes);
}

/* Chunks [first, first + count) to `to`; not more than RUN_CHUNKS. */
static enum nokv_status read_chunks(const struct vlog_reader *r, const struct target *t, uint64_t first, uint64_t count,
                                    uint8_t *to)
{
    uint8_t sums[RUN_CHUNKS * VLOG_CHUNK_SUM];
    uint64_t from = first << VLOG_CHUNK_LOG2, to_end = u64_min((first + count) << VLOG_CHUNK_LOG2, t->value_size);
    ASSERT(count <= RUN_CHUNKS);
    TRY(fetch(r, sums, count * VLOG_CHUNK_SUM, t->sums_off + first * VLOG_CHUNK_SUM));
    TRY(fetch(r, to, to_end - from, t->value_off + from));
    return target_check_chunks(t, first, count, to, sums);
}

/* The part of one chunk that is asked for. */
static enum nokv_status read_part(const struct vlog_reader *r, const struct target *t, uint64_t off, uint8_t *to,
                                  size_t size)
{
    uint64_t chunk = off >> VLOG_CHUNK_LOG2;
    uint8_t *scratch CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, VLOG_CHUNK);
    if (scratch == NULL)
        return FAIL(NO_MEMORY, "value log chunk");
    TRY(read_chunks(r, t, chunk, 1, scratch));
    memcpy(to, scratch + off % VLOG_CHUNK, size);
    return NOKV_OK;
}

static enum nokv_status read_large(const struct vlog_reader *r, const struct target *t, uint64_t off, uint8_t *to,
                                   size_t size)
{
    TRY(read_header(r, t));
    while (size > 0) {
        uint64_t chunk = off >> VLOG_CHUNK_LOG2, whole = chunk_size(t->value_size, chunk);
        size_t n = u64_min(size, whole - off % VLOG_CHUNK);
        if (n < whole) {
            TRY(read_part(r, t, off, to, n));
        } else {
            uint64_t end = off + size,
                     count = end == t->value_size ? chunk_count(end) - chunk : end / VLOG_CHUNK - chunk;
            count = u64_min(count, RUN_CHUNKS);
            n = u64_min(count << VLOG_CHUNK_LOG2, size);
            TRY(read_chunks(r, t, chunk, count, to));
        }
        off += n;
        to += n;
        size -= n;
    }
    return NOKV_OK;
}

enum nokv_status vlog_read(struct vlog_reader *r, const struct vlog_pointer *p, struct slice user_key, uint64_t off,
                           void *buffer, size_t size)
{
    ASSERT(off <= p->value_size && size <= p->value_size - off);
    struct target t;
    uint64_t end = r->writer ? vlog_writer_bytes(r->writer) : r->segment.end;
    TRY(target_make(&r->segment, end, p, user_key, &t));
    if (is_mapped(r, p->value_size))
        return read_mapped(r, &t, off, buffer, size);
    if (p->value_size > VLOG_CHUNK)
        return read_large(r, &t, off, buffer, size);
    uint64_t begin = io_now_ns(r->io);
    TRY(read_small(r, &t, off, buffer, size));
    vlog_read_note(r, p, begin);
    return NOKV_OK;
}

/* The handle that long scans read with; NULL: there is none. */
static struct io_file *scan_file(struct vlog_reader *r)
{
    struct io_file *file = atomic_load_explicit(&r->scan_file, memory_order_acquire), *opened = NULL;
    if (file != NULL || io_open(r->io, r->path, IO_VLOG, IO_DIRECT, IO_READ, &opened) != NOKV_OK)
        return file;
    if (atomic_compare_exchange_strong_explicit(&r->scan_file, &file, opened, memory_order_acq_rel,
                                                memory_order_acquire))
        return opened;
    (void)!io_close(opened); /* another thread was first */
    return file;
}

bool vlog_read_prepare_scan(struct vlog_reader *r, const struct vlog_pointer *p, struct slice user_key,
                            struct io_read_request *out_request)
{
    struct target t;
    if (r->model != VLOG_READ_AUTO || !r->segment.is_sealed || r->writer)
        return vlog_read_prepare(r, p, user_key, out_request);
    if (p->value_size > VLOG_CHUNK || target_make(&r->segment, r->segment.end, p, user_key, &t) != NOKV_OK)
        return false;
    struct io_file *file = scan_file(r);
    uint64_t off = t.off - t.off % PAGE_BYTES;
    *out_request = (struct io_read_request){.file = file, .off = off, .size = align_up(t.end, PAGE_BYTES) - off};
    return file != NULL;
}

void vlog_reader_drop(struct vlog_reader *r, const struct vlog_pointer *p)
{
    io_drop_cache(r->file, p->off, vlog_record_size(0, p->value_size));
}

void vlog_read_note(const struct vlog_reader *r, const struct vlog_pointer *p, uint64_t begin_ns)
{
    if (r->coldness && is_mapped_if_hot(r, p->value_size))
        (void)coldness_note(r->coldness, io_read_time(r->io, begin_ns));
}

/* ---- read ahead ------------------------------------------------------------------------------------------------ */

bool vlog_read_prepare(const struct vlog_reader *r, const struct vlog_pointer *p, struct slice user_key,
                       struct io_read_request *out_request)
{
    struct target t;
    if (r->writer || p->value_size > VLOG_CHUNK || is_mapped(r, p->value_size) ||
        target_make(&r->segment, r->segment.end, p, user_key, &t) != NOKV_OK)
        return false;
    *out_request = small_request(r, &t);
    return true;
}

enum nokv_status vlog_read_finish(const struct vlog_reader *r, const struct vlog_pointer *p, struct slice user_key,
                                  const struct io_read_request *request, struct slice *out_value)
{
    struct target t;
    TRY(request->status);
    TRY(target_make(&r->segment, r->segment.end, p, user_key, &t)); /* it was when the read was prepared */
    ASSERT(t.off >= request->off && t.end <= request->off + request->size);
    if (request->got < t.end - request->off)
        return segment_bad(&r->segment, t.off, "the file has become shorter");
    return target_check_record(&t, (const uint8_t *)request->buffer + (t.off - request->off), out_value);
}

/* ---- many values at once ----------------------------------------------------------------------------------------- */

void vlog_read_prefetch(const struct vlog_reader *r, const struct vlog_pointer *p)
{
    const uint8_t *data = atomic_load_explicit(&r->data, memory_order_acquire);
    if (data != NULL && p->off < r->segment.end)
        record_prefetch(r, data, p->off);
}

/* A mapping is also made where values are copied: it is the one way to know what is in the page cache. Has it been read
 * through the mapping (and so, once, in memory)? Copies leave no trace of that kind. */
static void hint_mapped(struct vlog_reader *r, const struct target *t, bool only_new, struct io_hints *hints)
{
    const uint8_t *data = atomic_load_explicit(&r->data, memory_order_acquire);
    bool leaves_trace = is_mapped(r, t->value_size) || is_mapped_if_cached(r, t->value_size);
    if (only_new && (!leaves_trace || is_verified(r, t->off)))
        return;
    if (data == NULL && map_make(r, &data) != NOKV_OK)
        return;
    io_hints_add(hints, &r->map, t->off, u64_min(t->end - t->off, HINT_MAX));
}

bool vlog_read_plan(struct vlog_reader *r, const struct vlog_pointer *p, struct slice user_key, bool only_new,
                    struct io_hints *hints, struct io_read_request *out_request)
{
    struct target t;
    if (r->writer || target_make(&r->segment, r->segment.end, p, user_key, &t) != NOKV_OK)
        return false;
    if (io_file_model(r->file) != IO_STD)
        return vlog_read_prepare(r, p, user_key, out_request);
    if (r->segment.is_sealed)
        hint_mapped(r, &t, only_new, hints);
    return false;
}

/* ---- open ------------------------------------------------------------------------------------------------------ */

static void reader_free(struct pinned_object *object)
{
    struct vlog_reader *r = CONTAINER_OF(object, struct vlog_reader, object);
    io_unmap(&r->map);
    io_close_ptr(&r->file);
    (void)!io_close(atomic_load_explicit(&r->scan_file, memory_order_relaxed)); /* nobody else is left */
    for (size_t i = 0; r->leaves && i < r->leaf_count; i++)
        mem_free(atomic_load_explicit(&r->leaves[i].leaf, memory_order_relaxed)); /* nobody else is left */
    mem_free(r->leaves);
    mutex_deinit(&r->map_mu);
    io_guard_remove();
    mem_free(r->path);
    mem_free(r);
}

static enum nokv_status open_leaves(struct vlog_reader *r)
{
    r->leaf_count = r->segment.file_bytes / LEAF_SPAN + 1;
    r->leaves = mem_zalloc(r->leaf_count * sizeof *r->leaves);
    return r->leaves ? NOKV_OK : FAIL(NO_MEMORY, "value log bitmap of %zu leaves", r->leaf_count);
}

static enum nokv_status open_file(struct vlog_reader *r, uint64_t number)
{
    static const enum io_model models[] = {[VLOG_READ_AUTO] = IO_STD,
                                           [VLOG_READ_MMAP] = IO_STD, /* the mapping is made by io_map */
                                           [VLOG_READ_PREAD] = IO_STD,
                                           [VLOG_READ_DIRECT] = IO_DIRECT,
                                           [VLOG_READ_URING] = IO_URING};
    r->segment.path = r->path;
    TRY(io_open(r->io, r->path, IO_VLOG, models[r->model], IO_READ, &r->file));
    TRY(segment_identify(&r->segment, r->file, number, r->writer != NULL));
    return r->segment.is_sealed ? open_leaves(r) : NOKV_OK;
}

enum nokv_status vlog_reader_open(struct io *io, const char *path, uint64_t number, enum vlog_read_model model,
                                  struct vlog_writer *writer, struct coldness *coldness,
                                  struct vlog_reader **out_reader)
{
    struct vlog_reader *r = mem_alloc_aligned(CACHE_LINE, sizeof *r);
    if (r == NULL)
        return FAIL(NO_MEMORY, "value log reader of %s", path);
    memset(r, 0, sizeof *r);
    enum nokv_status status = io_guard_install();
    if (status != NOKV_OK) {
        mem_free(r);
        return status;
    }
    r->io = io;
    r->model = model;
    r->writer = writer;
    r->coldness = coldness;
    mutex_init(&r->map_mu);
    pinned_init(&r->object, reader_free);
    r->path = mem_strdup(path);
    status = r->path ? open_file(r, number) : FAIL(NO_MEMORY, "value log reader");
    if (status != NOKV_OK) {
        reader_free(&r->object); /* nobody else has seen it */
        return FAIL_WITH(status, "%s [opening value log %llu, %s]", status_message(), (unsigned long long)number, path);
    }
    *out_reader = r;
    return NOKV_OK;
}

void vlog_reader_ref(struct vlog_reader *r)
{
    pinned_ref(&r->object);
}

void vlog_reader_unref(struct vlog_reader *r)
{
    if (r != NULL)
        pinned_unref(&r->object);
}

void vlog_reader_pin(struct vlog_reader *r)
{
    pinned_pin(&r->object);
}

void vlog_reader_unpin(struct vlog_reader *r)
{
    pinned_unpin(&r->object);
}

bool vlog_reader_is_faulted(const struct vlog_reader *r)
{
    return atomic_load_explicit(&r->is_faulted, memory_order_relaxed);
}

bool vlog_reader_is_sealed(const struct vlog_reader *r)
{
    return r->segment.is_sealed;
}

struct vlog_info vlog_reader_info(const struct vlog_reader *r)
{
    const struct segment *s = &r->segment;
    return (struct vlog_info){.records = s->footer.records,
                              .record_bytes = s->footer.record_bytes,
                              .value_bytes = s->footer.value_bytes,
                              .file_bytes = s->file_bytes};
}

uint64_t vlog_reader_resident_bytes(const struct vlog_reader *r)
{
    if (atomic_load_explicit(&r->data, memory_order_acquire) == NULL)
        return UINT64_MAX;
    return io_map_resident(&r->map, 0, r->map.size);
}
