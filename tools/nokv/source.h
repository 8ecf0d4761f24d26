// SPDX-License-Identifier: Apache-2.0
/*
 * source.h - reading a file of a tree that somebody else may be changing at the same moment.
 */
#ifndef NOKV_CLI_SOURCE_H
#define NOKV_CLI_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

enum source_result {
    SOURCE_READ,      /* all of it, and it did not change meanwhile */
    SOURCE_VANISHED,  /* removed, or not a regular file any more */
    SOURCE_DENIED,    /* errno says why it cannot be read */
    SOURCE_TOO_LARGE, /* above NOKV_VALUE_SIZE_MAX */
    SOURCE_UNSTABLE,  /* it changed each time that it was read */
};

enum source_kind {
    SOURCE_KIND_FILE,     /* a regular file that can be opened */
    SOURCE_KIND_NONE,     /* not there, or not a regular file */
    SOURCE_KIND_LEFT_OUT, /* source_read() would not give it: it may not be read, or is too large */
};

/* What `name` in `directory_fd` is now. */
enum source_kind source_kind(int directory_fd, const char *name);

/* Read the file `name` of `directory_fd` into *out. */
enum source_result source_read(int directory_fd, const char *name, struct bytes *out);

enum source_comparison { SOURCE_SAME, SOURCE_DIFFERENT, SOURCE_ABSENT, SOURCE_UNREADABLE };

/* Compare the file with a value, without reading more than is needed; errno is set for SOURCE_UNREADABLE. */
enum source_comparison source_compare(int directory_fd, const char *name, const void *value, size_t value_size);

/*
 * Keys that name a file below a directory: relative, no empty component, no "." or "..", no NUL.
 * NULL when `key` is one, otherwise what is wrong with it.
 */
const char *path_refusal(const void *key, size_t key_size);

/*
 * Open the directory that holds `path` (REQUIRES: path_refusal() is NULL, NUL-terminated), following no symbolic link
 * below root_fd, whatever the length of the path. The file's name within it goes to *out_name (into `path`).
 * Directories that are missing are made when `create` is set. Less than 0 with errno set; root_fd itself is never
 * returned.
 */
int path_open_parent(int root_fd, const char *path, bool create, const char **out_name);

#endif
