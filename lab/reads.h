// SPDX-License-Identifier: Apache-2.0
/*
 * lab/reads.h - samples of random reads: opening a file in a way, warming, threads that read until the time is over.
 * Shared by the parts that read pages of tables and values.
 */
#ifndef LAB_READS_H
#define LAB_READS_H

#include "base/coldness.h"
#include "base/hash.h"
#include "lab/files.h"

enum { LAB_DEPTH_MAX = 128, LAB_ADVICE_NONE = -1 };

enum lab_state { LAB_HOT, LAB_COLD, LAB_SHORT, LAB_STATES };
extern const char *const lab_state_names[LAB_STATES]; /* "hot", "cold", "memory short" */

struct lab_read_way {
    const char *name;
    const char *option; /* "": it stands for no value of an option */
    enum io_model model;
    int advice; /* enum io_advice or LAB_ADVICE_NONE */
    unsigned depth;
    bool cached; /* has a cache of its own */
};

/* ---- a cache of pages (iolab_cache.c) -------------------------------------------------------------------------- */

struct lab_cache;
struct lab_cache *lab_cache_create(uint64_t bytes); /* NULL: no memory */
void lab_cache_destroy(struct lab_cache *cache);    /* NULL is accepted */
bool lab_cache_get(struct lab_cache *cache, uint64_t page, uint8_t out[PAGE_BYTES]);
void lab_cache_put(struct lab_cache *cache, uint64_t page, const uint8_t data[PAGE_BYTES]);

/* ---- a sample (iolab_reads.c) ---------------------------------------------------------------------------------- */

struct lab_reader;

/* One sample. All but the handles is set by the caller. */
struct lab_reads {
    struct lab *lab;
    struct io *io;
    const struct lab_read_way *way;
    const char *name; /* of the file */
    enum lab_state state;
    unsigned threads;
    uint64_t seed;
    uint64_t bytes_each;                                     /* of an operation */
    uint64_t cache_bytes;                                    /* 0: no cache */
    enum nokv_status (*warm)(struct lab_reads *reads);       /* before the clock starts */
    enum nokv_status (*read_one)(struct lab_reader *reader); /* a group of way->depth operations */
    const struct lab_pages *pages;                           /* of tables */
    const struct lab_values *values;                         /* of segments */
    /* handles, owned by lab_reads_measure */
    struct io_file *file;  /* in the way's model; a mapping has been made of it */
    struct io_file *plain; /* standard I/O */
    struct io_map map;
    struct lab_cache *cache;
    struct vlog_reader *segment; /* instead of the above, for values */
    struct coldness coldness;    /* what the segment's reader learns, as in a database */
    uint64_t end_ns;
    struct histogram ns;
    _Atomic uint64_t wrong, verified; /* relaxed: sums */
};

/* A thread of it. */
struct lab_reader {
    struct lab_reads *reads;
    unsigned index;
    uint64_t done; /* for the use of read_one */
    struct lab_rng rng;
    uint8_t *buffer; /* room for a group */
    uint64_t wrong, verified;
};

/* Open, drop from memory where the state says so, advise, warm, read for a slice, close. */
enum nokv_status lab_reads_measure(struct lab_bench *bench, unsigned index, struct lab_reads *reads,
                                   struct lab_sample *out_sample) MUST_CHECK;

/* Has the kernel mapped pages of 2 MiB there? Only what was touched is mapped. */
bool lab_map_is_huge(const struct io_map *map);
extern const char lab_no_huge_pages[]; /* why a contender has failed */

/* ---- rows of small reads (iolab_small.c) ----------------------------------------------------------------------- */

extern const struct lab_read_way lab_small_ways[];
struct lab_small {
    struct lab_pages *table, *hot, *huge;
    enum lab_state state;
    unsigned threads;
    struct lab_row *row;
    unsigned ways[LAB_CONTENDERS_MAX]; /* of each contender */
};
enum nokv_status lab_small_row(struct lab *lab, struct lab_small *s, const char *const notes[LAB_STATES]) MUST_CHECK;

#endif
