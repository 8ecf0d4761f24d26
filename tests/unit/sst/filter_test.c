// SPDX-License-Identifier: Apache-2.0
/* The filter: it never forgets a key, and lets few others through. */
#include "test.h"

#include "base/hash.h"
#include "sst/filter.h"

static double false_positives(uint64_t keys, uint32_t bits_per_key, uint64_t *random)
{
    enum { ASKED = 200000 };
    uint64_t lines = sst_filter_lines(keys, bits_per_key), *hashes = calloc(keys, sizeof *hashes);
    unsigned probes = sst_filter_probes(bits_per_key);
    uint8_t *data = calloc(lines, SST_FILTER_LINE_BYTES);
    assert_non_null(hashes);
    assert_non_null(data);
    uint64_t base = test_random(random);
    for (uint64_t i = 0; i < keys; i++) {
        uint64_t key = base + i;
        hashes[i] = hash64(&key, sizeof key);
    }
    sst_filter_build(data, lines, probes, hashes, keys);
    for (uint64_t i = 0; i < keys; i++)
        assert_true(sst_filter_line_has(data + sst_filter_line(hashes[i], lines) * 64, hashes[i], probes));
    int wrong = 0;
    for (uint64_t i = 0; i < ASKED; i++) {
        uint64_t key = base + keys + i, hash = hash64(&key, sizeof key);
        wrong += sst_filter_line_has(data + sst_filter_line(hash, lines) * 64, hash, probes);
    }
    free(hashes);
    free(data);
    return (double)wrong / ASKED;
}

/* Ten bits per key let about 1% of absent keys through, whatever the number of keys; more bits let fewer through. */
static void test_rate(void **state)
{
    (void)state;
    uint64_t random = test_seed(3);
    const uint64_t counts[] = {20000, 100000, 500000};
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        double rate = false_positives(counts[i], 10, &random);
        printf("10 bits per key, %llu keys: %.2f%%\n", (unsigned long long)counts[i], 100 * rate);
        assert_true(rate < 0.014);
    }
    const uint32_t bits[] = {1, 4, 8, 16, 32};
    double last = 1;
    for (size_t i = 0; i < ARRAY_COUNT(bits); i++) {
        double rate = false_positives(100000, bits[i], &random);
        printf("%u bits per key: %.3f%%\n", bits[i], 100 * rate);
        assert_true(rate < last);
        last = rate;
    }
    assert_true(last < 0.001);
}

/* Sizes at the edges: one key has one line; probes stay between one and what a 64-bit product can give. */
static void test_sizes(void **state)
{
    (void)state;
    assert_int_equal(sst_filter_lines(1, 1), 1);
    assert_int_equal(sst_filter_lines(51, 10), 1);
    assert_int_equal(sst_filter_lines(52, 10), 2);
    assert_int_equal(sst_filter_probes(1), 1);
    assert_int_equal(sst_filter_probes(10), 6);
    assert_int_equal(sst_filter_probes(64), 7);
}

/* What the filter lets through wrongly is stopped by the fingerprint as well as any other key: it uses other bits. */
static void test_fingerprint_is_independent(void **state)
{
    (void)state;
    enum { KEYS = 100000, ASKED = 3000000 };
    uint64_t lines = sst_filter_lines(KEYS, 10), passed = 0, equal = 0;
    uint8_t *data = calloc(lines, SST_FILTER_LINE_BYTES);
    uint64_t *hashes = calloc(KEYS, sizeof *hashes);
    assert_non_null(data);
    assert_non_null(hashes);
    for (uint64_t i = 0; i < KEYS; i++)
        hashes[i] = hash64(&i, sizeof i);
    sst_filter_build(data, lines, 6, hashes, KEYS);
    for (uint64_t i = KEYS; i < KEYS + ASKED; i++) {
        uint64_t hash = hash64(&i, sizeof i);
        if (!sst_filter_line_has(data + sst_filter_line(hash, lines) * 64, hash, 6))
            continue;
        passed++;
        equal += (uint8_t)(hash >> 32) == (uint8_t)(hashes[i % KEYS] >> 32);
    }
    assert_in_range(passed, 10000, 60000);
    assert_in_range(equal * 256, passed / 2, passed * 2); /* 1 in 256 */
    free(data);
    free(hashes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_fingerprint_is_independent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
