// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_run.c - runs the phases of one engine in this process and measures them.
 *
 * One process is one engine, so that memory, processor time and I/O of the process are the engine's. Phases follow each
 * other on one open database; each begins when all of its threads are ready. What is measured per phase:
 *
 *   rate and latency   over the counted operations; a timed phase discards a warm-up of a fifth of its time
 *   cpu                getrusage() of the whole process, background threads included, over all operations
 *   device bytes       /proc/self/io: bytes that this process caused to be written, less those cancelled because their
 *                      file was gone before they were. The kernel counts a page when it becomes dirty. Negative when
 *                      more was cancelled that an earlier phase had counted
 *   block device bytes what the whole device wrote, from before the phase until all was synced after it: the truth, if
 *                      nobody else was writing. Between two phases that write nothing is synced, as that would give the
 *                      second one time and writes for nothing: then only their sum means something
 *   other cores        processors that other processes kept busy meanwhile: a figure with company is not to be trusted
 *   memory             VmHWM, reset before the phase; and, as mapped files count in that, the largest of samples of
 *                      anonymous memory every 50 ms
 *   disk               what the files below the directory occupy at the phase's end, and the largest of samples every
 *                      100 ms, or less often when there are so many files that it would take more than a fiftieth of a
 *                      processor. A file that was removed and is still open is not seen.
 *   system calls, page faults, context switches
 *                      of the whole process over all operations, the sampler's own left out. Some ten system calls and
 *                      a few faults that start the phase's threads are in it: they show where a phase is one operation.
 *                      System calls only with --count-syscalls (nokv_bench_usage.c says why)
 *   totals             bytes put and bytes written since the database was opened first, and what is live: they make
 *                      write and space amplification at the end of any phase, however many came before
 *
 * The processor time of the thread that takes the samples is not the engine's and is left out everywhere.
 *
 * Before the first phase that reads after one that wrote, all dirty data is synced and all files are read once,
 * untimed: every engine starts its reads with all of its data in the page cache and with an idle disk. Behind "cold"
 * (nokv_bench_cold.c) nothing is read before a phase.
 *
 * "kill" and "cold" want a process that is new. What is before one of them in the list runs in a process that is forked
 * for it; what it did is in the shared memory of struct run.
 */
#include "nokv_bench_run.h"
#include "nokv_bench_group.h"
#include "nokv_bench_result.h"
#include "nokv_bench_usage.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DISK_SPACE_FACTOR = 8 };

const struct engine *engine_find(const char *name)
{
    for (const struct engine *const *e = engines_built; *e; e++)
        if (strcmp((*e)->name, name) == 0)
            return *e;
    return NULL;
}

/* ---- the database as a whole ---------------------------------------------------------------------------------- */

uint64_t run_reopen(struct run *run)
{
    run->engine->close(run->db);
    run->db = run->engine->open(&run->config);
    return 0;
}

static void dir_sync(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || syncfs(fd) != 0)
        bench_die("syncfs %s: %s", dir, strerror(errno));
    close(fd);
}

static int file_sync(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)ftw;
    int fd = type == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0 && fsync(fd) != 0)
        bench_die("fsync %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return 0;
}

/* Settled is also on the disk: who leaves the writing to the kernel is not done before the kernel is. File by file,
 * because syncfs() would wait for what other processes have written as well. */
uint64_t run_settle(struct run *run)
{
    uint64_t idle_ns = run->engine->settle(run->db);
    (void)nftw(run->dir, file_sync, 16, FTW_PHYS); /* a file that a compaction removes meanwhile is no error */
    return idle_ns;
}

/* Read what a file holds, holes skipped. A file that a compaction removes meanwhile is no error. */
static int file_touch(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    static char buffer[1 << 20];
    (void)st, (void)ftw;
    int fd = type == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    off_t off = 0, hole;
    while ((off = lseek(fd, off, SEEK_DATA)) >= 0 && (hole = lseek(fd, off, SEEK_HOLE)) > off) {
        for (ssize_t n = 1; off < hole && n > 0; off += n)
            n = pread(fd, buffer, sizeof buffer, off);
        off = hole;
    }
    close(fd);
    return 0;
}

static void run_warm(const struct run *run)
{
    dir_sync(run->dir);
    if (!run->cold)
        (void)nftw(run->dir, file_touch, 16, FTW_PHYS);
}

/* ---- one phase ------------------------------------------------------------------------------------------------ */

struct start {
    pthread_barrier_t ready;
    const struct workload *workload;
    _Atomic bool stop; /* relaxed: only ends a loop, guards no data */
};

struct thread {
    pthread_t id;
    struct start *start;
    void (*body)(struct worker *worker);
    struct worker worker;
};

static void *thread_main(void *arg)
{
    struct thread *t = arg;
    struct worker *w = &t->worker;
    w->session = w->engine->session_begin(w->run->db);
    w->value = bench_alloc(w->run->data.value_size_max);
    w->stop = &t->start->stop;
    pthread_barrier_wait(&t->start->ready);
    w->begin = w->last = w->end = ticks_now();
    if (t->start->workload->timed && t->body == t->start->workload->body) {
        double ticks = w->run->options->seconds * 1e9 * ticks_per_ns();
        w->warm_until = w->begin + (uint64_t)(ticks * 0.2);
        w->deadline = w->begin + (uint64_t)(ticks * 1.2);
    }
    t->body(w);
    free(w->value);
    w->engine->session_end(w->session);
    return NULL;
}

static void thread_start(struct run *run, struct start *start, struct thread *thread, unsigned index, unsigned count,
                         void (*body)(struct worker *worker))
{
    *thread = (struct thread){.start = start, .body = body};
    thread->worker = (struct worker){.run = run, .engine = run->engine, .index = index, .count = count};
    if (pthread_create(&thread->id, NULL, thread_main, thread) != 0)
        bench_die("pthread_create failed");
}

/* What of a thread is there for the whole run and counts for every thread, background or not. */
static void run_add(struct run *run, const struct worker *w, struct result *result)
{
    run->put_bytes += w->put_bytes;
    run->live_bytes += (uint64_t)w->live_bytes;
    result->wrong += w->wrong;
}

static double worker_ops_per_sec(const struct worker *w)
{
    double seconds = (double)(w->end - w->begin) / ticks_per_ns() / 1e9;
    return seconds > 0 ? (double)w->ops / seconds : 0;
}

static void result_add(struct result *result, const struct worker *w, uint64_t *ops_all)
{
    double seconds = (double)(w->end - w->begin) / ticks_per_ns() / 1e9;
    result->ops += w->ops;
    result->ops_per_sec += worker_ops_per_sec(w);
    result->seconds = seconds > result->seconds ? seconds : result->seconds;
    result->user_bytes += w->user_bytes;
    result->found += w->found;
    result->missing += w->missing;
    latency_merge(&result->latency, &w->latency);
    *ops_all += w->ops_all;
}

/* The phase's threads, started together. Returns the operations with those of the warm-up. */
static uint64_t threads_run(struct run *run, const struct phase *phase, struct result *result)
{
    struct start start = {.workload = phase->workload};
    unsigned count = phase->threads, background = phase->workload->background != NULL;
    struct thread *threads = bench_alloc((count + background) * sizeof *threads);
    uint64_t ops_all = 0;
    pthread_barrier_init(&start.ready, NULL, count + background);
    for (unsigned i = 0; i < count; i++)
        thread_start(run, &start, &threads[i], i, count, phase->workload->body);
    if (background)
        thread_start(run, &start, &threads[count], count, count, phase->workload->background);
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i].id, NULL);
        result_add(result, &threads[i].worker, &ops_all);
        run_add(run, &threads[i].worker, result);
    }
    if (background) {
        atomic_store_explicit(&start.stop, true, memory_order_relaxed);
        pthread_join(threads[count].id, NULL);
        run_add(run, &threads[count].worker, result);
        result->background_ops_per_sec = worker_ops_per_sec(&threads[count].worker);
        result->wrong += result->background_ops_per_sec == 0; /* starved: not what was to be measured */
    }
    pthread_barrier_destroy(&start.ready);
    free(threads);
    return ops_all;
}

static uint64_t whole_run(struct run *run, const struct phase *phase, struct result *result)
{
    uint64_t begin = bench_clock_ns(), idle = phase->workload->whole(run);
    result->seconds = (double)(bench_clock_ns() - begin - idle) / 1e9;
    result->ops = 1;
    result->ops_per_sec = 1 / result->seconds;
    return 1;
}

/* What was put, what is live and what the disk saw of it since the beginning. */
static void totals_take(const struct run *run, struct result *result)
{
    result->live_bytes = run->live_bytes;
    result->driver_bytes = model_bytes(&run->model);
    result->total_user_bytes = run->put_bytes;
    result->total_device_bytes = device_bytes() - run->device_bytes_begin;
    result->total_blockdev_bytes = blockdev_bytes(run->dir) - run->blockdev_bytes_begin;
}

/* Looks at what is there beyond what the phase itself saw; untimed. */
static void phase_check(struct run *run, const struct phase *phase, struct result *result)
{
    struct worker w = {.run = run, .engine = run->engine, .count = 1};
    w.session = run->engine->session_begin(run->db);
    phase->workload->check(&w);
    run->engine->session_end(w.session);
    result->found += w.found;
    result->missing += w.missing;
    result->wrong += w.wrong;
}

/* `sync_after`: so that all that the phase left to the kernel counts in what the device wrote; untimed. */
static void phase_run(struct run *run, const struct phase *phase, bool sync_after, struct result *result)
{
    struct usage before, after;
    struct counters counters_before, counters_after;
    struct sampler sampler;
    *result = (struct result){.phase = phase};
    uint64_t keys_before = run->model.keys;
    if (phase->workload->body && phase->workload->reads && model_count(&run->model) == 0)
        bench_die("%s: every key was deleted", phase->workload->name);
    run->generation += phase->workload->overwrites;
    run->model.generation += phase->workload->overwrites;
    if (phase->workload->prepare)
        phase->workload->prepare(run);
    peak_reset();
    usage_take(run->dir, &before);
    counters_take(&counters_before);
    sampler_start(&sampler, run->dir);
    uint64_t ops_all = phase->workload->body ? threads_run(run, phase, result) : whole_run(run, phase, result);
    counters_take(&counters_after);
    usage_take(run->dir, &after);
    uint64_t cpu_ns = after.cpu_ns - before.cpu_ns;
    sampler_stop(&sampler);
    result->ops_all = ops_all;
    result->counters = counters_between(&counters_before, &counters_after, &sampler.counters);
    result->peak_anon_bytes = sampler.anon_bytes_max;
    result->peak_rss_bytes = bench_proc_status_bytes("VmHWM");
    result->cpu_us_per_op = (double)cpu_ns / 1000.0 / (double)ops_all;
    double others = (double)(after.machine_cpu_ns - before.machine_cpu_ns) - (double)cpu_ns;
    result->other_cores = others / (double)(after.clock_ns - before.clock_ns);
    result->device_bytes = (int64_t)(after.device_bytes - before.device_bytes);
    result->device_read_bytes = after.device_read_bytes - before.device_read_bytes;
    if (run->memory_limit_bytes)
        result->memory_used_bytes = group_bytes(run->options->memory_group);
    if (sync_after)
        dir_sync(run->dir);
    result->blockdev_bytes = blockdev_bytes(run->dir) - before.blockdev_bytes;
    result->disk_bytes = bench_dir_bytes(run->dir);
    result->disk_peak_bytes = max_u64(sampler.disk_bytes_max, result->disk_bytes);
    if (phase->workload->done)
        phase->workload->done(run);
    result->inserted = run->model.keys - keys_before;
    totals_take(run, result);
    if (phase->workload->check)
        phase_check(run, phase, result);
}

/* ---- a run ---------------------------------------------------------------------------------------------------- */

/* Does `phase`, number `count - 1` of its list, have before it what it needs? */
static void phase_check_order(const struct run_options *options, const struct phase *phases, unsigned count)
{
    const struct workload *w = phases[count - 1].workload;
    bool needs = w->needs != NULL;
    if (w->fills && (count > 1 || options->existing))
        bench_die("%s needs an empty database: put it first (compare splits such lists)", w->name);
    for (unsigned i = 0; i + 1 < count; i++) {
        const struct workload *before = phases[i].workload;
        needs = needs && strcmp(w->needs, before->name) != 0;
        if (before->partial && (w->body || w->check))
            bench_die("%s does not put every key: %s cannot tell what is there after it", before->name, w->name);
        if (before->kills && w->kills)
            bench_die("%s can be there once only", w->name);
    }
    if (needs)
        bench_die("%s needs %s before it in the list", w->name, w->needs);
}

/* "readhit:2,settle" to phases; returns their number. */
static unsigned phases_parse(const struct run_options *options, struct phase phases[RUN_PHASES_MAX])
{
    unsigned count = 0;
    for (const char *p = options->workloads; *p;) {
        size_t length = strcspn(p, ",:");
        if (count == RUN_PHASES_MAX)
            bench_die("more than %d workloads", RUN_PHASES_MAX);
        struct phase *phase = &phases[count++];
        phase->workload = workload_find(p, length);
        phase->threads = options->threads;
        if (!phase->workload)
            bench_die("no workload \"%.*s\"; see nokv-bench --help", (int)length, p);
        p += length;
        if (*p == ':')
            phase->threads = (unsigned)strtoul(p + 1, (char **)(uintptr_t)&p, 10);
        if (phase->threads < 1 || phase->threads > RUN_THREADS_MAX || (*p && *p != ','))
            bench_die("%s: threads from 1 to %d are possible", options->workloads, RUN_THREADS_MAX);
        phase_check_order(options, phases, count);
        p += *p == ',';
    }
    if (count == 0 || (!phases[0].workload->fills && !options->existing))
        bench_die("begin with a workload that fills (fillrandom, fillseq, durable) or name a database with --existing");
    return count;
}

void run_check(const struct run_options *options)
{
    struct phase phases[RUN_PHASES_MAX];
    bool cools = false;
    for (unsigned i = phases_parse(options, phases); i > 0; i--)
        cools = cools || phases[i - 1].workload->cools;
    if (options->memory_limit_bytes && !cools)
        bench_die("%s: a memory limit is in force from the workload cold on: put that before those that shall have it",
                  options->workloads);
}

/* All but the open database. */
static struct run *run_create(const struct run_options *options, bool durable, bool tracks)
{
    struct run *run = mmap(NULL, sizeof *run, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run == MAP_FAILED)
        bench_die("out of memory");
    *run = (struct run){.options = options, .engine = engine_find(options->engine), .after = "", .dirty = true};
    if (!run->engine)
        bench_die("engine \"%s\" is not built in; nokv-bench engines lists those that are", options->engine);
    snprintf(run->dir, sizeof run->dir, "%s/nokv-bench-%s", options->dir, options->engine);
    uint64_t bytes = options->keys * (DATA_KEY_SIZE + options->value_size);
    if (!options->existing) {
        bench_dir_remove(run->dir);
        bench_dir_make(run->dir);
    }
    if (bench_free_bytes(run->dir) < bytes * DISK_SPACE_FACTOR)
        bench_die("%s has less than %d times the %lu MB of data free", options->dir, DISK_SPACE_FACTOR, bytes >> 20);
    run->config = (struct engine_config){
        .dir = run->dir,
        .memory_bytes = options->memory_bytes,
        .data_bytes = bytes,
        .filter_bits = options->filter_bits,
        .durable = durable,
    };
    if (options->value_mixed)
        data_init_mixed(&run->data, options->seed, options->keys);
    else
        data_init(&run->data, options->seed, options->keys, options->value_size);
    model_init(&run->model, options->keys, options->overwrite_part, tracks);
    run->live_bytes = options->existing ? model_live_bytes(&run->model, &run->data) : 0;
    run->device_bytes_begin = device_bytes();
    run->blockdev_bytes_begin = blockdev_bytes(run->dir);
    return run;
}

void run_leftovers_remove(const char *dir, const char *engine)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/nokv-bench-%s", dir, engine);
    bench_dir_remove(path);
    sync();
}

static void run_destroy(struct run *run)
{
    run->engine->close(run->db);
    data_deinit(&run->data);
    model_deinit(&run->model);
    if (!run->options->keep)
        bench_dir_remove(run->dir);
    munmap(run, sizeof *run);
}

/* Phases `begin` to `end` - 1, a line of figures for each; `count` phases are in the list. */
static void phases_walk(struct run *run, const struct phase *phases, unsigned begin, unsigned end, unsigned count)
{
    const struct run_options *options = run->options;
    struct result *result = bench_alloc(sizeof *result);
    for (unsigned i = begin; i < end; i++) {
        const struct workload *workload = phases[i].workload;
        if (workload->reads && run->dirty)
            run_warm(run);
        run->dirty = (!workload->reads && !workload->cools) || workload->writes;
        bool last_of_writes = run->dirty && (i + 1 == count || phases[i + 1].workload->reads);
        phase_run(run, &phases[i], last_of_writes, result);
        (options->json ? result_print_json : result_print_text)(run, result);
        run->walked = i + 1;
        run->failed = run->failed || result->wrong;
        if (options->stats && run->engine->stats)
            run->engine->stats(run->db);
        if (run->dirty && workload->body)
            run->after = workload->name;
        if (workload->kills && result->missing && i + 1 < end) {
            fprintf(stderr, "nokv-bench: %s: nothing more can be checked after the loss\n", run->engine->name);
            break;
        }
    }
    free(result);
}

static bool phase_opens(const struct phase *phase)
{
    return phase->workload->kills || phase->workload->cools;
}

/* A process takes up the database, under the limit that is in force, and walks through the phases `begin` to `end` - 1.
 */
static void segment_walk(struct run *run, const struct phase *phases, unsigned begin, unsigned end, unsigned count)
{
    if (run->memory_limit_bytes)
        group_join(run->options->memory_group);
    if (begin == end || !phase_opens(&phases[begin]))
        run->db = run->engine->open(&run->config);
    phases_walk(run, phases, begin, end, count);
}

/*
 * The same in a process of its own, which ends as phase `end` wants it: itself by SIGKILL while the database is open,
 * or after closing it. What it did is in the shared memory of `run`; what it wrote counts for this process once it has
 * been waited for.
 */
static void segment_walk_apart(struct run *run, const struct phase *phases, unsigned begin, unsigned end,
                               unsigned count)
{
    bool kills = phases[end].workload->kills;
    uint64_t device_bytes_begin = run->device_bytes_begin, device_bytes_before = device_bytes() - device_bytes_begin;
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run->device_bytes_begin = device_bytes() - device_bytes_before;
        segment_walk(run, phases, begin, end, count);
        if (kills)
            kill(getpid(), SIGKILL);
        run->engine->close(run->db);
        fflush(NULL);
        _exit(0);
    }
    int status;
    bool ended =
        waitpid(pid, &status, 0) == pid && run->walked == end &&
        (kills ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL : WIFEXITED(status) && !WEXITSTATUS(status));
    if (!ended)
        exit(2); /* it has said why */
    run->device_bytes_begin = device_bytes_begin;
    run->db = NULL;
}

/* From one phase that wants a new process to the next; the last segment is this process's. */
static void segments_walk(struct run *run, const struct phase *phases, unsigned count)
{
    unsigned begin = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!phase_opens(&phases[i]) || (phases[i].workload->cools && i == 0))
            continue;
        segment_walk_apart(run, phases, begin, i, count);
        begin = i;
    }
    segment_walk(run, phases, begin, count, count);
}

int run_execute(const struct run_options *options)
{
    struct phase phases[RUN_PHASES_MAX];
    const char *uncounted = options->count_syscalls ? syscalls_begin() : "not asked for (--count-syscalls)";
    if (options->count_syscalls && uncounted)
        fprintf(stderr, "nokv-bench: system calls are not counted: %s\n", uncounted);
    unsigned count = phases_parse(options, phases);
    bool tracks = false;
    for (unsigned i = 0; i < count; i++)
        tracks = tracks || phases[i].workload->tracks;
    (void)ticks_per_ns();
    struct run *run = run_create(options, phases[0].workload->durable, tracks);
    run->uncounted = uncounted;
    segments_walk(run, phases, count);
    bool failed = run->failed;
    run_destroy(run);
    syscalls_end();
    return failed;
}
