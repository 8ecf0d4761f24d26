// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_workload.h - what the files of workloads share: single checked operations, and the bodies of phases.
 *
 * Every function here counts what it did in the worker, but for the operation itself: that is worker_op().
 */
#ifndef NOKV_BENCH_WORKLOAD_H
#define NOKV_BENCH_WORKLOAD_H

#include "nokv_bench_run.h"

/* Put a key; returns the bytes of key and value. `added`: it was not there before. */
uint64_t put_one(struct worker *w, uint64_t index, uint64_t version, bool added);
/* Put the next version of a key that is there; several threads may. REQUIRES: the model is tracked. */
uint64_t update_one(struct worker *w, uint64_t index);
/* Get a key, present or not; returns the bytes that came back. A value must be one that was the newest meanwhile. */
uint64_t get_one(struct worker *w, uint64_t index, bool present);
/* Does the value that a get began to read when `least` was acknowledged, and that has come back, hold? */
bool value_ok(const struct worker *w, uint64_t index, uint64_t least, struct bytes value);
bool key_ok(uint64_t index, struct bytes key);

/* A key that is there, each as likely as the others. */
static inline uint64_t live_index(const struct worker *w, uint64_t count, struct bench_rng *rng)
{
    return model_nth(&w->run->model, bench_rng_below(rng, count));
}

static inline struct bench_rng worker_rng(const struct worker *w, uint64_t salt)
{
    return (struct bench_rng){bench_mix(w->run->data.seed + salt) + w->index * 0x632be59bd9b4e019u};
}

/* nokv_bench_scan.c */
void seek50(struct worker *w);
void seek50held(struct worker *w);
void rscan50(struct worker *w);
void scan(struct worker *w);
void keyscan(struct worker *w);
void rscan(struct worker *w);
void tombscan(struct worker *w);
void tombseek(struct worker *w);

/* nokv_bench_ycsb.c */
void ycsb_prepare(struct run *run);
void ycsbd_prepare(struct run *run);
void ycsb_done(struct run *run);
void ycsba(struct worker *w);
void ycsbb(struct worker *w);
void ycsbc(struct worker *w);
void ycsbd(struct worker *w);
void ycsbe(struct worker *w);
void ycsbf(struct worker *w);
void tracked_prepare(struct run *run);
void sample_check(struct worker *w);
void readwhilewriting_reader(struct worker *w);
void readwhilewriting_writer(struct worker *w);

/* nokv_bench_kill.c */
uint64_t kill_reopen(struct run *run);
void kill_check(struct worker *w);

/* nokv_bench_cold.c */
uint64_t cold_open(struct run *run);

#endif
