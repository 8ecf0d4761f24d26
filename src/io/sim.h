// SPDX-License-Identifier: Apache-2.0
/*
 * io/sim.h - the simulated disk: an io environment in memory that loses, tears and refuses what a real one may.
 *
 * It keeps two states of everything: what the running system sees (cached), and what is known to be on the medium
 * (synced). Contents: io_sync makes a file's bytes and size durable; unsynced writes are remembered one by one.
 * Names: creations, renames, unlinks and directories become durable with io_sync_dir of their directory; a file whose
 * entry is not durable is gone after a crash however well its bytes were synced.
 *
 * One seed drives every random choice. Single operations are counted ("steps"), all in one order under one lock, so a
 * single-threaded run is repeatable. Thread-safe.
 */
#ifndef IO_SIM_H
#define IO_SIM_H

#include "io/io.h"

struct sim; /* the disk; several environments (lives of the process) may follow each other on it */

enum { SIM_SECTOR = 512 };
#define SIM_MEMORY_BYTES (8ull << 30)

struct sim_options {
    uint64_t seed;
    uint64_t capacity_bytes; /* 0: endless. Beyond it writes and preallocation give NO_SPACE */
    bool short_transfers;    /* the backend below io_pread/io_pwrite moves random parts, to exercise its loops */
    bool syncs_lie;          /* a sync, or a durable write, says that it worked and makes nothing durable */
    bool failed_syncs_keep;  /* what a failed sync loses is still read, until the power goes, and later syncs say yes */
    uint64_t step_ns;        /* how far an operation moves the clock; 0: 1,000 */
};

enum nokv_status sim_create(const struct sim_options *options, struct sim **out_sim) MUST_CHECK;
void sim_destroy(struct sim *sim); /* REQUIRES: no io of it is left */
/* A life of the process on the disk. io_destroy ends it (the page cache stays, as after a kill). */
enum nokv_status sim_io_create(struct sim *sim, struct io **out_io) MUST_CHECK;

/* Operations so far that touch the disk (writes, syncs, names, truncates, preallocations, maps, opens, reads). */
uint64_t sim_steps(const struct sim *sim);

/*
 * Power off after `steps` more operations: that operation and all later ones fail with IO and change nothing, until
 * sim_power_cut() or sim_process_kill() starts the next life. 0: the very next. UINT64_MAX: never.
 */
void sim_crash_after(struct sim *sim, uint64_t steps);
bool sim_is_crashed(const struct sim *sim);

/*
 * What the medium looks like after a power cut: each unsynced write is, per 512-byte sector, kept, dropped or torn
 * (some sectors of it old, some new, at random; in any order between writes); an unsynced size may be the old or the
 * new one (bytes between read as zeros); each unsynced name operation happened or not (in order within one directory up
 * to a random point; a rename is atomic). Shared buffers: per 4 KiB page, any content since the last crash boundary:
 * here, the current or the last durable one, per sector. REQUIRES: no open files, i.e. the io was destroyed.
 */
void sim_power_cut(struct sim *sim);
/* The process died and the system lived on: everything that was written stays. Clears sim_crash_after. */
void sim_process_kill(struct sim *sim);

/* The k-th next operation of kind `op` (any: IO_OP_COUNT) on a component (any: IO_COMPONENT_COUNT) fails with errno
 * `err`, once (k = 1: the next), or, when `sticky`, from then on. A failed sync drops the unsynced data, as Linux may.
 */
void sim_fail(struct sim *sim, enum io_op op, enum io_component component, uint64_t k, int err, bool sticky);
bool sim_fail_clear(struct sim *sim); /* has it failed an operation? */
/* Did the planned failure happen? */
bool sim_failed(const struct sim *sim);
/* How many operations plans for `op` have failed since the disk was made. Takes no lock, and so is no switch point. */
uint64_t sim_failures(const struct sim *sim, enum io_op op);
void sim_set_capacity(struct sim *sim, uint64_t bytes);
/* What io_memory_get answers from now on, at first SIM_MEMORY_BYTES of a "machine" without a limit. `source` is static.
 * REQUIRES: limit_bytes <= total_bytes. */
void sim_set_memory(struct sim *sim, const struct io_memory *memory);

/* Flip one bit of a file's content at rest (cached and synced). INVALID when out of range. */
enum nokv_status sim_flip_bit(struct sim *sim, const char *path, uint64_t off, unsigned bit) MUST_CHECK;
/* Every file with its size, sorted by name, until fn returns false. */
void sim_each_file(struct sim *sim, bool (*fn)(void *arg, const char *path, uint64_t size), void *arg);
/* Independent copy of the disk (cached and synced state, clock, random state), so that one run can be cut at many
 * places. A process may be running on it: the copy is what the disk would be if that one had been killed now. */
enum nokv_status sim_clone(const struct sim *sim, struct sim **out_sim) MUST_CHECK;
/* Random numbers from the disk's seed, for the workload that runs on it. */
uint64_t sim_random(struct sim *sim);
/* Go on with the random choices of another seed: the same disk cut in different ways. */
void sim_reseed(struct sim *sim, uint64_t seed);

#endif
