// SPDX-License-Identifier: Apache-2.0
/*
 * Lock files: an fcntl lock of the open file description (F_OFD_SETLK) on the whole file, the owner's pid as its text.
 *
 * Such a lock belongs to the handle, not to the process: two handles of one process exclude each other, closing an
 * unrelated handle of the same file does not give it up (both are where classic fcntl locks fail), and the kernel ends
 * it with the process, so there is never a stale one. The pid is for people only: who holds the lock is what the kernel
 * says.
 *
 * [I1] A lock counts only when its file is still the one that the path names; it may have been unlinked in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/posix.h"

enum { ATTEMPTS = 16 }; /* each one lost to somebody who unlinked the file between our open and our lock */

struct file_lock {
    struct io_lock lock;
    int fd;
    bool exclusive;
};

static long owner_pid(int fd)
{
    char text[32] = {0};
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    return n > 0 ? strtol(text, NULL, 10) : 0;
}

/* The pid of the exclusive holder; 0 when those who hold it share it, and when it has just been given up. */
static long holder_pid(int fd, bool exclusive)
{
    struct flock held = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_GETLK, &held) != 0 || held.l_type != F_WRLCK)
        return 0;
    return owner_pid(fd);
}

static int fd_lock(int fd, bool exclusive, long *out_pid)
{
    struct flock wanted = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &wanted) == 0)
        return 0;
    if (errno != EAGAIN && errno != EACCES)
        return -errno;
    *out_pid = holder_pid(fd, exclusive);
    return -EAGAIN;
}

static bool is_still_named(int fd, const char *path)
{
    struct stat ours, named;
    return fstat(fd, &ours) == 0 && stat(path, &named) == 0 && ours.st_dev == named.st_dev &&
           ours.st_ino == named.st_ino;
}

static int write_pid(int fd)
{
    char text[32];
    int size = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0)
        return -errno;
    ssize_t n = pwrite(fd, text, (size_t)size, 0);
    return n == size ? 0 : n < 0 ? -errno : -EIO;
}

/* The descriptor with the lock, or -errno; -ESTALE: the file was unlinked meanwhile. */
static int try_once(const char *path, bool exclusive, long *out_pid)
{
    int fd = open(path, (exclusive ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    int rc = fd_lock(fd, exclusive, out_pid);
    if (rc == 0 && !is_still_named(fd, path))
        rc = -ESTALE; /* [I1] */
    if (rc == 0 && exclusive)
        rc = write_pid(fd);
    if (rc == 0)
        return fd;
    (void)close(fd);
    return rc;
}

int lock_acquire(struct io *io, const char *path, bool exclusive, struct io_lock **out_lock, long *out_pid)
{
    (void)io;
    struct file_lock *l CLEANUP(mem_free_ptr) = mem_zalloc(sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    int fd = -ESTALE;
    for (int i = 0; i < ATTEMPTS && (fd == -ESTALE || fd == -EINTR); i++)
        fd = try_once(path, exclusive, out_pid);
    if (fd < 0)
        return fd;
    l->fd = fd;
    l->exclusive = exclusive;
    *out_lock = &TAKE(l)->lock;
    return 0;
}

void lock_release(struct io_lock *lock)
{
    struct file_lock *l = CONTAINER_OF(lock, struct file_lock, lock);
    if (l->exclusive && ftruncate(l->fd, 0) != 0) {
        /* a stale pid in a file that nobody has locked misleads nobody: it is only shown while the lock is held */
    }
    (void)close(l->fd);
    mem_free(l);
}
