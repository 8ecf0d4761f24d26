// SPDX-License-Identifier: Apache-2.0
/* The index alone, with more blocks than a test could write: every search against a binary search over the separators.
 */
#include "base/alloc.h"
#include "sst/index.h"
#include "test.h"

enum { KEY_BYTES = 24 };

struct separators {
    uint8_t (*keys)[KEY_BYTES]; /* sorted */
    size_t *sizes;
    uint64_t *tags; /* 0: not tagged */
    size_t count;
};

/* `spread` different values per byte: small makes long runs of keys that agree in their first eight bytes. */
static struct separators separators_make(size_t count, size_t prefix, unsigned spread, uint64_t *random)
{
    struct separators s = {.count = count};
    s.keys = calloc(count, sizeof *s.keys);
    s.sizes = calloc(count, sizeof *s.sizes);
    s.tags = calloc(count, sizeof *s.tags);
    assert_true(s.keys && s.sizes && s.tags);
    for (size_t i = 0; i < count; i++) {
        memset(s.keys[i], 'p', prefix);
        size_t n = i; /* a number in base `spread`, most significant digit first: sorted */
        for (size_t k = KEY_BYTES; k-- > prefix; n /= spread)
            s.keys[i][k] = (uint8_t)(n % spread == spread - 1 ? 0xff : n % spread);
        s.sizes[i] = KEY_BYTES;
    }
    for (size_t i = 0; i + 1 < count; i++) {
        if (test_random(random) % 8 != 0)
            continue;
        /* a run of versions of one key */
        memcpy(s.keys[i + 1], s.keys[i], KEY_BYTES);
        s.tags[i] = key_tag(1000000 - i, KEY_VALUE);
        if (i > 0 && memcmp(s.keys[i - 1], s.keys[i], KEY_BYTES) == 0)
            s.tags[i - 1] = key_tag(1000000 - i + 1, KEY_VALUE);
    }
    return s;
}

static void separators_free(struct separators *s)
{
    free(s->keys);
    free(s->sizes);
    free(s->tags);
}

static struct ikey separator_at(const struct separators *s, size_t i)
{
    return (struct ikey){.user = slice_make(s->keys[i], s->sizes[i]), .tag = s->tags[i]};
}

static size_t lower_bound(const struct separators *s, struct ikey target)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ikey_compare(separator_at(s, middle), target) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void check_searches(const struct sst_index *x, const struct separators *s, uint64_t *random)
{
    for (int n = 0; n < 20000; n++) {
        uint8_t key[KEY_BYTES + 1];
        size_t i = test_random(random) % s->count, size = KEY_BYTES;
        memcpy(key, s->keys[i], KEY_BYTES);
        key[KEY_BYTES] = (uint8_t)test_random(random);
        if (n % 4 == 1)
            size = test_random(random) % (KEY_BYTES + 2);
        else if (n % 4 == 2)
            key[test_random(random) % KEY_BYTES] = (uint8_t)test_random(random);
        uint64_t tag = n % 3 ? s->tags[i] : key_tag(test_random(random) % 1000002, KEY_VALUE);
        struct ikey target = {.user = slice_make(key, size), .tag = tag};
        assert_int_equal(sst_index_search(x, target), lower_bound(s, target));
    }
    struct ikey above = {.user =
                             slice_make("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
                                        "\xff\xff\xff\xff\xff\xff",
                                        KEY_BYTES + 1)};
    assert_int_equal(sst_index_search(x, above), s->count);
}

static void check_index(size_t count, size_t prefix, unsigned spread, uint64_t *random)
{
    struct separators s = separators_make(count, prefix, spread, random);
    struct sst_index_builder b = {0};
    struct buf content = {0};
    struct sst_index x;
    uint32_t common = 0;
    for (size_t i = 0; i < count; i++)
        OK(sst_index_builder_add(&b, (uint32_t)(1 + 2 * i), separator_at(&s, i), s.tags[i] != 0));
    uint64_t foretold = sst_index_builder_bytes(&b);
    OK(sst_index_builder_finish(&b, (uint32_t)(1 + 2 * count), &content, &common));
    assert_true(content.size <= foretold + 4096);
    assert_true(common >= prefix);
    OK(sst_index_open(content.data, content.size, count, common, &x));
    for (size_t i = 0; i <= count; i++)
        assert_int_equal(sst_index_page(&x, i), 1 + 2 * i);
    check_searches(&x, &s, random);
    buf_deinit(&content);
    sst_index_builder_deinit(&b);
    separators_free(&s);
}

/* A search finds what a binary search finds: one node, exactly full nodes, up to five levels; with ties and without. */
static void test_search(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 15, 16, 17, 255, 256, 257, 4095, 4097, 70000};
    static const unsigned spreads[] = {2, 3, 16, 256};
    uint64_t random = test_seed(21);
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++)
        for (size_t k = 0; k < ARRAY_COUNT(spreads); k++)
            check_index(counts[i], i % 2 ? 5 : 0, spreads[k], &random);
}

/* An index that is too short for its number of blocks is refused, at every size; nothing of it is read before. */
static void test_sizes(void **state)
{
    (void)state;
    static const uint64_t data[32]; /* 256 bytes: what the sizes below are about */
    const uint8_t *p = (const uint8_t *)data;
    struct sst_index x;
    uint64_t slots[SST_INDEX_LEVELS_MAX];
    OK(sst_index_open(p, 8 * 16 + 8 + 16 + 3, 1, 3, &x));
    for (uint64_t size = 0; size < 8 * 16 + 8 + 16 + 3; size++)
        FAILS(CORRUPT, sst_index_open(p, size, 1, 3, &x));
    FAILS(CORRUPT, sst_index_open(p, 1000, 0, 0, &x));
    FAILS(CORRUPT, sst_index_open(p, UINT64_MAX, UINT32_MAX, 0, &x));
    assert_int_equal(sst_index_shape(UINT32_MAX - 1, slots), 8);
}

/* Random bytes under a right geometry: searches end with a block, the end, or "malformed", and read inside the region.
 */
static void test_hostile_bytes(void **state)
{
    (void)state;
    enum { COUNT = 300, KEYS = 64 };
    uint64_t random = test_seed(22), slots[SST_INDEX_LEVELS_MAX], size = 4 * (COUNT + 1) + 4 + 8 * (COUNT + 1) + KEYS;
    for (unsigned l = sst_index_shape(COUNT, slots); l > 0; l--)
        size += 8 * slots[l - 1];
    for (int round = 0; round < 200; round++) {
        uint8_t *data = malloc(size); /* of exactly this size, for AddressSanitizer */
        struct sst_index x;
        assert_non_null(data);
        for (uint64_t i = 0; i < size; i++)
            data[i] = round % 2 ? (uint8_t)(test_random(&random) % 3 == 0) : (uint8_t)test_random(&random);
        OK(sst_index_open(data, size, COUNT, 0, &x));
        for (int n = 0; n < 100; n++) {
            uint64_t key = n % 2 ? test_random(&random) : 0;
            int64_t block =
                sst_index_search(&x, (struct ikey){.user = slice_make(&key, test_random(&random) % 9), .tag = 5});
            assert_true(block >= -1 && block <= COUNT);
        }
        free(data);
    }
}

/* A separator that is longer than any key is malformed: it is not shown, and a search that needs it says so. */
static void test_separator_too_long(void **state)
{
    (void)state;
    enum { SIZE = 40000 };
    struct sst_index_builder b = {0};
    struct buf content = {0};
    struct sst_index x;
    struct sst_separator s;
    uint8_t *key = calloc(1, SIZE);
    uint32_t common = 0;
    assert_non_null(key);
    for (uint32_t i = 0; i < 2; i++) {
        key[0] = (uint8_t)('a' + i);
        OK(sst_index_builder_add(&b, 1 + i, (struct ikey){.user = slice_make(key, SIZE)}, false));
    }
    OK(sst_index_builder_finish(&b, 3, &content, &common));
    OK(sst_index_open(content.data, content.size, 2, common, &x));
    assert_true(sst_index_separator(&x, 0, &s) && s.suffix.size == SIZE);
    key[0] = 'a';
    struct ikey target = {.user = slice_make(key, SIZE), .tag = 1};
    assert_int_equal(sst_index_search(&x, target), 0);
    put_u64(content.data + (x.key_offsets + 8 - content.data), x.keys.size); /* block 0 takes all of it */
    assert_false(sst_index_separator(&x, 0, &s));
    assert_int_equal(sst_index_search(&x, target), -1);
    buf_deinit(&content);
    sst_index_builder_deinit(&b);
    free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_separator_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
