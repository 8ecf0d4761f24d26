// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_cache.c - the cache of pages that whoever does not read in place has to bring along, as most engines do.
 *
 * Pages in sets of sixteen; a set is the page's hash, has a lock of its own, and gives up the place that its clock hand
 * finds unused since the last round. A hit is copied out under the lock. Simple on purpose: what it shows is the price
 * of a cache in the process beside the page cache (a lock and a copy per read, memory that is set aside), not the best
 * that could be made.
 */
#include "base/alloc.h"
#include "base/thread.h"
#include "lab/reads.h"

enum { WAYS = 16 };

struct set {
    struct mutex mu;
    /* protected by mu */
    uint64_t pages[WAYS]; /* plus 1; 0: free */
    bool used[WAYS];      /* since the hand came by */
    unsigned hand;
};

struct lab_cache {
    uint64_t set_count;
    size_t data_bytes;
    struct set *sets;
    uint8_t *data;
};

struct lab_cache *lab_cache_create(uint64_t bytes)
{
    struct lab_cache *c = mem_zalloc(sizeof *c);
    if (!c)
        return NULL;
    c->set_count = u64_max(bytes / PAGE_BYTES / WAYS, 1);
    c->data_bytes = c->set_count * WAYS * PAGE_BYTES;
    c->sets = mem_zalloc(c->set_count * sizeof *c->sets);
    c->data = mem_alloc_pages(PAGE_BYTES, c->data_bytes);
    if (!c->sets || !c->data) {
        lab_cache_destroy(c);
        return NULL;
    }
    for (uint64_t i = 0; i < c->set_count; i++)
        mutex_init(&c->sets[i].mu);
    return c;
}

void lab_cache_destroy(struct lab_cache *c)
{
    if (!c)
        return;
    for (uint64_t i = 0; c->sets && c->data && i < c->set_count; i++)
        mutex_deinit(&c->sets[i].mu);
    if (c->data)
        mem_free_pages(c->data, c->data_bytes);
    mem_free(c->sets);
    mem_free(c);
}

static struct set *set_of(const struct lab_cache *c, uint64_t page)
{
    return &c->sets[lab_mix(page) % c->set_count];
}

static uint8_t *place_data(const struct lab_cache *c, const struct set *s, unsigned way)
{
    return c->data + ((size_t)(s - c->sets) * WAYS + way) * PAGE_BYTES;
}

bool lab_cache_get(struct lab_cache *c, uint64_t page, uint8_t out[PAGE_BYTES])
{
    struct set *s = set_of(c, page);
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&s->mu);
    (void)held;
    for (unsigned way = 0; way < WAYS; way++)
        if (s->pages[way] == page + 1) {
            s->used[way] = true;
            memcpy(out, place_data(c, s, way), PAGE_BYTES);
            return true;
        }
    return false;
}

void lab_cache_put(struct lab_cache *c, uint64_t page, const uint8_t data[PAGE_BYTES])
{
    struct set *s = set_of(c, page);
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&s->mu);
    (void)held;
    for (unsigned way = 0; way < WAYS; way++)
        if (s->pages[way] == page + 1)
            return; /* another thread was first */
    while (s->used[s->hand % WAYS])
        s->used[s->hand++ % WAYS] = false;
    unsigned way = s->hand++ % WAYS;
    s->pages[way] = page + 1;
    memcpy(place_data(c, s, way), data, PAGE_BYTES);
}
