// SPDX-License-Identifier: Apache-2.0
/*
 * The real operating system as an environment: names, directories, the clock, and which backend opens a file.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "io/limit.h"
#include "io/posix.h"

static void real_destroy(struct io *io)
{
    mem_free(CONTAINER_OF(io, struct real_io, io));
}

static uint64_t real_now_ns(struct io *io)
{
    (void)io;
    return clock_now_ns();
}

static uint64_t real_wall_ms(struct io *io)
{
    (void)io;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void real_sleep_ns(struct io *io, uint64_t ns)
{
    (void)io;
    struct timespec left = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

static void real_memory_get(struct io *io, struct io_memory *out_memory)
{
    (void)io;
    limit_read("/proc", out_memory);
}

static int real_open(struct io *io, const char *path, enum io_component component, enum io_model model, unsigned flags,
                     struct io_file **out_file)
{
    (void)component;
    switch (model) {
    case IO_MMAP:
        return mmap_open(path, flags, out_file);
    case IO_DIRECT:
        return direct_open(path, flags, out_file);
    case IO_URING:
        return uring_open(io, path, flags, out_file);
    default:
        return posix_open(path, flags, out_file);
    }
}

static int real_rename(struct io *io, const char *from, const char *to)
{
    (void)io;
    return rename(from, to) == 0 ? 0 : -errno;
}

static int real_unlink(struct io *io, const char *path)
{
    (void)io;
    return unlink(path) == 0 ? 0 : -errno;
}

static int real_mkdir(struct io *io, const char *path)
{
    (void)io;
    return mkdir(path, 0755) == 0 ? 0 : -errno;
}

static int real_rmdir(struct io *io, const char *path)
{
    (void)io;
    return rmdir(path) == 0 ? 0 : -errno;
}

static int real_sync_dir(struct io *io, const char *dir)
{
    (void)io;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fsync(fd) == 0 ? 0 : -errno;
    (void)close(fd);
    return rc;
}

static int real_stat(struct io *io, const char *path, uint64_t *out_size)
{
    (void)io;
    struct stat st;
    if (stat(path, &st) != 0)
        return -errno;
    *out_size = (uint64_t)st.st_size;
    return 0;
}

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int real_list(struct io *io, const char *dir, struct buf *names)
{
    (void)io;
    DIR *d = opendir(dir);
    if (d == NULL)
        return -errno;
    int rc = 0;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (e == NULL) {
            rc = -errno; /* 0 at the end */
            break;
        }
        if (!is_dot(e->d_name) && buf_append(names, e->d_name, strlen(e->d_name) + 1) != NOKV_OK) {
            rc = -ENOMEM;
            break;
        }
    }
    (void)closedir(d);
    return rc;
}

static const struct io_env_ops real_ops = {
    .destroy = real_destroy,
    .now_ns = real_now_ns,
    .wall_ms = real_wall_ms,
    .sleep_ns = real_sleep_ns,
    .memory_get = real_memory_get,
    .open = real_open,
    .rename = real_rename,
    .unlink = real_unlink,
    .mkdir = real_mkdir,
    .rmdir = real_rmdir,
    .sync_dir = real_sync_dir,
    .stat = real_stat,
    .list = real_list,
    .lock = lock_acquire,
    .unlock = lock_release,
    .unmap = mmap_unmap,
    .advise = mmap_advise,
    .resident = mmap_resident,
    .shared_open = shared_open,
    .shared_close = shared_close,
    .read_batch = uring_read_batch,
};

enum nokv_status io_real_create(struct io **out_io)
{
    struct real_io *real = mem_zalloc(sizeof *real);
    if (real == NULL)
        return FAIL(NO_MEMORY, "could not create an I/O environment");
    io_init(&real->io, &real_ops);
    atomic_init(&real->uring_state, "not used yet");
    *out_io = &real->io;
    return NOKV_OK;
}

const char *io_uring_state(const struct io *io)
{
    if (io->ops != &real_ops)
        return "simulated";
    const struct real_io *real = (const struct real_io *)io;
    return atomic_load_explicit(&real->uring_state, memory_order_relaxed);
}
