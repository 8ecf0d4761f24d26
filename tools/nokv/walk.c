// SPDX-License-Identifier: Apache-2.0
/*
 * walk.c - depth-first over a tree, each directory's entries sorted.
 *
 * The order. Keys are compared as memcmp() does, over the whole relative path. Sorting each directory by plain names is
 * not the same: "a.txt" comes before "a/b" ('.' is smaller than '/'), although "a" comes before "a.txt". Sorting a
 * directory's name as if it ended in '/' makes the walk's order and the keys' order equal.
 *
 * [I1] Paths come out strictly ascending as memcmp() orders them, as long as no directory changes while it is read.
 * [I2] Nothing outside the root is reached: directories are opened relative to their parent, with O_NOFOLLOW.
 *
 * Memory: the names of one directory per level; one file descriptor per level (the soft limit is raised to the hard
 * one). A directory that cannot be opened or read is reported, counted and left out.
 *
 * Not nftw() or fts(): neither gives this order, and fts sorts by a callback that sees no more than we do.
 */
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "text.h"

/* One entry of a directory; the name is followed by '/' for a directory, which sorts it right. */
struct name {
    char *text;
    bool directory;
};

/* One directory on the way from the root to where the walk is. */
struct level {
    DIR *stream;
    struct name *names;
    size_t count, next;
    size_t path_size; /* of this directory's path, with the '/' behind it */
};

struct walk {
    struct level *levels;
    size_t depth, capacity;
    struct bytes path;
    struct walk_counts counts;
    walk_complain_fn complain;
    void *arg;
    bool skip, skipped;
    dev_t skip_device;
    ino_t skip_inode;
};

static void complain(struct walk *walk, int error)
{
    walk->counts.unreadable_directories++;
    bytes_reserve(&walk->path, walk->path.size + 1);
    walk->path.data[walk->path.size] = '\0';
    if (walk->complain)
        walk->complain(walk->arg, walk->path.size > 0 ? walk->path.data : ".", error);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

/* Regular file or directory, or something to count and pass by. */
static bool classify(struct walk *walk, int directory_fd, const struct dirent *entry, bool *out_directory)
{
    unsigned char type = entry->d_type;
    if (type == DT_UNKNOWN) {
        struct stat st;
        if (fstatat(directory_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            return false; /* gone already */
        type = IFTODT(st.st_mode);
    }
    *out_directory = type == DT_DIR;
    walk->counts.symlinks += type == DT_LNK;
    walk->counts.specials += type != DT_LNK && type != DT_REG && type != DT_DIR;
    return type == DT_REG || type == DT_DIR;
}

static void add_name(struct level *level, const char *text, bool directory)
{
    if ((level->count & (level->count - 1)) == 0)
        level->names = cli_realloc(level->names, sizeof *level->names * (level->count > 0 ? level->count * 2 : 1));
    size_t size = strlen(text) + 2;
    char *copy = cli_alloc(size);
    snprintf(copy, size, "%s%s", text, directory ? "/" : "");
    level->names[level->count++] = (struct name){copy, directory};
}

static void read_names(struct walk *walk, struct level *level)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(level->stream);
        if (!entry)
            break;
        bool directory;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            classify(walk, dirfd(level->stream), entry, &directory))
            add_name(level, entry->d_name, directory);
    }
    if (errno != 0)
        complain(walk, errno);
    if (level->count > 0)
        qsort(level->names, level->count, sizeof *level->names, compare_names);
}

/* The directory that is to be left out? */
static bool is_skipped(struct walk *walk, int fd)
{
    struct stat st;
    if (!walk->skip || fstat(fd, &st) != 0 || st.st_dev != walk->skip_device || st.st_ino != walk->skip_inode)
        return false;
    walk->skipped = true;
    return true;
}

/* Go down into the directory open as `fd` (taken); walk->path is its path. */
static void push_level(struct walk *walk, int fd)
{
    DIR *stream = fdopendir(fd);
    if (!stream) {
        complain(walk, errno);
        close(fd);
        return;
    }
    if (walk->depth == walk->capacity) {
        walk->capacity = walk->capacity > 0 ? walk->capacity * 2 : 16;
        walk->levels = cli_realloc(walk->levels, walk->capacity * sizeof *walk->levels);
    }
    struct level *level = &walk->levels[walk->depth++];
    *level = (struct level){.stream = stream, .path_size = walk->path.size};
    walk->counts.directories++;
    read_names(walk, level);
}

static void pop_level(struct walk *walk)
{
    struct level *level = &walk->levels[--walk->depth];
    for (size_t i = 0; i < level->count; i++)
        free(level->names[i].text);
    free(level->names);
    closedir(level->stream);
}

static void enter(struct walk *walk, int parent_fd, char *name)
{
    name[strlen(name) - 1] = '\0'; /* without the '/' that sorts it */
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        if (errno != ENOENT)
            complain(walk, errno);
        return;
    }
    if (is_skipped(walk, fd))
        close(fd);
    else
        push_level(walk, fd);
}

bool walk_next(struct walk *walk, struct walk_file *out_file)
{
    while (walk->depth > 0) {
        struct level *level = &walk->levels[walk->depth - 1];
        if (level->next == level->count) {
            pop_level(walk);
            continue;
        }
        struct name *name = &level->names[level->next++];
        walk->path.size = level->path_size;
        bytes_append(&walk->path, name->text, strlen(name->text));
        if (name->directory) {
            enter(walk, dirfd(level->stream), name->text);
            continue;
        }
        bytes_reserve(&walk->path, walk->path.size + 1);
        walk->path.data[walk->path.size] = '\0';
        *out_file = (struct walk_file){walk->path.data, walk->path.size, dirfd(level->stream), name->text};
        return true;
    }
    return false;
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

struct walk *walk_create(const char *root, const char *skip_path, walk_complain_fn complain_fn, void *arg)
{
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    raise_file_limit();
    struct walk *walk = cli_alloc(sizeof *walk);
    walk->complain = complain_fn;
    walk->arg = arg;
    struct stat st;
    if (skip_path && stat(skip_path, &st) == 0) {
        walk->skip = true;
        walk->skip_device = st.st_dev;
        walk->skip_inode = st.st_ino;
    }
    push_level(walk, fd);
    return walk;
}

void walk_destroy(struct walk *walk)
{
    if (!walk)
        return;
    while (walk->depth > 0)
        pop_level(walk);
    free(walk->levels);
    bytes_deinit(&walk->path);
    free(walk);
}

const struct walk_counts *walk_counts(const struct walk *walk)
{
    return &walk->counts;
}

bool walk_skipped_path(const struct walk *walk)
{
    return walk->skipped;
}

bool walk_measure(const char *root, const char *skip_path, uint64_t *out_files, uint64_t *out_bytes)
{
    struct walk *walk = walk_create(root, skip_path, NULL, NULL);
    if (!walk)
        return false;
    struct walk_file file;
    *out_files = *out_bytes = 0;
    while (walk_next(walk, &file)) {
        struct stat st;
        if (fstatat(file.directory_fd, file.name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            *out_files += 1;
            *out_bytes += (uint64_t)st.st_size;
        }
    }
    walk_destroy(walk);
    return true;
}
