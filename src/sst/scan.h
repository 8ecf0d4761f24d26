// SPDX-License-Identifier: Apache-2.0
/*
 * sst/scan.h - the data region read through once, block after block, by ordinary reads: for merges and verification.
 */
#ifndef SST_SCAN_H
#define SST_SCAN_H

#include "sst/reader.h"

struct sst_window {
    struct sst_reader *r; /* borrowed */
    struct io_file *file;
    uint8_t *buffer;
    size_t capacity;
    size_t size;  /* bytes that are in the buffer */
    uint64_t off; /* of buffer[0] in the file */
};

/* REQUIRES: zeroed. `deinit` also after a failure. */
enum nokv_status sst_window_init(struct sst_window *w, struct sst_reader *r, enum io_component component,
                                 enum io_model model) MUST_CHECK;
void sst_window_deinit(struct sst_window *w);
/*
 * A whole block, its checksum and header checked; valid until the next call. Reads on from it in large pieces, so
 * blocks should be asked for in order. REQUIRES: block < count; the index is ready. *out_extent is set as soon as it is
 * known, also when the block turns out to be damaged (size 0: the index is).
 */
enum nokv_status sst_window_block(struct sst_window *w, uint64_t block, struct sst_block *out,
                                  struct sst_extent *out_extent) MUST_CHECK;

#endif
