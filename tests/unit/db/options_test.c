// SPDX-License-Identifier: Apache-2.0
/* options_test.c - defaults, limits that are named when they are broken, and callers older or younger than the library.
 */
#include <math.h>

#include "db/db.h"
#include "test.h"

static nokv_options fresh(void)
{
    nokv_options o;
    nokv_options_init(&o);
    return o;
}

static void assert_refused(const nokv_options *o, const char *name, enum nokv_status wanted)
{
    nokv_options out;
    enum nokv_status status = options_resolve(o, 8ull << 30, &out);
    if (status != wanted)
        fail_msg("%s: %s", name, status_name(status));
    if (strstr(status_message(), name) == NULL)
        fail_msg("no word of %s: %s", name, status_message());
}

static void assert_accepted(const nokv_options *o)
{
    nokv_options out;
    OK(options_resolve(o, 8ull << 30, &out));
}

/* Without options, or with all at zero, every field gets the documented default. */
static void test_defaults(void **state)
{
    (void)state;
    nokv_options zero = fresh(), out;
    for (int i = 0; i < 2; i++) {
        memset(&out, 0xee, sizeof out);
        OK(options_resolve(i ? &zero : NULL, 8ull << 30, &out));
        assert_int_equal(out.struct_size, sizeof out);
        assert_true(out.create_if_missing && !out.error_if_exists && !out.read_only && !out.inline_background_work);
        assert_int_equal(out.sync, NOKV_SYNC_NONE);
        assert_int_equal(out.memtable_bytes, 64 << 20);
        assert_int_equal(out.memtables_max, 4);
        assert_int_equal(out.background_threads, 2);
        assert_int_equal(out.wal_buffer_bytes, 4 << 20);
        assert_int_equal(out.table_bytes, 64 << 20);
        assert_int_equal(out.block_bytes, 4096);
        assert_int_equal(out.filter_bits_per_key, 10);
        assert_int_equal(out.level_base_bytes, 256 << 20);
        assert_int_equal(out.level_ratio, 10);
        assert_int_equal(out.l0_compact_files, 2);
        assert_int_equal(out.l0_busy_files, 32);
        assert_int_equal(out.l0_slowdown_files, out.l0_busy_files * 3 / 2);
        assert_int_equal(out.l0_stop_files, out.l0_slowdown_files * 2);
        assert_int_equal(out.sst_read, NOKV_IO_DEFAULT);
        assert_int_equal(out.wal_write, NOKV_IO_STD);
        assert_int_equal(out.background_io, NOKV_IO_DEFAULT);
        assert_int_equal(out.huge_pages, NOKV_HUGE_PAGES_DEFAULT);
    }
}

#define LIMIT(field, low, high)                            \
    do {                                                   \
        nokv_options o_ = fresh();                         \
        o_.field = (low);                                  \
        assert_accepted(&o_);                              \
        o_.field = (high);                                 \
        assert_accepted(&o_);                              \
        o_.field = (high) + 1;                             \
        assert_refused(&o_, #field, NOKV_ERR_INVALID);     \
        o_.field = (low)-1;                                \
        if (o_.field != 0) /* zero is the default */       \
            assert_refused(&o_, #field, NOKV_ERR_INVALID); \
    } while (0)

/* Each limit is where it is documented to be, and the message names the option, what was given and what is allowed. */
static void test_limits(void **state)
{
    (void)state;
    LIMIT(memtable_bytes, 64ull << 10, 4ull << 30);
    LIMIT(memtables_max, 2u, 64u);
    LIMIT(background_threads, 1u, 64u);
    LIMIT(level_ratio, 2u, 100u);
    LIMIT(filter_bits_per_key, 1u, 32u);
    LIMIT(l0_compact_files, 2u, 256u);
    LIMIT(l0_busy_files, 2u, 4096u);
    LIMIT(block_bytes, 4096u, 65536u);
    nokv_options o = fresh();
    o.memtable_bytes = 5;
    assert_refused(&o, "memtable_bytes is 5; allowed is 65536 to 4294967296", NOKV_ERR_INVALID);
    o = fresh();
    o.table_bytes = 4ull << 30;
    assert_accepted(&o); /* the base level grows with it */
    o.table_bytes++;
    assert_refused(&o, "table_bytes", NOKV_ERR_INVALID);
    o = fresh();
    o.table_bytes = 1;
    assert_refused(&o, "table_bytes", NOKV_ERR_INVALID);
    o = fresh();
    o.level_base_bytes = (64ull << 20) - 1;
    assert_refused(&o, "level_base_bytes", NOKV_ERR_INVALID);
    o = fresh();
    o.block_bytes = 6000;
    assert_refused(&o, "block_bytes", NOKV_ERR_INVALID);
    o = fresh();
    o.filter_bits_per_key = UINT32_MAX; /* off */
    assert_accepted(&o);
    static const double amps[] = {1.05, 1000, 1.04, 1000.5, -1, NAN};
    for (size_t i = 0; i < ARRAY_COUNT(amps); i++) {
        o = fresh();
        o.vlog_space_amp_max = amps[i];
        if (i < 2)
            assert_accepted(&o);
        else
            assert_refused(&o, "vlog_space_amp_max", NOKV_ERR_INVALID);
    }
    o = fresh();
    o.sync = (nokv_sync)3;
    assert_refused(&o, "sync", NOKV_ERR_INVALID);
}

/* The buffer of the WAL is a power of two between its limits. */
static void test_wal_buffer(void **state)
{
    (void)state;
    nokv_options o = fresh();
    for (uint64_t bytes = 64 << 10; bytes <= 1ull << 30; bytes *= 2) {
        o.wal_buffer_bytes = bytes;
        assert_accepted(&o);
        o.wal_buffer_bytes = bytes + 4096;
        assert_refused(&o, "wal_buffer_bytes", NOKV_ERR_INVALID);
    }
    o.wal_buffer_bytes = 32 << 10;
    assert_refused(&o, "wal_buffer_bytes", NOKV_ERR_INVALID);
    o.wal_buffer_bytes = 2ull << 30;
    assert_refused(&o, "wal_buffer_bytes", NOKV_ERR_INVALID);
}

/* The thresholds of level 0 come in their order; what follows from one that was given is accepted with it. */
static void test_level0_order(void **state)
{
    (void)state;
    nokv_options o = fresh();
    for (uint32_t busy = 2; busy <= 4096; busy *= 2) {
        o.l0_busy_files = busy;
        assert_accepted(&o);
    }
    for (uint32_t compact = 2; compact <= 256; compact *= 2) {
        o = fresh();
        o.l0_compact_files = compact;
        assert_accepted(&o);
    }
    o = fresh();
    o.l0_compact_files = 8;
    o.l0_busy_files = 7;
    assert_refused(&o, "l0_busy_files", NOKV_ERR_INVALID);
    o = fresh();
    o.l0_busy_files = 24;
    o.l0_slowdown_files = 23;
    assert_refused(&o, "l0_slowdown_files", NOKV_ERR_INVALID);
    o = fresh();
    o.l0_busy_files = 24;
    o.l0_stop_files = 36;
    assert_refused(&o, "l0_stop_files", NOKV_ERR_INVALID);
}

/* An I/O model that makes no sense for a component is refused, with the reason. */
static void test_models(void **state)
{
    (void)state;
    nokv_options o = fresh();
    for (int model = NOKV_IO_DEFAULT; model <= NOKV_IO_URING; model++) {
        o = fresh();
        o.wal_write = (nokv_io_model)model;
        o.background_io = (nokv_io_model)model;
        if (model == NOKV_IO_MMAP)
            assert_refused(&o, "wal_write: a mapped log", NOKV_ERR_INVALID);
        else
            assert_accepted(&o);
    }
    o = fresh();
    o.background_io = NOKV_IO_MMAP;
    assert_refused(&o, "background_io", NOKV_ERR_INVALID);
    o = fresh();
    o.vlog_write = NOKV_IO_MMAP;
    assert_refused(&o, "vlog_write: data files are never written through a mapping", NOKV_ERR_INVALID);
    o = fresh();
    o.wal_write = (nokv_io_model)5;
    assert_refused(&o, "wal_write", NOKV_ERR_INVALID);
    o = fresh();
    o.background_io = (nokv_io_model)-1;
    assert_refused(&o, "background_io", NOKV_ERR_INVALID);
    o = fresh();
    o.huge_pages = NOKV_HUGE_PAGES_ON;
    assert_accepted(&o);
    o.huge_pages = (nokv_huge_pages)(NOKV_HUGE_PAGES_ON + 1);
    assert_refused(&o, "huge_pages", NOKV_ERR_INVALID);
    o = fresh();
    o.sst_read = (nokv_io_model)5;
    assert_refused(&o, "sst_read", NOKV_ERR_INVALID);
    o = fresh();
    o.block_cache_bytes = 1000;
    assert_refused(&o, "block_cache_bytes", NOKV_ERR_INVALID);
}

/* A caller built against an older, shorter struct gets the defaults for the rest; nothing behind its end is read. */
static void test_older_caller(void **state)
{
    (void)state;
    nokv_options out;
    for (size_t size = offsetof(nokv_options, sync); size <= sizeof(nokv_options); size += 4) {
        nokv_options *o = malloc(size); /* exactly: AddressSanitizer sees a byte read beyond it */
        assert_non_null(o);
        nokv_options_init_sized(o, size);
        OK(options_resolve(o, 8ull << 30, &out));
        assert_int_equal(out.struct_size, sizeof out);
        assert_int_equal(out.level_ratio, 10);
        free(o);
    }
    nokv_options older = fresh();
    older.struct_size = offsetof(nokv_options, level_ratio);
    older.memtable_bytes = 1 << 20;
    older.level_ratio = 77; /* not its own */
    OK(options_resolve(&older, 8ull << 30, &out));
    assert_int_equal(out.memtable_bytes, 1 << 20);
    assert_int_equal(out.level_ratio, 10);
}

/* A caller built against a longer struct is served as long as it does not set what this library does not know. */
static void test_younger_caller(void **state)
{
    (void)state;
    struct {
        nokv_options o;
        uint64_t later[4];
    } younger;
    nokv_options out;
    memset(&younger, 0, sizeof younger);
    nokv_options_init_sized(&younger.o, sizeof younger);
    younger.o.level_ratio = 8;
    OK(options_resolve(&younger.o, 8ull << 30, &out));
    assert_int_equal(out.level_ratio, 8);
    younger.later[3] = 1;
    assert_refused(&younger.o, "an option that this version", NOKV_ERR_NOT_SUPPORTED);
}

/* Options that nobody initialised are refused with what to do. */
static void test_not_initialised(void **state)
{
    (void)state;
    nokv_options o = {0};
    assert_refused(&o, "nokv_options_init", NOKV_ERR_INVALID);
    memset(&o, 0xee, sizeof o);
    assert_refused(&o, "nokv_options_init", NOKV_ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),       cmocka_unit_test(test_limits),
        cmocka_unit_test(test_wal_buffer),     cmocka_unit_test(test_level0_order),
        cmocka_unit_test(test_models),         cmocka_unit_test(test_older_caller),
        cmocka_unit_test(test_younger_caller), cmocka_unit_test(test_not_initialised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
