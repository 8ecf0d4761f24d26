// SPDX-License-Identifier: Apache-2.0
/*
 * One life of a process on the simulated disk: the environment's operations.
 *
 * Every operation first takes a step: it moves the clock, and it fails when the power is off by then or when a failure
 * is planned for it. All models are served by the same operations; what a model does to the page cache is not
 * simulated. A durable write is one step that counts as a sync, and a plan for writes finds it as well.
 *
 * Threading: each operation holds the disk's mutex throughout, so they have one order.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/sim_disk.h"

/* The simulated date at clock 0: an arbitrary fixed one, so that runs repeat. */
#define WALL_BASE_MS 1767225600000ull

struct sim_io {
    struct io io;
    struct sim *sim;
};

struct sim_file {
    struct io_file file;
    struct sim *sim;
    struct sim_node *node;
    unsigned flags;
    enum io_component component;
};

struct sim_map {
    struct sim *sim;
    struct sim_node *node;
    struct sim_bytes *bytes;
};

struct sim_lock {
    struct io_lock lock;
    struct sim *sim;
    struct sim_node *node;
    bool is_exclusive;
    struct sim_lock *next;
};

static struct sim *sim_of(struct io *io)
{
    return CONTAINER_OF(io, struct sim_io, io)->sim;
}

static struct sim_file *file_of(struct io_file *file)
{
    return CONTAINER_OF(file, struct sim_file, file);
}

/* ---- steps ---------------------------------------------------------------------------------------------------- */

static bool plan_matches(const struct sim_plan *p, enum io_op op, enum io_op also, enum io_component component)
{
    return p->is_set && (p->op == IO_OP_COUNT || p->op == op || p->op == also) &&
           (p->component == IO_COMPONENT_COUNT || p->component == component);
}

static int plan_check(struct sim *s, enum io_op op, enum io_op also, enum io_component component)
{
    struct sim_plan *p = &s->plan;
    if (!plan_matches(p, op, also, component))
        return 0;
    if (p->countdown > 1) {
        p->countdown--;
        return 0;
    }
    atomic_fetch_add_explicit(&s->failures[p->op], 1, memory_order_relaxed); /* a counter */
    p->has_failed = true;
    p->is_set = p->is_sticky;
    return -p->err;
}

/* REQUIRES: mu is held. `also`: a second kind under which a plan may find the operation. */
static int step_as(struct sim *s, enum io_op op, enum io_op also, enum io_component component)
{
    s->is_crashed = s->is_crashed || s->steps >= s->crash_at;
    if (s->is_crashed)
        return -EIO;
    s->steps++;
    /* relaxed: a clock of tests */
    atomic_fetch_add_explicit(&s->clock_ns, s->options.step_ns, memory_order_relaxed);
    return plan_check(s, op, also, component);
}

static int step(struct sim *s, enum io_op op, enum io_component component)
{
    return step_as(s, op, op, component);
}

/* How much of a transfer happens at once; 0: it is interrupted. */
static uint64_t transfer_part(struct sim *s, uint64_t size)
{
    if (!s->options.short_transfers || size < 2)
        return size;
    switch (sim_draw(&s->random) % 8) {
    case 0:
        return 0;
    case 1:
    case 2:
    case 3:
        return 1 + sim_draw(&s->random) % size;
    default:
        return size;
    }
}

/* ---- the clock ------------------------------------------------------------------------------------------------ */

static uint64_t sim_now_ns(struct io *io)
{
    return atomic_load_explicit(&sim_of(io)->clock_ns, memory_order_relaxed);
}

static uint64_t sim_wall_ms(struct io *io)
{
    return WALL_BASE_MS + sim_now_ns(io) / 1000000;
}

static void sim_sleep_ns(struct io *io, uint64_t ns)
{
    atomic_fetch_add_explicit(&sim_of(io)->clock_ns, ns, memory_order_relaxed);
}

static void sim_memory_get(struct io *io, struct io_memory *out_memory)
{
    struct sim *s = sim_of(io);
    mutex_lock(&s->mu);
    *out_memory = s->memory;
    mutex_unlock(&s->mu);
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

static int64_t read_locked(struct sim_file *f, void *buffer, uint64_t size, uint64_t off)
{
    struct sim *s = f->sim;
    ASSERT(f->flags & IO_READ); /* the dispatcher has checked, here and below */
    int rc = step(s, IO_OP_READ, f->component);
    if (rc < 0)
        return rc;
    if (off >= f->node->size)
        return 0;
    uint64_t part = transfer_part(s, u64_min(size, f->node->size - off));
    if (part == 0)
        return -EINTR;
    memcpy(buffer, f->node->bytes->data + off, part);
    return (int64_t)part;
}

static int64_t sim_read(struct io_file *file, void *buffer, size_t size, uint64_t off)
{
    struct sim_file *f = file_of(file);
    mutex_lock(&f->sim->mu);
    int64_t n = read_locked(f, buffer, size, off);
    mutex_unlock(&f->sim->mu);
    return n;
}

static int64_t write_part(struct sim_file *f, const void *data, uint64_t size, uint64_t off, bool is_durable)
{
    uint64_t end = 0;
    sim_charge(f->sim, f->node, off + size, &end);
    if (end <= off)
        return -ENOSPC;
    int rc = sim_node_write(f->node, data, end - off, off, is_durable);
    return rc < 0 ? rc : (int64_t)(end - off);
}

/* The planned failure of a write leaves a part of it behind now and then. */
static int64_t write_failed(struct sim_file *f, const void *data, uint64_t size, uint64_t off, int rc)
{
    if (!f->sim->is_crashed && sim_one_in(&f->sim->random, 2))
        (void)write_part(f, data, sim_draw(&f->sim->random) % (size + 1), off, false);
    return rc;
}

static int64_t write_locked(struct sim_file *f, const void *data, uint64_t size, uint64_t off)
{
    ASSERT(f->flags & IO_WRITE);
    int rc = step(f->sim, IO_OP_WRITE, f->component);
    if (rc < 0)
        return write_failed(f, data, size, off, rc);
    uint64_t part = transfer_part(f->sim, size);
    return part == 0 ? -EINTR : write_part(f, data, part, off, false);
}

static int64_t sim_write(struct io_file *file, const void *data, size_t size, uint64_t off)
{
    struct sim_file *f = file_of(file);
    mutex_lock(&f->sim->mu);
    int64_t n = write_locked(f, data, size, off);
    mutex_unlock(&f->sim->mu);
    return n;
}

/* The planned failure of a sync. */
static int sync_failed(struct sim_file *f, int rc)
{
    if (f->sim->is_crashed)
        return rc;
    bool keep = f->sim->options.failed_syncs_keep;
    int drop_rc = keep ? sim_node_lose_unsynced(f->node) : sim_node_drop_unsynced(f->node);
    return drop_rc < 0 ? drop_rc : rc;
}

static int64_t write_durable_locked(struct sim_file *f, const void *data, uint64_t size, uint64_t off)
{
    ASSERT(f->flags & IO_WRITE);
    bool is_write_plan = f->sim->plan.op == IO_OP_WRITE;
    int rc = step_as(f->sim, IO_OP_SYNC, IO_OP_WRITE, f->component);
    if (rc < 0)
        return is_write_plan ? write_failed(f, data, size, off, rc) : sync_failed(f, rc);
    uint64_t part = transfer_part(f->sim, size);
    return part == 0 ? -EINTR : write_part(f, data, part, off, !f->sim->options.syncs_lie);
}

static int64_t sim_write_durable(struct io_file *file, const void *data, size_t size, uint64_t off)
{
    struct sim_file *f = file_of(file);
    mutex_lock(&f->sim->mu);
    int64_t n = write_durable_locked(f, data, size, off);
    mutex_unlock(&f->sim->mu);
    return n;
}

static int sim_sync(struct io_file *file)
{
    struct sim_file *f = file_of(file);
    mutex_lock(&f->sim->mu);
    int rc = step(f->sim, IO_OP_SYNC, f->component);
    if (rc < 0)
        rc = sync_failed(f, rc);
    else if (!f->sim->options.syncs_lie)
        sim_node_sync(f->node);
    mutex_unlock(&f->sim->mu);
    return rc;
}

static int preallocate_locked(struct sim_file *f, uint64_t end)
{
    ASSERT(f->flags & IO_WRITE);
    int rc = step(f->sim, IO_OP_PREALLOCATE, f->component);
    if (rc < 0)
        return rc;
    uint64_t before = f->node->charged, reserved = 0;
    sim_charge(f->sim, f->node, end, &reserved);
    rc = reserved < end ? -ENOSPC : end > f->node->size ? sim_node_resize(f->node, end) : 0;
    if (rc < 0)
        sim_uncharge(f->sim, f->node, before);
    return rc;
}

static int sim_preallocate(struct io_file *file, uint64_t off, uint64_t size)
{
    struct sim_file *f = file_of(file);
    mutex_lock(&f->sim->mu);
    int rc = preallocate_locked(f, off + size);
    mutex_unlock(&f->sim->mu);
    return rc;
}

static int sim_truncate(struct io_file *file, uint64_t size)
{
    struct sim_file *f = file_of(file);
    ASSERT(f->flags & IO_WRITE);
    mutex_lock(&f->sim->mu);
    int rc = step(f->sim, IO_OP_TRUNCATE, f->component);
    if (rc == 0)
        rc = sim_node_resize(f->node, size);
    if (rc == 0)
        sim_uncharge(f->sim, f->node, size);
    mutex_unlock(&f->sim->mu);
    return rc;
}

static int sim_size(struct io_file *file, uint64_t *out_size)
{
    struct sim_file *f = file_of(file);
    mutex_lock(&f->sim->mu);
    int rc = f->sim->is_crashed ? -EIO : 0;
    *out_size = f->node->size;
    mutex_unlock(&f->sim->mu);
    return rc;
}

/* A page of zeros may be a hole: real file systems punch them and reserve them. */
static int sim_skip_hole(struct io_file *file, uint64_t off, uint64_t *out_off)
{
    static const uint8_t zeros[PAGE_BYTES];
    struct sim_file *f = file_of(file);
    mutex_lock(&f->sim->mu);
    uint64_t size = f->node->size, at = off;
    while (at < size) {
        uint64_t next = u64_min(at - at % PAGE_BYTES + PAGE_BYTES, size);
        if (memcmp(f->node->bytes->data + at, zeros, next - at) != 0)
            break;
        at = next;
    }
    int rc = f->sim->is_crashed ? -EIO : at >= size ? -ENXIO : 0;
    *out_off = at;
    mutex_unlock(&f->sim->mu);
    return rc;
}

/* The disk is memory: all of it is resident. */
static int sim_file_resident(struct io_file *file, uint64_t off, uint64_t size, uint64_t *out_bytes)
{
    uint64_t end = 0;
    int rc = sim_size(file, &end);
    uint64_t left = off >= end ? 0 : end - off;
    *out_bytes = size == 0 ? left : u64_min(size, left);
    return rc;
}

static int sim_hint(struct io_file *file, uint64_t off, uint64_t size)
{
    (void)file, (void)off, (void)size;
    return 0;
}

static void node_close(struct sim *s, struct sim_node *node)
{
    node->opens--;
    sim_node_released(s, node);
    sim_node_unref(node);
}

static int sim_close(struct io_file *file)
{
    struct sim_file *f = file_of(file);
    mutex_lock(&f->sim->mu);
    node_close(f->sim, f->node);
    mutex_unlock(&f->sim->mu);
    mem_free(f);
    return 0;
}

/* ---- mappings ------------------------------------------------------------------------------------------------- */

static int map_locked(struct sim_file *f, struct sim_map *m, struct io_map *out_map)
{
    ASSERT(f->flags & IO_READ);
    int rc = step(f->sim, IO_OP_MAP, f->component);
    if (rc == 0)
        rc = sim_node_pin_bytes(f->node, &m->bytes);
    if (rc < 0)
        return rc;
    m->sim = f->sim;
    m->node = sim_node_ref(f->node);
    m->node->maps++;
    m->node->opens++;
    out_map->size = f->node->size;
    out_map->data = f->node->size ? m->bytes->data : NULL;
    out_map->impl = m;
    return 0;
}

static int sim_map(struct io_file *file, struct io_map *out_map)
{
    struct sim_file *f = file_of(file);
    struct sim_map *m = mem_zalloc(sizeof *m);
    if (m == NULL)
        return -ENOMEM;
    mutex_lock(&f->sim->mu);
    int rc = map_locked(f, m, out_map);
    mutex_unlock(&f->sim->mu);
    if (rc < 0)
        mem_free(m);
    return rc;
}

static int sim_unmap(struct io_map *map)
{
    struct sim_map *m = map->impl;
    mutex_lock(&m->sim->mu);
    m->node->maps--;
    node_close(m->sim, m->node);
    sim_bytes_unref(m->bytes);
    mutex_unlock(&m->sim->mu);
    mem_free(m);
    return 0;
}

static int sim_advise(const struct io_map *map, size_t off, size_t size, enum io_advice advice)
{
    (void)map, (void)off, (void)size, (void)advice;
    return 0;
}

static int sim_resident(const struct io_map *map, size_t off, size_t size, uint64_t *out_bytes)
{
    (void)map, (void)off;
    *out_bytes = size;
    return 0;
}

static const struct io_file_ops sim_file_ops = {
    .close = sim_close,
    .read = sim_read,
    .write = sim_write,
    .write_durable = sim_write_durable,
    .sync = sim_sync,
    .preallocate = sim_preallocate,
    .truncate = sim_truncate,
    .size = sim_size,
    .start_writeback = sim_hint,
    .drop_cache = sim_hint,
    .prefetch = sim_hint,
    .map = sim_map,
    .skip_hole = sim_skip_hole,
    .resident = sim_file_resident,
};

/* ---- opening -------------------------------------------------------------------------------------------------- */

/* Borrowed. */
static int open_node(struct sim *s, const char *path, bool create, struct sim_node **out_node)
{
    if (create)
        return sim_name_create(s, path, false, out_node);
    int rc = sim_lookup(s, path, out_node);
    return rc == 0 && (*out_node)->is_dir ? -EISDIR : rc;
}

static struct sim_node *node_open(struct sim_node *node)
{
    ASSERT(node != NULL);
    node->opens++;
    return sim_node_ref(node);
}

static int sim_open(struct io *io, const char *path, enum io_component component, enum io_model model, unsigned flags,
                    struct io_file **out_file)
{
    struct sim *s = sim_of(io);
    struct sim_file *f = mem_zalloc(sizeof *f);
    if (f == NULL)
        return -ENOMEM;
    struct sim_node *node = NULL;
    mutex_lock(&s->mu);
    int rc = step(s, IO_OP_OPEN, component);
    if (rc == 0)
        rc = open_node(s, path, flags & IO_CREATE, &node);
    if (rc == 0)
        f->node = node_open(node);
    mutex_unlock(&s->mu);
    if (rc < 0) {
        mem_free(f);
        return rc;
    }
    f->file.ops = &sim_file_ops;
    f->file.model = model;
    f->sim = s;
    f->flags = flags;
    f->component = component;
    *out_file = &f->file;
    return 0;
}

/* ---- the shared buffer ---------------------------------------------------------------------------------------- */

/* An empty file is a new one, as for the real environment. */
static int shared_prepare(struct sim *s, struct sim_node *node, size_t size)
{
    if (node->size == size)
        return 0;
    if (node->size != 0)
        return -EEXIST;
    int rc = step(s, IO_OP_PREALLOCATE, IO_WAL);
    uint64_t end = 0;
    if (rc == 0)
        sim_charge(s, node, size, &end);
    if (rc == 0 && end < size)
        rc = -ENOSPC;
    if (rc == 0)
        rc = sim_node_resize(node, size);
    if (rc < 0)
        sim_uncharge(s, node, 0);
    return rc;
}

static int shared_open_locked(struct sim *s, const char *path, size_t size, struct sim_map *m, uint8_t **out_data)
{
    struct sim_node *node = NULL;
    int rc = step(s, IO_OP_MAP, IO_WAL);
    if (rc == 0)
        rc = sim_lookup(s, path, &node);
    bool is_new = rc == -ENOENT;
    if (is_new)
        rc = sim_name_create(s, path, false, &node);
    if (rc == 0)
        rc = node->is_dir ? -EISDIR : shared_prepare(s, node, size);
    if (rc == 0)
        rc = sim_node_shared_begin(node, out_data);
    if (rc < 0) {
        if (is_new && node != NULL)
            (void)sim_name_remove(s, path, false);
        return rc;
    }
    m->sim = s;
    m->node = node_open(node);
    return 0;
}

static int sim_shared_open(struct io *io, const char *path, size_t size, struct io_shared *out_shared)
{
    struct sim *s = sim_of(io);
    struct sim_map *m = mem_zalloc(sizeof *m);
    if (m == NULL)
        return -ENOMEM;
    mutex_lock(&s->mu);
    int rc = shared_open_locked(s, path, size, m, &out_shared->data);
    mutex_unlock(&s->mu);
    if (rc < 0)
        mem_free(m);
    else
        out_shared->impl = m;
    return rc;
}

static void sim_shared_close(struct io_shared *shared)
{
    struct sim_map *m = shared->impl;
    mutex_lock(&m->sim->mu);
    sim_node_shared_end(m->node);
    node_close(m->sim, m->node);
    mutex_unlock(&m->sim->mu);
    mem_free(m);
}

/* ---- names ---------------------------------------------------------------------------------------------------- */

static int sim_rename(struct io *io, const char *from, const char *to)
{
    struct sim *s = sim_of(io);
    mutex_lock(&s->mu);
    int rc = step(s, IO_OP_NAMESPACE, IO_OTHER);
    if (rc == 0)
        rc = sim_name_rename(s, from, to);
    mutex_unlock(&s->mu);
    return rc;
}

static int remove_name(struct io *io, const char *path, bool is_dir)
{
    struct sim *s = sim_of(io);
    mutex_lock(&s->mu);
    int rc = step(s, IO_OP_NAMESPACE, IO_OTHER);
    if (rc == 0)
        rc = sim_name_remove(s, path, is_dir);
    mutex_unlock(&s->mu);
    return rc;
}

static int sim_unlink(struct io *io, const char *path)
{
    return remove_name(io, path, false);
}

static int sim_rmdir(struct io *io, const char *path)
{
    return remove_name(io, path, true);
}

static int sim_mkdir(struct io *io, const char *path)
{
    struct sim *s = sim_of(io);
    struct sim_node *node = NULL;
    mutex_lock(&s->mu);
    int rc = step(s, IO_OP_NAMESPACE, IO_OTHER);
    if (rc == 0)
        rc = sim_name_create(s, path, true, &node);
    mutex_unlock(&s->mu);
    return rc;
}

/* Borrowed. */
static int lookup_dir(struct sim *s, const char *path, struct sim_node **out_node)
{
    int rc = sim_lookup(s, path, out_node);
    return rc == 0 && !(*out_node)->is_dir ? -ENOTDIR : rc;
}

static int sim_sync_dir(struct io *io, const char *dir)
{
    struct sim *s = sim_of(io);
    struct sim_node *node = NULL;
    mutex_lock(&s->mu);
    int rc = step(s, IO_OP_SYNC_DIR, IO_OTHER);
    if (rc == 0)
        rc = lookup_dir(s, dir, &node);
    if (rc == 0)
        sim_dir_sync(node);
    mutex_unlock(&s->mu);
    return rc;
}

static int sim_stat(struct io *io, const char *path, uint64_t *out_size)
{
    struct sim *s = sim_of(io);
    struct sim_node *node = NULL;
    mutex_lock(&s->mu);
    int rc = step(s, IO_OP_NAMESPACE, IO_OTHER);
    if (rc == 0)
        rc = sim_lookup(s, path, &node);
    if (rc == 0)
        *out_size = node->size;
    mutex_unlock(&s->mu);
    return rc;
}

static int list_locked(struct sim *s, const char *dir, struct buf *names)
{
    struct sim_node *node = NULL;
    int rc = step(s, IO_OP_NAMESPACE, IO_OTHER);
    if (rc == 0)
        rc = lookup_dir(s, dir, &node);
    for (size_t i = 0; rc == 0 && i < node->now.count; i++) {
        const char *name = node->now.items[i].name;
        rc = buf_append(names, name, strlen(name) + 1) == NOKV_OK ? 0 : -ENOMEM;
    }
    return rc;
}

static int sim_list(struct io *io, const char *dir, struct buf *names)
{
    struct sim *s = sim_of(io);
    mutex_lock(&s->mu);
    int rc = list_locked(s, dir, names);
    mutex_unlock(&s->mu);
    return rc;
}

/* ---- locks ---------------------------------------------------------------------------------------------------- */

static int lock_conflict(const struct sim *s, const struct sim_node *node, bool is_exclusive, long *out_pid)
{
    for (const struct sim_lock *l = s->locks; l != NULL; l = l->next) {
        if (l->node != node || (!l->is_exclusive && !is_exclusive))
            continue;
        *out_pid = l->is_exclusive ? (long)getpid() : 0;
        return -EAGAIN;
    }
    return 0;
}

static int lock_locked(struct sim *s, const char *path, struct sim_lock *l, long *out_pid)
{
    struct sim_node *node = NULL;
    int rc = step(s, IO_OP_NAMESPACE, IO_OTHER);
    if (rc == 0)
        rc = sim_lookup(s, path, &node);
    if (rc == -ENOENT && l->is_exclusive)
        rc = sim_name_create(s, path, false, &node);
    if (rc == 0)
        rc = lock_conflict(s, node, l->is_exclusive, out_pid);
    if (rc < 0)
        return rc;
    l->sim = s;
    l->node = node_open(node);
    l->next = s->locks;
    s->locks = l;
    return 0;
}

static int sim_lock_acquire(struct io *io, const char *path, bool exclusive, struct io_lock **out_lock, long *out_pid)
{
    struct sim *s = sim_of(io);
    struct sim_lock *l = mem_zalloc(sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    l->is_exclusive = exclusive;
    mutex_lock(&s->mu);
    int rc = lock_locked(s, path, l, out_pid);
    mutex_unlock(&s->mu);
    if (rc < 0)
        mem_free(l);
    else
        *out_lock = &l->lock;
    return rc;
}

static void sim_lock_release(struct io_lock *lock)
{
    struct sim_lock *l = CONTAINER_OF(lock, struct sim_lock, lock);
    struct sim *s = l->sim;
    mutex_lock(&s->mu);
    struct sim_lock **at = &s->locks;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    node_close(s, l->node);
    mutex_unlock(&s->mu);
    mem_free(l);
}

/* ---- environments --------------------------------------------------------------------------------------------- */

static void sim_io_destroy(struct io *io)
{
    struct sim *s = sim_of(io);
    mutex_lock(&s->mu);
    s->ios--;
    mutex_unlock(&s->mu);
    mem_free(CONTAINER_OF(io, struct sim_io, io));
}

static const struct io_env_ops sim_ops = {
    .destroy = sim_io_destroy,
    .now_ns = sim_now_ns,
    .wall_ms = sim_wall_ms,
    .sleep_ns = sim_sleep_ns,
    .memory_get = sim_memory_get,
    .open = sim_open,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
    .rmdir = sim_rmdir,
    .sync_dir = sim_sync_dir,
    .stat = sim_stat,
    .list = sim_list,
    .lock = sim_lock_acquire,
    .unlock = sim_lock_release,
    .unmap = sim_unmap,
    .advise = sim_advise,
    .resident = sim_resident,
    .shared_open = sim_shared_open,
    .shared_close = sim_shared_close,
};

enum nokv_status sim_io_create(struct sim *sim, struct io **out_io)
{
    struct sim_io *io = mem_zalloc(sizeof *io);
    if (io == NULL)
        return FAIL(NO_MEMORY, "could not create an environment on a simulated disk");
    io_init(&io->io, &sim_ops);
    io->sim = sim;
    mutex_lock(&sim->mu);
    sim->ios++;
    mutex_unlock(&sim->mu);
    *out_io = &io->io;
    return NOKV_OK;
}
