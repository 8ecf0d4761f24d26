// SPDX-License-Identifier: Apache-2.0
/*
 * The limits of keys, values and batches: at the limit it works, through the log, the tables and a reopen; one beyond
 * it is refused with the status that the header names, and nothing is written.
 *
 *     limits_test         everything but values of 1 GiB
 *     limits_test large   those (scaled by NOKV_TEST_SCALE; skipped where memory is short)
 */
#include <sys/mman.h>

#include "nokv/nokv.h"
#include "test.h"

#define GIB ((size_t)1 << 30)
#define KIB ((uint64_t)1 << 10)

static char parent_dir[256], dir[300];
static nokv_db *db;

static int test_setup(void **state)
{
    (void)state;
    test_dir_create(parent_dir);
    snprintf(dir, sizeof dir, "%s/db", parent_dir);
    nokv_options options;
    nokv_options_init(&options);
    options.memtable_bytes = 256 * KIB;
    options.wal_buffer_bytes = 64 * KIB;
    OK(nokv_open(dir, &options, &db));
    return 0;
}

static int test_teardown(void **state)
{
    (void)state;
    OK(nokv_close(db));
    test_dir_remove(parent_dir);
    return 0;
}

static void reopen(void)
{
    OK(nokv_close(db));
    db = NULL;
    OK(nokv_open(dir, NULL, &db));
}

/* What every write changes, and a refused one must not. */
struct counted {
    uint64_t sequence, puts, deletes, batches, user_bytes, wal_bytes;
};

static struct counted count(void)
{
    nokv_stats s = {.struct_size = sizeof s};
    OK(nokv_stats_get(db, false, &s));
    return (struct counted){
        s.sequence, s.puts, s.deletes, s.batches, s.user_bytes_written, s.components[NOKV_COMPONENT_WAL].bytes};
}

static void assert_nothing_written(const struct counted *before)
{
    struct counted now = count();
    assert_memory_equal(before, &now, sizeof now);
}

static void assert_value(const void *key, size_t key_size, const void *value, size_t value_size)
{
    nokv_value v = {0};
    OK(nokv_get(db, key, key_size, NULL, &v));
    assert_int_equal(v.size, value_size);
    assert_true(value_size == 0 || memcmp(v.data, value, value_size) == 0);
    nokv_value_release(&v);
}

/* A page of zeros as often as needed: what is behind the first bytes of a value that is refused is never read. */
static uint8_t *zeros(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    return p;
}

/* Keys of 1 and of 65,535 bytes and empty values are kept; keys of 0 and 65,536 bytes are refused by every call. */
static void test_keys_at_and_beyond_their_limits(void **state)
{
    (void)state;
    static uint8_t key[NOKV_KEY_SIZE_MAX + 1];
    nokv_batch *batch = NULL;
    memset(key, 0xff, sizeof key);
    OK(nokv_batch_create(&batch));
    OK(nokv_put(db, key, 1, "one", 3, NULL));
    OK(nokv_put(db, key, NOKV_KEY_SIZE_MAX, "", 0, NULL));
    struct counted before = count();
    const struct {
        const void *data;
        size_t size;
        nokv_status status;
    } bad[] = {{key, 0, NOKV_ERR_INVALID},
               {NULL, 0, NOKV_ERR_INVALID},
               {NULL, 5, NOKV_ERR_INVALID},
               {key, sizeof key, NOKV_ERR_TOO_LARGE},
               {key, SIZE_MAX, NOKV_ERR_TOO_LARGE}};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        nokv_value v = {0};
        size_t size = 77;
        assert_int_equal(nokv_put(db, bad[i].data, bad[i].size, "v", 1, NULL), bad[i].status);
        assert_int_equal(nokv_delete(db, bad[i].data, bad[i].size, NULL), bad[i].status);
        assert_int_equal(nokv_batch_put(batch, bad[i].data, bad[i].size, "v", 1), bad[i].status);
        assert_int_equal(nokv_batch_delete(batch, bad[i].data, bad[i].size), bad[i].status);
        assert_int_equal(nokv_get(db, bad[i].data, bad[i].size, NULL, &v), bad[i].status);
        assert_int_equal(nokv_get_copy(db, bad[i].data, bad[i].size, NULL, key, 1, &size), bad[i].status);
        assert_true(v.data == NULL && size == 77);
    }
    assert_int_equal(nokv_batch_count(batch), 0);
    OK(nokv_write(db, batch, NULL));
    assert_nothing_written(&before);
    for (int i = 0; i < 3; i++) {
        assert_value(key, 1, "one", 3);
        assert_value(key, NOKV_KEY_SIZE_MAX, "", 0);
        if (i == 0)
            OK(nokv_flush(db));
        else
            reopen();
    }
    nokv_batch_destroy(batch);
}

/* A value of 1 GiB and a byte is refused before it is looked at, as is one without an address; nothing is written. */
static void test_values_beyond_their_limit(void **state)
{
    (void)state;
    nokv_batch *batch = NULL;
    OK(nokv_batch_create(&batch));
    struct counted before = count();
    FAILS(TOO_LARGE, nokv_put(db, "k", 1, "not a gibibyte", GIB + 1, NULL));
    FAILS(TOO_LARGE, nokv_put(db, "k", 1, "not a gibibyte", SIZE_MAX, NULL));
    FAILS(TOO_LARGE, nokv_batch_put(batch, "k", 1, "not a gibibyte", GIB + 1));
    FAILS(INVALID, nokv_put(db, "k", 1, NULL, 1, NULL));
    FAILS(INVALID, nokv_batch_put(batch, "k", 1, NULL, 1));
    FAILS(INVALID, nokv_write(db, NULL, NULL));
    nokv_write_options options = {.struct_size = sizeof options, .sync = (nokv_sync)9};
    FAILS(INVALID, nokv_put(db, "k", 1, "v", 1, &options));
    assert_nothing_written(&before);
    nokv_value v = {0};
    FAILS(NOT_FOUND, nokv_get(db, "k", 1, NULL, &v));
    OK(nokv_put(db, "k", 1, NULL, 0, NULL)); /* an empty value needs no address */
    assert_value("k", 1, "", 0);
    nokv_batch_destroy(batch);
}

/* Values around the sizes of blocks, buffer and memtable come back from the memtable, the log and a table alike. */
static void test_values_around_every_internal_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 32767, 32768, 65535, 65536, 65537, 262144, 262145, 3 << 20};
    uint8_t *value = zeros(4 << 20);
    for (size_t i = 0; i < 4 << 20; i++)
        value[i] = (uint8_t)(i * 2654435761u >> 13);
    for (int round = 0; round < 3; round++) {
        for (size_t s = 0; s < ARRAY_COUNT(sizes) * 3; s++) {
            size_t size = sizes[s / 3] + s % 3;
            if (round == 0)
                OK(nokv_put(db, &s, sizeof s, value + s, size, NULL));
            assert_value(&s, sizeof s, value + s, size);
        }
        if (round == 0)
            reopen();
        else
            OK(nokv_compact_range(db, NULL, 0, NULL, 0));
    }
    munmap(value, 4 << 20);
}

/* ---- large ------------------------------------------------------------------------------------------------------ */

static bool memory_is_short(size_t needed)
{
    char line[100];
    unsigned long long available_kib = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu", &available_kib) == 1)
            break;
    if (f)
        fclose(f);
    return available_kib < needed / 1024;
}

/* A value of exactly 1 GiB goes in, and comes back from the memtable, from the log after a reopen, and from a table. */
static void test_value_of_one_gibibyte(void **state)
{
    (void)state;
    size_t size = (size_t)test_scale(GIB);
    if (memory_is_short(6 * size))
        skip();
    uint8_t *value = zeros(size);
    for (size_t i = 0; i < size; i += 512)
        memcpy(value + i, &i, sizeof i);
    OK(nokv_put(db, "large", 5, value, size, NULL));
    OK(nokv_put(db, "small", 5, "v", 1, NULL));
    assert_value("large", 5, value, size);
    reopen();
    assert_value("large", 5, value, size);
    OK(nokv_flush(db));
    assert_value("large", 5, value, size);
    assert_value("small", 5, "v", 1);
    munmap(value, size);
}

/* A batch takes what fits its limit; the entry that does not is refused, and the batch can be written as it was. */
static void test_batch_at_its_limit(void **state)
{
    (void)state;
    size_t size = (size_t)NOKV_VALUE_SIZE_MAX;
    nokv_batch *batch = NULL;
    if (test_scale(100) < 100 || memory_is_short(6 * size))
        skip();
    uint8_t *value = zeros(size);
    OK(nokv_batch_create(&batch));
    OK(nokv_batch_put(batch, "small", 5, "v", 1));
    OK(nokv_batch_put(batch, "large", 5, value, size));
    FAILS(TOO_LARGE, nokv_batch_put(batch, "more", 4, value, size));
    assert_int_equal(nokv_batch_count(batch), 2);
    nokv_batch_clear(batch);
    FAILS(TOO_LARGE, nokv_batch_put(batch, "more", 4, value, size + 1));
    OK(nokv_batch_put(batch, "small", 5, "v", 1));
    OK(nokv_write(db, batch, NULL));
    assert_value("small", 5, "v", 1);
    nokv_value v = {0};
    FAILS(NOT_FOUND, nokv_get(db, "large", 5, NULL, &v));
    nokv_batch_destroy(batch);
    munmap(value, size);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest small[] = {
        cmocka_unit_test_setup_teardown(test_keys_at_and_beyond_their_limits, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_values_beyond_their_limit, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_values_around_every_internal_size, test_setup, test_teardown),
    };
    const struct CMUnitTest large[] = {
        cmocka_unit_test_setup_teardown(test_value_of_one_gibibyte, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_batch_at_its_limit, test_setup, test_teardown),
    };
    if (argc > 1 && strcmp(argv[1], "large") == 0)
        return cmocka_run_group_tests(large, NULL, NULL);
    return cmocka_run_group_tests(small, NULL, NULL);
}
