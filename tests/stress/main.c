// SPDX-License-Identifier: Apache-2.0
/*
 * stress - kills, power cuts, full disks and failing devices, on real files. `stress --help` has the rest.
 *
 * Each mode runs in a process of its own, because those that make file systems have mounts of their own.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stress.h"
#include "test.h"

static const char usage[] =
    "stress [OPTIONS] [MODE...] - is anything lost? Default: all modes, a minute each.\n"
    "\n"
    "  kill           a writing process is killed (SIGKILL); what was acknowledged must be there\n"
    "  powercut-ext4  its file system, in a loop device, is shut down and mounted again; what was synced must be "
    "there\n"
    "  powercut-xfs   the same on XFS\n"
    "  full           its disk fills up and is drained; writes are refused, reads and deletes go on, no restart\n"
    "  fsync          its device refuses what the file system had taken; the first failed sync is final\n"
    "  all            all of them\n"
    "\n"
    "  --rounds N     kills, cuts or cycles of each mode\n"
    "  --minutes N    of each mode; may be a fraction\n"
    "  --figures      as many as docs/reliability.md has: 20,000 kills, 10,000 and 2,000 cuts, 200 cycles, 200 "
    "devices;\n"
    "                 kills with the default durability, cuts and devices with NOKV_SYNC_COMMIT, else it is drawn\n"
    "  --seed N       draw as in an earlier run (threads may still run in another order)\n"
    "  --dir D        where databases are made, for kills: on a disk; default $TMPDIR or /tmp\n"
    "\n"
    "All but kill need root and loop devices; where they are missing they are skipped. Exit status: 0 nothing "
    "violated,\n"
    "1 something was (the seed is said, the database is kept), 2 wrong arguments, 77 nothing could be run.\n";

static int run_ext4(const struct limits *limits)
{
    return mode_power_cut(limits, "ext4");
}

static int run_xfs(const struct limits *limits)
{
    return mode_power_cut(limits, "xfs");
}

static const struct mode {
    const char *name;
    int (*run)(const struct limits *limits);
    uint64_t figure; /* rounds of --figures */
} modes[] = {
    {"kill", mode_kill, 20000}, {"powercut-ext4", run_ext4, 10000}, {"powercut-xfs", run_xfs, 2000},
    {"full", mode_full, 200},   {"fsync", mode_failing_sync, 200},
};

struct arguments {
    struct limits limits;
    bool figures;
    bool wanted[ARRAY_COUNT(modes)];
};

/* ---- for all modes --------------------------------------------------------------------------------------------- */

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double progress_next;
static bool progress_open;

void progress(const char *format, ...)
{
    bool is_terminal = isatty(STDERR_FILENO);
    if (seconds_now() < progress_next)
        return;
    progress_next = seconds_now() + (is_terminal ? 1 : 30);
    va_list args;
    va_start(args, format);
    fputs(is_terminal ? "\r\033[K" : "", stderr);
    vfprintf(stderr, format, args);
    fputs(is_terminal ? "" : "\n", stderr);
    va_end(args);
    progress_open = is_terminal;
}

void progress_end(void)
{
    if (progress_open)
        fputs("\r\033[K", stderr);
    progress_open = false;
}

bool goes_on(const struct limits *limits, uint64_t round, double begin)
{
    return (limits->rounds == 0 || round < limits->rounds) &&
           (limits->seconds == 0 || seconds_now() - begin < limits->seconds);
}

/* ---- arguments ------------------------------------------------------------------------------------------------- */

static bool number_parse(const char *text, double *out)
{
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return errno == 0 && end != text && *end == 0 && *out > 0;
}

static bool seed_parse(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 0);
    return errno == 0 && end != text && *end == 0;
}

static bool mode_parse(const char *name, struct arguments *a)
{
    bool found = false;
    for (size_t i = 0; i < ARRAY_COUNT(modes); i++)
        if (strcmp(name, modes[i].name) == 0 || strcmp(name, "all") == 0)
            a->wanted[i] = found = true;
    return found;
}

static bool option_parse(int option, struct arguments *a)
{
    double number = 0;
    switch (option) {
    case 'r':
        if (!number_parse(optarg, &number) || number < 1)
            return false;
        a->limits.rounds = test_scale((uint64_t)number);
        return true;
    case 'm':
        if (!number_parse(optarg, &number))
            return false;
        a->limits.seconds = number * 60;
        return true;
    case 's':
        return seed_parse(optarg, &a->limits.seed);
    case 'd':
        a->limits.dir = optarg;
        return true;
    case 'f':
        a->figures = true;
        return true;
    default:
        return false;
    }
}

static bool arguments_parse(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"rounds", required_argument, NULL, 'r'}, {"minutes", required_argument, NULL, 'm'},
        {"seed", required_argument, NULL, 's'},   {"dir", required_argument, NULL, 'd'},
        {"figures", no_argument, NULL, 'f'},      {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (!option_parse(option, a))
            return false;
    if (optind == argc)
        return mode_parse("all", a);
    for (int i = optind; i < argc; i++)
        if (!mode_parse(argv[i], a)) {
            fprintf(stderr, "stress: no mode '%s'\n", argv[i]);
            return false;
        }
    return true;
}

static void defaults_set(struct arguments *a)
{
    const char *tmp = getenv("TMPDIR");
    a->limits.dir = tmp && *tmp ? tmp : "/tmp";
    if (getrandom(&a->limits.seed, sizeof a->limits.seed, 0) != (ssize_t)sizeof a->limits.seed)
        a->limits.seed = (uint64_t)time(NULL);
    a->limits.seed %= 1000000000;
}

/* As in every test: NOKV_TEST_SEED repeats a run. */
static void environment_use(struct arguments *a)
{
    const char *seed = getenv("NOKV_TEST_SEED");
    if (seed)
        a->limits.seed = strtoull(seed, NULL, 0);
}

/* ---- running --------------------------------------------------------------------------------------------------- */

static int mode_run(const struct arguments *a, const struct mode *mode)
{
    struct limits limits = a->limits;
    int status = 0;
    if (a->figures)
        limits = (struct limits){.rounds = mode->figure, .seed = limits.seed, .dir = limits.dir, .is_strict = true};
    else if (limits.rounds == 0 && limits.seconds == 0)
        limits.seconds = 60;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        exit(mode->run(&limits));
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    int failed = 0, skipped = 0, passed = 0;
    defaults_set(&a);
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(usage, stdout);
        return 0;
    }
    if (!arguments_parse(argc, argv, &a)) {
        fputs("stress: wrong arguments; stress --help\n", stderr);
        return 2;
    }
    environment_use(&a);
    if (mkdir(a.limits.dir, 0755) != 0 && errno != EEXIST) {
        fprintf(stderr, "stress: %s: %s\n", a.limits.dir, strerror(errno));
        return 2;
    }
    for (size_t i = 0; i < ARRAY_COUNT(modes) && !failed; i++) {
        int status = a.wanted[i] ? mode_run(&a, &modes[i]) : -1;
        passed += status == 0;
        skipped += status == EXIT_SKIPPED;
        failed += status != 0 && status != EXIT_SKIPPED && status != -1;
    }
    return failed ? 1 : passed || !skipped ? 0 : EXIT_SKIPPED;
}
