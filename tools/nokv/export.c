// SPDX-License-Identifier: Apache-2.0
/*
 * export.c - `nokv export DB DIR`: each key becomes a file below DIR, the reverse of import. How a value gets into a
 * file, and which keys cannot, is target.c's.
 *
 * What cannot be exported is named on standard error and counted; the others are exported, and the exit code is 1. A
 * value that is damaged in the value log is one of these, but makes it 3: the walk over the keys goes on behind it. A
 * damaged table ends the export, since nobody can say which keys it held.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "progress.h"
#include "target.h"
#include "text.h"
#include "value.h"

struct export
{
    const struct cli_args *args;
    nokv_db *db;
    struct target target;
    struct value_reader value; /* in hand */
    struct progress progress;
    uint64_t files, bytes, present, refused, conflicts, damaged;
    bool failed; /* going on is pointless: a full disk, for one */
};

/* Name the key, count it. */
static void leave_out(struct export *export, uint64_t *counter, nokv_slice key, const char *why)
{
    progress_clear(&export->progress);
    cli_left_out(export->args, key.data, key.size, why);
    ++*counter;
}

static void export_value(struct export *export, nokv_slice key)
{
    const char *why;
    switch (target_write(&export->target, key, &export->value, &why)) {
    case TARGET_WRITTEN:
        export->files++;
        export->bytes += export->value.size;
        break;
    case TARGET_PRESENT:
        export->present++;
        break;
    case TARGET_REFUSED:
        leave_out(export, &export->refused, key, why);
        break;
    case TARGET_CONFLICT:
        leave_out(export, &export->conflicts, key, why);
        break;
    case TARGET_FAILED:
        export->failed = true;
        leave_out(export, &export->conflicts, key, why);
        break;
    case TARGET_NO_VALUE:
        leave_out(export, &export->damaged, key, nokv_error_message());
        break;
    }
}

/* The entry at the iterator, which is then at that entry or, when its value could not be read, behind it. */
static nokv_status export_entry(struct export *export, nokv_iter *iter)
{
    nokv_slice key = nokv_iter_key(iter);
    nokv_status status = value_of_iter(&export->value, export->db, iter);
    if (status == NOKV_OK) {
        export_value(export, key);
        nokv_iter_next(iter);
        return NOKV_OK;
    }
    if (status != NOKV_ERR_CORRUPT && status != NOKV_ERR_IO)
        return status;
    leave_out(export, &export->damaged, key, nokv_error_message());
    struct bytes behind = {0};
    bytes_append(&behind, key.data, key.size);
    bytes_append(&behind, "", 1);
    nokv_iter_seek(iter, behind.data, behind.size);
    bytes_deinit(&behind);
    return NOKV_OK;
}

static nokv_status export_all(struct export *export)
{
    nokv_iter *iter;
    nokv_status status = nokv_iter_create(export->db, NULL, &iter);
    if (status != NOKV_OK)
        return status;
    nokv_iter_first(iter);
    while (status == NOKV_OK && nokv_iter_valid(iter) && !export->failed) {
        status = export_entry(export, iter);
        progress_update(&export->progress, export->bytes, export->files);
    }
    if (status == NOKV_OK)
        status = nokv_iter_status(iter);
    nokv_iter_destroy(iter);
    return status;
}

static void report(const struct export *export)
{
    char a[TEXT_SIZE], b[TEXT_SIZE];
    printf("  files written                %s, %s\n", text_count(a, export->files), text_bytes(b, export->bytes));
    if (export->present > 0)
        printf("  files that were there        %s\n", text_count(a, export->present));
    if (export->refused > 0)
        printf("  keys left out: no safe path  %s\n", text_count(a, export->refused));
    if (export->conflicts > 0)
        printf("  keys left out: in conflict   %s\n", text_count(a, export->conflicts));
    if (export->damaged > 0)
        printf("  keys left out: damaged       %s\n", text_count(a, export->damaged));
}

static enum cli_exit export_to(struct export *export)
{
    progress_begin(&export->progress, "export", 0, cli_flag(export->args, "quiet"));
    nokv_status status = export_all(export);
    progress_end(&export->progress);
    if (!cli_flag(export->args, "quiet"))
        report(export);
    if (status != NOKV_OK) {
        cli_status_error(export->args, status);
        return CLI_FAILED;
    }
    if (export->failed || export->damaged > 0)
        return CLI_FAILED;
    return export->refused + export->conflicts > 0 ? CLI_DIFFERS : CLI_OK;
}

static enum cli_exit export_run(const struct cli_args *args)
{
    struct export export = {.args = args};
    if (cli_open(args, args->positionals[0], CLI_READ, &export.db) != CLI_OK)
        return CLI_FAILED;
    enum cli_exit code = CLI_FAILED;
    if (target_open(&export.target, args->positionals[1], cli_flag(args, "force")))
        code = export_to(&export);
    else
        cli_error(args, "%s: %s", args->positionals[1], strerror(errno));
    target_close(&export.target);
    value_deinit(&export.value);
    return cli_close(args, export.db, code);
}

static const struct cli_option export_options[] = {
    {"force", 'f', NULL, "replace files that exist with other content"},
    {"quiet", 'q', NULL, "no progress and no summary"},
    {0},
};

const struct cli_command export_command = {
    .name = "export",
    .summary = "write each value to a file named by its key",
    .usage = "DB DIR [--force] [--quiet]",
    .description = "The reverse of import: the value of key \"a/b/c\" goes to the file DIR/a/b/c, and\n"
                   "directories are made as needed. A key that could lead out of DIR (absolute, with\n"
                   "'..', '.', an empty component or a NUL byte) is refused, symbolic links in DIR\n"
                   "are not followed, and a file that exists with other content is left alone unless\n"
                   "--force is given; each is named, and the exit code is 1. A value that is damaged\n"
                   "is named, the others are written, and the exit code is 3. A file that holds the\n"
                   "right bytes already is not written again. Never writes to DB.",
    .examples = "  nokv export doc.db restored\n"
                "  nokv export doc.db restored --force",
    .options = export_options,
    .positionals_min = 2,
    .positionals_max = 2,
    .run = export_run,
};
