// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_html.c - the results as one page: verdicts, a table of winners, then per part charts with their figures.
 *
 * One file that fetches nothing: style sheet and charts are in it, there is no script, and a content security policy
 * says so. All text goes through lab_html_text(). The look is that of the benchmarks' page. Wide tables scroll sideways
 * in a box of their own; the figures of a chart are folded away below it.
 */
#include <stdio.h>

#include "lab/lab.h"

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
    "<title>NoKV: four I/O models, measured</title>\n<style>\n"
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#59636e;--line:#d1d9e0;--card:#f6f8fa;--link:#0757b0;"
    "--warn:#b42318;\n"
    "--e0:#c2410c;--e1:#0b62b8;--e2:#0f766e;--e3:#a21caf;--e4:#806000}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#0f1318;--fg:#e3e8ee;--soft:#9aa6b2;--line:#343d47;--card:#171c23;"
    "--link:#79b8ff;--warn:#ff8a7a;\n"
    "--e0:#ff9a5c;--e1:#58a6ff;--e2:#3dd1b8;--e3:#e58bf0;--e4:#e2c044}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;max-width:76rem;padding:1rem;background:var(--bg);color:var(--fg);"
    "font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}\n"
    "h1{font-size:1.7rem;line-height:1.2}h2{font-size:1.3rem;line-height:1.3;margin:2.5rem 0 .5rem;padding-top:.6rem;"
    "border-top:1px solid var(--line)}h3{font-size:1.05rem;margin:1.6rem 0 .2rem}h4{font-size:1rem;margin:0 0 .3rem}\n"
    "a{color:var(--link)}.soft{color:var(--soft)}.note{color:var(--soft);font-size:.85rem;margin:.1rem 0 .6rem}"
    "strong.warn{color:var(--warn)}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:.8rem;margin:.6rem 0;"
    "align-items:start}\n"
    ".card{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.7rem;min-width:0}\n"
    ".card p{margin:.3rem 0}.card svg{display:block;width:100%;height:auto}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:.1rem .9rem;list-style:none;margin:.3rem 0 0;padding:0;font-size:.85rem}"
    ".legend li{display:flex;align-items:center;gap:.35rem}.legend svg{width:12px;height:12px;flex:none}\n"
    "text{font:12px "
    "system-ui,sans-serif;fill:var(--fg)}text.b{font-weight:600}text.m{font-size:11px;fill:var(--soft)}\n"
    ".range{stroke:var(--fg);stroke-width:1;fill:none;opacity:.65}\n"
    ".e0{fill:var(--e0)}.e1{fill:var(--e1)}.e2{fill:var(--e2)}.e3{fill:var(--e3)}.e4{fill:var(--e4)}\n"
    "details{margin-top:.4rem;font-size:.85rem}summary{cursor:pointer;color:var(--link)}\n"
    ".scroll{overflow-x:auto;border:1px solid var(--line);border-radius:.5rem;margin:.4rem 0}\n"
    "table{border-collapse:separate;border-spacing:0;font-size:.875rem;width:100%;overflow-wrap:normal}\n"
    "tr:first-child>*{border-top:0}th,td{padding:.3rem .6rem;text-align:right;border-top:1px solid var(--line);"
    "white-space:nowrap;font-variant-numeric:tabular-nums}th{font-weight:600}th[scope=row]{font-weight:500}\n"
    ".l{text-align:left}tr>:first-child{text-align:left;position:sticky;left:0;background:var(--bg);min-width:8rem;"
    "max-width:17rem;white-space:normal}.card tr>:first-child{background:var(--card)}\n"
    "@media(max-width:40rem){th,td{padding:.25rem .45rem}table{font-size:.8rem}.winners tr>:first-child"
    "{max-width:8rem;min-width:6.5rem}.winners :is(td,th).l{white-space:normal;min-width:6.5rem}}\n"
    "@media print{.card{break-inside:avoid}}\n"
    "</style>\n</head>\n<body>\n";

void lab_html_text(const char *text, FILE *out)
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
        default:
            fputc((unsigned char)*text < ' ' || *text == 0x7f ? ' ' : *text, out);
        }
    }
}

static void element(const char *tag, const char *attributes, const char *text, FILE *out)
{
    fprintf(out, "<%s%s>", tag, attributes);
    lab_html_text(text, out);
    fprintf(out, "</%s>", tag);
}

/* ---- the top -------------------------------------------------------------------------------------------------- */

static void terms(const struct lab *lab, FILE *out)
{
    char text[1200];
    snprintf(text, sizeof text, "%s. %s%s. Files of %lu MiB, seed %lu, %u rounds of %.0f ms, %.0f seconds in all.",
             lab->machine, lab->date, lab_stopped(lab) ? "; interrupted, so that rows are missing" : "",
             lab->size >> 20, lab->seed, lab->rounds, (double)lab->slice_ns / 1e6, lab->seconds);
    element("p", " class=\"soft\"", text, out);
    if (lab->cgroup.version)
        snprintf(text, sizeof text, "\xe2\x80\x9cShort of memory\xe2\x80\x9d is a limit of %lu MiB, by a cgroup v%u.",
                 lab->memory >> 20, lab->cgroup.version);
    else
        snprintf(text, sizeof text, "Memory could not be limited here (%s): rows that need it are left out.",
                 lab->cgroup.why);
    element("p", " class=\"soft\"", text, out);
    for (unsigned m = 0; m < LAB_MODELS; m++)
        if (lab->refused[m][0]) {
            snprintf(text, sizeof text, "%s is left out: %s.", lab_model_names[m], lab->refused[m]);
            element("p", "", text, out);
        }
    fputs("<p>In each row all contenders took turns. A bar is the median of the rounds, the thin line on it their "
          "range; a "
          "star marks the best. Where the best was not better than the best other model in every round it is a tie. "
          "Every byte that was read was checked.</p>\n",
          out);
}

static void legend(FILE *out)
{
    fputs("<ul class=\"legend\">", out);
    for (unsigned m = 0; m < LAB_MODELS; m++)
        fprintf(out,
                "<li><svg viewBox=\"0 0 12 12\" aria-hidden=\"true\"><rect class=\"e%u\" width=\"12\" height=\"12\" "
                "rx=\"2\"/></svg>%s</li>",
                m, lab_model_names[m]);
    fputs("</ul>\n", out);
}

static void contents(FILE *out)
{
    fputs("<nav aria-label=\"Contents\"><ul>\n<li><a href=\"#verdict\">Verdict</a></li>\n"
          "<li><a href=\"#winners\">Winners</a></li>\n",
          out);
    for (unsigned part = 1; part <= LAB_PARTS; part++)
        fprintf(out, "<li><a href=\"#part%u\">%s</a></li>\n", part, lab_part_titles[part]);
    fputs("</ul></nav>\n", out);
}

static void verdict(const struct lab_verdict *v, FILE *out)
{
    char text[512];
    lab_verdict_text(v, text, sizeof text);
    fputs("<section class=\"card\">", out);
    element("h4", "", v->component, out);
    fputs("<p>", out);
    lab_html_text(text, out);
    fputs(".</p>", out);
    if (v->caution)
        element("p", " class=\"note\"", v->caution, out);
    fputs("<div class=\"scroll\" tabindex=\"0\"><table><tr>", out);
    element("th", " scope=\"col\"", v->option, out);
    fputs("<th scope=\"col\">of the best</th><th scope=\"col\">at worst</th></tr>\n", out);
    for (unsigned i = 0; i < v->count; i++) {
        fputs("<tr>", out);
        element("th", " scope=\"row\"", v->values[i].option, out);
        fprintf(out, "<td>%.0f %%</td><td>%.0f %%</td></tr>\n", 100 * v->values[i].score, 100 * v->values[i].worst);
    }
    fputs("</table></div></section>\n", out);
}

static void verdicts(const struct lab *lab, FILE *out)
{
    fputs("<h2 id=\"verdict\">Verdict</h2>\n<p class=\"note\">Per option of the engine: the geometric mean, over the "
          "rows "
          "that speak for it, of how good a value is beside the best value.</p>\n<div class=\"charts\">\n",
          out);
    for (unsigned c = LAB_NO_CHOICE + 1; c < LAB_CHOICES; c++) {
        struct lab_verdict v;
        if (lab_verdict_make(lab, (enum lab_choice)c, &v))
            verdict(&v, out);
    }
    fputs("</div>\n", out);
}

static void winner_row(const struct lab_row *row, FILE *out)
{
    char text[128];
    struct lab_winner w = lab_row_winner(row);
    snprintf(text, sizeof text, "%s, %s", row->group, row->label);
    fputs("<tr>", out);
    element("th", " scope=\"row\"", text, out);
    if (w.index < 0) {
        element("td", " class=\"l\" colspan=\"4\"", row->note, out);
        fputs("</tr>\n", out);
        return;
    }
    element("td", " class=\"l\"", row->contenders[w.index].name, out);
    lab_figure_text(lab_contender_spread(&row->contenders[w.index], row->figure).median, row->figure, text);
    element("td", "", text, out);
    if (w.is_a_tie)
        snprintf(text, sizeof text, "tie");
    else if (w.ratio > 999)
        snprintf(text, sizeof text, "over 999\xc3\x97");
    else
        snprintf(text, sizeof text, "%.*f\xc3\x97", w.ratio < 10 ? 2 : 0, w.ratio);
    element("td", "", w.second < 0 ? "" : text, out);
    element("td", " class=\"l\"", w.second < 0 ? "" : row->contenders[w.second].name, out);
    fputs("</tr>\n", out);
}

static void winners(const struct lab *lab, FILE *out)
{
    fputs(
        "<h2 id=\"winners\">Winners</h2>\n<div class=\"scroll winners\" tabindex=\"0\"><table><tr><th "
        "scope=\"col\">what"
        "</th><th class=\"l\" scope=\"col\">best</th><th scope=\"col\">median</th><th scope=\"col\">better by</th><th "
        "class=\"l\" scope=\"col\">than the best other model</th></tr>\n",
        out);
    for (unsigned i = 0; i < lab->row_count; i++)
        winner_row(&lab->rows[i], out);
    fputs("</table></div>\n", out);
}

/* ---- parts ---------------------------------------------------------------------------------------------------- */

static bool has_figure(const struct lab_row *row, enum lab_figure figure)
{
    for (unsigned i = 0; i < row->count; i++)
        if (!isnan(lab_contender_spread(&row->contenders[i], figure).median))
            return true;
    return false;
}

static void figures(const struct lab_row *row, FILE *out)
{
    static const char *const columns[LAB_FIGURE_COUNT] = {"rate",     "bytes",      "median",       "p99",
                                                          "CPU each", "calls each", "major faults", "kept"};
    char text[32];
    fputs("<details><summary>all figures</summary><div class=\"scroll\" tabindex=\"0\"><table><tr><th "
          "scope=\"col\">way</th>",
          out);
    for (unsigned f = 0; f < LAB_FIGURE_COUNT; f++)
        if (has_figure(row, (enum lab_figure)f))
            element("th", " scope=\"col\"", columns[f], out);
    fputs("</tr>\n", out);
    for (unsigned i = 0; i < row->count; i++) {
        fputs("<tr>", out);
        element("th", " scope=\"row\"", row->contenders[i].name, out);
        for (unsigned f = 0; f < LAB_FIGURE_COUNT; f++)
            if (has_figure(row, (enum lab_figure)f)) {
                lab_figure_text(lab_contender_spread(&row->contenders[i], (enum lab_figure)f).median,
                                (enum lab_figure)f, text);
                element("td", "", text, out);
            }
        fputs("</tr>\n", out);
    }
    fputs("</table></div></details>\n", out);
}

static void card(const struct lab_row *row, FILE *out)
{
    fputs("<section class=\"card\">", out);
    element("h4", "", row->label, out);
    if (row->wrong)
        fprintf(out, "<p><strong class=\"warn\">%lu operations read wrong bytes</strong></p>", row->wrong);
    if (row->skipped) {
        element("p", " class=\"note\"", row->note, out);
    } else {
        lab_chart_row(row, out);
        for (unsigned i = 0; i < row->count; i++)
            if (row->contenders[i].failed[0]) {
                fprintf(out, "<p class=\"note\">");
                lab_html_text(row->contenders[i].name, out);
                fputs(": ", out);
                lab_html_text(row->contenders[i].failed, out);
                fputs("</p>", out);
            }
        figures(row, out);
    }
    fputs("</section>\n", out);
}

static void part(const struct lab *lab, unsigned number, FILE *out)
{
    const struct lab_row *before = NULL;
    fprintf(out, "<h2 id=\"part%u\">%s</h2>\n", number, lab_part_titles[number]);
    legend(out);
    for (unsigned i = 0; i < lab->row_count; i++) {
        const struct lab_row *row = &lab->rows[i];
        if (row->part != number)
            continue;
        if (!before || strcmp(before->group, row->group) != 0) {
            fputs(before ? "</div>\n" : "", out);
            element("h3", "", row->group, out);
            element("p", " class=\"note\"", row->note, out);
            fputs("<div class=\"charts\">\n", out);
        }
        card(row, out);
        before = row;
    }
    fputs(before ? "</div>\n" : "<p>Nothing was measured.</p>\n", out);
}

void lab_report_html(const struct lab *lab, FILE *out)
{
    fputs(head, out);
    fputs("<h1>Four I/O models, measured</h1>\n", out);
    terms(lab, out);
    contents(out);
    verdicts(lab, out);
    winners(lab, out);
    for (unsigned number = 1; number <= LAB_PARTS; number++)
        part(lab, number, out);
    fputs("</body>\n</html>\n", out);
}
