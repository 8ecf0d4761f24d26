// SPDX-License-Identifier: Apache-2.0
/*
 * tests/crash/history.h - what a crash test did, and whether a database that came back is a prefix of it.
 *
 * Every write is a batch of one or more entries on a small set of keys; keys and values follow from the number of the
 * write alone, so that content is checked byte for byte without being stored.
 */
#ifndef TESTS_CRASH_HISTORY_H
#define TESTS_CRASH_HISTORY_H

#include "db/db.h"
#include "test.h"

enum { HISTORY_KEYS = 48, HISTORY_WRITES_MAX = 4096, HISTORY_ENTRIES_MAX = 6 };

struct history_write {
    uint32_t count; /* entries */
    uint8_t keys[HISTORY_ENTRIES_MAX];
    bool deletes[HISTORY_ENTRIES_MAX];
    uint32_t value_sizes[HISTORY_ENTRIES_MAX];
    uint64_t seq_end; /* sequence number of its last entry */
};

struct history {
    struct history_write writes[HISTORY_WRITES_MAX];
    size_t count;        /* attempted */
    size_t acknowledged; /* of them, from the front */
    size_t synced;       /* of them, from the front: acknowledged as durable */
};

/* Draw the next write and apply it to the database; what came of it is noted. Returns the database's answer. */
enum nokv_status history_write_next(struct history *h, nokv_db *db, uint64_t *random, bool sync) MUST_CHECK;
/* Everything acknowledged so far is durable now. */
void history_mark_synced(struct history *h);
/*
 * The database must show exactly the state after some write number p, with least <= p <= count. Fails the test
 * otherwise, naming `what`. Forgets the writes after p: they never happened.
 */
void history_check(struct history *h, nokv_db *db, size_t least, const char *what);

#endif
