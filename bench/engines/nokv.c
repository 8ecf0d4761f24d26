// SPDX-License-Identifier: Apache-2.0
/*
 * engines/nokv.c - NoKV behind the benchmark's table, through its public header alone.
 *
 * The budget is the memtables: a quarter of it each, four at the most. Tables are read through mappings while they are
 * in memory; as in LMDB the page cache is not bounded by the budget. The value log has its defaults.
 */
#include <nokv/nokv.h>
#include <stdio.h>
#include <stdlib.h>

#include "engines/engine.h"
#include "nokv_bench_util.h"

struct session {
    nokv_db *db;
    nokv_iter *iter;
    nokv_value values[ENGINE_BATCH_MAX]; /* of the last get or multi-get; zeroed: not found */
    unsigned value_count;
};

static void check(nokv_status status, const char *what)
{
    if (status != NOKV_OK)
        bench_die("nokv: %s: %s: %s", what, nokv_status_name(status), nokv_error_message());
}

enum { IN_TABLES_BYTES = 16 << 10 }; /* of nokv-tables: values below stay in tables */

static void *open_with(const struct engine_config *config, nokv_huge_pages huge_pages, uint32_t separation_min)
{
    nokv_options options;
    nokv_options_init(&options);
    options.memtable_bytes = config->memory_bytes / 4;
    options.memtables_max = 4;
    options.filter_bits_per_key = config->filter_bits;
    options.sync = config->durable ? NOKV_SYNC_COMMIT : NOKV_SYNC_NONE;
    options.huge_pages = huge_pages;
    options.value_separation_min = separation_min;
    nokv_db *db;
    check(nokv_open(config->dir, &options, &db), "open");
    return db;
}

static void *nk_open(const struct engine_config *config)
{
    return open_with(config, NOKV_HUGE_PAGES_DEFAULT, 0);
}

static void *nk_open_4k(const struct engine_config *config)
{
    return open_with(config, NOKV_HUGE_PAGES_OFF, 0);
}

static void *nk_open_2m(const struct engine_config *config)
{
    return open_with(config, NOKV_HUGE_PAGES_ON, 0);
}

static void *nk_open_tables(const struct engine_config *config)
{
    return open_with(config, NOKV_HUGE_PAGES_DEFAULT, IN_TABLES_BYTES);
}

static void nk_close(void *db)
{
    check(nokv_close(db), "close");
}

static uint64_t nk_settle(void *db)
{
    check(nokv_flush(db), "flush");
    check(nokv_wait_idle(db), "wait_idle");
    return 0;
}

static void nk_stats(void *db)
{
    char *text;
    check(nokv_stats_text(db, &text), "stats");
    fputs(text, stderr);
    nokv_free(text);
}

static void *nk_session_begin(void *db)
{
    struct session *s = bench_alloc(sizeof *s);
    s->db = db;
    return s;
}

static void nk_scan_done(void *session)
{
    struct session *s = session;
    nokv_iter_destroy(s->iter);
    s->iter = NULL;
}

static void nk_session_end(void *session)
{
    nk_scan_done(session);
    free(session);
}

static void nk_put(void *session, struct bytes key, struct bytes value)
{
    struct session *s = session;
    check(nokv_put(s->db, key.data, key.size, value.data, value.size, NULL), "put");
}

static void nk_del(void *session, struct bytes key)
{
    struct session *s = session;
    check(nokv_delete(s->db, key.data, key.size, NULL), "delete");
}

static bool nk_get(void *session, struct bytes key, struct bytes *out_value)
{
    struct session *s = session;
    nokv_status status = nokv_get(s->db, key.data, key.size, NULL, &s->values[0]);
    if (status == NOKV_ERR_NOT_FOUND)
        return false;
    check(status, "get");
    s->value_count = 1;
    *out_value = (struct bytes){s->values[0].data, s->values[0].size};
    return true;
}

/* The library's call for a batch, if it has one; otherwise the driver loops over nk_get(). */
#ifdef NOKV_HAVE_MULTI_GET
#define MULTI_GET nk_multi_get
#define MULTI_GET_TERMS "multi-get"

static void nk_multi_get(void *session, unsigned count, const struct bytes *keys, struct bytes *out_values)
{
    struct session *s = session;
    nokv_slice slices[ENGINE_BATCH_MAX];
    nokv_status statuses[ENGINE_BATCH_MAX];
    slices[0] = (nokv_slice){0}; /* the compiler knows of no count above 0 */
    for (unsigned i = 0; i < count; i++)
        slices[i] = (nokv_slice){keys[i].data, keys[i].size};
    check(nokv_multi_get(s->db, count, slices, NULL, s->values, statuses), "multi_get");
    s->value_count = count;
    for (unsigned i = 0; i < count; i++) {
        if (statuses[i] == NOKV_ERR_NOT_FOUND)
            s->values[i] = (nokv_value){0};
        else
            check(statuses[i], "multi_get");
        out_values[i] = (struct bytes){s->values[i].data, s->values[i].size};
    }
}
#else
#define MULTI_GET NULL
#define MULTI_GET_TERMS "multi-get: a loop of gets"
#endif

static void nk_get_done(void *session)
{
    struct session *s = session;
    for (unsigned i = 0; i < s->value_count; i++)
        nokv_value_release(&s->values[i]);
    s->value_count = 0;
}

static bool iter_state(struct session *s)
{
    if (nokv_iter_valid(s->iter))
        return true;
    check(nokv_iter_status(s->iter), "iterator");
    return false;
}

static void scan_begin(struct session *s)
{
    if (!s->iter)
        check(nokv_iter_create(s->db, NULL, &s->iter), "iter_create");
}

static bool nk_seek(void *session, struct bytes key)
{
    struct session *s = session;
    scan_begin(s);
    nokv_iter_seek(s->iter, key.data, key.size);
    return iter_state(s);
}

static bool nk_next(void *session)
{
    struct session *s = session;
    nokv_iter_next(s->iter);
    return iter_state(s);
}

static bool nk_seek_back(void *session, struct bytes key)
{
    struct session *s = session;
    scan_begin(s);
    nokv_iter_seek_for_prev(s->iter, key.data, key.size);
    return iter_state(s);
}

static bool nk_prev(void *session)
{
    struct session *s = session;
    nokv_iter_prev(s->iter);
    return iter_state(s);
}

static void nk_key(void *session, struct bytes *out_key)
{
    struct session *s = session;
    nokv_slice key = nokv_iter_key(s->iter);
    *out_key = (struct bytes){key.data, key.size};
}

static void nk_entry(void *session, struct bytes *out_key, struct bytes *out_value)
{
    struct session *s = session;
    nokv_slice value = nokv_iter_value(s->iter);
    if (!value.data)
        check(nokv_iter_status(s->iter), "iter_value");
    *out_value = (struct bytes){value.data, value.size};
    nk_key(session, out_key);
}

#define NK_FUNCTIONS                                                                                               \
    .package = "this repository", .survives_kill = true, .version = nokv_version, .close = nk_close,               \
    .settle = nk_settle, .stats = nk_stats, .session_begin = nk_session_begin, .session_end = nk_session_end,      \
    .put = nk_put, .del = nk_del, .get = nk_get, .get_done = nk_get_done, .multi_get = MULTI_GET, .seek = nk_seek, \
    .seek_back = nk_seek_back, .next = nk_next, .prev = nk_prev, .key = nk_key, .entry = nk_entry,                 \
    .scan_done = nk_scan_done

extern const struct engine engine_nokv, engine_nokv_4k, engine_nokv_2m, engine_nokv_tables;
const struct engine engine_nokv = {
    .name = "nokv",
    .terms =
        "four memtables of a quarter of the budget each; filter; no compression; tables mapped; value log as it is by "
        "default: values from 512 bytes on at flush, from 16 KiB on directly; in place, or with a copy what is not in "
        "the page cache; "
        "without sync an acknowledged put still survives kill -9; pinned gets; " MULTI_GET_TERMS,
    .open = nk_open,
    NK_FUNCTIONS,
};
const struct engine engine_nokv_4k = {
    .name = "nokv-4k",
    .terms = "as nokv, with huge_pages = NOKV_HUGE_PAGES_OFF",
    .open = nk_open_4k,
    NK_FUNCTIONS,
};
const struct engine engine_nokv_2m = {
    .name = "nokv-2m",
    .terms = "as nokv, with huge_pages = NOKV_HUGE_PAGES_ON",
    .open = nk_open_2m,
    NK_FUNCTIONS,
};
const struct engine engine_nokv_tables = {
    .name = "nokv-tables",
    .terms = "as nokv, with value_separation_min = 16384: smaller values are in tables",
    .open = nk_open_tables,
    NK_FUNCTIONS,
};
