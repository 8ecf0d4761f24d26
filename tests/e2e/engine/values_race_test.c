// SPDX-License-Identifier: Apache-2.0
/*
 * values_race_test.c - overwriting, deleting, reading and collecting the same few keys at once, with values of all
 * homes: the newest acknowledged version wins, and a moved value never brings an older one back.
 *
 * The v-th write of a key is a function of seed, key and v: a delete, or a value of some size (that chooses its home)
 * that says key and version and is filled with a pattern. A key has one writer, which notes v before the call (begun)
 * and after it (acked). So whoever reads a key must see one of the versions from what was acknowledged before its read
 * (or what it saw before) to what was begun after it.
 */
#include <stdatomic.h>

#include "base/thread.h"
#include "nokv/nokv.h"
#include "test.h"

enum { WRITERS = 3, KEYS = 48, HOT_KEYS = 12, HELD = 6, VALUE_MAX = 40000, HEADER = 16, THREADS_MAX = 16 };

/* The homes: below SEPARATION inline, below DIRECT separated by the flush, else direct. */
enum { SEPARATION = 128, DIRECT = 2048 };

static nokv_db *db;
static uint64_t seed;
static _Atomic uint64_t begun[KEYS], acked[KEYS]; /* the key's writer: release; everybody else: acquire */
static _Atomic uint64_t failures;                 /* any thread */
static _Atomic int writers_left;                  /* all others go on as long as there is one */
static char failure[600];                         /* by whoever counted the first one */

static void fail_because(const char *what, unsigned key, uint64_t low, uint64_t high, uint64_t seen)
{
    if (atomic_fetch_add(&failures, 1) == 0)
        snprintf(failure, sizeof failure, "%s (key %u, versions %llu to %llu, seen %llu): %s", what, key,
                 (unsigned long long)low, (unsigned long long)high, (unsigned long long)seen, nokv_error_message());
}

static void expect_ok(nokv_status status, const char *what, unsigned key)
{
    if (status != NOKV_OK)
        fail_because(what, key, 0, 0, (uint64_t)status);
}

/* ---- what version v of a key is ---------------------------------------------------------------------------------- */

static uint64_t version_draw(unsigned key, uint64_t v)
{
    uint64_t rng = seed ^ (v * KEYS + key) * 0x2545f4914f6cdd1dull;
    return test_random(&rng);
}

/* Version 0: nothing was written yet. */
static bool version_is_absent(unsigned key, uint64_t v)
{
    return v == 0 || version_draw(key, v) % 6 == 0;
}

static size_t version_size(unsigned key, uint64_t v)
{
    uint64_t r = version_draw(key, v) >> 8;
    switch (r % 8) {
    case 0:
    case 1:
        return HEADER + (r >> 8) % (SEPARATION - HEADER);
    case 2:
    case 3:
    case 4:
        return SEPARATION + (r >> 8) % (DIRECT - SEPARATION);
    case 5:
        return DIRECT - 1 + (r >> 8) % 3;
    case 6:
        return DIRECT + (r >> 8) % 8000;
    default:
        return DIRECT + (r >> 8) % (VALUE_MAX - DIRECT);
    }
}

static size_t value_make(unsigned key, uint64_t v, uint8_t *out)
{
    size_t size = version_size(key, v);
    uint64_t k = key;
    memcpy(out, &k, sizeof k);
    memcpy(out + 8, &v, sizeof v);
    for (size_t i = HEADER; i < size; i++)
        out[i] = (uint8_t)(v * 31 + key * 7 + i + i / 251);
    return size;
}

/* The version of a sound value of this key; UINT64_MAX for any other. */
static uint64_t value_version(unsigned key, const uint8_t *data, size_t size)
{
    uint64_t k = 0, v = 0;
    if (size < HEADER)
        return UINT64_MAX;
    memcpy(&k, data, sizeof k);
    memcpy(&v, data + 8, sizeof v);
    if (k != key || version_is_absent(key, v) || size != version_size(key, v))
        return UINT64_MAX;
    for (size_t i = HEADER; i < size; i++)
        if (data[i] != (uint8_t)(v * 31 + key * 7 + i + i / 251))
            return UINT64_MAX;
    return v;
}

static size_t key_make(unsigned key, char out[16])
{
    return (size_t)snprintf(out, 16, "key%03u", key);
}

/* What of [low, high] a read showed: a version, or absence (`is_found` false). Returns the lowest version that it can
 * have been. */
static uint64_t seen_check(unsigned key, uint64_t low, uint64_t high, bool is_found, uint64_t v)
{
    if (is_found) {
        if (v < low || v > high)
            fail_because(v < low ? "an older version came back" : "a version from nowhere", key, low, high, v);
        return v;
    }
    for (v = low; v <= high; v++)
        if (version_is_absent(key, v))
            return v;
    fail_because("an acknowledged version is gone", key, low, high, 0);
    return low;
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

struct task {
    void (*run)(struct task *t);
    unsigned index;
    uint64_t ops;
    uint64_t rng;
    uint64_t done;
    pthread_t thread;
};

static bool goes_on(const struct task *t)
{
    return atomic_load(&failures) == 0 && (t->done < t->ops || atomic_load(&writers_left) > 0);
}

static uint64_t draw(struct task *t, uint64_t below)
{
    return test_random(&t->rng) % below;
}

static nokv_status stream_write(const char *key, size_t key_size, const uint8_t *value, size_t size, uint64_t r,
                                const nokv_write_options *options)
{
    nokv_value_writer *w = NULL;
    TRY(nokv_value_writer_open(db, key, key_size, r % 2 ? size : 0, &w));
    for (size_t at = 0, part = 0; at < size; at += part) {
        part = 1 + (r >> 8) % 9000;
        part = part < size - at ? part : size - at;
        nokv_status status = nokv_value_writer_append(w, value + at, part);
        if (status != NOKV_OK) {
            nokv_value_writer_abandon(w);
            return status;
        }
    }
    return nokv_value_writer_commit(w, options);
}

static nokv_status batch_write(const char *key, size_t key_size, const uint8_t *value, size_t size,
                               const nokv_write_options *options)
{
    nokv_batch *batch = NULL;
    TRY(nokv_batch_create(&batch));
    nokv_status status = nokv_batch_put(batch, key, key_size, "overwritten in the same batch", 29);
    if (status == NOKV_OK)
        status = nokv_batch_put(batch, key, key_size, value, size);
    if (status == NOKV_OK)
        status = nokv_write(db, batch, options);
    nokv_batch_destroy(batch);
    return status;
}

static void version_write(struct task *t, unsigned key, uint64_t v, uint8_t *value)
{
    char name[16];
    size_t name_size = key_make(key, name);
    nokv_write_options options = {.struct_size = sizeof options,
                                  .sync = draw(t, 100) == 0 ? NOKV_SYNC_COMMIT : NOKV_SYNC_NONE};
    nokv_status status;
    atomic_store_explicit(&begun[key], v, memory_order_release);
    if (version_is_absent(key, v)) {
        status = nokv_delete(db, name, name_size, &options);
    } else {
        size_t size = value_make(key, v, value);
        uint64_t way = draw(t, 8);
        status = way == 0   ? stream_write(name, name_size, value, size, test_random(&t->rng), &options)
                 : way == 1 ? batch_write(name, name_size, value, size, &options)
                            : nokv_put(db, name, name_size, value, size, &options);
    }
    expect_ok(status, "a write failed", key);
    atomic_store_explicit(&acked[key], v, memory_order_release);
}

static void writer_run(struct task *t)
{
    static uint8_t values[WRITERS][VALUE_MAX];
    for (; t->done < t->ops && atomic_load(&failures) == 0; t->done++) {
        /* Most writes go to a few keys; the values of the others live long enough to be moved. */
        uint64_t keys = draw(t, 4) ? HOT_KEYS : KEYS;
        unsigned key = (unsigned)(draw(t, keys / WRITERS) * WRITERS + t->index);
        version_write(t, key, atomic_load(&acked[key]) + 1, values[t->index]);
    }
    atomic_fetch_sub(&writers_left, 1);
}

/* Gets in the present, which never goes back; some values are held on to, and stay as they are. */
static void reader_run(struct task *t)
{
    nokv_value held[HELD] = {0};
    unsigned held_key[HELD] = {0};
    uint64_t last[KEYS] = {0};
    for (; goes_on(t); t->done++) {
        char name[16];
        nokv_value value = {0};
        unsigned key = (unsigned)draw(t, KEYS);
        size_t slot = draw(t, HELD), name_size = key_make(key, name);
        uint64_t low = atomic_load_explicit(&acked[key], memory_order_acquire);
        nokv_status status = nokv_get(db, name, name_size, NULL, &value);
        uint64_t high = atomic_load_explicit(&begun[key], memory_order_acquire);
        if (status != NOKV_OK && status != NOKV_ERR_NOT_FOUND)
            fail_because("a get failed", key, low, high, (uint64_t)status);
        uint64_t v = status == NOKV_OK ? value_version(key, value.data, value.size) : 0;
        last[key] = seen_check(key, low > last[key] ? low : last[key], high, status == NOKV_OK, v);
        if (held[slot].data && value_version(held_key[slot], held[slot].data, held[slot].size) == UINT64_MAX)
            fail_because("a held value changed", held_key[slot], 0, 0, 0);
        nokv_value_release(&held[slot]);
        held[slot] = value;
        held_key[slot] = key;
    }
    for (size_t slot = 0; slot < HELD; slot++)
        nokv_value_release(&held[slot]);
}

/* Versions of all keys, read at one moment; VERSION_NONE: absent. */
#define VERSION_NONE (UINT64_MAX - 1)
struct shown {
    uint64_t low[KEYS], high[KEYS], versions[KEYS];
};

static void shown_begin(struct shown *s)
{
    for (unsigned k = 0; k < KEYS; k++) {
        s->low[k] = atomic_load_explicit(&acked[k], memory_order_acquire);
        s->versions[k] = VERSION_NONE;
    }
}

static void shown_moment(struct shown *s)
{
    for (unsigned k = 0; k < KEYS; k++)
        s->high[k] = atomic_load_explicit(&begun[k], memory_order_acquire);
}

static void shown_check(const struct shown *s)
{
    for (unsigned k = 0; k < KEYS; k++)
        (void)seen_check(k, s->low[k], s->high[k], s->versions[k] != VERSION_NONE, s->versions[k]);
}

static void shown_compare(const struct shown *s, const struct shown *again)
{
    for (unsigned k = 0; k < KEYS; k++)
        if (s->versions[k] != again->versions[k])
            fail_because("a view changed", k, s->versions[k], again->versions[k], 0);
}

static void snapshot_show(const nokv_snapshot *snapshot, struct shown *s)
{
    nokv_read_options options = {.struct_size = sizeof options, .snapshot = snapshot};
    for (unsigned k = 0; k < KEYS; k++) {
        char name[16];
        nokv_value value = {0};
        nokv_status status = nokv_get(db, name, key_make(k, name), &options, &value);
        if (status != NOKV_OK && status != NOKV_ERR_NOT_FOUND)
            expect_ok(status, "a get at a snapshot failed", k);
        s->versions[k] = status == NOKV_OK ? value_version(k, value.data, value.size) : VERSION_NONE;
        nokv_value_release(&value);
    }
}

/* A snapshot shows what was acknowledged before it, and the same whenever one looks. */
static void snapshot_run(struct task *t)
{
    for (; goes_on(t); t->done++) {
        static struct shown first, again;
        const nokv_snapshot *snapshot = NULL;
        shown_begin(&first);
        expect_ok(nokv_snapshot_create(db, &snapshot), "no snapshot", 0);
        if (snapshot == NULL)
            return;
        shown_moment(&first);
        snapshot_show(snapshot, &first);
        shown_check(&first);
        again = first;
        for (uint64_t i = draw(t, 4); i > 0; i--) {
            snapshot_show(snapshot, &again);
            shown_compare(&first, &again);
        }
        nokv_snapshot_release(db, snapshot);
    }
}

static void iterator_show(nokv_iter *it, bool is_backward, struct shown *s)
{
    for (unsigned k = 0; k < KEYS; k++)
        s->versions[k] = VERSION_NONE;
    is_backward ? nokv_iter_last(it) : nokv_iter_first(it);
    while (nokv_iter_valid(it)) {
        char text[16] = {0};
        unsigned k = KEYS;
        nokv_slice key = nokv_iter_key(it);
        memcpy(text, key.data, key.size < sizeof text - 1 ? key.size : sizeof text - 1);
        if (sscanf(text, "key%3u", &k) != 1 || k >= KEYS) {
            fail_because("a key that nobody wrote", 0, 0, 0, 0);
            return;
        }
        size_t size = nokv_iter_value_size(it);
        nokv_slice value = nokv_iter_value(it);
        if (value.data == NULL || value.size != size)
            break; /* the status says why */
        s->versions[k] = value_version(k, value.data, value.size);
        is_backward ? nokv_iter_prev(it) : nokv_iter_next(it);
    }
    expect_ok(nokv_iter_status(it), "an iterator failed", 0);
}

/* An iterator shows one moment, in both directions, however often the values move meanwhile. */
static void iterator_run(struct task *t)
{
    for (; goes_on(t); t->done++) {
        static struct shown first, again;
        nokv_iter *it = NULL;
        shown_begin(&first);
        expect_ok(nokv_iter_create(db, NULL, &it), "no iterator", 0);
        if (it == NULL)
            return;
        shown_moment(&first);
        iterator_show(it, draw(t, 2) == 0, &first);
        shown_check(&first);
        again = first;
        for (uint64_t i = draw(t, 4); i > 0; i--) {
            iterator_show(it, draw(t, 2) == 0, &again);
            shown_compare(&first, &again);
        }
        nokv_iter_destroy(it);
    }
}

static void collector_run(struct task *t)
{
    for (; goes_on(t); t->done++)
        expect_ok(nokv_vlog_collect(db, 1.0), "a collection failed", 0);
}

static bool segment_look(void *arg, const nokv_vlog_segment *segment)
{
    (void)arg;
    if (segment->live_records == 0 && segment->live_bytes != 0)
        fail_because("bytes without records", 0, segment->number, segment->live_bytes, 0);
    return true;
}

static void maintenance_run(struct task *t)
{
    for (; goes_on(t); t->done++) {
        char first[16], last[16];
        unsigned k = (unsigned)draw(t, KEYS);
        size_t first_size = key_make(k, first), last_size = key_make(k + 5, last);
        nokv_stats stats = {.struct_size = sizeof stats};
        switch (draw(t, 8)) {
        case 0:
            expect_ok(nokv_compact_range(db, first, first_size, last, last_size), "compact", k);
            break;
        case 1:
            expect_ok(nokv_vlog_segments(db, segment_look, NULL), "segments", k);
            expect_ok(nokv_stats_get(db, false, &stats), "stats", k);
            break;
        case 2:
            expect_ok(nokv_sync_wal(db), "sync", k);
            break;
        case 3:
            if (draw(t, 8) == 0)
                expect_ok(nokv_verify(db, NULL, NULL, &(nokv_verify_report){0}), "verify", k);
            break;
        default:
            expect_ok(nokv_flush(db), "flush", k);
        }
    }
}

/* ---- test ---------------------------------------------------------------------------------------------------------
 */

static void *task_main(void *arg)
{
    struct task *t = arg;
    t->run(t);
    return NULL;
}

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
    o->background_threads = (uint32_t)(1 + round % 3);
    o->value_separation_min = SEPARATION;
    o->value_direct_min = DIRECT;
    o->vlog_segment_bytes = (64ull << 10) << test_random(&rng) % 3;
    o->vlog_space_amp_max = 1.1;
    o->vlog_read = (nokv_vlog_read)(round % 4);
    o->vlog_write = round % 2 ? NOKV_IO_STD : NOKV_IO_DEFAULT;
}

static size_t tasks_add(struct task *tasks, size_t count, unsigned how_many, void (*run)(struct task *t), uint64_t ops)
{
    for (unsigned i = 0; i < how_many; i++) {
        assert_true(count < THREADS_MAX);
        tasks[count] = (struct task){.run = run, .index = i, .ops = test_scale(ops), .rng = seed + count};
        count++;
    }
    return count;
}

/* Nobody writes: each key is at its last version exactly. */
static void end_check(const char *when)
{
    if (atomic_load(&failures) == 0)
        for (unsigned k = 0; k < KEYS; k++) {
            char name[16];
            nokv_value value = {0};
            nokv_status status = nokv_get(db, name, key_make(k, name), NULL, &value);
            if (status != NOKV_OK && status != NOKV_ERR_NOT_FOUND)
                expect_ok(status, "a get failed at the end", k);
            uint64_t v = atomic_load(&acked[k]);
            (void)seen_check(k, v, v, status == NOKV_OK,
                             status == NOKV_OK ? value_version(k, value.data, value.size) : 0);
            nokv_value_release(&value);
        }
    if (atomic_load(&failures) > 0)
        fail_msg("%s: %llu failures; the first: %s", when, (unsigned long long)atomic_load(&failures), failure);
    OK(nokv_verify(db, NULL, NULL, &(nokv_verify_report){0}));
}

static void round_run(const char *dir, uint64_t round, struct task *tasks)
{
    nokv_options options;
    options_draw(&options, round);
    OK(nokv_open(dir, &options, &db));
    atomic_store(&writers_left, WRITERS);
    size_t count = tasks_add(tasks, 0, WRITERS, writer_run, 2000);
    count = tasks_add(tasks, count, 2, reader_run, 1000);
    count = tasks_add(tasks, count, 1, snapshot_run, 10);
    count = tasks_add(tasks, count, 1, iterator_run, 10);
    count = tasks_add(tasks, count, 1, collector_run, 2);
    count = tasks_add(tasks, count, 1, maintenance_run, 10);
    for (size_t i = 0; i < count; i++)
        OK(thread_create(&tasks[i].thread, "values", task_main, &tasks[i]));
    for (size_t i = 0; i < count; i++)
        thread_join(tasks[i].thread);
    end_check("after the round");
    OK(nokv_wait_idle(db));
    end_check("when idle");
    nokv_stats stats = {.struct_size = sizeof stats};
    OK(nokv_stats_get(db, false, &stats));
    printf("round %llu: %llu collections, %llu KiB moved, %llu KiB removed\n", (unsigned long long)round,
           (unsigned long long)stats.vlog_collections, (unsigned long long)stats.vlog_moved_bytes >> 10,
           (unsigned long long)stats.vlog_reclaimed_bytes >> 10);
    assert_true(stats.vlog_reclaimed_bytes > 0);
    OK(nokv_close(db));
    OK(nokv_open(dir, &options, &db));
    end_check("reopened");
    OK(nokv_close(db));
}

/* Writers, a collector, flushes, compactions and readers of all kinds on the same few keys: no read ever shows a
 * version older than an acknowledged or seen one, nor anything after its delete; held values and views stay. */
static void test_newest_version_wins(void **state)
{
    (void)state;
    char parent[256], dir[300];
    static struct task tasks[THREADS_MAX];
    seed = test_seed(31);
    test_dir_create(parent);
    snprintf(dir, sizeof dir, "%s/db", parent);
    for (uint64_t round = 0; round < 4; round++) /* of one database: the options change, the versions go on */
        round_run(dir, round, tasks);
    test_dir_remove(parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_newest_version_wins)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
