// SPDX-License-Identifier: Apache-2.0
/*
 * mem/mem.h - the memtable: an ordered map of internal keys in an arena; one writer, any number of lock-free readers.
 *
 * The writer is whoever leads the commit group: calls of memtable_add are serialised by the caller. Readers need no
 * lock and see every entry whose add happened before the publication of its sequence number. Entries are never changed
 * or removed. Keys and values are copied into the arena and stay in place until the memtable is destroyed.
 *
 * Lifetime: counted references for owners (views, flush, iterators), sharded pins for values handed out by gets.
 * A memtable whose last reference is gone lives on until its last pin is: see base/pin.h.
 */
#ifndef MEM_MEM_H
#define MEM_MEM_H

#include "base/arena.h"
#include "base/pin.h"
#include "iter/iter.h"

struct memtable;

/* One reference is the caller's. `size_hint`: the size at which it will be flushed, for chunk sizes. `pool`: outlives
 * it; NULL: none. */
enum nokv_status memtable_create(size_t size_hint, struct arena_pool *pool, struct memtable **out_memtable) MUST_CHECK;
void memtable_ref(struct memtable *m);
/* NULL is accepted. */
void memtable_unref(struct memtable *m);
/* As pinned_pin; REQUIRES: registered, and an epoch section or a reference keeps it alive. */
void memtable_pin(struct memtable *m);
/* Any thread. The last one, after the last reference, has the memtable freed by the next epoch_reclaim(). */
void memtable_unpin(struct memtable *m);

/* Add one entry. NO_MEMORY leaves it unchanged. REQUIRES: serialised; no entry with this key and tag exists. Tags of
 * one user key are added in ascending order of sequence number. */
enum nokv_status memtable_add(struct memtable *m, struct ikey key, struct slice value) MUST_CHECK;
/* The newest version of `user_key` with sequence <= seq. No allocation, no system call. */
void memtable_get(const struct memtable *m, struct slice user_key, uint64_t seq, struct lookup *out_lookup);
/* Holds a reference of its own. Entries that are added later may or may not be shown. */
enum nokv_status memtable_iter_create(struct memtable *m, struct iter **out_iter) MUST_CHECK;

/* Bytes handed out by its arena (what is compared with the limit), and entries, tombstones included. Any thread. */
size_t memtable_bytes(const struct memtable *m);
uint64_t memtable_count(const struct memtable *m);

#endif
