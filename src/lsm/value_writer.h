// SPDX-License-Identifier: Apache-2.0
/*
 * lsm/value_writer.h - where the value of an entry that goes into a table lives: decides, and moves it there.
 *
 * Flush and compaction pass each entry that survives through it. Three things may happen to a value:
 *
 *      inline, separation_min bytes or more   ──► appended to a new segment; the table gets a pointer
 *      in a segment that is being collected   ──► moved to a new segment, or, now below separation_min, into the table
 *      anything else                          ──► stays where it is
 *
 * An entry keeps its key and sequence number, so a reader finds the same value before, during and after, and whatever
 * was written since is newer: nothing has to be compared or swapped.
 *
 * New segments are whole before anything can point to them: sealed and durable when value_writer_finish returns. They
 * are the writer's until released; destroying it removes the rest. One thread at a time.
 */
#ifndef LSM_VALUE_WRITER_H
#define LSM_VALUE_WRITER_H

#include "lsm/edit.h"
#include "vlog/vlog.h"

struct value_writer_options {
    struct io *io;
    const char *dir; /* of the database */
    enum io_component component;
    enum io_model model; /* of what is written */
    enum io_model
        read_model; /* of what is read out of victims: IO_STD (and then as little as possible is cached), ... */
    enum segment_origin origin;
    uint32_t separation_min; /* 0: inline values stay, whatever their size */
    uint64_t segment_bytes;
    const uint64_t *victims; /* numbers of the segments that are being collected, ascending; borrowed */
    size_t victim_count;
    bool is_scattered; /* some of them were written in another order than that of the keys: see value_writer_hint */
    uint64_t (*allocate_number)(void *arg); /* a file number that was never used; thread-safe */
    void *allocate_arg;
};

struct value_writer;

enum nokv_status value_writer_create(const struct value_writer_options *options,
                                     struct value_writer **out_writer) MUST_CHECK;
/*
 * Give the value its home: *key (its kind) and *value are changed to what the table stores, valid until the next call.
 * A value in a victim that cannot be read (CORRUPT, IO) stays where it is, so that the damage stays one of that value
 * alone: see value_writer_damaged. Other errors end the writer.
 */
enum nokv_status value_writer_place(struct value_writer *w, struct ikey *key, struct slice *value) MUST_CHECK;
/* Bytes of the record that placing this entry will read out of a victim; 0: none. */
uint64_t value_writer_victim_bytes(const struct value_writer *w, struct ikey key, struct slice value);
/* The entry will come soon: begin to read that record. */
void value_writer_hint(struct value_writer *w, struct ikey key, struct slice value);
/* Seal the last segment: all are durable, their directory entries too. */
enum nokv_status value_writer_finish(struct value_writer *w) MUST_CHECK;
/* The new segments; owned by the writer. */
size_t value_writer_count(const struct value_writer *w);
const struct segment_desc *value_writer_segment(const struct value_writer *w, size_t index);
/* Victims with a value that could not be read. */
size_t value_writer_damaged_count(const struct value_writer *w);
uint64_t value_writer_damaged(const struct value_writer *w, size_t index);
uint64_t value_writer_bytes(const struct value_writer *w);       /* of the new segments */
uint64_t value_writer_moved_bytes(const struct value_writer *w); /* of records that left a victim */
/* The files are somebody else's now (the MANIFEST names them). */
void value_writer_release(struct value_writer *w);
void value_writer_destroy(struct value_writer *w); /* NULL is accepted */

#endif
