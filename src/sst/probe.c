// SPDX-License-Identifier: Apache-2.0
/*
 * probe.c - point reads of many keys, in steps.
 *
 * A point read is a chain of places that are far from each other: filter line, index nodes, block, entry. Each step
 * here does one link of it for all keys, and asks the memory for what the next step will touch; so the misses of one
 * key overlap with those of the others. What needs more than looking at mapped bytes - a region or a block that was not
 * verified yet, bytes that make no sense, a page that the device did not give - is left to sst_reader_get() of that one
 * key, which also says what is wrong.
 *
 * [I1] `at` only moves past tables that were asked and have said no: filter or index, or the block itself.
 * [I2] A step is one guarded call for all keys. When it ends in a fault, those that it left undecided are left to
 *      sst_reader_get(), so that the fault is an error of the keys in that page alone.
 *
 * Tables that copy take part in the same steps: their filters and indexes are in memory, and the blocks that the cache
 * does not have are read between plan and look, those of io_uring and O_DIRECT with one call, those of standard I/O
 * after a hint for each.
 *
 * [I3] `held` is a reference from fetch to look, which hands it out with what it found or gives it back.
 *
 * Threading: any number of threads, each with its own probes. Failure: there is none, see above.
 * Why not sst_reader_get() behind a prefetch of its filter line: the block and the entry are the longer waits.
 */
#include "sst/filter.h"
#include "sst/reader.h"

enum { DESCENTS_MAX = 64, LOADS_MAX = 64 };

struct probes_call {
    struct sst_probe *probes;
    size_t count;
};

/* A search in the index of a probe's table, under way. */
struct descent {
    struct sst_probe *probe;
    const struct sst_index *index;
    uint64_t prefix;
    uint64_t node; /* of the next level */
};

static struct ikey target_of(const struct sst_probe *p)
{
    return (struct ikey){.user = p->user_key, .tag = tag_for_seek(p->seq)};
}

/* ---- plan ------------------------------------------------------------------------------------------------------- */

/* Guarded. Find the first table whose filter does not say no. */
static bool plan_table(struct sst_probe *p)
{
    for (; p->at < p->reader_count; p->at++) {
        const struct sst_reader *r = p->readers[p->at];
        if (UNLIKELY(atomic_load_explicit(&r->ready, memory_order_relaxed) != SST_READY_ALL)) {
            p->state = SST_PROBE_ASK;
            return false;
        }
        const uint8_t *line = r->filter + sst_filter_line(p->hash, r->filter_lines) * SST_FILTER_LINE_BYTES;
        if (r->filter_lines == 0 || sst_filter_line_has(line, p->hash, r->filter_probes))
            return true;
    }
    p->state = SST_PROBE_ABSENT;
    return false;
}

/* Guarded. What the index says. */
static void plan_answer(struct sst_probe *p, int64_t block)
{
    const struct sst_reader *r = p->readers[p->at];
    if (block >= r->index.count) { /* not here: [I1] */
        p->at++;
        p->state = p->at < p->reader_count ? SST_PROBE_NEXT : SST_PROBE_ABSENT;
        return;
    }
    p->state = block < 0 ? SST_PROBE_ASK : SST_PROBE_BLOCK;
    p->block = (uint64_t)block;
}

/* Guarded. All of them one level down; asks for the nodes of the level below, behind the last one for the page numbers.
 * False: they have all come to the end. */
static bool descents_step(struct descent *descents, size_t count, unsigned level)
{
    bool is_any = false;
    for (size_t i = 0; i < count; i++) {
        struct descent *d = &descents[i];
        const struct sst_index *x = d->index;
        if (level >= x->level_count || UNLIKELY(d->node == UINT64_MAX))
            continue;
        is_any = true;
        d->node = sst_index_step(x, level, d->node, d->prefix);
        if (level + 1 == x->level_count) {
            __builtin_prefetch(x->pages + 4 * u64_min(d->node, x->count));
        } else if (LIKELY(d->node < x->nodes[level + 1])) {
            const uint64_t *node = x->levels[level + 1] + d->node * SST_INDEX_FANOUT;
            __builtin_prefetch(node);
            __builtin_prefetch(node + SST_INDEX_FANOUT / 2);
        }
    }
    return is_any;
}

/* Guarded. Where the block is; asks for its header and fingerprints, and the offsets behind them. */
static void plan_block(struct sst_probe *p)
{
    const struct sst_reader *r = p->readers[p->at];
    struct sst_extent extent;
    if (UNLIKELY(!sst_reader_locate(r, p->block, &extent))) {
        p->state = SST_PROBE_ASK;
        return;
    }
    p->off = (uint64_t)extent.page * PAGE_BYTES;
    p->size = extent.size;
    if (r->is_copied)
        return;
    __builtin_prefetch(r->data + p->off);
    __builtin_prefetch(r->data + p->off + CACHE_LINE);
    __builtin_prefetch(&r->verified[p->block / 64]);
}

/* Guarded. */
static void plan_some(struct sst_probe *probes, size_t count)
{
    struct descent descents[DESCENTS_MAX];
    size_t descent_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct sst_probe *p = &probes[i];
        if (p->state != SST_PROBE_NEXT || !plan_table(p))
            continue;
        struct descent *d = &descents[descent_count];
        int64_t block;
        *d = (struct descent){.probe = p, .index = &p->readers[p->at]->index};
        if (sst_index_begin(d->index, target_of(p), &d->prefix, &block))
            descent_count++;
        else
            plan_answer(p, block);
    }
    for (unsigned level = 0; descents_step(descents, descent_count, level); level++) {
    }
    for (size_t i = 0; i < descent_count; i++) {
        const struct descent *d = &descents[i];
        plan_answer(d->probe, sst_index_end(d->index, target_of(d->probe), d->prefix, d->node));
    }
    for (size_t i = 0; i < count; i++)
        if (probes[i].state == SST_PROBE_BLOCK)
            plan_block(&probes[i]);
}

static enum nokv_status plan_guarded(void *arg)
{
    const struct probes_call *c = arg;
    for (size_t done = 0; done < c->count; done += DESCENTS_MAX)
        plan_some(c->probes + done, u64_min(c->count - done, DESCENTS_MAX));
    return NOKV_OK;
}

/* What was not verified yet is, so that it is there for all keys. */
static void regions_prepare(const struct sst_probe *p)
{
    for (uint32_t i = p->at; i < p->reader_count; i++)
        if (sst_reader_prepare(p->readers[i], SST_READY_ALL) != NOKV_OK)
            return; /* whoever asks there is told */
}

/* What `from` could not be brought further for is asked singly. */
static void leave(const struct probes_call *c, enum sst_probe_state from)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->probes[i].state == from)
            c->probes[i].state = SST_PROBE_ASK;
}

void sst_probes_plan(struct sst_probe *probes, size_t count)
{
    struct probes_call c = {.probes = probes, .count = count};
    for (size_t i = 0; i < count; i++)
        if (probes[i].state == SST_PROBE_NEXT)
            regions_prepare(&probes[i]);
    if (io_guarded(plan_guarded, &c) == NOKV_OK)
        return;
    leave(&c, SST_PROBE_NEXT);
    leave(&c, SST_PROBE_BLOCK); /* without a place */
}

/* ---- fetch ------------------------------------------------------------------------------------------------------ */

/* Blocks that are on their way into the cache. */
struct loads {
    struct sst_probe *probes[LOADS_MAX];
    struct io_read_request requests[LOADS_MAX];
    size_t count;
};

static enum nokv_status load_check(const struct sst_probe *p, const struct io_read_request *request)
{
    const struct sst_reader *r = p->readers[p->at];
    struct sst_extent extent = {.page = (uint32_t)(p->off / PAGE_BYTES), .size = p->size};
    struct sst_block b;
    TRY(request->status);
    if (request->got != p->size)
        return NOKV_ERR_CORRUPT; /* whoever asks singly is told */
    return sst_reader_check_bytes(r, p->held->data, extent, &b);
}

static void loads_run(struct loads *l)
{
    if (l->count == 0)
        return;
    for (size_t i = 0; i < l->count && l->count > 1; i++)
        if (io_file_model(l->requests[i].file) == IO_STD)
            io_prefetch(l->requests[i].file, l->requests[i].off, l->requests[i].size);
    enum nokv_status status = io_read_many(l->probes[0]->readers[l->probes[0]->at]->io, l->requests, l->count);
    (void)status; /* each has its own */
    for (size_t i = 0; i < l->count; i++) {
        struct sst_probe *p = l->probes[i];
        struct sst_reader *r = p->readers[p->at];
        if (load_check(p, &l->requests[i]) == NOKV_OK) {
            p->held = cache_insert(r->cache, p->held);
        } else {
            cache_block_unref(TAKE(p->held));
            p->state = SST_PROBE_ASK;
        }
    }
    l->count = 0;
}

/* Out of the cache, or later into it. */
static void load_add(struct loads *l, struct sst_probe *p)
{
    struct sst_reader *r = p->readers[p->at];
    uint64_t number = r->footer.file_number, page = p->off / PAGE_BYTES;
    p->held = cache_find(r->cache, number, page);
    if (p->held != NULL) {
        __builtin_prefetch(p->held->data);
        __builtin_prefetch(p->held->data + CACHE_LINE);
        return;
    }
    struct io_file *file = NULL;
    if (sst_reader_file(r, &file) != NOKV_OK ||
        cache_block_create(r->cache, number, page, p->size, &p->held) != NOKV_OK) {
        p->held = NULL;
        p->state = SST_PROBE_ASK;
        return;
    }
    l->probes[l->count] = p;
    l->requests[l->count++] =
        (struct io_read_request){.file = file, .buffer = p->held->data, .size = p->size, .off = p->off};
    if (l->count == LOADS_MAX)
        loads_run(l);
}

void sst_probes_fetch(struct sst_probe *probes, size_t count, bool only_new, struct io_hints *hints)
{
    struct loads loads;
    loads.count = 0;
    for (size_t i = 0; i < count; i++) {
        struct sst_probe *p = &probes[i];
        if (p->state != SST_PROBE_BLOCK)
            continue;
        const struct sst_reader *r = p->readers[p->at];
        if (r->is_copied)
            load_add(&loads, p);
        else if (!only_new || !sst_reader_is_verified(r, p->block))
            io_hints_add(hints, &r->map, p->off, p->size);
    }
    io_hints_end(hints);
    loads_run(&loads);
}

/* ---- look ------------------------------------------------------------------------------------------------------- */

static const uint8_t *block_data(const struct sst_probe *p)
{
    return p->held ? p->held->data : p->readers[p->at]->data + p->off;
}

/* Was the block verified? One of the cache is. */
static bool is_sound(const struct sst_probe *p)
{
    return p->held || sst_reader_is_verified(p->readers[p->at], p->block);
}

/* Guarded. Ask for the entry that the fingerprints point to. */
static void look_fingerprints(struct sst_probe *p)
{
    struct sst_block b;
    if (UNLIKELY(!is_sound(p)) || !sst_block_open(block_data(p), p->size, &b)) {
        p->state = SST_PROBE_ASK;
        return;
    }
    for (uint32_t base = 0; base < b.count; base += 16) {
        uint32_t mask = sst_fingerprint_match(b.data + SST_BLOCK_HEADER_BYTES + base, sst_fingerprint(p->hash));
        uint32_t index = mask ? base + (uint32_t)__builtin_ctz(mask) : b.count;
        if (index >= b.count)
            continue;
        const uint8_t *entry = b.data + sst_block_offset(&b, index);
        __builtin_prefetch(entry);
        __builtin_prefetch(entry + CACHE_LINE);
        return;
    }
}

/* Guarded. */
static void look_entry(struct sst_probe *p)
{
    struct sst_block b;
    struct sst_entry entry;
    uint32_t index;
    bool found = false;
    if (UNLIKELY(!sst_block_open(block_data(p), p->size, &b)) ||
        UNLIKELY(!sst_block_find(&b, p->user_key, p->hash, tag_for_seek(p->seq), &entry, &index, &found)) ||
        UNLIKELY(found && !key_kind_known(tag_kind_byte(entry.tag)))) {
        p->state = SST_PROBE_ASK;
        return;
    }
    if (!found) {
        p->at++;
        p->state = p->at < p->reader_count ? SST_PROBE_NEXT : SST_PROBE_ABSENT;
        return;
    }
    if (p->held == NULL)
        sst_value_touch(&entry);
    p->lookup = (struct lookup){.found = true, .tag = entry.tag, .value = entry.value};
    p->state = SST_PROBE_FOUND;
}

static enum nokv_status look_guarded(void *arg)
{
    const struct probes_call *c = arg;
    for (size_t i = 0; i < c->count; i++)
        if (c->probes[i].state == SST_PROBE_BLOCK)
            look_fingerprints(&c->probes[i]);
    for (size_t i = 0; i < c->count; i++)
        if (c->probes[i].state == SST_PROBE_BLOCK)
            look_entry(&c->probes[i]);
    return NOKV_OK;
}

void sst_probes_look(struct sst_probe *probes, size_t count)
{
    struct probes_call c = {.probes = probes, .count = count};
    if (io_guarded(look_guarded, &c) != NOKV_OK)
        leave(&c, SST_PROBE_BLOCK);
    for (size_t i = 0; i < count; i++) {
        struct sst_probe *p = &probes[i];
        if (p->held == NULL)
            continue;
        if (p->state == SST_PROBE_FOUND)
            p->lookup.holder = TAKE(p->held);
        else
            cache_block_unref(TAKE(p->held));
    }
}
