// SPDX-License-Identifier: Apache-2.0
/*
 * rlog_reader_fuzz.c - any bytes as the file and the ring of a record log.
 *
 * Input: one byte of choices, one byte that says how much of the rest is the ring (in units of 8 bytes), the ring, the
 * file. With choice REHASH every record header in the file that a walk meets gets the checksum that it should have, and
 * so does the file header: otherwise next to no input would get past the checksums. With LARGE a record of more than
 * the reader's window follows the file, with LARGE_WRONG one whose checksum is wrong.
 *
 * Checked besides not crashing: what was read once is read again; after a repair the log is sealed, reads the same
 * without the ring, and a second repair changes nothing about that. With too little memory the answer is the same or
 * NO_MEMORY. With CLAIM the log is also searched for a mark that speaks for earlier logs, which a repaired one has.
 *
 * The mutator moves, doubles, changes and inserts whole records, and moves records from the file's end to their place
 * in the ring.
 */
#include "../fuzz.h"
#include "../memory_io.h"
#include "log_fuzz.h"

enum { REHASH = 1, CLAIM = 2, REPAIR = 4, LARGE = 8, LARGE_WRONG = 16 };
enum { NUMBER = 7, HEAD = 2, INPUT_MAX = 1 << 16, LARGE_BYTES = (1 << 20) + 300 };

struct reading {
    enum nokv_status status;
    uint64_t records;
    uint64_t hash; /* of all payloads and offsets */
    struct rlog_end_report report;
};

static struct reading read_log(struct io *io, struct slice ring, bool repair)
{
    struct rlog_reader_options options = {
        .io = io, .path = "log", .component = IO_WAL, .kind = RLOG_WAL, .number = NUMBER, .ring = ring};
    struct reading out = {0};
    struct rlog_reader *r = NULL;
    struct slice payload;
    uint64_t off;
    bool more = true;
    out.status = rlog_reader_open(&options, &r);
    while (out.status == NOKV_OK && (out.status = rlog_reader_next(r, &payload, &off, &more)) == NOKV_OK && more) {
        out.hash = checksum64(payload.data, payload.size, out.hash ^ off);
        out.records++;
    }
    if (r != NULL && out.status != NOKV_OK && out.status != NOKV_ERR_NO_MEMORY)
        fuzz_must(rlog_reader_next(r, &payload, &off, &more) == out.status, "a failure that goes away");
    if (out.status == NOKV_OK) {
        rlog_reader_end(r, &out.report);
        if (repair)
            fuzz_must(rlog_repair_tail(r) == NOKV_OK, "repair");
    }
    rlog_reader_close(r);
    return out;
}

static void must_be_same(struct reading a, struct reading b, const char *what)
{
    fuzz_must(a.status == b.status && a.records == b.records && a.hash == b.hash, what);
}

/* A repaired log claims that those before it are durable: its own seal does. */
static bool has_claim(struct io *io, struct slice ring)
{
    struct rlog_reader_options options = {
        .io = io, .path = "log", .component = IO_WAL, .kind = RLOG_WAL, .number = NUMBER, .ring = ring};
    struct rlog_reader *r = NULL;
    uint64_t off = 0, bytes = 0;
    bool found = false;
    if (rlog_reader_open(&options, &r) != NOKV_OK)
        return false;
    fuzz_must(rlog_reader_find_claim(r, &found, &off, &bytes) == NOKV_OK, "search for a claim");
    fuzz_must(!found || off % RLOG_ALIGN == 0, "a claim at no record's place");
    rlog_reader_close(r);
    return found;
}

static void check_log(unsigned choices, struct slice ring)
{
    struct io *io = memory_io();
    struct reading first = read_log(io, ring, false);
    must_be_same(first, read_log(io, ring, false), "second reading differs");
    if (choices & CLAIM)
        (void)has_claim(io, ring);
    if (first.status != NOKV_OK || !(choices & REPAIR))
        return;
    must_be_same(first, read_log(io, ring, true), "reading before the repair differs");
    struct reading repaired = read_log(io, (struct slice){0}, false);
    must_be_same(first, repaired, "reading after the repair differs");
    fuzz_must(repaired.report.sealed && repaired.report.cut_bytes == 0, "not sealed after the repair");
    fuzz_must(first.report.sealed || has_claim(io, (struct slice){0}), "no claim after the repair");
    must_be_same(first, read_log(io, ring, true), "second repair differs");
    must_be_same(first, read_log(io, (struct slice){0}, false), "reading after the second repair differs");
}

static void check_short_of_memory(struct slice ring, uint64_t allocation)
{
    struct reading first = read_log(memory_io(), ring, false);
    mem_fail_after(allocation);
    struct reading again = read_log(memory_io(), ring, false);
    mem_fail_after(UINT64_MAX);
    if (again.status != NOKV_ERR_NO_MEMORY)
        must_be_same(first, again, "reading with little memory differs");
}

/* The ring's size as the input says it; 0: none. `size`: of what follows the two bytes of choices. */
static size_t ring_size_of(const uint8_t *data, size_t size)
{
    size_t ring_size = (size_t)data[1] * RLOG_ALIGN;
    return ring_size > size || ring_size < 4 * RLOG_ALIGN ? 0 : ring_size;
}

/* A record that does not fit into the window, behind `size` bytes of the file. Returns the new size. */
static size_t large_append(uint8_t *file, size_t size, bool is_wrong)
{
    if (size < RLOG_FILE_HEADER || size % RLOG_ALIGN != 0)
        return size;
    struct log_id id = {.number = NUMBER, .salt = format_file_salt(file)};
    uint8_t *p = file + size;
    record_put_header(p, LARGE_BYTES, NUMBER, RLOG_DATA);
    memset(p + RLOG_RECORD_HEADER, 'l', record_size(LARGE_BYTES) - RLOG_RECORD_HEADER);
    memset(p + RLOG_RECORD_HEADER + LARGE_BYTES, 0, record_size(LARGE_BYTES) - RLOG_RECORD_HEADER - LARGE_BYTES);
    put_u32(p + RECORD_CHECKSUM, record_checksum(p, LARGE_BYTES, record_seed(id, size)) ^ is_wrong);
    return size + record_size(LARGE_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t file[INPUT_MAX + LARGE_BYTES + 2 * RLOG_RECORD_HEADER];
    uint64_t allocation;
    if (size < HEAD || size > INPUT_MAX)
        return 0;
    size_t ring_size = ring_size_of(data, size - HEAD), file_size = size - HEAD - ring_size;
    memcpy(file, data + HEAD + ring_size, file_size);
    if (data[0] & REHASH)
        log_reseal(file, file_size, NUMBER);
    if (data[0] & LARGE)
        file_size = large_append(file, file_size, data[0] & LARGE_WRONG);
    memory_io_put("log", file, file_size);
    if (fuzz_short_of_memory(data, size, &allocation))
        check_short_of_memory(slice_make(data + HEAD, ring_size), allocation);
    check_log(data[0], slice_make(data + HEAD, ring_size));
    return 0;
}

/* ---- the mutator ------------------------------------------------------------------------------------------------ */

/* The last record goes from the file to the place in the ring where it would have waited. */
static void record_to_ring(uint8_t *data, size_t ring_size, struct fuzz_pieces *p)
{
    if (p->count == 0 || ring_size == 0 || piece_size(p, p->count - 1) > ring_size)
        return;
    size_t off = piece_off(p, p->count - 1) - (HEAD + ring_size), size = piece_size(p, p->count - 1);
    for (size_t i = 0; i < size; i++)
        data[HEAD + (off + i) % ring_size] = piece_at(p, p->count - 1)[i];
    piece_remove(p, p->count - 1);
}

/* A ring of zeros in front of the file, or none. */
static size_t ring_change(uint8_t *data, size_t size, size_t max, uint64_t *random)
{
    size_t old = ring_size_of(data, size - HEAD),
           ring_size = fuzz_draw(random, 3) ? 8 * (4 + fuzz_draw(random, 60)) : 0;
    if (size - old + ring_size > max)
        return size;
    memmove(data + HEAD + ring_size, data + HEAD + old, size - HEAD - old);
    memset(data + HEAD, 0, ring_size);
    data[1] = (uint8_t)(ring_size / RLOG_ALIGN);
    return size - old + ring_size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    struct fuzz_pieces p;
    if (size < HEAD + RLOG_FILE_HEADER || fuzz_draw(&random, 8) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    if (fuzz_draw(&random, 8) == 0)
        data[0] = (uint8_t)fuzz_draw(&random, fuzz_draw(&random, 32) ? 8 : 32);
    if ((data[0] & LARGE) && fuzz_draw(&random, 32)) /* a thousand times as slow as others, and finds little more */
        data[0] &= REHASH | CLAIM | REPAIR;
    if (fuzz_draw(&random, 16) == 0)
        size = ring_change(data, size, max_size, &random);
    size_t ring_size = ring_size_of(data, size - HEAD), file_off = HEAD + ring_size;
    if (size - file_off < RLOG_FILE_HEADER)
        return size;
    pieces_begin(&p, data, file_off + RLOG_FILE_HEADER, size, max_size);
    log_split(&p);
    log_change(&p, file_off, NUMBER, &random);
    log_repair(&p, file_off, NUMBER, &random);
    if (fuzz_draw(&random, 4) == 0)
        record_to_ring(data, ring_size, &p);
    return p.size;
}
