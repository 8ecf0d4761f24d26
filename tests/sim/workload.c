// SPDX-License-Identifier: Apache-2.0
/*
 * What clients do: a table of operations, each drawn with its weight, and each compared with the oracle on the spot.
 *
 * A feature joins with a function and a line of the table. Each run leaves some operations out and favours others, so
 * that rare combinations come up often in some runs (swarm testing: Groce et al. 2012). What a client holds over its
 * operations - a snapshot, an iterator, a value in place - must go on to show what it showed.
 *
 * Clients 0 to writer_count - 1 write to keys of their own; all read everything. A write that failed although the
 * database takes further ones never happened; when it takes none any more, the write may be there or not after the next
 * open, and its client only reads from then on.
 */
#include "../crash/options.h"
#include "run.h"
#include "test.h"

enum { PROBED_MAX = 40, WALK_MAX = 60 };

struct client {
    struct run *run;
    uint32_t index;
    uint64_t random;
    bool is_writer;
    const nokv_snapshot *snapshot; /* held; NULL: none */
    struct window snapshot_window;
    nokv_iter *iter; /* as above */
    struct window iter_window;
    nokv_value value; /* in place; _kind and data as when it was read */
    uint64_t value_digest;
    bool has_value;
    uint8_t bytes[VALUE_BYTES_MAX];
};

static uint64_t draw(struct client *c, uint64_t below)
{
    return test_random(&c->random) % below;
}

static bool one_in(struct client *c, uint64_t n)
{
    return draw(c, n) == 0;
}

/* True: go on. Otherwise the status is one that may come now. */
static bool succeeded(struct client *c, enum nokv_status status, const char *what)
{
    sched_trace("%s: %s", what, status_name(status));
    sched_note((uint64_t)status);
    faults_judge(c->run, status, what);
    return status == NOKV_OK;
}

/* ---- writes ---------------------------------------------------------------------------------------------------- */

static enum nokv_status put_in_parts(struct client *c, nokv_slice key, size_t size, const nokv_write_options *options)
{
    nokv_value_writer *w = NULL;
    enum nokv_status status =
        nokv_value_writer_open(c->run->db, key.data, key.size, one_in(c, 2) ? 0 : size + draw(c, 1000), &w);
    for (size_t off = 0; status == NOKV_OK && off < size;) {
        size_t n = 1 + draw(c, size - off);
        status = nokv_value_writer_append(w, c->bytes + off, n);
        off += n;
    }
    if (status == NOKV_OK)
        return nokv_value_writer_commit(w, options);
    nokv_value_writer_abandon(w);
    return status;
}

static enum nokv_status write_single(struct client *c, const struct entry *e, const nokv_write_options *options)
{
    char key[KEY_BYTES_MAX];
    size_t key_size = oracle_key(e->key, key);
    if (e->id == 0)
        return nokv_delete(c->run->db, key, key_size, options);
    oracle_value(&c->run->oracle, e, c->bytes);
    if (e->value_size > 4000 && one_in(c, 4))
        return put_in_parts(c, (nokv_slice){key, key_size}, e->value_size, options);
    return nokv_put(c->run->db, key, key_size, c->bytes, e->value_size, options);
}

static enum nokv_status batch_fill(struct client *c, nokv_batch *batch, const struct write *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        char key[KEY_BYTES_MAX];
        size_t key_size = oracle_key(w->entries[i].key, key);
        if (w->entries[i].id == 0) {
            TRY(nokv_batch_delete(batch, key, key_size));
            continue;
        }
        oracle_value(&c->run->oracle, &w->entries[i], c->bytes);
        TRY(nokv_batch_put(batch, key, key_size, c->bytes, w->entries[i].value_size));
    }
    return NOKV_OK;
}

static enum nokv_status write_batch(struct client *c, const struct write *w, const nokv_write_options *options)
{
    nokv_batch *batch = NULL;
    TRY(nokv_batch_create(&batch));
    enum nokv_status status = batch_fill(c, batch, w);
    if (status == NOKV_OK)
        status = nokv_write(c->run->db, batch, options);
    nokv_batch_destroy(batch);
    return status;
}

static bool takes_writes(const struct run *run)
{
    return atomic_load_explicit(&run->db->poisoned, memory_order_acquire) == NOKV_OK;
}

static void write_any(struct client *c, bool is_durable)
{
    struct oracle *o = &c->run->oracle;
    uint32_t marks[WRITERS_MAX];
    nokv_write_options options = {.struct_size = sizeof options,
                                  .sync = is_durable ? NOKV_SYNC_COMMIT : NOKV_SYNC_DEFAULT};
    if (!c->is_writer)
        return;
    oracle_marks(o, marks);
    const struct write *w = oracle_begin(o, c->index, &c->random);
    if (w == NULL)
        return;
    sched_trace("write %u of writer %u, %u entries, the first of key %u with %u bytes%s",
                o->histories[c->index].started, c->index, w->count, w->entries[0].key, w->entries[0].value_size,
                is_durable ? ", durable" : "");
    enum nokv_status status =
        w->count == 1 && !one_in(c, 4) ? write_single(c, &w->entries[0], &options) : write_batch(c, w, &options);
    if (succeeded(c, status, "a write")) {
        oracle_acknowledge(o, c->index);
        marks[c->index] = o->histories[c->index].acknowledged;
        if (is_durable || c->run->options.sync == NOKV_SYNC_COMMIT)
            oracle_synced(o, marks);
    } else if (takes_writes(c->run) && !c->run->has_crashed) {
        oracle_withdraw(o, c->index);
    } else {
        c->is_writer = false;
    }
}

static void op_write(struct client *c)
{
    write_any(c, false);
}

static void op_write_durable(struct client *c)
{
    write_any(c, true);
}

/* ---- reads ----------------------------------------------------------------------------------------------------- */

static uint32_t draw_key(struct client *c)
{
    return (uint32_t)draw(c, KEYS_MAX);
}

static void check_one(struct client *c, uint32_t key, const struct window *w, enum nokv_status status, const void *data,
                      size_t size)
{
    struct sight v;
    sight_begin(&v, &c->run->oracle, w, "a get");
    if (status == NOKV_OK)
        sight_present(&v, key, data, size);
    else
        sight_absent(&v, key);
    sight_end(&v, NULL);
}

static bool is_answer(enum nokv_status status)
{
    return status == NOKV_OK || status == NOKV_ERR_NOT_FOUND;
}

static uint64_t digest(const nokv_value *v)
{
    uint64_t sum = v->size;
    for (size_t i = 0; i < v->size; i++)
        sum = (sum ^ ((const uint8_t *)v->data)[i]) * 0x100000001b3ull;
    return sum;
}

static void value_let_go(struct client *c)
{
    if (c->has_value && digest(&c->value) != c->value_digest)
        sched_violation("a value that was held in place has changed");
    nokv_value_release(&c->value);
    c->has_value = false;
}

static void op_get(struct client *c)
{
    uint32_t key = draw_key(c);
    char name[KEY_BYTES_MAX];
    size_t name_size = oracle_key(key, name);
    struct window w;
    nokv_value value = {0};
    nokv_read_options options = {.struct_size = sizeof options, .snapshot = one_in(c, 3) ? c->snapshot : NULL};
    window_open(&c->run->oracle, &w);
    enum nokv_status status = nokv_get(c->run->db, name, name_size, &options, &value);
    window_close(&c->run->oracle, &w);
    (void)succeeded(c, status, "a get");
    if (is_answer(status))
        check_one(c, key, options.snapshot ? &c->snapshot_window : &w, status, value.data, value.size);
    if (status != NOKV_OK || !one_in(c, 3)) {
        nokv_value_release(&value);
        return;
    }
    value_let_go(c);
    c->value = value;
    c->value_digest = digest(&value);
    c->has_value = true;
}

static void op_get_copy(struct client *c)
{
    uint32_t key = draw_key(c);
    char name[KEY_BYTES_MAX];
    size_t name_size = oracle_key(key, name), size = 0;
    struct window w;
    window_open(&c->run->oracle, &w);
    enum nokv_status status = nokv_get_copy(c->run->db, name, name_size, NULL, c->bytes, sizeof c->bytes, &size);
    window_close(&c->run->oracle, &w);
    (void)succeeded(c, status, "a get with a copy");
    if (is_answer(status))
        check_one(c, key, &w, status, c->bytes, size);
}

static void op_multi_get(struct client *c)
{
    char names[PROBED_MAX][KEY_BYTES_MAX];
    uint32_t keys[PROBED_MAX];
    nokv_slice slices[PROBED_MAX];
    nokv_value values[PROBED_MAX];
    nokv_status statuses[PROBED_MAX];
    size_t count = 1 + draw(c, PROBED_MAX);
    struct window w;
    struct sight v;
    nokv_read_options options = {.struct_size = sizeof options, .snapshot = one_in(c, 3) ? c->snapshot : NULL};
    for (size_t i = 0; i < count; i++) {
        keys[i] = draw_key(c);
        slices[i] = (nokv_slice){names[i], oracle_key(keys[i], names[i])};
    }
    window_open(&c->run->oracle, &w);
    enum nokv_status status = nokv_multi_get(c->run->db, count, slices, &options, values, statuses);
    window_close(&c->run->oracle, &w);
    (void)succeeded(c, status, "a get of many");
    sight_begin(&v, &c->run->oracle, options.snapshot ? &c->snapshot_window : &w, "a get of many");
    for (size_t i = 0; i < count; i++) {
        faults_judge(c->run, statuses[i], "one of many keys");
        if (statuses[i] == NOKV_OK)
            sight_present(&v, keys[i], values[i].data, values[i].size);
        else if (statuses[i] == NOKV_ERR_NOT_FOUND)
            sight_absent(&v, keys[i]);
        if (statuses[i] == NOKV_OK)
            nokv_value_release(&values[i]);
    }
    sight_end(&v, NULL);
}

static void snapshot_let_go(struct client *c)
{
    nokv_snapshot_release(c->run->db, c->snapshot);
    c->snapshot = NULL;
}

static void op_snapshot(struct client *c)
{
    snapshot_let_go(c);
    window_open(&c->run->oracle, &c->snapshot_window);
    enum nokv_status status = nokv_snapshot_create(c->run->db, &c->snapshot);
    window_close(&c->run->oracle, &c->snapshot_window);
    if (!succeeded(c, status, "a snapshot"))
        c->snapshot = NULL;
}

/* All of the database at once; what a snapshot may be is narrowed by it. */
static void op_scan(struct client *c)
{
    struct run *run = c->run;
    struct window w;
    if (c->snapshot && one_in(c, 2)) {
        workload_check_all(run, run->db, c->snapshot, &c->snapshot_window, false, "a scan of a snapshot",
                           &c->snapshot_window);
        return;
    }
    window_open(&run->oracle, &w);
    w.high[0] = UINT32_MAX; /* closed inside, once the iterator is there */
    workload_check_all(run, run->db, NULL, &w, false, "a scan", NULL);
}

/* ---- iterators ------------------------------------------------------------------------------------------------- */

static void iter_let_go(struct client *c)
{
    nokv_iter_destroy(c->iter);
    c->iter = NULL;
}

static void op_iter(struct client *c)
{
    iter_let_go(c);
    bool of_snapshot = c->snapshot && one_in(c, 3);
    nokv_iter_options options = {.struct_size = sizeof options, .snapshot = of_snapshot ? c->snapshot : NULL};
    window_open(&c->run->oracle, &c->iter_window);
    enum nokv_status status = nokv_iter_create(c->run->db, &options, &c->iter);
    window_close(&c->run->oracle, &c->iter_window);
    if (of_snapshot)
        c->iter_window = c->snapshot_window;
    if (!succeeded(c, status, "an iterator"))
        c->iter = NULL;
}

/* The current entry; KEYS_MAX when it cannot be had (an error that may be). */
static uint32_t entry_see(struct client *c, struct sight *v)
{
    nokv_slice key = nokv_iter_key(c->iter);
    uint32_t number = oracle_key_of(key.data, key.size);
    if (number == KEYS_MAX)
        sched_violation("an iterator shows a key that nobody wrote");
    nokv_slice value = nokv_iter_value(c->iter);
    if (!nokv_iter_valid(c->iter))
        return KEYS_MAX;
    sight_present(v, number, value.data, value.size);
    return number;
}

/* From where it stands for some entries in one direction: what it shows is there, and nothing in between. */
static void iter_walk(struct client *c, struct sight *v, bool forward, uint32_t from)
{
    uint32_t at = from; /* forward: all below is said; backward: all at and above */
    for (uint64_t n = draw(c, WALK_MAX) + 1; n > 0 && nokv_iter_valid(c->iter); n--) {
        uint32_t key = entry_see(c, v);
        if (key == KEYS_MAX)
            return;
        if (forward ? key < at : key >= at)
            sched_violation("an iterator goes %s from key %u to %u", forward ? "forward" : "backward", at, key);
        sight_rest_absent(v, forward ? at : key + 1, forward ? key : at);
        at = forward ? key + 1 : key;
        if (forward)
            nokv_iter_next(c->iter);
        else
            nokv_iter_prev(c->iter);
    }
    if (!nokv_iter_valid(c->iter) && nokv_iter_status(c->iter) == NOKV_OK)
        sight_rest_absent(v, forward ? at : 0, forward ? KEYS_MAX : at);
}

/* Both ways from a random key, in either order. */
static void op_walk(struct client *c)
{
    struct sight v;
    char name[KEY_BYTES_MAX];
    uint32_t key = draw_key(c);
    size_t name_size = oracle_key(key, name);
    if (c->iter == NULL) {
        op_iter(c);
        return;
    }
    sight_begin(&v, &c->run->oracle, &c->iter_window, "an iterator");
    bool forward_first = one_in(c, 2);
    for (int turn = 0; turn < 2; turn++) {
        bool forward = (turn == 0) == forward_first;
        if (forward)
            nokv_iter_seek(c->iter, name, name_size);
        else
            nokv_iter_seek_for_prev(c->iter, name, name_size);
        iter_walk(c, &v, forward, forward ? key : key + 1);
        (void)succeeded(c, nokv_iter_status(c->iter), forward ? "a walk forward" : "a walk backward");
    }
    sight_end(&v, NULL);
}

/* ---- maintenance ----------------------------------------------------------------------------------------------- */

/* What makes everything durable that was acknowledged when it began. */
static void make_durable(struct client *c, enum nokv_status (*fn)(nokv_db *db), const char *what)
{
    uint32_t marks[WRITERS_MAX];
    oracle_marks(&c->run->oracle, marks);
    if (succeeded(c, fn(c->run->db), what))
        oracle_synced(&c->run->oracle, marks);
}

static void op_flush(struct client *c)
{
    make_durable(c, nokv_flush, "a flush");
}

static void op_sync(struct client *c)
{
    make_durable(c, nokv_sync_wal, "a sync");
}

static void op_compact(struct client *c)
{
    char first[KEY_BYTES_MAX], last[KEY_BYTES_MAX];
    uint32_t a = draw_key(c), b = draw_key(c);
    size_t first_size = oracle_key(a < b ? a : b, first), last_size = oracle_key(a < b ? b : a, last);
    bool all = one_in(c, 3);
    enum nokv_status status =
        nokv_compact_range(c->run->db, all ? NULL : first, first_size, all ? NULL : last, last_size);
    (void)succeeded(c, status, "a compaction");
}

static void op_collect(struct client *c)
{
    (void)succeeded(c, nokv_vlog_collect(c->run->db, one_in(c, 2) ? 0 : 1), "a collection");
}

static void op_idle(struct client *c)
{
    (void)succeeded(c, nokv_wait_idle(c->run->db), "waiting for idleness");
}

static void op_verify(struct client *c)
{
    nokv_verify_report report;
    (void)succeeded(c, nokv_verify(c->run->db, NULL, NULL, &report), "verify");
}

static void op_stats(struct client *c)
{
    char *text = NULL;
    if (succeeded(c, nokv_stats_text(c->run->db, &text), "stats"))
        nokv_free(text);
}

struct operation {
    const char *name;
    void (*fn)(struct client *c);
    unsigned weight;
};

static const struct operation operations[] = {
    {"write", op_write, 400},
    {"write durable", op_write_durable, 40},
    {"get", op_get, 100},
    {"get copy", op_get_copy, 40},
    {"multi get", op_multi_get, 30},
    {"snapshot", op_snapshot, 12},
    {"scan", op_scan, 6},
    {"iterator", op_iter, 12},
    {"walk", op_walk, 30},
    {"flush", op_flush, 8},
    {"sync", op_sync, 12},
    {"compact", op_compact, 4},
    {"collect", op_collect, 4},
    {"idle", op_idle, 2},
    {"verify", op_verify, 1},
    {"stats", op_stats, 2},
};

/* ---- clients --------------------------------------------------------------------------------------------------- */

/* The weights of this run: some operations left out, some four times as often. The first, writing, stays. */
static void weights_draw(uint64_t *random, unsigned weights[ARRAY_COUNT(operations)])
{
    for (size_t i = 0; i < ARRAY_COUNT(operations); i++) {
        uint64_t r = test_random(random) % 8;
        weights[i] = operations[i].weight * (i > 0 && r < 2 ? 0 : r == 7 ? 4 : 1);
    }
}

static const struct operation *operation_draw(struct client *c, const unsigned weights[ARRAY_COUNT(operations)])
{
    uint64_t sum = 0;
    for (size_t i = 0; i < ARRAY_COUNT(operations); i++)
        sum += weights[i];
    uint64_t at = draw(c, sum);
    for (size_t i = 0;; i++) {
        if (at < weights[i])
            return &operations[i];
        at -= weights[i];
    }
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    struct run *run = c->run;
    unsigned weights[ARRAY_COUNT(operations)];
    uint64_t random = run->config.seed;
    weights_draw(&random, weights);
    for (uint32_t i = 0; i < run->config.ops_max && !run->has_crashed; i++) {
        const struct operation *op = operation_draw(c, weights);
        faults_tick(run);
        sched_trace("%s", op->name);
        op->fn(c);
        run->report->ops_done++;
        run->report->totals.operations++;
        sched_point();
    }
    value_let_go(c);
    iter_let_go(c);
    snapshot_let_go(c);
    return NULL;
}

static struct client *client_create(struct run *run, uint32_t index)
{
    struct client *c = calloc(1, sizeof *c);
    ASSERT(c != NULL);
    c->run = run;
    c->index = index;
    c->random = test_random(&run->random);
    c->is_writer = index < run->writer_count;
    return c;
}

void workload_run(struct run *run)
{
    struct client *clients[WRITERS_MAX];
    pthread_t threads[WRITERS_MAX];
    bool started[WRITERS_MAX];
    static const char *const thread_names[WRITERS_MAX] = {"client-0", "client-1", "client-2", "client-3"};
    for (uint32_t i = 0; i < run->client_count; i++) {
        clients[i] = client_create(run, i);
        started[i] = thread_create(&threads[i], thread_names[i], client_main, clients[i]) == NOKV_OK;
    }
    for (uint32_t i = 0; i < run->client_count; i++) {
        if (started[i])
            thread_join(threads[i]);
        free(clients[i]);
    }
}

/* ---- options --------------------------------------------------------------------------------------------------- */

void workload_options_draw(struct run *run)
{
    nokv_options *o = &run->options;
    uint64_t r = test_random(&run->random);
    crash_options_draw(o, test_random(&r));
    o->inline_background_work = test_random(&r) % 5 == 0;
    o->background_threads = 1 + (uint32_t)(test_random(&r) % 3);
    o->memtables_max = 2 + (uint32_t)(test_random(&r) % 3);
    o->sync = test_random(&r) % 12 == 0 ? NOKV_SYNC_COMMIT : NOKV_SYNC_NONE;
    static const nokv_io_model log_models[] = {NOKV_IO_STD, NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING};
    o->wal_write = log_models[test_random(&r) % ARRAY_COUNT(log_models)];
    /* What decides by the time that a read took would ask the kernel whether it is to be believed: pinned. */
    if (o->vlog_read == NOKV_VLOG_READ_AUTO)
        o->vlog_read = NOKV_VLOG_READ_MMAP;
}

/* ---- all of it ------------------------------------------------------------------------------------------------- */

static enum nokv_status scan_all(nokv_iter *it, struct sight *v, const char *what)
{
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it)) {
        nokv_slice key = nokv_iter_key(it);
        uint32_t number = oracle_key_of(key.data, key.size);
        if (number == KEYS_MAX)
            sched_violation("%s: an iterator shows a key that nobody wrote", what);
        nokv_slice value = nokv_iter_value(it);
        if (!nokv_iter_valid(it))
            break;
        sight_present(v, number, value.data, value.size);
    }
    enum nokv_status status = nokv_iter_status(it);
    if (status == NOKV_OK)
        sight_rest_absent(v, 0, KEYS_MAX);
    return status;
}

/* Key by key, since a scan stops at the first that is damaged. */
static void get_all(nokv_db *db, struct sight *v, const char *what)
{
    for (uint32_t key = 0; key < KEYS_MAX; key++) {
        char name[KEY_BYTES_MAX];
        nokv_value value = {0};
        enum nokv_status status = nokv_get(db, name, oracle_key(key, name), NULL, &value);
        if (status == NOKV_OK)
            sight_present(v, key, value.data, value.size);
        else if (status == NOKV_ERR_NOT_FOUND)
            sight_absent(v, key);
        else if (status != NOKV_ERR_CORRUPT || strstr(status_message(), run_dir) == NULL) /* it names the file */
            sched_violation("%s: key %u: %s: %s", what, key, status_name(status), status_message());
        nokv_value_release(&value);
    }
}

void workload_check_all(struct run *run, nokv_db *db, const nokv_snapshot *snapshot, const struct window *w,
                        bool is_damaged, const char *what, struct window *out_window)
{
    struct sight v;
    nokv_iter *it = NULL;
    struct window window = *w;
    nokv_iter_options options = {.struct_size = sizeof options, .snapshot = snapshot};
    enum nokv_status status = nokv_iter_create(db, &options, &it);
    if (window.high[0] == UINT32_MAX)
        window_close(&run->oracle, &window);
    sight_begin(&v, &run->oracle, &window, what);
    if (status == NOKV_OK) {
        status = scan_all(it, &v, what);
        nokv_iter_destroy(it);
    }
    if (status == NOKV_ERR_CORRUPT && is_damaged)
        get_all(db, &v, what);
    else if (db == run->db)
        faults_judge(run, status, what);
    else if (status != NOKV_OK)
        sched_violation("%s: %s: %s", what, status_name(status), status_message());
    sight_end(&v, out_window);
}
