// SPDX-License-Identifier: Apache-2.0
/*
 * shared.h - a writer's buffers in memory that outlives the process, and what says where their bytes belong.
 * docs/formats/vlogbuf.md is the layout. Internal to the module.
 *
 * A claim is one buffer's: bytes [off, off + size) of a segment. It is stored before the bytes are: what a claim covers
 * may be missing, what was acknowledged is covered. Nothing here is believed without a record's checksums.
 *
 * Storing: the writer alone, under its lock. Decoding: any bytes whatever.
 */
#ifndef VLOG_SHARED_H
#define VLOG_SHARED_H

#include "vlog/writer.h"

enum {
    SHARED_VERSION = 1,
    SHARED_CLAIMS_OFF = 64, /* in the first page */
    SHARED_CLAIM_BYTES = 64,
};

struct shared_claim {
    uint64_t segment;
    uint64_t off; /* a multiple of a page */
    uint32_t size;
    const uint8_t *data;
};

/* From now on nothing is claimed, whatever was. A header that is right already is left alone: behind it another
 * writer's memory may follow, which is found through it. */
void shared_init(uint8_t *shared, uint32_t buffer_bytes);
/* The size of buffers that the first page tells of; 0: it tells nothing. */
uint32_t shared_buffer_bytes(const uint8_t *shared);
uint8_t *shared_buffer(uint8_t *shared, uint32_t buffer_bytes, unsigned index);
/* Where the claim of a buffer is stored. */
uint8_t *shared_claim_at(uint8_t *shared, unsigned index);
/* The buffer begins at `off`, and claims nothing yet. */
void shared_claim_begin(uint8_t *claim, uint64_t segment, uint64_t off);
void shared_claim_grow(uint8_t *claim, uint32_t size);
/* False: `shared` (vlog_shared_bytes(buffer_bytes)) claims nothing with this buffer. What comes out lies within buffer
 * and limits. */
bool shared_claim_decode(const uint8_t *shared, uint32_t buffer_bytes, unsigned index, struct shared_claim *out_claim);

#endif
