// SPDX-License-Identifier: Apache-2.0
/*
 * durability_test.c - what an acknowledgement is worth when the disk fails: nothing is acknowledged after the first
 * failed sync or log write, however well the disk is afterwards; reads go on; and reopening finds what was promised.
 */
#include <errno.h>
#include <sched.h>

#include "db_fixture.h"

static void scene_init(struct fixture *f)
{
    fixture_init(f);
    fixture_open(f);
    for (uint64_t i = 0; i < 10; i++)
        kv_put(f->db, i, 1);
    OK(nokv_sync_wal(f->db));
}

static void check_ten(struct fixture *f)
{
    for (uint64_t i = 0; i < 10; i++)
        kv_check(f->db, i, 1);
}

/* Nothing may be written any more, whichever way it is asked for, and everything says why. */
static void assert_poisoned(struct fixture *f)
{
    nokv_batch *batch = NULL;
    OK(nokv_batch_create(&batch));
    OK(nokv_batch_put(batch, "k", 1, "v", 1));
    FAILS(POISONED, kv_try_put(f->db, 50, 1, NOKV_SYNC_NONE));
    FAILS(POISONED, kv_try_put(f->db, 50, 1, NOKV_SYNC_COMMIT));
    FAILS(POISONED, nokv_delete(f->db, "k", 1, NULL));
    FAILS(POISONED, nokv_write(f->db, batch, NULL));
    FAILS(POISONED, nokv_sync_wal(f->db));
    FAILS(POISONED, nokv_flush(f->db));
    FAILS(POISONED, nokv_compact_range(f->db, NULL, 0, NULL, 0));
    FAILS(POISONED, nokv_wait_idle(f->db));
    assert_non_null(strstr(status_message(), "could not "));
    assert_int_not_equal(stats_of(f->db).background_error, NOKV_OK);
    nokv_batch_destroy(batch);
}

/* The first failed sync is final: the disk is well again at once, and still no later write or sync is acknowledged. */
static void test_failed_sync(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC};
    for (size_t i = 0; i < ARRAY_COUNT(errors); i++) {
        struct fixture f;
        scene_init(&f);
        kv_put(f.db, 10, 1);
        uint64_t syncs = stats_of(f.db).components[NOKV_COMPONENT_WAL].syncs;
        sim_fail(f.sim, IO_OP_SYNC, IO_WAL, 1, errors[i], false);
        FAILS(IO, kv_try_put(f.db, 11, 1, NOKV_SYNC_COMMIT)); /* not NO_SPACE: it may have been written */
        assert_true(sim_failed(f.sim));
        sim_fail_clear(f.sim);
        assert_poisoned(&f);
        check_ten(&f);
        assert_int_equal(stats_of(f.db).components[NOKV_COMPONENT_WAL].syncs, syncs + 1); /* none was tried again */
        FAILS(POISONED, nokv_close(TAKE(f.db)));
        fixture_open(&f);
        check_ten(&f);
        kv_check(f.db, 50, 0);
        kv_put_synced(f.db, 50, 2);
        fixture_deinit(&f);
    }
}

/* A sync that goes on failing is reported each time and never hidden by a group that another one leads. */
static void test_sync_keeps_failing(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    sim_fail(f.sim, IO_OP_SYNC, IO_WAL, 1, EIO, true);
    for (uint64_t i = 0; i < 5; i++)
        assert_int_not_equal(kv_try_put(f.db, 20 + i, 1, NOKV_SYNC_COMMIT), NOKV_OK);
    sim_fail_clear(f.sim);
    FAILS(POISONED, nokv_close(TAKE(f.db)));
    fixture_power_cut(&f);
    fixture_open(&f);
    check_ten(&f);
    for (uint64_t i = 1; i < 5; i++)
        kv_check(f.db, 20 + i, 0);
    fixture_deinit(&f);
}

/* Which keys from `first` on, `count` of them, an iterator sees. */
static uint64_t keys_seen(nokv_db *db, uint64_t first, uint64_t count)
{
    uint64_t seen = 0;
    char from[24], to[24];
    nokv_iter *it = NULL;
    nokv_iter_options io = {.struct_size = sizeof io};
    io.lower = (nokv_slice){.data = from, .size = kv_key(first, from)};
    io.upper = (nokv_slice){.data = to, .size = kv_key(first + count, to)};
    OK(nokv_iter_create(db, &io, &it));
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it))
        seen++;
    OK(nokv_iter_status(it));
    nokv_iter_destroy(it);
    return seen;
}

/* A batch that finds no memory, half way into the memtable too, is not seen in part, by nobody; when it is in the log
 * by then, writing ends, and the next open has all of it. */
static void test_no_memory_within_a_batch(void **state)
{
    enum { ENTRIES = 1000 };
    (void)state;
    enum nokv_status status = NOKV_ERR_NO_MEMORY;
    unsigned in_the_log = 0;
    for (uint64_t k = 0; status != NOKV_OK; k++) {
        struct fixture f;
        nokv_batch *batch = NULL;
        scene_init(&f);
        OK(nokv_batch_create(&batch));
        for (uint64_t i = 0; i < ENTRIES; i++) {
            char key[24], value[256];
            size_t key_size = kv_key(100 + i, key), value_size = kv_value(100 + i, 1, value);
            OK(nokv_batch_put(batch, key, key_size, value, value_size));
        }
        mem_fail_after(k);
        status = nokv_write(f.db, batch, NULL);
        mem_fail_after(UINT64_MAX);
        nokv_batch_destroy(batch);
        bool is_final = kv_try_put(f.db, 50, 1, NOKV_SYNC_NONE) == NOKV_ERR_POISONED;
        assert_int_equal(keys_seen(f.db, 100, ENTRIES), status == NOKV_OK ? ENTRIES : 0);
        kv_check(f.db, 100, status == NOKV_OK);
        check_ten(&f);
        fixture_kill(&f);
        fixture_open(&f);
        uint64_t seen = keys_seen(f.db, 100, ENTRIES);
        assert_true(seen == ENTRIES || (seen == 0 && status != NOKV_OK));
        in_the_log += status != NOKV_OK && is_final && seen == ENTRIES;
        fixture_deinit(&f);
    }
    assert_true(in_the_log > 0); /* it was met where it is meant to be */
}

/* A log that cannot be written ends writing as a failed sync does. */
static void test_failed_log_write(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    sim_fail(f.sim, IO_OP_WRITE, IO_WAL, 1, EIO, false);
    enum nokv_status status = NOKV_OK;
    for (uint64_t i = 100; i < 2000 && status == NOKV_OK; i++)
        status = kv_try_put(f.db, i, 1, NOKV_SYNC_NONE);
    assert_int_equal(status, NOKV_ERR_IO);
    sim_fail_clear(f.sim);
    assert_poisoned(&f);
    check_ten(&f);
    FAILS(POISONED, nokv_close(TAKE(f.db)));
    fixture_open(&f);
    check_ten(&f);
    fixture_deinit(&f);
}

/* A MANIFEST that cannot be synced: no more is written, the table that it may name stays, and the next open knows. */
static void test_failed_manifest_sync(void **state)
{
    (void)state;
    for (int power = 0; power < 2; power++) {
        struct fixture f;
        scene_init(&f);
        size_t tables = count_of(&f, FILE_SST);
        sim_fail(f.sim, IO_OP_SYNC, IO_MANIFEST, 1, EIO, false);
        assert_int_not_equal(nokv_flush(f.db), NOKV_OK);
        assert_true(sim_failed(f.sim));
        sim_fail_clear(f.sim);
        assert_poisoned(&f);
        check_ten(&f);
        assert_int_equal(count_of(&f, FILE_SST), tables + 1);
        if (power)
            fixture_power_cut(&f);
        else
            FAILS(POISONED, nokv_close(TAKE(f.db)));
        fixture_open(&f);
        check_ten(&f);
        OK(nokv_flush(f.db));
        fixture_deinit(&f);
    }
}

/* A flush that cannot write its table leaves everything readable, and the log that has the same until it is known. */
static void test_failed_flush(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    sim_fail(f.sim, IO_OP_WRITE, IO_FLUSH, 1, EIO, false);
    assert_int_not_equal(nokv_flush(f.db), NOKV_OK);
    sim_fail_clear(f.sim);
    check_ten(&f);
    assert_int_equal(count_of(&f, FILE_SST), 0);
    (void)nokv_close(TAKE(f.db));
    fixture_open(&f);
    check_ten(&f);
    fixture_deinit(&f);
}

/* A full disk is not the end: the flush is reported, and done when there is room. */
static void test_full_disk_in_flush(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    sim_fail(f.sim, IO_OP_WRITE, IO_FLUSH, 1, ENOSPC, true);
    FAILS(NO_SPACE, nokv_flush(f.db));
    check_ten(&f);
    sim_fail_clear(f.sim);
    OK(nokv_flush(f.db));
    assert_int_equal(count_of(&f, FILE_SST), 1);
    assert_int_equal(stats_of(f.db).background_error, NOKV_OK);
    kv_put_synced(f.db, 10, 1);
    fixture_close(&f);
    fixture_open(&f);
    check_ten(&f);
    kv_check(f.db, 10, 1);
    fixture_deinit(&f);
}

/* When nothing can be flushed, writers are told before the memtables are more than was configured; with room they go
 * on. */
static void test_memtables_are_bounded(void **state)
{
    (void)state;
    for (uint32_t max = 2; max <= 5; max++) {
        struct fixture f;
        uint64_t written = 0;
        enum nokv_status status = NOKV_OK;
        fixture_init(&f);
        f.options.memtables_max = max;
        fixture_open(&f);
        sim_fail(f.sim, IO_OP_WRITE, IO_FLUSH, 1, ENOSPC, true);
        for (; status == NOKV_OK && written < 20000; written += status == NOKV_OK)
            status = kv_try_put(f.db, written, 1, NOKV_SYNC_NONE);
        assert_int_equal(status, NOKV_ERR_NO_SPACE);
        nokv_stats s = stats_of(f.db);
        assert_int_equal(s.immutable_count, max - 1);
        assert_true(s.memtable_bytes + s.immutable_bytes <= max * (f.options.memtable_bytes + 4096));
        FAILS(NO_SPACE, kv_try_put(f.db, written, 1, NOKV_SYNC_NONE));
        sim_fail_clear(f.sim);
        kv_put(f.db, written, 1);
        for (uint64_t i = 0; i <= written; i++)
            kv_check(f.db, i, 1);
        fixture_deinit(&f);
    }
}

/* With room again a flush succeeds at once, whatever its threads ran into before, and while it was asked for. */
static void test_flush_with_room_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.options.inline_background_work = false;
    fixture_open(&f);
    for (uint64_t round = 0; round < 10; round++) {
        uint64_t written = 0;
        sim_set_capacity(f.sim, 600 << 10);
        while (kv_try_put(f.db, written, round, NOKV_SYNC_NONE) == NOKV_OK)
            written++;
        sim_set_capacity(f.sim, 0);
        OK(nokv_flush(f.db));
        kv_put(f.db, 0, round);
    }
    fixture_deinit(&f);
}

static nokv_status kv_try_delete(nokv_db *db, uint64_t i)
{
    char key[24];
    return nokv_delete(db, key, kv_key(i, key), NULL);
}

/* A disk that is full for puts is not for deletes: room is kept for some, until that is used up as well; with room
 * everything goes on, and nothing that was deleted comes back. */
static void test_deletes_on_full_disk(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t written = 0, deleted = 0;
    fixture_init(&f);
    fixture_open(&f);
    sim_set_capacity(f.sim, 600 << 10);
    while (kv_try_put(f.db, written, 1, NOKV_SYNC_NONE) == NOKV_OK)
        written++;
    FAILS(NO_SPACE, kv_try_put(f.db, written, 1, NOKV_SYNC_NONE));
    while (deleted < written && kv_try_delete(f.db, deleted) == NOKV_OK)
        deleted++;
    assert_in_range(deleted, 50, written - 1);
    FAILS(NO_SPACE, kv_try_delete(f.db, deleted));
    for (int life = 0; life < 2; life++) {
        for (uint64_t i = 0; i < written; i++)
            kv_check(f.db, i, i >= deleted);
        sim_set_capacity(f.sim, 0);
        kv_put(f.db, written + 1, 1);
        OK(nokv_flush(f.db));
        fixture_kill(&f);
        fixture_open(&f);
    }
    fixture_deinit(&f);
}

/* Whichever read of a verification fails, the first pass over a table or the second, it is told: a table that could not
 * be read to its end has not been verified. */
static void test_failed_reads_in_verify(void **state)
{
    (void)state;
    struct fixture f;
    bool was_met = true;
    fixture_init(&f);
    f.options.sst_read = NOKV_IO_STD;
    fixture_open(&f);
    for (uint64_t i = 0; i < 100; i++)
        kv_put(f.db, i, 1);
    OK(nokv_flush(f.db));
    for (uint64_t k = 1; was_met; k++) {
        nokv_verify_report report = {0};
        fixture_close(&f);
        fixture_open(&f); /* nothing of the table is in the cache */
        sim_fail(f.sim, IO_OP_READ, IO_COMPONENT_COUNT, k, EIO, true);
        enum nokv_status status = nokv_verify(f.db, NULL, NULL, &report);
        was_met = sim_failed(f.sim);
        sim_fail_clear(f.sim);
        assert_int_equal(status, was_met ? NOKV_ERR_IO : NOKV_OK);
        assert_true(k > 1 || was_met);
    }
    fixture_deinit(&f);
}

/* Close reports that the tail of the log could not be made durable; the shared buffer still has it. */
static void test_failed_close(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    kv_put(f.db, 10, 1);
    sim_fail(f.sim, IO_OP_SYNC, IO_WAL, 1, EIO, true);
    assert_int_not_equal(nokv_close(TAKE(f.db)), NOKV_OK);
    assert_true(sim_failed(f.sim));
    sim_fail_clear(f.sim);
    fixture_open(&f);
    check_ten(&f);
    kv_check(f.db, 10, 1);
    fixture_deinit(&f);
}

/* Acknowledged as durable means: there after a power cut, whatever the disk did with what was not synced. */
static void test_commit_survives_power_cut(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct fixture f;
        fixture_init(&f);
        sim_reseed(f.sim, seed);
        fixture_open(&f);
        for (uint64_t i = 0; i < 30; i++)
            kv_put(f.db, i, 1);
        kv_put_synced(f.db, 30, 1); /* and with it everything before */
        for (uint64_t i = 31; i < 40; i++)
            kv_put(f.db, i, 1);
        fixture_power_cut(&f);
        fixture_open(&f);
        uint64_t there = stats_of(f.db).sequence;
        assert_in_range(there, 31, 40);
        for (uint64_t i = 0; i < 40; i++)
            kv_check(f.db, i, i < there);
        fixture_deinit(&f);
    }
}

/* As if another call, on another thread, were sealing a log. */
static void foreign_seal_begin(nokv_db *db)
{
    mutex_lock(&db->mu);
    OK(mem_grow(&db->old_logs, &db->old_log_capacity, db->old_log_count + 1, sizeof *db->old_logs));
    memmove(db->old_logs + 1, db->old_logs, db->old_log_count * sizeof *db->old_logs);
    db->old_logs[0] = (struct old_log){.writer = db->wal, .sealing = true};
    db->old_log_count++;
    atomic_fetch_add(&db->unsealed_logs, 1);
    mutex_unlock(&db->mu);
}

static bool is_sync_under_way(nokv_db *db)
{
    mutex_lock(&db->sync_mu);
    bool is = db->sync_running_log != 0;
    mutex_unlock(&db->sync_mu);
    return is;
}

/* It ends some time after somebody has begun a sync, which has to wait for it. */
static void *foreign_seal_end(void *arg)
{
    nokv_db *db = arg;
    for (int left = 1000; left > 0; left -= is_sync_under_way(db))
        sched_yield();
    mutex_lock(&db->mu);
    db->old_log_count--;
    memmove(db->old_logs, db->old_logs + 1, db->old_log_count * sizeof *db->old_logs);
    atomic_fetch_sub(&db->unsealed_logs, 1);
    cond_broadcast(&db->state_cond);
    mutex_unlock(&db->mu);
    return NULL;
}

/* Without background threads, a write that must become durable waits for the log before its own, which another call is
 * just sealing; that is no failure. */
static void test_seal_of_another_call(void **state)
{
    (void)state;
    struct fixture f;
    pthread_t other;
    scene_init(&f);
    foreign_seal_begin(f.db);
    OK(nokv_flush(f.db)); /* the next log may not go to its file before */
    OK(thread_create(&other, "sealer", foreign_seal_end, f.db));
    kv_put_synced(f.db, 10, 1);
    thread_join(other);
    check_ten(&f);
    fixture_power_cut(&f);
    fixture_open(&f);
    check_ten(&f);
    kv_check(f.db, 10, 1);
    fixture_deinit(&f);
}

static bool is_sealing(nokv_db *db)
{
    mutex_lock(&db->mu);
    bool is = db->old_log_count > 0 && db->old_logs[0].sealing;
    mutex_unlock(&db->mu);
    return is;
}

/* A log's sealer waits for another thread that has to do with it; when that thread's failure is final, the log is not
 * synced any more: that sync would say yes to what is lost. */
static void test_failure_before_a_seal(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.options.inline_background_work = false;
    fixture_open(&f);
    for (uint64_t i = 0; i < 10; i++)
        kv_put(f.db, i, 1);
    mutex_lock(&f.db->mu);
    f.db->wal_writing = rlog_number(f.db->wal);
    mutex_unlock(&f.db->mu);
    OK(nokv_flush(f.db));
    while (!is_sealing(f.db))
        sched_yield();
    FAILS(IO, FAIL(IO, "could not write a log"));
    FAILS(IO, db_poison(f.db, NOKV_ERR_IO, "a log could not be written"));
    uint64_t syncs = stats_of(f.db).components[NOKV_COMPONENT_WAL].syncs;
    mutex_lock(&f.db->mu);
    f.db->wal_writing = 0;
    cond_broadcast(&f.db->state_cond);
    while (f.db->jobs_running > 0)
        cond_wait(&f.db->state_cond, &f.db->mu);
    mutex_unlock(&f.db->mu);
    assert_int_equal(stats_of(f.db).components[NOKV_COMPONENT_WAL].syncs, syncs);
    assert_poisoned(&f);
    fixture_kill(&f);
    fixture_open(&f);
    check_ten(&f);
    fixture_deinit(&f);
}

struct waiter {
    nokv_db *db;
    bool waits; /* under mu */
};

/* As every wait for background work does, until there is an error. */
static void *error_wait(void *arg)
{
    struct waiter *w = arg;
    mutex_lock(&w->db->mu);
    w->waits = true;
    while (w->db->soft_error == NOKV_OK)
        cond_wait(&w->db->state_cond, &w->db->mu);
    mutex_unlock(&w->db->mu);
    return NULL;
}

static bool does_wait(struct waiter *w)
{
    mutex_lock(&w->db->mu);
    bool does = w->waits;
    mutex_unlock(&w->db->mu);
    return does;
}

/* Background work that cannot even begin, for want of memory to choose its inputs, is told to those who wait for it. */
static void test_work_that_cannot_begin(void **state)
{
    (void)state;
    struct fixture f;
    pthread_t thread;
    scene_init(&f);
    OK(nokv_flush(f.db));
    kv_put(f.db, 10, 1);
    OK(nokv_flush(f.db));
    struct waiter w = {.db = f.db};
    OK(thread_create(&thread, "waiter", error_wait, &w));
    while (!does_wait(&w))
        sched_yield();
    mem_fail_after(0);
    FAILS(NO_MEMORY, nokv_wait_idle(f.db)); /* two tables are worth a merge when nothing else is to be done */
    mem_fail_after(UINT64_MAX);
    thread_join(thread);
    OK(nokv_wait_idle(f.db));
    check_ten(&f);
    fixture_deinit(&f);
}

static bool size_add(void *arg, const char *path, uint64_t size)
{
    (void)path;
    *(uint64_t *)arg += align_up(size, SIM_SECTOR);
    return true;
}

/* A log that cannot be made for want of space, and not be removed either, does not stand in the way of an open when a
 * later one has records. (There is room for that one, and none for a table, so that the log before stays.) */
static void test_log_that_stays(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_open(&f);
    uint64_t count = 0, used = 0;
    enum nokv_status status = NOKV_OK;
    sim_set_capacity(f.sim, 1);
    sim_fail(f.sim, IO_OP_NAMESPACE, IO_COMPONENT_COUNT, 1, EIO, true);
    while (status == NOKV_OK)
        if ((status = kv_try_put(f.db, count, 1, NOKV_SYNC_NONE)) == NOKV_OK)
            count++;
    assert_int_equal(status, NOKV_ERR_NO_SPACE);
    assert_true(sim_failed(f.sim));
    sim_fail_clear(f.sim);
    sim_each_file(f.sim, size_add, &used);
    sim_set_capacity(f.sim, used + (100 << 10));
    for (uint64_t i = 0; i < 50; i++)
        kv_put_synced(f.db, count++, 1);
    fixture_kill(&f);
    sim_set_capacity(f.sim, 0);
    fixture_open(&f);
    for (uint64_t i = 0; i < count; i++)
        kv_check(f.db, i, 1);
    fixture_deinit(&f);
}

/* As if another call were flushing: it gives up some time after a writer has come to wait for it. */
static void *foreign_flush_end(void *arg)
{
    nokv_db *db = arg;
    for (int left = 1000; left > 0;) {
        mutex_lock(&db->mu);
        left -= db->immutable_count + 1 >= db->options.memtables_max;
        mutex_unlock(&db->mu);
        sched_yield();
    }
    mutex_lock(&db->mu);
    db->flushing = false;
    cond_broadcast(&db->state_cond);
    mutex_unlock(&db->mu);
    return NULL;
}

/* Without background threads, a writer that waits for room while another call flushes does it itself when that call
 * has given up: nobody else will. */
static void test_flush_of_another_call(void **state)
{
    (void)state;
    struct fixture f;
    pthread_t other;
    scene_init(&f);
    f.db->flushing = true;
    assert_int_equal(pthread_create(&other, NULL, foreign_flush_end, f.db), 0);
    uint64_t count = 0;
    while (stats_of(f.db).flushes == 0)
        kv_put(f.db, count++, 1);
    assert_int_equal(pthread_join(other, NULL), 0);
    for (uint64_t i = 0; i < count; i++)
        kv_check(f.db, i, 1);
    fixture_deinit(&f);
}

/* ---- a sync that failed, then another process -------------------------------------------------------------------- */

static void direct_put(nokv_db *db, uint8_t fill)
{
    static uint8_t value[200 << 10];
    memset(value, fill, sizeof value);
    OK(nokv_put(db, "direct", 6, value, sizeof value, NULL));
}

static bool direct_is(nokv_db *db, uint8_t fill)
{
    nokv_value value = {0};
    enum nokv_status status = nokv_get(db, "direct", 6, NULL, &value);
    bool is = status == NOKV_OK;
    assert_true(is || status == NOKV_ERR_NOT_FOUND);
    for (size_t i = 0; is && i < value.size; i++)
        assert_int_equal(((const uint8_t *)value.data)[i], fill);
    nokv_value_release(&value);
    return is;
}

enum { LOG_KEYS = 120 }; /* several pages of the log */

/* One sync of a component fails; the kernel keeps the pages, as Linux does, and says yes to the next sync. */
static void failed_sync_scene(struct fixture *f, enum io_component component, uint64_t k)
{
    struct sim_options so = {.seed = 1, .failed_syncs_keep = true};
    fixture_init(f);
    io_destroy(f->io);
    sim_destroy(f->sim);
    OK(sim_create(&so, &f->sim));
    OK(sim_io_create(f->sim, &f->io));
    f->options.memtable_bytes = 1 << 20;
    fixture_open(f);
    for (uint64_t i = 0; i < 10; i++)
        kv_put(f->db, i, 1);
    OK(nokv_sync_wal(f->db));
    for (uint64_t i = 10; i < LOG_KEYS; i++)
        kv_put(f->db, i, 1);
    direct_put(f->db, 7);
    OK(rlog_flush(f->db->wal)); /* to the page cache */
    sim_fail(f->sim, IO_OP_SYNC, component, k, EIO, false);
    if (nokv_sync_wal(f->db) == NOKV_OK)
        (void)!nokv_flush(f->db);
    sim_fail_clear(f->sim);
}

/* What another process finds after a failed sync, and goes on from, is durable from then on: it is written again, for
 * the kernel's next yes says nothing of it. */
static void test_reopen_after_failed_sync(void **state)
{
    (void)state;
    static const enum io_component components[] = {IO_WAL, IO_VLOG, IO_MANIFEST, IO_SST};
    for (size_t c = 0; c < ARRAY_COUNT(components); c++)
        for (uint64_t k = 1; k <= 3; k++)
            for (int killed = 0; killed < 2; killed++) {
                struct fixture f;
                failed_sync_scene(&f, components[c], k);
                if (killed)
                    fixture_kill(&f);
                else
                    (void)!nokv_close(TAKE(f.db));
                fixture_open(&f);
                uint64_t seen = keys_seen(f.db, 0, LOG_KEYS);
                bool has_direct = direct_is(f.db, 7);
                assert_true(seen >= 10);
                for (uint64_t i = 1000; i < 1600; i++) /* so that the log's shared buffer holds nothing else */
                    kv_put(f.db, i, 1);
                OK(nokv_sync_wal(f.db));
                fixture_power_cut(&f);
                fixture_open(&f);
                assert_int_equal(keys_seen(f.db, 0, LOG_KEYS), seen);
                assert_int_equal(direct_is(f.db, 7), has_direct);
                assert_int_equal(keys_seen(f.db, 1000, 600), 600);
                fixture_deinit(&f);
            }
}

/* A sync of the directory that fails while a log or a segment is made is final too: what else it was to make durable
 * may be lost, and the next one would say yes. */
static void test_failed_sync_of_a_creation(void **state)
{
    (void)state;
    for (int of_segment = 0; of_segment < 2; of_segment++) {
        struct fixture f;
        scene_init(&f);
        sim_fail(f.sim, IO_OP_SYNC_DIR, IO_COMPONENT_COUNT, 1, EIO, false);
        if (of_segment) {
            static uint8_t value[200 << 10];
            FAILS(IO, nokv_put(f.db, "direct", 6, value, sizeof value, NULL));
        } else {
            FAILS(IO, nokv_flush(f.db));
        }
        assert_true(sim_failed(f.sim));
        sim_fail_clear(f.sim);
        FAILS(POISONED, nokv_put(f.db, "k", 1, "v", 1, NULL));
        (void)!nokv_close(TAKE(f.db));
        fixture_open(&f);
        assert_int_equal(keys_seen(f.db, 0, 10), 10);
        fixture_deinit(&f);
    }
}

/* A flush that writers wait for fails for good: they are told, and nobody waits for ever. */
static void test_failed_flush_with_full_memtables(void **state)
{
    (void)state;
    struct fixture f;
    nokv_status status = NOKV_OK;
    scene_init(&f);
    sim_fail(f.sim, IO_OP_WRITE, IO_FLUSH, 1, ENOSPC, true);
    for (uint64_t i = 100; i < 5000 && status == NOKV_OK; i++)
        status = kv_try_put(f.db, i, 1, NOKV_SYNC_NONE);
    FAILS(NO_SPACE, status);
    sim_fail(f.sim, IO_OP_WRITE, IO_FLUSH, 1, EIO, true);
    FAILS(POISONED, kv_try_put(f.db, 50, 1, NOKV_SYNC_NONE));
    assert_non_null(strstr(status_message(), "background work failed"));
    sim_fail_clear(f.sim);
    FAILS(POISONED, nokv_flush(f.db));
    check_ten(&f);
    fixture_kill(&f);
    fixture_open(&f);
    check_ten(&f);
    fixture_deinit(&f);
}

/* A log that could be neither made nor removed again is removed before the next one is made, or there is no next one.
 */
static void test_log_that_was_not_made(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    sim_fail(f.sim, IO_OP_WRITE, IO_WAL, 1, ENOSPC, true); /* the new log's header */
    FAILS(NO_SPACE, nokv_flush(f.db));
    sim_fail_clear(f.sim);
    assert_int_not_equal(f.db->stray_log, 0);
    sim_fail(f.sim, IO_OP_NAMESPACE, IO_COMPONENT_COUNT, 1, EIO, false);
    FAILS(IO, nokv_flush(f.db));
    assert_true(sim_failed(f.sim));
    sim_fail_clear(f.sim);
    OK(nokv_flush(f.db));
    assert_int_equal(f.db->stray_log, 0);
    OK(db_check(f.db));
    kv_put_synced(f.db, 50, 1);
    fixture_power_cut(&f);
    fixture_open(&f);
    check_ten(&f);
    kv_check(f.db, 50, 1);
    fixture_deinit(&f);
}

/* Sequence numbers that are used up are not given again: a write says so, and nothing else changes. */
static void test_last_sequence_number(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    uint64_t last = f.db->last_seq;
    f.db->last_seq = KEY_SEQ_MAX;
    FAILS(TOO_LARGE, kv_try_put(f.db, 50, 1, NOKV_SYNC_NONE));
    f.db->last_seq = last;
    kv_put_synced(f.db, 50, 1);
    fixture_kill(&f);
    fixture_open(&f);
    check_ten(&f);
    kv_check(f.db, 50, 1);
    fixture_deinit(&f);
}

static uint64_t disk_bytes;

static bool bytes_add(void *arg, const char *path, uint64_t size)
{
    (void)arg;
    (void)path;
    disk_bytes += align_up(size, SIM_SECTOR);
    return true;
}

/* A close that finds no room for the end of a segment says so, and makes durable what was acknowledged all the same. */
static void test_close_on_full_disk(void **state)
{
    (void)state;
    struct fixture f;
    nokv_value_writer *w = NULL;
    static uint8_t value[300 << 10];
    fixture_init(&f);
    fixture_open(&f);
    kv_put(f.db, 1, 1);
    OK(nokv_value_writer_open(f.db, "stream", 6, 0, &w)); /* a segment without reserved space */
    memset(value, 5, sizeof value);
    OK(nokv_value_writer_append(w, value, sizeof value));
    OK(nokv_value_writer_commit(w, NULL));
    kv_put(f.db, 2, 1);
    disk_bytes = 0;
    sim_each_file(f.sim, bytes_add, NULL);
    sim_set_capacity(f.sim, disk_bytes);
    FAILS(NO_SPACE, nokv_close(TAKE(f.db)));
    assert_non_null(strstr(status_message(), ".vlog"));
    fixture_power_cut(&f);
    sim_set_capacity(f.sim, 0);
    fixture_open(&f);
    kv_check(f.db, 1, 1);
    kv_check(f.db, 2, 1);
    nokv_value got = {0};
    OK(nokv_get(f.db, "stream", 6, NULL, &got));
    assert_int_equal(got.size, sizeof value);
    assert_memory_equal(got.data, value, sizeof value);
    nokv_value_release(&got);
    fixture_deinit(&f);
}

/* A sync of the directory that fails while a table is made is final, whatever the error: the next one would say nothing
 * of the name that is not durable. */
static void test_failed_sync_of_names(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC, ENOMEM};
    for (size_t i = 0; i < ARRAY_COUNT(errors); i++) {
        struct fixture f;
        scene_init(&f);
        sim_fail(f.sim, IO_OP_SYNC_DIR, IO_COMPONENT_COUNT, 2, errors[i], false); /* behind that of the next log */
        FAILS(POISONED, nokv_flush(f.db));
        assert_true(sim_failed(f.sim));
        sim_fail_clear(f.sim);
        FAILS(POISONED, table_env_sync_names(&f.db->env)); /* a merge that runs beside it does not go on either */
        assert_poisoned(&f);
        check_ten(&f);
        fixture_power_cut(&f);
        fixture_open(&f);
        check_ten(&f);
        fixture_deinit(&f);
    }
}

/* A process that has no file descriptor left can write again as soon as it has: nothing was done by halves. */
static void test_no_descriptors(void **state)
{
    (void)state;
    static const enum io_component components[] = {IO_WAL, IO_FLUSH, IO_COMPACTION, IO_SST};
    for (size_t i = 0; i < ARRAY_COUNT(components); i++) {
        struct fixture f;
        scene_init(&f);
        OK(nokv_flush(f.db));
        kv_put(f.db, 10, 1);
        sim_fail(f.sim, IO_OP_OPEN, components[i], 1, EMFILE, true);
        FAILS(NO_MEMORY, nokv_compact_range(f.db, NULL, 0, NULL, 0));
        assert_non_null(strstr(status_message(), "Too many open files"));
        assert_true(sim_fail_clear(f.sim));
        OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
        check_ten(&f);
        kv_check(f.db, 10, 1);
        kv_put_synced(f.db, 11, 1);
        fixture_deinit(&f);
    }
}

/* A log that was made ahead of time and cannot be removed at the close is an empty one for the next opens: what was
 * written before and after it is there. */
static void test_spare_log_stays(void **state)
{
    (void)state;
    struct fixture f;
    char path[PATH_SIZE_MAX];
    fixture_init(&f);
    f.options.inline_background_work = false;
    fixture_open(&f);
    uint64_t written = 0;
    while (memtable_bytes(f.db->mem) <= f.options.memtable_bytes / 2)
        kv_put(f.db, written++, 1);
    kv_put(f.db, written++, 1); /* asks for it */
    mutex_lock(&f.db->mu);
    background_wake_locked(f.db); /* the thread may have been about to sleep */
    while (f.db->spare_wal == NULL)
        cond_wait(&f.db->state_cond, &f.db->mu);
    OK(path_wal(path, "db", rlog_number(f.db->spare_wal)));
    mutex_unlock(&f.db->mu);
    sim_fail(f.sim, IO_OP_NAMESPACE, IO_COMPONENT_COUNT, 1, EIO, true);
    fixture_close(&f);
    assert_true(sim_fail_clear(f.sim));
    assert_true(io_exists(f.io, path));
    fixture_open(&f);
    for (uint64_t i = 0; i < written; i++)
        kv_check(f.db, i, 1);
    kv_put_synced(f.db, written++, 1);
    fixture_kill(&f);
    fixture_open(&f);
    for (uint64_t i = 0; i < written; i++)
        kv_check(f.db, i, 1);
    OK(nokv_flush(f.db));
    OK(nokv_wait_idle(f.db));
    assert_false(io_exists(f.io, path));
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failed_sync),
        cmocka_unit_test(test_sync_keeps_failing),
        cmocka_unit_test(test_no_memory_within_a_batch),
        cmocka_unit_test(test_failed_log_write),
        cmocka_unit_test(test_failed_manifest_sync),
        cmocka_unit_test(test_failed_flush),
        cmocka_unit_test(test_full_disk_in_flush),
        cmocka_unit_test(test_memtables_are_bounded),
        cmocka_unit_test(test_flush_with_room_again),
        cmocka_unit_test(test_deletes_on_full_disk),
        cmocka_unit_test(test_failed_reads_in_verify),
        cmocka_unit_test(test_failed_close),
        cmocka_unit_test(test_commit_survives_power_cut),
        cmocka_unit_test(test_seal_of_another_call),
        cmocka_unit_test(test_failure_before_a_seal),
        cmocka_unit_test(test_work_that_cannot_begin),
        cmocka_unit_test(test_flush_of_another_call),
        cmocka_unit_test(test_reopen_after_failed_sync),
        cmocka_unit_test(test_close_on_full_disk),
        cmocka_unit_test(test_failed_sync_of_a_creation),
        cmocka_unit_test(test_log_that_stays),
        cmocka_unit_test(test_failed_flush_with_full_memtables),
        cmocka_unit_test(test_log_that_was_not_made),
        cmocka_unit_test(test_last_sequence_number),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_spare_log_stays),
        cmocka_unit_test(test_failed_sync_of_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
