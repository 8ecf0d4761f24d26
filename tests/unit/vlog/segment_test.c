// SPDX-License-Identifier: Apache-2.0
/* segment_test.c - what is appended is read back: all sizes, all models, active and sealed, whole, in parts and by a
 * scan.
 */
#include "vlog_model.h"

static const enum io_model writer_models[] = {IO_STD, IO_DIRECT, IO_URING};

struct segment {
    struct io *io;
    char dir[256];
    char path[300];
    struct vlog_writer *w;
};

static void segment_open(struct segment *s, enum io_model model, uint64_t preallocate)
{
    *s = (struct segment){0};
    OK(epoch_register());
    test_dir_create(s->dir);
    snprintf(s->path, sizeof s->path, "%s/000007.vlog", s->dir);
    OK(io_real_create(&s->io));
    struct vlog_writer_options o = model_options(s->io, s->path, s->dir);
    o.model = model;
    o.preallocate_bytes = preallocate;
    OK(vlog_writer_create(&o, &s->w));
}

static void segment_close(struct segment *s)
{
    vlog_writer_destroy(s->w);
    epoch_drain();
    io_destroy(s->io);
    test_dir_remove(s->dir);
}

/* Each item in the two halves of a read, all reads in one group, where that is offered. */
static void check_prepared(struct segment *s, struct vlog_reader *r, const struct item *items, size_t count)
{
    struct io_read_request *requests = calloc(count, sizeof *requests);
    uint8_t *key = malloc(KEY_SIZE_MAX);
    for (size_t i = 0; i < count; i++) {
        struct slice in_place, k = item_key(&items[i], key);
        OK(vlog_read_in_place(r, &items[i].pointer, k, &in_place));
        bool is_offered = vlog_read_prepare(r, &items[i].pointer, k, &requests[i]);
        if (in_place.data == NULL) /* else it may be: what is cached now may have to be read then */
            assert_int_equal(is_offered, vlog_reader_is_sealed(r) && items[i].value_size <= VLOG_CHUNK);
        if (is_offered)
            requests[i].buffer = aligned_alloc(PAGE_BYTES, align_up(requests[i].size, PAGE_BYTES));
    }
    for (size_t i = 0, n; i < count; i += n + 1) {
        for (n = 0; i + n < count && requests[i + n].buffer != NULL; n++)
            continue;
        OK(io_read_many(s->io, requests + i, n));
    }
    for (size_t i = 0; i < count; i++) {
        struct slice value, k = item_key(&items[i], key);
        if (requests[i].buffer == NULL)
            continue;
        OK(vlog_read_finish(r, &items[i].pointer, k, &requests[i], &value));
        assert_int_equal(value.size, items[i].value_size);
        pattern_check(value.data, items[i].number, 0, value.size);
        requests[i].got = items[i].pointer.off - requests[i].off + VLOG_POINTER_SIZE; /* a file that ends there */
        FAILS(CORRUPT, vlog_read_finish(r, &items[i].pointer, k, &requests[i], &value));
        free(requests[i].buffer);
    }
    free(requests);
    free(key);
}

/* Everything through a reader of this model, with the writer if it is still being written. */
static void check_reads(struct segment *s, enum vlog_read_model model, bool active, const struct item *items,
                        size_t count, uint64_t *rng)
{
    struct vlog_reader *r = NULL;
    OK(vlog_reader_open(s->io, s->path, SEGMENT, model, active ? s->w : NULL, NULL, &r));
    assert_true(vlog_reader_is_sealed(r) == !active);
    for (size_t i = 0; i < count; i++)
        OK(item_read(r, &items[i]));
    for (size_t i = 0; i < count * 2; i++) {
        const struct item *it = &items[test_random(rng) % count];
        uint64_t off = test_random(rng) % (it->value_size + 1);
        OK(item_read_range(r, it, off, test_random(rng) % (it->value_size - off + 1)));
    }
    check_prepared(s, r, items, count);
    vlog_reader_unref(r);
}

static void check_scan(struct segment *s, const struct item *items, size_t count, uint64_t value_size_max,
                       struct vlog_scan_totals *out_totals)
{
    unsigned *seen = calloc(count, sizeof *seen);
    const struct vlog_scan_options o = {
        .io = s->io, .path = s->path, .number = SEGMENT, .component = IO_OTHER, .value_size_max = value_size_max};
    OK(items_scan(&o, items, count, seen, out_totals));
    for (size_t i = 0; i < count; i++)
        assert_int_equal(seen[i], 1);
    free(seen);
    assert_int_equal(out_totals->records, count);
}

static void check_all(struct segment *s, const struct item *items, size_t count, uint64_t *rng)
{
    struct vlog_scan_totals totals;
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += vlog_record_size(items[i].key_size, items[i].value_size);
    for (enum vlog_read_model m = VLOG_READ_AUTO; m <= VLOG_READ_URING; m++)
        check_reads(s, m, true, items, count, rng);
    OK(vlog_writer_flush(s->w));
    check_scan(s, items, count, 0, &totals);
    assert_false(totals.sealed);
    OK(vlog_writer_seal(s->w));
    for (enum vlog_read_model m = VLOG_READ_AUTO; m <= VLOG_READ_URING; m++)
        check_reads(s, m, false, items, count, rng);
    check_reads(s, VLOG_READ_AUTO, false, items, count, rng);
    for (uint64_t max = 0; max <= KEY_VALUE_SIZE_MAX; max = max ? KEY_VALUE_SIZE_MAX + 1 : 5000)
        check_scan(s, items, count, max, &totals);
    check_scan(s, items, count, KEY_VALUE_SIZE_MAX, &totals);
    assert_true(totals.sealed && totals.number == SEGMENT);
    assert_int_equal(totals.record_bytes, bytes);
    assert_int_equal(totals.damaged_bytes + totals.unfinished_bytes, 0);
    assert_int_equal(totals.record_bytes + totals.padding_bytes, totals.end - PAGE_BYTES);
    struct vlog_info info = vlog_writer_info(s->w);
    uint64_t size = 0;
    OK(io_stat(s->io, s->path, &size));
    assert_true(info.records == count && info.record_bytes == bytes && info.file_bytes == size);
}

/* Sizes around every boundary that the writer, the format and the readers know. */
static const size_t edges[] = {0,      1,      7,      8,       4047,    4048,    4095,   4096,
                               4097,   65487,  65535,  65536,   65537,   69632,   131071, 131072,
                               131073, 262144, 300000, 1048575, 1048576, 1048577, 2100000};

/* Values of sizes around all boundaries, each behind another one so that offsets differ too. */
static void test_sizes(void **state)
{
    (void)state;
    uint64_t rng = test_seed(1);
    for (size_t m = 0; m < ARRAY_COUNT(writer_models); m++) {
        struct segment s;
        struct item items[2 * ARRAY_COUNT(edges)];
        size_t count = 0;
        segment_open(&s, writer_models[m], m % 2 ? 0 : 4 << 20);
        for (size_t i = 0; i < ARRAY_COUNT(edges); i++)
            for (size_t k = 0; k < 2; k++, count++) {
                items[count] = (struct item){.number = count, .key_size = 8 + k * i, .value_size = edges[i]};
                if (k == 1)
                    items[count].value_size = test_random(&rng) % 300;
                OK(item_append(s.w, &items[count]));
            }
        check_all(&s, items, count, &rng);
        segment_close(&s);
    }
}

/* Keys of all sizes up to the largest, with small and with large values. */
static void test_keys(void **state)
{
    (void)state;
    static const size_t sizes[] = {8, 9, 100, 4000, 4096, 30000, 65527, 65535};
    uint64_t rng = test_seed(2);
    for (size_t m = 0; m < ARRAY_COUNT(writer_models); m++) {
        struct segment s;
        struct item items[3 * ARRAY_COUNT(sizes)];
        segment_open(&s, writer_models[m], 0);
        for (size_t i = 0; i < ARRAY_COUNT(items); i++) {
            size_t value_size = i % 3 == 0 ? 0 : i % 3 == 1 ? 200 : 70000 + i * 1000;
            items[i] = (struct item){.number = i, .key_size = sizes[i / 3], .value_size = value_size};
            OK(item_append(s.w, &items[i]));
        }
        check_all(&s, items, ARRAY_COUNT(items), &rng);
        segment_close(&s);
    }
}

/* A random mixture of appends, streams, abandoned streams, flushes and syncs. */
static void test_mixture(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    uint64_t rng = test_seed(3);
    for (size_t m = 0; m < ARRAY_COUNT(writer_models); m++) {
        struct segment s;
        struct item *items = calloc(COUNT, sizeof *items);
        segment_open(&s, writer_models[m], m % 2 ? 1 << 20 : 0);
        for (size_t i = 0; i < COUNT; i++) {
            uint64_t r = test_random(&rng);
            size_t max = r % 10 == 0 ? 500000 : r % 10 < 4 ? 9000 : 1500;
            struct item *it = &items[i];
            *it = (struct item){.number = i, .key_size = 8 + (r >> 8) % 60, .value_size = test_random(&rng) % max};
            if ((r >> 16) % 8 == 0) {
                OK(item_stream(s.w, it, 1 + test_random(&rng) % 70000, test_random(&rng) % 100000));
                continue;
            }
            OK(item_append(s.w, it));
            if ((r >> 20) % 16 == 0)
                OK(vlog_writer_flush(s.w));
            if ((r >> 24) % 64 == 0)
                OK(vlog_writer_sync(s.w));
        }
        check_all(&s, items, COUNT, &rng);
        segment_close(&s);
        free(items);
    }
}

/* Streams of all sizes: alone the rest of the place is given back; with others behind them it becomes padding. */
static void test_streams(void **state)
{
    (void)state;
    uint64_t rng = test_seed(4);
    for (size_t m = 0; m < 2; m++) /* io_uring writes as the standard model does */
        for (int others = 0; others < 2; others++) {
            struct segment s;
            struct item items[2 * ARRAY_COUNT(edges)];
            size_t count = 0;
            segment_open(&s, writer_models[m], 0);
            for (size_t i = 0; i < ARRAY_COUNT(edges); i += 2) {
                struct item *it = &items[count];
                *it = (struct item){.number = count++, .key_size = 8 + i, .value_size = edges[i]};
                uint64_t before = vlog_writer_bytes(s.w);
                OK(item_stream(s.w, it, 1 + test_random(&rng) % 100000, i % 3 ? 1 << 20 : 0));
                assert_true(vlog_writer_bytes(s.w) - before <= vlog_record_size(8 + i, edges[i]) + 3 * PAGE_BYTES);
                if (!others)
                    continue;
                struct vlog_stream *stream = NULL;
                uint8_t value[100000];
                OK(vlog_stream_begin(s.w, slice_make("abandoned", 9), 600000, &stream));
                it = &items[count];
                *it = (struct item){.number = count++, .key_size = 8, .value_size = i * 100};
                OK(item_append(s.w, it));
                pattern_fill(value, 1, 0, sizeof value);
                for (size_t k = 0; k < i % 7; k++)
                    OK(vlog_stream_append(stream, slice_make(value, sizeof value)));
                vlog_stream_abandon(stream);
            }
            check_all(&s, items, count, &rng);
            segment_close(&s);
        }
}

/* A stream that gets more than it asked for, and one that ends with nothing at all. */
static void test_stream_limits(void **state)
{
    (void)state;
    struct segment s;
    struct vlog_stream *stream = NULL;
    uint64_t rng = 5;
    segment_open(&s, IO_STD, 0);
    uint64_t begin = vlog_writer_bytes(s.w);
    OK(vlog_stream_begin(s.w, slice_make("key", 3), 10, &stream));
    OK(vlog_stream_append(stream, slice_make("0123456789", 10)));
    OK(vlog_stream_append(stream, slice_make("", 0)));
    FAILS(INVALID, vlog_stream_append(stream, slice_make("x", 1)));
    FAILS(INVALID, vlog_stream_append(stream, slice_make("x", 1)));
    struct vlog_pointer p;
    FAILS(INVALID, vlog_stream_end(stream, 1, &p));
    vlog_stream_abandon(NULL);
    assert_int_equal(vlog_writer_bytes(s.w), begin); /* nothing had been written */
    FAILS(INVALID, vlog_stream_begin(s.w, slice_make("key", 3), KEY_VALUE_SIZE_MAX + 1, &stream));
    struct item it = {.number = 0, .key_size = 8};
    OK(item_stream(s.w, &it, 1, 0));
    check_all(&s, &it, 1, &rng);
    segment_close(&s);
}

/* A segment of no records is sealed, read and scanned. */
static void test_empty(void **state)
{
    (void)state;
    struct segment s;
    struct vlog_scan_totals totals;
    segment_open(&s, IO_STD, 1 << 20);
    OK(vlog_writer_sync(s.w));
    OK(vlog_writer_seal(s.w));
    OK(vlog_writer_seal(s.w));
    check_scan(&s, NULL, 0, 0, &totals);
    assert_true(totals.sealed && totals.end == PAGE_BYTES);
    uint64_t size = 0;
    OK(io_stat(s.io, s.path, &size));
    assert_int_equal(size, 2 * PAGE_BYTES);
    segment_close(&s);
}

/* Let go of all of the segment that is in the page cache; false where that is not possible (tmpfs). */
static bool cache_drop(struct segment *s)
{
    struct io_file *file = NULL;
    uint64_t size;
    OK(io_open(s->io, s->path, IO_VLOG, IO_STD, IO_READ | IO_WRITE, &file));
    OK(io_size(file, &size));
    OK(io_sync(file));
    io_drop_cache(file, 0, size);
    bool is_gone = io_resident(file) == 0;
    OK(io_close(file));
    return is_gone;
}

/* Who may be shown a value in place: sealed segments only, with the mmap model, and with auto below 4 KiB or in the
 * page cache; it outlives the pin. */
static void test_in_place(void **state)
{
    (void)state;
    struct segment s;
    struct vlog_reader *r = NULL;
    struct slice value;
    uint8_t key[64];
    struct item items[] = {{.number = 0, .key_size = 8, .value_size = 4095},
                           {.number = 1, .key_size = 8, .value_size = 4096},
                           {.number = 2, .key_size = 8, .value_size = 0}};
    segment_open(&s, IO_STD, 0);
    for (size_t i = 0; i < ARRAY_COUNT(items); i++)
        OK(item_append(s.w, &items[i]));
    OK(vlog_reader_open(s.io, s.path, SEGMENT, VLOG_READ_MMAP, s.w, NULL, &r));
    OK(vlog_read_in_place(r, &items[0].pointer, item_key(&items[0], key), &value));
    assert_null(value.data);
    vlog_reader_unref(r);
    OK(vlog_writer_seal(s.w));
    for (enum vlog_read_model m = VLOG_READ_AUTO; m <= VLOG_READ_URING; m++) {
        OK(vlog_reader_open(s.io, s.path, SEGMENT, m, NULL, NULL, &r));
        assert_true(vlog_reader_resident_bytes(r) == UINT64_MAX);
        for (size_t i = 0; i < ARRAY_COUNT(items); i++) {
            OK(vlog_read_in_place(r, &items[i].pointer, item_key(&items[i], key), &value));
            assert_true((value.data != NULL) == (m == VLOG_READ_MMAP || m == VLOG_READ_AUTO));
        }
        if (m == VLOG_READ_MMAP || m == VLOG_READ_AUTO) {
            uint64_t resident = vlog_reader_resident_bytes(r);
            assert_true(resident > 0 && (resident <= vlog_reader_info(r).file_bytes || resident == UINT64_MAX));
        }
        if (m == VLOG_READ_MMAP) {
            OK(vlog_read_in_place(r, &items[0].pointer, item_key(&items[0], key), &value));
            vlog_reader_ref(r);
            vlog_reader_pin(r);
            vlog_reader_unref(r);
            vlog_reader_unref(r);
            epoch_drain();
            pattern_check(value.data, 0, 0, value.size);
            vlog_reader_unpin(r);
        } else {
            vlog_reader_unref(r);
        }
    }
    epoch_drain(); /* mapped pages stay */
    OK(vlog_reader_open(s.io, s.path, SEGMENT, VLOG_READ_AUTO, NULL, NULL, &r));
    if (cache_drop(&s)) {
        OK(vlog_read_in_place(r, &items[1].pointer, item_key(&items[1], key), &value));
        assert_null(value.data);
    }
    vlog_reader_unref(r);
    segment_close(&s);
}

/* A pointer that leads elsewhere is refused: another segment, another place, another size, another key. */
static void test_wrong_pointers(void **state)
{
    (void)state;
    struct segment s;
    struct item items[3];
    uint8_t key[64], value[200000];
    segment_open(&s, IO_STD, 0);
    for (size_t i = 0; i < ARRAY_COUNT(items); i++) {
        items[i] = (struct item){.number = i, .key_size = 16, .value_size = i == 2 ? 100000 : 1000};
        OK(item_append(s.w, &items[i]));
    }
    OK(vlog_writer_seal(s.w));
    for (enum vlog_read_model m = VLOG_READ_AUTO; m <= VLOG_READ_URING; m++) {
        struct vlog_reader *r = NULL;
        OK(vlog_reader_open(s.io, s.path, SEGMENT, m, NULL, NULL, &r));
        for (int before = 0; before < 2; before++) { /* before and after the records are known to be sound */
            for (size_t i = 0; i < ARRAY_COUNT(items); i++) {
                struct vlog_pointer p = items[i].pointer;
                p.segment++;
                FAILS(CORRUPT, vlog_read(r, &p, item_key(&items[i], key), 0, value, 0));
                p = items[i].pointer;
                p.off += 8;
                FAILS(CORRUPT, vlog_read(r, &p, item_key(&items[i], key), 0, value, p.value_size));
                p.off = 1ull << 40;
                FAILS(CORRUPT, vlog_read(r, &p, item_key(&items[i], key), 0, value, p.value_size));
                p = items[i].pointer;
                p.value_size++;
                FAILS(CORRUPT, vlog_read(r, &p, item_key(&items[i], key), 0, value, p.value_size));
                FAILS(CORRUPT, vlog_read(r, &items[i].pointer, item_key(&items[(i + 1) % 3], key), 0, value, 1));
                FAILS(CORRUPT, vlog_read(r, &items[i].pointer, slice_make(key, 3), 0, value, 1));
                assert_non_null(strstr(status_message(), "000007.vlog"));
            }
            for (size_t i = 0; i < ARRAY_COUNT(items); i++)
                OK(item_read(r, &items[i]));
        }
        vlog_reader_unref(r);
    }
    segment_close(&s);
}

/* What bytes are a pointer. */
static void test_pointer(void **state)
{
    (void)state;
    uint8_t bytes[VLOG_POINTER_SIZE + 1] = {0};
    struct vlog_pointer p = {.segment = 9, .off = 4096, .value_size = 77}, q = {0};
    vlog_pointer_encode(&p, bytes);
    OK(vlog_pointer_decode(slice_make(bytes, VLOG_POINTER_SIZE), &q));
    assert_true(q.segment == 9 && q.off == 4096 && q.value_size == 77);
    FAILS(CORRUPT, vlog_pointer_decode(slice_make(bytes, VLOG_POINTER_SIZE - 1), &q));
    FAILS(CORRUPT, vlog_pointer_decode(slice_make(bytes, VLOG_POINTER_SIZE + 1), &q));
    const struct vlog_pointer wrong[] = {{.segment = 0, .off = 4096},
                                         {.segment = 1, .off = 4088},
                                         {.segment = 1, .off = 4100},
                                         {.segment = 1, .off = 1ull << 60},
                                         {.segment = 1, .off = 4096, .value_size = UINT32_MAX}};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        vlog_pointer_encode(&wrong[i], bytes);
        FAILS(CORRUPT, vlog_pointer_decode(slice_make(bytes, VLOG_POINTER_SIZE), &q));
    }
}

/* Out of limits, and a name that is taken. */
static void test_refusals(void **state)
{
    (void)state;
    struct segment s;
    struct vlog_pointer p;
    struct vlog_writer *w = NULL;
    struct vlog_reader *r = NULL;
    uint8_t *key = calloc(1, KEY_SIZE_MAX + 1);
    segment_open(&s, IO_STD, 0);
    FAILS(INVALID, vlog_append(s.w, (struct ikey){.user = slice_make(key, KEY_SIZE_MAX + 1)}, slice_make("", 0), &p));
    FAILS(INVALID,
          vlog_append(s.w, (struct ikey){.user = slice_make(key, 1)}, slice_make(key, KEY_VALUE_SIZE_MAX + 1), &p));
    struct vlog_writer_options o = model_options(s.io, s.path, s.dir);
    FAILS(EXISTS, vlog_writer_create(&o, &w));
    assert_true(io_exists(s.io, s.path));
    FAILS(CORRUPT, vlog_reader_open(s.io, s.path, SEGMENT + 1, VLOG_READ_AUTO, NULL, NULL, &r));
    FAILS(NOT_FOUND, vlog_reader_open(s.io, "/nowhere/1.vlog", SEGMENT, VLOG_READ_AUTO, NULL, NULL, &r));
    vlog_writer_destroy(NULL);
    free(key);
    segment_close(&s);
}

/* A stream that fills its buffer exactly with its last page is whole, and read like any other. */
static void test_stream_ends_with_its_buffer(void **state)
{
    (void)state;
    enum { BUFFER_BYTES = 256 << 10, KEY = 8 };
    struct segment s;
    struct item items[3];
    uint64_t rng = 6;
    segment_open(&s, IO_STD, 0);
    for (size_t i = 0; i < ARRAY_COUNT(items); i++) {
        size_t bytes = (i + 1) * BUFFER_BYTES, sums = bytes / VLOG_CHUNK * 4;
        items[i] = (struct item){.number = i, .key_size = KEY, .value_size = bytes - 32 - KEY - sums};
        assert_int_equal(vlog_record_size(KEY, items[i].value_size), bytes);
        OK(item_stream(s.w, &items[i], 50000, 1000));
    }
    check_all(&s, items, ARRAY_COUNT(items), &rng);
    segment_close(&s);
}

/* A file that has another size when it is mapped than it had when it was opened is not read in place. */
static void test_other_size(void **state)
{
    (void)state;
    struct segment s;
    struct vlog_reader *r = NULL;
    struct item it = {.number = 0, .key_size = 8, .value_size = 100};
    uint64_t size = 0;
    segment_open(&s, IO_STD, 0);
    OK(item_append(s.w, &it));
    OK(vlog_writer_seal(s.w));
    OK(io_stat(s.io, s.path, &size));
    OK(vlog_reader_open(s.io, s.path, SEGMENT, VLOG_READ_MMAP, NULL, NULL, &r));
    assert_int_equal(truncate(s.path, (off_t)(size + PAGE_BYTES)), 0);
    for (int again = 0; again < 2; again++) {
        FAILS(CORRUPT, item_read(r, &it));
        assert_non_null(strstr(status_message(), "has changed its size"));
        assert_non_null(strstr(status_message(), s.path));
    }
    assert_int_equal(truncate(s.path, (off_t)size), 0);
    OK(item_read(r, &it));
    vlog_reader_unref(r);
    segment_close(&s);
}

/* What a long scan reads: past the page cache where the model is auto, else as any prepared read; nothing of a segment
 * that is being written. */
static void test_prepared_for_a_scan(void **state)
{
    (void)state;
    struct segment s;
    struct vlog_reader *r = NULL;
    struct io_read_request scan, single;
    uint8_t key[8];
    struct item it = {.number = 0, .key_size = 8, .value_size = 5000};
    segment_open(&s, IO_STD, 0);
    OK(item_append(s.w, &it));
    OK(vlog_reader_open(s.io, s.path, SEGMENT, VLOG_READ_AUTO, s.w, NULL, &r));
    assert_false(vlog_read_prepare_scan(r, &it.pointer, item_key(&it, key), &scan));
    vlog_reader_unref(r);
    OK(vlog_writer_seal(s.w));
    for (enum vlog_read_model m = VLOG_READ_AUTO; m <= VLOG_READ_URING; m++) {
        OK(vlog_reader_open(s.io, s.path, SEGMENT, m, NULL, NULL, &r));
        bool is_offered = vlog_read_prepare(r, &it.pointer, item_key(&it, key), &single);
        assert_true(vlog_read_prepare_scan(r, &it.pointer, item_key(&it, key), &scan) == is_offered);
        assert_int_equal(is_offered, m != VLOG_READ_MMAP);
        if (is_offered && m == VLOG_READ_AUTO)
            assert_true(scan.file != single.file && scan.off % PAGE_BYTES == 0 && scan.size % PAGE_BYTES == 0);
        else if (is_offered)
            assert_true(scan.file == single.file && scan.off == single.off && scan.size == single.size);
        vlog_reader_unref(r);
    }
    segment_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_mixture),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_stream_limits),
        cmocka_unit_test(test_pointer),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_wrong_pointers),
        cmocka_unit_test(test_stream_ends_with_its_buffer),
        cmocka_unit_test(test_other_size),
        cmocka_unit_test(test_prepared_for_a_scan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
