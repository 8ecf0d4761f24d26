// SPDX-License-Identifier: Apache-2.0
/*
 * value_writer_test.c - values on their way into a table: which are separated, which move out of a segment that is
 * collected and where to, what damage there does, and that a failure leaves no file.
 */
#include "values_fixture.h"

enum { SEPARATION = 300 };

static struct value_writer_options options_make(struct lsm *f, const uint64_t *victims, size_t count)
{
    return (struct value_writer_options){.io = f->io,
                                         .dir = "db",
                                         .component = IO_COMPACTION,
                                         .model = IO_STD,
                                         .read_model = IO_STD,
                                         .origin = SEGMENT_COLLECT,
                                         .separation_min = SEPARATION,
                                         .segment_bytes = 64 << 10,
                                         .victims = victims,
                                         .victim_count = count,
                                         .allocate_number = lsm_number_allocate,
                                         .allocate_arg = f};
}

/* Place an entry, and keep what a table would hold. */
static enum nokv_status place(struct value_writer *w, struct placed *p, struct slice value)
{
    struct ikey key = placed_key(p);
    TRY(value_writer_place(w, &key, &value));
    assert_int_equal(tag_seq(key.tag), p->seq);
    assert_int_equal(key.user.size, strlen(p->key));
    p->kind = tag_kind_byte(key.tag);
    if (p->kind == KEY_TOMBSTONE)
        return NOKV_OK;
    assert_true(value.size <= sizeof p->stored);
    memmove(p->stored, value.data, value.size);
    p->stored_size = value.size;
    return NOKV_OK;
}

static enum nokv_status place_inline(struct value_writer *w, uint64_t i, size_t size, struct placed *out)
{
    static uint8_t value[VALUE_SIZE_MAX];
    *out = (struct placed){.seq = i + 1, .kind = KEY_VALUE, .size = size};
    snprintf(out->key, sizeof out->key, "key%06llu", (unsigned long long)i);
    value_fill(i, value, size);
    return place(w, out, slice_make(value, size));
}

static enum nokv_status place_again(struct value_writer *w, struct placed *p)
{
    uint8_t stored[VLOG_POINTER_SIZE];
    memcpy(stored, p->stored, sizeof stored);
    return place(w, p, slice_make(stored, sizeof stored));
}

/* Values from the threshold on are separated, smaller ones and tombstones are left alone; 0 turns it off. */
static void test_separates_by_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, SEPARATION - 1, SEPARATION, SEPARATION + 1, 500, VALUE_SIZE_MAX};
    for (uint32_t min = 0; min <= SEPARATION; min += SEPARATION) {
        struct lsm f;
        struct value_writer *w = NULL;
        struct placed p[ARRAY_COUNT(sizes)];
        struct placed dead = {.key = "dead", .seq = 99, .kind = KEY_TOMBSTONE};
        size_t separated = 0;
        values_init(&f);
        struct value_writer_options o = options_make(&f, NULL, 0);
        o.separation_min = min;
        OK(value_writer_create(&o, &w));
        for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
            if (min == 0 && sizes[i] > sizeof p[i].stored)
                continue;
            OK(place_inline(w, i, sizes[i], &p[i]));
            bool pointer = min != 0 && sizes[i] >= min;
            assert_int_equal(p[i].kind, pointer ? KEY_VALUE_POINTER : KEY_VALUE);
            separated += pointer;
        }
        OK(place(w, &dead, slice_make("", 0)));
        assert_int_equal(dead.kind, KEY_TOMBSTONE);
        OK(value_writer_finish(w));
        assert_int_equal(value_writer_count(w), separated > 0);
        value_writer_release(w);
        value_writer_destroy(w);
        for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
            if (min != 0 || sizes[i] <= sizeof p[i].stored)
                placed_check(&f, &p[i]);
        lsm_deinit(&f);
    }
}

/* A full segment is sealed and the next one begun; each is described as it is on the disk. */
static void test_full_segment(void **state)
{
    (void)state;
    struct lsm f;
    struct value_writer *w = NULL;
    static struct placed p[VALUES_MAX];
    uint64_t bytes = 0;
    values_init(&f);
    struct value_writer_options o = options_make(&f, NULL, 0);
    OK(value_writer_create(&o, &w));
    for (uint64_t i = 0; i < VALUES_MAX; i++)
        OK(place_inline(w, i, 1000, &p[i]));
    OK(value_writer_finish(w));
    assert_in_range(value_writer_count(w), 6, 7); /* 400 KiB in segments of 64 KiB */
    for (size_t i = 0; i < value_writer_count(w); i++) {
        const struct segment_desc *d = value_writer_segment(w, i);
        char path[PATH_SIZE_MAX];
        uint64_t size = 0;
        OK(path_vlog(path, "db", d->number));
        OK(io_stat(f.io, path, &size));
        assert_int_equal(size, d->file_bytes);
        assert_true(d->sealed && d->origin == SEGMENT_COLLECT && size < 80 << 10);
        bytes += size;
    }
    assert_int_equal(value_writer_bytes(w), bytes);
    value_writer_release(w);
    value_writer_destroy(w);
    assert_true(lsm_files(&f, ".vlog") >= 6);
    for (uint64_t i = 0; i < VALUES_MAX; i++)
        placed_check(&f, &p[i]);
    lsm_deinit(&f);
}

/* A pointer into a victim moves to a new segment, or into the table when values of that size are inline by now;
 * pointers elsewhere stay as they are. */
static void test_moves_out_of_victims(void **state)
{
    (void)state;
    for (int inlined = 0; inlined < 2; inlined++) {
        struct lsm f;
        struct value_writer *w = NULL;
        static struct placed a[20], b[20], c[20], before[20];
        values_init(&f);
        uint64_t victims[] = {segment_make(&f, 0, 20, 400, a), 0};
        (void)segment_make(&f, 20, 20, 400, b);
        victims[1] = segment_make(&f, 40, 20, 400, c);
        memcpy(before, b, sizeof b);
        struct value_writer_options o = options_make(&f, victims, 2);
        o.separation_min = inlined ? 401 : 400;
        OK(value_writer_create(&o, &w));
        for (size_t i = 0; i < 20; i++) {
            OK(place_again(w, &c[i])); /* in another order than the segments */
            OK(place_again(w, &a[i]));
            OK(place_again(w, &b[i]));
        }
        OK(value_writer_finish(w));
        assert_int_equal(value_writer_count(w), !inlined);
        assert_int_equal(value_writer_damaged_count(w), 0);
        assert_int_equal(value_writer_moved_bytes(w), 40 * vlog_record_size(9, 400));
        value_writer_release(w);
        value_writer_destroy(w);
        OK(io_unlink(f.io, "db/vlog/000001.vlog")); /* nothing points there any more */
        OK(io_unlink(f.io, "db/vlog/000003.vlog"));
        for (size_t i = 0; i < 20; i++) {
            assert_int_equal(a[i].kind, inlined ? KEY_VALUE : KEY_VALUE_POINTER);
            placed_check(&f, &a[i]);
            placed_check(&f, &b[i]);
            placed_check(&f, &c[i]);
            assert_memory_equal(b[i].stored, before[i].stored, VLOG_POINTER_SIZE);
        }
        lsm_deinit(&f);
    }
}

/* A value that cannot be read keeps its pointer, and its segment is reported; the values around it move. */
static void test_damaged_victim(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct lsm f;
        struct value_writer *w = NULL;
        static struct placed a[20], b[20], before[20];
        values_init(&f);
        uint64_t victims[] = {segment_make(&f, 0, 20, 400, a), segment_make(&f, 20, 20, 400, b)};
        memcpy(before, a, sizeof a);
        char path[PATH_SIZE_MAX];
        OK(path_vlog(path, "db", victims[0]));
        if (how == 0)
            flip_value(&f, &a[7]);
        else if (how == 1)
            OK(io_unlink(f.io, path));
        else
            OK(sim_flip_bit(f.sim, path, 5, 5)); /* the header page */
        struct value_writer_options o = options_make(&f, victims, 2);
        OK(value_writer_create(&o, &w));
        for (size_t i = 0; i < 20; i++) {
            OK(place_again(w, &a[i]));
            OK(place_again(w, &b[i]));
        }
        OK(value_writer_finish(w));
        assert_int_equal(value_writer_damaged_count(w), 1);
        assert_int_equal(value_writer_damaged(w, 0), victims[0]);
        value_writer_release(w);
        value_writer_destroy(w);
        for (size_t i = 0; i < 20; i++) {
            bool moved = how == 0 ? i != 7 : how == 2 && placed_pointer(&a[i]).segment != victims[0];
            assert_int_equal(memcmp(a[i].stored, before[i].stored, VLOG_POINTER_SIZE) != 0, moved);
            if (moved)
                placed_check(&f, &a[i]);
            placed_check(&f, &b[i]);
            assert_true(placed_pointer(&b[i]).segment != victims[1]);
        }
        lsm_deinit(&f);
    }
}

/* What fails on the writing side is the writer's error also right behind a damaged value: not taken for more damage. */
static void test_failure_behind_damage(void **state)
{
    (void)state;
    struct lsm f;
    struct value_writer *w = NULL;
    static struct placed a[4];
    values_init(&f);
    uint64_t victim = segment_make_mixed(&f, 0, 4, 200, 5000, a);
    flip_value(&f, &a[0]);
    struct value_writer_options o = options_make(&f, &victim, 1);
    OK(value_writer_create(&o, &w));
    OK(place_again(w, &a[0])); /* would go inline */
    assert_int_equal(value_writer_damaged_count(w), 1);
    sim_fail(f.sim, IO_OP_WRITE, IO_COMPACTION, 1, ENOSPC, true);
    FAILS(NO_SPACE, place_again(w, &a[1])); /* needs a segment */
    sim_fail_clear(f.sim);
    value_writer_destroy(w);
    assert_int_equal(lsm_files(&f, ".vlog"), 1);
    lsm_deinit(&f);
}

/* Separate and move, to the end; true: it succeeded. */
static enum nokv_status everything_run(struct lsm *f, uint64_t victim, const struct placed *from)
{
    struct value_writer *w = NULL;
    struct placed p;
    struct value_writer_options o = options_make(f, &victim, 1);
    TRY(value_writer_create(&o, &w));
    enum nokv_status status = NOKV_OK;
    for (uint64_t i = 0; i < 60 && status == NOKV_OK; i++) {
        status = place_inline(w, 100 + i, 2000, &p);
        p = from[i];
        if (status == NOKV_OK)
            status = place_again(w, &p);
    }
    if (status == NOKV_OK)
        status = value_writer_finish(w);
    value_writer_destroy(w); /* not released: whatever was written goes */
    return status;
}

/* At most one file is too many: that of a run in which removing it was what failed. An orphan, for the next open. */
static void orphan_remove(struct lsm *f, uint64_t victim, bool reached)
{
    assert_in_range(lsm_files(f, ".vlog"), 1, reached ? 2 : 1);
    for (uint64_t n = victim + 1; n < f->next_number; n++) {
        char path[PATH_SIZE_MAX];
        OK(path_vlog(path, "db", n));
        if (io_exists(f->io, path))
            OK(io_unlink(f->io, path));
    }
}

/* The k-th operation with `err`, or (err 0) the k-th allocation. False: there were fewer. */
static bool kth_failure_run(struct lsm *f, uint64_t victim, const struct placed *from, uint64_t k, int err,
                            uint64_t *failures)
{
    uint64_t begin = mem_alloc_count();
    if (err)
        sim_fail(f->sim, IO_OP_COUNT, IO_COMPONENT_COUNT, k, err, false);
    else
        mem_fail_after(k - 1);
    enum nokv_status status = everything_run(f, victim, from);
    bool reached = err ? sim_failed(f->sim) : mem_alloc_count() - begin >= k;
    sim_fail_clear(f->sim);
    mem_fail_after(UINT64_MAX);
    *failures += status != NOKV_OK;
    if (!reached)
        OK(status);
    orphan_remove(f, victim, reached);
    return reached;
}

/* Whichever I/O operation or allocation fails, no file is left. */
static void test_failures_leave_nothing(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC, 0};
    static struct placed from[60];
    struct lsm f;
    values_init(&f);
    uint64_t victim = segment_make(&f, 0, 60, 700, from);
    for (size_t e = 0; e < ARRAY_COUNT(errors); e++) {
        uint64_t failures = 0;
        for (uint64_t k = 1; kth_failure_run(&f, victim, from, k, errors[e], &failures); k++) {
        }
        assert_true(failures > 5);
    }
    lsm_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_separates_by_size),     cmocka_unit_test(test_full_segment),
        cmocka_unit_test(test_moves_out_of_victims),  cmocka_unit_test(test_damaged_victim),
        cmocka_unit_test(test_failure_behind_damage), cmocka_unit_test(test_failures_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
