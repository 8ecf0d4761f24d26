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
 * Threading: any number of threads, each with its own probes. Failure: there is none, see above.
 * Why not sst_reader_get() behind a prefetch of its filter line: the block and the entry are the longer waits.
 */
#include "sst/filter.h"
#include "sst/reader.h"

struct probes_call {
    struct sst_probe *probes;
    size_t count;
};

static struct ikey target_of(const struct sst_probe *p)
{
    return (struct ikey){.user = p->user_key, .tag = tag_for_seek(p->seq)};
}

/* ---- plan ------------------------------------------------------------------------------------------------------- */

/* Guarded. Find the first table whose filter and index do not say no. */
static void plan_table(struct sst_probe *p)
{
    for (; p->at < p->reader_count; p->at++) {
        const struct sst_reader *r = p->readers[p->at];
        if (UNLIKELY(atomic_load_explicit(&r->ready, memory_order_relaxed) != SST_READY_ALL)) {
            p->state = SST_PROBE_ASK;
            return;
        }
        const uint8_t *line = r->filter + sst_filter_line(p->hash, r->filter_lines) * SST_FILTER_LINE_BYTES;
        if (r->filter_lines != 0 && !sst_filter_line_has(line, p->hash, r->filter_probes))
            continue;
        int64_t block = sst_index_search(&r->index, target_of(p));
        if (block >= r->index.count)
            continue;
        p->state = block < 0 ? SST_PROBE_ASK : SST_PROBE_BLOCK;
        p->block = (uint64_t)block;
        if (block >= 0)
            __builtin_prefetch(r->index.pages + 4 * (uint64_t)block);
        return;
    }
    p->state = SST_PROBE_ABSENT;
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
    __builtin_prefetch(r->data + p->off);
    __builtin_prefetch(r->data + p->off + CACHE_LINE);
    __builtin_prefetch(&r->verified[p->block / 64]);
}

static enum nokv_status plan_guarded(void *arg)
{
    const struct probes_call *c = arg;
    for (size_t i = 0; i < c->count; i++)
        if (c->probes[i].state == SST_PROBE_NEXT)
            plan_table(&c->probes[i]);
    for (size_t i = 0; i < c->count; i++)
        if (c->probes[i].state == SST_PROBE_BLOCK)
            plan_block(&c->probes[i]);
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

void sst_probes_hint(const struct sst_probe *probes, size_t count, bool only_new, struct io_hints *hints)
{
    for (size_t i = 0; i < count; i++) {
        const struct sst_probe *p = &probes[i];
        if (p->state != SST_PROBE_BLOCK)
            continue;
        const struct sst_reader *r = p->readers[p->at];
        if (!only_new || !sst_reader_is_verified(r, p->block))
            io_hints_add(hints, &r->map, p->off, p->size);
    }
}

/* ---- look ------------------------------------------------------------------------------------------------------- */

/* Guarded. Ask for the entry that the fingerprints point to. */
static void look_fingerprints(struct sst_probe *p)
{
    const struct sst_reader *r = p->readers[p->at];
    struct sst_block b;
    if (UNLIKELY(!sst_reader_is_verified(r, p->block)) || !sst_block_open(r->data + p->off, p->size, &b)) {
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
    const struct sst_reader *r = p->readers[p->at];
    struct sst_block b;
    struct sst_entry entry;
    uint32_t index;
    bool found = false;
    if (UNLIKELY(!sst_block_open(r->data + p->off, p->size, &b)) ||
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
}
