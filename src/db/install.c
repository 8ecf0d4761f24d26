// SPDX-License-Identifier: Apache-2.0
/*
 * Changing what the database is: views for readers, edits for the MANIFEST, and the end of writing (poison).
 *
 * [I1] A reader loads the view first and the visible sequence number after it. What it then sees is a prefix of the
 *      history: everything in that view up to that number. (The other way round, a compaction that was installed
 * between the two loads might have dropped versions that only the older number sees.) Then it looks whether the view
 *      is still the same, and begins again if not: the memtable in it goes on growing, and what comes in may point to a
 *      segment of the value log that only the next view has.
 * [I2] One edit is installed at a time (`installing`), in the order in which it was made durable.
 * [I3] A table is marked removed only after the edit that removes it is durable; its file goes with its last reference.
 * [I4] Once an edit may be in the MANIFEST, the files that it names stay: a failed append that is not soft (no space,
 *      no memory: nothing was written) leaves them as orphans for the next open, which knows what the MANIFEST says.
 */
#include "base/alloc.h"
#include "db/db.h"

#include <stdio.h>

/* ---- views ---------------------------------------------------------------------------------------------------- */

void view_ref(struct view *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
}

bool view_unref(struct view *v)
{
    /* acq_rel: all use of the view happens before its end */
    uint32_t before = atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1)
        return false;
    memtable_unref(v->mem);
    for (size_t i = 0; i < v->immutable_count; i++)
        memtable_unref(v->immutables[i]);
    version_unref(v->version);
    segment_set_unref(v->segments);
    mem_free(v);
    return true;
}

static void view_retired(struct epoch_node *node)
{
    (void)view_unref(CONTAINER_OF(node, struct view, node));
}

enum nokv_status db_view_alloc(struct view **out_view)
{
    struct view *v = mem_zalloc(sizeof *v);
    if (v == NULL)
        return FAIL(NO_MEMORY, "no memory for a view of the database");
    *out_view = v;
    return NOKV_OK;
}

void db_publish_view_locked(struct nokv_db *db, struct view *v)
{
    atomic_init(&v->refs, 1);
    v->mem = db->mem;
    memtable_ref(v->mem);
    for (size_t i = db->immutable_count; i > 0; i--) {
        struct memtable *m = db->immutables[i - 1].mem;
        memtable_ref(m);
        v->immutables[v->immutable_count++] = m;
    }
    v->version = db->version;
    version_ref(v->version);
    v->segments = db->segment_set;
    warm_note_locked(db);
    atomic_fetch_add_explicit(&v->segments->refs, 1, memory_order_relaxed);
    struct view *old = atomic_exchange_explicit(&db->view, v, memory_order_seq_cst);
    if (old)
        epoch_retire(&old->node, view_retired);
}

/* ---- numbers and files ---------------------------------------------------------------------------------------- */

uint64_t db_allocate_number(void *arg)
{
    struct nokv_db *db = arg;
    mutex_lock(&db->mu);
    uint64_t number = db->next_number++;
    mutex_unlock(&db->mu);
    return number;
}

static void obsolete_add(struct nokv_db *db, struct obsolete_file file)
{
    mutex_lock(&db->obsolete_mu);
    /* Without memory for the list the file stays, an orphan that the next open removes. */
    if (mem_grow(&db->obsolete, &db->obsolete_capacity, db->obsolete_count + 1, sizeof *db->obsolete) == NOKV_OK)
        db->obsolete[db->obsolete_count++] = file;
    mutex_unlock(&db->obsolete_mu);
}

void db_obsolete_table(struct table_env *env, uint64_t number)
{
    obsolete_add(CONTAINER_OF(env, struct nokv_db, env), (struct obsolete_file){.number = number});
}

void db_obsolete_segment(struct nokv_db *db, uint64_t number)
{
    obsolete_add(db, (struct obsolete_file){.number = number, .is_segment = true});
}

/* ---- the end of writing --------------------------------------------------------------------------------------- */

/* NO_SPACE and NO_MEMORY say that nothing was written; this may have been. */
static enum nokv_status final_status(enum nokv_status status)
{
    return status == NOKV_ERR_NO_SPACE ? NOKV_ERR_IO : status == NOKV_ERR_NO_MEMORY ? NOKV_ERR_POISONED : status;
}

enum nokv_status db_poison(struct nokv_db *db, enum nokv_status status, const char *what)
{
    char message[512];
    status = final_status(status);
    snprintf(message, sizeof message, "%s: %s", what, status_message());
    mutex_lock(&db->mu);
    int expected = NOKV_OK;
    if (atomic_compare_exchange_strong_explicit(&db->poisoned, &expected, (int)status, memory_order_acq_rel,
                                                memory_order_acquire))
        snprintf(db->poison_message, sizeof db->poison_message, "%s", message);
    cond_broadcast(&db->state_cond);
    background_wake_locked(db);
    mutex_unlock(&db->mu);
    mutex_lock(&db->sync_mu);
    commit_wake_all_locked(db);
    mutex_unlock(&db->sync_mu);
    return FAIL_WITH(status, "%s; the database is read-only until it is reopened", message);
}

enum nokv_status db_check_writable(struct nokv_db *db)
{
    if (LIKELY(atomic_load_explicit(&db->poisoned, memory_order_acquire) == NOKV_OK && !db->options.read_only))
        return NOKV_OK;
    if (db->options.read_only)
        return FAIL(READ_ONLY, "%s was opened read-only", db->dir);
    char message[512];
    mutex_lock(&db->mu);
    snprintf(message, sizeof message, "%s", db->poison_message);
    mutex_unlock(&db->mu);
    return FAIL(POISONED, "%s takes no more writes since: %s; close it, look at the disk, open it again", db->dir,
                message);
}

/* ---- throttle ------------------------------------------------------------------------------------------------- */

static double clamp01(double x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

uint64_t throttle_ns_per_kib(double debt)
{
    if (debt <= 0)
        return 0;
    double halvings = clamp01(debt) * 9; /* 512 / 2^9 = 1; between two of them linearly */
    unsigned whole = (unsigned)halvings;
    double mib_per_s = 512.0 / (double)(1u << whole) / (1 + (halvings - whole));
    return (uint64_t)(1e9 / (mib_per_s * 1024));
}

void db_update_throttle_locked(struct nokv_db *db)
{
    double files = (double)db->version->levels[0].count;
    double slow = db->options.l0_slowdown_files, stop = db->options.l0_stop_files;
    double tables = (files - slow) / (stop - slow), values = collect_debt_locked(db);
    uint64_t ns = throttle_ns_per_kib(tables > values ? tables : values);
    atomic_store_explicit(&db->level0_ns_per_kib, ns, memory_order_relaxed);
    atomic_store_explicit(&db->waiting_memtables, (uint32_t)db->immutable_count, memory_order_relaxed);
}

/* ---- edits ---------------------------------------------------------------------------------------------------- */

static bool edit_adds(const struct edit *edit, uint64_t number)
{
    for (size_t i = 0; i < edit->add_count; i++)
        if (edit->adds[i].table.number == number)
            return true;
    return false;
}

/* The tables that the edit removes and does not add again (a trivial move does both) are nobody's now. */
static void removed_tables_mark(const struct version *old, const struct edit *edit)
{
    for (size_t i = 0; i < edit->remove_count; i++) {
        const struct level *level = &old->levels[edit->removes[i].level];
        for (size_t j = 0; j < level->count; j++)
            if (level->tables[j]->desc.number == edit->removes[i].number && !edit_adds(edit, edit->removes[i].number))
                atomic_store_explicit(&level->tables[j]->removed, true, memory_order_relaxed);
    }
}

static void version_switch_locked(struct nokv_db *db, struct version *now, const struct edit *edit)
{
    struct version *old = db->version;
    db->version = now;
    removed_tables_mark(old, edit);
    version_unref(old);
}

static void immutable_pop_locked(struct nokv_db *db)
{
    ASSERT(db->immutable_count > 0);
    memtable_unref(db->immutables[0].mem);
    db->immutable_count--;
    memmove(db->immutables, db->immutables + 1, db->immutable_count * sizeof db->immutables[0]);
}

static enum nokv_status edit_persist(struct nokv_db *db, struct edit *edit, bool flushed)
{
    edit->has_next_number = edit->has_last_seq = true;
    edit->next_number = db->next_number;
    edit->last_seq = flushed ? db->immutables[0].last_seq : db->flushed_seq;
    mutex_unlock(&db->mu);
    enum nokv_status status = manifest_append(db->manifest, edit);
    if (status != NOKV_OK && status != NOKV_ERR_NO_SPACE && status != NOKV_ERR_NO_MEMORY)
        status = db_poison(db, status, "the MANIFEST could not be written");
    mutex_lock(&db->mu);
    return status;
}

enum nokv_status db_install_locked(struct nokv_db *db, struct edit *edit, struct table **opened, size_t opened_count,
                                   bool flushed)
{
    struct version *now = NULL;
    struct view *view = NULL;
    struct segment_change change CLEANUP(segment_change_deinit) = {0};
    while (db->installing)
        cond_wait(&db->state_cond, &db->mu);
    if (atomic_load_explicit(&db->poisoned, memory_order_acquire) != NOKV_OK)
        return FAIL(POISONED, "%s", db->poison_message);
    db->installing = true;
    if (flushed) { /* logs whose entries are all in tables once this edit stands */
        edit->has_log_number = true;
        edit->log_number = db->immutable_count > 1 ? db->immutables[1].log_number : db->mem_log_number;
    }
    enum nokv_status status = version_apply(db->version, edit, &db->env, opened, opened_count, db->dir, &now);
    if (status == NOKV_OK)
        status = db_view_alloc(&view);
    if (status == NOKV_OK)
        status = segments_prepare_locked(db, edit, &change);
    if (status == NOKV_OK)
        status = edit_persist(db, edit, flushed); /* [I4] nothing may fail after this */
    if (status == NOKV_OK) {
        segments_commit_locked(db, edit, db->version, &change);
        version_switch_locked(db, now, edit);
        if (flushed) {
            immutable_pop_locked(db);
            db->log_number = edit->log_number;
            db->flushed_seq = edit->last_seq;
        }
        db_update_throttle_locked(db);
        db_publish_view_locked(db, view);
    } else {
        version_unref(now);
        mem_free(view);
    }
    db->installing = false;
    cond_broadcast(&db->state_cond);
    return status;
}
