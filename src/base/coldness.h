// SPDX-License-Identifier: Apache-2.0
/*
 * base/coldness.h - does what is read through a mapping have to come from the device first?
 *
 * A mapped read of what is in memory is a memory access; of what is not it is a page fault, which reads one page and
 * stalls, and where everything is like that (the data is larger than memory) reading with system calls is better: all
 * of a record at one go, a cache that keeps what is used again, no mapping to be torn down for each page that goes. To
 * ask the kernel first would be a system call per read. So one read in SAMPLE_EVERY is timed, with a clock that needs
 * none: nothing in memory takes COLD_NS, and no device answers in so little.
 *
 * A read that was slow because its thread lost the processor does not count: the caller asks the kernel, then only.
 *
 *      score   0 ──── … ───────────── ENTER ───── MAX        each slow read adds STEP, each fast one takes off 1:
 *              └──► hot                  └──► cold           below one slow read in STEP + 1 it goes to 0
 *
 * The shares at which it changes are those at which the two ways cost the same: some 1.5 % of faults (140 us each, 1.3
 * of them per record) against a system call and a copy (0.5 us) for each read.
 *
 * Threading: any number of threads; the counts are guesses, and a lost update is none that matters.
 */
#ifndef BASE_COLDNESS_H
#define BASE_COLDNESS_H

#include <stdatomic.h>

#include "base/base.h"

enum {
    COLDNESS_SAMPLE_EVERY = 16, /* reads per thread while hot; while cold every read is timed */
    COLDNESS_NS = 8000,
    COLDNESS_STEP = 48,
    COLDNESS_ENTER = 3 * COLDNESS_STEP,
    COLDNESS_MAX = 16 * COLDNESS_STEP,
};

/* Zeroed: hot. */
struct coldness {
    /* relaxed, all of them: guesses; the changes of is_cold alone are in one order with what whoever made them reads
     * next */
    _Atomic uint32_t score;
    _Atomic bool is_cold;
    _Atomic uint64_t changes; /* to cold and back */
};

static inline bool coldness_is_cold(const struct coldness *c)
{
    return atomic_load_explicit(&c->is_cold, memory_order_relaxed);
}

/* Is it this thread's turn to time a read? */
static inline bool coldness_turn(void)
{
    static _Thread_local unsigned turn;
    return UNLIKELY(++turn % COLDNESS_SAMPLE_EVERY == 0);
}

/* Should the coming read be timed? */
static inline bool coldness_is_due(const struct coldness *c)
{
    return coldness_turn() || coldness_is_cold(c);
}

/* A read that was timed took so long. True: this has changed what coldness_is_cold says. Both are looked at in any
 * case: between a score and what follows from it, other threads may have brought the score to where it does not change.
 */
static inline bool coldness_note(struct coldness *c, uint64_t ns)
{
    uint32_t score = atomic_load_explicit(&c->score, memory_order_relaxed);
    uint32_t next = score;
    if (ns >= COLDNESS_NS)
        next = score + COLDNESS_STEP < COLDNESS_MAX ? score + COLDNESS_STEP : COLDNESS_MAX;
    else if (score > 0)
        next = score - 1;
    if (next != score) /* a hot database writes to no line that its readers share */
        atomic_store_explicit(&c->score, next, memory_order_relaxed);
    bool was = coldness_is_cold(c), is = was ? next > 0 : next >= COLDNESS_ENTER;
    if (was == is || atomic_exchange_explicit(&c->is_cold, is, memory_order_seq_cst) == is)
        return false;
    atomic_fetch_add_explicit(&c->changes, 1, memory_order_relaxed);
    return true;
}

#endif
