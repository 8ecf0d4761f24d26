// SPDX-License-Identifier: Apache-2.0
/* merge_test.c - the union of sorted arrays against one sorted array, under random moves in both directions. */
#include "array_iter.h"

enum { CHILDREN_MAX = 9 };

struct fixture {
    struct pool pool;
    struct array children[CHILDREN_MAX];
    struct array all;
    size_t child_count;
    struct iter *it;
};

/* `count` entries with different (key, seq), dealt out to the children in runs of random length. */
static void fixture_init(struct fixture *f, uint64_t *rng, size_t child_count, size_t count, uint64_t spread)
{
    *f = (struct fixture){.child_count = child_count};
    size_t child = 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t room[64];
        size_t size = make_key(test_random(rng) % spread, room);
        struct entry e = {.key = {.user = pool_copy(&f->pool, room, size), .tag = key_tag(i + 1, KEY_VALUE)}};
        e.value = pool_copy(&f->pool, &i, sizeof i);
        if (test_random(rng) % 4 == 0)
            child = test_random(rng) % child_count;
        array_insert(&f->children[child], e);
        array_insert(&f->all, e);
    }
    struct iter *iters[CHILDREN_MAX];
    for (size_t i = 0; i < child_count; i++) {
        f->children[i].moves_to_fail = SIZE_MAX;
        iters[i] = array_iter_create(&f->children[i], NULL);
    }
    OK(iter_merge_create(iters, child_count, &f->it));
}

static void fixture_deinit(struct fixture *f)
{
    iter_destroy(f->it);
    for (size_t i = 0; i < f->child_count; i++)
        array_deinit(&f->children[i]);
    array_deinit(&f->all);
    pool_deinit(&f->pool);
}

/* The empty iterator is at its end wherever it is positioned, and one with a status reports it for ever. */
static void test_empty(void **state)
{
    (void)state;
    struct iter *it;
    OK(iter_empty_create(NOKV_OK, &it));
    iter_first(it);
    assert_true(!it->valid && it->status == NOKV_OK);
    iter_destroy(it);
    OK(iter_empty_create(NOKV_ERR_IO, &it));
    assert_int_equal(it->status, NOKV_ERR_IO);
    iter_seek(it, (struct ikey){0});
    assert_true(!it->valid && it->status == NOKV_ERR_IO);
    iter_last(it);
    assert_int_equal(it->status, NOKV_ERR_IO);
    iter_destroy(it);
    iter_destroy(NULL);
}

/* No child gives the empty iterator, one child is handed through, and children end with the union. */
static void test_ownership(void **state)
{
    (void)state;
    struct array none = {.moves_to_fail = SIZE_MAX};
    int destroyed = 0;
    struct iter *children[3], *it;
    OK(iter_merge_create(NULL, 0, &it));
    iter_first(it);
    assert_false(it->valid);
    iter_destroy(it);
    children[0] = array_iter_create(&none, &destroyed);
    OK(iter_merge_create(children, 1, &it));
    assert_ptr_equal(it, children[0]);
    iter_destroy(it);
    assert_int_equal(destroyed, 1);
    for (int i = 0; i < 3; i++)
        children[i] = array_iter_create(&none, &destroyed);
    OK(iter_merge_create(children, 3, &it));
    iter_last(it);
    assert_true(!it->valid && it->status == NOKV_OK);
    iter_destroy(it);
    assert_int_equal(destroyed, 4);
}

/* When memory is short at creation, the children stay the caller's and nothing leaks. */
static void test_no_memory(void **state)
{
    (void)state;
    struct array none = {.moves_to_fail = SIZE_MAX};
    int destroyed = 0;
    struct iter *children[2], *it = NULL;
    for (int i = 0; i < 2; i++)
        children[i] = array_iter_create(&none, &destroyed);
    for (uint64_t k = 0; k < 2; k++) {
        mem_fail_after(k);
        FAILS(NO_MEMORY, iter_merge_create(children, 2, &it));
    }
    mem_fail_after(0);
    FAILS(NO_MEMORY, iter_merge_create(children, 0, &it));
    mem_fail_after(UINT64_MAX);
    assert_int_equal(destroyed, 0);
    OK(iter_merge_create(children, 2, &it));
    uint64_t before = mem_alloc_count();
    iter_first(it);
    assert_true(mem_alloc_count() == before);
    iter_destroy(it);
}

/* Under any sequence of moves the union shows what one sorted array of all entries would. */
static void test_model(void **state)
{
    (void)state;
    uint64_t rng = test_seed(2);
    for (int round = 0; round < 60; round++) {
        struct fixture f;
        size_t count = test_random(&rng) % 400;
        uint64_t spread = 1 + test_random(&rng) % 200;
        fixture_init(&f, &rng, 2 + test_random(&rng) % (CHILDREN_MAX - 1), count, spread);
        size_t at = count;
        for (int i = 0; i < 3000; i++) {
            at = step_both(f.it, &f.all, at, &rng, spread, count);
            assert_same(f.it, &f.all, at);
        }
        fixture_deinit(&f);
    }
}

/* Equal entries in several children are all shown, as often forward as backward, and turning around loses none. */
static void test_duplicates(void **state)
{
    (void)state;
    struct array a = {.moves_to_fail = SIZE_MAX};
    for (uint64_t i = 1; i <= 3; i++)
        array_insert(&a, (struct entry){.key = {.user = slice_make("k", 1), .tag = key_tag(i, KEY_VALUE)}});
    struct iter *children[3], *it;
    for (int i = 0; i < 3; i++)
        children[i] = array_iter_create(&a, NULL);
    OK(iter_merge_create(children, 3, &it));
    uint64_t rng = test_seed(3);
    iter_first(it);
    int at = 0;
    for (int i = 0; i < 2000; i++) {
        assert_true(it->valid && tag_seq(it->key.tag) == (uint64_t)(3 - at / 3));
        bool forward = at == 0 || (at < 8 && test_random(&rng) % 2);
        forward ? iter_next(it) : iter_prev(it);
        at += forward ? 1 : -1;
    }
    iter_destroy(it);
    array_deinit(&a);
}

/* Whichever move of whichever child fails, the union stops with that status, and positioning it anew clears it. */
static void test_child_errors(void **state)
{
    (void)state;
    uint64_t rng = test_seed(4);
    for (size_t fail = 0; fail < 120; fail++) {
        struct fixture f;
        fixture_init(&f, &rng, 4, 60, 40);
        struct array *broken = &f.children[fail % 4];
        broken->moves_to_fail = fail / 4;
        iter_first(f.it);
        size_t at = 0;
        bool forward = true;
        while (f.it->valid) {
            assert_same(f.it, &f.all, at);
            if (test_random(&rng) % 3 == 0)
                forward = !forward;
            forward ? iter_next(f.it) : iter_prev(f.it);
            at += forward ? 1 : -1;
        }
        if (broken->moves > broken->moves_to_fail)
            assert_int_equal(f.it->status, NOKV_ERR_CORRUPT);
        broken->moves_to_fail = SIZE_MAX;
        iter_last(f.it);
        assert_same(f.it, &f.all, f.all.count - 1);
        fixture_deinit(&f);
    }
}

/* While a child grows between the moves, the order never goes back and every entry from the start is met. */
static void test_growing_child(void **state)
{
    (void)state;
    uint64_t rng = test_seed(5);
    for (int round = 0; round < 100; round++) {
        struct fixture f;
        fixture_init(&f, &rng, 3, 50, 60);
        iter_first(f.it);
        size_t at = 0;
        for (int i = 0; i < 300 && f.it->valid; i++) {
            bool forward = test_random(&rng) % 3 != 0;
            struct ikey before = f.it->key;
            uint8_t room[64];
            size_t size = make_key(test_random(&rng) % 60, room);
            uint64_t tag = key_tag(100 + (uint64_t)i, KEY_TOMBSTONE);
            array_insert(&f.children[1], (struct entry){.key = {.user = pool_copy(&f.pool, room, size), .tag = tag}});
            forward ? iter_next(f.it) : iter_prev(f.it);
            if (!f.it->valid)
                break;
            int order = ikey_compare(f.it->key, before);
            assert_true(forward ? order > 0 : order < 0);
            /* no entry of the start lies between the two positions without having been shown */
            struct ikey low = forward ? before : f.it->key, high = forward ? f.it->key : before;
            at = array_lower_bound(&f.all, low);
            at += at < f.all.count && ikey_compare(f.all.entries[at].key, low) == 0;
            assert_true(at == f.all.count || ikey_compare(f.all.entries[at].key, high) >= 0);
        }
        fixture_deinit(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),         cmocka_unit_test(test_ownership),  cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_model),         cmocka_unit_test(test_duplicates), cmocka_unit_test(test_child_errors),
        cmocka_unit_test(test_growing_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
