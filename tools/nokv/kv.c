// SPDX-License-Identifier: Apache-2.0
/*
 * kv.c - put, get, delete: one key at a time, from arguments, files or a pipe.
 *
 * An argument is bytes as the shell passed them, "-" stands for standard input, --hex makes the arguments hexadecimal.
 * What comes from standard input or from --file is always taken as it is: somebody who has bytes in a file has no use
 * for their hexadecimal form.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "text.h"

/* Bytes of the argument `text`: itself, decoded hexadecimal, or standard input for "-". */
static bool argument_bytes(const struct cli_args *args, const char *what, const char *text, struct bytes *out)
{
    if (strcmp(text, "-") == 0) {
        if (bytes_read_all(stdin, NOKV_VALUE_SIZE_MAX, out))
            return true;
        cli_error(args, "standard input: %s", errno == EFBIG ? "larger than 1 GiB" : strerror(errno));
        return false;
    }
    if (!cli_flag(args, "hex")) {
        bytes_append(out, text, strlen(text));
        return true;
    }
    if (hex_decode(text, out))
        return true;
    cli_error(args, "%s '%s' is not hexadecimal (an even number of digits 0-9, a-f)", what, text);
    return false;
}

static bool file_bytes(const struct cli_args *args, const char *path, struct bytes *out)
{
    FILE *file = fopen(path, "rbe");
    bool done = file && bytes_read_all(file, NOKV_VALUE_SIZE_MAX, out);
    if (!done)
        cli_error(args, "%s: %s", path, errno == EFBIG ? "larger than 1 GiB, the limit of a value" : strerror(errno));
    if (file)
        fclose(file);
    return done;
}

/* The exit code for a write whose status is known, with the database closed. */
static enum cli_exit finish_write(const struct cli_args *args, nokv_db *db, nokv_status status)
{
    enum cli_exit code = status == NOKV_OK ? CLI_OK : cli_status_error(args, status);
    return cli_close(args, db, code);
}

/* ---- put ------------------------------------------------------------------------------------------------------ */

static const struct cli_option put_options[] = {
    {"file", 'f', "FILE", "the value is what FILE holds"},
    {"hex", 'x', NULL, "KEY and VALUE are hexadecimal"},
    {"sync", 's', NULL, "return when it is on stable storage, so that it\nsurvives a power cut"},
    {0},
};

static enum cli_exit put_bytes(const struct cli_args *args, const struct bytes *key, const struct bytes *value)
{
    nokv_db *db;
    if (cli_open(args, args->positionals[0], CLI_CREATE, &db) != CLI_OK)
        return CLI_FAILED;
    nokv_write_options options = cli_write_options(args);
    return finish_write(args, db, nokv_put(db, key->data, key->size, value->data, value->size, &options));
}

static enum cli_exit put_run(const struct cli_args *args)
{
    const char *file = cli_value(args, "file");
    const char *key_text = args->positionals[1];
    const char *value_text = args->positional_count > 2 ? args->positionals[2] : NULL;
    if (file ? value_text != NULL : value_text == NULL)
        return cli_usage_error(args, "give either VALUE, '-' for standard input, or --file");
    if (value_text && strcmp(key_text, "-") == 0 && strcmp(value_text, "-") == 0)
        return cli_usage_error(args, "only one of KEY and VALUE can come from standard input");
    struct bytes key = {0}, value = {0};
    enum cli_exit code = CLI_USAGE;
    if (argument_bytes(args, "KEY", key_text, &key)) {
        bool have = file ? file_bytes(args, file, &value) : argument_bytes(args, "VALUE", value_text, &value);
        code = have ? put_bytes(args, &key, &value) : file ? CLI_FAILED : CLI_USAGE;
    }
    bytes_deinit(&key);
    bytes_deinit(&value);
    return code;
}

const struct cli_command put_command = {
    .name = "put",
    .summary = "store a value under a key",
    .usage = "DB KEY (VALUE | - | --file FILE) [--hex] [--sync]",
    .description = "Stores VALUE under KEY in the database DB, which is created when it is missing.\n"
                   "An older value is replaced. '-' reads KEY or VALUE from standard input; bytes\n"
                   "from there and from FILE are taken as they are. Put '--' before arguments that\n"
                   "begin with a dash.",
    .examples = "  nokv put people.db ada \"first programmer\"\n"
                "  nokv put people.db ada/portrait --file ada.png --sync\n"
                "  gzip -c notes.txt | nokv put notes.db notes.gz -\n"
                "  nokv put ids.db --hex 0000002a cafe",
    .options = put_options,
    .positionals_min = 2,
    .positionals_max = 3,
    .run = put_run,
};

/* ---- get ------------------------------------------------------------------------------------------------------ */

static const struct cli_option get_options[] = {
    {"hex", 'x', NULL, "KEY is hexadecimal, and so is what is printed"},
    {"file", 'f', "FILE", "write the value to FILE (replaced if it exists)"},
    {0},
};

static enum cli_exit write_value_file(const struct cli_args *args, const char *path, const nokv_value *value)
{
    FILE *file = fopen(path, "wbe");
    bool done = file && fwrite(value->data, 1, value->size, file) == value->size;
    int error = errno;
    if (file && fclose(file) != 0 && done) {
        done = false;
        error = errno;
    }
    if (!done)
        cli_error(args, "%s: %s", path, strerror(error));
    return done ? CLI_OK : CLI_FAILED;
}

static enum cli_exit show_value(const struct cli_args *args, const nokv_value *value)
{
    const char *path = cli_value(args, "file");
    if (path)
        return write_value_file(args, path, value);
    if (cli_flag(args, "hex")) {
        hex_print(stdout, value->data, value->size);
        putchar('\n');
    } else {
        fwrite(value->data, 1, value->size, stdout);
    }
    return CLI_OK;
}

static enum cli_exit get_bytes(const struct cli_args *args, const struct bytes *key)
{
    nokv_db *db;
    if (cli_open(args, args->positionals[0], CLI_READ, &db) != CLI_OK)
        return CLI_FAILED;
    nokv_value value;
    nokv_status status = nokv_get(db, key->data, key->size, NULL, &value);
    enum cli_exit code;
    if (status == NOKV_OK) {
        code = show_value(args, &value);
        nokv_value_release(&value);
    } else if (status == NOKV_ERR_NOT_FOUND) {
        cli_error(args, "%s: not found", args->positionals[1]);
        code = CLI_DIFFERS;
    } else {
        code = cli_status_error(args, status);
    }
    return cli_close(args, db, code);
}

static enum cli_exit get_run(const struct cli_args *args)
{
    struct bytes key = {0};
    enum cli_exit code = argument_bytes(args, "KEY", args->positionals[1], &key) ? get_bytes(args, &key) : CLI_USAGE;
    bytes_deinit(&key);
    return code;
}

const struct cli_command get_command = {
    .name = "get",
    .summary = "print the value of a key",
    .usage = "DB KEY [--hex] [--file FILE]",
    .description = "Prints the value of KEY, byte for byte and without a newline. Exit code 1 when\n"
                   "there is no such key. '-' reads KEY from standard input. Never writes to DB.",
    .examples = "  nokv get people.db ada\n"
                "  nokv get people.db ada/portrait --file /tmp/ada.png\n"
                "  nokv get ids.db --hex 0000002a",
    .options = get_options,
    .positionals_min = 2,
    .positionals_max = 2,
    .run = get_run,
};

/* ---- delete --------------------------------------------------------------------------------------------------- */

static const struct cli_option delete_options[] = {
    {"hex", 'x', NULL, "each KEY is hexadecimal"},
    {"sync", 's', NULL, "return when it is on stable storage, so that it\nsurvives a power cut"},
    {0},
};

/* All keys go in one batch: either all are deleted or none. */
static enum cli_exit fill_delete_batch(const struct cli_args *args, nokv_batch *batch)
{
    for (int i = 1; i < args->positional_count; i++) {
        struct bytes key = {0};
        enum cli_exit code = CLI_USAGE;
        if (argument_bytes(args, "KEY", args->positionals[i], &key)) {
            nokv_status status = nokv_batch_delete(batch, key.data, key.size);
            code = status == NOKV_OK ? CLI_OK : cli_status_error(args, status);
        }
        bytes_deinit(&key);
        if (code != CLI_OK)
            return code;
    }
    return CLI_OK;
}

static enum cli_exit delete_batch(const struct cli_args *args, nokv_batch *batch)
{
    enum cli_exit code = fill_delete_batch(args, batch);
    if (code != CLI_OK)
        return code;
    nokv_db *db;
    if (cli_open(args, args->positionals[0], CLI_WRITE, &db) != CLI_OK)
        return CLI_FAILED;
    nokv_write_options options = cli_write_options(args);
    return finish_write(args, db, nokv_write(db, batch, &options));
}

static enum cli_exit delete_run(const struct cli_args *args)
{
    nokv_batch *batch;
    nokv_status status = nokv_batch_create(&batch);
    if (status != NOKV_OK)
        return cli_status_error(args, status);
    enum cli_exit code = delete_batch(args, batch);
    nokv_batch_destroy(batch);
    return code;
}

const struct cli_command delete_command = {
    .name = "delete",
    .summary = "remove keys",
    .usage = "DB KEY... [--hex] [--sync]",
    .description = "Removes each KEY; all of them or, when something goes wrong, none. A key that is\n"
                   "not there is not an error. '-' reads one KEY from standard input.",
    .examples = "  nokv delete people.db ada ada/portrait\n"
                "  nokv delete ids.db --hex 0000002a --sync",
    .options = delete_options,
    .positionals_min = 2,
    .positionals_max = CLI_POSITIONALS_ANY,
    .run = delete_run,
};
