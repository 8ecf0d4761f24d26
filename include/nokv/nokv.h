// SPDX-License-Identifier: Apache-2.0
/*
 * nokv/nokv.h - the public interface of libnokv, an embedded, ordered, durable key-value engine for Linux.
 *
 * A database is a directory. Keys and values are byte strings of any content; keys are ordered as memcmp() orders
 * them, a prefix before what it is a prefix of. One process has a database open for writing at a time.
 *
 * Threads: a nokv_db may be used by any number of threads at once. A nokv_batch, a nokv_iter, a nokv_value and a
 * nokv_value_writer belong to one thread at a time. Snapshots may be shared.
 *
 * Errors: every fallible function returns a nokv_status and leaves its out-parameters untouched when that is not
 * NOKV_OK (but for nokv_get_copy() and nokv_multi_get(), which say so). nokv_error_message() says, per thread, what
 * went wrong last, where it was noticed and what to do.
 *
 * Durability: see nokv_sync. By default an acknowledged write survives the death of the process (kill -9), and a power
 * cut may lose the newest writes, never one in the middle and never half a batch.
 */
#ifndef NOKV_NOKV_H
#define NOKV_NOKV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nokv/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define NOKV_API __attribute__((visibility("default")))
#define NOKV_MUST_CHECK __attribute__((warn_unused_result))
#else
#define NOKV_API
#define NOKV_MUST_CHECK
#endif

#define NOKV_VERSION_MAJOR 0
#define NOKV_VERSION_MINOR 1
#define NOKV_VERSION_PATCH 0

/* Limits, checked at every entry; beyond them NOKV_ERR_INVALID (empty key) or NOKV_ERR_TOO_LARGE. */
#define NOKV_KEY_SIZE_MAX 65535u            /* bytes; the least is 1 */
#define NOKV_VALUE_SIZE_MAX (1ull << 30)    /* bytes; the least is 0 */
#define NOKV_BATCH_SIZE_MAX (2000ull << 20) /* bytes of one encoded batch */

typedef struct nokv_db nokv_db;
typedef struct nokv_batch nokv_batch;
typedef struct nokv_iter nokv_iter;
typedef struct nokv_snapshot nokv_snapshot;
typedef struct nokv_value_writer nokv_value_writer;

/* Borrowed bytes; who owns them and until when is said where one is returned. */
typedef struct nokv_slice {
    const void *data;
    size_t size; /* bytes */
} nokv_slice;

/*
 * A value that is read in place where it can be: `data` points into a table's or a value-log segment's mapping, into a
 * memtable, or (values that the value log reads with system calls, see nokv_vlog_read) into memory of its own. It stays
 * valid until nokv_value_release(), whatever is written, flushed or compacted meanwhile, at the cost of keeping that
 * file, memtable or memory alive. Must be released before nokv_close(). The `_` members are the library's.
 *
 * A disk that fails, or a file that somebody cuts short, under bytes that are read in place is an error of the call
 * that finds the value. Should it happen later, between that call and the program's own reading of `data`, it is a
 * SIGBUS in the program: nokv_get_copy() and nokv_get_range() have no such moment.
 */
typedef struct nokv_value {
    const void *data;
    size_t size; /* bytes */
    void *_pin;
    uint64_t _kind;
} nokv_value;

/* What an acknowledged write is safe from. */
typedef enum nokv_sync {
    NOKV_SYNC_DEFAULT = 0, /* in write options: what the database was opened with */
    NOKV_SYNC_NONE = 1,    /* death of the process; a power cut may lose the newest writes */
    NOKV_SYNC_COMMIT = 2,  /* a power cut as well: on stable storage before the call returns (group commit) */
} nokv_sync;

/* How a component's files are read or written. Not every pair makes sense; nokv_open() refuses those that do not. */
typedef enum nokv_io_model {
    NOKV_IO_DEFAULT = 0,
    NOKV_IO_STD = 1,    /* pread, pwrite, fdatasync through the page cache */
    NOKV_IO_MMAP = 2,   /* read-only mapping of sealed files */
    NOKV_IO_DIRECT = 3, /* O_DIRECT */
    NOKV_IO_URING = 4,  /* io_uring; falls back to NOKV_IO_STD where the kernel refuses, and the stats say so */
} nokv_io_model;

/* Pages of 2 MiB under mapped tables: a lookup then waits for fewer page walks of the processor. */
typedef enum nokv_huge_pages {
    NOKV_HUGE_PAGES_DEFAULT = 0, /* as the page cache has them: what is written through it mostly comes in such pages */
    NOKV_HUGE_PAGES_OFF = 1,     /* 4 KiB each */
    NOKV_HUGE_PAGES_ON = 2,      /* ... and what is not in memory is read 2 MiB at a time, while all tables together are
                                    less than a third of the memory. Where the kernel cannot (files need Linux 6.16 and
                                    a file system with large folios, or CONFIG_READ_ONLY_THP_FOR_FS): as DEFAULT */
} nokv_huge_pages;

/* How values are read out of the value log. */
typedef enum nokv_vlog_read {
    NOKV_VLOG_READ_AUTO = 0,   /* MMAP for values below 4 KiB, and for larger ones that are in the page cache (nearly
                                  always known without a system call); else PREAD, which reads them at one go */
    NOKV_VLOG_READ_MMAP = 1,   /* in place, through a mapping of sealed segments: no system call, no copy; what is read
                                  competes with the tables for the page cache */
    NOKV_VLOG_READ_PREAD = 2,  /* a copy, through the page cache */
    NOKV_VLOG_READ_DIRECT = 3, /* a copy past the page cache (O_DIRECT): nothing is evicted, nothing is kept */
    NOKV_VLOG_READ_URING = 4,  /* as PREAD, through io_uring: iterators then read many values at once */
} nokv_vlog_read;

/*
 * Options of nokv_open(). Set `struct_size` through nokv_options_init(), then change what you need. Zero means the
 * default in every field. New fields are only ever appended, so an older caller keeps working.
 */
typedef struct nokv_options {
    uint32_t struct_size;        /* set by nokv_options_init() */
    bool create_if_missing;      /* default true through nokv_options_init() */
    bool error_if_exists;        /* default false */
    bool read_only;              /* never writes a byte below the directory; default false */
    bool inline_background_work; /* no threads: flushes and compactions run inside the writing call; default false */
    nokv_sync sync;              /* default NOKV_SYNC_NONE */
    uint64_t memtable_bytes;     /* a memtable is flushed at this size; default 64 MiB, or a 32nd of the memory that the
                                    process may use (a container's limit) if that is less; 64 KiB to 4 GiB */
    uint32_t memtables_max;      /* active + waiting for flush, above which writers wait; default 4, 2 to 64 */
    uint32_t background_threads; /* flush and compaction; default 2, 1 to 64. A compaction runs in up to as many threads
                                    more, five steps of nice below the others */
    uint64_t wal_buffer_bytes;   /* shared buffer in front of the WAL; default 4 MiB, or a 256th of the memory; 64 KiB
                                    to 1 GiB, power of two */
    uint64_t table_bytes;        /* target size of a table file; default 64 MiB, 64 KiB to 4 GiB */
    uint32_t block_bytes;        /* target size of a data block; default 4096, a multiple of 4096, at most 64 KiB */
    uint32_t filter_bits_per_key; /* default 10, at most 32; UINT32_MAX turns filters off */
    uint64_t level_base_bytes;    /* size from which a deeper level is opened; default 256 MiB, at least table_bytes */
    uint32_t level_ratio;         /* each level is this much larger than the one above; default 10, 2 to 100 */
    uint32_t l0_compact_files;    /* level-0 files that start a compaction when nobody writes, or many read; default 2,
                                     2 to 256 */
    uint32_t l0_busy_files;       /* ... under a stream of writes; default 32, or 8 x l0_compact_files if that is more;
                                     at most 4096 */
    uint32_t l0_slowdown_files;   /* level-0 files from which writers are slowed; default 1.5 x l0_busy_files */
    uint32_t l0_stop_files;       /* slow-down reaches its strongest here; default 2 x l0_slowdown_files */
    /*
     * Point reads and scans of tables. NOKV_IO_MMAP: in place. STD, DIRECT, URING: blocks are copied into a cache, see
     * block_cache_bytes; every filter and index is in memory besides. NOKV_IO_DEFAULT: in place, but gets of a level of
     * the tree that turns out not to be in memory copy blocks with pread until it is, and while all tables together are
     * less than a third of the memory, what is around a block comes in with it. nokv_stats says what is in use.
     */
    nokv_io_model sst_read;
    nokv_io_model wal_write; /* default NOKV_IO_STD; NOKV_IO_DIRECT and NOKV_IO_URING are possible */
    /*
     * What flush and compaction write: STD, DIRECT or URING. Default: STD while tables and value log together are less
     * than an eighth of the memory, DIRECT from then on, so that what readers use stays in the page cache; tables that
     * will be read at once (fresh from a flush, or in the place of such that were in memory) are then brought in again.
     */
    nokv_io_model background_io;
    /*
     * The value log. By its size a value has one of three homes: in the table beside its key; in the value log, moved
     * there in key order when its memtable is flushed; or in the value log at once, before the WAL record that points
     * to it, so that its bytes are written to the device once. Values that are there already stay readable when these
     * change: one in a table moves to the value log when a compaction rewrites it, one in the value log moves, or comes
     * back into its table, when its segment is collected.
     */
    uint32_t value_separation_min; /* bytes; values from this size on go to the value log, at flush; default 512, at
                                      least 32; UINT32_MAX: none do */
    uint32_t value_direct_min;     /* ... and from this size on directly; default 16 KiB, at least value_separation_min;
                                      UINT32_MAX: none do */
    uint64_t vlog_segment_bytes;   /* a segment of the value log is closed at this size; default 256 MiB, 64 KiB to
                                      64 GiB. A larger value has a larger segment */
    double vlog_space_amp_max;     /* bytes of segments / bytes in them that are still pointed to, above which the
                                      background collects; default 1.3, 1.05 to 1000. While writes do not pause for a
                                      second, the part above 1 may be twice as large: what is collected later has less
                                      left that must be moved */
    nokv_vlog_read vlog_read;      /* default NOKV_VLOG_READ_AUTO */
    nokv_io_model vlog_write; /* direct values: default NOKV_IO_DIRECT (where the file system has it); STD and URING
                                 are possible */
    /* Blocks of tables in memory, where sst_read copies; unused with NOKV_IO_MMAP, whose cache is the page cache.
       Default a quarter of the memory that the process may use, at most 1 GiB; 64 KiB to 4 TiB. Values and iterators
       that are held keep their blocks beyond it. */
    uint64_t block_cache_bytes;
    nokv_huge_pages huge_pages; /* under mapped tables; default NOKV_HUGE_PAGES_DEFAULT */
} nokv_options;

typedef struct nokv_write_options {
    uint32_t struct_size; /* sizeof(nokv_write_options) */
    nokv_sync sync;
} nokv_write_options;

typedef struct nokv_read_options {
    uint32_t struct_size;          /* sizeof(nokv_read_options) */
    const nokv_snapshot *snapshot; /* NULL: what is acknowledged at the call */
} nokv_read_options;

/* What a nokv_iter walks over. Slices are copied. An empty slice (size 0) means no bound. */
typedef struct nokv_iter_options {
    uint32_t struct_size;          /* sizeof(nokv_iter_options) */
    const nokv_snapshot *snapshot; /* NULL: what is acknowledged when the iterator is created */
    nokv_slice lower;              /* the first key that may be shown (inclusive) */
    nokv_slice upper;              /* the first key that may not be shown any more (exclusive) */
    nokv_slice prefix;             /* only keys that begin with it; combines with the bounds */
} nokv_iter_options;

/* ---- version, errors ------------------------------------------------------------------------------------------ */

/* "0.1.0"; static. */
NOKV_API const char *nokv_version(void);
/* "NOKV_ERR_IO"; static. "NOKV_ERR_?" for an unknown number. */
NOKV_API const char *nokv_status_name(nokv_status status);
/* One line for people; static. */
NOKV_API const char *nokv_status_text(nokv_status status);
/*
 * What the last failed call on this thread ran into: what, in which file and where, what to do, and the source line
 * that noticed it. Owned by the library, valid until the thread's next failing call. "" when none failed yet.
 */
NOKV_API const char *nokv_error_message(void);

/* ---- open and close ------------------------------------------------------------------------------------------- */

/* Set every field to its default. */
NOKV_API void nokv_options_init_sized(nokv_options *options, size_t struct_size);
static inline void nokv_options_init(nokv_options *options)
{
    nokv_options_init_sized(options, sizeof *options);
}

/*
 * Open the database in directory `path` (its parent must exist), recovering what a dead process or a power cut left.
 * `options` NULL: all defaults. The handle goes to *out_db and is closed with nokv_close().
 * Errors: NOT_FOUND (missing, and create_if_missing is off, or read_only), EXISTS, INVALID (an option, named),
 * BUSY (owner's pid in the message), CORRUPT (file and offset in the message), NOT_SUPPORTED (format from the future),
 * IO, NO_SPACE, NO_MEMORY.
 */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_open(const char *path, const nokv_options *options, nokv_db **out_db);

/*
 * Wait for running background work to stop, write and sync the WAL and release everything. The handle is gone
 * afterwards whatever is returned. Iterators, snapshots and values must have been released: a bug otherwise, which is
 * asserted. Errors: IO, NO_SPACE, POISONED (the tail of the WAL could not be made durable; it is still in the shared
 * buffer). NULL is accepted.
 */
NOKV_API nokv_status nokv_close(nokv_db *db);

/* Remove every file of the database in `path` and the directory if it is then empty. BUSY while it is open. */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_destroy(const char *path);

/* ---- write ---------------------------------------------------------------------------------------------------- */

/* `options` NULL: the defaults. Atomic. Errors of all writes: INVALID, TOO_LARGE, READ_ONLY, POISONED, IO, NO_SPACE,
 * NO_MEMORY; nothing is written then (for IO and POISONED: nothing is acknowledged, and after a reopen the write may be
 * there or not, as a whole). */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_put(nokv_db *db, const void *key, size_t key_size, const void *value,
                                              size_t value_size, const nokv_write_options *options);
/* Deleting an absent key succeeds. On a full disk deletes go on longer than other writes: room is kept for some. */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_delete(nokv_db *db, const void *key, size_t key_size,
                                                 const nokv_write_options *options);

/* A batch is applied as a whole or not at all, in order; later entries win. The bytes are copied in. */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_batch_create(nokv_batch **out_batch);
NOKV_API void nokv_batch_destroy(nokv_batch *batch); /* NULL is accepted */
NOKV_API void nokv_batch_clear(nokv_batch *batch);
NOKV_API size_t nokv_batch_count(const nokv_batch *batch);
NOKV_API NOKV_MUST_CHECK nokv_status nokv_batch_put(nokv_batch *batch, const void *key, size_t key_size,
                                                    const void *value, size_t value_size);
NOKV_API NOKV_MUST_CHECK nokv_status nokv_batch_delete(nokv_batch *batch, const void *key, size_t key_size);
/* The batch is unchanged and may be written again or cleared. An empty batch succeeds and writes nothing. */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_write(nokv_db *db, nokv_batch *batch, const nokv_write_options *options);

/*
 * A value that never is in one buffer: open, append its parts in order, commit. Nothing is visible, and nothing is kept
 * after a crash, before the commit, which is then as nokv_put() of all of it. One thread at a time. `size_max`: bytes
 * that may come at the most, 0: not known (up to NOKV_VALUE_SIZE_MAX); a good guess saves a file of its own.
 * Must be committed or abandoned before nokv_close().
 * Errors of open and append: those of a write. After a failed append only abandon is allowed.
 */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_value_writer_open(nokv_db *db, const void *key, size_t key_size,
                                                            uint64_t size_max, nokv_value_writer **out_writer);
NOKV_API NOKV_MUST_CHECK nokv_status nokv_value_writer_append(nokv_value_writer *writer, const void *data, size_t size);
/* The writer is gone afterwards, also on an error. `options` NULL: the defaults. */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_value_writer_commit(nokv_value_writer *writer,
                                                              const nokv_write_options *options);
NOKV_API void nokv_value_writer_abandon(nokv_value_writer *writer); /* NULL is accepted */

/* ---- read ----------------------------------------------------------------------------------------------------- */

/*
 * Read in place: no copy, and on a hot key no system call and no allocation. *out_value must be released.
 * Errors: NOT_FOUND, INVALID, TOO_LARGE, CORRUPT, IO, NO_MEMORY (only a thread's first call).
 */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_get(nokv_db *db, const void *key, size_t key_size,
                                              const nokv_read_options *options, nokv_value *out_value);
/* Release what nokv_get() or nokv_multi_get() pinned; any thread may do it. A zeroed nokv_value is accepted. Clears it.
 */
NOKV_API void nokv_value_release(nokv_value *value);
/*
 * Copy the value to `buffer` (capacity bytes) and its full size to *out_size. TOO_LARGE, with *out_size set, when it
 * does not fit: the one case in which an out-parameter is written on an error. Other errors as nokv_get().
 */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_get_copy(nokv_db *db, const void *key, size_t key_size,
                                                   const nokv_read_options *options, void *buffer, size_t capacity,
                                                   size_t *out_size);

/*
 * Copy up to `size` bytes of the value from its byte `off` on to `buffer`: *out_size of them, less only at the value's
 * end (0 at and behind it). *out_value_size (may be NULL): of the whole value. Of a value in the value log only the
 * 64 KiB pieces that are touched are read and verified. Errors as nokv_get().
 */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_get_range(nokv_db *db, const void *key, size_t key_size,
                                                    const nokv_read_options *options, uint64_t off, void *buffer,
                                                    size_t size, size_t *out_size, uint64_t *out_value_size);

/*
 * Read many keys in one call: as nokv_get() of each at one and the same moment, and clearly faster. What is in memory
 * is looked up side by side; what is not is asked of the device together, tables first, then the value log, so that a
 * cold call of 64 keys waits for a few reads one after the other and not for 64 or 128. `keys`, `out_values` and
 * `out_statuses` are arrays of `count`, in any order, with repetitions if you like; key i is answered by
 * out_statuses[i]:
 *
 *      NOKV_OK                 out_values[i] must be released, as one of nokv_get()
 *      NOKV_ERR_NOT_FOUND      it is not there; out_values[i] is zeroed (and may be released, which does nothing)
 *      anything else           this key could not be read: INVALID (empty key), TOO_LARGE, CORRUPT, IO, NO_MEMORY,
 *                              NOT_SUPPORTED; out_values[i] is zeroed
 *
 * All keys are read in one state of the database: that of options->snapshot, or what is acknowledged at the call.
 * Returns NOKV_OK when every key was found or not found; otherwise the first of the other statuses (with its message),
 * all other keys being answered nevertheless: look at out_statuses, and release what was found.
 * When the call as a whole fails, every key has that status and nothing is to be released: INVALID (options without
 * struct_size; an array that is NULL), NO_MEMORY (for the call's own memory, up to some 200 KiB).
 * `count` may be 0 (NOKV_OK) or any number; 256 keys at the most are on their way at once. Keys are borrowed for the
 * call. Thread-safe, as nokv_get().
 */
#define NOKV_HAVE_MULTI_GET 1
NOKV_API NOKV_MUST_CHECK nokv_status nokv_multi_get(nokv_db *db, size_t count, const nokv_slice *keys,
                                                    const nokv_read_options *options, nokv_value *out_values,
                                                    nokv_status *out_statuses);

/* A consistent view of the whole database at this moment. Keeps superseded versions alive: release it. */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_snapshot_create(nokv_db *db, const nokv_snapshot **out_snapshot);
NOKV_API void nokv_snapshot_release(nokv_db *db, const nokv_snapshot *snapshot); /* NULL is accepted */

/*
 * An iterator shows the database as of its creation (or its snapshot). It starts out not valid: position it first.
 * `options` NULL: everything. It keeps the files that it reads alive; destroy it before nokv_close().
 */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_iter_create(nokv_db *db, const nokv_iter_options *options,
                                                      nokv_iter **out_iter);
NOKV_API void nokv_iter_destroy(nokv_iter *iter); /* NULL is accepted */
NOKV_API void nokv_iter_first(nokv_iter *iter);
NOKV_API void nokv_iter_last(nokv_iter *iter);
/* `key` is borrowed for the call, and may be what nokv_iter_key() of this iterator has shown last. */
NOKV_API void nokv_iter_seek(nokv_iter *iter, const void *key, size_t key_size);          /* first key >= key */
NOKV_API void nokv_iter_seek_for_prev(nokv_iter *iter, const void *key, size_t key_size); /* last key <= key */
NOKV_API void nokv_iter_next(nokv_iter *iter);                                            /* REQUIRES: valid */
NOKV_API void nokv_iter_prev(nokv_iter *iter);                                            /* REQUIRES: valid */
/* False at either end and after an error: look at nokv_iter_status() to tell them apart. */
NOKV_API bool nokv_iter_valid(const nokv_iter *iter);
/* NOKV_OK, or why the iterator stopped: CORRUPT, IO, NO_MEMORY. Positioning it anew clears it. */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_iter_status(const nokv_iter *iter);
/*
 * REQUIRES: valid. In place: the slice stays valid until the iterator is destroyed, not only until it moves
 * (the iterator holds every file and memtable that it reads). With an sst_read other than NOKV_IO_MMAP: until it moves.
 */
NOKV_API nokv_slice nokv_iter_key(const nokv_iter *iter);
/*
 * REQUIRES: valid. A value in a table or memtable, or in a mapped segment of the value log: in place, as the key. One
 * that the value log reads with system calls is read when it is asked for, and stays valid until the iterator moves.
 * When that read fails the slice is empty with data NULL, and the iterator is no longer valid: nokv_iter_status() says
 * why. Until it is positioned anew it still shows the key and its size, and nokv_iter_next() and nokv_iter_prev() leave
 * it as it is, so that a loop over nokv_iter_valid() ends there. A scan that does not ask for values reads none.
 */
NOKV_API nokv_slice nokv_iter_value(nokv_iter *iter);
/* REQUIRES: valid. Size of the value in bytes; never reads the value log. */
NOKV_API size_t nokv_iter_value_size(const nokv_iter *iter);

/* ---- maintenance ---------------------------------------------------------------------------------------------- */

/* Write the memtables to tables and wait until they are durable there. */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_flush(nokv_db *db);
/* Everything written so far is on stable storage when it returns (the WAL is synced, no table is built). */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_sync_wal(nokv_db *db);
/* Flush, then compact every key in [first, last] down to the bottom level. NULL: from the start, to the end. */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_compact_range(nokv_db *db, const void *first, size_t first_size,
                                                        const void *last, size_t last_size);
/* Wait until no flush and no compaction is due. Reports a background error if there is one. */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_wait_idle(nokv_db *db);

/*
 * Collect the value log now until its segments take at most `space_amp` times what is still pointed to (0: the option
 * vlog_space_amp_max; 1: as far as it goes), and wait. What snapshots, iterators or tables that were not merged yet
 * still point to is not garbage. Errors: those of background work; INVALID.
 */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_vlog_collect(nokv_db *db, double space_amp);

/* ---- inspection ----------------------------------------------------------------------------------------------- */

/* Progress of a long inspection; return false to stop it (the call then returns ABORTED). */
typedef bool (*nokv_progress_fn)(void *arg, uint64_t done_bytes, uint64_t total_bytes);

typedef struct nokv_verify_report {
    uint64_t files;       /* tables read */
    uint64_t bytes;       /* of those */
    uint64_t blocks;      /* checksums verified */
    uint64_t entries;     /* order, level bounds and kinds verified */
    uint64_t wal_records; /* verified when the database was opened */
    uint64_t segments;    /* of the value log, read */
    uint64_t segment_bytes;
    uint64_t values; /* in those, checksums verified */
} nokv_verify_report;

/*
 * Read every table and every segment through: every checksum, the order of the entries, the bounds in the MANIFEST,
 * every reference: each pointer of the tree leads to a record of its key, and the live bytes counted per segment are
 * those that the tables point to.
 */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_verify(nokv_db *db, nokv_progress_fn progress, void *arg,
                                                 nokv_verify_report *out_report);

#define NOKV_LEVELS_MAX 8

/* The components in whose name I/O is counted. */
typedef enum nokv_component {
    NOKV_COMPONENT_WAL = 0,
    NOKV_COMPONENT_MANIFEST,
    NOKV_COMPONENT_SST, /* reads of tables by gets and iterators */
    NOKV_COMPONENT_VLOG,
    NOKV_COMPONENT_FLUSH,
    NOKV_COMPONENT_COMPACTION,
    NOKV_COMPONENT_OTHER, /* CURRENT, LOCK, directories */
    NOKV_COMPONENT_COUNT
} nokv_component;

typedef struct nokv_component_stats {
    const char *name;        /* "wal"; static */
    const char *model;       /* "mmap"; static; what is in use, after any fall-back */
    uint64_t files;          /* now */
    uint64_t bytes;          /* now, on disk */
    uint64_t resident_bytes; /* in the page cache, when asked for; UINT64_MAX: not known */
    uint64_t faulted_files;  /* tables, segments: of those in use, a page could not be read since they were opened */
    uint64_t reads, read_bytes;
    uint64_t writes, write_bytes;
    uint64_t syncs;
    uint64_t calls; /* all system calls, those above included */
    uint64_t sync_ns_p50, sync_ns_p99, write_ns_p50, write_ns_p99, read_ns_p50, read_ns_p99;
} nokv_component_stats;

typedef struct nokv_level_stats {
    uint64_t files, bytes, entries, tombstones;
    uint64_t read_bytes, write_bytes; /* by compactions into this level */
    uint64_t compactions, trivial_moves;
    double score;      /* from 1.0 on a compaction is due */
    const char *model; /* how gets read it now: "mmap", "std", ...; static */
    uint64_t changes;  /* of that, since open */
} nokv_level_stats;

typedef struct nokv_stats {
    uint32_t struct_size; /* set by the caller: sizeof(nokv_stats) */
    nokv_component_stats components[NOKV_COMPONENT_COUNT];
    nokv_level_stats levels[NOKV_LEVELS_MAX];
    uint64_t sequence;                                            /* of the newest visible write */
    uint64_t puts, deletes, batches, gets, gets_found, iterators; /* since open */
    uint64_t user_bytes_written;                                  /* keys + values */
    uint64_t memtable_bytes, immutable_count, immutable_bytes;
    uint64_t snapshots;
    uint64_t flushes, compactions;
    uint64_t pending_compaction_bytes;
    uint64_t stall_ns, slowdown_ns;                  /* time that writers waited, and were slowed */
    uint64_t wal_groups, wal_records;                /* group commits, and the batches in them */
    uint64_t recovered_records, recovered_cut_bytes; /* at open: replayed; void, behind where the logs are torn */
    nokv_status background_error; /* NOKV_OK, or what stopped background work or poisoned the database */
    const char *io_uring;         /* "on", "not used yet", or why the kernel refused; static */
    uint64_t vlog_live_bytes;     /* of records that tables point to */
    uint64_t vlog_direct_bytes;   /* of values that were written to the value log ahead of the WAL, since open */
    uint64_t vlog_collections;    /* since open: passes, bytes of records moved, bytes of files removed */
    uint64_t vlog_moved_bytes, vlog_reclaimed_bytes;
    double vlog_space_amp_max;                         /* the option, as resolved */
    uint64_t block_cache_bytes, block_cache_bytes_max; /* of blocks in memory, and the bound; 0: none is copied */
    uint64_t block_cache_hits, block_cache_misses;     /* since open */
    uint64_t memory_bytes;     /* that the process may use, as found at open: what defaults are made from */
    const char *memory_source; /* "machine", "cgroup v2 memory.max", ...; static */
} nokv_stats;

/* Fill *stats (struct_size set). `with_residency` asks the kernel which pages are cached: system calls per file. */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_stats_get(nokv_db *db, bool with_residency, nokv_stats *stats);
/* The same as a text of some 40 lines. Free with nokv_free(). */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_stats_text(nokv_db *db, char **out_text);

/* A segment of the value log. */
typedef struct nokv_vlog_segment {
    uint64_t number;    /* of its file, vlog/NUMBER.vlog */
    const char *origin; /* who wrote it: "direct", "flush", "collect", "recovered" (a crash left it); static */
    const char *state;  /* "active", "sealing", "sealed", "unsealed" (a crash left it), "collecting", "damaged" (a value
                           in it cannot be read, it is not collected); static */
    uint64_t file_bytes;   /* on disk */
    uint64_t live_records; /* that tables point to */
    uint64_t live_bytes;   /* of those, with header, key and checksums */
    uint64_t pending;      /* not 0: memtables may point to it as well, which live_bytes does not count yet */
    uint64_t reads;        /* values read, since open */
} nokv_vlog_segment;
typedef bool (*nokv_vlog_segment_fn)(void *arg, const nokv_vlog_segment *segment);
/* Call fn for each segment, by ascending number, until it returns false. Valid during the call. Thread-safe. */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_vlog_segments(nokv_db *db, nokv_vlog_segment_fn fn, void *arg);

typedef struct nokv_salvage_record {
    nokv_slice key, value;
    uint64_t sequence; /* 0: a value that was written directly, ahead of its number */
    uint64_t off;      /* in the file */
} nokv_salvage_record;
typedef bool (*nokv_salvage_fn)(void *arg, const nokv_salvage_record *record);
typedef struct nokv_salvage_report {
    uint64_t number;           /* of the segment */
    uint64_t records;          /* sound, handed out */
    uint64_t value_bytes;      /* of those */
    uint64_t padding_bytes;    /* places that were given up: nothing is lost there */
    uint64_t unfinished_bytes; /* not sealed: what a crash left behind, or damage: they look alike */
    uint64_t damaged_bytes;    /* sealed: lost */
    bool sealed;
} nokv_salvage_report;
/*
 * Hand out every sound record of a segment file, damaged or not, without the database: older versions, deleted and
 * superseded values as well; the tree alone knows which one is current. Slices are valid during the call; false from fn
 * stops (ABORTED). Never writes. CORRUPT only when neither header nor footer of the segment can be read; IO, NO_MEMORY.
 */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_vlog_salvage(const char *path, nokv_salvage_fn fn, void *arg,
                                                       nokv_salvage_report *out_report);

typedef enum nokv_file_kind {
    NOKV_FILE_WAL = 1,
    NOKV_FILE_MANIFEST = 2,
    NOKV_FILE_SST = 3,
    NOKV_FILE_VLOG = 4
} nokv_file_kind;
/* One line of a dump, without a newline; valid during the call. Return false to stop. */
typedef bool (*nokv_dump_fn)(void *arg, const char *line);
/*
 * Print a database file for people, record by record or block by block, without opening the database. Damage is a line
 * of the dump and makes the call return CORRUPT at the end. Never writes.
 */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_dump_file(const char *path, nokv_file_kind kind, nokv_dump_fn line,
                                                    void *arg);

/* Bytes of a table's region: where it begins in the file, how long it is, how much of it is in the page cache. */
typedef struct nokv_residency_part {
    uint64_t off;
    uint64_t bytes;
    uint64_t resident_bytes; /* UINT64_MAX: not known */
} nokv_residency_part;

/* A file of a database, and what part of it is in the page cache. */
typedef struct nokv_residency_file {
    nokv_file_kind kind;
    const char *name; /* below the database's directory: "vlog/000007.vlog". WALBUF and VLOGBUF, the shared buffers, are
                         of the kind of what they stand in front of */
    int level;        /* of a table; -1: in none (being built, or replaced and not deleted yet), and other files */
    uint64_t bytes;   /* of the file */
    uint64_t resident_bytes;                 /* of those, in whole pages; UINT64_MAX: not known */
    nokv_residency_part data, filter, index; /* of a table. The rest of it is properties and its first and last page.
                                                All zero where its footer cannot be read */
    uint64_t range_bytes; /* the map: the file in ranges of this size, a power of two; the last may be shorter */
    size_t range_count;   /* 0: no map, because none was asked for, or nothing is known */
    const uint64_t *resident_ranges; /* range_count times resident bytes */
} nokv_residency_file;
typedef bool (*nokv_residency_fn)(void *arg, const nokv_residency_file *file);

/*
 * Ask the kernel what part of each file of the database in `path` is in the page cache, without opening the database:
 * it may be closed, or open in another process. Call fn for each file until it returns false (the call then returns
 * OK): the logs, the MANIFEST, tables by level (level 0: newest first; others: in key order; then those in no level),
 * segments; valid during the call. `ranges_max`: ranges that the maps of all files may have together, but for up to 31
 * that each file may have in any case, so that small ones have a map too; 0: no maps. Costs up to five system calls per
 * file and, where only a part of it is resident, one per range.
 *
 * Never writes. No page of a table or segment is brought in or counts as used: only CURRENT and the MANIFEST are read,
 * and past the page cache, where the file system has O_DIRECT, each table's footer. A file that vanishes meanwhile is
 * left out. The kernel answers (cachestat, before Linux 6.5 mincore) only the owner of a file and who may write it;
 * others get UINT64_MAX.
 * Errors: INVALID, NOT_FOUND (no database there), CORRUPT (CURRENT or the MANIFEST), NOT_SUPPORTED, IO, NO_MEMORY.
 */
NOKV_API NOKV_MUST_CHECK nokv_status nokv_residency(const char *path, size_t ranges_max, nokv_residency_fn fn,
                                                    void *arg);

/* Free memory that the library handed out and whose docstring names this function. NULL is accepted. */
NOKV_API void nokv_free(void *memory);

#ifdef __cplusplus
}
#endif
#endif
