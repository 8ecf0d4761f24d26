// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_compare.c - interleaved runs of several engines.
 *
 * The list of workloads is cut into groups: a workload that needs an empty database begins a new one. Round after
 * round, group after group, each engine walks through the group in a child process of its own (this same program, "run
 * --json") and its database is removed before the next engine starts. A minute in which the machine is slow therefore
 * hits neighbours, not one engine; the engine that begins changes from round to round.
 *
 * A child that fails (an engine error, a wrong value) makes the comparison fail, but the others still run.
 */
#include "nokv_bench_compare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ENGINES_MAX = 16, GROUPS_MAX = 16, LIST_SIZE = 1024 };

struct plan {
    const struct run_options *options;
    const char *engines[ENGINES_MAX];
    unsigned engine_count;
    char groups[GROUPS_MAX][LIST_SIZE];
    unsigned group_count;
    FILE *out; /* JSON lines; may be NULL */
    struct report *report;
};

/* The engines of the list that are built in; the others are named and left out. */
static void plan_engines(struct plan *plan, char *list)
{
    for (char *name = strtok(list, ","); name; name = strtok(NULL, ",")) {
        if (!engine_find(name))
            fprintf(stderr, "nokv-bench: %s is not built in and is left out\n", name);
        else if (plan->engine_count < ENGINES_MAX)
            plan->engines[plan->engine_count++] = name;
    }
    if (plan->engine_count == 0)
        bench_die("none of these engines is built in");
}

static void plan_groups(struct plan *plan, char *list)
{
    for (char *name = strtok(list, ","); name; name = strtok(NULL, ",")) {
        const struct workload *workload = workload_find(name, strcspn(name, ":"));
        if (!workload)
            bench_die("no workload \"%s\"; see nokv-bench --help", name);
        if (workload->fills && plan->group_count == GROUPS_MAX)
            bench_die("more than %d groups of workloads", GROUPS_MAX);
        if (!workload->fills && plan->group_count == 0)
            bench_die("begin with a workload that fills: fillrandom, fillseq, durable");
        if (workload->fills)
            plan->group_count++;
        char *group = plan->groups[plan->group_count - 1];
        size_t used = strlen(group);
        if (used + strlen(name) + 2 > LIST_SIZE)
            bench_die("too many workloads");
        snprintf(group + used, LIST_SIZE - used, "%s%s", used ? "," : "", name);
    }
}

/* The child's command line; numbers are printed into `store`. */
static void child_exec(const struct run_options *o, const char *engine, const char *group, unsigned round)
{
    enum { NUMBERS = 9, WIDTH = 32 };
    char store[NUMBERS][WIDTH];
    snprintf(store[0], WIDTH, "%lu", o->keys);
    snprintf(store[1], WIDTH, "%zu", o->value_size);
    if (o->value_mixed)
        snprintf(store[1], WIDTH, "mixed");
    snprintf(store[2], WIDTH, "%u", o->threads);
    snprintf(store[3], WIDTH, "%lu", o->seed);
    snprintf(store[4], WIDTH, "%g", o->seconds);
    snprintf(store[5], WIDTH, "%u", o->overwrite_part);
    snprintf(store[6], WIDTH, "%lu", o->memory_bytes >> 20);
    snprintf(store[7], WIDTH, "%u", o->filter_bits);
    snprintf(store[8], WIDTH, "%u", round);
    execl("/proc/self/exe", "nokv-bench", "run", "--json", "--engine", engine, "--workload", group, "--dir", o->dir,
          "--keys", store[0], "--value-size", store[1], "--threads", store[2], "--seed", store[3], "--seconds",
          store[4], "--overwrite-part", store[5], "--memory", store[6], "--filter-bits", store[7], "--round", store[8],
          (char *)NULL);
    bench_die("exec: %s", strerror(errno));
}

static void line_take(struct plan *plan, const char *line)
{
    struct report *report = plan->report;
    if (!report_add(report, line)) {
        fprintf(stderr, "%s", line);
        return;
    }
    const struct record *r = &report->records[report->count - 1];
    char rate[16];
    fprintf(stderr, "round %u  %-12s %-10s %2ut  %9s op/s  %6.1f s%s\n", r->round, r->engine, r->workload, r->threads,
            bench_human(r->ops_per_sec, rate), r->seconds, r->wrong ? "  WRONG VALUES" : "");
    if (plan->out) {
        fputs(line, plan->out);
        fflush(plan->out);
    }
}

/* One engine, one group. Returns whether the child succeeded. */
static bool child_run(struct plan *plan, const char *engine, const char *group, unsigned round)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        bench_die("pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        child_exec(plan->options, engine, group, round);
    }
    close(fds[1]);
    FILE *in = fdopen(fds[0], "r");
    char line[4096];
    while (in && fgets(line, sizeof line, in))
        line_take(plan, line);
    if (in)
        fclose(in);
    int status;
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "nokv-bench: %s failed in %s\n", engine, group);
        return false;
    }
    return true;
}

static void dir_leftovers_remove(const struct plan *plan, const char *engine)
{
    char dir[4096];
    snprintf(dir, sizeof dir, "%s/nokv-bench-%s", plan->options->dir, engine);
    bench_dir_remove(dir);
    sync();
}

int compare_execute(const struct run_options *options, const char *engines, unsigned rounds, const char *out_path)
{
    struct plan plan = {.options = options, .report = bench_alloc(sizeof *plan.report)};
    char *engine_list = strdup(engines), *workload_list = strdup(options->workloads);
    if (!engine_list || !workload_list)
        bench_die("out of memory");
    plan_engines(&plan, engine_list);
    plan_groups(&plan, workload_list);
    plan.out = out_path ? fopen(out_path, "ae") : NULL;
    if (out_path && !plan.out)
        bench_die("%s: %s", out_path, strerror(errno));
    bool ok = true;
    for (unsigned round = 1; round <= rounds; round++)
        for (unsigned group = 0; group < plan.group_count; group++)
            for (unsigned i = 0; i < plan.engine_count; i++) {
                const char *engine = plan.engines[(i + round - 1) % plan.engine_count];
                ok = child_run(&plan, engine, plan.groups[group], round) && ok;
                dir_leftovers_remove(&plan, engine);
            }
    report_print(plan.report, stdout);
    if (plan.out)
        fclose(plan.out);
    free(plan.report);
    free(engine_list);
    free(workload_list);
    return !ok;
}
