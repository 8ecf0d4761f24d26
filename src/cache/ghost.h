// SPDX-License-Identifier: Apache-2.0
/*
 * cache/ghost.h - remembers the names of blocks that left the small queue lately, without the blocks.
 *
 * It holds 32 bits of each name, so it may say yes to a name that it never saw, though seldom: the block is then
 * kept a little longer than it deserves. Used by one shard under its mutex.
 */
#ifndef CACHE_GHOST_H
#define CACHE_GHOST_H

#include "base/base.h"

struct ghost_slot {
    uint32_t print; /* of the name */
    uint32_t time;  /* of its coming */
};

struct ghost {
    struct ghost_slot *slots; /* owned */
    uint64_t group_mask;      /* number of groups - 1 */
    uint32_t now;             /* names that came so far, modulo 2^32 */
};

/* Room for at least `count` names. */
enum nokv_status ghost_init(struct ghost *g, uint64_t count) MUST_CHECK;
void ghost_deinit(struct ghost *g); /* a zeroed one is accepted */
void ghost_add(struct ghost *g, uint64_t hash);
/* Was it among the last `age_max` that came? It is forgotten then. */
bool ghost_take(struct ghost *g, uint64_t hash, uint64_t age_max);

#endif
