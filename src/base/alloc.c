// SPDX-License-Identifier: Apache-2.0
/*
 * A thin layer over malloc. The counters are relaxed atomics: only tests read them, and only while nothing else runs.
 */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

static _Atomic uint64_t alloc_count;
static _Atomic uint64_t fail_at = UINT64_MAX; /* value of alloc_count at which one allocation fails */

static bool must_fail(void)
{
    uint64_t n = atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
    return UNLIKELY(n == atomic_load_explicit(&fail_at, memory_order_relaxed));
}

void *mem_alloc(size_t size)
{
    return must_fail() ? NULL : malloc(size ? size : 1);
}

void *mem_zalloc(size_t size)
{
    return must_fail() ? NULL : calloc(1, size ? size : 1);
}

void *mem_realloc(void *p, size_t size)
{
    return must_fail() ? NULL : realloc(p, size ? size : 1);
}

void *mem_alloc_aligned(size_t align, size_t size)
{
    ASSERT(is_power_of_two(align));
    return must_fail() ? NULL : aligned_alloc(align, align_up(size ? size : 1, align));
}

void *mem_alloc_pages(size_t align, size_t size)
{
    ASSERT(is_power_of_two(align) && align % 4096 == 0 && size % 4096 == 0 && size > 0);
    if (must_fail() || size > SIZE_MAX / 2)
        return NULL;
    /* As much more as any alignment may need; what sticks out at either end goes back at once. */
    uint8_t *all = mmap(NULL, size + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return NULL;
    uint8_t *p = all + (align_up((uintptr_t)all, align) - (uintptr_t)all);
    if (p > all)
        (void)munmap(all, (size_t)(p - all));
    (void)munmap(p + size, (size_t)(all + align - p));
    return p;
}

void mem_free_pages(void *p, size_t size)
{
    if (p != NULL)
        ASSERT(munmap(p, size) == 0);
}

void mem_free(void *p)
{
    free(p);
}

char *mem_strdup(const char *s)
{
    size_t size = strlen(s) + 1;
    char *copy = mem_alloc(size);
    if (copy)
        memcpy(copy, s, size);
    return copy;
}

void mem_free_ptr(void *pointer_to_pointer)
{
    void *p;
    memcpy(&p, pointer_to_pointer, sizeof p);
    free(p);
}

uint64_t mem_alloc_count(void)
{
    return atomic_load_explicit(&alloc_count, memory_order_relaxed);
}

void mem_fail_after(uint64_t count)
{
    uint64_t at = count == UINT64_MAX ? UINT64_MAX : mem_alloc_count() + count;
    atomic_store_explicit(&fail_at, at, memory_order_relaxed);
}

enum nokv_status mem_grow(void *items_pointer, size_t *capacity, size_t count, size_t item_size)
{
    if (count <= *capacity)
        return NOKV_OK;
    size_t wanted = *capacity ? *capacity : 8;
    while (wanted < count) {
        if (wanted > SIZE_MAX / 2 / item_size)
            return FAIL(NO_MEMORY, "a list of %zu items of %zu bytes does not fit the address space", count, item_size);
        wanted *= 2;
    }
    void *items;
    memcpy(&items, items_pointer, sizeof items);
    items = mem_realloc(items, wanted * item_size);
    if (items == NULL)
        return FAIL(NO_MEMORY, "could not grow a list to %zu items of %zu bytes", wanted, item_size);
    memcpy(items_pointer, &items, sizeof items);
    *capacity = wanted;
    return NOKV_OK;
}
