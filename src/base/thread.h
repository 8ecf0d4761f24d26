// SPDX-License-Identifier: Apache-2.0
/*
 * base/thread.h - mutexes, conditions and threads of pthreads, without their error codes: a failure there is a bug and
 * is asserted. Only creating a thread can fail for a reason that a caller must handle.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

#include "base/base.h"

struct mutex {
    pthread_mutex_t m;
};

struct cond {
    pthread_cond_t c;
};

void mutex_init(struct mutex *m);
void mutex_deinit(struct mutex *m);
void mutex_lock(struct mutex *m);
void mutex_unlock(struct mutex *m);

void cond_init(struct cond *c);
void cond_deinit(struct cond *c);
void cond_wait(struct cond *c, struct mutex *m); /* REQUIRES: m is held */
/* As cond_wait, for at most `ns` nanoseconds (monotonic clock). False when the time ran out. */
bool cond_wait_for(struct cond *c, struct mutex *m, uint64_t ns);
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

/* `name` shows in /proc and perf; at most 15 characters. Signals are blocked in the new thread. */
enum nokv_status thread_create(pthread_t *out_thread, const char *name, void *(*fn)(void *), void *arg) MUST_CHECK;
void thread_join(pthread_t thread);
/* For work that nobody waits for: five steps of nice below what it is, a third of the processor time of a thread that
 * wants the same processor. For good: going back up takes a privilege. */
void thread_lower_priority(void);
/* Let others run: for the few places that wait without a condition. */
void thread_yield(void);

/* Monotonic time in nanoseconds. The engine asks io_now_ns() instead, which a test may replace. */
uint64_t clock_now_ns(void);

/* For CLEANUP: struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&m); */
static inline struct mutex *mutex_hold(struct mutex *m)
{
    mutex_lock(m);
    return m;
}
void mutex_unlock_ptr(struct mutex **m);

#endif
