// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_ycsb.c - the core workloads A to F of YCSB, and reads beside a writer.
 *
 * Cooper et al., "Benchmarking cloud serving systems with YCSB" (SoCC 2010), with its mixes and distributions:
 *
 *   A to C, E, F  scrambled Zipfian: a Zipfian number below 10^10 is hashed to one of the keys that were there when the
 *                 phase began, so that the popular keys lie scattered and stay the same ones
 *   D             the latest: Zipfian by age, the newest key first
 *
 * What differs from YCSB: an update writes the whole value, not one field of ten, and inserts come behind the last key
 * (its insertorder=ordered; the default hashes them between the others). Choosing a key costs some 20 ns more than a
 * uniform one, in every figure.
 *
 * Checks are exact: a get returns a version that was the newest at some time while it ran [M1], with one thread the
 * only one there is. A scan shows every key whose insert was acknowledged before it began, and maybe some that were
 * not. A read-modify-write holds its key, so that it must find exactly the version before its own. When the phase is
 * over, a sample of all keys is read, untimed: by then each version is known.
 */
#include <string.h>

#include "nokv_bench_workload.h"

enum { SCAN_MAX = 100, SCAN_WINDOW = 2 * SCAN_MAX + RUN_THREADS_MAX, SAMPLE_KEYS = 2000 };

#define SCRAMBLED_ITEMS 10000000000u

/* Percent; the rest are gets. */
struct mix {
    unsigned update, insert, scan, read_modify_write;
    bool latest;
};

void tracked_prepare(struct run *run)
{
    model_track(&run->model);
}

void ycsb_prepare(struct run *run)
{
    model_track(&run->model);
    zipf_init(&run->zipf, SCRAMBLED_ITEMS);
}

void ycsbd_prepare(struct run *run)
{
    model_track(&run->model);
    zipf_init(&run->zipf, model_count(&run->model));
}

void ycsb_done(struct run *run)
{
    model_inserted(&run->model);
}

void sample_check(struct worker *w)
{
    uint64_t count = model_count(&w->run->model), sample = count < SAMPLE_KEYS ? count : SAMPLE_KEYS;
    for (uint64_t i = 0; i < sample; i++)
        get_one(w, model_nth(&w->run->model, i * count / sample), true);
    w->found = 0; /* no figure of the phase */
}

static uint64_t scrambled(const struct worker *w, uint64_t count, struct bench_rng *rng)
{
    uint64_t hash = bench_mix(zipf_next(&w->run->zipf, rng) * 0x9e3779b97f4a7c15u + w->run->data.seed);
    return model_nth(&w->run->model, (uint64_t)(((unsigned __int128)hash * count) >> 64));
}

/* By age; one whose insert is not acknowledged yet gives way to the one before. */
static uint64_t latest(const struct worker *w, uint64_t count, struct bench_rng *rng)
{
    const struct model *model = &w->run->model;
    uint64_t inserted = atomic_load_explicit(&model->next, memory_order_relaxed) - model->keys;
    uint64_t rank = count + inserted - 1 - zipf_next(&w->run->zipf, rng);
    while (rank >= count && model_version(model, model_nth(model, rank)) == 0)
        rank--;
    return model_nth(model, rank);
}

static uint64_t insert_one(struct worker *w)
{
    struct model *model = &w->run->model;
    uint64_t index = model_insert(model), version = model_put_begin(model, index);
    uint64_t user_bytes = put_one(w, index, version, true);
    model_put_end(model, index, version);
    return user_bytes;
}

/* Returns the bytes of both: what came back and what was put. */
static uint64_t read_modify_write_one(struct worker *w, uint64_t index)
{
    char key[DATA_KEY_SIZE];
    struct bytes value;
    uint64_t user_bytes = 0, version = model_put_begin(&w->run->model, index);
    data_key(index, true, key);
    if (w->engine->get(w->session, (struct bytes){key, sizeof key}, &value)) {
        w->found++;
        w->wrong += !data_value_ok(&w->run->data, index, version - 1, value);
        user_bytes = DATA_KEY_SIZE + value.size;
        w->engine->get_done(w->session);
    } else {
        w->missing++;
        w->wrong++;
    }
    user_bytes += put_one(w, index, version, false);
    model_put_end(&w->run->model, index, version);
    return user_bytes;
}

/* A part of the keys, as it was acknowledged at one moment: twice what a scan wants, as every second key may be
 * deleted, and as many as there can be inserts under way. */
struct window {
    uint64_t begin, end;
    uint32_t versions[SCAN_WINDOW]; /* of begin ...; 0: not there */
};

static void window_take(struct window *window, const struct model *model, uint64_t begin, unsigned size)
{
    uint64_t next = atomic_load_explicit(&model->next, memory_order_relaxed);
    window->begin = begin;
    window->end = next - begin < size ? next : begin + size;
    for (uint64_t i = begin; i < window->end; i++)
        window->versions[i - begin] = (uint32_t)model_version(model, i);
}

static uint32_t window_version(const struct window *window, uint64_t index)
{
    return window->versions[index - window->begin];
}

/* A fresh iterator, from a key that is there, `length` entries or to the end; returns the bytes that came back. */
static uint64_t scan_some(struct worker *w, uint64_t index, unsigned length)
{
    struct window window;
    struct bytes key, value;
    char first[DATA_KEY_SIZE];
    uint64_t user_bytes = 0;
    window_take(&window, &w->run->model, index, 2 * length + w->count);
    data_key(index, true, first);
    bool valid = w->engine->seek(w->session, (struct bytes){first, sizeof first});
    unsigned seen = 0;
    for (; valid && seen < length; seen++) {
        w->engine->entry(w->session, &key, &value);
        while (index < window.end && window_version(&window, index) == 0 && !key_ok(index, key))
            index++;
        if (index == window.end)
            break;
        w->wrong += !key_ok(index, key) || !value_ok(w, index, window_version(&window, index), value);
        user_bytes += key.size + value.size;
        index++;
        valid = seen + 1 == length || w->engine->next(w->session);
    }
    w->found += seen;
    for (; !valid && index < window.end; index++) /* what the end of the data came before */
        w->wrong += window_version(&window, index) != 0;
    w->engine->scan_done(w->session);
    return user_bytes;
}

static uint64_t mix_one(struct worker *w, const struct mix *mix, uint64_t count, struct bench_rng *rng)
{
    uint64_t choice = bench_rng_below(rng, 100);
    if (choice < mix->insert)
        return insert_one(w);
    uint64_t index = mix->latest ? latest(w, count, rng) : scrambled(w, count, rng);
    choice -= mix->insert;
    if (choice < mix->update)
        return update_one(w, index);
    if (choice < mix->read_modify_write)
        return read_modify_write_one(w, index);
    if (choice < mix->scan)
        return scan_some(w, index, 1 + (unsigned)bench_rng_below(rng, SCAN_MAX));
    return get_one(w, index, true);
}

static void mix_run(struct worker *w, const struct mix *mix)
{
    struct bench_rng rng = worker_rng(w, 8);
    uint64_t count = model_count(&w->run->model), user_bytes;
    do
        user_bytes = mix_one(w, mix, count, &rng);
    while (worker_op(w, user_bytes));
}

void ycsba(struct worker *w)
{
    mix_run(w, &(struct mix){.update = 50});
}

void ycsbb(struct worker *w)
{
    mix_run(w, &(struct mix){.update = 5});
}

void ycsbc(struct worker *w)
{
    mix_run(w, &(struct mix){0});
}

void ycsbd(struct worker *w)
{
    mix_run(w, &(struct mix){.insert = 5, .latest = true});
}

void ycsbe(struct worker *w)
{
    mix_run(w, &(struct mix){.insert = 5, .scan = 95});
}

void ycsbf(struct worker *w)
{
    mix_run(w, &(struct mix){.read_modify_write = 50});
}

/* ---- reads beside a writer ------------------------------------------------------------------------------------ */

void readwhilewriting_reader(struct worker *w)
{
    struct bench_rng rng = worker_rng(w, 1);
    uint64_t count = model_count(&w->run->model), user_bytes;
    do
        user_bytes = get_one(w, live_index(w, count, &rng), true);
    while (worker_op(w, user_bytes));
}

void readwhilewriting_writer(struct worker *w)
{
    struct bench_rng rng = worker_rng(w, 9);
    uint64_t count = model_count(&w->run->model);
    do
        worker_op(w, update_one(w, live_index(w, count, &rng)));
    while (!atomic_load_explicit(w->stop, memory_order_relaxed));
}
