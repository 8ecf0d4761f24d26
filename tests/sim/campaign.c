// SPDX-License-Identifier: Apache-2.0
/*
 * Worker processes take seeds from a common counter and run them; a violation, an assertion, a sanitizer or a signal
 * ends the worker, and what it was at is in its report, which is shared. The parent then shrinks that run, in processes
 * of their own, says how to repeat it, and starts a worker anew.
 *
 * Shrinking: leave out crashes before the one that found it, lives behind it, kinds of faults one by one, clients, and
 * halve the operations. Another number of operations is another schedule, so each step is tried with some schedules.
 *
 * A worker stays on one processor, for the scheduler's threads follow each other.
 */
#include "campaign.h"

#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

enum { EXIT_VIOLATION = 3, SCHEDULES = 6, RUN_SECONDS_MAX = 600, SHRINK_TRIES = 300 };

/* Shared with all workers. */
struct shared {
    _Atomic uint64_t next_seed, seeds_done; /* relaxed: counters */
    _Atomic bool is_over;
    struct run_report reports[JOBS_MAX];
};

static struct run_report *own_report;

void *campaign_shared(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT(p != MAP_FAILED);
    return p;
}

static double seconds_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

uint64_t campaign_crashes(const struct run_totals *t)
{
    uint64_t sum = t->cut_recoveries;
    for (int i = 0; i < CRASH_KINDS; i++)
        sum += t->crashes[i] + t->lives_ended[i];
    return sum;
}

/* ---- one process ----------------------------------------------------------------------------------------------- */

static void on_violation(const char *message, const char *threads)
{
    snprintf(own_report->message, sizeof own_report->message, "%s", message);
    snprintf(own_report->threads, sizeof own_report->threads, "%s", threads);
    fflush(NULL);
    _exit(EXIT_VIOLATION);
}

/* The threads of a run follow each other: on one processor that costs least. `index` chooses among those allowed. */
static void processor_pin(unsigned index)
{
    cpu_set_t allowed, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) == 0)
        return;
    unsigned skip = index % (unsigned)CPU_COUNT(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || skip-- > 0)
            continue;
        CPU_SET(cpu, &one);
        (void)sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

/* One thread allocates at a time, and the same pieces again and again: one heap, which keeps them. */
static void heap_tune(void)
{
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 128 << 20);
}

static void process_begin(struct run_report *report, unsigned index)
{
    heap_tune();
    own_report = report;
    sched_on_violation(on_violation);
    processor_pin(index);
}

/* What the parent says of a process that ended otherwise than by a violation. */
static void report_finish(struct run_report *report, int wait_status)
{
    if (report->message[0] != 0)
        return;
    if (WIFSIGNALED(wait_status))
        snprintf(report->message, sizeof report->message, "killed by signal %d (%s); see above", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else
        snprintf(report->message, sizeof report->message, "exit status %d; see above", WEXITSTATUS(wait_status));
}

bool campaign_try(const struct run_config *config, struct run_report *report)
{
    return campaign_try_after(NULL, config, report);
}

bool campaign_try_after(const struct run_config *before, const struct run_config *config, struct run_report *report)
{
    int wait_status = 0;
    memset(report, 0, sizeof *report);
    fflush(NULL);
    pid_t pid = fork();
    ASSERT(pid >= 0);
    if (pid == 0) {
        process_begin(report, 0);
        alarm(RUN_SECONDS_MAX);
        if (before)
            run_execute(before, report);
        run_execute(config, report);
        exit(0); /* a sanitizer looks for what was left */
    }
    ASSERT(waitpid(pid, &wait_status, 0) == pid);
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0)
        return true;
    report_finish(report, wait_status);
    return false;
}

/* ---- shrinking ------------------------------------------------------------------------------------------------- */

struct shrinking {
    struct run_config *config;
    struct run_report *report;  /* of the last run with a violation */
    struct run_report *attempt; /* shared */
    unsigned tries;
};

/* True: there is a violation with this too, and it is the one from now on. */
static bool shrink_try(struct shrinking *s, const struct run_config *smaller)
{
    struct run_config c = *smaller;
    for (unsigned i = 0; i < SCHEDULES && s->tries > 0; i++, s->tries--) {
        if (!campaign_try(&c, s->attempt)) {
            *s->config = c;
            *s->report = *s->attempt;
            return true;
        }
        c.schedule_seed = smaller->schedule_seed + i + 1;
    }
    return false;
}

static void shrink_crashes(struct shrinking *s)
{
    struct run_config c = *s->config;
    if (s->report->crash > 0)
        c.crash_first = s->report->crash - 1;
    c.lives_max = s->report->life > 0 && s->report->life < c.lives_max ? s->report->life : c.lives_max;
    (void)shrink_try(s, &c);
    c = *s->config;
    c.crash_gap = 0;
    (void)shrink_try(s, &c);
}

static void shrink_faults(struct shrinking *s)
{
    for (int i = 0; i < FAULT_COUNT; i++) {
        struct run_config c = *s->config;
        c.faults &= ~(1u << i);
        if (c.faults != s->config->faults)
            (void)shrink_try(s, &c);
    }
}

/* Less of one number, by halves and then by ones. */
static void shrink_number(struct shrinking *s, size_t field_off)
{
    for (bool by_half = true;;) {
        struct run_config c = *s->config;
        uint32_t value;
        memcpy(&value, (uint8_t *)&c + field_off, sizeof value);
        uint32_t smaller = by_half ? value / 2 : value - 1;
        if (smaller == 0 || s->tries == 0)
            return;
        memcpy((uint8_t *)&c + field_off, &smaller, sizeof smaller);
        if (shrink_try(s, &c))
            continue;
        if (!by_half)
            return;
        by_half = false;
    }
}

void campaign_shrink(struct run_config *config, struct run_report *report, unsigned tries)
{
    struct shrinking s = {.config = config, .report = report, .tries = tries};
    s.attempt = campaign_shared(sizeof *s.attempt);
    shrink_crashes(&s);
    shrink_number(&s, offsetof(struct run_config, lives_max));
    shrink_number(&s, offsetof(struct run_config, ops_max));
    shrink_number(&s, offsetof(struct run_config, clients_max));
    shrink_faults(&s);
    shrink_number(&s, offsetof(struct run_config, ops_max));
    shrink_crashes(&s);
    munmap(s.attempt, sizeof *s.attempt);
}

void campaign_print_command(const struct run_config *c)
{
    printf("./dev sim --seed %llu --schedule %llu --operations %u --lives %u --clients %u --faults 0x%x --crash-gap %u "
           "--crash-first %llu%s --trace\n",
           (unsigned long long)c->seed, (unsigned long long)c->schedule_seed, c->ops_max, c->lives_max, c->clients_max,
           c->faults, c->crash_gap, (unsigned long long)c->crash_first, c->syncs_lie ? " --lie" : "");
}

/* ---- workers --------------------------------------------------------------------------------------------------- */

struct worker {
    pid_t pid; /* 0: none */
    struct run_report *report;
};

static void worker_main(const struct campaign *c, struct shared *shared, struct run_report *report)
{
    for (;;) {
        struct run_config config;
        uint64_t seed = atomic_fetch_add_explicit(&shared->next_seed, 1, memory_order_relaxed);
        if (seed >= c->first_seed + c->seed_count || atomic_load_explicit(&shared->is_over, memory_order_relaxed))
            exit(0); /* a sanitizer looks for what was left */
        run_config_init(&config, seed);
        if (c->change)
            c->change(&config);
        alarm(RUN_SECONDS_MAX);
        run_execute(&config, report);
        atomic_fetch_add_explicit(&shared->seeds_done, 1, memory_order_relaxed);
    }
}

static void worker_start(const struct campaign *c, struct shared *shared, unsigned index, struct worker *w)
{
    w->report = &shared->reports[index];
    w->report->message[0] = 0;
    fflush(NULL);
    w->pid = fork();
    ASSERT(w->pid >= 0);
    if (w->pid != 0)
        return;
    process_begin(w->report, index);
    worker_main(c, shared, w->report);
}

static void totals_add(struct run_totals *sum, const struct run_totals *t)
{
    uint64_t *to = (uint64_t *)(void *)sum;
    const uint64_t *from = (const uint64_t *)(const void *)t;
    static_assert(sizeof *sum % sizeof *to == 0, "all members are counts");
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
        to[i] += from[i];
}

static void totals_collect(const struct campaign *c, const struct shared *shared, struct campaign_result *r,
                           double begin)
{
    memset(&r->totals, 0, sizeof r->totals);
    for (unsigned i = 0; i < c->jobs; i++)
        totals_add(&r->totals, &shared->reports[i].totals);
    r->seeds_done = atomic_load_explicit(&shared->seeds_done, memory_order_relaxed);
    r->seconds = seconds_now() - begin;
}

static void finding_add(struct campaign_result *r, struct run_report *report)
{
    struct run_config config = report->config;
    printf("\nVIOLATION in seed %llu, life %u, operation %u, crash %llu: %s\nthreads:\n%s",
           (unsigned long long)config.seed, report->life, report->ops_done, (unsigned long long)report->crash,
           report->message, report->threads);
    printf("to repeat it: ");
    campaign_print_command(&config);
    fflush(stdout);
    struct run_report *shrunk = campaign_shared(sizeof *shrunk);
    *shrunk = *report;
    campaign_shrink(&config, shrunk, SHRINK_TRIES);
    printf("shrunk: %s\n", shrunk->message);
    campaign_print_command(&config);
    fflush(stdout);
    if (r->violations < FINDINGS_MAX) {
        struct finding *f = &r->findings[r->violations];
        f->config = config;
        memcpy(f->message, shrunk->message, sizeof f->message);
    }
    r->violations++;
    munmap(shrunk, sizeof *shrunk);
}

static void progress_print(const struct campaign_result *r)
{
    uint64_t crashes = campaign_crashes(&r->totals);
    printf("%llu seeds, %llu crash points (%.0f a second), %llu violations, %.0f s\n",
           (unsigned long long)r->seeds_done, (unsigned long long)crashes, (double)crashes / r->seconds,
           (unsigned long long)r->violations, r->seconds);
    fflush(stdout);
}

/* Wait for a worker to end, for a while. -1: none did. */
static int worker_ended(const struct campaign *c, struct worker *workers, int *out_status)
{
    for (int i = 0; i < 20; i++) {
        pid_t pid = waitpid(-1, out_status, WNOHANG);
        for (unsigned w = 0; pid > 0 && w < c->jobs; w++)
            if (workers[w].pid == pid)
                return (int)w;
        usleep(50000);
    }
    return -1;
}

void campaign_run(const struct campaign *c, struct campaign_result *r)
{
    struct shared *shared = campaign_shared(sizeof *shared);
    struct worker workers[JOBS_MAX] = {{0}};
    double begin = seconds_now(), shown = begin;
    unsigned running = c->jobs;
    memset(r, 0, sizeof *r);
    ASSERT(c->jobs >= 1 && c->jobs <= JOBS_MAX);
    atomic_init(&shared->next_seed, c->first_seed);
    for (unsigned i = 0; i < c->jobs; i++)
        worker_start(c, shared, i, &workers[i]);
    while (running > 0) {
        int status = 0, ended = worker_ended(c, workers, &status);
        totals_collect(c, shared, r, begin);
        if ((c->crashes_wanted != 0 && campaign_crashes(&r->totals) >= c->crashes_wanted) ||
            (c->seconds_max > 0 && r->seconds >= c->seconds_max))
            atomic_store_explicit(&shared->is_over, true, memory_order_relaxed);
        if (ended >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            running--;
        } else if (ended >= 0) {
            report_finish(workers[ended].report, status);
            finding_add(r, workers[ended].report);
            worker_start(c, shared, (unsigned)ended, &workers[ended]);
        }
        if (c->shows_progress && seconds_now() - shown >= (isatty(1) ? 2 : 30)) {
            progress_print(r);
            shown = seconds_now();
        }
    }
    totals_collect(c, shared, r, begin);
    munmap(shared, sizeof *shared);
}

/* ---- the end --------------------------------------------------------------------------------------------------- */

static void line(const char *name, uint64_t value)
{
    printf("  %-58s %14llu\n", name, (unsigned long long)value);
}

static void crashes_print(const struct run_totals *t)
{
    printf("crash points:\n");
    line("copies of the running disk: the process is killed", t->crashes[CRASH_KILL]);
    line("... the power is cut", t->crashes[CRASH_POWER_CUT]);
    line("... either, and a file is damaged", t->crashes[CRASH_DAMAGE]);
    line("recoveries of these that crash themselves", t->cut_recoveries);
    line("lives that end with a kill", t->lives_ended[CRASH_KILL]);
    line("lives that end with a power cut", t->lives_ended[CRASH_POWER_CUT]);
    line("all", campaign_crashes(t));
    line("at so many moments", t->crash_moments);
    line("after which it was verified, written to and opened again", t->verified);
    line("opens of a damaged database refused with a clear error", t->opens_refused);
}

void campaign_print(const struct campaign_result *r)
{
    const struct run_totals *t = &r->totals;
    printf("\nruns:\n");
    line("seeds", r->seeds_done);
    line("lives of a process", t->lives);
    line("threads", t->threads);
    line("operations of clients", t->operations);
    line("... that failed, as they may", t->failed_operations);
    line("steps of the disk", t->disk_steps);
    line("switch points of the scheduler", t->points);
    line("switches between threads", t->switches);
    line("flushes", t->flushes);
    line("compactions", t->compactions);
    line("bytes of values written directly", t->direct_bytes);
    line("bytes of values moved by collections", t->moved_bytes);
    line("bytes of the value log removed", t->reclaimed_bytes);
    crashes_print(t);
    printf("faults:%*s%s\n", 57, "", "drawn      happened");
    for (int i = 0; i < FAULT_COUNT; i++)
        printf("  %-44s %14llu %14llu\n", fault_name((enum fault)i), (unsigned long long)t->drawn[i],
               (unsigned long long)t->happened[i]);
    printf("violations: %llu\n%.0f seconds, %.0f crash points a second\n", (unsigned long long)r->violations,
           r->seconds, (double)campaign_crashes(t) / r->seconds);
}
