// SPDX-License-Identifier: Apache-2.0
/*
 * base/pin.h - the lifetime of what hot readers borrow from: memtables, mapped tables.
 *
 * Owners (a version, a view, an iterator) hold counted references. A value that was handed out in place holds a pin:
 * pins are counted in shards by thread, so that two readers of one object write no common cache line. The object is
 * destroyed when the last reference is gone, and then every reader that was inside an epoch section, and then the last
 * pin - exactly once, on a thread that reclaims (epoch.h), and on no other.
 *
 *     pinned_init ─► referenced ──last pinned_unref──► retired ──epoch grace──► closing ──last pin gone──► destroy()
 *                        pins come and go               pins may still come         pins only go
 *
 * Embed struct pinned_object in what is shared; memory must be aligned to CACHE_LINE (mem_alloc_aligned).
 */
#ifndef BASE_PIN_H
#define BASE_PIN_H

#include <stdatomic.h>

#include "base/epoch.h"

enum { PIN_SHARDS = 8 };

/* Added to every shard at closing. Half of it separates closing shards from open ones, whatever their counts. */
#define PIN_CLOSING (INT64_C(1) << 62)

struct pinned_object {
    struct {
        /* atomic: pins taken minus pins dropped here; negative when they are taken on one shard and dropped on another
         */
        _Alignas(CACHE_LINE) _Atomic int64_t count;
    } shards[PIN_SHARDS];
    /* atomic: acq_rel, so that destroy() comes after whatever was done under any reference or pin */
    _Alignas(CACHE_LINE) _Atomic int64_t refs;
    _Atomic int64_t pins_left; /* while closing: pins still to be dropped; see pin.c */
    struct epoch_node node;
    void (*destroy)(struct pinned_object *o); /* constant */
};

/* One reference is the caller's. `destroy` frees the object; it runs in an epoch_reclaim. */
void pinned_init(struct pinned_object *o, void (*destroy)(struct pinned_object *o));

/* REQUIRES: somebody's reference keeps `o` alive during the call. */
static inline void pinned_ref(struct pinned_object *o)
{
    /* relaxed: taking a reference publishes nothing */
    int64_t before = atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
    ASSERT(before > 0);
}

/* Any thread, whatever it holds: nothing is destroyed here. */
void pinned_unref(struct pinned_object *o);

/* REQUIRES: the thread is registered; a reference or an epoch section in which `o` was reachable keeps it alive. */
static inline void pinned_pin(struct pinned_object *o)
{
    /* relaxed: what keeps the object alive now ends with a release of its own */
    atomic_fetch_add_explicit(&o->shards[epoch_thread_index() % PIN_SHARDS].count, 1, memory_order_relaxed);
}

void pinned_unpin_closing(struct pinned_object *o);

/* Any thread, registered or not. While the object is in use: one atomic subtraction and nothing else. */
static inline void pinned_unpin(struct pinned_object *o)
{
    uint32_t shard = epoch_any_thread_index() % PIN_SHARDS;
    /* release: what was read under the pin happens before destroy(). After this, `o` is ours only if it is closing. */
    int64_t before = atomic_fetch_sub_explicit(&o->shards[shard].count, 1, memory_order_acq_rel);
    if (UNLIKELY(before >= PIN_CLOSING / 2))
        pinned_unpin_closing(o);
}

#endif
