// SPDX-License-Identifier: Apache-2.0
/* Building tables: the bytes, the blocks, the sizes, what is left behind after giving up or failing. */
#include "base/alloc.h"
#include "io/sim.h"
#include "sst/scan.h"
#include "sst_model.h"

static uint64_t file_hash(struct io *io, const char *path)
{
    struct io_file *file = NULL;
    uint64_t size = 0;
    OK(io_open(io, path, IO_OTHER, IO_STD, IO_READ, &file));
    OK(io_size(file, &size));
    uint8_t *data = malloc(size);
    assert_non_null(data);
    OK(io_pread_exact(file, data, size, 0));
    OK(io_close(file));
    uint64_t hash = hash64(data, size);
    free(data);
    return hash;
}

/* The same entries give the same bytes, whatever the I/O model. */
static void test_deterministic(void **state)
{
    (void)state;
    static const enum io_model models[] = {IO_STD, IO_DIRECT, IO_URING};
    const struct model_shape shape = {.count = 3000, .key_max = 20, .value_max = 2000, .alphabet = 9, .versions = 2};
    struct table t;
    struct model m = {.random = test_seed(11)};
    model_fill(&m, &shape);
    table_open(&t, &m, model_options());
    uint64_t hash = file_hash(t.io, t.path);
    for (size_t i = 0; i < ARRAY_COUNT(models); i++) {
        struct sst_builder *b = NULL;
        struct sst_info info;
        char path[300];
        snprintf(path, sizeof path, "%s/again", t.dir);
        enum nokv_status status = sst_builder_create(t.io, path, IO_COMPACTION, models[i], 7, model_options(), &b);
        if (status == NOKV_ERR_NOT_SUPPORTED)
            continue; /* this model is not there yet */
        OK(status);
        for (size_t k = 0; k < m.count; k++)
            OK(sst_builder_add(b, m.entries[k].key, m.entries[k].value));
        OK(sst_builder_finish(b, &info));
        sst_builder_destroy(b);
        assert_int_equal(file_hash(t.io, path), hash);
        OK(io_unlink(t.io, path));
    }
    table_close(&t);
    model_free(&m);
}

struct layout {
    uint64_t blocks, pages, pages_max, used;
};

static struct layout layout_of(struct sst_reader *r)
{
    struct layout l = {0};
    struct sst_window w = {0};
    OK(sst_window_init(&w, r, IO_OTHER, IO_STD));
    for (uint64_t i = 0; i < r->index.count; i++) {
        struct sst_block b;
        struct sst_extent extent;
        OK(sst_window_block(&w, i, &b, &extent));
        l.blocks++;
        l.pages += extent.size / PAGE_BYTES;
        l.pages_max = u64_max(l.pages_max, extent.size / PAGE_BYTES);
        l.used += b.used;
    }
    sst_window_deinit(&w);
    return l;
}

/* Small values stand in blocks of one page; larger ones share blocks of a few pages so that little is wasted; a huge
 * one has a block of its own, of just as many pages as it needs. */
static void test_block_sizes(void **state)
{
    (void)state;
    static uint8_t value[3 << 20];
    static const struct {
        size_t value_size, count;
        uint64_t pages_max;
        double used_min;
    } cases[] = {
        {0, 5000, 1, 0.95},   {100, 2000, 1, 0.93}, {300, 2000, 2, 0.93},    {1000, 500, 5, 0.93},
        {2500, 300, 8, 0.85}, {5000, 100, 8, 0.85}, {20000, 40, 8, 0.75},    {33000, 10, 9, 0.80},
        {65536, 5, 17, 0.9},  {100000, 5, 25, 0.9}, {3 << 20, 3, 769, 0.99},
    };
    for (size_t c = 0; c < ARRAY_COUNT(cases); c++) {
        struct table t;
        struct model m = {0};
        struct sst_verify_report report;
        for (size_t i = 0; i < cases[c].count; i++) {
            char key[17];
            snprintf(key, sizeof key, "%016zu", i);
            model_add(&m, key, 16, key_tag(i + 1, KEY_VALUE), value, cases[c].value_size);
        }
        table_open(&t, &m, model_options());
        struct layout l = layout_of(t.r);
        if (l.pages_max > cases[c].pages_max || (double)l.used < cases[c].used_min * (double)l.pages * PAGE_BYTES)
            fail_msg("%zu-byte values: up to %llu pages, %llu of %llu bytes used", cases[c].value_size,
                     (unsigned long long)l.pages_max, (unsigned long long)l.used,
                     (unsigned long long)l.pages * PAGE_BYTES);
        for (size_t i = 0; i < m.count; i++)
            check_get(t.r, &m, m.entries[i].key.user, KEY_SEQ_MAX);
        OK(sst_reader_verify(t.r, &report));
        table_close(&t);
        model_free(&m);
    }
}

/* The size that a builder foretells is that of the file, or up to a few pages and the index's rounding more. */
static void test_bytes_foretold(void **state)
{
    (void)state;
    const struct model_shape shape = {.count = 5000, .key_max = 30, .value_max = 300, .alphabet = 20, .versions = 1};
    struct table t;
    struct sst_builder *b = NULL;
    struct sst_info info;
    struct model m = {.random = 12};
    char path[300];
    uint64_t last = 0;
    model_fill(&m, &shape);
    table_open(&t, &m, model_options());
    snprintf(path, sizeof path, "%s/000008.sst", t.dir);
    OK(sst_builder_create(t.io, path, IO_FLUSH, IO_STD, 8, model_options(), &b));
    for (size_t i = 0; i < m.count; i++) {
        OK(sst_builder_add(b, m.entries[i].key, m.entries[i].value));
        assert_true(sst_builder_bytes(b) >= last);
        last = sst_builder_bytes(b);
        assert_int_equal(sst_builder_count(b), i + 1);
        assert_int_equal(ikey_compare(sst_builder_first_key(b), m.entries[0].key), 0);
        assert_int_equal(ikey_compare(sst_builder_last_key(b), m.entries[i].key), 0);
    }
    OK(sst_builder_finish(b, &info));
    sst_builder_destroy(b);
    assert_in_range(last, info.file_bytes - PAGE_BYTES, info.file_bytes + 4 * PAGE_BYTES);
    table_close(&t);
    model_free(&m);
}

/* Giving up removes the temporary file; one that a dead process left is replaced; the final name appears at the end. */
static void test_abandon(void **state)
{
    (void)state;
    struct table t;
    struct sst_builder *b = NULL;
    struct model m = {0};
    char path[300], temporary[310];
    model_add(&m, "k", 1, key_tag(1, KEY_VALUE), "v", 1);
    table_open(&t, &m, model_options());
    snprintf(path, sizeof path, "%s/000008.sst", t.dir);
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    FILE *left = fopen(temporary, "w");
    assert_non_null(left);
    fputs("half a table", left);
    fclose(left);
    OK(sst_builder_create(t.io, path, IO_FLUSH, IO_STD, 8, model_options(), &b));
    OK(sst_builder_add(b, m.entries[0].key, m.entries[0].value));
    assert_true(io_exists(t.io, temporary));
    assert_false(io_exists(t.io, path));
    sst_builder_destroy(b);
    assert_false(io_exists(t.io, temporary));
    assert_false(io_exists(t.io, path));
    sst_builder_destroy(NULL);
    table_close(&t);
    model_free(&m);
}

static enum nokv_status build_all(struct io *io, const struct model *m)
{
    struct sst_builder *b = NULL;
    struct sst_info info;
    enum nokv_status status = sst_builder_create(io, "d/000001.sst", IO_FLUSH, IO_STD, 1, model_options(), &b);
    for (size_t i = 0; i < m->count && status == NOKV_OK; i++)
        status = sst_builder_add(b, m->entries[i].key, m->entries[i].value);
    if (status == NOKV_OK)
        status = sst_builder_finish(b, &info);
    sst_builder_destroy(b);
    return status;
}

/* Open, get, walk, scan, verify: every failure is one of the expected, and then nothing is left open. */
static enum nokv_status read_all(struct io *io, const struct model *m)
{
    struct sst_reader *r = NULL;
    struct iter *it = NULL;
    struct sst_verify_report report;
    struct lookup found;
    enum nokv_status status = sst_reader_open(io, "d/000001.sst", 1, 0, &r);
    for (size_t i = 0; i < m->count && status == NOKV_OK; i += 7)
        status = sst_reader_get(r, m->entries[i].key.user, sst_key_hash(m->entries[i].key.user), KEY_SEQ_MAX, &found);
    for (int scan = 0; scan < 2 && status == NOKV_OK; scan++) {
        status = scan ? sst_scan_create(r, IO_COMPACTION, IO_STD, &it) : sst_iter_create(r, &it);
        if (status != NOKV_OK)
            break;
        size_t count = 0;
        for (iter_first(it); it->valid; iter_next(it))
            count++;
        status = it->status;
        assert_true(status != NOKV_OK || count == m->count);
        iter_destroy(it);
    }
    if (status == NOKV_OK)
        status = sst_reader_verify(r, &report);
    sst_reader_unref(r);
    epoch_drain();
    return status;
}

static void model_mixed(struct model *m)
{
    const struct model_shape shape = {.count = 300, .key_max = 9, .value_max = 300, .alphabet = 9, .versions = 2};
    static uint8_t huge[1500000];
    model_fill(m, &shape);
    model_add(m, "middle", 6, key_tag(1, KEY_VALUE), huge, sizeof huge);
    model_sort(m);
}

/* Whatever allocation fails, building and reading report NO_MEMORY, leak nothing and leave no file behind. */
static void test_allocation_failures(void **state)
{
    (void)state;
    struct model m = {.random = 13};
    struct sim *sim = NULL;
    struct io *io = NULL;
    model_mixed(&m);
    OK(epoch_register());
    OK(sim_create(&(struct sim_options){.seed = 1}, &sim));
    OK(sim_io_create(sim, &io));
    OK(io_mkdir(io, "d"));
    OK(build_all(io, &m));
    OK(read_all(io, &m));
    for (int reading = 0; reading < 2; reading++) {
        bool done = false;
        for (uint64_t k = 0; !done; k++) {
            mem_fail_after(k);
            uint64_t before = mem_alloc_count();
            enum nokv_status status = reading ? read_all(io, &m) : build_all(io, &m);
            done = mem_alloc_count() - before <= k;
            mem_fail_after(UINT64_MAX);
            if (status != NOKV_OK)
                assert_int_equal(status, NOKV_ERR_NO_MEMORY);
            assert_false(io_exists(io, "d/000001.sst.tmp"));
            assert_true(k < 5000 && (!done || k > 5));
        }
    }
    OK(read_all(io, &m));
    io_destroy(io);
    sim_destroy(sim);
    model_free(&m);
}

static void file_leave(struct io *io, const char *path)
{
    struct io_file *file = NULL;
    OK(io_open(io, path, IO_OTHER, IO_STD, IO_WRITE | IO_CREATE, &file));
    OK(io_pwrite(file, "half a table", 12, 0));
    OK(io_close(file));
}

/* Whatever I/O call fails, the removal of what a dead process left included, building and reading report it; a failed
 * build never shows a table under its final name, and the next attempt succeeds. */
static void test_io_failures(void **state)
{
    (void)state;
    struct model m = {.random = 14};
    struct sim *sim = NULL;
    struct io *io = NULL;
    model_mixed(&m);
    OK(epoch_register());
    OK(sim_create(&(struct sim_options){.seed = 1, .short_transfers = true}, &sim));
    OK(sim_io_create(sim, &io));
    OK(io_mkdir(io, "d"));
    for (int reading = 0; reading < 2; reading++) {
        bool done = false;
        for (uint64_t k = 1; !done; k++) {
            if (!reading && io_exists(io, "d/000001.sst"))
                OK(io_unlink(io, "d/000001.sst"));
            if (!reading)
                file_leave(io, "d/000001.sst.tmp");
            sim_fail(sim, IO_OP_COUNT, IO_COMPONENT_COUNT, k, 5, false);
            enum nokv_status status = reading ? read_all(io, &m) : build_all(io, &m);
            done = !sim_failed(sim);
            sim_fail_clear(sim);
            if (status != NOKV_OK) {
                assert_int_equal(status, NOKV_ERR_IO);
                assert_true(reading || !io_exists(io, "d/000001.sst"));
                OK(reading ? read_all(io, &m) : build_all(io, &m));
            }
            assert_true(k < 5000 && (!done || k > 5));
        }
    }
    OK(read_all(io, &m));
    io_destroy(io);
    sim_destroy(sim);
    model_free(&m);
}

/* A table that fills the builder's buffer exactly with its last page is whole, and read like any other. */
static void test_ends_with_the_buffer(void **state)
{
    (void)state;
    enum { BUFFER_BYTES = 2 << 20, SIZE = 100000 };
    static uint8_t value[SIZE + BUFFER_BYTES];
    uint64_t file_bytes = 0;
    for (int round = 0; round < 2; round++) {
        struct table t;
        struct model m = {0};
        struct sst_verify_report report;
        size_t size = SIZE + (round ? BUFFER_BYTES - file_bytes % BUFFER_BYTES : 0);
        model_add(&m, "key", 3, key_tag(1, KEY_VALUE), value, size);
        table_open(&t, &m, model_options());
        file_bytes = sst_reader_info(t.r)->file_bytes;
        assert_true(round == 0 || file_bytes == BUFFER_BYTES);
        check_get(t.r, &m, m.entries[0].key.user, KEY_SEQ_MAX);
        OK(sst_reader_verify(t.r, &report));
        table_close(&t);
        model_free(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deterministic),        cmocka_unit_test(test_block_sizes),
        cmocka_unit_test(test_bytes_foretold),       cmocka_unit_test(test_abandon),
        cmocka_unit_test(test_allocation_failures),  cmocka_unit_test(test_io_failures),
        cmocka_unit_test(test_ends_with_the_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
