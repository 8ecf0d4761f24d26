// SPDX-License-Identifier: Apache-2.0
/*
 * io_uring: a ring per thread, made when the thread first needs it and closed when it ends.
 *
 * A single operation is one submission that is waited for: one system call, as pread would be. The gain is in groups:
 * read_batch hands any number of reads, of any files, to the kernel with one call and has the device work on them at
 * once. Files of the direct model join in there; a queue of one leaves most of a device idle.
 *
 * [I1] A function returns only when nothing that it submitted is in flight any more: the kernel writes to its buffers.
 * [I2] A ring that misbehaves is drained and discarded; what it did not take is done by plain calls. So a caller never
 *      sees an error that a plain call would not give, and a sync is never issued twice.
 * [I3] After fork the child discards the inherited ring: it belongs to the parent's thread.
 *
 * Threading: rings are thread-local, nothing is shared. Where the kernel refuses a ring (none, forbidden, out of locked
 * memory) files open with the standard operations, and io_uring_state() has the reason.
 * Why not one ring with a polling kernel thread: it would take a core, and submissions would need a lock.
 */
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#ifdef NOKV_MEMCHECK
#include <valgrind/memcheck.h>
#endif

#include "base/alloc.h"
#include "io/posix.h"

enum ring_state { RING_UNTRIED, RING_READY, RING_REFUSED };

struct thread_ring {
    struct io_uring ring;
};

/* owned by the thread; the pointer is also the value of ring_key, so that its destructor is called */
static _Thread_local struct thread_ring *thread_ring;
static _Thread_local enum ring_state thread_ring_state;

/*
 * Ends and beginnings of rings in one order. A ring's pages may be those of one that another thread closed; the kernel
 * orders that, but liburing enters it directly, so the thread sanitizer has to be told.
 */
static _Atomic unsigned ring_changes;

static pthread_once_t ring_once = PTHREAD_ONCE_INIT;
static pthread_key_t ring_key;

/* ---- rings ---------------------------------------------------------------------------------------------------- */

static void ring_close(enum ring_state next)
{
    struct thread_ring *r = TAKE(thread_ring);
    thread_ring_state = next;
    if (r != NULL) {
        /* release: our accesses to the pages come before those of whoever has them next */
        atomic_fetch_add_explicit(&ring_changes, 1, memory_order_release);
        io_uring_queue_exit(&r->ring);
        mem_free(r);
    }
}

/* The thread ends. What another destructor still reads makes a new ring, and this one is called again. */
static void on_thread_exit(void *arg)
{
    (void)arg;
    ring_close(RING_UNTRIED);
}

static void ring_discard(enum ring_state next)
{
    if (thread_ring != NULL)
        (void)pthread_setspecific(ring_key, NULL);
    ring_close(next);
}

/* GCOV_EXCL_START: it runs in the child, before fork returns and gcov sets the child's counters to zero */
static void after_fork(void)
{
    ring_discard(RING_UNTRIED); /* [I3] */
}
/* GCOV_EXCL_STOP */

static void ring_key_create(void)
{
    ASSERT(pthread_key_create(&ring_key, on_thread_exit) == 0);
    ASSERT(pthread_atfork(NULL, NULL, after_fork) == 0);
}

/* With the flags of Linux 6.1 that fit one thread that waits; without any on older kernels. */
static int queue_init(struct io_uring *ring)
{
    int rc = io_uring_queue_init(READ_BATCH_MAX, ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    return rc == -EINVAL ? io_uring_queue_init(READ_BATCH_MAX, ring, 0) : rc;
}

static int ring_create(void)
{
    (void)pthread_once(&ring_once, ring_key_create);
    struct thread_ring *r = mem_zalloc(sizeof *r);
    if (r == NULL)
        return -ENOMEM;
    int rc = queue_init(&r->ring);
    /* acquire: see ring_close */
    atomic_fetch_add_explicit(&ring_changes, 1, memory_order_acq_rel);
    if (rc == 0 && pthread_setspecific(ring_key, r) != 0) {
        io_uring_queue_exit(&r->ring);
        rc = -ENOMEM;
    }
    if (rc < 0) {
        mem_free(r);
        return rc;
    }
    thread_ring = r;
    return 0;
}

/* This thread's ring, made now if it never tried; NULL: refused. */
static struct io_uring *ring_get(void)
{
    if (thread_ring_state == RING_UNTRIED)
        thread_ring_state = ring_create() == 0 ? RING_READY : RING_REFUSED;
    return thread_ring_state == RING_READY ? &thread_ring->ring : NULL;
}

static const char *refusal(int err)
{
    switch (err) {
    case ENOSYS:
        return "refused: this kernel has no io_uring";
    case EPERM:
    case EACCES:
        return "refused: not permitted (kernel.io_uring_disabled, a seccomp filter or a container's policy)";
    case ENOMEM:
        return "refused: out of (locked) memory, see RLIMIT_MEMLOCK";
    case EMFILE:
    case ENFILE:
        return "refused: too many open files";
    default:
        return "refused: io_uring_setup failed";
    }
}

static bool ring_probe(struct io *io)
{
    struct real_io *real = CONTAINER_OF(io, struct real_io, io);
    int rc = 0;
    if (thread_ring_state != RING_READY) { /* after a refusal too: limits may have changed */
        rc = ring_create();
        thread_ring_state = rc == 0 ? RING_READY : RING_REFUSED;
    }
    /* relaxed: a figure */
    atomic_store_explicit(&real->uring_state, rc == 0 ? "on" : refusal(-rc), memory_order_relaxed);
    return rc == 0;
}

/* ---- submissions ---------------------------------------------------------------------------------------------- */

/* Wait for `count` completions; results are stored where each one's user data says. */
static void reap(struct io_uring *ring, int64_t *results, unsigned count)
{
    while (count > 0) {
        struct io_uring_cqe *cqe = NULL;
        int rc = io_uring_wait_cqe(ring, &cqe);
        if (rc < 0 || cqe == NULL)
            continue; /* interrupted; leaving would break [I1] */
        results[io_uring_cqe_get_data64(cqe)] = cqe->res;
        io_uring_cqe_seen(ring, cqe);
        count--;
    }
}

/*
 * Submit the `count` prepared entries and wait for them. `results` were set to -EAGAIN and stay so for what the kernel
 * did not take; the ring is gone then. `linked`: what is not taken together is not submitted alone, where nothing would
 * hold it back.
 */
static void ring_run(struct io_uring *ring, int64_t *results, unsigned count, bool linked)
{
    int rc = 0;
    while (io_uring_sq_ready(ring) > (linked ? count - 1 : 0) && (rc >= 0 || rc == -EINTR))
        rc = io_uring_submit_and_wait(ring, count);
    unsigned left = io_uring_sq_ready(ring);
    reap(ring, results, count - left);
    if (left > 0)
        ring_discard(RING_REFUSED); /* [I2] */
}

/* A prepared submission of one; -EAGAIN: do it by a plain call. REQUIRES: the ring is empty, so there is an entry. */
static int64_t ring_run_one(struct io_uring *ring, struct io_uring_sqe *sqe)
{
    int64_t result = -EAGAIN;
    io_uring_sqe_set_data64(sqe, 0);
    ring_run(ring, &result, 1, false);
    return result;
}

static unsigned transfer_size(size_t size)
{
    return (unsigned)u64_min(size, 1u << 30); /* the rest is left to the dispatcher's loop */
}

/* Not taken by the ring, or declined: the plain call finds out whether because of a flag, and gives that up. */
static bool is_left_to_plain_call(int64_t result)
{
    return result == -EAGAIN || result == -EINVAL || result == -EOPNOTSUPP;
}

/* The kernel has written it behind valgrind's back (preset memcheck). */
static void note_filled(const void *buffer, int64_t size)
{
    (void)buffer, (void)size;
#ifdef NOKV_MEMCHECK
    if (size > 0)
        (void)VALGRIND_MAKE_MEM_DEFINED(buffer, (size_t)size);
#endif
}

static int read_flags(struct io_file *file)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    bool is_cached = file->model != IO_DIRECT;
    return is_cached && atomic_load_explicit(&p->can_dontcache, memory_order_relaxed) ? RWF_DONTCACHE : 0;
}

/* ---- operations ----------------------------------------------------------------------------------------------- */

static int64_t uring_read(struct io_file *file, void *buffer, size_t size, uint64_t off)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    struct io_uring *ring = ring_get();
    if (ring == NULL)
        return posix_read(file, buffer, size, off);
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    io_uring_prep_read(sqe, p->fd, buffer, transfer_size(size), off);
    sqe->rw_flags = read_flags(file);
    int64_t n = ring_run_one(ring, sqe);
    note_filled(buffer, n);
    return is_left_to_plain_call(n) ? posix_read(file, buffer, size, off) : n;
}

static int64_t uring_write(struct io_file *file, const void *data, size_t size, uint64_t off)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    struct io_uring *ring = ring_get();
    if (ring == NULL)
        return posix_write(file, data, size, off);
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    io_uring_prep_write(sqe, p->fd, data, transfer_size(size), off);
    int64_t n = ring_run_one(ring, sqe);
    return n == -EAGAIN ? posix_write(file, data, size, off) : n;
}

/*
 * A write and a sync that the kernel begins when the write is through, as one submission. -EOPNOTSUPP when no sync was
 * begun: the dispatcher writes again and syncs. What a sync that was begun says is final [I2].
 */
static int64_t write_then_sync(struct io_uring *ring, int fd, const void *data, size_t size, uint64_t off)
{
    int64_t results[2] = {-EAGAIN, -EAGAIN};
    struct io_uring_sqe *write = io_uring_get_sqe(ring), *sync = io_uring_get_sqe(ring);
    io_uring_prep_write(write, fd, data, (unsigned)size, off);
    io_uring_sqe_set_data64(write, 0);
    write->flags |= IOSQE_IO_LINK;
    io_uring_prep_fsync(sync, fd, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data64(sync, 1);
    ring_run(ring, results, 2, true);
    bool is_whole = results[0] == (int64_t)size, was_taken = thread_ring_state == RING_READY;
    if (was_taken && is_whole && results[1] == 0)
        return results[0];
    if (was_taken && (is_whole || results[1] != -ECANCELED)) /* a sync was begun, or should have been: not again */
        return results[1] >= 0 || results[1] == -ECANCELED || results[1] == -EINTR || results[1] == -EOPNOTSUPP
                   ? -EIO
                   : results[1];
    bool is_left = results[0] >= 0 || is_left_to_plain_call(results[0]);
    return is_left ? -EOPNOTSUPP : results[0];
}

static int64_t uring_write_durable(struct io_file *file, const void *data, size_t size, uint64_t off)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    struct io_uring *ring = ring_get();
    if (ring == NULL)
        return posix_write_durable(file, data, size, off);
    if (!atomic_load_explicit(&p->can_dsync, memory_order_relaxed))
        return size > transfer_size(size) ? -EOPNOTSUPP : write_then_sync(ring, p->fd, data, size, off);
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    io_uring_prep_write(sqe, p->fd, data, transfer_size(size), off);
    sqe->rw_flags = RWF_DSYNC;
    int64_t n = ring_run_one(ring, sqe);
    return is_left_to_plain_call(n) ? posix_write_durable(file, data, size, off) : n;
}

static int uring_sync(struct io_file *file)
{
    struct posix_file *p = CONTAINER_OF(file, struct posix_file, file);
    struct io_uring *ring = ring_get();
    if (ring == NULL)
        return posix_sync(file);
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    io_uring_prep_fsync(sqe, p->fd, IORING_FSYNC_DATASYNC);
    int64_t result = ring_run_one(ring, sqe);
    bool was_taken = thread_ring_state == RING_READY;
    return was_taken ? (int)result : posix_sync(file); /* [I2] */
}

static const struct io_file_ops uring_ops = {
    .close = posix_close,
    .read = uring_read,
    .write = uring_write,
    .write_durable = uring_write_durable,
    .sync = uring_sync,
    .preallocate = posix_preallocate,
    .truncate = posix_truncate,
    .size = posix_size,
    .start_writeback = posix_start_writeback,
    .drop_cache = posix_drop_cache,
    .prefetch = posix_prefetch,
    .skip_hole = posix_skip_hole,
    .resident = posix_resident,
    .map = mmap_map,
};

int uring_open(struct io *io, const char *path, unsigned flags, struct io_file **out_file)
{
    int rc = posix_open(path, flags, out_file);
    if (rc < 0 || !ring_probe(io))
        return rc;
    struct io_file *file = *out_file;
    file->ops = &uring_ops;
    file->model = IO_URING;
    file->batched = true;
    return 0;
}

/* ---- groups --------------------------------------------------------------------------------------------------- */

/* What one request of a group reads, and where to. */
static int batch_plan(const struct io_read_request *r, struct direct_read *out)
{
    if (r->file->model == IO_DIRECT)
        return direct_read_plan(r->file, r->buffer, r->size, r->off, out);
    *out = (struct direct_read){.user = r->buffer, .buffer = r->buffer, .size = r->size, .off = r->off};
    return 0;
}

static void batch_prepare(struct io_uring *ring, const struct io_read_request *r, const struct direct_read *plan,
                          size_t index)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    ASSERT(sqe != NULL); /* the ring is empty between calls, and as large as a batch */
    io_uring_prep_read(sqe, CONTAINER_OF(r->file, struct posix_file, file)->fd, plan->buffer, transfer_size(plan->size),
                       plan->off);
    sqe->rw_flags = read_flags(r->file);
    io_uring_sqe_set_data64(sqe, index);
}

bool uring_read_batch(struct io *io, struct io_read_request *const *requests, int64_t *results, size_t count)
{
    struct direct_read plans[READ_BATCH_MAX];
    unsigned prepared = 0;
    struct io_uring *ring = ring_get();
    if (ring == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        results[i] = -EAGAIN; /* read alone */
        if (batch_plan(requests[i], &plans[i]) < 0)
            plans[i].size = 0;
        else if (plans[i].size == 0)
            results[i] = 0; /* behind the end */
        if (plans[i].size == 0)
            continue;
        batch_prepare(ring, requests[i], &plans[i], i);
        prepared++;
    }
    uint64_t begin = io->ops->now_ns(io);
    if (prepared > 0)
        ring_run(ring, results, prepared, false);
    io_count_call(io, requests[0]->file->component, IO_OP_READ, begin, 0);
    for (size_t i = 0; i < count; i++) {
        note_filled(plans[i].buffer, results[i]);
        if (is_left_to_plain_call(results[i]) ||
            (requests[i]->file->model == IO_DIRECT && direct_may_tell_of_a_write(results[i])))
            results[i] = -EAGAIN;
        results[i] = direct_read_land(&plans[i], results[i]);
        if (results[i] > 0)
            io_count_bytes(io, requests[i]->file->component, IO_OP_READ, (uint64_t)results[i]);
    }
    return true;
}
