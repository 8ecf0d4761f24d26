// SPDX-License-Identifier: Apache-2.0
/*
 * Read-only mappings: io_map for files of every real backend, and the mmap model, whose reads copy out of one.
 *
 * [I1] A mapping covers the whole file at the size that it had; nobody changes a sealed file any more. Where somebody
 *      does it behind our back, or the device fails, the copy ends in SIGBUS, which the guard turns into EIO.
 *
 * The mmap model's file installs the guard for as long as it is open. Threading: nothing is written after open.
 * Why MAP_SHARED: read-only it costs what MAP_PRIVATE costs, and only a shared one may be gathered into large pages.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/posix.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

enum { RESIDENT_PAGES_PER_CALL = 4096 };

struct mmap_file {
    struct posix_file posix;
    struct io_map map; /* its io stays NULL: not one of the dispatcher's */
};

/* ---- mappings ------------------------------------------------------------------------------------------------- */

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

int mmap_map(struct io_file *file, struct io_map *out_map)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    struct stat st;
    if (fstat(p->fd, &st) != 0)
        return -errno;
    if ((uint64_t)st.st_size > SIZE_MAX)
        return -EFBIG;
    out_map->size = (size_t)st.st_size;
    out_map->data = NULL;
    if (out_map->size == 0)
        return 0;
    void *data = mmap(NULL, out_map->size, PROT_READ, MAP_SHARED, p->fd, 0);
    if (data == MAP_FAILED)
        return -errno;
    out_map->data = data;
    return 0;
}

int mmap_unmap(struct io_map *map)
{
    if (map->data == NULL)
        return 0;
    return munmap((void *)(uintptr_t)map->data, map->size) == 0 ? 0 : -errno;
}

static int advise_pages(const struct io_map *map, size_t off, size_t size, int advice)
{
    size_t begin = off & ~(page_size() - 1);
    return madvise((void *)(uintptr_t)(map->data + begin), off + size - begin, advice) == 0 ? 0 : -errno;
}

int mmap_advise(const struct io_map *map, size_t off, size_t size, enum io_advice advice)
{
    switch (advice) {
    case IO_ADVICE_RANDOM:
        return advise_pages(map, off, size, MADV_RANDOM);
    case IO_ADVICE_POPULATE: {
        int rc = advise_pages(map, off, size, MADV_POPULATE_READ);
        return rc == -EINVAL ? advise_pages(map, off, size, MADV_WILLNEED) : rc;
    }
    case IO_ADVICE_WILLNEED:
        return advise_pages(map, off, size, MADV_WILLNEED);
    case IO_ADVICE_HUGE: /* a fault reads 2 MiB then, whatever else was advised; older kernels gather later */
        return advise_pages(map, off, size, MADV_HUGEPAGE);
    case IO_ADVICE_SMALL:
        return advise_pages(map, off, size, MADV_NOHUGEPAGE);
    case IO_ADVICE_COLD:
        break;
    }
    return advise_pages(map, off, size, MADV_COLD);
}

int mmap_resident(const struct io_map *map, size_t off, size_t size, uint64_t *out_bytes)
{
    unsigned char pages[RESIDENT_PAGES_PER_CALL];
    size_t page = page_size(), end = off + size;
    uint64_t bytes = 0;
    for (size_t at = off & ~(page - 1); at < end;) {
        size_t length = u64_min(end - at, RESIDENT_PAGES_PER_CALL * page);
        if (mincore((void *)(uintptr_t)(map->data + at), length, pages) != 0)
            return -errno;
        for (size_t i = 0; i * page < length; i++) {
            uint64_t from = u64_max(at + i * page, off), to = u64_min(at + (i + 1) * page, end);
            bytes += pages[i] & 1 ? to - from : 0;
        }
        at += length;
    }
    *out_bytes = bytes;
    return 0;
}

/* ---- the mmap model ------------------------------------------------------------------------------------------- */

struct copy {
    void *to;
    const void *from;
    size_t size;
};

static enum nokv_status copy_run(void *arg)
{
    struct copy *c = arg;
    memcpy(c->to, c->from, c->size);
    return NOKV_OK;
}

static int64_t mmap_read(struct io_file *file, void *buffer, size_t size, uint64_t off)
{
    const struct io_map *map = &CONTAINER_OF(file, struct mmap_file, posix.file)->map;
    if (off >= map->size)
        return 0;
    struct copy c = {.to = buffer, .from = map->data + off, .size = u64_min(size, map->size - off)};
    return io_guarded(copy_run, &c) == NOKV_OK ? (int64_t)c.size : -EIO;
}

static int mmap_close(struct io_file *file)
{
    struct mmap_file *m = CONTAINER_OF(file, struct mmap_file, posix.file);
    int rc = mmap_unmap(&m->map);
    if (close(m->posix.fd) != 0 && errno != EINTR && rc == 0)
        rc = -errno;
    io_guard_remove();
    mem_free(m);
    return rc;
}

static int mmap_size(struct io_file *file, uint64_t *out_size)
{
    *out_size = CONTAINER_OF(file, struct mmap_file, posix.file)->map.size;
    return 0;
}

static const struct io_file_ops mmap_ops = {
    .close = mmap_close,
    .read = mmap_read,
    /* the dispatcher refuses to open such a file to be written: these are never called */
    .write = posix_write,
    .write_durable = posix_write_durable,
    .preallocate = posix_preallocate,
    .truncate = posix_truncate,
    .sync = posix_sync,
    .size = mmap_size,
    .start_writeback = posix_start_writeback,
    .drop_cache = posix_drop_cache,
    .prefetch = posix_prefetch,
    .map = mmap_map,
    .resident = posix_resident,
};

static int mmap_file_open(struct mmap_file *m, const char *path, unsigned flags)
{
    int rc = posix_file_open(&m->posix, path, flags);
    if (rc < 0)
        return rc;
    rc = mmap_map(&m->posix.file, &m->map);
    if (rc == 0 && io_guard_install() != NOKV_OK) {
        (void)mmap_unmap(&m->map);
        rc = -EIO;
    }
    if (rc < 0)
        (void)close(m->posix.fd);
    return rc;
}

int mmap_open(const char *path, unsigned flags, struct io_file **out_file)
{
    struct mmap_file *m = mem_zalloc(sizeof *m);
    if (m == NULL)
        return -ENOMEM;
    int rc = mmap_file_open(m, path, flags);
    if (rc < 0) {
        mem_free(m);
        return rc;
    }
    m->posix.file.ops = &mmap_ops;
    m->posix.file.model = IO_MMAP;
    *out_file = &m->posix.file;
    return 0;
}
