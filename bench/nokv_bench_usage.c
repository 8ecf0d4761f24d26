// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_usage.c - reads /proc and /sys; samples what has to be watched while a phase runs.
 *
 * The sampler works beside the threads that are measured. Its processor time is left out of every figure
 * (bench_cpu_exclude_begin). A directory with very many files takes long to add up: it is then looked at less often, so
 * that the sampler never uses more than a fiftieth of a processor.
 *
 * System calls are counted by the kernel itself: a perf event on the tracepoint raw_syscalls:sys_enter, opened before
 * the engine makes its threads and inherited by all of them. The tracepoint's number stands in tracefs, which has to be
 * mounted; this program does not mount it. While the event is open a system call takes some 0.15 us longer, so engines
 * that make many would look slower than they are: who compares times must not count in the same run.
 */
#include "nokv_bench_usage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
    usage->device_read_bytes = bench_proc_io("read_bytes");
    usage->blockdev_bytes = blockdev_bytes(dir);
    usage->cpu_ns = bench_cpu_ns();
    usage->machine_cpu_ns = machine_cpu_ns() - bench_cpu_excluded_ns();
    usage->clock_ns = bench_clock_ns();
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

/* ---- counters of events ---------------------------------------------------------------------------------------- */

static int syscalls_fd = -1;     /* the event of the main thread and all that it begot; -1: not counted */
static uint64_t syscalls_config; /* the number of the tracepoint; constant while syscalls_fd is open */

static uint64_t event_read(int fd)
{
    uint64_t count = 0;
    return fd >= 0 && read(fd, &count, sizeof count) == sizeof count ? count : 0;
}

/* `inherit`: with all threads, but not processes, that the calling thread makes later. */
static int event_open(bool inherit)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT,
        .size = sizeof attr,
        .config = syscalls_config,
        .inherit = inherit,
        .inherit_thread = inherit,
    };
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* Returns NULL or why not. */
static const char *tracepoint_find(void)
{
    static const char *const paths[] = {"/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
                                        "/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id"};
    bool denied = false;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        FILE *f = fopen(paths[i], "re");
        denied = denied || (!f && errno == EACCES);
        int n = f ? fscanf(f, "%lu", &syscalls_config) : 0;
        if (f)
            fclose(f);
        if (n == 1)
            return NULL;
    }
    return denied ? "this user may not read the tracepoint raw_syscalls:sys_enter in tracefs"
                  : "no tracepoint raw_syscalls:sys_enter: is tracefs mounted? "
                    "(mount -t tracefs nodev /sys/kernel/tracing)";
}

/* In a process that was forked: the event that it got is its parent's. */
static void syscalls_forked(void)
{
    if (syscalls_fd < 0)
        return;
    close(syscalls_fd);
    syscalls_fd = event_open(true);
    if (syscalls_fd < 0)
        bench_die("perf_event_open: %s", strerror(errno));
}

const char *syscalls_begin(void)
{
    static char reason[160];
    static bool prepared; /* set by the main thread, the only one that is there yet */
    const char *missing = tracepoint_find();
    if (missing)
        return missing;
    if (!prepared && pthread_atfork(NULL, NULL, syscalls_forked) != 0)
        bench_die("out of memory");
    prepared = true;
    syscalls_fd = event_open(true);
    if (syscalls_fd >= 0)
        return NULL;
    snprintf(reason, sizeof reason, "perf_event_open: %s%s", strerror(errno),
             errno == EACCES || errno == EPERM ? " (needs root or CAP_PERFMON, or sysctl kernel.perf_event_paranoid=-1)"
                                               : "");
    return reason;
}

void syscalls_end(void)
{
    if (syscalls_fd >= 0)
        close(syscalls_fd);
    syscalls_fd = -1;
}

bool syscalls_counted(void)
{
    return syscalls_fd >= 0;
}

static void counters_rusage(int who, struct counters *counters)
{
    struct rusage usage;
    if (getrusage(who, &usage) != 0)
        bench_die("getrusage: %s", strerror(errno));
    counters->minor_faults = (uint64_t)usage.ru_minflt;
    counters->major_faults = (uint64_t)usage.ru_majflt;
    counters->switches = (uint64_t)usage.ru_nvcsw + (uint64_t)usage.ru_nivcsw;
}

void counters_take(struct counters *counters)
{
    counters_rusage(RUSAGE_SELF, counters);
    counters->syscalls = event_read(syscalls_fd);
}

static uint64_t between(uint64_t before, uint64_t after, uint64_t excluded)
{
    return after > before + excluded ? after - before - excluded : 0;
}

struct counters counters_between(const struct counters *before, const struct counters *after,
                                 const struct counters *excluded)
{
    return (struct counters){
        .syscalls = between(before->syscalls, after->syscalls, excluded->syscalls),
        .minor_faults = between(before->minor_faults, after->minor_faults, excluded->minor_faults),
        .major_faults = between(before->major_faults, after->major_faults, excluded->major_faults),
        .switches = between(before->switches, after->switches, excluded->switches),
    };
}

/* ---- the sampler ----------------------------------------------------------------------------------------------- */

static void *sampler_main(void *arg)
{
    struct sampler *s = arg;
    uint64_t disk_due = 0; /* on the clock */
    int own_syscalls = syscalls_counted() ? event_open(false) : -1;
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
    counters_rusage(RUSAGE_THREAD, &s->counters);
    s->counters.syscalls = event_read(own_syscalls);
    if (own_syscalls >= 0)
        close(own_syscalls);
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
