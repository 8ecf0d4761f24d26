// SPDX-License-Identifier: Apache-2.0
/*
 * iter.c - the iterator over nothing, which also stands in for a source that could not be opened.
 *
 * Positioning it reports the same status again, whereas a real source would clear and retry: what failed here failed at
 * creation. One thread at a time.
 */
#include "iter/iter.h"

#include "base/alloc.h"

struct empty_iter {
    struct iter base;
    enum nokv_status status; /* set at creation, then constant */
};

static void empty_position(struct iter *it)
{
    iter_stop(it, CONTAINER_OF(it, struct empty_iter, base)->status);
}

static void empty_seek(struct iter *it, struct ikey target)
{
    (void)target;
    empty_position(it);
}

/* GCOV_EXCL_START: to move what is not valid is a bug of the caller, which ends the process */
static void empty_move(struct iter *it)
{
    (void)it;
    ASSERT(!"an empty iterator is never valid");
}
/* GCOV_EXCL_STOP */

static void empty_destroy(struct iter *it)
{
    mem_free(CONTAINER_OF(it, struct empty_iter, base));
}

static const struct iter_ops empty_ops = {
    .first = empty_position,
    .last = empty_position,
    .seek = empty_seek,
    .seek_for_prev = empty_seek,
    .next = empty_move,
    .prev = empty_move,
    .destroy = empty_destroy,
};

enum nokv_status iter_empty_create(enum nokv_status status, struct iter **out_iter)
{
    struct empty_iter *e = mem_zalloc(sizeof *e);
    if (e == NULL)
        return FAIL(NO_MEMORY, "empty iterator");
    e->base.ops = &empty_ops;
    e->base.status = status;
    e->status = status;
    *out_iter = &e->base;
    return NOKV_OK;
}

size_t iter_take_singly(struct iter *it, const struct ikey *limit, struct iter_entry *out, size_t max)
{
    size_t count = 0;
    do {
        out[count++] = (struct iter_entry){.key = it->key, .value = it->value};
        iter_next(it);
    } while (count < max && it->valid && (limit == NULL || ikey_compare(it->key, *limit) < 0));
    return count;
}
