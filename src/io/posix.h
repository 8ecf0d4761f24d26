// SPDX-License-Identifier: Apache-2.0
/*
 * io/posix.h - the real operating system, shared by its backends (std, mmap, direct, uring). Only src/io includes it.
 *
 * Everything answers with a count, 0, or -errno.
 */
#ifndef IO_POSIX_H
#define IO_POSIX_H

#include <errno.h>

#include <sys/syscall.h>

#include "io/backend.h"

/* Constants that are younger than the headers of some build machines; values are the kernel's ABI. */
#ifndef RWF_DSYNC
#define RWF_DSYNC 0x00000002
#endif
#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x00000080
#endif

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

struct real_io {
    struct io io;
    /* atomic, relaxed: found out by the first file that asks, and only ever set to the same answer */
    _Atomic(const char *) uring_state;
};

struct posix_file {
    struct io_file file;
    int fd;
    /* atomic, relaxed: cleared once when the kernel or the file system declines; then the plain call is made */
    _Atomic bool can_dsync;
    _Atomic bool can_dontcache; /* starts as: opened with IO_SCAN_ONCE */
};

/* Open `path` and fill in *file with the std operations. */
int posix_file_open(struct posix_file *file, const char *path, unsigned flags);
int posix_open(const char *path, unsigned flags, struct io_file **out_file);
int posix_close(struct io_file *file);
int64_t posix_read(struct io_file *file, void *buffer, size_t size, uint64_t off);
int64_t posix_write(struct io_file *file, const void *data, size_t size, uint64_t off);
int64_t posix_write_durable(struct io_file *file, const void *data, size_t size, uint64_t off);
int posix_sync(struct io_file *file);
int posix_preallocate(struct io_file *file, uint64_t off, uint64_t size);
int posix_truncate(struct io_file *file, uint64_t size);
int posix_size(struct io_file *file, uint64_t *out_size);
int posix_start_writeback(struct io_file *file, uint64_t off, uint64_t size);
int posix_drop_cache(struct io_file *file, uint64_t off, uint64_t size);
int posix_prefetch(struct io_file *file, uint64_t off, uint64_t size);
int posix_skip_hole(struct io_file *file, uint64_t off, uint64_t *out_off);
int posix_resident(struct io_file *file, uint64_t off, uint64_t size, uint64_t *out_bytes);

/* mmap.c */
int mmap_open(const char *path, unsigned flags, struct io_file **out_file);
int mmap_map(struct io_file *file, struct io_map *out_map); /* of any posix_file */
int mmap_unmap(struct io_map *map);
int mmap_advise(const struct io_map *map, size_t off, size_t size, enum io_advice advice);
int mmap_resident(const struct io_map *map, size_t off, size_t size, uint64_t *out_bytes);

/* direct.c */
/* One read as the device takes it: `size` aligned bytes at `off` to `buffer`, of which the caller gets a part. */
struct direct_read {
    void *user;      /* the caller's buffer */
    void *buffer;    /* this one is read into */
    uint8_t *bounce; /* NULL, or the same and owned */
    size_t size;     /* 0: behind the end of the file */
    uint64_t off;
    size_t head;   /* bytes in front of those that are wanted */
    size_t wanted; /* not more than the caller asked for */
};
int direct_open(const char *path, unsigned flags, struct io_file **out_file);
/* May this error (-errno) of a read past the page cache be that of a write? Before it reads, the kernel waits for what
 * the page cache still has to write, and tells, once, that a write of any page of the file has failed. */
static inline bool direct_may_tell_of_a_write(int64_t rc)
{
    return rc == -EIO || rc == -ENOSPC || rc == -EDQUOT;
}
int direct_read_plan(struct io_file *file, void *buffer, size_t size, uint64_t off, struct direct_read *out);
/* Hand over what arrived (`n` bytes or -errno); the number of bytes that the caller has now. Frees the bounce buffer.
 */
int64_t direct_read_land(struct direct_read *r, int64_t n);

/* uring.c */
int uring_open(struct io *io, const char *path, unsigned flags, struct io_file **out_file);
bool uring_read_batch(struct io *io, struct io_read_request *const *requests, int64_t *results, size_t count);

/* shared.c */
int shared_open(struct io *io, const char *path, size_t size, struct io_shared *out_shared);
void shared_close(struct io_shared *shared);

/* lock.c */
int lock_acquire(struct io *io, const char *path, bool exclusive, struct io_lock **out_lock, long *out_pid);
void lock_release(struct io_lock *lock);

#endif
