// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_residency: what part of each file of a database is in the page cache, seen from outside.
 *
 * The directory is listed first, then CURRENT and its MANIFEST say which table is on which level: so a listed table
 * that the MANIFEST does not know is one that was replaced, or is about to be named, and not one that came in between.
 * Then each file is opened and the kernel is asked, for the whole file first: only of a file that is there in part,
 * regions and ranges are asked for one by one (cachestat walks what is resident, so that a cold range costs next to
 * nothing).
 *
 * Tables are opened with O_DIRECT, because of the one page that is read of them, the footer: read the usual way it
 * would be resident from then on, with the read-ahead around it.
 *
 * Nobody is kept from writing meanwhile. [I1] A file that is gone is left out. [I2] A MANIFEST that does not read may
 * have been replaced or written to at that moment: it is read anew, a few times, before that counts as damage.
 *
 * Why not open the database read-only, as `stats` does: that needs its lock, which the process of interest holds; and
 * it would read the log and every table's frame. Why not one mincore over a mapping of each file: it visits every page
 * of the file, resident or not.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "db/db.h"
#include "lsm/names.h"

enum {
    MANIFEST_TRIES = 8,
    FILE_RANGES_MIN = 16, /* a small file in a large database has a map too */
};
#define RANGE_BYTES_MAX (1ull << 40)

struct entry {
    enum file_type type;
    int level; /* -1: none */
    uint64_t number;
    uint64_t bytes;
    struct ikey smallest; /* of a table on a level; borrowed from the edit */
};

struct look {
    /* set at the beginning, then constant */
    struct io *io;
    const char *dir;
    nokv_residency_fn fn;
    void *arg;
    /* the files, in the order in which they are handed out */
    struct edit total;
    struct entry *entries;
    size_t count, capacity;
    /* one file's map */
    uint64_t range_bytes; /* 0: none is wanted */
    uint64_t *ranges;
    size_t range_capacity;
};

/* ---- which files ------------------------------------------------------------------------------------------------ */

static enum nokv_status entry_add(struct look *look, struct entry entry)
{
    TRY(mem_grow(&look->entries, &look->capacity, look->count + 1, sizeof *look->entries));
    look->entries[look->count++] = entry;
    return NOKV_OK;
}

static enum nokv_status name_add(void *arg, const char *name)
{
    uint64_t number;
    enum file_type type = file_type_of(name, &number);
    if (type != FILE_WAL && type != FILE_WALBUF && type != FILE_MANIFEST && type != FILE_SST && type != FILE_VLOGBUF)
        return NOKV_OK;
    return entry_add(arg, (struct entry){.type = type, .level = -1, .number = number});
}

static enum nokv_status segment_add(void *arg, const char *name)
{
    uint64_t number;
    if (file_type_of(name, &number) != FILE_VLOG)
        return NOKV_OK;
    return entry_add(arg, (struct entry){.type = FILE_VLOG, .level = -1, .number = number});
}

static enum nokv_status directories_list(struct look *look)
{
    char path[PATH_SIZE_MAX];
    TRY(io_list(look->io, look->dir, name_add, look));
    TRY(path_vlog_dir(path, look->dir));
    enum nokv_status status = io_list(look->io, path, segment_add, look);
    return status == NOKV_ERR_NOT_FOUND ? NOKV_OK : status; /* without large values there is none */
}

static enum nokv_status current_check(const struct look *look)
{
    bool exists = false;
    TRY(manifest_exists(look->io, look->dir, &exists));
    if (!exists)
        return FAIL(NOT_FOUND, "%s holds no database (there is no %s/CURRENT)", look->dir, look->dir);
    return NOKV_OK;
}

static enum nokv_status manifest_read_once(struct look *look)
{
    edit_deinit(&look->total);
    look->total = (struct edit){0};
    return manifest_list(look->io, look->dir, &look->total);
}

/* [I2] */
static enum nokv_status manifest_read(struct look *look)
{
    enum nokv_status status = NOKV_OK;
    for (int tries = 0; tries < MANIFEST_TRIES; tries++) {
        TRY(current_check(look));
        status = manifest_read_once(look);
        if (status != NOKV_ERR_CORRUPT && status != NOKV_ERR_NOT_FOUND)
            break;
    }
    return status;
}

/* By name; the entry that knows the level of a table comes first. */
static int compare_names(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->type != y->type)
        return x->type < y->type ? -1 : 1;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return (x->level < y->level) - (x->level > y->level);
}

static int type_rank(enum file_type type)
{
    static const enum file_type order[] = {FILE_WAL, FILE_WALBUF, FILE_MANIFEST, FILE_VLOGBUF, FILE_SST, FILE_VLOG};
    int rank = 0;
    while (order[rank] != type)
        rank++;
    return rank;
}

/* As they are handed out. */
static int compare_places(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    unsigned level_x = (unsigned)x->level, level_y = (unsigned)y->level; /* none: behind all others */
    if (x->type != y->type)
        return type_rank(x->type) - type_rank(y->type);
    if (level_x != level_y)
        return level_x < level_y ? -1 : 1;
    if (x->level > 0)
        return ikey_compare(x->smallest, y->smallest);
    int by_number = x->number < y->number ? -1 : x->number > y->number;
    return x->level == 0 ? -by_number : by_number;
}

static void entries_order(struct look *look)
{
    size_t kept = 0;
    if (look->count == 0)
        return; /* GCOV_EXCL_LINE: made between the listing and the reading of its MANIFEST: no test can time it */
    qsort(look->entries, look->count, sizeof *look->entries, compare_names);
    for (size_t i = 0; i < look->count; i++) {
        const struct entry *e = &look->entries[i];
        if (kept == 0 || look->entries[kept - 1].type != e->type || look->entries[kept - 1].number != e->number)
            look->entries[kept++] = *e;
    }
    look->count = kept;
    qsort(look->entries, look->count, sizeof *look->entries, compare_places);
}

static enum nokv_status entries_find(struct look *look)
{
    TRY(current_check(look));
    TRY(directories_list(look));
    TRY(manifest_read(look));
    for (size_t i = 0; i < look->total.add_count; i++) {
        const struct edit_add *add = &look->total.adds[i];
        TRY(entry_add(look, (struct entry){.type = FILE_SST,
                                           .level = (int)add->level,
                                           .number = add->table.number,
                                           .smallest = add->table.smallest}));
    }
    entries_order(look);
    return NOKV_OK;
}

static enum nokv_status entry_name(const struct look *look, const struct entry *e, char out[PATH_SIZE_MAX])
{
    switch (e->type) {
    case FILE_WAL:
        return path_wal(out, look->dir, e->number);
    case FILE_WALBUF:
        return path_walbuf(out, look->dir);
    case FILE_VLOGBUF:
        return path_vlogbuf(out, look->dir);
    case FILE_MANIFEST:
        return path_manifest(out, look->dir, e->number);
    case FILE_SST:
        return path_sst(out, look->dir, e->number);
    default:
        return path_vlog(out, look->dir, e->number);
    }
}

/* ---- how fine the map is ---------------------------------------------------------------------------------------- */

static uint64_t ranges_of(uint64_t bytes, uint64_t range_bytes)
{
    return bytes / range_bytes + (bytes % range_bytes != 0);
}

static enum nokv_status sizes_find(struct look *look)
{
    char path[PATH_SIZE_MAX];
    size_t kept = 0;
    for (size_t i = 0; i < look->count; i++) {
        struct entry e = look->entries[i];
        TRY(entry_name(look, &e, path));
        enum nokv_status status = io_stat(look->io, path, &e.bytes);
        if (status == NOKV_ERR_NOT_FOUND)
            continue; /* [I1] */
        TRY(status);
        look->entries[kept++] = e;
    }
    look->count = kept;
    return NOKV_OK;
}

static uint64_t range_bytes_choose(const struct look *look, size_t ranges_max)
{
    uint64_t range_bytes = PAGE_BYTES;
    for (; range_bytes < RANGE_BYTES_MAX; range_bytes *= 2) {
        uint64_t ranges = 0;
        for (size_t i = 0; i < look->count; i++)
            ranges += ranges_of(look->entries[i].bytes, range_bytes);
        if (ranges <= ranges_max)
            break;
    }
    return range_bytes;
}

/* Finer for a file that would have hardly any. */
static uint64_t file_range_bytes(const struct look *look, uint64_t file_bytes)
{
    uint64_t range_bytes = look->range_bytes;
    while (range_bytes > PAGE_BYTES && ranges_of(file_bytes, range_bytes) < FILE_RANGES_MIN)
        range_bytes /= 2;
    return range_bytes;
}

/* ---- one file --------------------------------------------------------------------------------------------------- */

/* What is resident of [off, off + size), asked only where the whole file does not tell. */
static uint64_t range_resident(struct io_file *file, const nokv_residency_file *whole, uint64_t off, uint64_t size)
{
    if (whole->resident_bytes == UINT64_MAX || size == 0)
        return size == 0 ? 0 : UINT64_MAX;
    if (whole->resident_bytes == 0)
        return 0;
    return whole->resident_bytes == whole->bytes ? size : io_resident_range(file, off, size);
}

static nokv_residency_part part_make(struct io_file *file, const nokv_residency_file *whole, uint64_t off,
                                     uint64_t size)
{
    return (nokv_residency_part){.off = off, .bytes = size, .resident_bytes = range_resident(file, whole, off, size)};
}

static enum nokv_status parts_fill(struct io_file *file, nokv_residency_file *out)
{
    struct sst_extents e;
    enum nokv_status status = sst_extents_read(file, &e);
    if (status == NOKV_ERR_NO_MEMORY)
        return status;
    if (status != NOKV_OK)
        return NOKV_OK; /* damaged or not complete: how much of it is resident is known all the same */
    out->data = part_make(file, out, e.data.off, e.data.size);
    out->filter = part_make(file, out, e.filter.off, e.filter.size);
    out->index = part_make(file, out, e.index.off, e.index.size);
    return NOKV_OK;
}

static enum nokv_status map_fill(struct look *look, struct io_file *file, nokv_residency_file *out)
{
    if (look->range_bytes == 0 || out->resident_bytes == UINT64_MAX)
        return NOKV_OK;
    uint64_t range_bytes = file_range_bytes(look, out->bytes);
    size_t count = ranges_of(out->bytes, range_bytes);
    TRY(mem_grow(&look->ranges, &look->range_capacity, count, sizeof *look->ranges));
    for (size_t i = 0; i < count; i++) {
        uint64_t off = i * range_bytes, size = u64_min(range_bytes, out->bytes - off);
        look->ranges[i] = range_resident(file, out, off, size);
        if (look->ranges[i] == UINT64_MAX)
            return NOKV_OK; /* GCOV_EXCL_LINE: of the whole file the kernel told a moment ago: no test can time it */
    }
    out->range_bytes = range_bytes;
    out->range_count = count;
    out->resident_ranges = look->ranges;
    return NOKV_OK;
}

static nokv_file_kind kind_of(enum file_type type)
{
    return type == FILE_WAL || type == FILE_WALBUF ? NOKV_FILE_WAL
           : type == FILE_MANIFEST                 ? NOKV_FILE_MANIFEST
           : type == FILE_SST                      ? NOKV_FILE_SST
                                                   : NOKV_FILE_VLOG;
}

static enum nokv_status file_fill(struct look *look, const char *path, const struct entry *e, nokv_residency_file *out)
{
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    enum nokv_status status =
        io_open(look->io, path, IO_OTHER, e->type == FILE_SST ? IO_DIRECT : IO_STD, IO_READ, &file);
    if (status == NOKV_ERR_NOT_FOUND || status == NOKV_ERR_NO_MEMORY)
        return status;
    if (status != NOKV_OK)
        return NOKV_OK; /* not ours to read: it is there, and nothing is known of it */
    TRY(io_size(file, &out->bytes));
    uint64_t resident = io_resident(file);
    out->resident_bytes = resident == UINT64_MAX ? resident : u64_min(resident, out->bytes);
    TRY(map_fill(look, file, out)); /* before the footer is read */
    return e->type == FILE_SST ? parts_fill(file, out) : NOKV_OK;
}

static enum nokv_status file_look(struct look *look, const struct entry *e, bool *out_go_on)
{
    char path[PATH_SIZE_MAX];
    TRY(entry_name(look, e, path));
    nokv_residency_file file = {.kind = kind_of(e->type),
                                .name = path + strlen(look->dir) + 1,
                                .level = e->level,
                                .bytes = e->bytes,
                                .resident_bytes = UINT64_MAX};
    enum nokv_status status = file_fill(look, path, e, &file);
    if (status == NOKV_ERR_NOT_FOUND)
        return NOKV_OK; /* [I1] */
    TRY(status);
    *out_go_on = look->fn(look->arg, &file);
    return NOKV_OK;
}

static enum nokv_status look_run(struct look *look, size_t ranges_max)
{
    TRY(entries_find(look));
    TRY(sizes_find(look));
    look->range_bytes = ranges_max > 0 ? range_bytes_choose(look, ranges_max) : 0;
    bool go_on = true;
    for (size_t i = 0; i < look->count && go_on; i++)
        TRY(file_look(look, &look->entries[i], &go_on));
    return NOKV_OK;
}

nokv_status nokv_residency(const char *path, size_t ranges_max, nokv_residency_fn fn, void *arg)
{
    if (path == NULL || fn == NULL)
        return FAIL(INVALID, "nokv_residency: path or fn is NULL");
    struct look look = {.dir = path, .fn = fn, .arg = arg};
    TRY(io_real_create(&look.io));
    enum nokv_status status = look_run(&look, ranges_max);
    edit_deinit(&look.total);
    mem_free(look.entries);
    mem_free(look.ranges);
    io_destroy(look.io);
    return status;
}
