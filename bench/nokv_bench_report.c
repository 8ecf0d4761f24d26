// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_report.c - the verb "report": results files to Markdown on standard output, and to HTML and JSON files.
 *
 * Everything that is asked for is checked before anything is printed: a bad line in the last of several files leaves no
 * half of a report. Files are written beside their place and renamed, so that one that is there is whole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nokv_bench_report.h"
#include "nokv_bench_util.h"

struct options {
    const char *html, *json;
    const char *chapter; /* NULL: all of them */
    const char *tables;  /* comma-separated; NULL: all of them */
};

static const char usage[] =
    "usage: nokv-bench report RESULTS.jsonl... [options]\n\n"
    "Tables of results files, as Markdown on standard output; several files are read as one.\n"
    "  --html FILE      write a page with charts as well: one file, nothing fetched from elsewhere\n"
    "  --json FILE      write medians, ratios and goals for programs as well\n"
    "  --chapter NAME   print only the data set of that name, such as 10000000x100-256MiB\n"
    "  --tables A,B,... print only these tables:\n";

static void usage_print(FILE *out)
{
    fputs(usage, out);
    fprintf(out, "      %-10s %s\n", "goals", "what is to be reached, over all data sets");
    for (const struct table *table = report_tables; table->name; table++)
        fprintf(out, "      %-10s %s\n", table->name, table->text);
}

/* ---- selecting ------------------------------------------------------------------------------------------------ */

static bool list_has(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = list; at; at = strchr(at, ','), at += at != NULL)
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == 0))
            return true;
    return false;
}

static bool table_known(const char *name)
{
    bool known = strcmp(name, "goals") == 0;
    for (const struct table *table = report_tables; table->name && !known; table++)
        known = strcmp(name, table->name) == 0;
    return known;
}

static void tables_check(const char *list)
{
    char *copy = strdup(list), *rest = copy;
    if (!copy)
        bench_die("out of memory");
    for (const char *name = strsep(&rest, ","); name; name = strsep(&rest, ","))
        if (!table_known(name))
            bench_die("no table \"%s\"; nokv-bench report --help lists them", name);
    free(copy);
}

static bool wanted(const struct options *o, const char *table)
{
    return !o->tables || list_has(o->tables, table);
}

/* ---- Markdown ------------------------------------------------------------------------------------------------- */

/* A grid behind an empty line, unless it is the first that is printed. */
static void grid_print(const struct grid *grid, bool *any, FILE *out)
{
    if (grid_empty(grid))
        return;
    if (*any)
        fputc('\n', out);
    *any = true;
    grid_markdown(grid, out);
}

static void chapter_print(const struct options *o, const struct chapter *c, bool heading, bool *any, FILE *out)
{
    if (heading) {
        fprintf(out, "%s## %s\n", *any ? "\n" : "", c->title);
        *any = true;
    }
    for (const struct table *table = report_tables; table->name; table++) {
        struct grid grid;
        if (!wanted(o, table->name))
            continue;
        table->build(c, &grid);
        grid_print(&grid, any, out);
        grid_deinit(&grid);
    }
}

static void markdown_print(const struct options *o, const struct chapter *chapters, size_t count, FILE *out)
{
    bool any = false, heading = !o->tables || (!o->chapter && count > 1);
    for (enum goals which = GOALS_IN_MEMORY; which < GOALS_COUNT && wanted(o, "goals"); which++) {
        struct grid grid;
        goals_build(chapters, count, which, &grid);
        grid_print(&grid, &any, out);
        grid_deinit(&grid);
    }
    if (o->tables && strcmp(o->tables, "goals") == 0)
        return;
    for (size_t i = 0; i < count; i++)
        if (!o->chapter || strcmp(o->chapter, chapters[i].name) == 0)
            chapter_print(o, &chapters[i], heading, &any, out);
}

void report_print(struct report *report, FILE *out)
{
    const struct options all = {0};
    size_t count;
    struct chapter *chapters = chapters_create(report, &count);
    markdown_print(&all, chapters, count, out);
    chapters_destroy(chapters, count);
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

struct output {
    const char *path;
    char *temporary;
    FILE *file;
};

static void output_begin(struct output *o, const char *path)
{
    o->path = path;
    if (asprintf(&o->temporary, "%s.%d.tmp", path, (int)getpid()) < 0)
        bench_die("out of memory");
    o->file = fopen(o->temporary, "we");
    if (!o->file)
        bench_die("%s: %s", o->temporary, strerror(errno));
}

static void output_end(struct output *o)
{
    bool failed = ferror(o->file) != 0;
    failed = fclose(o->file) != 0 || failed;
    if (failed || rename(o->temporary, o->path) != 0) {
        int reason = errno;
        (void)unlink(o->temporary);
        bench_die("%s: %s", o->path, strerror(reason));
    }
    free(o->temporary);
}

static void html_write(const char *path, const struct chapter *chapters, size_t count)
{
    struct output output;
    output_begin(&output, path);
    report_html(chapters, count, output.file);
    output_end(&output);
}

static void json_write(const char *path, const struct chapter *chapters, size_t count)
{
    struct output output;
    json_t *object = report_json(chapters, count);
    output_begin(&output, path);
    if (json_dumpf(object, output.file, JSON_INDENT(1) | JSON_REAL_PRECISION(8)) != 0)
        bench_die("%s: could not be written", path);
    fputc('\n', output.file);
    output_end(&output);
    json_decref(object);
}

/* ---- command line --------------------------------------------------------------------------------------------- */

/* Take in the option at argv[i]; false when it is none. */
static bool option_take(struct options *o, int argc, char **argv, int i)
{
    const struct {
        const char *name;
        const char **to;
    } options[] = {{"--html", &o->html}, {"--json", &o->json}, {"--chapter", &o->chapter}, {"--tables", &o->tables}};
    for (size_t k = 0; k < sizeof options / sizeof *options; k++)
        if (strcmp(argv[i], options[k].name) == 0) {
            if (i + 1 == argc)
                bench_die("%s: its value is missing", argv[i]);
            *options[k].to = argv[i + 1];
            return true;
        }
    if (argv[i][0] == '-')
        bench_die("report: no option %s; see nokv-bench report --help", argv[i]);
    return false;
}

static void chapter_check(const char *name, const struct chapter *chapters, size_t count)
{
    char names[512] = "";
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(names);
        if (strcmp(name, chapters[i].name) == 0)
            return;
        snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", chapters[i].name);
    }
    bench_die("no chapter \"%s\"; there are: %s", name, names);
}

int report_execute(int argc, char **argv)
{
    struct options o = {0};
    struct report *report = bench_alloc(sizeof *report);
    size_t count;
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0) {
            usage_print(stdout);
            report_free(report);
            return 0;
        }
    for (int i = 0; i < argc; i++) {
        if (option_take(&o, argc, argv, i))
            i++;
        else
            report_read(report, argv[i]);
    }
    if (report->count == 0)
        bench_die("report: no results; see nokv-bench report --help");
    struct chapter *chapters = chapters_create(report, &count);
    if (o.tables)
        tables_check(o.tables);
    if (o.chapter)
        chapter_check(o.chapter, chapters, count);
    markdown_print(&o, chapters, count, stdout);
    if (o.html)
        html_write(o.html, chapters, count);
    if (o.json)
        json_write(o.json, chapters, count);
    if (fflush(stdout) != 0 || ferror(stdout))
        bench_die("standard output: %s", strerror(errno));
    chapters_destroy(chapters, count);
    report_free(report);
    return 0;
}
