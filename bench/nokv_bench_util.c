// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_util.c - clock, random numbers, medians and directories for the benchmark programs.
 *
 * Nothing here is called between the two time stamps of a measured operation except the clock itself.
 */
#include "nokv_bench_util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

_Noreturn void bench_die(const char *format, ...)
{
    va_list args;
    fputs("nokv-bench: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

uint64_t bench_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static _Atomic clockid_t excluded_clock; /* relaxed: of the thread that is left out now; 0: none */
static _Atomic uint64_t excluded_before; /* relaxed: nanoseconds of those that have ended */

void bench_cpu_exclude_begin(void)
{
    clockid_t clock;
    if (pthread_getcpuclockid(pthread_self(), &clock) == 0)
        atomic_store_explicit(&excluded_clock, clock, memory_order_relaxed);
}

void bench_cpu_exclude_end(void)
{
    uint64_t all = bench_cpu_excluded_ns();
    atomic_store_explicit(&excluded_clock, 0, memory_order_relaxed);
    atomic_store_explicit(&excluded_before, all, memory_order_relaxed);
}

uint64_t bench_cpu_excluded_ns(void)
{
    struct timespec used = {0};
    clockid_t clock = atomic_load_explicit(&excluded_clock, memory_order_relaxed);
    if (clock && clock_gettime(clock, &used) != 0)
        used = (struct timespec){0};
    return atomic_load_explicit(&excluded_before, memory_order_relaxed) + (uint64_t)used.tv_sec * 1000000000u +
           (uint64_t)used.tv_nsec;
}

uint64_t bench_cpu_ns(void)
{
    struct rusage usage;
    uint64_t excluded = bench_cpu_excluded_ns();
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        bench_die("getrusage: %s", strerror(errno));
    uint64_t us = (uint64_t)usage.ru_utime.tv_sec * 1000000u + (uint64_t)usage.ru_utime.tv_usec +
                  (uint64_t)usage.ru_stime.tv_sec * 1000000u + (uint64_t)usage.ru_stime.tv_usec;
    return us * 1000u > excluded ? us * 1000u - excluded : 0;
}

void *bench_alloc(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    if (!memory)
        bench_die("out of memory (%zu bytes)", size);
    return memory;
}

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, double_compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

void bench_dir_make(const char *path)
{
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        bench_die("mkdir %s: %s", path, strerror(errno));
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void bench_dir_remove(const char *path)
{
    if (nftw(path, entry_remove, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        bench_die("remove %s: %s", path, strerror(errno));
}

/* Not nftw(), which has no argument for its callback: this runs in a thread beside others. Takes `fd`. */
static uint64_t dir_fd_bytes(int fd)
{
    DIR *dir = fdopendir(fd);
    if (!dir)
        return close(fd), 0;
    uint64_t sum = 0;
    struct stat st;
    for (const struct dirent *entry; (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue; /* a file that a compaction removes meanwhile is no error */
        if (S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_blocks * 512u;
        int below = S_ISDIR(st.st_mode) ? openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        if (below >= 0)
            sum += dir_fd_bytes(below);
    }
    closedir(dir);
    return sum;
}

uint64_t bench_dir_bytes(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? dir_fd_bytes(fd) : 0;
}

uint64_t bench_free_bytes(const char *path)
{
    struct statvfs fs;
    if (statvfs(path, &fs) != 0)
        bench_die("statvfs %s: %s", path, strerror(errno));
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* The number behind "field:" in a file of such lines. */
static uint64_t proc_field(const char *file, const char *field)
{
    FILE *f = fopen(file, "re");
    if (!f)
        return 0;
    char line[256];
    size_t length = strlen(field);
    uint64_t value = 0;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, field, length) == 0 && line[length] == ':') {
            value = strtoull(line + length + 1, NULL, 10);
            break;
        }
    }
    fclose(f);
    return value;
}

uint64_t bench_proc_status_bytes(const char *field)
{
    return proc_field("/proc/self/status", field) * 1024u;
}

uint64_t bench_proc_io(const char *field)
{
    return proc_field("/proc/self/io", field);
}

const char *bench_human(double value, char buffer[16])
{
    if (value >= 1e9)
        snprintf(buffer, 16, "%.2f G", value / 1e9);
    else if (value >= 1e6)
        snprintf(buffer, 16, "%.2f M", value / 1e6);
    else if (value >= 1e4)
        snprintf(buffer, 16, "%.0f k", value / 1e3);
    else if (value >= 1e3)
        snprintf(buffer, 16, "%.1f k", value / 1e3);
    else
        snprintf(buffer, 16, "%.0f", value);
    return buffer;
}
