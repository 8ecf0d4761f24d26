// SPDX-License-Identifier: Apache-2.0
/*
 * reader.c - an open table: its lifetime, what is verified when, and the point read.
 *
 * A get is: one cache line of the filter; down the index tree, two cache lines per level; the block's first lines
 * (header, fingerprints, offsets); the entry. All of that happens in the mapping under one io_guarded() call, so a
 * device that fails under a page is an IO error of this call.
 *
 * Verified are: header, footer and properties at open; filter and index on first use; each block on first use. The
 * guarded part of a get does not verify: when it meets a block whose bit is not set it leaves the guard, has the block
 * verified (which may first ask the kernel to read all of its pages at once, or, where all tables have room in memory,
 * what is around it), and runs again. So the hot path is
 * free of it, and no system call is made under the guard.
 *
 * A reader that copies (copied.c) shares open, lifetime and questions with this one, and has no mapping.
 *
 * [I1] Nothing is written to after open but the fields of reader.h that are atomic, `asked` among them, and the counts
 *      in `object`.
 * [I2] A length is checked wherever it is followed, although the checksum was right: a page may be evicted and read
 *      again from a disk that has gone bad since.
 *
 * Threading: any number of threads. Failure: a checksum mismatch is reported by every call that needs those bytes;
 * nothing is remembered of it. A bad filter fails all gets of the table rather than slow them down silently; iterators
 * and scans do not need it, so a compaction heals it.
 *
 * Why not verify every block at open: it would read the whole file. Why not verify at every read: 4 KiB cost 150 ns, as
 * much as the rest of a get.
 */
#include "sst/reader.h"

#include "base/alloc.h"
#include "sst/filter.h"

static const uint64_t none = UINT64_MAX;

static struct io_file *file_of(const struct sst_reader *r)
{
    return atomic_load_explicit(&r->file, memory_order_acquire);
}

static unsigned long long number_of(const struct sst_reader *r)
{
    return r->footer.file_number;
}

static bool is_huge(const struct sst_reader *r)
{
    return atomic_load_explicit(&r->is_huge, memory_order_relaxed);
}

enum nokv_status sst_reader_faulted(struct sst_reader *r)
{
    atomic_store_explicit(&r->is_faulted, true, memory_order_relaxed);
    return FAIL(
        IO,
        "sst %llu (%s): a page could not be read: the device failed, or the file was cut short (SIGBUS); look at "
        "the kernel's log, then nokv verify",
        number_of(r), r->path);
}

bool sst_reader_is_faulted(const struct sst_reader *r)
{
    return atomic_load_explicit(&r->is_faulted, memory_order_relaxed);
}

enum nokv_status sst_reader_bad_index(const struct sst_reader *r)
{
    return FAIL(CORRUPT, "sst %llu (%s) index @%llu: malformed", number_of(r), r->path,
                (unsigned long long)r->footer.index.off);
}

enum nokv_status sst_reader_bad_block(const struct sst_reader *r, uint64_t page)
{
    return FAIL(CORRUPT, "sst %llu (%s) block @%llu: malformed entry", number_of(r), r->path,
                (unsigned long long)page * PAGE_BYTES);
}

enum nokv_status sst_reader_bad_kind(const struct sst_reader *r, uint64_t page, uint64_t tag)
{
    return FAIL(NOT_SUPPORTED, "sst %llu (%s) block @%llu: unknown kind of entry 0x%02x: use a newer release",
                number_of(r), r->path, (unsigned long long)page * PAGE_BYTES, tag_kind_byte(tag));
}

/* ---- verification ---------------------------------------------------------------------------------------------- */

struct checksum_call {
    const uint8_t *data;
    uint64_t size;
    uint64_t file_number;
    uint64_t checksum; /* out */
};

static enum nokv_status checksum_guarded(void *arg)
{
    struct checksum_call *c = arg;
    c->checksum = sst_region_checksum(c->data, c->size, c->file_number);
    return NOKV_OK;
}

static enum nokv_status region_verify(struct sst_reader *r, const struct sst_region *region, const char *name,
                                      unsigned bit)
{
    struct checksum_call c = {
        .data = r->data + region->off, .size = region->size, .file_number = r->footer.file_number};
    if (region->size != 0 && !is_huge(r))
        io_map_advise(&r->map, region->off, region->size, IO_ADVICE_WILLNEED); /* exactly it, in large reads, */
    if (region->size != 0)
        io_map_advise(&r->map, region->off, region->size, IO_ADVICE_POPULATE); /* and wait for them */
    TRY(sst_reader_guarded(r, checksum_guarded, &c));
    if (c.checksum != region->checksum)
        return FAIL(CORRUPT, "sst %llu (%s) %s @%llu: checksum mismatch", number_of(r), r->path, name,
                    (unsigned long long)region->off);
    atomic_fetch_or_explicit(&r->ready, bit, memory_order_relaxed); /* relaxed: see the declaration */
    return NOKV_OK;
}

enum nokv_status sst_reader_prepare(struct sst_reader *r, unsigned wanted)
{
    unsigned missing = wanted & ~atomic_load_explicit(&r->ready, memory_order_relaxed);
    if (LIKELY(missing == 0))
        return NOKV_OK;
    if (missing & SST_READY_INDEX)
        TRY(region_verify(r, &r->footer.index, "index", SST_READY_INDEX));
    if (missing & SST_READY_FILTER)
        TRY(region_verify(r, &r->footer.filter, "filter", SST_READY_FILTER));
    return NOKV_OK;
}

enum nokv_status sst_reader_check_bytes(const struct sst_reader *r, const uint8_t *data, struct sst_extent extent,
                                        struct sst_block *out)
{
    unsigned long long off = (unsigned long long)extent.page * PAGE_BYTES;
    uint64_t seed = sst_block_seed(r->footer.file_number, extent.page);
    if (get_u32(data) != sst_block_checksum(data, extent.size, seed))
        return FAIL(CORRUPT, "sst %llu (%s) block @%llu: checksum mismatch", number_of(r), r->path, off);
    if (!sst_block_open(data, extent.size, out))
        return sst_block_explain(data, extent.size, number_of(r), extent.page);
    if (sst_pages(out->used) * PAGE_BYTES != extent.size)
        return FAIL(CORRUPT, "sst %llu (%s) block @%llu: %u bytes used in %llu", number_of(r), r->path, off, out->used,
                    (unsigned long long)extent.size);
    return NOKV_OK;
}

struct extent_call {
    struct sst_reader *r;
    uint64_t block;
    struct sst_extent extent; /* out of the one function, into the other */
};

static enum nokv_status extent_guarded(void *arg)
{
    struct extent_call *c = arg;
    return sst_reader_locate(c->r, c->block, &c->extent) ? NOKV_OK : sst_reader_bad_index(c->r);
}

static enum nokv_status verify_guarded(void *arg)
{
    const struct extent_call *c = arg;
    struct sst_block block;
    return sst_reader_check_bytes(c->r, c->r->data + (uint64_t)c->extent.page * PAGE_BYTES, c->extent, &block);
}

enum nokv_status sst_reader_extent(struct sst_reader *r, uint64_t block, struct sst_extent *out)
{
    struct extent_call c = {.r = r, .block = block};
    TRY(sst_reader_guarded(r, extent_guarded, &c));
    *out = c.extent;
    return NOKV_OK;
}

/* Ask for what is around a block that nobody has looked at yet, once. True: the block is in it. */
static bool around_ask(struct sst_reader *r, struct sst_extent extent)
{
    if (is_huge(r))
        return true; /* each fault brings in more than that */
    if (r->read_around == NULL || !atomic_load_explicit(r->read_around, memory_order_relaxed))
        return false;
    uint64_t window = extent.page / SST_AROUND_PAGES, bit = 1ull << window % 64;
    if (!(atomic_fetch_or_explicit(&r->asked[window / 64], bit, memory_order_relaxed) & bit)) {
        uint64_t begin = window * SST_AROUND_PAGES, end = u64_min(begin + SST_AROUND_PAGES, r->end_page);
        io_map_advise(&r->map, begin * PAGE_BYTES, (end - begin) * PAGE_BYTES, IO_ADVICE_WILLNEED);
    }
    return extent.size / PAGE_BYTES <= SST_AROUND_PAGES - extent.page % SST_AROUND_PAGES;
}

enum nokv_status sst_reader_verify_block(struct sst_reader *r, uint64_t block)
{
    struct extent_call c = {.r = r, .block = block};
    TRY(sst_reader_extent(r, block, &c.extent));
    if (!around_ask(r, c.extent) && c.extent.size > PAGE_BYTES) /* one read instead of one per page */
        io_map_advise(&r->map, (uint64_t)c.extent.page * PAGE_BYTES, c.extent.size, IO_ADVICE_WILLNEED);
    TRY(sst_reader_guarded(r, verify_guarded, &c));
    /* relaxed: see the declaration */
    atomic_fetch_or_explicit(&r->verified[block / 64], 1ull << (block % 64), memory_order_relaxed);
    return NOKV_OK;
}

/* ---- point read ------------------------------------------------------------------------------------------------ */

struct get_call {
    struct sst_reader *r;
    struct slice key;
    uint64_t hash;
    uint64_t tag_max;
    /* out */
    struct sst_entry entry;
    bool found;
    uint64_t unverified; /* this block has to be verified first */
};

static inline const uint8_t *filter_line(const struct sst_reader *r, uint64_t hash)
{
    return r->filter + sst_filter_line(hash, r->filter_lines) * 64;
}

/* Guarded. The block has been found in the index. */
static inline enum nokv_status get_in_block(struct get_call *g, uint64_t block)
{
    struct sst_reader *r = g->r;
    struct sst_extent extent;
    if (UNLIKELY(!sst_reader_locate(r, block, &extent)))
        return sst_reader_bad_index(r);
    const uint8_t *data = r->data + (uint64_t)extent.page * PAGE_BYTES;
    __builtin_prefetch(data); /* header and fingerprints; the next line has the offsets */
    __builtin_prefetch(data + CACHE_LINE);
    if (UNLIKELY(!sst_reader_is_verified(r, block))) {
        g->unverified = block;
        return NOKV_OK;
    }
    struct sst_block b;
    uint32_t index;
    if (UNLIKELY(!sst_block_open(data, extent.size, &b)))
        return sst_block_explain(data, extent.size, number_of(r), extent.page);
    if (UNLIKELY(!sst_block_find(&b, g->key, g->hash, g->tag_max, &g->entry, &index, &g->found)))
        return sst_reader_bad_block(r, extent.page);
    if (UNLIKELY(g->found && !key_kind_known(tag_kind_byte(g->entry.tag))))
        return sst_reader_bad_kind(r, extent.page, g->entry.tag);
    if (g->found)
        sst_value_touch(&g->entry);
    return NOKV_OK;
}

static enum nokv_status get_guarded(void *arg)
{
    struct get_call *g = arg;
    const struct sst_reader *r = g->r;
    if (r->filter_lines != 0 && !sst_filter_line_has(filter_line(r, g->hash), g->hash, r->filter_probes))
        return NOKV_OK;
    int64_t block = sst_index_search(&r->index, (struct ikey){.user = g->key, .tag = g->tag_max});
    if (UNLIKELY(block < 0))
        return sst_reader_bad_index(r);
    return UNLIKELY(block >= r->index.count) ? NOKV_OK : get_in_block(g, (uint64_t)block);
}

enum nokv_status sst_reader_get(struct sst_reader *r, struct slice user_key, uint64_t hash, uint64_t seq,
                                struct lookup *out_lookup)
{
    struct get_call g = {.r = r, .key = user_key, .hash = hash, .tag_max = tag_for_seek(seq), .unverified = none};
    if (UNLIKELY(r->is_copied))
        return sst_copied_get(r, user_key, hash, g.tag_max, out_lookup);
    TRY(sst_reader_prepare(r, SST_READY_ALL));
    for (;;) {
        TRY(sst_reader_guarded(r, get_guarded, &g));
        if (LIKELY(g.unverified == none))
            break;
        TRY(sst_reader_verify_block(r, g.unverified));
        g.unverified = none;
    }
    out_lookup->found = g.found;
    if (g.found) {
        out_lookup->tag = g.entry.tag;
        out_lookup->value = g.entry.value;
    }
    return NOKV_OK;
}

enum nokv_status sst_reader_get_cold(struct sst_reader *r, struct slice user_key, uint64_t hash, uint64_t seq,
                                     struct lookup *out_lookup)
{
    TRY(sst_reader_prepare(r, SST_READY_ALL));
    enum nokv_status status = sst_copied_get(r, user_key, hash, tag_for_seek(seq), out_lookup);
    /* what is short, handles (too many files are open) or memory, the mapping does not need */
    if (UNLIKELY(status == NOKV_ERR_NO_MEMORY || (status != NOKV_OK && file_of(r) == NULL)))
        return sst_reader_get(r, user_key, hash, seq, out_lookup);
    return status;
}

void sst_reader_prefetch(const struct sst_reader *r, uint64_t hash)
{
    if (r->filter_lines != 0)
        __builtin_prefetch(filter_line(r, hash));
}

/* ---- open ------------------------------------------------------------------------------------------------------ */

struct copy_call {
    void *to;
    const uint8_t *from;
    size_t size;
};

static enum nokv_status copy_guarded(void *arg)
{
    struct copy_call *c = arg;
    memcpy(c->to, c->from, c->size);
    return NOKV_OK;
}

/* Out of the mapping, or the file. REQUIRES: in range. */
static enum nokv_status bytes_copy(struct sst_reader *r, void *to, uint64_t off, size_t size)
{
    if (r->is_copied)
        return io_pread_exact(file_of(r), to, size, off);
    struct copy_call c = {.to = to, .from = r->map.data + off, .size = size};
    return sst_reader_guarded(r, copy_guarded, &c);
}

static enum nokv_status open_frame(struct sst_reader *r, uint64_t file_number, uint64_t size)
{
    uint8_t page[PAGE_BYTES];
    uint64_t header_number = 0;
    TRY(bytes_copy(r, page, 0, sizeof page));
    TRY(sst_header_decode(page, &header_number));
    TRY(bytes_copy(r, page, size - PAGE_BYTES, sizeof page));
    TRY(sst_footer_decode(page, size, &r->footer));
    if (header_number != file_number || r->footer.file_number != file_number)
        return FAIL(CORRUPT, "sst: the header is of table %llu, the footer of table %llu",
                    (unsigned long long)header_number, number_of(r));
    return NOKV_OK;
}

static enum nokv_status open_properties(struct sst_reader *r)
{
    const struct sst_region *region = &r->footer.properties;
    size_t whole = sst_pages(region->size) * PAGE_BYTES; /* no more than the file has: the footer was checked */
    r->properties_bytes = mem_alloc(whole);
    if (r->properties_bytes == NULL)
        return FAIL(NO_MEMORY, "sst properties of %zu bytes", whole);
    TRY(bytes_copy(r, r->properties_bytes, region->off, whole));
    if (sst_region_checksum(r->properties_bytes, region->size, r->footer.file_number) != region->checksum)
        return FAIL(CORRUPT, "sst properties @%llu: checksum mismatch", (unsigned long long)region->off);
    TRY(sst_properties_decode(slice_make(r->properties_bytes, region->size), &r->properties));
    r->properties.info.file_bytes = r->footer.file_bytes;
    return NOKV_OK;
}

static enum nokv_status open_regions(struct sst_reader *r)
{
    const struct sst_footer *f = &r->footer;
    r->data = r->map.data;
    r->end_page = (uint32_t)((f->data.off + f->data.size) / PAGE_BYTES);
    r->filter_lines = f->filter.size / SST_FILTER_LINE_BYTES;
    r->filter_probes = f->filter_probes;
    atomic_init(&r->ready, r->is_copied ? SST_READY_ALL : 0);
    if (r->is_copied)
        return sst_copied_open(r);
    r->filter = r->data + f->filter.off;
    TRY(sst_index_open(r->data + f->index.off, f->index.size, f->block_count, f->common_size, &r->index));
    uint64_t words = f->block_count / 64 + 1;
    r->verified = mem_zalloc((words + r->end_page / SST_AROUND_PAGES / 64 + 1) * sizeof *r->verified);
    if (r->verified == NULL)
        return FAIL(NO_MEMORY, "sst bitmap of %llu blocks", (unsigned long long)f->block_count);
    r->asked = r->verified + words;
    io_map_advise(&r->map, f->data.off, f->data.size, IO_ADVICE_RANDOM);
    return NOKV_OK;
}

static enum nokv_status open_check_size(uint64_t size, uint64_t file_bytes)
{
    if (file_bytes != 0 && size != file_bytes)
        return FAIL(CORRUPT, "sst: the file has %llu bytes; the MANIFEST says %llu", (unsigned long long)size,
                    (unsigned long long)file_bytes);
    if (size < 4 * PAGE_BYTES || size % PAGE_BYTES != 0)
        return FAIL(CORRUPT, "sst: %llu bytes are no table", (unsigned long long)size);
    return NOKV_OK;
}

static enum nokv_status open_file(struct sst_reader *r, uint64_t file_bytes, uint64_t *out_size)
{
    struct io_file *file = NULL;
    TRY(io_open(r->io, r->path, IO_SST, r->model, IO_READ, &file));
    atomic_init(&r->file, file);
    TRY(io_size(file, out_size));
    return open_check_size(*out_size, file_bytes);
}

static enum nokv_status open_map(struct sst_reader *r, uint64_t file_bytes, uint64_t *out_size)
{
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    TRY(io_open(r->io, r->path, IO_SST, IO_STD, IO_READ, &file)); /* IO_STD: the mapping is made by io_map below */
    TRY(io_map(file, &r->map));
    TRY(open_check_size(r->map.size, file_bytes));
    *out_size = r->map.size;
    /* Before the first byte is looked at: a fault on header or footer would bring in a whole read-ahead window. */
    io_map_advise(&r->map, 0, r->map.size, IO_ADVICE_RANDOM);
    if (r->small_pages)
        io_map_advise(&r->map, 0, r->map.size, IO_ADVICE_SMALL);
    sst_reader_note_huge(r);
    return io_close(TAKE(file));
}

static void reader_free(struct pinned_object *object)
{
    struct sst_reader *r = CONTAINER_OF(object, struct sst_reader, object);
    io_unmap(&r->map);
    (void)!io_close(file_of(r)); /* it was only read */
    if (r->cache != NULL)
        cache_forget(r->cache, r->footer.file_number);
    io_guard_remove();
    mem_free(r->regions);
    mem_free(r->path);
    mem_free_ptr(&r->verified);
    mem_free(r->properties_bytes);
    mem_free(r);
}

static enum nokv_status reader_open(struct sst_reader *r, const char *path, uint64_t file_number, uint64_t file_bytes)
{
    uint64_t size = 0;
    r->path = mem_strdup(path);
    if (r->path == NULL)
        return FAIL(NO_MEMORY, "sst reader of %s", path);
    if (!r->is_copied)
        TRY(open_map(r, file_bytes, &size));
    else
        TRY(open_file(r, file_bytes, &size));
    TRY(open_frame(r, file_number, size));
    TRY(open_properties(r));
    return open_regions(r);
}

enum nokv_status sst_reader_open(struct io *io, const char *path, uint64_t file_number, uint64_t file_bytes,
                                 struct sst_reader **out_reader)
{
    return sst_reader_open_with(io, path, file_number, file_bytes, &(struct sst_access){0}, out_reader);
}

enum nokv_status sst_reader_open_with(struct io *io, const char *path, uint64_t file_number, uint64_t file_bytes,
                                      const struct sst_access *access, struct sst_reader **out_reader)
{
    ASSERT(!access->is_copied || access->cache != NULL);
    struct sst_reader *r = mem_alloc_aligned(CACHE_LINE, sizeof *r);
    if (r == NULL)
        return FAIL(NO_MEMORY, "sst reader of %s", path);
    memset(r, 0, sizeof *r);
    r->io = io;
    r->is_copied = access->is_copied;
    r->model = access->model;
    r->cache = access->cache;
    r->read_around = access->read_around;
    r->cache_takes_all = access->cache_takes_all;
    r->huge_pages = access->huge_pages;
    r->small_pages = access->small_pages;
    enum nokv_status status = io_guard_install();
    if (status != NOKV_OK) {
        mem_free(r);
        return status;
    }
    pinned_init(&r->object, reader_free);
    status = reader_open(r, path, file_number, file_bytes);
    if (status != NOKV_OK) {
        reader_free(&r->object); /* nobody else has seen it */
        return FAIL_WITH(status, "%s [opening table %llu, %s]", status_message(), (unsigned long long)file_number,
                         path);
    }
    *out_reader = r;
    return NOKV_OK;
}

void sst_reader_ref(struct sst_reader *r)
{
    pinned_ref(&r->object);
}

void sst_reader_unref(struct sst_reader *r)
{
    if (r != NULL)
        pinned_unref(&r->object);
}

void sst_reader_pin(struct sst_reader *r)
{
    pinned_pin(&r->object);
}

void sst_reader_unpin(struct sst_reader *r)
{
    pinned_unpin(&r->object);
}

enum nokv_status sst_reader_warm(struct sst_reader *r)
{
    return sst_reader_prepare(r, SST_READY_ALL);
}

void sst_reader_populate(struct sst_reader *r)
{
    if (!r->is_copied)
        io_map_advise(&r->map, 0, r->map.size, is_huge(r) ? IO_ADVICE_POPULATE : IO_ADVICE_WILLNEED);
}

void sst_reader_note_huge(struct sst_reader *r)
{
    bool is = r->huge_pages && !r->is_copied && atomic_load_explicit(r->huge_pages, memory_order_relaxed);
    if (is != atomic_exchange_explicit(&r->is_huge, is, memory_order_relaxed))
        io_map_advise(&r->map, 0, r->map.size, is ? IO_ADVICE_HUGE : IO_ADVICE_SMALL);
}

uint64_t sst_reader_warm_bytes(const struct sst_reader *r)
{
    return r->footer.filter.size + r->footer.index.size;
}

bool sst_reader_is_copied(const struct sst_reader *r)
{
    return r->is_copied;
}

/* ---- questions ------------------------------------------------------------------------------------------------- */

const struct sst_info *sst_reader_info(const struct sst_reader *r)
{
    return &r->properties.info;
}

uint64_t sst_reader_number(const struct sst_reader *r)
{
    return r->footer.file_number;
}

struct ikey sst_reader_smallest(const struct sst_reader *r)
{
    return r->properties.smallest;
}

struct ikey sst_reader_largest(const struct sst_reader *r)
{
    return r->properties.largest;
}

struct position_call {
    struct sst_reader *r;
    struct slice key;
    uint64_t page; /* out */
};

static enum nokv_status position_guarded(void *arg)
{
    struct position_call *c = arg;
    const struct sst_index *x = &c->r->index;
    int64_t block = sst_index_search(x, (struct ikey){.user = c->key, .tag = tag_for_seek(KEY_SEQ_MAX)});
    if (block >= 0 && block < x->count)
        c->page = u64_min(sst_index_page(x, (uint64_t)block), c->page);
    return NOKV_OK;
}

uint64_t sst_reader_approximate_offset(struct sst_reader *r, struct slice user_key)
{
    struct position_call c = {.r = r, .key = user_key, .page = r->end_page};
    if (sst_reader_prepare(r, SST_READY_INDEX) != NOKV_OK || sst_reader_guarded(r, position_guarded, &c) != NOKV_OK)
        return PAGE_BYTES;
    return c.page * PAGE_BYTES;
}

struct sample_call {
    const struct sst_reader *r;
    uint64_t block;
    uint8_t *to; /* NULL: only the size is wanted */
    size_t size; /* out, of the first call */
};

static enum nokv_status sample_guarded(void *arg)
{
    struct sample_call *c = arg;
    const struct sst_index *x = &c->r->index;
    struct sst_separator s;
    if (!sst_index_separator(x, c->block, &s) || (c->to && c->size != x->common.size + s.suffix.size))
        return sst_reader_bad_index(c->r);
    c->size = x->common.size + s.suffix.size;
    if (c->to) {
        memcpy(c->to, x->common.data, x->common.size);
        memcpy(c->to + x->common.size, s.suffix.data, s.suffix.size);
    }
    return NOKV_OK;
}

enum nokv_status sst_reader_sample_key(struct sst_reader *r, size_t index, size_t count, struct buf *out)
{
    ASSERT(index < count);
    uint64_t block = (uint64_t)(((unsigned __int128)(index + 1) * r->index.count) / (count + 1));
    if (block == 0)
        return buf_append(out, sst_reader_smallest(r).user.data, sst_reader_smallest(r).user.size);
    struct sample_call c = {.r = r, .block = block - 1};
    TRY(sst_reader_prepare(r, SST_READY_INDEX));
    TRY(sst_reader_guarded(r, sample_guarded, &c));
    if (c.size == 0) /* only a hostile index has an empty separator */
        return NOKV_OK;
    c.to = buf_reserve(out, c.size);
    if (c.to == NULL)
        return FAIL(NO_MEMORY, "sample key of %zu bytes", c.size);
    TRY(sst_reader_guarded(r, sample_guarded, &c));
    out->size += c.size;
    return NOKV_OK;
}

bool sst_reader_contains(const struct sst_reader *r, const void *p, size_t size)
{
    uintptr_t from = (uintptr_t)r->map.data, at = (uintptr_t)p;
    return at >= from && at - from <= r->map.size && size <= r->map.size - (at - from);
}

uint64_t sst_reader_resident_bytes(struct sst_reader *r)
{
    return r->is_copied ? io_resident(file_of(r)) : io_map_resident(&r->map, 0, r->map.size);
}
