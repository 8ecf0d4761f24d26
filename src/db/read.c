// SPDX-License-Identifier: Apache-2.0
/*
 * The read path: get, snapshots, iterators. No lock, and no store to a cache line that another reader uses.
 *
 *      get ─► epoch ─► view ─► memtable ─► immutables ─► version (level 0 … n) ─► pin ─► epoch end
 *
 * A value that nokv_get hands out is held by a pin on its memtable or table, not by the epoch: it may be kept for as
 * long as the user likes, and only that one file or memtable lives on for it. nokv_value._pin is the object, the lowest
 * bits of _kind say which sort it is.
 */
#include "base/alloc.h"
#include "db/db.h"

enum { PIN_NONE = 0, PIN_MEMTABLE = 1, PIN_TABLE = 2 };

struct counter_slot *db_counters(struct nokv_db *db)
{
    return &db->counters[epoch_thread_index() % COUNTER_SLOTS];
}

/* What one lookup found, and what keeps it in place. */
struct found {
    struct lookup lookup;
    struct memtable *mem; /* or */
    struct table *table;
};

/* REQUIRES: inside an epoch section, or with a reference to the view. */
static enum nokv_status view_get(const struct view *v, struct slice key, uint64_t seq, struct found *out)
{
    memtable_get(v->mem, key, seq, &out->lookup);
    out->mem = v->mem;
    for (size_t i = 0; !out->lookup.found && i < v->immutable_count; i++) {
        memtable_get(v->immutables[i], key, seq, &out->lookup);
        out->mem = v->immutables[i];
    }
    if (out->lookup.found)
        return NOKV_OK;
    out->mem = NULL;
    return version_get(v->version, key, seq, &out->lookup, &out->table);
}

static uint64_t read_seq(const struct nokv_db *db, const nokv_snapshot *snapshot)
{
    if (snapshot)
        return snapshot->seq;
    return atomic_load_explicit(&db->visible_seq, memory_order_acquire);
}

/* Not found, deleted, or a kind that gets do not resolve yet. */
static enum nokv_status found_check(const struct found *f)
{
    if (!f->lookup.found || tag_kind(f->lookup.tag) == KEY_TOMBSTONE)
        return NOKV_ERR_NOT_FOUND;
    if (tag_kind_byte(f->lookup.tag) != KEY_VALUE)
        return FAIL(NOT_SUPPORTED, "an entry of kind %u, which this version cannot read", tag_kind_byte(f->lookup.tag));
    return NOKV_OK;
}

static enum nokv_status db_get(struct nokv_db *db, struct slice key, const nokv_snapshot *snapshot,
                               nokv_value *out_value)
{
    struct found f = {0};
    struct counter_slot *counters = db_counters(db);
    atomic_fetch_add_explicit(&counters->gets, 1, memory_order_relaxed);
    epoch_enter();
    struct view *v = atomic_load_explicit(&db->view, memory_order_seq_cst);
    enum nokv_status status = view_get(v, key, read_seq(db, snapshot), &f);
    if (LIKELY(status == NOKV_OK))
        status = found_check(&f);
    if (LIKELY(status == NOKV_OK)) {
        if (f.mem)
            memtable_pin(f.mem);
        else
            sst_reader_pin(f.table->reader);
    }
    void *pin = f.mem ? (void *)f.mem : f.table ? (void *)f.table->reader : NULL;
    epoch_exit();
    if (UNLIKELY(status != NOKV_OK))
        return status;
    atomic_fetch_add_explicit(&counters->gets_found, 1, memory_order_relaxed);
    *out_value = (nokv_value){.data = f.lookup.value.data,
                              .size = f.lookup.value.size,
                              ._pin = pin,
                              ._kind = f.mem ? PIN_MEMTABLE : PIN_TABLE};
    return NOKV_OK;
}

nokv_status nokv_get(nokv_db *db, const void *key, size_t key_size, const nokv_read_options *options,
                     nokv_value *out_value)
{
    nokv_read_options given = {0};
    TRY(key_check(key, key_size));
    if (options)
        TRY(call_options_copy(options, "nokv_read_options", sizeof given, &given));
    TRY(epoch_register());
    return db_get(db, slice_make(key, key_size), given.snapshot, out_value);
}

void nokv_value_release(nokv_value *value)
{
    if (value->_kind == PIN_MEMTABLE)
        memtable_unpin(value->_pin);
    else if (value->_kind == PIN_TABLE)
        sst_reader_unpin(value->_pin);
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

nokv_status nokv_get_copy(nokv_db *db, const void *key, size_t key_size, const nokv_read_options *options, void *buffer,
                          size_t capacity, size_t *out_size)
{
    nokv_value value = {0};
    TRY(nokv_get(db, key, key_size, options, &value));
    enum nokv_status status = NOKV_OK;
    *out_size = value.size;
    if (value.size > capacity) {
        status = FAIL(TOO_LARGE, "the value has %zu bytes, the buffer %zu", value.size, capacity);
    } else if (value.size > 0) {
        struct copy_args args = {.to = buffer, .from = value.data, .size = value.size};
        status = io_guarded(copy_guarded, &args);
    }
    nokv_value_release(&value);
    return status;
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

/* ---- iterators ------------------------------------------------------------------------------------------------ */

struct nokv_iter {
    struct iter *iter;
    struct view *view;
    struct nokv_db *db;
};

struct view *db_view_acquire(struct nokv_db *db)
{
    epoch_enter();
    struct view *v = atomic_load_explicit(&db->view, memory_order_seq_cst);
    view_ref(v); /* the database's own reference cannot go while we are inside */
    epoch_exit();
    return v;
}

static enum nokv_status view_iters_create(const struct view *v, struct iter **iters, size_t *out_count)
{
    size_t count = 0, tables = 0;
    enum nokv_status status = memtable_iter_create(v->mem, &iters[count]);
    count += status == NOKV_OK;
    for (size_t i = 0; i < v->immutable_count && status == NOKV_OK; i++) {
        status = memtable_iter_create(v->immutables[i], &iters[count]);
        count += status == NOKV_OK;
    }
    if (status == NOKV_OK)
        status = version_iters_create(v->version, iters + count, &tables);
    if (status != NOKV_OK) {
        while (count > 0)
            iter_destroy(iters[--count]);
        return status;
    }
    *out_count = count + tables;
    return NOKV_OK;
}

static enum nokv_status view_iter_build(const struct view *v, const struct iter_view_options *options,
                                        struct iter **out_iter)
{
    struct iter *merged = NULL;
    size_t count = 0;
    struct iter **iters CLEANUP(mem_free_ptr) =
        mem_alloc((1 + v->immutable_count + version_iter_count(v->version)) * sizeof *iters);
    if (iters == NULL)
        return FAIL(NO_MEMORY, "no memory for an iterator");
    TRY(view_iters_create(v, iters, &count));
    enum nokv_status status = iter_merge_create(iters, count, &merged);
    if (status != NOKV_OK) {
        while (count > 0)
            iter_destroy(iters[--count]);
        return status;
    }
    status = iter_view_create(merged, options, out_iter);
    if (status != NOKV_OK)
        iter_destroy(merged);
    return status;
}

static struct slice slice_of(nokv_slice s)
{
    return slice_make(s.data, s.size);
}

nokv_status nokv_iter_create(nokv_db *db, const nokv_iter_options *options, nokv_iter **out_iter)
{
    nokv_iter_options given = {0};
    if (options)
        TRY(call_options_copy(options, "nokv_iter_options", sizeof given, &given));
    TRY(epoch_register());
    struct nokv_iter *it = mem_zalloc(sizeof *it);
    if (it == NULL)
        return FAIL(NO_MEMORY, "no memory for an iterator");
    it->db = db;
    it->view = db_view_acquire(db);
    struct iter_view_options o = {.now_ms = io_wall_ms(db->io),
                                  .seq = read_seq(db, given.snapshot), /* after the view: see install.c */
                                  .lower = slice_of(given.lower),
                                  .upper = slice_of(given.upper),
                                  .prefix = slice_of(given.prefix)};
    enum nokv_status status = view_iter_build(it->view, &o, &it->iter);
    if (status != NOKV_OK) {
        view_unref(it->view);
        mem_free(it);
        return status;
    }
    atomic_fetch_add_explicit(&db_counters(db)->iterators, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&db->references, 1, memory_order_relaxed);
    *out_iter = it;
    return NOKV_OK;
}

void nokv_iter_destroy(nokv_iter *iter)
{
    if (iter == NULL)
        return;
    iter_destroy(iter->iter);
    view_unref(iter->view);
    atomic_fetch_sub_explicit(&iter->db->references, 1, memory_order_release);
    mem_free(iter);
}

void nokv_iter_first(nokv_iter *iter)
{
    iter_first(iter->iter);
}

void nokv_iter_last(nokv_iter *iter)
{
    iter_last(iter->iter);
}

/* Any key is a valid target: an empty one is below all, a longer one than the limit lies between two keys. */
void nokv_iter_seek(nokv_iter *iter, const void *key, size_t key_size)
{
    iter_seek(iter->iter, (struct ikey){.user = slice_make(key, key_size), .tag = UINT64_MAX});
}

void nokv_iter_seek_for_prev(nokv_iter *iter, const void *key, size_t key_size)
{
    iter_seek_for_prev(iter->iter, (struct ikey){.user = slice_make(key, key_size), .tag = 0});
}

void nokv_iter_next(nokv_iter *iter)
{
    ASSERT(iter->iter->valid);
    iter_next(iter->iter);
}

void nokv_iter_prev(nokv_iter *iter)
{
    ASSERT(iter->iter->valid);
    iter_prev(iter->iter);
}

bool nokv_iter_valid(const nokv_iter *iter)
{
    return iter->iter->valid;
}

nokv_status nokv_iter_status(const nokv_iter *iter)
{
    return iter->iter->status;
}

nokv_slice nokv_iter_key(const nokv_iter *iter)
{
    ASSERT(iter->iter->valid);
    struct slice key = iter->iter->key.user;
    return (nokv_slice){.data = key.data, .size = key.size};
}

nokv_slice nokv_iter_value(const nokv_iter *iter)
{
    ASSERT(iter->iter->valid);
    return (nokv_slice){.data = iter->iter->value.data, .size = iter->iter->value.size};
}
