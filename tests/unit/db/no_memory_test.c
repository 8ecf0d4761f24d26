// SPDX-License-Identifier: Apache-2.0
/*
 * no_memory_test.c - every allocation of a call fails in turn: the call says NO_MEMORY or does without, and the next
 * one works. Background threads that cannot be registered leave their work to others.
 */
#include <errno.h>
#include <sched.h>

#include "values_fixture.h"

enum { KEYS = 60, STREAM_BYTES = 40000, THREADS_MAX = 200 };

/* Tables on several levels, a memtable that waits for its flush, and the active one, with values of all homes. */
static void scene_init(struct fixture *f)
{
    values_init(f);
    fixture_open(f);
    for (uint64_t round = 1; round <= 2; round++) {
        for (uint64_t i = 0; i < KEYS; i++)
            sized_put(f->db, i, round, home_sizes[i % 3]);
        OK(nokv_compact_range(f->db, NULL, 0, NULL, 0));
    }
    sized_put(f->db, 3, 2, home_sizes[0]);
    OK(nokv_flush(f->db));
    sized_put(f->db, 6, 2, home_sizes[0]);
    sim_fail(f->sim, IO_OP_WRITE, IO_FLUSH, 1, ENOSPC, true);
    FAILS(NO_SPACE, nokv_flush(f->db));
    sized_put(f->db, 8, 2, home_sizes[2]);
}

static void scene_check(nokv_db *db)
{
    for (uint64_t i = 0; i < KEYS; i++)
        sized_check(db, i, 2, home_sizes[i % 3]);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static nokv_status call_iterate(nokv_db *db)
{
    nokv_iter *it = NULL;
    uint64_t seen = 0;
    nokv_status status = nokv_iter_create(db, NULL, &it);
    if (status != NOKV_OK)
        return status;
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it))
        seen++;
    status = nokv_iter_status(it);
    nokv_iter_destroy(it);
    assert_true(status != NOKV_OK || seen == KEYS);
    return status;
}

static nokv_status call_snapshot(nokv_db *db)
{
    const nokv_snapshot *snapshot = NULL;
    nokv_status status = nokv_snapshot_create(db, &snapshot);
    if (status == NOKV_OK)
        nokv_snapshot_release(db, snapshot);
    return status;
}

static nokv_status call_stats_text(nokv_db *db)
{
    char *text = NULL;
    nokv_status status = nokv_stats_text(db, &text);
    if (status == NOKV_OK)
        assert_non_null(strstr(text, "io_uring"));
    nokv_free(text);
    return status;
}

static nokv_status call_verify(nokv_db *db)
{
    nokv_verify_report report;
    return nokv_verify(db, NULL, NULL, &report);
}

static nokv_status stream_put(nokv_db *db, uint64_t key, uint64_t size_max, size_t size)
{
    char name[24];
    nokv_value_writer *w = NULL;
    nokv_status status = nokv_value_writer_open(db, name, kv_key(key, name), size_max, &w);
    if (status != NOKV_OK)
        return status;
    uint8_t *value = malloc(size); /* not one of those that fail */
    assert_non_null(value);
    sized_fill(key, 2, value, size);
    status = nokv_value_writer_append(w, value, size / 2);
    if (status == NOKV_OK)
        status = nokv_value_writer_append(w, value, 0);
    if (status == NOKV_OK)
        status = nokv_value_writer_append(w, value + size / 2, size - size / 2);
    free(value);
    if (status == NOKV_OK)
        return nokv_value_writer_commit(w, NULL);
    nokv_value_writer_abandon(w);
    return status;
}

/* The same value as before, so that all calls leave the database as it was. */
static nokv_status call_stream(nokv_db *db)
{
    return stream_put(db, 2, 0, home_sizes[2]);
}

static nokv_status call_stream_announced(nokv_db *db)
{
    return stream_put(db, 2, home_sizes[2], home_sizes[2]);
}

/* Whichever allocation of a call fails: NO_MEMORY or nothing is noticed, and the next call works. */
static void test_calls(void **state)
{
    (void)state;
    static nokv_status (*const calls[])(nokv_db *) = {call_iterate, call_snapshot, call_stats_text,
                                                      call_verify,  call_stream,   call_stream_announced};
    struct fixture f;
    scene_init(&f);
    for (size_t c = 0; c < ARRAY_COUNT(calls); c++) {
        bool reached = true;
        uint64_t failed = 0;
        for (uint64_t k = 0; reached; k++) {
            uint64_t before = mem_alloc_count();
            mem_fail_after(k);
            nokv_status status = calls[c](f.db);
            mem_fail_after(UINT64_MAX);
            reached = mem_alloc_count() - before > k;
            if (status != NOKV_OK)
                FAILS(NO_MEMORY, status);
            failed += status != NOKV_OK;
            OK(calls[c](f.db));
        }
        if (failed == 0)
            fail_msg("call %zu never failed", c);
        scene_check(f.db);
    }
    sim_fail_clear(f.sim);
    OK(nokv_flush(f.db));
    scene_check(f.db);
    OK(db_check(f.db));
    fixture_deinit(&f);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static bool kth_open_run(const struct fixture *scene, uint64_t k, uint64_t *failed)
{
    struct fixture f = {.options = scene->options};
    OK(sim_clone(scene->sim, &f.sim));
    OK(sim_io_create(f.sim, &f.io));
    uint64_t before = mem_alloc_count();
    mem_fail_after(k);
    nokv_status status = fixture_try_open(&f);
    bool reached = mem_alloc_count() - before > k;
    mem_fail_after(UINT64_MAX);
    if (status != NOKV_OK) { /* IO: of a log, of which a part may be written */
        if (status != NOKV_ERR_IO)
            FAILS(NO_MEMORY, status);
        fixture_open(&f);
    }
    *failed += status != NOKV_OK;
    scene_check(f.db);
    fixture_deinit(&f);
    return reached;
}

/* Whichever allocation of an open fails after the process was killed, with background threads and without: NO_MEMORY,
 * and the next open finds everything. */
static void test_open(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    fixture_kill(&f);
    sim_fail_clear(f.sim);
    for (int threads = 0; threads < 2; threads++) {
        uint64_t failed = 0;
        f.options.inline_background_work = threads == 0;
        for (uint64_t k = 0; kth_open_run(&f, k, &failed); k++)
            continue;
        assert_true(failed > 20);
    }
    fixture_deinit(&f);
}

/* ---- collecting -------------------------------------------------------------------------------------------------- */

/* Every third value is garbage, and more than that of the oldest segments. */
static void garbage_scene_init(struct fixture *f)
{
    values_init(f);
    f->options.vlog_space_amp_max = 1000; /* nothing is collected before it is asked for */
    fixture_open(f);
    for (uint64_t i = 0; i < KEYS; i++)
        sized_put(f->db, i, 1, home_sizes[i % 3]);
    OK(nokv_flush(f->db));
    for (uint64_t i = 0; i < KEYS; i++)
        if (i % 3 == 0 || i < KEYS / 3)
            kv_delete(f->db, i);
    OK(nokv_compact_range(f->db, NULL, 0, NULL, 0));
    sized_put(f->db, KEYS - 1, 1, home_sizes[(KEYS - 1) % 3]);
    OK(nokv_flush(f->db));
    fixture_close(f);
}

static void garbage_scene_check(nokv_db *db)
{
    for (uint64_t i = 0; i < KEYS; i++)
        sized_check(db, i, i % 3 != 0 && i >= KEYS / 3, home_sizes[i % 3]);
}

static nokv_status call_collect(nokv_db *db)
{
    return nokv_vlog_collect(db, 1.0);
}

/* It makes the second table of level 0, which is merged with the first one. */
static nokv_status call_merge(nokv_db *db)
{
    return nokv_flush(db);
}

static bool kth_work_run(const struct fixture *scene, nokv_status (*call)(nokv_db *), uint64_t k, uint64_t *failed)
{
    struct fixture f = {.options = scene->options};
    struct segment_list l;
    OK(sim_clone(scene->sim, &f.sim));
    OK(sim_io_create(f.sim, &f.io));
    fixture_open(&f);
    OK(nokv_put(f.db, "key", 3, "v", 1, NULL));
    uint64_t before = mem_alloc_count();
    mem_fail_after(k);
    nokv_status status = call(f.db);
    bool reached = mem_alloc_count() - before > k;
    mem_fail_after(UINT64_MAX);
    *failed += status != NOKV_OK;
    garbage_scene_check(f.db);
    nokv_status again = call(f.db);
    if (again == NOKV_ERR_POISONED) { /* the disk had no memory within a write to the log */
        (void)nokv_close(TAKE(f.db));
        fixture_open(&f);
        again = call(f.db);
    }
    OK(again);
    OK(nokv_vlog_collect(f.db, 1.0));
    segments_list(f.db, &l);
    assert_true(l.file_bytes <= l.live_bytes + (l.count + 1) * 5 * PAGE_BYTES);
    fixture_close(&f);
    fixture_open(&f); /* it removes what there was no memory to remember as obsolete */
    garbage_scene_check(f.db);
    OK(nokv_wait_idle(f.db));
    OK(db_check(f.db));
    fixture_deinit(&f);
    return reached;
}

/* Whichever allocation of a collection or of a merge fails, in the call or in a thread: no value is missed, and the
 * next one does it all. */
static void test_background_work(void **state)
{
    (void)state;
    static nokv_status (*const calls[])(nokv_db *) = {call_collect, call_merge};
    struct fixture f;
    garbage_scene_init(&f);
    for (size_t c = 0; c < 2 * ARRAY_COUNT(calls); c++) {
        uint64_t failed = 0;
        f.options.inline_background_work = c < ARRAY_COUNT(calls);
        for (uint64_t k = 0; kth_work_run(&f, calls[c % ARRAY_COUNT(calls)], k, &failed); k++)
            continue;
        assert_true(failed > 5);
    }
    f.options.inline_background_work = true;
    fixture_deinit(&f);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

struct crowd {
    nokv_db *db;
    _Atomic bool leave, refused;
    _Atomic size_t registered;
};

/* Without memory: registered for as long as there is room, or, where there is none, does what background threads do. */
static void *crowd_run(void *arg)
{
    struct crowd *c = arg;
    mem_fail_after(0);
    enum nokv_status status = epoch_register();
    if (status == NOKV_OK) {
        atomic_fetch_add(&c->registered, 1);
        while (!atomic_load(&c->leave))
            sched_yield();
        return NULL;
    }
    FAILS(NO_MEMORY, status);
    mem_fail_after(0);
    segments_write_full(c->db);
    mem_fail_after(0);
    warm_run(c->db);
    mem_fail_after(UINT64_MAX);
    atomic_store(&c->refused, true);
    return NULL;
}

/* A thread that cannot be registered as a reader writes nothing ahead and warms nothing: who needs it does it. */
static void test_unregistered_threads(void **state)
{
    (void)state;
    struct fixture f;
    struct crowd c = {0};
    pthread_t threads[THREADS_MAX];
    size_t count = 0;
    scene_init(&f);
    sim_fail_clear(f.sim);
    c.db = f.db;
    while (!atomic_load(&c.refused)) {
        assert_true(count < THREADS_MAX);
        OK(thread_create(&threads[count++], "crowd", crowd_run, &c));
        while (atomic_load(&c.registered) != count && !atomic_load(&c.refused))
            sched_yield();
    }
    mem_fail_after(UINT64_MAX);
    atomic_store(&c.leave, true);
    for (size_t i = 0; i < count; i++)
        thread_join(threads[i]);
    sized_put(f.db, 2, 2, home_sizes[2]);
    OK(nokv_flush(f.db));
    scene_check(f.db);
    OK(db_check(f.db));
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_background_work),
        cmocka_unit_test(test_unregistered_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
