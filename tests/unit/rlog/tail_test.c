// SPDX-License-Identifier: Apache-2.0
/*
 * tail_test.c - torn tails are cut, damage is rejected, and repair leaves a log that ends in its seal.
 *
 * Most tests make one small log, keep its file as an image, and read variations of that image.
 */
#include "log_fixture.h"

enum { RING = 4096, COUNT = 6 };

static const size_t sizes[COUNT] = {0, 1, 15, 40, 7, 100};

struct made {
    struct fixture f;
    struct image image;   /* the file, everything in it */
    uint64_t ends[COUNT]; /* offset behind each record */
    uint64_t synced;      /* what the mark covers; the mark stands there */
};

enum { SYNCED_COUNT = 3 }; /* records before the sync */

static void make_log(struct made *m, bool seal)
{
    fixture_init_log(&m->f, RING);
    for (size_t i = 0; i < COUNT; i++) {
        if (i == SYNCED_COUNT) {
            OK(rlog_sync(m->f.writer));
            m->synced = rlog_synced(m->f.writer);
        }
        append_one(&m->f, i, sizes[i]);
        m->ends[i] = rlog_end(m->f.writer);
    }
    if (seal)
        OK(rlog_seal(m->f.writer));
    else
        OK(rlog_flush(m->f.writer));
    m->image = image_load(m->f.path);
    assert_int_equal(m->image.size, rlog_end(m->f.writer));
}

static void drop_log(struct made *m)
{
    free(m->image.bytes);
    fixture_deinit(&m->f);
}

static struct outcome read_file_only(const struct made *m)
{
    struct rlog_reader_options options = reader_options(&m->f, (struct slice){0});
    return read_log_with(&options, sizes, COUNT, false);
}

static struct outcome repair_file_only(const struct made *m)
{
    struct rlog_reader_options options = reader_options(&m->f, (struct slice){0});
    return read_log_with(&options, sizes, COUNT, true);
}

/* How many records end at or before `off`. */
static size_t records_before(const struct made *m, uint64_t off)
{
    size_t n = 0;
    while (n < COUNT && m->ends[n] <= off)
        n++;
    return n;
}

/* After a repair the log is sealed, has `count` records, and repairing it again changes nothing. */
static void assert_repaired(const struct made *m, size_t count)
{
    struct outcome out = read_file_only(m);
    assert_int_equal(out.status, NOKV_OK);
    assert_int_equal(out.count, count);
    assert_true(out.report.sealed);
    struct image before = image_load(m->f.path);
    assert_int_equal(repair_file_only(m).status, NOKV_OK);
    struct image after = image_load(m->f.path);
    assert_true(before.size == after.size && memcmp(before.bytes, after.bytes, before.size) == 0);
    free(before.bytes);
    free(after.bytes);
}

/* A file that ends anywhere reads as the whole records before that place, and is cut and sealed there. */
static void test_every_length(void **state)
{
    (void)state;
    struct made m;
    make_log(&m, false);
    for (size_t length = 0; length <= m.image.size; length++) {
        image_store(m.f.path, m.image.bytes, length);
        struct outcome out = read_file_only(&m);
        assert_int_equal(out.status, NOKV_OK);
        assert_int_equal(out.count, records_before(&m, length));
        assert_false(out.report.sealed);
        assert_true(out.report.end_off <= length && out.report.end_off + out.report.cut_bytes <= length);
        if (length % 7 == 0) {
            assert_int_equal(repair_file_only(&m).status, NOKV_OK);
            assert_repaired(&m, out.count);
        }
    }
    drop_log(&m);
}

/* Whatever is missing at the end of the file, the ring still has it; repair moves it to the file. */
static void test_every_length_with_ring(void **state)
{
    (void)state;
    struct made m;
    make_log(&m, false);
    for (size_t length = RLOG_FILE_HEADER; length <= m.image.size; length++) {
        image_store(m.f.path, m.image.bytes, length);
        struct outcome out = read_log(&m.f, true, sizes, COUNT);
        assert_int_equal(out.status, NOKV_OK);
        assert_int_equal(out.count, COUNT);
        assert_true(out.report.end_off == m.image.size && out.report.cut_bytes == 0);
        assert_true(out.report.ring_bytes >= m.image.size - length);
        if (length % 7 == 0) {
            assert_int_equal(repair_log(&m.f, sizes, COUNT).status, NOKV_OK);
            assert_repaired(&m, COUNT);
        }
    }
    drop_log(&m);
}

/* Records that only the ring has may alternate with records of the file (pages that a power cut kept or dropped). */
static void test_holes_filled_from_ring(void **state)
{
    (void)state;
    struct made m;
    make_log(&m, false);
    for (unsigned mask = 0; mask < 1u << COUNT; mask++) {
        uint8_t *bytes = malloc(m.image.size);
        memcpy(bytes, m.image.bytes, m.image.size);
        for (size_t i = 0; i < COUNT; i++)
            if (mask >> i & 1)
                memset(bytes + m.ends[i] - record_size(sizes[i]), 0, record_size(sizes[i]));
        image_store(m.f.path, bytes, m.image.size);
        struct outcome out = repair_log(&m.f, sizes, COUNT);
        assert_int_equal(out.status, NOKV_OK);
        assert_int_equal(out.count, COUNT);
        assert_repaired(&m, COUNT);
        free(bytes);
    }
    drop_log(&m);
}

/* Behind the last record: some bytes of garbage, zeros, a hole and then whole records. All of it is cut and counted. */
static void test_torn_tails(void **state)
{
    (void)state;
    struct made m;
    make_log(&m, false);
    uint64_t rng = test_seed(21);
    for (size_t keep = SYNCED_COUNT; keep < COUNT; keep++) {
        for (size_t extra = 0; extra < 40; extra++) {
            for (int form = 0; form < 3; form++) {
                uint64_t end = m.ends[keep - 1];
                size_t size = form == 2 ? m.image.size : end + extra;
                uint8_t *bytes = calloc(1, size + 1);
                memcpy(bytes, m.image.bytes, form == 2 ? size : end);
                for (size_t i = 0; form == 0 && i < extra; i++)
                    bytes[end + i] = (uint8_t)(test_random(&rng) | 1);
                if (form == 2)
                    memset(bytes + end, 0, 1 + extra % 16);
                image_store(m.f.path, bytes, size);
                struct outcome out = repair_file_only(&m);
                assert_int_equal(out.status, NOKV_OK);
                assert_int_equal(out.count, keep);
                if (form < 2)
                    assert_true(out.report.cut_bytes == (form == 0 ? extra : 0));
                assert_repaired(&m, keep);
                free(bytes);
            }
        }
    }
    drop_log(&m);
}

/* Any flipped bit of a sealed log is CORRUPT, unless only the seal itself is hit: then nothing of this log is lost. */
static void test_flips_sealed(void **state)
{
    (void)state;
    struct made m;
    make_log(&m, true);
    for (size_t bit = 0; bit < m.image.size * 8; bit++) {
        m.image.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        image_store(m.f.path, m.image.bytes, m.image.size);
        m.image.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct outcome out = read_file_only(&m);
        if (bit / 8 >= m.image.size - RLOG_MARK_SIZE) {
            assert_true(out.status == NOKV_OK && out.count == COUNT && !out.report.sealed);
        } else {
            assert_int_equal(out.status, NOKV_ERR_CORRUPT);
        }
    }
    drop_log(&m);
}

/* A flipped bit below the last mark is CORRUPT; one in the mark or behind it cuts there, and every synced record is
 * still read. */
static void test_flips_unsealed(void **state)
{
    (void)state;
    struct made m;
    make_log(&m, false);
    for (size_t bit = 0; bit < m.image.size * 8; bit++) {
        m.image.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        image_store(m.f.path, m.image.bytes, m.image.size);
        m.image.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct outcome out = read_file_only(&m);
        if (bit / 8 < m.synced) {
            assert_int_equal(out.status, NOKV_ERR_CORRUPT);
        } else {
            assert_int_equal(out.status, NOKV_OK);
            assert_int_equal(out.count, u64_max(SYNCED_COUNT, records_before(&m, bit / 8)));
            assert_true(out.report.cut_bytes > 0);
        }
    }
    drop_log(&m);
}

/* A synced record that is damaged in the file: the ring still has it, and it is read from there. When the ring has only
 * the mark, it is CORRUPT. When it has neither, and the file no mark, nobody can tell: it is cut. */
static void test_synced_damage_and_ring(void **state)
{
    (void)state;
    struct made m;
    make_log(&m, false);
    m.image.bytes[m.ends[0] + 20] ^= 1; /* the second record */
    image_store(m.f.path, m.image.bytes, m.synced);
    struct outcome out = read_log(&m.f, true, sizes, COUNT);
    assert_true(out.status == NOKV_OK && out.count == COUNT);
    memset(m.f.ring.data, 0, m.synced);
    assert_int_equal(read_log(&m.f, true, sizes, COUNT).status, NOKV_ERR_CORRUPT);
    memset(m.f.ring.data, 0, m.synced + RLOG_MARK_SIZE);
    out = read_log(&m.f, true, sizes, COUNT);
    assert_true(out.status == NOKV_OK && out.count == 1 && out.report.cut_bytes > 0);
    drop_log(&m);
}

/* A mark that goes around the end of the ring is found as well. */
static void test_mark_around_ring_end(void **state)
{
    (void)state;
    for (uint64_t head = 8; head <= 16; head += 8) {
        struct fixture f;
        fixture_init_log(&f, RING);
        size_t all[80], count = 0;
        while (rlog_end(f.writer) + 200 < RING - head) {
            all[count] = 48;
            append_one(&f, count++, 48);
        }
        all[count] = RING - head - rlog_end(f.writer) - RLOG_RECORD_HEADER;
        append_one(&f, count, all[count]);
        count++;
        OK(rlog_sync(f.writer));
        assert_true(rlog_end(f.writer) == RING - head);
        all[count] = 3;
        append_one(&f, count++, 3);
        assert_int_equal(read_log(&f, true, all, count).count, count);
        struct image image = image_load(f.path);
        image.bytes[image.size - 1] ^= 0x80; /* of the last synced record; its copy in the ring goes too: */
        image_store(f.path, image.bytes, image.size);
        f.ring.data[RING - head - 1] ^= 0x80;
        assert_int_equal(read_log(&f, true, all, count).status, NOKV_ERR_CORRUPT);
        free(image.bytes);
        fixture_deinit(&f);
    }
}

/* Behind a seal there may be zeros, which repair cuts, and nothing else. */
static void test_behind_the_seal(void **state)
{
    (void)state;
    struct made m;
    make_log(&m, true);
    uint8_t *bytes = calloc(1, m.image.size + 10000);
    memcpy(bytes, m.image.bytes, m.image.size);
    image_store(m.f.path, bytes, m.image.size + 10000);
    struct outcome out = read_file_only(&m);
    assert_true(out.status == NOKV_OK && out.report.sealed && out.count == COUNT);
    assert_int_equal(repair_file_only(&m).status, NOKV_OK);
    assert_repaired(&m, COUNT);
    uint64_t size;
    OK(io_stat(m.f.io, m.f.path, &size));
    assert_true(size == m.image.size);
    for (size_t at = 0; at < 10000; at += 777) {
        bytes[m.image.size + at] = 1;
        image_store(m.f.path, bytes, m.image.size + 10000);
        bytes[m.image.size + at] = 0;
        assert_int_equal(read_file_only(&m).status, NOKV_ERR_CORRUPT);
    }
    free(bytes);
    drop_log(&m);
}

/* A creation that was cut short (any part of the header, zeros, preallocated zeros) reads as an empty log and is
 * repaired to one. */
static void test_torn_creation(void **state)
{
    (void)state;
    struct made m;
    make_log(&m, false);
    memset(m.f.ring.data, 0, RING);
    for (size_t good = 0; good < RLOG_FILE_HEADER; good++) {
        uint8_t bytes[200] = {0};
        memcpy(bytes, m.image.bytes, good);
        for (int form = 0; form < 3; form++) {
            image_store(m.f.path, bytes, form == 0 ? good : form == 1 ? RLOG_FILE_HEADER : sizeof bytes);
            struct outcome out = read_file_only(&m);
            assert_int_equal(out.status, NOKV_OK);
            assert_true(out.count == 0 && !out.report.sealed && out.report.cut_bytes <= good);
            if (good % 13 == 0) {
                assert_int_equal(repair_log(&m.f, sizes, COUNT).status, NOKV_OK);
                assert_repaired(&m, 0);
            }
        }
    }
    drop_log(&m);
}

/* A damaged header is no torn creation as soon as a record exists, in the file or in the ring. */
static void test_damaged_header(void **state)
{
    (void)state;
    struct made m;
    make_log(&m, false);
    m.image.bytes[30] ^= 4;
    image_store(m.f.path, m.image.bytes, m.image.size);
    assert_int_equal(read_file_only(&m).status, NOKV_ERR_CORRUPT);
    image_store(m.f.path, m.image.bytes, RLOG_FILE_HEADER);
    assert_int_equal(read_file_only(&m).status, NOKV_OK);
    assert_int_equal(read_log(&m.f, true, sizes, COUNT).status, NOKV_ERR_CORRUPT);
    drop_log(&m);
}

static void store_header(const struct made *m, size_t at, uint8_t value)
{
    uint8_t header[RLOG_FILE_HEADER];
    memcpy(header, m->image.bytes, sizeof header);
    header[at] = value;
    put_u32(header + 60, checksum32(header, 60, 0));
    memcpy(m->image.bytes, header, sizeof header);
    image_store(m->f.path, m->image.bytes, m->image.size);
    memcpy(m->image.bytes, header, sizeof header);
}

/* A sound header of another version or with features is NOT_SUPPORTED, of another kind or number CORRUPT. */
static void test_other_headers(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value, good;
        enum nokv_status status;
    } cases[] = {{8, 2, 1, NOKV_ERR_NOT_SUPPORTED},
                 {12, 1, 0, NOKV_ERR_NOT_SUPPORTED},
                 {16, RLOG_MANIFEST, RLOG_WAL, NOKV_ERR_CORRUPT},
                 {24, LOG_NUMBER + 1, LOG_NUMBER, NOKV_ERR_CORRUPT},
                 {31, 1, 0, NOKV_ERR_CORRUPT},
                 {48, 1, 0, NOKV_ERR_CORRUPT}};
    struct made m;
    make_log(&m, true);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        store_header(&m, cases[i].at, cases[i].value);
        assert_int_equal(read_file_only(&m).status, cases[i].status);
        store_header(&m, cases[i].at, cases[i].good);
        assert_int_equal(read_file_only(&m).status, NOKV_OK);
    }
    drop_log(&m);
}

/* A sound record of a type from the future is NOT_SUPPORTED; marks that cannot be are CORRUPT. */
static void test_other_records(void **state)
{
    (void)state;
    static const struct {
        uint32_t type, size;
        uint64_t covers;
        enum nokv_status status;
    } cases[] = {{4, 8, 0, NOKV_ERR_NOT_SUPPORTED},           {0x101, 8, 0, NOKV_ERR_NOT_SUPPORTED},
                 {RLOG_SYNCED, 0, 0, NOKV_ERR_CORRUPT},       {RLOG_SYNCED, 16, 0, NOKV_ERR_CORRUPT},
                 {RLOG_SEAL, 0, 0, NOKV_ERR_CORRUPT},         {RLOG_SEAL, 8, UINT64_MAX, NOKV_ERR_CORRUPT},
                 {RLOG_SYNCED, 8, 1 << 20, NOKV_ERR_CORRUPT}, {RLOG_SYNCED, 8, 64, NOKV_OK}};
    struct made m;
    make_log(&m, false);
    uint64_t end = m.image.size;
    uint8_t *bytes = calloc(1, end + 64);
    memcpy(bytes, m.image.bytes, end);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint8_t *p = bytes + end;
        memset(p, 0, 64);
        record_put_header(p, cases[i].size, LOG_NUMBER, RLOG_DATA);
        put_u32(p + RECORD_TYPE, cases[i].type);
        put_u64(p + RLOG_RECORD_HEADER, cases[i].covers);
        put_u32(p, record_checksum(p, cases[i].size, record_seed(log_id, end)));
        image_store(m.f.path, bytes, end + record_size(cases[i].size));
        struct outcome out = read_file_only(&m);
        assert_int_equal(out.status, cases[i].status);
        assert_int_equal(out.count, COUNT);
    }
    free(bytes);
    drop_log(&m);
}

/* Records of another log number, of a log that had the same number, or of another place, in file or ring, are never
 * taken for records of this one. */
static void test_stale_bytes(void **state)
{
    (void)state;
    struct made m;
    make_log(&m, false);
    struct outcome out = read_log(&m.f, true, sizes, COUNT);
    assert_int_equal(out.count, COUNT);
    /* another log's file, then this one's ring: same offsets, same payloads, another number or salt */
    for (int other_salt = 0; other_salt < 2; other_salt++) {
        struct fixture other;
        fixture_init(&other, RING);
        other.options.number += !other_salt;
        other.options.salt += other_salt;
        fixture_create_log(&other);
        append_one(&other, 0, sizes[0]);
        struct rlog_reader_options options = reader_options(&other, slice_make(m.f.ring.data, RING));
        options.number = other.options.number;
        out = read_log_with(&options, sizes, COUNT, false);
        assert_true(out.status == NOKV_OK && out.count == 0);
        OK(rlog_flush(other.writer));
        out = read_log_with(&options, sizes, COUNT, false);
        assert_true(out.status == NOKV_OK && out.count == 1);
        fixture_deinit(&other);
    }
    /* a record moved by one place */
    uint8_t *moved = calloc(1, m.image.size + 8);
    memcpy(moved, m.image.bytes, RLOG_FILE_HEADER);
    memcpy(moved + RLOG_FILE_HEADER + 8, m.image.bytes + RLOG_FILE_HEADER, m.image.size - RLOG_FILE_HEADER);
    image_store(m.f.path, moved, m.image.size + 8);
    out = read_file_only(&m);
    assert_true(out.status == NOKV_OK && out.count == 0 && out.report.cut_bytes > 0);
    free(moved);
    drop_log(&m);
}

/* A length that nothing confirms makes the reader read, never allocate. */
static void test_hostile_length(void **state)
{
    (void)state;
    struct made m;
    make_log(&m, false);
    uint64_t end = m.image.size;
    uint8_t header[RLOG_RECORD_HEADER];
    static const uint32_t lengths[] = {1u << 20, 30u << 20, 0x7fff0000u, 0xffffffffu};
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        record_put_header(header, lengths[i], LOG_NUMBER, RLOG_DATA);
        put_u32(header, 12345);
        image_store(m.f.path, m.image.bytes, end);
        FILE *file = fopen(m.f.path, "r+b");
        assert_non_null(file);
        assert_int_equal(fseek(file, (long)end, SEEK_SET), 0);
        assert_int_equal(fwrite(header, 1, sizeof header, file), sizeof header);
        fclose(file);
        assert_int_equal(truncate(m.f.path, 32 << 20), 0);
        uint64_t before = mem_alloc_count();
        struct outcome out = read_file_only(&m);
        uint64_t hostile = mem_alloc_count() - before;
        assert_true(out.status == NOKV_OK && out.count == COUNT && out.report.cut_bytes == 13);
        image_store(m.f.path, m.image.bytes, end);
        before = mem_alloc_count();
        (void)read_file_only(&m);
        assert_int_equal(hostile, mem_alloc_count() - before);
    }
    drop_log(&m);
}

/* A record of the ring that goes bad between reading and repair is missed: the repair says so, and seals nothing. */
static void test_vanished(void **state)
{
    (void)state;
    struct fixture f;
    struct rlog_reader *r = NULL;
    size_t count = 0;
    bool more = true;
    fixture_init_log(&f, RING);
    for (size_t i = 0; i < COUNT; i++)
        append_one(&f, i, sizes[i]);
    fixture_kill(&f);
    struct rlog_reader_options options = reader_options(&f, slice_make(f.ring.data, f.ring.size));
    OK(rlog_reader_open(&options, &r));
    while (more) {
        struct slice payload;
        uint64_t off;
        OK(rlog_reader_next(r, &payload, &off, &more));
        count += more;
    }
    assert_int_equal(count, COUNT);
    uint8_t *byte = (uint8_t *)f.ring.data + RLOG_FILE_HEADER;
    *byte ^= 1;
    FAILS(CORRUPT, rlog_repair_tail(r));
    assert_non_null(strstr(status_message(), "has vanished"));
    rlog_reader_close(r);
    *byte ^= 1;
    struct outcome out = repair_log(&f, sizes, COUNT);
    assert_int_equal(out.status, NOKV_OK);
    assert_int_equal(out.count, COUNT);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_length),           cmocka_unit_test(test_every_length_with_ring),
        cmocka_unit_test(test_holes_filled_from_ring), cmocka_unit_test(test_torn_tails),
        cmocka_unit_test(test_flips_sealed),           cmocka_unit_test(test_flips_unsealed),
        cmocka_unit_test(test_synced_damage_and_ring), cmocka_unit_test(test_mark_around_ring_end),
        cmocka_unit_test(test_behind_the_seal),        cmocka_unit_test(test_torn_creation),
        cmocka_unit_test(test_damaged_header),         cmocka_unit_test(test_other_headers),
        cmocka_unit_test(test_other_records),          cmocka_unit_test(test_stale_bytes),
        cmocka_unit_test(test_hostile_length),         cmocka_unit_test(test_vanished),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
