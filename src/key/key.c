// SPDX-License-Identifier: Apache-2.0
/*
 * key.c - the parts of keys that are not worth inlining: which kinds are known, and short keys for an index.
 *
 * Pure functions of their arguments: no state, no failure, any thread.
 *
 * A separator is cut from the larger key rather than made by counting up the smaller one (as others do), because a cut
 * borrows: it needs no buffer, cannot fail, and is as short as any key that tells the two apart can be, or one byte
 * more.
 */
#include "key/key.h"

bool key_kind_known(unsigned kind_byte)
{
    switch (kind_byte) {
    case KEY_TOMBSTONE: /* nothing to expire: no flag */
    case KEY_VALUE:
    case KEY_VALUE_POINTER:
    case KEY_VALUE | KEY_HAS_EXPIRY:
    case KEY_VALUE_POINTER | KEY_HAS_EXPIRY:
        return true;
    default:
        return false;
    }
}

size_t key_common_prefix(struct slice a, struct slice b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t x, y;
        memcpy(&x, a.data + i, 8);
        memcpy(&y, b.data + i, 8);
        if (x != y)
            return i + (size_t)__builtin_ctzll(x ^ y) / 8; /* little-endian (base/coding.h): the first byte is lowest */
    }
    while (i < n && a.data[i] == b.data[i])
        i++;
    return i;
}

struct slice key_separator(struct slice a, struct slice b)
{
    ASSERT(key_compare(a, b) < 0);
    size_t cut = key_common_prefix(a, b) + 1; /* <= b.size, because a < b */
    /* b's first `cut` bytes are above a; they are below b only if b goes on, and no gain if a is no longer. */
    if (a.size <= cut || cut == b.size)
        return a;
    return slice_make(b.data, cut);
}
