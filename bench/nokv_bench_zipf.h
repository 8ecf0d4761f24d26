// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_zipf.h - numbers of a Zipfian distribution: few are drawn often, most hardly ever.
 *
 * The generator of Gray et al., "Quickly generating billion-record synthetic databases" (SIGMOD 1994), with YCSB's
 * theta of 0.99. A draw costs one pow(), less than 20 ns in all, and no memory.
 */
#ifndef NOKV_BENCH_ZIPF_H
#define NOKV_BENCH_ZIPF_H

#include "nokv_bench_util.h"

struct zipf {
    uint64_t items;
    double zeta, alpha, eta, second;
};

/* REQUIRES: items > 0. Takes some milliseconds, whatever `items` is. */
void zipf_init(struct zipf *zipf, uint64_t items);
/* 0 .. items - 1; 0 most often. */
uint64_t zipf_next(const struct zipf *zipf, struct bench_rng *rng);

#endif
