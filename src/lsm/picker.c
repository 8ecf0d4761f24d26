// SPDX-License-Identifier: Apache-2.0
/*
 * Picking compactions.
 *
 * When level 0 is merged is a bargain between what a merge rewrites and what each of its tables costs every read: a
 * filter probe for a get, a search for a seek. Under a stream of writes nobody gains by merging early, so level 0 may
 * grow to l0_busy_files; a fill of a few gigabytes is then merged once, not once per four tables. When the writes
 * pause or reads abound (`tidy`), l0_compact_files are enough, unless they are less than an eighth of the base level:
 * then the merge would rewrite much for little. Tables that point to values hide garbage: which of the values below
 * they supersede is known only after a merge, and merging pointers is cheap. So level 0 is also due when the values
 * that it points to are a large part of all, and more than the bytes that the merge rewrites.
 *
 * Of another level that is over its target, the table that overlaps the fewest bytes per own byte of the level below is
 * moved down (least write amplification); ties go to the oldest.
 *
 * [I1] Two compactions that run at once have no table in common. Their outputs are then disjoint as well: an output
 *      range lies inside the hull of its inputs on the output level and the level above, and tables in a hull are
 * inputs. Level 0 overlaps itself, so at most one compaction from it runs.
 */
#include "lsm/picker.h"

#include "base/alloc.h"

enum { CHEAP_MERGE = 64 };

void compaction_inputs_deinit(struct compaction_inputs *in)
{
    for (size_t l = 0; l < LEVELS_MAX; l++)
        mem_free(in->tables[l]);
    *in = (struct compaction_inputs){0};
}

/* ---- targets and scores --------------------------------------------------------------------------------------- */

static uint64_t oldest_value_bytes(const struct level *zero)
{
    const struct table *oldest = zero->tables[zero->count - 1];
    uint64_t bytes = 0;
    for (size_t i = 0; i < oldest->desc.ref_count; i++)
        bytes += oldest->desc.refs[i].bytes;
    return bytes;
}

/* Shares: a quarter of what lies below under a stream of writes, a sixteenth once that can be had for one merge. Where
 * values are hundreds of times larger than their pointers no number of tables has to be waited for. */
static bool level0_hides_values(const struct version *v, const struct picker_options *o, bool tidy, uint32_t base_level)
{
    const struct level *zero = &v->levels[0];
    uint64_t above = zero->value_bytes, below = 0, rewritten = zero->bytes + v->levels[base_level].bytes;
    bool is_cheap = tidy || above / CHEAP_MERGE > rewritten;
    for (size_t l = 1; l < LEVELS_MAX; l++)
        below += v->levels[l].value_bytes;
    if (zero->count < (is_cheap ? 1 : o->l0_compact_files))
        return false;
    if (below == 0) { /* level 0 is all there is: its newer tables hide what the oldest has */
        below = oldest_value_bytes(zero);
        above -= below;
    }
    return below != 0 && above != 0 && above >= below / (tidy ? 16 : 4) && above > rewritten;
}

static bool level0_is_due(const struct version *v, const struct picker_options *o, bool tidy, uint32_t base_level)
{
    const struct level *zero = &v->levels[0];
    if (zero->count >= o->l0_busy_files || level0_hides_values(v, o, tidy, base_level))
        return true;
    return tidy && zero->count >= o->l0_compact_files && zero->bytes >= v->levels[base_level].bytes / 8;
}

static void targets_set(const struct version *v, const struct picker_options *o, struct level_targets *t)
{
    uint32_t last = LEVELS_MAX - 1, first_used = last;
    uint64_t largest = v->levels[last].bytes;
    for (uint32_t l = last; l >= 1; l--) {
        largest = u64_max(largest, v->levels[l].bytes);
        if (v->levels[l].count > 0)
            first_used = l;
    }
    uint64_t base_max = o->level_base_bytes * o->level_ratio, target = largest;
    uint32_t level = last;
    t->target[level] = u64_max(target, base_max);
    while (level > 1 && target > base_max) {
        target /= o->level_ratio;
        t->target[--level] = u64_max(target, o->level_base_bytes);
    }
    /* Never put new data below older data that stands higher: the base is at or above the first level in use. */
    t->base_level = level < first_used ? level : first_used;
    for (uint32_t l = t->base_level; l < level; l++)
        t->target[l] = o->level_base_bytes;
}

void picker_targets(const struct version *v, const struct picker_options *o, bool tidy,
                    struct level_targets *out_targets)
{
    *out_targets = (struct level_targets){0};
    targets_set(v, o, out_targets);
    const struct level *zero = &v->levels[0];
    double by_count = (double)zero->count / (double)(tidy ? o->l0_compact_files : o->l0_busy_files);
    bool due = level0_is_due(v, o, tidy, out_targets->base_level);
    out_targets->score[0] = due ? (by_count > 1.0 ? by_count : 1.0) : (by_count < 1.0 ? by_count : 0.99);
    if (due)
        out_targets->pending_bytes += zero->bytes + v->levels[out_targets->base_level].bytes;
    for (uint32_t l = out_targets->base_level; l + 1 < LEVELS_MAX; l++) {
        uint64_t bytes = v->levels[l].bytes, target = out_targets->target[l];
        out_targets->score[l] = (double)bytes / (double)target;
        if (bytes > target)
            out_targets->pending_bytes += (bytes - target) * (1 + o->level_ratio / 2);
    }
}

/* ---- picking -------------------------------------------------------------------------------------------------- */

static bool all_free(struct table *const *tables, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (tables[i]->compacting)
            return false;
    return true;
}

static enum nokv_status inputs_set(struct compaction_inputs *in, uint32_t level, struct table *const *tables,
                                   size_t count)
{
    if (count == 0)
        return NOKV_OK;
    ASSERT(in->tables[level] == NULL);
    in->tables[level] = mem_alloc(count * sizeof(struct table *));
    if (in->tables[level] == NULL)
        return FAIL(NO_MEMORY, "no memory for a compaction of %zu tables", count);
    memcpy(in->tables[level], tables, count * sizeof(struct table *));
    in->counts[level] = count;
    return NOKV_OK;
}

/* Grow [smallest, largest] over the tables. */
static void hull_extend(struct table *const *tables, size_t count, struct slice *smallest, struct slice *largest)
{
    for (size_t i = 0; i < count; i++) {
        struct slice a = tables[i]->desc.smallest.user, b = tables[i]->desc.largest.user;
        if (smallest->data == NULL || key_compare(a, *smallest) < 0)
            *smallest = a;
        if (largest->data == NULL || key_compare(b, *largest) > 0)
            *largest = b;
    }
}

static bool mutually_disjoint(const struct level *zero)
{
    for (size_t i = 0; i < zero->count; i++)
        for (size_t j = i + 1; j < zero->count; j++)
            if (table_overlaps(zero->tables[i], zero->tables[j]->desc.smallest.user,
                               zero->tables[j]->desc.largest.user))
                return false;
    return true;
}

static enum nokv_status pick_level0(const struct version *v, uint32_t base, struct compaction_inputs *out, bool *found)
{
    const struct level *zero = &v->levels[0], *below = &v->levels[base];
    struct slice smallest = {0}, largest = {0};
    size_t begin, end;
    hull_extend(zero->tables, zero->count, &smallest, &largest);
    level_overlap(below, smallest, largest, &begin, &end);
    if (!all_free(zero->tables, zero->count) || !all_free(below->tables + begin, end - begin))
        return NOKV_OK;
    out->level = 0;
    out->output_level = base;
    out->trivial_move = begin == end && mutually_disjoint(zero);
    TRY(inputs_set(out, 0, zero->tables, zero->count));
    TRY(inputs_set(out, base, below->tables + begin, end - begin));
    *found = true;
    return NOKV_OK;
}

/* Bytes of the level below that table t overlaps; *out_free: all of it may be taken. */
static uint64_t overlap_bytes(const struct level *below, const struct table *t, bool *out_free)
{
    size_t begin, end;
    uint64_t bytes = 0;
    level_overlap(below, t->desc.smallest.user, t->desc.largest.user, &begin, &end);
    for (size_t i = begin; i < end; i++)
        bytes += below->tables[i]->desc.file_bytes;
    *out_free = all_free(below->tables + begin, end - begin);
    return bytes;
}

static struct table *cheapest_table(const struct level *level, const struct level *below)
{
    struct table *best = NULL;
    double best_cost = 0;
    for (size_t i = 0; i < level->count; i++) {
        struct table *t = level->tables[i];
        bool is_free = false;
        if (t->compacting)
            continue;
        double cost = (double)overlap_bytes(below, t, &is_free) / (double)(t->desc.file_bytes + 1);
        if (!is_free)
            continue;
        if (best == NULL || cost < best_cost || (cost == best_cost && t->desc.number < best->desc.number)) {
            best = t;
            best_cost = cost;
        }
    }
    return best;
}

static enum nokv_status pick_level(const struct version *v, uint32_t index, struct compaction_inputs *out, bool *found)
{
    const struct level *level = &v->levels[index], *below = &v->levels[index + 1];
    struct table *t = cheapest_table(level, below);
    if (t == NULL)
        return NOKV_OK;
    size_t begin, end;
    level_overlap(below, t->desc.smallest.user, t->desc.largest.user, &begin, &end);
    out->level = index;
    out->output_level = index + 1;
    out->trivial_move = begin == end;
    TRY(inputs_set(out, index, &t, 1));
    TRY(inputs_set(out, index + 1, below->tables + begin, end - begin));
    *found = true;
    return NOKV_OK;
}

enum nokv_status picker_pick(const struct version *v, const struct picker_options *options, bool tidy, bool level0_busy,
                             struct compaction_inputs *out_inputs, bool *out_found)
{
    struct level_targets targets;
    bool tried[LEVELS_MAX] = {0};
    picker_targets(v, options, tidy, &targets);
    *out_found = false;
    *out_inputs = (struct compaction_inputs){0};
    tried[0] = level0_busy;
    for (;;) {
        int best = -1;
        for (int l = 0; l + 1 < LEVELS_MAX; l++)
            if (!tried[l] && targets.score[l] >= 1.0 && (best < 0 || targets.score[l] > targets.score[best]))
                best = l;
        if (best < 0)
            return NOKV_OK;
        tried[best] = true;
        enum nokv_status status = best == 0 ? pick_level0(v, targets.base_level, out_inputs, out_found)
                                            : pick_level(v, (uint32_t)best, out_inputs, out_found);
        if (status != NOKV_OK) {
            compaction_inputs_deinit(out_inputs);
            return status;
        }
        if (*out_found)
            return NOKV_OK;
    }
}

/* One pass of collecting what overlaps the hull; true when the hull grew. */
static bool range_grow(const struct version *v, struct slice *smallest, struct slice *largest)
{
    struct slice before_smallest = *smallest, before_largest = *largest;
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < v->levels[l].count; i++)
            if (table_overlaps(v->levels[l].tables[i], before_smallest, before_largest)) {
                struct slice a = before_smallest.data ? *smallest : before_smallest;
                hull_extend(&v->levels[l].tables[i], 1, smallest, largest);
                if (before_smallest.data == NULL)
                    *smallest = a;
                if (before_largest.data == NULL)
                    *largest = before_largest;
            }
    return before_smallest.data != smallest->data || before_largest.data != largest->data;
}

enum nokv_status picker_pick_range(const struct version *v, struct slice first, struct slice last,
                                   struct compaction_inputs *out_inputs, bool *out_found)
{
    *out_found = false;
    *out_inputs = (struct compaction_inputs){.output_level = LEVELS_MAX - 1, .level = LEVELS_MAX - 1};
    while (range_grow(v, &first, &last))
        ;
    for (uint32_t l = 0; l < LEVELS_MAX; l++) {
        const struct level *level = &v->levels[l];
        struct table **picked CLEANUP(mem_free_ptr) = mem_alloc((level->count + 1) * sizeof *picked);
        size_t count = 0;
        if (picked == NULL) {
            compaction_inputs_deinit(out_inputs);
            return FAIL(NO_MEMORY, "no memory for a compaction of %zu tables", level->count);
        }
        for (size_t i = 0; i < level->count; i++)
            if (table_overlaps(level->tables[i], first, last))
                picked[count++] = level->tables[i];
        enum nokv_status status = inputs_set(out_inputs, l, picked, count);
        if (status != NOKV_OK) {
            compaction_inputs_deinit(out_inputs);
            return status;
        }
        if (count > 0 && !*out_found)
            out_inputs->level = l;
        *out_found |= count > 0;
    }
    return NOKV_OK;
}
