// SPDX-License-Identifier: Apache-2.0
/*
 * direct_test.c - values that go to the value log ahead of the WAL: huge ones, those that come in parts, those of a
 * batch; and that none of them keeps others from writing.
 */
#include "values_fixture.h"

enum { HUGE_BYTES = 40 << 20 };

static void range_check(nokv_db *db, uint64_t i, const uint8_t *wanted, size_t size, uint64_t off, size_t count)
{
    char key[24];
    size_t got = 0, expected = off >= size ? 0 : u64_min(count, size - off);
    uint64_t whole = 0;
    uint8_t *buffer = mem_alloc(count + 1);
    assert_non_null(buffer);
    OK(nokv_get_range(db, key, kv_key(i, key), NULL, off, buffer, count, &got, &whole));
    assert_int_equal(got, expected);
    assert_int_equal(whole, size);
    assert_memory_equal(buffer, wanted + u64_min(off, size), got);
    mem_free(buffer);
}

static nokv_value_writer *writer_open(nokv_db *db, uint64_t i, uint64_t size_max)
{
    char key[24];
    nokv_value_writer *w = NULL;
    OK(nokv_value_writer_open(db, key, kv_key(i, key), size_max, &w));
    return w;
}

static void writer_feed(nokv_value_writer *w, const uint8_t *value, size_t size, size_t part)
{
    for (size_t at = 0; at < size; at += part)
        OK(nokv_value_writer_append(w, value + at, u64_min(part, size - at)));
}

/* 40 MiB through a put and through a writer: whole and in ranges at chunk borders, behind the end, after a reopen; and
 * gone when they are deleted. */
static void test_huge_value(void **state)
{
    (void)state;
    struct fixture f;
    uint8_t *value = sized_make(1, 1, HUGE_BYTES);
    values_init(&f);
    fixture_open(&f);
    sized_put(f.db, 1, 1, HUGE_BYTES);
    nokv_value_writer *w = writer_open(f.db, 2, HUGE_BYTES);
    writer_feed(w, value, HUGE_BYTES, 777777);
    OK(nokv_value_writer_commit(w, NULL));
    for (int life = 0; life < 2; life++) {
        for (uint64_t key = 1; key <= 2; key++) {
            nokv_value got = {0};
            char name[24];
            OK(nokv_get(f.db, name, kv_key(key, name), NULL, &got));
            assert_int_equal(got.size, HUGE_BYTES);
            assert_memory_equal(got.data, value, HUGE_BYTES);
            nokv_value_release(&got);
            range_check(f.db, key, value, HUGE_BYTES, 0, 100);
            range_check(f.db, key, value, HUGE_BYTES, 65535, 2);
            range_check(f.db, key, value, HUGE_BYTES, 65536, 65536);
            range_check(f.db, key, value, HUGE_BYTES, 12345678, 200001);
            range_check(f.db, key, value, HUGE_BYTES, HUGE_BYTES - 5, 100);
            range_check(f.db, key, value, HUGE_BYTES, HUGE_BYTES, 100);
            range_check(f.db, key, value, HUGE_BYTES, UINT64_MAX, 100);
        }
        fixture_close(&f);
        fixture_open(&f);
    }
    kv_delete(f.db, 1);
    kv_delete(f.db, 2);
    settle(f.db);
    OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
    OK(nokv_wait_idle(f.db));
    assert_int_equal(segments_count(f.db), 0);
    mem_free(value);
    fixture_deinit(&f);
}

/* A writer is a put of all of its parts, whatever its size, announced or not; nothing of it is seen before the commit.
 */
static void test_writer(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, INLINE_BYTES, FLUSHED_BYTES, DIRECT - 1, DIRECT, DIRECT + 1, 16384, 70000};
    struct fixture f;
    values_init(&f);
    fixture_open(&f);
    for (size_t s = 0; s < ARRAY_COUNT(sizes); s++)
        for (uint64_t part = 1000; part <= 9000; part += 8000) {
            uint64_t key = s * 2 + part / 9000;
            uint8_t *value = sized_make(key, 1, sizes[s]);
            nokv_value_writer *w = writer_open(f.db, key, sizes[s] ? sizes[s] : 10);
            writer_feed(w, value, sizes[s], part);
            sized_check(f.db, key, 0, 0);
            OK(nokv_value_writer_commit(w, NULL));
            sized_check(f.db, key, 1, sizes[s]);
            mem_free(value);
        }
    fixture_kill(&f);
    fixture_open(&f);
    settle(f.db);
    for (uint64_t key = 0; key < 2 * ARRAY_COUNT(sizes); key++)
        sized_check(f.db, key, 1, sizes[key / 2]);
    verify_ok(f.db);
    fixture_deinit(&f);
}

/* What is abandoned, or more than was announced, or under way when the process dies, leaves the old value and, once
 * collected, no file. */
static void test_writer_without_commit(void **state)
{
    (void)state;
    static const uint64_t announced[] = {5000, 12000, 60000};
    struct fixture f;
    uint8_t *value = sized_make(9, 9, 70000);
    values_init(&f);
    fixture_open(&f);
    sized_put(f.db, 1, 1, INLINE_BYTES);
    for (size_t a = 0; a < ARRAY_COUNT(announced); a++) {
        nokv_value_writer *w = writer_open(f.db, 1, announced[a]);
        writer_feed(w, value, announced[a], 3000);
        nokv_value_writer_abandon(w);
        w = writer_open(f.db, 1, announced[a]);
        writer_feed(w, value, announced[a], 3000);
        FAILS(TOO_LARGE, nokv_value_writer_append(w, value, 1));
        FAILS(TOO_LARGE, nokv_value_writer_append(w, value, 1));
        if (a == 0)
            FAILS(TOO_LARGE, nokv_value_writer_commit(w, NULL));
        else
            nokv_value_writer_abandon(w);
        sized_check(f.db, 1, 1, INLINE_BYTES);
    }
    nokv_value_writer_abandon(NULL);
    settle(f.db);
    fixture_close(&f);
    fixture_open(&f);
    settle(f.db);
    assert_int_equal(count_of(&f, FILE_VLOG), 0);
    nokv_value_writer *w = writer_open(f.db, 1, 60000);
    writer_feed(w, value, 30000, 3000);
    sim_crash_after(f.sim, 0);
    nokv_value_writer_abandon(w);
    fixture_kill(&f);
    fixture_open(&f);
    sized_check(f.db, 1, 1, INLINE_BYTES);
    settle(f.db);
    assert_int_equal(count_of(&f, FILE_VLOG), 0);
    mem_free(value);
    fixture_deinit(&f);
}

/* Writers that stay open for long keep nobody from writing: the segments that others fill are closed and made anew. */
static void test_open_writers_block_nobody(void **state)
{
    (void)state;
    struct fixture f;
    uint8_t *value = sized_make(9, 9, 8000);
    nokv_value_writer *writers[4];
    values_init(&f);
    fixture_open(&f);
    for (uint64_t n = 0; n < 4; n++) {
        writers[n] = writer_open(f.db, 500 + n, 8000);
        writer_feed(writers[n], value, 5000, 5000);
        for (uint64_t i = 0; i < 30; i++) /* nearly three segments */
            sized_put(f.db, n * 100 + i, 1, DIRECT_BYTES);
    }
    for (uint64_t n = 0; n < 4; n++) {
        writer_feed(writers[n], value + 5000, 3000, 500);
        OK(nokv_value_writer_commit(writers[n], NULL));
    }
    for (uint64_t n = 0; n < 4; n++) {
        nokv_value got = {0};
        char key[24];
        OK(nokv_get(f.db, key, kv_key(500 + n, key), NULL, &got));
        assert_true(sized_is(9, 9, 8000, got.data, got.size));
        nokv_value_release(&got);
        for (uint64_t i = 0; i < 30; i++)
            sized_check(f.db, n * 100 + i, 1, DIRECT_BYTES);
    }
    settle(f.db);
    verify_ok(f.db);
    mem_free(value);
    fixture_deinit(&f);
}

/* A batch with values of all homes is one write: after the process or the machine dies, all of it or nothing. */
static void test_batches_are_atomic(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct fixture f;
        values_init(&f);
        sim_reseed(f.sim, seed);
        fixture_open(&f);
        for (uint64_t version = 1; version <= 6; version++) {
            nokv_batch *batch = NULL;
            nokv_write_options wo = {.struct_size = sizeof wo,
                                     .sync = version == 3 ? NOKV_SYNC_COMMIT : NOKV_SYNC_NONE};
            OK(nokv_batch_create(&batch));
            for (uint64_t i = 0; i < 6; i++) {
                char key[24];
                uint8_t *value = sized_make(i, version, home_sizes[i % 3]);
                OK(nokv_batch_put(batch, key, kv_key(i, key), value, home_sizes[i % 3]));
                mem_free(value);
            }
            OK(nokv_write(f.db, batch, &wo));
            nokv_batch_destroy(batch);
        }
        bool power = seed % 3 != 0;
        power ? fixture_power_cut(&f) : fixture_kill(&f);
        fixture_open(&f);
        assert_int_equal(stats_of(f.db).sequence % 6, 0);
        uint64_t version = stats_of(f.db).sequence / 6;
        assert_in_range(version, power ? 3 : 6, 6);
        for (uint64_t i = 0; i < 6; i++)
            sized_check(f.db, i, version, home_sizes[i % 3]);
        verify_ok(f.db);
        fixture_deinit(&f);
    }
}

static void large_batch_write(nokv_db *db, uint64_t count, nokv_sync sync)
{
    nokv_batch *batch = NULL;
    nokv_write_options wo = {.struct_size = sizeof wo, .sync = sync};
    OK(nokv_batch_create(&batch));
    for (uint64_t i = 0; i < count; i++) {
        char key[24];
        uint8_t *value = sized_make(i, 1, DIRECT_BYTES);
        OK(nokv_batch_put(batch, key, kv_key(i, key), value, DIRECT_BYTES));
        mem_free(value);
    }
    OK(nokv_write(db, batch, &wo));
    nokv_batch_destroy(batch);
}

/* A batch may be larger than all segments that may be open at once: it is written, and is one write, also when the
 * process or the machine dies behind it. */
static void test_batch_of_many_segments(void **state)
{
    (void)state;
    for (uint64_t count = 2; count <= 162; count += 20) /* of 6,000 bytes; a segment has 64 KiB */
        for (int end = 0; end < 3; end++) {
            struct fixture f;
            values_init(&f);
            sim_reseed(f.sim, count + (uint64_t)end);
            fixture_open(&f);
            sized_put(f.db, 1000, 1, DIRECT_BYTES);
            large_batch_write(f.db, count, end == 1 ? NOKV_SYNC_COMMIT : NOKV_SYNC_NONE);
            sized_put(f.db, 1001, 1, DIRECT_BYTES);
            assert_true(segments_count(f.db) <= 2 + count * DIRECT_BYTES / (64 << 10) + 1);
            end == 0 ? fixture_kill(&f) : fixture_power_cut(&f);
            fixture_open(&f);
            settle(f.db);
            uint64_t there = stats_of(f.db).sequence;
            if (end == 0)
                assert_int_equal(there, count + 2);
            else
                assert_true(there == count + 2 || there == count + 1 || (end == 2 && there <= 1));
            for (uint64_t i = 0; i < count; i++)
                sized_check(f.db, i, there > 1, DIRECT_BYTES);
            sized_check(f.db, 1000, there > 0, DIRECT_BYTES);
            sized_check(f.db, 1001, there == count + 2, DIRECT_BYTES);
            verify_ok(f.db);
            fixture_deinit(&f);
        }
}

/* A writer that does not know its size takes what it writes and no more: it works on a disk with little room, and what
 * others see of the disk while it is open is that. */
static void test_writer_of_unknown_size(void **state)
{
    (void)state;
    struct fixture f;
    struct file_list *l = malloc(sizeof *l);
    uint8_t *value = sized_make(1, 1, 300000);
    assert_non_null(l);
    values_init(&f);
    fixture_open(&f);
    sim_set_capacity(f.sim, 8 << 20);
    for (uint64_t key = 1; key <= 3; key++) {
        uint64_t bytes = 0;
        nokv_value_writer *w = writer_open(f.db, key, 0);
        writer_feed(w, value, 300000, 7000);
        file_list_get(&f, l);
        for (size_t i = 0; i < l->count; i++)
            bytes += l->sizes[i];
        assert_true(bytes < 8 << 20);
        OK(nokv_value_writer_commit(w, NULL));
        range_check(f.db, key, value, 300000, 0, 300000);
    }
    nokv_value_writer *w = writer_open(f.db, 4, 0); /* and it is told when there is none */
    nokv_status status = NOKV_OK;
    for (int i = 0; i < 40 && status == NOKV_OK; i++)
        status = nokv_value_writer_append(w, value, 300000);
    FAILS(NO_SPACE, status);
    nokv_value_writer_abandon(w);
    sim_set_capacity(f.sim, 0);
    settle(f.db);
    assert_int_equal(count_of(&f, FILE_VLOG), 3); /* what was abandoned is given back */
    w = writer_open(f.db, 4, 0);
    writer_feed(w, value, 300000, 100000);
    nokv_value_writer_abandon(w);
    settle(f.db);
    assert_int_equal(count_of(&f, FILE_VLOG), 3);
    fixture_kill(&f);
    fixture_open(&f);
    for (uint64_t key = 1; key <= 3; key++)
        range_check(f.db, key, value, 300000, 0, 300000);
    sized_check(f.db, 4, 0, 0);
    settle(f.db);
    verify_ok(f.db);
    mem_free(value);
    free(l);
    fixture_deinit(&f);
}

/* The log of a killed process points into a segment that is gone: damage, by the segment's name, also in an open that
 * changes nothing. */
static void test_missing_segment_of_a_log(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t segments[256];
    char path[PATH_SIZE_MAX];
    values_init(&f);
    fixture_open(&f);
    sized_put(f.db, 1, 1, DIRECT);
    fixture_kill(&f);
    assert_int_equal(numbers_of(&f, FILE_VLOG, segments), 1);
    OK(path_vlog(path, "db", segments[0]));
    OK(io_unlink(f.io, path));
    fixture_assert_corrupt(&f, path);
    f.options.read_only = true;
    fixture_assert_corrupt(&f, path);
    fixture_deinit(&f);
}

/* A writer for more than a value may have, or for no key, is refused at once. */
static void test_writer_refused(void **state)
{
    (void)state;
    struct fixture f;
    nokv_value_writer *w = NULL;
    values_init(&f);
    fixture_open(&f);
    FAILS(TOO_LARGE, nokv_value_writer_open(f.db, "k", 1, NOKV_VALUE_SIZE_MAX + 1, &w));
    FAILS(INVALID, nokv_value_writer_open(f.db, "", 0, 10, &w));
    assert_null(w);
    w = writer_open(f.db, 1, NOKV_VALUE_SIZE_MAX);
    nokv_value_writer_abandon(w);
    fixture_deinit(&f);
}

/* Shared buffers of another size, as larger segments have them, are made anew. */
static void test_buffers_of_another_size(void **state)
{
    (void)state;
    struct fixture f;
    static const uint64_t segment_bytes[] = {64 << 10, 8 << 20, 64 << 10};
    values_init(&f);
    for (uint64_t life = 0; life < ARRAY_COUNT(segment_bytes); life++) {
        f.options.vlog_segment_bytes = segment_bytes[life];
        fixture_open(&f);
        sized_put(f.db, life, 1, DIRECT_BYTES);
        fixture_kill(&f); /* its value is in the buffers alone */
    }
    fixture_open(&f);
    for (uint64_t life = 0; life < ARRAY_COUNT(segment_bytes); life++)
        sized_check(f.db, life, 1, DIRECT_BYTES);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_huge_value),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_writer_without_commit),
        cmocka_unit_test(test_batches_are_atomic),
        cmocka_unit_test(test_open_writers_block_nobody),
        cmocka_unit_test(test_batch_of_many_segments),
        cmocka_unit_test(test_writer_of_unknown_size),
        cmocka_unit_test(test_missing_segment_of_a_log),
        cmocka_unit_test(test_writer_refused),
        cmocka_unit_test(test_buffers_of_another_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
