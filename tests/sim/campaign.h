// SPDX-License-Identifier: Apache-2.0
/*
 * tests/sim/campaign.h - many runs in processes of their own, the watch over them, and the shrinking of what they find.
 */
#ifndef TESTS_SIM_CAMPAIGN_H
#define TESTS_SIM_CAMPAIGN_H

#include "run.h"

enum { JOBS_MAX = 64, FINDINGS_MAX = 64 };

struct campaign {
    uint64_t first_seed, seed_count;
    uint64_t crashes_wanted; /* stop when there were so many crash points, seeds left or not; 0: all seeds */
    unsigned jobs;
    double seconds_max; /* start no run after so long; 0: no limit */
    bool shows_progress;
    /* how each run differs from what its seed says; NULL: in nothing */
    void (*change)(struct run_config *config);
};

struct finding {
    struct run_config config; /* shrunk */
    char message[1200];
};

struct campaign_result {
    struct run_totals totals;
    uint64_t seeds_done, violations;
    double seconds;
    struct finding findings[FINDINGS_MAX];
};

void campaign_run(const struct campaign *c, struct campaign_result *out_result);
/* One run in a process of its own. False: a violation, in *report. */
bool campaign_try(const struct run_config *config, struct run_report *report);
/* The same, in a process that has done another run before; the totals are those of both. */
bool campaign_try_after(const struct run_config *before, const struct run_config *config, struct run_report *report);
/* Fewer operations, lives, clients, faults and crashes, as long as there is a violation: at most `tries` runs. */
void campaign_shrink(struct run_config *config, struct run_report *report, unsigned tries);
void campaign_print(const struct campaign_result *r);
/* The command that repeats a run. */
void campaign_print_command(const struct run_config *c);
uint64_t campaign_crashes(const struct run_totals *t);
/* Memory that processes which are forked share, zeroed. */
void *campaign_shared(size_t size);

#endif
