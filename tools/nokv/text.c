// SPDX-License-Identifier: Apache-2.0
/*
 * text.c - bytes to text and back, for the command line.
 *
 * Two readable forms of arbitrary bytes exist. Hexadecimal is exact and dull: --hex. The escaped form is for eyes and
 * for line-oriented files (scan's output, the acknowledgement log of import): printable ASCII and valid UTF-8 stand for
 * themselves, everything else is \xNN or one of \\ \t \n \r. Both can be decoded without loss.
 *
 * Control characters of Unicode (U+0080 to U+009F) are escaped as well: a file name must not be able to drive a
 * terminal.
 */
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void *cli_realloc(void *memory, size_t size)
{
    void *grown = realloc(memory, size > 0 ? size : 1);
    if (!grown) {
        fprintf(stderr, "nokv: %zu bytes of memory could not be allocated\n", size);
        exit(3);
    }
    return grown;
}

void *cli_alloc(size_t size)
{
    void *memory = cli_realloc(NULL, size);
    memset(memory, 0, size);
    return memory;
}

void bytes_reserve(struct bytes *bytes, size_t capacity)
{
    if (capacity <= bytes->capacity)
        return;
    if (capacity < bytes->capacity * 2)
        capacity = bytes->capacity * 2;
    bytes->data = cli_realloc(bytes->data, capacity);
    bytes->capacity = capacity;
}

void bytes_append(struct bytes *bytes, const void *data, size_t size)
{
    if (size == 0)
        return;
    bytes_reserve(bytes, bytes->size + size);
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

void bytes_deinit(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_decode(const char *text, struct bytes *out)
{
    size_t length = strlen(text);
    if (length % 2 != 0)
        return false;
    for (size_t i = 0; i < length; i++)
        if (hex_digit(text[i]) < 0)
            return false;
    bytes_reserve(out, length / 2);
    for (size_t i = 0; i < length / 2; i++)
        out->data[i] = (char)((unsigned)hex_digit(text[2 * i]) << 4 | (unsigned)hex_digit(text[2 * i + 1]));
    out->size = length / 2;
    return true;
}

void hex_print(FILE *out, const void *data, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = data;
    for (size_t i = 0; i < size; i++) {
        putc_unlocked(digits[p[i] >> 4], out);
        putc_unlocked(digits[p[i] & 15], out);
    }
}

size_t utf8_length(const void *data, size_t size)
{
    const unsigned char *p = data;
    if (size == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    size_t length = p[0] >= 0xf0 && p[0] <= 0xf4  ? 4
                    : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
                    : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
                                                  : 0;
    if (length == 0 || length > size)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* Over-long forms, surrogates and what lies beyond U+10FFFF. */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return length;
}

bool utf8_valid(const void *data, size_t size)
{
    const unsigned char *p = data;
    while (size > 0) {
        size_t length = utf8_length(p, size);
        if (length == 0)
            return false;
        p += length;
        size -= length;
    }
    return true;
}

/* The length of what may stand for itself at `p`, 0 when the byte has to be escaped. */
static size_t plain_length(const unsigned char *p, size_t size)
{
    if (p[0] < 0x80)
        return p[0] >= 0x20 && p[0] != 0x7f && p[0] != '\\';
    if (p[0] == 0xc2 && size > 1 && p[1] < 0xa0)
        return 0;
    return utf8_length(p, size);
}

static size_t escape_byte(unsigned char byte, char text[5])
{
    const char *letter = byte == '\\'   ? "\\\\"
                         : byte == '\t' ? "\\t"
                         : byte == '\n' ? "\\n"
                         : byte == '\r' ? "\\r"
                                        : NULL;
    if (letter)
        return (size_t)snprintf(text, 5, "%s", letter);
    return (size_t)snprintf(text, 5, "\\x%02x", byte);
}

/* One step of escaping: what stands for the bytes at `p`, and how many of them it covers. */
static size_t escape_step(const unsigned char *p, size_t size, char escaped[5], const void **out_text, size_t *out_size)
{
    size_t run = 0;
    while (run < size) {
        size_t length = plain_length(p + run, size - run);
        if (length == 0)
            break;
        run += length;
    }
    *out_text = run > 0 ? (const void *)p : escaped;
    *out_size = run > 0 ? run : escape_byte(p[0], escaped);
    return run > 0 ? run : 1;
}

void escape_append(struct bytes *out, const void *data, size_t size)
{
    const unsigned char *p = data;
    while (size > 0) {
        char escaped[5];
        const void *text;
        size_t text_size;
        size_t used = escape_step(p, size, escaped, &text, &text_size);
        bytes_append(out, text, text_size);
        p += used;
        size -= used;
    }
}

void escape_print(FILE *out, const void *data, size_t size)
{
    const unsigned char *p = data;
    while (size > 0) {
        char escaped[5];
        const void *text;
        size_t text_size;
        size_t used = escape_step(p, size, escaped, &text, &text_size);
        fwrite(text, 1, text_size, out);
        p += used;
        size -= used;
    }
}

/* Decode the escape whose backslash is at text[0]; how many bytes it takes, 0 when it is none. */
static size_t escape_decode_one(const char *text, size_t size, char *out_byte)
{
    if (size < 2)
        return 0;
    static const char letters[] = "\\tnr", bytes[] = "\\\t\n\r";
    const char *letter = text[1] ? strchr(letters, text[1]) : NULL;
    if (letter) {
        *out_byte = bytes[letter - letters];
        return 2;
    }
    if (text[1] != 'x' || size < 4 || hex_digit(text[2]) < 0 || hex_digit(text[3]) < 0)
        return 0;
    *out_byte = (char)(hex_digit(text[2]) << 4 | hex_digit(text[3]));
    return 4;
}

bool escape_decode(const char *text, size_t size, struct bytes *out)
{
    bytes_reserve(out, size);
    out->size = 0;
    while (size > 0) {
        size_t used = 1;
        char byte = text[0];
        if (byte == '\\')
            used = escape_decode_one(text, size, &byte);
        if (used == 0)
            return false;
        out->data[out->size++] = byte;
        text += used;
        size -= used;
    }
    return true;
}

bool bytes_read_all(FILE *file, size_t size_max, struct bytes *out)
{
    out->size = 0;
    for (;;) {
        bytes_reserve(out, out->size + 64 * 1024);
        size_t got = fread(out->data + out->size, 1, out->capacity - out->size, file);
        out->size += got;
        if (out->size > size_max) {
            errno = EFBIG;
            return false;
        }
        if (got == 0)
            return !ferror(file);
    }
}

const char *text_bytes(char text[TEXT_SIZE], uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        snprintf(text, TEXT_SIZE, "%" PRIu64 " bytes", bytes);
        return text;
    }
    double number = (double)bytes / 1024;
    size_t unit = 0;
    for (; number >= 999.95 && unit < 5; unit++)
        number /= 1024;
    snprintf(text, TEXT_SIZE, "%.1f %s", number, units[unit]);
    return text;
}

const char *text_count(char text[TEXT_SIZE], uint64_t count)
{
    char digits[TEXT_SIZE];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, count);
    char *out = text;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
    return text;
}

const char *text_duration(char text[TEXT_SIZE], double seconds)
{
    uint64_t whole = seconds < 0 ? 0 : seconds > 3.6e9 ? 3600000000u : (uint64_t)(seconds + 0.5);
    if (whole >= 3600)
        snprintf(text, TEXT_SIZE, "%" PRIu64 ":%02u:%02u", whole / 3600, (unsigned)(whole / 60 % 60),
                 (unsigned)(whole % 60));
    else
        snprintf(text, TEXT_SIZE, "%u:%02u", (unsigned)(whole / 60), (unsigned)(whole % 60));
    return text;
}

const char *text_elapsed(char text[TEXT_SIZE], uint64_t ns)
{
    if (ns < 10000)
        snprintf(text, TEXT_SIZE, "%u ns", (unsigned)ns);
    else if (ns < 10000000)
        snprintf(text, TEXT_SIZE, "%.0f us", (double)ns / 1e3);
    else if (ns < 10000000000ull)
        snprintf(text, TEXT_SIZE, "%.0f ms", (double)ns / 1e6);
    else
        snprintf(text, TEXT_SIZE, "%.1f s", (double)ns / 1e9);
    return text;
}

double rate_mb(uint64_t bytes, uint64_t ns)
{
    return ns == 0 ? 0 : (double)bytes * 1e3 / (double)ns;
}

uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
