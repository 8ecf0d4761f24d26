// SPDX-License-Identifier: Apache-2.0
/*
 * Everything at once: writers, readers, iterators, snapshots, flushes and compactions on one database, until the
 * writers have done their number of writes. Made for ThreadSanitizer; what is checked holds under any schedule.
 *
 * A writer owns groups of three keys and writes a group as one batch: three values with one counter that only grows, or
 * three deletes. So at any snapshot, in any iterator: a group is there as a whole with one counter, or not at all. Each
 * value says whose it is and fills its length with a function of its counter. What a reader sees of one group in the
 * present never goes back to a lower counter.
 */
#include <stdatomic.h>

#include "base/thread.h"
#include "nokv/nokv.h"
#include "test.h"

enum { WRITERS = 2, GROUPS = 150, PARTS = 3, VALUE_MAX = 900, KEY_SIZE = 11, HELD = 6, THREADS_MAX = 16 };

static nokv_db *db;
static _Atomic uint64_t failures; /* any thread; read after the join */
static _Atomic int writers_left;  /* all others go on as long as there is one */
static char failure[512];         /* by whoever counted the first one */
static uint64_t seed;

static void fail_because(const char *what, unsigned writer, unsigned group)
{
    if (atomic_fetch_add(&failures, 1) == 0)
        snprintf(failure, sizeof failure, "%s (writer %u, group %u): %s", what, writer, group, nokv_error_message());
}

#define EXPECT(condition, writer, group)                 \
    do {                                                 \
        if (!(condition))                                \
            fail_because(#condition, (writer), (group)); \
    } while (0)

/* ---- keys and values --------------------------------------------------------------------------------------------- */

static void key_make(unsigned writer, unsigned group, unsigned part, char key[16])
{
    snprintf(key, 16, "w%02u/%05u/%u", writer % 100, group % 100000, part % 10);
}

static size_t value_make(uint64_t counter, unsigned part, uint8_t value[VALUE_MAX])
{
    size_t size = 16 + (counter * 37 + part * 101) % (VALUE_MAX - 16);
    memset(value, (int)(counter * 7 + part), size);
    memcpy(value, &counter, sizeof counter);
    memcpy(value + 8, &size, sizeof size);
    return size;
}

/* The counter of a sound value; 0 for any other. */
static uint64_t value_counter(const void *data, size_t size, unsigned part)
{
    uint8_t wanted[VALUE_MAX];
    uint64_t counter = 0;
    if (size < 16)
        return 0;
    memcpy(&counter, data, sizeof counter);
    return value_make(counter, part, wanted) == size && memcmp(wanted, data, size) == 0 ? counter : 0;
}

/* ---- threads ------------------------------------------------------------------------------------------------------
 */

struct task {
    void (*run)(struct task *t);
    unsigned index;
    uint64_t ops;
    uint64_t rng;
    uint64_t last[WRITERS][GROUPS]; /* writer: what it wrote last (0: deleted); reader: the highest it saw */
    pthread_t thread;
};

static bool goes_on(const struct task *t, uint64_t done)
{
    return done < t->ops || atomic_load_explicit(&writers_left, memory_order_relaxed) > 0;
}

static uint64_t draw(struct task *t, uint64_t below)
{
    return test_random(&t->rng) % below;
}

static void group_write(struct task *t, nokv_batch *batch, unsigned group, uint64_t counter, bool is_delete)
{
    char key[16];
    uint8_t value[VALUE_MAX];
    nokv_write_options options = {.struct_size = sizeof options,
                                  .sync = draw(t, 200) == 0 ? NOKV_SYNC_COMMIT : NOKV_SYNC_NONE};
    nokv_batch_clear(batch);
    for (unsigned part = 0; part < PARTS; part++) {
        key_make(t->index, group, part, key);
        size_t size = value_make(counter, part, value);
        nokv_status status =
            is_delete ? nokv_batch_delete(batch, key, KEY_SIZE) : nokv_batch_put(batch, key, KEY_SIZE, value, size);
        EXPECT(status == NOKV_OK, t->index, group);
    }
    EXPECT(nokv_write(db, batch, &options) == NOKV_OK, t->index, group);
    t->last[t->index][group] = is_delete ? 0 : counter;
}

static void writer_run(struct task *t)
{
    nokv_batch *batch = NULL;
    EXPECT(nokv_batch_create(&batch) == NOKV_OK, t->index, 0);
    for (uint64_t i = 1; i <= t->ops && batch; i++) {
        group_write(t, batch, (unsigned)draw(t, GROUPS), i, draw(t, 6) == 0);
        char own[16];
        snprintf(own, sizeof own, "x%u/%u", t->index, (unsigned)draw(t, 50));
        EXPECT(nokv_put(db, own, strlen(own), own, strlen(own), NULL) == NOKV_OK, t->index, 0);
    }
    nokv_batch_destroy(batch);
    atomic_fetch_sub(&writers_left, 1);
}

/* One group at a snapshot: the same counter three times, or three misses. Returns it, or 0. */
static uint64_t group_read(unsigned writer, unsigned group, const nokv_snapshot *snapshot)
{
    nokv_read_options options = {.struct_size = sizeof options, .snapshot = snapshot};
    uint64_t counters[PARTS] = {0};
    char text[PARTS][16];
    nokv_slice keys[PARTS];
    nokv_value values[PARTS] = {0};
    nokv_status statuses[PARTS];
    for (unsigned part = 0; part < PARTS; part++) {
        key_make(writer, group, part, text[part]);
        keys[part] = (nokv_slice){.data = text[part], .size = KEY_SIZE};
        if (group % 2 == 0)
            statuses[part] = nokv_get(db, text[part], KEY_SIZE, &options, &values[part]);
    }
    if (group % 2 != 0)
        EXPECT(nokv_multi_get(db, PARTS, keys, &options, values, statuses) == NOKV_OK, writer, group);
    for (unsigned part = 0; part < PARTS; part++) {
        EXPECT(statuses[part] == NOKV_OK || statuses[part] == NOKV_ERR_NOT_FOUND, writer, group);
        if (statuses[part] != NOKV_OK)
            continue;
        counters[part] = value_counter(values[part].data, values[part].size, part);
        EXPECT(counters[part] != 0, writer, group);
        nokv_value_release(&values[part]);
    }
    EXPECT(counters[0] == counters[1] && counters[1] == counters[2], writer, group);
    return counters[0];
}

/* Gets in the present; some values are held for a while, and must still be sound when they are let go. */
static void reader_run(struct task *t)
{
    nokv_value held[HELD] = {0};
    unsigned held_part[HELD] = {0};
    char key[16];
    for (uint64_t i = 0; goes_on(t, i); i++) {
        unsigned writer = (unsigned)draw(t, WRITERS), group = (unsigned)draw(t, GROUPS),
                 part = (unsigned)draw(t, PARTS);
        nokv_value value = {0};
        key_make(writer, group, part, key);
        nokv_status status = nokv_get(db, key, KEY_SIZE, NULL, &value);
        EXPECT(status == NOKV_OK || status == NOKV_ERR_NOT_FOUND, writer, group);
        if (status != NOKV_OK)
            continue;
        uint64_t counter = value_counter(value.data, value.size, part);
        EXPECT(counter != 0 && counter >= t->last[writer][group], writer, group);
        t->last[writer][group] = counter;
        size_t slot = draw(t, HELD);
        if (held[slot].data)
            EXPECT(value_counter(held[slot].data, held[slot].size, held_part[slot]) != 0, writer, group);
        nokv_value_release(&held[slot]);
        held[slot] = value;
        held_part[slot] = part;
    }
    for (size_t slot = 0; slot < HELD; slot++)
        nokv_value_release(&held[slot]);
}

/* A snapshot shows a group the same way as often as one looks. */
static void snapshot_run(struct task *t)
{
    for (uint64_t i = 0; goes_on(t, i); i++) {
        const nokv_snapshot *snapshot = NULL;
        uint64_t first[8];
        unsigned from = (unsigned)draw(t, GROUPS - 8), writer = (unsigned)draw(t, WRITERS);
        EXPECT(nokv_snapshot_create(db, &snapshot) == NOKV_OK, writer, from);
        for (unsigned g = 0; g < 8; g++)
            first[g] = group_read(writer, from + g, snapshot);
        for (unsigned g = 0; g < 8; g++)
            EXPECT(group_read(writer, from + g, snapshot) == first[g], writer, from + g);
        nokv_snapshot_release(db, snapshot);
    }
}

struct walk {
    uint64_t counter;
    unsigned writer, group, parts;
    char last_key[KEY_SIZE + 1];
    bool is_backward;
};

/* The group that was walked through must have been complete. */
static void walk_leave_group(struct walk *w)
{
    EXPECT(w->parts == 0 || w->parts == PARTS, w->writer, w->group);
    w->parts = 0;
}

static void walk_entry(struct walk *w, nokv_iter *it)
{
    nokv_slice key = nokv_iter_key(it), value = nokv_iter_value(it);
    unsigned writer = 0, group = 0, part = 0;
    char text[KEY_SIZE + 1] = {0};
    if (key.size != KEY_SIZE) {
        fail_because("a key that nobody wrote", 0, 0);
        return;
    }
    memcpy(text, key.data, KEY_SIZE);
    EXPECT(sscanf(text, "w%2u/%5u/%1u", &writer, &group, &part) == 3, writer, group);
    int order = w->last_key[0] ? memcmp(text, w->last_key, KEY_SIZE) : w->is_backward ? -1 : 1;
    EXPECT(w->is_backward ? order < 0 : order > 0, writer, group);
    memcpy(w->last_key, text, KEY_SIZE);
    if (w->parts > 0 && (writer != w->writer || group != w->group))
        walk_leave_group(w);
    uint64_t counter = value_counter(value.data, value.size, part);
    EXPECT(counter != 0 && (w->parts == 0 || counter == w->counter), writer, group);
    w->counter = counter;
    w->writer = writer;
    w->group = group;
    w->parts++;
}

/* Whole walks in either direction over one writer's groups, while they change. */
static void iterator_run(struct task *t)
{
    for (uint64_t i = 0; goes_on(t, i); i++) {
        struct walk w = {.is_backward = draw(t, 2) == 0};
        nokv_iter *it = NULL;
        char prefix[8];
        snprintf(prefix, sizeof prefix, "w%02u/", (unsigned)draw(t, WRITERS));
        nokv_iter_options options = {.struct_size = sizeof options, .prefix = {prefix, 4}};
        EXPECT(nokv_iter_create(db, &options, &it) == NOKV_OK, 0, 0);
        if (it == NULL)
            return;
        if (w.is_backward)
            for (nokv_iter_last(it); nokv_iter_valid(it); nokv_iter_prev(it))
                walk_entry(&w, it);
        else
            for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it))
                walk_entry(&w, it);
        EXPECT(nokv_iter_status(it) == NOKV_OK, 0, 0);
        walk_leave_group(&w);
        nokv_iter_destroy(it);
    }
}

static void maintenance_run(struct task *t)
{
    nokv_stats stats = {.struct_size = sizeof stats};
    char first[16], last[16];
    for (uint64_t i = 0; goes_on(t, i); i++) {
        unsigned writer = (unsigned)draw(t, WRITERS), group = (unsigned)draw(t, GROUPS);
        key_make(writer, group, 0, first);
        key_make(writer, group + 20, 2, last);
        nokv_status status = NOKV_OK;
        switch (draw(t, 6)) {
        case 0:
            status = nokv_compact_range(db, first, KEY_SIZE, last, KEY_SIZE);
            break;
        case 1:
            status = nokv_stats_get(db, draw(t, 2) == 0, &stats);
            break;
        case 2:
            status = nokv_sync_wal(db);
            break;
        case 3:
            status = draw(t, 8) == 0 ? nokv_verify(db, NULL, NULL, &(nokv_verify_report){0}) : NOKV_OK;
            break;
        default:
            status = nokv_flush(db);
        }
        EXPECT(status == NOKV_OK, writer, group);
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
    uint64_t rng = seed + round;
    nokv_options_init(o);
    o->memtable_bytes = 64 << 10;
    o->wal_buffer_bytes = (64ull << 10) << 3 * test_random(&rng) % 4;
    o->table_bytes = 64 << 10;
    o->level_base_bytes = 64 << 10;
    o->level_ratio = 2;
    o->l0_compact_files = 2;
    o->memtables_max = (uint32_t)(2 + test_random(&rng) % 3);
    o->background_threads = (uint32_t)(1 + test_random(&rng) % 3);
    o->inline_background_work = round % 3 == 2;
    static const nokv_io_model table_models[] = {NOKV_IO_DEFAULT, NOKV_IO_STD, NOKV_IO_URING, NOKV_IO_DIRECT};
    o->sst_read = table_models[(seed + round) % ARRAY_COUNT(table_models)];
    o->block_cache_bytes = (64ull << 10) << 2 * (test_random(&rng) % 3); /* of some MiB, or far too little */
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

static void round_check(const struct task *tasks)
{
    if (atomic_load(&failures) > 0)
        fail_msg("%llu failures; the first: %s", (unsigned long long)atomic_load(&failures), failure);
    for (unsigned w = 0; w < WRITERS; w++)
        for (unsigned g = 0; g < GROUPS; g++)
            assert_int_equal(group_read(w, g, NULL), tasks[w].last[w][g]);
}

/* Writers, readers, iterators, snapshots, flushes and compactions side by side: every group of keys is seen as a whole,
 * nothing goes back in time, held values stay, and in the end, and after a reopen, the last writes are there. */
static void test_everything_at_once(void **state)
{
    (void)state;
    char parent[256], dir[300];
    nokv_options options;
    static struct task tasks[THREADS_MAX];
    seed = test_seed(11);
    for (uint64_t round = 0; round < 3; round++) {
        test_dir_create(parent);
        snprintf(dir, sizeof dir, "%s/db", parent);
        options_draw(&options, round);
        OK(nokv_open(dir, &options, &db));
        atomic_store(&writers_left, WRITERS);
        size_t count = tasks_add(tasks, 0, WRITERS, writer_run, 6000);
        count = tasks_add(tasks, count, 2, reader_run, 1000);
        count = tasks_add(tasks, count, 1, snapshot_run, 100);
        count = tasks_add(tasks, count, 2, iterator_run, 10);
        count = tasks_add(tasks, count, 2, maintenance_run, 10);
        for (size_t i = 0; i < count; i++)
            OK(thread_create(&tasks[i].thread, "stress", task_main, &tasks[i]));
        for (size_t i = 0; i < count; i++)
            thread_join(tasks[i].thread);
        round_check(tasks);
        OK(nokv_close(db));
        OK(nokv_open(dir, &options, &db));
        round_check(tasks);
        OK(nokv_close(db));
        test_dir_remove(parent);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_everything_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
