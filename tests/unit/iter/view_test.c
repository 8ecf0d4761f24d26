// SPDX-License-Identifier: Apache-2.0
/* view_test.c - what a user sees of versions, tombstones and expiries, against a filter written the slow way. */
#include "array_iter.h"
#include "base/coding.h"

enum { NOW_MS = 1000 };

struct fixture {
    struct pool pool;
    struct array parts[2]; /* the source is their union */
    struct array all;
    struct array seen; /* the oracle */
    struct iter *it;
    bool must_release; /* of the source */
};

static struct entry random_entry(struct fixture *f, uint64_t *rng, uint64_t seq, uint64_t spread)
{
    uint8_t room[64];
    size_t size = make_key(test_random(rng) % spread, room);
    static const unsigned kinds[] = {KEY_VALUE, KEY_VALUE, KEY_TOMBSTONE, KEY_VALUE_POINTER,
                                     KEY_VALUE | KEY_HAS_EXPIRY};
    unsigned kind = kinds[test_random(rng) % ARRAY_COUNT(kinds)];
    struct entry e = {.key = {.user = pool_copy(&f->pool, room, size), .tag = key_tag(seq, kind)}};
    uint8_t value[16];
    put_u64(value, NOW_MS - 2 + test_random(rng) % 4);
    put_u64(value + 8, seq);
    size_t value_size = kind == KEY_TOMBSTONE ? 0 : 8 + test_random(rng) % 9;
    e.value = pool_copy(&f->pool, value, value_size);
    return e;
}

static bool starts_with(struct slice s, struct slice prefix)
{
    return s.size >= prefix.size && (prefix.size == 0 || memcmp(s.data, prefix.data, prefix.size) == 0);
}

/* The definition: for each key, the first version at or below seq, if it is live and within the bounds. */
static void make_oracle(struct fixture *f, const struct iter_view_options *o)
{
    for (size_t i = 0; i < f->all.count; i++) {
        struct entry e = f->all.entries[i];
        if (tag_seq(e.key.tag) > o->seq)
            continue;
        bool newest = i == 0 || tag_seq(f->all.entries[i - 1].key.tag) > o->seq ||
                      !slice_equal(f->all.entries[i - 1].key.user, e.key.user);
        bool inside = (o->lower.size == 0 || key_compare(e.key.user, o->lower) >= 0) &&
                      (o->upper.size == 0 || key_compare(e.key.user, o->upper) < 0) &&
                      starts_with(e.key.user, o->prefix);
        bool live = tag_kind(e.key.tag) != KEY_TOMBSTONE;
        if (tag_kind_byte(e.key.tag) & KEY_HAS_EXPIRY) {
            live = live && get_u64(e.value.data) > NOW_MS;
            e.value = slice_make(e.value.data + 8, e.value.size - 8);
        }
        if (newest && inside && live)
            array_insert(&f->seen, e);
    }
}

static void fixture_init(struct fixture *f, uint64_t *rng, size_t count, uint64_t spread,
                         const struct iter_view_options *o)
{
    *f = (struct fixture){.must_release = test_random(rng) % 2};
    for (size_t i = 0; i < count; i++) {
        struct entry e = random_entry(f, rng, i + 1, spread);
        array_insert(&f->parts[test_random(rng) % 2], e);
        array_insert(&f->all, e);
    }
    make_oracle(f, o);
    struct iter *children[2], *source;
    for (int i = 0; i < 2; i++) {
        f->parts[i].moves_to_fail = SIZE_MAX;
        children[i] = array_iter_create(&f->parts[i], NULL);
        children[i]->must_release = f->must_release && i == 0; /* as a memtable and a table that copies */
    }
    OK(iter_merge_create(children, 2, &source));
    OK(iter_view_create(source, o, &f->it));
}

static void fixture_deinit(struct fixture *f)
{
    iter_destroy(f->it);
    for (int i = 0; i < 2; i++)
        array_deinit(&f->parts[i]);
    array_deinit(&f->all);
    array_deinit(&f->seen);
    pool_deinit(&f->pool);
}

static struct slice random_bound(uint64_t *rng, uint64_t spread, uint8_t room[64], bool cut)
{
    if (test_random(rng) % 2)
        return (struct slice){0};
    size_t size = make_key(test_random(rng) % spread, room);
    return slice_make(room, cut ? 1 + test_random(rng) % size : size);
}

/* Under any bounds, sequence number and sequence of moves, the view shows what the definition says. */
static void test_model(void **state)
{
    (void)state;
    uint64_t rng = test_seed(6);
    for (int round = 0; round < 300; round++) {
        uint8_t lower[64], upper[64], prefix[64];
        uint64_t spread = 1 + test_random(&rng) % 60;
        size_t count = test_random(&rng) % 400;
        struct iter_view_options o = {.seq = test_random(&rng) % 2 ? count : test_random(&rng) % (count + 1),
                                      .now_ms = NOW_MS};
        o.lower = random_bound(&rng, spread, lower, false);
        o.upper = random_bound(&rng, spread, upper, false);
        o.prefix = random_bound(&rng, spread, prefix, true);
        struct fixture f;
        fixture_init(&f, &rng, count, spread, &o);
        size_t at = f.seen.count;
        for (int i = 0; i < 500; i++) {
            at = step_both(f.it, &f.seen, at, &rng, spread, count);
            assert_same(f.it, &f.seen, at);
        }
        fixture_deinit(&f);
    }
}

/* A prefix of 0xff bytes has no key that comes after all of its own, and still ends at the right place. */
static void test_prefix_of_ff(void **state)
{
    (void)state;
    static const char *const keys[] = {"a", "\xfe\xff", "\xff", "\xff\xff", "\xff\xff\x01", "\xff\xff\xff"};
    struct array a = {.moves_to_fail = SIZE_MAX};
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++)
        array_insert(&a, (struct entry){.key = {.user = slice_make(keys[i], strlen(keys[i])), .tag = key_tag(1, 1)}});
    struct iter *it;
    struct iter_view_options o = {.seq = 1, .prefix = slice_make("\xff\xff", 2)};
    OK(iter_view_create(array_iter_create(&a, NULL), &o, &it));
    int count = 0;
    for (iter_first(it); it->valid; iter_next(it))
        count++;
    assert_int_equal(count, 3);
    iter_last(it);
    assert_true(it->valid && it->key.user.size == 3 && it->key.user.data[2] == 0xff);
    for (; it->valid; iter_prev(it))
        count--;
    assert_int_equal(count, 0);
    iter_destroy(it);
    array_deinit(&a);
}

/* One key with 100,000 versions between two others: every move over it costs a handful of moves of the source. */
static void test_many_versions(void **state)
{
    (void)state;
    enum { VERSIONS = 100000 };
    static struct entry entries[VERSIONS + 2];
    for (size_t i = 0; i < VERSIONS; i++)
        entries[1 + i].key =
            (struct ikey){slice_make("b", 1), key_tag(VERSIONS - i, i % 2 ? KEY_TOMBSTONE : KEY_VALUE)};
    entries[0].key = (struct ikey){slice_make("a", 1), key_tag(1, KEY_VALUE)};
    entries[VERSIONS + 1].key = (struct ikey){slice_make("c", 1), key_tag(1, KEY_VALUE)};
    for (int visible_tombstone = 0; visible_tombstone < 2; visible_tombstone++) {
        struct array a = {.entries = entries, .count = VERSIONS + 2, .moves_to_fail = SIZE_MAX};
        struct iter *it;
        struct iter_view_options o = {.seq = VERSIONS / 2 + (visible_tombstone ? 1 : 0)};
        OK(iter_view_create(array_iter_create(&a, NULL), &o, &it));
        int shown = 0;
        for (iter_first(it); it->valid; iter_next(it))
            shown++;
        for (iter_last(it); it->valid; iter_prev(it))
            shown++;
        assert_int_equal(shown, visible_tombstone ? 4 : 6);
        iter_first(it);
        iter_next(it);
        iter_prev(it);
        iter_next(it);
        assert_true(it->valid && it->key.user.data[0] == (visible_tombstone ? 'c' : 'b'));
        assert_true(a.moves < 300);
        iter_destroy(it);
    }
}

/* Kinds from the future stop the view with NOT_SUPPORTED, an expiry without its eight bytes with CORRUPT. */
static void test_unknown_entries(void **state)
{
    (void)state;
    static const struct {
        unsigned kind;
        enum nokv_status status;
    } cases[] = {{KEY_MERGE, NOKV_ERR_NOT_SUPPORTED},
                 {KEY_RANGE_TOMBSTONE, NOKV_ERR_NOT_SUPPORTED},
                 {0xff, NOKV_ERR_NOT_SUPPORTED},
                 {KEY_VALUE | KEY_HAS_EXPIRY, NOKV_ERR_CORRUPT}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct array a = {.moves_to_fail = SIZE_MAX};
        struct slice value = slice_make("1234567", 7);
        array_insert(&a, (struct entry){.key = {slice_make("k", 1), key_tag(1, cases[i].kind)}, .value = value});
        array_insert(&a, (struct entry){.key = {slice_make("l", 1), key_tag(2, KEY_VALUE)}});
        struct iter *it;
        struct iter_view_options o = {.seq = 2};
        OK(iter_view_create(array_iter_create(&a, NULL), &o, &it));
        iter_first(it);
        assert_true(!it->valid && it->status == cases[i].status);
        iter_last(it);
        assert_true(it->valid && it->status == NOKV_OK);
        iter_prev(it);
        assert_true(!it->valid && it->status == cases[i].status);
        iter_destroy(it);
        array_deinit(&a);
    }
}

/* Whichever move of the source fails, the view shows nothing wrong before and ends with the status. */
static void test_source_errors(void **state)
{
    (void)state;
    uint64_t rng = test_seed(7);
    for (size_t fail = 0; fail < 300; fail++) {
        struct iter_view_options o = {.seq = 100, .now_ms = NOW_MS};
        struct fixture f;
        fixture_init(&f, &rng, 150, 12, &o);
        f.parts[fail % 2].moves_to_fail = fail / 2;
        bool forward = test_random(&rng) % 2;
        forward ? iter_first(f.it) : iter_last(f.it);
        size_t at = forward ? 0 : f.seen.count - 1;
        while (f.it->valid) {
            assert_same(f.it, &f.seen, at);
            if (test_random(&rng) % 4 == 0)
                forward = !forward;
            forward ? iter_next(f.it) : iter_prev(f.it);
            at += forward ? 1 : -1;
        }
        bool failed = f.parts[fail % 2].moves > f.parts[fail % 2].moves_to_fail;
        assert_int_equal(f.it->status, failed ? NOKV_ERR_CORRUPT : NOKV_OK);
        fixture_deinit(&f);
    }
}

/* Creation copies the bounds, fails cleanly when memory is short, and moving allocates nothing. */
static void test_memory(void **state)
{
    (void)state;
    struct array a = {.moves_to_fail = SIZE_MAX};
    for (uint64_t i = 0; i < 20; i++)
        array_insert(&a, (struct entry){.key = {slice_make(&"abcdefghijklmnopqrst"[i], 1), key_tag(i + 1, KEY_VALUE)}});
    int destroyed = 0;
    struct iter *source = array_iter_create(&a, &destroyed), *it;
    char bound[] = "d";
    struct iter_view_options o = {.seq = 20, .lower = slice_make(bound, 1)};
    mem_fail_after(0);
    FAILS(NO_MEMORY, iter_view_create(source, &o, &it));
    mem_fail_after(UINT64_MAX);
    assert_int_equal(destroyed, 0);
    OK(iter_view_create(source, &o, &it));
    bound[0] = 'x';
    uint64_t before = mem_alloc_count();
    int count = 0;
    for (iter_last(it); it->valid; iter_prev(it))
        count++;
    iter_first(it);
    assert_int_equal(count, 17);
    assert_int_equal(it->key.user.data[0], 'd');
    assert_true(mem_alloc_count() == before);
    iter_destroy(it);
    assert_int_equal(destroyed, 1);
    array_deinit(&a);
}

/*
 * An entry of a kind that nobody knows, behind others that were read together with it: they are shown, then it stops
 * the view, and the thread's message is about it whatever failed in between.
 */
static void test_failure_behind_a_batch(void **state)
{
    (void)state;
    struct array a = {.moves_to_fail = SIZE_MAX};
    for (uint64_t i = 0; i < 20; i++)
        array_insert(&a, (struct entry){.key = {slice_make(&"abcdefghijklmnopqrst"[i], 1),
                                                key_tag(i + 1, i == 13 ? 0x0f : KEY_VALUE)}});
    struct iter_view_options o = {.seq = 100};
    struct iter *it;
    OK(iter_view_create(array_iter_create(&a, NULL), &o, &it));
    int shown = 0;
    for (iter_first(it); it->valid; iter_next(it), shown++)
        FAILS(INVALID, FAIL(INVALID, "something else"));
    assert_int_equal(shown, 13);
    assert_int_equal(it->status, NOKV_ERR_NOT_SUPPORTED);
    assert_non_null(strstr(status_message(), "kind 0x0f"));
    iter_destroy(it);
    array_deinit(&a);
}

/* A source that fails behind what was read together: the same, and when the failure has gone by then, it goes on. */
static void test_source_fails_behind_a_batch(void **state)
{
    (void)state;
    for (int heals = 0; heals < 2; heals++) {
        struct array a = {.moves_to_fail = 12};
        for (uint64_t i = 0; i < 20; i++)
            array_insert(&a,
                         (struct entry){.key = {slice_make(&"abcdefghijklmnopqrst"[i], 1), key_tag(i + 1, KEY_VALUE)}});
        struct iter_view_options o = {.seq = 100};
        struct iter *it;
        OK(iter_view_create(array_iter_create(&a, NULL), &o, &it));
        int shown = 0;
        for (iter_first(it); it->valid; iter_next(it), shown++) {
            FAILS(INVALID, FAIL(INVALID, "something else"));
            if (heals && a.moves > a.moves_to_fail)
                a.moves_to_fail = SIZE_MAX;
        }
        assert_int_equal(shown, heals ? 20 : 12);
        assert_int_equal(it->status, heals ? NOKV_OK : NOKV_ERR_CORRUPT);
        if (!heals)
            assert_non_null(strstr(status_message(), "planned"));
        iter_destroy(it);
        array_deinit(&a);
    }
}

/* A key that the view itself has shown is as good a target as any other, also where such keys go when it moves. */
static void test_seek_to_its_own_key(void **state)
{
    (void)state;
    struct array a = {.moves_to_fail = SIZE_MAX};
    for (uint64_t i = 0; i < 20; i++)
        array_insert(&a, (struct entry){.key = {slice_make(&"abcdefghijklmnopqrst"[i], 1), key_tag(i + 1, KEY_VALUE)}});
    struct iter_view_options o = {.seq = 100};
    struct iter *it, *source = array_iter_create(&a, NULL);
    source->must_release = true;
    OK(iter_view_create(source, &o, &it));
    uint8_t wanted = 'a';
    for (iter_first(it); it->valid; iter_next(it), wanted++) {
        if (wanted % 4 == 0) /* in the middle of a batch, and where there is none yet */
            iter_seek(it, (struct ikey){.user = it->key.user, .tag = UINT64_MAX});
        if (wanted % 8 == 0)
            iter_seek(it, it->key);
        if (wanted % 5 == 0)
            iter_seek_for_prev(it, (struct ikey){.user = it->key.user, .tag = 0});
        assert_true(it->valid && it->key.user.size == 1 && it->key.user.data[0] == wanted);
    }
    assert_int_equal(wanted, 't' + 1);
    static const uint8_t large[4096];
    mem_fail_after(0); /* it takes a copy */
    iter_seek(it, (struct ikey){.user = slice_make(large, sizeof large), .tag = UINT64_MAX});
    mem_fail_after(UINT64_MAX);
    assert_true(!it->valid && it->status == NOKV_ERR_NO_MEMORY);
    iter_destroy(it);
    array_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_prefix_of_ff),
        cmocka_unit_test(test_many_versions),
        cmocka_unit_test(test_unknown_entries),
        cmocka_unit_test(test_source_errors),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_failure_behind_a_batch),
        cmocka_unit_test(test_source_fails_behind_a_batch),
        cmocka_unit_test(test_seek_to_its_own_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
