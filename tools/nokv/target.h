// SPDX-License-Identifier: Apache-2.0
/*
 * target.h - values into files below a directory, named by their keys: what export and salvage have in common.
 *
 * [I1] Nothing outside the directory is created or changed: keys that could name something there are refused, and
 *      directories are opened one component at a time without following symbolic links.
 * [I2] A file appears under its name complete or not at all: it is written under a temporary name in the same directory
 *      and then moved. An existing file is replaced only with `force`; one that holds the same bytes already is fine.
 */
#ifndef NOKV_CLI_TARGET_H
#define NOKV_CLI_TARGET_H

#include <stdbool.h>

#include "text.h"
#include "value.h"

struct target {
    int root_fd;
    bool force;
    char temporary[64];
    struct bytes path; /* the key in hand, NUL-terminated */
};

enum target_result {
    TARGET_WRITTEN,
    TARGET_PRESENT,  /* the file holds these bytes already */
    TARGET_REFUSED,  /* the key is no safe path */
    TARGET_CONFLICT, /* with what is in the directory */
    TARGET_FAILED,   /* so that going on is pointless: a full disk, for one */
    TARGET_NO_VALUE, /* value->status says why */
};

/* Open the directory, which is made when it is missing. False with errno set. */
bool target_open(struct target *target, const char *directory, bool force);
void target_close(struct target *target);

/* Write the value to the file that `key` names. *out_why: in words, but for WRITTEN, PRESENT and NO_VALUE. */
enum target_result target_write(struct target *target, nokv_slice key, struct value_reader *value,
                                const char **out_why);

#endif
