// SPDX-License-Identifier: Apache-2.0
/*
 * db/segments.h - the segments of the value log as the database knows them: for readers, and for those who change them.
 *
 * A `struct segment` is one file for readers: constant, but that its reader is opened when first needed. A segment_set
 * is an immutable, sorted list of them; a view holds one, so whoever holds a view can follow every pointer in it. The
 * file is unlinked when the segment was removed and the last set that has it is gone.
 *
 * A `struct segment_entry` is what is known of the same file under the database's mutex: how much of it is pointed to,
 * who still writes to it. Its life:
 *
 *      direct:     active ──full──► full ──last user gone──► sealing ──► sealed ─┐
 *      flush, collect, or recovered after a crash:  installed with an edit ──────┴► settled ──► (collecting) ──►
 * removed
 *
 * [S1] live_records and live_bytes are the sum over the tables of the current version: they change with it, in the same
 *      critical section, out of the same edit.
 * [S2] A segment is settled when nobody writes to it and every pointer to it that is in a log is in a table as well (or
 *      superseded): its last log is below the database's log number. Only settled ones are collected or removed.
 * [S3] A log is never made durable before the bytes that its records point to: segments_sync comes first.
 */
#ifndef DB_SEGMENTS_H
#define DB_SEGMENTS_H

#include "base/pin.h"
#include "base/thread.h"
#include "lsm/manifest.h"
#include "lsm/picker.h"
#include "vlog/vlog.h"

struct nokv_db;

enum { SEGMENT_SHARDS = 8, SEGMENT_SLOTS = 2 };

struct segment {
    struct pinned_object object; /* references: sets and the entry; pins: values handed out, reads under way */
    /* set at creation, then constant */
    struct nokv_db *db;
    uint64_t number;
    struct vlog_writer *writer; /* owned; NULL: it is not being written */
    struct mutex open_mu;       /* taken by whoever opens the reader */
    /* set when it is replaced by the handle of the sealed file (mu), then constant */
    struct segment *successor; /* one reference: the file stays while this handle may still open it by its name */
    /* atomic */
    _Atomic(struct vlog_reader *) reader; /* NULL until first needed; release after it is whole, acquire by readers */
    _Atomic bool removed;                 /* the MANIFEST no longer names it */
    struct {
        _Alignas(CACHE_LINE) _Atomic uint64_t count;
    } reads[SEGMENT_SHARDS]; /* relaxed: by thread, so that readers write no common line */
};

struct segment_set {
    _Atomic uint32_t refs;
    size_t count;
    struct segment *segments[]; /* ascending by number */
};

/* Protected by the database's mu. */
struct segment_entry {
    struct segment *segment; /* one reference */
    struct segment_desc desc;
    uint64_t live_records, live_bytes; /* [S1] */
    uint64_t last_log;                 /* [S2] no record of a higher log points to it; 0: none of any */
    uint32_t users;                    /* who append, or have appended and not yet written their log record */
    int slot;                          /* of the shared buffers; -1: none */
    bool full, sealing, removing;      /* see above */
    bool collecting;                   /* whoever rewrites a table takes its values along */
    bool damaged;                      /* a value in it cannot be read: it is not collected */
};

/* One change of the list, prepared so that committing it cannot fail. Zero-initialised: no change. */
struct segment_change {
    struct segment_entry **added; /* new entries, or NULL where an entry is there already */
    struct segment **segments;    /* the handles of added segments */
    size_t count;
    struct segment_set *set; /* the list afterwards */
};

/* ---- segments.c: for readers ------------------------------------------------------------------------------------ */

/* NULL when it is not there. */
struct segment *segment_set_find(const struct segment_set *set, uint64_t number);
void segment_set_unref(struct segment_set *set); /* NULL is accepted */
/*
 * The value that `p` points to. In place (*out_in_place has data) where the options say so: it lives as long as the
 * segment is pinned or its set held; otherwise *out_in_place is empty and the caller reads with segment_read.
 */
enum nokv_status segment_read_in_place(struct segment *s, const struct vlog_pointer *p, struct slice user_key,
                                       struct slice *out_in_place) MUST_CHECK;
enum nokv_status segment_read(struct segment *s, const struct vlog_pointer *p, struct slice user_key, uint64_t off,
                              void *buffer, size_t size) MUST_CHECK;
/* The reader, if anything has been read of the segment yet; NULL: nothing has, and nothing is opened. */
static inline struct vlog_reader *segment_reader_now(const struct segment *s)
{
    return atomic_load_explicit(&s->reader, memory_order_acquire);
}
/* The same, opened if it was not yet. NOT_FOUND, CORRUPT, IO, NO_MEMORY. */
enum nokv_status segment_reader(struct segment *s, struct vlog_reader **out_reader) MUST_CHECK;
/* The whole value, copied: *out_value lies in *out_memory, which the caller frees with mem_free. */
enum nokv_status segment_read_whole(struct segment *s, const struct vlog_pointer *p, struct slice user_key,
                                    uint8_t **out_memory, struct slice *out_value) MUST_CHECK;
/* Decode the pointer that an entry holds, perhaps in a mapped table: guards itself. CORRUPT, IO. */
enum nokv_status segment_pointer(struct slice value, struct vlog_pointer *out_pointer) MUST_CHECK;
/* Decode the pointer that an entry holds and find its segment, which is borrowed from the set. CORRUPT, IO. */
enum nokv_status segment_follow(const struct segment_set *set, struct slice value, struct vlog_pointer *out_pointer,
                                struct segment **out_segment) MUST_CHECK;
static inline void segment_pin(struct segment *s)
{
    pinned_pin(&s->object);
}
static inline void segment_unpin(struct segment *s)
{
    pinned_unpin(&s->object);
}
uint64_t segment_reads(const struct segment *s);

/* ---- segments.c: for who changes the list (REQUIRES mu unless said) -----------------------------------------------
 */

/* A handle; takes `writer` (NULL: none) on success. One reference is the caller's. No lock needed. */
enum nokv_status segment_create(struct nokv_db *db, uint64_t number, struct vlog_writer *writer,
                                struct segment **out_segment) MUST_CHECK;
struct segment_entry *segments_find_locked(struct nokv_db *db, uint64_t number);
/* Everything that committing `edit` needs. `installing` is set, so that nobody else changes the list meanwhile. */
enum nokv_status segments_prepare_locked(struct nokv_db *db, const struct edit *edit,
                                         struct segment_change *out_change) MUST_CHECK;
/* `old`: the version that the edit changes. Takes what was prepared. */
void segments_commit_locked(struct nokv_db *db, const struct edit *edit, const struct version *old,
                            struct segment_change *change);
void segment_change_deinit(struct segment_change *change); /* no lock needed */
/* At open: from the MANIFEST's list, what the tables point to, and what the logs point to (`recovered`, in logs up to
 * `last_log`). CORRUPT when one is missing or has another size. On return `state` lists all. */
enum nokv_status segments_load(struct nokv_db *db, struct manifest_state *state, const uint64_t *recovered,
                               size_t recovered_count, uint64_t last_log) MUST_CHECK;
void segments_free(struct nokv_db *db); /* at the end of the database; no lock needed */
/* A segment that is to be written to, ahead of any edit; published at once. Takes `s` on success. REQUIRES: nobody is
 * installing. */
enum nokv_status segments_add_locked(struct nokv_db *db, struct segment *s, const struct segment_desc *desc,
                                     struct segment_entry **out_entry) MUST_CHECK;
bool segment_is_settled_locked(const struct nokv_db *db, const struct segment_entry *e);
/* Bytes on disk, also of one that grows. */
uint64_t segment_bytes_locked(const struct segment_entry *e);

/* ---- direct.c: values that are written ahead of the log (takes mu) ------------------------------------------------
 */

/* A direct write on its way to the log. */
struct direct_use {
    struct segment_entry *entry;
};

/*
 * Append a value to the active segment; on return it survives the process. The use is ended with direct_end once the
 * record that points to it is in a log, or will never be. TOO_LARGE, NO_SPACE, IO, NO_MEMORY, POISONED, as a write.
 */
enum nokv_status direct_append(struct nokv_db *db, struct slice key, struct slice value, struct direct_use *out_use,
                               struct vlog_pointer *out_pointer) MUST_CHECK;
/* Is it too much for the active segment, so that a batch or a stream of so many bytes has its own? */
bool direct_is_large(const struct nokv_db *db, uint64_t bytes);
/* As direct_append, to segments of a batch's own: that of `previous`, its last use (NULL: none yet), or a new one. The
 * values survive the process after direct_flush_own of all uses. */
enum nokv_status direct_append_own(struct nokv_db *db, const struct direct_use *previous, struct slice key,
                                   struct slice value, struct direct_use *out_use,
                                   struct vlog_pointer *out_pointer) MUST_CHECK;
enum nokv_status direct_flush_own(struct nokv_db *db, const struct direct_use *uses, size_t count) MUST_CHECK;
/* `log`: the log that has the record; 0: none. */
void direct_end(struct nokv_db *db, struct direct_use use, uint64_t log);
/* A segment for one stream alone, or the active one (size_max known and small). As direct_append. */
enum nokv_status direct_stream_begin(struct nokv_db *db, struct slice key, uint64_t size_max,
                                     struct direct_use *out_use, struct vlog_stream **out_stream) MUST_CHECK;
/* [S3] All bytes that were appended are durable on return. No lock held. */
enum nokv_status segments_sync(struct nokv_db *db) MUST_CHECK;
/* Write the buffers that appenders have filled and left. What fails stays theirs. */
void segments_write_full(struct nokv_db *db);
/* Is one waiting to be sealed? Marks it. REQUIRES mu. */
struct segment_entry *segments_pick_seal_locked(struct nokv_db *db);
/* Seal it and put it into the MANIFEST. No lock held. */
enum nokv_status segment_seal_run(struct nokv_db *db, struct segment_entry *e) MUST_CHECK;
/* At close, with no other thread left: seal what is still open, remove what nothing points to. */
enum nokv_status segments_close(struct nokv_db *db) MUST_CHECK;

/* ---- collect.c: garbage (REQUIRES mu unless said) -----------------------------------------------------------------
 */

/* The numbers of the segments that are being collected, ascending, for a job; freed with mem_free. *out_scattered: some
 * are of direct values, which came in any order. */
enum nokv_status collect_victims_locked(struct nokv_db *db, uint64_t **out_numbers, size_t *out_count,
                                        bool *out_scattered) MUST_CHECK;
/* Choose what to collect, when more than the option allows is garbage. */
void collect_choose_locked(struct nokv_db *db);
/* Tables that point to what is being collected and that nobody works on; *out_found false: there are none. */
enum nokv_status collect_pick_locked(struct nokv_db *db, struct compaction_inputs *out_inputs,
                                     bool *out_found) MUST_CHECK;
/* Segments that nothing points to: marks them. An edit that removes them; false: there are none. */
enum nokv_status collect_pick_dead_locked(struct nokv_db *db, struct edit *edit, bool *out_found) MUST_CHECK;
void collect_unpick_dead_locked(struct nokv_db *db, const struct edit *edit);
/* A job met values that it could not read. */
void collect_note_damaged_locked(struct nokv_db *db, const uint64_t *numbers, size_t count);
/* Is there work for the collector, now or once others are done? */
bool collect_is_due_locked(struct nokv_db *db);
/* Is there more garbage than the option allows, once nobody writes? */
bool collect_is_over_locked(const struct nokv_db *db);
/* How many bytes of direct values one memtable should point to. */
uint64_t collect_mem_values_max_locked(const struct nokv_db *db);
/* How far the value log is over its bound: 0 (not at all) to 1 (writers should be as slow as they may get). */
double collect_debt_locked(const struct nokv_db *db);

#endif
