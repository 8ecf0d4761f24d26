// SPDX-License-Identifier: Apache-2.0
/*
 * calls.h - byte strings as calls of the public interface on a simulated disk, and what their answers must be.
 *
 * A call is CALL_BYTES bytes: which one, and three that say with what. There are CALL_KEYS keys; a value follows from
 * the number that it was written with. So the whole state of a database is one small number per key, and many states
 * can be kept: those of snapshots and iterators, and the history of all writes.
 *
 * Which state a database is in need not be known for sure. After a power cut it is one of those since the last sync;
 * after its files were damaged, one of a given list. Each answer rules out those that would have answered otherwise,
 * and when none is left the answer was wrong.
 *
 *      calls_create ─► (calls_assume) ─► calls_open ─► calls_run ... ─► calls_destroy
 */
#ifndef TESTS_FUZZ_DB_CALLS_H
#define TESTS_FUZZ_DB_CALLS_H

#include "../fuzz.h"
#include "io/sim.h"
#include "nokv/nokv.h"

enum { CALL_BYTES = 4, CALL_KEYS = 24, CALL_HEAD = 4, CALL_STATES_MAX = 64 };

/* What each key holds: 0 nothing, otherwise the number of a value. */
struct key_state {
    uint16_t ids[CALL_KEYS];
};

struct calls;

/* `sim` is the caller's, and has no io. `head`: CALL_HEAD bytes that choose the options. `is_damaged`: a call may also
 * end with CORRUPT, naming what is. */
struct calls *calls_create(struct sim *sim, const uint8_t *head, bool is_damaged);
/* The database is in one of these states. Not called: it is empty. REQUIRES: count <= CALL_STATES_MAX. */
void calls_assume(struct calls *c, const struct key_state *states, size_t count);
/* False: it cannot be opened, because it is damaged. */
bool calls_open(struct calls *c);
bool calls_is_open(const struct calls *c);
/* REQUIRES: open. A damaged database may be found so when it is opened again: then it is not any more. */
void calls_run(struct calls *c, const uint8_t *data, size_t size);
/* Look at every key in every way. */
void calls_check_all(struct calls *c);
/* Close it; `kill`: the process dies instead. */
void calls_close(struct calls *c, bool kill);
void calls_destroy(struct calls *c); /* REQUIRES: closed, or never open */
/* The states after each write so far, the first one empty. REQUIRES: no sync was asked for. */
size_t calls_history(const struct calls *c, struct key_state states[CALL_STATES_MAX]);

#endif
