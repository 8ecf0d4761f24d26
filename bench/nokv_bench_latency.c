// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_latency.c - a histogram of operation times in ticks of the time-stamp counter.
 *
 * Not src/base/histogram.h: the benchmark sees the public interface only, needs finer buckets and no atomics (each
 * thread fills its own; they are merged at the end). The counter is taken to be constant and the same on all cores, as
 * it is on every x86 processor that Linux uses it on; a thread only subtracts its own readings.
 */
#include "nokv_bench_latency.h"

#include <string.h>

double ticks_per_ns(void)
{
    static double rate;
    if (rate == 0) {
        uint64_t ns = bench_clock_ns(), ticks = ticks_now(), end;
        while ((end = bench_clock_ns()) - ns < 20000000u)
            continue;
        rate = (double)(ticks_now() - ticks) / (double)(end - ns);
    }
    return rate;
}

/* Below 32 each value is its own bucket; above, the five bits behind the highest choose within its power of two. */
static unsigned bucket_of(uint64_t value)
{
    if (value < 32)
        return (unsigned)value;
    unsigned power = 63u - (unsigned)__builtin_clzll(value);
    return (power - 4) * 32 + (unsigned)(value >> (power - 5) & 31);
}

static double bucket_top(unsigned bucket)
{
    if (bucket < 32)
        return bucket;
    unsigned power = bucket / 32 + 4;
    return (double)((uint64_t)(32 + bucket % 32 + 1) << (power - 5));
}

void latency_add(struct latency *latency, uint64_t ticks)
{
    latency->buckets[bucket_of(ticks)]++;
    latency->count++;
    if (ticks > latency->max)
        latency->max = ticks;
}

void latency_merge(struct latency *into, const struct latency *from)
{
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
    into->count += from->count;
    if (from->max > into->max)
        into->max = from->max;
}

double latency_us(const struct latency *latency, double part)
{
    uint64_t wanted = (uint64_t)(part * (double)latency->count), seen = 0;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        seen += latency->buckets[i];
        if (seen > wanted) {
            double top = bucket_top(i), max = (double)latency->max;
            return (top < max ? top : max) / ticks_per_ns() / 1000.0;
        }
    }
    return latency_max_us(latency);
}

double latency_max_us(const struct latency *latency)
{
    return (double)latency->max / ticks_per_ns() / 1000.0;
}
