// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_dump_file: a file as text, for people, without opening the database. Reads only; goes on as far as the bytes
 * allow and says where they stop making sense.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "db/db.h"
#include "lsm/names.h"

struct dump {
    struct io *io;
    const char *path;
    nokv_dump_fn fn;
    void *arg;
    bool stopped;
};

PRINTF_LIKE(2, 3)
static bool dump_line(struct dump *d, const char *fmt, ...)
{
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    d->stopped = d->stopped || !d->fn(d->arg, line);
    return !d->stopped;
}

/* Printable bytes as they are, others as \xNN, cut after some. */
static const char *escape(struct slice s, char out[132])
{
    size_t n = 0;
    for (size_t i = 0; i < s.size; i++) {
        if (n > 120) {
            memcpy(out + n, "...", 3);
            n += 3;
            break;
        }
        uint8_t c = s.data[i];
        if (c >= 0x20 && c < 0x7f && c != '\\')
            out[n++] = (char)c;
        else
            n += (size_t)snprintf(out + n, 5, "\\x%02x", c);
    }
    out[n] = 0;
    return out;
}

static const char *kind_name(unsigned kind_byte)
{
    static const char *const names[] = {"delete", "put", "pointer", "merge", "range-delete"};
    unsigned kind = kind_byte & KEY_KIND_MASK;
    return kind < ARRAY_COUNT(names) ? names[kind] : "?";
}

static enum nokv_status batch_dump(struct dump *d, struct slice payload, uint64_t off)
{
    char where[PATH_SIZE_MAX + 32], key[132], value[132];
    struct batch_reader reader;
    snprintf(where, sizeof where, "%s @%" PRIu64, d->path, off);
    TRY(batch_reader_init(&reader, payload, where));
    dump_line(d, "@%" PRIu64 " batch of %u, sequence %" PRIu64 ", %zu bytes", off, reader.left, reader.seq,
              payload.size);
    for (;;) {
        struct batch_entry e;
        bool more = false;
        TRY(batch_reader_next(&reader, &e, &more));
        if (!more)
            return NOKV_OK;
        if (!dump_line(d, "  %" PRIu64 " %s %s (%zu bytes) %s", tag_seq(e.key.tag), kind_name(tag_kind_byte(e.key.tag)),
                       escape(e.key.user, key), e.value.size, escape(e.value, value)))
            return NOKV_OK;
    }
}

static enum nokv_status edit_dump(struct dump *d, struct slice payload, uint64_t off)
{
    char where[PATH_SIZE_MAX + 32], first[132], last[132];
    struct edit edit CLEANUP(edit_deinit) = {0};
    snprintf(where, sizeof where, "%s @%" PRIu64, d->path, off);
    TRY(edit_decode(payload, where, &edit));
    dump_line(d, "@%" PRIu64 " edit: log %" PRIu64 ", next file %" PRIu64 ", flushed sequence %" PRIu64, off,
              edit.log_number, edit.next_number, edit.last_seq);
    for (size_t i = 0; i < edit.remove_count; i++)
        dump_line(d, "  - level %u table %" PRIu64, edit.removes[i].level, edit.removes[i].number);
    for (size_t i = 0; i < edit.add_count; i++) {
        const struct table_desc *t = &edit.adds[i].table;
        dump_line(d,
                  "  + level %u table %" PRIu64 ": %" PRIu64 " bytes, %" PRIu64 " entries, sequence %" PRIu64
                  "..%" PRIu64 ", %s .. %s",
                  edit.adds[i].level, t->number, t->file_bytes, t->entries, t->seq_min, t->seq_max,
                  escape(t->smallest.user, first), escape(t->largest.user, last));
    }
    return NOKV_OK;
}

static void rlog_reader_close_ptr(struct rlog_reader **r)
{
    rlog_reader_close(*r);
}

static enum nokv_status log_dump(struct dump *d, enum rlog_kind kind, uint64_t number)
{
    struct rlog_reader *reader CLEANUP(rlog_reader_close_ptr) = NULL;
    struct rlog_reader_options options = {.io = d->io,
                                          .path = d->path,
                                          .component = kind == RLOG_WAL ? IO_WAL : IO_MANIFEST,
                                          .kind = kind,
                                          .number = number,
                                          .last = true};
    TRY(rlog_reader_open(&options, &reader));
    for (uint64_t records = 0; !d->stopped; records++) {
        struct slice payload;
        uint64_t off;
        bool more = false;
        TRY(rlog_reader_next(reader, &payload, &off, &more));
        if (!more) {
            struct rlog_end_report report;
            rlog_reader_end(reader, &report);
            dump_line(d, "@%" PRIu64 " end: %" PRIu64 " records, %s, %" PRIu64 " bytes of a torn tail", report.end_off,
                      records, report.sealed ? "sealed" : "open (the newest records may be in WALBUF)",
                      report.cut_bytes);
            break;
        }
        TRY(kind == RLOG_WAL ? batch_dump(d, payload, off) : edit_dump(d, payload, off));
    }
    return NOKV_OK;
}

static enum nokv_status file_dump(struct dump *d, nokv_file_kind kind)
{
    const char *slash = strrchr(d->path, '/');
    uint64_t number = 0;
    enum file_type type = file_type_of(slash ? slash + 1 : d->path, &number);
    switch (kind) {
    case NOKV_FILE_SST:
        return sst_dump(d->io, d->path, d->fn, d->arg);
    case NOKV_FILE_WAL:
        if (type != FILE_WAL)
            return FAIL(INVALID, "%s: a WAL is named NUMBER.wal; its number is part of its checksums", d->path);
        return log_dump(d, RLOG_WAL, number);
    case NOKV_FILE_MANIFEST:
        if (type != FILE_MANIFEST)
            return FAIL(INVALID, "%s: a MANIFEST is named MANIFEST-NUMBER; its number is part of its checksums",
                        d->path);
        return log_dump(d, RLOG_MANIFEST, number);
    }
    return FAIL(INVALID, "file kind %d is none of nokv_file_kind", (int)kind);
}

nokv_status nokv_dump_file(const char *path, nokv_file_kind kind, nokv_dump_fn line, void *arg)
{
    if (path == NULL || line == NULL)
        return FAIL(INVALID, "nokv_dump_file: path or line is NULL");
    struct io *io = NULL;
    TRY(io_real_create(&io));
    struct dump d = {.io = io, .path = path, .fn = line, .arg = arg};
    enum nokv_status status = file_dump(&d, kind);
    if (status == NOKV_ERR_CORRUPT)
        dump_line(&d, "damaged: %s", status_message());
    io_destroy(io);
    return status;
}
