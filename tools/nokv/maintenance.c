// SPDX-License-Identifier: Apache-2.0
/*
 * maintenance.c - `nokv dump` and `nokv compact`: look into a single file, bring a range of keys to the bottom level.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "text.h"

/* ---- dump ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    nokv_file_kind kind;
} file_kinds[] = {
    {"wal", NOKV_FILE_WAL}, {"manifest", NOKV_FILE_MANIFEST}, {"sst", NOKV_FILE_SST}, {"vlog", NOKV_FILE_VLOG}};

static bool print_line(void *arg, const char *line)
{
    (void)arg;
    return puts(line) >= 0;
}

static enum cli_exit dump_run(const struct cli_args *args)
{
    for (size_t i = 0; i < sizeof file_kinds / sizeof file_kinds[0]; i++) {
        if (strcmp(args->positionals[0], file_kinds[i].name) != 0)
            continue;
        nokv_status status = nokv_dump_file(args->positionals[1], file_kinds[i].kind, print_line, NULL);
        if (status == NOKV_OK)
            return CLI_OK;
        cli_status_error(args, status);
        return CLI_FAILED;
    }
    return cli_usage_error(args, "'%s' is not a kind of file: wal, manifest, sst or vlog", args->positionals[0]);
}

static const struct cli_option no_options[] = {{0}};

const struct cli_command dump_command = {
    .name = "dump",
    .summary = "print one file of a database, record by record",
    .usage = "(wal | manifest | sst | vlog) FILE",
    .description = "Prints a log, a manifest, a table or a segment of the value log for people,\n"
                   "without opening the database and without writing anything. Damage is shown where\n"
                   "it is, and makes the exit code 3. The formats are described in docs/formats/.",
    .examples = "  nokv dump manifest doc.db/MANIFEST-000001\n"
                "  nokv dump sst doc.db/000007.sst | less\n"
                "  nokv dump vlog doc.db/vlog/000009.vlog | tail -n 1",
    .options = no_options,
    .positionals_min = 2,
    .positionals_max = 2,
    .run = dump_run,
};

/* ---- compact -------------------------------------------------------------------------------------------------- */

static const struct cli_option compact_options[] = {
    {"from", 'f', "KEY", "the first key of the range (default: the first)"},
    {"to", 't', "KEY", "the last key, inclusive (default: the last there is)"},
    {"hex", 'x', NULL, "the keys are hexadecimal"},
    CLI_VLOG_OPTIONS,
    {0},
};

static bool range_end(const struct cli_args *args, const char *name, struct bytes *out)
{
    const char *text = cli_value(args, name);
    if (!text)
        return true;
    if (!cli_flag(args, "hex"))
        bytes_append(out, text, strlen(text));
    else if (!hex_decode(text, out)) {
        cli_usage_error(args, "--%s: '%s' is not hexadecimal", name, text);
        return false;
    }
    return true;
}

static enum cli_exit compact_database(const struct cli_args *args, const struct bytes *first, const struct bytes *last)
{
    nokv_db *db;
    enum cli_exit code = cli_open_tuned(args, args->positionals[0], CLI_WRITE, &db);
    if (code != CLI_OK)
        return code;
    nokv_status status = nokv_compact_range(db, first->size > 0 ? first->data : NULL, first->size,
                                            last->size > 0 ? last->data : NULL, last->size);
    code = status == NOKV_OK ? CLI_OK : cli_status_error(args, status);
    return cli_close(args, db, code);
}

static enum cli_exit compact_run(const struct cli_args *args)
{
    struct bytes first = {0}, last = {0};
    enum cli_exit code = CLI_USAGE;
    if (range_end(args, "from", &first) && range_end(args, "to", &last))
        code = compact_database(args, &first, &last);
    bytes_deinit(&first);
    bytes_deinit(&last);
    return code;
}

const struct cli_command compact_command = {
    .name = "compact",
    .summary = "merge a range of keys down to the bottom level",
    .usage = "DB [--from KEY] [--to KEY] [OPTION...]",
    .description = "Writes what is in memory to tables and merges every key from --from to --to\n"
                   "(both inclusive) down to the bottom level: deleted and replaced entries give\n"
                   "their space back; what they had in the value log becomes garbage there, for\n"
                   "'nokv vlog gc'. Values in the tables, from --separate-min on, move out of them.\n"
                   "Compaction happens by itself; this is for the moment after a large delete.",
    .examples = "  nokv compact people.db\n"
                "  nokv compact people.db --from a --to b\n"
                "  nokv compact people.db --separate-min 256  # larger values leave the tables",
    .options = compact_options,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = compact_run,
};
