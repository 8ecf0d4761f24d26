// SPDX-License-Identifier: Apache-2.0
/*
 * args.c - one parser for all commands, and the messages that they have in common.
 *
 * A command describes its options in a table; from it come the getopt_long() arrays, the help text and the look-up by
 * name that the command uses. Asking for an option that is not in the table is a bug and asserted, so that a typo in a
 * command cannot turn into an option that is silently never set.
 */
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "text.h"

static int option_count(const struct cli_command *command)
{
    int count = 0;
    while (command->options[count].name)
        count++;
    assert(count <= CLI_OPTIONS_MAX);
    return count;
}

static int option_index(const struct cli_command *command, const char *name)
{
    int index = 0;
    while (command->options[index].name && strcmp(command->options[index].name, name) != 0)
        index++;
    assert(command->options[index].name);
    return index;
}

/* getopt's two descriptions of the same options, with --help added. */
static void getopt_tables(const struct cli_command *command, struct option *longs, char *shorts)
{
    int count = option_count(command);
    *shorts++ = ':'; /* report a missing argument apart from an unknown option */
    *shorts++ = 'h';
    for (int i = 0; i < count; i++) {
        const struct cli_option *o = &command->options[i];
        longs[i] = (struct option){o->name, o->argument ? required_argument : no_argument, NULL, 256 + i};
        if (o->letter) {
            *shorts++ = o->letter;
            if (o->argument)
                *shorts++ = ':';
        }
    }
    longs[count] = (struct option){"help", no_argument, NULL, 'h'};
    longs[count + 1] = (struct option){0};
    *shorts = '\0';
}

static int letter_index(const struct cli_command *command, int letter)
{
    for (int i = 0; command->options[i].name; i++)
        if (command->options[i].letter == letter)
            return i;
    return -1;
}

static enum cli_exit check_positionals(const struct cli_args *args)
{
    if (args->positional_count < args->command->positionals_min)
        return cli_usage_error(args, "an argument is missing");
    if (args->positional_count > args->command->positionals_max)
        return cli_usage_error(args, "unexpected argument '%s'", args->positionals[args->command->positionals_max]);
    return CLI_OK;
}

enum cli_exit cli_parse(const struct cli_command *command, int argc, char **argv, struct cli_args *out_args,
                        bool *out_done)
{
    struct option longs[CLI_OPTIONS_MAX + 2];
    char shorts[3 * CLI_OPTIONS_MAX + 3];
    getopt_tables(command, longs, shorts);
    *out_args = (struct cli_args){.command = command};
    *out_done = false;
    opterr = 0;
    optind = 0; /* GNU: as if nothing had been parsed before */
    int found;
    while ((found = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (found == 'h') {
            cli_print_help(stdout, command);
            *out_done = true;
            return CLI_OK;
        }
        if (found == ':')
            return cli_usage_error(out_args, "option '%s' needs an argument", argv[optind - 1]);
        int index = found >= 256 ? found - 256 : found == '?' ? -1 : letter_index(command, found);
        if (index < 0)
            return optopt > 0 && optopt < 256 ? cli_usage_error(out_args, "unknown option '-%c'", optopt)
                                              : cli_usage_error(out_args, "unknown option '%s'", argv[optind - 1]);
        out_args->values[index] = optarg ? optarg : "";
    }
    out_args->positionals = argv + optind;
    out_args->positional_count = argc - optind;
    return check_positionals(out_args);
}

static void print_option(FILE *out, const struct cli_option *o)
{
    char left[64], letter[8] = "    ";
    if (o->letter)
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->argument ? " " : "", o->argument ? o->argument : "");
    if (strlen(left) > 22)
        fprintf(out, "  %s\n%25s", left, "");
    else
        fprintf(out, "  %-22s ", left);
    for (const char *line = o->help; line;) {
        const char *end = strchr(line, '\n');
        fprintf(out, "%.*s\n", end ? (int)(end - line) : (int)strlen(line), line);
        if (end)
            fprintf(out, "%25s", "");
        line = end ? end + 1 : NULL;
    }
}

void cli_print_help(FILE *out, const struct cli_command *command)
{
    fprintf(out, "nokv %s - %s\n\nUsage: nokv %s %s\n\n%s\n\nOptions:\n", command->name, command->summary,
            command->name, command->usage, command->description);
    for (int i = 0; command->options[i].name; i++)
        print_option(out, &command->options[i]);
    static const struct cli_option help = {"help", 'h', NULL, "show this text"};
    print_option(out, &help);
    fprintf(out, "\nExamples:\n%s\n", command->examples);
}

const char *cli_value(const struct cli_args *args, const char *name)
{
    return args->values[option_index(args->command, name)];
}

bool cli_flag(const struct cli_args *args, const char *name)
{
    return cli_value(args, name) != NULL;
}

bool cli_number(const struct cli_args *args, const char *name, uint64_t min, uint64_t max, uint64_t *out_number)
{
    const char *text = cli_value(args, name);
    if (!text)
        return true;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || number < min || number > max) {
        cli_usage_error(args, "--%s: '%s' is not a number from %" PRIu64 " to %" PRIu64, name, text, min, max);
        return false;
    }
    *out_number = number;
    return true;
}

bool cli_ratio(const struct cli_args *args, const char *name, double min, double max, double *out_ratio)
{
    const char *text = cli_value(args, name);
    if (!text)
        return true;
    char *end;
    double ratio = strtod(text, &end);
    if (text[0] < '0' || text[0] > '9' || *end || !(ratio >= min && ratio <= max)) {
        cli_usage_error(args, "--%s: '%s' is not a number from %g to %g", name, text, min, max);
        return false;
    }
    *out_ratio = ratio;
    return true;
}

/* "512", "16K", "1MiB", "none": bytes, UINT32_MAX for none; UINT64_MAX when it is nothing of that. */
static uint64_t parse_size(const char *text)
{
    static const char *const units[] = {"", "K", "M", "G"};
    if (strcmp(text, "none") == 0)
        return UINT32_MAX;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno || number > UINT32_MAX)
        return UINT64_MAX;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t length = strlen(units[i]);
        if (strncmp(end, units[i], length) == 0 && (end[length] == '\0' || (i > 0 && strcmp(end + length, "iB") == 0)))
            return (uint64_t)number << 10 * i;
    }
    return UINT64_MAX;
}

/* The option's argument as a size in [min, max], or "none"; untouched when absent. */
static bool size_option(const struct cli_args *args, const char *name, uint32_t min, uint32_t *out_size)
{
    const char *text = cli_value(args, name);
    if (!text)
        return true;
    uint64_t size = parse_size(text);
    if (size < min || size > UINT32_MAX) {
        cli_usage_error(args, "--%s: '%s' is not a size from %u bytes on (512, 16K, 1M), nor 'none'", name, text, min);
        return false;
    }
    *out_size = (uint32_t)size;
    return true;
}

static void print_error(const struct cli_args *args, const char *format, va_list list)
{
    fflush(stdout); /* keep what was printed before in front of the message */
    fprintf(stderr, "nokv: %s: ", args->command->name);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): both callers have begun it; not seen in a parameter */
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
}

void cli_error(const struct cli_args *args, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    print_error(args, format, list);
    va_end(list);
}

#define NAME_SHOWN_MAX 200

void cli_left_out(const struct cli_args *args, const void *key, size_t key_size, const char *why)
{
    struct bytes name = {0};
    bool cut = key_size > NAME_SHOWN_MAX;
    escape_append(&name, key, cut ? NAME_SHOWN_MAX : key_size);
    cli_error(args, "left out: %.*s%s: %s", (int)name.size, name.data ? name.data : "", cut ? "..." : "", why);
    bytes_deinit(&name);
}

enum cli_exit cli_usage_error(const struct cli_args *args, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    print_error(args, format, list);
    va_end(list);
    fprintf(stderr, "Usage: nokv %s %s\nTry 'nokv %s --help'.\n", args->command->name, args->command->usage,
            args->command->name);
    return CLI_USAGE;
}

enum cli_exit cli_status_error(const struct cli_args *args, nokv_status status)
{
    const char *message = nokv_error_message();
    cli_error(args, "%s", *message ? message : nokv_status_text(status));
    if (status == NOKV_ERR_NOT_FOUND)
        return CLI_DIFFERS;
    return status == NOKV_ERR_INVALID || status == NOKV_ERR_TOO_LARGE ? CLI_USAGE : CLI_FAILED;
}

enum cli_exit cli_finish_output(const struct cli_args *args, enum cli_exit code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    cli_error(args, "standard output: %s", errno ? strerror(errno) : "write error");
    return CLI_FAILED;
}

#define SEPARATE_MIN_DEFAULT 512 /* of the engine, which moves the other default along by itself */

static enum cli_exit open_with(const struct cli_args *args, const char *path, enum cli_open mode, nokv_options *options,
                               nokv_db **out_db)
{
    options->create_if_missing = mode == CLI_CREATE;
    options->read_only = mode == CLI_READ;
    nokv_status status = nokv_open(path, options, out_db);
    if (status == NOKV_OK)
        return CLI_OK;
    cli_status_error(args, status);
    return CLI_FAILED;
}

enum cli_exit cli_open(const struct cli_args *args, const char *path, enum cli_open mode, nokv_db **out_db)
{
    nokv_options options;
    nokv_options_init(&options);
    return open_with(args, path, mode, &options, out_db);
}

enum cli_exit cli_open_tuned(const struct cli_args *args, const char *path, enum cli_open mode, nokv_db **out_db)
{
    nokv_options options;
    nokv_options_init(&options);
    if (!size_option(args, "separate-min", 32, &options.value_separation_min) ||
        !size_option(args, "direct-min", 32, &options.value_direct_min))
        return CLI_USAGE;
    bool both = cli_flag(args, "separate-min") && cli_flag(args, "direct-min");
    if (both && options.value_direct_min < options.value_separation_min)
        return cli_usage_error(args, "--direct-min is less than --separate-min");
    if (!both && options.value_direct_min > 0 && options.value_direct_min < SEPARATE_MIN_DEFAULT)
        options.value_separation_min = options.value_direct_min;
    return open_with(args, path, mode, &options, out_db);
}

enum cli_exit cli_close(const struct cli_args *args, nokv_db *db, enum cli_exit code)
{
    nokv_status status = nokv_close(db);
    if (status == NOKV_OK)
        return code;
    cli_status_error(args, status);
    return CLI_FAILED;
}

nokv_write_options cli_write_options(const struct cli_args *args)
{
    return (nokv_write_options){.struct_size = sizeof(nokv_write_options),
                                .sync = cli_flag(args, "sync") ? NOKV_SYNC_COMMIT : NOKV_SYNC_DEFAULT};
}
