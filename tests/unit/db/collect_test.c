// SPDX-License-Identifier: Apache-2.0
/*
 * collect_test.c - garbage of the value log: it goes when it is more than the option allows, and not before; nothing
 * live goes with it; segments that are wholly dead are not read; and what old readers see stays until they are gone.
 */
#include "values_fixture.h"

enum { KEYS = 120 };

static const double amp_max = 1.3;

/* What may stay beyond the bound: one quarter of a segment (the option's slack), and pages of each segment. */
static void bound_check(nokv_db *db)
{
    struct segment_list l;
    segments_list(db, &l);
    double slack = (64 << 10) / 4 + (double)l.count * 5 * PAGE_BYTES;
    if ((double)l.file_bytes > (double)l.live_bytes * amp_max + slack)
        fail_msg("%zu segments of %llu bytes, %llu of them live", l.count, (unsigned long long)l.file_bytes,
                 (unsigned long long)l.live_bytes);
}

static size_t size_of(uint64_t i)
{
    return i % 2 ? FLUSHED_BYTES : DIRECT_BYTES;
}

/* Which version each key is at; 0: none. */
struct model {
    uint64_t versions[KEYS];
};

static void scene_init(struct fixture *f, struct model *m, double amp)
{
    *m = (struct model){0};
    values_init(f);
    f->options.vlog_space_amp_max = amp;
    fixture_open(f);
}

static void key_write(struct fixture *f, struct model *m, uint64_t i)
{
    sized_put(f->db, i, ++m->versions[i], size_of(i));
}

static void fill(struct fixture *f, struct model *m)
{
    for (uint64_t i = 0; i < KEYS; i++)
        key_write(f, m, i);
}

static void model_check(struct fixture *f, const struct model *m)
{
    for (uint64_t i = 0; i < KEYS; i++)
        sized_check(f->db, i, m->versions[i], size_of(i));
}

/* Merge everything, so that what is overwritten is garbage. */
static void merge(struct fixture *f)
{
    settle(f->db);
    OK(nokv_compact_range(f->db, NULL, 0, NULL, 0));
    OK(nokv_wait_idle(f->db));
}

/* ---- how it ends ---------------------------------------------------------------------------------------------------
 */

typedef uint64_t (*pattern_fn)(uint64_t n, uint64_t *rng);

static uint64_t pattern_uniform(uint64_t n, uint64_t *rng)
{
    (void)n;
    return test_random(rng) % KEYS;
}

static uint64_t pattern_skewed(uint64_t n, uint64_t *rng)
{
    (void)n;
    return test_random(rng) % 8 ? test_random(rng) % (KEYS / 10) : test_random(rng) % KEYS;
}

static uint64_t pattern_sequential(uint64_t n, uint64_t *rng)
{
    (void)rng;
    return n % KEYS;
}

/* Overwriting in several patterns, for ten times the data: in the end no more than the bound is on the disk, nothing
 * live is lost, the counters are exact at each step, and all of it comes back. */
static void test_amplification_is_bounded(void **state)
{
    (void)state;
    static const pattern_fn patterns[] = {pattern_uniform, pattern_skewed, pattern_sequential};
    uint64_t seed = test_seed(5);
    for (size_t p = 0; p < ARRAY_COUNT(patterns); p++) {
        struct fixture f;
        struct model m;
        uint64_t rng = seed;
        scene_init(&f, &m, amp_max);
        fill(&f, &m);
        for (uint64_t n = 0; n < 10 * KEYS; n++) {
            key_write(&f, &m, patterns[p](n, &rng));
            if (n % KEYS == KEYS - 1)
                verify_ok(f.db);
        }
        merge(&f);
        bound_check(f.db);
        model_check(&f, &m);
        verify_ok(f.db);
        assert_int_equal(count_of(&f, FILE_VLOG), segments_count(f.db));
        fixture_close(&f);
        fixture_open(&f);
        model_check(&f, &m);
        verify_ok(f.db);
        fixture_deinit(&f);
    }
}

/* Large values overwritten for fifty times the data: their pointers would all fit into one memtable, and none of what
 * they supersede would be known as garbage before that is full. */
static void test_pointers_in_memory_are_bounded(void **state)
{
    (void)state;
    enum { LARGE_KEYS = 60, LARGE_BYTES = 20000 };
    struct fixture f;
    uint64_t peak = 0;
    values_init(&f);
    fixture_open(&f);
    for (uint64_t n = 0; n < 50 * LARGE_KEYS; n++) {
        sized_put(f.db, n % LARGE_KEYS, 1 + n / LARGE_KEYS, LARGE_BYTES);
        struct segment_list list;
        uint64_t bytes = 0;
        segments_list(f.db, &list);
        for (size_t i = 0; i < list.count; i++)
            bytes += list.items[i].file_bytes;
        peak = u64_max(peak, bytes);
    }
    if (peak > 4 * LARGE_KEYS * LARGE_BYTES)
        fail_msg("%llu bytes of segments for %d that are live", (unsigned long long)peak, LARGE_KEYS * LARGE_BYTES);
    for (uint64_t i = 0; i < LARGE_KEYS; i++)
        sized_check(f.db, i, 50, LARGE_BYTES);
    verify_ok(f.db);
    fixture_deinit(&f);
}

/* Deleting every second key, then all: half of the value log goes, then all of it. */
static void test_deletes_are_collected(void **state)
{
    (void)state;
    struct fixture f;
    struct model m;
    scene_init(&f, &m, amp_max);
    fill(&f, &m);
    merge(&f);
    for (uint64_t step = 2; step >= 1; step--) {
        for (uint64_t i = 0; i < KEYS; i += step) {
            kv_delete(f.db, i);
            m.versions[i] = 0;
        }
        merge(&f);
        bound_check(f.db);
        model_check(&f, &m);
        verify_ok(f.db);
    }
    assert_in_range(count_of(&f, FILE_VLOG), 0, 1); /* the one that is written to */
    fixture_close(&f);
    fixture_open(&f);
    OK(nokv_wait_idle(f.db));
    assert_int_equal(count_of(&f, FILE_VLOG), 0);
    fixture_deinit(&f);
}

/* Below the bound nothing is moved, however often one waits; what is asked for with a lower bound is. */
static void test_nothing_below_the_bound(void **state)
{
    (void)state;
    struct fixture f;
    struct model m;
    scene_init(&f, &m, 2.0);
    fill(&f, &m);
    for (uint64_t i = 0; i < KEYS; i += 4) /* a third more */
        key_write(&f, &m, i);
    for (int i = 0; i < 3; i++)
        merge(&f);
    OK(nokv_vlog_collect(f.db, 0));
    OK(nokv_vlog_collect(f.db, 1.9));
    assert_int_equal(stats_of(f.db).vlog_collections, 0);
    assert_int_equal(stats_of(f.db).vlog_moved_bytes, 0);
    OK(nokv_vlog_collect(f.db, 1.0));
    assert_true(stats_of(f.db).vlog_collections > 0);
    assert_true(stats_of(f.db).vlog_moved_bytes > 0);
    FAILS(INVALID, nokv_vlog_collect(f.db, 0.5));
    FAILS(INVALID, nokv_vlog_collect(f.db, -1));
    FAILS(INVALID, nokv_vlog_collect(f.db, 1e9));
    model_check(&f, &m);
    fixture_deinit(&f);
}

/* Collecting as far as it goes ends, also when asked again and again, for values of sizes that leave the most of a page
 * unused, written through each model: what the pages of a segment waste is not garbage for ever. */
static void test_collecting_all_ends(void **state)
{
    (void)state;
    static const size_t sizes[] = {SEPARATION, 4090, 4097, 5000, 8200, 12300, 33000, 70001};
    for (nokv_io_model model = NOKV_IO_STD; model <= NOKV_IO_DIRECT; model += 2)
        for (size_t s = 0; s < ARRAY_COUNT(sizes); s++) {
            struct fixture f;
            values_init(&f);
            f.options.vlog_write = model;
            f.options.vlog_space_amp_max = 1000;
            fixture_open(&f);
            for (uint64_t version = 1; version <= 2; version++)
                for (uint64_t i = 0; i < 40; i += version)
                    sized_put(f.db, i, version, sizes[s]);
            merge(&f);
            for (int again = 0; again < 3; again++)
                OK(nokv_vlog_collect(f.db, 1.0));
            uint64_t moved = stats_of(f.db).vlog_moved_bytes;
            OK(nokv_vlog_collect(f.db, 1.0));
            assert_int_equal(stats_of(f.db).vlog_moved_bytes, moved);
            for (uint64_t i = 0; i < 40; i++)
                sized_check(f.db, i, i % 2 ? 1 : 2, sizes[s]);
            verify_ok(f.db);
            fixture_deinit(&f);
        }
}

/* Several segments with garbage are collected in one round, the fuller ones are left alone. */
static void test_several_candidates_in_a_round(void **state)
{
    (void)state;
    struct fixture f;
    struct model m;
    struct segment_list before, after;
    scene_init(&f, &m, 1.3);
    fill(&f, &m);
    merge(&f);
    segments_list(f.db, &before);
    assert_true(before.count >= 6);
    for (uint64_t i = 0; i < KEYS / 2; i++) /* the segments of the first half: three quarters of their values */
        if (i % 8 < 6) {
            kv_delete(f.db, i);
            m.versions[i] = 0;
        }
    uint64_t collections = stats_of(f.db).vlog_collections;
    merge(&f);
    size_t rounds = stats_of(f.db).vlog_collections - collections;
    segments_list(f.db, &after);
    size_t removed = 0, kept = 0;
    for (size_t i = 0; i < before.count; i++) {
        bool there = false;
        for (size_t j = 0; j < after.count; j++)
            there |= after.items[j].number == before.items[i].number;
        removed += !there;
        kept += there;
    }
    if (!(rounds >= 1 && removed > rounds && kept >= 2))
        fail_msg("%zu segments removed in %zu rounds, %zu kept", removed, rounds, kept);
    model_check(&f, &m);
    verify_ok(f.db);
    fixture_deinit(&f);
}

/* Segments in which nothing lives are removed without a byte of them being read. */
static void test_dead_segments_are_not_read(void **state)
{
    (void)state;
    struct fixture f;
    struct model m;
    scene_init(&f, &m, amp_max);
    fill(&f, &m);
    merge(&f);
    fixture_close(&f);
    fixture_open(&f);
    uint64_t there = count_of(&f, FILE_VLOG);
    assert_true(there > 3);
    nokv_component_stats before = stats_of(f.db).components[NOKV_COMPONENT_VLOG];
    sim_fail(f.sim, IO_OP_READ, IO_VLOG, 1, 5, true);
    for (uint64_t i = 0; i < KEYS; i++)
        kv_delete(f.db, i);
    merge(&f);
    sim_fail_clear(f.sim);
    nokv_component_stats after = stats_of(f.db).components[NOKV_COMPONENT_VLOG];
    assert_int_equal(after.reads, before.reads);
    assert_int_equal(stats_of(f.db).vlog_moved_bytes, 0);
    assert_int_equal(count_of(&f, FILE_VLOG), 0);
    assert_true(stats_of(f.db).vlog_reclaimed_bytes > 0);
    fixture_deinit(&f);
}

/* A compaction does not rewrite separated values: only pointers go from level to level. */
static void test_compactions_leave_values(void **state)
{
    (void)state;
    struct fixture f;
    struct model m;
    scene_init(&f, &m, 1000);
    fill(&f, &m);
    settle(f.db);
    uint64_t vlog = stats_of(f.db).components[NOKV_COMPONENT_VLOG].write_bytes;
    uint64_t compaction = stats_of(f.db).components[NOKV_COMPONENT_COMPACTION].write_bytes;
    for (int i = 0; i < 5; i++)
        OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
    assert_int_equal(stats_of(f.db).components[NOKV_COMPONENT_VLOG].write_bytes, vlog);
    assert_true(stats_of(f.db).components[NOKV_COMPONENT_COMPACTION].write_bytes - compaction <
                5ull * KEYS * FLUSHED_BYTES / 4);
    assert_int_equal(stats_of(f.db).vlog_moved_bytes, 0);
    model_check(&f, &m);
    fixture_deinit(&f);
}

/* ---- old readers ---------------------------------------------------------------------------------------------------
 */

/* A snapshot's values are live: they move, and are read at the snapshot wherever they are; released, they go. */
static void test_snapshot_holds_values(void **state)
{
    (void)state;
    struct fixture f;
    struct model m, old;
    struct segment_list l;
    const nokv_snapshot *snapshot = NULL;
    scene_init(&f, &m, amp_max);
    fill(&f, &m);
    OK(nokv_snapshot_create(f.db, &snapshot));
    old = m;
    for (int round = 0; round < 4; round++) {
        fill(&f, &m);
        merge(&f);
        OK(nokv_vlog_collect(f.db, 1.0));
        for (uint64_t i = 0; i < KEYS; i++)
            sized_check_at(f.db, i, old.versions[i], size_of(i), snapshot);
        model_check(&f, &m);
        segments_list(f.db, &l);
        assert_int_equal(l.live_records, 2 * KEYS);
        verify_ok(f.db);
    }
    nokv_snapshot_release(f.db, snapshot);
    fill(&f, &m);
    merge(&f);
    segments_list(f.db, &l);
    assert_int_equal(l.live_records, KEYS);
    bound_check(f.db);
    model_check(&f, &m);
    verify_ok(f.db);
    fixture_deinit(&f);
}

/* An iterator's segments are removed from the database and stay on the disk, until it is destroyed. */
static void test_iterator_keeps_files(void **state)
{
    (void)state;
    struct fixture f;
    struct model m;
    nokv_iter *it = NULL;
    scene_init(&f, &m, amp_max);
    fill(&f, &m);
    merge(&f);
    fixture_close(&f);
    fixture_open(&f); /* none is written to */
    size_t before = count_of(&f, FILE_VLOG);
    OK(nokv_iter_create(f.db, NULL, &it));
    for (uint64_t i = 0; i < KEYS; i++)
        kv_delete(f.db, i);
    merge(&f);
    assert_int_equal(segments_count(f.db), 0);
    assert_int_equal(count_of(&f, FILE_VLOG), before);
    uint64_t count = 0;
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it), count++)
        assert_int_equal(nokv_iter_value(it).size, size_of(count));
    assert_int_equal(count, KEYS);
    nokv_iter_destroy(it);
    OK(nokv_wait_idle(f.db));
    assert_int_equal(count_of(&f, FILE_VLOG), 0);
    fixture_deinit(&f);
}

/* ---- dying in the middle --------------------------------------------------------------------------------------------
 */

/* The power goes at each step of a collection: whatever is there afterwards, no value is missed, and no file is left
 * over once the next collection is through. */
static void test_crash_while_collecting(void **state)
{
    (void)state;
    uint64_t runs = 0;
    for (uint64_t steps = 0;; steps += 5) {
        struct fixture f;
        struct model m;
        scene_init(&f, &m, 1000);
        sim_reseed(f.sim, steps);
        fill(&f, &m);
        for (uint64_t i = 0; i < KEYS; i += 3) {
            kv_delete(f.db, i);
            m.versions[i] = 0;
        }
        merge(&f);
        OK(nokv_sync_wal(f.db));
        sim_crash_after(f.sim, steps);
        (void)!nokv_vlog_collect(f.db, 1.0);
        bool crashed = sim_is_crashed(f.sim);
        steps % 2 ? fixture_kill(&f) : fixture_power_cut(&f);
        fixture_open(&f);
        model_check(&f, &m);
        verify_ok(f.db);
        OK(nokv_vlog_collect(f.db, 1.0));
        model_check(&f, &m);
        verify_ok(f.db);
        assert_int_equal(count_of(&f, FILE_VLOG), segments_count(f.db));
        fixture_deinit(&f);
        runs++;
        if (!crashed)
            break;
    }
    assert_true(runs > 5);
}

/* Sealed segments with live records and none that has none, as large as no test makes them. */
static size_t segments_grow(struct fixture *f, uint64_t file_bytes, uint64_t live_bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < f->db->segment_count; i++) {
        struct segment_entry *e = f->db->segments[i];
        if (e->live_records == 0 || e->segment->writer)
            continue;
        e->desc.file_bytes += file_bytes;
        e->live_bytes += live_bytes;
        count++;
    }
    return count;
}

/* Writers are slowed when garbage is far above the bound and more than 64 MiB, the more of it the more. */
static void test_debt(void **state)
{
    (void)state;
    struct fixture f;
    struct model m;
    double before = 0;
    scene_init(&f, &m, amp_max);
    fill(&f, &m);
    merge(&f);
    size_t count = segments_grow(&f, 0, 0);
    assert_true(count > 1);
    assert_true(collect_debt_locked(f.db) == 0);
    (void)segments_grow(&f, (48 << 20) / count, 0);
    assert_true(collect_debt_locked(f.db) == 0);
    (void)segments_grow(&f, -((48ull << 20) / count), 0);
    for (uint64_t more = 80ull << 20; more < 800ull << 20; more *= 2) {
        (void)segments_grow(&f, more / count, 0);
        double debt = collect_debt_locked(f.db);
        assert_true(debt > before);
        before = debt;
        (void)segments_grow(&f, -(more / count), 0);
    }
    OK(db_check(f.db));
    fixture_deinit(&f);
}

/* A round ends where it would move more than 256 MiB, but takes one segment at least. */
static void test_rounds_are_bounded(void **state)
{
    (void)state;
    struct fixture f;
    struct model m;
    scene_init(&f, &m, amp_max);
    fill(&f, &m);
    merge(&f);
    static const struct {
        uint64_t live_bytes;
        size_t chosen;
    } rows[] = {{300ull << 20, 1}, {120ull << 20, 2}};
    for (size_t r = 0; r < ARRAY_COUNT(rows); r++) {
        size_t chosen = 0;
        uint64_t live = rows[r].live_bytes;
        assert_true(segments_grow(&f, 3 * live, live) > 2);
        collect_choose_locked(f.db);
        for (size_t i = 0; i < f.db->segment_count; i++) {
            chosen += f.db->segments[i]->collecting;
            f.db->segments[i]->collecting = false;
        }
        assert_int_equal(chosen, rows[r].chosen);
        (void)segments_grow(&f, -3 * live, -live);
    }
    OK(db_check(f.db));
    fixture_deinit(&f);
}

static bool stop_at_second(void *arg, const nokv_vlog_segment *segment)
{
    uint64_t *numbers = arg;
    numbers[numbers[0] != 0] = segment->number;
    return numbers[1] == 0;
}

/* Who has seen enough segments is shown no more. */
static void test_segments_until_told(void **state)
{
    (void)state;
    struct fixture f;
    struct model m;
    struct segment_list l;
    uint64_t numbers[2] = {0, 0};
    scene_init(&f, &m, amp_max);
    fill(&f, &m);
    segments_list(f.db, &l);
    assert_true(l.count > 2);
    OK(nokv_vlog_segments(f.db, stop_at_second, numbers));
    assert_int_equal(numbers[0], l.items[0].number);
    assert_int_equal(numbers[1], l.items[1].number);
    fixture_deinit(&f);
}

/* A segment that was found damaged is left alone; one that has gone by then is nobody's concern. */
static void test_damaged_and_gone(void **state)
{
    (void)state;
    struct fixture f;
    struct model m;
    struct segment_list l;
    scene_init(&f, &m, 1000);
    fill(&f, &m);
    merge(&f);
    uint64_t numbers[] = {f.db->segments[0]->desc.number, 999999};
    collect_note_damaged_locked(f.db, numbers, ARRAY_COUNT(numbers));
    segments_list(f.db, &l);
    assert_string_equal(l.items[0].state, "damaged");
    for (uint64_t i = 0; i < KEYS; i++)
        key_write(&f, &m, i);
    OK(nokv_vlog_collect(f.db, 1.0));
    model_check(&f, &m);
    OK(db_check(f.db));
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pointers_in_memory_are_bounded),
        cmocka_unit_test(test_amplification_is_bounded),
        cmocka_unit_test(test_deletes_are_collected),
        cmocka_unit_test(test_nothing_below_the_bound),
        cmocka_unit_test(test_collecting_all_ends),
        cmocka_unit_test(test_several_candidates_in_a_round),
        cmocka_unit_test(test_dead_segments_are_not_read),
        cmocka_unit_test(test_compactions_leave_values),
        cmocka_unit_test(test_snapshot_holds_values),
        cmocka_unit_test(test_iterator_keeps_files),
        cmocka_unit_test(test_crash_while_collecting),
        cmocka_unit_test(test_debt),
        cmocka_unit_test(test_rounds_are_bounded),
        cmocka_unit_test(test_segments_until_told),
        cmocka_unit_test(test_damaged_and_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
