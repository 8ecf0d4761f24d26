// SPDX-License-Identifier: Apache-2.0
/*
 * table_fuzz.h - everything that reads a table, called on one of any bytes: through a mapping and with copied blocks,
 * key by key, many keys at once, walked over, verified, dumped. Nothing may crash, hang, leak or read out of bounds;
 * any status is fine.
 */
#ifndef TESTS_FUZZ_SST_TABLE_FUZZ_H
#define TESTS_FUZZ_SST_TABLE_FUZZ_H

#include "../fuzz.h"
#include "../memory_io.h"
#include "sst_fuzz.h"

static inline unsigned fuzz_walk(struct iter *it, const struct slice *keys, size_t count)
{
    unsigned sum = 0;
    int steps = 0;
    for (iter_first(it); it->valid && steps < FUZZ_STEPS_MAX; iter_next(it), steps++)
        sum += fuzz_touch(it->key.user) + fuzz_touch(it->value);
    for (size_t i = 0; i < count; i++) {
        iter_seek(it, (struct ikey){.user = keys[i], .tag = tag_for_seek(KEY_SEQ_MAX)});
        for (steps = 0; it->valid && steps < 20; iter_next(it), steps++)
            sum += fuzz_touch(it->key.user);
    }
    return sum;
}

static inline unsigned fuzz_walk_back(struct iter *it, const struct slice *keys, size_t count)
{
    unsigned sum = 0;
    int steps = 0;
    for (iter_last(it); it->valid && steps < FUZZ_STEPS_MAX; iter_prev(it), steps++)
        sum += fuzz_touch(it->key.user) + fuzz_touch(it->value);
    for (size_t i = 0; i < count; i++) {
        iter_seek_for_prev(it, (struct ikey){.user = keys[i], .tag = key_tag(3, KEY_VALUE)});
        for (steps = 0; it->valid && steps < 20; steps++) {
            sum += fuzz_touch(it->key.user);
            if (steps % 3)
                iter_prev(it);
            else
                iter_next(it);
        }
    }
    return sum;
}

static inline bool fuzz_line(void *arg, const char *line)
{
    *(size_t *)arg += strlen(line);
    return *(size_t *)arg < 100000;
}

/* Many keys at once. */
static inline unsigned fuzz_probe(struct sst_reader *r, const struct slice *keys, size_t count)
{
    struct sst_probe probes[16];
    struct io_hints hints = {0};
    struct sst_reader *const readers[] = {r, r};
    unsigned sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < count && n < ARRAY_COUNT(probes); i++)
        if (keys[i].size != 0)
            probes[n++] = (struct sst_probe){.user_key = keys[i],
                                             .hash = sst_key_hash(keys[i]),
                                             .seq = KEY_SEQ_MAX,
                                             .readers = readers,
                                             .reader_count = 2,
                                             .state = SST_PROBE_NEXT};
    for (int round = 0; round < 3; round++) {
        sst_probes_plan(probes, n);
        sst_probes_fetch(probes, n, round == 0, &hints);
        sst_probes_look(probes, n);
    }
    for (size_t i = 0; i < n; i++) {
        if (probes[i].state == SST_PROBE_FOUND)
            sum += fuzz_touch(probes[i].lookup.value);
        if (probes[i].lookup.holder != NULL)
            cache_block_unref(probes[i].lookup.holder);
        fuzz_must(probes[i].held == NULL, "a block is left");
    }
    return sum;
}

/* One key, the blocks in place or copied. */
static inline unsigned fuzz_get(struct sst_reader *r, struct slice key, bool cold)
{
    struct lookup found = {0};
    unsigned sum = 0;
    uint64_t hash = sst_key_hash(key);
    if (key.size == 0)
        return 0;
    enum nokv_status status = cold ? sst_reader_get_cold(r, key, hash, KEY_SEQ_MAX, &found)
                                   : sst_reader_get(r, key, hash, KEY_SEQ_MAX, &found);
    if (status == NOKV_OK && found.found)
        sum = fuzz_touch(found.value);
    if (found.holder != NULL)
        cache_block_unref(found.holder);
    return sum;
}

static inline void fuzz_read(struct sst_reader *r, const struct slice *keys, size_t count)
{
    struct iter *it = NULL;
    struct sst_verify_report report;
    volatile unsigned sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += fuzz_get(r, keys[i], false) + fuzz_get(r, keys[i], !sst_reader_is_copied(r));
        sum += (unsigned)sst_reader_approximate_offset(r, keys[i]);
    }
    sum += fuzz_probe(r, keys, count);
    sst_reader_ref(r);
    sst_reader_pin(r);
    sst_reader_populate(r);
    if (sst_reader_warm(r) == NOKV_OK)
        sum += (unsigned)(sst_reader_warm_bytes(r) + sst_reader_resident_bytes(r) + sst_reader_number(r) +
                          sst_reader_info(r)->entries);
    fuzz_must(!sst_reader_contains(r, keys, 1) && !sst_reader_is_faulted(r), "a table of other bytes than its own");
    sst_reader_unpin(r);
    sst_reader_unref(r);
    for (size_t i = 0; i < 3; i++) {
        struct buf sample = {0};
        if (sst_reader_sample_key(r, i, 3, &sample) == NOKV_OK)
            sum += fuzz_touch(buf_slice(&sample));
        buf_deinit(&sample);
    }
    sum += fuzz_touch(sst_reader_smallest(r).user) + fuzz_touch(sst_reader_largest(r).user);
    if (sst_iter_create(r, &it) == NOKV_OK) {
        sum += fuzz_walk(it, keys, count) + fuzz_walk_back(it, keys, count);
        iter_destroy(it);
    }
    if (sst_scan_create(r, IO_COMPACTION, IO_STD, &it) == NOKV_OK) {
        sum += fuzz_walk(it, keys, count);
        iter_destroy(it);
    }
    sum += sst_reader_verify(r, &report);
    (void)sum;
}

/* `is_copied`: blocks are copied into a cache. */
static inline void fuzz_table_as(struct io *io, uint64_t number, bool is_copied, const struct slice *keys, size_t count)
{
    static struct cache *cache; /* a table's blocks leave it with its reader */
    struct sst_reader *r = NULL;
    if (cache == NULL)
        fuzz_require(cache_create(1 << 20, &cache) == NOKV_OK);
    const struct sst_access access = {.is_copied = is_copied, .model = IO_STD, .cache = cache};
    if (sst_reader_open_with(io, "t", number, 0, &access, &r) == NOKV_OK) {
        fuzz_read(r, keys, count);
        sst_reader_unref(r);
    }
    epoch_drain();
}

/* The same with one allocation that fails: an error of that kind, or none. */
static inline void fuzz_table_short_of_memory(struct io *io, uint64_t number, const struct slice *keys, size_t count,
                                              uint64_t allocation)
{
    mem_fail_after(allocation);
    fuzz_table_as(io, number, allocation & 1, keys, count);
    mem_fail_after(UINT64_MAX);
}

/* Put it on the disk and read it in every way. */
static inline void fuzz_table(const uint8_t *data, size_t size, const struct slice *keys, size_t count)
{
    struct io *io = memory_io();
    size_t said = 0;
    fuzz_require(epoch_register() == NOKV_OK);
    memory_io_put("t", data, size);
    uint64_t number = size >= 24 ? get_u64(data + 16) : 0, allocation;
    fuzz_table_as(io, number, false, keys, count);
    if (fuzz_short_of_memory(data, size, &allocation))
        fuzz_table_short_of_memory(io, number, keys, count, allocation);
    fuzz_table_as(io, number, true, keys, count);
    if (sst_dump(io, "t", fuzz_line, &said) != NOKV_OK)
        fuzz_require(status_message()[0] != 0);
}

#endif
