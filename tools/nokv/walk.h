// SPDX-License-Identifier: Apache-2.0
/*
 * walk.h - the regular files below a directory, in the order in which a database keeps their relative paths as keys.
 *
 * That order is what lets verify compare a tree with a database in one pass over both, without a list of either.
 */
#ifndef NOKV_CLI_WALK_H
#define NOKV_CLI_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The walk of one tree; used by one thread. */
struct walk;

struct walk_file {
    const char *path; /* relative to the root, "a/b/c", NUL-terminated; until the next call */
    size_t path_size; /* bytes, without the NUL */
    int directory_fd; /* the directory that holds it, until the next call */
    const char *name; /* in that directory */
};

/* What was passed by. */
struct walk_counts {
    uint64_t directories;
    uint64_t symlinks, specials;     /* symbolic links; devices, sockets, pipes */
    uint64_t unreadable_directories; /* reported through the callback */
};

/* Something in the tree could not be looked at. */
typedef void (*walk_complain_fn)(void *arg, const char *path, int error);

/*
 * Start at directory `root`. `skip_path`, when not NULL and an existing directory, is left out: the database itself,
 * should it lie inside the tree. NULL with errno set when `root` cannot be opened. `complain` may be NULL.
 */
struct walk *walk_create(const char *root, const char *skip_path, walk_complain_fn complain, void *arg);
void walk_destroy(struct walk *walk); /* NULL is accepted */

/* The next regular file; false at the end. */
bool walk_next(struct walk *walk, struct walk_file *out_file);
const struct walk_counts *walk_counts(const struct walk *walk);
bool walk_skipped_path(const struct walk *walk); /* `skip_path` was met */

/* How many regular files a walk would show and how many bytes they have now. False with errno set as walk_create(). */
bool walk_measure(const char *root, const char *skip_path, uint64_t *out_files, uint64_t *out_bytes);

#endif
