// SPDX-License-Identifier: Apache-2.0
/* large_test.c - one value of 200 MiB, appended and streamed, read whole, in ranges and by a scan that does not hold
 * it. */
#include "vlog_model.h"

enum { MIB = 1 << 20, VALUE_MIB = 200, MARKS = 1000 };

/* Zeros with marks: cheap to make and to check. */
static void value_mark(uint8_t *value, size_t size)
{
    for (uint64_t i = 0; i < MARKS; i++) {
        uint64_t state = i, off = test_random(&state) % (size - 8);
        memcpy(value + off, &i, sizeof i);
    }
}

static void check_ranges(struct vlog_reader *r, const struct vlog_pointer *p, struct slice key, const uint8_t *value)
{
    uint64_t rng = 17;
    uint8_t *buffer = malloc(10 * MIB);
    for (int i = 0; i < 60; i++) {
        uint64_t off = test_random(&rng) % p->value_size;
        size_t size = u64_min(test_random(&rng) % (i % 2 ? 10 * MIB : 100000), p->value_size - off);
        OK(vlog_read(r, p, key, off, buffer, size));
        assert_memory_equal(buffer, value + off, size);
    }
    free(buffer);
}

static void check_whole(struct io *io, const char *path, const struct vlog_pointer *p, struct slice key,
                        const uint8_t *value)
{
    uint8_t *copy = malloc(p->value_size);
    for (enum vlog_read_model m = VLOG_READ_AUTO; m <= VLOG_READ_URING; m++) {
        struct vlog_reader *r = NULL;
        OK(vlog_reader_open(io, path, SEGMENT, m, NULL, NULL, &r));
        memset(copy, 1, p->value_size);
        OK(vlog_read(r, p, key, 0, copy, p->value_size));
        assert_int_equal(memcmp(copy, value, p->value_size), 0);
        check_ranges(r, p, key, value);
        vlog_reader_unref(r);
    }
    free(copy);
}

static void append_streamed(struct vlog_writer *w, struct slice key, struct slice value, struct vlog_pointer *out)
{
    struct vlog_stream *s = NULL;
    OK(vlog_stream_begin(w, key, KEY_VALUE_SIZE_MAX, &s));
    for (size_t off = 0; off < value.size;) {
        size_t n = u64_min(off % 3 ? 700001 : 12345, value.size - off);
        OK(vlog_stream_append(s, slice_make(value.data + off, n)));
        off += n;
    }
    OK(vlog_stream_end(s, key_tag(2, KEY_VALUE), out));
}

static void run(enum io_model model, bool streamed)
{
    char dir[256], path[300];
    struct io *io = NULL;
    struct vlog_writer *w = NULL;
    struct vlog_pointer p, small;
    const struct slice key = slice_make("large", 5);
    const size_t size = (size_t)VALUE_MIB * MIB + 12345;
    uint8_t *value = calloc(1, size);
    value_mark(value, size);
    OK(epoch_register());
    test_dir_create(dir);
    snprintf(path, sizeof path, "%s/000007.vlog", dir);
    OK(io_real_create(&io));
    struct vlog_writer_options o = model_options(io, path, dir);
    o.model = model;
    o.preallocate_bytes = 64 * MIB;
    OK(vlog_writer_create(&o, &w));
    OK(vlog_append(w, (struct ikey){.user = slice_make("small", 5)}, slice_make("x", 1), &small));
    if (streamed)
        append_streamed(w, key, slice_make(value, size), &p);
    else
        OK(vlog_append(w, (struct ikey){.user = key, .tag = key_tag(2, KEY_VALUE)}, slice_make(value, size), &p));
    OK(vlog_append(w, (struct ikey){.user = slice_make("small", 5)}, slice_make("x", 1), &small));
    OK(vlog_writer_seal(w));
    check_whole(io, path, &p, key, value);
    struct vlog_scan *s = NULL;
    const struct vlog_scan_options so = {.io = io, .path = path, .value_size_max = 1000, .is_sealed = true};
    struct vlog_record record;
    bool more = true;
    OK(vlog_scan_open(&so, &s));
    for (uint64_t count = 0; more; count++) {
        OK(vlog_scan_next(s, &record, &more));
        assert_true(!more || (record.value.data != NULL) == (count != 1));
    }
    assert_true(vlog_scan_totals(s).records == 3 && vlog_scan_totals(s).value_bytes == size + 2);
    vlog_scan_close(s);
    vlog_writer_destroy(w);
    epoch_drain();
    io_destroy(io);
    test_dir_remove(dir);
    free(value);
}

/* In one piece, through the page cache. */
static void test_append(void **state)
{
    (void)state;
    run(IO_STD, false);
}

/* In one piece, past the page cache. */
static void test_append_direct(void **state)
{
    (void)state;
    run(IO_DIRECT, false);
}

/* In parts, with room for a GiB that is given back. */
static void test_stream(void **state)
{
    (void)state;
    run(IO_DIRECT, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_append), cmocka_unit_test(test_append_direct),
                                       cmocka_unit_test(test_stream)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
