// SPDX-License-Identifier: Apache-2.0
/*
 * engines/rocksdb.c - RocksDB behind the benchmark's table, through its C interface: as shipped, with mapped reads, and
 * with large values in blob files (BlobDB).
 *
 * A quarter of the budget is the write buffer, the rest the block cache; under a memory limit, where a database is
 * opened to be read, the block cache is all of the budget. Everything else is as shipped (two background jobs). Point
 * reads, one by one and in batches, use the pinned interface, which does not copy. The batched call wants the handle of
 * a column family, which only opening by column families hands out.
 *
 * Blobs are read through the page cache, as shipped; sharing the block cache with them was tried, and made reads with
 * all data in the page cache slower by a twentieth at 1,000 bytes and not faster at 64 KiB. Garbage in blob files is
 * collected, with the defaults: a compaction moves what it meets in the oldest quarter of them.
 */
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engines/engine.h"
#include "nokv_bench_util.h"

enum { BLOB_SIZE_MIN = 512 }; /* bytes; smaller values stay in the tables */

enum variant { VARIANT_PLAIN, VARIANT_MMAP, VARIANT_BLOB };

struct rocks {
    rocksdb_t *db;
    rocksdb_column_family_handle_t *family; /* "default", the only one */
    rocksdb_options_t *options;
    rocksdb_cache_t *cache;
    bool durable;
};

struct rocks_session {
    struct rocks *db;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
    rocksdb_iterator_t *iter;
    rocksdb_pinnableslice_t *values[ENGINE_BATCH_MAX]; /* of the last get or multi-get; NULL: not found */
    unsigned value_count;
};

static void check(char *error, const char *what)
{
    if (error)
        bench_die("rocksdb: %s: %s", what, error);
}

static const char *rocks_version(void)
{
    return BENCH_ROCKSDB_VERSION;
}

static void blobs_enable(struct rocks *db)
{
    rocksdb_options_set_enable_blob_files(db->options, 1);
    rocksdb_options_set_min_blob_size(db->options, BLOB_SIZE_MIN);
    rocksdb_options_set_enable_blob_gc(db->options, 1);
}

static void *rocks_open_with(const struct engine_config *config, enum variant variant)
{
    struct rocks *db = bench_alloc(sizeof *db);
    size_t buffer = (size_t)(config->memory_bytes / 4);
    db->cache = rocksdb_cache_create_lru((size_t)config->memory_bytes - (config->memory_limit_bytes ? 0 : buffer));
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, db->cache);
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(config->filter_bits));
    db->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(db->options, 1);
    rocksdb_options_set_write_buffer_size(db->options, buffer);
    rocksdb_options_set_compression(db->options, rocksdb_no_compression);
    rocksdb_options_set_block_based_table_factory(db->options, table);
    rocksdb_options_set_advise_random_on_open(db->options, 1); /* as shipped */
    rocksdb_options_set_allow_mmap_reads(db->options, variant == VARIANT_MMAP);
    if (variant == VARIANT_BLOB)
        blobs_enable(db);
    rocksdb_block_based_options_destroy(table);
    db->durable = config->durable;
    char *error = NULL;
    const char *name = "default";
    const rocksdb_options_t *options = db->options;
    db->db = rocksdb_open_column_families(db->options, config->dir, 1, &name, &options, &db->family, &error);
    check(error, "open");
    return db;
}

static void *rocks_open(const struct engine_config *config)
{
    return rocks_open_with(config, VARIANT_PLAIN);
}

static void *rocks_open_mmap(const struct engine_config *config)
{
    return rocks_open_with(config, VARIANT_MMAP);
}

static void *rocks_open_blob(const struct engine_config *config)
{
    return rocks_open_with(config, VARIANT_BLOB);
}

static void rocks_close(void *handle)
{
    struct rocks *db = handle;
    rocksdb_column_family_handle_destroy(db->family);
    rocksdb_close(db->db);
    rocksdb_options_destroy(db->options);
    rocksdb_cache_destroy(db->cache);
    free(db);
}

static bool work_pending(struct rocks *db)
{
    static const char *const names[] = {"rocksdb.mem-table-flush-pending", "rocksdb.num-running-flushes",
                                        "rocksdb.compaction-pending", "rocksdb.num-running-compactions"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        uint64_t value = 0;
        if (rocksdb_property_int(db->db, names[i], &value) != 0)
            bench_die("rocksdb: no property %s", names[i]);
        if (value)
            return true;
    }
    return false;
}

static uint64_t rocks_settle(void *handle)
{
    struct rocks *db = handle;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    char *error = NULL;
    rocksdb_flushoptions_set_wait(options, 1);
    rocksdb_flush(db->db, options, &error);
    check(error, "flush");
    rocksdb_flushoptions_destroy(options);
    uint64_t quiet_since = 0, now = bench_clock_ns();
    while (!quiet_since || now - quiet_since < 100000000u) {
        if (work_pending(db))
            quiet_since = 0;
        else if (!quiet_since)
            quiet_since = now;
        usleep(5000);
        now = bench_clock_ns();
    }
    return now - quiet_since;
}

static void rocks_stats(void *handle)
{
    char *text = rocksdb_property_value(((struct rocks *)handle)->db, "rocksdb.stats");
    fputs(text, stderr);
    rocksdb_free(text);
}

static void *rocks_session_begin(void *handle)
{
    struct rocks_session *s = bench_alloc(sizeof *s);
    s->db = handle;
    s->read = rocksdb_readoptions_create();
    s->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(s->write, s->db->durable);
    return s;
}

static void rocks_scan_done(void *session)
{
    struct rocks_session *s = session;
    if (s->iter)
        rocksdb_iter_destroy(s->iter);
    s->iter = NULL;
}

static void rocks_session_end(void *session)
{
    struct rocks_session *s = session;
    rocks_scan_done(s);
    rocksdb_readoptions_destroy(s->read);
    rocksdb_writeoptions_destroy(s->write);
    free(s);
}

static void rocks_put(void *session, struct bytes key, struct bytes value)
{
    struct rocks_session *s = session;
    char *error = NULL;
    rocksdb_put(s->db->db, s->write, key.data, key.size, value.data, value.size, &error);
    check(error, "put");
}

static void rocks_del(void *session, struct bytes key)
{
    struct rocks_session *s = session;
    char *error = NULL;
    rocksdb_delete(s->db->db, s->write, key.data, key.size, &error);
    check(error, "delete");
}

static bool rocks_get(void *session, struct bytes key, struct bytes *out_value)
{
    struct rocks_session *s = session;
    char *error = NULL;
    s->values[0] = rocksdb_get_pinned(s->db->db, s->read, key.data, key.size, &error);
    s->value_count = 1;
    check(error, "get");
    if (!s->values[0])
        return false;
    out_value->data = rocksdb_pinnableslice_value(s->values[0], &out_value->size);
    return true;
}

static void rocks_multi_get(void *session, unsigned count, const struct bytes *keys, struct bytes *out_values)
{
    struct rocks_session *s = session;
    const char *data[ENGINE_BATCH_MAX] = {NULL};
    size_t sizes[ENGINE_BATCH_MAX] = {0};
    char *errors[ENGINE_BATCH_MAX];
    for (unsigned i = 0; i < count; i++) {
        data[i] = keys[i].data;
        sizes[i] = keys[i].size;
    }
    rocksdb_batched_multi_get_cf(s->db->db, s->read, s->db->family, count, data, sizes, s->values, errors, false);
    s->value_count = count;
    for (unsigned i = 0; i < count; i++) {
        check(errors[i], "multi-get");
        out_values[i] = (struct bytes){NULL, 0};
        if (s->values[i])
            out_values[i].data = rocksdb_pinnableslice_value(s->values[i], &out_values[i].size);
    }
}

static void rocks_get_done(void *session)
{
    struct rocks_session *s = session;
    for (unsigned i = 0; i < s->value_count; i++)
        if (s->values[i])
            rocksdb_pinnableslice_destroy(s->values[i]);
    s->value_count = 0;
}

static bool iter_state(struct rocks_session *s)
{
    if (rocksdb_iter_valid(s->iter))
        return true;
    char *error = NULL;
    rocksdb_iter_get_error(s->iter, &error);
    check(error, "iterator");
    return false;
}

static void scan_begin(struct rocks_session *s)
{
    if (!s->iter)
        s->iter = rocksdb_create_iterator(s->db->db, s->read);
}

static bool rocks_seek(void *session, struct bytes key)
{
    struct rocks_session *s = session;
    scan_begin(s);
    rocksdb_iter_seek(s->iter, key.data, key.size);
    return iter_state(s);
}

static bool rocks_next(void *session)
{
    struct rocks_session *s = session;
    rocksdb_iter_next(s->iter);
    return iter_state(s);
}

static bool rocks_seek_back(void *session, struct bytes key)
{
    struct rocks_session *s = session;
    scan_begin(s);
    rocksdb_iter_seek_for_prev(s->iter, key.data, key.size);
    return iter_state(s);
}

static bool rocks_prev(void *session)
{
    struct rocks_session *s = session;
    rocksdb_iter_prev(s->iter);
    return iter_state(s);
}

static void rocks_key(void *session, struct bytes *out_key)
{
    struct rocks_session *s = session;
    out_key->data = rocksdb_iter_key(s->iter, &out_key->size);
}

static void rocks_entry(void *session, struct bytes *out_key, struct bytes *out_value)
{
    struct rocks_session *s = session;
    out_key->data = rocksdb_iter_key(s->iter, &out_key->size);
    out_value->data = rocksdb_iter_value(s->iter, &out_value->size);
}

#define ROCKS_FUNCTIONS                                                                                         \
    .package = "librocksdb-dev", .version = rocks_version, .survives_kill = true, .close = rocks_close,         \
    .settle = rocks_settle, .stats = rocks_stats, .session_begin = rocks_session_begin,                         \
    .session_end = rocks_session_end, .put = rocks_put, .del = rocks_del, .get = rocks_get,                     \
    .get_done = rocks_get_done, .multi_get = rocks_multi_get, .seek = rocks_seek, .seek_back = rocks_seek_back, \
    .next = rocks_next, .prev = rocks_prev, .key = rocks_key, .entry = rocks_entry, .scan_done = rocks_scan_done

extern const struct engine engine_rocksdb, engine_rocksdb_mmap, engine_rocksdb_blob;
const struct engine engine_rocksdb = {
    .name = "rocksdb",
    .terms =
        "write buffer a quarter of the budget, block cache the rest (under a memory limit: all of it); Bloom filter; "
        "no compression; otherwise as shipped (2 background jobs; random access is advised, indexes and filters are "
        "not in the block cache); pinned gets, also in batches",
    .open = rocks_open,
    ROCKS_FUNCTIONS,
};
const struct engine engine_rocksdb_mmap = {
    .name = "rocksdb-mmap",
    .terms = "as rocksdb, with allow_mmap_reads",
    .open = rocks_open_mmap,
    ROCKS_FUNCTIONS,
};
const struct engine engine_rocksdb_blob = {
    .name = "rocksdb-blob",
    .terms =
        "as rocksdb, with values from 512 bytes on in blob files (BlobDB), their garbage collected with the defaults",
    .open = rocks_open_blob,
    ROCKS_FUNCTIONS,
};
