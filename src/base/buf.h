// SPDX-License-Identifier: Apache-2.0
/* base/buf.h - a growing byte buffer for encoders. Zero-initialised is empty. Owned by one thread. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/base.h"

struct buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

void buf_deinit(struct buf *b);
/* Make room for `extra` more bytes and return where they go; the caller then adds to b->size. NULL: out of memory.
 * REQUIRES: extra > 0, or b has memory. */
uint8_t *buf_reserve(struct buf *b, size_t extra);
enum nokv_status buf_append(struct buf *b, const void *data, size_t size) MUST_CHECK;
enum nokv_status buf_append_varint(struct buf *b, uint64_t v) MUST_CHECK;
/* varint length, then the bytes. */
enum nokv_status buf_append_sized(struct buf *b, struct slice s) MUST_CHECK;

static inline struct slice buf_slice(const struct buf *b)
{
    return slice_make(b->data, b->size);
}

#endif
