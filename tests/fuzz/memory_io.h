// SPDX-License-Identifier: Apache-2.0
/*
 * tests/fuzz/memory_io.h - a disk of a few small files that fuzz targets use again and again: opening, reading, writing
 * and mapping, without a system call, a lock or a copy per file.
 *
 * The simulated disk knows what is durable, and pays for it with every write; a decoder that only reads asks for none
 * of that, and is run a hundred thousand times a second. Bytes behind a file's end are poisoned for AddressSanitizer,
 * in a mapping too. One thread.
 */
#ifndef TESTS_FUZZ_MEMORY_IO_H
#define TESTS_FUZZ_MEMORY_IO_H

#include "io/io.h"

enum { MEMORY_FILES_MAX = 4, MEMORY_FILE_BYTES_MAX = 1 << 21 };

/* The disk of this process; lives as long as it does. */
struct io *memory_io(void);
/* No files. REQUIRES: none is open. */
void memory_io_clear(void);
/* A file, new or anew. REQUIRES: not open; size <= MEMORY_FILE_BYTES_MAX. */
void memory_io_put(const char *path, const void *data, size_t size);
/* Its bytes; data NULL: there is no such file. Borrowed until it is written. */
struct slice memory_io_get(const char *path);

#endif
