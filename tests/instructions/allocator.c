// SPDX-License-Identifier: Apache-2.0
/*
 * allocator.c - a malloc whose cost per call does not depend on what was allocated before.
 *
 * What glibc's costs varies with the state of its lists: creating an iterator took from 5,900 to 6,600 instructions,
 * depending on a few unrelated allocations at the start. Here a block is the next power of two, taken from the list of
 * its class or cut from the front of one large mapping: the number of calls shows in the count, luck does not.
 *
 * For the one thread of instructions.c. A block begins with a header of 16 bytes before what the caller sees.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_BYTES (UINT64_C(2) << 30) /* of addresses; memory is what is touched */

#define EXPORTED __attribute__((visibility("default"), noinline))

enum { HEADER_SIZE = 16, CLASS_MIN = 5, CLASSES = 32 };

struct header {
    uint64_t class; /* the block has 1 << class bytes */
    void *block;    /* its begin: before the header by more than 0 when the caller wanted an alignment */
};

struct list {
    struct list *next;
};

static_assert(sizeof(struct header) == HEADER_SIZE, "what the caller sees is aligned as malloc promises");

static struct list *lists[CLASSES];
static uint8_t *arena, *arena_end;

/* Never given back: the lists keep what was freed. */
static void *block_cut(size_t size)
{
    if (!arena) {
        void *p = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return NULL;
        arena = p;
        arena_end = arena + ARENA_BYTES;
    }
    if (size > (size_t)(arena_end - arena))
        return NULL;
    uint8_t *block = arena;
    arena += size;
    return block;
}

static void *allocate(size_t align, size_t size)
{
    size_t room = HEADER_SIZE + (align > HEADER_SIZE ? align : 0);
    if (size >= ARENA_BYTES || align >= ARENA_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    unsigned class = 64 - (unsigned)__builtin_clzl(size + room - 1);
    class = class < CLASS_MIN ? CLASS_MIN : class;
    void *block = class < CLASSES ? lists[class] : NULL;
    if (block)
        lists[class] = lists[class]->next;
    else
        block = block_cut((size_t)1 << class);
    if (!block) {
        errno = ENOMEM;
        return NULL;
    }
    uintptr_t seen = (uintptr_t)block + HEADER_SIZE;
    seen = (seen + align - 1) & ~(align - 1);
    ((struct header *)seen)[-1] = (struct header){class, block};
    return (void *)seen;
}

EXPORTED void *malloc(size_t size)
{
    return allocate(HEADER_SIZE, size);
}

EXPORTED void free(void *p)
{
    if (!p)
        return;
    struct header header = ((struct header *)p)[-1];
    struct list *block = header.block;
    block->next = lists[header.class];
    lists[header.class] = block;
}

EXPORTED void *calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    void *p = allocate(HEADER_SIZE, bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

EXPORTED void *realloc(void *p, size_t size)
{
    if (!p)
        return allocate(HEADER_SIZE, size);
    struct header header = ((struct header *)p)[-1];
    size_t room = ((size_t)1 << header.class) - (size_t)((uint8_t *)p - (uint8_t *)header.block);
    if (size <= room)
        return p;
    void *larger = allocate(HEADER_SIZE, size);
    if (larger) {
        memcpy(larger, p, room);
        free(p);
    }
    return larger;
}

EXPORTED void *aligned_alloc(size_t align, size_t size)
{
    return allocate(align < HEADER_SIZE ? HEADER_SIZE : align, size);
}

EXPORTED int posix_memalign(void **out, size_t align, size_t size)
{
    void *p = aligned_alloc(align, size);
    if (p)
        *out = p;
    return p ? 0 : ENOMEM;
}
