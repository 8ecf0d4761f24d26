// SPDX-License-Identifier: Apache-2.0
/*
 * engines/leveldb.c - LevelDB behind the benchmark's table, through its C interface.
 *
 * A quarter of the budget is the write buffer, the rest the block cache. LevelDB maps its first 1,000 tables and serves
 * reads of uncompressed blocks from the mapping, so the block cache matters only beyond those.
 *
 * The C interface can neither flush nor wait. settle() therefore closes and opens the database (opening writes the log
 * out as a table and schedules what is due) and polls until no level is over its limit and the process is at rest.
 */
#include <leveldb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engines/engine.h"
#include "nokv_bench_util.h"

struct level {
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    char *dir;
    bool durable;
};

struct level_session {
    struct level *db;
    leveldb_readoptions_t *read;
    leveldb_writeoptions_t *write;
    leveldb_iterator_t *iter;
    char *value; /* what get() returned, malloc'ed by the library */
};

static void check(char *error, const char *what)
{
    if (error)
        bench_die("leveldb: %s: %s", what, error);
}

static const char *level_version(void)
{
    static char text[32];
    snprintf(text, sizeof text, "%d.%d", leveldb_major_version(), leveldb_minor_version());
    return text;
}

static void level_reopen(struct level *db)
{
    char *error = NULL;
    if (db->db)
        leveldb_close(db->db);
    db->db = leveldb_open(db->options, db->dir, &error);
    check(error, "open");
}

static void *level_open(const struct engine_config *config)
{
    struct level *db = bench_alloc(sizeof *db);
    size_t buffer = (size_t)(config->memory_bytes / 4);
    db->cache = leveldb_cache_create_lru((size_t)config->memory_bytes - buffer);
    db->filter = leveldb_filterpolicy_create_bloom((int)config->filter_bits);
    db->options = leveldb_options_create();
    leveldb_options_set_create_if_missing(db->options, 1);
    leveldb_options_set_write_buffer_size(db->options, buffer);
    leveldb_options_set_cache(db->options, db->cache);
    leveldb_options_set_filter_policy(db->options, db->filter);
    leveldb_options_set_compression(db->options, leveldb_no_compression);
    db->dir = strdup(config->dir);
    db->durable = config->durable;
    level_reopen(db);
    return db;
}

static void level_close(void *handle)
{
    struct level *db = handle;
    leveldb_close(db->db);
    leveldb_options_destroy(db->options);
    leveldb_cache_destroy(db->cache);
    leveldb_filterpolicy_destroy(db->filter);
    free(db->dir);
    free(db);
}

/* Is a level over its limit? Four files on level 0; 10 MB on level 1 and ten times more on each that follows. */
static bool compaction_due(struct level *db)
{
    char *stats = leveldb_property_value(db->db, "leveldb.stats");
    bool due = false;
    for (char *line = stats; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        int level, files;
        double mb;
        if (sscanf(line, "%d %d %lf", &level, &files, &mb) != 3 || level > 5)
            continue;
        double limit = 1;
        for (int i = 0; i < level; i++)
            limit *= 10;
        due = due || (level == 0 ? files >= 4 : mb - 0.5 > limit); /* the text is rounded to whole MB */
    }
    leveldb_free(stats);
    return due;
}

static uint64_t level_settle(void *handle)
{
    struct level *db = handle;
    level_reopen(db);
    uint64_t quiet_since = 0, cpu = bench_cpu_ns(), now = bench_clock_ns();
    while (!quiet_since || now - quiet_since < 300000000u) {
        usleep(20000);
        uint64_t cpu_now = bench_cpu_ns(), used = cpu_now > cpu ? cpu_now - cpu : 0;
        cpu = cpu_now;
        now = bench_clock_ns();
        if (used > 1500000u || compaction_due(db))
            quiet_since = 0;
        else if (!quiet_since)
            quiet_since = now;
    }
    return now - quiet_since;
}

static void level_stats(void *handle)
{
    char *text = leveldb_property_value(((struct level *)handle)->db, "leveldb.stats");
    fputs(text, stderr);
    leveldb_free(text);
}

static void *level_session_begin(void *handle)
{
    struct level_session *s = bench_alloc(sizeof *s);
    s->db = handle;
    s->read = leveldb_readoptions_create();
    s->write = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(s->write, s->db->durable);
    return s;
}

static void level_scan_done(void *session)
{
    struct level_session *s = session;
    if (s->iter)
        leveldb_iter_destroy(s->iter);
    s->iter = NULL;
}

static void level_session_end(void *session)
{
    struct level_session *s = session;
    level_scan_done(s);
    leveldb_readoptions_destroy(s->read);
    leveldb_writeoptions_destroy(s->write);
    free(s);
}

static void level_put(void *session, struct bytes key, struct bytes value)
{
    struct level_session *s = session;
    char *error = NULL;
    leveldb_put(s->db->db, s->write, key.data, key.size, value.data, value.size, &error);
    check(error, "put");
}

static void level_del(void *session, struct bytes key)
{
    struct level_session *s = session;
    char *error = NULL;
    leveldb_delete(s->db->db, s->write, key.data, key.size, &error);
    check(error, "delete");
}

static bool level_get(void *session, struct bytes key, struct bytes *out_value)
{
    struct level_session *s = session;
    char *error = NULL;
    size_t size;
    s->value = leveldb_get(s->db->db, s->read, key.data, key.size, &size, &error);
    check(error, "get");
    if (!s->value)
        return false;
    *out_value = (struct bytes){s->value, size};
    return true;
}

static void level_get_done(void *session)
{
    struct level_session *s = session;
    leveldb_free(s->value);
    s->value = NULL;
}

/* At the end of the data or after an error; the latter ends the process. */
static bool iter_state(struct level_session *s)
{
    if (leveldb_iter_valid(s->iter))
        return true;
    char *error = NULL;
    leveldb_iter_get_error(s->iter, &error);
    check(error, "iterator");
    return false;
}

static void scan_begin(struct level_session *s)
{
    if (!s->iter)
        s->iter = leveldb_create_iterator(s->db->db, s->read);
}

static bool level_seek(void *session, struct bytes key)
{
    struct level_session *s = session;
    scan_begin(s);
    leveldb_iter_seek(s->iter, key.data, key.size);
    return iter_state(s);
}

static bool level_next(void *session)
{
    struct level_session *s = session;
    leveldb_iter_next(s->iter);
    return iter_state(s);
}

static bool level_prev(void *session)
{
    struct level_session *s = session;
    leveldb_iter_prev(s->iter);
    return iter_state(s);
}

/* LevelDB can only seek forward: to the first key that is not before the one wanted, and one back unless it is that. */
static bool level_seek_back(void *session, struct bytes key)
{
    struct level_session *s = session;
    if (!level_seek(session, key)) {
        leveldb_iter_seek_to_last(s->iter);
        return iter_state(s);
    }
    size_t size;
    const char *found = leveldb_iter_key(s->iter, &size);
    return (size == key.size && memcmp(found, key.data, size) == 0) || level_prev(session);
}

static void level_key(void *session, struct bytes *out_key)
{
    struct level_session *s = session;
    out_key->data = leveldb_iter_key(s->iter, &out_key->size);
}

static void level_entry(void *session, struct bytes *out_key, struct bytes *out_value)
{
    struct level_session *s = session;
    out_key->data = leveldb_iter_key(s->iter, &out_key->size);
    out_value->data = leveldb_iter_value(s->iter, &out_value->size);
}

extern const struct engine engine_leveldb;
const struct engine engine_leveldb = {
    .name = "leveldb",
    .package = "libleveldb-dev",
    .terms = "write buffer a quarter of the budget, block cache the rest; Bloom filter; no compression; tables mapped "
             "(its default); get copies the value; multi-get: a loop of gets",
    .survives_kill = true,
    .version = level_version,
    .open = level_open,
    .close = level_close,
    .settle = level_settle,
    .stats = level_stats,
    .session_begin = level_session_begin,
    .session_end = level_session_end,
    .put = level_put,
    .del = level_del,
    .get = level_get,
    .get_done = level_get_done,
    .seek = level_seek,
    .seek_back = level_seek_back,
    .next = level_next,
    .prev = level_prev,
    .key = level_key,
    .entry = level_entry,
    .scan_done = level_scan_done,
};
