// SPDX-License-Identifier: Apache-2.0
/*
 * Damaged tables: flipped bits, cut files, files that shrink under their mapping. Whatever is read is right or an
 * error.
 *
 * The argument is the distance between the bits that are flipped: 1 for all of them. NOKV_TEST_SCALE makes it larger.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "sst/reader.h"
#include "sst_model.h"

/* ThreadSanitizer runs handlers with all signals blocked, which a jump out of one leaves so: the second SIGBUS kills.
 */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
enum { HAS_TSAN = 1 };
#else
enum { HAS_TSAN = 0 };
#endif

static unsigned stride = 1;

static const struct model_shape small = {
    .count = 60, .key_max = 8, .value_max = 120, .alphabet = 6, .versions = 3, .prefix_size = 3};

static bool is_damage(enum nokv_status status)
{
    return status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED;
}

/* All gets and a walk: right, or a report of damage. Returns whether something was reported. */
static bool reads_are_right_or_refused(struct sst_reader *r, const struct model *m)
{
    bool reported = false;
    struct iter *it = NULL;
    for (size_t i = 0; i < m->count; i++) {
        struct lookup found = {0};
        struct slice key = m->entries[i].key.user;
        const struct model_entry *wanted = model_get(m, key, KEY_SEQ_MAX);
        enum nokv_status status = sst_reader_get(r, key, sst_key_hash(key), KEY_SEQ_MAX, &found);
        if (status == NOKV_OK)
            assert_true(found.found && found.tag == wanted->key.tag && slice_equal(found.value, wanted->value));
        else
            assert_true(is_damage(status));
        reported = reported || status != NOKV_OK;
    }
    OK(sst_iter_create(r, &it));
    size_t i = 0;
    for (iter_first(it); it->valid; iter_next(it))
        check_entry(it, m, i++);
    assert_true(it->status == NOKV_OK ? i == m->count : is_damage(it->status));
    reported = reported || it->status != NOKV_OK;
    iter_destroy(it);
    return reported;
}

static void check_flipped(struct table *t, const struct model *m, uint64_t bit, uint64_t data_end)
{
    struct sst_reader *r = NULL;
    struct sst_verify_report report;
    enum nokv_status status = sst_reader_open(t->io, t->path, 7, 0, &r);
    if (status != NOKV_OK) {
        if (!is_damage(status))
            fail_msg("bit %llu flipped: %s %s", (unsigned long long)bit, status_name(status), status_message());
        assert_non_null(strstr(status_message(), t->path));
        return;
    }
    bool reported = reads_are_right_or_refused(r, m);
    if (bit / 8 >= PAGE_BYTES && bit / 8 < data_end)
        assert_true(reported); /* every block was read */
    if (!is_damage(sst_reader_verify(r, &report)))
        fail_msg("bit %llu flipped and nobody noticed", (unsigned long long)bit);
    sst_reader_unref(r);
}

/* Every bit of a table: opening, reading or verifying it finds the damage, and no read ever gives a wrong answer. */
static void test_flipped_bits(void **state)
{
    (void)state;
    struct table t;
    struct model m = {.random = test_seed(5)};
    model_fill(&m, &small);
    table_open(&t, &m, model_options());
    assert_false(reads_are_right_or_refused(t.r, &m));
    uint64_t bits = sst_reader_info(t.r)->file_bytes * 8;
    uint64_t data_end = sst_reader_approximate_offset(t.r, slice_make("\xff\xff\xff\xff\xff\xff\xff\xff\xff", 9));
    int fd = open(t.path, O_RDWR);
    assert_true(fd >= 0);
    for (uint64_t bit = stride == 1 ? 0 : m.random % stride; bit < bits; bit += stride) {
        uint8_t byte;
        assert_int_equal(pread(fd, &byte, 1, (off_t)(bit / 8)), 1);
        byte ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
        check_flipped(&t, &m, bit, data_end);
        byte ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
        if (bit % 512 == 0)
            epoch_reclaim();
    }
    close(fd);
    table_close(&t);
    model_free(&m);
}

/* A block that is damaged leaves the keys of the others readable, and is named with file and offset. */
static void test_other_keys_stay_readable(void **state)
{
    (void)state;
    struct table t;
    struct model m = {.random = 9};
    const struct model_shape shape = {.count = 500, .key_max = 8, .value_max = 200, .alphabet = 20, .versions = 1};
    size_t bad = 0;
    model_fill(&m, &shape);
    table_open(&t, &m, model_options());
    int fd = open(t.path, O_RDWR);
    assert_int_equal(pwrite(fd, "x", 1, 3 * PAGE_BYTES + 2000), 1);
    close(fd);
    for (size_t i = 0; i < m.count; i++) {
        struct lookup found;
        struct slice key = m.entries[i].key.user;
        enum nokv_status status = sst_reader_get(t.r, key, sst_key_hash(key), KEY_SEQ_MAX, &found);
        if (status == NOKV_OK) {
            assert_true(found.found && slice_equal(found.value, model_get(&m, key, KEY_SEQ_MAX)->value));
            continue;
        }
        bad++;
        assert_int_equal(status, NOKV_ERR_CORRUPT);
        assert_non_null(strstr(status_message(), t.path));
        assert_non_null(strstr(status_message(), "@12288"));
    }
    assert_in_range(bad, 1, 60);
    table_close(&t);
    model_free(&m);
}

/* A table that was cut short or has bytes too many is refused at open, at any length. */
static void test_truncated(void **state)
{
    (void)state;
    struct table t;
    struct model m = {.random = 6};
    struct sst_reader *r = NULL;
    model_fill(&m, &small);
    table_open(&t, &m, model_options());
    uint64_t size = sst_reader_info(t.r)->file_bytes;
    FAILS(CORRUPT, sst_reader_open(t.io, t.path, 7, size + PAGE_BYTES, &r)); /* the MANIFEST says so */
    FAILS(CORRUPT, sst_reader_open(t.io, t.path, 8, size, &r));              /* another table's name */
    FAILS(NOT_FOUND, sst_reader_open(t.io, "/nowhere/000007.sst", 7, size, &r));
    sst_reader_unref(t.r);
    t.r = NULL;
    epoch_drain();
    assert_int_equal(truncate(t.path, (off_t)size + PAGE_BYTES), 0);
    FAILS(CORRUPT, sst_reader_open(t.io, t.path, 7, 0, &r));
    for (uint64_t cut = size - 1; cut > 0; cut = cut > 997 ? cut - 997 : 0) {
        assert_int_equal(truncate(t.path, (off_t)cut), 0);
        FAILS(CORRUPT, sst_reader_open(t.io, t.path, 7, 0, &r));
    }
    assert_int_equal(truncate(t.path, 0), 0);
    FAILS(CORRUPT, sst_reader_open(t.io, t.path, 7, 0, &r));
    table_close(&t);
    model_free(&m);
}

static enum nokv_status extents_of(const struct table *t, enum io_model model, struct sst_extents *out)
{
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    TRY(io_open(t->io, t->path, IO_OTHER, model, IO_READ, &file));
    return sst_extents_read(file, out);
}

static void bit_flip(const char *path, uint64_t bit)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)(bit / 8)), 1);
    byte ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
    close(fd);
}

/* Regions follow each other from the header page to the footer page, however it is read; a file without a footer, or
 * with a flipped bit in it, is refused. */
static void test_extents(void **state)
{
    (void)state;
    struct table t;
    struct model m = {.random = 8};
    struct sst_extents e;
    model_fill(&m, &small);
    table_open(&t, &m, model_options());
    uint64_t size = sst_reader_info(t.r)->file_bytes;
    for (enum io_model model = IO_STD; model < IO_MODEL_COUNT; model++) {
        OK(extents_of(&t, model, &e));
        assert_int_equal(e.data.off, PAGE_BYTES);
        assert_int_equal(e.filter.off, e.data.off + e.data.size);
        assert_int_equal(e.index.off, e.filter.off + e.filter.size);
        assert_int_equal(e.properties.off, e.index.off + e.index.size);
        assert_int_equal(e.properties.off + e.properties.size + PAGE_BYTES, size);
        assert_true(e.data.size > 0 && e.filter.size > 0 && e.index.size > 0 && e.properties.size > 0);
    }
    sst_reader_unref(t.r);
    t.r = NULL;
    epoch_drain();
    for (uint64_t bit = 0; bit < 8 * PAGE_BYTES; bit += 61) {
        bit_flip(t.path, 8 * (size - PAGE_BYTES) + bit);
        assert_true(is_damage(extents_of(&t, IO_STD, &e)));
        bit_flip(t.path, 8 * (size - PAGE_BYTES) + bit);
    }
    for (uint64_t cut = size; cut > 0; cut = cut > 997 ? cut - 997 : 0) {
        assert_int_equal(truncate(t.path, (off_t)cut - 1), 0);
        FAILS(CORRUPT, extents_of(&t, IO_STD, &e));
    }
    table_close(&t);
    model_free(&m);
}

/* Pages that cannot be read any more (here: cut off under the mapping) are an IO error of that call, not the end of the
 * process; what is still there can be read on. */
static void test_sigbus_is_an_error(void **state)
{
    (void)state;
    if (HAS_TSAN)
        skip();
    struct table t;
    struct model m = {.random = 7};
    struct lookup found;
    struct sst_verify_report report;
    struct iter *walk = NULL, *fresh = NULL;
    const struct model_shape shape = {.count = 2000, .key_max = 8, .value_max = 200, .alphabet = 20, .versions = 1};
    model_fill(&m, &shape);
    table_open(&t, &m, model_options());
    struct slice first = m.entries[0].key.user, last = m.entries[m.count - 1].key.user;
    check_get(t.r, &m, first, KEY_SEQ_MAX); /* filter and index are verified now, the first block too */
    OK(sst_iter_create(t.r, &walk));
    OK(sst_iter_create(t.r, &fresh));
    iter_first(walk);
    uint64_t size = sst_reader_info(t.r)->file_bytes;
    assert_int_equal(truncate(t.path, 3 * PAGE_BYTES), 0);
    FAILS(IO, sst_reader_get(t.r, last, sst_key_hash(last), KEY_SEQ_MAX, &found));
    FAILS(IO, sst_reader_get(t.r, first, sst_key_hash(first), KEY_SEQ_MAX, &found)); /* the filter is gone */
    while (walk->valid)
        iter_next(walk);
    assert_int_equal(walk->status, NOKV_ERR_IO);
    iter_seek(fresh, m.entries[0].key);
    assert_false(fresh->valid);
    assert_int_equal(fresh->status, NOKV_ERR_IO);
    assert_int_equal(sst_reader_approximate_offset(t.r, last), PAGE_BYTES); /* not known */
    struct buf sample = {0};
    FAILS(IO, sst_reader_sample_key(t.r, 0, 1, &sample));
    assert_int_equal(sample.size, 0);
    buf_deinit(&sample);
    FAILS(IO, sst_reader_verify(t.r, &report));
    iter_destroy(walk);
    iter_destroy(fresh);
    assert_int_equal(truncate(t.path, (off_t)size), 0); /* zeros: readable, and wrong */
    FAILS(CORRUPT, sst_reader_verify(t.r, &report));
    table_close(&t);
    model_free(&m);
}

/* A page from a later version is told from a damaged one. */
static void test_from_the_future(void **state)
{
    (void)state;
    struct table t;
    struct model m = {.random = 8};
    struct sst_reader *r = NULL;
    model_fill(&m, &small);
    table_open(&t, &m, model_options());
    uint64_t size = sst_reader_info(t.r)->file_bytes;
    int fd = open(t.path, O_RDWR);
    for (int i = 0; i < 4; i++) {
        uint8_t page[PAGE_BYTES], changed[PAGE_BYTES];
        off_t at = i < 2 ? 0 : (off_t)(size - PAGE_BYTES);
        assert_int_equal(pread(fd, page, sizeof page, at), sizeof page);
        memcpy(changed, page, sizeof page);
        changed[i % 2 ? 8 : 12] ^= 2; /* version, feature flags */
        uint64_t checksum = XXH3_64bits(changed, PAGE_BYTES - 8);
        memcpy(changed + PAGE_BYTES - 8, &checksum, 8);
        assert_int_equal(pwrite(fd, changed, sizeof changed, at), sizeof changed);
        FAILS(NOT_SUPPORTED, sst_reader_open(t.io, t.path, 7, size, &r));
        assert_non_null(strstr(status_message(), "newer release"));
        assert_int_equal(pwrite(fd, page, sizeof page, at), sizeof page);
    }
    close(fd);
    OK(sst_reader_open(t.io, t.path, 7, size, &r));
    sst_reader_unref(r);
    table_close(&t);
    model_free(&m);
}

static void bytes_store(const char *path, const void *bytes, size_t size, uint64_t off)
{
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, (off_t)off), size);
    close(fd);
}

/* A block that goes bad after it was verified, while it is mapped: gets and walks report it, and read on when it is
 * well again. */
static void test_block_goes_bad(void **state)
{
    (void)state;
    enum { COUNT_OFF = PAGE_BYTES + 8 };
    struct table t;
    struct model m = {.random = 10};
    struct lookup found;
    struct iter *it = NULL;
    uint8_t count[2];
    model_fill(&m, &small);
    table_open(&t, &m, model_options());
    assert_false(reads_are_right_or_refused(t.r, &m));
    memcpy(count, t.r->data + COUNT_OFF, sizeof count);
    bytes_store(t.path, "\0", 2, COUNT_OFF);
    struct slice key = m.entries[0].key.user;
    FAILS(CORRUPT, sst_reader_get(t.r, key, sst_key_hash(key), KEY_SEQ_MAX, &found));
    assert_non_null(strstr(status_message(), "block @4096: header says 0 entries"));
    OK(sst_iter_create(t.r, &it));
    iter_first(it);
    assert_false(it->valid);
    assert_int_equal(it->status, NOKV_ERR_CORRUPT);
    assert_non_null(strstr(status_message(), "block @4096: header says 0 entries"));
    iter_destroy(it);
    bytes_store(t.path, count, sizeof count, COUNT_OFF);
    assert_false(reads_are_right_or_refused(t.r, &m));
    table_close(&t);
    model_free(&m);
}

/* Filter, index or properties that go bad after the open: verification names the one, and where it is. */
static void test_region_goes_bad(void **state)
{
    (void)state;
    struct table t;
    struct model m = {.random = 11};
    struct sst_extents e;
    struct sst_verify_report report;
    model_fill(&m, &small);
    table_open(&t, &m, model_options());
    assert_false(reads_are_right_or_refused(t.r, &m));
    OK(extents_of(&t, IO_STD, &e));
    const struct {
        const char *name;
        uint64_t off;
    } regions[] = {{"filter", e.filter.off}, {"index", e.index.off}, {"properties", e.properties.off}};
    for (size_t i = 0; i < ARRAY_COUNT(regions); i++) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, "%s @%llu: checksum mismatch", regions[i].name,
                 (unsigned long long)regions[i].off);
        bit_flip(t.path, 8 * regions[i].off + 3);
        FAILS(CORRUPT, sst_reader_verify(t.r, &report));
        assert_non_null(strstr(status_message(), wanted));
        bit_flip(t.path, 8 * regions[i].off + 3);
        OK(sst_reader_verify(t.r, &report));
    }
    table_close(&t);
    model_free(&m);
}

/* A block that has more pages than its entries need is none of this version, whatever its checksum says. */
static void test_pages_without_use(void **state)
{
    (void)state;
    struct table t;
    struct model m = {.random = 12};
    struct sst_block b;
    struct sst_extent extent = {.page = 1, .size = PAGE_BYTES};
    uint8_t data[2 * PAGE_BYTES] = {0};
    model_fill(&m, &small);
    table_open(&t, &m, model_options());
    memcpy(data, t.r->data + PAGE_BYTES, PAGE_BYTES);
    OK(sst_reader_check_bytes(t.r, data, extent, &b));
    extent.size = sizeof data;
    put_u32(data, sst_block_checksum(data, sizeof data, sst_block_seed(7, 1)));
    FAILS(CORRUPT, sst_reader_check_bytes(t.r, data, extent, &b));
    assert_non_null(strstr(status_message(), "bytes used in 8192"));
    table_close(&t);
    model_free(&m);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        stride = (unsigned)(strtoul(argv[1], NULL, 0) * 100 / test_scale(100));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flipped_bits),       cmocka_unit_test(test_other_keys_stay_readable),
        cmocka_unit_test(test_truncated),          cmocka_unit_test(test_extents),
        cmocka_unit_test(test_sigbus_is_an_error), cmocka_unit_test(test_from_the_future),
        cmocka_unit_test(test_block_goes_bad),     cmocka_unit_test(test_region_goes_bad),
        cmocka_unit_test(test_pages_without_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
