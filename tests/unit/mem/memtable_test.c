// SPDX-License-Identifier: Apache-2.0
/*
 * The memtable against a sorted array that knows the truth: lookups at every sequence number, iterators in both
 * directions, keys of every shape that makes a radix tree stumble.
 */
#include "mem/memtable_internal.h"

#include "base/alloc.h"
#include "test.h"

enum { ENTRIES_MAX = 20000 };

struct entry {
    uint8_t *key;
    size_t key_size;
    uint64_t tag;
    uint8_t value[12];
    size_t value_size;
};

struct model {
    struct memtable *memtable;
    struct entry *entries; /* sorted by model_sort() */
    size_t count;
    uint64_t seq;
};

static struct ikey entry_key(const struct entry *e)
{
    return (struct ikey){.user = slice_make(e->key, e->key_size), .tag = e->tag};
}

static int entry_order(const void *a, const void *b)
{
    return ikey_compare(entry_key(a), entry_key(b));
}

static void model_init(struct model *o)
{
    memset(o, 0, sizeof *o);
    OK(memtable_create(1 << 20, NULL, &o->memtable));
    o->entries = mem_alloc(ENTRIES_MAX * sizeof *o->entries);
    assert_non_null(o->entries);
}

static void model_deinit(struct model *o)
{
    for (size_t i = 0; i < o->count; i++)
        mem_free(o->entries[i].key);
    mem_free(o->entries);
    memtable_unref(o->memtable);
}

/* Every third entry is a tombstone; sequence numbers have gaps. */
static void model_add(struct model *o, const void *key, size_t size)
{
    assert_true(o->count < ENTRIES_MAX);
    struct entry *e = &o->entries[o->count++];
    o->seq += 1 + o->count % 2;
    bool tombstone = o->count % 3 == 0;
    e->key = mem_alloc(size);
    memcpy(e->key, key, size);
    e->key_size = size;
    e->tag = key_tag(o->seq, tombstone ? KEY_TOMBSTONE : KEY_VALUE);
    e->value_size =
        tombstone ? 0 : (size_t)snprintf((char *)e->value, sizeof e->value, "%llu", (unsigned long long)o->seq);
    OK(memtable_add(o->memtable, entry_key(e), slice_make(e->value, e->value_size)));
    assert_int_equal(memtable_count(o->memtable), o->count);
}

static void model_sort(struct model *o)
{
    qsort(o->entries, o->count, sizeof *o->entries, entry_order);
}

/* The index of the first entry >= target. */
static size_t model_bound(const struct model *o, struct ikey target)
{
    size_t low = 0, high = o->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (ikey_compare(entry_key(&o->entries[mid]), target) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The iterator stands on entry `i`; count (or -1) means that it is at an end. */
static void check_at(const struct model *o, const struct iter *it, size_t i)
{
    assert_int_equal(it->status, NOKV_OK);
    assert_int_equal(it->valid, i < o->count);
    if (!it->valid)
        return;
    const struct entry *e = &o->entries[i];
    assert_int_equal(ikey_compare(it->key, entry_key(e)), 0);
    assert_true(slice_equal(it->value, slice_make(e->value, e->value_size)));
}

static void check_get(const struct model *o, struct slice key, uint64_t seq)
{
    struct lookup found;
    memtable_get(o->memtable, key, seq, &found);
    size_t i = model_bound(o, (struct ikey){.user = key, .tag = tag_for_seek(seq)});
    const struct entry *e = i < o->count ? &o->entries[i] : NULL;
    bool expected = e && slice_equal(slice_make(e->key, e->key_size), key);
    assert_int_equal(found.found, expected);
    if (!expected)
        return;
    assert_int_equal(found.tag, e->tag);
    assert_true(slice_equal(found.value, slice_make(e->value, e->value_size)));
}

static void check_seeks(const struct model *o, struct iter *it, struct ikey target)
{
    size_t i = model_bound(o, target);
    iter_seek(it, target);
    check_at(o, it, i);
    if (it->valid) {
        iter_prev(it);
        check_at(o, it, i - 1);
    }
    bool equal = i < o->count && ikey_compare(entry_key(&o->entries[i]), target) == 0;
    size_t before = equal ? i : i - 1; /* wraps to SIZE_MAX: none */
    iter_seek_for_prev(it, target);
    check_at(o, it, before);
    if (it->valid) {
        iter_next(it);
        check_at(o, it, before + 1);
    }
}

static void check_walks(const struct model *o, struct iter *it)
{
    iter_first(it);
    for (size_t i = 0; i < o->count; i++, iter_next(it))
        check_at(o, it, i);
    check_at(o, it, o->count);
    iter_last(it);
    for (size_t i = o->count; i-- > 0; iter_prev(it))
        check_at(o, it, i);
    check_at(o, it, o->count);
}

/* Back and forth at random: direction changes at every place. */
static void check_wander(const struct model *o, struct iter *it, uint64_t *random)
{
    size_t i = test_random(random) % o->count;
    iter_seek(it, entry_key(&o->entries[i]));
    for (int n = 0; n < 1000 && i < o->count; n++) {
        check_at(o, it, i);
        if (test_random(random) % 2) {
            iter_next(it);
            i++;
        } else {
            iter_prev(it);
            i--;
        }
    }
    check_at(o, it, i);
}

/* Everything about the finished model; keys near its own serve as targets that are absent. */
static void check_model(struct model *o, uint64_t *random)
{
    struct iter *it;
    model_sort(o);
    OK(memtable_iter_create(o->memtable, &it));
    check_walks(o, it);
    size_t step = o->count / 1000 + 1;
    for (size_t i = test_random(random) % step; i < o->count; i += step) {
        const struct entry *e = &o->entries[i];
        struct ikey key = entry_key(e);
        check_get(o, key.user, tag_seq(e->tag));
        check_get(o, key.user, tag_seq(e->tag) - 1);
        check_get(o, key.user, KEY_SEQ_MAX);
        check_seeks(o, it, key);
        check_seeks(o, it, (struct ikey){key.user, UINT64_MAX});
        check_seeks(o, it, (struct ikey){key.user, 0});
        check_seeks(o, it, (struct ikey){key.user, e->tag - 1});
        check_seeks(o, it, (struct ikey){key.user, e->tag + 1});

        uint8_t near[KEY_SIZE_MAX];
        memcpy(near, e->key, e->key_size);
        size_t at = test_random(random) % e->key_size;
        near[at] = (uint8_t)(near[at] + (test_random(random) % 2 ? 1 : 255));
        struct slice changed = slice_make(near, e->key_size), cut = slice_make(e->key, at ? at : 1);
        check_get(o, changed, KEY_SEQ_MAX);
        check_get(o, cut, KEY_SEQ_MAX);
        check_seeks(o, it, (struct ikey){changed, tag_for_seek(o->seq / 2)});
        check_seeks(o, it, (struct ikey){cut, tag_for_seek(o->seq / 2)});
        if (e->key_size < KEY_SIZE_MAX) {
            memcpy(near, e->key, e->key_size);
            near[e->key_size] = (uint8_t)test_random(random);
            struct slice longer = slice_make(near, e->key_size + 1);
            check_get(o, longer, KEY_SEQ_MAX);
            check_seeks(o, it, (struct ikey){longer, UINT64_MAX});
        }
    }
    for (int i = 0; i < 20; i++)
        check_wander(o, it, random);
    iter_destroy(it);
}

/* An empty memtable finds nothing and its iterator is at the end wherever it is put. */
static void empty_has_nothing(void **state)
{
    (void)state;
    struct model o;
    struct iter *it;
    model_init(&o);
    check_get(&o, slice_make("k", 1), KEY_SEQ_MAX);
    OK(memtable_iter_create(o.memtable, &it));
    check_walks(&o, it);
    check_seeks(&o, it, (struct ikey){slice_make("k", 1), UINT64_MAX});
    assert_int_equal(memtable_bytes(o.memtable), 0);
    iter_destroy(it);
    model_deinit(&o);
}

/* Random keys over small alphabets: many prefixes of each other, many versions, every kind of node. */
static void random_keys_as_the_model(void **state)
{
    (void)state;
    uint64_t random = test_seed(1);
    static const unsigned alphabets[] = {1, 2, 3, 10, 30, 60, 256};
    for (size_t a = 0; a < ARRAY_COUNT(alphabets); a++) {
        for (size_t size_max = 1; size_max <= 16; size_max *= 4) {
            struct model o;
            model_init(&o);
            for (int n = 0; n < 3000; n++) {
                uint8_t key[16];
                size_t size = 1 + test_random(&random) % size_max;
                for (size_t i = 0; i < size; i++)
                    key[i] = (uint8_t)(test_random(&random) % alphabets[a] * (a % 2 ? 1 : 255));
                model_add(&o, key, size);
            }
            check_model(&o, &random);
            model_deinit(&o);
        }
    }
}

/* Growing through every size of node, in ascending, descending and scattered order of bytes. */
static void nodes_grow(void **state)
{
    (void)state;
    uint64_t random = test_seed(2);
    for (unsigned multiplier = 1; multiplier < 256; multiplier += 84) {
        struct model o;
        model_init(&o);
        for (unsigned i = 0; i < 256; i++) {
            uint8_t key[3] = {7, (uint8_t)(i * multiplier + (multiplier == 1 ? 0 : 3)), 9};
            model_add(&o, key, sizeof key);
            if (i == 30)
                model_add(&o, key, 1);
        }
        check_model(&o, &random);
        model_deinit(&o);
    }
}

/* Keys of the longest size that differ late, and prefixes of one of them by the hundred: a tree thousands deep. */
static void long_keys_make_deep_trees(void **state)
{
    (void)state;
    uint64_t random = test_seed(3);
    static uint8_t key[KEY_SIZE_MAX];
    struct model o;
    model_init(&o);
    memset(key, 'a', sizeof key);
    for (int i = 0; i < 20; i++) {
        key[KEY_SIZE_MAX - 1 - i * 3] = (uint8_t)test_random(&random);
        model_add(&o, key, sizeof key);
    }
    memset(key, 'b', sizeof key);
    for (size_t i = 0; i < 3000; i++) {
        size_t size = 1 + test_random(&random) % 6000;
        if (i % 3 == 0) {
            key[size - 1] = i % 2 ? 'a' : 'c';
            model_add(&o, key, size);
            key[size - 1] = 'b';
        }
        model_add(&o, key, size);
    }
    check_model(&o, &random);
    model_deinit(&o);
}

/*
 * A deep tree whose nodes have siblings on one side only, but for a few: a step has to climb hundreds of levels, past
 * what an iterator remembers of its path, and to go on from there.
 */
static void one_sided_trees(void **state)
{
    (void)state;
    uint64_t random = test_seed(6);
    enum { DEPTH = 400 };
    for (int side = 0; side < 3; side++) {
        uint8_t key[DEPTH + 1];
        struct model o;
        model_init(&o);
        memset(key, 'm', sizeof key);
        for (size_t size = 1; size <= DEPTH; size++) {
            key[size] = side == 1 ? 'z' : 'a';
            if (side == 0)
                model_add(&o, key, size); /* before all that it is a prefix of */
            else
                model_add(&o, key, size + 1);
            key[size] = 'm';
        }
        static const size_t turns[] = {1, 2, 100, 101, 250};
        for (size_t i = 0; i < ARRAY_COUNT(turns); i++) {
            key[turns[i] - 1] = side == 1 ? 'b' : 'y';
            model_add(&o, key, turns[i]);
            key[turns[i] - 1] = 'm';
        }
        check_model(&o, &random);
        model_deinit(&o);
    }
}

/* A key with thousands of versions: each is found at its sequence number, quickly in both directions. */
static void many_versions_of_a_key(void **state)
{
    (void)state;
    uint64_t random = test_seed(4);
    struct model o;
    model_init(&o);
    for (int i = 0; i < 10000; i++)
        model_add(&o, i % 5000 ? "counter" : "count", i % 5000 ? 7 : 5);
    check_model(&o, &random);
    model_deinit(&o);
}

/* Finding any of n versions takes a number of steps that grows as log n, not as n. */
static void versions_are_found_in_few_steps(void **state)
{
    (void)state;
    enum { VERSIONS = 1 << 16, STEPS_MAX = 3 * 16 };
    struct memtable *m;
    struct memtable_path path;
    struct slice key = slice_make("counter", 7);
    OK(memtable_create(1 << 20, NULL, &m));
    for (uint64_t seq = 1; seq <= VERSIONS; seq++)
        OK(memtable_add(m, (struct ikey){key, key_tag(seq, KEY_VALUE)}, slice_make("v", 1)));
    memtable_find_path(m, key, &path);
    assert_true(path.exact);
    for (uint64_t seq = 1; seq <= VERSIONS; seq += 97) {
        int steps = 0;
        const struct leaf_version *v = leaf_newest(path.leaf);
        for (; v && tag_seq(v->tag) > seq; steps++)
            v = tag_seq(leaf_tag(path.leaf, v->jump)) > seq ? v->jump : v->older;
        assert_int_equal(tag_seq(leaf_tag(path.leaf, v)), seq);
        assert_true(steps <= STEPS_MAX);
    }
    memtable_unref(m);
}

/* The k-th allocation fails for every k until a run completes: nothing is lost, nothing half-added appears. */
static void allocation_failures_change_nothing(void **state)
{
    (void)state;
    for (uint64_t k = 0;; k++) {
        struct memtable *m = NULL;
        struct iter *it = NULL;
        uint64_t added = 0;
        static uint8_t value[70000];
        mem_fail_after(k);
        enum nokv_status status = memtable_create(1 << 20, NULL, &m);
        for (uint64_t i = 1; i <= 20 && status == NOKV_OK; i++) {
            char key[16];
            int size = snprintf(key, sizeof key, "%llu", (unsigned long long)(i / 2));
            status = memtable_add(m, (struct ikey){slice_make(key, (size_t)size), key_tag(i, KEY_VALUE)},
                                  slice_make(value, sizeof value));
            added += status == NOKV_OK;
        }
        if (status == NOKV_OK)
            status = memtable_iter_create(m, &it);
        mem_fail_after(UINT64_MAX);
        if (m)
            assert_int_equal(memtable_count(m), added);
        if (m && it == NULL)
            OK(memtable_iter_create(m, &it));
        uint64_t seen = 0;
        if (it)
            for (iter_first(it); it->valid; iter_next(it))
                seen++;
        assert_int_equal(seen, added);
        iter_destroy(it);
        memtable_unref(m);
        if (status == NOKV_OK)
            break;
        assert_int_equal(status, NOKV_ERR_NO_MEMORY);
        assert_true(k < 100);
    }
}

/* Keys of two bytes, all of the second under each of the first: most of the tree's memory is nodes that grow. */
enum { FANS = 64, FAN = 256 };

static struct ikey fan_key(size_t i, uint8_t bytes[2])
{
    bytes[0] = (uint8_t)(i / FAN);
    bytes[1] = (uint8_t)(i % FAN);
    return (struct ikey){slice_make(bytes, 2), key_tag(i + 1, KEY_VALUE)};
}

/* All of them; one that finds no memory is not there, and is when it is added again. */
static bool fans_fill(struct memtable *m)
{
    bool refused = false;
    for (size_t i = 0; i < FANS * FAN; i++) {
        uint8_t bytes[2];
        struct ikey key = fan_key(i, bytes);
        enum nokv_status status = memtable_add(m, key, slice_make("v", 1));
        if (status == NOKV_OK)
            continue;
        assert_int_equal(status, NOKV_ERR_NO_MEMORY);
        assert_false(refused);
        refused = true;
        assert_int_equal(memtable_count(m), i);
        OK(memtable_add(m, key, slice_make("v", 1)));
    }
    return refused;
}

/* A node that finds no memory to grow stays as it was, with all that is below it. */
static void nodes_that_cannot_grow(void **state)
{
    (void)state;
    bool refused = true;
    for (uint64_t k = 0; refused; k++) {
        struct memtable *m = NULL;
        struct iter *it = NULL;
        size_t seen = 0;
        OK(memtable_create(1 << 20, NULL, &m));
        mem_fail_after(k);
        refused = fans_fill(m);
        mem_fail_after(UINT64_MAX);
        OK(memtable_iter_create(m, &it));
        for (iter_first(it); it->valid; iter_next(it)) {
            uint8_t bytes[2];
            assert_true(slice_equal(it->key.user, fan_key(seen++, bytes).user));
        }
        assert_int_equal(seen, FANS * FAN);
        iter_destroy(it);
        memtable_unref(m);
        assert_true(k < 100);
    }
}

/* Lookups and moving an iterator do not touch the heap. */
static void reading_allocates_nothing(void **state)
{
    (void)state;
    uint64_t random = test_seed(5);
    struct model o;
    struct iter *it;
    model_init(&o);
    for (int i = 0; i < 5000; i++) {
        uint64_t key = test_random(&random);
        model_add(&o, &key, sizeof key);
    }
    OK(memtable_iter_create(o.memtable, &it));
    model_sort(&o);
    uint64_t before = mem_alloc_count();
    check_walks(&o, it);
    check_get(&o, slice_make(o.entries[7].key, 8), KEY_SEQ_MAX);
    check_wander(&o, it, &random);
    assert_int_equal(mem_alloc_count(), before);
    iter_destroy(it);
    model_deinit(&o);
}

/* A pinned value and an iterator stay readable after the last reference of the owner is gone. */
static void pins_and_iterators_keep_it(void **state)
{
    (void)state;
    struct memtable *m;
    struct lookup found;
    struct iter *it;
    OK(memtable_create(1 << 20, NULL, &m));
    OK(memtable_add(m, (struct ikey){slice_make("k", 1), key_tag(1, KEY_VALUE)}, slice_make("value", 5)));
    epoch_enter();
    memtable_get(m, slice_make("k", 1), 1, &found);
    assert_true(found.found);
    memtable_pin(m);
    epoch_exit();
    OK(memtable_iter_create(m, &it));
    memtable_unref(m);
    iter_first(it);
    assert_true(slice_equal(it->value, slice_make("value", 5)));
    iter_destroy(it);
    assert_memory_equal(found.value.data, "value", 5);
    memtable_unpin(m);
}

int main(void)
{
    OK(epoch_register());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_has_nothing),
        cmocka_unit_test(random_keys_as_the_model),
        cmocka_unit_test(nodes_grow),
        cmocka_unit_test(long_keys_make_deep_trees),
        cmocka_unit_test(one_sided_trees),
        cmocka_unit_test(many_versions_of_a_key),
        cmocka_unit_test(versions_are_found_in_few_steps),
        cmocka_unit_test(allocation_failures_change_nothing),
        cmocka_unit_test(nodes_that_cannot_grow),
        cmocka_unit_test(reading_allocates_nothing),
        cmocka_unit_test(pins_and_iterators_keep_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
