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
#include "value.h"

enum source_result {
    SOURCE_READ,      /* all of it, and it did not change meanwhile */
    SOURCE_VANISHED,  /* removed, or not a regular file any more */
    SOURCE_DENIED,    /* errno says why it cannot be read */
    SOURCE_TOO_LARGE, /* above NOKV_VALUE_SIZE_MAX */
    SOURCE_UNSTABLE,  /* it changed each time that it was read */
    SOURCE_LARGE,     /* of source_read(): VALUE_LARGE or more, to be streamed */
    SOURCE_STOPPED,   /* of source_stream(): the sink did not want more */
};

enum source_kind {
    SOURCE_KIND_FILE,     /* a regular file that can be opened */
    SOURCE_KIND_NONE,     /* not there, or not a regular file */
    SOURCE_KIND_LEFT_OUT, /* source_read() would not give it: it may not be read, or is too large */
};

/* What `name` in `directory_fd` is now. */
enum source_kind source_kind(int directory_fd, const char *name);

/* Read the file `name` of `directory_fd` into *out, or say that it is SOURCE_LARGE. */
enum source_result source_read(int directory_fd, const char *name, struct bytes *out);

/* Takes a file in pieces. An attempt that met a change is followed by another `begin`. False: stop. */
struct source_sink {
    bool (*begin)(void *arg, uint64_t size);
    bool (*piece)(void *arg, const void *data, size_t size);
    void *arg;
};

/* Read the file piece by piece. SOURCE_READ: the pieces since the last `begin` are the file, which did not change. */
enum source_result source_stream(int directory_fd, const char *name, const struct source_sink *sink);

enum source_comparison {
    SOURCE_SAME,
    SOURCE_DIFFERENT,
    SOURCE_ABSENT,
    SOURCE_UNREADABLE, /* the file: errno says why */
    SOURCE_NO_VALUE,   /* the value: value->status says why */
};

/* Compare the file with a value, without reading more than is needed. */
enum source_comparison source_compare(int directory_fd, const char *name, struct value_reader *value);

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
