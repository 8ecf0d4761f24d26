// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_data.h - the keys and values of a benchmark: a function of an index, a version and a seed.
 *
 * Key number i is the decimal number 2 i in 16 digits, so keys sort as their indexes do, and the absent keys (2 i + 1)
 * lie between the present ones and share all but their last digit. Nothing has to be remembered to check what comes
 * back: the whole value is computed from index and version and compared byte for byte. A value of 12 bytes or more
 * also carries its version, so that one of several versions can be checked without trying them all.
 */
#ifndef NOKV_BENCH_DATA_H
#define NOKV_BENCH_DATA_H

#include "engines/engine.h"

enum { DATA_KEY_SIZE = 16 };

struct data {
    uint64_t seed;
    uint64_t keys;
    size_t value_size;     /* of every value; the mean one when sizes are mixed */
    size_t value_size_max; /* for buffers */
    bool mixed;            /* sizes are those of real files (nokv_bench_sizes.h), drawn per key from the seed */
    uint8_t *pool;         /* random bytes; values are cut out of it */
};

void data_init(struct data *data, uint64_t seed, uint64_t keys, size_t value_size);
void data_init_mixed(struct data *data, uint64_t seed, uint64_t keys);
void data_deinit(struct data *data);

/* The present key number `index`, or the absent key that follows it. */
void data_key(uint64_t index, bool present, char out_key[DATA_KEY_SIZE]);
/* The index of a present key, or UINT64_MAX when it is none. */
uint64_t data_key_index(struct bytes key);
/* Bytes of a mixed value in the mean. */
size_t data_mixed_mean(void);
/* Of all versions of this key's value. */
size_t data_value_size(const struct data *data, uint64_t index);
/* REQUIRES: out_value has data_value_size() bytes. */
void data_value(const struct data *data, uint64_t index, uint64_t version, uint8_t *out_value);
/* Is `value`, every byte of it, what data_value() makes? */
bool data_value_ok(const struct data *data, uint64_t index, uint64_t version, struct bytes value);
/* The version among `least` to `most` of which `value` is every byte; 0 when it is none of them. */
uint64_t data_value_version(const struct data *data, uint64_t index, uint64_t least, uint64_t most, struct bytes value);

/* A bijection of 0 .. count - 1 that looks random; different for every `salt`. REQUIRES: index < count. */
uint64_t data_permute(uint64_t index, uint64_t count, uint64_t salt);

#endif
