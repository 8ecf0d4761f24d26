// SPDX-License-Identifier: Apache-2.0
/*
 * tail.c - what lies behind the last valid record: telling a torn tail from damage, and closing the log for good.
 *
 * After a power cut the end of the file may hold anything: zeros of preallocated space, half a record, a hole and then
 * whole records. All of that was never synced, and is cut. Damage to what was synced looks the same, except that a
 * later mark, in this log or one behind it, may say that the bad offset was durable when the mark was written. So every
 * place where such a mark could stand is looked at. A mark is 24 bytes with 13 that are known beforehand; hashing is
 * rare.
 *
 * Repair, in an order in which every step leaves a log that reads the same or, after a power cut, a prefix with
 * everything synced (nothing it touches was):
 *
 *      1. header again, if its creation was cut short     (nothing follows it then)
 *      2. what the file has and no mark vouches for again (it may be in the page cache only: write_again), and records
 *         that only the ring has                          (at offsets where the file has none that is valid)
 *      3. cut the file at the end                         (what is cut was not valid)
 *      4. sync: from here on the log is whole without the ring
 *      5. RLOG_SEAL, covering all of it; sync
 *
 * Run again after a crash in between, it finds the same records and does what is left. The seal is written only after
 * the cut is durable, so that nothing can ever stand behind a seal.
 */
#include "rlog/reader.h"

/* ---- looking at the tail --------------------------------------------------------------------------------------- */

static bool may_be_mark(const uint8_t *header, uint64_t number)
{
    uint32_t type = get_u32(header + RECORD_TYPE);
    return get_u32(header + RECORD_NUMBER) == (uint32_t)number && (type == RLOG_SYNCED || type == RLOG_SEAL) &&
           get_u32(header + RECORD_LENGTH) == RLOG_MARK_PAYLOAD;
}

/* Is a valid mark in these bytes, which belong at `off`, that covers more than `least`? REQUIRES: may_be_mark. */
static bool take_mark(const struct rlog_reader *r, const uint8_t bytes[RLOG_MARK_SIZE], uint64_t off, uint64_t least,
                      struct found_mark *mark)
{
    struct record_claim claim;
    ASSERT(format_claim(bytes, r->id.number, &claim)); /* it looks at less than may_be_mark */
    if (!format_record_valid(bytes, &claim, r->id, off))
        return false;
    *mark = (struct found_mark){.off = off, .covers = get_u64(bytes + RLOG_RECORD_HEADER)};
    if (mark->covers <= least)
        mark->off = UINT64_MAX;
    return mark->off != UINT64_MAX;
}

/* Preallocated space that was never written need not be read. A mark may begin a little in front of what follows. */
static enum nokv_status skip_zeros(struct rlog_reader *r, uint64_t *off)
{
    uint64_t data;
    TRY(io_skip_hole(r->file, *off, &data));
    uint64_t begin = data > *off + RLOG_MARK_SIZE ? (data - RLOG_MARK_SIZE) & ~(uint64_t)(RLOG_ALIGN - 1) : *off;
    *off = u64_min(begin, u64_max(*off, r->file_size));
    if (data >= r->file_size)
        *off = r->file_size;
    return NOKV_OK;
}

static enum nokv_status search_file(struct rlog_reader *r, uint64_t least, struct found_mark *mark)
{
    uint64_t off = r->off;
    TRY(skip_zeros(r, &off));
    while (off < r->file_size && r->file_size - off >= RLOG_MARK_SIZE) {
        size_t size = (size_t)u64_min(r->file_size - off, WINDOW_BYTES);
        const uint8_t *bytes;
        TRY(reader_window(r, off, size, &bytes));
        size_t i = 0;
        for (; i + RLOG_MARK_SIZE <= size; i += RLOG_ALIGN)
            if (UNLIKELY(may_be_mark(bytes + i, r->id.number)) && take_mark(r, bytes + i, off + i, least, mark))
                return NOKV_OK;
        off += i;
        TRY(skip_zeros(r, &off));
    }
    return NOKV_OK;
}

/* The ring's bytes as those of the lap that begins at `from`. */
static void search_ring(const struct rlog_reader *r, uint64_t from, uint64_t least, struct found_mark *mark)
{
    uint8_t bytes[RLOG_MARK_SIZE];
    for (uint64_t off = from; off - from < r->ring.size; off += RLOG_ALIGN) {
        size_t pos = (size_t)(off % r->ring.size);
        size_t head = r->ring.size - pos;
        if (LIKELY(head >= sizeof bytes)) {
            if (LIKELY(!may_be_mark(r->ring.data + pos, r->id.number)))
                continue;
            head = sizeof bytes;
        }
        memcpy(bytes, r->ring.data + pos, head);
        memcpy(bytes + head, r->ring.data, sizeof bytes - head);
        if (may_be_mark(bytes, r->id.number) && take_mark(r, bytes, off, least, mark))
            return;
    }
}

enum nokv_status tail_find_mark(struct rlog_reader *r, uint64_t least, struct found_mark *out_mark)
{
    uint64_t data_end, end;
    *out_mark = (struct found_mark){.off = UINT64_MAX};
    TRY(search_file(r, least, out_mark));
    if (out_mark->off != UINT64_MAX)
        return NOKV_OK;
    search_ring(r, r->off, least, out_mark);
    TRY(tail_data_end(r, r->off, &data_end));
    end = align_up(data_end, RLOG_ALIGN); /* what was not moved to the file yet stands behind it, some laps on */
    if (out_mark->off == UINT64_MAX && end > r->off)
        search_ring(r, end, least, out_mark);
    return NOKV_OK;
}

enum nokv_status tail_data_end(struct rlog_reader *r, uint64_t off, uint64_t *out_end)
{
    uint64_t end = off;
    TRY(skip_zeros(r, &off));
    while (off < r->file_size) {
        size_t size = (size_t)u64_min(r->file_size - off, WINDOW_BYTES);
        const uint8_t *bytes;
        TRY(reader_window(r, off, size, &bytes));
        size_t n = size;
        while (n >= 8 && get_u64(bytes + n - 8) == 0)
            n -= 8;
        while (n > 0 && bytes[n - 1] == 0)
            n--;
        if (n > 0)
            end = off + n;
        off += size;
        TRY(skip_zeros(r, &off));
    }
    *out_end = end;
    return NOKV_OK;
}

enum nokv_status tail_inspect(struct rlog_reader *r)
{
    struct found_mark mark;
    uint64_t data_end;
    TRY(tail_find_mark(r, r->off, &mark));
    if (mark.off != UINT64_MAX)
        return FAIL(CORRUPT, "log %s: damaged at %llu; the mark at %llu says that it was durable up to %llu", r->path,
                    (unsigned long long)r->off, (unsigned long long)mark.off, (unsigned long long)mark.covers);
    TRY(tail_data_end(r, r->off, &data_end));
    r->report.cut_bytes = data_end - r->off;
    return NOKV_OK;
}

/* ---- repair ---------------------------------------------------------------------------------------------------- */

static enum nokv_status write_header(struct rlog_reader *r, struct io_file *file)
{
    uint8_t header[RLOG_FILE_HEADER];
    format_file_header(header, r->kind, r->id.number, r->id.salt);
    TRY(io_pwrite(file, header, sizeof header, 0));
    r->off = RLOG_FILE_HEADER;
    return NOKV_OK;
}

/* [from, to) of the log's bytes, out of the ring. REQUIRES: not empty, no longer than the ring. */
static enum nokv_status write_from_ring(const struct rlog_reader *r, struct io_file *file, uint64_t from, uint64_t to)
{
    ASSERT(from < to);
    size_t size = (size_t)(to - from);
    size_t pos = (size_t)(from % r->ring.size);
    size_t head = size < r->ring.size - pos ? size : r->ring.size - pos;
    TRY(io_pwrite(file, r->ring.data + pos, head, from));
    if (head < size)
        TRY(io_pwrite(file, r->ring.data, size - head, from + head));
    return NOKV_OK;
}

/* Go through the records once more and write those that the file does not have, in runs. */
static enum nokv_status write_ring_records(struct rlog_reader *r, struct io_file *file)
{
    uint64_t run = 0, off = r->first_ring_off;
    bool in_run = false;
    while (off < r->off) {
        struct record record;
        TRY(reader_record_at(r, off, &record));
        if (record.source == RECORD_NONE)
            return FAIL(CORRUPT, "log %s: the record at %llu has vanished since it was read", r->path,
                        (unsigned long long)off);
        if (in_run && (record.source == RECORD_IN_FILE || off + record.size - run > r->ring.size)) {
            TRY(write_from_ring(r, file, run, off));
            in_run = false;
        }
        if (!in_run && record.source == RECORD_IN_RING) {
            run = off;
            in_run = true;
        }
        off += record.size;
    }
    return in_run ? write_from_ring(r, file, run, off) : NOKV_OK;
}

/*
 * Write what no mark vouches for once more, as it is, past the page cache. After a failed sync the kernel keeps the
 * pages, calls them clean, and says yes to the next sync, by whatever process (Rebello et al., Can Applications Recover
 * from fsync Failures?, ATC 2020): what was read may be in the page cache only. Written there again it is not saved
 * either (seen on ext4, Linux 6.18; docs/wal.md has the experiment).
 */
static enum nokv_status write_again(struct rlog_reader *r, struct io_file *file)
{
    uint64_t end = u64_min(r->off, r->file_size);
    for (uint64_t off = u64_max(r->covered, RLOG_FILE_HEADER); off < end;) {
        size_t size = (size_t)u64_min(end - off, WINDOW_BYTES);
        const uint8_t *bytes;
        TRY(reader_window(r, off, size, &bytes));
        TRY(io_pwrite(file, bytes, size, off));
        off += size;
    }
    return NOKV_OK;
}

/* Steps 1 to 4. */
static enum nokv_status make_whole(struct rlog_reader *r, struct io_file *file)
{
    if (r->header_torn)
        TRY(write_header(r, file));
    TRY(write_again(r, file));
    TRY(write_ring_records(r, file));
    TRY(io_truncate(file, r->off));
    return io_sync(file);
}

static enum nokv_status write_seal(struct rlog_reader *r, struct io_file *file)
{
    uint8_t seal[RLOG_MARK_SIZE];
    format_mark(seal, RLOG_SEAL, r->id, r->off, r->off);
    TRY(io_pwrite(file, seal, sizeof seal, r->off));
    return io_sync(file);
}

static enum nokv_status repair(struct rlog_reader *r, struct io_file *file)
{
    TRY(make_whole(r, file));
    if (r->report.sealed)
        return NOKV_OK;
    return write_seal(r, file);
}

enum nokv_status rlog_repair_tail(struct rlog_reader *r)
{
    ASSERT(r->ended);
    struct io_file *file = NULL;
    TRY(io_open(r->io, r->path, r->component, IO_DIRECT, IO_READ | IO_WRITE, &file)); /* write_again */
    enum nokv_status status = repair(r, file);
    if (status != NOKV_OK) {
        io_close_ptr(&file);
        return status;
    }
    return io_close(file);
}
