// SPDX-License-Identifier: Apache-2.0
/*
 * The operations of the model test, and how the database is compared with the oracle: see model_run.h.
 *
 * Every limit is as small as the engine allows, so that memtables rotate, tables are written, compacted and moved
 * every few dozen operations; the options change with every reopen. What is held over all that - snapshots, pinned
 * values, iterators in the middle of a walk - must go on to show what it showed.
 */
#include "model_run.h"

#include "db/db.h"
#include "io_models.h"
#include "oracle.h"
#include "test.h"

enum { MULTI_MAX = 700, SNAPSHOT_SLOTS = 5, PIN_SLOTS = 8, ITER_SLOTS = 3, REMEMBERED = 4, PROBE_BYTES = 70000 };

struct held_snapshot {
    const nokv_snapshot *snapshot;
    struct state *state;
};

struct held_value {
    nokv_value value;
    uint64_t id;
};

/* An iterator, where it must be, and a few of the slices that it showed: they must stay as they are. */
struct held_iter {
    nokv_iter *iter;
    struct cursor cursor;
    nokv_slice keys[REMEMBERED], values[REMEMBERED];
    size_t indexes[REMEMBERED];
    uint64_t ids[REMEMBERED];
    size_t remembered;
};

struct run {
    struct universe u;
    const char *dir;
    nokv_db *db;
    nokv_options options;
    size_t io_models; /* a combination, or IO_MODELS_DRAWN */
    struct state *now;
    struct held_snapshot snapshots[SNAPSHOT_SLOTS];
    struct held_value pins[PIN_SLOTS];
    struct held_iter iters[ITER_SLOTS];
    nokv_batch *batch;
    uint64_t rng;             /* of the operation that runs */
    uint64_t value_id;        /* the next one */
    uint64_t separated_least; /* no smaller value was ever put into the value log */
    uint8_t *value, *copy, *probe;
    struct run_report *report;
};

const char *op_name(enum op_kind kind)
{
    static const char *const names[OP_KIND_COUNT] = {"put",     "delete",  "batch",    "get",    "multi-get",
                                                     "pin",     "iterate", "snapshot", "scan",   "flush",
                                                     "compact", "idle",    "verify",   "reopen", "read-only"};
    return names[kind];
}

/* ---- comparing ------------------------------------------------------------------------------------------------- */

static void differs(struct run *r, int line, const char *what)
{
    if (r->report->message[0] == 0)
        snprintf(r->report->message, sizeof r->report->message, "line %d: %s [engine: %s]", line, what,
                 nokv_error_message());
    exit(1);
}

#define CHECK(condition)                      \
    do {                                      \
        if (!(condition))                     \
            differs(r, __LINE__, #condition); \
    } while (0)
#define CHECK_OK(expr) CHECK((expr) == NOKV_OK)

/* ---- drawing --------------------------------------------------------------------------------------------------- */

static uint64_t draw(struct run *r, uint64_t below)
{
    return test_random(&r->rng) % below;
}

static bool one_in(struct run *r, uint64_t n)
{
    return draw(r, n) == 0;
}

/* Often from a small neighbourhood, so that versions pile up. */
static size_t draw_key(struct run *r)
{
    size_t n = r->u.count;
    return one_in(r, 2) ? draw(r, n) : (n / 3 + draw(r, 1 + n / 16)) % n;
}

/* A key that is there, or something near one, at most PROBE_BYTES long, perhaps empty or longer than a key may be. */
static struct slice draw_target(struct run *r)
{
    struct slice key = r->u.keys[draw_key(r)];
    size_t size = key.size;
    if (one_in(r, 2))
        return key;
    if (one_in(r, 20))
        return slice_make(r->probe, 0);
    memcpy(r->probe, key.data, size);
    switch (draw(r, 4)) {
    case 0:
        r->probe[size++] = one_in(r, 2) ? 0x00 : 0xff;
        break;
    case 1:
        r->probe[size - 1]++;
        break;
    case 2:
        size = 1 + draw(r, size);
        break;
    default:
        r->probe[size - 1]--;
        break;
    }
    return slice_make(r->probe, size);
}

static uint32_t draw_filter_bits(struct run *r)
{
    static const uint32_t bits[] = {0, 0, 1, 16, 32, UINT32_MAX};
    return bits[draw(r, ARRAY_COUNT(bits))];
}

/* All three homes of a value, and a collector that soon has something to do. */
static void draw_value_options(struct run *r, nokv_options *o)
{
    static const uint32_t homes[] = {32, 100, 512, 3000, UINT32_MAX};
    static const nokv_io_model models[] = {NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING};
    size_t separation = draw(r, ARRAY_COUNT(homes)), direct = separation + draw(r, ARRAY_COUNT(homes) - separation);
    o->value_separation_min = homes[separation];
    o->value_direct_min = homes[direct];
    o->vlog_segment_bytes = (64ull << 10) << draw(r, 5);
    o->vlog_space_amp_max = 1.05 + (double)draw(r, 10) / 10;
    o->vlog_read = (nokv_vlog_read)draw(r, 5);
    o->vlog_write = models[draw(r, ARRAY_COUNT(models))];
    r->separated_least = u64_min(r->separated_least, o->value_separation_min);
}

static void draw_options(struct run *r)
{
    nokv_options *o = &r->options;
    nokv_options_init(o);
    o->inline_background_work = one_in(r, 3);
    o->sync = one_in(r, 16) ? NOKV_SYNC_COMMIT : NOKV_SYNC_NONE;
    o->memtable_bytes = (64ull << 10) << draw(r, 3);
    o->memtables_max = (uint32_t)(2 + draw(r, 3));
    o->background_threads = (uint32_t)(1 + draw(r, 3));
    o->wal_buffer_bytes = (64ull << 10) << 2 * draw(r, 3);
    o->table_bytes = (64ull << 10) << draw(r, 2);
    o->block_bytes = 4096u << (one_in(r, 2) ? 0 : draw(r, 5));
    o->filter_bits_per_key = draw_filter_bits(r);
    o->level_base_bytes = o->table_bytes * (1 + draw(r, 2));
    o->level_ratio = (uint32_t)(2 + draw(r, 3));
    o->l0_compact_files = (uint32_t)(2 + draw(r, 3));
    o->l0_busy_files = o->l0_compact_files * (uint32_t)(1 + draw(r, 3));
    static const nokv_io_model models[] = {NOKV_IO_STD, NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING};
    o->wal_write = models[draw(r, ARRAY_COUNT(models))];
    o->background_io = models[draw(r, ARRAY_COUNT(models))];
    o->huge_pages = (nokv_huge_pages)draw(r, 3);
    static const nokv_io_model table_models[] = {NOKV_IO_DEFAULT, NOKV_IO_MMAP, NOKV_IO_STD, NOKV_IO_DIRECT,
                                                 NOKV_IO_URING};
    o->sst_read = table_models[draw(r, ARRAY_COUNT(table_models))];
    o->block_cache_bytes = (64ull << 10) << draw(r, 6);
    draw_value_options(r, o);
    if (r->io_models != IO_MODELS_DRAWN)
        io_models_set(o, r->io_models);
}

static const nokv_write_options *draw_write_options(struct run *r)
{
    static const nokv_write_options durable = {.struct_size = sizeof durable, .sync = NOKV_SYNC_COMMIT};
    static const nokv_write_options plain = {.struct_size = sizeof plain, .sync = NOKV_SYNC_NONE};
    return one_in(r, 300) ? &durable : one_in(r, 2) ? &plain : NULL;
}

/* A snapshot that is held, or none: the state of the present. */
static struct state *draw_view(struct run *r, const nokv_snapshot **out_snapshot)
{
    struct held_snapshot *s = &r->snapshots[draw(r, SNAPSHOT_SLOTS)];
    bool use = s->snapshot && one_in(r, 2);
    *out_snapshot = use ? s->snapshot : NULL;
    return use ? s->state : r->now;
}

/* ---- writes ---------------------------------------------------------------------------------------------------- */

/* With SYNC_COMMIT as the default only part of the writes wait for the disk: it would be most of the test's time. */
static const nokv_write_options *write_options(struct run *r)
{
    static const nokv_write_options plain = {.struct_size = sizeof plain, .sync = NOKV_SYNC_NONE};
    const nokv_write_options *o = draw_write_options(r);
    return o == NULL && r->options.sync == NOKV_SYNC_COMMIT && !one_in(r, 8) ? &plain : o;
}

/* Now and then given up first, which leaves no trace. */
static void put_in_parts(struct run *r, struct slice key, struct slice value)
{
    nokv_value_writer *w;
    uint64_t size_max = one_in(r, 3) ? 0 : value.size + draw(r, 1000);
    CHECK_OK(nokv_value_writer_open(r->db, key.data, key.size, size_max, &w));
    bool abandon = one_in(r, 4);
    for (size_t off = 0; off < value.size && !(abandon && one_in(r, 3));) {
        size_t n = 1 + draw(r, value.size - off);
        CHECK_OK(nokv_value_writer_append(w, value.data + off, n));
        off += n;
    }
    if (!abandon) {
        CHECK_OK(nokv_value_writer_commit(w, write_options(r)));
        return;
    }
    nokv_value_writer_abandon(w);
    CHECK_OK(nokv_put(r->db, key.data, key.size, value.data, value.size, write_options(r)));
}

static void op_put(struct run *r)
{
    size_t key = draw_key(r);
    uint64_t id = r->value_id++;
    struct slice k = r->u.keys[key], value = oracle_value(&r->u, id, r->value);
    if (one_in(r, 4))
        put_in_parts(r, k, value);
    else
        CHECK_OK(nokv_put(r->db, k.data, k.size, value.data, value.size, write_options(r)));
    r->now->ids[key] = id;
}

static void op_delete(struct run *r)
{
    size_t key = draw_key(r);
    CHECK_OK(nokv_delete(r->db, r->u.keys[key].data, r->u.keys[key].size, write_options(r)));
    r->now->ids[key] = 0;
}

static void op_batch(struct run *r)
{
    size_t count = draw(r, one_in(r, 20) ? 200 : 12);
    nokv_batch_clear(r->batch);
    struct state *after = state_copy(&r->u, r->now);
    for (size_t i = 0; i < count; i++) {
        size_t key = draw_key(r);
        struct slice k = r->u.keys[key];
        after->ids[key] = one_in(r, 3) ? 0 : r->value_id++;
        if (after->ids[key] == 0) {
            CHECK_OK(nokv_batch_delete(r->batch, k.data, k.size));
        } else {
            struct slice value = oracle_value(&r->u, after->ids[key], r->value);
            CHECK_OK(nokv_batch_put(r->batch, k.data, k.size, value.data, value.size));
        }
    }
    CHECK(nokv_batch_count(r->batch) == count);
    CHECK_OK(nokv_write(r->db, r->batch, write_options(r)));
    state_unref(r->now);
    r->now = after;
}

/* ---- gets ------------------------------------------------------------------------------------------------------ */

static void check_get(struct run *r, struct slice key, uint64_t id, const nokv_snapshot *snapshot)
{
    nokv_read_options options = {.struct_size = sizeof options, .snapshot = snapshot};
    nokv_value value = {0};
    nokv_status status = nokv_get(r->db, key.data, key.size, snapshot ? &options : NULL, &value);
    if (key.size == 0) {
        CHECK(status == NOKV_ERR_INVALID);
    } else if (key.size > NOKV_KEY_SIZE_MAX) {
        CHECK(status == NOKV_ERR_TOO_LARGE);
    } else if (id == 0) {
        CHECK(status == NOKV_ERR_NOT_FOUND);
    } else {
        CHECK(status == NOKV_OK);
        CHECK(oracle_value_matches(&r->u, id, value.data, value.size));
        nokv_value_release(&value);
    }
}

static void check_get_copy(struct run *r, struct slice key, uint64_t id, const nokv_snapshot *snapshot)
{
    nokv_read_options options = {.struct_size = sizeof options, .snapshot = snapshot};
    size_t capacity = one_in(r, 4) ? draw(r, 200) : oracle_value_max(), size = SIZE_MAX;
    nokv_status status = nokv_get_copy(r->db, key.data, key.size, snapshot ? &options : NULL, r->copy, capacity, &size);
    if (id == 0) {
        CHECK(status == NOKV_ERR_NOT_FOUND && size == SIZE_MAX);
    } else if (size > capacity) {
        CHECK(status == NOKV_ERR_TOO_LARGE && size == oracle_value(&r->u, id, r->value).size);
    } else {
        CHECK(status == NOKV_OK && oracle_value_matches(&r->u, id, r->copy, size));
    }
}

static void check_get_range(struct run *r, struct slice key, uint64_t id, const nokv_snapshot *snapshot)
{
    nokv_read_options options = {.struct_size = sizeof options, .snapshot = snapshot};
    uint64_t off = draw(r, 3000), whole = UINT64_MAX;
    size_t wanted = draw(r, 5000), size = SIZE_MAX;
    nokv_status status =
        nokv_get_range(r->db, key.data, key.size, snapshot ? &options : NULL, off, r->copy, wanted, &size, &whole);
    CHECK(status == (id == 0 ? NOKV_ERR_NOT_FOUND : NOKV_OK));
    if (id == 0)
        return;
    struct slice value = oracle_value(&r->u, id, r->value);
    size_t left = off < value.size ? value.size - off : 0;
    CHECK(whole == value.size && size == (wanted < left ? wanted : left));
    CHECK(size == 0 || memcmp(r->copy, value.data + off, size) == 0);
}

static void op_get(struct run *r)
{
    const nokv_snapshot *snapshot;
    const struct state *state = draw_view(r, &snapshot);
    for (size_t n = 1 + draw(r, 8); n > 0; n--) {
        struct slice key = draw_target(r);
        size_t index = universe_find(&r->u, key);
        uint64_t id = index < r->u.count ? state->ids[index] : 0;
        if (key.size > 0 && key.size <= NOKV_KEY_SIZE_MAX && one_in(r, 4))
            check_get_copy(r, key, id, snapshot);
        else if (key.size > 0 && key.size <= NOKV_KEY_SIZE_MAX && one_in(r, 4))
            check_get_range(r, key, id, snapshot);
        else
            check_get(r, key, id, snapshot);
    }
}

/* The answer for one of many keys; it is released. */
static void check_answer(struct run *r, nokv_slice key, uint64_t id, nokv_status status, nokv_value *value)
{
    if (key.size == 0)
        CHECK(status == NOKV_ERR_INVALID);
    else if (key.size > NOKV_KEY_SIZE_MAX)
        CHECK(status == NOKV_ERR_TOO_LARGE);
    else
        CHECK(status == (id == 0 ? NOKV_ERR_NOT_FOUND : NOKV_OK));
    if (status == NOKV_OK)
        CHECK(oracle_value_matches(&r->u, id, value->data, value->size));
    else
        CHECK(value->data == NULL && value->_pin == NULL);
    nokv_value_release(value);
}

/* Keys that may be there, and one that may be anything, since there is one place for such. */
static void op_multi_get(struct run *r)
{
    nokv_slice keys[MULTI_MAX] = {{0}};
    nokv_value values[MULTI_MAX];
    nokv_status statuses[MULTI_MAX];
    uint64_t ids[MULTI_MAX];
    nokv_read_options options = {.struct_size = sizeof options};
    const struct state *state = draw_view(r, &options.snapshot);
    size_t count = one_in(r, 10) ? draw(r, MULTI_MAX + 1) : draw(r, 40),
           odd = one_in(r, 4) ? draw(r, count + 1) : count;
    for (size_t i = 0; i < count; i++) {
        struct slice key = i == odd ? draw_target(r) : r->u.keys[draw_key(r)];
        size_t index = universe_find(&r->u, key);
        ids[i] = index < r->u.count ? state->ids[index] : 0;
        keys[i] = (nokv_slice){.data = key.data, .size = key.size};
    }
    nokv_status status =
        nokv_multi_get(r->db, count, keys, options.snapshot || one_in(r, 2) ? &options : NULL, values, statuses);
    bool is_bad = odd < count && (keys[odd].size == 0 || keys[odd].size > NOKV_KEY_SIZE_MAX);
    CHECK(status == (is_bad ? statuses[odd] : NOKV_OK));
    for (size_t i = 0; i < count; i++)
        check_answer(r, keys[i], ids[i], statuses[i], &values[i]);
}

static void pin_release(struct run *r, struct held_value *p)
{
    if (p->id == 0)
        return;
    CHECK(oracle_value_matches(&r->u, p->id, p->value.data, p->value.size));
    nokv_value_release(&p->value);
    CHECK(p->value.data == NULL);
    p->id = 0;
}

static void op_pin(struct run *r)
{
    struct held_value *p = &r->pins[draw(r, PIN_SLOTS)];
    size_t key = draw_key(r);
    if (p->id != 0) {
        pin_release(r, p);
    } else if (r->now->ids[key] != 0) {
        CHECK_OK(nokv_get(r->db, r->u.keys[key].data, r->u.keys[key].size, NULL, &p->value));
        p->id = r->now->ids[key];
    }
}

/* ---- snapshots ------------------------------------------------------------------------------------------------- */

static void snapshot_release(struct run *r, struct held_snapshot *s)
{
    nokv_snapshot_release(r->db, s->snapshot);
    state_unref(s->state);
    *s = (struct held_snapshot){0};
}

static void op_snapshot(struct run *r)
{
    struct held_snapshot *s = &r->snapshots[draw(r, SNAPSHOT_SLOTS)];
    if (s->snapshot) {
        snapshot_release(r, s);
        return;
    }
    CHECK_OK(nokv_snapshot_create(r->db, &s->snapshot));
    s->state = state_copy(&r->u, r->now);
}

/* ---- iterators ------------------------------------------------------------------------------------------------- */

static nokv_slice public_slice(struct slice s)
{
    return (nokv_slice){.data = s.data, .size = s.size};
}

/* Whichever of bounds and prefix; each drawn into memory of its own, because draw_target has one place. */
static struct slice draw_bound(struct run *r, uint64_t rarity, uint8_t **out_copy)
{
    struct slice s = one_in(r, rarity) ? draw_target(r) : (struct slice){0};
    *out_copy = malloc(s.size + 1);
    CHECK(*out_copy != NULL);
    if (s.size)
        memcpy(*out_copy, s.data, s.size);
    return slice_make(*out_copy, s.size);
}

static void iter_start(struct run *r, struct held_iter *h)
{
    uint8_t *copies[3];
    struct slice lower = draw_bound(r, 3, &copies[0]), upper = draw_bound(r, 3, &copies[1]),
                 prefix = draw_bound(r, 6, &copies[2]);
    if (prefix.size > 2 && one_in(r, 2))
        prefix.size = 1 + draw(r, 2);
    nokv_iter_options options = {.struct_size = sizeof options,
                                 .lower = public_slice(lower),
                                 .upper = public_slice(upper),
                                 .prefix = public_slice(prefix)};
    struct state *state = draw_view(r, &options.snapshot);
    bool all = lower.size + upper.size + prefix.size == 0 && options.snapshot == NULL;
    CHECK_OK(nokv_iter_create(r->db, all ? NULL : &options, &h->iter));
    /* The present goes on changing: the iterator must not. */
    struct state *frozen = state == r->now ? state_copy(&r->u, state) : state_ref(state);
    cursor_init(&h->cursor, &r->u, frozen, lower, upper, prefix);
    state_unref(frozen);
    h->remembered = 0;
    CHECK(!nokv_iter_valid(h->iter));
    for (size_t i = 0; i < 3; i++) /* the bounds were copied */
        free(copies[i]);
}

static void iter_check(struct run *r, struct held_iter *h)
{
    const struct cursor *c = &h->cursor;
    CHECK_OK(nokv_iter_status(h->iter));
    CHECK(nokv_iter_valid(h->iter) == c->valid);
    if (!c->valid)
        return;
    nokv_slice key = nokv_iter_key(h->iter), value = {0};
    size_t value_size = nokv_iter_value_size(h->iter);
    if (!one_in(r, 5))
        value = nokv_iter_value(h->iter);
    struct slice wanted = r->u.keys[c->pos];
    CHECK(key.size == wanted.size && memcmp(key.data, wanted.data, key.size) == 0);
    CHECK(value_size == oracle_value(&r->u, c->state->ids[c->pos], r->value).size);
    CHECK(value.data == NULL || oracle_value_matches(&r->u, c->state->ids[c->pos], value.data, value.size));
    if (r->options.sst_read != NOKV_IO_MMAP) /* then nothing stays when the iterator moves */
        return;
    size_t slot = h->remembered < REMEMBERED ? h->remembered++ : draw(r, REMEMBERED * 8);
    if (slot >= REMEMBERED)
        return;
    h->keys[slot] = key;
    h->values[slot] =
        value_size < r->separated_least ? value : (nokv_slice){0}; /* those of the value log do not stay */
    h->indexes[slot] = c->pos;
    h->ids[slot] = c->state->ids[c->pos];
}

static void iter_move(struct run *r, struct held_iter *h)
{
    struct cursor *c = &h->cursor;
    uint64_t move = c->valid ? draw(r, 20) : draw(r, 4);
    if (move < 2) {
        struct slice target = draw_target(r);
        nokv_slice given = {.data = target.data, .size = target.size};
        if (c->valid && one_in(r, 4)) { /* its own key, where that lies now */
            target = r->u.keys[c->pos];
            given = nokv_iter_key(h->iter);
        }
        if (move == 0) {
            nokv_iter_seek(h->iter, given.data, given.size);
            cursor_seek(c, &r->u, target);
        } else {
            nokv_iter_seek_for_prev(h->iter, given.data, given.size);
            cursor_seek_for_prev(c, &r->u, target);
        }
    } else if (move == 2) {
        nokv_iter_first(h->iter);
        cursor_first(c);
    } else if (move == 3) {
        nokv_iter_last(h->iter);
        cursor_last(c);
    } else if (move < 12) {
        nokv_iter_next(h->iter);
        cursor_next(c);
    } else {
        nokv_iter_prev(h->iter);
        cursor_prev(c);
    }
    iter_check(r, h);
}

static void iter_end(struct run *r, struct held_iter *h)
{
    if (h->iter == NULL)
        return;
    for (size_t i = 0; i < h->remembered; i++) {
        struct slice wanted = r->u.keys[h->indexes[i]];
        CHECK(h->keys[i].size == wanted.size && memcmp(h->keys[i].data, wanted.data, wanted.size) == 0);
        if (h->values[i].data)
            CHECK(oracle_value_matches(&r->u, h->ids[i], h->values[i].data, h->values[i].size));
    }
    nokv_iter_destroy(h->iter);
    h->iter = NULL;
    state_unref(h->cursor.state);
}

static void op_iterate(struct run *r)
{
    struct held_iter *h = &r->iters[draw(r, ITER_SLOTS)];
    if (h->iter == NULL)
        iter_start(r, h);
    for (size_t n = draw(r, 25); n > 0; n--)
        iter_move(r, h);
    if (one_in(r, 2))
        iter_end(r, h);
}

/* Everything, forward and backward, as the present or a snapshot shows it. */
static void op_scan(struct run *r)
{
    struct held_iter h = {0};
    nokv_iter_options options = {.struct_size = sizeof options};
    struct state *state = draw_view(r, &options.snapshot);
    CHECK_OK(nokv_iter_create(r->db, &options, &h.iter));
    cursor_init(&h.cursor, &r->u, state, (struct slice){0}, (struct slice){0}, (struct slice){0});
    nokv_iter_first(h.iter);
    for (cursor_first(&h.cursor); iter_check(r, &h), h.cursor.valid; cursor_next(&h.cursor), nokv_iter_next(h.iter)) {
    }
    nokv_iter_last(h.iter);
    for (cursor_last(&h.cursor); iter_check(r, &h), h.cursor.valid; cursor_prev(&h.cursor), nokv_iter_prev(h.iter)) {
    }
    iter_end(r, &h);
}

/* ---- maintenance ----------------------------------------------------------------------------------------------- */

static void op_compact(struct run *r)
{
    struct slice first = one_in(r, 2) ? r->u.keys[draw_key(r)] : (struct slice){0};
    struct slice last = one_in(r, 2) ? r->u.keys[draw_key(r)] : (struct slice){0};
    CHECK_OK(nokv_compact_range(r->db, first.data, first.size, last.data, last.size));
    if (one_in(r, 2))
        CHECK_OK(nokv_vlog_collect(r->db, one_in(r, 2) ? 1.0 : 0));
}

static void op_verify(struct run *r)
{
    nokv_verify_report report;
    nokv_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(nokv_verify(r->db, NULL, NULL, &report));
    CHECK_OK(nokv_stats_get(r->db, one_in(r, 2), &stats));
    CHECK(stats.background_error == NOKV_OK);
}

static void release_all(struct run *r)
{
    for (size_t i = 0; i < ITER_SLOTS; i++)
        iter_end(r, &r->iters[i]);
    for (size_t i = 0; i < PIN_SLOTS; i++)
        pin_release(r, &r->pins[i]);
    for (size_t i = 0; i < SNAPSHOT_SLOTS; i++)
        snapshot_release(r, &r->snapshots[i]);
}

/* Every now and then what is written here is all that there is: no reader, no background work. */
static void close_db(struct run *r)
{
    release_all(r);
    if (one_in(r, 8)) {
        CHECK_OK(nokv_wait_idle(r->db));
        CHECK_OK(db_check(r->db));
    }
    nokv_db *db = r->db;
    r->db = NULL;
    CHECK_OK(nokv_close(db));
}

static void op_reopen(struct run *r)
{
    close_db(r);
    draw_options(r);
    CHECK_OK(nokv_open(r->dir, &r->options, &r->db));
    if (one_in(r, 4))
        op_scan(r);
}

static void op_read_only(struct run *r)
{
    close_db(r);
    nokv_options saved = r->options;
    r->options.read_only = true;
    CHECK_OK(nokv_open(r->dir, &r->options, &r->db));
    op_scan(r);
    for (int i = 0; i < 10; i++)
        op_get(r);
    op_multi_get(r);
    op_iterate(r);
    CHECK(nokv_put(r->db, "a", 1, "b", 1, NULL) == NOKV_ERR_READ_ONLY);
    CHECK(nokv_flush(r->db) == NOKV_ERR_READ_ONLY);
    close_db(r);
    r->options = saved;
    CHECK_OK(nokv_open(r->dir, &r->options, &r->db));
}

/* ---- a run ----------------------------------------------------------------------------------------------------- */

static void op_run(struct run *r, enum op_kind kind)
{
    switch (kind) {
    case OP_PUT:
        op_put(r);
        break;
    case OP_DELETE:
        op_delete(r);
        break;
    case OP_BATCH:
        op_batch(r);
        break;
    case OP_GET:
        op_get(r);
        break;
    case OP_MULTI_GET:
        op_multi_get(r);
        break;
    case OP_PIN:
        op_pin(r);
        break;
    case OP_ITERATE:
        op_iterate(r);
        break;
    case OP_SNAPSHOT:
        op_snapshot(r);
        break;
    case OP_SCAN:
        op_scan(r);
        break;
    case OP_FLUSH:
        CHECK_OK(nokv_flush(r->db));
        break;
    case OP_COMPACT:
        op_compact(r);
        break;
    case OP_IDLE:
        CHECK_OK(nokv_wait_idle(r->db));
        break;
    case OP_VERIFY:
        op_verify(r);
        break;
    case OP_REOPEN:
        op_reopen(r);
        break;
    case OP_READ_ONLY:
        op_read_only(r);
        break;
    case OP_KIND_COUNT:
        break;
    }
}

static void run_init(struct run *r, const char *dir, uint64_t seed, size_t io_models, struct run_report *report)
{
    *r = (struct run){.dir = dir, .rng = seed, .io_models = io_models, .report = report, .separated_least = UINT64_MAX};
    universe_init(&r->u, seed);
    r->now = state_create(&r->u);
    r->value = malloc(oracle_value_max());
    r->copy = malloc(oracle_value_max());
    r->probe = malloc(PROBE_BYTES);
    CHECK(r->value && r->copy && r->probe);
    CHECK_OK(nokv_batch_create(&r->batch));
    draw_options(r);
    CHECK_OK(nokv_open(dir, &r->options, &r->db));
}

static void run_deinit(struct run *r)
{
    nokv_batch_destroy(r->batch);
    state_unref(r->now);
    universe_deinit(&r->u);
    free(r->value);
    free(r->copy);
    free(r->probe);
}

void model_run(const char *dir, uint64_t seed, size_t io_models, const struct op *ops, size_t count,
               struct run_report *report)
{
    struct run run, *r = &run;
    run_init(r, dir, seed, io_models, report);
    for (size_t i = 0; i < count; i++) {
        r->rng = ops[i].seed;
        r->value_id = (ops[i].number + 1) << 16;
        op_run(r, ops[i].kind);
        report->ops_done = i + 1;
    }
    r->rng = seed;
    release_all(r);
    op_scan(r);
    op_verify(r);
    op_reopen(r);
    op_scan(r);
    close_db(r);
    CHECK_OK(nokv_destroy(dir));
    run_deinit(r);
}
