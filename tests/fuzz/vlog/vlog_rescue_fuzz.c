// SPDX-License-Identifier: Apache-2.0
/*
 * vlog_rescue_fuzz.c - any bytes in shared buffers, and any part of a segment in the file.
 *
 * A segment of a few records is known. Input: one byte of choices; two bytes of how long the file is; for each of the
 * four buffers a page and a size that it claims, and gets the right bytes of; then pokes of four bytes: where, in file
 * or shared memory, and what to xor with it. So claims, buffers and file can be anything, next to what is right.
 *
 * Checked besides not crashing: a record is sound exactly when all of its bytes are right in the file, or in the file
 * overlaid with what is claimed; a value that comes out is the record's; a repair writes what was overlaid of sound
 * records and nothing else; pointers to anything else are not sound.
 *
 * The mutator changes a claim, a poke, or where the file ends.
 */
#include "../fuzz.h"
#include "../memory_io.h"
#include "vlog/shared.h"

enum { REPAIR = 1, NO_BUFFERS = 2 };
enum { BUFFER = VLOG_BUFFER_MIN };
enum { NUMBER = 7, SALT = 99, RECORDS = 7, IMAGE_MAX = 1 << 17, HEAD = 3, CLAIM_INPUT = 3, POKE = 4 };

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
    fuzz_must(t->size < IMAGE_MAX, "image");
}

static const struct truth *truth_get(void)
{
    static const uint64_t sizes[RECORDS] = {700, 0, 5000, 66000, 1, 300, 900};
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
    uint8_t overlaid[IMAGE_MAX]; /* the file with what is claimed; where there is nothing, a wrong byte */
    uint8_t shared[BUFFER_COUNT * (BUFFER + PAGE_BYTES) + PAGE_BYTES];
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
        l->shared[(where + (kind - 2) * (BUFFER + PAGE_BYTES)) % vlog_shared_bytes(BUFFER)] ^= p[3];
}

static void buffer_fill(struct left *l, const struct truth *t, unsigned index, const uint8_t *input)
{
    uint64_t off = (1 + (uint64_t)input[0] % 32) * PAGE_BYTES, size = get_u16(input + 1) * 4ull;
    shared_claim_begin(shared_claim_at(l->shared, index), NUMBER, off);
    shared_claim_grow(shared_claim_at(l->shared, index), (uint32_t)size);
    if (off < t->size)
        memcpy(shared_buffer(l->shared, BUFFER, index), t->bytes + off, u64_min(u64_min(size, t->size - off), BUFFER));
}

/* What file and claims make together; of claims that overlap the first counts. */
static void overlay(struct left *l, const struct truth *t)
{
    for (size_t i = l->file_size; i < t->size; i++)
        l->overlaid[i] = (uint8_t)~t->bytes[i];
    memcpy(l->overlaid, l->file, l->file_size);
    for (unsigned i = l->claim_count; i > 0; i--) {
        const struct shared_claim *c = &l->claims[i - 1];
        if (c->off < IMAGE_MAX)
            memcpy(l->overlaid + c->off, c->data, u64_min(c->size, IMAGE_MAX - c->off));
    }
}

static struct left *left_make(const struct truth *t, const uint8_t *data, size_t size)
{
    static struct left left;
    struct left *l = &left;
    l->claim_count = 0;
    memset(l->file, 0, sizeof l->file);
    memset(l->shared, 0, sizeof l->shared);
    l->file_size = u64_min(VLOG_FIRST + get_u16(data + 1) * 4ull, t->size);
    memcpy(l->file, t->bytes, l->file_size);
    shared_init(l->shared, BUFFER);
    size_t at = HEAD;
    for (unsigned i = 0; i < BUFFER_COUNT && at + CLAIM_INPUT <= size; i++, at += CLAIM_INPUT)
        buffer_fill(l, t, i, data + at);
    for (; at + POKE <= size; at += POKE)
        poke(l, data + at);
    uint32_t bytes = shared_buffer_bytes(l->shared);
    if (bytes != 0 && bytes != BUFFER) /* another layout, of which nothing here would be true */
        shared_init(l->shared, bytes = BUFFER);
    for (unsigned i = 0; i < BUFFER_COUNT && bytes != 0 && !(data[0] & NO_BUFFERS); i++) {
        struct shared_claim c;
        if (!shared_claim_decode(l->shared, BUFFER, i, &c))
            continue;
        fuzz_must(c.size <= BUFFER && c.off % PAGE_BYTES == 0 && c.off <= VLOG_OFF_MAX, "limits of a claim");
        fuzz_must(c.data >= l->shared && c.data + c.size <= l->shared + vlog_shared_bytes(BUFFER), "bytes of a claim");
        if (c.segment == NUMBER)
            l->claims[l->claim_count++] = c;
    }
    overlay(l, t);
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
    return memcmp(l->overlaid + off, t->bytes + off, end - off) == 0;
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
    fuzz_must(vlog_rescue_record(r, &t->pointers[i], key, &sound, &value) == NOKV_OK, "rescue");
    fuzz_must(sound == (in_file || with_buffers), "sound or not");
    fuzz_must((value.data != NULL) == (sound && !in_file && !repair), "a value or none");
    if (value.data != NULL)
        fuzz_must(slice_equal(value, slice_make(t->bytes + t->value_off[i], t->pointers[i].value_size)), "wrong value");
    if (sound && !in_file && repair) {
        repair_expected(l, off, end);
        overlay(l, t);
    }
}

static void check_others(struct vlog_rescue *r, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i + 8 <= size && i < 80; i += 8) {
        bool sound;
        struct vlog_pointer p = {.segment = NUMBER,
                                 .off = get_u16(data + i) * 8ull,
                                 .value_size = get_u32(data + i + 2) >> data[i + 6] % 32};
        p.value_size = (uint32_t)u64_min(p.value_size, KEY_VALUE_SIZE_MAX);
        fuzz_must(vlog_rescue_record(r, &p, slice_make("other", data[i + 7] % 6), &sound, NULL) == NOKV_OK, "other");
        fuzz_must(!sound, "another record");
    }
}

static void check_file(const struct left *l)
{
    fuzz_must(slice_equal(memory_io_get("v"), slice_make(l->file, l->file_size)), "the file");
}

static void run(struct left *l, const struct truth *t, const uint8_t *data, size_t size)
{
    struct vlog_rescue *r = NULL;
    bool repair = data[0] & REPAIR;
    struct slice shared = slice_make(l->shared, data[0] & NO_BUFFERS ? 0 : sizeof l->shared);
    memory_io_put("v", l->file, l->file_size);
    fuzz_must(vlog_rescue_open(memory_io(), "v", NUMBER, shared, repair, &r) == NOKV_OK, "rescue open");
    check_others(r, data, size);
    for (unsigned i = 0; i < RECORDS; i++)
        check_record(r, l, t, (i + data[0] / 4) % RECORDS, repair);
    fuzz_must(vlog_rescue_sync(r) == NOKV_OK, "sync");
    vlog_rescue_close(r);
    check_file(l);
}

/* As much memory as there is, or one allocation less: then an error, or the same answer. */
static void check_short_of_memory(struct left *l, const struct truth *t, uint64_t allocation)
{
    struct vlog_rescue *r = NULL;
    bool sound;
    struct slice value;
    memory_io_put("v", l->file, l->file_size);
    mem_fail_after(allocation);
    enum nokv_status status =
        vlog_rescue_open(memory_io(), "v", NUMBER, slice_make(l->shared, sizeof l->shared), false, &r);
    for (unsigned i = 0; i < RECORDS && status == NOKV_OK; i++)
        status = vlog_rescue_record(r, &t->pointers[i], key, &sound, &value);
    mem_fail_after(UINT64_MAX);
    fuzz_must(status == NOKV_OK || status == NOKV_ERR_NO_MEMORY, "another answer with little memory");
    vlog_rescue_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t allocation;
    if (size < HEAD)
        return 0;
    const struct truth *t = truth_get();
    struct left *l = left_make(t, data, size);
    if (fuzz_short_of_memory(data, size, &allocation))
        check_short_of_memory(l, t, allocation);
    run(l, t, data, size);
    return 0;
}

/* Claims, then pokes: one of either is another one. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    size_t claims = HEAD + BUFFER_COUNT * CLAIM_INPUT;
    if (size < claims || fuzz_draw(&random, 4) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    size_t at = HEAD + CLAIM_INPUT * fuzz_draw(&random, BUFFER_COUNT);
    switch (fuzz_draw(&random, 4)) {
    case 0:
        data[at] = (uint8_t)fuzz_draw(&random, 32);
        return size;
    case 1:
        put_u16(data + at + 1, (uint16_t)(fuzz_draw(&random, 2) ? BUFFER / 4 : fuzz_draw(&random, BUFFER / 4 + 1)));
        return size;
    case 2:
        put_u16(data + 1, (uint16_t)fuzz_draw(&random, IMAGE_MAX / 4));
        return size;
    default:
        return fuzz_mutate_units(data, size, max_size, claims, POKE, &random);
    }
}
