// SPDX-License-Identifier: Apache-2.0
/*
 * vlog_model.h - records that are known, to append and to find again. A record's key and value follow from its number
 * and its sizes, so that nothing but those has to be remembered.
 */
#ifndef TESTS_VLOG_MODEL_H
#define TESTS_VLOG_MODEL_H

#include "io/sim.h"
#include "test.h"
#include "vlog/vlog.h"

enum { SEGMENT = 7, KEY_MIN = 8 };

struct item {
    uint64_t number;
    size_t key_size; /* at least KEY_MIN */
    size_t value_size;
    struct vlog_pointer pointer;
};

static inline uint64_t item_tag(const struct item *it)
{
    return key_tag(it->number + 1, KEY_VALUE);
}

/* Bytes [off, off + size) of what `seed` stands for. */
static inline void pattern_fill(uint8_t *to, uint64_t seed, uint64_t off, size_t size)
{
    for (size_t i = 0; i < size;) {
        uint64_t state = seed ^ ((off + i) / 8 + 1) * 0x9e3779b97f4a7c15ull, word = test_random(&state);
        uint64_t skip = (off + i) % 8;
        size_t n = u64_min(8 - skip, size - i);
        memcpy(to + i, (uint8_t *)&word + skip, n);
        i += n;
    }
}

static inline void pattern_check(const uint8_t *from, uint64_t seed, uint64_t off, size_t size)
{
    uint8_t wanted[4096];
    for (size_t i = 0; i < size; i += sizeof wanted) {
        size_t n = u64_min(sizeof wanted, size - i);
        pattern_fill(wanted, seed, off + i, n);
        if (memcmp(from + i, wanted, n) != 0)
            fail_msg("value %llx: wrong bytes in [%llu, %llu)", (unsigned long long)seed, (unsigned long long)(off + i),
                     (unsigned long long)(off + i + n));
    }
}

/* The key's bytes go to `key`, which has room for KEY_SIZE_MAX. */
static inline struct slice item_key(const struct item *it, uint8_t *key)
{
    memcpy(key, &it->number, KEY_MIN);
    pattern_fill(key + KEY_MIN, it->number, 0, it->key_size - KEY_MIN);
    return slice_make(key, it->key_size);
}

static inline enum nokv_status item_append(struct vlog_writer *w, struct item *it)
{
    uint8_t *key = malloc(it->key_size), *value = malloc(it->value_size + 1);
    pattern_fill(value, it->number, 0, it->value_size);
    enum nokv_status status = vlog_append(w, (struct ikey){.user = item_key(it, key), .tag = item_tag(it)},
                                          slice_make(value, it->value_size), &it->pointer);
    free(key);
    free(value);
    return status;
}

/* As a stream, in parts of up to `part` bytes, with room for `extra` more. */
static inline enum nokv_status item_stream(struct vlog_writer *w, struct item *it, size_t part, uint64_t extra)
{
    uint8_t *key = malloc(it->key_size), *value = malloc(part);
    struct vlog_stream *s = NULL;
    enum nokv_status status = vlog_stream_begin(w, item_key(it, key), it->value_size + extra, &s);
    for (size_t off = 0; status == NOKV_OK && off < it->value_size; off += part) {
        size_t n = u64_min(part, it->value_size - off);
        pattern_fill(value, it->number, off, n);
        status = vlog_stream_append(s, slice_make(value, n));
    }
    if (status == NOKV_OK)
        status = vlog_stream_end(s, item_tag(it), &it->pointer);
    else
        vlog_stream_abandon(s);
    free(key);
    free(value);
    return status;
}

/* Value bytes [off, off + size) are right, or the call fails. */
static inline enum nokv_status item_read_range(struct vlog_reader *r, const struct item *it, uint64_t off, size_t size)
{
    uint8_t *key = malloc(it->key_size), *value = malloc(size + 1);
    value[size] = 0xee;
    enum nokv_status status = vlog_read(r, &it->pointer, item_key(it, key), off, value, size);
    if (status == NOKV_OK)
        pattern_check(value, it->number, off, size);
    assert_int_equal(value[size], 0xee);
    free(key);
    free(value);
    return status;
}

/* In place where the reader does that, and copied. */
static inline enum nokv_status item_read(struct vlog_reader *r, const struct item *it)
{
    uint8_t *key = malloc(it->key_size);
    struct slice value;
    enum nokv_status status = vlog_read_in_place(r, &it->pointer, item_key(it, key), &value);
    if (status == NOKV_OK && value.data != NULL) {
        assert_int_equal(value.size, it->value_size);
        pattern_check(value.data, it->number, 0, value.size);
    }
    free(key);
    return status == NOKV_OK ? item_read_range(r, it, 0, it->value_size) : status;
}

/* The scan's record is this one. */
static inline void item_check_record(const struct item *it, const struct vlog_record *record)
{
    uint8_t *key = malloc(it->key_size);
    assert_true(slice_equal(record->key.user, item_key(it, key)));
    assert_true(record->key.tag == item_tag(it));
    assert_int_equal(record->value_size, it->value_size);
    if (it->pointer.off != 0) /* of one that was never acknowledged it is not known */
        assert_int_equal(record->off, it->pointer.off);
    if (record->value.data != NULL) {
        assert_int_equal(record->value.size, it->value_size);
        pattern_check(record->value.data, it->number, 0, record->value.size);
    }
    free(key);
}

static inline uint64_t record_number(const struct vlog_record *record)
{
    uint64_t number = 0;
    if (record->key.user.size >= KEY_MIN)
        memcpy(&number, record->key.user.data, KEY_MIN);
    return number;
}

/* Walk to the end; every record is one of `items` (their number is their index); seen[i] counts. */
static inline enum nokv_status items_scan(const struct vlog_scan_options *options, const struct item *items,
                                          size_t count, unsigned *seen, struct vlog_scan_totals *out_totals)
{
    struct vlog_scan *s = NULL;
    enum nokv_status status = vlog_scan_open(options, &s);
    struct vlog_record record;
    bool more = true;
    while (status == NOKV_OK && (status = vlog_scan_next(s, &record, &more)) == NOKV_OK && more) {
        uint64_t number = record_number(&record);
        assert_true(number < count);
        item_check_record(&items[number], &record);
        if (record.value.data == NULL)
            assert_true(record.value_size > options->value_size_max);
        seen[number]++;
    }
    if (s != NULL && out_totals != NULL)
        *out_totals = vlog_scan_totals(s);
    vlog_scan_close(s);
    return status;
}

static inline struct vlog_writer_options model_options(struct io *io, const char *path, const char *dir)
{
    return (struct vlog_writer_options){
        .io = io, .path = path, .dir = dir, .component = IO_VLOG, .model = IO_STD, .number = SEGMENT, .salt = 0x5a17};
}

#endif
