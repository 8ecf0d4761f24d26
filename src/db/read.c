// SPDX-License-Identifier: Apache-2.0
/*
 * The read path: get, snapshots, iterators. No lock, and no store to a cache line that another reader uses.
 *
 *      get ─► epoch ─► view ─► memtable ─► immutables ─► version (level 0 … n) ─► pin ─► epoch end
 *                                                          a pointer: pin its segment ─► epoch end ─► read the value
 *
 * A value that nokv_get hands out is held by a pin on its memtable or table, not by the epoch: it may be kept for as
 * long as the user likes, and only that one file or memtable (or block of the cache, where tables are not mapped) lives
 * on for it. nokv_value._pin is the object, _kind says which sort it is. The value log is read after the epoch section:
 * a disk may take its time, memory that others gave up should not wait for it.
 */
#include "base/alloc.h"
#include "db/db.h"

enum { PIN_NONE = 0, PIN_MEMTABLE = 1, PIN_TABLE = 2, PIN_SEGMENT = 3, PIN_HEAP = 4, PIN_BLOCK = 5 };

struct counter_slot *db_counters(struct nokv_db *db)
{
    return &db->counters[epoch_thread_index() % COUNTER_SLOTS];
}

/* REQUIRES: inside an epoch section, or with a reference to the view. */
static inline void memtables_get(const struct view *v, struct slice key, uint64_t seq, struct found *out)
{
    memtable_get(v->mem, key, seq, &out->lookup);
    out->mem = v->mem;
    for (size_t i = 0; !out->lookup.found && i < v->immutable_count; i++) {
        memtable_get(v->immutables[i], key, seq, &out->lookup);
        out->mem = v->immutables[i];
    }
}

/* REQUIRES: as above. */
static inline enum nokv_status view_get(const struct view *v, struct slice key, uint64_t seq, struct found *out)
{
    struct table *table;
    memtables_get(v, key, seq, out);
    if (out->lookup.found)
        return NOKV_OK;
    out->mem = NULL;
    TRY(version_get(v->version, key, seq, &out->lookup, &table));
    out->table = table ? table->reader : NULL;
    return NOKV_OK;
}

uint64_t db_read_seq(const struct nokv_db *db, const nokv_snapshot *snapshot)
{
    if (snapshot)
        return snapshot->seq;
    return atomic_load_explicit(&db->visible_seq, memory_order_acquire);
}

/* Not found, deleted, or a kind that gets do not resolve yet. */
static inline enum nokv_status found_check(const struct found *f)
{
    if (!f->lookup.found || tag_kind(f->lookup.tag) == KEY_TOMBSTONE)
        return NOKV_ERR_NOT_FOUND;
    if (tag_kind_byte(f->lookup.tag) != KEY_VALUE && tag_kind_byte(f->lookup.tag) != KEY_VALUE_POINTER)
        return FAIL(NOT_SUPPORTED, "an entry of kind %u, which this version cannot read", tag_kind_byte(f->lookup.tag));
    return NOKV_OK;
}

static inline enum nokv_status located_set(const struct view *v, struct found *f, struct located *out)
{
    if (UNLIKELY(tag_kind_byte(f->lookup.tag) == KEY_VALUE_POINTER)) {
        TRY(segment_follow(v->segments, f->lookup.value, &out->pointer, &out->segment));
        segment_pin(out->segment);
        return NOKV_OK;
    }
    out->value.data = f->lookup.value.data;
    out->value.size = f->lookup.value.size;
    if (f->mem) {
        memtable_pin(f->mem);
        out->value._pin = f->mem;
        out->value._kind = PIN_MEMTABLE;
    } else if (f->lookup.holder) {
        out->value._pin = TAKE(f->lookup.holder);
        out->value._kind = PIN_BLOCK;
    } else {
        sst_reader_pin(f->table);
        out->value._pin = f->table;
        out->value._kind = PIN_TABLE;
    }
    return NOKV_OK;
}

void db_find_in_memory(const struct view *v, struct slice key, uint64_t seq, struct found *out_found)
{
    memtables_get(v, key, seq, out_found);
}

enum nokv_status db_find(const struct view *v, struct slice key, uint64_t seq, struct found *out_found)
{
    return view_get(v, key, seq, out_found);
}

enum nokv_status db_found_locate(const struct view *v, struct found *f, struct located *out)
{
    enum nokv_status status = found_check(f);
    if (LIKELY(status == NOKV_OK))
        status = located_set(v, f, out);
    if (UNLIKELY(f->lookup.holder != NULL))
        cache_block_unref(TAKE(f->lookup.holder)); /* nothing is borrowed from it */
    return status;
}

/*
 * REQUIRES: inside an epoch section. The loop: a view's memtable goes on growing, and what is written into it may point
 * to a segment of the value log that is younger than the view. Whoever sees such an entry's sequence number then sees
 * the view that has the segment too, since that was published first. (No new view can have the address of this one
 * while we are inside.)
 */
static inline struct view *view_load_at(struct nokv_db *db, const nokv_snapshot *snapshot, uint64_t *out_seq)
{
    struct view *v = atomic_load_explicit(&db->view, memory_order_seq_cst), *before;
    do {
        before = v;
        *out_seq = db_read_seq(db, snapshot);
        v = atomic_load_explicit(&db->view, memory_order_seq_cst);
    } while (UNLIKELY(v != before));
    return v;
}

struct view *db_view_acquire_at(struct nokv_db *db, const nokv_snapshot *snapshot, uint64_t *out_seq)
{
    epoch_enter();
    struct view *v = view_load_at(db, snapshot, out_seq);
    view_ref(v); /* the database's own reference cannot go while we are inside */
    epoch_exit();
    return v;
}

void db_view_release(struct nokv_db *db, struct view *v)
{
    if (!view_unref(v))
        return;
    mutex_lock(&db->mu);
    background_wake_locked(db); /* what only this view held is theirs to end */
    mutex_unlock(&db->mu);
}

/* Find the key; no value is read yet. */
static enum nokv_status db_locate(struct nokv_db *db, struct slice key, const nokv_snapshot *snapshot,
                                  struct located *out)
{
    struct found f = {0};
    struct counter_slot *counters = db_counters(db);
    atomic_fetch_add_explicit(&counters->gets, 1, memory_order_relaxed);
    epoch_enter();
    uint64_t seq;
    struct view *v = view_load_at(db, snapshot, &seq);
    enum nokv_status status = view_get(v, key, seq, &f);
    if (LIKELY(status == NOKV_OK))
        status = found_check(&f);
    if (LIKELY(status == NOKV_OK))
        status = located_set(v, &f, out);
    if (UNLIKELY(f.lookup.holder != NULL))
        cache_block_unref(f.lookup.holder); /* nothing is borrowed from it */
    epoch_exit();
    if (LIKELY(status == NOKV_OK))
        atomic_fetch_add_explicit(&counters->gets_found, 1, memory_order_relaxed);
    return status;
}

static enum nokv_status locate(struct nokv_db *db, const void *key, size_t key_size, const nokv_read_options *options,
                               struct located *out)
{
    nokv_read_options given = {0};
    TRY(key_check(key, key_size));
    if (options)
        TRY(call_options_copy(options, "nokv_read_options", sizeof given, &given));
    TRY(epoch_register());
    return db_locate(db, slice_make(key, key_size), given.snapshot, out);
}

/* Read a value of the value log into memory of its own. */
static enum nokv_status value_copy(struct located *l, struct slice key, nokv_value *out_value)
{
    uint8_t *memory;
    struct slice value;
    TRY(segment_read_whole(l->segment, &l->pointer, key, &memory, &value));
    segment_unpin(l->segment);
    *out_value = (nokv_value){.data = value.data, .size = value.size, ._pin = memory, ._kind = PIN_HEAP};
    return NOKV_OK;
}

/* The value as it came with a read that somebody has done ahead. False: it did not, or is not sound. */
static bool value_take(const struct located *l, struct slice key, struct io_read_request *request,
                       nokv_value *out_value)
{
    struct slice value;
    if (request == NULL ||
        vlog_read_finish(segment_reader_now(l->segment), &l->pointer, key, request, &value) != NOKV_OK)
        return false;
    segment_unpin(l->segment);
    *out_value = (nokv_value){.data = value.data, .size = value.size, ._pin = request->buffer, ._kind = PIN_HEAP};
    request->buffer = NULL;
    return true;
}

enum nokv_status db_located_fetch(struct located *l, struct slice key, struct io_read_request *request,
                                  nokv_value *out_value)
{
    struct slice in_place;
    enum nokv_status status = segment_read_in_place(l->segment, &l->pointer, key, &in_place);
    if (status == NOKV_OK && in_place.data) {
        *out_value =
            (nokv_value){.data = in_place.data, .size = in_place.size, ._pin = l->segment, ._kind = PIN_SEGMENT};
        return NOKV_OK;
    }
    if (status == NOKV_OK && value_take(l, key, request, out_value))
        return NOKV_OK;
    if (status == NOKV_OK)
        status = value_copy(l, key, out_value);
    if (status != NOKV_OK)
        segment_unpin(l->segment);
    return status;
}

nokv_status nokv_get(nokv_db *db, const void *key, size_t key_size, const nokv_read_options *options,
                     nokv_value *out_value)
{
    struct located l = {0};
    TRY(locate(db, key, key_size, options, &l));
    if (UNLIKELY(l.segment != NULL))
        return db_located_fetch(&l, slice_make(key, key_size), NULL, out_value);
    *out_value = l.value;
    return NOKV_OK;
}

void nokv_value_release(nokv_value *value)
{
    if (value->_kind == PIN_MEMTABLE)
        memtable_unpin(value->_pin);
    else if (value->_kind == PIN_TABLE)
        sst_reader_unpin(value->_pin);
    else if (value->_kind == PIN_SEGMENT)
        segment_unpin(value->_pin);
    else if (value->_kind == PIN_BLOCK)
        cache_block_unref(value->_pin);
    else if (value->_kind == PIN_HEAP)
        mem_free(value->_pin);
    *value = (nokv_value){0};
}

struct copy_args {
    void *to;
    const void *from;
    size_t size;
};

static enum nokv_status copy_guarded(void *arg)
{
    const struct copy_args *a = arg;
    memcpy(a->to, a->from, a->size);
    return NOKV_OK;
}

/* Copy bytes [off, off + size) of a located value, and drop its pin. REQUIRES: inside the value. */
static enum nokv_status located_copy(struct located *l, struct slice key, uint64_t off, void *buffer, size_t size)
{
    enum nokv_status status = NOKV_OK;
    if (l->segment) {
        if (size > 0)
            status = segment_read(l->segment, &l->pointer, key, off, buffer, size);
        segment_unpin(l->segment);
        return status;
    }
    if (size > 0) {
        struct copy_args args = {.to = buffer, .from = (const uint8_t *)l->value.data + off, .size = size};
        status = io_guarded(copy_guarded, &args);
    }
    nokv_value_release(&l->value);
    return status;
}

static size_t located_size(const struct located *l)
{
    return l->segment ? l->pointer.value_size : l->value.size;
}

static void located_release(struct located *l)
{
    if (l->segment)
        segment_unpin(l->segment);
    else
        nokv_value_release(&l->value);
}

nokv_status nokv_get_copy(nokv_db *db, const void *key, size_t key_size, const nokv_read_options *options, void *buffer,
                          size_t capacity, size_t *out_size)
{
    struct located l = {0};
    TRY(locate(db, key, key_size, options, &l));
    size_t size = located_size(&l);
    if (size > capacity) {
        located_release(&l);
        *out_size = size;
        return FAIL(TOO_LARGE, "the value has %zu bytes, the buffer %zu", size, capacity);
    }
    TRY(located_copy(&l, slice_make(key, key_size), 0, buffer, size));
    *out_size = size;
    return NOKV_OK;
}

nokv_status nokv_get_range(nokv_db *db, const void *key, size_t key_size, const nokv_read_options *options,
                           uint64_t off, void *buffer, size_t size, size_t *out_size, uint64_t *out_value_size)
{
    struct located l = {0};
    TRY(locate(db, key, key_size, options, &l));
    uint64_t whole = located_size(&l), begin = u64_min(off, whole), count = u64_min(size, whole - begin);
    TRY(located_copy(&l, slice_make(key, key_size), begin, buffer, count));
    *out_size = count;
    if (out_value_size)
        *out_value_size = whole;
    return NOKV_OK;
}

/* ---- snapshots ------------------------------------------------------------------------------------------------ */

nokv_status nokv_snapshot_create(nokv_db *db, const nokv_snapshot **out_snapshot)
{
    struct nokv_snapshot *s = mem_zalloc(sizeof *s);
    if (s == NULL)
        return FAIL(NO_MEMORY, "no memory for a snapshot");
    mutex_lock(&db->mu);
    /* Under mu, so that a compaction that lists the snapshots sees it or has an older view of the sequence numbers. */
    s->seq = atomic_load_explicit(&db->visible_seq, memory_order_acquire);
    s->next = &db->snapshots;
    s->prev = db->snapshots.prev;
    s->prev->next = s;
    s->next->prev = s;
    db->snapshot_count++;
    mutex_unlock(&db->mu);
    *out_snapshot = s;
    return NOKV_OK;
}

void nokv_snapshot_release(nokv_db *db, const nokv_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    struct nokv_snapshot *s = (struct nokv_snapshot *)(uintptr_t)snapshot;
    mutex_lock(&db->mu);
    s->prev->next = s->next;
    s->next->prev = s->prev;
    db->snapshot_count--;
    mutex_unlock(&db->mu);
    mem_free(s);
}
