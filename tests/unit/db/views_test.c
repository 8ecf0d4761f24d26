// SPDX-License-Identifier: Apache-2.0
/*
 * views_test.c - snapshots, iterators and pinned values go on showing what they showed, while everything under them is
 * overwritten, flushed, compacted and unlinked; and what they keep alive goes when they do.
 */
#include "db_fixture.h"

#include <sched.h>

enum { KEYS = 60, VERSIONS = 5 };

/* Key i in version v: there unless (i + v) is a multiple of 7. */
static uint64_t version_of(uint64_t i, uint64_t v)
{
    return (i + v) % 7 == 0 ? 0 : v;
}

static void write_version(nokv_db *db, uint64_t v)
{
    for (uint64_t i = 0; i < KEYS; i++) {
        if (version_of(i, v))
            kv_put(db, i, v);
        else
            kv_delete(db, i);
    }
}

static void check_version(nokv_db *db, uint64_t v, const nokv_snapshot *snapshot)
{
    for (uint64_t i = 0; i < KEYS; i++)
        kv_check_at(db, i, version_of(i, v), snapshot);
}

static void check_entry(nokv_iter *it, uint64_t i, uint64_t v)
{
    char key[24], value[256];
    assert_true(nokv_iter_valid(it));
    size_t key_size = kv_key(i, key), value_size = kv_value(i, v, value);
    nokv_slice k = nokv_iter_key(it), x = nokv_iter_value(it);
    assert_int_equal(k.size, key_size);
    assert_memory_equal(k.data, key, key_size);
    assert_int_equal(x.size, value_size);
    assert_memory_equal(x.data, value, value_size);
}

/* All of version v, in both directions. */
static void check_walk(nokv_iter *it, uint64_t v)
{
    nokv_iter_first(it);
    for (uint64_t i = 0; i < KEYS; i++) {
        if (!version_of(i, v))
            continue;
        check_entry(it, i, v);
        nokv_iter_next(it);
    }
    assert_false(nokv_iter_valid(it));
    OK(nokv_iter_status(it));
    nokv_iter_last(it);
    for (uint64_t i = KEYS; i > 0; i--) {
        if (!version_of(i - 1, v))
            continue;
        check_entry(it, i - 1, v);
        nokv_iter_prev(it);
    }
    assert_false(nokv_iter_valid(it));
    OK(nokv_iter_status(it));
}

static nokv_iter *iter_at(nokv_db *db, const nokv_snapshot *snapshot)
{
    nokv_iter *it = NULL;
    nokv_iter_options o = {.struct_size = sizeof o, .snapshot = snapshot};
    OK(nokv_iter_create(db, &o, &it));
    return it;
}

static uint64_t entries_in_tables(nokv_db *db)
{
    nokv_stats s = stats_of(db);
    uint64_t entries = 0;
    for (int l = 0; l < NOKV_LEVELS_MAX; l++)
        entries += s.levels[l].entries;
    return entries;
}

/* Snapshots of five versions show each its own over flushes and compactions; once released, only the newest is kept. */
static void test_snapshots(void **state)
{
    (void)state;
    struct fixture f;
    const nokv_snapshot *snapshots[VERSIONS + 1] = {0};
    fixture_init(&f);
    fixture_open(&f);
    for (uint64_t v = 1; v <= VERSIONS; v++) {
        write_version(f.db, v);
        OK(nokv_snapshot_create(f.db, &snapshots[v]));
        if (v % 2)
            OK(nokv_flush(f.db));
    }
    for (int round = 0; round < 4; round++) {
        for (uint64_t v = 1; v <= VERSIONS; v++) {
            nokv_iter *it = iter_at(f.db, snapshots[v]);
            check_version(f.db, v, snapshots[v]);
            check_walk(it, v);
            nokv_iter_destroy(it);
        }
        check_version(f.db, VERSIONS, NULL);
        if (round == 0)
            OK(nokv_flush(f.db));
        else
            OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
    }
    assert_int_equal(stats_of(f.db).snapshots, VERSIONS);
    assert_true(entries_in_tables(f.db) > 3 * KEYS);
    for (uint64_t v = VERSIONS; v > 0; v--)
        nokv_snapshot_release(f.db, snapshots[v]);
    nokv_snapshot_release(f.db, NULL);
    OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
    uint64_t live = 0;
    for (uint64_t i = 0; i < KEYS; i++)
        live += version_of(i, VERSIONS) != 0;
    assert_int_equal(entries_in_tables(f.db), live);
    assert_int_equal(stats_of(f.db).snapshots, 0);
    fixture_deinit(&f);
}

static bool contains(const uint64_t *numbers, size_t count, uint64_t number)
{
    for (size_t i = 0; i < count; i++)
        if (numbers[i] == number)
            return true;
    return false;
}

/* An iterator shows its view while all of its tables are compacted away; their files are unlinked only after it is
 * gone. */
static void test_iterator_keeps_its_files(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t before[256], now[256];
    fixture_init(&f);
    f.options.l0_compact_files = f.options.l0_busy_files = 100;
    f.options.l0_slowdown_files = 200;
    fixture_open(&f);
    for (uint64_t v = 1; v <= 3; v++) {
        write_version(f.db, v);
        OK(nokv_flush(f.db));
    }
    size_t count = numbers_of(&f, FILE_SST, before);
    assert_int_equal(count, 3);
    nokv_iter *old = iter_at(f.db, NULL);
    check_walk(old, 3);
    write_version(f.db, 4);
    OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
    nokv_iter *young = iter_at(f.db, NULL);
    write_version(f.db, 5);
    OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
    size_t now_count = numbers_of(&f, FILE_SST, now);
    for (size_t i = 0; i < count; i++)
        assert_true(contains(now, now_count, before[i]));
    check_walk(old, 3);
    check_walk(young, 4);
    nokv_iter_destroy(old);
    OK(nokv_wait_idle(f.db));
    now_count = numbers_of(&f, FILE_SST, now);
    for (size_t i = 0; i < count; i++)
        assert_false(contains(now, now_count, before[i]));
    check_walk(young, 4);
    nokv_iter_destroy(young);
    OK(nokv_wait_idle(f.db));
    assert_int_equal(count_of(&f, FILE_SST), stats_of(f.db).components[NOKV_COMPONENT_SST].files);
    check_version(f.db, 5, NULL);
    fixture_deinit(&f);
}

/* Slices of an iterator stay where they are until it is destroyed, not only until it moves. */
static void test_slices_stay(void **state)
{
    (void)state;
    struct fixture f;
    nokv_slice keys[KEYS], values[KEYS];
    size_t count = 0;
    fixture_init(&f);
    fixture_open(&f);
    write_version(f.db, 1);
    OK(nokv_flush(f.db));
    for (uint64_t i = 0; i < KEYS; i += 3) /* some in a memtable */
        kv_put(f.db, i, version_of(i, 1) ? 1 : 9);
    nokv_iter *it = iter_at(f.db, NULL);
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it), count++) {
        keys[count] = nokv_iter_key(it);
        values[count] = nokv_iter_value(it);
    }
    OK(nokv_flush(f.db));
    OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
    for (size_t i = 0; i < count; i++) {
        char value[256];
        uint64_t number = strtoull((const char *)keys[i].data + 3, NULL, 10);
        uint64_t version = version_of(number, 1) ? 1 : 9;
        assert_int_equal(values[i].size, kv_value(number, version, value));
        assert_memory_equal(values[i].data, value, values[i].size);
    }
    nokv_iter_destroy(it);
    fixture_deinit(&f);
}

static uint64_t map_calls(struct fixture *f)
{
    return atomic_load_explicit(&io_component_stats(f->io, IO_SST)->ops[IO_OP_MAP].calls, memory_order_relaxed);
}

/* A value that was got in place stays as it was while its memtable, then its table, is replaced and removed: what it
 * lies in goes with the last of its values. */
static void test_pinned_values(void **state)
{
    (void)state;
    for (int flushed = 0; flushed < 2; flushed++) {
        struct fixture f;
        nokv_value values[KEYS] = {0};
        fixture_init(&f);
        fixture_open(&f);
        for (uint64_t i = 0; i < KEYS; i++)
            kv_put(f.db, i, 1);
        if (flushed)
            OK(nokv_flush(f.db));
        for (uint64_t i = 0; i < KEYS; i++) {
            char key[24];
            OK(nokv_get(f.db, key, kv_key(i, key), NULL, &values[i]));
        }
        for (uint64_t v = 2; v < 5; v++) {
            for (uint64_t i = 0; i < KEYS; i++)
                kv_put(f.db, i, v);
            OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
        }
        OK(nokv_wait_idle(f.db));
        assert_int_equal(count_of(&f, FILE_SST), 1); /* the name is gone, the mapping is not */
        uint64_t calls = map_calls(&f);
        for (uint64_t i = 0; i < KEYS; i++) {
            char wanted[256];
            assert_int_equal(values[i].size, kv_value(i, 1, wanted));
            assert_memory_equal(values[i].data, wanted, values[i].size);
            nokv_value_release(&values[i]);
            assert_null(values[i].data);
            nokv_value_release(&values[i]); /* cleared: once more does nothing */
        }
        assert_int_equal(map_calls(&f), calls); /* not by who released it: that may take long */
        OK(nokv_wait_idle(f.db));
        assert_int_equal(map_calls(&f), calls + (uint64_t)flushed);
        fixture_deinit(&f);
    }
}

enum holder { HELD_BY_ITERATOR, HELD_BY_VALUE, HOLDERS };

/* A table that has been replaced is still held when this returns. */
static void hold_table(struct fixture *f, enum holder holder, nokv_iter **out_iter, nokv_value *out_value)
{
    char key[24];
    write_version(f->db, 1);
    OK(nokv_flush(f->db));
    *out_iter = NULL;
    if (holder == HELD_BY_ITERATOR)
        *out_iter = iter_at(f->db, NULL);
    else
        OK(nokv_get(f->db, key, kv_key(1, key), NULL, out_value));
    write_version(f->db, 2);
    OK(nokv_compact_range(f->db, NULL, 0, NULL, 0));
    OK(nokv_wait_idle(f->db));
}

/* What only an iterator or a value still held is not unmapped by the thread that lets go of it, nor by one that puts,
 * which nobody wants to wait for; background threads do it, without being asked. */
static void test_held_tables(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * HOLDERS; i++) {
        struct fixture f;
        nokv_iter *it = NULL;
        nokv_value value = {0};
        bool has_threads = i % 2;
        fixture_init(&f);
        f.options.inline_background_work = !has_threads;
        fixture_open(&f);
        hold_table(&f, (enum holder)(i / 2), &it, &value);
        uint64_t calls = map_calls(&f);
        nokv_iter_destroy(it);
        nokv_value_release(&value);
        if (!has_threads) {
            kv_put(f.db, 0, 3);
            assert_int_equal(map_calls(&f), calls);
            OK(nokv_wait_idle(f.db));
        }
        while (map_calls(&f) == calls) /* for ever, if they do not */
            sched_yield();
        assert_int_equal(map_calls(&f), calls + 1);
        fixture_deinit(&f);
    }
}

/* An iterator is not valid until it is positioned, and shows neither later writes nor what is outside of its bounds. */
static void test_bounds_and_later_writes(void **state)
{
    (void)state;
    struct fixture f;
    char lower[24], upper[24];
    nokv_iter *it = NULL;
    fixture_init(&f);
    fixture_open(&f);
    for (uint64_t i = 0; i < 30; i++)
        kv_put(f.db, i, 1);
    nokv_iter_options o = {.struct_size = sizeof o};
    o.lower = (nokv_slice){lower, kv_key(10, lower)};
    o.upper = (nokv_slice){upper, kv_key(20, upper)};
    OK(nokv_iter_create(f.db, &o, &it));
    memset(lower, 'x', sizeof lower); /* they were copied */
    memset(upper, 'x', sizeof upper);
    assert_false(nokv_iter_valid(it));
    OK(nokv_iter_status(it));
    for (uint64_t i = 0; i < 40; i++)
        kv_put(f.db, i, 2);
    nokv_iter_first(it);
    for (uint64_t i = 10; i < 20; i++, nokv_iter_next(it))
        check_entry(it, i, 1);
    assert_false(nokv_iter_valid(it));
    nokv_iter_seek(it, "", 0);
    check_entry(it, 10, 1);
    nokv_iter_seek_for_prev(it, "zzz", 3);
    check_entry(it, 19, 1);
    nokv_iter_destroy(it);
    nokv_iter_destroy(NULL);
    fixture_deinit(&f);
}

/* A damaged block fails the reads that need it, with file and place, in gets and in iterators; other keys stay
 * readable. */
static void test_damaged_table(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t tables[256];
    char path[PATH_SIZE_MAX], key[24];
    size_t corrupt = 0, fine = 0;
    nokv_value value = {0};
    fixture_init(&f);
    fixture_open(&f);
    for (uint64_t i = 0; i < 200; i++)
        kv_put(f.db, i, 1);
    OK(nokv_flush(f.db));
    fixture_close(&f);
    assert_int_equal(numbers_of(&f, FILE_SST, tables), 1);
    OK(path_sst(path, "db", tables[0]));
    OK(sim_flip_bit(f.sim, path, 3 * PAGE_BYTES + 500, 2));
    fixture_open(&f);
    for (uint64_t i = 0; i < 200; i++) {
        enum nokv_status status = nokv_get(f.db, key, kv_key(i, key), NULL, &value);
        if (status == NOKV_OK) {
            nokv_value_release(&value);
            kv_check(f.db, i, 1);
            fine++;
        } else {
            FAILS(CORRUPT, status);
            assert_non_null(strstr(status_message(), path));
            corrupt++;
        }
    }
    assert_true(corrupt > 0 && fine > 150);
    nokv_iter *it = iter_at(f.db, NULL);
    size_t seen = 0;
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it))
        seen++;
    FAILS(CORRUPT, nokv_iter_status(it));
    assert_true(seen < 200);
    nokv_iter_seek(it, key, kv_key(199, key));
    check_entry(it, 199, 1);
    nokv_iter_destroy(it);
    FAILS(CORRUPT, nokv_verify(f.db, NULL, NULL, &(nokv_verify_report){0}));
    assert_int_not_equal(nokv_compact_range(f.db, NULL, 0, NULL, 0), NOKV_OK);
    fixture_kill(&f);
    fixture_open(&f); /* the table is still there: what is readable stays so */
    kv_check(f.db, 199, 1);
    fixture_deinit(&f);
}

/* The middle of some value in the table. */
static uint64_t value_off_find(struct fixture *f, const char *path)
{
    static uint8_t bytes[FIXTURE_FILE_MAX];
    size_t size = fixture_file_read(f, path, bytes, sizeof bytes);
    for (size_t i = 2 * PAGE_BYTES; i + 64 < size; i++)
        if (memcmp(bytes + i, "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv", 32) == 0)
            return i + 16;
    fail_msg("no value found");
    return 0;
}

static size_t count_corrupt(nokv_db *db, uint64_t keys)
{
    size_t corrupt = 0;
    for (uint64_t i = 0; i < keys; i++) {
        char key[24];
        nokv_value value = {0};
        enum nokv_status status = nokv_get(db, key, kv_key(i, key), NULL, &value);
        corrupt += status == NOKV_ERR_CORRUPT;
        nokv_value_release(&value);
    }
    return corrupt;
}

/* A block is verified when it is first read, and not at every read: damage that comes later is seen by the next
 * opening. */
static void test_blocks_are_verified_once(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t tables[256];
    char path[PATH_SIZE_MAX];
    fixture_init(&f);
    fixture_open(&f);
    for (uint64_t i = 0; i < 100; i++)
        kv_put(f.db, i, 1);
    OK(nokv_flush(f.db));
    fixture_close(&f);
    fixture_open(&f);
    assert_int_equal(numbers_of(&f, FILE_SST, tables), 1);
    OK(path_sst(path, "db", tables[0]));
    uint64_t off = value_off_find(&f, path);
    assert_int_equal(count_corrupt(f.db, 100), 0);
    OK(sim_flip_bit(f.sim, path, off, 0));
    assert_int_equal(count_corrupt(f.db, 100), 0);
    fixture_close(&f);
    fixture_open(&f);
    assert_true(count_corrupt(f.db, 100) > 0);
    fixture_deinit(&f);
}

/* A copying get says the size that it would have needed, and leaves the buffer alone. */
static void test_get_copy(void **state)
{
    (void)state;
    struct fixture f;
    char key[24], wanted[256], buffer[300];
    size_t size = 0, key_size = kv_key(3, key);
    fixture_init(&f);
    fixture_open(&f);
    kv_put(f.db, 3, 1);
    size_t wanted_size = kv_value(3, 1, wanted);
    memset(buffer, '#', sizeof buffer);
    FAILS(TOO_LARGE, nokv_get_copy(f.db, key, key_size, NULL, buffer, wanted_size - 1, &size));
    assert_int_equal(size, wanted_size);
    assert_int_equal(buffer[0], '#');
    OK(nokv_get_copy(f.db, key, key_size, NULL, buffer, wanted_size, &size));
    assert_memory_equal(buffer, wanted, wanted_size);
    assert_int_equal(buffer[wanted_size], '#');
    OK(nokv_put(f.db, "empty", 5, NULL, 0, NULL));
    OK(nokv_get_copy(f.db, "empty", 5, NULL, NULL, 0, &size));
    assert_int_equal(size, 0);
    size = 77;
    FAILS(NOT_FOUND, nokv_get_copy(f.db, "absent", 6, NULL, buffer, sizeof buffer, &size));
    assert_int_equal(size, 77);
    FAILS(INVALID, nokv_get_copy(f.db, "", 0, NULL, buffer, sizeof buffer, &size));
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snapshots),     cmocka_unit_test(test_iterator_keeps_its_files),
        cmocka_unit_test(test_slices_stay),   cmocka_unit_test(test_pinned_values),
        cmocka_unit_test(test_held_tables),   cmocka_unit_test(test_bounds_and_later_writes),
        cmocka_unit_test(test_damaged_table), cmocka_unit_test(test_blocks_are_verified_once),
        cmocka_unit_test(test_get_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
