// SPDX-License-Identifier: Apache-2.0
/*
 * tests/sim/sched.h - one seeded scheduler for all threads of a run: real threads, of which one runs at a time.
 *
 * It stands in for base/thread.c (sim_thread.c has all of that interface), so the engine's mutexes, conditions, threads
 * and timed waits are the scheduler's, and with them each step of the simulated disk. Which thread goes on at a switch
 * point is drawn from the seed: the same seed gives the same run, event by event, and the same hash of them.
 */
#ifndef TESTS_SIM_SCHED_H
#define TESTS_SIM_SCHED_H

#include "base/thread.h"
#include "io/io.h"

struct sched_options {
    uint64_t seed;
    unsigned switch_one_in;   /* at how many switch points in a row another thread is chosen, on average */
    bool by_priority;         /* the most urgent thread runs; priorities change at random. Otherwise any, at random */
    unsigned jump_one_in;     /* of so many switch points one moves the clock, by up to ten seconds; 0: none */
    unsigned spurious_one_in; /* ... one wakes a thread that waits for a condition, for no reason; 0: none */
    uint64_t points_max;      /* a run with more of them does not end */
    bool is_traced;           /* events go to standard output */
};

struct sched_counts {
    uint64_t points, switches, threads, jumps, spurious, failed_creations;
};

/* Run fn(arg) on a thread, and all threads that it starts; returns when the last of them has ended. Not reentrant. */
void sched_run(const struct sched_options *options, void (*fn)(void *arg), void *arg);
void sched_counts(struct sched_counts *out_counts);
/* Of all events of the run so far. */
uint64_t sched_hash(void);

/* ---- on threads of the run ------------------------------------------------------------------------------------- */

/* Timed waits go by this environment's clock; NULL: by a clock that stands still but for them. */
void sched_set_clock(struct io *io);
/* A switch point of the program's own. */
void sched_point(void);
/* Something that must come out the same in each run of the seed. */
void sched_note(uint64_t value);
bool sched_is_traced(void);
void sched_trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/*
 * At the first switch point from number `point` on, call fn(arg) on a thread of its own, while all others stand still;
 * but when it waits for one of them (a mutex, or thread_yield) they go on until it may. One call at a time; a new one
 * may be planned by fn itself. UINT64_MAX: none.
 */
void sched_call_at(uint64_t point, void (*fn)(void *arg), void *arg);
uint64_t sched_points(void);
/* The k-th thread_create from now on fails (k = 1: the next); 0: none. */
void sched_fail_create(uint64_t k);

/* ---- violations ------------------------------------------------------------------------------------------------ */

/* Called once, on the thread that found it, with the message and the state of all threads; must not return. */
typedef void (*sched_violation_fn)(const char *message, const char *threads);
void sched_on_violation(sched_violation_fn fn);
/* What must never be: ends the process. */
void sched_violation(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
