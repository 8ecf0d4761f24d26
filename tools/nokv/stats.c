// SPDX-License-Identifier: Apache-2.0
/*
 * stats.c - `nokv stats`: what is in a database, on disk and in the page cache.
 *
 * The counters of calls belong to the process that asks: `nokv stats` opens the database, read-only, and has done
 * nothing else with it. The counters of a process that did work come from where the work was done: import and probe
 * have a --stats option that leaves them in a file, as lines.
 *
 * Each counter is named once, in the tables below; JSON and lines are made from the same tables.
 */
#include "stats.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "text.h"

struct field {
    const char *name;
    size_t offset; /* of a uint64_t */
};

#define FIELD(type, member)             \
    {                                   \
#member, offsetof(type, member) \
    }

static const struct field component_fields[] = {
    FIELD(nokv_component_stats, files),
    FIELD(nokv_component_stats, bytes),
    FIELD(nokv_component_stats, reads),
    FIELD(nokv_component_stats, read_bytes),
    FIELD(nokv_component_stats, writes),
    FIELD(nokv_component_stats, write_bytes),
    FIELD(nokv_component_stats, syncs),
    FIELD(nokv_component_stats, calls),
    FIELD(nokv_component_stats, sync_ns_p50),
    FIELD(nokv_component_stats, sync_ns_p99),
    FIELD(nokv_component_stats, write_ns_p50),
    FIELD(nokv_component_stats, write_ns_p99),
    FIELD(nokv_component_stats, read_ns_p50),
    FIELD(nokv_component_stats, read_ns_p99),
    {0},
};

static const struct field level_fields[] = {
    FIELD(nokv_level_stats, files),       FIELD(nokv_level_stats, bytes),         FIELD(nokv_level_stats, entries),
    FIELD(nokv_level_stats, tombstones),  FIELD(nokv_level_stats, read_bytes),    FIELD(nokv_level_stats, write_bytes),
    FIELD(nokv_level_stats, compactions), FIELD(nokv_level_stats, trivial_moves), {0},
};

static const struct field database_fields[] = {
    FIELD(nokv_stats, sequence),
    FIELD(nokv_stats, puts),
    FIELD(nokv_stats, deletes),
    FIELD(nokv_stats, batches),
    FIELD(nokv_stats, gets),
    FIELD(nokv_stats, gets_found),
    FIELD(nokv_stats, iterators),
    FIELD(nokv_stats, user_bytes_written),
    FIELD(nokv_stats, memtable_bytes),
    FIELD(nokv_stats, immutable_count),
    FIELD(nokv_stats, immutable_bytes),
    FIELD(nokv_stats, snapshots),
    FIELD(nokv_stats, flushes),
    FIELD(nokv_stats, compactions),
    FIELD(nokv_stats, pending_compaction_bytes),
    FIELD(nokv_stats, stall_ns),
    FIELD(nokv_stats, slowdown_ns),
    FIELD(nokv_stats, wal_groups),
    FIELD(nokv_stats, wal_records),
    FIELD(nokv_stats, recovered_records),
    FIELD(nokv_stats, recovered_cut_bytes),
    FIELD(nokv_stats, vlog_live_bytes),
    FIELD(nokv_stats, vlog_direct_bytes),
    FIELD(nokv_stats, vlog_collections),
    FIELD(nokv_stats, vlog_moved_bytes),
    FIELD(nokv_stats, vlog_reclaimed_bytes),
    {0},
};

/* Bytes of segments per byte that tables point to; 0 when there is none. */
static double vlog_space_amp(const nokv_stats *stats)
{
    uint64_t live = stats->vlog_live_bytes;
    return live > 0 ? (double)stats->components[NOKV_COMPONENT_VLOG].bytes / (double)live : 0;
}

static uint64_t field_value(const void *base, const struct field *field)
{
    uint64_t value;
    memcpy(&value, (const char *)base + field->offset, sizeof value);
    return value;
}

static void print_fields(FILE *out, const char *prefix, const void *base, const struct field *fields)
{
    for (; fields->name; fields++)
        fprintf(out, "%s%s %" PRIu64 "\n", prefix, fields->name, field_value(base, fields));
}

void stats_print_lines(FILE *out, const nokv_stats *stats)
{
    char prefix[64];
    print_fields(out, "", stats, database_fields);
    if (stats->vlog_live_bytes > 0)
        fprintf(out, "vlog_space_amp %.3f\n", vlog_space_amp(stats));
    fprintf(out, "background_error %s\nio_uring %s\n", nokv_status_name(stats->background_error),
            stats->io_uring ? stats->io_uring : "unknown");
    for (int i = 0; i < NOKV_COMPONENT_COUNT; i++) {
        const nokv_component_stats *c = &stats->components[i];
        snprintf(prefix, sizeof prefix, "component.%s.", c->name);
        fprintf(out, "%smodel %s\n", prefix, c->model);
        print_fields(out, prefix, c, component_fields);
        if (c->resident_bytes != UINT64_MAX)
            fprintf(out, "%sresident_bytes %" PRIu64 "\n", prefix, c->resident_bytes);
    }
    for (int i = 0; i < NOKV_LEVELS_MAX; i++) {
        snprintf(prefix, sizeof prefix, "level.%d.", i);
        print_fields(out, prefix, &stats->levels[i], level_fields);
        fprintf(out, "%sscore %.3f\n", prefix, stats->levels[i].score);
    }
}

static json_t *json_fields(const void *base, const struct field *fields)
{
    json_t *object = json_object();
    for (; fields->name; fields++)
        json_object_set_new(object, fields->name, json_integer((json_int_t)field_value(base, fields)));
    return object;
}

static json_t *json_component(const nokv_component_stats *component)
{
    json_t *object = json_fields(component, component_fields);
    json_object_set_new(object, "model", json_string(component->model));
    bool known = component->resident_bytes != UINT64_MAX;
    json_object_set_new(object, "resident_bytes",
                        known ? json_integer((json_int_t)component->resident_bytes) : json_null());
    return object;
}

void stats_print_json(FILE *out, const nokv_stats *stats)
{
    json_t *root = json_fields(stats, database_fields);
    json_object_set_new(root, "vlog_space_amp",
                        stats->vlog_live_bytes > 0 ? json_real(vlog_space_amp(stats)) : json_null());
    json_object_set_new(root, "background_error", json_string(nokv_status_name(stats->background_error)));
    json_object_set_new(root, "io_uring", json_string(stats->io_uring ? stats->io_uring : "unknown"));
    json_t *components = json_object(), *levels = json_array();
    for (int i = 0; i < NOKV_COMPONENT_COUNT; i++)
        json_object_set_new(components, stats->components[i].name, json_component(&stats->components[i]));
    for (int i = 0; i < NOKV_LEVELS_MAX; i++) {
        json_t *level = json_fields(&stats->levels[i], level_fields);
        json_object_set_new(level, "score", json_real(stats->levels[i].score));
        json_array_append_new(levels, level);
    }
    json_object_set_new(root, "components", components);
    json_object_set_new(root, "levels", levels);
    json_dumpf(root, out, JSON_INDENT(2));
    fputc('\n', out);
    json_decref(root);
}

bool stats_write_file(const char *path, const nokv_stats *stats, const char *more_lines)
{
    FILE *out = fopen(path, "we");
    if (!out)
        return false;
    stats_print_lines(out, stats);
    fputs(more_lines, out);
    bool failed = ferror(out);
    return fclose(out) == 0 && !failed;
}

/* ---- the command ---------------------------------------------------------------------------------------------- */

static const struct cli_option stats_options[] = {
    {"json", 'j', NULL, "one JSON object"},
    {"lines", 'l', NULL, "one \"name value\" per line, for shell scripts"},
    {0},
};

/* What people ask next: is the value log much larger than what is in it, and what of all this is in memory. */
static void print_more_text(const nokv_stats *stats)
{
    char a[TEXT_SIZE], b[TEXT_SIZE];
    if (stats->vlog_live_bytes > 0)
        printf("value log: %s of segments, %s live: %.2f times ('nokv vlog' has the table)\n",
               text_bytes(a, stats->components[NOKV_COMPONENT_VLOG].bytes), text_bytes(b, stats->vlog_live_bytes),
               vlog_space_amp(stats));
    const char *before = "in the page cache:";
    for (int i = 0; i < NOKV_COMPONENT_COUNT; i++) {
        const nokv_component_stats *c = &stats->components[i];
        if (c->files == 0 || c->resident_bytes == UINT64_MAX)
            continue;
        printf("%s %s %s", before, c->name, text_bytes(a, c->resident_bytes));
        before = ",";
    }
    putchar('\n');
}

static nokv_status print_text(nokv_db *db)
{
    char *text;
    nokv_stats stats = {.struct_size = sizeof stats};
    nokv_status status = nokv_stats_get(db, true, &stats);
    if (status == NOKV_OK)
        status = nokv_stats_text(db, &text);
    if (status != NOKV_OK)
        return status;
    fputs(text, stdout);
    nokv_free(text);
    print_more_text(&stats);
    return NOKV_OK;
}

static nokv_status print_counters(nokv_db *db, bool json)
{
    nokv_stats stats = {.struct_size = sizeof stats};
    nokv_status status = nokv_stats_get(db, true, &stats);
    if (status != NOKV_OK)
        return status;
    if (json)
        stats_print_json(stdout, &stats);
    else
        stats_print_lines(stdout, &stats);
    return NOKV_OK;
}

static enum cli_exit stats_run(const struct cli_args *args)
{
    bool json = cli_flag(args, "json"), lines = cli_flag(args, "lines");
    if (json && lines)
        return cli_usage_error(args, "--json and --lines exclude each other");
    nokv_db *db;
    if (cli_open(args, args->positionals[0], CLI_READ, &db) != CLI_OK)
        return CLI_FAILED;
    nokv_status status = json || lines ? print_counters(db, json) : print_text(db);
    enum cli_exit code = status == NOKV_OK ? CLI_OK : cli_status_error(args, status);
    return cli_close(args, db, code);
}

const struct cli_command stats_command = {
    .name = "stats",
    .summary = "files, bytes, levels and I/O counters of a database",
    .usage = "DB [--json | --lines]",
    .description = "Shows what the database is made of: files and bytes per component and level, the\n"
                   "I/O model of each component, the value log's space amplification, how much is in\n"
                   "the page cache. The counters of calls are this process's own; to see those of an\n"
                   "import or a probe, give these commands --stats FILE. Never writes to DB.",
    .examples = "  nokv stats people.db\n"
                "  nokv stats people.db --json | jq .components.sst",
    .options = stats_options,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = stats_run,
};
