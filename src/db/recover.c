// SPDX-License-Identifier: Apache-2.0
/*
 * Reading the logs back.
 *
 * Which logs there are, oldest first, and what may be wrong with each:
 *
 *      sealed, with records ... │ the last with records in its file: may be torn │ empty ones, made ahead of time
 *
 * [I1] A log's file gets its first record only after the log before it is durable (write.c). So of the logs with
 *      records in their files all but the last must be complete up to their seal; anything else is damage.
 * [I2] The shared buffer belongs to the newest log in use: the last with records in its file, or, when that one is
 *      sealed, the one after it, whose records may all still be in the buffer.
 * [I3] Sequence numbers are without a gap from the first needed log on: a missing or emptied log cannot go unnoticed.
 *
 * [I4] A record of the last log may point to a value that never reached the disk. Then it, and what follows it, is the
 *      torn tail, unless a mark says that it was durable (recover_values.c).
 *
 * The replayed entries go into one memtable. The logs stay until it is flushed, so a crash at any point here repeats
 * the same work; repairing the tail of the last log is itself repeatable (rlog_repair_tail).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "db/db.h"
#include "lsm/names.h"

void recovery_deinit(struct recovery *r)
{
    memtable_unref(r->mem);
    mem_free(r->logs);
    *r = (struct recovery){0};
}

static void rlog_reader_close_ptr(struct rlog_reader **r)
{
    rlog_reader_close(*r);
}

/* ---- which logs there are --------------------------------------------------------------------------------------- */

struct log_search {
    struct recovery *recovery;
    uint64_t log_number;
};

static enum nokv_status log_collect(void *arg, const char *name)
{
    struct log_search *search = arg;
    struct recovery *r = search->recovery;
    uint64_t number = 0;
    enum file_type type = file_type_of(name, &number);
    if (type == FILE_UNKNOWN)
        return NOKV_OK;
    r->number_max = u64_max(r->number_max, number);
    if (type != FILE_WAL || number < search->log_number)
        return NOKV_OK;
    TRY(mem_grow(&r->logs, &r->log_capacity, r->log_count + 1, sizeof *r->logs));
    r->logs[r->log_count++] = number;
    return NOKV_OK;
}

static enum nokv_status segment_number_note(void *arg, const char *name)
{
    struct recovery *r = arg;
    uint64_t number = 0;
    if (file_type_of(name, &number) == FILE_VLOG)
        r->number_max = u64_max(r->number_max, number);
    return NOKV_OK;
}

/* The numbers of segments: none is used again, whether its file is still needed or not. */
static enum nokv_status segment_numbers_note(struct nokv_db *db, struct recovery *r)
{
    char path[PATH_SIZE_MAX];
    TRY(path_vlog_dir(path, db->dir));
    enum nokv_status status = io_list(db->io, path, segment_number_note, r);
    return status == NOKV_ERR_NOT_FOUND ? NOKV_OK : status;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static enum nokv_status log_open(struct nokv_db *db, const char *path, uint64_t number, bool last, struct slice ring,
                                 struct rlog_reader **out_reader)
{
    struct rlog_reader_options options = {.io = db->io,
                                          .path = path,
                                          .component = IO_WAL,
                                          .kind = RLOG_WAL,
                                          .number = number,
                                          .last = last,
                                          .ring = ring};
    return rlog_reader_open(&options, out_reader);
}

/* Has the log's file at least one record? */
static enum nokv_status log_has_records(struct nokv_db *db, uint64_t number, bool *out_has)
{
    char path[PATH_SIZE_MAX];
    struct slice payload;
    uint64_t off;
    struct rlog_reader *reader CLEANUP(rlog_reader_close_ptr) = NULL;
    TRY(path_wal(path, db->dir, number));
    TRY(log_open(db, path, number, true, (struct slice){0}, &reader));
    return rlog_reader_next(reader, &payload, &off, out_has);
}

/* Index of the last log with records in its file; 0 when none has any. */
static enum nokv_status last_with_records(struct nokv_db *db, const struct recovery *r, size_t *out_index)
{
    for (size_t i = r->log_count; i > 0; i--) {
        bool has = false;
        TRY(log_has_records(db, r->logs[i - 1], &has));
        *out_index = i - 1;
        if (has)
            return NOKV_OK;
    }
    return NOKV_OK;
}

/* ---- replay ----------------------------------------------------------------------------------------------------- */

static enum nokv_status entry_replay(struct recovery *r, const struct batch_entry *e)
{
    struct slice value;
    TRY(recovery_values_inline(r->values, e, &value));
    if (value.data == NULL)
        return memtable_add(r->mem, e->key, e->value);
    struct ikey key = {.user = e->key.user, .tag = key_tag(tag_seq(e->key.tag), KEY_VALUE)};
    return memtable_add(r->mem, key, value);
}

static enum nokv_status batch_replay(struct recovery *r, struct slice payload, const char *where)
{
    struct batch_reader reader;
    TRY(batch_reader_init(&reader, payload, where));
    if (reader.seq != r->last_seq + 1)
        return FAIL(CORRUPT, "%s: sequence number %" PRIu64 " follows %" PRIu64 ": a log in between is missing", where,
                    reader.seq, r->last_seq);
    for (;;) {
        struct batch_entry entry;
        bool more = false;
        TRY(batch_reader_next(&reader, &entry, &more));
        if (!more)
            break;
        TRY(entry_replay(r, &entry));
    }
    r->last_seq = reader.seq - 1;
    r->records++;
    return NOKV_OK;
}

/* *out_end: the log ends in front of the record, because what it points to is not there. */
static enum nokv_status record_check(struct recovery *r, struct rlog_reader *reader, uint64_t off, const char *where,
                                     bool is_last, struct slice *payload, bool *out_end)
{
    bool sound = true;
    TRY(recovery_values_check(r->values, *payload, where, is_last, &sound));
    *out_end = false;
    return sound ? NOKV_OK : rlog_reader_reject(reader, off, payload, out_end);
}

static enum nokv_status log_replay(struct recovery *r, struct rlog_reader *reader, const char *path, bool is_last)
{
    for (;;) {
        char where[PATH_SIZE_MAX + 32];
        struct slice payload;
        uint64_t off;
        bool more = false, ends = false;
        TRY(rlog_reader_next(reader, &payload, &off, &more));
        if (!more)
            return NOKV_OK;
        snprintf(where, sizeof where, "%s @%" PRIu64, path, off);
        TRY(record_check(r, reader, off, where, is_last, &payload, &ends));
        if (ends)
            return NOKV_OK;
        TRY(batch_replay(r, payload, where));
    }
}

/*
 * Logs that were made ahead of time and never used. They must be gone for good before the log in front of them is
 * sealed: behind a sealed log the next open would look for its continuation in them, and in the shared buffer. [I2]
 */
static enum nokv_status empty_logs_remove(struct nokv_db *db, const struct recovery *r, size_t first)
{
    if (first == r->log_count)
        return NOKV_OK;
    for (size_t i = first; i < r->log_count; i++) {
        char path[PATH_SIZE_MAX];
        TRY(path_wal(path, db->dir, r->logs[i]));
        TRY(io_unlink(db->io, path));
    }
    return io_sync_dir(db->io, db->dir);
}

/* Log `index`; the last one is cut and sealed when `repair`. *out_sealed: it was complete, so the next may be in use.
 */
static enum nokv_status log_recover(struct nokv_db *db, struct recovery *r, size_t index, bool last, struct slice ring,
                                    bool repair, bool *out_sealed)
{
    char path[PATH_SIZE_MAX];
    struct rlog_end_report report;
    struct rlog_reader *reader CLEANUP(rlog_reader_close_ptr) = NULL;
    TRY(path_wal(path, db->dir, r->logs[index]));
    TRY(log_open(db, path, r->logs[index], last, ring, &reader));
    TRY(log_replay(r, reader, path, last));
    rlog_reader_end(reader, &report);
    r->cut_bytes += report.cut_bytes;
    *out_sealed = report.sealed;
    if (!last || !repair)
        return NOKV_OK;
    if (!report.sealed)
        TRY(empty_logs_remove(db, r, index + 1));
    TRY(recovery_values_sync(r->values)); /* before the log that points to them is */
    return rlog_repair_tail(reader);      /* also when it is sealed: the seal may stand in the buffer only */
}

enum nokv_status shared_buffer_read(struct nokv_db *db, const char *path, enum io_component component, struct buf *out)
{
    uint64_t size = 0;
    enum nokv_status status = io_stat(db->io, path, &size);
    if (status == NOKV_ERR_NOT_FOUND || (status == NOKV_OK && size == 0))
        return NOKV_OK;
    TRY(status);
    if (size > 1ull << 30)
        return FAIL(CORRUPT, "%s has %" PRIu64 " bytes, which no shared buffer has", path, size);
    if (buf_reserve(out, size) == NULL)
        return FAIL(NO_MEMORY, "no memory to read %s", path);
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    TRY(io_open(db->io, path, component, IO_STD, IO_READ, &file));
    TRY(io_pread_exact(file, out->data, size, 0));
    out->size = size;
    return NOKV_OK;
}

/* The bytes of the shared buffer as the last process left them. Absent is empty. */
static enum nokv_status ring_read(struct nokv_db *db, struct buf *out)
{
    char path[PATH_SIZE_MAX];
    TRY(path_walbuf(path, db->dir));
    TRY(shared_buffer_read(db, path, IO_WAL, out));
    if (out->size > 0 && (out->size < PAGE_BYTES || !is_power_of_two(out->size)))
        return FAIL(CORRUPT, "%s has %zu bytes, which no shared buffer has", path, out->size);
    return NOKV_OK;
}

/*
 * The log that the MANIFEST begins with is made before a later one is, and removed when the MANIFEST begins with a
 * later one. If it is not there and later ones are, then it was lost, or the MANIFEST has lost its last edits, and with
 * them the tables that took its place. Where the later ones are empty, [I3] would not notice.
 */
static enum nokv_status first_log_check(const struct nokv_db *db, const struct recovery *r, uint64_t log_number)
{
    char first[PATH_SIZE_MAX], wanted[PATH_SIZE_MAX];
    if (r->logs[0] == log_number)
        return NOKV_OK;
    TRY(path_wal(wanted, db->dir, log_number));
    TRY(path_wal(first, db->dir, r->logs[0]));
    return FAIL(CORRUPT, "%s is missing: the MANIFEST needs it, and the first log is %s; or the MANIFEST is an old one",
                wanted, first);
}

enum nokv_status recovery_run(struct nokv_db *db, uint64_t log_number, bool repair, struct recovery *r)
{
    struct buf ring CLEANUP(buf_deinit) = {0};
    struct log_search search = {.recovery = r, .log_number = log_number};
    size_t tail = 0;
    TRY(memtable_create(db->options.memtable_bytes, &db->pool, &r->mem));
    TRY(io_list(db->io, db->dir, log_collect, &search));
    TRY(segment_numbers_note(db, r));
    if (r->log_count == 0)
        return NOKV_OK;
    qsort(r->logs, r->log_count, sizeof *r->logs, compare_u64);
    TRY(first_log_check(db, r, log_number));
    TRY(ring_read(db, &ring));
    TRY(last_with_records(db, r, &tail));
    bool sealed = true;
    for (; r->used < r->log_count && sealed; r->used++) {
        bool last = r->used >= tail;
        TRY(log_recover(db, r, r->used, last, last ? buf_slice(&ring) : (struct slice){0}, repair, &sealed));
    }
    return NOKV_OK;
}
