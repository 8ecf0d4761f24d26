// SPDX-License-Identifier: Apache-2.0
/*
 * The child: opens the database, has it checked, and writes until it is stopped or has done its number of writes; then
 * it closes it and ends.
 *
 * Each thread has keys of its own. Before a write it notes that it begins it, and after the call returned that it is
 * acknowledged, both with the time of one counter that all threads share: so it is known of any two writes whether one
 * was acknowledged before the other began. Between its writes a thread now and then flushes, compacts, collects, syncs
 * the log or reads; what a flush or sync promises is noted as well.
 *
 * Once the power was cut, errors are no surprise and end the thread; and what a call promises from then on counts for
 * nothing, because a machine without power promises nothing. (The file system's shutdown comes close to that but for
 * one thing: when it strikes between the write of a block and the journal's record that the block holds data, ext4's
 * fdatasync returns 0, and the data is gone. Linux 6.18.) On a device that fails, the first error that is
 * final must be final for everybody: see after_failure().
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "stress.h"
#include "test.h"

enum { PER_MAINTENANCE = 30, ATTEMPTS_AFTER_FAILURE = 20 };

struct writer {
    const struct round *round;
    nokv_db *db;
    struct life *life;
    struct line *line;
    uint8_t thread;
    bool is_over;    /* the power was cut, or writing is over */
    bool is_durable; /* what the database's options promise of each write */
    uint64_t rng;    /* what happens between the writes */
    struct issuer issuer;
    pthread_t id;
};

void child_fail(const char *format, ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!atomic_exchange(&shared->message_taken, true)) {
        snprintf(shared->message, sizeof shared->message, "%s [%.300s]", text, nokv_error_message());
        atomic_store_explicit(&shared->failed, true, memory_order_release);
    }
    _exit(1);
}

static bool is_cut(void)
{
    return atomic_load_explicit(&shared->cut, memory_order_acquire);
}

bool must(nokv_status status, const char *what)
{
    if (status == NOKV_OK)
        return true;
    if (!is_cut())
        child_fail("%s: %s", what, nokv_status_name(status));
    return false;
}

/* Was the power there until now? What came back before this is asked came from a living disk. */
static bool may_promise(const struct round *r)
{
    return r->ending != END_POWER_CUT || !is_cut();
}

static void raise_to(_Atomic uint32_t *count, uint32_t value)
{
    uint32_t seen = atomic_load_explicit(count, memory_order_relaxed);
    while (seen < value &&
           !atomic_compare_exchange_weak_explicit(count, &seen, value, memory_order_release, memory_order_relaxed))
        ;
}

/* ---- one write -------------------------------------------------------------------------------------------------- */

static struct origin origin_of(const struct writer *w, uint32_t i)
{
    return (struct origin){.write = i, .life = w->life->number, .thread = w->thread};
}

static uint32_t clock_tick(struct life *life)
{
    return atomic_fetch_add_explicit(&life->clock, 1, memory_order_acq_rel);
}

static void note_begun(struct writer *w, uint32_t i)
{
    w->life->begin_clock[w->thread][i - w->life->base[w->thread]] = clock_tick(w->life);
    atomic_store_explicit(&w->line->begun, i + 1, memory_order_release);
}

static void note_acked(struct writer *w, uint32_t i, bool is_durable)
{
    w->life->ack_clock[w->thread][i - w->life->base[w->thread]] = clock_tick(w->life);
    atomic_store_explicit(&w->line->acked, i + 1, memory_order_release);
    if (is_durable && may_promise(w->round))
        raise_to(&w->line->synced, i + 1);
    bell_look();
}

/* ---- a device that fails ---------------------------------------------------------------------------------------- */

/* Reads go on. What the device has lost of the values that were not synced is damage, and said to be. */
static void read_after_failure(struct writer *w)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        char key[KEY_TEXT];
        nokv_value value = {0};
        struct origin o;
        uint8_t entry;
        nokv_status status = nokv_get(w->db, key, key_make(w->thread, k, key), NULL, &value);
        bool is_damage = status == NOKV_ERR_CORRUPT || status == NOKV_ERR_IO;
        if (status != NOKV_OK && status != NOKV_ERR_NOT_FOUND && !is_damage)
            child_fail("after the failed sync %s cannot be read: %s", key, nokv_status_name(status));
        if (status == NOKV_OK && !value_parse(w->round->seed, (nokv_slice){value.data, value.size}, &o, &entry))
            child_fail("after the failed sync %s has a value that nobody wrote", key);
        nokv_value_release(&value);
    }
}

/* The log could not be written or synced, as the message of the one says who found out: from now on nobody may write.
 */
static bool is_final(nokv_status status)
{
    return status == NOKV_ERR_POISONED || strstr(nokv_error_message(), "is read-only until it is reopened") != NULL;
}

static void final_set(void)
{
    atomic_store_explicit(&shared->final, true, memory_order_release);
    bell_look();
}

/*
 * A write was refused. That may be an answer for this write alone: NO_SPACE, or a value that could not be written on
 * its own way to the value log. An error of the log is final for all threads: what any of them begins after one was
 * told is refused with POISONED.
 */
static void after_failure(struct writer *w, uint32_t i, const struct planned *p, nokv_status status)
{
    for (int n = 0; n < ATTEMPTS_AFTER_FAILURE; n++) {
        if (is_final(status))
            final_set();
        bool was_final = atomic_load_explicit(&shared->final, memory_order_acquire);
        nokv_status again = issue(&w->issuer, origin_of(w, i), p);
        if (was_final && again != NOKV_ERR_POISONED)
            child_fail("thread %u: a write after the failed sync gives %s", w->thread, nokv_status_name(again));
        if (again == NOKV_OK) {
            note_acked(w, i, p->is_durable || w->is_durable);
            return;
        }
        status = again;
        atomic_fetch_add_explicit(&shared->refused, again == NOKV_ERR_POISONED, memory_order_relaxed);
    }
    read_after_failure(w);
    w->is_over = true;
}

static void write_one(struct writer *w, uint32_t i)
{
    struct planned p;
    write_plan(w->round->seed, origin_of(w, i), &p);
    bool was_final = atomic_load_explicit(&shared->final, memory_order_acquire);
    note_begun(w, i);
    nokv_status status = issue(&w->issuer, origin_of(w, i), &p);
    if (status == NOKV_OK && was_final)
        child_fail("thread %u: write %u was acknowledged after the failed sync", w->thread, i);
    if (status == NOKV_OK)
        note_acked(w, i, p.is_durable || w->is_durable);
    else if (w->round->ending == END_FAIL_DEVICE && is_cut())
        after_failure(w, i, &p, status);
    else
        w->is_over = !must(status, "a write");
}

/* ---- between the writes ----------------------------------------------------------------------------------------- */

static void acked_sample(const struct life *life, uint32_t acked[THREADS_MAX])
{
    for (unsigned t = 0; t < THREADS_MAX; t++)
        acked[t] = atomic_load_explicit(&life->lines[t].acked, memory_order_acquire);
}

static void note_synced(struct life *life, const uint32_t acked[THREADS_MAX])
{
    for (unsigned t = 0; t < THREADS_MAX; t++)
        raise_to(&life->lines[t].synced, acked[t]);
}

/* Any key of any thread, while it is written: as somebody wrote it. */
static nokv_status read_some(struct writer *w)
{
    char key[KEY_TEXT];
    struct origin o;
    uint8_t entry;
    nokv_value value = {0};
    unsigned thread = (unsigned)(test_random(&w->rng) % w->round->threads);
    size_t key_size = key_make(thread, (uint32_t)(test_random(&w->rng) % KEYS), key);
    nokv_status status = nokv_get(w->db, key, key_size, NULL, &value);
    if (status != NOKV_OK)
        return status == NOKV_ERR_NOT_FOUND ? NOKV_OK : status;
    if (!value_parse(w->round->seed, (nokv_slice){value.data, value.size}, &o, &entry) || o.thread != thread)
        child_fail("%s has a value that nobody wrote there", key);
    nokv_value_release(&value);
    return NOKV_OK;
}

static nokv_status maintenance_run(struct writer *w, enum phase phase)
{
    switch (phase) {
    case PHASE_FLUSH:
        return nokv_flush(w->db);
    case PHASE_COMPACT:
        return nokv_compact_range(w->db, NULL, 0, NULL, 0);
    case PHASE_SYNC:
        return nokv_sync_wal(w->db);
    case PHASE_COLLECT:
        return nokv_vlog_collect(w->db, 1);
    default:
        return read_some(w);
    }
}

/* PHASE_WRITE: to read. What the parent waits for is done soon, so that rounds are short. */
static enum phase maintenance_draw(struct writer *w)
{
    static const enum phase choices[] = {PHASE_FLUSH, PHASE_FLUSH,   PHASE_FLUSH, PHASE_COMPACT, PHASE_SYNC,
                                         PHASE_SYNC,  PHASE_COLLECT, PHASE_WRITE, PHASE_WRITE};
    enum phase wanted = shared->moment.phase;
    bool is_possible = wanted >= PHASE_FLUSH && wanted <= PHASE_COLLECT;
    return is_possible && test_random(&w->rng) % 2 == 0 ? wanted : choices[test_random(&w->rng) % ARRAY_COUNT(choices)];
}

static bool is_time_to_maintain(struct writer *w)
{
    const struct moment *m = &shared->moment;
    bool is_wanted = m->phase >= PHASE_FLUSH && m->phase <= PHASE_COLLECT && acked_in_life() >= m->acks;
    return test_random(&w->rng) % (is_wanted ? 3 : PER_MAINTENANCE) == 0;
}

static void maintain(struct writer *w)
{
    enum phase phase = maintenance_draw(w);
    uint32_t acked[THREADS_MAX];
    acked_sample(w->life, acked);
    atomic_store_explicit(&w->line->activity, (int)phase, memory_order_release);
    bell_look();
    nokv_status status = maintenance_run(w, phase);
    atomic_store_explicit(&w->line->activity, PHASE_WRITE, memory_order_release);
    if (status == NOKV_OK && phase != PHASE_WRITE && may_promise(w->round))
        note_synced(w->life, acked);
    if (status == NOKV_OK)
        return;
    if (w->round->ending == END_FAIL_DEVICE && is_cut())
        return; /* the next write is told */
    w->is_over = !must(status, "a flush, compaction, collection, sync or read");
}

static void *writer_main(void *arg)
{
    struct writer *w = arg;
    uint32_t base = w->life->base[w->thread];
    for (uint32_t i = base; i < base + w->round->quota && !w->is_over; i++) {
        write_one(w, i);
        if (!w->is_over && is_time_to_maintain(w))
            maintain(w);
    }
    return NULL;
}

/* ---- the process ------------------------------------------------------------------------------------------------ */

static void phase_set(enum phase phase)
{
    atomic_store_explicit(&shared->phase, (int)phase, memory_order_release);
    bell_look();
}

static void writer_start(struct writer *w, const struct round *r, nokv_db *db, unsigned thread,
                         const nokv_options *options)
{
    struct life *life = life_now();
    *w = (struct writer){.round = r,
                         .db = db,
                         .life = life,
                         .line = &life->lines[thread],
                         .thread = (uint8_t)thread,
                         .is_durable = options->sync == NOKV_SYNC_COMMIT,
                         .rng = seed_mix(r->draw, 100 + thread)};
    issuer_init(&w->issuer, db, r->seed);
    if (thread_create(&w->id, "writer", writer_main, w) != NOKV_OK)
        child_fail("no thread for a writer");
}

static void writers_run(const struct round *r, nokv_db *db, const nokv_options *options)
{
    struct writer writers[THREADS_MAX];
    for (unsigned t = 0; t < r->threads; t++)
        writer_start(&writers[t], r, db, t, options);
    for (unsigned t = 0; t < r->threads; t++) {
        thread_join(writers[t].id);
        issuer_deinit(&writers[t].issuer);
    }
}

static void database_close(const struct round *r, nokv_db *db)
{
    uint32_t acked[THREADS_MAX];
    acked_sample(life_now(), acked);
    phase_set(PHASE_CLOSE);
    nokv_status status = nokv_close(db);
    bool is_refused = r->ending == END_FAIL_DEVICE && atomic_load(&shared->final);
    if (is_refused && status == NOKV_OK)
        child_fail("closing succeeds although the log could not be synced");
    if (!is_refused && must(status, "closing") && !r->is_read_only && may_promise(r))
        note_synced(life_now(), acked);
    phase_set(PHASE_DONE);
}

static nokv_db *database_open(const struct round *r, nokv_options *out_options)
{
    nokv_db *db = NULL;
    options_draw(r->draw, out_options);
    out_options->read_only = r->is_read_only;
    bool is_drawn = r->ending == END_KILL ? r->draw % 16 == 3 : r->draw % 3 != 0;
    if (r->is_strict ? r->ending != END_KILL : is_drawn)
        out_options->sync = NOKV_SYNC_COMMIT;
    nokv_status status = nokv_open(r->dir, out_options, &db);
    for (int tries = 0; r->is_same_boot && tries < 10 && (status == NOKV_ERR_IO || status == NOKV_ERR_NO_SPACE);
         tries++)
        status = nokv_open(r->dir, out_options, &db); /* each such file tells of it once, and the open with it */
    /* Stopped before the very first open had made a database of the directory. */
    if (status == NOKV_ERR_NOT_FOUND && r->is_read_only && !life_now()->is_created)
        _exit(0);
    if (!must(status, "opening the database"))
        _exit(0);
    return db;
}

void child_run(const struct round *r)
{
    nokv_options options;
    nokv_db *db = database_open(r, &options);
    phase_set(PHASE_CHECK);
    database_check(db, r);
    if (!r->is_read_only && !r->is_last) {
        phase_set(PHASE_WRITE);
        writers_run(r, db, &options);
    }
    database_close(r, db);
    exit(0);
}
