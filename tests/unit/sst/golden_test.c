// SPDX-License-Identifier: Apache-2.0
/*
 * The golden image: the bytes of one small table, as they stand in docs/formats/sst.md between the two marks. The
 * builder must make exactly these, and the reader must understand them, for ever. NOKV_GOLDEN=1 prints what the builder
 * makes.
 */
#include "base/alloc.h"
#include "sst_model.h"

enum { DOC_BYTES_MAX = 1 << 20, IMAGE_BYTES_MAX = 1 << 16 };

static void model_make(struct model *m)
{
    static uint8_t long_value[3900];
    memset(long_value, 'v', sizeof long_value);
    model_add(m, "apple", 5, key_tag(1, KEY_VALUE), "red", 3);
    model_add(m, "apple", 5, key_tag(7, KEY_TOMBSTONE), "", 0);
    model_add(m, "apricot", 7, key_tag(2, KEY_VALUE), long_value, 3700);
    model_add(m, "banana", 6, key_tag(3, KEY_VALUE), "", 0);
    model_add(m, "banana", 6, key_tag(9, KEY_VALUE | KEY_HAS_EXPIRY), "\0\1\2\3\4\5\6\7yellow", 14);
    model_add(m, "cherry", 6, key_tag(4, KEY_VALUE_POINTER), "0123456789abcdef", 16);
    model_add(m, "fig", 3, key_tag(11, KEY_VALUE), long_value, sizeof long_value);
    model_add(m, "fig", 3, key_tag(12, KEY_VALUE), long_value, sizeof long_value);
    model_add(m, "\xff\0", 2, key_tag(5, KEY_VALUE), "last", 4);
    model_sort(m);
}

/* Lines of 16 bytes; a line of zeros is left out. */
static char *image_text(const uint8_t *data, size_t size)
{
    static const uint8_t zeros[16];
    char *text = malloc(size * 5 + 1), *p = text;
    assert_non_null(text);
    for (size_t i = 0; i < size; i += 16) {
        if (memcmp(data + i, zeros, 16) == 0)
            continue;
        if (i >= 64 && memcmp(data + i, data + i - 16, 16) == 0 && i + 16 < size &&
            memcmp(data + i, data + i + 16, 16) == 0) {
            if (p[-2] != '*')
                p += sprintf(p, "*\n");
            continue;
        }
        p += sprintf(p, "%06zx ", i);
        for (int k = 0; k < 16; k++)
            p += sprintf(p, " %02x", data[i + (size_t)k]);
        p += sprintf(p, "\n");
    }
    *p = 0;
    return text;
}

/* The other way; `*` repeats the line before up to the next one's offset. Returns the size: a multiple of a page. */
static size_t image_parse(const char *text, uint8_t *data)
{
    size_t last = 0;
    bool repeat = false;
    memset(data, 0, IMAGE_BYTES_MAX);
    for (const char *p = text; *p && *p != '<';) {
        if (*p == '*') {
            repeat = true;
        } else if (*p != '\n' && *p != '`') {
            char *rest;
            size_t at = strtoul(p, &rest, 16);
            assert_true(at + 16 <= IMAGE_BYTES_MAX);
            for (size_t i = last + 16; repeat && i < at; i += 16)
                memcpy(data + i, data + last, 16);
            for (int k = 0; k < 16; k++)
                data[at + (size_t)k] = (uint8_t)strtoul(rest, &rest, 16);
            last = at;
            repeat = false;
        }
        p = strchr(p, '\n') + 1;
    }
    return align_up(last + 1, PAGE_BYTES);
}

static size_t file_read(const char *path, void *data, size_t capacity)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t size = fread(data, 1, capacity, file);
    assert_true(size < capacity);
    fclose(file);
    return size;
}

/* The image in the documentation. Free it. */
static char *golden_text(void)
{
    char *doc = calloc(1, DOC_BYTES_MAX);
    assert_non_null(doc);
    file_read(GOLDEN_DOC, doc, DOC_BYTES_MAX);
    char *from = strstr(doc, "<!-- golden image, version 1 -->\n```\n");
    assert_non_null(from);
    from = strstr(from, "```\n") + 4;
    char *to = strstr(from, "```");
    assert_non_null(to);
    *to = 0;
    char *text = strdup(from);
    free(doc);
    return text;
}

/* The builder makes the documented bytes, and makes them again. */
static void test_builder_makes_it(void **state)
{
    (void)state;
    struct table t;
    struct model m = {0};
    model_make(&m);
    uint8_t *data = malloc(IMAGE_BYTES_MAX);
    table_open(&t, &m, model_options());
    char *text = image_text(data, file_read(t.path, data, IMAGE_BYTES_MAX));
    if (getenv("NOKV_GOLDEN"))
        fputs(text, stdout);
    char *golden = golden_text();
    assert_string_equal(text, golden);
    free(golden);
    free(text);
    free(data);
    table_close(&t);
    model_free(&m);
}

/* The reader understands the documented bytes. */
static void test_reader_reads_it(void **state)
{
    (void)state;
    struct model m = {0};
    struct sst_reader *r = NULL;
    struct sst_verify_report report;
    struct io *io = NULL;
    struct iter *it = NULL;
    char dir[256], path[300];
    uint8_t *data = malloc(IMAGE_BYTES_MAX);
    model_make(&m);
    char *golden = golden_text();
    size_t size = image_parse(golden, data);
    test_dir_create(dir);
    snprintf(path, sizeof path, "%s/000007.sst", dir);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
    OK(epoch_register());
    OK(io_real_create(&io));
    OK(sst_reader_open(io, path, 7, size, &r));
    OK(sst_reader_verify(r, &report));
    assert_int_equal(report.entries, m.count);
    OK(sst_iter_create(r, &it));
    size_t i = 0;
    for (iter_first(it); it->valid; iter_next(it))
        check_entry(it, &m, i++);
    check_entry(it, &m, i);
    assert_int_equal(i, m.count);
    iter_destroy(it);
    sst_reader_unref(r);
    epoch_drain();
    io_destroy(io);
    test_dir_remove(dir);
    free(golden);
    free(data);
    model_free(&m);
}

static bool line_keep(void *arg, const char *line)
{
    char *text = arg;
    strcat(strcat(text, line), "\n");
    return true;
}

static bool line_stop(void *arg, const char *line)
{
    (void)line;
    return ++*(int *)arg < 3;
}

/* A dump names every part, escapes keys, and stops when it is told to; damage is a line of it and its status. */
static void test_dump(void **state)
{
    (void)state;
    struct table t;
    struct model m = {0};
    char text[8192] = "";
    int lines = 0;
    model_make(&m);
    table_open(&t, &m, model_options());
    OK(sst_dump(t.io, t.path, line_keep, text));
    const char *const expected[] = {"table 7, version 1",
                                    "filter ",
                                    "index ",
                                    "properties ",
                                    "\"apple\" seq 7 tombstone",
                                    "\\xff\\x00",
                                    "pointer: 1",
                                    "value with expiry: 1",
                                    "sound: "};
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++)
        if (!strstr(text, expected[i]))
            fail_msg("\"%s\" is missing in:\n%s", expected[i], text);
    OK(sst_dump(t.io, t.path, line_stop, &lines));
    assert_int_equal(lines, 3);
    FILE *file = fopen(t.path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, PAGE_BYTES + 100, SEEK_SET), 0);
    assert_int_equal(fputc('!', file), '!');
    fclose(file);
    text[0] = 0;
    FAILS(CORRUPT, sst_dump(t.io, t.path, line_keep, text));
    assert_non_null(strstr(text, "damaged: NOKV_ERR_CORRUPT"));
    table_close(&t);
    model_free(&m);
}

static bool line_without_damage(void *arg, const char *line)
{
    (void)arg;
    assert_null(strstr(line, "damaged"));
    return true;
}

/* A dump that finds no memory says so, and does not call the table damaged. */
static void test_dump_without_memory(void **state)
{
    (void)state;
    struct table t;
    struct model m = {0};
    enum nokv_status status = NOKV_ERR_NO_MEMORY;
    model_make(&m);
    table_open(&t, &m, model_options());
    for (uint64_t k = 0; status != NOKV_OK; k++) {
        mem_fail_after(k);
        status = sst_dump(t.io, t.path, line_without_damage, NULL);
        mem_fail_after(UINT64_MAX);
        assert_true(status == NOKV_OK || status == NOKV_ERR_NO_MEMORY);
        assert_null(strstr(status_message(), "damaged"));
    }
    table_close(&t);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_builder_makes_it),
        cmocka_unit_test(test_reader_reads_it),
        cmocka_unit_test(test_dump),
        cmocka_unit_test(test_dump_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
