// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_report.h - results files: read, put in order, printed as Markdown, HTML and JSON.
 *
 * A line of a results file is a record: one phase of one run of one engine. Records with the same data set make a
 * chapter. In a chapter, a row is a workload with what came before it and a number of threads, a column is an engine,
 * and a cell holds a sample per round. Tables are built once (struct grid) and rendered in each format.
 */
#ifndef NOKV_BENCH_REPORT_H
#define NOKV_BENCH_REPORT_H

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- records -------------------------------------------------------------------------------------------------- */

/* The figures of a record, by their name in the results file; NAN when it is not there. */
#define RECORD_FIGURES(X)       \
    X(ops)                      \
    X(seconds)                  \
    X(ops_per_sec)              \
    X(mb_per_sec)               \
    X(p50_us)                   \
    X(p99_us)                   \
    X(p999_us)                  \
    X(max_us)                   \
    X(cpu_us_per_op)            \
    X(other_cores)              \
    X(user_bytes)               \
    X(device_bytes)             \
    X(blockdev_bytes)           \
    X(disk_bytes)               \
    X(disk_peak_bytes)          \
    X(peak_rss_bytes)           \
    X(peak_anon_bytes)          \
    X(space_amp)                \
    X(space_amp_peak)           \
    X(write_amp)                \
    X(write_amp_blockdev)       \
    X(syscalls_per_op)          \
    X(minor_faults_per_op)      \
    X(major_faults_per_op)      \
    X(device_read_bytes_per_op) \
    X(memory_used_bytes)        \
    X(background_ops)           \
    X(inserted)                 \
    X(found)                    \
    X(missing)

struct quantile {
    double part; /* 0 to 1; 1 is the longest */
    double us;
};

/* What is known of the machine of a record; empty or 0 where it is not. */
struct machine {
    const char *cpu, *kernel, *filesystem;
    uint64_t cpus, memory_bytes, read_ahead_bytes;
};

/* Texts belong to the report; equal texts are the same pointer. */
struct record {
    const char *engine, *version, *workload;
    const char *after;       /* the workload that wrote before it in the same process; "" for the first */
    const char *terms;       /* how the engine was set up; "" when not recorded */
    const char *uncounted;   /* why system calls were not counted; "" when they were, or nobody wanted it */
    const char *memory_note; /* what is weak about the memory limit; "" mostly */
    bool mixed;              /* sizes of values vary; value_size is their mean, or 0 */
    struct machine machine;
    unsigned generation; /* overwrites before it, itself included */
    unsigned round, threads, filter_bits;
    uint64_t keys, value_size, memory_bytes, wrong;
    uint64_t memory_limit_bytes; /* in force; 0: none */
#define X(name) double name;
    RECORD_FIGURES(X)
#undef X
    struct quantile *latency; /* ascending; of p50, p99, p99.9 and the maximum when the file has no more */
    size_t latency_count;
    size_t order;    /* of appearance */
    size_t row;      /* of its chapter */
    size_t column;   /* of its chapter */
    uint64_t sample; /* round and repetition: what was measured side by side has the same number */
};

struct report {
    size_t count, capacity;
    struct record *records;
    char **texts;
    size_t text_count, text_capacity;
    char error[256]; /* why the last report_add() returned false */
};

/* Take in one JSON line; false, with a reason in report->error, when it is no record. A zeroed report is an empty one.
 */
bool report_add(struct report *report, const char *line);
/* Take in a results file; a line that is no record ends the program with a message. */
void report_read(struct report *report, const char *path);
/* Release what the report holds, and the report; NULL is fine. */
void report_free(struct report *report);
/* `array` of items of `size` bytes, `count` in use, with room for one more. */
void *report_room(void *array, size_t count, size_t *capacity, size_t size);

/* ---- chapters ------------------------------------------------------------------------------------------------- */

enum { CHAPTER_ENGINES_MAX = 64 };

struct chapter {
    size_t count;
    struct record **records; /* by row, column, sample */
    size_t row_count, engine_count;
    const struct record **rows;                        /* the first record of each, in order of appearance */
    char **row_names;                                  /* "settle after overwrite 2, 2 threads" */
    const struct record *engines[CHAPTER_ENGINES_MAX]; /* the first record of each; nokv, if there, is the first */
    size_t colours[CHAPTER_ENGINES_MAX];               /* numbers of the engines, the same in all chapters */
    size_t *cells; /* where the records of (row, column) begin; one more at the end */
    unsigned rounds;
    char name[160];  /* "10000000x100-256MiB": of keys, value size and memory budget */
    char label[160]; /* "10 M × 100 B", "4 M × 1000 B in 1 GiB" */
    char title[256]; /* the label, and what else is fixed */
};

/* The chapters of a report, in order of appearance; borrows the report, whose records get row, column and sample. */
struct chapter *chapters_create(struct report *report, size_t *out_count);
void chapters_destroy(struct chapter *chapters, size_t count);

/* A figure of a cell in one sample; NAN when it is missing. `arg` is whatever the figure needs. */
typedef double figure_fn(const struct chapter *c, size_t row, size_t column, uint64_t sample, size_t arg);

/* The member of struct record at offset `arg`. */
double figure_member(const struct chapter *c, size_t row, size_t column, uint64_t sample, size_t arg);
/* That member of a row and of the settle behind it, added up; NAN when there is no settle. */
double figure_settled(const struct chapter *c, size_t row, size_t column, uint64_t sample, size_t arg);

/* Median over the samples of a cell; NAN when there are none. */
double chapter_median(const struct chapter *c, size_t row, size_t column, figure_fn *figure, size_t arg);
/* The same of a member. */
double chapter_cell(const struct chapter *c, size_t row, size_t column, size_t offset);
/* Does any engine have a figure above 0 in this row? */
bool chapter_any(const struct chapter *c, size_t row, size_t offset);
/* The settle that follows a row's writes; the row itself when there is none. */
size_t chapter_settle_row(const struct chapter *c, size_t row);
/* One operation on the database as a whole: settle, reopen. */
bool record_is_whole(const struct record *r);
/* Does this phase only read? */
bool record_reads(const struct record *r);

struct ratio {
    size_t count; /* rounds in which both sides were measured; all else is void when 0 */
    double median, low, high;
    size_t bests[CHAPTER_ENGINES_MAX]; /* columns of the peers that were best in a round, most often first */
    size_t best_count;
};

/* NoKV's figure to the best peer's of the same round (of column `peer` only, if not 0), taken round by round. */
struct ratio chapter_ratio(const struct chapter *c, size_t row, figure_fn *figure, size_t arg, bool lower, size_t peer);
/* The names of the best peers into `buffer`; returns it. */
const char *ratio_bests(const struct chapter *c, const struct ratio *ratio, char *buffer, size_t size);

/* ---- tables --------------------------------------------------------------------------------------------------- */

enum grid_kind {
    GRID_TABLE,
    GRID_PARAGRAPHS, /* two cells each: what is stressed, and the rest */
    GRID_LIST        /* the same */
};

struct grid_cell {
    char *text; /* plain: renderers escape */
    bool strong;
};

struct grid {
    enum grid_kind kind;
    const char *caption; /* static */
    size_t column_count;
    size_t text_columns;     /* the first columns hold text and stand left */
    struct grid_cell *cells; /* row by row; of a table the first row is the header */
    size_t count, capacity;
};

void grid_deinit(struct grid *grid);
void grid_cell(struct grid *grid, const char *format, ...) __attribute__((format(printf, 2, 3)));
void grid_strong(struct grid *grid, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A figure, or "-" when it is NAN. */
void grid_number(struct grid *grid, double value, int decimals, const char *unit);
/* Is there anything but a header? */
bool grid_empty(const struct grid *grid);
/* "a | b" with what Markdown would take for its own escaped. */
void markdown_text(const char *text, FILE *out);
void grid_markdown(const struct grid *grid, FILE *out);

struct table {
    const char *name;
    const char *text;                                          /* one line for --help */
    void (*build)(const struct chapter *c, struct grid *grid); /* leaves an empty grid empty when there is no data */
};
extern const struct table report_tables[]; /* ends with a NULL name */

/* The summary of all chapters (nokv_bench_goals.c): of those whose data is in memory, and of those under a limit. */
enum goals { GOALS_IN_MEMORY, GOALS_LARGER, GOALS_COUNT };
void goals_build(const struct chapter *chapters, size_t count, enum goals which, struct grid *grid);

/* ---- formats -------------------------------------------------------------------------------------------------- */

/* Everything as Markdown. */
void report_print(struct report *report, FILE *out);
/* A page of its own: no script, no font, no picture from elsewhere. */
void report_html(const struct chapter *chapters, size_t count, FILE *out);
/* Charts of one row as inline SVG. */
void chart_bars(const struct chapter *c, size_t row, FILE *out);
void chart_latency(const struct chapter *c, size_t row, FILE *out);
bool chart_has_latency(const struct chapter *c, size_t row);
/* 65536 as "64 KiB", 1000 as "1000 B". */
const char *size_text(uint64_t size, char buffer[32]);
/* Text with what HTML would take for its own escaped. */
void html_text(const char *text, FILE *out);
/* Medians, ratios and goals. */
json_t *report_json(const struct chapter *chapters, size_t count);

/* nokv-bench report FILE... [options]; the arguments behind "report". Returns the exit code. */
int report_execute(int argc, char **argv);

#endif
