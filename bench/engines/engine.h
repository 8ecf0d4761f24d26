// SPDX-License-Identifier: Apache-2.0
/*
 * engines/engine.h - one table of functions per engine: all that the benchmark's driver knows of it.
 *
 * Every adapter gives its engine the same terms (struct engine_config) and says in `terms` what it made of them. An
 * adapter ends the process (bench_die) on any error of the engine: a figure with an error in it is no figure.
 *
 * A session is what one thread works through: handles, transactions and buffers that the engine wants per thread. It
 * belongs to that thread. Values of get() and multi_get() are borrowed until get_done(); an entry of a scan until the
 * next step.
 */
#ifndef BENCH_ENGINES_ENGINE_H
#define BENCH_ENGINES_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    const void *data;
    size_t size;
};

/* Equal terms. */
struct engine_config {
    const char *dir;             /* of the database; exists and is empty, or holds what an earlier open left */
    uint64_t memory_bytes;       /* budget for write buffers and caches together */
    uint64_t memory_limit_bytes; /* the process gets no more than this, page cache included: reads will come from the
                                    disk. 0: there is no limit */
    uint64_t data_bytes;         /* keys and values that will be stored: for engines that must know a size */
    unsigned filter_bits;        /* per key, where the engine has filters */
    bool durable;                /* every put on stable storage before it returns; else no sync at all */
};

enum { ENGINE_BATCH_MAX = 64 }; /* keys of one multi_get() */

struct engine {
    const char *name;
    const char *package; /* Debian's, for the message that it is missing */
    const char *terms;   /* one line for the report: how it was set up, and what is weaker than in the others */
    const char *(*version)(void);
    bool survives_kill; /* a put without sync that was acknowledged is there after the process was killed */

    void *(*open)(const struct engine_config *config); /* creates the database when there is none */
    void (*close)(void *db);
    /*
     * Write out what is buffered and wait until no flush and no compaction is due. Returns the nanoseconds that went
     * by only to make sure that it was over (polling); they are not the engine's.
     */
    uint64_t (*settle)(void *db);
    void (*stats)(void *db); /* what the engine tells of itself, to standard error; may be NULL */

    void *(*session_begin)(void *db);
    void (*session_end)(void *session);
    void (*put)(void *session, struct bytes key, struct bytes value);
    void (*del)(void *session, struct bytes key);                          /* a key that is absent is no error */
    bool (*get)(void *session, struct bytes key, struct bytes *out_value); /* false: not found, no get_done() */
    void (*get_done)(void *session);
    /* All keys of a batch in one call; out_values[i].data NULL: not found. get_done() releases all of them, and is
     * called when none was found as well. NULL in the table: the engine has no such call, and the driver loops over
     * get(). REQUIRES: 1 <= count <= ENGINE_BATCH_MAX. */
    void (*multi_get)(void *session, unsigned count, const struct bytes *keys, struct bytes *out_values);
    /* First entry at or after `key`; begins a scan over the newest state unless this session has one open already. */
    bool (*seek)(void *session, struct bytes key);
    /* Last entry at or before `key`; begins a scan as seek() does. */
    bool (*seek_back)(void *session, struct bytes key);
    bool (*next)(void *session); /* REQUIRES: the last seek(), seek_back(), next() or prev() returned true */
    bool (*prev)(void *session); /* REQUIRES: as next() */
    /* REQUIRES of both: as next(). The key alone does not ask the engine for the value. */
    void (*key)(void *session, struct bytes *out_key);
    void (*entry)(void *session, struct bytes *out_key, struct bytes *out_value);
    void (*scan_done)(void *session);
};

/* The engines that were built in, NULL-terminated. */
extern const struct engine *const engines_built[];
/* Names and packages of those that were not, NULL-terminated pairs. */
extern const char *const engines_missing[];

#endif
