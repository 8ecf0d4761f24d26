// SPDX-License-Identifier: Apache-2.0
/* Pinned objects: when they are destroyed, and that it happens once, under threads that pin, hand over and unref. */
#include "base/pin.h"

#include <sched.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "test.h"

#define CANARY 0x5afe5afe5afe5afeull

static _Atomic uint64_t destroyed;

struct thing {
    struct pinned_object pinned;
    uint64_t canary;
};

static void thing_destroy(struct pinned_object *o)
{
    struct thing *t = CONTAINER_OF(o, struct thing, pinned);
    ASSERT(t->canary == CANARY);
    t->canary = 0; /* a plain write: the thread sanitizer compares it with the readers' plain reads */
    atomic_fetch_add_explicit(&destroyed, 1, memory_order_relaxed);
    mem_free(t);
}

static struct thing *thing_create(void)
{
    struct thing *t = mem_alloc_aligned(CACHE_LINE, sizeof *t);
    assert_non_null(t);
    pinned_init(&t->pinned, thing_destroy);
    t->canary = CANARY;
    return t;
}

static uint64_t destroyed_count(void)
{
    return atomic_load_explicit(&destroyed, memory_order_relaxed);
}

/* The one place that destroys: unrefs and unpins, which anybody may be in a hurry with, never do. */
static void reclaim(void)
{
    assert_int_equal(epoch_reclaim(), 0);
}

/* Without pins, the object goes after the last unref. */
static void last_unref_destroys(void **state)
{
    (void)state;
    uint64_t before = destroyed_count();
    struct thing *t = thing_create();
    pinned_ref(&t->pinned);
    pinned_unref(&t->pinned);
    reclaim();
    assert_int_equal(destroyed_count(), before);
    pinned_unref(&t->pinned);
    assert_int_equal(destroyed_count(), before);
    reclaim();
    assert_int_equal(destroyed_count(), before + 1);
}

/* Pins outlive the last reference: the object goes after the last of them, not after an earlier one. */
static void last_unpin_destroys(void **state)
{
    (void)state;
    uint64_t before = destroyed_count();
    struct thing *t = thing_create();
    for (int i = 0; i < 3; i++)
        pinned_pin(&t->pinned);
    pinned_unpin(&t->pinned);
    pinned_unref(&t->pinned);
    reclaim();
    assert_int_equal(destroyed_count(), before);
    pinned_unpin(&t->pinned);
    reclaim();
    assert_int_equal(destroyed_count(), before);
    assert_true(epoch_has_waiting()); /* whoever reclaims now and then has to go on looking */
    pinned_unpin(&t->pinned);
    assert_int_equal(destroyed_count(), before);
    assert_true(epoch_has_waiting());
    reclaim();
    assert_int_equal(destroyed_count(), before + 1);
    assert_false(epoch_has_waiting());
}

static _Atomic int stage;

static void stage_wait(int wanted)
{
    while (atomic_load_explicit(&stage, memory_order_acquire) < wanted)
        sched_yield();
}

static void *pin_inside_section(void *arg)
{
    ASSERT(epoch_register() == NOKV_OK);
    epoch_enter();
    atomic_store_explicit(&stage, 1, memory_order_release);
    stage_wait(2);
    pinned_pin(arg);
    epoch_exit();
    return NULL;
}

/* A reader inside an epoch section may still pin an object whose last reference is gone meanwhile. */
static void epoch_section_keeps_it(void **state)
{
    (void)state;
    uint64_t before = destroyed_count();
    struct thing *t = thing_create();
    pthread_t thread;
    OK(thread_create(&thread, "reader", pin_inside_section, &t->pinned));
    stage_wait(1);
    pinned_unref(&t->pinned);
    assert_int_equal(epoch_reclaim(), 1);
    atomic_store_explicit(&stage, 2, memory_order_release);
    thread_join(thread);
    assert_int_equal(epoch_reclaim(), 0);
    assert_int_equal(destroyed_count(), before);
    pinned_unpin(&t->pinned);
    reclaim();
    assert_int_equal(destroyed_count(), before + 1);
}

static _Atomic int pinned_count;

static void *pin_beside_others(void *arg)
{
    ASSERT(epoch_register() == NOKV_OK);
    pinned_pin(arg);
    atomic_fetch_add_explicit(&pinned_count, 1, memory_order_acq_rel);
    while (atomic_load_explicit(&pinned_count, memory_order_acquire) < 2 * PIN_SHARDS)
        sched_yield(); /* so that each thread has a slot of its own, and with it every shard is used */
    return NULL;
}

/* Pins count wherever they were taken: the object stays until as many were dropped as all shards have. */
static void every_shard_counts(void **state)
{
    (void)state;
    uint64_t before = destroyed_count();
    struct thing *t = thing_create();
    pthread_t threads[2 * PIN_SHARDS];
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
        OK(thread_create(&threads[i], "reader", pin_beside_others, &t->pinned));
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
        thread_join(threads[i]);
    pinned_unref(&t->pinned);
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
        reclaim();
        assert_int_equal(destroyed_count(), before);
        pinned_unpin(&t->pinned);
    }
    reclaim();
    assert_int_equal(destroyed_count(), before + 1);
}

static void *unpin_elsewhere(void *arg)
{
    ASSERT(epoch_thread_slot == NULL);
    pinned_unpin(arg);
    return NULL;
}

/* A thread that never registered may drop a pin, the last one included. */
static void unregistered_thread_unpins(void **state)
{
    (void)state;
    uint64_t before = destroyed_count();
    struct thing *t = thing_create();
    pinned_pin(&t->pinned);
    pinned_pin(&t->pinned);
    pthread_t thread;
    OK(thread_create(&thread, "unpin", unpin_elsewhere, &t->pinned));
    thread_join(thread);
    pinned_unref(&t->pinned);
    reclaim();
    assert_int_equal(destroyed_count(), before);
    OK(thread_create(&thread, "unpin", unpin_elsewhere, &t->pinned));
    thread_join(thread);
    reclaim();
    assert_int_equal(destroyed_count(), before + 1);
}

static _Atomic int dropped; /* relaxed on purpose: it orders the threads in time and nothing more */

static void *read_and_unpin(void *arg)
{
    struct thing *t = arg;
    ASSERT(epoch_register() == NOKV_OK); /* a shard of its own */
    ASSERT(t->canary == CANARY);
    pinned_unpin(&t->pinned);
    atomic_store_explicit(&dropped, 1, memory_order_relaxed);
    while (atomic_load_explicit(&dropped, memory_order_relaxed) < 2)
        sched_yield(); /* it keeps its shard until the other is done */
    return NULL;
}

/* What a thread read under its pin comes before the destroy of another thread's later unpin (thread sanitizer). */
static void reads_come_before_destroy(void **state)
{
    (void)state;
    uint64_t before = destroyed_count();
    struct thing *t = thing_create();
    pthread_t thread;
    pinned_pin(&t->pinned);
    pinned_pin(&t->pinned);
    pinned_unref(&t->pinned);
    reclaim();
    OK(thread_create(&thread, "reader", read_and_unpin, t));
    while (atomic_load_explicit(&dropped, memory_order_relaxed) < 1)
        sched_yield();
    pinned_unpin(&t->pinned);
    reclaim();
    assert_int_equal(destroyed_count(), before + 1);
    atomic_store_explicit(&dropped, 2, memory_order_relaxed);
    thread_join(thread);
}

enum { READERS = 3, MAILBOXES = 64, SWAPS = 3000 };

static struct thing *_Atomic published;
static struct thing *_Atomic mailboxes[MAILBOXES]; /* pins on their way to another thread */
static _Atomic bool stop;

/* Pin what is published, leave the pin in a mailbox, and drop the pin that lay there. */
static void *reader(void *arg)
{
    uint64_t random = (uintptr_t)arg;
    ASSERT(epoch_register() == NOKV_OK);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        epoch_enter();
        struct thing *t = atomic_load_explicit(&published, memory_order_seq_cst);
        pinned_pin(&t->pinned);
        epoch_exit();
        ASSERT(t->canary == CANARY);
        t = atomic_exchange_explicit(&mailboxes[test_random(&random) % MAILBOXES], t, memory_order_acq_rel);
        if (t) {
            ASSERT(t->canary == CANARY);
            pinned_unpin(&t->pinned);
        }
    }
    return NULL;
}

/* Readers that pin and drop each other's pins while the object is replaced all the time: each is destroyed once. */
static void swaps_under_readers(void **state)
{
    (void)state;
    uint64_t before = destroyed_count();
    atomic_store(&published, thing_create());
    pthread_t threads[READERS];
    for (uintptr_t i = 0; i < READERS; i++)
        OK(thread_create(&threads[i], "reader", reader, (void *)(i + 1)));
    for (int i = 0; i < SWAPS; i++) {
        struct thing *old = atomic_exchange_explicit(&published, thing_create(), memory_order_seq_cst);
        pinned_unref(&old->pinned);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < READERS; i++)
        thread_join(threads[i]);
    pinned_unref(&atomic_load(&published)->pinned);
    for (int i = 0; i < MAILBOXES; i++) {
        struct thing *t = atomic_load(&mailboxes[i]);
        if (t)
            pinned_unpin(&t->pinned);
    }
    epoch_drain();
    assert_int_equal(destroyed_count(), before + SWAPS + 1);
}

int main(void)
{
    OK(epoch_register());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_unref_destroys),       cmocka_unit_test(last_unpin_destroys),
        cmocka_unit_test(epoch_section_keeps_it),    cmocka_unit_test(unregistered_thread_unpins),
        cmocka_unit_test(reads_come_before_destroy), cmocka_unit_test(swaps_under_readers),
        cmocka_unit_test(every_shard_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
