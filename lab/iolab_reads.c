// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_reads.c - one sample of random reads, whatever is read: open, drop, advise, warm, read until the time is over.
 *
 * Everything is opened anew for each sample, because a page that somebody has mapped is not dropped from the page
 * cache, and because no model is to find what another one left. A latency is the time between the ends of two
 * operations of a thread, checking included; an operation of a group of n takes as long as the group.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/epoch.h"
#include "base/thread.h"
#include "lab/reads.h"

const char lab_no_huge_pages[] = "this kernel has no large pages for such a file";
const char *const lab_state_names[LAB_STATES] = {"hot", "cold", "memory short"};

static enum nokv_status read_until_end(void *arg, unsigned index)
{
    struct lab_reads *reads = arg;
    struct lab_reader r = {.reads = reads, .index = index, .rng = {lab_mix(reads->seed) + index}};
    unsigned depth = reads->way->depth;
    uint8_t *buffer CLEANUP(mem_free_ptr) =
        mem_alloc_aligned(PAGE_BYTES, depth * (align_up(reads->bytes_each, PAGE_BYTES) + 2 * PAGE_BYTES));
    r.buffer = buffer;
    if (!buffer)
        return FAIL(NO_MEMORY, "iolab: a buffer");
    TRY(epoch_register());
    uint64_t begin = clock_now_ns();
    do { /* one at least, however late the thread began */
        TRY(reads->read_one(&r));
        uint64_t end = clock_now_ns();
        for (unsigned i = 0; i < depth; i++)
            histogram_add(&reads->ns, end - begin);
        begin = end;
    } while (begin < reads->end_ns);
    atomic_fetch_add_explicit(&reads->wrong, r.wrong, memory_order_relaxed);
    atomic_fetch_add_explicit(&reads->verified, r.verified, memory_order_relaxed);
    return NOKV_OK;
}

static enum nokv_status file_open(struct lab_reads *reads, const char *path)
{
    uint64_t size = 0;
    TRY(io_open(reads->io, path, IO_SST, IO_STD, IO_READ, &reads->plain));
    TRY(io_size(reads->plain, &size));
    if (reads->state != LAB_HOT)
        io_drop_cache(reads->plain, 0, size);
    TRY(io_open(reads->io, path, IO_SST, reads->way->model, IO_READ, &reads->file));
    if (reads->way->model == IO_MMAP)
        TRY(io_map(reads->file, &reads->map));
    if (!reads->cache_bytes)
        return NOKV_OK;
    reads->cache = lab_cache_create(reads->cache_bytes);
    return reads->cache ? NOKV_OK : FAIL(NO_MEMORY, "iolab: a cache of %lu bytes", reads->cache_bytes);
}

static enum vlog_read_model segment_model(const struct lab_read_way *way)
{
    switch (way->model) {
    case IO_STD:
        return VLOG_READ_PREAD;
    case IO_MMAP:
        return VLOG_READ_MMAP;
    case IO_DIRECT:
        return VLOG_READ_DIRECT;
    case IO_URING:
        return VLOG_READ_URING;
    default:
        return VLOG_READ_AUTO;
    }
}

static enum nokv_status handles_open(struct lab_reads *reads)
{
    char path[LAB_PATH_SIZE];
    lab_path(reads->lab, reads->name, path);
    if (!reads->values)
        return file_open(reads, path);
    TRY(epoch_register());
    if (reads->state != LAB_HOT)
        TRY(lab_file_drop(reads->io, path));
    return vlog_reader_open(reads->io, path, LAB_SEGMENT_NUMBER, segment_model(reads->way), NULL, &reads->coldness,
                            &reads->segment);
}

static void handles_close(struct lab_reads *reads)
{
    if (reads->map.data)
        io_unmap(&reads->map);
    io_close_ptr(&reads->file);
    io_close_ptr(&reads->plain);
    lab_cache_destroy(TAKE(reads->cache));
    if (reads->segment)
        vlog_reader_unref(TAKE(reads->segment));
    epoch_drain(); /* a mapping is given back only then */
}

static void advise(const struct lab_reads *reads)
{
    (void)io_map_advise(&reads->map, 0, reads->map.size, (enum io_advice)reads->way->advice);
}

bool lab_map_is_huge(const struct io_map *map)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    char line[512];
    bool is_ours = false;
    unsigned long begin, end, kib = 0;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            is_ours = (uintptr_t)map->data >= begin && (uintptr_t)map->data < end;
        else if (is_ours && sscanf(line, "FilePmdMapped: %lu kB", &kib) == 1)
            break;
    }
    if (f)
        (void)fclose(f);
    return kib != 0;
}

static enum nokv_status handles_measure(struct lab_bench *bench, unsigned index, struct lab_reads *reads,
                                        struct lab_sample *out_sample)
{
    struct lab_contender *c = &bench->row->contenders[index];
    struct lab_crew crew = {.work = read_until_end, .arg = reads, .count = reads->threads};
    bool asks_late = reads->state == LAB_COLD; /* what brings a cold file in is part of the price */
    TRY(handles_open(reads));
    bool advised = reads->map.data && reads->way->advice != LAB_ADVICE_NONE;
    if (advised && !asks_late)
        advise(reads);
    TRY(reads->warm(reads));
    if (advised && reads->way->advice == IO_ADVICE_HUGE && !lab_map_is_huge(&reads->map)) {
        snprintf(c->failed, sizeof c->failed, "%s", lab_no_huge_pages);
        return NOKV_OK;
    }
    struct lab_usage from = lab_usage_now(bench->io);
    reads->end_ns = from.ns + bench->lab->slice_ns;
    if (advised && asks_late)
        advise(reads);
    TRY(lab_crew_run(&crew));
    uint64_t count = histogram_count(&reads->ns);
    *out_sample = lab_usage_sample(bench->io, &from, count, count * reads->bytes_each, &reads->ns);
    return NOKV_OK;
}

enum nokv_status lab_reads_measure(struct lab_bench *bench, unsigned index, struct lab_reads *reads,
                                   struct lab_sample *out_sample)
{
    enum nokv_status status = handles_measure(bench, index, reads, out_sample);
    handles_close(reads);
    bench->row->wrong += atomic_load_explicit(&reads->wrong, memory_order_relaxed);
    bench->row->verified += atomic_load_explicit(&reads->verified, memory_order_relaxed);
    return status;
}
