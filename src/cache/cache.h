// SPDX-License-Identifier: Apache-2.0
/*
 * cache/cache.h - a bounded cache of blocks of files, for tables that are read with pread, O_DIRECT or io_uring.
 *
 * A block is named by the number of its file and the page that it begins at; it is filled by its creator before others
 * can see it and never changes afterwards. Replacement is S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all
 * you need for cache eviction", SOSP 2023): what is read once passes through a small queue and leaves what is read
 * often alone.
 *
 * A miss, from beginning to end:
 *
 *     cache_find ─► NULL ─► cache_block_create ─► read into data ─► verify ─► cache_insert ─► use ─► cache_block_unref
 *                                  └── could not be read or is damaged ───────────────────────────► cache_block_unref
 *
 * Thread-safe. Two threads that miss the same block both read it, and one of the two copies is dropped.
 */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include "base/base.h"

struct cache;

enum { CACHE_SHARDS_MAX = 16 };
#define CACHE_BYTES_MIN (64ull << 10)       /* a cache that is smaller holds nothing worth finding */
#define CACHE_BYTES_MAX (4ull << 40)        /* a shard's tables are made for all of its share at once */
#define CACHE_BLOCK_BYTES_MAX (64ull << 20) /* of one block */

/* The fields up to `page` are for everybody to read; the rest is the cache's own. */
struct cache_block {
    /* set at creation, then constant */
    uint8_t *data; /* aligned to PAGE_BYTES; there is room up to the next multiple of PAGE_BYTES behind `size` */
    size_t size;   /* as asked for */
    uint64_t file; /* its name: number of the file, */
    uint64_t page; /* and where in it the block begins */
    uint64_t hash; /* of the name */
    size_t charge; /* bytes that count against the bound */
    void *chunk;   /* where the pages are from */
    struct cache_shard *shard;
    /* atomic; see cache.c [I2] */
    _Atomic uint64_t refs;
    /* protected by the shard's mutex */
    struct cache_block *bucket_next;
    struct cache_block *file_prev, *file_next;
    struct cache_block *queue_prev, *queue_next; /* towards the younger, towards the older */
    uint8_t hits;                                /* since it came to its queue, at most 3 */
    bool is_main;                                /* which queue */
};

/* Room for `bytes_max` bytes of blocks, their headers included; it takes memory only once blocks are created. The
 * number of shards is chosen from it: one for each 4 MiB, at most CACHE_SHARDS_MAX. INVALID outside of CACHE_BYTES_MIN
 * to CACHE_BYTES_MAX; NO_MEMORY. */
enum nokv_status cache_create(uint64_t bytes_max, struct cache **out_cache) MUST_CHECK;
/* REQUIRES: no block is referenced and no call is under way. NULL is accepted. */
void cache_destroy(struct cache *c);

/* The block, with a reference for the caller; NULL: it is not there. */
struct cache_block *cache_find(struct cache *c, uint64_t file, uint64_t page);
/*
 * An empty block with one reference, which only the caller knows of. It counts against the bound from here on, and
 * others are evicted for it. Its bytes are not zeroed. INVALID for size 0, TOO_LARGE above CACHE_BLOCK_BYTES_MAX,
 * NO_MEMORY; the cache is as before then, apart from what was evicted.
 */
enum nokv_status cache_block_create(struct cache *c, uint64_t file, uint64_t page, size_t size,
                                    struct cache_block **out_block) MUST_CHECK;
/*
 * Others may find `block`, which is filled and verified, from here on. Takes the caller's reference and returns one: of
 * `block`, or of the block with that name which another thread brought in first; `block` is then dropped. A block that
 * is larger than a shard's share of the bound is not kept: it stays the caller's alone.
 * REQUIRES: it was not inserted before.
 */
struct cache_block *cache_insert(struct cache *c, struct cache_block *block);

/* One more reference. REQUIRES: the caller has one. */
void cache_block_ref(struct cache_block *b);
/* Any thread. A referenced block stays valid when it is evicted or forgotten; the last reference then frees it. */
void cache_block_unref(struct cache_block *b);

/*
 * The file goes away: its blocks leave the cache, those that are referenced when they are released.
 * REQUIRES: the number is never used for another file. A block that a late reader inserts afterwards does no harm: it
 * is never found and ages out.
 */
void cache_forget(struct cache *c, uint64_t file);

/* Another bound. A smaller one evicts at once. The number of shards stays. INVALID as for cache_create; NO_MEMORY: the
 * bound is as before. One call at a time. */
enum nokv_status cache_resize(struct cache *c, uint64_t bytes_max) MUST_CHECK;

uint64_t cache_bytes_max(const struct cache *c); /* the bound */

struct cache_stats {
    uint64_t bytes; /* of all blocks that exist; above bytes_max only by what is pinned */
    uint64_t bytes_max;
    uint64_t blocks; /* that can be found */
    uint64_t hits;
    uint64_t misses;
    uint64_t inserts;        /* blocks that were kept */
    uint64_t evictions;      /* to stay within the bound; forgotten blocks are not counted */
    uint64_t pinned_bytes;   /* of blocks that somebody has a reference of */
    uint64_t reserved_bytes; /* memory taken from the kernel for data: bytes, and pages that wait to be used again */
};

/* Each shard is looked at on its own: the sums are exact only while nothing else happens. */
void cache_stats_get(struct cache *c, struct cache_stats *out_stats);

#endif
