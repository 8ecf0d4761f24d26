// SPDX-License-Identifier: Apache-2.0
/*
 * dump.c - a table as text: what the frame says, and each block with its first and last key.
 *
 * For people in front of a broken database: damage is a line of the dump, and the dump goes on with the next block when
 * it can. A table whose header, footer or properties cannot be read has no known blocks and ends there.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "sst/scan.h"

enum { LINE_BYTES = 512, KEY_SHOWN_MAX = 48, KEY_TEXT_BYTES = KEY_SHOWN_MAX * 4 + 16 };

struct dumper {
    bool (*line)(void *arg, const char *text);
    void *arg;
    bool stopped;
    enum nokv_status damage; /* the first that was met; or NO_MEMORY, which is none, but the table was not looked at */
};

static void say(struct dumper *d, const char *format, ...) PRINTF_LIKE(2, 3);

static void say(struct dumper *d, const char *format, ...)
{
    char text[LINE_BYTES];
    va_list args;
    if (d->stopped)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    d->stopped = !d->line(d->arg, text);
}

static void say_damage(struct dumper *d, enum nokv_status status)
{
    if (d->damage == NOKV_OK)
        d->damage = status;
    say(d, "  %s: %s: %s", status == NOKV_ERR_NO_MEMORY ? "not read" : "damaged", status_name(status),
        status_message());
}

/* Printable ASCII as it is, the rest as \xNN; long keys are cut. */
static const char *key_text(struct slice key, char text[KEY_TEXT_BYTES])
{
    size_t n = u64_min(key.size, KEY_SHOWN_MAX);
    char *p = text;
    for (size_t i = 0; i < n; i++) {
        if (key.data[i] >= 0x20 && key.data[i] < 0x7f && key.data[i] != '\\')
            *p++ = (char)key.data[i];
        else
            p += snprintf(p, 5, "\\x%02x", key.data[i]);
    }
    *p = 0;
    if (n < key.size)
        snprintf(p, 16, "...(%zu)", key.size);
    return text;
}

static const char *kind_text(unsigned kind_byte)
{
    static const char *const names[] = {"tombstone", "value", "pointer", "merge", "range-tombstone"};
    unsigned kind = kind_byte & KEY_KIND_MASK;
    return kind < ARRAY_COUNT(names) ? names[kind] : "unknown";
}

static void say_region(struct dumper *d, const char *name, const struct sst_region *region)
{
    say(d, "%-10s @%llu, %llu bytes, checksum %016llx", name, (unsigned long long)region->off,
        (unsigned long long)region->size, (unsigned long long)region->checksum);
}

static void say_frame(struct dumper *d, const struct sst_reader *r)
{
    char text[KEY_TEXT_BYTES];
    const struct sst_properties *p = &r->properties;
    const struct sst_info *info = &p->info;
    say(d, "table %llu, version %d, %llu bytes, %llu blocks", (unsigned long long)r->footer.file_number, SST_VERSION,
        (unsigned long long)r->footer.file_bytes, (unsigned long long)r->footer.block_count);
    say(d, "%-10s @%llu, %llu bytes", "data", (unsigned long long)r->footer.data.off,
        (unsigned long long)r->footer.data.size);
    say_region(d, "filter", &r->footer.filter);
    say_region(d, "index", &r->footer.index);
    say_region(d, "properties", &r->footer.properties);
    say(d, "entries %llu (user keys %llu), sequence %llu to %llu, raw bytes %llu", (unsigned long long)info->entries,
        (unsigned long long)p->filter_keys, (unsigned long long)info->seq_min, (unsigned long long)info->seq_max,
        (unsigned long long)info->raw_bytes);
    for (unsigned i = 0; i < SST_KIND_BYTES; i++)
        if (p->kinds[i] != 0)
            say(d, "  %s%s: %llu", kind_text(i), i & KEY_HAS_EXPIRY ? " with expiry" : "",
                (unsigned long long)p->kinds[i]);
    say(d, "block target %llu bytes, filter %llu bits per key, %u probes", (unsigned long long)p->block_bytes,
        (unsigned long long)p->filter_bits_per_key, r->footer.filter_probes);
    say(d, "smallest \"%s\" seq %llu", key_text(p->smallest.user, text), (unsigned long long)tag_seq(p->smallest.tag));
    say(d, "largest  \"%s\" seq %llu", key_text(p->largest.user, text), (unsigned long long)tag_seq(p->largest.tag));
}

static void say_block(struct dumper *d, struct sst_window *w, uint64_t i)
{
    char first_text[KEY_TEXT_BYTES], last_text[KEY_TEXT_BYTES];
    struct sst_block b;
    struct sst_extent extent;
    struct sst_entry first = {0}, last = {0};
    enum nokv_status status = sst_window_block(w, i, &b, &extent);
    if (status == NOKV_OK && (!sst_block_entry(&b, 0, &first) || !sst_block_entry(&b, b.count - 1, &last)))
        status = sst_reader_bad_block(w->r, extent.page);
    if (status != NOKV_OK) {
        say(d, "block %llu @%llu, %llu bytes", (unsigned long long)i, (unsigned long long)extent.page * PAGE_BYTES,
            (unsigned long long)extent.size);
        say_damage(d, status);
        return;
    }
    say(d, "block %llu @%llu, %u of %llu bytes, %u entries: \"%s\" seq %llu %s ... \"%s\" seq %llu %s",
        (unsigned long long)i, (unsigned long long)extent.page * PAGE_BYTES, b.used, (unsigned long long)extent.size,
        b.count, key_text(first.key, first_text), (unsigned long long)tag_seq(first.tag),
        kind_text(tag_kind_byte(first.tag)), key_text(last.key, last_text), (unsigned long long)tag_seq(last.tag),
        kind_text(tag_kind_byte(last.tag)));
}

static void say_blocks(struct dumper *d, struct sst_reader *r)
{
    struct sst_window w = {0};
    enum nokv_status status = sst_window_init(&w, r, IO_OTHER, IO_STD);
    if (status != NOKV_OK)
        say_damage(d, status);
    for (uint64_t i = 0; status == NOKV_OK && i < r->index.count && !d->stopped; i++)
        say_block(d, &w, i);
    sst_window_deinit(&w);
}

/* Order, counts, filter: whatever the walk over the blocks does not look at. */
static void say_verdict(struct dumper *d, struct sst_reader *r)
{
    struct sst_verify_report report;
    if (d->stopped || d->damage != NOKV_OK)
        return;
    enum nokv_status status = sst_reader_verify(r, &report);
    if (status != NOKV_OK)
        say_damage(d, status);
    else
        say(d, "sound: %llu blocks, %llu entries verified", (unsigned long long)report.blocks,
            (unsigned long long)report.entries);
}

/* The number that the table says it has: a dump has no MANIFEST to hold it against. */
static enum nokv_status number_peek(struct io *io, const char *path, uint64_t *out_number)
{
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    uint8_t bytes[24];
    TRY(io_open(io, path, IO_OTHER, IO_STD, IO_READ, &file));
    TRY(io_pread_exact(file, bytes, sizeof bytes, 0));
    *out_number = get_u64(bytes + 16);
    return io_close(TAKE(file));
}

enum nokv_status sst_dump(struct io *io, const char *path, bool (*line)(void *arg, const char *text), void *arg)
{
    struct dumper d = {.line = line, .arg = arg};
    struct sst_reader *r = NULL;
    uint64_t number = 0;
    TRY(number_peek(io, path, &number));
    enum nokv_status status = sst_reader_open(io, path, number, 0, &r);
    if (status != NOKV_OK && status != NOKV_ERR_CORRUPT && status != NOKV_ERR_NOT_SUPPORTED)
        return status;
    if (status != NOKV_OK) {
        say_damage(&d, status);
        return status;
    }
    say_frame(&d, r);
    say_blocks(&d, r);
    say_verdict(&d, r);
    sst_reader_unref(r);
    if (d.damage != NOKV_OK)
        return FAIL_WITH(d.damage, "%s %s; the dump says where", path,
                         d.damage == NOKV_ERR_NO_MEMORY ? "was not read to its end" : "is damaged");
    return NOKV_OK;
}
