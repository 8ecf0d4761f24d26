// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_report_chapter.c - puts records in order: chapters, rows, columns, samples; medians and ratios.
 *
 * A ratio is NoKV's figure to the best peer's, taken round by round (the two ran minutes apart in the same round),
 * shown as median and range: a row whose range reaches below 1.0 is not won, whatever its median says. Overwrites that
 * follow each other are rows of their own, numbered, and so is what comes behind each: a database ages.
 *
 * A phase that occurs twice in a round (repeated in a list of workloads, or in files that were measured one after the
 * other and are read together) gives a sample each time; the n-th of one engine is compared with the n-th of another.
 */
#include <stdlib.h>
#include <string.h>

#include "nokv_bench_report.h"
#include "nokv_bench_run.h"

/* ---- kinds of phases ------------------------------------------------------------------------------------------ */

static const struct workload *workload_of(const struct record *r)
{
    return workload_find(r->workload, strlen(r->workload));
}

/* Results of another version may have workloads that this one has not. */
bool record_is_whole(const struct record *r)
{
    const struct workload *w = workload_of(r);
    return w ? !w->body : r->ops == 1 && !(r->p50_us > 0);
}

bool record_reads(const struct record *r)
{
    const struct workload *w = workload_of(r);
    return w ? w->reads && !w->overwrites : r->found > 0 || r->missing > 0;
}

/* ---- order ---------------------------------------------------------------------------------------------------- */

static bool same_chapter(const struct record *a, const struct record *b)
{
    return a->keys == b->keys && a->value_size == b->value_size && a->mixed == b->mixed &&
           a->memory_bytes == b->memory_bytes && a->memory_limit_bytes == b->memory_limit_bytes &&
           a->filter_bits == b->filter_bits;
}

static bool same_row(const struct record *a, const struct record *b)
{
    return a->workload == b->workload && a->after == b->after && a->threads == b->threads &&
           a->generation == b->generation;
}

/* "overwrite 2", "settle after overwrite 2": the second in a row. */
static char *row_name_make(const struct record *r)
{
    const struct workload *w = workload_of(r);
    bool filled = strncmp(r->after, "fill", 4) == 0;
    bool after = *r->after && r->after != r->workload && !(w && w->overwrites) && (record_is_whole(r) || !filled);
    char generation[32] = "", threads[32] = "";
    if (r->generation > 1)
        snprintf(generation, sizeof generation, " %u", r->generation);
    if (r->threads > 1)
        snprintf(threads, sizeof threads, ", %u threads", r->threads);
    char *name;
    if (asprintf(&name, "%s%s%s%s%s", r->workload, after ? " after " : "", after ? r->after : "", generation, threads) <
        0)
        bench_die("out of memory");
    return name;
}

/* 10000000 as "10 M". */
static const char *count_text(uint64_t count, char buffer[32])
{
    bool millions = count >= 1000000, thousands = count >= 10000;
    snprintf(buffer, 32, "%.6g%s",
             (double)count / (millions    ? 1e6
                              : thousands ? 1e3
                                          : 1),
             millions    ? " M"
             : thousands ? " k"
                         : "");
    return buffer;
}

const char *size_text(uint64_t size, char buffer[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB"};
    unsigned unit = 0;
    while (unit < 3 && size > 0 && size % 1024 == 0) {
        size /= 1024;
        unit++;
    }
    snprintf(buffer, 32, "%lu %s", size, units[unit]);
    return buffer;
}

/* "100 B", "mixed sizes, about 1000 B", "mixed sizes". */
static const char *sizes_text(const struct record *r, char buffer[64])
{
    char size[32];
    (void)size_text(r->value_size, size);
    snprintf(buffer, 64, "%s%s%s", r->mixed ? "mixed sizes" : "", r->mixed && r->value_size ? ", about " : "",
             r->value_size ? size : "");
    return buffer;
}

static void chapter_name(struct chapter *c)
{
    const struct record *r = c->records[0];
    char keys[32], sizes[64], filter[32] = "", memory[48] = "", limit[48] = "", text[32];
    if (r->filter_bits != 10)
        snprintf(filter, sizeof filter, "-filter%u", r->filter_bits);
    if (r->memory_bytes)
        snprintf(memory, sizeof memory, "-%luMiB", r->memory_bytes >> 20);
    if (r->memory_limit_bytes)
        snprintf(limit, sizeof limit, r->memory_limit_bytes % (1 << 20) ? "-in%luKiB" : "-in%luMiB",
                 r->memory_limit_bytes >> (r->memory_limit_bytes % (1 << 20) ? 10 : 20));
    snprintf(sizes, sizeof sizes, "%s%lu", r->mixed ? "mixed" : "", r->value_size);
    snprintf(c->name, sizeof c->name, "%lux%s%s%s%s", r->keys, r->value_size ? sizes : "mixed", memory, limit, filter);
    if (r->memory_limit_bytes)
        snprintf(limit, sizeof limit, " in %s", size_text(r->memory_limit_bytes, text));
    if (r->memory_bytes)
        snprintf(memory, sizeof memory, ", memory budget %lu MiB", r->memory_bytes >> 20);
    if (r->filter_bits != 10)
        snprintf(filter, sizeof filter, ", %u filter bits per key", r->filter_bits);
    snprintf(c->label, sizeof c->label, "%s \xc3\x97 %s%s", count_text(r->keys, keys), sizes_text(r, sizes), limit);
    snprintf(c->title, sizeof c->title, "%s%s%s", c->label, memory, filter);
}

static size_t row_of(struct chapter *c, const struct record *r)
{
    size_t row = 0;
    while (row < c->row_count && !same_row(c->rows[row], r))
        row++;
    if (row == c->row_count)
        c->rows[c->row_count++] = r;
    return row;
}

static size_t column_of(struct chapter *c, const struct record *r)
{
    size_t column = 0;
    while (column < c->engine_count && c->engines[column]->engine != r->engine)
        column++;
    if (column == CHAPTER_ENGINES_MAX)
        bench_die("%s: more than %d engines", c->name, CHAPTER_ENGINES_MAX);
    if (column == c->engine_count)
        c->engines[c->engine_count++] = r;
    return column;
}

static void own_engine_first(struct chapter *c)
{
    for (size_t i = 1; i < c->engine_count; i++)
        if (strcmp(c->engines[i]->engine, "nokv") == 0) {
            const struct record *nokv = c->engines[i];
            memmove(c->engines + 1, c->engines, i * sizeof *c->engines);
            c->engines[0] = nokv;
        }
}

/* By row, column, round and appearance. */
static int record_compare(const void *a, const void *b)
{
    const struct record *x = *(struct record *const *)a, *y = *(struct record *const *)b;
    const uint64_t keys[][2] = {{x->row, y->row}, {x->column, y->column}, {x->round, y->round}, {x->order, y->order}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i][0] != keys[i][1])
            return keys[i][0] < keys[i][1] ? -1 : 1;
    return 0;
}

/* The records are sorted: number the samples of each cell and note where it begins. */
static void chapter_index(struct chapter *c)
{
    struct record **records = c->records;
    size_t cells = c->row_count * c->engine_count, next = 0;
    c->cells = bench_alloc((cells + 1) * sizeof *c->cells);
    for (size_t cell = 0; cell < cells; cell++) {
        c->cells[cell] = next;
        for (; next < c->count && records[next]->row * c->engine_count + records[next]->column == cell; next++) {
            struct record *r = records[next];
            const struct record *before = next > c->cells[cell] ? records[next - 1] : NULL;
            r->sample = before && before->round == r->round ? before->sample + 1 : (uint64_t)r->round << 32;
        }
        if (next - c->cells[cell] > c->rounds)
            c->rounds = (unsigned)(next - c->cells[cell]);
    }
    c->cells[cells] = next;
}

/* `records` hold those of one chapter, in order of appearance. */
static void chapter_init(struct chapter *c, struct record **records, size_t count)
{
    *c = (struct chapter){.count = count, .records = records};
    chapter_name(c);
    c->rows = bench_alloc(count * sizeof *c->rows);
    for (size_t i = 0; i < count; i++) {
        records[i]->row = row_of(c, records[i]);
        (void)column_of(c, records[i]);
    }
    own_engine_first(c);
    for (size_t i = 0; i < count; i++)
        records[i]->column = column_of(c, records[i]);
    qsort(records, count, sizeof *records, record_compare);
    chapter_index(c);
    c->row_names = bench_alloc(c->row_count * sizeof *c->row_names);
    for (size_t row = 0; row < c->row_count; row++)
        c->row_names[row] = row_name_make(c->rows[row]);
}

/* An engine has the same number wherever it occurs; NoKV the first one, if it is in the first chapter. */
static void colours_give(struct chapter *chapters, size_t count)
{
    const char **names = NULL;
    size_t name_count = 0, capacity = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t e = 0; e < chapters[i].engine_count; e++) {
            const char *name = chapters[i].engines[e]->engine;
            size_t colour = 0;
            while (colour < name_count && names[colour] != name)
                colour++;
            if (colour == name_count) {
                names = report_room(names, name_count, &capacity, sizeof *names);
                names[name_count++] = name;
            }
            chapters[i].colours[e] = colour;
        }
    free(names);
}

struct chapter *chapters_create(struct report *report, size_t *out_count)
{
    struct chapter *chapters = NULL;
    size_t count = 0, capacity = 0;
    bool *taken = bench_alloc(report->count + 1);
    for (size_t first = 0; first < report->count; first++) {
        if (taken[first])
            continue;
        struct record **records = bench_alloc((report->count - first) * sizeof *records);
        size_t in_chapter = 0;
        for (size_t i = first; i < report->count; i++)
            if (!taken[i] && same_chapter(&report->records[first], &report->records[i])) {
                taken[i] = true;
                records[in_chapter++] = &report->records[i];
            }
        chapters = report_room(chapters, count, &capacity, sizeof *chapters);
        chapter_init(&chapters[count++], records, in_chapter);
    }
    free(taken);
    colours_give(chapters, count);
    *out_count = count;
    return chapters;
}

void chapters_destroy(struct chapter *chapters, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct chapter *c = &chapters[i];
        for (size_t row = 0; row < c->row_count; row++)
            free(c->row_names[row]);
        free(c->row_names);
        free(c->rows);
        free(c->cells);
        free(c->records);
    }
    free(chapters);
}

/* ---- figures -------------------------------------------------------------------------------------------------- */

static struct record *const *cell_begin(const struct chapter *c, size_t row, size_t column, size_t *out_count)
{
    size_t cell = row * c->engine_count + column;
    *out_count = c->cells[cell + 1] - c->cells[cell];
    return c->records + c->cells[cell];
}

double figure_member(const struct chapter *c, size_t row, size_t column, uint64_t sample, size_t arg)
{
    size_t count;
    struct record *const *records = cell_begin(c, row, column, &count);
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (records[middle]->sample < sample)
            low = middle + 1;
        else
            high = middle;
    }
    double value = NAN;
    if (low < count && records[low]->sample == sample)
        memcpy(&value, (const char *)records[low] + arg, sizeof value);
    return value;
}

size_t chapter_settle_row(const struct chapter *c, size_t row)
{
    const struct record *r = c->rows[row];
    for (size_t i = row + 1; i < c->row_count; i++)
        if (strcmp(c->rows[i]->workload, "settle") == 0 && c->rows[i]->after == r->workload &&
            c->rows[i]->generation == r->generation)
            return i;
    return row;
}

double figure_settled(const struct chapter *c, size_t row, size_t column, uint64_t sample, size_t arg)
{
    size_t settle = chapter_settle_row(c, row);
    return settle == row ? NAN
                         : figure_member(c, row, column, sample, arg) + figure_member(c, settle, column, sample, arg);
}

double chapter_median(const struct chapter *c, size_t row, size_t column, figure_fn *figure, size_t arg)
{
    size_t count, have = 0;
    struct record *const *records = cell_begin(c, row, column, &count);
    if (count == 0)
        return NAN;
    double *values = bench_alloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++) {
        values[have] = figure(c, row, column, records[i]->sample, arg);
        have += !isnan(values[have]);
    }
    double median = have ? bench_median(values, have) : NAN;
    free(values);
    return median;
}

double chapter_cell(const struct chapter *c, size_t row, size_t column, size_t offset)
{
    return chapter_median(c, row, column, figure_member, offset);
}

bool chapter_any(const struct chapter *c, size_t row, size_t offset)
{
    bool any = false;
    for (size_t e = 0; e < c->engine_count && !any; e++)
        any = chapter_cell(c, row, e, offset) > 0;
    return any;
}

/* ---- ratios --------------------------------------------------------------------------------------------------- */

/* Other ways to set NoKV up are no peers of it. */
static bool is_peer(const struct record *engine)
{
    return strncmp(engine->engine, "nokv", 4) != 0;
}

/* The peer that was best in one sample; 0 when no peer has the figure. */
static size_t best_peer(const struct chapter *c, size_t row, figure_fn *figure, size_t arg, bool lower, uint64_t sample)
{
    size_t best = 0;
    double best_value = NAN;
    for (size_t e = 1; e < c->engine_count; e++) {
        double value = figure(c, row, e, sample, arg);
        if (value > 0 && is_peer(c->engines[e]) && (best == 0 || (lower ? value < best_value : value > best_value)))
            best = e, best_value = value;
    }
    return best;
}

/* Most often first; of equals the one of the earlier column. */
static void bests_order(struct ratio *ratio, const size_t wins[CHAPTER_ENGINES_MAX])
{
    for (;;) {
        size_t most = 0;
        for (size_t e = 1; e < CHAPTER_ENGINES_MAX; e++) {
            bool listed = false;
            for (size_t i = 0; i < ratio->best_count; i++)
                listed = listed || ratio->bests[i] == e;
            if (!listed && wins[e] > (most ? wins[most] : 0))
                most = e;
        }
        if (most == 0)
            return;
        ratio->bests[ratio->best_count++] = most;
    }
}

struct ratio chapter_ratio(const struct chapter *c, size_t row, figure_fn *figure, size_t arg, bool lower, size_t peer)
{
    struct ratio ratio = {0};
    size_t count, wins[CHAPTER_ENGINES_MAX] = {0};
    struct record *const *records = cell_begin(c, row, 0, &count);
    if (count == 0 || strcmp(c->engines[0]->engine, "nokv") != 0)
        return ratio;
    double *ratios = bench_alloc(count * sizeof *ratios);
    for (size_t i = 0; i < count; i++) {
        uint64_t sample = records[i]->sample;
        size_t best = peer ? peer : best_peer(c, row, figure, arg, lower, sample);
        double own = figure(c, row, 0, sample, arg), other = best ? figure(c, row, best, sample, arg) : NAN;
        if (!(own > 0) || !(other > 0))
            continue;
        ratios[ratio.count++] = own / other;
        wins[best]++;
    }
    if (ratio.count) {
        ratio.median = bench_median(ratios, ratio.count); /* sorts */
        ratio.low = ratios[0];
        ratio.high = ratios[ratio.count - 1];
        bests_order(&ratio, wins);
    }
    free(ratios);
    return ratio;
}

const char *ratio_bests(const struct chapter *c, const struct ratio *ratio, char *buffer, size_t size)
{
    size_t used = 0;
    *buffer = 0;
    for (size_t i = 0; i < ratio->best_count && used + 1 < size; i++) {
        int n = snprintf(buffer + used, size - used, "%s%s", i ? ", " : "", c->engines[ratio->bests[i]]->engine);
        used += n > 0 ? (size_t)n : 0;
    }
    return buffer;
}
