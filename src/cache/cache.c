// SPDX-License-Identifier: Apache-2.0
/*
 * The block cache: shards, each a hash table under a mutex, and two queues after S3-FIFO.
 *
 *                        seen lately (ghost)
 *     cache_insert ──────────────────────────────────────► main ──► oldest: hit since? ─ yes ─► youngest, one hit less
 *           │                                               ▲                  │ no
 *           └─► small (a tenth) ──► oldest: hit twice? ─ yes┘                  ▼
 *                                        │ no                               evicted
 *                                        └──► evicted, name goes to the ghost
 *
 * A scan fills the small queue only. A hit adds to a counter of two bits and moves nothing.
 *
 * [I1] A block is in the hash table, on the list of its file and in a queue at the same time, or in none of them. It is
 *      in them exactly while the bit REFS_CACHED of its `refs` is set.
 * [I2] `refs` is that bit and the number of references outside. A count of 0 becomes 1 only under the shard's mutex
 *      (cache_find); who takes the last of the two away frees the block: the last unref, or the removal from the cache.
 * [I3] `bytes` is the charge of all blocks that exist, `pinned` that of those with references outside. `pinned` is
 *      raised after the reference that it stands for was taken and before the caller has it, and lowered after the last
 *      one was given back: it may be too large for a moment, never too small.
 * [I4] bytes <= bytes_max, or all that could be evicted is pinned. Who adds bytes evicts under the mutex; who unpins
 *      looks at `bytes` afterwards and evicts if it is too large. Both sides first write, then read the other's
 *      figure, sequentially consistent, so that at least one of them sees the other.
 * [I5] A shard has its tables (buckets, ghost) from the first block on that is created in it: a cache that nobody
 *      needs, because tables are mapped and in memory, costs its shards alone.
 *
 * Threading: the mutex of a shard protects its tables, queues, pages and figures. A reference is given back without it,
 * unless the block has to be freed or the shard is too large. No mutex is held over another one.
 * Failure: only creating a block, a cache, or another size can fail, each before anything has changed.
 * Why not LRU: a hit would move the block on a list, and a scan would empty the cache. Why not CLOCK alone: it keeps
 * what was read once for a whole turn of the hand.
 */
#include "cache/cache.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "cache/ghost.h"
#include "cache/pages.h"

enum {
    HITS_MAX = 3,        /* two bits, as in the paper */
    HITS_TO_STAY = 2,    /* in the small queue, to be moved to the main one */
    SMALL_SHARE = 10,    /* one part in ten of a shard is the small queue's */
    FILE_LISTS = 256,    /* per shard */
    LOOKS_PER_BLOCK = 5, /* one to leave the small queue, three to lose its hits, one to go */
};
#define SHARD_BYTES_MIN (4ull << 20)
#define REFS_CACHED (1ull << 63)

struct block_queue {
    struct cache_block *youngest, *oldest;
    uint64_t bytes, count;
};

struct cache_shard {
    struct mutex mu;
    /* protected by mu */
    struct cache_block **buckets; /* owned; by hash; NULL, and no ghost either: none was created yet [I5] */
    uint64_t bucket_mask;
    struct ghost ghost;
    struct block_queue small, main;
    struct page_pool pages;
    uint64_t hits, misses, inserts, evictions;
    struct cache_block *files[FILE_LISTS]; /* by number of the file */
    /* atomic, sequentially consistent [I4]. Written under mu: bytes, bytes_max; by anybody: pinned */
    _Atomic uint64_t bytes __attribute__((aligned(CACHE_LINE)));
    _Atomic uint64_t bytes_max;
    _Atomic uint64_t pinned;
};

struct cache {
    /* set at creation, then constant */
    unsigned shard_count; /* a power of two */
    struct cache_shard *shards[CACHE_SHARDS_MAX];
    /* atomic, relaxed: a figure */
    _Atomic uint64_t bytes_max;
};

/* ---- names ---------------------------------------------------------------------------------------------------- */

/* The finalizer of splitmix64 (Steele, Lea, Flood 2014): every bit of the name reaches every bit of the hash. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static uint64_t name_hash(uint64_t file, uint64_t page)
{
    return mix(mix(file + 0x9e3779b97f4a7c15ull) ^ page);
}

/* The top bits choose the shard, the low ones the bucket. */
static struct cache_shard *shard_of(struct cache *c, uint64_t hash)
{
    return c->shards[(hash >> 60) & (c->shard_count - 1)];
}

static struct cache_block **bucket_of(const struct cache_shard *s, uint64_t hash)
{
    return &s->buckets[hash & s->bucket_mask];
}

static struct cache_block **file_list_of(struct cache_shard *s, uint64_t file)
{
    return &s->files[mix(file) % FILE_LISTS];
}

/* Borrowed; NULL: it is not there. REQUIRES: mu is held. */
static struct cache_block *lookup_locked(const struct cache_shard *s, uint64_t hash, uint64_t file, uint64_t page)
{
    struct cache_block *b = s->buckets ? *bucket_of(s, hash) : NULL;
    while (b != NULL && (b->file != file || b->page != page))
        b = b->bucket_next;
    return b;
}

/* ---- queues --------------------------------------------------------------------------------------------------- */

static struct block_queue *queue_of(struct cache_shard *s, const struct cache_block *b)
{
    return b->is_main ? &s->main : &s->small;
}

static void queue_push(struct cache_shard *s, struct cache_block *b, bool is_main)
{
    b->is_main = is_main;
    struct block_queue *q = queue_of(s, b);
    b->queue_prev = NULL;
    b->queue_next = q->youngest;
    if (q->youngest != NULL)
        q->youngest->queue_prev = b;
    else
        q->oldest = b;
    q->youngest = b;
    q->bytes += b->charge;
    q->count++;
}

static void queue_remove(struct cache_shard *s, struct cache_block *b)
{
    struct block_queue *q = queue_of(s, b);
    if (b->queue_prev != NULL)
        b->queue_prev->queue_next = b->queue_next;
    else
        q->youngest = b->queue_next;
    if (b->queue_next != NULL)
        b->queue_next->queue_prev = b->queue_prev;
    else
        q->oldest = b->queue_prev;
    q->bytes -= b->charge;
    q->count--;
}

/* ---- the table and the lists of files ------------------------------------------------------------------------- */

static void table_add(struct cache_shard *s, struct cache_block *b)
{
    struct cache_block **bucket = bucket_of(s, b->hash), **list = file_list_of(s, b->file);
    b->bucket_next = *bucket;
    *bucket = b;
    b->file_prev = NULL;
    b->file_next = *list;
    if (*list != NULL)
        (*list)->file_prev = b;
    *list = b;
}

static void table_remove(struct cache_shard *s, struct cache_block *b)
{
    struct cache_block **link = bucket_of(s, b->hash);
    while (*link != b)
        link = &(*link)->bucket_next;
    *link = b->bucket_next;
    if (b->file_prev != NULL)
        b->file_prev->file_next = b->file_next;
    else
        *file_list_of(s, b->file) = b->file_next;
    if (b->file_next != NULL)
        b->file_next->file_prev = b->file_prev;
}

/* ---- references ----------------------------------------------------------------------------------------------- */

static size_t data_pages(size_t size)
{
    return (size_t)(align_up(size, PAGE_BYTES) / PAGE_BYTES);
}

/* REQUIRES: mu is held; nobody has a reference, and it is not in the cache. */
static void block_free_locked(struct cache_shard *s, struct cache_block *b)
{
    pages_give(&s->pages, b->data, data_pages(b->size), b->chunk);
    atomic_fetch_sub(&s->bytes, b->charge);
    mem_free(b);
}

/* REQUIRES: mu is held; it is in the cache. */
static void block_pin_locked(struct cache_shard *s, struct cache_block *b)
{
    /* relaxed: the mutex orders it against the removal, and the count against other readers needs no order */
    if (atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed) == REFS_CACHED)
        atomic_fetch_add(&s->pinned, b->charge); /* [I3] */
}

/* Out of the cache; freed unless somebody has a reference. REQUIRES: mu is held; it is in the cache. */
static void block_remove_locked(struct cache_shard *s, struct cache_block *b)
{
    table_remove(s, b);
    queue_remove(s, b);
    /* acquire: what the last reader did with it comes before it is freed */
    if (atomic_fetch_and_explicit(&b->refs, ~REFS_CACHED, memory_order_acq_rel) == REFS_CACHED)
        block_free_locked(s, b);
}

/* ---- eviction ------------------------------------------------------------------------------------------------- */

static bool is_pinned(struct cache_block *b)
{
    return atomic_load_explicit(&b->refs, memory_order_relaxed) != REFS_CACHED; /* [I2]: it stays unpinned */
}

/* Looks at the oldest block of the small queue: it goes to the main queue, or it is evicted (true). */
static bool small_advance(struct cache_shard *s)
{
    struct cache_block *b = s->small.oldest;
    if (b->hits >= HITS_TO_STAY || is_pinned(b)) {
        queue_remove(s, b);
        b->hits = 0;
        queue_push(s, b, true);
        return false;
    }
    ghost_add(&s->ghost, b->hash);
    block_remove_locked(s, b);
    return true;
}

/* Looks at the oldest block of the main queue: it gets another turn, or it is evicted (true). */
static bool main_advance(struct cache_shard *s)
{
    struct cache_block *b = s->main.oldest;
    if (b->hits > 0 || is_pinned(b)) {
        queue_remove(s, b);
        b->hits -= b->hits > 0;
        queue_push(s, b, true);
        return false;
    }
    block_remove_locked(s, b);
    return true;
}

/* False: all that is left is pinned. REQUIRES: mu is held. */
static bool evict_one_locked(struct cache_shard *s)
{
    if (atomic_load(&s->bytes) <= atomic_load(&s->pinned))
        return false; /* [I4]; without a look at each block */
    uint64_t small_max = atomic_load_explicit(&s->bytes_max, memory_order_relaxed) / SMALL_SHARE;
    for (uint64_t looks = LOOKS_PER_BLOCK * (s->small.count + s->main.count); looks > 0; looks--) {
        bool from_small = s->small.count > 0 && (s->small.bytes >= small_max || s->main.count == 0);
        if (from_small ? small_advance(s) : main_advance(s)) {
            s->evictions++;
            return true;
        }
    }
    return false;
}

/* Until `more` bytes fit, or nothing can be evicted. REQUIRES: mu is held. */
static void make_room_locked(struct cache_shard *s, uint64_t more)
{
    while (atomic_load(&s->bytes) + more > atomic_load(&s->bytes_max) && evict_one_locked(s))
        continue;
}

/* ---- sizes of tables --------------------------------------------------------------------------------------------- */

/* What of a shard depends on its size. */
struct shard_tables {
    struct cache_block **buckets;
    uint64_t bucket_count;
    struct ghost ghost;
};

static void shard_tables_deinit(struct shard_tables *t)
{
    mem_free(t->buckets);
    ghost_deinit(&t->ghost);
}

/* A bucket and two slots of the ghost for each page: 24 bytes or somewhat more, touched only as far as they are used.
 */
static enum nokv_status shard_tables_init(struct shard_tables *t, uint64_t shard_bytes)
{
    *t = (struct shard_tables){.bucket_count = 16};
    while (t->bucket_count * PAGE_BYTES < shard_bytes)
        t->bucket_count *= 2;
    t->buckets = mem_zalloc(t->bucket_count * sizeof t->buckets[0]);
    if (t->buckets == NULL)
        return FAIL(NO_MEMORY, "could not allocate the table of a cache of %llu bytes",
                    (unsigned long long)shard_bytes);
    return ghost_init(&t->ghost, shard_bytes / PAGE_BYTES);
}

/* Exchanges the tables of a shard for `t`, which has the old ones afterwards. REQUIRES: mu is held. */
static void shard_tables_swap_locked(struct cache_shard *s, struct shard_tables *t)
{
    struct shard_tables old = {.buckets = s->buckets, .bucket_count = s->bucket_mask + 1, .ghost = s->ghost};
    s->buckets = t->buckets;
    s->bucket_mask = t->bucket_count - 1;
    s->ghost = t->ghost;
    for (uint64_t i = 0; old.buckets != NULL && i < old.bucket_count; i++) {
        struct cache_block *next, *b = old.buckets[i];
        for (; b != NULL; b = next) {
            next = b->bucket_next;
            b->bucket_next = *bucket_of(s, b->hash);
            *bucket_of(s, b->hash) = b;
        }
    }
    *t = old;
}

/* [I5] REQUIRES: mu is held. */
static enum nokv_status shard_tables_need_locked(struct cache_shard *s)
{
    struct shard_tables tables;
    if (LIKELY(s->buckets != NULL))
        return NOKV_OK;
    enum nokv_status status = shard_tables_init(&tables, atomic_load_explicit(&s->bytes_max, memory_order_relaxed));
    if (status == NOKV_OK)
        shard_tables_swap_locked(s, &tables);
    shard_tables_deinit(&tables);
    return status;
}

/* ---- blocks --------------------------------------------------------------------------------------------------- */

struct cache_block *cache_find(struct cache *c, uint64_t file, uint64_t page)
{
    uint64_t hash = name_hash(file, page);
    struct cache_shard *s = shard_of(c, hash);
    mutex_lock(&s->mu);
    struct cache_block *b = lookup_locked(s, hash, file, page);
    if (b != NULL) {
        b->hits += b->hits < HITS_MAX;
        s->hits++;
        block_pin_locked(s, b);
    } else {
        s->misses++;
    }
    mutex_unlock(&s->mu);
    return b;
}

/* REQUIRES: mu is held. */
static enum nokv_status data_take_locked(struct cache_shard *s, struct cache_block *b)
{
    TRY(shard_tables_need_locked(s));
    make_room_locked(s, b->charge);
    struct page_chunk *chunk = NULL;
    b->data = pages_take(&s->pages, data_pages(b->size), &chunk);
    if (b->data == NULL)
        return FAIL(NO_MEMORY, "could not allocate a cached block of %zu bytes", b->size);
    b->chunk = chunk;
    atomic_fetch_add(&s->pinned, b->charge); /* first: never too small [I3] */
    atomic_fetch_add(&s->bytes, b->charge);
    return NOKV_OK;
}

enum nokv_status cache_block_create(struct cache *c, uint64_t file, uint64_t page, size_t size,
                                    struct cache_block **out_block)
{
    if (size == 0)
        return FAIL(INVALID, "a cached block of 0 bytes (file %llu, page %llu)", (unsigned long long)file,
                    (unsigned long long)page);
    if (size > CACHE_BLOCK_BYTES_MAX)
        return FAIL(TOO_LARGE, "a cached block of %zu bytes (file %llu, page %llu): %llu is the limit", size,
                    (unsigned long long)file, (unsigned long long)page, (unsigned long long)CACHE_BLOCK_BYTES_MAX);
    struct cache_block *b CLEANUP(mem_free_ptr) = mem_zalloc(sizeof *b);
    if (b == NULL)
        return FAIL(NO_MEMORY, "could not allocate the header of a cached block");
    b->size = size;
    b->file = file;
    b->page = page;
    b->hash = name_hash(file, page);
    b->charge = data_pages(size) * PAGE_BYTES + sizeof *b;
    b->shard = shard_of(c, b->hash);
    atomic_init(&b->refs, 1);
    mutex_lock(&b->shard->mu);
    enum nokv_status status = data_take_locked(b->shard, b);
    mutex_unlock(&b->shard->mu);
    TRY(status);
    *out_block = TAKE(b);
    return NOKV_OK;
}

/* REQUIRES: mu is held; no block of that name is in the cache. */
static void block_keep_locked(struct cache_shard *s, struct cache_block *b)
{
    bool is_known = ghost_take(&s->ghost, b->hash, s->main.count);
    b->hits = 0;
    table_add(s, b);
    queue_push(s, b, is_known);
    s->inserts++;
    /* release: who finds it sees what its creator wrote (the mutex says so too) */
    uint64_t before = atomic_fetch_or_explicit(&b->refs, REFS_CACHED, memory_order_release);
    ASSERT((before & REFS_CACHED) == 0 && before > 0);
}

struct cache_block *cache_insert(struct cache *c, struct cache_block *block)
{
    struct cache_shard *s = block->shard;
    ASSERT(s == shard_of(c, block->hash));
    mutex_lock(&s->mu);
    struct cache_block *other = lookup_locked(s, block->hash, block->file, block->page);
    ASSERT(other != block);
    if (other != NULL)
        block_pin_locked(s, other);
    else if (block->charge <= atomic_load_explicit(&s->bytes_max, memory_order_relaxed))
        block_keep_locked(s, block);
    make_room_locked(s, 0);
    mutex_unlock(&s->mu);
    if (other == NULL)
        return block;
    cache_block_unref(block);
    return other;
}

void cache_block_ref(struct cache_block *b)
{
    uint64_t before = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    ASSERT((before & ~REFS_CACHED) > 0);
}

void cache_block_unref(struct cache_block *b)
{
    struct cache_shard *s = b->shard; /* b may be gone after the subtraction, and somebody else's charge is needed */
    uint64_t charge = b->charge;
    /* release: our reads of it come before it is freed; acquire: so do those of the others */
    uint64_t before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    ASSERT((before & ~REFS_CACHED) > 0);
    if ((before & ~REFS_CACHED) > 1)
        return;
    if (before == 1) { /* the last, and not in the cache */
        mutex_lock(&s->mu);
        block_free_locked(s, b);
        atomic_fetch_sub(&s->pinned, charge);
        mutex_unlock(&s->mu);
        return;
    }
    atomic_fetch_sub(&s->pinned, charge);
    if (LIKELY(atomic_load(&s->bytes) <= atomic_load(&s->bytes_max))) /* [I4] */
        return;
    mutex_lock(&s->mu);
    make_room_locked(s, 0);
    mutex_unlock(&s->mu);
}

void cache_forget(struct cache *c, uint64_t file)
{
    for (unsigned i = 0; i < c->shard_count; i++) {
        struct cache_shard *s = c->shards[i];
        mutex_lock(&s->mu);
        struct cache_block *next, *b = *file_list_of(s, file);
        for (; b != NULL; b = next) {
            next = b->file_next;
            if (b->file == file)
                block_remove_locked(s, b);
        }
        mutex_unlock(&s->mu);
    }
}

/* ---- sizes ---------------------------------------------------------------------------------------------------- */

static enum nokv_status bytes_max_check(uint64_t bytes_max)
{
    if (bytes_max >= CACHE_BYTES_MIN && bytes_max <= CACHE_BYTES_MAX)
        return NOKV_OK;
    return FAIL(INVALID, "a block cache of %llu bytes: from %llu to %llu are possible", (unsigned long long)bytes_max,
                (unsigned long long)CACHE_BYTES_MIN, (unsigned long long)CACHE_BYTES_MAX);
}

static enum nokv_status shard_create(uint64_t bytes_max, struct cache_shard **out_shard)
{
    struct cache_shard *s = mem_alloc_aligned(CACHE_LINE, sizeof *s);
    if (s == NULL)
        return FAIL(NO_MEMORY, "could not allocate a shard of the block cache");
    memset(s, 0, sizeof *s);
    mutex_init(&s->mu);
    pages_init(&s->pages, bytes_max);
    atomic_init(&s->bytes_max, bytes_max);
    *out_shard = s;
    return NOKV_OK;
}

static void shard_destroy(struct cache_shard *s)
{
    if (s == NULL)
        return;
    while (s->small.oldest != NULL)
        block_remove_locked(s, s->small.oldest);
    while (s->main.oldest != NULL)
        block_remove_locked(s, s->main.oldest);
    ASSERT(atomic_load(&s->bytes) == 0 && atomic_load(&s->pinned) == 0); /* otherwise a block is still referenced */
    pages_deinit(&s->pages);
    mem_free(s->buckets);
    ghost_deinit(&s->ghost);
    mutex_deinit(&s->mu);
    mem_free(s);
}

void cache_destroy(struct cache *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i < c->shard_count; i++)
        shard_destroy(c->shards[i]);
    mem_free(c);
}

static void cache_destroy_ptr(struct cache **c)
{
    cache_destroy(*c);
}

enum nokv_status cache_create(uint64_t bytes_max, struct cache **out_cache)
{
    TRY(bytes_max_check(bytes_max));
    struct cache *c CLEANUP(cache_destroy_ptr) = mem_zalloc(sizeof *c);
    if (c == NULL)
        return FAIL(NO_MEMORY, "could not allocate the block cache");
    c->shard_count = 1;
    while (c->shard_count < CACHE_SHARDS_MAX && bytes_max / (c->shard_count * 2) >= SHARD_BYTES_MIN)
        c->shard_count *= 2;
    atomic_init(&c->bytes_max, bytes_max);
    for (unsigned i = 0; i < c->shard_count; i++)
        TRY(shard_create(bytes_max / c->shard_count, &c->shards[i]));
    *out_cache = TAKE(c);
    return NOKV_OK;
}

enum nokv_status cache_resize(struct cache *c, uint64_t bytes_max)
{
    TRY(bytes_max_check(bytes_max));
    struct shard_tables tables[CACHE_SHARDS_MAX] = {0};
    uint64_t shard_bytes = bytes_max / c->shard_count;
    enum nokv_status status = NOKV_OK;
    for (unsigned i = 0; i < c->shard_count && status == NOKV_OK; i++)
        status = shard_tables_init(&tables[i], shard_bytes);
    for (unsigned i = 0; i < c->shard_count && status == NOKV_OK; i++) {
        struct cache_shard *s = c->shards[i];
        mutex_lock(&s->mu);
        if (s->buckets != NULL) /* otherwise they are made for the size that there is then [I5] */
            shard_tables_swap_locked(s, &tables[i]);
        atomic_store(&s->bytes_max, shard_bytes);
        make_room_locked(s, 0);
        mutex_unlock(&s->mu);
    }
    for (unsigned i = 0; i < c->shard_count; i++)
        shard_tables_deinit(&tables[i]);
    if (status == NOKV_OK)
        atomic_store_explicit(&c->bytes_max, bytes_max, memory_order_relaxed);
    return status;
}

uint64_t cache_bytes_max(const struct cache *c)
{
    return atomic_load_explicit(&c->bytes_max, memory_order_relaxed);
}

void cache_stats_get(struct cache *c, struct cache_stats *out_stats)
{
    struct cache_stats sum = {.bytes_max = cache_bytes_max(c)};
    for (unsigned i = 0; i < c->shard_count; i++) {
        struct cache_shard *s = c->shards[i];
        mutex_lock(&s->mu);
        sum.bytes += atomic_load(&s->bytes);
        sum.blocks += s->small.count + s->main.count;
        sum.hits += s->hits;
        sum.misses += s->misses;
        sum.inserts += s->inserts;
        sum.evictions += s->evictions;
        sum.pinned_bytes += atomic_load(&s->pinned);
        sum.reserved_bytes += s->pages.reserved_bytes;
        mutex_unlock(&s->mu);
    }
    *out_stats = sum;
}
