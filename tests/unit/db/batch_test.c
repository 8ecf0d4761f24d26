// SPDX-License-Identifier: Apache-2.0
/*
 * batch_test.c - batches as bytes: what a user puts in is what recovery takes out, the documented example is what the
 * code writes, and hostile bytes are refused.
 */
#include "../lsm/doc_example.h"
#include "base/alloc.h"
#include "db/batch.h"

static const char *page; /* path of the format's page */

enum { ENTRIES_MAX = 64 };

struct decoded {
    uint64_t tags[ENTRIES_MAX];
    size_t key_sizes[ENTRIES_MAX], value_sizes[ENTRIES_MAX];
    size_t count;
    uint64_t bytes_hash; /* of all keys and values */
};

/* In a block of exactly its size, so that AddressSanitizer sees the first byte read beyond it. */
static enum nokv_status decode(struct slice payload, struct decoded *out)
{
    struct batch_reader r;
    uint8_t *exact = malloc(payload.size ? payload.size : 1);
    assert_non_null(exact);
    if (payload.size)
        memcpy(exact, payload.data, payload.size);
    *out = (struct decoded){0};
    enum nokv_status status = batch_reader_init(&r, slice_make(exact, payload.size), "000007.wal @64");
    for (bool more = true; status == NOKV_OK && more;) {
        struct batch_entry e;
        status = batch_reader_next(&r, &e, &more);
        if (status != NOKV_OK || !more)
            break;
        for (size_t i = 0; i < e.key.user.size; i++)
            out->bytes_hash = out->bytes_hash * 31 + e.key.user.data[i] + 1;
        for (size_t i = 0; i < e.value.size; i++)
            out->bytes_hash = out->bytes_hash * 31 + e.value.data[i] + 1;
        if (out->count < ENTRIES_MAX) {
            out->tags[out->count] = e.key.tag;
            out->key_sizes[out->count] = e.key.user.size;
            out->value_sizes[out->count] = e.value.size;
        }
        out->count++;
    }
    free(exact);
    return status;
}

static void assert_refused(enum nokv_status wanted, struct slice payload)
{
    struct decoded d;
    enum nokv_status status = decode(payload, &d);
    if (status != wanted)
        fail_msg("%s instead of %s: %s", status_name(status), status_name(wanted), status_message());
    assert_non_null(strstr(status_message(), "000007.wal @64"));
}

/* What nokv_write would append: the batch with its count and first sequence number. */
static void batch_seal(nokv_batch *b, uint64_t first_seq)
{
    batch_header_encode(b->bytes.data, b->count, first_seq);
}

/* The page of the format shows what the code writes and reads: the golden image of version 1. */
static void test_golden(void **state)
{
    (void)state;
    struct doc_example golden;
    struct decoded d;
    nokv_batch *b = NULL;
    doc_example_load(page, &golden);
    OK(nokv_batch_create(&b));
    OK(nokv_batch_put(b, "apple", 5, "green", 5));
    batch_seal(b, 7);
    assert_int_equal(b->bytes.size, golden.size);
    assert_memory_equal(b->bytes.data, golden.bytes, golden.size);
    OK(decode(slice_make(golden.bytes, golden.size), &d));
    assert_int_equal(d.count, 1);
    assert_int_equal(d.tags[0], key_tag(7, KEY_VALUE));
    assert_int_equal(d.key_sizes[0], 5);
    assert_int_equal(d.value_sizes[0], 5);
    nokv_batch_destroy(b);
}

/* Any batch comes back as it was put in, in its order, with one sequence number after the other. */
static void test_round_trip(void **state)
{
    (void)state;
    uint64_t random = test_seed(1);
    static uint8_t key[NOKV_KEY_SIZE_MAX], value[70000];
    nokv_batch *b = NULL;
    OK(nokv_batch_create(&b));
    for (int round = 0; round < 300; round++) {
        struct decoded wanted = {0}, got;
        uint64_t first = 1 + test_random(&random) % (KEY_SEQ_MAX - 100);
        nokv_batch_clear(b);
        for (uint64_t n = 1 + test_random(&random) % ENTRIES_MAX; n > 0; n--) {
            size_t key_size = test_random(&random) % 50 == 0 ? NOKV_KEY_SIZE_MAX : 1 + test_random(&random) % 300;
            size_t value_size = test_random(&random) % 50 == 0 ? sizeof value : test_random(&random) % 300;
            bool deletion = test_random(&random) % 4 == 0;
            memset(key, (int)test_random(&random), key_size);
            memset(value, (int)test_random(&random), value_size);
            value_size = deletion ? 0 : value_size;
            OK(deletion ? nokv_batch_delete(b, key, key_size) : nokv_batch_put(b, key, key_size, value, value_size));
            wanted.tags[wanted.count] = key_tag(first + wanted.count, deletion ? KEY_TOMBSTONE : KEY_VALUE);
            wanted.key_sizes[wanted.count] = key_size;
            wanted.value_sizes[wanted.count++] = value_size;
            for (size_t i = 0; i < key_size; i++)
                wanted.bytes_hash = wanted.bytes_hash * 31 + key[i] + 1;
            for (size_t i = 0; i < value_size; i++)
                wanted.bytes_hash = wanted.bytes_hash * 31 + value[i] + 1;
        }
        assert_int_equal(nokv_batch_count(b), wanted.count);
        batch_seal(b, first);
        OK(decode(buf_slice(&b->bytes), &got));
        assert_memory_equal(&wanted, &got, sizeof wanted);
    }
    nokv_batch_destroy(b);
}

/* The last sequence number that a write may have is read again, one more is not. */
static void test_last_sequence_number(void **state)
{
    (void)state;
    struct decoded d;
    nokv_batch *b = NULL;
    OK(nokv_batch_create(&b));
    OK(nokv_batch_put(b, "k", 1, "v", 1));
    OK(nokv_batch_put(b, "l", 1, "v", 1));
    batch_seal(b, KEY_SEQ_MAX - 1);
    OK(decode(buf_slice(&b->bytes), &d));
    assert_int_equal(d.count, 2);
    assert_int_equal(d.tags[1], key_tag(KEY_SEQ_MAX, KEY_VALUE));
    batch_seal(b, KEY_SEQ_MAX);
    FAILS(CORRUPT, decode(buf_slice(&b->bytes), &d));
    nokv_batch_destroy(b);
}

/* What is beyond the limits is refused with its code, and leaves the batch as it was. */
static void test_limits(void **state)
{
    (void)state;
    static uint8_t big[NOKV_KEY_SIZE_MAX + 1];
    nokv_batch *b = NULL;
    FAILS(INVALID, nokv_batch_create(NULL));
    OK(nokv_batch_create(&b));
    OK(nokv_batch_put(b, "k", 1, "v", 1));
    size_t size = b->bytes.size;
    FAILS(INVALID, nokv_batch_put(b, "", 0, "v", 1));
    FAILS(INVALID, nokv_batch_put(b, NULL, 3, "v", 1));
    FAILS(INVALID, nokv_batch_put(b, "k", 1, NULL, 1));
    FAILS(INVALID, nokv_batch_delete(b, "", 0));
    FAILS(TOO_LARGE, nokv_batch_put(b, big, sizeof big, "v", 1));
    FAILS(TOO_LARGE, nokv_batch_delete(b, big, sizeof big));
    FAILS(TOO_LARGE, nokv_batch_put(b, "k", 1, big, NOKV_VALUE_SIZE_MAX + 1));
    FAILS(TOO_LARGE, nokv_batch_put(b, "k", 1, big, SIZE_MAX));
    assert_int_equal(b->bytes.size, size);
    assert_int_equal(nokv_batch_count(b), 1);
    OK(nokv_batch_put(b, big, NOKV_KEY_SIZE_MAX, NULL, 0));
    b->bytes.size = NOKV_BATCH_SIZE_MAX - 10; /* pretended: nobody wants to fill 2,000 MiB here */
    FAILS(TOO_LARGE, nokv_batch_put(b, "k", 1, "v", 1));
    b->bytes.size = size;
    nokv_batch_clear(b);
    assert_int_equal(nokv_batch_count(b), 0);
    nokv_batch_destroy(b);
    nokv_batch_destroy(NULL);
}

/* Without memory an entry is refused and the batch stays as it was. */
static void test_no_memory(void **state)
{
    (void)state;
    static uint8_t big[1 << 16];
    nokv_batch *b = NULL;
    mem_fail_after(0);
    FAILS(NO_MEMORY, nokv_batch_create(&b));
    OK(nokv_batch_create(&b));
    OK(nokv_batch_put(b, "k", 1, "v", 1));
    mem_fail_after(0);
    FAILS(NO_MEMORY, nokv_batch_put(b, "k", 1, big, sizeof big));
    mem_fail_after(UINT64_MAX);
    assert_int_equal(nokv_batch_count(b), 1);
    OK(nokv_batch_put(b, "k", 1, big, sizeof big));
    nokv_batch_destroy(b);
}

/* ---- hostile bytes ---------------------------------------------------------------------------------------------- */

/* A batch of three entries. */
static struct buf sample(void)
{
    nokv_batch *b = NULL;
    OK(nokv_batch_create(&b));
    OK(nokv_batch_put(b, "apple", 5, "green", 5));
    OK(nokv_batch_delete(b, "pear", 4));
    OK(nokv_batch_put(b, "fig", 3, "", 0));
    batch_seal(b, 100);
    struct buf bytes = b->bytes;
    b->bytes = (struct buf){0};
    nokv_batch_destroy(b);
    return bytes;
}

/* Cut short anywhere, or with a byte more, it is CORRUPT: never a part of it. */
static void test_truncated(void **state)
{
    (void)state;
    struct buf bytes = sample();
    for (size_t size = 0; size < bytes.size; size++)
        assert_refused(NOKV_ERR_CORRUPT, slice_make(bytes.data, size));
    OK(buf_append(&bytes, "", 1));
    assert_refused(NOKV_ERR_CORRUPT, buf_slice(&bytes));
    buf_deinit(&bytes);
}

/* Every flipped bit is refused or changes what the batch says. */
static void test_bit_flips(void **state)
{
    (void)state;
    struct buf bytes = sample();
    struct decoded before, after;
    OK(decode(buf_slice(&bytes), &before));
    for (size_t bit = 0; bit < bytes.size * 8; bit++) {
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        enum nokv_status status = decode(buf_slice(&bytes), &after);
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (status == NOKV_OK && memcmp(&before, &after, sizeof before) == 0)
            fail_msg("bit %zu of byte %zu makes no difference", bit % 8, bit / 8);
        if (status != NOKV_OK)
            assert_true(status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED);
    }
    buf_deinit(&bytes);
}

/* Headers and entries that no writer makes, one by one. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        enum nokv_status status;
        uint8_t size;
        uint8_t bytes[40];
    } cases[] = {
        {NOKV_ERR_NOT_SUPPORTED, 19, {2, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1}},   /* version */
        {NOKV_ERR_NOT_SUPPORTED, 19, {1, 1, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1}},   /* flags */
        {NOKV_ERR_CORRUPT, 21, {1, 0, 1, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 'k'}}, /* zeros */
        {NOKV_ERR_CORRUPT, 16, {1, 0, 0, 0, 0, 0, 0, 0, 7}},                                       /* empty */
        {NOKV_ERR_CORRUPT, 21, {1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 'k'}}, /* seq 0 */
        {NOKV_ERR_CORRUPT, 21, {1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0, 'k'}}, /* seq 2^56 */
        {NOKV_ERR_CORRUPT, 21, {1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 7, 0,  0,
                                0, 0, 0, 0, 0,    1,    0,    1,    0, 'k'}},                               /* count */
        {NOKV_ERR_NOT_SUPPORTED, 21, {1, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 'k'}},    /* kind */
        {NOKV_ERR_NOT_SUPPORTED, 21, {1, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 'k'}},    /* merge */
        {NOKV_ERR_NOT_SUPPORTED, 21, {1, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0x41, 0, 1, 0, 'k'}}, /* a bit */
        {NOKV_ERR_NOT_SUPPORTED, 21, {1, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 'k'}},    /* family */
        {NOKV_ERR_CORRUPT, 20, {1, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}},               /* no key */
        {NOKV_ERR_CORRUPT, 21, {1, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 'k'}}, /* key size */
        {NOKV_ERR_CORRUPT, 21, {1, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 'k'}}, /* value size */
        {NOKV_ERR_CORRUPT, 25, {1, 0, 0, 0, 1, 0, 0,    0,    7,    0,    0,    0,  0,
                                0, 0, 0, 1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 'k'}},
        {NOKV_ERR_CORRUPT, 26, {1, 0, 0, 0, 1, 0, 0,    0,    7,    0,    0,    0, 0,
                                0, 0, 0, 1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 'k'}},
        {NOKV_ERR_CORRUPT, 22, {1, 0, 0, 0, 1, 0, 0, 0, 7, 0,   0,
                                0, 0, 0, 0, 0, 0, 0, 1, 1, 'k', 'v'}}, /* a value deleted */
        {NOKV_ERR_CORRUPT, 22, {1, 0, 0, 0, 1, 0,    0, 0, 7, 0,   0,
                                0, 0, 0, 0, 0, 0x11, 0, 1, 1, 'k', 'v'}}, /* no expiry */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        printf("case %zu\n", i);
        assert_refused(cases[i].status, slice_make(cases[i].bytes, cases[i].size));
    }
}

/* Any bytes behind a plausible header: entries or a refusal, and never more entries than bytes. */
static void test_random_bytes(void **state)
{
    (void)state;
    uint64_t random = test_seed(3);
    for (int i = 0; i < 50000; i++) {
        uint8_t bytes[96];
        struct decoded d;
        size_t size = BATCH_HEADER + test_random(&random) % (sizeof bytes - BATCH_HEADER);
        batch_header_encode(bytes, (uint32_t)(1 + test_random(&random) % 4), 1 + test_random(&random) % 1000);
        for (size_t k = BATCH_HEADER; k < size; k++)
            bytes[k] = (uint8_t)(test_random(&random) >> (test_random(&random) % 8));
        enum nokv_status status = decode(slice_make(bytes, size), &d);
        assert_true(status == NOKV_OK || status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED);
        assert_true(d.count <= size);
    }
}

int main(int argc, char **argv)
{
    assert(argc > 1);
    page = argv[argc - 1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),       cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_last_sequence_number),
        cmocka_unit_test(test_no_memory),    cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_bit_flips),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
