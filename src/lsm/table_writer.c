// SPDX-License-Identifier: Apache-2.0
/*
 * Which versions survive: the snapshots cut the sequence numbers into stripes, and of one user key only the newest
 * version of each stripe can be seen by anyone (RocksDB's rule). A tombstone may go when it lies in the oldest stripe,
 * so that what it hides goes with it, and nothing older lies deeper in the tree.
 *
 * [I1] All versions of one user key are in one table: a table ends only between two user keys. Levels are therefore
 *      disjoint by user key, which the search relies on.
 */
#include "lsm/table_writer.h"

#include "base/alloc.h"
#include "lsm/names.h"

struct table_writer {
    struct table_writer_options options; /* constant */
    struct sst_builder *builder;         /* NULL between tables */
    uint64_t builder_number;
    struct table_desc *tables;
    size_t count, capacity;
    uint64_t bytes;
    struct value_writer *values;
    /* what the open table points to: ascending by segment; recent: where the last one was found */
    struct vlog_ref *refs;
    size_t ref_count, ref_capacity, ref_recent;
    /* the user key of the last entry, and the stripe of its last version that was looked at */
    struct buf last_key;
    bool has_last;
    uint64_t last_tag;
    size_t last_stripe;
};

enum nokv_status table_writer_create(const struct table_writer_options *options, struct table_writer **out_writer)
{
    struct table_writer *w = mem_zalloc(sizeof *w);
    if (w == NULL)
        return FAIL(NO_MEMORY, "no memory for a table writer");
    w->options = *options;
    struct value_writer_options values = options->values;
    values.io = options->env->io;
    values.dir = options->env->dir;
    values.component = options->component;
    values.allocate_number = options->allocate_number;
    values.allocate_arg = options->allocate_arg;
    enum nokv_status status = value_writer_create(&values, &w->values);
    if (status != NOKV_OK) {
        table_writer_destroy(w);
        return status;
    }
    *out_writer = w;
    return NOKV_OK;
}

/* Index of the first snapshot that sees `seq`; snapshot_count when only the present does. */
static size_t stripe_of(const struct table_writer *w, uint64_t seq)
{
    size_t low = 0, high = w->options.snapshot_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (w->options.snapshots[mid] < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Decide on the next entry; *out_new_key: its user key differs from the one before. */
static enum nokv_status entry_judge(struct table_writer *w, struct ikey key, bool *out_keep, bool *out_new_key)
{
    size_t stripe = stripe_of(w, tag_seq(key.tag));
    int order = w->has_last ? key_compare(buf_slice(&w->last_key), key.user) : -1;
    if (order > 0 || (order == 0 && w->last_tag <= key.tag)) /* a table may be sound by its checksums and still lie */
        return FAIL(CORRUPT, "an input is not in order at sequence number %llu: nokv_verify() names the table",
                    (unsigned long long)tag_seq(key.tag));
    *out_new_key = order != 0;
    w->last_tag = key.tag;
    if (!*out_new_key && stripe == w->last_stripe) {
        *out_keep = false;
        return NOKV_OK;
    }
    if (*out_new_key) {
        w->last_key.size = 0;
        TRY(buf_append(&w->last_key, key.user.data, key.user.size));
        w->has_last = true;
    }
    w->last_stripe = stripe;
    bool droppable = tag_kind(key.tag) == KEY_TOMBSTONE && stripe == 0 && w->options.is_bottom;
    *out_keep = !(droppable && w->options.is_bottom(w->options.is_bottom_arg, key.user));
    return NOKV_OK;
}

static enum nokv_status builder_start(struct table_writer *w)
{
    char path[PATH_SIZE_MAX];
    const struct table_writer_options *o = &w->options;
    w->builder_number = o->allocate_number(o->allocate_arg);
    TRY(path_sst(path, o->env->dir, w->builder_number));
    return sst_builder_create(o->env->io, path, o->component, o->model, w->builder_number, &o->sst, &w->builder);
}

static enum nokv_status builder_finish(struct table_writer *w)
{
    if (w->builder == NULL)
        return NOKV_OK;
    struct sst_info info;
    TRY(mem_grow(&w->tables, &w->capacity, w->count + 1, sizeof *w->tables));
    /* The description is copied before the file gets its name, so that no failure leaves a file without an owner. */
    struct table_desc desc = {.number = w->builder_number,
                              .smallest = sst_builder_first_key(w->builder),
                              .largest = sst_builder_last_key(w->builder)};
    struct table_desc *slot = &w->tables[w->count];
    TRY(table_desc_copy(&desc, slot));
    w->count++;
    TRY(sst_builder_finish(w->builder, &info));
    slot->file_bytes = info.file_bytes;
    slot->entries = info.entries;
    slot->tombstones = info.tombstones;
    slot->raw_bytes = info.raw_bytes;
    slot->seq_min = info.seq_min;
    slot->seq_max = info.seq_max;
    slot->refs = TAKE(w->refs);
    slot->ref_count = w->ref_count;
    w->ref_count = w->ref_capacity = w->ref_recent = 0;
    w->bytes += info.file_bytes;
    sst_builder_destroy(TAKE(w->builder));
    return NOKV_OK;
}

/* The first ref whose segment is not below `segment`. */
static size_t ref_find(const struct table_writer *w, uint64_t segment)
{
    size_t low = 0, high = w->ref_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (w->refs[mid].segment < segment)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Count what the entry points to. */
static enum nokv_status ref_add(struct table_writer *w, struct slice user_key, struct slice value)
{
    struct vlog_pointer p;
    TRY(vlog_pointer_decode(value, &p));
    size_t i = w->ref_recent;
    if (i >= w->ref_count || w->refs[i].segment != p.segment)
        i = ref_find(w, p.segment);
    ASSERT(i == w->ref_count || w->refs != NULL);
    if (i == w->ref_count || w->refs[i].segment != p.segment) {
        TRY(mem_grow(&w->refs, &w->ref_capacity, w->ref_count + 1, sizeof *w->refs));
        ASSERT(w->refs != NULL);
        memmove(w->refs + i + 1, w->refs + i, (w->ref_count - i) * sizeof *w->refs);
        w->refs[i] = (struct vlog_ref){.segment = p.segment};
        w->ref_count++;
    }
    w->refs[i].records++;
    w->refs[i].bytes += vlog_record_size(user_key.size, p.value_size);
    w->ref_recent = i;
    return NOKV_OK;
}

enum nokv_status table_writer_add(struct table_writer *w, struct ikey key, struct slice value)
{
    bool keep = false, new_key = false;
    TRY(entry_judge(w, key, &keep, &new_key));
    if (new_key && w->builder && w->options.table_bytes && sst_builder_bytes(w->builder) >= w->options.table_bytes)
        TRY(builder_finish(w));
    if (!keep)
        return NOKV_OK;
    if (w->builder == NULL)
        TRY(builder_start(w));
    TRY(value_writer_place(w->values, &key, &value));
    if (tag_kind_byte(key.tag) == KEY_VALUE_POINTER)
        TRY(ref_add(w, key.user, value));
    return sst_builder_add(w->builder, key, value);
}

enum nokv_status table_writer_finish(struct table_writer *w)
{
    TRY(value_writer_finish(w->values));
    return builder_finish(w);
}

size_t table_writer_count(const struct table_writer *w)
{
    return w->count;
}

const struct table_desc *table_writer_table(const struct table_writer *w, size_t index)
{
    ASSERT(index < w->count);
    return &w->tables[index];
}

uint64_t table_writer_bytes(const struct table_writer *w)
{
    return w->bytes + (w->builder ? sst_builder_bytes(w->builder) : 0);
}

struct value_writer *table_writer_value_writer(struct table_writer *w)
{
    return w->values;
}

const struct value_writer *table_writer_values(const struct table_writer *w)
{
    return w->values;
}

void table_writer_release(struct table_writer *w)
{
    value_writer_release(w->values);
    for (size_t i = 0; i < w->count; i++)
        table_desc_deinit(&w->tables[i]);
    w->count = 0;
}

void table_writer_destroy(struct table_writer *w)
{
    if (w == NULL)
        return;
    sst_builder_destroy(w->builder);
    for (size_t i = 0; i < w->count; i++) {
        char path[PATH_SIZE_MAX];
        /* What cannot be removed now is an orphan, and the next open removes it. */
        if (path_sst(path, w->options.env->dir, w->tables[i].number) == NOKV_OK && io_exists(w->options.env->io, path))
            (void)!io_unlink(w->options.env->io, path);
        table_desc_deinit(&w->tables[i]);
    }
    value_writer_destroy(w->values);
    mem_free(w->tables);
    mem_free(w->refs);
    buf_deinit(&w->last_key);
    mem_free(w);
}
