// SPDX-License-Identifier: Apache-2.0
/*
 * edit_pieces.h - a version edit as pieces, for the mutators of targets whose input is one or holds some: fields are
 * moved about, the numbers in them changed, and their sizes made to fit.
 */
#ifndef TESTS_FUZZ_LSM_EDIT_PIECES_H
#define TESTS_FUZZ_LSM_EDIT_PIECES_H

#include "../fuzz.h"
#include "lsm/edit.h"

/* What a field begins with. Returns the number of bytes; 0: it is not a field. */
static inline size_t field_head(const uint8_t *data, size_t size, uint64_t *out_tag, uint64_t *out_payload_size)
{
    const uint8_t *p = get_varint64(data, data + size, out_tag);
    p = p ? get_varint64(p, data + size, out_payload_size) : NULL;
    return p ? (size_t)(p - data) : 0;
}

static inline void edit_split(struct fuzz_pieces *p)
{
    for (size_t off = p->head; off < p->size; off = p->ends[p->count - 1]) {
        uint64_t tag, payload;
        size_t head = field_head(p->data + off, p->size - off, &tag, &payload);
        if (head == 0 || payload > p->size || !piece_add(p, head + payload))
            break;
    }
    pieces_end(p);
}

enum { FIELD_BYTES_MAX = 600 };

/* A field of numbers that make sense, or nearly. */
static inline size_t field_draw(uint8_t out[FIELD_BYTES_MAX], uint64_t *random)
{
    static const uint8_t tags[] = {3, 5, 7, 9, 11, 11, 11, 13, 13, 15, 2, 17};
    uint8_t payload[FIELD_BYTES_MAX], *to = payload, tag = tags[fuzz_draw(random, ARRAY_COUNT(tags))];
    size_t numbers = tag == 9 ? 3 : tag == 11 ? 9 : tag == 13 ? 4 : 1;
    uint64_t number = 1 + fuzz_draw(random, 12), seq = 1 + fuzz_draw(random, 100);
    const uint64_t table[] = {0,   fuzz_draw(random, LEVELS_MAX), number, 16384, 10, fuzz_draw(random, 11), 300,
                              seq, seq + fuzz_draw(random, 9)};
    const uint64_t segment[] = {number, 4096 * (2 + fuzz_draw(random, 4)), 1 + fuzz_draw(random, 4),
                                fuzz_draw(random, 2)};
    for (size_t i = 0; i < numbers; i++)
        to = put_varint64(to, numbers == 1 ? number : tag == 13 ? segment[i] : table[i]);
    for (unsigned k = 0; tag == 11 && k < 2; k++) { /* the smallest and the largest key */
        *to++ = 2;
        *to++ = (uint8_t)('a' + k * 13 + fuzz_draw(random, 13));
        *to++ = (uint8_t)fuzz_draw(random, 256);
        to = put_varint64(to, seq << 8 | KEY_VALUE);
    }
    if (tag == 11 && fuzz_draw(random, 2)) { /* what it points to */
        *to++ = 1;
        *to++ = 3;
        *to++ = (uint8_t)number;
        *to++ = (uint8_t)(1 + fuzz_draw(random, 3));
        *to++ = (uint8_t)(3 + fuzz_draw(random, 100));
    }
    uint8_t *p = put_varint64(out, tag);
    p = put_varint64(p, (uint64_t)(to - payload));
    memcpy(p, payload, (size_t)(to - payload));
    return (size_t)(p - out) + (size_t)(to - payload);
}

/* Its size is that of what follows. */
static inline void field_repair(struct fuzz_pieces *p, size_t i)
{
    uint8_t field[FIELD_BYTES_MAX + 2 * VARINT64_SIZE_MAX];
    uint64_t tag, payload;
    size_t size = piece_size(p, i), head = field_head(piece_at(p, i), size, &tag, &payload);
    if (head == 0 || payload == size - head || size - head > FIELD_BYTES_MAX)
        return;
    uint8_t *to = put_varint64(put_varint64(field, tag), size - head);
    memcpy(to, piece_at(p, i) + head, size - head);
    (void)piece_replace(p, i, field, (size_t)(to - field) + size - head);
}

/* One of the numbers in a field is another one. */
static inline void field_change_number(struct fuzz_pieces *p, size_t i, uint64_t *random)
{
    uint8_t payload[FIELD_BYTES_MAX];
    uint64_t tag, said;
    size_t size = piece_size(p, i), head = field_head(piece_at(p, i), size, &tag, &said);
    if (head == 0 || size - head > sizeof payload / 2)
        return;
    memcpy(payload, piece_at(p, i) + head, size - head);
    size_t changed = fuzz_mutate_varints(payload, size - head, sizeof payload, random);
    if (piece_resize(p, i, head + changed))
        memcpy(piece_at(p, i) + head, payload, changed);
}

/* REQUIRES: split. Leaves fields whose sizes fit, but for one change in 16. */
static inline void edit_change(struct fuzz_pieces *p, uint64_t *random)
{
    uint8_t fresh[FIELD_BYTES_MAX];
    uint64_t how = p->count ? fuzz_draw(random, 8) : 0;
    size_t i = p->count ? fuzz_draw(random, p->count) : 0;
    if (how < 2)
        (void)piece_insert(p, fuzz_draw(random, p->count + 1), fresh, field_draw(fresh, random));
    else if (how < 5)
        field_change_number(p, i, random);
    else
        pieces_change(p, fuzz_draw(random, 4) ? 2 : 0, random);
    for (size_t k = 0; k < p->count && fuzz_draw(random, 16); k++)
        field_repair(p, k);
}

#endif
