// SPDX-License-Identifier: Apache-2.0
/*
 * lab/lab.h - what the parts of the laboratory share: the state of a run, rows of results, child processes.
 *
 * A part is a file iolab_PART.c with one function that fills in rows. A row is one question ("4 KiB out of a table,
 * hot, two threads") with several contenders; each contender has a sample per round, and the rounds of all contenders
 * are interleaved. All of it lies in one mapping that is shared with the child processes, which do the measuring: so a
 * limit on memory, a crash or the killer of processes that are out of memory hits a child, and the report is written
 * all the same.
 */
#ifndef LAB_LAB_H
#define LAB_LAB_H

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "io/io.h"
#include "lab/iolab.h"

enum {
    LAB_CONTENDERS_MAX = 14,
    LAB_ROUNDS_MAX = 7,
    LAB_ROWS_MAX = 128,
    LAB_PATH_SIZE = 4096,
    LAB_PARTS = 5,
    LAB_THREADS_MAX = 16,
    LAB_MODELS = 5, /* the four of enum io_model, and a choice between them */
};
enum { LAB_MODEL_AUTO = IO_MODEL_COUNT };

/* What a sample tells; NAN where it was not measured. */
enum lab_figure {
    LAB_RATE,   /* operations per second */
    LAB_MB_S,   /* megabytes per second */
    LAB_P50_US, /* microseconds per operation */
    LAB_P99_US,
    LAB_CPU_US, /* processor time per operation, of user and kernel */
    LAB_CALLS,  /* system calls per operation */
    LAB_FAULTS, /* major page faults per operation */
    LAB_KEPT,   /* percent of the hot pages that are still in memory */
    LAB_FIGURE_COUNT
};

struct lab_figure_info {
    const char *name; /* in JSON */
    const char *unit;
    bool more_is_better;
};
extern const struct lab_figure_info lab_figures[LAB_FIGURE_COUNT];

struct lab_sample {
    double v[LAB_FIGURE_COUNT];
};

struct lab_contender {
    char name[40];
    unsigned model;  /* enum io_model or LAB_MODEL_AUTO: the colour of its bar */
    char option[12]; /* the value of the row's option that stands for it; "": none does */
    unsigned count;  /* of samples */
    struct lab_sample samples[LAB_ROUNDS_MAX];
    char failed[200]; /* why there is no figure; "" otherwise */
};

/* The options of the engine that rows speak for. */
enum lab_choice {
    LAB_NO_CHOICE,
    LAB_WAL_WRITE,
    LAB_SST_READ,
    LAB_VLOG_READ,
    LAB_VLOG_WRITE,
    LAB_BACKGROUND_IO,
    LAB_CHOICES
};

struct lab_row {
    unsigned part; /* 1 to LAB_PARTS */
    char group[64];
    char label[48];
    char note[240]; /* what exactly was done, where the names do not say it */
    enum lab_figure figure;
    enum lab_choice choice;
    unsigned count;
    struct lab_contender contenders[LAB_CONTENDERS_MAX];
    bool limited;      /* memory was limited */
    bool skipped;      /* note says why */
    uint64_t verified; /* bytes that were read and were right */
    uint64_t wrong;    /* operations that read something else */
};

struct lab_cgroup {
    unsigned version; /* 1 or 2; 0: there is none, `why` says why */
    char parent[LAB_PATH_SIZE];
    bool mounted; /* by us, at `parent` */
    char why[200];
};

struct lab {
    /* set at the start, then constant */
    struct iolab_options options;
    char dir[LAB_PATH_SIZE]; /* ours alone, removed at the end */
    uint64_t seed;
    uint64_t size;
    uint64_t memory;
    unsigned rounds;
    uint64_t slice_ns; /* a sample lasts about this long */
    struct lab_cgroup cgroup;
    char refused[LAB_MODELS][100]; /* "", or why a model cannot be measured here */
    char machine[400];
    char date[40];
    /* written by children, one at a time */
    char error[IOLAB_ERROR_SIZE];
    /* atomic, relaxed: set by a signal handler of the parent; children look at it between samples */
    _Atomic bool stop;
    /* of the parent */
    double seconds;
    unsigned row_count;
    struct lab_row rows[LAB_ROWS_MAX];
};

/* ---- rows (iolab_result.c) ------------------------------------------------------------------------------------- */

/* A row to be filled in. `group` and `label` are copied; there is always room (asserted). */
struct lab_row *lab_row_add(struct lab *lab, unsigned part, enum lab_figure figure, enum lab_choice choice,
                            const char *group, const char *label);
void lab_row_note(struct lab_row *row, const char *format, ...) PRINTF_LIKE(2, 3);
/* A model that the machine refuses has failed already. */
struct lab_contender *lab_contender_add(const struct lab *lab, struct lab_row *row, unsigned model, const char *option,
                                        const char *format, ...) PRINTF_LIKE(5, 6);
/* A sample without any figure. */
struct lab_sample lab_sample_none(void);
void lab_contender_sample(struct lab_contender *c, const struct lab_sample *sample);
/* The same measurements under another figure. */
struct lab_row *lab_row_derive(struct lab *lab, const struct lab_row *from, unsigned part, enum lab_figure figure,
                               enum lab_choice choice, const char *group, const char *label);

struct lab_spread {
    double median, least, most; /* NAN: nothing was measured */
};
struct lab_spread lab_contender_spread(const struct lab_contender *c, enum lab_figure figure);

struct lab_winner {
    int index;       /* -1: none */
    int second;      /* the best of another model, else the next; -1: it was alone */
    double ratio;    /* of the winner to that one, 1 or more */
    bool is_a_tie;   /* it was not better in every round, or they are within 2 % */
    double to_worst; /* 1 or more */
};
struct lab_winner lab_row_winner(const struct lab_row *row);
/* Was contender `a` better than `b` in every round? */
bool lab_row_always_better(const struct lab_row *row, unsigned a, unsigned b);
/* How good contender `index` is beside the best: 1 is the best. NAN: not measured. */
double lab_row_part_of_best(const struct lab_row *row, unsigned index);
/* "1.24 M/s", "3.1 us": `out` has 32 bytes. */
void lab_figure_text(double value, enum lab_figure figure, char out[32]);

/* ---- verdicts (iolab_verdict.c) -------------------------------------------------------------------------------- */

struct lab_verdict_value {
    char option[12];
    double score; /* geometric mean over the rows of its part of the best */
    double worst; /* the least part of the best, and the row in which that was */
    const struct lab_row *worst_row;
    unsigned rows;
    unsigned behind; /* rows in which the best was better in every round */
};
struct lab_verdict {
    const char *component; /* "write-ahead log" */
    const char *option;    /* "wal_write" */
    const char *standard;  /* the engine's default */
    const char *caution;   /* what the figures do not say; NULL: nothing */
    unsigned rows;
    unsigned count;
    struct lab_verdict_value values[LAB_CONTENDERS_MAX]; /* the best first */
    const struct lab_verdict_value *standard_value;      /* NULL: it was not measured */
};
/* False: no row spoke for this option. */
bool lab_verdict_make(const struct lab *lab, enum lab_choice choice, struct lab_verdict *out_verdict);
/* A sentence or two for people. */
void lab_verdict_text(const struct lab_verdict *verdict, char *out, size_t size);

/* ---- children (iolab_child.c) ---------------------------------------------------------------------------------- */

struct lab_task {
    enum nokv_status (*run)(struct lab *lab, struct io *io, void *arg);
    void *arg;
    uint64_t limit_bytes;            /* of memory, where it can be limited; 0: none */
    struct lab_row *row;             /* NULL, or the row whose contenders failed when the child was killed */
    struct lab_contender *contender; /* NULL, or the one contender of it */
};
/*
 * Run a task in a child process and wait for it. A failure is that of the task (its message is this thread's); a child
 * that was killed for its memory is none when it has a row: the contenders without samples say so. ABORTED after
 * Ctrl-C.
 */
enum nokv_status lab_child_run(struct lab *lab, const struct lab_task *task) MUST_CHECK;
bool lab_stopped(const struct lab *lab);

/* What a row's samples are taken with: `measure` takes one of contender `index`. */
struct lab_bench {
    struct lab *lab;
    struct io *io;
    struct lab_row *row;
    enum nokv_status (*measure)(struct lab_bench *bench, unsigned index, struct lab_sample *out_sample);
    void *arg;
};
/* All rounds of the row, interleaved; contenders that have failed are passed over. In a child. */
enum nokv_status lab_rounds_run(struct lab_bench *bench) MUST_CHECK;

/* Threads that begin together; one runs in the caller. The first failure of any, with its message. */
struct lab_crew {
    enum nokv_status (*work)(void *arg, unsigned index);
    void *arg;
    unsigned count;
    pthread_barrier_t start; /* owned by lab_crew_run */
};
enum nokv_status lab_crew_run(struct lab_crew *crew) MUST_CHECK;

/* ---- memory limits (iolab_cgroup.c) ---------------------------------------------------------------------------- */

/* Find out whether memory can be limited; mounts the controller of version 1 below lab->dir where it must. */
void lab_cgroup_find(struct lab *lab);
void lab_cgroup_forget(struct lab *lab);
/* A group with that limit for process `pid`, which must not have touched much yet. */
enum nokv_status lab_cgroup_enter(const struct lab *lab, long pid, uint64_t limit) MUST_CHECK;
void lab_cgroup_remove(const struct lab *lab, long pid); /* REQUIRES: the process has ended */

/* ---- numbers and clocks (iolab_util.c) ------------------------------------------------------------------------- */

struct lab_rng {
    uint64_t state;
};
uint64_t lab_mix(uint64_t x);
uint64_t lab_rng_next(struct lab_rng *rng);
uint64_t lab_rng_below(struct lab_rng *rng, uint64_t count);
/* A permutation of [0, count): the place of `index`. */
uint64_t lab_permute(uint64_t index, uint64_t count, uint64_t seed);
/* The bytes that belong to (seed, index). */
void lab_fill(uint64_t seed, uint64_t index, void *buffer, size_t size);

/* Counters of this process, to be subtracted from each other. */
struct lab_usage {
    uint64_t ns;
    uint64_t cpu_ns;
    uint64_t major_faults;
    uint64_t calls; /* of the I/O layer, all components */
};
struct lab_usage lab_usage_now(struct io *io);
/* The figures of `ops` operations that moved `bytes` since `from`; latencies out of `ns` (NULL: none). */
struct lab_sample lab_usage_sample(struct io *io, const struct lab_usage *from, uint64_t ops, uint64_t bytes,
                                   const struct histogram *ns);
/* dir/name */
void lab_path(const struct lab *lab, const char *name, char out[LAB_PATH_SIZE]);
/* Shared with children; NULL: no memory. */
void *lab_shared_alloc(size_t size);
void lab_shared_free(void *memory, size_t size); /* NULL is accepted */
enum nokv_status lab_file_remove(const struct lab *lab, const char *name) MUST_CHECK;
enum nokv_status lab_dir_remove(const char *path);
/* Fails with NO_SPACE unless that many bytes are free below lab->options.dir. */
enum nokv_status lab_space_check(const struct lab *lab, uint64_t bytes) MUST_CHECK;
enum nokv_status lab_file_drop(struct io *io,
                               const char *path) MUST_CHECK; /* out of the page cache; NOKV_OK if absent */
/* fopen, a function that writes, fclose with their errors. */
enum nokv_status lab_file_write(const char *path, void (*write)(const struct lab *lab, FILE *out),
                                const struct lab *lab) MUST_CHECK;

/* ---- progress (iolab.c) ---------------------------------------------------------------------------------------- */

/* What is being done, on the progress stream. */
void lab_progress(const struct lab *lab, const char *format, ...) PRINTF_LIKE(2, 3);
/* The row is complete: its winner. */
void lab_progress_row(const struct lab *lab, const struct lab_row *row);

/* ---- parts ------------------------------------------------------------------------------------------------------ */

enum nokv_status lab_append(struct lab *lab) MUST_CHECK;
enum nokv_status lab_small(struct lab *lab) MUST_CHECK;
enum nokv_status lab_large(struct lab *lab) MUST_CHECK;
enum nokv_status lab_pollution(struct lab *lab) MUST_CHECK;
enum nokv_status lab_faults(struct lab *lab) MUST_CHECK;

/* ---- reports ---------------------------------------------------------------------------------------------------- */

extern const char *const lab_part_titles[LAB_PARTS + 1];
extern const char *const lab_model_names[LAB_MODELS];
void lab_report_text(const struct lab *lab, FILE *out);
void lab_report_json(const struct lab *lab, FILE *out);
void lab_report_html(const struct lab *lab, FILE *out);
/* One row as a chart (inline SVG). */
void lab_chart_row(const struct lab_row *row, FILE *out);
void lab_html_text(const char *text, FILE *out);

#endif
