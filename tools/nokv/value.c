// SPDX-License-Identifier: Apache-2.0
/*
 * value.c - readers of values: over bytes at hand, or over ranges of a value in the database.
 *
 * [I1] The buffer holds a piece that begins at buffer_off, and what is in it is not read again. So looking at a value's
 *      size, which reads its first piece, costs nothing when its bytes follow.
 */
#include "value.h"

#include <assert.h>
#include <string.h>

static void turn_to(struct value_reader *reader, struct value_reader value)
{
    value.buffer = reader->buffer;
    value.buffer.size = 0;
    *reader = value;
}

void value_of_bytes(struct value_reader *reader, const void *data, size_t size)
{
    turn_to(reader, (struct value_reader){.size = size, .data = size > 0 ? data : ""});
}

/* Read the piece at `off` into the buffer. */
static nokv_status fill(struct value_reader *reader, uint64_t off)
{
    size_t got;
    uint64_t size;
    bytes_reserve(&reader->buffer, VALUE_PIECE);
    nokv_status status = nokv_get_range(reader->db, reader->key.data, reader->key.size, NULL, off, reader->buffer.data,
                                        VALUE_PIECE, &got, &size);
    if (status != NOKV_OK)
        return status;
    reader->buffer.size = got;
    reader->buffer_off = off;
    reader->size = size;
    return NOKV_OK;
}

nokv_status value_of_key(struct value_reader *reader, nokv_db *db, nokv_slice key)
{
    turn_to(reader, (struct value_reader){.db = db, .key = key});
    return fill(reader, 0);
}

nokv_status value_of_iter(struct value_reader *reader, nokv_db *db, nokv_iter *iter)
{
    size_t size = nokv_iter_value_size(iter);
    if (size >= VALUE_LARGE) {
        turn_to(reader, (struct value_reader){.size = size, .db = db, .key = nokv_iter_key(iter)});
        return NOKV_OK;
    }
    nokv_slice value = nokv_iter_value(iter);
    value_of_bytes(reader, value.data, value.size);
    return nokv_iter_valid(iter) ? NOKV_OK : nokv_iter_status(iter);
}

void value_deinit(struct value_reader *reader)
{
    bytes_deinit(&reader->buffer);
}

bool value_piece(struct value_reader *reader, uint64_t off, size_t size, nokv_slice *out_piece)
{
    *out_piece = (nokv_slice){"", 0};
    if (off >= reader->size)
        return true;
    if (size > reader->size - off)
        size = (size_t)(reader->size - off);
    if (reader->data) {
        *out_piece = (nokv_slice){(const char *)reader->data + off, size};
        return true;
    }
    if (off < reader->buffer_off || off >= reader->buffer_off + reader->buffer.size) {
        reader->status = fill(reader, off);
        if (reader->status != NOKV_OK)
            return false;
    }
    size_t skip = (size_t)(off - reader->buffer_off);
    assert(skip <= reader->buffer.size);
    size_t there = reader->buffer.size - skip;
    *out_piece = (nokv_slice){reader->buffer.data + skip, size < there ? size : there};
    return true;
}

bool value_has(struct value_reader *reader, uint64_t off, const void *data, size_t size)
{
    const char *left = data;
    while (size > 0) {
        nokv_slice piece;
        if (!value_piece(reader, off, size, &piece) || piece.size == 0 || memcmp(left, piece.data, piece.size) != 0)
            return false;
        left += piece.size;
        off += piece.size;
        size -= piece.size;
    }
    return true;
}
