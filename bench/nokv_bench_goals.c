// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_goals.c - what NoKV is to reach, and whether the results say that it does.
 *
 * goals[] is a plain description: a row of the results, a figure of it, and two bounds. The target is what must be
 * reached, the aim what is worked towards. Most figures are ratios to the best peer of the same round; a bound may also
 * be a ratio to one named peer, or a plain number. A goal for which the results have no data is left out. The median
 * over the rounds decides; that a round stood beyond the bound is said as well. Chapters that were measured under a
 * memory limit have goals, and a table, of their own.
 */
#include <stdlib.h>
#include <string.h>

#include "engines/engine.h"
#include "nokv_bench_report.h"
#include "nokv_bench_util.h"

#define FIGURE(name) offsetof(struct record, name)

/* What a bound is held against. */
enum against { BEST_PEER, PEER, NUMBER, NOTHING };

struct bound {
    enum against against;
    double value;
    const char *peer; /* of PEER */
};

struct goal {
    const char *name;
    const char *workloads; /* "scan,readseq": the first that the results have; NULL: the whole chapter */
    unsigned threads;
    uint64_t value_size; /* 0: any */
    figure_fn *figure;
    size_t arg;
    bool lower; /* is better */
    const char *unit;
    double scale; /* from the figure to the unit */
    struct bound target, aim;
};

/* Bytes that the process had written for a fill and its settle, per user byte. */
static double figure_written(const struct chapter *c, size_t row, size_t column, uint64_t sample, size_t arg)
{
    return figure_settled(c, row, column, sample, arg) / figure_member(c, row, column, sample, FIGURE(user_bytes));
}

/* User bytes per second of a phase and its settle together. */
static double figure_settled_rate(const struct chapter *c, size_t row, size_t column, uint64_t sample, size_t arg)
{
    return figure_member(c, row, column, sample, FIGURE(user_bytes)) / figure_settled(c, row, column, sample, arg);
}

/* The most of any phase of the chapter in one round; `row` plays no part. */
static double figure_peak(const struct chapter *c, size_t row, size_t column, uint64_t sample, size_t arg)
{
    double peak = NAN;
    (void)row;
    for (size_t i = 0; i < c->row_count; i++)
        peak = fmax(peak, figure_member(c, i, column, sample, arg));
    return peak;
}

/* Keys per second in batches, to those of single gets by as many threads. */
static double figure_batches(const struct chapter *c, size_t row, size_t column, uint64_t sample, size_t arg)
{
    for (size_t i = 0; i < c->row_count; i++)
        if (strcmp(c->rows[i]->workload, "readhit") == 0 && c->rows[i]->threads == c->rows[row]->threads)
            return figure_member(c, row, column, sample, arg) * ENGINE_BATCH_MAX /
                   figure_member(c, i, column, sample, arg);
    return NAN;
}

#define BEST(x)              \
    {                        \
        BEST_PEER, (x), NULL \
    }
#define TO(name, x)       \
    {                     \
        PEER, (x), (name) \
    }
#define PLAIN(x)          \
    {                     \
        NUMBER, (x), NULL \
    }
#define NO_AIM           \
    {                    \
        NOTHING, 0, NULL \
    }
#define RATE figure_member, FIGURE(ops_per_sec), false, "op/s", 1
#define SETTLED_RATE figure_settled_rate, FIGURE(seconds), false, "MB/s", 1e-6

static const struct goal goals_in_memory[] = {
    {"random fill", "fillrandom", 1, 100, RATE, BEST(2.0), BEST(3.5)},
    {"bytes written per user byte, random fill, settled", "fillrandom", 1, 100, figure_written, FIGURE(device_bytes),
     true, "", 1, PLAIN(4.0), PLAIN(3.0)},
    {"p99.9 of puts, random fill", "fillrandom", 1, 100, figure_member, FIGURE(p999_us), true, "us", 1, BEST(1.0),
     BEST(0.1)},
    {"longest put, random fill", "fillrandom", 1, 100, figure_member, FIGURE(max_us), true, "us", 1, BEST(1.0),
     BEST(0.1)},
    {"read hit", "readhit", 1, 100, RATE, BEST(1.1), BEST(1.6)},
    {"read hit", "readhit", 2, 100, RATE, BEST(1.1), BEST(1.6)},
    {"read miss", "readmiss", 1, 100, RATE, BEST(2.0), BEST(3.0)},
    {"read miss", "readmiss", 2, 100, RATE, BEST(2.0), BEST(3.0)},
    {"seek and 50 next", "seek50", 1, 100, RATE, BEST(1.0), BEST(1.3)},
    {"seek and 50 next", "seek50", 2, 100, RATE, BEST(1.0), BEST(1.3)},
    {"YCSB A", "ycsba", 0, 0, RATE, BEST(1.5), BEST(2.0)},
    {"YCSB B", "ycsbb", 0, 0, RATE, BEST(1.1), BEST(2.0)},
    {"YCSB C", "ycsbc", 0, 0, RATE, BEST(1.1), BEST(2.0)},
    {"YCSB D", "ycsbd", 0, 0, RATE, BEST(1.3), BEST(2.0)},
    {"YCSB E", "ycsbe", 0, 0, RATE, BEST(1.0), BEST(1.3)},
    {"YCSB F", "ycsbf", 0, 0, RATE, BEST(1.5), BEST(2.0)},
    {"random fill", "fillrandom", 1, 1000, RATE, BEST(2.0), BEST(3.0)},
    {"read hit", "readhit", 1, 1000, RATE, BEST(1.1), BEST(1.5)},
    {"scan", "scan,readseq,seek50", 1, 1000, RATE, BEST(1.0), BEST(1.2)},
    {"random fill, settled", "fillrandom", 1, 65536, SETTLED_RATE, BEST(3.0), BEST(5.0)},
    {"read hit", "readhit", 1, 65536, RATE, BEST(1.0), BEST(2.0)},
    {"overwrite, settled", "overwrite", 1, 65536, SETTLED_RATE, BEST(3.0), BEST(5.0)},
    {"durable puts", "durable", 1, 0, RATE, BEST(1.0), BEST(1.2)},
    {"durable puts", "durable", 16, 0, RATE, BEST(1.3), BEST(3.0)},
    {"peak anonymous memory", NULL, 0, 0, figure_peak, FIGURE(peak_anon_bytes), true, "MB", 1e-6, TO("rocksdb", 1.0),
     TO("leveldb", 1.0)},
    {"reopen after SIGKILL", "kill", 0, 0, figure_member, FIGURE(seconds), true, "s", 1, TO("rocksdb", 1.0),
     PLAIN(0.3)},
};

static const struct goal goals_larger[] = {
    {"read hit", "readhit", 1, 0, RATE, BEST(1.15), NO_AIM},
    {"read hit", "readhit", 16, 0, RATE, BEST(1.3), NO_AIM},
    {"seek and 50 next", "seek50", 1, 0, RATE, BEST(2.0), NO_AIM},
    {"keys in batches of 64, to single gets", "multiget", 1, 0, figure_batches, FIGURE(ops_per_sec), false,
     "\xc3\x97 own gets", 1, PLAIN(4.0), NO_AIM},
};

static const struct {
    const char *caption;
    const struct goal *goals;
    size_t count;
} tables[GOALS_COUNT] = {
    [GOALS_IN_MEMORY] = {"Goals: NoKV against the best peer of each round", goals_in_memory,
                         sizeof goals_in_memory / sizeof *goals_in_memory},
    [GOALS_LARGER] = {"Goals, larger than memory: NoKV against the best peer of each round", goals_larger,
                      sizeof goals_larger / sizeof *goals_larger},
};

/* ---- selecting ------------------------------------------------------------------------------------------------ */

/* The first row of the workload with the goal's number of threads; false when there is none. */
static bool row_of_workload(const struct chapter *c, const struct goal *goal, const char *name, size_t length,
                            size_t *out_row)
{
    for (size_t row = 0; row < c->row_count; row++) {
        const struct record *r = c->rows[row];
        if (strncmp(r->workload, name, length) == 0 && r->workload[length] == 0 &&
            (goal->threads == 0 || r->threads == goal->threads)) {
            *out_row = row;
            return true;
        }
    }
    return false;
}

static bool row_of_goal(const struct chapter *c, const struct goal *goal, size_t *out_row)
{
    if (goal->value_size && (goal->value_size != c->records[0]->value_size || c->records[0]->mixed))
        return false;
    *out_row = 0;
    if (!goal->workloads)
        return true;
    for (const char *name = goal->workloads; *name;) {
        size_t length = strcspn(name, ",");
        if (row_of_workload(c, goal, name, length, out_row))
            return true;
        name += length + (name[length] == ',');
    }
    return false;
}

static size_t column_find(const struct chapter *c, const char *engine)
{
    for (size_t e = 1; e < c->engine_count; e++)
        if (strcmp(c->engines[e]->engine, engine) == 0)
            return e;
    return 0;
}

/* ---- judging -------------------------------------------------------------------------------------------------- */

/* What one bound is held against: median and range. */
struct reached {
    bool known;
    double median, low, high;
};

static struct reached reach(const struct chapter *c, const struct goal *goal, size_t row, const struct bound *bound)
{
    size_t peer = bound->against == PEER ? column_find(c, bound->peer) : 0;
    if (bound->against == NOTHING)
        return (struct reached){0};
    if (bound->against == NUMBER) {
        double value = chapter_median(c, row, 0, goal->figure, goal->arg) * goal->scale;
        return (struct reached){!isnan(value), value, value, value};
    }
    if (bound->against == PEER && peer == 0)
        return (struct reached){0};
    struct ratio ratio = chapter_ratio(c, row, goal->figure, goal->arg, goal->lower, peer);
    return (struct reached){ratio.count > 0, ratio.median, ratio.low, ratio.high};
}

static bool within(const struct goal *goal, double value, const struct bound *bound)
{
    return goal->lower ? value <= bound->value : value >= bound->value;
}

static const char *verdict(const struct goal *goal, const struct reached *target, const struct reached *aim)
{
    double worst = goal->lower ? target->high : target->low;
    if (!within(goal, target->median, &goal->target))
        return "missed";
    if (!within(goal, worst, &goal->target))
        return "reached, not in each round";
    return aim->known && within(goal, aim->median, &goal->aim) ? "aim reached" : "reached";
}

static void bound_cell(const struct goal *goal, const struct bound *bound, struct grid *grid)
{
    const char *sign = goal->lower ? "at most" : "at least";
    int decimals = fabs(bound->value * 10 - round(bound->value * 10)) < 1e-6 ? 1 : 2;
    if (bound->against == NOTHING)
        grid_cell(grid, "-");
    else if (bound->against == NUMBER)
        grid_cell(grid, "%s %.*f%s%s", sign, decimals, bound->value, *goal->unit ? " " : "", goal->unit);
    else
        grid_cell(grid, "%s %.*f \xc3\x97 %s", sign, decimals, bound->value,
                  bound->against == PEER ? bound->peer : "best peer");
}

/* "2.79 × lmdb (2.59 to 2.99)"; "3.64". */
static void reached_cell(const struct goal *goal, const struct reached *r, const char *peers, struct grid *grid)
{
    if (goal->target.against == NUMBER)
        grid_cell(grid, "%.2f%s%s", r->median, *goal->unit ? " " : "", goal->unit);
    else
        grid_cell(grid, "%.2f \xc3\x97 %s (%.2f to %.2f)", r->median, peers, r->low, r->high);
}

static void figure_cell(const struct chapter *c, const struct goal *goal, size_t row, size_t column, struct grid *grid)
{
    double value = column < c->engine_count ? chapter_median(c, row, column, goal->figure, goal->arg) : NAN;
    char text[16], unit[16] = "";
    if (*goal->unit)
        snprintf(unit, sizeof unit, " %s", goal->unit);
    if (goal->figure == figure_member && goal->arg == FIGURE(ops_per_sec) && !isnan(value))
        grid_cell(grid, "%s/s", bench_human(value, text));
    else
        grid_number(grid, value * goal->scale, value * goal->scale < 99.5 ? 2 : 0, unit);
}

static void goal_add(const struct chapter *c, const struct goal *goal, size_t row, struct grid *grid)
{
    char peers[256];
    struct ratio best = chapter_ratio(c, row, goal->figure, goal->arg, goal->lower,
                                      goal->target.against == PEER ? column_find(c, goal->target.peer) : 0);
    struct reached target = reach(c, goal, row, &goal->target), aim = reach(c, goal, row, &goal->aim);
    const char *words = verdict(goal, &target, &aim);
    if (!target.known)
        return;
    ratio_bests(c, &best, peers, sizeof peers);
    if (goal->workloads && strchr(goal->workloads, ','))
        grid_cell(grid, "%s (%s)", goal->name, c->row_names[row]);
    else if (goal->workloads && c->rows[row]->threads > 1)
        grid_cell(grid, "%s, %u threads", goal->name, c->rows[row]->threads);
    else
        grid_cell(grid, "%s", goal->name);
    if (strcmp(words, "missed") == 0)
        grid_strong(grid, "missed");
    else
        grid_cell(grid, "%s", words);
    reached_cell(goal, &target, peers, grid);
    grid_cell(grid, "%s", c->label);
    bound_cell(goal, &goal->target, grid);
    bound_cell(goal, &goal->aim, grid);
    figure_cell(c, goal, row, 0, grid);
    figure_cell(c, goal, row, best.count ? best.bests[0] : CHAPTER_ENGINES_MAX, grid);
}

/* Has the chapter the kind of goals that stand in this table? */
static bool chapter_fits(const struct chapter *c, enum goals which)
{
    bool limited = c->records[0]->memory_limit_bytes > 0;
    return strcmp(c->engines[0]->engine, "nokv") == 0 && limited == (which == GOALS_LARGER);
}

void goals_build(const struct chapter *chapters, size_t count, enum goals which, struct grid *grid)
{
    static const char *const columns[] = {"goal", "verdict", "reached", "data set", "target", "aim", "nokv", "peer"};
    *grid = (struct grid){
        .caption = tables[which].caption,
        .column_count = sizeof columns / sizeof *columns,
        .text_columns = 6,
    };
    for (size_t i = 0; i < grid->column_count; i++)
        grid_cell(grid, "%s", columns[i]);
    for (const struct goal *goal = tables[which].goals; goal < tables[which].goals + tables[which].count; goal++)
        for (size_t i = 0; i < count; i++) {
            size_t row;
            if (chapter_fits(&chapters[i], which) && row_of_goal(&chapters[i], goal, &row))
                goal_add(&chapters[i], goal, row, grid);
        }
}
