// SPDX-License-Identifier: Apache-2.0
/*
 * The shared buffer: a small file, fully allocated, mapped shared and writable, whose bytes outlive the process.
 *
 * [I1] Every block is allocated before the file is mapped, also of a file that was there before (it may have been
 *      copied with holes): a store to a hole on a full disk would end in SIGBUS.
 * [I2] A file that we created and could not finish is removed again, so that a retry starts afresh. An empty file is
 *      one whose creator died in between and counts as new.
 *
 * Where the file system has no fallocate, holes are filled by writing back what they read as.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/posix.h"

enum { FILL_CHUNK = 64 << 10 };

static int fd_write_all(int fd, const uint8_t *data, size_t size, off_t off)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(fd, data + done, size - done, off + (off_t)done);
        if (n <= 0 && !(n < 0 && errno == EINTR))
            return n < 0 ? -errno : -EIO;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Rewrite [0, size) with what it holds, zeros beyond the end. */
static int fill_by_writing(int fd, size_t size)
{
    uint8_t *chunk CLEANUP(mem_free_ptr) = mem_alloc(FILL_CHUNK);
    if (chunk == NULL)
        return -ENOMEM;
    for (size_t off = 0; off < size; off += FILL_CHUNK) {
        size_t length = u64_min(FILL_CHUNK, size - off);
        memset(chunk, 0, length);
        if (pread(fd, chunk, length, (off_t)off) < 0)
            return -errno;
        int rc = fd_write_all(fd, chunk, length, (off_t)off);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int fill(int fd, size_t size)
{
    int rc;
    do {
        rc = fallocate(fd, 0, 0, (off_t)size) == 0 ? 0 : -errno;
    } while (rc == -EINTR);
    return rc == -EOPNOTSUPP || rc == -ENOSYS ? fill_by_writing(fd, size) : rc;
}

static int map_file(int fd, size_t size, struct io_shared *out_shared)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    if (st.st_size != 0 && (uint64_t)st.st_size != size)
        return -EEXIST;
    int rc = fill(fd, size); /* [I1] */
    if (rc < 0)
        return rc;
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return -errno;
    out_shared->data = data;
    return 0;
}

int shared_open(struct io *io, const char *path, size_t size, struct io_shared *out_shared)
{
    (void)io;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    bool created = fd >= 0;
    if (!created && errno == EEXIST)
        fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno == EEXIST ? -EIO : -errno;
    int rc = map_file(fd, size, out_shared);
    if (rc < 0 && created)
        (void)unlink(path); /* [I2] */
    (void)close(fd);
    return rc;
}

void shared_close(struct io_shared *shared)
{
    (void)munmap(shared->data, shared->size);
}
