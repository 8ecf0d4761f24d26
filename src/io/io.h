// SPDX-License-Identifier: Apache-2.0
/*
 * io/io.h - everything that the engine asks of the operating system: files, directories, locks, the clock.
 *
 * A `struct io` is one environment: the real one (io_real_create) or the simulated disk (io/sim.h). A file is opened in
 * it with an I/O model, for a component; the model chooses the backend, the component chooses where its calls are
 * counted. The engine never calls the kernel for files by any other way.
 *
 * Offsets and sizes are bytes. A path is relative to the process's working directory or absolute; the simulated disk
 * takes it as a name. Every function returns NOKV_OK or a status whose message names the path, the operation and the
 * errno. EINTR and short transfers are handled below this interface. Thread-safe, except that one file must not be
 * closed while it is used.
 */
#ifndef IO_IO_H
#define IO_IO_H

#include "base/base.h"
#include "base/histogram.h"

struct io;
struct io_file;

/* How a file is accessed; the conformance suite runs over all of them. */
enum io_model {
    IO_STD,  /* pread, pwrite, fdatasync */
    IO_MMAP, /* sealed files only: io_map; reads copy out of the mapping; writes are refused */
    /* O_DIRECT; any offset, size and buffer may be asked for, alignment is handled inside. One handle writes a file at
     * a time, and others may find it padded with zeros to a whole block until that one syncs, maps or closes it. Falls
     * back to IO_STD where the file system refuses */
    IO_DIRECT,
    IO_URING, /* io_uring, one ring per thread; falls back to IO_STD where the kernel refuses */
    IO_MODEL_COUNT
};

/* In whose name a call is counted; the order is that of nokv_component. */
enum io_component { IO_WAL, IO_MANIFEST, IO_SST, IO_VLOG, IO_FLUSH, IO_COMPACTION, IO_OTHER, IO_COMPONENT_COUNT };

enum io_op {
    IO_OP_OPEN,
    IO_OP_CLOSE,
    IO_OP_READ,
    IO_OP_WRITE,
    IO_OP_SYNC, /* file data; a durable write that is one call counts here, its bytes as written */
    IO_OP_SYNC_DIR,
    IO_OP_PREALLOCATE,
    IO_OP_TRUNCATE,
    IO_OP_MAP,       /* map and unmap */
    IO_OP_ADVISE,    /* every hint: writeback, drop, advice, residency */
    IO_OP_NAMESPACE, /* rename, unlink, mkdir, rmdir, list, stat, lock */
    IO_OP_COUNT
};

struct io_op_stats {
    _Atomic uint64_t calls; /* system calls issued (of the simulated disk: operations) */
    _Atomic uint64_t bytes; /* of reads and writes */
    _Atomic uint64_t errors;
    struct histogram ns; /* per call */
};

struct io_component_stats {
    struct io_op_stats ops[IO_OP_COUNT];
};

/* ---- environments --------------------------------------------------------------------------------------------- */

/* The real operating system. */
enum nokv_status io_real_create(struct io **out_io) MUST_CHECK;
/* REQUIRES: every file and map is closed. NULL is accepted. */
void io_destroy(struct io *io);
/* Live counters; they stay valid until io_destroy. */
const struct io_component_stats *io_component_stats(const struct io *io, enum io_component component);
/* "on", "not used yet", or why the kernel refused; static. */
const char *io_uring_state(const struct io *io);
const char *io_model_name(enum io_model model);             /* "std" */
const char *io_component_name(enum io_component component); /* "wal" */

/* Monotonic nanoseconds; the simulated disk has a clock of its own that moves with its operations. */
uint64_t io_now_ns(struct io *io);
/* Wall-clock milliseconds since 1970, for expiry. */
uint64_t io_wall_ms(struct io *io);
/* Sleep (simulated: move the clock). */
void io_sleep_ns(struct io *io, uint64_t ns);

/* How much memory there is for this process. */
struct io_memory {
    uint64_t total_bytes; /* of the machine; 0: not known */
    /* the tightest limit of a cgroup that this process is in, at any height, or total_bytes: never above it */
    uint64_t limit_bytes;
    /* "machine", "cgroup v2 memory.max", "cgroup v2 memory.high" or "cgroup v1 memory.limit_in_bytes"; static */
    const char *source;
};

/* Looks anew at each call (some ten files of the kernel, 0.1 to 1 ms; not counted, as the clock is not). Cannot fail:
 * what cannot be read does not limit. The simulated disk answers what sim_set_memory said. */
void io_memory_get(struct io *io, struct io_memory *out_memory);

/* ---- files ---------------------------------------------------------------------------------------------------- */

enum {
    IO_READ = 1,      /* may be read */
    IO_WRITE = 2,     /* may be written */
    IO_CREATE = 4,    /* must not exist yet (EXISTS otherwise) */
    IO_SCAN_ONCE = 8, /* will be read through once: large read-ahead, do not keep what was not cached (RWF_DONTCACHE) */
    IO_TWO_STEP_SYNC = 16, /* a durable write is a write and a sync, with IO_URING in one submission; not RWF_DSYNC */
};

/* A call that does not fit the flags is INVALID: reading needs IO_READ, writing and sizing IO_WRITE. IO_MMAP with
 * IO_WRITE is INVALID. */
enum nokv_status io_open(struct io *io, const char *path, enum io_component component, enum io_model model,
                         unsigned flags, struct io_file **out_file) MUST_CHECK;
/* The handle is gone afterwards, also on error. NULL is accepted. */
enum nokv_status io_close(struct io_file *file);
void io_close_ptr(struct io_file **file); /* for CLEANUP on error paths */
const char *io_path(const struct io_file *file);
/* The model in use, after a fall-back. */
enum io_model io_file_model(const struct io_file *file);

/* Read up to `size` bytes at `off`; *out_size is less only at the end of the file. */
enum nokv_status io_pread(struct io_file *file, void *buffer, size_t size, uint64_t off, size_t *out_size) MUST_CHECK;
/* Exactly `size` bytes, or CORRUPT ("ends at ..., ... wanted"). */
enum nokv_status io_pread_exact(struct io_file *file, void *buffer, size_t size, uint64_t off) MUST_CHECK;
/* All of it or an error; after an error any part may have been written. */
enum nokv_status io_pwrite(struct io_file *file, const void *data, size_t size, uint64_t off) MUST_CHECK;
/* Write and be durable on return, size included: one RWF_DSYNC write where the kernel has it, else write and sync.
 * After the first failure the caller must never try again. */
enum nokv_status io_pwrite_durable(struct io_file *file, const void *data, size_t size, uint64_t off) MUST_CHECK;
/* Data and size are durable on return (fdatasync). After the first failure the caller must never try again. */
enum nokv_status io_sync(struct io_file *file) MUST_CHECK;
/* Reserve blocks for [off, off + size) so that writing there cannot run out of space. The size of the file grows to
 * cover them and they read as zeros. Where the file system has no fallocate: NOKV_OK and nothing reserved. */
enum nokv_status io_preallocate(struct io_file *file, uint64_t off, uint64_t size) MUST_CHECK;
enum nokv_status io_truncate(struct io_file *file, uint64_t size) MUST_CHECK;
enum nokv_status io_size(struct io_file *file, uint64_t *out_size) MUST_CHECK;
/* The first offset at or behind `off` that may hold other bytes than zeros (SEEK_DATA: preallocated space that was
 * never written is passed over); the size of the file when there is none. `off` itself where nobody can tell. */
enum nokv_status io_skip_hole(struct io_file *file, uint64_t off, uint64_t *out_off) MUST_CHECK;
/*
 * Bytes of the file in the page cache now (cachestat, or mincore on kernels before 6.5), in whole pages; UINT64_MAX:
 * not known. Asking brings nothing in and counts as no use. The kernel tells only the owner of a file and who may write
 * it.
 */
uint64_t io_resident(struct io_file *file);
/* The same of [off, off + size), `size` at the most. REQUIRES: off is a multiple of PAGE_BYTES. */
uint64_t io_resident_range(struct io_file *file, uint64_t off, uint64_t size);
/* Hints; they cannot fail. Start writing back [off, off + size) without waiting (sync_file_range). */
void io_start_writeback(struct io_file *file, uint64_t off, uint64_t size);
/* Let go of clean cached pages of [off, off + size) (posix_fadvise DONTNEED). */
void io_drop_cache(struct io_file *file, uint64_t off, uint64_t size);
/* Begin to bring [off, off + size) into the page cache without waiting (posix_fadvise WILLNEED); nothing for files that
 * are read past it. */
void io_prefetch(struct io_file *file, uint64_t off, uint64_t size);

/* One read of a group: different files, any order. */
struct io_read_request {
    struct io_file *file;    /* in */
    void *buffer;            /* in */
    size_t size;             /* in */
    uint64_t off;            /* in */
    size_t got;              /* out: less than size only at the end of the file */
    enum nokv_status status; /* out */
};
/* Issue them together (those of IO_URING and IO_DIRECT files at one go) and wait for all. Returns the first failed
 * request's status. */
enum nokv_status io_read_many(struct io *io, struct io_read_request *requests, size_t count) MUST_CHECK;

/* ---- mappings ------------------------------------------------------------------------------------------------- */

/* A read-only mapping of a whole sealed file; the file handle may be closed while it lives. */
struct io_map {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
    struct io *io;
    enum io_component component;
    void *impl;
};

enum io_advice {
    IO_ADVICE_RANDOM,   /* no read-ahead */
    IO_ADVICE_POPULATE, /* bring it in now (MADV_POPULATE_READ; MADV_WILLNEED on old kernels) */
    IO_ADVICE_WILLNEED, /* bring it in soon */
    IO_ADVICE_HUGE,     /* from now on in pages of 2 MiB where the kernel can: what is not there yet is brought in so */
    IO_ADVICE_SMALL,    /* from now on in pages of 4 KiB, however the page cache keeps them */
    IO_ADVICE_COLD,     /* first to go under memory pressure */
};

/* REQUIRES: opened with IO_READ; nobody changes the file any more. */
enum nokv_status io_map(struct io_file *file, struct io_map *out_map) MUST_CHECK;
void io_unmap(struct io_map *map); /* a zeroed one is accepted */
/* A hint for the pages that hold [off, off + size). True when the kernel took it. */
bool io_map_advise(const struct io_map *map, size_t off, size_t size, enum io_advice advice);
/* Bytes of [off, off + size) that are in the page cache now (mincore); UINT64_MAX: not known. */
uint64_t io_map_resident(const struct io_map *map, size_t off, size_t size);

/*
 * Pages of mappings that will be read soon, neighbours joined. Zero-initialised; each piece that is not in the page
 * cache is asked for, without waiting, when one that is no neighbour follows it, or at the end.
 */
struct io_hints {
    const struct io_map *map;
    size_t off, end; /* the piece that may still grow */
    size_t cold;     /* pieces that were asked for */
};
/* REQUIRES: inside the mapping, which stays until the end. One thread. */
void io_hints_add(struct io_hints *hints, const struct io_map *map, size_t off, size_t size);
void io_hints_end(struct io_hints *hints);
/* How many pages the kernel has read for this thread so far, for page faults and for calls; 0 where it does not say.
 * One system call. */
uint64_t io_thread_pages_read(void);
/* For base/coldness.h: how long the read took that began at `begin_ns`; 0 for one that was slow although the kernel has
 * read nothing for this thread since it last asked (it lost its processor, say). A system call for a slow one only. */
uint64_t io_read_time(struct io *io, uint64_t begin_ns);

/*
 * Call fn(arg) with a SIGBUS that its reads of mapped files raise turned into IO for this call. Wherever fn reads
 * mapped bytes it holds nothing that its frames would have to release, because they are skipped over: no lock, no
 * memory. Calls nest, and a fault belongs to the innermost. Costs some ten nanoseconds, no system call. A SIGBUS
 * elsewhere goes to the host program's handler. The handler is installed by the first call of io_guard_install() and
 * removed by the last io_guard_remove().
 */
enum nokv_status io_guarded(enum nokv_status (*fn)(void *arg), void *arg) MUST_CHECK;
enum nokv_status io_guard_install(void) MUST_CHECK;
void io_guard_remove(void);

/* ---- the shared buffer ---------------------------------------------------------------------------------------- */

/*
 * A small, fully allocated file that is mapped shared and writable, so that stores into it outlive the process (the
 * kernel owns the pages). The one exception to "never write through a mapping": it never grows, never shrinks, and its
 * blocks are allocated before it is mapped. Should the kernel refuse a page to a store all the same (the file system
 * was shut down, a device has failed, somebody has cut the file), the store goes to memory that does not outlive the
 * process, and the buffer is lost: what was stored since must not be relied on. Whoever stores looks afterwards.
 */
struct io_shared {
    uint8_t *data;
    size_t size;
    struct io *io;
    void *impl;
    _Atomic bool is_lost;
};

/* Sees every loss that a store of this thread met, and of another one whose bytes this one has seen. */
static inline bool io_shared_is_lost(const struct io_shared *shared)
{
    return atomic_load_explicit(&shared->is_lost, memory_order_acquire);
}

/* Open or create `path` with exactly `size` bytes; an existing file of that size keeps its bytes, an empty one is taken
 * for a new one, one of another size is refused with EXISTS (the caller reads it with io_pread, unlinks it and calls
 * again). *out_shared stays where it is until it is closed. */
enum nokv_status io_shared_open(struct io *io, const char *path, size_t size, struct io_shared *out_shared) MUST_CHECK;
void io_shared_close(struct io_shared *shared); /* a zeroed one is accepted */
/* For these two: a SIGBUS of a store into the buffer is answered as io_shared says, while the handler of
 * io_guard_install is there. Of more than IO_GUARD_SHARED_MAX at a time some are not known to it: there such a store
 * ends the process. */
enum { IO_GUARD_SHARED_MAX = 512 };
void io_guard_shared_add(struct io_shared *shared);
void io_guard_shared_remove(struct io_shared *shared);

/* ---- names ---------------------------------------------------------------------------------------------------- */

enum nokv_status io_rename(struct io *io, const char *from, const char *to) MUST_CHECK; /* replaces `to` */
enum nokv_status io_unlink(struct io *io, const char *path) MUST_CHECK;
enum nokv_status io_unlink_if_exists(struct io *io, const char *path) MUST_CHECK; /* OK when it is not there */
enum nokv_status io_mkdir(struct io *io, const char *path) MUST_CHECK;            /* EXISTS when it is there */
enum nokv_status io_rmdir(struct io *io, const char *path) MUST_CHECK;
/* Creations, renames and unlinks in `dir` so far are durable on return. */
enum nokv_status io_sync_dir(struct io *io, const char *dir) MUST_CHECK;
/* NOT_FOUND when it is not there. */
enum nokv_status io_stat(struct io *io, const char *path, uint64_t *out_size) MUST_CHECK;
bool io_exists(struct io *io, const char *path);
/* Call fn with each name in `dir`, without "." and "..", in no order, until it returns other than NOKV_OK. */
enum nokv_status io_list(struct io *io, const char *dir, enum nokv_status (*fn)(void *arg, const char *name),
                         void *arg) MUST_CHECK;

struct io_lock;
/*
 * Lock file `path` (created when `exclusive`) for this handle: one exclusive owner, or many shared ones. BUSY with the
 * owner's pid in the message; also between two handles of one process. The lock ends with the process.
 * A shared lock never writes; a missing file is then NOT_FOUND.
 */
enum nokv_status io_lock(struct io *io, const char *path, bool exclusive, struct io_lock **out_lock) MUST_CHECK;
void io_unlock(struct io_lock *lock); /* NULL is accepted */

#endif
