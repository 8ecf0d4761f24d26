// SPDX-License-Identifier: Apache-2.0
/*
 * salvage.c - `nokv salvage FILE`: what a segment of the value log still holds, damaged or not, without the database.
 *
 * A record of the value log carries its key, so a segment can be read when tables, manifest, or half of the segment
 * itself are gone. What it cannot say is which values are current: replaced and deleted ones are in it until it is
 * collected. Records come in the order of their places; of a key with several the last one in the file is kept, which
 * is most likely, but not certainly, the newest in it.
 *
 * Damage is counted by the engine and makes the exit code 3, whatever was saved. A crash leaves a segment without a
 * footer; in such a one damage cannot be told from writes that were under way, and neither makes it 3.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli.h"
#include "json.h"
#include "target.h"
#include "text.h"
#include "value.h"

struct salvage {
    const struct cli_args *args;
    bool json, list;
    struct target *target; /* NULL: nothing is written */
    uint64_t written, present, left_out;
    bool failed; /* a file or standard output could not be written */
};

/* ---- one record ----------------------------------------------------------------------------------------------- */

static void list_json(const nokv_salvage_record *record)
{
    json_t *object = json_object();
    json_set_bytes(object, "key", record->key, false);
    json_object_set_new(object, "sequence",
                        record->sequence > 0 ? json_integer((json_int_t)record->sequence) : json_null());
    json_object_set_new(object, "size", json_integer((json_int_t)record->value.size));
    json_object_set_new(object, "offset", json_integer((json_int_t)record->off));
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static void list_plain(const nokv_salvage_record *record)
{
    escape_print(stdout, record->key.data, record->key.size);
    if (record->sequence > 0)
        printf("\t%" PRIu64, record->sequence);
    else
        printf("\t-");
    printf("\t%zu\t%" PRIu64 "\n", record->value.size, record->off);
}

static void write_record(struct salvage *salvage, const nokv_salvage_record *record)
{
    const char *why;
    struct value_reader value = {0};
    value_of_bytes(&value, record->value.data, record->value.size);
    switch (target_write(salvage->target, record->key, &value, &why)) {
    case TARGET_WRITTEN:
        salvage->written++;
        break;
    case TARGET_PRESENT:
        salvage->present++;
        break;
    case TARGET_FAILED:
        salvage->failed = true;
        /* fall through */
    case TARGET_REFUSED:
    case TARGET_CONFLICT:
    case TARGET_NO_VALUE: /* it is at hand */
        cli_left_out(salvage->args, record->key.data, record->key.size, why);
        salvage->left_out++;
        break;
    }
    value_deinit(&value);
}

static bool take(void *arg, const nokv_salvage_record *record)
{
    struct salvage *salvage = arg;
    if (salvage->list && salvage->json)
        list_json(record);
    else if (salvage->list)
        list_plain(record);
    if (salvage->target)
        write_record(salvage, record);
    if (ferror(stdout))
        salvage->failed = true;
    return !salvage->failed;
}

/* ---- the report ----------------------------------------------------------------------------------------------- */

static void report_json(const struct salvage *salvage, const nokv_salvage_report *report)
{
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {
        {"segment", report->number},
        {"records", report->records},
        {"value_bytes", report->value_bytes},
        {"padding_bytes", report->padding_bytes},
        {"unfinished_bytes", report->unfinished_bytes},
        {"damaged_bytes", report->damaged_bytes},
        {"left_out", salvage->left_out},
    };
    json_t *object = json_object();
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        json_object_set_new(object, members[i].name, json_integer((json_int_t)members[i].value));
    json_object_set_new(object, "sealed", json_boolean(report->sealed));
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static void report_plain(const struct salvage *salvage, const nokv_salvage_report *report)
{
    char a[TEXT_SIZE], b[TEXT_SIZE];
    printf("  segment                      %" PRIu64 ", %s\n", report->number,
           report->sealed ? "sealed" : "not sealed: in use, left by a crash, or cut short");
    printf("  sound records                %s, %s of values\n", text_count(a, report->records),
           text_bytes(b, report->value_bytes));
    if (salvage->target)
        printf("  files written                %s%s%s\n", text_count(a, salvage->written),
               salvage->present > 0 ? "; there already " : "",
               salvage->present > 0 ? text_count(b, salvage->present) : "");
    if (salvage->left_out > 0)
        printf("  keys left out                %s\n", text_count(a, salvage->left_out));
    printf("  padding                      %s\n", text_bytes(a, report->padding_bytes));
    printf("  unfinished                   %s\n", text_bytes(a, report->unfinished_bytes));
    printf("  damaged                      %s\n", text_bytes(a, report->damaged_bytes));
}

/* ---- the run -------------------------------------------------------------------------------------------------- */

static enum cli_exit salvage_file(struct salvage *salvage)
{
    nokv_salvage_report report;
    nokv_status status = nokv_vlog_salvage(salvage->args->positionals[0], take, salvage, &report);
    if (salvage->failed)
        return CLI_FAILED;
    if (status != NOKV_OK) {
        cli_status_error(salvage->args, status);
        return CLI_FAILED;
    }
    if (salvage->json)
        report_json(salvage, &report);
    else
        report_plain(salvage, &report);
    if (report.damaged_bytes > 0)
        return CLI_FAILED;
    return salvage->left_out > 0 ? CLI_DIFFERS : CLI_OK;
}

/* A directory that is missing or holds nothing. */
static bool is_vacant(const char *path)
{
    DIR *directory = opendir(path);
    if (!directory)
        return true; /* opening it as the target says what is wrong */
    bool vacant = true;
    for (struct dirent *entry; vacant && (entry = readdir(directory)) != NULL;)
        vacant = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(directory);
    return vacant;
}

static enum cli_exit salvage_into(struct salvage *salvage, const char *directory)
{
    const struct cli_args *args = salvage->args;
    if (!cli_flag(args, "force") && !is_vacant(directory))
        return cli_usage_error(args, "%s is not empty; with --force its files are replaced", directory);
    struct target target;
    enum cli_exit code = CLI_FAILED;
    if (target_open(&target, directory, true)) {
        salvage->target = &target;
        code = salvage_file(salvage);
    } else {
        cli_error(args, "%s: %s", directory, strerror(errno));
    }
    salvage->target = NULL;
    target_close(&target);
    return code;
}

static enum cli_exit salvage_run(const struct cli_args *args)
{
    const char *directory = cli_value(args, "into");
    struct salvage salvage = {
        .args = args, .json = cli_flag(args, "json"), .list = !directory || cli_flag(args, "list")};
    if (!directory && cli_flag(args, "force"))
        return cli_usage_error(args, "--force belongs to --into DIR");
    return directory ? salvage_into(&salvage, directory) : salvage_file(&salvage);
}

static const struct cli_option salvage_options[] = {
    {"into", 'i', "DIR", "write each value to DIR/KEY; DIR is made, or is empty"},
    {"force", 'f', NULL, "--into: DIR is not empty; files in it are replaced"},
    {"list", 'l', NULL, "list the records, also with --into (without it: always)"},
    {"json", 'j', NULL, "one JSON object per line; the last one is the report"},
    {0},
};

const struct cli_command salvage_command = {
    .name = "salvage",
    .summary = "save the values out of a damaged segment of the value log",
    .usage = "FILE [--into DIR [--force]] [--list] [--json]",
    .description = "Reads a segment of the value log, vlog/NUMBER.vlog, without its database, and\n"
                   "passes by what is damaged. Lists KEY<TAB>SEQUENCE<TAB>SIZE<TAB>OFFSET for each\n"
                   "sound record (sequence '-': written ahead of its number), or writes the values\n"
                   "to files. Ends with a report:\n"
                   "\n"
                   "  padding     places that were given up; nothing was lost\n"
                   "  unfinished  the segment is not sealed: what a crash left, or damage\n"
                   "  damaged     lost\n"
                   "\n"
                   "A segment also holds values that were replaced or deleted since; only the\n"
                   "database knows which are current. With --into a later record of a key\n"
                   "overwrites an earlier one. Keys that are no safe path are named and left out, as\n"
                   "by export. Exit code 0: nothing is damaged; 3: something is, or FILE cannot be\n"
                   "read; 1: keys were left out. Never writes to FILE.",
    .examples = "  nokv salvage films.db/vlog/000012.vlog\n"
                "  nokv salvage films.db/vlog/000012.vlog --into saved\n"
                "  nokv salvage films.db/vlog/000012.vlog --json | jq -c 'select(.key)'",
    .options = salvage_options,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = salvage_run,
};
