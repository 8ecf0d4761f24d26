// SPDX-License-Identifier: Apache-2.0
/* How long a table lives, and many threads on one: references, pins, first verifications that race. */
#include <pthread.h>

#include "sst_model.h"

static const struct model_shape shape = {.count = 3000, .key_max = 9, .value_max = 100, .alphabet = 12, .versions = 2};

/* A pinned value stays readable after the last reference is gone, and the mapping goes with the pin. */
static void test_pin_outlives_references(void **state)
{
    (void)state;
    struct table t;
    struct lookup found = {0};
    struct model m = {.random = 1};
    model_fill(&m, &shape);
    table_open(&t, &m, model_options());
    const struct io_component_stats *stats = io_component_stats(t.io, IO_SST);
    size_t i = m.count / 2;
    while (tag_kind(m.entries[i].key.tag) != KEY_VALUE)
        i++;
    struct slice key = m.entries[i].key.user;
    uint64_t seq = tag_seq(m.entries[i].key.tag);
    OK(sst_reader_get(t.r, key, sst_key_hash(key), seq, &found));
    assert_true(found.found);
    sst_reader_pin(t.r);
    uint64_t maps = stats->ops[IO_OP_MAP].calls;
    sst_reader_unref(t.r);
    epoch_drain();
    assert_int_equal(io_unlink(t.io, t.path), NOKV_OK);
    assert_true(slice_equal(found.value, m.entries[i].value));
    assert_int_equal(stats->ops[IO_OP_MAP].calls, maps);
    sst_reader_unpin(t.r);
    assert_int_equal(stats->ops[IO_OP_MAP].calls, maps); /* not by who read last */
    epoch_drain();
    assert_int_equal(stats->ops[IO_OP_MAP].calls, maps + 1); /* unmapped */
    t.r = NULL;
    table_close(&t);
    model_free(&m);
}

/* An iterator and a scan hold the table themselves; slices of an iterator stay valid after it moved on. */
static void test_iterators_hold_the_table(void **state)
{
    (void)state;
    struct table t;
    struct model m = {.random = 2};
    struct iter *it = NULL, *scan = NULL;
    model_fill(&m, &shape);
    table_open(&t, &m, model_options());
    OK(sst_iter_create(t.r, &it));
    OK(sst_scan_create(t.r, IO_COMPACTION, IO_STD, &scan));
    sst_reader_unref(t.r);
    t.r = NULL;
    epoch_drain();
    iter_first(it);
    struct slice key = it->key.user, value = it->value;
    for (size_t i = 0; i < m.count; i++, iter_next(it))
        check_entry(it, &m, i);
    assert_true(slice_equal(key, m.entries[0].key.user) && slice_equal(value, m.entries[0].value));
    iter_first(scan);
    for (size_t i = 0; i < m.count; i++, iter_next(scan))
        check_entry(scan, &m, i);
    iter_destroy(it);
    iter_destroy(scan);
    table_close(&t);
    model_free(&m);
}

/* contains() knows the mapping's bounds; residency is a number of bytes that the file has. */
static void test_contains_and_resident(void **state)
{
    (void)state;
    struct table t;
    struct model m = {.random = 3};
    struct iter *it = NULL;
    model_fill(&m, &shape);
    table_open(&t, &m, model_options());
    OK(sst_iter_create(t.r, &it));
    iter_first(it);
    const uint8_t *key = it->key.user.data;
    uint64_t size = sst_reader_info(t.r)->file_bytes;
    assert_true(sst_reader_contains(t.r, key, it->key.user.size));
    assert_true(sst_reader_contains(t.r, key, 0));
    assert_false(sst_reader_contains(t.r, key, size));
    assert_false(sst_reader_contains(t.r, &m, sizeof m));
    assert_false(sst_reader_contains(t.r, NULL, 1));
    uint64_t resident = sst_reader_resident_bytes(t.r);
    assert_true(resident == UINT64_MAX || (resident > 0 && resident <= size));
    iter_destroy(it);
    table_close(&t);
    model_free(&m);
}

struct racer {
    pthread_t thread;
    struct sst_reader *r;
    struct model m; /* its own random state; the entries are shared */
};

static void *racer_run(void *arg)
{
    struct racer *c = arg;
    struct iter *it = NULL;
    OK(epoch_register());
    for (int i = 0; i < 3000; i++) {
        const struct model_entry *e = &c->m.entries[model_below(&c->m, c->m.count)];
        sst_reader_pin(c->r);
        check_get(c->r, &c->m, e->key.user, tag_seq(e->key.tag));
        sst_reader_unpin(c->r);
    }
    OK(sst_iter_create(c->r, &it));
    size_t i = 0;
    for (iter_first(it); it->valid; iter_next(it))
        check_entry(it, &c->m, i++);
    check_entry(it, &c->m, i);
    iter_destroy(it);
    return NULL;
}

/* Threads that meet unverified blocks at the same time all read right (run under ThreadSanitizer as well). */
static void test_threads(void **state)
{
    (void)state;
    enum { THREADS = 3, ROUNDS = 3 };
    struct table t;
    struct model m = {.random = test_seed(4)};
    model_fill(&m, &shape);
    table_open(&t, &m, model_options());
    for (int round = 0; round < ROUNDS; round++) {
        struct racer racers[THREADS];
        struct sst_reader *r = NULL;
        OK(sst_reader_open(t.io, t.path, 7, 0, &r));
        for (int i = 0; i < THREADS; i++) {
            racers[i] = (struct racer){.r = r, .m = m};
            racers[i].m.random = test_random(&m.random);
            assert_int_equal(pthread_create(&racers[i].thread, NULL, racer_run, &racers[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_join(racers[i].thread, NULL), 0);
        sst_reader_unref(r);
    }
    table_close(&t);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pin_outlives_references),
        cmocka_unit_test(test_iterators_hold_the_table),
        cmocka_unit_test(test_contains_and_resident),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
