// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_result.c - rows of results: their contenders, medians over the rounds, and who won by how much.
 *
 * A contender's figure is the median of its rounds, its spread the least and the most of them. The winner has the best
 * median, and is compared with the best of another model: that one advice is as good as another says little. It is
 * called a tie unless it was better in every single round and by more than 2 %: rounds are interleaved, so that round
 * by round both had the same weather, and on a machine that is shared less than that is noise. Ratios are never below
 * 1, whichever direction is better.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lab/lab.h"

static const double TIE_RATIO = 1.02;

const struct lab_figure_info lab_figures[LAB_FIGURE_COUNT] = {
    [LAB_RATE] = {"ops_per_sec", "operations per second", true},
    [LAB_MB_S] = {"mb_per_sec", "megabytes per second", true},
    [LAB_P50_US] = {"us_p50", "microseconds, median", false},
    [LAB_P99_US] = {"us_p99", "microseconds, 99th percentile", false},
    [LAB_CPU_US] = {"cpu_us_per_op", "processor microseconds per operation", false},
    [LAB_CALLS] = {"calls_per_op", "system calls per operation", false},
    [LAB_FAULTS] = {"major_faults_per_op", "major faults per operation", false},
    [LAB_KEPT] = {"kept_percent", "percent of the hot pages kept", true},
};

const char *const lab_model_names[LAB_MODELS] = {"standard I/O", "mmap", "O_DIRECT", "io_uring", "chosen by size"};

const char *const lab_part_titles[LAB_PARTS + 1] = {
    "", "Append and sync", "Small random reads", "Large random reads", "Page cache pollution", "Faults and costs",
};

struct lab_row *lab_row_add(struct lab *lab, unsigned part, enum lab_figure figure, enum lab_choice choice,
                            const char *group, const char *label)
{
    ASSERT(lab->row_count < LAB_ROWS_MAX);
    struct lab_row *row = &lab->rows[lab->row_count++];
    *row = (struct lab_row){.part = part, .figure = figure, .choice = choice};
    snprintf(row->group, sizeof row->group, "%s", group);
    snprintf(row->label, sizeof row->label, "%s", label);
    return row;
}

void lab_row_note(struct lab_row *row, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(row->note, sizeof row->note, format, list);
    va_end(list);
}

struct lab_contender *lab_contender_add(const struct lab *lab, struct lab_row *row, unsigned model, const char *option,
                                        const char *format, ...)
{
    ASSERT(row->count < LAB_CONTENDERS_MAX && model < LAB_MODELS);
    struct lab_contender *c = &row->contenders[row->count++];
    *c = (struct lab_contender){.model = model};
    snprintf(c->failed, sizeof c->failed, "%s", lab->refused[model]);
    snprintf(c->option, sizeof c->option, "%s", option);
    va_list list;
    va_start(list, format);
    vsnprintf(c->name, sizeof c->name, format, list);
    va_end(list);
    return c;
}

struct lab_sample lab_sample_none(void)
{
    struct lab_sample sample = {0};
    for (unsigned i = 0; i < LAB_FIGURE_COUNT; i++)
        sample.v[i] = NAN;
    return sample;
}

void lab_contender_sample(struct lab_contender *c, const struct lab_sample *sample)
{
    ASSERT(c->count < LAB_ROUNDS_MAX);
    c->samples[c->count++] = *sample;
}

struct lab_row *lab_row_derive(struct lab *lab, const struct lab_row *from, unsigned part, enum lab_figure figure,
                               enum lab_choice choice, const char *group, const char *label)
{
    struct lab_row *row = lab_row_add(lab, part, figure, choice, group, label);
    row->count = from->count;
    memcpy(row->contenders, from->contenders, sizeof row->contenders);
    memcpy(row->note, from->note, sizeof row->note);
    row->limited = from->limited;
    row->skipped = from->skipped;
    row->wrong = from->wrong;
    row->verified = 0; /* counted in the row that it is derived from */
    return row;
}

/* ---- figures -------------------------------------------------------------------------------------------------- */

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct lab_spread lab_contender_spread(const struct lab_contender *c, enum lab_figure figure)
{
    double values[LAB_ROUNDS_MAX];
    size_t n = 0;
    for (unsigned i = 0; i < c->count; i++)
        if (!isnan(c->samples[i].v[figure]))
            values[n++] = c->samples[i].v[figure];
    if (n == 0)
        return (struct lab_spread){NAN, NAN, NAN};
    qsort(values, n, sizeof *values, double_compare);
    double median = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
    return (struct lab_spread){median, values[0], values[n - 1]};
}

/* How many times better `a` is than `b`. Two zeros are equal; beside a zero that is best the ratio is capped. */
static double better_by(double a, double b, enum lab_figure figure)
{
    double up = lab_figures[figure].more_is_better ? a : b, down = lab_figures[figure].more_is_better ? b : a;
    if (up == down)
        return 1;
    return down > 0 ? fmin(up / down, 9999) : 9999;
}

/* The best but those that are left out: `index`, and with `model` < LAB_MODELS all of that model. */
static int best_other(const struct lab_row *row, int index, unsigned model)
{
    int best = -1;
    double best_median = NAN;
    for (int i = 0; i < (int)row->count; i++) {
        double median = lab_contender_spread(&row->contenders[i], row->figure).median;
        if (isnan(median) || i == index || row->contenders[i].model == model)
            continue;
        if (best < 0 || better_by(median, best_median, row->figure) > 1) {
            best = i;
            best_median = median;
        }
    }
    return best;
}

bool lab_row_always_better(const struct lab_row *row, unsigned a, unsigned b)
{
    const struct lab_contender *x = &row->contenders[a], *y = &row->contenders[b];
    for (unsigned i = 0; i < x->count && i < y->count; i++)
        if (!(better_by(x->samples[i].v[row->figure], y->samples[i].v[row->figure], row->figure) > 1))
            return false; /* NAN included */
    return x->count > 0 && y->count > 0;
}

struct lab_winner lab_row_winner(const struct lab_row *row)
{
    struct lab_winner w = {.index = best_other(row, -1, LAB_MODELS), .ratio = 1, .to_worst = 1};
    w.second = w.index < 0 ? -1 : best_other(row, w.index, row->contenders[w.index].model);
    if (w.index >= 0 && w.second < 0)
        w.second = best_other(row, w.index, LAB_MODELS);
    if (w.second < 0)
        return w;
    struct lab_spread first = lab_contender_spread(&row->contenders[w.index], row->figure);
    struct lab_spread next = lab_contender_spread(&row->contenders[w.second], row->figure);
    w.ratio = better_by(first.median, next.median, row->figure);
    w.is_a_tie = w.ratio < TIE_RATIO || !lab_row_always_better(row, (unsigned)w.index, (unsigned)w.second);
    for (unsigned i = 0; i < row->count; i++) {
        double median = lab_contender_spread(&row->contenders[i], row->figure).median;
        if (!isnan(median))
            w.to_worst = fmax(w.to_worst, better_by(first.median, median, row->figure));
    }
    return w;
}

double lab_row_part_of_best(const struct lab_row *row, unsigned index)
{
    struct lab_winner w = lab_row_winner(row);
    double own = lab_contender_spread(&row->contenders[index], row->figure).median;
    if (w.index < 0 || isnan(own))
        return NAN;
    return 1 / better_by(lab_contender_spread(&row->contenders[w.index], row->figure).median, own, row->figure);
}

static void rate_text(double value, const char *unit, char out[32])
{
    if (value >= 1e6)
        snprintf(out, 32, "%.2f M%s", value / 1e6, unit);
    else if (value >= 1e4)
        snprintf(out, 32, "%.1f k%s", value / 1e3, unit);
    else
        snprintf(out, 32, "%.0f%s%s", value, *unit == '/' ? "" : " ", unit);
}

static void us_text(double value, char out[32])
{
    if (value >= 1e4)
        snprintf(out, 32, "%.1f ms", value / 1e3);
    else
        snprintf(out, 32, "%.*f \xc2\xb5s", value < 10 ? 2 : value < 100 ? 1 : 0, value);
}

void lab_figure_text(double value, enum lab_figure figure, char out[32])
{
    if (isnan(value)) {
        snprintf(out, 32, "-");
        return;
    }
    switch (figure) {
    case LAB_RATE:
        rate_text(value, "/s", out);
        break;
    case LAB_MB_S:
        snprintf(out, 32, "%.0f MB/s", value);
        break;
    case LAB_KEPT:
        snprintf(out, 32, "%.1f %%", value);
        break;
    case LAB_CALLS:
    case LAB_FAULTS:
        snprintf(out, 32, "%.3f", value);
        break;
    default:
        us_text(value, out);
    }
}
