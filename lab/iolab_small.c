// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_small.c - part 2: small random reads, 4 KiB pages out of a table, as point reads ask for them.
 *
 * Hot: a table of a quarter of the size, all of it brought into memory by each model in its own way before the clock
 * starts. Cold: the large table, dropped from the page cache before each sample; pages are read in a random order
 * without repetition, so that a page is in memory only if read-ahead brought it. Short of memory: the large table
 * again, under a memory limit; four of five reads go to an eighth of it (clusters of 64 KiB, brought in before the
 * clock starts), the others anywhere. A cache of the process counts in the limit and has half of it.
 *
 * The mapping in 2 MiB pages has a table of its own: gathering changes the page cache for everybody who reads the file.
 * "Populate" and "will need" bring a cold file in within the time of the sample, since somebody has to wait for it.
 * io_uring at a depth of n has n reads under way at once, which a single get does not have: it shows what the device
 * gives to those who know what they will read. More than 64 go to the kernel in groups of 64.
 *
 * Each page's checksum is held against the one taken when the table was made, in place where there is a mapping.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "lab/files.h"
#include "lab/reads.h"

enum { CLUSTER = 16, HOT_PART = 8, HOT_OF_FIVE = 4 };

const struct lab_read_way lab_small_ways[] = {
    {"mmap, no advice", "", IO_MMAP, LAB_ADVICE_NONE, 1, false},
    {"mmap, random", "mmap", IO_MMAP, IO_ADVICE_RANDOM, 1, false},
    {"mmap, will need", "", IO_MMAP, IO_ADVICE_WILLNEED, 1, false},
    {"mmap, populate", "", IO_MMAP, IO_ADVICE_POPULATE, 1, false},
    {"mmap, 2 MiB pages", "", IO_MMAP, IO_ADVICE_HUGE, 1, false},
    {"pread", "", IO_STD, LAB_ADVICE_NONE, 1, false},
    {"pread with a cache", "std", IO_STD, LAB_ADVICE_NONE, 1, true},
    {"O_DIRECT with a cache", "direct", IO_DIRECT, LAB_ADVICE_NONE, 1, true},
    {"io_uring with a cache", "uring", IO_URING, LAB_ADVICE_NONE, 1, true},
    {"io_uring, depth 1", "", IO_URING, LAB_ADVICE_NONE, 1, false},
    {"io_uring, depth 8", "", IO_URING, LAB_ADVICE_NONE, 8, false},
    {"io_uring, depth 32", "", IO_URING, LAB_ADVICE_NONE, 32, false},
    {"io_uring, depth 128", "", IO_URING, LAB_ADVICE_NONE, 128, false},
    {"O_DIRECT, depth 32", "", IO_DIRECT, LAB_ADVICE_NONE, 32, false},
};
static_assert(ARRAY_COUNT(lab_small_ways) <= LAB_CONTENDERS_MAX, "a row holds them");

/* ---- which page next ------------------------------------------------------------------------------------------ */

static uint64_t page_short_of_memory(struct lab_reader *r)
{
    const struct lab_reads *reads = r->reads;
    uint64_t clusters = reads->pages->count / CLUSTER;
    if (lab_rng_below(&r->rng, 5) >= HOT_OF_FIVE)
        return lab_rng_below(&r->rng, reads->pages->count);
    uint64_t cluster = lab_permute(lab_rng_below(&r->rng, u64_max(clusters / HOT_PART, 1)), clusters, reads->seed);
    return cluster * CLUSTER + lab_rng_below(&r->rng, CLUSTER);
}

static uint64_t page_next(struct lab_reader *r)
{
    const struct lab_reads *reads = r->reads;
    switch (reads->state) {
    case LAB_HOT:
        return lab_rng_below(&r->rng, reads->pages->count);
    case LAB_COLD:
        return lab_permute((r->index + reads->threads * r->done++) % reads->pages->count, reads->pages->count,
                           reads->seed);
    default:
        return page_short_of_memory(r);
    }
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

static void page_check(struct lab_reader *r, uint64_t page, const uint8_t *data)
{
    r->wrong += checksum64(data, PAGE_BYTES, page) != r->reads->pages->sums[page];
    r->verified += PAGE_BYTES;
}

static enum nokv_status read_through_cache(struct lab_reader *r, uint64_t page)
{
    if (!lab_cache_get(r->reads->cache, page, r->buffer)) {
        TRY(io_pread_exact(r->reads->file, r->buffer, PAGE_BYTES, page * PAGE_BYTES));
        lab_cache_put(r->reads->cache, page, r->buffer);
    }
    page_check(r, page, r->buffer);
    return NOKV_OK;
}

static enum nokv_status read_group(struct lab_reader *r)
{
    struct io_read_request requests[LAB_DEPTH_MAX];
    unsigned depth = r->reads->way->depth;
    for (unsigned i = 0; i < depth; i++)
        requests[i] = (struct io_read_request){.file = r->reads->file,
                                               .buffer = r->buffer + i * PAGE_BYTES,
                                               .size = PAGE_BYTES,
                                               .off = page_next(r) * PAGE_BYTES};
    TRY(io_read_many(r->reads->io, requests, depth));
    for (unsigned i = 0; i < depth; i++) {
        r->wrong += requests[i].got != PAGE_BYTES;
        page_check(r, requests[i].off / PAGE_BYTES, requests[i].buffer);
    }
    return NOKV_OK;
}

static enum nokv_status read_one(struct lab_reader *r)
{
    const struct lab_reads *reads = r->reads;
    if (reads->way->depth > 1)
        return read_group(r);
    uint64_t page = page_next(r);
    if (reads->cache)
        return read_through_cache(r, page);
    if (reads->way->model == IO_MMAP) {
        page_check(r, page, reads->map.data + page * PAGE_BYTES);
        return NOKV_OK;
    }
    TRY(io_pread_exact(reads->file, r->buffer, PAGE_BYTES, page * PAGE_BYTES));
    page_check(r, page, r->buffer);
    return NOKV_OK;
}

/* ---- before the clock starts ---------------------------------------------------------------------------------- */

static void warm_mapping(const struct lab_reads *reads)
{
    uint64_t sum = 0;
    for (uint64_t page = 0; page < reads->pages->count; page++)
        sum += reads->map.data[page * PAGE_BYTES];
    __asm__ volatile("" : : "r"(sum) : "memory"); /* the loads may not be left out */
}

static enum nokv_status warm_cluster(struct lab_reads *reads, struct io_file *file, uint64_t page, uint64_t count,
                                     uint8_t *buffer)
{
    TRY(io_pread_exact(file, buffer, count * PAGE_BYTES, page * PAGE_BYTES));
    for (uint64_t k = 0; reads->cache && k < count; k++)
        lab_cache_put(reads->cache, page + k, buffer + k * PAGE_BYTES);
    return NOKV_OK;
}

static enum nokv_status warm_hot(struct lab_reads *reads, uint8_t *buffer)
{
    uint64_t count = reads->pages->count;
    if (reads->way->model == IO_DIRECT && !reads->cache)
        return NOKV_OK; /* nothing would be kept */
    for (uint64_t page = 0; page < count && !reads->map.data; page += CLUSTER)
        TRY(warm_cluster(reads, reads->file, page, u64_min(CLUSTER, count - page), buffer));
    if (reads->map.data)
        warm_mapping(reads);
    return NOKV_OK;
}

/* The clusters that most reads will ask for, by reads of a whole cluster: into the page cache, or the model's own. */
static enum nokv_status warm_short(struct lab_reads *reads, uint8_t *buffer)
{
    uint64_t clusters = reads->pages->count / CLUSTER;
    if (reads->way->model == IO_DIRECT && !reads->cache)
        return NOKV_OK;
    for (uint64_t i = 0; i < clusters / HOT_PART; i++)
        TRY(warm_cluster(reads, reads->way->model == IO_MMAP ? reads->plain : reads->file,
                         lab_permute(i, clusters, reads->seed) * CLUSTER, CLUSTER, buffer));
    return NOKV_OK;
}

static enum nokv_status warm(struct lab_reads *reads)
{
    uint8_t *buffer CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, CLUSTER * PAGE_BYTES);
    if (!buffer)
        return FAIL(NO_MEMORY, "iolab: a buffer");
    if (reads->state == LAB_HOT)
        return warm_hot(reads, buffer);
    return reads->state == LAB_SHORT ? warm_short(reads, buffer) : NOKV_OK;
}

/* ---- rows ----------------------------------------------------------------------------------------------------- */

static enum nokv_status small_measure(struct lab_bench *bench, unsigned index, struct lab_sample *out_sample)
{
    const struct lab_small *s = bench->arg;
    const struct lab_read_way *way = &lab_small_ways[s->ways[index]];
    bool huge = way->model == IO_MMAP && way->advice == IO_ADVICE_HUGE;
    struct lab_reads reads = {.lab = bench->lab,
                              .io = bench->io,
                              .way = way,
                              .state = s->state,
                              .threads = s->threads,
                              .read_one = read_one,
                              .warm = warm,
                              .bytes_each = PAGE_BYTES};
    reads.name = s->state != LAB_HOT ? "table" : huge ? "huge" : "hot";
    reads.pages = s->state != LAB_HOT ? s->table : huge ? s->huge : s->hot;
    reads.seed = bench->lab->seed + bench->row->contenders[index].count;
    if (way->cached)
        reads.cache_bytes = s->state == LAB_HOT ? 2 * reads.pages->count * PAGE_BYTES : bench->lab->memory / 2;
    return lab_reads_measure(bench, index, &reads, out_sample);
}

static enum nokv_status small_task(struct lab *lab, struct io *io, void *arg)
{
    struct lab_small *s = arg;
    struct lab_bench bench = {.lab = lab, .io = io, .row = s->row, .measure = small_measure, .arg = s};
    return lab_rounds_run(&bench);
}

enum nokv_status lab_small_row(struct lab *lab, struct lab_small *s, const char *const notes[LAB_STATES])
{
    lab_row_note(s->row, "%s", notes[s->state]);
    s->row->limited = s->state == LAB_SHORT;
    s->row->skipped = s->row->limited && !lab->cgroup.version;
    if (s->row->skipped)
        lab_row_note(s->row, "memory cannot be limited here");
    unsigned kept = 0;
    for (unsigned i = 0; i < ARRAY_COUNT(lab_small_ways); i++) {
        const struct lab_read_way *way = &lab_small_ways[i];
        bool brings_all_in =
            way->model == IO_MMAP && (way->advice == IO_ADVICE_HUGE || way->advice == IO_ADVICE_POPULATE);
        if ((s->state == LAB_SHORT && brings_all_in) || (s->state == LAB_COLD && way->advice == IO_ADVICE_HUGE) ||
            s->row->skipped)
            continue;
        s->ways[kept++] = i;
        (void)lab_contender_add(lab, s->row, way->model, way->option, "%s", way->name);
    }
    const struct lab_task task = {
        .run = small_task, .arg = s, .row = s->row, .limit_bytes = s->row->limited ? lab->memory : 0};
    if (!s->row->skipped)
        TRY(lab_child_run(lab, &task));
    lab_progress_row(lab, s->row);
    return NOKV_OK;
}

static enum nokv_status tables_make(struct lab *lab, struct io *io, void *arg)
{
    const struct lab_small *s = arg;
    uint64_t bytes;
    TRY(lab_table_build(lab, io, "table", IO_STD, lab->size, lab->seed, &bytes));
    TRY(lab_pages_take(lab, io, "table", s->table));
    TRY(lab_table_build(lab, io, "hot", IO_STD, lab->size / 4, lab->seed, &bytes));
    TRY(lab_pages_take(lab, io, "hot", s->hot));
    TRY(lab_table_build(lab, io, "huge", IO_STD, lab->size / 4, lab->seed, &bytes));
    return lab_pages_take(lab, io, "huge", s->huge);
}

static enum nokv_status small_rows(struct lab *lab, struct lab_small *s)
{
    static const unsigned threads[] = {1, 2, 16};
    static const char *const notes[LAB_STATES] = {
        "every page in memory before the clock starts; a cache has room for twice as many",
        "dropped from memory before each sample; random order without repetition; a depth of n has n reads under way",
        "four of five reads go to an eighth of the table; a cache has half of the limit"};
    const struct lab_task make = {.run = tables_make, .arg = s};
    TRY(lab_child_run(lab, &make));
    for (unsigned state = 0; state < LAB_STATES; state++)
        for (unsigned t = 0; t < ARRAY_COUNT(threads); t++) {
            char group[48], label[48];
            snprintf(group, sizeof group, "table page, %s", lab_state_names[state]);
            snprintf(label, sizeof label, "%u thread%s", threads[t], threads[t] > 1 ? "s" : "");
            s->state = (enum lab_state)state;
            s->threads = threads[t];
            s->row = lab_row_add(lab, 2, LAB_RATE, LAB_SST_READ, group, label);
            TRY(lab_small_row(lab, s, notes));
        }
    return lab_file_remove(lab, "table"); /* part 5 reads the others */
}

enum nokv_status lab_small(struct lab *lab)
{
    /* a table is a little larger than what was asked for */
    size_t bytes = lab_pages_bytes(lab->size / PAGE_BYTES * 9 / 8 + 1024);
    struct lab_small s = {
        .table = lab_shared_alloc(bytes), .hot = lab_shared_alloc(bytes), .huge = lab_shared_alloc(bytes)};
    lab_progress(lab, "%s", lab_part_titles[2]);
    enum nokv_status status =
        s.table && s.hot && s.huge ? small_rows(lab, &s) : FAIL(NO_MEMORY, "iolab: checksums of the pages");
    lab_shared_free(s.table, bytes);
    lab_shared_free(s.hot, bytes);
    lab_shared_free(s.huge, bytes);
    return status;
}
