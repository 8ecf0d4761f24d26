// SPDX-License-Identifier: Apache-2.0
/*
 * engines/lmdb.c - LMDB behind the benchmark's table.
 *
 * Without sync it runs in its fastest mode, MDB_WRITEMAP | MDB_NOSYNC. That mode is weaker than what the others
 * promise: a power cut may leave the whole database unreadable, not only lose the newest writes. Durable runs use the
 * default mode (pwrite, fdatasync and a synchronous meta page per commit). One put is one transaction, as a put is one
 * atomic commit in the others. With less memory than data its mapping is not read ahead (MDB_NORDAHEAD, what its
 * documentation advises then). A read transaction is renewed per get and per scan, so that each sees the newest state.
 */
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engines/engine.h"
#include "nokv_bench_util.h"

struct lmdb {
    MDB_env *env;
    MDB_dbi dbi;
};

struct lmdb_session {
    struct lmdb *db;
    MDB_txn *read; /* reset while no get and no scan is under way */
    MDB_cursor *cursor;
    bool scanning;
    MDB_val key, value;
};

static void check(int rc, const char *what)
{
    if (rc != 0)
        bench_die("lmdb: %s: %s", what, mdb_strerror(rc));
}

static const char *lmdb_version_text(void)
{
    static char text[32];
    int major, minor, patch;
    mdb_version(&major, &minor, &patch);
    snprintf(text, sizeof text, "%d.%d.%d", major, minor, patch);
    return text;
}

static void *lmdb_open(const struct engine_config *config)
{
    struct lmdb *db = bench_alloc(sizeof *db);
    check(mdb_env_create(&db->env), "env_create");
    /* A B+-tree filled at random is two thirds full, and copy-on-write needs free pages: six times is ample. */
    size_t map = (size_t)(config->data_bytes * 6 + (1u << 30));
    check(mdb_env_set_mapsize(db->env, map / 4096 * 4096), "set_mapsize");
    check(mdb_env_set_maxreaders(db->env, 256), "set_maxreaders");
    unsigned flags = MDB_NOTLS | (config->durable ? 0 : MDB_WRITEMAP | MDB_NOSYNC);
    flags |= config->memory_limit_bytes ? MDB_NORDAHEAD : 0;
    check(mdb_env_open(db->env, config->dir, flags, 0644), "open");
    MDB_txn *txn;
    check(mdb_txn_begin(db->env, NULL, 0, &txn), "txn_begin");
    check(mdb_dbi_open(txn, NULL, 0, &db->dbi), "dbi_open");
    check(mdb_txn_commit(txn), "txn_commit");
    return db;
}

static void lmdb_close(void *handle)
{
    struct lmdb *db = handle;
    mdb_env_close(db->env);
    free(db);
}

static uint64_t lmdb_settle(void *handle)
{
    struct lmdb *db = handle;
    check(mdb_env_sync(db->env, 1), "env_sync");
    return 0;
}

static void *lmdb_session_begin(void *handle)
{
    struct lmdb_session *s = bench_alloc(sizeof *s);
    s->db = handle;
    check(mdb_txn_begin(s->db->env, NULL, MDB_RDONLY, &s->read), "txn_begin");
    check(mdb_cursor_open(s->read, s->db->dbi, &s->cursor), "cursor_open");
    mdb_txn_reset(s->read);
    return s;
}

static void lmdb_session_end(void *session)
{
    struct lmdb_session *s = session;
    mdb_cursor_close(s->cursor);
    mdb_txn_abort(s->read);
    free(s);
}

/* LMDB's interface is not const-correct; it does not write through these pointers. */
static MDB_val val(struct bytes b)
{
    return (MDB_val){b.size, (void *)(uintptr_t)b.data};
}

static void lmdb_put(void *session, struct bytes key, struct bytes value)
{
    struct lmdb_session *s = session;
    MDB_val k = val(key), v = val(value);
    MDB_txn *txn;
    check(mdb_txn_begin(s->db->env, NULL, 0, &txn), "txn_begin");
    check(mdb_put(txn, s->db->dbi, &k, &v, 0), "put");
    check(mdb_txn_commit(txn), "txn_commit");
}

static void lmdb_del(void *session, struct bytes key)
{
    struct lmdb_session *s = session;
    MDB_val k = val(key);
    MDB_txn *txn;
    check(mdb_txn_begin(s->db->env, NULL, 0, &txn), "txn_begin");
    int rc = mdb_del(txn, s->db->dbi, &k, NULL);
    if (rc != MDB_NOTFOUND)
        check(rc, "del");
    check(mdb_txn_commit(txn), "txn_commit");
}

static bool lmdb_get(void *session, struct bytes key, struct bytes *out_value)
{
    struct lmdb_session *s = session;
    MDB_val k = val(key), v;
    check(mdb_txn_renew(s->read), "txn_renew");
    int rc = mdb_get(s->read, s->db->dbi, &k, &v);
    if (rc == MDB_NOTFOUND) {
        mdb_txn_reset(s->read);
        return false;
    }
    check(rc, "get");
    *out_value = (struct bytes){v.mv_data, v.mv_size};
    return true;
}

static void lmdb_get_done(void *session)
{
    struct lmdb_session *s = session;
    mdb_txn_reset(s->read);
}

static bool cursor_move(struct lmdb_session *s, MDB_cursor_op op)
{
    int rc = mdb_cursor_get(s->cursor, &s->key, &s->value, op);
    if (rc == MDB_NOTFOUND)
        return false;
    check(rc, "cursor_get");
    return true;
}

static void scan_begin(struct lmdb_session *s)
{
    if (s->scanning)
        return;
    check(mdb_txn_renew(s->read), "txn_renew");
    check(mdb_cursor_renew(s->read, s->cursor), "cursor_renew");
    s->scanning = true;
}

static bool lmdb_seek(void *session, struct bytes key)
{
    struct lmdb_session *s = session;
    scan_begin(s);
    s->key = val(key);
    return cursor_move(s, MDB_SET_RANGE);
}

/* LMDB can only seek forward: to the first key that is not before the one wanted, and one back unless it is that. */
static bool lmdb_seek_back(void *session, struct bytes key)
{
    struct lmdb_session *s = session;
    if (!lmdb_seek(session, key))
        return cursor_move(s, MDB_LAST);
    if (s->key.mv_size == key.size && memcmp(s->key.mv_data, key.data, key.size) == 0)
        return true;
    return cursor_move(s, MDB_PREV);
}

static bool lmdb_prev(void *session)
{
    return cursor_move(session, MDB_PREV);
}

static bool lmdb_next(void *session)
{
    return cursor_move(session, MDB_NEXT);
}

static void lmdb_key(void *session, struct bytes *out_key)
{
    struct lmdb_session *s = session;
    *out_key = (struct bytes){s->key.mv_data, s->key.mv_size};
}

static void lmdb_entry(void *session, struct bytes *out_key, struct bytes *out_value)
{
    struct lmdb_session *s = session;
    *out_key = (struct bytes){s->key.mv_data, s->key.mv_size};
    *out_value = (struct bytes){s->value.mv_data, s->value.mv_size};
}

static void lmdb_scan_done(void *session)
{
    struct lmdb_session *s = session;
    if (s->scanning)
        mdb_txn_reset(s->read);
    s->scanning = false;
}

extern const struct engine engine_lmdb;
const struct engine engine_lmdb = {
    .name = "lmdb",
    .package = "liblmdb-dev",
    .terms =
        "one transaction per put; no sync: MDB_WRITEMAP | MDB_NOSYNC (a power cut may corrupt the whole database); "
        "durable: default flags; no filter, no cache of its own: the page cache is not bounded by the budget; "
        "under a memory limit: MDB_NORDAHEAD; multi-get: a loop of gets",
    .survives_kill = true,
    .version = lmdb_version_text,
    .open = lmdb_open,
    .close = lmdb_close,
    .settle = lmdb_settle,
    .session_begin = lmdb_session_begin,
    .session_end = lmdb_session_end,
    .put = lmdb_put,
    .del = lmdb_del,
    .get = lmdb_get,
    .get_done = lmdb_get_done,
    .seek = lmdb_seek,
    .seek_back = lmdb_seek_back,
    .next = lmdb_next,
    .prev = lmdb_prev,
    .key = lmdb_key,
    .entry = lmdb_entry,
    .scan_done = lmdb_scan_done,
};
