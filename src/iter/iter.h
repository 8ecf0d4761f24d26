// SPDX-License-Identifier: Apache-2.0
/*
 * iter/iter.h - the one iterator interface inside the engine, over internal keys in their order.
 *
 * The current entry stands in the struct itself, so that looking at it costs no call. `key` and `value` point in place
 * and stay valid as long as the source (memtable, table) is kept alive by whoever created the iterator, also after it
 * moved; of one that `must_release` only until iter_release. Not valid and status OK: the end. Not valid and another
 * status: it stopped because of that; positioning it anew clears it. One thread at a time.
 *
 * To begin at the newest version of a user key, seek with tag UINT64_MAX; to end with its oldest one, seek_for_prev
 * with tag 0.
 */
#ifndef ITER_ITER_H
#define ITER_ITER_H

#include "key/key.h"

struct iter;

struct iter_entry {
    struct ikey key;
    struct slice value;
};

struct iter_ops {
    void (*first)(struct iter *it);
    void (*last)(struct iter *it);
    void (*seek)(struct iter *it, struct ikey target);          /* first entry >= target */
    void (*seek_for_prev)(struct iter *it, struct ikey target); /* last entry <= target */
    void (*next)(struct iter *it);                              /* REQUIRES: valid */
    void (*prev)(struct iter *it);                              /* REQUIRES: valid */
    void (*release)(struct iter *it);                           /* NULL: there is nothing to release */
    /* See iter_take. NULL: iter_take does it with next. */
    size_t (*take)(struct iter *it, const struct ikey *limit, struct iter_entry *out, size_t max);
    void (*destroy)(struct iter *it);
};

struct iter {
    const struct iter_ops *ops;
    bool valid;
    bool must_release; /* set at creation, then constant: what it shows costs memory until iter_release */
    enum nokv_status status;
    struct ikey key;    /* REQUIRES: valid */
    struct slice value; /* REQUIRES: valid */
};

static inline void iter_first(struct iter *it)
{
    it->ops->first(it);
}
static inline void iter_last(struct iter *it)
{
    it->ops->last(it);
}
static inline void iter_seek(struct iter *it, struct ikey target)
{
    it->ops->seek(it, target);
}
static inline void iter_seek_for_prev(struct iter *it, struct ikey target)
{
    it->ops->seek_for_prev(it, target);
}
static inline void iter_next(struct iter *it)
{
    it->ops->next(it);
}
static inline void iter_prev(struct iter *it)
{
    it->ops->prev(it);
}
/*
 * The current entry, and those behind it as long as they are below `limit` (NULL: no limit), at most `max` in all, go
 * to `out`; the iterator moves behind them. Returns how many; 0 only when it has stopped with a status. What was taken
 * is right also when the iterator has stopped behind it. REQUIRES: valid; it was positioned, or moved last, forward;
 * max > 0; inside io_guarded(): keys are compared.
 */
size_t iter_take_singly(struct iter *it, const struct ikey *limit, struct iter_entry *out, size_t max);
static inline size_t iter_take(struct iter *it, const struct ikey *limit, struct iter_entry *out, size_t max)
{
    return it->ops->take ? it->ops->take(it, limit, out, max) : iter_take_singly(it, limit, out, max);
}
/* What was shown before the current entry is not needed any more. */
static inline void iter_release(struct iter *it)
{
    if (it->ops->release)
        it->ops->release(it);
}
/* NULL is accepted. */
static inline void iter_destroy(struct iter *it)
{
    if (it)
        it->ops->destroy(it);
}
static inline void iter_destroy_ptr(struct iter **it)
{
    iter_destroy(*it);
}
/* For implementations: stop with a status (or at the end: NOKV_OK). */
static inline void iter_stop(struct iter *it, enum nokv_status status)
{
    it->valid = false;
    it->status = status;
}

/* No entries; or, with a status other than OK, an iterator that only reports it. */
enum nokv_status iter_empty_create(enum nokv_status status, struct iter **out_iter) MUST_CHECK;

/*
 * The union of `count` children in order, duplicates kept (there are none between sound children). Takes the children
 * on success; on failure they stay the caller's. An error of a child stops it: nothing is skipped silently.
 */
enum nokv_status iter_merge_create(struct iter **children, size_t count, struct iter **out_iter) MUST_CHECK;

/* What a user sees of an internal iterator. Bounds are copied; an empty slice is no bound. */
struct iter_view_options {
    uint64_t seq;       /* versions above it are invisible */
    struct slice lower; /* inclusive */
    struct slice upper; /* exclusive */
    struct slice prefix;
    uint64_t now_ms; /* entries that expired by then are hidden */
};

/*
 * One entry per live user key: the newest version visible at `seq`, tombstones and expired entries hidden, within the
 * bounds, in both directions, direction changes included. `value` comes without the expiry prefix; key.tag keeps its
 * kind. Takes `source` on success. REQUIRES: the source's keys and values stay in place when it moves. With a source
 * that must_release they do until the view moves further than iter_view_buffered says, and it releases by itself. The
 * target of a seek may be a key that it shows.
 *
 * A SIGBUS that comparing keys in mapped files raises stops it with IO.
 */
enum nokv_status iter_view_create(struct iter *source, const struct iter_view_options *options,
                                  struct iter **out_iter) MUST_CHECK;
/* How many steps the view may go on without anything that it has shown going away; SIZE_MAX: any number. */
size_t iter_view_buffered(struct iter *view, bool backward);

#endif
