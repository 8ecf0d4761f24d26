// SPDX-License-Identifier: Apache-2.0
/*
 * Collecting the value log's garbage: which segments, and when. docs/vlog.md has the measurements behind it.
 *
 *      more than vlog_space_amp_max ──► choose victims, those with the most garbage per byte first
 *          ──► every compaction that begins from now on takes their values along
 *          ──► tables that no compaction comes by are rewritten on their own level (rewrite_run)
 *          ──► nothing points to a victim any more ──► an edit removes it ──► the last view goes, the file is unlinked
 *
 * How much of a segment is live is known exactly (S1 of segments.h), so nothing is sampled, and no segment is read to
 * find out what is in it. A moved value keeps its key and sequence number, so there is no race to lose against a
 * writer: whatever was written since is newer, and snapshots see what they saw. The old segment goes only after the
 * edit that names the tables with the new pointers is durable, and that edit only after the moved values are.
 *
 * [C1] Victims are chosen among settled segments only; one that is damaged is left alone.
 * [C2] A round stops at what brings the sum down to the goal, which is a little below the bound, so that rounds are not
 *      begun for every little bit; at MOVED_MAX bytes that it has to move, so that other work gets its turn; and at
 *      VICTIMS_MAX segments, each of which costs a window of memory.
 * [C3] Below SLACK of garbage nothing is done: a small database is not rewritten for the sake of a ratio.
 *
 * Why not a pass of its own over a segment's records with a lookup for each, as most value logs have it: measured, see
 * docs/vlog.md. In short: the lookups are random reads, the new pointers are writes (log, memtable, compaction) with
 * new sequence numbers, and each has to be compared with what a user wrote meanwhile.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "db/db.h"

#define MOVED_MAX (256ull << 20)
#define REWRITE_MAX (64ull << 20) /* moved by one rewrite */
#define SLACK (16ull << 20)
enum { VICTIMS_MAX = 32 };
enum { OVERHEAD_PAGES = 4 }; /* header, footer, two rests of pages: of every segment, however well it is filled */

/* ---- how much there is ------------------------------------------------------------------------------------------ */

struct sums {
    uint64_t file_bytes, live_bytes, garbage_bytes;
};

/* What collecting it would give back. */
static uint64_t garbage_of(const struct segment_entry *e)
{
    uint64_t kept = e->live_bytes + OVERHEAD_PAGES * PAGE_BYTES;
    return e->desc.file_bytes > kept ? e->desc.file_bytes - kept : 0;
}

static bool is_collectable_locked(const struct nokv_db *db, const struct segment_entry *e)
{
    return segment_is_settled_locked(db, e) && !e->damaged && !e->removing;
}

static struct sums sums_locked(const struct nokv_db *db)
{
    struct sums s = {0};
    for (size_t i = 0; i < db->segment_count; i++) {
        const struct segment_entry *e = db->segments[i];
        if (!is_collectable_locked(db, e))
            continue;
        s.file_bytes += e->desc.file_bytes;
        s.live_bytes += e->live_bytes;
        s.garbage_bytes += garbage_of(e);
    }
    return s;
}

/* Under a stream of writes garbage is let grow to twice as much: what is collected later has less left to be moved. */
static double wanted_amp(const struct nokv_db *db)
{
    double bound = db->options.vlog_space_amp_max;
    if (db->collect_amp != 0)
        return db->collect_amp;
    return db->tidy ? bound : 1 + (bound - 1) * 2;
}

static uint64_t slack_of(const struct nokv_db *db)
{
    return db->collect_amp != 0 ? PAGE_BYTES : u64_min(SLACK, db->options.vlog_segment_bytes / 4);
}

static bool is_over(const struct nokv_db *db, const struct sums *s, double amp)
{
    return s->garbage_bytes > slack_of(db) && (double)(s->live_bytes + s->garbage_bytes) > (double)s->live_bytes * amp;
}

bool collect_is_over_locked(const struct nokv_db *db)
{
    struct sums s = sums_locked(db);
    return is_over(db, &s, db->options.vlog_space_amp_max);
}

/* From somewhat above where collecting begins. */
double collect_debt_locked(const struct nokv_db *db)
{
    struct sums s = sums_locked(db);
    double bound = db->options.vlog_space_amp_max, busy = 1 + (bound - 1) * 2;
    double from = bound * 1.5 > busy * 1.2 ? bound * 1.5 : busy * 1.2;
    if (s.garbage_bytes < 4 * SLACK || !is_over(db, &s, from))
        return 0;
    double amp = (double)s.file_bytes / (double)(s.live_bytes + 1);
    return (amp - from) / (bound * 2);
}

/*
 * What a memtable's direct values supersede is known as garbage only when it has been flushed and merged; pointers are
 * small, and a memtable full of them may stand for many times the database. A sixth of what is live at a time leaves
 * the collector something to do and costs a small flush.
 */
uint64_t collect_mem_values_max_locked(const struct nokv_db *db)
{
    return u64_max(sums_locked(db).live_bytes / 6, db->options.vlog_segment_bytes);
}

/* ---- choosing --------------------------------------------------------------------------------------------------- */

/* Most garbage per byte of the file first; the older one among equals. */
static int compare_garbage(const void *a, const void *b)
{
    const struct segment_entry *x = *(struct segment_entry *const *)a, *y = *(struct segment_entry *const *)b;
    double fx = (double)garbage_of(x) / (double)x->desc.file_bytes;
    double fy = (double)garbage_of(y) / (double)y->desc.file_bytes;
    if (fx != fy)
        return fx > fy ? -1 : 1;
    return x->desc.number < y->desc.number ? -1 : x->desc.number > y->desc.number;
}

static bool has_victims_locked(const struct nokv_db *db)
{
    for (size_t i = 0; i < db->segment_count; i++)
        if (db->segments[i]->collecting && db->segments[i]->live_records > 0)
            return true;
    return false;
}

/* Worth a rewrite? Wholly dead ones are removed without one. */
static bool is_candidate_locked(const struct nokv_db *db, const struct segment_entry *e)
{
    return is_collectable_locked(db, e) && e->live_records > 0 && garbage_of(e) > e->desc.file_bytes / 64;
}

static void victims_mark(struct nokv_db *db, struct segment_entry **candidates, size_t count, struct sums s)
{
    double goal = 1 + (wanted_amp(db) - 1) * 0.8;
    uint64_t moved = 0;
    for (size_t i = 0; i < count && i < VICTIMS_MAX && is_over(db, &s, goal); i++) {
        struct segment_entry *e = candidates[i];
        if (moved > 0 && moved + e->live_bytes > MOVED_MAX)
            break;
        e->collecting = true;
        moved += e->live_bytes;
        s.garbage_bytes -= garbage_of(e);
    }
    db->collections++;
}

void collect_choose_locked(struct nokv_db *db)
{
    struct sums s = sums_locked(db);
    if (has_victims_locked(db) || !is_over(db, &s, wanted_amp(db)))
        return;
    struct segment_entry **candidates CLEANUP(mem_free_ptr) =
        mem_alloc((db->segment_count + 1) * sizeof(struct segment_entry *));
    size_t count = 0;
    for (size_t i = 0; candidates && i < db->segment_count; i++) /* without memory: at the next occasion */
        if (is_candidate_locked(db, db->segments[i]))
            candidates[count++] = db->segments[i];
    if (count == 0)
        return;
    qsort(candidates, count, sizeof(struct segment_entry *), compare_garbage);
    victims_mark(db, candidates, count, s);
}

enum nokv_status collect_victims_locked(struct nokv_db *db, uint64_t **out_numbers, size_t *out_count,
                                        bool *out_scattered)
{
    size_t count = 0;
    *out_scattered = false;
    collect_choose_locked(db);
    for (size_t i = 0; i < db->segment_count; i++)
        count += db->segments[i]->collecting;
    *out_count = 0;
    if (count == 0)
        return NOKV_OK;
    uint64_t *numbers = mem_alloc(count * sizeof *numbers);
    if (numbers == NULL)
        return FAIL(NO_MEMORY, "no memory for a list of %zu segments", count);
    for (size_t i = 0; i < db->segment_count; i++) {
        if (!db->segments[i]->collecting)
            continue;
        numbers[(*out_count)++] = db->segments[i]->desc.number;
        *out_scattered |= db->segments[i]->desc.origin == SEGMENT_DIRECT;
    }
    *out_numbers = numbers;
    return NOKV_OK;
}

void collect_note_damaged_locked(struct nokv_db *db, const uint64_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct segment_entry *e = segments_find_locked(db, numbers[i]);
        if (e == NULL)
            continue;
        e->damaged = true;
        e->collecting = false;
    }
}

/* ---- rewriting -------------------------------------------------------------------------------------------------- */

/* Bytes that the table points to in victims. */
static uint64_t table_victim_bytes(struct nokv_db *db, const struct table *t)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < t->desc.ref_count; i++) {
        const struct segment_entry *e = segments_find_locked(db, t->desc.refs[i].segment);
        bytes += e && e->collecting ? t->desc.refs[i].bytes : 0;
    }
    return bytes;
}

static enum nokv_status level_pick(struct nokv_db *db, uint32_t l, struct compaction_inputs *in, uint64_t *moved)
{
    const struct level *level = &db->version->levels[l];
    if (level->count == 0)
        return NOKV_OK;
    in->tables[l] = mem_alloc(level->count * sizeof(struct table *));
    if (in->tables[l] == NULL)
        return FAIL(NO_MEMORY, "no memory to rewrite %zu tables", level->count);
    for (size_t i = 0; i < level->count && *moved < REWRITE_MAX; i++) {
        uint64_t bytes = level->tables[i]->compacting ? 0 : table_victim_bytes(db, level->tables[i]);
        if (bytes == 0)
            continue;
        in->tables[l][in->counts[l]++] = level->tables[i];
        *moved += bytes;
    }
    return NOKV_OK;
}

/* From the bottom up: there is most. Level 0 only when nobody merges it: its tables go together. */
enum nokv_status collect_pick_locked(struct nokv_db *db, struct compaction_inputs *out_inputs, bool *out_found)
{
    uint64_t moved = 0;
    *out_found = false;
    *out_inputs = (struct compaction_inputs){0};
    collect_choose_locked(db);
    if (!has_victims_locked(db))
        return NOKV_OK;
    for (uint32_t l = LEVELS_MAX; l-- > 0;) {
        enum nokv_status status = l == 0 && db->level0_busy ? NOKV_OK : level_pick(db, l, out_inputs, &moved);
        if (status != NOKV_OK) {
            compaction_inputs_deinit(out_inputs);
            return status;
        }
        if (out_inputs->counts[l] > 0)
            out_inputs->level = out_inputs->output_level = l;
    }
    *out_found = moved > 0;
    if (!*out_found)
        compaction_inputs_deinit(out_inputs);
    return NOKV_OK;
}

/* ---- removing --------------------------------------------------------------------------------------------------- */

static bool is_dead_locked(const struct nokv_db *db, const struct segment_entry *e)
{
    return e->live_records == 0 && !e->removing && segment_is_settled_locked(db, e);
}

enum nokv_status collect_pick_dead_locked(struct nokv_db *db, struct edit *edit, bool *out_found)
{
    *out_found = false;
    for (size_t i = 0; i < db->segment_count; i++) {
        if (!is_dead_locked(db, db->segments[i]))
            continue;
        enum nokv_status status = edit_remove_segment(edit, db->segments[i]->desc.number);
        if (status != NOKV_OK) {
            collect_unpick_dead_locked(db, edit);
            edit_deinit(edit);
            return status;
        }
        db->segments[i]->removing = *out_found = true;
    }
    return NOKV_OK;
}

void collect_unpick_dead_locked(struct nokv_db *db, const struct edit *edit)
{
    for (size_t i = 0; i < edit->segment_remove_count; i++) {
        struct segment_entry *e = segments_find_locked(db, edit->segment_removes[i]);
        if (e)
            e->removing = false;
    }
}

bool collect_is_due_locked(struct nokv_db *db)
{
    collect_choose_locked(db);
    if (has_victims_locked(db))
        return true;
    for (size_t i = 0; i < db->segment_count; i++)
        if (is_dead_locked(db, db->segments[i]) || db->segments[i]->removing ||
            (db->segments[i]->full && db->segments[i]->users == 0 && db->segments[i]->segment->writer))
            return true;
    return false;
}

/* ---- what the API offers ---------------------------------------------------------------------------------------- */

/* One goal at a time: the next caller waits for its turn. */
static void goal_begin(struct nokv_db *db, double space_amp)
{
    mutex_lock(&db->mu);
    while (db->collect_amp != 0)
        cond_wait(&db->state_cond, &db->mu);
    db->collect_amp = space_amp;
    background_wake_locked(db);
    mutex_unlock(&db->mu);
}

static void goal_end(struct nokv_db *db)
{
    mutex_lock(&db->mu);
    db->collect_amp = 0;
    cond_broadcast(&db->state_cond);
    mutex_unlock(&db->mu);
}

nokv_status nokv_vlog_collect(nokv_db *db, double space_amp)
{
    if (space_amp != 0 && !(space_amp >= 1 && space_amp <= 1000))
        return FAIL(INVALID, "nokv_vlog_collect: a space amplification of %g; allowed are 0 and 1 to 1000", space_amp);
    TRY(nokv_flush(db));
    goal_begin(db, space_amp != 0 ? space_amp : db->options.vlog_space_amp_max);
    enum nokv_status status = nokv_wait_idle(db);
    goal_end(db);
    return status;
}

static const char *state_name(const struct segment_entry *e)
{
    if (e->segment->writer)
        return e->full ? "sealing" : "active";
    return e->collecting ? "collecting" : e->damaged ? "damaged" : e->desc.sealed ? "sealed" : "unsealed";
}

/* One after the other, so that no lock is held while the user's function runs. */
static bool segment_describe(struct nokv_db *db, uint64_t above, nokv_vlog_segment *out)
{
    struct mutex *held CLEANUP(mutex_unlock_ptr) = mutex_hold(&db->mu);
    (void)held;
    for (size_t i = 0; i < db->segment_count; i++) {
        const struct segment_entry *e = db->segments[i];
        if (e->desc.number <= above)
            continue;
        *out = (nokv_vlog_segment){.number = e->desc.number,
                                   .origin = segment_origin_name(e->desc.origin),
                                   .state = state_name(e),
                                   .file_bytes = segment_bytes_locked(e),
                                   .live_records = e->live_records,
                                   .live_bytes = e->live_bytes,
                                   .pending = !segment_is_settled_locked(db, e),
                                   .reads = segment_reads(e->segment)};
        return true;
    }
    return false;
}

nokv_status nokv_vlog_segments(nokv_db *db, nokv_vlog_segment_fn fn, void *arg)
{
    nokv_vlog_segment segment = {0};
    while (segment_describe(db, segment.number, &segment))
        if (!fn(arg, &segment))
            break;
    return NOKV_OK;
}
