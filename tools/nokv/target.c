// SPDX-License-Identifier: Apache-2.0
/*
 * target.c - values into files: compare with what is there, write beside it, move into place.
 *
 * The invariants stand in target.h. A value is written piece by piece, so a large one is never in memory as a whole; a
 * value whose second half turns out to be damaged leaves no file, because the temporary one is removed.
 */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "source.h"

bool target_open(struct target *target, const char *directory, bool force)
{
    *target = (struct target){.root_fd = -1, .force = force};
    snprintf(target->temporary, sizeof target->temporary, ".nokv-%ld.tmp", (long)getpid());
    if (mkdir(directory, 0777) == 0 || errno == EEXIST)
        target->root_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return target->root_fd >= 0;
}

void target_close(struct target *target)
{
    if (target->root_fd >= 0)
        close(target->root_fd);
    bytes_deinit(&target->path);
}

static bool write_fully(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        data += written;
        size -= (size_t)written;
    }
    return true;
}

/* False with errno set, or with value->status set. */
static bool write_value(int fd, struct value_reader *value)
{
    uint64_t off = 0;
    nokv_slice piece;
    do {
        if (!value_piece(value, off, VALUE_PIECE, &piece) || !write_fully(fd, piece.data, piece.size))
            return false;
        off += piece.size;
    } while (piece.size > 0);
    return true;
}

/* The bytes under the temporary name; false, as write_value(), and nothing left behind. */
static bool write_temporary(const struct target *target, int directory_fd, struct value_reader *value)
{
    unlinkat(directory_fd, target->temporary, 0); /* of a run with the same pid that was killed */
    int fd = openat(directory_fd, target->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return false;
    bool done = write_value(fd, value);
    int error = errno;
    if (close(fd) != 0 && done) {
        done = false;
        error = errno;
    }
    if (!done)
        unlinkat(directory_fd, target->temporary, 0);
    errno = error;
    return done;
}

static bool place_file(const struct target *target, int directory_fd, const char *name, struct value_reader *value)
{
    if (!write_temporary(target, directory_fd, value))
        return false;
    unsigned flags = target->force ? 0 : RENAME_NOREPLACE;
    int result = renameat2(directory_fd, target->temporary, directory_fd, name, flags);
    if (result != 0 && errno == EINVAL && flags != 0) /* a file system without RENAME_NOREPLACE; looked at before */
        result = renameat(directory_fd, target->temporary, directory_fd, name);
    int error = errno;
    if (result != 0)
        unlinkat(directory_fd, target->temporary, 0);
    errno = error;
    return result == 0;
}

/* 1: write it; 0: it is there already; less than 0 with errno or value->status set: something else is. */
static int look_at_target(const struct target *target, int directory_fd, const char *name, struct value_reader *value)
{
    struct stat st;
    if (fstatat(directory_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 1 : -1;
    errno = S_ISDIR(st.st_mode) ? EISDIR : EEXIST;
    if (S_ISDIR(st.st_mode))
        return -1;
    enum source_comparison result = S_ISREG(st.st_mode) ? source_compare(directory_fd, name, value) : SOURCE_DIFFERENT;
    if (result == SOURCE_SAME || result == SOURCE_NO_VALUE)
        return result == SOURCE_SAME ? 0 : -1;
    errno = EEXIST;
    return target->force ? 1 : -1;
}

/* What the operating system says about the key in hand: a conflict with what is there, or the end of it all. */
static enum target_result system_failure(int error, const char **out_why)
{
    *out_why = error == ENOTDIR || error == ELOOP ? "a part of its path exists and is not a directory"
               : error == EISDIR                  ? "a directory of that name exists"
               : error == EEXIST                  ? "exists with other content (--force replaces it)"
                                                  : strerror(error);
    bool is_final =
        error == ENOSPC || error == EDQUOT || error == EIO || error == EROFS || error == EMFILE || error == ENFILE;
    return is_final ? TARGET_FAILED : TARGET_CONFLICT;
}

enum target_result target_write(struct target *target, nokv_slice key, struct value_reader *value, const char **out_why)
{
    *out_why = path_refusal(key.data, key.size);
    if (*out_why)
        return TARGET_REFUSED;
    target->path.size = 0;
    bytes_append(&target->path, key.data, key.size);
    bytes_append(&target->path, "", 1);
    const char *name;
    int directory_fd = path_open_parent(target->root_fd, target->path.data, true, &name);
    if (directory_fd < 0)
        return system_failure(errno, out_why);
    int look = look_at_target(target, directory_fd, name, value);
    bool failed = look < 0 || (look > 0 && !place_file(target, directory_fd, name, value));
    int error = errno;
    close(directory_fd);
    if (!failed)
        return look == 0 ? TARGET_PRESENT : TARGET_WRITTEN;
    return value->status != NOKV_OK ? TARGET_NO_VALUE : system_failure(error, out_why);
}
