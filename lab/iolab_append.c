// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_append.c - part 1: append and sync. What a durable append costs by the space that the file has and by the call.
 *
 * One file; each record is durable before the next one of its writer begins. Crossed are the space (a file that grows;
 * one that fallocate() made, whose blocks become "written" with their first write; one whose blocks have been written
 * before, as those of a recycled log) and the way: write and fdatasync, one write with RWF_DSYNC, O_DIRECT with
 * RWF_DSYNC, and io_uring in three ways: write and fsync waited for one after the other, the two as one submission of
 * linked entries, and one write with RWF_DSYNC.
 *
 * With 16 writers each one's records are durable by a call of its own: what a log costs without group commit. The rows
 * of iolab_log.c have the engine's log, which shares its syncs. After each sample the file is let go of by the page
 * cache and read back: every record must be what was appended.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "lab/append.h"

enum space { GROWING, PREALLOCATED, RECYCLED };

enum how { WRITE_SYNC, WRITE_DSYNC, LINKED };

struct way {
    enum io_model model;
    enum space space;
    enum how how;
    const char *name;
};

static const struct way ways[] = {
    {IO_STD, GROWING, WRITE_SYNC, "growing, write + fdatasync"},
    {IO_STD, PREALLOCATED, WRITE_SYNC, "preallocated, write + fdatasync"},
    {IO_STD, PREALLOCATED, WRITE_DSYNC, "preallocated, one RWF_DSYNC write"},
    {IO_STD, RECYCLED, WRITE_DSYNC, "recycled, one RWF_DSYNC write"},
    {IO_DIRECT, PREALLOCATED, WRITE_DSYNC, "preallocated, O_DIRECT"},
    {IO_DIRECT, RECYCLED, WRITE_DSYNC, "recycled, O_DIRECT"},
    {IO_URING, PREALLOCATED, WRITE_SYNC, "preallocated, io_uring: write, fsync"},
    {IO_URING, PREALLOCATED, LINKED, "preallocated, io_uring: linked pair"},
    {IO_URING, RECYCLED, LINKED, "recycled, io_uring: linked pair"},
    {IO_URING, RECYCLED, WRITE_DSYNC, "recycled, io_uring: one write"},
};

struct append {
    struct lab *lab;
    struct io_file *file;
    const struct way *way;
    size_t record_bytes;
    uint64_t count_max; /* that the space is made for */
    uint64_t seed;
    uint64_t end_ns;
    unsigned writers;
    _Atomic uint64_t next; /* relaxed: a ticket */
    struct histogram ns;
};

enum { RECORDS_MAX = 20000, CHUNK = 1 << 20 };

static enum nokv_status space_make(const struct append *a, uint64_t bytes)
{
    if (a->way->space != GROWING)
        TRY(io_preallocate(a->file, 0, bytes));
    if (a->way->space == RECYCLED) {
        void *zeros CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, CHUNK);
        if (!zeros)
            return FAIL(NO_MEMORY, "iolab: a buffer");
        memset(zeros, 0, CHUNK);
        for (uint64_t off = 0; off < bytes; off += CHUNK)
            TRY(io_pwrite(a->file, zeros, u64_min(CHUNK, bytes - off), off));
    }
    return io_sync(a->file);
}

static enum nokv_status append_one(const struct append *a, const uint8_t *record, uint64_t index)
{
    uint64_t off = index * a->record_bytes;
    if (a->way->how != WRITE_SYNC)
        return io_pwrite_durable(a->file, record, a->record_bytes, off);
    TRY(io_pwrite(a->file, record, a->record_bytes, off));
    return io_sync(a->file);
}

static enum nokv_status append_until_end(void *arg, unsigned writer)
{
    (void)writer;
    struct append *a = arg;
    uint8_t *record CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, a->record_bytes);
    if (!record)
        return FAIL(NO_MEMORY, "iolab: a buffer");
    uint64_t begin = clock_now_ns();
    do { /* one at least, however late the thread began */
        uint64_t index = atomic_fetch_add_explicit(&a->next, 1, memory_order_relaxed);
        if (index >= a->count_max)
            break;
        lab_fill(a->seed, index, record, a->record_bytes);
        TRY(append_one(a, record, index));
        uint64_t end = clock_now_ns();
        histogram_add(&a->ns, end - begin);
        begin = end;
    } while (begin < a->end_ns);
    return NOKV_OK;
}

enum nokv_status lab_append_check(struct lab_bench *bench, const char *path, uint64_t seed, size_t record_bytes,
                                  uint64_t count)
{
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    uint8_t *got CLEANUP(mem_free_ptr) = mem_alloc(record_bytes);
    uint8_t *wanted CLEANUP(mem_free_ptr) = mem_alloc(record_bytes);
    if (!got || !wanted)
        return FAIL(NO_MEMORY, "iolab: a buffer");
    TRY(lab_file_drop(bench->io, path));
    TRY(io_open(bench->io, path, IO_OTHER, IO_STD, IO_READ, &file));
    for (uint64_t i = 0; i < count; i++) {
        TRY(io_pread_exact(file, got, record_bytes, i * record_bytes));
        lab_fill(seed, i, wanted, record_bytes);
        bench->row->wrong += memcmp(got, wanted, record_bytes) != 0;
        bench->row->verified += record_bytes;
    }
    return NOKV_OK;
}

static enum nokv_status append_time(struct lab_bench *bench, struct append *a, struct lab_sample *out_sample)
{
    struct lab_crew crew = {.work = append_until_end, .arg = a, .count = a->writers};
    struct lab_usage from = lab_usage_now(bench->io);
    a->end_ns = from.ns + LAB_SYNC_SLICES * bench->lab->slice_ns;
    TRY(lab_crew_run(&crew));
    uint64_t count = histogram_count(&a->ns);
    *out_sample = lab_usage_sample(bench->io, &from, count, count * a->record_bytes, &a->ns);
    return NOKV_OK;
}

struct shape {
    size_t record_bytes;
    unsigned writers;
};

static enum nokv_status append_measure(struct lab_bench *bench, unsigned index, struct lab_sample *out_sample)
{
    const struct shape *shape = bench->arg;
    char path[LAB_PATH_SIZE];
    uint64_t count_max = u64_min(RECORDS_MAX, bench->lab->size / 16 / shape->record_bytes);
    struct append a = {.lab = bench->lab,
                       .way = &ways[index],
                       .record_bytes = shape->record_bytes,
                       .count_max = count_max,
                       .seed = bench->lab->seed + index,
                       .writers = shape->writers};
    unsigned flags = IO_READ | IO_WRITE | IO_CREATE | (a.way->how == LINKED ? IO_TWO_STEP_SYNC : 0);
    lab_path(bench->lab, "append", path);
    TRY(io_open(bench->io, path, IO_WAL, a.way->model, flags, &a.file));
    enum nokv_status status = space_make(&a, align_up(count_max * a.record_bytes, PAGE_BYTES));
    if (status == NOKV_OK)
        status = append_time(bench, &a, out_sample);
    TRY(io_close(a.file));
    TRY(status);
    TRY(lab_append_check(bench, path, a.seed, a.record_bytes, histogram_count(&a.ns)));
    return io_unlink(bench->io, path);
}

static enum nokv_status append_task(struct lab *lab, struct io *io, void *arg)
{
    const struct lab_task *task = arg;
    struct lab_bench bench = {.lab = lab, .io = io, .row = task->row, .measure = append_measure, .arg = task->arg};
    return lab_rounds_run(&bench);
}

static enum nokv_status append_row(struct lab *lab, size_t record_bytes, unsigned writers)
{
    char label[48];
    struct shape shape = {record_bytes, writers};
    snprintf(label, sizeof label, "%zu %s x %u", record_bytes < 1024 ? record_bytes : record_bytes >> 10,
             record_bytes < 1024 ? "B" : "KiB", writers);
    struct lab_row *row = lab_row_add(lab, 1, LAB_RATE, LAB_NO_CHOICE, "append, size x writers", label);
    lab_row_note(row, "%s",
                 writers > 1 ? "each record is made durable by its own writer: no group commit"
                             : "each record is durable before the next; read back and compared");
    for (unsigned i = 0; i < ARRAY_COUNT(ways); i++)
        (void)lab_contender_add(lab, row, ways[i].model, "", "%s", ways[i].name);
    struct lab_task inner = {.arg = &shape, .row = row};
    const struct lab_task task = {.run = append_task, .arg = &inner, .row = row};
    TRY(lab_child_run(lab, &task));
    lab_progress_row(lab, row);
    return NOKV_OK;
}

enum nokv_status lab_append(struct lab *lab)
{
    lab_progress(lab, "%s", lab_part_titles[1]);
    TRY(append_row(lab, 150, 1));
    TRY(append_row(lab, 4096, 1));
    TRY(append_row(lab, 4096, LAB_THREADS_MAX));
    TRY(lab_log(lab));
    return lab_bulk(lab);
}
