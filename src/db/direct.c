// SPDX-License-Identifier: Apache-2.0
/*
 * Values that are written to the value log ahead of the WAL record that points to them, so that their bytes go to the
 * device once.
 *
 *      direct_append: (mu) active segment, one more user ─► copy into shared buffers, or pwrite, without a lock
 *                 ─► the caller's log record ─► direct_end: (mu) the log's number is noted, one user less
 *
 * The order on disk is value bytes, then the record, then the acknowledgement. Against the death of the process it
 * holds because the writer's buffers are shared memory (VLOGBUF) as the log's are; against a power cut because whoever
 * syncs a log calls segments_sync first [S3 of segments.h], and because recovery cuts the log's unsynced tail at the
 * first record whose value is not there.
 *
 * [I1] A segment is published to readers before anything is appended to it.
 * [I2] It is sealed when it is full and its last user has gone: no record can still be on its way to a log then, so
 *      last_log is final.
 * [I3] Each segment that is written side by side has shared buffers of its own (a slot), until it is sealed. A stream's
 *      segment needs none: its bytes are written before it is committed.
 * [I4] Nobody waits for a user, who may be waiting for the same thing, or be oneself: when all slots are held by full
 *      segments with users, a value gets a segment of its own. To keep that rare, a batch that is large has its own
 *      segments anyway, and streams, which may stay open for as long as their owners like, hold at most one slot.
 *
 * Failure: a value that could not be written is an error of that write alone; its place is garbage. A failed sync is
 * final for the database (db_poison), as for a log.
 *
 * Why not one writer thread: appends of different threads are copied side by side, and the lock is held for two short
 * moments per value of 16 KiB or more.
 */
#include "base/alloc.h"
#include "db/db.h"
#include "lsm/names.h"

/* Space is reserved ahead in steps of this: fewer changes of the file's size for a sync to write. */
enum { SEGMENT_STEP = 64 << 20 };

/* ---- making a segment ------------------------------------------------------------------------------------------- */

/* The shared buffers, with the first direct value. What an earlier process left in them has been rescued by now. */
static enum nokv_status buffers_open(struct nokv_db *db)
{
    char path[PATH_SIZE_MAX];
    if (db->vlog_buffers.data)
        return NOKV_OK;
    TRY(path_vlogbuf(path, db->dir));
    size_t size = SEGMENT_SLOTS * vlog_shared_bytes(vlog_buffer_bytes(db->options.vlog_segment_bytes));
    enum nokv_status status = io_shared_open(db->io, path, size, &db->vlog_buffers);
    if (status != NOKV_ERR_EXISTS)
        return status;
    TRY(io_unlink(db->io, path)); /* another size: of another version */
    return io_shared_open(db->io, path, size, &db->vlog_buffers);
}

/* An appender left a full buffer: the log thread writes it while the next one fills. */
static void buffer_is_full(void *arg)
{
    struct nokv_db *db = arg;
    background_ask(db, &db->values_full);
}

/* `slot` -1: without shared buffers. `ahead`: reserve its blocks before they are written. No lock held. */
static enum nokv_status segment_make(struct nokv_db *db, int slot, bool ahead, struct segment **out_segment)
{
    char dir[PATH_SIZE_MAX], path[PATH_SIZE_MAX];
    uint64_t number = db_allocate_number(db);
    TRY(path_vlog_dir(dir, db->dir));
    TRY(path_vlog(path, db->dir, number));
    if (slot >= 0)
        TRY(buffers_open(db));
    struct vlog_writer_options options = {.io = db->io,
                                          .path = path,
                                          .dir = dir,
                                          .component = IO_VLOG,
                                          .model = (enum io_model)(db->options.vlog_write - NOKV_IO_STD),
                                          .number = number,
                                          .preallocate_bytes =
                                              ahead ? u64_min(SEGMENT_STEP, db->options.vlog_segment_bytes) : 0,
                                          .buffer_bytes = vlog_buffer_bytes(db->options.vlog_segment_bytes)};
    if (slot >= 0 && !db->options.inline_background_work) {
        options.full = buffer_is_full;
        options.full_arg = db;
    }
    if (slot >= 0)
        options.shared = db->vlog_buffers.data + (size_t)slot * vlog_shared_bytes(options.buffer_bytes);
    struct vlog_writer *writer = NULL;
    enum nokv_status status = vlog_writer_create(&options, &writer);
    if (status == NOKV_ERR_POISONED)
        return db_poison(db, NOKV_ERR_IO, "a new segment of the value log could not be synced");
    TRY(status);
    status = segment_create(db, number, writer, out_segment);
    if (status != NOKV_OK) {
        vlog_writer_destroy(writer);
        (void)!io_unlink(db->io, path); /* an orphan otherwise, for the next open */
    }
    return status;
}

/* Nobody uses it: as if it had never been. */
static void segment_unmake(struct segment *s)
{
    atomic_store_explicit(&s->removed, true, memory_order_relaxed);
    pinned_unref(&s->object);
}

static enum nokv_status writable_locked(const struct nokv_db *db)
{
    if (atomic_load_explicit(&db->poisoned, memory_order_acquire) != NOKV_OK)
        return FAIL(POISONED, "%s takes no more writes since: %s", db->dir, db->poison_message);
    return NOKV_OK;
}

/* Publish what segment_make made, with one user. Takes `s`. Waits while an edit is being installed. */
static enum nokv_status segment_publish_locked(struct nokv_db *db, struct segment *s, int slot,
                                               struct segment_entry **out_entry)
{
    ASSERT(s != NULL);
    struct segment_desc desc = {.number = s->number, .file_bytes = PAGE_BYTES, .origin = SEGMENT_DIRECT};
    while (db->installing)
        cond_wait(&db->state_cond, &db->mu);
    enum nokv_status status = segments_add_locked(db, s, &desc, out_entry);
    if (status != NOKV_OK) {
        segment_unmake(s);
        return status;
    }
    (*out_entry)->slot = slot;
    (*out_entry)->users = 1;
    atomic_fetch_add_explicit(&db->segment_writers, 1, memory_order_relaxed);
    return NOKV_OK;
}

/* A slot, taken; -1: none is free. */
static int slot_take_locked(struct nokv_db *db)
{
    for (int i = 0; i < SEGMENT_SLOTS; i++)
        if (!db->slot_used[i]) {
            db->slot_used[i] = true;
            return i;
        }
    return -1;
}

/* The next active segment, with one user. Lets go of mu. */
static enum nokv_status active_make_locked(struct nokv_db *db, int slot, struct segment_entry **out_entry)
{
    struct segment *s = NULL;
    db->making_segment = true;
    mutex_unlock(&db->mu);
    enum nokv_status status = segment_make(db, slot, true, &s);
    mutex_lock(&db->mu);
    if (status == NOKV_OK)
        status = segment_publish_locked(db, s, slot, out_entry);
    if (status == NOKV_OK)
        db->active_segment = *out_entry;
    else
        db->slot_used[slot] = false;
    db->making_segment = false;
    cond_broadcast(&db->state_cond);
    return status;
}

static bool slot_is_free_locked(const struct nokv_db *db)
{
    for (int i = 0; i < SEGMENT_SLOTS; i++)
        if (!db->slot_used[i])
            return true;
    return false;
}

/* Wait until something changes that lets a segment be made: another thread makes one, or one is sealed. What failed
 * before for want of space is tried again, now or (with threads) by the time the next write comes. */
static enum nokv_status active_wait_locked(struct nokv_db *db)
{
    bool failed = !db->making_segment && db->soft_error != NOKV_OK;
    if (!db->making_segment && db->options.inline_background_work) {
        mutex_unlock(&db->mu);
        background_run_inline(db);
        mutex_lock(&db->mu);
        TRY(writable_locked(db)); /* not what was soft before */
        failed = db->soft_error != NOKV_OK && !slot_is_free_locked(db);
        if (!failed)
            return NOKV_OK;
    }
    background_wake_locked(db);
    if (failed)
        return FAIL_WITH(db->soft_error, "segments of the value log cannot be closed: %s", db->soft_message);
    cond_wait(&db->state_cond, &db->mu);
    return NOKV_OK;
}

static void active_retire_locked(struct nokv_db *db)
{
    db->active_segment->full = true;
    db->active_segment = NULL;
    background_wake_locked(db);
}

/* [I4] None is free, and none will be before a user leaves. */
static bool slots_are_stuck_locked(const struct nokv_db *db)
{
    int stuck = 0;
    for (size_t i = 0; i < db->segment_count; i++) {
        const struct segment_entry *e = db->segments[i];
        stuck += e->slot >= 0 && e->full && e->users > 0;
    }
    return stuck == SEGMENT_SLOTS;
}

/* The active segment, with one more user; NULL: a segment of its own is to be used. */
static enum nokv_status active_use_locked(struct nokv_db *db, struct segment_entry **out_entry)
{
    for (;;) {
        TRY(writable_locked(db));
        struct segment_entry *e = db->active_segment;
        if (e && vlog_writer_bytes(e->segment->writer) < db->options.vlog_segment_bytes) {
            e->users++;
            *out_entry = e;
            return NOKV_OK;
        }
        if (e)
            active_retire_locked(db);
        int slot = db->making_segment ? -1 : slot_take_locked(db);
        if (slot >= 0)
            return active_make_locked(db, slot, out_entry);
        if (slots_are_stuck_locked(db)) {
            *out_entry = NULL;
            return NOKV_OK;
        }
        TRY(active_wait_locked(db));
    }
}

/* ---- one value -------------------------------------------------------------------------------------------------- */

static enum nokv_status append_failed(struct nokv_db *db, enum nokv_status status)
{
    return status == NOKV_ERR_POISONED ? db_poison(db, status, "the value log could not be synced") : status;
}

/* A segment for one stream, value or batch alone, with one user. */
static enum nokv_status private_use(struct nokv_db *db, bool ahead, struct segment_entry **out_entry)
{
    struct segment *s = NULL;
    TRY(segment_make(db, -1, ahead, &s));
    mutex_lock(&db->mu);
    enum nokv_status status = segment_publish_locked(db, s, -1, out_entry);
    if (status == NOKV_OK)
        (*out_entry)->full = true;
    mutex_unlock(&db->mu);
    return status;
}

/* `flush`: the segment has no shared buffers, the record is to survive the process in its file. Ends the use on
 * failure. */
static enum nokv_status use_append(struct nokv_db *db, struct direct_use use, bool flush, struct slice key,
                                   struct slice value, struct vlog_pointer *out_pointer)
{
    struct ikey record_key = {.user = key, .tag = key_tag(0, KEY_VALUE)};
    enum nokv_status status = vlog_append(use.entry->segment->writer, record_key, value, out_pointer);
    if (status == NOKV_OK && flush)
        status = vlog_writer_flush(use.entry->segment->writer);
    if (status != NOKV_OK) {
        direct_end(db, use, 0);
        return append_failed(db, status);
    }
    atomic_fetch_add_explicit(&db->direct_bytes, value.size, memory_order_relaxed);
    return NOKV_OK;
}

enum nokv_status direct_append(struct nokv_db *db, struct slice key, struct slice value, struct direct_use *out_use,
                               struct vlog_pointer *out_pointer)
{
    struct direct_use use = {0};
    TRY(db_check_writable(db));
    mutex_lock(&db->mu);
    enum nokv_status status = active_use_locked(db, &use.entry);
    mutex_unlock(&db->mu);
    TRY(status);
    bool is_own = use.entry == NULL;
    if (is_own)
        TRY(private_use(db, true, &use.entry));
    TRY(use_append(db, use, is_own, key, value, out_pointer));
    *out_use = use;
    return NOKV_OK;
}

bool direct_is_large(const struct nokv_db *db, uint64_t bytes)
{
    return bytes > db->options.vlog_segment_bytes / 4;
}

enum nokv_status direct_append_own(struct nokv_db *db, const struct direct_use *previous, struct slice key,
                                   struct slice value, struct direct_use *out_use, struct vlog_pointer *out_pointer)
{
    struct direct_use use = {0};
    TRY(db_check_writable(db));
    if (previous && vlog_writer_bytes(previous->entry->segment->writer) < db->options.vlog_segment_bytes) {
        use = *previous;
        mutex_lock(&db->mu);
        use.entry->users++;
        mutex_unlock(&db->mu);
    } else {
        TRY(private_use(db, true, &use.entry));
    }
    TRY(use_append(db, use, false, key, value, out_pointer));
    *out_use = use;
    return NOKV_OK;
}

enum nokv_status direct_flush_own(struct nokv_db *db, const struct direct_use *uses, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i + 1 < count && uses[i + 1].entry == uses[i].entry)
            continue;
        enum nokv_status status = vlog_writer_flush(uses[i].entry->segment->writer);
        if (status != NOKV_OK)
            return append_failed(db, status);
    }
    return NOKV_OK;
}

void direct_end(struct nokv_db *db, struct direct_use use, uint64_t log)
{
    mutex_lock(&db->mu);
    ASSERT(use.entry->users > 0);
    use.entry->last_log = u64_max(use.entry->last_log, log);
    use.entry->users--;
    if (use.entry->users == 0 && use.entry->full)
        background_wake_locked(db);
    mutex_unlock(&db->mu);
}

/* [I4] May a stream join the active segment, or make it? Not while another one still has its slot. */
static bool active_takes_streams_locked(const struct nokv_db *db)
{
    const struct segment_entry *e = db->active_segment;
    int own = e && vlog_writer_bytes(e->segment->writer) < db->options.vlog_segment_bytes ? e->slot : -1;
    for (int i = 0; i < SEGMENT_SLOTS; i++)
        if (db->slot_used[i] && i != own)
            return false;
    return true;
}

enum nokv_status direct_stream_begin(struct nokv_db *db, struct slice key, uint64_t size_max,
                                     struct direct_use *out_use, struct vlog_stream **out_stream)
{
    struct direct_use use = {0};
    enum nokv_status status;
    TRY(db_check_writable(db));
    bool is_large = size_max == 0 || direct_is_large(db, size_max);
    mutex_lock(&db->mu);
    status = is_large || !active_takes_streams_locked(db) ? NOKV_OK : active_use_locked(db, &use.entry);
    mutex_unlock(&db->mu);
    TRY(status);
    if (use.entry == NULL) /* of an unknown size: not the largest there is, which the disk may not have */
        TRY(private_use(db, size_max != 0, &use.entry));
    status = vlog_stream_begin(use.entry->segment->writer, key, size_max ? size_max : NOKV_VALUE_SIZE_MAX, out_stream);
    if (status != NOKV_OK) {
        direct_end(db, use, 0);
        return append_failed(db, status);
    }
    *out_use = use;
    return NOKV_OK;
}

/* ---- durable ---------------------------------------------------------------------------------------------------- */

/* The first segment above `number` that is being written, pinned. */
static struct segment *next_writer(struct nokv_db *db, uint64_t number)
{
    struct segment *found = NULL;
    mutex_lock(&db->mu);
    for (size_t i = 0; i < db->segment_count && found == NULL; i++)
        if (db->segments[i]->desc.number > number && db->segments[i]->segment->writer)
            found = db->segments[i]->segment;
    if (found)
        segment_pin(found);
    mutex_unlock(&db->mu);
    return found;
}

enum nokv_status segments_sync(struct nokv_db *db)
{
    /* relaxed: who appended has been through mu, and through write_mu or a lock of the log since */
    if (atomic_load_explicit(&db->segment_writers, memory_order_relaxed) == 0)
        return NOKV_OK;
    TRY(epoch_register());
    for (uint64_t number = 0;;) {
        struct segment *s = next_writer(db, number);
        if (s == NULL)
            return NOKV_OK;
        number = s->number;
        enum nokv_status status = vlog_writer_sync(s->writer);
        segment_unpin(s);
        TRY(status);
    }
}

void segments_write_full(struct nokv_db *db)
{
    if (epoch_register() != NOKV_OK)
        return; /* without memory: the appenders write them */
    for (uint64_t number = 0;;) {
        struct segment *s = next_writer(db, number);
        if (s == NULL)
            return;
        number = s->number;
        enum nokv_status status = vlog_writer_write_full(s->writer);
        (void)status; /* it stays, and is for who needs the buffer */
        segment_unpin(s);
    }
}

/* ---- sealing ---------------------------------------------------------------------------------------------------- */

struct segment_entry *segments_pick_seal_locked(struct nokv_db *db)
{
    for (size_t i = 0; i < db->segment_count; i++) {
        struct segment_entry *e = db->segments[i];
        if (!e->full || e->users > 0 || e->sealing || e->segment->writer == NULL)
            continue;
        e->sealing = true;
        return e;
    }
    return NULL;
}

static enum nokv_status seal_edit(struct segment_entry *e, struct edit *edit)
{
    struct segment_desc desc = {.number = e->desc.number,
                                .file_bytes = vlog_writer_info(e->segment->writer).file_bytes,
                                .origin = SEGMENT_DIRECT,
                                .sealed = true};
    return edit_add_segment(edit, &desc);
}

static enum nokv_status seal_install_locked(struct nokv_db *db, struct segment_entry *e, struct edit *edit)
{
    if (e->slot >= 0)
        db->slot_used[e->slot] = false; /* [I3] a sealed writer does not touch it any more */
    e->slot = -1;
    cond_broadcast(&db->state_cond);
    enum nokv_status status = db_install_locked(db, edit, NULL, 0, false);
    if (status == NOKV_OK)
        atomic_fetch_sub_explicit(&db->segment_writers, 1, memory_order_relaxed);
    return status;
}

enum nokv_status segment_seal_run(struct nokv_db *db, struct segment_entry *e)
{
    struct edit edit CLEANUP(edit_deinit) = {0};
    enum nokv_status status = vlog_writer_seal(e->segment->writer);
    if (status == NOKV_OK)
        status = seal_edit(e, &edit);
    mutex_lock(&db->mu);
    if (status == NOKV_OK)
        status = seal_install_locked(db, e, &edit);
    e->sealing = false; /* with the lock held since the install: from here on it may be removed */
    mutex_unlock(&db->mu);
    return status;
}

static enum nokv_status seal_all(struct nokv_db *db)
{
    mutex_lock(&db->mu);
    if (db->active_segment)
        active_retire_locked(db);
    mutex_unlock(&db->mu);
    for (;;) {
        mutex_lock(&db->mu);
        struct segment_entry *e = segments_pick_seal_locked(db);
        mutex_unlock(&db->mu);
        if (e == NULL)
            return NOKV_OK;
        TRY(segment_seal_run(db, e));
    }
}

enum nokv_status segments_close(struct nokv_db *db)
{
    struct edit edit CLEANUP(edit_deinit) = {0};
    bool found = false;
    TRY(seal_all(db));
    mutex_lock(&db->mu);
    enum nokv_status status = collect_pick_dead_locked(db, &edit, &found);
    if (status == NOKV_OK && found)
        status = db_install_locked(db, &edit, NULL, 0, false);
    mutex_unlock(&db->mu);
    return status;
}
