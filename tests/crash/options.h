// SPDX-License-Identifier: Apache-2.0
/*
 * tests/crash/options.h - options of a database under which everything happens often: drawn from a seed.
 */
#ifndef TESTS_CRASH_OPTIONS_H
#define TESTS_CRASH_OPTIONS_H

#include "nokv/nokv.h"

/* Tiny thresholds, all three homes of a value, any model of I/O; background work inside of the calls. */
void crash_options_draw(nokv_options *o, uint64_t seed);

#endif
