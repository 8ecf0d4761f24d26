// SPDX-License-Identifier: Apache-2.0
/*
 * edit_test.c - version edits as bytes: what is encoded comes back, the documented example is what the code writes, and
 * anything else is refused or means something else, never a crash.
 */
#include "base/alloc.h"
#include "base/coding.h"
#include "doc_example.h"
#include "lsm/edit.h"

static const char *page; /* path of the format's page */

static struct slice text(const char *s)
{
    return slice_make(s, strlen(s));
}

/* Each payload in a block of exactly its size, so that AddressSanitizer sees the first byte read beyond it. */
static enum nokv_status decode(struct slice payload, struct edit *out)
{
    uint8_t *exact = malloc(payload.size ? payload.size : 1);
    assert_non_null(exact);
    if (payload.size)
        memcpy(exact, payload.data, payload.size);
    *out = (struct edit){0};
    enum nokv_status status = edit_decode(slice_make(exact, payload.size), "MANIFEST-000004 @64", out);
    free(exact);
    return status;
}

static void assert_refused(enum nokv_status wanted, struct slice payload)
{
    struct edit e;
    enum nokv_status status = decode(payload, &e);
    if (status != wanted)
        fail_msg("%s instead of %s: %s", status_name(status), status_name(wanted), status_message());
    assert_non_null(strstr(status_message(), "MANIFEST-000004 @64"));
    edit_deinit(&e);
}

static void table_draw(struct table_desc *t, uint8_t *first, uint8_t *last, uint64_t *random)
{
    size_t first_size = 1 + test_random(random) % 40, last_size = 1 + test_random(random) % 40;
    for (size_t i = 0; i < 40; i++) {
        first[i] = (uint8_t)test_random(random);
        last[i] = (uint8_t)test_random(random);
    }
    first[0] = (uint8_t)(test_random(random) % 100);
    last[0] = (uint8_t)(100 + test_random(random) % 100);
    t->number = 1 + (test_random(random) >> 10) % (1ull << test_random(random) % 40);
    t->file_bytes = 1 + test_random(random) % (1ull << 40);
    t->entries = 1 + test_random(random) % 1000000;
    t->tombstones = test_random(random) % t->entries;
    t->raw_bytes = test_random(random);
    t->seq_min = test_random(random) % KEY_SEQ_MAX;
    t->seq_max = t->seq_min + test_random(random) % (KEY_SEQ_MAX - t->seq_min);
    t->smallest = (struct ikey){.user = slice_make(first, first_size), .tag = key_tag(t->seq_min, KEY_VALUE)};
    t->largest = (struct ikey){.user = slice_make(last, last_size), .tag = key_tag(t->seq_max, KEY_TOMBSTONE)};
}

/* `refs` has room for 4. */
static void refs_draw(struct table_desc *t, struct vlog_ref *refs, uint64_t *random)
{
    uint64_t number = 0;
    t->refs = refs;
    t->ref_count = test_random(random) % 5;
    for (size_t i = 0; i < t->ref_count; i++) {
        number += 1 + test_random(random) % (1ull << test_random(random) % 40);
        refs[i] = (struct vlog_ref){.segment = number, .records = 1 + test_random(random) % 100000};
        refs[i].bytes = refs[i].records + test_random(random) % (1ull << 40);
    }
}

static void segments_draw(struct edit *e, uint64_t *random)
{
    for (uint64_t n = test_random(random) % 5; n > 0; n--) {
        struct segment_desc d = {.number = 1 + test_random(random) % 1000,
                                 .file_bytes = 1 + (test_random(random) >> test_random(random) % 63) / 2,
                                 .origin = (enum segment_origin)(1 + test_random(random) % 4),
                                 .sealed = test_random(random) % 2};
        OK(edit_add_segment(e, &d));
    }
    for (uint64_t n = test_random(random) % 5; n > 0; n--)
        OK(edit_remove_segment(e, 1 + test_random(random) % 1000));
}

static void edit_draw(struct edit *e, uint64_t *random)
{
    *e = (struct edit){.has_log_number = test_random(random) % 2,
                       .has_next_number = test_random(random) % 2,
                       .has_last_seq = test_random(random) % 2};
    e->log_number = e->has_log_number ? test_random(random) >> test_random(random) % 64 : 0;
    e->next_number = e->has_next_number ? test_random(random) >> test_random(random) % 64 : 0;
    e->last_seq = e->has_last_seq ? test_random(random) >> test_random(random) % 64 : 0;
    for (uint64_t n = test_random(random) % 5; n > 0; n--)
        OK(edit_remove_table(e, (uint32_t)(test_random(random) % LEVELS_MAX), 1 + test_random(random) % 1000));
    for (uint64_t n = test_random(random) % 5; n > 0; n--) {
        uint8_t first[40], last[40];
        struct vlog_ref refs[4];
        struct table_desc t = {0};
        table_draw(&t, first, last, random);
        refs_draw(&t, refs, random);
        OK(edit_add_table(e, (uint32_t)(test_random(random) % LEVELS_MAX), &t));
    }
    segments_draw(e, random);
}

static void assert_same_table(const struct table_desc *a, const struct table_desc *b)
{
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->file_bytes, b->file_bytes);
    assert_int_equal(a->entries, b->entries);
    assert_int_equal(a->tombstones, b->tombstones);
    assert_int_equal(a->raw_bytes, b->raw_bytes);
    assert_int_equal(a->seq_min, b->seq_min);
    assert_int_equal(a->seq_max, b->seq_max);
    assert_int_equal(ikey_compare(a->smallest, b->smallest), 0);
    assert_int_equal(ikey_compare(a->largest, b->largest), 0);
    assert_int_equal(a->ref_count, b->ref_count);
    for (size_t i = 0; i < a->ref_count; i++) {
        assert_int_equal(a->refs[i].segment, b->refs[i].segment);
        assert_int_equal(a->refs[i].records, b->refs[i].records);
        assert_int_equal(a->refs[i].bytes, b->refs[i].bytes);
    }
}

static void assert_same_segments(const struct edit *a, const struct edit *b)
{
    assert_int_equal(a->segment_add_count, b->segment_add_count);
    for (size_t i = 0; i < a->segment_add_count; i++) {
        assert_int_equal(a->segment_adds[i].number, b->segment_adds[i].number);
        assert_int_equal(a->segment_adds[i].file_bytes, b->segment_adds[i].file_bytes);
        assert_int_equal(a->segment_adds[i].origin, b->segment_adds[i].origin);
        assert_int_equal(a->segment_adds[i].sealed, b->segment_adds[i].sealed);
    }
    assert_int_equal(a->segment_remove_count, b->segment_remove_count);
    for (size_t i = 0; i < a->segment_remove_count; i++)
        assert_int_equal(a->segment_removes[i], b->segment_removes[i]);
}

static void assert_same(const struct edit *a, const struct edit *b)
{
    assert_int_equal(a->has_log_number, b->has_log_number);
    assert_int_equal(a->has_next_number, b->has_next_number);
    assert_int_equal(a->has_last_seq, b->has_last_seq);
    assert_int_equal(a->log_number, b->log_number);
    assert_int_equal(a->next_number, b->next_number);
    assert_int_equal(a->last_seq, b->last_seq);
    assert_int_equal(a->remove_count, b->remove_count);
    for (size_t i = 0; i < a->remove_count; i++) {
        assert_int_equal(a->removes[i].level, b->removes[i].level);
        assert_int_equal(a->removes[i].number, b->removes[i].number);
    }
    assert_int_equal(a->add_count, b->add_count);
    for (size_t i = 0; i < a->add_count; i++) {
        assert_int_equal(a->adds[i].level, b->adds[i].level);
        assert_same_table(&a->adds[i].table, &b->adds[i].table);
    }
    assert_same_segments(a, b);
}

/* Any edit comes back as it was, whatever it holds. */
static void test_round_trip(void **state)
{
    (void)state;
    uint64_t random = test_seed(1);
    for (int i = 0; i < 2000; i++) {
        struct edit e, back;
        struct buf bytes = {0};
        edit_draw(&e, &random);
        OK(edit_encode(&e, &bytes));
        OK(decode(buf_slice(&bytes), &back));
        assert_same(&e, &back);
        edit_deinit(&e);
        edit_deinit(&back);
        buf_deinit(&bytes);
    }
}

/* The edit of the worked example in docs/formats/manifest.md. */
static void example_make(struct edit *e)
{
    struct table_desc t = {.number = 5,
                           .file_bytes = 8192,
                           .entries = 2,
                           .raw_bytes = 4,
                           .seq_min = 1,
                           .seq_max = 2,
                           .smallest = {.user = text("a"), .tag = key_tag(1, KEY_VALUE)},
                           .largest = {.user = text("b"), .tag = key_tag(2, KEY_VALUE)}};
    *e = (struct edit){.has_log_number = true,
                       .log_number = 4,
                       .has_next_number = true,
                       .next_number = 6,
                       .has_last_seq = true,
                       .last_seq = 2};
    OK(edit_add_table(e, 0, &t));
}

/* The page of the format shows what the code writes and reads: the golden image of version 1. */
static void test_golden(void **state)
{
    (void)state;
    struct doc_example golden;
    struct edit e, back;
    struct buf bytes = {0};
    doc_example_load(page, &golden);
    example_make(&e);
    OK(edit_encode(&e, &bytes));
    assert_int_equal(bytes.size, golden.size);
    assert_memory_equal(bytes.data, golden.bytes, golden.size);
    OK(decode(slice_make(golden.bytes, golden.size), &back));
    assert_same(&e, &back);
    edit_deinit(&e);
    edit_deinit(&back);
    buf_deinit(&bytes);
}

/* An edit that ends early is refused at every length but those where a whole field ends. */
static void test_truncated(void **state)
{
    (void)state;
    struct edit e, back;
    struct buf bytes = {0};
    example_make(&e);
    OK(edit_remove_table(&e, 3, 4));
    OK(edit_encode(&e, &bytes));
    static const size_t field_ends[] = {10, 13, 16, 19, 24};
    for (size_t size = 0; size < bytes.size; size++) {
        bool whole = false;
        for (size_t i = 0; i < ARRAY_COUNT(field_ends); i++)
            whole = whole || size == field_ends[i];
        if (!whole) {
            assert_refused(NOKV_ERR_CORRUPT, slice_make(bytes.data, size));
            continue;
        }
        OK(decode(slice_make(bytes.data, size), &back));
        assert_int_equal(back.add_count, 0);
        edit_deinit(&back);
    }
    edit_deinit(&e);
    buf_deinit(&bytes);
}

/* The same example, with a table that points into two segments, and segments that come and go. */
static void values_example_make(struct edit *e)
{
    struct vlog_ref refs[] = {{.segment = 3, .records = 1, .bytes = 700},
                              {.segment = 300, .records = 2, .bytes = 9000}};
    struct segment_desc flushed = {.number = 300, .file_bytes = 20480, .origin = SEGMENT_FLUSH, .sealed = true};
    struct segment_desc left = {.number = 3, .file_bytes = 4096, .origin = SEGMENT_RECOVERED};
    struct table_desc t;
    example_make(e);
    OK(table_desc_copy(&e->adds[0].table, &t));
    mem_free(t.refs);
    t.refs = refs;
    t.ref_count = ARRAY_COUNT(refs);
    t.number = 6;
    OK(edit_add_table(e, 1, &t));
    t.refs = NULL;
    table_desc_deinit(&t);
    OK(edit_add_segment(e, &flushed));
    OK(edit_add_segment(e, &left));
    OK(edit_remove_segment(e, 2));
}

/* An edit with segments and references that ends early is refused, or is the shorter edit that it says it is. */
static void test_values_truncated(void **state)
{
    (void)state;
    struct edit e, back;
    struct buf bytes = {0};
    size_t whole = 0;
    values_example_make(&e);
    OK(edit_encode(&e, &bytes));
    for (size_t size = 0; size < bytes.size; size++) {
        struct buf again = {0};
        enum nokv_status status = decode(slice_make(bytes.data, size), &back);
        if (status == NOKV_OK) {
            OK(edit_encode(&back, &again));
            assert_true(slice_equal(buf_slice(&again), slice_make(bytes.data, size)));
            whole++;
        } else {
            assert_int_equal(status, NOKV_ERR_CORRUPT);
        }
        edit_deinit(&back);
        buf_deinit(&again);
    }
    assert_int_equal(whole, 8); /* behind each field but the last */
    edit_deinit(&e);
    buf_deinit(&bytes);
}

/* Flip each bit of the edit: it is refused or another edit. */
static void flips_check(const struct edit *e)
{
    struct buf bytes = {0};
    size_t refused = 0, different = 0;
    OK(edit_encode(e, &bytes));
    for (size_t bit = 0; bit < bytes.size * 8; bit++) {
        struct edit back;
        struct buf again = {0};
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        enum nokv_status status = decode(buf_slice(&bytes), &back);
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (status == NOKV_OK) {
            OK(edit_encode(&back, &again));
            if (slice_equal(buf_slice(&again), buf_slice(&bytes)))
                fail_msg("bit %zu of byte %zu makes no difference", bit % 8, bit / 8);
            different++;
        } else {
            assert_true(status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED);
            refused++;
        }
        edit_deinit(&back);
        buf_deinit(&again);
    }
    printf("%zu flips refused, %zu mean another edit\n", refused, different);
    assert_true(refused > different / 2 && different > 0);
    buf_deinit(&bytes);
}

/* Every flipped bit of an edit is refused or is another edit; none goes unnoticed by what it means. */
static void test_bit_flips(void **state)
{
    (void)state;
    struct edit e;
    example_make(&e);
    OK(edit_remove_table(&e, 3, 4));
    flips_check(&e);
    edit_deinit(&e);
    values_example_make(&e);
    flips_check(&e);
    edit_deinit(&e);
}

/* ---- fields by hand --------------------------------------------------------------------------------------------- */

struct draft {
    uint8_t bytes[512];
    size_t size;
};

static void put(struct draft *d, const uint8_t *bytes, size_t size)
{
    assert_true(d->size + size <= sizeof d->bytes);
    memcpy(d->bytes + d->size, bytes, size);
    d->size += size;
}
#define PUT(d, ...) put((d), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void put_comparator(struct draft *d)
{
    PUT(d, 1, 8, 'b', 'y', 't', 'e', 'w', 'i', 's', 'e');
}

static struct slice draft_slice(const struct draft *d)
{
    return slice_make(d->bytes, d->size);
}

/* An even field that is not known is skipped, an odd one refused as from the future: also as properties of a table. */
static void test_unknown_fields(void **state)
{
    (void)state;
    struct draft d = {0};
    struct edit e;
    put_comparator(&d);
    PUT(&d, 200, 1, 3, 'x', 'y', 'z', 3, 1, 9, 2, 0);
    OK(decode(draft_slice(&d), &e));
    assert_true(e.has_log_number && e.log_number == 9);
    edit_deinit(&e);
    PUT(&d, 201, 1, 0);
    assert_refused(NOKV_ERR_NOT_SUPPORTED, draft_slice(&d));

    d.size = 0;
    put_comparator(&d);
    PUT(&d, 11, 20, 0, 2, 5, 64, 1, 0, 4, 1, 2, 1, 'a', 0x81, 2, 1, 'b', 0x81, 4, 2, 1, 'p');
    OK(decode(draft_slice(&d), &e));
    assert_int_equal(e.add_count, 1);
    assert_int_equal(e.adds[0].level, 2);
    edit_deinit(&e);
    d.bytes[d.size - 3] = 3;
    assert_refused(NOKV_ERR_NOT_SUPPORTED, draft_slice(&d));
    d.bytes[d.size - 3] = 2;
    d.bytes[d.size - 2] = 2; /* longer than the field */
    assert_refused(NOKV_ERR_CORRUPT, draft_slice(&d));
}

/* What an edit cannot mean is refused: other orders, families and levels, number 0, keys that are none, odd lengths. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        enum nokv_status status;
        uint8_t size;
        uint8_t bytes[40];
    } cases[] = {
        {NOKV_ERR_NOT_SUPPORTED, 10, {1, 8, 'b', 'y', 't', 'e', 'w', 'i', 's', 'f'}},
        {NOKV_ERR_NOT_SUPPORTED, 3, {1, 1, 'b'}},
        {NOKV_ERR_CORRUPT, 4, {3, 2, 9, 9}},          /* longer than its number */
        {NOKV_ERR_CORRUPT, 3, {3, 1, 0x80}},          /* a number without an end */
        {NOKV_ERR_CORRUPT, 2, {3, 0}},                /* no number */
        {NOKV_ERR_CORRUPT, 4, {3, 0xff, 0xff, 0x7f}}, /* longer than the edit */
        {NOKV_ERR_CORRUPT, 11, {2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}}, /* 2^64 - 1 bytes */
        {NOKV_ERR_CORRUPT, 5, {9, 3, 0, 8, 4}},                                                  /* level 8 */
        {NOKV_ERR_CORRUPT, 5, {9, 3, 0, 1, 0}},                                                  /* table 0 */
        {NOKV_ERR_NOT_SUPPORTED, 5, {9, 3, 1, 1, 4}},                                            /* family 1 */
        {NOKV_ERR_CORRUPT, 6, {9, 4, 0, 1, 4, 4}},                                               /* a byte too much */
        {NOKV_ERR_CORRUPT, 4, {9, 2, 0, 1}},                                                     /* no number */
        {NOKV_ERR_CORRUPT,
         19,
         {11, 17, 0, 0, 5, 64, 1, 0, 4, 1, 2, 0, 0x81, 2, 1, 'b', 0x81, 4, 0}}, /* key of 0 bytes */
        {NOKV_ERR_CORRUPT, 20, {11, 18, 0, 0, 5, 64, 1, 0, 4, 2, 1, 1, 'a', 0x81, 2, 1, 'b', 0x81, 4, 0}}, /* seqs */
        {NOKV_ERR_CORRUPT, 19, {11, 17, 0, 0, 5, 64, 1, 0, 4, 1, 2, 1, 'c', 0x81, 2, 1, 'b', 0x81, 4}},    /* keys */
        {NOKV_ERR_CORRUPT, 19, {11, 17, 0, 0, 0, 64, 1, 0, 4, 1, 2, 1, 'a', 0x81, 2, 1, 'b', 0x81, 4}}, /* number 0 */
        {NOKV_ERR_CORRUPT, 19, {11, 17, 0, 9, 5, 64, 1, 0, 4, 1, 2, 1, 'a', 0x81, 2, 1, 'b', 0x81, 4}}, /* level 9 */
        {NOKV_ERR_NOT_SUPPORTED, 19, {11, 17, 1, 0, 5, 64, 1, 0, 4, 1, 2, 1, 'a', 0x81, 2, 1, 'b', 0x81, 4}},
        {NOKV_ERR_CORRUPT, 19, {11, 17, 0, 0, 5, 0, 1, 0, 4, 1, 2, 1, 'a', 0x81, 2, 1, 'b', 0x81, 4}},  /* 0 bytes */
        {NOKV_ERR_CORRUPT, 19, {11, 17, 0, 0, 5, 64, 0, 0, 4, 1, 2, 1, 'a', 0x81, 2, 1, 'b', 0x81, 4}}, /* 0 entries */
        {NOKV_ERR_CORRUPT, 19, {11, 17, 0, 0, 5, 64, 1, 2, 4, 1, 2, 1, 'a', 0x81, 2, 1, 'b', 0x81, 4}}, /* tombstones */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct draft d = {0};
        printf("case %zu\n", i);
        if (cases[i].bytes[0] != 1)
            put_comparator(&d);
        put(&d, cases[i].bytes, cases[i].size);
        assert_refused(cases[i].status, draft_slice(&d));
    }
}

/* A key of as many bytes as one may have is understood; of one more, CORRUPT. */
static void test_longest_key(void **state)
{
    (void)state;
    static uint8_t key[KEY_SIZE_MAX + 1];
    for (size_t over = 0; over < 2; over++) {
        struct edit e = {0}, back = {0};
        struct buf bytes CLEANUP(buf_deinit) = {0};
        struct table_desc t = {.number = 5, .file_bytes = 64, .entries = 1, .seq_min = 1, .seq_max = 1};
        t.smallest = t.largest =
            (struct ikey){.user = slice_make(key, KEY_SIZE_MAX + over), .tag = key_tag(1, KEY_VALUE)};
        OK(edit_add_table(&e, 0, &t));
        OK(edit_encode(&e, &bytes));
        assert_int_equal(decode(buf_slice(&bytes), &back), over ? NOKV_ERR_CORRUPT : NOKV_OK);
        edit_deinit(&e);
        edit_deinit(&back);
    }
}

/* Each origin has a name, also one that is none. */
static void test_origin_names(void **state)
{
    (void)state;
    assert_string_equal(segment_origin_name(SEGMENT_COLLECT), "collect");
    assert_string_equal(segment_origin_name((enum segment_origin)0), "?");
    assert_string_equal(segment_origin_name((enum segment_origin)9), "?");
}

/* A table of key a to b, with what it points to given as bytes. */
static void put_table_with_refs(struct draft *d, const uint8_t *refs, size_t size)
{
    assert_true(size < 100);
    put_comparator(d);
    PUT(d, 11, (uint8_t)(17 + 2 + size), 0, 2, 5, 64, 1, 0, 4, 1, 2, 1, 'a', 0x81, 2, 1, 'b', 0x81, 4);
    PUT(d, 1, (uint8_t)size);
    put(d, refs, size);
}

/* References that make no sense are refused: not ascending, twice the same, segment 0, no records, fewer bytes than
 * records, cut short; and a length says nothing about memory. */
static void test_refused_refs(void **state)
{
    (void)state;
    static const struct {
        uint8_t size;
        uint8_t bytes[16];
    } cases[] = {
        {6, {4, 1, 50, 3, 1, 50}}, /* descending */
        {6, {4, 1, 50, 4, 1, 50}}, /* twice */
        {3, {0, 1, 50}},           /* segment 0 */
        {3, {4, 0, 50}},           /* no records */
        {3, {4, 0, 0}},
        {3, {4, 9, 8}},                                                            /* fewer bytes than records */
        {2, {4, 1}},                                                               /* cut */
        {1, {4}},                                                                  /* cut */
        {4, {4, 1, 50, 5}},                                                        /* the next one cut */
        {3, {4, 1, 0x80}},                                                         /* a number without an end */
        {12, {4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 50}}, /* 2^64 - 1 records */
    };
    struct draft good = {0};
    struct edit e;
    put_table_with_refs(&good, (const uint8_t[]){3, 1, 50, 4, 2, 60}, 6);
    OK(decode(draft_slice(&good), &e));
    assert_int_equal(e.adds[0].table.ref_count, 2);
    assert_int_equal(e.adds[0].table.refs[1].bytes, 60);
    edit_deinit(&e);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct draft d = {0};
        printf("case %zu\n", i);
        put_table_with_refs(&d, cases[i].bytes, cases[i].size);
        assert_refused(NOKV_ERR_CORRUPT, draft_slice(&d));
    }
}

/* Segments that make no sense are refused: number 0, no bytes, an origin or a state that there is not, odd lengths. */
static void test_refused_segments(void **state)
{
    (void)state;
    static const struct {
        uint8_t size;
        uint8_t bytes[16];
    } cases[] = {
        {6, {13, 4, 0, 64, 1, 1}},    /* number 0 */
        {6, {13, 4, 7, 0, 1, 1}},     /* no bytes */
        {6, {13, 4, 7, 64, 0, 1}},    /* origin 0 */
        {6, {13, 4, 7, 64, 5, 1}},    /* origin 5 */
        {6, {13, 4, 7, 64, 1, 2}},    /* neither sealed nor not */
        {5, {13, 3, 7, 64, 1}},       /* short */
        {7, {13, 5, 7, 64, 1, 1, 1}}, /* long */
        {3, {15, 1, 0}},              /* removes 0 */
        {4, {15, 2, 7, 7}},           /* long */
        {2, {15, 0}},                 /* short */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct draft d = {0};
        printf("case %zu\n", i);
        put_comparator(&d);
        put(&d, cases[i].bytes, cases[i].size);
        assert_refused(NOKV_ERR_CORRUPT, draft_slice(&d));
    }
}

/* An edit that does not say how keys are ordered is refused. */
static void test_no_comparator(void **state)
{
    (void)state;
    struct draft d = {0};
    assert_refused(NOKV_ERR_CORRUPT, draft_slice(&d));
    PUT(&d, 3, 1, 9);
    assert_refused(NOKV_ERR_CORRUPT, draft_slice(&d));
}

/* Any bytes: an edit or a refusal. */
static void test_random_bytes(void **state)
{
    (void)state;
    uint64_t random = test_seed(3);
    for (int i = 0; i < 50000; i++) {
        struct draft d = {0};
        struct edit e;
        put_comparator(&d);
        for (uint64_t n = test_random(&random) % 40; n > 0; n--)
            PUT(&d, (uint8_t)(test_random(&random) >> (test_random(&random) % 8)));
        enum nokv_status status = decode(draft_slice(&d), &e);
        assert_true(status == NOKV_OK || status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED);
        edit_deinit(&e);
    }
}

int main(int argc, char **argv)
{
    assert(argc > 1);
    page = argv[argc - 1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),       cmocka_unit_test(test_golden),
        cmocka_unit_test(test_truncated),        cmocka_unit_test(test_bit_flips),
        cmocka_unit_test(test_unknown_fields),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_values_truncated), cmocka_unit_test(test_refused_refs),
        cmocka_unit_test(test_refused_segments), cmocka_unit_test(test_no_comparator),
        cmocka_unit_test(test_random_bytes),     cmocka_unit_test(test_longest_key),
        cmocka_unit_test(test_origin_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
