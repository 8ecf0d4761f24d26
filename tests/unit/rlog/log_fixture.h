// SPDX-License-Identifier: Apache-2.0
/*
 * log_fixture.h - a log in a temporary directory, with a ring in plain memory: leaving the writer as it is and reading
 * file and ring is what a kill of the process leaves behind.
 *
 * Record number i of a test has a payload that depends on i and its size only, so that what comes back can be checked
 * without keeping it.
 */
#ifndef TESTS_UNIT_RLOG_LOG_FIXTURE_H
#define TESTS_UNIT_RLOG_LOG_FIXTURE_H

#include "base/alloc.h"
#include "rlog/format.h"
#include "test.h"

enum { LOG_NUMBER = 7, LOG_SALT = 0x5a17 };
static const struct log_id log_id = {LOG_NUMBER, LOG_SALT};

struct fixture {
    char dir[256];
    char path[300];
    struct io *io;
    struct io_shared ring; /* size 0: none */
    struct rlog_writer *writer;
    struct rlog_writer_options options;
};

static inline void fixture_init(struct fixture *f, size_t ring_size)
{
    *f = (struct fixture){0};
    /* In memory unless told otherwise: a sync costs milliseconds on a disk, and what it does is the crash test's
     * matter. */
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    test_dir_create(f->dir);
    snprintf(f->path, sizeof f->path, "%s/log", f->dir);
    OK(io_real_create(&f->io));
    if (ring_size) {
        f->ring.data = malloc(ring_size);
        assert_non_null(f->ring.data);
        memset(f->ring.data, 0xee, ring_size); /* what stands there before the first lap must not matter */
        f->ring.size = ring_size;
    }
    f->options = (struct rlog_writer_options){.io = f->io,
                                              .path = f->path,
                                              .component = IO_WAL,
                                              .model = IO_STD,
                                              .kind = RLOG_WAL,
                                              .number = LOG_NUMBER,
                                              .salt = LOG_SALT,
                                              .ring = ring_size ? &f->ring : NULL};
}

static inline void fixture_create_log(struct fixture *f)
{
    OK(rlog_writer_create(&f->options, f->dir, &f->writer));
}

static inline void fixture_init_log(struct fixture *f, size_t ring_size)
{
    fixture_init(f, ring_size);
    fixture_create_log(f);
}

/* The process is gone; file and ring stay. */
static inline void fixture_kill(struct fixture *f)
{
    rlog_writer_destroy(f->writer);
    f->writer = NULL;
}

static inline void fixture_deinit(struct fixture *f)
{
    fixture_kill(f);
    io_destroy(f->io);
    free(f->ring.data);
    test_dir_remove(f->dir);
}

/* ---- payloads -------------------------------------------------------------------------------------------------- */

static inline void payload_fill(uint8_t *p, uint64_t index, size_t size)
{
    uint64_t state = index * 1000003 + size;
    for (size_t i = 0; i < size; i++)
        p[i] = (uint8_t)(i % 8 == 0 ? test_random(&state) : p[i - 1] * 5u + 1);
}

static inline void append_one(struct fixture *f, uint64_t index, size_t size)
{
    uint8_t *p = malloc(size + 1);
    assert_non_null(p);
    payload_fill(p, index, size);
    size_t cut = size / 3;
    const struct slice parts[] = {slice_make(p, cut), slice_make(NULL, 0), slice_make(p + cut, size - cut)};
    OK(rlog_append(f->writer, parts, ARRAY_COUNT(parts)));
    free(p);
}

static inline void assert_payload(struct slice payload, uint64_t index, size_t size)
{
    assert_int_equal(payload.size, size);
    uint8_t *p = malloc(size + 1);
    assert_non_null(p);
    payload_fill(p, index, size);
    assert_true(size == 0 || memcmp(p, payload.data, size) == 0);
    free(p);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

struct outcome {
    enum nokv_status status; /* of open or next */
    size_t count;            /* records that came back, each checked */
    struct rlog_end_report report;
};

static inline struct rlog_reader_options reader_options(const struct fixture *f, struct slice ring)
{
    return (struct rlog_reader_options){
        .io = f->io, .path = f->path, .component = IO_WAL, .kind = RLOG_WAL, .number = LOG_NUMBER, .ring = ring};
}

/* Reads to the end; record i must have sizes[i] bytes and the payload of i. Repairs the tail if asked to. */
static inline struct outcome read_log_with(const struct rlog_reader_options *options, const size_t *sizes,
                                           size_t count_max, bool repair)
{
    struct outcome out = {0};
    struct rlog_reader *r = NULL;
    out.status = rlog_reader_open(options, &r);
    while (out.status == NOKV_OK) {
        struct slice payload;
        uint64_t off;
        bool more;
        out.status = rlog_reader_next(r, &payload, &off, &more);
        if (out.status != NOKV_OK || !more)
            break;
        assert_true(out.count < count_max);
        assert_payload(payload, out.count, sizes[out.count]);
        out.count++;
    }
    if (out.status == NOKV_OK) {
        rlog_reader_end(r, &out.report);
        if (repair)
            out.status = rlog_repair_tail(r);
    }
    rlog_reader_close(r);
    return out;
}

static inline struct outcome read_log(const struct fixture *f, bool with_ring, const size_t *sizes, size_t count_max)
{
    struct slice ring = with_ring ? slice_make(f->ring.data, f->ring.size) : (struct slice){0};
    struct rlog_reader_options options = reader_options(f, ring);
    return read_log_with(&options, sizes, count_max, false);
}

static inline struct outcome repair_log(const struct fixture *f, const size_t *sizes, size_t count_max)
{
    struct rlog_reader_options options = reader_options(f, slice_make(f->ring.data, f->ring.size));
    return read_log_with(&options, sizes, count_max, true);
}

/* ---- the file as bytes ----------------------------------------------------------------------------------------- */

struct image {
    uint8_t *bytes;
    size_t size;
};

static inline struct image image_load(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    struct image image = {.size = (size_t)ftell(file)};
    rewind(file);
    image.bytes = malloc(image.size + 1);
    assert_non_null(image.bytes);
    assert_int_equal(fread(image.bytes, 1, image.size, file), image.size);
    fclose(file);
    return image;
}

static inline void image_store(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

#endif
