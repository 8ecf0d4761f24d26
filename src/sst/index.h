// SPDX-License-Identifier: Apache-2.0
/*
 * sst/index.h - from a key to the block that it is in, searched in the mapping as it lies on the disk.
 *
 * A static B+-tree over the first eight bytes (after the common prefix) of the blocks' separators: a node is 16
 * numbers, two cache lines. docs/formats/sst.md has the layout.
 */
#ifndef SST_INDEX_H
#define SST_INDEX_H

#include "base/buf.h"
#include "sst/block.h"
#include "sst/format.h"

enum { SST_INDEX_FANOUT = 16, SST_INDEX_LEVELS_MAX = 9 };

#define SST_SEPARATOR_TAGGED (1ull << 63)

/* Where the parts of an index region are; set from the footer, constant. */
struct sst_index {
    unsigned level_count;
    uint32_t count;                               /* blocks */
    uint32_t nodes[SST_INDEX_LEVELS_MAX];         /* of 16 numbers, per level */
    const uint64_t *levels[SST_INDEX_LEVELS_MAX]; /* [0] the top, [level_count - 1] the leaves */
    const uint8_t *pages;                         /* u32 x (count + 1) */
    const uint8_t *key_offsets;                   /* u64 x (count + 1) */
    struct slice common;
    struct slice keys;
};

struct sst_separator {
    struct slice suffix; /* without the common prefix */
    uint64_t tag;
    bool tagged;
};

/* CORRUPT when `size` is not what an index of `count` blocks has. Reads nothing of `data`. */
enum nokv_status sst_index_open(const uint8_t *data, uint64_t size, uint64_t count, uint32_t common_size,
                                struct sst_index *out) MUST_CHECK;

/* Slots of the levels from the leaves (level 0) up; returns the number of levels. */
unsigned sst_index_shape(uint64_t count, uint64_t slots[SST_INDEX_LEVELS_MAX]);

static inline uint32_t sst_index_page(const struct sst_index *x, uint64_t block)
{
    return get_u32(x->pages + 4 * block);
}

/* How many of 16 sorted numbers are below `t`: no branches, four chains. */
static inline unsigned sst_index_count_below(const uint64_t *n, uint64_t t)
{
    unsigned a = (n[0] < t) + (n[4] < t) + (n[8] < t) + (n[12] < t);
    unsigned b = (n[1] < t) + (n[5] < t) + (n[9] < t) + (n[13] < t);
    unsigned c = (n[2] < t) + (n[6] < t) + (n[10] < t) + (n[14] < t);
    unsigned d = (n[3] < t) + (n[7] < t) + (n[11] < t) + (n[15] < t);
    return a + b + c + d;
}

/* One level down from node `i` of level `l`: the child, or UINT64_MAX when there is no such node. In a sound index the
 * last leaf is 2^64 - 1, so that there always is a child to go to. */
static inline uint64_t sst_index_step(const struct sst_index *x, unsigned l, uint64_t i, uint64_t t)
{
    if (UNLIKELY(i >= x->nodes[l]))
        return UINT64_MAX;
    return i * SST_INDEX_FANOUT + sst_index_count_below(x->levels[l] + i * SST_INDEX_FANOUT, t);
}

/* The first leaf that is not below `t`; count or more: none; UINT64_MAX: a node that does not exist was named. */
static inline uint64_t sst_index_descend(const struct sst_index *x, uint64_t t)
{
    uint64_t i = 0;
    for (unsigned l = 0; l < x->level_count && LIKELY(i != UINT64_MAX); l++)
        i = sst_index_step(x, l, i, t);
    return i;
}

/* The separator of `block`. False: malformed. */
bool sst_index_separator(const struct sst_index *x, uint64_t block, struct sst_separator *out);

/* <0, 0, >0: the separator against an internal key that begins with the common prefix. */
int sst_separator_compare(const struct sst_index *x, const struct sst_separator *s, struct ikey target);

/* The first block whose separator is not below `target`, or count; -1 for malformed bytes. For what _search leaves. */
int64_t sst_index_search_ties(const struct sst_index *x, struct ikey target, uint64_t t, uint64_t first);

/* A search in three parts, of which only the descent between these two is long. True: *out_t is what to descend with;
 * false: no need to, *out_block is the answer. */
static inline bool sst_index_begin(const struct sst_index *x, struct ikey target, uint64_t *out_t, int64_t *out_block)
{
    size_t common = x->common.size;
    if (common != 0) {
        size_t n = target.user.size < common ? target.user.size : common;
        int c = n ? memcmp(target.user.data, x->common.data, n) : 0;
        if (c > 0 || c < 0 || n < common) {
            *out_block = c > 0 ? x->count : 0;
            return false;
        }
    }
    *out_t = key_prefix(target.user, common);
    return true;
}

/* `i`: where the descent has ended. */
static inline int64_t sst_index_end(const struct sst_index *x, struct ikey target, uint64_t t, uint64_t i)
{
    if (UNLIKELY(i >= x->count))
        return i == UINT64_MAX ? -1 : (int64_t)x->count;
    if (LIKELY(x->levels[x->level_count - 1][i] != t))
        return (int64_t)i;
    return sst_index_search_ties(x, target, t, i);
}

/* The block in which `target` is if it is anywhere, and else the one with what follows it; count: behind all of them;
 * -1: malformed bytes. Pure reading. */
static inline int64_t sst_index_search(const struct sst_index *x, struct ikey target)
{
    uint64_t t;
    int64_t block;
    if (!sst_index_begin(x, target, &t, &block))
        return block;
    return sst_index_end(x, target, t, sst_index_descend(x, t));
}

/* ---- building -------------------------------------------------------------------------------------------------- */

struct sst_index_builder {
    struct buf keys; /* whole separators, tags included */
    uint64_t *key_offsets;
    size_t key_offsets_capacity;
    uint32_t *pages;
    size_t pages_capacity;
    size_t count;
};

void sst_index_builder_deinit(struct sst_index_builder *b);
/* The next block: its first page and its separator; `tagged` as in the format. */
enum nokv_status sst_index_builder_add(struct sst_index_builder *b, uint32_t page, struct ikey separator,
                                       bool tagged) MUST_CHECK;
/* Encode; `end_page` is where the data region ends. REQUIRES: count > 0. */
enum nokv_status sst_index_builder_finish(struct sst_index_builder *b, uint32_t end_page, struct buf *out,
                                          uint32_t *out_common_size) MUST_CHECK;
/* About what finish would make. */
uint64_t sst_index_builder_bytes(const struct sst_index_builder *b);

#endif
