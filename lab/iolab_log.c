// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_log.c - part 1: commits to the engine's own log (rlog), as the write path makes them.
 *
 * Durable commits: a writer appends its record under a lock, and whoever finds no sync under way moves what waits to
 * the file and syncs it for all (group commit), without the lock. Commits that survive the process only: a record is
 * stored into the shared buffer, which is moved to the file in large pieces; beside it a write per commit under each
 * model. After each sample the log is read through with the engine's reader, checksums and contents.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "lab/append.h"
#include "rlog/rlog.h"

enum { RECORD = 140, RING = 1 << 20, LOG_STEP = 4 << 20, LOG_NUMBER = 1 };

struct log {
    struct rlog_writer *w;
    struct mutex mu;
    struct cond synced_changed;
    uint64_t seed;
    uint64_t end_ns;
    uint64_t bytes_max;
    bool durable;
    /* protected by mu */
    uint64_t next;
    uint64_t synced;
    bool syncing;
    struct histogram ns; /* relaxed atomics */
};

/* REQUIRES: mu is held; it is let go of during the sync. */
static enum nokv_status sync_for_all_locked(struct log *log)
{
    uint64_t end = rlog_end(log->w);
    enum nokv_status status = rlog_flush(log->w);
    if (status == NOKV_OK) {
        log->syncing = true;
        mutex_unlock(&log->mu);
        status = io_sync(rlog_file(log->w));
        mutex_lock(&log->mu);
        log->syncing = false;
    }
    if (status == NOKV_OK) {
        rlog_mark_synced(log->w, end);
        log->synced = end;
    } else {
        rlog_mark_failed(log->w);
    }
    cond_broadcast(&log->synced_changed);
    return status;
}

static enum nokv_status commit(struct log *log, bool *out_full)
{
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&log->mu);
    (void)held;
    uint8_t record[RECORD];
    *out_full = rlog_end(log->w) > log->bytes_max;
    if (*out_full)
        return NOKV_OK;
    lab_fill(log->seed, log->next++, record, sizeof record);
    const struct slice part = slice_make(record, sizeof record);
    TRY(rlog_append(log->w, &part, 1));
    uint64_t end = rlog_end(log->w);
    while (log->durable && log->synced < end) {
        if (log->syncing)
            cond_wait(&log->synced_changed, &log->mu);
        else
            TRY(sync_for_all_locked(log));
    }
    return NOKV_OK;
}

static enum nokv_status commit_until_end(void *arg, unsigned writer)
{
    (void)writer;
    struct log *log = arg;
    uint64_t begin = clock_now_ns();
    do { /* one at least, however late the thread began */
        bool is_full = false;
        TRY(commit(log, &is_full));
        if (is_full)
            break;
        uint64_t end = clock_now_ns();
        histogram_add(&log->ns, end - begin);
        begin = end;
    } while (begin < log->end_ns);
    return NOKV_OK;
}

static enum nokv_status log_check(struct lab_bench *bench, const struct log *log, const char *path)
{
    const struct rlog_reader_options options = {
        .io = bench->io, .path = path, .component = IO_WAL, .kind = RLOG_WAL, .number = LOG_NUMBER};
    struct rlog_reader *reader = NULL;
    uint8_t wanted[RECORD];
    uint64_t off, count = 0;
    bool more = false;
    TRY(lab_file_drop(bench->io, path));
    TRY(rlog_reader_open(&options, &reader));
    for (;;) {
        struct slice payload = {0};
        enum nokv_status status = rlog_reader_next(reader, &payload, &off, &more);
        if (status != NOKV_OK || !more) {
            rlog_reader_close(reader);
            bench->row->wrong += count != log->next;
            return status;
        }
        lab_fill(log->seed, count++, wanted, RECORD);
        bench->row->wrong += payload.size != RECORD || memcmp(payload.data, wanted, RECORD) != 0;
        bench->row->verified += payload.size;
    }
}

struct log_shape {
    unsigned writers;
    bool durable;
    bool ring_only_first; /* the first contender has the shared buffer, the others write each record */
};

static enum nokv_status log_time(struct lab_bench *bench, struct log *log, struct lab_sample *out_sample)
{
    const struct log_shape *shape = bench->arg;
    struct lab_crew crew = {.work = commit_until_end, .arg = log, .count = shape->writers};
    struct lab_usage from = lab_usage_now(bench->io);
    log->end_ns = from.ns + LAB_SYNC_SLICES * bench->lab->slice_ns;
    TRY(lab_crew_run(&crew));
    if (!log->durable)
        TRY(rlog_flush(log->w));
    *out_sample = lab_usage_sample(bench->io, &from, log->next, log->next * RECORD, &log->ns);
    return rlog_seal(log->w);
}

static enum nokv_status log_with_ring(struct lab_bench *bench, unsigned index, struct io_shared *ring,
                                      struct lab_sample *out_sample)
{
    const struct log_shape *shape = bench->arg;
    char path[LAB_PATH_SIZE];
    lab_path(bench->lab, "log", path);
    unsigned model = bench->row->contenders[index].model;
    const struct rlog_writer_options options = {.io = bench->io,
                                                .path = path,
                                                .component = IO_WAL,
                                                .model = model == IO_MMAP ? IO_STD : (enum io_model)model,
                                                .kind = RLOG_WAL,
                                                .number = LOG_NUMBER,
                                                .preallocate_bytes = LOG_STEP,
                                                .ring = shape->ring_only_first && index > 0 ? NULL : ring};
    struct log *log CLEANUP(mem_free_ptr) = mem_zalloc(sizeof *log);
    if (!log)
        return FAIL(NO_MEMORY, "iolab: a log");
    log->seed = bench->lab->seed + index;
    log->bytes_max = bench->lab->size / 2;
    log->durable = shape->durable;
    mutex_init(&log->mu);
    cond_init(&log->synced_changed);
    TRY(rlog_writer_create(&options, bench->lab->dir, &log->w));
    enum nokv_status status = log_time(bench, log, out_sample);
    rlog_writer_destroy(log->w);
    cond_deinit(&log->synced_changed);
    mutex_deinit(&log->mu);
    TRY(status);
    TRY(log_check(bench, log, path));
    return io_unlink(bench->io, path);
}

static enum nokv_status log_measure(struct lab_bench *bench, unsigned index, struct lab_sample *out_sample)
{
    char path[LAB_PATH_SIZE];
    struct io_shared ring = {0};
    lab_path(bench->lab, "ring", path);
    TRY(io_shared_open(bench->io, path, RING, &ring));
    enum nokv_status status = log_with_ring(bench, index, &ring, out_sample);
    io_shared_close(&ring);
    TRY(status);
    return io_unlink(bench->io, path);
}

static enum nokv_status log_task(struct lab *lab, struct io *io, void *arg)
{
    const struct lab_task *task = arg;
    struct lab_bench bench = {.lab = lab, .io = io, .row = task->row, .measure = log_measure, .arg = task->arg};
    return lab_rounds_run(&bench);
}

static enum nokv_status log_row(struct lab *lab, struct lab_row *row, struct log_shape shape)
{
    struct lab_task inner = {.arg = &shape, .row = row};
    const struct lab_task task = {.run = log_task, .arg = &inner, .row = row};
    TRY(lab_child_run(lab, &task));
    lab_progress_row(lab, row);
    return NOKV_OK;
}

static enum nokv_status durable_row(struct lab *lab, unsigned writers)
{
    char label[48];
    snprintf(label, sizeof label, "%u writer%s", writers, writers > 1 ? "s" : "");
    struct lab_row *row = lab_row_add(lab, 1, LAB_RATE, LAB_WAL_WRITE, "log commits, durable", label);
    lab_row_note(row,
                 "records of %d bytes through the shared buffer, preallocated in steps of 4 MiB; writers share "
                 "syncs (group commit); read back with the engine's reader",
                 RECORD);
    (void)lab_contender_add(lab, row, IO_STD, "std", "write + fdatasync");
    (void)lab_contender_add(lab, row, IO_DIRECT, "direct", "O_DIRECT write + fdatasync");
    (void)lab_contender_add(lab, row, IO_URING, "uring", "io_uring: write, fsync");
    return log_row(lab, row, (struct log_shape){.writers = writers, .durable = true});
}

static enum nokv_status process_row(struct lab *lab)
{
    struct lab_row *row = lab_row_add(lab, 1, LAB_RATE, LAB_NO_CHOICE, "log commits, no sync", "1 writer");
    lab_row_note(row,
                 "records of %d bytes that survive the process, not a power cut; the shared buffer is a mapping of "
                 "1 MiB that is moved to the file by large writes",
                 RECORD);
    (void)lab_contender_add(lab, row, IO_MMAP, "", "shared mapping, large writes");
    (void)lab_contender_add(lab, row, IO_STD, "", "a write per commit");
    (void)lab_contender_add(lab, row, IO_DIRECT, "", "an O_DIRECT write per commit");
    (void)lab_contender_add(lab, row, IO_URING, "", "an io_uring write per commit");
    return log_row(lab, row, (struct log_shape){.writers = 1, .ring_only_first = true});
}

enum nokv_status lab_log(struct lab *lab)
{
    TRY(process_row(lab));
    TRY(durable_row(lab, 1));
    return durable_row(lab, LAB_THREADS_MAX);
}
