// SPDX-License-Identifier: Apache-2.0
/*
 * source.c - reading and comparing files of a live tree, and opening paths that may not leave it.
 *
 * A file is taken when its size and its change time are the same before and after it was read and as many bytes came as
 * the size says; otherwise it is read again, a few times. That holds for a large file too, which is never in memory as
 * a whole: whoever takes its pieces gives up what came of an attempt that met a change. Mapping the file instead would
 * turn somebody's truncate into a SIGBUS of ours. Files are opened with O_NOFOLLOW and O_NONBLOCK: what was a regular
 * file when its directory was read may be a symbolic link or a pipe by now.
 *
 * Paths are opened one component at a time, so that neither PATH_MAX limits them nor a symbolic link redirects them.
 */
#include "source.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nokv/nokv.h>

#define ATTEMPTS_MAX 4

static int open_file(int directory_fd, const char *name)
{
    return openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static enum source_result open_failure(int error)
{
    return error == ENOENT || error == ELOOP || error == ENXIO ? SOURCE_VANISHED : SOURCE_DENIED;
}

enum source_kind source_kind(int directory_fd, const char *name)
{
    struct stat st;
    int fd = open_file(directory_fd, name);
    if (fd < 0)
        return open_failure(errno) == SOURCE_VANISHED ? SOURCE_KIND_NONE : SOURCE_KIND_LEFT_OUT;
    bool known = fstat(fd, &st) == 0;
    close(fd);
    if (!known || !S_ISREG(st.st_mode))
        return SOURCE_KIND_NONE;
    return (uint64_t)st.st_size > NOKV_VALUE_SIZE_MAX ? SOURCE_KIND_LEFT_OUT : SOURCE_KIND_FILE;
}

/* Up to `size` bytes at the file's position; less than 0 with errno set. */
static ssize_t read_fully(int fd, char *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = read(fd, data + done, size - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

static bool same_version(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* What the open file is; SOURCE_READ: one that can be taken. */
static enum source_result look(int fd, struct stat *out_st)
{
    if (fstat(fd, out_st) != 0)
        return SOURCE_DENIED;
    if (!S_ISREG(out_st->st_mode))
        return SOURCE_VANISHED;
    return (uint64_t)out_st->st_size > NOKV_VALUE_SIZE_MAX ? SOURCE_TOO_LARGE : SOURCE_READ;
}

/* After `got` bytes: was that the file, and is it still what it was? */
static enum source_result look_again(int fd, const struct stat *before, uint64_t got)
{
    struct stat after;
    if (fstat(fd, &after) != 0)
        return SOURCE_DENIED;
    return got == (uint64_t)before->st_size && same_version(before, &after) ? SOURCE_READ : SOURCE_UNSTABLE;
}

/* One attempt; SOURCE_UNSTABLE when the file changed under it. */
static enum source_result read_once(int fd, struct bytes *out)
{
    struct stat before;
    enum source_result result = look(fd, &before);
    if (result != SOURCE_READ)
        return result;
    if ((uint64_t)before.st_size >= VALUE_LARGE)
        return SOURCE_LARGE;
    size_t size = (size_t)before.st_size;
    bytes_reserve(out, size + 1); /* one more byte, to see it grow */
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): NULL exactly when there is a sink, and then not here */
    ssize_t got = read_fully(fd, out->data, size + 1);
    if (got < 0)
        return SOURCE_DENIED;
    out->size = (size_t)got;
    return look_again(fd, &before, out->size);
}

/* One attempt in pieces. A piece behind the size that the file had is not handed out. */
static enum source_result stream_once(int fd, const struct source_sink *sink)
{
    static char buffer[VALUE_PIECE];
    struct stat before;
    enum source_result result = look(fd, &before);
    if (result != SOURCE_READ)
        return result;
    if (!sink->begin(sink->arg, (uint64_t)before.st_size))
        return SOURCE_STOPPED;
    uint64_t done = 0;
    for (;;) {
        ssize_t got = read_fully(fd, buffer, sizeof buffer);
        if (got < 0)
            return SOURCE_DENIED;
        done += (uint64_t)got;
        if (done > (uint64_t)before.st_size)
            return SOURCE_UNSTABLE;
        if (got > 0 && !sink->piece(sink->arg, buffer, (size_t)got))
            return SOURCE_STOPPED;
        if ((size_t)got < sizeof buffer)
            return look_again(fd, &before, done);
    }
}

/* Open the file and try; again, a few times, while it changes. */
static enum source_result attempt(int directory_fd, const char *name, struct bytes *out, const struct source_sink *sink)
{
    enum source_result result = SOURCE_UNSTABLE;
    for (int attempts = 0; attempts < ATTEMPTS_MAX && result == SOURCE_UNSTABLE; attempts++) {
        int fd = open_file(directory_fd, name);
        if (fd < 0)
            return open_failure(errno);
        result = sink ? stream_once(fd, sink) : read_once(fd, out);
        int error = errno;
        close(fd);
        errno = error;
    }
    return result;
}

enum source_result source_read(int directory_fd, const char *name, struct bytes *out)
{
    return attempt(directory_fd, name, out, NULL);
}

enum source_result source_stream(int directory_fd, const char *name, const struct source_sink *sink)
{
    return attempt(directory_fd, name, NULL, sink);
}

#define COMPARE_BYTES (256 * 1024)
static_assert(VALUE_PIECE % COMPARE_BYTES == 0, "the file's pieces lie within those of the value");

/* The open file's bytes against the value, piece by piece. */
static enum source_comparison compare_bytes(int fd, struct value_reader *value)
{
    static char buffer[COMPARE_BYTES];
    uint64_t done = 0;
    for (;;) {
        ssize_t got = read_fully(fd, buffer, sizeof buffer);
        if (got < 0)
            return SOURCE_UNREADABLE;
        if (!value_has(value, done, buffer, (size_t)got))
            return value->status != NOKV_OK ? SOURCE_NO_VALUE : SOURCE_DIFFERENT;
        done += (uint64_t)got;
        if ((size_t)got < sizeof buffer)
            return done == value->size ? SOURCE_SAME : SOURCE_DIFFERENT;
    }
}

enum source_comparison source_compare(int directory_fd, const char *name, struct value_reader *value)
{
    int fd = open_file(directory_fd, name);
    if (fd < 0)
        return open_failure(errno) == SOURCE_VANISHED ? SOURCE_ABSENT : SOURCE_UNREADABLE;
    struct stat st;
    enum source_comparison result;
    if (fstat(fd, &st) != 0)
        result = SOURCE_UNREADABLE;
    else if (!S_ISREG(st.st_mode))
        result = SOURCE_ABSENT;
    else if ((uint64_t)st.st_size != value->size)
        result = SOURCE_DIFFERENT;
    else
        result = compare_bytes(fd, value);
    int error = errno;
    close(fd);
    errno = error;
    return result;
}

const char *path_refusal(const void *key, size_t key_size)
{
    const char *path = key;
    if (key_size == 0 || memchr(path, '\0', key_size))
        return "not a file name: it holds a NUL byte";
    if (path[0] == '/')
        return "an absolute path";
    for (size_t start = 0; start <= key_size;) {
        const char *slash = start < key_size ? memchr(path + start, '/', key_size - start) : NULL;
        size_t size = slash ? (size_t)(slash - path) - start : key_size - start;
        const char *name = path + start;
        if (size == 0)
            return "an empty component";
        if ((size == 1 && name[0] == '.') || (size == 2 && name[0] == '.' && name[1] == '.'))
            return "a component '.' or '..'";
        if (size > 255)
            return "a component longer than 255 bytes";
        start += size + 1;
    }
    return NULL;
}

static int open_component(int fd, const char *name, bool create)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int next = openat(fd, name, flags);
    if (next >= 0 || errno != ENOENT || !create)
        return next;
    if (mkdirat(fd, name, 0777) != 0 && errno != EEXIST)
        return -1;
    return openat(fd, name, flags);
}

int path_open_parent(int root_fd, const char *path, bool create, const char **out_name)
{
    int fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (const char *slash; fd >= 0 && (slash = strchr(path, '/')) != NULL; path = slash + 1) {
        char name[256];
        memcpy(name, path, (size_t)(slash - path));
        name[slash - path] = '\0';
        int next = open_component(fd, name, create);
        int error = errno;
        close(fd);
        errno = error;
        fd = next;
    }
    if (fd >= 0)
        *out_name = path;
    return fd;
}
