// SPDX-License-Identifier: Apache-2.0
/*
 * The memory that parent and children share, and the bell: the parent says which moment it waits for and sleeps; the
 * child looks whether it has come whenever it gets to something else, and rings once.
 *
 *      parent: bell_set(moment) ──► bell_wait ┄┄┄┄┄┄┄┄┄┄┄┄┄► awake, stops the child a random while later
 *      child:  write, ack, bell_look, flush, bell_look ... the moment: futex wake, goes on
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stress.h"

enum { LOOK_NS = 50000000 }; /* a child that died without ringing is noticed after so long */
#define HANGS_SECONDS 300.0

struct shared *shared;

enum phase phase_now(void)
{
    enum phase phase = (enum phase)atomic_load_explicit(&shared->phase, memory_order_acquire);
    const struct life *life = life_now();
    for (unsigned t = 0; phase == PHASE_WRITE && t < THREADS_MAX; t++)
        phase = (enum phase)atomic_load_explicit(&life->lines[t].activity, memory_order_acquire);
    return phase;
}

uint64_t acked_in_life(void)
{
    const struct life *life = life_now();
    uint64_t total = 0;
    for (unsigned t = 0; t < THREADS_MAX; t++)
        total += atomic_load_explicit(&life->lines[t].acked, memory_order_acquire) - life->base[t];
    return total;
}

static bool has_come(const struct moment *m)
{
    enum phase now = phase_now();
    if (now >= PHASE_CLOSE)
        return true;
    if (m->is_final)
        return atomic_load_explicit(&shared->final, memory_order_acquire);
    if (m->phase == PHASE_WRITE)
        return now >= PHASE_WRITE && acked_in_life() >= m->acks;
    return m->phase == PHASE_CHECK ? now >= PHASE_CHECK : now == m->phase;
}

void bell_set(const struct moment *m)
{
    atomic_store_explicit(&shared->bell, 1, memory_order_release); /* silent meanwhile */
    shared->moment = *m;
    atomic_store_explicit(&shared->bell, 0, memory_order_release);
    bell_look(); /* it may have come already */
}

void bell_look(void)
{
    if (atomic_load_explicit(&shared->bell, memory_order_acquire) != 0 || !has_come(&shared->moment))
        return;
    if (atomic_exchange_explicit(&shared->bell, 1, memory_order_acq_rel) == 0)
        (void)syscall(SYS_futex, &shared->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

bool bell_wait(pid_t pid, int *out_status)
{
    const struct timespec timeout = {.tv_nsec = LOOK_NS};
    double begin = seconds_now();
    while (atomic_load_explicit(&shared->bell, memory_order_acquire) == 0) {
        if (waitpid(pid, out_status, WNOHANG) == pid)
            return true;
        if (seconds_now() - begin > HANGS_SECONDS) {
            fprintf(stderr, "process %d hangs\n", (int)pid);
            (void)kill(pid, SIGABRT);
            (void)waitpid(pid, out_status, 0);
            return true;
        }
        (void)syscall(SYS_futex, &shared->bell, FUTEX_WAIT, 0, &timeout, NULL, 0);
    }
    return waitpid(pid, out_status, WNOHANG) == pid;
}
