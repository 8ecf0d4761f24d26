// SPDX-License-Identifier: Apache-2.0
/*
 * iter.c - walking a table in place, both ways.
 *
 * Reading the mapping may raise SIGBUS at any page that is not in memory, so it happens under io_guarded(). To pay for
 * the guard once per several entries, a guarded step decodes a window of entries around the new position (their tags
 * and slices, not their bytes); moving inside the window touches no mapped byte. The window grows from 1 after a seek
 * to 16.
 *
 *                        low ┌── window ──┐ high
 *     block: e0 e1 e2 ... ei [ei+1 ... ek ] ... en        index: the current entry, low <= index < high
 *
 * A caller that takes many entries at once gets them out of the windows, as far as they are below its limit; what is
 * not stays decoded. Where a run ends is looked for from the end of the window or from its front, as the last run was
 * long or short.
 *
 * A step that meets a block that was never verified leaves the guard, has it verified and runs again; therefore a step
 * changes the iterator only at its end [I1].
 *
 * The mapping's advice is `random`. An iterator that has entered five blocks in a row in one direction asks for what
 * comes next itself, in growing pieces, so a long cold scan is not one page fault's latency per 4 KiB. A short scan has
 * ended by then: to ask costs a system call, a tenth of a hot scan of 100 small entries.
 *
 * Where the reader copies, a step that meets a block which is not in memory leaves the guard in the same way. The
 * blocks of what was shown are held until they are released.
 *
 * One thread; holds a reference to the table. A failure stops it; positioning it anew clears that.
 */
#include "base/alloc.h"
#include "sst/reader.h"

enum { WINDOW_MAX = 16, AHEAD_PAGES_MIN = 16, AHEAD_PAGES_MAX = 256, AHEAD_AFTER_BLOCKS = 4 };

enum move { MOVE_FIRST, MOVE_LAST, MOVE_SEEK, MOVE_SEEK_FOR_PREV, MOVE_NEXT, MOVE_PREV };

struct position {
    uint64_t block_index;
    struct sst_extent extent;
    struct sst_block block;
    uint32_t index;
};

struct sst_iter {
    struct iter base;
    struct sst_reader *r;
    struct position at;
    uint32_t low, high;
    uint32_t window_size; /* of the next window */
    struct sst_entry window[WINDOW_MAX];
    uint8_t kind_seen; /* a kind byte that is known */

    /* a reader that copies: the blocks of whatever was shown since the last release; the last two are those that the
     * step under way, or the last one, is about */
    struct cache_block **held;
    size_t held_count, held_capacity;

    /* the step under way */
    enum move move;
    struct ikey target;
    uint64_t hash; /* of its user key */
    bool ended;
    uint64_t unverified;

    size_t run; /* entries that were taken of the last window before a limit */

    /* reading ahead */
    int direction; /* of the last block change: 1, -1; 0 none */
    uint32_t blocks_in_row;
    uint32_t ahead_pages; /* of the next request */
    uint64_t ahead_edge;  /* pages up to here (down to here) were asked for */
};

static const uint64_t none = UINT64_MAX;

/* ---- guarded steps --------------------------------------------------------------------------------------------- */

static const uint8_t *held_find(const struct sst_iter *it, uint32_t page)
{
    for (size_t i = it->held_count; i > 0 && i + 2 > it->held_count; i--)
        if (it->held[i - 1]->page == page)
            return it->held[i - 1]->data;
    return NULL;
}

/* False: not there yet: it has to be verified or read (it->unverified) or is bad (*status). */
static bool block_enter(struct sst_iter *it, uint64_t block_index, struct position *p, enum nokv_status *status)
{
    struct sst_reader *r = it->r;
    p->block_index = block_index;
    if (!sst_reader_locate(r, block_index, &p->extent)) {
        *status = sst_reader_bad_index(r);
        return false;
    }
    bool is_copied = it->base.must_release;
    const uint8_t *data = is_copied ? held_find(it, p->extent.page) : r->data + (uint64_t)p->extent.page * PAGE_BYTES;
    if (is_copied ? data == NULL : !sst_reader_is_verified(r, block_index)) {
        it->unverified = block_index;
        return false;
    }
    if (!sst_block_open(data, p->extent.size, &p->block)) {
        *status = sst_block_explain(data, p->extent.size, r->footer.file_number, p->extent.page);
        return false;
    }
    if (is_copied)
        return true;
    /* The block behind it is next in a scan: its header, fingerprints, offsets and first entry. */
    for (unsigned line = 0; line < 4; line++)
        __builtin_prefetch(data + p->extent.size + line * CACHE_LINE);
    return true;
}

/*
 * Have the cache lines on their way that the next window needs: the heads of its entries, which lie too far apart for
 * the processor to guess, or the start of the next block, which is in another page.
 */
static void window_prefetch(const struct position *p, uint32_t high, bool is_copied)
{
    const uint8_t *end = p->block.data + p->extent.size;
    uint32_t stop = p->block.count - high > WINDOW_MAX ? high + WINDOW_MAX : p->block.count;
    for (uint32_t i = high; i < stop; i++)
        __builtin_prefetch(p->block.data + sst_block_offset(&p->block, i));
    if (stop == p->block.count && !is_copied) {
        __builtin_prefetch(end);
        __builtin_prefetch(end + CACHE_LINE);
    }
}

static inline enum nokv_status entry_decode(struct sst_iter *it, const struct position *p, uint32_t index,
                                            struct sst_entry *e)
{
    if (UNLIKELY(!sst_block_entry(&p->block, index, e)))
        return sst_reader_bad_block(it->r, p->extent.page);
    unsigned kind = tag_kind_byte(e->tag);
    if (UNLIKELY(kind != it->kind_seen)) {
        if (!key_kind_known(kind))
            return sst_reader_bad_kind(it->r, p->extent.page, e->tag);
        it->kind_seen = (uint8_t)kind;
    }
    return NOKV_OK;
}

/* The entries of the window that `p` is in, ahead of it in the direction of the move. [I1] */
static enum nokv_status position_take(struct sst_iter *it, const struct position *p)
{
    bool backward = it->move == MOVE_PREV;
    uint32_t low = p->index, high = p->index + 1;
    if (backward)
        low = high > it->window_size ? high - it->window_size : 0;
    else
        high = p->block.count - low > it->window_size ? low + it->window_size : p->block.count;
    for (uint32_t i = low; i < high; i++)
        TRY(entry_decode(it, p, i, &it->window[i - low]));
    if (it->move == MOVE_NEXT)
        window_prefetch(p, high, it->base.must_release);
    it->at = *p;
    it->low = low;
    it->high = high;
    return NOKV_OK;
}

/* Enter a block at its first or last entry; past either end of the table is the end. */
static enum nokv_status step_edge(struct sst_iter *it, uint64_t block_index, bool at_last)
{
    struct position p;
    enum nokv_status status = NOKV_OK;
    if (block_index >= it->r->index.count) { /* one before 0 as well */
        it->ended = true;
        return NOKV_OK;
    }
    if (!block_enter(it, block_index, &p, &status))
        return status;
    p.index = at_last ? p.block.count - 1 : 0;
    return position_take(it, &p);
}

/* The block of the target has been searched: p->index is the first entry that is not below it, or count. */
static enum nokv_status step_seek_forward(struct sst_iter *it, struct position *p)
{
    return p->index < p->block.count ? position_take(it, p) : step_edge(it, p->block_index + 1, false);
}

static enum nokv_status step_seek_backward(struct sst_iter *it, struct position *p)
{
    if (p->index < p->block.count) {
        struct sst_entry e;
        if (!sst_block_entry(&p->block, p->index, &e))
            return sst_reader_bad_block(it->r, p->extent.page);
        if (e.tag == it->target.tag && slice_equal(e.key, it->target.user))
            return position_take(it, p);
    }
    if (p->index == 0)
        return step_edge(it, p->block_index - 1, true);
    p->index--;
    return position_take(it, p);
}

/*
 * The lower bound of the target. If a version of its user key is there that is not above it, then the first of these is
 * it, and the fingerprints name that without a binary search through cold cache lines.
 */
static bool block_search(const struct sst_block *b, struct ikey target, uint64_t hash, uint32_t *out_index)
{
    struct sst_entry e;
    bool found;
    if (!sst_block_find(b, target.user, hash, target.tag, &e, out_index, &found))
        return false;
    return found || sst_block_lower_bound(b, target, out_index);
}

static enum nokv_status step_seek(struct sst_iter *it)
{
    struct position p;
    enum nokv_status status = NOKV_OK;
    bool backward = it->move == MOVE_SEEK_FOR_PREV;
    int64_t found = sst_index_search(&it->r->index, it->target);
    if (found < 0)
        return sst_reader_bad_index(it->r);
    if (found >= it->r->index.count)
        return backward ? step_edge(it, it->r->index.count - 1, true) : step_edge(it, none, false);
    if (!block_enter(it, (uint64_t)found, &p, &status))
        return status;
    if (!block_search(&p.block, it->target, it->hash, &p.index))
        return sst_reader_bad_block(it->r, p.extent.page);
    return backward ? step_seek_backward(it, &p) : step_seek_forward(it, &p);
}

/* Out of the window. */
static enum nokv_status step_on(struct sst_iter *it, uint32_t index)
{
    struct position p = it->at;
    p.index = index;
    return position_take(it, &p);
}

static enum nokv_status step_guarded(void *arg)
{
    struct sst_iter *it = arg;
    switch (it->move) {
    case MOVE_FIRST:
        return step_edge(it, 0, false);
    case MOVE_LAST:
        return step_edge(it, it->r->index.count - 1, true);
    case MOVE_NEXT:
        if (it->at.index + 1 < it->at.block.count)
            return step_on(it, it->at.index + 1);
        return step_edge(it, it->at.block_index + 1, false);
    case MOVE_PREV:
        if (it->at.index > 0)
            return step_on(it, it->at.index - 1);
        return step_edge(it, it->at.block_index - 1, true);
    case MOVE_SEEK:
    case MOVE_SEEK_FOR_PREV:
        break;
    }
    return step_seek(it);
}

/* ---- moves ----------------------------------------------------------------------------------------------------- */

static void entry_show(struct sst_iter *it)
{
    const struct sst_entry *e = &it->window[it->at.index - it->low];
    it->base.key = (struct ikey){.user = e->key, .tag = e->tag};
    it->base.value = e->value;
}

/* A block that a step needs: verified in the mapping, or in memory. */
static enum nokv_status block_bring(struct sst_iter *it, uint64_t block)
{
    struct sst_extent extent;
    uint64_t ahead = 0;
    if (!it->base.must_release)
        return sst_reader_verify_block(it->r, block);
    TRY(sst_reader_extent(it->r, block, &extent));
    TRY(mem_grow(&it->held, &it->held_capacity, it->held_count + 1, sizeof *it->held));
    if (it->move == MOVE_NEXT && it->direction > 0 && it->blocks_in_row >= AHEAD_AFTER_BLOCKS) {
        ahead = it->ahead_pages * (uint64_t)PAGE_BYTES;
        it->ahead_pages = (uint32_t)u64_min(2 * (uint64_t)it->ahead_pages, AHEAD_PAGES_MAX);
    }
    TRY(sst_reader_load(it->r, extent, block, ahead, &it->held[it->held_count]));
    it->held_count++;
    return NOKV_OK;
}

static void held_release(struct sst_iter *it, size_t keep)
{
    if (it->held_count <= keep)
        return;
    size_t gone = it->held_count - keep;
    for (size_t i = 0; i < gone; i++)
        cache_block_unref(it->held[i]);
    memmove(it->held, it->held + gone, keep * sizeof *it->held);
    it->held_count = keep;
}

static void release(struct iter *base)
{
    held_release(CONTAINER_OF(base, struct sst_iter, base), 2);
}

static void iter_step(struct sst_iter *it, enum move move)
{
    enum nokv_status status = NOKV_OK;
    it->move = move;
    it->ended = false;
    do {
        it->unverified = none;
        status = sst_reader_guarded(it->r, step_guarded, it);
        if (status == NOKV_OK && it->unverified != none)
            status = block_bring(it, it->unverified);
    } while (status == NOKV_OK && it->unverified != none);
    if (UNLIKELY(status != NOKV_OK || it->ended)) {
        iter_stop(&it->base, status);
        return;
    }
    it->base.valid = true;
    it->base.status = NOKV_OK;
    if (it->window_size < WINDOW_MAX)
        it->window_size *= 4;
    entry_show(it);
}

/* A position that the last one says nothing about. */
static void iter_jump(struct sst_iter *it, enum move move)
{
    it->window_size = 1;
    it->blocks_in_row = 0;
    it->direction = 0;
    enum nokv_status status = sst_reader_prepare(it->r, SST_READY_INDEX);
    if (UNLIKELY(status != NOKV_OK))
        iter_stop(&it->base, status);
    else
        iter_step(it, move);
}

static void ahead_forward(struct sst_iter *it, uint64_t first_after)
{
    uint64_t from = u64_max(it->ahead_edge, first_after), end = it->r->end_page;
    if (from >= end || from - first_after > it->ahead_pages / 4)
        return;
    uint64_t count = u64_min(it->ahead_pages, end - from);
    io_map_advise(&it->r->map, from * PAGE_BYTES, count * PAGE_BYTES, IO_ADVICE_WILLNEED);
    it->ahead_edge = from + count;
    it->ahead_pages = (uint32_t)u64_min(2 * (uint64_t)it->ahead_pages, AHEAD_PAGES_MAX);
}

static void ahead_backward(struct sst_iter *it, uint64_t first)
{
    uint64_t to = u64_min(it->ahead_edge, first);
    if (to <= 1 || first - to > it->ahead_pages / 4)
        return;
    uint64_t count = u64_min(it->ahead_pages, to - 1);
    io_map_advise(&it->r->map, (to - count) * PAGE_BYTES, count * PAGE_BYTES, IO_ADVICE_WILLNEED);
    it->ahead_edge = to - count;
    it->ahead_pages = (uint32_t)u64_min(2 * (uint64_t)it->ahead_pages, AHEAD_PAGES_MAX);
}

/* After a step into a neighbouring block. */
static void ahead_update(struct sst_iter *it, int direction)
{
    if (direction != it->direction) {
        it->direction = direction;
        it->blocks_in_row = 0;
        it->ahead_pages = AHEAD_PAGES_MIN;
        it->ahead_edge = direction > 0 ? 0 : none;
    }
    if (++it->blocks_in_row <= AHEAD_AFTER_BLOCKS || it->base.must_release)
        return;
    if (direction > 0)
        ahead_forward(it, it->at.extent.page + it->at.extent.size / PAGE_BYTES);
    else
        ahead_backward(it, it->at.extent.page);
}

static void move_first(struct iter *base)
{
    iter_jump(CONTAINER_OF(base, struct sst_iter, base), MOVE_FIRST);
}

static void move_last(struct iter *base)
{
    iter_jump(CONTAINER_OF(base, struct sst_iter, base), MOVE_LAST);
}

static void move_seek(struct iter *base, struct ikey target)
{
    struct sst_iter *it = CONTAINER_OF(base, struct sst_iter, base);
    it->target = target;
    it->hash = sst_key_hash(target.user);
    iter_jump(it, MOVE_SEEK);
}

static void move_seek_for_prev(struct iter *base, struct ikey target)
{
    struct sst_iter *it = CONTAINER_OF(base, struct sst_iter, base);
    it->target = target;
    it->hash = sst_key_hash(target.user);
    iter_jump(it, MOVE_SEEK_FOR_PREV);
}

/* The step left the window; it may leave the block. */
static void step_out(struct sst_iter *it, enum move move)
{
    uint64_t block_before = it->at.block_index;
    iter_step(it, move);
    if (it->base.valid && it->at.block_index != block_before)
        ahead_update(it, move == MOVE_NEXT ? 1 : -1);
}

static void move_next(struct iter *base)
{
    struct sst_iter *it = CONTAINER_OF(base, struct sst_iter, base);
    ASSERT(base->valid);
    if (LIKELY(it->at.index + 1 < it->high)) {
        it->at.index++;
        entry_show(it);
        return;
    }
    step_out(it, MOVE_NEXT);
}

static void move_prev(struct iter *base)
{
    struct sst_iter *it = CONTAINER_OF(base, struct sst_iter, base);
    ASSERT(base->valid);
    if (LIKELY(it->at.index > it->low)) {
        it->at.index--;
        entry_show(it);
        return;
    }
    step_out(it, MOVE_PREV);
}

static bool is_below(const struct sst_entry *e, const struct ikey *limit)
{
    return ikey_compare((struct ikey){.user = e->key, .tag = e->tag}, *limit) < 0;
}

/* How many of the `count` entries are below the limit; the first is, or is not asked for. */
static size_t run_below(const struct sst_iter *it, const struct sst_entry *entries, size_t count,
                        const struct ikey *limit)
{
    size_t low = 1, high = count;
    if (it->run >= count && LIKELY(is_below(&entries[count - 1], limit)))
        return count;
    for (size_t step = 1; low < high && step < count; step *= 2) { /* 1, 2, 4, … from the front */
        if (!is_below(&entries[step], limit)) {
            high = step;
            break;
        }
        low = step + 1;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (is_below(&entries[middle], limit))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Keys are compared outside of the guard of this module: see iter_take. */
static size_t take(struct iter *base, const struct ikey *limit, struct iter_entry *out, size_t max)
{
    struct sst_iter *it = CONTAINER_OF(base, struct sst_iter, base);
    size_t count = 0;
    ASSERT(base->valid && max > 0);
    for (;;) {
        const struct sst_entry *entries = &it->window[it->at.index - it->low];
        size_t there = u64_min(it->high - it->at.index, max - count);
        size_t run = limit ? run_below(it, entries, there, limit) : there;
        for (size_t i = 0; i < run; i++)
            out[count + i] =
                (struct iter_entry){.key = {.user = entries[i].key, .tag = entries[i].tag}, .value = entries[i].value};
        count += run;
        it->run = run;
        if (it->at.index + run < it->high) {
            it->at.index += (uint32_t)run;
            entry_show(it);
            return count;
        }
        it->at.index = it->high - 1;
        step_out(it, MOVE_NEXT);
        if (count == max || !base->valid || (limit && ikey_compare(base->key, *limit) >= 0))
            return count;
    }
}

static void iter_free(struct iter *base)
{
    struct sst_iter *it = CONTAINER_OF(base, struct sst_iter, base);
    held_release(it, 0);
    mem_free(it->held);
    sst_reader_unref(it->r);
    mem_free(it);
}

static const struct iter_ops ops = {
    .first = move_first,
    .last = move_last,
    .seek = move_seek,
    .seek_for_prev = move_seek_for_prev,
    .next = move_next,
    .prev = move_prev,
    .release = release,
    .take = take,
    .destroy = iter_free,
};

enum nokv_status sst_iter_create(struct sst_reader *r, struct iter **out_iter)
{
    struct sst_iter *it = mem_zalloc(sizeof *it);
    if (it == NULL)
        return FAIL(NO_MEMORY, "sst iterator");
    it->base.ops = &ops;
    it->base.must_release = sst_reader_is_copied(r);
    it->r = r;
    it->kind_seen = KEY_VALUE;
    sst_reader_ref(r);
    *out_iter = &it->base;
    return NOKV_OK;
}
