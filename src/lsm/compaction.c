// SPDX-License-Identifier: Apache-2.0
/*
 * Flush, compaction and rewrite.
 *
 * A compaction is cut into parts by user key, which run side by side, each with its own iterators and writer:
 *
 *      inputs ──► sample keys of every input table ──► boundaries ──► part 0 │ part 1 │ ...   (threads)
 *                                                                        └───────┴──► outputs in key order
 *
 * A part covers [begin, end) of user keys; all versions of a key are in one part, so parts drop versions on their own.
 * Inputs are read with windowed sequential reads (sst_scan_create), not through the readers' mappings: the mappings
 * keep their random-access advice, and what was not cached does not enter the cache.
 *
 * Values that were written in the order of their arrival are moved in the order of their keys: from anywhere in their
 * segments. So that these reads do not come one by one, a scout, a second iterator over the same inputs, runs ahead and
 * hints at what will be read. Tables that point to such values are small.
 *
 * Failure: any error ends the part, its writer removes its files, and the job reports the first error with its message.
 */
#include "lsm/compaction.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "lsm/names.h"

enum {
    PARTS_MAX = 16,
    SAMPLES_PER_TABLE = 16,
    CANCEL_CHECK_ENTRIES = 1024,
    SCOUT_BYTES = 4 << 20, /* of records that are hinted at and not read yet */
    SCOUT_ENTRIES = 4096,  /* ahead */
};

struct part {
    struct compaction_job *job;
    struct slice begin, end; /* data NULL: unbounded */
    struct table_writer *writer;
    size_t cursors[LEVELS_MAX]; /* for is_bottom: keys ascend, so each level is walked once */
    enum nokv_status status;
    char message[512];
};

/* ---- shared --------------------------------------------------------------------------------------------------- */

static enum nokv_status outputs_reserve(struct compaction_job *job, size_t count)
{
    job->outputs = mem_alloc(count * sizeof(struct table *));
    job->levels = mem_alloc(count * sizeof *job->levels);
    if (job->outputs == NULL || job->levels == NULL)
        return FAIL(NO_MEMORY, "no memory for a list of %zu tables", count);
    return NOKV_OK;
}

/* What the writer made of the values. */
static enum nokv_status segments_collect(struct compaction_job *job, const struct value_writer *v)
{
    size_t segments = value_writer_count(v), damaged = value_writer_damaged_count(v);
    TRY(mem_grow(&job->segments, &job->segment_capacity, job->segment_count + segments, sizeof *job->segments));
    TRY(mem_grow(&job->damaged, &job->damaged_capacity, job->damaged_count + damaged, sizeof *job->damaged));
    for (size_t i = 0; i < segments; i++)
        job->segments[job->segment_count++] = *value_writer_segment(v, i);
    for (size_t i = 0; i < damaged; i++)
        job->damaged[job->damaged_count++] = value_writer_damaged(v, i);
    job->value_write_bytes += value_writer_bytes(v);
    job->moved_bytes += value_writer_moved_bytes(v);
    return NOKV_OK;
}

/* Take over what a finished writer wrote, for `level`; it still owns the files. REQUIRES: outputs_reserve, and the
 * directory is synced. */
static enum nokv_status outputs_collect(struct compaction_job *job, const struct table_writer *w, uint32_t level)
{
    TRY(segments_collect(job, table_writer_values(w)));
    job->write_bytes += table_writer_bytes(w);
    for (size_t i = 0; i < table_writer_count(w); i++) {
        TRY(table_open(job->writer.env, table_writer_table(w, i), &job->outputs[job->output_count]));
        job->levels[job->output_count++] = level;
    }
    return NOKV_OK;
}

struct scout {
    struct iter *iter;       /* NULL: there is none */
    uint64_t entries, bytes; /* ahead */
};

static void scout_destroy(struct scout *s)
{
    iter_destroy(s->iter);
}

/* Errors are the source's to report. */
static void scout_run(struct scout *s, struct slice end, struct value_writer *values)
{
    while (s->iter->valid && s->entries < SCOUT_ENTRIES && s->bytes < SCOUT_BYTES) {
        if (end.data && key_compare(s->iter->key.user, end) >= 0)
            return;
        value_writer_hint(values, s->iter->key, s->iter->value);
        s->bytes += value_writer_victim_bytes(values, s->iter->key, s->iter->value);
        s->entries++;
        iter_next(s->iter);
    }
}

/* The source stands on an entry: the scout has passed it, or is about to. */
static void scout_follow(struct scout *s, const struct iter *source, struct slice end, struct value_writer *values)
{
    if (s->iter == NULL)
        return;
    if (s->entries < SCOUT_ENTRIES / 2 && s->bytes < SCOUT_BYTES / 2)
        scout_run(s, end, values);
    uint64_t bytes = value_writer_victim_bytes(values, source->key, source->value);
    s->bytes -= u64_min(s->bytes, bytes);
    s->entries -= s->entries > 0;
}

static enum nokv_status entries_copy(struct compaction_job *job, struct iter *source, struct scout *scout,
                                     struct slice end, struct table_writer *w)
{
    ASSERT(source != NULL);
    for (uint64_t n = 0; source->valid; n++) {
        if (end.data && key_compare(source->key.user, end) >= 0)
            return NOKV_OK;
        /* relaxed: seen sooner or later is enough */
        if (n % CANCEL_CHECK_ENTRIES == 0 && job->cancel && atomic_load_explicit(job->cancel, memory_order_relaxed))
            return FAIL(ABORTED, "the database is closing");
        scout_follow(scout, source, end, table_writer_value_writer(w));
        TRY(table_writer_add(w, source->key, source->value));
        iter_next(source);
    }
    return source->status;
}

void compaction_job_deinit(struct compaction_job *job, bool remove_files)
{
    for (size_t i = 0; i < job->output_count; i++) {
        if (remove_files)
            atomic_store_explicit(&job->outputs[i]->removed, true, memory_order_relaxed);
        table_unref(job->outputs[i]);
    }
    for (size_t i = 0; remove_files && i < job->segment_count; i++) {
        char path[PATH_SIZE_MAX];
        if (path_vlog(path, job->writer.env->dir, job->segments[i].number) == NOKV_OK)
            (void)!io_unlink(job->writer.env->io, path); /* an orphan otherwise, for the next open */
    }
    mem_free(TAKE(job->outputs));
    mem_free(TAKE(job->levels));
    mem_free(TAKE(job->segments));
    mem_free(TAKE(job->damaged));
    job->output_count = job->segment_count = job->damaged_count = 0;
    job->segment_capacity = job->damaged_capacity = 0;
}

/* ---- flush ---------------------------------------------------------------------------------------------------- */

static void table_writer_destroy_ptr(struct table_writer **w)
{
    table_writer_destroy(*w);
}

enum nokv_status flush_run(struct compaction_job *job)
{
    struct table_writer_options options = job->writer;
    options.component = IO_FLUSH;
    options.table_bytes = 0;
    struct table_writer *w CLEANUP(table_writer_destroy_ptr) = NULL;
    struct iter *source CLEANUP(iter_destroy_ptr) = NULL;
    struct scout none = {0};
    TRY(table_writer_create(&options, &w));
    TRY(memtable_iter_create(job->memtable, &source));
    iter_first(source);
    TRY(entries_copy(job, source, &none, (struct slice){0}, w));
    TRY(table_writer_finish(w));
    TRY(table_env_sync_names(options.env));
    job->parts = 1;
    TRY(outputs_reserve(job, table_writer_count(w)));
    TRY(outputs_collect(job, w, 0));
    table_writer_release(w);
    return NOKV_OK;
}

/* ---- compaction: one part ------------------------------------------------------------------------------------- */

static bool part_key_is_bottom(void *arg, struct slice user_key)
{
    struct part *p = arg;
    for (uint32_t l = p->job->inputs->output_level + 1; l < LEVELS_MAX; l++) {
        const struct level *level = &p->job->version->levels[l];
        size_t *i = &p->cursors[l];
        while (*i < level->count && key_compare(level->tables[*i]->desc.largest.user, user_key) < 0)
            (*i)++;
        if (*i < level->count && key_compare(level->tables[*i]->desc.smallest.user, user_key) <= 0)
            return false;
    }
    return true;
}

static enum nokv_status table_scan_open(void *arg, struct table *t, struct iter **out_iter)
{
    const struct compaction_job *job = arg;
    return sst_scan_create(t->reader, IO_COMPACTION, job->writer.model, out_iter);
}

struct iter_list {
    struct iter **items;
    size_t count;
};

static void iter_list_deinit(struct iter_list *list)
{
    while (list->count > 0)
        iter_destroy(list->items[--list->count]);
    mem_free(list->items);
}

/* Level 0: an iterator per table; further levels: one over all of their tables. */
static enum nokv_status part_iters_create(struct part *p, struct iter_list *list)
{
    const struct compaction_inputs *in = p->job->inputs;
    list->items = mem_alloc((in->counts[0] + LEVELS_MAX) * sizeof(struct iter *));
    if (list->items == NULL)
        return FAIL(NO_MEMORY, "no memory for the iterators of a compaction");
    for (size_t i = 0; i < in->counts[0]; i++) {
        if (!table_overlaps(in->tables[0][i], p->begin, p->end))
            continue;
        TRY(concat_iter_create(&in->tables[0][i], 1, table_scan_open, p->job, &list->items[list->count]));
        list->count++;
    }
    for (size_t l = 1; l < LEVELS_MAX; l++) {
        if (in->counts[l] == 0)
            continue;
        TRY(concat_iter_create(in->tables[l], in->counts[l], table_scan_open, p->job, &list->items[list->count]));
        list->count++;
    }
    return NOKV_OK;
}

static enum nokv_status part_source_create(struct part *p, struct iter **out_source)
{
    struct iter_list list CLEANUP(iter_list_deinit) = {0};
    TRY(part_iters_create(p, &list));
    TRY(iter_merge_create(list.items, list.count, out_source));
    list.count = 0; /* the merge owns them */
    return NOKV_OK;
}

static enum nokv_status part_source_begin(struct part *p, struct iter **out_source)
{
    TRY(part_source_create(p, out_source));
    ASSERT(*out_source != NULL);
    if (p->begin.data)
        iter_seek(*out_source, (struct ikey){.user = p->begin, .tag = UINT64_MAX});
    else
        iter_first(*out_source);
    return NOKV_OK;
}

static enum nokv_status part_merge(struct part *p)
{
    struct table_writer_options options = p->job->writer;
    options.component = IO_COMPACTION;
    options.is_bottom = part_key_is_bottom;
    options.is_bottom_arg = p;
    struct iter *source CLEANUP(iter_destroy_ptr) = NULL;
    struct scout scout CLEANUP(scout_destroy) = {0};
    TRY(table_writer_create(&options, &p->writer));
    TRY(part_source_begin(p, &source));
    if (options.values.is_scattered)
        TRY(part_source_begin(p, &scout.iter));
    TRY(entries_copy(p->job, source, &scout, p->end, p->writer));
    return table_writer_finish(p->writer);
}

static void part_run(struct part *p)
{
    p->status = part_merge(p);
    if (p->status != NOKV_OK) {
        strncpy(p->message, status_message(), sizeof p->message - 1);
        p->message[sizeof p->message - 1] = 0;
    }
}

static void *part_main(void *arg)
{
    struct part *p = arg;
    if (!p->job->is_waited_for)
        thread_lower_priority();
    part_run(p);
    return NULL;
}

/* ---- compaction: cutting into parts --------------------------------------------------------------------------- */

static int compare_slices(const void *a, const void *b)
{
    return key_compare(*(const struct slice *)a, *(const struct slice *)b);
}

struct samples {
    struct slice *keys; /* sorted */
    size_t count;
    struct buf bytes;
};

static void samples_deinit(struct samples *s)
{
    mem_free(s->keys);
    buf_deinit(&s->bytes);
}

/* Those of one table, their bytes only; a table that cannot say them has none: the merge will tell why. */
static enum nokv_status samples_of_table(struct sst_reader *r, size_t *sizes, struct samples *s)
{
    for (size_t i = 0; i < SAMPLES_PER_TABLE; i++) {
        size_t before = s->bytes.size;
        enum nokv_status status = sst_reader_sample_key(r, i, SAMPLES_PER_TABLE, &s->bytes);
        if (status == NOKV_ERR_NO_MEMORY)
            return status;
        if (status == NOKV_OK && s->bytes.size > before)
            sizes[s->count++] = s->bytes.size - before;
    }
    return NOKV_OK;
}

/* Sample keys of every input, evenly spread over its blocks, sorted. Tables are of similar size, so each sample stands
 * for about as many bytes. */
static enum nokv_status samples_collect(const struct compaction_inputs *in, struct samples *s)
{
    size_t tables = 0;
    for (size_t l = 0; l < LEVELS_MAX; l++)
        tables += in->counts[l];
    size_t *sizes CLEANUP(mem_free_ptr) = mem_alloc(tables * SAMPLES_PER_TABLE * sizeof *sizes);
    s->keys = mem_alloc(tables * SAMPLES_PER_TABLE * sizeof *s->keys);
    if (s->keys == NULL || sizes == NULL)
        return FAIL(NO_MEMORY, "no memory for %zu sample keys", tables * SAMPLES_PER_TABLE);
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < in->counts[l]; i++)
            TRY(samples_of_table(in->tables[l][i]->reader, sizes, s));
    const uint8_t *p = s->bytes.data;
    for (size_t i = 0; i < s->count; p += sizes[i++])
        s->keys[i] = slice_make(p, sizes[i]);
    qsort(s->keys, s->count, sizeof *s->keys, compare_slices);
    return NOKV_OK;
}

static uint64_t inputs_bytes(const struct compaction_inputs *in)
{
    uint64_t bytes = 0;
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < in->counts[l]; i++)
            bytes += in->tables[l][i]->desc.file_bytes;
    return bytes;
}

/* Parts of at least one table's size each. Boundaries are distinct and ascending. */
static size_t parts_cut(struct compaction_job *job, const struct samples *samples, struct part parts[PARTS_MAX])
{
    uint64_t per_table = job->writer.table_bytes ? job->writer.table_bytes : 1;
    uint64_t wanted = u64_min(u64_min(job->threads_max, PARTS_MAX), inputs_bytes(job->inputs) / per_table);
    size_t count = 0;
    struct slice begin = {0};
    for (uint64_t i = 1; i < wanted && samples->count > 0; i++) {
        struct slice cut = samples->keys[i * samples->count / wanted];
        if (begin.data && key_compare(begin, cut) >= 0)
            continue;
        parts[count++] = (struct part){.job = job, .begin = begin, .end = cut};
        begin = cut;
    }
    parts[count++] = (struct part){.job = job, .begin = begin};
    return count;
}

/* Readers and writers need the processors more than a merge: on two of them, gets beside one are a quarter faster
 * (docs/benchmarks.md, YCSB D). */
static void parts_run(struct part *parts, size_t count)
{
    pthread_t threads[PARTS_MAX];
    bool started[PARTS_MAX] = {0};
    for (size_t i = 0; i < count && parts[i].job->threads_max > 0; i++)
        started[i] = thread_create(&threads[i], "nokv-merge", part_main, &parts[i]) == NOKV_OK;
    for (size_t i = 0; i < count; i++) {
        if (started[i])
            thread_join(threads[i]);
        else
            part_run(&parts[i]);
    }
}

/* Everything is written: make the names durable, open the tables, and take the files over from the writers. */
static enum nokv_status parts_collect(struct compaction_job *job, struct part *parts, size_t count)
{
    size_t tables = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].status != NOKV_OK) {
            status_message_set(parts[i].message);
            return parts[i].status;
        }
        tables += table_writer_count(parts[i].writer);
    }
    TRY(table_env_sync_names(job->writer.env));
    TRY(outputs_reserve(job, tables));
    for (size_t i = 0; i < count; i++)
        TRY(outputs_collect(job, parts[i].writer, job->inputs->output_level));
    for (size_t i = 0; i < count; i++)
        table_writer_release(parts[i].writer);
    return NOKV_OK;
}

enum nokv_status compaction_run(struct compaction_job *job)
{
    ASSERT(!job->inputs->trivial_move);
    struct part parts[PARTS_MAX];
    struct samples samples CLEANUP(samples_deinit) = {0};
    if (job->threads_max > 1)
        TRY(samples_collect(job->inputs, &samples));
    size_t count = parts_cut(job, &samples, parts);
    parts_run(parts, count);
    job->read_bytes = inputs_bytes(job->inputs);
    job->parts = (uint32_t)count;
    enum nokv_status status = parts_collect(job, parts, count);
    for (size_t i = 0; i < count; i++)
        table_writer_destroy(parts[i].writer);
    return status;
}

/* ---- rewrite -------------------------------------------------------------------------------------------------- */

static enum nokv_status table_rewrite(struct compaction_job *job, struct table *t, struct table_writer **out_writer)
{
    struct table_writer_options options = job->writer;
    options.component = IO_COMPACTION;
    options.table_bytes = 0; /* one table stays one */
    struct iter *source CLEANUP(iter_destroy_ptr) = NULL;
    struct scout scout CLEANUP(scout_destroy) = {0};
    TRY(table_writer_create(&options, out_writer));
    TRY(table_scan_open(job, t, &source));
    iter_first(source);
    if (options.values.is_scattered) {
        TRY(table_scan_open(job, t, &scout.iter));
        iter_first(scout.iter);
    }
    TRY(entries_copy(job, source, &scout, (struct slice){0}, *out_writer));
    return table_writer_finish(*out_writer);
}

struct rewrite {
    struct table_writer **writers;
    uint32_t *levels;
    size_t count;
};

static void rewrite_deinit(struct rewrite *r)
{
    for (size_t i = 0; r->writers && i < r->count; i++)
        table_writer_destroy(r->writers[i]);
    mem_free(r->writers);
    mem_free(r->levels);
}

static enum nokv_status rewrite_tables(struct compaction_job *job, struct rewrite *r)
{
    const struct compaction_inputs *in = job->inputs;
    for (uint32_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < in->counts[l]; i++) {
            r->levels[r->count] = l;
            TRY(table_rewrite(job, in->tables[l][i], &r->writers[r->count++]));
        }
    return NOKV_OK;
}

enum nokv_status rewrite_run(struct compaction_job *job)
{
    struct rewrite r CLEANUP(rewrite_deinit) = {0};
    size_t count = 0;
    for (size_t l = 0; l < LEVELS_MAX; l++)
        count += job->inputs->counts[l];
    r.writers = mem_zalloc(count * sizeof(struct table_writer *));
    r.levels = mem_zalloc(count * sizeof *r.levels);
    if (r.writers == NULL || r.levels == NULL)
        return FAIL(NO_MEMORY, "no memory to rewrite %zu tables", count);
    TRY(rewrite_tables(job, &r));
    job->read_bytes = inputs_bytes(job->inputs);
    job->parts = 1;
    TRY(table_env_sync_names(job->writer.env));
    TRY(outputs_reserve(job, count));
    for (size_t i = 0; i < r.count; i++)
        TRY(outputs_collect(job, r.writers[i], r.levels[i]));
    for (size_t i = 0; i < r.count; i++)
        table_writer_release(r.writers[i]);
    return NOKV_OK;
}
