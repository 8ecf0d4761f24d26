// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_pollution.c - part 4: what work beside them does to the readers of hot tables, when memory is short.
 *
 * A whole database, through its public interface. Its hot tables fit into a third of the memory that the limit leaves.
 * One thread gets random hot records, one about every 100 us as a server would, while the work is done: a scan of more
 * values than there is memory (by the option vlog_read), a compaction of twice as much as memory, a collection of the
 * value log's garbage (both by background_io; their buffers need memory of their own, so the limit is 32 MiB higher).
 * Measured are the gets' median and 99th percentile while the work lasts, how much of what was resident of the hot
 * tables before is resident after, and how fast the work was.
 *
 * Each sample is a process of its own with the limit: it opens the database, whose files have been dropped from memory,
 * gets every hot record twice, and begins. What the work needs (new versions of the cold records, replaced values) is
 * written before, by another process without a limit. Everything is checked: each get, each value scanned, and after
 * a compaction or a collection all that it has moved.
 *
 * Resident is what the kernel says of the tables' files, so a page that was pushed out and read again counts as kept;
 * the percentiles have its price. The gets wait between each other on purpose: a reader that never rests keeps its
 * pages young whatever happens beside it.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/thread.h"
#include "lab/database.h"

enum { PAUSE_NS = 100000, WARM_PASSES = 2, QUIET_SLICES = 2, SCAN_LIMITS = 4 };

static const uint64_t OWN_BYTES = 32 << 20; /* what a compaction or collection needs for itself */

enum work { WORK_SCAN, WORK_COMPACTION, WORK_COLLECTION, WORKS };

struct way {
    const char *name, *option;
    unsigned model;
    int value; /* of vlog_read or background_io */
};

static const struct way scan_ways[] = {{"auto", "auto", LAB_MODEL_AUTO, NOKV_VLOG_READ_AUTO},
                                       {"mmap", "mmap", IO_MMAP, NOKV_VLOG_READ_MMAP},
                                       {"pread", "pread", IO_STD, NOKV_VLOG_READ_PREAD},
                                       {"O_DIRECT", "direct", IO_DIRECT, NOKV_VLOG_READ_DIRECT},
                                       {"io_uring", "uring", IO_URING, NOKV_VLOG_READ_URING}};
static const struct way background_ways[] = {{"auto", "auto", LAB_MODEL_AUTO, NOKV_IO_DEFAULT},
                                             {"standard I/O", "std", IO_STD, NOKV_IO_STD},
                                             {"O_DIRECT", "direct", IO_DIRECT, NOKV_IO_DIRECT},
                                             {"io_uring", "uring", IO_URING, NOKV_IO_URING}};

static const struct {
    const char *group;
    const struct way *ways;
    unsigned way_count;
    enum lab_choice choice;
    const char *rate_label;
} works[WORKS] = {
    [WORK_SCAN] = {"gets during a value scan", scan_ways, ARRAY_COUNT(scan_ways), LAB_VLOG_READ, "the scan"},
    [WORK_COMPACTION] = {"gets during a compaction", background_ways, ARRAY_COUNT(background_ways), LAB_BACKGROUND_IO,
                         "compaction"},
    [WORK_COLLECTION] = {"gets during a collection", background_ways, ARRAY_COUNT(background_ways), LAB_BACKGROUND_IO,
                         "collection"},
};

/* Shared with the children. */
struct pollution {
    struct lab_database d;
    enum work work;
    const struct way *way;
    struct lab_sample sample;
    struct lab_tally tally;
    double quiet_p50_us, quiet_p99_us;
};

/* ---- the reader ----------------------------------------------------------------------------------------------- */

struct reader {
    const struct lab *lab;
    struct io *io;
    const struct lab_database *d;
    nokv_db *db;
    _Atomic bool stop; /* relaxed: the thread is joined */
    struct histogram ns;
    struct lab_tally tally;
    enum nokv_status status;
    char message[IOLAB_ERROR_SIZE];
};

static enum nokv_status gets_until_stop(struct reader *r)
{
    struct lab_rng rng = {r->lab->seed};
    while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
        uint64_t begin = clock_now_ns();
        TRY(lab_database_get_hot(r->db, r->lab, lab_rng_below(&rng, r->d->hot_count), &r->tally));
        histogram_add(&r->ns, clock_now_ns() - begin);
        io_sleep_ns(r->io, PAUSE_NS);
    }
    return NOKV_OK;
}

static void *reader_main(void *arg)
{
    struct reader *r = arg;
    r->status = gets_until_stop(r);
    if (r->status != NOKV_OK)
        snprintf(r->message, sizeof r->message, "%s", status_message());
    return NULL;
}

/* ---- the work ------------------------------------------------------------------------------------------------- */

static enum nokv_status scan(struct lab *lab, struct pollution *p, nokv_db *db, uint64_t *out_bytes)
{
    uint64_t wanted = SCAN_LIMITS * lab->memory;
    struct lab_tally tally = {0};
    while (tally.verified < wanted && tally.wrong == 0)
        TRY(lab_database_scan_values(db, lab, &p->d, wanted - tally.verified, &tally));
    p->tally.verified += tally.verified;
    p->tally.wrong += tally.wrong;
    *out_bytes = tally.verified;
    return NOKV_OK;
}

static enum nokv_status collect(nokv_db *db, uint64_t *out_bytes)
{
    nokv_stats before = {.struct_size = sizeof before}, after = {.struct_size = sizeof after};
    TRY(lab_database_result(nokv_stats_get(db, false, &before)));
    TRY(lab_database_result(nokv_vlog_collect(db, 1)));
    TRY(lab_database_result(nokv_stats_get(db, false, &after)));
    *out_bytes = after.vlog_moved_bytes - before.vlog_moved_bytes;
    return NOKV_OK;
}

static enum nokv_status work_do(struct lab *lab, struct pollution *p, nokv_db *db, uint64_t *out_bytes)
{
    if (p->work == WORK_SCAN)
        return scan(lab, p, db, out_bytes);
    if (p->work == WORK_COLLECTION)
        return collect(db, out_bytes);
    *out_bytes = p->d.cold_count * (LAB_SMALL_VALUE + 1 + LAB_KEY_BYTES);
    return lab_database_compact_cold(db);
}

/* Is what the work has moved still right? */
static enum nokv_status work_check(struct lab *lab, struct pollution *p, nokv_db *db)
{
    if (p->work == WORK_COMPACTION)
        return lab_database_scan_cold(db, lab, &p->d, &p->tally);
    if (p->work == WORK_COLLECTION)
        return lab_database_scan_values(db, lab, &p->d, UINT64_MAX, &p->tally);
    return NOKV_OK;
}

/* ---- a sample ------------------------------------------------------------------------------------------------- */

/* The gets while `busy` works, or for some slices of quiet. Latencies go to r->ns. */
static enum nokv_status gets_beside(struct lab *lab, struct pollution *p, struct reader *r, bool busy,
                                    uint64_t *out_bytes)
{
    pthread_t thread;
    TRY(thread_create(&thread, "iolab-reader", reader_main, r));
    enum nokv_status status = NOKV_OK;
    if (busy)
        status = work_do(lab, p, r->db, out_bytes);
    else
        io_sleep_ns(r->io, QUIET_SLICES * lab->slice_ns);
    atomic_store_explicit(&r->stop, true, memory_order_relaxed);
    thread_join(thread);
    TRY(status);
    p->tally.verified += r->tally.verified;
    p->tally.wrong += r->tally.wrong;
    return r->status == NOKV_OK ? NOKV_OK : FAIL_WITH(r->status, "%s", r->message);
}

static enum nokv_status quiet_measure(struct lab *lab, struct pollution *p, struct reader *r)
{
    uint64_t none = 0;
    for (uint64_t i = 0; i < WARM_PASSES * p->d.hot_count; i++)
        TRY(lab_database_get_hot(r->db, lab, i % p->d.hot_count, &p->tally));
    TRY(gets_beside(lab, p, r, false, &none));
    p->quiet_p50_us = (double)histogram_percentile(&r->ns, 0.5) / 1e3;
    p->quiet_p99_us = (double)histogram_percentile(&r->ns, 0.99) / 1e3;
    return NOKV_OK;
}

static enum nokv_status sample_take(struct lab *lab, struct io *io, struct pollution *p, nokv_db *db)
{
    static struct reader quiet, busy; /* one sample in a process */
    uint64_t before = 0, after = 0, bytes = 0;
    quiet = (struct reader){.lab = lab, .io = io, .d = &p->d, .db = db};
    busy = (struct reader){.lab = lab, .io = io, .d = &p->d, .db = db};
    TRY(quiet_measure(lab, p, &quiet));
    TRY(lab_database_resident(lab, io, &p->d, &before));
    struct lab_usage from = lab_usage_now(io);
    TRY(gets_beside(lab, p, &busy, true, &bytes));
    uint64_t gets = histogram_count(&busy.ns);
    struct lab_sample all = lab_usage_sample(io, &from, gets, bytes, &busy.ns);
    TRY(lab_database_resident(lab, io, &p->d, &after));
    p->sample = lab_sample_none();
    p->sample.v[LAB_MB_S] = all.v[LAB_MB_S];
    p->sample.v[LAB_P50_US] = all.v[LAB_P50_US];
    p->sample.v[LAB_P99_US] = all.v[LAB_P99_US];
    p->sample.v[LAB_KEPT] = before ? fmin(100, 100 * (double)after / (double)before) : NAN;
    return work_check(lab, p, db);
}

static enum nokv_status sample_task(struct lab *lab, struct io *io, void *arg)
{
    struct pollution *p = arg;
    nokv_options options;
    nokv_db *db = NULL;
    lab_database_options(lab, &options);
    options.read_only = p->work == WORK_SCAN; /* what the process holds is then what it reads */
    options.create_if_missing = false;
    if (p->work == WORK_SCAN)
        options.vlog_read = (nokv_vlog_read)p->way->value;
    else
        options.background_io = (nokv_io_model)p->way->value;
    TRY(lab_database_open(lab, &options, &db));
    enum nokv_status status = sample_take(lab, io, p, db);
    TRY(status);
    return lab_database_close(db);
}

static enum nokv_status prepare_task(struct lab *lab, struct io *io, void *arg)
{
    struct pollution *p = arg;
    if (p->work == WORK_COMPACTION)
        TRY(lab_database_rewrite_cold(lab, &p->d));
    if (p->work == WORK_COLLECTION)
        TRY(lab_database_rewrite_values(lab, &p->d));
    return lab_database_drop(lab, io);
}

static enum nokv_status build_task(struct lab *lab, struct io *io, void *arg)
{
    struct pollution *p = arg;
    return lab_database_build(lab, io, &p->d);
}

/* ---- rows ----------------------------------------------------------------------------------------------------- */

static uint64_t limit_of(const struct lab *lab, const struct pollution *p)
{
    return lab->memory + (p->work == WORK_SCAN ? 0 : OWN_BYTES);
}

static enum nokv_status contender_measure(struct lab *lab, struct pollution *p, struct lab_row *row, unsigned index)
{
    struct lab_contender *c = &row->contenders[index];
    const struct lab_task prepare = {.run = prepare_task, .arg = p};
    const struct lab_task sample = {.run = sample_task, .arg = p, .limit_bytes = limit_of(lab, p), .contender = c};
    p->way = &works[p->work].ways[index];
    p->tally = (struct lab_tally){0};
    TRY(lab_child_run(lab, &prepare));
    TRY(lab_child_run(lab, &sample));
    row->verified += p->tally.verified;
    row->wrong += p->tally.wrong;
    if (!c->failed[0])
        lab_contender_sample(c, &p->sample);
    return NOKV_OK;
}

static enum nokv_status rounds_measure(struct lab *lab, struct pollution *p, struct lab_row *row, double *out_p50,
                                       double *out_p99)
{
    double p50 = 0, p99 = 0;
    unsigned count = 0;
    unsigned rounds = (unsigned)u64_min(lab->rounds, lab->options.quick ? 2 : 3); /* a sample takes seconds */
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned k = 0; k < row->count; k++) {
            unsigned index = (k + round) % row->count;
            if (row->contenders[index].failed[0])
                continue;
            TRY(contender_measure(lab, p, row, index));
            p50 += p->quiet_p50_us;
            p99 += p->quiet_p99_us;
            count++;
        }
    *out_p50 = count ? p50 / count : NAN;
    *out_p99 = count ? p99 / count : NAN;
    return NOKV_OK;
}

static enum nokv_status work_rows(struct lab *lab, struct pollution *p)
{
    double p50 = NAN, p99 = NAN;
    struct lab_row *row = lab_row_add(lab, 4, LAB_P99_US, works[p->work].choice, works[p->work].group, "99th pct");
    row->limited = true;
    for (unsigned i = 0; i < works[p->work].way_count; i++)
        (void)lab_contender_add(lab, row, works[p->work].ways[i].model, works[p->work].ways[i].option, "%s",
                                works[p->work].ways[i].name);
    TRY(rounds_measure(lab, p, row, &p50, &p99));
    lab_row_note(
        row,
        "with nothing beside them the gets took %.2f \xc2\xb5s (median) and %.1f \xc2\xb5s (99th percentile), on "
        "average; memory limited to %lu MiB, of which the hot tables take %lu; rounds: %u",
        p50, p99, limit_of(lab, p) >> 20, lab->memory / 3 >> 20, row->contenders[0].count);
    lab_progress_row(lab, row);
    lab_progress_row(lab, lab_row_derive(lab, row, 4, LAB_P50_US, LAB_NO_CHOICE, row->group, "median"));
    lab_progress_row(lab, lab_row_derive(lab, row, 4, LAB_KEPT, row->choice, row->group, "pages kept"));
    lab_progress_row(lab, lab_row_derive(lab, row, 4, LAB_MB_S, row->choice, row->group, works[p->work].rate_label));
    return NOKV_OK;
}

static enum nokv_status all_works(struct lab *lab, struct pollution *p)
{
    const struct lab_task build = {.run = build_task, .arg = p};
    lab_database_init(lab, &p->d);
    TRY(lab_child_run(lab, &build));
    for (unsigned work = 0; work < WORKS; work++) {
        p->work = (enum work)work;
        TRY(work_rows(lab, p));
    }
    return NOKV_OK;
}

enum nokv_status lab_pollution(struct lab *lab)
{
    lab_progress(lab, "%s", lab_part_titles[4]);
    if (!lab->cgroup.version) {
        struct lab_row *row = lab_row_add(lab, 4, LAB_P99_US, LAB_NO_CHOICE, "gets beside other work", "99th pct");
        row->skipped = true;
        lab_row_note(row, "memory cannot be limited here, and where there is enough of it nothing is pushed out");
        return NOKV_OK;
    }
    struct pollution *p = lab_shared_alloc(sizeof *p);
    enum nokv_status status = p ? all_works(lab, p) : FAIL(NO_MEMORY, "iolab: the state of part 4");
    lab_shared_free(p, sizeof *p);
    return status;
}
