// SPDX-License-Identifier: Apache-2.0
/*
 * Sweeps: of each scenario every single allocation fails once, and from then on; every single call of the I/O interface
 * fails, with each error that it can have, once, and from then on. The scenarios go on with all of their calls after a
 * failure. Each call then succeeds or says NO_MEMORY, NO_SPACE, IO or POISONED, with a message; afterwards nothing is
 * left allocated, the database opens and passes db_check, and has everything that was acknowledged (of what a failed
 * sync was to make durable: everything that was durable before).
 *
 * Arguments: none (a part of the k, chosen by NOKV_TEST_SEED), `all`, or `one SCENARIO TARGET K ERROR STICKY` to repeat
 * one. NOKV_SWEEP_SITES=FILE: write down which call sites were made to fail (./dev sweep).
 */
#include <sys/stat.h>

#include "base/alloc.h"
#include "db/db.h"
#include "lsm/names.h"
#include "sweep_hooks.h"
#include "test.h"

enum { KEYS = 48, WRITES_MAX = 400, VALUE_MAX = 40000, SLICE_RUNS = 220 };

/* ---- what was written ------------------------------------------------------------------------------------------- */

struct write {
    uint8_t key;
    bool is_delete, is_acknowledged, is_synced;
    uint32_t size;
};

struct model {
    struct write writes[WRITES_MAX];
    size_t count;
};

struct run {
    struct sim *sim;
    struct io *io;
    nokv_db *db;
    nokv_options options;
    struct model model;
    struct sweep_plan plan;
    bool may_be_corrupt; /* the database was damaged beforehand */
    char what[128];
    char dir[256]; /* of one on the real disk */
};

struct base {
    struct sim *sim;
    struct model model;
};

static struct base closed, killed, damaged_log, damaged_table;

static size_t key_make(uint8_t key, char out[32])
{
    return (size_t)snprintf(out, 32, "key%03u%s", key, key % 4 == 0 ? "/of-a-longer-name" : "");
}

static void value_make(size_t write, uint8_t *out, size_t size)
{
    uint64_t state = write + 1;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t r = test_random(&state);
        memcpy(out + i, &r, size - i < 8 ? size - i : 8);
    }
}

/* Inline, in the value log at flush, directly. */
static uint32_t size_of(size_t write)
{
    static const uint32_t sizes[] = {60, 700, 2600, 0, 150, 1300, 5000};
    return sizes[write % ARRAY_COUNT(sizes)];
}

static size_t write_note(struct run *r, uint8_t key, uint32_t size, bool is_delete)
{
    assert_true(r->model.count < WRITES_MAX);
    r->model.writes[r->model.count] = (struct write){.key = key, .size = size, .is_delete = is_delete};
    return r->model.count++;
}

static void all_synced(struct run *r)
{
    for (size_t i = 0; i < r->model.count; i++)
        r->model.writes[i].is_synced |= r->model.writes[i].is_acknowledged;
}

/* ---- what a call may say ---------------------------------------------------------------------------------------- */

static unsigned bit_of(enum nokv_status status)
{
    return 1u << (unsigned)status;
}

static unsigned allowed(const struct run *r)
{
    unsigned set = r->may_be_corrupt ? bit_of(NOKV_ERR_CORRUPT) | bit_of(NOKV_ERR_POISONED) : 0;
    if (!sweep_has_failed() || r->plan.err == SWEEP_EINTR)
        return set;
    set |= bit_of(NOKV_ERR_POISONED);
    if (r->plan.target == SWEEP_ALLOCATIONS)
        return set | bit_of(NOKV_ERR_NO_MEMORY);
    set |= bit_of(NOKV_ERR_IO);
    return set | (r->plan.err == SWEEP_ENOSPC ? bit_of(NOKV_ERR_NO_SPACE) : 0) |
           (r->plan.err == SWEEP_ENOMEM ? bit_of(NOKV_ERR_NO_MEMORY) : 0);
}

/* True: it succeeded. */
static bool went_well(const struct run *r, enum nokv_status status, const char *call)
{
    if (status == NOKV_OK)
        return true;
    if ((allowed(r) & bit_of(status)) == 0 || status_message()[0] == 0)
        fail_msg("%s: %s: %s %s", r->what, call, status_name(status), status_message());
    return false;
}

/* ---- steps --------------------------------------------------------------------------------------------------------
 */

static void put(struct run *r, uint8_t key, uint32_t size, nokv_sync sync)
{
    static uint8_t value[VALUE_MAX];
    char name[32];
    nokv_write_options wo = {.struct_size = sizeof wo, .sync = sync};
    size_t i = write_note(r, key, size, false);
    value_make(i, value, size);
    if (went_well(r, nokv_put(r->db, name, key_make(key, name), value, size, &wo), "put")) {
        r->model.writes[i].is_acknowledged = true;
        if (sync == NOKV_SYNC_COMMIT)
            all_synced(r);
    }
}

static void del(struct run *r, uint8_t key)
{
    char name[32];
    size_t i = write_note(r, key, 0, true);
    r->model.writes[i].is_acknowledged = went_well(r, nokv_delete(r->db, name, key_make(key, name), NULL), "delete");
}

static bool batch_fill(struct run *r, nokv_batch *b, uint8_t first, uint32_t count, uint32_t size)
{
    static uint8_t value[VALUE_MAX];
    for (uint32_t i = 0; i < count; i++) {
        char name[32];
        bool is_delete = i == 1;
        size_t n = write_note(r, (uint8_t)(first + i), is_delete ? 0 : size, is_delete);
        size_t key_size = key_make((uint8_t)(first + i), name);
        value_make(n, value, size);
        if (!went_well(
                r, is_delete ? nokv_batch_delete(b, name, key_size) : nokv_batch_put(b, name, key_size, value, size),
                "batch"))
            return false;
    }
    return true;
}

static void batch(struct run *r, uint8_t first, uint32_t count, uint32_t size)
{
    nokv_batch *b = NULL;
    size_t begin = r->model.count;
    if (!went_well(r, nokv_batch_create(&b), "batch_create"))
        return;
    if (batch_fill(r, b, first, count, size) && went_well(r, nokv_write(r->db, b, NULL), "write"))
        for (size_t i = begin; i < r->model.count; i++)
            r->model.writes[i].is_acknowledged = true;
    nokv_batch_destroy(b);
}

static void stream(struct run *r, uint8_t key, uint32_t size, uint64_t size_max)
{
    static uint8_t value[VALUE_MAX];
    char name[32];
    nokv_value_writer *w = NULL;
    size_t i = write_note(r, key, size, false);
    value_make(i, value, size);
    if (!went_well(r, nokv_value_writer_open(r->db, name, key_make(key, name), size_max, &w), "value_writer_open"))
        return;
    if (!went_well(r, nokv_value_writer_append(w, value, size / 2), "value_writer_append") ||
        !went_well(r, nokv_value_writer_append(w, value + size / 2, size - size / 2), "value_writer_append"))
        nokv_value_writer_abandon(w);
    else
        r->model.writes[i].is_acknowledged = went_well(r, nokv_value_writer_commit(w, NULL), "value_writer_commit");
}

static void writes(struct run *r, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint8_t key = (uint8_t)(r->model.count * 7 % KEYS);
        if (i % 11 == 10)
            del(r, key);
        else
            put(r, key, size_of(r->model.count), i % 9 == 8 ? NOKV_SYNC_COMMIT : NOKV_SYNC_NONE);
    }
}

/* Is it one of the states that the key may be in? `synced_only`: what was not durable may be lost. */
static bool is_possible(const struct model *m, uint8_t key, const nokv_value *value, bool synced_only)
{
    static uint8_t wanted[VALUE_MAX];
    for (size_t i = m->count; i > 0; i--) {
        const struct write *w = &m->writes[i - 1];
        if (w->key != key)
            continue;
        if (value == NULL && w->is_delete)
            return true;
        value_make(i - 1, wanted, w->size);
        if (value && !w->is_delete && value->size == w->size && memcmp(value->data, wanted, w->size) == 0)
            return true;
        if (synced_only ? w->is_synced : w->is_acknowledged)
            return false;
    }
    return value == NULL;
}

static void got_check(struct run *r, uint8_t key, enum nokv_status status, nokv_value *value, const char *call)
{
    bool synced_only = r->may_be_corrupt || sweep_sync_failed();
    if (status == NOKV_ERR_NOT_FOUND ? !is_possible(&r->model, key, NULL, synced_only)
                                     : went_well(r, status, call) && !is_possible(&r->model, key, value, synced_only))
        fail_msg("%s: %s: key %u is in a state that it cannot be in: %s, %zu bytes", r->what, call, key,
                 status_name(status), value->size);
    nokv_value_release(value);
}

static void gets(struct run *r)
{
    static uint8_t buffer[VALUE_MAX];
    for (uint8_t k = 0; k < KEYS; k++) {
        char name[32];
        nokv_value value = {0};
        size_t size = 0, key_size = key_make(k, name);
        got_check(r, k, nokv_get(r->db, name, key_size, NULL, &value), &value, "get");
        if (k % 8 != 0)
            continue;
        enum nokv_status status = nokv_get_copy(r->db, name, key_size, NULL, buffer, sizeof buffer, &size);
        got_check(r, k, status, &(nokv_value){.data = buffer, .size = size}, "get_copy");
        status = nokv_get_range(r->db, name, key_size, NULL, 0, buffer, sizeof buffer, &size, NULL);
        got_check(r, k, status, &(nokv_value){.data = buffer, .size = size}, "get_range");
    }
}

static void multi_get(struct run *r)
{
    static char names[KEYS][32];
    nokv_slice keys[KEYS];
    nokv_value values[KEYS];
    nokv_status statuses[KEYS];
    for (uint8_t k = 0; k < KEYS; k++)
        keys[k] = (nokv_slice){names[k], key_make(k, names[k])};
    (void)went_well(r, nokv_multi_get(r->db, KEYS, keys, NULL, values, statuses), "multi_get");
    for (uint8_t k = 0; k < KEYS; k++)
        got_check(r, k, statuses[k], &values[k], "multi_get");
}

static void scan(struct run *r, const nokv_iter_options *options, bool backward)
{
    nokv_iter *it = NULL;
    if (!went_well(r, nokv_iter_create(r->db, options, &it), "iter_create"))
        return;
    for (backward ? nokv_iter_last(it) : nokv_iter_first(it); nokv_iter_valid(it);
         backward ? nokv_iter_prev(it) : nokv_iter_next(it)) {
        const char *p = nokv_iter_key(it).data;
        uint8_t key = (uint8_t)((p[3] - '0') * 100 + (p[4] - '0') * 10 + (p[5] - '0'));
        nokv_slice value = nokv_iter_value(it);
        if (!nokv_iter_valid(it)) /* its value could not be read */
            break;
        if (options == NULL)
            got_check(r, key, NOKV_OK, &(nokv_value){.data = value.data, .size = value.size}, "scan");
    }
    (void)went_well(r, nokv_iter_status(it), "scan");
    nokv_iter_seek(it, "key020", 6);
    nokv_iter_seek_for_prev(it, "key030", 6);
    (void)went_well(r, nokv_iter_status(it), "seek");
    nokv_iter_destroy(it);
}

static bool segment_seen(void *arg, const nokv_vlog_segment *segment)
{
    (void)segment;
    ++*(size_t *)arg;
    return true;
}

static void inspection(struct run *r)
{
    nokv_stats stats = {.struct_size = sizeof stats};
    nokv_verify_report report;
    char *text = NULL;
    size_t segments = 0;
    (void)went_well(r, nokv_stats_get(r->db, true, &stats), "stats_get");
    if (went_well(r, nokv_stats_text(r->db, &text), "stats_text"))
        nokv_free(text);
    (void)went_well(r, nokv_vlog_segments(r->db, segment_seen, &segments), "vlog_segments");
    (void)went_well(r, nokv_verify(r->db, NULL, NULL, &report), "verify");
}

static void reads(struct run *r)
{
    const nokv_snapshot *snapshot = NULL;
    gets(r);
    multi_get(r);
    scan(r, NULL, false);
    scan(r, NULL, true);
    if (went_well(r, nokv_snapshot_create(r->db, &snapshot), "snapshot_create")) {
        nokv_iter_options o = {
            .struct_size = sizeof o, .snapshot = snapshot, .lower = {"key005", 6}, .prefix = {"key", 3}};
        scan(r, &o, false);
        nokv_snapshot_release(r->db, snapshot);
    }
}

static void flush(struct run *r)
{
    if (went_well(r, nokv_flush(r->db), "flush"))
        all_synced(r);
}

/* Overwrites make garbage; everything that background work does is asked for. */
static void maintenance(struct run *r)
{
    const nokv_snapshot *snapshot = NULL;
    flush(r);
    (void)went_well(r, nokv_snapshot_create(r->db, &snapshot), "snapshot_create");
    writes(r, 40);
    if (went_well(r, nokv_compact_range(r->db, NULL, 0, NULL, 0), "compact_range"))
        all_synced(r);
    nokv_snapshot_release(r->db, snapshot);
    writes(r, 30);
    flush(r);
    (void)went_well(r, nokv_vlog_collect(r->db, 1.0), "vlog_collect");
    (void)went_well(r, nokv_wait_idle(r->db), "wait_idle");
    if (went_well(r, nokv_compact_range(r->db, "key010", 6, "key030", 6), "compact_range"))
        all_synced(r);
}

static bool run_open(struct run *r)
{
    return r->io ? went_well(r, db_open(r->io, "db", &r->options, &r->db), "open")
                 : went_well(r, nokv_open(r->dir, &r->options, &r->db), "open");
}

static void run_close(struct run *r)
{
    if (r->db && went_well(r, nokv_close(r->db), "close"))
        all_synced(r);
    r->db = NULL;
}

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

static bool line_seen(void *arg, const char *line)
{
    (void)line;
    ++*(size_t *)arg;
    return true;
}

static bool file_seen(void *arg, const nokv_residency_file *file)
{
    (void)file;
    ++*(size_t *)arg;
    return true;
}

static bool record_seen(void *arg, const nokv_salvage_record *record)
{
    (void)record;
    ++*(size_t *)arg;
    return true;
}

/* Files that are looked at from outside of a database. */
static void outside(struct run *r)
{
    char path[PATH_SIZE_MAX];
    size_t seen = 0;
    nokv_salvage_report report;
    (void)went_well(r, nokv_residency(r->dir, 100, file_seen, &seen), "residency");
    for (uint64_t n = 1; n < 40; n++) {
        OK(path_sst(path, r->dir, n));
        if (access(path, F_OK) == 0)
            (void)went_well(r, nokv_dump_file(path, NOKV_FILE_SST, line_seen, &seen), "dump of a table");
        OK(path_wal(path, r->dir, n));
        if (access(path, F_OK) == 0)
            (void)went_well(r, nokv_dump_file(path, NOKV_FILE_WAL, line_seen, &seen), "dump of a log");
        OK(path_manifest(path, r->dir, n));
        if (access(path, F_OK) == 0)
            (void)went_well(r, nokv_dump_file(path, NOKV_FILE_MANIFEST, line_seen, &seen), "dump of a MANIFEST");
        OK(path_vlog(path, r->dir, n));
        if (access(path, F_OK) != 0)
            continue;
        (void)went_well(r, nokv_dump_file(path, NOKV_FILE_VLOG, line_seen, &seen), "dump of a segment");
        (void)went_well(r, nokv_vlog_salvage(path, record_seen, &seen, &report), "salvage");
    }
}

static void steps_real(struct run *r)
{
    steps_new(r);
    steps_read(r);
    outside(r);
}

struct scenario {
    const char *name;
    const struct base *base; /* NULL: an empty disk */
    void (*steps)(struct run *r);
    nokv_io_model model; /* of tables, logs, background and value log; DEFAULT: the defaults */
    nokv_vlog_read vlog_read;
    bool is_real, may_be_corrupt;
};

static const struct scenario scenarios[] = {
    {"new", NULL, steps_new, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false},
    {"new-uring", NULL, steps_new, NOKV_IO_URING, NOKV_VLOG_READ_URING, false, false},
    {"read-default", &closed, steps_read, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false},
    {"read-mmap", &closed, steps_read, NOKV_IO_MMAP, NOKV_VLOG_READ_MMAP, false, false},
    {"read-std", &closed, steps_read, NOKV_IO_STD, NOKV_VLOG_READ_PREAD, false, false},
    {"read-direct", &closed, steps_read, NOKV_IO_DIRECT, NOKV_VLOG_READ_DIRECT, false, false},
    {"read-uring", &closed, steps_read, NOKV_IO_URING, NOKV_VLOG_READ_URING, false, false},
    {"killed", &killed, steps_read, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false},
    {"killed-read-only", &killed, steps_read_only, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, false},
    {"killed-go-on", &killed, steps_go_on, NOKV_IO_STD, NOKV_VLOG_READ_PREAD, false, false},
    {"damaged-log", &damaged_log, steps_read, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, true},
    {"damaged-table", &damaged_table, steps_read, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, false, true},
    {"real-default", NULL, steps_real, NOKV_IO_DEFAULT, NOKV_VLOG_READ_AUTO, true, false},
    {"real-direct", NULL, steps_real, NOKV_IO_DIRECT, NOKV_VLOG_READ_DIRECT, true, false},
    {"real-uring", NULL, steps_real, NOKV_IO_URING, NOKV_VLOG_READ_URING, true, false},
};

static void run_begin(struct run *r, const struct scenario *s)
{
    memset(r, 0, sizeof *r);
    options_make(&r->options);
    r->options.vlog_read = s->vlog_read;
    r->options.sst_read = s->model;
    if (s->model != NOKV_IO_DEFAULT && s->model != NOKV_IO_MMAP)
        r->options.wal_write = r->options.background_io = r->options.vlog_write = s->model;
    r->may_be_corrupt = s->may_be_corrupt;
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
    if (!r->may_be_corrupt) {
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

/* Returns whether the planned call was reached. */
static bool run_once(const struct scenario *s, const struct sweep_plan *plan)
{
    static struct run r;
    int64_t live = sweep_live();
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
    return failed;
}

/* ---- bases
 * ------------------------------------------------------------------------------------------------------------ */

/* A database with tables on some levels, segments, and a log; then closed, or killed. */
static void base_make(struct base *b, bool is_killed)
{
    static struct run r;
    run_begin(&r, &scenarios[0]);
    snprintf(r.what, sizeof r.what, "preparing");
    assert_true(run_open(&r));
    writes(&r, 40);
    maintenance(&r);
    writes(&r, 24);
    if (is_killed) {
        OK(nokv_sync_wal(r.db));
        all_synced(&r);
        writes(&r, 20);
        stream(&r, 40, 3000, 3000);
        sim_crash_after(r.sim, 0);
        (void)nokv_close(r.db);
    } else {
        run_close(&r);
    }
    io_destroy(r.io);
    sim_process_kill(r.sim);
    *b = (struct base){.sim = r.sim, .model = r.model};
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

static int bases_make(void **state)
{
    (void)state;
    OK(epoch_register()); /* what a thread keeps for good */
    base_make(&closed, false);
    base_make(&killed, true);
    base_damage(&damaged_log, &closed, ".wal", 80);
    base_damage(&damaged_table, &closed, ".sst", 4096 + 30);
    return 0;
}

static int bases_free(void **state)
{
    (void)state;
    sim_destroy(closed.sim);
    sim_destroy(killed.sim);
    sim_destroy(damaged_log.sim);
    sim_destroy(damaged_table.sim);
    return 0;
}

/* ---- the sweeps
 * -------------------------------------------------------------------------------------------------------- */

static bool is_all;
static uint64_t seed;

/* Every k, or SLICE_RUNS of them and what the seed adds. */
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

static void allocations_sweep(const struct scenario *s, bool is_sticky, uint64_t runs)
{
    struct sweep_plan plan = {.target = SWEEP_ALLOCATIONS, .is_sticky = is_sticky};
    uint64_t stride = stride_of(counted, runs), done = 0;
    for (plan.k = 1 + seed % stride; run_once(s, &plan); plan.k += stride)
        done++;
    printf("%-18s %5llu runs with %s\n", s->name, (unsigned long long)done,
           is_sticky ? "no memory from one allocation on" : "one failed allocation");
    assert_true(done > 0);
}

static void io_sweep(const struct scenario *s, bool is_sticky, uint64_t runs)
{
    static const enum sweep_errno errors[] = {SWEEP_EIO, SWEEP_ENOSPC, SWEEP_EMFILE, SWEEP_ENOMEM, SWEEP_EINTR};
    uint64_t stride = stride_of(counted, runs), done = 0;
    for (uint64_t k = 1 + seed % stride; k <= counted; k += stride)
        for (size_t e = 0; e < ARRAY_COUNT(errors); e++) {
            struct sweep_plan plan = {.target = SWEEP_IO, .k = k, .err = errors[e], .is_sticky = is_sticky};
            bool is_tried_again = errors[e] == SWEEP_EINTR; /* below the interface, when it comes once */
            if ((sweep_errors_of(k) & errors[e]) == 0 || (is_tried_again && (is_sticky || s->is_real)))
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
        if (target == SWEEP_ALLOCATIONS)
            allocations_sweep(&scenarios[i], is_sticky, runs);
        else
            io_sweep(&scenarios[i], is_sticky, runs / 2);
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
        cmocka_unit_test(test_one_allocation_fails),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_one_io_call_fails),
        cmocka_unit_test(test_disk_dies),
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
