// SPDX-License-Identifier: Apache-2.0
/*
 * hints_test.c - hints for many places of mappings: neighbours are asked about together, what is cached is left alone.
 */
#include "io/io.h"
#include "test.h"

enum { PAGES = 64, FILE_BYTES = PAGES * (int)PAGE_BYTES - 100 };

struct scene {
    char dir[256], path[300];
    struct io *io;
    struct io_file *file;
    struct io_map map;
};

static void scene_init(struct scene *s)
{
    static uint8_t bytes[FILE_BYTES];
    test_dir_create(s->dir);
    snprintf(s->path, sizeof s->path, "%s/file", s->dir);
    OK(io_real_create(&s->io));
    OK(io_open(s->io, s->path, IO_OTHER, IO_STD, IO_READ | IO_WRITE | IO_CREATE, &s->file));
    OK(io_pwrite(s->file, bytes, sizeof bytes, 0));
    OK(io_sync(s->file));
    OK(io_map(s->file, &s->map));
}

static void scene_deinit(struct scene *s)
{
    io_unmap(&s->map);
    OK(io_close(s->file));
    io_destroy(s->io);
    test_dir_remove(s->dir);
}

static uint64_t advise_calls(const struct scene *s)
{
    return atomic_load(&io_component_stats(s->io, IO_OTHER)->ops[IO_OP_ADVISE].calls);
}

/* Pieces in one page, in neighbouring ones, or in front of the last are one piece; others are not; each is one call. */
static void test_neighbours(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    struct io_hints h = {0};
    uint64_t before = advise_calls(&s);
    io_hints_end(&h); /* nothing yet */
    io_hints_add(&h, &s.map, 5 * PAGE_BYTES + 10, 100);
    io_hints_add(&h, &s.map, 5 * PAGE_BYTES + 3000, 2000);
    io_hints_add(&h, &s.map, 7 * PAGE_BYTES, 1);
    io_hints_add(&h, &s.map, 4 * PAGE_BYTES, PAGE_BYTES);
    assert_int_equal(advise_calls(&s), before);
    io_hints_add(&h, &s.map, FILE_BYTES - 1, 1); /* the last page is not whole */
    assert_int_equal(advise_calls(&s), before + 1);
    io_hints_end(&h);
    io_hints_end(&h);
    assert_int_equal(advise_calls(&s), before + 2);
    assert_int_equal(h.cold, 0); /* it was just written */
    scene_deinit(&s);
}

/* What was dropped from the page cache is asked for, and comes. */
static void test_cold_pieces(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    io_unmap(&s.map);
    io_drop_cache(s.file, 0, 0);
    OK(io_map(s.file, &s.map));
    io_map_advise(&s.map, 0, s.map.size, IO_ADVICE_RANDOM);
    bool is_cold = io_map_resident(&s.map, 0, s.map.size) == 0; /* not on tmpfs */
    if (is_cold) {
        struct io_hints h = {0};
        uint64_t pages_before = io_thread_pages_read();
        for (size_t i = 0; i < PAGES; i += 4)
            io_hints_add(&h, &s.map, i * PAGE_BYTES, 2 * PAGE_BYTES);
        io_hints_end(&h);
        assert_int_equal(h.cold, PAGES / 4);
        assert_true(io_thread_pages_read() == 0 || io_thread_pages_read() >= pages_before + PAGES / 2);
        unsigned sum = 0; /* the file is all zeros */
        for (size_t i = 0; i < PAGES; i += 4)
            sum += s.map.data[i * PAGE_BYTES] + s.map.data[(i + 1) * PAGE_BYTES]; /* waits for it */
        assert_int_equal(sum, 0);
        assert_int_equal(io_map_resident(&s.map, 0, s.map.size), PAGES / 2 * PAGE_BYTES);
    }
    scene_deinit(&s);
    if (!is_cold)
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_neighbours), cmocka_unit_test(test_cold_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
