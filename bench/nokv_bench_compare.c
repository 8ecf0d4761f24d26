// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_compare.c - interleaved runs of several engines over one or more data sets.
 *
 * A data set's list of workloads is cut into groups: a workload that needs an empty database begins a new one. Round
 * after round, group after group, each engine walks through the group in a child process of its own (this same program,
 * "run --json") and its database is removed before the next engine starts. A minute in which the machine is slow
 * therefore hits neighbours, not one engine; the engine that begins changes from round to round. All of that is laid
 * out as a list of steps before the first of them runs: what cannot be run is found out at once, and it is known how
 * much is left.
 *
 * Counting system calls makes each of them slower, so they are counted in a pass of their own, round 0, over the same
 * keys with shorter timed phases. Nothing of that pass is kept but the counts: they are put into the results of the
 * same engine and phase in the rounds that follow.
 *
 * Where a memory limit is wanted, each child gets a group of its own with it, made and removed here: who is inside
 * cannot remove it, and may be killed.
 *
 * A child that fails (an engine error, a wrong value) makes the comparison fail, but the others still run. An
 * interrupted comparison ends with the tables of what there is.
 */
#include "nokv_bench_compare.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nokv_bench_child.h"
#include "nokv_bench_group.h"
#include "nokv_bench_machine.h"
#include "nokv_bench_result.h"

enum { ENGINES_MAX = 16, GROUPS_MAX = 16, LIST_SIZE = 1024, SPACE_FACTOR = 8, EXIT_INTERRUPTED = 130 };
static const double count_seconds = 0.5; /* timed phases of the counting pass, at most */

/* A data set, cut up. */
struct section {
    const struct data_set *set;
    char title[48]; /* "2 M x 100 B" */
    char *engine_list;
    const char *engines[ENGINES_MAX];
    unsigned engine_count;
    char groups[GROUPS_MAX][LIST_SIZE];
    unsigned group_count;
    double syscalls[GROUPS_MAX][ENGINES_MAX][RUN_PHASES_MAX]; /* per operation; NAN: not counted */
};

/* One child: an engine, a group of workloads, a round. */
struct step {
    struct section *section;
    unsigned round, group, engine;
    double expected, seconds; /* by a rule of thumb; as it was, 0 before */
};

struct comparison {
    const struct compare_options *options;
    struct section *sections;
    struct step *steps;
    size_t step_count, current;
    unsigned phase; /* of the step's results so far */
    bool strange;   /* a child printed what is no result: one would be missing without a word */
    FILE *out;      /* JSON lines; may be NULL */
    struct report *report;
    const char *uncounted; /* why system calls are not counted; NULL: they are */
};

/* ---- layout --------------------------------------------------------------------------------------------------- */

static void title_make(struct section *s)
{
    uint64_t keys = s->set->keys;
    const char *unit = keys % 1000000 == 0 ? " M" : keys % 1000 == 0 ? " k" : "";
    uint64_t divisor = keys % 1000000 == 0 ? 1000000 : keys % 1000 == 0 ? 1000 : 1;
    const char *bytes = strspn(s->set->value_size, "0123456789") == strlen(s->set->value_size) ? " B" : "";
    snprintf(s->title, sizeof s->title, "%lu%s x %s%s", keys / divisor, unit, s->set->value_size, bytes);
}

/* Was this engine looked for in an earlier section? */
static bool engine_known(const struct section *first, const struct section *s, const char *name)
{
    size_t length = strlen(name);
    for (; first < s; first++)
        for (const char *p = first->set->engines; (p = strstr(p, name)); p += length)
            if ((p == first->set->engines || p[-1] == ',') && (p[length] == ',' || !p[length]))
                return true;
    return false;
}

/* The engines of the list that are built in; the others are named, once, and left out. */
static void section_engines(struct section *s, const struct section *first)
{
    s->engine_list = strdup(s->set->engines);
    if (!s->engine_list)
        bench_die("out of memory");
    for (char *name = strtok(s->engine_list, ","); name; name = strtok(NULL, ",")) {
        if (engine_find(name) && s->engine_count == ENGINES_MAX)
            bench_die("more than %d engines", ENGINES_MAX);
        else if (engine_find(name))
            s->engines[s->engine_count++] = name;
        else if (!engine_known(first, s, name))
            fprintf(stderr, "nokv-bench: %s is not built in and is left out\n", name);
    }
    if (s->engine_count == 0)
        bench_die("none of these engines is built in: %s", s->set->engines);
}

static void group_add(struct section *s, const char *name)
{
    const struct workload *workload = workload_find(name, strcspn(name, ":"));
    if (!workload)
        bench_die("no workload \"%s\"; see nokv-bench --help", name);
    if (workload->fills && s->group_count == GROUPS_MAX)
        bench_die("more than %d groups of workloads", GROUPS_MAX);
    if (!workload->fills && s->group_count == 0)
        bench_die("begin with a workload that fills: fillrandom, fillseq, durable");
    s->group_count += workload->fills;
    char *group = s->groups[s->group_count - 1];
    size_t used = strlen(group);
    if (used + strlen(name) + 2 > LIST_SIZE)
        bench_die("too many workloads");
    snprintf(group + used, LIST_SIZE - used, "%s%s", used ? "," : "", name);
}

static void section_groups(struct section *s, const struct data_set *set, const struct run_options *options)
{
    char *list = strdup(s->set->workloads);
    if (!list)
        bench_die("out of memory");
    for (char *name = strtok(list, ","); name; name = strtok(NULL, ","))
        group_add(s, name);
    free(list);
    if (s->group_count == 0)
        bench_die("no workloads are named");
    for (unsigned i = 0; i < s->group_count; i++) {
        struct run_options group = *options;
        group.workloads = s->groups[i];
        group.memory_limit_bytes = set->memory_limit_bytes;
        run_check(&group);
    }
}

/* Bytes; of mixed ones the mean. */
static uint64_t set_value_size(const struct data_set *set)
{
    return strcmp(set->value_size, "mixed") == 0 ? data_mixed_mean() : strtoull(set->value_size, NULL, 10);
}

static void section_init(struct section *s, const struct section *first, const struct data_set *set,
                         const struct run_options *options)
{
    s->set = set;
    title_make(s);
    section_engines(s, first);
    section_groups(s, set, options);
    for (size_t i = 0; i < sizeof s->syscalls / sizeof(double); i++)
        (&s->syscalls[0][0][0])[i] = NAN;
    uint64_t bytes = set->keys * (DATA_KEY_SIZE + set_value_size(set));
    const char *dir = options->dir;
    if (bench_free_bytes(dir) < bytes * SPACE_FACTOR)
        bench_die("%s: %s has less than %d times the %lu MB of data free", s->title, dir, SPACE_FACTOR, bytes >> 20);
}

/* Seconds that a step may take, for the estimate until there is something to go by: only the proportions matter. */
static double step_expected(const struct section *s, const char *group, double seconds)
{
    double entry_us = 2.5 + (double)set_value_size(s->set) * 0.005, sum = 0.5;
    for (const char *p = group; *p; p += p[strcspn(p, ",")] == ',' ? strcspn(p, ",") + 1 : strcspn(p, ",")) {
        const struct workload *w = workload_find(p, strcspn(p, ",:"));
        double entries_us = (double)s->set->keys * entry_us;
        sum += w->timed ? seconds * 1.2 : entries_us / 1e6 / (w->body ? 1 : 5);
    }
    return sum;
}

static double round_seconds(const struct data_set *set, unsigned round)
{
    return round == 0 && set->seconds > count_seconds ? count_seconds : set->seconds;
}

static void steps_add(struct comparison *c, struct section *s, unsigned round)
{
    for (unsigned group = 0; group < s->group_count; group++)
        for (unsigned i = 0; i < s->engine_count; i++)
            c->steps[c->step_count++] = (struct step){
                .section = s,
                .round = round,
                .group = group,
                .engine = (i + (round ? round - 1 : 0)) % s->engine_count,
                .expected = step_expected(s, s->groups[group], round_seconds(s->set, round)),
            };
}

static void layout(struct comparison *c, bool count)
{
    const struct compare_options *o = c->options;
    size_t capacity = 0;
    c->sections = bench_alloc(o->set_count * sizeof *c->sections);
    for (size_t i = 0; i < o->set_count; i++) {
        section_init(&c->sections[i], c->sections, &o->sets[i], o->run);
        capacity += (size_t)c->sections[i].engine_count * c->sections[i].group_count * (o->sets[i].runs + 1);
    }
    c->steps = bench_alloc(capacity * sizeof *c->steps);
    for (size_t i = 0; i < o->set_count; i++)
        for (unsigned round = count ? 0 : 1; round <= o->sets[i].runs; round++)
            steps_add(c, &c->sections[i], round);
}

/* ---- progress ------------------------------------------------------------------------------------------------- */

/* What another round has measured of the same step; 0 when there is none. */
static double step_known(const struct comparison *c, const struct step *step)
{
    for (const struct step *s = c->steps; s < c->steps + c->current; s++)
        if (s->section == step->section && s->group == step->group && s->engine == step->engine && s->round)
            return s->seconds;
    return 0;
}

/* Seconds; negative while it cannot be said: each engine must have been seen once. */
static double seconds_left(const struct comparison *c)
{
    double expected = 0, seconds = 0, left = 0;
    if (c->current < c->sections[0].engine_count)
        return -1;
    for (size_t i = 0; i < c->current; i++) {
        expected += c->steps[i].expected;
        seconds += c->steps[i].seconds;
    }
    for (size_t i = c->current; i < c->step_count; i++) {
        double known = c->steps[i].round ? step_known(c, &c->steps[i]) : 0;
        left += known > 0 ? known : c->steps[i].expected * seconds / expected;
    }
    return left;
}

static void progress_print(const struct comparison *c, const json_t *line)
{
    const struct step *step = &c->steps[c->current];
    double rate = json_number_value(json_object_get(line, "ops_per_sec")), left = seconds_left(c);
    char round[32] = "counting", rest[32] = "", human[16];
    if (step->round)
        snprintf(round, sizeof round, "round %u of %u", step->round, step->section->set->runs);
    if (left >= 90)
        snprintf(rest, sizeof rest, "  %.0f min left", left / 60);
    else if (left >= 0)
        snprintf(rest, sizeof rest, "  %.0f s left", left);
    fprintf(stderr, "%3zu/%zu  %s, %s  %-14s %-14s %2llut  %9s op/s  %6.1f s%s%s\n", c->current + 1, c->step_count,
            step->section->title, round, json_string_value(json_object_get(line, "engine")),
            json_string_value(json_object_get(line, "workload")), json_integer_value(json_object_get(line, "threads")),
            bench_human(rate, human), json_number_value(json_object_get(line, "seconds")), rest,
            json_integer_value(json_object_get(line, "wrong")) ? "  WRONG VALUES" : "");
}

/* ---- results -------------------------------------------------------------------------------------------------- */

/* A result of a measured round: into the report and the file, with the counts of the counting pass. */
static void result_keep(struct comparison *c, json_t *object, double syscalls)
{
    if (!isnan(syscalls)) {
        json_object_set_new(object, "syscalls_per_op", json_real(syscalls));
        json_object_del(object, "syscalls_note");
    } else if (c->uncounted) {
        json_object_set_new(object, "syscalls_note", json_string(c->uncounted));
    }
    char *text = json_dumps(object, RESULT_JSON_FLAGS);
    if (!text || !report_add(c->report, text))
        bench_die("a result cannot be taken in: %s", text ? c->report->error : "out of memory");
    if (c->out && (fprintf(c->out, "%s\n", text) < 0 || fflush(c->out) != 0))
        bench_die("%s: %s", c->options->out_path, strerror(errno));
    free(text);
}

static void line_take(void *arg, const char *line)
{
    struct comparison *c = arg;
    const struct step *step = &c->steps[c->current];
    json_t *object = json_loads(line, 0, NULL);
    if (!json_is_string(json_object_get(object, "workload")) || c->phase == RUN_PHASES_MAX) {
        fprintf(stderr, "nokv-bench: not a result: %s", line);
        c->strange = true;
        json_decref(object);
        return;
    }
    double *syscalls = &step->section->syscalls[step->group][step->engine][c->phase++];
    const json_t *counted = json_object_get(object, "syscalls_per_op");
    progress_print(c, object);
    if (step->round)
        result_keep(c, object, *syscalls);
    else if (json_is_number(counted))
        *syscalls = json_number_value(counted);
    json_decref(object);
}

/* ---- steps ---------------------------------------------------------------------------------------------------- */

/* The child's command line; numbers are printed into `numbers`. */
enum { STEP_NUMBERS = 9, STEP_WIDTH = 32, STEP_OPTIONS = 14 };
static void step_argv(const struct comparison *c, const struct step *step, const struct group *limit,
                      char numbers[STEP_NUMBERS][STEP_WIDTH], const char *argv[2 * STEP_OPTIONS + 5])
{
    const struct run_options *o = c->options->run;
    const struct data_set *set = step->section->set;
    snprintf(numbers[0], STEP_WIDTH, "%lu", set->keys);
    snprintf(numbers[1], STEP_WIDTH, "%u", o->threads);
    snprintf(numbers[2], STEP_WIDTH, "%lu", o->seed);
    snprintf(numbers[3], STEP_WIDTH, "%g", round_seconds(set, step->round));
    snprintf(numbers[4], STEP_WIDTH, "%u", o->overwrite_part);
    snprintf(numbers[5], STEP_WIDTH, "%lu", o->memory_bytes >> 20);
    snprintf(numbers[6], STEP_WIDTH, "%u", o->filter_bits);
    snprintf(numbers[7], STEP_WIDTH, "%u", step->round);
    snprintf(numbers[8], STEP_WIDTH, "%luK", set->memory_limit_bytes >> 10);
    const char *const options[STEP_OPTIONS][2] = {
        {"--engine", step->section->engines[step->engine]},
        {"--workload", step->section->groups[step->group]},
        {"--dir", o->dir},
        {"--value-size", set->value_size},
        {"--keys", numbers[0]},
        {"--threads", numbers[1]},
        {"--seed", numbers[2]},
        {"--seconds", numbers[3]},
        {"--overwrite-part", numbers[4]},
        {"--memory", numbers[5]},
        {"--filter-bits", numbers[6]},
        {"--round", numbers[7]},
        {"--memory-limit", numbers[8]},
        {"--memory-group", limit->dir},
    };
    size_t option_count = set->memory_limit_bytes ? STEP_OPTIONS : STEP_OPTIONS - 2;
    *argv++ = "nokv-bench";
    *argv++ = "run";
    *argv++ = "--json";
    for (size_t i = 0; i < option_count; i++) {
        *argv++ = options[i][0];
        *argv++ = options[i][1];
    }
    *argv++ = step->round ? NULL : "--count-syscalls";
    *argv = NULL;
}

/* Make the group that a step's process is to enter; a step without a limit has none. */
static bool step_limit(const struct step *step, struct group *out_limit)
{
    uint64_t bytes = step->section->set->memory_limit_bytes;
    const char *why = bytes ? group_create(bytes, out_limit) : NULL;
    if (why)
        fprintf(stderr, "nokv-bench: no memory limit can be set: %s\n", why);
    return !why;
}

static bool step_run(struct comparison *c, struct step *step)
{
    struct group limit = {.dir = ""};
    char numbers[STEP_NUMBERS][STEP_WIDTH];
    const char *argv[2 * STEP_OPTIONS + 5];
    if (!step_limit(step, &limit))
        return false;
    step_argv(c, step, &limit, numbers, argv);
    uint64_t begin = bench_clock_ns();
    c->phase = 0;
    c->strange = false;
    bool ok = child_run(argv, line_take, c) == 0 && !c->strange;
    step->seconds = (double)(bench_clock_ns() - begin) / 1e9;
    if (!ok && !child_interrupted())
        fprintf(stderr, "nokv-bench: %s failed in %s\n", step->section->engines[step->engine],
                step->section->groups[step->group]);
    if (group_oom_kills(&limit))
        fprintf(stderr, "nokv-bench: %s needs more memory than the limit allows and was killed\n",
                step->section->engines[step->engine]);
    group_remove(&limit);
    return ok;
}

/* Can system calls be counted here? Returns NULL, or why not. */
static const char *syscalls_probe(bool wanted)
{
    const char *why = wanted ? syscalls_begin() : "not asked for (--count-syscalls)";
    syscalls_end();
    return why;
}

/* A limit that cannot be had is found out before anything is measured. */
static void limits_probe(const struct compare_options *options)
{
    struct group limit;
    for (size_t i = 0; i < options->set_count; i++) {
        uint64_t bytes = options->sets[i].memory_limit_bytes;
        const char *why = bytes ? group_create(bytes, &limit) : NULL;
        if (why)
            bench_die("no memory limit can be set here: %s", why);
        if (bytes)
            group_remove(&limit);
    }
}

static void memory_filesystem_warn(const char *dir)
{
    struct machine_facts facts;
    machine_look(dir, &facts);
    if (strcmp(facts.filesystem, "tmpfs") == 0 || strcmp(facts.filesystem, "ramfs") == 0)
        fprintf(stderr, "nokv-bench: %s is in memory (%s): nothing here says how fast a disk is; see --dir\n", dir,
                facts.filesystem);
}

static void comparison_end(struct comparison *c)
{
    report_print(c->report, stdout);
    if (child_interrupted())
        printf("\n**Interrupted** after %zu of %zu steps.\n", c->current, c->step_count);
    if (c->out && fclose(c->out) != 0)
        bench_die("%s: %s", c->options->out_path, strerror(errno));
    for (size_t i = 0; i < c->options->set_count; i++)
        free(c->sections[i].engine_list);
    free(c->sections);
    free(c->steps);
    report_free(c->report);
}

int compare_execute(const struct compare_options *options)
{
    struct comparison c = {.options = options, .report = bench_alloc(sizeof *c.report)};
    const char *uncounted = syscalls_probe(options->count_syscalls);
    c.uncounted = uncounted;
    layout(&c, !uncounted);
    limits_probe(options);
    memory_filesystem_warn(options->run->dir);
    if (options->count_syscalls && uncounted)
        fprintf(stderr, "nokv-bench: system calls are not counted: %s\n", uncounted);
    c.out = options->out_path ? fopen(options->out_path, "ae") : NULL;
    if (options->out_path && !c.out)
        bench_die("%s: %s", options->out_path, strerror(errno));
    fprintf(stderr, "%zu databases to fill, one by one, below %s; results %s%s\n", c.step_count, options->run->dir,
            c.out ? "are appended to " : "are not kept (--out)", c.out ? options->out_path : "");
    child_interrupts_catch();
    bool ok = true;
    for (; c.current < c.step_count && !child_interrupted(); c.current += !child_interrupted()) {
        struct step *step = &c.steps[c.current];
        ok = step_run(&c, step) && ok;
        run_leftovers_remove(options->run->dir, step->section->engines[step->engine]);
    }
    comparison_end(&c);
    return child_interrupted() ? EXIT_INTERRUPTED : !ok;
}
