// SPDX-License-Identifier: Apache-2.0
/*
 * base/arena.h - memory that is handed out in pieces and given back as a whole.
 *
 * One thread allocates; any thread may read arena_bytes(). Pieces never move. Chunks of 2 MiB and more are aligned to
 * 2 MiB and offered to transparent huge pages, because a memtable is read at random.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdatomic.h>

#include "base/base.h"

struct arena_chunk;

struct arena {
    /* owned by the allocating thread */
    struct arena_chunk *chunks;
    uint8_t *next; /* free space of the newest small chunk */
    uint8_t *end;
    size_t chunk_size;
    /* atomic: written by the allocating thread, read by anyone, relaxed (a figure) */
    _Atomic size_t used_bytes; /* handed out */
    _Atomic size_t held_bytes; /* taken from the heap */
};

/* `chunk_size`: 4 KiB or more. A piece larger than a quarter of it gets a chunk of its own. */
void arena_init(struct arena *a, size_t chunk_size);
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
