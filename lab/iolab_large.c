// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_large.c - part 3: values of 1 KiB to 1 MiB out of a segment of the value log, at random.
 *
 * Through the value log's own reader, in each of its models, which verifies header, key and checksums as a get does;
 * the checksum over the whole value that is taken here comes on top for all of them alike, and stands for a program
 * that looks at its value. Without it a mapping would win by never touching what it hands out. io_uring at a depth of
 * 16 is what an iterator does that reads ahead: up to 16 values of at most one chunk (64 KiB) in one call.
 *
 * Hot: an eighth of the segment, read once before the clock starts. Cold: without repetition, the segment dropped from
 * memory before. Short of memory: any value of the segment, which has four times the memory that the limit leaves. One
 * segment is there at a time.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "lab/reads.h"

enum { DEPTH = 16, HOT_PART = 8 };

static const struct lab_read_way ways[] = {
    {"auto", "auto", (enum io_model)LAB_MODEL_AUTO, LAB_ADVICE_NONE, 1, false},
    {"mmap", "mmap", IO_MMAP, LAB_ADVICE_NONE, 1, false},
    {"pread", "pread", IO_STD, LAB_ADVICE_NONE, 1, false},
    {"O_DIRECT", "direct", IO_DIRECT, LAB_ADVICE_NONE, 1, false},
    {"io_uring, depth 1", "uring", IO_URING, LAB_ADVICE_NONE, 1, false},
    {"io_uring, depth 16", "", IO_URING, LAB_ADVICE_NONE, DEPTH, false},
};

static uint64_t hot_count(const struct lab_values *values)
{
    return u64_max(values->count / HOT_PART, 1);
}

static uint64_t value_next(struct lab_reader *r)
{
    const struct lab_reads *reads = r->reads;
    uint64_t count = reads->values->count;
    if (reads->state == LAB_HOT)
        return lab_rng_below(&r->rng, hot_count(reads->values));
    if (reads->state == LAB_COLD)
        return lab_permute(r->done++ % count, count, reads->seed);
    return lab_rng_below(&r->rng, count);
}

static void value_check(struct lab_reader *r, uint64_t index, const uint8_t *data)
{
    const struct lab_values *values = r->reads->values;
    r->wrong += checksum64(data, values->value_bytes, 0) != values->sums[index];
    r->verified += values->value_bytes;
}

static enum nokv_status value_read(struct lab_reader *r, uint64_t index)
{
    const struct lab_values *values = r->reads->values;
    uint8_t key[LAB_KEY_BYTES];
    struct slice in_place = {0};
    lab_key(values->seed, index, key);
    const struct slice user_key = slice_make(key, sizeof key);
    TRY(vlog_read_in_place(r->reads->segment, &values->pointers[index], user_key, &in_place));
    if (!in_place.data)
        TRY(vlog_read(r->reads->segment, &values->pointers[index], user_key, 0, r->buffer, values->value_bytes));
    value_check(r, index, in_place.data ? in_place.data : r->buffer);
    return NOKV_OK;
}

static enum nokv_status group_finish(struct lab_reader *r, const uint64_t indexes[DEPTH],
                                     const struct io_read_request requests[DEPTH])
{
    const struct lab_values *values = r->reads->values;
    for (unsigned i = 0; i < DEPTH; i++) {
        uint8_t key[LAB_KEY_BYTES];
        struct slice value;
        lab_key(values->seed, indexes[i], key);
        TRY(vlog_read_finish(r->reads->segment, &values->pointers[indexes[i]], slice_make(key, sizeof key),
                             &requests[i], &value));
        value_check(r, indexes[i], value.data);
    }
    return NOKV_OK;
}

static enum nokv_status group_read(struct lab_reader *r)
{
    struct io_read_request requests[DEPTH];
    uint64_t indexes[DEPTH];
    const struct lab_values *values = r->reads->values;
    size_t room = align_up(values->value_bytes, PAGE_BYTES) + 2 * PAGE_BYTES;
    for (unsigned i = 0; i < DEPTH; i++) {
        uint8_t key[LAB_KEY_BYTES];
        indexes[i] = value_next(r);
        lab_key(values->seed, indexes[i], key);
        if (!vlog_read_prepare(r->reads->segment, &values->pointers[indexes[i]], slice_make(key, sizeof key),
                               &requests[i]))
            return FAIL(NOT_SUPPORTED, "values of %zu bytes are not read ahead", values->value_bytes);
        requests[i].buffer = r->buffer + i * room;
        if (requests[i].size > room)
            return FAIL(INVALID, "a record takes %zu bytes, %zu at the most were expected", requests[i].size, room);
    }
    TRY(io_read_many(r->reads->io, requests, DEPTH));
    return group_finish(r, indexes, requests);
}

static enum nokv_status read_one(struct lab_reader *r)
{
    return r->reads->way->depth > 1 ? group_read(r) : value_read(r, value_next(r));
}

static enum nokv_status warm(struct lab_reads *reads)
{
    struct lab_reader r = {.reads = reads};
    uint8_t *buffer CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, align_up(reads->bytes_each, PAGE_BYTES));
    r.buffer = buffer;
    if (!buffer)
        return FAIL(NO_MEMORY, "iolab: a buffer");
    bool is_kept = reads->state == LAB_HOT && reads->way->model != IO_DIRECT; /* nothing stays of what that reads */
    for (uint64_t i = 0; is_kept && i < hot_count(reads->values); i++)
        TRY(value_read(&r, i));
    return NOKV_OK;
}

/* ---- rows ----------------------------------------------------------------------------------------------------- */

struct large {
    struct lab_values *values;
    enum lab_state state;
    struct lab_row *row;
};

static enum nokv_status large_measure(struct lab_bench *bench, unsigned index, struct lab_sample *out_sample)
{
    const struct large *l = bench->arg;
    struct lab_reads reads = {.lab = bench->lab,
                              .io = bench->io,
                              .way = &ways[index],
                              .state = l->state,
                              .threads = 1,
                              .read_one = read_one,
                              .warm = warm,
                              .name = "segment",
                              .values = l->values,
                              .bytes_each = l->values->value_bytes,
                              .seed = bench->lab->seed + bench->row->contenders[index].count};
    return lab_reads_measure(bench, index, &reads, out_sample);
}

static enum nokv_status large_task(struct lab *lab, struct io *io, void *arg)
{
    struct large *l = arg;
    struct lab_bench bench = {.lab = lab, .io = io, .row = l->row, .measure = large_measure, .arg = l};
    return lab_rounds_run(&bench);
}

static enum nokv_status large_row(struct lab *lab, struct large *l)
{
    static const char *const notes[LAB_STATES] = {
        "an eighth of the segment, in memory before the clock starts",
        "dropped from memory before each sample; random order without repetition; a depth of 16 has 16 reads under way",
        "any value of the segment; one thread"};
    char group[48];
    bool is_mib = l->values->value_bytes >= 1 << 20;
    snprintf(group, sizeof group, "value of %zu %s", l->values->value_bytes >> (is_mib ? 20 : 10),
             is_mib ? "MiB" : "KiB");
    l->row = lab_row_add(lab, 3, LAB_MB_S, LAB_VLOG_READ, group, lab_state_names[l->state]);
    lab_row_note(l->row, "%s", notes[l->state]);
    l->row->limited = l->state == LAB_SHORT;
    l->row->skipped = l->row->limited && !lab->cgroup.version;
    if (l->row->skipped)
        lab_row_note(l->row, "memory cannot be limited here");
    for (unsigned i = 0; i < ARRAY_COUNT(ways) && !l->row->skipped; i++)
        if (ways[i].depth == 1 || l->values->value_bytes <= VLOG_CHUNK)
            (void)lab_contender_add(lab, l->row, ways[i].model, ways[i].option, "%s", ways[i].name);
    const struct lab_task task = {
        .run = large_task, .arg = l, .row = l->row, .limit_bytes = l->row->limited ? lab->memory : 0};
    if (!l->row->skipped)
        TRY(lab_child_run(lab, &task));
    lab_progress_row(lab, l->row);
    return NOKV_OK;
}

static enum nokv_status segment_make(struct lab *lab, struct io *io, void *arg)
{
    struct large *l = arg;
    char path[LAB_PATH_SIZE];
    uint8_t *value CLEANUP(mem_free_ptr) = mem_alloc(l->values->value_bytes);
    if (!value)
        return FAIL(NO_MEMORY, "iolab: a value");
    lab_path(lab, "segment", path);
    if (io_exists(io, path))
        TRY(io_unlink(io, path));
    for (uint64_t i = 0; i < l->values->count; i++) {
        lab_fill(l->values->seed, i, value, l->values->value_bytes);
        l->values->sums[i] = checksum64(value, l->values->value_bytes, 0);
    }
    TRY(lab_segment_build(lab, io, "segment", IO_DIRECT, l->values));
    return lab_file_drop(io, path);
}

static enum nokv_status large_size(struct lab *lab, size_t value_bytes)
{
    uint64_t count = u64_max(lab->size / (value_bytes + 64), 4);
    size_t values_bytes = lab_values_bytes(count), sums_bytes = count * sizeof(uint64_t);
    struct large l = {.values = lab_shared_alloc(values_bytes)};
    uint64_t *sums = lab_shared_alloc(sums_bytes);
    enum nokv_status status = l.values && sums ? NOKV_OK : FAIL(NO_MEMORY, "iolab: pointers to %lu values", count);
    if (status == NOKV_OK) {
        *l.values = (struct lab_values){.seed = lab->seed, .value_bytes = value_bytes, .count = count, .sums = sums};
        const struct lab_task make = {.run = segment_make, .arg = &l};
        status = lab_child_run(lab, &make);
    }
    for (unsigned state = 0; state < LAB_STATES && status == NOKV_OK; state++) {
        l.state = (enum lab_state)state;
        status = large_row(lab, &l);
    }
    lab_shared_free(l.values, values_bytes);
    lab_shared_free(sums, sums_bytes);
    return status;
}

enum nokv_status lab_large(struct lab *lab)
{
    static const size_t sizes[] = {1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20};
    lab_progress(lab, "%s", lab_part_titles[3]);
    for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++)
        TRY(large_size(lab, sizes[i]));
    return lab_file_remove(lab, "segment");
}
