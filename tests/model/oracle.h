// SPDX-License-Identifier: Apache-2.0
/*
 * tests/model/oracle.h - what the database must answer: a sorted array of all keys that a run may use, and for each of
 * them the identity of its value.
 *
 * Keys are drawn once from the seed, so a state is an array of one u64 per key, a snapshot a copy of it, and an
 * iterator an index. A value is a function of its identity; 0 stands for "absent".
 */
#ifndef TESTS_MODEL_ORACLE_H
#define TESTS_MODEL_ORACLE_H

#include "base/base.h"

struct universe {
    struct slice *keys; /* ascending, distinct */
    size_t count;
    unsigned value_profile; /* 0: small values only, 1: mixed, 2: mostly large */
    uint8_t *bytes;
    uint8_t *pool; /* random bytes from which values are cut */
};

struct state {
    uint32_t refs;
    uint64_t ids[]; /* one per key */
};

/* Where a model iterator may go, and where it stands: an index, or not valid. */
struct cursor {
    struct state *state; /* one reference is the cursor's */
    size_t low, high;    /* [low, high) of the keys */
    size_t pos;
    bool valid;
};

void universe_init(struct universe *u, uint64_t seed);
void universe_deinit(struct universe *u);
/* First index with a key >= target; count when there is none. */
size_t universe_lower_bound(const struct universe *u, struct slice target);
/* The index of exactly this key; count when it is none of them. */
size_t universe_find(const struct universe *u, struct slice key);

/* The value with this identity (not 0). The first bytes go to `scratch`, which holds oracle_value_max() bytes. */
struct slice oracle_value(const struct universe *u, uint64_t id, uint8_t *scratch);
size_t oracle_value_max(void);
bool oracle_value_matches(const struct universe *u, uint64_t id, const void *data, size_t size);

struct state *state_create(const struct universe *u);
struct state *state_copy(const struct universe *u, const struct state *s);
struct state *state_ref(struct state *s);
void state_unref(struct state *s);

/* Empty slices are no bounds. Takes a reference of its own. */
void cursor_init(struct cursor *c, const struct universe *u, struct state *s, struct slice lower, struct slice upper,
                 struct slice prefix);
void cursor_first(struct cursor *c);
void cursor_last(struct cursor *c);
void cursor_seek(struct cursor *c, const struct universe *u, struct slice target);
void cursor_seek_for_prev(struct cursor *c, const struct universe *u, struct slice target);
void cursor_next(struct cursor *c);
void cursor_prev(struct cursor *c);

#endif
