// SPDX-License-Identifier: Apache-2.0
/*
 * rescue_test.c - what was appended and neither flushed nor sealed comes back from the writer's shared buffers, and
 * nothing else does: not from flipped bits, not from garbage, not for wrong pointers.
 */
#include <errno.h>

#define SHARED_BYTES vlog_shared_bytes(VLOG_BUFFER_MAX)

#include "base/alloc.h"
#include "vlog_model.h"

enum { ITEMS_MAX = 40, FIRST_BUFFER = PAGE_BYTES, CLAIMS_OFF = 64, CLAIM_BYTES = 64, MIB = 1 << 20 };

struct world {
    struct sim *sim;
    struct io *io;
    struct io_shared map; /* while the process lives */
    struct vlog_writer *w;
    uint8_t *shared; /* what it left */
    struct item items[ITEMS_MAX];
    unsigned count;
};

static void world_init(struct world *w, enum io_model model, uint64_t preallocate)
{
    *w = (struct world){0};
    OK(epoch_register());
    OK(sim_create(&(struct sim_options){.seed = 3}, &w->sim));
    OK(sim_io_create(w->sim, &w->io));
    OK(io_shared_open(w->io, "VLOGBUF", SHARED_BYTES, &w->map));
    struct vlog_writer_options o = model_options(w->io, "v", ".");
    o.model = model;
    o.preallocate_bytes = preallocate;
    o.shared = w->map.data;
    OK(vlog_writer_create(&o, &w->w));
}

static void world_deinit(struct world *w)
{
    vlog_writer_destroy(w->w);
    io_shared_close(&w->map);
    epoch_drain();
    io_destroy(w->io);
    sim_destroy(w->sim);
    free(w->shared);
}

static struct item *add(struct world *w, size_t value_size)
{
    struct item *it = &w->items[w->count];
    *it = (struct item){.number = w->count, .key_size = 8 + w->count % 30, .value_size = value_size};
    OK(item_append(w->w, it));
    w->count++;
    return it;
}

/* kill -9; the next process finds file and buffers. */
static void kill_process(struct world *w)
{
    struct io_file *file = NULL;
    vlog_writer_destroy(TAKE(w->w));
    io_shared_close(&w->map);
    w->map = (struct io_shared){0};
    io_destroy(w->io);
    sim_process_kill(w->sim);
    OK(sim_io_create(w->sim, &w->io));
    w->shared = malloc(SHARED_BYTES);
    OK(io_open(w->io, "VLOGBUF", IO_OTHER, IO_STD, IO_READ, &file));
    OK(io_pread_exact(file, w->shared, SHARED_BYTES, 0));
    OK(io_close(file));
}

static uint64_t file_hash(struct world *w, uint64_t *out_size)
{
    struct io_file *file = NULL;
    uint64_t size = 0, state = 0, hash = 0;
    OK(io_open(w->io, "v", IO_OTHER, IO_STD, IO_READ, &file));
    OK(io_size(file, &size));
    uint8_t *bytes = malloc(size);
    OK(io_pread_exact(file, bytes, size, 0));
    for (uint64_t i = 0; i < size; i++) {
        state = hash ^ bytes[i];
        hash = test_random(&state);
    }
    OK(io_close(file));
    free(bytes);
    *out_size = size;
    return hash;
}

static void cut_file(struct world *w, uint64_t size)
{
    struct io_file *file = NULL;
    OK(io_open(w->io, "v", IO_OTHER, IO_STD, IO_WRITE, &file));
    OK(io_truncate(file, size));
    OK(io_close(file));
}

static void flip_in_file(struct world *w, uint64_t off)
{
    OK(sim_flip_bit(w->sim, "v", off, 3));
}

/* Ask for the item; a value that comes out is right. */
static enum nokv_status ask(struct vlog_rescue *r, const struct item *it, bool *out_sound, bool *out_value)
{
    uint8_t key[KEY_SIZE_MAX];
    struct slice value;
    TRY(vlog_rescue_record(r, &it->pointer, item_key(it, key), out_sound, &value));
    *out_value = value.data != NULL;
    if (*out_value) {
        assert_true(*out_sound);
        assert_int_equal(value.size, it->value_size);
        pattern_check(value.data, it->number, 0, value.size);
    }
    return NOKV_OK;
}

static struct vlog_rescue *rescue_open(struct world *w, bool use_buffers, bool repair)
{
    struct vlog_rescue *r = NULL;
    OK(vlog_rescue_open(w->io, "v", SEGMENT, slice_make(w->shared, use_buffers ? SHARED_BYTES : 0), repair, &r));
    return r;
}

/* How many items are sound; with `out_values` also how many of them came out as values. */
static unsigned count_sound(struct world *w, bool use_buffers, bool repair, unsigned *out_values)
{
    struct vlog_rescue *r = rescue_open(w, use_buffers, repair);
    unsigned count = 0, values = 0;
    for (unsigned i = 0; i < w->count; i++) {
        bool sound, value;
        OK(ask(r, &w->items[i], &sound, &value));
        count += sound;
        values += value;
    }
    OK(vlog_rescue_sync(r));
    vlog_rescue_close(r);
    if (out_values != NULL)
        *out_values = values;
    return count;
}

/* Reader and scan agree that all are there now. */
static void check_file(struct world *w)
{
    struct vlog_reader *r = NULL;
    unsigned seen[ITEMS_MAX] = {0};
    const struct vlog_scan_options o = {.io = w->io, .path = "v", .number = SEGMENT, .component = IO_OTHER};
    OK(vlog_reader_open(w->io, "v", SEGMENT, VLOG_READ_AUTO, NULL, NULL, &r));
    for (unsigned i = 0; i < w->count; i++)
        OK(item_read(r, &w->items[i]));
    vlog_reader_unref(r);
    OK(items_scan(&o, w->items, w->count, seen, NULL));
    for (unsigned i = 0; i < w->count; i++)
        assert_int_equal(seen[i], 1);
}

/* All are only whole with the buffers: values without writing a byte, then repaired and durable. */
static void check_rescued(struct world *w, unsigned in_file)
{
    uint64_t size, before = file_hash(w, &size);
    unsigned values;
    assert_int_equal(count_sound(w, false, false, NULL), in_file);
    assert_int_equal(count_sound(w, false, true, NULL), in_file);
    assert_int_equal(count_sound(w, true, false, &values), w->count);
    assert_int_equal(values, w->count - in_file);
    assert_true(file_hash(w, &size) == before);
    assert_int_equal(count_sound(w, true, true, &values), w->count);
    assert_int_equal(values, 0);
    assert_int_equal(count_sound(w, false, false, NULL), w->count);
    io_destroy(w->io);
    sim_power_cut(w->sim);
    OK(sim_io_create(w->sim, &w->io));
    check_file(w);
}

/* The first bytes of shared memory are the example of docs/formats/vlogbuf.md, and records begin a page behind. */
static void test_layout(void **state)
{
    (void)state;
    static const uint8_t wanted[88] = {0x4e, 0x6f, 0x4b,        0x56,        0x76,        0x6c,       0x62,
                                       0x0a, 0x01, [18] = 0x10, [64] = 0x07, [73] = 0x10, [81] = 0x04};
    struct world w;
    uint8_t record[1024];
    world_init(&w, IO_STD, 0);
    add(&w, 276);
    add(&w, 275);
    add(&w, 338);
    OK(vlog_writer_flush(w.w));
    kill_process(&w);
    assert_memory_equal(w.shared, wanted, sizeof wanted);
    struct io_file *file = NULL;
    OK(io_open(w.io, "v", IO_OTHER, IO_STD, IO_READ, &file));
    OK(io_pread_exact(file, record, sizeof record, PAGE_BYTES));
    OK(io_close(file));
    assert_memory_equal(w.shared + FIRST_BUFFER, record, sizeof record);
    world_deinit(&w);
}

/* Records that never left the buffers, on files with and without reserved space. */
static void test_buffers_only(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 700, 4000, 65000, 12, 40000, 3};
    for (int round = 0; round < 4; round++) {
        struct world w;
        world_init(&w, round % 2 ? IO_DIRECT : IO_STD, round / 2 ? 4 * MIB : 0);
        for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
            add(&w, sizes[i]);
        kill_process(&w);
        check_rescued(&w, 0);
        world_deinit(&w);
    }
}

/* What was flushed is taken from the file; what came behind it, in the same page, from the buffer. */
static void test_flushed_and_not(void **state)
{
    (void)state;
    for (int direct = 0; direct < 2; direct++) {
        struct world w;
        world_init(&w, direct ? IO_DIRECT : IO_STD, 0);
        add(&w, 100);
        add(&w, 9000);
        OK(vlog_writer_flush(w.w));
        add(&w, 300);
        add(&w, 20000);
        kill_process(&w);
        check_rescued(&w, 2);
        world_deinit(&w);
    }
}

/* A large value's middle is in the file, its ends are in buffers; the one of the head went out when the middle came. */
static void test_middle_in_file(void **state)
{
    (void)state;
    for (int direct = 0; direct < 2; direct++) {
        struct world w;
        world_init(&w, direct ? IO_DIRECT : IO_STD, 0);
        add(&w, 50);
        add(&w, direct ? 3 * MIB : 200000);
        add(&w, 10);
        add(&w, direct ? MIB + 5 : 65536);
        add(&w, direct ? 2 * MIB : 70000);
        kill_process(&w);
        check_rescued(&w, 4);
        world_deinit(&w);
    }
}

/* A buffer that was closed early and could not be written claims only what it holds: not the middle behind it. */
static void test_head_not_written(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, IO_STD, 0);
    for (unsigned i = 0; i < 8; i++)
        add(&w, 120000); /* all buffers have held something */
    OK(vlog_writer_flush(w.w));
    sim_fail(w.sim, IO_OP_WRITE, IO_VLOG, 1, EIO, false);
    add(&w, 300000);
    assert_true(sim_failed(w.sim));
    sim_fail_clear(w.sim);
    kill_process(&w);
    check_rescued(&w, 8);
    world_deinit(&w);
}

/* More than the buffers hold, so that all of them have been used again: records across the edges of buffers too. */
static void test_reused_buffers(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, IO_DIRECT, 0);
    for (unsigned i = 0; i < ITEMS_MAX; i++)
        add(&w, 150000 + 7001 * i);
    kill_process(&w);
    unsigned in_file = count_sound(&w, false, false, NULL);
    assert_true(in_file > 30 && in_file < ITEMS_MAX);
    check_rescued(&w, in_file);
    world_deinit(&w);
}

/* A file that ends inside a record: the rest of it is in a buffer, or it is not sound. */
static void test_cut_file(void **state)
{
    (void)state;
    for (uint64_t cut = 4096; cut < 4096 + 30000; cut += 1777)
        for (int with = 0; with < 2; with++) {
            struct world w;
            unsigned whole = 0;
            world_init(&w, IO_STD, 0);
            for (int i = 0; i < 6; i++)
                add(&w, 5000);
            OK(vlog_writer_flush(w.w));
            kill_process(&w);
            cut_file(&w, cut);
            for (unsigned i = 0; i < w.count; i++)
                whole += w.items[i].pointer.off + vlog_record_size(w.items[i].key_size, 5000) <= cut;
            assert_int_equal(count_sound(&w, with, true, NULL), with ? w.count : whole);
            if (with)
                check_file(&w);
            world_deinit(&w);
        }
}

/* A repair writes a value of several MiB once, also one that was sound, which may be in the page cache only. */
static void test_large_value(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, IO_STD, 0);
    add(&w, 20);
    struct item *it = add(&w, 9 * MIB + 77);
    kill_process(&w);
    bool sound, value;
    struct vlog_rescue *r = rescue_open(&w, true, true);
    const struct io_op_stats *writes = &io_component_stats(w.io, IO_VLOG)->ops[IO_OP_WRITE];
    OK(ask(r, it, &sound, &value));
    assert_true(sound && !value);
    uint64_t written = writes->bytes;
    assert_in_range(written, 9 * MIB, 9 * MIB + 3 * PAGE_BYTES);
    OK(ask(r, it, &sound, &value));
    assert_true(sound && writes->bytes == 2 * written);
    vlog_rescue_close(r);
    flip_in_file(&w, it->pointer.off + 5 * MIB);
    r = rescue_open(&w, true, false);
    OK(ask(r, it, &sound, &value));
    assert_false(sound);
    OK(vlog_rescue_record(r, &w.items[0].pointer, slice_make("", 0), &sound, NULL));
    assert_false(sound);
    vlog_rescue_close(r);
    world_deinit(&w);
}

/* Whoever does not want the value still learns that it is there. */
static void test_value_not_wanted(void **state)
{
    (void)state;
    struct world w;
    uint8_t key[KEY_SIZE_MAX];
    bool sound = false;
    world_init(&w, IO_STD, 0);
    struct item *it = add(&w, 700);
    kill_process(&w);
    struct vlog_rescue *r = rescue_open(&w, true, false);
    OK(vlog_rescue_record(r, &it->pointer, item_key(it, key), &sound, NULL));
    assert_true(sound);
    vlog_rescue_close(r);
    world_deinit(&w);
}

/* Pointers to other segments, keys, sizes and places are not sound, and write nothing. */
static void test_wrong_pointers(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, IO_STD, 0);
    for (unsigned i = 0; i < 5; i++)
        add(&w, 400);
    kill_process(&w);
    uint64_t size, before = file_hash(&w, &size);
    struct vlog_rescue *r = rescue_open(&w, true, true);
    for (unsigned i = 0; i < 10; i++) {
        struct item it = w.items[2];
        it.pointer.segment += i == 0;
        it.pointer.off += i == 1 ? 8 : i == 2 ? 1ull << 55 : i == 3 ? 1 : i == 4 ? MIB - 5000 : 0;
        it.pointer.value_size += i == 5 ? 1 : i == 6 ? 1u << 29 : 0;
        it.number += i == 7;
        it.key_size += i == 8;
        it.pointer.off = i == 9 ? 0 : it.pointer.off;
        bool sound, value;
        OK(ask(r, &it, &sound, &value));
        assert_false(sound || value);
    }
    vlog_rescue_close(r);
    assert_true(file_hash(&w, &size) == before);
    world_deinit(&w);
}

/* Any flipped bit of a record in the buffers is noticed, and then nothing is written. */
static void test_flipped_bits(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, IO_STD, 0);
    add(&w, 90);
    struct item *it = add(&w, 1500);
    add(&w, 90);
    kill_process(&w);
    uint64_t size, before = file_hash(&w, &size);
    uint64_t from = it->pointer.off - PAGE_BYTES + FIRST_BUFFER;
    uint64_t to = from + vlog_record_size(it->key_size, it->value_size);
    struct vlog_rescue *r = rescue_open(&w, true, true);
    for (uint64_t bit = from * 8; bit < to * 8; bit++) {
        bool sound, value;
        w.shared[bit / 8] ^= (uint8_t)(1 << bit % 8);
        OK(ask(r, it, &sound, &value));
        assert_false(sound);
        w.shared[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    vlog_rescue_close(r);
    assert_true(file_hash(&w, &size) == before);
    assert_int_equal(count_sound(&w, true, false, NULL), 3);
    world_deinit(&w);
}

/* Any flipped bit of the first page: right values or none. */
static void test_flipped_claims(void **state)
{
    (void)state;
    struct world w;
    unsigned lost = 0;
    world_init(&w, IO_STD, 0);
    add(&w, 90);
    add(&w, 200000);
    add(&w, 90);
    kill_process(&w);
    for (unsigned bit = 0; bit < (CLAIMS_OFF + 4 * CLAIM_BYTES) * 8; bit++) {
        w.shared[bit / 8] ^= (uint8_t)(1 << bit % 8);
        lost += w.count - count_sound(&w, true, false, NULL);
        w.shared[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(lost > 0);
    check_rescued(&w, 1);
    world_deinit(&w);
}

static void claim_anything(uint8_t *shared, uint64_t *rng)
{
    for (unsigned i = 0; i < 4; i++) {
        uint64_t segment = test_random(rng) % 4 ? SEGMENT : test_random(rng);
        uint64_t off = test_random(rng) >> (test_random(rng) % 64) & ~(uint64_t)(test_random(rng) % 4 ? 4095 : 0);
        uint32_t size = (uint32_t)(test_random(rng) >> (32 + test_random(rng) % 32));
        uint8_t *claim = shared + CLAIMS_OFF + i * CLAIM_BYTES;
        memcpy(claim, &segment, 8);
        memcpy(claim + 8, &off, 8);
        memcpy(claim + 16, &size, 4);
    }
}

/* Buffers full of garbage and claims on anything: what is in the file is sound, and stays as it is. */
static void test_garbage(void **state)
{
    (void)state;
    uint64_t rng = test_seed(77), size;
    struct world w;
    world_init(&w, IO_STD, 0);
    for (unsigned i = 0; i < 8; i++)
        add(&w, i * 9000);
    OK(vlog_writer_flush(w.w));
    for (unsigned i = 0; i < 4; i++)
        add(&w, 500);
    kill_process(&w);
    pattern_fill(w.shared + PAGE_BYTES, 5, 0, SHARED_BYTES - PAGE_BYTES);
    uint64_t before = file_hash(&w, &size);
    for (uint64_t round = test_scale(300); round > 0; round--) {
        claim_anything(w.shared, &rng);
        assert_int_equal(count_sound(&w, true, round % 2, NULL), 8);
    }
    pattern_fill(w.shared, 6, 0, PAGE_BYTES);
    assert_int_equal(count_sound(&w, true, true, NULL), 8);
    assert_true(file_hash(&w, &size) == before);
    world_deinit(&w);
}

/* Two writers' memories back to back: each segment's records are found in its own. */
static void test_two_memories(void **state)
{
    (void)state;
    struct world w;
    bool sound, value;
    world_init(&w, IO_STD, 0);
    add(&w, 600);
    kill_process(&w);
    uint8_t *both = calloc(2, SHARED_BYTES);
    memcpy(both, w.shared, SHARED_BYTES);
    both[CLAIMS_OFF] ^= 1; /* another segment's */
    memcpy(both + SHARED_BYTES, w.shared, SHARED_BYTES);
    struct vlog_rescue *r = NULL;
    OK(vlog_rescue_open(w.io, "v", SEGMENT, slice_make(both, 2 * SHARED_BYTES), false, &r));
    OK(ask(r, &w.items[0], &sound, &value));
    assert_true(sound && value);
    vlog_rescue_close(r);
    free(both);
    world_deinit(&w);
}

/* After sealing the memory is the caller's: whatever becomes of it, the old writer and its reader do not look. */
static void test_seal_hands_back(void **state)
{
    (void)state;
    struct world w;
    struct vlog_reader *r = NULL;
    world_init(&w, IO_STD, 0);
    OK(vlog_reader_open(w.io, "v", SEGMENT, VLOG_READ_AUTO, w.w, NULL, &r));
    for (unsigned i = 0; i < 20; i++)
        add(&w, i * 4000);
    for (unsigned i = 0; i < w.count; i++)
        OK(item_read(r, &w.items[i]));
    OK(vlog_writer_seal(w.w));
    memset(w.map.data, 0xee, SHARED_BYTES);
    for (unsigned i = 0; i < w.count; i++)
        OK(item_read(r, &w.items[i]));
    OK(vlog_writer_flush(w.w));
    OK(vlog_writer_seal(w.w));
    vlog_reader_unref(r);
    epoch_drain();
    vlog_writer_destroy(TAKE(w.w));
    for (size_t i = 0; i < SHARED_BYTES; i++)
        assert_int_equal(w.map.data[i], 0xee);
    world_deinit(&w);
}

/* A segment's stale claims are gone when the memory is given to the next writer, whose records are found. */
static void test_next_writer(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, IO_STD, 0);
    for (unsigned i = 0; i < 20; i++)
        add(&w, 60000);
    OK(vlog_writer_seal(w.w));
    vlog_writer_destroy(w.w);
    OK(io_unlink(w.io, "v"));
    struct vlog_writer_options o = model_options(w.io, "v", ".");
    o.shared = w.map.data;
    o.salt = 0x77;
    OK(vlog_writer_create(&o, &w.w));
    w.count = 0;
    add(&w, 333);
    add(&w, 70000);
    kill_process(&w);
    check_rescued(&w, 1);
    world_deinit(&w);
}

/* What a writer that could not be created was given stays as it was. */
static void test_failed_create(void **state)
{
    (void)state;
    struct world w;
    struct vlog_writer *other = NULL;
    world_init(&w, IO_STD, 0);
    add(&w, 50);
    uint8_t *copy = malloc(SHARED_BYTES);
    memcpy(copy, w.map.data, SHARED_BYTES);
    struct vlog_writer_options o = model_options(w.io, "v", ".");
    o.shared = w.map.data;
    FAILS(EXISTS, vlog_writer_create(&o, &other));
    assert_memory_equal(copy, w.map.data, SHARED_BYTES);
    free(copy);
    world_deinit(&w);
}

/* No segment, a damaged or another one: refused. */
static void test_refused(void **state)
{
    (void)state;
    struct world w;
    struct vlog_rescue *r = NULL;
    world_init(&w, IO_STD, 0);
    kill_process(&w);
    const struct slice none = slice_make(NULL, 0);
    FAILS(NOT_FOUND, vlog_rescue_open(w.io, "nothing", SEGMENT, none, true, &r));
    FAILS(CORRUPT, vlog_rescue_open(w.io, "v", SEGMENT + 1, none, true, &r));
    flip_in_file(&w, 30);
    FAILS(CORRUPT, vlog_rescue_open(w.io, "v", SEGMENT, none, true, &r));
    cut_file(&w, 100);
    FAILS(CORRUPT, vlog_rescue_open(w.io, "v", SEGMENT, none, true, &r));
    vlog_rescue_close(NULL);
    world_deinit(&w);
}

/* ---- failures -------------------------------------------------------------------------------------------------- */

static void fill_for_failures(struct world *w)
{
    world_init(w, IO_STD, 0);
    add(w, 300);
    add(w, 80000);
    add(w, 1200000);
    add(w, 9);
    kill_process(w);
}

static enum nokv_status rescue_all(struct world *w, bool repair)
{
    struct vlog_rescue *r = NULL;
    bool sound, value;
    TRY(vlog_rescue_open(w->io, "v", SEGMENT, slice_make(w->shared, SHARED_BYTES), repair, &r));
    enum nokv_status status = NOKV_OK;
    for (unsigned i = 0; i < w->count && status == NOKV_OK; i++) {
        status = ask(r, &w->items[i], &sound, &value);
        assert_true(status != NOKV_OK || sound);
    }
    if (status == NOKV_OK)
        status = vlog_rescue_sync(r);
    vlog_rescue_close(r);
    return status;
}

/* Whichever call fails, the error comes out, and a second attempt finds everything. */
static void test_failing_calls(void **state)
{
    (void)state;
    static const enum io_op ops[] = {IO_OP_OPEN, IO_OP_READ, IO_OP_WRITE, IO_OP_SYNC};
    for (size_t op = 0; op < ARRAY_COUNT(ops); op++)
        for (int repair = 0; repair < 2; repair++) {
            bool failed = true;
            for (uint64_t k = 1; failed; k++) {
                struct world w;
                fill_for_failures(&w);
                sim_fail(w.sim, ops[op], IO_VLOG, k, k % 2 ? EIO : ENOSPC, false);
                enum nokv_status status = rescue_all(&w, repair);
                failed = sim_failed(w.sim);
                assert_int_equal(status, !failed ? NOKV_OK : k % 2 ? NOKV_ERR_IO : NOKV_ERR_NO_SPACE);
                sim_fail_clear(w.sim);
                if (ops[op] != IO_OP_SYNC) /* which would never be tried again */
                    OK(rescue_all(&w, repair));
                world_deinit(&w);
                assert_true(k < 200);
            }
        }
}

/* Whichever allocation fails: NO_MEMORY, nothing leaks. */
static void test_failing_allocations(void **state)
{
    (void)state;
    for (int repair = 0; repair < 2; repair++) {
        enum nokv_status status = NOKV_ERR_NO_MEMORY;
        for (uint64_t k = 0; status == NOKV_ERR_NO_MEMORY; k++) {
            struct world w;
            fill_for_failures(&w);
            mem_fail_after(k);
            status = rescue_all(&w, repair);
            mem_fail_after(UINT64_MAX);
            assert_true(k < 200);
            world_deinit(&w);
        }
        OK(status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),           cmocka_unit_test(test_buffers_only),
        cmocka_unit_test(test_flushed_and_not),  cmocka_unit_test(test_middle_in_file),
        cmocka_unit_test(test_reused_buffers),   cmocka_unit_test(test_head_not_written),
        cmocka_unit_test(test_cut_file),         cmocka_unit_test(test_large_value),
        cmocka_unit_test(test_value_not_wanted), cmocka_unit_test(test_wrong_pointers),
        cmocka_unit_test(test_flipped_bits),     cmocka_unit_test(test_flipped_claims),
        cmocka_unit_test(test_garbage),          cmocka_unit_test(test_two_memories),
        cmocka_unit_test(test_seal_hands_back),  cmocka_unit_test(test_next_writer),
        cmocka_unit_test(test_failed_create),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_failing_calls),    cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
