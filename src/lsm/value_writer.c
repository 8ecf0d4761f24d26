// SPDX-License-Identifier: Apache-2.0
/*
 * Victims are opened when the first of their values is met, and read through a window each (vlog_source). A segment is
 * written by a flush in key order, and a table is rewritten in key order, so each window moves forward through its
 * segment: collecting reads a segment about once, whatever the number of tables that point to it.
 *
 * [I1] A pointer that place() hands out leads into a segment that this writer owns, or is the one that was given.
 * [I2] At most one segment is open; it is sealed when it is full, before the next one is begun.
 *
 * Failure: whatever could not be written ends the writer. What could not be read does not: a damaged value must not
 * keep the tree from being merged, and a read error is the reader's to hear of.
 */
#include "lsm/value_writer.h"

#include "base/alloc.h"
#include "lsm/names.h"

struct value_writer {
    struct value_writer_options options; /* constant */
    struct vlog_writer *open;            /* NULL between segments */
    struct segment_desc *segments;       /* sealed, and last the open one */
    size_t count, capacity;
    struct vlog_source **sources; /* by victim; NULL until first needed */
    bool *is_damaged;             /* by victim */
    uint64_t bytes, moved_bytes;
    uint8_t pointer[VLOG_POINTER_SIZE];
};

enum nokv_status value_writer_create(const struct value_writer_options *options, struct value_writer **out_writer)
{
    struct value_writer *w = mem_zalloc(sizeof *w);
    if (w == NULL)
        return FAIL(NO_MEMORY, "no memory for a writer of values");
    w->options = *options;
    w->sources = mem_zalloc((options->victim_count + 1) * sizeof(struct vlog_source *));
    w->is_damaged = mem_zalloc(options->victim_count + 1);
    if (w->sources == NULL || w->is_damaged == NULL) {
        value_writer_destroy(w);
        return FAIL(NO_MEMORY, "no memory to collect %zu segments", options->victim_count);
    }
    *out_writer = w;
    return NOKV_OK;
}

/* ---- new segments --------------------------------------------------------------------------------------------- */

static enum nokv_status segment_begin(struct value_writer *w)
{
    char dir[PATH_SIZE_MAX], path[PATH_SIZE_MAX];
    const struct value_writer_options *o = &w->options;
    TRY(mem_grow(&w->segments, &w->capacity, w->count + 1, sizeof *w->segments));
    uint64_t number = o->allocate_number(o->allocate_arg);
    TRY(path_vlog_dir(dir, o->dir));
    TRY(path_vlog(path, o->dir, number));
    struct vlog_writer_options options = {.io = o->io,
                                          .path = path,
                                          .dir = dir,
                                          .component = o->component,
                                          .model = o->model,
                                          .number = number,
                                          .buffer_bytes = vlog_buffer_bytes(o->segment_bytes)};
    TRY(vlog_writer_create(&options, &w->open));
    w->segments[w->count++] = (struct segment_desc){.number = number, .origin = o->origin};
    return NOKV_OK;
}

static enum nokv_status segment_end(struct value_writer *w)
{
    if (w->open == NULL)
        return NOKV_OK;
    TRY(vlog_writer_seal(w->open));
    struct segment_desc *desc = &w->segments[w->count - 1];
    desc->file_bytes = vlog_writer_info(w->open).file_bytes;
    desc->sealed = true;
    w->bytes += desc->file_bytes;
    vlog_writer_destroy(TAKE(w->open));
    return NOKV_OK;
}

/* A segment with room; one that is full is sealed. */
static enum nokv_status segment_ready(struct value_writer *w)
{
    if (w->open && vlog_writer_bytes(w->open) >= w->options.segment_bytes)
        TRY(segment_end(w));
    return w->open ? NOKV_OK : segment_begin(w);
}

static void pointer_set(struct value_writer *w, const struct vlog_pointer *p, struct ikey *key, struct slice *value)
{
    vlog_pointer_encode(p, w->pointer);
    key->tag = key_tag(tag_seq(key->tag), KEY_VALUE_POINTER);
    *value = slice_make(w->pointer, sizeof w->pointer);
}

/* ---- placing -------------------------------------------------------------------------------------------------- */

/* The index of the victim `number`; victim_count when it is none. */
static size_t victim_find(const struct value_writer *w, uint64_t number)
{
    size_t low = 0, high = w->options.victim_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (w->options.victims[mid] < number)
            low = mid + 1;
        else
            high = mid;
    }
    bool is_found = low < w->options.victim_count && w->options.victims[low] == number;
    return is_found ? low : w->options.victim_count;
}

static enum nokv_status source_open(struct value_writer *w, size_t victim)
{
    char path[PATH_SIZE_MAX];
    if (w->sources[victim])
        return NOKV_OK;
    uint64_t number = w->options.victims[victim];
    TRY(path_vlog(path, w->options.dir, number));
    return vlog_source_open(w->options.io, path, number, w->options.component, w->options.read_model,
                            &w->sources[victim]);
}

static enum nokv_status move_to_segment(struct value_writer *w, size_t victim, const struct vlog_pointer *p,
                                        struct ikey *key, struct slice *value)
{
    struct vlog_pointer moved;
    TRY(vlog_source_move(w->sources[victim], p, *key, w->open, &moved));
    pointer_set(w, &moved, key, value);
    return NOKV_OK;
}

static enum nokv_status move_inline(struct value_writer *w, size_t victim, const struct vlog_pointer *p,
                                    struct ikey *key, struct slice *value)
{
    struct slice read;
    TRY(vlog_source_read(w->sources[victim], p, key->user, &read));
    key->tag = key_tag(tag_seq(key->tag), KEY_VALUE);
    *value = read;
    return NOKV_OK;
}

static bool goes_inline(const struct value_writer *w, const struct vlog_pointer *p)
{
    return p->value_size < w->options.separation_min && p->value_size <= VLOG_SOURCE_WINDOW / 2;
}

static enum nokv_status victim_move(struct value_writer *w, size_t victim, const struct vlog_pointer *p,
                                    struct ikey *key, struct slice *value)
{
    TRY(goes_inline(w, p) ? move_inline(w, victim, p, key, value) : move_to_segment(w, victim, p, key, value));
    w->moved_bytes += vlog_record_size(key->user.size, p->value_size);
    return NOKV_OK;
}

static enum nokv_status place_pointer(struct value_writer *w, struct ikey *key, struct slice *value)
{
    struct vlog_pointer p;
    TRY(vlog_pointer_decode(*value, &p));
    size_t victim = victim_find(w, p.segment);
    if (victim == w->options.victim_count)
        return NOKV_OK;
    enum nokv_status status = source_open(w, victim);
    bool is_source = status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_FOUND || status == NOKV_ERR_IO;
    if (status == NOKV_OK) {
        if (!goes_inline(w, &p))
            TRY(segment_ready(w)); /* whatever fails here is not the source's */
        status = victim_move(w, victim, &p, key, value);
        is_source = status != NOKV_OK && vlog_source_is_to_blame(w->sources[victim]);
    }
    if (status == NOKV_OK || !is_source)
        return status;
    w->is_damaged[victim] = true;
    return NOKV_OK;
}

/* The victim that the entry points to; victim_count: none. */
static size_t entry_victim(const struct value_writer *w, struct ikey key, struct slice value, struct vlog_pointer *out)
{
    bool is_pointer = w->options.victim_count && tag_kind_byte(key.tag) == KEY_VALUE_POINTER;
    if (!is_pointer || vlog_pointer_decode(value, out) != NOKV_OK)
        return w->options.victim_count;
    return victim_find(w, out->segment);
}

uint64_t value_writer_victim_bytes(const struct value_writer *w, struct ikey key, struct slice value)
{
    struct vlog_pointer p;
    bool found = entry_victim(w, key, value, &p) < w->options.victim_count;
    return found ? vlog_record_size(key.user.size, p.value_size) : 0;
}

void value_writer_hint(struct value_writer *w, struct ikey key, struct slice value)
{
    struct vlog_pointer p;
    size_t victim = entry_victim(w, key, value, &p);
    if (victim < w->options.victim_count && source_open(w, victim) == NOKV_OK)
        vlog_source_hint(w->sources[victim], &p, key.user.size);
}

enum nokv_status value_writer_place(struct value_writer *w, struct ikey *key, struct slice *value)
{
    unsigned kind = tag_kind_byte(key->tag);
    if (kind == KEY_VALUE_POINTER)
        return w->options.victim_count ? place_pointer(w, key, value) : NOKV_OK;
    if (kind != KEY_VALUE || w->options.separation_min == 0 || value->size < w->options.separation_min)
        return NOKV_OK;
    struct vlog_pointer p;
    TRY(segment_ready(w));
    TRY(vlog_append(w->open, *key, *value, &p));
    pointer_set(w, &p, key, value);
    return NOKV_OK;
}

/* ---- the end -------------------------------------------------------------------------------------------------- */

enum nokv_status value_writer_finish(struct value_writer *w)
{
    return segment_end(w);
}

size_t value_writer_count(const struct value_writer *w)
{
    return w->count;
}

const struct segment_desc *value_writer_segment(const struct value_writer *w, size_t index)
{
    ASSERT(index < w->count);
    return &w->segments[index];
}

size_t value_writer_damaged_count(const struct value_writer *w)
{
    size_t count = 0;
    for (size_t i = 0; i < w->options.victim_count; i++)
        count += w->is_damaged[i];
    return count;
}

uint64_t value_writer_damaged(const struct value_writer *w, size_t index)
{
    for (size_t i = 0;; i++) {
        ASSERT(i < w->options.victim_count);
        if (w->is_damaged[i] && index-- == 0)
            return w->options.victims[i];
    }
}

uint64_t value_writer_bytes(const struct value_writer *w)
{
    return w->bytes + (w->open ? vlog_writer_bytes(w->open) : 0);
}

uint64_t value_writer_moved_bytes(const struct value_writer *w)
{
    return w->moved_bytes;
}

void value_writer_release(struct value_writer *w)
{
    ASSERT(w->open == NULL);
    w->count = 0;
}

void value_writer_destroy(struct value_writer *w)
{
    if (w == NULL)
        return;
    vlog_writer_destroy(w->open);
    for (size_t i = 0; i < w->count; i++) {
        char path[PATH_SIZE_MAX];
        /* What cannot be removed now is an orphan, and the next open removes it. */
        if (path_vlog(path, w->options.dir, w->segments[i].number) == NOKV_OK)
            (void)!io_unlink(w->options.io, path);
    }
    for (size_t i = 0; w->sources && i < w->options.victim_count; i++)
        vlog_source_close(w->sources[i]);
    mem_free(w->sources);
    mem_free(w->is_damaged);
    mem_free(w->segments);
    mem_free(w);
}
