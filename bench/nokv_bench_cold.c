// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_cold.c - the workload "cold": a database of which nothing is in memory, opened under the memory limit.
 *
 * Timed is the open. What comes before it is in this order, because the kernel charges a page to the group of the
 * process that was the first to touch it, and leaves it charged there for as long as the page is cached:
 *
 *   1. the process that had the database open has closed it and ended (nokv_bench_run.c), so that no memory of the
 *      engine is left that would not count, and no mapping that keeps a page
 *   2. every file is synced and its pages are dropped; if some stay, and we are root, all clean pages of the machine
 * are
 *   3. this process, which has touched no file of the database, enters the group with the limit
 *   4. it opens the database: each page that it reads from now on counts
 *
 * What the driver holds (the model, buffers of threads that are there already) was touched before and does not count.
 *
 * A file system in memory has nothing to drop to: that is said on standard error, as are pages that stay for any other
 * reason, since what follows is not cold then.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "nokv_bench_group.h"
#include "nokv_bench_workload.h"

/* Of the limit, for buffers and caches at the most. What an engine's heap takes was seen to be twice its budget. */
enum { BUDGET_PART = 4 };

/* nftw() has no argument for its callback: pages of the files that the walk met, and those that stayed in memory. */
static uint64_t pages_met, pages_left;

static void pages_count(int fd, size_t size)
{
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE), count = (size + page_size - 1) / page_size;
    unsigned char *resident = bench_alloc(count + 1);
    void *map = size ? mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (map != MAP_FAILED && mincore(map, size, resident) == 0)
        for (size_t i = 0; i < count; i++)
            pages_left += resident[i] & 1;
    if (map != MAP_FAILED)
        munmap(map, size);
    pages_met += count;
    free(resident);
}

static int file_drop(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)ftw;
    if (type != FTW_F)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        bench_die("cold: %s: %s", path, strerror(errno));
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    pages_count(fd, (size_t)st->st_size);
    close(fd);
    return 0;
}

/* Returns the part of the pages that stayed, 0 to 1. */
static double files_drop(const char *dir)
{
    pages_met = pages_left = 0;
    if (nftw(dir, file_drop, 16, FTW_PHYS) != 0)
        bench_die("cold: %s: %s", dir, strerror(errno));
    return pages_met ? (double)pages_left / (double)pages_met : 0;
}

static void machine_drop(void)
{
    FILE *f = fopen("/proc/sys/vm/drop_caches", "we");
    if (!f)
        return;
    (void)fputs("1\n", f);
    (void)fclose(f);
}

static void caches_drop(const char *dir)
{
    static const double part_max = 0.001;
    double part = files_drop(dir);
    struct statfs fs;
    bool disk = statfs(dir, &fs) == 0 && fs.f_type != TMPFS_MAGIC;
    if (part > part_max && disk) { /* the whole machine pays for it */
        machine_drop();
        part = files_drop(dir);
    }
    if (part > part_max)
        fprintf(stderr, "nokv-bench: cold: %.1f %% of the database stay in memory: what follows is not cold\n",
                part * 100);
}

uint64_t cold_open(struct run *run)
{
    const struct run_options *options = run->options;
    uint64_t begin = bench_clock_ns(), limit = options->memory_limit_bytes;
    caches_drop(run->dir);
    run->cold = true;
    run->after = "cold";
    if (limit) {
        if (!run->memory_limit_bytes)
            group_join(options->memory_group);
        run->memory_limit_bytes = run->config.memory_limit_bytes = limit;
        if (run->config.memory_bytes > limit / BUDGET_PART)
            run->config.memory_bytes = limit / BUDGET_PART;
    }
    uint64_t idle_ns = bench_clock_ns() - begin;
    run->db = run->engine->open(&run->config);
    return idle_ns;
}
