// SPDX-License-Identifier: Apache-2.0
/*
 * reader.h - what reader.c (forward through the records) and tail.c (what lies behind the last one) share.
 *
 * Internal to the module.
 */
#ifndef RLOG_READER_H
#define RLOG_READER_H

#include "rlog/format.h"

enum { WINDOW_BYTES = 1 << 20 };

enum record_source {
    RECORD_NONE, /* no valid record at this offset */
    RECORD_IN_FILE,
    RECORD_IN_RING,
};

struct record {
    enum record_source source;
    uint32_t type;        /* REQUIRES, as all below: source is not NONE */
    struct slice payload; /* borrowed from window, ring or joined */
    uint64_t size;        /* with header and padding */
};

struct found_mark {
    uint64_t off, covers; /* off UINT64_MAX: none */
};

struct rlog_reader {
    /* set at open, then constant */
    struct io *io;
    struct io_file *file;
    char *path;
    enum io_component component;
    enum rlog_kind kind;
    struct log_id id;
    struct slice ring;
    uint64_t file_size;
    bool header_torn; /* the file ends, or is zeros, before its header is complete: no record was ever written */
    /* a stretch of the file */
    uint8_t *window;
    size_t window_capacity;
    uint64_t window_off;
    size_t window_size;
    uint8_t *joined; /* ring.size bytes, made when first needed: a record that goes around the ring's end */
    /* progress */
    uint64_t off;
    uint64_t first_ring_off; /* of the first record that only the ring had; UINT64_MAX: none so far */
    uint64_t covered;        /* what lies in front was durable once: the marks that were passed say so */
    bool ended;
    enum nokv_status failed;
    struct rlog_end_report report;
};

/* The record that belongs at `off`: the file's, otherwise the ring's. */
enum nokv_status reader_record_at(struct rlog_reader *r, uint64_t off, struct record *out_record) MUST_CHECK;

/* `size` bytes of the file at `off`, in the window. REQUIRES: they are inside the file; size <= WINDOW_BYTES (or
 * window_capacity). */
enum nokv_status reader_window(struct rlog_reader *r, uint64_t off, size_t size, const uint8_t **out_bytes) MUST_CHECK;

/*
 * The records ended at r->off without a seal: how much is lost, or CORRUPT when a mark says that it was durable.
 * Fills cut_bytes.
 */
enum nokv_status tail_inspect(struct rlog_reader *r) MUST_CHECK;
/* A mark at or behind r->off, in the file or the ring, that covers more than `least`. */
enum nokv_status tail_find_mark(struct rlog_reader *r, uint64_t least, struct found_mark *out_mark) MUST_CHECK;
/* The offset behind the last byte of the file from `off` on that is not zero; `off` when all are. */
enum nokv_status tail_data_end(struct rlog_reader *r, uint64_t off, uint64_t *out_end) MUST_CHECK;

#endif
