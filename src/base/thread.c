// SPDX-License-Identifier: Apache-2.0
/* pthreads with asserted results; conditions wait on the monotonic clock, so that a change of date wakes nobody. */
#include "base/thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

enum { LOWER_BY = 5 };

void mutex_init(struct mutex *m)
{
    ASSERT(pthread_mutex_init(&m->m, NULL) == 0);
}

void mutex_deinit(struct mutex *m)
{
    ASSERT(pthread_mutex_destroy(&m->m) == 0);
}

void mutex_lock(struct mutex *m)
{
    ASSERT(pthread_mutex_lock(&m->m) == 0);
}

void mutex_unlock(struct mutex *m)
{
    ASSERT(pthread_mutex_unlock(&m->m) == 0);
}

void mutex_unlock_ptr(struct mutex **m)
{
    if (*m)
        mutex_unlock(*m);
}

void cond_init(struct cond *c)
{
    pthread_condattr_t attr;
    ASSERT(pthread_condattr_init(&attr) == 0);
    ASSERT(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    ASSERT(pthread_cond_init(&c->c, &attr) == 0);
    pthread_condattr_destroy(&attr);
}

void cond_deinit(struct cond *c)
{
    ASSERT(pthread_cond_destroy(&c->c) == 0);
}

void cond_wait(struct cond *c, struct mutex *m)
{
    ASSERT(pthread_cond_wait(&c->c, &m->m) == 0);
}

bool cond_wait_for(struct cond *c, struct mutex *m, uint64_t ns)
{
    uint64_t until = clock_now_ns() + ns;
    struct timespec ts = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
    int rc = pthread_cond_timedwait(&c->c, &m->m, &ts);
    ASSERT(rc == 0 || rc == ETIMEDOUT);
    return rc == 0;
}

void cond_signal(struct cond *c)
{
    ASSERT(pthread_cond_signal(&c->c) == 0);
}

void cond_broadcast(struct cond *c)
{
    ASSERT(pthread_cond_broadcast(&c->c) == 0);
}

enum nokv_status thread_create(pthread_t *out_thread, const char *name, void *(*fn)(void *), void *arg)
{
    /* The host program's signals are its own: none is delivered to our threads, SIGBUS of a mapped read excepted. */
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    ASSERT(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    /* A thread begins with the name of the one that made it. Naming it afterwards opens and writes a file. */
    char own_name[16];
    bool is_named = prctl(PR_GET_NAME, own_name) == 0 && prctl(PR_SET_NAME, name) == 0;
    int rc = pthread_create(out_thread, NULL, fn, arg);
    if (is_named)
        (void)prctl(PR_SET_NAME, own_name);
    ASSERT(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (rc != 0)
        return FAIL_ERRNO(rc, "could not start thread %s", name);
    return NOKV_OK;
}

void thread_join(pthread_t thread)
{
    ASSERT(pthread_join(thread, NULL) == 0);
}

void thread_lower_priority(void)
{
    /* Linux: of the calling thread, not of its process. A wish; fails for none that we know of. */
    (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + LOWER_BY);
}

void thread_yield(void)
{
    (void)sched_yield();
}

uint64_t clock_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}
