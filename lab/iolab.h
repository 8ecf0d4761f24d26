// SPDX-License-Identifier: Apache-2.0
/*
 * lab/iolab.h - the laboratory of I/O models: what standard I/O, mmap, O_DIRECT and io_uring do for each component of
 * the engine on this machine. The front door of lab/, for the command `nokv iolab`.
 *
 * It makes files of the engine's own formats below a directory of its own, measures in child processes through the
 * engine's I/O layer, prints progress and a summary, writes JSON and HTML where asked, and removes its files.
 */
#ifndef LAB_IOLAB_H
#define LAB_IOLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define IOLAB_SIZE_MIN (8ull << 20)
#define IOLAB_SIZE_MAX (1ull << 44)

struct iolab_options {
    const char *dir;       /* files go below it; must exist */
    uint64_t size_bytes;   /* of the large files; 0: 512 MiB, quick 128 MiB */
    uint64_t memory_bytes; /* the limit where memory is to be short; 0: a quarter of the size */
    bool quick;            /* shorter and fewer rounds */
    uint64_t seed;         /* of everything random */
    const char *json_path; /* NULL: none; "-": `out` gets JSON and nothing else */
    const char *html_path; /* NULL: none */
    FILE *out;             /* the summary */
    FILE *progress;        /* NULL: none */
};

enum iolab_outcome {
    IOLAB_OK,
    IOLAB_WRONG,   /* measured, but a byte that was read was not what had been written, or a model failed */
    IOLAB_STOPPED, /* by Ctrl-C; what was measured by then was reported */
    IOLAB_FAILED,  /* nothing was reported; *out_error says why */
};

enum { IOLAB_ERROR_SIZE = 512 };

/* Run all parts. One call at a time in a process; it installs handlers of SIGINT and SIGTERM while it runs. */
enum iolab_outcome iolab_run(const struct iolab_options *options, char out_error[IOLAB_ERROR_SIZE]);

#endif
