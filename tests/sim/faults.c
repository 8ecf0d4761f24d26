// SPDX-License-Identifier: Apache-2.0
/*
 * What goes wrong in a life, when, and which answers a caller may get then.
 *
 * Of the disk one thing is planned at a time: the k-th next operation of some kind, on any component or a chosen one,
 * fails. When that has happened the next may be planned. Allocations, threads and the clock are independent of it.
 *
 * A call may fail once something that callers can hear of has happened in this life, or the power is off; never before.
 * Two words are always wrong: CORRUPT, unless a failed sync has thrown data away, and anything that blames the caller.
 */
#include <errno.h>

#include "base/alloc.h"
#include "run.h"
#include "test.h"

enum { TICK_ONE_IN = 16, AHEAD_BITS = 7, ALLOCATIONS_AHEAD = 400, THREADS_AHEAD = 3 };

static const char *const names[FAULT_COUNT] = {
#define FAULT_NAME_(kind, name) name,
    FAULT_LIST(FAULT_NAME_)
#undef FAULT_NAME_
};

const char *fault_name(enum fault fault)
{
    return names[fault];
}

static uint64_t draw(struct run *run, uint64_t below)
{
    return test_random(&run->faults.random) % below;
}

static bool is_enabled(const struct run *run, enum fault fault)
{
    return run->faults.enabled & 1u << fault;
}

static void happened(struct run *run, enum fault fault)
{
    run->report->totals.happened[fault]++;
    sched_trace("has happened: %s", names[fault]);
}

/* ---- planning -------------------------------------------------------------------------------------------------- */

struct disk_fault {
    enum fault fault;
    enum io_op ops[4];
    size_t op_count;
    int err;
};

static const struct disk_fault disk_faults[] = {
    {FAULT_READ_ERROR, {IO_OP_READ}, 1, EIO},
    {FAULT_WRITE_ERROR, {IO_OP_WRITE, IO_OP_PREALLOCATE, IO_OP_TRUNCATE}, 3, EIO},
    {FAULT_SYNC_ERROR, {IO_OP_SYNC}, 1, EIO},
    {FAULT_NAME_ERROR, {IO_OP_NAMESPACE, IO_OP_SYNC_DIR}, 2, EIO},
    {FAULT_NO_SPACE, {IO_OP_WRITE, IO_OP_PREALLOCATE, IO_OP_OPEN, IO_OP_NAMESPACE}, 4, ENOSPC},
    {FAULT_OPEN_FILES, {IO_OP_OPEN}, 1, EMFILE},
    {FAULT_MAP_ERROR, {IO_OP_MAP}, 1, ENOMEM},
};

/* NULL: none is enabled. */
static const struct disk_fault *disk_fault_draw(struct run *run)
{
    size_t first = draw(run, ARRAY_COUNT(disk_faults));
    for (size_t i = 0; i < ARRAY_COUNT(disk_faults); i++) {
        const struct disk_fault *f = &disk_faults[(first + i) % ARRAY_COUNT(disk_faults)];
        if (is_enabled(run, f->fault))
            return f;
    }
    return NULL;
}

static void disk_plan(struct run *run)
{
    const struct disk_fault *f = disk_fault_draw(run);
    if (f == NULL)
        return;
    enum io_component component = draw(run, 2) ? IO_COMPONENT_COUNT : (enum io_component)draw(run, IO_COMPONENT_COUNT);
    enum io_op op = f->ops[draw(run, f->op_count)];
    run->faults.planned = f->fault; /* first: the disk is a switch point */
    sim_fail(run->sim, op, component, 1 + draw(run, 1ull << draw(run, AHEAD_BITS)), f->err, false);
    run->report->totals.drawn[f->fault]++;
    sched_trace("is planned: %s", names[f->fault]);
}

static bool size_add(void *arg, const char *path, uint64_t size)
{
    (void)path;
    *(uint64_t *)arg += align_up(size, SIM_SECTOR);
    return true;
}

static uint64_t disk_used(struct run *run)
{
    uint64_t bytes = 0;
    sim_each_file(run->sim, size_add, &bytes);
    return bytes;
}

static void full_disk_switch(struct run *run)
{
    struct faults *f = &run->faults;
    f->disk_is_full = !f->disk_is_full;
    if (f->disk_is_full) {
        f->has_failed = true; /* before it is: others run as soon as the disk is touched */
        run->report->totals.drawn[FAULT_FULL_DISK]++;
        happened(run, FAULT_FULL_DISK);
        sim_set_capacity(run->sim, disk_used(run) + draw(run, 200 << 10));
    } else {
        sim_set_capacity(run->sim, 0);
    }
    sched_trace("the disk %s", f->disk_is_full ? "is nearly full" : "has room again");
}

static void memory_plan(struct run *run)
{
    uint64_t k = draw(run, ALLOCATIONS_AHEAD);
    run->faults.memory_at = mem_alloc_count() + k;
    mem_fail_after(k);
    run->report->totals.drawn[FAULT_MEMORY]++;
    sched_trace("is planned: %s", names[FAULT_MEMORY]);
}

void faults_tick(struct run *run)
{
    faults_look(run);
    if (run->has_crashed || draw(run, TICK_ONE_IN) != 0)
        return;
    switch (draw(run, 6)) {
    case 0:
        if (is_enabled(run, FAULT_MEMORY) && run->faults.memory_at == UINT64_MAX && !run->faults.is_suspended)
            memory_plan(run);
        break;
    case 1:
        if (is_enabled(run, FAULT_FULL_DISK) && run->faults.memory_at == UINT64_MAX) /* looking at the disk allocates */
            full_disk_switch(run);
        break;
    case 2:
        if (is_enabled(run, FAULT_THREAD)) {
            sched_fail_create(1 + draw(run, THREADS_AHEAD));
            run->report->totals.drawn[FAULT_THREAD]++;
        }
        break;
    default:
        if (run->faults.planned == FAULT_COUNT)
            disk_plan(run);
    }
}

/* ---- looking --------------------------------------------------------------------------------------------------- */

static uint64_t failures(const struct run *run)
{
    uint64_t n = 0;
    for (int op = 0; op <= IO_OP_COUNT; op++)
        n += sim_failures(run->sim, (enum io_op)op);
    return n;
}

/* No switch point, so that no other client looks or plans meanwhile. */
static void disk_look(struct run *run)
{
    struct faults *f = &run->faults;
    uint64_t now = failures(run), syncs = sim_failures(run->sim, IO_OP_SYNC);
    if (now == f->failures)
        return;
    if (f->planned != FAULT_COUNT)
        happened(run, f->planned);
    f->planned = FAULT_COUNT;
    f->has_failed = true;
    f->sync_failed |= syncs > f->sync_failures; /* the disk forgets what was not synced, as Linux may */
    f->failures = now;
    f->sync_failures = syncs;
}

void faults_look(struct run *run)
{
    struct faults *f = &run->faults;
    disk_look(run);
    if (!f->is_suspended && f->memory_at != UINT64_MAX && mem_alloc_count() > f->memory_at) {
        happened(run, FAULT_MEMORY);
        f->has_failed = true;
        f->memory_at = UINT64_MAX;
    }
    struct sched_counts counts;
    sched_counts(&counts);
    f->has_failed |= counts.failed_creations > f->creations_failed;
    if (sim_is_crashed(run->sim) && !run->has_crashed) {
        sched_trace("the power is off");
        run->has_crashed = true;
    }
}

void faults_begin_life(struct run *run, bool is_quiet)
{
    uint64_t random = test_random(&run->random);
    struct sched_counts counts;
    sched_counts(&counts);
    run->has_crashed = false;
    run->faults = (struct faults){.random = random,
                                  .enabled = is_quiet ? 0 : run->config.faults & (uint32_t)test_random(&random),
                                  .planned = FAULT_COUNT,
                                  .creations_failed = counts.failed_creations,
                                  .failures = failures(run),
                                  .sync_failures = sim_failures(run->sim, IO_OP_SYNC),
                                  .memory_at = UINT64_MAX};
}

void faults_end(struct run *run)
{
    sim_fail_clear(run->sim);
    faults_look(run);
    run->faults.planned = FAULT_COUNT;
    sim_set_capacity(run->sim, 0);
    mem_fail_after(UINT64_MAX);
    sched_fail_create(0);
    run->faults.memory_at = UINT64_MAX;
    run->faults.disk_is_full = false;
}

void faults_suspend(struct run *run)
{
    faults_look(run);
    if (run->faults.memory_at != UINT64_MAX)
        run->faults.memory_at -= mem_alloc_count(); /* so many are left */
    run->faults.is_suspended = true;
    mem_fail_after(UINT64_MAX);
}

void faults_resume(struct run *run)
{
    run->faults.is_suspended = false;
    if (run->faults.memory_at == UINT64_MAX)
        return;
    mem_fail_after(run->faults.memory_at);
    run->faults.memory_at += mem_alloc_count();
}

/* ---- judging --------------------------------------------------------------------------------------------------- */

void faults_judge(struct run *run, enum nokv_status status, const char *what)
{
    if (status == NOKV_OK || status == NOKV_ERR_NOT_FOUND)
        return;
    faults_look(run);
    bool is_excused = run->has_crashed || run->faults.has_failed;
    bool is_possible = status == NOKV_ERR_IO || status == NOKV_ERR_NO_SPACE || status == NOKV_ERR_NO_MEMORY ||
                       status == NOKV_ERR_POISONED || (status == NOKV_ERR_CORRUPT && run->faults.sync_failed);
    if (!is_excused || !is_possible)
        sched_violation("%s: %s%s: %s", what, status_name(status), is_excused ? "" : ", and nothing had gone wrong",
                        status_message());
    run->report->totals.failed_operations++;
}
