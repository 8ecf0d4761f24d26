// SPDX-License-Identifier: Apache-2.0
/*
 * base/arena.h - memory that is handed out in pieces and given back as a whole.
 *
 * One thread allocates; any thread may read arena_bytes(). Pieces never move. Chunks of 2 MiB and more are aligned to
 * 2 MiB and offered to transparent huge pages, because a memtable is read at random.
 *
 * To touch such a chunk for the first time costs milliseconds on a virtual machine whose host has to find the memory
 * (measured: 4.5 ms per 2 MiB, a quarter of a fill). A pool keeps chunks that one arena gave back for the next one, and
 * has some ready that another thread has touched.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdatomic.h>

#include "base/thread.h"

struct arena_chunk;

/* Chunks of 2 MiB for the arenas that share it. Any thread. */
struct arena_pool {
    /* set at creation, then constant */
    size_t held_max;           /* what arenas give back is kept while all chunks together are not more than that */
    void (*wanted)(void *arg); /* called by an allocation: somebody is to call arena_pool_fill; may be NULL */
    void *wanted_arg;
    struct mutex mu;
    /* protected by mu */
    struct arena_chunk *ready; /* touched */
    size_t ready_count;
    size_t held_bytes; /* of all chunks, those in arenas included */
    bool is_asked;     /* `wanted` was called, nobody has come yet */
    bool is_idle;      /* trimmed, and nothing was taken since: what comes back is freed */
};

void arena_pool_init(struct arena_pool *pool, size_t held_max, void (*wanted)(void *arg), void *wanted_arg);
/* REQUIRES: no arena is left that uses it. */
void arena_pool_deinit(struct arena_pool *pool);
/* Touch new chunks until a few are ready. What cannot be had is left out. */
void arena_pool_fill(struct arena_pool *pool);
/* Is anything ready? */
bool arena_pool_is_held(struct arena_pool *pool);
/* Give back what is ready, and what still comes back until an arena takes a chunk again. */
void arena_pool_trim(struct arena_pool *pool);

struct arena {
    /* owned by the allocating thread */
    struct arena_chunk *chunks;
    uint8_t *next; /* free space of the newest small chunk */
    uint8_t *end;
    size_t chunk_size;
    struct arena_pool *pool; /* NULL: none */
    /* atomic: written by the allocating thread, read by anyone, relaxed (a figure) */
    _Atomic size_t used_bytes; /* handed out */
    _Atomic size_t held_bytes; /* taken from the heap */
};

/* `chunk_size`: 4 KiB or more. A piece larger than a quarter of it gets a chunk of its own. `pool`: outlives it; NULL.
 */
void arena_init(struct arena *a, size_t chunk_size, struct arena_pool *pool);
void arena_deinit(struct arena *a);

void *arena_alloc_slow(struct arena *a, size_t size, size_t align);

/* `align` is a power of two, at most 64. NULL when memory is short. */
static inline void *arena_alloc(struct arena *a, size_t size, size_t align)
{
    uintptr_t p = align_up((uintptr_t)a->next, align);
    if (UNLIKELY(p > (uintptr_t)a->end || size > (uintptr_t)a->end - p))
        return arena_alloc_slow(a, size, align);
    a->next = (uint8_t *)(p + size);
    atomic_store_explicit(&a->used_bytes, atomic_load_explicit(&a->used_bytes, memory_order_relaxed) + size,
                          memory_order_relaxed);
    return (void *)p;
}

/* Bytes handed out: what a memtable counts against its limit. */
static inline size_t arena_bytes(const struct arena *a)
{
    return atomic_load_explicit(&a->used_bytes, memory_order_relaxed);
}

#endif
