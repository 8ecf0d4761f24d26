// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_value_writer: a value that comes in parts.
 *
 *      open ─► append … (gathers) ─value_direct_min bytes─► append … (streams to a segment) ─► commit
 *                                                                                        └──► abandon: garbage
 *
 * A small value stays in memory and is put as any other. One that reaches value_direct_min is streamed to the value
 * log; the pointer is written when it is committed, so a value that was not is never seen: its place is garbage, or, in
 * a segment of its own, given back.
 *
 * The segment that a stream writes to is not sealed before the stream has ended (it is a user of it).
 */
#include "base/alloc.h"
#include "db/db.h"

struct nokv_value_writer {
    struct nokv_db *db;
    uint64_t size_max; /* 0: not known */
    uint64_t size;     /* so far */
    struct buf key;
    struct buf gathered;        /* while there is no stream */
    struct vlog_stream *stream; /* NULL: none yet */
    struct direct_use use;      /* of the stream */
    enum nokv_status failed;
};

static void writer_free(struct nokv_value_writer *w)
{
    atomic_fetch_sub_explicit(&w->db->references, 1, memory_order_release);
    buf_deinit(&w->key);
    buf_deinit(&w->gathered);
    mem_free(w);
}

nokv_status nokv_value_writer_open(nokv_db *db, const void *key, size_t key_size, uint64_t size_max,
                                   nokv_value_writer **out_writer)
{
    TRY(key_check(key, key_size));
    if (size_max > NOKV_VALUE_SIZE_MAX)
        return FAIL(TOO_LARGE, "a value of up to %llu bytes: the limit is %llu", (unsigned long long)size_max,
                    NOKV_VALUE_SIZE_MAX);
    TRY(db_check_writable(db));
    struct nokv_value_writer *w = mem_zalloc(sizeof *w);
    if (w == NULL)
        return FAIL(NO_MEMORY, "no memory for a writer of a value");
    w->db = db;
    w->size_max = size_max;
    atomic_fetch_add_explicit(&db->references, 1, memory_order_relaxed);
    enum nokv_status status = buf_append(&w->key, key, key_size);
    if (status != NOKV_OK) {
        writer_free(w);
        return status;
    }
    *out_writer = w;
    return NOKV_OK;
}

/* From memory to the value log. */
static enum nokv_status stream_start(struct nokv_value_writer *w)
{
    TRY(direct_stream_begin(w->db, buf_slice(&w->key), w->size_max, &w->use, &w->stream));
    TRY(vlog_stream_append(w->stream, buf_slice(&w->gathered)));
    buf_deinit(&w->gathered);
    w->gathered = (struct buf){0};
    return NOKV_OK;
}

static enum nokv_status part_append(struct nokv_value_writer *w, struct slice part)
{
    uint64_t limit = w->size_max ? w->size_max : NOKV_VALUE_SIZE_MAX;
    if (part.size > limit - w->size)
        return FAIL(TOO_LARGE, "a value of more than the %llu bytes that were announced or are allowed",
                    (unsigned long long)limit);
    w->size += part.size;
    if (w->stream == NULL && w->size < w->db->options.value_direct_min)
        return buf_append(&w->gathered, part.data, part.size);
    if (w->stream == NULL)
        TRY(stream_start(w));
    return vlog_stream_append(w->stream, part);
}

nokv_status nokv_value_writer_append(nokv_value_writer *writer, const void *data, size_t size)
{
    if (writer->failed != NOKV_OK)
        return FAIL_WITH(writer->failed, "an earlier part of this value could not be written: abandon it");
    TRY(value_check(data, size));
    if (size == 0)
        return NOKV_OK;
    writer->failed = part_append(writer, slice_make(data, size));
    return writer->failed;
}

static enum nokv_status stream_commit(struct nokv_value_writer *w, nokv_sync sync)
{
    struct vlog_pointer p;
    enum nokv_status status = vlog_stream_end(TAKE(w->stream), key_tag(0, KEY_VALUE), &p);
    if (status != NOKV_OK) {
        direct_end(w->db, w->use, 0);
        return status;
    }
    atomic_fetch_add_explicit(&w->db->direct_bytes, w->size, memory_order_relaxed);
    return db_write_pointer(w->db, buf_slice(&w->key), &p, w->use, sync);
}

static enum nokv_status writer_commit(struct nokv_value_writer *w, const nokv_write_options *options)
{
    nokv_sync sync;
    if (w->failed != NOKV_OK)
        return FAIL_WITH(w->failed, "a part of this value could not be written");
    TRY(write_sync_of(w->db, options, &sync));
    if (w->stream)
        return stream_commit(w, sync);
    return nokv_put(w->db, w->key.data, w->key.size, w->gathered.data, w->gathered.size, options);
}

nokv_status nokv_value_writer_commit(nokv_value_writer *writer, const nokv_write_options *options)
{
    enum nokv_status status = writer_commit(writer, options);
    nokv_value_writer_abandon(writer); /* what is left of it */
    return status;
}

void nokv_value_writer_abandon(nokv_value_writer *writer)
{
    if (writer == NULL)
        return;
    if (writer->stream) {
        vlog_stream_abandon(writer->stream);
        direct_end(writer->db, writer->use, 0);
    }
    writer_free(writer);
}
