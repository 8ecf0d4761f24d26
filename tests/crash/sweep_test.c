// SPDX-License-Identifier: Apache-2.0
/*
 * Sweeps: of each scenario every single allocation fails once, and from then on; every single call of the I/O interface
 * fails, with each error that it can have, once, and from then on. The scenarios go on with all of their calls after a
 * failure. Each call then succeeds or says NO_MEMORY, NO_SPACE, IO or POISONED, with a message; afterwards nothing is
 * left allocated, the database opens and passes db_check, and has everything that was acknowledged (of what a failed
 * sync was to make durable: everything that was durable before). Nor is a descriptor left open.
 *
 * Arguments: none (a part of the k, chosen by NOKV_TEST_SEED), `all`, or `one SCENARIO TARGET K ERROR STICKY` to repeat
 * one. NOKV_SWEEP_SITES=FILE: write down which call sites were made to fail (./dev sweep).
 */
#include <dirent.h>
#include <errno.h>

#include "base/alloc.h"
#include "io/sim.h"
#include "lsm/names.h"
#include "sweep_steps.h"

enum { SLICE_RUNS = 80 };

struct base {
    struct sim *sim;
    struct model model;
};

static struct base closed, killed, large, wrapped, new_log, later_log, footed, left_over, half_made, damaged_log,
    damaged_table, damaged_value;

/* ---- scenarios ------------------------------------------------------------------------------------------------------
 */

static void options_make(nokv_options *o)
{
    nokv_options_init(o);
    o->inline_background_work = true;
    o->memtable_bytes = 64 << 10;
    o->wal_buffer_bytes = 64 << 10;
    o->table_bytes = 64 << 10;
    o->level_base_bytes = 64 << 10;
    o->level_ratio = 2;
    o->l0_compact_files = 2;
    o->l0_busy_files = 3;
    o->value_separation_min = 200;
    o->value_direct_min = 2000;
    o->vlog_segment_bytes = 64 << 10;
    o->vlog_space_amp_max = 1.1;
    o->block_cache_bytes = 64 << 10;
}

/* A database from its first file on. */
static void steps_new(struct run *r)
{
    if (!run_open(r))
        return;
    writes(r, 45);
    batch(r, 3, 5, 90);
    batch(r, 20, 4, 36000); /* a segment of its own */
    stream(r, 40, 3000, 3000);
    stream(r, 41, 30000, 0);
    if (went_well(r, nokv_sync_wal(r->db), "sync_wal"))
        all_synced(r);
    maintenance(r);
    gets(r);
    inspection(r);
    run_close(r);
}

static void steps_read(struct run *r)
{
    if (!run_open(r))
        return;
    reads(r);
    inspection(r);
    run_close(r);
}

static void steps_read_only(struct run *r)
{
    r->options.read_only = true;
    steps_read(r);
    r->options.read_only = false;
}

/* What comes back is written on, flushed and merged with what was there. */
static void steps_go_on(struct run *r)
{
    if (!run_open(r))
        return;
    writes(r, 25);
    maintenance(r);
    run_close(r);
    if (run_open(r))
        multi_get(r);
    run_close(r);
}

/* Shared buffers and segments of other sizes than the last process had. */
static void steps_resized(struct run *r)
{
    r->options.wal_buffer_bytes = 128 << 10;
    r->options.vlog_segment_bytes = 4 << 20;
    steps_go_on(r);
}

/* Blocks, log records and memtables beyond the usual sizes, and several tables on a level, of so many blocks that a
 * scan reads ahead. */
static void steps_large_inline(struct run *r)
{
    r->options.block_cache_bytes = 512 << 10;
    r->options.table_bytes = r->options.level_base_bytes = 512 << 10;
    r->options.memtable_bytes = 4 << 20;
    r->options.value_separation_min = r->options.value_direct_min = UINT32_MAX;
    if (!run_open(r))
        return;
    writes(r, 60);
    for (uint8_t i = 0; i < 6; i++)
        put(r, i % 3, 300 << 10, NOKV_SYNC_NONE);
    put(r, 3, 2200 << 10, NOKV_SYNC_NONE);
    flush(r);
    writes(r, 10);
    if (went_well(r, nokv_compact_range(r->db, NULL, 0, NULL, 0), "compact_range"))
        all_synced(r);
    reads(r);
    inspection(r);
    run_close(r);
}

/* Values of many chunks, and a long key, in the value log: written, read in parts, moved. */
static void steps_large_values(struct run *r)
{
    r->options.vlog_segment_bytes = 8 << 20;
    if (!run_open(r))
        return;
    put(r, 3, 4200 << 10, NOKV_SYNC_NONE);
    put(r, 4, 300 << 10, NOKV_SYNC_NONE);
    put(r, 8, 300 << 10, NOKV_SYNC_NONE);
    put(r, SWEEP_KEYS - 1, 300 << 10, NOKV_SYNC_NONE);
    put(r, SWEEP_KEYS - 3, 700 << 10, NOKV_SYNC_NONE); /* longer than what is read at once to be moved */
    put(r, SWEEP_KEYS - 2, 1500, NOKV_SYNC_NONE);
    stream(r, 5, 300 << 10, 300 << 10);
    flush(r);
    put(r, 3, 100, NOKV_SYNC_NONE);
    put(r, 4, 200 << 10, NOKV_SYNC_COMMIT);
    if (went_well(r, nokv_compact_range(r->db, NULL, 0, NULL, 0), "compact_range"))
        all_synced(r);
    gets(r);
    inspection(r);
    run_close(r); /* seals what was active, so that it is collected */
    if (run_open(r))
        (void)went_well(r, nokv_vlog_collect(r->db, 1.0), "vlog_collect");
    run_close(r);
}

/* As if every level had turned out not to be in memory. */
static void steps_cold(struct run *r)
{
    if (!run_open(r))
        return;
    for (size_t l = 0; l < LEVELS_MAX; l++) {
        struct coldness *c = &r->db->env.cold[l];
        atomic_store_explicit(&c->score, COLDNESS_MAX, memory_order_relaxed);
        atomic_store_explicit(&c->is_cold, true, memory_order_relaxed);
    }
    atomic_store_explicit(&r->db->env.is_any_cold, true, memory_order_relaxed);
    reads(r);
    run_close(r);
}

/* The tables are small enough to be in the cache as a whole, and the values are too many for the memory. */
static void steps_cold_cache(struct run *r)
{
    sim_set_memory(r->sim,
                   &(struct io_memory){.total_bytes = 256 << 10, .limit_bytes = 256 << 10, .source = "machine"});
    r->options.block_cache_bytes = 8 << 20;
    steps_cold(r);
}

/* The machine has so little memory that a scan soon counts as long. */
static void steps_long_scan(struct run *r)
{
    sim_set_memory(r->sim,
                   &(struct io_memory){.total_bytes = 256 << 10, .limit_bytes = 256 << 10, .source = "machine"});
    steps_read(r);
}

static void steps_absent(struct run *r)
{
    r->options.create_if_missing = false;
    (void)run_open(r);
}

static void steps_real(struct run *r)
{
    steps_new(r);
    steps_read(r);
    outside(r);
}

static void *thread_main(void *arg)
{
    steps_real(arg);
    return NULL;
}

/* In a thread that has never done I/O, and so has no ring. */
static void steps_real_thread(struct run *r)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, thread_main, r), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void steps_destroy(struct run *r)
{
    if (run_open(r)) {
        writes(r, 20);
        flush(r);
    }
    run_close(r);
    (void)went_well(r, nokv_destroy(r->dir), "destroy");
}

static void steps_destroy_absent(struct run *r)
{
    assert_false(went_well(r, nokv_destroy(r->dir), "destroy"));
}

struct scenario {
    const char *name;
    const struct base *base; /* NULL: an empty disk */
    void (*steps)(struct run *r);
    nokv_io_model model; /* of tables, logs, background and value log; DEFAULT: the defaults */
    nokv_vlog_read vlog_read;
    bool is_real, may_be_corrupt, may_be_absent;
};

/* clang-format off */
static const struct scenario scenarios[] = {
    {"new", NULL, steps_new, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"new-uring", NULL, steps_new, NOKV_IO_URING, NOKV_VLOG_READ_URING, false, false, false},
    {"large-inline", NULL, steps_large_inline, NOKV_IO_STD, NOKV_VLOG_READ_AUTO, false, false, false},
    {"large-values", NULL, steps_large_values, NOKV_IO_STD, NOKV_VLOG_READ_PREAD, false, false, false},
    {"empty", NULL, steps_read, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"absent", NULL, steps_absent, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, true},
    {"read-default", &closed, steps_read, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"read-mmap", &closed, steps_read, NOKV_IO_MMAP, NOKV_VLOG_READ_MMAP, false, false, false},
    {"read-std", &closed, steps_read, NOKV_IO_STD, NOKV_VLOG_READ_PREAD, false, false, false},
    {"read-direct", &closed, steps_read, NOKV_IO_DIRECT, NOKV_VLOG_READ_DIRECT, false, false, false},
    {"read-uring", &closed, steps_read, NOKV_IO_URING, NOKV_VLOG_READ_URING, false, false, false},
    {"cold", &closed, steps_cold, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"cold-cache", &closed, steps_cold_cache, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"long-scan", &closed, steps_long_scan, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"killed", &killed, steps_read, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"killed-read-only", &killed, steps_read_only, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"killed-go-on", &killed, steps_go_on, NOKV_IO_STD, NOKV_VLOG_READ_PREAD, false, false, false},
    {"killed-resized", &killed, steps_resized, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"killed-large", &large, steps_read, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"killed-wrapped", &wrapped, steps_read, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"killed-new-log", &new_log, steps_go_on, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"killed-later-log", &later_log, steps_go_on, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"killed-footed", &footed, steps_go_on, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"left-over", &left_over, steps_read, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"half-made", &half_made, steps_go_on, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false, false},
    {"damaged-log", &damaged_log, steps_read, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, true, false},
    {"damaged-table", &damaged_table, steps_read, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, true, false},
    {"damaged-value", &damaged_value, steps_go_on, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, true, false},
    {"real-default", NULL, steps_real, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, true, false, false},
    {"real-direct", NULL, steps_real, NOKV_IO_DIRECT, NOKV_VLOG_READ_DIRECT, true, false, false},
    {"real-uring", NULL, steps_real_thread, NOKV_IO_URING, NOKV_VLOG_READ_URING, true, false, false},
    {"real-large", NULL, steps_large_values, NOKV_IO_DIRECT, NOKV_VLOG_READ_DIRECT, true, false, false},
    {"real-destroy", NULL, steps_destroy, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, true, false, true},
    {"real-absent", NULL, steps_destroy_absent, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, true, false, true},
};
/* clang-format on */

static void run_begin(struct run *r, const struct scenario *s)
{
    memset(r, 0, sizeof *r);
    options_make(&r->options);
    r->options.vlog_read = s->vlog_read;
    r->options.sst_read = s->model;
    if (s->model != NOKV_IO_DEFAULT && s->model != NOKV_IO_MMAP)
        r->options.wal_write = r->options.background_io = r->options.vlog_write = s->model;
    r->may_be_corrupt = s->may_be_corrupt;
    r->may_be_absent = s->may_be_absent;
    if (s->is_real) {
        test_dir_create(r->dir);
        return;
    }
    if (s->base) {
        OK(sim_clone(s->base->sim, &r->sim));
        r->model = s->base->model;
    } else {
        OK(sim_create(&(struct sim_options){.seed = 3}, &r->sim));
    }
    OK(sim_io_create(r->sim, &r->io));
}

static void run_end(struct run *r)
{
    io_destroy(r->io);
    sim_destroy(r->sim);
    if (r->io == NULL)
        test_dir_remove(r->dir);
}

/* Whatever happened: it opens, has what it promised, and goes on. */
static void survivors_check(struct run *r)
{
    snprintf(r->what + strlen(r->what), sizeof r->what - strlen(r->what), ", reopened");
    r->plan = (struct sweep_plan){0};
    if (r->may_be_absent && r->io == NULL) { /* what is left of it can be removed */
        enum nokv_status status = nokv_destroy(r->dir);
        assert_true(status == NOKV_OK || status == NOKV_ERR_NOT_FOUND);
    } else if (!r->may_be_corrupt && !r->may_be_absent) {
        OK(r->io ? db_open(r->io, "db", &r->options, &r->db) : nokv_open(r->dir, &r->options, &r->db));
        gets(r);
        OK(nokv_wait_idle(r->db));
        if (db_check(r->db) != NOKV_OK)
            fail_msg("%s: %s", r->what, status_message());
        OK(nokv_put(r->db, "after", 5, "it", 2, NULL));
        OK(nokv_close(r->db));
    }
    r->db = NULL;
}

static uint64_t counted; /* calls of the last undisturbed run, up to its end */
static bool is_first;    /* run of a scenario: what a thread makes once and keeps, its ring say, is made now */

/* Descriptors of the process that are open. */
static int descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* Returns whether the planned call was reached. */
static bool run_once(const struct scenario *s, const struct sweep_plan *plan)
{
    static struct run r;
    int64_t live = sweep_live();
    int open = descriptors();
    run_begin(&r, s);
    r.plan = *plan;
    r.plan.sim = r.sim;
    snprintf(r.what, sizeof r.what, "sweep_test one %s %d %llu %d %d", s->name, (int)plan->target,
             (unsigned long long)plan->k, (int)plan->err, plan->is_sticky);
    sweep_begin(&r.plan);
    s->steps(&r);
    run_close(&r);
    bool failed = sweep_has_failed();
    if (plan->k == UINT64_MAX)
        counted = sweep_calls();
    sweep_end();
    survivors_check(&r);
    run_end(&r);
    if (sweep_live() != live && !is_first)
        fail_msg("%s: %lld allocations were not given back", r.what, (long long)(sweep_live() - live));
    if (descriptors() != open && !is_first)
        fail_msg("%s: %d descriptors were not closed", r.what, descriptors() - open);
    return failed;
}

/* ---- bases
 * ------------------------------------------------------------------------------------------------------------ */

static void base_begin(struct run *r)
{
    run_begin(r, &scenarios[0]);
    snprintf(r->what, sizeof r->what, "preparing");
}

/* Killed, when it is still open. */
static void base_end(struct run *r, struct base *b)
{
    if (r->db) {
        sim_crash_after(r->sim, 0);
        (void)nokv_close(r->db);
    }
    io_destroy(r->io);
    sim_process_kill(r->sim);
    *b = (struct base){.sim = r->sim, .model = r->model};
}

/* A database with tables on some levels, segments, and a log; then closed, or killed. */
static void base_make(struct base *b, bool is_killed)
{
    static struct run r;
    base_begin(&r);
    assert_true(run_open(&r));
    writes(&r, 40);
    maintenance(&r);
    writes(&r, 24);
    if (is_killed) {
        OK(nokv_sync_wal(r.db));
        all_synced(&r);
        writes(&r, 20);
        stream(&r, 40, 3000, 3000);
    } else {
        run_close(&r);
    }
    base_end(&r, b);
}

/* A segment with much reserved space, of which little was written. */
static void base_make_large(struct base *b)
{
    static struct run r;
    base_begin(&r);
    r.options.vlog_segment_bytes = 4 << 20;
    assert_true(run_open(&r));
    put(&r, 1, 5000, NOKV_SYNC_NONE);
    put(&r, 2, 100 << 10, NOKV_SYNC_COMMIT);
    put(&r, 3, 6000, NOKV_SYNC_NONE);
    base_end(&r, b);
}

/* What only the ring has goes around its end, and so does one of its records. */
static void base_make_wrapped(struct base *b)
{
    static struct run r;
    base_begin(&r);
    r.options.memtable_bytes = 1 << 20;
    assert_true(run_open(&r));
    while (rlog_end(r.db->wal) <= r.options.wal_buffer_bytes)
        put(&r, (uint8_t)(r.model.count % SWEEP_KEYS), 150, NOKV_SYNC_NONE);
    base_end(&r, b);
}

struct pick {
    const char *suffix;
    char path[256];
};

static bool pick_last(void *arg, const char *path, uint64_t size)
{
    struct pick *p = arg;
    if (size > 0 && strstr(path, p->suffix))
        snprintf(p->path, sizeof p->path, "%s", path);
    return true;
}

/* The last file of a kind has a flipped bit. */
static void base_damage(struct base *b, const struct base *from, const char *suffix, uint64_t off)
{
    struct pick p = {.suffix = suffix};
    OK(sim_clone(from->sim, &b->sim));
    b->model = from->model;
    sim_each_file(b->sim, pick_last, &p);
    OK(sim_flip_bit(b->sim, p.path, off, 3));
}

/* A log whose creation was cut short. */
static void base_make_new_log(struct base *b)
{
    static struct run r;
    struct pick p = {.suffix = ".wal"};
    struct io_file *file = NULL;
    base_begin(&r);
    assert_true(run_open(&r));
    sim_each_file(r.sim, pick_last, &p);
    base_end(&r, b);
    OK(sim_io_create(b->sim, &r.io));
    OK(io_open(r.io, p.path, IO_OTHER, IO_STD, IO_READ | IO_WRITE, &file));
    OK(io_truncate(file, 10));
    OK(io_close(file));
    io_destroy(r.io);
}

/* A segment of the value log has its end, and the MANIFEST does not know it. */
static void base_make_footed(struct base *b)
{
    static struct run r;
    char key[SWEEP_KEY_BYTES];
    static const uint8_t value[5000];
    base_begin(&r);
    assert_true(run_open(&r));
    while (r.model.count < 8)
        put(&r, (uint8_t)r.model.count, 5000, NOKV_SYNC_COMMIT);
    sim_fail(r.sim, IO_OP_WRITE, IO_MANIFEST, 1, EIO, true);
    size_t size = (size_t)snprintf(key, sizeof key, "another");
    while (nokv_put(r.db, key, size, value, sizeof value, NULL) == NOKV_OK)
        ;
    sim_fail_clear(r.sim);
    base_end(&r, b);
}

/* A file that somebody did not come to remove, or to finish. */
static void file_leave(struct io *io, const char *path)
{
    struct io_file *file = NULL;
    OK(io_open(io, path, IO_OTHER, IO_STD, IO_WRITE | IO_CREATE, &file));
    OK(io_pwrite(file, "half", 4, 0));
    OK(io_close(file));
}

/* A log that was made ahead of time behind the one that was in use, and not to its end. */
static void base_make_later_log(struct base *b, const struct base *from)
{
    struct io *io = NULL;
    struct pick p = {.suffix = ".wal"};
    char path[PATH_SIZE_MAX];
    uint64_t number = 0;
    OK(sim_clone(from->sim, &b->sim));
    b->model = from->model;
    sim_each_file(b->sim, pick_last, &p);
    assert_int_equal(file_type_of(strrchr(p.path, '/') + 1, &number), FILE_WAL);
    OK(sim_io_create(b->sim, &io));
    OK(path_wal(path, "db", number + 1));
    file_leave(io, path);
    io_destroy(io);
}

static void base_make_left_over(struct base *b, const struct base *from)
{
    struct io *io = NULL;
    char path[PATH_SIZE_MAX];
    OK(sim_clone(from->sim, &b->sim));
    b->model = from->model;
    OK(sim_io_create(b->sim, &io));
    OK(path_vlog(path, "db", 77));
    file_leave(io, path);
    OK(path_sst(path, "db", 78));
    file_leave(io, path);
    io_destroy(io);
}

/* A creation ended before there was a CURRENT. */
static void base_make_half(struct base *b)
{
    struct io *io = NULL;
    OK(sim_create(&(struct sim_options){.seed = 3}, &b->sim));
    OK(sim_io_create(b->sim, &io));
    OK(io_mkdir(io, "db"));
    file_leave(io, "db/CURRENT.tmp");
    io_destroy(io);
}

static int bases_make(void **state)
{
    (void)state;
    OK(epoch_register()); /* what a thread keeps for good */
    base_make(&closed, false);
    base_make(&killed, true);
    base_make_large(&large);
    base_make_wrapped(&wrapped);
    base_make_new_log(&new_log);
    base_make_later_log(&later_log, &killed);
    base_make_footed(&footed);
    base_make_left_over(&left_over, &closed);
    base_make_half(&half_made);
    base_damage(&damaged_value, &closed, ".vlog", 4096 + 40);
    base_damage(&damaged_log, &closed, ".wal", 80);
    base_damage(&damaged_table, &closed, ".sst", 4096 + 30);
    return 0;
}

static int bases_free(void **state)
{
    (void)state;
    struct base *const bases[] = {&closed, &killed,    &large,     &wrapped,     &new_log,       &later_log,
                                  &footed, &left_over, &half_made, &damaged_log, &damaged_table, &damaged_value};
    for (size_t i = 0; i < ARRAY_COUNT(bases); i++)
        sim_destroy(bases[i]->sim);
    return 0;
}

/* ---- the sweeps
 * -------------------------------------------------------------------------------------------------------- */

static bool is_all;
static uint64_t seed;

/* Every k, or some of them, from the seed; besides, in any case, those that are the first of their call site. */
static uint64_t stride_of(uint64_t count, uint64_t runs)
{
    return is_all || count < runs ? 1 : count / runs + 1;
}

static void calls_count(const struct scenario *s, enum sweep_target target)
{
    struct sweep_plan plan = {.target = target, .k = UINT64_MAX};
    is_first = true;
    (void)run_once(s, &plan);
    is_first = false;
    (void)run_once(s, &plan);
    assert_true(counted > 0);
}

static void allocations_sweep(const struct scenario *s, enum sweep_target target, bool is_sticky, uint64_t runs)
{
    struct sweep_plan plan = {.target = target, .err = SWEEP_EIO, .is_sticky = is_sticky};
    uint64_t stride = stride_of(counted, runs), done = 0;
    for (plan.k = 1; plan.k <= counted + 1; plan.k++) {
        if (plan.k % stride != seed % stride && !sweep_is_new(plan.k))
            continue;
        if (!run_once(s, &plan))
            break;
        done++;
    }
    printf("%-18s %5llu runs with %s\n", s->name, (unsigned long long)done,
           target == SWEEP_BOTH ? "one failed allocation, and the disk fails from then on"
           : is_sticky          ? "no memory from one allocation on"
                                : "one failed allocation");
    assert_true(done > 0);
}

static void io_sweep(const struct scenario *s, bool is_sticky, uint64_t runs)
{
    static const enum sweep_errno errors[] = {SWEEP_EIO, SWEEP_ENOSPC, SWEEP_EMFILE, SWEEP_ENOMEM, SWEEP_EINTR};
    uint64_t stride = stride_of(counted, runs), done = 0;
    for (uint64_t k = 1; k <= counted; k++)
        for (size_t e = 0; e < ARRAY_COUNT(errors); e++) {
            struct sweep_plan plan = {.target = SWEEP_IO, .k = k, .err = errors[e], .is_sticky = is_sticky};
            bool is_tried_again = errors[e] == SWEEP_EINTR; /* below the interface, when it comes once */
            bool is_picked = k % stride == seed % stride || sweep_is_new(k);
            if (!is_picked || (sweep_errors_of(k) & errors[e]) == 0 || (is_tried_again && (is_sticky || s->is_real)))
                continue;
            (void)run_once(s, &plan);
            done++;
        }
    printf("%-18s %5llu runs with %s\n", s->name, (unsigned long long)done,
           is_sticky ? "a disk that fails from one call on" : "one failed call");
    assert_true(done > 0);
}

static void sweep(enum sweep_target target, bool is_sticky)
{
    for (size_t i = 0; i < ARRAY_COUNT(scenarios); i++) {
        uint64_t runs = scenarios[i].is_real ? SLICE_RUNS / 4 : SLICE_RUNS / 2;
        calls_count(&scenarios[i], target);
        if (target == SWEEP_IO)
            io_sweep(&scenarios[i], is_sticky, runs / 2);
        else
            allocations_sweep(&scenarios[i], target, is_sticky, runs);
    }
}

/* Whatever single allocation fails, the call says so, nothing leaks, and nothing acknowledged is lost. */
static void test_one_allocation_fails(void **state)
{
    (void)state;
    sweep(SWEEP_ALLOCATIONS, false);
}

/* The same when there is no memory any more from some allocation on. */
static void test_memory_runs_out(void **state)
{
    (void)state;
    sweep(SWEEP_ALLOCATIONS, true);
}

/* Whatever single call of the I/O interface fails, with whatever error it can. */
static void test_one_io_call_fails(void **state)
{
    (void)state;
    sweep(SWEEP_IO, false);
}

/* The same when all of them fail from some call on. */
static void test_disk_dies(void **state)
{
    (void)state;
    sweep(SWEEP_IO, true);
}

/* What is given up for want of memory cannot be tidied up either. */
static void test_memory_then_disk(void **state)
{
    (void)state;
    sweep(SWEEP_BOTH, false);
}

/* ---- one run again
 * ------------------------------------------------------------------------------------------------------ */

static char **one;

/* The run that the arguments name. */
static void test_one_run(void **state)
{
    (void)state;
    size_t i = 0;
    while (i < ARRAY_COUNT(scenarios) && strcmp(scenarios[i].name, one[0]) != 0)
        i++;
    assert_true(i < ARRAY_COUNT(scenarios));
    struct sweep_plan plan = {.target = (enum sweep_target)atoi(one[1]),
                              .k = strtoull(one[2], NULL, 0),
                              .err = (enum sweep_errno)atoi(one[3]),
                              .is_sticky = atoi(one[4]) != 0};
    calls_count(&scenarios[i], plan.target);
    assert_true(run_once(&scenarios[i], &plan));
}

int main(int argc, char **argv)
{
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    is_all = argc > 1 && strcmp(argv[1], "all") == 0;
    seed = test_seed(5);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_allocation_fails), cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_one_io_call_fails),    cmocka_unit_test(test_disk_dies),
        cmocka_unit_test(test_memory_then_disk),
    };
    const struct CMUnitTest single[] = {cmocka_unit_test(test_one_run)};
    if (argc == 7 && strcmp(argv[1], "one") == 0) {
        one = argv + 2;
        return cmocka_run_group_tests(single, bases_make, bases_free);
    }
    int failed = cmocka_run_group_tests(tests, bases_make, bases_free);
    if (getenv("NOKV_SWEEP_SITES"))
        sweep_sites_write(getenv("NOKV_SWEEP_SITES"));
    return failed;
}
