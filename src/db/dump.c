// SPDX-License-Identifier: Apache-2.0
/*
 * Files without their database: nokv_dump_file, one as text, for people; nokv_vlog_salvage, what a damaged segment
 * still holds. Both only read, go on as far as the bytes allow, and say where they stop making sense.
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
        struct vlog_pointer p;
        bool more = false;
        TRY(batch_reader_next(&reader, &e, &more));
        if (!more)
            return NOKV_OK;
        if (tag_kind_byte(e.key.tag) == KEY_VALUE_POINTER && vlog_pointer_decode(e.value, &p) == NOKV_OK)
            snprintf(value, sizeof value, "to segment %" PRIu64 " @%" PRIu64 ", %u bytes", p.segment, p.off,
                     p.value_size);
        else
            escape(e.value, value);
        if (!dump_line(d, "  %" PRIu64 " %s %s (%zu bytes) %s", tag_seq(e.key.tag), kind_name(tag_kind_byte(e.key.tag)),
                       escape(e.key.user, key), e.value.size, value))
            return NOKV_OK;
    }
}

static void segments_dump(struct dump *d, const struct edit *edit)
{
    for (size_t i = 0; i < edit->segment_add_count; i++) {
        const struct segment_desc *s = &edit->segment_adds[i];
        dump_line(d, "  + segment %" PRIu64 ": %" PRIu64 " bytes, %s, %s", s->number, s->file_bytes,
                  segment_origin_name(s->origin), s->sealed ? "sealed" : "not sealed");
    }
    for (size_t i = 0; i < edit->segment_remove_count; i++)
        dump_line(d, "  - segment %" PRIu64, edit->segment_removes[i]);
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
        for (size_t j = 0; j < t->ref_count; j++)
            dump_line(d, "      points to segment %" PRIu64 ": %" PRIu64 " values, %" PRIu64 " bytes",
                      t->refs[j].segment, t->refs[j].records, t->refs[j].bytes);
    }
    segments_dump(d, &edit);
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
                                          .number = number};
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

static void vlog_scan_close_ptr(struct vlog_scan **s)
{
    vlog_scan_close(*s);
}

static enum nokv_status vlog_dump(struct dump *d)
{
    struct vlog_scan *scan CLEANUP(vlog_scan_close_ptr) = NULL;
    struct vlog_scan_options options = {
        .io = d->io, .path = d->path, .component = IO_VLOG, .model = IO_STD, .value_size_max = 64};
    TRY(vlog_scan_open(&options, &scan));
    for (bool more = true; more && !d->stopped;) {
        struct vlog_record r;
        char key[132], value[132] = "";
        TRY(vlog_scan_next(scan, &r, &more));
        if (more)
            dump_line(d, "@%" PRIu64 " %s %s sequence %" PRIu64 " (%" PRIu64 " bytes) %s", r.off,
                      kind_name(tag_kind_byte(r.key.tag)), escape(r.key.user, key), tag_seq(r.key.tag), r.value_size,
                      r.value.data ? escape(r.value, value) : "");
    }
    struct vlog_scan_totals t = vlog_scan_totals(scan);
    dump_line(d,
              "@%" PRIu64 " end of segment %" PRIu64 ": %s, %" PRIu64 " records of %" PRIu64 " bytes, padding %" PRIu64
              ", unfinished %" PRIu64,
              t.end, t.number, t.sealed ? "sealed" : "not sealed", t.records, t.record_bytes, t.padding_bytes,
              t.unfinished_bytes);
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
    case NOKV_FILE_VLOG:
        return vlog_dump(d);
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
    epoch_drain(); /* a table's reader goes when no other thread is inside a read any more, and uses io until then */
    io_destroy(io);
    return status;
}

/* ---- salvage ------------------------------------------------------------------------------------------------------
 */

static enum nokv_status salvage_run(struct vlog_scan *scan, nokv_salvage_fn fn, void *arg)
{
    for (;;) {
        struct vlog_record r;
        bool more = false;
        TRY(vlog_scan_next(scan, &r, &more));
        if (!more)
            return NOKV_OK;
        nokv_salvage_record record = {.key = {.data = r.key.user.data, .size = r.key.user.size},
                                      .value = {.data = r.value.data, .size = r.value.size},
                                      .sequence = tag_seq(r.key.tag),
                                      .off = r.off};
        if (!fn(arg, &record))
            return FAIL(ABORTED, "the salvage was stopped");
    }
}

static enum nokv_status salvage(struct io *io, const char *path, nokv_salvage_fn fn, void *arg,
                                nokv_salvage_report *out_report)
{
    struct vlog_scan *scan CLEANUP(vlog_scan_close_ptr) = NULL;
    struct vlog_scan_options options = {.io = io,
                                        .path = path,
                                        .component = IO_VLOG,
                                        .model = IO_STD,
                                        .value_size_max = NOKV_VALUE_SIZE_MAX,
                                        .salvage = true};
    TRY(vlog_scan_open(&options, &scan));
    TRY(salvage_run(scan, fn, arg));
    struct vlog_scan_totals t = vlog_scan_totals(scan);
    *out_report = (nokv_salvage_report){.number = t.number,
                                        .records = t.records,
                                        .value_bytes = t.value_bytes,
                                        .padding_bytes = t.padding_bytes,
                                        .unfinished_bytes = t.unfinished_bytes,
                                        .damaged_bytes = t.damaged_bytes,
                                        .sealed = t.sealed};
    return NOKV_OK;
}

nokv_status nokv_vlog_salvage(const char *path, nokv_salvage_fn fn, void *arg, nokv_salvage_report *out_report)
{
    struct io *io = NULL;
    if (path == NULL || fn == NULL || out_report == NULL)
        return FAIL(INVALID, "nokv_vlog_salvage: path, fn or out_report is NULL");
    TRY(io_real_create(&io));
    enum nokv_status status = salvage(io, path, fn, arg, out_report);
    io_destroy(io);
    return status;
}
