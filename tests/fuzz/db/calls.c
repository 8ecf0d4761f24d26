// SPDX-License-Identifier: Apache-2.0
/*
 * calls.c - the calls, and the states that their answers rule out.
 *
 * A world is one state of the keys per candidate; `alive` has a bit for each candidate that no answer has ruled out
 * yet. The database has one world (now), and so has each snapshot and iterator: that of its moment. The candidates are
 * the same in all of them.
 *
 * [I1] At least one candidate is alive; a sound database has one alone, but for the moment after a power cut.
 * [I2] A write that failed on a damaged database may have happened or not: its keys are UNKNOWN, and any answer is
 *      right for them.
 */
#include "calls.h"

#include "db/db.h"

enum { UNKNOWN = 0xffff, SNAPSHOTS = 3, ITERS = 2, VALUE_BYTES_MAX = 70000, CLASSES = 8 };

struct world {
    struct key_state states[CALL_STATES_MAX];
};

struct held_snapshot {
    const nokv_snapshot *snapshot;
    struct world world;
};

struct held_iter {
    nokv_iter *iter;
    struct world world;
    int at;           /* index of the key that it shows; -1: none */
    int lower, upper; /* of its bounds: keys [lower, upper) */
};

struct calls {
    struct sim *sim;
    struct io *io;
    nokv_db *db;
    nokv_options options;
    uint8_t head[CALL_HEAD];
    bool is_damaged, is_read_only;
    struct world now;
    size_t candidate_count;
    uint64_t alive;
    struct key_state history[CALL_STATES_MAX]; /* since the last sync, that state first */
    size_t history_count;
    uint16_t next_id;
    struct held_snapshot snapshots[SNAPSHOTS];
    struct held_iter iters[ITERS];
    nokv_batch *batch;
    uint8_t copy[VALUE_BYTES_MAX];
};

/* ---- keys and values -------------------------------------------------------------------------------------------- */

/* In order. Neighbours have a prefix in common, and one is the prefix of the next. */
static nokv_slice key_of(unsigned index)
{
    static char keys[CALL_KEYS][16];
    if (keys[index][0] == 0)
        snprintf(keys[index], sizeof keys[0], "%s%02u%s", index < CALL_KEYS / 2 ? "k" : "kkkkkkkk", index / 2,
                 index % 2 ? "x" : "");
    return (nokv_slice){keys[index], strlen(keys[index])};
}

static size_t value_size(uint16_t id)
{
    static const uint32_t sizes[CLASSES] = {40, 0, 1, 200, 600, 3000, 20000, VALUE_BYTES_MAX};
    return sizes[id % CLASSES];
}

/* All values are parts of one long string of random bytes, each number its own. */
static const uint8_t *value_bytes(uint16_t id)
{
    static uint8_t bytes[UINT16_MAX + 1 + VALUE_BYTES_MAX];
    uint64_t random = 1;
    for (size_t i = 0; bytes[sizeof bytes - 1] == 0 && i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(1 + fuzz_draw(&random, UINT8_MAX));
    return bytes + (uint16_t)(id * 37u);
}

static nokv_slice value_of(uint16_t id)
{
    return (nokv_slice){value_bytes(id), value_size(id)};
}

static bool value_is(const uint8_t *data, uint64_t off, size_t size, uint16_t id)
{
    return size == 0 || memcmp(data, value_bytes(id) + off, size) == 0;
}

/* A new value of this class of sizes. */
static uint16_t id_next(struct calls *c, unsigned class)
{
    c->next_id = c->next_id >= UNKNOWN / CLASSES - 1 ? 1 : c->next_id + 1;
    return (uint16_t)(c->next_id * CLASSES + class % CLASSES);
}

/* ---- what is ruled out ------------------------------------------------------------------------------------------ */

/* REQUIRES: `fits` has been decided for each; those that do not fit are no longer possible. */
static void rule_out(struct calls *c, size_t candidate)
{
    c->alive &= ~(1ull << candidate);
    fuzz_must(c->alive != 0, "a wrong answer");
}

/* The key holds `size` bytes of which these are those from `off` on; data NULL: it holds nothing. */
static void answer(struct calls *c, const struct world *w, unsigned key, const uint8_t *data, uint64_t off, size_t got,
                   uint64_t size)
{
    for (size_t i = 0; i < c->candidate_count; i++) {
        uint16_t id = w->states[i].ids[key];
        if (!(c->alive >> i & 1) || id == UNKNOWN)
            continue;
        if (data == NULL ? id != 0 : id == 0 || value_size(id) != size || !value_is(data, off, got, id))
            rule_out(c, i);
    }
}

static void answer_value(struct calls *c, const struct world *w, unsigned key, nokv_slice value)
{
    answer(c, w, key, value.data ? value.data : (const void *)"", 0, value.size, value.size);
}

static void answer_nothing(struct calls *c, const struct world *w, unsigned key)
{
    answer(c, w, key, NULL, 0, 0, 0);
}

/* Every message names what is damaged: a file, or a table or segment by its number. */
static bool names_a_file(const char *message)
{
    static const char *const names[] = {"db/", "sst ", "value log", "MANIFEST", "CURRENT", "WALBUF", "log "};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (strstr(message, names[i]) != NULL)
            return true;
    return false;
}

/* OK, or of a damaged database CORRUPT; or POISONED, once a compaction has met the damage. */
static bool is_done(const struct calls *c, nokv_status status)
{
    if (status == NOKV_OK)
        return true;
    fuzz_must(c->is_damaged && (status == NOKV_ERR_CORRUPT || status == NOKV_ERR_POISONED) &&
                  names_a_file(nokv_error_message()),
              nokv_status_name(status));
    return false;
}

/* ---- writes ----------------------------------------------------------------------------------------------------- */

static void history_push(struct calls *c)
{
    size_t alive = (size_t)__builtin_ctzll(c->alive);
    ASSERT(c->history_count < CALL_STATES_MAX);
    c->history[c->history_count++] = c->now.states[alive];
}

/* What is acknowledged now is the least that a power cut leaves. */
static void history_sync(struct calls *c)
{
    c->history_count = 0;
    history_push(c);
}

static void call_sync(struct calls *c)
{
    if (is_done(c, nokv_sync_wal(c->db)))
        history_sync(c);
}

/* A write of these keys has ended. */
static void wrote(struct calls *c, const unsigned *keys, const uint16_t *ids, size_t count, nokv_status status)
{
    bool done = is_done(c, status);
    for (size_t i = 0; i < c->candidate_count; i++)
        for (size_t k = 0; k < count; k++)
            c->now.states[i].ids[keys[k]] = done ? ids[k] : UNKNOWN;
    if (done && c->options.sync == NOKV_SYNC_COMMIT)
        history_sync(c);
    else
        history_push(c);
}

static void history_make_room(struct calls *c)
{
    if (c->history_count == CALL_STATES_MAX)
        call_sync(c);
    if (c->history_count == CALL_STATES_MAX) /* it could not be synced: of a damaged database nothing is cut */
        c->history_count = 1;
}

static void call_put(struct calls *c, unsigned key, unsigned class)
{
    uint16_t id = id_next(c, class);
    nokv_slice k = key_of(key), v = value_of(id);
    history_make_room(c);
    wrote(c, &key, &id, 1, nokv_put(c->db, k.data, k.size, v.data, v.size, NULL));
}

static void call_delete(struct calls *c, unsigned key)
{
    const uint16_t id = 0;
    nokv_slice k = key_of(key);
    history_make_room(c);
    wrote(c, &key, &id, 1, nokv_delete(c->db, k.data, k.size, NULL));
}

/* Some keys from `first` on, each `step` behind the other. */
static void call_batch(struct calls *c, unsigned first, unsigned step, unsigned what)
{
    unsigned keys[8];
    uint16_t ids[8];
    size_t count = 1 + what % ARRAY_COUNT(keys);
    nokv_batch_clear(c->batch);
    for (size_t i = 0; i < count; i++) {
        keys[i] = (unsigned)(first + i * (step + 1)) % CALL_KEYS;
        ids[i] = (what >> 3) % 4 == i % 4 ? 0 : id_next(c, (unsigned)(what + i) % 5);
        nokv_slice k = key_of(keys[i]), v = value_of(ids[i]);
        nokv_status status = ids[i] ? nokv_batch_put(c->batch, k.data, k.size, v.data, v.size)
                                    : nokv_batch_delete(c->batch, k.data, k.size);
        fuzz_must(status == NOKV_OK, "batch");
    }
    history_make_room(c);
    wrote(c, keys, ids, count, nokv_write(c->db, c->batch, NULL));
}

/* A value in parts. */
static void call_stream(struct calls *c, unsigned key, unsigned class, unsigned how)
{
    nokv_value_writer *w = NULL;
    uint16_t id = id_next(c, class);
    nokv_slice k = key_of(key), v = value_of(id);
    size_t part = v.size / (1 + how % 4) + 1;
    history_make_room(c);
    if (!is_done(c, nokv_value_writer_open(c->db, k.data, k.size, how & 4 ? v.size : 0, &w)))
        return;
    for (size_t off = 0; off < v.size; off += part) {
        size_t n = v.size - off < part ? v.size - off : part;
        if (!is_done(c, nokv_value_writer_append(w, (const uint8_t *)v.data + off, n))) {
            nokv_value_writer_abandon(w);
            return;
        }
    }
    if (how & 8)
        nokv_value_writer_abandon(w);
    else
        wrote(c, &key, &id, 1, nokv_value_writer_commit(w, NULL));
}

/* ---- point reads ------------------------------------------------------------------------------------------------ */

static const struct world *world_of(struct calls *c, unsigned which, nokv_read_options *out)
{
    struct held_snapshot *s = &c->snapshots[which % SNAPSHOTS];
    *out = (nokv_read_options){.struct_size = sizeof *out};
    if (!(which & 4) || s->snapshot == NULL)
        return &c->now;
    out->snapshot = s->snapshot;
    return &s->world;
}

static void call_get(struct calls *c, unsigned key, unsigned which)
{
    nokv_read_options o;
    nokv_value value = {0};
    nokv_slice k = key_of(key);
    const struct world *w = world_of(c, which, &o);
    nokv_status status = nokv_get(c->db, k.data, k.size, &o, &value);
    if (status == NOKV_ERR_NOT_FOUND) {
        answer_nothing(c, w, key);
    } else if (is_done(c, status)) {
        answer_value(c, w, key, (nokv_slice){value.data, value.size});
        nokv_value_release(&value);
    }
}

static void call_get_copy(struct calls *c, unsigned key, unsigned which, unsigned capacity)
{
    nokv_read_options o;
    nokv_slice k = key_of(key);
    size_t size = 0, room = capacity & 1 ? sizeof c->copy : capacity;
    const struct world *w = world_of(c, which, &o);
    nokv_status status = nokv_get_copy(c->db, k.data, k.size, &o, c->copy, room, &size);
    if (status == NOKV_ERR_NOT_FOUND)
        answer_nothing(c, w, key);
    else if (status == NOKV_ERR_TOO_LARGE && size > room)
        answer(c, w, key, c->copy, 0, 0, size);
    else if (is_done(c, status))
        answer_value(c, w, key, (nokv_slice){c->copy, size});
}

static void call_get_range(struct calls *c, unsigned key, unsigned from, unsigned wanted)
{
    nokv_slice k = key_of(key);
    size_t got = 0;
    uint64_t size = 0, off = (uint64_t)from * from;
    nokv_status status = nokv_get_range(c->db, k.data, k.size, NULL, off, c->copy, wanted * 64, &got, &size);
    if (status == NOKV_ERR_NOT_FOUND) {
        answer_nothing(c, &c->now, key);
    } else if (is_done(c, status)) {
        fuzz_must(got == u64_min(wanted * 64, off < size ? size - off : 0), "a part of another size");
        answer(c, &c->now, key, c->copy, off, got, size);
    }
}

static void call_multi_get(struct calls *c, unsigned first, unsigned which)
{
    nokv_read_options o;
    nokv_slice keys[CALL_KEYS];
    nokv_value values[CALL_KEYS];
    nokv_status statuses[CALL_KEYS];
    const struct world *w = world_of(c, which, &o);
    for (unsigned i = 0; i < CALL_KEYS; i++)
        keys[i] = key_of((first + i * 7) % CALL_KEYS);
    (void)is_done(c, nokv_multi_get(c->db, CALL_KEYS, keys, &o, values, statuses));
    for (unsigned i = 0; i < CALL_KEYS; i++) {
        unsigned key = (first + i * 7) % CALL_KEYS;
        if (statuses[i] == NOKV_ERR_NOT_FOUND) {
            answer_nothing(c, w, key);
        } else if (statuses[i] == NOKV_OK) {
            answer_value(c, w, key, (nokv_slice){values[i].data, values[i].size});
            nokv_value_release(&values[i]);
        } else {
            fuzz_must(c->is_damaged && statuses[i] == NOKV_ERR_CORRUPT, nokv_status_name(statuses[i]));
        }
    }
}

/* ---- iterators -------------------------------------------------------------------------------------------------- */

static void iter_drop(struct held_iter *it)
{
    nokv_iter_destroy(it->iter);
    it->iter = NULL;
}

static void call_iter_create(struct calls *c, unsigned slot, unsigned which, unsigned bounds)
{
    struct held_iter *it = &c->iters[slot % ITERS];
    nokv_read_options o;
    nokv_iter_options io = {.struct_size = sizeof io};
    iter_drop(it);
    it->world = *world_of(c, which, &o);
    it->lower = bounds & 1 ? (int)(bounds >> 2) % CALL_KEYS : 0;
    it->upper = bounds & 2 ? it->lower + (int)(bounds >> 5) : CALL_KEYS;
    it->upper = it->upper > CALL_KEYS ? CALL_KEYS : it->upper;
    it->at = -1;
    io.snapshot = o.snapshot;
    if (it->lower > 0)
        io.lower = key_of((unsigned)it->lower);
    if (it->upper < CALL_KEYS)
        io.upper = key_of((unsigned)it->upper);
    if (!is_done(c, nokv_iter_create(c->db, &io, &it->iter)))
        it->iter = NULL;
}

static int index_of(nokv_slice key)
{
    for (unsigned i = 0; i < CALL_KEYS; i++)
        if (key_of(i).size == key.size && memcmp(key_of(i).data, key.data, key.size) == 0)
            return (int)i;
    return -1;
}

/* It has moved from in front of key `from` upwards, or from behind it downwards: keys that it passed hold nothing. */
static void iter_moved(struct calls *c, struct held_iter *it, int from, int step)
{
    int to = step > 0 ? it->upper : it->lower - 1;
    from = step > 0 ? (from < it->lower ? it->lower : from) : (from >= it->upper ? it->upper - 1 : from);
    it->at = -1;
    if (nokv_iter_valid(it->iter)) {
        to = it->at = index_of(nokv_iter_key(it->iter));
        fuzz_must(to >= it->lower && to < it->upper && (to - from) * step >= 0, "an iterator shows a key out of order");
    } else if (!is_done(c, nokv_iter_status(it->iter))) {
        return;
    }
    for (int i = from; (to - i) * step > 0; i += step)
        answer_nothing(c, &it->world, (unsigned)i);
    if (it->at < 0)
        return;
    size_t size = nokv_iter_value_size(it->iter);
    nokv_slice value = nokv_iter_value(it->iter);
    if (value.data == NULL && !nokv_iter_valid(it->iter)) {
        (void)is_done(c, nokv_iter_status(it->iter));
        it->at = -1;
        return;
    }
    fuzz_must(value.size == size, "another size than the value's");
    answer_value(c, &it->world, (unsigned)to, value);
}

static void call_iter_seek(struct calls *c, unsigned slot, unsigned how, unsigned key)
{
    struct held_iter *it = &c->iters[slot % ITERS];
    nokv_slice k = key_of(key % CALL_KEYS);
    if (it->iter == NULL)
        return;
    switch (how % 4) {
    case 0:
        nokv_iter_first(it->iter);
        iter_moved(c, it, it->lower, 1);
        break;
    case 1:
        nokv_iter_last(it->iter);
        iter_moved(c, it, it->upper - 1, -1);
        break;
    case 2:
        nokv_iter_seek(it->iter, k.data, k.size);
        iter_moved(c, it, (int)(key % CALL_KEYS), 1);
        break;
    default:
        nokv_iter_seek_for_prev(it->iter, k.data, k.size);
        iter_moved(c, it, (int)(key % CALL_KEYS), -1);
    }
}

static void call_iter_step(struct calls *c, unsigned slot, bool forward, unsigned steps)
{
    struct held_iter *it = &c->iters[slot % ITERS];
    for (unsigned i = 0; i <= steps % 8 && it->iter && it->at >= 0; i++) {
        int from = it->at + (forward ? 1 : -1);
        if (forward)
            nokv_iter_next(it->iter);
        else
            nokv_iter_prev(it->iter);
        iter_moved(c, it, from, forward ? 1 : -1);
    }
}

static void call_snapshot(struct calls *c, unsigned slot)
{
    struct held_snapshot *s = &c->snapshots[slot % SNAPSHOTS];
    if (s->snapshot) {
        nokv_snapshot_release(c->db, s->snapshot);
        s->snapshot = NULL;
    } else if (is_done(c, nokv_snapshot_create(c->db, &s->snapshot))) {
        s->world = c->now;
    } else {
        s->snapshot = NULL;
    }
}

void calls_check_all(struct calls *c)
{
    for (unsigned i = 0; i < CALL_KEYS; i++)
        call_get(c, i, 0);
    call_multi_get(c, 0, 0);
    call_iter_create(c, 0, 0, 0);
    call_iter_seek(c, 0, 0, 0);
    while (c->iters[0].iter && c->iters[0].at >= 0)
        call_iter_step(c, 0, true, 7);
    call_iter_seek(c, 0, 1, 0);
    while (c->iters[0].iter && c->iters[0].at >= 0)
        call_iter_step(c, 0, false, 7);
    iter_drop(&c->iters[0]);
}

/* ---- open and close --------------------------------------------------------------------------------------------- */

static void options_make(struct calls *c)
{
    static const uint32_t homes[] = {UINT32_MAX, 32, 100, 512, 2000};
    static const nokv_io_model models[] = {NOKV_IO_DEFAULT, NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING};
    const uint8_t *h = c->head;
    nokv_options *o = &c->options;
    nokv_options_init(o);
    o->inline_background_work = true;
    o->read_only = c->is_read_only;
    o->memtable_bytes = o->wal_buffer_bytes = o->table_bytes = o->level_base_bytes = 64 << 10;
    o->vlog_segment_bytes = 64 << 10;
    o->block_cache_bytes = 64 << 10;
    o->l0_compact_files = o->l0_busy_files = 2 + (h[0] & 1) * 2;
    o->sync = h[0] & 2 ? NOKV_SYNC_COMMIT : NOKV_SYNC_NONE;
    o->block_bytes = h[0] & 4 ? 8192 : 4096;
    o->filter_bits_per_key = h[0] & 8 ? UINT32_MAX : 1u + (h[0] >> 4);
    size_t separate = h[1] % ARRAY_COUNT(homes), direct = (h[1] >> 4) % ARRAY_COUNT(homes);
    o->value_separation_min = homes[separate];
    o->value_direct_min = homes[direct] < homes[separate] ? homes[separate] : homes[direct];
    o->vlog_space_amp_max = 1.05 + (h[1] & 8 ? 1.0 : 0);
    o->sst_read = (nokv_io_model)(h[2] % 5);
    o->vlog_read = (nokv_vlog_read)((h[2] >> 3) % 5);
    o->wal_write = models[h[3] % 4];
    o->background_io = models[(h[3] >> 2) % 4];
    o->vlog_write = models[(h[3] >> 4) % 4];
}

bool calls_open(struct calls *c)
{
    options_make(c);
    fuzz_must(sim_io_create(c->sim, &c->io) == NOKV_OK, "io");
    if (is_done(c, db_open(c->io, "db", &c->options, &c->db)))
        return true;
    io_destroy(c->io);
    c->io = NULL;
    c->db = NULL;
    return false;
}

bool calls_is_open(const struct calls *c)
{
    return c->db != NULL;
}

void calls_close(struct calls *c, bool kill)
{
    for (unsigned i = 0; i < ITERS; i++)
        iter_drop(&c->iters[i]);
    for (unsigned i = 0; i < SNAPSHOTS; i++)
        if (c->snapshots[i].snapshot)
            call_snapshot(c, i);
    if (kill)
        sim_crash_after(c->sim, 0); /* what close would write is not written */
    nokv_status status = nokv_close(c->db);
    c->db = NULL;
    fuzz_must(kill || is_done(c, status) || c->is_damaged, "close");
    io_destroy(c->io);
    c->io = NULL;
}

/* Several states may be possible, but they are the same by now. */
static void candidates_settle(struct calls *c)
{
    struct key_state state = c->now.states[__builtin_ctzll(c->alive)];
    c->now.states[0] = state;
    c->candidate_count = 1;
    c->alive = 1;
}

/* What a crash left, looked at without a write: it shows what the next opening recovers. */
static void look_read_only(struct calls *c)
{
    c->is_read_only = true;
    if (calls_open(c)) {
        calls_check_all(c);
        calls_close(c, false);
    }
    c->is_read_only = false;
}

/* Again, perhaps with other options, after a close (0, 1), a kill (2) or a power cut (3); with 8, after a look. */
static bool call_reopen(struct calls *c, unsigned how, unsigned which, unsigned byte)
{
    bool look = how & 8;
    how = how % 8 % (c->is_damaged ? 3 : 4);
    calls_close(c, how >= 2);
    if (how == 3)
        sim_power_cut(c->sim);
    else
        sim_process_kill(c->sim);
    if (how == 3)
        calls_assume(c, c->history, c->history_count);
    c->head[which % CALL_HEAD] = (uint8_t)byte;
    if (look)
        look_read_only(c);
    if (!calls_open(c))
        return false;
    if (how == 3) {
        calls_check_all(c);
        candidates_settle(c);
    }
    if (how != 2 && !c->is_damaged)
        history_sync(c); /* a close syncs; what a cut has left is durable */
    return true;
}

/* ---- maintenance ------------------------------------------------------------------------------------------------ */

static bool progress(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    return done <= total + (1 << 20);
}

static void call_maintenance(struct calls *c, unsigned what, unsigned a, unsigned b)
{
    nokv_verify_report report;
    nokv_stats stats = {.struct_size = sizeof stats};
    nokv_slice first = key_of(a % CALL_KEYS), last = key_of(b % CALL_KEYS);
    switch (what % 7) {
    case 0:
        (void)is_done(c, nokv_flush(c->db));
        break;
    case 1:
        (void)is_done(c, nokv_compact_range(c->db, NULL, 0, NULL, 0));
        break;
    case 2:
        (void)is_done(c, nokv_compact_range(c->db, a % 3 ? first.data : NULL, first.size, last.data, last.size));
        break;
    case 3:
        call_sync(c);
        break;
    case 4:
        (void)is_done(c, nokv_vlog_collect(c->db, b & 1 ? 1 : 0));
        break;
    case 5:
        (void)is_done(c, nokv_verify(c->db, progress, NULL, &report));
        break;
    default:
        (void)is_done(c, nokv_wait_idle(c->db));
        (void)is_done(c, nokv_stats_get(c->db, true, &stats));
    }
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

/* False: the database could not be opened again. */
static bool call_one(struct calls *c, const uint8_t call[CALL_BYTES])
{
    unsigned key = call[1] % CALL_KEYS, a = call[2], b = call[3];
    switch (call[0] % 16) {
    case 0:
    case 1:
        call_put(c, key, a);
        break;
    case 2:
        call_delete(c, key);
        break;
    case 3:
        call_batch(c, key, a % 5, b);
        break;
    case 4:
        call_stream(c, key, a, b);
        break;
    case 5:
        call_get(c, key, a);
        break;
    case 6:
        call_get_copy(c, key, a, b);
        break;
    case 7:
        call_get_range(c, key, a, b);
        break;
    case 8:
        call_multi_get(c, key, a);
        break;
    case 9:
        call_iter_create(c, call[1], a, b);
        break;
    case 10:
        call_iter_seek(c, call[1], a, b);
        break;
    case 11:
        call_iter_step(c, call[1], a & 1, b);
        break;
    case 12:
        call_snapshot(c, call[1]);
        break;
    case 13:
    case 14:
        call_maintenance(c, call[1], a, b);
        break;
    default:
        return call_reopen(c, call[1], a, b);
    }
    return true;
}

void calls_run(struct calls *c, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i + CALL_BYTES <= size && c->db; i += CALL_BYTES)
        if (!call_one(c, data + i))
            break;
}

struct calls *calls_create(struct sim *sim, const uint8_t *head, bool is_damaged)
{
    static struct calls calls; /* some 200 KiB that need not be asked for again and again */
    static nokv_batch *batch;
    struct calls *c = &calls;
    const struct key_state empty = {.ids = {0}};
    if (batch == NULL)
        fuzz_must(nokv_batch_create(&batch) == NOKV_OK, "batch");
    c->sim = sim;
    c->io = NULL;
    c->db = NULL;
    memcpy(c->head, head, CALL_HEAD);
    c->is_damaged = is_damaged;
    c->is_read_only = false;
    c->batch = batch;
    c->next_id = is_damaged ? UNKNOWN / CLASSES / 2 : 0; /* whatever was written before the damage has lower numbers */
    c->history_count = 0;
    memset(c->snapshots, 0, sizeof c->snapshots);
    memset(c->iters, 0, sizeof c->iters);
    calls_assume(c, &empty, 1);
    history_push(c);
    return c;
}

void calls_assume(struct calls *c, const struct key_state *states, size_t count)
{
    ASSERT(count > 0 && count <= CALL_STATES_MAX);
    memmove(c->now.states, states, count * sizeof *states);
    c->candidate_count = count;
    c->alive = count == 64 ? UINT64_MAX : (1ull << count) - 1;
}

size_t calls_history(const struct calls *c, struct key_state states[CALL_STATES_MAX])
{
    memcpy(states, c->history, c->history_count * sizeof *states);
    return c->history_count;
}

void calls_destroy(struct calls *c)
{
    ASSERT(c->db == NULL && c->io == NULL);
}
