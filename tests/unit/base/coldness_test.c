// SPDX-License-Identifier: Apache-2.0
/* coldness_test.c - when slow and fast reads make a mapping cold and hot again. */
#include "base/coldness.h"
#include "test.h"

static unsigned notes(struct coldness *c, unsigned count, uint64_t ns)
{
    unsigned changes = 0;
    for (unsigned i = 0; i < count; i++)
        changes += coldness_note(c, ns);
    return changes;
}

/* Three slow reads with few fast ones between them make it cold; fast ones make it hot again, later the colder it was;
 * each change is told once. */
static void test_there_and_back(void **state)
{
    (void)state;
    struct coldness c = {0};
    assert_int_equal(notes(&c, 1000, COLDNESS_NS - 1), 0);
    assert_int_equal(notes(&c, 2, COLDNESS_NS), 0);
    assert_false(coldness_is_cold(&c));
    assert_int_equal(notes(&c, 1, COLDNESS_NS), 1);
    assert_true(coldness_is_cold(&c));
    assert_int_equal(notes(&c, COLDNESS_ENTER - 1, 0), 0);
    assert_true(coldness_is_cold(&c));
    assert_int_equal(notes(&c, 1, 0), 1);
    assert_false(coldness_is_cold(&c));
    assert_int_equal(notes(&c, 1000, COLDNESS_NS), 1);
    assert_int_equal(notes(&c, COLDNESS_MAX - 1, 0), 0);
    assert_int_equal(notes(&c, 1, 0), 1);
    assert_int_equal(atomic_load(&c.changes), 4);
}

/* One slow read in COLDNESS_STEP + 1 is what it comes back from. */
static void test_few_slow_reads(void **state)
{
    (void)state;
    struct coldness c = {0};
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(notes(&c, 1, COLDNESS_NS), 0);
        assert_int_equal(notes(&c, COLDNESS_STEP, 0), 0);
    }
    assert_int_equal(atomic_load(&c.score), 0);
}

/*
 * A thread has found that it is cold, and sleeps before it says so; the others, who see hot reads only, have brought
 * the score down to 0 by then, where it does not change any more. They make it hot again nevertheless.
 */
static void test_a_late_change(void **state)
{
    (void)state;
    struct coldness c = {0};
    atomic_store(&c.is_cold, true);
    assert_int_equal(notes(&c, 1, 0), 1);
    assert_false(coldness_is_cold(&c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_few_slow_reads),
        cmocka_unit_test(test_a_late_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
