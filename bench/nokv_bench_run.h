// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_run.h - one engine, one process: opens it, walks through a list of phases, measures each.
 */
#ifndef NOKV_BENCH_RUN_H
#define NOKV_BENCH_RUN_H

#include "engines/engine.h"
#include "nokv_bench_data.h"
#include "nokv_bench_latency.h"
#include "nokv_bench_model.h"
#include "nokv_bench_zipf.h"

enum { RUN_PHASES_MAX = 64, RUN_THREADS_MAX = 256 };

/* What a user asks for; the same for every engine of a comparison. */
struct run_options {
    const char *engine;
    const char *workloads; /* "fillrandom,settle,readhit:2": name and, if not `threads`, the number of threads */
    const char *dir;       /* a directory of our own is made below it and removed at the end */
    uint64_t keys;
    size_t value_size; /* the mean one when sizes are mixed */
    bool value_mixed;
    unsigned threads;
    uint64_t seed;
    double seconds;          /* per phase that reads at random or puts durably */
    unsigned overwrite_part; /* overwrite touches every such key: 1 all of them, 4 each fourth */
    uint64_t memory_bytes;
    unsigned filter_bits;
    uint64_t memory_limit_bytes; /* of the whole process, page cache included, from "cold" on; 0: none */
    const char *memory_group;    /* the directory of the cgroup that has this limit; NULL: not made yet */
    unsigned round;              /* copied into the results */
    bool json;
    bool count_syscalls; /* where the kernel lets us; each takes longer then */
    bool stats;          /* after each phase, the engine's own statistics to standard error */
    bool keep;           /* leave the database behind ... */
    bool existing;       /* ... and take up one that was left: it must hold `keys` keys of the same seed */
};

struct run;

/* One thread of one phase. */
struct worker {
    struct run *run;
    const struct engine *engine;
    void *session;
    unsigned index, count; /* this thread of so many */
    uint64_t begin, end;   /* ticks: when counting began (after the warm-up), and when the last operation ended */
    uint64_t last;         /* ticks: the end of the operation before */
    uint64_t warm_until, deadline; /* ticks; 0: none */
    uint64_t ops, ops_all;         /* counted, and with the warm-up */
    uint64_t user_bytes;           /* keys and values that were written, or came back */
    uint64_t put_bytes;            /* those that were put, and keys that were deleted, with the warm-up */
    int64_t live_bytes;            /* what the puts and deletes of this thread added to what is there */
    uint64_t found, missing, wrong;
    uint8_t *value;           /* a buffer for one */
    const _Atomic bool *stop; /* relaxed; of a background thread: the others are done */
    struct latency latency;
};

/* A phase of a run: what its threads do, or (body NULL) what is done to the database as a whole. */
struct workload {
    const char *name;
    const char *text; /* one line for --help */
    void (*body)(struct worker *worker);
    uint64_t (*whole)(struct run *run);        /* returns nanoseconds that do not count */
    void (*background)(struct worker *worker); /* one more thread, until `stop`; its operations do not count */
    void (*prepare)(struct run *run);          /* before the clock starts */
    void (*done)(struct run *run);             /* after the last thread: what the model has to know */
    void (*check)(struct worker *worker);      /* after the figures were taken: counts found, missing and wrong */
    const char *needs;                         /* a workload that must have run before */
    bool fills;   /* needs an empty database: begins a group of phases with a process of its own */
    bool durable; /* the engine is opened for durable puts */
    bool timed;   /* runs for options->seconds after a warm-up of a fifth of that; else a fixed number of operations */
    bool reads;   /* expects a settled database: its files are brought into the page cache first, untimed */
    bool writes;  /* reads, and writes as well */
    bool overwrites; /* makes a new version of the keys */
    bool partial;    /* leaves keys out: nothing can be read after it */
    bool tracks;     /* calls model_track() */
    bool kills;      /* what is before it runs in a process of its own, which is then killed */
    bool cools;      /* what is before it runs in a process of its own, which closes the database; nothing is warmed
                        from here on */
};

extern const struct workload workloads[];                              /* ends with a NULL name */
const struct workload *workload_find(const char *name, size_t length); /* NULL when there is none */

/* Shared with the process that is killed in "kill"; what it points to is constant, or of one process. */
struct run {
    const struct run_options *options;
    const struct engine *engine;
    void *db; /* of this process */
    struct engine_config config;
    struct data data;
    struct model model;
    struct zipf zipf; /* of the phase */
    char dir[4096];
    const char *after;   /* the workload that wrote last: reads after a fill and after overwrites are not the same */
    uint64_t generation; /* of overwrites: the version of the keys that overwrite touches */
    uint64_t live_bytes; /* keys and newest values that are there now */
    uint64_t put_bytes;  /* keys and values put since the first open, those of warm-ups included */
    bool dirty;          /* the last phase wrote: files are brought into the page cache before the next one reads */
    unsigned walked;     /* phases that are done */
    bool failed;         /* something came back wrong */
    bool cold;           /* "cold" was met: files are not brought into the page cache any more */
    uint64_t memory_limit_bytes;                       /* that is in force */
    uint64_t device_bytes_begin, blockdev_bytes_begin; /* before it */
    const char *uncounted;                             /* why system calls are not counted; NULL: they are */
};

/* Close and open again; the phase "reopen". */
uint64_t run_reopen(struct run *run);
/* All work that is due is done and every file is on the disk; the phase "settle". */
uint64_t run_settle(struct run *run);

/* Count one finished operation; false when the phase's time is over. */
static inline bool worker_op(struct worker *w, uint64_t user_bytes)
{
    uint64_t now = ticks_now();
    w->ops_all++;
    if (w->warm_until) {
        w->last = w->begin = now;
        w->found = w->missing = 0;
        if (now >= w->warm_until)
            w->warm_until = 0;
        return true;
    }
    latency_add(&w->latency, now - w->last);
    w->ops++;
    w->user_bytes += user_bytes;
    w->end = w->last = now;
    return !w->deadline || now < w->deadline;
}

const struct engine *engine_find(const char *name); /* NULL when it is not built in */
/* Ends the program with a message when the list of workloads cannot be run. */
void run_check(const struct run_options *options);
/* Remove the database that a run which was killed has left. */
void run_leftovers_remove(const char *dir, const char *engine);
/* Walk through the phases and print a line for each. Returns the exit code: 0, or 1 when something came back wrong. */
int run_execute(const struct run_options *options);

#endif
