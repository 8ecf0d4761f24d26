// SPDX-License-Identifier: Apache-2.0
/*
 * merge.c - the union of several ordered iterators, as a binary heap of their current entries.
 *
 * Most comparisons are one integer comparison: each heap node caches the eight bytes of its key that follow the bytes
 * which all current keys share ("skip" of them, learnt when the heap is built and shortened when a key leaves them), so
 * that keys such as user:00000017 do not all tie. Only equal prefixes look at the keys. A run of entries out of one
 * child costs one comparison per entry: the runner-up is known, and it stays the runner-up until the top changes.
 *
 *  [I1] heap[0] is the child whose entry is shown; no node is before its parent in the current direction.
 *  [I2] Forward, a child stands at its first entry that was not yet passed in the order (key, child index); backward,
 *       at its last entry that was. So one step of every other child turns the direction, duplicates included.
 *  [I3] `second` is the index of the runner-up, 0 when the heap has one node.
 *  [I4] With two nodes or more, every key in the heap begins with the `skip` bytes in `shared`.
 *
 * A child that grows meanwhile may show new entries when the direction turns; those on the wrong side are sought over.
 * Failure: a child that stops with a status stops the union with it. One thread at a time.
 *
 * Why not a loser tree: it saves comparisons when the winner changes with each entry, but those are integer comparisons
 * here, and the common case (runs, a handful of children) does better with the runner-up.
 */
#include "base/alloc.h"
#include "iter/iter.h"

enum { MERGE_SHARED_MAX = 48 };

struct merge_node {
    uint64_t prefix; /* of the child's key behind `skip`; complemented when backward, so that less is always first */
    struct iter *child;
    size_t index; /* of the child, to order duplicates */
};

struct merge_iter {
    struct iter base;
    bool backward;
    size_t heap_count;
    size_t second;
    size_t skip;
    uint8_t shared[MERGE_SHARED_MAX];
    struct merge_node *heap;
    size_t child_count; /* set at creation, then constant, as is children[] */
    struct iter *children[];
};

static struct merge_iter *merge_of(struct iter *it)
{
    return CONTAINER_OF(it, struct merge_iter, base);
}

/* ---- heap ------------------------------------------------------------------------------------------------------ */

static bool node_before_slow(const struct merge_iter *m, const struct merge_node *a, const struct merge_node *b)
{
    int c = ikey_compare(a->child->key, b->child->key);
    if (c == 0)
        c = a->index < b->index ? -1 : 1;
    return m->backward ? c > 0 : c < 0;
}

static inline bool node_before(const struct merge_iter *m, const struct merge_node *a, const struct merge_node *b)
{
    if (LIKELY(a->prefix != b->prefix))
        return a->prefix < b->prefix;
    return node_before_slow(m, a, b);
}

static void find_second(struct merge_iter *m)
{
    if (m->heap_count < 2)
        m->second = 0;
    else
        m->second = m->heap_count > 2 && node_before(m, &m->heap[2], &m->heap[1]) ? 2 : 1;
}

static void sift_down(struct merge_iter *m, size_t i)
{
    struct merge_node node = m->heap[i];
    for (;;) {
        size_t kid = 2 * i + 1;
        if (kid >= m->heap_count)
            break;
        if (kid + 1 < m->heap_count && node_before(m, &m->heap[kid + 1], &m->heap[kid]))
            kid++;
        if (!node_before(m, &m->heap[kid], &node))
            break;
        m->heap[i] = m->heap[kid];
        i = kid;
    }
    m->heap[i] = node;
}

static inline void node_cache_prefix(const struct merge_iter *m, struct merge_node *node)
{
    uint64_t prefix = key_prefix(node->child->key.user, m->skip);
    node->prefix = m->backward ? ~prefix : prefix;
}

/* A key left the shared bytes: share less. The order of the nodes is not touched by it, only how it is computed. */
static void shrink_shared(struct merge_iter *m, struct slice key)
{
    m->skip = key_common_prefix(key, slice_make(m->shared, m->skip));
    for (size_t i = 0; i < m->heap_count; i++)
        node_cache_prefix(m, &m->heap[i]);
}

/* Does the key begin with the shared bytes? Most keys share 8 to 16. */
static inline bool is_shared(const struct merge_iter *m, struct slice key)
{
    size_t skip = m->skip;
    if (key.size < skip)
        return false;
    if (LIKELY(skip >= 8 && skip <= 16))
        return load_u64(key.data) == load_u64(m->shared) &&
               load_u64(key.data + skip - 8) == load_u64(m->shared + skip - 8);
    return skip == 0 || memcmp(key.data, m->shared, skip) == 0;
}

/* Keeps [I4] and the prefix after the child of `node` moved. */
static inline void node_refresh(struct merge_iter *m, struct merge_node *node)
{
    struct slice key = node->child->key.user;
    if (UNLIKELY(!is_shared(m, key)))
        shrink_shared(m, key);
    node_cache_prefix(m, node);
}

static void learn_shared(struct merge_iter *m)
{
    struct slice first = m->heap[0].child->key.user;
    size_t skip = first.size < MERGE_SHARED_MAX ? first.size : MERGE_SHARED_MAX;
    for (size_t i = 1; i < m->heap_count && skip != 0; i++)
        skip = key_common_prefix(m->heap[i].child->key.user, slice_make(first.data, skip));
    m->skip = skip;
    if (skip)
        memcpy(m->shared, first.data, skip);
}

static void show_top(struct merge_iter *m)
{
    const struct iter *child = m->heap[0].child;
    m->base.key = child->key;
    m->base.value = child->value;
    m->base.valid = true;
    m->base.status = NOKV_OK;
}

/* Every child has been positioned for the current direction: build the heap from scratch. */
static void heap_build(struct merge_iter *m)
{
    m->heap_count = 0;
    for (size_t i = 0; i < m->child_count; i++) {
        struct iter *child = m->children[i];
        if (child->valid) {
            m->heap[m->heap_count++] = (struct merge_node){.child = child, .index = i};
        } else if (child->status != NOKV_OK) {
            iter_stop(&m->base, child->status);
            return;
        }
    }
    if (m->heap_count == 0) {
        iter_stop(&m->base, NOKV_OK);
        return;
    }
    learn_shared(m);
    for (size_t i = 0; i < m->heap_count; i++)
        node_cache_prefix(m, &m->heap[i]);
    for (size_t i = m->heap_count / 2; i-- > 0;)
        sift_down(m, i);
    find_second(m);
    show_top(m);
}

/* The top's child ran out, or failed. */
static void top_ended(struct merge_iter *m)
{
    enum nokv_status status = m->heap[0].child->status;
    if (status != NOKV_OK || m->heap_count == 1) {
        iter_stop(&m->base, status);
        return;
    }
    m->heap[0] = m->heap[--m->heap_count];
    sift_down(m, 0);
    find_second(m);
    show_top(m);
}

/* The runner-up is before the top. */
static inline void top_replace(struct merge_iter *m)
{
    if (m->heap_count == 2) {
        struct merge_node top = m->heap[0];
        m->heap[0] = m->heap[1];
        m->heap[1] = top;
        return;
    }
    sift_down(m, 0);
    find_second(m);
}

/* The top's child has moved on in the current direction: restore [I1]. */
static inline void top_moved(struct merge_iter *m)
{
    struct merge_node *top = &m->heap[0];
    if (UNLIKELY(!top->child->valid)) {
        top_ended(m);
        return;
    }
    if (m->heap_count > 1) {
        node_refresh(m, top);
        if (node_before(m, &m->heap[m->second], top))
            top_replace(m);
    }
    show_top(m);
}

/* ---- direction ------------------------------------------------------------------------------------------------- */

static void child_turn_backward(struct iter *child, struct ikey current)
{
    if (child->valid)
        iter_prev(child);
    else
        iter_seek_for_prev(child, current);
    if (child->valid && UNLIKELY(ikey_compare(child->key, current) > 0))
        iter_seek_for_prev(child, current);
}

static void child_turn_forward(struct iter *child, struct ikey current)
{
    if (child->valid)
        iter_next(child);
    else
        iter_seek(child, current);
    if (child->valid && UNLIKELY(ikey_compare(child->key, current) < 0))
        iter_seek(child, current);
}

/* Turn around and make the first step: by [I2] one step of every child, the shown one last, since its key is the mark.
 */
static void merge_turn(struct merge_iter *m, bool backward)
{
    struct iter *top = m->heap[0].child;
    for (size_t i = 0; i < m->child_count; i++) {
        struct iter *child = m->children[i];
        if (child == top)
            continue;
        if (backward)
            child_turn_backward(child, top->key);
        else
            child_turn_forward(child, top->key);
    }
    if (backward)
        iter_prev(top);
    else
        iter_next(top);
    m->backward = backward;
    heap_build(m);
}

/* ---- operations ------------------------------------------------------------------------------------------------ */

static void merge_first(struct iter *it)
{
    struct merge_iter *m = merge_of(it);
    for (size_t i = 0; i < m->child_count; i++)
        iter_first(m->children[i]);
    m->backward = false;
    heap_build(m);
}

static void merge_last(struct iter *it)
{
    struct merge_iter *m = merge_of(it);
    for (size_t i = 0; i < m->child_count; i++)
        iter_last(m->children[i]);
    m->backward = true;
    heap_build(m);
}

static void merge_seek(struct iter *it, struct ikey target)
{
    struct merge_iter *m = merge_of(it);
    for (size_t i = 0; i < m->child_count; i++)
        iter_seek(m->children[i], target);
    m->backward = false;
    heap_build(m);
}

static void merge_seek_for_prev(struct iter *it, struct ikey target)
{
    struct merge_iter *m = merge_of(it);
    for (size_t i = 0; i < m->child_count; i++)
        iter_seek_for_prev(m->children[i], target);
    m->backward = true;
    heap_build(m);
}

static void merge_next(struct iter *it)
{
    struct merge_iter *m = merge_of(it);
    ASSERT(it->valid);
    if (UNLIKELY(m->backward)) {
        merge_turn(m, false);
        return;
    }
    iter_next(m->heap[0].child);
    top_moved(m);
}

static void merge_prev(struct iter *it)
{
    struct merge_iter *m = merge_of(it);
    ASSERT(it->valid);
    if (UNLIKELY(!m->backward)) {
        merge_turn(m, true);
        return;
    }
    iter_prev(m->heap[0].child);
    top_moved(m);
}

/* What the top's child has before the runner-up's entry, and so on: one comparison of keys per run of one child. */
static size_t merge_take(struct iter *it, const struct ikey *limit, struct iter_entry *out, size_t max)
{
    struct merge_iter *m = merge_of(it);
    size_t count = 0;
    ASSERT(it->valid && !m->backward);
    do {
        const struct ikey *until = limit;
        if (m->heap_count > 1) {
            const struct ikey *second = &m->heap[m->second].child->key;
            if (limit == NULL || ikey_compare(*second, *limit) < 0)
                until = second;
        }
        count += iter_take(m->heap[0].child, until, out + count, max - count);
        top_moved(m);
    } while (count < max && it->valid && (limit == NULL || ikey_compare(it->key, *limit) < 0));
    return count;
}

static void merge_release(struct iter *it)
{
    struct merge_iter *m = merge_of(it);
    for (size_t i = 0; i < m->child_count; i++)
        iter_release(m->children[i]);
}

static void merge_destroy(struct iter *it)
{
    struct merge_iter *m = merge_of(it);
    for (size_t i = 0; i < m->child_count; i++)
        iter_destroy(m->children[i]);
    mem_free(m->heap);
    mem_free(m);
}

static const struct iter_ops merge_ops = {
    .first = merge_first,
    .last = merge_last,
    .seek = merge_seek,
    .seek_for_prev = merge_seek_for_prev,
    .next = merge_next,
    .prev = merge_prev,
    .release = merge_release,
    .take = merge_take,
    .destroy = merge_destroy,
};

enum nokv_status iter_merge_create(struct iter **children, size_t count, struct iter **out_iter)
{
    if (count == 0)
        return iter_empty_create(NOKV_OK, out_iter);
    if (count == 1) {
        *out_iter = children[0];
        return NOKV_OK;
    }
    struct merge_iter *m = mem_zalloc(sizeof *m + count * sizeof(struct iter *));
    struct merge_node *heap = mem_alloc(count * sizeof *heap);
    if (m == NULL || heap == NULL) {
        mem_free(m);
        mem_free(heap);
        return FAIL(NO_MEMORY, "merging iterator over %zu children", count);
    }
    m->base.ops = &merge_ops;
    m->heap = heap;
    m->child_count = count;
    for (size_t i = 0; i < count; i++)
        m->base.must_release |= children[i]->must_release;
    memcpy(m->children, children, count * sizeof(struct iter *));
    *out_iter = &m->base;
    return NOKV_OK;
}
