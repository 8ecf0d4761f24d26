// SPDX-License-Identifier: Apache-2.0
/*
 * Walks a memtable in both directions. The path from the root to the current leaf is kept as a stack of (node,
 * position).
 *
 * The stack is a ring of the deepest RING frames, because a tree of 65,535-byte keys may be that deep. [I1] Frames
 * [base, depth) are present; base == 0 says that they reach up to the root. When a step runs out of frames with base >
 * 0 the path is built anew from the root by the current key, which costs no more than comparing that key.
 *
 * A path is built in two passes. The first finds how long a prefix of the target the tree holds, without a stack. The
 * second walks down to there: on it, all bytes are known to agree, so the target is before or after all of what is
 * left. While it walks, frames that fall out of the ring are examined: `turn` is the deepest of them that has a sibling
 * in the direction wanted, so that a seek itself never needs to start again.
 *
 * What the writer adds meanwhile may or may not be seen: nodes in the stack may be old copies. Keys that were there
 * when the path was built are all in them. Between the passes the tree may have grown: the key that the first pass
 * found is still on the path, and the second pass decides by that key.
 *
 * Moving allocates nothing. There is nothing that can fail.
 */
#include "base/alloc.h"
#include "mem/memtable_internal.h"

enum { RING = 64 };

enum direction { FORWARD = 1, BACKWARD = -1 }; /* also the step between positions */

struct frame {
    uintptr_t ref;
    int pos;
};

struct memtable_iter {
    struct iter iter;
    struct memtable *memtable; /* holds a reference */
    const struct leaf *leaf;
    const struct leaf_version *version; /* NULL: the one in the leaf */
    uint32_t base;
    uint32_t depth;
    struct frame ring[RING]; /* frame i is in ring[i % RING] */
};

static int sibling(struct frame f, enum direction dir)
{
    return dir == FORWARD ? node_next(f.ref, f.pos) : node_prev(f.ref, f.pos);
}

static void push(struct memtable_iter *it, uintptr_t ref, int pos)
{
    it->ring[it->depth++ % RING] = (struct frame){.ref = ref, .pos = pos};
    if (it->depth - it->base > RING)
        it->base = it->depth - RING;
}

/* To the first (FORWARD) or last leaf below `ref`. */
static void descend(struct memtable_iter *it, uintptr_t ref, enum direction dir)
{
    while (ref_kind(ref) != REF_LEAF) {
        int pos = dir == FORWARD ? node_next(ref, POS_BEFORE) : node_prev(ref, POS_AFTER);
        ASSERT(pos != POS_NONE);
        push(it, ref, pos);
        node_prefetch_from(ref, pos, dir);
        ref = node_at(ref, pos);
    }
    it->leaf = ref_leaf(ref);
}

/* From the top frame to the next leaf in `dir`. False: no frame left, nothing was found in any. */
static bool advance(struct memtable_iter *it, enum direction dir)
{
    for (; it->depth > it->base; it->depth--) {
        struct frame *f = &it->ring[(it->depth - 1) % RING];
        int pos = sibling(*f, dir);
        if (pos == POS_NONE)
            continue;
        node_prefetch_moved(f->ref, f->pos, pos, dir);
        f->pos = pos;
        descend(it, node_at(f->ref, pos), dir);
        return true;
    }
    return false;
}

/* The deepest frame that fell out of the ring and has a sibling in the direction of the seek. */
struct turn {
    struct frame frame;
    enum direction dir;
    uint32_t depth; /* its index; UINT32_MAX: there is none */
};

/* push() on the way to the target of a seek. */
static void push_target(struct memtable_iter *it, uintptr_t ref, int pos, struct turn *turn)
{
    struct frame oldest = it->ring[it->depth % RING];
    if (it->depth >= RING && sibling(oldest, turn->dir) != POS_NONE) {
        turn->frame = oldest;
        turn->depth = it->depth - RING;
    }
    push(it, ref, pos);
}

static bool advance_or_turn(struct memtable_iter *it, const struct turn *turn)
{
    if (advance(it, turn->dir))
        return true;
    if (turn->depth == UINT32_MAX)
        return false;
    it->base = it->depth = turn->depth;
    push(it, turn->frame.ref, turn->frame.pos);
    return advance(it, turn->dir);
}

/* Push the nodes that branch within the first `common` bytes of `key`; returns what is below them. */
static uintptr_t walk(struct memtable_iter *it, struct slice key, size_t common, struct turn *turn)
{
    uintptr_t ref = ref_load(&it->memtable->root);
    it->base = it->depth = 0;
    while (ref_kind(ref) != REF_LEAF && ref_node(ref)->level < common) {
        int byte = key.data[ref_node(ref)->level];
        push_target(it, ref, byte, turn);
        ref = node_child(ref, (unsigned)byte);
    }
    return ref;
}

/*
 * The first leaf >= key (FORWARD) or the last <= key (BACKWARD); `strict` excludes the key itself. False: none.
 * *out_exact says whether it is the leaf of `key`.
 */
static bool seek_leaf(struct memtable_iter *it, struct slice key, enum direction dir, bool strict, bool *out_exact)
{
    struct memtable_path path;
    struct turn turn = {.dir = dir, .depth = UINT32_MAX};
    *out_exact = false;
    memtable_find_path(it->memtable, key, &path);
    if (path.leaf == NULL)
        return false;
    uintptr_t ref = walk(it, key, path.common, &turn);
    bool branches = ref_kind(ref) != REF_LEAF && ref_node(ref)->level == path.common;
    if (branches) /* it has nothing at the key's next byte, or the key is its terminal */
        push_target(it, ref, key.size > path.common ? key.data[path.common] : POS_TERMINAL, &turn);
    if (path.exact && !strict) {
        it->leaf = path.leaf;
        *out_exact = true;
        return true;
    }
    enum direction side = key_compare(key, leaf_key(path.leaf)) < 0 ? FORWARD : BACKWARD;
    if (path.exact || branches || side != dir)
        return advance_or_turn(it, &turn);
    descend(it, ref, dir); /* all that is left here is on the wanted side of the key */
    return true;
}

static bool step_leaf(struct memtable_iter *it, enum direction dir)
{
    bool exact;
    return advance(it, dir) || (it->base > 0 && seek_leaf(it, leaf_key(it->leaf), dir, true, &exact));
}

/* ---- the interface: versions within a leaf, then leaves ------------------------------------------------------------
 */

static struct memtable_iter *self(struct iter *it)
{
    return CONTAINER_OF(it, struct memtable_iter, iter);
}

static void show(struct memtable_iter *it, const struct leaf_version *version)
{
    it->version = version;
    it->iter.valid = true;
    it->iter.status = NOKV_OK;
    it->iter.key = (struct ikey){.user = leaf_key(it->leaf), .tag = leaf_tag(it->leaf, version)};
    it->iter.value = leaf_value(it->leaf, version);
}

/* Show the leaf that was arrived at: going forward its newest version, backward its oldest. */
static void arrive(struct memtable_iter *it, bool found, enum direction dir)
{
    if (found)
        show(it, dir == FORWARD ? leaf_newest(it->leaf) : NULL);
    else
        iter_stop(&it->iter, NOKV_OK);
}

static void from_end(struct memtable_iter *it, enum direction dir)
{
    uintptr_t root = ref_load(&it->memtable->root);
    it->base = it->depth = 0;
    if (root)
        descend(it, root, dir);
    arrive(it, root != 0, dir);
}

static void memtable_iter_first(struct iter *base)
{
    from_end(self(base), FORWARD);
}

static void memtable_iter_last(struct iter *base)
{
    from_end(self(base), BACKWARD);
}

static void seek_from(struct memtable_iter *it, struct ikey target, enum direction dir)
{
    bool exact;
    bool found = seek_leaf(it, target.user, dir, false, &exact);
    if (it->depth > it->base) { /* a seek is mostly followed by steps */
        struct frame top = it->ring[(it->depth - 1) % RING];
        node_prefetch_from(top.ref, top.pos, dir);
    }
    if (!exact) {
        arrive(it, found, dir);
        return;
    }
    const struct leaf_version *version;
    if (dir == FORWARD ? leaf_find(it->leaf, target.tag, &version) : leaf_find_reverse(it->leaf, target.tag, &version))
        show(it, version);
    else
        arrive(it, step_leaf(it, dir), dir);
}

static void memtable_iter_seek(struct iter *base, struct ikey target)
{
    seek_from(self(base), target, FORWARD);
}

static void memtable_iter_seek_for_prev(struct iter *base, struct ikey target)
{
    seek_from(self(base), target, BACKWARD);
}

static void memtable_iter_next(struct iter *base)
{
    struct memtable_iter *it = self(base);
    ASSERT(base->valid);
    if (it->version)
        show(it, it->version->older);
    else
        arrive(it, step_leaf(it, FORWARD), FORWARD);
}

static void memtable_iter_prev(struct iter *base)
{
    struct memtable_iter *it = self(base);
    const struct leaf_version *newer;
    ASSERT(base->valid);
    if (leaf_find_reverse(it->leaf, base->key.tag + 1, &newer))
        show(it, newer);
    else
        arrive(it, step_leaf(it, BACKWARD), BACKWARD);
}

static void memtable_iter_destroy(struct iter *base)
{
    struct memtable_iter *it = self(base);
    memtable_unref(it->memtable);
    mem_free(it);
}

static const struct iter_ops memtable_iter_ops = {
    .first = memtable_iter_first,
    .last = memtable_iter_last,
    .seek = memtable_iter_seek,
    .seek_for_prev = memtable_iter_seek_for_prev,
    .next = memtable_iter_next,
    .prev = memtable_iter_prev,
    .destroy = memtable_iter_destroy,
};

enum nokv_status memtable_iter_create(struct memtable *m, struct iter **out_iter)
{
    struct memtable_iter *it = mem_zalloc(sizeof *it);
    if (it == NULL)
        return FAIL(NO_MEMORY, "could not allocate an iterator over a memtable");
    it->iter.ops = &memtable_iter_ops;
    it->memtable = m;
    memtable_ref(m);
    *out_iter = &it->iter;
    return NOKV_OK;
}
