// SPDX-License-Identifier: Apache-2.0
/*
 * mem/leaf.h - one user key of a memtable with all its versions.
 *
 * The key, its first (oldest) version and that version's value are one piece of memory: the usual lookup ends with one
 * cache miss here. Later versions hang off it in a chain, newest first, each with its value behind it.
 *
 * Every chained version has a second pointer, `jump`, to a version further back, chosen as in Myers' random-access
 * stacks ("An applicative random-access stack", 1983): with these, the version visible at an old snapshot and the step
 * to the next newer version cost O(log n), though the chain is singly linked and a counter may be updated a million
 * times within one memtable. NULL, as `older` and as `jump`, means the version in the leaf.
 */
#ifndef MEM_LEAF_H
#define MEM_LEAF_H

#include <stdatomic.h>

#include "key/key.h"

struct leaf_version {
    const struct leaf_version *older;
    const struct leaf_version *jump; /* as old as `older` or older; depth tells how far */
    uint64_t tag;
    uint32_t value_size;
    uint32_t depth; /* of the oldest chained version: 1 */
    uint8_t value[];
};

struct leaf {
    struct leaf_version *_Atomic newest; /* release by the writer; NULL: only the version in here */
    /* the rest is constant once the leaf is reachable */
    uint64_t tag;
    uint32_t value_size;
    uint16_t key_size;
    uint8_t bytes[]; /* the key, then the value */
};

static inline struct slice leaf_key(const struct leaf *l)
{
    return slice_make(l->bytes, l->key_size);
}

static inline bool leaf_has_key(const struct leaf *l, struct slice key)
{
    if (l->key_size != key.size)
        return false;
    const uint8_t *a = l->bytes, *b = key.data, *end = b + key.size;
    for (; end - b >= 8; a += 8, b += 8) {
        uint64_t x, y;
        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        if (x != y)
            return false;
    }
    while (b < end)
        if (*a++ != *b++)
            return false;
    return true;
}

static inline const struct leaf_version *leaf_newest(const struct leaf *l)
{
    /* acquire: the version's bytes were written before it was published */
    return atomic_load_explicit(&l->newest, memory_order_acquire);
}

/* `v` may be NULL here and below: the version in the leaf. */
static inline uint64_t leaf_tag(const struct leaf *l, const struct leaf_version *v)
{
    return v ? v->tag : l->tag;
}

static inline struct slice leaf_value(const struct leaf *l, const struct leaf_version *v)
{
    return v ? slice_make(v->value, v->value_size) : slice_make(l->bytes + l->key_size, l->value_size);
}

/* The newest version with a tag <= `tag`. False: all are newer. */
static inline bool leaf_find(const struct leaf *l, uint64_t tag, const struct leaf_version **out_version)
{
    const struct leaf_version *v = leaf_newest(l);
    while (v && v->tag > tag)
        v = leaf_tag(l, v->jump) > tag ? v->jump : v->older;
    if (v == NULL && l->tag > tag)
        return false;
    *out_version = v;
    return true;
}

/* The oldest version with a tag >= `tag`. False: all are older. */
static inline bool leaf_find_reverse(const struct leaf *l, uint64_t tag, const struct leaf_version **out_version)
{
    const struct leaf_version *v = leaf_newest(l);
    if (leaf_tag(l, v) < tag)
        return false;
    while (v) {
        if (leaf_tag(l, v->jump) >= tag)
            v = v->jump;
        else if (leaf_tag(l, v->older) >= tag)
            v = v->older;
        else
            break;
    }
    *out_version = v;
    return true;
}

#endif
