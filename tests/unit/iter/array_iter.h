// SPDX-License-Identifier: Apache-2.0
/*
 * array_iter.h - a sorted array of internal entries, and an iterator over it that can fail and counts its moves.
 *
 * The array may grow while iterators are on it: they remember a key, not an index.
 */
#ifndef TESTS_UNIT_ITER_ARRAY_ITER_H
#define TESTS_UNIT_ITER_ARRAY_ITER_H

#include "base/alloc.h"
#include "iter/iter.h"
#include "test.h"

struct entry {
    struct ikey key;
    struct slice value;
};

struct array {
    struct entry *entries;
    size_t count;
    size_t capacity;
    size_t moves;         /* of all iterators on it */
    size_t moves_to_fail; /* the move after so many fails with CORRUPT; SIZE_MAX: never */
};

/* Keys and values of a test: freed at its end, never moved. */
struct pool {
    void **blocks;
    size_t count;
    size_t capacity;
};

static inline struct slice pool_copy(struct pool *pool, const void *data, size_t size)
{
    OK(mem_grow(&pool->blocks, &pool->capacity, pool->count + 1, sizeof *pool->blocks));
    uint8_t *copy = malloc(size + 1);
    assert_non_null(copy);
    if (size)
        memcpy(copy, data, size);
    pool->blocks[pool->count++] = copy;
    return slice_make(copy, size);
}

static inline void pool_deinit(struct pool *pool)
{
    for (size_t i = 0; i < pool->count; i++)
        free(pool->blocks[i]);
    mem_free(pool->blocks);
    *pool = (struct pool){0};
}

static inline int entry_compare(const void *a, const void *b)
{
    return ikey_compare(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

/* Index of the first entry >= key (count: none). */
static inline size_t array_lower_bound(const struct array *a, struct ikey key)
{
    size_t low = 0, high = a->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (ikey_compare(a->entries[mid].key, key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static inline void array_insert(struct array *a, struct entry e)
{
    OK(mem_grow(&a->entries, &a->capacity, a->count + 1, sizeof *a->entries));
    size_t i = array_lower_bound(a, e.key);
    memmove(a->entries + i + 1, a->entries + i, (a->count - i) * sizeof e);
    a->entries[i] = e;
    a->count++;
}

static inline void array_deinit(struct array *a)
{
    mem_free(a->entries);
    *a = (struct array){0};
}

struct array_iter {
    struct iter base;
    struct array *array;
    struct pool shown; /* must_release: copies of what was shown since the last release */
    int *destroyed;    /* counts; NULL: not wanted */
};

static inline struct array *array_of(struct iter *it)
{
    return CONTAINER_OF(it, struct array_iter, base)->array;
}

/* `index` may be out of range on either side (as a wrapped size_t): the end. */
static inline void array_show(struct iter *it, size_t index)
{
    struct array *a = array_of(it);
    if (a->moves++ >= a->moves_to_fail) {
        iter_stop(it, FAIL(CORRUPT, "planned"));
        return;
    }
    it->status = NOKV_OK;
    it->valid = index < a->count;
    if (it->valid) {
        it->key = a->entries[index].key;
        it->value = a->entries[index].value;
    }
    if (it->valid && it->must_release) {
        struct pool *shown = &CONTAINER_OF(it, struct array_iter, base)->shown;
        it->key.user = pool_copy(shown, it->key.user.data, it->key.user.size);
        it->value = pool_copy(shown, it->value.data, it->value.size);
    }
}

/* What was shown before the current entry is really gone. */
static inline void array_release(struct iter *it)
{
    struct pool *shown = &CONTAINER_OF(it, struct array_iter, base)->shown;
    size_t keep = it->valid ? 2 : 0;
    if (shown->count <= keep)
        return;
    for (size_t i = 0; i < shown->count - keep; i++)
        free(shown->blocks[i]);
    memmove(shown->blocks, shown->blocks + shown->count - keep, keep * sizeof *shown->blocks);
    shown->count = keep;
}

static inline void array_first(struct iter *it)
{
    array_show(it, 0);
}
static inline void array_last(struct iter *it)
{
    array_show(it, array_of(it)->count - 1);
}
static inline void array_seek(struct iter *it, struct ikey target)
{
    array_show(it, array_lower_bound(array_of(it), target));
}
static inline void array_seek_for_prev(struct iter *it, struct ikey target)
{
    struct array *a = array_of(it);
    size_t i = array_lower_bound(a, target);
    bool equal = i < a->count && ikey_compare(a->entries[i].key, target) == 0;
    array_show(it, equal ? i : i - 1);
}
static inline void array_next(struct iter *it)
{
    ASSERT(it->valid);
    array_show(it, array_lower_bound(array_of(it), it->key) + 1);
}
static inline void array_prev(struct iter *it)
{
    ASSERT(it->valid);
    array_show(it, array_lower_bound(array_of(it), it->key) - 1);
}
static inline void array_destroy(struct iter *it)
{
    struct array_iter *a = CONTAINER_OF(it, struct array_iter, base);
    pool_deinit(&a->shown);
    if (a->destroyed)
        ++*a->destroyed;
    free(a);
}

static inline struct iter *array_iter_create(struct array *array, int *destroyed)
{
    static const struct iter_ops ops = {.first = array_first,
                                        .last = array_last,
                                        .seek = array_seek,
                                        .seek_for_prev = array_seek_for_prev,
                                        .next = array_next,
                                        .prev = array_prev,
                                        .release = array_release,
                                        .destroy = array_destroy};
    struct array_iter *it = calloc(1, sizeof *it);
    assert_non_null(it);
    it->base.ops = &ops;
    it->array = array;
    it->destroyed = destroyed;
    return &it->base;
}

/* Keys with a long common beginning, prefixes of each other, and 0x00 and 0xff in them; `spread` different ones. */
static inline size_t make_key(uint64_t number, uint8_t room[64])
{
    static const char common[] = "table/0000/row/000000000000000000";
    size_t size = number % 5 == 0 ? 0 : (number % 3 == 0 ? 20 : sizeof common - 1);
    memcpy(room, common, size);
    uint64_t rest = number * 0x9e3779b97f4a7c15ull >> 52;
    while (rest) {
        static const uint8_t letters[] = {'0', '1', 0x00, 0xff};
        room[size++] = letters[rest % 4];
        rest /= 4;
    }
    if (size == 0)
        room[size++] = 'k';
    return size;
}

static inline struct ikey random_target(uint64_t *rng, uint64_t spread, uint64_t seq_max, uint8_t room[64])
{
    size_t size = make_key(test_random(rng) % spread, room);
    uint64_t r = test_random(rng) % 4;
    uint64_t tag = r == 0 ? 0 : r == 1 ? UINT64_MAX : key_tag(test_random(rng) % (seq_max + 2), KEY_VALUE);
    return (struct ikey){.user = slice_make(room, size), .tag = tag};
}

/* One random operation on the iterator and on the oracle's index (count: not valid). Both must then show the same. */
static inline size_t step_both(struct iter *it, const struct array *oracle, size_t at, uint64_t *rng, uint64_t spread,
                               uint64_t seq_max)
{
    uint8_t room[64];
    struct ikey target = random_target(rng, spread, seq_max, room);
    uint64_t op = test_random(rng) % 64;
    if (at >= oracle->count)
        op %= 4;
    size_t bound = array_lower_bound(oracle, target);
    if (op == 0) {
        iter_first(it);
        at = 0;
    } else if (op == 1) {
        iter_last(it);
        at = oracle->count - 1;
    } else if (op == 2) {
        iter_seek(it, target);
        at = bound;
    } else if (op == 3) {
        iter_seek_for_prev(it, target);
        at = bound < oracle->count && ikey_compare(oracle->entries[bound].key, target) == 0 ? bound : bound - 1;
    } else if (op % 8 < 4 || op < 40) {
        iter_next(it);
        at++;
    } else {
        iter_prev(it);
        at--;
    }
    return at < oracle->count ? at : oracle->count;
}

static inline void assert_same(const struct iter *it, const struct array *oracle, size_t at)
{
    assert_int_equal(it->status, NOKV_OK);
    assert_int_equal(it->valid, at < oracle->count);
    if (!it->valid)
        return;
    assert_true(ikey_compare(it->key, oracle->entries[at].key) == 0);
    assert_true(slice_equal(it->value, oracle->entries[at].value));
}

#endif
