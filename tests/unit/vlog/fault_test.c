// SPDX-License-Identifier: Apache-2.0
/*
 * fault_test.c - calls that fail, on the simulated disk: each kind of operation, each allocation, a full disk. Other
 * appends go on; what was acknowledged is read and sealed; what failed leaves nothing but padding.
 */
#include <errno.h>

#include "base/alloc.h"
#include "vlog_model.h"

enum { COUNT = 24 };

struct disk {
    struct sim *sim;
    struct io *io;
    struct vlog_writer *w;
    struct vlog_reader *r;
    struct item items[COUNT];
    bool acked[COUNT];
    bool synced[COUNT];
};

static void disk_init(struct disk *d)
{
    *d = (struct disk){0};
    const struct sim_options options = {.seed = 41};
    OK(epoch_register());
    OK(sim_create(&options, &d->sim));
    OK(sim_io_create(d->sim, &d->io));
}

static void disk_deinit(struct disk *d)
{
    vlog_reader_unref(d->r);
    vlog_writer_destroy(d->w);
    epoch_drain();
    io_destroy(d->io);
    sim_destroy(d->sim);
}

static enum nokv_status disk_create(struct disk *d, enum io_model model, uint64_t preallocate)
{
    struct vlog_writer_options o = model_options(d->io, "000007.vlog", ".");
    o.model = model;
    o.preallocate_bytes = preallocate;
    return vlog_writer_create(&o, &d->w);
}

/* Item i; every few are large, streamed, or followed by a flush. Sizes add up to several buffers. */
static enum nokv_status add(struct disk *d, unsigned i)
{
    struct item *it = &d->items[i];
    size_t size = i % 10 == 2 ? 1100000 : i % 5 == 3 ? 70000 + i * 997 : i % 10 == 4 ? 300000 : 10 + i * 13;
    *it = (struct item){.number = i, .key_size = 8 + i, .value_size = size};
    enum nokv_status status = i % 7 == 6 ? item_stream(d->w, it, 100000, 5000) : item_append(d->w, it);
    d->acked[i] = status == NOKV_OK;
    if (status != NOKV_OK)
        it->pointer = (struct vlog_pointer){0};
    return status;
}

/* Every acknowledged record is read, by the reader of the segment that is being written. */
static void check_reads(struct disk *d)
{
    for (unsigned i = 0; i < COUNT; i++)
        if (d->acked[i])
            OK(item_read(d->r, &d->items[i]));
}

/* After a failed sync, which may have dropped what was not durable: never a wrong byte, and all that was synced. */
static void check_reads_of_synced(struct disk *d)
{
    for (unsigned i = 0; i < COUNT; i++) {
        enum nokv_status status = d->acked[i] ? item_read(d->r, &d->items[i]) : NOKV_OK;
        assert_true(status == NOKV_OK || (status == NOKV_ERR_CORRUPT && !d->synced[i]));
    }
}

/* The segment holds what was acknowledged, and nothing else; the rest is padding. */
static void check_sealed(struct disk *d)
{
    unsigned seen[COUNT] = {0};
    struct vlog_scan_totals totals;
    const struct vlog_scan_options o = {
        .io = d->io, .path = "000007.vlog", .number = SEGMENT, .component = IO_OTHER, .is_sealed = true};
    OK(items_scan(&o, d->items, COUNT, seen, &totals));
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(seen[i], d->acked[i]);
    assert_int_equal(totals.record_bytes + totals.padding_bytes, totals.end - PAGE_BYTES);
}

/* The k-th operation of a kind fails, once or from then on; after a while the disk is well again. False: fewer than k.
 */
static bool run_with_failure(enum io_op op, uint64_t k, bool sticky, enum io_model model, int err)
{
    struct disk d;
    disk_init(&d);
    bool poisoned = false, failed = false;
    unsigned errors = 0;
    sim_fail(d.sim, op, IO_VLOG, k, err, sticky);
    enum nokv_status status = disk_create(&d, model, k % 2 ? 700000 : 0);
    if (status != NOKV_OK) {
        assert_true(sim_failed(d.sim) && !(op != IO_OP_NAMESPACE && io_exists(d.io, "000007.vlog") && !sticky));
        disk_deinit(&d);
        return true;
    }
    enum nokv_status opened = vlog_reader_open(d.io, "000007.vlog", SEGMENT, VLOG_READ_AUTO, d.w, NULL, &d.r);
    for (unsigned i = 0; i < COUNT; i++) {
        if (i == COUNT * 3 / 4) {
            failed = sim_failed(d.sim);
            sim_fail_clear(d.sim);
        }
        errors += add(&d, i) != NOKV_OK;
        if (i % 4 == 3)
            errors += vlog_writer_flush(d.w) != NOKV_OK;
        if (i % 8 != 7)
            continue;
        if (vlog_writer_sync(d.w) == NOKV_OK) {
            memcpy(d.synced, d.acked, sizeof d.synced);
        } else {
            errors++;
            poisoned = poisoned || op == IO_OP_SYNC;
        }
    }
    assert_true(failed || (errors == 0 && opened == NOKV_OK));
    if (opened != NOKV_OK)
        OK(vlog_reader_open(d.io, "000007.vlog", SEGMENT, VLOG_READ_AUTO, d.w, NULL, &d.r));
    if (poisoned) {
        const struct io_op_stats *syncs = &io_component_stats(d.io, IO_VLOG)->ops[IO_OP_SYNC];
        uint64_t before = syncs->calls;
        FAILS(POISONED, add(&d, 0));
        FAILS(POISONED, vlog_writer_flush(d.w));
        FAILS(POISONED, vlog_writer_sync(d.w));
        FAILS(POISONED, vlog_writer_seal(d.w));
        assert_int_equal(syncs->calls, before); /* never again */
        check_reads_of_synced(&d);
    } else {
        check_reads(&d);
        OK(vlog_writer_seal(d.w));
        check_reads(&d);
        check_sealed(&d);
    }
    disk_deinit(&d);
    return failed;
}

static void every_failing_call(enum io_model model)
{
    static const enum io_op ops[] = {IO_OP_OPEN,     IO_OP_READ,        IO_OP_WRITE,   IO_OP_SYNC,
                                     IO_OP_SYNC_DIR, IO_OP_PREALLOCATE, IO_OP_TRUNCATE};
    for (size_t op = 0; op < ARRAY_COUNT(ops); op++)
        for (int sticky = 0; sticky < 2; sticky++)
            for (uint64_t k = 1; run_with_failure(ops[op], k, sticky, model, k % 3 ? EIO : ENOSPC); k++)
                assert_true(k < 2000);
}

/* Whichever call fails, through the page cache: see above. */
static void test_every_failing_call(void **state)
{
    (void)state;
    every_failing_call(IO_STD);
}

/* The same in whole blocks. */
static void test_every_failing_call_direct(void **state)
{
    (void)state;
    every_failing_call(IO_DIRECT);
}

/* A disk that fills up: NO_SPACE and nothing else, again and again; with space again everything is written and sealed.
 */
static void test_no_space(void **state)
{
    (void)state;
    for (int direct = 0; direct < 2; direct++)
        for (uint64_t preallocate = 0; preallocate <= 800000; preallocate += 800000)
            for (uint64_t capacity = 20000; capacity < 2000000; capacity += 500001) {
                struct disk d;
                disk_init(&d);
                unsigned refused = 0;
                OK(disk_create(&d, direct ? IO_DIRECT : IO_STD, preallocate));
                OK(vlog_reader_open(d.io, "000007.vlog", SEGMENT, VLOG_READ_AUTO, d.w, NULL, &d.r));
                sim_set_capacity(d.sim, capacity);
                for (unsigned i = 0; i < COUNT - 6; i++) {
                    enum nokv_status status = add(&d, i);
                    if (status != NOKV_OK)
                        assert_int_equal(status, NOKV_ERR_NO_SPACE);
                    refused += status != NOKV_OK;
                    status = vlog_writer_sync(d.w);
                    if (status != NOKV_OK)
                        assert_int_equal(status, NOKV_ERR_NO_SPACE);
                }
                assert_true(refused > 0);
                check_reads(&d);
                sim_set_capacity(d.sim, 0);
                for (unsigned i = COUNT - 6; i < COUNT; i++)
                    OK(add(&d, i));
                OK(vlog_writer_sync(d.w));
                check_reads(&d);
                OK(vlog_writer_seal(d.w));
                check_sealed(&d);
                disk_deinit(&d);
            }
}

static enum nokv_status life(struct disk *d)
{
    struct vlog_reader *r = NULL;
    unsigned seen[COUNT] = {0};
    const struct vlog_scan_options o = {
        .io = d->io, .path = "000007.vlog", .component = IO_OTHER, .value_size_max = 400000, .is_sealed = true};
    TRY(disk_create(d, IO_STD, 0));
    for (unsigned i = 0; i < 8; i++)
        TRY(add(d, i));
    TRY(vlog_writer_seal(d->w));
    TRY(items_scan(&o, d->items, COUNT, seen, NULL));
    TRY(vlog_reader_open(d->io, "000007.vlog", SEGMENT, VLOG_READ_AUTO, NULL, NULL, &r));
    enum nokv_status status = NOKV_OK;
    for (unsigned i = 0; i < 8 && status == NOKV_OK; i++)
        status = item_read(r, &d->items[i]);
    vlog_reader_unref(r);
    return status;
}

/* Whichever allocation fails: NO_MEMORY or as if nothing had happened, nothing leaks, nothing hangs. */
static void test_every_failing_allocation(void **state)
{
    (void)state;
    bool done = false;
    for (uint64_t k = 0; !done; k++) {
        struct disk d;
        disk_init(&d);
        mem_fail_after(k);
        uint64_t before = mem_alloc_count();
        enum nokv_status status = life(&d);
        done = mem_alloc_count() - before <= k;
        mem_fail_after(UINT64_MAX);
        if (status != NOKV_OK)
            assert_int_equal(status, NOKV_ERR_NO_MEMORY);
        assert_true(k < 2000 && (!done || status == NOKV_OK));
        disk_deinit(&d);
    }
}

/* A file that cannot be mapped: a value that is mapped only while it is in memory is copied, another one reports it. */
static void test_no_mapping(void **state)
{
    (void)state;
    struct disk d;
    disk_init(&d);
    struct item *it = &d.items[0];
    *it = (struct item){.number = 0, .key_size = 8, .value_size = 5000};
    OK(disk_create(&d, IO_STD, 0));
    OK(item_append(d.w, it));
    OK(vlog_writer_seal(d.w));
    for (enum vlog_read_model m = VLOG_READ_AUTO; m <= VLOG_READ_MMAP; m++) {
        OK(vlog_reader_open(d.io, "000007.vlog", SEGMENT, m, NULL, NULL, &d.r));
        sim_fail(d.sim, IO_OP_MAP, IO_VLOG, 1, ENOMEM, false);
        enum nokv_status status = item_read(d.r, it);
        assert_true(sim_fail_clear(d.sim));
        assert_true((status == NOKV_OK) == (m == VLOG_READ_AUTO));
        OK(item_read(d.r, it));
        vlog_reader_unref(TAKE(d.r));
    }
    disk_deinit(&d);
}

/* A part of a large value with a long key: without memory for either the read says so, and gives no byte. */
static void test_reading_without_memory(void **state)
{
    (void)state;
    struct disk d;
    disk_init(&d);
    struct item *it = &d.items[0];
    uint8_t key[600], value[1000];
    *it = (struct item){.number = 0, .key_size = sizeof key, .value_size = 200000};
    OK(disk_create(&d, IO_STD, 0));
    OK(item_append(d.w, it));
    OK(vlog_writer_seal(d.w));
    OK(vlog_reader_open(d.io, "000007.vlog", SEGMENT, VLOG_READ_PREAD, NULL, NULL, &d.r));
    struct slice user_key = item_key(it, key);
    enum nokv_status status = NOKV_ERR_NO_MEMORY;
    uint64_t k = 0;
    for (; status != NOKV_OK; k++) {
        mem_fail_after(k);
        status = vlog_read(d.r, &it->pointer, user_key, 100, value, sizeof value);
        mem_fail_after(UINT64_MAX);
        assert_true(status == NOKV_OK || status == NOKV_ERR_NO_MEMORY);
    }
    assert_true(k > 2);
    pattern_check(value, it->number, 100, sizeof value);
    disk_deinit(&d);
}

/* Appends `value` as the only item; its n-th allocation fails. True: it has as many. */
static bool append_without_memory(enum io_model model, struct slice value, uint64_t n)
{
    struct disk d;
    uint8_t key[8];
    disk_init(&d);
    struct item *it = &d.items[0];
    *it = (struct item){.number = 0, .key_size = sizeof key, .value_size = value.size};
    OK(disk_create(&d, model, 0));
    const struct ikey k = {.user = item_key(it, key), .tag = item_tag(it)};
    mem_fail_after(n);
    uint64_t before = mem_alloc_count();
    enum nokv_status status = vlog_append(d.w, k, value, &it->pointer);
    bool is_reached = mem_alloc_count() - before > n;
    mem_fail_after(UINT64_MAX);
    if (status != NOKV_OK) {
        assert_int_equal(status, NOKV_ERR_NO_MEMORY);
        OK(vlog_append(d.w, k, value, &it->pointer));
    }
    assert_true(is_reached || status == NOKV_OK);
    d.acked[0] = true;
    OK(vlog_writer_seal(d.w));
    check_sealed(&d);
    disk_deinit(&d);
    return is_reached;
}

/* A large value that finds no memory for its checksums, or for a copy of what the disk wants aligned, is refused,
 * leaves nothing but padding, and is taken when it comes again. */
static void test_appending_without_memory(void **state)
{
    (void)state;
    enum { SIZE = 5 << 20 };
    uint8_t *value = malloc(SIZE + 1);
    assert_non_null(value);
    pattern_fill(value + 1, 0, 0, SIZE);
    for (int direct = 0; direct < 2; direct++) {
        uint64_t n = 0;
        while (append_without_memory(direct ? IO_DIRECT : IO_STD, slice_make(value + 1, SIZE), n))
            n++;
        assert_true(n > 2);
    }
    free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_failing_call),
        cmocka_unit_test(test_every_failing_call_direct),
        cmocka_unit_test(test_no_space),
        cmocka_unit_test(test_every_failing_allocation),
        cmocka_unit_test(test_no_mapping),
        cmocka_unit_test(test_reading_without_memory),
        cmocka_unit_test(test_appending_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
