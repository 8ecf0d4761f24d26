// SPDX-License-Identifier: Apache-2.0
/*
 * A disk that fills up to its last block while the engine writes, and is drained again: writes are refused with
 * NO_SPACE and change nothing, reads and deletes go on, and with room again writes do, without a restart.
 *
 *      STAGE_WRITE ─► STAGE_FILL ─► STAGE_FULL ─► STAGE_ROOM ─► STAGE_WRITE ...
 *       all succeed    a ballast     deletes       the ballast
 *                      file grows    succeed       is gone
 *
 * Two writers and a reader go through the stages together; a conductor moves them on when all have done what a stage
 * asks for. Each writer owns its keys and knows what they hold, in memory that outlives it: after some cycles the
 * process is killed while the disk is full, and what it had acknowledged is there, to readers before there is room.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/thread.h"
#include "rig.h"
#include "stress.h"
#include "test.h"

enum {
    WRITERS = 2,
    DISK_MIB = 64,
    CYCLES_PER_LIFE = 10,
    WRITES = 60,   /* of each writer and cycle, with room */
    REFUSALS = 5,  /* of each writer and cycle, that prove the disk full */
    DELETES = 25,  /* of each writer and cycle, on a full disk */
    RECOVERED = 25 /* writes of each writer and cycle, with room again */
};
#define PATIENCE_SECONDS 120.0

enum stage { STAGE_WRITE, STAGE_FILL, STAGE_FULL, STAGE_ROOM, STAGE_END };

/* What happened, in memory that outlives the child. */
struct tally {
    _Atomic uint64_t cycles, written, refused, deleted, refused_with_room, reads;
    _Atomic uint64_t room_us_max; /* from the ballast's end to a writer's first success */
    uint32_t next[WRITERS];       /* number of the next write */
    struct held held[WRITERS][KEYS];
    _Atomic bool is_ready; /* the child waits to be killed; its writers only read */
};

static struct tally *tally;

struct player {
    nokv_db *db;
    uint64_t seed;
    uint8_t thread;
    uint64_t rng;
    struct issuer issuer;
    struct held *held;
    _Atomic int done; /* the last stage that it has finished, counted up: 1 + stage + STAGE_END * cycle */
    pthread_t id;
};

static _Atomic int stage_now; /* as `done` */
static _Atomic uint64_t room_at_us;

/* ---- one operation --------------------------------------------------------------------------------------------- */

static uint64_t now_us(void)
{
    return (uint64_t)(seconds_now() * 1e6);
}

static void key_check(struct player *w, uint32_t k)
{
    char key[KEY_TEXT];
    nokv_value value = {0};
    nokv_status status = nokv_get(w->db, key, key_make(w->thread, k, key), NULL, &value);
    if (status != NOKV_OK && status != NOKV_ERR_NOT_FOUND)
        child_fail("%s cannot be read: %s", key, nokv_status_name(status));
    struct held got = held_of(w->seed, w->thread, k, status, &value);
    if (!held_same(&got, &w->held[k]))
        child_fail("%s %s write %u, and should %s write %u", key, got.is_there ? "holds" : "is gone, which", got.write,
                   w->held[k].is_there ? "hold" : "be gone by", w->held[k].write);
    nokv_value_release(&value);
    atomic_fetch_add_explicit(&tally->reads, 1, memory_order_relaxed);
}

static void keys_check(struct player *w)
{
    for (uint32_t k = 0; k < KEYS; k++)
        key_check(w, k);
}

/* True: acknowledged. False: refused for want of space, and nothing has changed. */
static bool write_try(struct player *w, const struct planned *p)
{
    uint32_t i = tally->next[w->thread];
    struct origin o = {.write = i, .thread = w->thread};
    nokv_status status = issue(&w->issuer, o, p);
    if (status != NOKV_OK && status != NOKV_ERR_NO_SPACE)
        child_fail("a write: %s instead of NO_SPACE", nokv_status_name(status));
    for (uint32_t n = 0; n < p->count && status == NOKV_OK; n++)
        held_apply(w->held, o, p, n);
    tally->next[w->thread] = i + 1;
    for (uint32_t n = 0; n < p->count; n++)
        key_check(w, p->entries[n].key);
    atomic_fetch_add_explicit(status == NOKV_OK ? &tally->written : &tally->refused, 1, memory_order_relaxed);
    return status == NOKV_OK;
}

static bool any_write_try(struct player *w)
{
    struct planned p;
    write_plan(w->seed, (struct origin){.write = tally->next[w->thread], .thread = w->thread}, &p);
    return write_try(w, &p);
}

static struct planned delete_plan(struct player *w)
{
    struct planned p = {.count = 1, .is_durable = test_random(&w->rng) % 4 == 0};
    p.entries[0] = (struct entry){.key = (uint32_t)(test_random(&w->rng) % KEYS), .is_delete = true};
    return p;
}

/* ---- stages ---------------------------------------------------------------------------------------------------- */

static void stage_write(struct player *w)
{
    for (int n = 0; n < WRITES; n++)
        if (!any_write_try(w))
            child_fail("a write is refused although there is room");
    keys_check(w);
}

/* It may take a while: what is reserved already can still be written. */
static void stage_fill(struct player *w)
{
    for (int refused = 0; refused < REFUSALS;)
        refused += !any_write_try(w);
}

/* The disk is full for the puts: deletes are not refused, and what they delete is gone. */
static void stage_full(struct player *w)
{
    for (int n = 0; n < DELETES; n++) {
        struct planned p = delete_plan(w);
        if (!write_try(w, &p))
            child_fail("a delete is refused on a full disk");
        atomic_fetch_add_explicit(&tally->deleted, 1, memory_order_relaxed);
        if (n % 8 == 0)
            (void)any_write_try(w);
    }
    nokv_status status = w->thread == 0 ? nokv_flush(w->db) : nokv_sync_wal(w->db);
    if (status != NOKV_OK && (status != NOKV_ERR_NO_SPACE || w->thread != 0))
        child_fail("flush or sync on a full disk: %s", nokv_status_name(status));
    keys_check(w);
}

static void stage_room(struct player *w)
{
    double begin = seconds_now();
    for (int written = 0; written < RECOVERED;) {
        if (any_write_try(w)) {
            uint64_t us = now_us() - atomic_load(&room_at_us);
            if (written++ == 0 && us > atomic_load(&tally->room_us_max))
                atomic_store(&tally->room_us_max, us);
            continue;
        }
        atomic_fetch_add_explicit(&tally->refused_with_room, 1, memory_order_relaxed);
        if (seconds_now() - begin > PATIENCE_SECONDS)
            child_fail("writes are still refused although there is room");
        sched_yield();
    }
    if (w->thread == 0 && nokv_flush(w->db) != NOKV_OK)
        child_fail("a flush fails although there is room");
}

static void *writer_main(void *arg)
{
    static void (*const stages[])(struct player * w) = {stage_write, stage_fill, stage_full, stage_room};
    struct player *w = arg;
    for (int done = 0;;) {
        int now = atomic_load_explicit(&stage_now, memory_order_acquire);
        if (now < 0)
            return NULL;
        if (now == done) {
            sched_yield();
            key_check(w, (uint32_t)(test_random(&w->rng) % KEYS)); /* reads go on all the time */
            continue;
        }
        stages[(now - 1) % STAGE_END](w);
        atomic_store_explicit(&w->done, done = now, memory_order_release);
    }
}

/* Walks over all keys, at all times. */
static void *reader_main(void *arg)
{
    struct player *w = arg;
    while (atomic_load_explicit(&stage_now, memory_order_acquire) >= 0) {
        nokv_iter *it = NULL;
        if (nokv_iter_create(w->db, NULL, &it) != NOKV_OK)
            child_fail("an iterator on a full disk");
        for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it)) {
            struct origin o;
            uint8_t entry;
            nokv_slice value = nokv_iter_value(it);
            if (!nokv_iter_valid(it)) /* it could not be read */
                break;
            if (!value_parse(w->seed, value, &o, &entry))
                child_fail("torn: an iterator shows a value that nobody wrote");
        }
        if (nokv_iter_status(it) != NOKV_OK)
            child_fail("a walk on a full disk");
        nokv_iter_destroy(it);
    }
    return NULL;
}

/* ---- the conductor --------------------------------------------------------------------------------------------- */

/* Begin a stage and wait until the writers have done it; `disk`: keep that full meanwhile. */
static void stage_conduct(struct player *writers, const char *disk)
{
    int now = atomic_load(&stage_now) + 1;
    double begin = seconds_now();
    atomic_store_explicit(&stage_now, now, memory_order_release);
    for (unsigned t = 0; t < WRITERS;) {
        if (disk && !ballast_fill(disk))
            child_fail("the disk cannot be filled");
        if (atomic_load_explicit(&writers[t].done, memory_order_acquire) == now)
            t++;
        else if (seconds_now() - begin > PATIENCE_SECONDS)
            child_fail("stage %d does not end", (now - 1) % STAGE_END);
        else
            sched_yield();
    }
}

static void cycle_conduct(struct player *writers, const char *disk, bool stop_when_full)
{
    stage_conduct(writers, NULL);
    stage_conduct(writers, disk);
    stage_conduct(writers, disk);
    if (stop_when_full) {
        atomic_store_explicit(&tally->is_ready, true, memory_order_release);
        for (;;)
            pause();
    }
    if (!ballast_remove(disk))
        child_fail("the ballast cannot be removed");
    atomic_store(&room_at_us, now_us());
    stage_conduct(writers, NULL);
    atomic_fetch_add(&tally->cycles, 1);
}

static void players_start(struct player players[WRITERS + 1], nokv_db *db, const struct round *r)
{
    for (unsigned t = 0; t <= WRITERS; t++) {
        struct player *w = &players[t];
        *w = (struct player){.db = db,
                             .seed = r->seed,
                             .thread = (uint8_t)t,
                             .rng = seed_mix(r->draw, t),
                             .held = tally->held[t % WRITERS]};
        issuer_init(&w->issuer, db, r->seed);
        if (t < WRITERS)
            keys_check(w);
        if (thread_create(&w->id, "player", t < WRITERS ? writer_main : reader_main, w) != NOKV_OK)
            child_fail("no thread");
    }
}

static void players_end(struct player players[WRITERS + 1])
{
    atomic_store_explicit(&stage_now, -1, memory_order_release);
    for (unsigned t = 0; t <= WRITERS; t++) {
        thread_join(players[t].id);
        issuer_deinit(&players[t].issuer);
    }
}

static nokv_status open_as(const struct round *r, bool is_read_only, nokv_db **out_db)
{
    nokv_options options;
    options_draw(r->draw, &options);
    options.read_only = is_read_only;
    return nokv_open(r->dir, &options, out_db);
}

/* `cycles` of them; `stop_when_full`: in the last, wait for SIGKILL with the disk full. */
static _Noreturn void child_cycles(const struct round *r, const char *disk, uint64_t cycles, bool stop_when_full)
{
    struct player players[WRITERS + 1];
    nokv_db *db = NULL;
    nokv_verify_report report;
    if (open_as(r, false, &db) != NOKV_OK)
        child_fail("opening the database with room");
    players_start(players, db, r);
    for (uint64_t n = 0; n < cycles; n++)
        cycle_conduct(players, disk, stop_when_full && n + 1 == cycles);
    players_end(players);
    if (nokv_verify(db, NULL, NULL, &report) != NOKV_OK)
        child_fail("verify finds damage");
    if (nokv_close(db) != NOKV_OK)
        child_fail("closing the database with room");
    exit(0);
}

/* On the full disk: readers find everything; opening for writing works or says NO_SPACE, and changes nothing. */
static _Noreturn void child_look(const struct round *r)
{
    for (int pass = 0; pass < 3; pass++) {
        nokv_db *db = NULL;
        bool is_read_only = pass != 1;
        nokv_status status = open_as(r, is_read_only, &db);
        if (status != NOKV_OK && (is_read_only || status != NOKV_ERR_NO_SPACE))
            child_fail("opening on a full disk, %s: %s", is_read_only ? "read-only" : "for writing",
                       nokv_status_name(status));
        for (unsigned t = 0; t < WRITERS && db; t++) {
            struct player w = {.db = db, .seed = r->seed, .thread = (uint8_t)t, .held = tally->held[t]};
            keys_check(&w);
        }
        status = nokv_close(db);
        if (status != NOKV_OK && status != NOKV_ERR_NO_SPACE)
            child_fail("closing on a full disk: %s", nokv_status_name(status));
    }
    exit(0);
}

/* ---- the parent ------------------------------------------------------------------------------------------------ */

struct full_run {
    const struct limits *limits;
    char work[300], rig[330], dir[450];
    struct volume disk;
    uint64_t lives, kills;
    double begin;
};

static bool child_is_good(const struct full_run *run, int status, bool was_killed)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (was_killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return true;
    progress_end();
    fprintf(stderr, "full, life %llu, cycle %llu, seed %llu: %s (status 0x%x)\n", (unsigned long long)run->lives,
            (unsigned long long)atomic_load(&tally->cycles), (unsigned long long)run->limits->seed,
            atomic_load(&shared->failed) ? shared->message : "the child died", (unsigned)status);
    char command[1000];
    snprintf(command, sizeof command, "cp -a '%s' '%s/failed'", run->dir, run->work);
    if (system(command) == 0)
        fprintf(stderr, "the database is %s/failed\n", run->work);
    return false;
}

static pid_t child_start(void)
{
    fflush(NULL);
    atomic_store(&tally->is_ready, false);
    pid_t pid = fork();
    if (pid == 0)
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

/* Kill it once it has the disk full. True: it has ended before. */
static bool kill_when_ready(pid_t pid, int *status)
{
    while (!atomic_load_explicit(&tally->is_ready, memory_order_acquire)) {
        if (waitpid(pid, status, WNOHANG) == pid)
            return true;
        sched_yield();
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, status, 0);
    return false;
}

/* Some cycles, then a kill on the full disk, a look at it there, and room. */
static bool life_run(struct full_run *run)
{
    struct round r = {.seed = run->limits->seed, .draw = seed_mix(run->limits->seed, run->lives), .dir = run->dir};
    int status = 0;
    run->lives++;
    pid_t pid = child_start();
    if (pid == 0)
        child_cycles(&r, run->disk.mount_point, CYCLES_PER_LIFE, true);
    bool ended = kill_when_ready(pid, &status);
    if (!child_is_good(run, status, !ended))
        return false;
    run->kills++;
    pid = child_start();
    if (pid == 0)
        child_look(&r);
    (void)waitpid(pid, &status, 0);
    if (!child_is_good(run, status, false) || !ballast_remove(run->disk.mount_point))
        return false;
    atomic_fetch_add(&tally->cycles, 1);
    return true;
}

static bool lives_run(struct full_run *run)
{
    struct round r = {.seed = run->limits->seed, .draw = seed_mix(run->limits->seed, UINT64_MAX), .dir = run->dir};
    int status = 0;
    while (goes_on(run->limits, atomic_load(&tally->cycles), run->begin)) {
        if (!life_run(run))
            return false;
        progress("full: %llu cycles, %.0f s", (unsigned long long)atomic_load(&tally->cycles),
                 seconds_now() - run->begin);
    }
    pid_t pid = child_start();
    if (pid == 0)
        child_cycles(&r, run->disk.mount_point, 1, false);
    (void)waitpid(pid, &status, 0);
    return child_is_good(run, status, false);
}

static void summary(const struct full_run *run)
{
    progress_end();
    printf("full: the disk was filled and drained %llu times in %.0f s, seed %llu: lost 0, torn 0\n",
           (unsigned long long)atomic_load(&tally->cycles), seconds_now() - run->begin,
           (unsigned long long)run->limits->seed);
    printf("  %llu writes acknowledged, %llu refused with NO_SPACE; %llu deletes on the full disk, none refused; %llu "
           "reads\n",
           (unsigned long long)atomic_load(&tally->written), (unsigned long long)atomic_load(&tally->refused),
           (unsigned long long)atomic_load(&tally->deleted), (unsigned long long)atomic_load(&tally->reads));
    printf("  with room again %llu writes were still refused, for %.1f ms at the most; %llu kills on the full disk\n",
           (unsigned long long)atomic_load(&tally->refused_with_room), (double)atomic_load(&tally->room_us_max) / 1000,
           (unsigned long long)run->kills);
}

int mode_full(const struct limits *limits)
{
    struct full_run run = {.limits = limits, .begin = seconds_now(), .disk.loop = -1};
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(run.work, sizeof run.work, "%s/nokv-stress-XXXXXX", limits->dir);
    if (shared == MAP_FAILED || tally == MAP_FAILED || mkdtemp(run.work) == NULL) {
        fprintf(stderr, "%s: cannot be used: %m\n", run.work);
        return 1;
    }
    snprintf(run.rig, sizeof run.rig, "%s/rig", run.work);
    snprintf(run.dir, sizeof run.dir, "%s/disk/db", run.rig);
    bool is_possible = rig_enter(run.rig) && volume_create(&run.disk, "ext4", run.rig, "disk", DISK_MIB);
    bool is_good = is_possible && lives_run(&run);
    volume_destroy(&run.disk);
    rig_leave(run.rig);
    if (is_good)
        summary(&run);
    if (is_good || !is_possible)
        (void)rmdir(run.work);
    return is_good ? 0 : is_possible ? 1 : EXIT_SKIPPED;
}
