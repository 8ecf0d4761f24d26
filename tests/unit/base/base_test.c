// SPDX-License-Identifier: Apache-2.0
/* The end of a process whose invariant is broken. */
#include "base/base.h"

#include <signal.h>
#include <sys/wait.h>

#include "test.h"

enum { ABORTED = 42 };

static void on_abort(int sig)
{
    (void)sig;
    test_exit(ABORTED);
}

/* A broken invariant aborts, and standard error says which one and where. */
static void test_broken_invariant(void **state)
{
    (void)state;
    char text[300] = "", place[64];
    int ends[2], status = 0, one = 1;
    size_t size = 0;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)signal(SIGABRT, on_abort);
        (void)dup2(ends[1], STDERR_FILENO);
        ASSERT(one == 1);
        ASSERT(one == 2); /* this line is in the message */
        test_exit(0);
    }
    snprintf(place, sizeof place, "base_test.c:%d)\n", __LINE__ - 3);
    close(ends[1]);
    for (ssize_t n = 1; n > 0; size += n > 0 ? (size_t)n : 0)
        n = read(ends[0], text + size, sizeof text - 1 - size);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), ABORTED);
    assert_non_null(strstr(text, "nokv: broken invariant: one == 2 ("));
    assert_non_null(strstr(text, place));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_broken_invariant)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
