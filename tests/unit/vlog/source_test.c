// SPDX-License-Identifier: Apache-2.0
/*
 * source_test.c - values that are moved from one segment to another: all sizes, orders and models; damage and failures
 * on either side, and which side is to blame.
 */
#include <errno.h>

#include "base/alloc.h"
#include "vlog_model.h"

enum { ITEMS_MAX = 400, TARGET = 9 };

struct world {
    struct sim *sim; /* NULL: the real disk */
    struct io *io;
    char dir[256];
    char from[300];
    char to[300];
    struct vlog_source *source;
    struct vlog_writer *w;
    struct item items[ITEMS_MAX];
    struct vlog_pointer moved[ITEMS_MAX];
    unsigned count;
};

static void world_init(struct world *w, bool simulated)
{
    memset(w, 0, sizeof *w);
    OK(epoch_register());
    if (simulated) {
        OK(sim_create(&(struct sim_options){.seed = 4}, &w->sim));
        OK(sim_io_create(w->sim, &w->io));
        strcpy(w->dir, ".");
    } else {
        test_dir_create(w->dir);
        OK(io_real_create(&w->io));
    }
    snprintf(w->from, sizeof w->from, "%s/000007.vlog", w->dir);
    snprintf(w->to, sizeof w->to, "%s/000009.vlog", w->dir);
}

static void world_deinit(struct world *w)
{
    vlog_source_close(w->source);
    vlog_writer_destroy(w->w);
    epoch_drain();
    io_destroy(w->io);
    if (w->sim == NULL)
        test_dir_remove(w->dir);
    sim_destroy(w->sim);
    free(w);
}

/* The segment to move from: `count` items whose sizes are those of the list in turn. */
static void fill(struct world *w, const size_t *sizes, size_t size_count, unsigned count, bool seal)
{
    struct vlog_writer_options o = model_options(w->io, w->from, w->dir);
    struct vlog_writer *writer = NULL;
    OK(vlog_writer_create(&o, &writer));
    for (w->count = 0; w->count < count; w->count++) {
        struct item *it = &w->items[w->count];
        *it = (struct item){
            .number = w->count, .key_size = 8 + w->count * 3 % 50, .value_size = sizes[w->count % size_count]};
        OK(item_append(writer, it));
    }
    OK(seal ? vlog_writer_seal(writer) : vlog_writer_flush(writer));
    vlog_writer_destroy(writer);
}

static enum nokv_status target_create(struct world *w)
{
    struct vlog_writer_options o = model_options(w->io, w->to, w->dir);
    o.number = TARGET;
    o.salt = 0x1234;
    return vlog_writer_create(&o, &w->w);
}

static enum nokv_status source_open(struct world *w, enum io_model model)
{
    return vlog_source_open(w->io, w->from, SEGMENT, IO_COMPACTION, model, &w->source);
}

/* The moved record has the item's key and bytes, and the tag that it was moved with. */
static enum nokv_status move(struct world *w, unsigned i)
{
    uint8_t key[KEY_SIZE_MAX];
    const struct item *it = &w->items[i];
    return vlog_source_move(w->source, &it->pointer, (struct ikey){.user = item_key(it, key), .tag = item_tag(it)},
                            w->w, &w->moved[i]);
}

static enum nokv_status read_value(struct world *w, unsigned i)
{
    uint8_t key[KEY_SIZE_MAX];
    struct slice value;
    const struct item *it = &w->items[i];
    TRY(vlog_source_read(w->source, &it->pointer, item_key(it, key), &value));
    assert_int_equal(value.size, it->value_size);
    pattern_check(value.data, it->number, 0, value.size);
    return NOKV_OK;
}

/* The new segment holds those that have been moved, and no others. */
static void check_moved(struct world *w)
{
    unsigned *seen = calloc(w->count, sizeof *seen);
    struct item *items = malloc(w->count * sizeof *items);
    const struct vlog_scan_options o = {.io = w->io,
                                        .path = w->to,
                                        .number = TARGET,
                                        .component = IO_OTHER,
                                        .value_size_max = KEY_VALUE_SIZE_MAX,
                                        .is_sealed = true};
    memcpy(items, w->items, w->count * sizeof *items);
    for (unsigned i = 0; i < w->count; i++)
        items[i].pointer = w->moved[i];
    OK(vlog_writer_seal(w->w));
    OK(items_scan(&o, items, w->count, seen, NULL));
    for (unsigned i = 0; i < w->count; i++)
        assert_int_equal(seen[i], w->moved[i].off != 0);
    free(items);
    free(seen);
}

/* ---- moving ---------------------------------------------------------------------------------------------------- */

/* Sizes around what the window and the formats know. */
static const size_t edges[] = {0,     1,      4000,   65536,   65537,   262144,  262145,  500000,
                               10,    524000, 524200, 524288,  524289,  600000,  1048576, 1048577,
                               70000, 3,      589824, 1500000, 2097152, 3000001, 700,     131072};

static void move_everything(enum io_model model, bool seal, uint64_t rng)
{
    struct world *w = malloc(sizeof *w);
    world_init(w, false);
    fill(w, edges, ARRAY_COUNT(edges), ARRAY_COUNT(edges), seal);
    OK(source_open(w, model));
    OK(target_create(w));
    unsigned order[ARRAY_COUNT(edges)];
    for (unsigned i = 0; i < w->count; i++) {
        unsigned k = rng ? (unsigned)(test_random(&rng) % (i + 1)) : i;
        order[i] = order[k];
        order[k] = i;
    }
    for (unsigned i = 0; i < w->count; i++)
        OK(move(w, order[i]));
    assert_false(vlog_source_is_to_blame(w->source));
    check_moved(w);
    world_deinit(w);
}

/* Every size, in the order of places and in any order, from segments with and without a footer, by every model. */
static void test_move(void **state)
{
    (void)state;
    static const enum io_model models[] = {IO_STD, IO_DIRECT, IO_URING};
    uint64_t seed = test_seed(21);
    for (size_t m = 0; m < ARRAY_COUNT(models); m++)
        for (int seal = 0; seal < 2; seal++) {
            move_everything(models[m], seal, 0);
            move_everything(models[m], seal, seed + m);
        }
}

/* The value in the window, also with the longest key; what was shown is read again after a move. */
static void test_read(void **state)
{
    (void)state;
    static const size_t sizes[] = {VLOG_SOURCE_WINDOW / 2, 0, 100, 70000};
    struct world *w = malloc(sizeof *w);
    world_init(w, true);
    fill(w, sizes, ARRAY_COUNT(sizes), 12, true);
    OK(source_open(w, IO_STD));
    OK(target_create(w));
    for (unsigned i = 0; i < w->count; i++)
        OK(read_value(w, i));
    for (unsigned i = w->count; i-- > 0;) {
        OK(move(w, i));
        OK(read_value(w, i));
    }
    check_moved(w);
    world_deinit(w);
}

/* A key of the largest size next to the largest value that may be read. */
static void test_longest_key(void **state)
{
    (void)state;
    struct world *w = malloc(sizeof *w);
    world_init(w, true);
    struct vlog_writer_options o = model_options(w->io, w->from, w->dir);
    struct vlog_writer *writer = NULL;
    OK(vlog_writer_create(&o, &writer));
    for (w->count = 0; w->count < 3; w->count++) {
        w->items[w->count] = (struct item){
            .number = w->count, .key_size = KEY_SIZE_MAX - w->count, .value_size = VLOG_SOURCE_WINDOW / 2};
        OK(item_append(writer, &w->items[w->count]));
    }
    OK(vlog_writer_seal(writer));
    vlog_writer_destroy(writer);
    OK(source_open(w, IO_DIRECT));
    OK(target_create(w));
    for (unsigned i = 0; i < w->count; i++) {
        OK(read_value(w, i));
        OK(move(w, i));
    }
    check_moved(w);
    world_deinit(w);
}

/* Small records in order cost one read per window; records far apart do not cost a window each. */
static void test_reads_per_window(void **state)
{
    (void)state;
    static const size_t sizes[] = {10000, 12000, 9000};
    struct world *w = malloc(sizeof *w);
    world_init(w, true);
    fill(w, sizes, ARRAY_COUNT(sizes), ITEMS_MAX, true);
    OK(source_open(w, IO_STD));
    OK(target_create(w));
    const struct io_op_stats *reads = &io_component_stats(w->io, IO_COMPACTION)->ops[IO_OP_READ];
    uint64_t size = 0, calls = reads->calls, bytes = reads->bytes;
    OK(io_stat(w->io, w->from, &size));
    for (unsigned i = 0; i < w->count; i++)
        OK(move(w, i));
    assert_true(reads->calls - calls <= size / VLOG_SOURCE_WINDOW + 2);
    assert_true(reads->bytes - bytes <= size + PAGE_BYTES);
    calls = reads->calls;
    bytes = reads->bytes;
    for (unsigned i = w->count; i-- > 0;)
        if (i % 100 == 0)
            OK(read_value(w, i));
    assert_true(reads->bytes - bytes <= (reads->calls - calls) * 5 * PAGE_BYTES);
    world_deinit(w);
}

/* ---- damage and failures --------------------------------------------------------------------------------------- */

/* A flipped bit in header, key, a chunk or a checksum: that record stays behind, the source has it, others move. */
static void test_damage(void **state)
{
    (void)state;
    static const size_t sizes[] = {700, 200000, 1600000};
    for (unsigned where = 0; where < 6; where++)
        for (unsigned victim = 0; victim < 3; victim++) {
            struct world *w = malloc(sizeof *w);
            world_init(w, true);
            fill(w, sizes, ARRAY_COUNT(sizes), 5, true);
            const struct item *it = &w->items[victim];
            uint64_t value = 32 + it->key_size, sums = value + it->value_size;
            const uint64_t offs[] = {4, 34, value, value + it->value_size / 2, sums - 1, sums};
            OK(sim_flip_bit(w->sim, w->from, it->pointer.off + offs[where], 2));
            OK(source_open(w, IO_STD));
            OK(target_create(w));
            for (unsigned i = 0; i < w->count; i++) {
                enum nokv_status status = move(w, i);
                assert_int_equal(status, i == victim ? NOKV_ERR_CORRUPT : NOKV_OK);
                assert_int_equal(vlog_source_is_to_blame(w->source), i == victim);
                if (victim < 2 && i == victim)
                    FAILS(CORRUPT, read_value(w, i));
            }
            check_moved(w);
            world_deinit(w);
        }
}

/* A pointer that leads elsewhere, a wrong key or size: CORRUPT, and the source is to blame. */
static void test_wrong_pointers(void **state)
{
    (void)state;
    static const size_t sizes[] = {700};
    struct world *w = malloc(sizeof *w);
    world_init(w, true);
    fill(w, sizes, 1, 4, true);
    OK(source_open(w, IO_STD));
    OK(target_create(w));
    const struct item good = w->items[2];
    for (unsigned i = 0; i < 9; i++) {
        struct item *it = &w->items[2];
        *it = good;
        it->pointer.segment += i == 0;
        it->pointer.off += i == 1 ? 8 : i == 2 ? 1ull << 50 : i == 3 ? 1 : 0;
        it->pointer.value_size += i == 4 ? 1 : i == 5 ? 1u << 29 : 0;
        it->number += i == 6;
        it->key_size += i == 7;
        it->pointer.off = i == 8 ? 0 : it->pointer.off;
        vlog_source_hint(w->source, &it->pointer, it->key_size); /* says nothing, wherever it leads */
        FAILS(CORRUPT, move(w, 2));
        assert_true(vlog_source_is_to_blame(w->source));
    }
    w->items[2] = good;
    OK(move(w, 2));
    assert_false(vlog_source_is_to_blame(w->source));
    world_deinit(w);
}

/* Whichever call fails on either side: the right side is blamed, and the same move succeeds when tried again. */
static void test_failing_calls(void **state)
{
    (void)state;
    static const size_t sizes[] = {700, 200000, 1600000, 524000};
    for (int side = 0; side < 2; side++) {
        bool failed = true;
        for (uint64_t k = 1; failed; k++) {
            struct world *w = malloc(sizeof *w);
            world_init(w, true);
            fill(w, sizes, ARRAY_COUNT(sizes), 8, true);
            OK(source_open(w, IO_STD));
            OK(target_create(w));
            sim_fail(w->sim, side ? IO_OP_WRITE : IO_OP_READ, side ? IO_VLOG : IO_COMPACTION, k, EIO, false);
            for (unsigned i = 0; i < w->count; i++) {
                enum nokv_status status = move(w, i);
                if (status == NOKV_OK)
                    continue;
                assert_int_equal(status, NOKV_ERR_IO);
                assert_int_equal(vlog_source_is_to_blame(w->source), side == 0);
                OK(move(w, i));
            }
            failed = sim_failed(w->sim);
            sim_fail_clear(w->sim);
            check_moved(w);
            world_deinit(w);
            assert_true(k < 200);
        }
    }
}

/* A file that is no segment, or another one: refused, whatever fails while it is opened. */
static void test_refused(void **state)
{
    (void)state;
    static const size_t sizes[] = {700};
    struct world *w = malloc(sizeof *w);
    world_init(w, true);
    fill(w, sizes, 1, 4, true);
    FAILS(NOT_FOUND, vlog_source_open(w->io, "nothing", SEGMENT, IO_OTHER, IO_STD, &w->source));
    FAILS(CORRUPT, vlog_source_open(w->io, w->from, SEGMENT + 1, IO_OTHER, IO_STD, &w->source));
    sim_fail(w->sim, IO_OP_READ, IO_COMPACTION, 1, EIO, false);
    FAILS(IO, source_open(w, IO_STD));
    sim_fail_clear(w->sim);
    OK(sim_flip_bit(w->sim, w->from, 100, 1));
    FAILS(CORRUPT, source_open(w, IO_STD));
    assert_null(w->source);
    vlog_source_close(NULL);
    world_deinit(w);
}

/* Whichever allocation fails: NO_MEMORY, which is nobody's fault, and nothing leaks. */
static void test_failing_allocations(void **state)
{
    (void)state;
    static const size_t sizes[] = {700, 200000, 1600000};
    enum nokv_status status = NOKV_ERR_NO_MEMORY;
    for (uint64_t k = 0; status == NOKV_ERR_NO_MEMORY; k++) {
        struct world *w = malloc(sizeof *w);
        world_init(w, true);
        fill(w, sizes, ARRAY_COUNT(sizes), 3, true);
        OK(target_create(w));
        mem_fail_after(k);
        status = source_open(w, IO_STD);
        for (unsigned i = 0; i < w->count && status == NOKV_OK; i++)
            status = move(w, i);
        mem_fail_after(UINT64_MAX);
        assert_true(w->source == NULL || !vlog_source_is_to_blame(w->source));
        assert_true(k < 200);
        world_deinit(w);
    }
    OK(status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_longest_key),
        cmocka_unit_test(test_reads_per_window),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_wrong_pointers),
        cmocka_unit_test(test_failing_calls),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
