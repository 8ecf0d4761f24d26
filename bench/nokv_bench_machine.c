// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_machine.c - processor, memory, kernel and file system, by their names in /proc; the device in /sys.
 *
 * The file system is the one whose mount point is the longest beginning of the directory's path; where several are
 * mounted on one point the last counts. st_dev would not find it: that of a btrfs is in no table.
 */
#include "nokv_bench_machine.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

/* What stands behind "field : " in a file of such lines. */
static void proc_text(const char *file, const char *field, char *out, size_t size)
{
    char line[512];
    FILE *f = fopen(file, "re");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (!colon || strncmp(line, field, strlen(field)) != 0)
            continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(out, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
        break;
    }
    if (f)
        fclose(f);
}

static bool path_below(const char *path, const char *mount)
{
    size_t length = strlen(mount);
    return strcmp(mount, "/") == 0 || (strncmp(path, mount, length) == 0 && (path[length] == '/' || !path[length]));
}

static void filesystem_name(const char *dir, char *out, size_t size)
{
    char mount[4096], type[32], line[8192];
    char *path = realpath(dir, NULL);
    FILE *f = path ? fopen("/proc/self/mounts", "re") : NULL;
    size_t longest = 0;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%*s %4095s %31s", mount, type) != 2 || !path_below(path, mount) || strlen(mount) < longest)
            continue;
        longest = strlen(mount);
        snprintf(out, size, "%s", type);
    }
    if (f)
        fclose(f);
    free(path);
}

/* A disk has a queue of its own, a partition its disk's. */
static uint64_t read_ahead_bytes(const char *dir)
{
    static const char *const places[] = {"", "/.."};
    struct stat st;
    uint64_t kib = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places && kib == 0 && stat(dir, &st) == 0; i++) {
        char path[96];
        snprintf(path, sizeof path, "/sys/dev/block/%u:%u%s/queue/read_ahead_kb", major(st.st_dev), minor(st.st_dev),
                 places[i]);
        FILE *f = fopen(path, "re");
        if (f && fscanf(f, "%lu", &kib) != 1)
            kib = 0;
        if (f)
            fclose(f);
    }
    return kib * 1024;
}

void machine_look(const char *dir, struct machine_facts *out_facts)
{
    struct machine_facts m = {0};
    struct utsname name;
    char memory[32] = "";
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    m.cpus = cpus > 0 ? (unsigned)cpus : 0;
    proc_text("/proc/meminfo", "MemTotal", memory, sizeof memory);
    m.memory_bytes = strtoull(memory, NULL, 10) * 1024;
    proc_text("/proc/cpuinfo", "model name", m.cpu, sizeof m.cpu);
    if (uname(&name) == 0)
        snprintf(m.kernel, sizeof m.kernel, "%s %s", name.sysname, name.release);
    m.read_ahead_bytes = read_ahead_bytes(dir);
    filesystem_name(dir, m.filesystem, sizeof m.filesystem);
    *out_facts = m;
}
