// SPDX-License-Identifier: Apache-2.0
/*
 * values_fixture.h - the database of db_fixture.h with small thresholds, so that values of a few KiB have all three
 * homes; values of any size that say whose they are; what is known of the segments.
 */
#ifndef TESTS_UNIT_DB_VALUES_FIXTURE_H
#define TESTS_UNIT_DB_VALUES_FIXTURE_H

#include "db_fixture.h"

/* Values of up to SEPARATION - 1 bytes are inline, from DIRECT on direct, others move to the value log in a flush. */
enum { SEPARATION = 300, DIRECT = 4096, INLINE_BYTES = 120, FLUSHED_BYTES = 1500, DIRECT_BYTES = 6000 };

static const size_t home_sizes[] = {INLINE_BYTES, FLUSHED_BYTES, DIRECT_BYTES};

static inline void values_init(struct fixture *f)
{
    fixture_init(f);
    f->options.value_separation_min = SEPARATION;
    f->options.value_direct_min = DIRECT;
    f->options.vlog_segment_bytes = 64 << 10;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static inline void sized_fill(uint64_t i, uint64_t version, uint8_t *out, size_t size)
{
    uint64_t rng = i * 1000003 + version;
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = test_random(&rng);
        memcpy(out + at, &word, size - at < 8 ? size - at : 8);
    }
}

/* For mem_free. */
static inline uint8_t *sized_make(uint64_t i, uint64_t version, size_t size)
{
    uint8_t *value = mem_alloc(size + 1);
    assert_non_null(value);
    sized_fill(i, version, value, size);
    return value;
}

static inline enum nokv_status sized_try_put(nokv_db *db, uint64_t i, uint64_t version, size_t size, nokv_sync sync)
{
    char key[24];
    nokv_write_options wo = {.struct_size = sizeof wo, .sync = sync};
    uint8_t *value = sized_make(i, version, size);
    enum nokv_status status = nokv_put(db, key, kv_key(i, key), value, size, &wo);
    mem_free(value);
    return status;
}

static inline void sized_put(nokv_db *db, uint64_t i, uint64_t version, size_t size)
{
    OK(sized_try_put(db, i, version, size, NOKV_SYNC_NONE));
}

static inline bool sized_is(uint64_t i, uint64_t version, size_t size, const void *data, size_t data_size)
{
    uint8_t *wanted = sized_make(i, version, size);
    bool same = data_size == size && memcmp(data, wanted, size) == 0;
    mem_free(wanted);
    return same;
}

/* version 0: it must be absent. */
static inline void sized_check_at(nokv_db *db, uint64_t i, uint64_t version, size_t size, const nokv_snapshot *snapshot)
{
    char key[24];
    nokv_value value = {0};
    nokv_read_options ro = {.struct_size = sizeof ro, .snapshot = snapshot};
    enum nokv_status status = nokv_get(db, key, kv_key(i, key), &ro, &value);
    if (version == 0) {
        FAILS(NOT_FOUND, status);
        return;
    }
    OK(status);
    if (!sized_is(i, version, size, value.data, value.size))
        fail_msg("%s: %zu other bytes than the %zu of version %llu", key, value.size, size,
                 (unsigned long long)version);
    nokv_value_release(&value);
}

static inline void sized_check(nokv_db *db, uint64_t i, uint64_t version, size_t size)
{
    sized_check_at(db, i, version, size, NULL);
}

/* ---- segments ---------------------------------------------------------------------------------------------------- */

struct segment_list {
    nokv_vlog_segment items[256];
    size_t count;
    uint64_t file_bytes, live_bytes, live_records;
};

static inline bool segment_list_add(void *arg, const nokv_vlog_segment *segment)
{
    struct segment_list *l = arg;
    assert_true(l->count < ARRAY_COUNT(l->items));
    l->items[l->count++] = *segment;
    l->file_bytes += segment->file_bytes;
    l->live_bytes += segment->live_bytes;
    l->live_records += segment->live_records;
    return true;
}

static inline void segments_list(nokv_db *db, struct segment_list *out)
{
    *out = (struct segment_list){0};
    OK(nokv_vlog_segments(db, segment_list_add, out));
}

static inline size_t segments_count(nokv_db *db)
{
    struct segment_list l;
    segments_list(db, &l);
    return l.count;
}

/* Checksums, order, every pointer, and the live counters against a full recount. */
static inline void verify_ok(nokv_db *db)
{
    nokv_verify_report report;
    OK(nokv_verify(db, NULL, NULL, &report));
}

/* Dead segments are gone when nothing is due. */
static inline void settle(nokv_db *db)
{
    OK(nokv_flush(db));
    OK(nokv_wait_idle(db));
}

#endif
