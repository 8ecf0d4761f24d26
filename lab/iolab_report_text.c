// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_report_text.c - the summary on the terminal: a line per row with its winner and by how much, the verdicts last.
 *
 * Made to fit a screen: one line per row, the figures of the losers are in the JSON and on the page. "~" marks a tie:
 * the rounds of the first two overlap, so that the order of the two is not to be believed.
 */
#include <stdio.h>

#include "lab/lab.h"

/* printf pads by bytes; a micro sign has two. */
static int padding(const char *text, int width)
{
    int extra = 0;
    for (const char *p = text; *p; p++)
        extra += ((unsigned char)*p & 0xc0) == 0x80;
    return width + extra;
}

static void row_print(const struct lab_row *row, FILE *out)
{
    char best[32], by[48] = "";
    struct lab_winner w = lab_row_winner(row);
    if (w.index < 0) {
        fprintf(out, "    %-26.26s left out: %s\n", row->label, row->note);
        return;
    }
    lab_figure_text(lab_contender_spread(&row->contenders[w.index], row->figure).median, row->figure, best);
    if (w.second >= 0 && w.is_a_tie)
        snprintf(by, sizeof by, "  ~   %s", row->contenders[w.second].name);
    else if (w.second >= 0 && w.ratio > 999)
        snprintf(by, sizeof by, ">999x %s", row->contenders[w.second].name);
    else if (w.second >= 0)
        snprintf(by, sizeof by, "%5.*fx %s", w.ratio < 10 ? 2 : 0, w.ratio, row->contenders[w.second].name);
    fprintf(out, "    %-26.26s %-33.33s %*s  %s\n", row->label, row->contenders[w.index].name, padding(best, 11), best,
            by);
    if (row->wrong)
        fprintf(out, "    WRONG: %lu operations read other bytes than were written\n", row->wrong);
}

static void rows_print(const struct lab *lab, FILE *out)
{
    const char *group = "";
    unsigned part = 0;
    for (unsigned i = 0; i < lab->row_count; i++) {
        const struct lab_row *row = &lab->rows[i];
        if (row->part != part)
            fprintf(out, "%u. %s\n", row->part, lab_part_titles[row->part]);
        if (row->part != part || strcmp(row->group, group) != 0)
            fprintf(out, "  %s (%s)\n", row->group, lab_figures[row->figure].unit);
        part = row->part;
        group = row->group;
        row_print(row, out);
    }
}

static void terms_print(const struct lab *lab, FILE *out)
{
    uint64_t verified = 0;
    for (unsigned i = 0; i < lab->row_count; i++)
        verified += lab->rows[i].verified;
    fprintf(out, "\n%s%s\n", lab->machine, lab_stopped(lab) ? "\nInterrupted: what was measured until then" : "");
    fprintf(out, "files of %lu MiB, seed %lu, %u rounds, medians; %.0f s; %lu MiB read and verified\n", lab->size >> 20,
            lab->seed, lab->rounds, lab->seconds, verified >> 20);
    if (lab->cgroup.version)
        fprintf(out, "memory limited to %lu MiB by a cgroup v%u where it says so\n", lab->memory >> 20,
                lab->cgroup.version);
    else
        fprintf(out, "memory could not be limited here (%s): rows that need it are left out\n", lab->cgroup.why);
    for (unsigned m = 0; m < LAB_MODELS; m++)
        if (lab->refused[m][0])
            fprintf(out, "%s is left out: %s\n", lab_model_names[m], lab->refused[m]);
    fprintf(out, "The winner, its figure, and how many times better than the best other model; ~: a tie.\n");
}

void lab_report_text(const struct lab *lab, FILE *out)
{
    terms_print(lab, out);
    rows_print(lab, out);
    fprintf(out, "Verdict\n");
    for (unsigned c = LAB_NO_CHOICE + 1; c < LAB_CHOICES; c++) {
        struct lab_verdict verdict;
        char text[512];
        if (!lab_verdict_make(lab, (enum lab_choice)c, &verdict))
            continue;
        lab_verdict_text(&verdict, text, sizeof text);
        fprintf(out, "  %s: %s\n", verdict.component, text);
    }
}
