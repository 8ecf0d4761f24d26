// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_plan.c - the tables of the ready-made comparisons.
 *
 * A list of workloads ages its database from left to right: what needs it as the fill left it comes first, what grows
 * it or leaves holes in it last, in a group of its own where the holes would be in the way. The times in the texts are
 * of a machine with 2 cores and all engines installed.
 */
#include "nokv_bench_plan.h"

#include <string.h>

#define ENGINES_FEW "nokv,lmdb,leveldb,rocksdb"
/* Blob files hold values from 512 bytes on: below, rocksdb-blob is rocksdb. */
#define ENGINES_SMALL "nokv,lmdb,leveldb,rocksdb,rocksdb-mmap,wiredtiger,wiredtiger-lsm"
#define ENGINES_LARGE "nokv,lmdb,leveldb,rocksdb,rocksdb-mmap,rocksdb-blob,wiredtiger,wiredtiger-lsm"

/* YCSB has E run on a database that was loaded anew: here it is the first to write to it, and does so a little. The
 * others in the order that YCSB recommends. */
#define YCSB "ycsbe,ycsba,ycsbb,ycsbc,ycsbf,ycsbd"
#define READS "readhit,readhit:2,readmiss,readmiss:2,multiget,seek50,rscan50,scan,rscan,keyscan"
#define HOLES "fillrandom,settle,delete,tombscan,settle,deleteprefix,tombseek"
#define DURABLE "durable,durable:16"
#define WRITTEN "fillrandom,settle,readhit,scan,overwrite,settle"

#define ALL                                                                                                        \
    "fillrandom,settle," READS "," YCSB ",readwhilewriting,overwrite,settle,readhit,fillseq,settle,readhit," HOLES \
    ",fillrandom,kill," DURABLE

#define COUNT(sets) sizeof(sets) / sizeof *(sets)

static const struct data_set sets_quick[] = {
    {ENGINES_FEW, "fillrandom,settle,readhit,readhit:2,readmiss,seek50," YCSB ",fillrandom,kill," DURABLE, "100",
     1000000, 1, 1, 0},
    {ENGINES_FEW, WRITTEN, "1000", 200000, 1, 1, 0},
    {ENGINES_FEW, WRITTEN, "65536", 6000, 1, 1, 0},
};

static const struct data_set sets_standard[] = {
    {ENGINES_SMALL,
     "fillrandom,settle," READS "," YCSB ",readwhilewriting,overwrite,settle," HOLES ",fillrandom,kill," DURABLE, "100",
     2000000, 1, 1, 0},
    {ENGINES_LARGE, WRITTEN ",readhit,ycsba", "1000", 400000, 1, 1, 0},
    {ENGINES_LARGE, WRITTEN ",readhit", "65536", 12000, 1, 1, 0},
};

static const struct data_set sets_full[] = {
    {ENGINES_SMALL, ALL, "100", 10000000, 5, 3, 0},
    {ENGINES_LARGE, WRITTEN ",overwrite,settle,overwrite,settle,readhit,scan," YCSB, "1000", 1000000, 5, 3, 0},
    {ENGINES_LARGE, WRITTEN ",overwrite,settle,readhit,scan", "65536", 60000, 5, 3, 0},
};

static const struct data_set sets_sizes[] = {
    {ENGINES_SMALL, ALL, "16", 2000000, 1, 1, 0},  {ENGINES_SMALL, ALL, "100", 1000000, 1, 1, 0},
    {ENGINES_LARGE, ALL, "1000", 200000, 1, 1, 0}, {ENGINES_LARGE, ALL, "4096", 50000, 1, 1, 0},
    {ENGINES_LARGE, ALL, "65536", 4000, 1, 1, 0},  {ENGINES_LARGE, ALL, "mixed", 100000, 1, 1, 0},
};

/* The data is four times the limit. First what reads one thing at a time, in an order in which none warms the next. */
static const struct data_set sets_cold[] = {
    {"nokv,lmdb,leveldb,rocksdb,rocksdb-mmap", "fillrandom,settle,cold,readhit,readhit:16,seek50,multiget,readmiss",
     "1000", 4000000, 10, 1, 1u << 30},
};

/* Texts continue on lines of their own, under the first. */
#define LINE "\n               "

const struct plan plans[] = {
    {.name = "quick",
     .text = "some 3 minutes: nokv, lmdb, leveldb, rocksdb; one round" LINE
             "1 M x 100 B (fill, reads, short scans, YCSB A to F, reopening after a kill, durable puts)," LINE
             "200 k x 1,000 B and 6 k x 64 KiB (fill, read, scan, overwrite)",
     .sets = sets_quick,
     .set_count = COUNT(sets_quick)},
    {.name = "standard",
     .text = "some 15 minutes, 10 more where system calls can be counted: all engines; one round" LINE
             "2 M x 100 B (all of the above, reverse scans, deletes, reopening after a kill)," LINE
             "400 k x 1,000 B and 12 k x 64 KiB (fill, read, scan, overwrite)",
     .sets = sets_standard,
     .set_count = COUNT(sets_standard),
     .count_syscalls = true},
    {.name = "full",
     .text = "some 5 hours: all engines; three rounds and a pass that counts system calls" LINE
             "10 M x 100 B (all workloads), 1 M x 1,000 B and 60 k x 64 KiB (overwritten again and again)",
     .sets = sets_full,
     .set_count = COUNT(sets_full),
     .count_syscalls = true},
    {.name = "sizes",
     .text = "some 45 minutes: all engines and all workloads; one round" LINE
             "values of 16 B, 100 B, 1,000 B, 4 KiB, 64 KiB, and of mixed sizes",
     .sets = sets_sizes,
     .set_count = COUNT(sets_sizes)},
    {.name = "cold",
     .text = "some 20 minutes: nokv, lmdb, leveldb, rocksdb, rocksdb-mmap; one round" LINE
             "4 M x 1,000 B, read with 1 GiB of memory for the process, page cache included (--memory-limit)," LINE
             "from a cold start: gets of 1 and 16 threads, short scans, batches of 64 keys, misses." LINE
             "Needs a cgroup with the memory controller, so mostly root",
     .sets = sets_cold,
     .set_count = COUNT(sets_cold)},
    {.name = NULL},
};

const struct plan *plan_find(const char *name)
{
    for (const struct plan *p = plans; p->name; p++)
        if (strcmp(p->name, name) == 0)
            return p;
    return NULL;
}
