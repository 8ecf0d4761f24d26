// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_data.h - the keys and values of a benchmark: a function of an index, a version and a seed.
 *
 * Key number i is the decimal number 2 i in 16 digits, so keys sort as their indexes do, and the absent keys (2 i + 1)
 * lie between the present ones and share all but their last digit. Nothing has to be remembered to check what comes
 * back: the whole value is computed from index and version and compared byte for byte.
 */
#ifndef NOKV_BENCH_DATA_H
#define NOKV_BENCH_DATA_H

#include "engines/engine.h"

enum { DATA_KEY_SIZE = 16 };

struct data {
    uint64_t seed;
    uint64_t keys;
    size_t value_size;
    uint8_t *pool; /* random bytes; values are cut out of it */
};

void data_init(struct data *data, uint64_t seed, uint64_t keys, size_t value_size);
void data_deinit(struct data *data);

/* The present key number `index`, or the absent key that follows it. */
void data_key(uint64_t index, bool present, char out_key[DATA_KEY_SIZE]);
/* REQUIRES: out_value has data->value_size bytes. */
void data_value(const struct data *data, uint64_t index, uint64_t version, uint8_t *out_value);
/* Is `value`, every byte of it, what data_value() makes? */
bool data_value_ok(const struct data *data, uint64_t index, uint64_t version, struct bytes value);

/* A bijection of 0 .. count - 1 that looks random; different for every `salt`. REQUIRES: index < count. */
uint64_t data_permute(uint64_t index, uint64_t count, uint64_t salt);

#endif
