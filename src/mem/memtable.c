// SPDX-License-Identifier: Apache-2.0
/*
 * A memtable is a radix tree over user keys (node.c), whose leaves hold a key and its versions (leaf.h).
 *
 * A lookup walks down without comparing the bytes that nodes skip, and compares the whole key once, at the leaf: two or
 * three cache misses at 64 MiB, where a skip list or a search tree of pointers has a dozen or more.
 *
 * [I1] All keys below a node share their first `level` bytes. Levels grow strictly on the way down.
 * [I2] Everything reachable is complete: a leaf, a version or a node is filled before the release store of the one
 *      reference that makes it reachable. Nothing reachable is taken away or moved before the memtable ends.
 * [I3] The tags of a leaf's versions descend from the newest on.
 *
 * Threads: one writer at a time (the caller serialises), readers at any time. A reader that holds an old copy of a node
 * misses only entries that were added after it loaded the reference, hence with sequence numbers above its own.
 *
 * Failure: an add that runs out of memory may leave an unreachable piece in the arena, and changes nothing else.
 *
 * Why not a skip list: measured, docs/memtable.md.
 */
#include "mem/memtable_internal.h"

#include "base/alloc.h"

enum { CHUNK_BYTES_MAX = 2 << 20, CHUNK_BYTES_MIN = 64 << 10 };

/* ---- lifetime ---------------------------------------------------------------------------------------------------- */

static void memtable_destroy(struct pinned_object *o)
{
    struct memtable *m = CONTAINER_OF(o, struct memtable, pinned);
    arena_deinit(&m->nodes);
    arena_deinit(&m->leaves);
    mem_free(m);
}

enum nokv_status memtable_create(size_t size_hint, struct arena_pool *pool, struct memtable **out_memtable)
{
    struct memtable *m = mem_alloc_aligned(CACHE_LINE, sizeof *m);
    if (m == NULL)
        return FAIL(NO_MEMORY, "could not allocate a memtable");
    size_t chunk = u64_min(CHUNK_BYTES_MAX, u64_max(CHUNK_BYTES_MIN, align_up(size_hint / 8, PAGE_BYTES)));
    pinned_init(&m->pinned, memtable_destroy);
    arena_init(&m->nodes, chunk, pool);
    arena_init(&m->leaves, chunk, pool);
    atomic_init(&m->root, 0);
    atomic_init(&m->count, 0);
    *out_memtable = m;
    return NOKV_OK;
}

void memtable_ref(struct memtable *m)
{
    pinned_ref(&m->pinned);
}

void memtable_unref(struct memtable *m)
{
    if (m)
        pinned_unref(&m->pinned);
}

void memtable_pin(struct memtable *m)
{
    pinned_pin(&m->pinned);
}

void memtable_unpin(struct memtable *m)
{
    pinned_unpin(&m->pinned);
}

size_t memtable_bytes(const struct memtable *m)
{
    return arena_bytes(&m->nodes) + arena_bytes(&m->leaves);
}

uint64_t memtable_count(const struct memtable *m)
{
    return atomic_load_explicit(&m->count, memory_order_relaxed);
}

/* ---- looking up -------------------------------------------------------------------------------------------------- */

static const struct leaf *find_leaf(const struct memtable *m, struct slice key)
{
    uintptr_t ref = ref_load(&m->root);
    while (ref_kind(ref) != REF_LEAF) {
        const struct node *n = ref_node(ref);
        __builtin_prefetch((const char *)n + CACHE_LINE); /* most children stand in the second line of a list */
        size_t level = n->level;
        if (UNLIKELY(key.size <= level)) {
            if (key.size < level)
                return NULL;
            ref = (uintptr_t)node_terminal(n);
            break;
        }
        ref = node_child(ref, key.data[level]);
    }
    const struct leaf *leaf = ref_leaf(ref);
    return leaf && leaf_has_key(leaf, key) ? leaf : NULL;
}

void memtable_get(const struct memtable *m, struct slice user_key, uint64_t seq, struct lookup *out_lookup)
{
    const struct leaf *leaf = find_leaf(m, user_key);
    const struct leaf_version *version;
    out_lookup->found = leaf != NULL && leaf_find(leaf, tag_for_seek(seq), &version);
    if (!out_lookup->found)
        return;
    out_lookup->tag = leaf_tag(leaf, version);
    out_lookup->value = leaf_value(leaf, version);
}

void memtable_find_path(const struct memtable *m, struct slice key, struct memtable_path *out_path)
{
    uintptr_t ref = ref_load(&m->root);
    const struct leaf *leaf = NULL;
    size_t limit = SIZE_MAX; /* the bytes that can be compared with the leaf at hand: its whole key or a node's level */
    while (leaf == NULL && ref_kind(ref) != REF_LEAF) {
        const struct node *n = ref_node(ref);
        uintptr_t child = key.size > n->level ? node_child(ref, key.data[n->level]) : 0;
        if (child == 0) {
            leaf = node_sample(n);
            limit = n->level;
        }
        ref = child;
    }
    if (leaf == NULL)
        leaf = ref_leaf(ref);
    *out_path = (struct memtable_path){.leaf = leaf};
    if (leaf == NULL)
        return;
    struct slice other = leaf_key(leaf);
    out_path->common = u64_min(limit, key_common_prefix(key, other));
    out_path->exact = out_path->common == key.size && other.size == key.size;
}

/* ---- adding (writer only) ---------------------------------------------------------------------------------------- */

static struct leaf *leaf_create(struct memtable *m, struct ikey key, struct slice value)
{
    struct leaf *leaf = arena_alloc(&m->leaves, offsetof(struct leaf, bytes) + key.user.size + value.size, 8);
    if (leaf == NULL)
        return NULL;
    atomic_init(&leaf->newest, NULL);
    leaf->tag = key.tag;
    leaf->value_size = (uint32_t)value.size;
    leaf->key_size = (uint16_t)key.user.size;
    memcpy(leaf->bytes, key.user.data, key.user.size);
    if (value.size)
        memcpy(leaf->bytes + key.user.size, value.data, value.size);
    return leaf;
}

/* Depth and jump of the version in the leaf: 0, and to itself. */
static uint32_t depth_of(const struct leaf_version *v)
{
    return v ? v->depth : 0;
}

static const struct leaf_version *jump_of(const struct leaf_version *v)
{
    return v ? v->jump : NULL;
}

static bool version_add(struct memtable *m, struct leaf *leaf, uint64_t tag, struct slice value)
{
    struct leaf_version *v = arena_alloc(&m->leaves, sizeof *v + value.size, 8);
    if (v == NULL)
        return false;
    const struct leaf_version *older = leaf_newest(leaf);
    ASSERT(leaf_tag(leaf, older) < tag); /* [I3] */
    /* Myers: two jumps of equal length behind `older` are joined to one, else a new one begins. */
    const struct leaf_version *jump = jump_of(older), *twice = jump_of(jump);
    bool join = older && depth_of(older) - depth_of(jump) == depth_of(jump) - depth_of(twice);
    v->older = older;
    v->jump = join ? twice : older;
    v->tag = tag;
    v->depth = depth_of(older) + 1;
    v->value_size = (uint32_t)value.size;
    if (value.size)
        memcpy(v->value, value.data, value.size);
    atomic_store_explicit(&leaf->newest, v, memory_order_release); /* [I2] */
    return true;
}

/*
 * The tree's part around `like` and the new leaf agree on their first `common` bytes and differ at that index, where no
 * node branches: put a new node there.
 */
static bool split_at(struct memtable *m, size_t common, const struct leaf *like, struct leaf *leaf)
{
    _Atomic uintptr_t *slot = &m->root;
    uintptr_t ref = ref_load(slot);
    while (ref_kind(ref) != REF_LEAF && ref_node(ref)->level < common) {
        slot = node_slot(ref, leaf->bytes[ref_node(ref)->level]);
        ref = ref_load(slot);
    }
    ASSERT(ref_kind(ref) == REF_LEAF || ref_node(ref)->level > common); /* [I1] */
    ASSERT(like != NULL);
    uintptr_t split = node_create(&m->nodes, common, leaf);
    if (split == 0)
        return false;
    if (like->key_size == common)
        node_set_terminal(ref_node(split), like);
    else
        node_add_fitting(split, like->bytes[common], ref);
    if (leaf->key_size == common)
        node_set_terminal(ref_node(split), leaf);
    else
        node_add_fitting(split, leaf->bytes[common], (uintptr_t)leaf);
    ref_store(slot, split); /* [I2] */
    return true;
}

/* Where an add has to change the tree. */
struct place {
    _Atomic uintptr_t *slot; /* refers to `ref` */
    uintptr_t ref;           /* 0, a leaf, or a node that has no child for the key's next byte */
    bool skipped;            /* some bytes on the way were not compared */
};

static struct place find_place(struct memtable *m, struct slice key)
{
    struct place p = {.slot = &m->root, .ref = ref_load(&m->root)};
    size_t compared = 0;
    while (ref_kind(p.ref) != REF_LEAF) {
        size_t level = ref_node(p.ref)->level;
        p.skipped |= level != compared;
        compared = level + 1;
        _Atomic uintptr_t *slot = key.size > level ? node_slot(p.ref, key.data[level]) : NULL;
        uintptr_t child = slot ? ref_load(slot) : 0;
        if (child == 0)
            break;
        p.slot = slot;
        p.ref = child;
    }
    return p;
}

/* The leaf of `key` if it has one; otherwise how much of it agrees with `like`. */
static struct leaf *compare_at(struct place p, struct slice key, const struct leaf **out_like, size_t *out_common)
{
    if (ref_kind(p.ref) == REF_LEAF) {
        *out_like = ref_leaf(p.ref);
        *out_common = key_common_prefix(key, leaf_key(*out_like));
        return *out_common == key.size && key.size == (*out_like)->key_size ? ref_leaf(p.ref) : NULL;
    }
    const struct node *n = ref_node(p.ref);
    *out_common = n->level;
    *out_like = NULL;
    if (!p.skipped && key.size > n->level)
        return NULL;
    *out_like = node_sample(n);
    *out_common = u64_min(n->level, key_common_prefix(key, leaf_key(*out_like)));
    if (*out_common == n->level && key.size == n->level)
        return (struct leaf *)(uintptr_t)node_terminal(n);
    return NULL;
}

static bool leaf_add(struct memtable *m, struct place p, const struct leaf *like, size_t common, struct leaf *leaf)
{
    if (p.ref == 0) {
        ref_store(&m->root, (uintptr_t)leaf); /* [I2] */
        return true;
    }
    if (ref_kind(p.ref) == REF_LEAF || common < ref_node(p.ref)->level)
        return split_at(m, common, like, leaf);
    if (leaf->key_size > common)
        return node_add(&m->nodes, p.slot, leaf->bytes[common], (uintptr_t)leaf);
    node_set_terminal(ref_node(p.ref), leaf);
    return true;
}

static bool entry_add(struct memtable *m, struct ikey key, struct slice value)
{
    struct place p = find_place(m, key.user);
    const struct leaf *like = NULL;
    size_t common = 0;
    struct leaf *same = p.ref ? compare_at(p, key.user, &like, &common) : NULL;
    if (same)
        return version_add(m, same, key.tag, value);
    struct leaf *leaf = leaf_create(m, key, value);
    return leaf && leaf_add(m, p, like, common, leaf);
}

enum nokv_status memtable_add(struct memtable *m, struct ikey key, struct slice value)
{
    ASSERT(key.user.size > 0 && key.user.size <= KEY_SIZE_MAX && value.size <= UINT32_MAX);
    if (!entry_add(m, key, value))
        return FAIL(NO_MEMORY, "no memory for %zu bytes in a memtable", key.user.size + value.size);
    atomic_store_explicit(&m->count, memtable_count(m) + 1, memory_order_relaxed);
    return NOKV_OK;
}
