// SPDX-License-Identifier: Apache-2.0
/*
 * The database and its check: see flip_scene.h.
 *
 * Values follow from their sequence number alone, so that each answer can be held against any state of the history.
 */
#include "flip_scene.h"

#include "lsm/names.h"

enum { VALUE_MAX = 9000 };

static size_t key_make(uint32_t key, char out[32])
{
    return (size_t)snprintf(out, 32, "key%03u%s", key, key % 5 == 0 ? "/with-a-name" : "");
}

static void value_make(uint64_t seq, uint8_t *out, size_t size)
{
    uint64_t state = seq;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t r = test_random(&state);
        memcpy(out + i, &r, size - i < 8 ? size - i : 8);
    }
}

/* ---- building --------------------------------------------------------------------------------------------------- */

static void options_make(nokv_options *o)
{
    nokv_options_init(o);
    o->inline_background_work = true;
    o->memtable_bytes = 64 << 10;
    o->wal_buffer_bytes = 64 << 10;
    o->table_bytes = 64 << 10;
    o->level_base_bytes = 64 << 10;
    o->level_ratio = 2;
    o->l0_compact_files = 8;
    o->l0_busy_files = 8;
    o->value_separation_min = 1800;
    o->value_direct_min = 4000;
    o->vlog_segment_bytes = 64 << 10;
    o->vlog_space_amp_max = 1000;
    o->block_cache_bytes = 64 << 10;
}

/* Inline three times, in the value log at flush, directly. */
static uint32_t size_of(uint32_t key, uint32_t round)
{
    static const uint32_t sizes[] = {0, 900, 1500, 2600, 1700, 40, 5000};
    return sizes[(key + round) % ARRAY_COUNT(sizes)];
}

static void note(struct scene *s, uint32_t key, uint32_t size, bool is_delete, bool ends_batch)
{
    assert_true(s->count < SCENE_WRITES_MAX);
    s->writes[s->count] = (struct scene_write){s->count + 1, key, size, is_delete, ends_batch, NULL};
    s->count++;
}

/* What is asked for a million times is not made a million times. */
static void value_keep(struct scene *s, const uint8_t *value, size_t size)
{
    struct scene_write *w = &s->writes[s->count - 1];
    w->value = malloc(size + 1);
    assert_non_null(w->value);
    memcpy(w->value, value, size);
}

static void put(struct scene *s, nokv_db *db, uint32_t key, uint32_t size, nokv_sync sync)
{
    static uint8_t value[VALUE_MAX];
    char name[32];
    nokv_write_options wo = {.struct_size = sizeof wo, .sync = sync};
    note(s, key, size, false, true);
    value_make(s->count, value, size);
    value_keep(s, value, size);
    OK(nokv_put(db, name, key_make(key, name), value, size, &wo));
}

static void erase(struct scene *s, nokv_db *db, uint32_t key)
{
    char name[32];
    note(s, key, 0, true, true);
    OK(nokv_delete(db, name, key_make(key, name), NULL));
}

static void batch(struct scene *s, nokv_db *db, uint32_t first, uint32_t count)
{
    static uint8_t value[VALUE_MAX];
    nokv_batch *b = NULL;
    OK(nokv_batch_create(&b));
    for (uint32_t i = 0; i < count; i++) {
        char name[32];
        bool is_delete = i == 1;
        uint32_t size = is_delete ? 0 : 30 + i;
        note(s, first + i, size, is_delete, i + 1 == count);
        value_make(s->count, value, size);
        value_keep(s, value, size);
        size_t key_size = key_make(first + i, name);
        OK(is_delete ? nokv_batch_delete(b, name, key_size) : nokv_batch_put(b, name, key_size, value, size));
    }
    OK(nokv_write(db, b, NULL));
    nokv_batch_destroy(b);
}

/* Tables on three levels: two versions of keys in one, tombstones, pointers of both kinds. */
static void tables_build(struct scene *s, nokv_db *db)
{
    const nokv_snapshot *snapshot = NULL;
    for (uint32_t k = 0; k < SCENE_KEYS; k++)
        put(s, db, k, size_of(k, 0), NOKV_SYNC_NONE);
    OK(nokv_snapshot_create(db, &snapshot));
    for (uint32_t k = 0; k < SCENE_KEYS; k += 11)
        put(s, db, k, size_of(k, 1), NOKV_SYNC_NONE);
    OK(nokv_compact_range(db, NULL, 0, NULL, 0));
    for (uint32_t k = 3; k < SCENE_KEYS; k += 4)
        put(s, db, k, size_of(k, 2) / 2, NOKV_SYNC_NONE);
    OK(nokv_flush(db));
    nokv_snapshot_release(db, snapshot);
}

static void level0_build(struct scene *s, nokv_db *db)
{
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t k = round; k < SCENE_KEYS; k += 13)
            put(s, db, k, size_of(k, 3 + round), NOKV_SYNC_NONE);
        for (uint32_t k = 5 + round; k < SCENE_KEYS; k += 29)
            erase(s, db, k);
        OK(nokv_flush(db));
    }
}

/* Logs that no table has yet; what of it is marked as synced is noted. */
static void log_build(struct scene *s, nokv_db *db, uint32_t first)
{
    put(s, db, first, 300, NOKV_SYNC_NONE);
    erase(s, db, first + 1);
    put(s, db, first + 2, 4500, NOKV_SYNC_COMMIT);
    batch(s, db, first + 3, 4);
    put(s, db, first + 8, 0, NOKV_SYNC_COMMIT);
    s->marked_seq = s->count;
    put(s, db, first + 9, 200, NOKV_SYNC_NONE); /* the mark stands in front of it */
    put(s, db, first + 10, 6000, NOKV_SYNC_NONE);
    put(s, db, first + 11, 60, NOKV_SYNC_NONE);
}

static nokv_db *life_begin(struct scene *s, struct io **out_io)
{
    nokv_db *db = NULL;
    OK(sim_io_create(s->sim, out_io));
    OK(db_open(*out_io, SCENE_DIR, &s->options, &db));
    return db;
}

static void life_end(struct scene *s, nokv_db *db, struct io *io, bool is_closed)
{
    if (is_closed) {
        OK(nokv_close(db));
    } else {
        sim_crash_after(s->sim, 0);
        (void)nokv_close(db);
    }
    io_destroy(io);
    sim_process_kill(s->sim);
}

static void layout_check(nokv_db *db)
{
    const struct version *v = db->version;
    size_t below = 0;
    for (size_t l = 1; l < LEVELS_MAX; l++)
        below += v->levels[l].count;
    assert_true(v->levels[0].count >= 2 && below >= 2 && db->segment_count >= 3);
}

/* The last life, or its first half. */
static void last_life(struct scene *s, enum scene_kind kind, bool is_older)
{
    struct io *io = NULL;
    nokv_db *db = life_begin(s, &io);
    log_build(s, db, 60);
    if (!is_older)
        log_build(s, db, 80);
    s->log_end = rlog_end(db->wal);
    if (!is_older && kind == SCENE_FLUSHED) {
        OK(nokv_flush(db));
        s->sealed_seq = s->marked_seq = s->count;
    }
    life_end(s, db, io, kind == SCENE_CLOSED && !is_older);
    if (kind == SCENE_CLOSED)
        s->marked_seq = s->count;
}

/* The same steps give the same bytes, so that the older disk is one that the newer one has been. */
static void disk_build(struct scene *s, enum scene_kind kind, bool is_older)
{
    struct io *io = NULL;
    struct sim_options so = {.seed = 1};
    memset(s, 0, sizeof *s);
    options_make(&s->options);
    OK(sim_create(&so, &s->sim));
    nokv_db *db = life_begin(s, &io);
    tables_build(s, db);
    level0_build(s, db);
    log_build(s, db, 20);
    layout_check(db);
    life_end(s, db, io, true); /* a sealed log with records */
    s->sealed_seq = s->count;
    last_life(s, kind, is_older);
}

static void values_free(struct scene *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->writes[i].value);
}

void scene_build(struct scene *s, enum scene_kind kind)
{
    struct sim *older = NULL;
    disk_build(s, kind, true);
    older = s->sim;
    values_free(s);
    disk_build(s, kind, false);
    s->older = older;
}

void scene_deinit(struct scene *s)
{
    values_free(s);
    sim_destroy(s->sim);
    sim_destroy(s->older);
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

struct question {
    const struct scene *s;
    nokv_db *db;
    const char *file, *what;
    struct answer *answer;
    const struct scene_write *expected[SCENE_KEYS]; /* NULL: never written, or deleted */
    size_t present;
};

/* CORRUPT is an answer, anything else is a failure. The first one's message is kept. */
static void corrupt_note(struct question *q, enum nokv_status status, enum verdict verdict, const char *where)
{
    if (status != NOKV_ERR_CORRUPT)
        fail_msg("%s: %s: %s: %s", q->what, where, status_name(status), status_message());
    if (q->answer->verdict < VERDICT_SHORTER)
        return;
    q->answer->verdict = verdict;
    q->answer->is_named = strstr(status_message(), q->file) != NULL;
    snprintf(q->answer->message, sizeof q->answer->message, "%s", status_message());
}

static void expected_make(struct question *q, uint64_t seq)
{
    memset(q->expected, 0, sizeof q->expected);
    for (size_t i = 0; i < seq; i++)
        q->expected[q->s->writes[i].key] = &q->s->writes[i];
    for (size_t k = 0; k < SCENE_KEYS; k++) {
        if (q->expected[k] && q->expected[k]->is_delete)
            q->expected[k] = NULL;
        q->present += q->expected[k] != NULL;
    }
}

static void answer_check(const struct question *q, uint32_t key, const void *data, size_t size, const char *where)
{
    const struct scene_write *w = q->expected[key];
    if (w == NULL)
        fail_msg("%s: %s: key %u has %zu bytes and should not be there", q->what, where, key, size);
    if (size != w->size || memcmp(data, w->value, size) != 0)
        fail_msg("%s: %s: key %u has %zu bytes that are not those of write %llu", q->what, where, key, size,
                 (unsigned long long)w->seq);
}

static void got_check(struct question *q, uint32_t key, enum nokv_status status, nokv_value *value, const char *where)
{
    if (status == NOKV_OK)
        answer_check(q, key, value->data, value->size, where);
    else if (status != NOKV_ERR_NOT_FOUND)
        corrupt_note(q, status, VERDICT_READ, where);
    else if (q->expected[key])
        fail_msg("%s: %s: key %u is not there", q->what, where, key);
    nokv_value_release(value);
}

static void gets_check(struct question *q)
{
    for (uint32_t k = 0; k < SCENE_KEYS; k++) {
        char name[32];
        nokv_value value = {0};
        enum nokv_status status = nokv_get(q->db, name, key_make(k, name), NULL, &value);
        got_check(q, k, status, &value, "get");
    }
}

static void multi_get_check(struct question *q)
{
    static char names[SCENE_KEYS][32];
    nokv_slice keys[SCENE_KEYS];
    nokv_value values[SCENE_KEYS];
    nokv_status statuses[SCENE_KEYS];
    for (uint32_t k = 0; k < SCENE_KEYS; k++)
        keys[k] = (nokv_slice){names[k], key_make(k, names[k])};
    enum nokv_status status = nokv_multi_get(q->db, SCENE_KEYS, keys, NULL, values, statuses);
    if (status != NOKV_OK)
        corrupt_note(q, status, VERDICT_READ, "multi_get");
    for (uint32_t k = 0; k < SCENE_KEYS; k++)
        got_check(q, k, statuses[k], &values[k], "multi_get");
}

static uint32_t key_number(nokv_slice key)
{
    const char *p = key.data;
    return (uint32_t)((p[3] - '0') * 100 + (p[4] - '0') * 10 + (p[5] - '0'));
}

/* The next key that must be shown in this direction; SCENE_KEYS: none. */
static uint32_t next_present(const struct question *q, uint32_t key, bool backward)
{
    for (uint32_t n = 0; n < SCENE_KEYS; n++) {
        key = backward ? key - 1 : key + 1;
        if (key >= SCENE_KEYS)
            return SCENE_KEYS;
        if (q->expected[key])
            return key;
    }
    return SCENE_KEYS;
}

/* Shows exactly the keys that are there, in order, up to an error. */
static void scan_check(struct question *q, bool backward)
{
    const char *where = backward ? "backward scan" : "forward scan";
    nokv_iter *it = NULL;
    uint32_t wanted = next_present(q, backward ? SCENE_KEYS : UINT32_MAX, backward);
    enum nokv_status status = nokv_iter_create(q->db, NULL, &it);
    if (status != NOKV_OK) {
        corrupt_note(q, status, VERDICT_READ, where);
        return;
    }
    for (backward ? nokv_iter_last(it) : nokv_iter_first(it); nokv_iter_valid(it);
         backward ? nokv_iter_prev(it) : nokv_iter_next(it)) {
        nokv_slice key = nokv_iter_key(it);
        char name[32];
        if (wanted == SCENE_KEYS || key.size != key_make(wanted, name) || memcmp(key.data, name, key.size) != 0)
            fail_msg("%s: %s: shows %.*s, key %u comes next", q->what, where, (int)key.size, (const char *)key.data,
                     wanted);
        nokv_slice value = nokv_iter_value(it);
        if (!nokv_iter_valid(it))
            break;
        answer_check(q, key_number(key), value.data, value.size, where);
        wanted = next_present(q, wanted, backward);
    }
    status = nokv_iter_status(it);
    if (status != NOKV_OK)
        corrupt_note(q, status, VERDICT_READ, where);
    else if (wanted != SCENE_KEYS)
        fail_msg("%s: %s: ends in front of key %u", q->what, where, wanted);
    nokv_iter_destroy(it);
}

/* The state that it came back to. */
static uint64_t sequence_check(struct question *q, uint64_t floor)
{
    nokv_stats stats = {.struct_size = sizeof stats};
    OK(nokv_stats_get(q->db, false, &stats));
    if (stats.sequence < floor || stats.sequence > q->s->count)
        fail_msg("%s: came back with sequence number %llu, of %zu, and %llu may not be lost", q->what,
                 (unsigned long long)stats.sequence, q->s->count, (unsigned long long)floor);
    if (stats.sequence > 0 && !q->s->writes[stats.sequence - 1].ends_batch)
        fail_msg("%s: half a batch came back: sequence number %llu", q->what, (unsigned long long)stats.sequence);
    return stats.sequence;
}

static void everything_check(struct question *q, uint64_t floor)
{
    uint64_t seq = sequence_check(q, floor);
    nokv_verify_report report;
    expected_make(q, seq);
    gets_check(q);
    multi_get_check(q);
    scan_check(q, false);
    scan_check(q, true);
    enum nokv_status status = nokv_verify(q->db, NULL, NULL, &report);
    if (status != NOKV_OK)
        corrupt_note(q, status, VERDICT_VERIFY, "verify");
    if (q->answer->verdict == VERDICT_SILENT && seq < q->s->count)
        q->answer->verdict = VERDICT_SHORTER;
}

void scene_ask(const struct scene *s, struct sim *copy, bool read_only, const char *file, uint64_t floor,
               const char *what, struct answer *out)
{
    struct question q = {.s = s, .file = file, .what = what, .answer = out};
    struct io *io = NULL;
    nokv_options options = s->options;
    options.read_only = read_only;
    *out = (struct answer){.verdict = VERDICT_SILENT};
    OK(sim_io_create(copy, &io));
    enum nokv_status status = db_open(io, SCENE_DIR, &options, &q.db);
    if (status != NOKV_OK) {
        corrupt_note(&q, status, VERDICT_REFUSED, "open");
    } else {
        everything_check(&q, floor);
        OK(nokv_close(q.db));
    }
    io_destroy(io);
}
