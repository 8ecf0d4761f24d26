// SPDX-License-Identifier: Apache-2.0
/*
 * Looking ahead: the values that an iterator will be asked for next, asked for together.
 *
 * The source (the view iterator) is run ahead of what the user sees, and the entries that it passes are kept in a
 * queue; their keys and values stay in place (iter/iter.h). What is to be read of the value log is grouped, neighbours
 * in the file as one piece. Pieces of files that are read past the page cache, or through io_uring, are read into
 * memory at one go, when the queue is empty: the current entry is one of them. Pieces of other files are hinted at, and
 * read from the page cache as usual when their turn comes; there the queue is filled up when half of it is used, so
 * that the device always has something to do.
 *
 * A long scan is read past the page cache whatever the model: ahead_go_long.
 *
 * A source that must_release goes no further than its entries stay: iter_view_buffered.
 *
 * How far: AHEAD_MIN entries at first, then twice as many each time up to AHEAD_MAX, and not much more than
 * AHEAD_BYTES_MAX. A segment that nobody has opened yet is left to the first ordinary read in it.
 *
 * [I1] While the queue has entries, the first is the current one, and the source stands at the last, or is not valid
 *      because it stopped behind it. When it has none, the source's entry is the current one.
 * [I2] Pieces in memory belong to entries of the queue only: it is not filled up while there are any.
 *
 * One thread, the iterator's. Failure: whatever fails here is nobody's error. A value that did not come, or is not
 * sound, is read singly when it is asked for; where the source stopped with an error it is led again when the user gets
 * there. Either reports then, if it fails again, and the thread's message is left as it was.
 * Why not a second iterator that runs ahead: it would double what a walk costs; this one is walked once.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "db/db.h"

enum {
    AHEAD_MIN = 8,
    AHEAD_MAX = 32,
    AHEAD_BYTES_MAX = 1 << 20,
    PIECE_MAX = 256 << 10, /* neighbours are joined up to here: larger pieces would wait for each other */
    PIECE_GAP = 8,         /* between neighbours: what rounds a record's size up */
    NOT_READ = -1,
    MESSAGE_SIZE = 1024,
};

/* The largest read that may be planned: a record of one chunk with the longest key, widened to whole pages. */
static const size_t read_max = VLOG_CHUNK + KEY_SIZE_MAX + 3 * (size_t)PAGE_BYTES;

struct ahead_entry {
    struct ikey key;
    struct slice value; /* as the source showed it */
    int piece;          /* of `reads`, or NOT_READ */
};

struct group {
    struct io_read_request pieces[AHEAD_MAX + 1];
    size_t count;
};

struct ahead {
    /* set at creation, then constant */
    struct iter *source;
    const struct segment_set *segments;
    struct io *io;
    /* the state */
    struct iter shown; /* the current entry, while the queue has it */
    bool backward;
    bool is_long;  /* past the page cache */
    size_t window; /* entries behind the current one when the queue was last filled; 0: never yet */
    size_t first, count;
    struct ahead_entry entries[AHEAD_MAX + 1];
    struct group reads, hints;
    size_t planned_bytes;
    uint8_t *bytes; /* of `reads` */
    size_t capacity;
};

struct ahead *ahead_create(struct iter *source, const struct segment_set *segments, struct io *io)
{
    struct ahead *a = mem_zalloc(sizeof *a);
    if (a != NULL)
        *a = (struct ahead){.source = source, .segments = segments, .io = io};
    return a;
}

void ahead_destroy(struct ahead *a)
{
    if (a == NULL)
        return;
    mem_free(a->bytes);
    mem_free(a);
}

/* ---- the queue -------------------------------------------------------------------------------------------------- */

static void source_move(struct ahead *a)
{
    if (a->backward)
        iter_prev(a->source);
    else
        iter_next(a->source);
}

static const struct iter *show(struct ahead *a)
{
    const struct ahead_entry *e = &a->entries[a->first];
    a->shown = (struct iter){.valid = true, .key = e->key, .value = e->value};
    return &a->shown;
}

void ahead_forget(struct ahead *a)
{
    a->is_long = false;
    a->first = a->count = 0;
    a->reads.count = 0;
    a->window = 0;
}

void ahead_slow_down(struct ahead *a)
{
    a->window = 0;
}

const struct iter *ahead_step(struct ahead *a)
{
    ASSERT(a->first < a->count);
    struct ikey left = a->entries[a->first++].key;
    if (a->first < a->count)
        return show(a);
    a->first = a->count = 0;
    a->reads.count = 0;
    if (!a->source->valid && a->source->status != NOKV_OK)
        iter_seek(a->source, left); /* and into the same again, if it is still there */
    if (a->source->valid)
        source_move(a);
    return a->source;
}

const struct iter *ahead_return(struct ahead *a)
{
    ASSERT(a->first < a->count);
    struct ikey current = a->entries[a->first].key;
    ahead_forget(a);
    iter_seek(a->source, current); /* the one version of it that this view shows */
    return a->source;
}

/* ---- what is to be read ----------------------------------------------------------------------------------------- */

/* Make `r` part of the last piece. False: it is no neighbour. */
static bool piece_join(struct io_read_request *last, const struct io_read_request *r)
{
    uint64_t off = u64_min(last->off, r->off), end = u64_max(last->off + last->size, r->off + r->size);
    bool is_near = r->off <= last->off + last->size + PIECE_GAP && last->off <= r->off + r->size + PIECE_GAP;
    if (last->file != r->file || !is_near || end - off > PIECE_MAX)
        return false;
    last->off = off;
    last->size = end - off;
    return true;
}

/* The index of the piece that has it. */
static int group_add(struct group *g, const struct io_read_request *r)
{
    if (g->count == 0 || !piece_join(&g->pieces[g->count - 1], r)) {
        ASSERT(g->count < ARRAY_COUNT(g->pieces));
        g->pieces[g->count++] = *r;
    }
    return (int)g->count - 1;
}

static void entry_plan(struct ahead *a, struct ahead_entry *e)
{
    struct vlog_pointer p;
    struct segment *segment;
    struct io_read_request r;
    if (tag_kind_byte(e->key.tag) != KEY_VALUE_POINTER ||
        segment_follow(a->segments, e->value, &p, &segment) != NOKV_OK)
        return;
    struct vlog_reader *reader = segment_reader_now(segment);
    if (reader == NULL || !(a->is_long ? vlog_read_prepare_scan(reader, &p, e->key.user, &r)
                                       : vlog_read_prepare(reader, &p, e->key.user, &r)))
        return;
    if (io_file_model(r.file) == IO_STD)
        (void)group_add(&a->hints, &r);
    else
        e->piece = group_add(&a->reads, &r);
    a->planned_bytes += align_up(r.size, PAGE_BYTES);
}

/* The source's entry becomes the last of the queue. */
static void entry_add(struct ahead *a)
{
    ASSERT(a->count < ARRAY_COUNT(a->entries));
    struct ahead_entry *e = &a->entries[a->count++];
    *e = (struct ahead_entry){.key = a->source->key, .value = a->source->value, .piece = NOT_READ};
    entry_plan(a, e);
}

static bool bytes_reserve(struct ahead *a, size_t size)
{
    if (size <= a->capacity)
        return true;
    mem_free(TAKE(a->bytes)); /* nothing in it is needed: [I2] */
    a->bytes = mem_alloc_aligned(PAGE_BYTES, size);
    a->capacity = a->bytes ? size : 0;
    return a->bytes != NULL;
}

static void read_pieces(struct ahead *a)
{
    size_t size = 0;
    for (size_t i = 0; i < a->reads.count; i++)
        size += align_up(a->reads.pieces[i].size, PAGE_BYTES);
    if (size == 0)
        return;
    bool has_room = bytes_reserve(a, size);
    uint8_t *to = a->bytes;
    for (size_t i = 0; i < a->reads.count; i++) {
        struct io_read_request *r = &a->reads.pieces[i];
        r->status = NOKV_ERR_NO_MEMORY;
        r->buffer = to;
        to += has_room ? align_up(r->size, PAGE_BYTES) : 0;
    }
    enum nokv_status status = has_room ? io_read_many(a->io, a->reads.pieces, a->reads.count) : NOKV_OK;
    (void)status; /* each piece has its own */
}

/* ---- looking ---------------------------------------------------------------------------------------------------- */

static bool is_filled(const struct ahead *a)
{
    size_t left = a->count - a->first;
    if (left == 0)
        return false;
    return a->reads.count != 0 || left > a->window / 2 || !a->source->valid || a->source->must_release;
}

static void fill(struct ahead *a, bool backward)
{
    a->count -= a->first;
    memmove(a->entries, a->entries + a->first, a->count * sizeof a->entries[0]);
    a->first = a->reads.count = a->hints.count = a->planned_bytes = 0;
    a->window = a->window == 0 ? AHEAD_MIN : u64_min(2 * a->window, AHEAD_MAX);
    if (a->count == 0) {
        a->backward = backward;
        entry_add(a);
    }
    while (a->count <= a->window && a->planned_bytes + read_max <= AHEAD_BYTES_MAX &&
           iter_view_buffered(a->source, backward) > 0) {
        source_move(a);
        if (!a->source->valid)
            break;
        entry_add(a);
    }
    for (size_t i = 0; i < a->hints.count; i++)
        io_prefetch(a->hints.pieces[i].file, a->hints.pieces[i].off, a->hints.pieces[i].size);
    read_pieces(a);
}

void ahead_go_long(struct ahead *a)
{
    a->is_long = true;
}

const struct iter *ahead_look(struct ahead *a, bool backward)
{
    ASSERT(a->first < a->count ? a->backward == backward : a->source->valid);
    if (is_filled(a))
        return &a->shown;
    char message[MESSAGE_SIZE];
    snprintf(message, sizeof message, "%s", status_message());
    fill(a, backward);
    status_message_set(message);
    return show(a);
}

bool ahead_take(const struct ahead *a, const struct segment *segment, const struct vlog_pointer *p,
                struct slice user_key, struct slice *out_value)
{
    const struct ahead_entry *e = &a->entries[a->first];
    if (a->first == a->count || e->piece == NOT_READ)
        return false;
    const struct vlog_reader *reader = segment_reader_now(segment);
    return vlog_read_finish(reader, p, user_key, &a->reads.pieces[e->piece], out_value) == NOKV_OK;
}
