// SPDX-License-Identifier: Apache-2.0
/*
 * Standard I/O: pread, pwrite, fdatasync through the page cache.
 *
 * A durable write is one pwritev2(RWF_DSYNC), which saves the second system call and, on a device that takes it, the
 * separate flush. Reads of a file that is scanned once carry RWF_DONTCACHE (Linux 6.14), so that pages which only this
 * scan brought in leave the cache behind it. Both are asked for at the first use and given up for the file when the
 * kernel declines; there is no version check, because file systems differ under one kernel.
 *
 * Threading: the flags are relaxed atomics; two threads may both find out.
 */
#include "io/posix.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"

static bool is_declined(int err)
{
    return err == EOPNOTSUPP || err == EINVAL || err == ENOSYS;
}

int posix_close(struct io_file *file)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    /* EINTR included: Linux has released the descriptor by then, another close could hit somebody else's */
    int rc = close(p->fd) == 0 || errno == EINTR ? 0 : -errno;
    mem_free(p);
    return rc;
}

int64_t posix_read(struct io_file *file, void *buffer, size_t size, uint64_t off)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    if (atomic_load_explicit(&p->can_dontcache, memory_order_relaxed)) {
        struct iovec iov = {.iov_base = buffer, .iov_len = size};
        ssize_t n = preadv2(p->fd, &iov, 1, (off_t)off, RWF_DONTCACHE);
        if (n >= 0 || !is_declined(errno))
            return n < 0 ? -errno : n;
        atomic_store_explicit(&p->can_dontcache, false, memory_order_relaxed);
    }
    ssize_t n = pread(p->fd, buffer, size, (off_t)off);
    return n < 0 ? -errno : n;
}

int64_t posix_write(struct io_file *file, const void *data, size_t size, uint64_t off)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    ssize_t n = pwrite(p->fd, data, size, (off_t)off);
    return n < 0 ? -errno : n;
}

int64_t posix_write_durable(struct io_file *file, const void *data, size_t size, uint64_t off)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    if (!atomic_load_explicit(&p->can_dsync, memory_order_relaxed))
        return -EOPNOTSUPP;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    ssize_t n = pwritev2(p->fd, &iov, 1, (off_t)off, RWF_DSYNC);
    if (n >= 0 || !is_declined(errno))
        return n < 0 ? -errno : n;
    atomic_store_explicit(&p->can_dsync, false, memory_order_relaxed);
    return -EOPNOTSUPP;
}

int posix_sync(struct io_file *file)
{
    return fdatasync(CONTAINER_OF(file, struct posix_file, file)->fd) == 0 ? 0 : -errno;
}

/* Without fallocate the size still grows, so that callers see one behaviour. */
static int preallocate_size_only(struct io_file *file, uint64_t end)
{
    uint64_t size = 0;
    int rc = posix_size(file, &size);
    return rc < 0 || size >= end ? rc : posix_truncate(file, end);
}

int posix_preallocate(struct io_file *file, uint64_t off, uint64_t size)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    if (fallocate(p->fd, 0, (off_t)off, (off_t)size) == 0)
        return 0;
    return errno == EOPNOTSUPP || errno == ENOSYS ? preallocate_size_only(file, off + size) : -errno;
}

int posix_truncate(struct io_file *file, uint64_t size)
{
    return ftruncate(CONTAINER_OF(file, struct posix_file, file)->fd, (off_t)size) == 0 ? 0 : -errno;
}

int posix_size(struct io_file *file, uint64_t *out_size)
{
    struct stat st;
    if (fstat(CONTAINER_OF(file, struct posix_file, file)->fd, &st) != 0)
        return -errno;
    *out_size = (uint64_t)st.st_size;
    return 0;
}

int posix_start_writeback(struct io_file *file, uint64_t off, uint64_t size)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    return sync_file_range(p->fd, (off_t)off, (off_t)size, SYNC_FILE_RANGE_WRITE) == 0 ? 0 : -errno;
}

int posix_drop_cache(struct io_file *file, uint64_t off, uint64_t size)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    return -posix_fadvise(p->fd, (off_t)off, (off_t)size, POSIX_FADV_DONTNEED);
}

int posix_prefetch(struct io_file *file, uint64_t off, uint64_t size)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    return -posix_fadvise(p->fd, (off_t)off, (off_t)size, POSIX_FADV_WILLNEED);
}

int posix_skip_hole(struct io_file *file, uint64_t off, uint64_t *out_off)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    off_t found = lseek(p->fd, (off_t)off, SEEK_DATA); /* nothing here uses the file's own position */
    if (found < 0)
        return -errno;
    *out_off = (uint64_t)found;
    return 0;
}

/* The kernel's structures of cachestat(2), since 6.5; headers of build machines may not have them. */
struct cachestat_range {
    uint64_t off, len; /* len 0: to the end */
};

struct cachestat {
    uint64_t cache, dirty, writeback, evicted, recently_evicted; /* pages */
};

/* Who may not know is told by mincore that everything is in memory: the kernel's own condition, asked first. */
static bool may_know(const struct posix_file *p, const struct stat *st)
{
    return st->st_uid == geteuid() || faccessat(AT_FDCWD, p->file.path, W_OK, AT_EACCESS) == 0;
}

/* A window of the file is mapped for the question; its bytes are never looked at. */
static int resident_by_mincore(struct posix_file *p, uint64_t off, uint64_t size, uint64_t *out_bytes)
{
    struct stat st;
    if (fstat(p->fd, &st) != 0)
        return -errno;
    if (!may_know(p, &st))
        return -EPERM;
    uint64_t end = (uint64_t)st.st_size;
    if (off >= end) {
        *out_bytes = 0;
        return 0;
    }
    size = size == 0 ? end - off : u64_min(size, end - off);
    void *data = mmap(NULL, size, PROT_READ, MAP_SHARED, p->fd, (off_t)off);
    if (data == MAP_FAILED)
        return -errno;
    struct io_map map = {.data = data, .size = size};
    int rc = mmap_resident(&map, 0, size, out_bytes);
    (void)mmap_unmap(&map);
    return rc;
}

/* EPERM may be the answer of a filter that does not know the call: mincore has its own rules. */
static bool is_worth_mincore(int err)
{
    return err == ENOSYS || err == EPERM || err == EOPNOTSUPP;
}

int posix_resident(struct io_file *file, uint64_t off, uint64_t size, uint64_t *out_bytes)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    struct cachestat_range range = {.off = off, .len = size};
    struct cachestat stat = {0};
    if (syscall(SYS_cachestat, p->fd, &range, &stat, 0) != 0)
        return is_worth_mincore(errno) ? resident_by_mincore(p, off, size, out_bytes) : -errno;
    *out_bytes = stat.cache * (uint64_t)sysconf(_SC_PAGESIZE);
    return 0;
}

static const struct io_file_ops posix_ops = {
    .close = posix_close,
    .read = posix_read,
    .write = posix_write,
    .write_durable = posix_write_durable,
    .sync = posix_sync,
    .preallocate = posix_preallocate,
    .truncate = posix_truncate,
    .size = posix_size,
    .start_writeback = posix_start_writeback,
    .drop_cache = posix_drop_cache,
    .prefetch = posix_prefetch,
    .map = mmap_map,
    .skip_hole = posix_skip_hole,
    .resident = posix_resident,
};

int posix_file_open(struct posix_file *file, const char *path, unsigned flags)
{
    int how = O_CLOEXEC;
    how |= !(flags & IO_WRITE) ? O_RDONLY : flags & IO_READ ? O_RDWR : O_WRONLY;
    how |= flags & IO_CREATE ? O_CREAT | O_EXCL : 0;
    do {
        file->fd = open(path, how, 0644);
    } while (file->fd < 0 && errno == EINTR);
    if (file->fd < 0)
        return -errno;
    file->file.ops = &posix_ops;
    file->file.model = IO_STD;
    atomic_init(&file->can_dsync, (flags & IO_TWO_STEP_SYNC) == 0);
    atomic_init(&file->can_dontcache, (flags & IO_SCAN_ONCE) != 0);
    if (flags & IO_SCAN_ONCE)
        (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* doubles the read-ahead */
    return 0;
}

int posix_open(const char *path, unsigned flags, struct io_file **out_file)
{
    struct posix_file *file = mem_zalloc(sizeof *file);
    if (file == NULL)
        return -ENOMEM;
    int rc = posix_file_open(file, path, flags);
    if (rc < 0) {
        mem_free(file);
        return rc;
    }
    *out_file = &file->file;
    return 0;
}
