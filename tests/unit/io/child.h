// SPDX-License-Identifier: Apache-2.0
/*
 * tests/unit/io/child.h - run a part of a test in a forked child, where limits, system call filters and deaths by
 * signal stay; CHECK and CHECK_FAILS are what OK and FAILS are in the parent.
 */
#ifndef TESTS_UNIT_IO_CHILD_H
#define TESTS_UNIT_IO_CHILD_H

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "test.h"

#define CHECK(cond)                                                                           \
    do {                                                                                      \
        if (!(cond)) {                                                                        \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #cond, status_message()); \
            _exit(1);                                                                         \
        }                                                                                     \
    } while (0)
#define CHECK_OK(expr) CHECK((expr) == NOKV_OK)
#define CHECK_FAILS(code, expr) CHECK((expr) == NOKV_ERR_##code)

/* The wait status of a child that runs fn(arg) and exits with 0 after it. */
static inline int child_run(void (*fn)(const char *dir), const char *dir)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        fn(dir);
        test_exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static inline void child_passes(void (*fn)(const char *dir), const char *dir)
{
    int status = child_run(fn, dir);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static inline void child_dies_of(int sig, void (*fn)(const char *dir), const char *dir)
{
    int status = child_run(fn, dir);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), sig);
}

/* From now on this system call of this thread (and those that it starts) fails with `err`. Only in a child. */
static inline void syscall_fails(unsigned number, unsigned err)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (err & SECCOMP_RET_DATA)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

#endif
