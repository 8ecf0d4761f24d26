// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_report_json.c - the report as one JSON object, for programs: medians of every figure, ratios, goals.
 */
#include <stdlib.h>
#include <string.h>

#include "nokv_bench_report.h"
#include "nokv_bench_util.h"

static void set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0)
        bench_die("JSON: %s: out of memory, or not UTF-8", key);
}

static void append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) != 0)
        bench_die("JSON: out of memory, or not UTF-8");
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* Medians of one cell, by the name of the figure. */
static json_t *cell_json(const struct chapter *c, size_t row, size_t column)
{
    json_t *object = json_object();
#define X(name) set(object, #name, number(chapter_cell(c, row, column, offsetof(struct record, name))));
    RECORD_FIGURES(X)
#undef X
    return object;
}

static json_t *ratio_json(const struct chapter *c, size_t row)
{
    struct ratio ratio = chapter_ratio(c, row, figure_member, offsetof(struct record, ops_per_sec), false, 0);
    if (ratio.count == 0 || record_is_whole(c->rows[row]))
        return json_null();
    json_t *object = json_object(), *bests = json_array();
    set(object, "median", number(ratio.median));
    set(object, "low", number(ratio.low));
    set(object, "high", number(ratio.high));
    set(object, "rounds", json_integer((json_int_t)ratio.count));
    for (size_t i = 0; i < ratio.best_count; i++)
        append(bests, json_string(c->engines[ratio.bests[i]]->engine));
    set(object, "best_peers", bests);
    return object;
}

static json_t *row_json(const struct chapter *c, size_t row)
{
    const struct record *r = c->rows[row];
    json_t *object = json_object(), *engines = json_object();
    set(object, "name", json_string(c->row_names[row]));
    set(object, "workload", json_string(r->workload));
    set(object, "after", json_string(r->after));
    set(object, "generation", json_integer(r->generation));
    set(object, "threads", json_integer(r->threads));
    for (size_t e = 0; e < c->engine_count; e++)
        set(engines, c->engines[e]->engine, cell_json(c, row, e));
    set(object, "engines", engines);
    set(object, "ratio_to_best_peer", ratio_json(c, row));
    return object;
}

static json_t *chapter_json(const struct chapter *c)
{
    const struct record *r = c->records[0];
    json_t *object = json_object(), *engines = json_array(), *rows = json_array();
    set(object, "name", json_string(c->name));
    set(object, "title", json_string(c->title));
    set(object, "keys", json_integer((json_int_t)r->keys));
    set(object, "value_size", json_integer((json_int_t)r->value_size));
    set(object, "value_sizes", json_string(r->mixed ? "mixed" : "fixed"));
    set(object, "memory_bytes", json_integer((json_int_t)r->memory_bytes));
    set(object, "memory_limit_bytes",
        r->memory_limit_bytes ? json_integer((json_int_t)r->memory_limit_bytes) : json_null());
    set(object, "rounds", json_integer(c->rounds));
    for (size_t e = 0; e < c->engine_count; e++) {
        json_t *engine = json_object();
        set(engine, "name", json_string(c->engines[e]->engine));
        set(engine, "version", json_string(c->engines[e]->version));
        set(engine, "terms", json_string(c->engines[e]->terms));
        append(engines, engine);
    }
    set(object, "engines", engines);
    for (size_t row = 0; row < c->row_count; row++)
        append(rows, row_json(c, row));
    set(object, "rows", rows);
    return object;
}

/* The goals of a table as the other formats show them: an object per row, of texts by column. */
static void goals_append(json_t *goals, const struct chapter *chapters, size_t count, enum goals which)
{
    struct grid grid;
    goals_build(chapters, count, which, &grid);
    for (size_t i = grid.column_count; i < grid.count; i += grid.column_count) {
        json_t *goal = json_object();
        for (size_t column = 0; column < grid.column_count; column++)
            set(goal, grid.cells[column].text, json_string(grid.cells[i + column].text));
        append(goals, goal);
    }
    grid_deinit(&grid);
}

json_t *report_json(const struct chapter *chapters, size_t count)
{
    json_t *object = json_object(), *array = json_array(), *goals = json_array();
    for (enum goals which = GOALS_IN_MEMORY; which < GOALS_COUNT; which++)
        goals_append(goals, chapters, count, which);
    set(object, "goals", goals);
    for (size_t i = 0; i < count; i++)
        append(array, chapter_json(&chapters[i]));
    set(object, "chapters", array);
    return object;
}
