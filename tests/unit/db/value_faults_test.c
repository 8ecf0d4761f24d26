// SPDX-License-Identifier: Apache-2.0
/*
 * value_faults_test.c - values in the value log on a disk that fails: a write that cannot be done is an error of that
 * write and changes nothing, a failed sync is the end of writing, want of space passes; reads go on, and reopening
 * finds what was acknowledged.
 */
#include <errno.h>

#include "values_fixture.h"

enum { OLD_KEYS = 12, NEW_KEY = 100, STREAM_BYTES = 40000 };

/* Values of all homes, flushed and not, everything synced. */
static void scene_init(struct fixture *f)
{
    values_init(f);
    f->options.vlog_write = NOKV_IO_STD;
    fixture_open(f);
    for (uint64_t i = 0; i < OLD_KEYS; i++) {
        sized_put(f->db, i, 1, home_sizes[i % 3]);
        if (i == OLD_KEYS / 2)
            OK(nokv_flush(f->db));
    }
    OK(nokv_sync_wal(f->db));
}

static void old_check(nokv_db *db)
{
    for (uint64_t i = 0; i < OLD_KEYS; i++)
        sized_check(db, i, 1, home_sizes[i % 3]);
}

/* ---- the three ways of a direct write ---------------------------------------------------------------------------- */

static nokv_status way_put(nokv_db *db, uint64_t key, nokv_sync sync)
{
    return sized_try_put(db, key, 1, DIRECT_BYTES, sync);
}

static nokv_status way_batch(nokv_db *db, uint64_t key, nokv_sync sync)
{
    nokv_batch *batch = NULL;
    nokv_write_options wo = {.struct_size = sizeof wo, .sync = sync};
    OK(nokv_batch_create(&batch));
    for (uint64_t n = 0; n < 3; n++) {
        char name[24];
        uint8_t *value = sized_make(key + n, 1, DIRECT_BYTES);
        OK(nokv_batch_put(batch, name, kv_key(key + n, name), value, DIRECT_BYTES));
        mem_free(value);
    }
    nokv_status status = nokv_write(db, batch, &wo);
    nokv_batch_destroy(batch);
    return status;
}

static nokv_status way_stream(nokv_db *db, uint64_t key, nokv_sync sync)
{
    char name[24];
    nokv_value_writer *w = NULL;
    nokv_write_options wo = {.struct_size = sizeof wo, .sync = sync};
    nokv_status status = nokv_value_writer_open(db, name, kv_key(key, name), STREAM_BYTES, &w);
    if (status != NOKV_OK)
        return status;
    uint8_t *value = sized_make(key, 1, STREAM_BYTES);
    for (size_t at = 0; at < STREAM_BYTES && status == NOKV_OK; at += 5000)
        status = nokv_value_writer_append(w, value + at, 5000);
    mem_free(value);
    if (status == NOKV_OK)
        return nokv_value_writer_commit(w, &wo);
    nokv_value_writer_abandon(w);
    return status;
}

struct way {
    const char *name;
    nokv_status (*write)(nokv_db *db, uint64_t key, nokv_sync sync);
    uint64_t keys;
    size_t size;
};

static const struct way ways[] = {
    {"put", way_put, 1, DIRECT_BYTES}, {"batch", way_batch, 3, DIRECT_BYTES}, {"stream", way_stream, 1, STREAM_BYTES}};

/* All keys of the write are there, or none is. Returns whether they are. */
static bool way_check(nokv_db *db, const struct way *way, uint64_t key)
{
    nokv_value value = {0};
    char name[24];
    bool there = nokv_get(db, name, kv_key(key, name), NULL, &value) == NOKV_OK;
    nokv_value_release(&value);
    for (uint64_t n = 0; n < way->keys; n++)
        sized_check(db, key + n, there, way->size);
    return there;
}

/* ---- one failing operation at every place of a write ------------------------------------------------------------- */

struct plan {
    enum io_op op;
    enum io_component component;
    int err;
    nokv_sync sync;
};

/* What the write's status says is true now and after a reopen. */
static void outcome_check(struct fixture *f, const struct way *way, const struct plan *plan, nokv_status status)
{
    bool poisoned = stats_of(f->db).background_error != NOKV_OK && nokv_flush(f->db) == NOKV_ERR_POISONED;
    old_check(f->db);
    if (!poisoned)
        assert_int_equal(way_check(f->db, way, NEW_KEY), status == NOKV_OK);
    if (poisoned) /* only a failed sync or log write may end writing */
        assert_int_not_equal(plan->err, EMFILE);
    if (!poisoned) {
        OK(way->write(f->db, NEW_KEY + 10, NOKV_SYNC_COMMIT)); /* the disk is well again */
        verify_ok(f->db);
        fixture_close(f);
    } else {
        FAILS(POISONED, way->write(f->db, NEW_KEY + 10, NOKV_SYNC_NONE));
        FAILS(POISONED, nokv_close(TAKE(f->db)));
    }
    fixture_power_cut(f);
    fixture_open(f);
    old_check(f->db);
    bool there = way_check(f->db, way, NEW_KEY);
    if (!poisoned || (status == NOKV_OK && plan->sync == NOKV_SYNC_COMMIT))
        assert_int_equal(there, status == NOKV_OK);
    assert_int_equal(way_check(f->db, way, NEW_KEY + 10), !poisoned);
    settle(f->db);
    verify_ok(f->db);
}

static bool kth_run(const struct way *way, const struct plan *plan, uint64_t k)
{
    struct fixture f;
    scene_init(&f);
    sim_fail(f.sim, plan->op, plan->component, k, plan->err, false);
    nokv_status status = way->write(f.db, NEW_KEY, plan->sync);
    bool failed = sim_failed(f.sim);
    sim_fail_clear(f.sim);
    if (!failed)
        OK(status);
    outcome_check(&f, way, plan, status);
    fixture_deinit(&f);
    return failed;
}

static void every_place(enum io_op op, enum io_component component, int err)
{
    uint64_t runs = 0;
    for (size_t w = 0; w < ARRAY_COUNT(ways); w++)
        for (nokv_sync sync = NOKV_SYNC_NONE; sync <= NOKV_SYNC_COMMIT; sync++) {
            struct plan plan = {.op = op, .component = component, .err = err, .sync = sync};
            for (uint64_t k = 1; kth_run(&ways[w], &plan, k); k++)
                runs++;
        }
    assert_true(runs > 0);
}

/* Whichever write to the value log finds the disk full or broken, the put, batch or stream fails as a whole or succeeds
 * as a whole, and the next one goes on. */
static void test_failed_writes(void **state)
{
    (void)state;
    static const int errors[] = {ENOSPC, EIO};
    for (size_t e = 0; e < ARRAY_COUNT(errors); e++)
        every_place(IO_OP_WRITE, IO_VLOG, errors[e]);
}

/* A segment that cannot be made, for want of space, of a file descriptor or of a working disk, is an error of the write
 * that needed it. */
static void test_failed_creation(void **state)
{
    (void)state;
    static const int errors[] = {ENOSPC, EIO, EMFILE};
    for (size_t w = 0; w < ARRAY_COUNT(ways); w++)
        for (size_t e = 0; e < ARRAY_COUNT(errors); e++) {
            struct fixture f;
            values_init(&f);
            f.options.vlog_write = NOKV_IO_STD;
            fixture_open(&f);
            sim_fail(f.sim, IO_OP_OPEN, IO_VLOG, 1, errors[e], true);
            for (int i = 0; i < 3; i++)
                assert_int_not_equal(ways[w].write(f.db, NEW_KEY, NOKV_SYNC_NONE), NOKV_OK);
            assert_true(sim_failed(f.sim));
            assert_int_equal(count_of(&f, FILE_VLOG), 0);
            kv_put(f.db, 1, 1); /* a small value needs no segment */
            sim_fail_clear(f.sim);
            OK(ways[w].write(f.db, NEW_KEY, NOKV_SYNC_COMMIT));
            fixture_close(&f);
            fixture_open(&f);
            kv_check(f.db, 1, 1);
            assert_true(way_check(f.db, &ways[w], NEW_KEY));
            fixture_deinit(&f);
        }
}

/* Blocks that cannot be reserved ahead are a full disk for the write that needs them. */
static void test_failed_preallocation(void **state)
{
    (void)state;
    every_place(IO_OP_PREALLOCATE, IO_VLOG, ENOSPC);
}

/* ---- syncs ------------------------------------------------------------------------------------------------------- */

static uint64_t vlog_syncs(nokv_db *db)
{
    return stats_of(db).components[NOKV_COMPONENT_VLOG].syncs;
}

/* The values' sync fails under a durable write: not acknowledged, never synced again, poisoned; what was acknowledged
 * before is there after a power cut, and the write as a whole or not at all. */
static void test_failed_sync(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC};
    for (size_t w = 0; w < ARRAY_COUNT(ways); w++)
        for (size_t e = 0; e < 2 * ARRAY_COUNT(errors); e++) {
            struct fixture f;
            scene_init(&f);
            OK(ways[w].write(f.db, NEW_KEY + 20, NOKV_SYNC_COMMIT)); /* its segment is there */
            if (w > 0)
                OK(way_put(f.db, NEW_KEY + 30, NOKV_SYNC_NONE));
            uint64_t before = vlog_syncs(f.db);
            sim_fail(f.sim, IO_OP_SYNC, IO_VLOG, w > 0 ? 2 : 1, errors[e / 2], e % 2); /* 1: of a new segment */
            assert_int_not_equal(ways[w].write(f.db, NEW_KEY, NOKV_SYNC_COMMIT), NOKV_OK);
            assert_true(sim_failed(f.sim));
            sim_fail_clear(f.sim);
            uint64_t after = vlog_syncs(f.db);
            assert_in_range(after, before + 1, before + 2);
            FAILS(POISONED, ways[w].write(f.db, NEW_KEY + 10, NOKV_SYNC_COMMIT));
            FAILS(POISONED, kv_try_put(f.db, 50, 1, NOKV_SYNC_NONE));
            FAILS(POISONED, nokv_sync_wal(f.db));
            FAILS(POISONED, nokv_flush(f.db));
            FAILS(POISONED, nokv_vlog_collect(f.db, 1.0));
            old_check(f.db);
            assert_int_equal(vlog_syncs(f.db), after);
            FAILS(POISONED, nokv_close(TAKE(f.db)));
            fixture_power_cut(&f);
            fixture_open(&f);
            old_check(f.db);
            assert_true(way_check(f.db, &ways[w], NEW_KEY + 20));
            (void)way_check(f.db, &ways[w], NEW_KEY);
            assert_false(way_check(f.db, &ways[w], NEW_KEY + 10));
            verify_ok(f.db);
            fixture_deinit(&f);
        }
}

/* A flush whose values cannot be synced installs nothing: the log goes on being what has them. */
static void test_failed_sync_in_flush(void **state)
{
    (void)state;
    for (int direct = 0; direct < 2; direct++) {
        struct fixture f;
        scene_init(&f);
        sized_put(f.db, NEW_KEY, 1, direct ? DIRECT_BYTES : FLUSHED_BYTES);
        size_t tables = stats_of(f.db).levels[0].files;
        sim_fail(f.sim, IO_OP_SYNC, direct ? IO_VLOG : IO_FLUSH, 1, EIO, false);
        assert_int_not_equal(nokv_flush(f.db), NOKV_OK);
        assert_true(sim_failed(f.sim));
        sim_fail_clear(f.sim);
        old_check(f.db);
        assert_int_equal(stats_of(f.db).levels[0].files, tables);
        FAILS(POISONED, nokv_close(TAKE(f.db)));
        fixture_power_cut(&f);
        fixture_open(&f);
        old_check(f.db);
        settle(f.db);
        verify_ok(f.db);
        fixture_deinit(&f);
    }
}

/* ---- a full disk ------------------------------------------------------------------------------------------------- */

static uint64_t disk_bytes(struct fixture *f)
{
    static struct file_list l;
    uint64_t bytes = 0;
    file_list_get(f, &l);
    for (size_t i = 0; i < l.count; i++)
        bytes += l.sizes[i];
    return bytes;
}

/* Writing values of all homes until the disk is full: the one that finds no room is refused, everything before it is
 * readable, and with room the same call succeeds. */
static void test_disk_fills(void **state)
{
    (void)state;
    for (uint64_t extra = 100 << 10; extra < 700 << 10; extra += 37 << 10) {
        struct fixture f;
        uint64_t written = 0;
        nokv_status status = NOKV_OK;
        scene_init(&f);
        sim_set_capacity(f.sim, disk_bytes(&f) + extra);
        for (; status == NOKV_OK && written < 3000; written += status == NOKV_OK)
            status = sized_try_put(f.db, NEW_KEY + written, 1, home_sizes[written % 3], NOKV_SYNC_NONE);
        FAILS(NO_SPACE, status);
        old_check(f.db);
        for (uint64_t i = 0; i < written; i++)
            sized_check(f.db, NEW_KEY + i, 1, home_sizes[i % 3]);
        sized_check(f.db, NEW_KEY + written, 0, 0);
        sim_set_capacity(f.sim, 0);
        for (uint64_t i = 0; i < 60; i++) /* each, at once: not only after a flush by hand */
            OK(sized_try_put(f.db, NEW_KEY + written + i, 1, home_sizes[(written + i) % 3], NOKV_SYNC_NONE));
        fixture_close(&f);
        fixture_open(&f);
        old_check(f.db);
        for (uint64_t i = 0; i < written + 60; i++)
            sized_check(f.db, NEW_KEY + i, 1, home_sizes[i % 3]);
        settle(f.db);
        verify_ok(f.db);
        fixture_deinit(&f);
    }
}

/* A memtable that would be flushed only for the sake of the values it points to, and no room for the log of the next
 * one: the writes go on in this one. */
static void test_no_room_for_the_next_log(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    settle(f.db);
    sim_fail(f.sim, IO_OP_OPEN, IO_WAL, 1, ENOSPC, true);
    for (uint64_t i = 0; i < 40; i++)
        OK(sized_try_put(f.db, NEW_KEY + i, 1, DIRECT_BYTES, NOKV_SYNC_NONE));
    sim_fail_clear(f.sim);
    for (uint64_t i = 0; i < 40; i++)
        sized_check(f.db, NEW_KEY + i, 1, DIRECT_BYTES);
    settle(f.db);
    old_check(f.db);
    verify_ok(f.db);
    fixture_deinit(&f);
}

/* Flushes found the disk full, and both segments that may be open at once are full as well: with room, a direct write
 * goes on by itself. */
static void test_direct_goes_on_after_full_disk(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t written = 0;
    nokv_status status = NOKV_OK;
    scene_init(&f);
    sim_fail(f.sim, IO_OP_WRITE, IO_FLUSH, 1, ENOSPC, true);
    FAILS(NO_SPACE, nokv_flush(f.db));
    sim_fail(f.sim, IO_OP_WRITE, IO_COMPONENT_COUNT, 1, ENOSPC, true);
    for (; status == NOKV_OK && written < 200; written++)
        status = way_put(f.db, NEW_KEY + written, NOKV_SYNC_NONE);
    FAILS(NO_SPACE, status);
    sim_fail(f.sim, IO_OP_WRITE, IO_FLUSH, 1, ENOSPC, true); /* flushes still fail; segments can be closed */
    for (uint64_t i = 0; i < 40; i++)
        OK(way_put(f.db, NEW_KEY + 300 + i, NOKV_SYNC_NONE));
    sim_fail_clear(f.sim);
    for (uint64_t i = 0; i < 40; i++)
        OK(way_put(f.db, NEW_KEY + 400 + i, NOKV_SYNC_NONE));
    settle(f.db);
    old_check(f.db);
    verify_ok(f.db);
    fixture_deinit(&f);
}

/* A segment's last page and footer find the disk full: told, tried again with room, and sealed. */
static void test_full_disk_while_sealing(void **state)
{
    (void)state;
    struct fixture f;
    struct segment_list l;
    nokv_status status = NOKV_OK;
    scene_init(&f);
    sim_fail(f.sim, IO_OP_WRITE, IO_VLOG, 1, ENOSPC, true);
    for (uint64_t i = 0; i < 60 && status == NOKV_OK; i++)
        status = way_put(f.db, NEW_KEY + i, NOKV_SYNC_NONE);
    FAILS(NO_SPACE, status);
    sim_fail_clear(f.sim);
    for (uint64_t i = 0; i < 60; i++)
        OK(way_put(f.db, NEW_KEY + i, NOKV_SYNC_NONE));
    settle(f.db);
    segments_list(f.db, &l);
    for (size_t i = 0; i < l.count; i++)
        assert_string_not_equal(l.items[i].state, "sealing");
    fixture_close(&f);
    fixture_open(&f);
    old_check(f.db);
    for (uint64_t i = 0; i < 60; i++)
        sized_check(f.db, NEW_KEY + i, 1, DIRECT_BYTES);
    verify_ok(f.db);
    fixture_deinit(&f);
}

/* No segment can be closed, and both that may be open at once are filled; how many writes were tried. */
static uint64_t segments_fill(struct fixture *f)
{
    nokv_status status = NOKV_OK;
    uint64_t written = 0;
    sim_fail(f->sim, IO_OP_TRUNCATE, IO_VLOG, 1, ENOSPC, true);
    for (; written < 60 && status == NOKV_OK; written++)
        status = way_put(f->db, NEW_KEY + written, NOKV_SYNC_NONE);
    FAILS(NO_SPACE, status);
    if (strstr(status_message(), "segments of the value log cannot be closed") == NULL)
        fail_msg("another reason: %s", status_message());
    return written;
}

/* No segment can be closed, and both that may be open at once are full: told, and with room all of it goes on. */
static void test_no_segment_can_be_closed(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    uint64_t written = segments_fill(&f);
    FAILS(NO_SPACE, way_put(f.db, NEW_KEY + 200, NOKV_SYNC_NONE));
    sim_fail_clear(f.sim);
    OK(way_put(f.db, NEW_KEY + written - 1, NOKV_SYNC_NONE));
    settle(f.db);
    for (uint64_t i = 0; i < written; i++)
        sized_check(f.db, NEW_KEY + i, 1, DIRECT_BYTES);
    sized_check(f.db, NEW_KEY + 200, 0, 0);
    old_check(f.db);
    OK(db_check(f.db));
    fixture_deinit(&f);
}

/* Both segments that may be open are full, and the sync that would close one fails: the write that waits for it is
 * told so, as all later ones are. */
static void test_failed_sync_while_segments_are_full(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    uint64_t written = segments_fill(&f);
    sim_fail(f.sim, IO_OP_SYNC, IO_VLOG, 1, EIO, true);
    FAILS(POISONED, way_put(f.db, NEW_KEY + 200, NOKV_SYNC_NONE));
    assert_true(sim_fail_clear(f.sim));
    FAILS(POISONED, way_put(f.db, NEW_KEY + 201, NOKV_SYNC_NONE));
    for (uint64_t i = 0; i + 1 < written; i++)
        sized_check(f.db, NEW_KEY + i, 1, DIRECT_BYTES);
    old_check(f.db);
    fixture_kill(&f);
    fixture_open(&f);
    for (uint64_t i = 0; i + 1 < written; i++)
        sized_check(f.db, NEW_KEY + i, 1, DIRECT_BYTES);
    old_check(f.db);
    fixture_deinit(&f);
}

/* ---- collecting -------------------------------------------------------------------------------------------------- */

enum { MANY = 90 };

/* Every third value of the segments is garbage. */
static void garbage_make(struct fixture *f)
{
    for (uint64_t i = 0; i < MANY; i++)
        sized_put(f->db, NEW_KEY + i, 1, i % 2 ? FLUSHED_BYTES : DIRECT_BYTES);
    OK(nokv_flush(f->db));
    for (uint64_t i = 0; i < MANY; i += 3)
        kv_delete(f->db, NEW_KEY + i);
    OK(nokv_compact_range(f->db, NULL, 0, NULL, 0));
}

static void garbage_check(struct fixture *f)
{
    old_check(f->db);
    for (uint64_t i = 0; i < MANY; i++)
        sized_check(f->db, NEW_KEY + i, i % 3 != 0, i % 2 ? FLUSHED_BYTES : DIRECT_BYTES);
}

static void scene_garbage(struct fixture *f)
{
    scene_init(f);
    f->options.vlog_space_amp_max = 1000; /* nothing is collected before it is asked for */
    fixture_close(f);
    fixture_open(f);
    garbage_make(f);
}

/* A collection that failed for want of space has done no harm, and with room the next one does it all. */
static void collected_later(struct fixture *f)
{
    struct segment_list l;
    garbage_check(f);
    verify_ok(f->db);
    OK(nokv_vlog_collect(f->db, 1.0));
    assert_int_equal(count_of(f, FILE_VLOG), segments_count(f->db));
    segments_list(f->db, &l);
    assert_true(l.file_bytes <= l.live_bytes + (l.count + 1) * 5 * PAGE_BYTES);
    garbage_check(f);
    verify_ok(f->db);
    fixture_close(f);
    fixture_open(f);
    garbage_check(f);
    fixture_deinit(f);
}

static bool sealing_count(void *arg, const nokv_vlog_segment *segment)
{
    *(uint64_t *)arg += strcmp(segment->state, "sealing") == 0;
    return true;
}

/* Whatever single allocation is missing while full segments are sealed: they are sealed the next time, so that nobody
 * waits for it in vain. */
static void test_no_memory_while_sealing(void **state)
{
    (void)state;
    static const uint8_t value[DIRECT_BYTES];
    bool reached = true;
    uint64_t k = 0;
    for (; reached; k++) {
        struct fixture f;
        uint64_t sealing = 0;
        values_init(&f);
        fixture_open(&f);
        for (uint64_t i = 0; i < 9; i++)
            sized_put(f.db, i, 1, DIRECT_BYTES);
        uint64_t before = mem_alloc_count();
        mem_fail_after(k);
        for (uint64_t i = 9; i < 12; i++)
            (void)!nokv_put(f.db, &i, sizeof i, value, sizeof value, NULL); /* the segment is full with one of them */
        (void)!nokv_flush(f.db);
        reached = mem_alloc_count() - before > k;
        mem_fail_after(UINT64_MAX);
        if (nokv_flush(f.db) == NOKV_OK) { /* else it is poisoned, and says so */
            OK(nokv_wait_idle(f.db));
            OK(nokv_vlog_segments(f.db, sealing_count, &sealing));
            if (sealing != 0)
                fail_msg("allocation %llu: a segment stays full and unsealed", (unsigned long long)k);
        }
        (void)nokv_close(TAKE(f.db));
        fixture_deinit(&f);
    }
    assert_true(k > 10);
}

static bool kth_collecting_run(enum io_component component, uint64_t k)
{
    struct fixture f;
    scene_garbage(&f);
    sim_fail(f.sim, IO_OP_WRITE, component, k, ENOSPC, true);
    nokv_status status = nokv_vlog_collect(f.db, 1.0);
    bool failed = sim_failed(f.sim);
    sim_fail_clear(f.sim);
    if (failed)
        FAILS(NO_SPACE, status);
    else
        OK(status);
    collected_later(&f);
    return failed;
}

/* The k-th write of a collection, of values or of tables, finds the disk full: told and soft. */
static void test_full_disk_while_collecting(void **state)
{
    (void)state;
    static const enum io_component components[] = {IO_VLOG, IO_COMPACTION};
    uint64_t runs = 0;
    for (size_t c = 0; c < ARRAY_COUNT(components); c++)
        for (uint64_t k = 1; kth_collecting_run(components[c], k); k++)
            runs++;
    assert_true(runs > 3);
}

/* The same with a disk that has less and less room left. */
static void test_no_room_to_collect(void **state)
{
    (void)state;
    uint64_t failed = 0, done = 0;
    for (uint64_t room = 0; room < 600 << 10; room += 20 << 10) {
        struct fixture f;
        scene_garbage(&f);
        sim_set_capacity(f.sim, disk_bytes(&f) + room);
        nokv_status status = nokv_vlog_collect(f.db, 1.0);
        if (status != NOKV_OK)
            FAILS(NO_SPACE, status);
        failed += status != NOKV_OK;
        done += status == NOKV_OK;
        sim_set_capacity(f.sim, 0);
        collected_later(&f);
    }
    assert_true(failed > 0 && done > 0);
}

/* Syncs of what a collection moved, and of what names it: one that fails is the end of writing, and neither the old
 * values nor the new ones are missed after a power cut. */
static void test_failed_sync_while_collecting(void **state)
{
    (void)state;
    bool failed = true;
    uint64_t runs = 0;
    for (uint64_t k = 1; failed; k++) {
        struct fixture f;
        scene_garbage(&f);
        sim_fail(f.sim, IO_OP_SYNC, IO_COMPONENT_COUNT, k, EIO, false);
        nokv_status status = nokv_vlog_collect(f.db, 1.0);
        failed = sim_failed(f.sim);
        sim_fail_clear(f.sim);
        if (failed)
            assert_int_not_equal(status, NOKV_OK);
        runs += failed;
        garbage_check(&f);
        (void)nokv_close(TAKE(f.db));
        fixture_power_cut(&f);
        fixture_open(&f);
        garbage_check(&f);
        OK(nokv_vlog_collect(f.db, 1.0));
        garbage_check(&f);
        verify_ok(f.db);
        fixture_deinit(&f);
    }
    assert_true(runs > 2);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* No file descriptor for a segment, or a disk that cannot read: an error of that call alone, whoever reads. */
static void test_failed_reads(void **state)
{
    (void)state;
    static const struct {
        enum io_op op;
        int err;
        nokv_status status;
    } faults[] = {{IO_OP_OPEN, EMFILE, NOKV_ERR_NO_MEMORY}, {IO_OP_READ, EIO, NOKV_ERR_IO}};
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++) {
        struct fixture f;
        char key[24], part[10];
        size_t size = 0;
        nokv_value value = {0};
        nokv_iter *it = NULL;
        scene_init(&f);
        f.options.vlog_read = NOKV_VLOG_READ_PREAD;
        settle(f.db);
        fixture_close(&f);
        fixture_open(&f);
        sim_fail(f.sim, faults[i].op, IO_VLOG, 1, faults[i].err, true);
        assert_int_equal(nokv_get(f.db, key, kv_key(1, key), NULL, &value), faults[i].status);
        assert_int_equal(nokv_get_range(f.db, key, kv_key(2, key), NULL, 5, part, sizeof part, &size, NULL),
                         faults[i].status);
        sized_check(f.db, 0, 1, INLINE_BYTES);
        OK(nokv_iter_create(f.db, NULL, &it));
        nokv_iter_seek(it, key, kv_key(1, key));
        assert_int_equal(nokv_iter_value_size(it), FLUSHED_BYTES);
        assert_null(nokv_iter_value(it).data);
        assert_false(nokv_iter_valid(it));
        assert_int_equal(nokv_iter_status(it), faults[i].status);
        sim_fail_clear(f.sim);
        nokv_iter_seek(it, key, kv_key(1, key));
        assert_int_equal(nokv_iter_value(it).size, FLUSHED_BYTES);
        OK(nokv_iter_status(it));
        nokv_iter_destroy(it);
        old_check(f.db);
        assert_int_equal(stats_of(f.db).background_error, NOKV_OK);
        OK(way_put(f.db, NEW_KEY, NOKV_SYNC_COMMIT));
        fixture_deinit(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failed_writes),
        cmocka_unit_test(test_failed_creation),
        cmocka_unit_test(test_failed_preallocation),
        cmocka_unit_test(test_failed_sync),
        cmocka_unit_test(test_failed_sync_in_flush),
        cmocka_unit_test(test_disk_fills),
        cmocka_unit_test(test_no_room_for_the_next_log),
        cmocka_unit_test(test_direct_goes_on_after_full_disk),
        cmocka_unit_test(test_full_disk_while_sealing),
        cmocka_unit_test(test_no_segment_can_be_closed),
        cmocka_unit_test(test_failed_sync_while_segments_are_full),
        cmocka_unit_test(test_no_memory_while_sealing),
        cmocka_unit_test(test_full_disk_while_collecting),
        cmocka_unit_test(test_no_room_to_collect),
        cmocka_unit_test(test_failed_sync_while_collecting),
        cmocka_unit_test(test_failed_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
