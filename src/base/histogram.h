// SPDX-License-Identifier: Apache-2.0
/*
 * base/histogram.h - a histogram of durations (or any u64) that many threads add to and anyone may read.
 *
 * Log-linear buckets (HdrHistogram's idea): 8 per power of two, so that a percentile is at most 12.5% off.
 * Counters are relaxed atomics; a reader sees some recent state.
 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdatomic.h>

#include "base/base.h"

enum { HISTOGRAM_BUCKETS = 62 * 8 };

struct histogram {
    _Atomic uint64_t buckets[HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum;
};

void histogram_add(struct histogram *h, uint64_t value);
uint64_t histogram_count(const struct histogram *h);
/* The upper bound of the bucket in which the given part (0.0 to 1.0) of all values lies; 0 when empty. */
uint64_t histogram_percentile(const struct histogram *h, double part);

#endif
