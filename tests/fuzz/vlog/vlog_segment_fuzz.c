// SPDX-License-Identifier: Apache-2.0
/*
 * vlog_segment_fuzz.c - any bytes as the records of a segment: scanned, salvaged and read.
 *
 * Input: one byte of choices, one that picks header or footer damage, then the bytes from the first record on. Header
 * and (with SEALED) footer pages are put around them. With REHASH every record that a walk meets gets the checksums
 * that it should have, and the footer right counts: otherwise next to no input would get past the checksums.
 *
 * Checked besides not crashing: every byte is counted once; a second scan says the same; what a scan shows, a reader
 * reads alike by every model, whole and in parts; what a scan without salvage accepts, a salvage shows too. With too
 * little memory a scan says the same, or NO_MEMORY.
 *
 * The mutator moves whole records about, changes key or value of one, and gives it the sizes that fit.
 */
#include "../fuzz.h"
#include "../memory_io.h"
#include "base/epoch.h"
#include "vlog/format.h"

enum { REHASH = 1, SEALED = 2, SALVAGE = 4, MUST_BE_SEALED = 8, POKE = 16 };
enum { NUMBER = 7, SALT = 99, HEAD = 2, INPUT_MAX = 300000 };

/* ---- the file -------------------------------------------------------------------------------------------------- */

struct image {
    uint8_t *bytes;
    size_t size;
};

/* Right checksums for the record at `off`, whatever its header says. Returns its size, 0: not one. */
static uint64_t record_rehash(uint8_t *bytes, uint64_t off, uint64_t end, struct segment_footer *f)
{
    uint64_t seed = segment_seed(f->id);
    struct record_header h;
    uint8_t *p = bytes + off;
    if (end - off < VLOG_RECORD_HEADER)
        return 0;
    p[5] = VLOG_CHUNK_LOG2;
    put_u64(p + 24, 0);
    p[4] = p[4] % 4 == 2 ? VLOG_PADDING : VLOG_VALUE;
    if (!format_record_claim(p, &h) || record_size(&h) > end - off)
        return 0;
    if (h.type == VLOG_PADDING) {
        format_padding(p, seed, off, record_size(&h));
        return record_size(&h);
    }
    const struct ikey key = {.user = slice_make(p + VLOG_RECORD_HEADER, h.key_size), .tag = h.tag};
    uint8_t *value = p + VLOG_RECORD_HEADER + h.key_size, *sums = value + h.value_size;
    format_record_header(p, seed, off, key, h.value_size);
    for (uint64_t i = 0; i < chunk_count(h.value_size); i++)
        put_u32(sums + 4 * i,
                chunk_sum(chunk_raw_sum(value + i * VLOG_CHUNK, chunk_size(h.value_size, i), seed), seed, off, i));
    uint8_t *zeros = sums + 4 * chunk_count(h.value_size);
    memset(zeros, 0, (size_t)(p + record_size(&h) - zeros));
    f->records++;
    f->record_bytes += record_size(&h);
    f->value_bytes += h.value_size;
    return record_size(&h);
}

static struct image image_make(unsigned choices, uint8_t poke, const uint8_t *data, size_t size)
{
    uint64_t end = PAGE_BYTES + size - size % VLOG_ALIGN, footer_off = align_up(end, PAGE_BYTES);
    struct segment_footer f = {.id = {.number = NUMBER, .salt = SALT}, .end = end};
    struct image image = {.bytes = calloc(1, footer_off + PAGE_BYTES), .size = PAGE_BYTES + size};
    fuzz_must(image.bytes != NULL, "calloc");
    if (size != 0)
        memcpy(image.bytes + PAGE_BYTES, data, choices & SEALED ? end - PAGE_BYTES : size);
    format_header_page(image.bytes, f.id);
    uint64_t off = PAGE_BYTES, n = choices & REHASH;
    while (n != 0 && off < end)
        off += n = record_rehash(image.bytes, off, end, &f);
    if (choices & SEALED) {
        format_footer_page(image.bytes + footer_off, &f);
        image.size = footer_off + PAGE_BYTES;
    }
    if (choices & POKE)
        image.bytes[poke & 0x80 ? image.size - 1 - (poke & 0x7f) : poke] ^= 0x10;
    return image;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

struct reading {
    enum nokv_status status;
    uint64_t hash; /* of all records */
    struct vlog_scan_totals totals;
};

static void read_record(struct vlog_reader *const readers[], const struct vlog_record *record, struct slice value)
{
    const struct vlog_pointer p = {.segment = NUMBER, .off = record->off, .value_size = (uint32_t)record->value_size};
    uint8_t *copy = malloc(value.size + 1);
    fuzz_must(copy != NULL, "malloc");
    for (int m = VLOG_READ_AUTO; m <= VLOG_READ_URING; m++) {
        struct slice in_place;
        if (readers[m] == NULL)
            continue;
        fuzz_must(vlog_read(readers[m], &p, record->key.user, 0, copy, value.size) == NOKV_OK, "read");
        fuzz_must(slice_equal(slice_make(copy, value.size), value), "read differs");
        uint64_t off = value.size / 3, part = value.size / 2;
        fuzz_must(vlog_read(readers[m], &p, record->key.user, off, copy, part) == NOKV_OK, "read of a part");
        fuzz_must(part == 0 || memcmp(copy, value.data + off, part) == 0, "part differs");
        fuzz_must(vlog_read_in_place(readers[m], &p, record->key.user, &in_place) == NOKV_OK, "in place");
        fuzz_must(in_place.data == NULL || slice_equal(in_place, value), "in place differs");
    }
    free(copy);
}

static struct reading scan(struct io *io, unsigned choices, uint64_t value_size_max,
                           struct vlog_reader *const readers[])
{
    const struct vlog_scan_options o = {.io = io,
                                        .path = "v",
                                        .component = IO_OTHER,
                                        .value_size_max = value_size_max,
                                        .is_sealed = choices & MUST_BE_SEALED,
                                        .salvage = choices & SALVAGE};
    struct reading out = {0};
    struct vlog_scan *s = NULL;
    struct vlog_record record;
    bool more = true;
    out.status = vlog_scan_open(&o, &s);
    while (out.status == NOKV_OK && (out.status = vlog_scan_next(s, &record, &more)) == NOKV_OK && more) {
        out.hash = checksum64(record.key.user.data, record.key.user.size, out.hash ^ record.off ^ record.key.tag);
        fuzz_must((record.value.data != NULL) == (record.value_size <= value_size_max), "shown or not");
        if (readers != NULL && record.value.data != NULL)
            read_record(readers, &record, record.value);
    }
    if (s != NULL)
        out.totals = vlog_scan_totals(s);
    vlog_scan_close(s);
    return out;
}

/* Wherever a pointer leads: an answer, right or an error. */
static void read_anything(struct vlog_reader *r, const uint8_t *data, size_t size)
{
    uint8_t buffer[64];
    for (size_t i = 0; i + 8 <= size && i < 80; i += 8) {
        struct vlog_pointer p = {.segment = NUMBER,
                                 .off = PAGE_BYTES + 8ull * get_u16(data + i),
                                 .value_size = get_u16(data + i + 2) << (data[i + 4] % 14)};
        struct slice value, key = slice_make(data, data[i + 5] % 16 < size ? data[i + 5] % 16 : 0);
        enum nokv_status status = vlog_read_in_place(r, &p, key, &value);
        status = vlog_read(r, &p, key, p.value_size / 2, buffer, u64_min(sizeof buffer, p.value_size / 2));
        (void)status;
    }
}

static void check(struct io *io, unsigned choices, size_t file_size, const uint8_t *data, size_t size)
{
    struct vlog_reader *readers[VLOG_READ_URING + 1] = {0};
    for (int m = VLOG_READ_AUTO; m <= VLOG_READ_URING; m++)
        if (vlog_reader_open(io, "v", NUMBER, (enum vlog_read_model)m, NULL, NULL, &readers[m]) == NOKV_OK)
            read_anything(readers[m], data, size);
    struct reading whole = scan(io, choices, KEY_VALUE_SIZE_MAX, readers);
    struct reading keys = scan(io, choices, 10, NULL);
    fuzz_must(whole.status == keys.status && whole.hash == keys.hash, "the scans differ");
    struct vlog_scan_totals t = whole.totals;
    if (whole.status == NOKV_OK) {
        uint64_t counted = t.record_bytes + t.padding_bytes + t.unfinished_bytes + t.damaged_bytes;
        fuzz_must(counted <= file_size && counted + 3 * PAGE_BYTES > file_size, "not every byte is counted once");
        struct reading salvaged = scan(io, choices | SALVAGE, 0, NULL);
        fuzz_must(salvaged.status == NOKV_OK && salvaged.hash == whole.hash, "the salvage differs");
    }
    for (int m = VLOG_READ_AUTO; m <= VLOG_READ_URING; m++)
        vlog_reader_unref(readers[m]);
}

static void check_short_of_memory(struct io *io, unsigned choices, uint64_t allocation)
{
    struct reading wanted = scan(io, choices, 10, NULL);
    mem_fail_after(allocation);
    struct reading found = scan(io, choices, 10, NULL);
    mem_fail_after(UINT64_MAX);
    fuzz_must(found.status == NOKV_ERR_NO_MEMORY || (found.status == wanted.status && found.hash == wanted.hash),
              "another answer with little memory");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t allocation;
    if (size < HEAD || size > INPUT_MAX)
        return 0;
    fuzz_must(epoch_register() == NOKV_OK, "register");
    struct image image = image_make(data[0], data[1], data + HEAD, size - HEAD);
    memory_io_put("v", image.bytes, image.size);
    if (fuzz_short_of_memory(data, size, &allocation))
        check_short_of_memory(memory_io(), data[0], allocation);
    check(memory_io(), data[0], image.size, data + HEAD, size - HEAD);
    epoch_drain();
    free(image.bytes);
    return 0;
}

/* ---- the mutator ------------------------------------------------------------------------------------------------ */

/* One piece per record or padding, as far as their headers lead; the rest is one. */
static void segment_split(struct fuzz_pieces *p)
{
    for (size_t off = p->head; p->size - off >= VLOG_RECORD_HEADER; off = p->ends[p->count - 1]) {
        struct record_header h;
        if (!format_record_claim(p->data + off, &h) || !piece_add(p, record_size(&h)))
            break;
    }
    pieces_end(p);
}

static void record_insert(struct fuzz_pieces *p, uint64_t *random)
{
    static const uint32_t sizes[] = {0, 1, 30, 300, 65536, 65537};
    uint8_t header[VLOG_RECORD_HEADER];
    size_t i = fuzz_draw(random, p->count + 1), key_size = fuzz_draw(random, 20);
    uint64_t value_size = sizes[fuzz_draw(random, fuzz_draw(random, 8) ? 4 : ARRAY_COUNT(sizes))];
    const struct ikey key = {.user = slice_make(header, key_size), .tag = fuzz_draw(random, 1000)};
    size_t size = fuzz_draw(random, 4) ? vlog_record_size(key_size, value_size) : VLOG_RECORD_HEADER + 8 * key_size;
    if (size == VLOG_RECORD_HEADER + 8 * key_size)
        format_padding(header, 0, 0, size);
    else
        format_record_header(header, 0, 0, key, value_size);
    if (piece_insert(p, i, NULL, 0) && piece_resize(p, i, size))
        memcpy(piece_at(p, i), header, sizeof header);
}

/* Sizes that lead to the end of the piece. The checksums are made when the input is run. */
static void record_repair(struct fuzz_pieces *p, size_t i)
{
    struct record_header h;
    size_t size = piece_size(p, i) & ~(size_t)(VLOG_ALIGN - 1);
    if (size < VLOG_RECORD_HEADER || !piece_resize(p, i, size))
        return;
    uint8_t *r = piece_at(p, i);
    if (format_record_claim(r, &h) && record_size(&h) == size)
        return;
    h.key_size = (uint32_t)u64_min(get_u16(r + 6), (size - VLOG_RECORD_HEADER) / 2);
    uint64_t value = size - VLOG_RECORD_HEADER - h.key_size;
    while (value > 0 && vlog_record_size(h.key_size, value) > size)
        value--;
    r[4] = r[4] == VLOG_PADDING ? VLOG_PADDING : VLOG_VALUE;
    r[5] = VLOG_CHUNK_LOG2;
    put_u16(r + 6, (uint16_t)(r[4] == VLOG_PADDING ? 0 : h.key_size));
    put_u64(r + 8, r[4] == VLOG_PADDING ? 0 : get_u64(r + 8));
    put_u64(r + 16, r[4] == VLOG_PADDING ? size - VLOG_RECORD_HEADER : value);
    put_u64(r + 24, 0);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    struct fuzz_pieces p;
    if (size < HEAD || fuzz_draw(&random, 8) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    if (fuzz_draw(&random, 8) == 0)
        data[fuzz_draw(&random, HEAD)] = (uint8_t)fuzz_draw(&random, 256);
    pieces_begin(&p, data, HEAD, size, max_size);
    segment_split(&p);
    if (p.count == 0 || fuzz_draw(&random, 4) == 0)
        record_insert(&p, &random);
    else
        pieces_change(&p, fuzz_draw(&random, 2) ? VLOG_RECORD_HEADER : 0, &random);
    for (size_t i = 0; i < p.count && fuzz_draw(&random, 16); i++)
        record_repair(&p, i);
    return p.size;
}
