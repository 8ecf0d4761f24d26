// SPDX-License-Identifier: Apache-2.0
/*
 * Options: defaults, limits, and which I/O model makes sense where. One table of limits, so that a message can name the
 * option, what was given and what is allowed.
 *
 * Defaults that are memory depend on how much of it this process may use: in a container of 500 MB four memtables of
 * 64 MiB would take half of it from the page cache. From 2 GiB on the shares below reach what is best without a limit.
 */
#include "db/db.h"

#include <stdio.h>

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)

void nokv_options_init_sized(nokv_options *options, size_t struct_size)
{
    memset(options, 0, struct_size);
    options->struct_size = (uint32_t)struct_size;
    options->create_if_missing = true;
}

struct limit {
    const char *name;
    uint64_t value, low, high;
};

static enum nokv_status limits_check(const struct limit *limits, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (limits[i].value < limits[i].low || limits[i].value > limits[i].high)
            return FAIL(INVALID, "option %s is %llu; allowed is %llu to %llu", limits[i].name,
                        (unsigned long long)limits[i].value, (unsigned long long)limits[i].low,
                        (unsigned long long)limits[i].high);
    return NOKV_OK;
}

#define DEFAULT(field, value) \
    if (o->field == 0)        \
    o->field = (value)

/* The largest power of two that is not above `bytes`, within limits that are powers of two. */
static uint64_t share(uint64_t bytes, uint64_t low, uint64_t high)
{
    uint64_t v = high;
    while (v > low && v > bytes)
        v /= 2;
    return v;
}

static void defaults_fill(nokv_options *o, uint64_t memory)
{
    DEFAULT(sync, NOKV_SYNC_NONE);
    DEFAULT(memtable_bytes, share(memory / 32, 2 * MIB, 64 * MIB));
    DEFAULT(memtables_max, 4);
    DEFAULT(background_threads, 2);
    DEFAULT(wal_buffer_bytes, share(memory / 256, 256 * KIB, 4 * MIB));
    DEFAULT(table_bytes, 64 * MIB);
    DEFAULT(block_bytes, PAGE_BYTES);
    DEFAULT(filter_bits_per_key, 10);
    DEFAULT(level_base_bytes, u64_max(256 * MIB, o->table_bytes));
    DEFAULT(level_ratio, 10);
    DEFAULT(l0_compact_files, 2);
    DEFAULT(l0_busy_files, o->l0_compact_files > 4 ? 8 * o->l0_compact_files : 32);
    DEFAULT(l0_slowdown_files, o->l0_busy_files + o->l0_busy_files / 2);
    DEFAULT(l0_stop_files, 2 * o->l0_slowdown_files);
    DEFAULT(block_cache_bytes, share(memory / 4, 4 * MIB, GIB));
    DEFAULT(wal_write, NOKV_IO_STD);
    DEFAULT(value_separation_min, 512);
    DEFAULT(value_direct_min, o->value_separation_min > 16 * KIB ? o->value_separation_min : 16 * KIB);
    DEFAULT(vlog_segment_bytes, 256 * MIB);
    DEFAULT(vlog_space_amp_max, 1.3);
    DEFAULT(vlog_write, NOKV_IO_DIRECT);
}

static enum nokv_status models_check(const nokv_options *o)
{
    if (o->wal_write == NOKV_IO_MMAP)
        return FAIL(INVALID,
                    "option wal_write: a mapped log cannot say when its bytes are durable, and a full disk would "
                    "be a signal; use NOKV_IO_STD, NOKV_IO_DIRECT or NOKV_IO_URING");
    if (o->background_io == NOKV_IO_MMAP)
        return FAIL(INVALID, "option background_io: data files are never written through a mapping; use NOKV_IO_STD, "
                             "NOKV_IO_DIRECT or NOKV_IO_URING");
    if (o->vlog_write == NOKV_IO_MMAP)
        return FAIL(INVALID, "option vlog_write: data files are never written through a mapping; use NOKV_IO_STD, "
                             "NOKV_IO_DIRECT or NOKV_IO_URING");
    struct limit limits[] = {
        {"sst_read", o->sst_read, NOKV_IO_DEFAULT, NOKV_IO_URING},
        {"vlog_write", o->vlog_write, NOKV_IO_STD, NOKV_IO_URING},
        {"vlog_read", o->vlog_read, NOKV_VLOG_READ_AUTO, NOKV_VLOG_READ_URING},
        {"wal_write", o->wal_write, NOKV_IO_STD, NOKV_IO_URING},
        {"background_io", o->background_io, NOKV_IO_DEFAULT, NOKV_IO_URING},
        {"huge_pages", o->huge_pages, NOKV_HUGE_PAGES_DEFAULT, NOKV_HUGE_PAGES_ON},
    };
    return limits_check(limits, ARRAY_COUNT(limits));
}

static enum nokv_status options_check(const nokv_options *o)
{
    struct limit limits[] = {
        {"sync", o->sync, NOKV_SYNC_NONE, NOKV_SYNC_COMMIT},
        {"memtable_bytes", o->memtable_bytes, 64 * KIB, 4 * GIB},
        {"memtables_max", o->memtables_max, 2, IMMUTABLES_MAX + 1},
        {"background_threads", o->background_threads, 1, 64},
        {"wal_buffer_bytes", o->wal_buffer_bytes, 64 * KIB, GIB},
        {"table_bytes", o->table_bytes, 64 * KIB, 4 * GIB},
        {"block_bytes", o->block_bytes, PAGE_BYTES, 64 * KIB},
        {"filter_bits_per_key", o->filter_bits_per_key == UINT32_MAX ? 1 : o->filter_bits_per_key, 1, 32},
        {"level_base_bytes", o->level_base_bytes, o->table_bytes, 1ull << 50},
        {"level_ratio", o->level_ratio, 2, 100},
        {"l0_compact_files", o->l0_compact_files, 2, 256},
        {"l0_busy_files", o->l0_busy_files, o->l0_compact_files, 4096},
        {"l0_slowdown_files", o->l0_slowdown_files, o->l0_busy_files, 16384},
        {"l0_stop_files", o->l0_stop_files, o->l0_slowdown_files + 1, 65536},
        {"value_separation_min", o->value_separation_min, 32, UINT32_MAX},
        {"value_direct_min", o->value_direct_min, o->value_separation_min, UINT32_MAX},
        {"block_cache_bytes", o->block_cache_bytes, CACHE_BYTES_MIN, CACHE_BYTES_MAX},
        {"vlog_segment_bytes", o->vlog_segment_bytes, 64 * KIB, 64 * GIB},
    };
    TRY(limits_check(limits, ARRAY_COUNT(limits)));
    if (!is_power_of_two(o->wal_buffer_bytes))
        return FAIL(INVALID, "option wal_buffer_bytes is %llu, which is not a power of two",
                    (unsigned long long)o->wal_buffer_bytes);
    if (o->block_bytes % PAGE_BYTES != 0)
        return FAIL(INVALID, "option block_bytes is %u, which is not a multiple of %u", o->block_bytes, PAGE_BYTES);
    if (!(o->vlog_space_amp_max >= 1.05 && o->vlog_space_amp_max <= 1000))
        return FAIL(INVALID, "option vlog_space_amp_max is %g; allowed is 1.05 to 1000", o->vlog_space_amp_max);
    return models_check(o);
}

enum nokv_status call_options_copy(const void *given, const char *type, size_t size, void *out_options)
{
    uint32_t given_size = 0;
    memcpy(&given_size, given, sizeof given_size); /* every options struct begins with it */
    if (given_size < sizeof given_size || given_size > 64 * KIB)
        return FAIL(INVALID, "%s.struct_size is %u: set it to sizeof(%s), nokv_options with nokv_options_init()", type,
                    given_size, type);
    const uint8_t *bytes = given;
    for (size_t i = size; i < given_size; i++)
        if (bytes[i] != 0)
            return FAIL(NOT_SUPPORTED, "the caller sets an option that this version (%s) of %s does not have",
                        nokv_version(), type);
    memset(out_options, 0, size);
    memcpy(out_options, given, u64_min(size, given_size));
    return NOKV_OK;
}

enum nokv_status options_resolve(const nokv_options *given, uint64_t memory, nokv_options *out_options)
{
    nokv_options o;
    nokv_options_init(&o);
    if (given)
        TRY(call_options_copy(given, "nokv_options", sizeof o, &o));
    o.struct_size = sizeof o;
    defaults_fill(&o, memory);
    TRY(options_check(&o));
    *out_options = o;
    return NOKV_OK;
}
