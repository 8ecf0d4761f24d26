// SPDX-License-Identifier: Apache-2.0
/*
 * tests/crash/sweep_steps.h - what the scenarios of a sweep are made of: calls of the interface, each of which may fail
 * in the planned way and in no other, and what is known of the data afterwards.
 *
 * Every write is known by its number; its value follows from that. A key may be in the state of its last acknowledged
 * write, or of one behind it that failed.
 */
#ifndef TESTS_CRASH_SWEEP_STEPS_H
#define TESTS_CRASH_SWEEP_STEPS_H

#include "db/db.h"
#include "sweep_hooks.h"
#include "test.h"

enum { SWEEP_KEYS = 48, SWEEP_WRITES_MAX = 2000, SWEEP_KEY_BYTES = 640, SWEEP_VALUE_MAX = 4300 << 10 };

struct write {
    uint8_t key;
    bool is_delete, is_acknowledged, is_synced;
    uint32_t size;
};

struct model {
    struct write writes[SWEEP_WRITES_MAX];
    size_t count;
};

struct run {
    struct sim *sim;
    struct io *io; /* NULL: the real one */
    nokv_db *db;
    nokv_options options;
    struct model model;
    struct sweep_plan plan;
    bool may_be_corrupt; /* the database was damaged beforehand */
    bool may_be_absent;  /* it is destroyed, or was never there */
    char what[128];
    char dir[256]; /* of one on the real disk */
};

/* True: the call succeeded. A failure must be one that the plan explains. */
bool went_well(const struct run *r, enum nokv_status status, const char *call);
/* Everything that was acknowledged is durable now. */
void all_synced(struct run *r);

/* ---- steps ------------------------------------------------------------------------------------------------------ */

bool run_open(struct run *r); /* true: it is open */
void run_close(struct run *r);
void put(struct run *r, uint8_t key, uint32_t size, nokv_sync sync);
/* Puts and deletions, some of them synced, of values with all three homes. */
void writes(struct run *r, uint32_t count);
void batch(struct run *r, uint8_t first, uint32_t count, uint32_t size);
/* A value in two parts. */
void stream(struct run *r, uint8_t key, uint32_t size, uint64_t size_max);
void flush(struct run *r);
/* Flushes, overwrites, merges, collections. */
void maintenance(struct run *r);
void gets(struct run *r);
/* Gets, multi_get, iterators both ways, snapshots. */
void reads(struct run *r);
void multi_get(struct run *r);
/* Figures, verification, db_check. */
void inspection(struct run *r);
/* A real database that is closed: residency, dumps, salvage. */
void outside(struct run *r);

#endif
