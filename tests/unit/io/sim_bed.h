// SPDX-License-Identifier: Apache-2.0
/*
 * tests/unit/io/sim_bed.h - a simulated disk with one life of a process on it, and small files.
 */
#ifndef TESTS_UNIT_IO_SIM_BED_H
#define TESTS_UNIT_IO_SIM_BED_H

#include "io/sim.h"
#include "test.h"

struct bed {
    struct sim *sim;
    struct io *io;
};

static inline struct bed bed_create(uint64_t seed)
{
    struct bed b = {0};
    OK(sim_create(&(struct sim_options){.seed = seed}, &b.sim));
    OK(sim_io_create(b.sim, &b.io));
    return b;
}

static inline void bed_destroy(struct bed *b)
{
    io_destroy(b->io);
    sim_destroy(b->sim);
}

static inline void bed_cut(struct bed *b)
{
    io_destroy(b->io);
    sim_power_cut(b->sim);
    OK(sim_io_create(b->sim, &b->io));
}

static inline void bed_kill(struct bed *b)
{
    io_destroy(b->io);
    sim_process_kill(b->sim);
    OK(sim_io_create(b->sim, &b->io));
}

/* Three bytes at 10 in an otherwise empty file. */
static inline void put_file(struct io *io, const char *path, bool sync, bool sync_dir)
{
    struct io_file *f = NULL;
    OK(io_open(io, path, IO_OTHER, IO_STD, IO_WRITE | IO_CREATE, &f));
    OK(io_pwrite(f, "abc", 3, 10));
    if (sync)
        OK(io_sync(f));
    OK(io_close(f));
    if (sync_dir)
        OK(io_sync_dir(io, "."));
}

static inline struct io_file *open_rw(struct io *io, const char *path)
{
    struct io_file *f = NULL;
    OK(io_open(io, path, IO_OTHER, IO_STD, IO_READ | IO_WRITE, &f));
    return f;
}

static inline size_t read_all(struct io *io, const char *path, uint8_t *buffer, size_t capacity)
{
    struct io_file *f = NULL;
    size_t got = 0;
    OK(io_open(io, path, IO_OTHER, IO_STD, IO_READ, &f));
    OK(io_pread(f, buffer, capacity, 0, &got));
    OK(io_close(f));
    return got;
}

#endif
