// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_report_read.c - from lines of a results file to records.
 *
 * Results files are committed, concatenated and edited by people: a line that is not an object of the expected shape is
 * refused with file, line and reason, never guessed at. Fields that are not known are ignored, and most of those that
 * are may be missing or null, because files of earlier versions have fewer: such a figure is NAN and shown as "-".
 *
 * Numbers are read as doubles, exact for every whole number that is accepted as a count.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nokv_bench_data.h"
#include "nokv_bench_report.h"
#include "nokv_bench_util.h"

/* Doubles are exact up to here. */
#define COUNT_MAX (1ull << 53)

void *report_room(void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity ? *capacity * 2 : 64;
    void *grown = realloc(array, *capacity * size);
    if (!grown)
        bench_die("out of memory");
    return grown;
}

/* The report's own copy of a text; the same for equal texts. */
static const char *text_intern(struct report *report, const char *text)
{
    for (size_t i = 0; i < report->text_count; i++)
        if (strcmp(report->texts[i], text) == 0)
            return report->texts[i];
    report->texts = report_room(report->texts, report->text_count, &report->text_capacity, sizeof *report->texts);
    char *copy = strdup(text);
    if (!copy)
        bench_die("out of memory");
    return report->texts[report->text_count++] = copy;
}

static bool fail(struct report *report, const char *field, const char *what)
{
    snprintf(report->error, sizeof report->error, "%s: %s", field, what);
    return false;
}

/* A field that is missing or null: NULL. */
static const json_t *field_of(const json_t *object, const char *field)
{
    const json_t *value = json_object_get(object, field);
    return json_is_null(value) ? NULL : value;
}

static bool take_text(struct report *report, const json_t *object, const char *field, bool needed, const char **out)
{
    const json_t *value = field_of(object, field);
    if (value && !json_is_string(value))
        return fail(report, field, "not a string");
    const char *text = value ? json_string_value(value) : "";
    if (needed && !*text)
        return fail(report, field, "missing or empty");
    *out = text_intern(report, text);
    return true;
}

/* A whole number up to `max`; `absent` when it is missing. */
static bool take_count(struct report *report, const json_t *object, const char *field, uint64_t max, uint64_t absent,
                       uint64_t *out)
{
    const json_t *value = field_of(object, field);
    double number = value ? json_number_value(value) : (double)absent;
    if (value && (!json_is_number(value) || !(number >= 0) || number > (double)max || number != floor(number)))
        return fail(report, field, "not a whole number, or out of range");
    *out = (uint64_t)number;
    return true;
}

static bool take_unsigned(struct report *report, const json_t *object, const char *field, unsigned absent,
                          unsigned *out)
{
    uint64_t value;
    if (!take_count(report, object, field, 1000000, absent, &value))
        return false;
    *out = (unsigned)value;
    return true;
}

/*
 * Fewer bytes written than cancelled (a file that was removed before they were) is a negative figure, which earlier
 * versions printed as a number of 64 bits without its sign.
 */
static double signed_again(double value)
{
    return value >= 0x1p63 && value <= 0x1p64 ? value - 0x1p64 : value;
}

static bool take_figures(struct report *report, const json_t *object, struct record *r)
{
    const struct {
        const char *name;
        double *to;
    } figures[] = {
#define X(name) {#name, &r->name},
        RECORD_FIGURES(X)
#undef X
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        const json_t *value = field_of(object, figures[i].name);
        if (value && !json_is_number(value))
            return fail(report, figures[i].name, "not a number");
        *figures[i].to = value ? signed_again(json_number_value(value)) : NAN;
    }
    return true;
}

static bool take_machine(struct report *report, const json_t *object, struct machine *m)
{
    const json_t *machine = field_of(object, "machine");
    if (machine && !json_is_object(machine))
        return fail(report, "machine", "not an object");
    return take_text(report, machine, "cpu", false, &m->cpu) &&
           take_text(report, machine, "kernel", false, &m->kernel) &&
           take_text(report, machine, "filesystem", false, &m->filesystem) &&
           take_count(report, machine, "cpus", 1 << 20, 0, &m->cpus) &&
           take_count(report, machine, "memory_bytes", COUNT_MAX, 0, &m->memory_bytes) &&
           take_count(report, machine, "read_ahead_bytes", COUNT_MAX, 0, &m->read_ahead_bytes);
}

/* Files without a curve have four points of it. */
static void latency_derive(struct record *r)
{
    const struct quantile points[] = {{0.5, r->p50_us}, {0.99, r->p99_us}, {0.999, r->p999_us}, {1, r->max_us}};
    r->latency = bench_alloc(sizeof points);
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        if (points[i].us > 0)
            r->latency[r->latency_count++] = points[i];
}

static bool take_latency(struct report *report, const json_t *object, struct record *r)
{
    const json_t *curve = field_of(object, "latency_us");
    if (!curve) {
        latency_derive(r);
        return true;
    }
    static const char wanted[] = "not a list of pairs of quantile and microseconds, both ascending";
    if (!json_is_array(curve))
        return fail(report, "latency_us", wanted);
    size_t count = json_array_size(curve);
    struct quantile *points = bench_alloc((count + 1) * sizeof *points);
    for (size_t i = 0; i < count; i++) {
        const json_t *pair = json_array_get(curve, i);
        const json_t *part = json_array_get(pair, 0), *us = json_array_get(pair, 1);
        points[i] = (struct quantile){json_number_value(part), json_number_value(us)};
        const struct quantile before = i ? points[i - 1] : (struct quantile){0, 0};
        if (!json_is_number(part) || !json_is_number(us) || json_array_size(pair) != 2 || points[i].part > 1 ||
            points[i].part < before.part || points[i].us < before.us) {
            free(points);
            return fail(report, "latency_us", wanted);
        }
    }
    r->latency = points;
    r->latency_count = count;
    return true;
}

static bool take_sizes(struct report *report, const json_t *object, struct record *r)
{
    const char *sizes;
    if (!take_text(report, object, "value_sizes", false, &sizes))
        return false;
    r->mixed = strcmp(sizes, "mixed") == 0;
    if (*sizes && !r->mixed && strcmp(sizes, "fixed") != 0)
        return fail(report, "value_sizes", "neither \"fixed\" nor \"mixed\"");
    if (!take_count(report, object, "keys", COUNT_MAX, 0, &r->keys) ||
        !take_count(report, object, "value_size", COUNT_MAX, 0, &r->value_size) ||
        !take_count(report, object, "memory_bytes", COUNT_MAX, 0, &r->memory_bytes) ||
        !take_count(report, object, "memory_limit_bytes", COUNT_MAX, 0, &r->memory_limit_bytes) ||
        !take_count(report, object, "wrong", COUNT_MAX, 0, &r->wrong))
        return false;
    if (r->keys == 0)
        return fail(report, "keys", "missing or 0");
    return r->value_size || r->mixed || fail(report, "value_size", "missing or 0");
}

/* What follows from other fields, for files from before there was a field of its own. */
static void derive(struct record *r)
{
    if (isnan(r->mb_per_sec) && r->ops > 0)
        r->mb_per_sec = r->ops_per_sec * r->user_bytes / r->ops / 1e6;
    if (!(r->space_amp > 0) && !r->mixed)
        r->space_amp = r->disk_bytes / ((double)r->keys * (double)(DATA_KEY_SIZE + r->value_size));
}

static bool take_record(struct report *report, const json_t *object, struct record *r)
{
    if (!take_text(report, object, "engine", true, &r->engine) ||
        !take_text(report, object, "workload", true, &r->workload) ||
        !take_text(report, object, "version", false, &r->version) ||
        !take_text(report, object, "after", false, &r->after) ||
        !take_text(report, object, "terms", false, &r->terms) ||
        !take_text(report, object, "syscalls_note", false, &r->uncounted) ||
        !take_text(report, object, "memory_note", false, &r->memory_note) || !take_machine(report, object, &r->machine))
        return false;
    if (!take_unsigned(report, object, "generation", 0, &r->generation) ||
        !take_unsigned(report, object, "round", 1, &r->round) ||
        !take_unsigned(report, object, "threads", 1, &r->threads) ||
        !take_unsigned(report, object, "filter_bits", 0, &r->filter_bits))
        return false;
    if (!take_sizes(report, object, r) || !take_figures(report, object, r) || !take_latency(report, object, r))
        return false;
    derive(r);
    return true;
}

bool report_add(struct report *report, const char *line)
{
    json_error_t error;
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
    if (!object) {
        snprintf(report->error, sizeof report->error, "not JSON (column %d: %s)", error.column, error.text);
        return false;
    }
    struct record r = {.order = report->count};
    bool ok = json_is_object(object) ? take_record(report, object, &r) : fail(report, "line", "not an object");
    json_decref(object);
    if (ok) {
        report->records = report_room(report->records, report->count, &report->capacity, sizeof *report->records);
        report->records[report->count++] = r;
    }
    return ok;
}

void report_read(struct report *report, const char *path)
{
    FILE *in = fopen(path, "re");
    if (!in)
        bench_die("%s: %s", path, strerror(errno));
    char *line = NULL;
    size_t capacity = 0, number = 0;
    ssize_t length;
    while ((length = getline(&line, &capacity, in)) >= 0) {
        number++;
        if (strlen(line) != (size_t)length)
            bench_die("%s:%zu: not JSON (a zero byte)", path, number);
        if (line[strspn(line, " \t\r\n")] != 0 && !report_add(report, line))
            bench_die("%s:%zu: %s", path, number, report->error);
    }
    if (ferror(in))
        bench_die("%s: %s", path, strerror(errno));
    free(line);
    fclose(in);
}

void report_free(struct report *report)
{
    if (!report)
        return;
    for (size_t i = 0; i < report->count; i++)
        free(report->records[i].latency);
    for (size_t i = 0; i < report->text_count; i++)
        free(report->texts[i]);
    free(report->texts);
    free(report->records);
    free(report);
}
