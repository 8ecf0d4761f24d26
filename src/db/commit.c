// SPDX-License-Identifier: Apache-2.0
/*
 * Group commit: one sync for the writes of many threads.
 *
 *      record is in the log ─► sync_to ─┬─ nobody leads: lead ─► gather ─► fix the end, flush (write_mu) ─► sync
 *                                       └─ somebody does: wait for that sync, or for the one behind it
 *
 * Writers that are woken by a sync come back with their next write a few microseconds later, but one that came while it
 * ran could lead the next sync at once: two groups would take turns, each of half the writers. So a leader waits until
 * as many have come as were about the last sync (those whom it made durable, and those who came meanwhile), but for no
 * more than a part of the time that a sync takes. With n writers there is about one sync per n writes; a writer that is
 * alone waits for nobody, and when others have left, one group waits in vain, once.
 *
 * [I1] sync_generation is the number of the sync that runs. A writer waits at sync_done[its generation % 2]: the one
 *      that runs, if its end is not fixed yet (the record is in the log already) or lies behind the record; else the
 *      next. So each sync wakes those whom it made durable, and of the others one, to lead the next.
 * [I2] sync_running_log is set from the moment the end is fixed until the sync is over: the sealer keeps its hands off
 *      that file.
 *
 * Failure: a sync that fails poisons the database; it is never tried again.
 */
#include "db/db.h"

enum { GATHER_PART = 4, GATHER_NS_MAX = 1000000 };

static bool is_synced_locked(const struct nokv_db *db, uint64_t log, uint64_t end)
{
    return db->synced_log > log || (db->synced_log == log && db->synced_end >= end);
}

void commit_wake_all_locked(struct nokv_db *db)
{
    cond_broadcast(&db->sync_done[0]);
    cond_broadcast(&db->sync_done[1]);
    cond_broadcast(&db->sync_cond);
}

/* Records that the last sync did not cover. */
static uint64_t pending_locked(const struct nokv_db *db)
{
    return db->sync_entered - db->sync_covered;
}

/* Let the others come that were about the last sync. */
static void gather_locked(struct nokv_db *db)
{
    if (pending_locked(db) >= db->sync_expected)
        return;
    uint64_t now = io_now_ns(db->io), until = now + u64_min(db->sync_ns / GATHER_PART, GATHER_NS_MAX);
    while (now < until && pending_locked(db) < db->sync_expected) {
        if (!cond_wait_for(&db->sync_gathered, &db->sync_mu, until - now))
            return;
        now = io_now_ns(db->io);
    }
}

/*
 * Logs before the one that is written now become durable before it (rlog_hold). Waited for here, while others go on
 * writing: what is left for the flush in group_close, with write_mu held, is a change of logs in between.
 */
static void older_logs_seal(struct nokv_db *db)
{
    mutex_lock(&db->mu);
    uint64_t newest = db->old_log_count > 0 ? db->old_logs[db->old_log_count - 1].number : 0;
    while (db_has_unsealed_locked(db, newest) && atomic_load_explicit(&db->poisoned, memory_order_relaxed) == NOKV_OK) {
        db->seal_wanted = true;
        background_wake_locked(db);
        cond_wait(&db->state_cond, &db->mu);
    }
    mutex_unlock(&db->mu);
}

/* Fix what the sync covers, and move it to the file. */
static enum nokv_status group_close(struct nokv_db *db, uint64_t *out_log, uint64_t *out_end)
{
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&db->write_mu);
    (void)held;
    struct rlog_writer *wal = db->wal;
    *out_log = rlog_number(wal);
    *out_end = rlog_end(wal);
    mutex_lock(&db->sync_mu);
    db->sync_gathering = false;
    db->sync_running_log = *out_log; /* [I2] */
    db->sync_running_end = *out_end;
    db->sync_running_file = rlog_file(wal);
    db->sync_expected = pending_locked(db);
    db->sync_covered = db->sync_entered;
    mutex_unlock(&db->sync_mu);
    return rlog_flush(wal);
}

/* The leader's part. sync_running is set. */
static enum nokv_status sync_lead(struct nokv_db *db)
{
    uint64_t log, end;
    if (!db->options.inline_background_work)
        older_logs_seal(db);
    enum nokv_status status = group_close(db, &log, &end);
    if (status == NOKV_OK)
        status = segments_sync(db); /* what the records point to comes first: S3 of segments.h */
    uint64_t begin = io_now_ns(db->io);
    if (status == NOKV_OK)
        status = io_sync(db->sync_running_file);
    if (status != NOKV_OK)
        return db_poison(db, status, "the WAL, or the values that it points to, could not be synced");
    uint64_t ns = io_now_ns(db->io) - begin;
    mutex_lock(&db->sync_mu);
    db->sync_ns = ns;
    db->sync_expected += pending_locked(db);
    if (!is_synced_locked(db, log, end)) {
        db->synced_log = log;
        db->synced_end = end;
    }
    db->wal_groups++;
    mutex_unlock(&db->sync_mu);
    return NOKV_OK;
}

static enum nokv_status lead_locked(struct nokv_db *db)
{
    uint64_t generation = ++db->sync_generation;
    db->sync_running = db->sync_gathering = true;
    gather_locked(db);
    mutex_unlock(&db->sync_mu);
    enum nokv_status status = sync_lead(db);
    mutex_lock(&db->sync_mu);
    uint64_t log = db->sync_running_log, end = db->sync_running_end;
    db->sync_running = db->sync_gathering = false;
    db->sync_running_log = 0;
    cond_broadcast(&db->sync_done[generation % 2]);
    cond_signal(&db->sync_done[(generation + 1) % 2]);
    cond_broadcast(&db->sync_cond);
    if (status != NOKV_OK)
        return status;
    /* The sealer may have the file from here on: who holds write_mu may be waiting for it. */
    mutex_unlock(&db->sync_mu);
    mutex_lock(&db->write_mu);
    if (rlog_number(db->wal) == log)
        rlog_mark_synced(db->wal, end);
    mutex_unlock(&db->write_mu);
    mutex_lock(&db->sync_mu);
    return NOKV_OK;
}

/* Wait for the sync that will cover it [I1]. */
static void follow_locked(struct nokv_db *db, uint64_t log, uint64_t end)
{
    bool covered = db->sync_gathering || log < db->sync_running_log ||
                   (log == db->sync_running_log && end <= db->sync_running_end);
    cond_wait(&db->sync_done[(db->sync_generation + !covered) % 2], &db->sync_mu);
}

static enum nokv_status sync_to_locked(struct nokv_db *db, uint64_t log, uint64_t end)
{
    while (!is_synced_locked(db, log, end)) {
        if (atomic_load_explicit(&db->poisoned, memory_order_acquire) != NOKV_OK)
            return NOKV_ERR_POISONED; /* said without this lock */
        if (db->sync_running)
            follow_locked(db, log, end);
        else
            TRY(lead_locked(db));
    }
    return NOKV_OK;
}

enum nokv_status commit_sync(struct nokv_db *db, uint64_t log, uint64_t end)
{
    mutex_lock(&db->sync_mu);
    db->sync_entered++;
    if (db->sync_gathering && pending_locked(db) >= db->sync_expected)
        cond_signal(&db->sync_gathered);
    enum nokv_status status = sync_to_locked(db, log, end);
    mutex_unlock(&db->sync_mu);
    return status == NOKV_ERR_POISONED ? db_check_writable(db) : status;
}

enum nokv_status db_sync_all(struct nokv_db *db)
{
    TRY(db_check_writable(db));
    mutex_lock(&db->write_mu);
    uint64_t log = rlog_number(db->wal), end = rlog_end(db->wal);
    mutex_unlock(&db->write_mu);
    return commit_sync(db, log, end);
}
