// SPDX-License-Identifier: Apache-2.0
/*
 * The end of a pinned object. The difficulty: a thread that drops a pin must find out whether it was the last one,
 * without looking at the object after another thread may have freed it.
 *
 * The idea is that of Linux's percpu_ref: at closing, the sharded count is converted to a single one. The closing
 * thread adds PIN_CLOSING to each shard with a fetch_add, which returns the count of pins that this shard had up to
 * then. An unpin is a fetch_sub on a shard, and these two are ordered by the shard's modification order:
 *
 * [I1] An unpin that comes before the mark sees an unmarked value. It is contained in what the closing thread collects
 *      and does not touch the object again.
 * [I2] An unpin that comes after the mark sees it. It is not contained in what is collected, so `pins_left` counts one
 *      for it until it subtracts that one itself: the object cannot be destroyed in between.
 * [I3] pins_left begins at PIN_CLOSING, so it stays positive until the closing thread has added the collected sum and
 *      taken PIN_CLOSING away. From then on it is the number of pins left, and falls. Who brings it to 0 ends the
 *      object: the closing thread, which reclaims, itself; an unpin by retiring it once more.
 *
 * No pin can be taken any more when the marking begins: no reference is left, and it runs after the epoch grace period.
 * (The collected sum is exact for that reason; the adds happen before, through the release that ended the reference or
 * the epoch section in which they were made.)
 *
 * Why not a flag "closing" that unpin looks at: before the subtraction it may be stale, after it the object may be
 * gone. Why not a list of closing objects behind a mutex: one value kept for an hour would send every unpin to that
 * mutex.
 */
#include "base/pin.h"

void pinned_init(struct pinned_object *o, void (*destroy)(struct pinned_object *o))
{
    ASSERT(destroy != NULL && (uintptr_t)o % CACHE_LINE == 0);
    for (int i = 0; i < PIN_SHARDS; i++)
        atomic_init(&o->shards[i].count, 0);
    atomic_init(&o->refs, 1);
    atomic_init(&o->pins_left, PIN_CLOSING);
    o->destroy = destroy;
}

static void pinned_end(struct epoch_node *node)
{
    struct pinned_object *o = CONTAINER_OF(node, struct pinned_object, node);
    o->destroy(o);
}

/* Is this the end of it? */
static bool pins_left_add(struct pinned_object *o, int64_t delta)
{
    /* acq_rel: each thread's last use of the object happens before the destroy of the one that reaches 0 */
    int64_t left = atomic_fetch_add_explicit(&o->pins_left, delta, memory_order_acq_rel) + delta;
    ASSERT(left >= 0);
    return left == 0;
}

/* Runs when no reader that could take a pin is inside an epoch section any more. */
static void pinned_close(struct epoch_node *node)
{
    struct pinned_object *o = CONTAINER_OF(node, struct pinned_object, node);
    int64_t pins = 0;
    for (int i = 0; i < PIN_SHARDS; i++)
        pins += atomic_fetch_add_explicit(&o->shards[i].count, PIN_CLOSING, memory_order_acq_rel);
    ASSERT(pins >= 0);
    epoch_expect(); /* before an unpin can be the last one */
    if (!pins_left_add(o, pins - PIN_CLOSING))
        return;
    epoch_expect_no_more();
    o->destroy(o);
}

void pinned_unpin_closing(struct pinned_object *o)
{
    if (!pins_left_add(o, -1))
        return;
    epoch_retire(&o->node, pinned_end); /* nobody sees it any more: to be destroyed by a thread that has the time */
    epoch_expect_no_more();
}

void pinned_unref(struct pinned_object *o)
{
    int64_t before = atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before == 1)
        epoch_retire(&o->node, pinned_close);
}
