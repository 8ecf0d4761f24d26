// SPDX-License-Identifier: Apache-2.0
/*
 * lsm/compaction.h - carry out a flush, a compaction or a rewrite: read inputs, write tables and segments of the value
 * log. Installs nothing.
 *
 * All may run while readers and writers go on; the caller marks the input tables and installs the result.
 */
#ifndef LSM_COMPACTION_H
#define LSM_COMPACTION_H

#include "lsm/picker.h"
#include "lsm/table_writer.h"
#include "mem/mem.h"

struct compaction_job {
    /* in; is_bottom and component of `writer` are set by the functions */
    struct table_writer_options writer;
    const struct version *version;          /* compaction: the version that the inputs are from; referenced by caller */
    const struct compaction_inputs *inputs; /* compaction */
    struct memtable *memtable;              /* flush */
    uint32_t threads_max;                   /* compaction: parts that may run side by side, each in a thread of lower
                                               priority; 0: one part, in the calling thread */
    bool is_waited_for;                     /* compaction: its threads have the priority of the caller */
    _Atomic bool *cancel;                   /* when it becomes true: stop with ABORTED */
    /* out */
    struct table **outputs; /* opened, in key order; one reference each is the job's */
    uint32_t *levels;       /* where each of them belongs */
    size_t output_count;
    struct segment_desc *segments; /* new ones, sealed and durable */
    size_t segment_count, segment_capacity;
    uint64_t *damaged; /* victims with a value that cannot be read; may name one several times */
    size_t damaged_count, damaged_capacity;
    uint64_t read_bytes, write_bytes; /* of tables */
    uint64_t value_write_bytes;       /* of segments */
    uint64_t moved_bytes;             /* of records that left a victim */
    uint32_t parts;                   /* how many ran side by side */
};

/* Write the memtable as one table of level 0 (none when everything in it is shadowed). */
enum nokv_status flush_run(struct compaction_job *job) MUST_CHECK;
/* Merge the inputs into tables of the output level. */
enum nokv_status compaction_run(struct compaction_job *job) MUST_CHECK;
/*
 * Write each input table again, on its own level, so that values leave the segments that are being collected. Nothing
 * is merged; versions that nobody sees are dropped on the way, tombstones stay.
 */
enum nokv_status rewrite_run(struct compaction_job *job) MUST_CHECK;
/* Drops the references. `remove_files`: the MANIFEST does not name the outputs, so they go. A failed run left none. */
void compaction_job_deinit(struct compaction_job *job, bool remove_files);

#endif
