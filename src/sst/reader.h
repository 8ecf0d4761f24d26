// SPDX-License-Identifier: Apache-2.0
/*
 * sst/reader.h - the inside of an open table, for the files of this module that read one.
 *
 * What is said to be guarded runs inside io_guarded(): it reads mapped bytes and changes nothing that it does not own.
 */
#ifndef SST_READER_H
#define SST_READER_H

#include <stdatomic.h>

#include "sst/block.h"
#include "sst/format.h"
#include "sst/index.h"

enum { SST_AROUND_PAGES = 64 }; /* 256 KiB: takes a disk little longer than 4 KiB */
enum { SST_READY_FILTER = 1, SST_READY_INDEX = 2, SST_READY_ALL = 3 };

struct sst_reader {
    struct pinned_object object;

    /* set at open, then constant; in the order in which a get reads it */
    const uint8_t *filter; /* in the mapping */
    uint64_t filter_lines; /* 0: no filter */
    unsigned filter_probes;
    /* atomic: which regions' checksums were right. Relaxed: it guards no other memory, the mapping never changes. */
    _Atomic unsigned ready;
    const uint8_t *data; /* page 0 of the mapping */
    uint32_t end_page;   /* behind the last block */
    struct sst_index index;
    /* atomic: a bit per block whose checksum was right. Relaxed, for the same reason. */
    _Atomic uint64_t *verified;
    /* atomic: a bit per SST_AROUND_PAGES of the data region that were asked for at one go. Relaxed: hints. */
    _Atomic uint64_t *asked;
    const _Atomic bool *read_around;     /* NULL: never */
    const _Atomic bool *cache_takes_all; /* NULL: never */
    const _Atomic bool *huge_pages;      /* NULL: never asked for */
    _Atomic bool is_huge;                /* atomic: what the mapping was advised last. Relaxed: hints. */
    _Atomic bool is_faulted;             /* atomic: a page could not be read at least once. Relaxed: it only grows. */

    struct io *io;
    struct io_map map; /* zeroed in one that copies */
    bool small_pages;  /* asked for */
    bool is_copied;    /* filter and index are in `regions` then, which is NULL otherwise */
    uint8_t *regions;
    enum io_model model; /* of the file that blocks are copied from */
    struct cache *cache; /* they are copied into it; NULL: never */
    /* atomic: of one that copies from the open on; of one that is mapped NULL until a block is first copied. Set once;
     * release and acquire */
    _Atomic(struct io_file *) file;
    char *path;
    struct sst_footer footer;
    struct sst_properties properties; /* its keys borrow from properties_bytes */
    uint8_t *properties_bytes;
};

/* Where a block is: `extent` bytes from `page` on. */
struct sst_extent {
    uint32_t page;
    uint64_t size;
};

/* A page of the mapping could not be read: note it, and say which table it is. */
enum nokv_status sst_reader_faulted(struct sst_reader *r) MUST_CHECK;
/* io_guarded() for reading this table. */
static inline enum nokv_status sst_reader_guarded(struct sst_reader *r, enum nokv_status (*fn)(void *arg), void *arg)
{
    enum nokv_status status = io_guarded(fn, arg);
    return LIKELY(status != NOKV_ERR_IO) ? status : sst_reader_faulted(r);
}

/* Check the checksums of filter or index unless that was done. Guards itself. `wanted`: SST_READY_... */
enum nokv_status sst_reader_prepare(struct sst_reader *r, unsigned wanted) MUST_CHECK;
/*
 * In a reader that copies: the block out of the cache, or into it, verified; one reference is the caller's. `ahead`: up
 * to so many bytes of the file behind it are read at the same go, and the blocks in them go into the cache as well.
 */
enum nokv_status sst_reader_load(struct sst_reader *r, struct sst_extent extent, uint64_t block, uint64_t ahead,
                                 struct cache_block **out_block) MUST_CHECK;
/* The handle that blocks are copied with. */
enum nokv_status sst_reader_file(struct sst_reader *r, struct io_file **out_file) MUST_CHECK;
/* The open of a reader that copies; its file is open, header, footer and properties are read. */
enum nokv_status sst_copied_open(struct sst_reader *r) MUST_CHECK;
/* The point read out of a copied block. REQUIRES: a cache; filter and index are ready. */
enum nokv_status sst_copied_get(struct sst_reader *r, struct slice key, uint64_t hash, uint64_t tag_max,
                                struct lookup *out_lookup) MUST_CHECK;
/* Check a block's checksum and header and remember that they were right. Guards itself. REQUIRES: the index is ready.
 */
enum nokv_status sst_reader_verify_block(struct sst_reader *r, uint64_t block) MUST_CHECK;
/* As sst_reader_verify_block for a block that was read to somewhere else: does it match? */
enum nokv_status sst_reader_check_bytes(const struct sst_reader *r, const uint8_t *data, struct sst_extent extent,
                                        struct sst_block *out) MUST_CHECK;
/* Guarded copy of an extent, for those who read the file by other means. REQUIRES: block < count, the index is ready.
 */
enum nokv_status sst_reader_extent(struct sst_reader *r, uint64_t block, struct sst_extent *out) MUST_CHECK;

enum nokv_status sst_reader_bad_index(const struct sst_reader *r) MUST_CHECK;
enum nokv_status sst_reader_bad_block(const struct sst_reader *r, uint64_t page) MUST_CHECK;
enum nokv_status sst_reader_bad_kind(const struct sst_reader *r, uint64_t page, uint64_t tag) MUST_CHECK;

static inline bool sst_reader_is_verified(const struct sst_reader *r, uint64_t block)
{
    return atomic_load_explicit(&r->verified[block / 64], memory_order_relaxed) >> (block % 64) & 1;
}

/* Guarded. False: the index is malformed. */
static inline bool sst_reader_locate(const struct sst_reader *r, uint64_t block, struct sst_extent *out)
{
    uint32_t page = sst_index_page(&r->index, block), next = sst_index_page(&r->index, block + 1);
    out->page = page;
    out->size = (uint64_t)(next - page) * PAGE_BYTES;
    return page >= 1 && page < next && next <= r->end_page;
}

/*
 * Guarded. Whoever asks for a value reads it, but outside of the guard: so the pages that it has beyond the one with
 * its key, which has just been read, are touched here. It does not help when they are cut off later.
 */
static inline void sst_value_touch(const struct sst_entry *e)
{
    uintptr_t end = (uintptr_t)e->value.data + e->value.size;
    for (uintptr_t p = align_up((uintptr_t)e->key.data, PAGE_BYTES); UNLIKELY(p < end); p += PAGE_BYTES)
        (void)*(const volatile uint8_t *)p;
}

#endif
