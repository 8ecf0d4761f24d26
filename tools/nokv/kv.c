// SPDX-License-Identifier: Apache-2.0
/*
 * kv.c - put, get, delete: one key at a time, from arguments, files or a pipe.
 *
 * An argument is bytes as the shell passed them, "-" stands for standard input, --hex makes the arguments hexadecimal.
 * What comes from standard input or from --file is always taken as it is: somebody who has bytes in a file has no use
 * for their hexadecimal form.
 *
 * Values of any size pass through a piece of memory of fixed size: put hands what is longer than VALUE_LARGE to a value
 * writer, which shows nothing before it is committed, and get asks for ranges. Each range is verified before it is
 * written out, so what was written is right even when the rest of the value turns out to be damaged.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "text.h"
#include "value.h"

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
    CLI_VLOG_OPTIONS,
    {0},
};

/* Where a value comes from: its beginning, or all of it, at hand, and the stream that has the rest. */
struct input {
    const char *name; /* for messages */
    FILE *file;       /* NULL: there is no rest */
    uint64_t size;    /* of a regular file; 0: not known */
    struct bytes head;
};

static enum cli_exit input_failure(const struct cli_args *args, const struct input *input)
{
    cli_error(args, "%s: %s", input->name, strerror(errno));
    return CLI_FAILED;
}

static enum cli_exit input_too_large(const struct cli_args *args, const struct input *input)
{
    cli_error(args, "%s: larger than 1 GiB, the limit of a value", input->name);
    return CLI_USAGE;
}

/* Read the beginning. What turns out to be too large by its size alone is refused here. */
static enum cli_exit input_begin(const struct cli_args *args, struct input *input)
{
    struct stat st;
    if (fstat(fileno(input->file), &st) == 0 && S_ISREG(st.st_mode) && st.st_size > ftello(input->file))
        input->size = (uint64_t)(st.st_size - ftello(input->file));
    if (input->size > NOKV_VALUE_SIZE_MAX)
        return input_too_large(args, input);
    bytes_reserve(&input->head, VALUE_LARGE);
    input->head.size = fread(input->head.data, 1, VALUE_LARGE, input->file);
    return ferror(input->file) ? input_failure(args, input) : CLI_OK;
}

/* The value's source, opened: --file, standard input, or the argument itself. */
static enum cli_exit input_open(const struct cli_args *args, struct input *input)
{
    const char *file = cli_value(args, "file"), *text = args->positionals[2];
    if (!file && text && strcmp(text, "-") != 0)
        return argument_bytes(args, "VALUE", text, &input->head) ? CLI_OK : CLI_USAGE;
    input->name = file ? file : "standard input";
    input->file = file ? fopen(file, "rbe") : stdin;
    return input->file ? input_begin(args, input) : input_failure(args, input);
}

static void input_close(struct input *input)
{
    if (input->file && input->file != stdin)
        fclose(input->file);
    bytes_deinit(&input->head);
}

/* Append head and rest to the writer. Reports what goes wrong. */
static enum cli_exit append_input(const struct cli_args *args, struct input *input, nokv_value_writer *writer)
{
    uint64_t total = 0;
    while (input->head.size > 0) {
        total += input->head.size;
        if (total > NOKV_VALUE_SIZE_MAX)
            return input_too_large(args, input);
        if (input->size > 0 && total > input->size) {
            cli_error(args, "%s: it grew while it was read", input->name);
            return CLI_FAILED;
        }
        nokv_status status = nokv_value_writer_append(writer, input->head.data, input->head.size);
        if (status != NOKV_OK)
            return cli_status_error(args, status);
        input->head.size = fread(input->head.data, 1, VALUE_PIECE, input->file);
    }
    return ferror(input->file) ? input_failure(args, input) : CLI_OK;
}

static enum cli_exit put_stream(const struct cli_args *args, nokv_db *db, const struct bytes *key, struct input *input)
{
    nokv_value_writer *writer;
    nokv_write_options options = cli_write_options(args);
    nokv_status status = nokv_value_writer_open(db, key->data, key->size, input->size, &writer);
    if (status != NOKV_OK)
        return cli_status_error(args, status);
    enum cli_exit code = append_input(args, input, writer);
    if (code != CLI_OK) {
        nokv_value_writer_abandon(writer);
        return code;
    }
    status = nokv_value_writer_commit(writer, &options);
    return status == NOKV_OK ? CLI_OK : cli_status_error(args, status);
}

static enum cli_exit put_input(const struct cli_args *args, const struct bytes *key, struct input *input)
{
    nokv_db *db;
    enum cli_exit code = cli_open_tuned(args, args->positionals[0], CLI_CREATE, &db);
    if (code != CLI_OK)
        return code;
    if (input->file && input->head.size >= VALUE_LARGE)
        return cli_close(args, db, put_stream(args, db, key, input));
    nokv_write_options options = cli_write_options(args);
    return finish_write(args, db, nokv_put(db, key->data, key->size, input->head.data, input->head.size, &options));
}

static enum cli_exit put_run(const struct cli_args *args)
{
    const char *key_text = args->positionals[1];
    const char *value_text = args->positional_count > 2 ? args->positionals[2] : NULL;
    if (cli_flag(args, "file") ? value_text != NULL : value_text == NULL)
        return cli_usage_error(args, "give either VALUE, '-' for standard input, or --file");
    if (value_text && strcmp(key_text, "-") == 0 && strcmp(value_text, "-") == 0)
        return cli_usage_error(args, "only one of KEY and VALUE can come from standard input");
    struct bytes key = {0};
    struct input input = {0};
    enum cli_exit code = CLI_USAGE;
    if (argument_bytes(args, "KEY", key_text, &key)) {
        code = input_open(args, &input);
        if (code == CLI_OK)
            code = put_input(args, &key, &input);
    }
    bytes_deinit(&key);
    input_close(&input);
    return code;
}

const struct cli_command put_command = {
    .name = "put",
    .summary = "store a value under a key",
    .usage = "DB KEY (VALUE | - | --file FILE) [OPTION...]",
    .description = "Stores VALUE under KEY in the database DB, which is created when it is missing.\n"
                   "An older value is replaced. '-' reads KEY or VALUE from standard input; bytes\n"
                   "from there and from FILE are taken as they are, up to 1 GiB, and a long value is\n"
                   "never in memory as a whole. Put '--' before arguments that begin with a dash.",
    .examples = "  nokv put people.db ada \"first programmer\"\n"
                "  nokv put people.db ada/portrait --file ada.png --sync\n"
                "  gzip -c notes.txt | nokv put notes.db notes.gz -\n"
                "  nokv put films.db sunrise --file sunrise.mp4 --direct-min 4K\n"
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

/* What went wrong with the output after `off` bytes. */
static enum cli_exit output_failure(const struct cli_args *args, uint64_t off)
{
    const char *path = cli_value(args, "file");
    const char *why = strerror(errno);
    if (off > 0)
        cli_error(args, "%s: %s; it has at most the first %" PRIu64 " bytes", path, why, off);
    else
        cli_error(args, "%s: %s", path, why);
    return CLI_FAILED;
}

static enum cli_exit value_failure(const struct cli_args *args, const struct value_reader *value, uint64_t off)
{
    enum cli_exit code = cli_status_error(args, value->status);
    cli_error(args, "only the first %" PRIu64 " of %" PRIu64 " bytes were written; they are right", off, value->size);
    return code == CLI_DIFFERS ? CLI_FAILED : code;
}

/* Write the value to `out`. A failure of standard output is found at the end of the command, like everybody's. */
static enum cli_exit write_value(const struct cli_args *args, FILE *out, struct value_reader *value)
{
    bool hex = out == stdout && cli_flag(args, "hex");
    uint64_t off = 0;
    nokv_slice piece;
    for (;; off += piece.size) {
        if (!value_piece(value, off, VALUE_PIECE, &piece))
            return value_failure(args, value, off);
        if (piece.size == 0 || ferror(out))
            break;
        if (hex)
            hex_print(out, piece.data, piece.size);
        else if (fwrite(piece.data, 1, piece.size, out) != piece.size && out != stdout)
            return output_failure(args, off);
    }
    if (hex)
        putchar('\n');
    return CLI_OK;
}

static enum cli_exit show_value(const struct cli_args *args, struct value_reader *value)
{
    const char *path = cli_value(args, "file");
    if (!path)
        return write_value(args, stdout, value);
    FILE *file = fopen(path, "wbe");
    if (!file)
        return output_failure(args, 0);
    enum cli_exit code = write_value(args, file, value);
    if (fclose(file) != 0 && code == CLI_OK)
        code = output_failure(args, value->size);
    return code;
}

static enum cli_exit get_bytes(const struct cli_args *args, const struct bytes *key)
{
    nokv_db *db;
    if (cli_open(args, args->positionals[0], CLI_READ, &db) != CLI_OK)
        return CLI_FAILED;
    struct value_reader value = {0};
    nokv_status status = value_of_key(&value, db, (nokv_slice){key->data, key->size});
    enum cli_exit code;
    if (status == NOKV_OK) {
        code = show_value(args, &value);
    } else if (status == NOKV_ERR_NOT_FOUND) {
        cli_error(args, "%s: not found", args->positionals[1]);
        code = CLI_DIFFERS;
    } else {
        code = cli_status_error(args, status);
    }
    value_deinit(&value);
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
                   "there is no such key. '-' reads KEY from standard input. A long value is read\n"
                   "and written piece by piece, each verified first: when one is damaged, what came\n"
                   "before it has been written, and the exit code is 3. Never writes to DB.",
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
