// SPDX-License-Identifier: Apache-2.0
/*
 * Reading the logs back.
 *
 * Which logs there are, oldest first, and what may be wrong with each:
 *
 *      sealed ... │ the first that is not sealed: may be torn │ void if that one is torn; or empty, made ahead
 *
 * [I1] A log is sealed, if not yet durable, before the next one takes over the shared buffer and gets records
 *      (write.c). So after the death of the process all logs but the last in use are complete. After a power cut any
 *      log may be torn that nobody has synced, and then what the later ones have is void: a prefix comes back.
 * [I2] A log says that those before it were durable as soon as they are, and before anything of its own is synced. So a
 *      log that is torn although a later one has made that claim was damaged.
 * [I3] Sequence numbers are without a gap from the first needed log on: a missing log cannot go unnoticed, nor one that
 *      was emptied behind its seal.
 *
 * [I4] A record may point to a value that never reached the disk. Then it, and what follows it, is the torn tail,
 *      unless a mark says that it was durable (recover_values.c).
 *
 * The replayed entries go into one memtable. The logs stay until it is flushed, so a crash at any point here repeats
 * the same work; repairing a log is itself repeatable (rlog_repair_tail). Logs are repaired, and thereby made durable,
 * in their order, because a repaired one claims that those before it are [I2].
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

/* One of the logs, being read. */
struct log_reading {
    struct nokv_db *db;
    struct recovery *recovery;
    size_t index; /* in recovery->logs */
    struct slice ring;
    char path[PATH_SIZE_MAX];
    struct rlog_reader *reader;
    bool claim_known, is_claimed; /* a later log says that this one was durable */
    uint64_t later_bytes;         /* what the later ones have in their files; REQUIRES: claim_known, not claimed */
    char claimer[PATH_SIZE_MAX + 32];
};

static void log_reading_deinit(struct log_reading *l)
{
    rlog_reader_close(l->reader);
}

static enum nokv_status log_open(const struct log_reading *l, size_t index, char path[PATH_SIZE_MAX],
                                 struct rlog_reader **out_reader)
{
    TRY(path_wal(path, l->db->dir, l->recovery->logs[index]));
    struct rlog_reader_options options = {.io = l->db->io,
                                          .path = path,
                                          .component = IO_WAL,
                                          .kind = RLOG_WAL,
                                          .number = l->recovery->logs[index],
                                          .ring = l->ring};
    return rlog_reader_open(&options, out_reader);
}

static enum nokv_status claim_find(struct log_reading *l, size_t index)
{
    char path[PATH_SIZE_MAX];
    uint64_t off = 0, bytes = 0;
    struct rlog_reader *reader CLEANUP(rlog_reader_close_ptr) = NULL;
    TRY(log_open(l, index, path, &reader));
    TRY(rlog_reader_find_claim(reader, &l->is_claimed, &off, &bytes));
    if (l->is_claimed)
        snprintf(l->claimer, sizeof l->claimer, "%s @%" PRIu64, path, off);
    l->later_bytes += bytes;
    return NOKV_OK;
}

/* Fill is_claimed. [I2] */
static enum nokv_status claim_learn(struct log_reading *l)
{
    for (size_t i = l->index + 1; i < l->recovery->log_count && !l->claim_known && !l->is_claimed; i++)
        TRY(claim_find(l, i));
    l->claim_known = true;
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

/* A MANIFEST that has lost its last edit begins with logs that were being removed. */
static enum nokv_status gap_fail(const struct recovery *r, uint64_t seq, const char *where)
{
    char manifest[PATH_SIZE_MAX];
    TRY(path_manifest(manifest, r->values->db->dir, r->values->state->manifest_number));
    return FAIL(CORRUPT,
                "%s: sequence number %" PRIu64 " follows %" PRIu64
                ": a log in between is missing, or %s has lost its last edits",
                where, seq, r->last_seq, manifest);
}

static enum nokv_status batch_replay(struct recovery *r, struct slice payload, const char *where)
{
    struct batch_reader reader;
    TRY(batch_reader_init(&reader, payload, where));
    if (reader.seq != r->last_seq + 1)
        return gap_fail(r, reader.seq, where);
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
static enum nokv_status record_check(struct log_reading *l, uint64_t off, const char *where, struct slice *payload,
                                     bool *out_end)
{
    bool sound = true;
    *out_end = false;
    TRY(recovery_values_check(l->recovery->values, *payload, where, &sound));
    if (sound)
        return NOKV_OK;
    TRY(claim_learn(l));
    if (l->is_claimed)
        return NOKV_OK; /* damage, which loading the segments finds, or reading the value */
    return rlog_reader_reject(l->reader, off, payload, out_end);
}

static enum nokv_status log_replay(struct log_reading *l)
{
    for (;;) {
        char where[PATH_SIZE_MAX + 32];
        struct slice payload;
        uint64_t off;
        bool more = false, ends = false;
        TRY(rlog_reader_next(l->reader, &payload, &off, &more));
        if (!more)
            return NOKV_OK;
        snprintf(where, sizeof where, "%s @%" PRIu64, l->path, off);
        TRY(record_check(l, off, where, &payload, &ends));
        if (ends)
            return NOKV_OK;
        TRY(batch_replay(l->recovery, payload, where));
    }
}

/*
 * Logs that were made ahead of time and never used, or that are void. They must be gone for good before the log in
 * front of them is sealed: behind a sealed log the next open would look for its continuation in them, and in the shared
 * buffer.
 */
static enum nokv_status later_logs_remove(struct nokv_db *db, const struct recovery *r, size_t first)
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

/* It ended without a seal: what is behind it is void, or something was damaged. */
static enum nokv_status torn_check(struct log_reading *l, const struct rlog_end_report *report)
{
    TRY(claim_learn(l));
    if (l->is_claimed)
        return FAIL(CORRUPT, "log %s: damaged at %" PRIu64 "; the mark at %s says that all of it was durable", l->path,
                    report->end_off, l->claimer);
    l->recovery->cut_bytes += report->cut_bytes + l->later_bytes;
    return NOKV_OK;
}

/* Replay a log and, when `repair`, make it durable and sealed. *out_sealed: it was complete, so the next may be in use.
 */
static enum nokv_status log_recover(struct log_reading *l, bool repair, bool *out_sealed)
{
    struct recovery *r = l->recovery;
    struct rlog_end_report report;
    TRY(log_open(l, l->index, l->path, &l->reader));
    TRY(log_replay(l));
    rlog_reader_end(l->reader, &report);
    *out_sealed = report.sealed;
    if (!report.sealed)
        TRY(torn_check(l, &report));
    if (!repair)
        return NOKV_OK;
    if (!report.sealed)
        TRY(later_logs_remove(l->db, r, l->index + 1));
    TRY(recovery_values_sync(r->values)); /* before the log that points to them is */
    return rlog_repair_tail(l->reader);   /* also when it is sealed: that may be in the page cache or buffer only */
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
static enum nokv_status first_log_check(const struct nokv_db *db, const struct recovery *r,
                                        const struct manifest_state *state)
{
    char first[PATH_SIZE_MAX], wanted[PATH_SIZE_MAX], manifest[PATH_SIZE_MAX];
    if (r->logs[0] == state->log_number)
        return NOKV_OK;
    TRY(path_wal(wanted, db->dir, state->log_number));
    TRY(path_wal(first, db->dir, r->logs[0]));
    TRY(path_manifest(manifest, db->dir, state->manifest_number));
    return FAIL(CORRUPT,
                "%s is missing: %s needs it, and the first log is %s; or that MANIFEST has lost its last edits", wanted,
                manifest, first);
}

/* Logs are made durable one by one when they have been replayed, and the kernel may not have written them yet: have it
 * begin with all, as replaying takes a while too. */
static void logs_write_back(struct nokv_db *db, const struct recovery *r)
{
    for (size_t i = 0; i < r->log_count; i++) {
        char path[PATH_SIZE_MAX];
        uint64_t size = 0;
        struct io_file *file CLEANUP(io_close_ptr) = NULL;
        if (path_wal(path, db->dir, r->logs[i]) == NOKV_OK &&
            io_open(db->io, path, IO_WAL, IO_STD, IO_READ, &file) == NOKV_OK && io_size(file, &size) == NOKV_OK)
            io_start_writeback(file, 0, size);
    }
}

enum nokv_status recovery_run(struct nokv_db *db, const struct manifest_state *state, bool repair, struct recovery *r)
{
    struct buf ring CLEANUP(buf_deinit) = {0};
    struct log_search search = {.recovery = r, .log_number = state->log_number};
    TRY(memtable_create(db->options.memtable_bytes, &db->pool, &r->mem));
    TRY(io_list(db->io, db->dir, log_collect, &search));
    TRY(segment_numbers_note(db, r));
    if (r->log_count == 0)
        return NOKV_OK;
    qsort(r->logs, r->log_count, sizeof *r->logs, compare_u64);
    TRY(first_log_check(db, r, state));
    TRY(ring_read(db, &ring));
    if (repair)
        logs_write_back(db, r);
    bool sealed = true;
    for (; r->used < r->log_count && sealed; r->used++) {
        struct log_reading l CLEANUP(log_reading_deinit) = {
            .db = db, .recovery = r, .index = r->used, .ring = buf_slice(&ring)};
        TRY(log_recover(&l, repair, &sealed));
    }
    return NOKV_OK;
}
