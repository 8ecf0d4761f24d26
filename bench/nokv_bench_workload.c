// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_workload.c - what the threads of each phase do.
 *
 * Every value that comes back is compared whole with what must be there, every key of a scan with the one that must
 * follow; differences are counted and fail the run. The keys present are always all of 0 .. keys - 1 (fills and
 * overwrites are permutations, not draws), so each check is exact and needs no memory of what was written.
 *
 * All engines see the same operations: a phase's random numbers depend on seed and thread only.
 */
#include <stdlib.h>
#include <string.h>

#include "nokv_bench_run.h"

enum { SCAN_LENGTH = 50 };

static uint64_t version_of(const struct run *run, uint64_t index)
{
    return 1 + (index % run->options->overwrite_part == 0 ? run->generation : 0);
}

static void put_one(struct worker *w, uint64_t index, uint64_t version, uint8_t *value)
{
    char key[DATA_KEY_SIZE];
    const struct data *data = &w->run->data;
    data_key(index, true, key);
    data_value(data, index, version, value);
    w->engine->put(w->session, (struct bytes){key, sizeof key}, (struct bytes){value, data->value_size});
}

static void fillrandom(struct worker *w)
{
    const struct data *data = &w->run->data;
    uint8_t *value = bench_alloc(data->value_size);
    for (uint64_t i = w->index; i < data->keys; i += w->count) {
        put_one(w, data_permute(i, data->keys, data->seed), 1, value);
        worker_op(w, DATA_KEY_SIZE + data->value_size);
    }
    free(value);
}

/* Each thread its own range, upwards. */
static void fillseq(struct worker *w)
{
    const struct data *data = &w->run->data;
    uint8_t *value = bench_alloc(data->value_size);
    uint64_t last = data->keys * (w->index + 1) / w->count;
    for (uint64_t i = data->keys * w->index / w->count; i < last; i++) {
        put_one(w, i, 1, value);
        worker_op(w, DATA_KEY_SIZE + data->value_size);
    }
    free(value);
}

/* Every overwrite_part-th key once, in another random order. */
static void overwrite(struct worker *w)
{
    struct run *run = w->run;
    const struct data *data = &run->data;
    uint64_t part = run->options->overwrite_part, count = (data->keys + part - 1) / part;
    uint8_t *value = bench_alloc(data->value_size);
    for (uint64_t i = w->index; i < count; i += w->count) {
        uint64_t index = data_permute(i, count, data->seed + 7777 + run->generation) * part;
        put_one(w, index, 1 + run->generation, value);
        worker_op(w, DATA_KEY_SIZE + data->value_size);
    }
    free(value);
}

static void durable(struct worker *w)
{
    const struct data *data = &w->run->data;
    uint8_t *value = bench_alloc(data->value_size);
    uint64_t i = w->index;
    do {
        put_one(w, data_permute(i % data->keys, data->keys, data->seed), 1, value);
        i += w->count;
    } while (worker_op(w, DATA_KEY_SIZE + data->value_size));
    free(value);
}

static struct bench_rng worker_rng(const struct worker *w, uint64_t salt)
{
    return (struct bench_rng){bench_mix(w->run->data.seed + salt) + w->index * 0x632be59bd9b4e019u};
}

/* Get a key; a value that comes back must be the right one. */
static void get_one(struct worker *w, uint64_t index, bool present, uint64_t *user_bytes)
{
    char key[DATA_KEY_SIZE];
    struct bytes value;
    data_key(index, present, key);
    if (!w->engine->get(w->session, (struct bytes){key, sizeof key}, &value)) {
        w->missing++;
        w->wrong += present;
        return;
    }
    w->found++;
    w->wrong += !present || !data_value_ok(&w->run->data, index, version_of(w->run, index), value);
    *user_bytes = DATA_KEY_SIZE + value.size;
    w->engine->get_done(w->session);
}

static void get_many(struct worker *w, bool present)
{
    struct bench_rng rng = worker_rng(w, present ? 1 : 2);
    uint64_t user_bytes;
    do {
        user_bytes = 0;
        get_one(w, bench_rng_below(&rng, w->run->data.keys), present, &user_bytes);
    } while (worker_op(w, user_bytes));
}

static void readhit(struct worker *w)
{
    get_many(w, true);
}

static void readmiss(struct worker *w)
{
    get_many(w, false);
}

static bool key_ok(uint64_t index, struct bytes key)
{
    char expected[DATA_KEY_SIZE];
    data_key(index, true, expected);
    return key.size == sizeof expected && memcmp(key.data, expected, sizeof expected) == 0;
}

/* The scan stands on an entry: is it key `index` with its value? */
static bool entry_ok(struct worker *w, uint64_t index)
{
    struct bytes key, value;
    w->engine->entry(w->session, &key, &value);
    return key_ok(index, key) && data_value_ok(&w->run->data, index, version_of(w->run, index), value);
}

/* The same for a scan that looks at keys only. */
static bool entry_key_ok(struct worker *w, uint64_t index)
{
    struct bytes key;
    w->engine->key(w->session, &key);
    return key_ok(index, key);
}

/* Seek to a key that is present, then step on; returns how many entries came back. */
static uint64_t scan_one(struct worker *w, uint64_t index)
{
    char key[DATA_KEY_SIZE];
    data_key(index, true, key);
    uint64_t seen = 0, keys = w->run->data.keys;
    uint64_t wanted = keys - index < SCAN_LENGTH + 1 ? keys - index : SCAN_LENGTH + 1;
    for (bool valid = w->engine->seek(w->session, (struct bytes){key, sizeof key}); valid;) {
        w->wrong += !entry_ok(w, index + seen);
        if (++seen == SCAN_LENGTH + 1)
            break;
        valid = w->engine->next(w->session);
    }
    w->wrong += seen != wanted;
    w->found += seen;
    return seen;
}

static void scan_many(struct worker *w, bool fresh)
{
    struct bench_rng rng = worker_rng(w, 3);
    uint64_t seen;
    do {
        seen = scan_one(w, bench_rng_below(&rng, w->run->data.keys));
        if (fresh)
            w->engine->scan_done(w->session);
    } while (worker_op(w, seen * (DATA_KEY_SIZE + w->run->data.value_size)));
    w->engine->scan_done(w->session);
}

static void seek50(struct worker *w)
{
    scan_many(w, true);
}

static void seek50held(struct worker *w)
{
    scan_many(w, false);
}

/* Each thread its own range, upwards, one entry per operation, `user_bytes` of it. */
static void scan_all(struct worker *w, bool (*ok)(struct worker *w, uint64_t index), uint64_t user_bytes)
{
    const struct data *data = &w->run->data;
    uint64_t index = data->keys * w->index / w->count, last = data->keys * (w->index + 1) / w->count;
    char key[DATA_KEY_SIZE];
    data_key(index, true, key);
    bool valid = w->engine->seek(w->session, (struct bytes){key, sizeof key});
    while (valid && index < last) {
        w->wrong += !ok(w, index++);
        w->found++;
        worker_op(w, user_bytes);
        valid = index < last && w->engine->next(w->session);
    }
    w->wrong += last - index;
    w->engine->scan_done(w->session);
}

static void scan(struct worker *w)
{
    scan_all(w, entry_ok, DATA_KEY_SIZE + w->run->data.value_size);
}

static void keyscan(struct worker *w)
{
    scan_all(w, entry_key_ok, DATA_KEY_SIZE);
}

const struct workload workloads[] = {
    {.name = "fillrandom", .text = "put every key once, in random order", .body = fillrandom, .fills = true},
    {.name = "fillseq", .text = "put every key once, in order", .body = fillseq, .fills = true},
    {.name = "durable",
     .text = "put new keys, each on stable storage before the call returns; an empty database",
     .body = durable,
     .fills = true,
     .durable = true,
     .timed = true},
    {.name = "settle",
     .text = "write out buffers, wait until no flush and no compaction is due, and sync all files",
     .whole = run_settle},
    {.name = "reopen", .text = "close and open again", .whole = run_reopen},
    {.name = "overwrite",
     .text = "put every key (see --overwrite-part) again, in another random order",
     .body = overwrite,
     .overwrites = true},
    {.name = "readhit", .text = "get random keys that are there", .body = readhit, .timed = true, .reads = true},
    {.name = "readmiss",
     .text = "get random keys that are not there, each between two that are",
     .body = readmiss,
     .timed = true,
     .reads = true},
    {.name = "seek50",
     .text = "seek to a random key, then 50 times next; a fresh iterator each time",
     .body = seek50,
     .timed = true,
     .reads = true},
    {.name = "seek50held",
     .text = "the same with one iterator for all",
     .body = seek50held,
     .timed = true,
     .reads = true},
    {.name = "scan",
     .text = "scan all keys and values in order; one operation is one entry",
     .body = scan,
     .reads = true},
    {.name = "readseq", .text = "another name of scan", .body = scan, .reads = true},
    {.name = "keyscan",
     .text = "scan all keys in order and ask for no value; one operation is one entry",
     .body = keyscan,
     .reads = true},
    {.name = NULL},
};

const struct workload *workload_find(const char *name, size_t length)
{
    for (const struct workload *w = workloads; w->name; w++)
        if (strlen(w->name) == length && memcmp(w->name, name, length) == 0)
            return w;
    return NULL;
}
