// SPDX-License-Identifier: Apache-2.0
/*
 * values_test.c - values by size and home: where they are, that nobody sees a difference, what keeps them alive, and
 * what damage to the value log means for the keys that point into it.
 */
#include "values_fixture.h"

enum { KEYS = 30 };

/* ---- homes ------------------------------------------------------------------------------------------------------- */

/* The sizes at the thresholds go where the options say: nothing of the value log for inline values, a segment of the
 * flush's for separated ones, one of the writes' for direct ones; all read back from memtable and tables. */
static void test_homes(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        const char *origin; /* NULL: inline */
    } cases[] = {
        {0, NULL},          {1, NULL},        {SEPARATION - 1, NULL}, {SEPARATION, "flush"}, {DIRECT - 1, "flush"},
        {DIRECT, "direct"}, {50000, "direct"}};
    for (size_t c = 0; c < ARRAY_COUNT(cases); c++) {
        struct fixture f;
        struct segment_list l;
        values_init(&f);
        fixture_open(&f);
        sized_put(f.db, 1, 1, cases[c].size);
        bool direct = cases[c].size >= DIRECT;
        segments_list(f.db, &l);
        assert_int_equal(l.count, direct);
        assert_int_equal(stats_of(f.db).vlog_direct_bytes, direct ? cases[c].size : 0);
        sized_check(f.db, 1, 1, cases[c].size);
        OK(nokv_flush(f.db));
        sized_check(f.db, 1, 1, cases[c].size);
        segments_list(f.db, &l);
        assert_int_equal(l.count, cases[c].origin != NULL);
        assert_int_equal(l.live_records, cases[c].origin != NULL);
        if (cases[c].origin)
            assert_string_equal(l.items[0].origin, cases[c].origin);
        fixture_close(&f);
        fixture_open(&f);
        sized_check(f.db, 1, 1, cases[c].size);
        verify_ok(f.db);
        fixture_deinit(&f);
    }
}

static void all_put(struct fixture *f, uint64_t version)
{
    for (uint64_t i = 0; i < KEYS; i++)
        sized_put(f->db, i, version, home_sizes[i % 3]);
}

static void all_check(struct fixture *f, uint64_t version)
{
    for (uint64_t i = 0; i < KEYS; i++)
        sized_check(f->db, i, version, home_sizes[i % 3]);
}

/* Thresholds go up, down and off on a database that has values of all homes: all of them stay readable, and after a
 * compaction and a collection they are where the options want them. */
static void test_option_changes(void **state)
{
    (void)state;
    static const struct {
        uint32_t separation, direct;
        uint64_t records; /* in the value log in the end */
    } changes[] = {{SEPARATION, DIRECT, KEYS / 3 * 2}, {2000, DIRECT, KEYS / 3},
                   {UINT32_MAX, UINT32_MAX, 0},        {100, 1000, KEYS},
                   {5000, UINT32_MAX, KEYS / 3},       {100, UINT32_MAX, KEYS},
                   {UINT32_MAX, UINT32_MAX, 0},        {SEPARATION, DIRECT, KEYS / 3 * 2}};
    struct fixture f;
    values_init(&f);
    fixture_open(&f);
    all_put(&f, 1);
    for (size_t c = 0; c < ARRAY_COUNT(changes); c++) {
        struct segment_list l;
        fixture_close(&f);
        f.options.value_separation_min = changes[c].separation;
        f.options.value_direct_min = changes[c].direct;
        fixture_open(&f);
        all_check(&f, c + 1);
        settle(f.db);
        all_check(&f, c + 1);
        OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
        OK(nokv_vlog_collect(f.db, 1.0));
        all_check(&f, c + 1);
        verify_ok(f.db);
        all_put(&f, c + 2);
        all_check(&f, c + 2);
        settle(f.db);
        OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
        OK(nokv_vlog_collect(f.db, 1.0));
        segments_list(f.db, &l);
        assert_int_equal(l.live_records, changes[c].records);
        all_check(&f, c + 2);
        verify_ok(f.db);
    }
    fixture_deinit(&f);
}

/* ---- what keeps values alive ---------------------------------------------------------------------------------------
 */

/* Overwrite everything twice and collect all that can be, so that segments that only old readers need are removed. */
static void churn(struct fixture *f, uint64_t version)
{
    for (uint64_t round = 0; round < 2; round++) {
        all_put(f, version + round);
        settle(f->db);
        OK(nokv_compact_range(f->db, NULL, 0, NULL, 0));
        OK(nokv_vlog_collect(f->db, 1.0));
    }
}

/* A value that was handed out stays as it was after its segment was collected, removed and unlinked. */
static void test_pinned_value(void **state)
{
    (void)state;
    for (nokv_vlog_read model = NOKV_VLOG_READ_AUTO; model <= NOKV_VLOG_READ_PREAD; model++) {
        struct fixture f;
        nokv_value held[KEYS] = {0};
        values_init(&f);
        f.options.vlog_read = model;
        fixture_open(&f);
        all_put(&f, 1);
        settle(f.db);
        for (uint64_t i = 0; i < KEYS; i++) {
            char key[24];
            OK(nokv_get(f.db, key, kv_key(i, key), NULL, &held[i]));
        }
        uint64_t before[256], after[256];
        size_t count = numbers_of(&f, FILE_VLOG, before);
        assert_true(count > 0);
        churn(&f, 2);
        for (uint64_t i = 0; i < KEYS; i++) {
            assert_true(sized_is(i, 1, home_sizes[i % 3], held[i].data, held[i].size));
            nokv_value_release(&held[i]);
        }
        OK(nokv_wait_idle(f.db));
        assert_true(numbers_of(&f, FILE_VLOG, after) > 0);
        assert_true(after[0] > before[count - 1]); /* none of the old files is left */
        all_check(&f, 3);
        fixture_deinit(&f);
    }
}

/* An iterator and a snapshot go on reading what they saw, in any direction, while everything is overwritten, collected
 * and unlinked; when they are gone, so are the files. */
static void test_views_keep_segments(void **state)
{
    (void)state;
    for (int use_snapshot = 0; use_snapshot < 2; use_snapshot++) {
        struct fixture f;
        nokv_iter *it = NULL;
        const nokv_snapshot *snapshot = NULL;
        values_init(&f);
        fixture_open(&f);
        all_put(&f, 1);
        settle(f.db);
        if (use_snapshot)
            OK(nokv_snapshot_create(f.db, &snapshot));
        else
            OK(nokv_iter_create(f.db, NULL, &it));
        churn(&f, 2);
        if (use_snapshot) {
            nokv_iter_options io = {.struct_size = sizeof io, .snapshot = snapshot};
            for (uint64_t i = 0; i < KEYS; i++)
                sized_check_at(f.db, i, 1, home_sizes[i % 3], snapshot);
            OK(nokv_iter_create(f.db, &io, &it));
        }
        uint64_t i = KEYS;
        for (nokv_iter_last(it); nokv_iter_valid(it); nokv_iter_prev(it)) {
            i--;
            assert_int_equal(nokv_iter_value_size(it), home_sizes[i % 3]);
            nokv_slice value = nokv_iter_value(it);
            if (!sized_is(i, 1, home_sizes[i % 3], value.data, value.size))
                fail_msg("value %llu, snapshot %d: %s", (unsigned long long)i, use_snapshot, status_message());
        }
        OK(nokv_iter_status(it));
        assert_int_equal(i, 0);
        nokv_iter_destroy(it);
        nokv_snapshot_release(f.db, snapshot);
        churn(&f, 4);
        OK(nokv_wait_idle(f.db));
        assert_int_equal(count_of(&f, FILE_VLOG), segments_count(f.db));
        struct segment_list l;
        segments_list(f.db, &l);
        assert_int_equal(l.live_records, KEYS / 3 * 2);
        fixture_deinit(&f);
    }
}

struct handed {
    nokv_iter *it;
    uint64_t shown; /* sound values */
};

static void *handed_walk(void *arg)
{
    struct handed *h = arg;
    for (nokv_iter_first(h->it); nokv_iter_valid(h->it); nokv_iter_next(h->it)) {
        nokv_slice value = nokv_iter_value(h->it);
        h->shown += sized_is(h->shown, 1, home_sizes[h->shown % 3], value.data, value.size);
    }
    nokv_iter_destroy(h->it);
    return NULL;
}

/* An iterator that one thread made is used and ended by another one, which has never read anything, whichever way
 * values are read. */
static void test_iterator_changes_threads(void **state)
{
    (void)state;
    static const nokv_vlog_read ways[] = {NOKV_VLOG_READ_AUTO, NOKV_VLOG_READ_MMAP, NOKV_VLOG_READ_PREAD};
    for (size_t w = 0; w < ARRAY_COUNT(ways); w++) {
        struct fixture f;
        struct handed h = {0};
        pthread_t other;
        values_init(&f);
        f.options.vlog_read = ways[w];
        fixture_open(&f);
        all_put(&f, 1);
        settle(f.db);
        OK(nokv_iter_create(f.db, NULL, &h.it));
        OK(thread_create(&other, "other", handed_walk, &h));
        thread_join(other);
        assert_int_equal(h.shown, KEYS);
        fixture_deinit(&f);
    }
}

/* A walk that asks for keys and sizes, and verifies their order, opens and reads nothing of the value log. */
static void test_key_scan_reads_no_value(void **state)
{
    (void)state;
    struct fixture f;
    nokv_iter *it = NULL;
    uint64_t count = 0;
    values_init(&f);
    f.options.vlog_read = NOKV_VLOG_READ_PREAD;
    fixture_open(&f);
    all_put(&f, 1);
    settle(f.db);
    fixture_close(&f);
    fixture_open(&f);
    nokv_component_stats before = stats_of(f.db).components[NOKV_COMPONENT_VLOG];
    OK(nokv_iter_create(f.db, NULL, &it));
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it))
        assert_int_equal(nokv_iter_value_size(it), home_sizes[count++ % 3]);
    for (nokv_iter_last(it); nokv_iter_valid(it); nokv_iter_prev(it))
        assert_true(nokv_iter_key(it).size > 0);
    assert_int_equal(count, KEYS);
    nokv_component_stats after = stats_of(f.db).components[NOKV_COMPONENT_VLOG];
    assert_int_equal(after.reads, before.reads);
    assert_int_equal(after.calls, before.calls);
    nokv_iter_first(it);
    nokv_iter_next(it);
    assert_int_equal(nokv_iter_value(it).size, FLUSHED_BYTES);
    assert_true(stats_of(f.db).components[NOKV_COMPONENT_VLOG].reads > before.reads);
    nokv_iter_destroy(it);
    fixture_deinit(&f);
}

/* ---- damage --------------------------------------------------------------------------------------------------------
 */

static void scene_closed(struct fixture *f, uint64_t segments[256], size_t *out_count)
{
    values_init(f);
    f->options.vlog_read = NOKV_VLOG_READ_PREAD;
    fixture_open(f);
    all_put(f, 1);
    settle(f->db);
    fixture_close(f);
    *out_count = numbers_of(f, FILE_VLOG, segments);
    assert_true(*out_count >= 2);
}

/* The one MANIFEST of a closed database. */
static void manifest_path(struct fixture *f, char path[PATH_SIZE_MAX])
{
    uint64_t numbers[256];
    assert_int_equal(numbers_of(f, FILE_MANIFEST, numbers), 1);
    OK(path_manifest(path, "db", numbers[0]));
}

/* A segment that the MANIFEST names and that is not there, or has another size, is damage that opening reports, by the
 * names of both files: a MANIFEST without its last edits looks the same. */
static void test_missing_segment(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct fixture f;
        uint64_t segments[256], size = 0;
        size_t count;
        char path[PATH_SIZE_MAX], manifest[PATH_SIZE_MAX];
        scene_closed(&f, segments, &count);
        manifest_path(&f, manifest);
        for (size_t i = 0; i < count; i++) {
            struct sim *kept = f.sim;
            io_destroy(f.io);
            OK(sim_clone(kept, &f.sim)); /* damage a copy */
            OK(sim_io_create(f.sim, &f.io));
            OK(path_vlog(path, "db", segments[i]));
            OK(io_stat(f.io, path, &size));
            if (how == 0)
                OK(io_unlink(f.io, path));
            else
                fixture_file_cut(&f, path, how == 1 ? size - 4096 : size + 4096);
            fixture_assert_corrupt(&f, path);
            fixture_assert_corrupt(&f, manifest);
            f.options.read_only = true;
            fixture_assert_corrupt(&f, path);
            f.options.read_only = false;
            io_destroy(f.io);
            sim_destroy(f.sim);
            f.sim = kept;
            OK(sim_io_create(f.sim, &f.io));
        }
        fixture_open(&f);
        all_check(&f, 1);
        fixture_deinit(&f);
    }
}

/* Where the bytes of a value stand; false: not in this file. */
static bool value_find(struct fixture *f, const char *path, uint64_t i, uint64_t *out_off)
{
    size_t size = home_sizes[i % 3];
    uint8_t *wanted = sized_make(i, 1, size);
    static uint8_t file[FIXTURE_FILE_MAX];
    size_t file_size = fixture_file_read(f, path, file, sizeof file);
    const uint8_t *at = memmem(file, file_size, wanted, size);
    mem_free(wanted);
    *out_off = at ? (uint64_t)(at - file) : 0;
    return at != NULL;
}

/* The path of the segment that has value i, and where in it. */
static void value_locate(struct fixture *f, uint64_t i, char path[PATH_SIZE_MAX], uint64_t *out_off)
{
    uint64_t segments[256];
    size_t count = numbers_of(f, FILE_VLOG, segments);
    for (size_t s = 0; s < count; s++) {
        OK(path_vlog(path, "db", segments[s]));
        if (value_find(f, path, i, out_off))
            return;
    }
    fail_msg("value %llu is in no segment", (unsigned long long)i);
}

static void flipped_check(struct fixture *f, uint64_t bad, const char *path)
{
    char key[24];
    nokv_value value = {0};
    nokv_verify_report report;
    FAILS(CORRUPT, nokv_get(f->db, key, kv_key(bad, key), NULL, &value));
    assert_non_null(strstr(status_message(), path));
    if (strpbrk(strstr(status_message(), path) + strlen(path), "0123456789") == NULL)
        fail_msg("the message does not say where: %s", status_message());
    for (uint64_t i = 0; i < KEYS; i++)
        if (i != bad)
            sized_check(f->db, i, 1, home_sizes[i % 3]);
    FAILS(CORRUPT, nokv_verify(f->db, NULL, NULL, &report));
    assert_non_null(strstr(status_message(), path));
}

/* One flipped bit in a value: this key is CORRUPT, with file and offset, the others are fine, verify finds it, writing
 * goes on, a collection moves what is sound around it and keeps the damaged one's pointer. */
static void test_flipped_value(void **state)
{
    (void)state;
    for (uint64_t bad = 1; bad < KEYS; bad += bad % 3) /* 1, 2, 4, 5, 7: the value log's */
        for (nokv_vlog_read model = NOKV_VLOG_READ_AUTO; model <= NOKV_VLOG_READ_PREAD; model++) {
            struct fixture f;
            uint64_t segments[256], off = 0;
            size_t count;
            char path[PATH_SIZE_MAX];
            scene_closed(&f, segments, &count);
            f.options.vlog_read = model;
            value_locate(&f, bad, path, &off);
            OK(sim_flip_bit(f.sim, path, off + home_sizes[bad % 3] / 2, bad % 8));
            fixture_open(&f);
            flipped_check(&f, bad, path);
            for (uint64_t i = 0; i < KEYS; i++) /* so that its segment is worth a collection */
                if (i % 6 == 5 && i != bad)
                    kv_delete(f.db, i);
            OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
            OK(nokv_vlog_collect(f.db, 1.0));
            for (uint64_t i = 0; i < KEYS; i++)
                if (i != bad)
                    sized_check(f.db, i, i % 6 != 5, home_sizes[i % 3]);
            char key[24];
            nokv_value value = {0};
            FAILS(CORRUPT, nokv_get(f.db, key, kv_key(bad, key), NULL, &value));
            sized_put(f.db, bad, 1, home_sizes[bad % 3]); /* the way out */
            sized_check(f.db, bad, 1, home_sizes[bad % 3]);
            all_put(&f, 2);
            settle(f.db);
            OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
            OK(nokv_wait_idle(f.db));
            all_check(&f, 2);
            assert_int_equal(stats_of(f.db).background_error, NOKV_OK);
            verify_ok(f.db);
            fixture_deinit(&f);
        }
}

/* Each value's damage ends an iterator there, with the status that says why; a seek behind it goes on. */
static void test_iterator_meets_damage(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t segments[256], off = 0, seen = 0;
    size_t count;
    char path[PATH_SIZE_MAX], key[24];
    nokv_iter *it = NULL;
    scene_closed(&f, segments, &count);
    value_locate(&f, 4, path, &off);
    OK(sim_flip_bit(f.sim, path, off + 3, 1));
    fixture_open(&f);
    OK(nokv_iter_create(f.db, NULL, &it));
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it)) /* as users write it */
        seen += nokv_iter_value(it).data != NULL;
    assert_int_equal(seen, 4);
    nokv_iter_prev(it);
    assert_false(nokv_iter_valid(it));
    FAILS(CORRUPT, nokv_iter_status(it));
    assert_null(nokv_iter_value(it).data);
    assert_int_equal(nokv_iter_key(it).size, kv_key(4, key));
    assert_memory_equal(nokv_iter_key(it).data, key, kv_key(4, key));
    FAILS(CORRUPT, nokv_iter_status(it));
    for (nokv_iter_seek(it, key, kv_key(5, key)); nokv_iter_valid(it) && nokv_iter_value(it).data; nokv_iter_next(it))
        seen++;
    OK(nokv_iter_status(it));
    assert_int_equal(seen, KEYS - 1);
    nokv_iter_destroy(it);
    fixture_deinit(&f);
}

/* Every bit of a segment, in steps: verify notices it, or opening does, and neither does anything else than say so. */
static void test_verify_notices_flips(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t segments[256], size = 0, missed = 0, flips = 0;
    size_t count;
    char path[PATH_SIZE_MAX];
    nokv_verify_report report;
    scene_closed(&f, segments, &count);
    f.options.read_only = true;
    for (size_t s = 0; s < count; s++) {
        OK(path_vlog(path, "db", segments[s]));
        OK(io_stat(f.io, path, &size));
        for (uint64_t at = 0; at < size; at += 61) {
            OK(sim_flip_bit(f.sim, path, at, at % 8));
            enum nokv_status status = fixture_try_open(&f);
            if (status == NOKV_OK) {
                status = nokv_verify(f.db, NULL, NULL, &report);
                fixture_close(&f);
            }
            if (status == NOKV_OK)
                missed++;
            else if (status != NOKV_ERR_NOT_SUPPORTED)
                FAILS(CORRUPT, status);
            OK(sim_flip_bit(f.sim, path, at, at % 8));
            flips++;
        }
    }
    printf("%llu flips, %llu not noticed\n", (unsigned long long)flips, (unsigned long long)missed);
    assert_int_equal(missed, 0);
    fixture_open(&f);
    verify_ok(f.db);
    fixture_deinit(&f);
}

/* A live counter that is not what the tables point to, by a byte or a record, is found by verify. */
static void test_verify_notices_wrong_counters(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t segments[256];
    size_t count;
    nokv_verify_report report;
    scene_closed(&f, segments, &count);
    fixture_open(&f);
    for (size_t i = 0; i < f.db->segment_count; i++) {
        struct segment_entry *e = f.db->segments[i];
        e->live_bytes += 8;
        FAILS(CORRUPT, nokv_verify(f.db, NULL, NULL, &report));
        e->live_bytes -= 8;
        e->live_records++;
        FAILS(CORRUPT, nokv_verify(f.db, NULL, NULL, &report));
        e->live_records--;
    }
    verify_ok(f.db);
    fixture_deinit(&f);
}

/* A pointer into a segment that is not there, and an entry of a kind that is not known, are errors of that key alone.
 */
static void test_entries_that_cannot_be_followed(void **state)
{
    (void)state;
    struct fixture f;
    char key[24];
    nokv_value value = {0};
    struct found found = {0};
    values_init(&f);
    fixture_open(&f);
    sized_put(f.db, 1, 1, INLINE_BYTES);
    sized_put(f.db, 2, 1, DIRECT_BYTES);
    size_t key_size = kv_key(2, key);
    db_find_in_memory(f.db->view, slice_make(key, key_size), f.db->last_seq, &found);
    uint8_t *pointer = (uint8_t *)(uintptr_t)found.lookup.value.data;
    pointer[1] ^= 1;
    FAILS(CORRUPT, nokv_get(f.db, key, key_size, NULL, &value));
    assert_non_null(strstr(nokv_error_message(), "of the value log, which is not there"));
    pointer[1] ^= 1;
    sized_check(f.db, 2, 1, DIRECT_BYTES);
    struct ikey later = {.user = slice_make(key, key_size), .tag = key_tag(f.db->last_seq, KEY_MERGE)};
    OK(memtable_add(f.db->mem, later, slice_make("+1", 2)));
    FAILS(NOT_SUPPORTED, nokv_get(f.db, key, key_size, NULL, &value));
    assert_non_null(strstr(nokv_error_message(), "an entry of kind 3"));
    sized_check(f.db, 1, 1, INLINE_BYTES);
    fixture_kill(&f);
    fixture_open(&f);
    sized_check(f.db, 2, 1, DIRECT_BYTES);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_homes),
        cmocka_unit_test(test_option_changes),
        cmocka_unit_test(test_pinned_value),
        cmocka_unit_test(test_views_keep_segments),
        cmocka_unit_test(test_iterator_changes_threads),
        cmocka_unit_test(test_key_scan_reads_no_value),
        cmocka_unit_test(test_missing_segment),
        cmocka_unit_test(test_flipped_value),
        cmocka_unit_test(test_iterator_meets_damage),
        cmocka_unit_test(test_verify_notices_flips),
        cmocka_unit_test(test_verify_notices_wrong_counters),
        cmocka_unit_test(test_entries_that_cannot_be_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
