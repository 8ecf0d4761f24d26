// SPDX-License-Identifier: Apache-2.0
/*
 * wal_buffer_fuzz.c - what a crash left of a log: a part of the file, and the shared buffer (WALBUF) of any age, both
 * with bytes changed. What is read must be exactly what is right in one of them.
 *
 * A log of known records is made from the input: one byte of choices; how many records, and a byte each that says what
 * it is; up to where the file got (two bytes) and up to where the buffer got (two bytes); then pokes of four bytes:
 * where, in file or buffer, and what to xor. The buffer holds the last lap in front of where it got.
 *
 * Checked, against a plain model of the rules in src/rlog/tail.c: the same records in the same order, up to the first
 * that neither file nor buffer has whole; CORRUPT exactly when a mark behind it says that it was durable; after a
 * repair the same from the file alone, sealed. With REJECT one of the first records is refused by the caller, as if
 * what it points to were not there: the log ends in front of it, unless a mark says that it was durable.
 */
#include "../fuzz.h"
#include "../memory_io.h"
#include "rlog/format.h"

enum { RING_MASK = 3, REPAIR = 4, SEALED = 8, REJECT = 16, REJECT_SHIFT = 5 };
enum { NUMBER = 7, SALT = 99, RECORDS_MAX = 24, HEAD = 2, PLACES = 4, POKE = 4 };
enum { IMAGE_MAX = 1 << 14, RING_MAX = 256 << RING_MASK };

static const struct log_id id = {.number = NUMBER, .salt = SALT};

/* ---- what was written ------------------------------------------------------------------------------------------- */

struct truth {
    uint8_t bytes[IMAGE_MAX];
    size_t size;
    size_t offs[RECORDS_MAX + 2]; /* of the records, and of the end */
    size_t count;
};

static size_t record_bytes(const struct truth *t, size_t i)
{
    return t->offs[i + 1] - t->offs[i];
}

static uint32_t type_of(const struct truth *t, size_t i)
{
    return get_u32(t->bytes + t->offs[i] + RECORD_TYPE);
}

static void truth_mark(struct truth *t, enum rlog_type type)
{
    format_mark(t->bytes + t->size, type, id, t->size, t->size);
    t->size += RLOG_MARK_SIZE;
    t->offs[++t->count] = t->size;
}

static void truth_data(struct truth *t, uint32_t size)
{
    uint8_t *p = t->bytes + t->size;
    record_put_header(p, size, NUMBER, RLOG_DATA);
    for (uint32_t i = 0; i < size; i++)
        p[RLOG_RECORD_HEADER + i] = (uint8_t)(t->count * 31 + i * 7);
    memset(p + RLOG_RECORD_HEADER + size, 0, record_size(size) - RLOG_RECORD_HEADER - size);
    put_u32(p + RECORD_CHECKSUM, record_checksum(p, size, record_seed(id, t->size)));
    t->size += record_size(size);
    t->offs[++t->count] = t->size;
}

static void truth_make(struct truth *t, bool is_sealed, const uint8_t *kinds, size_t count)
{
    format_file_header(t->bytes, RLOG_WAL, NUMBER, SALT);
    t->size = t->offs[0] = RLOG_FILE_HEADER;
    t->count = 0;
    for (size_t i = 0; i < count; i++)
        if (kinds[i] % 8 == 7)
            truth_mark(t, RLOG_SYNCED);
        else
            truth_data(t, kinds[i]);
    if (is_sealed)
        truth_mark(t, RLOG_SEAL);
}

/* ---- what was left ---------------------------------------------------------------------------------------------- */

struct left {
    uint8_t file[IMAGE_MAX];
    size_t file_size;
    uint8_t ring[RING_MAX];
    size_t ring_size;
};

static void left_make(struct left *l, const struct truth *t, unsigned choices, const uint8_t *data, size_t size)
{
    size_t ring_end = get_u16(data + 2) % (t->size + 1), at = 0;
    l->file_size = get_u16(data) % (t->size + 1);
    l->ring_size = 256u << (choices & RING_MASK);
    memcpy(l->file, t->bytes, l->file_size);
    memset(l->ring, 0, l->ring_size);
    at = ring_end > l->ring_size ? ring_end - l->ring_size : 0;
    for (at = at < RLOG_FILE_HEADER ? RLOG_FILE_HEADER : at; at < ring_end; at++)
        l->ring[at % l->ring_size] = t->bytes[at];
    for (size_t i = PLACES; i + POKE <= size; i += POKE) {
        size_t where = get_u16(data + i);
        if (data[i + 2] & 1)
            l->ring[where % l->ring_size] ^= data[i + 3];
        else if (l->file_size > 0)
            l->file[where % l->file_size] ^= data[i + 3];
    }
}

static bool in_file(const struct left *l, const struct truth *t, size_t i)
{
    size_t off = t->offs[i], size = record_bytes(t, i);
    return off + size <= l->file_size && memcmp(l->file + off, t->bytes + off, size) == 0;
}

static bool in_ring(const struct left *l, const struct truth *t, size_t i)
{
    size_t off = t->offs[i], size = record_bytes(t, i);
    for (size_t k = 0; k < size; k++)
        if (l->ring[(off + k) % l->ring_size] != t->bytes[off + k])
            return false;
    return size <= l->ring_size;
}

/* ---- what must come out ----------------------------------------------------------------------------------------- */

struct reading {
    enum nokv_status status;
    size_t records; /* of data */
    uint64_t hash;
    bool is_sealed;
};

static size_t data_end(const struct left *l)
{
    size_t end = l->file_size;
    while (end > 0 && l->file[end - 1] == 0)
        end--;
    return end;
}

/* The records end in front of number `i`, which is nowhere: does a mark behind it say that it was durable? */
static bool is_durable(const struct left *l, const struct truth *t, size_t i)
{
    size_t bad = t->offs[i], end = data_end(l);
    end = end < bad ? bad : align_up(end, RLOG_ALIGN); /* the buffer is behind what the file has, or at the bad place */
    for (size_t k = i; k < t->count; k++) {
        if (type_of(t, k) == RLOG_DATA || t->offs[k] <= bad) /* a mark covers what is in front of it */
            continue;
        bool is_near = t->offs[k] - bad < l->ring_size || (t->offs[k] >= end && t->offs[k] - end < l->ring_size);
        if (in_file(l, t, k) || (is_near && in_ring(l, t, k)))
            return true;
    }
    return false;
}

/* The header is not what was written: is it a creation that was cut short? */
static struct reading expected_without_header(const struct left *l, const struct truth *t)
{
    bool has_salt = l->file_size >= RLOG_FILE_HEADER && format_file_salt(l->file) == SALT;
    bool is_damaged = data_end(l) > RLOG_FILE_HEADER || (has_salt && t->count > 0 && in_ring(l, t, 0));
    return (struct reading){.status = is_damaged ? NOKV_ERR_CORRUPT : NOKV_OK};
}

/* `rejected`: the number of the data record that the caller refuses; SIZE_MAX: none. */
static struct reading expected(const struct left *l, const struct truth *t, size_t rejected)
{
    struct reading out = {0};
    if (l->file_size < RLOG_FILE_HEADER || memcmp(l->file, t->bytes, RLOG_FILE_HEADER) != 0)
        return expected_without_header(l, t);
    size_t i = 0;
    for (; i < t->count && (in_file(l, t, i) || in_ring(l, t, i)); i++) {
        uint32_t length = get_u32(t->bytes + t->offs[i] + RECORD_LENGTH);
        out.is_sealed = type_of(t, i) == RLOG_SEAL;
        if (type_of(t, i) != RLOG_DATA)
            continue;
        if (out.records == rejected && !is_durable(l, t, i))
            return out;
        out.hash = checksum64(t->bytes + t->offs[i] + RLOG_RECORD_HEADER, length, out.hash ^ t->offs[i]);
        out.records++;
    }
    if (i < t->count && is_durable(l, t, i))
        out.status = NOKV_ERR_CORRUPT;
    return out;
}

static struct reading read_log(struct slice ring, bool repair, size_t rejected)
{
    struct rlog_reader_options options = {
        .io = memory_io(), .path = "log", .component = IO_WAL, .kind = RLOG_WAL, .number = NUMBER, .ring = ring};
    struct reading out = {0};
    struct rlog_reader *r = NULL;
    struct rlog_end_report report;
    struct slice payload;
    uint64_t off;
    bool more = true, cut = false;
    out.status = rlog_reader_open(&options, &r);
    while (out.status == NOKV_OK && (out.status = rlog_reader_next(r, &payload, &off, &more)) == NOKV_OK && more) {
        if (out.records == rejected)
            fuzz_must(rlog_reader_reject(r, off, &payload, &cut) == NOKV_OK, "reject");
        if (cut)
            break;
        out.hash = checksum64(payload.data, payload.size, out.hash ^ off);
        out.records++;
    }
    if (out.status == NOKV_OK) {
        rlog_reader_end(r, &report);
        out.is_sealed = report.sealed;
        if (repair)
            fuzz_must(rlog_repair_tail(r) == NOKV_OK, "repair");
    }
    rlog_reader_close(r);
    return out;
}

static void must_be(struct reading found, struct reading wanted, const char *what)
{
    fuzz_must(found.status == wanted.status, what);
    if (found.status == NOKV_OK)
        fuzz_must(found.records == wanted.records && found.hash == wanted.hash && found.is_sealed == wanted.is_sealed,
                  what);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct truth t;
    static struct left l;
    if (size < HEAD)
        return 0;
    size_t count = data[1] % (RECORDS_MAX + 1);
    if (size < HEAD + count + PLACES)
        return 0;
    truth_make(&t, data[0] & SEALED, data + HEAD, count);
    left_make(&l, &t, data[0], data + HEAD + count, size - HEAD - count);
    memory_io_put("log", l.file, l.file_size);
    struct slice ring = slice_make(l.ring, l.ring_size);
    size_t rejected = data[0] & REJECT ? data[0] >> REJECT_SHIFT : SIZE_MAX;
    struct reading wanted = expected(&l, &t, rejected);
    must_be(read_log(ring, data[0] & REPAIR, rejected), wanted, "file and buffer");
    if (wanted.status == NOKV_OK && (data[0] & REPAIR)) {
        wanted.is_sealed = true;
        must_be(read_log((struct slice){0}, false, SIZE_MAX), wanted, "after the repair");
    }
    return 0;
}

/* ---- the mutator ------------------------------------------------------------------------------------------------ */

/* A record more or less moves what follows; the places are drawn near the ends of records. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    if (size < HEAD + PLACES || fuzz_draw(&random, 8) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    size_t count = data[1] % (RECORDS_MAX + 1), places = HEAD + count;
    if (size < places + PLACES)
        return LLVMFuzzerMutate(data, size, max_size);
    switch (fuzz_draw(&random, 5)) {
    case 0: /* another record at the end */
        if (count == RECORDS_MAX || size == max_size)
            return size;
        memmove(data + places + 1, data + places, size - places);
        data[places] = fuzz_draw(&random, 3) ? (uint8_t)fuzz_draw(&random, 256) : 7;
        data[1] = (uint8_t)(count + 1);
        return size + 1;
    case 1: /* another kind */
        data[count ? HEAD + fuzz_draw(&random, count) : 0] = (uint8_t)fuzz_draw(&random, 256);
        return size;
    case 2: /* other ends */
        put_u16(data + places, (uint16_t)(fuzz_draw(&random, 2) ? UINT16_MAX : fuzz_draw(&random, IMAGE_MAX)));
        put_u16(data + places + 2, (uint16_t)fuzz_draw(&random, IMAGE_MAX));
        return size;
    case 3: /* other choices */
        data[0] = (uint8_t)fuzz_draw(&random, 256);
        return size;
    default:
        return fuzz_mutate_units(data, size, max_size, places + PLACES, POKE, &random);
    }
}
