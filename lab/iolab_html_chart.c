// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_html_chart.c - a row as a bar chart, inline SVG.
 *
 * A chart is 360 units wide and scales with its place, so that its letters stay legible on a phone. Each contender has
 * its name above its bar, because the names say what was done and are too long to stand beside. Bars are coloured by
 * model through classes of the page's style sheet; the thin line on a bar is the range of its rounds. Every bar has a
 * <title>, which browsers show as a tooltip and screen readers read out.
 */
#include <stdio.h>

#include "lab/lab.h"

enum { WIDTH = 360, FULL = 258, BAR_HEIGHT = 12, STEP = 36, TOP = 2, LEFT = 1 };

static double most_of(const struct lab_row *row)
{
    double most = 0;
    for (unsigned i = 0; i < row->count; i++) {
        struct lab_spread s = lab_contender_spread(&row->contenders[i], row->figure);
        if (!isnan(s.most))
            most = fmax(most, s.most);
    }
    return most;
}

static double length_of(double value, double most)
{
    return most > 0 ? value / most * FULL : 0;
}

static void name_draw(const struct lab_contender *c, bool is_best, double y, FILE *out)
{
    fprintf(out, "<text class=\"%s\" x=\"%d\" y=\"%.0f\">", is_best ? "b" : "t", LEFT, y + 11);
    lab_html_text(c->name, out);
    fputs(is_best ? " \xe2\x98\x85</text>" : "</text>", out); /* a star */
}

static void range_draw(const struct lab_spread *s, double most, double y, FILE *out)
{
    double from = LEFT + length_of(s->least, most), to = LEFT + length_of(s->most, most), middle = y + BAR_HEIGHT / 2.0;
    fprintf(out, "<path class=\"range\" d=\"M%.1f %.1fH%.1fM%.1f %.1fv6M%.1f %.1fv6\"/>", from, middle, to, from,
            middle - 3, to, middle - 3);
}

static void contender_draw(const struct lab_row *row, unsigned index, double most, bool is_best, FILE *out)
{
    const struct lab_contender *c = &row->contenders[index];
    struct lab_spread s = lab_contender_spread(c, row->figure);
    char median[32], least[32], max[32];
    double y = TOP + (double)index * STEP, bar_y = y + 17;
    lab_figure_text(s.median, row->figure, median);
    lab_figure_text(s.least, row->figure, least);
    lab_figure_text(s.most, row->figure, max);
    fputs("<g><title>", out);
    lab_html_text(c->name, out);
    fprintf(out, ": %s (%s to %s)</title>", median, least, max);
    name_draw(c, is_best, y, out);
    if (isnan(s.median)) {
        fprintf(out, "<text class=\"m\" x=\"%d\" y=\"%.0f\">no figure</text></g>\n", LEFT, bar_y + 10);
        return;
    }
    fprintf(out, "<rect class=\"e%u\" x=\"%d\" y=\"%.0f\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>", c->model, LEFT,
            bar_y, fmax(length_of(s.median, most), 1), BAR_HEIGHT);
    range_draw(&s, most, bar_y, out);
    fprintf(out, "<text class=\"t\" x=\"%.1f\" y=\"%.0f\">%s</text></g>\n", LEFT + length_of(s.most, most) + 6,
            bar_y + 10.5, median);
}

void lab_chart_row(const struct lab_row *row, FILE *out)
{
    double most = most_of(row);
    struct lab_winner w = lab_row_winner(row);
    const struct lab_figure_info *figure = &lab_figures[row->figure];
    fprintf(out, "<svg viewBox=\"0 0 %d %u\" role=\"img\"><title>", WIDTH, TOP + row->count * STEP + 16);
    lab_html_text(row->label, out);
    fprintf(out, ": %s, %s is better</title>\n", figure->unit, figure->more_is_better ? "more" : "less");
    for (unsigned i = 0; i < row->count; i++)
        contender_draw(row, i, most, (int)i == w.index, out);
    fprintf(out, "<text class=\"m\" x=\"%d\" y=\"%u\">%s (%s is better)</text></svg>\n", LEFT,
            TOP + row->count * STEP + 11, figure->unit, figure->more_is_better ? "more" : "less");
}
