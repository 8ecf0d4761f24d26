// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_model.h - what must be in the database: which keys, and which version of each value.
 *
 * As long as it can be, this is a formula: all keys, less what the delete workloads took, in the version that fills and
 * overwrites made. Workloads that put at random or beside readers need a memory: one word per key, which holds the
 * newest version that was acknowledged, and says whether a newer one is being put right now.
 *
 * [M1] Puts of one key follow each other: a second writer waits until the first one's put returned. So what a get sees
 *      is at least the version that was acknowledged before it began, and at most the one that is being put when it
 * ends. [M2] What the formula says changes between phases only. [M3] All of it lies in memory that is shared with child
 * processes: who is killed leaves a model that is right.
 */
#ifndef NOKV_BENCH_MODEL_H
#define NOKV_BENCH_MODEL_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "nokv_bench_data.h"
#include "nokv_bench_util.h"

#define MODEL_NONE UINT64_MAX
#define MODEL_BUSY (1u << 31)          /* of a word: its next version is being put */
enum { MODEL_INSERTS_MAX = 64 << 20 }; /* keys that can be inserted in one run */

struct model {
    uint64_t keys;             /* 0 .. keys - 1 were put */
    uint64_t first;            /* ... those below this are deleted, */
    uint64_t odd_end;          /* ... and the even ones below this */
    uint64_t part, generation; /* by the formula every part-th key has version 1 + generation, the others 1 */
    bool tracked;              /* words are in force, the formula of versions is not */
    uint64_t word_count;
    _Atomic uint32_t *words; /* acquire and release: what a word acknowledges happened before. NULL: never needed */
    _Atomic uint64_t next;   /* relaxed: the index of the next insert, while a phase inserts */
};

/* `words`: will model_track() be called? Then before any process is forked that shares the model. */
void model_init(struct model *model, uint64_t keys, uint64_t part, bool words);
void model_deinit(struct model *model);
/* From now on versions are remembered, not computed; nothing on a second call. REQUIRES: model_init() with words. */
void model_track(struct model *model);
/* Bytes of words that are in use; no figure of the engine. */
uint64_t model_bytes(const struct model *model);

/* Keys that are there. */
uint64_t model_count(const struct model *model);
/* Sum of keys and newest values. */
uint64_t model_live_bytes(const struct model *model, const struct data *data);

static inline bool model_live(const struct model *m, uint64_t index)
{
    return index < m->keys && index >= m->first && (index >= m->odd_end || index % 2 == 1);
}

/* The first key that is there at or after `index`, or MODEL_NONE. */
static inline uint64_t model_at_or_after(const struct model *m, uint64_t index)
{
    index = index < m->first ? m->first : index;
    index += index < m->odd_end && index % 2 == 0;
    return index < m->keys ? index : MODEL_NONE;
}

/* The last one at or before `index`, or MODEL_NONE. REQUIRES: index < model->keys. */
static inline uint64_t model_at_or_before(const struct model *m, uint64_t index)
{
    if (index < m->odd_end && index % 2 == 0)
        index = index ? index - 1 : MODEL_NONE;
    return index >= m->first ? index : MODEL_NONE;
}

/* The key that `rank` others are before. From model_count() on: those that are inserted in this phase. */
static inline uint64_t model_nth(const struct model *m, uint64_t rank)
{
    uint64_t odd = m->first < m->odd_end ? m->odd_end / 2 - m->first / 2 : 0;
    if (rank < odd)
        return 2 * (m->first / 2 + rank) + 1;
    return (m->first > m->odd_end ? m->first : m->odd_end) + rank - odd;
}

/* The newest acknowledged version; of words: 0 when the key is not there. */
static inline uint64_t model_version(const struct model *m, uint64_t index)
{
    if (m->tracked)
        return atomic_load_explicit(&m->words[index], memory_order_acquire) & ~MODEL_BUSY;
    return 1 + (m->part == 1 || index % m->part == 0 ? m->generation : 0);
}

/* The newest version that a read that has ended may have seen. */
static inline uint64_t model_version_most(const struct model *m, uint64_t index)
{
    if (!m->tracked)
        return model_version(m, index);
    uint32_t word = atomic_load_explicit(&m->words[index], memory_order_acquire);
    return (word & ~MODEL_BUSY) + (word & MODEL_BUSY ? 1 : 0);
}

/* Begin to put a key; returns the version to put. REQUIRES: tracked; model_put_end() follows. */
static inline uint64_t model_put_begin(struct model *m, uint64_t index)
{
    uint32_t word = atomic_load_explicit(&m->words[index], memory_order_relaxed) & ~MODEL_BUSY;
    while (!atomic_compare_exchange_weak_explicit(&m->words[index], &word, word | MODEL_BUSY, memory_order_acquire,
                                                  memory_order_relaxed)) {
        if (word & MODEL_BUSY) /* the other put takes microseconds, or its thread does not run */
            sched_yield();
        word &= ~MODEL_BUSY;
    }
    return word + 1u;
}

static inline void model_put_end(struct model *m, uint64_t index, uint64_t version)
{
    atomic_store_explicit(&m->words[index], (uint32_t)version, memory_order_release);
}

/* A key that was never there; to be put as version 1 between model_put_begin() and model_put_end(). */
uint64_t model_insert(struct model *model);

/* What phases did to the whole, called when their threads have ended. */
void model_inserted(struct model *model);                      /* all that model_insert() handed out is there */
void model_deleted_even(struct model *model);                  /* every even key is gone */
void model_deleted_below(struct model *model, uint64_t first); /* every key below `first` is gone */

#endif
