// SPDX-License-Identifier: Apache-2.0
/*
 * tests/support/test.h - what every test includes: cmocka with its required headers, a status check that prints the
 * message, a temporary directory, and seeded random numbers (splitmix64), so that each run can be replayed.
 */
#ifndef TESTS_SUPPORT_TEST_H
#define TESTS_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"

/* The call must succeed; prints the engine's message otherwise. */
#define OK(expr)                                                                      \
    do {                                                                              \
        enum nokv_status ok_status_ = (expr);                                         \
        if (ok_status_ != NOKV_OK)                                                    \
            fail_msg("%s: %s: %s", #expr, status_name(ok_status_), status_message()); \
    } while (0)

/* The call must fail with NOKV_ERR_<code>. */
#define FAILS(code, expr)                                                                                     \
    do {                                                                                                      \
        enum nokv_status fails_status_ = (expr);                                                              \
        if (fails_status_ != NOKV_ERR_##code)                                                                 \
            fail_msg("%s: %s instead of " #code ": %s", #expr, status_name(fails_status_), status_message()); \
    } while (0)

/* splitmix64 (Steele, Lea, Flood 2014): one u64 of state, replayable from its seed. */
static inline uint64_t test_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* NOKV_TEST_SEED from the environment or `fallback`; printed, so that a failure can be replayed. */
static inline uint64_t test_seed(uint64_t fallback)
{
    const char *text = getenv("NOKV_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : fallback;
    printf("seed %llu (NOKV_TEST_SEED repeats it)\n", (unsigned long long)seed);
    return seed;
}

/*
 * How many of `rounds` a slow test does: NOKV_TEST_SCALE percent of them (1 to 100; 100 when it is not set), at least
 * one.
 * ./dev test sets 10 for the sanitized trees.
 */
static inline uint64_t test_scale(uint64_t rounds)
{
    const char *text = getenv("NOKV_TEST_SCALE");
    uint64_t percent = text ? strtoull(text, NULL, 10) : 100;
    if (percent == 0 || percent > 100)
        percent = 100;
    uint64_t scaled = rounds / 100 * percent + rounds % 100 * percent / 100;
    return scaled ? scaled : 1;
}

/* The end of a forked child. In a counting build (./dev coverage) it leaves its counters first, which _exit does not.
 */
#if defined NOKV_TEST_GCOV
void __gcov_dump(void);
#elif defined NOKV_TEST_LLVM_PROFILE
int __llvm_profile_write_file(void);
#endif
static inline _Noreturn void test_exit(int code)
{
#if defined NOKV_TEST_GCOV
    __gcov_dump();
#elif defined NOKV_TEST_LLVM_PROFILE
    (void)__llvm_profile_write_file();
#endif
    _exit(code);
}

/* For a function that replaces one which the thread sanitizer calls too, of threads that it does not know yet. */
#ifdef __clang__
#define NOT_SANITIZED __attribute__((disable_sanitizer_instrumentation))
#else
#define NOT_SANITIZED
#endif

/* A new directory below TMPDIR or /tmp; `path` has room for 256 bytes. */
static inline void test_dir_create(char path[256])
{
    const char *base = getenv("TMPDIR");
    snprintf(path, 256, "%s/nokv-test-XXXXXX", base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(path));
}

/* Removes it with everything inside. */
static inline void test_dir_remove(const char *path)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

#endif
