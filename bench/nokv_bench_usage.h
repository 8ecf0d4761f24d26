// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_usage.h - what the system says of this process and of the machine before, during and after a phase.
 */
#ifndef NOKV_BENCH_USAGE_H
#define NOKV_BENCH_USAGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What is read from the system before and after a phase. */
struct usage {
    uint64_t clock_ns, cpu_ns, machine_cpu_ns, device_bytes, device_read_bytes, blockdev_bytes;
};

/* `dir`: of the database. */
void usage_take(const char *dir, struct usage *usage);
/* Bytes that this process caused to be written, less those cancelled because their file was gone before. */
uint64_t device_bytes(void);
/* Bytes that the device below `dir` has written since boot; 0 where the kernel does not tell. */
uint64_t blockdev_bytes(const char *dir);
/*
 * What a phase asked of the kernel: events of all threads of this process, those of its children left out.
 * System calls are counted only between syscalls_begin() and syscalls_end(), as that makes each of them slower.
 */
struct counters {
    uint64_t syscalls, minor_faults, major_faults;
    uint64_t switches; /* of context: waits and preemptions */
};
void counters_take(struct counters *counters);
/* after - before - excluded, nowhere below 0. */
struct counters counters_between(const struct counters *before, const struct counters *after,
                                 const struct counters *excluded);

/*
 * Count the system calls of this thread and of all threads that it and its descendants make from now on; a process that
 * is forked counts its own. Returns NULL, or in words why this is not possible here.
 */
const char *syscalls_begin(void);
void syscalls_end(void);
bool syscalls_counted(void);

/* Begin a new VmHWM. */
void peak_reset(void);

/* Samples anonymous memory and the size of the directory until told to stop. */
struct sampler {
    const char *dir; /* set before the start, then constant */
    pthread_t thread;
    _Atomic bool stop;                       /* relaxed: only ends a loop, guards no data */
    uint64_t anon_bytes_max, disk_bytes_max; /* owned by the thread until it is joined ... */
    struct counters counters;                /* ... and so is what it asked of the kernel itself */
};

/* `dir` is borrowed until sampler_stop(); the largest samples can be read after it. */
void sampler_start(struct sampler *s, const char *dir);
void sampler_stop(struct sampler *s);

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
