// SPDX-License-Identifier: Apache-2.0
/* key_test.c - the order of keys, and what is cut from them, against byte-by-byte definitions. */
#include "key/key.h"
#include "test.h"

static struct slice text(const char *s)
{
    return slice_make(s, strlen(s));
}

/* Up to `max` bytes out of a small alphabet with 0x00 and 0xff in it, so that prefixes and ties are common. */
static struct slice random_key(uint64_t *rng, uint8_t *room, size_t max)
{
    static const uint8_t letters[] = {0x00, 'a', 'b', 0xff};
    size_t size = test_random(rng) % (max + 1);
    for (size_t i = 0; i < size; i++)
        room[i] = test_random(rng) % 8 ? 'a' : letters[test_random(rng) % 4];
    return slice_make(room, size);
}

static int sign(int c)
{
    return (c > 0) - (c < 0);
}

static int slow_compare(struct slice a, struct slice b)
{
    for (size_t i = 0; i < a.size && i < b.size; i++)
        if (a.data[i] != b.data[i])
            return a.data[i] < b.data[i] ? -1 : 1;
    return a.size < b.size ? -1 : a.size > b.size;
}

/* Bytes order as unsigned, and a prefix comes before what it begins. */
static void test_order(void **state)
{
    (void)state;
    assert_true(key_compare(text(""), text("")) == 0);
    assert_true(key_compare(text(""), text("a")) < 0);
    assert_true(key_compare(text("ab"), text("a")) > 0);
    assert_true(key_compare(text("\x7f"), text("\x80")) < 0);
    assert_true(key_compare(slice_make(NULL, 0), text("")) == 0);
}

/* Of one key, the newest version comes first, and the search tag before all versions that it may see. */
static void test_versions(void **state)
{
    (void)state;
    struct ikey old = {.user = text("k"), .tag = key_tag(7, KEY_VALUE)};
    struct ikey new = {.user = text("k"), .tag = key_tag(8, KEY_TOMBSTONE)};
    struct ikey other = {.user = text("l"), .tag = key_tag(9, KEY_VALUE)};
    assert_true(ikey_compare(new, old) < 0);
    assert_true(ikey_compare(old, other) < 0);
    assert_true(ikey_compare(old, old) == 0);
    struct ikey target = {.user = text("k"), .tag = tag_for_seek(7)};
    assert_true(ikey_compare(new, target) < 0);
    assert_true(ikey_compare(target, old) < 0);
    assert_true(tag_seq(key_tag(KEY_SEQ_MAX, 0xff)) == KEY_SEQ_MAX);
    assert_int_equal(tag_kind_byte(key_tag(3, KEY_VALUE | KEY_HAS_EXPIRY)), KEY_VALUE | KEY_HAS_EXPIRY);
    assert_int_equal(tag_kind(key_tag(3, KEY_VALUE | KEY_HAS_EXPIRY)), KEY_VALUE);
}

/* Exactly the kinds that this build can honour are known, of all 256 kind bytes. */
static void test_known_kinds(void **state)
{
    (void)state;
    unsigned known = 0;
    for (unsigned byte = 0; byte < 256; byte++)
        known += key_kind_known(byte);
    assert_int_equal(known, 5);
    assert_true(key_kind_known(KEY_TOMBSTONE) && key_kind_known(KEY_VALUE) && key_kind_known(KEY_VALUE_POINTER));
    assert_true(key_kind_known(KEY_VALUE | KEY_HAS_EXPIRY) && key_kind_known(KEY_VALUE_POINTER | KEY_HAS_EXPIRY));
    assert_false(key_kind_known(KEY_MERGE) || key_kind_known(KEY_RANGE_TOMBSTONE) || key_kind_known(0xff));
}

/* Comparison, prefix numbers, common prefixes and separators of random pairs keep what the header promises. */
static void test_random_pairs(void **state)
{
    (void)state;
    uint64_t rng = test_seed(1);
    for (int round = 0; round < 200000; round++) {
        uint8_t room_a[40], room_b[40];
        struct slice a = random_key(&rng, room_a, sizeof room_a), b = random_key(&rng, room_b, sizeof room_b);
        int c = sign(key_compare(a, b));
        assert_int_equal(c, slow_compare(a, b));

        size_t common = key_common_prefix(a, b);
        assert_true(common <= a.size && common <= b.size && memcmp(a.data, b.data, common) == 0);
        assert_true(common == a.size || common == b.size || a.data[common] != b.data[common]);

        size_t skip = common ? test_random(&rng) % (common + 1) : 0;
        uint64_t pa = key_prefix(a, skip), pb = key_prefix(b, skip);
        if (pa != pb)
            assert_int_equal(pa < pb ? -1 : 1, c);
        if (c >= 0)
            continue;
        struct slice s = key_separator(a, b);
        assert_true(slow_compare(a, s) <= 0 && slow_compare(s, b) < 0);
        assert_true(s.size <= a.size || s.size <= common + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_known_kinds),
        cmocka_unit_test(test_random_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
