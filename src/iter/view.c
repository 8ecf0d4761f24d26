// SPDX-License-Identifier: Apache-2.0
/*
 * view.c - what a user sees of an internal iterator: per key the newest version at a sequence number, if it is live.
 *
 * Bounds and prefix become one half-open range [lower, upper) at creation. Of one user key the source shows the newest
 * version first; where that is too new for the view, older ones follow.
 *
 * Forward, entries are taken from the source in batches, because the union below finds out once per run of one of its
 * children, and not per entry, that nothing comes in between; and because keys are compared in mapped files, so under
 * io_guarded(), which is paid for once per batch. After a seek the first batch is small.
 *
 *  [I1] Forward without a batch, the source stands at the entry that is shown. This is so after positioning.
 *  [I2] Forward with a batch, what is shown is batch[index]; all of batch[0 .. count) is live and fit to be shown; the
 *       source stands behind all that was taken for it. `group` is the last key of what was taken whose newest visible
 *       version has been seen: other versions of it are behind it.
 *  [I3] Backward, the source stands before every version of the key that is shown (or not valid: at the beginning),
 *       because going backward the newest visible version is known only once all older ones were passed.
 *
 *      first, seek ──► find_forward ──► [I1] ── next ──► fill_batch ──► [I2] ◄── next: in the batch, or fill_batch
 *      last, seek_for_prev ──► find_backward ──► [I3] ◄── prev: find_backward
 *      [I1] ── prev: leave_group_backward, find_backward ──► [I3]
 *      [I2] ── prev: seek before the group, find_backward ──► [I3]
 *      [I3] ── next: seek behind the group, fill_batch ──► [I2]
 *
 * Versions and tombstones of one key are stepped over at most VIEW_STEPS_MAX (a batch) at a time, then sought over, so
 * that a key with a million versions costs a few seeks. Tombstones of different keys are still walked one by one: only
 * compaction removes them.
 *
 * Failure: the source's status stops the view, also where an entry could have been shown before it: what the source
 * could not show might have been newer. What was taken before that is shown first, and then the failure is met again. A
 * kind of entry that this build does not know is NOT_SUPPORTED, an expiry that does not fit its value CORRUPT, a fault
 * while keys are compared IO: then any of this module's frames may have been left in the middle, so nothing but a new
 * position starts from there. One thread at a time.
 */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/coding.h"
#include "io/io.h"
#include "iter/iter.h"

enum { VIEW_STEPS_MAX = 8, BATCH_MIN = 4, BATCH_MAX = 32 };

struct view_iter {
    struct iter base;
    bool backward;
    uint32_t index, count;  /* [I2]; count 0: no batch */
    uint32_t batch_size;    /* of the next one */
    struct slice group;     /* [I2] */
    struct buf group_copy;  /* what it is, where the source's keys go with iter_release */
    struct ikey target;     /* of the positioning under way */
    struct buf target_copy; /* its key, for the same reason: it may be one of the source's */
    /* set at creation, then constant */
    struct iter *source;
    uint64_t seq;
    uint64_t now_ms;
    struct slice lower; /* empty: none */
    struct slice upper;
    bool has_upper;        /* an upper bound is never empty, but an all-0xff prefix has none */
    uint64_t upper_prefix; /* key_prefix(upper, 0) */
    struct iter_entry batch[BATCH_MAX];
    uint8_t bytes[]; /* of lower and upper */
};

static struct view_iter *view_of(struct iter *it)
{
    return CONTAINER_OF(it, struct view_iter, base);
}

/* ---- one entry ------------------------------------------------------------------------------------------------- */

static inline bool above_range(const struct view_iter *v, struct slice user)
{
    if (!v->has_upper)
        return false;
    uint64_t prefix = key_prefix(user, 0);
    if (LIKELY(prefix != v->upper_prefix))
        return prefix > v->upper_prefix;
    return key_compare(user, v->upper) >= 0;
}

static inline bool below_range(const struct view_iter *v, struct slice user)
{
    return v->lower.size != 0 && key_compare(user, v->lower) < 0;
}

static inline bool visible(const struct view_iter *v, struct ikey key)
{
    return tag_seq(key.tag) <= v->seq;
}

/* Is this version, the newest visible one of its key, live? Takes the expiry off *value. */
static enum nokv_status check_live(const struct view_iter *v, struct ikey key, struct slice *value, bool *out_live)
{
    unsigned kind = tag_kind_byte(key.tag);
    *out_live = kind != KEY_TOMBSTONE;
    if (LIKELY(kind == KEY_VALUE || kind == KEY_TOMBSTONE))
        return NOKV_OK;
    if (!key_kind_known(kind))
        return FAIL(NOT_SUPPORTED, "entry of kind 0x%02x at sequence %llu: written by a later version?", kind,
                    (unsigned long long)tag_seq(key.tag));
    if (kind & KEY_HAS_EXPIRY) {
        if (value->size < 8)
            return FAIL(CORRUPT, "entry at sequence %llu: an expiry is 8 bytes, %zu are there",
                        (unsigned long long)tag_seq(key.tag), value->size);
        *out_live = get_u64(value->data) > v->now_ms;
        *value = slice_make(value->data + 8, value->size - 8);
    }
    return NOKV_OK;
}

/* Shows the entry if it is live. True when the search is over: shown, or stopped by a status. */
static bool show_if_live(struct view_iter *v, struct ikey key, struct slice value)
{
    bool live;
    enum nokv_status status = check_live(v, key, &value, &live);
    if (UNLIKELY(status != NOKV_OK)) {
        iter_stop(&v->base, status);
        return true;
    }
    if (!live)
        return false;
    v->base.key = key;
    v->base.value = value;
    v->base.valid = true;
    v->base.status = NOKV_OK;
    return true;
}

/* Nothing is needed but the source's current entry, the bounds and the copy of `group`. */
static inline void source_release(struct view_iter *v)
{
    if (UNLIKELY(v->source->must_release))
        iter_release(v->source);
}

/* ---- forward --------------------------------------------------------------------------------------------------- */

/* The source stands at a version of `user` or before one: move it behind all of them. */
static void leave_group_forward(struct view_iter *v, struct slice user)
{
    struct iter *src = v->source;
    for (int steps = 0; src->valid && slice_equal(src->key.user, user); steps++) {
        if (steps == VIEW_STEPS_MAX)
            iter_seek(src, (struct ikey){.user = user, .tag = 0});
        else
            iter_next(src);
    }
}

/* The source stands at a version too new to be seen: move to the newest visible one, or to the next key. */
static void skip_invisible(struct view_iter *v)
{
    struct iter *src = v->source;
    struct slice user = src->key.user;
    for (int steps = 0; src->valid && !visible(v, src->key) && slice_equal(src->key.user, user); steps++) {
        if (steps == VIEW_STEPS_MAX)
            iter_seek(src, (struct ikey){.user = user, .tag = tag_for_seek(v->seq)});
        else
            iter_next(src);
    }
}

/* From the source's position, which is not inside a group that was shown already, to the first live entry. */
static void find_forward(struct view_iter *v)
{
    struct iter *src = v->source;
    v->backward = false;
    while (src->valid) {
        source_release(v);
        if (UNLIKELY(above_range(v, src->key.user))) {
            iter_stop(&v->base, NOKV_OK);
            return;
        }
        if (UNLIKELY(!visible(v, src->key))) {
            skip_invisible(v);
            continue;
        }
        struct slice user = src->key.user;
        if (LIKELY(show_if_live(v, src->key, src->value)))
            return;
        leave_group_forward(v, user);
    }
    iter_stop(&v->base, src->status);
}

static void show_batch(struct view_iter *v, uint32_t index)
{
    const struct iter_entry *e = &v->batch[index];
    v->index = index;
    v->base.key = e->key;
    v->base.value = e->value;
}

/*
 * Of `taken` entries in the batch those that are to be shown stay. An entry that stops the view is met again as the
 * first of the next batch, when others are shown before it: the message of a failure is then the thread's last one.
 */
static enum nokv_status batch_sort_out(struct view_iter *v, size_t taken)
{
    struct iter_entry *to = v->batch;
    struct slice group = v->group;
    for (const struct iter_entry *from = v->batch; from != v->batch + taken; from++) {
        if (UNLIKELY(!visible(v, from->key)) || UNLIKELY(slice_equal(from->key.user, group)))
            continue;
        struct slice value = from->value;
        unsigned kind = tag_kind_byte(from->key.tag);
        bool live = true;
        if (UNLIKELY(kind != KEY_VALUE && kind != KEY_VALUE_POINTER)) {
            enum nokv_status status = check_live(v, from->key, &value, &live);
            if (UNLIKELY(status != NOKV_OK)) {
                if (to == v->batch)
                    return status;
                iter_seek(v->source, from->key);
                break;
            }
        }
        group = from->key.user;
        *to = (struct iter_entry){.key = from->key, .value = value};
        to += live;
    }
    v->group = group;
    v->count = (uint32_t)(to - v->batch);
    return NOKV_OK;
}

/* Nothing of a whole batch was shown. If it was all of one key and the source is in it still, get out of there, or to
 * the first version that is old enough. */
static void leave_long_group(struct view_iter *v, size_t taken)
{
    struct slice user = v->batch[taken - 1].key.user;
    if (taken < VIEW_STEPS_MAX || !v->source->valid || !slice_equal(v->source->key.user, user))
        return;
    uint64_t tag = slice_equal(user, v->group) ? 0 : tag_for_seek(v->seq);
    iter_seek(v->source, (struct ikey){.user = user, .tag = tag});
}

static enum nokv_status group_keep(struct view_iter *v)
{
    if (v->group.data == v->group_copy.data)
        return NOKV_OK;
    v->group_copy.size = 0;
    TRY(buf_append(&v->group_copy, v->group.data, v->group.size));
    v->group = buf_slice(&v->group_copy);
    return NOKV_OK;
}

/* Guarded. What comes behind `group`; a failure of this function's own stops the view as well. */
static enum nokv_status fill_batch(void *arg)
{
    struct view_iter *v = arg;
    struct iter *src = v->source;
    const struct ikey upper = {.user = v->upper, .tag = UINT64_MAX};
    const struct ikey *limit = v->has_upper ? &upper : NULL;
    if (UNLIKELY(!src->valid && src->status != NOKV_OK)) /* it failed behind what was shown: let it tell again */
        iter_seek(src, (struct ikey){.user = v->group, .tag = 0});
    while (src->valid) {
        if (UNLIKELY(above_range(v, src->key.user))) {
            iter_stop(&v->base, NOKV_OK);
            return NOKV_OK;
        }
        if (UNLIKELY(src->must_release)) {
            TRY(group_keep(v));
            iter_release(src);
        }
        size_t taken = iter_take(src, limit, v->batch, v->batch_size);
        TRY(batch_sort_out(v, taken));
        v->batch_size = v->batch_size < BATCH_MAX / 4 ? v->batch_size * 4 : BATCH_MAX;
        if (LIKELY(v->count != 0)) {
            show_batch(v, 0);
            v->base.valid = true;
            v->base.status = NOKV_OK;
            return NOKV_OK;
        }
        if (taken != 0)
            leave_long_group(v, taken);
    }
    iter_stop(&v->base, src->status);
    return NOKV_OK;
}

/* ---- backward -------------------------------------------------------------------------------------------------- */

/* The source stands at a version of `user` or behind one: move it before all of them. */
static void leave_group_backward(struct view_iter *v, struct slice user)
{
    struct iter *src = v->source;
    for (int steps = 0; src->valid && slice_equal(src->key.user, user); steps++) {
        if (steps == VIEW_STEPS_MAX)
            iter_seek_for_prev(src, (struct ikey){.user = user, .tag = UINT64_MAX});
        else
            iter_prev(src);
    }
}

/*
 * The source stands at the oldest version of `user`: find the newest visible one, going through newer and newer ones.
 * False: none is visible. The source is left somewhere in the group, or before it, or not valid.
 */
static bool newest_visible_backward(struct view_iter *v, struct slice user, struct ikey *out_key,
                                    struct slice *out_value)
{
    struct iter *src = v->source;
    bool found = false;
    for (int steps = 0; src->valid && visible(v, src->key) && slice_equal(src->key.user, user); steps++) {
        *out_key = src->key;
        *out_value = src->value;
        found = true;
        if (steps < VIEW_STEPS_MAX) {
            iter_prev(src);
            continue;
        }
        iter_seek(src, (struct ikey){.user = user, .tag = tag_for_seek(v->seq)});
        if (src->valid) {
            *out_key = src->key; /* of `user`: at least the version just seen is not before the target */
            *out_value = src->value;
        }
        break;
    }
    return found;
}

/* From the source's position, which is not inside a group that was shown already, back to the last live entry. */
static void find_backward(struct view_iter *v)
{
    struct iter *src = v->source;
    v->backward = true;
    while (src->valid) {
        source_release(v);
        struct slice user = src->key.user;
        if (UNLIKELY(below_range(v, user))) {
            iter_stop(&v->base, NOKV_OK);
            return;
        }
        struct ikey key = {0};
        struct slice value = {0};
        bool found = newest_visible_backward(v, user, &key, &value);
        leave_group_backward(v, user);
        if (!src->valid && src->status != NOKV_OK)
            break;
        if (found && show_if_live(v, key, value))
            return;
    }
    iter_stop(&v->base, src->status);
}

/* ---- operations ------------------------------------------------------------------------------------------------ */

/* Do a step that compares keys. */
static void guarded(struct view_iter *v, enum nokv_status (*step)(void *arg))
{
    enum nokv_status status = io_guarded(step, v);
    if (UNLIKELY(status != NOKV_OK))
        iter_stop(&v->base, status);
}

/* A position that the last one says nothing about. */
static void reposition(struct view_iter *v, enum nokv_status (*step)(void *arg))
{
    v->count = 0;
    v->batch_size = BATCH_MIN;
    guarded(v, step);
}

static enum nokv_status first_guarded(void *arg)
{
    struct view_iter *v = arg;
    if (v->lower.size)
        iter_seek(v->source, (struct ikey){.user = v->lower, .tag = UINT64_MAX});
    else
        iter_first(v->source);
    find_forward(v);
    return NOKV_OK;
}

static enum nokv_status last_guarded(void *arg)
{
    struct view_iter *v = arg;
    if (v->has_upper)
        iter_seek_for_prev(v->source, (struct ikey){.user = v->upper, .tag = UINT64_MAX});
    else
        iter_last(v->source);
    find_backward(v);
    return NOKV_OK;
}

static enum nokv_status seek_guarded(void *arg)
{
    struct view_iter *v = arg;
    if (below_range(v, v->target.user))
        return first_guarded(v);
    iter_seek(v->source, (struct ikey){.user = v->target.user, .tag = UINT64_MAX});
    find_forward(v);
    if (v->base.valid && UNLIKELY(ikey_compare(v->base.key, v->target) < 0)) {
        leave_group_forward(v, v->base.key.user);
        find_forward(v);
    }
    return NOKV_OK;
}

static enum nokv_status seek_for_prev_guarded(void *arg)
{
    struct view_iter *v = arg;
    if (above_range(v, v->target.user))
        return last_guarded(v);
    iter_seek_for_prev(v->source, (struct ikey){.user = v->target.user, .tag = 0});
    find_backward(v);
    if (v->base.valid && UNLIKELY(ikey_compare(v->base.key, v->target) > 0))
        find_backward(v);
    return NOKV_OK;
}

static enum nokv_status prev_guarded(void *arg)
{
    struct view_iter *v = arg;
    struct slice user = v->base.key.user;
    if (!v->backward && v->count == 0) {
        leave_group_backward(v, user);
    } else if (!v->backward) {
        v->count = 0;
        iter_seek_for_prev(v->source, (struct ikey){.user = user, .tag = UINT64_MAX});
        leave_group_backward(v, user);
    }
    find_backward(v);
    return NOKV_OK;
}

static enum nokv_status turn_forward_guarded(void *arg)
{
    struct view_iter *v = arg;
    iter_seek(v->source, (struct ikey){.user = v->base.key.user, .tag = 0});
    v->backward = false;
    return fill_batch(v);
}

static void view_first(struct iter *it)
{
    reposition(view_of(it), first_guarded);
}

static void view_last(struct iter *it)
{
    reposition(view_of(it), last_guarded);
}

static enum nokv_status target_keep(struct view_iter *v)
{
    v->target_copy.size = 0;
    TRY(buf_append(&v->target_copy, v->target.user.data, v->target.user.size));
    v->target.user = buf_slice(&v->target_copy);
    return NOKV_OK;
}

/* `target` may be a key that was shown: it stays what it is until the end. */
static void reposition_at(struct view_iter *v, struct ikey target, enum nokv_status (*step)(void *arg))
{
    enum nokv_status status = NOKV_OK;
    v->target = target;
    if (UNLIKELY(v->source->must_release))
        status = target_keep(v);
    if (LIKELY(status == NOKV_OK))
        reposition(v, step);
    else
        iter_stop(&v->base, status);
}

static void view_seek(struct iter *it, struct ikey target)
{
    reposition_at(view_of(it), target, seek_guarded);
}

static void view_seek_for_prev(struct iter *it, struct ikey target)
{
    reposition_at(view_of(it), target, seek_for_prev_guarded);
}

static void view_next(struct iter *it)
{
    struct view_iter *v = view_of(it);
    ASSERT(it->valid);
    if (LIKELY(v->index + 1 < v->count)) {
        show_batch(v, v->index + 1);
        return;
    }
    if (v->count == 0)
        v->group = it->key.user;
    if (UNLIKELY(v->backward)) {
        v->batch_size = BATCH_MIN;
        guarded(v, turn_forward_guarded);
    } else {
        guarded(v, fill_batch);
    }
}

static void view_prev(struct iter *it)
{
    ASSERT(it->valid);
    guarded(view_of(it), prev_guarded);
}

static void view_destroy(struct iter *it)
{
    struct view_iter *v = view_of(it);
    iter_destroy(v->source);
    buf_deinit(&v->group_copy);
    buf_deinit(&v->target_copy);
    mem_free(v);
}

static const struct iter_ops view_ops = {
    .first = view_first,
    .last = view_last,
    .seek = view_seek,
    .seek_for_prev = view_seek_for_prev,
    .next = view_next,
    .prev = view_prev,
    .destroy = view_destroy,
};

/* ---- creation -------------------------------------------------------------------------------------------------- */

/* Copies `s` to *room and moves *room on. */
static struct slice copy_to(uint8_t **room, struct slice s)
{
    struct slice copy = slice_make(*room, s.size);
    if (s.size)
        memcpy(*room, s.data, s.size);
    *room += s.size;
    return copy;
}

/* How much of `prefix` is left when the bytes that cannot be counted up are dropped from its end. */
static size_t successor_size(struct slice prefix)
{
    size_t n = prefix.size;
    while (n > 0 && prefix.data[n - 1] == 0xff)
        n--;
    return n;
}

/* The range is the intersection of the bounds with [prefix, first key behind all that begin with prefix). */
static void set_range(struct view_iter *v, const struct iter_view_options *o)
{
    uint8_t *room = v->bytes;
    v->lower = copy_to(&room, key_compare(o->prefix, o->lower) > 0 ? o->prefix : o->lower);
    v->has_upper = o->upper.size != 0;
    v->upper = o->upper;
    size_t n = successor_size(o->prefix);
    if (n) {
        uint8_t *last = room + n - 1;
        struct slice end = copy_to(&room, slice_make(o->prefix.data, n));
        ++*last;
        if (!v->has_upper || key_compare(end, v->upper) < 0) {
            v->upper = end;
            v->has_upper = true;
        }
    }
    if (v->has_upper) {
        v->upper = copy_to(&room, v->upper);
        v->upper_prefix = key_prefix(v->upper, 0);
    }
}

size_t iter_view_buffered(struct iter *view, bool backward)
{
    const struct view_iter *v = view_of(view);
    if (!v->source->must_release)
        return SIZE_MAX;
    return backward || v->count == 0 ? 0 : v->count - 1 - v->index;
}

enum nokv_status iter_view_create(struct iter *source, const struct iter_view_options *options, struct iter **out_iter)
{
    size_t room = options->lower.size + options->upper.size + 3 * options->prefix.size;
    struct view_iter *v = mem_alloc(sizeof *v + room); /* the batch needs no zeros */
    if (v == NULL)
        return FAIL(NO_MEMORY, "iterator with bounds of %zu bytes", room);
    memset(v, 0, offsetof(struct view_iter, batch));
    v->base.ops = &view_ops;
    v->source = source;
    v->base.must_release = source->must_release;
    v->seq = options->seq;
    v->now_ms = options->now_ms;
    set_range(v, options);
    *out_iter = &v->base;
    return NOKV_OK;
}
