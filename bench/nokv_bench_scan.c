// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_scan.c - workloads that walk: short scans and whole ones, upwards and downwards, and over what was
 * deleted.
 *
 * Nobody writes while these run, so each entry must be exactly the one that the model says follows: a key that was
 * deleted and shows up, or one that is left out, is an error.
 */
#include "nokv_bench_workload.h"

enum { SCAN_LENGTH = 50, TOMBSCAN_LENGTH = 10 };

/* The scan stands on an entry: is it key `index` with its value? Adds the bytes of both. */
static bool entry_ok(struct worker *w, uint64_t index, uint64_t *user_bytes)
{
    struct bytes key, value;
    w->engine->entry(w->session, &key, &value);
    *user_bytes += key.size + value.size;
    return key_ok(index, key) && value_ok(w, index, model_version(&w->run->model, index), value);
}

/* The same for a scan that looks at keys only. */
static bool entry_key_ok(struct worker *w, uint64_t index, uint64_t *user_bytes)
{
    struct bytes key;
    w->engine->key(w->session, &key);
    *user_bytes += key.size;
    return key_ok(index, key);
}

static bool seek_to(struct worker *w, uint64_t index, bool back)
{
    char key[DATA_KEY_SIZE];
    data_key(index, true, key);
    return (back ? w->engine->seek_back : w->engine->seek)(w->session, (struct bytes){key, sizeof key});
}

/* The entry that must be at `index` or behind it, in the direction of the scan; MODEL_NONE: the end. */
static uint64_t entry_from(const struct worker *w, uint64_t index, bool back)
{
    return back ? model_at_or_before(&w->run->model, index) : model_at_or_after(&w->run->model, index);
}

static uint64_t entry_behind(const struct worker *w, uint64_t index, bool back)
{
    if (back)
        return index ? entry_from(w, index - 1, true) : MODEL_NONE;
    return entry_from(w, index + 1, false);
}

/* Seek to a key, there or not, and read up to `length` entries; returns the bytes that came back. */
static uint64_t scan_one(struct worker *w, uint64_t index, unsigned length, bool back)
{
    uint64_t user_bytes = 0, expected = entry_from(w, index, back);
    bool valid = seek_to(w, index, back);
    for (unsigned seen = 0; valid && expected != MODEL_NONE;) {
        w->wrong += !entry_ok(w, expected, &user_bytes);
        w->found++;
        if (++seen == length)
            return user_bytes;
        expected = entry_behind(w, expected, back);
        valid = (back ? w->engine->prev : w->engine->next)(w->session);
    }
    w->wrong += valid || expected != MODEL_NONE; /* one of the two ended before the other */
    return user_bytes;
}

static void scan_many(struct worker *w, bool fresh, bool back)
{
    struct bench_rng rng = worker_rng(w, 3);
    uint64_t count = model_count(&w->run->model), user_bytes;
    do {
        user_bytes = scan_one(w, live_index(w, count, &rng), SCAN_LENGTH + 1, back);
        if (fresh)
            w->engine->scan_done(w->session);
    } while (worker_op(w, user_bytes));
    w->engine->scan_done(w->session);
}

void seek50(struct worker *w)
{
    scan_many(w, true, false);
}

void seek50held(struct worker *w)
{
    scan_many(w, false, false);
}

void rscan50(struct worker *w)
{
    scan_many(w, true, true);
}

/* Each thread its own range, one entry per operation. */
static void scan_all(struct worker *w, bool (*ok)(struct worker *w, uint64_t index, uint64_t *user_bytes), bool back)
{
    uint64_t keys = w->run->model.keys, begin = keys * w->index / w->count, end = keys * (w->index + 1) / w->count;
    if (begin == end)
        return;
    uint64_t expected = entry_from(w, back ? end - 1 : begin, back);
    bool valid = seek_to(w, back ? end - 1 : begin, back);
    while (valid && expected != MODEL_NONE && begin <= expected && expected < end) {
        uint64_t user_bytes = 0;
        w->wrong += !ok(w, expected, &user_bytes);
        w->found++;
        worker_op(w, user_bytes);
        expected = entry_behind(w, expected, back);
        valid = (back ? w->engine->prev : w->engine->next)(w->session);
    }
    w->wrong += valid != (expected != MODEL_NONE);
    w->engine->scan_done(w->session);
}

void scan(struct worker *w)
{
    scan_all(w, entry_ok, false);
}

void keyscan(struct worker *w)
{
    scan_all(w, entry_key_ok, false);
}

void rscan(struct worker *w)
{
    scan_all(w, entry_ok, true);
}

/* From a key that was deleted to the entries behind it: most of what the engine meets between them is deleted. */
void tombscan(struct worker *w)
{
    struct bench_rng rng = worker_rng(w, 6);
    uint64_t deleted = (w->run->model.odd_end + 1) / 2, user_bytes;
    do {
        user_bytes = scan_one(w, 2 * bench_rng_below(&rng, deleted), TOMBSCAN_LENGTH, false);
        w->engine->scan_done(w->session);
    } while (worker_op(w, user_bytes));
}

void tombseek(struct worker *w)
{
    uint64_t user_bytes;
    do {
        user_bytes = scan_one(w, 0, 1, false);
        w->engine->scan_done(w->session);
    } while (worker_op(w, user_bytes));
}
