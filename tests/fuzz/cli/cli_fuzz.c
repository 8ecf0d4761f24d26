// SPDX-License-Identifier: Apache-2.0
/*
 * cli_fuzz.c - what the command line reads: arguments, hexadecimal and escaped bytes, acknowledgement lines, numbers.
 *
 * Input: one byte that says which command, or (COMMANDS) the text functions; then its arguments, each up to a zero, or
 * the text. Commands run up to where they open the database, which fails here, after a look at the options that they
 * came up with; so none of them ends well.
 *
 * Checked: what is escaped and decoded is what it was, and what decodes is escaped to the same bytes again; an escaped
 * text has no tab and no newline; a decoded path is relative and leads nowhere upwards; options that reach the engine
 * are within the limits that the command's help names.
 *
 * The mutator puts arguments together from the names of options, and moves them about.
 */
#include <errno.h>

#include "../fuzz.h"
#include "cli.h"
#include "source.h"
#include "text.h"

enum { ARGS_MAX = 24, TEXT_MAX = 4096, HEAD = 1 };

/* A command of this test, for what the others reach only with a database. */
static enum cli_exit sample_run(const struct cli_args *args);
static const struct cli_option sample_options[] = {
    {"ratio", 'r', "R", "a number with a fraction"},
    {"number", 'n', "N", "a number"},
    CLI_VLOG_OPTIONS,
    {0},
};
static const struct cli_command sample_command = {.name = "sample",
                                                  .summary = "",
                                                  .usage = "",
                                                  .description = "",
                                                  .examples = "",
                                                  .options = sample_options,
                                                  .positionals_max = CLI_POSITIONALS_ANY,
                                                  .run = sample_run};

static const struct cli_command *const commands[] = {&put_command,  &get_command,     &delete_command,
                                                     &scan_command, &compact_command, &sample_command};
enum { COMMANDS = ARRAY_COUNT(commands) };

/* ---- what surrounds the commands -------------------------------------------------------------------------------- */

static bool is_inside; /* of a command */
static bool opens;     /* there is a database, for the sample */

nokv_status __wrap_nokv_open(const char *path, const nokv_options *options, nokv_db **out_db);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__real_fopen(const char *path, const char *mode);

nokv_status __wrap_nokv_open(const char *path, const nokv_options *options, nokv_db **out_db)
{
    fuzz_must(path != NULL && options->struct_size == sizeof *options, "options");
    uint32_t separate = options->value_separation_min, direct = options->value_direct_min;
    fuzz_must((separate == 0 || separate >= 32) && (direct == 0 || direct >= 32), "a home below the least");
    fuzz_must(separate == 0 || direct == 0 || direct >= separate, "values that go there directly, but not at a flush");
    if (!opens)
        return FAIL(IO, "there is no database here");
    *out_db = NULL; /* which can be closed */
    return NOKV_OK;
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
    if (!is_inside || mode[0] != 'r') /* the fuzzer writes what it has found */
        return __real_fopen(path, mode);
    errno = ENOENT;
    return NULL;
}

static ssize_t nothing_read(void *cookie, char *data, size_t size)
{
    (void)cookie, (void)data, (void)size;
    return 0;
}

static ssize_t nothing_written(void *cookie, const char *data, size_t size)
{
    (void)cookie, (void)data;
    return (ssize_t)size;
}

/* A stream that is empty, and takes everything. */
static FILE *nowhere(void)
{
    static FILE *file;
    if (file == NULL)
        file = fopencookie(NULL, "r+", (cookie_io_functions_t){.read = nothing_read, .write = nothing_written});
    fuzz_must(file != NULL, "stream");
    clearerr(file);
    return file;
}

/* ---- text ------------------------------------------------------------------------------------------------------- */

static void check_escapes(const uint8_t *data, size_t size)
{
    static struct bytes text, decoded, again;
    text.size = decoded.size = 0;
    escape_append(&text, data, size);
    fuzz_must(memchr(text.data ? text.data : "", '\t', text.size) == NULL, "a tab in escaped text");
    fuzz_must(memchr(text.data ? text.data : "", '\n', text.size) == NULL, "a newline in escaped text");
    fuzz_must(escape_decode(text.data, text.size, &decoded), "escaped text is not decoded");
    fuzz_must(decoded.size == size && (size == 0 || memcmp(decoded.data, data, size) == 0), "decoded to other bytes");
    if (escape_decode((const char *)data, size, &decoded)) {
        text.size = 0;
        escape_append(&text, decoded.data, decoded.size);
        fuzz_must(escape_decode(text.data, text.size, &again) && again.size == decoded.size &&
                      (again.size == 0 || memcmp(again.data, decoded.data, again.size) == 0),
                  "escaped and decoded again it differs");
    }
    escape_print(nowhere(), data, size);
}

static void check_hex(const char *text, size_t size)
{
    static struct bytes decoded;
    bool is_hex = size % 2 == 0 && strspn(text, "0123456789abcdefABCDEF") == size;
    fuzz_must(hex_decode(text, &decoded) == is_hex, "hexadecimal or not");
    hex_print(nowhere(), text, size);
}

/* A line "KEY<TAB>...\n" of the log of acknowledgements. */
static void check_path(const char *text, size_t size)
{
    static struct bytes path;
    const char *tab = memchr(text, '\t', size);
    if (!escape_decode(text, tab ? (size_t)(tab - text) : size, &path) || path_refusal(path.data, path.size) != NULL)
        return;
    fuzz_must(path.size > 0 && path.data[0] != '/' && memchr(path.data, 0, path.size) == NULL, "not a relative path");
    for (size_t i = 0; i + 1 < path.size; i++)
        if (path.data[i] == '.' && path.data[i + 1] == '.')
            fuzz_must((i > 0 && path.data[i - 1] != '/') || (i + 2 < path.size && path.data[i + 2] != '/'),
                      "a path that leads upwards");
}

static void check_utf8(const uint8_t *data, size_t size)
{
    size_t off = 0, n = 1;
    for (; off < size && (n = utf8_length(data + off, size - off)) > 0; off += n)
        fuzz_must(n <= 4 && n <= size - off, "a sequence behind the end");
    fuzz_must(utf8_valid(data, size) == (off == size), "valid or not");
}

static void check_numbers(const uint8_t *data, size_t size)
{
    char text[TEXT_SIZE];
    if (size < 8)
        return;
    uint64_t n = get_u64(data);
    fuzz_must(strlen(text_bytes(text, n)) < TEXT_SIZE && strlen(text_count(text, n)) < TEXT_SIZE, "too long");
    fuzz_must(strlen(text_duration(text, (double)(n >> 20))) < TEXT_SIZE, "too long");
    fuzz_must(strlen(text_elapsed(text, n)) < TEXT_SIZE, "too long");
    fuzz_must(rate_mb(n, n / 2) >= 0 && clock_ns() > 0, "rate");
}

static void check_stream(uint8_t *data, size_t size)
{
    struct bytes all = {0};
    FILE *file = size > 0 ? fmemopen(data, size, "r") : NULL;
    if (file == NULL)
        return;
    size_t most = data[0] % 2 ? size : size / 2;
    fuzz_must(bytes_read_all(file, most, &all) == (size <= most), "a stream that is too long, or not");
    fclose(file);
    bytes_deinit(&all);
}

static void check_text(const uint8_t *data, size_t size)
{
    char *text = cli_alloc(size + 1);
    if (size > 0)
        memcpy(text, data, size);
    check_escapes(data, size);
    check_hex(text, strlen(text));
    check_path(text, size);
    check_utf8(data, size);
    check_numbers(data, size);
    if (hash64(data, size) % 16 == 0)
        check_stream((uint8_t *)text, size);
    free(text);
}

/* ---- commands --------------------------------------------------------------------------------------------------- */

static enum cli_exit sample_run(const struct cli_args *args)
{
    uint64_t number = 5;
    double ratio = 1.5;
    nokv_db *db = NULL;
    if (!cli_number(args, "number", 3, 1000, &number) || !cli_ratio(args, "ratio", 1, 100, &ratio))
        return CLI_USAGE;
    fuzz_must(number >= 3 && number <= 1000 && ratio >= 1 && ratio <= 100, "a number beyond its limits");
    for (int i = 0; i < args->positional_count; i++)
        cli_left_out(args, args->positionals[i], strlen(args->positionals[i]), "for no reason");
    opens = true;
    enum cli_exit code = cli_open_tuned(args, "db", CLI_CREATE, &db);
    opens = false;
    if (code == CLI_OK)
        code = cli_finish_output(args, cli_close(args, db, cli_status_error(args, (nokv_status)number)));
    return code == CLI_DIFFERS ? CLI_FAILED : code;
}

static void run_command(const struct cli_command *command, char *words, size_t size)
{
    char *argv[ARGS_MAX + 2] = {(char *)(uintptr_t) "nokv"};
    int argc = 1;
    for (size_t off = 0; off < size && argc <= ARGS_MAX; off += strlen(words + off) + 1)
        argv[argc++] = words + off;
    struct cli_args args;
    bool done = false;
    enum cli_exit code = cli_parse(command, argc, argv, &args, &done);
    fuzz_must(code == CLI_OK || code == CLI_USAGE, "parsing ended in an odd way");
    if (code != CLI_OK || done)
        return;
    fuzz_must(args.positional_count >= command->positionals_min && args.positional_count <= command->positionals_max,
              "number of arguments");
    code = command->run(&args);
    fuzz_must(code == CLI_USAGE || code == CLI_FAILED, "a command without a database ended well");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char words[TEXT_MAX + 1];
    if (size < HEAD)
        return 0;
    unsigned which = data[0] % (COMMANDS + 1);
    size = u64_min(size - HEAD, TEXT_MAX);
    if (which == COMMANDS) {
        check_text(data + HEAD, size);
        return 0;
    }
    memcpy(words, data + HEAD, size);
    words[size] = 0;
    FILE *in = stdin, *out = stdout, *err = stderr;
    stdin = stdout = stderr = nowhere();
    is_inside = true;
    run_command(commands[which], words, size);
    is_inside = false;
    stdin = in, stdout = out, stderr = err;
    return 0;
}

/* ---- the mutator ------------------------------------------------------------------------------------------------ */

/* Arguments, each with its zero. */
static void words_split(struct fuzz_pieces *p)
{
    for (size_t off = p->head; off < p->size; off = p->ends[p->count - 1]) {
        const uint8_t *zero = memchr(p->data + off, 0, p->size - off);
        if (zero == NULL || !piece_add(p, (size_t)(zero - p->data) + 1 - off))
            break;
    }
    pieces_end(p);
}

static void word_insert(struct fuzz_pieces *p, const struct cli_command *command, uint64_t *random)
{
    static const char *const others[] = {"db",     "key",  "-",          "--", "00ff", "16K",
                                         "1MiB",   "none", "4294967295", "-x", "7",    "18446744073709551616",
                                         "--help", ""};
    const struct cli_option *options = command->options;
    char word[64];
    size_t count = 0;
    while (options[count].name)
        count++;
    const struct cli_option *o = &options[fuzz_draw(random, count)];
    const char *other = others[fuzz_draw(random, ARRAY_COUNT(others))];
    if (fuzz_draw(random, 2))
        snprintf(word, sizeof word, "%s", other);
    else if (fuzz_draw(random, 3) == 0)
        snprintf(word, sizeof word, "-%c", o->letter ? o->letter : 'h');
    else
        snprintf(word, sizeof word, "--%s%s%s", o->name, o->argument && fuzz_draw(random, 2) ? "=" : "",
                 o->argument ? other : "");
    (void)piece_insert(p, fuzz_draw(random, p->count + 1), (const uint8_t *)word, strlen(word) + 1);
}

static size_t text_change(uint8_t *data, size_t size, size_t max, uint64_t *random)
{
    static const char *const parts[] = {"\\x00", "\\t",      "\\n",          "\\",           "..",
                                        "/",     "\xc2\x85", "\xe2\x82\xac", "\xe0\x80\x80", "\xf4\x90\x80\x80",
                                        "00",    "\t"};
    const char *part = parts[fuzz_draw(random, ARRAY_COUNT(parts))];
    size_t at = HEAD + fuzz_draw(random, size - HEAD + 1), n = strlen(part);
    if (n > max - size || fuzz_draw(random, 2))
        return LLVMFuzzerMutate(data, size, max);
    memmove(data + at + n, data + at, size - at);
    memcpy(data + at, part, n);
    return size + n;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    struct fuzz_pieces p;
    if (size < HEAD)
        return LLVMFuzzerMutate(data, size, max_size);
    if (fuzz_draw(&random, 16) == 0)
        data[0] = (uint8_t)fuzz_draw(&random, COMMANDS + 1);
    unsigned which = data[0] % (COMMANDS + 1);
    if (which == COMMANDS)
        return text_change(data, size, max_size, &random);
    pieces_begin(&p, data, HEAD, size, max_size);
    words_split(&p);
    if (p.count == 0 || fuzz_draw(&random, 3) == 0)
        word_insert(&p, commands[which], &random);
    else
        pieces_change(&p, 0, &random);
    return p.size;
}
