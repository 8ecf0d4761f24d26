// SPDX-License-Identifier: Apache-2.0
/*
 * golden_test.c - the example in docs/formats/rlog.md is what the code writes, and what it can read.
 *
 * The page is the golden image of version 1: when this fails, either the format was changed by accident, or the page
 * and the version are to be changed with it.
 */
#include "log_fixture.h"

static const char *page; /* path of the format's page */

/* The bytes of the hex dump behind the line "<!-- example -->". */
static struct image load_example(void)
{
    FILE *file = fopen(page, "r");
    assert_non_null(file);
    struct image image = {.bytes = calloc(1, 4096)};
    char line[400];
    bool found = false;
    while (fgets(line, sizeof line, file) && !found)
        found = strcmp(line, "<!-- example -->\n") == 0;
    assert_true(found);
    while (fgets(line, sizeof line, file) && strcmp(line, "```\n") != 0) {
        char *end, *p = line;
        assert_int_equal(strtoul(p, &end, 16), image.size);
        for (p = end; *p && *p != '|'; p = end) {
            unsigned long byte = strtoul(p, &end, 16);
            if (end == p)
                break;
            assert_true(byte < 256 && image.size < 4096);
            image.bytes[image.size++] = (uint8_t)byte;
        }
    }
    fclose(file);
    return image;
}

static void append_text(struct fixture *f, const char *text)
{
    struct slice part = slice_make(text, strlen(text));
    OK(rlog_append(f->writer, &part, 1));
}

/* The steps that the page names give the bytes that the page shows, with a ring and without. */
static void test_written_as_documented(void **state)
{
    (void)state;
    struct image example = load_example();
    for (size_t ring = 0; ring <= 4096; ring += 4096) {
        struct fixture f;
        fixture_init_log(&f, ring);
        append_text(&f, "hello");
        OK(rlog_sync(f.writer));
        append_text(&f, "wide world");
        OK(rlog_seal(f.writer));
        struct image written = image_load(f.path);
        assert_int_equal(written.size, example.size);
        assert_memory_equal(written.bytes, example.bytes, written.size);
        free(written.bytes);
        fixture_deinit(&f);
    }
    free(example.bytes);
}

/* The bytes that the page shows read as the records that the page names. */
static void test_read_as_documented(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t off;
    } records[] = {{"hello", 0x40}, {"wide world", 0x70}};
    struct image example = load_example();
    struct fixture f;
    fixture_init(&f, 0);
    image_store(f.path, example.bytes, example.size);
    struct rlog_reader_options options = reader_options(&f, (struct slice){0});
    struct rlog_reader *r;
    OK(rlog_reader_open(&options, &r));
    struct slice payload;
    uint64_t off;
    bool more;
    for (size_t i = 0; i < ARRAY_COUNT(records); i++) {
        OK(rlog_reader_next(r, &payload, &off, &more));
        assert_true(more && off == records[i].off);
        assert_true(slice_equal(payload, slice_make(records[i].text, strlen(records[i].text))));
    }
    OK(rlog_reader_next(r, &payload, &off, &more));
    assert_false(more);
    struct rlog_end_report report;
    rlog_reader_end(r, &report);
    assert_true(report.sealed && report.end_off == example.size);
    rlog_reader_close(r);
    fixture_deinit(&f);
    free(example.bytes);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_as_documented),
        cmocka_unit_test(test_read_as_documented),
    };
    if (argc != 2)
        return 2;
    page = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
