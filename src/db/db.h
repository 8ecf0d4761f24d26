// SPDX-License-Identifier: Apache-2.0
/*
 * db/db.h - the database handle inside the engine: what the files of src/db share.
 *
 *   open.c        open, close, destroy                  recover.c, recover_values.c  reading the logs back
 *   write.c       the write path, group commit, rotation read.c, iter.c  get, snapshots; iterators
 *   background.c  seal, flush, compact, wait for them    install.c  version edits, views, poison, throttle
 *   batch.c       the payload of a log record            options.c  defaults, limits, options of one call
 *   segments.c    the value log's segments (segments.h)  direct.c   values written ahead of the log
 *   collect.c     garbage of the value log               stream.c   values that come in parts
 *   warm.c        what is to be in memory
 *   multi_get.c   many keys in one call                  stats.c    figures
 *   ahead.c       values that an iterator reads ahead    dump.c, verify.c  inspection
 *   check.c       what must hold between two calls
 *
 * Locks, in the order in which they may be taken: write_mu, mu, sync_mu, obsolete_mu. Gets take none of them: they
 * see one immutable `struct view`, published in `view` and reclaimed with epochs. Iterators neither, but for `mu` when
 * one ends that was the last to hold a view.
 *
 * Who may touch what is said at each group of fields.
 */
#ifndef DB_DB_H
#define DB_DB_H

#include "base/epoch.h"
#include "base/thread.h"
#include "cache/cache.h"
#include "db/batch.h"
#include "db/segments.h"
#include "lsm/compaction.h"
#include "lsm/manifest.h"
#include "mem/mem.h"
#include "nokv/nokv.h"
#include "rlog/rlog.h"

enum { IMMUTABLES_MAX = 63, COUNTER_SLOTS = 64 };

/* What a reader sees: immutable, counted. The database's own reference is dropped through epoch_retire. */
struct view {
    struct epoch_node node;
    _Atomic uint32_t refs;
    struct memtable *mem;                        /* active */
    struct memtable *immutables[IMMUTABLES_MAX]; /* newest first */
    size_t immutable_count;
    struct version *version;
    struct segment_set *segments; /* at least those that anything in this view points to */
};

/* A full memtable that waits for its flush, and the first log that holds entries of it. */
struct immutable {
    struct memtable *mem;
    uint64_t log_number;
    uint64_t last_seq; /* of its entries */
};

/* A log that is complete: it waits to be synced and cut, or for its memtable's flush, and then to be deleted. */
struct old_log {
    uint64_t number;
    struct rlog_writer *writer; /* NULL once sealed, or not needed any more */
    bool sealing;
};

/* A file that is to be unlinked. */
struct obsolete_file {
    uint64_t number;
    bool is_segment;
};

/* A reader thread's own line. */
struct counter_slot {
    _Alignas(CACHE_LINE) _Atomic uint64_t gets;
    _Atomic uint64_t gets_found;
    _Atomic uint64_t iterators;
};

struct nokv_snapshot {
    uint64_t seq;
    struct nokv_snapshot *prev, *next; /* protected by mu; ascending by seq */
};

struct nokv_db {
    /* set at open, then constant */
    struct io *io;
    bool owns_io;
    char *dir;
    struct nokv_options options; /* every field resolved */
    struct picker_options picker;
    struct sst_options sst;
    struct table_env env;
    uint64_t memory_bytes; /* that this process may use */
    const char *memory_source;
    uint64_t long_scan_bytes; /* of the value log, from which an iterator counts as long */
    struct cache *cache;      /* of blocks of tables that are copied; NULL: none ever is */
    struct io_lock *lock;
    struct io_shared ring;
    struct arena_pool pool; /* of the memtables */
    uint64_t recovered_records, recovered_cut_bytes;

    /* protected by write_mu: held over a whole write, never over a sync */
    struct mutex write_mu;
    struct rlog_writer *wal;
    bool wal_held;          /* the log before is not durable yet: see rlog_hold */
    uint64_t rotated_syncs; /* sync_entered at the last rotation */
    bool spare_asked;       /* the background was woken to make the next log */
    struct memtable *mem;   /* mem and mem_log_number: changed with mu held as well, so either lock allows reading */
    uint64_t mem_log_number;
    uint64_t mem_value_bytes;     /* of direct values that mem points to */
    uint64_t mem_value_bytes_max; /* from here on it is flushed, small as it may be */
    uint64_t last_seq;
    uint64_t throttle_free_ns; /* when the next throttled write may go on */
    uint64_t puts, deletes, batches, user_bytes;

    /* protected by mu */
    struct mutex mu;
    struct cond work_cond;                       /* background threads wait for work */
    struct cond log_cond;                        /* and the one of the logs */
    struct cond state_cond;                      /* everybody else waits for a change of what follows */
    struct immutable immutables[IMMUTABLES_MAX]; /* oldest first */
    size_t immutable_count;
    struct old_log *old_logs; /* ascending */
    size_t old_log_count, old_log_capacity;
    struct version *version;
    struct manifest *manifest;
    uint64_t next_number;
    uint64_t log_number;  /* logs below it may go */
    uint64_t flushed_seq; /* all writes up to it are in tables; the first log in use begins behind it */
    bool installing, flushing, level0_busy, closing, manual;
    uint32_t garbage_running; /* threads that end what nobody sees, outside of a job */
    bool seals_eagerly;       /* somebody syncs: old logs become durable at once, not only when that is wanted */
    bool seal_wanted;         /* somebody waits until all old logs are durable */
    bool tidy;                /* the writes pause: merge level 0 sooner; until the next rotation */
    uint64_t tick_seq;        /* visible_seq when a background thread last ran out of work */
    uint64_t merged_reads;    /* reads_weighed() when level 0 was last merged */
    uint32_t compactions_running;
    uint32_t jobs_running;
    enum nokv_status soft_error; /* background work failed for want of space or memory; retried */
    uint64_t soft_epoch;         /* how often that was forgotten, to have it tried again: see soft_error_forget */
    char soft_message[512];
    char poison_message[512];
    struct nokv_snapshot snapshots; /* list head */
    uint64_t snapshot_count;
    pthread_t *threads;    /* of flushes and compactions, and last, that of the logs */
    uint32_t thread_count; /* of those for flushes and compactions */
    bool has_log_thread;
    struct rlog_writer *spare_wal; /* the next log, made ahead of time */
    bool making_spare;
    uint64_t stray_log; /* one that could not be made, and perhaps not removed; 0: none. Who makes a log has it */
    uint64_t flushes, compactions;
    struct nokv_level_stats level_stats[LEVELS_MAX]; /* counters of compactions into each level */
    uint64_t stall_ns;
    struct segment_entry **segments; /* ascending by number */
    size_t segment_count, segment_capacity;
    struct segment_set *segment_set; /* the same, for readers */
    struct segment_entry *active_segment;
    bool making_segment;
    uint64_t wal_writing; /* the log whose buffer is being written by the log thread; 0: none */
    bool slot_used[SEGMENT_SLOTS];
    struct io_shared vlog_buffers; /* SEGMENT_SLOTS writers' buffers; opened with the first direct value */
    double collect_amp;            /* what nokv_vlog_collect asks for; 0: the option's */
    uint64_t collections, moved_bytes, reclaimed_bytes;

    /* protected by sync_mu: group commit */
    struct mutex sync_mu;
    struct cond sync_done[2]; /* those whom a sync makes durable, by its generation: I1 of commit.c */
    struct cond sync_cond;    /* a sync is over */
    bool sync_running;
    bool sync_gathering; /* and what it covers is not fixed yet */
    uint64_t sync_generation;
    uint64_t sync_running_log, sync_running_end;
    struct io_file *sync_running_file;
    struct cond sync_gathered;           /* the leader waits for others to come */
    uint64_t sync_entered, sync_covered; /* calls of commit_sync; those of them before the last sync's end was fixed */
    uint64_t sync_expected, sync_ns;     /* writers that were about the last sync; how long it took */
    uint64_t synced_log, synced_end;     /* logs below synced_log, and this one up to synced_end, are durable */
    uint64_t wal_groups;

    /* protected by obsolete_mu */
    struct mutex obsolete_mu;
    struct obsolete_file *obsolete; /* to unlink */
    size_t obsolete_count, obsolete_capacity;

    /* atomic */
    _Atomic(struct view *) view;        /* writer: who holds mu; seq_cst, see base/epoch.h */
    _Atomic uint64_t visible_seq;       /* writer: who holds write_mu; release after the memtable has the entries */
    _Atomic int poisoned;               /* a nokv_status; once set it stays */
    _Atomic bool cancel;                /* closing: long background work stops */
    _Atomic uint32_t unsealed_logs;     /* old logs with a writer: not durable, but needed; writer: who holds mu */
    _Atomic uint64_t level0_ns_per_kib; /* how much level 0 slows writers; 0: not; writer: who holds mu */
    _Atomic uint32_t waiting_memtables; /* immutable_count, for the throttle; writer: who holds mu */
    _Atomic uint64_t slowdown_ns, wal_records;
    /* what writers ask of the log thread, with background_ask; relaxed */
    _Atomic bool wal_full, values_full; /* the log's buffer, one of a segment waits to be written */
    _Atomic bool memory_wanted;         /* memtables need chunks soon */
    _Atomic bool spare_wanted;          /* the next log is needed soon */
    _Atomic uint64_t direct_bytes;      /* of direct values since open */
    _Atomic uint32_t segment_writers;   /* segments that are being written; writer: who holds mu */
    _Atomic bool warmed;                /* warm_run has begun; relaxed: it is the flag alone */
    _Atomic bool is_plentiful;          /* memory is, for all files there are; relaxed; writer: who holds mu */
    _Atomic bool values_fit;            /* the value log has room in memory; as above */
    _Atomic bool tables_fit;            /* all tables have room in memory; relaxed; writer: who holds mu */
    _Atomic bool cache_takes_all;       /* all tables have room in the block cache, not so the value log; as above */
    _Atomic bool huge_pages;            /* ... and are to be in pages of 2 MiB; as above */
    struct coldness values_cold;        /* are small values of the value log in memory? */
    _Atomic uint64_t references;        /* iterators and snapshots that close must not find */
    _Atomic uint32_t hot_groups;        /* in a row, of nokv_multi_get, that found all cached; relaxed: a guess */

    struct counter_slot counters[COUNTER_SLOTS];
};

/* ---- open.c ---------------------------------------------------------------------------------------------------- */

/* nokv_open on a given environment (tests: the simulated disk). The io stays the caller's. */
enum nokv_status db_open(struct io *io, const char *path, const nokv_options *options,
                         struct nokv_db **out_db) MUST_CHECK;
/*
 * Copy the options of one call, whose struct may be an older caller's (shorter: the rest is zero) or a younger one's
 * (longer: refused when it sets what this version does not have). INVALID: struct_size was not set.
 */
enum nokv_status call_options_copy(const void *given, const char *type, size_t size, void *out_options) MUST_CHECK;
/* Check and fill in, with defaults for `memory` bytes. INVALID names the option. */
enum nokv_status options_resolve(const nokv_options *given, uint64_t memory, nokv_options *out_options) MUST_CHECK;

/* ---- recover.c ------------------------------------------------------------------------------------------------- */

/* The logs that hold what the tables do not, read into a memtable. */
struct recovery {
    struct memtable *mem; /* out: one reference is the caller's */
    uint64_t last_seq;    /* in: of the tables; out: of everything */
    uint64_t *logs;       /* out: numbers from the first needed log on, ascending; from `used` on empty or void */
    size_t log_count, log_capacity, used;
    uint64_t number_max;            /* out: the highest number of any file in the directory */
    uint64_t records, cut_bytes;    /* out */
    struct recovery_values *values; /* in: what pointers are checked against */
};

struct recovered_segment; /* recover_values.c */

/* The segments that replayed records point to, and what is left of those that were being written. */
struct recovery_values {
    struct nokv_db *db;
    const struct manifest_state *state;
    bool repair;
    struct buf shared;                  /* what the shared buffers hold */
    struct recovered_segment *segments; /* ascending by number */
    size_t count, capacity;
};

/* ---- recover_values.c ------------------------------------------------------------------------------------------ */

enum nokv_status recovery_values_init(struct nokv_db *db, const struct manifest_state *state, bool repair,
                                      struct recovery_values *out_values) MUST_CHECK;
void recovery_values_deinit(struct recovery_values *v);
/*
 * Note what a record points to. The bytes may never have reached the disk: *out_sound says whether they are all there
 * (with repair: written to their segment, not yet synced).
 */
enum nokv_status recovery_values_check(struct recovery_values *v, struct slice payload, const char *where,
                                       bool *out_sound) MUST_CHECK;
/* Read-only: the value of a pointer whose bytes only the shared buffers have; data NULL: the pointer will do. */
enum nokv_status recovery_values_inline(struct recovery_values *v, const struct batch_entry *entry,
                                        struct slice *out_value) MUST_CHECK;
/* Everything that was found sound is durable. */
enum nokv_status recovery_values_sync(struct recovery_values *v) MUST_CHECK;
/* The numbers of all segments that were pointed to; freed with mem_free. */
enum nokv_status recovery_values_numbers(const struct recovery_values *v, uint64_t **out_numbers) MUST_CHECK;
/*
 * Replay the logs from the one that the MANIFEST begins with on. With `repair` empty and void logs at the end are
 * removed, the last one in use is cut and sealed, what only the shared buffer had is written to it, and all are made
 * durable: afterwards the buffer may be used for another log. CORRUPT, IO, NO_MEMORY.
 */
enum nokv_status recovery_run(struct nokv_db *db, const struct manifest_state *state, bool repair,
                              struct recovery *r) MUST_CHECK;
void recovery_deinit(struct recovery *r);
/* The bytes of a shared buffer as the last process left them. Absent is empty. */
enum nokv_status shared_buffer_read(struct nokv_db *db, const char *path, enum io_component component,
                                    struct buf *out) MUST_CHECK;

/* ---- install.c (all REQUIRE mu unless said) -----------------------------------------------------------------------
 */

uint64_t db_allocate_number(void *db); /* takes mu */
/* Room for a view, got before the point from which nothing may fail. Free an unused one with mem_free. No lock needed.
 */
enum nokv_status db_view_alloc(struct view **out_view) MUST_CHECK;
/* Publish what the fields say now. Takes `v`. */
void db_publish_view_locked(struct nokv_db *db, struct view *v);
/* Make `edit` durable and current; may release and retake mu. `flushed`: the oldest immutable goes with it. After
 * NO_SPACE and NO_MEMORY the files that it adds may be removed, after other failures they must stay. */
enum nokv_status db_install_locked(struct nokv_db *db, struct edit *edit, struct table **opened, size_t opened_count,
                                   bool flushed) MUST_CHECK;
void view_ref(struct view *v);
/* No lock needed. True when that was the end of the view. */
bool view_unref(struct view *v);
/* The first failure of log, MANIFEST or sync: from now on every write fails. Takes mu. Returns `status`, but never
 * NO_SPACE or NO_MEMORY (IO, POISONED instead): they say that nothing was written. */
enum nokv_status db_poison(struct nokv_db *db, enum nokv_status status, const char *what) MUST_CHECK;
/* NOKV_OK, or why nothing may be written. No lock needed. */
enum nokv_status db_check_writable(struct nokv_db *db) MUST_CHECK;
/* Is there an old log up to number `newest` that is needed and not durable? */
bool db_has_unsealed_locked(const struct nokv_db *db, uint64_t newest);
/*
 * The speed that a debt from 0 (none) to 1 (as far as it may go) leaves to all writers together, as its inverse: from
 * 512 MiB/s down to 1 MiB/s, exponentially, so that each step of the debt takes the same part of the speed, and writers
 * meet the speed of the background work somewhere on the way without a sudden stop. 0: no limit. Pure.
 */
uint64_t throttle_ns_per_kib(double debt);
/* Note what the throttle depends on, after level 0 or the waiting memtables changed. */
void db_update_throttle_locked(struct nokv_db *db);
void db_obsolete_table(struct table_env *env, uint64_t number);
void db_obsolete_segment(struct nokv_db *db, uint64_t number); /* takes obsolete_mu */

/* ---- background.c ----------------------------------------------------------------------------------------------- */

enum nokv_status background_start(struct nokv_db *db) MUST_CHECK;
void background_stop(struct nokv_db *db);
/* There may be work: wake the threads, or, without threads, nothing (see background_run_inline). */
void background_wake_locked(struct nokv_db *db);
/* Have the log thread do something soon: a hint, for which no lock is taken. */
void background_ask(struct nokv_db *db, _Atomic bool *wish);
/* The callback of the memtables' pool. */
void background_want_memory(void *arg);
/* Without threads: do what is due now, until nothing is. With threads: does nothing. Takes mu. */
void background_run_inline(struct nokv_db *db);
/* Until something has happened to the memtables that wait: a flush under way in another thread (without background
 * threads: in another call), or one of this thread's own. Releases mu meanwhile. */
void background_flush_wait_locked(struct nokv_db *db);
/* Unlink what nobody references any more. Takes obsolete_mu. */
void background_unlink_obsolete(struct nokv_db *db);
/* Is it worth a merge to have few sorted runs? Nobody writes, or many have read since the last merge. */
bool background_is_tidy_locked(struct nokv_db *db);
/* The sequence numbers of all snapshots, ascending, for a compaction; freed with mem_free. */
enum nokv_status background_snapshots_locked(struct nokv_db *db, uint64_t **out_seqs, size_t *out_count) MUST_CHECK;

/* ---- check.c --------------------------------------------------------------------------------------------------- */

/* Levels above 0 sorted and disjoint by user key, level 0 by age; the sums of each level. CORRUPT. */
enum nokv_status check_levels(const struct version *v) MUST_CHECK;
/*
 * Every invariant of a database between two calls; CORRUPT names the first that does not hold, and where. REQUIRES: no
 * other call is under way, and no iterator, snapshot, value or value writer is open; with background threads, after
 * nokv_wait_idle(). Not poisoned: what a failed job left behind is found as what it is, an orphan.
 */
enum nokv_status db_check(struct nokv_db *db) MUST_CHECK;
/* The same but for what is held: readers of other databases of the process keep what was replaced. */
enum nokv_status db_check_beside_readers(struct nokv_db *db) MUST_CHECK;

/* ---- warm.c --------------------------------------------------------------------------------------------------- */

/* Note what has room in memory, after the version or the segments changed. REQUIRES mu. */
void warm_note_locked(struct nokv_db *db);
/* How flushes and compactions write now. */
enum io_model warm_write_model(const struct nokv_db *db);
/* Are the inputs of a compaction in memory, for the most part, and worth keeping there? */
bool warm_are_hot(const struct nokv_db *db, const struct compaction_inputs *in);
/* Before the outputs of a job are installed: bring in what will be read at once and was written past the page cache. */
void warm_outputs(const struct nokv_db *db, const struct compaction_job *run, bool are_hot);
/* Filters and indexes into memory, until they take their share of it. For a background thread, at open. */
void warm_run(struct nokv_db *db);

/* ---- commit.c ------------------------------------------------------------------------------------------------- */

/* Every write so far is on stable storage. */
enum nokv_status db_sync_all(struct nokv_db *db) MUST_CHECK;
/* The log `log` is durable up to `end`, and all before it. */
enum nokv_status commit_sync(struct nokv_db *db, uint64_t log, uint64_t end) MUST_CHECK;
/* The sealer or a failure has changed what those in commit_sync wait for. REQUIRES sync_mu. */
void commit_wake_all_locked(struct nokv_db *db);

/* ---- write.c ---------------------------------------------------------------------------------------------------- */

/* Create the log file `number` in front of the ring. `ahead`: reserve all of its space at once. */
enum nokv_status wal_create(struct nokv_db *db, uint64_t number, bool ahead,
                            struct rlog_writer **out_writer) MUST_CHECK;
/* Make the memtable immutable and begin a new one with a new log. REQUIRES: write_mu. */
enum nokv_status db_rotate(struct nokv_db *db) MUST_CHECK;
/* What a write asks for, the default filled in. INVALID. */
enum nokv_status write_sync_of(struct nokv_db *db, const nokv_write_options *options, nokv_sync *out_sync) MUST_CHECK;
/* Write a pointer to a value that was appended; ends the use. */
enum nokv_status db_write_pointer(struct nokv_db *db, struct slice key, const struct vlog_pointer *p,
                                  struct direct_use use, nokv_sync sync) MUST_CHECK;

/* ---- read.c ----------------------------------------------------------------------------------------------------- */

/* The current view with a reference. REQUIRES: thread registered. */
struct view *db_view_acquire(struct nokv_db *db);
struct counter_slot *db_counters(struct nokv_db *db);
/* What a read sees. After the view was loaded: I1 of install.c. */
uint64_t db_read_seq(const struct nokv_db *db, const nokv_snapshot *snapshot);
/* The current view with a reference, and what is to be read in it: a sequence number up to which the view has
 * everything, the segments of direct values included: I1 of install.c. REQUIRES: thread registered. */
struct view *db_view_acquire_at(struct nokv_db *db, const nokv_snapshot *snapshot, uint64_t *out_seq);
/* Give up a reference; REQUIRES: no lock held. What ends by that is ended by a background thread. */
void db_view_release(struct nokv_db *db, struct view *v);

/* What one lookup found, and what keeps it in place. */
struct found {
    struct lookup lookup;
    struct memtable *mem; /* or */
    struct sst_reader *table;
};

/* A value that was found: in place, or where it is in the value log. Either holds a pin. */
struct located {
    nokv_value value;        /* segment NULL */
    struct segment *segment; /* pinned */
    struct vlog_pointer pointer;
};

/* Look in the memtables; what is not found there may be in the tables. REQUIRES: the view stays. */
void db_find_in_memory(const struct view *v, struct slice key, uint64_t seq, struct found *out_found);
/* ... and in the tables. */
enum nokv_status db_find(const struct view *v, struct slice key, uint64_t seq, struct found *out_found) MUST_CHECK;
/* Pin what was found; takes its holder. NOT_FOUND: absent or deleted; NOT_SUPPORTED, CORRUPT. REQUIRES: the view stays
 * during the call, the thread is registered. */
enum nokv_status db_found_locate(const struct view *v, struct found *f, struct located *out) MUST_CHECK;
/* Give out what was located in the value log (segment not NULL); the pin goes into the value, or is dropped. `request`:
 * a read of it that was prepared and done, whose buffer is the caller's unless it has become the value's, and is NULL
 * then. NULL: none was. */
enum nokv_status db_located_fetch(struct located *l, struct slice key, struct io_read_request *request,
                                  nokv_value *out_value) MUST_CHECK;

/* ---- ahead.c: the entries that an iterator comes to next, and their values; one thread -----------------------------
 */

struct ahead;

/* NULL: no memory. Borrows all three until its end; while it has the current entry, nobody else moves the source. */
struct ahead *ahead_create(struct iter *source, const struct segment_set *segments, struct io *io) MUST_CHECK;
void ahead_destroy(struct ahead *a); /* NULL is accepted */
/*
 * The current entry's value is wanted, and likely the next ones' in this direction: look ahead unless that was done.
 * From now on the returned iterator, which nobody but this module moves, has the current entry. Cannot fail.
 */
const struct iter *ahead_look(struct ahead *a, bool backward) MUST_CHECK;
/* The current entry's value, if it came in time and is sound; valid until the next step, look or return. False: read it
 * in the ordinary way. REQUIRES: `p` is the entry's pointer, `user_key` its key, `segment` where it leads, and that was
 * opened. */
bool ahead_take(const struct ahead *a, const struct segment *segment, const struct vlog_pointer *p,
                struct slice user_key, struct slice *out_value) MUST_CHECK;
/* Move on in the direction of the look. Returns what has the current entry now: this module's iterator, or the source,
 * which may have come to its end. REQUIRES: it has the current entry. */
const struct iter *ahead_step(struct ahead *a) MUST_CHECK;
/* The source takes over at the current entry: it is returned, not valid when it could not. REQUIRES: as before. */
const struct iter *ahead_return(struct ahead *a) MUST_CHECK;
void ahead_go_long(struct ahead *a);   /* the scan is long: from now on past the page cache, until ahead_forget */
void ahead_forget(struct ahead *a);    /* the source is positioned anew */
void ahead_slow_down(struct ahead *a); /* a value was not wanted: begin with few entries the next time */

#endif
