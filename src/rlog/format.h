// SPDX-License-Identifier: Apache-2.0
/*
 * format.h - the bytes of a record log, for the writer and the reader. docs/formats/rlog.md says what they mean.
 *
 * Internal to the module. Pure functions over bytes; any thread.
 */
#ifndef RLOG_FORMAT_H
#define RLOG_FORMAT_H

#include "base/coding.h"
#include "base/hash.h"
#include "rlog/rlog.h"

enum {
    RLOG_VERSION = 1,
    RLOG_MARK_PAYLOAD = 8, /* of RLOG_SYNCED and RLOG_SEAL: the offset that they cover */
    RLOG_MARK_SIZE = RLOG_RECORD_HEADER + RLOG_MARK_PAYLOAD, /* the whole record */
};

/* offsets inside a record */
enum { RECORD_CHECKSUM = 0, RECORD_LENGTH = 4, RECORD_NUMBER = 8, RECORD_TYPE = 12 };

static_assert(RLOG_RECORD_HEADER % RLOG_ALIGN == 0 && RLOG_FILE_HEADER % RLOG_ALIGN == 0, "records begin aligned");
static_assert(RLOG_MARK_SIZE % RLOG_ALIGN == 0, "marks need no padding");

/* `salt`: see record_seed. */
void format_file_header(uint8_t header[RLOG_FILE_HEADER], enum rlog_kind kind, uint64_t number, uint64_t salt);
uint64_t format_file_salt(const uint8_t header[RLOG_FILE_HEADER]);

enum header_state {
    HEADER_GOOD,
    HEADER_DAMAGED,     /* not bytes that any writer finished */
    HEADER_OTHER,       /* sound, but of another kind or number */
    HEADER_FROM_FUTURE, /* sound, of a version or with features that this build does not know */
};
enum header_state format_check_file_header(const uint8_t header[RLOG_FILE_HEADER], enum rlog_kind kind,
                                           uint64_t number);

/* Bytes that a record with this payload takes, padding included. */
static inline uint64_t record_size(uint64_t payload_size)
{
    return align_up(RLOG_RECORD_HEADER + payload_size, RLOG_ALIGN);
}

/* Which log it is, as records know it. A struct, so that it is not mixed up with an offset. */
struct log_id {
    uint64_t number;
    uint64_t salt; /* of the file header: no two logs have the same, even if their numbers are */
};

/*
 * What makes a record's checksum its own: the log and the place. The multiplication (by 2^64 over the golden ratio,
 * odd, so it loses nothing) moves small log numbers away from the low bits, where the offsets are.
 */
static inline uint64_t record_seed(struct log_id id, uint64_t off)
{
    return (id.number * 0x9e3779b97f4a7c15ull + id.salt) ^ off;
}

/* Everything of the header but the checksum. */
static inline void record_put_header(uint8_t *p, uint32_t payload_size, uint64_t number, enum rlog_type type)
{
    put_u32(p + RECORD_LENGTH, payload_size);
    put_u32(p + RECORD_NUMBER, (uint32_t)number);
    put_u32(p + RECORD_TYPE, (uint32_t)type); /* the type's byte, then three zeros */
}

/* Over a record that stands in one piece at `p`. */
static inline uint32_t record_checksum(const uint8_t *p, uint32_t payload_size, uint64_t seed)
{
    return checksum32(p + RECORD_LENGTH, RLOG_RECORD_HEADER - RECORD_LENGTH + (size_t)payload_size, seed);
}

/* A whole SYNCED or SEAL record. */
void format_mark(uint8_t record[RLOG_MARK_SIZE], enum rlog_type type, struct log_id id, uint64_t off, uint64_t covers);

/* What a header claims, if it may be one of log `number` at all: its checksum has not been looked at. */
struct record_claim {
    uint32_t checksum;
    uint32_t payload_size;
    uint32_t type; /* all four bytes: zeros above the lowest in version 1 */
    uint64_t size; /* with header and padding */
};
bool format_claim(const uint8_t header[RLOG_RECORD_HEADER], uint64_t number, struct record_claim *out_claim);

/* Is the record in one piece at `p`, claim->size bytes, the one that was written for `off`? Padding included. */
bool format_record_valid(const uint8_t *p, const struct record_claim *claim, struct log_id id, uint64_t off);

#endif
