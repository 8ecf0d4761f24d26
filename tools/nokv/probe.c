// SPDX-License-Identifier: Apache-2.0
/*
 * probe.c - `nokv probe`: random point reads of keys that are there, and what they cost in system calls and page
 * faults.
 *
 * The keys are a uniform sample over the whole database (a reservoir of one pass of the iterator over keys). Then the
 * database is opened anew, so that the pass over the keys has prepared nothing but the page cache, and they are read in
 * the same random order: once, which maps pages and verifies checksums, then over and over, which is what a working set
 * in memory costs. Of each value the first and the last byte are read, so that "get" cannot mean a
 * pointer that nobody followed; a pass over all the bytes of a value would measure the memory instead.
 *
 * System calls are the engine's own count of its I/O calls, page faults are the kernel's count for this process.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cli.h"
#include "stats.h"
#include "text.h"

#define SAMPLE_KEYS 65536

struct probe {
    struct bytes *keys;
    uint32_t *order;
    size_t count;
    uint64_t seen;         /* keys in the database */
    uint64_t random_state; /* splitmix64 */
    unsigned sink;         /* keeps the reads of the values alive */
};

struct pass {
    uint64_t gets, ns, value_bytes, minor_faults, major_faults;
    uint64_t calls, vlog_calls; /* of all components, of the value log */
};

static uint64_t next_random(struct probe *probe)
{
    uint64_t z = (probe->random_state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* Vitter's algorithm R: every key ends up in the sample with the same probability. */
static nokv_status sample_keys(struct probe *probe, nokv_db *db)
{
    nokv_iter *iter;
    nokv_status status = nokv_iter_create(db, NULL, &iter);
    if (status != NOKV_OK)
        return status;
    for (nokv_iter_first(iter); nokv_iter_valid(iter); nokv_iter_next(iter), probe->seen++) {
        uint64_t slot = probe->seen < SAMPLE_KEYS ? probe->seen : next_random(probe) % (probe->seen + 1);
        if (slot >= SAMPLE_KEYS)
            continue;
        nokv_slice key = nokv_iter_key(iter);
        probe->keys[slot].size = 0;
        bytes_append(&probe->keys[slot], key.data, key.size);
    }
    probe->count = probe->seen < SAMPLE_KEYS ? (size_t)probe->seen : SAMPLE_KEYS;
    status = nokv_iter_status(iter);
    nokv_iter_destroy(iter);
    return status;
}

static void shuffle(struct probe *probe)
{
    for (size_t i = 0; i < probe->count; i++)
        probe->order[i] = (uint32_t)i;
    for (size_t i = probe->count; i > 1; i--) {
        size_t j = (size_t)(next_random(probe) % i);
        uint32_t swap = probe->order[i - 1];
        probe->order[i - 1] = probe->order[j];
        probe->order[j] = swap;
    }
}

static nokv_status get_one(struct probe *probe, nokv_db *db, const struct bytes *key, struct pass *pass)
{
    nokv_value value;
    nokv_status status = nokv_get(db, key->data, key->size, NULL, &value);
    if (status != NOKV_OK)
        return status;
    const unsigned char *data = value.data;
    if (value.size > 0)
        probe->sink += (unsigned)data[0] + data[value.size - 1];
    pass->value_bytes += value.size;
    nokv_value_release(&value);
    return NOKV_OK;
}

static nokv_status count_calls(nokv_db *db, uint64_t *out_calls, uint64_t *out_vlog_calls)
{
    nokv_stats stats = {.struct_size = sizeof stats};
    nokv_status status = nokv_stats_get(db, false, &stats);
    if (status != NOKV_OK)
        return status;
    *out_calls = 0;
    for (int i = 0; i < NOKV_COMPONENT_COUNT; i++)
        *out_calls += stats.components[i].calls;
    *out_vlog_calls = stats.components[NOKV_COMPONENT_VLOG].calls;
    return NOKV_OK;
}

static nokv_status run_gets(struct probe *probe, nokv_db *db, uint64_t gets, struct pass *pass)
{
    for (uint64_t i = 0; probe->count > 0 && i < gets; i++) {
        nokv_status status = get_one(probe, db, &probe->keys[probe->order[i % probe->count]], pass);
        if (status != NOKV_OK)
            return status;
    }
    return NOKV_OK;
}

static nokv_status run_pass(struct probe *probe, nokv_db *db, uint64_t gets, struct pass *pass)
{
    struct rusage before, after;
    uint64_t calls_before, calls_after, vlog_before, vlog_after;
    nokv_status status = count_calls(db, &calls_before, &vlog_before);
    getrusage(RUSAGE_SELF, &before);
    uint64_t start = clock_ns();
    if (status == NOKV_OK)
        status = run_gets(probe, db, gets, pass);
    pass->ns = clock_ns() - start;
    getrusage(RUSAGE_SELF, &after);
    if (status == NOKV_OK)
        status = count_calls(db, &calls_after, &vlog_after);
    if (status != NOKV_OK)
        return status;
    pass->gets = gets;
    pass->calls = calls_after - calls_before;
    pass->vlog_calls = vlog_after - vlog_before;
    pass->minor_faults = (uint64_t)(after.ru_minflt - before.ru_minflt);
    pass->major_faults = (uint64_t)(after.ru_majflt - before.ru_majflt);
    return NOKV_OK;
}

static void print_pass(const char *name, const struct pass *pass)
{
    char a[TEXT_SIZE];
    double gets = (double)(pass->gets > 0 ? pass->gets : 1);
    printf("  %-6s %10s gets/s %7.0f ns %7.4f calls %7.4f faults %7.4f disk\n", name,
           text_count(a, (uint64_t)(gets * 1e9 / (double)(pass->ns + 1))), (double)pass->ns / gets,
           (double)pass->calls / gets, (double)pass->minor_faults / gets, (double)pass->major_faults / gets);
}

static size_t pass_lines(char *out, size_t size, const char *name, const struct pass *pass)
{
    const struct {
        const char *name;
        uint64_t value;
    } lines[] = {
        {"gets", pass->gets},
        {"ns", pass->ns},
        {"calls", pass->calls},
        {"vlog_calls", pass->vlog_calls},
        {"minor_faults", pass->minor_faults},
        {"major_faults", pass->major_faults},
        {"value_bytes", pass->value_bytes},
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        used +=
            (size_t)snprintf(out + used, size - used, "probe.%s.%s %" PRIu64 "\n", name, lines[i].name, lines[i].value);
    return used;
}

static enum cli_exit write_stats(const struct cli_args *args, nokv_db *db, const struct pass passes[2])
{
    nokv_stats stats = {.struct_size = sizeof stats};
    nokv_status status = nokv_stats_get(db, true, &stats);
    if (status != NOKV_OK)
        return cli_status_error(args, status);
    char lines[1024];
    size_t used = pass_lines(lines, sizeof lines, "first", &passes[0]);
    pass_lines(lines + used, sizeof lines - used, "hot", &passes[1]);
    if (stats_write_file(cli_value(args, "stats"), &stats, lines))
        return CLI_OK;
    cli_error(args, "%s: cannot be written", cli_value(args, "stats"));
    return CLI_FAILED;
}

static enum cli_exit run_passes(const struct cli_args *args, struct probe *probe, nokv_db *db, uint64_t gets)
{
    struct pass passes[2] = {0};
    nokv_status status = run_pass(probe, db, probe->count, &passes[0]);
    if (status == NOKV_OK)
        status = run_pass(probe, db, gets, &passes[1]);
    if (status != NOKV_OK) {
        cli_status_error(args, status);
        return CLI_FAILED;
    }
    char a[TEXT_SIZE], b[TEXT_SIZE];
    printf("  random gets over %s of %s keys, one thread; per get:\n", text_count(a, probe->count),
           text_count(b, probe->seen));
    print_pass("first", &passes[0]);
    print_pass("hot", &passes[1]);
    return cli_value(args, "stats") ? write_stats(args, db, passes) : CLI_OK;
}

/* The sample, through a handle of its own. */
static enum cli_exit take_sample(const struct cli_args *args, struct probe *probe)
{
    nokv_db *db;
    if (cli_open(args, args->positionals[0], CLI_READ, &db) != CLI_OK)
        return CLI_FAILED;
    nokv_status status = sample_keys(probe, db);
    enum cli_exit code = CLI_OK;
    if (status != NOKV_OK) {
        cli_status_error(args, status);
        code = CLI_FAILED;
    } else if (probe->count == 0) {
        cli_error(args, "the database is empty");
        code = CLI_DIFFERS;
    }
    return cli_close(args, db, code);
}

static enum cli_exit probe_database(const struct cli_args *args, struct probe *probe, uint64_t gets)
{
    enum cli_exit code = take_sample(args, probe);
    if (code != CLI_OK)
        return code;
    shuffle(probe);
    nokv_db *db;
    if (cli_open(args, args->positionals[0], CLI_READ, &db) != CLI_OK)
        return CLI_FAILED;
    return cli_close(args, db, run_passes(args, probe, db, gets));
}

static enum cli_exit probe_run(const struct cli_args *args)
{
    uint64_t gets = 1000000, seed = 1;
    if (!cli_number(args, "gets", 1, 1000000000000, &gets) || !cli_number(args, "seed", 0, UINT64_MAX, &seed))
        return CLI_USAGE;
    struct probe probe = {.keys = cli_alloc(SAMPLE_KEYS * sizeof(struct bytes)),
                          .order = cli_alloc(SAMPLE_KEYS * sizeof(uint32_t)),
                          .random_state = seed};
    enum cli_exit code = probe_database(args, &probe, gets);
    for (size_t i = 0; i < SAMPLE_KEYS; i++)
        bytes_deinit(&probe.keys[i]);
    free(probe.keys);
    free(probe.order);
    return code;
}

static const struct cli_option probe_options[] = {
    {"gets", 'n', "COUNT", "gets of the hot pass (default 1,000,000)"},
    {"seed", 0, "NUMBER", "another order and sample (default 1)"},
    {"stats", 0, "FILE", "write the engine's counters to FILE, one per line"},
    {0},
};

const struct cli_command probe_command = {
    .name = "probe",
    .summary = "random reads: rate, system calls and page faults per get",
    .usage = "DB [--gets COUNT] [--seed NUMBER] [--stats FILE]",
    .description = "Reads a random sample of up to 65,536 keys, first once each and then over and\n"
                   "over, and prints gets per second, nanoseconds, system calls of the engine, page\n"
                   "faults, and faults that went to the disk, per get. Never writes to DB.",
    .examples = "  nokv probe doc.db\n"
                "  nokv probe doc.db --gets 10000000",
    .options = probe_options,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = probe_run,
};
