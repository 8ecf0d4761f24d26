// SPDX-License-Identifier: Apache-2.0
/*
 * cold_test.c - how much a point read of a table that is not in the page cache brings in: the pages that it needs, not
 * what the kernel reads ahead by default; and that a scan of keys brings in nothing of the value log. On the real disk;
 * passes without looking where files have no page cache to leave (tmpfs) or the kernel does not tell what is in it.
 */
#include <fcntl.h>
#include <sys/vfs.h>

#include "io/io.h"
#include "lsm/names.h"
#include "nokv/nokv.h"
#include "test.h"

enum { KEYS = 20000, VALUE_BYTES = 400, GETS = 40, TMPFS = 0x01021994 };

/* Of one get: a data block, and pages of filter and index. The default read-ahead would be 128 KiB per page fault. */
enum { BYTES_PER_GET_MAX = 24 << 10 };

struct scene {
    char dir[256];
    char path[300];
    nokv_db *db;
    uint64_t random;
};

static void key_make(uint64_t i, char out[24])
{
    snprintf(out, 24, "key%08llu", (unsigned long long)(i * 2654435761u % 100000000));
}

static void scene_open_with(struct scene *s, nokv_io_model sst_read)
{
    nokv_options o;
    nokv_options_init(&o);
    o.sst_read = sst_read;
    o.background_threads = 1;
    OK(nokv_open(s->path, &o, &s->db));
}

static void scene_open(struct scene *s)
{
    scene_open_with(s, NOKV_IO_DEFAULT);
}

static void database_fill(struct scene *s)
{
    char key[24], value[VALUE_BYTES];
    scene_open(s);
    for (uint64_t i = 0; i < KEYS; i++) {
        key_make(i, key);
        for (size_t k = 0; k < sizeof value; k++)
            value[k] = (char)test_random(&s->random);
        OK(nokv_put(s->db, key, strlen(key), value, sizeof value, NULL));
    }
    OK(nokv_compact_range(s->db, NULL, 0, NULL, 0));
    OK(nokv_close(s->db));
}

/* Nobody has the tables mapped: let the kernel forget them. */
static void tables_evict(struct scene *s)
{
    for (uint64_t n = 1; n < 50; n++) {
        char path[PATH_SIZE_MAX];
        OK(path_sst(path, s->path, n));
        int fd = open(path, O_RDONLY);
        if (fd < 0)
            continue;
        assert_int_equal(fsync(fd), 0);
        assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
        close(fd);
    }
}

static uint64_t resident(struct scene *s, uint64_t *out_bytes)
{
    nokv_stats stats = {.struct_size = sizeof stats};
    OK(nokv_stats_get(s->db, true, &stats));
    *out_bytes = stats.components[NOKV_COMPONENT_SST].bytes;
    return stats.components[NOKV_COMPONENT_SST].resident_bytes;
}

static void gets(struct scene *s, int count)
{
    for (int i = 0; i < count; i++) {
        char key[24];
        nokv_value value = {0};
        key_make(test_random(&s->random) % KEYS, key);
        OK(nokv_get(s->db, key, strlen(key), NULL, &value));
        assert_int_equal(value.size, VALUE_BYTES);
        nokv_value_release(&value);
    }
}

/* With tables that are mapped for good cold gets at random places cost pages, not read-ahead windows, also after whole
 * tables were read by a compaction. */
static void test_cold_gets_read_little(void **state)
{
    (void)state;
    struct scene s = {.random = test_seed(1)};
    struct statfs fs;
    uint64_t bytes = 0;
    test_dir_create(s.dir);
    snprintf(s.path, sizeof s.path, "%s/db", s.dir);
    database_fill(&s);
    tables_evict(&s);
    scene_open_with(&s, NOKV_IO_MMAP);
    uint64_t at_open = resident(&s, &bytes);
    assert_true(bytes > (uint64_t)KEYS * VALUE_BYTES);
    bool in_memory = statfs(s.dir, &fs) == 0 && fs.f_type == TMPFS; /* its pages cannot be evicted */
    if (!in_memory) {
        assert_true(at_open <= bytes / 4);
        gets(&s, 1); /* filter and index come in */
        uint64_t before = resident(&s, &bytes);
        gets(&s, GETS);
        uint64_t grown = resident(&s, &bytes) - before;
        printf("%llu KiB of %llu at open, %llu after the first get, %llu more for %d gets\n",
               (unsigned long long)at_open >> 10, (unsigned long long)bytes >> 10, (unsigned long long)before >> 10,
               (unsigned long long)grown >> 10, GETS);
        assert_true(grown <= (uint64_t)GETS * BYTES_PER_GET_MAX);
    }
    OK(nokv_close(s.db));
    test_dir_remove(s.dir);
    if (in_memory)
        skip();
}

/* ---- the value log ---------------------------------------------------------------------------------------------- */

enum { SEPARATED_KEYS = 2000, SEPARATED_BYTES = 2000 };

static void separated_fill(struct scene *s)
{
    char key[24], value[SEPARATED_BYTES];
    scene_open(s);
    for (uint64_t i = 0; i < SEPARATED_KEYS; i++) {
        key_make(i, key);
        for (size_t k = 0; k < sizeof value; k++)
            value[k] = (char)test_random(&s->random);
        OK(nokv_put(s->db, key, strlen(key), value, sizeof value, NULL));
    }
    OK(nokv_compact_range(s->db, NULL, 0, NULL, 0));
    OK(nokv_close(s->db));
}

/* Bytes of all segments, and how many of them are in the page cache (UINT64_MAX: the kernel does not say). */
static uint64_t segments_resident(struct scene *s, bool evict, uint64_t *out_bytes)
{
    struct io *io = NULL;
    uint64_t sum = 0;
    *out_bytes = 0;
    OK(io_real_create(&io));
    for (uint64_t n = 1; n < 50 && sum != UINT64_MAX; n++) {
        struct io_file *file = NULL;
        char path[PATH_SIZE_MAX];
        uint64_t size = 0;
        OK(path_vlog(path, s->path, n));
        if (!io_exists(io, path))
            continue;
        OK(io_open(io, path, IO_OTHER, IO_STD, IO_READ, &file));
        OK(io_size(file, &size));
        if (evict)
            io_drop_cache(file, 0, size);
        uint64_t resident_bytes = io_resident(file);
        sum = resident_bytes == UINT64_MAX ? UINT64_MAX : sum + resident_bytes;
        *out_bytes += size;
        OK(io_close(file));
    }
    io_destroy(io);
    return sum;
}

static void scan(struct scene *s, bool with_values)
{
    nokv_iter *it = NULL;
    uint64_t count = 0, bytes = 0;
    OK(nokv_iter_create(s->db, NULL, &it));
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it), count++)
        bytes += with_values ? nokv_iter_value(it).size : nokv_iter_value_size(it);
    OK(nokv_iter_status(it));
    nokv_iter_destroy(it);
    assert_int_equal(count, SEPARATED_KEYS);
    assert_int_equal(bytes, (uint64_t)SEPARATED_KEYS * SEPARATED_BYTES);
}

/* A scan that asks for keys and sizes leaves the value log out of the page cache; one that asks for values does not. */
static void test_key_scan_leaves_value_log_cold(void **state)
{
    (void)state;
    struct scene s = {.random = test_seed(2)};
    struct statfs fs;
    uint64_t bytes = 0;
    test_dir_create(s.dir);
    snprintf(s.path, sizeof s.path, "%s/db", s.dir);
    separated_fill(&s);
    uint64_t evicted = segments_resident(&s, true, &bytes);
    assert_true(bytes > (uint64_t)SEPARATED_KEYS * SEPARATED_BYTES);
    bool unknown = evicted == UINT64_MAX || (statfs(s.dir, &fs) == 0 && fs.f_type == TMPFS);
    if (!unknown) {
        scene_open(&s);
        uint64_t before = segments_resident(&s, false, &bytes);
        assert_true(before <= bytes / 16);
        scan(&s, false);
        assert_int_equal(segments_resident(&s, false, &bytes), before);
        scan(&s, true);
        assert_true(segments_resident(&s, false, &bytes) >= bytes / 2);
        OK(nokv_close(s.db));
    }
    test_dir_remove(s.dir);
    if (unknown)
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cold_gets_read_little),
                                       cmocka_unit_test(test_key_scan_leaves_value_log_cold)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
