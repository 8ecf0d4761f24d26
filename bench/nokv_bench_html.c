// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_html.c - the report as one page: goals, then per data set its terms, charts and tables.
 *
 * One file that fetches nothing: style sheet and charts are in it, there is no script, and a content security policy
 * says so. All text that comes out of a results file goes through html_text(). Wide tables scroll sideways in a box of
 * their own, their first column stays.
 */
#include <string.h>

#include "nokv_bench_report.h"

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
    "<title>NoKV benchmarks</title>\n<style>\n"
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#59636e;--line:#d1d9e0;--card:#f6f8fa;--link:#0757b0;"
    "--warn:#b42318;\n"
    "--e0:#0b62b8;--e1:#c2410c;--e2:#0f766e;--e3:#a21caf;--e4:#806000;--e5:#4b5563;--e6:#be123c;--e7:#4d7c0f}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#0f1318;--fg:#e3e8ee;--soft:#9aa6b2;--line:#343d47;--card:#171c23;"
    "--link:#79b8ff;--warn:#ff8a7a;\n"
    "--e0:#58a6ff;--e1:#ff9a5c;--e2:#3dd1b8;--e3:#e58bf0;--e4:#e2c044;--e5:#aeb8c4;--e6:#ff8aa0;--e7:#a3d65c}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;max-width:76rem;padding:1rem;background:var(--bg);color:var(--fg);"
    "font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}\n"
    "h1{font-size:1.7rem;line-height:1.2}h2{font-size:1.3rem;line-height:1.3;margin:2.5rem 0 .5rem;padding-top:.6rem;"
    "border-top:1px solid var(--line)}h3{font-size:1.05rem;margin:0 0 .4rem}\n"
    "a{color:var(--link)}.soft{color:var(--soft)}strong.warn{color:var(--warn)}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:.8rem;margin:1rem "
    "0}\n"
    ".card{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.7rem;min-width:0}\n"
    ".card svg{display:block;width:100%;height:auto}.card svg+svg,.card h4{margin:.8rem 0 .2rem}"
    ".card h4{font-size:.85rem;font-weight:600;color:var(--soft)}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:.1rem .9rem;list-style:none;margin:.3rem 0 0;padding:0;font-size:.8rem}"
    ".legend li{display:flex;align-items:center;gap:.35rem}.legend svg{width:30px;height:10px;flex:none}\n"
    "text{font:12px system-ui,sans-serif;fill:var(--fg)}text.m{font-size:11px;fill:var(--soft)}\n"
    ".axis{stroke:var(--soft)}.grid{stroke:var(--line);stroke-width:.7}\n"
    "polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}\n"
    ".e0{fill:var(--e0)}.e1{fill:var(--e1)}.e2{fill:var(--e2)}.e3{fill:var(--e3)}.e4{fill:var(--e4)}.e5{fill:var(--e5)}"
    ".e6{fill:var(--e6)}.e7{fill:var(--e7)}\n"
    ".l0{stroke:var(--e0);stroke-width:2.4}.l1{stroke:var(--e1);stroke-dasharray:7 3}.l2{stroke:var(--e2);"
    "stroke-dasharray:2 2}.l3{stroke:var(--e3);stroke-dasharray:9 3 2 3}.l4{stroke:var(--e4);stroke-dasharray:4 4}"
    ".l5{stroke:var(--e5);stroke-dasharray:12 3}.l6{stroke:var(--e6);stroke-dasharray:1 3}.l7{stroke:var(--e7);"
    "stroke-dasharray:6 2 2 2}\n"
    ".scroll{overflow-x:auto;border:1px solid var(--line);border-radius:.5rem}\n"
    "table{border-collapse:separate;border-spacing:0;font-size:.875rem;width:100%;overflow-wrap:normal}\n"
    "figure{margin:1.4rem 0}figcaption{font-weight:600;margin-bottom:.4rem}tr:first-child>*{border-top:0}\n"
    "th,td{padding:.3rem .6rem;text-align:right;border-top:1px solid var(--line);white-space:nowrap;"
    "font-variant-numeric:tabular-nums}th{font-weight:600}\n"
    ".l{text-align:left}tr>:first-child{position:sticky;left:0;background:var(--bg);min-width:10rem;max-width:17rem;"
    "white-space:normal}"
    "\n"
    "th[scope=row]{font-weight:500}\n"
    "@media(max-width:40rem){th,td{padding:.25rem "
    ".45rem}table{font-size:.8rem}tr>:first-child{min-width:6.5rem;max-width:8rem}}\n"
    "@media print{.card{break-inside:avoid}}\n"
    "</style>\n</head>\n<body>\n";

void html_text(const char *text, FILE *out)
{
    for (; *text; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            fputc((unsigned char)*text < ' ' || *text == 0x7f ? ' ' : *text, out);
        }
    }
}

static void html_table(const struct grid *grid, FILE *out)
{
    fputs("<figure><figcaption>", out);
    html_text(grid->caption ? grid->caption : "", out);
    fputs("</figcaption><div class=\"scroll\" tabindex=\"0\"><table>", out);
    for (size_t i = 0; i < grid->count; i++) {
        size_t column = i % grid->column_count;
        const struct grid_cell *cell = &grid->cells[i];
        bool head_cell = i < grid->column_count || column == 0;
        if (column == 0)
            fputs("\n<tr>", out);
        fprintf(out, "<%s%s%s>", head_cell ? "th" : "td", column < grid->text_columns ? " class=\"l\"" : "",
                i < grid->column_count ? " scope=\"col\""
                : column == 0          ? " scope=\"row\""
                                       : "");
        fputs(cell->strong ? "<strong class=\"warn\">" : "", out);
        html_text(cell->text, out);
        fprintf(out, "%s</%s>", cell->strong ? "</strong>" : "", head_cell ? "th" : "td");
        if (column + 1 == grid->column_count)
            fputs("</tr>", out);
    }
    fputs("\n</table></div></figure>\n", out);
}

/* Paragraphs, or a list with the names of engines stressed. */
static void html_texts(const struct grid *grid, FILE *out)
{
    const char *tag = grid->kind == GRID_LIST ? "li" : "p";
    fputs(grid->kind == GRID_LIST ? "<ul>\n" : "", out);
    for (size_t i = 0; i + 1 < grid->count; i += 2) {
        bool warning = grid->kind != GRID_LIST && grid->cells[i].strong;
        fprintf(out, "<%s><strong%s>", tag, warning ? " class=\"warn\"" : "");
        html_text(grid->cells[i].text, out);
        fputs("</strong> ", out);
        html_text(grid->cells[i + 1].text, out);
        fprintf(out, "</%s>\n", tag);
    }
    fputs(grid->kind == GRID_LIST ? "</ul>\n" : "", out);
}

static void html_grid(const struct grid *grid, FILE *out)
{
    if (grid_empty(grid))
        return;
    if (grid->kind == GRID_TABLE)
        html_table(grid, out);
    else
        html_texts(grid, out);
}

static void contents(const struct chapter *chapters, size_t count, FILE *out)
{
    fputs("<nav aria-label=\"Contents\"><ul>\n<li><a href=\"#goals\">Goals</a></li>\n", out);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "<li><a href=\"#c%zu\">", i);
        html_text(chapters[i].title, out);
        fprintf(out, "</a>: <a href=\"#c%zu-charts\">charts</a>, <a href=\"#c%zu-tables\">tables</a></li>\n", i, i);
    }
    fputs("</ul></nav>\n", out);
}

static void card(const struct chapter *c, size_t row, FILE *out)
{
    fputs("<section class=\"card\"><h3>", out);
    html_text(c->row_names[row], out);
    fputs("</h3>\n", out);
    chart_bars(c, row, out);
    if (chart_has_latency(c, row)) {
        fputs("<h4>Latency (logarithmic; less is better)</h4>\n", out);
        chart_latency(c, row, out);
    }
    fputs("</section>\n", out);
}

static bool is_text(const struct grid *grid)
{
    return grid->kind != GRID_TABLE;
}

/* The tables of a chapter, or what is text in it. */
static void grids(const struct chapter *c, bool texts, FILE *out)
{
    for (const struct table *table = report_tables; table->name; table++) {
        struct grid grid;
        table->build(c, &grid);
        if (is_text(&grid) == texts)
            html_grid(&grid, out);
        grid_deinit(&grid);
    }
}

/* Cards of one height stand together. */
static void cards(const struct chapter *c, bool curves, FILE *out)
{
    fputs("<div class=\"charts\">\n", out);
    for (size_t row = 0; row < c->row_count; row++)
        if (chart_has_latency(c, row) == curves)
            card(c, row, out);
    fputs("</div>\n", out);
}

static void chapter(const struct chapter *c, size_t index, FILE *out)
{
    fprintf(out, "<section>\n<h2 id=\"c%zu\">", index);
    html_text(c->title, out);
    fputs("</h2>\n", out);
    grids(c, true, out);
    fprintf(out, "<div id=\"c%zu-charts\">\n", index);
    cards(c, true, out);
    cards(c, false, out);
    fprintf(out, "</div>\n<div id=\"c%zu-tables\">\n", index);
    grids(c, false, out);
    fputs("</div>\n</section>\n", out);
}

void report_html(const struct chapter *chapters, size_t count, FILE *out)
{
    struct grid goals;
    bool none = true;
    fputs(head, out);
    fputs(
        "<h1>NoKV beside other engines</h1>\n<p class=\"soft\">Made by nokv-bench from its results files. Figures are "
        "medians over interleaved rounds; ratios are taken round by round. A label such as \xe2\x80\x9cnokv "
        "2.79\xc3\x97"
        "\xe2\x80\x9d at a bar says how many times the rate of that engine NoKV had.</p>\n",
        out);
    contents(chapters, count, out);
    fputs("<section>\n<h2 id=\"goals\">Goals</h2>\n", out);
    for (enum goals which = GOALS_IN_MEMORY; which < GOALS_COUNT; which++) {
        goals_build(chapters, count, which, &goals);
        none = none && grid_empty(&goals);
        html_grid(&goals, out);
        grid_deinit(&goals);
    }
    if (none)
        fputs("<p>These results have nothing to hold against the goals.</p>\n", out);
    fputs("</section>\n", out);
    for (size_t i = 0; i < count; i++)
        chapter(&chapters[i], i, out);
    fputs("</body>\n</html>\n", out);
}
