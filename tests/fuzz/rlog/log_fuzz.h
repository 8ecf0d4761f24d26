// SPDX-License-Identifier: Apache-2.0
/*
 * log_fuzz.h - a record log as pieces, for the mutators of targets whose input is one or holds one: its records taken
 * apart, moved about, and given the lengths and checksums that they should have.
 */
#ifndef TESTS_FUZZ_RLOG_LOG_FUZZ_H
#define TESTS_FUZZ_RLOG_LOG_FUZZ_H

#include "../fuzz.h"
#include "rlog/format.h"

/* Right checksums for the file header, and for the records as far as their lengths lead. */
static inline void log_reseal(uint8_t *file, size_t size, uint64_t number)
{
    if (size < RLOG_FILE_HEADER)
        return;
    put_u32(file + 60, checksum32(file, 60, 0));
    struct log_id id = {.number = number, .salt = format_file_salt(file)};
    for (size_t off = RLOG_FILE_HEADER; size - off >= RLOG_RECORD_HEADER;) {
        uint32_t length = get_u32(file + off + RECORD_LENGTH);
        if (length > RLOG_PAYLOAD_MAX || record_size(length) > size - off || get_u32(file + off + RECORD_NUMBER) == 0)
            return;
        put_u32(file + off + RECORD_CHECKSUM, record_checksum(file + off, length, record_seed(id, off)));
        off += record_size(length);
    }
}

/* One piece per record, as far as their lengths lead; the rest is one. */
static inline void log_split(struct fuzz_pieces *p)
{
    for (size_t off = p->head; p->size - off >= RLOG_RECORD_HEADER; off = p->ends[p->count - 1]) {
        uint32_t length = get_u32(p->data + off + RECORD_LENGTH);
        if (length > RLOG_PAYLOAD_MAX || !piece_add(p, record_size(length)))
            break;
    }
    pieces_end(p);
}

/* A mark, with an offset that it covers which may be right. `from`: where the file begins in the input. */
static inline void log_mark_insert(struct fuzz_pieces *p, size_t from, uint64_t number, uint64_t *random)
{
    uint8_t mark[RLOG_MARK_SIZE];
    size_t i = fuzz_draw(random, p->count + 1);
    uint64_t off = piece_off(p, i) - from, covers = fuzz_draw(random, 4) ? off : fuzz_draw(random, off + 64);
    format_mark(mark, fuzz_draw(random, 3) ? RLOG_SYNCED : RLOG_SEAL, (struct log_id){.number = number}, off, covers);
    (void)piece_insert(p, i, mark, sizeof mark);
}

/* Another record, another order, another payload, another type, or an end in the middle. */
static inline void log_change(struct fuzz_pieces *p, size_t from, uint64_t number, uint64_t *random)
{
    uint8_t fresh[RLOG_RECORD_HEADER + 24] = {0};
    switch (p->count ? fuzz_draw(random, 8) : 0) {
    case 0:
        put_u32(fresh + RECORD_TYPE, RLOG_DATA);
        put_u32(fresh + RECORD_LENGTH, (uint32_t)fuzz_draw(random, 25));
        (void)piece_insert(p, fuzz_draw(random, p->count + 1), fresh, RLOG_RECORD_HEADER + 8 * fuzz_draw(random, 4));
        break;
    case 1:
        log_mark_insert(p, from, number, random);
        break;
    case 2:
        if (piece_size(p, p->count - 1) > 0)
            (void)piece_resize(p, p->count - 1, fuzz_draw(random, piece_size(p, p->count - 1)));
        break;
    case 3:
        p->data[p->head - RLOG_FILE_HEADER + fuzz_draw(random, 60)] ^= (uint8_t)(1u << fuzz_draw(random, 8));
        break;
    default:
        pieces_change(p, fuzz_draw(random, 8) ? RLOG_RECORD_HEADER : RECORD_LENGTH, random);
    }
}

/* Lengths that lead from record to record, the log's number, and checksums; one in eight times one of them is wrong. */
static inline void log_repair(struct fuzz_pieces *p, size_t from, uint64_t number, uint64_t *random)
{
    uint8_t *file = p->data + from;
    put_u32(file + 60, checksum32(file, 60, 0));
    struct log_id id = {.number = number, .salt = format_file_salt(file)};
    for (size_t i = 0; i < p->count; i++) {
        size_t size = piece_size(p, i) & ~(size_t)(RLOG_ALIGN - 1);
        if (size < RLOG_RECORD_HEADER || !piece_resize(p, i, size))
            continue;
        uint8_t *r = piece_at(p, i);
        if (record_size(get_u32(r + RECORD_LENGTH)) != size)
            put_u32(r + RECORD_LENGTH, (uint32_t)(size - RLOG_RECORD_HEADER));
        uint32_t length = get_u32(r + RECORD_LENGTH);
        put_u32(r + RECORD_NUMBER, (uint32_t)number);
        if (r[RECORD_TYPE] == 0)
            r[RECORD_TYPE] = RLOG_DATA;
        if (fuzz_draw(random, 8))
            memset(r + RECORD_TYPE + 1, 0, 3);
        memset(r + RLOG_RECORD_HEADER + length, 0, size - RLOG_RECORD_HEADER - length);
        put_u32(r + RECORD_CHECKSUM, record_checksum(r, length, record_seed(id, piece_off(p, i) - from)));
    }
    if (p->count > 0 && fuzz_draw(random, 8) == 0)
        p->data[piece_off(p, fuzz_draw(random, p->count))] ^= 1;
}

#endif
