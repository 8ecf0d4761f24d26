// SPDX-License-Identifier: Apache-2.0
/*
 * The golden image: the bytes of one small segment, as they stand in docs/formats/vlog.md between the two marks. The
 * writer must make exactly these, and scan and reader must understand them, for ever. NOKV_GOLDEN=1 prints what the
 * writer makes.
 */
#include "vlog_model.h"

enum { DOC_BYTES_MAX = 1 << 20, IMAGE_BYTES_MAX = 1 << 18, LARGE = 65546 };

/* Lines of 16 bytes; a line of zeros is left out; * stands for repetitions. */
static char *image_text(const uint8_t *data, size_t size)
{
    static const uint8_t zeros[16];
    char *text = malloc(size * 5 + 1), *p = text;
    assert_non_null(text);
    for (size_t i = 0; i < size; i += 16) {
        if (memcmp(data + i, zeros, 16) == 0)
            continue;
        if (i >= 16 && i + 16 < size && memcmp(data + i, data + i - 16, 16) == 0 &&
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

/* The other way. Returns the size: a multiple of a page. */
static size_t image_parse(const char *text, uint8_t *data)
{
    size_t last = 0;
    bool repeat = false;
    memset(data, 0, IMAGE_BYTES_MAX);
    for (const char *p = text; *p; p = strchr(p, '\n') + 1) {
        if (*p == '*') {
            repeat = true;
            continue;
        }
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
    return align_up(last + 1, PAGE_BYTES);
}

/* The image in the documentation. Free it. */
static char *golden_text(void)
{
    char *doc = calloc(1, DOC_BYTES_MAX);
    assert_non_null(doc);
    FILE *file = fopen(GOLDEN_DOC, "rb");
    assert_non_null(file);
    assert_true(fread(doc, 1, DOC_BYTES_MAX, file) < DOC_BYTES_MAX);
    fclose(file);
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

static struct io *disk_open(struct sim **out_sim)
{
    struct io *io = NULL;
    OK(epoch_register());
    OK(sim_create(&(struct sim_options){.seed = 1}, out_sim));
    OK(sim_io_create(*out_sim, &io));
    return io;
}

static void disk_close(struct sim *sim, struct io *io)
{
    epoch_drain();
    io_destroy(io);
    sim_destroy(sim);
}

static void append(struct vlog_writer *w, const char *key, uint64_t seq, const void *value, size_t size)
{
    struct vlog_pointer p;
    const struct ikey ikey = {.user = slice_make(key, strlen(key)), .tag = key_tag(seq, KEY_VALUE)};
    OK(vlog_append(w, ikey, slice_make(value, size), &p));
}

static void segment_make(struct io *io, enum io_model model, uint64_t preallocate)
{
    static uint8_t large[LARGE];
    struct vlog_writer *w = NULL;
    struct vlog_stream *s = NULL;
    struct vlog_pointer p;
    struct vlog_writer_options o = model_options(io, "v", ".");
    o.model = model;
    o.preallocate_bytes = preallocate;
    memset(large, 'v', sizeof large);
    OK(vlog_writer_create(&o, &w));
    append(w, "apple", 5, "red", 3);
    append(w, "apple", 6, "", 0);
    OK(vlog_stream_begin(w, slice_make("fig", 3), 4, &s));
    OK(vlog_stream_append(s, slice_make("blue", 4)));
    OK(vlog_stream_end(s, key_tag(9, KEY_VALUE), &p));
    append(w, "banana", 7, large, sizeof large);
    OK(vlog_writer_seal(w));
    vlog_writer_destroy(w);
}

/* The writer makes the documented bytes, by whatever model. */
static void test_writer_makes_it(void **state)
{
    (void)state;
    static const enum io_model models[] = {IO_STD, IO_DIRECT, IO_URING};
    char *golden = golden_text();
    for (size_t i = 0; i < ARRAY_COUNT(models); i++) {
        struct sim *sim = NULL;
        struct io *io = disk_open(&sim);
        struct io_file *file = NULL;
        size_t size = 0;
        uint8_t *data = malloc(IMAGE_BYTES_MAX);
        segment_make(io, models[i], i % 2 ? 300000 : 0);
        OK(io_open(io, "v", IO_OTHER, IO_STD, IO_READ, &file));
        OK(io_pread(file, data, IMAGE_BYTES_MAX, 0, &size));
        OK(io_close(file));
        char *text = image_text(data, size);
        if (getenv("NOKV_GOLDEN") && i == 0)
            fputs(text, stdout);
        else
            assert_string_equal(text, golden);
        free(text);
        free(data);
        disk_close(sim, io);
    }
    free(golden);
}

/* Scan and reader understand the documented bytes. */
static void test_it_is_understood(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint64_t seq, size;
        int fill;
    } wanted[] = {{"apple", 5, 3, 'r'}, {"apple", 6, 0, 0}, {"fig", 9, 4, 'b'}, {"banana", 7, LARGE, 'v'}};
    struct sim *sim = NULL;
    struct io *io = disk_open(&sim);
    struct io_file *file = NULL;
    uint8_t *data = malloc(IMAGE_BYTES_MAX);
    char *golden = golden_text();
    size_t size = image_parse(golden, data);
    OK(io_open(io, "v", IO_OTHER, IO_STD, IO_WRITE | IO_CREATE, &file));
    OK(io_pwrite(file, data, size, 0));
    OK(io_close(file));
    struct vlog_scan *s = NULL;
    struct vlog_reader *r = NULL;
    const struct vlog_scan_options o = {
        .io = io, .path = "v", .number = SEGMENT, .component = IO_OTHER, .value_size_max = LARGE, .is_sealed = true};
    OK(vlog_scan_open(&o, &s));
    OK(vlog_reader_open(io, "v", SEGMENT, VLOG_READ_AUTO, NULL, NULL, &r));
    for (size_t i = 0; i <= ARRAY_COUNT(wanted); i++) {
        struct vlog_record record;
        bool more;
        OK(vlog_scan_next(s, &record, &more));
        assert_true(more == (i < ARRAY_COUNT(wanted)));
        if (!more)
            break;
        assert_true(slice_equal(record.key.user, slice_make(wanted[i].key, strlen(wanted[i].key))));
        assert_true(record.key.tag == key_tag(wanted[i].seq, KEY_VALUE) && record.value.size == wanted[i].size);
        assert_true(record.value.size == 0 || record.value.data[0] == wanted[i].fill);
        const struct vlog_pointer p = {
            .segment = SEGMENT, .off = record.off, .value_size = (uint32_t)record.value_size};
        OK(vlog_read(r, &p, record.key.user, 0, data, record.value_size));
        assert_true(slice_equal(record.value, slice_make(data, record.value_size)));
    }
    vlog_reader_unref(r);
    vlog_scan_close(s);
    disk_close(sim, io);
    free(golden);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_writer_makes_it), cmocka_unit_test(test_it_is_understood)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
