// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_report_tables.c - the tables of a chapter.
 *
 * Each is a row of report_tables[]: a name for --tables, and a function that fills a grid, or leaves it without rows
 * when the results have nothing for it.
 */
#include <stdlib.h>
#include <string.h>

#include "nokv_bench_data.h"
#include "nokv_bench_report.h"
#include "nokv_bench_util.h"

#define FIGURE(name) offsetof(struct record, name)

/* ---- beginning ------------------------------------------------------------------------------------------------ */

/* A column for the workload and one per engine. */
static void begin_by_engine(const struct chapter *c, const char *caption, struct grid *grid)
{
    *grid = (struct grid){.caption = caption, .column_count = c->engine_count + 1, .text_columns = 1};
    grid_cell(grid, "workload");
    for (size_t e = 0; e < c->engine_count; e++)
        grid_cell(grid, "%s", c->engines[e]->engine);
}

/* ---- terms, engines, warnings --------------------------------------------------------------------------------- */

enum { DISTINCT_MAX = 32 };

/* The first record of each kind, in order of appearance in the chapter; `same` says which are of one kind. */
static size_t distinct(const struct chapter *c, bool (*same)(const struct record *a, const struct record *b),
                       const struct record *out[DISTINCT_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < c->count; i++) {
        size_t kind = 0;
        while (kind < count && !same(out[kind], c->records[i]))
            kind++;
        if (kind == count && count < DISTINCT_MAX)
            out[count++] = c->records[i];
    }
    return count;
}

static bool same_machine(const struct record *a, const struct record *b)
{
    const struct machine *x = &a->machine, *y = &b->machine;
    return x->cpu == y->cpu && x->kernel == y->kernel && x->filesystem == y->filesystem && x->cpus == y->cpus &&
           x->memory_bytes == y->memory_bytes && x->read_ahead_bytes == y->read_ahead_bytes;
}

/* Set up alike, and of one version. */
static bool same_engine(const struct record *a, const struct record *b)
{
    return a->engine == b->engine && a->version == b->version && a->terms == b->terms;
}

static void terms_build(const struct chapter *c, struct grid *grid)
{
    const struct record *r = c->records[0];
    char sizes[64] = "mixed sizes", memory[64] = "", filter[64] = "", limit[96] = "all data in the page cache",
         size[32];
    *grid = (struct grid){.kind = GRID_PARAGRAPHS, .column_count = 2};
    if (r->value_size)
        snprintf(sizes, sizeof sizes, "%s%lu bytes", r->mixed ? "mixed sizes, about " : "", r->value_size);
    if (r->memory_bytes)
        snprintf(memory, sizeof memory, " memory budget %lu MiB;", r->memory_bytes >> 20);
    if (r->filter_bits)
        snprintf(filter, sizeof filter, " filter %u bits per key;", r->filter_bits);
    for (size_t row = 0; row < c->row_count; row++)
        if (strcmp(c->rows[row]->workload, "cold") == 0)
            snprintf(limit, sizeof limit, "all data in the page cache, but after cold");
    if (r->memory_limit_bytes)
        snprintf(limit, sizeof limit, "the process has %s of memory, page cache included, and was opened cold",
                 size_text(r->memory_limit_bytes, size));
    grid_cell(grid, "Terms:");
    grid_cell(grid,
              "%lu keys of %d bytes, values of %s;%s%s no compression; no sync except in durable; %s; every value that "
              "came back was compared byte for byte; medians of %u interleaved round%s.",
              r->keys, DATA_KEY_SIZE, sizes, memory, filter, limit, c->rounds, c->rounds == 1 ? "" : "s");
    const struct record *kinds[DISTINCT_MAX];
    size_t kind_count = distinct(c, same_machine, kinds);
    for (size_t i = 0; i < kind_count; i++) {
        const struct machine *m = &kinds[i]->machine;
        char ahead[112] = "";
        if (m->cpus == 0 && !*m->cpu)
            continue;
        if (r->memory_limit_bytes && m->read_ahead_bytes)
            snprintf(ahead, sizeof ahead, ", read-ahead of the device %s (who does not advise otherwise pays for it)",
                     size_text(m->read_ahead_bytes, size));
        grid_cell(grid, "Machine:");
        grid_cell(grid, "%lu processors (%s), %.1f GiB, %s, %s%s.", m->cpus, *m->cpu ? m->cpu : "not recorded",
                  (double)m->memory_bytes / (1 << 30), *m->kernel ? m->kernel : "kernel not recorded",
                  *m->filesystem ? m->filesystem : "file system not recorded", ahead);
    }
}

/* Only the first line of each process has its terms: a kind without any says nothing when there is one with. */
static bool is_said_elsewhere(const struct record *const kinds[], size_t count, const struct record *kind)
{
    bool elsewhere = false;
    for (size_t i = 0; i < count && !*kind->terms; i++)
        elsewhere =
            elsewhere || (*kinds[i]->terms && kinds[i]->engine == kind->engine && kinds[i]->version == kind->version);
    return elsewhere;
}

static void engines_build(const struct chapter *c, struct grid *grid)
{
    const struct record *kinds[DISTINCT_MAX];
    size_t kind_count = distinct(c, same_engine, kinds);
    *grid = (struct grid){.kind = GRID_LIST, .column_count = 2};
    for (size_t e = 0; e < c->engine_count; e++)
        for (size_t i = 0; i < kind_count; i++)
            if (kinds[i]->engine == c->engines[e]->engine && !is_said_elsewhere(kinds, kind_count, kinds[i])) {
                grid_strong(grid, "%s", kinds[i]->engine);
                grid_cell(grid, "%s%s%s", kinds[i]->version, *kinds[i]->terms ? ": " : "", kinds[i]->terms);
            }
}

/* The first that the records of a chapter have of a text; NULL when none has one. */
static const char *note_first(const struct chapter *c, size_t offset)
{
    const char *note = NULL;
    for (size_t i = 0; i < c->count && !note; i++) {
        memcpy(&note, (const char *)c->records[i] + offset, sizeof note);
        note = *note ? note : NULL;
    }
    return note;
}

/* Wrong answers; and company on the machine, which spoils figures, and not those of all engines alike. */
static void warnings_build(const struct chapter *c, struct grid *grid)
{
    const struct record *worst = NULL;
    size_t busy = 0;
    *grid = (struct grid){.kind = GRID_PARAGRAPHS, .column_count = 2};
    for (size_t i = 0; i < c->count; i++) {
        const struct record *r = c->records[i];
        if (r->wrong) {
            grid_strong(grid, "WRONG:");
            grid_cell(grid, "%s, %s, round %u: %lu answers were not what they had to be.", r->engine,
                      c->row_names[r->row], r->round, r->wrong);
        }
        if (r->seconds < 0.3 || !(r->other_cores > 0.15)) /* the kernel counts in ticks of 10 ms */
            continue;
        busy++;
        worst = !worst || r->other_cores > worst->other_cores ? r : worst;
    }
    if (worst) {
        grid_strong(grid, "Not alone:");
        grid_cell(grid,
                  "in %zu of %zu phases other processes used more than 0.15 processors, at most %.2f (%s, %s, round "
                  "%u).",
                  busy, c->count, worst->other_cores, worst->engine, worst->workload, worst->round);
    }
    const char *uncounted = note_first(c, FIGURE(uncounted)), *memory = note_first(c, FIGURE(memory_note));
    if (uncounted) {
        grid_strong(grid, "System calls");
        grid_cell(grid, "were not counted: %s.", uncounted);
    }
    if (memory) {
        grid_strong(grid, "Memory limit:");
        grid_cell(grid, "%s.", memory);
    }
}

/* ---- speed ---------------------------------------------------------------------------------------------------- */

static void ratio_cells(const struct chapter *c, size_t row, struct grid *grid)
{
    char bests[256];
    struct ratio ratio = chapter_ratio(c, row, figure_member, FIGURE(ops_per_sec), false, 0);
    if (record_is_whole(c->rows[row])) { /* settling fast is no merit when another wrote nothing: see "settled" */
        grid_cell(grid, "%s", "");
        grid_cell(grid, "%s", "");
    } else if (ratio.count == 0) {
        grid_cell(grid, "-");
        grid_cell(grid, "-");
    } else {
        grid_cell(grid, "%.2f (%.2f to %.2f)", ratio.median, ratio.low, ratio.high);
        grid_cell(grid, "%s", ratio_bests(c, &ratio, bests, sizeof bests));
    }
}

static void rates_build(const struct chapter *c, struct grid *grid)
{
    begin_by_engine(c, "Operations per second (settle, reopen, kill: seconds)", grid);
    grid->column_count += 2;
    grid_cell(grid, "nokv / best peer");
    grid_cell(grid, "best peer");
    for (size_t row = 0; row < c->row_count; row++) {
        bool whole = record_is_whole(c->rows[row]);
        grid_cell(grid, "%s", c->row_names[row]);
        for (size_t e = 0; e < c->engine_count; e++) {
            char text[16];
            double value = chapter_cell(c, row, e, whole ? FIGURE(seconds) : FIGURE(ops_per_sec));
            if (whole || isnan(value))
                grid_number(grid, value, value < 0.01 ? 4 : 2, " s");
            else
                grid_cell(grid, "%s", bench_human(value, text));
        }
        ratio_cells(c, row, grid);
    }
}

static void megabytes_build(const struct chapter *c, struct grid *grid)
{
    begin_by_engine(c, "MB per second of keys and values that were put or came back (keyscan: of keys)", grid);
    if (c->records[0]->value_size < 4096 && !c->records[0]->mixed)
        return;
    for (size_t row = 0; row < c->row_count; row++) {
        if (record_is_whole(c->rows[row]) || !chapter_any(c, row, FIGURE(mb_per_sec)))
            continue;
        grid_cell(grid, "%s", c->row_names[row]);
        for (size_t e = 0; e < c->engine_count; e++) {
            double value = chapter_cell(c, row, e, FIGURE(mb_per_sec));
            grid_number(grid, value, value < 99.5 ? 1 : 0, "");
        }
    }
}

static void latency_build(const struct chapter *c, struct grid *grid)
{
    static const size_t offsets[] = {FIGURE(p50_us), FIGURE(p99_us), FIGURE(p999_us), FIGURE(max_us)};
    begin_by_engine(c, "Latency in microseconds: p50 / p99 / p99.9 / max", grid);
    for (size_t row = 0; row < c->row_count; row++) {
        if (record_is_whole(c->rows[row]) || !chapter_any(c, row, FIGURE(p50_us)))
            continue;
        grid_cell(grid, "%s", c->row_names[row]);
        for (size_t e = 0; e < c->engine_count; e++) {
            double v[4];
            for (unsigned i = 0; i < 4; i++)
                v[i] = chapter_cell(c, row, e, offsets[i]);
            if (isnan(v[0]) || isnan(v[1]) || isnan(v[2]) || isnan(v[3]))
                grid_cell(grid, "-");
            else
                grid_cell(grid, "%.1f / %.1f / %.1f / %.0f", v[0], v[1], v[2], v[3]);
        }
    }
}

/* ---- writes and space ----------------------------------------------------------------------------------------- */

static void settled_row(const struct chapter *c, size_t row, size_t e, struct grid *grid)
{
    double user = chapter_cell(c, row, e, FIGURE(user_bytes));
    double seconds = chapter_median(c, row, e, figure_settled, FIGURE(seconds));
    grid_cell(grid, "%s", c->row_names[row]);
    grid_cell(grid, "%s", c->engines[e]->engine);
    grid_number(grid, seconds, 1, "");
    grid_number(grid, user / seconds / 1e6, 0, "");
    grid_number(grid, chapter_median(c, row, e, figure_settled, FIGURE(device_bytes)) / user, 2, "");
    grid_number(grid, chapter_median(c, row, e, figure_settled, FIGURE(blockdev_bytes)) / user, 2, "");
    grid_number(grid, chapter_cell(c, chapter_settle_row(c, row), e, FIGURE(space_amp)), 2, "");
}

static void settled_build(const struct chapter *c, struct grid *grid)
{
    static const char *const columns[] = {"workload",
                                          "engine",
                                          "seconds",
                                          "MB/s",
                                          "bytes written per user byte",
                                          "by the whole device",
                                          "disk per live user byte"};
    *grid = (struct grid){.caption = "Writes with the settle behind them, together",
                          .column_count = sizeof columns / sizeof *columns,
                          .text_columns = 2};
    for (size_t i = 0; i < grid->column_count; i++)
        grid_cell(grid, "%s", columns[i]);
    for (size_t row = 0; row < c->row_count; row++) {
        if (chapter_settle_row(c, row) == row || record_is_whole(c->rows[row]) || record_reads(c->rows[row]))
            continue;
        for (size_t e = 0; e < c->engine_count; e++)
            if (!isnan(chapter_median(c, row, e, figure_settled, FIGURE(seconds))))
                settled_row(c, row, e, grid);
    }
}

/* Two figures of each phase that does not only read; nothing when the results are from before there were these. */
static void pairs_build(const struct chapter *c, const char *caption, const size_t offsets[2], const char *between,
                        const char *end, struct grid *grid)
{
    begin_by_engine(c, caption, grid);
    for (size_t row = 0; row < c->row_count; row++) {
        if (record_reads(c->rows[row]) || !chapter_any(c, row, offsets[1]))
            continue;
        grid_cell(grid, "%s", c->row_names[row]);
        for (size_t e = 0; e < c->engine_count; e++) {
            double first = chapter_cell(c, row, e, offsets[0]), second = chapter_cell(c, row, e, offsets[1]);
            if (isnan(first) || isnan(second))
                grid_cell(grid, "-");
            else
                grid_cell(grid, "%.2f%s%.2f%s", first, between, second, end);
        }
    }
}

static void written_build(const struct chapter *c, struct grid *grid)
{
    pairs_build(c,
                "Bytes written per user byte since the database was empty, at the end of each phase: by the process "
                "(by the whole device)",
                (size_t[]){FIGURE(write_amp), FIGURE(write_amp_blockdev)}, " (", ")", grid);
}

static void space_build(const struct chapter *c, struct grid *grid)
{
    pairs_build(c, "Disk per live user byte: at the end of each phase / the most that was seen during it",
                (size_t[]){FIGURE(space_amp), FIGURE(space_amp_peak)}, " / ", "", grid);
}

/* ---- processor and memory ------------------------------------------------------------------------------------- */

static void cpu_build(const struct chapter *c, struct grid *grid)
{
    begin_by_engine(c, "CPU microseconds per operation, background threads included (settle, reopen, kill: seconds)",
                    grid);
    for (size_t row = 0; row < c->row_count; row++) {
        bool whole = record_is_whole(c->rows[row]);
        if (!chapter_any(c, row, FIGURE(cpu_us_per_op)))
            continue;
        grid_cell(grid, "%s", c->row_names[row]);
        for (size_t e = 0; e < c->engine_count; e++) {
            double value = chapter_cell(c, row, e, FIGURE(cpu_us_per_op));
            grid_number(grid, whole ? value / 1e6 : value, 2, whole ? " s" : "");
        }
    }
}

static void part_append(char *text, size_t size, const char *separator, double value)
{
    size_t used = strlen(text);
    if (isnan(value))
        snprintf(text + used, size - used, "%s-", separator);
    else
        snprintf(text + used, size - used, "%s%.*f", separator, value > 0 && value < 0.01 ? 4 : 2, value);
}

static void calls_build(const struct chapter *c, struct grid *grid)
{
    static const size_t offsets[] = {FIGURE(syscalls_per_op), FIGURE(minor_faults_per_op), FIGURE(major_faults_per_op)};
    begin_by_engine(c, "System calls / minor page faults / major page faults per operation", grid);
    for (size_t row = 0; row < c->row_count; row++) {
        bool any = false;
        for (size_t e = 0; e < c->engine_count; e++)
            for (size_t i = 0; i < 3; i++)
                any = any || !isnan(chapter_cell(c, row, e, offsets[i]));
        if (!any)
            continue;
        grid_cell(grid, "%s", c->row_names[row]);
        for (size_t e = 0; e < c->engine_count; e++) {
            char text[96] = "";
            for (size_t i = 0; i < 3; i++)
                part_append(text, sizeof text, i ? " / " : "", chapter_cell(c, row, e, offsets[i]));
            grid_cell(grid, "%s", strcmp(text, "- / - / -") == 0 ? "-" : text);
        }
    }
}

static void device_build(const struct chapter *c, struct grid *grid)
{
    begin_by_engine(c, "Bytes read from the device / major page faults per operation, where there were any", grid);
    for (size_t row = 0; row < c->row_count; row++) {
        if (!record_reads(c->rows[row]) || !chapter_any(c, row, FIGURE(device_read_bytes_per_op)))
            continue;
        grid_cell(grid, "%s", c->row_names[row]);
        for (size_t e = 0; e < c->engine_count; e++) {
            char text[96] = "";
            snprintf(text, sizeof text, "%.0f", chapter_cell(c, row, e, FIGURE(device_read_bytes_per_op)));
            part_append(text, sizeof text, " / ", chapter_cell(c, row, e, FIGURE(major_faults_per_op)));
            grid_cell(grid, "%s", strncmp(text, "nan", 3) == 0 ? "-" : text);
        }
    }
}

static void memory_build(const struct chapter *c, struct grid *grid)
{
    begin_by_engine(c, "Peak memory in MB: resident, mapped files included / anonymous", grid);
    for (size_t row = 0; row < c->row_count; row++) {
        if (!chapter_any(c, row, FIGURE(peak_rss_bytes)))
            continue;
        grid_cell(grid, "%s", c->row_names[row]);
        for (size_t e = 0; e < c->engine_count; e++) {
            double rss = chapter_cell(c, row, e, FIGURE(peak_rss_bytes));
            double anon = chapter_cell(c, row, e, FIGURE(peak_anon_bytes));
            if (isnan(rss) || isnan(anon))
                grid_cell(grid, "-");
            else
                grid_cell(grid, "%.0f / %.0f", rss / 1e6, anon / 1e6);
        }
    }
}

const struct table report_tables[] = {
    {"terms", "the data set, how it was measured, and on which machine", terms_build},
    {"engines", "versions, and how each was set up", engines_build},
    {"warnings", "wrong answers, and phases that others disturbed", warnings_build},
    {"rates", "operations per second, and the ratio to the best peer", rates_build},
    {"megabytes", "MB/s, where values have 4 KiB or more", megabytes_build},
    {"latency", "p50, p99, p99.9, maximum", latency_build},
    {"settled", "writes with the settle behind them", settled_build},
    {"written", "bytes written per user byte since the database was empty", written_build},
    {"space", "disk per live byte", space_build},
    {"cpu", "processor time per operation", cpu_build},
    {"calls", "system calls and page faults per operation", calls_build},
    {"device", "bytes that reads had the device read, per operation", device_build},
    {"memory", "peak memory", memory_build},
    {NULL, NULL, NULL},
};
