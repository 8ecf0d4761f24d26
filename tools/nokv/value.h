// SPDX-License-Identifier: Apache-2.0
/*
 * value.h - values piece by piece, so that a gibibyte costs no more memory than a mebibyte: read, compared, stored.
 *
 * A small value is asked for as a whole, which is one call of the engine and often no copy; one from VALUE_LARGE on is
 * read in pieces with nokv_get_range() and written with a nokv_value_writer.
 */
#ifndef NOKV_CLI_VALUE_H
#define NOKV_CLI_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nokv/nokv.h>

#include "text.h"

#define VALUE_LARGE (4u << 20) /* bytes; from this size on a value is handled in pieces */
#define VALUE_PIECE (1u << 20) /* bytes of a piece: a multiple of what the engine verifies at once */

/*
 * A value to be read: its bytes at hand, or where they come from. Pieces of a large value are of one moment only if
 * nobody writes the key meanwhile; a database that was opened for reading only has no writer.
 */
struct value_reader {
    uint64_t size;
    nokv_status status; /* why value_piece() failed */
    const void *data;   /* all of it, borrowed; NULL: pieces come from the database */
    nokv_db *db;
    nokv_slice key;      /* borrowed */
    struct bytes buffer; /* the piece in hand ... */
    uint64_t buffer_off; /* ... and where it stands in the value */
};

/*
 * Each turns a zeroed reader, or one that read another value, to a value: bytes at hand; that of a key, with its first
 * piece read; that at an iterator, in place when it is small (when that fails, the iterator is no longer valid).
 * The reader's memory is used again until value_deinit().
 */
void value_of_bytes(struct value_reader *reader, const void *data, size_t size);
nokv_status value_of_key(struct value_reader *reader, nokv_db *db, nokv_slice key);
nokv_status value_of_iter(struct value_reader *reader, nokv_db *db, nokv_iter *iter);
void value_deinit(struct value_reader *reader);

/* Up to `size` bytes from `off` on, verified, until the next call; 0: none. False: reader->status. */
bool value_piece(struct value_reader *reader, uint64_t off, size_t size, nokv_slice *out_piece);
/* Does the value have these bytes at `off`? False with reader->status set when it cannot be read. */
bool value_has(struct value_reader *reader, uint64_t off, const void *data, size_t size);

#endif
