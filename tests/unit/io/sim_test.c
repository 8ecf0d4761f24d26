// SPDX-License-Identifier: Apache-2.0
/* The simulated disk: what survives a power cut and what may not, planned failures, space, damage, clones. */
#include "io/sim.h"

#include <errno.h>

#include "base/alloc.h"
#include "sim_bed.h"

enum { CUTS = 200 };

/* ---- power cuts: content -------------------------------------------------------------------------------------- */

/* Synced bytes and a synced name are there after every power cut. */
static void test_synced_survives(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = bed_create(seed);
        put_file(b.io, "f", true, true);
        bed_cut(&b);
        uint8_t bytes[32];
        assert_int_equal(read_all(b.io, "f", bytes, sizeof bytes), 13);
        assert_memory_equal(bytes + 10, "abc", 3);
        bed_destroy(&b);
    }
}

/* An unsynced write over synced bytes is kept, dropped or torn between sectors, each of them at some seed, and within a
 * sector it is all or nothing. */
static void test_unsynced_tears_by_sector(void **state)
{
    (void)state;
    unsigned kept = 0, dropped = 0, torn = 0;
    static uint8_t old[4 * SIM_SECTOR], new[4 * SIM_SECTOR], found[5 * SIM_SECTOR];
    memset(old, 'o', sizeof old);
    memset(new, 'n', sizeof new);
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = bed_create(seed);
        put_file(b.io, "f", true, true);
        struct io_file *f = open_rw(b.io, "f");
        OK(io_pwrite(f, old, sizeof old, 0));
        OK(io_sync(f));
        OK(io_pwrite(f, new, sizeof new, 0));
        OK(io_close(f));
        bed_cut(&b);
        assert_int_equal(read_all(b.io, "f", found, sizeof found), sizeof old);
        unsigned new_sectors = 0;
        for (int i = 0; i < 4; i++) {
            const uint8_t *sector = found + i * SIM_SECTOR;
            bool is_new = memcmp(sector, new, SIM_SECTOR) == 0;
            assert_true(is_new || memcmp(sector, old, SIM_SECTOR) == 0);
            new_sectors += is_new;
        }
        kept += new_sectors == 4;
        dropped += new_sectors == 0;
        torn += new_sectors > 0 && new_sectors < 4;
        bed_destroy(&b);
    }
    assert_true(kept > 0 && dropped > 0 && torn > 0);
}

/* An unsynced extension leaves the old size, the new one or one in between, and what was not written reads as zeros. */
static void test_unsynced_size(void **state)
{
    (void)state;
    unsigned old_sizes = 0, new_sizes = 0, between = 0, holes = 0;
    static uint8_t data[1000], found[4000];
    memset(data, 'x', sizeof data);
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = bed_create(seed);
        put_file(b.io, "f", true, true);
        struct io_file *f = open_rw(b.io, "f");
        OK(io_pwrite(f, data, 1000, 1000));
        OK(io_pwrite(f, data, 1000, 2000));
        OK(io_close(f));
        bed_cut(&b);
        size_t size = read_all(b.io, "f", found, sizeof found);
        old_sizes += size == 13;
        between += size == 2000;
        new_sizes += size == 3000;
        assert_true(size == 13 || size == 2000 || size == 3000);
        for (size_t i = 13; i < size; i++)
            assert_true(found[i] == 0 || (i >= 1000 && found[i] == 'x'));
        holes += size == 3000 && found[2999] == 0;
        assert_memory_equal(found + 10, "abc", 3);
        bed_destroy(&b);
    }
    assert_true(old_sizes > 0 && new_sizes > 0 && between > 0 && holes > 0);
}

/* Writes come back in any order: some cut keeps the later write and drops the earlier one. */
static void test_unsynced_reorders(void **state)
{
    (void)state;
    unsigned later_only = 0, earlier_only = 0;
    static uint8_t found[4 * SIM_SECTOR];
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = bed_create(seed);
        put_file(b.io, "f", true, true);
        struct io_file *f = open_rw(b.io, "f");
        OK(io_truncate(f, sizeof found));
        OK(io_sync(f));
        OK(io_pwrite(f, "1", 1, 0));
        OK(io_pwrite(f, "2", 1, SIM_SECTOR));
        OK(io_close(f));
        bed_cut(&b);
        read_all(b.io, "f", found, sizeof found);
        later_only += found[0] == 0 && found[SIM_SECTOR] == '2';
        earlier_only += found[0] == '1' && found[SIM_SECTOR] == 0;
        bed_destroy(&b);
    }
    assert_true(later_only > 0 && earlier_only > 0);
}

/* A durable write survives every cut, and drags nothing else with it. */
static void test_durable_write(void **state)
{
    (void)state;
    unsigned other_lost = 0;
    static uint8_t found[8 * SIM_SECTOR];
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = bed_create(seed);
        put_file(b.io, "f", true, true);
        struct io_file *f = open_rw(b.io, "f");
        OK(io_pwrite(f, "unsynced", 8, SIM_SECTOR));
        OK(io_pwrite_durable(f, "durable", 7, 4 * SIM_SECTOR));
        OK(io_close(f));
        bed_cut(&b);
        assert_int_equal(read_all(b.io, "f", found, sizeof found), 4 * SIM_SECTOR + 7);
        assert_memory_equal(found + 4 * SIM_SECTOR, "durable", 7);
        other_lost += memcmp(found + SIM_SECTOR, "unsynced", 8) != 0;
        bed_destroy(&b);
    }
    assert_true(other_lost > 0 && other_lost < CUTS);
}

/* The death of the process alone loses nothing that was written. */
static void test_kill_loses_nothing(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    uint8_t bytes[32];
    put_file(b.io, "f", false, false);
    bed_kill(&b);
    assert_int_equal(read_all(b.io, "f", bytes, sizeof bytes), 13);
    assert_memory_equal(bytes + 10, "abc", 3);
    bed_destroy(&b);
}

/* Stores into a shared buffer outlive a kill; after a power cut each sector is the current or the synced one. */
static void test_shared_buffer(void **state)
{
    (void)state;
    unsigned kept = 0, lost = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = bed_create(seed);
        struct io_shared ring;
        OK(io_shared_open(b.io, "ring", 2 * SIM_SECTOR, &ring));
        memset(ring.data, 'a', ring.size);
        io_shared_close(&ring);
        struct io_file *f = open_rw(b.io, "ring");
        OK(io_sync(f));
        OK(io_close(f));
        OK(io_sync_dir(b.io, "."));
        OK(io_shared_open(b.io, "ring", 2 * SIM_SECTOR, &ring));
        assert_int_equal(ring.data[0], 'a');
        ring.data[0] = 'b';
        ring.data[SIM_SECTOR] = 'c';
        io_shared_close(&ring);
        bed_kill(&b);
        OK(io_shared_open(b.io, "ring", 2 * SIM_SECTOR, &ring));
        assert_true(ring.data[0] == 'b' && ring.data[SIM_SECTOR] == 'c' && ring.data[1] == 'a');
        io_shared_close(&ring);
        bed_cut(&b);
        OK(io_shared_open(b.io, "ring", 2 * SIM_SECTOR, &ring));
        assert_true(ring.data[0] == 'b' || ring.data[0] == 'a');
        assert_true(ring.data[1] == 'a' && ring.data[SIM_SECTOR + 1] == 'a');
        kept += ring.data[0] == 'b';
        lost += ring.data[SIM_SECTOR] == 'a';
        io_shared_close(&ring);
        bed_destroy(&b);
    }
    assert_true(kept > 0 && lost > 0);
}

/* ---- power cuts: names ---------------------------------------------------------------------------------------- */

/* A file whose bytes were synced and whose directory was not may be gone; it is never half there. */
static void test_unsynced_creation(void **state)
{
    (void)state;
    unsigned there = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = bed_create(seed);
        put_file(b.io, "f", true, false);
        bed_cut(&b);
        if (io_exists(b.io, "f")) {
            uint8_t bytes[32];
            assert_int_equal(read_all(b.io, "f", bytes, sizeof bytes), 13);
            there++;
        }
        bed_destroy(&b);
    }
    assert_true(there > 0 && there < CUTS);
}

/* An unsynced rename over an existing file leaves the old or the new file under the name, never none. */
static void test_rename_is_atomic(void **state)
{
    (void)state;
    unsigned old_ones = 0, new_ones = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = bed_create(seed);
        put_file(b.io, "f", true, true);
        put_file(b.io, "f.tmp", true, true);
        struct io_file *f = open_rw(b.io, "f.tmp");
        OK(io_pwrite_durable(f, "xyz", 3, 10));
        OK(io_close(f));
        OK(io_rename(b.io, "f.tmp", "f"));
        bed_cut(&b);
        uint8_t bytes[32];
        assert_int_equal(read_all(b.io, "f", bytes, sizeof bytes), 13);
        bool is_new = memcmp(bytes + 10, "xyz", 3) == 0;
        assert_true(is_new || memcmp(bytes + 10, "abc", 3) == 0);
        assert_int_equal(io_exists(b.io, "f.tmp"), !is_new);
        new_ones += is_new;
        old_ones += !is_new;
        bed_destroy(&b);
    }
    assert_true(old_ones > 0 && new_ones > 0);
}

/* A rename between two directories never loses the file, whatever is synced and cut. */
static void test_rename_between_directories(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = bed_create(seed);
        OK(io_mkdir(b.io, "a"));
        OK(io_mkdir(b.io, "b"));
        OK(io_sync_dir(b.io, "."));
        put_file(b.io, "a/f", true, false);
        OK(io_sync_dir(b.io, "a"));
        OK(io_rename(b.io, "a/f", "b/f"));
        if (seed % 3 == 1)
            OK(io_sync_dir(b.io, "a"));
        if (seed % 3 == 2)
            OK(io_sync_dir(b.io, "b"));
        bed_cut(&b);
        assert_int_equal(io_exists(b.io, "a/f") + io_exists(b.io, "b/f"), 1);
        if (seed % 3 != 0)
            assert_true(io_exists(b.io, "b/f"));
        bed_destroy(&b);
    }
}

/* An unsynced unlink may be undone, with the content as it was; a synced one never is. */
static void test_unlink(void **state)
{
    (void)state;
    unsigned back = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = bed_create(seed);
        put_file(b.io, "f", true, true);
        put_file(b.io, "g", true, true);
        OK(io_unlink(b.io, "g"));
        OK(io_sync_dir(b.io, "."));
        OK(io_unlink(b.io, "f"));
        bed_cut(&b);
        assert_false(io_exists(b.io, "g"));
        if (io_exists(b.io, "f")) {
            uint8_t bytes[32];
            assert_int_equal(read_all(b.io, "f", bytes, sizeof bytes), 13);
            back++;
        }
        bed_destroy(&b);
    }
    assert_true(back > 0 && back < CUTS);
}

/* Name operations of one directory happen in order: when the second creation is there, so is the first. */
static void test_names_in_order(void **state)
{
    (void)state;
    unsigned first_only = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = bed_create(seed);
        put_file(b.io, "1", true, false);
        put_file(b.io, "2", true, false);
        bed_cut(&b);
        assert_true(io_exists(b.io, "1") || !io_exists(b.io, "2"));
        first_only += io_exists(b.io, "1") && !io_exists(b.io, "2");
        bed_destroy(&b);
    }
    assert_true(first_only > 0);
}

/* Everything below a directory that was not durable is gone with it. */
static void test_directory_gone(void **state)
{
    (void)state;
    unsigned gone = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = bed_create(seed);
        OK(io_mkdir(b.io, "d"));
        put_file(b.io, "d/f", true, false);
        OK(io_sync_dir(b.io, "d"));
        bed_cut(&b);
        assert_int_equal(io_exists(b.io, "d/f"), io_exists(b.io, "d"));
        gone += !io_exists(b.io, "d");
        bed_destroy(&b);
    }
    assert_true(gone > 0 && gone < CUTS);
}

/* ---- crashes and failures ------------------------------------------------------------------------------------- */

/* From the chosen step on everything fails and nothing changes, until the next life. */
static void test_crash_after(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    put_file(b.io, "f", true, true);
    struct io_file *f = open_rw(b.io, "f");
    sim_crash_after(b.sim, 1);
    uint64_t steps = sim_steps(b.sim);
    OK(io_pwrite(f, "x", 1, 0));
    assert_false(sim_is_crashed(b.sim));
    FAILS(IO, io_pwrite(f, "y", 1, 1));
    assert_true(sim_is_crashed(b.sim));
    FAILS(IO, io_sync(f));
    FAILS(IO, io_rename(b.io, "f", "g"));
    FAILS(IO, io_unlink(b.io, "f"));
    assert_int_equal(sim_steps(b.sim), steps + 1);
    OK(io_close(f));
    bed_kill(&b);
    uint8_t bytes[32];
    assert_false(sim_is_crashed(b.sim));
    assert_int_equal(read_all(b.io, "f", bytes, sizeof bytes), 13);
    assert_true(bytes[0] == 'x' && bytes[1] == 0);
    bed_destroy(&b);
}

/* The k-th operation of a kind fails, once, with the status of its errno; others are not counted. */
static void test_fail_kth(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    put_file(b.io, "f", true, true);
    struct io_file *f = open_rw(b.io, "f");
    sim_fail(b.sim, IO_OP_WRITE, IO_OTHER, 2, ENOSPC, false);
    OK(io_pwrite(f, "x", 1, 0));
    OK(io_sync(f));
    assert_false(sim_failed(b.sim));
    FAILS(NO_SPACE, io_pwrite(f, "x", 1, 0));
    assert_true(sim_failed(b.sim));
    OK(io_pwrite(f, "x", 1, 0));
    sim_fail(b.sim, IO_OP_WRITE, IO_WAL, 1, EIO, false);
    OK(io_pwrite(f, "x", 1, 0));
    assert_false(sim_failed(b.sim));
    OK(io_close(f));
    bed_destroy(&b);
}

/* A sticky failure stays until it is cleared. */
static void test_fail_sticky(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    put_file(b.io, "f", true, true);
    struct io_file *f = open_rw(b.io, "f");
    sim_fail(b.sim, IO_OP_COUNT, IO_COMPONENT_COUNT, 2, EIO, true);
    OK(io_pwrite(f, "x", 1, 0));
    for (int i = 0; i < 5; i++)
        FAILS(IO, io_sync(f));
    FAILS(IO, io_sync_dir(b.io, "."));
    sim_fail_clear(b.sim);
    OK(io_sync(f));
    OK(io_close(f));
    bed_destroy(&b);
}

/* After a failed sync the data is gone for good, although the next sync succeeds. */
static void test_failed_sync_drops(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    put_file(b.io, "f", true, true);
    struct io_file *f = open_rw(b.io, "f");
    OK(io_pwrite(f, "xyz", 3, 10));
    OK(io_pwrite(f, "tail", 4, 13));
    sim_fail(b.sim, IO_OP_SYNC, IO_OTHER, 1, EIO, false);
    FAILS(IO, io_sync(f));
    OK(io_sync(f));
    OK(io_close(f));
    bed_cut(&b);
    uint8_t bytes[32];
    assert_int_equal(read_all(b.io, "f", bytes, sizeof bytes), 17);
    assert_memory_equal(bytes + 10, "abc\0\0\0\0", 7);
    bed_destroy(&b);
}

/* A failed durable write is as a failed sync. */
static void test_failed_durable_write(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    put_file(b.io, "f", true, true);
    struct io_file *f = open_rw(b.io, "f");
    OK(io_pwrite(f, "xyz", 3, 10));
    sim_fail(b.sim, IO_OP_SYNC, IO_OTHER, 1, EIO, false);
    FAILS(IO, io_pwrite_durable(f, "z", 1, 0));
    uint8_t bytes[32];
    assert_int_equal(read_all(b.io, "f", bytes, sizeof bytes), 13);
    assert_memory_equal(bytes + 10, "abc", 3);
    OK(io_close(f));
    bed_destroy(&b);
}

/* A full disk refuses writes and reservations with NO_SPACE, and space comes back with the last reference. */
static void test_disk_full(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    static uint8_t data[8192];
    struct io_file *f = NULL, *g = NULL;
    sim_set_capacity(b.sim, 8192);
    OK(io_open(b.io, "f", IO_SST, IO_STD, IO_WRITE | IO_CREATE, &f));
    FAILS(NO_SPACE, io_preallocate(f, 0, 8193));
    OK(io_preallocate(f, 0, 8192));
    OK(io_pwrite(f, data, 8192, 0));
    OK(io_open(b.io, "g", IO_SST, IO_STD, IO_WRITE | IO_CREATE, &g));
    FAILS(NO_SPACE, io_pwrite(g, data, 1, 0));
    assert_non_null(strstr(status_message(), "No space"));
    OK(io_unlink(b.io, "f"));
    FAILS(NO_SPACE, io_pwrite(g, data, 1, 0));
    OK(io_close(f));
    OK(io_pwrite(g, data, 8192, 0));
    OK(io_truncate(g, 100));
    OK(io_close(g));
    struct io_shared ring;
    FAILS(NO_SPACE, io_shared_open(b.io, "ring", 8192, &ring));
    assert_false(io_exists(b.io, "ring"));
    OK(io_shared_open(b.io, "ring", 4096, &ring));
    io_shared_close(&ring);
    bed_destroy(&b);
}

/* Stores into a shared buffer are durable with a sync of its file, while it is open; later ones are not. */
static void test_shared_buffer_synced_while_open(void **state)
{
    (void)state;
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = bed_create(seed);
        struct io_shared ring;
        OK(io_shared_open(b.io, "ring", 2 * SIM_SECTOR, &ring));
        OK(io_sync_dir(b.io, "."));
        memset(ring.data, 'a', ring.size);
        struct io_file *f = open_rw(b.io, "ring");
        OK(io_sync(f));
        OK(io_close(f));
        ring.data[0] = 'b';
        io_shared_close(&ring);
        bed_cut(&b);
        OK(io_shared_open(b.io, "ring", 2 * SIM_SECTOR, &ring));
        assert_true(ring.data[0] == 'a' || ring.data[0] == 'b');
        for (size_t i = 1; i < ring.size; i++)
            assert_int_equal(ring.data[i], 'a');
        lost += ring.data[0] == 'a';
        io_shared_close(&ring);
        bed_destroy(&b);
    }
    assert_true(lost > 0 && lost < CUTS);
}

/* A write that does not fit as a whole leaves what fitted. */
static void test_disk_full_partial_write(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    static uint8_t data[4096];
    struct io_file *f = NULL;
    uint64_t size = 0;
    sim_set_capacity(b.sim, 1024);
    OK(io_open(b.io, "f", IO_SST, IO_STD, IO_WRITE | IO_CREATE, &f));
    FAILS(NO_SPACE, io_pwrite(f, data, sizeof data, 0));
    OK(io_size(f, &size));
    assert_int_equal(size, 1024);
    OK(io_close(f));
    bed_destroy(&b);
}

/* ---- damage, clones, repeatability ---------------------------------------------------------------------------- */

/* One bit changes, in a mapping too, also after a power cut; a place outside is refused. */
static void test_flip_bit(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    struct io_map map;
    uint8_t bytes[32];
    put_file(b.io, "f", true, true);
    struct io_file *f = open_rw(b.io, "f");
    OK(io_pwrite(f, "Z", 1, 11));
    OK(io_map(f, &map));
    OK(io_close(f));
    OK(sim_flip_bit(b.sim, "f", 10, 1));
    OK(sim_flip_bit(b.sim, "f", 12, 0));
    assert_memory_equal(map.data + 10, "cZb", 3);
    io_unmap(&map);
    FAILS(INVALID, sim_flip_bit(b.sim, "f", 13, 0));
    FAILS(INVALID, sim_flip_bit(b.sim, "f", 0, 8));
    FAILS(NOT_FOUND, sim_flip_bit(b.sim, "g", 0, 0));
    bed_cut(&b);
    read_all(b.io, "f", bytes, sizeof bytes);
    assert_true(bytes[10] == 'c' && bytes[12] == 'b');
    bed_destroy(&b);
}

/* A bit flips in an open shared buffer as it does at rest: it is no store, so no power cut takes it back. */
static void test_flip_bit_of_shared_buffer(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct bed b = bed_create(seed);
        struct io_shared ring;
        OK(io_shared_open(b.io, "ring", SIM_SECTOR, &ring));
        memset(ring.data, 'a', ring.size);
        struct io_file *f = open_rw(b.io, "ring");
        OK(io_sync(f));
        OK(io_close(f));
        OK(io_sync_dir(b.io, "."));
        OK(sim_flip_bit(b.sim, "ring", 7, 1));
        assert_int_equal(ring.data[7], 'a' ^ 2);
        io_shared_close(&ring);
        bed_cut(&b);
        OK(io_shared_open(b.io, "ring", SIM_SECTOR, &ring));
        assert_true(ring.data[6] == 'a' && ring.data[7] == ('a' ^ 2));
        io_shared_close(&ring);
        bed_destroy(&b);
    }
}

/* The bytes of a mapped file stay through unlink, close and the end of its disk space. */
static void test_map_outlives_unlink(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    struct io_map map;
    put_file(b.io, "f", true, true);
    struct io_file *f = open_rw(b.io, "f");
    OK(io_map(f, &map));
    OK(io_close(f));
    OK(io_unlink(b.io, "f"));
    OK(io_sync_dir(b.io, "."));
    assert_int_equal(map.size, 13);
    assert_int_equal((uintptr_t)map.data % PAGE_BYTES, 0);
    assert_memory_equal(map.data + 10, "abc", 3);
    io_unmap(&map);
    bed_destroy(&b);
}

struct digest {
    struct io *io;
    uint64_t sum;
    unsigned files;
};

static bool digest_file(void *arg, const char *path, uint64_t size)
{
    struct digest *d = arg;
    static uint8_t bytes[1 << 16];
    assert_int_equal(read_all(d->io, path, bytes, sizeof bytes), size);
    for (const char *c = path; *c; c++)
        d->sum = d->sum * 31 + (uint8_t)*c;
    for (uint64_t i = 0; i < size; i++)
        d->sum = d->sum * 31 + bytes[i];
    d->files++;
    return true;
}

/* A number that stands for all names and contents. */
static uint64_t disk_digest(struct sim *sim)
{
    struct digest d = {.sum = 1};
    OK(sim_io_create(sim, &d.io));
    sim_each_file(sim, digest_file, &d);
    io_destroy(d.io);
    return d.sum * 31 + d.files;
}

/* A few hundred random operations on a handful of files. */
static void run_workload(struct sim *sim)
{
    struct io *io = NULL;
    OK(sim_io_create(sim, &io));
    for (int i = 0; i < 300; i++) {
        char path[16], other[16];
        uint8_t data[700];
        snprintf(path, sizeof path, "f%d", (int)(sim_random(sim) % 6));
        snprintf(other, sizeof other, "f%d", (int)(sim_random(sim) % 6));
        memset(data, (int)(sim_random(sim) % 256), sizeof data);
        uint64_t choice = sim_random(sim) % 8, off = sim_random(sim) % 8000, size = sim_random(sim) % sizeof data;
        if (choice == 0 && io_exists(io, path))
            OK(io_rename(io, path, other));
        else if (choice == 1 && io_exists(io, path))
            OK(io_unlink(io, path));
        else if (choice == 2)
            OK(io_sync_dir(io, "."));
        struct io_file *f = NULL;
        unsigned flags = IO_READ | IO_WRITE | (io_exists(io, path) ? 0 : IO_CREATE);
        OK(io_open(io, path, IO_OTHER, IO_STD, flags, &f));
        if (choice == 3)
            OK(io_truncate(f, off));
        else if (choice == 4)
            OK(io_sync(f));
        else if (choice == 5)
            OK(io_pwrite_durable(f, data, size, off));
        else
            OK(io_pwrite(f, data, size, off));
        OK(io_close(f));
    }
    io_destroy(io);
}

static struct sim *disk_after_workload(uint64_t seed)
{
    struct sim *sim = NULL;
    OK(sim_create(&(struct sim_options){.seed = seed, .short_transfers = true}, &sim));
    run_workload(sim);
    return sim;
}

/* A clone looks like its original, goes its own way afterwards, and falls in the same way at the same cut. */
static void test_clone(void **state)
{
    (void)state;
    uint64_t seed = test_seed(42);
    for (uint64_t i = 0; i < 20; i++) {
        struct sim *a = disk_after_workload(seed + i), *b = NULL, *c = NULL;
        uint64_t before = disk_digest(a);
        OK(sim_clone(a, &b));
        OK(sim_clone(a, &c));
        assert_int_equal(disk_digest(b), before);
        run_workload(b);
        assert_int_equal(disk_digest(a), before);
        sim_destroy(b);
        sim_reseed(a, i); /* reading it has used up random numbers */
        sim_reseed(c, i);
        sim_power_cut(a);
        sim_power_cut(c);
        assert_int_equal(disk_digest(a), disk_digest(c));
        sim_destroy(a);
        sim_destroy(c);
    }
}

/* Equal seeds give equal runs, steps, clocks and cuts; a disk that is reseeded is cut in another way. */
static void test_repeatable(void **state)
{
    (void)state;
    uint64_t seed = test_seed(7);
    struct sim *a = disk_after_workload(seed), *b = disk_after_workload(seed), *c = NULL;
    assert_int_equal(sim_steps(a), sim_steps(b));
    OK(sim_clone(a, &c));
    unsigned different = 0;
    sim_power_cut(a);
    sim_power_cut(b);
    assert_int_equal(disk_digest(a), disk_digest(b));
    for (uint64_t i = 0; i < 10; i++) {
        struct sim *d = NULL;
        OK(sim_clone(c, &d));
        sim_reseed(d, i);
        sim_power_cut(d);
        different += disk_digest(d) != disk_digest(a);
        sim_destroy(d);
    }
    assert_true(different > 5);
    sim_destroy(a);
    sim_destroy(b);
    sim_destroy(c);
}

/* What the files take of a disk of one MiB. */
static uint64_t used_by_files(struct sim *sim)
{
    static const uint8_t sector[SIM_SECTOR] = {1};
    struct io *io = NULL;
    struct io_file *f = NULL;
    uint64_t bytes = 0;
    sim_set_capacity(sim, 1 << 20);
    OK(sim_io_create(sim, &io));
    OK(io_open(io, "probe", IO_OTHER, IO_STD, IO_WRITE | IO_CREATE, &f));
    while (io_pwrite(f, sector, sizeof sector, bytes) == NOKV_OK)
        bytes += sizeof sector;
    OK(io_close(f));
    io_destroy(io);
    return (1 << 20) - bytes;
}

/* A clone of a disk on which a process runs is that disk as a kill at that moment would leave it: stores into an open
 * shared buffer are there, unsynced; what is stored later is not; a file that only the process held is gone. */
static void test_clone_while_running(void **state)
{
    (void)state;
    unsigned old = 0, kept = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = bed_create(seed);
        struct sim *copy = NULL;
        struct io_shared ring, found;
        struct io *io = NULL;
        put_file(b.io, "gone", true, true);
        struct io_file *gone = open_rw(b.io, "gone");
        OK(io_unlink(b.io, "gone"));
        OK(io_sync_dir(b.io, "."));
        OK(io_shared_open(b.io, "ring", 2 * SIM_SECTOR, &ring));
        OK(io_sync_dir(b.io, "."));
        memset(ring.data, 'x', ring.size);
        OK(sim_clone(b.sim, &copy));
        memset(ring.data, 'y', ring.size);
        if (seed % 2)
            sim_power_cut(copy);
        else
            sim_process_kill(copy);
        OK(sim_io_create(copy, &io));
        OK(io_shared_open(io, "ring", 2 * SIM_SECTOR, &found));
        for (size_t i = 0; i < 2; i++) {
            uint8_t byte = found.data[i * SIM_SECTOR];
            assert_true(byte == 'x' || (seed % 2 && byte == 0));
            old += byte == 0;
            kept += byte == 'x';
        }
        assert_false(io_exists(io, "gone"));
        io_shared_close(&found);
        io_destroy(io);
        assert_int_equal(used_by_files(copy), 2 * SIM_SECTOR);
        sim_destroy(copy);
        assert_int_equal(ring.data[0], 'y');
        io_shared_close(&ring);
        OK(io_close(gone));
        bed_destroy(&b);
    }
    assert_true(old > 0 && kept > CUTS / 2);
}

/* A disk whose syncs lie loses what it said was durable, at some seed. */
static void test_lying_syncs(void **state)
{
    (void)state;
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct bed b = {0};
        uint8_t bytes[32] = {0};
        OK(sim_create(&(struct sim_options){.seed = seed, .syncs_lie = true}, &b.sim));
        OK(sim_io_create(b.sim, &b.io));
        put_file(b.io, "f", true, true);
        struct io_file *f = open_rw(b.io, "f");
        OK(io_pwrite_durable(f, "xyz", 3, 0));
        OK(io_close(f));
        bed_cut(&b);
        (void)read_all(b.io, "f", bytes, sizeof bytes);
        lost += memcmp(bytes, "xyz", 3) != 0;
        bed_destroy(&b);
    }
    assert_true(lost > 0);
}

/* When the k-th allocation fails, a clone fails as a whole and leaves nothing behind. */
static void test_clone_without_memory(void **state)
{
    (void)state;
    struct sim *a = disk_after_workload(3), *b = NULL;
    struct io *io = NULL;
    struct io_shared ring;
    unsigned refused = 0;
    OK(sim_io_create(a, &io));
    OK(io_sync_dir(io, "."));
    put_file(io, "x", true, false);
    OK(io_rename(io, "x", "y")); /* two names that are not durable yet */
    OK(io_shared_open(io, "ring", 8 * SIM_SECTOR, &ring));
    for (size_t i = 0; i < ring.size; i += 2 * SIM_SECTOR)
        ring.data[i] = 1;
    uint64_t before = mem_alloc_count();
    OK(sim_clone(a, &b));
    uint64_t count = mem_alloc_count() - before, digest = disk_digest(a);
    for (uint64_t k = 0; k <= count; k++) {
        if (b != NULL) /* a failure while the buffer's stores are noted is tried again */
            assert_int_equal(disk_digest(b), digest);
        sim_destroy(TAKE(b));
        mem_fail_after(k);
        enum nokv_status status = sim_clone(a, &b);
        mem_fail_after(UINT64_MAX);
        assert_int_equal(status, b != NULL ? NOKV_OK : NOKV_ERR_NO_MEMORY);
        refused += b == NULL;
    }
    assert_true(refused > 10);
    assert_non_null(b);
    sim_destroy(b);
    io_shared_close(&ring);
    io_destroy(io);
    sim_destroy(a);
}

/* The clock moves with operations and sleeps, and the date with the clock. */
static void test_clock(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    uint64_t now = io_now_ns(b.io), wall = io_wall_ms(b.io);
    put_file(b.io, "f", true, true);
    assert_true(io_now_ns(b.io) > now);
    io_sleep_ns(b.io, 5000000000);
    assert_true(io_now_ns(b.io) > now + 5000000000);
    assert_true(io_wall_ms(b.io) >= wall + 5000);
    bed_destroy(&b);
}

/* A lock is tied to its file, and named by the pid of its owner. */
static void test_lock_message(void **state)
{
    (void)state;
    struct bed b = bed_create(1);
    struct io_lock *held = NULL, *other = NULL;
    char pid[32];
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    OK(io_lock(b.io, "LOCK", true, &held));
    FAILS(BUSY, io_lock(b.io, "LOCK", true, &other));
    assert_non_null(strstr(status_message(), pid));
    io_unlock(held);
    bed_destroy(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_synced_survives),
        cmocka_unit_test(test_unsynced_tears_by_sector),
        cmocka_unit_test(test_unsynced_size),
        cmocka_unit_test(test_unsynced_reorders),
        cmocka_unit_test(test_durable_write),
        cmocka_unit_test(test_kill_loses_nothing),
        cmocka_unit_test(test_shared_buffer),
        cmocka_unit_test(test_unsynced_creation),
        cmocka_unit_test(test_rename_is_atomic),
        cmocka_unit_test(test_rename_between_directories),
        cmocka_unit_test(test_unlink),
        cmocka_unit_test(test_names_in_order),
        cmocka_unit_test(test_directory_gone),
        cmocka_unit_test(test_crash_after),
        cmocka_unit_test(test_fail_kth),
        cmocka_unit_test(test_fail_sticky),
        cmocka_unit_test(test_failed_sync_drops),
        cmocka_unit_test(test_failed_durable_write),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_disk_full_partial_write),
        cmocka_unit_test(test_shared_buffer_synced_while_open),
        cmocka_unit_test(test_flip_bit),
        cmocka_unit_test(test_flip_bit_of_shared_buffer),
        cmocka_unit_test(test_map_outlives_unlink),
        cmocka_unit_test(test_clone),
        cmocka_unit_test(test_clone_while_running),
        cmocka_unit_test(test_lying_syncs),
        cmocka_unit_test(test_repeatable),
        cmocka_unit_test(test_clone_without_memory),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_lock_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
