// SPDX-License-Identifier: Apache-2.0
/*
 * tests/sim/run.h - one run of the simulation: a disk, and on it a few lives of a process with the engine, one after
 * the other, each with its clients, its faults and its end.
 *
 *      run_main ─┬─ life: open ─ clients at work (workload.c, faults.c) ─ end: close, kill or power cut ─┬─ last open
 *                │        └─ at many switch points: copies of the disk crash and recover (examine.c)     │
 *                └──────────────────────────── what survived goes on ────────────────────────────────────┘
 *
 * Everything follows from struct run_config. All of it happens on threads of the scheduler (sched.h).
 */
#ifndef TESTS_SIM_RUN_H
#define TESTS_SIM_RUN_H

#include "db/db.h"
#include "io/sim.h"
#include "oracle.h"
#include "sched.h"

/* X(kind, name) What may go wrong. */
#define FAULT_LIST(X)                                                     \
    X(SHORT, "short transfers and EINTR")                                 \
    X(READ_ERROR, "EIO from a read")                                      \
    X(WRITE_ERROR, "EIO from a write, a part of it done")                 \
    X(SYNC_ERROR, "EIO from a sync, the data lost")                       \
    X(NAME_ERROR, "EIO from a rename, unlink, list, sync of a directory") \
    X(NO_SPACE, "ENOSPC once")                                            \
    X(FULL_DISK, "a full disk, later room again")                         \
    X(OPEN_FILES, "EMFILE from an open")                                  \
    X(MAP_ERROR, "ENOMEM from an mmap")                                   \
    X(MEMORY, "a failed allocation")                                      \
    X(THREAD, "a thread that cannot be started")                          \
    X(CLOCK, "a clock that jumps, a disk that takes long")                \
    X(WAKE, "a wait that ends for no reason")                             \
    X(CUT_RECOVERY, "a recovery that crashes")                            \
    X(BIT_FLIP, "a flipped bit at rest")                                  \
    X(TRUNCATED, "a file cut short at rest")                              \
    X(STALE, "a file of an earlier time")

enum fault {
#define FAULT_ENUM_(kind, name) FAULT_##kind,
    FAULT_LIST(FAULT_ENUM_)
#undef FAULT_ENUM_
        FAULT_COUNT
};
#define FAULTS_ALL ((1u << FAULT_COUNT) - 1)

/* How a copy of the disk, or a life, ends. */
enum crash { CRASH_KILL, CRASH_POWER_CUT, CRASH_DAMAGE, CRASH_KINDS };

struct run_config {
    uint64_t seed;          /* options, workload, faults, damage */
    uint64_t schedule_seed; /* of the scheduler */
    uint32_t ops_max;       /* of each client in each life */
    uint32_t lives_max;
    uint32_t clients_max;
    uint32_t faults;      /* a bit for each kind that may happen */
    uint32_t crash_gap;   /* switch points from one crash to the next, on average; 0: no crashes of copies */
    uint64_t crash_first; /* the first crashes, up to this one, are left out */
    bool is_traced;
    bool syncs_lie; /* a planted mistake: the disk forgets what it says it has synced */
};

void run_config_init(struct run_config *c, uint64_t seed);

/* Sums over runs; zeroed at first. */
struct run_totals {
    uint64_t runs, lives, operations, failed_operations, disk_steps, points, switches, threads;
    uint64_t crash_moments, crashes[CRASH_KINDS], cut_recoveries, verified;
    uint64_t opens_refused;                          /* with a clear error, after damage or a fault */
    uint64_t lives_ended[CRASH_KINDS], lives_closed; /* lives of the run itself */
    uint64_t drawn[FAULT_COUNT], happened[FAULT_COUNT];
    uint64_t direct_bytes, moved_bytes, reclaimed_bytes, flushes, compactions;
};

/* Shared with the process that watches this one. */
struct run_report {
    struct run_totals totals;
    uint64_t hash;            /* of the last run */
    struct run_config config; /* of the run that is under way */
    uint32_t life, ops_done;
    uint64_t crash;
    char message[1200], threads[4096];
};

/* The result of a run goes into *report; a violation ends the process. REQUIRES: nothing else runs. */
void run_execute(const struct run_config *config, struct run_report *report);
const char *fault_name(enum fault fault);

/* ---- inside of a run ------------------------------------------------------------------------------------------- */

struct faults {
    uint64_t random;
    uint32_t enabled;                 /* in this life */
    enum fault planned;               /* for the disk; FAULT_COUNT: nothing */
    uint64_t memory_at;               /* the allocation that fails; UINT64_MAX: none */
    bool is_suspended;                /* memory_at counts from the resumption on */
    uint64_t creations_failed;        /* of threads, before this life */
    uint64_t failures, sync_failures; /* of the disk, that were seen */
    bool disk_is_full;
    /* what has happened in this life */
    bool has_failed;  /* something that callers may hear of */
    bool sync_failed; /* what was written and not synced may be gone */
};

struct run {
    struct run_config config;
    struct run_report *report;
    struct oracle oracle;
    struct sim *sim;
    struct sim *earlier; /* the disk as it was some time ago, for stale files; NULL: none */
    struct faults faults;
    uint64_t random; /* of the run as a whole */
    uint64_t crash_random;
    nokv_options options; /* of this life */
    struct io *io;
    nokv_db *db;       /* NULL: none is open */
    bool has_crashed;  /* the power is off */
    bool is_uncertain; /* the last life ended so that what was not synced may be gone; until the next open */
    bool is_examining; /* a copy of the disk is being looked at */
    uint32_t client_count, writer_count;
};

extern const char run_dir[];

/* faults.c */
void faults_begin_life(struct run *run, bool is_quiet);
/* Between two operations of a client: perhaps something will go wrong soon. */
void faults_tick(struct run *run);
/* Look what has happened; nothing goes wrong any more after the second. */
void faults_look(struct run *run);
void faults_end(struct run *run);
/* While a copy of the disk is examined, memory is there. */
void faults_suspend(struct run *run);
void faults_resume(struct run *run);
/* Is this status one that a caller may get now? Says why not as a violation that names `what`. */
void faults_judge(struct run *run, enum nokv_status status, const char *what);

/* workload.c */
void workload_options_draw(struct run *run);
/* All clients of a life, from the first operation to the last. */
void workload_run(struct run *run);
/* The whole content of a database against a window; *out_window (may be NULL): what it may be. With `is_damaged` keys
 * may be unreadable (CORRUPT). */
void workload_check_all(struct run *run, nokv_db *db, const nokv_snapshot *snapshot, const struct window *w,
                        bool is_damaged, const char *what, struct window *out_window);

/* examine.c */
/* Copies of the disk crash now and then from here on. */
void examine_plan(struct run *run);
/* Wait until no copy is being looked at. */
void examine_wait(struct run *run);
/* What is promised to survive when the disk as it is now crashes, or has crashed. */
void examine_window(const struct run *run, enum crash crash, struct window *out_window);
/* How the disk's files must be right after an open: nothing there that nobody uses. */
void examine_orphans(struct sim *sim, nokv_db *db, const char *what);

#endif
