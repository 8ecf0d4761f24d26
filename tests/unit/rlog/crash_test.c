// SPDX-License-Identifier: Apache-2.0
/*
 * crash_test.c - a write-ahead log of several files and one ring on the simulated disk, cut off at every operation.
 *
 * One world is one disk with several lives of a process. A life appends records, flushes, syncs and changes logs as the
 * database does (the next log sometimes made ahead of time, held while old ones are not durable), until the disk
 * stops at a chosen operation. Then the process is killed or the power is cut, and recovery, which may be cut off in
 * the same way, reads everything back.
 *
 * What must hold each time: the records that come back are the first ones of the history, each as it was appended
 * (in the life that appended it: a record that was lost and replaced must not come back); after a kill all
 * acknowledged ones; after a power cut all synced ones; and nothing is ever reported as damaged.
 */
#include "io/sim.h"
#include "log_fixture.h"

enum { RING = 4096, RECORDS_MAX = 4000, LOGS_MAX = 200, OLD_MAX = 4 };

static uint64_t scale = 1; /* how many worlds: more with the argument "long" */

struct world {
    struct sim *sim;
    struct io *io;
    uint64_t rng;
    uint8_t life_of[RECORDS_MAX]; /* which life appended the record that was last at this place of the history */
    uint8_t life;
    size_t appended; /* records that may come back */
    size_t acked;    /* that must, after a kill */
    size_t synced;   /* that must, after a power cut */
    bool preallocate;
    /* of the life */
    struct io_shared ring;
    struct rlog_writer *log;
    struct rlog_writer *old[OLD_MAX]; /* detached, not durable yet */
    size_t old_records[OLD_MAX];      /* in all logs up to that one */
    size_t old_count;
    struct rlog_writer *spare;
    uint64_t next_number;
};

static uint64_t random_below(struct world *w, uint64_t n)
{
    return test_random(&w->rng) % n;
}

static size_t record_bytes(size_t index, uint8_t life)
{
    uint64_t state = index * 256 + life;
    uint64_t r = test_random(&state);
    return (size_t)(r % 16 == 0 ? r / 16 % 5000 : r / 16 % 200);
}

static uint64_t record_key(size_t index, uint8_t life)
{
    return index * 256 + life;
}

static void log_path(char path[32], uint64_t number)
{
    snprintf(path, 32, "db/%06llu.wal", (unsigned long long)number);
}

/* ---- a life ---------------------------------------------------------------------------------------------------- */

static enum nokv_status create_log(struct world *w, struct rlog_writer **out_log)
{
    char path[32];
    log_path(path, w->next_number);
    struct rlog_writer_options options = {.io = w->io,
                                          .path = path,
                                          .component = IO_WAL,
                                          .model = IO_STD,
                                          .kind = RLOG_WAL,
                                          .number = w->next_number,
                                          .preallocate_bytes = w->preallocate ? 3000 : 0,
                                          .ring = &w->ring};
    TRY(rlog_writer_create(&options, "db", out_log));
    w->next_number++;
    return NOKV_OK;
}

static enum nokv_status append(struct world *w)
{
    size_t index = w->appended, size = record_bytes(index, w->life);
    assert_true(index < RECORDS_MAX);
    uint8_t payload[5000];
    payload_fill(payload, record_key(index, w->life), size);
    w->life_of[index] = w->life;
    w->appended++;
    struct slice part = slice_make(payload, size);
    TRY(rlog_append(w->log, &part, 1));
    w->acked = w->appended;
    return NOKV_OK;
}

static enum nokv_status seal_oldest(struct world *w)
{
    TRY(rlog_seal(w->old[0]));
    rlog_writer_destroy(w->old[0]);
    if (w->synced < w->old_records[0])
        w->synced = w->old_records[0];
    w->old_count--;
    memmove(w->old, w->old + 1, w->old_count * sizeof w->old[0]);
    memmove(w->old_records, w->old_records + 1, w->old_count * sizeof w->old_records[0]);
    return NOKV_OK;
}

static enum nokv_status seal_old(void *arg)
{
    struct world *w = arg;
    while (w->old_count > 0)
        TRY(seal_oldest(w));
    return NOKV_OK;
}

static enum nokv_status change_log(struct world *w)
{
    if (w->old_count == OLD_MAX)
        TRY(seal_oldest(w));
    if (w->spare == NULL)
        TRY(create_log(w, &w->spare));
    TRY(rlog_detach(w->log));
    w->old[w->old_count] = w->log;
    w->old_records[w->old_count++] = w->appended;
    w->log = TAKE(w->spare);
    rlog_hold(w->log, seal_old, w);
    return NOKV_OK;
}

static enum nokv_status sync_group(struct world *w)
{
    uint64_t end = rlog_end(w->log);
    size_t count = w->appended;
    TRY(rlog_flush(w->log));
    if (random_below(w, 2))
        TRY(append(w));
    TRY(io_sync(rlog_file(w->log)));
    rlog_mark_synced(w->log, end);
    w->synced = count;
    return NOKV_OK;
}

static enum nokv_status live_one(struct world *w)
{
    TRY(append(w));
    switch (random_below(w, 24)) {
    case 0:
        return rlog_flush(w->log);
    case 1:
        TRY(rlog_sync(w->log));
        w->synced = w->appended;
        return NOKV_OK;
    case 2:
        return sync_group(w);
    case 3:
        return change_log(w);
    case 4:
        return w->spare ? NOKV_OK : create_log(w, &w->spare);
    case 5:
        return w->old_count > 0 ? seal_oldest(w) : NOKV_OK;
    case 6:
        TRY(seal_old(w));
        rlog_release(w->log);
        return NOKV_OK;
    default:
        return NOKV_OK;
    }
}

static enum nokv_status live_for(struct world *w, int records)
{
    TRY(io_shared_open(w->io, "db/WALBUF", RING, &w->ring));
    TRY(create_log(w, &w->log));
    rlog_release(w->log);
    for (int i = 0; i < records; i++)
        TRY(live_one(w));
    TRY(seal_old(w));
    TRY(rlog_seal(w->log));
    w->synced = w->appended;
    return NOKV_OK;
}

/* The process dies, sometimes in the middle of storing a record into the part of the ring that is free. */
static void end_life(struct world *w)
{
    if (w->ring.data && w->log && random_below(w, 2)) {
        uint64_t end = rlog_end(w->log), used = end - u64_min(end, rlog_synced(w->log));
        uint64_t stored = used < RING ? random_below(w, RING - used) : 0;
        for (uint64_t i = 0; i < stored; i++)
            w->ring.data[(end + i) % RING] = (uint8_t)test_random(&w->rng);
    }
    rlog_writer_destroy(TAKE(w->log));
    while (w->old_count > 0)
        rlog_writer_destroy(w->old[--w->old_count]);
    rlog_writer_destroy(TAKE(w->spare));
    io_shared_close(&w->ring);
    w->ring = (struct io_shared){0};
}

/* ---- recovery -------------------------------------------------------------------------------------------------- */

struct logs {
    uint64_t numbers[LOGS_MAX];
    size_t count;
    uint8_t ring[RING];
    size_t ring_size;
};

static enum nokv_status collect(void *arg, const char *name)
{
    struct logs *logs = arg;
    unsigned long long number;
    if (sscanf(name, "%llu.wal", &number) == 1) {
        assert_true(logs->count < LOGS_MAX);
        logs->numbers[logs->count++] = number;
    }
    return NOKV_OK;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static enum nokv_status load_ring(struct world *w, struct logs *logs)
{
    if (!io_exists(w->io, "db/WALBUF"))
        return sim_is_crashed(w->sim) ? NOKV_ERR_IO : NOKV_OK;
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    TRY(io_open(w->io, "db/WALBUF", IO_WAL, IO_STD, IO_READ, &file));
    TRY(io_pread(file, logs->ring, RING, 0, &logs->ring_size));
    logs->ring_size -= logs->ring_size % RING;
    return NOKV_OK;
}

static void close_reader(struct rlog_reader **r)
{
    rlog_reader_close(*r);
}

static enum nokv_status open_log(struct world *w, uint64_t number, struct slice ring, struct rlog_reader **out_reader)
{
    char path[32];
    log_path(path, number);
    struct rlog_reader_options options = {
        .io = w->io, .path = path, .component = IO_WAL, .kind = RLOG_WAL, .number = number, .ring = ring};
    return rlog_reader_open(&options, out_reader);
}

/* Behind a log that is torn none may speak for it. */
static enum nokv_status check_no_claim(struct world *w, const struct logs *logs, size_t from)
{
    for (size_t i = from; i < logs->count; i++) {
        struct rlog_reader *r CLEANUP(close_reader) = NULL;
        bool found;
        uint64_t off, bytes;
        TRY(open_log(w, logs->numbers[i], slice_make(logs->ring, logs->ring_size), &r));
        TRY(rlog_reader_find_claim(r, &found, &off, &bytes));
        if (found)
            return FAIL(CORRUPT, "log %d claims at %d that those before it were durable", (int)logs->numbers[i],
                        (int)off);
    }
    return NOKV_OK;
}

static enum nokv_status read_records(struct world *w, struct rlog_reader *r, size_t *count)
{
    for (;;) {
        struct slice payload;
        uint64_t off;
        bool more;
        TRY(rlog_reader_next(r, &payload, &off, &more));
        if (!more)
            return NOKV_OK;
        assert_true(*count < w->appended);
        uint8_t life = w->life_of[*count];
        assert_payload(payload, record_key(*count, life), record_bytes(*count, life));
        ++*count;
    }
}

static enum nokv_status remove_logs(struct world *w, const struct logs *logs, size_t from)
{
    for (size_t i = from; i < logs->count; i++) {
        char path[32];
        log_path(path, logs->numbers[i]);
        TRY(io_unlink(w->io, path));
    }
    return from < logs->count ? io_sync_dir(w->io, "db") : NOKV_OK;
}

static enum nokv_status recover_log(struct world *w, const struct logs *logs, size_t index, size_t *count,
                                    bool *out_sealed)
{
    struct rlog_reader *r CLEANUP(close_reader) = NULL;
    struct rlog_end_report report;
    TRY(open_log(w, logs->numbers[index], slice_make(logs->ring, logs->ring_size), &r));
    TRY(read_records(w, r, count));
    rlog_reader_end(r, &report);
    *out_sealed = report.sealed;
    if (!report.sealed) {
        TRY(check_no_claim(w, logs, index + 1));
        TRY(remove_logs(w, logs, index + 1));
    }
    return rlog_repair_tail(r);
}

/* As rlog.h says how recovery goes through the logs. */
static enum nokv_status recover(struct world *w, size_t *out_count)
{
    struct logs logs = {0};
    size_t count = 0;
    TRY(io_list(w->io, "db", collect, &logs));
    qsort(logs.numbers, logs.count, sizeof logs.numbers[0], compare_numbers);
    TRY(load_ring(w, &logs));
    bool sealed = true;
    size_t used = 0;
    for (; used < logs.count && sealed; used++)
        TRY(recover_log(w, &logs, used, &count, &sealed));
    /* A number that was removed may be given again: the salt must tell the two logs apart. */
    size_t highest = random_below(w, 2) ? used : logs.count;
    w->next_number = highest ? logs.numbers[highest - 1] + 1 : 1;
    *out_count = count;
    return NOKV_OK;
}

/* ---- the world ------------------------------------------------------------------------------------------------- */

/* The disk has stopped, or the life is over: what is left of it. */
static void die(struct world *w)
{
    end_life(w);
    io_destroy(w->io);
    w->io = NULL;
    if (random_below(w, 2)) {
        sim_power_cut(w->sim);
        w->acked = w->synced;
    } else {
        sim_process_kill(w->sim);
    }
    OK(sim_io_create(w->sim, &w->io));
}

/* Until it gets through. The first `crashes` times it may be cut off. */
static void recover_fully(struct world *w, int crashes)
{
    for (;;) {
        size_t count = 0;
        sim_crash_after(w->sim, crashes-- > 0 ? random_below(w, random_below(w, 2) ? 20 : 80) : UINT64_MAX);
        enum nokv_status status = recover(w, &count);
        if (status == NOKV_OK) {
            assert_true(count >= w->acked && count >= w->synced && count <= w->appended);
            w->appended = w->acked = w->synced = count;
            sim_crash_after(w->sim, UINT64_MAX);
            return;
        }
        if (!sim_is_crashed(w->sim))
            fail_msg("recovery: %s: %s", status_name(status), status_message());
        die(w);
    }
}

static void world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){.rng = seed, .next_number = 1, .preallocate = seed % 2};
    struct sim_options options = {.seed = seed, .short_transfers = seed % 3 == 0};
    OK(sim_create(&options, &w->sim));
    OK(sim_io_create(w->sim, &w->io));
    OK(io_mkdir(w->io, "db"));
    OK(io_sync_dir(w->io, "."));
}

static void world_deinit(struct world *w)
{
    end_life(w);
    io_destroy(w->io);
    sim_destroy(w->sim);
}

static void live(struct world *w, int records, uint64_t steps)
{
    w->life++;
    sim_crash_after(w->sim, steps);
    enum nokv_status status = live_for(w, records);
    if (status != NOKV_OK && !sim_is_crashed(w->sim))
        fail_msg("life: %s: %s", status_name(status), status_message());
}

/* Operations that an undisturbed life takes. */
static uint64_t count_steps(uint64_t seed, int records)
{
    struct world *w = calloc(1, sizeof *w);
    world_init(w, seed);
    uint64_t before = sim_steps(w->sim);
    live(w, records, UINT64_MAX);
    uint64_t steps = sim_steps(w->sim) - before;
    world_deinit(w);
    free(w);
    return steps;
}

/* A life that ends at each of its operations in turn, recovery that is cut off too, and two more lives after it. */
static void test_every_step(void **state)
{
    (void)state;
    enum { RECORDS = 120 };
    uint64_t seed = test_seed(31);
    struct world *w = calloc(1, sizeof *w);
    for (uint64_t round = 0; round < 3 * scale; round++) {
        uint64_t steps = count_steps(seed + round, RECORDS);
        assert_true(steps > 40);
        for (uint64_t step = 0; step <= steps; step++) {
            world_init(w, seed + round);
            live(w, RECORDS, step);
            die(w);
            recover_fully(w, (int)(step % 4));
            for (int more = 0; more < 2; more++) {
                live(w, RECORDS, random_below(w, steps));
                die(w);
                recover_fully(w, (int)random_below(w, 3));
            }
            world_deinit(w);
        }
    }
    free(w);
}

/* Long worlds: many short lives on one disk, logs kept from all of them. */
static void test_many_lives(void **state)
{
    (void)state;
    uint64_t seed = test_seed(32);
    struct world *w = calloc(1, sizeof *w);
    for (uint64_t round = 0; round < 15 * scale; round++) {
        world_init(w, seed * 1000 + round);
        for (int life = 0; life < 20; life++) {
            live(w, 40, random_below(w, 120));
            die(w);
            recover_fully(w, (int)random_below(w, 3));
        }
        world_deinit(w);
    }
    free(w);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "long") == 0)
        scale = 10;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_step),
        cmocka_unit_test(test_many_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
