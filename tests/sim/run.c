// SPDX-License-Identifier: Apache-2.0
/* One run from its first life to its last open: see run.h. */
#include "run.h"

#include <stdio.h>

#include "base/alloc.h"
#include "test.h"

#define POINTS_MAX (200ull << 20)

const char run_dir[] = "db";

void run_config_init(struct run_config *c, uint64_t seed)
{
    uint64_t r = seed;
    static const uint32_t gaps[] = {30, 60, 120, 250, 500};
    *c = (struct run_config){.seed = seed, .schedule_seed = test_random(&r)};
    c->ops_max = 20 + (uint32_t)(test_random(&r) % 120);
    c->lives_max = 1 + (uint32_t)(test_random(&r) % 4);
    c->clients_max = 1 + (uint32_t)(test_random(&r) % WRITERS_MAX);
    uint32_t any = (uint32_t)test_random(&r);
    c->faults = (any | any >> 16 | (uint32_t)test_random(&r)) & FAULTS_ALL;
    c->crash_gap = gaps[test_random(&r) % ARRAY_COUNT(gaps)];
}

static uint64_t draw(struct run *run, uint64_t below)
{
    return test_random(&run->random) % below;
}

/* ---- a life ---------------------------------------------------------------------------------------------------- */

static void life_io_create(struct run *run)
{
    if (sim_io_create(run->sim, &run->io) != NOKV_OK)
        sched_violation("no environment: %s", status_message());
    sched_set_clock(run->io);
}

static void life_io_destroy(struct run *run)
{
    sched_set_clock(NULL);
    io_destroy(TAKE(run->io));
}

/* The disk after the process has ended in one of two ways. */
static void life_crash(struct run *run, enum crash crash)
{
    run->has_crashed = true; /* no copy is looked at until it is said what is promised of it */
    if (crash == CRASH_POWER_CUT)
        sim_power_cut(run->sim);
    else
        sim_process_kill(run->sim);
    run->is_uncertain |= crash == CRASH_POWER_CUT || run->faults.sync_failed;
    run->faults.sync_failed = false;
    run->has_crashed = false;
    sched_trace("%s", crash == CRASH_POWER_CUT ? "power cut" : "kill");
}

/* An open while things go wrong, or that is cut short. Whatever comes of it, the next one works. */
static void life_bad_open(struct run *run)
{
    nokv_db *db = NULL;
    faults_begin_life(run, false);
    life_io_create(run);
    if (draw(run, 2))
        sim_crash_after(run->sim, draw(run, 80));
    for (int i = 0; i < 12; i++)
        faults_tick(run);
    enum nokv_status status = db_open(run->io, run_dir, &run->options, &db);
    sched_trace("an open that may fail: %s", status_name(status));
    faults_judge(run, status, "an open");
    if (status == NOKV_OK) {
        run->db = db;
        status = nokv_close(TAKE(run->db));
        faults_judge(run, status, "a close");
    }
    faults_end(run);
    examine_wait(run);
    life_io_destroy(run);
    life_crash(run, draw(run, 2) ? CRASH_POWER_CUT : CRASH_KILL);
}

/* What survived the last life is what there is from now on. */
static void life_open(struct run *run)
{
    struct window w;
    faults_begin_life(run, true);
    life_io_create(run);
    enum nokv_status status = db_open(run->io, run_dir, &run->options, &run->db);
    if (status != NOKV_OK)
        sched_violation("life %u does not open: %s: %s", run->report->life, status_name(status), status_message());
    examine_wait(run);
    examine_window(run, CRASH_KILL, &w);
    workload_check_all(run, run->db, NULL, &w, false, "after an open", &w);
    examine_wait(run);
    if (oracle_survive(&run->oracle, &w))
        sim_destroy(TAKE(run->earlier)); /* its files may hold what never happened, and whole */
    run->is_uncertain = false;
}

static void life_count(struct run *run)
{
    nokv_stats stats = {.struct_size = sizeof stats};
    struct run_totals *t = &run->report->totals;
    if (nokv_stats_get(run->db, false, &stats) != NOKV_OK)
        return;
    t->direct_bytes += stats.vlog_direct_bytes;
    t->moved_bytes += stats.vlog_moved_bytes;
    t->reclaimed_bytes += stats.vlog_reclaimed_bytes;
    t->flushes += stats.flushes;
    t->compactions += stats.compactions;
    t->lives++;
}

static void life_close(struct run *run)
{
    enum nokv_status status = nokv_close(run->db);
    run->db = NULL;
    sched_trace("close: %s", status_name(status));
    faults_judge(run, status, "a close");
    if (status == NOKV_OK)
        oracle_all_synced(&run->oracle);
    run->report->totals.lives_closed++;
}

static void life_end(struct run *run, bool is_closed)
{
    enum crash crash = draw(run, 2) ? CRASH_POWER_CUT : CRASH_KILL;
    life_count(run);
    faults_end(run);
    examine_wait(run);
    if (is_closed && !run->has_crashed) {
        life_close(run);
        examine_wait(run);
        life_io_destroy(run);
        run->is_uncertain |= run->faults.sync_failed;
        run->faults.sync_failed = false;
        return;
    }
    sim_crash_after(run->sim, 0);
    run->has_crashed = true;
    (void)!nokv_close(TAKE(run->db));
    examine_wait(run);
    life_io_destroy(run);
    life_crash(run, crash);
    run->report->totals.lives_ended[crash]++;
}

static void life_run(struct run *run)
{
    workload_options_draw(run);
    if (draw(run, 3) == 0)
        life_bad_open(run);
    life_open(run);
    run->client_count = 1 + (uint32_t)draw(run, run->config.clients_max);
    run->writer_count = run->client_count > 1 && draw(run, 3) == 0 ? run->client_count - 1 : run->client_count;
    bool is_closed = draw(run, 3) == 0;
    faults_begin_life(run, draw(run, 3) == 0);
    if (!is_closed && draw(run, 2))
        sim_crash_after(run->sim, draw(run, 1500));
    workload_run(run);
    life_end(run, is_closed);
}

/* Nothing goes wrong any more: everything is there, sound and in order. */
static void last_open(struct run *run)
{
    workload_options_draw(run);
    run->options.inline_background_work |= draw(run, 2); /* then nobody else is there, and what is held is counted */
    life_open(run);
    enum nokv_status status = nokv_wait_idle(run->db);
    faults_judge(run, status, "the last wait");
    status = db_check(run->db);
    faults_judge(run, status, "the last check");
    status = nokv_close(TAKE(run->db));
    faults_judge(run, status, "the last close");
    examine_wait(run);
    life_io_destroy(run);
}

/* ---- a run ----------------------------------------------------------------------------------------------------- */

static void run_main(void *arg)
{
    struct run *run = arg;
    struct sim_options options = {.seed = test_random(&run->random), .syncs_lie = run->config.syncs_lie};
    options.short_transfers = run->config.faults & 1u << FAULT_SHORT;
    options.failed_syncs_keep = draw(run, 2);
    run->report->totals.drawn[FAULT_SHORT] += options.short_transfers;
    run->report->totals.happened[FAULT_SHORT] += options.short_transfers;
    oracle_init(&run->oracle, 1);
    if (sim_create(&options, &run->sim) != NOKV_OK)
        sched_violation("no disk: %s", status_message());
    examine_plan(run);
    for (run->report->life = 1; run->report->life <= run->config.lives_max; run->report->life++)
        life_run(run);
    last_open(run);
    run->config.crash_gap = 0;
    sched_call_at(UINT64_MAX, NULL, NULL);
    examine_wait(run);
    sched_note(sim_steps(run->sim));
    run->report->totals.disk_steps += sim_steps(run->sim);
    sim_destroy(run->earlier);
    sim_destroy(run->sim);
    oracle_deinit(&run->oracle);
}

static void schedule_draw(const struct run_config *c, struct sched_options *out)
{
    static const unsigned one_in[] = {2, 4, 16, 64, 400};
    uint64_t r = c->schedule_seed;
    *out = (struct sched_options){.points_max = POINTS_MAX, .is_traced = c->is_traced};
    out->switch_one_in = one_in[test_random(&r) % ARRAY_COUNT(one_in)];
    out->by_priority = test_random(&r) % 3 == 0;
    out->jump_one_in = c->faults & 1u << FAULT_CLOCK ? 64u << test_random(&r) % 8 : 0;
    out->spurious_one_in = c->faults & 1u << FAULT_WAKE ? 16u << test_random(&r) % 6 : 0;
    out->seed = test_random(&r);
}

static void counts_add(struct run_report *report)
{
    struct sched_counts n;
    struct run_totals *t = &report->totals;
    sched_counts(&n);
    t->points += n.points;
    t->switches += n.switches;
    t->threads += n.threads;
    t->drawn[FAULT_CLOCK] += n.jumps;
    t->happened[FAULT_CLOCK] += n.jumps;
    t->drawn[FAULT_WAKE] += n.spurious;
    t->happened[FAULT_WAKE] += n.spurious;
    t->happened[FAULT_THREAD] += n.failed_creations;
    t->runs++;
}

void run_execute(const struct run_config *config, struct run_report *report)
{
    static struct run run;
    struct sched_options schedule;
    memset(&run, 0, sizeof run);
    run.config = *config;
    run.report = report;
    run.random = config->seed;
    run.crash_random = ~config->seed;
    run.faults.planned = FAULT_COUNT;
    run.faults.memory_at = UINT64_MAX;
    report->config = *config;
    report->life = report->ops_done = 0;
    report->crash = 0;
    schedule_draw(config, &schedule);
    sched_run(&schedule, run_main, &run);
    report->hash = sched_hash();
    counts_add(report);
}
