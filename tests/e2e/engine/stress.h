// SPDX-License-Identifier: Apache-2.0
/*
 * stress.h - what the files of the stress test share: the list of all calls, the threads, and the keys that they meet
 * at.
 *
 *      stress_test.c    rounds, options, what must have happened       stress_groups.c  writers and readers of groups
 *      stress_calls.c   everything else that the interface offers, beside them
 *
 * A new function of the interface joins with a line in STRESS_CALLS and a CALL in some workload; a new workload with a
 * line in the table of stress_test.c. stress_calls_test fails while a function of nokv.h is not in the list, and the
 * stress test while one that is in the list was never called.
 */
#ifndef TESTS_E2E_ENGINE_STRESS_H
#define TESTS_E2E_ENGINE_STRESS_H

#include <stdatomic.h>

#include "base/thread.h"
#include "nokv/nokv.h"
#include "test.h"

#define STRESS_CALLS(X)          \
    X(nokv_version)              \
    X(nokv_status_name)          \
    X(nokv_status_text)          \
    X(nokv_error_message)        \
    X(nokv_options_init_sized)   \
    X(nokv_open)                 \
    X(nokv_close)                \
    X(nokv_destroy)              \
    X(nokv_put)                  \
    X(nokv_delete)               \
    X(nokv_batch_create)         \
    X(nokv_batch_destroy)        \
    X(nokv_batch_clear)          \
    X(nokv_batch_count)          \
    X(nokv_batch_put)            \
    X(nokv_batch_delete)         \
    X(nokv_write)                \
    X(nokv_value_writer_open)    \
    X(nokv_value_writer_append)  \
    X(nokv_value_writer_commit)  \
    X(nokv_value_writer_abandon) \
    X(nokv_get)                  \
    X(nokv_value_release)        \
    X(nokv_get_copy)             \
    X(nokv_get_range)            \
    X(nokv_multi_get)            \
    X(nokv_snapshot_create)      \
    X(nokv_snapshot_release)     \
    X(nokv_iter_create)          \
    X(nokv_iter_destroy)         \
    X(nokv_iter_first)           \
    X(nokv_iter_last)            \
    X(nokv_iter_seek)            \
    X(nokv_iter_seek_for_prev)   \
    X(nokv_iter_next)            \
    X(nokv_iter_prev)            \
    X(nokv_iter_valid)           \
    X(nokv_iter_status)          \
    X(nokv_iter_key)             \
    X(nokv_iter_value)           \
    X(nokv_iter_value_size)      \
    X(nokv_flush)                \
    X(nokv_sync_wal)             \
    X(nokv_compact_range)        \
    X(nokv_wait_idle)            \
    X(nokv_vlog_collect)         \
    X(nokv_verify)               \
    X(nokv_stats_get)            \
    X(nokv_stats_text)           \
    X(nokv_vlog_segments)        \
    X(nokv_vlog_salvage)         \
    X(nokv_dump_file)            \
    X(nokv_residency)            \
    X(nokv_free)

enum stress_call {
#define STRESS_CALL_NUMBER_(function) CALLED_##function,
    STRESS_CALLS(STRESS_CALL_NUMBER_)
#undef STRESS_CALL_NUMBER_
        CALLED_COUNT
};

/* CALL(t, nokv_flush)(db): called and counted. */
#define CALL(t, function) ((t)->calls[CALLED_##function]++, function)

enum { WRITERS = 2, GROUPS = 150, PARTS = 3, VALUE_MAX = 900, KEY_SIZE = 11, HELD = 6, THREADS_MAX = 24 };

struct task;

struct workload {
    const char *name;
    void (*step)(struct task *t); /* some calls; done again and again */
    unsigned threads;
    uint64_t steps; /* at least; all but the writers go on as long as these do */
};

struct task {
    const struct workload *workload;
    unsigned index; /* among the threads of its workload */
    uint64_t done;  /* steps */
    uint64_t rng;
    uint64_t calls[CALLED_COUNT];   /* its own, so that counting orders nothing between threads */
    uint64_t last[WRITERS][GROUPS]; /* writer: what it wrote last (0: deleted); reader: the highest it saw */
    nokv_value held[HELD];          /* readers: values that are held for a while */
    unsigned held_part[HELD];
    pthread_t thread;
};

extern nokv_db *stress_db;
extern char stress_dir[300]; /* of that, and where others may be made beside it */

void fail_because(const char *what, unsigned writer, unsigned group);

#define EXPECT(condition, writer, group)                 \
    do {                                                 \
        if (!(condition))                                \
            fail_because(#condition, (writer), (group)); \
    } while (0)

static inline uint64_t draw(struct task *t, uint64_t below)
{
    return test_random(&t->rng) % below;
}

/* ---- stress_groups.c ----------------------------------------------------------------------------------------------
 */

void key_make(unsigned writer, unsigned group, unsigned part, char key[16]);
/* One group at a snapshot (NULL: now): the same counter three times, or three misses. Returns it, or 0. */
uint64_t group_read(struct task *t, unsigned writer, unsigned group, const nokv_snapshot *snapshot);

void writer_step(struct task *t);
void reader_step(struct task *t);
void copier_step(struct task *t);
void snapshot_step(struct task *t);
void walker_step(struct task *t);
void seeker_step(struct task *t);
/* At the end of a thread: whatever it still holds. */
void held_release_all(struct task *t);

/* ---- stress_calls.c ------------------------------------------------------------------------------------------------
 */

void large_step(struct task *t);
void maintenance_step(struct task *t);
void collector_step(struct task *t);
void inspector_step(struct task *t);
void files_step(struct task *t);
void mistakes_step(struct task *t);
void neighbour_step(struct task *t);
void hand_over_step(struct task *t);

#endif
