// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_json.c - the results for machines: the terms of the run, every row with every round, winners and verdicts.
 *
 * A figure that was not measured is absent, never 0. Members are only ever added to this format; "version" changes when
 * one changes its meaning.
 */
#include <jansson.h>
#include <stdio.h>

#include "lab/lab.h"

enum { JSON_VERSION = 1 };

static void set_real(json_t *object, const char *name, double value)
{
    if (isfinite(value))
        json_object_set_new(object, name, json_real(value));
}

static json_t *rounds_json(const struct lab_contender *c)
{
    json_t *rounds = json_array();
    for (unsigned i = 0; i < c->count; i++) {
        json_t *round = json_object();
        for (unsigned f = 0; f < LAB_FIGURE_COUNT; f++)
            set_real(round, lab_figures[f].name, c->samples[i].v[f]);
        json_array_append_new(rounds, round);
    }
    return rounds;
}

static json_t *contender_json(const struct lab_row *row, unsigned index)
{
    const struct lab_contender *c = &row->contenders[index];
    struct lab_spread spread = lab_contender_spread(c, row->figure);
    json_t *object = json_object();
    json_object_set_new(object, "name", json_string(c->name));
    json_object_set_new(object, "model", json_string(c->model == LAB_MODEL_AUTO ? "auto" : io_model_name(c->model)));
    if (c->option[0])
        json_object_set_new(object, "option", json_string(c->option));
    if (c->failed[0])
        json_object_set_new(object, "failed", json_string(c->failed));
    set_real(object, "median", spread.median);
    set_real(object, "least", spread.least);
    set_real(object, "most", spread.most);
    set_real(object, "part_of_best", lab_row_part_of_best(row, index));
    json_object_set_new(object, "rounds", rounds_json(c));
    return object;
}

static void winner_set(json_t *object, const struct lab_row *row)
{
    struct lab_winner w = lab_row_winner(row);
    if (w.index < 0)
        return;
    json_object_set_new(object, "winner", json_string(row->contenders[w.index].name));
    if (w.second < 0)
        return;
    json_object_set_new(object, "second", json_string(row->contenders[w.second].name));
    json_object_set_new(object, "times_better", json_real(w.ratio));
    json_object_set_new(object, "tie", json_boolean(w.is_a_tie));
}

static json_t *row_json(const struct lab_row *row)
{
    json_t *object = json_object(), *contenders = json_array();
    json_object_set_new(object, "part", json_integer(row->part));
    json_object_set_new(object, "group", json_string(row->group));
    json_object_set_new(object, "label", json_string(row->label));
    json_object_set_new(object, "note", json_string(row->note));
    json_object_set_new(object, "figure", json_string(lab_figures[row->figure].name));
    json_object_set_new(object, "more_is_better", json_boolean(lab_figures[row->figure].more_is_better));
    json_object_set_new(object, "memory_limited", json_boolean(row->limited));
    json_object_set_new(object, "skipped", json_boolean(row->skipped));
    json_object_set_new(object, "verified_bytes", json_integer((json_int_t)row->verified));
    json_object_set_new(object, "wrong", json_integer((json_int_t)row->wrong));
    winner_set(object, row);
    for (unsigned i = 0; i < row->count; i++)
        json_array_append_new(contenders, contender_json(row, i));
    json_object_set_new(object, "contenders", contenders);
    return object;
}

static json_t *verdict_json(const struct lab_verdict *v)
{
    char text[512];
    json_t *object = json_object(), *scores = json_object();
    lab_verdict_text(v, text, sizeof text);
    json_object_set_new(object, "component", json_string(v->component));
    json_object_set_new(object, "option", json_string(v->option));
    json_object_set_new(object, "best", json_string(v->values[0].option));
    json_object_set_new(object, "default", json_string(v->standard));
    json_object_set_new(object, "text", json_string(text));
    if (v->caution)
        json_object_set_new(object, "caution", json_string(v->caution));
    for (unsigned i = 0; i < v->count; i++)
        set_real(scores, v->values[i].option, v->values[i].score);
    json_object_set_new(object, "scores", scores);
    return object;
}

static json_t *verdicts_json(const struct lab *lab)
{
    json_t *verdicts = json_array();
    for (unsigned c = LAB_NO_CHOICE + 1; c < LAB_CHOICES; c++) {
        struct lab_verdict v;
        if (lab_verdict_make(lab, (enum lab_choice)c, &v))
            json_array_append_new(verdicts, verdict_json(&v));
    }
    return verdicts;
}

static void terms_set(json_t *root, const struct lab *lab)
{
    json_t *cgroup = json_object();
    json_object_set_new(root, "version", json_integer(JSON_VERSION));
    json_object_set_new(root, "date", json_string(lab->date));
    json_object_set_new(root, "machine", json_string(lab->machine));
    json_object_set_new(root, "seed", json_integer((json_int_t)lab->seed));
    json_object_set_new(root, "size_bytes", json_integer((json_int_t)lab->size));
    json_object_set_new(root, "memory_bytes", json_integer((json_int_t)lab->memory));
    json_object_set_new(root, "rounds", json_integer(lab->rounds));
    json_object_set_new(root, "sample_ms", json_real((double)lab->slice_ns / 1e6));
    json_object_set_new(root, "seconds", json_real(lab->seconds));
    json_object_set_new(root, "interrupted", json_boolean(lab_stopped(lab)));
    json_object_set_new(cgroup, "version", json_integer(lab->cgroup.version));
    if (!lab->cgroup.version)
        json_object_set_new(cgroup, "why_not", json_string(lab->cgroup.why));
    json_object_set_new(root, "cgroup", cgroup);
}

void lab_report_json(const struct lab *lab, FILE *out)
{
    json_t *root = json_object(), *rows = json_array();
    terms_set(root, lab);
    for (unsigned i = 0; i < lab->row_count; i++)
        json_array_append_new(rows, row_json(&lab->rows[i]));
    json_object_set_new(root, "rows", rows);
    json_object_set_new(root, "verdicts", verdicts_json(lab));
    if (json_dumpf(root, out, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) != 0)
        fprintf(stderr, "nokv: iolab: the JSON could not be written\n");
    fputc('\n', out);
    json_decref(root);
}
