// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench.c - the command line of nokv-bench: NoKV and its peers, the same checked work on each.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nokv_bench_compare.h"

static const char default_workloads[] =
    "fillrandom,settle,readhit,readhit:2,readmiss,readmiss:2,seek50,seek50:2,overwrite,settle,fillseq,settle,readseq,"
    "durable,durable:16";

/* Blob files hold values from 512 bytes on: below, rocksdb-blob is rocksdb. */
static const char engines_small[] = "nokv,lmdb,leveldb,rocksdb,rocksdb-mmap";
static const char engines_large[] = "nokv,lmdb,leveldb,rocksdb,rocksdb-mmap,rocksdb-blob";

struct command {
    struct run_options run;
    const char *engines;
    const char *out;
    unsigned rounds;
};

static void usage_print(FILE *out)
{
    fputs("usage: nokv-bench run --engine E --workload W[:THREADS],... [options]     one engine, in this process\n"
          "       nokv-bench compare [--engines A,B,...] [--workloads W,...] [options]   interleaved; tables\n"
          "       nokv-bench report RESULTS.jsonl                                   the tables of a results file\n"
          "       nokv-bench engines                                                what is built in, and its terms\n\n"
          "options (and what they are if not given)\n"
          "  --keys N              keys in the database (10000000)\n"
          "  --value-size V        bytes (100); mixed: those of real files, 10 KiB in the mean, 1 MiB at the most\n"
          "  --threads T           for workloads without a number of their own (1)\n"
          "  --dir D               where databases are made, and removed afterwards (.)\n"
          "  --seconds S           of each phase that reads at random or puts durably (5)\n"
          "  --overwrite-part P    overwrite puts every P-th key (1)\n"
          "  --memory MIB          budget for write buffers and caches (256)\n"
          "  --filter-bits B       per key (10)\n"
          "  --seed S              of keys, values and choices (1)\n"
          "  --quick               1000000 keys, 2 seconds\n"
          "  --json                run: one JSON object per phase\n"
          "  --stats               run: the engine's own statistics after each phase, to standard error\n"
          "  --keep, --existing    run: leave the database behind; take up one that was left\n"
          "  --runs R              compare: rounds (3)\n"
          "  --out FILE            compare: append the JSON lines there\n\n"
          "workloads\n",
          out);
    for (const struct workload *w = workloads; w->name; w++)
        fprintf(out, "  %-16s %s\n", w->name, w->text);
    fputs("\nexample: nokv-bench compare --engines nokv,lmdb,leveldb --quick --runs 3 --dir /var/tmp\n", out);
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

static bool flag_take(struct command *c, const char *option)
{
    if (strcmp(option, "--json") == 0)
        c->run.json = true;
    else if (strcmp(option, "--stats") == 0)
        c->run.stats = true;
    else if (strcmp(option, "--keep") == 0)
        c->run.keep = true;
    else if (strcmp(option, "--existing") == 0)
        c->run.existing = c->run.keep = true;
    else if (strcmp(option, "--quick") == 0)
        c->run.keys = 1000000, c->run.seconds = 2;
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
        c->run.keys = number_parse(option, value, 4000000000u);
    else if (strcmp(option, "--value-size") == 0 && strcmp(value, "mixed") == 0)
        c->run.value_size = data_mixed_mean(), c->run.value_mixed = true;
    else if (strcmp(option, "--value-size") == 0)
        c->run.value_mixed = false, c->run.value_size = number_parse(option, value, 64u << 20);
    else if (strcmp(option, "--threads") == 0)
        c->run.threads = (unsigned)number_parse(option, value, RUN_THREADS_MAX);
    else if (strcmp(option, "--seed") == 0)
        c->run.seed = number_parse(option, value, UINT32_MAX);
    else if (strcmp(option, "--seconds") == 0)
        c->run.seconds = strtod(value, NULL);
    else if (strcmp(option, "--overwrite-part") == 0)
        c->run.overwrite_part = (unsigned)number_parse(option, value, 1000000);
    else if (strcmp(option, "--memory") == 0)
        c->run.memory_bytes = number_parse(option, value, 1 << 20) << 20;
    else if (strcmp(option, "--filter-bits") == 0)
        c->run.filter_bits = (unsigned)number_parse(option, value, 32);
    else if (strcmp(option, "--round") == 0)
        c->run.round = (unsigned)number_parse(option, value, 1000);
    else if (strcmp(option, "--runs") == 0)
        c->rounds = (unsigned)number_parse(option, value, 200);
    else
        bench_die("no option %s; see nokv-bench --help", option);
}

static void command_parse(struct command *c, int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        if (flag_take(c, argv[i]))
            continue;
        if (i + 1 == argc)
            bench_die("%s: no such option, or its value is missing; see nokv-bench --help", argv[i]);
        option_take(c, argv[i], argv[i + 1]);
        i++;
    }
    const struct run_options *o = &c->run;
    if (o->keys < 1 || o->value_size < 1 || o->threads < 1 || o->overwrite_part < 1 || c->rounds < 1 ||
        o->memory_bytes < 1 << 20 || !(o->seconds > 0))
        bench_die("an option is zero that must not be");
}

static int report_file(const char *path)
{
    FILE *in = fopen(path, "re");
    if (!in)
        bench_die("%s: %s", path, strerror(errno));
    struct report *report = bench_alloc(sizeof *report);
    char line[4096];
    while (fgets(line, sizeof line, in))
        if (!report_add(report, line))
            bench_die("%s: not a result line: %.60s", path, line);
    fclose(in);
    report_print(report, stdout);
    free(report);
    return 0;
}

int main(int argc, char **argv)
{
    struct command c = {
        .run = {.workloads = default_workloads,
                .dir = ".",
                .keys = 10000000,
                .value_size = 100,
                .threads = 1,
                .seed = 1,
                .seconds = 5,
                .overwrite_part = 1,
                .memory_bytes = 256u << 20,
                .filter_bits = 10},
        .rounds = 3,
    };
    const char *verb = argc > 1 ? argv[1] : "";
    if (strcmp(verb, "report") == 0 && argc == 3)
        return report_file(argv[2]);
    if (strcmp(verb, "engines") == 0 && argc == 2)
        return engines_print(), 0;
    bool run = strcmp(verb, "run") == 0, compare = strcmp(verb, "compare") == 0;
    if (!run && !compare) {
        bool help = strcmp(verb, "--help") == 0 || strcmp(verb, "help") == 0;
        usage_print(help ? stdout : stderr);
        return help ? 0 : 2;
    }
    command_parse(&c, argc, argv);
    if (!c.engines)
        c.engines = c.run.value_size < 512 ? engines_small : engines_large;
    if (compare)
        return compare_execute(&c.run, c.engines, c.rounds, c.out);
    if (!c.run.engine)
        bench_die("run needs --engine; nokv-bench engines lists them");
    return run_execute(&c.run);
}
