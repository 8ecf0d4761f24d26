// SPDX-License-Identifier: Apache-2.0
/* rlog_test.c - what is appended comes back, whatever its size, wherever ring, window and file end. */
#include "log_fixture.h"
#include "rlog/format.h"

enum { RING = 8192 };

/* Records of every size around a boundary come back from the file and ring of a killed process, and after a seal. */
static void round_trip(size_t ring_size, uint64_t preallocate, const size_t *sizes, size_t count)
{
    struct fixture f;
    fixture_init(&f, ring_size);
    f.options.preallocate_bytes = preallocate;
    fixture_create_log(&f);
    for (size_t i = 0; i < count; i++)
        append_one(&f, i, sizes[i]);
    struct outcome out = read_log(&f, true, sizes, count);
    assert_int_equal(out.status, NOKV_OK);
    assert_int_equal(out.count, count);
    assert_true(out.report.end_off == rlog_end(f.writer) && !out.report.sealed);
    OK(rlog_seal(f.writer));
    OK(rlog_seal(f.writer));
    assert_true(rlog_synced(f.writer) == rlog_end(f.writer));
    uint64_t size;
    OK(io_stat(f.io, f.path, &size));
    assert_true(size == rlog_end(f.writer));
    out = read_log(&f, false, sizes, count);
    assert_int_equal(out.status, NOKV_OK);
    assert_int_equal(out.count, count);
    assert_true(out.report.sealed && out.report.cut_bytes == 0 && out.report.ring_bytes == 0);
    fixture_deinit(&f);
}

/* An empty log, small records, empty records and one of each size up to 600 bytes make the round trip. */
static void test_small_records(void **state)
{
    (void)state;
    size_t sizes[600];
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
        sizes[i] = i;
    for (size_t ring = 0; ring <= RING; ring += RING) {
        round_trip(ring, 0, sizes, 0);
        round_trip(ring, 0, sizes, 1);
        round_trip(ring, 0, sizes, ARRAY_COUNT(sizes));
        round_trip(ring, 5000, sizes, ARRAY_COUNT(sizes));
    }
}

/* Sizes around half a ring, a ring, a piece of a direct write and a reader's window make the round trip. */
static void test_sizes_around_limits(void **state)
{
    (void)state;
    static const size_t limits[] = {RING / 2, RING, 2 * RING, 3 * RING, 64 << 10, 128 << 10, 1 << 20, 2 << 20};
    for (size_t l = 0; l < ARRAY_COUNT(limits); l++) {
        size_t sizes[3 * 60], count = 0;
        for (size_t d = 0; d<50; d += limits[l]> RING ? 5 : 1) {
            sizes[count++] = limits[l] - 34 + d;
            sizes[count++] = d;
        }
        round_trip(RING, 0, sizes, count);
        round_trip(0, 0, sizes, count);
    }
}

/* Random sizes, flushes, syncs and kills: what comes back from file and ring is always all of it. */
static void test_random_kills(void **state)
{
    (void)state;
    uint64_t rng = test_seed(11);
    for (int round = 0; round < 30; round++) {
        struct fixture f;
        fixture_init(&f, 4096 + 8 * (test_random(&rng) % 1000));
        f.options.write_chunk_bytes = test_random(&rng) % 3 ? test_random(&rng) % 9000 : 0;
        f.options.preallocate_bytes = test_random(&rng) % 2 ? 1 + test_random(&rng) % 100000 : 0;
        fixture_create_log(&f);
        size_t sizes[300];
        for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
            sizes[i] = test_random(&rng) % (test_random(&rng) % 8 ? 300 : 9000);
            append_one(&f, i, sizes[i]);
            uint64_t op = test_random(&rng) % 100;
            if (op == 0)
                OK(rlog_flush(f.writer));
            else if (op == 1)
                OK(rlog_sync(f.writer));
            else if (op < 10) {
                struct outcome out = read_log(&f, true, sizes, i + 1);
                assert_int_equal(out.status, NOKV_OK);
                assert_int_equal(out.count, i + 1);
                assert_true(out.report.end_off == rlog_end(f.writer));
            }
        }
        fixture_kill(&f);
        struct outcome out = repair_log(&f, sizes, ARRAY_COUNT(sizes));
        assert_int_equal(out.status, NOKV_OK);
        assert_int_equal(out.count, ARRAY_COUNT(sizes));
        memset(f.ring.data, 0xcc, f.ring.size);
        out = read_log(&f, false, sizes, ARRAY_COUNT(sizes));
        assert_int_equal(out.status, NOKV_OK);
        assert_int_equal(out.count, ARRAY_COUNT(sizes));
        fixture_deinit(&f);
    }
}

/* A record is in the ring alone until the chunk is full, then in the file; rlog_flush moves it at once. */
static void test_where_records_stand(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_log(&f, RING);
    uint64_t size;
    append_one(&f, 0, 100);
    OK(io_stat(f.io, f.path, &size));
    assert_true(size == RLOG_FILE_HEADER);
    OK(rlog_flush(f.writer));
    OK(io_stat(f.io, f.path, &size));
    assert_true(size == rlog_end(f.writer));
    for (uint64_t i = 1; size == rlog_end(f.writer) || i < 3; i++)
        append_one(&f, i, 100);
    uint64_t end = rlog_end(f.writer);
    for (uint64_t i = 0; i < RING / 4 / 100; i++)
        append_one(&f, i, 100);
    OK(io_stat(f.io, f.path, &size));
    assert_true(size >= end);
    assert_true(rlog_number(f.writer) == LOG_NUMBER);
    fixture_deinit(&f);
}

struct waiter {
    int calls;
    enum nokv_status answer;
};

static enum nokv_status wait_counted(void *arg)
{
    struct waiter *w = arg;
    w->calls++;
    return w->answer == NOKV_OK ? NOKV_OK : FAIL_WITH(w->answer, "planned");
}

/* Where the log claims that those before it are durable; 0: nowhere. */
static uint64_t claim_of(const struct fixture *f)
{
    struct rlog_reader_options options = reader_options(f, slice_make(f->ring.data, f->ring.size));
    struct rlog_reader *r = NULL;
    bool found = false;
    uint64_t off = 0, bytes = 0;
    OK(rlog_reader_open(&options, &r));
    OK(rlog_reader_find_claim(r, &found, &off, &bytes));
    rlog_reader_close(r);
    assert_true(!found || off >= RLOG_FILE_HEADER);
    return found ? off : 0;
}

/* While held records are appended, moved to the file and laps of the ring completed as always, but nothing is claimed.
 * What is released says so with its next record. */
static void test_hold(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, RING);
    f.options.write_chunk_bytes = 512;
    fixture_create_log(&f);
    struct waiter waiter = {0};
    rlog_hold(f.writer, wait_counted, &waiter);
    size_t sizes[200], count = 0;
    while (count < 150) {
        sizes[count] = count == 77 ? RING : 100;
        append_one(&f, count, sizes[count]);
        count++;
    }
    uint64_t size;
    OK(io_stat(f.io, f.path, &size));
    assert_true(size > 2 * RING && waiter.calls == 0);
    assert_true(claim_of(&f) == 0);
    uint64_t end = rlog_end(f.writer);
    rlog_release(f.writer);
    rlog_release(f.writer);
    assert_true(claim_of(&f) == 0 && rlog_end(f.writer) == end);
    sizes[count] = 100;
    append_one(&f, count++, 100);
    assert_true(claim_of(&f) == end && rlog_end(f.writer) == end + RLOG_MARK_SIZE + record_size(100));
    struct outcome out = read_log(&f, true, sizes, count);
    assert_int_equal(out.count, count);
    fixture_deinit(&f);
}

/* A log that never had one before it says so in front of its first record. */
static void test_claim_of_the_first(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_log(&f, RING);
    rlog_release(f.writer);
    assert_true(claim_of(&f) == 0);
    append_one(&f, 0, 10);
    assert_true(claim_of(&f) == RLOG_FILE_HEADER);
    fixture_deinit(&f);
}

/* A log that is handed over while held is complete and claims nothing; sealed after the one before it, neither: the
 * next one speaks for both. */
static void test_hold_and_detach(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_log(&f, RING);
    struct waiter waiter = {0};
    const size_t sizes[] = {10, 20};
    rlog_hold(f.writer, wait_counted, &waiter);
    append_one(&f, 0, sizes[0]);
    append_one(&f, 1, sizes[1]);
    OK(rlog_detach(f.writer));
    assert_int_equal(waiter.calls, 0);
    struct outcome out = read_log(&f, false, sizes, 2);
    assert_true(out.status == NOKV_OK && out.count == 2 && out.report.sealed);
    assert_true(claim_of(&f) == 0);
    OK(rlog_seal(f.writer));
    assert_true(claim_of(&f) == 0 && waiter.calls == 0);
    fixture_deinit(&f);
}

/* What makes a log durable waits for the hold, and claims before it syncs; a hold that was released is not waited for.
 */
static void test_hold_of_other_calls(void **state)
{
    (void)state;
    for (int op = 0; op < 5; op++) {
        struct fixture f;
        fixture_init_log(&f, RING);
        struct waiter waiter = {0};
        append_one(&f, 0, 10);
        rlog_hold(f.writer, wait_counted, &waiter);
        if (op == 0)
            OK(rlog_flush(f.writer));
        else if (op == 1)
            OK(rlog_sync(f.writer));
        else if (op == 2)
            OK(rlog_seal(f.writer));
        else {
            rlog_release(f.writer);
            if (op == 3)
                append_one(&f, 1, 10);
            OK(rlog_sync(f.writer));
        }
        assert_int_equal(waiter.calls, op < 3);
        assert_true(claim_of(&f) == RLOG_FILE_HEADER + record_size(10));
        fixture_deinit(&f);
    }
}

/* When the log before cannot be made durable, this one fails for good, and nothing of it was synced. */
static void test_hold_fails(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_log(&f, RING);
    struct waiter waiter = {.answer = NOKV_ERR_IO};
    append_one(&f, 0, 10);
    rlog_hold(f.writer, wait_counted, &waiter);
    FAILS(IO, rlog_sync(f.writer));
    FAILS(POISONED, rlog_append(f.writer, NULL, 0));
    FAILS(POISONED, rlog_flush(f.writer));
    FAILS(POISONED, rlog_seal(f.writer));
    assert_int_equal(waiter.calls, 1);
    assert_true(claim_of(&f) == 0 && rlog_synced(f.writer) == RLOG_FILE_HEADER);
    fixture_deinit(&f);
}

/* One log hands its ring to the next: both come back whole from what a kill leaves, in any state of the hand-over. */
static void test_hand_over(void **state)
{
    (void)state;
    for (int steps = 0; steps < 4; steps++) {
        struct fixture f;
        fixture_init_log(&f, RING);
        size_t sizes[100];
        for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
            sizes[i] = 150;
        for (size_t i = 0; i < 90; i++)
            append_one(&f, i, sizes[i]);
        struct fixture next = f;
        snprintf(next.path, sizeof next.path, "%s/next", f.dir);
        next.options.path = next.path;
        OK(rlog_writer_create(&next.options, f.dir, &next.writer)); /* ahead of time, with the same number: */
        OK(rlog_detach(f.writer));                                  /* worse than life can be */
        if (steps > 0)
            OK(rlog_seal(f.writer));
        struct waiter waiter = {0};
        rlog_hold(next.writer, wait_counted, &waiter);
        for (size_t i = 0; i < 50; i++)
            append_one(&next, i, sizes[i]);
        if (steps > 1)
            OK(rlog_flush(next.writer));
        if (steps > 2)
            OK(rlog_sync(next.writer));
        struct outcome out = read_log(&f, false, sizes, 90);
        assert_int_equal(out.status, NOKV_OK);
        assert_int_equal(out.count, 90);
        out = read_log(&f, true, sizes, 90);
        assert_true(out.status == NOKV_OK && out.count == 90 && out.report.sealed);
        out = read_log(&next, true, sizes, 50);
        assert_true(out.status == NOKV_OK && out.count == 50 && !out.report.sealed);
        rlog_writer_destroy(next.writer);
        fixture_deinit(&f);
    }
}

/* Group commit: a sync outside of the lock counts up to the end that was taken before it, and no further. */
static void test_mark_synced(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_log(&f, RING);
    append_one(&f, 0, 10);
    uint64_t end = rlog_end(f.writer);
    OK(rlog_flush(f.writer));
    append_one(&f, 1, 10);
    OK(io_sync(rlog_file(f.writer)));
    rlog_mark_synced(f.writer, end);
    assert_true(rlog_synced(f.writer) == end);
    rlog_mark_synced(f.writer, RLOG_FILE_HEADER);
    assert_true(rlog_synced(f.writer) == end);
    uint64_t before = rlog_end(f.writer);
    append_one(&f, 2, 10);
    assert_true(rlog_end(f.writer) == before + RLOG_MARK_SIZE + 32);
    append_one(&f, 3, 10);
    assert_true(rlog_end(f.writer) == before + RLOG_MARK_SIZE + 64);
    static const size_t sizes[] = {10, 10, 10, 10};
    assert_int_equal(read_log(&f, true, sizes, 4).count, 4);
    rlog_mark_failed(f.writer);
    FAILS(POISONED, rlog_sync(f.writer));
    fixture_deinit(&f);
}

/* Options that make no sense are refused, as is a file that is there already, which is left alone. */
static void test_refusals(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_log(&f, RING);
    append_one(&f, 0, 10);
    OK(rlog_seal(f.writer));
    struct rlog_writer *w = NULL;
    FAILS(EXISTS, rlog_writer_create(&f.options, f.dir, &w));
    static const size_t sizes[] = {10};
    assert_int_equal(read_log(&f, false, sizes, 1).count, 1);
    struct rlog_writer_options options = f.options;
    options.path = "unused";
    options.kind = (enum rlog_kind)9;
    FAILS(INVALID, rlog_writer_create(&options, f.dir, &w));
    options.kind = RLOG_MANIFEST;
    struct io_shared small = {.data = f.ring.data, .size = 100};
    options.ring = &small;
    FAILS(INVALID, rlog_writer_create(&options, f.dir, &w));
    small.size = 4100;
    FAILS(INVALID, rlog_writer_create(&options, f.dir, &w));
    assert_null(w);
    struct rlog_reader *r;
    struct rlog_reader_options ro = reader_options(&f, slice_make(f.ring.data, 4099));
    FAILS(INVALID, rlog_reader_open(&ro, &r));
    ro = reader_options(&f, slice_make(NULL, 0));
    ro.path = "/nonexistent/log";
    FAILS(NOT_FOUND, rlog_reader_open(&ro, &r));
    fixture_deinit(&f);
}

/* A record beyond the limit is refused before anything happens, and the writer goes on. */
static void test_too_large(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_log(&f, RING);
    const struct slice parts[] = {slice_make("x", RLOG_PAYLOAD_MAX), slice_make("y", 1)};
    FAILS(TOO_LARGE, rlog_append(f.writer, parts, 2));
    append_one(&f, 0, 10);
    static const size_t sizes[] = {10};
    assert_int_equal(read_log(&f, true, sizes, 1).count, 1);
    fixture_deinit(&f);
}

/* When the k-th allocation fails, creating, appending and reading say NO_MEMORY, leak nothing, and work again after. */
static void test_no_memory(void **state)
{
    (void)state;
    static const size_t sizes[] = {10, RING, 10, 2 << 20, 30};
    for (uint64_t k = 0;; k++) {
        struct fixture f;
        fixture_init(&f, RING);
        mem_fail_after(k);
        enum nokv_status status = rlog_writer_create(&f.options, f.dir, &f.writer);
        if (status != NOKV_OK) {
            assert_int_equal(status, NOKV_ERR_NO_MEMORY);
            mem_fail_after(UINT64_MAX);
            fixture_create_log(&f);
        }
        for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
            uint8_t *p = malloc(sizes[i]);
            payload_fill(p, i, sizes[i]);
            struct slice part = slice_make(p, sizes[i]);
            while ((status = rlog_append(f.writer, &part, 1)) != NOKV_OK)
                assert_int_equal(status, NOKV_ERR_NO_MEMORY);
            free(p);
        }
        struct outcome out = repair_log(&f, sizes, ARRAY_COUNT(sizes));
        bool failed = out.status != NOKV_OK;
        if (failed)
            assert_int_equal(out.status, NOKV_ERR_NO_MEMORY);
        mem_fail_after(UINT64_MAX);
        out = read_log(&f, true, sizes, ARRAY_COUNT(sizes));
        assert_true(out.status == NOKV_OK && out.count == ARRAY_COUNT(sizes));
        fixture_deinit(&f);
        if (!failed && k > 12)
            break;
        assert_true(k < 100);
    }
}

/* A ring that no writer can have had is refused by its size; none at all, and the smallest that holds a mark, are not.
 */
static void test_rings_to_read(void **state)
{
    (void)state;
    static const size_t refused[] = {RLOG_ALIGN, RLOG_MARK_SIZE - RLOG_ALIGN, RLOG_MARK_SIZE + 1};
    static const uint8_t ring[2 * RLOG_MARK_SIZE];
    static const size_t taken[] = {0, RLOG_MARK_SIZE};
    struct fixture f;
    fixture_init_log(&f, RING);
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++) {
        struct rlog_reader *r = NULL;
        struct rlog_reader_options options = reader_options(&f, slice_make(ring, refused[i]));
        FAILS(INVALID, rlog_reader_open(&options, &r));
    }
    for (size_t i = 0; i < ARRAY_COUNT(taken); i++) {
        struct rlog_reader *r = NULL;
        struct rlog_reader_options options = reader_options(&f, slice_make(ring, taken[i]));
        OK(rlog_reader_open(&options, &r));
        rlog_reader_close(r);
    }
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_records),
        cmocka_unit_test(test_sizes_around_limits),
        cmocka_unit_test(test_random_kills),
        cmocka_unit_test(test_where_records_stand),
        cmocka_unit_test(test_rings_to_read),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_claim_of_the_first),
        cmocka_unit_test(test_hold_and_detach),
        cmocka_unit_test(test_hold_of_other_calls),
        cmocka_unit_test(test_hold_fails),
        cmocka_unit_test(test_hand_over),
        cmocka_unit_test(test_mark_synced),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
