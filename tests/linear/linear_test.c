// SPDX-License-Identifier: Apache-2.0
/*
 * linear_test.c - what real threads saw of a database is linearizable.
 *
 * A few threads do everything that reads or writes on the same few keys, while the memtables, as small as they may be,
 * are flushed, tables merged and the value log collected. Each operation notes when it began and ended, by one counter,
 * what it wrote and what it saw; when the threads are done, the checker says whether there is an order of all that.
 *
 *      put, delete, batch, streamed value    a write, of one or several keys at one moment
 *      get, get_copy, get_range, multi_get   a read; multi_get of all its keys at one moment
 *      snapshot, iterator                    a read at the moment of its creation, of whatever it shows of any key
 *                                            until it is released: it is looked into again and again
 *
 * So a snapshot must have everything that was acknowledged before it, nothing that began after it, batches as a whole,
 * and be of one moment for all keys; of two of one thread, or of any two threads, the later one is not older.
 *
 * Every write has a number of its own, which says how large its value is (and so in which of the three homes it lives)
 * and what is in it. A value that is not exactly that is a failure at once. In a batch a key may be overwritten by a
 * later entry: what was overwritten must never be seen.
 *
 * The counter is sequentially consistent, so that it orders what the threads do: this test does not show a missing
 * barrier that such an order would repair. For that there is the stress test, which has no such counter.
 *
 *      linear_test [SEED [ROUNDS]]
 */
#include <stdatomic.h>

#include "base/thread.h"
#include "checker.h"
#include "io_models.h"
#include "nokv/nokv.h"
#include "test.h"

enum { KEYS = 6, WORKERS = 6, OPS = 2500, HELD = 2, VALUE_MAX = 9000, HEADER = 8, MULTI_MAX = 10, FINAL_THREAD = 31 };

/* The homes: below SEPARATION inline, below DIRECT separated by the flush, else direct. */
enum { SEPARATION = 128, DIRECT = 2048 };

static nokv_db *db;
static uint64_t seed, rounds;
static _Atomic uint64_t ticks;        /* seq_cst: see above */
static _Atomic uint64_t failures;     /* any thread */
static _Atomic uint32_t workers_left; /* maintenance goes on as long as there is one */
static char failure[600];             /* by whoever counted the first one */

static void fail_because(const char *what, const char *detail)
{
    if (atomic_fetch_add(&failures, 1) == 0)
        snprintf(failure, sizeof failure, "%s: %s", what, detail);
}

static bool expect_ok(nokv_status status, const char *what)
{
    if (status != NOKV_OK)
        fail_because(what, nokv_error_message());
    return status == NOKV_OK;
}

/* ---- keys and values -----------------------------------------------------------------------------------------------
 */

static nokv_slice key_slice(unsigned key)
{
    static const char names[KEYS][4] = {"k0", "k1", "k2", "k3", "k4", "k5"};
    return (nokv_slice){.data = names[key], .size = 2};
}

static unsigned key_of(nokv_slice key)
{
    const char *text = key.data;
    if (key.size != 2 || text[0] != 'k' || text[1] < '0' || text[1] >= '0' + KEYS) {
        fail_because("a key that nobody wrote", "");
        return 0;
    }
    return (unsigned)(text[1] - '0');
}

static size_t value_size(uint32_t number)
{
    uint64_t rng = seed ^ number;
    uint64_t r = test_random(&rng);
    switch (r % 8) {
    case 0:
        return DIRECT + (r >> 8) % (VALUE_MAX - DIRECT);
    case 1:
        return DIRECT - 1 + (r >> 8) % 3;
    case 2:
    case 3:
    case 4:
        return SEPARATION + (r >> 8) % (DIRECT - SEPARATION);
    default:
        return HEADER + (r >> 8) % (SEPARATION - HEADER);
    }
}

static size_t value_make(unsigned key, uint32_t number, uint8_t *out)
{
    size_t size = value_size(number);
    uint32_t k = key;
    memcpy(out, &number, sizeof number);
    memcpy(out + 4, &k, sizeof k);
    for (size_t i = HEADER; i < size; i++)
        out[i] = (uint8_t)(number * 31 + key * 7 + i + i / 251);
    return size;
}

static void value_tell(unsigned key, uint32_t number, const void *data, size_t size)
{
    char detail[120];
    uint32_t says = UINT32_MAX;
    if (size >= HEADER)
        memcpy(&says, (const uint8_t *)data + 4, sizeof says);
    snprintf(detail, sizeof detail, "of key %u: %zu bytes, which say number %x, key %u", key, size, number, says);
    fail_because("a value that nobody wrote", detail);
}

/* The number of the write that a value is of. */
static uint32_t value_number(unsigned key, const void *data, size_t size)
{
    uint8_t wanted[VALUE_MAX];
    uint32_t number = 0;
    if (size >= HEADER)
        memcpy(&number, data, sizeof number);
    if (number == 0 || value_make(key, number, wanted) != size || memcmp(wanted, data, size) != 0)
        value_tell(key, number, data, size);
    return number;
}

/* ---- workers -------------------------------------------------------------------------------------------------------
 */

/* A snapshot or an iterator, and the read that stands for it. */
struct held {
    const nokv_snapshot *snapshot;
    nokv_iter *iter;
    struct linear_op *op; /* NULL: the place is free */
};

struct worker {
    unsigned index;
    uint64_t rng;
    uint32_t written; /* numbers that were given to writes */
    struct linear_op *ops;
    size_t count;
    struct held held[HELD];
    nokv_batch *batch;
    uint8_t value[VALUE_MAX];
    pthread_t thread;
};

static uint64_t draw(struct worker *w, uint64_t below)
{
    return test_random(&w->rng) % below;
}

static uint32_t next_number(struct worker *w)
{
    return (w->index + 1) << 24 | ++w->written;
}

static struct linear_op *op_begin(struct worker *w, const char *name, bool is_write)
{
    struct linear_op *op = &w->ops[w->count++];
    *op = (struct linear_op){.name = name, .thread = (uint8_t)w->index, .is_write = is_write};
    op->begin = atomic_fetch_add(&ticks, 1);
    return op;
}

static void op_end(struct linear_op *op)
{
    op->end = atomic_fetch_add(&ticks, 1);
}

/* The operation wrote this, or saw it; what it has seen once it must see again. 0: absent. */
static void op_note(struct linear_op *op, unsigned key, uint32_t number)
{
    if (!op->is_write && (op->keys >> key & 1) && op->values[key] != number)
        fail_because("two looks at one moment show different values", op->name);
    op->values[key] = number;
    op->keys |= (uint16_t)(1u << key);
}

/* What a get of a key came back with. */
static void op_note_get(struct linear_op *op, unsigned key, nokv_status status, const void *data, size_t size)
{
    if (status == NOKV_ERR_NOT_FOUND)
        op_note(op, key, 0);
    else if (expect_ok(status, op->name))
        op_note(op, key, value_number(key, data, size));
}

/* ---- writes --------------------------------------------------------------------------------------------------------
 */

static const nokv_write_options *sync_draw(struct worker *w)
{
    static const nokv_write_options synced = {.struct_size = sizeof synced, .sync = NOKV_SYNC_COMMIT};
    return draw(w, 60) == 0 ? &synced : NULL;
}

static void put_run(struct worker *w)
{
    unsigned key = (unsigned)draw(w, KEYS);
    uint32_t number = next_number(w);
    const nokv_write_options *options = sync_draw(w);
    size_t size = value_make(key, number, w->value);
    struct linear_op *op = op_begin(w, "put", true);
    nokv_status status = nokv_put(db, key_slice(key).data, key_slice(key).size, w->value, size, options);
    op_end(op);
    op_note(op, key, number);
    expect_ok(status, op->name);
}

static void delete_run(struct worker *w)
{
    unsigned key = (unsigned)draw(w, KEYS);
    const nokv_write_options *options = sync_draw(w);
    struct linear_op *op = op_begin(w, "delete", true);
    nokv_status status = nokv_delete(db, key_slice(key).data, key_slice(key).size, options);
    op_end(op);
    op_note(op, key, 0);
    expect_ok(status, op->name);
}

static void batch_add(struct worker *w, unsigned key, uint32_t number)
{
    nokv_slice k = key_slice(key);
    size_t size = number ? value_make(key, number, w->value) : 0;
    expect_ok(number ? nokv_batch_put(w->batch, k.data, k.size, w->value, size)
                     : nokv_batch_delete(w->batch, k.data, k.size),
              "batch");
}

static void batch_run(struct worker *w)
{
    unsigned first = (unsigned)draw(w, KEYS), count = 2 + (unsigned)draw(w, KEYS - 1);
    uint32_t numbers[KEYS];
    nokv_batch_clear(w->batch);
    if (draw(w, 3) == 0)
        batch_add(w, first, next_number(w)); /* never to be seen */
    for (unsigned i = 0; i < count; i++) {
        numbers[i] = draw(w, 5) ? next_number(w) : 0;
        batch_add(w, (first + i) % KEYS, numbers[i]);
    }
    const nokv_write_options *options = sync_draw(w);
    struct linear_op *op = op_begin(w, "batch", true);
    nokv_status status = nokv_write(db, w->batch, options);
    op_end(op);
    for (unsigned i = 0; i < count; i++)
        op_note(op, (first + i) % KEYS, numbers[i]);
    expect_ok(status, op->name);
}

/* Nothing is to be seen before the commit. */
static void stream_run(struct worker *w)
{
    unsigned key = (unsigned)draw(w, KEYS);
    uint32_t number = next_number(w);
    nokv_value_writer *writer = NULL;
    size_t size = value_make(key, number, w->value), half = size / 2;
    if (!expect_ok(nokv_value_writer_open(db, key_slice(key).data, key_slice(key).size, draw(w, 2) ? size : 0, &writer),
                   "stream") ||
        !expect_ok(nokv_value_writer_append(writer, w->value, half), "stream") ||
        !expect_ok(nokv_value_writer_append(writer, w->value + half, size - half), "stream") || draw(w, 8) == 0) {
        nokv_value_writer_abandon(writer);
        return;
    }
    const nokv_write_options *options = sync_draw(w);
    struct linear_op *op = op_begin(w, "stream", true);
    nokv_status status = nokv_value_writer_commit(writer, options);
    op_end(op);
    op_note(op, key, number);
    expect_ok(status, op->name);
}

/* ---- reads ---------------------------------------------------------------------------------------------------------
 */

static void get_run(struct worker *w)
{
    unsigned key = (unsigned)draw(w, KEYS);
    nokv_value value = {0};
    struct linear_op *op = op_begin(w, "get", false);
    nokv_status status = nokv_get(db, key_slice(key).data, key_slice(key).size, NULL, &value);
    op_end(op);
    op_note_get(op, key, status, value.data, value.size);
    nokv_value_release(&value);
}

static void get_copy_run(struct worker *w)
{
    unsigned key = (unsigned)draw(w, KEYS);
    size_t size = 0;
    struct linear_op *op = op_begin(w, "get_copy", false);
    nokv_status status =
        nokv_get_copy(db, key_slice(key).data, key_slice(key).size, NULL, w->value, sizeof w->value, &size);
    op_end(op);
    op_note_get(op, key, status, w->value, size);
}

static void get_range_run(struct worker *w)
{
    unsigned key = (unsigned)draw(w, KEYS);
    size_t size = 0;
    struct linear_op *op = op_begin(w, "get_range", false);
    nokv_status status =
        nokv_get_range(db, key_slice(key).data, key_slice(key).size, NULL, 0, w->value, sizeof w->value, &size, NULL);
    op_end(op);
    op_note_get(op, key, status, w->value, size);
}

/* Some keys, in any order, perhaps repeated; into `op`, whose moment it is when `snapshot` is not NULL. */
static void multi_get(struct worker *w, const nokv_snapshot *snapshot, struct linear_op *op)
{
    nokv_slice slices[MULTI_MAX];
    unsigned keys[MULTI_MAX];
    nokv_value values[MULTI_MAX] = {0};
    nokv_status statuses[MULTI_MAX];
    nokv_read_options options = {.struct_size = sizeof options, .snapshot = snapshot};
    size_t count = 1 + draw(w, MULTI_MAX);
    for (size_t i = 0; i < count; i++) {
        keys[i] = (unsigned)draw(w, KEYS);
        slices[i] = key_slice(keys[i]);
    }
    if (op == NULL)
        op = op_begin(w, "multi_get", false);
    nokv_status status = nokv_multi_get(db, count, slices, &options, values, statuses);
    if (snapshot == NULL)
        op_end(op);
    expect_ok(status, "multi_get");
    for (size_t i = 0; i < count; i++) {
        op_note_get(op, keys[i], statuses[i], values[i].data, values[i].size);
        nokv_value_release(&values[i]);
    }
}

static void multi_get_run(struct worker *w)
{
    multi_get(w, NULL, NULL);
}

/* Keys [low, high) as an iterator over them shows them. */
static void iter_look(struct worker *w, nokv_iter *it, unsigned low, unsigned high, struct linear_op *op)
{
    uint32_t numbers[KEYS] = {0};
    bool is_backward = draw(w, 2) == 0;
    is_backward ? nokv_iter_last(it) : nokv_iter_first(it);
    while (nokv_iter_valid(it)) {
        unsigned key = key_of(nokv_iter_key(it));
        nokv_slice value = nokv_iter_value(it);
        if (value.data == NULL)
            break; /* the status says why */
        if (key < low || key >= high || numbers[key] != 0)
            fail_because("a key out of its bounds, or twice", op->name);
        numbers[key] = value_number(key, value.data, value.size);
        is_backward ? nokv_iter_prev(it) : nokv_iter_next(it);
    }
    if (expect_ok(nokv_iter_status(it), op->name))
        for (unsigned key = low; key < high; key++)
            op_note(op, key, numbers[key]);
}

/* ---- snapshots and iterators that are held -------------------------------------------------------------------------
 */

static void snapshot_get(struct worker *w, struct held *h)
{
    unsigned key = (unsigned)draw(w, KEYS);
    nokv_read_options options = {.struct_size = sizeof options, .snapshot = h->snapshot};
    nokv_value value = {0};
    nokv_status status = nokv_get(db, key_slice(key).data, key_slice(key).size, &options, &value);
    op_note_get(h->op, key, status, value.data, value.size);
    nokv_value_release(&value);
}

static void snapshot_look(struct worker *w, struct held *h)
{
    unsigned low = (unsigned)draw(w, KEYS), high = low + 1 + (unsigned)draw(w, KEYS - low);
    nokv_iter_options bounds = {.struct_size = sizeof bounds, .snapshot = h->snapshot, .lower = key_slice(low)};
    nokv_iter *it = NULL;
    if (high < KEYS)
        bounds.upper = key_slice(high);
    switch (draw(w, 3)) {
    case 0:
        multi_get(w, h->snapshot, h->op);
        break;
    case 1:
        snapshot_get(w, h);
        break;
    default:
        if (expect_ok(nokv_iter_create(db, &bounds, &it), "iterator of a snapshot"))
            iter_look(w, it, low, high, h->op);
        nokv_iter_destroy(it);
    }
}

static void held_look(struct worker *w, struct held *h)
{
    if (h->snapshot)
        snapshot_look(w, h);
    else if (h->iter)
        iter_look(w, h->iter, 0, KEYS, h->op);
}

static void held_release(struct held *h)
{
    nokv_snapshot_release(db, h->snapshot);
    nokv_iter_destroy(h->iter);
    *h = (struct held){0};
}

static void held_create(struct worker *w, struct held *h)
{
    nokv_iter_options options = {.struct_size = sizeof options, .prefix = {"k", 1}};
    bool is_iter = draw(w, 2) == 0;
    h->op = op_begin(w, is_iter ? "iterator" : "snapshot", false);
    nokv_status status = is_iter ? nokv_iter_create(db, &options, &h->iter) : nokv_snapshot_create(db, &h->snapshot);
    op_end(h->op);
    expect_ok(status, h->op->name);
}

/* A new one, or another look at an old one, which may be the last. */
static void held_run(struct worker *w)
{
    struct held *h = &w->held[draw(w, HELD)];
    if (h->op == NULL)
        held_create(w, h);
    for (uint64_t looks = 1 + draw(w, 3); looks > 0; looks--)
        held_look(w, h);
    if (draw(w, 3) == 0)
        held_release(h);
}

/* ---- threads -------------------------------------------------------------------------------------------------------
 */

static const struct {
    void (*run)(struct worker *w);
    unsigned weight;
} operations[] = {
    {put_run, 24},     {delete_run, 6},    {batch_run, 10},     {stream_run, 3}, {get_run, 24},
    {get_copy_run, 5}, {get_range_run, 5}, {multi_get_run, 12}, {held_run, 14},
};

static void operation_draw(struct worker *w)
{
    unsigned sum = 0;
    for (size_t i = 0; i < ARRAY_COUNT(operations); i++)
        sum += operations[i].weight;
    uint64_t at = draw(w, sum);
    size_t i = 0;
    while (at >= operations[i].weight)
        at -= operations[i++].weight;
    operations[i].run(w);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    if (expect_ok(nokv_batch_create(&w->batch), "batch"))
        while (w->count < OPS && atomic_load(&failures) == 0)
            operation_draw(w);
    for (size_t i = 0; i < HELD; i++)
        held_release(&w->held[i]);
    nokv_batch_destroy(w->batch);
    atomic_fetch_sub(&workers_left, 1);
    return NULL;
}

/* Whatever moves the data about meanwhile. */
static void *maintenance_main(void *arg)
{
    uint64_t rng = *(const uint64_t *)arg;
    while (atomic_load(&workers_left) > 0 && atomic_load(&failures) == 0) {
        unsigned key = (unsigned)(test_random(&rng) % KEYS);
        switch (test_random(&rng) % 8) {
        case 0:
            expect_ok(nokv_compact_range(db, NULL, 0, NULL, 0), "compact_range");
            break;
        case 1:
            expect_ok(nokv_compact_range(db, key_slice(key).data, 2, key_slice(key).data, 2), "compact_range");
            break;
        case 2:
            expect_ok(nokv_vlog_collect(db, 1.0), "vlog_collect");
            break;
        case 3:
            expect_ok(nokv_sync_wal(db), "sync_wal");
            break;
        default:
            expect_ok(nokv_flush(db), "flush");
        }
    }
    return NULL;
}

/* ---- one round -----------------------------------------------------------------------------------------------------
 */

struct totals {
    uint64_t operations, overlapping, states_peak, flushes, compactions, moved_bytes, direct_bytes;
};

static void options_draw(nokv_options *o, uint64_t round)
{
    uint64_t rng = seed + round * 131;
    nokv_options_init(o);
    o->memtable_bytes = 64 << 10;
    o->wal_buffer_bytes = 64 << 10;
    o->table_bytes = 64 << 10;
    o->level_base_bytes = 64 << 10;
    o->level_ratio = 2;
    o->l0_compact_files = 2;
    o->l0_busy_files = (uint32_t)(2 + test_random(&rng) % 7);
    o->memtables_max = (uint32_t)(2 + test_random(&rng) % 3);
    o->background_threads = (uint32_t)(1 + test_random(&rng) % 3);
    o->inline_background_work = round % 4 == 3;
    o->value_separation_min = SEPARATION;
    o->value_direct_min = DIRECT;
    o->vlog_segment_bytes = 64 << 10;
    o->vlog_space_amp_max = 1.1;
    io_models_set(o, test_random(&rng) % IO_MODELS_COUNT);
    o->huge_pages = (nokv_huge_pages)(test_random(&rng) % 3);
    o->block_cache_bytes = (64ull << 10) << 3 * (test_random(&rng) % 3);
    o->sync = test_random(&rng) % 8 == 0 ? NOKV_SYNC_COMMIT : NOKV_SYNC_NONE;
}

/* All keys, by the thread that started the others. */
static void final_look(struct worker *w, const char *name)
{
    nokv_iter *it = NULL;
    struct linear_op *op = op_begin(w, name, false);
    nokv_status status = nokv_iter_create(db, NULL, &it);
    op_end(op);
    if (expect_ok(status, name))
        iter_look(w, it, 0, KEYS, op);
    nokv_iter_destroy(it);
}

static void threads_run(struct worker *workers, uint64_t round)
{
    pthread_t maintenance;
    uint64_t rng = seed + round;
    atomic_store(&workers_left, WORKERS);
    for (unsigned i = 0; i < WORKERS; i++)
        OK(thread_create(&workers[i].thread, "worker", worker_main, &workers[i]));
    OK(thread_create(&maintenance, "maintenance", maintenance_main, &rng));
    for (unsigned i = 0; i < WORKERS; i++)
        thread_join(workers[i].thread);
    thread_join(maintenance);
}

static void totals_add(struct totals *t)
{
    nokv_stats stats = {.struct_size = sizeof stats};
    OK(nokv_stats_get(db, false, &stats));
    t->flushes += stats.flushes;
    t->compactions += stats.compactions;
    t->moved_bytes += stats.vlog_moved_bytes;
    t->direct_bytes += stats.vlog_direct_bytes;
}

/* The histories of all threads as one. */
static void histories_check(struct worker *workers, uint64_t round, struct totals *t)
{
    struct linear_report report;
    size_t count = 0, capacity = 0;
    for (unsigned i = 0; i <= WORKERS; i++)
        capacity += workers[i].count;
    struct linear_op *all = malloc(capacity * sizeof *all);
    assert_non_null(all);
    for (unsigned i = 0; i <= WORKERS; i++) {
        memcpy(all + count, workers[i].ops, workers[i].count * sizeof *all);
        count += workers[i].count;
    }
    linear_check(all, count, &report);
    if (!report.is_linearizable) {
        count = linear_shrink(all, count);
        fprintf(stderr, "round %llu is not linearizable; a part that shows it:\n", (unsigned long long)round);
        linear_print(all, count);
        fail_msg("not linearizable");
    }
    free(all);
    t->operations += count;
    t->overlapping += report.overlapping;
    t->states_peak = u64_max(t->states_peak, report.states_peak);
}

static void failures_tell(void)
{
    if (atomic_load(&failures) > 0)
        fail_msg("%llu failures; the first: %s", (unsigned long long)atomic_load(&failures), failure);
}

static void round_run(uint64_t round, struct totals *t)
{
    static struct worker workers[WORKERS + 1];
    char parent[256], dir[300];
    nokv_options options;
    test_dir_create(parent);
    snprintf(dir, sizeof dir, "%s/db", parent);
    options_draw(&options, round);
    OK(nokv_open(dir, &options, &db));
    for (unsigned i = 0; i <= WORKERS; i++) {
        workers[i] = (struct worker){.index = i < WORKERS ? i : FINAL_THREAD, .rng = seed + round * 64 + i};
        workers[i].ops = malloc((OPS + 1) * sizeof *workers[i].ops);
        assert_non_null(workers[i].ops);
    }
    threads_run(workers, round);
    final_look(&workers[WORKERS], "at the end");
    failures_tell();
    totals_add(t);
    OK(nokv_verify(db, NULL, NULL, &(nokv_verify_report){0}));
    OK(nokv_close(db));
    OK(nokv_open(dir, &options, &db));
    final_look(&workers[WORKERS], "reopened");
    failures_tell();
    OK(nokv_close(db));
    histories_check(workers, round, t);
    for (unsigned i = 0; i <= WORKERS; i++)
        free(workers[i].ops);
    test_dir_remove(parent);
}

/* Whatever threads do side by side on the same keys, under options drawn at random: what they write and see has an
 * order, as one object with all keys, and a reopen fits in as well. */
static void test_linearizable(void **state)
{
    (void)state;
    struct totals t = {0};
    for (uint64_t round = 0; round < rounds; round++)
        round_run(round, &t);
    printf("%llu rounds, %llu operations, %llu of them beside another one, up to %llu states possible at one time; "
           "%llu flushes, %llu compactions, %llu KiB of values moved, %llu KiB written directly\n",
           (unsigned long long)rounds, (unsigned long long)t.operations, (unsigned long long)t.overlapping,
           (unsigned long long)t.states_peak, (unsigned long long)t.flushes, (unsigned long long)t.compactions,
           (unsigned long long)t.moved_bytes >> 10, (unsigned long long)t.direct_bytes >> 10);
    assert_true(t.overlapping > 0 && t.flushes > 0 && t.compactions > 0 && t.moved_bytes > 0 && t.direct_bytes > 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_linearizable)};
    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : test_seed(17);
    rounds = argc > 2 ? strtoull(argv[2], NULL, 0) : 2 + test_scale(10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
