// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_util.h - what every benchmark program needs: a clock, random numbers, medians, directories.
 *
 * A benchmark that cannot do what it was asked to do must not print a figure: everything here that fails ends the
 * process with a message and exit code 2.
 */
#ifndef NOKV_BENCH_UTIL_H
#define NOKV_BENCH_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Print "nokv-bench: ..." to standard error and exit with code 2. */
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t bench_clock_ns(void);
/* User + system time of this process in nanoseconds, all threads but the one that measures the others. */
uint64_t bench_cpu_ns(void);
/* A thread that measures is left out of bench_cpu_ns() from begin to end, one at a time; it calls both itself. */
void bench_cpu_exclude_begin(void);
void bench_cpu_exclude_end(void);
/* What was left out so far. */
uint64_t bench_cpu_excluded_ns(void);

/* A bijection on 64-bit numbers whose output looks random (the finalizer of SplitMix64). */
static inline uint64_t bench_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* SplitMix64: fast, seedable, good enough to choose keys. */
struct bench_rng {
    uint64_t state;
};
static inline uint64_t bench_rng_next(struct bench_rng *rng)
{
    return bench_mix(rng->state += 0x9e3779b97f4a7c15u);
}
/* Uniform below `bound` (bound > 0, below 2^32 for an unnoticeable bias). */
static inline uint64_t bench_rng_below(struct bench_rng *rng, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)bench_rng_next(rng) * bound) >> 64);
}

/* Allocate or die; zeroed. Free with free(). */
void *bench_alloc(size_t size);
/* Sorts `values` and returns the middle one (the mean of the two middle ones for an even count). REQUIRES: count > 0.
 */
double bench_median(double *values, size_t count);

/* Make directory `path` if it is missing (its parent must exist). */
void bench_dir_make(const char *path);
/* Remove `path` and everything below it; a missing path is fine. */
void bench_dir_remove(const char *path);
/*
 * Bytes that the files below `path` occupy on the disk (blocks, not lengths: sparse files count what they hold; files
 * that were removed and are still open are not seen). Any thread may call it.
 */
uint64_t bench_dir_bytes(const char *path);
/* Bytes free for this user on the file system of `path`. */
uint64_t bench_free_bytes(const char *path);

/* "VmHWM" and the like of /proc/self/status in bytes; 0 when missing. */
uint64_t bench_proc_status_bytes(const char *field);
/* "write_bytes" and the like of /proc/self/io; 0 when missing. */
uint64_t bench_proc_io(const char *field);

/* 1234567 as "1.23 M" into a caller's buffer; returns the buffer. */
const char *bench_human(double value, char buffer[16]);

#endif
