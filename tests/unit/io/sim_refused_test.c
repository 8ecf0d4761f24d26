// SPDX-License-Identifier: Apache-2.0
/* What the simulated disk refuses as a real one would, and what it does without memory. */
#include <errno.h>

#include "base/alloc.h"
#include "sim_bed.h"

/* A size that no memory holds is refused, and the file is what it was. */
static void test_size_beyond_memory(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    uint64_t size = 0;
    put_file(b.io, "f", true, true);
    struct io_file *f = open_rw(b.io, "f");
    FAILS(IO, io_truncate(f, INT64_MAX));
    assert_non_null(strstr(status_message(), "File too large"));
    OK(io_size(f, &size));
    assert_int_equal(size, 13);
    OK(io_close(f));
    bed_destroy(&b);
}

/* Every kind of operation that needs memory; the first error ends it. */
static enum nokv_status use_all(struct bed *b)
{
    static uint8_t bytes[3000];
    struct io_file *f CLEANUP(io_close_ptr) = NULL;
    struct io_map map;
    struct io_shared ring;
    TRY(io_open(b->io, "f", IO_OTHER, IO_STD, IO_READ | IO_WRITE, &f));
    TRY(io_pwrite(f, bytes, 1, 30));
    for (uint64_t i = 0; i < 20; i++) { /* the list of changes grows with the second of the two */
        TRY(io_pwrite(f, bytes, 1, i));
        TRY(io_pwrite_durable(f, bytes, 1, i));
    }
    TRY(io_pwrite(f, bytes, sizeof bytes, 0));
    TRY(io_truncate(f, 100));
    TRY(io_map(f, &map));
    io_unmap(&map);
    TRY(io_mkdir(b->io, "d"));
    TRY(io_rename(b->io, "f", "d/g"));
    TRY(io_rename(b->io, "d/g", "f"));
    TRY(io_rmdir(b->io, "d"));
    TRY(io_shared_open(b->io, "ring", 20 * SIM_SECTOR, &ring));
    io_shared_close(&ring);
    return io_sync(f);
}

/* When the k-th allocation fails, so does the operation that needed it, and what was durable before stays so. */
static void test_operations_without_memory(void **state)
{
    (void)state;
    enum nokv_status status = NOKV_ERR_NO_MEMORY;
    uint64_t k = 0;
    for (; status != NOKV_OK; k++) {
        struct bed b = bed_create(k);
        uint8_t bytes[32];
        put_file(b.io, "f", true, true);
        put_file(b.io, "safe", true, true);
        assert_int_equal(status, NOKV_ERR_NO_MEMORY);
        mem_fail_after(k);
        status = use_all(&b);
        mem_fail_after(UINT64_MAX);
        bed_cut(&b);
        assert_int_equal(read_all(b.io, "safe", bytes, sizeof bytes), 13);
        assert_memory_equal(bytes + 10, "abc", 3);
        bed_destroy(&b);
    }
    assert_true(k > 20);
}

/* Without memory a failed sync, a damage and a new life of the process are NO_MEMORY and have changed nothing. */
static void test_tools_without_memory(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    struct sim *copy = NULL;
    struct io *io = NULL;
    uint8_t bytes[32];
    put_file(b.io, "f", true, true);
    struct io_file *f = open_rw(b.io, "f");
    OK(io_pwrite(f, "xyz", 3, 10));
    OK(sim_clone(b.sim, &copy)); /* shares the bytes: who changes them needs its own */
    mem_fail_after(0);
    FAILS(NO_MEMORY, sim_flip_bit(b.sim, "f", 10, 0));
    mem_fail_after(0);
    FAILS(NO_MEMORY, sim_io_create(b.sim, &io));
    for (uint64_t k = 0; k < 3; k++) {
        sim_fail(b.sim, IO_OP_SYNC, IO_OTHER, 1, EIO, false);
        mem_fail_after(k);
        FAILS(NO_MEMORY, io_sync(f));
        mem_fail_after(UINT64_MAX);
        assert_int_equal(read_all(b.io, "f", bytes, sizeof bytes), 13);
        assert_memory_equal(bytes + 10, "xyz", 3);
    }
    OK(io_close(f));
    sim_destroy(copy);
    bed_destroy(&b);
}

/* Where what a failed sync loses is still read: whichever allocation fails, in the sync or in the next write, it is
 * NO_MEMORY; and only the page that is written again is synced by the next sync. */
static void test_lost_pages_without_memory(void **state)
{
    (void)state;
    struct bed b = {0};
    struct sim_options options = {.seed = 1, .failed_syncs_keep = true};
    mem_fail_after(0);
    FAILS(NO_MEMORY, sim_create(&options, &b.sim));
    OK(sim_create(&options, &b.sim));
    OK(sim_io_create(b.sim, &b.io));
    put_file(b.io, "f", true, true);
    struct io_file *f = open_rw(b.io, "f");
    enum nokv_status status = NOKV_ERR_NO_MEMORY;
    for (uint64_t k = 0; status == NOKV_ERR_NO_MEMORY; k++) {
        OK(io_pwrite(f, "xyz", 3, 10));
        OK(io_pwrite(f, "2", 1, PAGE_BYTES));
        sim_fail(b.sim, IO_OP_SYNC, IO_OTHER, 1, EIO, false);
        mem_fail_after(k);
        status = io_sync(f);
        mem_fail_after(UINT64_MAX);
    }
    assert_int_equal(status, NOKV_ERR_IO);
    static uint8_t bytes[2 * PAGE_BYTES];
    assert_int_equal(read_all(b.io, "f", bytes, sizeof bytes), PAGE_BYTES + 1);
    assert_memory_equal(bytes + 10, "xyz", 3);
    status = NOKV_ERR_NO_MEMORY;
    for (uint64_t k = 0; status == NOKV_ERR_NO_MEMORY; k++) {
        mem_fail_after(k);
        status = io_pwrite(f, "3", 1, PAGE_BYTES + 1);
        mem_fail_after(UINT64_MAX);
    }
    OK(status);
    OK(io_sync(f));
    OK(io_close(f));
    bed_cut(&b);
    assert_int_equal(read_all(b.io, "f", bytes, sizeof bytes), PAGE_BYTES + 2);
    assert_memory_equal(bytes + 10, "abc", 3);
    assert_memory_equal(bytes + PAGE_BYTES, "23", 2);
    bed_destroy(&b);
}

static void refused_for(enum nokv_status status, int err)
{
    assert_int_equal(status, NOKV_ERR_IO);
    assert_non_null(strstr(status_message(), strerror(err)));
}

/* A name that leads through a file, to the wrong kind of thing or to the root is refused as POSIX says. */
static void test_wrong_names(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    struct io_file *f = NULL;
    put_file(b.io, "f", true, true);
    OK(io_mkdir(b.io, "empty"));
    OK(io_mkdir(b.io, "full"));
    put_file(b.io, "full/g", true, false);
    refused_for(io_open(b.io, "f/x", IO_OTHER, IO_STD, IO_READ, &f), ENOTDIR);
    refused_for(io_open(b.io, "full", IO_OTHER, IO_STD, IO_READ, &f), EISDIR);
    refused_for(io_unlink(b.io, "empty"), EISDIR);
    refused_for(io_rmdir(b.io, "f"), ENOTDIR);
    refused_for(io_rmdir(b.io, "."), EBUSY);
    refused_for(io_rename(b.io, ".", "other"), EBUSY);
    refused_for(io_rename(b.io, "f", "/"), EBUSY);
    refused_for(io_rename(b.io, "f", "empty"), EISDIR);
    refused_for(io_rename(b.io, "empty", "f"), ENOTDIR);
    refused_for(io_rename(b.io, "empty", "full"), ENOTEMPTY);
    OK(io_rename(b.io, "full", "empty")); /* one that is empty is replaced */
    assert_true(io_exists(b.io, "empty/g") && io_exists(b.io, "f") && !io_exists(b.io, "full"));
    bed_destroy(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size_beyond_memory),   cmocka_unit_test(test_operations_without_memory),
        cmocka_unit_test(test_tools_without_memory), cmocka_unit_test(test_lost_pages_without_memory),
        cmocka_unit_test(test_wrong_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
