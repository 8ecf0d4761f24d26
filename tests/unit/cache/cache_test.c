// SPDX-License-Identifier: Apache-2.0
/*
 * The block cache used by one thread: what is found, what is evicted, what counts, and what happens without memory.
 *
 * A block's bytes are made from its name, so that a wrong or reused one shows.
 */
#include "base/alloc.h"
#include "cache/cache.h"
#include "test.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define BLOCK_CHARGE (PAGE_BYTES + sizeof(struct cache_block))

static void block_fill(struct cache_block *b)
{
    uint64_t state = b->file * 1000003 + b->page;
    for (size_t i = 0; i < b->size; i += 512)
        b->data[i] = (uint8_t)test_random(&state);
    b->data[b->size - 1] = (uint8_t)b->page;
}

static void block_check(const struct cache_block *b, uint64_t file, uint64_t page)
{
    uint64_t state = file * 1000003 + page;
    assert_true(b->file == file && b->page == page);
    for (size_t i = 0; i + 1 < b->size; i += 512)
        assert_int_equal(b->data[i], (uint8_t)test_random(&state));
    assert_int_equal(b->data[b->size - 1], (uint8_t)page);
}

/* A filled block in the cache, with a reference. */
static struct cache_block *block_add(struct cache *c, uint64_t file, uint64_t page, size_t size)
{
    struct cache_block *b;
    OK(cache_block_create(c, file, page, size, &b));
    block_fill(b);
    return cache_insert(c, b);
}

/* As a reader does it: found or brought in. True: it was there. */
static bool block_read(struct cache *c, uint64_t file, uint64_t page)
{
    struct cache_block *b = cache_find(c, file, page);
    bool hit = b != NULL;
    if (!hit)
        b = block_add(c, file, page, PAGE_BYTES);
    block_check(b, file, page);
    cache_block_unref(b);
    return hit;
}

static struct cache_stats stats_of(struct cache *c)
{
    struct cache_stats stats;
    cache_stats_get(c, &stats);
    return stats;
}

/* What was inserted is found, with its bytes, and only under its own name; the figures follow. */
static void test_find(void **state)
{
    (void)state;
    struct cache *c;
    OK(cache_create(MIB, &c));
    assert_null(cache_find(c, 1, 2));
    struct cache_block *b = block_add(c, 1, 2, 5000), *found = cache_find(c, 1, 2);
    assert_ptr_equal(b, found);
    block_check(found, 1, 2);
    assert_null(cache_find(c, 2, 1));
    assert_null(cache_find(c, 1, 3));
    struct cache_stats stats = stats_of(c);
    assert_int_equal(stats.hits, 1);
    assert_int_equal(stats.misses, 3);
    assert_int_equal(stats.inserts, 1);
    assert_int_equal(stats.blocks, 1);
    assert_int_equal(stats.bytes, 2 * PAGE_BYTES + sizeof(struct cache_block));
    assert_int_equal(stats.pinned_bytes, stats.bytes);
    assert_int_equal(stats.bytes_max, MIB);
    cache_block_unref(b);
    cache_block_unref(found);
    assert_int_equal(stats_of(c).pinned_bytes, 0);
    cache_destroy(c);
}

/* Bounds and sizes that make no sense are refused with a message that says what is possible. */
static void test_bad_arguments(void **state)
{
    (void)state;
    struct cache *c = NULL;
    struct cache_block *b = NULL;
    FAILS(INVALID, cache_create(0, &c));
    FAILS(INVALID, cache_create(CACHE_BYTES_MIN - 1, &c));
    FAILS(INVALID, cache_create(CACHE_BYTES_MAX + 1, &c));
    FAILS(INVALID, cache_create(UINT64_MAX, &c));
    assert_non_null(strstr(status_message(), "65536"));
    assert_null(c);
    OK(cache_create(CACHE_BYTES_MIN, &c));
    FAILS(INVALID, cache_block_create(c, 1, 1, 0, &b));
    FAILS(TOO_LARGE, cache_block_create(c, 1, 1, CACHE_BLOCK_BYTES_MAX + 1, &b));
    FAILS(TOO_LARGE, cache_block_create(c, 1, 1, SIZE_MAX, &b));
    FAILS(INVALID, cache_resize(c, 1));
    assert_null(b);
    assert_int_equal(stats_of(c).bytes, 0);
    assert_int_equal(stats_of(c).bytes_max, CACHE_BYTES_MIN);
    cache_destroy(c);
    cache_destroy(NULL);
}

/* Data is aligned to a page for every size, has room up to the next page, and blocks do not overlap. */
static void test_alignment(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 4095, 4096, 4097, 20000, 32768, 65536, 262144, 262145, 1000000};
    struct cache_block *blocks[ARRAY_COUNT(sizes) * 4];
    struct cache *c;
    OK(cache_create(64 * MIB, &c));
    for (size_t i = 0; i < ARRAY_COUNT(blocks); i++) {
        OK(cache_block_create(c, 9, i, sizes[i % ARRAY_COUNT(sizes)], &blocks[i]));
        assert_int_equal((uintptr_t)blocks[i]->data % PAGE_BYTES, 0);
        memset(blocks[i]->data, (int)i, align_up(blocks[i]->size, PAGE_BYTES));
    }
    for (size_t i = 0; i < ARRAY_COUNT(blocks); i++) {
        for (size_t at = 0; at < align_up(blocks[i]->size, PAGE_BYTES); at++)
            assert_int_equal(blocks[i]->data[at], i);
        cache_block_unref(blocks[i]); /* was never inserted: it is gone */
    }
    assert_int_equal(stats_of(c).bytes, 0);
    assert_int_equal(stats_of(c).inserts, 0);
    cache_destroy(c);
}

/* Of two blocks with one name the first stays, the second is dropped and the first returned. */
static void test_second_insert(void **state)
{
    (void)state;
    struct cache *c;
    struct cache_block *first, *second;
    OK(cache_create(MIB, &c));
    OK(cache_block_create(c, 3, 4, PAGE_BYTES, &first));
    OK(cache_block_create(c, 3, 4, PAGE_BYTES, &second));
    block_fill(first);
    block_fill(second);
    assert_int_equal(stats_of(c).bytes, 2 * BLOCK_CHARGE);
    assert_ptr_equal(cache_insert(c, first), first);
    assert_ptr_equal(cache_insert(c, second), first);
    assert_int_equal(stats_of(c).bytes, BLOCK_CHARGE);
    assert_int_equal(stats_of(c).inserts, 1);
    block_check(first, 3, 4);
    cache_block_unref(first);
    cache_block_unref(first);
    assert_int_equal(stats_of(c).pinned_bytes, 0);
    cache_destroy(c);
}

/* However much passes through, the bound holds after every step, the memory from the kernel too, and all is used. */
static void test_bound(void **state)
{
    (void)state;
    static const uint64_t bounds[] = {CACHE_BYTES_MIN, MIB, 10 * MIB, 64 * MIB};
    for (size_t i = 0; i < ARRAY_COUNT(bounds); i++) {
        struct cache *c;
        OK(cache_create(bounds[i], &c));
        uint64_t blocks = 3 * bounds[i] / PAGE_BYTES;
        for (uint64_t n = 0; n < blocks; n++) {
            assert_false(block_read(c, 1, n));
            if (n % 16 == 0)
                assert_true(stats_of(c).bytes <= bounds[i]);
        }
        struct cache_stats stats = stats_of(c);
        assert_true(stats.bytes > bounds[i] * 9 / 10 - PAGE_BYTES);
        assert_true(stats.reserved_bytes <= bounds[i] + CACHE_SHARDS_MAX * 2 * MIB);
        assert_int_equal(stats.inserts, stats.evictions + stats.blocks);
        assert_int_equal(stats.bytes, stats.blocks * BLOCK_CHARGE);
        cache_destroy(c);
    }
}

/* Referenced blocks are not evicted for others; they may go above the bound, and releasing them goes back below it. */
static void test_pinned_blocks(void **state)
{
    (void)state;
    enum { COUNT = 100 }; /* the bound is 16 pages */
    struct cache_block *blocks[COUNT];
    struct cache *c;
    OK(cache_create(CACHE_BYTES_MIN, &c));
    for (uint64_t i = 0; i < COUNT; i++)
        blocks[i] = block_add(c, 1, i, PAGE_BYTES);
    assert_int_equal(stats_of(c).bytes, COUNT * BLOCK_CHARGE);
    assert_int_equal(stats_of(c).pinned_bytes, COUNT * BLOCK_CHARGE);
    assert_int_equal(stats_of(c).evictions, 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        struct cache_block *found = cache_find(c, 1, i);
        assert_ptr_equal(found, blocks[i]);
        block_check(found, 1, i);
        cache_block_unref(found);
    }
    for (uint64_t i = 0; i < COUNT; i++)
        cache_block_unref(blocks[i]);
    assert_true(stats_of(c).bytes <= CACHE_BYTES_MIN);
    assert_true(stats_of(c).blocks > 0);
    assert_int_equal(stats_of(c).pinned_bytes, 0);
    cache_destroy(c);
}

/* Blocks that are held while others pass through stay in the cache, in either queue; those around them go. */
static void test_held_blocks_stay(void **state)
{
    (void)state;
    enum { HELD = 5 };
    struct cache_block *held[HELD];
    struct cache *c;
    OK(cache_create(MIB, &c));
    for (uint64_t i = 0; i < HELD; i++)
        held[i] = block_add(c, 7, i, PAGE_BYTES);
    for (uint64_t n = 0; n < 2000; n++)
        assert_false(block_read(c, 1, n));
    for (int round = 0; round < 4; round++) { /* fills the main queue and turns it over */
        for (uint64_t n = 0; n < 1800; n++)
            (void)block_read(c, 2, n / 3); /* three times: it stays */
    }
    assert_true(stats_of(c).bytes <= MIB);
    for (uint64_t i = 0; i < HELD; i++) {
        assert_true(block_read(c, 7, i));
        block_check(held[i], 7, i);
        cache_block_unref(held[i]);
    }
    cache_destroy(c);
}

/* A block counts from its creation on: room is made for it before anybody can find it. */
static void test_room_for_new_block(void **state)
{
    (void)state;
    struct cache *c;
    struct cache_block *b;
    OK(cache_create(MIB, &c));
    for (uint64_t n = 0; n < 1000; n++)
        (void)block_read(c, 1, n);
    uint64_t evictions = stats_of(c).evictions;
    OK(cache_block_create(c, 2, 0, MIB / 4, &b));
    assert_true(stats_of(c).bytes <= MIB);
    assert_true(stats_of(c).evictions > evictions);
    cache_block_unref(b);
    cache_destroy(c);
}

/* A block that is larger than the whole cache is its reader's alone, and does not push the others out. */
static void test_oversized_block(void **state)
{
    (void)state;
    struct cache *c;
    OK(cache_create(CACHE_BYTES_MIN, &c));
    struct cache_block *b = block_add(c, 1, 1, 2 * CACHE_BYTES_MIN);
    block_check(b, 1, 1);
    assert_null(cache_find(c, 1, 1));
    assert_int_equal(stats_of(c).inserts, 0);
    cache_block_unref(b);
    assert_int_equal(stats_of(c).bytes, 0);
    cache_destroy(c);
}

static uint64_t hot_hits(struct cache *c, uint64_t hot)
{
    uint64_t hits = 0;
    for (uint64_t i = 0; i < hot; i++)
        hits += block_read(c, 1, i);
    return hits;
}

/* A scan of ten times the capacity leaves at least 95 of 100 blocks of a hot set of half the capacity in. */
static void test_scan_resistance(void **state)
{
    (void)state;
    static const uint64_t bounds[] = {MIB, 16 * MIB};
    for (size_t i = 0; i < ARRAY_COUNT(bounds); i++) {
        struct cache *c;
        OK(cache_create(bounds[i], &c));
        uint64_t capacity = bounds[i] / PAGE_BYTES, hot = capacity / 2;
        for (int round = 0; round < 4; round++)
            (void)hot_hits(c, hot);
        assert_int_equal(hot_hits(c, hot), hot);
        for (uint64_t n = 0; n < 10 * capacity; n++)
            assert_false(block_read(c, 2, n));
        uint64_t left = hot_hits(c, hot);
        printf("%llu of %llu hot blocks stayed\n", (unsigned long long)left, (unsigned long long)hot);
        assert_true(left * 100 >= hot * 95);
        cache_destroy(c);
    }
}

/* The cache follows a change of what is hot: after the old set was given up, a new one is wholly in. */
static void test_hot_set_changes(void **state)
{
    (void)state;
    struct cache *c;
    OK(cache_create(MIB, &c));
    for (int round = 0; round < 8; round++)
        (void)hot_hits(c, 200);
    for (int round = 0; round < 8; round++) {
        for (uint64_t i = 0; i < 200; i++)
            (void)block_read(c, 5, i);
    }
    uint64_t hits = 0;
    for (uint64_t i = 0; i < 200; i++)
        hits += block_read(c, 5, i);
    assert_true(hits >= 195);
    cache_destroy(c);
}

/* A block that was evicted from the small queue and comes back goes to the main one: the next scan leaves it. */
static void test_ghost(void **state)
{
    (void)state;
    struct cache *c;
    OK(cache_create(MIB, &c));
    for (int round = 0; round < 4; round++)
        (void)hot_hits(c, 200); /* a main queue, whose length is the ghost's memory */
    assert_false(block_read(c, 2, 7));
    for (uint64_t n = 0; n < 100; n++)
        (void)block_read(c, 3, n);
    assert_false(block_read(c, 2, 7)); /* was evicted, is remembered */
    for (uint64_t n = 100; n < 2000; n++)
        (void)block_read(c, 3, n);
    assert_true(block_read(c, 2, 7));
    cache_destroy(c);
}

/* The ghost remembers as many names as the main queue has blocks: one that is older counts as never seen. */
static void test_ghost_forgets(void **state)
{
    (void)state;
    struct cache *c;
    OK(cache_create(MIB, &c));
    for (int round = 0; round < 4; round++)
        (void)hot_hits(c, 200);
    assert_false(block_read(c, 2, 7));
    for (uint64_t n = 0; n < 350; n++)
        (void)block_read(c, 3, n);
    assert_false(block_read(c, 2, 7));
    for (uint64_t n = 350; n < 600; n++)
        (void)block_read(c, 3, n);
    assert_false(block_read(c, 2, 7));
    cache_destroy(c);
}

/* A forgotten file's blocks are gone at once, those of others stay, and a referenced one lives until its release. */
static void test_forget(void **state)
{
    (void)state;
    struct cache *c;
    OK(cache_create(32 * MIB, &c));
    for (uint64_t file = 1; file <= 600; file++) { /* more files than lists of files */
        for (uint64_t page = 0; page < 5; page++)
            assert_false(block_read(c, file, page));
    }
    struct cache_block *held = cache_find(c, 300, 2);
    cache_forget(c, 300);
    cache_forget(c, 12345);
    assert_int_equal(stats_of(c).blocks, 599 * 5);
    assert_int_equal(stats_of(c).bytes, (599 * 5 + 1) * BLOCK_CHARGE);
    assert_int_equal(stats_of(c).evictions, 0);
    for (uint64_t page = 0; page < 5; page++)
        assert_null(cache_find(c, 300, page));
    block_check(held, 300, 2);
    cache_block_ref(held);
    cache_block_unref(held);
    block_check(held, 300, 2);
    cache_block_unref(held);
    assert_int_equal(stats_of(c).bytes, 599 * 5 * BLOCK_CHARGE);
    for (uint64_t file = 1; file <= 600; file++) {
        if (file != 300)
            assert_true(block_read(c, file, 4));
    }
    cache_destroy(c);
}

/* A smaller bound holds at once and keeps what is hot; a larger one is used; what is there is found after both. */
static void test_resize(void **state)
{
    (void)state;
    struct cache *c;
    OK(cache_create(16 * MIB, &c));
    for (uint64_t n = 0; n < 3000; n++)
        assert_false(block_read(c, 2, n));
    for (int round = 0; round < 4; round++)
        (void)hot_hits(c, 100);
    OK(cache_resize(c, 2 * MIB));
    assert_true(stats_of(c).bytes <= 2 * MIB);
    assert_int_equal(stats_of(c).bytes_max, 2 * MIB);
    assert_true(hot_hits(c, 100) >= 95);
    OK(cache_resize(c, 40 * MIB));
    assert_true(hot_hits(c, 100) >= 95);
    for (uint64_t n = 0; n < 8000; n++)
        (void)block_read(c, 3, n);
    assert_true(stats_of(c).bytes > 30 * MIB && stats_of(c).bytes <= 40 * MIB);
    for (uint64_t n = 7000; n < 8000; n++)
        assert_true(block_read(c, 3, n));
    cache_destroy(c);
}

enum { MODEL_FILES = 6, MODEL_PAGES = 60, MODEL_HELD = 8 };

struct model {
    struct cache *c;
    uint64_t random;
    uint64_t gone; /* numbers of files up to here were forgotten */
    struct cache_block *held[MODEL_HELD];
};

static size_t model_size(uint64_t file, uint64_t page)
{
    static const size_t sizes[] = {4096, 4096, 4096, 16384, 65536, 5000, 32768, 300000};
    return sizes[(file * 7 + page) % ARRAY_COUNT(sizes)];
}

static void model_read(struct model *m, uint64_t file, uint64_t page)
{
    struct cache_block **slot = &m->held[test_random(&m->random) % MODEL_HELD];
    struct cache_block *b = cache_find(m->c, file, page);
    if (b == NULL)
        b = block_add(m->c, file, page, model_size(file, page));
    assert_int_equal(b->size, model_size(file, page));
    block_check(b, file, page);
    if (*slot != NULL) {
        block_check(*slot, (*slot)->file, (*slot)->page);
        cache_block_unref(*slot);
    }
    *slot = b;
}

static void model_forget(struct model *m)
{
    cache_forget(m->c, ++m->gone);
    for (uint64_t page = 0; page < MODEL_PAGES; page++)
        assert_null(cache_find(m->c, m->gone, page));
}

static void model_check(struct model *m)
{
    struct cache_stats stats = stats_of(m->c);
    uint64_t held = 0;
    for (size_t i = 0; i < MODEL_HELD; i++) {
        bool is_first = m->held[i] != NULL;
        for (size_t k = 0; k < i; k++)
            is_first = is_first && m->held[k] != m->held[i];
        held += is_first ? m->held[i]->charge : 0;
    }
    assert_int_equal(stats.pinned_bytes, held);
    assert_true(stats.bytes <= stats.bytes_max + held); /* one shard's pinned blocks do not push out another's */
    assert_true(stats.reserved_bytes + stats.blocks * sizeof(struct cache_block) + held >= stats.bytes);
}

/* Random reads of blocks of many sizes, some held for a while, files that go, bounds that change: bytes are always the
 * right ones, pinned bytes are exact, the bound holds. */
static void test_model(void **state)
{
    (void)state;
    struct model m = {.random = test_seed(20231023)};
    OK(cache_create(12 * MIB, &m.c));
    for (int n = 0; n < 60000; n++) {
        uint64_t r = test_random(&m.random);
        uint64_t file = m.gone + 1 + r % MODEL_FILES, page = (r >> 16) % ((r >> 40) % MODEL_PAGES + 1);
        if (r >> 52 < 4)
            model_forget(&m);
        else if (r >> 52 < 6)
            OK(cache_resize(m.c, CACHE_BYTES_MIN + (r >> 8) % (20 * MIB)));
        else
            model_read(&m, file, page);
        if (n % 8 == 0)
            model_check(&m);
    }
    for (size_t i = 0; i < MODEL_HELD; i++) {
        if (m.held[i] != NULL)
            cache_block_unref(m.held[i]);
    }
    struct cache_stats stats = stats_of(m.c);
    assert_true(stats.hits > 1000 && stats.evictions > 1000 && stats.bytes <= stats.bytes_max);
    cache_destroy(m.c);
}

/* Everything that allocates, in a row; ends at the first failure. */
static enum nokv_status allocate_everything(struct cache **c)
{
    TRY(cache_create(9 * MIB, c));
    for (uint64_t n = 0; n < 80; n++) {
        struct cache_block *b;
        TRY(cache_block_create(*c, 1, n, n % 10 == 9 ? 300000 : n % 3 * 30000 + 1, &b));
        block_fill(b);
        cache_block_unref(cache_insert(*c, b));
    }
    return cache_resize(*c, 20 * MIB);
}

/* The k-th allocation fails, for every k until a run completes: NO_MEMORY each time, and the cache is sound. */
static void test_allocation_failures(void **state)
{
    (void)state;
    enum nokv_status status = NOKV_ERR_NO_MEMORY;
    for (uint64_t k = 0; status != NOKV_OK; k++) {
        struct cache *c = NULL;
        mem_fail_after(k);
        status = allocate_everything(&c);
        mem_fail_after(UINT64_MAX);
        assert_true(status == NOKV_OK || status == NOKV_ERR_NO_MEMORY);
        assert_true(k < 10000);
        if (c == NULL)
            continue;
        struct cache_stats stats = stats_of(c);
        assert_int_equal(stats.bytes_max, status == NOKV_OK ? 20 * MIB : 9 * MIB);
        assert_int_equal(stats.pinned_bytes, 0);
        assert_true(stats.bytes <= stats.bytes_max);
        for (uint64_t n = 0; n < 100; n++)
            cache_block_unref(block_add(c, 2, n, PAGE_BYTES));
        assert_true(block_read(c, 2, 99));
        cache_destroy(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_second_insert),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_pinned_blocks),
        cmocka_unit_test(test_held_blocks_stay),
        cmocka_unit_test(test_room_for_new_block),
        cmocka_unit_test(test_oversized_block),
        cmocka_unit_test(test_scan_resistance),
        cmocka_unit_test(test_hot_set_changes),
        cmocka_unit_test(test_ghost),
        cmocka_unit_test(test_ghost_forgets),
        cmocka_unit_test(test_forget),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
