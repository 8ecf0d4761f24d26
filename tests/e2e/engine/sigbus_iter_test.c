// SPDX-License-Identifier: Apache-2.0
/*
 * Iterators over several overlapping sorted runs, one of which loses half of its bytes: each ends with a status.
 *
 * The test never touches a key or value that an iterator shows: those bytes are the caller's to touch. Iterators that
 * stand in the missing half when it happens are in sigbus_merge_test.c.
 */
#include "sigbus_fixture.h"

static void forward_in_first_half(const char *dir)
{
    cut_under_way(dir, FORWARD, KEYS / 4);
}

/* A walk forward that meets the missing half. */
static void test_forward_into_it(void **state)
{
    (void)state;
    child_passes(forward_in_first_half);
}

static void new_iterators(const char *dir)
{
    struct bed b;
    nokv_iter *iter;
    char path[600], key[KEY_SIZE + 1];
    bed_init(&b, dir, KEYS, 96);
    bed_fill(&b);
    all_hot(&b);
    file_find(b.path, ".sst", 1, path);
    file_halve(path);
    for (unsigned way = FORWARD; way <= BACKWARD; way++) {
        CHECK_OK(nokv_iter_create(b.db, NULL, &iter));
        iter_begin(iter, way);
        (void)iter_walk(iter, way, KEYS);
        iter_is_damaged(iter);
        for (unsigned i = 0; i < KEYS; i += 997) {
            key_make(i, key);
            way == FORWARD ? nokv_iter_seek(iter, key, KEY_SIZE) : nokv_iter_seek_for_prev(iter, key, KEY_SIZE);
            CHECK(nokv_iter_valid(iter) || is_damage(nokv_iter_status(iter)));
            (void)iter_walk(iter, way, 50);
        }
        nokv_iter_destroy(iter);
    }
    (void)nokv_close(b.db);
}

/* Iterators that are created after the cut, walks and seeks both ways. */
static void test_new_iterators(void **state)
{
    (void)state;
    child_passes(new_iterators);
}

static void segment_scan(const char *dir, nokv_vlog_read model)
{
    struct bed b;
    nokv_iter *iter;
    char vlog[400], path[600];
    unsigned shown = 0;
    bed_init(&b, dir, 4000, 2000);
    b.options.vlog_read = model;
    bed_fill(&b);
    all_hot(&b);
    CHECK_OK(nokv_iter_create(b.db, NULL, &iter));
    nokv_iter_first(iter);
    CHECK(iter_walk(iter, FORWARD, 100));
    snprintf(vlog, sizeof vlog, "%s/vlog", b.path);
    file_find(vlog, ".vlog", 0, path);
    file_halve(path);
    for (enum way way = FORWARD; way <= BACKWARD; way++) {
        while (nokv_iter_valid(iter)) {
            bool is_there = nokv_iter_value(iter).data != NULL; /* otherwise it is not valid any more */
            CHECK(is_there == nokv_iter_valid(iter));
            shown += is_there;
            if (is_there)
                iter_move(iter, way, 0);
        }
        CHECK(nokv_iter_status(iter) == NOKV_OK || is_damage(nokv_iter_status(iter)));
        CHECK(model == NOKV_VLOG_READ_MMAP || is_damage(nokv_iter_status(iter)));
        nokv_iter_last(iter);
    }
    CHECK(shown > 0);
    nokv_iter_destroy(iter);
    (void)nokv_close(b.db);
}

static void segment_scan_mmap(const char *dir)
{
    segment_scan(dir, NOKV_VLOG_READ_MMAP);
}

static void segment_scan_pread(const char *dir)
{
    segment_scan(dir, NOKV_VLOG_READ_PREAD);
}

/* A scan that asks for values in a segment of the value log that was cut short. */
static void test_segment_scan(void **state)
{
    (void)state;
    child_passes(segment_scan_mmap);
    child_passes(segment_scan_pread);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward_into_it),
        cmocka_unit_test(test_new_iterators),
        cmocka_unit_test(test_segment_scan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
