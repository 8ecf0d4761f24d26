// SPDX-License-Identifier: Apache-2.0
/*
 * engines/wiredtiger.c - WiredTiger behind the benchmark's table: its B-tree (type=file) and its LSM tree (type=lsm).
 *
 * The budget is its cache, which holds clean and dirty pages. Pages are written and read through the page cache of the
 * kernel as well, as shipped; that is not bounded by the budget, as in the others. No compression (the default).
 * From a fifth of the cache dirty on, threads that put have to evict pages (eviction_dirty_trigger, as shipped): that
 * is most of what a fill at random costs here, and much less with a larger cache.
 *
 * The log is on in every run. Without sync its records are written to the file at each commit and not synced
 * (transaction_sync=(enabled=true,method=none)): an acknowledged put survives the death of the process, as it does in
 * the other engines that have a log. WiredTiger's default, transaction_sync=(enabled=false), leaves records in memory
 * of the process until a buffer is full: it is faster, and kill -9 loses them.
 *
 * The LSM tree makes a chunk of a quarter of the budget, as RocksDB's write buffer; its chunks' pages are in the cache.
 * It cannot tell whether a merge is due, and merges a tree that is idle of its own accord: settle() asks for a merge of
 * all chunks, which is more than what the others do there.
 *
 * Each put is a transaction of its own (autocommit). A conflict (WT_ROLLBACK) is tried again. A scan reads one snapshot
 * from its seek to scan_done(); it has a WiredTiger session to itself, so that a put between two steps is no part of
 * its transaction. A value that get() found stays in place until its cursor is reset.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <wiredtiger.h>

#include "engines/engine.h"
#include "nokv_bench_util.h"

#define TABLE_URI "table:bench"

#define LSM_QUIET_NS UINT64_C(3000000000) /* no row merged for so long: there will be no more */

enum { SESSIONS_MAX = 600 }; /* two for each thread of the driver, and WiredTiger's own */

struct wired {
    WT_CONNECTION *connection;
    WT_SESSION *session; /* for create and checkpoint; used by the driver's main thread */
};

struct wired_session {
    WT_SESSION *point_session, *scan_session;
    WT_CURSOR *point, *scan;
    bool scanning;
};

static void check(int rc, const char *what)
{
    if (rc != 0)
        bench_die("wiredtiger: %s: %s", what, wiredtiger_strerror(rc));
}

static const char *wired_version(void)
{
    static char text[32];
    int major, minor, patch;
    (void)wiredtiger_version(&major, &minor, &patch);
    snprintf(text, sizeof text, "%d.%d.%d", major, minor, patch);
    return text;
}

static void *open_with(const struct engine_config *config, const char *connection_text, const char *table_text)
{
    char text[256];
    struct wired *db = bench_alloc(sizeof *db);
    snprintf(text, sizeof text,
             "create,cache_size=%lu,session_max=%d,log=(enabled=true),transaction_sync=(enabled=true,method=%s)%s",
             config->memory_bytes, SESSIONS_MAX, config->durable ? "fsync" : "none", connection_text);
    check(wiredtiger_open(config->dir, NULL, text, &db->connection), "open");
    check(db->connection->open_session(db->connection, NULL, NULL, &db->session), "open_session");
    snprintf(text, sizeof text, "key_format=u,value_format=u,%s", table_text);
    check(db->session->create(db->session, TABLE_URI, text), "create");
    return db;
}

static void *wired_open(const struct engine_config *config)
{
    return open_with(config, "", "type=file");
}

static void *wired_open_lsm(const struct engine_config *config)
{
    char text[128];
    snprintf(text, sizeof text, "type=lsm,lsm=(chunk_size=%lu,bloom_bit_count=%u)", config->memory_bytes / 4,
             config->filter_bits);
    return open_with(config, ",statistics=(fast)", text);
}

static void wired_close(void *handle)
{
    struct wired *db = handle;
    check(db->connection->close(db->connection, NULL), "close");
    free(db);
}

static uint64_t wired_settle(void *handle)
{
    struct wired *db = handle;
    check(db->session->checkpoint(db->session, NULL), "checkpoint");
    return 0;
}

static int64_t statistic(struct wired *db, const char *uri, int number)
{
    WT_CURSOR *cursor;
    const char *name, *text;
    int64_t value;
    check(db->session->open_cursor(db->session, uri, NULL, "statistics=(fast)", &cursor), "statistics cursor");
    cursor->set_key(cursor, number);
    check(cursor->search(cursor), "statistics search");
    check(cursor->get_value(cursor, &name, &text, &value), "statistics value");
    check(cursor->close(cursor), "statistics close");
    return value;
}

/* compact() asks for a merge of all chunks and returns while it is under way. */
static uint64_t wired_settle_lsm(void *handle)
{
    struct wired *db = handle;
    check(db->session->compact(db->session, TABLE_URI, "timeout=0"), "compact");
    uint64_t now = bench_clock_ns(), moved_at = now;
    int64_t merged = -1;
    while (statistic(db, "statistics:" TABLE_URI, WT_STAT_DSRC_LSM_CHUNK_COUNT) > 1 && now - moved_at < LSM_QUIET_NS) {
        int64_t merged_now = statistic(db, "statistics:", WT_STAT_CONN_LSM_ROWS_MERGED);
        if (merged_now != merged)
            moved_at = now;
        merged = merged_now;
        usleep(5000);
        now = bench_clock_ns();
    }
    return now - moved_at + wired_settle(db);
}

static void cursor_open(struct wired *db, WT_SESSION **out_session, WT_CURSOR **out_cursor)
{
    check(db->connection->open_session(db->connection, NULL, "isolation=snapshot", out_session), "open_session");
    check((*out_session)->open_cursor(*out_session, TABLE_URI, NULL, NULL, out_cursor), "open_cursor");
}

static void *wired_session_begin(void *handle)
{
    struct wired_session *s = bench_alloc(sizeof *s);
    cursor_open(handle, &s->point_session, &s->point);
    cursor_open(handle, &s->scan_session, &s->scan);
    return s;
}

static void wired_scan_done(void *session)
{
    struct wired_session *s = session;
    if (s->scanning)
        check(s->scan_session->rollback_transaction(s->scan_session, NULL),
              "rollback_transaction"); /* resets the cursor */
    s->scanning = false;
}

static void wired_session_end(void *session)
{
    struct wired_session *s = session;
    wired_scan_done(s);
    check(s->point_session->close(s->point_session, NULL), "session close"); /* and its cursor */
    check(s->scan_session->close(s->scan_session, NULL), "session close");
    free(s);
}

static void key_set(WT_CURSOR *cursor, struct bytes key)
{
    WT_ITEM item = {.data = key.data, .size = key.size};
    cursor->set_key(cursor, &item);
}

static void wired_put(void *session, struct bytes key, struct bytes value)
{
    WT_CURSOR *cursor = ((struct wired_session *)session)->point;
    int rc;
    do {
        WT_ITEM item = {.data = value.data, .size = value.size};
        key_set(cursor, key);
        cursor->set_value(cursor, &item);
        rc = cursor->insert(cursor); /* overwrites */
    } while (rc == WT_ROLLBACK);
    check(rc, "insert");
}

static void wired_del(void *session, struct bytes key)
{
    WT_CURSOR *cursor = ((struct wired_session *)session)->point;
    int rc;
    do {
        key_set(cursor, key);
        rc = cursor->remove(cursor);
    } while (rc == WT_ROLLBACK);
    check(rc == WT_NOTFOUND ? 0 : rc, "remove");
    check(cursor->reset(cursor), "reset");
}

static void wired_get_done(void *session)
{
    WT_CURSOR *cursor = ((struct wired_session *)session)->point;
    check(cursor->reset(cursor), "reset");
}

static bool wired_get(void *session, struct bytes key, struct bytes *out_value)
{
    WT_CURSOR *cursor = ((struct wired_session *)session)->point;
    WT_ITEM value;
    int rc;
    do {
        key_set(cursor, key);
        rc = cursor->search(cursor);
    } while (rc == WT_ROLLBACK);
    if (rc == WT_NOTFOUND) {
        wired_get_done(session);
        return false;
    }
    check(rc, "search");
    check(cursor->get_value(cursor, &value), "get_value");
    *out_value = (struct bytes){value.data, value.size};
    return true;
}

/* ---- scans ---------------------------------------------------------------------------------------------------- */

static void scan_begin(struct wired_session *s)
{
    if (!s->scanning)
        check(s->scan_session->begin_transaction(s->scan_session, NULL), "begin_transaction");
    s->scanning = true;
}

static bool moved(int rc, const char *what)
{
    if (rc == WT_NOTFOUND)
        return false;
    check(rc, what);
    return true;
}

/* To an entry beside `key`; *out_side is how that compares with it. A conflict is tried again in a new transaction. */
static bool search_near(struct wired_session *s, struct bytes key, int *out_side)
{
    int rc;
    for (;;) {
        scan_begin(s);
        key_set(s->scan, key);
        rc = s->scan->search_near(s->scan, out_side);
        if (rc != WT_ROLLBACK)
            return moved(rc, "search_near");
        wired_scan_done(s);
    }
}

static bool wired_next(void *session)
{
    WT_CURSOR *cursor = ((struct wired_session *)session)->scan;
    return moved(cursor->next(cursor), "next");
}

static bool wired_prev(void *session)
{
    WT_CURSOR *cursor = ((struct wired_session *)session)->scan;
    return moved(cursor->prev(cursor), "prev");
}

static bool wired_seek(void *session, struct bytes key)
{
    int side;
    return search_near(session, key, &side) && (side >= 0 || wired_next(session));
}

static bool wired_seek_back(void *session, struct bytes key)
{
    int side;
    return search_near(session, key, &side) && (side <= 0 || wired_prev(session));
}

static void wired_key(void *session, struct bytes *out_key)
{
    WT_CURSOR *cursor = ((struct wired_session *)session)->scan;
    WT_ITEM key;
    check(cursor->get_key(cursor, &key), "get_key");
    *out_key = (struct bytes){key.data, key.size};
}

static void wired_entry(void *session, struct bytes *out_key, struct bytes *out_value)
{
    WT_CURSOR *cursor = ((struct wired_session *)session)->scan;
    WT_ITEM value;
    check(cursor->get_value(cursor, &value), "get_value");
    *out_value = (struct bytes){value.data, value.size};
    wired_key(session, out_key);
}

#define WIRED_FUNCTIONS                                                                                         \
    .package = "libwiredtiger-dev", .survives_kill = true, .version = wired_version, .close = wired_close,      \
    .session_begin = wired_session_begin, .session_end = wired_session_end, .put = wired_put, .del = wired_del, \
    .get = wired_get, .get_done = wired_get_done, .seek = wired_seek, .seek_back = wired_seek_back,             \
    .next = wired_next, .prev = wired_prev, .key = wired_key, .entry = wired_entry, .scan_done = wired_scan_done

extern const struct engine engine_wiredtiger, engine_wiredtiger_lsm;
const struct engine engine_wiredtiger = {
    .name = "wiredtiger",
    .terms =
        "B-tree; one transaction per put; cache the whole budget, the page cache beside it not bounded; no "
        "compression, no filter; no sync: log written at each put (not its default, which loses puts with kill -9) "
        "and kept until the checkpoint in settle",
    .open = wired_open,
    .settle = wired_settle,
    WIRED_FUNCTIONS,
};
const struct engine engine_wiredtiger_lsm = {
    .name = "wiredtiger-lsm",
    .terms = "as wiredtiger, but its LSM tree: chunks of a quarter of the budget; Bloom filter; "
             "settle merges the whole tree, as it cannot tell when no merge is due",
    .open = wired_open_lsm,
    .settle = wired_settle_lsm,
    WIRED_FUNCTIONS,
};
