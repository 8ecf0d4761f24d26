// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench.c - the command line of nokv-bench: NoKV and its peers, the same checked work on each.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nokv_bench_child.h"
#include "nokv_bench_compare.h"
#include "nokv_bench_group.h"

static const char default_workloads[] =
    "fillrandom,settle,readhit,readhit:2,readmiss,readmiss:2,seek50,seek50:2,overwrite,settle,fillseq,settle,readseq,"
    "durable,durable:16";

/* Blob files hold values from 512 bytes on: below, rocksdb-blob is rocksdb. */
static const char engines_small[] = "nokv,lmdb,leveldb,rocksdb,rocksdb-mmap,wiredtiger,wiredtiger-lsm";
static const char engines_large[] = "nokv,lmdb,leveldb,rocksdb,rocksdb-mmap,rocksdb-blob,wiredtiger,wiredtiger-lsm";

static const char dir_default[] = "build/bench";

/* What was given on the command line; 0 or NULL where it was not. */
struct command {
    struct run_options run;
    const char *engines, *out, *value_size;
    const struct plan *plan;
    unsigned rounds, scale;
};

static void usage_print(FILE *out)
{
    fputs("nokv-bench - NoKV and its peers, the same checked work on each.\n\n"
          "  nokv-bench compare --plan P [options]                  a ready-made comparison; tables at the end\n"
          "  nokv-bench compare [--engines A,B,...] [--workloads W[:THREADS],...] [options]   one of your own\n"
          "  nokv-bench run --engine E --workload W[:THREADS],... [options]     one engine, in this process\n"
          "  nokv-bench report RESULTS.jsonl... [--html F] [--json F]   tables and charts; --help\n"
          "  nokv-bench engines                                     what is built in, and its terms\n\n"
          "plans (--engines, --runs and --seconds change them; Ctrl-C ends one with the tables of what there is)\n",
          out);
    for (const struct plan *p = plans; p->name; p++)
        fprintf(out, "  %-12s %s\n", p->name, p->text);
    fputs(
        "\noptions (and what they are if not given)\n"
        "  --dir D               where databases are made, and removed afterwards (build/bench, made when missing): a\n"
        "                        directory on a real disk, with 8 times the room of the data\n"
        "  --out FILE            compare: append the results there, a JSON object a line (a plan's: "
        "DIR/PLAN-TIME.jsonl)\n"
        "  --plan P              compare: see above; --quick and --cold are --plan quick and --plan cold\n"
        "  --scale PERCENT       compare: of the plan's keys and memory limit, to try it out (100)\n"
        "  --runs R              compare: rounds (3)\n"
        "  --keys N              keys in the database (10000000)\n"
        "  --value-size V        bytes (100); mixed: those of real files, 10 KiB in the mean, 1 MiB at the most\n"
        "  --threads T           for workloads without a number of their own (1)\n"
        "  --seconds S           of each phase that runs for a time (5)\n"
        "  --overwrite-part P    overwrite puts every P-th key (1)\n"
        "  --memory MIB          budget for write buffers and caches (256)\n"
        "  --memory-limit SIZE   of all memory of the engine's process, page cache included, such as 512M or 1G; in "
        "force\n"
        "                        from the workload cold on, by a cgroup that is made for it, or the run fails. The "
        "budget\n"
        "                        is a quarter of it at the most then (a plan's own, else none)\n"
        "  --memory-group D      run: the directory of a cgroup that has this limit already\n"
        "  --filter-bits B       per key (10)\n"
        "  --seed S              of keys, values and choices (1)\n"
        "  --count-syscalls      compare: a pass before the first round that counts system calls and is not timed;\n"
        "                        run: count in this run, which makes each call some 0.15 us slower. Needs tracefs\n"
        "                        mounted and the right to use perf events: as root,\n"
        "                        mount -t tracefs nodev /sys/kernel/tracing\n"
        "  --json                run: one JSON object per phase\n"
        "  --stats               run: the engine's own statistics after each phase, to standard error\n"
        "  --keep, --existing    run: leave the database behind; take up one that was left\n\n"
        "workloads\n",
        out);
    for (const struct workload *w = workloads; w->name; w++)
        fprintf(out, "  %-16s %s\n", w->name, w->text);
    fputs("\nexamples\n"
          "  nokv-bench compare --quick\n"
          "  nokv-bench compare --plan standard --engines nokv,lmdb --dir /var/tmp --out results.jsonl\n"
          "  nokv-bench compare --keys 1000000 --value-size 4096 --workloads fillrandom,settle,readhit:2 --runs 5\n"
          "  nokv-bench compare --keys 1000000 --value-size 1000 --memory-limit 256M --workloads "
          "fillrandom,settle,cold,readhit:16\n"
          "  nokv-bench run --engine nokv --keys 100000 --workload fillrandom,settle,readhit --stats\n",
          out);
}

static void engines_print(void)
{
    for (const struct engine *const *e = engines_built; *e; e++)
        printf("%-14s %-8s %s\n", (*e)->name, (*e)->version(), (*e)->terms);
    for (const char *const *missing = engines_missing; *missing; missing += 2)
        printf("%-14s not built in: %s was not installed\n", missing[0], missing[1]);
}

static uint64_t number_parse(const char *option, const char *text, uint64_t max)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno || *end || end == text || *text == '-' || value > max)
        bench_die("%s %s: a number up to %lu is needed", option, text, max);
    return value;
}

/* One that must not be 0. */
static uint64_t positive_parse(const char *option, const char *text, uint64_t max)
{
    uint64_t value = number_parse(option, text, max);
    if (value == 0)
        bench_die("%s 0: a number from 1 to %lu is needed", option, max);
    return value;
}

/* "512M" in bytes. */
static uint64_t size_parse(const char *option, const char *text, uint64_t min)
{
    static const char units[] = "KMG";
    char *end;
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    const char *unit = *end && !end[1] ? strchr(units, *end) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    if (errno || end == text || *text == '-' || !unit || number > (1ull << 50) >> shift || number << shift < min)
        bench_die("%s %s: a size such as 512M or 1G is needed (units K, M, G), at least %luM", option, text, min >> 20);
    return number << shift;
}

static void value_size_take(struct command *c, const char *text)
{
    c->value_size = text;
    c->run.value_mixed = strcmp(text, "mixed") == 0;
    c->run.value_size = c->run.value_mixed ? data_mixed_mean() : positive_parse("--value-size", text, 64u << 20);
}

static double seconds_parse(const char *text)
{
    char *end;
    double seconds = strtod(text, &end);
    if (*end || end == text || !(seconds > 0) || seconds > 86400)
        bench_die("--seconds %s: a number above 0 and up to 86400 is needed", text);
    return seconds;
}

static const struct plan *plan_parse(const char *name)
{
    const struct plan *plan = plan_find(name);
    if (!plan)
        bench_die("no plan \"%s\"; see nokv-bench --help", name);
    return plan;
}

static bool flag_take(struct command *c, const char *option)
{
    if (strcmp(option, "--json") == 0)
        c->run.json = true;
    else if (strcmp(option, "--count-syscalls") == 0)
        c->run.count_syscalls = true;
    else if (strcmp(option, "--stats") == 0)
        c->run.stats = true;
    else if (strcmp(option, "--keep") == 0)
        c->run.keep = true;
    else if (strcmp(option, "--existing") == 0)
        c->run.existing = c->run.keep = true;
    else if (strcmp(option, "--quick") == 0)
        c->plan = plan_find("quick");
    else if (strcmp(option, "--cold") == 0)
        c->plan = plan_find("cold");
    else
        return false;
    return true;
}

static void option_take(struct command *c, const char *option, const char *value)
{
    if (strcmp(option, "--engine") == 0)
        c->run.engine = value;
    else if (strcmp(option, "--engines") == 0)
        c->engines = value;
    else if (strcmp(option, "--workload") == 0 || strcmp(option, "--workloads") == 0)
        c->run.workloads = value;
    else if (strcmp(option, "--dir") == 0)
        c->run.dir = value;
    else if (strcmp(option, "--out") == 0)
        c->out = value;
    else if (strcmp(option, "--keys") == 0)
        c->run.keys = positive_parse(option, value, 4000000000u);
    else if (strcmp(option, "--value-size") == 0)
        value_size_take(c, value);
    else if (strcmp(option, "--threads") == 0)
        c->run.threads = (unsigned)positive_parse(option, value, RUN_THREADS_MAX);
    else if (strcmp(option, "--seed") == 0)
        c->run.seed = number_parse(option, value, UINT32_MAX);
    else if (strcmp(option, "--seconds") == 0)
        c->run.seconds = seconds_parse(value);
    else if (strcmp(option, "--overwrite-part") == 0)
        c->run.overwrite_part = (unsigned)positive_parse(option, value, 1000000);
    else if (strcmp(option, "--memory") == 0 && strpbrk(value, "KMG"))
        bench_die("--memory %s: the budget is a number of MiB; what limits the process is --memory-limit %s", value,
                  value);
    else if (strcmp(option, "--memory") == 0)
        c->run.memory_bytes = positive_parse(option, value, 1 << 20) << 20;
    else if (strcmp(option, "--memory-limit") == 0)
        c->run.memory_limit_bytes = size_parse(option, value, GROUP_LIMIT_MIN);
    else if (strcmp(option, "--memory-group") == 0)
        c->run.memory_group = value;
    else if (strcmp(option, "--filter-bits") == 0)
        c->run.filter_bits = (unsigned)number_parse(option, value, 32);
    else if (strcmp(option, "--round") == 0)
        c->run.round = (unsigned)number_parse(option, value, 1000);
    else if (strcmp(option, "--runs") == 0)
        c->rounds = (unsigned)positive_parse(option, value, 200);
    else if (strcmp(option, "--scale") == 0)
        c->scale = (unsigned)positive_parse(option, value, 1000);
    else if (strcmp(option, "--plan") == 0)
        c->plan = plan_parse(value);
    else
        bench_die("no option %s; see nokv-bench --help", option);
}

static void command_take(struct command *c, int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        if (flag_take(c, argv[i]))
            continue;
        if (i + 1 == argc)
            bench_die("%s: no such option, or its value is missing; see nokv-bench --help", argv[i]);
        option_take(c, argv[i], argv[i + 1]);
        i++;
    }
}

/* What must not be given together, or not be 0. */
static void command_check(const struct command *c, bool compare)
{
    const struct run_options *o = &c->run;
    if (!compare && (c->plan || c->out || c->engines || c->rounds || c->scale))
        bench_die("--plan, --quick, --cold, --out, --engines, --runs and --scale are for compare");
    if (compare && (o->engine || o->json || o->stats || o->keep || o->memory_group))
        bench_die("--engine, --json, --stats, --keep, --existing and --memory-group are for run");
    if (o->memory_group && !o->memory_limit_bytes)
        bench_die("--memory-group: say with --memory-limit which limit it has");
    if (c->plan && (o->keys || o->value_size || o->workloads))
        bench_die("keys, value sizes and workloads are the plan's: --keys, --value-size and --workloads cannot be "
                  "given with it");
    if (c->scale && !c->plan)
        bench_die("--scale is of a plan's keys: --keys is what you want");
}

static void command_parse(struct command *c, int argc, char **argv, bool compare)
{
    command_take(c, argc, argv);
    command_check(c, compare);
    if (c->plan)
        return;
    c->run.workloads = c->run.workloads ? c->run.workloads : default_workloads;
    c->run.keys = c->run.keys ? c->run.keys : 10000000;
    c->run.seconds = c->run.seconds > 0 ? c->run.seconds : 5;
    if (!c->value_size)
        c->value_size = "100", c->run.value_size = 100;
}

/* A directory that was named must be there; our own is made. */
static void dir_prepare(const char *dir)
{
    if (strcmp(dir, dir_default) == 0) {
        bench_dir_make("build");
        bench_dir_make(dir_default);
    }
    (void)bench_free_bytes(dir);
}

/* The plan's data sets, with what was given on the command line. */
static struct data_set *plan_sets(const struct command *c)
{
    enum { KEYS_MIN = 50 };
    struct data_set *sets = bench_alloc(c->plan->set_count * sizeof *sets);
    for (size_t i = 0; i < c->plan->set_count; i++) {
        sets[i] = c->plan->sets[i];
        sets[i].engines = c->engines ? c->engines : sets[i].engines;
        sets[i].runs = c->rounds ? c->rounds : sets[i].runs;
        sets[i].seconds = c->run.seconds > 0 ? c->run.seconds : sets[i].seconds;
        if (c->scale) {
            uint64_t keys = sets[i].keys * c->scale / 100, limit = sets[i].memory_limit_bytes * c->scale / 100;
            sets[i].keys = keys > KEYS_MIN ? keys : KEYS_MIN;
            limit = limit >> 20 << 20; /* whole MiB */
            sets[i].memory_limit_bytes =
                limit < GROUP_LIMIT_MIN && sets[i].memory_limit_bytes ? GROUP_LIMIT_MIN : limit;
        }
        if (c->run.memory_limit_bytes)
            sets[i].memory_limit_bytes = c->run.memory_limit_bytes;
    }
    return sets;
}

/* Some minutes of work are kept, whether or not a file was named. */
static void plan_out(const struct command *c, char *path, size_t size)
{
    char now[32] = "";
    time_t seconds = time(NULL);
    struct tm tm;
    if (localtime_r(&seconds, &tm))
        strftime(now, sizeof now, "%Y%m%d-%H%M%S", &tm);
    snprintf(path, size, "%s/%s-%s.jsonl", c->run.dir, c->plan->name, now);
}

static int compare_plan(const struct command *c)
{
    char path[4096];
    struct data_set *sets = plan_sets(c);
    plan_out(c, path, sizeof path);
    struct compare_options options = {
        .run = &c->run,
        .sets = sets,
        .set_count = c->plan->set_count,
        .out_path = c->out ? c->out : path,
        .count_syscalls = c->run.count_syscalls || c->plan->count_syscalls,
    };
    int code = compare_execute(&options);
    free(sets);
    return code;
}

static int compare_own(const struct command *c)
{
    const struct run_options *o = &c->run;
    struct data_set set = {
        .engines = c->engines            ? c->engines
                   : o->value_size < 512 ? engines_small
                                         : engines_large,
        .workloads = o->workloads,
        .value_size = c->value_size,
        .keys = o->keys,
        .seconds = o->seconds,
        .runs = c->rounds ? c->rounds : 3,
        .memory_limit_bytes = o->memory_limit_bytes,
    };
    return compare_execute(&(struct compare_options){
        .run = o, .sets = &set, .set_count = 1, .out_path = c->out, .count_syscalls = o->count_syscalls});
}

static void line_print(void *arg, const char *line)
{
    (void)arg;
    fputs(line, stdout);
    fflush(stdout);
}

/* A run with a memory limit is a child's: who is in a group cannot remove it. `argv` has the run's arguments. */
static int run_limited(const struct run_options *options, int argc, char **argv)
{
    struct group group;
    run_check(options);
    const char *why = group_create(options->memory_limit_bytes, &group);
    if (why)
        bench_die("no memory limit can be set here: %s", why);
    const char **args = bench_alloc(((size_t)argc + 3) * sizeof *args);
    memcpy(args, argv, (size_t)argc * sizeof *args);
    args[argc] = "--memory-group";
    args[argc + 1] = group.dir;
    child_interrupts_catch();
    int code = child_run(args, line_print, NULL);
    if (group_oom_kills(&group))
        fprintf(stderr, "nokv-bench: %s needs more memory than the limit allows and was killed\n", options->engine);
    group_remove(&group);
    free(args);
    if (code < 0 && !options->keep) /* killed: it could not do it itself */
        run_leftovers_remove(options->dir, options->engine);
    return child_interrupted() ? 130 : code < 0 ? 2 : code;
}

int main(int argc, char **argv)
{
    struct command c = {
        .run = {.dir = dir_default,
                .threads = 1,
                .seed = 1,
                .overwrite_part = 1,
                .memory_bytes = 256u << 20,
                .filter_bits = 10},
    };
    const char *verb = argc > 1 ? argv[1] : "";
    if (strcmp(verb, "report") == 0)
        return report_execute(argc - 2, argv + 2);
    if (strcmp(verb, "engines") == 0 && argc == 2)
        return engines_print(), 0;
    bool run = strcmp(verb, "run") == 0, compare = strcmp(verb, "compare") == 0;
    bool help = strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0 || strcmp(verb, "help") == 0;
    for (int i = 2; i < argc; i++)
        help = help || strcmp(argv[i], "--help") == 0;
    if (help || (!run && !compare)) {
        usage_print(help ? stdout : stderr);
        return help ? 0 : 2;
    }
    command_parse(&c, argc, argv, compare);
    dir_prepare(c.run.dir);
    if (compare)
        return c.plan ? compare_plan(&c) : compare_own(&c);
    if (!c.run.engine)
        bench_die("run needs --engine; nokv-bench engines lists them");
    if (c.run.memory_limit_bytes && !c.run.memory_group)
        return run_limited(&c.run, argc, argv);
    return run_execute(&c.run);
}
