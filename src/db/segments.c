// SPDX-License-Identifier: Apache-2.0
/*
 * The list of segments: what readers follow pointers with, and how the list changes together with the tree.
 *
 * [I1] A set that a view holds has every segment that the view's memtables and tables point to: a segment is published
 *      before the first record that points to it is visible, and removed after the last table that did is gone.
 * [I2] live_* of an entry is the sum over the tables of the current version (S1 of segments.h); an edit that would take
 *      away more than there is is a bug.
 * [I3] While `installing` is set, only its owner changes the list: a set that was prepared before the MANIFEST was
 *      written is still right afterwards.
 *
 * When an active segment is sealed it gets a new handle, because it is then read in other ways. The old one, with its
 * writer, lives until the last view that has it is gone; a sealed writer holds nothing but its file. Until then it
 * keeps the new one alive, and so the file's name: a view that has the old one may open its reader only now.
 */
#include "db/segments.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "db/db.h"
#include "lsm/names.h"

/* ---- a handle --------------------------------------------------------------------------------------------------- */

static void segment_destroy(struct pinned_object *object)
{
    struct segment *s = CONTAINER_OF(object, struct segment, object);
    struct nokv_db *db = s->db;
    uint64_t number = s->number;
    bool removed = atomic_load_explicit(&s->removed, memory_order_relaxed);
    struct segment *successor = s->successor;
    vlog_reader_unref(atomic_load_explicit(&s->reader, memory_order_acquire));
    vlog_writer_destroy(s->writer);
    mutex_deinit(&s->open_mu);
    mem_free(s);
    if (removed)
        db_obsolete_segment(db, number);
    if (successor)
        pinned_unref(&successor->object);
}

enum nokv_status segment_create(struct nokv_db *db, uint64_t number, struct vlog_writer *writer,
                                struct segment **out_segment)
{
    struct segment *s = mem_alloc_aligned(CACHE_LINE, sizeof *s);
    if (s == NULL)
        return FAIL(NO_MEMORY, "no memory for segment %llu of the value log", (unsigned long long)number);
    memset(s, 0, sizeof *s);
    s->db = db;
    s->number = number;
    s->writer = writer;
    mutex_init(&s->open_mu);
    pinned_init(&s->object, segment_destroy);
    *out_segment = s;
    return NOKV_OK;
}

static enum nokv_status reader_open(struct segment *s, struct vlog_reader **out_reader)
{
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&s->open_mu);
    (void)held;
    struct vlog_reader *r = atomic_load_explicit(&s->reader, memory_order_acquire);
    if (r == NULL) {
        char path[PATH_SIZE_MAX];
        TRY(path_vlog(path, s->db->dir, s->number));
        TRY(vlog_reader_open(s->db->io, path, s->number, (enum vlog_read_model)s->db->options.vlog_read, s->writer,
                             &s->db->values_cold, &r));
        atomic_store_explicit(&s->reader, r, memory_order_release);
    }
    *out_reader = r;
    return NOKV_OK;
}

enum nokv_status segment_reader(struct segment *s, struct vlog_reader **out_reader)
{
    *out_reader = segment_reader_now(s);
    return LIKELY(*out_reader != NULL) ? NOKV_OK : reader_open(s, out_reader);
}

enum nokv_status segment_read_in_place(struct segment *s, const struct vlog_pointer *p, struct slice user_key,
                                       struct slice *out_in_place)
{
    struct vlog_reader *r;
    TRY(segment_reader(s, &r));
    /* any thread: an iterator may have come here from the one that made it */
    atomic_fetch_add_explicit(&s->reads[epoch_any_thread_index() % SEGMENT_SHARDS].count, 1, memory_order_relaxed);
    return vlog_read_in_place(r, p, user_key, out_in_place);
}

enum nokv_status segment_read(struct segment *s, const struct vlog_pointer *p, struct slice user_key, uint64_t off,
                              void *buffer, size_t size)
{
    struct vlog_reader *r;
    TRY(segment_reader(s, &r));
    return vlog_read(r, p, user_key, off, buffer, size);
}

/* A record of one chunk comes with one read, value and checksums, into the memory that is handed out. */
static enum nokv_status read_record(struct vlog_reader *r, const struct vlog_pointer *p, struct slice user_key,
                                    struct io_read_request *request, struct slice *out_value)
{
    request->buffer = mem_alloc_aligned(request->size % PAGE_BYTES ? CACHE_LINE : PAGE_BYTES, request->size);
    if (request->buffer == NULL)
        return FAIL(NO_MEMORY, "no memory for a value of %u bytes", p->value_size);
    request->status = io_pread(request->file, request->buffer, request->size, request->off, &request->got);
    enum nokv_status status = vlog_read_finish(r, p, user_key, request, out_value);
    if (status != NOKV_OK)
        mem_free(request->buffer);
    return status;
}

enum nokv_status segment_read_whole(struct segment *s, const struct vlog_pointer *p, struct slice user_key,
                                    uint8_t **out_memory, struct slice *out_value)
{
    struct vlog_reader *r;
    struct io_read_request request;
    TRY(segment_reader(s, &r));
    if (vlog_read_prepare(r, p, user_key, &request)) {
        uint64_t begin = io_now_ns(s->db->io);
        TRY(read_record(r, p, user_key, &request, out_value));
        vlog_read_note(r, p, begin);
        *out_memory = request.buffer;
        return NOKV_OK;
    }
    uint8_t *copy CLEANUP(mem_free_ptr) = mem_alloc(p->value_size ? p->value_size : 1);
    if (copy == NULL)
        return FAIL(NO_MEMORY, "no memory for a value of %u bytes", p->value_size);
    TRY(vlog_read(r, p, user_key, 0, copy, p->value_size));
    *out_value = slice_make(copy, p->value_size);
    *out_memory = TAKE(copy);
    return NOKV_OK;
}

uint64_t segment_reads(const struct segment *s)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < SEGMENT_SHARDS; i++)
        sum += atomic_load_explicit(&s->reads[i].count, memory_order_relaxed);
    return sum;
}

/* ---- sets ------------------------------------------------------------------------------------------------------- */

struct segment *segment_set_find(const struct segment_set *set, uint64_t number)
{
    size_t low = 0, high = set ? set->count : 0;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (set->segments[mid]->number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return set && low < set->count && set->segments[low]->number == number ? set->segments[low] : NULL;
}

struct decode_call {
    struct slice value;
    struct vlog_pointer *out;
};

static enum nokv_status decode_guarded(void *arg)
{
    const struct decode_call *c = arg;
    return vlog_pointer_decode(c->value, c->out);
}

enum nokv_status segment_pointer(struct slice value, struct vlog_pointer *out_pointer)
{
    struct decode_call c = {.value = value, .out = out_pointer};
    return io_guarded(decode_guarded, &c);
}

enum nokv_status segment_follow(const struct segment_set *set, struct slice value, struct vlog_pointer *out_pointer,
                                struct segment **out_segment)
{
    TRY(segment_pointer(value, out_pointer));
    *out_segment = segment_set_find(set, out_pointer->segment);
    if (UNLIKELY(*out_segment == NULL))
        return FAIL(CORRUPT, "a pointer leads to segment %llu of the value log, which is not there",
                    (unsigned long long)out_pointer->segment);
    return NOKV_OK;
}

void segment_set_unref(struct segment_set *set)
{
    if (set == NULL)
        return;
    /* acq_rel: all use of the set happens before its end */
    uint32_t before = atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1)
        return;
    for (size_t i = 0; i < set->count; i++)
        pinned_unref(&set->segments[i]->object);
    mem_free(set);
}

static struct segment_set *set_alloc(size_t capacity)
{
    struct segment_set *set = mem_alloc(sizeof *set + capacity * sizeof set->segments[0]);
    if (set) {
        atomic_init(&set->refs, 1);
        set->count = 0;
    }
    return set;
}

static void set_append(struct segment_set *set, struct segment *s)
{
    ASSERT(set->count == 0 || set->segments[set->count - 1]->number < s->number);
    pinned_ref(&s->object);
    set->segments[set->count++] = s;
}

/* ---- the list --------------------------------------------------------------------------------------------------- */

/* The index of the first entry whose number is not below. */
static size_t entry_index(const struct nokv_db *db, uint64_t number)
{
    size_t low = 0, high = db->segment_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (db->segments[mid]->desc.number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct segment_entry *segments_find_locked(struct nokv_db *db, uint64_t number)
{
    size_t i = entry_index(db, number);
    return i < db->segment_count && db->segments[i]->desc.number == number ? db->segments[i] : NULL;
}

/* REQUIRES: room was made. */
static void entry_insert(struct nokv_db *db, struct segment_entry *e)
{
    size_t i = entry_index(db, e->desc.number);
    ASSERT(db->segment_count < db->segment_capacity);
    memmove(db->segments + i + 1, db->segments + i, (db->segment_count - i) * sizeof(struct segment_entry *));
    db->segments[i] = e;
    db->segment_count++;
}

static void entry_remove(struct nokv_db *db, uint64_t number)
{
    size_t i = entry_index(db, number);
    ASSERT(i < db->segment_count && db->segments[i]->desc.number == number);
    struct segment_entry *e = db->segments[i];
    ASSERT(e->live_records == 0 && e->users == 0);
    db->segment_count--;
    memmove(db->segments + i, db->segments + i + 1, (db->segment_count - i) * sizeof(struct segment_entry *));
    db->reclaimed_bytes += e->desc.file_bytes;
    atomic_store_explicit(&e->segment->removed, true, memory_order_relaxed);
    pinned_unref(&e->segment->object);
    mem_free(e);
}

bool segment_is_settled_locked(const struct nokv_db *db, const struct segment_entry *e)
{
    return e->segment->writer == NULL && !e->sealing && e->users == 0 && e->last_log < db->log_number;
}

uint64_t segment_bytes_locked(const struct segment_entry *e)
{
    return e->segment->writer ? vlog_writer_bytes(e->segment->writer) : e->desc.file_bytes;
}

/* ---- changing it together with the tree ------------------------------------------------------------------------- */

void segment_change_deinit(struct segment_change *c)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->segments[i])
            pinned_unref(&c->segments[i]->object);
        mem_free(c->added[i]);
    }
    mem_free(c->added);
    mem_free(c->segments);
    segment_set_unref(c->set);
    *c = (struct segment_change){0};
}

static bool edit_removes_segment(const struct edit *edit, uint64_t number)
{
    for (size_t i = 0; i < edit->segment_remove_count; i++)
        if (edit->segment_removes[i] == number)
            return true;
    return false;
}

static int compare_handles(const void *a, const void *b)
{
    const struct segment *x = *(struct segment *const *)a, *y = *(struct segment *const *)b;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* The list as it will be: merge what stays with what is added. */
static enum nokv_status change_set_make(struct nokv_db *db, const struct edit *edit, struct segment_change *c)
{
    c->set = set_alloc(db->segment_count + c->count);
    struct segment **added CLEANUP(mem_free_ptr) = mem_alloc((c->count + 1) * sizeof(struct segment *));
    if (c->set == NULL || added == NULL)
        return FAIL(NO_MEMORY, "no memory for a list of %zu segments", db->segment_count + c->count);
    if (c->count > 0) {
        memcpy(added, c->segments, c->count * sizeof(struct segment *));
        qsort(added, c->count, sizeof(struct segment *), compare_handles);
    }
    size_t i = 0, j = 0;
    while (i < db->segment_count || j < c->count) {
        struct segment *old = i < db->segment_count ? db->segments[i]->segment : NULL;
        if (old == NULL || (j < c->count && added[j]->number <= old->number)) {
            i += old && added[j]->number == old->number; /* a new handle replaces it */
            set_append(c->set, added[j++]);
        } else {
            if (edit == NULL || !edit_removes_segment(edit, old->number))
                set_append(c->set, old);
            i++;
        }
    }
    return NOKV_OK;
}

static enum nokv_status change_reserve(struct nokv_db *db, size_t count, struct segment_change *c)
{
    c->added = mem_zalloc((count + 1) * sizeof(struct segment_entry *));
    c->segments = mem_zalloc((count + 1) * sizeof(struct segment *));
    if (c->added == NULL || c->segments == NULL)
        return FAIL(NO_MEMORY, "no memory for a change of %zu segments", count);
    return mem_grow(&db->segments, &db->segment_capacity, db->segment_count + count, sizeof(struct segment_entry *));
}

/* One more entry, or a new handle for one that is there. Takes `s` on success. */
static enum nokv_status change_add(struct nokv_db *db, struct segment *s, const struct segment_desc *desc,
                                   struct segment_change *c)
{
    if (segments_find_locked(db, desc->number) == NULL) {
        struct segment_entry *e = mem_zalloc(sizeof *e);
        if (e == NULL)
            return FAIL(NO_MEMORY, "no memory for segment %llu of the value log", (unsigned long long)desc->number);
        *e = (struct segment_entry){.segment = s, .desc = *desc, .slot = -1};
        c->added[c->count] = e;
    }
    c->segments[c->count++] = s;
    return NOKV_OK;
}

enum nokv_status segments_prepare_locked(struct nokv_db *db, const struct edit *edit, struct segment_change *out_change)
{
    if (edit->segment_add_count == 0 && edit->segment_remove_count == 0)
        return NOKV_OK;
    ASSERT(db->installing); /* [I3] */
    TRY(change_reserve(db, edit->segment_add_count, out_change));
    for (size_t i = 0; i < edit->segment_add_count; i++) {
        struct segment *s = NULL;
        TRY(segment_create(db, edit->segment_adds[i].number, NULL, &s));
        enum nokv_status status = change_add(db, s, &edit->segment_adds[i], out_change);
        if (status != NOKV_OK) {
            pinned_unref(&s->object);
            return status;
        }
    }
    return change_set_make(db, edit, out_change);
}

/* The entry of an added segment; one that was active has a new handle from now on. */
static void change_commit_one(struct nokv_db *db, struct segment_change *c, size_t i, const struct segment_desc *desc)
{
    struct segment *s = TAKE(c->segments[i]);
    if (c->added[i]) {
        entry_insert(db, TAKE(c->added[i]));
        return;
    }
    struct segment_entry *e = segments_find_locked(db, desc->number);
    ASSERT(e != NULL);
    /* relaxed: a count for people */
    atomic_store_explicit(&s->reads[0].count, segment_reads(e->segment), memory_order_relaxed);
    pinned_ref(&s->object);
    e->segment->successor = s;
    pinned_unref(&e->segment->object);
    e->segment = s;
    e->desc = *desc;
}

static void set_switch_locked(struct nokv_db *db, struct segment_change *c)
{
    segment_set_unref(db->segment_set);
    db->segment_set = TAKE(c->set);
}

static void live_change(struct nokv_db *db, const struct table_desc *t, bool added)
{
    for (size_t i = 0; i < t->ref_count; i++) {
        struct segment_entry *e = segments_find_locked(db, t->refs[i].segment);
        ASSERT(e != NULL); /* [I1] */
        if (added) {
            e->live_records += t->refs[i].records;
            e->live_bytes += t->refs[i].bytes;
        } else {
            ASSERT(e->live_records >= t->refs[i].records && e->live_bytes >= t->refs[i].bytes); /* [I2] */
            e->live_records -= t->refs[i].records;
            e->live_bytes -= t->refs[i].bytes;
        }
    }
}

static void live_commit(struct nokv_db *db, const struct edit *edit, const struct version *old)
{
    for (size_t i = 0; i < edit->add_count; i++)
        live_change(db, &edit->adds[i].table, true);
    for (size_t i = 0; i < edit->remove_count; i++) {
        const struct level *level = &old->levels[edit->removes[i].level];
        for (size_t j = 0; j < level->count; j++)
            if (level->tables[j]->desc.number == edit->removes[i].number)
                live_change(db, &level->tables[j]->desc, false);
    }
}

void segments_commit_locked(struct nokv_db *db, const struct edit *edit, const struct version *old,
                            struct segment_change *change)
{
    for (size_t i = 0; i < edit->segment_add_count; i++)
        change_commit_one(db, change, i, &edit->segment_adds[i]);
    live_commit(db, edit, old);
    for (size_t i = 0; i < edit->segment_remove_count; i++)
        entry_remove(db, edit->segment_removes[i]);
    if (change->set)
        set_switch_locked(db, change);
}

enum nokv_status segments_add_locked(struct nokv_db *db, struct segment *s, const struct segment_desc *desc,
                                     struct segment_entry **out_entry)
{
    struct segment_change c CLEANUP(segment_change_deinit) = {0};
    struct view *view CLEANUP(mem_free_ptr) = NULL;
    ASSERT(!db->installing); /* [I3] */
    TRY(db_view_alloc(&view));
    TRY(change_reserve(db, 1, &c));
    TRY(change_add(db, s, desc, &c));
    enum nokv_status status = change_set_make(db, NULL, &c);
    if (status != NOKV_OK) {
        c.segments[0] = NULL; /* it stays the caller's */
        return status;
    }
    *out_entry = c.added[0];
    change_commit_one(db, &c, 0, desc);
    set_switch_locked(db, &c);
    db_publish_view_locked(db, TAKE(view));
    return NOKV_OK;
}

/* ---- open and close --------------------------------------------------------------------------------------------- */

enum { TAIL_STEP = 1 << 20 };

/* Give back what a crashed writer had reserved and never written to. */
static enum nokv_status recovered_cut(struct io_file *file)
{
    uint64_t size = 0, end = PAGE_BYTES;
    TRY(io_size(file, &size));
    for (uint64_t data = end; end < size; end = data + TAIL_STEP) {
        TRY(io_skip_hole(file, end, &data));
        if (data >= size)
            break;
    }
    if (align_up(end, PAGE_BYTES) >= size)
        return NOKV_OK;
    return io_truncate(file, align_up(end, PAGE_BYTES));
}

/* A footer that was read may be in the page cache only, if its sync failed (rlog/tail.c, write_again). */
static enum nokv_status footer_write_again(struct nokv_db *db, const char *path, struct io_file *file)
{
    uint8_t page[PAGE_BYTES];
    uint64_t size = 0;
    struct io_file *out CLEANUP(io_close_ptr) = NULL;
    TRY(io_size(file, &size));
    TRY(io_pread_exact(file, page, PAGE_BYTES, size - PAGE_BYTES));
    TRY(io_open(db->io, path, IO_VLOG, IO_DIRECT, IO_READ | IO_WRITE, &out));
    return io_pwrite(out, page, PAGE_BYTES, size - PAGE_BYTES);
}

/* The MANIFEST will say the file's size: that is durable first, whatever the process before had left in the page cache.
 */
static enum nokv_status recovered_settle(struct nokv_db *db, const char *path, bool is_sealed)
{
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    TRY(io_open(db->io, path, IO_VLOG, IO_STD, IO_READ | IO_WRITE, &file));
    TRY(is_sealed ? footer_write_again(db, path, file) : recovered_cut(file));
    return io_sync(file);
}

/* What the file is, of one that no MANIFEST describes: a crash left it. */
static enum nokv_status recovered_describe(struct nokv_db *db, uint64_t number, struct segment_desc *out)
{
    char path[PATH_SIZE_MAX];
    struct vlog_reader *r = NULL;
    TRY(path_vlog(path, db->dir, number));
    enum nokv_status status = vlog_reader_open(db->io, path, number, VLOG_READ_PREAD, NULL, NULL, &r);
    if (status == NOKV_ERR_NOT_FOUND)
        return FAIL(CORRUPT, "%s is missing, and values in it are still pointed to", path);
    TRY(status);
    *out = (struct segment_desc){.number = number,
                                 .file_bytes = vlog_reader_info(r).file_bytes,
                                 .origin = SEGMENT_RECOVERED,
                                 .sealed = vlog_reader_is_sealed(r)};
    vlog_reader_unref(r);
    if (db->options.read_only)
        return NOKV_OK;
    TRY(recovered_settle(db, path, out->sealed));
    return io_stat(db->io, path, &out->file_bytes);
}

/* Both files are named: it may be the MANIFEST that is damaged. */
static enum nokv_status segment_file_check(struct nokv_db *db, const char *manifest_path,
                                           const struct segment_desc *desc)
{
    char path[PATH_SIZE_MAX];
    uint64_t size = 0;
    TRY(path_vlog(path, db->dir, desc->number));
    enum nokv_status status = io_stat(db->io, path, &size);
    if (status == NOKV_ERR_NOT_FOUND)
        return FAIL(CORRUPT, "%s is missing, and %s names it", path, manifest_path);
    TRY(status);
    if (size != desc->file_bytes)
        return FAIL(CORRUPT, "%s has %llu bytes, %s says %llu", path, (unsigned long long)size, manifest_path,
                    (unsigned long long)desc->file_bytes);
    return NOKV_OK;
}

static enum nokv_status entry_load(struct nokv_db *db, const struct segment_desc *desc)
{
    TRY(mem_grow(&db->segments, &db->segment_capacity, db->segment_count + 1, sizeof(struct segment_entry *)));
    struct segment_entry *e = mem_zalloc(sizeof *e);
    if (e == NULL)
        return FAIL(NO_MEMORY, "no memory for segment %llu of the value log", (unsigned long long)desc->number);
    *e = (struct segment_entry){.desc = *desc, .slot = -1};
    enum nokv_status status = segment_create(db, desc->number, NULL, &e->segment);
    if (status != NOKV_OK) {
        mem_free(e);
        return status;
    }
    entry_insert(db, e);
    return NOKV_OK;
}

static enum nokv_status recovered_load(struct nokv_db *db, uint64_t number)
{
    struct segment_desc desc;
    if (segments_find_locked(db, number))
        return NOKV_OK;
    TRY(recovered_describe(db, number, &desc));
    return entry_load(db, &desc);
}

static enum nokv_status table_segments_load(struct nokv_db *db, const struct table_desc *t)
{
    for (size_t i = 0; i < t->ref_count; i++)
        TRY(recovered_load(db, t->refs[i].segment));
    live_change(db, t, true);
    return NOKV_OK;
}

static enum nokv_status version_segments_load(struct nokv_db *db)
{
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < db->version->levels[l].count; i++)
            TRY(table_segments_load(db, &db->version->levels[l].tables[i]->desc));
    return NOKV_OK;
}

/* The new MANIFEST's list. */
static enum nokv_status state_list(struct nokv_db *db, struct manifest_state *state)
{
    struct segment_desc *list = mem_alloc((db->segment_count + 1) * sizeof *list);
    if (list == NULL)
        return FAIL(NO_MEMORY, "no memory for a list of %zu segments", db->segment_count);
    for (size_t i = 0; i < db->segment_count; i++)
        list[i] = db->segments[i]->desc;
    manifest_state_deinit(state);
    state->segments = list;
    state->segment_count = db->segment_count;
    return NOKV_OK;
}

enum nokv_status segments_load(struct nokv_db *db, struct manifest_state *state, const uint64_t *recovered,
                               size_t recovered_count, uint64_t last_log)
{
    char manifest_path[PATH_SIZE_MAX];
    struct segment_change c CLEANUP(segment_change_deinit) = {0};
    TRY(path_manifest(manifest_path, db->dir, state->manifest_number));
    for (size_t i = 0; i < state->segment_count; i++) {
        TRY(segment_file_check(db, manifest_path, &state->segments[i]));
        TRY(entry_load(db, &state->segments[i]));
    }
    for (size_t i = 0; i < recovered_count; i++) {
        TRY(recovered_load(db, recovered[i]));
        struct segment_entry *e = segments_find_locked(db, recovered[i]);
        ASSERT(e != NULL);
        e->last_log = last_log;
    }
    TRY(version_segments_load(db));
    TRY(change_set_make(db, NULL, &c));
    set_switch_locked(db, &c);
    return state_list(db, state);
}

void segments_free(struct nokv_db *db)
{
    segment_set_unref(TAKE(db->segment_set));
    for (size_t i = 0; i < db->segment_count; i++) {
        pinned_unref(&db->segments[i]->segment->object);
        mem_free(db->segments[i]);
    }
    db->segment_count = 0;
    mem_free(TAKE(db->segments));
}
