// SPDX-License-Identifier: Apache-2.0
/* A growing byte buffer: doubles, so that appending n bytes in small pieces costs O(n). */
#include "base/buf.h"

#include "base/alloc.h"
#include "base/coding.h"

void buf_deinit(struct buf *b)
{
    mem_free(b->data);
    *b = (struct buf){0};
}

uint8_t *buf_reserve(struct buf *b, size_t extra)
{
    if (extra > SIZE_MAX / 2 - b->size || mem_grow(&b->data, &b->capacity, b->size + extra, 1) != NOKV_OK)
        return NULL;
    return b->data + b->size;
}

enum nokv_status buf_append(struct buf *b, const void *data, size_t size)
{
    if (size == 0)
        return NOKV_OK; /* an empty buffer has no memory to reserve from, which is no failure */
    uint8_t *p = buf_reserve(b, size);
    if (p == NULL)
        return FAIL(NO_MEMORY, "could not grow a buffer of %zu bytes by %zu", b->size, size);
    memcpy(p, data, size);
    b->size += size;
    return NOKV_OK;
}

enum nokv_status buf_append_varint(struct buf *b, uint64_t v)
{
    uint8_t bytes[VARINT64_SIZE_MAX];
    return buf_append(b, bytes, (size_t)(put_varint64(bytes, v) - bytes));
}

enum nokv_status buf_append_sized(struct buf *b, struct slice s)
{
    TRY(buf_append_varint(b, s.size));
    return buf_append(b, s.data, s.size);
}
