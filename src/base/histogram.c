// SPDX-License-Identifier: Apache-2.0
/* Values below 8 have a bucket each; above, the three bits below the highest choose one of eight in its power of two.
 */
#include "base/histogram.h"

static unsigned bucket_index(uint64_t value)
{
    if (value < 8)
        return (unsigned)value;
    unsigned high = 63 - (unsigned)__builtin_clzll(value); /* >= 3 */
    return (high - 2) * 8 + (unsigned)((value >> (high - 3)) & 7);
}

static uint64_t bucket_upper(unsigned index)
{
    if (index < 8)
        return index;
    unsigned high = index / 8 + 2;
    uint64_t low = (8ull + index % 8) << (high - 3);
    return low + (1ull << (high - 3)) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    atomic_fetch_add_explicit(&h->buckets[bucket_index(value)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum, value, memory_order_relaxed);
}

uint64_t histogram_count(const struct histogram *h)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        count += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
    return count;
}

uint64_t histogram_percentile(const struct histogram *h, double part)
{
    uint64_t count = histogram_count(h);
    uint64_t rank = (uint64_t)(part * (double)count), seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS && count > 0; i++) {
        seen += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
        if (seen > rank || seen == count)
            return bucket_upper(i);
    }
    return 0;
}
