// SPDX-License-Identifier: Apache-2.0
/*
 * writer.h - a segment that is being written: its buffers and the places in it. Internal to the module.
 *
 * The lifecycle of a buffer, all under mu but for the copying and the writing:
 *
 *     FREE ──place_take──► OPEN ──full, or a middle follows──► CLOSED ──written, nobody in it──► FREE
 *                           │ place_take: more                   │ the last appender to leave writes it, or
 *                           │ writer_flush_locked: written so far     │ `full` is called to have it written; if that
 *                                                                │ fails or is late, whoever needs one next does
 */
#ifndef VLOG_WRITER_H
#define VLOG_WRITER_H

#include "base/thread.h"
#include "vlog/format.h"

enum {
    BUFFER_COUNT = 4, /* one append takes at most three, and one may be open */
    PIECES_MAX = 4,
};

enum buffer_state { BUFFER_FREE, BUFFER_OPEN, BUFFER_CLOSED };

/* The bytes of [off, off + used) of the file; those below `flushed` are in the file as well. Protected by mu, but that
 * appenders store into their places, and the one with `writing` reads what is below `used`, without it. */
struct vlog_buffer {
    uint8_t *data;  /* buffer_bytes and one page more, page-aligned; NULL until first needed, and when sealed */
    uint8_t *claim; /* of shared memory, with it: where it stands what the buffer holds; NULL: memory of our own */
    uint64_t off;   /* a multiple of a page */
    uint32_t used;
    uint32_t flushed;
    uint32_t copying; /* places whose bytes are not all there yet */
    uint32_t readers;
    enum buffer_state state;
    bool writing;
};

/* A failed place that has no padding header yet. */
struct vlog_hole {
    uint64_t off;
    uint64_t size;
};

struct vlog_writer {
    /* set at creation, then constant */
    struct io_file *file;
    struct segment_id id;
    uint64_t seed;
    uint64_t preallocate_bytes;
    uint32_t buffer_bytes;
    uint64_t direct_min;     /* values from this size on are written from the caller's memory */
    bool whole_blocks;       /* IO_DIRECT: write no part of a block */
    void (*full)(void *arg); /* NULL: appenders write what they have filled */
    void *full_arg;

    struct mutex mu;
    struct cond changed; /* anything below that somebody may wait for */
    /* protected by mu */
    struct vlog_buffer buffers[BUFFER_COUNT];
    struct vlog_buffer *open; /* NULL: `end` is a multiple of a page */
    uint64_t end;             /* behind the last place */
    uint64_t reserved;        /* blocks are allocated up to here; UINT64_MAX: nothing is to be reserved */
    unsigned gate;            /* flushes that wait for the open buffer's appenders to leave: no new places */
    struct vlog_hole *holes;  /* room for hole_count + exposed */
    size_t hole_count;
    size_t hole_capacity;
    size_t exposed; /* places that may become holes: with a middle, of streams, being filled */
    struct vlog_info done;
    uint64_t changes;        /* writes that have ended */
    uint64_t synced_changes; /* ... before the last sync began */
    uint64_t sync_asked;     /* tickets */
    uint64_t sync_done;
    bool syncing;
    bool failed; /* a sync failed: for ever */
    bool sealed;
    /* atomic: a copy of `end` for those who only want to know; relaxed, it orders nothing */
    _Atomic uint64_t end_shown;
};

/* What is asked of place_take. All zero but size: into the buffers. */
struct place_shape {
    uint64_t size;
    uint64_t head;      /* bytes in front of the value */
    uint64_t value_end; /* with a middle: where the value ends; 0: no middle */
    bool is_blocks;     /* whole pages of its own, nothing of it in the buffers */
};

struct place_piece {
    struct vlog_buffer *buffer;
    uint64_t off; /* in the file */
    uint32_t size;
};

/* [off, off + size): what stands in buffers, and in the middle of it what the owner writes: [middle_off, middle_end).
 */
struct place {
    uint64_t off;
    uint64_t size;
    struct place_piece pieces[PIECES_MAX];
    unsigned piece_count;
    uint64_t middle_off;
    uint64_t middle_end;
};

/* Take a place; nothing has happened on failure. It is to be filled at once, without waiting for anything. */
enum nokv_status place_take(struct vlog_writer *w, const struct place_shape *shape, struct place *out) MUST_CHECK;
/* Its bytes are in the buffers. True: a full one is left for `full`, to be called without mu. */
bool place_release_locked(struct vlog_writer *w, const struct place *p) MUST_CHECK;
/* With a middle or of blocks: nothing can fail any more, or (`void`) it is padding from now on, if not at once then
 * when the disk takes it. */
void place_settle_locked(struct vlog_writer *w);
void place_void(struct vlog_writer *w, uint64_t off, uint64_t size);

static inline uint8_t *piece_data(const struct place_piece *piece)
{
    return piece->buffer->data + (piece->off - piece->buffer->off);
}

/* Only a page-aligned `end` while no buffer is open. REQUIRES: mu is held. */
void writer_end_locked(struct vlog_writer *w, uint64_t end);
enum nokv_status writer_usable_locked(const struct vlog_writer *w) MUST_CHECK;
/* All that is complete when it is called is in the file. Lets go of mu while it writes. */
enum nokv_status writer_flush_locked(struct vlog_writer *w) MUST_CHECK;
/* Make padding of the holes that are left. Lets go of mu while it writes. */
enum nokv_status writer_fill_holes_locked(struct vlog_writer *w) MUST_CHECK;
/* Sealed: all of it is in the file. Waits for those who still read in the buffers, and lets go of their memory. */
void writer_drop_buffers_locked(struct vlog_writer *w);
/* Copy complete bytes: from the buffers, else through `file`, which the caller opened for reading. */
enum nokv_status writer_read(struct vlog_writer *w, struct io_file *file, void *buffer, size_t size,
                             uint64_t off) MUST_CHECK;
void writer_count_locked(struct vlog_writer *w, uint64_t key_size, uint64_t value_size);

#endif
