// SPDX-License-Identifier: Apache-2.0
/*
 * copied.c - tables that are not mapped, or not in memory: their blocks are read with system calls and kept in a cache
 * of bounded size.
 *
 * Filter and index are in memory from the open on, so a key that is not there costs no read, and one that is costs one
 * block: found in the cache, or read into it at one go and verified once, when it arrives. What a lookup finds lies in
 * the block, and the block's reference goes to whoever asked.
 *
 *      get ─► filter ─► index ─► cache_find ─► block ─► entry, with the block's reference
 *                                    └─ miss: pread ─► checksum ─► cache_insert
 *
 * Somebody who walks over many blocks has what is behind the wanted one read with it, in pieces of up to a MiB; a read
 * of that size takes the device little longer than one of 4 KiB. In a small cache the pieces are smaller: what was
 * never asked for has a tenth of it at the most, the oldest goes first, and that is what is wanted next.
 *
 * Threading: any number of threads; two that miss the same block both read it. Failure: a block that does not check is
 * not kept, so each call that needs it reads it anew and reports. What is read ahead and is not sound is nobody's error
 * until it is asked for.
 * A mapped table whose blocks are not in memory is asked in the same way: filter and index through the mapping, the
 * block out of the cache. Its file is opened again when that first happens. Where the cache has room for every table,
 * so that only values compete for the rest of the memory, a block is brought in with what is around it, and the page
 * cache lets go of all that: each byte of a table is in memory once.
 *
 * Why filter and index are not in the cache as well: every lookup needs them, and none is possible without.
 */
#include "base/alloc.h"
#include "sst/filter.h"
#include "sst/reader.h"

enum { AHEAD_CACHE_SHARE = 64 }; /* of the cache, per piece: a union of several tables reads ahead in each */

enum nokv_status sst_reader_file(struct sst_reader *r, struct io_file **out_file)
{
    struct io_file *file = atomic_load_explicit(&r->file, memory_order_acquire), *opened = NULL;
    if (UNLIKELY(file == NULL)) {
        TRY(io_open(r->io, r->path, IO_SST, r->model, IO_READ, &opened));
        if (atomic_compare_exchange_strong_explicit(&r->file, &file, opened, memory_order_acq_rel,
                                                    memory_order_acquire))
            file = opened;
        else
            TRY(io_close(opened)); /* another thread was first */
    }
    *out_file = file;
    return NOKV_OK;
}

static enum nokv_status block_check(const struct sst_reader *r, const uint8_t *data, struct sst_extent extent)
{
    struct sst_block b;
    return sst_reader_check_bytes(r, data, extent, &b);
}

/* Blocks from `block` on that are in [data, data + size), which begins with that one. Hints cannot fail. */
static void blocks_keep(struct sst_reader *r, uint64_t block, const uint8_t *data, uint64_t size)
{
    struct sst_extent extent;
    for (uint64_t b = block; b < r->index.count; b++) {
        if (sst_reader_extent(r, b, &extent) != NOKV_OK || extent.size > size)
            return;
        struct cache_block *kept = NULL;
        if (block_check(r, data, extent) != NOKV_OK ||
            cache_block_create(r->cache, r->footer.file_number, extent.page, extent.size, &kept) != NOKV_OK)
            return;
        memcpy(kept->data, data, extent.size);
        cache_block_unref(cache_insert(r->cache, kept));
        data += extent.size;
        size -= extent.size;
    }
}

/* Fill `to` and keep what comes behind it in the file. */
static enum nokv_status read_with_ahead(struct sst_reader *r, struct sst_extent extent, uint64_t block, uint64_t ahead,
                                        uint8_t *to)
{
    uint64_t off = (uint64_t)extent.page * PAGE_BYTES, end = (uint64_t)r->end_page * PAGE_BYTES;
    ahead = u64_min(ahead, cache_bytes_max(r->cache) / AHEAD_CACHE_SHARE / PAGE_BYTES * PAGE_BYTES);
    uint64_t size = u64_min(extent.size + ahead, end - off);
    struct io_file *file = NULL;
    TRY(sst_reader_file(r, &file));
    uint8_t *scratch CLEANUP(mem_free_ptr) = size > extent.size ? mem_alloc_aligned(PAGE_BYTES, size) : NULL;
    if (scratch == NULL || io_pread_exact(file, scratch, size, off) != NOKV_OK)
        return io_pread_exact(file, to, extent.size, off);
    memcpy(to, scratch, extent.size);
    blocks_keep(r, block + 1, scratch + extent.size, size - extent.size);
    return NOKV_OK;
}

enum nokv_status sst_reader_load(struct sst_reader *r, struct sst_extent extent, uint64_t block, uint64_t ahead,
                                 struct cache_block **out_block)
{
    struct cache_block *b = cache_find(r->cache, r->footer.file_number, extent.page);
    if (b == NULL) {
        TRY(cache_block_create(r->cache, r->footer.file_number, extent.page, extent.size, &b));
        enum nokv_status status = read_with_ahead(r, extent, block, ahead, b->data);
        if (status == NOKV_OK)
            status = block_check(r, b->data, extent);
        if (status != NOKV_OK) {
            cache_block_unref(b);
            return status;
        }
        b = cache_insert(r->cache, b);
    }
    *out_block = b;
    return NOKV_OK;
}

/* In a block of the cache, which is sound. */
static enum nokv_status block_get(const struct sst_reader *r, const struct cache_block *block, struct slice key,
                                  uint64_t hash, uint64_t tag_max, struct lookup *out)
{
    struct sst_block b;
    struct sst_entry e;
    uint32_t index;
    bool found;
    if (!sst_block_open(block->data, block->size, &b) || !sst_block_find(&b, key, hash, tag_max, &e, &index, &found))
        return sst_reader_bad_block(r, block->page);
    if (found && !key_kind_known(tag_kind_byte(e.tag)))
        return sst_reader_bad_kind(r, block->page, e.tag);
    out->found = found;
    if (found) {
        out->tag = e.tag;
        out->value = e.value;
    }
    return NOKV_OK;
}

static bool takes_all(const struct sst_reader *r)
{
    return r->cache_takes_all && atomic_load_explicit(r->cache_takes_all, memory_order_relaxed);
}

/* The blocks of the window that `block` begins in, into the cache. A hint: what fails is met again by who needs it. */
static void around_keep(struct sst_reader *r, uint64_t block, struct sst_extent extent)
{
    struct io_file *file = NULL;
    uint64_t begin = extent.page - extent.page % SST_AROUND_PAGES;
    uint64_t end = u64_min(begin + SST_AROUND_PAGES, r->end_page);
    struct sst_extent before;
    for (; block > 0 && sst_reader_extent(r, block - 1, &before) == NOKV_OK && before.page >= begin; block--)
        extent = before;
    size_t size = (end - extent.page) * PAGE_BYTES, got;
    uint64_t off = (uint64_t)extent.page * PAGE_BYTES;
    uint8_t *scratch CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, size);
    if (scratch == NULL || sst_reader_file(r, &file) != NOKV_OK || io_pread(file, scratch, size, off, &got) != NOKV_OK)
        return;
    blocks_keep(r, block, scratch, got);
    io_drop_cache(file, off, size);
}

/* Its block for a point read. */
static enum nokv_status load_one(struct sst_reader *r, struct sst_extent extent, uint64_t block,
                                 struct cache_block **out_block)
{
    if (takes_all(r)) {
        *out_block = cache_find(r->cache, r->footer.file_number, extent.page);
        if (*out_block != NULL)
            return NOKV_OK;
        around_keep(r, block, extent);
    }
    return sst_reader_load(r, extent, block, 0, out_block);
}

struct find_call {
    struct sst_reader *r;
    struct slice key;
    uint64_t hash;
    uint64_t tag_max;
    int64_t block; /* out; count: it is nowhere */
    struct sst_extent extent;
};

/* In which block is it? Filter and index may be mapped. */
static enum nokv_status find_guarded(void *arg)
{
    struct find_call *c = arg;
    struct sst_reader *r = c->r;
    c->block = r->index.count;
    if (r->filter_lines != 0) {
        const uint8_t *line = r->filter + sst_filter_line(c->hash, r->filter_lines) * SST_FILTER_LINE_BYTES;
        if (!sst_filter_line_has(line, c->hash, r->filter_probes))
            return NOKV_OK;
    }
    c->block = sst_index_search(&r->index, (struct ikey){.user = c->key, .tag = c->tag_max});
    if (c->block < 0 || (c->block < r->index.count && !sst_reader_locate(r, (uint64_t)c->block, &c->extent)))
        return sst_reader_bad_index(r);
    return NOKV_OK;
}

enum nokv_status sst_copied_get(struct sst_reader *r, struct slice key, uint64_t hash, uint64_t tag_max,
                                struct lookup *out_lookup)
{
    struct find_call c = {.r = r, .key = key, .hash = hash, .tag_max = tag_max};
    struct cache_block *block;
    out_lookup->found = false;
    TRY(sst_reader_guarded(r, find_guarded, &c));
    if (c.block >= r->index.count)
        return NOKV_OK;
    TRY(load_one(r, c.extent, (uint64_t)c.block, &block));
    enum nokv_status status = block_get(r, block, key, hash, tag_max, out_lookup);
    if (status == NOKV_OK && out_lookup->found)
        out_lookup->holder = block;
    else
        cache_block_unref(block);
    return status;
}

/* ---- open ------------------------------------------------------------------------------------------------------ */

static enum nokv_status region_read(struct sst_reader *r, const struct sst_region *region, const char *name,
                                    uint8_t *to)
{
    if (region->size == 0)
        return NOKV_OK;
    struct io_file *file = NULL;
    TRY(sst_reader_file(r, &file));
    TRY(io_pread_exact(file, to, sst_pages(region->size) * PAGE_BYTES, region->off));
    if (sst_region_checksum(to, region->size, r->footer.file_number) != region->checksum)
        return FAIL(CORRUPT, "sst %llu (%s) %s @%llu: checksum mismatch", (unsigned long long)r->footer.file_number,
                    r->path, name, (unsigned long long)region->off);
    return NOKV_OK;
}

enum nokv_status sst_copied_open(struct sst_reader *r)
{
    const struct sst_footer *f = &r->footer;
    uint64_t filter_size = sst_pages(f->filter.size) * PAGE_BYTES, index_size = sst_pages(f->index.size) * PAGE_BYTES;
    r->regions = mem_alloc_aligned(PAGE_BYTES, filter_size + index_size);
    if (r->regions == NULL)
        return FAIL(NO_MEMORY, "sst filter and index of %llu bytes", (unsigned long long)(filter_size + index_size));
    TRY(region_read(r, &f->filter, "filter", r->regions));
    TRY(region_read(r, &f->index, "index", r->regions + filter_size));
    r->filter = r->regions;
    return sst_index_open(r->regions + filter_size, f->index.size, f->block_count, f->common_size, &r->index);
}
