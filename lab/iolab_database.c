// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_database.c - makes and reads the database of part 4.
 *
 * Hot records are written and merged first, so that their tables are known by name and nothing that comes later touches
 * them: cold records and values have other first bytes, and compactions of those ranges meet no hot table. Background
 * work starts only when it is asked for, because it is what is measured.
 *
 * The library that this links has messages of its own (its symbols are hidden), so each result passes through
 * lab_database_result().
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "lab/database.h"

enum { KEY = 1 + LAB_KEY_BYTES, RECORD = 140 /* in a table */ };

static const uint64_t MIN_TABLE = 256 << 10;

static void key_make(char kind, const struct lab *lab, uint64_t index, uint8_t out_key[KEY])
{
    out_key[0] = (uint8_t)kind;
    lab_key(lab->seed, index, out_key + 1);
}

static uint64_t content_seed(const struct lab *lab, char kind, uint64_t version)
{
    return lab_mix(lab->seed ^ (uint64_t)(unsigned char)kind) + version;
}

void lab_database_init(const struct lab *lab, struct lab_database *out_d)
{
    *out_d = (struct lab_database){.hot_count = lab->memory / 3 / RECORD,
                                   .cold_count = 2 * lab->memory / RECORD,
                                   .value_count = u64_max(2 * lab->memory / LAB_LARGE_VALUE, 16)};
}

enum nokv_status lab_database_result(nokv_status status)
{
    char message[IOLAB_ERROR_SIZE];
    if (status == NOKV_OK)
        return NOKV_OK;
    snprintf(message, sizeof message, "%s", nokv_error_message());
    return FAIL_WITH(status, "the database of part 4: %s", message);
}

static void path_make(const struct lab *lab, const char *name, char out[LAB_PATH_SIZE])
{
    char relative[64];
    snprintf(relative, sizeof relative, "db%s%s", *name ? "/" : "", name);
    lab_path(lab, relative, out);
}

void lab_database_options(const struct lab *lab, nokv_options *out_options)
{
    nokv_options_init(out_options);
    out_options->memtable_bytes = u64_max(lab->memory / 16, MIN_TABLE);
    out_options->memtables_max = 2;
    out_options->background_threads = 1; /* the reader has the other processor of a small machine */
    out_options->wal_buffer_bytes = 256 << 10;
    out_options->table_bytes = u64_max(lab->memory / 16, MIN_TABLE);
    out_options->level_base_bytes = 1ull << 40; /* nothing is due by itself ... */
    out_options->l0_compact_files = 256;
    out_options->l0_busy_files = 4096;
    out_options->vlog_space_amp_max = 1000;
    out_options->vlog_segment_bytes = u64_max(lab->size / 16, 1 << 20);
}

enum nokv_status lab_database_open(const struct lab *lab, const nokv_options *options, nokv_db **out_db)
{
    char path[LAB_PATH_SIZE];
    path_make(lab, "", path);
    return lab_database_result(nokv_open(path, options, out_db));
}

enum nokv_status lab_database_close(nokv_db *db)
{
    return lab_database_result(nokv_close(db));
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

static enum nokv_status record_put(nokv_db *db, const struct lab *lab, char kind, uint64_t index, uint64_t version,
                                   void *buffer, size_t size)
{
    uint8_t key[KEY];
    key_make(kind, lab, index, key);
    lab_fill(content_seed(lab, kind, version), index, buffer, size);
    return lab_database_result(nokv_put(db, key, sizeof key, buffer, size, NULL));
}

static enum nokv_status small_put_all(nokv_db *db, const struct lab *lab, char kind, uint64_t count, uint64_t version)
{
    uint8_t value[LAB_SMALL_VALUE];
    for (uint64_t i = 0; i < count; i++)
        TRY(record_put(db, lab, kind, lab_permute(i, count, lab->seed), version, value, sizeof value));
    return NOKV_OK;
}

/* Half of the values get each version, another half each time: every segment is left with some garbage. */
static bool gets_version(const struct lab *lab, uint64_t index, uint64_t version)
{
    return version == 0 || (lab_mix(lab->seed + index * 1000 + version) & 1);
}

static enum nokv_status values_put(nokv_db *db, const struct lab *lab, const struct lab_database *d, uint64_t version)
{
    uint8_t *value CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, LAB_LARGE_VALUE);
    if (!value)
        return FAIL(NO_MEMORY, "iolab: a value");
    for (uint64_t i = 0; i < d->value_count; i++)
        if (gets_version(lab, i, version))
            TRY(record_put(db, lab, 'v', i, version, value, LAB_LARGE_VALUE));
    return NOKV_OK;
}

/* The range of one kind of records, down to the bottom. */
static enum nokv_status range_compact(nokv_db *db, char kind)
{
    const char first[1] = {kind};
    uint8_t last[KEY];
    memset(last, 0xff, sizeof last);
    last[0] = (uint8_t)kind;
    return lab_database_result(nokv_compact_range(db, first, sizeof first, last, sizeof last));
}

enum nokv_status lab_database_compact_cold(nokv_db *db)
{
    return range_compact(db, 'c');
}

static enum nokv_status table_take(void *arg, const char *name)
{
    struct lab_database *d = arg;
    const char *dot = strrchr(name, '.');
    if (!dot || strcmp(dot, ".sst") != 0)
        return NOKV_OK;
    if (d->table_count == LAB_TABLES_MAX)
        return FAIL(TOO_LARGE, "the hot records are in more than %d tables", LAB_TABLES_MAX);
    snprintf(d->tables[d->table_count++], sizeof d->tables[0], "%s", name);
    return NOKV_OK;
}

static enum nokv_status fill(nokv_db *db, const struct lab *lab, struct io *io, struct lab_database *d)
{
    char path[LAB_PATH_SIZE];
    path_make(lab, "", path);
    TRY(small_put_all(db, lab, 'h', d->hot_count, 0));
    TRY(range_compact(db, 'h'));
    d->table_count = 0;
    TRY(io_list(io, path, table_take, d));
    TRY(small_put_all(db, lab, 'c', d->cold_count, 0));
    TRY(range_compact(db, 'c'));
    TRY(values_put(db, lab, d, 0));
    return range_compact(db, 'v');
}

/* Open, do, close; the first failure counts. */
#define WITH_DATABASE(lab, options, db, expr)                  \
    do {                                                       \
        nokv_db *db = NULL;                                    \
        TRY(lab_database_open((lab), (options), &db));         \
        enum nokv_status with_status_ = (expr);                \
        enum nokv_status with_close_ = lab_database_close(db); \
        TRY(with_status_);                                     \
        TRY(with_close_);                                      \
    } while (0)

enum nokv_status lab_database_build(const struct lab *lab, struct io *io, struct lab_database *d)
{
    nokv_options options;
    lab_database_options(lab, &options);
    WITH_DATABASE(lab, &options, db, fill(db, lab, io, d));
    return lab_database_drop(lab, io);
}

static enum nokv_status cold_put(nokv_db *db, const struct lab *lab, const struct lab_database *d)
{
    TRY(small_put_all(db, lab, 'c', d->cold_count, d->cold_version));
    return lab_database_result(nokv_flush(db));
}

enum nokv_status lab_database_rewrite_cold(const struct lab *lab, struct lab_database *d)
{
    nokv_options options;
    lab_database_options(lab, &options);
    options.memtable_bytes = 64 << 20; /* few tables on level 0: each one costs the compaction a window of memory */
    d->cold_version++;
    WITH_DATABASE(lab, &options, db, cold_put(db, lab, d));
    return NOKV_OK;
}

static enum nokv_status half_put(nokv_db *db, const struct lab *lab, const struct lab_database *d)
{
    TRY(values_put(db, lab, d, d->value_version));
    return range_compact(db, 'v'); /* what was replaced is known to be garbage once both versions have met */
}

enum nokv_status lab_database_rewrite_values(const struct lab *lab, struct lab_database *d)
{
    nokv_options options;
    lab_database_options(lab, &options);
    d->value_version++;
    WITH_DATABASE(lab, &options, db, half_put(db, lab, d));
    return NOKV_OK;
}

/* ---- the page cache ------------------------------------------------------------------------------------------- */

struct drop {
    const struct lab *lab;
    struct io *io;
    const char *prefix; /* of the names, below db/ */
};

static enum nokv_status drop_one(void *arg, const char *name)
{
    const struct drop *drop = arg;
    char relative[64], path[LAB_PATH_SIZE];
    const char *dot = strrchr(name, '.');
    if (!dot || (strcmp(dot, ".sst") != 0 && strcmp(dot, ".vlog") != 0))
        return NOKV_OK;
    snprintf(relative, sizeof relative, "%s%s", drop->prefix, name);
    path_make(drop->lab, relative, path);
    return lab_file_drop(drop->io, path);
}

enum nokv_status lab_database_drop(const struct lab *lab, struct io *io)
{
    char path[LAB_PATH_SIZE];
    struct drop tables = {lab, io, ""}, segments = {lab, io, "vlog/"};
    path_make(lab, "", path);
    TRY(io_list(io, path, drop_one, &tables));
    path_make(lab, "vlog", path);
    return io_list(io, path, drop_one, &segments);
}

enum nokv_status lab_database_resident(const struct lab *lab, struct io *io, const struct lab_database *d,
                                       uint64_t *out_bytes)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < d->table_count; i++) {
        struct io_file *file CLEANUP(io_close_ptr) = NULL;
        char path[LAB_PATH_SIZE];
        path_make(lab, d->tables[i], path);
        TRY(io_open(io, path, IO_OTHER, IO_STD, IO_READ, &file));
        uint64_t bytes = io_resident(file);
        if (bytes == UINT64_MAX)
            return FAIL(NOT_SUPPORTED, "this kernel does not say which pages are in memory");
        sum += bytes;
    }
    *out_bytes = sum;
    return NOKV_OK;
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

static void check(const struct lab *lab, char kind, uint64_t version, uint64_t index, nokv_slice got, size_t size,
                  uint8_t *scratch, struct lab_tally *tally)
{
    lab_fill(content_seed(lab, kind, version), index, scratch, size);
    tally->wrong += got.size != size || memcmp(got.data, scratch, size) != 0;
    tally->verified += got.size;
}

enum nokv_status lab_database_get_hot(nokv_db *db, const struct lab *lab, uint64_t index, struct lab_tally *tally)
{
    uint8_t key[KEY], scratch[LAB_SMALL_VALUE];
    nokv_value value;
    key_make('h', lab, index, key);
    TRY(lab_database_result(nokv_get(db, key, sizeof key, NULL, &value)));
    check(lab, 'h', 0, index, (nokv_slice){value.data, value.size}, LAB_SMALL_VALUE, scratch, tally);
    nokv_value_release(&value);
    return NOKV_OK;
}

struct walk {
    char kind;
    size_t size;
    uint64_t count, bytes_max, bytes;
    const struct lab_database *d;
    uint8_t *scratch;
};

static uint64_t version_of(const struct lab *lab, const struct walk *w, uint64_t index)
{
    uint64_t version = w->kind == 'c' ? w->d->cold_version : w->d->value_version;
    while (w->kind == 'v' && !gets_version(lab, index, version))
        version--;
    return version;
}

static enum nokv_status walk_on(nokv_iter *iter, const struct lab *lab, struct walk *w, struct lab_tally *tally)
{
    uint64_t index = 0;
    for (nokv_iter_first(iter); nokv_iter_valid(iter) && w->bytes < w->bytes_max; nokv_iter_next(iter)) {
        nokv_slice value = nokv_iter_value(iter);
        if (!value.data)
            break;
        check(lab, w->kind, version_of(lab, w, index), index, value, w->size, w->scratch, tally);
        w->bytes += value.size;
        index++;
    }
    TRY(lab_database_result(nokv_iter_status(iter)));
    tally->wrong += w->bytes < w->bytes_max && index != w->count; /* some are missing, or too many */
    return NOKV_OK;
}

static enum nokv_status walk(nokv_db *db, const struct lab *lab, struct walk *w, struct lab_tally *tally)
{
    nokv_iter_options options = {.struct_size = sizeof options, .prefix = {&w->kind, 1}};
    nokv_iter *iter = NULL;
    uint8_t *scratch CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, w->size);
    w->scratch = scratch;
    if (!scratch)
        return FAIL(NO_MEMORY, "iolab: a value");
    TRY(lab_database_result(nokv_iter_create(db, &options, &iter)));
    enum nokv_status status = walk_on(iter, lab, w, tally);
    nokv_iter_destroy(iter);
    return status;
}

enum nokv_status lab_database_scan_values(nokv_db *db, const struct lab *lab, const struct lab_database *d,
                                          uint64_t bytes_max, struct lab_tally *tally)
{
    struct walk w = {.kind = 'v', .size = LAB_LARGE_VALUE, .count = d->value_count, .bytes_max = bytes_max, .d = d};
    return walk(db, lab, &w, tally);
}

enum nokv_status lab_database_scan_cold(nokv_db *db, const struct lab *lab, const struct lab_database *d,
                                        struct lab_tally *tally)
{
    struct walk w = {.kind = 'c', .size = LAB_SMALL_VALUE, .count = d->cold_count, .bytes_max = UINT64_MAX, .d = d};
    return walk(db, lab, &w, tally);
}
