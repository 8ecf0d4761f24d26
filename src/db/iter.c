// SPDX-License-Identifier: Apache-2.0
/*
 * Iterators: what the user walks over. A view is held from creation to destruction, so that every file and memtable
 * stays where it is, and keys and values are handed out in place.
 *
 * A value in the value log is looked for when it is asked for, and not before: a scan of keys reads no byte of it. It
 * is handed out in place where its segment is mapped, and otherwise copied into a buffer of the iterator. Whoever has
 * asked for a copied value, and then for the next one, is taken to want those that follow too: see ahead.c. Entries
 * whose value needs no copy neither help nor hinder.
 *
 * A scan that has read much (long_scan_bytes) of the value log, where that has no room in memory, goes on past the page
 * cache: through it, it would push out what others use, and nothing of it would be there when it is read again.
 *
 * [I1] `at` has the current entry: it is `iter`, or belongs to `ahead`, and then `iter` stands somewhere further on.
 * [I2] `in_streak` while `at` belongs to `ahead`: moves that have nothing to do with it look at that one field.
 *
 * Failure: an iterator that met damage is not valid and says why; a value that cannot be read ends it in the same way.
 */
#include "base/alloc.h"
#include "db/db.h"

struct nokv_iter {
    struct iter *iter;
    const struct iter *at; /* [I1] */
    struct view *view;
    struct nokv_db *db;
    enum nokv_status failed; /* why a value could not be read; the iterator is not valid until it is positioned anew */
    bool has_value;          /* `value` is the current entry's */
    struct slice value;      /* in place, or in `copy` */
    uint8_t *copy;           /* the last value that was read with system calls */
    size_t copy_capacity;
    struct buf key_copy; /* of the entry whose value that is */
    bool in_streak;      /* a copied value was asked for, and all since; or [I2] */
    bool backward;       /* the direction of the last move in a streak */
    struct ahead *ahead; /* NULL until first needed */
    uint64_t scanned;    /* bytes of values of the value log since it was positioned */
    bool is_long;        /* that is much, and the value log has no room in memory */
};

struct view *db_view_acquire(struct nokv_db *db)
{
    epoch_enter();
    struct view *v = atomic_load_explicit(&db->view, memory_order_seq_cst);
    view_ref(v); /* the database's own reference cannot go while we are inside */
    epoch_exit();
    return v;
}

/* The sequence number to read at has been taken: what comes into an empty memtable from now on is not to be seen, and a
 * union of one child less is not a union any more, in a database that nobody has written to since its last flush. */
static enum nokv_status view_iters_create(const struct view *v, struct iter **iters, size_t *out_count)
{
    size_t count = 0, tables = 0;
    enum nokv_status status = NOKV_OK;
    if (memtable_count(v->mem) != 0) {
        status = memtable_iter_create(v->mem, &iters[count]);
        count += status == NOKV_OK;
    }
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
    uint64_t seq = 0;
    it->view = db_view_acquire_at(db, given.snapshot, &seq);
    struct iter_view_options o = {.now_ms = io_wall_ms(db->io),
                                  .seq = seq,
                                  .lower = slice_of(given.lower),
                                  .upper = slice_of(given.upper),
                                  .prefix = slice_of(given.prefix)};
    enum nokv_status status = view_iter_build(it->view, &o, &it->iter);
    if (status != NOKV_OK) {
        db_view_release(db, it->view);
        mem_free(it);
        return status;
    }
    it->at = it->iter;
    atomic_fetch_add_explicit(&db_counters(db)->iterators, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&db->references, 1, memory_order_relaxed);
    *out_iter = it;
    return NOKV_OK;
}

void nokv_iter_destroy(nokv_iter *iter)
{
    if (iter == NULL)
        return;
    ahead_destroy(iter->ahead);
    iter_destroy(iter->iter);
    db_view_release(iter->db, iter->view);
    mem_free(iter->copy);
    buf_deinit(&iter->key_copy);
    atomic_fetch_sub_explicit(&iter->db->references, 1, memory_order_release);
    mem_free(iter);
}

/* ---- moving ----------------------------------------------------------------------------------------------------- */

/* The position changes. */
static void value_forget(nokv_iter *iter)
{
    iter->failed = NOKV_OK;
    iter->has_value = false;
}

/* ... and has nothing to do with the one before. */
static void position_forget(nokv_iter *iter)
{
    value_forget(iter);
    if (iter->ahead)
        ahead_forget(iter->ahead);
    iter->at = iter->iter;
    iter->in_streak = false;
    iter->scanned = 0;
    iter->is_long = false;
}

void nokv_iter_first(nokv_iter *iter)
{
    position_forget(iter);
    iter_first(iter->iter);
}

void nokv_iter_last(nokv_iter *iter)
{
    position_forget(iter);
    iter_last(iter->iter);
}

/* Any key is a valid target: an empty one is below all, a longer one than the limit lies between two keys. */
void nokv_iter_seek(nokv_iter *iter, const void *key, size_t key_size)
{
    position_forget(iter);
    iter_seek(iter->iter, (struct ikey){.user = slice_make(key, key_size), .tag = UINT64_MAX});
}

void nokv_iter_seek_for_prev(nokv_iter *iter, const void *key, size_t key_size)
{
    position_forget(iter);
    iter_seek_for_prev(iter->iter, (struct ikey){.user = slice_make(key, key_size), .tag = 0});
}

static bool is_pointer(const nokv_iter *iter)
{
    return tag_kind_byte(iter->at->key.tag) == KEY_VALUE_POINTER;
}

static bool is_ahead(const nokv_iter *iter)
{
    return iter->at != iter->iter;
}

/* What the coming move means for the streak; a turn ends the look ahead. */
static void streak_go_on(nokv_iter *iter, bool backward)
{
    bool was_skipped = is_pointer(iter) && !iter->has_value;
    if (iter->backward != backward) {
        iter->backward = backward;
        iter->in_streak = !was_skipped;
        if (is_ahead(iter))
            iter->at = ahead_return(iter->ahead);
    } else if (was_skipped) {
        iter->in_streak = is_ahead(iter); /* [I2] */
        if (iter->ahead)
            ahead_slow_down(iter->ahead);
    }
}

static void move_in_streak(nokv_iter *iter, bool backward)
{
    streak_go_on(iter, backward);
    value_forget(iter);
    if (is_ahead(iter))
        iter->at = ahead_step(iter->ahead);
    else if (iter->iter->valid && backward)
        iter_prev(iter->iter);
    else if (iter->iter->valid)
        iter_next(iter->iter);
}

/* It may have become not valid since the caller looked: by a value that could not be read. To move behind an end is a
 * bug of the caller. */
static bool may_move(const nokv_iter *iter)
{
    ASSERT(iter->at->valid);
    return LIKELY(iter->failed == NOKV_OK);
}

void nokv_iter_next(nokv_iter *iter)
{
    if (!may_move(iter))
        return;
    if (UNLIKELY(iter->in_streak)) {
        move_in_streak(iter, false);
        return;
    }
    value_forget(iter);
    iter_next(iter->iter);
}

void nokv_iter_prev(nokv_iter *iter)
{
    if (!may_move(iter))
        return;
    if (UNLIKELY(iter->in_streak)) {
        move_in_streak(iter, true);
        return;
    }
    value_forget(iter);
    iter_prev(iter->iter);
}

/* ---- the current entry ------------------------------------------------------------------------------------------ */

bool nokv_iter_valid(const nokv_iter *iter)
{
    return iter->at->valid && iter->failed == NOKV_OK;
}

nokv_status nokv_iter_status(const nokv_iter *iter)
{
    return iter->failed != NOKV_OK ? iter->failed : iter->at->status;
}

nokv_slice nokv_iter_key(const nokv_iter *iter)
{
    ASSERT(iter->at->valid);
    struct slice key = iter->at->key.user;
    return (nokv_slice){.data = key.data, .size = key.size};
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

static enum nokv_status copy_reserve(nokv_iter *iter, size_t size)
{
    if (size <= iter->copy_capacity)
        return NOKV_OK;
    size_t capacity = size + size / 4;
    uint8_t *copy = mem_alloc(capacity);
    if (copy == NULL)
        return FAIL(NO_MEMORY, "no memory for a value of %zu bytes", size);
    mem_free(iter->copy);
    iter->copy = copy;
    iter->copy_capacity = capacity;
    return NOKV_OK;
}

static enum nokv_status key_guarded(void *arg)
{
    nokv_iter *iter = arg;
    memcpy(iter->key_copy.data, iter->at->key.user.data, iter->at->key.user.size);
    return NOKV_OK;
}

/* The current key out of its table's mapping: it is compared where a fault could not be caught. */
static enum nokv_status key_copy(nokv_iter *iter, struct slice *out_key)
{
    size_t size = iter->at->key.user.size;
    iter->key_copy.size = 0;
    if (buf_reserve(&iter->key_copy, size) == NULL)
        return FAIL(NO_MEMORY, "no memory for a key of %zu bytes", size);
    TRY(io_guarded(key_guarded, iter));
    *out_key = slice_make(iter->key_copy.data, size);
    return NOKV_OK;
}

static void look_ahead(nokv_iter *iter)
{
    if (iter->ahead == NULL)
        iter->ahead = ahead_create(iter->iter, iter->view->segments, iter->db->io);
    if (iter->ahead != NULL && iter->is_long)
        ahead_go_long(iter->ahead);
    if (iter->ahead != NULL)
        iter->at = ahead_look(iter->ahead, iter->backward);
}

/* A value that is not handed out in place. */
static enum nokv_status value_copy(nokv_iter *iter, struct segment *segment, const struct vlog_pointer *p)
{
    if (iter->in_streak)
        look_ahead(iter);
    iter->in_streak = true;
    struct slice key;
    TRY(key_copy(iter, &key));
    if (is_ahead(iter) && ahead_take(iter->ahead, segment, p, key, &iter->value))
        return NOKV_OK;
    TRY(copy_reserve(iter, p->value_size));
    TRY(segment_read(segment, p, key, 0, iter->copy, p->value_size));
    if (UNLIKELY(iter->is_long)) /* too large for ahead, which reads past the page cache: it was not there before */
        vlog_reader_drop(segment_reader_now(segment), p);
    iter->value = slice_make(iter->copy, p->value_size);
    return NOKV_OK;
}

/* What it has read so far stays in the page cache; what comes does not, unless all of the value log has room there. */
static void long_begin(nokv_iter *iter)
{
    if (iter->db->options.vlog_read != NOKV_VLOG_READ_AUTO ||
        atomic_load_explicit(&iter->db->values_fit, memory_order_relaxed)) {
        iter->scanned = 0; /* ask again later */
        return;
    }
    iter->is_long = true;
    iter->in_streak = true;
}

static enum nokv_status value_read(nokv_iter *iter)
{
    struct vlog_pointer p;
    struct segment *segment;
    TRY(segment_follow(iter->view->segments, iter->at->value, &p, &segment));
    iter->scanned += p.value_size;
    if (UNLIKELY(iter->scanned >= iter->db->long_scan_bytes) && !iter->is_long)
        long_begin(iter);
    if (UNLIKELY(iter->is_long && p.value_size <= VLOG_CHUNK))
        iter->value = slice_make(NULL, 0);
    else
        TRY(segment_read_in_place(segment, &p, iter->at->key.user, &iter->value));
    if (iter->value.data == NULL)
        TRY(value_copy(iter, segment, &p));
    iter->has_value = true;
    return NOKV_OK;
}

nokv_slice nokv_iter_value(nokv_iter *iter)
{
    ASSERT(iter->at->valid);
    if (LIKELY(!is_pointer(iter)))
        return (nokv_slice){.data = iter->at->value.data, .size = iter->at->value.size};
    if (!iter->has_value && iter->failed == NOKV_OK)
        iter->failed = value_read(iter);
    if (iter->failed != NOKV_OK)
        return (nokv_slice){0};
    return (nokv_slice){.data = iter->value.data, .size = iter->value.size};
}

size_t nokv_iter_value_size(const nokv_iter *iter)
{
    ASSERT(iter->at->valid);
    struct vlog_pointer p;
    if (!is_pointer(iter))
        return iter->at->value.size;
    return segment_pointer(iter->at->value, &p) == NOKV_OK ? p.value_size : 0;
}
