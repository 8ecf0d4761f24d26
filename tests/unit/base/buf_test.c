// SPDX-License-Identifier: Apache-2.0
/* The growing byte buffer: what is appended comes back, failures leave it as it was. */
#include "base/buf.h"

#include "base/alloc.h"
#include "base/coding.h"
#include "test.h"

/* Bytes, numbers and sized strings stand in the buffer in order. */
static void appends_in_order(void **state)
{
    (void)state;
    struct buf b = {0};
    uint64_t number;
    OK(buf_append(&b, "abc", 3));
    OK(buf_append(&b, NULL, 0));
    OK(buf_append_varint(&b, UINT64_MAX));
    OK(buf_append_sized(&b, slice_make("xy", 2)));
    OK(buf_append_sized(&b, (struct slice){0}));
    assert_memory_equal(b.data, "abc", 3);
    const uint8_t *end = b.data + b.size;
    const uint8_t *p = get_varint64(b.data + 3, end, &number);
    assert_non_null(p);
    assert_true(number == UINT64_MAX);
    assert_memory_equal(p, "\x02xy\x00", 4);
    assert_ptr_equal(p + 4, end);
    assert_true(slice_equal(buf_slice(&b), slice_make(b.data, b.size)));
    buf_deinit(&b);
    assert_int_equal(b.size + b.capacity, 0);
    buf_deinit(&b);
}

/* Many small appends cost few allocations: capacity doubles. */
static void growth_is_geometric(void **state)
{
    (void)state;
    struct buf b = {0};
    uint64_t before = mem_alloc_count();
    for (int i = 0; i < 100000; i++)
        OK(buf_append(&b, &i, 1));
    assert_true(mem_alloc_count() - before < 20);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(b.data[i], i & 0xff);
    buf_deinit(&b);
}

/* Reserved room belongs to the caller, who adds what was used. */
static void reserved_room(void **state)
{
    (void)state;
    struct buf b = {0};
    OK(buf_append(&b, "1", 1));
    uint8_t *p = buf_reserve(&b, 1000);
    assert_ptr_equal(p, b.data + 1);
    memset(p, '2', 1000);
    assert_int_equal(b.size, 1);
    b.size += 500;
    OK(buf_append(&b, "3", 1));
    assert_int_equal(b.data[501], '3');
    buf_deinit(&b);
}

/* When memory is short or the size absurd, the buffer keeps what it has. */
static void failures_change_nothing(void **state)
{
    (void)state;
    struct buf b = {0};
    OK(buf_append(&b, "abc", 3));
    size_t capacity = b.capacity;
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_null(buf_reserve(&b, SIZE_MAX / 2));
    mem_fail_after(0);
    FAILS(NO_MEMORY, buf_append(&b, "0123456789", 10));
    mem_fail_after(UINT64_MAX);
    assert_int_equal(b.size, 3);
    assert_int_equal(b.capacity, capacity);
    assert_memory_equal(b.data, "abc", 3);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_in_order),
        cmocka_unit_test(growth_is_geometric),
        cmocka_unit_test(reserved_room),
        cmocka_unit_test(failures_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
