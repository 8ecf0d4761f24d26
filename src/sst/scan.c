// SPDX-License-Identifier: Apache-2.0
/*
 * scan.c - reading a table once from front to back without pushing anything else out of the page cache.
 *
 * A merge reads each byte of its inputs once; through the mapping it would fault in page after page and leave all of
 * them behind in the cache. So it has a file handle of its own (counted for its own component, with its own model),
 * reads windows of 1 MiB, and looks at blocks in its buffer. Every block's checksum is verified: a merge must not copy
 * damage into a new table.
 *
 * Where a block begins and ends comes from the index, whose checksum was verified, never from the block: the buffer
 * grows for a block larger than a window, and only to a size that the index and the file agree on.
 *
 * One thread. Failure: the iterator stops with the status; a seek or first starts anew.
 */
#include "sst/scan.h"

#include "base/alloc.h"

enum { WINDOW_BYTES = 1 << 20 };

enum nokv_status sst_window_init(struct sst_window *w, struct sst_reader *r, enum io_component component,
                                 enum io_model model)
{
    w->r = r;
    TRY(sst_reader_prepare(r, SST_READY_INDEX));
    return io_open(r->io, r->path, component, model, IO_READ | IO_SCAN_ONCE, &w->file);
}

void sst_window_deinit(struct sst_window *w)
{
    io_close_ptr(&w->file);
    mem_free(w->buffer);
    *w = (struct sst_window){0};
}

static enum nokv_status window_grow(struct sst_window *w, uint64_t capacity)
{
    if (capacity <= w->capacity)
        return NOKV_OK;
    uint8_t *buffer = mem_alloc_aligned(PAGE_BYTES, capacity); /* aligned for O_DIRECT */
    if (buffer == NULL)
        return FAIL(NO_MEMORY, "sst scan: block of %llu bytes", (unsigned long long)capacity);
    if (w->size != 0)
        memcpy(buffer, w->buffer, w->size);
    mem_free(w->buffer);
    w->buffer = buffer;
    w->capacity = capacity;
    return NOKV_OK;
}

/* Make [off, off + size) stand in the buffer. What is there of it already is kept. */
static enum nokv_status window_fill(struct sst_window *w, uint64_t off, uint64_t size)
{
    if (off >= w->off && off - w->off <= w->size && w->size - (off - w->off) >= size)
        return NOKV_OK;
    if (off >= w->off && off - w->off < w->size) {
        size_t gone = off - w->off;
        memmove(w->buffer, w->buffer + gone, w->size - gone);
        w->size -= gone;
    } else {
        w->size = 0;
    }
    w->off = off;
    uint64_t end = u64_min(off + u64_max(size, WINDOW_BYTES), (uint64_t)w->r->end_page * PAGE_BYTES);
    TRY(window_grow(w, u64_max(end - off, u64_min(WINDOW_BYTES, w->r->footer.data.size))));
    size_t had = w->size;
    w->size = 0; /* nothing, should the read fail */
    TRY(io_pread_exact(w->file, w->buffer + had, end - off - had, off + had));
    w->size = end - off;
    return NOKV_OK;
}

enum nokv_status sst_window_block(struct sst_window *w, uint64_t block, struct sst_block *out,
                                  struct sst_extent *out_extent)
{
    *out_extent = (struct sst_extent){0};
    TRY(sst_reader_extent(w->r, block, out_extent));
    uint64_t off = (uint64_t)out_extent->page * PAGE_BYTES;
    TRY(window_fill(w, off, out_extent->size));
    return sst_reader_check_bytes(w->r, w->buffer + (off - w->off), *out_extent, out);
}

/* ---- the iterator ---------------------------------------------------------------------------------------------- */

struct sst_scan {
    struct iter base;
    struct sst_reader *r; /* holds a reference */
    struct sst_window window;
    uint64_t block_index;
    struct sst_block block;
    struct sst_extent extent;
    uint32_t index;
};

static void scan_show(struct sst_scan *s)
{
    struct sst_entry e;
    if (UNLIKELY(!sst_block_entry(&s->block, s->index, &e))) {
        iter_stop(&s->base, sst_reader_bad_block(s->r, s->extent.page));
        return;
    }
    if (UNLIKELY(!key_kind_known(tag_kind_byte(e.tag)))) {
        iter_stop(&s->base, sst_reader_bad_kind(s->r, s->extent.page, e.tag));
        return;
    }
    s->base.valid = true;
    s->base.status = NOKV_OK;
    s->base.key = (struct ikey){.user = e.key, .tag = e.tag};
    s->base.value = e.value;
}

/* False: the end, or stopped by a failure. */
static bool scan_load(struct sst_scan *s, uint64_t block_index)
{
    enum nokv_status status = NOKV_OK;
    s->block_index = block_index;
    s->index = 0;
    if (block_index < s->r->index.count)
        status = sst_window_block(&s->window, block_index, &s->block, &s->extent);
    if (block_index >= s->r->index.count || status != NOKV_OK) {
        iter_stop(&s->base, status);
        return false;
    }
    return true;
}

static void scan_enter(struct sst_scan *s, uint64_t block_index)
{
    if (scan_load(s, block_index))
        scan_show(s);
}

static void scan_first(struct iter *base)
{
    scan_enter(CONTAINER_OF(base, struct sst_scan, base), 0);
}

struct search_call {
    struct sst_reader *r;
    struct ikey target;
    int64_t block; /* out */
};

static enum nokv_status search_guarded(void *arg)
{
    struct search_call *c = arg;
    c->block = sst_index_search(&c->r->index, c->target);
    return c->block < 0 ? sst_reader_bad_index(c->r) : NOKV_OK;
}

static void scan_seek(struct iter *base, struct ikey target)
{
    struct sst_scan *s = CONTAINER_OF(base, struct sst_scan, base);
    struct search_call c = {.r = s->r, .target = target};
    enum nokv_status status = io_guarded(search_guarded, &c);
    if (status != NOKV_OK) {
        iter_stop(base, status);
        return;
    }
    if (!scan_load(s, (uint64_t)c.block))
        return;
    if (!sst_block_lower_bound(&s->block, target, &s->index))
        iter_stop(base, sst_reader_bad_block(s->r, s->extent.page));
    else if (s->index == s->block.count)
        scan_enter(s, s->block_index + 1);
    else
        scan_show(s);
}

static void scan_next(struct iter *base)
{
    struct sst_scan *s = CONTAINER_OF(base, struct sst_scan, base);
    ASSERT(base->valid);
    if (LIKELY(++s->index < s->block.count))
        scan_show(s);
    else
        scan_enter(s, s->block_index + 1);
}

/* GCOV_EXCL_START: a merge goes forward only; to ask for anything else is a bug, which ends the process */
static void scan_refuse(struct iter *base)
{
    (void)base;
    ASSERT(!"a table scan goes forward only");
}

static void scan_refuse_seek(struct iter *base, struct ikey target)
{
    (void)target;
    scan_refuse(base);
}
/* GCOV_EXCL_STOP */

static void scan_free(struct iter *base)
{
    struct sst_scan *s = CONTAINER_OF(base, struct sst_scan, base);
    sst_window_deinit(&s->window);
    sst_reader_unref(s->r);
    mem_free(s);
}

static const struct iter_ops ops = {
    .first = scan_first,
    .last = scan_refuse,
    .seek = scan_seek,
    .seek_for_prev = scan_refuse_seek,
    .next = scan_next,
    .prev = scan_refuse,
    .destroy = scan_free,
};

enum nokv_status sst_scan_create(struct sst_reader *r, enum io_component component, enum io_model model,
                                 struct iter **out_iter)
{
    struct sst_scan *s = mem_zalloc(sizeof *s);
    if (s == NULL)
        return FAIL(NO_MEMORY, "sst scan");
    s->base.ops = &ops;
    s->r = r;
    sst_reader_ref(r);
    enum nokv_status status = sst_window_init(&s->window, r, component, model);
    if (status != NOKV_OK) {
        scan_free(&s->base);
        return status;
    }
    *out_iter = &s->base;
    return NOKV_OK;
}
