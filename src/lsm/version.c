// SPDX-License-Identifier: Apache-2.0
/*
 * Versions and tables.
 *
 * [I1] Tables of a level above 0 are sorted by smallest key and disjoint by user key. version_apply checks it: a sound
 *      engine never breaks it, so a violation means that the MANIFEST is damaged.
 * [I2] Level 0 is sorted by descending sequence number; memtables are flushed in order, so the ranges are disjoint.
 * [I3] A version holds one reference to each of its tables; a table is closed by whoever drops the last one.
 *
 * Threading: building is done by one thread; a built version is never changed.
 */
#include "lsm/version.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "lsm/names.h"

/* ---- names ---------------------------------------------------------------------------------------------------- */

/* Under the lock: whoever comes after a failed sync knows of it. */
enum nokv_status table_env_sync_names(struct table_env *env)
{
    mutex_lock(&env->names_mu);
    enum nokv_status status =
        env->names_failed ? FAIL(POISONED, "an earlier sync of %s failed", env->dir) : io_sync_dir(env->io, env->dir);
    env->names_failed = status != NOKV_OK;
    mutex_unlock(&env->names_mu);
    return status == NOKV_OK ? NOKV_OK : FAIL(POISONED, "%s", status_message());
}

/* ---- tables --------------------------------------------------------------------------------------------------- */

static enum nokv_status table_open_reader(struct table *t)
{
    char path[PATH_SIZE_MAX];
    TRY(path_sst(path, t->env->dir, t->desc.number));
    TRY(sst_reader_open_with(t->env->io, path, t->desc.number, t->desc.file_bytes, &t->env->access, &t->reader));
    if (ikey_compare(sst_reader_smallest(t->reader), t->desc.smallest) != 0 ||
        ikey_compare(sst_reader_largest(t->reader), t->desc.largest) != 0)
        return FAIL(CORRUPT, "%s: its first and last keys are not those that the MANIFEST names", path);
    return NOKV_OK;
}

static void table_free(struct table *t)
{
    sst_reader_unref(t->reader);
    table_desc_deinit(&t->desc);
    mem_free(t);
}

enum nokv_status table_open(struct table_env *env, const struct table_desc *desc, struct table **out_table)
{
    struct table *t = mem_zalloc(sizeof *t);
    if (t == NULL)
        return FAIL(NO_MEMORY, "no memory to open table %llu", (unsigned long long)desc->number);
    t->env = env;
    enum nokv_status status = table_desc_copy(desc, &t->desc);
    if (status == NOKV_OK)
        status = table_open_reader(t);
    if (status != NOKV_OK) {
        table_free(t);
        return status;
    }
    t->smallest_prefix = key_prefix(t->desc.smallest.user, 0);
    t->largest_prefix = key_prefix(t->desc.largest.user, 0);
    atomic_init(&t->refs, 1);
    *out_table = t;
    return NOKV_OK;
}

void table_ref(struct table *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
}

void table_unref(struct table *t)
{
    if (t == NULL)
        return;
    /* acq_rel: what others did with the table happens before its end. */
    uint32_t before = atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1)
        return;
    struct table_env *env = t->env;
    uint64_t number = t->desc.number;
    bool removed = atomic_load_explicit(&t->removed, memory_order_relaxed);
    table_free(t);
    if (removed)
        env->obsolete(env, number);
}

bool table_overlaps(const struct table *t, struct slice smallest, struct slice largest)
{
    if (largest.data && key_compare(t->desc.smallest.user, largest) > 0)
        return false;
    return smallest.data == NULL || key_compare(t->desc.largest.user, smallest) >= 0;
}

/* ---- building ------------------------------------------------------------------------------------------------- */

enum nokv_status version_create_empty(struct version **out_version)
{
    struct version *v = mem_zalloc(sizeof *v);
    if (v == NULL)
        return FAIL(NO_MEMORY, "no memory for a version");
    atomic_init(&v->refs, 1);
    *out_version = v;
    return NOKV_OK;
}

void version_ref(struct version *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
}

void version_unref(struct version *v)
{
    if (v == NULL)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1)
        return;
    for (size_t i = 0; i < LEVELS_MAX; i++) {
        struct level *level = &v->levels[i];
        for (size_t j = 0; j < level->count; j++)
            table_unref(level->tables[j]);
        mem_free(level->tables);
        mem_free(level->largest_prefixes);
    }
    mem_free(v);
}

static void version_unref_ptr(struct version **v)
{
    version_unref(*v);
}

static bool edit_removes(const struct edit *edit, uint32_t level, uint64_t number)
{
    for (size_t i = 0; i < edit->remove_count; i++)
        if (edit->removes[i].level == level && edit->removes[i].number == number)
            return true;
    return false;
}

static int compare_newest_first(const void *a, const void *b)
{
    const struct table *x = *(struct table *const *)a, *y = *(struct table *const *)b;
    if (x->desc.seq_max != y->desc.seq_max)
        return x->desc.seq_max > y->desc.seq_max ? -1 : 1;
    return x->desc.number > y->desc.number ? -1 : x->desc.number < y->desc.number;
}

static int compare_smallest_first(const void *a, const void *b)
{
    const struct table *x = *(struct table *const *)a, *y = *(struct table *const *)b;
    return ikey_compare(x->desc.smallest, y->desc.smallest);
}

static enum nokv_status level_prefixes_build(struct level *level)
{
    level->common_size =
        key_common_prefix(level->tables[0]->desc.smallest.user, level->tables[level->count - 1]->desc.largest.user);
    level->largest_prefixes = mem_alloc(level->count * sizeof *level->largest_prefixes);
    if (level->largest_prefixes == NULL)
        return FAIL(NO_MEMORY, "no memory for the bounds of %zu tables", level->count);
    for (size_t i = 0; i < level->count; i++)
        level->largest_prefixes[i] = key_prefix(level->tables[i]->desc.largest.user, level->common_size);
    return NOKV_OK;
}

static enum nokv_status level_finish(struct level *level, size_t index, const char *where)
{
    level->bytes = level->value_bytes = 0;
    for (size_t i = 0; i < level->count; i++) {
        level->bytes += level->tables[i]->desc.file_bytes;
        for (size_t j = 0; j < level->tables[i]->desc.ref_count; j++)
            level->value_bytes += level->tables[i]->desc.refs[j].bytes;
    }
    if (level->count == 0)
        return NOKV_OK;
    qsort(level->tables, level->count, sizeof *level->tables,
          index == 0 ? compare_newest_first : compare_smallest_first);
    for (size_t i = 1; i < level->count; i++) {
        const struct table *a = level->tables[i - 1], *b = level->tables[i];
        if (a->desc.number == b->desc.number)
            return FAIL(CORRUPT, "%s: adds table %llu to level %zu twice", where, (unsigned long long)a->desc.number,
                        index);
        if (index == 0)
            continue;
        if (key_compare(a->desc.largest.user, b->desc.smallest.user) >= 0)
            return FAIL(CORRUPT, "%s: tables %llu and %llu overlap on level %zu", where,
                        (unsigned long long)a->desc.number, (unsigned long long)b->desc.number, index);
    }
    return index == 0 ? NOKV_OK : level_prefixes_build(level);
}

/* A reference to the table that `add` describes: opened already (here, or in the base version, moved), or opened now.
 */
static enum nokv_status table_for_add(const struct version *base, const struct edit_add *add, struct table_env *env,
                                      struct table **opened, size_t opened_count, struct table **out_table)
{
    for (size_t i = 0; i < opened_count; i++) {
        if (opened[i]->desc.number == add->table.number) {
            table_ref(opened[i]);
            *out_table = opened[i];
            return NOKV_OK;
        }
    }
    for (size_t l = 0; l < LEVELS_MAX; l++) {
        for (size_t i = 0; i < base->levels[l].count; i++) {
            struct table *t = base->levels[l].tables[i];
            if (t->desc.number == add->table.number) {
                table_ref(t);
                *out_table = t;
                return NOKV_OK;
            }
        }
    }
    return table_open(env, &add->table, out_table);
}

static enum nokv_status level_apply(struct version *v, const struct version *base, const struct edit *edit,
                                    uint32_t index, struct table_env *env, struct table **opened, size_t opened_count,
                                    const char *where)
{
    const struct level *from = &base->levels[index];
    ASSERT(v != NULL && base != NULL);
    struct level *to = &v->levels[index];
    size_t removed = 0;
    to->tables = mem_alloc((from->count + edit->add_count) * sizeof *to->tables);
    if (to->tables == NULL)
        return FAIL(NO_MEMORY, "no memory for a level of %zu tables", from->count + edit->add_count);
    for (size_t i = 0; i < from->count; i++) {
        if (edit_removes(edit, index, from->tables[i]->desc.number)) {
            removed++;
            continue;
        }
        table_ref(from->tables[i]);
        to->tables[to->count++] = from->tables[i];
    }
    for (size_t i = 0; i < edit->remove_count; i++)
        removed -= edit->removes[i].level == index;
    if (removed != 0)
        return FAIL(CORRUPT, "%s: removes a table from level %u that is not there", where, index);
    for (size_t i = 0; i < edit->add_count; i++) {
        if (edit->adds[i].level != index)
            continue;
        TRY(table_for_add(base, &edit->adds[i], env, opened, opened_count, &to->tables[to->count]));
        to->count++;
    }
    return level_finish(to, index, where);
}

enum nokv_status version_apply(const struct version *base, const struct edit *edit, struct table_env *env,
                               struct table **opened, size_t opened_count, const char *where,
                               struct version **out_version)
{
    struct version *v CLEANUP(version_unref_ptr) = NULL;
    TRY(version_create_empty(&v));
    for (uint32_t i = 0; i < LEVELS_MAX; i++)
        TRY(level_apply(v, base, edit, i, env, opened, opened_count, where));
    *out_version = TAKE(v);
    return NOKV_OK;
}

/* ---- searching ------------------------------------------------------------------------------------------------ */

/* First index with prefixes[i] >= wanted; branch-free halving. */
static size_t prefix_lower_bound(const uint64_t *prefixes, size_t count, uint64_t wanted)
{
    const uint64_t *base = prefixes;
    for (size_t n = count; n > 1;) {
        size_t half = n / 2;
        base = base[half - 1] < wanted ? base + half : base;
        n -= half;
    }
    return (size_t)(base - prefixes) + (count > 0 && *base < wanted);
}

size_t level_find(const struct level *level, struct slice user_key)
{
    if (level->count == 0)
        return 0;
    struct slice first = level->tables[0]->desc.smallest.user;
    size_t common = level->common_size, n = common < user_key.size ? common : user_key.size;
    int c = n ? memcmp(user_key.data, first.data, n) : 0;
    if (c > 0)
        return level->count;
    if (c < 0 || n < common)
        return 0;
    uint64_t wanted = key_prefix(user_key, common);
    size_t low = prefix_lower_bound(level->largest_prefixes, level->count, wanted), high = low;
    if (UNLIKELY(low < level->count && level->largest_prefixes[low] == wanted && wanted != UINT64_MAX))
        high = prefix_lower_bound(level->largest_prefixes, level->count, wanted + 1);
    else if (UNLIKELY(wanted == UINT64_MAX))
        high = level->count;
    while (low < high) { /* equal prefixes say nothing: compare the keys */
        size_t mid = low + (high - low) / 2;
        if (key_compare(level->tables[mid]->desc.largest.user, user_key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

void level_overlap(const struct level *level, struct slice smallest, struct slice largest, size_t *out_begin,
                   size_t *out_end)
{
    size_t begin = smallest.data ? level_find(level, smallest) : 0, end = begin;
    while (end < level->count && table_overlaps(level->tables[end], smallest, largest))
        end++;
    *out_begin = begin;
    *out_end = end;
}

enum { CANDIDATES_MAX = 64 };

struct candidates {
    struct table *tables[CANDIDATES_MAX]; /* newest first */
    uint8_t levels[CANDIDATES_MAX];
    size_t count;
    size_t level0_seen; /* less than there are: they have no room, and deeper levels were not looked at */
};

/* The tables that may hold the key; asks for their filter lines ahead of the first probe. */
static void candidates_collect(const struct version *v, struct slice user_key, uint64_t hash, struct candidates *c)
{
    size_t count = 0, i = 0;
    uint64_t prefix = key_prefix(user_key, 0);
    const struct level *zero = &v->levels[0];
    for (; i < zero->count && count < CANDIDATES_MAX - LEVELS_MAX; i++) {
        struct table *t = zero->tables[i];
        if (prefix < t->smallest_prefix || prefix > t->largest_prefix)
            continue;
        sst_reader_prefetch(t->reader, hash);
        c->tables[count] = t;
        c->levels[count++] = 0;
    }
    c->level0_seen = i;
    for (size_t l = 1; l < LEVELS_MAX && i == zero->count; l++) {
        const struct level *level = &v->levels[l];
        if (level->count == 0)
            continue;
        size_t index = level_find(level, user_key);
        if (index == level->count || key_compare(level->tables[index]->desc.smallest.user, user_key) > 0)
            continue;
        sst_reader_prefetch(level->tables[index]->reader, hash);
        c->tables[count] = level->tables[index];
        c->levels[count++] = (uint8_t)l;
    }
    c->count = count;
}

static bool is_any_level_cold(const struct table_env *env)
{
    bool any = false;
    for (size_t l = 0; l < LEVELS_MAX; l++)
        any |= atomic_load_explicit(&env->cold[l].is_cold, memory_order_seq_cst);
    return any;
}

/* Two levels may change at the same time: who writes looks again, so that the last one has seen both (all of it
 * sequentially consistent). */
static void coldness_changed(struct table_env *env)
{
    bool any = is_any_level_cold(env), seen;
    do {
        seen = any;
        atomic_store_explicit(&env->is_any_cold, seen, memory_order_seq_cst);
        any = is_any_level_cold(env);
    } while (any != seen);
}

static bool cache_takes_all(const struct table_env *env)
{
    return env->access.cache_takes_all && atomic_load_explicit(env->access.cache_takes_all, memory_order_relaxed);
}

/* Of a level that is cold, or timed. A key that is not there has mostly read no block: it tells nothing. */
static enum nokv_status table_get_timed(struct table *t, uint32_t level, struct slice user_key, uint64_t hash,
                                        uint64_t seq, struct lookup *out_lookup)
{
    struct coldness *c = &t->env->cold[level];
    uint64_t begin = io_now_ns(t->env->io);
    bool is_cold = coldness_is_cold(c);
    if (is_cold)
        TRY(sst_reader_get_cold(t->reader, user_key, hash, seq, out_lookup));
    else
        TRY(sst_reader_get(t->reader, user_key, hash, seq, out_lookup));
    bool tells = out_lookup->found && !(is_cold && cache_takes_all(t->env)); /* then all are fast, wherever they stay */
    if (tells && coldness_note(c, io_read_time(t->env->io, begin)))
        coldness_changed(t->env);
    return NOKV_OK;
}

static __attribute__((noinline)) enum nokv_status candidates_get_timed(const struct candidates *c,
                                                                       struct slice user_key, uint64_t hash,
                                                                       uint64_t seq, struct lookup *out_lookup,
                                                                       struct table **out_table)
{
    for (size_t i = 0; i < c->count; i++) {
        TRY(table_get_timed(c->tables[i], c->levels[i], user_key, hash, seq, out_lookup));
        if (out_lookup->found) {
            *out_table = c->tables[i];
            return NOKV_OK;
        }
    }
    return NOKV_OK;
}

/* More level-0 tables than candidates fit: look in each in turn, then in the levels. Only under heavy debt. */
static enum nokv_status version_get_slow(const struct version *v, struct slice user_key, uint64_t hash, uint64_t seq,
                                         struct lookup *out_lookup, struct table **out_table)
{
    for (size_t l = 0; l < LEVELS_MAX; l++) {
        const struct level *level = &v->levels[l];
        size_t first = l == 0 ? 0 : level_find(level, user_key), end = l == 0 ? level->count : first + 1;
        for (size_t i = first; i < end && i < level->count; i++) {
            TRY(sst_reader_get(level->tables[i]->reader, user_key, hash, seq, out_lookup));
            if (out_lookup->found) {
                *out_table = level->tables[i];
                return NOKV_OK;
            }
        }
    }
    return NOKV_OK;
}

static bool is_timed(const struct table_env *env)
{
    return env->is_adaptive && (coldness_turn() || atomic_load_explicit(&env->is_any_cold, memory_order_relaxed));
}

enum nokv_status version_get(const struct version *v, struct slice user_key, uint64_t seq, struct lookup *out_lookup,
                             struct table **out_table)
{
    struct candidates c;
    uint64_t hash = sst_key_hash(user_key);
    *out_table = NULL;
    out_lookup->found = false;
    candidates_collect(v, user_key, hash, &c);
    if (UNLIKELY(c.level0_seen < v->levels[0].count))
        return version_get_slow(v, user_key, hash, seq, out_lookup, out_table);
    if (c.count != 0 && UNLIKELY(is_timed(c.tables[0]->env)))
        return candidates_get_timed(&c, user_key, hash, seq, out_lookup, out_table);
    for (size_t i = 0; i < c.count; i++) {
        TRY(sst_reader_get(c.tables[i]->reader, user_key, hash, seq, out_lookup));
        if (out_lookup->found) {
            *out_table = c.tables[i];
            return NOKV_OK;
        }
    }
    return NOKV_OK;
}

size_t version_candidates_max(const struct version *v)
{
    return u64_min(v->levels[0].count + LEVELS_MAX, CANDIDATES_MAX);
}

bool version_candidates(const struct version *v, struct slice user_key, uint64_t hash, struct sst_reader **out_readers,
                        uint32_t *out_count)
{
    struct candidates c;
    candidates_collect(v, user_key, hash, &c);
    for (size_t i = 0; i < c.count; i++)
        out_readers[i] = c.tables[i]->reader;
    *out_count = (uint32_t)c.count;
    return c.level0_seen == v->levels[0].count;
}

/* ---- iterators ------------------------------------------------------------------------------------------------ */

size_t version_iter_count(const struct version *v)
{
    size_t count = v->levels[0].count;
    for (size_t l = 1; l < LEVELS_MAX; l++)
        count += v->levels[l].count > 0;
    return count;
}

static enum nokv_status table_iter_open(void *arg, struct table *t, struct iter **out_iter)
{
    (void)arg;
    return sst_iter_create(t->reader, out_iter);
}

enum nokv_status version_iters_create(const struct version *v, struct iter **out_iters, size_t *out_count)
{
    size_t count = 0;
    enum nokv_status status = NOKV_OK;
    for (size_t i = 0; i < v->levels[0].count && status == NOKV_OK; i++) {
        status = sst_iter_create(v->levels[0].tables[i]->reader, &out_iters[count]);
        count += status == NOKV_OK;
    }
    for (size_t l = 1; l < LEVELS_MAX && status == NOKV_OK; l++) {
        const struct level *level = &v->levels[l];
        if (level->count == 0)
            continue;
        if (level->count == 1)
            status = sst_iter_create(level->tables[0]->reader, &out_iters[count]);
        else
            status = concat_iter_create(level->tables, level->count, table_iter_open, NULL, &out_iters[count]);
        count += status == NOKV_OK;
    }
    if (status != NOKV_OK) {
        while (count > 0)
            iter_destroy(out_iters[--count]);
        return status;
    }
    *out_count = count;
    return NOKV_OK;
}
