// SPDX-License-Identifier: Apache-2.0
/*
 * base/pin.h - a reference count for hot readers: sharded by thread, so that two readers of one file share no cache line.
 *
 * A pin may only be taken while something else (an epoch section, a counted reference) keeps the object alive. After
 * that something is gone no new pin can appear: the count only falls, and pins_none() is then exact once it is true.
 * pin and unpin may happen on different threads.
 */
#ifndef BASE_PIN_H
#define BASE_PIN_H

#include <stdatomic.h>

#include "base/epoch.h"

enum { PIN_SHARDS = 8 };

struct pins {
    struct {
        _Alignas(CACHE_LINE) _Atomic int64_t count; /* may be negative: taken on one shard, released on another */
    } shards[PIN_SHARDS];
};

/* REQUIRES: the thread is registered with epoch_register(). */
static inline void pins_add(struct pins *p)
{
    /* relaxed: the object is kept alive by other means at this moment */
    atomic_fetch_add_explicit(&p->shards[epoch_thread_index() % PIN_SHARDS].count, 1, memory_order_relaxed);
}

/* The caller may be a thread that never registered. */
static inline void pins_drop(struct pins *p)
{
    uint32_t shard = epoch_thread_slot ? epoch_thread_index() % PIN_SHARDS : 0;
    /* release: what was read under the pin happens before the object's end */
    atomic_fetch_sub_explicit(&p->shards[shard].count, 1, memory_order_acq_rel);
}

/* REQUIRES: no new pin can be taken (see above). */
static inline bool pins_none(struct pins *p)
{
    int64_t sum = 0;
    for (int i = 0; i < PIN_SHARDS; i++)
        sum += atomic_load_explicit(&p->shards[i].count, memory_order_acquire);
    return sum == 0;
}

#endif
