// SPDX-License-Identifier: Apache-2.0
/*
 * A list of chunks; the newest serves small pieces from its front. Memory comes back only in arena_deinit().
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

enum { HUGE_PAGE = 2 << 20, FIRST_CHUNK = 64 << 10 };

void arena_init(struct arena *a, size_t chunk_size)
{
    ASSERT(chunk_size >= 4096);
    memset(a, 0, sizeof *a);
    a->chunk_size = chunk_size;
}

void arena_deinit(struct arena *a)
{
    while (a->chunks) {
        struct arena_chunk *older = a->chunks->older;
        if (a->chunks->size >= HUGE_PAGE)
            mem_free_pages(a->chunks, a->chunks->size);
        else
            mem_free(a->chunks);
        a->chunks = older;
    }
    memset(a, 0, sizeof *a);
}

static struct arena_chunk *chunk_create(struct arena *a, size_t size)
{
    bool huge = size >= HUGE_PAGE;
    if (huge)
        size = align_up(size, HUGE_PAGE);
    struct arena_chunk *chunk = huge ? mem_alloc_pages(HUGE_PAGE, size) : mem_alloc_aligned(CACHE_LINE, size);
    if (chunk == NULL)
        return NULL;
    if (huge)
        (void)madvise(chunk, size, MADV_HUGEPAGE); /* a wish: kernels without it say EINVAL */
    chunk->size = size;
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
