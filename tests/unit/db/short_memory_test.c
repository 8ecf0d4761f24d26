// SPDX-License-Identifier: Apache-2.0
/*
 * What a database does when its files are larger than the memory: on the simulated disk, which is told how much there
 * is, and where a mapped read takes no time, so that what is slow is said by the test.
 */
#include "sst/reader.h"
#include "values_fixture.h"

enum { KEYS = 1200, MEMORY = 4 << 20 };

static const size_t sizes[] = {INLINE_BYTES, FLUSHED_BYTES, DIRECT_BYTES, 3 * VLOG_CHUNK + 17};

static size_t size_of(uint64_t i)
{
    return sizes[i % 40 == 3 ? 3 : i % 3];
}

static void scene_init(struct fixture *f)
{
    struct io_memory memory = {.total_bytes = 2 * MEMORY, .limit_bytes = MEMORY, .source = "machine"};
    values_init(f);
    sim_set_memory(f->sim, &memory);
    fixture_open(f);
    for (uint64_t i = 0; i < KEYS; i++)
        sized_put(f->db, i, 1, size_of(i));
    OK(nokv_flush(f->db));
    OK(nokv_wait_idle(f->db));
}

static void check_current(nokv_iter *it, uint64_t i)
{
    char key[24];
    size_t key_size = kv_key(i, key);
    assert_true(nokv_iter_valid(it));
    nokv_slice value = nokv_iter_value(it), k = nokv_iter_key(it);
    assert_int_equal(k.size, key_size);
    assert_memory_equal(k.data, key, key_size);
    assert_true(sized_is(i, 1, size_of(i), value.data, value.size));
}

/* A scan that is long enough to leave the page cache alone shows what a short one shows: every value, of all homes and
 * sizes, in both directions, with every way of reading tables and values. */
static void test_long_scans(void **state)
{
    (void)state;
    static const nokv_io_model models[] = {NOKV_IO_DEFAULT, NOKV_IO_MMAP, NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING};
    struct fixture f;
    scene_init(&f);
    assert_string_equal(stats_of(f.db).components[NOKV_COMPONENT_COMPACTION].model, "direct");
    for (size_t m = 0; m < ARRAY_COUNT(models); m++) {
        fixture_close(&f);
        f.options.sst_read = models[m];
        f.options.block_cache_bytes = 64 << 10;
        fixture_open(&f);
        nokv_iter *it;
        OK(nokv_iter_create(f.db, NULL, &it));
        nokv_iter_first(it);
        for (uint64_t i = 0; i < KEYS; i++, nokv_iter_next(it))
            check_current(it, i);
        assert_false(nokv_iter_valid(it));
        OK(nokv_iter_status(it));
        nokv_iter_last(it);
        for (uint64_t i = KEYS; i > 0; i--, nokv_iter_prev(it))
            check_current(it, i - 1);
        assert_false(nokv_iter_valid(it));
        nokv_iter_first(it); /* and turns in the middle of it */
        for (uint64_t i = 0; i < KEYS - 8; i++, nokv_iter_next(it)) {
            check_current(it, i);
            if (i % 50 != 49)
                continue;
            nokv_iter_prev(it);
            check_current(it, i - 1);
            nokv_iter_next(it);
        }
        nokv_iter_destroy(it);
    }
    fixture_deinit(&f);
}

static void get_all(struct fixture *f)
{
    for (uint64_t i = 0; i < KEYS; i++) {
        char key[24];
        nokv_value value;
        OK(nokv_get(f->db, key, kv_key(i, key), NULL, &value));
        assert_true(sized_is(i, 1, size_of(i), value.data, value.size));
        nokv_value_release(&value);
        FAILS(NOT_FOUND, nokv_get(f->db, "key9", 4, NULL, &value));
    }
}

/* The deepest level that has tables. */
static size_t bottom_of(const nokv_stats *s)
{
    size_t l = NOKV_LEVELS_MAX - 1;
    while (l > 0 && s->levels[l].files == 0)
        l--;
    return l;
}

/* A level whose gets are slow is read with pread, through a cache that stays within its bound; the stats say so; and
 * when its gets are fast again it is mapped again. */
static void test_cold_level(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    nokv_stats before = stats_of(f.db);
    size_t bottom = bottom_of(&before);
    assert_string_equal(before.levels[bottom].model, "mmap");
    get_all(&f);
    assert_int_equal(stats_of(f.db).block_cache_misses, 0);
    for (int i = 0; i < 8; i++)
        (void)coldness_note(&f.db->env.cold[bottom], 1000000);
    atomic_store(&f.db->env.is_any_cold, true);
    assert_string_equal(stats_of(f.db).levels[bottom].model, "std");
    for (int round = 0; round < 2; round++)
        get_all(&f);
    nokv_stats cold = stats_of(f.db);
    assert_true(cold.block_cache_misses > 0 && cold.block_cache_hits > 0);
    assert_true(cold.block_cache_bytes <= cold.block_cache_bytes_max);
    for (int i = 0; i < COLDNESS_MAX; i++)
        (void)coldness_note(&f.db->env.cold[bottom], 100);
    get_all(&f);
    assert_string_equal(stats_of(f.db).levels[bottom].model, "mmap");
    assert_true(stats_of(f.db).levels[bottom].changes >= 2);
    fixture_deinit(&f);
}

/* Values that are larger than the memory beside tables that have room in the cache: a cold level's tables are copied as
 * a whole, with a read per window and not one per block; fast answers out of the cache do not end that; and once the
 * values have room, or the tables none, they do. */
static void test_cache_takes_all(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    assert_true(atomic_load(&f.db->cache_takes_all));
    nokv_stats s = stats_of(f.db);
    size_t bottom = bottom_of(&s);
    uint64_t windows = 0;
    for (size_t l = 0; l <= bottom; l++)
        windows += s.levels[l].files + s.levels[l].bytes / (SST_AROUND_PAGES * PAGE_BYTES);
    for (size_t l = 0; l <= bottom; l++)
        for (int i = 0; i < 8; i++)
            (void)coldness_note(&f.db->env.cold[l], 1000000);
    atomic_store(&f.db->env.is_any_cold, true);
    for (int round = 0; round < 2; round++)
        get_all(&f);
    nokv_stats cold = stats_of(f.db);
    assert_true(cold.block_cache_hits >= KEYS);
    assert_in_range(cold.block_cache_misses, 1, 2 * windows);
    assert_string_equal(cold.levels[bottom].model, "std");
    atomic_store(&f.db->cache_takes_all, false);
    for (int round = 0; round < 2; round++)
        get_all(&f);
    assert_string_equal(stats_of(f.db).levels[bottom].model, "mmap");
    fixture_deinit(&f);
}

/* With NOKV_IO_MMAP nothing is ever copied, however slow it is. */
static void test_pinned(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    fixture_close(&f);
    f.options.sst_read = NOKV_IO_MMAP;
    fixture_open(&f);
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (int i = 0; i < 8; i++)
            (void)coldness_note(&f.db->env.cold[l], 1000000);
    get_all(&f);
    nokv_stats s = stats_of(f.db);
    assert_int_equal(s.block_cache_bytes_max, 0);
    assert_int_equal(s.block_cache_misses, 0);
    fixture_deinit(&f);
}

/* Small values under AUTO are copied while they are slow, and in place while they are not. */
static void test_cold_values(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    for (int i = 0; i < 8; i++)
        (void)coldness_note(&f.db->values_cold, 1000000);
    assert_string_equal(stats_of(f.db).components[NOKV_COMPONENT_VLOG].model, "pread");
    get_all(&f);
    for (int i = 0; i < COLDNESS_MAX; i++)
        (void)coldness_note(&f.db->values_cold, 100);
    assert_string_equal(stats_of(f.db).components[NOKV_COMPONENT_VLOG].model, "auto");
    get_all(&f);
    fixture_deinit(&f);
}

/* Three slow reads in a row are enough, one slow one in a hundred is not, and it takes many fast ones to forget. */
static void test_coldness(void **state)
{
    (void)state;
    struct coldness c = {0};
    assert_false(coldness_note(&c, COLDNESS_NS));
    assert_false(coldness_note(&c, COLDNESS_NS));
    assert_true(coldness_note(&c, COLDNESS_NS));
    assert_true(coldness_is_cold(&c));
    int fast = 0;
    while (!coldness_note(&c, COLDNESS_NS - 1))
        fast++;
    assert_int_equal(fast, COLDNESS_ENTER - 1);
    assert_false(coldness_is_cold(&c));
    for (int i = 0; i < 10000; i++)
        (void)coldness_note(&c, i % 100 == 0 ? COLDNESS_NS : 0);
    assert_false(coldness_is_cold(&c));
    assert_int_equal(c.changes, 2);
}

/* Defaults that are memory follow what the process may use, and reach what is best without a limit from 2 GiB on. */
static void test_defaults(void **state)
{
    (void)state;
    static const struct {
        uint64_t memory, memtable, wal, cache;
    } rows[] = {{16ull << 20, 2 << 20, 256 << 10, 4 << 20},
                {500ull << 20, 8 << 20, 1 << 20, 64 << 20},
                {1ull << 30, 32 << 20, 4 << 20, 256 << 20},
                {2ull << 30, 64 << 20, 4 << 20, 512 << 20},
                {1ull << 40, 64 << 20, 4 << 20, 1 << 30}};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        nokv_options o;
        OK(options_resolve(NULL, rows[i].memory, &o));
        assert_int_equal(o.memtable_bytes, rows[i].memtable);
        assert_int_equal(o.wal_buffer_bytes, rows[i].wal);
        assert_int_equal(o.block_cache_bytes, rows[i].cache);
    }
}

/* Where the kernel does not say how much memory there is, 8 GiB are assumed. */
static void test_unknown_memory(void **state)
{
    (void)state;
    struct fixture f;
    struct io_memory memory = {.source = "nobody"};
    nokv_options known;
    values_init(&f);
    sim_set_memory(f.sim, &memory);
    fixture_open(&f);
    OK(options_resolve(&f.options, 8ull << 30, &known));
    assert_int_equal(f.db->options.block_cache_bytes, known.block_cache_bytes);
    fixture_deinit(&f);
}

/* Tables that have room in memory, beside values that do not: a merge goes past the page cache, and what it has merged
 * is in memory as before. */
static void test_merged_stay_in_memory(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    assert_true(atomic_load(&f.db->tables_fit) && !atomic_load(&f.db->is_plentiful));
    uint64_t merges = stats_of(f.db).compactions;
    for (uint64_t i = 0; i < KEYS; i += 2)
        sized_put(f.db, i, 1, size_of(i));
    OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
    nokv_stats s = stats_of(f.db);
    assert_true(s.compactions > merges);
    assert_string_equal(s.components[NOKV_COMPONENT_COMPACTION].model, "direct");
    size_t bottom = bottom_of(&s);
    for (size_t i = 0; i < f.db->version->levels[bottom].count; i++) {
        const struct table *t = f.db->version->levels[bottom].tables[i];
        assert_int_equal(sst_reader_resident_bytes(t->reader), t->desc.file_bytes);
    }
    get_all(&f);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_scans),
        cmocka_unit_test(test_cold_level),
        cmocka_unit_test(test_cache_takes_all),
        cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_cold_values),
        cmocka_unit_test(test_coldness),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_unknown_memory),
        cmocka_unit_test(test_merged_stay_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
