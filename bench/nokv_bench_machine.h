// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_machine.h - what a result was measured on.
 */
#ifndef NOKV_BENCH_MACHINE_H
#define NOKV_BENCH_MACHINE_H

#include <stdint.h>

struct machine_facts {
    unsigned cpus; /* online */
    uint64_t memory_bytes;
    uint64_t read_ahead_bytes;                  /* of the device, where nobody advises otherwise; 0: not told */
    char cpu[128], kernel[128], filesystem[32]; /* names; "" where the system does not tell */
};

/* `dir`: on the file system in question; must exist. */
void machine_look(const char *dir, struct machine_facts *out_facts);

#endif
