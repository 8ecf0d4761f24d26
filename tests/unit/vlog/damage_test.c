// SPDX-License-Identifier: Apache-2.0
/*
 * damage_test.c - flipped bits, cut files, overwritten stretches: whatever is read is right or an error, a scan
 * notices, and a salvage brings back all that is whole.
 *
 * The argument is the distance between the bits that are flipped: 1 for all of them.
 */
#include "vlog/format.h"
#include "vlog_model.h"

enum { COUNT = 9 };

static unsigned stride = 1;

struct disk {
    struct sim *sim;
    struct io *io;
    struct item items[COUNT];
    uint64_t gap_off, padding_off, padding_end; /* two places of padding, of which the bodies may be anything */
    uint64_t size;
};

static void disk_init(struct disk *d, bool seal)
{
    static const size_t sizes[COUNT] = {0, 3, 700, 4000, 66000, 1, 5000, 90, 12};
    struct vlog_writer *w = NULL;
    struct vlog_stream *s = NULL;
    *d = (struct disk){0};
    OK(epoch_register());
    OK(sim_create(&(struct sim_options){.seed = 5}, &d->sim));
    OK(sim_io_create(d->sim, &d->io));
    struct vlog_writer_options o = model_options(d->io, "v", ".");
    OK(vlog_writer_create(&o, &w));
    for (size_t i = 0; i < COUNT; i++) {
        d->items[i] = (struct item){.number = i, .key_size = 8 + i, .value_size = sizes[i]};
        if (i == 5) { /* a place that is not given back, because another one follows before it is abandoned */
            OK(vlog_stream_begin(w, slice_make("abandoned", 9), 100, &s));
            d->gap_off = d->items[4].pointer.off + vlog_record_size(12, sizes[4]);
            d->padding_off = align_up(d->gap_off, PAGE_BYTES);
            d->padding_end = vlog_writer_bytes(w);
        }
        OK(item_append(w, &d->items[i]));
    }
    vlog_stream_abandon(s);
    OK(seal ? vlog_writer_seal(w) : vlog_writer_sync(w));
    vlog_writer_destroy(w);
    OK(io_stat(d->io, "v", &d->size));
}

static void disk_deinit(struct disk *d)
{
    epoch_drain();
    io_destroy(d->io);
    sim_destroy(d->sim);
}

static bool is_damage(enum nokv_status status)
{
    return status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED;
}

/* Each value that is read is right (item_read checks that). Returns how many were refused. */
static unsigned count_refused(const struct disk *d, enum vlog_read_model model)
{
    struct vlog_reader *r = NULL;
    unsigned refused = 0;
    enum nokv_status status = vlog_reader_open(d->io, "v", SEGMENT, model, NULL, NULL, &r);
    if (status != NOKV_OK) {
        assert_true(is_damage(status));
        return COUNT;
    }
    for (size_t i = 0; i < COUNT; i++) {
        status = item_read(r, &d->items[i]);
        assert_true(status == NOKV_OK || is_damage(status));
        refused += status != NOKV_OK;
    }
    vlog_reader_unref(r);
    return refused;
}

static enum nokv_status scan(const struct disk *d, bool salvage, unsigned *out_records,
                             struct vlog_scan_totals *out_totals)
{
    unsigned seen[COUNT] = {0};
    const struct vlog_scan_options o = {.io = d->io,
                                        .path = "v",
                                        .number = SEGMENT,
                                        .component = IO_OTHER,
                                        .value_size_max = salvage ? 10000 : 0,
                                        .is_sealed = true,
                                        .salvage = salvage};
    enum nokv_status status = items_scan(&o, d->items, COUNT, seen, out_totals);
    *out_records = 0;
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(seen[i] <= 1);
        *out_records += seen[i];
    }
    return status;
}

/* Not in the body of padding. */
static bool means_something(const struct disk *d, uint64_t off)
{
    uint64_t header = 32;
    return off < d->gap_off + header || off >= d->padding_end ||
           (off >= d->padding_off && off < d->padding_off + header);
}

static void check_flipped(const struct disk *d, uint64_t bit)
{
    struct vlog_scan_totals totals = {0};
    unsigned records, refused = count_refused(d, bit % 3 ? VLOG_READ_AUTO : VLOG_READ_MMAP);
    enum nokv_status status = scan(d, false, &records, NULL);
    uint64_t off = bit / 8;
    if (!means_something(d, off)) {
        assert_true(status == NOKV_OK && refused == 0 && records == COUNT);
        return;
    }
    if (!is_damage(status))
        fail_msg("bit %llu flipped and nobody noticed", (unsigned long long)bit);
    bool in_record = off >= PAGE_BYTES && off < d->size - PAGE_BYTES;
    if (in_record)
        assert_true(refused <= 1);
    status = scan(d, true, &records, &totals);
    if (status != NOKV_OK) { /* a number or a version that cannot be believed */
        assert_true(is_damage(status) && !in_record);
        return;
    }
    assert_true(records + 1 >= COUNT);
    assert_true(records == COUNT || totals.damaged_bytes != 0);
}

/* Every bit of a sealed segment: a scan finds it, a read never gives a wrong answer, a salvage loses one record at
 * most. */
static void test_flipped_bits(void **state)
{
    (void)state;
    struct disk d;
    struct vlog_scan_totals totals;
    unsigned records;
    disk_init(&d, true);
    OK(scan(&d, false, &records, &totals));
    assert_true(totals.padding_bytes >= 2 * 32 && records == COUNT);
    assert_int_equal(count_refused(&d, VLOG_READ_AUTO), 0);
    for (uint64_t bit = 0; bit < d.size * 8; bit += stride == 1 ? 1 : 1 + bit * 7 % stride) {
        OK(sim_flip_bit(d.sim, "v", bit / 8, bit % 8));
        check_flipped(&d, bit);
        OK(sim_flip_bit(d.sim, "v", bit / 8, bit % 8));
        if (bit % 64 == 0)
            epoch_reclaim();
    }
    disk_deinit(&d);
}

/* A file that is cut anywhere: what lies whole in front of the cut is salvaged. */
static void test_cut(void **state)
{
    (void)state;
    for (uint64_t size = 0; size < 90000; size += 1 + size * 5 % 3001) {
        struct disk d;
        struct io_file *file = NULL;
        struct vlog_scan_totals totals;
        unsigned records, wanted = 0;
        disk_init(&d, size % 2);
        if (size >= d.size) {
            disk_deinit(&d);
            break;
        }
        OK(io_open(d.io, "v", IO_OTHER, IO_STD, IO_WRITE, &file));
        OK(io_truncate(file, size));
        OK(io_close(file));
        for (size_t i = 0; i < COUNT; i++)
            wanted += d.items[i].pointer.off + vlog_record_size(d.items[i].key_size, d.items[i].value_size) <= size;
        FAILS(CORRUPT, scan(&d, false, &records, NULL));
        if (size >= PAGE_BYTES) {
            OK(scan(&d, true, &records, &totals));
            assert_int_equal(records, wanted);
            assert_int_equal(count_refused(&d, VLOG_READ_AUTO), COUNT - wanted);
        } else {
            FAILS(CORRUPT, scan(&d, true, &records, &totals));
        }
        disk_deinit(&d);
    }
}

/* A stretch that was overwritten: the records that it touches are gone, all others are salvaged, and counted. */
static void test_overwritten(void **state)
{
    (void)state;
    uint64_t rng = test_seed(8);
    for (int round = 0; round < 60; round++) {
        struct disk d;
        struct io_file *file = NULL;
        struct vlog_scan_totals totals;
        static uint8_t junk[9000];
        unsigned records, untouched = 0;
        disk_init(&d, true);
        uint64_t off = PAGE_BYTES + test_random(&rng) % (d.size - 3 * PAGE_BYTES);
        uint64_t size = u64_min(1 + test_random(&rng) % sizeof junk, d.size - PAGE_BYTES - off);
        pattern_fill(junk, test_random(&rng), 0, size);
        OK(io_open(d.io, "v", IO_OTHER, IO_STD, IO_WRITE, &file));
        OK(io_pwrite(file, junk, size, off));
        OK(io_close(file));
        for (size_t i = 0; i < COUNT; i++) {
            uint64_t from = d.items[i].pointer.off;
            uint64_t to = from + vlog_record_size(d.items[i].key_size, d.items[i].value_size);
            untouched += to <= off || from >= off + size;
        }
        OK(scan(&d, true, &records, &totals));
        assert_int_equal(records, untouched);
        uint64_t counted = totals.record_bytes + totals.padding_bytes + totals.damaged_bytes;
        assert_true(counted > d.size - 3 * PAGE_BYTES && counted <= d.size - 2 * PAGE_BYTES);
        assert_int_equal(count_refused(&d, VLOG_READ_MMAP), COUNT - untouched);
        disk_deinit(&d);
    }
}

static void check_chunks_apart(unsigned chunks)
{
    struct disk d = {0};
    struct vlog_writer *w = NULL;
    OK(epoch_register());
    OK(sim_create(&(struct sim_options){.seed = 5}, &d.sim));
    OK(sim_io_create(d.sim, &d.io));
    struct vlog_writer_options o = model_options(d.io, "v", ".");
    struct item large = {.number = 1, .key_size = 8, .value_size = (chunks - 1) * VLOG_CHUNK + 1};
    struct item next = {.number = 2, .key_size = 8, .value_size = 1};
    OK(vlog_writer_create(&o, &w));
    OK(item_append(w, &large));
    OK(item_append(w, &next));
    OK(vlog_writer_seal(w));
    vlog_writer_destroy(w);
    for (unsigned bad = 0; bad <= chunks; bad++) {
        struct vlog_reader *r = NULL;
        uint64_t off = large.pointer.off + 40 + (uint64_t)bad * VLOG_CHUNK;
        if (bad == chunks)
            off = next.pointer.off + 40;
        OK(sim_flip_bit(d.sim, "v", off, 0));
        OK(vlog_reader_open(d.io, "v", SEGMENT, VLOG_READ_MMAP, NULL, NULL, &r));
        for (int pass = 0; pass < 2; pass++) {
            for (unsigned i = 0; i < chunks; i++) {
                enum nokv_status status = item_read_range(r, &large, (uint64_t)i * VLOG_CHUNK, 1);
                assert_int_equal(status, i == bad ? NOKV_ERR_CORRUPT : NOKV_OK);
            }
            assert_int_equal(item_read(r, &next), bad == chunks ? NOKV_ERR_CORRUPT : NOKV_OK);
            assert_int_equal(item_read(r, &large), bad < chunks ? NOKV_ERR_CORRUPT : NOKV_OK);
        }
        vlog_reader_unref(r);
        OK(sim_flip_bit(d.sim, "v", off, 0));
    }
    disk_deinit(&d);
}

/* Each chunk of a mapped value is verified by itself: what is known of one says nothing of the others, nor of the
 * record that begins right behind a short last chunk. (Of two chunks, the last one and that record are closest.) */
static void test_chunks_apart(void **state)
{
    (void)state;
    for (unsigned chunks = 2; chunks <= 4; chunks++)
        check_chunks_apart(chunks);
}

static void page_load(const struct disk *d, uint64_t off, uint8_t page[PAGE_BYTES])
{
    struct io_file *file = NULL;
    OK(io_open(d->io, "v", IO_OTHER, IO_STD, IO_READ, &file));
    OK(io_pread_exact(file, page, PAGE_BYTES, off));
    OK(io_close(file));
}

static void page_store(const struct disk *d, uint64_t off, const uint8_t page[PAGE_BYTES])
{
    struct io_file *file = NULL;
    OK(io_open(d->io, "v", IO_OTHER, IO_STD, IO_WRITE, &file));
    OK(io_pwrite(file, page, PAGE_BYTES, off));
    OK(io_close(file));
}

/* A footer that is sound and says what is not so: wrong counts, or it is that of another segment. */
static void test_wrong_footers(void **state)
{
    (void)state;
    struct disk d;
    struct segment_footer f, wrong;
    uint8_t page[PAGE_BYTES];
    unsigned records;
    disk_init(&d, true);
    page_load(&d, d.size - PAGE_BYTES, page);
    OK(format_footer_decode(page, d.size, &f));
    for (int i = 0; i < 5; i++) {
        wrong = f;
        wrong.records -= i == 0;
        wrong.record_bytes -= i == 1;
        wrong.value_bytes -= i == 2;
        wrong.id.salt += i == 3;
        wrong.id.number += i == 4;
        format_footer_page(page, &wrong);
        page_store(&d, d.size - PAGE_BYTES, page);
        FAILS(CORRUPT, scan(&d, false, &records, NULL));
        assert_non_null(strstr(status_message(), i < 3 ? "the footer's counts are not those of the records"
                                                       : "the footer page is damaged or missing"));
        assert_int_equal(records, i < 3 ? COUNT : 0);
    }
    format_footer_page(page, &f);
    page_store(&d, d.size - PAGE_BYTES, page);
    OK(scan(&d, false, &records, NULL));
    disk_deinit(&d);
}

/* A segment of a later version, or of another number than its name says, is told from a damaged one, also by a salvage.
 */
static void test_not_this_segment(void **state)
{
    (void)state;
    enum { VERSION_OFF = 8 };
    struct disk d;
    struct vlog_scan *s = NULL;
    struct vlog_scan_options o = {.path = "v", .number = SEGMENT + 1, .component = IO_OTHER, .is_sealed = true};
    uint8_t page[PAGE_BYTES];
    disk_init(&d, true);
    o.io = d.io;
    for (int salvage = 0; salvage < 2; salvage++) {
        o.salvage = salvage;
        FAILS(CORRUPT, vlog_scan_open(&o, &s));
        assert_non_null(strstr(status_message(), "it is segment 7, not 8"));
    }
    o.number = SEGMENT;
    page_load(&d, 0, page);
    page[VERSION_OFF]++;
    put_u64(page + VLOG_PAGE_CHECKSUM_OFF, checksum64(page, VLOG_PAGE_CHECKSUM_OFF, 0));
    page_store(&d, 0, page);
    for (int salvage = 0; salvage < 2; salvage++) {
        o.salvage = salvage;
        FAILS(NOT_SUPPORTED, vlog_scan_open(&o, &s));
        assert_non_null(strstr(status_message(), "use a newer release"));
    }
    assert_null(s);
    disk_deinit(&d);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        stride = (unsigned)strtoul(argv[1], NULL, 10);
    if (test_scale(100) < 100) /* sanitizers: a part of the bits */
        stride = (unsigned)(stride * 1500 / test_scale(100));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flipped_bits),  cmocka_unit_test(test_cut),
        cmocka_unit_test(test_overwritten),   cmocka_unit_test(test_chunks_apart),
        cmocka_unit_test(test_wrong_footers), cmocka_unit_test(test_not_this_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
