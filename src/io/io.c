// SPDX-License-Identifier: Apache-2.0
/*
 * The dispatcher: every call of the engine for a file passes through here and nowhere else.
 *
 * The idea: backends are tables of leaf operations (backend.h) that move some bytes or answer -errno. What all of them
 * would otherwise repeat stands here once: the loop over short transfers and EINTR, the counters and the histogram per
 * component and operation, the check of ranges, the fall-back of a durable write to write and sync, and the message.
 *
 * [I1] A leaf operation is called inside IO_COUNTED only, so that no call goes uncounted.
 * [I2] A failed sync is reported as it is, EINTR included: a sync is never repeated, because the kernel may have marked
 *      the lost pages clean by then.
 * [I3] A write that moves nothing is an error, so that no loop here is endless.
 *
 * Threading: no state of its own but relaxed counters. Failure: the first error ends the call.
 * Why no mocking of libc instead: LD_PRELOAD or --wrap sees neither mappings nor io_uring, and a simulated disk needs
 * to know what is durable, not just which calls were made.
 */
#include "io/io.h"

#include <errno.h>

#include "base/alloc.h"
#include "io/backend.h"

static const char *const model_names[IO_MODEL_COUNT] = {"std", "mmap", "direct", "uring"};
static const char *const component_names[IO_COMPONENT_COUNT] = {"wal",   "manifest",   "sst",  "vlog",
                                                                "flush", "compaction", "other"};

/* ---- counters ------------------------------------------------------------------------------------------------- */

int64_t io_count_call(struct io *io, enum io_component component, enum io_op op, uint64_t begin_ns, int64_t result)
{
    struct io_op_stats *s = &io->stats[component].ops[op];
    uint64_t end_ns = io->ops->now_ns(io);
    /* relaxed, all of them: figures that order nothing */
    atomic_fetch_add_explicit(&s->calls, 1, memory_order_relaxed);
    if (result < 0)
        atomic_fetch_add_explicit(&s->errors, 1, memory_order_relaxed);
    else if (result > 0)
        atomic_fetch_add_explicit(&s->bytes, (uint64_t)result, memory_order_relaxed);
    histogram_add(&s->ns, end_ns > begin_ns ? end_ns - begin_ns : 0);
    return result;
}

void io_count_bytes(struct io *io, enum io_component component, enum io_op op, uint64_t bytes)
{
    atomic_fetch_add_explicit(&io->stats[component].ops[op].bytes, bytes, memory_order_relaxed);
}

static void users_add(struct io *io, int64_t n)
{
    /* relaxed: looked at only when io_destroy is called, which the caller orders behind everything else */
    atomic_fetch_add_explicit(&io->users, n, memory_order_relaxed);
}

/* ---- environments --------------------------------------------------------------------------------------------- */

void io_init(struct io *io, const struct io_env_ops *ops)
{
    io->ops = ops;
}

void io_destroy(struct io *io)
{
    if (io == NULL)
        return;
    ASSERT(atomic_load_explicit(&io->users, memory_order_relaxed) == 0);
    io->ops->destroy(io);
}

const struct io_component_stats *io_component_stats(const struct io *io, enum io_component component)
{
    ASSERT(component < IO_COMPONENT_COUNT);
    return &io->stats[component];
}

const char *io_model_name(enum io_model model)
{
    return (unsigned)model < IO_MODEL_COUNT ? model_names[model] : "?";
}

const char *io_component_name(enum io_component component)
{
    return (unsigned)component < IO_COMPONENT_COUNT ? component_names[component] : "?";
}

uint64_t io_now_ns(struct io *io)
{
    return io->ops->now_ns(io);
}

uint64_t io_wall_ms(struct io *io)
{
    return io->ops->wall_ms(io);
}

void io_sleep_ns(struct io *io, uint64_t ns)
{
    io->ops->sleep_ns(io, ns);
}

void io_memory_get(struct io *io, struct io_memory *out_memory)
{
    struct io_memory memory;
    io->ops->memory_get(io, &memory);
    ASSERT(memory.limit_bytes <= memory.total_bytes && memory.source != NULL);
    *out_memory = memory;
}

/* ---- open and close ------------------------------------------------------------------------------------------- */

static enum nokv_status open_check(const char *path, enum io_model model, unsigned flags)
{
    if ((unsigned)model >= IO_MODEL_COUNT)
        return FAIL(INVALID, "%s: there is no I/O model %d", path, (int)model);
    if (!(flags & (IO_READ | IO_WRITE)))
        return FAIL(INVALID, "%s: opened neither to be read nor to be written", path);
    if ((flags & IO_CREATE) && !(flags & IO_WRITE))
        return FAIL(INVALID, "%s: a file that is created must be opened to be written", path);
    if (model == IO_MMAP && (flags & IO_WRITE))
        return FAIL(INVALID, "%s: the mmap model is for reading sealed files; write with std, direct or uring", path);
    return NOKV_OK;
}

enum nokv_status io_open(struct io *io, const char *path, enum io_component component, enum io_model model,
                         unsigned flags, struct io_file **out_file)
{
    ASSERT(component < IO_COMPONENT_COUNT);
    TRY(open_check(path, model, flags));
    char *name CLEANUP(mem_free_ptr) = mem_strdup(path);
    if (name == NULL)
        return FAIL(NO_MEMORY, "%s: no memory to open it", path);
    struct io_file *file = NULL;
    int64_t rc = IO_COUNTED(io, component, IO_OP_OPEN, io->ops->open(io, path, component, model, flags, &file));
    if (rc < 0)
        return FAIL_ERRNO((int)-rc, "%s: could not %s it (%s)", path, flags & IO_CREATE ? "create" : "open",
                          io_model_name(model));
    file->io = io;
    file->path = TAKE(name);
    file->component = component;
    file->flags = flags;
    users_add(io, 1);
    *out_file = file;
    return NOKV_OK;
}

enum nokv_status io_close(struct io_file *file)
{
    if (file == NULL)
        return NOKV_OK;
    struct io *io = file->io;
    char *path CLEANUP(mem_free_ptr) = file->path;
    enum io_component component = file->component;
    int64_t rc = IO_COUNTED(io, component, IO_OP_CLOSE, file->ops->close(file));
    users_add(io, -1);
    return rc < 0 ? FAIL_ERRNO((int)-rc, "%s: could not close it", path) : NOKV_OK;
}

void io_close_ptr(struct io_file **file)
{
    (void)io_close(*file);
}

const char *io_path(const struct io_file *file)
{
    return file->path;
}

enum io_model io_file_model(const struct io_file *file)
{
    return file->model;
}

/* ---- data ----------------------------------------------------------------------------------------------------- */

/* The kernel's offsets are signed. */
static enum nokv_status range_check(const struct io_file *file, const char *what, uint64_t off, uint64_t size)
{
    if (UNLIKELY(off > INT64_MAX || size > INT64_MAX - off))
        return FAIL(INVALID, "%s: %s of %llu bytes at %llu is beyond any file", file->path, what,
                    (unsigned long long)size, (unsigned long long)off);
    return NOKV_OK;
}

/* The same answer from every backend: some must open a file with more than was asked for. */
static enum nokv_status access_check(const struct io_file *file, unsigned flag)
{
    if (UNLIKELY(!(file->flags & flag)))
        return FAIL(INVALID, "%s: not opened to be %s", file->path, flag == IO_READ ? "read" : "written");
    return NOKV_OK;
}

static enum nokv_status transfer_failed(const struct io_file *file, const char *what, size_t size, uint64_t off,
                                        int64_t rc)
{
    enum nokv_status status =
        FAIL_ERRNO((int)-rc, "%s: could not %s %zu bytes at %llu", file->path, what, size, (unsigned long long)off);
    /* no name is involved any more: whatever the device calls it, the file is there */
    return status == NOKV_ERR_NOT_FOUND || status == NOKV_ERR_EXISTS ? NOKV_ERR_IO : status;
}

static int64_t read_once(struct io_file *file, void *buffer, size_t size, uint64_t off)
{
    return IO_COUNTED(file->io, file->component, IO_OP_READ, file->ops->read(file, buffer, size, off));
}

enum nokv_status io_pread(struct io_file *file, void *buffer, size_t size, uint64_t off, size_t *out_size)
{
    TRY(access_check(file, IO_READ));
    TRY(range_check(file, "a read", off, size));
    size_t done = 0;
    while (done < size) {
        int64_t n = read_once(file, (uint8_t *)buffer + done, size - done, off + done);
        if (n == -EINTR)
            continue;
        if (UNLIKELY(n < 0))
            return transfer_failed(file, "read", size, off, n);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *out_size = done;
    return NOKV_OK;
}

enum nokv_status io_pread_exact(struct io_file *file, void *buffer, size_t size, uint64_t off)
{
    size_t got = 0;
    TRY(io_pread(file, buffer, size, off, &got));
    if (UNLIKELY(got < size))
        return FAIL(CORRUPT, "%s: ends at %llu, %zu bytes at %llu wanted", file->path, (unsigned long long)(off + got),
                    size, (unsigned long long)off);
    return NOKV_OK;
}

static int64_t write_once(struct io_file *file, const void *data, size_t size, uint64_t off)
{
    return IO_COUNTED(file->io, file->component, IO_OP_WRITE, file->ops->write(file, data, size, off));
}

enum nokv_status io_pwrite(struct io_file *file, const void *data, size_t size, uint64_t off)
{
    TRY(access_check(file, IO_WRITE));
    TRY(range_check(file, "a write", off, size));
    for (size_t done = 0; done < size;) {
        int64_t n = write_once(file, (const uint8_t *)data + done, size - done, off + done);
        if (n == -EINTR)
            continue;
        if (UNLIKELY(n <= 0)) /* [I3] */
            return transfer_failed(file, "write", size, off, n == 0 ? -EIO : n);
        done += (size_t)n;
    }
    return NOKV_OK;
}

/* One system call that is both: its time and its errors are those of a sync, its bytes are written ones. */
static int64_t write_durable_once(struct io_file *file, const void *data, size_t size, uint64_t off)
{
    uint64_t begin = file->io->ops->now_ns(file->io);
    int64_t n = file->ops->write_durable(file, data, size, off);
    if (n == -EOPNOTSUPP || n == -EINTR)
        return n; /* declined before anything was synced: what is done instead is counted */
    io_count_call(file->io, file->component, IO_OP_SYNC, begin, n < 0 ? n : 0);
    if (n > 0)
        io_count_bytes(file->io, file->component, IO_OP_WRITE, (uint64_t)n);
    return n;
}

enum nokv_status io_pwrite_durable(struct io_file *file, const void *data, size_t size, uint64_t off)
{
    TRY(access_check(file, IO_WRITE));
    TRY(range_check(file, "a write", off, size));
    for (size_t done = 0; done < size;) {
        int64_t n = write_durable_once(file, (const uint8_t *)data + done, size - done, off + done);
        if (n == -EINTR)
            continue;
        if (n == -EOPNOTSUPP) {
            TRY(io_pwrite(file, (const uint8_t *)data + done, size - done, off + done));
            return io_sync(file);
        }
        if (UNLIKELY(n <= 0))
            return transfer_failed(file, "write and sync", size, off, n == 0 ? -EIO : n);
        done += (size_t)n;
    }
    return NOKV_OK;
}

enum nokv_status io_sync(struct io_file *file)
{
    int64_t rc = IO_COUNTED(file->io, file->component, IO_OP_SYNC, file->ops->sync(file)); /* [I2] */
    return UNLIKELY(rc < 0) ? FAIL_ERRNO((int)-rc, "%s: could not sync it", file->path) : NOKV_OK;
}

enum nokv_status io_preallocate(struct io_file *file, uint64_t off, uint64_t size)
{
    TRY(access_check(file, IO_WRITE));
    TRY(range_check(file, "a reservation", off, size));
    if (size == 0)
        return NOKV_OK;
    int64_t rc;
    do {
        rc = IO_COUNTED(file->io, file->component, IO_OP_PREALLOCATE, file->ops->preallocate(file, off, size));
    } while (rc == -EINTR);
    if (UNLIKELY(rc < 0))
        return FAIL_ERRNO((int)-rc, "%s: could not reserve %llu bytes at %llu", file->path, (unsigned long long)size,
                          (unsigned long long)off);
    return NOKV_OK;
}

enum nokv_status io_truncate(struct io_file *file, uint64_t size)
{
    TRY(access_check(file, IO_WRITE));
    TRY(range_check(file, "a size", 0, size));
    int64_t rc;
    do {
        rc = IO_COUNTED(file->io, file->component, IO_OP_TRUNCATE, file->ops->truncate(file, size));
    } while (rc == -EINTR);
    if (UNLIKELY(rc < 0))
        return FAIL_ERRNO((int)-rc, "%s: could not set its size to %llu", file->path, (unsigned long long)size);
    return NOKV_OK;
}

enum nokv_status io_size(struct io_file *file, uint64_t *out_size)
{
    uint64_t size = 0;
    int64_t rc = IO_COUNTED(file->io, file->component, IO_OP_NAMESPACE, file->ops->size(file, &size));
    if (UNLIKELY(rc < 0))
        return FAIL_ERRNO((int)-rc, "%s: could not ask for its size", file->path);
    *out_size = size;
    return NOKV_OK;
}

void io_start_writeback(struct io_file *file, uint64_t off, uint64_t size)
{
    (void)IO_COUNTED(file->io, file->component, IO_OP_ADVISE, file->ops->start_writeback(file, off, size));
}

void io_drop_cache(struct io_file *file, uint64_t off, uint64_t size)
{
    (void)IO_COUNTED(file->io, file->component, IO_OP_ADVISE, file->ops->drop_cache(file, off, size));
}

void io_prefetch(struct io_file *file, uint64_t off, uint64_t size)
{
    if (file->ops->prefetch != NULL)
        (void)IO_COUNTED(file->io, file->component, IO_OP_ADVISE, file->ops->prefetch(file, off, size));
}

enum nokv_status io_skip_hole(struct io_file *file, uint64_t off, uint64_t *out_off)
{
    uint64_t found = off, size = 0;
    int64_t rc = file->ops->skip_hole
                     ? IO_COUNTED(file->io, file->component, IO_OP_ADVISE, file->ops->skip_hole(file, off, &found))
                     : 0;
    if (rc == -ENXIO) {
        TRY(io_size(file, &size));
        found = u64_max(size, off);
    }
    *out_off = rc == 0 || rc == -ENXIO ? found : off; /* any other answer: the file system cannot tell */
    return NOKV_OK;
}

/* Whole pages; size 0: to the end of the file. */
static uint64_t resident(struct io_file *file, uint64_t off, uint64_t size)
{
    uint64_t bytes = 0;
    if (file->ops->resident == NULL)
        return UINT64_MAX;
    int64_t rc = IO_COUNTED(file->io, file->component, IO_OP_ADVISE, file->ops->resident(file, off, size, &bytes));
    return rc < 0 ? UINT64_MAX : bytes;
}

uint64_t io_resident(struct io_file *file)
{
    return resident(file, 0, 0);
}

uint64_t io_resident_range(struct io_file *file, uint64_t off, uint64_t size)
{
    ASSERT(off % PAGE_BYTES == 0);
    if (size == 0)
        return 0;
    uint64_t bytes = resident(file, off, size);
    return bytes == UINT64_MAX ? bytes : u64_min(bytes, size); /* the last page may reach beyond the range */
}

/* ---- groups of reads ------------------------------------------------------------------------------------------ */

/* What a batch left undone (a short read, an interruption) is finished one by one. */
static void request_finish(struct io_read_request *r, int64_t first)
{
    r->got = first > 0 ? (size_t)first : 0;
    if (first < 0 && first != -EINTR && first != -EAGAIN) {
        r->status = transfer_failed(r->file, "read", r->size, r->off, first);
        return;
    }
    r->status = NOKV_OK;
    if (first == 0 || r->got == r->size)
        return; /* the end of the file, or all of it */
    size_t more = 0;
    r->status = io_pread(r->file, (uint8_t *)r->buffer + r->got, r->size - r->got, r->off + r->got, &more);
    r->got += more;
}

static void request_read_alone(struct io_read_request *r)
{
    r->got = 0;
    r->status = io_pread(r->file, r->buffer, r->size, r->off, &r->got);
}

static void batch_read(struct io *io, struct io_read_request **batch, size_t count)
{
    int64_t results[READ_BATCH_MAX];
    bool done = count > 0 && io->ops->read_batch(io, batch, results, count);
    for (size_t i = 0; i < count; i++) {
        if (done)
            request_finish(batch[i], results[i]);
        else
            request_read_alone(batch[i]);
    }
}

static bool request_is_batched(const struct io *io, const struct io_read_request *r)
{
    return io->ops->read_batch != NULL && r->file->batched && (r->file->flags & IO_READ) && r->size > 0 &&
           r->size <= INT32_MAX && r->off <= INT64_MAX - r->size;
}

enum nokv_status io_read_many(struct io *io, struct io_read_request *requests, size_t count)
{
    struct io_read_request *batch[READ_BATCH_MAX];
    size_t batched = 0;
    for (size_t i = 0; i < count; i++) {
        if (!request_is_batched(io, &requests[i])) {
            request_read_alone(&requests[i]);
            continue;
        }
        batch[batched++] = &requests[i];
        if (batched == READ_BATCH_MAX) {
            batch_read(io, batch, batched);
            batched = 0;
        }
    }
    batch_read(io, batch, batched);
    for (size_t i = 0; i < count; i++) {
        if (requests[i].status != NOKV_OK)
            return requests[i].status;
    }
    return NOKV_OK;
}

/* ---- mappings ------------------------------------------------------------------------------------------------- */

enum nokv_status io_map(struct io_file *file, struct io_map *out_map)
{
    TRY(access_check(file, IO_READ));
    struct io_map map = {.io = file->io, .component = file->component};
    int64_t rc = IO_COUNTED(file->io, file->component, IO_OP_MAP, file->ops->map(file, &map));
    if (UNLIKELY(rc < 0))
        return FAIL_ERRNO((int)-rc, "%s: could not map it", file->path);
    users_add(file->io, 1);
    *out_map = map;
    return NOKV_OK;
}

void io_unmap(struct io_map *map)
{
    if (map->io == NULL)
        return;
    struct io *io = map->io;
    (void)IO_COUNTED(io, map->component, IO_OP_MAP, io->ops->unmap(map));
    users_add(io, -1);
    *map = (struct io_map){0};
}

bool io_map_advise(const struct io_map *map, size_t off, size_t size, enum io_advice advice)
{
    ASSERT(off <= map->size && size <= map->size - off);
    if (size == 0)
        return true;
    return IO_COUNTED(map->io, map->component, IO_OP_ADVISE, map->io->ops->advise(map, off, size, advice)) == 0;
}

uint64_t io_map_resident(const struct io_map *map, size_t off, size_t size)
{
    ASSERT(off <= map->size && size <= map->size - off);
    if (size == 0)
        return 0;
    uint64_t bytes = 0;
    int64_t rc = IO_COUNTED(map->io, map->component, IO_OP_ADVISE, map->io->ops->resident(map, off, size, &bytes));
    return rc < 0 ? UINT64_MAX : bytes;
}

/* ---- the shared buffer ---------------------------------------------------------------------------------------- */

enum nokv_status io_shared_open(struct io *io, const char *path, size_t size, struct io_shared *out_shared)
{
    if (size == 0 || size > INT64_MAX)
        return FAIL(INVALID, "%s: a shared buffer of %zu bytes", path, size);
    struct io_shared shared = {.io = io, .size = size};
    int64_t rc = IO_COUNTED(io, IO_WAL, IO_OP_MAP, io->ops->shared_open(io, path, size, &shared));
    if (rc == -EEXIST)
        return FAIL(EXISTS, "%s: it exists with another size than %zu", path, size);
    if (rc < 0)
        return FAIL_ERRNO((int)-rc, "%s: could not make it a shared buffer of %zu bytes", path, size);
    users_add(io, 1);
    out_shared->data = shared.data; /* one by one: others may be looking whether it is lost */
    out_shared->size = shared.size;
    out_shared->io = shared.io;
    out_shared->impl = shared.impl;
    atomic_store_explicit(&out_shared->is_lost, false, memory_order_release);
    io_guard_shared_add(out_shared);
    return NOKV_OK;
}

void io_shared_close(struct io_shared *shared)
{
    if (shared->io == NULL)
        return;
    io_guard_shared_remove(shared);
    shared->io->ops->shared_close(shared);
    users_add(shared->io, -1);
    *shared = (struct io_shared){0};
}

/* ---- names ---------------------------------------------------------------------------------------------------- */

#define NAMESPACE(io, expr) IO_COUNTED(io, IO_OTHER, IO_OP_NAMESPACE, expr)

enum nokv_status io_rename(struct io *io, const char *from, const char *to)
{
    int64_t rc = NAMESPACE(io, io->ops->rename(io, from, to));
    return rc < 0 ? FAIL_ERRNO((int)-rc, "%s: could not rename it to %s", from, to) : NOKV_OK;
}

enum nokv_status io_unlink(struct io *io, const char *path)
{
    int64_t rc = NAMESPACE(io, io->ops->unlink(io, path));
    return rc < 0 ? FAIL_ERRNO((int)-rc, "%s: could not unlink it", path) : NOKV_OK;
}

enum nokv_status io_unlink_if_exists(struct io *io, const char *path)
{
    enum nokv_status status = io_unlink(io, path);
    return status == NOKV_ERR_NOT_FOUND ? NOKV_OK : status;
}

enum nokv_status io_mkdir(struct io *io, const char *path)
{
    int64_t rc = NAMESPACE(io, io->ops->mkdir(io, path));
    return rc < 0 ? FAIL_ERRNO((int)-rc, "%s: could not make the directory", path) : NOKV_OK;
}

enum nokv_status io_rmdir(struct io *io, const char *path)
{
    int64_t rc = NAMESPACE(io, io->ops->rmdir(io, path));
    if (rc == -ENOTEMPTY)
        return FAIL(IO, "%s: could not remove the directory: it is not empty", path);
    return rc < 0 ? FAIL_ERRNO((int)-rc, "%s: could not remove the directory", path) : NOKV_OK;
}

enum nokv_status io_sync_dir(struct io *io, const char *dir)
{
    int64_t rc = IO_COUNTED(io, IO_OTHER, IO_OP_SYNC_DIR, io->ops->sync_dir(io, dir));
    return rc < 0 ? FAIL_ERRNO((int)-rc, "%s: could not sync the directory", dir) : NOKV_OK;
}

enum nokv_status io_stat(struct io *io, const char *path, uint64_t *out_size)
{
    uint64_t size = 0;
    int64_t rc = NAMESPACE(io, io->ops->stat(io, path, &size));
    if (rc < 0)
        return FAIL_ERRNO((int)-rc, "%s: could not ask for its size", path);
    *out_size = size;
    return NOKV_OK;
}

bool io_exists(struct io *io, const char *path)
{
    uint64_t size = 0;
    return NAMESPACE(io, io->ops->stat(io, path, &size)) == 0;
}

enum nokv_status io_list(struct io *io, const char *dir, enum nokv_status (*fn)(void *arg, const char *name), void *arg)
{
    struct buf names CLEANUP(buf_deinit) = {0};
    int64_t rc = NAMESPACE(io, io->ops->list(io, dir, &names));
    if (rc < 0)
        return FAIL_ERRNO((int)-rc, "%s: could not list the directory", dir);
    for (size_t at = 0; at < names.size;) {
        const char *name = (const char *)names.data + at;
        TRY(fn(arg, name));
        at += strlen(name) + 1;
    }
    return NOKV_OK;
}

enum nokv_status io_lock(struct io *io, const char *path, bool exclusive, struct io_lock **out_lock)
{
    struct io_lock *lock = NULL;
    long pid = 0;
    int64_t rc = NAMESPACE(io, io->ops->lock(io, path, exclusive, &lock, &pid));
    if (rc == -EAGAIN && pid > 0)
        return FAIL(BUSY, "%s: locked by process %ld", path, pid);
    if (rc == -EAGAIN)
        return FAIL(BUSY, "%s: locked by handles that only read", path);
    if (rc < 0)
        return FAIL_ERRNO((int)-rc, "%s: could not lock it", path);
    lock->io = io;
    users_add(io, 1);
    *out_lock = lock;
    return NOKV_OK;
}

void io_unlock(struct io_lock *lock)
{
    if (lock == NULL)
        return;
    struct io *io = lock->io;
    io->ops->unlock(lock);
    users_add(io, -1);
}
