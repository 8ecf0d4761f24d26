// SPDX-License-Identifier: Apache-2.0
/*
 * The limit of a real cgroup, version 1 or 2, is seen by a process that is in it.
 *
 * The group is made at the root of the hierarchy, holds one short-lived child, and is removed. Where that is not
 * possible (no root, no hierarchy with the memory controller, one that cannot be written) the test says so and is
 * skipped.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "io/io.h"
#include "test.h"

#define LIMIT (96ull << 20)

struct group {
    char dir[300];
    const char *file;
    const char *source;
};

static bool file_write(const char *dir, const char *name, const char *content)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool done = write(fd, content, strlen(content)) == (ssize_t)strlen(content);
    close(fd);
    return done;
}

static bool group_create(struct group *g, const char *mount, const char *file, const char *source)
{
    char limit[32];
    snprintf(g->dir, sizeof g->dir, "%s/nokv-test-%ld", mount, (long)getpid());
    snprintf(limit, sizeof limit, "%llu", LIMIT);
    g->file = file;
    g->source = source;
    if (mkdir(g->dir, 0755) != 0)
        return false;
    if (file_write(g->dir, file, limit))
        return true;
    rmdir(g->dir);
    return false;
}

/* In the usual places: the unified hierarchy, that of version 1, the unified one of a hybrid. */
static bool group_find(struct group *g)
{
    return group_create(g, "/sys/fs/cgroup", "memory.max", "cgroup v2 memory.max") ||
           group_create(g, "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "cgroup v1 memory.limit_in_bytes") ||
           group_create(g, "/sys/fs/cgroup/unified", "memory.max", "cgroup v2 memory.max");
}

/* Enters the group and looks; the exit status says what was seen. */
static void child_run(const struct group *g)
{
    struct io_memory before, memory;
    struct io *io;
    if (io_real_create(&io) != NOKV_OK)
        _exit(1);
    io_memory_get(io, &before);
    if (!file_write(g->dir, "cgroup.procs", "0"))
        _exit(77);
    io_memory_get(io, &memory);
    printf("before: %llu (%s), in %s: %llu (%s)\n", (unsigned long long)before.limit_bytes, before.source, g->dir,
           (unsigned long long)memory.limit_bytes, memory.source);
    fflush(stdout);
    bool as_expected = memory.limit_bytes == LIMIT && strcmp(memory.source, g->source) == 0 &&
                       memory.total_bytes == before.total_bytes && memory.total_bytes > LIMIT;
    test_exit(as_expected ? 0 : 2);
}

/* A child in a group with 96 MiB is told 96 MiB, and by which file. */
static void test_real_group(void **state)
{
    (void)state;
    struct group g;
    int status = 0;
    if (!group_find(&g)) {
        printf(
            "skipped: no cgroup with a memory limit can be made here (root, and a writable hierarchy, are needed)\n");
        skip();
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child_run(&g);
    if (pid > 0)
        (void)waitpid(pid, &status, 0);
    rmdir(g.dir);
    assert_true(pid > 0 && WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        printf("skipped: %s cannot be entered\n", g.dir);
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_real_group)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
