// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_report_text.c - the summary on the terminal: what was measured, who won each row and by how much, the verdicts.
 *
 * Made to fit a screen: a line per group of rows, a column per row, in it the model that won and how many times better
 * it was than the best of the other models. "~" is a tie: not better in every round. Which way of using a model it
 * was, and all figures, are in the JSON and on the page.
 */
#include <stdio.h>

#include "lab/lab.h"

enum { NAME_WIDTH = 32, COLUMN_WIDTH = 13, COLUMNS_MAX = 8 };

static const char *short_name(const struct lab_contender *c)
{
    return c->model == LAB_MODEL_AUTO ? "auto" : io_model_name((enum io_model)c->model);
}

static void cell_text(const struct lab_row *row, char *out, size_t size)
{
    struct lab_winner w = lab_row_winner(row);
    if (w.index < 0) {
        snprintf(out, size, "left out");
        return;
    }
    const char *name = short_name(&row->contenders[w.index]);
    if (row->wrong)
        snprintf(out, size, "WRONG BYTES");
    else if (w.second < 0)
        snprintf(out, size, "%s", name);
    else if (w.is_a_tie)
        snprintf(out, size, "%s ~", name);
    else if (w.ratio > 999)
        snprintf(out, size, "%s >999x", name);
    else
        snprintf(out, size, "%s %.*fx", name, w.ratio < 9.95 ? 1 : 0, w.ratio);
}

/* Rows [first, return) have one group. */
static unsigned group_end(const struct lab *lab, unsigned first)
{
    unsigned end = first + 1;
    while (end < lab->row_count && end - first < COLUMNS_MAX && lab->rows[end].part == lab->rows[first].part &&
           strcmp(lab->rows[end].group, lab->rows[first].group) == 0)
        end++;
    return end;
}

static bool same_labels(const struct lab *lab, unsigned a, unsigned a_end, unsigned b, unsigned b_end)
{
    if (a_end - a != b_end - b || lab->rows[a].part != lab->rows[b].part)
        return false;
    for (unsigned i = 0; i < a_end - a; i++)
        if (strcmp(lab->rows[a + i].label, lab->rows[b + i].label) != 0)
            return false;
    return true;
}

static void labels_print(const struct lab *lab, unsigned first, unsigned end, FILE *out)
{
    bool is_first = first == 0 || lab->rows[first - 1].part != lab->rows[first].part;
    char title[64] = "";
    if (is_first)
        snprintf(title, sizeof title, "%u. %s", lab->rows[first].part, lab_part_titles[lab->rows[first].part]);
    fprintf(out, "%-*s", NAME_WIDTH, title);
    for (unsigned i = first; i < end; i++)
        fprintf(out, "%-*s", i + 1 < end ? COLUMN_WIDTH : 0, lab->rows[i].label);
    fputc('\n', out);
}

static void rows_print(const struct lab *lab, FILE *out)
{
    unsigned before = 0, before_end = 0;
    for (unsigned first = 0; first < lab->row_count;) {
        unsigned end = group_end(lab, first);
        if (before_end == 0 || !same_labels(lab, before, before_end, first, end))
            labels_print(lab, first, end, out);
        fprintf(out, "  %-*s", NAME_WIDTH - 2, lab->rows[first].group);
        for (unsigned i = first; i < end; i++) {
            char text[40];
            cell_text(&lab->rows[i], text, sizeof text);
            fprintf(out, "%-*s", i + 1 < end ? COLUMN_WIDTH : 0, text);
        }
        fputc('\n', out);
        before = first;
        before_end = end;
        first = end;
    }
}

static void terms_print(const struct lab *lab, FILE *out)
{
    uint64_t verified = 0;
    for (unsigned i = 0; i < lab->row_count; i++)
        verified += lab->rows[i].verified;
    fprintf(out, "%s%s\n", lab->machine,
            lab_stopped(lab) ? "\nInterrupted: this is what was measured until then." : "");
    fprintf(out, "Files of %lu MiB, seed %lu, %u round%s, %.0f s; %lu MiB were read and checked.\n", lab->size >> 20,
            lab->seed, lab->rounds, lab->rounds == 1 ? "" : "s", lab->seconds, verified >> 20);
    if (lab->cgroup.version)
        fprintf(out, "Memory short: a limit of %lu MiB by a cgroup v%u.\n", lab->memory >> 20, lab->cgroup.version);
    else
        fprintf(out, "Memory cannot be limited here (%s): rows that need it are left out.\n", lab->cgroup.why);
    for (unsigned m = 0; m < LAB_MODELS; m++)
        if (lab->refused[m][0])
            fprintf(out, "Without %s: %s.\n", lab_model_names[m], lab->refused[m]);
    fprintf(out, "Per row the best model, and how many times better than the next model; ~ is a tie.\n\n");
}

/* Words of `text` in lines of at most 79 columns, indented. */
static void wrapped_print(const char *text, FILE *out)
{
    size_t column = 0;
    while (*text) {
        size_t length = strcspn(text, " ");
        if (column + length + 1 > 75) {
            fputc('\n', out);
            column = 0;
        }
        fprintf(out, "%s%.*s", column ? " " : "    ", (int)length, text);
        column += length + 1;
        text += length + (text[length] == ' ');
    }
    fputs(".\n", out);
}

void lab_report_text(const struct lab *lab, FILE *out)
{
    terms_print(lab, out);
    rows_print(lab, out);
    for (unsigned c = LAB_NO_CHOICE + 1; c < LAB_CHOICES; c++) {
        struct lab_verdict verdict;
        char text[512];
        if (!lab_verdict_make(lab, (enum lab_choice)c, &verdict))
            continue;
        lab_verdict_text(&verdict, text, sizeof text);
        fprintf(out, "%s%s\n", c == LAB_NO_CHOICE + 1 ? "\n" : "", verdict.component);
        wrapped_print(text, out);
    }
}
