// SPDX-License-Identifier: Apache-2.0
/*
 * tests/sim/oracle.h - what the clients of a run did, and whether what somebody sees of it is possible.
 *
 * Each writer has keys of its own, so its writes have one order, and what is seen of its keys must be the state after
 * one number of them. When that number is read at a moment it lies in a window: not below what was acknowledged (or
 * synced, after a power cut) when the reading began, not above what was started when it ended. Writes of different
 * writers have no order but this: who sees a write sees all that were acknowledged before it began.
 *
 * Keys of all writers lie between each other. A value is a function of its identity, which is never used again, so what
 * a lost write had put there is noticed if it ever comes back.
 */
#ifndef TESTS_SIM_ORACLE_H
#define TESTS_SIM_ORACLE_H

#include "base/base.h"

enum {
    WRITERS_MAX = 4,
    WRITER_KEYS = 24,
    KEYS_MAX = WRITERS_MAX * WRITER_KEYS, /* key i belongs to writer i % WRITERS_MAX; ascending */
    ENTRIES_MAX = 6,
    WRITES_MAX = 6000, /* of one writer in one run */
    KEY_BYTES_MAX = 40,
    VALUE_BYTES_MAX = 48 << 10,
};

struct entry {
    uint64_t id; /* of the value; 0: the key is deleted */
    uint32_t value_size;
    uint32_t key;
    uint32_t before; /* the number of the write before that touched this key; 0: none */
};

struct write {
    uint64_t begun, acknowledged; /* when; UINT64_MAX: it never was */
    uint32_t count;
    struct entry entries[ENTRIES_MAX];
};

/* Writes have numbers from 1 on; the state after 0 writes is empty. */
struct history {
    struct write *writes; /* write n is writes[n - 1] */
    uint32_t started, acknowledged, synced;
    uint32_t last[WRITER_KEYS]; /* the newest write that touches the key */
};

struct oracle {
    struct history histories[WRITERS_MAX];
    uint64_t moment; /* counts beginnings and acknowledgements */
    uint64_t next_id;
    uint8_t *pool; /* from which values are cut */
};

/* How many writes of each writer may be seen. */
struct window {
    uint32_t low[WRITERS_MAX], high[WRITERS_MAX];
};

/* What somebody sees of some keys, together. */
struct sight {
    const struct oracle *oracle;
    struct window window;
    uint32_t *contradictions[WRITERS_MAX]; /* by number of writes: keys that do not fit, as differences */
    bool seen[KEYS_MAX];
    char what[96];
};

void oracle_init(struct oracle *o, uint64_t seed);
void oracle_deinit(struct oracle *o);
size_t oracle_key(uint32_t key, char out[KEY_BYTES_MAX]);
/* KEYS_MAX: none of ours. */
uint32_t oracle_key_of(const void *data, size_t size);
/* The bytes of an entry's value; `out` has room for VALUE_BYTES_MAX. */
void oracle_value(const struct oracle *o, const struct entry *e, uint8_t *out);

/* ---- writing --------------------------------------------------------------------------------------------------- */

/* The writer's next write, begun; its keys are distinct. Borrowed until its next. NULL: the history is full. */
const struct write *oracle_begin(struct oracle *o, uint32_t writer, uint64_t *random);
void oracle_acknowledge(struct oracle *o, uint32_t writer);
/* It failed, and so never happened. */
void oracle_withdraw(struct oracle *o, uint32_t writer);
/* What is acknowledged now, and, later, that it is durable. */
void oracle_marks(const struct oracle *o, uint32_t out_marks[WRITERS_MAX]);
void oracle_synced(struct oracle *o, const uint32_t marks[WRITERS_MAX]);
void oracle_all_synced(struct oracle *o);

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* Before and after what is to be checked is read, or fixed (a snapshot). */
void window_open(const struct oracle *o, struct window *w);
void window_close(const struct oracle *o, struct window *w);
/* After a crash now. */
void window_survivors(const struct oracle *o, bool is_power_cut, struct window *w);

/* `what` names it in a violation. */
void sight_begin(struct sight *v, const struct oracle *o, const struct window *w, const char *what);
void sight_present(struct sight *v, uint32_t key, const void *data, size_t size);
void sight_absent(struct sight *v, uint32_t key);
/* Keys of [first, end) that were not said to be present are absent. */
void sight_rest_absent(struct sight *v, uint32_t first, uint32_t end);
/* Is there one number of writes of each writer that explains all of it? A violation otherwise. *out_window (may be
 * NULL): what is possible. */
void sight_end(struct sight *v, struct window *out_window);

/* The database came back with at most so many writes: the others never happened; those are durable. Are there others?
 */
bool oracle_survive(struct oracle *o, const struct window *w);

#endif
