// SPDX-License-Identifier: Apache-2.0
/*
 * base/thread.h once more, for the simulation: the whole of that interface on a scheduler that runs one thread at a
 * time. It is linked in front of the engine's archives, whose thread.o is therefore never taken; link_test.sh looks.
 *
 * Threads are real (the engine has variables of threads, and destructors of them), and a token goes from one to the
 * other. Who has it runs; all others sleep on a futex of their own. All state here is touched with the token only, and
 * handing it over orders memory. Everything runs on one processor, so that handing over costs a switch and no more.
 *
 *     ready ──chosen──► running ──mutex taken──► mutex ──unlocked──► ready
 *                          ├──wait──► condition ──signal, deadline, for no reason──► ready
 *                          ├──join──► join ──the other ended──► ready
 *                          └──returns, its destructors have run──► done
 *
 * [I1] A mutex's state is its owner, kept in its own bytes: zero is free, so that statically initialised ones work. A
 *      condition has no state: who waits for it is found in the table of threads.
 * [I2] Switch points are in front of a lock, behind an unlock, a wait, a signal, at create, join and yield, and where
 *      the workload says so. The disk takes its lock through here, and nothing is locked under it, so each of its steps
 *      stands between two switch points.
 * [I3] While nothing is ready the clock goes to the earliest deadline. Without one it is a deadlock: a violation.
 *
 * What this cannot see: what two threads do to memory between two switch points. Data races, memory order and lock-free
 * code that is interrupted in its middle are ThreadSanitizer's work and that of the stress tests.
 *
 * Outside of a run (nobody has the token) there is one thread, and the functions are what they are for one.
 *
 * Why not coroutines on one thread: variables of threads would be shared, and the engine's epochs live in one. Why not
 * a controlled pthread library below the unchanged archive: the engine's door to threads is fifteen functions wide.
 */
#include "sched.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "test.h"

enum { THREADS_MAX = 64, NAME_SIZE = 20, MESSAGE_SIZE = 1024, STATES_SIZE = 4096 };

#define JUMP_NS_MAX_BITS 33 /* eight seconds and a half */
/* So many jumps to a deadline in a row without anything else to do: nothing will ever happen again. */
#define IDLE_JUMPS_MAX 5000

enum state { FREE, READY, MUTEX, CONDITION, JOIN, CALL, DONE };

static const char *const state_names[] = {
    "free", "ready", "waits for a mutex", "waits for a condition", "joins a thread", "idle", "done"};

struct thread {
    enum state state;
    char name[NAME_SIZE];
    pthread_t handle;
    void *(*fn)(void *);
    void *arg;
    const void *object; /* what it waits for */
    uint64_t deadline;  /* of a timed wait; UINT64_MAX: none */
    bool timed_out;
    uint64_t priority;
    unsigned end_rounds;
    _Atomic uint32_t has_token; /* release by who gives it, acquire by who gets it */
};

struct sched {
    struct sched_options options;
    struct sched_counts counts;
    struct thread threads[THREADS_MAX];
    size_t used; /* of threads: those behind were never used */
    struct thread *running;
    uint64_t random, hash;
    uint64_t lowest_priority;
    uint64_t own_clock;
    struct io *clock;
    unsigned timed_waiters;
    uint64_t idle_jumps;
    uint64_t create_fails_in;
    bool is_over; /* the first function has returned: no more calls */
    /* the call of sched_call_at */
    struct thread *caller;
    uint64_t call_at;
    void (*call_fn)(void *arg);
    void *call_arg;
    bool is_exclusive; /* it runs, and nobody else while it can */
    sched_violation_fn on_violation;
};

static struct sched s;
static _Thread_local struct thread *self;
static pthread_key_t end_key;
static pthread_once_t end_once = PTHREAD_ONCE_INIT;

/* In the bytes of a struct mutex. */
struct mutex_state {
    uint32_t owner; /* index of the thread + 1; THREADS_MAX + 1: a thread outside of a run */
};
static_assert(sizeof(struct mutex_state) <= sizeof(struct mutex), "the state of a mutex fits");

static unsigned index_of(const struct thread *t)
{
    return (unsigned)(t - s.threads);
}

/* ---- randomness, hash, trace ----------------------------------------------------------------------------------- */

static uint64_t draw(uint64_t below)
{
    return test_random(&s.random) % below;
}

static bool one_in(unsigned n)
{
    return n != 0 && draw(n) == 0;
}

void sched_note(uint64_t value)
{
    s.hash = (s.hash ^ value) * 0x9e3779b97f4a7c15ull;
    s.hash ^= s.hash >> 29;
}

uint64_t sched_hash(void)
{
    return s.hash;
}

uint64_t sched_points(void)
{
    return s.counts.points;
}

void sched_counts(struct sched_counts *out_counts)
{
    *out_counts = s.counts;
}

bool sched_is_traced(void)
{
    return s.options.is_traced && !s.is_exclusive;
}

void sched_trace(const char *fmt, ...)
{
    if (!sched_is_traced())
        return;
    va_list args;
    va_start(args, fmt);
    printf("%8llu  %2u %-16s ", (unsigned long long)s.counts.points, self ? index_of(self) : 0, self ? self->name : "");
    vprintf(fmt, args);
    putchar('\n');
    va_end(args);
}

/* ---- violations ------------------------------------------------------------------------------------------------ */

static void states_print(char out[STATES_SIZE])
{
    size_t used = 0;
    out[0] = 0;
    for (struct thread *t = s.threads; t < s.threads + s.used && used + 200 < STATES_SIZE; t++) {
        if (t->state == FREE || t->state == DONE || t->state == CALL)
            continue;
        used += (size_t)snprintf(out + used, STATES_SIZE - used, "  %2u %-16s %s", index_of(t), t->name,
                                 t == s.running ? "running" : state_names[t->state]);
        struct mutex_state m = {0};
        if (t->state == MUTEX)
            memcpy(&m, t->object, sizeof m);
        if (m.owner > 0 && m.owner <= THREADS_MAX)
            used += (size_t)snprintf(out + used, STATES_SIZE - used, " that %u %s has", m.owner - 1,
                                     s.threads[m.owner - 1].name);
        if (t->state == CONDITION && t->deadline != UINT64_MAX)
            used += (size_t)snprintf(out + used, STATES_SIZE - used, " until %llu ns", (unsigned long long)t->deadline);
        used += (size_t)snprintf(out + used, STATES_SIZE - used, "\n");
    }
}

void sched_on_violation(sched_violation_fn fn)
{
    s.on_violation = fn;
}

void sched_violation(const char *fmt, ...)
{
    static char message[MESSAGE_SIZE], states[STATES_SIZE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    states_print(states);
    if (s.on_violation)
        s.on_violation(message, states);
    fprintf(stderr, "%s\n%s", message, states);
    abort();
}

/* ---- the token ------------------------------------------------------------------------------------------------- */

static void token_give(struct thread *to)
{
    s.running = to;
    /* release: everything that was done with the token happens before what `to` does with it */
    atomic_store_explicit(&to->has_token, 1, memory_order_release);
    (void)syscall(SYS_futex, &to->has_token, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void token_await(struct thread *t)
{
    while (atomic_load_explicit(&t->has_token, memory_order_acquire) == 0)
        (void)syscall(SYS_futex, &t->has_token, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    atomic_store_explicit(&t->has_token, 0, memory_order_relaxed); /* nobody else writes it now */
}

/* Who goes on after how many switch points: the order of everything follows from it. */
static void event_note(const struct thread *to)
{
    s.counts.switches++;
    sched_note(s.counts.points * THREADS_MAX + index_of(to));
}

static void hand_over(struct thread *to)
{
    struct thread *me = self;
    if (to == me)
        return;
    event_note(to);
    token_give(to);
    token_await(me);
}

/* ---- the clock ------------------------------------------------------------------------------------------------- */

static uint64_t now(void)
{
    return s.clock ? io_now_ns(s.clock) : s.own_clock;
}

static void clock_move(uint64_t ns)
{
    if (s.clock)
        io_sleep_ns(s.clock, ns);
    else
        s.own_clock += ns;
}

void sched_set_clock(struct io *io)
{
    ASSERT(s.timed_waiters == 0);
    s.clock = io;
}

uint64_t clock_now_ns(void)
{
    return now();
}

static void make_ready(struct thread *t, bool timed_out)
{
    if (t->state == CONDITION && t->deadline != UINT64_MAX)
        s.timed_waiters--;
    t->timed_out = timed_out;
    t->deadline = UINT64_MAX;
    t->object = NULL;
    t->state = READY;
}

static struct thread *earliest_deadline(void)
{
    struct thread *first = NULL;
    for (struct thread *t = s.threads; t < s.threads + s.used; t++)
        if (t->state == CONDITION && t->deadline != UINT64_MAX && (first == NULL || t->deadline < first->deadline))
            first = t;
    return first;
}

static void deadlines_expire(void)
{
    struct thread *t;
    while (s.timed_waiters > 0 && (t = earliest_deadline()) != NULL && t->deadline <= now())
        make_ready(t, true);
}

/* ---- choosing -------------------------------------------------------------------------------------------------- */

/* A thread that is ready and not `except`; NULL: none is. */
static struct thread *choose_ready(const struct thread *except)
{
    struct thread *ready[THREADS_MAX], *best = NULL;
    size_t count = 0;
    for (struct thread *t = s.threads; t < s.threads + s.used; t++) {
        if (t->state != READY || t == except)
            continue;
        ready[count++] = t;
        if (best == NULL || t->priority > best->priority)
            best = t;
    }
    if (count <= 1 || s.options.by_priority)
        return best;
    return ready[draw(count)];
}

/* Nobody is ready: let time pass until somebody is [I3]. */
static struct thread *choose_after_waiting(void)
{
    struct thread *t = earliest_deadline();
    if (t == NULL)
        sched_violation("deadlock: no thread can go on and none waits for a time");
    if (++s.idle_jumps > IDLE_JUMPS_MAX)
        sched_violation("nothing happens but that threads wait for a time again and again");
    if (t->deadline > now())
        clock_move(t->deadline - now());
    deadlines_expire();
    return choose_ready(NULL);
}

static struct thread *choose(void)
{
    if (s.is_exclusive && s.caller->state == READY)
        return s.caller;
    struct thread *t = choose_ready(NULL);
    return t ? t : choose_after_waiting();
}

/* ---- switch points --------------------------------------------------------------------------------------------- */

static void call_begin(void)
{
    s.call_at = UINT64_MAX;
    s.is_exclusive = true;
    s.caller->state = READY;
    hand_over(s.caller);
}

/* The clock may move at any time: a disk that takes long, or a machine that stood still. */
static void clock_jump(void)
{
    uint64_t ns = test_random(&s.random) >> (64 - 10 - draw(JUMP_NS_MAX_BITS - 10));
    s.counts.jumps++;
    clock_move(ns);
    sched_trace("the clock moves by %llu ns", (unsigned long long)ns);
}

static void wake_for_no_reason(void)
{
    struct thread *t = &s.threads[draw(s.used)];
    if (t->state != CONDITION)
        return;
    s.counts.spurious++;
    make_ready(t, false);
}

static bool is_switch_wanted(void)
{
    if (!s.options.by_priority)
        return one_in(s.options.switch_one_in);
    if (one_in(s.options.switch_one_in * 4))
        self->priority = --s.lowest_priority;
    return true;
}

static void point(void)
{
    if (self == NULL || (s.is_exclusive && self == s.caller))
        return;
    if (s.is_exclusive && s.caller->state == READY) { /* it waited for somebody, and need not any more */
        hand_over(s.caller);
        return;
    }
    if (++s.counts.points > s.options.points_max)
        sched_violation("the run does not end");
    if (s.counts.points >= s.call_at && s.caller->state == CALL)
        call_begin();
    if (one_in(s.options.jump_one_in))
        clock_jump();
    if (one_in(s.options.spurious_one_in))
        wake_for_no_reason();
    deadlines_expire();
    if (is_switch_wanted()) {
        struct thread *to = choose_ready(NULL);
        if (to != NULL)
            hand_over(to);
    }
}

void sched_point(void)
{
    s.idle_jumps = 0; /* somebody does something */
    point();
}

/* Wait until somebody makes this thread ready and it is chosen. */
static void block(enum state state, const void *object, uint64_t deadline)
{
    self->state = state;
    self->object = object;
    self->deadline = deadline;
    if (deadline != UINT64_MAX)
        s.timed_waiters++;
    hand_over(choose());
}

/* ---- mutexes --------------------------------------------------------------------------------------------------- */

static struct mutex_state *state_of(struct mutex *m)
{
    return (struct mutex_state *)(void *)m;
}

static uint32_t own_number(void)
{
    return self ? index_of(self) + 1 : THREADS_MAX + 1;
}

void mutex_init(struct mutex *m)
{
    memset(m, 0, sizeof *m);
}

void mutex_deinit(struct mutex *m)
{
    ASSERT(state_of(m)->owner == 0);
}

/* Without a switch point. */
static void take(struct mutex *m)
{
    ASSERT(state_of(m)->owner != own_number());
    while (state_of(m)->owner != 0) {
        ASSERT(self != NULL); /* outside of a run there is nobody to wait for */
        block(MUTEX, m, UINT64_MAX);
    }
    state_of(m)->owner = own_number();
}

static void release(struct mutex *m)
{
    ASSERT(state_of(m)->owner == own_number());
    state_of(m)->owner = 0;
    if (self == NULL)
        return;
    for (struct thread *t = s.threads; t < s.threads + s.used; t++)
        if (t->state == MUTEX && t->object == m)
            make_ready(t, false);
}

void mutex_lock(struct mutex *m)
{
    point();
    take(m);
}

void mutex_unlock(struct mutex *m)
{
    release(m);
    point();
}

void mutex_unlock_ptr(struct mutex **m)
{
    if (*m)
        mutex_unlock(*m);
}

/* ---- conditions ------------------------------------------------------------------------------------------------ */

void cond_init(struct cond *c)
{
    memset(c, 0, sizeof *c);
}

void cond_deinit(struct cond *c)
{
    for (struct thread *t = s.threads; t < s.threads + s.used; t++)
        ASSERT(t->state != CONDITION || t->object != c);
}

void cond_wait(struct cond *c, struct mutex *m)
{
    ASSERT(self != NULL);
    release(m);
    block(CONDITION, c, UINT64_MAX);
    take(m);
}

bool cond_wait_for(struct cond *c, struct mutex *m, uint64_t ns)
{
    ASSERT(self != NULL);
    uint64_t clock = now();
    release(m);
    block(CONDITION, c, ns < UINT64_MAX - 1 - clock ? clock + ns : UINT64_MAX - 1);
    bool in_time = !self->timed_out;
    take(m);
    return in_time;
}

/* Any of those who wait. */
void cond_signal(struct cond *c)
{
    struct thread *waiting[THREADS_MAX];
    size_t count = 0;
    for (struct thread *t = s.threads; t < s.threads + s.used; t++)
        if (t->state == CONDITION && t->object == c)
            waiting[count++] = t;
    if (count > 0)
        make_ready(waiting[count > 1 ? draw(count) : 0], false);
    point();
}

void cond_broadcast(struct cond *c)
{
    for (struct thread *t = s.threads; t < s.threads + s.used; t++)
        if (t->state == CONDITION && t->object == c)
            make_ready(t, false);
    point();
}

/* ---- threads --------------------------------------------------------------------------------------------------- */

/* The destructor of a variable of each thread. The first time others may still have to run, which lock and unlock: it
 * asks for a second round. Then the thread has nothing left to do that anybody would notice. */
static void thread_ends(void *arg)
{
    struct thread *t = arg;
    if (t->end_rounds++ == 0) {
        ASSERT(pthread_setspecific(end_key, t) == 0);
        return;
    }
    t->state = DONE;
    for (struct thread *other = s.threads; other < s.threads + s.used; other++)
        if (other->state == JOIN && other->object == t)
            make_ready(other, false);
    self = NULL;
    for (struct thread *other = s.threads; other < s.threads + s.used; other++) {
        if (other->state == FREE || other->state == DONE)
            continue;
        struct thread *next = choose();
        event_note(next);
        token_give(next);
        return;
    }
}

static void end_key_create(void)
{
    ASSERT(pthread_key_create(&end_key, thread_ends) == 0);
}

static void *thread_main(void *arg)
{
    struct thread *t = arg;
    token_await(t);
    self = t;
    ASSERT(pthread_setspecific(end_key, t) == 0);
    return t->fn(t->arg);
}

static struct thread *thread_add(const char *name, void *(*fn)(void *), void *arg)
{
    struct thread *t = s.threads;
    while (t < s.threads + THREADS_MAX && t->state != FREE)
        t++;
    ASSERT(t < s.threads + THREADS_MAX);
    s.used = u64_max(s.used, index_of(t) + 1);
    *t = (struct thread){.state = READY, .fn = fn, .arg = arg, .deadline = UINT64_MAX};
    snprintf(t->name, sizeof t->name, "%s", name);
    t->priority = UINT64_MAX / 2 + draw(UINT64_MAX / 2);
    ASSERT(pthread_create(&t->handle, NULL, thread_main, t) == 0);
    s.counts.threads++;
    return t;
}

enum nokv_status thread_create(pthread_t *out_thread, const char *name, void *(*fn)(void *), void *arg)
{
    ASSERT(self != NULL);
    if (s.create_fails_in > 0 && !s.is_exclusive && --s.create_fails_in == 0) {
        s.counts.failed_creations++;
        return FAIL_ERRNO(EAGAIN, "could not start thread %s", name);
    }
    *out_thread = thread_add(name, fn, arg)->handle;
    sched_trace("starts %s", name);
    point();
    return NOKV_OK;
}

void sched_fail_create(uint64_t k)
{
    s.create_fails_in = k;
}

void thread_join(pthread_t handle)
{
    struct thread *t = s.threads;
    while (t < s.threads + THREADS_MAX && (t->state == FREE || !pthread_equal(t->handle, handle)))
        t++;
    ASSERT(self != NULL && t < s.threads + THREADS_MAX);
    point();
    while (t->state != DONE)
        block(JOIN, t, UINT64_MAX);
    ASSERT(pthread_join(handle, NULL) == 0);
    t->state = FREE;
}

void thread_lower_priority(void)
{
    /* the seed decides who runs */
}

void thread_yield(void)
{
    if (self == NULL) {
        (void)sched_yield();
        return;
    }
    bool was_exclusive = s.is_exclusive && self == s.caller;
    if (was_exclusive)
        s.is_exclusive = false;
    self->priority = --s.lowest_priority;
    deadlines_expire();
    struct thread *to = choose_ready(self);
    if (to == NULL && s.timed_waiters > 0)
        to = choose_after_waiting();
    if (to != NULL)
        hand_over(to);
    if (was_exclusive)
        s.is_exclusive = true;
}

/* ---- the call of a time ---------------------------------------------------------------------------------------- */

void sched_call_at(uint64_t at, void (*fn)(void *arg), void *arg)
{
    s.call_at = at;
    s.call_fn = fn;
    s.call_arg = arg;
}

static void *caller_main(void *arg)
{
    (void)arg;
    for (;;) {
        s.is_exclusive = false;
        block(CALL, NULL, UINT64_MAX);
        if (s.is_over)
            return NULL;
        s.call_fn(s.call_arg);
    }
}

/* ---- a run ----------------------------------------------------------------------------------------------------- */

struct first_call {
    void (*fn)(void *arg);
    void *arg;
};

static void *first_main(void *arg)
{
    struct first_call *call = arg;
    s.caller = thread_add("examiner", caller_main, NULL);
    hand_over(s.caller); /* to where it waits for a call */
    call->fn(call->arg);
    s.is_over = true;
    s.call_at = UINT64_MAX;
    make_ready(s.caller, false);
    thread_join(s.caller->handle);
    for (struct thread *t = s.threads; t < s.threads + s.used; t++)
        ASSERT(t->state == FREE || t == self);
    return NULL;
}

void sched_run(const struct sched_options *options, void (*fn)(void *arg), void *arg)
{
    struct first_call call = {.fn = fn, .arg = arg};
    ASSERT(pthread_once(&end_once, end_key_create) == 0);
    ASSERT(self == NULL);
    sched_violation_fn on_violation = s.on_violation;
    memset(&s, 0, sizeof s);
    s.options = *options;
    s.on_violation = on_violation;
    s.random = options->seed;
    s.lowest_priority = UINT64_MAX / 2;
    s.call_at = UINT64_MAX;
    struct thread *first = thread_add("main", first_main, &call);
    token_give(first);
    ASSERT(pthread_join(first->handle, NULL) == 0);
}
