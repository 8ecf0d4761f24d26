// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_report.c - from result lines to tables.
 *
 * A row is a workload with a number of threads, a column an engine, a cell the median over the rounds. The ratio of a
 * row is NoKV's rate to the best peer's, taken round by round (the two ran minutes apart in the same round), shown as
 * median and range: a row whose range reaches below 1.0 is not won, whatever its median says. Overwrites that follow
 * each other are rows of their own, numbered, and so is what comes behind each: a database ages.
 */
#include <stdlib.h>
#include <string.h>

#include "nokv_bench_compare.h"

enum { NAMES_MAX = 32, SAMPLES_MAX = 256 };

/* ---- result lines --------------------------------------------------------------------------------------------- */

/* Where the value of a field begins in a flat JSON object that this program wrote; NULL when it is missing. */
static const char *field_find(const char *line, const char *field)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", field);
    const char *at = strstr(line, quoted);
    return at ? at + strlen(quoted) : NULL;
}

static double field_number(const char *line, const char *field)
{
    const char *at = field_find(line, field);
    return at ? strtod(at, NULL) : 0;
}

static bool field_text(const char *line, const char *field, char out[REPORT_NAME_SIZE])
{
    const char *at = field_find(line, field);
    size_t length = at && *at == '"' ? strcspn(at + 1, "\"") : 0;
    if (length == 0 || length >= REPORT_NAME_SIZE)
        return false;
    memcpy(out, at + 1, length);
    out[length] = 0;
    return true;
}

/* What follows from other fields; results of before there was a field for space have it from the keys. */
static void derive(struct record *r)
{
    r->mb_per_sec = r->ops > 0 ? r->ops_per_sec * r->user_bytes / r->ops / 1e6 : 0;
    if (r->space_amp == 0)
        r->space_amp = r->disk_bytes / ((double)r->keys * (double)(DATA_KEY_SIZE + r->value_size));
}

bool report_add(struct report *report, const char *line)
{
    struct record r;
    memset(&r, 0, sizeof r);
    if (*line != '{' || !field_text(line, "engine", r.engine) || !field_text(line, "workload", r.workload) ||
        !field_text(line, "version", r.version))
        return false;
    (void)field_text(line, "after", r.after); /* empty when nothing was written before */
    if (report->count == REPORT_RECORDS_MAX)
        bench_die("more than %d results", REPORT_RECORDS_MAX);
    const struct {
        const char *name;
        double *to;
    } numbers[] = {{"ops", &r.ops},
                   {"seconds", &r.seconds},
                   {"ops_per_sec", &r.ops_per_sec},
                   {"p50_us", &r.p50_us},
                   {"p99_us", &r.p99_us},
                   {"p999_us", &r.p999_us},
                   {"max_us", &r.max_us},
                   {"cpu_us_per_op", &r.cpu_us_per_op},
                   {"other_cores", &r.other_cores},
                   {"user_bytes", &r.user_bytes},
                   {"device_bytes", &r.device_bytes},
                   {"blockdev_bytes", &r.blockdev_bytes},
                   {"disk_bytes", &r.disk_bytes},
                   {"peak_rss_bytes", &r.peak_rss_bytes},
                   {"peak_anon_bytes", &r.peak_anon_bytes},
                   {"disk_peak_bytes", &r.disk_peak_bytes},
                   {"space_amp", &r.space_amp},
                   {"space_amp_peak", &r.space_amp_peak},
                   {"write_amp", &r.write_amp},
                   {"write_amp_blockdev", &r.write_amp_blockdev}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        *numbers[i].to = field_number(line, numbers[i].name);
    r.generation = (unsigned)field_number(line, "generation");
    r.round = (unsigned)field_number(line, "round");
    r.threads = (unsigned)field_number(line, "threads");
    r.filter_bits = (unsigned)field_number(line, "filter_bits");
    r.keys = (uint64_t)field_number(line, "keys");
    r.value_size = (uint64_t)field_number(line, "value_size");
    r.memory_bytes = (uint64_t)field_number(line, "memory_bytes");
    r.wrong = (uint64_t)field_number(line, "wrong");
    r.found = (uint64_t)field_number(line, "found");
    r.missing = (uint64_t)field_number(line, "missing");
    derive(&r);
    report->records[report->count++] = r;
    return true;
}

/* ---- rows and columns ----------------------------------------------------------------------------------------- */

/* A row: records of the same workload after the same workload, of the same threads and sizes. */
static bool same_row(const struct record *a, const struct record *b)
{
    return strcmp(a->workload, b->workload) == 0 && strcmp(a->after, b->after) == 0 && a->threads == b->threads &&
           a->keys == b->keys && a->value_size == b->value_size && a->generation == b->generation;
}

struct table {
    const struct report *report;
    const struct record *rows[NAMES_MAX * 4]; /* the first record of each row, in order of appearance */
    size_t row_count;
    const struct record *engines[NAMES_MAX]; /* the first record of each engine; nokv, if there, is first */
    size_t engine_count;
};

static void table_build(struct table *t, const struct report *report)
{
    *t = (struct table){.report = report};
    for (size_t i = 0; i < report->count; i++) {
        const struct record *r = &report->records[i];
        size_t row = 0, engine = 0;
        while (row < t->row_count && !same_row(t->rows[row], r))
            row++;
        if (row == t->row_count && row < NAMES_MAX * 4)
            t->rows[t->row_count++] = r;
        while (engine < t->engine_count && strcmp(t->engines[engine]->engine, r->engine) != 0)
            engine++;
        if (engine == t->engine_count && engine < NAMES_MAX)
            t->engines[t->engine_count++] = r;
    }
    for (size_t i = 1; i < t->engine_count; i++)
        if (strcmp(t->engines[i]->engine, "nokv") == 0) {
            const struct record *nokv = t->engines[i];
            memmove(t->engines + 1, t->engines, i * sizeof *t->engines);
            t->engines[0] = nokv;
        }
}

/* A figure of a record, by the place of the member. */
static double record_figure(const struct record *r, size_t offset)
{
    double value;
    memcpy(&value, (const char *)r + offset, sizeof value);
    return value;
}

/* Median over the rounds of one figure; negative when there is none. */
static double cell(const struct table *t, size_t row, size_t engine, size_t offset)
{
    double values[SAMPLES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < t->report->count && count < SAMPLES_MAX; i++) {
        const struct record *r = &t->report->records[i];
        if (same_row(r, t->rows[row]) && strcmp(r->engine, t->engines[engine]->engine) == 0)
            values[count++] = record_figure(r, offset);
    }
    return count ? bench_median(values, count) : -1;
}

/* NoKV's rate to the best peer's in one round; negative when one of them is missing. */
static double round_ratio(const struct table *t, size_t row, unsigned round)
{
    double own = -1, best = -1;
    for (size_t i = 0; i < t->report->count; i++) {
        const struct record *r = &t->report->records[i];
        if (r->round != round || !same_row(r, t->rows[row]))
            continue;
        if (strcmp(r->engine, "nokv") == 0)
            own = r->ops_per_sec;
        else if (r->ops_per_sec > best)
            best = r->ops_per_sec;
    }
    return own > 0 && best > 0 ? own / best : -1;
}

static unsigned round_last(const struct table *t)
{
    unsigned last = 0;
    for (size_t i = 0; i < t->report->count; i++)
        last = t->report->records[i].round > last ? t->report->records[i].round : last;
    return last;
}

/* ---- printing ------------------------------------------------------------------------------------------------- */

static const struct workload *workload_of(const struct record *r)
{
    return workload_find(r->workload, strlen(r->workload));
}

static bool is_whole(const struct record *r)
{
    return !workload_of(r)->body;
}

/* "overwrite 2", "settle after overwrite 2": the second in a row. */
static void row_name(const struct record *r, FILE *out)
{
    fprintf(out, "| %s", r->workload);
    if (*r->after && !workload_of(r)->overwrites && (is_whole(r) || strncmp(r->after, "fill", 4) != 0))
        fprintf(out, " after %s", r->after);
    if (r->generation > 1)
        fprintf(out, " %u", r->generation);
    if (r->threads > 1)
        fprintf(out, ", %u threads", r->threads);
}

static void header_print(const struct table *t, const char *first, const char *last, FILE *out)
{
    fprintf(out, "\n| %s |", first);
    for (size_t e = 0; e < t->engine_count; e++)
        fprintf(out, " %s |", t->engines[e]->engine);
    fprintf(out, "%s\n| --- |", last ? last : "");
    for (size_t e = 0; e < t->engine_count; e++)
        fprintf(out, " ---: |");
    fprintf(out, "%s\n", last ? " ---: |" : "");
}

static void ratio_print(const struct table *t, size_t row, FILE *out)
{
    double ratios[SAMPLES_MAX];
    size_t count = 0;
    for (unsigned round = 0; round <= round_last(t) && count < SAMPLES_MAX; round++) {
        double ratio = round_ratio(t, row, round);
        if (ratio > 0)
            ratios[count++] = ratio;
    }
    if (count == 0) {
        fprintf(out, " - |\n");
        return;
    }
    double median = bench_median(ratios, count);
    fprintf(out, " %.2f (%.2f to %.2f) |\n", median, ratios[0], ratios[count - 1]);
}

static void rates_print(const struct table *t, FILE *out)
{
    fprintf(out, "\nOperations per second (settle, reopen: seconds)\n");
    header_print(t, "workload", " nokv / best peer |", out);
    for (size_t row = 0; row < t->row_count; row++) {
        bool whole = is_whole(t->rows[row]);
        row_name(t->rows[row], out);
        for (size_t e = 0; e < t->engine_count; e++) {
            char text[16];
            double value =
                cell(t, row, e, whole ? offsetof(struct record, seconds) : offsetof(struct record, ops_per_sec));
            if (value < 0)
                fprintf(out, " | -");
            else if (whole)
                fprintf(out, " | %.2f s", value);
            else
                fprintf(out, " | %s", bench_human(value, text));
        }
        fprintf(out, " |");
        if (whole)
            fprintf(out, " |\n"); /* settling fast is no merit when another wrote nothing: see the sum below */
        else
            ratio_print(t, row, out);
    }
}

static void latency_print(const struct table *t, FILE *out)
{
    static const size_t offsets[] = {offsetof(struct record, p50_us), offsetof(struct record, p99_us),
                                     offsetof(struct record, p999_us), offsetof(struct record, max_us)};
    fprintf(out, "\nLatency in microseconds: p50 / p99 / p99.9 / max\n");
    header_print(t, "workload", NULL, out);
    for (size_t row = 0; row < t->row_count; row++) {
        if (is_whole(t->rows[row]))
            continue;
        row_name(t->rows[row], out);
        for (size_t e = 0; e < t->engine_count; e++) {
            double v[4];
            for (unsigned i = 0; i < 4; i++)
                v[i] = cell(t, row, e, offsets[i]);
            if (v[0] < 0)
                fprintf(out, " | -");
            else
                fprintf(out, " | %.1f / %.1f / %.1f / %.0f", v[0], v[1], v[2], v[3]);
        }
        fprintf(out, " |\n");
    }
}

static bool any_figure(const struct table *t, size_t row, size_t offset)
{
    bool any = false;
    for (size_t e = 0; e < t->engine_count; e++)
        any = any || cell(t, row, e, offset) > 0;
    return any;
}

static void megabytes_print(const struct table *t, FILE *out)
{
    fprintf(out, "\nMB per second of keys and values that were put or came back (keyscan: of keys)\n");
    header_print(t, "workload", NULL, out);
    for (size_t row = 0; row < t->row_count; row++) {
        if (!any_figure(t, row, offsetof(struct record, mb_per_sec)))
            continue;
        row_name(t->rows[row], out);
        for (size_t e = 0; e < t->engine_count; e++) {
            double value = cell(t, row, e, offsetof(struct record, mb_per_sec));
            fprintf(out, value < 0 ? " | -" : value < 99.5 ? " | %.1f" : " | %.0f", value);
        }
        fprintf(out, " |\n");
    }
}

static void column_print(const struct table *t, const char *title, size_t offset, double divisor, const char *format,
                         FILE *out)
{
    fprintf(out, "\n%s\n", title);
    header_print(t, "workload", NULL, out);
    for (size_t row = 0; row < t->row_count; row++) {
        row_name(t->rows[row], out);
        for (size_t e = 0; e < t->engine_count; e++) {
            double value = cell(t, row, e, offset);
            fprintf(out, " | ");
            if (value < 0)
                fputc('-', out);
            else
                fprintf(out, format, value / divisor);
        }
        fprintf(out, " |\n");
    }
}

/* The settle that follows a row's writes; the row itself when there is none. */
static size_t settle_row(const struct table *t, size_t row)
{
    const struct record *r = t->rows[row];
    for (size_t i = row + 1; i < t->row_count; i++)
        if (strcmp(t->rows[i]->workload, "settle") == 0 && strcmp(t->rows[i]->after, r->workload) == 0 &&
            t->rows[i]->keys == r->keys && t->rows[i]->value_size == r->value_size &&
            t->rows[i]->generation == r->generation)
            return i;
    return row;
}

/* A figure of a row and of the settle behind it, together. */
static double settled(const struct table *t, size_t row, size_t engine, size_t offset)
{
    size_t settle = settle_row(t, row);
    double value = cell(t, row, engine, offset);
    return settle == row ? value : value + cell(t, settle, engine, offset);
}

static void settled_print(const struct table *t, FILE *out)
{
    fprintf(out,
            "\nWrites with the settle behind them: seconds together; MB/s together; bytes written per user byte by "
            "the process (by the whole device); disk per live user byte\n");
    header_print(t, "workload", NULL, out);
    for (size_t row = 0; row < t->row_count; row++) {
        if (settle_row(t, row) == row)
            continue;
        row_name(t->rows[row], out);
        for (size_t e = 0; e < t->engine_count; e++) {
            double user = cell(t, row, e, offsetof(struct record, user_bytes));
            double seconds = settled(t, row, e, offsetof(struct record, seconds));
            if (user < 0) {
                fprintf(out, " | -");
                continue;
            }
            fprintf(out, " | %.1f s; %.0f; %.2f (%.2f); %.2f", seconds, user / seconds / 1e6,
                    settled(t, row, e, offsetof(struct record, device_bytes)) / user,
                    settled(t, row, e, offsetof(struct record, blockdev_bytes)) / user,
                    cell(t, settle_row(t, row), e, offsetof(struct record, space_amp)));
        }
        fprintf(out, " |\n");
    }
}

/* Two figures of each phase that does not only read; nothing when the results are from before there were these. */
static void pairs_print(const struct table *t, const char *title, const size_t offsets[2], const char *format,
                        FILE *out)
{
    bool any = false;
    for (size_t row = 0; row < t->row_count; row++)
        any = any || any_figure(t, row, offsets[1]);
    if (!any)
        return;
    fprintf(out, "\n%s\n", title);
    header_print(t, "workload", NULL, out);
    for (size_t row = 0; row < t->row_count; row++) {
        if (workload_of(t->rows[row])->reads)
            continue;
        row_name(t->rows[row], out);
        for (size_t e = 0; e < t->engine_count; e++) {
            double first = cell(t, row, e, offsets[0]), second = cell(t, row, e, offsets[1]);
            fprintf(out, " | ");
            if (first < 0)
                fputc('-', out);
            else
                fprintf(out, format, first, second);
        }
        fprintf(out, " |\n");
    }
}

static void amplification_print(const struct table *t, FILE *out)
{
    pairs_print(
        t,
        "Bytes written per user byte since the database was empty, at the end of each phase: by the process (by "
        "the whole device)",
        (size_t[]){offsetof(struct record, write_amp), offsetof(struct record, write_amp_blockdev)}, "%.2f (%.2f)",
        out);
    pairs_print(t, "Disk per live user byte: at the end of each phase / the most that was seen during it",
                (size_t[]){offsetof(struct record, space_amp), offsetof(struct record, space_amp_peak)}, "%.2f / %.2f",
                out);
}

static void terms_print(const struct table *t, FILE *out)
{
    const struct record *r = t->rows[0];
    fprintf(out,
            "Terms: %lu keys of %d bytes, values of %lu bytes; memory budget %lu MiB; filter %u bits per key; no "
            "compression; no sync except in `durable`; all data in the page cache; every value that came back was "
            "compared byte for byte; medians of %u interleaved round%s.\n\n",
            r->keys, DATA_KEY_SIZE, r->value_size, r->memory_bytes >> 20, r->filter_bits, round_last(t),
            round_last(t) == 1 ? "" : "s");
    for (size_t e = 0; e < t->engine_count; e++) {
        const struct engine *engine = engine_find(t->engines[e]->engine);
        fprintf(out, "- **%s** %s: %s\n", t->engines[e]->engine, t->engines[e]->version, engine ? engine->terms : "");
    }
    for (const char *const *missing = engines_missing; *missing; missing += 2)
        fprintf(out, "- **%s** was not installed (%s) and is left out\n", missing[0], missing[1]);
}

static void wrong_print(const struct table *t, FILE *out)
{
    for (size_t i = 0; i < t->report->count; i++) {
        const struct record *r = &t->report->records[i];
        if (r->wrong)
            fprintf(out, "\n**WRONG**: %s, %s, round %u: %lu answers were not what they had to be\n", r->engine,
                    r->workload, r->round, r->wrong);
    }
}

/* Company on the machine spoils figures, and not those of all engines alike. */
static void company_print(const struct table *t, FILE *out)
{
    const struct record *worst = t->rows[0];
    size_t count = 0;
    for (size_t i = 0; i < t->report->count; i++) {
        const struct record *r = &t->report->records[i];
        if (r->seconds < 0.3) /* the kernel counts in ticks of 10 ms */
            continue;
        count += r->other_cores > 0.15;
        worst = r->other_cores > worst->other_cores ? r : worst;
    }
    if (count)
        fprintf(
            out,
            "\n**Not alone**: in %zu of %zu phases other processes used more than 0.15 processors, at most %.2f (%s, "
            "%s, round %u).\n",
            count, t->report->count, worst->other_cores, worst->engine, worst->workload, worst->round);
}

void report_print(const struct report *report, FILE *out)
{
    struct table t;
    if (report->count == 0)
        return;
    table_build(&t, report);
    terms_print(&t, out);
    wrong_print(&t, out);
    company_print(&t, out);
    rates_print(&t, out);
    megabytes_print(&t, out);
    latency_print(&t, out);
    settled_print(&t, out);
    amplification_print(&t, out);
    column_print(&t, "CPU microseconds per operation, background threads included",
                 offsetof(struct record, cpu_us_per_op), 1, "%.2f", out);
    column_print(&t, "Peak resident memory in MB, mapped files included", offsetof(struct record, peak_rss_bytes), 1e6,
                 "%.0f", out);
    column_print(&t, "Peak anonymous memory in MB", offsetof(struct record, peak_anon_bytes), 1e6, "%.0f", out);
}
