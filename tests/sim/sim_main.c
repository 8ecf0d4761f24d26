// SPDX-License-Identifier: Apache-2.0
/*
 * The command line of the simulation (./dev sim): many seeds with figures at the end, or one with its trace.
 *
 *     sim [--seeds FIRST COUNT] [--crashes N] [--jobs N] [--seconds S]
 *     sim --seed N [--trace] [--schedule S] [--operations N] [--lives N] [--clients N] [--faults MASK] [--crash-gap N]
 *         [--crash-first N] [--lie]
 */
#include <getopt.h>
#include <stdio.h>

#include "campaign.h"
#include "test.h"

enum option_id {
    OPTION_SEEDS = 1,
    OPTION_CRASHES,
    OPTION_JOBS,
    OPTION_SECONDS,
    OPTION_SEED,
    OPTION_TRACE,
    OPTION_SCHEDULE,
    OPTION_OPERATIONS,
    OPTION_LIVES,
    OPTION_CLIENTS,
    OPTION_FAULTS,
    OPTION_CRASH_GAP,
    OPTION_CRASH_FIRST,
    OPTION_LIE
};

static const struct option long_options[] = {
    {"seeds", required_argument, NULL, OPTION_SEEDS},
    {"crashes", required_argument, NULL, OPTION_CRASHES},
    {"jobs", required_argument, NULL, OPTION_JOBS},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"trace", no_argument, NULL, OPTION_TRACE},
    {"schedule", required_argument, NULL, OPTION_SCHEDULE},
    {"operations", required_argument, NULL, OPTION_OPERATIONS},
    {"lives", required_argument, NULL, OPTION_LIVES},
    {"clients", required_argument, NULL, OPTION_CLIENTS},
    {"faults", required_argument, NULL, OPTION_FAULTS},
    {"crash-gap", required_argument, NULL, OPTION_CRASH_GAP},
    {"crash-first", required_argument, NULL, OPTION_CRASH_FIRST},
    {"lie", no_argument, NULL, OPTION_LIE},
    {NULL, 0, NULL, 0},
};

struct command {
    struct campaign campaign;
    struct run_config config;
    bool is_single;
};

static void campaign_option(struct campaign *c, int id, char **argv)
{
    switch (id) {
    case OPTION_SEEDS:
        c->first_seed = strtoull(optarg, NULL, 0);
        if (argv[optind] != NULL)
            c->seed_count = strtoull(argv[optind++], NULL, 0);
        break;
    case OPTION_CRASHES:
        c->crashes_wanted = strtoull(optarg, NULL, 0);
        break;
    case OPTION_JOBS:
        c->jobs = (unsigned)strtoul(optarg, NULL, 0);
        break;
    case OPTION_SECONDS:
        c->seconds_max = strtod(optarg, NULL);
        break;
    default:
        break;
    }
}

static void run_option(struct run_config *c, int id)
{
    uint64_t value = optarg ? strtoull(optarg, NULL, 0) : 0;
    switch (id) {
    case OPTION_TRACE:
        c->is_traced = true;
        break;
    case OPTION_SCHEDULE:
        c->schedule_seed = value;
        break;
    case OPTION_OPERATIONS:
        c->ops_max = (uint32_t)value;
        break;
    case OPTION_LIVES:
        c->lives_max = (uint32_t)value;
        break;
    case OPTION_CLIENTS:
        c->clients_max = (uint32_t)value;
        break;
    case OPTION_FAULTS:
        c->faults = (uint32_t)value & FAULTS_ALL;
        break;
    case OPTION_CRASH_GAP:
        c->crash_gap = (uint32_t)value;
        break;
    case OPTION_CRASH_FIRST:
        c->crash_first = value;
        break;
    case OPTION_LIE:
        c->syncs_lie = true;
        break;
    default:
        break;
    }
}

static bool command_read(struct command *c, int argc, char **argv)
{
    int id;
    while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (id == '?')
            return false;
        if (id == OPTION_SEED) {
            run_config_init(&c->config, strtoull(optarg, NULL, 0));
            c->is_single = true;
        }
        campaign_option(&c->campaign, id, argv);
        run_option(&c->config, id);
    }
    const struct run_config *r = &c->config;
    bool is_sound = !c->is_single ||
                    (r->clients_max >= 1 && r->clients_max <= WRITERS_MAX && r->ops_max <= 1000 && r->lives_max <= 5);
    return optind == argc && c->campaign.jobs >= 1 && c->campaign.jobs <= JOBS_MAX && is_sound;
}

static int single_run(const struct run_config *config)
{
    struct run_report *report = campaign_shared(sizeof *report);
    bool is_sound = campaign_try(config, report);
    printf("seed %llu: %llu lives, %llu operations, %llu switch points, %llu crash points, hash %016llx\n",
           (unsigned long long)config->seed, (unsigned long long)report->totals.lives,
           (unsigned long long)report->totals.operations, (unsigned long long)report->totals.points,
           (unsigned long long)campaign_crashes(&report->totals), (unsigned long long)report->hash);
    if (!is_sound)
        printf("VIOLATION in life %u, operation %u, crash %llu: %s\nthreads:\n%s", report->life, report->ops_done,
               (unsigned long long)report->crash, report->message, report->threads);
    return is_sound ? 0 : 1;
}

int main(int argc, char **argv)
{
    static struct campaign_result result;
    struct command c = {.campaign = {.first_seed = 1, .seed_count = 20000, .jobs = 1, .shows_progress = true}};
    run_config_init(&c.config, 1);
    if (!command_read(&c, argc, argv)) {
        fprintf(stderr, "see ./dev help sim\n");
        return 2;
    }
    if (c.is_single)
        return single_run(&c.config);
    campaign_run(&c.campaign, &result);
    campaign_print(&result);
    return result.violations == 0 ? 0 : 1;
}
