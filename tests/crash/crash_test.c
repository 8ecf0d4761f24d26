// SPDX-License-Identifier: Apache-2.0
/*
 * A crash at every single I/O step, on the simulated disk.
 *
 * One seed is one history: chapters of some forty writes with flushes, compactions, syncs and snapshots under tiny
 * thresholds, each chapter from an open to a close. A chapter is run once to the end to count its steps; then, from a
 * copy of the disk as it was before, once for each step k with the power going off at k (and, at every fourth, with the
 * process dying instead while the system lives on). The database must then open, hold a prefix of the history with
 * every synced write (every acknowledged one after a kill), hold no half batch, leave no orphan, and go on working.
 * Every third recovery is itself cut at a random step, some several times.
 *
 * Background work runs inline, so that the order of I/O follows from the seed. Arguments: FIRST COUNT (that many seeds,
 * at least 2,000 steps each), `models` (one chapter with each combination of I/O models that is allowed, crashed at
 * every MODELS_STRIDE-th step), or `quick`. NOKV_TEST_SEED=n runs that seed alone; NOKV_TEST_SCALE is the percentage of
 * seeds, or combinations.
 */
#include "history.h"
#include "io/sim.h"
#include "io_models.h"
#include "options.h"

enum { CHAPTERS = 14, CHAPTER_WRITES = 40, MODELS_STRIDE = 8, CHECK_EVERY = 32 };

static const char dir[] = "db";

/* ---- a chapter -------------------------------------------------------------------------------------------------- */

static enum nokv_status chapter_step(struct history *h, nokv_db *db, uint64_t *random)
{
    uint64_t r = test_random(random);
    enum nokv_status status = history_write_next(h, db, random, r % 8 == 0);
    if (status != NOKV_OK)
        return status;
    if (r % 64 == 1)
        status = nokv_flush(db);
    else if (r % 128 == 2)
        status = nokv_compact_range(db, NULL, 0, NULL, 0);
    else if (r % 32 == 3)
        status = nokv_sync_wal(db);
    else
        return NOKV_OK;
    if (status == NOKV_OK)
        history_mark_synced(h);
    return status;
}

/* What the histories made the value log do, so that a test of nothing is noticed. */
static uint64_t direct_bytes, moved_bytes, reclaimed_bytes;

static void stats_add(nokv_db *db)
{
    nokv_stats stats = {.struct_size = sizeof stats};
    OK(nokv_stats_get(db, false, &stats));
    direct_bytes += stats.vlog_direct_bytes;
    moved_bytes += stats.vlog_moved_bytes;
    reclaimed_bytes += stats.vlog_reclaimed_bytes;
}

/* From open to close. Returns the first failure, which is the crash. */
static enum nokv_status chapter_run(struct sim *sim, const nokv_options *options, struct history *h, uint64_t seed)
{
    struct io *io = NULL;
    nokv_db *db = NULL;
    const nokv_snapshot *snapshot = NULL;
    OK(sim_io_create(sim, &io));
    enum nokv_status status = db_open(io, dir, options, &db);
    if (status != NOKV_OK) {
        io_destroy(io);
        return status;
    }
    for (int i = 0; i < CHAPTER_WRITES && status == NOKV_OK; i++) {
        if (i == CHAPTER_WRITES / 4)
            OK(nokv_snapshot_create(db, &snapshot));
        status = chapter_step(h, db, &seed);
    }
    nokv_snapshot_release(db, snapshot);
    stats_add(db);
    enum nokv_status closed = nokv_close(db);
    if (status == NOKV_OK)
        status = closed;
    if (status == NOKV_OK)
        history_mark_synced(h);
    io_destroy(io);
    return status;
}

/* ---- after the crash -------------------------------------------------------------------------------------------- */

struct file_count {
    uint64_t tables, temps, manifests, segments;
};

static bool file_count_one(void *arg, const char *path, uint64_t size)
{
    struct file_count *c = arg;
    const char *slash = strrchr(path, '/');
    (void)size;
    const char *name = slash ? slash + 1 : path;
    c->tables += strstr(name, ".sst") != NULL && strstr(name, ".tmp") == NULL;
    c->segments += strstr(name, ".vlog") != NULL;
    c->temps += strstr(name, ".tmp") != NULL;
    c->manifests += strncmp(name, "MANIFEST-", 9) == 0;
    return true;
}

static void orphans_check(struct sim *sim, nokv_db *db, const char *what)
{
    struct file_count c = {0};
    nokv_stats stats = {.struct_size = sizeof stats};
    OK(nokv_stats_get(db, false, &stats));
    sim_each_file(sim, file_count_one, &c);
    if (c.temps != 0 || c.manifests != 1 || c.tables != stats.components[NOKV_COMPONENT_SST].files)
        fail_msg("%s: %llu temporary files, %llu MANIFESTs, %llu tables of which %llu are in use", what,
                 (unsigned long long)c.temps, (unsigned long long)c.manifests, (unsigned long long)c.tables,
                 (unsigned long long)stats.components[NOKV_COMPONENT_SST].files);
    if (c.segments != stats.components[NOKV_COMPONENT_VLOG].files)
        fail_msg("%s: %llu segments of which %llu are in use", what, (unsigned long long)c.segments,
                 (unsigned long long)stats.components[NOKV_COMPONENT_VLOG].files);
}

/* An open that is cut short, at a random step. */
static void recovery_crash(struct sim *sim, const nokv_options *options, bool power, uint64_t *random)
{
    struct io *io = NULL;
    nokv_db *db = NULL;
    sim_crash_after(sim, test_random(random) % 40);
    OK(sim_io_create(sim, &io));
    if (db_open(io, dir, options, &db) == NOKV_OK)
        (void)!nokv_close(db);
    io_destroy(io);
    if (power)
        sim_power_cut(sim);
    else
        sim_process_kill(sim);
}

/* The power goes as soon as it is open: what an open after a kill has found is durable. */
static void power_cut_after_open(struct sim *sim, struct io **io, nokv_db **db, const nokv_options *options)
{
    sim_crash_after(sim, 0);
    (void)!nokv_close(TAKE(*db));
    io_destroy(TAKE(*io));
    sim_power_cut(sim);
    OK(sim_io_create(sim, io));
    OK(db_open(*io, dir, options, db));
}

static void survivors_check(struct sim *sim, const nokv_options *options, struct history *h, bool power, uint64_t k,
                            uint64_t seed)
{
    char what[96];
    snprintf(what, sizeof what, "seed %llu, step %llu, %s", (unsigned long long)seed, (unsigned long long)k,
             power ? "power cut" : "kill");
    uint64_t random = seed ^ (k << 20) ^ power;
    while (test_random(&random) % 3 == 0)
        recovery_crash(sim, options, power, &random);
    struct io *io = NULL;
    nokv_db *db = NULL;
    OK(sim_io_create(sim, &io));
    enum nokv_status status = db_open(io, dir, options, &db);
    if (status != NOKV_OK)
        fail_msg("%s: does not open: %s %s", what, status_name(status), status_message());
    history_check(h, db, power ? h->synced : h->acknowledged, what);
    if (k % CHECK_EVERY == 0 && db_check(db) != NOKV_OK)
        fail_msg("%s: %s", what, status_message());
    orphans_check(sim, db, what);
    if (!power) {
        power_cut_after_open(sim, &io, &db, options);
        history_check(h, db, h->count, what);
    }
    for (int i = 0; i < 3; i++)
        OK(history_write_next(h, db, &random, i == 1));
    OK(nokv_close(db));
    OK(db_open(io, dir, options, &db));
    history_check(h, db, h->acknowledged, what);
    OK(nokv_close(db));
    io_destroy(io);
}

/* Run the chapter on a copy of the disk with a crash at step k. */
static void crash_at(const struct sim *before, const nokv_options *options, const struct history *h, uint64_t k,
                     bool power, uint64_t chapter_seed, uint64_t seed)
{
    static struct history copy;
    struct sim *sim = NULL;
    copy = *h;
    OK(sim_clone(before, &sim));
    sim_crash_after(sim, k);
    (void)!chapter_run(sim, options, &copy, chapter_seed);
    if (power)
        sim_power_cut(sim);
    else
        sim_process_kill(sim);
    survivors_check(sim, options, &copy, power, k, seed);
    sim_destroy(sim);
}

/* Every `stride`th step of every chapter of one seed. Returns the number of crash points. */
static uint64_t seed_run(uint64_t seed, const nokv_options *given, int chapters, uint64_t stride, uint64_t *out_steps)
{
    static struct history h;
    nokv_options options = *given;
    struct sim *sim = NULL;
    uint64_t crashes = 0, random = seed;
    memset(&h, 0, sizeof h);
    struct sim_options so = {.seed = seed, .short_transfers = seed % 2};
    OK(sim_create(&so, &sim));
    for (int c = 0; c < chapters; c++) {
        struct sim *before = NULL;
        static struct history history_before;
        uint64_t chapter_seed = test_random(&random), first = sim_steps(sim);
        history_before = h;
        OK(sim_clone(sim, &before));
        OK(chapter_run(sim, &options, &h, chapter_seed));
        uint64_t steps = sim_steps(sim) - first;
        for (uint64_t k = seed % stride; k < steps; k += stride) {
            crash_at(before, &options, &history_before, k, true, chapter_seed, seed);
            crashes++;
            if (k / stride % 4 == 0) {
                crash_at(before, &options, &history_before, k, false, chapter_seed, seed);
                crashes++;
            }
        }
        *out_steps += steps;
        sim_destroy(before);
    }
    sim_destroy(sim);
    return crashes;
}

/* ---- the tests -------------------------------------------------------------------------------------------------- */

static uint64_t first_seed = 1;
static uint64_t seed_count;
static int chapters_per_seed = CHAPTERS;

/* A power cut, or a kill, at any step of open, writes, flushes, compactions and close loses nothing that was promised.
 */
static void test_crash_at_every_step(void **state)
{
    (void)state;
    uint64_t crashes = 0, least = UINT64_MAX;
    for (uint64_t seed = first_seed; seed < first_seed + seed_count; seed++) {
        uint64_t steps = 0;
        nokv_options options;
        crash_options_draw(&options, seed);
        crashes += seed_run(seed, &options, chapters_per_seed, 1, &steps);
        least = steps < least ? steps : least;
    }
    printf("%llu seeds, at least %llu steps each, %llu crashes\n", (unsigned long long)seed_count,
           (unsigned long long)least, (unsigned long long)crashes);
    printf("value log: %llu bytes written directly, %llu moved, %llu of files removed\n",
           (unsigned long long)direct_bytes, (unsigned long long)moved_bytes, (unsigned long long)reclaimed_bytes);
    if (chapters_per_seed == CHAPTERS)
        assert_true(least >= 2000);
    if (seed_count >= 10)
        assert_true(direct_bytes > 0 && moved_bytes > 0 && reclaimed_bytes > 0);
}

/* So it is with each combination of component and I/O model that can be chosen. */
static void test_crash_with_all_io_models(void **state)
{
    (void)state;
    uint64_t seed = test_seed(1), crashes = 0, runs = 0, step = 100 / test_scale(100);
    for (size_t i = seed % step; i < IO_MODELS_COUNT; i += step, runs++) {
        nokv_options options;
        uint64_t steps = 0;
        crash_options_draw(&options, seed + i);
        io_models_set(&options, i);
        uint64_t before = crashes;
        crashes += seed_run(seed + i, &options, 1, MODELS_STRIDE, &steps);
        if (crashes == before)
            fail_msg("%s: no crash", io_models_text(&options));
    }
    printf("%llu of %d combinations, %llu crashes\n", (unsigned long long)runs, (int)IO_MODELS_COUNT,
           (unsigned long long)crashes);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "models") == 0) {
        const struct CMUnitTest models[] = {cmocka_unit_test(test_crash_with_all_io_models)};
        return cmocka_run_group_tests(models, NULL, NULL);
    }
    if (argc == 3) {
        first_seed = strtoull(argv[1], NULL, 0);
        seed_count = test_scale(strtoull(argv[2], NULL, 0));
        if (test_scale(100) < 100) /* sanitizers: the same code at fewer steps */
            chapters_per_seed = CHAPTERS / 3;
    } else {
        seed_count = 1;
        chapters_per_seed = 2;
    }
    if (getenv("NOKV_TEST_SEED")) {
        first_seed = test_seed(0);
        seed_count = 1;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crash_at_every_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
