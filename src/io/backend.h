// SPDX-License-Identifier: Apache-2.0
/*
 * io/backend.h - what a backend implements: leaf operations that issue one transfer and answer with a count or -errno.
 *
 * Only src/io includes it. The dispatcher (io.c) is the one caller of these tables: it loops over short transfers,
 * counts each call, and turns an errno into a status whose message names path and operation. So a backend contains no
 * loop over a transfer, no counter and no message, and behaves in each of them like every other backend. A backend that
 * issues further system calls inside one operation counts those itself with io_count_*.
 */
#ifndef IO_BACKEND_H
#define IO_BACKEND_H

#include <stdatomic.h>

#include "base/buf.h"
#include "io/io.h"

struct io_env_ops {
    void (*destroy)(struct io *io);
    uint64_t (*now_ns)(struct io *io);
    uint64_t (*wall_ms)(struct io *io);
    void (*sleep_ns)(struct io *io, uint64_t ns);
    void (*memory_get)(struct io *io, struct io_memory *out_memory);
    /* Sets ops and model of *out_file; the dispatcher fills in the rest. `flags` were checked. */
    int (*open)(struct io *io, const char *path, enum io_component component, enum io_model model, unsigned flags,
                struct io_file **out_file);
    int (*rename)(struct io *io, const char *from, const char *to);
    int (*unlink)(struct io *io, const char *path);
    int (*mkdir)(struct io *io, const char *path);
    int (*rmdir)(struct io *io, const char *path);
    int (*sync_dir)(struct io *io, const char *dir);
    int (*stat)(struct io *io, const char *path, uint64_t *out_size);
    /* Appends each name with its terminating zero. */
    int (*list)(struct io *io, const char *dir, struct buf *names);
    /* -EAGAIN: held by somebody else; *out_pid is then the exclusive owner's pid, 0 when shared owners hold it. */
    int (*lock)(struct io *io, const char *path, bool exclusive, struct io_lock **out_lock, long *out_pid);
    void (*unlock)(struct io_lock *lock);
    int (*unmap)(struct io_map *map);
    /* Page-aligned or not: the backend widens the range to whole pages. */
    int (*advise)(const struct io_map *map, size_t off, size_t size, enum io_advice advice);
    int (*resident)(const struct io_map *map, size_t off, size_t size, uint64_t *out_bytes);
    /* -EEXIST: it is there with another size. */
    int (*shared_open)(struct io *io, const char *path, size_t size, struct io_shared *out_shared);
    void (*shared_close)(struct io_shared *shared);
    /* Issue up to READ_BATCH_MAX reads of `batched` files together and count them. Fills in `results` (bytes or
     * -errno). False: could not, nothing was read; the caller reads them one by one. NULL: this environment has no such
     * thing. */
    bool (*read_batch)(struct io *io, struct io_read_request *const *requests, int64_t *results, size_t count);
};

enum { READ_BATCH_MAX = 64 };

struct io_file_ops {
    int (*close)(struct io_file *file); /* frees the file */
    int64_t (*read)(struct io_file *file, void *buffer, size_t size, uint64_t off);
    int64_t (*write)(struct io_file *file, const void *data, size_t size, uint64_t off);
    /* As write, durable with the size on return. -EOPNOTSUPP: the dispatcher writes and syncs instead. */
    int64_t (*write_durable)(struct io_file *file, const void *data, size_t size, uint64_t off);
    int (*sync)(struct io_file *file);
    int (*preallocate)(struct io_file *file, uint64_t off, uint64_t size);
    int (*truncate)(struct io_file *file, uint64_t size);
    int (*size)(struct io_file *file, uint64_t *out_size);
    int (*start_writeback)(struct io_file *file, uint64_t off, uint64_t size);
    int (*drop_cache)(struct io_file *file, uint64_t off, uint64_t size);
    int (*map)(struct io_file *file, struct io_map *out_map);           /* sets data, size, impl */
    int (*prefetch)(struct io_file *file, uint64_t off, uint64_t size); /* NULL: there is nowhere to bring it */
    /* Both may be NULL: this backend cannot tell. */
    int (*skip_hole)(struct io_file *file, uint64_t off, uint64_t *out_off); /* -ENXIO: only zeros up to the end */
    /* Pages of [off, off + size), in bytes; `off` is page-aligned, size 0: to the end of the file. */
    int (*resident)(struct io_file *file, uint64_t off, uint64_t size, uint64_t *out_bytes);
};

/* An environment embeds it as its first member. */
struct io {
    /* set at creation, then constant */
    const struct io_env_ops *ops;
    /* atomic, relaxed: figures */
    struct io_component_stats stats[IO_COMPONENT_COUNT];
    /* atomic, relaxed: open files, maps, shared buffers and locks; io_destroy asserts that there are none */
    _Atomic int64_t users;
};

/* A backend's file embeds it as its first member. Constant after open. */
struct io_file {
    const struct io_file_ops *ops;
    struct io *io;
    char *path; /* owned */
    enum io_component component;
    enum io_model model;
    unsigned flags;
    bool batched; /* io_env_ops.read_batch takes it */
};

/* An environment's lock embeds it as its first member. */
struct io_lock {
    struct io *io;
};

void io_init(struct io *io, const struct io_env_ops *ops);

/* Count one call that began at `begin_ns` and ended with `result` (a byte count, 0, or -errno). Returns `result`. */
int64_t io_count_call(struct io *io, enum io_component component, enum io_op op, uint64_t begin_ns, int64_t result);
/* Bytes beyond those that the caller asked for: padding to an alignment. */
void io_count_bytes(struct io *io, enum io_component component, enum io_op op, uint64_t bytes);

/* `expr` is evaluated between the two looks at the clock. */
#define IO_COUNTED(io, component, op, expr)                                      \
    __extension__({                                                              \
        uint64_t counted_begin_ = (io)->ops->now_ns(io);                         \
        int64_t counted_result_ = (expr);                                        \
        io_count_call((io), (component), (op), counted_begin_, counted_result_); \
    })

#endif
