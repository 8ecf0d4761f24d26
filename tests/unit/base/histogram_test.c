// SPDX-License-Identifier: Apache-2.0
/* Histograms: percentiles are at most an eighth too high and never too low, from 0 to UINT64_MAX. */
#include "base/histogram.h"

#include "base/thread.h"
#include "test.h"

/* One value is every percentile, within an eighth above it. */
static void error_is_bounded(void **state)
{
    (void)state;
    uint64_t random = test_seed(1);
    for (int i = 0; i < 2000; i++) {
        static struct histogram h;
        memset(&h, 0, sizeof h);
        uint64_t v = test_random(&random) >> test_random(&random) % 64;
        if (i < 64)
            v = (1ull << i) - 1;
        else if (i < 128)
            v = 1ull << (i - 64);
        histogram_add(&h, v);
        assert_int_equal(histogram_count(&h), 1);
        for (int p = 0; p <= 4; p++) {
            uint64_t shown = histogram_percentile(&h, p / 4.0);
            assert_true(shown >= v);
            assert_true(shown - v <= v / 8);
        }
    }
}

/* The extremes have buckets. */
static void extremes(void **state)
{
    (void)state;
    static struct histogram h;
    assert_int_equal(histogram_percentile(&h, 0.5), 0);
    assert_int_equal(histogram_count(&h), 0);
    histogram_add(&h, UINT64_MAX);
    assert_true(histogram_percentile(&h, 1.0) == UINT64_MAX);
    histogram_add(&h, 0);
    assert_int_equal(histogram_percentile(&h, 0.0), 0);
    assert_int_equal(histogram_count(&h), 2);
}

/* Percentiles of an even spread come out where they belong. */
static void percentiles_of_a_spread(void **state)
{
    (void)state;
    static struct histogram h;
    for (uint64_t v = 1; v <= 10000; v++)
        histogram_add(&h, v);
    static const double parts[] = {0.01, 0.1, 0.5, 0.9, 0.99, 0.999};
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        double exact = parts[i] * 10000, shown = (double)histogram_percentile(&h, parts[i]);
        assert_true(shown >= exact && shown <= exact * 1.13 + 2);
    }
    assert_true(atomic_load(&h.sum) == 10000ull * 10001 / 2);
}

static struct histogram shared;

static void *add_many(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < 10000; i++)
        histogram_add(&shared, i);
    return NULL;
}

/* Nothing that several threads add is lost, and reading meanwhile is sound. */
static void threads_add(void **state)
{
    (void)state;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        OK(thread_create(&threads[i], "adder", add_many, NULL));
    assert_true(histogram_percentile(&shared, 0.5) <= 10239);
    for (int i = 0; i < 3; i++)
        thread_join(threads[i]);
    assert_int_equal(histogram_count(&shared), 30000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_is_bounded),
        cmocka_unit_test(extremes),
        cmocka_unit_test(percentiles_of_a_spread),
        cmocka_unit_test(threads_add),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
