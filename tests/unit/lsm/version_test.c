// SPDX-License-Identifier: Apache-2.0
/*
 * version_test.c - which tables make up the tree: finding the one for a key, getting the newest version of a key,
 * refusing edits that make no sense, and the lifetime of tables.
 */
#include "lsm_fixture.h"

enum { TABLES_MAX = 40 };

struct key {
    uint8_t bytes[ENTRY_KEY_MAX];
    size_t size;
};

static struct slice key_slice(const struct key *k)
{
    return slice_make(k->bytes, k->size);
}

static int compare_keys(const void *a, const void *b)
{
    return key_compare(key_slice(a), key_slice(b));
}

/* Sorted, without duplicates; returns how many are left. */
static size_t keys_draw(struct key *keys, size_t count, size_t shared, uint64_t *random)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        keys[i].size = lsm_random_key(keys[i].bytes, shared, random).size;
    qsort(keys, count, sizeof *keys, compare_keys);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || compare_keys(&keys[kept - 1], &keys[i]) != 0)
            keys[kept++] = keys[i];
    return kept;
}

/* Level 1 of hollow tables over the keys, each of one or two of them. */
static struct version *level_draw(struct lsm *f, const struct key *keys, size_t count, uint64_t *random)
{
    struct version *v = lsm_empty();
    for (size_t i = 0; i < count;) {
        size_t last = i + (i + 1 < count && test_random(random) % 3 != 0);
        lsm_put(f, &v, 1, lsm_hollow(f, key_slice(&keys[i]), key_slice(&keys[last]), 100));
        i = last + 1;
    }
    return v;
}

static size_t find_linear(const struct level *level, struct slice key)
{
    size_t i = 0;
    while (i < level->count && key_compare(level->tables[i]->desc.largest.user, key) < 0)
        i++;
    return i;
}

/* A key of a table, or one near it: longer, shorter, one up or down. */
static struct slice probe_draw(struct key *out, const struct key *keys, size_t count, size_t shared, uint64_t *random)
{
    *out = keys[test_random(random) % count];
    switch (test_random(random) % 6) {
    case 0:
        out->bytes[out->size++] = test_random(random) % 2 ? 0 : 0xff;
        break;
    case 1:
        out->size = test_random(random) % (out->size + 1);
        break;
    case 2:
        out->bytes[test_random(random) % out->size]++;
        break;
    case 3:
        out->bytes[test_random(random) % out->size]--;
        break;
    case 4:
        out->size = lsm_random_key(out->bytes, shared, random).size;
        break;
    default:
        break;
    }
    return key_slice(out);
}

static void check_overlap(const struct level *level, struct slice a, struct slice b)
{
    size_t begin, end, wanted_begin = level->count, wanted_end = 0;
    for (size_t i = 0; i < level->count; i++) {
        const struct table_desc *d = &level->tables[i]->desc;
        if ((b.data && key_compare(d->smallest.user, b) > 0) || (a.data && key_compare(d->largest.user, a) < 0))
            continue;
        wanted_begin = i < wanted_begin ? i : wanted_begin;
        wanted_end = i + 1;
    }
    level_overlap(level, a, b, &begin, &end);
    assert_int_equal(end - begin, wanted_end > wanted_begin ? wanted_end - wanted_begin : 0);
    if (wanted_end > wanted_begin)
        assert_int_equal(begin, wanted_begin);
}

/* The table for a key, and the tables for a range, are those that looking at each one finds, whatever the keys. */
static void test_find_and_overlap(void **state)
{
    (void)state;
    uint64_t random = test_seed(1);
    struct lsm f;
    lsm_init(&f);
    for (int round = 0; round < 400; round++) {
        struct key keys[TABLES_MAX], a, b;
        size_t shared = (size_t[]){0, 0, 1, 7, 8, 9, 20}[test_random(&random) % 7];
        size_t count = keys_draw(keys, 1 + test_random(&random) % TABLES_MAX, shared, &random);
        struct version *v = level_draw(&f, keys, count, &random);
        const struct level *level = &v->levels[1];
        for (int i = 0; i < 60; i++) {
            struct slice x = probe_draw(&a, keys, count, shared, &random);
            struct slice y = probe_draw(&b, keys, count, shared, &random);
            assert_int_equal(level_find(level, x), find_linear(level, x));
            bool ordered = key_compare(x, y) <= 0;
            check_overlap(level, ordered ? x : y, ordered ? y : x);
            check_overlap(level, (struct slice){0}, x);
            check_overlap(level, x, (struct slice){0});
        }
        check_overlap(level, (struct slice){0}, (struct slice){0});
        version_unref(v);
    }
    struct version *empty = lsm_empty();
    assert_int_equal(level_find(&empty->levels[1], lsm_text("a")), 0);
    version_unref(empty);
    lsm_deinit(&f);
}

/* ---- gets ------------------------------------------------------------------------------------------------------- */

enum { HISTORY = 1200, KEYS = 60 };

struct history {
    struct entry entries[HISTORY]; /* entry i has sequence number i + 1 */
};

static void history_draw(struct history *h, uint64_t *random)
{
    for (size_t i = 0; i < HISTORY; i++) {
        char key[24];
        int n = snprintf(key, sizeof key, "shared/%llu", (unsigned long long)(test_random(random) % KEYS));
        bool deletion = test_random(random) % 5 == 0;
        entry_make(&h->entries[i], slice_make(key, (size_t)n), key_tag(i + 1, deletion ? KEY_TOMBSTONE : KEY_VALUE));
    }
}

/* The entries [from, to) as `pieces` tables on a level, each key in one of them. */
static void level_build(struct lsm *f, struct version **v, uint32_t level, const struct history *h, size_t from,
                        size_t to, size_t pieces)
{
    struct entry *sorted = malloc((to - from) * sizeof *sorted);
    assert_non_null(sorted);
    memcpy(sorted, h->entries + from, (to - from) * sizeof *sorted);
    qsort(sorted, to - from, sizeof *sorted, entry_compare);
    for (size_t begin = 0, end; begin < to - from; begin = end) {
        end = begin + 1 + (to - from) / pieces;
        while (end < to - from && slice_equal(entry_key(&sorted[end]).user, entry_key(&sorted[end - 1]).user))
            end++;
        end = end > to - from ? to - from : end;
        lsm_put(f, v, level, lsm_table(f, sorted + begin, end - begin));
    }
    free(sorted);
}

static void check_get(const struct version *v, const struct history *h, struct slice key, uint64_t seq)
{
    const struct entry *wanted = NULL;
    for (size_t i = seq < HISTORY ? seq : HISTORY; i > 0 && wanted == NULL; i--)
        if (slice_equal(entry_key(&h->entries[i - 1]).user, key))
            wanted = &h->entries[i - 1];
    struct lookup found = {0};
    struct table *table = NULL;
    OK(version_get(v, key, seq, &found, &table));
    assert_int_equal(found.found, wanted != NULL);
    assert_int_equal(table != NULL, wanted != NULL);
    if (wanted) {
        assert_int_equal(found.tag, wanted->tag);
        assert_true(slice_equal(found.value, entry_value(wanted)));
        assert_true(found.value.size == 0 || sst_reader_contains(table->reader, found.value.data, found.value.size));
    }
}

static void gets_with(size_t level0_tables, uint64_t *random)
{
    static struct history h;
    struct lsm f;
    struct version *v = lsm_empty();
    lsm_init(&f);
    history_draw(&h, random);
    level_build(&f, &v, 5, &h, 0, 300, 4);
    level_build(&f, &v, 3, &h, 300, 500, 3);
    level_build(&f, &v, 1, &h, 500, 600, 1);
    for (size_t i = 0; i < level0_tables; i++)
        level_build(&f, &v, 0, &h, 600 + 600 * i / level0_tables, 600 + 600 * (i + 1) / level0_tables, 1);
    assert_int_equal(v->levels[0].count, level0_tables);
    for (size_t i = 1; i < level0_tables; i++)
        assert_true(v->levels[0].tables[i - 1]->desc.seq_min > v->levels[0].tables[i]->desc.seq_max);
    for (size_t k = 0; k < KEYS + 3; k++) {
        char key[24];
        int n = snprintf(key, sizeof key, "shared/%zu", k);
        check_get(v, &h, slice_make(key, (size_t)n), KEY_SEQ_MAX);
        for (int i = 0; i < 10; i++)
            check_get(v, &h, slice_make(key, (size_t)n), test_random(random) % (HISTORY + 1));
        check_get(v, &h, slice_make(key, (size_t)n - 1), KEY_SEQ_MAX);
    }
    check_get(v, &h, lsm_text("\xff"), KEY_SEQ_MAX);
    check_get(v, &h, lsm_text("a"), KEY_SEQ_MAX);
    version_unref(v);
    lsm_deinit(&f);
}

/* A get yields the newest version up to its sequence number: level 0 from the newest table on, then the levels down. */
static void test_get(void **state)
{
    (void)state;
    uint64_t random = test_seed(2);
    gets_with(1, &random);
    gets_with(7, &random);
    gets_with(56, &random);
    gets_with(57, &random);
    gets_with(90, &random); /* more than are asked for ahead of time */
}

/* A table that cannot be read makes the get fail: an older version from deeper down must not be taken instead. */
static void test_get_reports_damage(void **state)
{
    (void)state;
    struct lsm f;
    struct version *v = lsm_empty();
    struct entry old, new;
    struct lookup found;
    struct table *table;
    lsm_init(&f);
    entry_make(&old, lsm_text("key"), key_tag(1, KEY_VALUE));
    entry_make(&new, lsm_text("key"), key_tag(2, KEY_VALUE));
    lsm_put(&f, &v, 1, lsm_table(&f, &old, 1));
    struct table *t = lsm_table(&f, &new, 1);
    char path[PATH_SIZE_MAX];
    OK(path_sst(path, "db", t->desc.number));
    struct table_desc desc;
    OK(table_desc_copy(&t->desc, &desc));
    table_unref(t);
    epoch_drain();
    OK(sim_flip_bit(f.sim, path, PAGE_BYTES + 16, 3));
    OK(table_open(&f.env, &desc, &t));
    table_desc_deinit(&desc);
    lsm_put(&f, &v, 0, t);
    FAILS(CORRUPT, version_get(v, lsm_text("key"), KEY_SEQ_MAX, &found, &table));
    assert_non_null(strstr(status_message(), path));
    version_unref(v);
    lsm_deinit(&f);
}

/* ---- edits ------------------------------------------------------------------------------------------------------ */

static enum nokv_status apply_add(struct lsm *f, const struct version *v, uint32_t level, struct table *t,
                                  struct version **out)
{
    struct edit edit = {0};
    OK(edit_add_table(&edit, level, &t->desc));
    enum nokv_status status = version_apply(v, &edit, &f->env, &t, 1, "MANIFEST-000009", out);
    edit_deinit(&edit);
    return status;
}

/* Tables that overlap by user key are refused on every level but level 0, also when only the versions differ. */
static void test_overlap_is_refused(void **state)
{
    (void)state;
    struct lsm f;
    lsm_init(&f);
    static const char *const ranges[][2] = {{"a", "b"}, {"b", "b"}, {"b", "c"}, {"c", "f"},
                                            {"f", "g"}, {"a", "g"}, {"d", "e"}};
    for (uint32_t level = 0; level < LEVELS_MAX; level++) {
        for (size_t i = 0; i < ARRAY_COUNT(ranges); i++) {
            struct version *v = lsm_empty(), *now = NULL;
            lsm_put(&f, &v, level, lsm_hollow(&f, lsm_text("b"), lsm_text("f"), 10));
            struct table *t = lsm_hollow(&f, lsm_text(ranges[i][0]), lsm_text(ranges[i][1]), 10);
            if (level == 0) {
                OK(apply_add(&f, v, level, t, &now));
            } else {
                FAILS(CORRUPT, apply_add(&f, v, level, t, &now));
                assert_non_null(strstr(status_message(), "MANIFEST-000009"));
            }
            version_unref(now);
            version_unref(v);
            table_unref(t);
        }
    }
    assert_int_equal(f.obsolete_count, 0);
    lsm_deinit(&f);
}

/* An edit that removes what is not there, or adds what is, is refused. */
static void test_contradictions_are_refused(void **state)
{
    (void)state;
    struct lsm f;
    struct version *v = lsm_empty(), *now = NULL;
    lsm_init(&f);
    struct table *t = lsm_hollow(&f, lsm_text("b"), lsm_text("f"), 10);
    table_ref(t);
    lsm_put(&f, &v, 2, t);
    FAILS(CORRUPT, apply_add(&f, v, 2, t, &now));
    struct edit edit = {0};
    OK(edit_remove_table(&edit, 2, t->desc.number + 1));
    FAILS(CORRUPT, version_apply(v, &edit, &f.env, NULL, 0, "x", &now));
    edit_deinit(&edit);
    OK(edit_remove_table(&edit, 3, t->desc.number));
    FAILS(CORRUPT, version_apply(v, &edit, &f.env, NULL, 0, "x", &now));
    edit_deinit(&edit);
    OK(edit_remove_table(&edit, 2, t->desc.number));
    OK(edit_remove_table(&edit, 2, t->desc.number));
    FAILS(CORRUPT, version_apply(v, &edit, &f.env, NULL, 0, "x", &now));
    edit_deinit(&edit);
    assert_null(now);
    version_unref(v);
    table_unref(t);
    lsm_deinit(&f);
}

/* A table that moves is the same object on its new level, and is obsolete once: when it is removed and nobody has it.
 */
static void test_lifetime(void **state)
{
    (void)state;
    struct lsm f;
    struct version *first = lsm_empty(), *moved = NULL, *gone = NULL;
    lsm_init(&f);
    struct table *t = lsm_hollow(&f, lsm_text("b"), lsm_text("f"), 10);
    uint64_t number = t->desc.number;
    lsm_put(&f, &first, 0, t);
    struct edit edit = {0};
    OK(edit_remove_table(&edit, 0, number));
    OK(edit_add_table(&edit, 6, &t->desc));
    OK(version_apply(first, &edit, &f.env, NULL, 0, "x", &moved));
    edit_deinit(&edit);
    assert_int_equal(moved->levels[0].count, 0);
    assert_ptr_equal(moved->levels[6].tables[0], t);
    assert_int_equal(moved->levels[6].bytes, 10);
    OK(edit_remove_table(&edit, 6, number));
    OK(version_apply(moved, &edit, &f.env, NULL, 0, "x", &gone));
    edit_deinit(&edit);
    atomic_store(&t->removed, true);
    version_unref(first);
    version_unref(gone);
    assert_int_equal(f.obsolete_count, 0);
    version_unref(moved);
    assert_int_equal(f.obsolete_count, 1);
    assert_int_equal(f.obsolete[0], number);
    table_unref(NULL);
    lsm_deinit(&f);
}

/* Opening a table checks it against its description: size and both ends. */
static void test_description_is_checked(void **state)
{
    (void)state;
    struct lsm f;
    struct entry e[2];
    struct table *t, *again = NULL;
    lsm_init(&f);
    entry_make(&e[0], lsm_text("first"), key_tag(3, KEY_VALUE));
    entry_make(&e[1], lsm_text("last"), key_tag(2, KEY_VALUE));
    t = lsm_table(&f, e, 2);
    struct table_desc d = t->desc;
    d.file_bytes += PAGE_BYTES;
    FAILS(CORRUPT, table_open(&f.env, &d, &again));
    d = t->desc;
    d.smallest.user = lsm_text("firsu");
    FAILS(CORRUPT, table_open(&f.env, &d, &again));
    d = t->desc;
    d.largest.tag++;
    FAILS(CORRUPT, table_open(&f.env, &d, &again));
    d = t->desc;
    d.number = 77;
    FAILS(NOT_FOUND, table_open(&f.env, &d, &again));
    OK(table_open(&f.env, &t->desc, &again));
    table_unref(again);
    table_unref(t);
    lsm_deinit(&f);
}

/* Of tables of level 0 that end with the same sequence number, the one with the higher file number comes first. */
static void test_ties_on_level_0(void **state)
{
    (void)state;
    struct lsm f;
    lsm_init(&f);
    struct table *older = lsm_hollow(&f, lsm_text("a"), lsm_text("b"), 100);
    struct table *newer = lsm_hollow(&f, lsm_text("a"), lsm_text("b"), 100);
    older->desc.seq_max = newer->desc.seq_max;
    for (int newer_last = 0; newer_last < 2; newer_last++) {
        struct version *v = lsm_empty();
        table_ref(older);
        table_ref(newer);
        lsm_put(&f, &v, 0, newer_last ? older : newer);
        lsm_put(&f, &v, 0, newer_last ? newer : older);
        assert_ptr_equal(v->levels[0].tables[0], newer);
        assert_ptr_equal(v->levels[0].tables[1], older);
        version_unref(v);
    }
    table_unref(older);
    table_unref(newer);
    lsm_deinit(&f);
}

/* Without memory for one of its iterators a version has none: nothing leaks, and the next attempt gets them all. */
static void test_iterators_without_memory(void **state)
{
    (void)state;
    static const uint32_t levels[] = {0, 0, 1, 2, 2};
    static const char *const keys[] = {"a", "a", "a", "a", "b"};
    struct lsm f;
    struct version *v = lsm_empty();
    struct iter *iters[ARRAY_COUNT(levels)];
    enum nokv_status status = NOKV_ERR_NO_MEMORY;
    size_t count = 0;
    lsm_init(&f);
    for (size_t i = 0; i < ARRAY_COUNT(levels); i++) {
        struct entry e;
        entry_make(&e, lsm_text(keys[i]), key_tag(10 - i, KEY_VALUE));
        lsm_put(&f, &v, levels[i], lsm_table(&f, &e, 1));
    }
    for (uint64_t k = 0; status != NOKV_OK; k++) {
        mem_fail_after(k);
        status = version_iters_create(v, iters, &count);
        mem_fail_after(UINT64_MAX);
        assert_true(status == NOKV_OK ? k >= 4 : status == NOKV_ERR_NO_MEMORY && count == 0);
    }
    assert_int_equal(count, 4); /* the tables of level 2 have one */
    while (count > 0)
        iter_destroy(iters[--count]);
    version_unref(v);
    lsm_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find_and_overlap),           cmocka_unit_test(test_get),
        cmocka_unit_test(test_get_reports_damage),         cmocka_unit_test(test_overlap_is_refused),
        cmocka_unit_test(test_contradictions_are_refused), cmocka_unit_test(test_lifetime),
        cmocka_unit_test(test_description_is_checked),     cmocka_unit_test(test_ties_on_level_0),
        cmocka_unit_test(test_iterators_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
