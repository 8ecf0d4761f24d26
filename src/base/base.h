// SPDX-License-Identifier: Apache-2.0
/*
 * base/base.h - the vocabulary of every file: ASSERT, slices, min/max, alignment, scope-based cleanup.
 *
 * ASSERT stays on in release builds; it is for bugs only. Bad bytes and bad disks are statuses, never asserts.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define CACHE_LINE 64
#define PAGE_BYTES 4096u /* the granule of our formats; equal to the x86-64 page */

/* A broken invariant: says which and where, and aborts. Never for bad input. */
#define ASSERT(cond)                                  \
    do {                                              \
        if (UNLIKELY(!(cond)))                        \
            assert_failed(#cond, __FILE__, __LINE__); \
    } while (0)
void assert_failed(const char *expr, const char *file, int line) __attribute__((noreturn, cold));

/* Run fn(&var) when var leaves its scope; fn accepts a NULL inside. TAKE hands ownership out and leaves NULL. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define TAKE(p)                        \
    __extension__({                    \
        __typeof__(p) take_tmp_ = (p); \
        (p) = NULL;                    \
        take_tmp_;                     \
    })

/* Borrowed bytes. */
struct slice {
    const uint8_t *data;
    size_t size;
};

static inline struct slice slice_make(const void *data, size_t size)
{
    return (struct slice){.data = data, .size = size};
}

static inline uint64_t load_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The last bytes first: neighbours in a sorted order differ there, and most keys are decided without a call. */
static inline bool slice_equal(struct slice a, struct slice b)
{
    if (a.size != b.size)
        return false;
    if (LIKELY(a.size >= 8)) {
        if (load_u64(a.data + a.size - 8) != load_u64(b.data + b.size - 8))
            return false;
        if (a.size <= 16)
            return load_u64(a.data) == load_u64(b.data);
    }
    return a.size == 0 || memcmp(a.data, b.data, a.size) == 0;
}

static inline uint64_t u64_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t u64_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* REQUIRES: align is a power of two. */
static inline uint64_t align_up(uint64_t n, uint64_t align)
{
    return (n + align - 1) & ~(align - 1);
}

static inline bool is_power_of_two(uint64_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

#endif
