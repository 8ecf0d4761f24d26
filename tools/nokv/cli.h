// SPDX-License-Identifier: Apache-2.0
/*
 * cli.h - what the commands of `nokv` share: the shape of a command, its parsed arguments, exit codes, messages.
 *
 * A command is one entry of the table in main.c: a name, what to print for --help, its options and a function. The
 * function gets parsed arguments, returns an enum cli_exit and prints its own messages through cli_error().
 *
 * The tool uses include/nokv/ only. Memory that cannot be had ends the process (cli_alloc): whatever was acknowledged
 * is in the database, so that dying is safe.
 */
#ifndef NOKV_CLI_H
#define NOKV_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <nokv/nokv.h>

enum cli_exit {
    CLI_OK = 0,
    CLI_DIFFERS = 1, /* not found, a difference, or something that was left out */
    CLI_USAGE = 2,   /* the command line is wrong; nothing was done */
    CLI_FAILED = 3,  /* I/O, corruption, the database is busy */
};

/* An option of a command; a list ends with a NULL name. */
struct cli_option {
    const char *name;     /* without the dashes */
    char letter;          /* short form, 0 for none */
    const char *argument; /* how the help calls its argument; NULL for a flag */
    const char *help;     /* '\n' starts a new, aligned line */
};

#define CLI_POSITIONALS_ANY 1000000

struct cli_args;

struct cli_command {
    const char *name;
    const char *summary;     /* one line for the list of commands */
    const char *usage;       /* what follows the name */
    const char *description; /* a paragraph, lines of at most 79 columns */
    const char *examples;    /* lines, indented by two */
    const struct cli_option *options;
    int positionals_min, positionals_max;
    enum cli_exit (*run)(const struct cli_args *args);
};

#define CLI_OPTIONS_MAX 16

struct cli_args {
    const struct cli_command *command;
    const char *values[CLI_OPTIONS_MAX]; /* by the option's index; "" for a flag that was given, NULL for absent */
    char **positionals;
    int positional_count;
};

/* The commands, one per line of the table in main.c. */
extern const struct cli_command put_command, get_command, delete_command, scan_command;
extern const struct cli_command import_command, export_command, verify_command;
extern const struct cli_command stats_command, dump_command, compact_command, probe_command;
extern const struct cli_command vlog_command, salvage_command;
extern const struct cli_command residency_command, iolab_command;

/* ---- arguments (args.c) --------------------------------------------------------------------------------------- */

/* Parse what follows the command's name. CLI_OK with *done set after --help. A wrong line was reported: CLI_USAGE. */
enum cli_exit cli_parse(const struct cli_command *command, int argc, char **argv, struct cli_args *out_args,
                        bool *out_done);
void cli_print_help(FILE *out, const struct cli_command *command);

/* The option `name` of the command's table (asserted): was it given; its argument or NULL. */
bool cli_flag(const struct cli_args *args, const char *name);
const char *cli_value(const struct cli_args *args, const char *name);
/* The option's argument as a decimal number in [min, max], *out_number untouched when absent. Reports what is wrong. */
bool cli_number(const struct cli_args *args, const char *name, uint64_t min, uint64_t max, uint64_t *out_number);
/* The same for a number with a fraction, as 1.25. */
bool cli_ratio(const struct cli_args *args, const char *name, double min, double max, double *out_ratio);

/* ---- messages (args.c) ---------------------------------------------------------------------------------------- */

/* "nokv: get: ..." on standard error. */
void cli_error(const struct cli_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "nokv: export: left out: KEY: why", the key escaped and, when it is long, cut. */
void cli_left_out(const struct cli_args *args, const void *key, size_t key_size, const char *why);
/* The same with a hint at --help; returns CLI_USAGE. */
enum cli_exit cli_usage_error(const struct cli_args *args, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The engine's message of the call that just failed; returns the exit code that fits `status`. */
enum cli_exit cli_status_error(const struct cli_args *args, nokv_status status);
/* Flush standard output; CLI_FAILED with a message when something did not reach it, `code` otherwise. */
enum cli_exit cli_finish_output(const struct cli_args *args, enum cli_exit code);

/* ---- the database (args.c) ------------------------------------------------------------------------------------ */

enum cli_open { CLI_READ, CLI_WRITE, CLI_CREATE };

/* Open the database and report a failure: CLI_OK or CLI_FAILED. CLI_READ never writes a byte below the directory. */
enum cli_exit cli_open(const struct cli_args *args, const char *path, enum cli_open mode, nokv_db **out_db);
/*
 * The same with what --separate-min and --direct-min say, for a command whose table has CLI_VLOG_OPTIONS; CLI_USAGE
 * when they make no sense. Where only one is given it moves the other's default along.
 */
enum cli_exit cli_open_tuned(const struct cli_args *args, const char *path, enum cli_open mode, nokv_db **out_db);
/* clang-format off */
#define CLI_VLOG_OPTIONS                                                                                            \
    {"separate-min", 0, "SIZE", "values from SIZE on go to the value log: 512, 16K,\n1M, or none (default 512)"},    \
    {"direct-min", 0, "SIZE", "values from SIZE on go there directly, ahead of the\nlog and written once (default 16K)"}
/* clang-format on */
/* Close a database that was opened for reading (cannot fail), or `code` made worse by a close that failed. */
enum cli_exit cli_close(const struct cli_args *args, nokv_db *db, enum cli_exit code);
/* Write options for --sync, where the command has that option. */
nokv_write_options cli_write_options(const struct cli_args *args);

#endif
