// SPDX-License-Identifier: Apache-2.0
/*
 * vlog_rescue_fuzz.c - any bytes in shared buffers, and any part of a segment in the file, on the simulated disk.
 *
 * A segment of a few records is known. Input: one byte of choices; two bytes of how long the file is; for each of the
 * four buffers a page and a size that it claims, and gets the right bytes of; then pokes of four bytes: where, in file
 * or shared memory, and what to xor with it. So claims, buffers and file can be anything, next to what is right.
 *
 * Checked besides not crashing: a record is sound exactly when all of its bytes are right in the file, or in the file
 * overlaid with what is claimed; a value that comes out is the record's; a repair writes what was overlaid of sound
 * records and nothing else; pointers to anything else are not sound.
 */
#include <stdio.h>
#include <stdlib.h>

#include "io/sim.h"
#include "vlog/shared.h"

enum { REPAIR = 1, NO_BUFFERS = 2 };
enum { NUMBER = 7, SALT = 99, RECORDS = 7, IMAGE_MAX = 400000, HEAD = 3, CLAIM_INPUT = 3, POKE = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s: %s\n", what, status_message());
        abort();
    }
}

/* ---- what is right --------------------------------------------------------------------------------------------- */

struct truth {
    uint8_t bytes[IMAGE_MAX];
    size_t size;
    struct vlog_pointer pointers[RECORDS];
    uint64_t value_off[RECORDS];
};

static const struct slice key = {.data = (const uint8_t *)"key", .size = 3};

static void truth_add(struct truth *t, unsigned index, uint64_t value_size)
{
    const uint64_t seed = segment_seed((struct segment_id){.number = NUMBER, .salt = SALT});
    uint8_t *p = t->bytes + t->size, *value = p + VLOG_RECORD_HEADER + key.size, *sums = value + value_size;
    t->pointers[index] = (struct vlog_pointer){.segment = NUMBER, .off = t->size, .value_size = (uint32_t)value_size};
    t->value_off[index] = t->size + VLOG_RECORD_HEADER + key.size;
    format_record_header(p, seed, t->size, (struct ikey){.user = key, .tag = index}, value_size);
    memcpy(p + VLOG_RECORD_HEADER, key.data, key.size);
    for (uint64_t i = 0; i < value_size; i++)
        value[i] = (uint8_t)(i * 7 + index);
    for (uint64_t i = 0; i < chunk_count(value_size); i++)
        put_u32(sums + i * VLOG_CHUNK_SUM,
                chunk_sum(chunk_raw_sum(value + i * VLOG_CHUNK, chunk_size(value_size, i), seed), seed, t->size, i));
    t->size += vlog_record_size(key.size, value_size);
    must(t->size < IMAGE_MAX, "image");
}

static const struct truth *truth_get(void)
{
    static const uint64_t sizes[RECORDS] = {700, 0, 5000, 66000, 1, 131072, 900};
    static struct truth t;
    if (t.size != 0)
        return &t;
    format_header_page(t.bytes, (struct segment_id){.number = NUMBER, .salt = SALT});
    t.size = VLOG_FIRST;
    for (unsigned i = 0; i < RECORDS; i++)
        truth_add(&t, i, sizes[i]);
    return &t;
}

/* ---- what was left --------------------------------------------------------------------------------------------- */

struct left {
    uint8_t file[IMAGE_MAX];
    size_t file_size;
    uint8_t *shared;
    struct shared_claim claims[BUFFER_COUNT]; /* on this segment */
    unsigned claim_count;
};

static void poke(struct left *l, const uint8_t *p)
{
    uint32_t where = get_u32(p) & 0x3fffff, kind = p[2] >> 6;
    if (kind == 0)
        l->file[VLOG_FIRST + where % (IMAGE_MAX - VLOG_FIRST)] ^= p[3];
    else if (kind == 1)
        l->shared[where % PAGE_BYTES] ^= p[3];
    else
        l->shared[(where + (kind - 2) * (VLOG_BUFFER_MAX + PAGE_BYTES)) % vlog_shared_bytes(VLOG_BUFFER_MAX)] ^= p[3];
}

static void buffer_fill(struct left *l, const struct truth *t, unsigned index, const uint8_t *input)
{
    uint64_t off = (1 + (uint64_t)input[0] % 64) * PAGE_BYTES, size = get_u16(input + 1) * 4ull;
    shared_claim_begin(shared_claim_at(l->shared, index), NUMBER, off);
    shared_claim_grow(shared_claim_at(l->shared, index), (uint32_t)size);
    if (off < t->size)
        memcpy(shared_buffer(l->shared, VLOG_BUFFER_MAX, index), t->bytes + off, u64_min(size, t->size - off));
}

static struct left *left_make(const struct truth *t, const uint8_t *data, size_t size)
{
    struct left *l = calloc(1, sizeof *l);
    must(l != NULL && (l->shared = calloc(1, vlog_shared_bytes(VLOG_BUFFER_MAX))) != NULL, "calloc");
    l->file_size = u64_min(VLOG_FIRST + get_u16(data + 1) * 4ull, t->size);
    memcpy(l->file, t->bytes, l->file_size);
    shared_init(l->shared, VLOG_BUFFER_MAX);
    size_t at = HEAD;
    for (unsigned i = 0; i < BUFFER_COUNT && at + CLAIM_INPUT <= size; i++, at += CLAIM_INPUT)
        buffer_fill(l, t, i, data + at);
    for (; at + POKE <= size; at += POKE)
        poke(l, data + at);
    uint32_t bytes = shared_buffer_bytes(l->shared);
    if (bytes != 0 && bytes != VLOG_BUFFER_MAX) /* another layout, of which nothing here would be true */
        shared_init(l->shared, bytes = VLOG_BUFFER_MAX);
    for (unsigned i = 0; i < BUFFER_COUNT && bytes != 0 && !(data[0] & NO_BUFFERS); i++) {
        struct shared_claim c;
        if (!shared_claim_decode(l->shared, VLOG_BUFFER_MAX, i, &c))
            continue;
        must(c.size <= VLOG_BUFFER_MAX && c.off % PAGE_BYTES == 0 && c.off <= VLOG_OFF_MAX, "limits of a claim");
        must(c.data >= l->shared && c.data + c.size <= l->shared + vlog_shared_bytes(VLOG_BUFFER_MAX),
             "bytes of a claim");
        if (c.segment == NUMBER)
            l->claims[l->claim_count++] = c;
    }
    return l;
}

/* ---- what must come out ---------------------------------------------------------------------------------------- */

static bool is_right(const struct left *l, const struct truth *t, uint64_t off, uint64_t end)
{
    return end <= l->file_size && memcmp(l->file + off, t->bytes + off, end - off) == 0;
}

/* The byte as the first claim on it has it; -1: nobody claims it. */
static int claimed(const struct left *l, uint64_t off)
{
    for (unsigned i = 0; i < l->claim_count; i++)
        if (off >= l->claims[i].off && off - l->claims[i].off < l->claims[i].size)
            return l->claims[i].data[off - l->claims[i].off];
    return -1;
}

static bool is_right_overlaid(const struct left *l, const struct truth *t, uint64_t off, uint64_t end)
{
    for (; off < end; off++) {
        int byte = claimed(l, off);
        if (byte < 0 && off < l->file_size)
            byte = l->file[off];
        if (byte != t->bytes[off])
            return false;
    }
    return true;
}

static void repair_expected(struct left *l, uint64_t off, uint64_t end)
{
    for (; off < end; off++) {
        int byte = claimed(l, off);
        if (byte < 0)
            continue;
        if (off > l->file_size)
            memset(l->file + l->file_size, 0, off - l->file_size);
        l->file[off] = (uint8_t)byte;
        l->file_size = u64_max(l->file_size, off + 1);
    }
}

static void check_record(struct vlog_rescue *r, struct left *l, const struct truth *t, unsigned i, bool repair)
{
    bool sound;
    struct slice value;
    uint64_t off = t->pointers[i].off, end = off + vlog_record_size(key.size, t->pointers[i].value_size);
    bool in_file = is_right(l, t, off, end), with_buffers = is_right_overlaid(l, t, off, end);
    must(vlog_rescue_record(r, &t->pointers[i], key, &sound, &value) == NOKV_OK, "rescue");
    must(sound == (in_file || with_buffers), "sound or not");
    must((value.data != NULL) == (sound && !in_file && !repair), "a value or none");
    if (value.data != NULL)
        must(slice_equal(value, slice_make(t->bytes + t->value_off[i], t->pointers[i].value_size)), "wrong value");
    if (sound && !in_file && repair)
        repair_expected(l, off, end);
}

static void check_others(struct vlog_rescue *r, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i + 8 <= size && i < 80; i += 8) {
        bool sound;
        struct vlog_pointer p = {.segment = NUMBER,
                                 .off = get_u16(data + i) * 8ull,
                                 .value_size = get_u32(data + i + 2) >> data[i + 6] % 32};
        p.value_size = (uint32_t)u64_min(p.value_size, KEY_VALUE_SIZE_MAX);
        must(vlog_rescue_record(r, &p, slice_make("other", data[i + 7] % 6), &sound, NULL) == NOKV_OK, "other");
        must(!sound, "another record");
    }
}

static void check_file(struct io *io, const struct left *l)
{
    struct io_file *file = NULL;
    uint64_t size = 0;
    uint8_t *bytes = malloc(IMAGE_MAX);
    must(io_open(io, "v", IO_OTHER, IO_STD, IO_READ, &file) == NOKV_OK && io_size(file, &size) == NOKV_OK, "open");
    must(size == l->file_size && bytes != NULL, "the file's size");
    must(io_pread_exact(file, bytes, size, 0) == NOKV_OK && memcmp(bytes, l->file, size) == 0, "the file's bytes");
    must(io_close(file) == NOKV_OK, "close");
    free(bytes);
}

static void run(struct io *io, struct left *l, const struct truth *t, const uint8_t *data, size_t size)
{
    struct io_file *file = NULL;
    struct vlog_rescue *r = NULL;
    bool repair = data[0] & REPAIR;
    struct slice shared = slice_make(l->shared, data[0] & NO_BUFFERS ? 0 : vlog_shared_bytes(VLOG_BUFFER_MAX));
    must(io_open(io, "v", IO_VLOG, IO_STD, IO_WRITE | IO_CREATE, &file) == NOKV_OK, "create");
    must(io_pwrite(file, l->file, l->file_size, 0) == NOKV_OK && io_close(file) == NOKV_OK, "write");
    must(vlog_rescue_open(io, "v", NUMBER, shared, repair, &r) == NOKV_OK, "rescue open");
    check_others(r, data, size);
    for (unsigned i = 0; i < RECORDS; i++)
        check_record(r, l, t, (i + data[0] / 4) % RECORDS, repair);
    must(vlog_rescue_sync(r) == NOKV_OK, "sync");
    vlog_rescue_close(r);
    check_file(io, l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD)
        return 0;
    struct sim *sim = NULL;
    struct io *io = NULL;
    const struct truth *t = truth_get();
    struct left *l = left_make(t, data, size);
    must(sim_create(&(struct sim_options){.seed = 1}, &sim) == NOKV_OK && sim_io_create(sim, &io) == NOKV_OK, "sim");
    run(io, l, t, data, size);
    io_destroy(io);
    sim_destroy(sim);
    free(l->shared);
    free(l);
    return 0;
}
