// SPDX-License-Identifier: Apache-2.0
/*
 * Opening and closing.
 *
 *   lock ─► CURRENT, MANIFEST ─► tables opened (not read) ─► logs replayed, each made durable, void ones removed
 *        ─► segments of the value log listed (not read)
 *        ─► new MANIFEST, CURRENT switched ─► new log ─► orphans removed ─► view published ─► threads
 *
 * Recovery time depends on what was not flushed, never on the size of the tables. A crash anywhere on the way leaves
 * a state from which the same steps work: nothing is deleted before CURRENT names a MANIFEST that does not need it,
 * except logs behind a torn one, which hold nothing that counts.
 *
 * Read-only: the same without any step that writes; records that only the shared buffer has are read from it.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "db/db.h"
#include "lsm/names.h"

/* From more logs than the first number on, what they hold is flushed soon; from more than the second on, before the
 * open returns: a database that is opened and closed in quick succession would never get to it. */
enum { OLD_LOGS_KEPT_MAX = 4, OLD_LOGS_MAX = 8 };
#define LONG_SCAN_BYTES (4ull << 20) /* or a 64th of the memory, if that is less */
#define MEMORY_UNKNOWN (8ull << 30)  /* where the kernel does not say how much there is */

/* ---- allocation ------------------------------------------------------------------------------------------------- */

static struct nokv_db *db_create(struct io *io, const char *path, const nokv_options *options)
{
    struct nokv_db *db = mem_alloc_aligned(CACHE_LINE, sizeof *db);
    if (db == NULL)
        return NULL;
    memset(db, 0, sizeof *db);
    db->dir = mem_strdup(path);
    if (db->dir == NULL) {
        mem_free(db);
        return NULL;
    }
    for (size_t n = strlen(db->dir); n > 1 && db->dir[n - 1] == '/'; n--)
        db->dir[n - 1] = 0;
    db->io = io;
    db->options = *options;
    db->picker = (struct picker_options){.level_base_bytes = options->level_base_bytes,
                                         .level_ratio = options->level_ratio,
                                         .table_bytes = options->table_bytes,
                                         .l0_compact_files = options->l0_compact_files,
                                         .l0_busy_files = options->l0_busy_files};
    db->sst.block_bytes = options->block_bytes;
    db->sst.filter_bits_per_key = options->filter_bits_per_key == UINT32_MAX ? 0 : options->filter_bits_per_key;
    db->env = (struct table_env){.io = io, .dir = db->dir, .obsolete = db_obsolete_table};
    db->snapshots.prev = db->snapshots.next = &db->snapshots;
    /* Two memtables take turns while the flush keeps up with the writes; the third begins meanwhile. */
    arena_pool_init(&db->pool, options->memtable_bytes * 5 / 2,
                    options->inline_background_work ? NULL : background_want_memory, db);
    mutex_init(&db->write_mu);
    mutex_init(&db->mu);
    mutex_init(&db->sync_mu);
    mutex_init(&db->obsolete_mu);
    mutex_init(&db->env.names_mu);
    cond_init(&db->work_cond);
    cond_init(&db->log_cond);
    cond_init(&db->state_cond);
    cond_init(&db->sync_done[0]);
    cond_init(&db->sync_done[1]);
    cond_init(&db->sync_gathered);
    cond_init(&db->sync_cond);
    return db;
}

/* Everything that is left goes; background threads are stopped. Accepts a half-opened database. */
static void db_free(struct nokv_db *db)
{
    struct view *v = atomic_exchange_explicit(&db->view, NULL, memory_order_seq_cst);
    if (v)
        view_unref(v); /* no reader is left: nothing to wait for */
    for (size_t i = 0; i < db->immutable_count; i++)
        memtable_unref(db->immutables[i].mem);
    for (size_t i = 0; i < db->old_log_count; i++)
        rlog_writer_destroy(db->old_logs[i].writer);
    memtable_unref(db->mem);
    rlog_writer_destroy(db->wal);
    rlog_writer_destroy(db->spare_wal);
    manifest_destroy(db->manifest);
    version_unref(db->version);
    segments_free(db);
    epoch_drain(); /* tables, segments and memtables of this database retire through the epochs: they use io and env */
    cache_destroy(db->cache);
    arena_pool_deinit(&db->pool);
    io_shared_close(&db->ring);
    io_shared_close(&db->vlog_buffers);
    if (!db->options.read_only)
        background_unlink_obsolete(db);
    io_unlock(db->lock);
    mutex_deinit(&db->write_mu);
    mutex_deinit(&db->mu);
    mutex_deinit(&db->sync_mu);
    mutex_deinit(&db->obsolete_mu);
    mutex_deinit(&db->env.names_mu);
    cond_deinit(&db->work_cond);
    cond_deinit(&db->log_cond);
    cond_deinit(&db->state_cond);
    cond_deinit(&db->sync_done[0]);
    cond_deinit(&db->sync_done[1]);
    cond_deinit(&db->sync_gathered);
    cond_deinit(&db->sync_cond);
    mem_free(db->obsolete);
    mem_free(db->old_logs);
    mem_free(db->dir);
    io_guard_remove();
    if (db->owns_io)
        io_destroy(db->io);
    mem_free(db);
}

/* ---- what is there ---------------------------------------------------------------------------------------------- */

static enum nokv_status refuse_orphan(void *arg, const char *name)
{
    uint64_t number;
    enum file_type type = file_type_of(name, &number);
    if (type == FILE_SST || type == FILE_WAL || type == FILE_VLOG)
        return FAIL(CORRUPT, "%s holds %s but no CURRENT: a database whose CURRENT is lost, not a new one",
                    (const char *)arg, name);
    return NOKV_OK;
}

static enum nokv_status directory_prepare(struct nokv_db *db, bool *out_exists)
{
    char lock_path[PATH_SIZE_MAX];
    TRY(path_lock(lock_path, db->dir));
    bool read_only = db->options.read_only;
    bool exists = false;
    TRY(manifest_exists(db->io, db->dir, &exists));
    if (!exists && (read_only || !db->options.create_if_missing)) {
        if (io_list(db->io, db->dir, refuse_orphan, db->dir) == NOKV_ERR_CORRUPT)
            return NOKV_ERR_CORRUPT;
        return FAIL(NOT_FOUND, "%s holds no database (there is no %s/CURRENT)", db->dir, db->dir);
    }
    if (!exists) {
        enum nokv_status status = io_mkdir(db->io, db->dir);
        if (status != NOKV_OK && status != NOKV_ERR_EXISTS)
            return status;
    }
    TRY(io_lock(db->io, lock_path, !read_only, &db->lock));
    /* again: somebody else may have made it before we had the lock */
    TRY(manifest_exists(db->io, db->dir, out_exists));
    if (*out_exists && db->options.error_if_exists)
        return FAIL(EXISTS, "%s holds a database already", db->dir);
    if (!*out_exists) {
        char *dir = db->dir;
        TRY(io_list(db->io, db->dir, refuse_orphan, dir));
    }
    return NOKV_OK;
}

/* The directory's own entry must outlast a power cut as well. */
static enum nokv_status parent_sync(struct nokv_db *db)
{
    char parent[PATH_SIZE_MAX];
    const char *slash = strrchr(db->dir, '/');
    if (slash == NULL)
        snprintf(parent, sizeof parent, ".");
    else if (slash == db->dir)
        snprintf(parent, sizeof parent, "/");
    else
        snprintf(parent, sizeof parent, "%.*s", (int)(slash - db->dir), db->dir);
    return io_sync_dir(db->io, parent);
}

/* ---- recovery --------------------------------------------------------------------------------------------------- */

static enum nokv_status state_load(struct nokv_db *db, bool exists, struct manifest_state *state)
{
    if (exists)
        return manifest_recover(&db->env, state);
    *state = (struct manifest_state){.next_number = 1, .log_number = 1};
    return version_create_empty(&state->version);
}

/* What was replayed becomes the active memtable, or, when it is large or stands on many logs, the first to be flushed.
 */
static enum nokv_status memtables_setup(struct nokv_db *db, struct recovery *r, uint64_t log_number, uint64_t new_log)
{
    db->last_seq = r->last_seq;
    atomic_store_explicit(&db->visible_seq, r->last_seq, memory_order_release);
    db->recovered_records = r->records;
    db->recovered_cut_bytes = r->cut_bytes;
    TRY(mem_grow(&db->old_logs, &db->old_log_capacity, r->used, sizeof *db->old_logs));
    for (size_t i = 0; i < r->used; i++)
        db->old_logs[db->old_log_count++] = (struct old_log){.number = r->logs[i]};
    db->mem_value_bytes_max = db->options.vlog_segment_bytes;
    bool empty = memtable_count(r->mem) == 0;
    db->log_number = empty ? new_log : log_number;
    if (empty || (memtable_bytes(r->mem) < db->options.memtable_bytes / 2 && r->used <= OLD_LOGS_KEPT_MAX)) {
        db->mem = TAKE(r->mem);
        db->mem_log_number = db->log_number;
        return NOKV_OK;
    }
    TRY(memtable_create(db->options.memtable_bytes, &db->pool, &db->mem));
    db->mem_log_number = new_log;
    db->immutables[db->immutable_count++] =
        (struct immutable){.mem = r->mem, .log_number = log_number, .last_seq = r->last_seq};
    r->mem = NULL;
    return NOKV_OK;
}

static enum nokv_status shared_buffer_open(struct nokv_db *db)
{
    char path[PATH_SIZE_MAX];
    TRY(path_walbuf(path, db->dir));
    enum nokv_status status = io_shared_open(db->io, path, db->options.wal_buffer_bytes, &db->ring);
    if (status != NOKV_ERR_EXISTS)
        return status;
    TRY(io_unlink(db->io, path)); /* another size; its records are in the repaired log by now */
    return io_shared_open(db->io, path, db->options.wal_buffer_bytes, &db->ring);
}

static bool version_has(const struct version *v, uint64_t number)
{
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < v->levels[l].count; i++)
            if (v->levels[l].tables[i]->desc.number == number)
                return true;
    return false;
}

/* What a crash left of the value log: segments that nothing points to. */
static enum nokv_status segment_orphan_remove(void *arg, const char *name)
{
    struct nokv_db *db = arg;
    uint64_t number;
    char path[PATH_SIZE_MAX];
    if (file_type_of(name, &number) != FILE_VLOG || segments_find_locked(db, number))
        return NOKV_OK;
    TRY(path_vlog(path, db->dir, number));
    return io_unlink(db->io, path);
}

/* The directory of the value log is there, durably. */
static enum nokv_status vlog_dir_prepare(struct nokv_db *db)
{
    char path[PATH_SIZE_MAX];
    TRY(path_vlog_dir(path, db->dir));
    enum nokv_status status = io_mkdir(db->io, path);
    if (status == NOKV_ERR_EXISTS)
        return io_list(db->io, path, segment_orphan_remove, db);
    TRY(status);
    return io_sync_dir(db->io, db->dir);
}

/* What a crash left: unfinished files, tables and MANIFESTs that nobody names, logs that are in tables. Files whose
 * names are not ours stay. */
static enum nokv_status orphan_remove(void *arg, const char *name)
{
    struct nokv_db *db = arg;
    uint64_t number;
    enum file_type type = file_type_of(name, &number);
    bool orphan = type == FILE_TEMP || (type == FILE_SST && !version_has(db->version, number)) ||
                  (type == FILE_WAL && number < db->log_number) ||
                  (type == FILE_MANIFEST && number != manifest_number(db->manifest));
    if (!orphan)
        return NOKV_OK;
    char path[PATH_SIZE_MAX];
    TRY(path_join(path, db->dir, name));
    for (size_t i = 0; type == FILE_WAL && i < db->old_log_count; i++) {
        if (db->old_logs[i].number != number)
            continue;
        db->old_log_count--;
        memmove(db->old_logs + i, db->old_logs + i + 1, (db->old_log_count - i) * sizeof db->old_logs[0]);
    }
    return io_unlink(db->io, path);
}

static enum nokv_status open_for_writing(struct nokv_db *db, struct manifest_state *state, struct recovery *r)
{
    TRY(shared_buffer_open(db));
    db->next_number = u64_max(state->next_number, r->number_max + 1);
    if (db->next_number > FILE_NUMBER_MAX / 2)
        return FAIL(CORRUPT, "%s: a file has number %llu, which no database gets to", db->dir,
                    (unsigned long long)db->next_number - 1);
    uint64_t manifest_number = db->next_number++, wal_number = db->next_number++;
    TRY(memtables_setup(db, r, state->log_number, wal_number));
    state->log_number = db->log_number;
    state->next_number = db->next_number;
    TRY(manifest_create(&db->env, manifest_number, state, &db->manifest));
    /* Not before: a log without a CURRENT means that CURRENT was lost. */
    TRY(wal_create(db, wal_number, false, &db->wal));
    rlog_release(db->wal); /* recovery has made the logs before it durable */
    rlog_write_behind(db->wal, db->options.sync == NOKV_SYNC_COMMIT);
    TRY(vlog_dir_prepare(db));
    return io_list(db->io, db->dir, orphan_remove, db);
}

/* The value log's segments: those of the MANIFEST, and those that the logs point to. */
static enum nokv_status value_log_load(struct nokv_db *db, struct manifest_state *state, const struct recovery *r)
{
    uint64_t *numbers CLEANUP(mem_free_ptr) = NULL;
    TRY(recovery_values_numbers(r->values, &numbers));
    return segments_load(db, state, numbers, r->values->count, r->used > 0 ? r->logs[r->used - 1] : 0);
}

static enum nokv_status open_run(struct nokv_db *db)
{
    bool exists = false;
    struct manifest_state state CLEANUP(manifest_state_deinit) = {0};
    struct recovery_values values CLEANUP(recovery_values_deinit) = {0};
    struct recovery r CLEANUP(recovery_deinit) = {.values = &values};
    TRY(directory_prepare(db, &exists));
    if (!exists) /* before there is a CURRENT: who finds one need not care */
        TRY(parent_sync(db));
    TRY(state_load(db, exists, &state));
    db->version = state.version;
    if (exists && !db->options.read_only)
        TRY(manifest_settle(&db->env, state.manifest_number));
    r.last_seq = db->flushed_seq = state.last_seq;
    TRY(recovery_values_init(db, &state, !db->options.read_only, &values));
    TRY(recovery_run(db, &state, !db->options.read_only, &r));
    TRY(value_log_load(db, &state, &r));
    if (db->options.read_only)
        TRY(memtables_setup(db, &r, state.log_number, UINT64_MAX));
    else
        TRY(open_for_writing(db, &state, &r));
    struct view *view = NULL;
    TRY(db_view_alloc(&view));
    mutex_lock(&db->mu);
    db_update_throttle_locked(db);
    db_publish_view_locked(db, view);
    mutex_unlock(&db->mu);
    TRY(background_start(db));
    if (!db->options.read_only && r.used > OLD_LOGS_MAX)
        (void)!nokv_flush(db); /* a failure is kept and told, as any of the background's */
    return NOKV_OK;
}

/* NOKV_IO_DEFAULT: mapped, and what turns out not to be in memory is copied into the cache. */
static enum nokv_status table_access_init(struct nokv_db *db)
{
    nokv_io_model model = db->options.sst_read;
    db->env.access.small_pages = db->options.huge_pages == NOKV_HUGE_PAGES_OFF;
    if (db->options.huge_pages == NOKV_HUGE_PAGES_ON)
        db->env.access.huge_pages = &db->huge_pages;
    if (model == NOKV_IO_MMAP)
        return NOKV_OK;
    TRY(cache_create(db->options.block_cache_bytes, &db->cache));
    db->env.is_adaptive = model == NOKV_IO_DEFAULT;
    db->env.access.is_copied = model != NOKV_IO_DEFAULT;
    db->env.access.model = db->env.is_adaptive ? IO_STD : (enum io_model)(model - NOKV_IO_STD);
    db->env.access.cache = db->cache;
    if (!db->env.is_adaptive)
        return NOKV_OK;
    db->env.access.read_around = &db->tables_fit;
    db->env.access.cache_takes_all = &db->cache_takes_all;
    return NOKV_OK;
}

enum nokv_status db_open(struct io *io, const char *path, const nokv_options *options, struct nokv_db **out_db)
{
    nokv_options resolved;
    if (path == NULL || *path == 0 || out_db == NULL)
        return FAIL(INVALID, "nokv_open: path or out_db is missing");
    struct io_memory memory;
    io_memory_get(io, &memory);
    if (memory.limit_bytes == 0)
        memory.limit_bytes = MEMORY_UNKNOWN;
    TRY(options_resolve(options, memory.limit_bytes, &resolved));
    TRY(epoch_register());
    TRY(io_guard_install()); /* db_free removes it */
    struct nokv_db *db = db_create(io, path, &resolved);
    if (db == NULL) {
        io_guard_remove();
        return FAIL(NO_MEMORY, "no memory to open %s", path);
    }
    db->memory_bytes = memory.limit_bytes;
    db->memory_source = memory.source;
    db->long_scan_bytes = u64_min(memory.limit_bytes / 64, LONG_SCAN_BYTES);
    enum nokv_status status = table_access_init(db);
    if (status == NOKV_OK)
        status = open_run(db);
    if (status != NOKV_OK) {
        background_stop(db);
        db_free(db);
        return status;
    }
    *out_db = db;
    return NOKV_OK;
}

nokv_status nokv_open(const char *path, const nokv_options *options, nokv_db **out_db)
{
    struct io *io = NULL;
    TRY(io_real_create(&io));
    struct nokv_db *db = NULL;
    enum nokv_status status = db_open(io, path, options, &db);
    if (status != NOKV_OK) {
        io_destroy(io);
        return status;
    }
    ASSERT(db != NULL);
    db->owns_io = true;
    *out_db = db;
    return NOKV_OK;
}

/* ---- close ------------------------------------------------------------------------------------------------------ */

/* Logs in their order: an older one must be durable, if it is still needed, before a newer one gets its seal. */
static enum nokv_status logs_seal(struct nokv_db *db)
{
    for (size_t i = 0; i < db->old_log_count; i++) {
        if (db->old_logs[i].writer == NULL)
            continue;
        if (db->old_logs[i].number >= db->log_number)
            TRY(rlog_seal(db->old_logs[i].writer));
        rlog_writer_destroy(TAKE(db->old_logs[i].writer));
    }
    ASSERT(db->wal != NULL);
    rlog_release(db->wal);
    return rlog_seal(db->wal);
}

static void spare_log_remove(struct nokv_db *db)
{
    char path[PATH_SIZE_MAX];
    if (db->spare_wal == NULL || path_wal(path, db->dir, rlog_number(db->spare_wal)) != NOKV_OK)
        return;
    rlog_writer_destroy(TAKE(db->spare_wal));
    (void)!io_unlink(db->io, path); /* else the next open removes it */
}

/* Segments before the log that points to them: S3 of segments.h. A full disk may have no room for their ends, but what
 * they hold can be synced, and the log's end has its room reserved. */
static enum nokv_status all_make_durable(struct nokv_db *db)
{
    char message[512];
    TRY(db_check_writable(db));
    enum nokv_status status = segments_close(db);
    if (status == NOKV_OK)
        return logs_seal(db);
    snprintf(message, sizeof message, "%s", status_message());
    if ((status == NOKV_ERR_NO_SPACE || status == NOKV_ERR_NO_MEMORY) && segments_sync(db) == NOKV_OK)
        (void)!logs_seal(db); /* else what was not synced may be lost with the power, as the status says */
    return FAIL_WITH(status, "%s", message);
}

nokv_status nokv_close(nokv_db *db)
{
    if (db == NULL)
        return NOKV_OK;
    ASSERT(atomic_load_explicit(&db->references, memory_order_acquire) == 0); /* an iterator is still open */
    ASSERT(db->snapshot_count == 0);
    background_stop(db);
    if (db->options.read_only) {
        db_free(db);
        return NOKV_OK;
    }
    char message[512];
    enum nokv_status status = all_make_durable(db);
    snprintf(message, sizeof message, "%s", status == NOKV_OK ? "" : status_message());
    spare_log_remove(db);
    db_free(db);
    return status == NOKV_OK ? NOKV_OK : FAIL_WITH(status, "%s", message); /* not what failed in tidying up */
}

/* ---- destroy ---------------------------------------------------------------------------------------------------- */

struct removal {
    struct io *io;
    const char *dir;
};

static enum nokv_status file_remove(void *arg, const char *name)
{
    struct removal *removal = arg;
    uint64_t number;
    char path[PATH_SIZE_MAX];
    enum file_type type = file_type_of(name, &number);
    if (type == FILE_UNKNOWN || type == FILE_LOCK || type == FILE_CURRENT)
        return NOKV_OK;
    TRY(path_join(path, removal->dir, name));
    return io_unlink(removal->io, path);
}

static enum nokv_status segments_remove(struct io *io, const char *dir)
{
    char path[PATH_SIZE_MAX];
    TRY(path_vlog_dir(path, dir));
    struct removal removal = {.io = io, .dir = path};
    enum nokv_status status = io_list(io, path, file_remove, &removal);
    if (status != NOKV_OK)
        return status == NOKV_ERR_NOT_FOUND ? NOKV_OK : status;
    (void)!io_rmdir(io, path); /* as below */
    return NOKV_OK;
}

static enum nokv_status database_remove(struct io *io, const char *dir)
{
    char path[PATH_SIZE_MAX];
    struct io_lock *lock = NULL;
    struct removal removal = {.io = io, .dir = dir};
    bool exists = false;
    uint64_t size = 0;
    TRY(path_lock(path, dir));
    TRY(manifest_exists(io, dir, &exists));
    enum nokv_status status = exists ? NOKV_OK : io_stat(io, path, &size);
    if (status == NOKV_ERR_NOT_FOUND)
        return FAIL(NOT_FOUND, "%s holds no database", dir);
    TRY(status);
    TRY(io_lock(io, path, true, &lock));
    /* CURRENT goes last, so that a half removed database is still one, and can be removed again. */
    status = segments_remove(io, dir);
    if (status == NOKV_OK)
        status = io_list(io, dir, file_remove, &removal);
    char current[PATH_SIZE_MAX];
    if (status == NOKV_OK)
        status = path_current(current, dir);
    if (status == NOKV_OK)
        status = io_unlink_if_exists(io, current);
    io_unlock(lock);
    TRY(status);
    TRY(io_unlink(io, path));
    (void)!io_rmdir(io, dir); /* fails when it holds files that are not ours: they stay */
    return NOKV_OK;
}

nokv_status nokv_destroy(const char *path)
{
    struct io *io = NULL;
    if (path == NULL || *path == 0)
        return FAIL(INVALID, "nokv_destroy: path is missing");
    TRY(io_real_create(&io));
    enum nokv_status status = database_remove(io, path);
    io_destroy(io);
    return status;
}
