// SPDX-License-Identifier: Apache-2.0
/*
 * mem/node.h - the inner nodes of a memtable's tree: a map from one key byte to a child, in four sizes; one writer,
 * readers without locks.
 *
 * A reference is the address of a leaf or a node with the kind in its low three bits, so that the kind is known before
 * the memory it points to arrives. 0 refers to nothing.
 *
 * A node stands for all keys that share their first `level` bytes; its children are told apart by the byte at index
 * `level`. Bytes between a parent's level and its own are not stored (all keys below agree on them: look at any leaf,
 * of which `sample` is one). A key that ends at `level` is the node's terminal.
 *
 * Positions in a node, in key order: POS_TERMINAL, then the bytes 0 to 255.
 */
#ifndef MEM_NODE_H
#define MEM_NODE_H

#include <stdatomic.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/arena.h"
#include "mem/leaf.h"

enum ref_kind {
    REF_LEAF = 0,
    REF_LIST16 = 1,  /* up to 12 children, unsorted key bytes, compared 16 at a time */
    REF_LIST32 = 2,  /* up to 26 */
    REF_INDEXED = 3, /* up to 48: a byte selects an index, this the child */
    REF_FULL = 4,    /* a slot for each byte */
    REF_MASK = 7,
};

enum { POS_BEFORE = -2, POS_TERMINAL = -1, POS_AFTER = 256, POS_NONE = 1000 };

struct node {
    uint16_t level;         /* constant */
    uint16_t capacity;      /* constant */
    _Atomic uint16_t count; /* of children; release after a list's entry was written */
    uint16_t unused;
    _Atomic uintptr_t sample; /* a leaf below; bit 0: it is the terminal */
};

/* Lists are append-only: a reader looks at the first `count` entries and at nothing else. */
struct node_list16 {
    struct node head;
    _Atomic uint64_t keys[2]; /* byte i of these 16 belongs to child[i]; whole words, so that no access tears */
    _Atomic uintptr_t child[];
};

struct node_list32 {
    struct node head;
    _Atomic uint64_t keys[4];
    _Atomic uintptr_t child[];
};

struct node_indexed {
    struct node head;
    _Atomic uint64_t index[32]; /* byte b of these 256: 1 + index of the child, 0: none; release, after the child */
    _Atomic uintptr_t child[48];
};

struct node_full {
    struct node head;
    _Atomic uintptr_t child[256]; /* release */
};

enum { LIST16_SMALL = 4, LIST16_MAX = 12, LIST32_MAX = 26, INDEXED_MAX = 48 };
static_assert(sizeof(struct node_list16) + LIST16_SMALL * 8 == 64, "the smallest node is one cache line");
static_assert(sizeof(struct node_list16) + LIST16_MAX * 8 == 128, "two cache lines");
static_assert(sizeof(struct node_list32) + LIST32_MAX * 8 == 256, "four cache lines");

static inline enum ref_kind ref_kind(uintptr_t ref)
{
    return (enum ref_kind)(ref & REF_MASK);
}

static inline struct node *ref_node(uintptr_t ref)
{
    return (struct node *)(ref & ~(uintptr_t)REF_MASK);
}

static inline struct leaf *ref_leaf(uintptr_t ref)
{
    return (struct leaf *)ref;
}

static inline uintptr_t ref_load(const _Atomic uintptr_t *slot)
{
    /* acquire: what the reference leads to was written before it was stored (release) */
    return atomic_load_explicit(slot, memory_order_acquire);
}

static inline void ref_store(_Atomic uintptr_t *slot, uintptr_t ref)
{
    atomic_store_explicit(slot, ref, memory_order_release);
}

/* Some leaf below the node: its first `level` bytes are those of all keys there. */
static inline const struct leaf *node_sample(const struct node *n)
{
    return ref_leaf(ref_load(&n->sample) & ~(uintptr_t)1);
}

/* The leaf of the key that ends at `level`, or NULL. */
static inline const struct leaf *node_terminal(const struct node *n)
{
    uintptr_t sample = ref_load(&n->sample);
    return sample & 1 ? ref_leaf(sample & ~(uintptr_t)1) : NULL;
}

/* A bit for each of the first `count` bytes of keys[] that equals `byte`. */
static inline uint32_t keys_match16(const _Atomic uint64_t *keys, unsigned byte, unsigned count)
{
    /* relaxed: the count was loaded with acquire */
    uint64_t low = atomic_load_explicit(&keys[0], memory_order_relaxed);
    uint64_t high = atomic_load_explicit(&keys[1], memory_order_relaxed);
    uint32_t valid = (1u << count) - 1;
#if defined(__SSE2__)
    __m128i words = _mm_set_epi64x((long long)high, (long long)low);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(words, _mm_set1_epi8((char)byte))) & valid;
#else
    uint32_t match = 0;
    for (unsigned i = 0; i < 16; i++)
        match |= (uint32_t)(((i < 8 ? low : high) >> (i % 8 * 8) & 0xff) == byte) << i;
    return match & valid;
#endif
}

static inline uint32_t keys_match32(const _Atomic uint64_t *keys, unsigned byte, unsigned count)
{
    uint32_t low = keys_match16(keys, byte, 16);
    return (low | keys_match16(keys + 2, byte, 16) << 16) & (uint32_t)((1ull << count) - 1);
}

/* Where the reference to the child of `byte` stands: NULL, or a slot that may hold 0, when there is none. */
static inline __attribute__((always_inline)) _Atomic uintptr_t *node_slot(uintptr_t ref, unsigned byte)
{
    struct node *n = ref_node(ref);
    unsigned count = atomic_load_explicit(&n->count, memory_order_acquire);
    uint32_t match;
    switch (ref_kind(ref)) {
    case REF_LIST16:
        match = keys_match16(((struct node_list16 *)n)->keys, byte, count);
        return match ? &((struct node_list16 *)n)->child[__builtin_ctz(match)] : NULL;
    case REF_LIST32:
        match = keys_match32(((struct node_list32 *)n)->keys, byte, count);
        return match ? &((struct node_list32 *)n)->child[__builtin_ctz(match)] : NULL;
    case REF_INDEXED: {
        struct node_indexed *in = (struct node_indexed *)n;
        /* acquire: the child was stored before its index */
        uint64_t word = atomic_load_explicit(&in->index[byte / 8], memory_order_acquire);
        unsigned index = word >> (byte % 8 * 8) & 0xff;
        return index ? &in->child[index - 1] : NULL;
    }
    default:
        return &((struct node_full *)n)->child[byte];
    }
}

/* The reference of the child of `byte`, or 0. */
static inline __attribute__((always_inline)) uintptr_t node_child(uintptr_t ref, unsigned byte)
{
    const _Atomic uintptr_t *slot = node_slot(ref, byte);
    return slot ? ref_load(slot) : 0;
}

/* The nearest occupied position after / before `pos`, or POS_NONE. */
int node_next(uintptr_t ref, int pos);
int node_prev(uintptr_t ref, int pos);

/* An iterator came to `pos` / moved from `before` to `pos` and goes on by `step` (1 or -1): fetch what it will need. */
void node_prefetch_from(uintptr_t ref, int pos, int step);
void node_prefetch_moved(uintptr_t ref, int before, int pos, int step);

/* What stands at an occupied position. */
static inline uintptr_t node_at(uintptr_t ref, int pos)
{
    return pos == POS_TERMINAL ? (uintptr_t)node_terminal(ref_node(ref)) : node_child(ref, (unsigned)pos);
}

/* The smallest kind of node, with no children; unreachable as yet. 0: out of memory. */
uintptr_t node_create(struct arena *arena, size_t level, const struct leaf *sample);
/* Make `leaf` the node's terminal. REQUIRES: it has none. */
void node_set_terminal(struct node *n, const struct leaf *leaf);
/* Add a child. REQUIRES: fewer children than its capacity, none for `byte`. */
void node_add_fitting(uintptr_t ref, unsigned byte, uintptr_t child);
/*
 * Add a child to the node that `slot` refers to; when it is full, `slot` is made to refer to a larger copy. False: out
 * of memory, nothing changed. REQUIRES: no child for `byte`.
 */
bool node_add(struct arena *arena, _Atomic uintptr_t *slot, unsigned byte, uintptr_t child);

#endif
