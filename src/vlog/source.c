// SPDX-License-Identifier: Apache-2.0
/*
 * source.c - a segment that values are moved out of: read once, in large pieces, past the page cache.
 *
 * A window of the file stands in memory. A record that fits into one is shown in it whole, verified there, and appended
 * from there; what the window already has of it is kept. A larger one passes through the window in runs of chunks, each
 * verified before a byte of it reaches the new segment, and its new record is completed only when all were right.
 *
 * How much is read at once: a whole window when the record comes behind what was read last, at most a window further
 * on; otherwise only the record's pages, because then the next one may be anywhere as well.
 *
 * Values that were written in the order of their arrival are met all over their segments. Whoever knows which come next
 * hints at them: the kernel reads them side by side, and lets go of them when they have been moved.
 *
 * [I1] The window holds whole pages from a page boundary on, or up to the end of the file: what O_DIRECT asks for.
 * [I2] Nothing is allocated for a length whose header has not passed its checksum.
 *
 * One thread. Failure: the source stays usable; a record that could not be moved is not there in the new segment.
 */
#include "base/alloc.h"
#include "vlog/target.h"

enum {
    WINDOW_CAPACITY = VLOG_SOURCE_WINDOW + PAGE_BYTES, /* VLOG_SOURCE_WINDOW bytes from any offset on */
    RUN_CHUNKS = VLOG_SOURCE_WINDOW / VLOG_CHUNK,
};

static_assert(VLOG_SOURCE_WINDOW / 2 > VLOG_RECORD_HEADER + KEY_SIZE_MAX + VLOG_SOURCE_WINDOW / VLOG_CHUNK * 4,
              "what vlog_source_read may be asked for fits into the window, with the longest key");

struct vlog_source {
    /* set at open, then constant */
    struct io_file *file;
    char *path;
    struct segment segment;
    /* the window: bytes [window_off, window_off + window_size) of the file */
    uint8_t *window;
    uint64_t window_off;
    size_t window_size;
    /* the state */
    uint8_t *sums; /* of the value that is streamed */
    size_t sums_capacity;
    bool is_to_blame;
    bool is_hinted; /* records may be cached for our sake */
};

/* ---- the window ------------------------------------------------------------------------------------------------ */

/* Where to stop reading, for [off, off + size): see above. */
static uint64_t read_end(const struct vlog_source *s, uint64_t off, uint64_t size)
{
    uint64_t window_end = s->window_off + s->window_size, from = off - off % PAGE_BYTES;
    bool goes_on = off >= s->window_off && off <= window_end + VLOG_SOURCE_WINDOW;
    uint64_t end = goes_on ? from + WINDOW_CAPACITY : align_up(off + size, PAGE_BYTES);
    return u64_min(end, s->segment.file_bytes);
}

/* Make [off, off + size) stand in the window; what is there already is kept. REQUIRES: inside the file. */
static enum nokv_status window_show(struct vlog_source *s, uint64_t off, uint64_t size, const uint8_t **out)
{
    ASSERT(size <= VLOG_SOURCE_WINDOW && off <= s->segment.file_bytes && size <= s->segment.file_bytes - off);
    uint64_t window_end = s->window_off + s->window_size;
    if (off < s->window_off || off + size > window_end) {
        uint64_t from = off - off % PAGE_BYTES, end = read_end(s, off, size), kept = 0;
        if (from >= s->window_off && from < window_end) {
            kept = window_end - from;
            memmove(s->window, s->window + (from - s->window_off), kept);
        }
        s->window_size = 0; /* nothing, should the read fail */
        TRY(io_pread_exact(s->file, s->window + kept, end - from - kept, from + kept));
        s->window_off = from; /* [I1] */
        s->window_size = end - from;
    }
    *out = s->window + (off - s->window_off);
    return NOKV_OK;
}

/* ---- records that fit into the window -------------------------------------------------------------------------- */

/* The record, verified; *out_value stands in the window. */
static enum nokv_status record_show(struct vlog_source *s, const struct target *t, struct slice *out_value)
{
    const uint8_t *record;
    TRY(window_show(s, t->off, t->end - t->off, &record));
    TRY(target_check_header(t, record));
    const uint8_t *value = record + (t->value_off - t->off);
    TRY(target_check_chunks(t, 0, chunk_count(t->value_size), value, value + t->value_size));
    *out_value = slice_make(value, t->value_size);
    return NOKV_OK;
}

/* What reading has come to, and whether that is the fault of the segment. */
static enum nokv_status blame(struct vlog_source *s, enum nokv_status status)
{
    s->is_to_blame = status == NOKV_ERR_IO || status == NOKV_ERR_CORRUPT;
    return status;
}

/* ---- larger ones ----------------------------------------------------------------------------------------------- */

/* Header and key verified, and the checksums of the chunks in s->sums. */
static enum nokv_status large_begin(struct vlog_source *s, const struct target *t)
{
    const uint8_t *header;
    size_t sums_size = t->end - t->sums_off;
    TRY(window_show(s, t->off, t->value_off - t->off, &header));
    TRY(target_check_header(t, header));
    TRY(mem_grow(&s->sums, &s->sums_capacity, sums_size, 1)); /* [I2] */
    return io_pread_exact(s->file, s->sums, sums_size, t->sums_off);
}

/* The next run of chunks from `chunk` on, verified, in the window. */
static enum nokv_status large_run(struct vlog_source *s, const struct target *t, uint64_t chunk, struct slice *out_run)
{
    uint64_t count = u64_min(RUN_CHUNKS, chunk_count(t->value_size) - chunk), off = chunk * VLOG_CHUNK;
    size_t size = u64_min(count * VLOG_CHUNK, t->value_size - off);
    const uint8_t *data;
    TRY(window_show(s, t->value_off + off, size, &data));
    TRY(target_check_chunks(t, chunk, count, data, s->sums + chunk * VLOG_CHUNK_SUM));
    *out_run = slice_make(data, size);
    return NOKV_OK;
}

static enum nokv_status large_copy(struct vlog_source *s, const struct target *t, struct vlog_stream *to)
{
    for (uint64_t chunk = 0; chunk < chunk_count(t->value_size); chunk += RUN_CHUNKS) {
        struct slice run;
        TRY(blame(s, large_run(s, t, chunk, &run)));
        TRY(vlog_stream_append(to, run));
    }
    return NOKV_OK;
}

static enum nokv_status large_move(struct vlog_source *s, const struct target *t, uint64_t tag, struct vlog_writer *to,
                                   struct vlog_pointer *out_pointer)
{
    struct vlog_stream *stream = NULL;
    TRY(blame(s, large_begin(s, t)));
    TRY(vlog_stream_begin(to, t->key, t->value_size, &stream));
    enum nokv_status status = large_copy(s, t, stream);
    if (status != NOKV_OK) {
        vlog_stream_abandon(stream);
        return status;
    }
    return vlog_stream_end(stream, tag, out_pointer);
}

/* ---- the calls ------------------------------------------------------------------------------------------------- */

enum nokv_status vlog_source_move(struct vlog_source *s, const struct vlog_pointer *p, struct ikey key,
                                  struct vlog_writer *to, struct vlog_pointer *out_pointer)
{
    struct target t;
    struct slice value;
    TRY(blame(s, target_make(&s->segment, s->segment.end, p, key.user, &t)));
    if (t.end - t.off > VLOG_SOURCE_WINDOW)
        return large_move(s, &t, key.tag, to, out_pointer);
    TRY(blame(s, record_show(s, &t, &value)));
    enum nokv_status status = vlog_append(to, key, value, out_pointer);
    if (s->is_hinted)
        io_drop_cache(s->file, t.off, t.end - t.off);
    return status;
}

void vlog_source_hint(struct vlog_source *s, const struct vlog_pointer *p, size_t key_size)
{
    uint64_t size = vlog_record_size(key_size, p->value_size);
    if (p->off > s->segment.end || size > s->segment.end - p->off)
        return; /* vlog_source_move says what is wrong */
    s->is_hinted = true;
    io_prefetch(s->file, p->off, size);
}

enum nokv_status vlog_source_read(struct vlog_source *s, const struct vlog_pointer *p, struct slice user_key,
                                  struct slice *out_value)
{
    struct target t;
    ASSERT(p->value_size <= VLOG_SOURCE_WINDOW / 2);
    TRY(blame(s, target_make(&s->segment, s->segment.end, p, user_key, &t)));
    return blame(s, record_show(s, &t, out_value));
}

bool vlog_source_is_to_blame(const struct vlog_source *s)
{
    return s->is_to_blame;
}

/* ---- open ------------------------------------------------------------------------------------------------------ */

static enum nokv_status source_open(struct vlog_source *s, struct io *io, const char *path, uint64_t number,
                                    enum io_component component, enum io_model model)
{
    s->path = mem_strdup(path);
    s->window = mem_alloc_aligned(PAGE_BYTES, WINDOW_CAPACITY);
    if (s->path == NULL || s->window == NULL)
        return FAIL(NO_MEMORY, "value log source: a window of %d bytes", WINDOW_CAPACITY);
    TRY(io_open(io, path, component, model, IO_READ | IO_SCAN_ONCE, &s->file));
    s->segment.path = s->path;
    return segment_identify(&s->segment, s->file, number, false);
}

enum nokv_status vlog_source_open(struct io *io, const char *path, uint64_t number, enum io_component component,
                                  enum io_model model, struct vlog_source **out_source)
{
    struct vlog_source *s = mem_zalloc(sizeof *s);
    if (s == NULL)
        return FAIL(NO_MEMORY, "value log source of %s", path);
    enum nokv_status status = source_open(s, io, path, number, component, model);
    if (status != NOKV_OK) {
        vlog_source_close(s);
        return FAIL_WITH(status, "%s [opening value log %llu, %s, to move values]", status_message(),
                         (unsigned long long)number, path);
    }
    *out_source = s;
    return NOKV_OK;
}

void vlog_source_close(struct vlog_source *s)
{
    if (s == NULL)
        return;
    io_close_ptr(&s->file);
    mem_free(s->window);
    mem_free(s->sums);
    mem_free(s->path);
    mem_free(s);
}
