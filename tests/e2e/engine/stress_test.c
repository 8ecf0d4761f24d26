// SPDX-License-Identifier: Apache-2.0
/*
 * Everything at once: all calls of the interface on one database, from some twenty threads, until the writers have done
 * their number of writes. Made for ThreadSanitizer: nothing here orders what one thread does before what another one
 * does, but for the database itself. What is checked holds under any schedule.
 *
 *      stress_test                 rounds under several sets of options
 *      stress_test calls nokv.h    is every function of that header in the list of calls?
 */
#include "io_models.h"
#include "stress.h"

nokv_db *stress_db;
char stress_dir[300];
static _Atomic uint64_t failures;     /* any thread; read after the join */
static _Atomic unsigned writers_left; /* all others go on as long as there is one; relaxed: it orders nothing */
static char failure[512];             /* by whoever counted the first one */
static uint64_t seed;

/* Steps that are 0 stand for whatever takes its cases in turn: a dozen. */
static const struct workload workloads[] = {
    {"writer", writer_step, WRITERS, 4000},
    {"reader", reader_step, 2, 1000},
    {"copier", copier_step, 1, 1000},
    {"snapshot", snapshot_step, 1, 100},
    {"walker", walker_step, 2, 10},
    {"seeker", seeker_step, 1, 100},
    {"large", large_step, 1, 0},
    {"maintenance", maintenance_step, 2, 0},
    {"collector", collector_step, 1, 0},
    {"inspector", inspector_step, 1, 0},
    {"files", files_step, 1, 0},
    {"mistakes", mistakes_step, 1, 0},
    {"neighbour", neighbour_step, 1, 0},
    {"hand over", hand_over_step, 1, 0},
};

static const char *const call_names[CALLED_COUNT] = {
#define STRESS_CALL_NAME_(function) [CALLED_##function] = #function,
    STRESS_CALLS(STRESS_CALL_NAME_)
#undef STRESS_CALL_NAME_
};

void fail_because(const char *what, unsigned writer, unsigned group)
{
    if (atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed) == 0)
        snprintf(failure, sizeof failure, "%s (%u, %u): %s", what, writer, group, nokv_error_message());
}

/* ---- threads -------------------------------------------------------------------------------------------------------
 */

static uint64_t steps_of(const struct workload *w)
{
    return w->steps ? test_scale(w->steps) : 12;
}

static bool goes_on(const struct task *t)
{
    if (atomic_load_explicit(&failures, memory_order_relaxed) > 0)
        return false;
    return t->done < steps_of(t->workload) ||
           (t->workload->step != writer_step && atomic_load_explicit(&writers_left, memory_order_relaxed) > 0);
}

static void *task_main(void *arg)
{
    struct task *t = arg;
    for (; goes_on(t); t->done++)
        t->workload->step(t);
    held_release_all(t);
    if (t->workload->step == writer_step)
        atomic_fetch_sub_explicit(&writers_left, 1, memory_order_relaxed);
    return NULL;
}

static size_t tasks_start(struct task *tasks, uint64_t round)
{
    size_t count = 0;
    atomic_store_explicit(&writers_left, WRITERS, memory_order_relaxed);
    for (size_t i = 0; i < ARRAY_COUNT(workloads); i++)
        for (unsigned n = 0; n < workloads[i].threads; n++, count++) {
            assert_true(count < THREADS_MAX);
            tasks[count] = (struct task){.workload = &workloads[i], .index = n, .rng = seed + round * 100 + count};
        }
    for (size_t i = 0; i < count; i++)
        OK(thread_create(&tasks[i].thread, "stress", task_main, &tasks[i]));
    return count;
}

/* ---- a round -------------------------------------------------------------------------------------------------------
 */

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
    io_models_set(o, test_random(&rng) % IO_MODELS_COUNT);
    o->huge_pages = (nokv_huge_pages)(test_random(&rng) % 3);
    o->block_cache_bytes = (64ull << 10) << 2 * (test_random(&rng) % 3); /* of some MiB, or far too little */
    o->value_separation_min = 256; /* groups of keys have values in all three homes */
    o->value_direct_min = 640;
    o->vlog_segment_bytes = (64ull << 10) << test_random(&rng) % 3;
    o->vlog_space_amp_max = 1.1;
}

static void round_check(struct task *tasks)
{
    if (atomic_load(&failures) > 0)
        fail_msg("%llu failures; the first: %s", (unsigned long long)atomic_load(&failures), failure);
    for (unsigned w = 0; w < WRITERS; w++)
        for (unsigned g = 0; g < GROUPS; g++)
            assert_int_equal(group_read(&tasks[w], w, g, NULL), tasks[w].last[w][g]);
    OK(nokv_verify(stress_db, NULL, NULL, &(nokv_verify_report){0}));
}

static void round_run(uint64_t round, uint64_t calls[CALLED_COUNT])
{
    static struct task tasks[THREADS_MAX];
    char parent[256];
    nokv_options options;
    test_dir_create(parent);
    snprintf(stress_dir, sizeof stress_dir, "%s/db", parent);
    options_draw(&options, round);
    OK(nokv_open(stress_dir, &options, &stress_db));
    size_t count = tasks_start(tasks, round);
    for (size_t i = 0; i < count; i++) {
        thread_join(tasks[i].thread);
        for (size_t c = 0; c < CALLED_COUNT; c++)
            calls[c] += tasks[i].calls[c];
    }
    round_check(tasks);
    OK(nokv_close(stress_db));
    OK(nokv_open(stress_dir, &options, &stress_db));
    round_check(tasks);
    OK(nokv_close(stress_db));
    test_dir_remove(parent);
}

/* All calls side by side: every group of keys is seen as a whole, nothing goes back in time, held values stay, what
 * must be refused is refused; no function of the interface was left out; in the end, and after a reopen, the last
 * writes are there. */
static void test_everything_at_once(void **state)
{
    (void)state;
    uint64_t calls[CALLED_COUNT] = {0};
    seed = test_seed(11);
    for (uint64_t round = 0; round < 3; round++)
        round_run(round, calls);
    for (size_t c = 0; c < CALLED_COUNT; c++)
        printf("%10llu %s\n", (unsigned long long)calls[c], call_names[c]);
    for (size_t c = 0; c < CALLED_COUNT; c++)
        if (calls[c] == 0)
            fail_msg("%s was never called", call_names[c]);
}

/* ---- the list of calls ---------------------------------------------------------------------------------------------
 */

static const char *header_path;

static bool is_listed(const char *name, size_t size)
{
    for (size_t c = 0; c < CALLED_COUNT; c++)
        if (strlen(call_names[c]) == size && memcmp(call_names[c], name, size) == 0)
            return true;
    return false;
}

/* Every function that the header declares is in the list: a new one must join. */
static void test_calls_are_complete(void **state)
{
    (void)state;
    static char text[256 << 10];
    FILE *file = fopen(header_path, "r");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof text - 1, file), declared = 0;
    fclose(file);
    assert_true(size < sizeof text - 1);
    for (const char *at = text; (at = strstr(at, "\nNOKV_API ")) != NULL;) {
        at = strchr(at, '(');
        assert_non_null(at);
        const char *name = at;
        while (name[-1] == '_' || (name[-1] >= 'a' && name[-1] <= 'z'))
            name--;
        if (!is_listed(name, (size_t)(at - name)))
            fail_msg("the stress test does not know %.*s", (int)(at - name), name);
        declared++;
    }
    assert_int_equal(declared, CALLED_COUNT);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest all[] = {cmocka_unit_test(test_everything_at_once)};
    const struct CMUnitTest list[] = {cmocka_unit_test(test_calls_are_complete)};
    if (argc < 3)
        return cmocka_run_group_tests(all, NULL, NULL);
    header_path = argv[2];
    return cmocka_run_group_tests(list, NULL, NULL);
}
