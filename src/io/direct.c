// SPDX-License-Identifier: Apache-2.0
/*
 * O_DIRECT: transfers between the device and memory, past the page cache, for callers that know nothing of alignment.
 *
 * The device takes whole blocks at block boundaries, to and from aligned memory. A transfer that happens to be so goes
 * straight through; any other goes through an aligned bounce buffer. A write that begins or ends inside a block needs
 * the rest of it: from the last partial block that this handle wrote, which is remembered (so that appending reads
 * nothing), else from the file.
 *
 * [I1] The file's size is kept here. A write behind the end pads its last block with zeros, so that the file may be
 *      longer than its size by less than a block until the next sync, close or map through this handle cuts it
 * ("settles"). What lies between the size and the end of the file is zeros.
 * [I2] One handle writes a file at a time; its writes take the file's mutex, because two of them may share a block.
 * [I3] `tail`, when it has an offset, equals the file's block at that offset.
 *
 * Reads take no lock: a block that is written again for the sake of its neighbour has the same bytes as before.
 * Blocks for writing are at least 4 KiB even where the device takes 512 bytes: a file system writes parts of its own
 * blocks one at a time, and slower. A file system without O_DIRECT gets the standard operations, and the file says so.
 * Why not leave alignment to the callers: each would pad in its own way, and none could be switched to another model.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/coding.h"
#include "base/thread.h"
#include "io/posix.h"

enum {
    BOUNCE_BYTES = 256 << 10,  /* moved at most at once through a bounce buffer */
    BLOCK_BYTES_MAX = 64 << 10 /* a device that wants more is served by standard I/O */
};
#define NO_TAIL UINT64_MAX

struct direct_file {
    struct posix_file posix;
    /* set at open, then constant */
    size_t read_align;   /* of offsets and sizes */
    size_t write_align;  /* the block; a multiple of read_align */
    size_t memory_align; /* of buffers */
    bool is_writer;
    /* protected by mu */
    struct mutex mu;
    uint8_t *bounce; /* BOUNCE_BYTES, allocated with the first write that needs it */
    uint8_t *tail;   /* write_align bytes, with it */
    uint64_t tail_off;
    uint64_t file_end; /* what the file system takes for the size [I1] */
    /* atomic: written under mu, read by readers; release and acquire: who sees the size sees what was written below it
     */
    _Atomic uint64_t size;
};

static struct direct_file *direct_of(struct io_file *file)
{
    return CONTAINER_OF(file, struct direct_file, posix.file);
}

static bool is_aligned(uint64_t n, size_t align)
{
    return (n & (align - 1)) == 0;
}

static uint64_t align_down(uint64_t n, size_t align)
{
    return n & ~(uint64_t)(align - 1);
}

/* ---- reads ---------------------------------------------------------------------------------------------------- */

int direct_read_plan(struct io_file *file, void *buffer, size_t size, uint64_t off, struct direct_read *out)
{
    struct direct_file *d = direct_of(file);
    *out = (struct direct_read){.user = buffer, .buffer = buffer, .off = off};
    if (d->is_writer) {
        uint64_t end = atomic_load_explicit(&d->size, memory_order_acquire);
        size = off >= end ? 0 : u64_min(size, end - off); /* [I1] the padding is not part of the file */
    }
    if (size == 0)
        return 0;
    if (is_aligned(off, d->read_align) && is_aligned((uintptr_t)buffer, d->memory_align) && size >= d->read_align) {
        out->size = out->wanted = align_down(size, d->read_align);
        return 0;
    }
    out->off = align_down(off, d->read_align);
    out->head = (size_t)(off - out->off);
    out->wanted = u64_min(size, BOUNCE_BYTES - out->head);
    out->size = align_up(out->head + out->wanted, d->read_align);
    out->bounce = out->buffer = mem_alloc_aligned(d->memory_align, out->size);
    return out->bounce ? 0 : -ENOMEM;
}

int64_t direct_read_land(struct direct_read *r, int64_t n)
{
    int64_t got = n;
    if (r->bounce != NULL && n >= 0) {
        got = (uint64_t)n <= r->head ? 0 : (int64_t)u64_min((uint64_t)n - r->head, r->wanted);
        memcpy(r->user, r->bounce + r->head, (size_t)got);
    }
    mem_free(TAKE(r->bounce));
    return got;
}

/* Before it reads, the kernel waits for what the page cache still has to write, and tells that of a write which failed,
 * of any page of the file, once: a read that fails is tried again once. */
static int64_t fd_read(const struct direct_file *d, void *buffer, size_t size, uint64_t off)
{
    ssize_t n = pread(d->posix.fd, buffer, size, (off_t)off);
    if (n < 0 && direct_may_tell_of_a_write(-errno))
        n = pread(d->posix.fd, buffer, size, (off_t)off);
    return n < 0 ? -errno : n;
}

static int64_t direct_read(struct io_file *file, void *buffer, size_t size, uint64_t off)
{
    struct direct_read r;
    int rc = direct_read_plan(file, buffer, size, off, &r);
    if (rc < 0 || r.size == 0)
        return rc;
    return direct_read_land(&r, fd_read(direct_of(file), r.buffer, r.size, r.off));
}

/* ---- writes (mu is held) -------------------------------------------------------------------------------------- */

static int64_t fd_write(const struct direct_file *d, const void *data, size_t size, uint64_t off, int rw_flags)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    ssize_t n =
        rw_flags ? pwritev2(d->posix.fd, &iov, 1, (off_t)off, rw_flags) : pwrite(d->posix.fd, data, size, (off_t)off);
    return n < 0 ? -errno : n;
}

static void wrote(struct direct_file *d, uint64_t end, uint64_t padded_end)
{
    if (end > atomic_load_explicit(&d->size, memory_order_relaxed)) /* only writers change it, and mu is held */
        atomic_store_explicit(&d->size, end, memory_order_release);
    d->file_end = u64_max(d->file_end, padded_end);
}

static void tail_forget(struct direct_file *d, uint64_t from, uint64_t to)
{
    if (d->tail_off != NO_TAIL && d->tail_off >= from && d->tail_off < to)
        d->tail_off = NO_TAIL;
}

static int64_t write_straight(struct direct_file *d, const void *data, size_t size, uint64_t off, int rw_flags)
{
    tail_forget(d, off, off + size);
    int64_t n = fd_write(d, data, size, off, rw_flags);
    if (n > 0)
        wrote(d, off + (uint64_t)n, off + (uint64_t)n);
    return n;
}

static int bounce_ready(struct direct_file *d)
{
    if (d->bounce == NULL)
        d->bounce = mem_alloc_aligned(u64_max(d->memory_align, d->write_align), BOUNCE_BYTES);
    if (d->tail == NULL)
        d->tail = mem_alloc(d->write_align);
    return d->bounce && d->tail ? 0 : -ENOMEM;
}

/* What the block at `off` holds now; `to` is aligned. */
static int block_load(struct direct_file *d, uint8_t *to, uint64_t off)
{
    if (off == d->tail_off) {
        memcpy(to, d->tail, d->write_align);
        return 0;
    }
    int64_t n = 0;
    if (off < d->file_end) {
        do {
            n = IO_COUNTED(d->posix.file.io, d->posix.file.component, IO_OP_READ, fd_read(d, to, d->write_align, off));
        } while (n == -EINTR);
    }
    if (n < 0)
        return (int)n;
    memset(to + n, 0, d->write_align - (size_t)n);
    return 0;
}

/* A write of [off, off + size) as whole blocks [begin, begin + padded). */
struct window {
    uint64_t off;
    size_t size;
    uint64_t begin;
    size_t padded;
};

static struct window window_make(const struct direct_file *d, size_t size, uint64_t off)
{
    struct window w = {.off = off, .begin = align_down(off, d->write_align)};
    size_t head = (size_t)(off - w.begin);
    w.size = u64_min(size, BOUNCE_BYTES - head);
    w.padded = align_up(head + w.size, d->write_align);
    return w;
}

/* Bring in what the first and the last block hold besides the data. */
static int window_load_edges(struct direct_file *d, const struct window *w)
{
    uint64_t end = w->off + w->size, last = w->begin + w->padded - d->write_align;
    bool is_head_partial = w->off != w->begin;
    bool is_last_partial = end != w->begin + w->padded;
    bool is_one_block = last == w->begin;
    if (is_head_partial || (is_one_block && is_last_partial)) {
        int rc = block_load(d, d->bounce, w->begin);
        if (rc < 0)
            return rc;
    }
    return is_last_partial && !is_one_block ? block_load(d, d->bounce + (last - w->begin), last) : 0;
}

static void window_remember_tail(struct direct_file *d, const struct window *w)
{
    uint64_t last = w->begin + w->padded - d->write_align;
    tail_forget(d, w->begin, w->begin + w->padded);
    if (w->off + w->size == w->begin + w->padded)
        return; /* the next append begins a block of its own */
    memcpy(d->tail, d->bounce + (last - w->begin), d->write_align);
    d->tail_off = last;
}

/* All blocks of the window or an error: what is short of them cannot be told in the caller's bytes. */
static int window_write(struct direct_file *d, const struct window *w, int rw_flags)
{
    for (size_t done = 0; done < w->padded;) {
        int64_t n = fd_write(d, d->bounce + done, w->padded - done, w->begin + done, rw_flags);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        done += (size_t)n;
    }
    return 0;
}

static int64_t write_bounced(struct direct_file *d, const void *data, size_t size, uint64_t off, int rw_flags)
{
    struct window w = window_make(d, size, off);
    int rc = bounce_ready(d);
    if (rc == 0)
        rc = window_load_edges(d, &w);
    if (rc < 0)
        return rc;
    memcpy(d->bounce + (w.off - w.begin), data, w.size);
    rc = window_write(d, &w, rw_flags);
    if (rc < 0) {
        tail_forget(d, w.begin, w.begin + w.padded); /* [I3] nobody knows what is there now */
        return rc;
    }
    wrote(d, w.off + w.size, w.begin + w.padded);
    window_remember_tail(d, &w);
    io_count_bytes(d->posix.file.io, d->posix.file.component, IO_OP_WRITE, w.padded - w.size);
    return (int64_t)w.size;
}

static int64_t write_locked(struct direct_file *d, const void *data, size_t size, uint64_t off, int rw_flags)
{
    if (is_aligned(off, d->write_align) && is_aligned((uintptr_t)data, d->memory_align) && size >= d->write_align)
        return write_straight(d, data, align_down(size, d->write_align), off, rw_flags);
    return write_bounced(d, data, size, off, rw_flags);
}

static int64_t direct_write(struct io_file *file, const void *data, size_t size, uint64_t off)
{
    struct direct_file *d = direct_of(file);
    mutex_lock(&d->mu);
    int64_t n = write_locked(d, data, size, off, 0);
    mutex_unlock(&d->mu);
    return n;
}

/* Would the file have its true size after this write? Else it must be cut, which needs a sync of its own. */
static bool leaves_true_size(struct direct_file *d, size_t size, uint64_t off)
{
    uint64_t now = atomic_load_explicit(&d->size, memory_order_relaxed); /* mu is held */
    return d->file_end == now && (off + size <= now || is_aligned(off + size, d->write_align));
}

static int64_t direct_write_durable(struct io_file *file, const void *data, size_t size, uint64_t off)
{
    struct direct_file *d = direct_of(file);
    int64_t n = -EOPNOTSUPP;
    mutex_lock(&d->mu);
    bool is_tried = atomic_load_explicit(&d->posix.can_dsync, memory_order_relaxed) && leaves_true_size(d, size, off);
    if (is_tried)
        n = write_locked(d, data, size, off, RWF_DSYNC);
    mutex_unlock(&d->mu);
    if (n != -EINVAL && n != -ENOSYS && n != -EOPNOTSUPP)
        return n;
    if (is_tried)
        atomic_store_explicit(&d->posix.can_dsync, false, memory_order_relaxed);
    return -EOPNOTSUPP;
}

/* ---- sizes ---------------------------------------------------------------------------------------------------- */

/* Cut the padding [I1]. */
static int settle(struct direct_file *d)
{
    if (!d->is_writer)
        return 0;
    int rc = 0;
    mutex_lock(&d->mu);
    uint64_t size = atomic_load_explicit(&d->size, memory_order_relaxed);
    if (d->file_end != size) {
        do {
            rc = (int)IO_COUNTED(d->posix.file.io, d->posix.file.component, IO_OP_TRUNCATE,
                                 posix_truncate(&d->posix.file, size));
        } while (rc == -EINTR);
        d->file_end = rc == 0 ? size : d->file_end;
    }
    mutex_unlock(&d->mu);
    return rc;
}

static int direct_sync(struct io_file *file)
{
    int rc = settle(direct_of(file));
    return rc < 0 ? rc : posix_sync(file);
}

static int direct_truncate(struct io_file *file, uint64_t size)
{
    struct direct_file *d = direct_of(file);
    mutex_lock(&d->mu);
    int rc = posix_truncate(file, size);
    if (rc == 0) {
        d->tail_off = NO_TAIL;
        d->file_end = size;
        atomic_store_explicit(&d->size, size, memory_order_release);
    }
    mutex_unlock(&d->mu);
    return rc;
}

static int direct_preallocate(struct io_file *file, uint64_t off, uint64_t size)
{
    struct direct_file *d = direct_of(file);
    mutex_lock(&d->mu);
    int rc = posix_preallocate(file, off, size);
    if (rc == 0)
        wrote(d, off + size, off + size);
    mutex_unlock(&d->mu);
    return rc;
}

static int direct_size(struct io_file *file, uint64_t *out_size)
{
    struct direct_file *d = direct_of(file);
    if (!d->is_writer)
        return posix_size(file, out_size);
    *out_size = atomic_load_explicit(&d->size, memory_order_acquire);
    return 0;
}

static int direct_no_hint(struct io_file *file, uint64_t off, uint64_t size)
{
    (void)file, (void)off, (void)size; /* nothing waits in the cache */
    return 0;
}

static int direct_map(struct io_file *file, struct io_map *out_map)
{
    int rc = settle(direct_of(file));
    return rc < 0 ? rc : mmap_map(file, out_map);
}

static int direct_close(struct io_file *file)
{
    struct direct_file *d = direct_of(file);
    int rc = settle(d);
    mutex_deinit(&d->mu);
    mem_free(d->bounce);
    mem_free(d->tail);
    int close_rc = posix_close(file);
    return rc < 0 ? rc : close_rc;
}

static const struct io_file_ops direct_ops = {
    .close = direct_close,
    .read = direct_read,
    .write = direct_write,
    .write_durable = direct_write_durable,
    .sync = direct_sync,
    .preallocate = direct_preallocate,
    .truncate = direct_truncate,
    .size = direct_size,
    .start_writeback = direct_no_hint,
    .drop_cache = posix_drop_cache,
    .map = direct_map,
    .resident = posix_resident,
};

/* ---- opening -------------------------------------------------------------------------------------------------- */

/* statx(2) since Linux 6.1; neither number is in every build machine's headers, and the layout is ABI. */
enum { MASK_DIOALIGN = 0x2000, STATX_BYTES = 256, STATX_MASK_AT = 0, STATX_MEMORY_AT = 152, STATX_OFFSET_AT = 156 };

static bool is_usable_align(size_t align)
{
    return is_power_of_two(align) && align <= BLOCK_BYTES_MAX;
}

/* False: the kernel says that this file cannot be read directly. */
static bool probe_alignment(struct direct_file *d)
{
    uint8_t answer[STATX_BYTES] = {0};
    d->read_align = d->memory_align = PAGE_BYTES; /* fits every device that is in use */
    if (syscall(SYS_statx, d->posix.fd, "", AT_EMPTY_PATH, MASK_DIOALIGN, answer) == 0 &&
        (get_u32(answer + STATX_MASK_AT) & MASK_DIOALIGN)) {
        d->memory_align = get_u32(answer + STATX_MEMORY_AT);
        d->read_align = get_u32(answer + STATX_OFFSET_AT);
    }
    if (!is_usable_align(d->memory_align) || !is_usable_align(d->read_align))
        return false;
    d->memory_align = u64_max(d->memory_align, sizeof(void *));
    d->write_align = u64_max(d->read_align, PAGE_BYTES);
    return true;
}

/* Not with open(2): that creates the file before it refuses the flag. */
static bool switch_to_direct(int fd)
{
    int how = fcntl(fd, F_GETFL);
    return how >= 0 && fcntl(fd, F_SETFL, how | O_DIRECT) == 0;
}

static int direct_init(struct direct_file *d, unsigned flags)
{
    uint64_t size = 0;
    int rc = posix_size(&d->posix.file, &size);
    if (rc < 0)
        return rc;
    mutex_init(&d->mu);
    d->is_writer = (flags & IO_WRITE) != 0;
    d->tail_off = NO_TAIL;
    d->file_end = size;
    atomic_init(&d->size, size);
    d->posix.file.ops = &direct_ops;
    d->posix.file.model = IO_DIRECT;
    d->posix.file.batched = true;
    return 0;
}

int direct_open(const char *path, unsigned flags, struct io_file **out_file)
{
    struct direct_file *d = mem_zalloc(sizeof *d);
    if (d == NULL)
        return -ENOMEM;
    /* a block that is written in part must be read first, whatever the caller asked for */
    int rc = posix_file_open(&d->posix, path, flags & IO_WRITE ? flags | IO_READ : flags);
    if (rc == 0 && probe_alignment(d) && switch_to_direct(d->posix.fd)) {
        rc = direct_init(d, flags);
        if (rc < 0)
            (void)close(d->posix.fd);
    }
    if (rc < 0) {
        mem_free(d);
        return rc;
    }
    *out_file = &d->posix.file; /* with the standard operations where O_DIRECT is refused */
    return 0;
}
