// SPDX-License-Identifier: Apache-2.0
/*
 * A file that is cut inside of a page: what is behind the cut in that page reads as zeros, without a fault. A value
 * there must be an error or right, as everywhere.
 *
 * Not in CMakeLists.txt: test_value_across_the_cut fails. A record whose checksum was verified once is believed from
 * then on (src/vlog/reader.c), and a get gives its value, zeros included, with NOKV_OK. It belongs on the list if that
 * is to be caught:
 *
 *     nokv_test(sigbus_page_test SOURCES sigbus_page_test.c MODULES db LABELS slow e2e)
 */
#include "sigbus_fixture.h"

static const off_t cuts[] = {8, 100, 1000, 2048, 4000, 4088};

static void each_cut(const char *dir, const char *suffix, size_t value_size)
{
    for (size_t i = 0; i < ARRAY_COUNT(cuts); i++) {
        struct bed b;
        char sub[300], files[420], path[600];
        snprintf(sub, sizeof sub, "%s/%zu", dir, i);
        CHECK(mkdir(sub, 0755) == 0);
        bed_init(&b, sub, 2000, value_size);
        b.options.vlog_read = NOKV_VLOG_READ_MMAP;
        bed_fill(&b);
        all_hot(&b);
        snprintf(files, sizeof files, "%s%s", b.path, strcmp(suffix, ".vlog") == 0 ? "/vlog" : "");
        file_find(files, suffix, 0, path);
        file_cut(path, cuts[i]);
        for (unsigned run = 0; run < RUNS; run++)
            (void)run_check(&b, run);
        (void)nokv_close(b.db);
    }
}

static void tables(const char *dir)
{
    each_cut(dir, ".sst", 400);
}

/* A table: keys and small values. */
static void test_table_across_the_cut(void **state)
{
    (void)state;
    child_passes(tables);
}

static void segments(const char *dir)
{
    each_cut(dir, ".vlog", 2000);
}

/* A segment of the value log, mapped. */
static void test_value_across_the_cut(void **state)
{
    (void)state;
    child_passes(segments);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_across_the_cut),
        cmocka_unit_test(test_value_across_the_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
