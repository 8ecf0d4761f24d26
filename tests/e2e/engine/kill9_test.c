// SPDX-License-Identifier: Apache-2.0
/*
 * 100 rounds of kill -9: what was acknowledged is there, nothing is half a batch, and per thread the writes that came
 * back are a prefix of those that were issued.
 *
 * A writer process runs two threads, each with keys of its own. Before a write a thread notes in memory that it shares
 * with the parent that it begins it, and after the call returned that it is acknowledged; those stores outlive the
 * process, so they are the log of acknowledgements. The parent kills the writer when it has seen a random number of
 * them, at whatever both threads and the background are doing then; in some rounds already while it recovers. Then
 * another process opens the database - read-only, or for writing, which repairs it - and compares everything. The next
 * writer goes on where this one was stopped, with other options.
 *
 * The i-th write of a thread is a function of seed, thread and i. A thread has one write under way, so what comes back
 * must be the state after all acknowledged writes, or after one more.
 *
 * Values have all homes: inline, moved to the value log by a flush, written to it directly, streamed to it in parts.
 */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/thread.h"
#include "nokv/nokv.h"
#include "test.h"

enum { ROUNDS = 100, ROUNDS_PER_DATABASE = 10, THREADS = 2, KEYS = 400, BATCH_MAX = 9, VALUE_MAX = 150000 };

/* Shared with the children. One cache line per thread would only hide races. */
struct shared {
    _Atomic uint64_t begun[THREADS]; /* writer's threads; release, before the call */
    _Atomic uint64_t acked[THREADS]; /* writer's threads; release, after the call returned */
    _Atomic bool is_open;
    uint64_t applied[THREADS]; /* the checker: how many writes are in the database */
    char message[512];         /* what the child ran into */
};

static struct shared *shared;
static uint64_t seed;

/* ---- the history of a thread: what write i does ----------------------------------------------------------------- */

struct entry {
    uint32_t key;
    uint32_t value_size;
    bool is_delete;
};

struct planned {
    size_t count; /* 1: a single put or delete, unless is_batch */
    bool is_batch;
    bool is_durable;
    bool is_stream; /* a single put that comes in parts */
    struct entry entries[BATCH_MAX];
};

static void write_plan(unsigned thread, uint64_t i, struct planned *w)
{
    uint64_t rng = seed ^ (i * THREADS + thread) * 0x2545f4914f6cdd1dull;
    *w = (struct planned){.is_batch = test_random(&rng) % 4 == 0, .is_durable = test_random(&rng) % 64 == 0};
    w->count = w->is_batch ? 2 + test_random(&rng) % (BATCH_MAX - 1) : 1;
    for (size_t n = 0; n < w->count; n++) {
        uint64_t shape = test_random(&rng) % 1000;
        w->entries[n] = (struct entry){.key = (uint32_t)(test_random(&rng) % KEYS), .is_delete = shape < 150};
        w->entries[n].value_size = (uint32_t)(shape > 997   ? test_random(&rng) % VALUE_MAX
                                              : shape > 930 ? 700 + test_random(&rng) % 20000
                                                            : 16 + test_random(&rng) % 700);
    }
    w->is_stream = !w->is_batch && !w->entries[0].is_delete && test_random(&rng) % 8 == 0;
}

static size_t key_make(unsigned thread, uint32_t key, char out[32])
{
    return (size_t)snprintf(out, 32, "thread%u/%06u", thread, key);
}

/* Says which write it is from, and is different in every byte's neighbourhood. */
static void value_make(unsigned thread, uint64_t i, size_t n, uint8_t *out, size_t size)
{
    uint64_t rng = seed ^ (i * 16 + n) * THREADS ^ thread;
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = test_random(&rng);
        memcpy(out + at, &word, size - at < 8 ? size - at : 8);
    }
}

/* ---- what a database must hold: for each key the write that it is from ------------------------------------------ */

struct expected {
    bool is_there;
    uint64_t write;
    size_t entry;
    size_t value_size;
};

static void expected_apply(struct expected keys[KEYS], unsigned thread, uint64_t i)
{
    struct planned w;
    write_plan(thread, i, &w);
    for (size_t n = 0; n < w.count; n++)
        keys[w.entries[n].key] = (struct expected){
            .is_there = !w.entries[n].is_delete, .write = i, .entry = n, .value_size = w.entries[n].value_size};
}

/* ---- child: failing --------------------------------------------------------------------------------------------- */

static void child_fail(const char *what)
{
    snprintf(shared->message, sizeof shared->message, "%s: %s", what, nokv_error_message());
    _exit(1);
}

/* The options of a process: small enough that everything happens, and different from the one before. */
static void options_draw(nokv_options *o, uint64_t round)
{
    uint64_t rng = seed + round * 77;
    nokv_options_init(o);
    o->memtable_bytes = (64ull << 10) << test_random(&rng) % 5;
    o->wal_buffer_bytes = (64ull << 10) << 2 * (test_random(&rng) % 4);
    o->memtables_max = (uint32_t)(2 + test_random(&rng) % 3);
    o->table_bytes = 64 << 10;
    o->level_base_bytes = 128 << 10;
    o->level_ratio = 3;
    o->l0_compact_files = (uint32_t)(2 + test_random(&rng) % 3);
    o->background_threads = (uint32_t)(1 + test_random(&rng) % 3);
    o->inline_background_work = test_random(&rng) % 5 == 0;
    o->sync = test_random(&rng) % 5 == 0 ? NOKV_SYNC_COMMIT : NOKV_SYNC_NONE;
    o->value_separation_min = 64u << test_random(&rng) % 5;
    o->value_direct_min = 1024u << test_random(&rng) % 5;
    o->vlog_segment_bytes = (64ull << 10) << test_random(&rng) % 6;
    o->vlog_space_amp_max = 1.1;
    o->vlog_write = test_random(&rng) % 3 == 0 ? NOKV_IO_STD : NOKV_IO_DEFAULT;
}

/* ---- child: writing until it is killed -------------------------------------------------------------------------- */

struct writer {
    nokv_db *db;
    unsigned thread;
    uint8_t *value;
    nokv_batch *batch;
};

static nokv_status batch_fill(struct writer *t, uint64_t i, const struct planned *w)
{
    char key[32];
    nokv_batch_clear(t->batch);
    for (size_t n = 0; n < w->count; n++) {
        const struct entry *e = &w->entries[n];
        size_t key_size = key_make(t->thread, e->key, key);
        if (e->is_delete) {
            TRY(nokv_batch_delete(t->batch, key, key_size));
            continue;
        }
        value_make(t->thread, i, n, t->value, e->value_size);
        TRY(nokv_batch_put(t->batch, key, key_size, t->value, e->value_size));
    }
    return NOKV_OK;
}

static nokv_status stream_issue(struct writer *t, const char *key, size_t key_size, size_t size, uint64_t i,
                                const nokv_write_options *options)
{
    nokv_value_writer *w = NULL;
    size_t part = 1 + (size_t)(i % 9000);
    TRY(nokv_value_writer_open(t->db, key, key_size, i % 2 ? size : VALUE_MAX, &w));
    for (size_t at = 0; at < size; at += part) {
        nokv_status status = nokv_value_writer_append(w, t->value + at, part < size - at ? part : size - at);
        if (status != NOKV_OK) {
            nokv_value_writer_abandon(w);
            return status;
        }
    }
    return nokv_value_writer_commit(w, options);
}

static nokv_status write_issue(struct writer *t, uint64_t i)
{
    struct planned w;
    char key[32];
    nokv_write_options durable = {.struct_size = sizeof durable, .sync = NOKV_SYNC_COMMIT};
    write_plan(t->thread, i, &w);
    const nokv_write_options *options = w.is_durable ? &durable : NULL;
    const struct entry *e = &w.entries[0];
    size_t key_size = key_make(t->thread, e->key, key);
    if (w.is_batch)
        TRY(batch_fill(t, i, &w));
    else
        value_make(t->thread, i, 0, t->value, e->value_size);
    atomic_store_explicit(&shared->begun[t->thread], i + 1, memory_order_release);
    if (w.is_batch)
        return nokv_write(t->db, t->batch, options);
    if (e->is_delete)
        return nokv_delete(t->db, key, key_size, options);
    if (w.is_stream)
        return stream_issue(t, key, key_size, e->value_size, i, options);
    return nokv_put(t->db, key, key_size, t->value, e->value_size, options);
}

static void *writer_main(void *arg)
{
    struct writer *t = arg;
    t->value = malloc(VALUE_MAX);
    if (t->value == NULL || nokv_batch_create(&t->batch) != NOKV_OK)
        child_fail("no memory");
    for (uint64_t i = atomic_load(&shared->acked[t->thread]);; i++) {
        if (write_issue(t, i) != NOKV_OK)
            child_fail("a write failed");
        atomic_store_explicit(&shared->acked[t->thread], i + 1, memory_order_release);
    }
    return NULL;
}

static void child_write(const char *dir, uint64_t round)
{
    nokv_options options;
    struct writer writers[THREADS] = {0};
    options_draw(&options, round);
    nokv_db *db = NULL;
    if (nokv_open(dir, &options, &db) != NOKV_OK)
        child_fail("the writer cannot open the database");
    atomic_store(&shared->is_open, true);
    for (unsigned t = 0; t < THREADS; t++) {
        pthread_t thread;
        writers[t] = (struct writer){.db = db, .thread = t};
        if (thread_create(&thread, "writer", writer_main, &writers[t]) != NOKV_OK)
            child_fail("no thread");
    }
    for (;;)
        pause();
}

/* ---- child: checking -------------------------------------------------------------------------------------------- */

static bool key_is_as_expected(nokv_db *db, unsigned thread, uint32_t index, const struct expected *e, uint8_t *scratch)
{
    char key[32];
    nokv_value value = {0};
    nokv_status status = nokv_get(db, key, key_make(thread, index, key), NULL, &value);
    if (status != NOKV_OK && status != NOKV_ERR_NOT_FOUND)
        child_fail("a get failed");
    if (!e->is_there || status != NOKV_OK) {
        nokv_value_release(&value);
        return !e->is_there && status == NOKV_ERR_NOT_FOUND;
    }
    value_make(thread, e->write, e->entry, scratch, e->value_size);
    bool same = value.size == e->value_size && (value.size == 0 || memcmp(value.data, scratch, value.size) == 0);
    nokv_value_release(&value);
    return same;
}

/* The first key that is not as expected; KEYS when all are. */
static uint32_t thread_compare(nokv_db *db, unsigned thread, const struct expected keys[KEYS], uint8_t *scratch)
{
    for (uint32_t k = 0; k < KEYS; k++)
        if (!key_is_as_expected(db, thread, k, &keys[k], scratch))
            return k;
    return KEYS;
}

static void thread_check(nokv_db *db, unsigned thread, uint8_t *scratch)
{
    struct expected keys[KEYS] = {0};
    uint64_t acked = atomic_load(&shared->acked[thread]), begun = atomic_load(&shared->begun[thread]);
    for (uint64_t i = 0; i < acked; i++)
        expected_apply(keys, thread, i);
    shared->applied[thread] = acked;
    uint32_t bad = thread_compare(db, thread, keys, scratch);
    if (bad == KEYS)
        return;
    if (begun > acked) { /* not acknowledged: all of it may be there */
        expected_apply(keys, thread, acked);
        shared->applied[thread] = acked + 1;
        if (thread_compare(db, thread, keys, scratch) == KEYS)
            return;
    }
    snprintf(shared->message, sizeof shared->message,
             "thread %u, %llu writes acknowledged, %llu begun: key %u (last written by write %llu) differs", thread,
             (unsigned long long)acked, (unsigned long long)begun, bad, (unsigned long long)keys[bad].write);
    _exit(1);
}

/* An iterator shows the same number of keys as the gets: nothing else came back. */
static void count_check(nokv_db *db)
{
    uint64_t present = 0, shown = 0;
    char key[32];
    for (unsigned t = 0; t < THREADS; t++)
        for (uint32_t k = 0; k < KEYS; k++) {
            nokv_value value = {0};
            present += nokv_get(db, key, key_make(t, k, key), NULL, &value) == NOKV_OK;
            nokv_value_release(&value);
        }
    nokv_iter *it = NULL;
    if (nokv_iter_create(db, NULL, &it) != NOKV_OK)
        child_fail("no iterator");
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it))
        shown++;
    if (nokv_iter_status(it) != NOKV_OK || shown != present)
        child_fail("an iterator shows other keys than the gets");
    nokv_iter_destroy(it);
}

static void child_check(const char *dir, uint64_t round)
{
    nokv_options options;
    nokv_db *db = NULL;
    nokv_verify_report report;
    options_draw(&options, round + 1000);
    options.read_only = round % 2 == 0;
    nokv_status status = nokv_open(dir, &options, &db);
    /* Killed before the very first open had made a database of the directory. */
    if (status == NOKV_ERR_NOT_FOUND && options.read_only && atomic_load(&shared->begun[0]) == 0)
        test_exit(0);
    uint8_t *scratch = malloc(VALUE_MAX);
    if (status != NOKV_OK || scratch == NULL)
        child_fail("the database does not open after the kill");
    for (unsigned t = 0; t < THREADS; t++)
        thread_check(db, t, scratch);
    count_check(db);
    if (nokv_verify(db, NULL, NULL, &report) != NOKV_OK)
        child_fail("verify");
    free(scratch);
    if (nokv_close(db) != NOKV_OK)
        child_fail("close");
    exit(0);
}

/* ---- parent ----------------------------------------------------------------------------------------------------- */

static pid_t child_start(void (*run)(const char *dir, uint64_t round), const char *dir, uint64_t round)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        run(dir, round);
    return pid;
}

static uint64_t acked_total(void)
{
    uint64_t total = 0;
    for (unsigned t = 0; t < THREADS; t++)
        total += atomic_load_explicit(&shared->acked[t], memory_order_acquire);
    return total;
}

/* Has the child ended by itself? That is always a failure: reported here. */
static void child_must_run(pid_t pid)
{
    int wait_status;
    if (waitpid(pid, &wait_status, WNOHANG) != 0)
        fail_msg("the writer ended by itself (status 0x%x): %s", (unsigned)wait_status, shared->message);
}

/* Wait until the writer has so many acknowledgements (0: until it begins to open), and a few instructions more. */
static void kill_after(pid_t pid, uint64_t acks, uint64_t *rng)
{
    uint64_t target = acked_total() + acks;
    while (acked_total() < target) {
        child_must_run(pid);
        sched_yield();
    }
    for (uint64_t n = test_random(rng) % 200000; n > 0; n--)
        atomic_signal_fence(memory_order_seq_cst);
    assert_int_equal(kill(pid, SIGKILL), 0);
    int wait_status = 0;
    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    if (!WIFSIGNALED(wait_status) || WTERMSIG(wait_status) != SIGKILL)
        fail_msg("the writer ended before it was killed (status 0x%x): %s", (unsigned)wait_status, shared->message);
}

static void check_after_kill(const char *dir, uint64_t round)
{
    int wait_status = 0;
    pid_t pid = child_start(child_check, dir, round);
    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    if (wait_status != 0)
        fail_msg("round %llu: %s (status 0x%x); seed %llu", (unsigned long long)round, shared->message,
                 (unsigned)wait_status, (unsigned long long)seed);
    for (unsigned t = 0; t < THREADS; t++) {
        atomic_store(&shared->acked[t], shared->applied[t]);
        atomic_store(&shared->begun[t], shared->applied[t]);
    }
}

/* 100 times: kill -9 at a random moment loses no acknowledged write, keeps order, and halves no batch. */
static void test_kill_9_loses_nothing_acknowledged(void **state)
{
    (void)state;
    char parent[256], dir[300];
    uint64_t rounds = test_scale(ROUNDS), writes = 0, in_recovery = 0, unacknowledged = 0;
    uint64_t rng = seed = test_seed(20261122);
    test_dir_create(parent);
    for (uint64_t round = 0; round < rounds; round++) {
        snprintf(dir, sizeof dir, "%s/db%llu", parent, (unsigned long long)(round / ROUNDS_PER_DATABASE));
        if (round % ROUNDS_PER_DATABASE == 0)
            *shared = (struct shared){0};
        uint64_t acks = test_random(&rng) % 6 == 0 ? 0 : 1 + test_random(&rng) % (test_random(&rng) % 2 ? 200 : 5000);
        atomic_store(&shared->is_open, false);
        pid_t pid = child_start(child_write, dir, round);
        kill_after(pid, acks, &rng);
        in_recovery += !atomic_load(&shared->is_open);
        uint64_t acked = acked_total();
        check_after_kill(dir, round);
        unacknowledged += acked_total() - acked;
        if (round % ROUNDS_PER_DATABASE == ROUNDS_PER_DATABASE - 1 || round + 1 == rounds)
            writes += acked_total();
    }
    printf("%llu rounds, %llu writes; killed during recovery %llu times; %llu writes were there unacknowledged\n",
           (unsigned long long)rounds, (unsigned long long)writes, (unsigned long long)in_recovery,
           (unsigned long long)unacknowledged);
    assert_true(writes > 0);
    test_dir_remove(parent);
}

int main(void)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill_9_loses_nothing_acknowledged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
