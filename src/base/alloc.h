// SPDX-License-Identifier: Apache-2.0
/*
 * base/alloc.h - the one door to the heap, so that a test can count allocations and make the k-th one fail.
 *
 * Functions return NULL when memory is short; callers turn that into NOKV_ERR_NO_MEMORY. Thread-safe.
 */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include "base/base.h"

void *mem_alloc(size_t size);
void *mem_zalloc(size_t size); /* zeroed */
void *mem_realloc(void *p, size_t size);
/* `align` is a power of two; `size` is rounded up to it. Free with mem_free. */
void *mem_alloc_aligned(size_t align, size_t size);
void mem_free(void *p); /* NULL is accepted */
/* Whole pages straight from the kernel and back to it at once: large, long-lived pieces would stay in the heap's hands.
 * `align` and `size` are multiples of 4096, `align` a power of two. */
void *mem_alloc_pages(size_t align, size_t size);
void mem_free_pages(void *p, size_t size);
char *mem_strdup(const char *s);

/* For CLEANUP(): takes the address of a pointer variable. */
void mem_free_ptr(void *pointer_to_pointer);

/* Allocations asked for so far in this process. */
uint64_t mem_alloc_count(void);
/* Tests: the allocation after `count` more fails, once. UINT64_MAX turns it off. */
void mem_fail_after(uint64_t count);

/*
 * Grow *items (of item_size bytes, *capacity of them) so that it holds `count`. Doubles. On failure nothing changes.
 */
enum nokv_status mem_grow(void *items_pointer, size_t *capacity, size_t count, size_t item_size) MUST_CHECK;

#endif
