// SPDX-License-Identifier: Apache-2.0
/*
 * Replayed records that point into the value log: is what they point to there?
 *
 * A sealed segment is durable as a whole: its pointers are taken as they are. One that was being written when the
 * process or the machine died has some values on the disk and some, the last, only in the shared buffers (VLOGBUF), and
 * after a power cut some nowhere. Records that point to these are therefore checked, value by value, checksums
 * included; so recovery reads at most the segments that were open, two of them and those of streams, however large the
 * value log is.
 *
 * [I1] A value that only the buffers have is written to its segment, byte for byte where it belongs, before the buffers
 *      may be used again; read-only, it is taken into the memtable instead.
 * [I2] What was found sound is synced before the log that points to it is (recovery_values_sync): the next crash must
 *      not find the log durable and the value gone.
 * [I3] Nothing is believed without its checksum: after a power cut the buffers hold anything.
 *
 * Failure: a value that is not there is no error, the caller cuts the log. A disk that cannot be read is.
 */
#include "base/alloc.h"
#include "db/db.h"
#include "lsm/names.h"

struct recovered_segment {
    uint64_t number;
    bool is_sealed;
    bool is_missing;
    struct vlog_rescue *rescue; /* NULL: sealed, missing, or not needed yet */
};

enum nokv_status recovery_values_init(struct nokv_db *db, const struct manifest_state *state, bool repair,
                                      struct recovery_values *out_values)
{
    char path[PATH_SIZE_MAX];
    *out_values = (struct recovery_values){.db = db, .state = state, .repair = repair};
    TRY(path_vlogbuf(path, db->dir));
    return shared_buffer_read(db, path, IO_VLOG, &out_values->shared);
}

void recovery_values_deinit(struct recovery_values *v)
{
    for (size_t i = 0; i < v->count; i++)
        vlog_rescue_close(v->segments[i].rescue);
    mem_free(v->segments);
    buf_deinit(&v->shared);
    *v = (struct recovery_values){0};
}

/* ---- segments --------------------------------------------------------------------------------------------------- */

static bool manifest_says_sealed(const struct manifest_state *state, uint64_t number)
{
    for (size_t i = 0; i < state->segment_count; i++)
        if (state->segments[i].number == number)
            return state->segments[i].sealed;
    return false;
}

/* Sealed, or missing? */
static enum nokv_status segment_probe(struct recovery_values *v, struct recovered_segment *s)
{
    char path[PATH_SIZE_MAX];
    struct vlog_reader *r = NULL;
    s->is_sealed = manifest_says_sealed(v->state, s->number);
    if (s->is_sealed)
        return NOKV_OK;
    TRY(path_vlog(path, v->db->dir, s->number));
    enum nokv_status status = vlog_reader_open(v->db->io, path, s->number, VLOG_READ_PREAD, NULL, NULL, &r);
    s->is_missing = status == NOKV_ERR_NOT_FOUND;
    if (s->is_missing)
        return NOKV_OK;
    TRY(status);
    s->is_sealed = vlog_reader_is_sealed(r);
    vlog_reader_unref(r);
    return NOKV_OK;
}

static enum nokv_status segment_note(struct recovery_values *v, uint64_t number, struct recovered_segment **out)
{
    size_t i = v->count;
    while (i > 0 && v->segments[i - 1].number >= number)
        i--;
    if (i == v->count || v->segments[i].number != number) {
        struct recovered_segment s = {.number = number};
        TRY(segment_probe(v, &s));
        TRY(mem_grow(&v->segments, &v->capacity, v->count + 1, sizeof *v->segments));
        memmove(v->segments + i + 1, v->segments + i, (v->count - i) * sizeof *v->segments);
        v->segments[i] = s;
        v->count++;
    }
    *out = &v->segments[i];
    return NOKV_OK;
}

static enum nokv_status rescue_ready(struct recovery_values *v, struct recovered_segment *s)
{
    char path[PATH_SIZE_MAX];
    if (s->rescue)
        return NOKV_OK;
    TRY(path_vlog(path, v->db->dir, s->number));
    return vlog_rescue_open(v->db->io, path, s->number, buf_slice(&v->shared), v->repair, &s->rescue);
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

static enum nokv_status entry_check(struct recovery_values *v, const struct batch_entry *e, bool *out_sound)
{
    struct vlog_pointer p;
    struct recovered_segment *s;
    struct slice value;
    *out_sound = true;
    if (tag_kind_byte(e->key.tag) != KEY_VALUE_POINTER)
        return NOKV_OK;
    TRY(vlog_pointer_decode(e->value, &p));
    TRY(segment_note(v, p.segment, &s));
    if (s->is_missing ||
        s->is_sealed) /* missing: damage, as its name was durable first; loading the segments finds it */
        return NOKV_OK;
    TRY(rescue_ready(v, s));
    return vlog_rescue_record(s->rescue, &p, e->key.user, out_sound, &value);
}

enum nokv_status recovery_values_check(struct recovery_values *v, struct slice payload, const char *where,
                                       bool *out_sound)
{
    struct batch_reader reader;
    TRY(batch_reader_init(&reader, payload, where));
    for (*out_sound = true; *out_sound;) {
        struct batch_entry entry;
        bool more = false;
        TRY(batch_reader_next(&reader, &entry, &more));
        if (!more)
            break;
        TRY(entry_check(v, &entry, out_sound));
    }
    return NOKV_OK;
}

enum nokv_status recovery_values_inline(struct recovery_values *v, const struct batch_entry *entry,
                                        struct slice *out_value)
{
    struct vlog_pointer p;
    struct recovered_segment *s;
    bool sound;
    *out_value = (struct slice){0};
    if (tag_kind_byte(entry->key.tag) != KEY_VALUE_POINTER || v->repair)
        return NOKV_OK;
    TRY(vlog_pointer_decode(entry->value, &p));
    TRY(segment_note(v, p.segment, &s));
    return s->rescue ? vlog_rescue_record(s->rescue, &p, entry->key.user, &sound, out_value) : NOKV_OK;
}

enum nokv_status recovery_values_sync(struct recovery_values *v)
{
    for (size_t i = 0; i < v->count; i++)
        if (v->segments[i].rescue)
            TRY(vlog_rescue_sync(v->segments[i].rescue));
    return NOKV_OK;
}

enum nokv_status recovery_values_numbers(const struct recovery_values *v, uint64_t **out_numbers)
{
    uint64_t *numbers = mem_alloc((v->count + 1) * sizeof *numbers);
    if (numbers == NULL)
        return FAIL(NO_MEMORY, "no memory for a list of %zu segments", v->count);
    for (size_t i = 0; i < v->count; i++)
        numbers[i] = v->segments[i].number;
    *out_numbers = numbers;
    return NOKV_OK;
}
