// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_group.c - makes, joins and removes a memory cgroup.
 *
 * The idea: to see an engine whose data does not fit into memory, the memory of one process is made small. The kernel
 * counts anonymous memory and the pages of files that the process was the first to touch against the group's limit, and
 * evicts or, when nothing can be evicted, kills.
 *
 * Where: version 2 (memory.max) if the memory controller is there, otherwise version 1 (memory.limit_in_bytes). A group
 * is made below the one that this process is in, so that a limit that is above us stays in force; in version 2, where a
 * group with processes in it cannot have groups with controllers below it, beside it if need be. /proc/self/cgroup says
 * which group that is, /proc/self/mountinfo where it is seen. A kernel that has the version 1 controller and has not
 * mounted it gets it mounted on a temporary directory, if we are root, until group_remove().
 *
 * What is made is removed by the process that made it, which must not be the one inside: a group cannot be removed
 * while a process is in it, and a process that is killed cleans nothing up.
 *
 * A setrlimit() would not do: it does not know of the page cache.
 */
#include "nokv_bench_group.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nokv_bench_util.h"

enum { PATH_SIZE = 4096 };

static char reason[PATH_SIZE + 256]; /* what group_create() returned last; one thread makes groups */

/* ---- files of a group ------------------------------------------------------------------------------------------ */

static bool file_is_there(const char *dir, const char *name)
{
    char path[PATH_SIZE + 64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

/* Returns whether it was taken; errno says why not. */
static bool file_write(const char *dir, const char *name, const char *text)
{
    char path[PATH_SIZE + 64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    if (!f)
        return false;
    bool ok = fputs(text, f) >= 0;
    return fclose(f) == 0 && ok;
}

/* The number in a file that holds one, or behind `field` in a file of such lines; 0 when it is not there. */
static uint64_t file_number(const char *dir, const char *name, const char *field)
{
    char path[PATH_SIZE + 64], line[256];
    size_t length = field ? strlen(field) : 0;
    uint64_t number = 0;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (!field || (strncmp(line, field, length) == 0 && line[length] == ' ')) {
            number = strtoull(line + length, NULL, 10);
            break;
        }
    if (f)
        fclose(f);
    return number;
}

/* Is `word` in a file of words? */
static bool file_has_word(const char *dir, const char *name, const char *word)
{
    char path[PATH_SIZE + 64], text[64];
    bool has = false;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "re");
    while (f && !has && fscanf(f, "%63s", text) == 1)
        has = strcmp(text, word) == 0;
    if (f)
        fclose(f);
    return has;
}

/* ---- where we are ---------------------------------------------------------------------------------------------- */

/* Does `list`, separated by commas, hold `word`? */
static bool list_has(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += length)
        if ((at == list || at[-1] == ',') && (at[length] == ',' || !at[length]))
            return true;
    return false;
}

/* The path of our own group: of the hierarchy of the memory controller, or of version 2. */
static bool own_path(bool version2, char out_path[PATH_SIZE])
{
    char line[PATH_SIZE + 256];
    bool found = false;
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && !found && fgets(line, sizeof line, f)) { /* number:controllers:path */
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path = 0;
        path[1 + strcspn(path + 1, "\n")] = 0;
        found = version2 ? strcmp(line, "0:") == 0 : list_has(controllers + 1, "memory");
        if (found)
            snprintf(out_path, PATH_SIZE, "%s", path + 1);
    }
    if (f)
        fclose(f);
    return found;
}

/* Where the hierarchy is mounted, and which of its groups is seen there. */
static bool mount_find(bool version2, char out_point[PATH_SIZE], char out_root[PATH_SIZE])
{
    char line[2 * PATH_SIZE + 512], type[64], options[PATH_SIZE];
    bool found = false;
    FILE *f = fopen("/proc/self/mountinfo", "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        const char *behind = strstr(line, " - ");
        if (!behind || sscanf(line, "%*s %*s %*s %4095s %4095s", out_root, out_point) != 2 ||
            sscanf(behind, " - %63s %*s %4095s", type, options) != 2)
            continue;
        found = version2 ? strcmp(type, "cgroup2") == 0 : strcmp(type, "cgroup") == 0 && list_has(options, "memory");
    }
    if (f)
        fclose(f);
    return found;
}

/* The directory of our own group, where `point` shows the group `root`. */
static void own_dir(const char *path, const char *point, const char *root, char out_dir[PATH_SIZE])
{
    size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);
    bool below = strncmp(path, root, length) == 0 && (path[length] == '/' || !path[length]);
    const char *rest = below && strcmp(path + length, "/") != 0 ? path + length : "";
    if (snprintf(out_dir, PATH_SIZE, "%s%s", point, rest) >= PATH_SIZE || access(out_dir, F_OK) != 0)
        snprintf(out_dir, PATH_SIZE, "%s", point); /* a namespace shows paths of its own */
}

/* ---- making one ------------------------------------------------------------------------------------------------ */

static const char *why(const char *what, const char *where)
{
    snprintf(reason, sizeof reason, "%s%s%s: %s%s", what, *where ? " " : "", where, strerror(errno),
             errno == EACCES || errno == EPERM || errno == EROFS ? " (needs root, or a group that was delegated)" : "");
    return reason;
}

/* A group with its limit below `parent`. */
static const char *group_make(const char *parent, bool version2, uint64_t limit_bytes, struct group *group)
{
    static unsigned made; /* in this process */
    char dir[PATH_SIZE], limit[32];
    if (snprintf(dir, sizeof dir, "%s/nokv-bench-%d-%u", parent, (int)getpid(), made++) >= PATH_SIZE)
        return "the path of this process's group is too long";
    snprintf(limit, sizeof limit, "%lu", limit_bytes);
    if (mkdir(dir, 0755) != 0)
        return why("mkdir", dir);
    if (!file_write(dir, version2 ? "memory.max" : "memory.limit_in_bytes", limit)) {
        const char *said = why("setting the limit of", dir);
        (void)rmdir(dir);
        return said;
    }
    /* What is swapped out shall not be a way around the limit; group_swap_bounded() says whether it is. */
    if (version2)
        (void)file_write(dir, "memory.swap.max", "0");
    else
        (void)file_write(dir, "memory.memsw.limit_in_bytes", limit);
    snprintf(group->dir, sizeof group->dir, "%s", dir);
    return NULL;
}

/* The version 2 group in which one of ours can have a memory limit. */
static bool parent_v2(char dir[PATH_SIZE])
{
    static const char control[] = "cgroup.subtree_control";
    char *slash = strrchr(dir, '/');
    if (file_has_word(dir, control, "memory") || file_write(dir, control, "+memory"))
        return true;
    if (!slash || slash == dir || !file_has_word(dir, "cgroup.controllers", "memory"))
        return false;
    *slash = 0;
    return file_has_word(dir, control, "memory");
}

static const char *create_v2(uint64_t limit_bytes, struct group *group)
{
    char path[PATH_SIZE], point[PATH_SIZE], root[PATH_SIZE], dir[PATH_SIZE];
    if (!own_path(true, path) || !mount_find(true, point, root))
        return "cgroup version 2 is not mounted";
    own_dir(path, point, root, dir);
    if (!file_has_word(dir, "cgroup.controllers", "memory"))
        return "cgroup version 2 has no memory controller here";
    if (!parent_v2(dir))
        return "no group of cgroup version 2 around this process may have a memory limit below it";
    return group_make(dir, true, limit_bytes, group);
}

/* Mount the controller of version 1 on a directory of our own. */
static const char *controller_mount(struct group *group)
{
    char point[] = "/tmp/nokv-bench-cgroup-XXXXXX";
    if (!mkdtemp(point))
        return why("mkdtemp", point);
    if (mount("cgroup", point, "cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, "memory") != 0) {
        const char *said = why("the memory controller is not mounted, and mounting it failed", "");
        (void)rmdir(point);
        return said;
    }
    snprintf(group->mount, sizeof group->mount, "%s", point);
    return NULL;
}

static const char *create_v1(uint64_t limit_bytes, struct group *group)
{
    char path[PATH_SIZE], point[PATH_SIZE], root[PATH_SIZE], dir[PATH_SIZE];
    if (!own_path(false, path))
        return "the kernel has no memory controller";
    const char *said = mount_find(false, point, root) ? NULL : controller_mount(group);
    if (said)
        return said;
    if (*group->mount && !mount_find(false, point, root))
        said = "the mounted memory controller is not to be found";
    if (!said) {
        own_dir(path, point, root, dir);
        said = group_make(dir, false, limit_bytes, group);
    }
    if (said)
        group_remove(group);
    return said;
}

const char *group_create(uint64_t limit_bytes, struct group *out_group)
{
    static char both[2 * sizeof reason];
    struct group group = {.dir = ""};
    const char *first = create_v2(limit_bytes, &group);
    if (first) {
        char kept[sizeof reason];
        snprintf(kept, sizeof kept, "%s", first);
        const char *second = create_v1(limit_bytes, &group);
        if (second) {
            snprintf(both, sizeof both, "%s; %s", kept, second);
            return both;
        }
    }
    *out_group = group;
    return NULL;
}

/* ---- using it -------------------------------------------------------------------------------------------------- */

uint64_t group_oom_kills(const struct group *group)
{
    if (!*group->dir)
        return 0;
    if (file_is_there(group->dir, "memory.events"))
        return file_number(group->dir, "memory.events", "oom_kill");
    return file_number(group->dir, "memory.oom_control", "oom_kill");
}

/* A process that has ended leaves its group a little later: some tries, in a second at the most. */
static bool dir_remove(const char *dir)
{
    for (unsigned tries = 0; tries < 200; tries++) {
        if (rmdir(dir) == 0 || errno == ENOENT)
            return true;
        if (errno != EBUSY)
            return false;
        usleep(5000);
    }
    return false;
}

void group_remove(struct group *group)
{
    if (*group->dir && !dir_remove(group->dir))
        fprintf(stderr, "nokv-bench: rmdir %s: %s\n", group->dir, strerror(errno));
    if (*group->mount && (umount2(group->mount, MNT_DETACH) != 0 || rmdir(group->mount) != 0))
        fprintf(stderr, "nokv-bench: unmounting %s: %s\n", group->mount, strerror(errno));
    *group = (struct group){.dir = ""};
}

void group_join(const char *dir)
{
    char pid[32];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (!file_write(dir, "cgroup.procs", pid))
        bench_die("the memory group %s cannot be joined: %s", dir, strerror(errno));
}

bool group_swap_bounded(const char *dir)
{
    static const char v1_both[] = "memory.memsw.limit_in_bytes", v2_swap[] = "memory.swap.max";
    if (file_number("/proc", "meminfo", "SwapTotal:") == 0)
        return true;
    if (file_is_there(dir, v2_swap))
        return file_has_word(dir, v2_swap, "0");
    return file_is_there(dir, v1_both) &&
           file_number(dir, v1_both, NULL) == file_number(dir, "memory.limit_in_bytes", NULL);
}

uint64_t group_bytes(const char *dir)
{
    return file_number(dir, file_is_there(dir, "memory.current") ? "memory.current" : "memory.usage_in_bytes", NULL);
}
