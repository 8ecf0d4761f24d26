// SPDX-License-Identifier: Apache-2.0
/*
 * rlog_reader_fuzz.c - any bytes as the file and the ring of a record log, on the simulated disk.
 *
 * Input: one byte of choices, one byte that says how much of the rest is the ring (in units of 8 bytes), the ring, the
 * file. With choice REHASH every record header in the file that a walk meets gets the checksum that it should have, and
 * so does the file header: otherwise next to no input would get past the checksums.
 *
 * Checked besides not crashing: what was read once is read again; after a repair the log is sealed, reads the same
 * without the ring and as a log that is not the last, and a second repair changes nothing about that.
 */
#include <stdio.h>
#include <stdlib.h>

#include "io/sim.h"
#include "rlog/format.h"

enum { REHASH = 1, LAST = 2, REPAIR = 4 };
enum { NUMBER = 7, INPUT_MAX = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reading {
    enum nokv_status status;
    uint64_t records;
    uint64_t hash; /* of all payloads and offsets */
    struct rlog_end_report report;
};

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s: %s\n", what, status_message());
        abort();
    }
}

static void must_ok(enum nokv_status status, const char *what)
{
    must(status == NOKV_OK, what);
}

/* Make the checksums right, of the file header and of the records as far as their lengths lead. */
static void rehash(uint8_t *file, size_t size)
{
    if (size < RLOG_FILE_HEADER)
        return;
    put_u32(file + 60, checksum32(file, 60, 0));
    struct log_id id = {.number = NUMBER, .salt = format_file_salt(file)};
    size_t off = RLOG_FILE_HEADER;
    while (size - off >= RLOG_RECORD_HEADER) {
        uint32_t length = get_u32(file + off + RECORD_LENGTH);
        if (length > RLOG_PAYLOAD_MAX || record_size(length) > size - off)
            return;
        put_u32(file + off, record_checksum(file + off, length, record_seed(id, off)));
        off += record_size(length);
    }
}

static void store(struct io *io, const uint8_t *bytes, size_t size)
{
    struct io_file *file;
    must_ok(io_open(io, "log", IO_WAL, IO_STD, IO_READ | IO_WRITE | IO_CREATE, &file), "open");
    if (size)
        must_ok(io_pwrite(file, bytes, size, 0), "write");
    must_ok(io_close(file), "close");
}

static struct reading read_log(struct io *io, bool last, struct slice ring, bool repair)
{
    struct rlog_reader_options options = {
        .io = io, .path = "log", .component = IO_WAL, .kind = RLOG_WAL, .number = NUMBER, .last = last, .ring = ring};
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
    if (out.status == NOKV_OK) {
        rlog_reader_end(r, &out.report);
        if (repair)
            must_ok(rlog_repair_tail(r), "repair");
    }
    rlog_reader_close(r);
    return out;
}

static void must_be_same(struct reading a, struct reading b, const char *what)
{
    must(a.status == b.status && a.records == b.records && a.hash == b.hash, what);
}

static void check_log(struct io *io, unsigned choices, struct slice ring)
{
    bool last = choices & LAST;
    struct reading first = read_log(io, last, ring, false);
    must_be_same(first, read_log(io, last, ring, false), "second reading differs");
    if (first.status != NOKV_OK || !last || !(choices & REPAIR))
        return;
    must_be_same(first, read_log(io, true, ring, true), "reading before the repair differs");
    struct reading repaired = read_log(io, false, (struct slice){0}, false);
    must_be_same(first, repaired, "reading after the repair differs");
    must(repaired.report.sealed && repaired.report.cut_bytes == 0, "not sealed after the repair");
    must_be_same(first, read_log(io, true, ring, true), "second repair differs");
    must_be_same(first, read_log(io, false, (struct slice){0}, false), "reading after the second repair differs");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > INPUT_MAX)
        return 0;
    unsigned choices = data[0];
    size_t ring_size = (size_t)data[1] * RLOG_ALIGN;
    data += 2;
    size -= 2;
    if (ring_size > size || (ring_size && ring_size < 4 * RLOG_ALIGN))
        ring_size = 0;
    uint8_t *bytes = malloc(size + 1);
    must(bytes != NULL, "malloc");
    memcpy(bytes, data, size);
    if (choices & REHASH)
        rehash(bytes + ring_size, size - ring_size);

    struct sim *sim;
    struct io *io;
    const struct sim_options options = {.seed = 1};
    must_ok(sim_create(&options, &sim), "sim");
    must_ok(sim_io_create(sim, &io), "io");
    store(io, bytes + ring_size, size - ring_size);
    check_log(io, choices, slice_make(bytes, ring_size));
    io_destroy(io);
    sim_destroy(sim);
    free(bytes);
    return 0;
}
