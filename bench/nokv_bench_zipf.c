// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_zipf.c - Zipfian numbers by a closed formula.
 *
 * The formula needs the sum of 1 / i^theta over all items. Its first terms are added up; the others are, by Euler and
 * Maclaurin, an integral and two corrections, with an error below the last digit of a double.
 */
#include "nokv_bench_zipf.h"

#include <math.h>

static const double theta = 0.99;

enum { TERMS_ADDED = 100000 };

static double zeta_sum(uint64_t items)
{
    uint64_t added = items < TERMS_ADDED ? items : TERMS_ADDED;
    double sum = 0, from = (double)added, to = (double)items;
    for (uint64_t i = added; i > 0; i--) /* the small ones first: less is rounded off */
        sum += pow((double)i, -theta);
    if (items > added)
        sum += (pow(to, 1 - theta) - pow(from, 1 - theta)) / (1 - theta) + (pow(to, -theta) - pow(from, -theta)) / 2 -
               theta * (pow(to, -theta - 1) - pow(from, -theta - 1)) / 12;
    return sum;
}

void zipf_init(struct zipf *zipf, uint64_t items)
{
    double zeta = zeta_sum(items);
    *zipf = (struct zipf){.items = items, .zeta = zeta, .alpha = 1 / (1 - theta), .second = 1 + pow(0.5, theta)};
    zipf->eta = (1 - pow(2 / (double)items, 1 - theta)) / (1 - zipf->second / zeta);
}

uint64_t zipf_next(const struct zipf *zipf, struct bench_rng *rng)
{
    double uniform = (double)(bench_rng_next(rng) >> 11) * 0x1p-53, part = uniform * zipf->zeta;
    if (part < 1)
        return 0;
    if (part < zipf->second)
        return 1;
    uint64_t item = (uint64_t)((double)zipf->items * pow(zipf->eta * uniform - zipf->eta + 1, zipf->alpha));
    return item < zipf->items ? item : zipf->items - 1;
}
