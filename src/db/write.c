// SPDX-License-Identifier: Apache-2.0
/*
 * The write path.
 *
 *      put ─► write_mu ─► WAL record in the shared buffer ─► memtable ─► visible_seq ─► unlock ─► (sync) ─► return
 *      put of a large value ─► value log (direct.c) ─► the same with a pointer
 *
 * A write holds write_mu for a copy into the buffer and one insertion, some hundreds of nanoseconds; nobody holds it
 * over a sync, unless logs change between the two looks of commit.c. Writers that want durability then meet in
 * commit.c.
 *
 * A write is visible to readers as soon as it is in the log and the memtable. For NOKV_SYNC_COMMIT that may be before
 * it is durable; it is acknowledged after.
 *
 * [I1] Sequence numbers are given in log order; a batch is one record and one run of numbers, all in one memtable.
 * [I2] visible_seq is stored (release) after the memtable holds the entries.
 * [I3] When the memtable is full the log changes with it: a log's entries are in the memtable that names it, or newer.
 * [I4] The old log is complete in the page cache, with its seal, before the new one gets a record. It becomes durable
 *      in the background, or superfluous: writes do not wait for that, syncs of the new log do (rlog_hold).
 *
 * Failure: a log write or sync that fails poisons the database (a log with a hole must not go on), except when the file
 * system is full, or memory short, before a byte was written: then only this write fails. Writes that only delete go on
 * longer than others: each log keeps some of its space for them, and when there is no room for the next log they go to
 * a full memtable. So whoever meets a full disk can delete.
 *
 * Why not LevelDB's queue of writers with a leader that inserts for all: with the log in memory the critical section is
 * shorter than handing the work over and waking the owner.
 */
#include "db/db.h"

#include "base/alloc.h"
#include "lsm/names.h"

/* Space is reserved ahead in steps of this: a sync inside of one needs no new size, a small database stays small. A log
 * that is made ahead has a busy database: all that it will need, so that no writer meets the file system's journal. */
enum { WAL_STEP = 16 << 20 };
/* For deletes on a full disk: a sixteenth of a memtable, at the most this much, some 20,000 of them. */
enum { WAL_KEPT_MAX = 1 << 20, WAL_KEPT_PART = 16 };

/* ---- logs ----------------------------------------------------------------------------------------------------- */

/* Called with write_mu held: the log thread moves it to the file meanwhile. */
static void ring_is_full(void *arg)
{
    struct nokv_db *db = arg;
    background_ask(db, &db->wal_full);
}

/* An empty log between two that have records would void the later one: it goes before the next is made. */
static enum nokv_status stray_log_remove(struct nokv_db *db)
{
    char path[PATH_SIZE_MAX];
    if (db->stray_log == 0)
        return NOKV_OK;
    TRY(path_wal(path, db->dir, db->stray_log));
    TRY(io_unlink_if_exists(db->io, path));
    db->stray_log = 0;
    return NOKV_OK;
}

enum nokv_status wal_create(struct nokv_db *db, uint64_t number, bool ahead, struct rlog_writer **out_writer)
{
    char path[PATH_SIZE_MAX];
    TRY(stray_log_remove(db));
    uint64_t kept = u64_min(WAL_KEPT_MAX, db->options.memtable_bytes / WAL_KEPT_PART);
    uint64_t whole = db->options.memtable_bytes + db->options.memtable_bytes / 4 + kept;
    TRY(path_wal(path, db->dir, number));
    struct rlog_writer_options options = {
        .io = db->io,
        .path = path,
        .component = IO_WAL,
        .model = (enum io_model)(db->options.wal_write - NOKV_IO_STD),
        .kind = RLOG_WAL,
        .number = number,
        .preallocate_bytes = ahead ? whole : u64_min(WAL_STEP, whole),
        .kept_bytes = kept,
        .ring = &db->ring,
        .write_chunk_bytes = db->options.wal_buffer_bytes / 16,
        .full = db->options.inline_background_work ? NULL : ring_is_full,
        .full_arg = db,
    };
    enum nokv_status status = rlog_writer_create(&options, db->dir, out_writer);
    if (status != NOKV_OK)
        db->stray_log = number;
    return status == NOKV_ERR_POISONED ? db_poison(db, NOKV_ERR_IO, "a new log could not be synced") : status;
}

static bool is_sealing_locked(const struct nokv_db *db)
{
    for (size_t i = 0; i < db->old_log_count; i++)
        if (db->old_logs[i].sealing)
            return true;
    return false;
}

bool db_has_unsealed_locked(const struct nokv_db *db, uint64_t newest)
{
    for (size_t i = 0; i < db->old_log_count && db->old_logs[i].number <= newest; i++)
        if (db->old_logs[i].writer != NULL)
            return true;
    return false;
}

/* The logs before this one are durable or not needed any more, or will never be: rlog_hold's callback. Without
 * background threads another call may be sealing it, or nobody is, and this one does. */
static enum nokv_status wait_for_seal(void *arg)
{
    struct nokv_db *db = arg;
    mutex_lock(&db->mu);
    if (atomic_load_explicit(&db->unsealed_logs, memory_order_relaxed) > 0) {
        db->seal_wanted = true;
        background_wake_locked(db);
    }
    while (atomic_load_explicit(&db->unsealed_logs, memory_order_relaxed) > 0 &&
           atomic_load_explicit(&db->poisoned, memory_order_relaxed) == NOKV_OK) {
        if (!db->options.inline_background_work || is_sealing_locked(db)) {
            cond_wait(&db->state_cond, &db->mu);
            continue;
        }
        mutex_unlock(&db->mu);
        background_run_inline(db);
        mutex_lock(&db->mu);
    }
    mutex_unlock(&db->mu);
    return db_check_writable(db);
}

/* Memtables that wait for their flush are bounded: wait for one to go, unless that failed for want of space. */
static enum nokv_status wait_for_room_locked(struct nokv_db *db)
{
    uint64_t begin = 0;
    while (db->immutable_count + 1 >= db->options.memtables_max) {
        if (atomic_load_explicit(&db->poisoned, memory_order_relaxed) != NOKV_OK)
            break;
        if (db->soft_error != NOKV_OK) {
            enum nokv_status status = db->soft_error;
            background_wake_locked(db);
            return FAIL_WITH(status, "memtables are full and cannot be flushed: %s", db->soft_message);
        }
        if (begin == 0)
            begin = io_now_ns(db->io);
        background_flush_wait_locked(db);
    }
    if (begin != 0)
        db->stall_ns += io_now_ns(db->io) - begin;
    return NOKV_OK;
}

/* The next log: the one that was made ahead, or one made now. REQUIRES: write_mu, not mu. */
static enum nokv_status next_wal_take(struct nokv_db *db, struct rlog_writer **out_writer)
{
    mutex_lock(&db->mu);
    while (db->making_spare)
        cond_wait(&db->state_cond, &db->mu);
    struct rlog_writer *spare = TAKE(db->spare_wal);
    db->making_spare = spare == NULL; /* recovery goes by the numbers: none may be given to a spare in between */
    mutex_unlock(&db->mu);
    if (spare) {
        *out_writer = spare;
        return NOKV_OK;
    }
    enum nokv_status status = wal_create(db, db_allocate_number(db), false, out_writer);
    mutex_lock(&db->mu);
    db->making_spare = false;
    cond_broadcast(&db->state_cond);
    mutex_unlock(&db->mu);
    return status;
}

static void memtable_unref_ptr(struct memtable **m)
{
    memtable_unref(*m);
}

/* Has anything been synced since the last rotation, or will it be? Asked once per rotation. */
static bool eager_seals_note(struct nokv_db *db)
{
    mutex_lock(&db->sync_mu);
    uint64_t entered = db->sync_entered;
    mutex_unlock(&db->sync_mu);
    bool wants = db->options.sync == NOKV_SYNC_COMMIT || entered != db->rotated_syncs;
    db->rotated_syncs = entered;
    return wants;
}

/* Everything that may fail without harm is done; now the old log and memtable are put aside. */
static void rotate_commit_locked(struct nokv_db *db, struct rlog_writer *next, struct memtable *mem, struct view *view,
                                 bool seals_eagerly)
{
    struct old_log *old = &db->old_logs[db->old_log_count++];
    *old = (struct old_log){.number = rlog_number(db->wal), .writer = db->wal};
    atomic_fetch_add_explicit(&db->unsealed_logs, 1, memory_order_relaxed);
    db->immutables[db->immutable_count++] =
        (struct immutable){.mem = db->mem, .log_number = db->mem_log_number, .last_seq = db->last_seq};
    db->mem = mem;
    db->mem_log_number = rlog_number(next);
    db->mem_value_bytes = 0;
    db->mem_value_bytes_max = collect_mem_values_max_locked(db);
    db->wal = next;
    db->tidy = false;
    db->seals_eagerly = seals_eagerly;
    rlog_write_behind(next, seals_eagerly);
    rlog_hold(next, wait_for_seal, db);
    db->wal_held = true;
    db->spare_asked = false;
    db_update_throttle_locked(db);
    db_publish_view_locked(db, view);
}

enum nokv_status db_rotate(struct nokv_db *db)
{
    struct memtable *mem CLEANUP(memtable_unref_ptr) = NULL;
    struct view *view CLEANUP(mem_free_ptr) = NULL;
    struct rlog_writer *next = NULL;
    background_run_inline(db);
    mutex_lock(&db->mu);
    enum nokv_status status = wait_for_room_locked(db);
    if (status == NOKV_OK)
        status = mem_grow(&db->old_logs, &db->old_log_capacity, db->old_log_count + 1, sizeof *db->old_logs);
    mutex_unlock(&db->mu);
    TRY(status);
    TRY(db_check_writable(db));
    TRY(memtable_create(db->options.memtable_bytes, &db->pool, &mem));
    TRY(db_view_alloc(&view));
    TRY(next_wal_take(db, &next));
    status = rlog_detach(db->wal);
    if (status != NOKV_OK) {
        rlog_writer_destroy(next);
        return db_poison(db, status, "the WAL could not be written");
    }
    bool seals_eagerly = eager_seals_note(db);
    mutex_lock(&db->mu);
    rotate_commit_locked(db, next, TAKE(mem), TAKE(view), seals_eagerly);
    background_wake_locked(db);
    mutex_unlock(&db->mu);
    background_run_inline(db);
    return NOKV_OK;
}

/* ---- one write ------------------------------------------------------------------------------------------------ */

/* A write on its way: its record in parts, and how its entries get into the memtable. */
struct write {
    struct slice parts[4];
    size_t part_count;
    uint8_t header[BATCH_HEADER];
    uint32_t count;
    uint64_t bytes;       /* keys and values, as the user gave them */
    uint64_t log_bytes;   /* as they go to log and memtable */
    uint64_t value_bytes; /* of direct values */
    uint32_t deletes;
    const struct nokv_batch *batch; /* NULL: the single entry below */
    struct ikey key;                /* tag: kind byte, without its sequence number */
    struct slice value;
};

/*
 * The memory debt: nothing until three quarters of all memtables are full, all of it when there is no room for another
 * rotation. Looked at only while a memtable waits.
 */
static uint64_t memory_ns_per_kib(const struct nokv_db *db, uint32_t waiting)
{
    double active = (double)memtable_bytes(db->mem) / (double)db->options.memtable_bytes;
    double full = ((double)waiting + active) / (double)db->options.memtables_max;
    return full <= 0.75 ? 0 : throttle_ns_per_kib((full - 0.75) * 4);
}

/* How long this write has to wait so that all writers together keep to the speed that the debt allows. */
static uint64_t throttle_delay_locked(struct nokv_db *db, uint64_t bytes)
{
    uint64_t ns_per_kib = atomic_load_explicit(&db->level0_ns_per_kib, memory_order_relaxed);
    uint32_t waiting = atomic_load_explicit(&db->waiting_memtables, memory_order_relaxed);
    if (UNLIKELY(waiting > 0))
        ns_per_kib = u64_max(ns_per_kib, memory_ns_per_kib(db, waiting));
    if (LIKELY(ns_per_kib == 0))
        return 0;
    uint64_t now = io_now_ns(db->io), start = u64_max(now, db->throttle_free_ns);
    db->throttle_free_ns = start + bytes * ns_per_kib / 1024;
    uint64_t delay = start - now;
    return delay >= 1000000 ? delay : 0; /* below a millisecond a sleep costs more than it is worth; it adds up */
}

static enum nokv_status batch_insert(struct nokv_db *db, const struct write *w, uint64_t seq)
{
    if (w->batch == NULL) {
        struct ikey key = {.user = w->key.user, .tag = key_tag(seq, tag_kind_byte(w->key.tag))};
        return memtable_add(db->mem, key, w->value);
    }
    struct batch_reader reader = batch_entries(w->batch, seq);
    for (;;) {
        struct batch_entry entry;
        bool more = false;
        TRY(batch_reader_next(&reader, &entry, &more));
        if (!more)
            return NOKV_OK;
        TRY(memtable_add(db->mem, entry.key, entry.value));
    }
}

/* It is small and can wait, when others do. */
static bool wants_flush_for_values(const struct nokv_db *db)
{
    return db->mem_value_bytes >= db->mem_value_bytes_max &&
           atomic_load_explicit(&db->waiting_memtables, memory_order_relaxed) == 0;
}

/* There is room in this memtable and its log: what only the next ones lack is no reason to refuse the write. */
static enum nokv_status rotate_for_values(struct nokv_db *db)
{
    enum nokv_status status = db_rotate(db);
    if (status != NOKV_ERR_NO_SPACE && status != NOKV_ERR_NO_MEMORY)
        return status;
    db->mem_value_bytes_max = db->mem_value_bytes + db->options.vlog_segment_bytes;
    return NOKV_OK;
}

/* What is deleted makes room by and by: see the header of this file. */
static bool only_deletes(const struct write *w)
{
    return w->deletes == w->count;
}

/* The memtable is full. */
static enum nokv_status rotate_for_room(struct nokv_db *db, const struct write *w)
{
    enum nokv_status status = db_rotate(db);
    return status == NOKV_ERR_NO_SPACE && only_deletes(w) ? NOKV_OK : status;
}

static bool wants_spare_log(const struct nokv_db *db)
{
    return memtable_bytes(db->mem) > db->options.memtable_bytes / 2 ||
           db->mem_value_bytes > db->mem_value_bytes_max / 2;
}

static void write_count_locked(struct nokv_db *db, const struct write *w)
{
    db->deletes += w->deletes;
    db->puts += w->count - w->deletes;
    db->batches += w->batch != NULL;
    db->user_bytes += w->bytes;
}

/* REQUIRES: write_mu. *out_end: where its record ends in the log. */
static enum nokv_status write_apply_locked(struct nokv_db *db, struct write *w, uint64_t *out_end)
{
    TRY(db_check_writable(db));
    if (UNLIKELY(memtable_bytes(db->mem) >= db->options.memtable_bytes))
        TRY(rotate_for_room(db, w));
    else if (UNLIKELY(wants_flush_for_values(db)))
        TRY(rotate_for_values(db));
    if (UNLIKELY(db->wal_held) && atomic_load_explicit(&db->unsealed_logs, memory_order_acquire) == 0) {
        rlog_release(db->wal);
        db->wal_held = false;
    }
    if (UNLIKELY(w->value_bytes > 0 && io_shared_is_lost(&db->vlog_buffers)))
        return db_poison(db, FAIL(IO, "%s/VLOGBUF could not be stored into (SIGBUS)", db->dir),
                         "a value may not be where its record says");
    if (db->last_seq > KEY_SEQ_MAX - w->count)
        return FAIL(TOO_LARGE, "the database has used all of its 2^56 sequence numbers");
    uint64_t seq = db->last_seq + 1;
    batch_header_encode(w->header, w->count, seq);
    enum nokv_status status = only_deletes(w) ? rlog_append_kept(db->wal, w->parts, w->part_count)
                                              : rlog_append(db->wal, w->parts, w->part_count);
    if (UNLIKELY(status == NOKV_ERR_NO_SPACE || status == NOKV_ERR_NO_MEMORY))
        return status;
    if (UNLIKELY(status != NOKV_OK))
        return db_poison(db, status, "the WAL could not be written");
    if (UNLIKELY(!db->spare_asked && wants_spare_log(db))) {
        db->spare_asked = true;
        background_ask(db, &db->spare_wanted);
    }
    db->last_seq += w->count;
    db->mem_value_bytes += w->value_bytes;
    status = batch_insert(db, w, seq);
    if (UNLIKELY(status != NOKV_OK)) /* in the log but not in memory: the two must not drift apart */
        return db_poison(db, status, "a write is in the WAL but not in the memtable");
    atomic_store_explicit(&db->visible_seq, db->last_seq, memory_order_release);
    write_count_locked(db, w);
    *out_end = rlog_end(db->wal);
    return NOKV_OK;
}

enum nokv_status write_sync_of(struct nokv_db *db, const nokv_write_options *options, nokv_sync *out_sync)
{
    nokv_write_options given = {.sync = NOKV_SYNC_DEFAULT};
    if (options)
        TRY(call_options_copy(options, "nokv_write_options", sizeof given, &given));
    nokv_sync sync = given.sync;
    if (sync == NOKV_SYNC_DEFAULT)
        sync = db->options.sync;
    if (sync != NOKV_SYNC_NONE && sync != NOKV_SYNC_COMMIT)
        return FAIL(INVALID, "nokv_write_options.sync is %d, which is none of nokv_sync", (int)sync);
    *out_sync = sync;
    return NOKV_OK;
}

/* *out_log: the log that has the record; 0: none has. */
static enum nokv_status write_run(struct nokv_db *db, struct write *w, nokv_sync sync, uint64_t *out_log)
{
    uint64_t end = 0;
    mutex_lock(&db->write_mu);
    enum nokv_status status = write_apply_locked(db, w, &end);
    uint64_t log = status == NOKV_OK ? rlog_number(db->wal) : 0;
    uint64_t delay = status == NOKV_OK ? throttle_delay_locked(db, w->log_bytes) : 0;
    mutex_unlock(&db->write_mu);
    *out_log = log;
    TRY(status);
    atomic_fetch_add_explicit(&db->wal_records, 1, memory_order_relaxed);
    if (sync == NOKV_SYNC_COMMIT)
        TRY(commit_sync(db, log, end));
    if (UNLIKELY(delay > 0)) {
        atomic_fetch_add_explicit(&db->slowdown_ns, delay, memory_order_relaxed);
        io_sleep_ns(db->io, delay);
    }
    return NOKV_OK;
}

/* `value_bytes`: of the direct value that `value` points to. */
static enum nokv_status write_single(struct nokv_db *db, unsigned kind, struct slice key, struct slice value,
                                     uint64_t value_bytes, nokv_sync sync, uint64_t *out_log)
{
    uint8_t head[BATCH_ENTRY_HEAD_MAX];
    struct write w = {.count = 1, .deletes = kind == KEY_TOMBSTONE, .value = value, .value_bytes = value_bytes};
    w.bytes = w.log_bytes = key.size + value.size;
    w.key = (struct ikey){.user = key, .tag = kind};
    w.parts[0] = slice_make(w.header, BATCH_HEADER);
    w.parts[1] = slice_make(head, batch_entry_head_encode(head, kind, key.size, value.size));
    w.parts[2] = key;
    w.parts[3] = value;
    w.part_count = value.size ? 4 : 3;
    return write_run(db, &w, sync, out_log);
}

enum nokv_status db_write_pointer(struct nokv_db *db, struct slice key, const struct vlog_pointer *p,
                                  struct direct_use use, nokv_sync sync)
{
    uint8_t pointer[VLOG_POINTER_SIZE];
    uint64_t log = 0;
    vlog_pointer_encode(p, pointer);
    enum nokv_status status =
        write_single(db, KEY_VALUE_POINTER, key, slice_make(pointer, sizeof pointer), p->value_size, sync, &log);
    direct_end(db, use, log);
    return status;
}

static enum nokv_status put_direct(struct nokv_db *db, struct slice key, struct slice value, nokv_sync sync)
{
    struct direct_use use;
    struct vlog_pointer p;
    TRY(direct_append(db, key, value, &use, &p));
    return db_write_pointer(db, key, &p, use, sync);
}

nokv_status nokv_put(nokv_db *db, const void *key, size_t key_size, const void *value, size_t value_size,
                     const nokv_write_options *options)
{
    nokv_sync sync;
    uint64_t log = 0;
    TRY(key_check(key, key_size));
    TRY(value_check(value, value_size));
    TRY(write_sync_of(db, options, &sync));
    struct slice k = slice_make(key, key_size), v = slice_make(value, value_size);
    if (UNLIKELY(value_size >= db->options.value_direct_min))
        return put_direct(db, k, v, sync);
    return write_single(db, KEY_VALUE, k, v, 0, sync, &log);
}

nokv_status nokv_delete(nokv_db *db, const void *key, size_t key_size, const nokv_write_options *options)
{
    nokv_sync sync;
    uint64_t log = 0;
    TRY(key_check(key, key_size));
    TRY(write_sync_of(db, options, &sync));
    return write_single(db, KEY_TOMBSTONE, slice_make(key, key_size), (struct slice){0}, 0, sync, &log);
}

/* ---- batches with large values ---------------------------------------------------------------------------------- */

/* A copy of a batch in which pointers stand for the large values, and the uses that hold their segments. */
struct direct_batch {
    struct nokv_batch batch;
    bool is_large; /* its values go to segments of its own */
    struct direct_use *uses;
    size_t use_count, use_capacity;
    uint64_t value_bytes; /* of those in segments */
};

static enum nokv_status direct_batch_add(struct nokv_db *db, struct direct_batch *d, const struct batch_entry *e)
{
    struct vlog_pointer p;
    uint8_t pointer[VLOG_POINTER_SIZE];
    unsigned kind = tag_kind_byte(e->key.tag);
    if (kind != KEY_VALUE || e->value.size < db->options.value_direct_min)
        return batch_append(&d->batch, kind, e->key.user, e->value);
    TRY(mem_grow(&d->uses, &d->use_capacity, d->use_count + 1, sizeof *d->uses));
    struct direct_use *use = &d->uses[d->use_count];
    if (d->is_large)
        TRY(direct_append_own(db, d->use_count > 0 ? use - 1 : NULL, e->key.user, e->value, use, &p));
    else
        TRY(direct_append(db, e->key.user, e->value, use, &p));
    d->use_count++;
    d->value_bytes += e->value.size;
    vlog_pointer_encode(&p, pointer);
    return batch_append(&d->batch, KEY_VALUE_POINTER, e->key.user, slice_make(pointer, sizeof pointer));
}

static enum nokv_status direct_batch_fill(struct nokv_db *db, struct direct_batch *d, const struct nokv_batch *from)
{
    struct batch_reader reader = batch_entries(from, 1);
    for (;;) {
        struct batch_entry entry;
        bool more = false;
        TRY(batch_reader_next(&reader, &entry, &more));
        if (!more)
            return NOKV_OK;
        TRY(direct_batch_add(db, d, &entry));
    }
}

static enum nokv_status write_batch(struct nokv_db *db, const struct nokv_batch *batch, uint64_t user_bytes,
                                    uint64_t value_bytes, nokv_sync sync, uint64_t *out_log)
{
    struct write w = {.count = batch->count,
                      .bytes = user_bytes,
                      .value_bytes = value_bytes,
                      .deletes = batch->deletes,
                      .batch = batch};
    w.log_bytes = batch->payload_bytes;
    w.parts[0] = slice_make(w.header, BATCH_HEADER);
    w.parts[1] = slice_make(batch->bytes.data + BATCH_HEADER, batch->bytes.size - BATCH_HEADER);
    w.part_count = 2;
    return write_run(db, &w, sync, out_log);
}

static enum nokv_status write_direct_batch(struct nokv_db *db, const struct nokv_batch *batch, nokv_sync sync)
{
    struct direct_batch d = {.is_large = direct_is_large(db, batch->payload_bytes)};
    uint64_t log = 0;
    enum nokv_status status = direct_batch_fill(db, &d, batch);
    if (status == NOKV_OK && d.is_large)
        status = direct_flush_own(db, d.uses, d.use_count);
    if (status == NOKV_OK)
        status = write_batch(db, &d.batch, batch->payload_bytes, d.value_bytes, sync, &log);
    for (size_t i = 0; i < d.use_count; i++)
        direct_end(db, d.uses[i], log);
    mem_free(d.uses);
    buf_deinit(&d.batch.bytes);
    return status;
}

nokv_status nokv_write(nokv_db *db, nokv_batch *batch, const nokv_write_options *options)
{
    nokv_sync sync;
    uint64_t log = 0;
    if (batch == NULL)
        return FAIL(INVALID, "nokv_write: batch is NULL");
    TRY(write_sync_of(db, options, &sync));
    if (batch->count == 0)
        return db_check_writable(db);
    if (batch->value_size_max >= db->options.value_direct_min)
        return write_direct_batch(db, batch, sync);
    return write_batch(db, batch, batch->payload_bytes, 0, sync, &log);
}
