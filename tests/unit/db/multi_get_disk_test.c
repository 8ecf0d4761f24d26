// SPDX-License-Identifier: Apache-2.0
/*
 * multi_get_disk_test.c - many keys in one call on the real disk: beside writers, flushes, compactions and the
 * collector, a call shows one state; and files that are not in the page cache are read in pieces as large as needed,
 * and asked for before they are waited for.
 */
#include <fcntl.h>
#include <sys/vfs.h>

#include "base/thread.h"
#include "db/db.h"
#include "lsm/names.h"
#include "test.h"

enum { KEYS = 60, READERS = 2, SMALL_BYTES = 100, LARGE_BYTES = 3000, DIRECT_BYTES = 20000, TMPFS = 0x01021994 };

struct scene {
    char dir[256], path[300];
    nokv_options options;
    nokv_db *db;
};

static void scene_init(struct scene *s)
{
    test_dir_create(s->dir);
    snprintf(s->path, sizeof s->path, "%s/db", s->dir);
    nokv_options_init(&s->options);
}

static size_t key_make(uint64_t i, char out[24])
{
    return (size_t)snprintf(out, 24, "key%08llu", (unsigned long long)(i * 2654435761u % 100000000));
}

/* ---- one state, whatever happens meanwhile ---------------------------------------------------------------------- */

struct race {
    struct scene scene;
    _Atomic bool stop;
    uint64_t rounds;
    uint64_t seed;
};

/* The home of a value changes with its version. */
static size_t size_of(uint64_t key, uint64_t version)
{
    static const size_t sizes[] = {SMALL_BYTES, LARGE_BYTES, DIRECT_BYTES};
    return sizes[(key + version) % 3];
}

/* All keys in one batch: version 0 mod 7 deletes every other one. */
static void version_write(nokv_db *db, uint64_t version)
{
    static char value[DIRECT_BYTES];
    nokv_batch *batch = NULL;
    OK(nokv_batch_create(&batch));
    for (uint64_t i = 0; i < KEYS; i++) {
        char key[24];
        size_t key_size = key_make(i, key);
        memset(value, (int)version, sizeof value);
        memcpy(value, &version, sizeof version);
        if (version % 7 == 0 && i % 2)
            OK(nokv_batch_delete(batch, key, key_size));
        else
            OK(nokv_batch_put(batch, key, key_size, value, size_of(i, version)));
    }
    OK(nokv_write(db, batch, NULL));
    nokv_batch_destroy(batch);
}

static bool answer_is(uint64_t i, uint64_t version, nokv_status status, const nokv_value *value)
{
    if (version % 7 == 0 && i % 2)
        return status == NOKV_ERR_NOT_FOUND;
    const char *bytes = value->data;
    return status == NOKV_OK && value->size == size_of(i, version) && memcmp(bytes, &version, sizeof version) == 0 &&
           bytes[8] == (char)version && bytes[value->size - 1] == (char)version;
}

/* The version that key 0, which is never deleted, has is that of all. */
static uint64_t read_one_state(struct race *r, uint64_t *rng)
{
    char names[KEYS][24];
    nokv_slice keys[KEYS];
    nokv_value values[KEYS];
    nokv_status statuses[KEYS];
    uint64_t ids[KEYS], version = 0;
    for (size_t n = 0; n < KEYS; n++) {
        ids[n] = n == 0 ? 0 : test_random(rng) % KEYS;
        keys[n] = (nokv_slice){.data = names[n], .size = key_make(ids[n], names[n])};
    }
    OK(nokv_multi_get(r->scene.db, KEYS, keys, NULL, values, statuses));
    OK(statuses[0]);
    memcpy(&version, values[0].data, sizeof version);
    for (size_t n = 0; n < KEYS; n++) {
        if (!answer_is(ids[n], version, statuses[n], &values[n]))
            fail_msg("key %llu is not of version %llu", (unsigned long long)ids[n], (unsigned long long)version);
        nokv_value_release(&values[n]);
    }
    return version;
}

static void *read_run(void *arg)
{
    struct race *r = arg;
    uint64_t rng = r->seed, last = 0;
    while (!atomic_load(&r->stop)) {
        uint64_t version = read_one_state(r, &rng);
        assert_true(version >= last); /* what was seen is not taken back */
        last = version;
    }
    return NULL;
}

/* Batches that change all keys, flushes, compactions and the collector on one side, readers of all keys on the other:
 * each call shows one version of all of them. With every way of reading the value log. */
static void test_one_state(void **state)
{
    (void)state;
    for (int model = 0; model <= NOKV_VLOG_READ_URING; model++) {
        struct race r = {.rounds = test_scale(70), .seed = 1};
        pthread_t readers[READERS];
        scene_init(&r.scene);
        r.scene.options.vlog_read = (nokv_vlog_read)model;
        r.scene.options.sst_read = (nokv_io_model)(NOKV_IO_STD + (model + 1) % 4);
        r.scene.options.block_cache_bytes = 64 << 10;
        r.scene.options.memtable_bytes = 256 << 10;
        r.scene.options.table_bytes = r.scene.options.level_base_bytes = 64 << 10;
        r.scene.options.vlog_segment_bytes = 1 << 20;
        r.scene.options.vlog_space_amp_max = 1.05;
        OK(nokv_open(r.scene.path, &r.scene.options, &r.scene.db));
        version_write(r.scene.db, 1);
        for (size_t t = 0; t < READERS; t++)
            OK(thread_create(&readers[t], "reader", read_run, &r));
        for (uint64_t version = 2; version < r.rounds + 2; version++) {
            version_write(r.scene.db, version);
            if (version % 8 == 0)
                OK(nokv_flush(r.scene.db));
            if (version % 32 == 0)
                OK(nokv_vlog_collect(r.scene.db, 1.0));
        }
        OK(nokv_compact_range(r.scene.db, NULL, 0, NULL, 0));
        atomic_store(&r.stop, true);
        for (size_t t = 0; t < READERS; t++)
            thread_join(readers[t]);
        uint64_t rng = 2;
        assert_int_equal(read_one_state(&r, &rng), r.rounds + 1);
        OK(nokv_close(r.scene.db));
        test_dir_remove(r.scene.dir);
    }
}

/* ---- cold ------------------------------------------------------------------------------------------------------- */

enum { COLD_KEYS = 20000, COLD_BYTES = 600, CALL_KEYS = 64 };

static void value_make(uint64_t i, char out[COLD_BYTES])
{
    uint64_t state = i;
    for (size_t at = 0; at < COLD_BYTES; at += 8) {
        uint64_t word = test_random(&state);
        memcpy(out + at, &word, 8);
    }
}

/* Values in the tables, or all of them in the value log. */
static void cold_fill(struct scene *s, bool separated)
{
    s->options.value_separation_min = separated ? 512 : UINT32_MAX;
    OK(nokv_open(s->path, &s->options, &s->db));
    for (uint64_t i = 0; i < COLD_KEYS; i++) {
        char key[24], value[COLD_BYTES];
        value_make(i, value);
        OK(nokv_put(s->db, key, key_make(i, key), value, sizeof value, NULL));
    }
    OK(nokv_compact_range(s->db, NULL, 0, NULL, 0));
    OK(nokv_close(s->db));
}

/* Nobody has the files mapped: let the kernel forget them. */
static void evict(struct scene *s)
{
    for (uint64_t n = 1; n < 100; n++) {
        for (int type = 0; type < 2; type++) {
            char path[PATH_SIZE_MAX];
            OK(type ? path_vlog(path, s->path, n) : path_sst(path, s->path, n));
            int fd = open(path, O_RDONLY);
            if (fd < 0)
                continue;
            assert_int_equal(fsync(fd), 0);
            assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
            close(fd);
        }
    }
}

static nokv_stats stats_of(nokv_db *db)
{
    nokv_stats s = {.struct_size = sizeof s};
    OK(nokv_stats_get(db, true, &s));
    return s;
}

static void call_random(nokv_db *db, uint64_t *rng)
{
    char names[CALL_KEYS][24], wanted[COLD_BYTES];
    nokv_slice keys[CALL_KEYS];
    nokv_value values[CALL_KEYS];
    nokv_status statuses[CALL_KEYS];
    uint64_t ids[CALL_KEYS];
    for (size_t n = 0; n < CALL_KEYS; n++) {
        ids[n] = test_random(rng) % COLD_KEYS;
        keys[n] = (nokv_slice){.data = names[n], .size = key_make(ids[n], names[n])};
    }
    OK(nokv_multi_get(db, CALL_KEYS, keys, NULL, values, statuses));
    for (size_t n = 0; n < CALL_KEYS; n++) {
        value_make(ids[n], wanted);
        assert_int_equal(values[n].size, COLD_BYTES);
        assert_memory_equal(values[n].data, wanted, COLD_BYTES);
        nokv_value_release(&values[n]);
    }
}

/* What one component did in `calls` calls after the first, which brings in filters and indexes. */
static nokv_component_stats cold_calls(struct scene *s, nokv_component component, int calls)
{
    uint64_t rng = test_seed(3);
    evict(s);
    OK(nokv_open(s->path, &s->options, &s->db));
    call_random(s->db, &rng);
    nokv_component_stats before = stats_of(s->db).components[component];
    for (int n = 0; n < calls; n++)
        call_random(s->db, &rng);
    nokv_component_stats after = stats_of(s->db).components[component];
    after.calls -= before.calls;
    after.reads -= before.reads;
    after.resident_bytes -= before.resident_bytes;
    OK(nokv_close(s->db));
    return after;
}

static bool has_page_cache(const struct scene *s)
{
    struct statfs fs;
    return statfs(s->dir, &fs) == 0 && fs.f_type != TMPFS;
}

/* Blocks that are cold are asked for, each once, and hardly more is read than they take: at the most three system calls
 * per key (one more of a block of two pages, when it is verified), and 8 KiB. Through io_uring they cost a few calls.
 */
static void test_cold_tables(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    cold_fill(&s, false);
    bool is_cold = has_page_cache(&s);
    if (is_cold) {
        s.options.sst_read = NOKV_IO_MMAP; /* by default they would come in larger pieces, being few */
        nokv_component_stats c = cold_calls(&s, NOKV_COMPONENT_SST, 4);
        printf("tables: %llu calls and %llu KiB for %d keys\n", (unsigned long long)c.calls,
               (unsigned long long)c.resident_bytes >> 10, 4 * CALL_KEYS);
        assert_in_range(c.calls, CALL_KEYS, 3 * 4 * CALL_KEYS + 8);
        assert_in_range(c.resident_bytes, 1, 4 * CALL_KEYS * (8 << 10));
    }
    if (is_cold) {
        s.options.sst_read = NOKV_IO_URING;
        nokv_component_stats c = cold_calls(&s, NOKV_COMPONENT_SST, 4);
        printf("%s: %llu calls for %d keys\n", c.model, (unsigned long long)c.calls, 4 * CALL_KEYS);
        assert_true(strcmp(c.model, "uring") != 0 || c.calls <= 4 * 8);
    }
    test_dir_remove(s.dir);
    if (!is_cold)
        skip();
}

/* Values that are cold are hinted at where they are mapped, and read together through io_uring. */
static void test_cold_values(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    cold_fill(&s, true);
    bool is_cold = has_page_cache(&s);
    if (is_cold) {
        s.options.vlog_read = NOKV_VLOG_READ_MMAP;
        nokv_component_stats c = cold_calls(&s, NOKV_COMPONENT_VLOG, 4);
        printf("mapped: %llu calls for %d values\n", (unsigned long long)c.calls, 4 * CALL_KEYS);
        assert_in_range(c.calls, CALL_KEYS, 2 * 4 * CALL_KEYS + 8);
        assert_int_equal(c.reads, 0);
        s.options.vlog_read = NOKV_VLOG_READ_URING;
        c = cold_calls(&s, NOKV_COMPONENT_VLOG, 4);
        printf("%s: %llu calls for %d values\n", c.model, (unsigned long long)c.calls, 4 * CALL_KEYS);
        if (strcmp(c.model, "uring") == 0)
            assert_true(c.calls <= 4 * 4);
    }
    test_dir_remove(s.dir);
    if (!is_cold)
        skip();
}

/* Groups that are taken to be hot are found out when they are not any more: some make the kernel read, and then it is
 * asked again. (Values that are read with calls: pages that a process has mapped and touched cannot be evicted.) */
static void test_trust_ends(void **state)
{
    (void)state;
    struct scene s;
    uint64_t rng = test_seed(4), fixed = 5;
    scene_init(&s);
    s.options.vlog_read = NOKV_VLOG_READ_PREAD;
    cold_fill(&s, true);
    OK(nokv_open(s.path, &s.options, &s.db));
    for (int n = 0; n < 200 && atomic_load(&s.db->hot_groups) < 16; n++) {
        uint64_t same = fixed;
        call_random(s.db, &same);
    }
    assert_int_equal(atomic_load(&s.db->hot_groups), 16);
    uint64_t pages = io_thread_pages_read();
    evict(&s);
    for (int n = 0; n < 100 && atomic_load(&s.db->hot_groups) == 16; n++)
        call_random(s.db, &rng);
    bool has_read =
        io_thread_pages_read() > pages; /* otherwise: no page cache to leave, or the kernel does not count */
    assert_true(!has_read || atomic_load(&s.db->hot_groups) < 16);
    OK(nokv_close(s.db));
    test_dir_remove(s.dir);
    if (!has_read)
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_state),
        cmocka_unit_test(test_cold_tables),
        cmocka_unit_test(test_cold_values),
        cmocka_unit_test(test_trust_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
