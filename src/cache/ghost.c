// SPDX-License-Identifier: Apache-2.0
/*
 * The ghost queue of S3-FIFO as a table without a queue, as its authors propose: a slot holds a fingerprint and the
 * time at which it came, time being the number of names so far, and is valid for as long as its age says.
 *
 * [I1] A name has one group of GROUP_SLOTS neighbouring slots. A name that comes takes the oldest
 *      slot of its group, so nothing ever has to be removed.
 * [I2] print 0 is an empty slot; no name has it.
 *
 * The time wraps around after 2^32 names; a slot that nobody has written for so long is taken for a young one once.
 * Threading: the owner's mutex. Failure: only creation can fail.
 * Why not a ring and a hash table: two structures and twice the memory for an answer that need not be exact.
 */
#include "cache/ghost.h"

#include "base/alloc.h"

enum {
    GROUP_SLOTS = 8, /* 64 bytes */
    GROUP_NAMES = 4, /* on average, when all names that are asked for are there: hardly a group then overflows */
};

static uint32_t print_of(uint64_t hash)
{
    uint32_t print = (uint32_t)(hash >> 16);
    return print ? print : 1; /* [I2] */
}

static struct ghost_slot *group_of(const struct ghost *g, uint64_t hash)
{
    return g->slots + (hash & g->group_mask) * GROUP_SLOTS;
}

enum nokv_status ghost_init(struct ghost *g, uint64_t count)
{
    uint64_t groups = 1;
    while (groups * GROUP_NAMES < count)
        groups *= 2;
    struct ghost_slot *slots = mem_zalloc(groups * GROUP_SLOTS * sizeof *slots);
    if (slots == NULL)
        return FAIL(NO_MEMORY, "could not allocate the cache's memory of %llu evicted blocks",
                    (unsigned long long)count);
    *g = (struct ghost){.slots = slots, .group_mask = groups - 1};
    return NOKV_OK;
}

void ghost_deinit(struct ghost *g)
{
    mem_free(g->slots);
    *g = (struct ghost){0};
}

void ghost_add(struct ghost *g, uint64_t hash)
{
    struct ghost_slot *group = group_of(g, hash), *oldest = group;
    for (int i = 0; i < GROUP_SLOTS; i++) {
        if (group[i].print == 0) {
            oldest = &group[i];
            break;
        }
        if (g->now - group[i].time > g->now - oldest->time)
            oldest = &group[i];
    }
    *oldest = (struct ghost_slot){.print = print_of(hash), .time = g->now++};
}

bool ghost_take(struct ghost *g, uint64_t hash, uint64_t age_max)
{
    struct ghost_slot *group = group_of(g, hash);
    for (int i = 0; i < GROUP_SLOTS; i++) {
        if (group[i].print == print_of(hash) && g->now - group[i].time <= age_max) {
            group[i] = (struct ghost_slot){0};
            return true;
        }
    }
    return false;
}
