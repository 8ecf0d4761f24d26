// SPDX-License-Identifier: Apache-2.0
/*
 * residency_rows.c - sums files into rows, and a row's bytes into cells.
 *
 * nokv_residency() hands out the files in an order that makes a map: tables of a level in key order, segments by age. A
 * row keeps the ranges of its files as spans, one after the other, so that a cell is a stretch of the row as a whole,
 * across its files.
 *
 * Of a table's filter and index the map knows one share each: they are read as a whole, when the table is first used.
 */
#include "residency_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define RANGES_MAX 16384 /* of all maps together: some 10 ms of system calls */

/* ---- rows ----------------------------------------------------------------------------------------------------- */

const struct row *picture_find(const struct picture *picture, const char *name, size_t hint)
{
    for (size_t i = 0; i < picture->count; i++) {
        const struct row *row = &picture->rows[(hint + i) % picture->count];
        if (strcmp(row->name, name) == 0)
            return row;
    }
    return NULL;
}

/* The row that is like `wanted`, made when it is the first of its name. Valid until the next one is made. */
static struct row *row_of(struct picture *picture, const struct row *wanted)
{
    for (size_t i = picture->by_file ? 0 : picture->count; i > 0; i--) /* each file has a row of its own */
        if (strcmp(picture->rows[i - 1].name, wanted->name) == 0)
            return &picture->rows[i - 1];
    if (picture->count == picture->capacity) {
        picture->capacity = picture->capacity > 0 ? 2 * picture->capacity : 32;
        picture->rows = cli_realloc(picture->rows, picture->capacity * sizeof *picture->rows);
    }
    picture->rows[picture->count] = *wanted;
    return &picture->rows[picture->count++];
}

static void add_span(struct row *row, uint64_t bytes, uint64_t resident)
{
    if (row->span_count == row->span_capacity) {
        row->span_capacity = row->span_capacity > 0 ? 2 * row->span_capacity : 16;
        row->spans = cli_realloc(row->spans, row->span_capacity * sizeof *row->spans);
    }
    row->spans[row->span_count++] = (struct span){.bytes = bytes, .resident = resident};
}

static void add_bytes(struct row *row, uint64_t bytes, uint64_t resident)
{
    row->files++;
    row->bytes += bytes;
    row->is_unknown = row->is_unknown || resident == UINT64_MAX;
    row->resident += resident == UINT64_MAX ? 0 : resident;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The ranges of the file that lie in [off, off + bytes), cut to it; a range that is cut keeps its share. */
static void add_ranges(struct row *row, const nokv_residency_file *file, uint64_t off, uint64_t bytes)
{
    uint64_t end = off + bytes;
    if (file->range_count == 0)
        return; /* nothing is known */
    for (size_t i = off / file->range_bytes; i < file->range_count && i * file->range_bytes < end; i++) {
        uint64_t from = i * file->range_bytes, to = min_u64(from + file->range_bytes, file->bytes);
        uint64_t cut_from = from > off ? from : off, cut_to = min_u64(to, end);
        double share = (double)file->resident_ranges[i] / (double)(to - from);
        uint64_t cut = cut_to - cut_from;
        add_span(row, cut, file->resident_ranges[i] == to - from ? cut : (uint64_t)(share * (double)cut));
    }
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

static const char *component_of(const nokv_residency_file *file)
{
    if (strcmp(file->name, "WALBUF") == 0 || strcmp(file->name, "VLOGBUF") == 0)
        return "buffers";
    return file->kind == NOKV_FILE_WAL        ? "wal"
           : file->kind == NOKV_FILE_MANIFEST ? "manifest"
           : file->kind == NOKV_FILE_SST      ? "sst"
                                              : "vlog";
}

static void set_name(struct row *row, const nokv_residency_file *file, bool by_file)
{
    static const char *const titles[][2] = {
        {"wal", "WAL"}, {"buffers", "buffers"}, {"manifest", "MANIFEST"}, {"vlog", "value log"}, {"sst", "no level"}};
    const char *title = "";
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++)
        title = strcmp(titles[i][0], row->component) == 0 ? titles[i][1] : title;
    if (by_file && file->level >= 0)
        snprintf(row->name, sizeof row->name, "%.30s L%d", file->name, file->level);
    else if (by_file)
        snprintf(row->name, sizeof row->name, "%.40s", file->name);
    else if (row->part)
        snprintf(row->name, sizeof row->name, "L%d %s", file->level, row->part);
    else
        snprintf(row->name, sizeof row->name, "%s", title);
}

static struct row *row_for(struct picture *picture, const nokv_residency_file *file, const char *part)
{
    struct row wanted = {.component = component_of(file), .level = file->level, .part = part};
    set_name(&wanted, file, picture->by_file);
    return row_of(picture, &wanted);
}

static void add_whole(struct picture *picture, const nokv_residency_file *file, const char *part)
{
    struct row *row = row_for(picture, file, part);
    add_bytes(row, file->bytes, file->resident_bytes);
    add_ranges(row, file, 0, file->bytes);
}

static void add_part(struct picture *picture, const nokv_residency_file *file, const char *part, uint64_t bytes,
                     uint64_t resident)
{
    struct row *row = row_for(picture, file, part);
    add_bytes(row, bytes, resident);
    if (resident != UINT64_MAX)
        add_span(row, bytes, resident);
}

/* A table on a level. What is neither data nor filter (index, properties, first and last page) is one part. */
static void add_table(struct picture *picture, const nokv_residency_file *file)
{
    const nokv_residency_part *data = &file->data, *filter = &file->filter;
    bool is_unknown = file->resident_bytes == UINT64_MAX || data->resident_bytes == UINT64_MAX ||
                      filter->resident_bytes == UINT64_MAX;
    uint64_t rest = file->bytes - data->bytes - filter->bytes, used = data->resident_bytes + filter->resident_bytes;
    /* Asked one after the other, the figures need not fit together. */
    uint64_t rest_resident = is_unknown || used > file->resident_bytes ? 0 : min_u64(file->resident_bytes - used, rest);
    struct row *row = row_for(picture, file, "data");
    add_bytes(row, data->bytes, data->resident_bytes);
    add_ranges(row, file, data->off, data->bytes);
    add_part(picture, file, "filter", filter->bytes, filter->resident_bytes);
    add_part(picture, file, "index", rest, is_unknown ? UINT64_MAX : rest_resident);
}

static bool add_file(void *arg, const nokv_residency_file *file)
{
    struct picture *picture = arg;
    bool is_split = file->level >= 0 && !picture->by_file, is_framed = file->data.bytes > 0;
    add_bytes(&picture->total, file->bytes, file->resident_bytes);
    picture->damaged += file->level >= 0 && !is_framed && file->resident_bytes != UINT64_MAX;
    if (is_split && is_framed)
        add_table(picture, file);
    else
        add_whole(picture, file, is_split ? "data" : NULL);
    return true;
}

nokv_status picture_take(const char *path, struct picture *picture)
{
    snprintf(picture->total.name, sizeof picture->total.name, "total");
    return nokv_residency(path, RANGES_MAX, add_file, picture);
}

void picture_deinit(struct picture *picture)
{
    for (size_t i = 0; i < picture->count; i++)
        free(picture->rows[i].spans);
    free(picture->rows);
    *picture = (struct picture){.by_file = picture->by_file};
}

/* ---- cells ---------------------------------------------------------------------------------------------------- */

unsigned share_percent(double part, double whole)
{
    if (part <= 0 || whole <= 0)
        return 0;
    if (part >= whole * (1 - 1e-9)) /* sums of fractions */
        return 100;
    double percent = part * 100 / whole;
    return percent < 1 ? 1 : percent > 99 ? 99 : (unsigned)percent;
}

void row_cells(const struct row *row, size_t count, unsigned char *out_percents)
{
    double width = (double)row->bytes / (double)count;
    size_t next = 0;         /* the span that comes next */
    double at = 0, left = 0; /* where the row was read to; what is left of the span before `next` */
    for (size_t cell = 0; cell < count; cell++) {
        double end = (double)(cell + 1) * width, resident = 0;
        while (at < end && (left > 0 || next < row->span_count)) {
            if (left <= 0)
                left = (double)row->spans[next++].bytes;
            if (left <= 0)
                continue; /* an empty one */
            const struct span *span = &row->spans[next - 1];
            double step = left < end - at ? left : end - at;
            resident += step * ((double)span->resident / (double)span->bytes);
            at += step;
            left -= step;
        }
        out_percents[cell] = (unsigned char)share_percent(resident, width);
    }
}
