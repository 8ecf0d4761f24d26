// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_verify: read every table of the current version through, while others go on. The logs and the MANIFEST were
 * verified when the database was opened; a version keeps its tables open, so nothing can be missing half way.
 */
#include "db/db.h"

static uint64_t version_bytes(const struct version *v)
{
    uint64_t bytes = 0;
    for (size_t l = 0; l < LEVELS_MAX; l++)
        bytes += v->levels[l].bytes;
    return bytes;
}

static enum nokv_status table_verify(const struct table *t, nokv_verify_report *report)
{
    struct sst_verify_report r = {0};
    TRY(sst_reader_verify(t->reader, &r));
    if (r.entries != t->desc.entries)
        return FAIL(CORRUPT, "table %llu has %llu entries, the MANIFEST says %llu", (unsigned long long)t->desc.number,
                    (unsigned long long)r.entries, (unsigned long long)t->desc.entries);
    report->files++;
    report->bytes += t->desc.file_bytes;
    report->blocks += r.blocks;
    report->entries += r.entries;
    return NOKV_OK;
}

static enum nokv_status version_verify(const struct version *v, nokv_progress_fn progress, void *arg,
                                       nokv_verify_report *report)
{
    uint64_t total = version_bytes(v);
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < v->levels[l].count; i++) {
            TRY(table_verify(v->levels[l].tables[i], report));
            if (progress && !progress(arg, report->bytes, total))
                return FAIL(ABORTED, "the verification was stopped");
        }
    return NOKV_OK;
}

nokv_status nokv_verify(nokv_db *db, nokv_progress_fn progress, void *arg, nokv_verify_report *out_report)
{
    TRY(epoch_register());
    nokv_verify_report report = {.wal_records = db->recovered_records};
    struct view *v = db_view_acquire(db);
    enum nokv_status status = version_verify(v->version, progress, arg, &report);
    view_unref(v);
    TRY(status);
    *out_report = report;
    return NOKV_OK;
}
