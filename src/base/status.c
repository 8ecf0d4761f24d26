// SPDX-License-Identifier: Apache-2.0
/*
 * The message of the last failure of each thread: a fixed buffer in thread-local storage, so that reporting an error
 * never allocates and works when memory is what ran out. A message that is too long is cut.
 */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_SIZE = 768 };

static _Thread_local char message[MESSAGE_SIZE];

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* A message may be built from the one before it ("%s" of status_message()), hence the second buffer. */
static void message_format(const char *file, int line, int err, const char *fmt, va_list args)
{
    char text[MESSAGE_SIZE];
    size_t used = 0;
    int n = vsnprintf(text, sizeof text, fmt, args);
    if (n > 0)
        used = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if (err != 0)
        snprintf(text + used, sizeof text - used, ": %s", strerror(err));
    snprintf(message, sizeof message, "%s [%s:%d]", text, base_name(file), line);
}

enum nokv_status status_fail(enum nokv_status status, const char *file, int line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    message_format(file, line, 0, fmt, args);
    va_end(args);
    return status;
}

enum nokv_status status_from_errno(int err)
{
    switch (err) {
    case ENOSPC:
    case EDQUOT:
        return NOKV_ERR_NO_SPACE;
    case ENOMEM:
    case EMFILE: /* a want of the process, too, that may pass */
    case ENFILE:
        return NOKV_ERR_NO_MEMORY;
    case EROFS:
        return NOKV_ERR_READ_ONLY;
    case ENOENT:
        return NOKV_ERR_NOT_FOUND;
    case EEXIST:
        return NOKV_ERR_EXISTS;
    default:
        return NOKV_ERR_IO;
    }
}

enum nokv_status status_fail_errno(int err, const char *file, int line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    message_format(file, line, err, fmt, args);
    va_end(args);
    return status_from_errno(err);
}

const char *status_message(void)
{
    return message;
}

void status_message_set(const char *text)
{
    snprintf(message, sizeof message, "%s", text);
}

const char *status_name(enum nokv_status status)
{
    switch (status) {
#define STATUS_NAME_(name, number, text) \
    case name:                           \
        return #name;
        NOKV_STATUS_LIST(STATUS_NAME_)
#undef STATUS_NAME_
    }
    return "NOKV_ERR_?";
}

const char *status_text(enum nokv_status status)
{
    switch (status) {
#define STATUS_TEXT_(name, number, text) \
    case name:                           \
        return text;
        NOKV_STATUS_LIST(STATUS_TEXT_)
#undef STATUS_TEXT_
    }
    return "unknown status";
}
