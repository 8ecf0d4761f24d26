// SPDX-License-Identifier: Apache-2.0
/*
 * What both fuzz targets do with the bytes of a table: put right checksums on them if wanted (nothing gets past those
 * otherwise, and a hostile file has right ones), and then call everything that reads a table. Nothing may crash, hang,
 * leak or read out of bounds; any status is fine.
 */
#ifndef TESTS_SST_FUZZ_H
#define TESTS_SST_FUZZ_H

#include <stdlib.h>

#include "base/epoch.h"
#include "io/sim.h"
#include "sst/block.h"
#include "sst/format.h"

static inline void fuzz_require(bool ok)
{
    if (!ok)
        abort();
}

static inline void fuzz_seal_page(uint8_t *page)
{
    put_u64(page + SST_PAGE_CHECKSUM_OFF, checksum64(page, SST_PAGE_CHECKSUM_OFF, 0));
}

/* Where the footer says that regions are, as far as they are in the file. */
static inline void fuzz_seal(uint8_t *data, size_t size)
{
    if (size < 2 * PAGE_BYTES || size % PAGE_BYTES != 0)
        return;
    uint8_t *footer = data + size - PAGE_BYTES;
    uint64_t number = get_u64(footer + 16);
    for (int i = 0; i < 3; i++) {
        uint8_t *region = footer + 48 + 24 * i;
        uint64_t off = get_u64(region), bytes = get_u64(region + 8);
        if (off <= size && bytes <= size - off && sst_pages(bytes) * PAGE_BYTES <= size - off)
            put_u64(region + 16, sst_region_checksum(data + off, bytes, number));
    }
    uint64_t from = get_u64(footer + 32), bytes = get_u64(footer + 40);
    if (from % PAGE_BYTES == 0 && from <= size && bytes <= size - from) {
        for (uint64_t off = from; off + PAGE_BYTES <= from + bytes;) {
            uint64_t extent = u64_max(sst_pages(get_u32(data + off + 4)), 1) * PAGE_BYTES;
            extent = u64_min(extent, (from + bytes - off) / PAGE_BYTES * PAGE_BYTES);
            put_u32(data + off, sst_block_checksum(data + off, extent, sst_block_seed(number, off / PAGE_BYTES)));
            off += extent;
        }
    }
    fuzz_seal_page(data);
    fuzz_seal_page(footer);
}

/* Touch every byte, for the sanitizers. */
static inline unsigned fuzz_touch(struct slice s)
{
    unsigned sum = 0;
    for (size_t i = 0; i < s.size; i++)
        sum += s.data[i];
    return sum;
}

enum { FUZZ_STEPS_MAX = 3000 }; /* of an iterator: a hostile order may not be a walk without end, but it may be long */

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

static inline void fuzz_read(struct sst_reader *r, const struct slice *keys, size_t count)
{
    struct iter *it = NULL;
    struct sst_verify_report report;
    struct lookup found;
    volatile unsigned sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (keys[i].size != 0 && sst_reader_get(r, keys[i], sst_key_hash(keys[i]), KEY_SEQ_MAX, &found) == NOKV_OK &&
            found.found)
            sum += fuzz_touch(found.value);
        sum += (unsigned)sst_reader_approximate_offset(r, keys[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        struct buf sample = {0};
        if (sst_reader_sample_key(r, i, 3, &sample) == NOKV_OK)
            sum += fuzz_touch(buf_slice(&sample));
        buf_deinit(&sample);
    }
    sum += fuzz_touch(sst_reader_smallest(r).user) + fuzz_touch(sst_reader_largest(r).user);
    fuzz_require(sst_iter_create(r, &it) == NOKV_OK);
    sum += fuzz_walk(it, keys, count) + fuzz_walk_back(it, keys, count);
    iter_destroy(it);
    if (sst_scan_create(r, IO_COMPACTION, IO_STD, &it) == NOKV_OK) {
        sum += fuzz_walk(it, keys, count);
        iter_destroy(it);
    }
    sum += sst_reader_verify(r, &report);
    (void)sum;
}

/* Put it on a simulated disk and read it in every way. */
static inline void fuzz_table(const uint8_t *data, size_t size, const struct slice *keys, size_t count)
{
    struct sim *sim = NULL;
    struct io *io = NULL;
    struct io_file *file = NULL;
    struct sst_reader *r = NULL;
    size_t said = 0;
    fuzz_require(epoch_register() == NOKV_OK);
    fuzz_require(sim_create(&(struct sim_options){.seed = 1}, &sim) == NOKV_OK && sim_io_create(sim, &io) == NOKV_OK);
    fuzz_require(io_open(io, "t", IO_OTHER, IO_STD, IO_WRITE | IO_CREATE, &file) == NOKV_OK);
    fuzz_require(io_pwrite(file, data, size, 0) == NOKV_OK && io_close(file) == NOKV_OK);
    uint64_t number = size >= 24 ? get_u64(data + 16) : 0;
    if (sst_reader_open(io, "t", number, 0, &r) == NOKV_OK) {
        fuzz_read(r, keys, count);
        sst_reader_unref(r);
    }
    if (sst_dump(io, "t", fuzz_line, &said) != NOKV_OK)
        fuzz_require(status_message()[0] != 0);
    epoch_drain();
    io_destroy(io);
    sim_destroy(sim);
}

#endif
