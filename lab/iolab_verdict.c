// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_verdict.c - which value of an option the rows speak for, component by component.
 *
 * A row speaks for one option; of its contenders those count that are a value of it. Each is given its part of the best
 * among these (1: it is the best, 0.5: half as good), and an option's value gets the geometric mean over the rows, so
 * that twice as good in one row weighs as much as half as good in another. A value that was not measured in every row
 * is not compared. A verdict is arithmetic over these rows: how often a program does what, it does not know.
 */
#include <stdio.h>
#include <stdlib.h>

#include "lab/lab.h"

static const struct {
    const char *component, *option, *standard, *caution;
} choices[LAB_CHOICES] = {
    [LAB_WAL_WRITE] = {"write-ahead log", "wal_write", "std", NULL},
    [LAB_SST_READ] =
        {"tables", "sst_read", "mmap",
         "by default tables are mapped, and gets of a level that is not in memory are std; std, direct and "
         "uring are measured with a simple cache of pages, the engine's cache of blocks differs in detail"},
    [LAB_VLOG_READ] =
        {"value log, reading", "vlog_read", "auto",
         "the rows ask how fast a value is and what it does to the tables: the more the tables matter, the "
         "more the rows of part 4 count"},
    [LAB_VLOG_WRITE] = {"value log, writing", "vlog_write", "direct",
                        "what is written past the page cache leaves the tables where they are, which the rate does not "
                        "show"},
    [LAB_BACKGROUND_IO] = {"flush, compaction and collection", "background_io", "auto", NULL},
};

static double part_of_best(const struct lab_row *row, unsigned index)
{
    double best = NAN, own = lab_row_part_of_best(row, index);
    for (unsigned i = 0; i < row->count; i++)
        if (row->contenders[i].option[0])
            best = fmax(best, lab_row_part_of_best(row, i));
    return own / best;
}

/* Was the best value of the option better than this one in every round? */
static bool is_behind(const struct lab_row *row, unsigned index)
{
    unsigned best = index;
    for (unsigned i = 0; i < row->count; i++)
        if (row->contenders[i].option[0] && lab_row_part_of_best(row, i) > lab_row_part_of_best(row, best))
            best = i;
    return best != index && lab_row_always_better(row, best, index);
}

static struct lab_verdict_value *value_find(struct lab_verdict *v, const char *option)
{
    for (unsigned i = 0; i < v->count; i++)
        if (strcmp(v->values[i].option, option) == 0)
            return &v->values[i];
    ASSERT(v->count < LAB_CONTENDERS_MAX);
    struct lab_verdict_value *value = &v->values[v->count++];
    *value = (struct lab_verdict_value){.worst = INFINITY};
    snprintf(value->option, sizeof value->option, "%s", option);
    return value;
}

/* `score` is a sum of logarithms until all rows are in. */
static void row_count_in(struct lab_verdict *v, const struct lab_row *row)
{
    bool counted = false;
    for (unsigned i = 0; i < row->count; i++) {
        const struct lab_contender *c = &row->contenders[i];
        double part = c->option[0] ? part_of_best(row, i) : NAN;
        if (isnan(part))
            continue;
        struct lab_verdict_value *value = value_find(v, c->option);
        value->score += log(fmax(part, 1e-4));
        value->rows++;
        value->behind += is_behind(row, i);
        counted = true;
        if (part < value->worst) {
            value->worst = part;
            value->worst_row = row;
        }
    }
    v->rows += counted;
}

static int value_compare(const void *a, const void *b)
{
    const struct lab_verdict_value *x = a, *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

bool lab_verdict_make(const struct lab *lab, enum lab_choice choice, struct lab_verdict *out_verdict)
{
    *out_verdict = (struct lab_verdict){.component = choices[choice].component,
                                        .option = choices[choice].option,
                                        .standard = choices[choice].standard,
                                        .caution = choices[choice].caution};
    struct lab_verdict *v = out_verdict;
    for (unsigned i = 0; i < lab->row_count; i++)
        if (lab->rows[i].choice == choice)
            row_count_in(v, &lab->rows[i]);
    unsigned kept = 0;
    for (unsigned i = 0; i < v->count; i++) {
        if (v->values[i].rows < v->rows)
            continue;
        v->values[kept] = v->values[i];
        v->values[kept].score = exp(v->values[kept].score / v->rows);
        kept++;
    }
    v->count = kept;
    qsort(v->values, v->count, sizeof *v->values, value_compare);
    for (unsigned i = 0; i < v->count; i++)
        if (strcmp(v->values[i].option, v->standard) == 0)
            v->standard_value = &v->values[i];
    return v->count > 0;
}

void lab_verdict_text(const struct lab_verdict *v, char *out, size_t size)
{
    const struct lab_verdict_value *best = &v->values[0];
    const struct lab_verdict_value *shown = v->standard_value ? v->standard_value : best;
    int n = snprintf(out, size, "%s = %s is the best over %u row%s", v->option, best->option, v->rows,
                     v->rows == 1 ? "" : "s");
    if (v->standard_value == best || !v->standard_value)
        n += snprintf(out + n, size - (size_t)n, "%s", v->standard_value ? ", and the default" : "");
    else if (v->standard_value->behind == 0 || v->standard_value->score > 0.95 * best->score)
        n += snprintf(out + n, size - (size_t)n, "; the default, %s, has %.0f %% of it%s: no reason to change",
                      v->standard, 100 * v->standard_value->score / best->score,
                      v->standard_value->behind == 0 ? ", which is within the noise" : "");
    else
        n += snprintf(out + n, size - (size_t)n, "; the default, %s, has %.0f %% of it", v->standard,
                      100 * v->standard_value->score / best->score);
    if (shown->worst < 0.9 && n < (int)size)
        snprintf(out + n, size - (size_t)n, ". %s is weakest at: %s, %s (%s%.0f %% of the best)", shown->option,
                 shown->worst_row->group, shown->worst_row->label, shown->worst < 0.01 ? "under " : "",
                 fmax(100 * shown->worst, 1));
}
