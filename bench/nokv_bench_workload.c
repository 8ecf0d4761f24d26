// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_workload.c - the table of workloads, and those that fill, overwrite, delete and get.
 *
 * Every value that comes back is compared whole with what must be there, every key of a scan with the one that must
 * follow; differences are counted and fail the run. What must be there is the model's business (nokv_bench_model.h).
 *
 * All engines see the same operations: a phase's random numbers depend on seed and thread only.
 */
#include "nokv_bench_workload.h"

#include <string.h>

uint64_t put_one(struct worker *w, uint64_t index, uint64_t version, bool added)
{
    char key[DATA_KEY_SIZE];
    const struct data *data = &w->run->data;
    size_t size = data_value_size(data, index);
    data_key(index, true, key);
    data_value(data, index, version, w->value);
    w->engine->put(w->session, (struct bytes){key, sizeof key}, (struct bytes){w->value, size});
    w->put_bytes += DATA_KEY_SIZE + size;
    w->live_bytes += added ? (int64_t)(DATA_KEY_SIZE + size) : 0;
    return DATA_KEY_SIZE + size;
}

uint64_t update_one(struct worker *w, uint64_t index)
{
    uint64_t version = model_put_begin(&w->run->model, index);
    uint64_t user_bytes = put_one(w, index, version, false);
    model_put_end(&w->run->model, index, version);
    return user_bytes;
}

bool value_ok(const struct worker *w, uint64_t index, uint64_t least, struct bytes value)
{
    uint64_t most = model_version_most(&w->run->model, index);
    return data_value_version(&w->run->data, index, least, most, value) != 0;
}

bool key_ok(uint64_t index, struct bytes key)
{
    char expected[DATA_KEY_SIZE];
    data_key(index, true, expected);
    return key.size == sizeof expected && memcmp(key.data, expected, sizeof expected) == 0;
}

uint64_t get_one(struct worker *w, uint64_t index, bool present)
{
    char key[DATA_KEY_SIZE];
    struct bytes value;
    uint64_t least = present ? model_version(&w->run->model, index) : 0;
    data_key(index, present, key);
    if (!w->engine->get(w->session, (struct bytes){key, sizeof key}, &value)) {
        w->missing++;
        w->wrong += present;
        return 0;
    }
    w->found++;
    w->wrong += !present || !value_ok(w, index, least, value);
    uint64_t user_bytes = DATA_KEY_SIZE + value.size;
    w->engine->get_done(w->session);
    return user_bytes;
}

/* ---- fills and overwrites ------------------------------------------------------------------------------------- */

static void fillrandom(struct worker *w)
{
    const struct data *data = &w->run->data;
    for (uint64_t i = w->index; i < data->keys; i += w->count)
        worker_op(w, put_one(w, data_permute(i, data->keys, data->seed), 1, true));
}

/* Each thread its own range, upwards. */
static void fillseq(struct worker *w)
{
    const struct data *data = &w->run->data;
    uint64_t last = data->keys * (w->index + 1) / w->count;
    for (uint64_t i = data->keys * w->index / w->count; i < last; i++)
        worker_op(w, put_one(w, i, 1, true));
}

static void durable(struct worker *w)
{
    const struct data *data = &w->run->data;
    uint64_t i = w->index, user_bytes;
    do {
        user_bytes = put_one(w, data_permute(i % data->keys, data->keys, data->seed), 1, i < data->keys);
        i += w->count;
    } while (worker_op(w, user_bytes));
}

/* Every overwrite_part-th key that is there once, in another random order. */
static void overwrite(struct worker *w)
{
    const struct run *run = w->run;
    uint64_t part = run->options->overwrite_part, count = (run->model.keys + part - 1) / part;
    for (uint64_t i = w->index; i < count; i += w->count) {
        uint64_t index = data_permute(i, count, run->data.seed + 7777 + run->generation) * part;
        if (!model_live(&run->model, index))
            continue;
        if (run->model.tracked)
            worker_op(w, update_one(w, index));
        else
            worker_op(w, put_one(w, index, model_version(&run->model, index), false));
    }
}

/* ---- deletes -------------------------------------------------------------------------------------------------- */

static void delete_one(struct worker *w, uint64_t index)
{
    char key[DATA_KEY_SIZE];
    data_key(index, true, key);
    w->engine->del(w->session, (struct bytes){key, sizeof key});
    if (model_live(&w->run->model, index))
        w->live_bytes -= (int64_t)(DATA_KEY_SIZE + data_value_size(&w->run->data, index));
    w->put_bytes += DATA_KEY_SIZE;
    worker_op(w, DATA_KEY_SIZE);
}

static void delete_even(struct worker *w)
{
    const struct run *run = w->run;
    uint64_t count = (run->model.keys + 1) / 2;
    for (uint64_t i = w->index; i < count; i += w->count)
        delete_one(w, data_permute(i, count, run->data.seed + 4444) * 2);
}

static void delete_even_done(struct run *run)
{
    model_deleted_even(&run->model);
}

static uint64_t prefix_end(const struct run *run)
{
    return run->model.keys * 9 / 10;
}

/* Each thread its own range, upwards. */
static void delete_prefix(struct worker *w)
{
    uint64_t end = prefix_end(w->run), last = end * (w->index + 1) / w->count;
    for (uint64_t i = end * w->index / w->count; i < last; i++)
        delete_one(w, i);
}

static void delete_prefix_done(struct run *run)
{
    model_deleted_below(&run->model, prefix_end(run));
}

/* ---- gets ----------------------------------------------------------------------------------------------------- */

static void readhit(struct worker *w)
{
    struct bench_rng rng = worker_rng(w, 1);
    uint64_t count = model_count(&w->run->model), user_bytes;
    do
        user_bytes = get_one(w, live_index(w, count, &rng), true);
    while (worker_op(w, user_bytes));
}

static void readmiss(struct worker *w)
{
    struct bench_rng rng = worker_rng(w, 2);
    uint64_t user_bytes;
    do
        user_bytes = get_one(w, bench_rng_below(&rng, w->run->model.keys), false);
    while (worker_op(w, user_bytes));
}

struct batch {
    uint64_t indexes[ENGINE_BATCH_MAX];
    char texts[ENGINE_BATCH_MAX][DATA_KEY_SIZE];
    struct bytes keys[ENGINE_BATCH_MAX], values[ENGINE_BATCH_MAX];
};

/* The batch in one call; returns the bytes that came back. */
static uint64_t batch_get(struct worker *w, struct batch *batch, bool present)
{
    uint64_t user_bytes = 0;
    w->engine->multi_get(w->session, ENGINE_BATCH_MAX, batch->keys, batch->values);
    for (unsigned i = 0; i < ENGINE_BATCH_MAX; i++) {
        uint64_t index = batch->indexes[i];
        struct bytes value = batch->values[i];
        w->missing += !value.data;
        w->found += value.data != NULL;
        if (present != (value.data != NULL))
            w->wrong++;
        else if (present)
            w->wrong += !value_ok(w, index, model_version(&w->run->model, index), value);
        user_bytes += value.data ? DATA_KEY_SIZE + value.size : 0;
    }
    w->engine->get_done(w->session);
    return user_bytes;
}

static void batches_get(struct worker *w, bool present)
{
    struct bench_rng rng = worker_rng(w, present ? 4 : 5);
    struct batch batch;
    uint64_t count = model_count(&w->run->model), user_bytes;
    do {
        user_bytes = 0;
        for (unsigned i = 0; i < ENGINE_BATCH_MAX; i++) {
            batch.indexes[i] = present ? live_index(w, count, &rng) : bench_rng_below(&rng, w->run->model.keys);
            if (!w->engine->multi_get) {
                user_bytes += get_one(w, batch.indexes[i], present);
                continue;
            }
            data_key(batch.indexes[i], present, batch.texts[i]);
            batch.keys[i] = (struct bytes){batch.texts[i], DATA_KEY_SIZE};
        }
        if (w->engine->multi_get)
            user_bytes = batch_get(w, &batch, present);
    } while (worker_op(w, user_bytes));
}

static void multiget(struct worker *w)
{
    batches_get(w, true);
}

static void multigetmiss(struct worker *w)
{
    batches_get(w, false);
}

/* ---- the table ------------------------------------------------------------------------------------------------ */

#define YCSB(letter, what, write, setup)                                                                         \
    {                                                                                                            \
        .name = "ycsb" #letter, .text = "YCSB " what, .body = ycsb##letter, .prepare = setup, .done = ycsb_done, \
        .check = sample_check, .timed = true, .reads = true, .writes = write, .tracks = true                     \
    }

const struct workload workloads[] = {
    {.name = "fillrandom", .text = "put every key once, in random order", .body = fillrandom, .fills = true},
    {.name = "fillseq", .text = "put every key once, in order", .body = fillseq, .fills = true},
    {.name = "durable",
     .text = "put new keys, each on stable storage before the call returns; an empty database",
     .body = durable,
     .fills = true,
     .durable = true,
     .partial = true,
     .timed = true},
    {.name = "settle",
     .text = "write out buffers, wait until no flush and no compaction is due, and sync all files",
     .whole = run_settle},
    {.name = "reopen", .text = "close and open again", .whole = run_reopen},
    {.name = "kill",
     .text = "SIGKILL the process that did all before; open and get a key (timed), then check that all is there",
     .whole = kill_reopen,
     .check = kill_check,
     .kills = true},
    {.name = "cold",
     .text = "close, drop the files' cached pages, put --memory-limit in force; open again (timed)",
     .whole = cold_open,
     .cools = true},
    {.name = "overwrite",
     .text = "put every key (see --overwrite-part) that is there again, in another random order",
     .body = overwrite,
     .overwrites = true},
    {.name = "delete",
     .text = "delete every second key, in random order",
     .body = delete_even,
     .done = delete_even_done},
    {.name = "deleteprefix",
     .text = "delete the first nine tenths of the keys, in order",
     .body = delete_prefix,
     .done = delete_prefix_done},
    {.name = "readhit", .text = "get random keys that are there", .body = readhit, .timed = true, .reads = true},
    {.name = "readmiss",
     .text = "get random keys that are not there, each between two that were put",
     .body = readmiss,
     .timed = true,
     .reads = true},
    {.name = "multiget",
     .text = "get 64 random keys that are there as one batch; one operation is one batch",
     .body = multiget,
     .timed = true,
     .reads = true},
    {.name = "multigetmiss",
     .text = "the same with keys that are not there",
     .body = multigetmiss,
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
    {.name = "rscan50",
     .text = "seek back to a random key, then 50 times prev; a fresh iterator each time",
     .body = rscan50,
     .timed = true,
     .reads = true},
    {.name = "scan",
     .text = "scan all keys and values in order; one operation is one entry",
     .body = scan,
     .reads = true},
    {.name = "readseq", .text = "another name of scan", .body = scan, .reads = true},
    {.name = "rscan", .text = "the same downwards, from the last to the first", .body = rscan, .reads = true},
    {.name = "keyscan",
     .text = "scan all keys in order and ask for no value; one operation is one entry",
     .body = keyscan,
     .reads = true},
    {.name = "tombscan",
     .text = "after delete: seek to a random key that was deleted, read the 10 entries that follow; a fresh iterator",
     .body = tombscan,
     .needs = "delete",
     .timed = true,
     .reads = true},
    {.name = "tombseek",
     .text = "after deleteprefix: seek to the first key ever put, land on the first that is left; a fresh iterator",
     .body = tombseek,
     .needs = "deleteprefix",
     .timed = true,
     .reads = true},
    YCSB(a, "A: half gets, half updates; keys as all of A to F: Zipfian, the popular ones scattered", true,
         ycsb_prepare),
    YCSB(b, "B: 95 % gets, 5 % updates", true, ycsb_prepare),
    YCSB(c, "C: gets", false, ycsb_prepare),
    YCSB(d, "D: 95 % gets, the latest keys most often, 5 % inserts behind the last key", true, ycsbd_prepare),
    YCSB(e, "E: 95 % scans of 1 to 100 entries, 5 % inserts behind the last key", true, ycsb_prepare),
    YCSB(f, "F: half gets, half read-modify-writes", true, ycsb_prepare),
    {.name = "readwhilewriting",
     .text = "readhit, while one more thread, which is not counted, overwrites random keys as fast as it can",
     .body = readwhilewriting_reader,
     .background = readwhilewriting_writer,
     .prepare = tracked_prepare,
     .check = sample_check,
     .timed = true,
     .reads = true,
     .writes = true,
     .tracks = true},
    {.name = NULL},
};

const struct workload *workload_find(const char *name, size_t length)
{
    for (const struct workload *w = workloads; w->name; w++)
        if (strlen(w->name) == length && memcmp(w->name, name, length) == 0)
            return w;
    return NULL;
}
