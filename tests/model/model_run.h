// SPDX-License-Identifier: Apache-2.0
/*
 * tests/model/model_run.h - one run of the model test: operations on a database and on the oracle, side by side.
 *
 * An operation is a kind and a seed of its own, and draws everything else from that seed. So any subset of a trace is a
 * trace again, in which each operation does what it did before as far as the state allows: what shrinking relies on.
 */
#ifndef TESTS_MODEL_MODEL_RUN_H
#define TESTS_MODEL_MODEL_RUN_H

#include <stddef.h>
#include <stdint.h>

enum op_kind {
    OP_PUT,
    OP_DELETE,
    OP_BATCH,
    OP_GET,
    OP_MULTI_GET,
    OP_PIN,      /* hold a value, or look at a held one again and release it */
    OP_ITERATE,  /* create or go on with one of a few iterators */
    OP_SNAPSHOT, /* create or release one of a few snapshots */
    OP_SCAN,     /* everything, in both directions */
    OP_FLUSH,
    OP_COMPACT,
    OP_IDLE,
    OP_VERIFY,
    OP_REOPEN,
    OP_READ_ONLY, /* close, look at everything read-only, reopen */
    OP_KIND_COUNT
};

struct op {
    enum op_kind kind;
    uint64_t seed;
    uint64_t number; /* in the trace as it was drawn */
};

/* What a run, in a process of its own, tells the one that started it. Shared memory. */
struct run_report {
    uint64_t ops_done;
    char message[1024]; /* "" while nothing went wrong */
};

const char *op_name(enum op_kind kind);
#define IO_MODELS_DRAWN SIZE_MAX
/* Run the trace in directory `dir`, which is created, and remove the database. On a difference: says so in the report
 * and exits with 1. `io_models`: the combination of I/O models (support/io_models.h), or IO_MODELS_DRAWN. */
void model_run(const char *dir, uint64_t seed, size_t io_models, const struct op *ops, size_t count,
               struct run_report *report);

#endif
