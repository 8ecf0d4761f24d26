// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_verify: read every table of the current version and every segment of the value log through, while others go on.
 * The logs and the MANIFEST were verified when the database was opened; a view keeps its files open, so nothing can be
 * missing half way.
 *
 *      table ─► its blocks, filter, index (sst_reader_verify) ─► what the MANIFEST says of it ─► its entries once more:
 *      each pointer leads to a record of its key, and what they point to, summed by segment, is what the MANIFEST says
 *      segment ─► its records in order, every checksum, the footer's counts; one that is being written is left out
 */
#include "base/alloc.h"
#include "db/db.h"
#include "lsm/names.h"

struct verify {
    struct view *view;
    nokv_progress_fn progress;
    void *arg;
    uint64_t done_bytes, total_bytes;
    nokv_verify_report report;
};

static enum nokv_status progress_tell(struct verify *v, uint64_t bytes)
{
    v->done_bytes += bytes;
    if (v->progress && !v->progress(v->arg, v->done_bytes, v->total_bytes))
        return FAIL(ABORTED, "the verification was stopped");
    return NOKV_OK;
}

/* ---- what tables point to -----------------------------------------------------------------------------------------
 */

/* Take a pointer off what the MANIFEST says that the table points to. */
static enum nokv_status ref_take(struct vlog_ref *refs, size_t count, const struct vlog_pointer *p, size_t key_size)
{
    uint64_t bytes = vlog_record_size(key_size, p->value_size);
    for (size_t i = 0; i < count; i++) {
        if (refs[i].segment != p->segment || refs[i].records == 0 || refs[i].bytes < bytes)
            continue;
        refs[i].records--;
        refs[i].bytes -= bytes;
        return NOKV_OK;
    }
    return FAIL(CORRUPT, "more in segment %llu of the value log is pointed to than the MANIFEST says",
                (unsigned long long)p->segment);
}

static enum nokv_status pointer_verify(struct verify *v, const struct iter *it, struct vlog_ref *refs, size_t ref_count)
{
    struct vlog_pointer p;
    struct segment *segment;
    uint8_t nothing;
    TRY(segment_follow(v->view->segments, it->value, &p, &segment));
    TRY(ref_take(refs, ref_count, &p, it->key.user.size));
    return segment_read(segment, &p, it->key.user, 0, &nothing, 0);
}

static enum nokv_status pointers_verify(struct verify *v, const struct table *t)
{
    size_t count = t->desc.ref_count;
    struct iter *it CLEANUP(iter_destroy_ptr) = NULL;
    struct vlog_ref *refs CLEANUP(mem_free_ptr) = mem_alloc((count + 1) * sizeof *refs);
    if (refs == NULL)
        return FAIL(NO_MEMORY, "no memory to verify table %llu", (unsigned long long)t->desc.number);
    if (count > 0)
        memcpy(refs, t->desc.refs, count * sizeof *refs);
    TRY(sst_iter_create(t->reader, &it));
    for (iter_first(it); it->valid; iter_next(it), iter_release(it))
        if (tag_kind_byte(it->key.tag) == KEY_VALUE_POINTER)
            TRY(pointer_verify(v, it, refs, count));
    TRY(it->status);
    for (size_t i = 0; i < count; i++)
        if (refs[i].records != 0 || refs[i].bytes != 0)
            return FAIL(CORRUPT, "table %llu points to less in segment %llu of the value log than the MANIFEST says",
                        (unsigned long long)t->desc.number, (unsigned long long)refs[i].segment);
    return NOKV_OK;
}

/* Not every message of a table names its file: who reads it wants to know which one. */
static enum nokv_status table_name_add(const struct table *t, enum nokv_status status)
{
    char path[PATH_SIZE_MAX];
    if (status != NOKV_ERR_CORRUPT || path_sst(path, t->env->dir, t->desc.number) != NOKV_OK ||
        strstr(status_message(), path) != NULL)
        return status;
    return FAIL_WITH(status, "%s [in %s]", status_message(), path);
}

static enum nokv_status figure_verify(const struct table *t, const char *what, uint64_t is, uint64_t said)
{
    if (is == said)
        return NOKV_OK;
    return FAIL(CORRUPT, "table %llu: its %s is %llu, the MANIFEST says %llu", (unsigned long long)t->desc.number, what,
                (unsigned long long)is, (unsigned long long)said);
}

/* What the MANIFEST says of the table against the table's properties, which its own verification has counted. */
static enum nokv_status description_verify(const struct table *t)
{
    const struct sst_info *info = sst_reader_info(t->reader);
    TRY(figure_verify(t, "size", info->file_bytes, t->desc.file_bytes));
    TRY(figure_verify(t, "number of entries", info->entries, t->desc.entries));
    TRY(figure_verify(t, "number of tombstones", info->tombstones, t->desc.tombstones));
    TRY(figure_verify(t, "size of keys and values", info->raw_bytes, t->desc.raw_bytes));
    TRY(figure_verify(t, "lowest sequence number", info->seq_min, t->desc.seq_min));
    TRY(figure_verify(t, "highest sequence number", info->seq_max, t->desc.seq_max));
    if (ikey_compare(sst_reader_smallest(t->reader), t->desc.smallest) != 0 ||
        ikey_compare(sst_reader_largest(t->reader), t->desc.largest) != 0)
        return FAIL(CORRUPT, "table %llu begins or ends with another key than the MANIFEST says",
                    (unsigned long long)t->desc.number);
    return NOKV_OK;
}

static enum nokv_status table_verify(struct verify *v, const struct table *t)
{
    struct sst_verify_report r = {0};
    TRY(table_name_add(t, sst_reader_verify(t->reader, &r)));
    TRY(table_name_add(t, description_verify(t)));
    TRY(table_name_add(t, pointers_verify(v, t)));
    v->report.files++;
    v->report.bytes += t->desc.file_bytes;
    v->report.blocks += r.blocks;
    v->report.entries += r.entries;
    return progress_tell(v, t->desc.file_bytes);
}

/* ---- segments -----------------------------------------------------------------------------------------------------
 */

static void vlog_scan_close_ptr(struct vlog_scan **s)
{
    vlog_scan_close(*s);
}

static enum nokv_status segment_verify(struct verify *v, struct nokv_db *db, const struct segment_desc *desc)
{
    char path[PATH_SIZE_MAX];
    struct vlog_scan *scan CLEANUP(vlog_scan_close_ptr) = NULL;
    TRY(path_vlog(path, db->dir, desc->number));
    struct vlog_scan_options options = {.io = db->io,
                                        .path = path,
                                        .number = desc->number,
                                        .component = IO_VLOG,
                                        .model = IO_STD,
                                        .is_sealed = desc->sealed};
    TRY(vlog_scan_open(&options, &scan));
    uint64_t shown = 0;
    for (bool more = true; more;) {
        struct vlog_record record;
        TRY(vlog_scan_next(scan, &record, &more));
        uint64_t end = vlog_scan_totals(scan).end;
        if (end - shown >= 16 << 20) {
            TRY(progress_tell(v, end - shown));
            shown = end;
        }
    }
    v->report.segments++;
    v->report.segment_bytes += desc->file_bytes;
    v->report.values += vlog_scan_totals(scan).records;
    return progress_tell(v, desc->file_bytes > shown ? desc->file_bytes - shown : 0);
}

/* The next segment above `number` that is not being written. */
static bool segment_next(struct nokv_db *db, uint64_t number, struct segment_desc *out)
{
    bool found = false;
    mutex_lock(&db->mu);
    for (size_t i = 0; i < db->segment_count && !found; i++) {
        found = db->segments[i]->desc.number > number && db->segments[i]->segment->writer == NULL;
        if (found)
            *out = db->segments[i]->desc;
    }
    mutex_unlock(&db->mu);
    return found;
}

/* Those that the view has: they cannot be unlinked meanwhile. */
static enum nokv_status segments_verify(struct verify *v, struct nokv_db *db)
{
    struct segment_desc desc = {0};
    while (segment_next(db, desc.number, &desc))
        if (segment_set_find(v->view->segments, desc.number))
            TRY(segment_verify(v, db, &desc));
    return NOKV_OK;
}

/* The index of an entry that is there. */
static size_t entry_index_of(const struct nokv_db *db, uint64_t number)
{
    size_t low = 0, high = db->segment_count;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (db->segments[mid]->desc.number <= number)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* REQUIRES: mu. Every segment that a table points to has an entry (I1 of segments.c). */
static void table_count(const struct nokv_db *db, const struct table_desc *t, struct vlog_ref *counts)
{
    for (size_t i = 0; i < t->ref_count; i++) {
        struct vlog_ref *c = &counts[entry_index_of(db, t->refs[i].segment)];
        c->records += t->refs[i].records;
        c->bytes += t->refs[i].bytes;
    }
}

/* Live records and bytes of each segment: what the tables of the current version point to (S1 of segments.h). */
static enum nokv_status counters_verify(struct nokv_db *db)
{
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&db->mu);
    (void)held;
    struct vlog_ref *counts CLEANUP(mem_free_ptr) = mem_zalloc((db->segment_count + 1) * sizeof *counts);
    if (counts == NULL)
        return FAIL(NO_MEMORY, "no memory to count what %zu segments hold", db->segment_count);
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < db->version->levels[l].count; i++)
            table_count(db, &db->version->levels[l].tables[i]->desc, counts);
    for (size_t i = 0; i < db->segment_count; i++) {
        const struct segment_entry *e = db->segments[i];
        if (counts[i].records != e->live_records || counts[i].bytes != e->live_bytes)
            return FAIL(CORRUPT, "segment %llu of the value log: %llu live records are counted, tables point to %llu",
                        (unsigned long long)e->desc.number, (unsigned long long)e->live_records,
                        (unsigned long long)counts[i].records);
    }
    return NOKV_OK;
}

/* ---- all of it ----------------------------------------------------------------------------------------------------
 */

static void total_count(struct verify *v, struct nokv_db *db)
{
    struct segment_desc desc = {0};
    for (size_t l = 0; l < LEVELS_MAX; l++)
        v->total_bytes += v->view->version->levels[l].bytes;
    while (segment_next(db, desc.number, &desc))
        v->total_bytes += desc.file_bytes;
}

static enum nokv_status view_verify(struct verify *v, struct nokv_db *db)
{
    const struct version *version = v->view->version;
    total_count(v, db);
    TRY(check_levels(version));
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < version->levels[l].count; i++)
            TRY(table_verify(v, version->levels[l].tables[i]));
    TRY(segments_verify(v, db));
    return counters_verify(db);
}

nokv_status nokv_verify(nokv_db *db, nokv_progress_fn progress, void *arg, nokv_verify_report *out_report)
{
    TRY(epoch_register());
    struct verify v = {.progress = progress, .arg = arg, .report = {.wal_records = db->recovered_records}};
    v.view = db_view_acquire(db);
    enum nokv_status status = view_verify(&v, db);
    db_view_release(db, v.view);
    TRY(status);
    *out_report = v.report;
    return NOKV_OK;
}
