// SPDX-License-Identifier: Apache-2.0
/*
 * nokv/status.h - the status codes of libnokv, each listed once.
 *
 * Every fallible function of the library returns one of these. The list makes the enum here, the strings of
 * nokv_status_name() and nokv_status_text(), and the table in docs/errors.md. Numbers are part of the ABI: a new
 * code is appended, none is renumbered.
 */
#ifndef NOKV_STATUS_H
#define NOKV_STATUS_H

/* X(constant, number, one line for people) */
#define NOKV_STATUS_LIST(X)                                                                                   \
    X(NOKV_OK, 0, "success")                                                                                  \
    X(NOKV_ERR_NOT_FOUND, 1, "no such key, file or database")                                                 \
    X(NOKV_ERR_INVALID, 2, "an argument or option is not valid; nothing was changed")                         \
    X(NOKV_ERR_TOO_LARGE, 3, "a key, value or batch is beyond its limit; nothing was changed")                \
    X(NOKV_ERR_BUSY, 4, "another process or handle has the database open")                                    \
    X(NOKV_ERR_IO, 5, "the operating system or the device reported an error")                                 \
    X(NOKV_ERR_CORRUPT, 6, "bytes on disk are not what was written there")                                    \
    X(NOKV_ERR_NO_SPACE, 7, "the file system is full")                                                        \
    X(NOKV_ERR_NO_MEMORY, 8, "memory or file descriptors ran out")                                            \
    X(NOKV_ERR_READ_ONLY, 9, "the database was opened read-only")                                             \
    X(NOKV_ERR_POISONED, 10, "an earlier sync or log write failed; the database is read-only until reopened") \
    X(NOKV_ERR_NOT_SUPPORTED, 11, "a feature or format version that this build does not have")                \
    X(NOKV_ERR_EXISTS, 12, "it exists already")                                                               \
    X(NOKV_ERR_ABORTED, 13, "the work was cut short because the database is closing")

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nokv_status {
#define NOKV_STATUS_ENUM_(name, number, text) name = number,
    NOKV_STATUS_LIST(NOKV_STATUS_ENUM_)
#undef NOKV_STATUS_ENUM_
} nokv_status;

#ifdef __cplusplus
}
#endif
#endif
