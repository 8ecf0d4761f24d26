// SPDX-License-Identifier: Apache-2.0
/*
 * damage_fuzz.c - any string of calls on a database some of whose files were damaged at rest: a bit flipped, cut short,
 * gone. Right answers, or CORRUPT with the name of what is damaged.
 *
 * Input: one byte that chooses the database; the choice of options (CALL_HEAD bytes); the number of damages (one byte)
 * and four bytes for each: which file, and what; then calls (calls.h).
 *
 * What a right answer is: of a database whose tables, sealed segments, MANIFEST or CURRENT were damaged, that of the
 * newest state. What only a log, the shared buffers or a segment that was being written hold may be lost from the end:
 * damage there looks like the torn tail that a power cut leaves. Then the answers must all be those of one and the same
 * state that the database once was in, never a mixture.
 *
 * The mutator changes a damage or a call.
 */
#include "calls.h"
#include "lsm/names.h"

enum { BASES = 6, DAMAGES_MAX = 4, DAMAGE_BYTES = 4, FILES_MAX = 32, PATH_BYTES = 64, CALLS_MAX = 40 };
enum { HEAD = 1 + CALL_HEAD + 1 };

/* ---- the databases ---------------------------------------------------------------------------------------------- */

struct base {
    struct sim *sim;
    struct key_state states[CALL_STATES_MAX];
    size_t state_count;
};

enum { PUT = 0, DELETE = 2, BATCH = 3, STREAM = 4, MAINTENANCE = 13, FLUSH = 0, COMPACT = 1 };

/* `rounds` of writes to all keys, of all homes of a value; flushed, or compacted, after each round, or each but the
 * last. */
static size_t script_make(unsigned rounds, unsigned what, bool after_last, uint8_t *out)
{
    size_t n = 0;
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < 12; i++, n += CALL_BYTES) {
            const uint8_t call[CALL_BYTES] = {i == 7       ? DELETE
                                              : i % 4 == 3 ? BATCH
                                              : i == 10    ? STREAM
                                                           : PUT,
                                              (uint8_t)(i * 5 + round), (uint8_t)(i % 6 + round),
                                              (uint8_t)(i == 10 ? 5 : i * 3)};
            memcpy(out + n, call, CALL_BYTES);
        }
        if (round + 1 == rounds && !after_last)
            break;
        const uint8_t call[CALL_BYTES] = {MAINTENANCE, (uint8_t)what, 0, 0};
        memcpy(out + n, call, CALL_BYTES);
        n += CALL_BYTES;
    }
    return n;
}

static void base_make(struct base *b, unsigned which)
{
    const uint8_t head[CALL_HEAD] = {which == 4 ? 0x91 : 0x90, 0x32, 0, 0}; /* 1: level 0 is merged later */
    uint8_t script[400];
    size_t size = script_make(2 + which % 2 * 2, which % 2 ? COMPACT : FLUSH, which >= 4, script);
    fuzz_must(sim_create(&(struct sim_options){.seed = which + 1}, &b->sim) == NOKV_OK, "sim");
    struct calls *c = calls_create(b->sim, head, false);
    fuzz_must(calls_open(c), "open");
    calls_run(c, script, size);
    b->state_count = calls_history(c, b->states);
    calls_close(c, which / 2 == 1);
    calls_destroy(c);
    sim_process_kill(b->sim);
}

/* ---- damage ----------------------------------------------------------------------------------------------------- */

struct file_list {
    char paths[FILES_MAX][PATH_BYTES];
    uint64_t sizes[FILES_MAX];
    size_t count;
};

static bool file_list_add(void *arg, const char *path, uint64_t size)
{
    struct file_list *l = arg;
    if (l->count < FILES_MAX && size > 0 && strlen(path) < PATH_BYTES) {
        strcpy(l->paths[l->count], path);
        l->sizes[l->count++] = size;
    }
    return true;
}

/* May what it holds be lost from the end, as by a power cut? */
static bool is_tail(const char *path)
{
    uint64_t number;
    const char *slash = strrchr(path, '/');
    enum file_type type = file_type_of(slash ? slash + 1 : path, &number);
    return type == FILE_WAL || type == FILE_WALBUF || type == FILE_VLOGBUF || type == FILE_VLOG;
}

/* One damage. Returns whether it may cost the tail. */
static bool damage_apply(struct sim *sim, struct io *io, const uint8_t d[DAMAGE_BYTES])
{
    struct file_list l = {.count = 0};
    sim_each_file(sim, file_list_add, &l);
    fuzz_must(l.count > 0, "no files");
    size_t file = d[0] % 0x40 % l.count;
    uint64_t where = (uint64_t)d[1] << 8 | d[2];
    struct io_file *f = NULL;
    switch (d[0] >> 6) {
    case 0: /* somewhere */
    case 1: /* near the start */
        where = d[0] >> 6 ? where % 512 : where * l.sizes[file] >> 16;
        fuzz_must(sim_flip_bit(sim, l.paths[file], where % l.sizes[file], d[3] % 8) == NOKV_OK, "flip");
        break;
    case 2: /* near the end, or cut there */
        where = l.sizes[file] - 1 - where % u64_min(8192, l.sizes[file]);
        if (d[3] & 8) {
            fuzz_must(io_open(io, l.paths[file], IO_OTHER, IO_STD, IO_WRITE, &f) == NOKV_OK, "open to cut");
            fuzz_must(io_truncate(f, where) == NOKV_OK && io_close(f) == NOKV_OK, "cut");
        } else {
            fuzz_must(sim_flip_bit(sim, l.paths[file], where, d[3] % 8) == NOKV_OK, "flip");
        }
        break;
    default:
        fuzz_must(io_unlink(io, l.paths[file]) == NOKV_OK, "unlink");
    }
    return is_tail(l.paths[file]);
}

/* ---- one input -------------------------------------------------------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct base bases[BASES];
    struct sim *sim = NULL;
    struct io *io = NULL;
    bool is_tail_lost = false;
    if (size < HEAD)
        return 0;
    struct base *b = &bases[data[0] % BASES];
    size_t damages = data[HEAD - 1] % (DAMAGES_MAX + 1), at = HEAD;
    if (b->sim == NULL)
        base_make(b, data[0] % BASES);
    fuzz_must(sim_clone(b->sim, &sim) == NOKV_OK && sim_io_create(sim, &io) == NOKV_OK, "clone");
    for (size_t i = 0; i < damages && at + DAMAGE_BYTES <= size; i++, at += DAMAGE_BYTES)
        is_tail_lost |= damage_apply(sim, io, data + at);
    io_destroy(io);
    struct calls *c = calls_create(sim, data + 1, true);
    if (is_tail_lost)
        calls_assume(c, b->states, b->state_count);
    else
        calls_assume(c, b->states + b->state_count - 1, 1);
    if (calls_open(c))
        calls_run(c, data + at, u64_min(size - at, CALLS_MAX * CALL_BYTES));
    if (calls_is_open(c)) {
        calls_check_all(c);
        calls_close(c, false);
    }
    calls_destroy(c);
    sim_destroy(sim);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    if (size >= HEAD && fuzz_draw(&random, 8) == 0)
        data[HEAD - 1] = (uint8_t)(1 + fuzz_draw(&random, DAMAGES_MAX));
    return fuzz_mutate_units(data, size, max_size, HEAD, CALL_BYTES, &random);
}
