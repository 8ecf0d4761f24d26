// SPDX-License-Identifier: Apache-2.0
/*
 * cache/pages.h - runs of pages for the data of blocks, cut from larger pieces of memory and used again.
 *
 * Used by one shard under its mutex.
 */
#ifndef CACHE_PAGES_H
#define CACHE_PAGES_H

#include "base/base.h"

struct page_chunk;

struct page_pool {
    /* set at creation, then constant */
    unsigned words; /* of 64 pages, per chunk */
    /* changing */
    struct page_chunk *open; /* chunks that have a free page; owned, as the full ones are by their runs */
    unsigned idle_chunks;    /* of them, those of which every page is free: at most one */
    uint64_t reserved_bytes; /* all that was taken from the kernel and not given back */
};

/* A pool for `bytes` or more: a large one takes memory in larger pieces. */
void pages_init(struct page_pool *pool, uint64_t bytes);
/* REQUIRES: every run was given back. */
void pages_deinit(struct page_pool *pool);
/* `count` pages in a row, not zeroed. *out_chunk says where they are from, for pages_give. NULL: memory is short. */
uint8_t *pages_take(struct page_pool *pool, size_t count, struct page_chunk **out_chunk);
void pages_give(struct page_pool *pool, uint8_t *data, size_t count, struct page_chunk *chunk);

#endif
