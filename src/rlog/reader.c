// SPDX-License-Identifier: Apache-2.0
/*
 * reader.c - forward through the records of a log, out of the file and the ring.
 *
 * The file is read in windows of 1 MiB. A record that claims to be larger is first hashed piece by piece; only when its
 * checksum has confirmed the length does the window grow to hold it. So a hostile length costs reading, never memory.
 *
 * Why any answer is a prefix of what was appended, whatever a crash left: a record is taken only at the offset where
 * the one before it ended, and only if its checksum matches log number, offset, length and payload; from where it comes
 * does not matter. That the prefix holds everything synced follows from synced bytes being in the file, unchanged.
 *
 *      open ──► next ─► ... ─► next ──no valid record──► tail.c ──► ended (more = false)
 *        │                      │──────RLOG_SEAL─────────────────► ended
 *        └──────────────────────┴──damage, I/O error─────────────► failed (sticky)
 *
 * One thread at a time.
 */
#include "rlog/reader.h"

#include "base/alloc.h"

/* ---- the file, in windows -------------------------------------------------------------------------------------- */

/* REQUIRES: size <= window_capacity. */
static enum nokv_status load_window(struct rlog_reader *r, uint64_t off, size_t size)
{
    uint64_t from = off & ~(uint64_t)(PAGE_BYTES - 1);
    if (off - from + size > r->window_capacity)
        from = off;
    size_t wanted = (size_t)u64_min(r->window_capacity, r->file_size - from);
    r->window_size = 0;
    TRY(io_pread_exact(r->file, r->window, wanted, from));
    r->window_off = from;
    r->window_size = wanted;
    return NOKV_OK;
}

enum nokv_status reader_window(struct rlog_reader *r, uint64_t off, size_t size, const uint8_t **out_bytes)
{
    ASSERT(size <= r->window_capacity && off + size <= r->file_size);
    if (off < r->window_off || off + size > r->window_off + r->window_size)
        TRY(load_window(r, off, size));
    *out_bytes = r->window + (off - r->window_off);
    return NOKV_OK;
}

/* What the window held is lost. REQUIRES: at least the file's size or WINDOW_BYTES, whichever is less. */
static enum nokv_status grow_window(struct rlog_reader *r, size_t capacity)
{
    uint8_t *window = mem_alloc(capacity);
    if (window == NULL)
        return FAIL(NO_MEMORY, "log %s: window of %zu bytes", r->path, capacity);
    mem_free(r->window);
    r->window = window;
    r->window_capacity = capacity;
    r->window_size = 0;
    return NOKV_OK;
}

/* ---- one record in the file ------------------------------------------------------------------------------------ */

/* The checksum of a record that is larger than the window, without holding it. */
static enum nokv_status hash_large(struct rlog_reader *r, uint64_t off, const struct record_claim *claim,
                                   bool *out_valid)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    (void)XXH3_64bits_reset_withSeed(&state, record_seed(r->id, off));
    uint64_t pos = off + RECORD_LENGTH;
    uint64_t end = off + RLOG_RECORD_HEADER + claim->payload_size;
    while (pos < end) {
        size_t piece = (size_t)u64_min(end - pos, WINDOW_BYTES);
        const uint8_t *bytes;
        TRY(reader_window(r, pos, piece, &bytes));
        (void)XXH3_64bits_update(&state, bytes, piece);
        pos += piece;
    }
    *out_valid = (uint32_t)XXH3_64bits_digest(&state) == claim->checksum;
    return NOKV_OK;
}

static enum nokv_status file_record(struct rlog_reader *r, uint64_t off, struct record *out_record)
{
    const uint8_t *bytes;
    struct record_claim claim;
    if (off > r->file_size || r->file_size - off < RLOG_RECORD_HEADER)
        return NOKV_OK;
    TRY(reader_window(r, off, RLOG_RECORD_HEADER, &bytes));
    if (!format_claim(bytes, r->id.number, &claim) || claim.size > r->file_size - off)
        return NOKV_OK;
    if (claim.size > r->window_capacity) {
        bool valid;
        TRY(hash_large(r, off, &claim, &valid));
        if (!valid)
            return NOKV_OK;
        TRY(grow_window(r, (size_t)claim.size));
    }
    TRY(reader_window(r, off, (size_t)claim.size, &bytes));
    if (!format_record_valid(bytes, &claim, r->id, off))
        return NOKV_OK;
    *out_record = (struct record){.source = RECORD_IN_FILE,
                                  .type = claim.type,
                                  .payload = slice_make(bytes + RLOG_RECORD_HEADER, claim.payload_size),
                                  .size = claim.size};
    return NOKV_OK;
}

/* ---- one record in the ring ------------------------------------------------------------------------------------ */

/* Copies `size` bytes that stand from ring position `pos` on. REQUIRES: size <= ring.size. */
static void ring_copy(struct slice ring, size_t pos, void *to, size_t size)
{
    size_t head = size < ring.size - pos ? size : ring.size - pos;
    memcpy(to, ring.data + pos, head);
    if (head < size)
        memcpy((uint8_t *)to + head, ring.data, size - head);
}

/* The same in one piece, in place where it is in one piece already. */
static enum nokv_status ring_bytes(struct rlog_reader *r, size_t pos, size_t size, const uint8_t **out_bytes)
{
    *out_bytes = r->ring.data + pos;
    if (size <= r->ring.size - pos)
        return NOKV_OK;
    if (r->joined == NULL && (r->joined = mem_alloc(r->ring.size)) == NULL)
        return FAIL(NO_MEMORY, "log %s: copy of the ring, %zu bytes", r->path, r->ring.size);
    ring_copy(r->ring, pos, r->joined, size);
    *out_bytes = r->joined;
    return NOKV_OK;
}

static enum nokv_status ring_record(struct rlog_reader *r, uint64_t off, struct record *out_record)
{
    uint8_t header[RLOG_RECORD_HEADER];
    struct record_claim claim;
    if (r->ring.size == 0)
        return NOKV_OK;
    size_t pos = (size_t)(off % r->ring.size);
    ring_copy(r->ring, pos, header, sizeof header);
    if (!format_claim(header, r->id.number, &claim) || claim.size > r->ring.size)
        return NOKV_OK;
    const uint8_t *bytes;
    TRY(ring_bytes(r, pos, (size_t)claim.size, &bytes));
    if (!format_record_valid(bytes, &claim, r->id, off))
        return NOKV_OK;
    *out_record = (struct record){.source = RECORD_IN_RING,
                                  .type = claim.type,
                                  .payload = slice_make(bytes + RLOG_RECORD_HEADER, claim.payload_size),
                                  .size = claim.size};
    return NOKV_OK;
}

enum nokv_status reader_record_at(struct rlog_reader *r, uint64_t off, struct record *out_record)
{
    out_record->source = RECORD_NONE;
    TRY(file_record(r, off, out_record));
    if (out_record->source != RECORD_NONE)
        return NOKV_OK;
    return ring_record(r, off, out_record);
}

/* ---- forward --------------------------------------------------------------------------------------------------- */

/* A sound record that this version would never write. */
static enum nokv_status check_record(struct rlog_reader *r, const struct record *record)
{
    if (record->type > RLOG_SEAL)
        return FAIL(NOT_SUPPORTED, "log %s: record of type 0x%x at %llu: written by a later version?", r->path,
                    record->type, (unsigned long long)r->off);
    if (record->type == RLOG_DATA)
        return NOKV_OK;
    if (record->payload.size != RLOG_MARK_PAYLOAD || get_u64(record->payload.data) > r->off)
        return FAIL(CORRUPT, "log %s: mark at %llu does not make sense", r->path, (unsigned long long)r->off);
    r->covered = u64_max(r->covered, get_u64(record->payload.data));
    return NOKV_OK;
}

/* No valid record at r->off. */
static enum nokv_status end_unsealed(struct rlog_reader *r)
{
    TRY(tail_inspect(r));
    r->ended = true;
    return NOKV_OK;
}

/* r->off is behind RLOG_SEAL. */
static enum nokv_status end_sealed(struct rlog_reader *r)
{
    uint64_t data_end;
    TRY(tail_data_end(r, r->off, &data_end));
    if (data_end > r->off)
        return FAIL(CORRUPT, "log %s: sealed at %llu, but there are bytes up to %llu", r->path,
                    (unsigned long long)r->off, (unsigned long long)data_end);
    r->report.sealed = true;
    r->ended = true;
    return NOKV_OK;
}

/* The record at r->off, passed. */
static enum nokv_status take_record(struct rlog_reader *r, struct record *out_record)
{
    TRY(reader_record_at(r, r->off, out_record));
    if (out_record->source == RECORD_NONE)
        return end_unsealed(r);
    TRY(check_record(r, out_record));
    if (out_record->source == RECORD_IN_RING) {
        r->first_ring_off = u64_min(r->first_ring_off, r->off);
        r->report.ring_bytes += out_record->size;
    }
    r->off += out_record->size;
    r->report.end_off = r->off;
    if (out_record->type == RLOG_SEAL)
        return end_sealed(r);
    return NOKV_OK;
}

static enum nokv_status next_data(struct rlog_reader *r, struct record *out_record)
{
    while (!r->ended) {
        TRY(take_record(r, out_record));
        if (!r->ended && out_record->type == RLOG_DATA)
            break;
    }
    return NOKV_OK;
}

enum nokv_status rlog_reader_next(struct rlog_reader *r, struct slice *out_payload, uint64_t *out_off, bool *out_more)
{
    if (r->failed != NOKV_OK)
        return FAIL_WITH(r->failed, "log %s: reading it failed at %llu before", r->path, (unsigned long long)r->off);
    struct record record = {0};
    r->failed = next_data(r, &record);
    if (r->failed != NOKV_OK)
        return r->failed;
    *out_more = !r->ended;
    if (!r->ended) {
        *out_payload = record.payload;
        *out_off = r->off - record.size;
    }
    return NOKV_OK;
}

/* Is there a mark that covers `off`? */
static enum nokv_status is_durable_at(struct rlog_reader *r, uint64_t off, bool *out_durable)
{
    uint64_t behind = r->off;
    r->off = off;
    enum nokv_status status = tail_inspect(r);
    r->off = behind;
    *out_durable = status == NOKV_ERR_CORRUPT;
    return *out_durable ? NOKV_OK : status;
}

enum nokv_status rlog_reader_reject(struct rlog_reader *r, uint64_t off, struct slice *out_payload, bool *out_cut)
{
    bool durable = false;
    struct record record;
    ASSERT(!r->ended && off < r->off);
    TRY(is_durable_at(r, off, &durable));
    TRY(reader_record_at(r, off, &record));
    *out_payload = record.payload;
    *out_cut = !durable;
    if (durable) {
        r->report.cut_bytes = 0;
        return NOKV_OK;
    }
    if (record.source == RECORD_IN_RING)
        r->report.ring_bytes -= record.size;
    r->off = r->report.end_off = off;
    r->ended = true;
    return NOKV_OK;
}

enum nokv_status rlog_reader_find_claim(struct rlog_reader *r, bool *out_found, uint64_t *out_off, uint64_t *out_bytes)
{
    struct found_mark mark;
    uint64_t data_end;
    ASSERT(r->off <= RLOG_FILE_HEADER);
    TRY(tail_find_mark(r, 0, &mark));
    TRY(tail_data_end(r, r->off, &data_end));
    *out_found = mark.off != UINT64_MAX;
    *out_off = mark.off;
    *out_bytes = data_end - r->off;
    return NOKV_OK;
}

void rlog_reader_end(const struct rlog_reader *r, struct rlog_end_report *out_report)
{
    ASSERT(r->ended);
    *out_report = r->report;
}

/* ---- open and close -------------------------------------------------------------------------------------------- */

/*
 * The header is not what a finished creation leaves. A log is written to only after its header is durable: if nothing
 * follows it, the creation was cut short and nothing is lost.
 */
static enum nokv_status check_torn_header(struct rlog_reader *r)
{
    uint64_t data_end = 0;
    struct record record = {0};
    TRY(tail_data_end(r, 0, &data_end));
    TRY(ring_record(r, RLOG_FILE_HEADER, &record));
    if (data_end > RLOG_FILE_HEADER || record.source != RECORD_NONE)
        return FAIL(CORRUPT, "log %s: header is damaged", r->path);
    r->header_torn = true;
    r->ended = true;
    r->report.cut_bytes = data_end;
    return NOKV_OK;
}

static enum nokv_status check_header(struct rlog_reader *r)
{
    const uint8_t *header;
    if (r->file_size < RLOG_FILE_HEADER)
        return check_torn_header(r);
    TRY(reader_window(r, 0, RLOG_FILE_HEADER, &header));
    r->id.salt = format_file_salt(header); /* of a damaged header: the best guess there is */
    switch (format_check_file_header(header, r->kind, r->id.number)) {
    case HEADER_GOOD:
        r->off = r->report.end_off = RLOG_FILE_HEADER;
        return NOKV_OK;
    case HEADER_OTHER:
        return FAIL(CORRUPT, "log %s: it is another log than its name says, or of another kind", r->path);
    case HEADER_FROM_FUTURE:
        return FAIL(NOT_SUPPORTED, "log %s: written by a later version", r->path);
    case HEADER_DAMAGED:
    default:
        return check_torn_header(r);
    }
}

static enum nokv_status reader_init(struct rlog_reader *r, const struct rlog_reader_options *o)
{
    r->io = o->io;
    r->component = o->component;
    r->kind = o->kind;
    r->id.number = o->number;
    r->first_ring_off = UINT64_MAX;
    r->ring = o->ring;
    r->path = mem_strdup(o->path);
    if (r->path == NULL)
        return FAIL(NO_MEMORY, "log %s", o->path);
    TRY(io_open(o->io, o->path, o->component, IO_STD, IO_READ | IO_SCAN_ONCE, &r->file));
    TRY(io_size(r->file, &r->file_size));
    TRY(grow_window(r, (size_t)u64_min(WINDOW_BYTES, u64_max(r->file_size, RLOG_FILE_HEADER))));
    return check_header(r);
}

enum nokv_status rlog_reader_open(const struct rlog_reader_options *options, struct rlog_reader **out_reader)
{
    if (options->ring.size % RLOG_ALIGN != 0 || (options->ring.size != 0 && options->ring.size < RLOG_MARK_SIZE))
        return FAIL(INVALID, "log %s: a ring of %zu bytes", options->path, options->ring.size);
    struct rlog_reader *r = mem_zalloc(sizeof *r);
    if (r == NULL)
        return FAIL(NO_MEMORY, "log %s", options->path);
    enum nokv_status status = reader_init(r, options);
    if (status != NOKV_OK) {
        rlog_reader_close(r);
        return status;
    }
    *out_reader = r;
    return NOKV_OK;
}

void rlog_reader_close(struct rlog_reader *r)
{
    if (r == NULL)
        return;
    io_close_ptr(&r->file);
    mem_free(r->window);
    mem_free(r->joined);
    mem_free(r->path);
    mem_free(r);
}
