// SPDX-License-Identifier: Apache-2.0
/*
 * builder.c - writing a table from front to back.
 *
 *     create ──► add ... add ──► finish ──► destroy
 *                  └──── error ────────────► destroy (removes path.tmp)
 *
 * Entries are collected in `entries`, their fingerprints and offsets beside them, because these stand in front of the
 * entries and their number is not known before the block is full. A full block is put together in the output buffer
 * (one copy of 4 KiB), checksummed there, and the buffer is written in pieces of about 1 MiB; each piece's write-back
 * is started at once so that dirty pages do not pile up until the sync. An entry that is too large for an ordinary
 * block passes through the same buffer in pieces and is never copied as a whole.
 *
 * [I1] `out` begins at file offset out_off, a multiple of a page, and everything in front of it is written.
 * [I2] The last block has no separator yet: it is made when the next block's first key (or the end) is known.
 * [I3] The same entries give the same bytes, whatever the timing, the I/O model or the sizes of the pieces.
 *
 * One thread. After a failure the builder only waits to be destroyed. Memory: the output buffer, one block, 8 bytes per
 * key for the filter, the index.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "sst/filter.h"
#include "sst/format.h"
#include "sst/index.h"

enum {
    OUT_BYTES = 2 << 20,  /* one write of a huge page's size where it belongs: file systems then keep it as one */
    BLOCK_GROW_PAGES = 7, /* beyond the target size */
    BLOCK_BYTES_MAX = 64 * 1024,
};

enum builder_state { BUILDER_OPEN, BUILDER_FAILED, BUILDER_FINISHED };

struct sst_builder {
    /* set at create, then constant */
    struct io *io;
    char *path, *temporary;
    uint64_t file_number;
    struct sst_options options;
    size_t block_max; /* bytes that a block of several entries may have */

    struct io_file *file; /* NULL once it is closed */
    enum builder_state state;
    uint8_t *out; /* [I1] */
    size_t out_size;
    uint64_t out_off;

    /* the open block */
    uint8_t *entries;
    size_t entries_size;
    uint8_t *fingerprints;
    uint32_t *offsets; /* from the start of `entries` */
    uint32_t count;
    uint64_t limit;

    /* the last closed block [I2] */
    bool pending;
    uint32_t pending_page;

    struct buf first, last_copy; /* user keys; last_copy is used when `last` is in no open block */
    struct ikey last;
    uint64_t *hashes;
    size_t hashes_capacity, hash_count;
    struct sst_index_builder index;
    struct sst_properties properties;
};

static uint64_t page_next(const struct sst_builder *b)
{
    return (b->out_off + b->out_size) / PAGE_BYTES;
}

/* ---- output ---------------------------------------------------------------------------------------------------- */

static enum nokv_status out_flush(struct sst_builder *b)
{
    if (b->out_size == 0)
        return NOKV_OK;
    TRY(io_pwrite(b->file, b->out, b->out_size, b->out_off));
    io_start_writeback(b->file, b->out_off, b->out_size);
    b->out_off += b->out_size;
    b->out_size = 0;
    return NOKV_OK;
}

/* Any number of bytes, in pieces. */
static enum nokv_status out_append(struct sst_builder *b, const void *data, size_t size)
{
    for (const uint8_t *p = data; size > 0;) {
        size_t n = u64_min(size, OUT_BYTES - b->out_size);
        memcpy(b->out + b->out_size, p, n);
        b->out_size += n;
        p += n;
        size -= n;
        if (b->out_size == OUT_BYTES)
            TRY(out_flush(b));
    }
    return NOKV_OK;
}

/* Zeros up to the next page. The buffer's size is a multiple of a page, so they fit. */
static enum nokv_status out_fill_page(struct sst_builder *b)
{
    size_t fill = align_up(b->out_size, PAGE_BYTES) - b->out_size;
    memset(b->out + b->out_size, 0, fill);
    b->out_size += fill;
    return b->out_size == OUT_BYTES ? out_flush(b) : NOKV_OK;
}

/* `data` is filled up with zeros to a page. */
static enum nokv_status out_region(struct sst_builder *b, const uint8_t *data, uint64_t size, struct sst_region *out)
{
    *out = (struct sst_region){
        .off = page_next(b) * PAGE_BYTES, .size = size, .checksum = sst_region_checksum(data, size, b->file_number)};
    return out_append(b, data, sst_pages(size) * PAGE_BYTES);
}

/* ---- blocks ---------------------------------------------------------------------------------------------------- */

static void block_header_put(uint8_t *p, uint64_t used, uint32_t count)
{
    put_u32(p + 4, (uint32_t)used);
    put_u16(p + 8, (uint16_t)count);
    p[10] = 0;
    p[11] = used > SST_BLOCK_NARROW_MAX ? SST_BLOCK_WIDE : 0;
}

/* Offsets in the file count from the start of the block. Returns the end. */
static uint8_t *block_offsets_put(uint8_t *p, const uint32_t *offsets, uint32_t count, uint32_t base, bool wide)
{
    for (uint32_t i = 0; i <= count; i++) {
        if (wide)
            put_u32(p + 4 * (size_t)i, offsets[i] + base);
        else
            put_u16(p + 2 * (size_t)i, (uint16_t)(offsets[i] + base));
    }
    return p + (size_t)(count + 1) * (wide ? 4 : 2);
}

/* The last key has to outlive the block that it was in. */
static enum nokv_status last_key_keep(struct sst_builder *b, struct ikey key)
{
    b->last_copy.size = 0;
    TRY(buf_append(&b->last_copy, key.user.data, key.user.size));
    b->last = (struct ikey){.user = buf_slice(&b->last_copy), .tag = key.tag};
    return NOKV_OK;
}

static enum nokv_status block_finish(struct sst_builder *b)
{
    uint64_t used = sst_block_size(b->count, b->entries_size), extent = align_up(used, PAGE_BYTES);
    if (OUT_BYTES - b->out_size < extent)
        TRY(out_flush(b));
    uint64_t page = page_next(b);
    uint8_t *p = b->out + b->out_size;
    block_header_put(p, used, b->count);
    memcpy(p + SST_BLOCK_HEADER_BYTES, b->fingerprints, b->count);
    b->offsets[b->count] = (uint32_t)b->entries_size;
    uint8_t *entries = block_offsets_put(p + SST_BLOCK_HEADER_BYTES + b->count, b->offsets, b->count,
                                         (uint32_t)(used - b->entries_size), used > SST_BLOCK_NARROW_MAX);
    memcpy(entries, b->entries, b->entries_size);
    memset(p + used, 0, extent - used);
    put_u32(p, sst_block_checksum(p, extent, sst_block_seed(b->file_number, page)));
    b->out_size += extent;
    TRY(last_key_keep(b, b->last));
    b->pending = true;
    b->pending_page = (uint32_t)page;
    b->count = 0;
    b->entries_size = 0;
    b->limit = b->options.block_bytes;
    return NOKV_OK;
}

/* [I2] `next` is the first key behind the pending block; NULL at the end. */
static enum nokv_status separator_add(struct sst_builder *b, const struct ikey *next)
{
    b->pending = false;
    if (next == NULL)
        return sst_index_builder_add(&b->index, b->pending_page, b->last, false);
    if (slice_equal(b->last.user, next->user))
        return sst_index_builder_add(&b->index, b->pending_page, b->last, true);
    struct ikey separator = {.user = key_separator(b->last.user, next->user)};
    return sst_index_builder_add(&b->index, b->pending_page, separator, false);
}

/* May the open block take `entry_size` more bytes? Raises its limit if that is better than to waste what is left. */
static bool block_accepts(struct sst_builder *b, uint64_t entry_size)
{
    uint64_t size = sst_block_size(b->count + 1, b->entries_size + entry_size);
    if (LIKELY(size <= b->limit))
        return true;
    uint64_t waste = b->limit - sst_block_size(b->count, b->entries_size);
    if (b->count > 0 && waste * 16 <= b->limit)
        return false;
    if (size > b->block_max)
        return false;
    b->limit = align_up(size, PAGE_BYTES);
    return true;
}

static uint64_t entry_head_size(struct slice user_key)
{
    return 8 + varint_size(user_key.size) + user_key.size;
}

static uint8_t *entry_head_put(uint8_t *p, struct ikey key)
{
    put_u64(p, key.tag);
    p = put_varint32(p + 8, (uint32_t)key.user.size);
    memcpy(p, key.user.data, key.user.size);
    return p + key.user.size;
}

/* ---- huge entries ---------------------------------------------------------------------------------------------- */

/* Everything in front of the value; `used` is the whole block's. Returns the end. */
static uint8_t *huge_head_put(uint8_t *p, struct ikey key, uint64_t hash, uint64_t used)
{
    bool wide = used > SST_BLOCK_NARROW_MAX;
    uint32_t base = SST_BLOCK_HEADER_BYTES + 1 + 2 * (wide ? 4 : 2);
    const uint32_t offsets[2] = {0, (uint32_t)(used - base)};
    block_header_put(p, used, 1);
    p[SST_BLOCK_HEADER_BYTES] = sst_fingerprint(hash);
    return entry_head_put(block_offsets_put(p + SST_BLOCK_HEADER_BYTES + 1, offsets, 1, base, wide), key);
}

static uint32_t huge_checksum(const uint8_t *head, size_t head_size, struct slice value, size_t fill, uint64_t seed)
{
    static const uint8_t zeros[PAGE_BYTES];
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset_withSeed(&state, seed);
    XXH3_64bits_update(&state, head + 4, head_size - 4);
    if (value.size != 0)
        XXH3_64bits_update(&state, value.data, value.size);
    XXH3_64bits_update(&state, zeros, fill);
    return (uint32_t)XXH3_64bits_digest(&state);
}

/* A block of its own. REQUIRES: no open block. */
static enum nokv_status huge_add(struct sst_builder *b, struct ikey key, uint64_t hash, struct slice value)
{
    uint64_t used = sst_block_size(1, entry_head_size(key.user) + value.size);
    static_assert(KEY_VALUE_SIZE_MAX + KEY_SIZE_MAX + 64 < UINT32_MAX, "`used` of a block has 32 bits");
    uint8_t *head CLEANUP(mem_free_ptr) = mem_alloc(SST_BLOCK_HEADER_BYTES + 16 + entry_head_size(key.user));
    if (head == NULL)
        return FAIL(NO_MEMORY, "sst builder: head of an entry with a key of %zu bytes", key.user.size);
    size_t head_size = (size_t)(huge_head_put(head, key, hash, used) - head);
    uint64_t page = page_next(b);
    put_u32(head, huge_checksum(head, head_size, value, align_up(used, PAGE_BYTES) - used,
                                sst_block_seed(b->file_number, page)));
    TRY(out_append(b, head, head_size));
    TRY(out_append(b, value.data, value.size));
    TRY(out_fill_page(b));
    b->pending = true;
    b->pending_page = (uint32_t)page;
    return last_key_keep(b, key);
}

/* ---- add ------------------------------------------------------------------------------------------------------- */

static void block_append(struct sst_builder *b, struct ikey key, uint64_t hash, struct slice value)
{
    uint8_t *p = b->entries + b->entries_size;
    b->fingerprints[b->count] = sst_fingerprint(hash);
    b->offsets[b->count++] = (uint32_t)b->entries_size;
    uint8_t *end = entry_head_put(p, key);
    b->last = (struct ikey){.user = slice_make(end - key.user.size, key.user.size), .tag = key.tag};
    if (value.size != 0)
        memcpy(end, value.data, value.size);
    b->entries_size += (size_t)(end - p) + value.size;
}

static void count_entry(struct sst_builder *b, struct ikey key, size_t value_size)
{
    struct sst_info *info = &b->properties.info;
    uint64_t seq = tag_seq(key.tag);
    info->entries++;
    info->tombstones += tag_kind(key.tag) == KEY_TOMBSTONE;
    info->seq_min = u64_min(info->seq_min, seq);
    info->seq_max = u64_max(info->seq_max, seq);
    info->raw_bytes += key.user.size + value_size;
    b->properties.kinds[tag_kind_byte(key.tag)]++;
}

static enum nokv_status builder_add(struct sst_builder *b, struct ikey key, struct slice value)
{
    bool first = b->properties.info.entries == 0;
    int order = first ? -1 : sst_key_compare(b->last.user, key.user);
    ASSERT(order < 0 || (order == 0 && b->last.tag > key.tag));
    uint64_t hash = sst_key_hash(key.user), size = entry_head_size(key.user) + value.size;
    if (order != 0 && b->options.filter_bits_per_key != 0) {
        if (UNLIKELY(b->hash_count == b->hashes_capacity))
            TRY(mem_grow(&b->hashes, &b->hashes_capacity, b->hash_count + 1, sizeof *b->hashes));
        b->hashes[b->hash_count] = hash;
    }
    b->hash_count += order != 0;
    if (first) {
        TRY(buf_append(&b->first, key.user.data, key.user.size));
        b->properties.smallest.tag = key.tag;
    }
    if (b->count > 0 && !block_accepts(b, size))
        TRY(block_finish(b));
    if (b->pending)
        TRY(separator_add(b, &key));
    count_entry(b, key, value.size);
    if (b->count == 0 && UNLIKELY(!block_accepts(b, size)))
        return huge_add(b, key, hash, value);
    block_append(b, key, hash, value);
    return NOKV_OK;
}

enum nokv_status sst_builder_add(struct sst_builder *b, struct ikey key, struct slice value)
{
    ASSERT(b->state == BUILDER_OPEN);
    ASSERT(key.user.size >= 1 && key.user.size <= KEY_SIZE_MAX && value.size <= KEY_VALUE_SIZE_MAX + 8);
    ASSERT(key_kind_known(tag_kind_byte(key.tag)));
    enum nokv_status status = builder_add(b, key, value);
    if (UNLIKELY(status != NOKV_OK))
        b->state = BUILDER_FAILED;
    return status;
}

/* ---- finish ---------------------------------------------------------------------------------------------------- */

static enum nokv_status write_filter(struct sst_builder *b, struct sst_footer *f)
{
    uint32_t bits = b->options.filter_bits_per_key;
    if (bits == 0)
        return out_region(b, NULL, 0, &f->filter);
    uint64_t lines = sst_filter_lines(b->hash_count, bits);
    f->filter_probes = sst_filter_probes(bits);
    uint8_t *data CLEANUP(mem_free_ptr) = mem_zalloc(sst_pages(lines * SST_FILTER_LINE_BYTES) * PAGE_BYTES);
    if (data == NULL)
        return FAIL(NO_MEMORY, "sst builder: filter of %llu keys", (unsigned long long)b->hash_count);
    sst_filter_build(data, lines, f->filter_probes, b->hashes, b->hash_count);
    return out_region(b, data, lines * SST_FILTER_LINE_BYTES, &f->filter);
}

/* Write what `content` holds as a region. */
static enum nokv_status write_buf(struct sst_builder *b, struct buf *content, struct sst_region *out)
{
    size_t fill = sst_pages(content->size) * PAGE_BYTES - content->size;
    uint8_t *p = buf_reserve(content, fill);
    if (p == NULL)
        return FAIL(NO_MEMORY, "sst builder: region of %zu bytes", content->size);
    memset(p, 0, fill);
    return out_region(b, content->data, content->size, out);
}

static enum nokv_status write_index(struct sst_builder *b, struct sst_footer *f)
{
    struct buf content CLEANUP(buf_deinit) = {0};
    TRY(sst_index_builder_finish(&b->index, (uint32_t)sst_pages(f->data.off + f->data.size), &content,
                                 &f->common_size));
    return write_buf(b, &content, &f->index);
}

static enum nokv_status write_properties(struct sst_builder *b, struct sst_footer *f)
{
    struct buf content CLEANUP(buf_deinit) = {0};
    b->properties.smallest.user = buf_slice(&b->first);
    b->properties.largest = b->last;
    b->properties.filter_keys = b->hash_count;
    b->properties.block_bytes = b->options.block_bytes;
    b->properties.filter_bits_per_key = b->options.filter_bits_per_key;
    TRY(sst_properties_encode(&b->properties, &content));
    return write_buf(b, &content, &f->properties);
}

static enum nokv_status write_tail(struct sst_builder *b)
{
    uint8_t page[PAGE_BYTES];
    struct sst_footer f = {.file_number = b->file_number, .block_count = b->index.count};
    f.data = (struct sst_region){.off = PAGE_BYTES, .size = (page_next(b) - 1) * PAGE_BYTES};
    TRY(write_filter(b, &f));
    TRY(write_index(b, &f));
    TRY(write_properties(b, &f));
    f.file_bytes = (page_next(b) + 1) * PAGE_BYTES;
    b->properties.info.file_bytes = f.file_bytes;
    sst_footer_encode(page, &f);
    TRY(out_append(b, page, sizeof page));
    return out_flush(b);
}

static enum nokv_status builder_finish(struct sst_builder *b)
{
    if (b->count > 0)
        TRY(block_finish(b));
    TRY(separator_add(b, NULL));
    TRY(write_tail(b));
    TRY(io_sync(b->file));
    TRY(io_close(TAKE(b->file)));
    return io_rename(b->io, b->temporary, b->path);
}

enum nokv_status sst_builder_finish(struct sst_builder *b, struct sst_info *out_info)
{
    ASSERT(b->state == BUILDER_OPEN && b->properties.info.entries > 0);
    b->state = BUILDER_FAILED;
    TRY(builder_finish(b));
    b->state = BUILDER_FINISHED;
    *out_info = b->properties.info;
    return NOKV_OK;
}

/* ---- create and destroy ---------------------------------------------------------------------------------------- */

static enum nokv_status builder_allocate(struct sst_builder *b, const char *path)
{
    size_t count_max = b->block_max / SST_ENTRY_BYTES_MIN + 2, path_size = strlen(path);
    b->path = mem_strdup(path);
    b->temporary = mem_alloc(path_size + sizeof ".tmp");
    b->out = mem_alloc_aligned(PAGE_BYTES, OUT_BYTES);
    b->entries = mem_alloc(b->block_max);
    b->fingerprints = mem_alloc(count_max);
    b->offsets = mem_alloc(count_max * sizeof *b->offsets);
    if (!b->path || !b->temporary || !b->out || !b->entries || !b->fingerprints || !b->offsets)
        return FAIL(NO_MEMORY, "sst builder of %s", path);
    snprintf(b->temporary, path_size + sizeof ".tmp", "%s.tmp", path);
    return NOKV_OK;
}

/* A temporary file of this name is what a dead process left. */
static enum nokv_status builder_open(struct sst_builder *b, enum io_component component, enum io_model model)
{
    TRY(io_unlink_if_exists(b->io, b->temporary));
    return io_open(b->io, b->temporary, component, model, IO_WRITE | IO_CREATE, &b->file);
}

static void builder_destroy_ptr(struct sst_builder **b)
{
    sst_builder_destroy(*b);
}

enum nokv_status sst_builder_create(struct io *io, const char *path, enum io_component component, enum io_model model,
                                    uint64_t file_number, const struct sst_options *options,
                                    struct sst_builder **out_builder)
{
    ASSERT(options->block_bytes >= PAGE_BYTES && options->block_bytes % PAGE_BYTES == 0 &&
           options->block_bytes <= BLOCK_BYTES_MAX && options->filter_bits_per_key <= 64);
    uint8_t page[PAGE_BYTES];
    struct sst_builder *b CLEANUP(builder_destroy_ptr) = mem_zalloc(sizeof *b);
    if (b == NULL)
        return FAIL(NO_MEMORY, "sst builder of %s", path);
    b->io = io;
    b->file_number = file_number;
    b->options = *options;
    b->limit = options->block_bytes;
    b->block_max = options->block_bytes + BLOCK_GROW_PAGES * PAGE_BYTES;
    b->properties.info.seq_min = UINT64_MAX;
    static_assert(OUT_BYTES % PAGE_BYTES == 0 && OUT_BYTES > BLOCK_BYTES_MAX + BLOCK_GROW_PAGES * PAGE_BYTES, "");
    TRY(builder_allocate(b, path));
    TRY(builder_open(b, component, model));
    sst_header_encode(page, file_number);
    TRY(out_append(b, page, sizeof page));
    *out_builder = TAKE(b);
    return NOKV_OK;
}

void sst_builder_destroy(struct sst_builder *b)
{
    if (b == NULL)
        return;
    bool opened = b->file != NULL || b->state == BUILDER_FAILED;
    io_close_ptr(&b->file);
    if (opened && b->state != BUILDER_FINISHED && io_unlink(b->io, b->temporary) != NOKV_OK) {
        /* Nothing to do about it here: recovery removes temporary files. */
    }
    mem_free(b->path);
    mem_free(b->temporary);
    mem_free(b->out);
    mem_free(b->entries);
    mem_free(b->fingerprints);
    mem_free(b->offsets);
    mem_free(b->hashes);
    buf_deinit(&b->first);
    buf_deinit(&b->last_copy);
    sst_index_builder_deinit(&b->index);
    mem_free(b);
}

/* ---- questions ------------------------------------------------------------------------------------------------- */

uint64_t sst_builder_bytes(const struct sst_builder *b)
{
    uint64_t open = b->count ? sst_pages(sst_block_size(b->count, b->entries_size)) : 0;
    uint64_t filter = b->options.filter_bits_per_key == 0
                          ? 0
                          : sst_filter_lines(u64_max(b->hash_count, 1), b->options.filter_bits_per_key);
    uint64_t keys = b->first.size + b->last.user.size + 1024;
    return (page_next(b) + open + sst_pages(filter * SST_FILTER_LINE_BYTES) +
            sst_pages(sst_index_builder_bytes(&b->index)) + sst_pages(keys) + 1) *
           PAGE_BYTES;
}

uint64_t sst_builder_count(const struct sst_builder *b)
{
    return b->properties.info.entries;
}

struct ikey sst_builder_first_key(const struct sst_builder *b)
{
    ASSERT(b->properties.info.entries > 0);
    return (struct ikey){.user = buf_slice(&b->first), .tag = b->properties.smallest.tag};
}

struct ikey sst_builder_last_key(const struct sst_builder *b)
{
    ASSERT(b->properties.info.entries > 0);
    return b->last;
}
