// SPDX-License-Identifier: Apache-2.0
/*
 * tests/fuzz/fuzz.h - what fuzz targets share: a check that ends the process, the pieces of an input that a mutator
 * moves about, and numbers that decoders dislike.
 *
 * A mutator that knows its format takes the input apart into pieces (records, entries, fields), changes one of them or
 * their order, and then puts right what hangs together: lengths, counts, checksums. Otherwise next to no mutation gets
 * past the checksum, and no length past its first check.
 *
 *      pieces_begin ─► piece_add ... ─► pieces_change ─► (the format's own repair) ─► pieces.size
 *
 * Everything is drawn from the seed that the fuzzer hands to the mutator. One thread.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/coding.h"
#include "base/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Of the fuzzer, or of tests/support/fuzz_replay.c: changes bytes that it knows nothing about; returns their new size.
 */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
/* Defined by a target that has one. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

static inline void fuzz_must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s: %s\n", what, status_message());
        abort();
    }
}

/* splitmix64 */
static inline uint64_t fuzz_draw(uint64_t *random, uint64_t below)
{
    uint64_t z = (*random += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (z ^ (z >> 31)) % below;
}

/* Small, around a power of two, or anything. */
static inline uint64_t fuzz_number(uint64_t *random)
{
    switch (fuzz_draw(random, 4)) {
    case 0:
        return fuzz_draw(random, 16);
    case 1:
        return (1ull << fuzz_draw(random, 64)) - fuzz_draw(random, 2);
    case 2:
        return fuzz_draw(random, 1 << 16);
    default:
        return fuzz_draw(random, UINT64_MAX) >> fuzz_draw(random, 64);
    }
}

/*
 * One input in 16, chosen by its bytes, is run again with one allocation that fails: true, and which.
 * The result must then be that of the first run, or NO_MEMORY.
 */
static inline bool fuzz_short_of_memory(const uint8_t *data, size_t size, uint64_t *out_allocation)
{
    uint64_t hash = hash64(data, size);
    *out_allocation = hash >> 8 & 15;
    return hash % 16 == 0;
}

/* ---- pieces ----------------------------------------------------------------------------------------------------- */

enum { FUZZ_PIECES_MAX = 256 };

struct fuzz_pieces {
    uint8_t *data; /* the input: what is in front of the first piece, then the pieces; behind them `size` ends */
    size_t size, max;
    size_t head; /* bytes in front of the first piece */
    size_t count;
    size_t ends[FUZZ_PIECES_MAX]; /* offset behind each piece */
};

/* REQUIRES: head <= size <= max. */
static inline void pieces_begin(struct fuzz_pieces *p, uint8_t *data, size_t head, size_t size, size_t max)
{
    p->data = data;
    p->head = head;
    p->size = size;
    p->max = max;
    p->count = 0;
}

static inline size_t piece_off(const struct fuzz_pieces *p, size_t i)
{
    return i == 0 ? p->head : p->ends[i - 1];
}

static inline size_t piece_size(const struct fuzz_pieces *p, size_t i)
{
    return p->ends[i] - piece_off(p, i);
}

static inline uint8_t *piece_at(const struct fuzz_pieces *p, size_t i)
{
    return p->data + piece_off(p, i);
}

/* The next piece has `size` bytes, cut to what is there. False: nothing is left, or there are enough of them. */
static inline bool piece_add(struct fuzz_pieces *p, size_t size)
{
    size_t off = piece_off(p, p->count);
    if (off >= p->size || p->count == FUZZ_PIECES_MAX)
        return false;
    p->ends[p->count++] = off + (size < p->size - off ? size : p->size - off);
    return size != 0;
}

/* What is behind the last piece becomes one. */
static inline void pieces_end(struct fuzz_pieces *p)
{
    size_t off = piece_off(p, p->count);
    if (off < p->size && p->count < FUZZ_PIECES_MAX)
        p->ends[p->count++] = p->size;
    else if (off < p->size)
        p->size = off;
}

/* Give piece i another size, moving what follows; what is new is zeros. False: no room. */
static inline bool piece_resize(struct fuzz_pieces *p, size_t i, size_t size)
{
    size_t end = p->ends[i], old = piece_size(p, i);
    if (size > old && size - old > p->max - p->size)
        return false;
    memmove(p->data + end + size - old, p->data + end, p->size - end);
    if (size > old)
        memset(p->data + end, 0, size - old);
    for (size_t k = i; k < p->count; k++)
        p->ends[k] += size - old;
    p->size += size - old;
    return true;
}

static inline bool piece_replace(struct fuzz_pieces *p, size_t i, const uint8_t *data, size_t size)
{
    if (!piece_resize(p, i, size))
        return false;
    if (size > 0)
        memcpy(piece_at(p, i), data, size);
    return true;
}

static inline void piece_remove(struct fuzz_pieces *p, size_t i)
{
    (void)piece_resize(p, i, 0);
    memmove(p->ends + i, p->ends + i + 1, (p->count - i - 1) * sizeof p->ends[0]);
    p->count--;
}

/* A new piece in front of piece i (i <= count). False: no room. */
static inline bool piece_insert(struct fuzz_pieces *p, size_t i, const uint8_t *data, size_t size)
{
    if (p->count == FUZZ_PIECES_MAX || size > p->max - p->size)
        return false;
    memmove(p->ends + i + 1, p->ends + i, (p->count - i) * sizeof p->ends[0]);
    p->count++;
    p->ends[i] = piece_off(p, i);
    return piece_replace(p, i, data, size);
}

enum { FUZZ_PIECE_BYTES_MAX = 1 << 17 };

/* The bytes of piece i from `skip` on, changed by the fuzzer, and perhaps more or fewer of them. */
static inline void piece_mutate(struct fuzz_pieces *p, size_t i, size_t skip)
{
    static uint8_t scratch[FUZZ_PIECE_BYTES_MAX];
    size_t size = piece_size(p, i), room = p->max - p->size;
    if (size < skip || size > sizeof scratch || size - skip + room == 0)
        return;
    size_t rest = size - skip, most = u64_min(rest + (room < 64 ? room : 64), sizeof scratch);
    memcpy(scratch, piece_at(p, i) + skip, rest);
    rest = LLVMFuzzerMutate(scratch, rest, most);
    if (piece_resize(p, i, skip + rest))
        memcpy(piece_at(p, i) + skip, scratch, rest);
}

/* Take one out, put a copy of one elsewhere, exchange two, or change the inside of one behind its first `skip` bytes.
 */
static inline void pieces_change(struct fuzz_pieces *p, size_t skip, uint64_t *random)
{
    static uint8_t scratch[FUZZ_PIECE_BYTES_MAX];
    if (p->count == 0)
        return;
    size_t i = fuzz_draw(random, p->count), size = piece_size(p, i);
    uint64_t how = fuzz_draw(random, 8);
    if (size > sizeof scratch)
        return;
    memcpy(scratch, piece_at(p, i), size);
    if (how == 0) {
        piece_remove(p, i);
    } else if (how == 1) {
        (void)piece_insert(p, fuzz_draw(random, p->count + 1), scratch, size);
    } else if (how == 2) {
        piece_remove(p, i);
        (void)piece_insert(p, fuzz_draw(random, p->count + 1), scratch, size);
    } else {
        piece_mutate(p, i, skip);
    }
}

/* ---- inputs that are lists of units ----------------------------------------------------------------------------- */

/* `head` bytes of choices, then units of `unit` bytes: a whole mutator for such an input. */
static inline size_t fuzz_mutate_units(uint8_t *data, size_t size, size_t max, size_t head, size_t unit,
                                       uint64_t *random)
{
    struct fuzz_pieces p;
    if (size < head || fuzz_draw(random, 8) == 0)
        return LLVMFuzzerMutate(data, size, max);
    if (fuzz_draw(random, 8) == 0)
        data[fuzz_draw(random, head)] = (uint8_t)fuzz_draw(random, 256);
    pieces_begin(&p, data, head, size, max);
    while (piece_add(&p, unit)) {
    }
    if (p.count == 0 || fuzz_draw(random, 4) == 0) {
        uint8_t fresh[16];
        ASSERT(unit <= sizeof fresh);
        for (size_t i = 0; i < unit; i++)
            fresh[i] = (uint8_t)fuzz_draw(random, 256);
        (void)piece_insert(&p, fuzz_draw(random, p.count + 1), fresh, unit);
    } else {
        size_t i = fuzz_draw(random, p.count);
        pieces_change(&p, 0, random);
        if (i < p.count)
            (void)piece_resize(&p, i, unit);
    }
    return p.size;
}

/* ---- varints inside of a piece ---------------------------------------------------------------------------------- */

enum { FUZZ_VARINTS_MAX = 64 };

/* Bytes that are nothing but varints: another number for one of them, one more or one less. Returns the new size. */
static inline size_t fuzz_mutate_varints(uint8_t *data, size_t size, size_t max, uint64_t *random)
{
    uint64_t numbers[FUZZ_VARINTS_MAX + 1];
    size_t count = 0, at;
    const uint8_t *p = data, *end = data + size;
    while (p && p < end && count < FUZZ_VARINTS_MAX)
        if ((p = get_varint64(p, end, &numbers[count])) != NULL)
            count++;
    at = fuzz_draw(random, count + 1);
    if (at == count || fuzz_draw(random, 8) == 0) {
        memmove(numbers + at + 1, numbers + at, (count - at) * sizeof numbers[0]);
        count++;
        numbers[at] = fuzz_number(random);
    } else if (fuzz_draw(random, 8) == 0) {
        memmove(numbers + at, numbers + at + 1, (count - at - 1) * sizeof numbers[0]);
        count--;
    } else {
        numbers[at] = fuzz_draw(random, 2) ? numbers[at] + fuzz_draw(random, 3) - 1 : fuzz_number(random);
    }
    uint8_t *to = data;
    for (size_t i = 0; i < count && max - (size_t)(to - data) >= VARINT64_SIZE_MAX; i++)
        to = put_varint64(to, numbers[i]);
    return (size_t)(to - data);
}

#endif
