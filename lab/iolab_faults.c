// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_faults.c - part 5: what the models cost beside time: page faults, system calls, processor time, and the TLB.
 *
 * Costs of cold reads and of reads with little memory come from the counters of the samples of part 2: a mapping pays
 * with major faults, the others with system calls, and the processor time per read says what either costs. Two rows are
 * measured here. First touch: every page of a table that is in memory, once, in random order, by a process that has
 * just opened it; a mapping pays a minor fault for a page or, where the kernel maps its neighbours as well, for
 * sixteen. One cache line: eight bytes at random places of a mapped table, all of it in memory and touched before,
 * where the mapping in 2 MiB pages needs fewer entries of the processor's TLB. Where the kernel
 * has no large pages for files (CONFIG_READ_ONLY_THP_FOR_FS), a copy of the file in memory of our own shows what they
 * would be worth.
 *
 * Pages are checked by their checksums. The eight bytes are gathered into one sum, and the same places of a private
 * copy of the file, read after the clock has stopped, must give the same.
 */
#include <stdio.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "lab/reads.h"

static const struct lab_read_way touch_ways[] = {
    {"mmap, no advice", "", IO_MMAP, LAB_ADVICE_NONE, 1, false},
    {"mmap, random", "", IO_MMAP, IO_ADVICE_RANDOM, 1, false},
    {"mmap, populate", "", IO_MMAP, IO_ADVICE_POPULATE, 1, false},
    {"pread", "", IO_STD, LAB_ADVICE_NONE, 1, false},
    {"O_DIRECT", "", IO_DIRECT, LAB_ADVICE_NONE, 1, false},
    {"io_uring, depth 1", "", IO_URING, LAB_ADVICE_NONE, 1, false},
};

struct faults {
    struct lab_pages *pages; /* of the file "hot" */
    struct lab_row *row;
};

/* ---- first touch ---------------------------------------------------------------------------------------------- */

enum { WARM_BYTES = 64 << 10, DIRECT_PART = 8 };

static enum nokv_status bring_in(struct lab_bench *bench, const char *path, uint64_t *out_size)
{
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    uint8_t *buffer CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, WARM_BYTES);
    size_t got;
    if (!buffer)
        return FAIL(NO_MEMORY, "iolab: a buffer");
    TRY(io_open(bench->io, path, IO_OTHER, IO_STD, IO_READ, &file));
    TRY(io_size(file, out_size));
    for (uint64_t off = 0; off < *out_size; off += WARM_BYTES)
        TRY(io_pread(file, buffer, WARM_BYTES, off, &got));
    return NOKV_OK;
}

static enum nokv_status touch_all(struct lab_bench *bench, struct io_file *file, const struct io_map *map,
                                  uint64_t count, struct histogram *ns)
{
    const struct faults *f = bench->arg;
    uint8_t *buffer CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, PAGE_BYTES);
    if (!buffer)
        return FAIL(NO_MEMORY, "iolab: a buffer");
    uint64_t begin = clock_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        uint64_t page = lab_permute(i, f->pages->count, bench->lab->seed);
        const uint8_t *data = map->data ? map->data + page * PAGE_BYTES : buffer;
        if (!map->data)
            TRY(io_pread_exact(file, buffer, PAGE_BYTES, page * PAGE_BYTES));
        bench->row->wrong += checksum64(data, PAGE_BYTES, page) != f->pages->sums[page];
        bench->row->verified += PAGE_BYTES;
        uint64_t end = clock_now_ns();
        histogram_add(ns, end - begin);
        begin = end;
    }
    return NOKV_OK;
}

static enum nokv_status touch_open(struct lab_bench *bench, const struct lab_read_way *way, const char *path,
                                   uint64_t count, struct lab_sample *out_sample)
{
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    struct io_map map = {0};
    struct histogram *ns CLEANUP(mem_free_ptr) = mem_zalloc(sizeof *ns);
    if (!ns)
        return FAIL(NO_MEMORY, "iolab: a histogram");
    TRY(io_open(bench->io, path, IO_SST, way->model, IO_READ, &file));
    struct lab_usage from = lab_usage_now(bench->io);
    if (way->model == IO_MMAP)
        TRY(io_map(file, &map));
    if (map.data && way->advice != LAB_ADVICE_NONE)
        (void)io_map_advise(&map, 0, map.size, (enum io_advice)way->advice);
    enum nokv_status status = touch_all(bench, file, &map, count, ns);
    *out_sample = lab_usage_sample(bench->io, &from, count, count * PAGE_BYTES, ns);
    io_unmap(&map);
    return status;
}

static enum nokv_status touch_measure(struct lab_bench *bench, unsigned index, struct lab_sample *out_sample)
{
    const struct faults *f = bench->arg;
    const struct lab_read_way *way = &touch_ways[index];
    char path[LAB_PATH_SIZE];
    uint64_t size;
    lab_path(bench->lab, "hot", path);
    TRY(bring_in(bench, path, &size));
    /* the device answers what memory answers to the others: enough of it to know */
    uint64_t count = way->model == IO_DIRECT ? u64_max(f->pages->count / DIRECT_PART, 1) : f->pages->count;
    return touch_open(bench, way, path, count, out_sample);
}

static enum nokv_status touch_task(struct lab *lab, struct io *io, void *arg)
{
    struct faults *f = arg;
    struct lab_bench bench = {.lab = lab, .io = io, .row = f->row, .measure = touch_measure, .arg = f};
    TRY(lab_pages_take(lab, io, "hot", f->pages));
    return lab_rounds_run(&bench);
}

static enum nokv_status touch_row(struct lab *lab, struct faults *f)
{
    f->row = lab_row_add(lab, 5, LAB_RATE, LAB_NO_CHOICE, "first touch of a page", "1 thread");
    lab_row_note(f->row,
                 "all pages of a table of %lu MiB that is in memory, once, in random order, mapping and advice within "
                 "the time; O_DIRECT reads "
                 "from the device",
                 lab->size / 4 >> 20);
    for (unsigned i = 0; i < ARRAY_COUNT(touch_ways); i++)
        (void)lab_contender_add(lab, f->row, touch_ways[i].model, "", "%s", touch_ways[i].name);
    const struct lab_task task = {.run = touch_task, .arg = f, .row = f->row};
    TRY(lab_child_run(lab, &task));
    lab_progress_row(lab, f->row);
    return NOKV_OK;
}

/* ---- one cache line ------------------------------------------------------------------------------------------- */

enum { LINE = 64, LINES_AT_ONCE = 1000 };
enum { MAPPED, MAPPED_HUGE, COPIED, COPIED_HUGE }; /* the contenders, in their order */
static const size_t HUGE_PAGE = 2 << 20;

/* What was read, for lines_check. */
struct lines {
    uint64_t size; /* of the file */
    uint64_t seed;
    uint64_t groups, sum;
};

static uint64_t lines_sum(const uint8_t *data, uint64_t lines, uint64_t seed, uint64_t count)
{
    struct lab_rng rng = {seed};
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) { /* the next place depends on what is read, as a descent in a tree does */
        uint64_t word = load_u64(data + lab_rng_below(&rng, lines) * LINE);
        sum += word;
        rng.state ^= word & 1;
    }
    return sum;
}

static enum nokv_status lines_check(struct lab_bench *bench, const char *path, const struct lines *lines)
{
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    uint8_t *copy = mem_alloc_pages(PAGE_BYTES, align_up(lines->size, PAGE_BYTES));
    if (!copy)
        return FAIL(NO_MEMORY, "iolab: a copy of a table");
    enum nokv_status status = io_open(bench->io, path, IO_OTHER, IO_STD, IO_READ, &file);
    if (status == NOKV_OK)
        status = io_pread_exact(file, copy, lines->size, 0);
    uint64_t again = 0;
    for (uint64_t group = 0; group < lines->groups && status == NOKV_OK; group++)
        again += lines_sum(copy, lines->size / LINE, lines->seed + group, LINES_AT_ONCE);
    bench->row->wrong += again != lines->sum;
    bench->row->verified += lines->groups * LINES_AT_ONCE * sizeof(uint64_t);
    mem_free_pages(copy, align_up(lines->size, PAGE_BYTES));
    return status;
}

static void lines_time(struct lab_bench *bench, struct slice bytes, struct lines *lines, struct lab_sample *out_sample)
{
    uint64_t count = bytes.size / LINE;
    lines->sum = lines_sum(bytes.data, count, lines->seed - 1, count) * 0; /* most pages are mapped now */
    struct lab_usage from = lab_usage_now(bench->io);
    for (; clock_now_ns() < from.ns + bench->lab->slice_ns; lines->groups++)
        lines->sum += lines_sum(bytes.data, count, lines->seed + lines->groups, LINES_AT_ONCE);
    uint64_t ops = lines->groups * LINES_AT_ONCE;
    *out_sample = lab_usage_sample(bench->io, &from, ops, ops * LINE, NULL);
}

/* A mapping of the file, in pages of one size. */
static enum nokv_status lines_mapped(struct lab_bench *bench, struct lab_contender *c, const char *path, bool huge,
                                     struct lines *lines, struct lab_sample *out_sample)
{
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    struct io_map map = {0};
    TRY(io_open(bench->io, path, IO_SST, IO_MMAP, IO_READ, &file));
    TRY(io_map(file, &map));
    (void)io_map_advise(&map, 0, map.size, huge ? IO_ADVICE_HUGE : IO_ADVICE_SMALL);
    lines_time(bench, slice_make(map.data, map.size), lines, out_sample);
    if (huge && !lab_map_is_huge(&map))
        snprintf(c->failed, sizeof c->failed, "%s", lab_no_huge_pages);
    io_unmap(&map);
    return NOKV_OK;
}

/* The file's bytes in memory of our own: the same question where the kernel has no large pages for files. */
static enum nokv_status lines_copied(struct lab_bench *bench, const char *path, bool huge, struct lines *lines,
                                     struct lab_sample *out_sample)
{
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    size_t room = align_up(lines->size, HUGE_PAGE);
    uint8_t *copy = mem_alloc_pages(HUGE_PAGE, room);
    if (!copy)
        return FAIL(NO_MEMORY, "iolab: a copy of a table");
    (void)madvise(copy, room, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    enum nokv_status status = io_open(bench->io, path, IO_OTHER, IO_STD, IO_READ, &file);
    if (status == NOKV_OK)
        status = io_pread_exact(file, copy, lines->size, 0);
    if (status == NOKV_OK)
        lines_time(bench, slice_make(copy, lines->size), lines, out_sample);
    mem_free_pages(copy, room);
    return status;
}

static enum nokv_status lines_measure(struct lab_bench *bench, unsigned index, struct lab_sample *out_sample)
{
    struct lab_contender *c = &bench->row->contenders[index];
    struct lines lines = {.seed = bench->lab->seed + 1000000ull * c->count};
    char path[LAB_PATH_SIZE];
    lab_path(bench->lab, index == MAPPED_HUGE ? "huge" : "hot", path);
    TRY(bring_in(bench, path, &lines.size));
    if (index == MAPPED || index == MAPPED_HUGE)
        TRY(lines_mapped(bench, c, path, index == MAPPED_HUGE, &lines, out_sample));
    else
        TRY(lines_copied(bench, path, index == COPIED_HUGE, &lines, out_sample));
    return c->failed[0] ? NOKV_OK : lines_check(bench, path, &lines);
}

static enum nokv_status lines_task(struct lab *lab, struct io *io, void *arg)
{
    struct faults *f = arg;
    struct lab_bench bench = {.lab = lab, .io = io, .row = f->row, .measure = lines_measure, .arg = f};
    return lab_rounds_run(&bench);
}

static enum nokv_status lines_row(struct lab *lab, struct faults *f)
{
    f->row = lab_row_add(lab, 5, LAB_RATE, LAB_NO_CHOICE, "cache line of a table", "1 thread");
    lab_row_note(f->row, "eight bytes at random places of %lu MiB: what the TLB costs", lab->size / 4 >> 20);
    (void)lab_contender_add(lab, f->row, IO_MMAP, "", "mmap, 4 KiB pages");
    (void)lab_contender_add(lab, f->row, IO_MMAP, "", "mmap, 2 MiB pages");
    (void)lab_contender_add(lab, f->row, IO_STD, "", "read into memory, 4 KiB pages");
    (void)lab_contender_add(lab, f->row, IO_STD, "", "read into memory, 2 MiB pages");
    const struct lab_task task = {.run = lines_task, .arg = f, .row = f->row};
    TRY(lab_child_run(lab, &task));
    lab_progress_row(lab, f->row);
    return NOKV_OK;
}

/* ---- costs of part 2 ------------------------------------------------------------------------------------------ */

static const struct lab_row *row_find(const struct lab *lab, const char *group, const char *label)
{
    for (unsigned i = 0; i < lab->row_count; i++)
        if (lab->rows[i].part == 2 && strcmp(lab->rows[i].group, group) == 0 && strcmp(lab->rows[i].label, label) == 0)
            return &lab->rows[i];
    return NULL;
}

static void costs(struct lab *lab, const char *from, const char *group)
{
    static const struct {
        enum lab_figure figure;
        const char *label;
    } figures[] = {{LAB_FAULTS, "major faults"}, {LAB_CALLS, "system calls"}, {LAB_CPU_US, "processor"}};
    const struct lab_row *row = row_find(lab, from, "1 thread");
    for (unsigned i = 0; i < ARRAY_COUNT(figures) && row && !row->skipped; i++) {
        struct lab_row *cost = lab_row_derive(lab, row, 5, figures[i].figure, LAB_NO_CHOICE, group, figures[i].label);
        cost->verified = 0; /* counted in part 2 */
        lab_row_note(cost, "per page of 4 KiB, one thread; counted while the rows of part 2 were measured");
        lab_progress_row(lab, cost);
    }
}

enum nokv_status lab_faults(struct lab *lab)
{
    size_t bytes = lab_pages_bytes(lab->size / PAGE_BYTES + 1024);
    struct faults f = {.pages = lab_shared_alloc(bytes)};
    lab_progress(lab, "%s", lab_part_titles[5]);
    enum nokv_status status = f.pages ? touch_row(lab, &f) : FAIL(NO_MEMORY, "iolab: checksums of the pages");
    if (status == NOKV_OK)
        status = lines_row(lab, &f);
    lab_shared_free(f.pages, bytes);
    TRY(status);
    costs(lab, "table page, hot", "read costs, hot");
    costs(lab, "table page, cold", "read costs, cold");
    costs(lab, "table page, memory short", "read costs, memory short");
    return NOKV_OK;
}
