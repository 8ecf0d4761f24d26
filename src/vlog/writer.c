// SPDX-License-Identifier: Apache-2.0
/*
 * writer.c - a segment from its creation to its footer: appending records, syncing, sealing.
 *
 * What an append does, in this order: checksums of the value's chunks (they do not depend on the place); take a place;
 * store header, key, first and last bytes into buffers; let go of those; write the middle, if there is one; count.
 *
 * [I1] The footer is written only when everything in front of it is durable. So a footer that is there after a power
 *      cut vouches for the whole segment, and damage in it is damage.
 * [I2] Below `end` a sealed segment is records and padding without a gap; the rest of the last page is zeros.
 * [I3] Nothing is written after a failed sync.
 * [I4] Shared memory is not touched before the file is there, nor once it is sealed: it may be another writer's then.
 *
 * Threading: any number of appenders; see place.c. One caller leads a sync, those who come while it runs wait for the
 * next one, which is then for all of them.
 *
 * Why not a file offset moved by an atomic addition and one pwritev per record: a system call per 1,000-byte value
 * costs more than all the rest, neighbours would write parts of the same page, and O_DIRECT could not do it at all.
 */
#include "base/alloc.h"
#include "vlog/shared.h"

enum {
    STD_DIRECT_MIN = 64 << 10,   /* from here on a system call costs less than the second copy */
    BLOCKS_DIRECT_MIN = 1 << 20, /* past the page cache each write waits for the device: fewer and larger ones */
    SUMS_ON_STACK = 64,
};

static_assert(STD_DIRECT_MIN >= 2 * PAGE_BYTES, "a middle has at least a page");

/* ---- appending ------------------------------------------------------------------------------------------------- */

enum { IMAGE_HEADER, IMAGE_KEY, IMAGE_VALUE, IMAGE_SUMS, IMAGE_ZEROS, IMAGE_PARTS };

/* A record's bytes, where they are before they stand in one piece. */
struct image {
    uint8_t header[VLOG_RECORD_HEADER];
    struct slice parts[IMAGE_PARTS];
};

/* Copy the record's bytes [off, off + size). */
static void image_copy(const struct image *image, uint64_t off, uint8_t *to, size_t size)
{
    for (unsigned i = 0; i < IMAGE_PARTS && size > 0; i++) {
        struct slice part = image->parts[i];
        if (off >= part.size) {
            off -= part.size;
            continue;
        }
        size_t n = u64_min(size, part.size - off);
        memcpy(to, part.data + off, n);
        to += n;
        size -= n;
        off = 0;
    }
    ASSERT(size == 0);
}

static void sums_compute(const struct vlog_writer *w, struct slice value, uint8_t *sums)
{
    for (uint64_t i = 0; i < chunk_count(value.size); i++)
        put_u32(sums + i * VLOG_CHUNK_SUM,
                chunk_raw_sum(value.data + i * VLOG_CHUNK, chunk_size(value.size, i), w->seed));
}

static void sums_place(const struct vlog_writer *w, uint64_t off, uint8_t *sums, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        put_u32(sums + i * VLOG_CHUNK_SUM, chunk_sum(get_u32(sums + i * VLOG_CHUNK_SUM), w->seed, off, i));
}

static void image_make(const struct vlog_writer *w, const struct place *p, struct ikey key, struct slice value,
                       uint8_t *sums, struct image *out)
{
    static const uint8_t zeros[VLOG_ALIGN];
    uint64_t count = chunk_count(value.size);
    size_t used = VLOG_RECORD_HEADER + key.user.size + value.size + count * VLOG_CHUNK_SUM;
    sums_place(w, p->off, sums, count);
    format_record_header(out->header, w->seed, p->off, key, value.size);
    out->parts[IMAGE_HEADER] = slice_make(out->header, sizeof out->header);
    out->parts[IMAGE_KEY] = key.user;
    out->parts[IMAGE_VALUE] = value;
    out->parts[IMAGE_SUMS] = slice_make(sums, count * VLOG_CHUNK_SUM);
    out->parts[IMAGE_ZEROS] = slice_make(zeros, p->size - used);
}

/* Past the page cache memory must be aligned too. The copy costs a tenth of the write, and lets it be as large as one
 * of a buffer; what io would do instead moves a quarter of that at once (measured: 577 against 866 MB/s). */
static enum nokv_status middle_copy(struct vlog_writer *w, const uint8_t *data, uint64_t size, uint64_t off)
{
    uint8_t *copy CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, u64_min(size, VLOG_BUFFER_MAX));
    if (copy == NULL)
        return FAIL(NO_MEMORY, "value log: an aligned copy of a part of a large value");
    for (uint64_t at = 0; at < size; at += VLOG_BUFFER_MAX) {
        size_t n = u64_min(VLOG_BUFFER_MAX, size - at);
        memcpy(copy, data + at, n);
        TRY(io_pwrite(w->file, copy, n, off + at));
    }
    return NOKV_OK;
}

static enum nokv_status middle_write(struct vlog_writer *w, const struct place *p, const uint8_t *data)
{
    uint64_t size = p->middle_end - p->middle_off;
    if (w->whole_blocks && (uintptr_t)data % PAGE_BYTES != 0)
        return middle_copy(w, data, size, p->middle_off);
    return io_pwrite(w->file, data, size, p->middle_off);
}

/* With the place taken: nothing but the middle's write can fail. */
static enum nokv_status append_at(struct vlog_writer *w, const struct place *p, struct ikey key, struct slice value,
                                  uint8_t *sums)
{
    struct image image;
    bool has_middle = p->middle_off != p->middle_end;
    image_make(w, p, key, value, sums, &image);
    for (unsigned i = 0; i < p->piece_count; i++) {
        const struct place_piece *piece = &p->pieces[i];
        image_copy(&image, piece->off - p->off, piece_data(piece), piece->size);
    }
    mutex_lock(&w->mu);
    if (!has_middle)
        writer_count_locked(w, key.user.size, value.size);
    bool left = place_release_locked(w, p);
    mutex_unlock(&w->mu);
    if (left)
        w->full(w->full_arg);
    if (!has_middle)
        return NOKV_OK;
    uint64_t value_off = p->off + VLOG_RECORD_HEADER + key.user.size;
    enum nokv_status status = middle_write(w, p, value.data + (p->middle_off - value_off));
    if (status != NOKV_OK) {
        place_void(w, p->off, p->size);
        return status;
    }
    mutex_lock(&w->mu);
    place_settle_locked(w);
    w->changes++;
    writer_count_locked(w, key.user.size, value.size);
    mutex_unlock(&w->mu);
    return NOKV_OK;
}

enum nokv_status vlog_append(struct vlog_writer *w, struct ikey key, struct slice value,
                             struct vlog_pointer *out_pointer)
{
    if (key.user.size > KEY_SIZE_MAX || value.size > KEY_VALUE_SIZE_MAX)
        return FAIL(INVALID, "value log: a key of %zu bytes, a value of %zu bytes", key.user.size, value.size);
    uint8_t few[SUMS_ON_STACK * VLOG_CHUNK_SUM], *sums = few;
    uint8_t *many CLEANUP(mem_free_ptr) = NULL;
    if (chunk_count(value.size) > SUMS_ON_STACK) {
        sums = many = mem_alloc(chunk_count(value.size) * VLOG_CHUNK_SUM);
        if (many == NULL)
            return FAIL(NO_MEMORY, "value log: checksums of %zu bytes", value.size);
    }
    sums_compute(w, value, sums);
    struct place_shape shape = {.size = vlog_record_size(key.user.size, value.size)};
    if (value.size >= w->direct_min) {
        shape.head = VLOG_RECORD_HEADER + key.user.size;
        shape.value_end = shape.head + value.size;
    }
    struct place p;
    TRY(place_take(w, &shape, &p));
    TRY(append_at(w, &p, key, value, sums));
    *out_pointer = (struct vlog_pointer){.segment = w->id.number, .off = p.off, .value_size = (uint32_t)value.size};
    return NOKV_OK;
}

/* ---- flush and sync -------------------------------------------------------------------------------------------- */

enum nokv_status vlog_writer_flush(struct vlog_writer *w)
{
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&w->mu);
    (void)held;
    TRY(writer_usable_locked(w));
    return writer_flush_locked(w);
}

/* Lets go of mu. [I3] */
static enum nokv_status sync_file_locked(struct vlog_writer *w)
{
    uint64_t changes = w->changes;
    if (changes == w->synced_changes)
        return NOKV_OK;
    mutex_unlock(&w->mu);
    enum nokv_status status = io_sync(w->file);
    mutex_lock(&w->mu);
    if (status != NOKV_OK)
        w->failed = true;
    else
        w->synced_changes = u64_max(w->synced_changes, changes);
    return status;
}

static enum nokv_status sync_lead(struct vlog_writer *w)
{
    uint64_t covers = w->sync_asked; /* all of them had appended before they asked */
    w->syncing = true;
    enum nokv_status status = writer_flush_locked(w);
    if (status == NOKV_OK)
        status = sync_file_locked(w);
    w->syncing = false;
    if (status == NOKV_OK)
        w->sync_done = covers;
    cond_broadcast(&w->changed);
    return status;
}

static enum nokv_status sync_locked(struct vlog_writer *w)
{
    uint64_t ticket = ++w->sync_asked;
    while (w->sync_done < ticket) {
        TRY(writer_usable_locked(w));
        if (w->syncing)
            cond_wait(&w->changed, &w->mu);
        else
            TRY(sync_lead(w));
    }
    return writer_usable_locked(w);
}

enum nokv_status vlog_writer_sync(struct vlog_writer *w)
{
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&w->mu);
    (void)held;
    return sync_locked(w);
}

/* ---- the end --------------------------------------------------------------------------------------------------- */

/* REQUIRES: all in front of it is durable [I1]. Lets go of mu. */
static enum nokv_status write_footer(struct vlog_writer *w)
{
    uint8_t page[PAGE_BYTES];
    const struct segment_footer f = {.id = w->id,
                                     .end = w->end,
                                     .records = w->done.records,
                                     .record_bytes = w->done.record_bytes,
                                     .value_bytes = w->done.value_bytes};
    format_footer_page(page, &f);
    enum nokv_status status = io_pwrite(w->file, page, PAGE_BYTES, align_up(w->end, PAGE_BYTES));
    if (status != NOKV_OK) {
        w->failed = status != NOKV_ERR_NO_SPACE;
        return status;
    }
    w->changes++;
    return sync_file_locked(w);
}

enum nokv_status vlog_writer_seal(struct vlog_writer *w)
{
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&w->mu);
    (void)held;
    if (w->sealed)
        return NOKV_OK;
    TRY(writer_usable_locked(w));
    TRY(writer_fill_holes_locked(w));
    ASSERT(w->exposed == 0);
    TRY(writer_flush_locked(w));
    TRY(io_truncate(w->file, align_up(w->end, PAGE_BYTES) + PAGE_BYTES));
    if (w->preallocate_bytes != 0)
        w->reserved = align_up(w->end, PAGE_BYTES) + PAGE_BYTES;
    w->changes++;
    TRY(sync_locked(w));
    TRY(write_footer(w));
    w->sealed = true;
    writer_drop_buffers_locked(w);
    return NOKV_OK;
}

uint64_t vlog_writer_bytes(const struct vlog_writer *w)
{
    return atomic_load_explicit(&w->end_shown, memory_order_relaxed); /* relaxed: it orders nothing */
}

struct vlog_info vlog_writer_info(struct vlog_writer *w)
{
    mutex_lock(&w->mu);
    struct vlog_info info = w->done;
    info.file_bytes =
        u64_max(align_up(w->end, PAGE_BYTES) + (w->sealed ? PAGE_BYTES : 0), w->preallocate_bytes ? w->reserved : 0);
    mutex_unlock(&w->mu);
    return info;
}

void vlog_writer_destroy(struct vlog_writer *w)
{
    if (w == NULL)
        return;
    ASSERT(w->exposed == 0);
    io_close_ptr(&w->file);
    for (unsigned i = 0; i < BUFFER_COUNT; i++)
        if (w->buffers[i].claim == NULL)
            mem_free(w->buffers[i].data);
    mem_free(w->holes);
    cond_deinit(&w->changed);
    mutex_deinit(&w->mu);
    mem_free(w);
}

/* ---- creation -------------------------------------------------------------------------------------------------- */

/* Nothing secret: only never the same twice, which the two clocks see to. */
static uint64_t make_salt(const struct vlog_writer_options *o)
{
    const uint64_t sources[] = {io_wall_ms(o->io), io_now_ns(o->io), o->number};
    return hash64(sources, sizeof sources);
}

static struct vlog_writer *writer_alloc(const struct vlog_writer_options *o)
{
    struct vlog_writer *w = mem_zalloc(sizeof *w);
    if (w == NULL)
        return NULL;
    w->id = (struct segment_id){.number = o->number, .salt = o->salt ? o->salt : make_salt(o)};
    w->seed = segment_seed(w->id);
    w->preallocate_bytes = o->preallocate_bytes;
    w->full = o->full;
    w->full_arg = o->full_arg;
    w->buffer_bytes = o->buffer_bytes ? o->buffer_bytes : VLOG_BUFFER_MAX;
    ASSERT(w->buffer_bytes >= VLOG_BUFFER_MIN && w->buffer_bytes <= VLOG_BUFFER_MAX);
    ASSERT(w->buffer_bytes % PAGE_BYTES == 0);
    w->reserved = o->preallocate_bytes ? VLOG_FIRST : UINT64_MAX;
    mutex_init(&w->mu);
    cond_init(&w->changed);
    writer_end_locked(w, VLOG_FIRST);
    return w;
}

static void buffers_share(struct vlog_writer *w, uint8_t *shared)
{
    shared_init(shared, w->buffer_bytes);
    for (unsigned i = 0; i < BUFFER_COUNT; i++) {
        w->buffers[i].data = shared_buffer(shared, w->buffer_bytes, i);
        w->buffers[i].claim = shared_claim_at(shared, i);
    }
}

/* Give the name back. Should that fail too, an empty segment stays that nothing refers to. */
static void remove_quietly(struct io *io, const char *path)
{
    enum nokv_status status = io_unlink(io, path);
    (void)status;
}

static enum nokv_status writer_begin(struct vlog_writer *w, const struct vlog_writer_options *o)
{
    uint8_t *page CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, PAGE_BYTES);
    if (page == NULL)
        return FAIL(NO_MEMORY, "value log header of %s", o->path);
    format_header_page(page, w->id);
    TRY(io_pwrite(w->file, page, PAGE_BYTES, 0));
    enum nokv_status status = io_sync(w->file);
    if (status == NOKV_OK)
        status = io_sync_dir(o->io, o->dir);
    return status == NOKV_OK ? NOKV_OK : FAIL(POISONED, "%s", status_message());
}

enum nokv_status vlog_writer_create(const struct vlog_writer_options *options, struct vlog_writer **out_writer)
{
    ASSERT(options->number != 0);
    struct vlog_writer *w = writer_alloc(options);
    if (w == NULL)
        return FAIL(NO_MEMORY, "value log writer of %s", options->path);
    enum nokv_status status = io_open(options->io, options->path, options->component, options->model,
                                      IO_READ | IO_WRITE | IO_CREATE, &w->file);
    if (status == NOKV_OK) {
        w->whole_blocks = io_file_model(w->file) == IO_DIRECT;
        w->direct_min = u64_min(w->whole_blocks ? BLOCKS_DIRECT_MIN : STD_DIRECT_MIN, w->buffer_bytes);
        status = writer_begin(w, options);
        if (status != NOKV_OK)
            remove_quietly(options->io, options->path);
    }
    if (status != NOKV_OK) {
        vlog_writer_destroy(w);
        return status;
    }
    if (options->shared != NULL)
        buffers_share(w, options->shared);
    *out_writer = w;
    return NOKV_OK;
}
