// SPDX-License-Identifier: Apache-2.0
/* The multi-byte path of the varint decoder, out of line to keep the one-byte path small where it is inlined. */
#include "base/coding.h"

const uint8_t *get_varint64_slow(const uint8_t *p, const uint8_t *end, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift <= 63 && p < end; shift += 7) {
        uint8_t byte = *p++;
        if (shift == 63 && byte > 1)
            return NULL;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = v;
            return p;
        }
    }
    return NULL;
}
