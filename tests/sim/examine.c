// SPDX-License-Identifier: Apache-2.0
/*
 * Crashes of copies: at a switch point, while all threads stand still, the disk is copied as it is, and the copies are
 * crashed in several ways, recovered by an engine of their own, and looked at; then the run goes on as if nothing had
 * been. So one run has many crash points, each at the price of a recovery, and none has to repeat what led to it.
 *
 *     copy ─► kill / power cut ─► (damage) ─► (a recovery that crashes itself, several times) ─► open ─► orphans
 *          ─► content against the oracle ─► now and then: verify, write, flush, close, open, the same content
 *
 * With damage - a flipped bit, a file cut short or of an earlier time - an open may be refused with a message that
 * names the file, and keys may be unreadable; what is readable is right. Files whose damage looks like what a crash
 * leaves (the logs, their buffers, segments that were being written) may lose their end: then what is there must still
 * be a state that was there once.
 *
 * Threading: the scheduler's call; its background work is inline. Only where it waits for somebody's mutex, or for the
 * epochs to let go, the run goes on meanwhile.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "run.h"
#include "test.h"

enum { CUTS_MAX = 4, FILES_MAX = 256, PATH_MAX_BYTES = 64, RECOVERY_STEPS = 60 };

static uint64_t draw(struct run *run, uint64_t below)
{
    return test_random(&run->crash_random) % below;
}

static bool may(const struct run *run, enum fault fault)
{
    return run->config.faults & 1u << fault;
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

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

void examine_orphans(struct sim *sim, nokv_db *db, const char *what)
{
    struct file_count c = {0};
    nokv_stats stats = {.struct_size = sizeof stats};
    if (nokv_stats_get(db, false, &stats) != NOKV_OK)
        sched_violation("%s: no stats: %s", what, status_message());
    sim_each_file(sim, file_count_one, &c);
    if (c.temps != 0 || c.manifests != 1 || c.tables != stats.components[NOKV_COMPONENT_SST].files ||
        c.segments != stats.components[NOKV_COMPONENT_VLOG].files)
        sched_violation("%s: %llu temporary files, %llu MANIFESTs, %llu tables of which %llu are in use, %llu segments "
                        "of which %llu",
                        what, (unsigned long long)c.temps, (unsigned long long)c.manifests,
                        (unsigned long long)c.tables, (unsigned long long)stats.components[NOKV_COMPONENT_SST].files,
                        (unsigned long long)c.segments,
                        (unsigned long long)stats.components[NOKV_COMPONENT_VLOG].files);
}

struct file_list {
    char paths[FILES_MAX][PATH_MAX_BYTES];
    uint64_t sizes[FILES_MAX];
    size_t count;
};

static bool file_list_add(void *arg, const char *path, uint64_t size)
{
    struct file_list *l = arg;
    if (size > 0 && l->count < FILES_MAX) {
        snprintf(l->paths[l->count], PATH_MAX_BYTES, "%s", path);
        l->sizes[l->count++] = size;
    }
    return true;
}

/* ---- damage ---------------------------------------------------------------------------------------------------- */

/* What a call of the test's own on a sound disk answers. */
static void must(enum nokv_status status, const char *what)
{
    if (status != NOKV_OK)
        sched_violation("%s: %s: %s", what, status_name(status), status_message());
}

static void file_replace(struct sim *sim, const char *path, const uint8_t *data, size_t size)
{
    struct io *io = NULL;
    struct io_file *file = NULL;
    must(sim_io_create(sim, &io), "an environment");
    must(io_open(io, path, IO_OTHER, IO_STD, IO_WRITE, &file), "damage");
    must(io_truncate(file, 0), "damage");
    must(io_pwrite(file, data, size, 0), "damage");
    must(io_sync(file), "damage");
    must(io_close(file), "damage");
    io_destroy(io);
}

/* NULL: it is not there. *out_size bytes; freed with free. */
static uint8_t *file_read(struct sim *sim, const char *path, size_t *out_size)
{
    struct io *io = NULL;
    struct io_file *file = NULL;
    uint64_t size = 0;
    uint8_t *data = NULL;
    must(sim_io_create(sim, &io), "an environment");
    if (io_open(io, path, IO_OTHER, IO_STD, IO_READ, &file) == NOKV_OK) {
        must(io_size(file, &size), "damage");
        data = malloc(size + 1);
        ASSERT(data != NULL);
        must(io_pread(file, data, size, 0, out_size), "damage");
        must(io_close(file), "damage");
    }
    io_destroy(io);
    return data;
}

/* May the end of this file be lost without anybody noticing? */
static bool is_open_ended(const char *path, enum fault damage)
{
    return strstr(path, "wal") || strstr(path, "WAL") || strstr(path, "VLOG") || strstr(path, ".vlog") ||
           damage == FAULT_STALE;
}

/* FAULT_COUNT: nothing was done. */
static enum fault damage_draw(const struct run *run, uint64_t r)
{
    static const enum fault kinds[] = {FAULT_BIT_FLIP, FAULT_BIT_FLIP, FAULT_TRUNCATED, FAULT_STALE};
    enum fault fault = kinds[r % ARRAY_COUNT(kinds)];
    return may(run, fault) ? fault : FAULT_COUNT;
}

/* The contents of `path` as they were in the copy that was kept; false: there is none, or they are the same. */
static bool file_make_stale(struct run *run, struct sim *sim, const char *path)
{
    size_t old_size = 0, size = 0;
    uint8_t *old = run->earlier ? file_read(run->earlier, path, &old_size) : NULL;
    uint8_t *data = file_read(sim, path, &size);
    bool differs = old != NULL && (old_size != size || memcmp(old, data, size) != 0);
    if (differs)
        file_replace(sim, path, old, old_size);
    free(old);
    free(data);
    return differs;
}

static void file_cut(struct run *run, struct sim *sim, const char *path, uint64_t size)
{
    size_t got = 0;
    uint8_t *data = file_read(sim, path, &got);
    ASSERT(data != NULL && got == size);
    file_replace(sim, path, data, draw(run, size));
    free(data);
}

/* Damage one file. *out_path names it. */
static enum fault damage_do(struct run *run, struct sim *sim, char out_path[PATH_MAX_BYTES])
{
    static struct file_list files;
    enum fault fault = damage_draw(run, draw(run, 1024));
    files.count = 0;
    sim_each_file(sim, file_list_add, &files);
    if (fault == FAULT_COUNT || files.count == 0)
        return FAULT_COUNT;
    size_t i = draw(run, files.count);
    memcpy(out_path, files.paths[i], PATH_MAX_BYTES);
    run->report->totals.drawn[fault]++;
    if (fault == FAULT_STALE && !file_make_stale(run, sim, out_path))
        return FAULT_COUNT;
    if (fault == FAULT_TRUNCATED)
        file_cut(run, sim, out_path, files.sizes[i]);
    if (fault == FAULT_BIT_FLIP)
        must(sim_flip_bit(sim, out_path, draw(run, files.sizes[i]), (unsigned)draw(run, 8)), "damage");
    run->report->totals.happened[fault]++;
    return fault;
}

/* ---- one crash ------------------------------------------------------------------------------------------------- */

struct examination {
    struct run *run;
    struct sim *sim; /* the copy */
    nokv_options options;
    bool is_power_cut;
    enum fault damage; /* FAULT_COUNT: none */
    char path[PATH_MAX_BYTES];
    char what[128];
    struct window window;
};

static void crash_now(struct examination *e)
{
    if (e->is_power_cut)
        sim_power_cut(e->sim);
    else
        sim_process_kill(e->sim);
}

/* An open that is cut short. */
static void recovery_cut(struct examination *e)
{
    struct io *io = NULL;
    nokv_db *db = NULL;
    sim_crash_after(e->sim, draw(e->run, RECOVERY_STEPS));
    must(sim_io_create(e->sim, &io), "an environment");
    if (db_open(io, run_dir, &e->options, &db) == NOKV_OK)
        (void)!nokv_close(db);
    io_destroy(io);
    crash_now(e);
    e->run->report->totals.cut_recoveries++;
    e->run->report->totals.drawn[FAULT_CUT_RECOVERY]++;
    e->run->report->totals.happened[FAULT_CUT_RECOVERY]++;
}

/* It works: what is written stays, and nothing else changes. */
static void examine_further(struct examination *e, struct io *io, nokv_db *db)
{
    static const char key[] = "one more";
    uint8_t value[700] = {1, 2, 3};
    nokv_write_options durable = {.struct_size = sizeof durable, .sync = NOKV_SYNC_COMMIT};
    nokv_value got = {0};
    must(db_check_beside_readers(db), e->what);
    must(nokv_put(db, key, sizeof key, value, sizeof value, &durable), e->what);
    must(nokv_flush(db), e->what);
    must(nokv_get(db, key, sizeof key, NULL, &got), e->what);
    if (got.size != sizeof value || memcmp(got.data, value, sizeof value) != 0)
        sched_violation("%s: a value that was written after it has changed", e->what);
    nokv_value_release(&got);
    must(nokv_delete(db, key, sizeof key, NULL), e->what);
    must(nokv_close(db), e->what);
    must(db_open(io, run_dir, &e->options, &db), e->what);
    examine_orphans(e->sim, db, e->what);
    workload_check_all(e->run, db, NULL, &e->window, false, e->what, NULL);
    must(db_check_beside_readers(db), e->what);
    must(nokv_close(db), e->what);
    e->run->report->totals.verified++;
}

static void examine_opened(struct examination *e, struct io *io, nokv_db *db)
{
    if (e->damage == FAULT_COUNT)
        examine_orphans(e->sim, db, e->what);
    workload_check_all(e->run, db, NULL, &e->window, e->damage != FAULT_COUNT, e->what, &e->window);
    if (e->damage == FAULT_COUNT && draw(e->run, 8) == 0)
        examine_further(e, io, db);
    else
        (void)!nokv_close(db);
}

/* With damage an open may be refused, with a message that says where. */
static void examine_refused(struct examination *e, enum nokv_status status)
{
    bool is_clear = status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_FOUND || status == NOKV_ERR_NOT_SUPPORTED;
    /* A file of an earlier time is sound: what it names and what is not there any more is said. */
    const char *named = e->damage == FAULT_STALE ? run_dir : e->path;
    if (e->damage == FAULT_COUNT || !is_clear || strstr(status_message(), named) == NULL)
        sched_violation("%s: does not open: %s: %s", e->what, status_name(status), status_message());
    e->run->report->totals.opens_refused++;
}

static void examine_open(struct examination *e)
{
    struct io *io = NULL;
    nokv_db *db = NULL;
    must(sim_io_create(e->sim, &io), "an environment");
    enum nokv_status status = db_open(io, run_dir, &e->options, &db);
    if (status == NOKV_OK)
        examine_opened(e, io, db);
    else
        examine_refused(e, status);
    io_destroy(io);
}

static void damage(struct examination *e)
{
    e->damage = damage_do(e->run, e->sim, e->path);
    if (e->damage == FAULT_COUNT)
        return;
    size_t used = strlen(e->what);
    snprintf(e->what + used, sizeof e->what - used, ", %s: %s", e->path, fault_name(e->damage));
    if (is_open_ended(e->path, e->damage))
        memset(e->window.low, 0, sizeof e->window.low);
}

void examine_window(const struct run *run, enum crash crash, struct window *out_window)
{
    bool is_synced_only = crash == CRASH_POWER_CUT || run->is_uncertain || run->faults.sync_failed;
    window_survivors(&run->oracle, is_synced_only, out_window);
}

static void examine_copy(struct run *run, enum crash crash)
{
    static const char *const names[CRASH_KINDS] = {"kill", "power cut", "damage"};
    struct examination e = {.run = run, .damage = FAULT_COUNT, .options = run->options};
    e.is_power_cut = crash == CRASH_POWER_CUT || (crash == CRASH_DAMAGE && draw(run, 2));
    e.options.inline_background_work = true;
    snprintf(e.what, sizeof e.what, "crash %llu, %s", (unsigned long long)run->report->crash, names[crash]);
    must(sim_clone(run->sim, &e.sim), "a copy of the disk");
    sim_fail_clear(e.sim);
    sim_set_capacity(e.sim, 0);
    sim_reseed(e.sim, test_random(&run->crash_random));
    crash_now(&e);
    examine_window(run, e.is_power_cut ? CRASH_POWER_CUT : CRASH_KILL, &e.window);
    if (crash == CRASH_DAMAGE)
        damage(&e);
    while (may(run, FAULT_CUT_RECOVERY) && e.damage == FAULT_COUNT && draw(run, 6) == 0)
        recovery_cut(&e);
    examine_open(&e);
    sim_destroy(e.sim);
    run->report->totals.crashes[crash]++;
}

/* ---- a moment -------------------------------------------------------------------------------------------------- */

static void earlier_keep(struct run *run)
{
    sim_destroy(TAKE(run->earlier));
    must(sim_clone(run->sim, &run->earlier), "a copy of the disk");
    sim_fail_clear(run->earlier);
    sim_process_kill(run->earlier);
}

static bool may_damage(const struct run *run)
{
    return may(run, FAULT_BIT_FLIP) || may(run, FAULT_TRUNCATED) || may(run, FAULT_STALE);
}

static void examine(void *arg)
{
    struct run *run = arg;
    run->report->crash++;
    if (run->report->crash > run->config.crash_first && !run->has_crashed) {
        run->is_examining = true;
        faults_suspend(run);
        run->report->totals.crash_moments++;
        if (draw(run, 2) == 0)
            examine_copy(run, CRASH_KILL);
        for (uint64_t n = 1 + draw(run, CUTS_MAX); n > 0; n--)
            examine_copy(run, CRASH_POWER_CUT);
        if (may_damage(run) && draw(run, 4) == 0)
            examine_copy(run, CRASH_DAMAGE);
        if (may(run, FAULT_STALE) && draw(run, 8) == 0)
            earlier_keep(run);
        faults_resume(run);
        run->is_examining = false;
    }
    examine_plan(run);
}

void examine_plan(struct run *run)
{
    if (run->config.crash_gap == 0)
        return;
    /* now and then a moment right behind the last one */
    uint64_t gap = draw(run, 4) == 0 ? 1 : 1 + draw(run, 2 * (uint64_t)run->config.crash_gap);
    sched_call_at(sched_points() + gap, examine, run);
}

void examine_wait(struct run *run)
{
    while (run->is_examining)
        thread_yield();
}
