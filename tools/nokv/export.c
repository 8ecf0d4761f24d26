// SPDX-License-Identifier: Apache-2.0
/*
 * export.c - `nokv export DB DIR`: each key becomes a file below DIR, the reverse of import.
 *
 * [I1] Nothing outside DIR is created or changed: keys that could name something there are refused, and directories are
 *      opened one component at a time without following symbolic links.
 * [I2] A file appears under its name complete or not at all: it is written under a temporary name in the same directory
 *      and then moved. An existing file is replaced only with --force; one that holds the same bytes already is fine.
 *
 * What cannot be exported is named on standard error and counted; the others are exported, and the exit code is 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "progress.h"
#include "source.h"
#include "text.h"

struct export
{
    const struct cli_args *args;
    int root_fd;
    bool force;
    char temporary[64];
    struct bytes path; /* the key in hand, NUL-terminated */
    struct progress progress;
    uint64_t files, bytes, present, refused, conflicts;
    int error; /* errno of what makes going on pointless: a full disk, for one; 0 */
};

/* Name the key in hand, count it. */
static void leave_out(struct export *export, uint64_t *counter, const char *why)
{
    struct bytes name = {0};
    size_t size = export->path.size - 1;
    escape_append(&name, export->path.data, size > 200 ? 200 : size);
    progress_clear(&export->progress);
    cli_error(export->args, "left out: %.*s%s: %s", (int)name.size, name.data ? name.data : "", size > 200 ? "..." : "",
              why);
    bytes_deinit(&name);
    ++*counter;
}

/* What the operating system says about the key in hand: a conflict with what is in DIR, or the end of the export. */
static void system_failure(struct export *export, int error)
{
    if (error == ENOSPC || error == EDQUOT || error == EIO || error == EROFS || error == EMFILE || error == ENFILE) {
        export->error = error;
        leave_out(export, &export->conflicts, strerror(error));
        return;
    }
    const char *why = error == ENOTDIR || error == ELOOP ? "a part of its path exists and is not a directory"
                      : error == EISDIR                  ? "a directory of that name exists"
                      : error == EEXIST                  ? "exists with other content (--force replaces it)"
                                                         : strerror(error);
    leave_out(export, &export->conflicts, why);
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

/* The bytes under the temporary name; false with errno set and nothing left behind. */
static bool write_temporary(const struct export *export, int directory_fd, nokv_slice value)
{
    unlinkat(directory_fd, export->temporary, 0); /* of a run with the same pid that was killed */
    int fd = openat(directory_fd, export->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return false;
    bool done = write_fully(fd, value.data, value.size);
    int error = errno;
    if (close(fd) != 0 && done) {
        done = false;
        error = errno;
    }
    if (!done)
        unlinkat(directory_fd, export->temporary, 0);
    errno = error;
    return done;
}

static bool place_file(const struct export *export, int directory_fd, const char *name, nokv_slice value)
{
    if (!write_temporary(export, directory_fd, value))
        return false;
    unsigned flags = export->force ? 0 : RENAME_NOREPLACE;
    int result = renameat2(directory_fd, export->temporary, directory_fd, name, flags);
    if (result != 0 && errno == EINVAL && flags != 0) /* a file system without RENAME_NOREPLACE; looked at before */
        result = renameat(directory_fd, export->temporary, directory_fd, name);
    int error = errno;
    if (result != 0)
        unlinkat(directory_fd, export->temporary, 0);
    errno = error;
    return result == 0;
}

/* 1: write it; 0: it is there already; less than 0 with errno set: something else is. */
static int look_at_target(const struct export *export, int directory_fd, const char *name, nokv_slice value)
{
    struct stat st;
    if (fstatat(directory_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 1 : -1;
    errno = S_ISDIR(st.st_mode) ? EISDIR : EEXIST;
    if (S_ISDIR(st.st_mode))
        return -1;
    if (S_ISREG(st.st_mode) && source_compare(directory_fd, name, value.data, value.size) == SOURCE_SAME)
        return 0;
    errno = EEXIST;
    return export->force ? 1 : -1;
}

static void export_into(struct export *export, int directory_fd, const char *name, nokv_slice value)
{
    int look = look_at_target(export, directory_fd, name, value);
    if (look == 0) {
        export->present++;
    } else if (look < 0 || !place_file(export, directory_fd, name, value)) {
        system_failure(export, errno);
    } else {
        export->files++;
        export->bytes += value.size;
    }
}

static void export_entry(struct export *export, nokv_slice key, nokv_slice value)
{
    export->path.size = 0;
    bytes_append(&export->path, key.data, key.size);
    bytes_append(&export->path, "", 1);
    const char *refusal = path_refusal(key.data, key.size);
    if (refusal) {
        leave_out(export, &export->refused, refusal);
        return;
    }
    const char *name;
    int directory_fd = path_open_parent(export->root_fd, export->path.data, true, &name);
    if (directory_fd < 0) {
        system_failure(export, errno);
        return;
    }
    export_into(export, directory_fd, name, value);
    close(directory_fd);
}

static nokv_status export_all(struct export *export, nokv_db *db)
{
    nokv_iter *iter;
    nokv_status status = nokv_iter_create(db, NULL, &iter);
    if (status != NOKV_OK)
        return status;
    for (nokv_iter_first(iter); nokv_iter_valid(iter) && export->error == 0; nokv_iter_next(iter)) {
        export_entry(export, nokv_iter_key(iter), nokv_iter_value(iter));
        progress_update(&export->progress, export->bytes, export->files);
    }
    status = nokv_iter_valid(iter) ? NOKV_OK : nokv_iter_status(iter);
    nokv_iter_destroy(iter);
    return status;
}

static void report(const struct export *export)
{
    char a[TEXT_SIZE], b[TEXT_SIZE];
    printf("  files written                %s, %s\n", text_count(a, export->files), text_bytes(b, export->bytes));
    if (export->present > 0)
        printf("  files that were there        %s\n", text_count(a, export->present));
    if (export->refused > 0)
        printf("  keys left out: no safe path  %s\n", text_count(a, export->refused));
    if (export->conflicts > 0)
        printf("  keys left out: in conflict   %s\n", text_count(a, export->conflicts));
}

static enum cli_exit export_to(struct export *export, nokv_db *db)
{
    progress_begin(&export->progress, "export", 0, cli_flag(export->args, "quiet"));
    nokv_status status = export_all(export, db);
    progress_end(&export->progress);
    if (!cli_flag(export->args, "quiet"))
        report(export);
    if (status != NOKV_OK) {
        cli_status_error(export->args, status);
        return CLI_FAILED;
    }
    return export->error != 0 ? CLI_FAILED : export->refused + export->conflicts > 0 ? CLI_DIFFERS : CLI_OK;
}

static enum cli_exit export_run(const struct cli_args *args)
{
    const char *target = args->positionals[1];
    struct export export = {.args = args, .force = cli_flag(args, "force"), .root_fd = -1};
    snprintf(export.temporary, sizeof export.temporary, ".nokv-export-%ld.tmp", (long)getpid());
    nokv_db *db;
    if (cli_open(args, args->positionals[0], CLI_READ, &db) != CLI_OK)
        return CLI_FAILED;
    enum cli_exit code = CLI_FAILED;
    if (mkdir(target, 0777) == 0 || errno == EEXIST)
        export.root_fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (export.root_fd < 0)
        cli_error(args, "%s: %s", target, strerror(errno));
    else
        code = export_to(&export, db);
    if (export.root_fd >= 0)
        close(export.root_fd);
    bytes_deinit(&export.path);
    return cli_close(args, db, code);
}

static const struct cli_option export_options[] = {
    {"force", 'f', NULL, "replace files that exist with other content"},
    {"quiet", 'q', NULL, "no progress and no summary"},
    {0},
};

const struct cli_command export_command = {
    .name = "export",
    .summary = "write each value to a file named by its key",
    .usage = "DB DIR [--force] [--quiet]",
    .description = "The reverse of import: the value of key \"a/b/c\" goes to the file DIR/a/b/c, and\n"
                   "directories are made as needed. A key that could lead out of DIR (absolute, with\n"
                   "'..', '.', an empty component or a NUL byte) is refused, symbolic links in DIR\n"
                   "are not followed, and a file that exists with other content is left alone unless\n"
                   "--force is given; each is named, and the exit code is 1. A file that holds the\n"
                   "right bytes already is not written again. Never writes to DB.",
    .examples = "  nokv export doc.db restored\n"
                "  nokv export doc.db restored --force",
    .options = export_options,
    .positionals_min = 2,
    .positionals_max = 2,
    .run = export_run,
};
