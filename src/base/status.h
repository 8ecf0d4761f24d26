// SPDX-License-Identifier: Apache-2.0
/*
 * base/status.h - how an error travels: a code up the call stack, its story in a per-thread message.
 *
 * Two ways to pass one on: TRY(expr) returns a failed status as it is; FAIL(CODE, "fmt", ...) records message, file
 * and line for nokv_error_message() and is the code. The message names what, where and what to do.
 * `NOKV_ERR_` is added to the code: `return FAIL(CORRUPT, "sst %llu block @%llu: checksum", n, off);`
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include "nokv/status.h"

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt_index, args_index) __attribute__((format(printf, fmt_index, args_index)))

#ifndef __clang_analyzer__
#define FAIL(code, ...) status_fail(NOKV_ERR_##code, __FILE__, __LINE__, __VA_ARGS__)
#else /* which looks at one file at a time, and would not know that this is never NOKV_OK */
#define FAIL(code, ...) \
    ((void)!status_fail(NOKV_ERR_##code, __FILE__, __LINE__, __VA_ARGS__), (enum nokv_status)NOKV_ERR_##code)
#endif
/* The same for a code held in a variable. */
#define FAIL_WITH(status, ...) status_fail((status), __FILE__, __LINE__, __VA_ARGS__)
/* FAIL for a failed system call: appends strerror(err) and maps ENOSPC, EDQUOT, ENOMEM, EMFILE, ENFILE and EROFS to
 * codes of their own. */
#define FAIL_ERRNO(err, ...) status_fail_errno((err), __FILE__, __LINE__, __VA_ARGS__)
#define TRY(expr)                                        \
    do {                                                 \
        enum nokv_status try_status_ = (expr);           \
        if (__builtin_expect(try_status_ != NOKV_OK, 0)) \
            return try_status_;                          \
    } while (0)

/* Record the message for this thread; returns `status`, which must not be NOKV_OK. */
enum nokv_status status_fail(enum nokv_status status, const char *file, int line, const char *fmt, ...)
    PRINTF_LIKE(4, 5) MUST_CHECK;
enum nokv_status status_fail_errno(int err, const char *file, int line, const char *fmt, ...)
    PRINTF_LIKE(4, 5) MUST_CHECK;
/* The status that an errno stands for. */
enum nokv_status status_from_errno(int err);
/* This thread's last message; "" at first. Borrowed until the next failure on this thread. */
const char *status_message(void);
/* Replace this thread's message, to hand a background thread's story to a caller. Copies. */
void status_message_set(const char *message);
const char *status_name(enum nokv_status status);
const char *status_text(enum nokv_status status);

#endif
