// SPDX-License-Identifier: Apache-2.0
/*
 * callers_test.c - several threads make calls at once that wait for work to be done: none gets in the way of another,
 * and what each asked for is done when its call returns.
 */
#include <stdatomic.h>

#include "base/thread.h"
#include "nokv/nokv.h"
#include "test.h"

struct scene {
    char parent[256], dir[300];
    nokv_options options;
    nokv_db *db;
    uint64_t seed;
    _Atomic bool is_over;      /* those who only disturb stop */
    _Atomic uint64_t failures; /* any thread */
    char failure[600];         /* by whoever counted the first one */
};

struct caller {
    struct scene *s;
    void (*step)(struct caller *c);
    uint64_t steps; /* UINT64_MAX: until it is over */
    uint64_t done;
    uint64_t rng;
    pthread_t thread;
};

static void scene_init(struct scene *s)
{
    *s = (struct scene){.seed = test_seed(23)};
    test_dir_create(s->parent);
    snprintf(s->dir, sizeof s->dir, "%s/db", s->parent);
    nokv_options_init(&s->options);
    s->options.memtable_bytes = 64 << 10;
    s->options.wal_buffer_bytes = 64 << 10;
    s->options.table_bytes = 64 << 10;
    s->options.level_base_bytes = 64 << 10;
    s->options.level_ratio = 2;
}

static void scene_deinit(struct scene *s)
{
    OK(nokv_close(s->db));
    test_dir_remove(s->parent);
}

static void expect_ok(struct caller *c, nokv_status status, const char *what)
{
    if (status != NOKV_OK && atomic_fetch_add(&c->s->failures, 1) == 0)
        snprintf(c->s->failure, sizeof c->s->failure, "%s: %s", what, nokv_error_message());
}

static void *caller_main(void *arg)
{
    struct caller *c = arg;
    for (; c->done < c->steps && !atomic_load(&c->s->is_over) && atomic_load(&c->s->failures) == 0; c->done++)
        c->step(c);
    return NULL;
}

/* Until all that have a number of steps have done them. */
static void callers_run(struct scene *s, struct caller *callers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        callers[i].s = s;
        callers[i].rng = s->seed + i;
        OK(thread_create(&callers[i].thread, "caller", caller_main, &callers[i]));
    }
    for (size_t i = 0; i < count; i++)
        if (callers[i].steps != UINT64_MAX)
            thread_join(callers[i].thread);
    atomic_store(&s->is_over, true);
    for (size_t i = 0; i < count; i++)
        if (callers[i].steps == UINT64_MAX)
            thread_join(callers[i].thread);
    if (atomic_load(&s->failures) > 0)
        fail_msg("%llu failures; the first: %s", (unsigned long long)atomic_load(&s->failures), s->failure);
}

/* ---- without background threads ------------------------------------------------------------------------------------
 */

static void value_write(struct caller *c, nokv_sync sync)
{
    char key[32], value[700];
    nokv_write_options options = {.struct_size = sizeof options, .sync = sync};
    int size = snprintf(key, sizeof key, "key%06u", (unsigned)(test_random(&c->rng) % 5000));
    memset(value, 'v', sizeof value);
    expect_ok(c, nokv_put(c->s->db, key, (size_t)size, value, sizeof value, &options), "put");
}

static void write_step(struct caller *c)
{
    value_write(c, NOKV_SYNC_NONE);
}

static void synced_step(struct caller *c)
{
    value_write(c, NOKV_SYNC_COMMIT);
}

static void flush_step(struct caller *c)
{
    expect_ok(c, nokv_flush(c->s->db), "flush");
}

/* The calls do the background work themselves; one whose log has to wait for the log before, which another call is
 * sealing, waits for that: unit/db/durability_test.c has that moment alone. */
static void test_seals_of_others(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    s.options.inline_background_work = true;
    OK(nokv_open(s.dir, &s.options, &s.db));
    struct caller callers[] = {
        {.step = synced_step, .steps = test_scale(200)}, {.step = synced_step, .steps = test_scale(200)},
        {.step = flush_step, .steps = UINT64_MAX},       {.step = flush_step, .steps = UINT64_MAX},
        {.step = flush_step, .steps = UINT64_MAX},       {.step = flush_step, .steps = UINT64_MAX},
    };
    callers_run(&s, callers, ARRAY_COUNT(callers));
    scene_deinit(&s);
}

/* ---- flushing ------------------------------------------------------------------------------------------------------
 */

/* A flush waits for what was written before it, not for what others go on writing: it comes to its end beside writers
 * that never stop. */
static void test_flush_beside_writers(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    OK(nokv_open(s.dir, &s.options, &s.db));
    struct caller callers[] = {
        {.step = flush_step, .steps = test_scale(100)},
        {.step = write_step, .steps = UINT64_MAX},
        {.step = write_step, .steps = UINT64_MAX},
    };
    callers_run(&s, callers, ARRAY_COUNT(callers));
    scene_deinit(&s);
}

/* ---- looking at files ----------------------------------------------------------------------------------------------
 */

static void get_step(struct caller *c)
{
    nokv_value value = {0};
    expect_ok(c, nokv_get(c->s->db, "key", 3, NULL, &value), "get");
    nokv_value_release(&value);
}

static bool table_find(void *arg, const nokv_residency_file *file)
{
    char *name = arg;
    if (file->kind == NOKV_FILE_SST && file->level >= 0)
        snprintf(name, 64, "%s", file->name);
    return true;
}

static bool line_seen(void *arg, const char *line)
{
    (void)arg;
    return line[0] != 0;
}

static void dump_step(struct caller *c)
{
    char name[64] = "", path[400];
    expect_ok(c, nokv_residency(c->s->dir, 0, table_find, name), "residency");
    snprintf(path, sizeof path, "%s/%s", c->s->dir, name);
    expect_ok(c, nokv_dump_file(path, NOKV_FILE_SST, line_seen, NULL), "dump");
}

/* A table is dumped while others read: what the dump has opened is closed before it returns, though it could not be
 * while a reader was at work. */
static void test_dump_beside_readers(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    OK(nokv_open(s.dir, &s.options, &s.db));
    OK(nokv_put(s.db, "key", 3, "value", 5, NULL));
    OK(nokv_flush(s.db));
    struct caller callers[] = {
        {.step = dump_step, .steps = test_scale(500)},
        {.step = get_step, .steps = UINT64_MAX},
        {.step = get_step, .steps = UINT64_MAX},
    };
    callers_run(&s, callers, ARRAY_COUNT(callers));
    scene_deinit(&s);
}

/* ---- collecting ----------------------------------------------------------------------------------------------------
 */

/* Far more segments than a collection takes at once. */
enum { LARGE_KEYS = 2800, LARGE_BYTES = 6000 };

static bool segment_add(void *arg, const nokv_vlog_segment *segment)
{
    uint64_t *bytes = arg;
    bytes[0] += segment->file_bytes;
    bytes[1] += segment->live_bytes;
    return true;
}

/* Overwrite all of the large values, or every second one, and have all of that garbage collected. */
static void collect_all_step(struct caller *c)
{
    static uint8_t value[LARGE_BYTES];
    uint64_t bytes[2] = {0};
    for (unsigned k = 0; k < LARGE_KEYS; k += 1 + c->done % 2) {
        char key[32];
        int size = snprintf(key, sizeof key, "large%u", k);
        expect_ok(c, nokv_put(c->s->db, key, (size_t)size, value, sizeof value, NULL), "put");
    }
    expect_ok(c, nokv_compact_range(c->s->db, NULL, 0, NULL, 0), "compact_range");
    expect_ok(c, nokv_vlog_collect(c->s->db, 1.0), "collect");
    expect_ok(c, nokv_vlog_segments(c->s->db, segment_add, bytes), "segments");
    if (bytes[0] > bytes[1] + bytes[1] * 15 / 100 && atomic_fetch_add(&c->s->failures, 1) == 0)
        snprintf(c->s->failure, sizeof c->s->failure, "%llu bytes of segments after collecting all, %llu of them live",
                 (unsigned long long)bytes[0], (unsigned long long)bytes[1]);
}

/* Content with whatever there is. */
static void collect_none_step(struct caller *c)
{
    expect_ok(c, nokv_vlog_collect(c->s->db, 1000), "collect");
}

/* Who asks for all garbage to be collected has it collected, while others ask for less and are done sooner. */
static void test_goals_of_others(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    s.options.value_direct_min = LARGE_BYTES;
    s.options.vlog_segment_bytes = 256 << 10;
    s.options.vlog_space_amp_max = 1000;
    OK(nokv_open(s.dir, &s.options, &s.db));
    struct caller callers[] = {
        {.step = collect_all_step, .steps = 2 + test_scale(6)},
        {.step = collect_none_step, .steps = UINT64_MAX},
        {.step = collect_none_step, .steps = UINT64_MAX},
    };
    callers_run(&s, callers, ARRAY_COUNT(callers));
    scene_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seals_of_others),
        cmocka_unit_test(test_flush_beside_writers),
        cmocka_unit_test(test_dump_beside_readers),
        cmocka_unit_test(test_goals_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
