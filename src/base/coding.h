// SPDX-License-Identifier: Apache-2.0
/*
 * base/coding.h - little-endian fixed-width integers and LEB128 varints, as every format of ours uses them.
 *
 * The decoders of varints take [p, end) and return the byte after the number, or NULL when the bytes end too early or
 * do not fit the type (an over-long encoding of more than 5 or 10 bytes is refused). They never read past `end`.
 */
#ifndef BASE_CODING_H
#define BASE_CODING_H

#include "base/base.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "big-endian machines need byte swaps here");

enum { VARINT32_SIZE_MAX = 5, VARINT64_SIZE_MAX = 10 };

#define CODING_FIXED_(bits)                                   \
    static inline void put_u##bits(void *p, uint##bits##_t v) \
    {                                                         \
        memcpy(p, &v, sizeof v);                              \
    }                                                         \
    static inline uint##bits##_t get_u##bits(const void *p)   \
    {                                                         \
        uint##bits##_t v;                                     \
        memcpy(&v, p, sizeof v);                              \
        return v;                                             \
    }
CODING_FIXED_(16)
CODING_FIXED_(32)
CODING_FIXED_(64)
#undef CODING_FIXED_

/* Returns the byte after the last one written; at most VARINT64_SIZE_MAX bytes. */
static inline uint8_t *put_varint64(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

static inline uint8_t *put_varint32(uint8_t *p, uint32_t v)
{
    return put_varint64(p, v);
}

static inline size_t varint_size(uint64_t v)
{
    size_t n = 1;
    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

const uint8_t *get_varint64_slow(const uint8_t *p, const uint8_t *end, uint64_t *out);

static inline const uint8_t *get_varint64(const uint8_t *p, const uint8_t *end, uint64_t *out)
{
    if (LIKELY(p < end && *p < 0x80)) {
        *out = *p;
        return p + 1;
    }
    return get_varint64_slow(p, end, out);
}

static inline const uint8_t *get_varint32(const uint8_t *p, const uint8_t *end, uint32_t *out)
{
    uint64_t v = 0;
    p = get_varint64(p, end, &v);
    if (p == NULL || v > UINT32_MAX)
        return NULL;
    *out = (uint32_t)v;
    return p;
}

#endif
