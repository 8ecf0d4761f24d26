// SPDX-License-Identifier: Apache-2.0
/*
 * Runs of pages out of chunks.
 *
 * A chunk is memory straight from the kernel, with one bit per page: set when the page is free. A run lies within one
 * word of 64 bits, so finding one is a few shifts. A run of more than 64 pages is memory of its own and has no chunk.
 *
 * [I1] A chunk is on the list `open` exactly while it has a free page.
 * [I2] At most one chunk is wholly free (`idle_chunks`); a second one goes back to the kernel.
 *
 * Pages are touched only when a block uses them, and the lowest free ones of a chunk are used first: a chunk that is
 * half used costs half of its memory until each page was used once.
 *
 * Threading: the owner's mutex. Failure: pages_take returns NULL and nothing has changed.
 * Why not the heap: a block that is aligned to a page and as large as one leaves a hole of almost a page before the
 * next one, because the heap's own header stands between: twice the memory. Why not a mapping per block: each is a
 * system call and, after some evictions, an entry of its own in the kernel's list, which has 65,530 by default.
 */
#include "cache/pages.h"

#include "base/alloc.h"

enum {
    WORD_PAGES = 64,
    WORDS_MAX = 8,  /* a chunk of 2 MiB */
    LOOKS_MAX = 16, /* chunks that are looked through before a new one is taken */
};
#define LARGE_POOL_BYTES (16ull << 20)

struct page_chunk {
    uint8_t *data;
    struct page_chunk *prev, *next;
    unsigned free_pages;
    uint64_t free[WORDS_MAX]; /* a bit that is set is a free page; words that the pool does not use are 0 */
};

static unsigned chunk_pages(const struct page_pool *pool)
{
    return pool->words * WORD_PAGES;
}

static uint64_t run_mask(size_t count)
{
    return count == WORD_PAGES ? UINT64_MAX : (1ull << count) - 1;
}

/* The first of `count` set bits in a row, or -1. */
static int word_find_run(uint64_t word, size_t count)
{
    uint64_t begins = word; /* bit i: the bits from i on, as many as were looked at, are set */
    for (size_t k = 1; k < count && begins != 0; k++)
        begins &= word >> k;
    return begins ? __builtin_ctzll(begins) : -1;
}

/* ---- chunks --------------------------------------------------------------------------------------------------- */

static void open_push(struct page_pool *pool, struct page_chunk *chunk)
{
    chunk->prev = NULL;
    chunk->next = pool->open;
    if (pool->open != NULL)
        pool->open->prev = chunk;
    pool->open = chunk;
}

static void open_remove(struct page_pool *pool, struct page_chunk *chunk)
{
    if (chunk->prev != NULL)
        chunk->prev->next = chunk->next;
    else
        pool->open = chunk->next;
    if (chunk->next != NULL)
        chunk->next->prev = chunk->prev;
}

static struct page_chunk *chunk_create(struct page_pool *pool)
{
    struct page_chunk *chunk = mem_zalloc(sizeof *chunk);
    if (chunk == NULL)
        return NULL;
    size_t size = (size_t)chunk_pages(pool) * PAGE_BYTES;
    chunk->data = mem_alloc_pages(PAGE_BYTES, size);
    if (chunk->data == NULL) {
        mem_free(chunk);
        return NULL;
    }
    chunk->free_pages = chunk_pages(pool);
    memset(chunk->free, 0xff, pool->words * sizeof chunk->free[0]);
    pool->reserved_bytes += size;
    pool->idle_chunks++;
    open_push(pool, chunk);
    return chunk;
}

/* REQUIRES: wholly free. */
static void chunk_destroy(struct page_pool *pool, struct page_chunk *chunk)
{
    size_t size = (size_t)chunk_pages(pool) * PAGE_BYTES;
    open_remove(pool, chunk);
    mem_free_pages(chunk->data, size);
    mem_free(chunk);
    pool->reserved_bytes -= size;
    pool->idle_chunks--;
}

/* NULL: it has no such run. */
static uint8_t *chunk_take(struct page_pool *pool, struct page_chunk *chunk, size_t count)
{
    for (unsigned w = 0; w < pool->words; w++) {
        int at = word_find_run(chunk->free[w], count);
        if (at < 0)
            continue;
        pool->idle_chunks -= chunk->free_pages == chunk_pages(pool);
        chunk->free[w] &= ~(run_mask(count) << at);
        chunk->free_pages -= (unsigned)count;
        if (chunk->free_pages == 0)
            open_remove(pool, chunk); /* [I1] */
        return chunk->data + ((size_t)w * WORD_PAGES + (size_t)at) * PAGE_BYTES;
    }
    return NULL;
}

/* ---- the pool ------------------------------------------------------------------------------------------------- */

void pages_init(struct page_pool *pool, uint64_t bytes)
{
    *pool = (struct page_pool){.words = bytes >= LARGE_POOL_BYTES ? WORDS_MAX : 1};
}

void pages_deinit(struct page_pool *pool)
{
    while (pool->open != NULL) {
        ASSERT(pool->open->free_pages == chunk_pages(pool));
        chunk_destroy(pool, pool->open);
    }
    ASSERT(pool->reserved_bytes == 0 && pool->idle_chunks == 0);
}

uint8_t *pages_take(struct page_pool *pool, size_t count, struct page_chunk **out_chunk)
{
    ASSERT(count > 0);
    if (count > WORD_PAGES) {
        uint8_t *own = mem_alloc_pages(PAGE_BYTES, count * PAGE_BYTES);
        pool->reserved_bytes += own ? count * PAGE_BYTES : 0;
        *out_chunk = NULL;
        return own;
    }
    unsigned looks = 0;
    struct page_chunk *chunk = pool->open;
    for (; chunk != NULL && looks < LOOKS_MAX; chunk = chunk->next, looks++) {
        uint8_t *data = chunk_take(pool, chunk, count);
        if (data == NULL)
            continue;
        *out_chunk = chunk;
        return data;
    }
    chunk = chunk_create(pool);
    if (chunk == NULL)
        return NULL;
    *out_chunk = chunk;
    return chunk_take(pool, chunk, count);
}

void pages_give(struct page_pool *pool, uint8_t *data, size_t count, struct page_chunk *chunk)
{
    if (chunk == NULL) {
        mem_free_pages(data, count * PAGE_BYTES);
        pool->reserved_bytes -= count * PAGE_BYTES;
        return;
    }
    size_t first = (size_t)(data - chunk->data) / PAGE_BYTES;
    ASSERT(first + count <= chunk_pages(pool));
    uint64_t bits = run_mask(count) << first % WORD_PAGES;
    ASSERT((chunk->free[first / WORD_PAGES] & bits) == 0);
    chunk->free[first / WORD_PAGES] |= bits;
    if (chunk->free_pages == 0)
        open_push(pool, chunk); /* [I1] */
    chunk->free_pages += (unsigned)count;
    if (chunk->free_pages < chunk_pages(pool))
        return;
    if (++pool->idle_chunks > 1)
        chunk_destroy(pool, chunk); /* [I2] */
}
