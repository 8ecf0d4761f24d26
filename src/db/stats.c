// SPDX-License-Identifier: Apache-2.0
/*
 * Figures: gathered when asked for, from counters that their owners keep. A snapshot of moving numbers: each is right
 * by itself, they are not all from the same instant.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "db/db.h"
#include "lsm/names.h"

const char *nokv_version(void)
{
    return "0.1.0";
}

const char *nokv_status_name(nokv_status status)
{
    return status_name(status);
}

const char *nokv_status_text(nokv_status status)
{
    return status_text(status);
}

const char *nokv_error_message(void)
{
    return status_message();
}

void nokv_free(void *memory)
{
    mem_free(memory);
}

static_assert((int)NOKV_COMPONENT_COUNT == (int)IO_COMPONENT_COUNT, "the components of API and I/O layer are the same");
static_assert((int)NOKV_LEVELS_MAX == (int)LEVELS_MAX, "the levels of API and tree are the same");

/* ---- components ------------------------------------------------------------------------------------------------- */

static uint64_t relaxed(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void component_fill(const struct nokv_db *db, enum io_component c, nokv_component_stats *out)
{
    const struct io_component_stats *io = io_component_stats(db->io, c);
    static const enum io_model none = IO_STD;
    enum io_model model = c == IO_SST   ? (db->env.access.is_copied ? db->env.access.model : IO_MMAP)
                          : c == IO_WAL ? (enum io_model)(db->options.wal_write - NOKV_IO_STD)
                          : c == IO_FLUSH || c == IO_COMPACTION ? warm_write_model(db)
                                                                : none;
    static const char *const vlog_models[] = {[NOKV_VLOG_READ_AUTO] = "auto",
                                              [NOKV_VLOG_READ_MMAP] = "mmap",
                                              [NOKV_VLOG_READ_PREAD] = "pread",
                                              [NOKV_VLOG_READ_DIRECT] = "direct",
                                              [NOKV_VLOG_READ_URING] = "uring"};
    out->name = io_component_name(c);
    out->model = c == IO_VLOG ? vlog_models[db->options.vlog_read] : io_model_name(model);
    if (c == IO_VLOG && db->options.vlog_read == NOKV_VLOG_READ_AUTO && coldness_is_cold(&db->values_cold))
        out->model = vlog_models[NOKV_VLOG_READ_PREAD];
    out->reads = relaxed(&io->ops[IO_OP_READ].calls);
    out->read_bytes = relaxed(&io->ops[IO_OP_READ].bytes);
    out->writes = relaxed(&io->ops[IO_OP_WRITE].calls);
    out->write_bytes = relaxed(&io->ops[IO_OP_WRITE].bytes);
    out->syncs = relaxed(&io->ops[IO_OP_SYNC].calls);
    for (int op = 0; op < IO_OP_COUNT; op++)
        out->calls += relaxed(&io->ops[op].calls);
    out->sync_ns_p50 = histogram_percentile(&io->ops[IO_OP_SYNC].ns, 0.5);
    out->sync_ns_p99 = histogram_percentile(&io->ops[IO_OP_SYNC].ns, 0.99);
    out->write_ns_p50 = histogram_percentile(&io->ops[IO_OP_WRITE].ns, 0.5);
    out->write_ns_p99 = histogram_percentile(&io->ops[IO_OP_WRITE].ns, 0.99);
    out->read_ns_p50 = histogram_percentile(&io->ops[IO_OP_READ].ns, 0.5);
    out->read_ns_p99 = histogram_percentile(&io->ops[IO_OP_READ].ns, 0.99);
    out->resident_bytes = UINT64_MAX;
}

/* ---- the tree --------------------------------------------------------------------------------------------------- */

static const char *level_model(const struct nokv_db *db, size_t l)
{
    const struct table_env *env = &db->env;
    bool is_copied = env->access.is_copied || coldness_is_cold(&env->cold[l]);
    return io_model_name(is_copied ? env->access.model : IO_MMAP);
}

static void levels_fill(struct nokv_db *db, const struct version *v, bool tidy, nokv_stats *s)
{
    struct level_targets targets;
    picker_targets(v, &db->picker, tidy, &targets);
    s->pending_compaction_bytes = targets.pending_bytes;
    for (size_t l = 0; l < LEVELS_MAX; l++) {
        nokv_level_stats *out = &s->levels[l];
        out->files = v->levels[l].count;
        out->bytes = v->levels[l].bytes;
        out->score = targets.score[l];
        out->model = level_model(db, l);
        out->changes = relaxed(&db->env.cold[l].changes);
        for (size_t i = 0; i < v->levels[l].count; i++) {
            out->entries += v->levels[l].tables[i]->desc.entries;
            s->components[NOKV_COMPONENT_SST].faulted_files += sst_reader_is_faulted(v->levels[l].tables[i]->reader);
            out->tombstones += v->levels[l].tables[i]->desc.tombstones;
        }
        s->components[NOKV_COMPONENT_SST].files += out->files;
        s->components[NOKV_COMPONENT_SST].bytes += out->bytes;
    }
}

static void cache_fill(struct cache *cache, nokv_stats *s)
{
    struct cache_stats c;
    cache_stats_get(cache, &c);
    s->block_cache_bytes = c.bytes;
    s->block_cache_bytes_max = c.bytes_max;
    s->block_cache_hits = c.hits;
    s->block_cache_misses = c.misses;
}

static void state_fill_locked(struct nokv_db *db, nokv_stats *s)
{
    for (size_t l = 0; l < LEVELS_MAX; l++)
        s->levels[l] = db->level_stats[l];
    s->immutable_count = db->immutable_count;
    for (size_t i = 0; i < db->immutable_count; i++)
        s->immutable_bytes += memtable_bytes(db->immutables[i].mem);
    s->memtable_bytes = memtable_bytes(db->mem);
    s->snapshots = db->snapshot_count;
    s->flushes = db->flushes;
    s->compactions = db->compactions;
    s->stall_ns = db->stall_ns;
    s->vlog_space_amp_max = db->options.vlog_space_amp_max;
    s->vlog_collections = db->collections;
    s->vlog_moved_bytes = db->moved_bytes;
    s->vlog_reclaimed_bytes = db->reclaimed_bytes;
    for (size_t i = 0; i < db->segment_count; i++) {
        s->vlog_live_bytes += db->segments[i]->live_bytes;
        s->components[NOKV_COMPONENT_VLOG].files++;
        struct vlog_reader *r = segment_reader_now(db->segments[i]->segment);
        s->components[NOKV_COMPONENT_VLOG].faulted_files += r && vlog_reader_is_faulted(r);
        s->components[NOKV_COMPONENT_VLOG].bytes += segment_bytes_locked(db->segments[i]);
    }
    int poisoned = atomic_load_explicit(&db->poisoned, memory_order_acquire);
    s->background_error = poisoned != NOKV_OK ? (nokv_status)poisoned : db->soft_error;
    s->components[NOKV_COMPONENT_WAL].files = db->old_log_count + (db->wal != NULL);
    if (db->manifest) {
        s->components[NOKV_COMPONENT_MANIFEST].files = 1;
        s->components[NOKV_COMPONENT_MANIFEST].bytes = manifest_bytes(db->manifest);
    }
}

static void writes_fill(struct nokv_db *db, nokv_stats *s)
{
    mutex_lock(&db->write_mu);
    s->sequence = db->last_seq;
    s->puts = db->puts;
    s->deletes = db->deletes;
    s->batches = db->batches;
    s->user_bytes_written = db->user_bytes;
    if (db->wal)
        s->components[NOKV_COMPONENT_WAL].bytes = rlog_end(db->wal);
    mutex_unlock(&db->write_mu);
    mutex_lock(&db->sync_mu);
    s->wal_groups = db->wal_groups;
    mutex_unlock(&db->sync_mu);
    s->wal_records = relaxed(&db->wal_records);
    s->vlog_direct_bytes = relaxed(&db->direct_bytes);
    s->slowdown_ns = relaxed(&db->slowdown_ns);
    for (size_t i = 0; i < COUNTER_SLOTS; i++) {
        s->gets += relaxed(&db->counters[i].gets);
        s->gets_found += relaxed(&db->counters[i].gets_found);
        s->iterators += relaxed(&db->counters[i].iterators);
    }
}

struct residency {
    struct nokv_db *db;
    nokv_stats *stats;
};

static void residency_add(struct residency *r, nokv_component component, const char *path)
{
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    if (io_open(r->db->io, path, IO_OTHER, IO_STD, IO_READ, &file) != NOKV_OK)
        return; /* gone meanwhile */
    uint64_t bytes = io_resident(file), *sum = &r->stats->components[component].resident_bytes;
    if (bytes != UINT64_MAX)
        *sum = (*sum == UINT64_MAX ? 0 : *sum) + bytes;
}

static enum nokv_status segment_residency_add(void *arg, const char *name)
{
    struct residency *r = arg;
    char path[PATH_SIZE_MAX];
    uint64_t number;
    if (file_type_of(name, &number) != FILE_VLOG)
        return NOKV_OK;
    TRY(path_vlog(path, r->db->dir, number));
    residency_add(r, NOKV_COMPONENT_VLOG, path);
    return NOKV_OK;
}

static enum nokv_status segments_residency_add(struct residency *r)
{
    char path[PATH_SIZE_MAX];
    TRY(path_vlog_dir(path, r->db->dir));
    enum nokv_status status = io_list(r->db->io, path, segment_residency_add, r);
    return status == NOKV_ERR_NOT_FOUND ? NOKV_OK : status;
}

static enum nokv_status file_residency_add(void *arg, const char *name)
{
    struct residency *r = arg;
    char path[PATH_SIZE_MAX];
    uint64_t number;
    enum file_type type = file_type_of(name, &number);
    nokv_component component = type == FILE_MANIFEST  ? NOKV_COMPONENT_MANIFEST
                               : type == FILE_CURRENT ? NOKV_COMPONENT_OTHER
                                                      : NOKV_COMPONENT_WAL;
    if (type != FILE_WAL && type != FILE_WALBUF && type != FILE_MANIFEST && type != FILE_CURRENT)
        return NOKV_OK;
    TRY(path_join(path, r->db->dir, name));
    residency_add(r, component, path);
    return NOKV_OK;
}

static enum nokv_status residency_fill(struct nokv_db *db, const struct version *v, nokv_stats *s)
{
    struct residency r = {.db = db, .stats = s};
    uint64_t resident = 0;
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < v->levels[l].count; i++)
            resident += sst_reader_resident_bytes(v->levels[l].tables[i]->reader);
    s->components[NOKV_COMPONENT_SST].resident_bytes = resident;
    TRY(io_list(db->io, db->dir, file_residency_add, &r));
    return segments_residency_add(&r);
}

nokv_status nokv_stats_get(nokv_db *db, bool with_residency, nokv_stats *stats)
{
    if (stats == NULL || stats->struct_size < sizeof(uint32_t) || stats->struct_size > sizeof *stats)
        return FAIL(INVALID, "nokv_stats.struct_size is not set to sizeof(nokv_stats)");
    TRY(epoch_register());
    nokv_stats s = {.struct_size = stats->struct_size};
    struct view *v = db_view_acquire(db);
    mutex_lock(&db->mu);
    state_fill_locked(db, &s);
    bool tidy = background_is_tidy_locked(db);
    mutex_unlock(&db->mu);
    s.memory_bytes = db->memory_bytes;
    s.memory_source = db->memory_source;
    for (int c = 0; c < IO_COMPONENT_COUNT; c++)
        component_fill(db, (enum io_component)c, &s.components[c]);
    writes_fill(db, &s);
    levels_fill(db, v->version, tidy, &s);
    if (db->cache)
        cache_fill(db->cache, &s);
    enum nokv_status status = with_residency ? residency_fill(db, v->version, &s) : NOKV_OK;
    db_view_release(db, v);
    TRY(status);
    s.recovered_records = db->recovered_records;
    s.recovered_cut_bytes = db->recovered_cut_bytes;
    s.io_uring = io_uring_state(db->io);
    memcpy(stats, &s, stats->struct_size);
    return NOKV_OK;
}

/* ---- as a text -------------------------------------------------------------------------------------------------- */

struct text {
    struct buf bytes;
    enum nokv_status failed; /* the first line that found no memory: no text, rather than one without it */
};

PRINTF_LIKE(2, 3)
static void line_append(struct text *t, const char *fmt, ...)
{
    char line[256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (n > 0 && t->failed == NOKV_OK)
        t->failed = buf_append(&t->bytes, line, u64_min((uint64_t)n, sizeof line - 1));
}

static void text_summary(struct text *t, const nokv_stats *s)
{
    line_append(t,
                "sequence %" PRIu64 ", puts %" PRIu64 ", deletes %" PRIu64 ", gets %" PRIu64 " (found %" PRIu64
                "), iterators %" PRIu64 ", snapshots %" PRIu64 "\n",
                s->sequence, s->puts, s->deletes, s->gets, s->gets_found, s->iterators, s->snapshots);
    line_append(t,
                "memtable %" PRIu64 " KiB, waiting for flush %" PRIu64 " (%" PRIu64 " KiB); flushes %" PRIu64
                ", compactions %" PRIu64 ", pending %" PRIu64 " MiB\n",
                s->memtable_bytes >> 10, s->immutable_count, s->immutable_bytes >> 10, s->flushes, s->compactions,
                s->pending_compaction_bytes >> 20);
    line_append(t,
                "writers waited %" PRIu64 " ms, were slowed %" PRIu64 " ms; batches in the log %" PRIu64
                ", syncs of it %" PRIu64 "\n",
                s->stall_ns / 1000000, s->slowdown_ns / 1000000, s->wal_records, s->wal_groups);
    line_append(t,
                "value log %" PRIu64 " MiB in %" PRIu64 " segments, pointed to %" PRIu64 " MiB; collected %" PRIu64
                " times: moved %" PRIu64 " MiB, removed %" PRIu64 " MiB\n",
                s->components[NOKV_COMPONENT_VLOG].bytes >> 20, s->components[NOKV_COMPONENT_VLOG].files,
                s->vlog_live_bytes >> 20, s->vlog_collections, s->vlog_moved_bytes >> 20,
                s->vlog_reclaimed_bytes >> 20);
    if (s->block_cache_hits + s->block_cache_misses != 0)
        line_append(t, "block cache %" PRIu64 " of %" PRIu64 " MiB, hits %" PRIu64 ", misses %" PRIu64 "\n",
                    s->block_cache_bytes >> 20, s->block_cache_bytes_max >> 20, s->block_cache_hits,
                    s->block_cache_misses);
    uint64_t faulted =
        s->components[NOKV_COMPONENT_SST].faulted_files + s->components[NOKV_COMPONENT_VLOG].faulted_files;
    if (faulted != 0)
        line_append(t, "files that could not be read in part: %" PRIu64 " (see the kernel's log, then nokv verify)\n",
                    faulted);
    line_append(t, "memory %" PRIu64 " MiB (%s)\n", s->memory_bytes >> 20, s->memory_source);
    line_append(t, "at open: %" PRIu64 " log records replayed, %" PRIu64 " bytes of a torn tail cut; background: %s\n",
                s->recovered_records, s->recovered_cut_bytes, nokv_status_name(s->background_error));
}

static void text_tables(struct text *t, const nokv_stats *s)
{
    line_append(
        t, "\nlevel  files       MiB    entries  tombstones  score  read MiB  write MiB  merges  moves  read by\n");
    for (int l = 0; l < NOKV_LEVELS_MAX; l++) {
        const nokv_level_stats *v = &s->levels[l];
        line_append(t,
                    "%5d %6" PRIu64 " %9" PRIu64 " %10" PRIu64 " %11" PRIu64 " %6.2f %9" PRIu64 " %10" PRIu64
                    " %7" PRIu64 " %6" PRIu64 "  %s\n",
                    l, v->files, v->bytes >> 20, v->entries, v->tombstones, v->score, v->read_bytes >> 20,
                    v->write_bytes >> 20, v->compactions, v->trivial_moves, v->model);
    }
    line_append(
        t, "\ncomponent  model  files      MiB     reads  read MiB    writes  write MiB   syncs  sync us p50/p99\n");
    for (int c = 0; c < NOKV_COMPONENT_COUNT; c++) {
        const nokv_component_stats *v = &s->components[c];
        line_append(t,
                    "%-10s %-6s %5" PRIu64 " %8" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %10" PRIu64
                    " %7" PRIu64 "  %" PRIu64 "/%" PRIu64 "\n",
                    v->name, v->model, v->files, v->bytes >> 20, v->reads, v->read_bytes >> 20, v->writes,
                    v->write_bytes >> 20, v->syncs, v->sync_ns_p50 / 1000, v->sync_ns_p99 / 1000);
    }
    line_append(t, "io_uring: %s\n", s->io_uring);
}

nokv_status nokv_stats_text(nokv_db *db, char **out_text)
{
    nokv_stats s = {.struct_size = sizeof s};
    TRY(nokv_stats_get(db, false, &s));
    struct text t = {0};
    text_summary(&t, &s);
    text_tables(&t, &s);
    if (t.failed == NOKV_OK)
        t.failed = buf_append(&t.bytes, "", 1);
    if (t.failed != NOKV_OK) {
        buf_deinit(&t.bytes);
        return t.failed;
    }
    *out_text = (char *)t.bytes.data;
    return NOKV_OK;
}
