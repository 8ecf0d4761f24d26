// SPDX-License-Identifier: Apache-2.0
/*
 * memory_io.c - the operations of the disk in memory.
 *
 * Each file has its place for good: MEMORY_FILE_BYTES_MAX bytes, page-aligned, made when it is first used. A mapping is
 * that place itself.
 *
 * [I1] Bytes of a place behind its file's size are poisoned (in builds with AddressSanitizer) and may hold anything;
 *      growing zeroes them.
 *
 * What no decoder asks for (directories, locks, renames, shared buffers) is not there: -ENOSYS.
 */
#include "memory_io.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "io/backend.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAS_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_POISON 1
#endif
#endif
#ifdef HAS_POISON
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, size) ((void)(p), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(p, size) ((void)(p), (void)(size))
#endif

enum { PATH_MAX_HERE = 64 };

struct place {
    char path[PATH_MAX_HERE]; /* "": free */
    uint8_t *bytes;
    size_t size;
};

struct memory_file {
    struct io_file file;
    struct place *place;
    bool is_used;
};

static struct place places[MEMORY_FILES_MAX];
static struct memory_file handles[2 * MEMORY_FILES_MAX]; /* used again, so that opening asks for no memory */

static struct place *place_find(const char *path)
{
    for (size_t i = 0; i < MEMORY_FILES_MAX; i++)
        if (strcmp(places[i].path, path) == 0)
            return &places[i];
    return NULL;
}

/* [I1] */
static void place_resize(struct place *p, size_t size)
{
    ASSERT(size <= MEMORY_FILE_BYTES_MAX);
    if (size > p->size) {
        ASAN_UNPOISON_MEMORY_REGION(p->bytes, size);
        memset(p->bytes + p->size, 0, size - p->size);
    } else {
        ASAN_POISON_MEMORY_REGION(p->bytes + size / 8 * 8, align_up(p->size, 8) - size / 8 * 8);
        ASAN_UNPOISON_MEMORY_REGION(p->bytes, size); /* the last few bytes of eight */
    }
    p->size = size;
}

static struct place *place_make(const char *path)
{
    struct place *p = place_find("");
    ASSERT(p != NULL && strlen(path) < PATH_MAX_HERE);
    if (p->bytes == NULL) {
        p->bytes = aligned_alloc(PAGE_BYTES, MEMORY_FILE_BYTES_MAX);
        ASSERT(p->bytes != NULL);
        ASAN_POISON_MEMORY_REGION(p->bytes, MEMORY_FILE_BYTES_MAX);
    }
    place_resize(p, 0);
    strcpy(p->path, path);
    return p;
}

static struct memory_file *file_of(struct io_file *file)
{
    return CONTAINER_OF(file, struct memory_file, file);
}

/* ---- a file ----------------------------------------------------------------------------------------------------- */

static int64_t memory_read(struct io_file *file, void *buffer, size_t size, uint64_t off)
{
    const struct place *p = file_of(file)->place;
    if (off >= p->size)
        return 0;
    size = u64_min(size, p->size - off);
    memcpy(buffer, p->bytes + off, size);
    return (int64_t)size;
}

static int64_t memory_write(struct io_file *file, const void *data, size_t size, uint64_t off)
{
    struct place *p = file_of(file)->place;
    if (off + size > MEMORY_FILE_BYTES_MAX)
        return -ENOSPC;
    if (off + size > p->size)
        place_resize(p, off + size);
    memcpy(p->bytes + off, data, size);
    return (int64_t)size;
}

static int memory_truncate(struct io_file *file, uint64_t size)
{
    if (size > MEMORY_FILE_BYTES_MAX)
        return -ENOSPC;
    place_resize(file_of(file)->place, size);
    return 0;
}

static int memory_preallocate(struct io_file *file, uint64_t off, uint64_t size)
{
    return off + size > file_of(file)->place->size ? memory_truncate(file, off + size) : 0;
}

static int memory_size(struct io_file *file, uint64_t *out_size)
{
    *out_size = file_of(file)->place->size;
    return 0;
}

static int memory_sync(struct io_file *file)
{
    (void)file;
    return 0;
}

static int memory_hint(struct io_file *file, uint64_t off, uint64_t size)
{
    (void)file, (void)off, (void)size;
    return 0;
}

static int memory_close(struct io_file *file)
{
    file_of(file)->is_used = false;
    return 0;
}

static int memory_map(struct io_file *file, struct io_map *out_map)
{
    struct place *p = file_of(file)->place;
    out_map->data = p->size ? p->bytes : NULL;
    out_map->size = p->size;
    out_map->impl = p;
    return 0;
}

static const struct io_file_ops file_ops = {
    .close = memory_close,
    .read = memory_read,
    .write = memory_write,
    .write_durable = memory_write,
    .sync = memory_sync,
    .preallocate = memory_preallocate,
    .truncate = memory_truncate,
    .size = memory_size,
    .start_writeback = memory_hint,
    .drop_cache = memory_hint,
    .map = memory_map,
};

/* ---- the environment -------------------------------------------------------------------------------------------- */

static int memory_open(struct io *io, const char *path, enum io_component component, enum io_model model,
                       unsigned flags, struct io_file **out_file)
{
    struct place *p = place_find(path);
    (void)io, (void)component;
    if (p != NULL && (flags & IO_CREATE))
        return -EEXIST;
    if (p == NULL && !(flags & IO_CREATE))
        return -ENOENT;
    for (size_t i = 0; i < ARRAY_COUNT(handles); i++) {
        struct memory_file *f = &handles[i];
        if (f->is_used)
            continue;
        *f = (struct memory_file){
            .file = {.ops = &file_ops, .model = model}, .place = p ? p : place_make(path), .is_used = true};
        *out_file = &f->file;
        return 0;
    }
    return -EMFILE;
}

static int memory_unlink(struct io *io, const char *path)
{
    struct place *p = place_find(path);
    (void)io;
    if (p == NULL)
        return -ENOENT;
    p->path[0] = 0;
    return 0;
}

static int memory_stat(struct io *io, const char *path, uint64_t *out_size)
{
    const struct place *p = place_find(path);
    (void)io;
    if (p == NULL)
        return -ENOENT;
    *out_size = p->size;
    return 0;
}

static int memory_unmap(struct io_map *map)
{
    (void)map;
    return 0;
}

static int memory_advise(const struct io_map *map, size_t off, size_t size, enum io_advice advice)
{
    (void)map, (void)off, (void)size, (void)advice;
    return 0;
}

static int memory_resident(const struct io_map *map, size_t off, size_t size, uint64_t *out_bytes)
{
    (void)map, (void)off;
    *out_bytes = size;
    return 0;
}

static uint64_t memory_now(struct io *io)
{
    (void)io;
    return 0;
}

static void memory_sleep(struct io *io, uint64_t ns)
{
    (void)io, (void)ns;
}

static void memory_destroy(struct io *io)
{
    (void)io;
}

static void memory_memory_get(struct io *io, struct io_memory *out_memory)
{
    (void)io;
    *out_memory = (struct io_memory){.total_bytes = 1ull << 30, .limit_bytes = 1ull << 30, .source = "machine"};
}

static int memory_no_path(struct io *io, const char *path)
{
    (void)io, (void)path;
    return -ENOSYS;
}

static int memory_no_rename(struct io *io, const char *from, const char *to)
{
    (void)io, (void)from, (void)to;
    return -ENOSYS;
}

static const struct io_env_ops env_ops = {
    .destroy = memory_destroy,
    .now_ns = memory_now,
    .wall_ms = memory_now,
    .sleep_ns = memory_sleep,
    .memory_get = memory_memory_get,
    .open = memory_open,
    .rename = memory_no_rename,
    .unlink = memory_unlink,
    .mkdir = memory_no_path,
    .rmdir = memory_no_path,
    .sync_dir = memory_no_path,
    .stat = memory_stat,
    .unmap = memory_unmap,
    .advise = memory_advise,
    .resident = memory_resident,
};

struct io *memory_io(void)
{
    static struct io io;
    if (io.ops == NULL)
        io_init(&io, &env_ops);
    return &io;
}

void memory_io_clear(void)
{
    for (size_t i = 0; i < MEMORY_FILES_MAX; i++)
        places[i].path[0] = 0;
}

void memory_io_put(const char *path, const void *data, size_t size)
{
    struct place *p = place_find(path);
    if (p == NULL)
        p = place_make(path);
    place_resize(p, 0);
    place_resize(p, size);
    if (size > 0)
        memcpy(p->bytes, data, size);
}

struct slice memory_io_get(const char *path)
{
    const struct place *p = place_find(path);
    return p ? slice_make(p->bytes, p->size) : (struct slice){0};
}
