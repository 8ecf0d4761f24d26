// SPDX-License-Identifier: Apache-2.0
/*
 * main.c - `nokv`: finds the command in the table, parses its arguments, runs it.
 *
 * To add a command: a struct cli_command in a file of its own, its name in cli.h, a line in the table below.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const struct cli_command *const commands[] = {
    &put_command,    &get_command,    &delete_command,  &scan_command,      &import_command,
    &export_command, &verify_command, &stats_command,   &dump_command,      &compact_command,
    &probe_command,  &vlog_command,   &salvage_command, &residency_command, &iolab_command,
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void print_overview(FILE *out)
{
    fprintf(out,
            "nokv %s - the embedded key-value engine NoKV from the command line\n\n"
            "Usage: nokv COMMAND [OPTION...] [ARGUMENT...]\n\nCommands:\n",
            nokv_version());
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
    fputs("  help      show this text, or the help of a command\n"
          "\n"
          "A database is a directory; put and import create it. Keys and values are any\n"
          "bytes. 'nokv COMMAND --help' explains a command and shows examples.\n"
          "\n"
          "Examples:\n"
          "  nokv put people.db ada \"first programmer\"\n"
          "  nokv get people.db ada\n"
          "  nokv scan people.db --prefix a --json\n"
          "  nokv import /usr/share/doc doc.db\n"
          "  nokv verify doc.db --against /usr/share/doc\n"
          "\n"
          "Exit codes: 0 done, 1 not found, different or left out, 2 wrong usage,\n"
          "3 I/O error, corruption, or the database is in use.\n",
          out);
}

static const struct cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static enum cli_exit unknown_command(const char *name)
{
    fprintf(stderr, "nokv: unknown command '%s'\nTry 'nokv --help'.\n", name);
    return CLI_USAGE;
}

/* A command's messages need a command: what main() itself prints belongs to "help". */
static const struct cli_args help_args = {.command = &(const struct cli_command){.name = "help"}};

static enum cli_exit run_help(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stdout);
        return cli_finish_output(&help_args, CLI_OK);
    }
    const struct cli_command *command = find_command(argv[1]);
    if (!command)
        return unknown_command(argv[1]);
    cli_print_help(stdout, command);
    return cli_finish_output(&help_args, CLI_OK);
}

static enum cli_exit run_command(const struct cli_command *command, int argc, char **argv)
{
    struct cli_args args;
    bool done;
    enum cli_exit code = cli_parse(command, argc, argv, &args, &done);
    if (code == CLI_OK && !done)
        code = command->run(&args);
    return cli_finish_output(&args, code);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("nokv %s\n", nokv_version());
        return (int)cli_finish_output(&help_args, CLI_OK);
    }
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return (int)run_help(argc - 1, argv + 1);
    const struct cli_command *command = find_command(name);
    return command ? (int)run_command(command, argc - 1, argv + 1) : (int)unknown_command(name);
}
