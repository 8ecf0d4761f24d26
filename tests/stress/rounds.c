// SPDX-License-Identifier: Apache-2.0
/*
 * The parent of the rounds that end badly: a child is killed, its file system loses its power, or its device fails.
 *
 *      draw ─► child: open, check, write ... ─► the moment has come ─► stop it ─► (mount again) ─► next round
 *
 * The moment is not one of time: it is what the child is about, or how many writes are acknowledged, and a random
 * number of instructions later, between one and some millions. The next round's child checks what this one left, before
 * it goes on writing; in one round in five another child does so first that opens the database read-only. A database is
 * given up after some rounds, with a last check that reads every byte.
 */
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rig.h"
#include "stress.h"
#include "test.h"

enum { ROUNDS_PER_DATABASE = 50, SPIN_BITS_MAX = 25, EXT4_MIB = 96, XFS_MIB = 320, OUTER_MIB = 128, INNER_MIB = 96 };

static const char *const phase_names[PHASE_COUNT] = {
    "opening", "checking", "writing", "flushing", "compacting", "syncing the log", "collecting", "closing", "closed"};

struct run {
    const struct limits *limits;
    enum ending ending;
    const char *name;
    char work[300];            /* everything that is made */
    char rig[330];             /* the file systems, if there are any */
    char parent[400];          /* of the databases */
    char dir[450];             /* the database */
    struct volume outer, disk; /* `outer` holds the image of `disk` on a device that is to fail */
    uint64_t seed;             /* of the database */
    uint64_t databases, rounds;
    /* what happened */
    uint64_t stops[PHASE_COUNT];
    uint64_t checks, written, came_back, gone, by_itself, told_final, refused, same_boots;
    bool is_same_boot; /* the next process finds the page cache as the last one left it */
    double begin;
};

/* ---- the child's life, seen from outside ----------------------------------------------------------------------- */

/* For a random number of instructions: each order of magnitude is as likely as the others. */
static void spin(uint64_t *rng)
{
    uint64_t bits = 1 + test_random(rng) % SPIN_BITS_MAX;
    for (uint64_t n = test_random(rng) % (1ull << bits); n > 0; n--)
        atomic_signal_fence(memory_order_seq_cst);
}

static pid_t child_start(const struct round *r)
{
    atomic_store(&shared->cut, false);
    atomic_store(&shared->final, false);
    atomic_store(&shared->refused, 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        child_run(r);
    }
    return pid;
}

/* ---- what is wrong --------------------------------------------------------------------------------------------- */

/* Keep the database as it is now, where it outlasts this process. */
static void evidence_keep(const struct run *run)
{
    char command[1000];
    if (run->rig[0] == 0) {
        fprintf(stderr, "the database is %s\n", run->dir);
        return;
    }
    snprintf(command, sizeof command, "cp -a '%s' '%s/failed'", run->dir, run->work);
    if (system(command) == 0)
        fprintf(stderr, "the database is %s/failed\n", run->work);
}

static bool violated(const struct run *run, const char *what)
{
    progress_end();
    fprintf(stderr, "%s, round %llu, database %llu, seed %llu: %s\n", run->name, (unsigned long long)run->rounds,
            (unsigned long long)run->databases, (unsigned long long)run->limits->seed, what);
    evidence_keep(run);
    fprintf(stderr, "again: ./dev stress %s --seed %llu --rounds %llu (threads may run in another order)\n", run->name,
            (unsigned long long)run->limits->seed, (unsigned long long)run->rounds + 1);
    return false;
}

/* How the child ended: false when it should not have. */
static bool ending_is_good(struct run *run, int status)
{
    char what[64];
    if (atomic_load_explicit(&shared->failed, memory_order_acquire))
        return violated(run, shared->message);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return true;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        run->by_itself++;
        return true;
    }
    snprintf(what, sizeof what, "the child ended with status 0x%x", (unsigned)status);
    return violated(run, what);
}

/* ---- stopping it ----------------------------------------------------------------------------------------------- */

/* The power goes, or the device has no more room for what was promised. */
static bool trouble_begin(struct run *run)
{
    atomic_store_explicit(&shared->cut, true, memory_order_release);
    return run->ending == END_POWER_CUT     ? volume_cut(&run->disk)
           : run->ending == END_FAIL_DEVICE ? ballast_fill(run->outer.mount_point)
                                            : true;
}

/* Does the file system below still take writes, or has it given up? */
static bool is_writable(const char *dir)
{
    char path[512];
    snprintf(path, sizeof path, "%s/probe", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    bool is = fd >= 0 && write(fd, "x", 1) == 1 && fsync(fd) == 0;
    if (fd >= 0)
        (void)close(fd);
    (void)unlink(path);
    return is;
}

/* Half of the time the next process comes in the same boot: what the failed sync lost is then in the page cache, clean.
 * Rounds that unmount see what of it reached the device. */
static bool stays_mounted(struct run *run, uint64_t *rng)
{
    if (run->ending != END_FAIL_DEVICE || test_random(rng) % 2 == 0)
        return false;
    run->is_same_boot = ballast_remove(run->outer.mount_point) && is_writable(run->disk.mount_point);
    run->same_boots += run->is_same_boot;
    return run->is_same_boot;
}

static bool trouble_end(struct run *run, uint64_t *rng)
{
    run->is_same_boot = false;
    if (run->ending == END_KILL)
        return true;
    if (stays_mounted(run, rng))
        return volume_trim(&run->disk);
    if (!volume_unmount(&run->disk))
        return false;
    if (run->ending == END_FAIL_DEVICE && !ballast_remove(run->outer.mount_point))
        return false;
    return volume_mount(&run->disk) && (run->ending != END_FAIL_DEVICE || volume_trim(&run->disk));
}

static struct moment moment_draw(uint64_t *rng)
{
    static const enum phase phases[16] = {
        PHASE_OPEN,  PHASE_OPEN,  PHASE_OPEN,  PHASE_CHECK, PHASE_WRITE,   PHASE_WRITE, PHASE_WRITE,   PHASE_WRITE,
        PHASE_WRITE, PHASE_WRITE, PHASE_FLUSH, PHASE_FLUSH, PHASE_COMPACT, PHASE_SYNC,  PHASE_COLLECT, PHASE_CLOSE};
    return (struct moment){.phase = phases[test_random(rng) % 16],
                           .acks = test_random(rng) % (1u << test_random(rng) % 10)};
}

static void account(struct run *run, unsigned life_before)
{
    const struct life *life = life_now();
    run->rounds++;
    run->told_final += atomic_load(&shared->final);
    run->refused += atomic_load(&shared->refused);
    run->written += acked_in_life();
    if (atomic_load(&shared->current) == life_before)
        return;
    run->checks++;
    run->came_back += life->came_back;
    run->gone += life->gone;
}

/* The device fails: wait until a writer was told, or (`to_its_end`) until all have been, and the child has ended. */
static bool wait_until_told(pid_t pid, bool to_its_end, int *status)
{
    struct moment told = {.is_final = true};
    if (to_its_end)
        return waitpid(pid, status, 0) == pid;
    bell_set(&told);
    return bell_wait(pid, status);
}

static bool child_stop(struct run *run, pid_t pid, uint64_t *rng)
{
    int status = 0;
    bool ended = bell_wait(pid, &status);
    if (atomic_load_explicit(&shared->failed, memory_order_acquire)) /* keep what it saw */
        return ending_is_good(run, status);
    if (!ended)
        spin(rng);
    enum phase phase = phase_now();
    if (run->ending != END_KILL && !trouble_begin(run))
        return false;
    if (!ended && run->ending == END_FAIL_DEVICE)
        ended = wait_until_told(pid, test_random(rng) % 2 == 0, &status);
    if (!ended && run->ending != END_KILL)
        spin(rng);
    if (!ended) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
    }
    run->stops[phase]++;
    return ending_is_good(run, status);
}

/* ---- rounds ---------------------------------------------------------------------------------------------------- */

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void tree_remove(const char *path)
{
    (void)nftw(path, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static struct round round_make(const struct run *run, uint64_t draw)
{
    return (struct round){.seed = run->seed,
                          .draw = draw,
                          .dir = run->dir,
                          .ending = run->ending,
                          .is_same_boot = run->is_same_boot,
                          .is_strict = run->limits->is_strict,
                          .threads = 1 + (unsigned)(seed_mix(draw, 1) % THREADS_MAX),
                          .quota = 1 + (uint32_t)(seed_mix(draw, 2) % 400)};
}

/* A child that only checks, and that nobody stops. */
static bool check_run(struct run *run, struct round *r)
{
    int status = 0;
    unsigned before = atomic_load(&shared->current);
    pid_t pid = child_start(r);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return violated(run, "no child");
    run->by_itself--; /* it was to end */
    if (!ending_is_good(run, status))
        return false;
    bool is_new = r->is_read_only && !life_now()->is_created;
    if (atomic_load(&shared->current) == before && !is_new)
        return violated(run, "a check ended without a verdict");
    run->checks++;
    run->came_back += life_now()->came_back;
    run->gone += life_now()->gone;
    return true;
}

static bool database_end(struct run *run)
{
    struct round r = round_make(run, seed_mix(run->seed, 3));
    r.is_last = true;
    if (!check_run(run, &r))
        return false;
    tree_remove(run->dir);
    return true;
}

static void database_begin(struct run *run)
{
    run->seed = seed_mix(run->limits->seed, ++run->databases);
    snprintf(run->dir, sizeof run->dir, "%s/db%llu", run->parent, (unsigned long long)run->databases);
    memset(shared->lives, 0, sizeof shared->lives);
}

static bool round_run(struct run *run)
{
    uint64_t rng = seed_mix(run->limits->seed, ~run->rounds);
    struct round r = round_make(run, test_random(&rng));
    if (test_random(&rng) % 5 == 0 && !run->is_same_boot) { /* who only looks makes nothing durable */
        struct round look = r;
        look.is_read_only = true;
        if (!check_run(run, &look))
            return false;
    }
    unsigned before = atomic_load(&shared->current);
    struct moment moment = moment_draw(&rng);
    if (run->ending == END_FAIL_DEVICE)
        r.quota = WRITES_MAX;
    else if (moment.phase == PHASE_CLOSE)
        r.quota = 1 + (uint32_t)moment.acks / r.threads;
    atomic_store(&shared->phase, PHASE_OPEN);
    bell_set(&moment);
    pid_t pid = child_start(&r);
    if (pid < 0)
        return violated(run, "no child");
    if (!child_stop(run, pid, &rng))
        return false;
    account(run, before);
    return trouble_end(run, &rng) || violated(run, "the file system does not come back");
}

/* ---- what came out --------------------------------------------------------------------------------------------- */

static void summary(const struct run *run)
{
    static const char *const verbs[] = {"kills", "power cuts", "failing devices"};
    progress_end();
    printf("%s: %llu %s in %.0f s, seed %llu: lost 0, torn 0\n", run->name, (unsigned long long)run->rounds,
           verbs[run->ending], seconds_now() - run->begin, (unsigned long long)run->limits->seed);
    printf("  stopped while");
    for (int p = 0; p < PHASE_COUNT; p++)
        printf("%s %s %llu", p ? "," : "", phase_names[p], (unsigned long long)run->stops[p]);
    printf("\n  %llu databases, %llu checks, %llu writes acknowledged; %llu came back unacknowledged",
           (unsigned long long)run->databases, (unsigned long long)run->checks, (unsigned long long)run->written,
           (unsigned long long)run->came_back);
    if (run->ending != END_KILL)
        printf(", %llu gone that were not synced", (unsigned long long)run->gone);
    if (run->ending == END_FAIL_DEVICE)
        printf("\n  the first failed sync was final in %llu rounds; %llu writes refused after it; %llu reopens in the "
               "same boot",
               (unsigned long long)run->told_final, (unsigned long long)run->refused,
               (unsigned long long)run->same_boots);
    printf("\n");
}

static bool rounds_run(struct run *run)
{
    run->begin = seconds_now();
    database_begin(run);
    for (uint64_t in_database = 0; goes_on(run->limits, run->rounds, run->begin); in_database++) {
        if (in_database == ROUNDS_PER_DATABASE) {
            if (!database_end(run))
                return false;
            database_begin(run);
            in_database = 0;
        }
        if (!round_run(run))
            return false;
        progress("%s: %llu rounds, %llu writes, %.0f s", run->name, (unsigned long long)run->rounds,
                 (unsigned long long)run->written, seconds_now() - run->begin);
    }
    return database_end(run);
}

static bool run_begin(struct run *run)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(run->work, sizeof run->work, "%s/nokv-stress-XXXXXX", run->limits->dir);
    if (shared == MAP_FAILED || mkdtemp(run->work) == NULL) {
        fprintf(stderr, "%s: cannot be used: %m\n", run->work);
        return false;
    }
    snprintf(run->parent, sizeof run->parent, "%s", run->work);
    return true;
}

static int run_end(struct run *run, bool is_good)
{
    volume_destroy(&run->disk);
    volume_destroy(&run->outer);
    if (run->rig[0] != 0)
        rig_leave(run->rig);
    if (is_good) {
        summary(run);
        tree_remove(run->work);
    }
    return is_good ? 0 : 1;
}

static int skipped(struct run *run)
{
    (void)run_end(run, false);
    tree_remove(run->work);
    return EXIT_SKIPPED;
}

int mode_kill(const struct limits *limits)
{
    struct run run = {.limits = limits, .ending = END_KILL, .name = "kill", .disk.loop = -1, .outer.loop = -1};
    return run_begin(&run) ? run_end(&run, rounds_run(&run)) : 1;
}

int mode_power_cut(const struct limits *limits, const char *file_system)
{
    bool is_xfs = strcmp(file_system, "xfs") == 0;
    struct run run = {.limits = limits,
                      .ending = END_POWER_CUT,
                      .name = is_xfs ? "powercut-xfs" : "powercut-ext4",
                      .disk.loop = -1,
                      .outer.loop = -1};
    if (!run_begin(&run))
        return 1;
    snprintf(run.rig, sizeof run.rig, "%s/rig", run.work);
    if (!rig_enter(run.rig) || !volume_create(&run.disk, file_system, run.rig, "disk", is_xfs ? XFS_MIB : EXT4_MIB))
        return skipped(&run);
    snprintf(run.parent, sizeof run.parent, "%s", run.disk.mount_point);
    return run_end(&run, rounds_run(&run));
}

int mode_failing_sync(const struct limits *limits)
{
    struct run run = {.limits = limits, .ending = END_FAIL_DEVICE, .name = "fsync", .disk.loop = -1, .outer.loop = -1};
    if (!run_begin(&run))
        return 1;
    snprintf(run.rig, sizeof run.rig, "%s/rig", run.work);
    if (!rig_enter(run.rig) || !volume_create(&run.outer, "ext4", run.rig, "outer", OUTER_MIB) ||
        !volume_create(&run.disk, "ext4", run.outer.mount_point, "inner", INNER_MIB))
        return skipped(&run);
    snprintf(run.parent, sizeof run.parent, "%s", run.disk.mount_point);
    if (!volume_split(&run.disk)) {
        printf("skipped: needs a writable /sys\n");
        return skipped(&run);
    }
    if (!volume_trim(&run.disk))
        return run_end(&run, false);
    return run_end(&run, rounds_run(&run));
}
