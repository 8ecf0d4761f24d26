// SPDX-License-Identifier: Apache-2.0
/*
 * crash_test.c - a segment on the simulated disk, cut off at every operation.
 *
 * A life appends, streams, abandons, flushes, syncs and seals, until the disk stops at a chosen operation; then the
 * process is killed or the power is cut. What must hold: a scan never fails, whatever it shows is a record that was
 * appended, as it was appended; after a kill every record that was flushed is there, after a power cut every one that
 * was synced; a segment with a footer has all of them and no damage; and a reader finds them too. With buffers in
 * shared memory a rescue comes first, and after a kill every record that was appended is there.
 *
 * The argument is the number of worlds.
 */
#include "vlog_model.h"

#define SHARED_BYTES vlog_shared_bytes(VLOG_BUFFER_MAX)

enum { ITEMS_MAX = 100 };

static unsigned worlds = 4;

struct world {
    struct sim *sim;
    struct io *io;
    struct io_shared shared; /* data NULL: the writer has buffers of its own */
    bool leaves_full;
    uint64_t rng;
    enum io_model model;
    uint64_t preallocate;
    struct vlog_writer *w;
    struct item items[ITEMS_MAX];
    unsigned count;
    bool appended[ITEMS_MAX];
    bool flushed[ITEMS_MAX];
    bool synced[ITEMS_MAX];
    bool created;
    bool sealed;
};

static void mark(const struct world *w, bool *which)
{
    for (unsigned i = 0; i < w->count; i++)
        which[i] = which[i] || w->appended[i];
}

static enum nokv_status flush(struct world *w, bool durable)
{
    TRY(durable ? vlog_writer_sync(w->w) : vlog_writer_flush(w->w));
    mark(w, w->flushed);
    if (durable)
        mark(w, w->synced);
    return NOKV_OK;
}

static enum nokv_status abandon(struct world *w)
{
    uint8_t bytes[20000];
    struct vlog_stream *s = NULL;
    TRY(vlog_stream_begin(w->w, slice_make("abandoned", 9), 400000, &s));
    pattern_fill(bytes, 99, 0, sizeof bytes);
    enum nokv_status status = NOKV_OK;
    for (uint64_t parts = test_random(&w->rng) % 20; parts > 0 && status == NOKV_OK; parts--)
        status = vlog_stream_append(s, slice_make(bytes, sizeof bytes));
    vlog_stream_abandon(s);
    return status;
}

static enum nokv_status live_one(struct world *w)
{
    uint64_t r = test_random(&w->rng);
    struct item *it = &w->items[w->count];
    size_t max = r % 12 == 0 ? 200000 : r % 12 < 4 ? 9000 : 700;
    *it = (struct item){.number = w->count, .key_size = 8 + (r >> 8) % 40, .value_size = test_random(&w->rng) % max};
    w->count++;
    TRY((r >> 16) % 10 == 0 ? item_stream(w->w, it, 7000, (r >> 24) % 50000) : item_append(w->w, it));
    w->appended[it->number] = true;
    if ((r >> 32) % 16 == 0)
        TRY(abandon(w));
    if ((r >> 40) % 6 == 0)
        TRY(flush(w, (r >> 48) % 2));
    return NOKV_OK;
}

/* Nobody does: the appender who finds no free buffer has to. */
static void nobody_writes(void *arg)
{
    (void)arg;
}

static enum nokv_status live(struct world *w, unsigned items)
{
    struct vlog_writer_options o = model_options(w->io, "db/000007.vlog", "db");
    o.model = w->model;
    o.preallocate_bytes = w->preallocate;
    o.shared = w->shared.data;
    if (w->leaves_full)
        o.full = nobody_writes;
    TRY(vlog_writer_create(&o, &w->w));
    w->created = true;
    for (unsigned i = 0; i < items; i++)
        TRY(live_one(w));
    TRY(vlog_writer_seal(w->w));
    mark(w, w->flushed);
    mark(w, w->synced);
    w->sealed = true;
    return NOKV_OK;
}

/* A file whose size is durable; its bytes are what they are. */
static void shared_init(struct world *w)
{
    struct io_file *file = NULL;
    OK(io_open(w->io, "db/VLOGBUF", IO_OTHER, IO_STD, IO_WRITE | IO_CREATE, &file));
    OK(io_truncate(file, SHARED_BYTES));
    OK(io_sync(file));
    OK(io_close(file));
    OK(io_sync_dir(w->io, "db"));
    OK(io_shared_open(w->io, "db/VLOGBUF", SHARED_BYTES, &w->shared));
}

static void world_init(struct world *w, uint64_t seed, bool use_shared)
{
    *w = (struct world){.rng = seed, .model = seed % 2 ? IO_DIRECT : IO_STD, .preallocate = seed % 3 ? 100000 : 0};
    const struct sim_options options = {.seed = seed, .short_transfers = seed % 5 == 0};
    OK(sim_create(&options, &w->sim));
    OK(sim_io_create(w->sim, &w->io));
    OK(io_mkdir(w->io, "db"));
    OK(io_sync_dir(w->io, "."));
    w->leaves_full = seed % 4 >= 2;
    if (use_shared)
        shared_init(w);
}

static void world_deinit(struct world *w)
{
    vlog_writer_destroy(w->w);
    io_shared_close(&w->shared);
    io_destroy(w->io);
    sim_destroy(w->sim);
    free(w);
}

static void check_scan(struct world *w, const bool *must, uint64_t value_size_max)
{
    unsigned seen[ITEMS_MAX] = {0};
    struct vlog_scan_totals totals = {0};
    const struct vlog_scan_options o = {.io = w->io,
                                        .path = "db/000007.vlog",
                                        .number = SEGMENT,
                                        .component = IO_OTHER,
                                        .value_size_max = value_size_max,
                                        .is_sealed = w->sealed};
    OK(items_scan(&o, w->items, w->count, seen, &totals));
    for (unsigned i = 0; i < w->count; i++) {
        assert_true(seen[i] <= 1);
        if (must[i] || totals.sealed)
            assert_int_equal(seen[i], 1);
    }
    if (totals.sealed)
        assert_int_equal(totals.damaged_bytes + totals.unfinished_bytes, 0);
}

static void check_reader(struct world *w, const bool *must)
{
    struct vlog_reader *r = NULL;
    OK(vlog_reader_open(w->io, "db/000007.vlog", SEGMENT, VLOG_READ_AUTO, NULL, NULL, &r));
    for (unsigned i = 0; i < w->count; i++) {
        if (w->items[i].pointer.off == 0)
            continue;
        enum nokv_status status = item_read(r, &w->items[i]);
        if (status != NOKV_OK && (must[i] || status != NOKV_ERR_CORRUPT))
            fail_msg("item %u: %s: %s", i, status_name(status), status_message());
    }
    vlog_reader_unref(r);
    epoch_drain();
}

static uint8_t *read_shared(struct world *w)
{
    struct io_file *file = NULL;
    uint8_t *bytes = malloc(SHARED_BYTES);
    OK(io_open(w->io, "db/VLOGBUF", IO_OTHER, IO_STD, IO_READ, &file));
    OK(io_pread_exact(file, bytes, SHARED_BYTES, 0));
    OK(io_close(file));
    return bytes;
}

/* Each record that must be sound is, and a value that comes out of the buffers is right. */
static void rescue(struct world *w, const uint8_t *shared, const bool *must, bool repair)
{
    struct vlog_rescue *r = NULL;
    uint8_t key[KEY_SIZE_MAX];
    OK(vlog_rescue_open(w->io, "db/000007.vlog", SEGMENT, slice_make(shared, SHARED_BYTES), repair, &r));
    for (unsigned i = 0; i < w->count; i++) {
        const struct item *it = &w->items[i];
        bool sound = false;
        struct slice value = {0};
        if (it->pointer.off != 0)
            OK(vlog_rescue_record(r, &it->pointer, item_key(it, key), &sound, &value));
        assert_true(sound || !must[i]);
        if (value.data == NULL)
            continue;
        assert_true(sound && !repair);
        pattern_check(value.data, it->number, 0, it->value_size);
    }
    OK(vlog_rescue_sync(r));
    vlog_rescue_close(r);
}

static void crash_and_check(struct world *w, bool power_cut)
{
    bool use_shared = w->shared.data != NULL;
    vlog_writer_destroy(TAKE(w->w));
    io_shared_close(&w->shared);
    w->shared = (struct io_shared){0};
    io_destroy(w->io);
    if (power_cut)
        sim_power_cut(w->sim);
    else
        sim_process_kill(w->sim);
    OK(sim_io_create(w->sim, &w->io));
    const bool *must = power_cut ? w->synced : use_shared ? w->appended : w->flushed;
    if (!w->created)
        return;
    if (use_shared) {
        uint8_t *shared = read_shared(w);
        rescue(w, shared, must, false);
        rescue(w, shared, must, true);
        free(shared);
    }
    check_scan(w, must, 0);
    check_scan(w, must, KEY_VALUE_SIZE_MAX);
    check_reader(w, must);
}

static uint64_t count_steps(uint64_t seed, unsigned items)
{
    struct world *w = calloc(1, sizeof *w);
    world_init(w, seed, false);
    uint64_t before = sim_steps(w->sim);
    OK(live(w, items));
    uint64_t steps = sim_steps(w->sim) - before;
    crash_and_check(w, true);
    world_deinit(w);
    return steps;
}

/* A life that ends at each of its operations in turn, by a kill and by power cuts. */
static void test_every_step(void **state)
{
    (void)state;
    uint64_t seed = test_seed(71);
    OK(epoch_register());
    for (unsigned round = 0; round < worlds; round++) {
        unsigned items = 20 + round * 7 % 60;
        uint64_t steps = count_steps(seed + round, items);
        assert_true(steps > 8);
        for (uint64_t step = 0; step <= steps; step++)
            for (unsigned cut = 0; cut < 3; cut++) {
                struct world *w = calloc(1, sizeof *w);
                world_init(w, seed + round, (step + cut) % 3 != 0);
                sim_crash_after(w->sim, step);
                enum nokv_status status = live(w, items);
                if (status != NOKV_OK && !sim_is_crashed(w->sim))
                    fail_msg("life: %s: %s", status_name(status), status_message());
                sim_reseed(w->sim, seed + step * 3 + cut);
                crash_and_check(w, cut != 0);
                world_deinit(w);
            }
    }
}

int main(int argc, char **argv)
{
    if (argc > 1)
        worlds = (unsigned)test_scale(strtoull(argv[1], NULL, 10));
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
