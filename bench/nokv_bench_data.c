// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_data.c - keys and values from a seed.
 *
 * The driver's own work is in every figure, so it is kept small (some 80 ns for choosing and timing an operation, a
 * key, a 100-byte value and its check). A value is a cut of a pool of random bytes at a place that index, version and
 * seed choose, begun with eight bytes of their hash: two different values never agree, and making or checking one is
 * one memcpy or memcmp. Generating every byte with a random number generator would cost more than some engines' reads;
 * one constant value would let a wrong record pass.
 */
#include "nokv_bench_data.h"

#include <stdlib.h>
#include <string.h>

#include "nokv_bench_util.h"

enum { POOL_SIZE = 1 << 16, HEAD_SIZE = 8 };

void data_init(struct data *data, uint64_t seed, uint64_t keys, size_t value_size)
{
    *data = (struct data){.seed = seed, .keys = keys, .value_size = value_size};
    size_t size = (POOL_SIZE + value_size + 7) / 8 * 8;
    data->pool = bench_alloc(size);
    struct bench_rng rng = {seed};
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = bench_rng_next(&rng);
        memcpy(data->pool + i, &word, 8);
    }
}

void data_deinit(struct data *data)
{
    free(data->pool);
}

/* Eight decimal digits of a number below 10^8, as the bytes of a little-endian word: three steps instead of eight. */
static uint64_t digits8(uint64_t x)
{
    uint64_t quads = x / 10000 | (x % 10000) << 32;
    uint64_t tens = ((quads * 10486) >> 20) & 0x0000007f0000007fu; /* / 100 */
    uint64_t pairs = tens | (quads - tens * 100) << 16;
    uint64_t ones = ((pairs * 103) >> 10) & 0x000f000f000f000fu; /* / 10 */
    return (ones | (pairs - ones * 10) << 8) | 0x3030303030303030u;
}

void data_key(uint64_t index, bool present, char out_key[DATA_KEY_SIZE])
{
    uint64_t number = index * 2 + !present;
    uint64_t high = digits8(number / 100000000u), low = digits8(number % 100000000u);
    memcpy(out_key, &high, 8);
    memcpy(out_key + 8, &low, 8);
}

static uint64_t value_hash(const struct data *data, uint64_t index, uint64_t version)
{
    return bench_mix((index << 16 ^ version) + data->seed * 0x9e3779b97f4a7c15u);
}

static const uint8_t *value_cut(const struct data *data, uint64_t hash)
{
    return data->pool + (hash >> 48); /* 16 bits: below POOL_SIZE */
}

void data_value(const struct data *data, uint64_t index, uint64_t version, uint8_t *out_value)
{
    uint64_t hash = value_hash(data, index, version);
    size_t head = data->value_size < HEAD_SIZE ? data->value_size : HEAD_SIZE;
    memcpy(out_value, value_cut(data, hash), data->value_size);
    memcpy(out_value, &hash, head);
}

bool data_value_ok(const struct data *data, uint64_t index, uint64_t version, struct bytes value)
{
    uint64_t hash = value_hash(data, index, version);
    size_t head = data->value_size < HEAD_SIZE ? data->value_size : HEAD_SIZE;
    return value.size == data->value_size && memcmp(value.data, &hash, head) == 0 &&
           memcmp((const uint8_t *)value.data + head, value_cut(data, hash) + head, value.size - head) == 0;
}

/* Four Feistel rounds over an even number of bits; walks on while the result lies outside of the range. */
uint64_t data_permute(uint64_t index, uint64_t count, uint64_t salt)
{
    unsigned half = 1;
    while (half < 32 && (uint64_t)1 << (2 * half) < count)
        half++;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = index >> half, right = index & mask;
        for (unsigned round = 0; round < 4; round++) {
            uint64_t next = left ^ (bench_mix(right + (salt + round) * 0x9e3779b97f4a7c15u) & mask);
            left = right;
            right = next;
        }
        index = left << half | right;
    } while (index >= count);
    return index;
}
