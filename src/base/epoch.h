// SPDX-License-Identifier: Apache-2.0
/*
 * base/epoch.h - readers without locks: what a reader may still see is freed only after that reader has left.
 *
 * A reader brackets its accesses with epoch_enter() and epoch_exit(); both write only the thread's own cache line. A
 * writer first unlinks an object (a seq_cst store to the pointer that readers follow), then passes it to
 * epoch_retire(). Its function is called by an epoch_reclaim() that finds no reader inside who could have seen it.
 *
 * What ends may be a gigabyte of mapped tables, and take half a second: so retiring is a few instructions on any
 * thread, and only those threads reclaim that nobody waits for.
 *
 * One domain for the process, shared by all databases. Sections must be short (no I/O waits by design: a page fault is
 * the longest) and do not nest.
 */
#ifndef BASE_EPOCH_H
#define BASE_EPOCH_H

#include <stdatomic.h>

#include "base/base.h"

struct epoch_slot {
    _Alignas(CACHE_LINE) _Atomic uint64_t entered; /* 0: outside; otherwise the epoch it entered in; owner writes */
    uint32_t index;                                /* set once: small and dense, for sharded counters */
    bool used;                                     /* protected by the registry's mutex */
};

/* Embed it in what is retired. */
struct epoch_node {
    struct epoch_node *next;
    void (*fn)(struct epoch_node *node);
    uint64_t epoch;
};

extern _Thread_local struct epoch_slot *epoch_thread_slot;
extern _Atomic uint64_t epoch_global;

enum nokv_status epoch_register_slow(void) MUST_CHECK;

/* Must have succeeded once on a thread before it enters. The first call may allocate; released when the thread ends. */
static inline enum nokv_status epoch_register(void)
{
    return LIKELY(epoch_thread_slot != NULL) ? NOKV_OK : epoch_register_slow();
}

/* A small number of this thread, for choosing a shard. REQUIRES: registered. */
static inline uint32_t epoch_thread_index(void)
{
    return epoch_thread_slot->index;
}

/* The same on any thread: those that are not registered share 0. */
static inline uint32_t epoch_any_thread_index(void)
{
    return epoch_thread_slot ? epoch_thread_slot->index : 0;
}

/* REQUIRES: registered, outside. */
static inline void epoch_enter(void)
{
    uint64_t e = atomic_load_explicit(&epoch_global, memory_order_acquire);
    /* seq_cst: this store comes before the reader's loads of shared pointers in the order that retire scans. */
    atomic_store_explicit(&epoch_thread_slot->entered, e, memory_order_seq_cst);
}

static inline void epoch_exit(void)
{
    /* release: what was read inside happens before a retire that sees us outside. */
    atomic_store_explicit(&epoch_thread_slot->entered, 0, memory_order_release);
}

/* fn(node) is called later, by a thread that reclaims. REQUIRES: readers can no longer reach the object. */
void epoch_retire(struct epoch_node *node, void (*fn)(struct epoch_node *node));
/* Run what is due, and what becomes due by that. Returns how many nodes still wait. REQUIRES: caller outside. */
size_t epoch_reclaim(void);
/* Does anything wait to be reclaimed, or is about to, or is being reclaimed by another thread? A hint. */
bool epoch_has_waiting(void);
/* Something will be retired later, by a thread that tells nobody: epoch_has_waiting() says so until the second call. */
void epoch_expect(void);
void epoch_expect_no_more(void);
/* Wait until everything retired before the call has been run. REQUIRES: caller outside. For closing a database. */
void epoch_drain(void);

#endif
