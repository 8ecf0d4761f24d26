// SPDX-License-Identifier: Apache-2.0
/*
 * sst_bench - what a table's operations cost on one thread, its file being in the page cache: building, point reads
 * that hit, that the filter stops and that it lets through, seeks, steps, scans.
 *
 *     sst_bench [entries (500000)] [value bytes (100)] [directory (/tmp)]
 *
 * Keys are 16 bytes, spread evenly. Each figure is the median of five rounds, in nanoseconds per operation, of elapsed
 * time and of processor time (which other processes disturb less). Every value that is read is checked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/epoch.h"
#include "nokv_bench_util.h"
#include "sst/sst.h"

enum { ROUNDS = 5, LOOKUPS = 1000000, KEY_BYTES = 16, SEEKS = 200000 };

struct bench {
    struct io *io;
    struct sst_reader *r;
    uint64_t entries;
    size_t value_bytes;
    uint8_t *value;
    struct bench_rng rng;
};

static void must(enum nokv_status status)
{
    if (status != NOKV_OK)
        bench_die("%s: %s", status_name(status), status_message());
}

/* The i-th key in order: the number, big-endian, spread over 64 bits, then a tail. Odd `salt` keys are not in the
 * table. */
static void key_make(const struct bench *b, uint64_t i, unsigned salt, uint8_t key[KEY_BYTES])
{
    uint64_t spread = UINT64_MAX / b->entries * i;
    uint64_t big = __builtin_bswap64(spread), tail = __builtin_bswap64(bench_mix(i) << 1 | salt);
    memcpy(key, &big, 8);
    memcpy(key + 8, &tail, 8);
}

/* Five times elapsed and processor time. */
struct times {
    double wall[ROUNDS], cpu[ROUNDS];
};

struct moment {
    uint64_t wall, cpu;
};

static struct moment now(void)
{
    return (struct moment){.wall = bench_clock_ns(), .cpu = bench_cpu_ns()};
}

/* What passed since `from`. */
static void times_set(struct times *t, int round, struct moment from)
{
    struct moment to = now();
    t->wall[round] = (double)(to.wall - from.wall);
    t->cpu[round] = (double)(to.cpu - from.cpu);
}

static void report(const char *name, struct times *t, double per)
{
    printf("%-34s %8.1f ns %8.1f ns processor\n", name, bench_median(t->wall, ROUNDS) / per,
           bench_median(t->cpu, ROUNDS) / per);
}

static void bench_build(struct bench *b, const char *path)
{
    const struct sst_options options = {.block_bytes = 4096, .filter_bits_per_key = 10};
    struct times add, whole;
    struct sst_info info = {0};
    for (int round = 0; round < ROUNDS; round++) {
        struct sst_builder *builder = NULL;
        uint8_t key[KEY_BYTES];
        if (io_exists(b->io, path))
            must(io_unlink(b->io, path));
        struct moment from = now();
        must(sst_builder_create(b->io, path, IO_FLUSH, IO_STD, 1, &options, &builder));
        for (uint64_t i = 0; i < b->entries; i++) {
            key_make(b, i, 0, key);
            memcpy(b->value, &i, u64_min(b->value_bytes, 8));
            must(sst_builder_add(builder, (struct ikey){slice_make(key, KEY_BYTES), key_tag(i + 1, KEY_VALUE)},
                                 slice_make(b->value, b->value_bytes)));
        }
        times_set(&add, round, from);
        must(sst_builder_finish(builder, &info));
        times_set(&whole, round, from);
        sst_builder_destroy(builder);
    }
    report("build: add, writes included", &add, (double)b->entries);
    report("build: with finish and sync", &whole, (double)b->entries);
    printf("%-34s %8.1f MiB, %.3f of the raw bytes\n", "file", (double)info.file_bytes / (1 << 20),
           (double)info.file_bytes / (double)info.raw_bytes);
}

/* Random gets of keys with this salt; the time of making the keys is taken off. Returns how many were found. */
static uint64_t bench_get(struct bench *b, const char *name, unsigned salt)
{
    struct times values;
    uint64_t found_count = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t key[KEY_BYTES];
        uint64_t sum = 0;
        struct bench_rng same = b->rng;
        struct moment t0 = now();
        for (int n = 0; n < LOOKUPS; n++) {
            key_make(b, bench_rng_below(&same, b->entries), salt, key);
            sum += key[15] + sst_key_hash(slice_make(key, KEY_BYTES));
        }
        struct moment t1 = now();
        found_count = 0;
        for (int n = 0; n < LOOKUPS; n++) {
            struct lookup found;
            uint64_t i = bench_rng_below(&b->rng, b->entries), got = 0;
            key_make(b, i, salt, key);
            struct slice k = slice_make(key, KEY_BYTES);
            must(sst_reader_get(b->r, k, sst_key_hash(k), KEY_SEQ_MAX, &found));
            if (found.found) {
                found_count++;
                memcpy(&got, found.value.data, u64_min(b->value_bytes, 8));
                if (found.value.size != b->value_bytes || (b->value_bytes >= 8 && got != i))
                    bench_die("wrong value");
            }
        }
        times_set(&values, round, t1);
        values.wall[round] -= (double)(t1.wall - t0.wall);
        values.cpu[round] -= (double)(t1.cpu - t0.cpu);
        if (sum == 0) /* so that making the keys is not optimized away */
            bench_die("impossible");
    }
    report(name, &values, LOOKUPS);
    return found_count;
}

static void bench_seek(struct bench *b, const char *name, int steps)
{
    struct times values;
    struct iter *it = NULL;
    must(sst_iter_create(b->r, &it));
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t key[KEY_BYTES];
        struct moment from = now();
        for (int n = 0; n < SEEKS; n++) {
            key_make(b, bench_rng_below(&b->rng, b->entries), 0, key);
            iter_seek(it, (struct ikey){slice_make(key, KEY_BYTES), tag_for_seek(KEY_SEQ_MAX)});
            if (!it->valid || memcmp(it->key.user.data, key, KEY_BYTES) != 0)
                bench_die("seek missed");
            for (int i = 0; i < steps && it->valid; i++)
                iter_next(it);
        }
        times_set(&values, round, from);
    }
    iter_destroy(it);
    report(name, &values, SEEKS);
}

static void bench_walk(struct bench *b, const char *name, bool scan, bool backward)
{
    struct times values;
    for (int round = 0; round < ROUNDS; round++) {
        struct iter *it = NULL;
        uint64_t count = 0;
        must(scan ? sst_scan_create(b->r, IO_COMPACTION, IO_STD, &it) : sst_iter_create(b->r, &it));
        struct moment from = now();
        if (backward) {
            for (iter_last(it); it->valid; iter_prev(it))
                count++;
        } else {
            for (iter_first(it); it->valid; iter_next(it))
                count++;
        }
        times_set(&values, round, from);
        must(it->status);
        if (count != b->entries)
            bench_die("%llu entries instead of %llu", (unsigned long long)count, (unsigned long long)b->entries);
        iter_destroy(it);
    }
    report(name, &values, (double)b->entries);
}

/* The first get of each block, which verifies it. */
static void bench_first_touch(struct bench *b, const char *path)
{
    struct times values;
    uint64_t step = 31;
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t key[KEY_BYTES];
        sst_reader_unref(b->r);
        epoch_drain();
        must(sst_reader_open(b->io, path, 1, 0, &b->r));
        struct moment from = now();
        for (uint64_t i = 0; i < b->entries; i += step) {
            struct lookup found;
            key_make(b, i, 0, key);
            struct slice k = slice_make(key, KEY_BYTES);
            must(sst_reader_get(b->r, k, sst_key_hash(k), KEY_SEQ_MAX, &found));
            if (!found.found)
                bench_die("missing");
        }
        times_set(&values, round, from);
    }
    report("get: first of its block", &values, (double)(b->entries / step));
}

int main(int argc, char **argv)
{
    struct bench b = {.entries = argc > 1 ? strtoull(argv[1], NULL, 0) : 500000,
                      .value_bytes = argc > 2 ? strtoull(argv[2], NULL, 0) : 100,
                      .rng = {1}};
    char path[512];
    if (b.entries == 0)
        bench_die("usage: sst_bench [entries] [value bytes] [directory]");
    snprintf(path, sizeof path, "%s/sst_bench.sst", argc > 3 ? argv[3] : "/tmp");
    b.value = bench_alloc(b.value_bytes + 8);
    must(epoch_register());
    must(io_real_create(&b.io));
    bench_build(&b, path);
    must(sst_reader_open(b.io, path, 1, 0, &b.r));
    bench_first_touch(&b, path);
    if (bench_get(&b, "get: hit", 0) != LOOKUPS)
        bench_die("keys are missing");
    uint64_t wrong = bench_get(&b, "get: miss", 1);
    if (wrong != 0)
        bench_die("%llu keys too many", (unsigned long long)wrong);
    bench_seek(&b, "seek", 0);
    bench_seek(&b, "seek + 50 next", 50);
    bench_walk(&b, "iterator: next", false, false);
    bench_walk(&b, "iterator: prev", false, true);
    bench_walk(&b, "scan: next", true, false);
    sst_reader_unref(b.r);
    epoch_drain();
    must(io_unlink(b.io, path));
    io_destroy(b.io);
    free(b.value);
    return 0;
}
