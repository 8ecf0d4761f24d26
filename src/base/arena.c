// SPDX-License-Identifier: Apache-2.0
/*
 * A list of chunks; the newest serves small pieces from its front. Memory comes back only in arena_deinit(). Bytes of a
 * piece are whatever stood there before.
 * The first chunks are small and grow up to chunk_size, so that a database of ten keys does not hold megabytes.
 */
#include "base/arena.h"

#include <sys/mman.h>

#include "base/alloc.h"

struct arena_chunk {
    struct arena_chunk *older;
    size_t size; /* with this header */
    uint8_t pad[48];
};
static_assert(sizeof(struct arena_chunk) == CACHE_LINE, "pieces begin on a cache line");

enum { HUGE_PAGE = 2 << 20, FIRST_CHUNK = 64 << 10, READY_CHUNKS = 4 };

/* ---- chunks ----------------------------------------------------------------------------------------------------- */

static struct arena_chunk *chunk_alloc(size_t size)
{
    bool huge = size >= HUGE_PAGE;
    struct arena_chunk *chunk = huge ? mem_alloc_pages(HUGE_PAGE, size) : mem_alloc_aligned(CACHE_LINE, size);
    if (chunk == NULL)
        return NULL;
    if (huge)
        (void)madvise(chunk, size, MADV_HUGEPAGE); /* a wish: kernels without it say EINVAL */
    chunk->size = size;
    return chunk;
}

static void chunk_free(struct arena_chunk *chunk)
{
    if (chunk->size >= HUGE_PAGE)
        mem_free_pages(chunk, chunk->size);
    else
        mem_free(chunk);
}

/* ---- pool ------------------------------------------------------------------------------------------------------- */

void arena_pool_init(struct arena_pool *pool, size_t held_max, void (*wanted)(void *arg), void *wanted_arg)
{
    *pool = (struct arena_pool){.held_max = held_max, .wanted = wanted, .wanted_arg = wanted_arg};
    mutex_init(&pool->mu);
}

void arena_pool_deinit(struct arena_pool *pool)
{
    arena_pool_trim(pool);
    ASSERT(pool->held_bytes == 0);
    mutex_deinit(&pool->mu);
}

static void ready_push_locked(struct arena_pool *pool, struct arena_chunk *chunk)
{
    chunk->older = pool->ready;
    pool->ready = chunk;
    pool->ready_count++;
}

static struct arena_chunk *ready_pop_locked(struct arena_pool *pool)
{
    struct arena_chunk *chunk = pool->ready;
    if (chunk) {
        pool->ready = chunk->older;
        pool->ready_count--;
    }
    return chunk;
}

/* A ready one, or a new one. */
static struct arena_chunk *pool_take(struct arena_pool *pool)
{
    mutex_lock(&pool->mu);
    struct arena_chunk *chunk = ready_pop_locked(pool);
    pool->is_idle = false;
    bool ask = pool->wanted && !pool->is_asked && pool->ready_count < READY_CHUNKS / 2;
    pool->is_asked |= ask;
    mutex_unlock(&pool->mu);
    if (ask)
        pool->wanted(pool->wanted_arg);
    if (chunk || (chunk = chunk_alloc(HUGE_PAGE)) == NULL)
        return chunk;
    mutex_lock(&pool->mu);
    pool->held_bytes += HUGE_PAGE;
    mutex_unlock(&pool->mu);
    return chunk;
}

static void pool_give(struct arena_pool *pool, struct arena_chunk *chunk)
{
    mutex_lock(&pool->mu);
    bool is_kept = !pool->is_idle && pool->held_bytes <= pool->held_max;
    if (is_kept)
        ready_push_locked(pool, chunk);
    else
        pool->held_bytes -= HUGE_PAGE;
    mutex_unlock(&pool->mu);
    if (!is_kept)
        chunk_free(chunk);
}

void arena_pool_fill(struct arena_pool *pool)
{
    for (;;) {
        mutex_lock(&pool->mu);
        pool->is_asked = false;
        bool is_short = !pool->is_idle && pool->ready_count < READY_CHUNKS && pool->held_bytes < pool->held_max;
        if (is_short)
            pool->held_bytes += HUGE_PAGE;
        mutex_unlock(&pool->mu);
        if (!is_short)
            return;
        struct arena_chunk *chunk = chunk_alloc(HUGE_PAGE);
        for (size_t off = 4096; chunk && off < HUGE_PAGE; off += 4096)
            ((volatile uint8_t *)chunk)[off] = 0;
        mutex_lock(&pool->mu);
        if (chunk)
            ready_push_locked(pool, chunk);
        else
            pool->held_bytes -= HUGE_PAGE;
        mutex_unlock(&pool->mu);
        if (chunk == NULL)
            return;
    }
}

bool arena_pool_is_held(struct arena_pool *pool)
{
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&pool->mu);
    (void)held;
    return pool->ready != NULL;
}

void arena_pool_trim(struct arena_pool *pool)
{
    mutex_lock(&pool->mu);
    struct arena_chunk *chunk = TAKE(pool->ready);
    pool->is_idle = true;
    pool->held_bytes -= pool->ready_count * HUGE_PAGE;
    pool->ready_count = 0;
    mutex_unlock(&pool->mu);
    while (chunk) {
        struct arena_chunk *next = chunk->older;
        chunk_free(chunk);
        chunk = next;
    }
}

/* ---- arena ------------------------------------------------------------------------------------------------------ */

void arena_init(struct arena *a, size_t chunk_size, struct arena_pool *pool)
{
    ASSERT(chunk_size >= 4096);
    memset(a, 0, sizeof *a);
    a->chunk_size = chunk_size;
    a->pool = pool;
}

void arena_deinit(struct arena *a)
{
    while (a->chunks) {
        struct arena_chunk *older = a->chunks->older;
        if (a->pool && a->chunks->size == HUGE_PAGE)
            pool_give(a->pool, a->chunks);
        else
            chunk_free(a->chunks);
        a->chunks = older;
    }
    memset(a, 0, sizeof *a);
}

static struct arena_chunk *chunk_create(struct arena *a, size_t size)
{
    if (size >= HUGE_PAGE)
        size = align_up(size, HUGE_PAGE);
    struct arena_chunk *chunk = a->pool && size == HUGE_PAGE ? pool_take(a->pool) : chunk_alloc(size);
    if (chunk == NULL)
        return NULL;
    chunk->older = a->chunks;
    a->chunks = chunk;
    atomic_fetch_add_explicit(&a->held_bytes, size, memory_order_relaxed);
    return chunk;
}

void *arena_alloc_slow(struct arena *a, size_t size, size_t align)
{
    ASSERT(is_power_of_two(align) && align <= CACHE_LINE);
    if (size > SIZE_MAX / 4)
        return NULL;
    if (size > a->chunk_size / 4) { /* its own chunk; the current one stays in use */
        struct arena_chunk *own = chunk_create(a, sizeof *own + size);
        if (own == NULL)
            return NULL;
        atomic_fetch_add_explicit(&a->used_bytes, size, memory_order_relaxed);
        return own + 1;
    }
    size_t held = atomic_load_explicit(&a->held_bytes, memory_order_relaxed);
    size_t wanted = u64_min(a->chunk_size, u64_max(FIRST_CHUNK, held));
    wanted = u64_max(wanted, align_up(size + 2 * sizeof(struct arena_chunk), 4096));
    struct arena_chunk *chunk = chunk_create(a, wanted);
    if (chunk == NULL)
        return NULL;
    a->next = (uint8_t *)(chunk + 1);
    a->end = (uint8_t *)chunk + chunk->size;
    return arena_alloc(a, size, align);
}
