// SPDX-License-Identifier: Apache-2.0
/*
 * The concatenation of the sorted, disjoint tables of one level. At most one table's iterator is open; crossing a
 * boundary closes it and opens the neighbour. An error of a table stops the iterator with that status: the next table
 * is not tried, because entries would be missing silently.
 *
 * Keys and values that it has shown stay in place after a crossing, because the version holds the tables.
 */
#include "base/alloc.h"
#include "lsm/version.h"

struct concat_iter {
    struct iter iter;
    struct table *const *tables; /* borrowed */
    size_t count;
    enum nokv_status (*open)(void *arg, struct table *t, struct iter **out_iter);
    void *open_arg;
    struct iter *child; /* NULL: none open */
    size_t index;       /* the table that child reads */
    struct iter **left; /* children of tables that were left; what they showed is not released yet */
    size_t left_count, left_capacity;
};

static struct concat_iter *concat_of(struct iter *it)
{
    return CONTAINER_OF(it, struct concat_iter, iter);
}

/* Show what the child shows. */
static void concat_show(struct concat_iter *c)
{
    c->iter.valid = c->child->valid;
    c->iter.status = c->child->status;
    if (c->child->valid) {
        c->iter.key = c->child->key;
        c->iter.value = c->child->value;
    }
}

/* Close the open child, or keep it until what it showed is released. */
static enum nokv_status concat_leave(struct concat_iter *c)
{
    if (c->child && c->child->must_release) {
        TRY(mem_grow(&c->left, &c->left_capacity, c->left_count + 1, sizeof *c->left));
        c->left[c->left_count++] = c->child;
    } else {
        iter_destroy(c->child);
    }
    c->child = NULL;
    return NOKV_OK;
}

static void concat_release(struct iter *it)
{
    struct concat_iter *c = concat_of(it);
    while (c->left_count > 0)
        iter_destroy(c->left[--c->left_count]);
    if (c->child)
        iter_release(c->child);
}

/* Make the child read table `index`. False when the iterator was stopped instead. */
static bool concat_open(struct concat_iter *c, size_t index)
{
    if (c->child && c->index == index)
        return true;
    enum nokv_status status = concat_leave(c);
    if (status == NOKV_OK)
        status = c->open(c->open_arg, c->tables[index], &c->child);
    if (status != NOKV_OK) {
        iter_stop(&c->iter, status);
        return false;
    }
    c->index = index;
    return true;
}

/* The child ran off its table's end: go on with the next ones. */
static void concat_skip_forward(struct concat_iter *c)
{
    while (!c->child->valid && c->child->status == NOKV_OK && c->index + 1 < c->count) {
        if (!concat_open(c, c->index + 1))
            return;
        iter_first(c->child);
    }
    concat_show(c);
}

static void concat_skip_backward(struct concat_iter *c)
{
    while (!c->child->valid && c->child->status == NOKV_OK && c->index > 0) {
        if (!concat_open(c, c->index - 1))
            return;
        iter_last(c->child);
    }
    concat_show(c);
}

static void concat_first(struct iter *it)
{
    struct concat_iter *c = concat_of(it);
    if (!concat_open(c, 0))
        return;
    iter_first(c->child);
    concat_skip_forward(c);
}

static void concat_last(struct iter *it)
{
    struct concat_iter *c = concat_of(it);
    if (!concat_open(c, c->count - 1))
        return;
    iter_last(c->child);
    concat_skip_backward(c);
}

/* First table whose largest key is >= target; count when all are below. */
static size_t concat_find(const struct concat_iter *c, struct ikey target)
{
    size_t low = 0, high = c->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (ikey_compare(c->tables[mid]->desc.largest, target) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void concat_seek(struct iter *it, struct ikey target)
{
    struct concat_iter *c = concat_of(it);
    size_t index = concat_find(c, target);
    if (index == c->count) {
        iter_stop(it, NOKV_OK);
        return;
    }
    if (!concat_open(c, index))
        return;
    iter_seek(c->child, target);
    concat_skip_forward(c);
}

static void concat_seek_for_prev(struct iter *it, struct ikey target)
{
    struct concat_iter *c = concat_of(it);
    size_t index = concat_find(c, target);
    if (index == c->count)
        index = c->count - 1;
    if (!concat_open(c, index))
        return;
    iter_seek_for_prev(c->child, target);
    concat_skip_backward(c);
}

static void concat_next(struct iter *it)
{
    struct concat_iter *c = concat_of(it);
    iter_next(c->child);
    if (LIKELY(c->child->valid)) {
        it->key = c->child->key;
        it->value = c->child->value;
        return;
    }
    concat_skip_forward(c);
}

static void concat_prev(struct iter *it)
{
    struct concat_iter *c = concat_of(it);
    iter_prev(c->child);
    concat_skip_backward(c);
}

static size_t concat_take(struct iter *it, const struct ikey *limit, struct iter_entry *out, size_t max)
{
    struct concat_iter *c = concat_of(it);
    size_t count = iter_take(c->child, limit, out, max);
    concat_skip_forward(c);
    return count;
}

static void concat_destroy(struct iter *it)
{
    struct concat_iter *c = concat_of(it);
    concat_release(it);
    iter_destroy(c->child);
    mem_free(c->left);
    mem_free(c);
}

static const struct iter_ops concat_ops = {
    .first = concat_first,
    .last = concat_last,
    .seek = concat_seek,
    .seek_for_prev = concat_seek_for_prev,
    .next = concat_next,
    .prev = concat_prev,
    .release = concat_release,
    .take = concat_take,
    .destroy = concat_destroy,
};

enum nokv_status concat_iter_create(struct table *const *tables, size_t count,
                                    enum nokv_status (*open)(void *arg, struct table *t, struct iter **out_iter),
                                    void *open_arg, struct iter **out_iter)
{
    ASSERT(count > 0);
    struct concat_iter *c = mem_zalloc(sizeof *c);
    if (c == NULL)
        return FAIL(NO_MEMORY, "no memory for an iterator over %zu tables", count);
    c->iter.ops = &concat_ops;
    c->iter.must_release = sst_reader_is_copied(tables[0]->reader); /* those of a database are alike */
    c->tables = tables;
    c->count = count;
    c->open = open;
    c->open_arg = open_arg;
    *out_iter = &c->iter;
    return NOKV_OK;
}
