// SPDX-License-Identifier: Apache-2.0
/*
 * open_fuzz.c - a whole database on a simulated disk with some of its bytes changed or some file cut: opened, read in
 * every way, written, flushed, compacted, verified and opened once more. Any status is fine; nothing may crash, hang or
 * leak.
 *
 * Input: one byte of choices (bits 0 and 1: which database; 2: right checksums on what was patched; 3: read-only
 * first), then patches (../lsm/disk_fuzz.h). The databases: closed, with tables on two levels and a log; killed, with
 * records that only the shared buffer has; killed after a flush; killed in its fourth life, with the logs of all. The
 * mutator changes one of the patches.
 */
#include "../lsm/disk_fuzz.h"
#include "db/db.h"

enum { DATABASES = 4, SEAL = 4, READ_ONLY = 8, PATCHES_MAX = 6, KEYS = 40 };

static nokv_options options_make(void)
{
    nokv_options o;
    nokv_options_init(&o);
    o.inline_background_work = true;
    o.memtable_bytes = o.wal_buffer_bytes = o.table_bytes = o.level_base_bytes = 64 << 10;
    o.l0_compact_files = o.l0_busy_files = 2;
    return o;
}

static enum nokv_status put(nokv_db *db, unsigned i, unsigned version)
{
    char key[16], value[120];
    int n = snprintf(key, sizeof key, "key%03u", i);
    memset(value, 'a' + (int)(version % 26), sizeof value);
    return nokv_put(db, key, (size_t)n, value, sizeof value, NULL);
}

/* A log for each, which no flush makes needless. */
static void earlier_lives(struct io *io, int count)
{
    nokv_options o = options_make();
    for (int life = 0; life < count; life++) {
        nokv_db *db = NULL;
        fuzz_require(db_open(io, "db", &o, &db) == NOKV_OK);
        for (unsigned i = 0; i < 4; i++)
            fuzz_require(put(db, i, 3) == NOKV_OK);
        fuzz_require(nokv_close(db) == NOKV_OK);
    }
}

static struct sim *database_make(int which)
{
    nokv_options o = options_make();
    nokv_db *db = NULL;
    struct sim *sim = NULL;
    struct io *io = NULL;
    fuzz_require(sim_create(&(struct sim_options){.seed = 1}, &sim) == NOKV_OK && sim_io_create(sim, &io) == NOKV_OK);
    earlier_lives(io, which == 3 ? 3 : 0);
    fuzz_require(db_open(io, "db", &o, &db) == NOKV_OK);
    for (unsigned i = 0; i < KEYS; i++)
        fuzz_require(put(db, i, 1) == NOKV_OK);
    if (which == 0 || which == 2)
        fuzz_require(nokv_compact_range(db, NULL, 0, NULL, 0) == NOKV_OK);
    for (unsigned i = 0; i < KEYS; i += 2)
        fuzz_require(put(db, i, 2) == NOKV_OK);
    if (which == 2)
        fuzz_require(nokv_flush(db) == NOKV_OK);
    fuzz_require(nokv_delete(db, "key005", 6, NULL) == NOKV_OK);
    if (which != 0)
        sim_crash_after(sim, 0); /* what close would write is not written */
    fuzz_require((nokv_close(db) == NOKV_OK) == (which == 0));
    io_destroy(io);
    sim_process_kill(sim);
    return sim;
}

static unsigned walk(nokv_db *db)
{
    nokv_iter *it = NULL;
    unsigned sum = 0;
    int steps = 0;
    if (nokv_iter_create(db, NULL, &it) != NOKV_OK)
        return 0;
    for (nokv_iter_first(it); nokv_iter_valid(it) && steps < FUZZ_STEPS_MAX; nokv_iter_next(it), steps++) {
        nokv_slice key = nokv_iter_key(it), value = nokv_iter_value(it);
        sum += fuzz_touch(slice_make(key.data, key.size)) + fuzz_touch(slice_make(value.data, value.size));
    }
    for (nokv_iter_last(it), steps = 0; nokv_iter_valid(it) && steps < FUZZ_STEPS_MAX; nokv_iter_prev(it), steps++)
        sum++;
    sum += nokv_iter_status(it);
    nokv_iter_destroy(it);
    return sum;
}

/* Everything that reads. */
static void read_all(nokv_db *db)
{
    nokv_verify_report report;
    nokv_stats stats = {.struct_size = sizeof stats};
    volatile unsigned sum = 0;
    for (unsigned i = 0; i < KEYS + 2; i++) {
        char key[16];
        nokv_value value = {0};
        int n = snprintf(key, sizeof key, "key%03u", i);
        if (nokv_get(db, key, (size_t)n, NULL, &value) == NOKV_OK) {
            sum += fuzz_touch(slice_make(value.data, value.size));
            nokv_value_release(&value);
        }
    }
    sum += walk(db) + nokv_verify(db, NULL, NULL, &report) + nokv_stats_get(db, true, &stats);
    (void)sum;
}

/* Open, read, write, merge, close. */
static void use(struct io *io, bool read_only, bool merge)
{
    nokv_options o = options_make();
    nokv_db *db = NULL;
    o.read_only = read_only;
    if (db_open(io, "db", &o, &db) != NOKV_OK) {
        fuzz_require(status_message()[0] != 0);
        return;
    }
    read_all(db);
    if (put(db, 7, 3) == NOKV_OK && merge) {
        (void)!nokv_flush(db);
        (void)!nokv_compact_range(db, NULL, 0, NULL, 0);
        read_all(db);
    }
    (void)nokv_close(db);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sim *bases[DATABASES];
    struct sim *sim = NULL;
    struct io *io = NULL;
    if (size < 1)
        return 0;
    int which = (data[0] & 3) % DATABASES;
    if (bases[which] == NULL)
        bases[which] = database_make(which);
    fuzz_require(sim_clone(bases[which], &sim) == NOKV_OK && sim_io_create(sim, &io) == NOKV_OK);
    patches_apply(io, sim, data + 1, size - 1, PATCHES_MAX, data[0] & SEAL);
    if (data[0] & READ_ONLY)
        use(io, true, false);
    use(io, false, true);
    use(io, false, false);
    io_destroy(io);
    sim_destroy(sim);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    return fuzz_mutate_units(data, size, max_size, 1, PATCH_BYTES, &random);
}
