// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_child.h - this program once more, as a child whose output is read line by line; and Ctrl-C meanwhile.
 */
#ifndef NOKV_BENCH_CHILD_H
#define NOKV_BENCH_CHILD_H

#include <stdbool.h>

/* From now on SIGINT, SIGTERM and SIGHUP end the running child, not this process, and child_interrupted() is true. */
void child_interrupts_catch(void);
bool child_interrupted(void);

/* Run this program with `argv` (NULL-terminated, with argv[0]); `take` gets each line of its standard output. Returns
 * its exit code, or -1 when a signal ended it or it was not started. */
int child_run(const char *const argv[], void (*take)(void *arg, const char *line), void *arg);

#endif
