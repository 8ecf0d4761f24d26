// SPDX-License-Identifier: Apache-2.0
/* fault_test.c - calls that fail, on the simulated disk: a full disk, a failed write or sync, an unreadable log. */
#include <errno.h>

#include "io/sim.h"
#include "log_fixture.h"

enum { RING = 4096, COUNT = 80 };

struct disk {
    struct sim *sim;
    struct fixture f; /* its directory on the real file system is not used */
    size_t sizes[COUNT];
};

static void disk_init(struct disk *d, uint64_t preallocate)
{
    *d = (struct disk){0};
    const struct sim_options options = {.seed = 41};
    OK(sim_create(&options, &d->sim));
    OK(sim_io_create(d->sim, &d->f.io));
    d->f.ring = (struct io_shared){.data = calloc(1, RING), .size = RING};
    assert_non_null(d->f.ring.data);
    snprintf(d->f.path, sizeof d->f.path, "log");
    d->f.options = (struct rlog_writer_options){.io = d->f.io,
                                                .path = d->f.path,
                                                .component = IO_WAL,
                                                .model = IO_STD,
                                                .kind = RLOG_WAL,
                                                .number = LOG_NUMBER,
                                                .preallocate_bytes = preallocate,
                                                .ring = &d->f.ring};
    for (size_t i = 0; i < COUNT; i++)
        d->sizes[i] = i % 20 == 5 ? 3000 : 100;
}

static void disk_deinit(struct disk *d)
{
    fixture_kill(&d->f);
    io_destroy(d->f.io);
    sim_destroy(d->sim);
    free(d->f.ring.data);
}

static enum nokv_status append_status(struct disk *d, size_t index)
{
    uint8_t payload[3000];
    payload_fill(payload, index, d->sizes[index]);
    struct slice part = slice_make(payload, d->sizes[index]);
    return rlog_append(d->f.writer, &part, 1);
}

static void no_space_check(uint64_t preallocate)
{
    struct disk d;
    disk_init(&d, preallocate);
    OK(rlog_writer_create(&d.f.options, ".", &d.f.writer));
    sim_set_capacity(d.sim, 16384);
    size_t count = 0;
    enum nokv_status status;
    while ((status = append_status(&d, count)) == NOKV_OK)
        count++;
    assert_int_equal(status, NOKV_ERR_NO_SPACE);
    uint64_t end = rlog_end(d.f.writer);
    for (int i = 0; i < 3; i++)
        FAILS(NO_SPACE, append_status(&d, count));
    assert_true(rlog_end(d.f.writer) == end);
    OK(rlog_sync(d.f.writer));
    struct outcome out = read_log(&d.f, true, d.sizes, COUNT);
    assert_true(out.status == NOKV_OK && out.count == count);
    sim_set_capacity(d.sim, 0);
    OK(append_status(&d, count++));
    OK(rlog_seal(d.f.writer));
    out = read_log(&d.f, false, d.sizes, COUNT);
    assert_true(out.status == NOKV_OK && out.count == count);
    disk_deinit(&d);
}

/* On a full disk an append is refused before anything is written; with space again the writer goes on, and closes. */
static void test_no_space(void **state)
{
    (void)state;
    no_space_check(5000);
    no_space_check(1); /* less than any record needs: there is no smaller step to try */
}

static uint64_t hints(const struct disk *d)
{
    return atomic_load(&io_component_stats(d->f.io, IO_WAL)->ops[IO_OP_ADVISE].calls);
}

/* A log that writes behind has the kernel begin with each mebibyte; one that does not never asks. */
static void test_write_behind(void **state)
{
    (void)state;
    for (int on = 0; on < 2; on++) {
        struct disk d;
        static uint8_t bytes[100 << 10];
        struct slice part = slice_make(bytes, sizeof bytes);
        disk_init(&d, 0);
        OK(rlog_writer_create(&d.f.options, ".", &d.f.writer));
        rlog_write_behind(d.f.writer, on);
        for (int i = 0; i < 32; i++) {
            OK(rlog_append(d.f.writer, &part, 1));
            OK(rlog_append(d.f.writer, &(struct slice){.data = bytes, .size = 8}, 1)); /* through the ring */
            OK(rlog_flush(d.f.writer));
        }
        assert_int_equal(hints(&d), on ? 2 : 0);
        disk_deinit(&d);
    }
}

/* What the writer reserved is enough to seal a log on a disk that has become full. */
static void test_seal_on_full_disk(void **state)
{
    (void)state;
    struct disk d;
    disk_init(&d, 5000);
    OK(rlog_writer_create(&d.f.options, ".", &d.f.writer));
    sim_set_capacity(d.sim, 16384);
    size_t count = 0;
    while (append_status(&d, count) == NOKV_OK)
        count++;
    OK(rlog_seal(d.f.writer));
    struct outcome out = read_log(&d.f, false, d.sizes, COUNT);
    assert_true(out.status == NOKV_OK && out.count == count && out.report.sealed);
    disk_deinit(&d);
}

/* A write that fails for want of space, although its blocks were reserved, is final: its record may stand in the ring
 * and come back, so it must not be taken for one that certainly was not written. */
static void test_no_space_too_late(void **state)
{
    (void)state;
    struct disk d;
    disk_init(&d, 5000);
    for (size_t i = 0; i < COUNT; i++)
        d.sizes[i] = 100; /* all of them pass through the ring */
    OK(rlog_writer_create(&d.f.options, ".", &d.f.writer));
    sim_fail(d.sim, IO_OP_WRITE, IO_WAL, 1, ENOSPC, false);
    size_t count = 0;
    enum nokv_status status;
    while ((status = append_status(&d, count)) == NOKV_OK)
        count++;
    assert_true(sim_failed(d.sim));
    assert_int_equal(status, NOKV_ERR_IO);
    FAILS(POISONED, append_status(&d, count));
    struct outcome out = read_log(&d.f, true, d.sizes, COUNT);
    assert_true(out.status == NOKV_OK && out.count == count + 1);
    disk_deinit(&d);
}

static enum nokv_status work(struct disk *d, size_t *acked, size_t *synced)
{
    TRY(rlog_writer_create(&d->f.options, ".", &d->f.writer));
    for (size_t i = 0; i < COUNT; i++) {
        TRY(append_status(d, i));
        *acked = i + 1;
        if (i % 10 != 9)
            continue;
        TRY(rlog_sync(d->f.writer));
        *synced = i + 1;
    }
    return rlog_seal(d->f.writer);
}

/* The k-th call of a kind fails. False: there were fewer than k. */
static bool work_with_failure(enum io_op op, uint64_t k)
{
    struct disk d;
    disk_init(&d, k % 2 ? 5000 : 0);
    size_t acked = 0, synced = 0;
    sim_fail(d.sim, op, IO_WAL, k, EIO, false);
    enum nokv_status status = work(&d, &acked, &synced);
    bool failed = sim_failed(d.sim);
    sim_fail_clear(d.sim);
    bool sync_in_creation = d.f.writer == NULL && op == IO_OP_SYNC;
    assert_int_equal(status, !failed ? NOKV_OK : sync_in_creation ? NOKV_ERR_POISONED : NOKV_ERR_IO);
    if (d.f.writer == NULL) {
        assert_false(io_exists(d.f.io, d.f.path));
        disk_deinit(&d);
        return failed;
    }
    if (failed) {
        FAILS(POISONED, append_status(&d, 0));
        FAILS(POISONED, rlog_sync(d.f.writer));
        FAILS(POISONED, rlog_seal(d.f.writer));
    }
    fixture_kill(&d.f);
    struct outcome out = repair_log(&d.f, d.sizes, COUNT);
    assert_int_equal(out.status, NOKV_OK);
    assert_true(out.count >= (op == IO_OP_SYNC ? synced : acked));
    disk_deinit(&d);
    return failed;
}

/* Whichever call fails: the writer fails for good, and another process finds every acknowledged record; after a failed
 * sync, which may drop what it should have written, every synced one. A creation that failed leaves nothing behind. */
static void test_every_failing_call(void **state)
{
    (void)state;
    for (int op = 0; op < IO_OP_COUNT; op++)
        for (uint64_t k = 1; work_with_failure((enum io_op)op, k); k++)
            assert_true(k < 1000);
}

/* A log that cannot be read is an I/O error wherever that happens, never its end; so is a repair that fails, which can
 * be done again. */
static void test_reader_failures(void **state)
{
    (void)state;
    struct disk d;
    disk_init(&d, 0);
    OK(rlog_writer_create(&d.f.options, ".", &d.f.writer));
    for (size_t i = 0; i < COUNT; i++) {
        if (i == COUNT - 10) /* the others are in the ring only, where a failed sync cannot drop them */
            OK(rlog_sync(d.f.writer));
        OK(append_status(&d, i));
    }
    fixture_kill(&d.f);
    bool failed = true;
    for (uint64_t k = 1; failed; k++) {
        sim_fail(d.sim, IO_OP_COUNT, IO_COMPONENT_COUNT, k, EIO, false);
        struct outcome out = repair_log(&d.f, d.sizes, COUNT);
        failed = sim_failed(d.sim);
        sim_fail_clear(d.sim);
        assert_true(out.status == (failed ? NOKV_ERR_IO : NOKV_OK));
        assert_true(out.count == COUNT || out.status == NOKV_ERR_IO);
        assert_true(k < 1000);
    }
    struct outcome out = read_log(&d.f, false, d.sizes, COUNT);
    assert_true(out.status == NOKV_OK && out.count == COUNT && out.report.sealed);
    disk_deinit(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_space),          cmocka_unit_test(test_seal_on_full_disk),
        cmocka_unit_test(test_no_space_too_late), cmocka_unit_test(test_every_failing_call),
        cmocka_unit_test(test_reader_failures),   cmocka_unit_test(test_write_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
