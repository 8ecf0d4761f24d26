// SPDX-License-Identifier: Apache-2.0
/*
 * tests/crash/sweep_hooks.h - the k-th allocation, or the k-th call of the I/O interface, fails.
 *
 * The linker leads every call of base/alloc.h and io/io.h from another source file through this one (--wrap; see the
 * CMakeLists), so that a test knows from where each came: it can fail them one after the other, count what is not given
 * back, and say which call sites of the engine have been made to fail. Nothing in the engine knows of it.
 *
 * One thread: the sweeps run background work inline.
 */
#ifndef TESTS_CRASH_SWEEP_HOOKS_H
#define TESTS_CRASH_SWEEP_HOOKS_H

#include "io/sim.h"

enum sweep_target {
    SWEEP_NOTHING,
    SWEEP_ALLOCATIONS,
    SWEEP_IO,
    SWEEP_BOTH, /* an allocation; and from then on no call of the I/O interface succeeds */
};

/* What a call of the I/O interface may fail with, as bits. */
enum sweep_errno { SWEEP_EIO = 1, SWEEP_ENOSPC = 2, SWEEP_EMFILE = 4, SWEEP_ENOMEM = 8, SWEEP_EINTR = 16 };

struct sweep_plan {
    enum sweep_target target;
    uint64_t k; /* the call that fails, from 1 on; UINT64_MAX: none does, they are counted */
    enum sweep_errno err;
    bool is_sticky;  /* and all behind it */
    struct sim *sim; /* NULL: the real disk; the call is not made then */
};

/* From now on calls are counted, and fail as planned. */
void sweep_begin(const struct sweep_plan *plan);
void sweep_end(void);
uint64_t sweep_calls(void); /* since the last begin, of its target */
bool sweep_has_failed(void);
bool sweep_sync_failed(void); /* one of those that failed was to make something durable */
/* What call number `k` (from 1 on) of the last counted I/O run may fail with; 0: nothing that fits. */
unsigned sweep_errors_of(uint64_t k);
/* Has the site of call number `k` of the last counted run never been made to fail? */
bool sweep_is_new(uint64_t k);
int64_t sweep_live(void); /* allocations that were not given back, of this process */

/* Append "offset failed" for each call site that was seen to a file, for sweep_sites.py. */
void sweep_sites_write(const char *path);

#endif
