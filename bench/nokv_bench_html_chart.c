// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_html_chart.c - charts of one row as inline SVG: rates as bars, latencies as curves.
 *
 * A chart is 360 units wide and scales with its place, so that its letters stay legible on a phone. Colours are classes
 * of the page's style sheet (e0, e1, ... by engine), which has one set for light and one for dark; curves differ in
 * dashes and marks as well. Every mark has a <title> that browsers show as a tooltip and readers read out.
 *
 * The horizontal axis of a latency curve counts nines: p90, p99, p99.9 are equally far from each other, because what is
 * to be seen is the tail. The longest operation stands behind the last quantile, where no number of nines is right.
 */
#include <stdlib.h>
#include <string.h>

#include "nokv_bench_report.h"
#include "nokv_bench_util.h"

#define FIGURE(name) offsetof(struct record, name)

enum { WIDTH = 360, NAME_CHARS = 14, COLOURS = 8 };

/* ---- bars ----------------------------------------------------------------------------------------------------- */

enum { BAR_LEFT = 98, BAR_FULL = 128, BAR_HEIGHT = 20, BAR_STEP = 27, BAR_TOP = 4 };

/* At most NAME_CHARS characters, cut between characters of UTF-8. */
static void name_cut(const char *name, char out[NAME_CHARS * 4 + 4])
{
    size_t at = 0, chars = 0;
    while (name[at] && (chars < NAME_CHARS || ((unsigned char)name[at] & 0xc0) == 0x80)) {
        out[at] = name[at];
        at++;
        chars += ((unsigned char)name[at] & 0xc0) != 0x80;
    }
    out[at] = 0;
    if (name[at]) {
        while (at && ((unsigned char)out[at - 1] & 0xc0) == 0x80)
            at--;
        memcpy(out + (at ? at - 1 : 0), "\xe2\x80\xa6", 4); /* an ellipsis */
    }
}

static void value_text(double value, bool whole, char *out, size_t size)
{
    char human[16];
    if (isnan(value))
        snprintf(out, size, "no data");
    else if (whole)
        snprintf(out, size, "%.*f s", value < 0.01 ? 4 : 2, value);
    else
        snprintf(out, size, "%s/s", bench_human(value, human));
}

/* NoKV's median to that of this engine, for a label. */
static void ratio_text(const struct chapter *c, size_t row, size_t column, char *out, size_t size)
{
    *out = 0;
    if (column == 0 || record_is_whole(c->rows[row]))
        return;
    struct ratio ratio = chapter_ratio(c, row, figure_member, FIGURE(ops_per_sec), false, column);
    if (ratio.count)
        snprintf(out, size, "nokv %.2f\xc3\x97", ratio.median);
}

static void bar(const struct chapter *c, size_t row, size_t column, size_t place, double most, FILE *out)
{
    char name[NAME_CHARS * 4 + 4], value_label[32], ratio_label[32];
    bool whole = record_is_whole(c->rows[row]);
    double value = chapter_cell(c, row, column, whole ? FIGURE(seconds) : FIGURE(ops_per_sec));
    double length = value > 0 && most > 0 ? value / most * BAR_FULL : 0;
    double y = BAR_TOP + (double)place * BAR_STEP, text_y = y + 14.5;
    name_cut(c->engines[column]->engine, name);
    value_text(value, whole, value_label, sizeof value_label);
    ratio_text(c, row, column, ratio_label, sizeof ratio_label);
    fputs("<g><title>", out);
    html_text(c->engines[column]->engine, out);
    fprintf(out, ": %s%s%s</title>", value_label, *ratio_label ? ", " : "", ratio_label);
    fprintf(out, "<text class=\"t\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", BAR_LEFT - 6, text_y);
    html_text(name, out);
    fprintf(out, "</text><rect class=\"e%zu\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>",
            c->colours[column] % COLOURS, BAR_LEFT, y, fmax(length, 1), BAR_HEIGHT);
    fprintf(out, "<text class=\"t\" x=\"%.1f\" y=\"%.1f\">%s</text>", BAR_LEFT + length + 5, text_y, value_label);
    if (*ratio_label)
        fprintf(out, "<text class=\"m\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>", WIDTH - 2, text_y,
                ratio_label);
    fputs("</g>\n", out);
}

/* Has this engine a record in this row? */
static bool present(const struct chapter *c, size_t row, size_t column)
{
    size_t cell = row * c->engine_count + column;
    return c->cells[cell + 1] > c->cells[cell];
}

void chart_bars(const struct chapter *c, size_t row, FILE *out)
{
    bool whole = record_is_whole(c->rows[row]);
    double most = 0;
    size_t bars = 0;
    for (size_t e = 0; e < c->engine_count; e++) {
        most = fmax(most, chapter_cell(c, row, e, whole ? FIGURE(seconds) : FIGURE(ops_per_sec)));
        bars += present(c, row, e);
    }
    double bottom = BAR_TOP + (double)bars * BAR_STEP;
    fprintf(out, "<svg viewBox=\"0 0 %d %.0f\" role=\"img\"><title>", WIDTH, bottom + 18);
    html_text(c->row_names[row], out);
    fprintf(out, ": %s</title>\n", whole ? "seconds, less is better" : "operations per second, more is better");
    size_t place = 0;
    for (size_t e = 0; e < c->engine_count; e++)
        if (present(c, row, e))
            bar(c, row, e, place++, most, out);
    fprintf(out, "<line class=\"axis\" x1=\"%d\" y1=\"0\" x2=\"%d\" y2=\"%.0f\"/>", BAR_LEFT, BAR_LEFT, bottom);
    fprintf(out, "<text class=\"m\" x=\"%d\" y=\"%.0f\">%s</text></svg>\n", BAR_LEFT, bottom + 13,
            whole ? "seconds (less is better)" : "operations per second (more is better)");
}

/* ---- latency curves ------------------------------------------------------------------------------------------- */

enum { PLOT_LEFT = 50, PLOT_RIGHT = 348, PLOT_TOP = 10, PLOT_BOTTOM = 196, PLOT_HEIGHT = 236, POINTS_MAX = 512 };

struct curve {
    size_t count;
    struct quantile points[POINTS_MAX]; /* medians over the rounds */
};

struct plot {
    double nines; /* of the last quantile below 1 */
    int decade_low, decade_high;
};

static double nines_of(double part)
{
    return -log10(1 - part);
}

/* The median over the rounds of one quantile; records of other versions may lack it. */
static double quantile_median(struct record *const *records, size_t count, double part, double *values)
{
    size_t have = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < records[i]->latency_count; k++)
            if (fabs(records[i]->latency[k].part - part) < 1e-12) {
                values[have++] = records[i]->latency[k].us;
                break;
            }
    return have ? bench_median(values, have) : NAN;
}

static void curve_take(const struct chapter *c, size_t row, size_t column, struct curve *curve)
{
    size_t cell = row * c->engine_count + column, count = c->cells[cell + 1] - c->cells[cell];
    struct record *const *records = c->records + c->cells[cell];
    curve->count = 0;
    if (count == 0)
        return;
    double *values = bench_alloc(count * sizeof *values);
    const struct record *first = records[0];
    for (size_t k = 0; k < first->latency_count && curve->count < POINTS_MAX; k++) {
        double us = quantile_median(records, count, first->latency[k].part, values);
        if (us > 0)
            curve->points[curve->count++] = (struct quantile){first->latency[k].part, us};
    }
    free(values);
}

bool chart_has_latency(const struct chapter *c, size_t row)
{
    bool any = false;
    struct curve *curve = bench_alloc(sizeof *curve);
    for (size_t e = 0; e < c->engine_count && !any && !record_is_whole(c->rows[row]); e++) {
        curve_take(c, row, e, curve);
        any = curve->count > 1;
    }
    free(curve);
    return any;
}

/* The maximum has a place of its own at the right edge, a seventh of the axis behind the last quantile. */
static double plot_x(const struct plot *plot, double part)
{
    double at = part < 1 ? fmin(nines_of(part), plot->nines) / plot->nines * 6 / 7 : 1;
    return PLOT_LEFT + at * (PLOT_RIGHT - PLOT_LEFT);
}

static double plot_y(const struct plot *plot, double us)
{
    double at = (log10(us) - plot->decade_low) / (plot->decade_high - plot->decade_low);
    return PLOT_BOTTOM - at * (PLOT_BOTTOM - PLOT_TOP);
}

static struct plot plot_of(const struct curve *curves, size_t count)
{
    double low = INFINITY, high = 0;
    struct plot plot = {.nines = 1};
    for (size_t e = 0; e < count; e++)
        for (size_t k = 0; k < curves[e].count; k++) {
            const struct quantile *q = &curves[e].points[k];
            low = fmin(low, q->us);
            high = fmax(high, q->us);
            if (q->part < 1)
                plot.nines = fmax(plot.nines, fmin(nines_of(q->part), 12));
        }
    plot.decade_low = (int)floor(log10(low));
    plot.decade_high = (int)ceil(log10(high));
    if (plot.decade_high <= plot.decade_low)
        plot.decade_high = plot.decade_low + 1;
    return plot;
}

static void axes(const struct plot *plot, FILE *out)
{
    static const char *const times[] = {"1 ns", "10 ns", "0.1 \xc2\xb5s", "1 \xc2\xb5s", "10 \xc2\xb5s", "0.1 ms",
                                        "1 ms", "10 ms", "0.1 s",         "1 s",         "10 s",         "100 s"};
    static const struct quantile marks[] = {{0.5, 0},    {0.9, 0},     {0.99, 0},     {0.999, 0},
                                            {0.9999, 0}, {0.99999, 0}, {0.999999, 0}, {0.9999999, 0}};
    static const char *const names[] = {"50 %", "90 %", "99 %", "99.9", "99.99", "5 nines", "6 nines", "7 nines"};
    for (int decade = plot->decade_low; decade <= plot->decade_high; decade++) {
        double y = plot_y(plot, pow(10, decade));
        fprintf(out, "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>", PLOT_LEFT, y, PLOT_RIGHT, y);
        if (decade >= -3 && decade <= 8)
            fprintf(out, "<text class=\"m\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", PLOT_LEFT - 5, y + 4,
                    times[decade + 3]);
    }
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        if (nines_of(marks[i].part) > plot->nines * 1.0001)
            break;
        if (i == 0 && plot->nines > 4) /* no room for its letters */
            continue;
        double x = plot_x(plot, marks[i].part);
        fprintf(out, "<line class=\"grid\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>", x, PLOT_TOP, x, PLOT_BOTTOM);
        fprintf(out, "<text class=\"m\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", x, PLOT_BOTTOM + 15,
                names[i]);
    }
    fprintf(out,
            "<text class=\"m\" x=\"%d\" y=\"%d\" text-anchor=\"end\">max</text>"
            "<text class=\"m\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">part of the operations, by nines</text>\n",
            PLOT_RIGHT + 8, PLOT_BOTTOM + 15, (PLOT_LEFT + PLOT_RIGHT) / 2, PLOT_BOTTOM + 33);
}

/* A circle, a square or a diamond, so that curves can be told apart without colours. */
static void mark(size_t colour, double x, double y, FILE *out)
{
    switch (colour % 3) {
    case 0:
        fprintf(out, "<circle class=\"e%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\">", colour % COLOURS, x, y);
        break;
    case 1:
        fprintf(out, "<rect class=\"e%zu\" x=\"%.1f\" y=\"%.1f\" width=\"5\" height=\"5\">", colour % COLOURS, x - 2.5,
                y - 2.5);
        break;
    default:
        fprintf(out, "<path class=\"e%zu\" d=\"M%.1f %.1fl3.5 3.5-3.5 3.5-3.5-3.5z\">", colour % COLOURS, x, y - 3.5);
    }
}

static const char *mark_end(size_t colour)
{
    static const char *const ends[] = {"</circle>", "</rect>", "</path>"};
    return ends[colour % 3];
}

static void curve_draw(const struct chapter *c, size_t column, const struct curve *curve, const struct plot *plot,
                       FILE *out)
{
    fprintf(out, "<polyline class=\"l%zu\" points=\"", c->colours[column] % COLOURS);
    for (size_t k = 0; k < curve->count; k++)
        fprintf(out, "%s%.1f,%.1f", k ? " " : "", plot_x(plot, curve->points[k].part),
                plot_y(plot, curve->points[k].us));
    fputs("\"/>\n", out);
    for (size_t k = 0; k < curve->count; k++) {
        const struct quantile *q = &curve->points[k];
        mark(c->colours[column], plot_x(plot, q->part), plot_y(plot, q->us), out);
        fputs("<title>", out);
        html_text(c->engines[column]->engine, out);
        if (q->part < 1)
            fprintf(out, ": %.8g %% within %.4g \xc2\xb5s</title>", q->part * 100, q->us);
        else
            fprintf(out, ": longest %.4g \xc2\xb5s</title>", q->us);
        fprintf(out, "%s\n", mark_end(c->colours[column]));
    }
}

void chart_latency(const struct chapter *c, size_t row, FILE *out)
{
    struct curve *curves = bench_alloc(c->engine_count * sizeof *curves);
    for (size_t e = 0; e < c->engine_count; e++)
        curve_take(c, row, e, &curves[e]);
    struct plot plot = plot_of(curves, c->engine_count);
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\"><title>", WIDTH, PLOT_HEIGHT);
    html_text(c->row_names[row], out);
    fputs(": latency by quantile, less is better</title>\n", out);
    axes(&plot, out);
    for (size_t e = c->engine_count; e-- > 0;) /* NoKV is drawn last, on top */
        if (curves[e].count)
            curve_draw(c, e, &curves[e], &plot, out);
    fputs("</svg>\n<ul class=\"legend\">", out);
    for (size_t e = 0; e < c->engine_count; e++) {
        if (curves[e].count == 0)
            continue;
        fprintf(out,
                "<li><svg viewBox=\"0 0 30 10\" aria-hidden=\"true\"><polyline class=\"l%zu\" points=\"0,5 30,5\"/>",
                c->colours[e] % COLOURS);
        mark(c->colours[e], 15, 5, out);
        fprintf(out, "%s</svg>", mark_end(c->colours[e]));
        html_text(c->engines[e]->engine, out);
        fputs("</li>", out);
    }
    fputs("</ul>\n", out);
    free(curves);
}
