// SPDX-License-Identifier: Apache-2.0
/*
 * tests/linear/checker.h - is a history of operations on a small map linearizable?
 *
 * An operation writes some keys or sees some keys, all at one moment between its begin and its end. A history is
 * linearizable (Herlihy, Wing: "Linearizability: a correctness condition for concurrent objects", 1990) when there is
 * such a moment for each operation, so that every one sees what was written last. The map is checked as one object, not
 * key by key: so a batch must appear as a whole, everything that a snapshot shows must be of one moment, and no two
 * readers may see two writes in different orders.
 *
 * Values are numbers that no two writes of a key share; 0 is absence, which a delete writes.
 */
#ifndef TESTS_LINEAR_CHECKER_H
#define TESTS_LINEAR_CHECKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LINEAR_KEYS = 8, LINEAR_THREADS = 32 };

struct linear_op {
    uint64_t begin, end;          /* of one counter: all different, begin < end */
    const char *name;             /* for people; static */
    uint32_t values[LINEAR_KEYS]; /* written or seen */
    uint16_t keys;                /* bit k: values[k] counts */
    uint8_t thread;               /* below LINEAR_THREADS; operations of one thread do not overlap */
    bool is_write;
};

struct linear_report {
    bool is_linearizable;
    size_t failed;      /* if not: index of the operation at whose end no order was left */
    size_t states_peak; /* most states that were possible at one time */
    size_t overlapping; /* operations that began while another one was under way */
};

/* All keys are absent at first. Any order of the operations; they are not changed. */
void linear_check(const struct linear_op *ops, size_t count, struct linear_report *out_report);

/*
 * Reduce a history that is not linearizable to a small one that is not either: fewer keys, and no operation that could
 * be left out. What is left is a part of what happened, in which the fault is to be seen. Returns the new count; the
 * operations are then sorted by begin.
 */
size_t linear_shrink(struct linear_op *ops, size_t count);

/* One line for each operation, to stderr. */
void linear_print(const struct linear_op *ops, size_t count);

#endif
