// SPDX-License-Identifier: Apache-2.0
/* Numbers on disk: round trips at every boundary, and decoders against bytes that lie or end too early. */
#include "base/coding.h"

#include "base/alloc.h"
#include "test.h"

/* Decode from a copy of exact size, so that the address sanitizer sees any read beyond it. */
static size_t decode64(const void *bytes, size_t size, uint64_t *out)
{
    uint8_t *copy = mem_alloc(size);
    memcpy(copy, bytes, size);
    const uint8_t *p = get_varint64(copy, copy + size, out);
    size_t used = p ? (size_t)(p - copy) : 0;
    mem_free(copy);
    return used;
}

static size_t decode32(const void *bytes, size_t size, uint32_t *out)
{
    uint8_t *copy = mem_alloc(size);
    memcpy(copy, bytes, size);
    const uint8_t *p = get_varint32(copy, copy + size, out);
    size_t used = p ? (size_t)(p - copy) : 0;
    mem_free(copy);
    return used;
}

static void check_number(uint64_t v)
{
    uint8_t bytes[VARINT64_SIZE_MAX];
    uint64_t out = ~v;
    uint32_t out32 = 0;
    size_t size = (size_t)(put_varint64(bytes, v) - bytes);
    assert_int_equal(size, varint_size(v));
    assert_true(size <= VARINT64_SIZE_MAX);
    assert_int_equal(decode64(bytes, size, &out), size);
    assert_true(out == v);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(decode64(bytes, cut, &out), 0);
    assert_int_equal(decode32(bytes, size, &out32), v <= UINT32_MAX ? size : 0);
    if (v <= UINT32_MAX)
        assert_int_equal(out32, v);
}

/* Varints of every length come back; each truncation is refused; what does not fit 32 bits is refused there. */
static void varints_round_trip(void **state)
{
    (void)state;
    uint64_t random = test_seed(1);
    for (int bit = 0; bit < 64; bit++) {
        uint64_t v = 1ull << bit;
        check_number(v - 1);
        check_number(v);
        check_number(v + 1);
    }
    check_number(UINT64_MAX);
    for (int i = 0; i < 10000; i++)
        check_number(test_random(&random) >> test_random(&random) % 64);
}

/* Over-long and overflowing encodings are refused, whatever follows them. */
static void hostile_varints_are_refused(void **state)
{
    (void)state;
    uint64_t out;
    uint32_t out32;
    static const uint8_t endless[32] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80};
    static const uint8_t overflow[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    static const uint8_t eleven[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x00};
    static const uint8_t over32[] = {0xff, 0xff, 0xff, 0xff, 0x1f};
    assert_int_equal(decode64(endless, sizeof endless, &out), 0);
    assert_int_equal(decode64(overflow, sizeof overflow, &out), 0);
    assert_int_equal(decode64(eleven, sizeof eleven, &out), 0);
    assert_int_equal(decode64("", 0, &out), 0);
    assert_int_equal(decode32(over32, sizeof over32, &out32), 0);
    assert_int_equal(decode64(over32, sizeof over32, &out), 5);
}

/* Random bytes: a decoder either refuses or returns a number whose bytes it has used, at most ten. */
static void random_bytes_are_safe(void **state)
{
    (void)state;
    uint64_t random = test_seed(2);
    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[16];
        uint64_t out;
        size_t size = test_random(&random) % sizeof bytes;
        for (size_t b = 0; b < size; b++)
            bytes[b] = (uint8_t)(test_random(&random) | (test_random(&random) % 4 ? 0x80 : 0));
        size_t used = decode64(bytes, size, &out);
        assert_true(used <= size && used <= VARINT64_SIZE_MAX);
        if (used)
            assert_true(varint_size(out) <= used);
    }
}

/* Fixed numbers are little-endian and may stand at odd addresses. */
static void fixed_numbers_are_little_endian(void **state)
{
    (void)state;
    uint8_t bytes[9] = {0};
    put_u64(bytes + 1, 0x0102030405060708ull);
    assert_memory_equal(bytes + 1, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    assert_true(get_u64(bytes + 1) == 0x0102030405060708ull);
    put_u32(bytes + 1, 0xa1b2c3d4u);
    assert_memory_equal(bytes + 1, "\xd4\xc3\xb2\xa1", 4);
    assert_int_equal(get_u32(bytes + 1), 0xa1b2c3d4u);
    put_u16(bytes + 1, 0xe5f6);
    assert_memory_equal(bytes + 1, "\xf6\xe5", 2);
    assert_int_equal(get_u16(bytes + 1), 0xe5f6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints_round_trip),
        cmocka_unit_test(hostile_varints_are_refused),
        cmocka_unit_test(random_bytes_are_safe),
        cmocka_unit_test(fixed_numbers_are_little_endian),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
