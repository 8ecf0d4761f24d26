// SPDX-License-Identifier: Apache-2.0
/*
 * format.c - encoding and checking of file headers and records.
 *
 * The file header keeps its first 16 bytes and its last 4 where they are in every version to come, so that an old build
 * can tell a later version (refuse it by name) from damage.
 *
 * Padding is outside of the checksum (the writer can pad after it has hashed) but must be zero, so that no bit of a log
 * is without a guard. No state, no failure, any thread.
 */
#include "rlog/format.h"

/* offsets inside the file header */
enum {
    HEADER_MAGIC = 0,     /* 8 bytes */
    HEADER_VERSION = 8,   /* u32 */
    HEADER_FEATURES = 12, /* u32, all refused that are not known; none is so far */
    HEADER_KIND = 16,     /* u32 */
    HEADER_NUMBER = 24,   /* u64 */
    HEADER_SALT = 32,     /* u64 */
    HEADER_CHECKSUM = 60, /* u32, over all before it; what is not named is zero */
};

static const char magic[8] = {'N', 'o', 'K', 'V', 'l', 'o', 'g', '\n'};

void format_file_header(uint8_t header[RLOG_FILE_HEADER], enum rlog_kind kind, uint64_t number, uint64_t salt)
{
    memset(header, 0, RLOG_FILE_HEADER);
    memcpy(header + HEADER_MAGIC, magic, sizeof magic);
    put_u32(header + HEADER_VERSION, RLOG_VERSION);
    put_u32(header + HEADER_KIND, (uint32_t)kind);
    put_u64(header + HEADER_NUMBER, number);
    put_u64(header + HEADER_SALT, salt);
    put_u32(header + HEADER_CHECKSUM, checksum32(header, HEADER_CHECKSUM, 0));
}

uint64_t format_file_salt(const uint8_t header[RLOG_FILE_HEADER])
{
    return get_u64(header + HEADER_SALT);
}

enum header_state format_check_file_header(const uint8_t header[RLOG_FILE_HEADER], enum rlog_kind kind, uint64_t number)
{
    if (memcmp(header + HEADER_MAGIC, magic, sizeof magic) != 0)
        return HEADER_DAMAGED;
    if (get_u32(header + HEADER_CHECKSUM) != checksum32(header, HEADER_CHECKSUM, 0))
        return HEADER_DAMAGED;
    if (get_u32(header + HEADER_VERSION) != RLOG_VERSION || get_u32(header + HEADER_FEATURES) != 0)
        return HEADER_FROM_FUTURE;
    uint8_t wanted[RLOG_FILE_HEADER];
    format_file_header(wanted, kind, number, format_file_salt(header));
    return memcmp(header, wanted, RLOG_FILE_HEADER) == 0 ? HEADER_GOOD : HEADER_OTHER;
}

void format_mark(uint8_t record[RLOG_MARK_SIZE], enum rlog_type type, struct log_id id, uint64_t off, uint64_t covers)
{
    record_put_header(record, RLOG_MARK_PAYLOAD, id.number, type);
    put_u64(record + RLOG_RECORD_HEADER, covers);
    put_u32(record + RECORD_CHECKSUM, record_checksum(record, RLOG_MARK_PAYLOAD, record_seed(id, off)));
}

bool format_claim(const uint8_t header[RLOG_RECORD_HEADER], uint64_t number, struct record_claim *out_claim)
{
    uint32_t payload_size = get_u32(header + RECORD_LENGTH);
    uint32_t type = get_u32(header + RECORD_TYPE);
    if (get_u32(header + RECORD_NUMBER) != (uint32_t)number || type == 0 || payload_size > RLOG_PAYLOAD_MAX)
        return false;
    *out_claim = (struct record_claim){
        .checksum = get_u32(header + RECORD_CHECKSUM),
        .payload_size = payload_size,
        .type = type,
        .size = record_size(payload_size),
    };
    return true;
}

bool format_record_valid(const uint8_t *p, const struct record_claim *claim, struct log_id id, uint64_t off)
{
    if (record_checksum(p, claim->payload_size, record_seed(id, off)) != claim->checksum)
        return false;
    for (uint64_t i = RLOG_RECORD_HEADER + (uint64_t)claim->payload_size; i < claim->size; i++)
        if (p[i] != 0)
            return false;
    return true;
}
