// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_usage.c - reads /proc and /sys; samples what has to be watched while a phase runs.
 *
 * The sampler works beside the threads that are measured. Its processor time is left out of every figure
 * (bench_cpu_exclude_begin). A directory with very many files takes long to add up: it is then looked at less often, so
 * that the sampler never uses more than a fiftieth of a processor.
 */
#include "nokv_bench_usage.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "nokv_bench_util.h"

enum { SAMPLE_MS = 50, DISK_SAMPLE_MS = 100, DISK_SAMPLE_PART = 50 };

uint64_t device_bytes(void)
{
    return bench_proc_io("write_bytes") - bench_proc_io("cancelled_write_bytes");
}

uint64_t blockdev_bytes(const char *dir)
{
    struct stat st;
    char path[64];
    if (stat(dir, &st) != 0)
        return 0;
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/stat", major(st.st_dev), minor(st.st_dev));
    FILE *f = fopen(path, "re");
    uint64_t sectors = 0;
    if (f && fscanf(f, "%*u %*u %*u %*u %*u %*u %lu", &sectors) != 1)
        sectors = 0;
    if (f)
        fclose(f);
    return sectors * 512;
}

/* Processor time that all processes and the host's other guests (steal) used since boot. */
static uint64_t machine_cpu_ns(void)
{
    uint64_t v[8] = {0};
    FILE *f = fopen("/proc/stat", "re");
    if (!f)
        return 0;
    int n = fscanf(f, "cpu %lu %lu %lu %lu %lu %lu %lu %lu", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]);
    fclose(f);
    uint64_t ticks = v[0] + v[1] + v[2] + v[5] + v[6] + v[7]; /* idle and waiting for I/O left out */
    return n == 8 ? ticks * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK)) : 0;
}

void usage_take(const char *dir, struct usage *usage)
{
    usage->device_bytes = device_bytes();
    usage->blockdev_bytes = blockdev_bytes(dir);
    usage->cpu_ns = bench_cpu_ns();
    usage->machine_cpu_ns = machine_cpu_ns() - bench_cpu_excluded_ns();
    usage->clock_ns = bench_clock_ns();
}

static void *sampler_main(void *arg)
{
    struct sampler *s = arg;
    uint64_t disk_due = 0; /* on the clock */
    bench_cpu_exclude_begin();
    while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        uint64_t begin = bench_clock_ns();
        s->anon_bytes_max = max_u64(s->anon_bytes_max, bench_proc_status_bytes("RssAnon"));
        if (begin >= disk_due) {
            s->disk_bytes_max = max_u64(s->disk_bytes_max, bench_dir_bytes(s->dir));
            uint64_t cost = bench_clock_ns() - begin;
            disk_due = begin + max_u64(DISK_SAMPLE_MS * 1000000ul, cost * DISK_SAMPLE_PART);
        }
        nanosleep(&(struct timespec){0, SAMPLE_MS * 1000000l}, NULL);
    }
    bench_cpu_exclude_end();
    return NULL;
}

void sampler_start(struct sampler *s, const char *dir)
{
    *s = (struct sampler){.dir = dir};
    if (pthread_create(&s->thread, NULL, sampler_main, s) != 0)
        bench_die("pthread_create failed");
}

void sampler_stop(struct sampler *s)
{
    atomic_store_explicit(&s->stop, true, memory_order_relaxed);
    pthread_join(s->thread, NULL);
}

void peak_reset(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (write(fd, "5", 1) != 1)
            fprintf(stderr, "nokv-bench: VmHWM cannot be reset: peak memory is of all phases so far\n");
        close(fd);
    }
}
