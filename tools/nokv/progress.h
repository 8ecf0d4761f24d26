// SPDX-License-Identifier: Apache-2.0
/*
 * progress.h - how far a long command is: a bar that redraws itself on a terminal, a plain line every few seconds
 * elsewhere. Written to standard error, so that standard output stays a result.
 */
#ifndef NOKV_CLI_PROGRESS_H
#define NOKV_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *label;
    bool quiet, terminal;
    uint64_t total_bytes;
    uint64_t start_ns, shown_ns;
    bool drawn; /* a bar is on the line */
};

/* total_bytes 0: not known. */
void progress_begin(struct progress *progress, const char *label, uint64_t total_bytes, bool quiet);
/* Cheap enough to be called for each file. `items` are files or entries, 0 leaves them out. */
void progress_update(struct progress *progress, uint64_t done_bytes, uint64_t items);
/* The same for work whose size nobody knows: `text` instead of a bar. */
void progress_note(struct progress *progress, const char *text);
/* Make room for a message: removes the bar, which comes back with the next update. */
void progress_clear(struct progress *progress);
#define progress_end progress_clear

#endif
