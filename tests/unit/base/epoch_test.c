// SPDX-License-Identifier: Apache-2.0
/* Epochs: what a reader may see is not freed under it; what nobody can see is freed. */
#include "base/epoch.h"

#include <errno.h>
#include <sched.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "test.h"

#define CANARY 0x5afe5afe5afe5afeull

struct thing {
    struct epoch_node node;
    uint64_t canary;
};

static _Atomic uint64_t freed;

static void thing_free(struct epoch_node *node)
{
    struct thing *t = CONTAINER_OF(node, struct thing, node);
    ASSERT(t->canary == CANARY);
    t->canary = 0; /* plain: the thread sanitizer compares it with the readers' loads */
    mem_free(t);
    atomic_fetch_add_explicit(&freed, 1, memory_order_relaxed);
}

static struct thing *thing_create(void)
{
    struct thing *t = mem_zalloc(sizeof *t);
    assert_non_null(t);
    t->canary = CANARY;
    return t;
}

static uint64_t freed_count(void)
{
    return atomic_load_explicit(&freed, memory_order_relaxed);
}

/* A retired object goes when somebody reclaims, never in the thread that retires; with no reader inside, at once. */
static void nobody_inside(void **state)
{
    (void)state;
    uint64_t before = freed_count();
    epoch_retire(&thing_create()->node, thing_free);
    epoch_retire(&thing_create()->node, thing_free);
    assert_int_equal(freed_count(), before);
    assert_true(epoch_has_waiting());
    assert_int_equal(epoch_reclaim(), 0);
    assert_int_equal(freed_count(), before + 2);
    assert_false(epoch_has_waiting());
}

static _Atomic int stage;

static void stage_wait(int wanted)
{
    while (atomic_load_explicit(&stage, memory_order_acquire) < wanted)
        sched_yield();
}

static void stage_set(int value)
{
    atomic_store_explicit(&stage, value, memory_order_release);
}

static void *stay_inside(void *arg)
{
    (void)arg;
    ASSERT(epoch_register() == NOKV_OK);
    epoch_enter();
    stage_set(1);
    stage_wait(2);
    epoch_exit();
    stage_set(3);
    stage_wait(4);
    epoch_enter();
    stage_set(5);
    stage_wait(6);
    epoch_exit();
    return NULL;
}

/* A reader holds back what was retired while it was inside, and not what was retired before it entered anew. */
static void reader_holds_back(void **state)
{
    (void)state;
    pthread_t thread;
    uint64_t before = freed_count();
    OK(thread_create(&thread, "reader", stay_inside, NULL));
    stage_wait(1);
    epoch_retire(&thing_create()->node, thing_free);
    epoch_retire(&thing_create()->node, thing_free);
    assert_int_equal(epoch_reclaim(), 2);
    assert_int_equal(freed_count(), before);
    stage_set(2);
    stage_wait(3);
    assert_int_equal(epoch_reclaim(), 0);
    assert_int_equal(freed_count(), before + 2);
    stage_set(4);
    stage_wait(5);
    epoch_retire(&thing_create()->node, thing_free);
    assert_int_equal(epoch_reclaim(), 1);
    stage_set(6);
    epoch_drain();
    assert_int_equal(freed_count(), before + 3);
    thread_join(thread);
}

/* A thread that ended while registered holds nothing back, and its place is used again. */
static void *only_register(void *arg)
{
    ASSERT(epoch_register() == NOKV_OK);
    *(uint32_t *)arg = epoch_thread_index();
    return NULL;
}

/* A thread that ends gives its slot back: the next one gets the same. */
static void places_are_reused(void **state)
{
    (void)state;
    uint32_t first = UINT32_MAX, again = UINT32_MAX;
    pthread_t thread;
    OK(thread_create(&thread, "first", only_register, &first));
    thread_join(thread);
    OK(thread_create(&thread, "again", only_register, &again));
    thread_join(thread);
    assert_int_equal(first, again);
    assert_int_not_equal(first, epoch_thread_index());
}

enum { CROWD = 80 };

struct member {
    enum nokv_status first, again; /* of its first attempt to register, and of one after a refusal */
    char message[100];
};

static void *register_and_wait(void *arg)
{
    struct member *m = arg;
    m->first = m->again = epoch_register();
    if (m->first != NOKV_OK) {
        snprintf(m->message, sizeof m->message, "%s", status_message());
        m->again = epoch_register();
    }
    atomic_fetch_add_explicit(&stage, 1, memory_order_acq_rel);
    stage_wait(1000);
    return NULL;
}

/* More threads than one chunk of slots holds can register; one that finds no memory is told so, and may try again. */
static void many_threads_register(void **state)
{
    (void)state;
    static pthread_t threads[CROWD];
    static struct member members[CROWD];
    int refused = 0;
    stage_set(0);
    mem_fail_after(0); /* the second chunk is the first allocation */
    for (int i = 0; i < CROWD; i++) {
        OK(thread_create(&threads[i], "crowd", register_and_wait, &members[i]));
        stage_wait(i + 1);
    }
    mem_fail_after(UINT64_MAX);
    stage_set(1000);
    for (int i = 0; i < CROWD; i++) {
        thread_join(threads[i]);
        assert_int_equal(members[i].again, NOKV_OK);
        if (members[i].first == NOKV_OK)
            continue;
        refused++;
        assert_int_equal(members[i].first, NOKV_ERR_NO_MEMORY);
        assert_non_null(strstr(members[i].message, "no memory to register a thread as a reader"));
    }
    assert_int_equal(refused, 1);
}

static bool is_value_refused; /* by pthread_setspecific, the next one, once */

int __real_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_pthread_setspecific(pthread_key_t key, const void *value);
NOT_SANITIZED int __wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
    if (!is_value_refused)
        return __real_pthread_setspecific(key, value);
    is_value_refused = false;
    return ENOMEM;
}

static void *register_again(void *arg)
{
    struct member *m = arg;
    is_value_refused = true;
    m->first = epoch_register();
    snprintf(m->message, sizeof m->message, "%s", status_message());
    m->again = epoch_register();
    return NULL;
}

/* A thread whose end would go unnoticed is refused, and its slot given back. */
static void unnoticed_end_is_refused(void **state)
{
    (void)state;
    struct member m = {0};
    uint32_t before = UINT32_MAX, after = UINT32_MAX;
    pthread_t thread;
    OK(thread_create(&thread, "before", only_register, &before));
    thread_join(thread);
    OK(thread_create(&thread, "refused", register_again, &m));
    thread_join(thread);
    assert_int_equal(m.first, NOKV_ERR_NO_MEMORY);
    assert_non_null(strstr(m.message, "could not register a thread as a reader: "));
    assert_int_equal(m.again, NOKV_OK);
    OK(thread_create(&thread, "after", only_register, &after));
    thread_join(thread);
    assert_int_equal(before, after);
}

enum { READERS = 3, SWAPS = 5000 };

static struct thing *_Atomic published;
static _Atomic bool stop;

static void *read_published(void *arg)
{
    (void)arg;
    ASSERT(epoch_register() == NOKV_OK);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        epoch_enter();
        const struct thing *t = atomic_load_explicit(&published, memory_order_seq_cst);
        for (int i = 0; i < 10; i++)
            ASSERT(t->canary == CANARY);
        epoch_exit();
    }
    return NULL;
}

/* Readers never see a freed object while it is replaced thousands of times; in the end all are freed. */
static void swaps_under_readers(void **state)
{
    (void)state;
    uint64_t before = freed_count();
    pthread_t threads[READERS];
    atomic_store(&published, thing_create());
    for (int i = 0; i < READERS; i++)
        OK(thread_create(&threads[i], "reader", read_published, NULL));
    for (int i = 0; i < SWAPS; i++) {
        struct thing *old = atomic_exchange_explicit(&published, thing_create(), memory_order_seq_cst);
        epoch_retire(&old->node, thing_free);
        (void)epoch_reclaim();
    }
    atomic_store(&stop, true);
    for (int i = 0; i < READERS; i++)
        thread_join(threads[i]);
    epoch_retire(&atomic_load(&published)->node, thing_free);
    epoch_drain();
    assert_int_equal(freed_count(), before + SWAPS + 1);
}

static void retire_another(struct epoch_node *node)
{
    thing_free(node);
    epoch_retire(&thing_create()->node, thing_free);
}

/* A retire function may retire more. */
static void retire_within_retire(void **state)
{
    (void)state;
    uint64_t before = freed_count();
    epoch_retire(&thing_create()->node, retire_another);
    assert_int_equal(epoch_reclaim(), 0);
    assert_int_equal(freed_count(), before + 2);
}

struct slow_thing {
    struct epoch_node node;
};

static void slow_free(struct epoch_node *node)
{
    (void)node;
    stage_set(1);
    stage_wait(2);
}

static void *slow_main(void *arg)
{
    struct slow_thing *t = arg;
    epoch_retire(&t->node, slow_free);
    (void)epoch_reclaim();
    return NULL;
}

static _Atomic bool drained;

static void *drain_main(void *arg)
{
    (void)arg;
    epoch_drain();
    atomic_store(&drained, true);
    return NULL;
}

/* Who drains also waits for what another thread has taken off the list and not yet run to its end. */
static void drain_waits_for_others(void **state)
{
    (void)state;
    struct slow_thing t = {0};
    pthread_t slow, drain;
    stage_set(0);
    OK(thread_create(&slow, "slow", slow_main, &t));
    stage_wait(1);
    OK(thread_create(&drain, "drain", drain_main, NULL));
    for (int i = 0; i < 2000 && !atomic_load(&drained); i++)
        sched_yield();
    assert_false(atomic_load(&drained));
    stage_set(2);
    thread_join(slow);
    thread_join(drain);
    assert_true(atomic_load(&drained));
}

int main(void)
{
    OK(epoch_register());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_inside),          cmocka_unit_test(reader_holds_back),
        cmocka_unit_test(places_are_reused),      cmocka_unit_test(many_threads_register),
        cmocka_unit_test(swaps_under_readers),    cmocka_unit_test(retire_within_retire),
        cmocka_unit_test(drain_waits_for_others), cmocka_unit_test(unnoticed_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
