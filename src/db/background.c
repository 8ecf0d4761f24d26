// SPDX-License-Identifier: Apache-2.0
/*
 * Background work: sealing old logs, flushing memtables, compacting, making the next log ahead of time, unlinking files
 * that nobody needs. Done by a few threads, or, with options.inline_background_work, by whoever calls
 * background_run_inline: then the order of all I/O follows from the calls alone, which the crash tests rely on.
 *
 *      work_pick_locked ─► job (no lock held) ─► result installed (mu) ─► state_cond
 *
 * Urgency: seal (logs, segments), flush, compaction, rewrite, spare log. With more than one thread, one is always free
 * of compactions, so that a flush never waits for a merge. One thread more does what writers wait for and what is done
 * quickly: seals (a log that nobody seals holds up the syncs of the next one), spare logs, removals, and what writers
 * ask for without a lock: moving the log's buffer and those of the value log to their files, touching memory for
 * memtables.
 *
 * A log whose memtable is in a table is of no use to anyone, and a table takes a fraction of a second: so an old log is
 * not made durable before somebody wants that (a sync of the next one), and is mostly deleted before the kernel has
 * written it: a third of all bytes that a fill writes. Where writes are synced, it is made durable at once, and written
 * back all the time, so that no sync has much to wait for.
 *
 * Level 0 is merged late under a stream of writes and early otherwise (see lsm/picker.c). A pause is a second without a
 * write, noticed by a thread that has run out of work, or a call of nokv_wait_idle; many reads count as well, and then
 * one thread merges, so that the readers do not pay for it with their processors.
 *
 * What nobody sees any more (views, memtables, tables with their mappings, segments) is ended here and nowhere else,
 * after flushes and merges and when there is nothing to do: it takes half a second per gigabyte, and a put or a get
 * that met it would wait for it.
 *
 * Failure: no space and no memory are soft: kept in soft_error, told to writers that need the work done, retried when
 * they come again or after a second. Anything else poisons the database; nothing is retried on a file after a failed
 * sync.
 */
#include "base/alloc.h"
#include "db/db.h"
#include "lsm/names.h"

#include <stdio.h>

enum { READS_WORTH_A_MERGE = 10000000, TICK_NS = 1000000000, GARBAGE_LOOKS = 64 };

enum work {
    WORK_NONE,
    WORK_SEAL,
    WORK_FLUSH,
    WORK_COMPACT,
    WORK_REWRITE,
    WORK_SPARE_LOG,
    WORK_DELETE_LOGS,
    WORK_SEAL_SEGMENT,
    WORK_WRITE_WAL,
    WORK_TOUCH_MEMORY,
    WORK_WRITE_VALUES,
    WORK_REMOVE_SEGMENTS
};

struct job {
    enum work work;
    uint64_t soft_epoch;             /* when it was picked */
    struct old_log log;              /* seal; a copy */
    struct rlog_writer *wal;         /* write wal: stays while db->wal_writing says so */
    struct compaction_inputs inputs; /* compaction, rewrite */
    struct version *version;         /* compaction, rewrite: referenced */
    struct memtable *mem;            /* flush: referenced */
    struct segment_entry *segment;   /* seal segment */
    uint32_t threads_max;            /* compaction; 0: as many as the option says */
    bool is_waited_for;              /* compaction: writers are slowed until it is through */
    struct edit edit;                /* remove segments */
    uint64_t *snapshots;
    size_t snapshot_count;
    uint64_t *victims; /* flush, compaction, rewrite: segments whose values move */
    size_t victim_count;
    bool has_scattered; /* among them such as were written directly */
};

/* ---- shared --------------------------------------------------------------------------------------------------- */

enum nokv_status background_snapshots_locked(struct nokv_db *db, uint64_t **out_seqs, size_t *out_count)
{
    uint64_t *seqs = mem_alloc((db->snapshot_count + 1) * sizeof *seqs);
    size_t count = 0;
    if (seqs == NULL)
        return FAIL(NO_MEMORY, "no memory for %llu snapshots", (unsigned long long)db->snapshot_count);
    for (struct nokv_snapshot *s = db->snapshots.next; s != &db->snapshots; s = s->next)
        if (count == 0 || seqs[count - 1] != s->seq)
            seqs[count++] = s->seq;
    *out_seqs = seqs;
    *out_count = count;
    return NOKV_OK;
}

static void job_writer_options(struct nokv_db *db, const struct job *job, struct table_writer_options *out)
{
    *out = (struct table_writer_options){
        .env = &db->env,
        .model = warm_write_model(db),
        .sst = db->sst,
        .table_bytes = db->options.table_bytes,
        .snapshots = job->snapshots,
        .snapshot_count = job->snapshot_count,
        .allocate_number = db_allocate_number,
        .allocate_arg = db,
        .values = {.separation_min = db->options.value_separation_min,
                   .segment_bytes = db->options.vlog_segment_bytes,
                   .victims = job->victims,
                   .victim_count = job->victim_count,
                   .is_scattered = job->has_scattered},
    };
    /* What was just written may be read soon; what has survived a collection goes past the page cache. */
    bool is_flush = job->work == WORK_FLUSH;
    out->values.origin = is_flush ? SEGMENT_FLUSH : SEGMENT_COLLECT;
    out->values.model = is_flush ? warm_write_model(db) : (enum io_model)(db->options.vlog_write - NOKV_IO_STD);
    out->values.read_model = IO_STD;
}

/* Those who wait for the work are told that it does not get done. */
static void soft_error_set_locked(struct nokv_db *db, enum nokv_status status)
{
    db->soft_error = status;
    snprintf(db->soft_message, sizeof db->soft_message, "%s", status_message());
    cond_broadcast(&db->state_cond);
}

/* May go away by itself, and left nothing half done. */
static bool is_soft(enum nokv_status status)
{
    return status == NOKV_ERR_NO_SPACE || status == NOKV_ERR_NO_MEMORY;
}

/* What a failed job means for the database. */
static void job_failed(struct nokv_db *db, const struct job *job, enum nokv_status status, const char *what)
{
    if (status == NOKV_ERR_ABORTED)
        return;
    if (is_soft(status)) {
        mutex_lock(&db->mu);
        if (job->soft_epoch == db->soft_epoch) /* else somebody knows that there is room since, and waits */
            soft_error_set_locked(db, status);
        mutex_unlock(&db->mu);
    } else if (atomic_load_explicit(&db->poisoned, memory_order_acquire) == NOKV_OK) {
        (void)!db_poison(db, status, what);
    }
}

/* ---- sealing -------------------------------------------------------------------------------------------------- */

/* Tables have all that it has, durably. */
static bool is_log_needed_locked(const struct nokv_db *db, uint64_t number)
{
    return number >= db->log_number;
}

/* A seal also cuts what was reserved for the log, which a flush may be in want of. */
static bool is_seal_due_locked(const struct nokv_db *db, uint64_t number)
{
    return db->seals_eagerly || db->seal_wanted || db->soft_error == NOKV_ERR_NO_SPACE ||
           !is_log_needed_locked(db, number);
}

/* Make it durable, or let go of it. Not after a sync of it that failed while this waited for it: the next one would say
 * yes, and the pages would be gone. */
static enum nokv_status seal_run(struct nokv_db *db, const struct old_log *log)
{
    mutex_lock(&db->mu);
    while (db->wal_writing == log->number)
        cond_wait(&db->state_cond, &db->mu);
    bool is_needed = is_log_needed_locked(db, log->number);
    mutex_unlock(&db->mu);
    mutex_lock(&db->sync_mu); /* a group's leader may be syncing this very file */
    while (db->sync_running && db->sync_running_log == log->number)
        cond_wait(&db->sync_cond, &db->sync_mu);
    mutex_unlock(&db->sync_mu);
    enum nokv_status status = db_check_writable(db);
    if (status != NOKV_OK)
        return status;
    if (is_needed) {
        status = segments_sync(db); /* S3 of segments.h */
        if (status == NOKV_OK)
            status = rlog_seal(log->writer);
    }
    if (status != NOKV_OK)
        return db_poison(db, status, "a WAL, or the values that it points to, could not be synced");
    mutex_lock(&db->sync_mu);
    if (db->synced_log <= log->number) {
        db->synced_log = log->number + 1;
        db->synced_end = 0;
    }
    commit_wake_all_locked(db);
    mutex_unlock(&db->sync_mu);
    return NOKV_OK;
}

static void seal_done_locked(struct nokv_db *db, uint64_t number, enum nokv_status status)
{
    for (size_t i = 0; i < db->old_log_count; i++) {
        struct old_log *log = &db->old_logs[i];
        if (log->number != number)
            continue;
        log->sealing = false;
        if (status == NOKV_OK) {
            rlog_writer_destroy(TAKE(log->writer));
            if (atomic_fetch_sub_explicit(&db->unsealed_logs, 1, memory_order_release) == 1)
                db->seal_wanted = false;
        }
    }
}

/* Old logs that the MANIFEST no longer needs. The list is short; files go one by one without the lock. */
static bool deletable_log_locked(const struct nokv_db *db)
{
    return db->old_log_count > 0 && db->old_logs[0].writer == NULL && !db->old_logs[0].sealing &&
           !is_log_needed_locked(db, db->old_logs[0].number);
}

static void delete_logs(struct nokv_db *db)
{
    mutex_lock(&db->mu);
    while (deletable_log_locked(db)) {
        char path[PATH_SIZE_MAX];
        uint64_t number = db->old_logs[0].number;
        db->old_log_count--;
        memmove(db->old_logs, db->old_logs + 1, db->old_log_count * sizeof db->old_logs[0]);
        mutex_unlock(&db->mu);
        if (path_wal(path, db->dir, number) == NOKV_OK)
            (void)!io_unlink(db->io, path); /* an orphan otherwise, for the next open */
        mutex_lock(&db->mu);
    }
    mutex_unlock(&db->mu);
}

void background_unlink_obsolete(struct nokv_db *db)
{
    mutex_lock(&db->obsolete_mu);
    while (db->obsolete_count > 0) {
        char path[PATH_SIZE_MAX];
        struct obsolete_file file = db->obsolete[--db->obsolete_count];
        mutex_unlock(&db->obsolete_mu);
        if ((file.is_segment ? path_vlog : path_sst)(path, db->dir, file.number) == NOKV_OK)
            (void)!io_unlink(db->io, path);
        mutex_lock(&db->obsolete_mu);
    }
    mutex_unlock(&db->obsolete_mu);
}

/* Is there anything to end or to unlink, or will there be without anybody telling? */
static bool has_garbage_locked(struct nokv_db *db)
{
    mutex_lock(&db->obsolete_mu);
    bool has = db->obsolete_count > 0;
    mutex_unlock(&db->obsolete_mu);
    return has || epoch_has_waiting();
}

/*
 * End what nobody sees any more, and unlink its files. A reader that is inside an epoch section leaves it in less than
 * a microsecond, mostly, so that a few looks are enough; else it is done the next time.
 */
static void garbage_remove(struct nokv_db *db)
{
    for (int i = 0; i < GARBAGE_LOOKS && epoch_reclaim() != 0; i++)
        thread_yield();
    background_unlink_obsolete(db);
}

/* The same by a caller of the API. What it leaves (values may be held) is the threads' to look after, which may sleep.
 */
static void garbage_remove_by_caller(struct nokv_db *db)
{
    garbage_remove(db);
    mutex_lock(&db->mu);
    if (has_garbage_locked(db))
        background_wake_locked(db);
    mutex_unlock(&db->mu);
}

/* The same outside of a job; lets go of the lock meanwhile. */
static void garbage_remove_locked(struct nokv_db *db)
{
    db->garbage_running++;
    mutex_unlock(&db->mu);
    garbage_remove(db);
    mutex_lock(&db->mu);
    db->garbage_running--;
    cond_broadcast(&db->state_cond);
}

/* ---- flush ---------------------------------------------------------------------------------------------------- */

/* What a job made, for an edit. */
static enum nokv_status outputs_edit(const struct compaction_job *run, struct edit *edit)
{
    for (size_t i = 0; i < run->output_count; i++)
        TRY(edit_add_table(edit, run->levels[i], &run->outputs[i]->desc));
    for (size_t i = 0; i < run->segment_count; i++)
        TRY(edit_add_segment(edit, &run->segments[i]));
    return NOKV_OK;
}

static void values_count_locked(struct nokv_db *db, const struct compaction_job *run)
{
    db->moved_bytes += run->moved_bytes;
    collect_note_damaged_locked(db, run->damaged, run->damaged_count);
}

static enum nokv_status flush_install(struct nokv_db *db, struct compaction_job *run)
{
    struct edit edit CLEANUP(edit_deinit) = {0};
    TRY(outputs_edit(run, &edit));
    enum nokv_status status = segments_sync(db); /* the table takes the log's place: what it points to is durable */
    if (status != NOKV_OK)
        return db_poison(db, status, "the value log could not be synced");
    mutex_lock(&db->mu);
    status = db_install_locked(db, &edit, run->outputs, run->output_count, true);
    if (status == NOKV_OK) {
        db->flushes++;
        db->level_stats[0].write_bytes += run->write_bytes;
        values_count_locked(db, run);
    }
    mutex_unlock(&db->mu);
    return status;
}

static enum nokv_status job_flush(struct nokv_db *db, struct job *job)
{
    struct compaction_job run = {.memtable = job->mem, .cancel = NULL};
    job_writer_options(db, job, &run.writer);
    enum nokv_status status = flush_run(&run);
    if (status == NOKV_OK) {
        warm_outputs(db, &run, true);
        status = flush_install(db, &run);
        compaction_job_deinit(&run, is_soft(status));
    } else {
        compaction_job_deinit(&run, false);
    }
    return status;
}

/* ---- compaction ----------------------------------------------------------------------------------------------- */

static void inputs_mark_locked(const struct compaction_inputs *in, bool compacting)
{
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < in->counts[l]; i++) {
            ASSERT(in->tables[l][i]->compacting != compacting);
            in->tables[l][i]->compacting = compacting;
        }
}

static enum nokv_status compaction_edit(const struct compaction_inputs *in, const struct compaction_job *run,
                                        struct edit *edit)
{
    for (uint32_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < in->counts[l]; i++) {
            TRY(edit_remove_table(edit, l, in->tables[l][i]->desc.number));
            if (in->trivial_move)
                TRY(edit_add_table(edit, in->output_level, &in->tables[l][i]->desc));
        }
    return outputs_edit(run, edit);
}

static enum nokv_status compaction_install(struct nokv_db *db, const struct compaction_inputs *in,
                                           struct compaction_job *run)
{
    struct edit edit CLEANUP(edit_deinit) = {0};
    TRY(compaction_edit(in, run, &edit));
    mutex_lock(&db->mu);
    enum nokv_status status = db_install_locked(db, &edit, run->outputs, run->output_count, false);
    if (status == NOKV_OK) {
        struct nokv_level_stats *stats = &db->level_stats[in->output_level];
        stats->trivial_moves += in->trivial_move;
        stats->compactions += !in->trivial_move;
        stats->read_bytes += run->read_bytes;
        stats->write_bytes += run->write_bytes;
        db->compactions += !in->trivial_move;
        values_count_locked(db, run);
    }
    mutex_unlock(&db->mu);
    return status;
}

static enum nokv_status job_compact(struct nokv_db *db, struct job *job)
{
    struct compaction_job run = {.version = job->version,
                                 .inputs = &job->inputs,
                                 .threads_max = db->options.inline_background_work ? 0 : job->threads_max,
                                 .is_waited_for = job->is_waited_for,
                                 .cancel = &db->cancel};
    job_writer_options(db, job, &run.writer);
    bool are_hot = !job->inputs.trivial_move && warm_are_hot(db, &job->inputs);
    enum nokv_status status = job->inputs.trivial_move    ? NOKV_OK
                              : job->work == WORK_REWRITE ? rewrite_run(&run)
                                                          : compaction_run(&run);
    if (status == NOKV_OK) {
        warm_outputs(db, &run, are_hot);
        status = compaction_install(db, &job->inputs, &run);
        compaction_job_deinit(&run, is_soft(status));
    } else {
        compaction_job_deinit(&run, false);
    }
    return status;
}

/* ---- segments of the value log -------------------------------------------------------------------------------- */

static enum nokv_status job_remove_segments(struct nokv_db *db, struct job *job)
{
    mutex_lock(&db->mu);
    enum nokv_status status = db_install_locked(db, &job->edit, NULL, 0, false);
    if (status != NOKV_OK)
        collect_unpick_dead_locked(db, &job->edit);
    mutex_unlock(&db->mu);
    return status;
}

/* ---- picking and running -------------------------------------------------------------------------------------- */

static bool compaction_allowed_locked(const struct nokv_db *db)
{
    uint32_t limit = db->thread_count > 1 ? db->thread_count - 1 : 1;
    return !db->manual && !db->closing && db->compactions_running < limit;
}

/* Reads so far, a scan counting as much as a hundred gets: about how much more a seek pays for a further run. */
static uint64_t reads_weighed(const struct nokv_db *db)
{
    uint64_t gets = 0, iterators = 0;
    for (size_t i = 0; i < COUNTER_SLOTS; i++) {
        gets += atomic_load_explicit(&db->counters[i].gets, memory_order_relaxed);
        iterators += atomic_load_explicit(&db->counters[i].iterators, memory_order_relaxed);
    }
    return gets + iterators * 100;
}

bool background_is_tidy_locked(struct nokv_db *db)
{
    return db->tidy || reads_weighed(db) - db->merged_reads > READS_WORTH_A_MERGE;
}

/* Which versions must stay, and which values move. */
static enum nokv_status job_context_locked(struct nokv_db *db, struct job *job)
{
    TRY(background_snapshots_locked(db, &job->snapshots, &job->snapshot_count));
    enum nokv_status status = collect_victims_locked(db, &job->victims, &job->victim_count, &job->has_scattered);
    if (status != NOKV_OK)
        mem_free(TAKE(job->snapshots));
    return status;
}

/* The inputs are picked: what else the job needs, and everybody knows that they are taken. */
static enum nokv_status inputs_take_locked(struct nokv_db *db, struct job *job, enum work work)
{
    enum nokv_status status = job_context_locked(db, job);
    if (status != NOKV_OK) {
        compaction_inputs_deinit(&job->inputs);
        return status;
    }
    inputs_mark_locked(&job->inputs, true);
    if (job->threads_max == 0)
        job->threads_max = db->options.background_threads;
    job->version = db->version;
    version_ref(job->version);
    db->compactions_running++;
    db->level0_busy |= job->inputs.counts[0] > 0;
    job->work = work;
    return NOKV_OK;
}

static enum nokv_status pick_compaction_locked(struct nokv_db *db, struct job *job)
{
    bool found = false, tidy = background_is_tidy_locked(db);
    bool is_urgent = db->tidy || db->version->levels[0].count >= db->options.l0_busy_files;
    job->threads_max = tidy && !is_urgent ? 1 : 0; /* who reads needs the processors */
    job->is_waited_for = db->version->levels[0].count >= db->options.l0_slowdown_files;
    TRY(picker_pick(db->version, &db->picker, tidy, db->level0_busy, &job->inputs, &found));
    if (found) {
        if (job->inputs.level == 0)
            db->merged_reads = reads_weighed(db);
        return inputs_take_locked(db, job, WORK_COMPACT);
    }
    TRY(collect_pick_locked(db, &job->inputs, &found));
    return found ? inputs_take_locked(db, job, WORK_REWRITE) : NOKV_OK;
}

static enum nokv_status pick_flush_locked(struct nokv_db *db, struct job *job)
{
    TRY(job_context_locked(db, job));
    job->mem = db->immutables[0].mem;
    memtable_ref(job->mem);
    db->flushing = true;
    job->work = WORK_FLUSH;
    return NOKV_OK;
}

static bool wish_take(_Atomic bool *wish)
{
    return atomic_load_explicit(wish, memory_order_relaxed) &&
           atomic_exchange_explicit(wish, false, memory_order_relaxed);
}

/* `quick`: nothing that takes long. */
static enum nokv_status work_pick_locked(struct nokv_db *db, bool quick, struct job *job)
{
    *job = (struct job){.soft_epoch = db->soft_epoch};
    if (atomic_load_explicit(&db->poisoned, memory_order_acquire) != NOKV_OK)
        return NOKV_OK;
    for (size_t i = 0; i < db->old_log_count; i++) {
        if (db->old_logs[i].writer == NULL)
            continue;
        if (db->old_logs[i].sealing || !is_seal_due_locked(db, db->old_logs[i].number))
            break; /* logs become durable in their order */
        db->old_logs[i].sealing = true;
        job->log = db->old_logs[i];
        job->work = WORK_SEAL;
        return NOKV_OK;
    }
    job->segment = segments_pick_seal_locked(db);
    if (job->segment) {
        job->work = WORK_SEAL_SEGMENT;
        return NOKV_OK;
    }
    if (quick && wish_take(&db->wal_full)) {
        job->wal = db->wal;
        db->wal_writing = rlog_number(db->wal);
        job->work = WORK_WRITE_WAL;
        return NOKV_OK;
    }
    if (quick && wish_take(&db->memory_wanted)) {
        job->work = WORK_TOUCH_MEMORY;
        return NOKV_OK;
    }
    if (quick && wish_take(&db->values_full)) {
        job->work = WORK_WRITE_VALUES;
        return NOKV_OK;
    }
    if (!quick && db->immutable_count > 0 && !db->flushing && !db->closing)
        return pick_flush_locked(db, job);
    if (deletable_log_locked(db)) {
        job->work = WORK_DELETE_LOGS;
        return NOKV_OK;
    }
    bool found = false;
    TRY(collect_pick_dead_locked(db, &job->edit, &found));
    if (found) {
        job->work = WORK_REMOVE_SEGMENTS;
        return NOKV_OK;
    }
    if (db->spare_wal == NULL && !db->making_spare && !db->closing && quick && wish_take(&db->spare_wanted)) {
        db->making_spare = true;
        job->work = WORK_SPARE_LOG;
        return NOKV_OK;
    }
    return !quick && compaction_allowed_locked(db) ? pick_compaction_locked(db, job) : NOKV_OK;
}

static enum nokv_status job_spare_log(struct nokv_db *db)
{
    struct rlog_writer *writer = NULL;
    enum nokv_status status = wal_create(db, db_allocate_number(db), true, &writer);
    mutex_lock(&db->mu);
    db->spare_wal = writer;
    db->making_spare = false;
    cond_broadcast(&db->state_cond);
    mutex_unlock(&db->mu);
    return status;
}

/* Often, and makes no other work. */
static bool is_service(enum work work)
{
    return work == WORK_WRITE_WAL || work == WORK_TOUCH_MEMORY || work == WORK_WRITE_VALUES;
}

/* Not for the thread that writers wait for. Replaces tables and memtables, whose end takes long as well. */
static bool takes_long(enum work work)
{
    return work == WORK_FLUSH || work == WORK_COMPACT || work == WORK_REWRITE;
}

static void job_finish_locked(struct nokv_db *db, struct job *job, enum nokv_status status)
{
    if (job->work == WORK_SEAL)
        seal_done_locked(db, job->log.number, status);
    if (job->work == WORK_FLUSH)
        db->flushing = false;
    if (job->work == WORK_COMPACT || job->work == WORK_REWRITE) {
        inputs_mark_locked(&job->inputs, false);
        db->compactions_running--;
        if (job->inputs.counts[0] > 0)
            db->level0_busy = false;
    }
    if (job->work == WORK_WRITE_WAL)
        db->wal_writing = 0;
    if (status == NOKV_OK && job->work != WORK_SEAL && !is_service(job->work) && job->work != WORK_DELETE_LOGS)
        db->soft_error = NOKV_OK;
    cond_broadcast(&db->state_cond);
}

static void job_deinit(struct job *job)
{
    compaction_inputs_deinit(&job->inputs);
    version_unref(job->version);
    memtable_unref(job->mem);
    edit_deinit(&job->edit);
    mem_free(job->victims);
    mem_free(job->snapshots);
}

/* REQUIRES: mu, which is released while the job runs. OK as well when it is to be tried again at once. */
static enum nokv_status job_run_locked(struct nokv_db *db, struct job *job)
{
    enum nokv_status status = NOKV_OK;
    db->jobs_running++;
    mutex_unlock(&db->mu);
    switch (job->work) {
    case WORK_SEAL:
        status = seal_run(db, &job->log);
        break;
    case WORK_FLUSH:
        status = job_flush(db, job);
        break;
    case WORK_COMPACT:
    case WORK_REWRITE:
        status = job_compact(db, job);
        break;
    case WORK_SEAL_SEGMENT:
        status = segment_seal_run(db, job->segment);
        break;
    case WORK_WRITE_WAL:
        status = rlog_write_full(job->wal);
        break;
    case WORK_TOUCH_MEMORY:
        arena_pool_fill(&db->pool);
        break;
    case WORK_WRITE_VALUES:
        segments_write_full(db);
        break;
    case WORK_REMOVE_SEGMENTS:
        status = job_remove_segments(db, job);
        break;
    case WORK_SPARE_LOG:
        status = job_spare_log(db);
        break;
    case WORK_DELETE_LOGS:
        delete_logs(db);
        break;
    case WORK_NONE: /* GCOV_EXCL_LINE: a job is run only where there is work */
        break;      /* GCOV_EXCL_LINE: as above */
    }
    if (status != NOKV_OK)
        job_failed(db, job, status, "background work failed");
    mutex_lock(&db->mu);
    job_finish_locked(db, job, status);
    mutex_unlock(&db->mu);
    job_deinit(job);
    if (takes_long(job->work))
        garbage_remove(db);
    mutex_lock(&db->mu);
    db->jobs_running--;
    cond_broadcast(&db->state_cond);
    if (is_soft(status) && job->soft_epoch != db->soft_epoch)
        status = NOKV_OK;
    if (status == NOKV_OK && !is_service(job->work)) /* a failure is no news to others: each would only fail again */
        background_wake_locked(db);
    return status;
}

void background_run_inline(struct nokv_db *db)
{
    if (!db->options.inline_background_work || db->options.read_only)
        return;
    mutex_lock(&db->mu);
    for (;;) {
        struct job job;
        enum nokv_status status = work_pick_locked(db, false, &job);
        if (status != NOKV_OK)
            soft_error_set_locked(db, status);
        if (status != NOKV_OK || job.work == WORK_NONE || job_run_locked(db, &job) != NOKV_OK)
            break;
    }
    mutex_unlock(&db->mu);
    garbage_remove(db);
}

void background_flush_wait_locked(struct nokv_db *db)
{
    if (!db->options.inline_background_work || db->flushing) {
        cond_wait(&db->state_cond, &db->mu);
        return;
    }
    mutex_unlock(&db->mu);
    background_run_inline(db);
    mutex_lock(&db->mu);
}

/* Nothing is due. With a level 0 that could be tidied, garbage that is only let be while somebody writes, or memory
 * that could be given back, look again in a while: did anybody write? With garbage that a reader holds up, too. */
static void wait_for_work_locked(struct nokv_db *db)
{
    bool is_tidy = db->version->levels[0].count < db->options.l0_compact_files && !arena_pool_is_held(&db->pool) &&
                   !collect_is_over_locked(db);
    if (db->tidy || is_tidy) {
        if (has_garbage_locked(db))
            (void)cond_wait_for(&db->work_cond, &db->mu, TICK_NS);
        else
            cond_wait(&db->work_cond, &db->mu);
        return;
    }
    db->tick_seq = atomic_load_explicit(&db->visible_seq, memory_order_relaxed);
    bool woken = cond_wait_for(&db->work_cond, &db->mu, TICK_NS);
    if (woken || db->tick_seq != atomic_load_explicit(&db->visible_seq, memory_order_relaxed))
        return;
    db->tidy = true;
    mutex_unlock(&db->mu);
    arena_pool_trim(&db->pool);
    mutex_lock(&db->mu);
}

static void background_loop(struct nokv_db *db, bool quick)
{
    bool has_looked = false; /* for garbage, since it waited */
    mutex_lock(&db->mu);
    while (!db->closing) {
        struct job job;
        enum nokv_status status = work_pick_locked(db, quick, &job);
        if (status == NOKV_OK && job.work != WORK_NONE)
            status = job_run_locked(db, &job);
        else if (status != NOKV_OK)
            soft_error_set_locked(db, status);
        else if (quick)
            cond_wait(&db->log_cond, &db->mu);
        else if (!has_looked && has_garbage_locked(db)) {
            garbage_remove_locked(db);
            has_looked = true;
        } else {
            wait_for_work_locked(db);
            has_looked = false;
        }
        if (status != NOKV_OK && !quick && has_garbage_locked(db))
            garbage_remove_locked(db);         /* room and memory are what it may be short of */
        if (status != NOKV_OK && !db->closing) /* retried when a writer needs it, or in a second */
            (void)cond_wait_for(quick ? &db->log_cond : &db->work_cond, &db->mu, TICK_NS);
    }
    mutex_unlock(&db->mu);
}

static void *background_main(void *arg)
{
    struct nokv_db *db = arg;
    if (!atomic_exchange_explicit(&db->warmed, true, memory_order_relaxed)) /* one of them does it */
        warm_run(db);
    background_loop(db, false);
    return NULL;
}

static void *log_main(void *arg)
{
    background_loop(arg, true);
    return NULL;
}

/* Without the lock, for which a writer might wait: the log thread may be about to sleep and not see it. It sees it with
 * the next thing that is asked of it, and writers can do without. */
void background_ask(struct nokv_db *db, _Atomic bool *wish)
{
    atomic_store_explicit(wish, true, memory_order_relaxed);
    cond_signal(&db->log_cond);
}

void background_want_memory(void *arg)
{
    struct nokv_db *db = arg;
    background_ask(db, &db->memory_wanted);
}

/* All: not every thread does everything. */
void background_wake_locked(struct nokv_db *db)
{
    cond_broadcast(&db->work_cond);
    cond_signal(&db->log_cond);
}

enum nokv_status background_start(struct nokv_db *db)
{
    if (db->options.inline_background_work || db->options.read_only)
        return NOKV_OK;
    db->threads = mem_alloc((db->options.background_threads + 1) * sizeof *db->threads);
    if (db->threads == NULL)
        return FAIL(NO_MEMORY, "no memory for %u background threads", db->options.background_threads);
    TRY(thread_create(&db->threads[db->options.background_threads], "nokv-log", log_main, db));
    db->has_log_thread = true;
    for (uint32_t i = 0; i < db->options.background_threads; i++) {
        TRY(thread_create(&db->threads[i], "nokv-background", background_main, db));
        mutex_lock(&db->mu);
        db->thread_count++;
        mutex_unlock(&db->mu);
    }
    return NOKV_OK;
}

void background_stop(struct nokv_db *db)
{
    atomic_store_explicit(&db->cancel, true, memory_order_relaxed);
    mutex_lock(&db->mu);
    db->closing = true;
    background_wake_locked(db);
    cond_broadcast(&db->state_cond);
    uint32_t count = db->thread_count;
    mutex_unlock(&db->mu);
    for (uint32_t i = 0; i < count; i++)
        thread_join(db->threads[i]);
    if (db->has_log_thread)
        thread_join(db->threads[db->options.background_threads]);
    db->has_log_thread = false;
    mem_free(TAKE(db->threads));
}

/* ---- what the API offers -------------------------------------------------------------------------------------- */

static enum nokv_status background_status_locked(struct nokv_db *db)
{
    if (atomic_load_explicit(&db->poisoned, memory_order_acquire) != NOKV_OK)
        return FAIL(POISONED, "%s", db->poison_message);
    if (db->soft_error != NOKV_OK)
        return FAIL_WITH(db->soft_error, "%s", db->soft_message);
    return NOKV_OK;
}

/* Try again what failed before for want of space or memory: only what begins and fails from here on counts. */
static void soft_error_forget(struct nokv_db *db)
{
    mutex_lock(&db->mu);
    db->soft_error = NOKV_OK;
    db->soft_epoch++;
    background_wake_locked(db);
    mutex_unlock(&db->mu);
}

/* Do memtables that wait hold writes up to this number? */
static bool is_unflushed_locked(const struct nokv_db *db, uint64_t seq)
{
    return db->immutable_count > 0 && db->immutables[0].last_seq <= seq;
}

nokv_status nokv_flush(nokv_db *db)
{
    TRY(db_check_writable(db));
    soft_error_forget(db);
    mutex_lock(&db->write_mu);
    enum nokv_status status = memtable_count(db->mem) > 0 ? db_rotate(db) : NOKV_OK;
    uint64_t seq = db->last_seq; /* what others write from here on is not waited for */
    mutex_unlock(&db->write_mu);
    TRY(status);
    background_run_inline(db);
    mutex_lock(&db->mu);
    while (is_unflushed_locked(db, seq) && (status = background_status_locked(db)) == NOKV_OK)
        background_flush_wait_locked(db);
    mutex_unlock(&db->mu);
    return status;
}

/* Is a compaction due that nobody works on yet? */
static bool compaction_due_locked(struct nokv_db *db)
{
    struct level_targets targets;
    picker_targets(db->version, &db->picker, background_is_tidy_locked(db), &targets);
    for (size_t l = 0; l + 1 < LEVELS_MAX; l++)
        if (targets.score[l] >= 1.0)
            return true;
    return false;
}

nokv_status nokv_wait_idle(nokv_db *db)
{
    if (db->options.read_only)
        return NOKV_OK;
    soft_error_forget(db);
    mutex_lock(&db->mu);
    db->tidy = true;
    mutex_unlock(&db->mu);
    background_run_inline(db);
    mutex_lock(&db->mu);
    enum nokv_status status = background_status_locked(db);
    while (status == NOKV_OK && !db->options.inline_background_work &&
           (db->immutable_count > 0 || deletable_log_locked(db) || db->jobs_running > 0 || compaction_due_locked(db) ||
            collect_is_due_locked(db) || atomic_load_explicit(&db->unsealed_logs, memory_order_relaxed) > 0)) {
        background_wake_locked(db);
        cond_wait(&db->state_cond, &db->mu);
        status = background_status_locked(db);
    }
    while (db->garbage_running > 0) /* without waking anybody: a reader may hold it up */
        cond_wait(&db->state_cond, &db->mu);
    mutex_unlock(&db->mu);
    garbage_remove_by_caller(db); /* what an iterator was the last to hold */
    arena_pool_trim(&db->pool);
    return status;
}

/* Take everything in the range; no other compaction runs then. */
static enum nokv_status range_pick(struct nokv_db *db, struct slice first, struct slice last, struct job *job,
                                   bool *out_found)
{
    mutex_lock(&db->mu);
    while (db->manual)
        cond_wait(&db->state_cond, &db->mu);
    db->manual = true;
    while (db->compactions_running > 0)
        cond_wait(&db->state_cond, &db->mu);
    enum nokv_status status = picker_pick_range(db->version, first, last, &job->inputs, out_found);
    if (status == NOKV_OK && *out_found) {
        job->soft_epoch = db->soft_epoch;
        status = inputs_take_locked(db, job, WORK_COMPACT);
        db->jobs_running += job->work == WORK_COMPACT;
    }
    mutex_unlock(&db->mu);
    return status;
}

nokv_status nokv_compact_range(nokv_db *db, const void *first, size_t first_size, const void *last, size_t last_size)
{
    struct job job = {0};
    bool found = false;
    if (first)
        TRY(key_check(first, first_size));
    if (last)
        TRY(key_check(last, last_size));
    TRY(nokv_flush(db));
    enum nokv_status status = range_pick(db, slice_make(first, first_size), slice_make(last, last_size), &job, &found);
    if (status == NOKV_OK && found) {
        status = job_compact(db, &job);
        if (status != NOKV_OK)
            job_failed(db, &job, status, "a compaction failed");
    }
    mutex_lock(&db->mu);
    if (found && job.work == WORK_COMPACT) {
        job_finish_locked(db, &job, status);
        db->jobs_running--;
    }
    db->manual = false;
    cond_broadcast(&db->state_cond);
    background_wake_locked(db);
    mutex_unlock(&db->mu);
    job_deinit(&job);
    garbage_remove_by_caller(db);
    return status;
}

nokv_status nokv_sync_wal(nokv_db *db)
{
    return db_sync_all(db);
}
