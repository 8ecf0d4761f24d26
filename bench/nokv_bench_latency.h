// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_latency.h - the clock of single operations, and a histogram of their durations.
 *
 * Every operation is timed: one reading of the time-stamp counter per operation (about 10 ns), the end of one being the
 * begin of the next. What the driver does to make keys and check values is therefore in the figure. Log-linear buckets,
 * 32 per power of two: a percentile is at most 3.2% above the truth; the maximum is exact.
 */
#ifndef NOKV_BENCH_LATENCY_H
#define NOKV_BENCH_LATENCY_H

#include <stdint.h>

#include "nokv_bench_util.h"

enum { LATENCY_BUCKETS = 60 * 32 };

struct latency {
    uint64_t buckets[LATENCY_BUCKETS];
    uint64_t count;
    uint64_t max; /* ticks */
};

/* Ticks of the processor's time-stamp counter; nanoseconds where there is none. */
static inline uint64_t ticks_now(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    return bench_clock_ns();
#endif
}

/* Measured once per process against CLOCK_MONOTONIC (20 ms). */
double ticks_per_ns(void);

void latency_add(struct latency *latency, uint64_t ticks);
void latency_merge(struct latency *into, const struct latency *from);
/* Microseconds within which `part` (0.0 to 1.0) of the operations ended; 0 when there were none. */
double latency_us(const struct latency *latency, double part);
double latency_max_us(const struct latency *latency);

#endif
