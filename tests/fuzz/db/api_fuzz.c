// SPDX-License-Identifier: Apache-2.0
/*
 * api_fuzz.c - any string of calls on a sound database: writes of all kinds, reads of all kinds, snapshots, iterators,
 * flushes, compactions, collections, closing, kills and power cuts, with options that change at each opening.
 *
 * Input: the choice of options (CALL_HEAD bytes), then calls of CALL_BYTES (calls.h), CALLS_MAX of them at the most.
 *
 * Checked: no call fails, and every answer is that of a plain array of keys; at the end all keys, and once more after
 * another opening.
 *
 * The mutator moves, doubles and changes whole calls.
 */
#include "calls.h"

enum { CALLS_MAX = 100 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim *sim = NULL;
    if (size < CALL_HEAD)
        return 0;
    fuzz_must(sim_create(&(struct sim_options){.seed = hash64(data, size)}, &sim) == NOKV_OK, "sim");
    struct calls *c = calls_create(sim, data, false);
    fuzz_must(calls_open(c), "open");
    calls_run(c, data + CALL_HEAD, u64_min(size - CALL_HEAD, CALLS_MAX * CALL_BYTES));
    calls_check_all(c);
    calls_close(c, size & 1);
    sim_process_kill(sim);
    fuzz_must(calls_open(c), "open again");
    calls_check_all(c);
    calls_close(c, false);
    calls_destroy(c);
    sim_destroy(sim);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    return fuzz_mutate_units(data, size, max_size, CALL_HEAD, CALL_BYTES, &random);
}
