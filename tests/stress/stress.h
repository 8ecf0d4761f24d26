// SPDX-License-Identifier: Apache-2.0
/*
 * tests/stress/stress.h - what the files of the stress program share.
 *
 *   main.c     arguments, what runs                  plan.c     what write i of a thread does; options of a round
 *   rounds.c   the parent: rounds of kills, power     issue.c    doing such a write
 *              cuts, failing devices                  full.c     a disk that fills up and is drained
 *   writer.c   the child: writes until it is stopped  rig.c      loop devices, file systems, how they are cut
 *   checker.c  the child: compares a database with    shared.c   shared memory, and how one waits for the other
 *              what was acknowledged
 *
 * Parent and children share `struct shared`, an anonymous mapping: what a child stored there before it died is there.
 * It is the log of acknowledgements. Everything else goes through the public interface and real files.
 *
 * A database lives on over many rounds. Between two checks it has a `struct life`: what it held at the first of them,
 * and what was begun, acknowledged and synced since. A check that succeeds makes the next life ready and switches to it
 * with one store, so that a child may be stopped at any instruction of the check as well.
 */
#ifndef TESTS_STRESS_STRESS_H
#define TESTS_STRESS_STRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "nokv/nokv.h"

enum {
    THREADS_MAX = 4,
    KEYS = 96, /* of each thread */
    BATCH_MAX = 7,
    VALUE_MAX = 150000,
    WRITES_MAX = 2048, /* of a thread in one life */
    KEY_TEXT = 32,
    EXIT_SKIPPED = 77,
};

/* ---- plan.c ----------------------------------------------------------------------------------------------------- */

/* Which write it is: the write-th of its thread, in the life-th life of its database. */
struct origin {
    uint32_t write;
    uint16_t life;
    uint8_t thread;
};

struct entry {
    uint32_t key;
    uint32_t value_size;
    bool is_delete;
};

struct planned {
    uint32_t count; /* 1: a single put or delete, unless is_batch */
    bool is_batch;
    bool is_durable; /* NOKV_SYNC_COMMIT, whatever the database's default is */
    bool is_stream;  /* a single put that comes in parts */
    struct entry entries[BATCH_MAX];
};

/* Mix two numbers into a seed. */
uint64_t seed_mix(uint64_t a, uint64_t b);
/* A function of its arguments alone. */
void write_plan(uint64_t seed, struct origin o, struct planned *out);
size_t key_make(unsigned thread, uint32_t key, char out[KEY_TEXT]);
/* False: nobody wrote such a key. */
bool key_parse(nokv_slice text, unsigned *out_thread, uint32_t *out_key);
/* Says in its first bytes whose it is; the others follow from that and from the seed. REQUIRES: size >= 8. */
void value_make(uint64_t seed, struct origin o, uint8_t entry, uint8_t *out, size_t size);
/* False: it is not a value as somebody wrote it, to its last byte. */
bool value_parse(uint64_t seed, nokv_slice value, struct origin *out_origin, uint8_t *out_entry);
/* The options of a round: small enough that everything happens, and different from the round before. */
void options_draw(uint64_t seed, nokv_options *out);

/* What a key holds, and from which write it is. */
struct held {
    uint32_t write;
    uint32_t value_size;
    uint16_t life;
    uint8_t entry;
    bool is_there;
};

bool held_same(const struct held *a, const struct held *b);
/* What entry n of a write makes of the keys of its thread. */
void held_apply(struct held keys[KEYS], struct origin o, const struct planned *p, uint32_t n);
/* What a get found: NOKV_OK or NOKV_ERR_NOT_FOUND. Does not return when nobody wrote such a value there. */
struct held held_of(uint64_t seed, unsigned thread, uint32_t key, nokv_status status, const nokv_value *value);

/* ---- issue.c ---------------------------------------------------------------------------------------------------- */

/* What one thread writes with. */
struct issuer {
    nokv_db *db;
    uint64_t seed;
    uint8_t *value;
    nokv_batch *batch;
};

void issuer_init(struct issuer *s, nokv_db *db, uint64_t seed);
void issuer_deinit(struct issuer *s);
nokv_status issue(struct issuer *s, struct origin o, const struct planned *p);

/* ---- the shared memory ------------------------------------------------------------------------------------------ */

/* What a child is about. */
enum phase {
    PHASE_OPEN,
    PHASE_CHECK,
    PHASE_WRITE,
    PHASE_FLUSH, /* from here to COLLECT: beside writes of the other threads */
    PHASE_COMPACT,
    PHASE_SYNC,
    PHASE_COLLECT,
    PHASE_CLOSE,
    PHASE_DONE,
    PHASE_COUNT
};

/* A thread's own line: all are counts of its writes from the beginning of the database. */
struct line {
    _Alignas(64) _Atomic uint32_t begun; /* release, before the call */
    _Atomic uint32_t acked;              /* release, after the call returned */
    _Atomic uint32_t synced;             /* promised to be on stable storage */
    _Atomic int activity;                /* PHASE_WRITE, or what else it does */
};

struct life {
    /* set before the switch, then constant */
    uint16_t number;
    bool is_created;            /* the database has been opened: it may not be gone any more */
    uint32_t base[THREADS_MAX]; /* writes that were in it */
    struct held held[THREADS_MAX][KEYS];
    uint64_t came_back; /* writes that were there without having been acknowledged */
    uint64_t gone;      /* writes that were acknowledged, never synced, and not there */
    /* written by the threads */
    struct line lines[THREADS_MAX];
    _Atomic uint32_t clock;
    uint32_t begin_clock[THREADS_MAX][WRITES_MAX]; /* by write - base; before `begun`, `acked` are stored */
    uint32_t ack_clock[THREADS_MAX][WRITES_MAX];
};

/* What the parent waits for. In any case it is over when the child closes the database. */
struct moment {
    enum phase phase;
    bool is_final; /* instead: `final` is set */
    uint64_t acks; /* PHASE_WRITE: after so many; later phases: at about so many */
};

struct shared {
    struct life lives[2];
    _Atomic unsigned current; /* release: the life is complete */
    _Atomic int phase;
    _Atomic bool cut;           /* set by the parent before it cuts the power: errors are no surprise from then on */
    _Atomic bool final;         /* FAIL_DEVICE: a writer was told that writing is over */
    _Atomic uint32_t refused;   /* FAIL_DEVICE: writes that were refused afterwards */
    struct moment moment;       /* written by the parent, while `bell` is 1 */
    _Atomic uint32_t bell;      /* 0: the parent waits for the moment; 1: it has come */
    _Atomic bool failed;        /* `message` says why */
    _Atomic bool message_taken; /* by the thread that fails first */
    char message[1024];
};

extern struct shared *shared;

static inline struct life *life_now(void)
{
    return &shared->lives[atomic_load_explicit(&shared->current, memory_order_acquire)];
}

/* What the child is about at this moment. */
enum phase phase_now(void);
/* Writes that were acknowledged in the current life. */
uint64_t acked_in_life(void);
/* The parent: set what it waits for, and wait. True: the child has ended, as *out_status says. */
void bell_set(const struct moment *m);
bool bell_wait(pid_t pid, int *out_status);
/* The child, whenever something changed: ring if it is the moment. */
void bell_look(void);

/* ---- the child -------------------------------------------------------------------------------------------------- */

enum ending {
    END_KILL,       /* SIGKILL: what was acknowledged is there */
    END_POWER_CUT,  /* the file system is shut down: what was synced is there */
    END_FAIL_DEVICE /* the device refuses: the first failed sync is final, what was synced is there */
};

struct round {
    uint64_t seed; /* of the database: values and writes */
    uint64_t draw; /* of the round: options, what is checked how */
    const char *dir;
    enum ending ending;
    bool is_read_only; /* check only */
    bool is_last;      /* nobody will stop it: check everything, read every byte */
    bool is_same_boot; /* the page cache is as the last process left it, and the kernel may owe a failure of its writes
                        */
    bool is_strict;    /* the durability of the promise: kills with the default, all else with NOKV_SYNC_COMMIT */
    unsigned threads;
    uint32_t quota; /* writes of each thread; at most WRITES_MAX */
};

/* Open, check, write, close; does not return. */
_Noreturn void child_run(const struct round *r);
/* Note why and end the process with status 1. Adds the engine's last message. */
_Noreturn void child_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A call that has to succeed: true when it did. False: the power is cut; otherwise does not return. */
bool must(nokv_status status, const char *what);
/* Compare the database with the current life, and switch to the next. Does not return when something is wrong. */
void database_check(nokv_db *db, const struct round *r);

/* ---- modes ------------------------------------------------------------------------------------------------------ */

struct limits {
    uint64_t rounds; /* 0: no limit */
    double seconds;  /* 0: no limit */
    uint64_t seed;
    const char *dir; /* where files may be made; on a disk */
    bool is_strict;  /* each round with the durability that is promised for it, not with a drawn one */
};

/* 0: nothing was violated; 1; or EXIT_SKIPPED: it is not possible here, and what is missing was said. */
int mode_kill(const struct limits *limits);
int mode_power_cut(const struct limits *limits, const char *file_system);
int mode_failing_sync(const struct limits *limits);
int mode_full(const struct limits *limits);

/* Progress, at most once a second: on a terminal one line that is written over. */
void progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* End a line of progress. */
void progress_end(void);
double seconds_now(void);
/* False: it is time to stop, by the limits. */
bool goes_on(const struct limits *limits, uint64_t round, double begin);

#endif
