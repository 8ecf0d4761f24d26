// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_report_grid.c - a table of texts, built once and rendered by each format; here as Markdown.
 *
 * Cells hold plain text: names come out of files, so a renderer escapes all that its format would take for its own.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "nokv_bench_report.h"
#include "nokv_bench_util.h"

void grid_deinit(struct grid *grid)
{
    for (size_t i = 0; i < grid->count; i++)
        free(grid->cells[i].text);
    free(grid->cells);
    *grid = (struct grid){0};
}

static void cell_add(struct grid *grid, bool strong, const char *format, va_list args)
{
    grid->cells = report_room(grid->cells, grid->count, &grid->capacity, sizeof *grid->cells);
    struct grid_cell *cell = &grid->cells[grid->count++];
    cell->strong = strong;
    if (vasprintf(&cell->text, format, args) < 0)
        bench_die("out of memory");
}

void grid_cell(struct grid *grid, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    cell_add(grid, false, format, args);
    va_end(args);
}

void grid_strong(struct grid *grid, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    cell_add(grid, true, format, args);
    va_end(args);
}

void grid_number(struct grid *grid, double value, int decimals, const char *unit)
{
    if (isnan(value))
        grid_cell(grid, "-");
    else
        grid_cell(grid, "%.*f%s", decimals, value, unit);
}

bool grid_empty(const struct grid *grid)
{
    return grid->count <= (grid->kind == GRID_TABLE ? grid->column_count : 0);
}

void markdown_text(const char *text, FILE *out)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            fputc(' ', out);
        else if (*text == '<')
            fputs("&lt;", out);
        else if (*text == '>')
            fputs("&gt;", out);
        else if (*text == '&')
            fputs("&amp;", out);
        else if (strchr("\\`*[]|", *text))
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
    }
}

static void markdown_cell(const struct grid_cell *cell, FILE *out)
{
    const char *stress = cell->strong && *cell->text ? "**" : "";
    fputs(stress, out);
    markdown_text(cell->text, out);
    fputs(stress, out);
}

static void markdown_table(const struct grid *grid, FILE *out)
{
    for (size_t i = 0; i < grid->count; i++) {
        size_t column = i % grid->column_count;
        fputs(column == 0 ? "| " : " ", out);
        markdown_cell(&grid->cells[i], out);
        fputs(" |", out);
        if (column + 1 < grid->column_count)
            continue;
        fputc('\n', out);
        if (i + 1 == grid->column_count) {
            fputc('|', out);
            for (size_t c = 0; c < grid->column_count; c++)
                fputs(c < grid->text_columns ? " --- |" : " ---: |", out);
            fputc('\n', out);
        }
    }
}

void grid_markdown(const struct grid *grid, FILE *out)
{
    if (grid->caption)
        fprintf(out, "%s\n\n", grid->caption);
    if (grid->kind == GRID_TABLE) {
        markdown_table(grid, out);
        return;
    }
    for (size_t i = 0; i + 1 < grid->count; i += 2) {
        if (i && grid->kind == GRID_PARAGRAPHS)
            fputc('\n', out);
        if (grid->kind == GRID_LIST)
            fputs("- ", out);
        markdown_cell(&grid->cells[i], out);
        if (*grid->cells[i].text && *grid->cells[i + 1].text)
            fputc(' ', out);
        markdown_cell(&grid->cells[i + 1], out);
        fputc('\n', out);
    }
}
