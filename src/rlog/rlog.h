// SPDX-License-Identifier: Apache-2.0
/*
 * rlog/rlog.h - record log: the one framing of the WAL and the MANIFEST. docs/formats/rlog.md is its format.
 *
 * A log is one file with a number that is never used again: a 64-byte header, then records back to back. A record is a
 * 16-byte header (checksum u32, length u32, log number's low 32 bits u32, type u8, three zero bytes) and its payload,
 * padded with zeros to 8 bytes. The checksum covers the header after itself and the payload, and is seeded with the
 * log's full number, its salt (drawn at creation, in the file header) and the record's offset, so that bytes of another
 * log or place are never taken for a record of this one.
 *
 * Types: RLOG_DATA (one batch or one edit, whole); RLOG_SYNCED (payload u64: everything below that offset, and all of
 * the logs before this one that are needed, were on stable storage when this record was written; written in front of
 * the first record after a sync); RLOG_SEAL (the same payload, 0 when nothing is claimed; the log ends here; written
 * when a log is closed, handed over or cut). The two are called marks.
 *
 * The buffer (WAL only, decision 3 of the design): a ring of `size` bytes in an io_shared; the byte of file offset o
 * stands at o % size. Records are stored there first, an acknowledged record thereby survives the process, and the
 * writer moves whole stretches to the file with io_pwrite. Recovery asks at each offset first the file, then the ring.
 *
 * Reading ends at the first offset where neither has a valid record. Whatever lies behind is a torn tail, cut and
 * reported, unless a later valid mark (searched for at every 8-byte offset of the file and of the ring) covers the bad
 * offset: then synced bytes were damaged, and that is CORRUPT. Behind RLOG_SEAL only zeros (preallocated space) are
 * accepted.
 *
 * One log hands over to the next: rlog_detach(old), then appends to the new one (which may have been created before)
 * under rlog_hold, meanwhile rlog_seal(old) on another thread, then the hold is released. Until then the new log is
 * written to its file but never synced, and makes no claim. Recovery goes through the logs in order, up to the first
 * that is not `sealed`: the ones behind that one are void, unless one of them makes a claim (rlog_reader_find_claim),
 * which is CORRUPT. They are removed, durably, and only then the torn one is repaired.
 */
#ifndef RLOG_RLOG_H
#define RLOG_RLOG_H

#include "base/buf.h"
#include "io/io.h"

enum rlog_kind { RLOG_WAL = 1, RLOG_MANIFEST = 2 };
enum rlog_type { RLOG_DATA = 1, RLOG_SYNCED = 2, RLOG_SEAL = 3 };
enum { RLOG_FILE_HEADER = 64, RLOG_RECORD_HEADER = 16, RLOG_ALIGN = 8 };
#define RLOG_PAYLOAD_MAX 0x7fff0000u /* bytes; writers check, readers refuse more */

/* ---- writer (one thread at a time, the caller serialises; beside it rlog_write_full) ---------------------------- */

struct rlog_writer;

struct rlog_writer_options {
    struct io *io;
    const char *path;
    enum io_component component;
    enum io_model model;
    enum rlog_kind kind;
    uint64_t number;
    uint64_t preallocate_bytes; /* reserved ahead in steps of this; 0: none */
    uint64_t kept_bytes;        /* of what is reserved, for rlog_append_kept alone; 0 without preallocation */
    struct io_shared *ring;     /* NULL: records go to the file at once (MANIFEST) */
    uint64_t salt; /* tells it from another log of the same number; 0: made from the clocks (others: golden images) */
    size_t write_chunk_bytes; /* move the ring's content to the file when this much waits; 0: a quarter of the ring */
    /* Called by an append when so much waits; somebody else is to call rlog_write_full. When half of the ring waits,
     * the append moves it all the same. NULL: appends move it */
    void (*full)(void *arg);
    void *full_arg;
};

/* Creates the file (EXISTS if there), writes the header and syncs file and directory `dir`. POISONED when a sync
 * failed: what else the directory was to make durable may be lost, and the next sync of it says nothing of that. */
enum nokv_status rlog_writer_create(const struct rlog_writer_options *options, const char *dir,
                                    struct rlog_writer **out_writer) MUST_CHECK;
/* Closes the file as it is: what is in the ring only stays there. NULL is accepted. */
void rlog_writer_destroy(struct rlog_writer *w);

/*
 * Append one RLOG_DATA record whose payload is the concatenation of `parts`. On return with OK the record is in the
 * ring or the file: it survives the process. A record larger than half of the ring goes to the file directly. After an
 * error nothing more may be appended (the caller poisons itself), except NO_SPACE (preallocation failed) and NO_MEMORY
 * (that, or a large record's buffer): these come before anything was written.
 */
enum nokv_status rlog_append(struct rlog_writer *w, const struct slice *parts, size_t count) MUST_CHECK;
/* The same for a record that may use what is kept when the disk has no more room: what makes room by and by. */
enum nokv_status rlog_append_kept(struct rlog_writer *w, const struct slice *parts, size_t count) MUST_CHECK;
/* Move what the ring holds to the file, beside the thread that appends, syncs and detaches. One thread. REQUIRES:
 * rlog_writer_destroy comes later. A failure is final, as one of rlog_flush. */
enum nokv_status rlog_write_full(struct rlog_writer *w) MUST_CHECK;
/* Move everything in the ring to the file (page cache), for a sync: waits for a hold. */
enum nokv_status rlog_flush(struct rlog_writer *w) MUST_CHECK;
/* Flush, then make everything appended so far durable. The first failure is final: every later call fails too. */
enum nokv_status rlog_sync(struct rlog_writer *w) MUST_CHECK;
/* Unless detached: sync and append RLOG_SEAL. Then cut the preallocated rest, and sync. Nothing can be appended any
 * more. Logs are sealed in their order. */
enum nokv_status rlog_seal(struct rlog_writer *w) MUST_CHECK;
/*
 * A log before this one is not durable yet. While held, records are appended and moved to the file as always, but what
 * makes them durable (rlog_flush for a group, rlog_sync, rlog_seal) first calls `wait(arg)`, which returns once the
 * logs before are. rlog_release: they are, and the next record is preceded by a mark that says so. A log that has none
 * before it, or only durable ones, is released when it is new.
 */
void rlog_hold(struct rlog_writer *w, enum nokv_status (*wait)(void *arg), void *arg);
void rlog_release(struct rlog_writer *w);
/* Start writing back what was moved to the file as it comes, so that no sync finds much to do. Off in a new log: many
 * are deleted before the kernel has written them. REQUIRES: nothing was appended yet. */
void rlog_write_behind(struct rlog_writer *w, bool on);
/* Say in the log, now and not with the next record, that it is durable up to where it was last synced: damage to its
 * last record is then told from a torn tail. Moved to the file, not synced. */
enum nokv_status rlog_write_mark(struct rlog_writer *w) MUST_CHECK;
/*
 * Group commit without holding the caller's lock over the sync: under the lock `end = rlog_end(w)` and rlog_flush(w);
 * without it io_sync(rlog_file(w)), while others append; under it again rlog_mark_synced(w, end). After a failure the
 * log is not to be synced again, nor used (rlog_mark_failed sees to that).
 */
struct io_file *rlog_file(const struct rlog_writer *w);
void rlog_mark_synced(struct rlog_writer *w, uint64_t end);
void rlog_mark_failed(struct rlog_writer *w);
/*
 * The log is complete, another one takes over the ring: append RLOG_SEAL, move everything to the file (page cache, no
 * sync) and never touch the ring again. Afterwards only rlog_seal (cuts the preallocated rest and syncs; may run on
 * another thread) and rlog_writer_destroy are allowed. Ends a hold without waiting: from here on it is the order of the
 * seals that counts.
 */
enum nokv_status rlog_detach(struct rlog_writer *w) MUST_CHECK;
/* File offset behind the last record; and up to where it is known to be durable. */
uint64_t rlog_end(const struct rlog_writer *w);
uint64_t rlog_synced(const struct rlog_writer *w);
uint64_t rlog_number(const struct rlog_writer *w);

/* ---- reader --------------------------------------------------------------------------------------------------- */

struct rlog_reader;

struct rlog_reader_options {
    struct io *io;
    const char *path;
    enum io_component component;
    enum rlog_kind kind;
    uint64_t number;
    struct slice ring; /* bytes of the shared buffer as found; empty: none. Borrowed */
};

struct rlog_end_report {
    uint64_t end_off;    /* behind the last valid record */
    uint64_t cut_bytes;  /* of the file behind it that are not zeros at the very end: what a torn tail loses */
    uint64_t ring_bytes; /* of the valid part, that only the ring had */
    bool sealed;
};

/* Refuses a header that is not of this kind or number (CORRUPT) or of a later version (NOT_SUPPORTED). A log whose file
 * ends before its header is complete reads as empty, torn. */
enum nokv_status rlog_reader_open(const struct rlog_reader_options *options,
                                  struct rlog_reader **out_reader) MUST_CHECK;
void rlog_reader_close(struct rlog_reader *r); /* NULL is accepted */
/*
 * The next RLOG_DATA payload: *out_more false at the end. Borrowed until the next call. *out_off: where its record
 * begins. CORRUPT names path and offset.
 */
enum nokv_status rlog_reader_next(struct rlog_reader *r, struct slice *out_payload, uint64_t *out_off,
                                  bool *out_more) MUST_CHECK;
/*
 * The record that next() just gave, at `off`, cannot be followed, because what it points to never reached the disk:
 * take the torn tail to begin with it. *out_cut false: a later mark of this log says that it was durable, so that
 * something else is damaged; *out_payload is the payload again, and reading goes on behind it. *out_cut true: the log
 * ends in front of it.
 */
enum nokv_status rlog_reader_reject(struct rlog_reader *r, uint64_t off, struct slice *out_payload,
                                    bool *out_cut) MUST_CHECK;
/* REQUIRES: next() said that there are no more, or the last record was cut. */
void rlog_reader_end(const struct rlog_reader *r, struct rlog_end_report *out_report);
/*
 * Does a mark anywhere in this log say that the logs before it were durable? *out_off: where. *out_bytes: how much of
 * its file, behind the header, is not zeros at the very end. REQUIRES: nothing has been read yet; nothing can be
 * afterwards.
 */
enum nokv_status rlog_reader_find_claim(struct rlog_reader *r, bool *out_found, uint64_t *out_off,
                                        uint64_t *out_bytes) MUST_CHECK;

/*
 * Make a log, read to its end, fit to be followed by another: write what no mark vouches for once more, past the
 * page cache, and what only the ring had, cut the tail, append RLOG_SEAL (unless sealed), sync. REQUIRES: read to its
 * end; the logs before it were repaired. If it was not sealed: the logs behind it have been removed, durably
 * (io_unlink, io_sync_dir), because once it is sealed the next reader would take them, or what the ring has of them,
 * for its continuation.
 */
enum nokv_status rlog_repair_tail(struct rlog_reader *r) MUST_CHECK;

#endif
