// SPDX-License-Identifier: Apache-2.0
/*
 * Iterators over several overlapping sorted runs that stand in a run when it loses those bytes: each ends with a
 * status, none with the process. Merging, and skipping old versions, compare keys that may be gone.
 *
 * The keys are longer than what a merge remembers of them, so that it has to look at their bytes in the mapping.
 */
#include "sigbus_fixture.h"

static void forward_in_second_half(const char *dir)
{
    for (unsigned i = 0; i < 5; i++) { /* at different places of the windows that tables read ahead */
        char sub[300];
        snprintf(sub, sizeof sub, "%s/%u", dir, i);
        CHECK(mkdir(sub, 0755) == 0);
        cut_under_way(sub, FORWARD, KEYS * 3 / 4 + i * 13);
    }
}

static void backward_in_second_half(const char *dir)
{
    for (unsigned i = 0; i < 5; i++) {
        char sub[300];
        snprintf(sub, sizeof sub, "%s/%u", dir, i);
        CHECK(mkdir(sub, 0755) == 0);
        cut_under_way(sub, BACKWARD, KEYS / 4 + i * 13);
    }
}

static void turning_in_second_half(const char *dir)
{
    cut_under_way(dir, TURNING, KEYS * 3 / 4);
}

/* A walk forward that stands in the missing half. */
static void test_forward_inside(void **state)
{
    (void)state;
    child_passes(forward_in_second_half);
}

/* A walk backward that stands in the missing half. */
static void test_backward_inside(void **state)
{
    (void)state;
    child_passes(backward_in_second_half);
}

/* One that turns every few entries. */
static void test_turning_inside(void **state)
{
    (void)state;
    child_passes(turning_in_second_half);
}

/* The same keys in each run: every entry but the newest of a key is skipped, which compares user keys. */
static void many_versions(const char *dir, enum way way)
{
    struct bed b;
    nokv_iter *iter;
    char path[600], key[KEY_SIZE + 1];
    uint8_t value[VALUE_SIZE_MAX];
    bed_init(&b, dir, KEYS / RUNS, 96);
    CHECK_OK(nokv_open(b.path, &b.options, &b.db));
    for (unsigned run = 0; run < RUNS; run++) {
        for (unsigned i = 0; i < b.keys; i++) {
            key_make(i, key);
            CHECK_OK(nokv_put(b.db, key, KEY_SIZE, value, value_make(i, b.value_size, value), NULL));
        }
        CHECK_OK(nokv_flush(b.db));
    }
    all_hot(&b);
    CHECK_OK(nokv_iter_create(b.db, NULL, &iter));
    iter_begin(iter, way);
    CHECK(iter_walk(iter, way, way == FORWARD ? b.keys * 3 / 4 : b.keys / 4));
    file_find(b.path, ".sst", RUNS - 1, path);
    file_halve(path);
    CHECK(!iter_walk(iter, way, b.keys));
    iter_is_damaged(iter);
    nokv_iter_destroy(iter);
    (void)nokv_close(b.db);
}

static void many_versions_forward(const char *dir)
{
    many_versions(dir, FORWARD);
}

static void many_versions_backward(const char *dir)
{
    many_versions(dir, BACKWARD);
}

/* Several versions of each key, the newest of which are gone, both ways. */
static void test_versions(void **state)
{
    (void)state;
    child_passes(many_versions_forward);
    child_passes(many_versions_backward);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward_inside),
        cmocka_unit_test(test_backward_inside),
        cmocka_unit_test(test_turning_inside),
        cmocka_unit_test(test_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
