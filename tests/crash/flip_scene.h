// SPDX-License-Identifier: Apache-2.0
/*
 * tests/crash/flip_scene.h - one small database that has files of every kind, whose every answer is known, and a check
 * of what a copy of it that was damaged may say.
 *
 * Damaged or not, a database has three things to say: the right answer, CORRUPT, or, for the end of the last log that
 * no mark vouches for, the state before those writes: all answers are then those of one earlier sequence number.
 */
#ifndef TESTS_CRASH_FLIP_SCENE_H
#define TESTS_CRASH_FLIP_SCENE_H

#include "db/db.h"
#include "io/sim.h"
#include "test.h"

enum { SCENE_KEYS = 120, SCENE_WRITES_MAX = 1024, SCENE_FILES_MAX = 64 };

#define SCENE_DIR "db"

struct scene_write {
    uint64_t seq;
    uint32_t key;
    uint32_t size;
    bool is_delete, ends_batch;
    uint8_t *value; /* NULL: deleted */
};

struct scene {
    struct sim *sim;   /* at rest: no process has it open */
    struct sim *older; /* the same disk earlier, in the middle of the last life: files of the same names */
    nokv_options options;
    struct scene_write writes[SCENE_WRITES_MAX]; /* by sequence number, from 1 on */
    size_t count;
    uint64_t log_end;    /* of the last log, which is shorter than the ring: so many bytes of the ring are its */
    uint64_t sealed_seq; /* so much is in tables and sealed logs: no damage of the last log may take it away */
    uint64_t marked_seq; /* so much was synced, and a mark in the log says so: no flipped bit may */
};

enum scene_kind {
    SCENE_KILLED,  /* with records and values in the shared buffers */
    SCENE_CLOSED,  /* in good order */
    SCENE_FLUSHED, /* killed behind a flush: the newest edit of the MANIFEST is all that leads to what it wrote */
    SCENE_KIND_COUNT
};

void scene_build(struct scene *s, enum scene_kind kind);
void scene_deinit(struct scene *s);

/* What a damaged copy said. */
enum verdict {
    VERDICT_REFUSED, /* it did not open: CORRUPT */
    VERDICT_READ,    /* some read said CORRUPT */
    VERDICT_VERIFY,  /* nothing but nokv_verify did */
    VERDICT_SHORTER, /* nothing did, and the last writes are not there */
    VERDICT_SILENT,  /* nothing did, and every answer is right */
    VERDICT_COUNT
};

struct answer {
    enum verdict verdict;
    bool is_named; /* the first CORRUPT names the damaged file */
    char message[512];
};

/*
 * Open the copy and ask for everything in every way. Anything that is neither a right answer nor CORRUPT fails the
 * test, naming `what`. `file`: the last part of the damaged file's name. `floor`: writes up to it must not be missing.
 */
void scene_ask(const struct scene *s, struct sim *copy, bool read_only, const char *file, uint64_t floor,
               const char *what, struct answer *out);

#endif
