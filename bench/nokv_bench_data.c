// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_data.c - keys and values from a seed.
 *
 * The driver's own work is in every figure, so it is kept small (some 80 ns for choosing and timing an operation, a
 * key, a 100-byte value and its check). A value is a cut of a pool of random bytes at a place that index, version and
 * seed choose, begun with eight bytes of their hash and four of the version: two different values never agree, and
 * making or checking one is one memcpy or memcmp. Generating every byte with a random number generator would cost more
 * than some engines' reads; one constant value would let a wrong record pass.
 */
#include "nokv_bench_data.h"

#include <stdlib.h>
#include <string.h>

#include "nokv_bench_sizes.h"
#include "nokv_bench_util.h"

enum { POOL_SIZE = 1 << 16, HASH_SIZE = 8, HEAD_SIZE = 12 };

struct head {
    uint64_t hash;
    uint32_t version;
};

static void pool_fill(struct data *data)
{
    size_t size = (POOL_SIZE + data->value_size_max + 7) / 8 * 8;
    data->pool = bench_alloc(size);
    struct bench_rng rng = {data->seed};
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = bench_rng_next(&rng);
        memcpy(data->pool + i, &word, 8);
    }
}

void data_init(struct data *data, uint64_t seed, uint64_t keys, size_t value_size)
{
    *data = (struct data){.seed = seed, .keys = keys, .value_size = value_size, .value_size_max = value_size};
    pool_fill(data);
}

void data_init_mixed(struct data *data, uint64_t seed, uint64_t keys)
{
    *data = (struct data){.seed = seed, .keys = keys, .value_size = data_mixed_mean(), .mixed = true};
    data->value_size_max = sizes_top[SIZES_TOP_CLASSES - 1];
    pool_fill(data);
}

size_t data_mixed_mean(void)
{
    size_t sum = 0; /* of SIZES_TOP_CLASSES draws per class */
    for (size_t i = 0; i < SIZES_CLASSES - 1; i++)
        sum += (size_t)sizes_of_class[i] * SIZES_TOP_CLASSES;
    for (size_t i = 0; i < SIZES_TOP_CLASSES; i++)
        sum += sizes_top[i];
    return sum / SIZES_CLASSES / SIZES_TOP_CLASSES;
}

size_t data_value_size(const struct data *data, uint64_t index)
{
    if (!data->mixed)
        return data->value_size;
    uint64_t draw = bench_mix(index * 0x9e3779b97f4a7c15u + data->seed);
    uint64_t class = draw % SIZES_CLASSES;
    return class < SIZES_CLASSES - 1 ? sizes_of_class[class] : sizes_top[draw / SIZES_CLASSES % SIZES_TOP_CLASSES];
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

uint64_t data_key_index(struct bytes key)
{
    const uint8_t *digits = key.data;
    uint64_t number = 0;
    if (key.size != DATA_KEY_SIZE)
        return UINT64_MAX;
    for (unsigned i = 0; i < DATA_KEY_SIZE; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return UINT64_MAX;
        number = number * 10 + (digits[i] - '0');
    }
    return number % 2 == 0 ? number / 2 : UINT64_MAX;
}

static uint64_t value_hash(const struct data *data, uint64_t index, uint64_t version)
{
    return bench_mix((index << 16 ^ version) + data->seed * 0x9e3779b97f4a7c15u);
}

static const uint8_t *value_cut(const struct data *data, uint64_t hash)
{
    return data->pool + (hash >> 48); /* 16 bits: below POOL_SIZE */
}

static size_t head_size(size_t value_size)
{
    return value_size < HASH_SIZE ? value_size : value_size < HEAD_SIZE ? HASH_SIZE : HEAD_SIZE;
}

void data_value(const struct data *data, uint64_t index, uint64_t version, uint8_t *out_value)
{
    struct head head = {.hash = value_hash(data, index, version), .version = (uint32_t)version};
    size_t size = data_value_size(data, index);
    memcpy(out_value, value_cut(data, head.hash), size);
    memcpy(out_value, &head, head_size(size));
}

static bool head_ok(const struct head *head, const uint8_t *value, size_t value_size)
{
    if (value_size < HEAD_SIZE)
        return memcmp(value, head, head_size(value_size)) == 0;
    return memcmp(value, &head->hash, HASH_SIZE) == 0 && memcmp(value + HASH_SIZE, &head->version, 4) == 0;
}

bool data_value_ok(const struct data *data, uint64_t index, uint64_t version, struct bytes value)
{
    struct head head = {.hash = value_hash(data, index, version), .version = (uint32_t)version};
    size_t size = data_value_size(data, index), begin = head_size(size);
    return value.size == size && head_ok(&head, value.data, size) &&
           memcmp((const uint8_t *)value.data + begin, value_cut(data, head.hash) + begin, size - begin) == 0;
}

uint64_t data_value_version(const struct data *data, uint64_t index, uint64_t least, uint64_t most, struct bytes value)
{
    uint32_t version;
    if (least == most)
        return most > 0 && data_value_ok(data, index, most, value) ? most : 0;
    if (value.size >= HEAD_SIZE) {
        memcpy(&version, (const uint8_t *)value.data + HASH_SIZE, sizeof version);
        bool ok = least <= version && version <= most && data_value_ok(data, index, version, value);
        return ok ? version : 0;
    }
    for (uint64_t v = most; v >= least && v > 0; v--)
        if (data_value_ok(data, index, v, value))
            return v;
    return 0;
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
