// SPDX-License-Identifier: Apache-2.0
/* The laboratory's arithmetic: who wins a row and when it is a tie, verdicts, permutations, the cache of pages. */
#include "lab/lab.h"

#include "lab/reads.h"
#include "test.h"

static struct lab lab;

static void add(struct lab_row *row, unsigned model, const char *option, const char *name, const double *values,
                size_t n)
{
    struct lab_contender *c = lab_contender_add(&lab, row, model, option, "%s", name);
    for (size_t i = 0; i < n; i++) {
        struct lab_sample sample = lab_sample_none();
        sample.v[row->figure] = values[i];
        lab_contender_sample(c, &sample);
    }
}

#define ADD(row, model, option, name, ...) \
    add(row, model, option, name, (const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

static struct lab_row *row_make(enum lab_figure figure, enum lab_choice choice)
{
    return lab_row_add(&lab, 1, figure, choice, "group", "label");
}

/* The best median wins, and is compared with the best of another model, whichever direction is better. */
static void winner_is_the_best_median(void **state)
{
    (void)state;
    memset(&lab, 0, sizeof lab);
    struct lab_row *rates = row_make(LAB_RATE, LAB_NO_CHOICE);
    ADD(rates, IO_STD, "", "a", 10, 11, 12);
    ADD(rates, IO_MMAP, "", "b", 30, 90, 33);
    ADD(rates, IO_MMAP, "", "c", 29, 30, 31);
    struct lab_winner w = lab_row_winner(rates);
    assert_int_equal(w.index, 1);
    assert_int_equal(w.second, 0);
    assert_true(fabs(w.ratio - 3) < 1e-9);
    assert_false(w.is_a_tie);
    struct lab_row *times = row_make(LAB_P99_US, LAB_NO_CHOICE);
    ADD(times, IO_STD, "", "a", 10, 12, 14);
    ADD(times, IO_DIRECT, "", "b", 2, 3, 4);
    w = lab_row_winner(times);
    assert_int_equal(w.index, 1);
    assert_true(fabs(w.ratio - 4) < 1e-9);
}

/* Who is not better in every round has a tie, however the ranges lie; so are medians within 2 %. Without any figure
 * there is no winner. */
static void ties_and_nothing(void **state)
{
    (void)state;
    memset(&lab, 0, sizeof lab);
    struct lab_row *overlap = row_make(LAB_RATE, LAB_NO_CHOICE);
    ADD(overlap, IO_STD, "", "a", 10, 20, 30);
    ADD(overlap, IO_MMAP, "", "b", 29, 40, 50);
    assert_false(lab_row_winner(overlap).is_a_tie); /* the ranges overlap, each round is clear */
    struct lab_row *crossing = row_make(LAB_RATE, LAB_NO_CHOICE);
    ADD(crossing, IO_STD, "", "a", 10, 20, 51);
    ADD(crossing, IO_MMAP, "", "b", 29, 40, 50);
    assert_true(lab_row_winner(crossing).is_a_tie);
    struct lab_row *near = row_make(LAB_RATE, LAB_NO_CHOICE);
    ADD(near, IO_STD, "", "a", 100, 100, 100);
    ADD(near, IO_MMAP, "", "b", 101, 101, 101);
    assert_true(lab_row_winner(near).is_a_tie);
    struct lab_row *none = row_make(LAB_RATE, LAB_NO_CHOICE);
    ADD(none, IO_STD, "", "a", NAN);
    assert_int_equal(lab_row_winner(none).index, -1);
    assert_true(isnan(lab_row_part_of_best(none, 0)));
}

/* Costs of nothing at all: equal among themselves, and beside them no ratio without an end. */
static void zeros(void **state)
{
    (void)state;
    memset(&lab, 0, sizeof lab);
    struct lab_row *row = row_make(LAB_CALLS, LAB_NO_CHOICE);
    ADD(row, IO_STD, "", "a", 1, 1);
    ADD(row, IO_MMAP, "", "b", 0, 0);
    struct lab_winner w = lab_row_winner(row);
    assert_int_equal(w.index, 1);
    assert_true(isfinite(w.ratio) && w.ratio > 999);
    struct lab_row *both = row_make(LAB_CALLS, LAB_NO_CHOICE);
    ADD(both, IO_STD, "", "a", 0);
    ADD(both, IO_MMAP, "", "b", 0);
    assert_true(lab_row_winner(both).is_a_tie);
}

/* A verdict is the geometric mean over the rows of its option, of values that were measured in all of them. */
static void verdict_is_the_geometric_mean(void **state)
{
    (void)state;
    struct lab_verdict v;
    memset(&lab, 0, sizeof lab);
    assert_false(lab_verdict_make(&lab, LAB_WAL_WRITE, &v));
    struct lab_row *one = row_make(LAB_RATE, LAB_WAL_WRITE), *two = row_make(LAB_P99_US, LAB_WAL_WRITE);
    ADD(one, IO_STD, "std", "a", 50);
    ADD(one, IO_DIRECT, "direct", "b", 100);
    ADD(one, IO_URING, "uring", "c", 100);
    ADD(one, IO_URING, "", "of no option", 1000);
    ADD(two, IO_STD, "std", "a", 10);
    ADD(two, IO_DIRECT, "direct", "b", 80);
    assert_true(lab_verdict_make(&lab, LAB_WAL_WRITE, &v));
    assert_int_equal(v.rows, 2);
    assert_int_equal(v.count, 2); /* uring has no figure in the second row */
    assert_string_equal(v.values[0].option, "std");
    assert_true(fabs(v.values[0].score - sqrt(0.5)) < 1e-9);
    assert_true(fabs(v.values[1].score - sqrt(1.0 / 8)) < 1e-9);
    assert_ptr_equal(v.standard_value, &v.values[0]);
    assert_ptr_equal(v.values[1].worst_row, two);
    char text[512];
    lab_verdict_text(&v, text, sizeof text);
    assert_non_null(strstr(text, "wal_write = std is the best over 2 rows, and the default"));
}

/* Every place is taken once, for counts around powers of two, and two seeds differ. */
static void permutation_is_one(void **state)
{
    (void)state;
    static const uint64_t counts[] = {1, 2, 3, 4, 5, 63, 64, 65, 1000, 4097};
    static bool taken[4097];
    uint64_t seed = test_seed(11), differ = 0;
    for (unsigned c = 0; c < ARRAY_COUNT(counts); c++) {
        memset(taken, 0, sizeof taken);
        for (uint64_t i = 0; i < counts[c]; i++) {
            uint64_t place = lab_permute(i, counts[c], seed);
            assert_true(place < counts[c] && !taken[place]);
            taken[place] = true;
            differ += place != lab_permute(i, counts[c], seed + 1);
        }
    }
    assert_true(differ > 1000);
}

/* What the cache gives is what was put; it holds what it has room for, and never more. */
static void cache_gives_what_was_put(void **state)
{
    (void)state;
    uint8_t page[PAGE_BYTES], got[PAGE_BYTES];
    uint64_t hits = 0, room = 1024, seed = test_seed(12);
    struct lab_cache *cache = lab_cache_create(room * PAGE_BYTES);
    assert_non_null(cache);
    for (uint64_t i = 0; i < 4 * room; i++) {
        lab_fill(seed, i, page, sizeof page);
        lab_cache_put(cache, i, page);
        assert_true(lab_cache_get(cache, i, got));
        assert_memory_equal(got, page, sizeof page);
    }
    for (uint64_t i = 0; i < 4 * room; i++) {
        if (!lab_cache_get(cache, i, got))
            continue;
        lab_fill(seed, i, page, sizeof page);
        assert_memory_equal(got, page, sizeof page);
        hits++;
    }
    assert_true(hits > room / 2 && hits <= room);
    lab_cache_destroy(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(winner_is_the_best_median),
        cmocka_unit_test(ties_and_nothing),
        cmocka_unit_test(zeros),
        cmocka_unit_test(verdict_is_the_geometric_mean),
        cmocka_unit_test(permutation_is_one),
        cmocka_unit_test(cache_gives_what_was_put),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
