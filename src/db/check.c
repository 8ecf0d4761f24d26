// SPDX-License-Identifier: Apache-2.0
/*
 * db_check: does everything that must hold between two calls hold? For tests, at a quiet point.
 *
 *      directory ── MANIFEST ── version, segments in memory      the same tables, segments and logs, and no file more
 *      levels       order, disjointness, sums of bytes           sequence numbers    tables, memtables, snapshots
 *      memtables    each pointer leads to a record of its key    holds               nothing refers to what nobody uses
 *      contents     nokv_verify: metadata, every pointer, live counters
 *
 * What is cheap comes first. It looks on and changes nothing, but that it lets go of what no reader is in the way of
 * any more and unlinks what is obsolete, as background work does.
 *
 * The mutex is held all along but for the contents: jobs are picked under it, so none begins meanwhile, and those that
 * run are waited for. What background threads hold for themselves is not told from a leak: holds are counted only where
 * there are none.
 */
#include "base/alloc.h"
#include "db/db.h"
#include "lsm/names.h"

/* ---- levels ----------------------------------------------------------------------------------------------------- */

static unsigned long long number_of(const struct table *t)
{
    return (unsigned long long)t->desc.number;
}

/* Flushed memtables follow each other in sequence; below, tables do in keys. */
static enum nokv_status neighbours_check(size_t l, const struct table *a, const struct table *b)
{
    if (l == 0 && a->desc.seq_min <= b->desc.seq_max)
        return FAIL(CORRUPT, "level 0: table %llu stands in front of table %llu and has older entries", number_of(a),
                    number_of(b));
    if (l > 0 && key_compare(a->desc.largest.user, b->desc.smallest.user) >= 0)
        return FAIL(CORRUPT, "level %zu: table %llu overlaps table %llu behind it", l, number_of(a), number_of(b));
    return NOKV_OK;
}

static enum nokv_status level_check(size_t l, const struct level *level)
{
    uint64_t bytes = 0, value_bytes = 0;
    for (size_t i = 0; i < level->count; i++) {
        const struct table *t = level->tables[i];
        if (ikey_compare(t->desc.smallest, t->desc.largest) > 0)
            return FAIL(CORRUPT, "table %llu: its smallest key is above its largest", number_of(t));
        if (i > 0)
            TRY(neighbours_check(l, level->tables[i - 1], t));
        bytes += t->desc.file_bytes;
        for (size_t j = 0; j < t->desc.ref_count; j++)
            value_bytes += t->desc.refs[j].bytes;
    }
    if (bytes != level->bytes || value_bytes != level->value_bytes)
        return FAIL(CORRUPT, "level %zu counts %llu and %llu bytes of tables and values, its tables have %llu and %llu",
                    l, (unsigned long long)level->bytes, (unsigned long long)level->value_bytes,
                    (unsigned long long)bytes, (unsigned long long)value_bytes);
    return NOKV_OK;
}

enum nokv_status check_levels(const struct version *v)
{
    for (size_t l = 0; l < LEVELS_MAX; l++)
        TRY(level_check(l, &v->levels[l]));
    return NOKV_OK;
}

/* ---- sequence numbers ------------------------------------------------------------------------------------------- */

static enum nokv_status table_sequences_check(const struct nokv_db *db, const struct table *t)
{
    if (t->desc.seq_min <= t->desc.seq_max && t->desc.seq_max <= db->flushed_seq)
        return NOKV_OK;
    return FAIL(CORRUPT, "table %llu has sequence numbers %llu to %llu, and all up to %llu are in tables", number_of(t),
                (unsigned long long)t->desc.seq_min, (unsigned long long)t->desc.seq_max,
                (unsigned long long)db->flushed_seq);
}

static enum nokv_status snapshots_check(const struct nokv_db *db, uint64_t visible)
{
    uint64_t last = 0, count = 0;
    for (const struct nokv_snapshot *s = db->snapshots.next; s != &db->snapshots; s = s->next, count++) {
        if (s->seq < last || s->seq > visible)
            return FAIL(CORRUPT, "a snapshot of %llu stands behind one of %llu, and %llu is visible",
                        (unsigned long long)s->seq, (unsigned long long)last, (unsigned long long)visible);
        last = s->seq;
    }
    if (count != db->snapshot_count)
        return FAIL(CORRUPT, "%llu snapshots are listed, %llu counted", (unsigned long long)count,
                    (unsigned long long)db->snapshot_count);
    return NOKV_OK;
}

static enum nokv_status sequences_check(const struct nokv_db *db)
{
    uint64_t visible = atomic_load_explicit(&db->visible_seq, memory_order_acquire), last = db->flushed_seq;
    for (size_t i = 0; i < db->immutable_count; i++) {
        if (db->immutables[i].last_seq < last)
            return FAIL(CORRUPT, "waiting memtable %zu ends at sequence number %llu, what is older at %llu", i,
                        (unsigned long long)db->immutables[i].last_seq, (unsigned long long)last);
        last = db->immutables[i].last_seq;
    }
    if (last > visible || visible != db->last_seq)
        return FAIL(CORRUPT, "sequence number %llu is visible, %llu was given, and memtables begin behind %llu",
                    (unsigned long long)visible, (unsigned long long)db->last_seq, (unsigned long long)last);
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < db->version->levels[l].count; i++)
            TRY(table_sequences_check(db, db->version->levels[l].tables[i]));
    return snapshots_check(db, visible);
}

/* ---- what the MANIFEST says ------------------------------------------------------------------------------------- */

static enum nokv_status table_listed_check(const struct version *v, const struct edit_add *add)
{
    const struct level *level = &v->levels[add->level];
    for (size_t i = 0; i < level->count; i++) {
        const struct table_desc *d = &level->tables[i]->desc;
        if (d->number == add->table.number && d->file_bytes == add->table.file_bytes &&
            d->entries == add->table.entries && d->ref_count == add->table.ref_count)
            return NOKV_OK;
    }
    return FAIL(CORRUPT, "the MANIFEST has table %llu on level %u, the database has not, or describes it otherwise",
                (unsigned long long)add->table.number, add->level);
}

static enum nokv_status segment_listed_check(struct nokv_db *db, const struct segment_desc *d)
{
    const struct segment_entry *e = segments_find_locked(db, d->number);
    if (e && e->desc.file_bytes == d->file_bytes && e->desc.origin == d->origin && e->desc.sealed == d->sealed)
        return NOKV_OK;
    return FAIL(CORRUPT, "the MANIFEST has segment %llu of the value log, the database has not, or as another one",
                (unsigned long long)d->number);
}

static enum nokv_status listed_counts_check(const struct nokv_db *db, const struct edit *listed)
{
    size_t tables = 0, segments = 0;
    for (size_t l = 0; l < LEVELS_MAX; l++)
        tables += db->version->levels[l].count;
    for (size_t i = 0; i < db->segment_count; i++)
        segments += db->segments[i]->segment->writer == NULL;
    if (listed->add_count != tables || listed->segment_add_count != segments)
        return FAIL(CORRUPT, "the MANIFEST has %zu tables and %zu segments, the database has %zu and %zu",
                    listed->add_count, listed->segment_add_count, tables, segments);
    if (listed->log_number != db->log_number || listed->last_seq > db->flushed_seq)
        return FAIL(CORRUPT, "the MANIFEST needs logs from %llu on and has all up to %llu in tables; it is %llu, %llu",
                    (unsigned long long)listed->log_number, (unsigned long long)listed->last_seq,
                    (unsigned long long)db->log_number, (unsigned long long)db->flushed_seq);
    return NOKV_OK;
}

static enum nokv_status manifest_check(struct nokv_db *db)
{
    struct edit listed CLEANUP(edit_deinit) = {0};
    TRY(manifest_list(db->io, db->dir, &listed));
    TRY(listed_counts_check(db, &listed));
    for (size_t i = 0; i < listed.add_count; i++)
        TRY(table_listed_check(db->version, &listed.adds[i]));
    for (size_t i = 0; i < listed.segment_add_count; i++)
        TRY(segment_listed_check(db, &listed.segment_adds[i]));
    return NOKV_OK;
}

/* ---- what the directory has ------------------------------------------------------------------------------------- */

static bool log_is_known(const struct nokv_db *db, uint64_t number)
{
    for (size_t i = 0; i < db->old_log_count; i++)
        if (db->old_logs[i].number == number)
            return true;
    return (db->wal && rlog_number(db->wal) == number) || (db->spare_wal && rlog_number(db->spare_wal) == number);
}

static bool table_is_known(const struct nokv_db *db, uint64_t number)
{
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < db->version->levels[l].count; i++)
            if (db->version->levels[l].tables[i]->desc.number == number)
                return true;
    return false;
}

static enum nokv_status orphan_refuse(void *arg, const char *name)
{
    struct nokv_db *db = arg;
    uint64_t number;
    enum file_type type = file_type_of(name, &number);
    bool is_known = (type != FILE_SST || table_is_known(db, number)) &&
                    (type != FILE_WAL || log_is_known(db, number)) &&
                    (type != FILE_VLOG || segments_find_locked(db, number) != NULL) &&
                    (type != FILE_MANIFEST || number == manifest_number(db->manifest)) && type != FILE_TEMP;
    return is_known ? NOKV_OK : FAIL(CORRUPT, "%s is in the directory of %s, and nobody's", name, db->dir);
}

static enum nokv_status file_check(struct nokv_db *db, const char *path, uint64_t bytes)
{
    uint64_t size = 0;
    enum nokv_status status = io_stat(db->io, path, &size);
    if (status == NOKV_ERR_NOT_FOUND)
        return FAIL(CORRUPT, "%s is missing", path);
    TRY(status);
    if (bytes != UINT64_MAX && size != bytes)
        return FAIL(CORRUPT, "%s has %llu bytes, %llu are known", path, (unsigned long long)size,
                    (unsigned long long)bytes);
    return NOKV_OK;
}

static enum nokv_status tables_there_check(struct nokv_db *db)
{
    char path[PATH_SIZE_MAX];
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < db->version->levels[l].count; i++) {
            const struct table_desc *d = &db->version->levels[l].tables[i]->desc;
            TRY(path_sst(path, db->dir, d->number));
            TRY(file_check(db, path, d->file_bytes));
        }
    return NOKV_OK;
}

static enum nokv_status segments_there_check(struct nokv_db *db)
{
    char path[PATH_SIZE_MAX];
    for (size_t i = 0; i < db->segment_count; i++) {
        const struct segment_entry *e = db->segments[i];
        TRY(path_vlog(path, db->dir, e->desc.number));
        TRY(file_check(db, path, e->segment->writer ? UINT64_MAX : e->desc.file_bytes));
    }
    return NOKV_OK;
}

static enum nokv_status logs_there_check(struct nokv_db *db)
{
    char path[PATH_SIZE_MAX];
    for (size_t i = 0; i < db->old_log_count; i++) {
        TRY(path_wal(path, db->dir, db->old_logs[i].number));
        TRY(file_check(db, path, UINT64_MAX));
    }
    if (db->wal == NULL)
        return NOKV_OK;
    TRY(path_wal(path, db->dir, rlog_number(db->wal)));
    return file_check(db, path, UINT64_MAX);
}

/* Who only reads removes nothing: what a crash left is still there. */
static enum nokv_status orphans_check(struct nokv_db *db)
{
    char path[PATH_SIZE_MAX];
    if (db->options.read_only)
        return NOKV_OK;
    TRY(io_list(db->io, db->dir, orphan_refuse, db));
    TRY(path_vlog_dir(path, db->dir));
    return io_list(db->io, path, orphan_refuse, db);
}

static enum nokv_status files_check(struct nokv_db *db)
{
    TRY(tables_there_check(db));
    TRY(segments_there_check(db));
    TRY(logs_there_check(db));
    return orphans_check(db);
}

/* ---- who holds what --------------------------------------------------------------------------------------------- */

static enum nokv_status refs_check(const char *what, uint64_t number, long long refs, long long wanted)
{
    if (refs == wanted)
        return NOKV_OK;
    return FAIL(CORRUPT, "%s %llu: %lld references, %lld are known", what, (unsigned long long)number, refs, wanted);
}

static enum nokv_status segment_holds_check(const struct segment *s)
{
    long long pins = 0;
    for (size_t i = 0; i < PIN_SHARDS; i++)
        pins += atomic_load_explicit(&s->object.shards[i].count, memory_order_acquire);
    if (pins != 0)
        return FAIL(CORRUPT, "segment %llu of the value log has %lld pins, and nobody reads",
                    (unsigned long long)s->number, pins);
    /* of its entry, and of the set */
    return refs_check("segment", s->number, atomic_load_explicit(&s->object.refs, memory_order_acquire), 2);
}

static enum nokv_status view_holds_check(const struct nokv_db *db)
{
    const struct view *v = atomic_load_explicit(&db->view, memory_order_acquire);
    TRY(refs_check("view at sequence number", db->last_seq, atomic_load_explicit(&v->refs, memory_order_acquire), 1));
    if (v->version != db->version || v->segments != db->segment_set || v->mem != db->mem ||
        v->immutable_count != db->immutable_count)
        return FAIL(CORRUPT, "readers see another state than the current one");
    /* of the database, and of the view */
    TRY(refs_check("version at sequence number", db->last_seq,
                   atomic_load_explicit(&v->version->refs, memory_order_acquire), 2));
    return refs_check("list of segments at sequence number", db->last_seq,
                      atomic_load_explicit(&v->segments->refs, memory_order_acquire), 2);
}

/* No iterator, snapshot or value is left, and what was replaced is gone. */
static enum nokv_status holds_check(struct nokv_db *db)
{
    uint64_t references = atomic_load_explicit(&db->references, memory_order_acquire);
    if (references != 0 || db->snapshot_count != 0)
        return FAIL(CORRUPT, "%llu iterators and snapshots are still there, %llu of them snapshots",
                    (unsigned long long)references, (unsigned long long)db->snapshot_count);
    size_t waiting = epoch_reclaim();
    if (waiting != 0)
        return FAIL(CORRUPT, "%zu objects wait for a reader that does not leave", waiting);
    background_unlink_obsolete(db);
    TRY(view_holds_check(db));
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < db->version->levels[l].count; i++) {
            const struct table *t = db->version->levels[l].tables[i];
            TRY(refs_check("table", t->desc.number, atomic_load_explicit(&t->refs, memory_order_acquire), 1));
            if (t->compacting)
                return FAIL(CORRUPT, "table %llu is marked as being merged, and nobody merges", number_of(t));
        }
    for (size_t i = 0; i < db->segment_count; i++)
        TRY(segment_holds_check(db->segments[i]->segment));
    return NOKV_OK;
}

/* ---- memtables -------------------------------------------------------------------------------------------------- */

static enum nokv_status entry_check(const struct view *v, const struct iter *it)
{
    struct vlog_pointer p;
    struct segment *segment;
    uint8_t nothing;
    if (tag_kind_byte(it->key.tag) != KEY_VALUE_POINTER)
        return NOKV_OK;
    TRY(segment_follow(v->segments, it->value, &p, &segment));
    return segment_read(segment, &p, it->key.user, 0, &nothing, 0);
}

static enum nokv_status memtable_check(const struct view *v, struct memtable *m, uint64_t above, uint64_t up_to)
{
    struct iter *it CLEANUP(iter_destroy_ptr) = NULL;
    TRY(memtable_iter_create(m, &it));
    for (iter_first(it); it->valid; iter_next(it)) {
        uint64_t seq = tag_seq(it->key.tag);
        if (seq <= above || seq > up_to)
            return FAIL(CORRUPT, "a memtable has an entry of sequence number %llu, it should have %llu to %llu",
                        (unsigned long long)seq, (unsigned long long)above + 1, (unsigned long long)up_to);
        TRY(entry_check(v, it));
    }
    return it->status;
}

static enum nokv_status memtables_check(struct nokv_db *db)
{
    const struct view *v = atomic_load_explicit(&db->view, memory_order_acquire);
    uint64_t above = db->flushed_seq;
    for (size_t i = 0; i < db->immutable_count; i++) {
        TRY(memtable_check(v, db->immutables[i].mem, above, db->immutables[i].last_seq));
        above = db->immutables[i].last_seq;
    }
    return memtable_check(v, db->mem, above, db->last_seq);
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static enum nokv_status state_check_locked(struct nokv_db *db, bool is_alone)
{
    while (db->jobs_running > 0 || db->garbage_running > 0 || db->installing || db->making_segment)
        cond_wait(&db->state_cond, &db->mu);
    if (is_alone && !db->has_log_thread)
        TRY(holds_check(db));
    TRY(check_levels(db->version));
    TRY(sequences_check(db));
    if (!db->options.read_only) /* what a crash left may not be in the MANIFEST yet */
        TRY(manifest_check(db));
    TRY(files_check(db));
    return memtables_check(db);
}

static enum nokv_status check(struct nokv_db *db, bool is_alone)
{
    nokv_verify_report report;
    TRY(epoch_register());
    (void)epoch_reclaim();
    background_unlink_obsolete(db);
    mutex_lock(&db->mu);
    enum nokv_status status = state_check_locked(db, is_alone);
    mutex_unlock(&db->mu);
    TRY(status);
    return nokv_verify(db, NULL, NULL, &report);
}

enum nokv_status db_check(struct nokv_db *db)
{
    return check(db, true);
}

enum nokv_status db_check_beside_readers(struct nokv_db *db)
{
    return check(db, false);
}
