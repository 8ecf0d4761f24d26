// SPDX-License-Identifier: Apache-2.0
/*
 * Wrappers around base/alloc.h and io/io.h: see sweep_hooks.h.
 *
 * An allocation fails by mem_fail_after, an I/O call by the simulated disk's plan for its next operation, so that both
 * fail the way they would: with the engine's own message, half a write left behind, unsynced bytes dropped. Calls that
 * the simulated disk cannot fail, and those on the real disk, are answered here.
 */
#include "sweep_hooks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"

enum { SITES = 4096, TRACE_MAX = 1 << 16 };

struct site {
    const void *address; /* behind the call; NULL: free */
    bool has_failed;
};

static struct sweep_plan plan;
static uint64_t calls;
static bool has_failed, sync_failed;
static int64_t live;
static struct site sites[SITES];
static uint8_t trace[TRACE_MAX]; /* errors that fit, by call */
static const void *trace_sites[TRACE_MAX];
static uint64_t trace_count;

void sweep_begin(const struct sweep_plan *p)
{
    plan = *p;
    calls = 0;
    has_failed = sync_failed = false;
    if (plan.k == UINT64_MAX)
        trace_count = 0;
}

void sweep_end(void)
{
    if (plan.sim)
        sim_fail_clear(plan.sim);
    mem_fail_after(UINT64_MAX);
    plan = (struct sweep_plan){0};
}

uint64_t sweep_calls(void)
{
    return calls;
}

bool sweep_has_failed(void)
{
    return has_failed;
}

bool sweep_sync_failed(void)
{
    return sync_failed;
}

unsigned sweep_errors_of(uint64_t k)
{
    return k <= trace_count ? trace[k - 1] : 0;
}

int64_t sweep_live(void)
{
    return live;
}

/* ---- call sites -------------------------------------------------------------------------------------------------- */

static void site_note(const void *address, bool failed)
{
    size_t i = ((uintptr_t)address * 0x9e3779b97f4a7c15ull >> 32) % SITES;
    while (sites[i].address != NULL && sites[i].address != address)
        i = (i + 1) % SITES;
    sites[i].address = address;
    sites[i].has_failed |= failed;
}

void sweep_sites_write(const char *path)
{
    extern const char __executable_start[]; /* of the linker */
    FILE *file = fopen(path, "a");
    ASSERT(file != NULL);
    for (size_t i = 0; i < SITES; i++)
        if (sites[i].address != NULL)
            fprintf(file, "%llx %d\n", (unsigned long long)((const char *)sites[i].address - __executable_start),
                    sites[i].has_failed);
    ASSERT(fclose(file) == 0);
}

bool sweep_is_new(uint64_t k)
{
    for (size_t i = 0; k <= trace_count && i < SITES; i++)
        if (sites[i].address == trace_sites[k - 1])
            return !sites[i].has_failed;
    return false;
}

static void trace_note(const void *site, unsigned errors)
{
    if (plan.k != UINT64_MAX || trace_count == TRACE_MAX)
        return;
    trace[trace_count] = (uint8_t)errors;
    trace_sites[trace_count++] = site;
}

/* One more call of the target; does it fail? It can have the planned error, or not. */
static bool call_fails(const void *site, bool can)
{
    calls++;
    bool fails = can && (calls == plan.k || (plan.is_sticky && calls > plan.k));
    has_failed |= fails;
    site_note(site, fails);
    return fails;
}

/* ---- allocations ------------------------------------------------------------------------------------------------- */

static void alloc_plan(const void *site)
{
    if (plan.target != SWEEP_ALLOCATIONS && plan.target != SWEEP_BOTH)
        return;
    trace_note(site, 0);
    if (call_fails(site, true))
        mem_fail_after(0);
}

static void *counted(void *p)
{
    live += p != NULL;
    return p;
}

#define CALLER __builtin_return_address(0)

/* The linker's names for what it wraps; only it calls them. */
void *__real_mem_alloc(size_t size);
void *__wrap_mem_alloc(size_t size);
void *__real_mem_zalloc(size_t size);
void *__wrap_mem_zalloc(size_t size);
void *__real_mem_realloc(void *p, size_t size);
void *__wrap_mem_realloc(void *p, size_t size);
void *__real_mem_alloc_aligned(size_t align, size_t size);
void *__wrap_mem_alloc_aligned(size_t align, size_t size);
void *__real_mem_alloc_pages(size_t align, size_t size);
void *__wrap_mem_alloc_pages(size_t align, size_t size);
void __real_mem_free_pages(void *p, size_t size);
void __wrap_mem_free_pages(void *p, size_t size);
char *__real_mem_strdup(const char *s);
char *__wrap_mem_strdup(const char *s);
void __real_mem_free(void *p);
void __wrap_mem_free(void *p);
void __real_mem_free_ptr(void *pointer);
void __wrap_mem_free_ptr(void *pointer);
enum nokv_status __real_mem_grow(void *items, size_t *capacity, size_t count, size_t item_size);
enum nokv_status __wrap_mem_grow(void *items, size_t *capacity, size_t count, size_t item_size);

void *__wrap_mem_alloc(size_t size)
{
    alloc_plan(CALLER);
    return counted(__real_mem_alloc(size));
}

void *__wrap_mem_zalloc(size_t size)
{
    alloc_plan(CALLER);
    return counted(__real_mem_zalloc(size));
}

void *__wrap_mem_realloc(void *p, size_t size)
{
    alloc_plan(CALLER);
    void *now = __real_mem_realloc(p, size);
    live += p == NULL && now != NULL;
    return now;
}

void *__wrap_mem_alloc_aligned(size_t align, size_t size)
{
    alloc_plan(CALLER);
    return counted(__real_mem_alloc_aligned(align, size));
}

void *__wrap_mem_alloc_pages(size_t align, size_t size)
{
    alloc_plan(CALLER);
    return counted(__real_mem_alloc_pages(align, size));
}

void __wrap_mem_free_pages(void *p, size_t size)
{
    live -= p != NULL;
    __real_mem_free_pages(p, size);
}

char *__wrap_mem_strdup(const char *s)
{
    alloc_plan(CALLER);
    return counted(__real_mem_strdup(s));
}

void __wrap_mem_free(void *p)
{
    live -= p != NULL;
    __real_mem_free(p);
}

void __wrap_mem_free_ptr(void *pointer)
{
    void *p;
    memcpy(&p, pointer, sizeof p);
    live -= p != NULL;
    __real_mem_free_ptr(pointer);
}

enum nokv_status __wrap_mem_grow(void *items, size_t *capacity, size_t count, size_t item_size)
{
    void *before, *after;
    if (count > *capacity)
        alloc_plan(CALLER);
    memcpy(&before, items, sizeof before);
    enum nokv_status status = __real_mem_grow(items, capacity, count, item_size);
    memcpy(&after, items, sizeof after);
    live += before == NULL && after != NULL;
    return status;
}

/* ---- I/O --------------------------------------------------------------------------------------------------------- */

static int errno_of(enum sweep_errno e)
{
    return e == SWEEP_ENOSPC   ? ENOSPC
           : e == SWEEP_EMFILE ? EMFILE
           : e == SWEEP_ENOMEM ? ENOMEM
           : e == SWEEP_EINTR  ? EINTR
                               : EIO;
}

/* Does this call, which can have these errors, fail? */
static bool io_fails(const void *site, unsigned errors, bool is_sync)
{
    bool fails = plan.target == SWEEP_BOTH && has_failed;
    if (fails)
        site_note(site, true);
    if (plan.target == SWEEP_IO) {
        trace_note(site, errors);
        fails = call_fails(site, (errors & plan.err) != 0);
    }
    sync_failed |= fails && is_sync;
    return fails;
}

/* Before the call: the disk's next operation fails. */
static void disk_plan(void)
{
    sim_fail(plan.sim, IO_OP_COUNT, IO_COMPONENT_COUNT, 1, errno_of(plan.err), false);
}

#define REFUSE(what) FAIL_ERRNO(errno_of(plan.err), "%s was made to fail", what)

/*
 * A wrapper of `name` with parameters `params`, which are passed on as `args`. `on_disk`: the simulated disk counts it
 * as an operation.
 */
#define IO_WRAP(name, params, args, errors, is_sync, on_disk) \
    enum nokv_status __real_##name params;                    \
    enum nokv_status __wrap_##name params;                    \
    enum nokv_status __wrap_##name params                     \
    {                                                         \
        if (!io_fails(CALLER, (errors), (is_sync)))           \
            return __real_##name args;                        \
        if (plan.sim == NULL || !(on_disk))                   \
            return REFUSE(#name);                             \
        disk_plan();                                          \
        enum nokv_status status = __real_##name args;         \
        if (plan.sim)                                         \
            sim_fail_clear(plan.sim);                         \
        return status;                                        \
    }

IO_WRAP(io_open,
        (struct io * io, const char *path, enum io_component component, enum io_model model, unsigned flags,
         struct io_file **out_file),
        (io, path, component, model, flags, out_file), SWEEP_EIO | SWEEP_EMFILE, false, true)
IO_WRAP(io_pread, (struct io_file * file, void *buffer, size_t size, uint64_t off, size_t *out_size),
        (file, buffer, size, off, out_size), SWEEP_EIO | SWEEP_EINTR, false, size > 0)
IO_WRAP(io_pread_exact, (struct io_file * file, void *buffer, size_t size, uint64_t off), (file, buffer, size, off),
        SWEEP_EIO | SWEEP_EINTR, false, size > 0)
IO_WRAP(io_pwrite, (struct io_file * file, const void *data, size_t size, uint64_t off), (file, data, size, off),
        SWEEP_EIO | SWEEP_ENOSPC | SWEEP_EINTR, false, size > 0)
IO_WRAP(io_pwrite_durable, (struct io_file * file, const void *data, size_t size, uint64_t off),
        (file, data, size, off), SWEEP_EIO | SWEEP_ENOSPC, true, size > 0)
IO_WRAP(io_sync, (struct io_file * file), (file), SWEEP_EIO | SWEEP_ENOSPC, true, true)
IO_WRAP(io_preallocate, (struct io_file * file, uint64_t off, uint64_t size), (file, off, size),
        SWEEP_EIO | SWEEP_ENOSPC, false, true)
IO_WRAP(io_truncate, (struct io_file * file, uint64_t size), (file, size), SWEEP_EIO, false, true)
IO_WRAP(io_size, (struct io_file * file, uint64_t *out_size), (file, out_size), SWEEP_EIO, false, false)
IO_WRAP(io_skip_hole, (struct io_file * file, uint64_t off, uint64_t *out_off), (file, off, out_off), SWEEP_EIO, false,
        false)
IO_WRAP(io_map, (struct io_file * file, struct io_map *out_map), (file, out_map), SWEEP_EIO | SWEEP_ENOMEM, false, true)
IO_WRAP(io_shared_open, (struct io * io, const char *path, size_t size, struct io_shared *out_shared),
        (io, path, size, out_shared), SWEEP_EIO | SWEEP_ENOSPC | SWEEP_ENOMEM, false, true)
IO_WRAP(io_rename, (struct io * io, const char *from, const char *to), (io, from, to), SWEEP_EIO | SWEEP_ENOSPC, false,
        true)
IO_WRAP(io_unlink, (struct io * io, const char *path), (io, path), SWEEP_EIO | SWEEP_ENOSPC, false, true)
IO_WRAP(io_unlink_if_exists, (struct io * io, const char *path), (io, path), SWEEP_EIO | SWEEP_ENOSPC, false, true)
IO_WRAP(io_mkdir, (struct io * io, const char *path), (io, path), SWEEP_EIO | SWEEP_ENOSPC, false, true)
IO_WRAP(io_rmdir, (struct io * io, const char *path), (io, path), SWEEP_EIO, false, true)
IO_WRAP(io_sync_dir, (struct io * io, const char *dir), (io, dir), SWEEP_EIO | SWEEP_ENOSPC, true, true)
IO_WRAP(io_stat, (struct io * io, const char *path, uint64_t *out_size), (io, path, out_size), SWEEP_EIO, false, true)
IO_WRAP(io_list, (struct io * io, const char *dir, enum nokv_status (*fn)(void *arg, const char *name), void *arg),
        (io, dir, fn, arg), SWEEP_EIO | SWEEP_EMFILE, false, true)
IO_WRAP(io_lock, (struct io * io, const char *path, bool exclusive, struct io_lock **out_lock),
        (io, path, exclusive, out_lock), SWEEP_EIO | SWEEP_EMFILE, false, true)
IO_WRAP(io_real_create, (struct io * *out_io), (out_io), SWEEP_EIO, false, false)
IO_WRAP(io_guard_install, (void), (), SWEEP_EIO, false, false)

/* The handle is gone also after a failure. */
enum nokv_status __real_io_close(struct io_file *file);
enum nokv_status __wrap_io_close(struct io_file *file);
enum nokv_status __wrap_io_close(struct io_file *file)
{
    bool fails = file != NULL && io_fails(CALLER, SWEEP_EIO | SWEEP_ENOSPC, false);
    enum nokv_status status = __real_io_close(file);
    return fails && status == NOKV_OK ? REFUSE("io_close") : status;
}

/* Each request has a status; the first one fails. */
enum nokv_status __real_io_read_many(struct io *io, struct io_read_request *requests, size_t count);
enum nokv_status __wrap_io_read_many(struct io *io, struct io_read_request *requests, size_t count);
enum nokv_status __wrap_io_read_many(struct io *io, struct io_read_request *requests, size_t count)
{
    bool fails = count > 0 && io_fails(CALLER, SWEEP_EIO, false);
    enum nokv_status status = __real_io_read_many(io, requests, count);
    if (!fails)
        return status;
    requests[0].got = 0;
    requests[0].status = REFUSE("io_read_many");
    return requests[0].status;
}

/* What cannot be looked at is not there. */
bool __real_io_exists(struct io *io, const char *path);
bool __wrap_io_exists(struct io *io, const char *path);
bool __wrap_io_exists(struct io *io, const char *path)
{
    return !io_fails(CALLER, SWEEP_EIO, false) && __real_io_exists(io, path);
}
