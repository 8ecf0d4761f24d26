// SPDX-License-Identifier: Apache-2.0
/* Tables against the sorted array: point reads, iterators, scans, verification, over many shapes of keys and values. */
#include "base/alloc.h"
#include "sst/reader.h"
#include "sst_model.h"

static const struct model_shape shapes[] = {
    {.count = 1, .key_max = 1, .value_max = 0, .alphabet = 3, .versions = 1},
    {.count = 40, .key_max = 3, .value_max = 10, .alphabet = 3, .versions = 4},
    {.count = 3000, .key_max = 16, .value_max = 100, .alphabet = 30, .versions = 2},
    {.count = 3000, .key_max = 6, .value_max = 60, .alphabet = 2, .versions = 3},
    {.count = 2000, .key_max = 4, .value_max = 30, .alphabet = 5, .versions = 3, .prefix_size = 40},
    {.count = 6000, .key_max = 40, .value_max = 0, .alphabet = 3, .versions = 1, .prefix_size = 7},
    {.count = 3000, .key_max = 2, .value_max = 200, .alphabet = 4, .versions = 300},
    {.count = 400, .key_max = 20, .value_max = 3000, .alphabet = 20, .versions = 2},
    {.count = 60, .key_max = 20, .value_max = 200000, .alphabet = 20, .versions = 2},
    {.count = 40, .key_max = 65000, .value_max = 100, .alphabet = 2, .versions = 3, .prefix_size = 535},
};

static const struct sst_options option_sets[] = {
    {.block_bytes = 4096, .filter_bits_per_key = 10},
    {.block_bytes = 4096, .filter_bits_per_key = 0},
    {.block_bytes = 16384, .filter_bits_per_key = 3},
    {.block_bytes = 65536, .filter_bits_per_key = 32},
};

static void check_gets(struct table *t, struct model *m, const struct model_shape *s)
{
    uint8_t *key = malloc(s->prefix_size + s->key_max + 1);
    assert_non_null(key);
    for (size_t i = 0; i < m->count; i++) {
        struct ikey k = m->entries[i].key;
        check_get(t->r, m, k.user, KEY_SEQ_MAX);
        check_get(t->r, m, k.user, tag_seq(k.tag));
        check_get(t->r, m, k.user, tag_seq(k.tag) - 1);
    }
    for (size_t i = 0; i < m->count + 100; i++) {
        size_t size;
        model_random_key(m, s, key, &size);
        check_get(t->r, m, slice_make(key, size), model_below(m, 10000));
        check_get(t->r, m, slice_make(key, 1 + model_below(m, size)), KEY_SEQ_MAX);
    }
    free(key);
}

static void check_seeks(struct iter *it, struct model *m, const struct model_shape *s)
{
    uint8_t *key = malloc(s->prefix_size + s->key_max + 1);
    assert_non_null(key);
    for (size_t n = 0; n < 600; n++) {
        size_t size;
        model_random_key(m, s, key, &size);
        struct ikey target = {.user = slice_make(key, size), .tag = key_tag(model_below(m, 10000), KEY_VALUE)};
        if (n % 3 == 0)
            target = m->entries[model_below(m, m->count)].key;
        else if (n % 3 == 1)
            target.user.size = 1 + model_below(m, size);
        size_t i = model_lower_bound(m, target);
        iter_seek(it, target);
        check_entry(it, m, i);
        size_t before = i < m->count && ikey_compare(m->entries[i].key, target) == 0 ? i : i - 1;
        iter_seek_for_prev(it, target);
        check_entry(it, m, before);
        /* a walk to and fro from there */
        for (size_t at = before, k = 0; k < 12 && at < m->count; k++) {
            bool on = model_below(m, 2);
            if (on)
                iter_next(it);
            else
                iter_prev(it);
            at += on ? 1 : (size_t)-1;
            check_entry(it, m, at);
        }
    }
    free(key);
}

/* Runs of entries up to a limit, any size, anywhere: what is taken and where the iterator stands behind it. */
static void check_takes(struct iter *it, struct model *m)
{
    struct iter_entry out[40];
    for (size_t n = 0; n < 300; n++) {
        size_t at = model_below(m, m->count), end = at + 1 + model_below(m, 60);
        size_t max = 1 + model_below(m, ARRAY_COUNT(out));
        struct ikey limit = end < m->count ? m->entries[end].key : (struct ikey){0};
        iter_seek(it, m->entries[at].key);
        while (it->valid && (end >= m->count || ikey_compare(it->key, limit) < 0)) {
            size_t taken = iter_take(it, end < m->count ? &limit : NULL, out, max);
            size_t wanted = u64_min(max, (end < m->count ? end : m->count) - at);
            assert_int_equal(taken, wanted);
            for (size_t i = 0; i < taken; i++) {
                assert_int_equal(ikey_compare(out[i].key, m->entries[at + i].key), 0);
                assert_true(slice_equal(out[i].value, m->entries[at + i].value));
            }
            at += taken;
            check_entry(it, m, at);
            if (n % 5 == 0 && it->valid && at > 0) { /* and a step back */
                iter_prev(it);
                check_entry(it, m, at - 1);
                iter_next(it);
            }
        }
    }
}

static void check_walks(struct sst_reader *r, struct model *m, const struct model_shape *s)
{
    struct iter *it = NULL;
    OK(sst_iter_create(r, &it));
    assert_false(it->valid);
    iter_first(it);
    for (size_t i = 0; i < m->count; i++, iter_next(it)) {
        check_entry(it, m, i);
        if (i % 7 == 0)
            iter_release(it);
        check_entry(it, m, i);
    }
    check_entry(it, m, m->count);
    iter_last(it);
    for (size_t i = m->count; i > 0; i--, iter_prev(it)) {
        check_entry(it, m, i - 1);
        if (i % 7 == 0)
            iter_release(it);
        check_entry(it, m, i - 1);
    }
    check_entry(it, m, m->count);
    check_seeks(it, m, s);
    check_takes(it, m);
    iter_destroy(it);
}

static void check_scan(struct sst_reader *r, struct model *m, enum io_model model)
{
    struct iter *it = NULL;
    OK(sst_scan_create(r, IO_COMPACTION, model, &it));
    for (int round = 0; round < 3; round++) {
        size_t i = round == 0 ? 0 : model_below(m, m->count);
        if (round == 0)
            iter_first(it);
        else
            iter_seek(it, m->entries[i].key);
        for (; i < m->count; i++, iter_next(it))
            check_entry(it, m, i);
        check_entry(it, m, m->count);
    }
    iter_seek(it, (struct ikey){.user = slice_make("\xff\xff\xff\xff\xff\xff\xff\xff\xff", 9)});
    check_entry(it, m,
                model_lower_bound(m, (struct ikey){.user = slice_make("\xff\xff\xff\xff\xff\xff\xff\xff\xff", 9)}));
    iter_destroy(it);
}

static void check_info(struct sst_reader *r, const struct model *m)
{
    const struct sst_info *info = sst_reader_info(r);
    uint64_t tombstones = 0, raw = 0, seq_min = UINT64_MAX, seq_max = 0;
    for (size_t i = 0; i < m->count; i++) {
        tombstones += tag_kind(m->entries[i].key.tag) == KEY_TOMBSTONE;
        raw += m->entries[i].key.user.size + m->entries[i].value.size;
        seq_min = u64_min(seq_min, tag_seq(m->entries[i].key.tag));
        seq_max = u64_max(seq_max, tag_seq(m->entries[i].key.tag));
    }
    assert_int_equal(info->entries, m->count);
    assert_int_equal(info->tombstones, tombstones);
    assert_int_equal(info->raw_bytes, raw);
    assert_int_equal(info->seq_min, seq_min);
    assert_int_equal(info->seq_max, seq_max);
    assert_int_equal(ikey_compare(sst_reader_smallest(r), m->entries[0].key), 0);
    assert_int_equal(ikey_compare(sst_reader_largest(r), m->entries[m->count - 1].key), 0);
    assert_int_equal(sst_reader_number(r), 7);
}

/* Offsets rise with the keys; samples rise too. */
static void check_positions(struct sst_reader *r, const struct model *m)
{
    uint64_t last = 0;
    for (size_t i = 0; i < m->count; i++) {
        uint64_t off = sst_reader_approximate_offset(r, m->entries[i].key.user);
        assert_true(off >= last && off < sst_reader_info(r)->file_bytes);
        last = off;
    }
    struct buf samples[5] = {0};
    for (size_t i = 0; i < 5; i++) {
        OK(sst_reader_sample_key(r, i, 5, &samples[i]));
        assert_true(samples[i].size > 0);
        assert_true(key_compare(buf_slice(&samples[i]), m->entries[0].key.user) >= 0);
        assert_true(i == 0 || key_compare(buf_slice(&samples[i - 1]), buf_slice(&samples[i])) <= 0);
    }
    for (size_t i = 0; i < 5; i++)
        buf_deinit(&samples[i]);
}

/* The same questions to a reader that copies. */
static void check_copied(const struct table *mapped, struct model *m, const struct model_shape *s, size_t option_set)
{
    static const enum io_model models[] = {IO_STD, IO_DIRECT, IO_URING, IO_STD};
    struct table t;
    struct sst_verify_report report;
    struct cache_stats stats;
    table_open_copied(&t, mapped, models[option_set]);
    assert_true(sst_reader_is_copied(t.r));
    check_info(t.r, m);
    check_gets(&t, m, s);
    check_walks(t.r, m, s);
    check_scan(t.r, m, IO_STD);
    check_positions(t.r, m);
    OK(sst_reader_verify(t.r, &report));
    assert_int_equal(report.entries, m->count);
    cache_stats_get(t.cache, &stats);
    assert_int_equal(stats.pinned_bytes, 0);
    table_close_copied(&t);
}

/* Everything that a table can be asked agrees with the sorted array, for every shape and every set of options. */
static void test_random_tables(void **state)
{
    (void)state;
    uint64_t seed = test_seed(20261122);
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++) {
        struct model m = {.random = seed + i};
        model_fill(&m, &shapes[i]);
        for (size_t o = 0; o < ARRAY_COUNT(option_sets); o++) {
            struct table t;
            struct sst_verify_report report;
            table_open(&t, &m, &option_sets[o]);
            check_info(t.r, &m);
            check_gets(&t, &m, &shapes[i]);
            check_walks(t.r, &m, &shapes[i]);
            check_scan(t.r, &m, o % 2 ? IO_STD : IO_MMAP);
            check_positions(t.r, &m);
            OK(sst_reader_verify(t.r, &report));
            assert_int_equal(report.entries, m.count);
            assert_int_equal(report.bytes, sst_reader_info(t.r)->file_bytes);
            check_copied(&t, &m, &shapes[i], o);
            table_close(&t);
        }
        model_free(&m);
    }
}

static void check_get_cold(struct table *t, const struct model *m, size_t i, bool is_copied)
{
    struct lookup found = {0};
    const struct model_entry *e = &m->entries[i];
    OK(sst_reader_get_cold(t->r, e->key.user, sst_key_hash(e->key.user), tag_seq(e->key.tag), &found));
    assert_true(found.found && found.tag == e->key.tag && slice_equal(found.value, e->value));
    assert_int_equal(found.holder != NULL, is_copied);
    if (found.holder)
        cache_block_unref(found.holder);
}

/* Blocks of a mapped table that are copied hold the same; where no file can be opened or no memory had for it, the
 * mapping answers. */
static void test_cold_gets(void **state)
{
    (void)state;
    struct table t;
    struct model m = {.random = test_seed(3)};
    char away[400];
    model_fill(&m, &shapes[2]);
    table_open(&t, &m, model_options());
    sst_reader_unref(t.r);
    snprintf(away, sizeof away, "%s.away", t.path);
    OK(cache_create(CACHE_BYTES_MIN, &t.cache));
    struct sst_access access = {.cache = t.cache};
    OK(sst_reader_open_with(t.io, t.path, 7, 0, &access, &t.r));
    OK(io_rename(t.io, t.path, away));
    check_get_cold(&t, &m, 0, false);
    OK(io_rename(t.io, away, t.path));
    for (size_t i = 0; i < m.count; i++)
        check_get_cold(&t, &m, i, true);
    mem_fail_after(0);
    check_get_cold(&t, &m, 0, false);
    mem_fail_after(UINT64_MAX);
    sst_reader_unref(t.r);
    t.r = NULL;
    epoch_drain();
    cache_destroy(t.cache);
    table_close(&t);
    model_free(&m);
}

/* Bytes that a walk over the whole table reads. */
static uint64_t walk_bytes(struct table *t, size_t count)
{
    struct iter *it = NULL;
    size_t seen = 0;
    uint64_t before = io_component_stats(t->io, IO_SST)->ops[IO_OP_READ].bytes;
    OK(sst_iter_create(t->r, &it));
    for (iter_first(it); it->valid; iter_next(it), iter_release(it))
        seen++;
    OK(it->status);
    assert_int_equal(seen, count);
    iter_destroy(it);
    return io_component_stats(t->io, IO_SST)->ops[IO_OP_READ].bytes - before;
}

/* What a walk reads ahead is still there when the walk gets to it, whatever the size of the cache: hardly anything is
 * read twice. */
static void test_reading_ahead_fits_the_cache(void **state)
{
    (void)state;
    static const struct model_shape shape = {
        .count = 8000, .key_max = 16, .value_max = 600, .alphabet = 30, .versions = 1};
    struct table t;
    struct model m = {.random = test_seed(4)};
    model_fill(&m, &shape);
    table_open(&t, &m, model_options());
    for (uint64_t cache_bytes = CACHE_BYTES_MIN; cache_bytes <= 4 << 20; cache_bytes *= 2) {
        struct table copied;
        table_open_copied(&copied, &t, IO_STD);
        OK(cache_resize(copied.cache, cache_bytes));
        uint64_t bytes = walk_bytes(&copied, m.count);
        assert_true(bytes <= 2 * sst_reader_info(t.r)->file_bytes);
        table_close_copied(&copied);
    }
    table_close(&t);
    model_free(&m);
}

static uint64_t reads_of(const struct table *t)
{
    return io_component_stats(t->io, IO_SST)->ops[IO_OP_READ].calls;
}

/* Where the cache has room for all tables, one cold get brings in what is around its block, before it and behind;
 * without memory for that its block alone. */
static void test_blocks_around_a_cold_get(void **state)
{
    (void)state;
    static const struct model_shape shape = {
        .count = 500, .key_max = 16, .value_max = 600, .alphabet = 30, .versions = 1};
    static const _Atomic bool takes_all = true;
    for (int is_short = 0; is_short < 2; is_short++) {
        struct table t;
        struct model m = {.random = test_seed(5)};
        model_fill(&m, &shape);
        table_open(&t, &m, model_options());
        assert_in_range(sst_reader_info(t.r)->file_bytes, 20 * PAGE_BYTES, SST_AROUND_PAGES * PAGE_BYTES);
        sst_reader_unref(t.r);
        OK(cache_create(4 << 20, &t.cache));
        struct sst_access access = {.cache = t.cache, .cache_takes_all = &takes_all};
        OK(sst_reader_open_with(t.io, t.path, 7, 0, &access, &t.r));
        check_get_cold(&t, &m, m.count / 2, true); /* opens the file */
        cache_forget(t.cache, 7);
        uint64_t before = reads_of(&t);
        mem_fail_after(is_short ? 0 : UINT64_MAX);
        check_get_cold(&t, &m, m.count / 2, true);
        mem_fail_after(UINT64_MAX);
        assert_int_equal(reads_of(&t), before + 1);
        check_get_cold(&t, &m, 0, true);
        check_get_cold(&t, &m, m.count - 1, true);
        assert_int_equal(reads_of(&t), before + 1 + is_short);
        sst_reader_unref(t.r);
        t.r = NULL;
        epoch_drain();
        cache_destroy(t.cache);
        table_close(&t);
        model_free(&m);
    }
}

/* A table whose filter and index find no room in memory is not opened: NO_MEMORY, and nothing leaks. */
static void test_no_memory_for_a_copy(void **state)
{
    (void)state;
    struct table t, copied;
    struct model m = {.random = test_seed(6)};
    struct sst_reader *r = NULL;
    model_fill(&m, &shapes[1]);
    table_open(&t, &m, model_options());
    table_open_copied(&copied, &t, IO_STD);
    struct sst_access access = {.is_copied = true, .cache = copied.cache};
    enum nokv_status status = NOKV_ERR_NO_MEMORY;
    for (uint64_t k = 0; status != NOKV_OK; k++) {
        mem_fail_after(k);
        status = sst_reader_open_with(t.io, t.path, 7, 0, &access, &r);
        mem_fail_after(UINT64_MAX);
        assert_true(status == NOKV_OK || status == NOKV_ERR_NO_MEMORY);
    }
    check_get(r, &m, m.entries[0].key.user, KEY_SEQ_MAX);
    sst_reader_unref(r);
    table_close_copied(&copied);
    table_close(&t);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_tables),
        cmocka_unit_test(test_cold_gets),
        cmocka_unit_test(test_reading_ahead_fits_the_cache),
        cmocka_unit_test(test_blocks_around_a_cold_get),
        cmocka_unit_test(test_no_memory_for_a_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
