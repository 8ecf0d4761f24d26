// SPDX-License-Identifier: Apache-2.0
/*
 * rescue.c - records of a segment that its writer did not live to seal: in the file, or still in the writer's buffers.
 *
 * A record is looked for in the file alone first, then in the file overlaid with what the buffers claim to hold of it.
 * Both are the same check, header, key, every chunk and the zeros at the end, over bytes that come from one place or
 * two, and at most RUN_BYTES of them are in memory.
 *
 * [I1] Shared bytes are only copied and compared: nothing they say is followed but the claims, which are cut to the
 *      buffer that they are of. The sizes of a record are the pointer's.
 * [I2] What is written to the file are bytes of a record that has just been found sound with them, at their place.
 * [I3] A value is allocated when it is asked for, and its record was found sound.
 *
 * One thread. Failure: a record that is not sound is an answer, not a failure; a read or write error is passed on, and
 * what was written of a record until then is a part of it.
 *
 * A repair writes a record that was sound in the file once more as well, past the page cache: see write_again.
 *
 * Why not write all claims to the file at once: after a power cut they may be of any age, and the file's bytes, which
 * may be the newer ones, would be lost.
 */
#include "base/alloc.h"
#include "vlog/shared.h"
#include "vlog/target.h"

enum { RUN_CHUNKS = 16, RUN_BYTES = RUN_CHUNKS * VLOG_CHUNK };

static_assert(RUN_BYTES >= (int)VLOG_RECORD_HEADER + KEY_SIZE_MAX, "header and key fit into a run");

struct vlog_rescue {
    /* set at open, then constant */
    struct io_file *file;
    struct io_file *out; /* past the page cache: see write_again; NULL: nothing is repaired */
    char *path;
    struct segment segment;
    struct shared_claim *claims; /* on this segment */
    size_t claim_count;
    size_t claim_capacity;
    /* the state */
    uint64_t file_bytes; /* grows with what is written */
    uint8_t *run;        /* RUN_BYTES */
    uint8_t *value;      /* the last one that was handed out */
};

/* ---- bytes of the record --------------------------------------------------------------------------------------- */

/* One way to see the record. */
struct view {
    struct vlog_rescue *r;
    const struct target *t;
    uint64_t end;  /* of the record, with its zeros */
    bool overlaid; /* with the claims */
    uint8_t *to;   /* the value is wanted here; NULL: it is not */
};

/* The first claim that covers `off`, or NULL; either way up to *out_stop. Claims that overlap are garbage, but what is
 * checked and what is written must be the same [I2]. */
static const struct shared_claim *claim_at(const struct vlog_rescue *r, uint64_t off, uint64_t *out_stop)
{
    *out_stop = UINT64_MAX;
    for (size_t i = 0; i < r->claim_count; i++) {
        const struct shared_claim *c = &r->claims[i];
        if (off >= c->off && off - c->off < c->size) {
            *out_stop = u64_min(*out_stop, c->off + c->size);
            return c;
        }
        if (c->off > off)
            *out_stop = u64_min(*out_stop, c->off);
    }
    return NULL;
}

/* Copy [off, off + size). *out_whole is left alone unless some of it is nowhere. */
static enum nokv_status view_read(const struct view *v, void *buffer, size_t size, uint64_t off, bool *out_whole)
{
    uint8_t *to = buffer;
    while (size > 0) {
        uint64_t stop = UINT64_MAX;
        const struct shared_claim *c = v->overlaid ? claim_at(v->r, off, &stop) : NULL;
        size_t n = u64_min(size, stop - off);
        if (c != NULL) {
            memcpy(to, c->data + (off - c->off), n);
        } else if (off > v->r->file_bytes || n > v->r->file_bytes - off) {
            *out_whole = false;
            return NOKV_OK;
        } else {
            TRY(io_pread_exact(v->r->file, to, n, off));
        }
        to += n;
        off += n;
        size -= n;
    }
    return NOKV_OK;
}

/* CORRUPT is what a check says of bytes that are not the record's: an answer here. */
static bool is_right(enum nokv_status status)
{
    ASSERT(status == NOKV_OK || status == NOKV_ERR_CORRUPT);
    return status == NOKV_OK;
}

/* ---- the check ------------------------------------------------------------------------------------------------- */

static enum nokv_status check_header(const struct view *v, bool *out_sound)
{
    const struct target *t = v->t;
    TRY(view_read(v, v->r->run, t->value_off - t->off, t->off, out_sound));
    *out_sound = *out_sound && is_right(target_check_header(t, v->r->run));
    return NOKV_OK;
}

static enum nokv_status check_run(const struct view *v, uint64_t chunk, uint64_t count, bool *out_sound)
{
    const struct target *t = v->t;
    uint8_t sums[RUN_CHUNKS * VLOG_CHUNK_SUM];
    uint64_t off = chunk * VLOG_CHUNK;
    uint8_t *to = v->to ? v->to + off : v->r->run;
    TRY(view_read(v, sums, count * VLOG_CHUNK_SUM, t->sums_off + chunk * VLOG_CHUNK_SUM, out_sound));
    TRY(view_read(v, to, u64_min(count * VLOG_CHUNK, t->value_size - off), t->value_off + off, out_sound));
    *out_sound = *out_sound && is_right(target_check_chunks(t, chunk, count, to, sums));
    return NOKV_OK;
}

static enum nokv_status check_zeros(const struct view *v, bool *out_sound)
{
    static const uint8_t zeros[VLOG_ALIGN];
    uint8_t bytes[VLOG_ALIGN];
    size_t size = v->end - v->t->end;
    TRY(view_read(v, bytes, size, v->t->end, out_sound));
    *out_sound = *out_sound && memcmp(bytes, zeros, size) == 0;
    return NOKV_OK;
}

static enum nokv_status check(const struct view *v, bool *out_sound)
{
    uint64_t count = chunk_count(v->t->value_size);
    *out_sound = true;
    TRY(check_header(v, out_sound));
    for (uint64_t chunk = 0; *out_sound && chunk < count; chunk += RUN_CHUNKS)
        TRY(check_run(v, chunk, u64_min(RUN_CHUNKS, count - chunk), out_sound));
    return *out_sound ? check_zeros(v, out_sound) : NOKV_OK;
}

/* ---- what the buffers made whole ------------------------------------------------------------------------------- */

/* Write the file's bytes once more, past the page cache: after a failed sync of the process before, they may be in the
 * page cache only, and the next sync would say yes all the same (rlog/tail.c, write_again). */
static enum nokv_status write_again(struct vlog_rescue *r, uint64_t off, uint64_t end)
{
    while (off < end) {
        size_t size = u64_min(end - off, RUN_BYTES);
        TRY(io_pread_exact(r->file, r->run, size, off));
        TRY(io_pwrite(r->out, r->run, size, off));
        off += size;
    }
    return NOKV_OK;
}

/* Write the record: what the claims hold of it, when it is sound with them, and the rest as it is. [I2] */
static enum nokv_status repair(const struct view *v)
{
    struct vlog_rescue *r = v->r;
    for (uint64_t off = v->t->off; off < v->end;) {
        uint64_t stop = UINT64_MAX;
        const struct shared_claim *c = v->overlaid ? claim_at(r, off, &stop) : NULL;
        stop = u64_min(stop, v->end);
        if (c != NULL) {
            TRY(io_pwrite(r->out, c->data + (off - c->off), stop - off, off));
            r->file_bytes = u64_max(r->file_bytes, stop);
        } else {
            TRY(write_again(r, off, stop));
        }
        off = stop;
    }
    return NOKV_OK;
}

static enum nokv_status hand_out(struct view *v, bool *out_sound, struct slice *out_value)
{
    struct vlog_rescue *r = v->r;
    size_t size = v->t->value_size;
    r->value = v->to = mem_alloc(size + 1); /* [I3] */
    if (r->value == NULL)
        return FAIL(NO_MEMORY, "value log %s: a value of %zu bytes that is only in the buffers", r->path, size);
    TRY(check(v, out_sound)); /* once more, since the file's part of it is read once more */
    if (*out_sound)
        *out_value = slice_make(r->value, size);
    return NOKV_OK;
}

static bool is_claimed(const struct view *v)
{
    uint64_t stop;
    return claim_at(v->r, v->t->off, &stop) != NULL || stop < v->end;
}

enum nokv_status vlog_rescue_record(struct vlog_rescue *r, const struct vlog_pointer *p, struct slice user_key,
                                    bool *out_sound, struct slice *out_value)
{
    struct target t;
    bool is_sound = false;
    *out_sound = false;
    if (out_value != NULL)
        *out_value = slice_make(NULL, 0);
    mem_free(TAKE(r->value));
    if (!is_right(target_make(&r->segment, VLOG_OFF_MAX, p, user_key, &t)))
        return NOKV_OK;
    struct view v = {.r = r, .t = &t, .end = t.off + vlog_record_size(user_key.size, p->value_size)};
    TRY(check(&v, &is_sound));
    if (!is_sound && is_claimed(&v)) {
        v.overlaid = true;
        TRY(check(&v, &is_sound));
        if (is_sound && r->out == NULL && out_value != NULL)
            TRY(hand_out(&v, &is_sound, out_value));
    }
    if (is_sound && r->out)
        TRY(repair(&v));
    *out_sound = is_sound;
    return NOKV_OK;
}

enum nokv_status vlog_rescue_sync(struct vlog_rescue *r)
{
    return r->out ? io_sync(r->out) : NOKV_OK;
}

/* ---- open ------------------------------------------------------------------------------------------------------ */

static enum nokv_status collect_claims(struct vlog_rescue *r, struct slice shared)
{
    uint32_t bytes = shared.size < PAGE_BYTES ? 0 : shared_buffer_bytes(shared.data);
    size_t set = vlog_shared_bytes(bytes);
    for (size_t off = 0; bytes != 0 && shared.size - off >= set; off += set)
        for (unsigned i = 0; i < BUFFER_COUNT; i++) {
            struct shared_claim c;
            if (!shared_claim_decode(shared.data + off, bytes, i, &c) || c.segment != r->segment.id.number)
                continue;
            TRY(mem_grow(&r->claims, &r->claim_capacity, r->claim_count + 1, sizeof *r->claims));
            r->claims[r->claim_count++] = c;
        }
    return NOKV_OK;
}

static enum nokv_status rescue_open(struct vlog_rescue *r, struct io *io, const char *path, uint64_t number,
                                    struct slice shared, bool repair)
{
    r->path = mem_strdup(path);
    r->run = mem_alloc(RUN_BYTES);
    if (r->path == NULL || r->run == NULL)
        return FAIL(NO_MEMORY, "value log rescue: %d bytes", RUN_BYTES);
    TRY(io_open(io, path, IO_VLOG, IO_STD, IO_READ, &r->file));
    if (repair)
        TRY(io_open(io, path, IO_VLOG, IO_DIRECT, IO_READ | IO_WRITE, &r->out));
    r->segment.path = r->path;
    TRY(segment_identify(&r->segment, r->file, number, true));
    r->file_bytes = r->segment.file_bytes;
    return collect_claims(r, shared);
}

enum nokv_status vlog_rescue_open(struct io *io, const char *path, uint64_t number, struct slice shared, bool repair,
                                  struct vlog_rescue **out_rescue)
{
    struct vlog_rescue *r = mem_zalloc(sizeof *r);
    if (r == NULL)
        return FAIL(NO_MEMORY, "value log rescue of %s", path);
    enum nokv_status status = rescue_open(r, io, path, number, shared, repair);
    if (status != NOKV_OK) {
        vlog_rescue_close(r);
        return FAIL_WITH(status, "%s [opening value log %llu, %s, to rescue what it holds]", status_message(),
                         (unsigned long long)number, path);
    }
    *out_rescue = r;
    return NOKV_OK;
}

void vlog_rescue_close(struct vlog_rescue *r)
{
    if (r == NULL)
        return;
    io_close_ptr(&r->file);
    io_close_ptr(&r->out);
    mem_free(r->claims);
    mem_free(r->run);
    mem_free(r->value);
    mem_free(r->path);
    mem_free(r);
}
