// SPDX-License-Identifier: Apache-2.0
/*
 * text.h - bytes to text and back: hexadecimal, C-style escapes, sizes and rates for people; whole-stream reads.
 */
#ifndef NOKV_CLI_TEXT_H
#define NOKV_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <nokv/nokv.h>

/* Bytes on the heap that grow. Zeroed is empty. */
struct bytes {
    char *data;
    size_t size, capacity;
};

/* Memory or the end of the process with a message; bytes of 0 are fine. */
void *cli_alloc(size_t size);
void *cli_realloc(void *memory, size_t size);

void bytes_reserve(struct bytes *bytes, size_t capacity);
void bytes_append(struct bytes *bytes, const void *data, size_t size);
void bytes_deinit(struct bytes *bytes);

/* "00ff" or "00 FF" is not accepted: hexadecimal digits only, an even number of them. False: *out unchanged. */
bool hex_decode(const char *text, struct bytes *out);
void hex_print(FILE *out, const void *data, size_t size);

/*
 * C-style escapes: \\ \t \n \r \0-style bytes as \xNN; printable ASCII as it is, and valid UTF-8 above it too, so that
 * file names stay readable. The text has no tab and no newline. escape_decode undoes it; false: not such a text.
 */
void escape_append(struct bytes *out, const void *data, size_t size);
void escape_print(FILE *out, const void *data, size_t size);
bool escape_decode(const char *text, size_t size, struct bytes *out);

/* Length of the valid UTF-8 sequence at `data`, 0 when there is none. */
size_t utf8_length(const void *data, size_t size);
bool utf8_valid(const void *data, size_t size);

/* Read `file` to its end; false with errno set, EFBIG beyond size_max. */
bool bytes_read_all(FILE *file, size_t size_max, struct bytes *out);

#define TEXT_SIZE 32
/* "312.4 MiB", "17 bytes"; "57,250"; "1:02:03" or "0:03"; each into `text`, which is returned. */
const char *text_bytes(char text[TEXT_SIZE], uint64_t bytes);
const char *text_count(char text[TEXT_SIZE], uint64_t count);
const char *text_duration(char text[TEXT_SIZE], double seconds);
/* "731 ns", "52 us", "348 ms", "12.4 s" for measured times. */
const char *text_elapsed(char text[TEXT_SIZE], uint64_t ns);
/* bytes per second in MB/s (10^6), 0 when no time passed. */
double rate_mb(uint64_t bytes, uint64_t ns);

/* Nanoseconds of the monotonic clock. */
uint64_t clock_ns(void);

#endif
