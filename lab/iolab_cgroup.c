// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_cgroup.c - a small machine on a large one: a memory cgroup of its own for a child process.
 *
 * Page cache is charged to the group of who touches a page first and is reclaimed within the group, so a child with a
 * limit sees what a machine with that much memory would do to it. Version 2 (memory.max) is taken where a hierarchy
 * with the memory controller can be written, else version 1 (memory.limit_in_bytes), which is mounted below the
 * laboratory's own directory when nobody has. All of it needs rights that many containers do not give: then `why` says
 * what was refused, and the rows that need it are left out, because without a limit they would measure something else.
 *
 * Groups are named after the parent's and the child's process number and removed when the child has ended.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lab/lab.h"

static enum nokv_status number_write(const char *dir, const char *name, uint64_t number)
{
    char path[LAB_PATH_SIZE + 128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r+e"); /* never makes a file: a plain tmpfs may stand in the hierarchy's place */
    if (!f)
        return FAIL_ERRNO(errno, "%s: cannot be opened", path);
    bool ok = fprintf(f, "%lu\n", number) > 0;
    if (fclose(f) != 0 || !ok)
        return FAIL_ERRNO(errno, "%s: cannot be written", path);
    return NOKV_OK;
}

static void group_path(const struct lab *lab, long pid, char out[LAB_PATH_SIZE + 64])
{
    snprintf(out, LAB_PATH_SIZE + 64, "%s/nokv-iolab-%ld", lab->cgroup.parent, pid);
}

/* A group with that limit; nothing is left on failure. */
static enum nokv_status group_make(const struct lab *lab, long pid, uint64_t limit)
{
    char dir[LAB_PATH_SIZE + 64];
    group_path(lab, pid, dir);
    if (mkdir(dir, 0755) != 0)
        return FAIL_ERRNO(errno, "%s: no group can be made", dir);
    enum nokv_status status =
        number_write(dir, lab->cgroup.version == 2 ? "memory.max" : "memory.limit_in_bytes", limit);
    if (status != NOKV_OK)
        (void)rmdir(dir);
    return status;
}

enum nokv_status lab_cgroup_enter(const struct lab *lab, long pid, uint64_t limit)
{
    char dir[LAB_PATH_SIZE + 64];
    TRY(group_make(lab, pid, limit));
    group_path(lab, pid, dir);
    return number_write(dir, "cgroup.procs", (uint64_t)pid);
}

void lab_cgroup_remove(const struct lab *lab, long pid)
{
    char dir[LAB_PATH_SIZE + 64];
    group_path(lab, pid, dir);
    (void)rmdir(dir);
}

/* Does a group below `parent` take a limit? */
static bool parent_works(struct lab *lab, unsigned version, const char *parent)
{
    long pid = (long)getpid();
    lab->cgroup.version = version;
    snprintf(lab->cgroup.parent, sizeof lab->cgroup.parent, "%s", parent);
    if (group_make(lab, pid, lab->memory) == NOKV_OK) {
        lab_cgroup_remove(lab, pid);
        return true;
    }
    snprintf(lab->cgroup.why, sizeof lab->cgroup.why, "%s", status_message());
    lab->cgroup.version = 0;
    return false;
}

static bool mount_works(struct lab *lab)
{
    char dir[LAB_PATH_SIZE];
    lab_path(lab, "cgroup", dir);
    if (mkdir(dir, 0755) != 0)
        return false;
    if (mount("none", dir, "cgroup", 0, "memory") == 0) {
        lab->cgroup.mounted = true;
        if (parent_works(lab, 1, dir))
            return true;
        lab_cgroup_forget(lab);
    }
    (void)rmdir(dir);
    return false;
}

void lab_cgroup_find(struct lab *lab)
{
    if (parent_works(lab, 2, "/sys/fs/cgroup") || parent_works(lab, 1, "/sys/fs/cgroup/memory") || mount_works(lab))
        return;
    lab->cgroup.parent[0] = 0;
}

void lab_cgroup_forget(struct lab *lab)
{
    if (!lab->cgroup.mounted)
        return;
    (void)umount2(lab->cgroup.parent, MNT_DETACH);
    (void)rmdir(lab->cgroup.parent);
    lab->cgroup.mounted = false;
}
