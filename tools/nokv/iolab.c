// SPDX-License-Identifier: Apache-2.0
/*
 * iolab.c - `nokv iolab`: the options of the laboratory of I/O models; lab/iolab.h does the work.
 */
#include "lab/iolab.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

/* "64M", "2GiB", "100000": bytes in [min, max]; untouched when absent. */
static bool size_option(const struct cli_args *args, const char *name, uint64_t min, uint64_t max, uint64_t *out_size)
{
    static const char units[] = "KMGT";
    const char *text = cli_value(args, name);
    if (!text)
        return true;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    end += unit != NULL;
    bool whole = *end == '\0' || (unit && strcmp(end, "iB") == 0);
    if (text[0] < '0' || text[0] > '9' || errno || !whole || number > UINT64_MAX >> shift || number << shift < min ||
        number << shift > max) {
        cli_usage_error(args, "--%s: '%s' is not a size from %" PRIu64 " MiB to %" PRIu64 " GiB (64M, 2G)", name, text,
                        min >> 20, max >> 30);
        return false;
    }
    *out_size = (uint64_t)number << shift;
    return true;
}

/* A file that cannot be written is better known before some minutes of work than after. Leaves no empty file behind. */
static bool output_is_writable(const struct cli_args *args, const char *name)
{
    const char *path = cli_value(args, name);
    if (!path || strcmp(path, "-") == 0)
        return true;
    bool existed = access(path, F_OK) == 0;
    FILE *f = fopen(path, "ae");
    if (!f) {
        cli_error(args, "--%s: %s: cannot be written: %s", name, path, strerror(errno));
        return false;
    }
    fclose(f);
    if (!existed)
        (void)remove(path);
    return true;
}

static enum cli_exit iolab_main(const struct cli_args *args)
{
    char error[IOLAB_ERROR_SIZE] = "";
    const char *dir = cli_value(args, "dir"), *json = cli_value(args, "json");
    struct iolab_options options = {.dir = dir ? dir : ".",
                                    .quick = cli_flag(args, "quick"),
                                    .json_path = json,
                                    .html_path = cli_value(args, "html"),
                                    .out = stdout};
    options.seed = (uint64_t)time(NULL);
    if (!size_option(args, "size", IOLAB_SIZE_MIN, IOLAB_SIZE_MAX, &options.size_bytes) ||
        !size_option(args, "memory", IOLAB_SIZE_MIN, IOLAB_SIZE_MAX, &options.memory_bytes) ||
        !cli_number(args, "seed", 0, INT64_MAX, &options.seed))
        return CLI_USAGE;
    if (options.html_path && strcmp(options.html_path, "-") == 0)
        return cli_usage_error(args, "--html needs the name of a file");
    if (!output_is_writable(args, "json") || !output_is_writable(args, "html"))
        return CLI_FAILED;
    options.progress = stderr;
    switch (iolab_run(&options, error)) {
    case IOLAB_OK:
        return CLI_OK;
    case IOLAB_WRONG:
        cli_error(args, "bytes were read that are not those that were written; the rows say where");
        return CLI_FAILED;
    case IOLAB_STOPPED:
        cli_error(args, "interrupted");
        return CLI_DIFFERS;
    default:
        cli_error(args, "%s", error);
        return CLI_FAILED;
    }
}

static const struct cli_option iolab_options[] = {
    {"dir", 'd', "DIR",
     "make the files below DIR, on the disk that is to be\nmeasured (default: the current directory)"},
    {"size", 's', "SIZE",
     "of the large files: 64M, 2G (default 512M, with --quick\n128M); three to four times as much is needed"},
    {"memory", 'm', "SIZE", "where memory is to be short, limit it to this (default:\na quarter of the size)"},
    {"quick", 'q', NULL, "fewer and shorter rounds: some 2 minutes, not 10 to 15"},
    {"seed", 0, "NUMBER", "of everything random (default: the time; it is printed)"},
    {"json", 'j', "FILE",
     "write every figure of every round to FILE as JSON; - is\nstandard output, and there is no summary then"},
    {"html", 0, "FILE", "write the results to FILE as one page with charts"},
    {0},
};

const struct cli_command iolab_command = {
    .name = "iolab",
    .summary = "measure the four I/O models on this machine, by component",
    .usage = "[--quick] [--dir DIR] [--json FILE] [--html FILE]",
    .description = "What do standard I/O, mmap, O_DIRECT and io_uring do for a log, for tables and\n"
                   "for the value log, here? Makes files of the engine's own formats below DIR,\n"
                   "measures through the engine's I/O layer, and removes them. No database is\n"
                   "touched. Five parts:\n"
                   "\n"
                   "  1  append and sync: space and call, the engine's log with 1 and 16 writers,\n"
                   "     tables and segments of the value log written at one go\n"
                   "  2  small random reads out of a table: hot, cold, and with more data than\n"
                   "     memory; 1, 2 and 16 threads\n"
                   "  3  values of 1 KiB to 1 MiB out of the value log: hot, cold, short of memory\n"
                   "  4  pollution: gets of hot records while values are scanned, tables are\n"
                   "     compacted, garbage is collected\n"
                   "  5  costs: major faults, system calls, processor time, huge pages\n"
                   "\n"
                   "In a row all models take turns, several rounds of each; the median counts, and\n"
                   "where the best was not better in every round it is a tie. Every byte that\n"
                   "is read is checked. Where it says so, memory is limited through a cgroup (v1\n"
                   "or v2), which needs the right to make one; without it those rows are left out.\n"
                   "\n"
                   "At the end there is a line per row (the winner, and by how much) and a verdict\n"
                   "per component with the option to set. Measure on the disk that counts, while\n"
                   "nothing else runs. Ctrl-C ends it, reports what there is and removes the files.",
    .examples = "  nokv iolab --quick --html models.html\n"
                "  nokv iolab --dir /mnt/fast --size 2G --json fast.json --html fast.html\n"
                "  nokv iolab --quick --json - | jq '.verdicts[].text'",
    .options = iolab_options,
    .positionals_min = 0,
    .positionals_max = 0,
    .run = iolab_main,
};
