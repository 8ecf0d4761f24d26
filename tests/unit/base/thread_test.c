// SPDX-License-Identifier: Apache-2.0
/* Mutexes, conditions and the clock. */
#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "test.h"

static struct mutex mu;
static struct cond changed;
static int turn;     /* protected by mu */
static long counter; /* protected by mu */

static void *count_up(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5000; i++) {
        struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&mu);
        counter++;
        (void)held;
    }
    return NULL;
}

/* A mutex excludes, and a scope gives it back. */
static void mutex_excludes(void **state)
{
    (void)state;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        OK(thread_create(&threads[i], "counter", count_up, NULL));
    for (int i = 0; i < 3; i++)
        thread_join(threads[i]);
    assert_int_equal(counter, 15000);
}

static void *tell_name(void *arg)
{
    (void)prctl(PR_GET_NAME, arg);
    return NULL;
}

/* A thread has its name from its first instruction on, and the one that made it keeps its own. */
static void threads_have_names(void **state)
{
    (void)state;
    pthread_t thread;
    char before[16], after[16], name[16] = "";
    (void)prctl(PR_GET_NAME, before);
    OK(thread_create(&thread, "fifteen-letters", tell_name, name));
    thread_join(thread);
    (void)prctl(PR_GET_NAME, after);
    assert_string_equal(name, "fifteen-letters");
    assert_string_equal(after, before);
}

static bool is_refused; /* pthread_create has no room for another one */

int __real_pthread_create(pthread_t *out, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    return is_refused ? EAGAIN : __real_pthread_create(out, attr, fn, arg);
}

/* A thread that cannot be started is an error that names it, and the one that tried has its own name and signals. */
static void refused_thread(void **state)
{
    (void)state;
    pthread_t thread;
    char before[16], after[16];
    sigset_t signals;
    (void)prctl(PR_GET_NAME, before);
    is_refused = true;
    FAILS(IO, thread_create(&thread, "one-too-many", tell_name, NULL));
    is_refused = false;
    assert_non_null(strstr(status_message(), "could not start thread one-too-many: "));
    (void)prctl(PR_GET_NAME, after);
    assert_string_equal(after, before);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &signals), 0);
    assert_false(sigismember(&signals, SIGTERM));
}

static void *lower_priority(void *arg)
{
    thread_lower_priority();
    *(int *)arg = getpriority(PRIO_PROCESS, 0);
    return NULL;
}

/* A thread lowers its own priority and no other's. */
static void priority_is_the_threads_own(void **state)
{
    (void)state;
    pthread_t thread;
    int before = getpriority(PRIO_PROCESS, 0), lower = -100;
    OK(thread_create(&thread, "lower", lower_priority, &lower));
    thread_join(thread);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), before);
    assert_true(lower > before || before == 19);
}

static void *answer(void *arg)
{
    (void)arg;
    mutex_lock(&mu);
    for (int i = 0; i < 100; i++) {
        while (turn != 1)
            cond_wait(&changed, &mu);
        turn = 0;
        cond_broadcast(&changed);
    }
    mutex_unlock(&mu);
    return NULL;
}

/* Two threads take turns a hundred times: no wake-up is lost. */
static void conditions_wake(void **state)
{
    (void)state;
    pthread_t thread;
    OK(thread_create(&thread, "answer", answer, NULL));
    mutex_lock(&mu);
    for (int i = 0; i < 100; i++) {
        turn = 1;
        cond_signal(&changed);
        while (turn != 0)
            cond_wait(&changed, &mu);
    }
    mutex_unlock(&mu);
    thread_join(thread);
}

/* A wait that nobody ends comes back after its time, not before. */
static void waits_end(void **state)
{
    (void)state;
    mutex_lock(&mu);
    uint64_t before = clock_now_ns();
    bool woken = true;
    while (woken) /* a spurious wake-up is allowed */
        woken = cond_wait_for(&changed, &mu, 1000000);
    assert_true(clock_now_ns() - before >= 1000000);
    mutex_unlock(&mu);
}

int main(void)
{
    mutex_init(&mu);
    cond_init(&changed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mutex_excludes),     cmocka_unit_test(priority_is_the_threads_own),
        cmocka_unit_test(threads_have_names), cmocka_unit_test(conditions_wake),
        cmocka_unit_test(waits_end),          cmocka_unit_test(refused_thread),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    cond_deinit(&changed);
    mutex_deinit(&mu);
    return failed;
}
