// SPDX-License-Identifier: Apache-2.0
/*
 * concat_iter_test.c - the tables of one level as one iterator: against a sorted array, in both directions and over
 * every boundary; and what happens when one of the tables cannot be read.
 */
#include "lsm_fixture.h"

enum { ENTRIES = 300, TABLES = 12 };

struct level_model {
    struct entry entries[ENTRIES];
    size_t count;
    struct table *tables[TABLES];
    size_t ends[TABLES]; /* of each table, in entries */
    size_t table_count;
    int broken; /* the table that cannot be opened; -1: none */
};

static enum nokv_status table_iter(void *arg, struct table *t, struct iter **out_iter)
{
    const struct level_model *m = arg;
    if (m->broken >= 0 && t == m->tables[m->broken])
        return FAIL(IO, "no such luck");
    return sst_iter_create(t->reader, out_iter);
}

static void model_draw(struct level_model *m, struct lsm *f, uint64_t *random)
{
    size_t kept = 0;
    size_t shared = test_random(random) % 12;
    for (size_t i = 0; i < ENTRIES; i++) {
        uint8_t key[ENTRY_KEY_MAX];
        uint64_t tag = key_tag(1 + test_random(random) % 1000, test_random(random) % 6 ? KEY_VALUE : KEY_TOMBSTONE);
        entry_make(&m->entries[i], lsm_random_key(key, shared, random), tag);
    }
    qsort(m->entries, ENTRIES, sizeof *m->entries, entry_compare);
    for (size_t i = 0; i < ENTRIES; i++)
        if (kept == 0 || entry_compare(&m->entries[kept - 1], &m->entries[i]) != 0)
            m->entries[kept++] = m->entries[i];
    m->count = kept;
    m->broken = -1;
    m->table_count = 0;
    size_t wanted = 1 + test_random(random) % TABLES;
    for (size_t begin = 0, end; begin < kept; begin = end) {
        end = m->table_count + 1 == wanted ? kept : begin + 1 + test_random(random) % (2 * kept / wanted);
        end = end > kept ? kept : end;
        while (end < kept && slice_equal(entry_key(&m->entries[end]).user, entry_key(&m->entries[end - 1]).user))
            end++;
        m->tables[m->table_count] = lsm_table(f, m->entries + begin, end - begin);
        m->ends[m->table_count++] = end;
    }
}

static void model_free(struct level_model *m)
{
    for (size_t i = 0; i < m->table_count; i++)
        table_unref(m->tables[i]);
}

/* `at` is count (or beyond) at either end. */
static void check_at(const struct iter *it, const struct level_model *m, size_t at)
{
    OK(it->status);
    assert_int_equal(it->valid, at < m->count);
    if (!it->valid)
        return;
    assert_int_equal(ikey_compare(it->key, entry_key(&m->entries[at])), 0);
    assert_true(slice_equal(it->value, entry_value(&m->entries[at])));
}

static size_t lower_bound(const struct level_model *m, struct ikey target)
{
    size_t i = 0;
    while (i < m->count && ikey_compare(entry_key(&m->entries[i]), target) < 0)
        i++;
    return i;
}

static struct ikey target_draw(struct entry *out, const struct level_model *m, uint64_t *random)
{
    *out = m->entries[test_random(random) % m->count];
    switch (test_random(random) % 6) {
    case 0:
        out->key[out->key_size++] = 0;
        break;
    case 1:
        out->key_size = test_random(random) % (out->key_size + 1);
        break;
    case 2:
        out->tag += test_random(random) % 512 - 256;
        break;
    case 3:
        out->tag = test_random(random) % 2 ? 0 : UINT64_MAX;
        break;
    case 4:
        out->key[test_random(random) % out->key_size] ^= 0xff;
        break;
    default:
        break;
    }
    return entry_key(out);
}

/* One random move; returns where it must be. */
static size_t move(struct iter *it, const struct level_model *m, size_t at, uint64_t *random)
{
    struct entry buffer;
    struct ikey target = target_draw(&buffer, m, random);
    uint64_t kind = at < m->count ? test_random(random) % 16 : test_random(random) % 4;
    size_t found = lower_bound(m, target);
    switch (kind) {
    case 0:
        iter_first(it);
        return 0;
    case 1:
        iter_last(it);
        return m->count - 1;
    case 2:
        iter_seek(it, target);
        return found;
    case 3:
        iter_seek_for_prev(it, target);
        if (found < m->count && ikey_compare(entry_key(&m->entries[found]), target) == 0)
            return found;
        return found - 1; /* wraps around to "none" at the front */
    default:
        if (kind % 2) {
            iter_next(it);
            return at + 1;
        }
        iter_prev(it);
        return at - 1;
    }
}

/* Any moves in any order show what a sorted array shows; key and value stay in place after the iterator moved on. */
static void test_against_model(void **state)
{
    (void)state;
    uint64_t random = test_seed(1);
    static struct level_model m;
    for (int round = 0; round < 25; round++) {
        struct lsm f;
        struct iter *it = NULL;
        size_t at = SIZE_MAX;
        lsm_init(&f);
        model_draw(&m, &f, &random);
        OK(concat_iter_create(m.tables, m.table_count, table_iter, &m, &it));
        assert_false(it->valid);
        for (int i = 0; i < 2000; i++) {
            struct slice key = it->key.user;
            size_t before = at;
            at = move(it, &m, at, &random);
            check_at(it, &m, at);
            if (before < m.count)
                assert_true(slice_equal(key, entry_key(&m.entries[before]).user));
        }
        iter_destroy(it);
        model_free(&m);
        lsm_deinit(&f);
    }
}

/* The whole level forward and backward, over every boundary. */
static void test_walk(void **state)
{
    (void)state;
    uint64_t random = test_seed(2);
    static struct level_model m;
    struct lsm f;
    struct iter *it = NULL;
    lsm_init(&f);
    do { /* until there are boundaries to cross */
        model_free(&m);
        model_draw(&m, &f, &random);
    } while (m.table_count < 4);
    OK(concat_iter_create(m.tables, m.table_count, table_iter, &m, &it));
    size_t at = 0;
    for (iter_first(it); it->valid; iter_next(it))
        check_at(it, &m, at++);
    OK(it->status);
    assert_int_equal(at, m.count);
    for (iter_last(it); it->valid; iter_prev(it))
        check_at(it, &m, --at);
    OK(it->status);
    assert_int_equal(at, 0);
    iter_destroy(it);
    model_free(&m);
    lsm_deinit(&f);
}

/* A table that cannot be opened ends the walk with its error, in either direction; a seek elsewhere goes on. */
static void test_broken_table(void **state)
{
    (void)state;
    uint64_t random = test_seed(3);
    static struct level_model m;
    struct lsm f;
    lsm_init(&f);
    do {
        model_free(&m);
        model_draw(&m, &f, &random);
    } while (m.table_count < 4);
    for (int broken = 0; broken < (int)m.table_count; broken++) {
        struct iter *it = NULL;
        size_t begin = broken ? m.ends[broken - 1] : 0, end = m.ends[broken], at = 0;
        m.broken = broken;
        OK(concat_iter_create(m.tables, m.table_count, table_iter, &m, &it));
        for (iter_first(it); it->valid; iter_next(it))
            assert_int_equal(ikey_compare(it->key, entry_key(&m.entries[at++])), 0);
        FAILS(IO, it->status);
        assert_int_equal(at, begin);
        at = m.count;
        for (iter_last(it); it->valid; iter_prev(it))
            assert_int_equal(ikey_compare(it->key, entry_key(&m.entries[--at])), 0);
        FAILS(IO, it->status);
        assert_int_equal(at, end);
        iter_seek(it, entry_key(&m.entries[begin]));
        FAILS(IO, it->status);
        iter_seek_for_prev(it, entry_key(&m.entries[end - 1]));
        FAILS(IO, it->status);
        if (end < m.count) {
            iter_seek(it, entry_key(&m.entries[end]));
            check_at(it, &m, end);
        }
        m.broken = -1;
        iter_first(it);
        check_at(it, &m, 0);
        iter_destroy(it);
    }
    model_free(&m);
    lsm_deinit(&f);
}

/* Damage inside a table is reported where it is met: nothing behind it is shown as if nothing were missing. */
static void test_damaged_block(void **state)
{
    (void)state;
    uint64_t random = test_seed(4);
    static struct level_model m;
    struct lsm f;
    struct iter *it = NULL;
    char path[PATH_SIZE_MAX];
    lsm_init(&f);
    do {
        model_free(&m);
        model_draw(&m, &f, &random);
    } while (m.table_count < 4);
    OK(path_sst(path, "db", m.tables[2]->desc.number));
    struct table_desc desc;
    OK(table_desc_copy(&m.tables[2]->desc, &desc));
    table_unref(m.tables[2]);
    epoch_drain();
    OK(sim_flip_bit(f.sim, path, PAGE_BYTES + 40, 1));
    OK(table_open(&f.env, &desc, &m.tables[2]));
    table_desc_deinit(&desc);
    OK(concat_iter_create(m.tables, m.table_count, table_iter, &m, &it));
    size_t at = 0;
    for (iter_first(it); it->valid; iter_next(it))
        at++;
    FAILS(CORRUPT, it->status);
    assert_int_equal(at, m.ends[1]);
    for (iter_last(it), at = m.count; it->valid; iter_prev(it))
        at--;
    FAILS(CORRUPT, it->status);
    assert_in_range(at, m.ends[1] + 1, m.ends[2]); /* its first block is the damaged one */
    iter_destroy(it);
    model_free(&m);
    lsm_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_broken_table),
        cmocka_unit_test(test_damaged_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
