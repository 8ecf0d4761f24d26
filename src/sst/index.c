// SPDX-License-Identifier: Apache-2.0
/*
 * index.c - building an index region, and the parts of a search that only ties between key prefixes need.
 *
 * [I1] In a built index the leaves from `count` on are 2^64 - 1 and there is at least one, so each node on the path of
 *      a search has a number that is not below the wanted one.
 *
 * The levels above the leaves are a sixteenth of them and stand in the file, so that opening a table builds nothing and
 * the whole search is in page-cache memory that all processes share. A binary search over the leaves would touch a
 * cache line per step; a trie over whole keys would have to be walked byte by byte.
 */
#include "sst/index.h"

#include "base/alloc.h"

unsigned sst_index_shape(uint64_t count, uint64_t slots[SST_INDEX_LEVELS_MAX])
{
    unsigned levels = 1;
    slots[0] = align_up(count + 1, SST_INDEX_FANOUT);
    for (; slots[levels - 1] > SST_INDEX_FANOUT; levels++)
        slots[levels] = align_up(slots[levels - 1] / SST_INDEX_FANOUT, SST_INDEX_FANOUT);
    return levels;
}

static uint64_t pages_bytes(uint64_t count)
{
    return align_up(4 * (count + 1), 8);
}

enum nokv_status sst_index_open(const uint8_t *data, uint64_t size, uint64_t count, uint32_t common_size,
                                struct sst_index *out)
{
    uint64_t slots[SST_INDEX_LEVELS_MAX];
    if (count == 0 || count >= UINT32_MAX)
        return FAIL(CORRUPT, "sst index: %llu blocks", (unsigned long long)count);
    struct sst_index x = {.level_count = sst_index_shape(count, slots), .count = (uint32_t)count};
    uint64_t off = 0;
    for (unsigned l = 0; l < x.level_count; l++) {
        uint64_t n = slots[x.level_count - 1 - l];
        x.levels[l] = (const uint64_t *)(const void *)(data + off);
        x.nodes[l] = (uint32_t)(n / SST_INDEX_FANOUT);
        off += 8 * n;
    }
    x.pages = data + off;
    off += pages_bytes(count);
    x.key_offsets = data + off;
    off += 8 * (count + 1);
    x.common = slice_make(data + off, common_size);
    off += common_size;
    if (off > size)
        return FAIL(CORRUPT, "sst index: %llu bytes for %llu blocks; %llu are needed", (unsigned long long)size,
                    (unsigned long long)count, (unsigned long long)off);
    x.keys = slice_make(data + off, size - off);
    *out = x;
    return NOKV_OK;
}

bool sst_index_separator(const struct sst_index *x, uint64_t block, struct sst_separator *out)
{
    uint64_t from = get_u64(x->key_offsets + 8 * block), to = get_u64(x->key_offsets + 8 * (block + 1));
    bool tagged = (from & SST_SEPARATOR_TAGGED) != 0;
    from &= ~SST_SEPARATOR_TAGGED;
    to &= ~SST_SEPARATOR_TAGGED;
    if (from > to || to > x->keys.size || (tagged && to - from < 8))
        return false;
    uint64_t size = to - from - (tagged ? 8 : 0);
    if (size > KEY_SIZE_MAX)
        return false;
    out->suffix = slice_make(x->keys.data + from, size);
    out->tagged = tagged;
    out->tag = tagged ? get_u64(x->keys.data + to - 8) : 0;
    return true;
}

int sst_separator_compare(const struct sst_index *x, const struct sst_separator *s, struct ikey target)
{
    struct slice rest = slice_make(target.user.data + x->common.size, target.user.size - x->common.size);
    int c = key_compare(s->suffix, rest);
    if (c != 0)
        return c;
    return s->tag > target.tag ? -1 : s->tag < target.tag;
}

int64_t sst_index_search_ties(const struct sst_index *x, struct ikey target, uint64_t t, uint64_t first)
{
    uint64_t low = first, high = t == UINT64_MAX ? x->count : sst_index_descend(x, t + 1);
    if (high > x->count)
        high = x->count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        struct sst_separator s;
        if (!sst_index_separator(x, middle, &s))
            return -1;
        if (sst_separator_compare(x, &s, target) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return (int64_t)low;
}

/* ---- building -------------------------------------------------------------------------------------------------- */

void sst_index_builder_deinit(struct sst_index_builder *b)
{
    buf_deinit(&b->keys);
    mem_free(b->key_offsets);
    mem_free(b->pages);
    *b = (struct sst_index_builder){0};
}

enum nokv_status sst_index_builder_add(struct sst_index_builder *b, uint32_t page, struct ikey separator, bool tagged)
{
    uint8_t tag[8];
    put_u64(tag, separator.tag);
    TRY(mem_grow(&b->key_offsets, &b->key_offsets_capacity, b->count + 2, sizeof *b->key_offsets));
    TRY(mem_grow(&b->pages, &b->pages_capacity, b->count + 2, sizeof *b->pages));
    b->key_offsets[b->count] = b->keys.size | (tagged ? SST_SEPARATOR_TAGGED : 0);
    b->pages[b->count] = page;
    TRY(buf_append(&b->keys, separator.user.data, separator.user.size));
    if (tagged)
        TRY(buf_append(&b->keys, tag, sizeof tag));
    b->key_offsets[++b->count] = b->keys.size;
    return NOKV_OK;
}

/* A whole separator's user key. */
static struct slice builder_key(const struct sst_index_builder *b, size_t i)
{
    uint64_t from = b->key_offsets[i], to = b->key_offsets[i + 1] & ~SST_SEPARATOR_TAGGED;
    uint64_t size = to - (from & ~SST_SEPARATOR_TAGGED) - (from & SST_SEPARATOR_TAGGED ? 8 : 0);
    return slice_make(b->keys.data + (from & ~SST_SEPARATOR_TAGGED), size);
}

/* All levels at `out`, the top first. */
static void builder_put_tree(const struct sst_index_builder *b, size_t common, uint8_t *out, uint64_t tree_bytes,
                             const uint64_t *slots, unsigned levels)
{
    uint8_t *leaves = out + tree_bytes - 8 * slots[0];
    memset(out, 0xff, tree_bytes); /* [I1] */
    for (size_t i = 0; i < b->count; i++)
        put_u64(leaves + 8 * i, key_prefix(builder_key(b, i), common));
    const uint8_t *below = leaves;
    for (unsigned l = 1; l < levels; l++) {
        uint8_t *level = out + (below - out) - 8 * slots[l];
        for (uint64_t i = 0; i < slots[l - 1] / SST_INDEX_FANOUT; i++)
            put_u64(level + 8 * i, get_u64(below + 8 * (i * SST_INDEX_FANOUT + SST_INDEX_FANOUT - 1)));
        below = level;
    }
}

/* Key offsets, common prefix and key bytes; returns the end. */
static uint8_t *builder_put_keys(const struct sst_index_builder *b, size_t common, uint8_t *offsets)
{
    uint8_t *keys = offsets + 8 * (b->count + 1);
    memcpy(keys, b->keys.data, common);
    keys += common;
    uint64_t off = 0;
    for (size_t i = 0; i < b->count; i++) {
        uint64_t from = b->key_offsets[i] & ~SST_SEPARATOR_TAGGED;
        uint64_t size = (b->key_offsets[i + 1] & ~SST_SEPARATOR_TAGGED) - from - common;
        put_u64(offsets + 8 * i, off | (b->key_offsets[i] & SST_SEPARATOR_TAGGED));
        memcpy(keys + off, b->keys.data + from + common, size);
        off += size;
    }
    put_u64(offsets + 8 * b->count, off);
    return keys + off;
}

enum nokv_status sst_index_builder_finish(struct sst_index_builder *b, uint32_t end_page, struct buf *out,
                                          uint32_t *out_common_size)
{
    ASSERT(b->count > 0);
    uint64_t slots[SST_INDEX_LEVELS_MAX], tree_bytes = 0;
    unsigned levels = sst_index_shape(b->count, slots);
    for (unsigned l = 0; l < levels; l++)
        tree_bytes += 8 * slots[l];
    size_t common = key_common_prefix(builder_key(b, 0), builder_key(b, b->count - 1));
    uint64_t fixed = tree_bytes + pages_bytes(b->count) + 8 * (b->count + 1);
    uint8_t *p = buf_reserve(out, fixed + b->keys.size); /* the common prefix is in b->keys at least once */
    if (p == NULL)
        return FAIL(NO_MEMORY, "sst index of %zu blocks", b->count);
    builder_put_tree(b, common, p, tree_bytes, slots, levels);
    uint8_t *pages = p + tree_bytes;
    memset(pages, 0, pages_bytes(b->count));
    b->pages[b->count] = end_page;
    for (size_t i = 0; i <= b->count; i++)
        put_u32(pages + 4 * i, b->pages[i]);
    const uint8_t *end = builder_put_keys(b, common, pages + pages_bytes(b->count));
    out->size += (size_t)(end - p);
    *out_common_size = (uint32_t)common;
    return NOKV_OK;
}

uint64_t sst_index_builder_bytes(const struct sst_index_builder *b)
{
    return b->keys.size + 21 * (uint64_t)(b->count + 1) + 128; /* 8.5 + 4 + 8 and what the rounding adds */
}
