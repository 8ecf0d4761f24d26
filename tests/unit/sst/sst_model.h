// SPDX-License-Identifier: Apache-2.0
/*
 * The oracle of the table tests: the same entries in a sorted array, and tables built from it.
 */
#ifndef TESTS_SST_MODEL_H
#define TESTS_SST_MODEL_H

#include "test.h"

#include "base/epoch.h"
#include "sst/sst.h"

struct model_entry {
    struct ikey key;
    struct slice value;
};

struct model {
    struct model_entry *entries; /* sorted */
    size_t count, capacity;
    uint64_t random;
};

static inline void *model_copy(const void *data, size_t size)
{
    void *p = malloc(size ? size : 1);
    assert_non_null(p);
    if (size)
        memcpy(p, data, size);
    return p;
}

/* Copies. Sort afterwards. */
static inline void model_add(struct model *m, const void *key, size_t key_size, uint64_t tag, const void *value,
                             size_t value_size)
{
    if (m->count == m->capacity) {
        m->capacity = m->capacity ? 2 * m->capacity : 64;
        m->entries = realloc(m->entries, m->capacity * sizeof *m->entries);
        assert_non_null(m->entries);
    }
    m->entries[m->count++] = (struct model_entry){
        .key = {.user = slice_make(model_copy(key, key_size), key_size), .tag = tag},
        .value = slice_make(model_copy(value, value_size), value_size),
    };
}

static inline void model_free(struct model *m)
{
    for (size_t i = 0; i < m->count; i++) {
        free((void *)(uintptr_t)m->entries[i].key.user.data);
        free((void *)(uintptr_t)m->entries[i].value.data);
    }
    free(m->entries);
    *m = (struct model){0};
}

static inline int model_compare(const void *a, const void *b)
{
    return ikey_compare(((const struct model_entry *)a)->key, ((const struct model_entry *)b)->key);
}

/* Sort and drop what is there twice. */
static inline void model_sort(struct model *m)
{
    size_t kept = 0;
    qsort(m->entries, m->count, sizeof *m->entries, model_compare);
    for (size_t i = 0; i < m->count; i++) {
        if (kept > 0 && ikey_compare(m->entries[kept - 1].key, m->entries[i].key) == 0) {
            free((void *)(uintptr_t)m->entries[i].key.user.data);
            free((void *)(uintptr_t)m->entries[i].value.data);
        } else {
            m->entries[kept++] = m->entries[i];
        }
    }
    m->count = kept;
}

/* The first entry that is not below `target`, or count. */
static inline size_t model_lower_bound(const struct model *m, struct ikey target)
{
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ikey_compare(m->entries[middle].key, target) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The newest version of `key` up to `seq`, or NULL. */
static inline const struct model_entry *model_get(const struct model *m, struct slice key, uint64_t seq)
{
    size_t i = model_lower_bound(m, (struct ikey){.user = key, .tag = tag_for_seek(seq)});
    return i < m->count && slice_equal(m->entries[i].key.user, key) ? &m->entries[i] : NULL;
}

static inline uint64_t model_below(struct model *m, uint64_t bound)
{
    return test_random(&m->random) % bound;
}

/* How random keys and values look. */
struct model_shape {
    size_t count;
    size_t key_max;     /* bytes */
    size_t value_max;   /* bytes */
    unsigned alphabet;  /* different bytes in keys: small makes prefixes and duplicates of each other */
    unsigned versions;  /* up to so many of a key */
    size_t prefix_size; /* the same bytes in front of each key */
};

static inline void model_random_key(struct model *m, const struct model_shape *s, uint8_t *key, size_t *out_size)
{
    size_t size = 1 + model_below(m, s->key_max);
    memset(key, 'p', s->prefix_size);
    for (size_t i = 0; i < size; i++) {
        unsigned letter = (unsigned)model_below(m, s->alphabet);
        key[s->prefix_size + i] = (uint8_t)(letter == 0 ? 0 : letter == s->alphabet - 1 ? 0xff : letter * 7 + 'a');
    }
    *out_size = s->prefix_size + size;
}

static inline void model_fill(struct model *m, const struct model_shape *s)
{
    uint8_t *key = malloc(s->prefix_size + s->key_max + 1), *value = malloc(s->value_max + 1);
    assert_non_null(key);
    assert_non_null(value);
    uint64_t seq = 1;
    while (m->count < s->count) {
        size_t key_size;
        model_random_key(m, s, key, &key_size);
        for (uint64_t v = 1 + model_below(m, s->versions); v > 0; v--) {
            size_t value_size = s->value_max ? model_below(m, s->value_max + 1) : 0;
            bool tombstone = model_below(m, 10) == 0;
            seq += 1 + model_below(m, 3);
            for (size_t i = 0; i < value_size; i++)
                value[i] = (uint8_t)test_random(&m->random);
            model_add(m, key, key_size, key_tag(seq, tombstone ? KEY_TOMBSTONE : KEY_VALUE), value,
                      tombstone ? 0 : value_size);
        }
    }
    free(key);
    free(value);
    model_sort(m);
}

static inline const struct sst_options *model_options(void)
{
    static const struct sst_options options = {.block_bytes = 4096, .filter_bits_per_key = 10};
    return &options;
}

static inline struct sst_info model_build(const struct model *m, struct io *io, const char *path, uint64_t number,
                                          const struct sst_options *options)
{
    struct sst_builder *b = NULL;
    struct sst_info info;
    OK(sst_builder_create(io, path, IO_FLUSH, IO_STD, number, options, &b));
    for (size_t i = 0; i < m->count; i++)
        OK(sst_builder_add(b, m->entries[i].key, m->entries[i].value));
    OK(sst_builder_finish(b, &info));
    sst_builder_destroy(b);
    return info;
}

/* A directory, the real disk, and one table of the model in it. */
struct table {
    char dir[256];
    char path[300];
    struct io *io;
    struct sst_reader *r;
    struct cache *cache; /* NULL: mapped */
};

/* The same table, read with a cache of its own, which is far too small. */
static inline void table_open_copied(struct table *t, const struct table *from, enum io_model model)
{
    *t = *from;
    OK(cache_create(CACHE_BYTES_MIN, &t->cache));
    struct sst_access access = {.is_copied = true, .cache = t->cache, .model = model};
    OK(sst_reader_open_with(t->io, t->path, 7, 0, &access, &t->r));
}

static inline void table_close_copied(struct table *t)
{
    sst_reader_unref(t->r);
    epoch_drain();
    cache_destroy(t->cache);
}

static inline void table_open(struct table *t, const struct model *m, const struct sst_options *options)
{
    test_dir_create(t->dir);
    snprintf(t->path, sizeof t->path, "%s/000007.sst", t->dir);
    OK(io_real_create(&t->io));
    OK(epoch_register());
    struct sst_info info = model_build(m, t->io, t->path, 7, options);
    OK(sst_reader_open(t->io, t->path, 7, info.file_bytes, &t->r));
}

static inline void table_close(struct table *t)
{
    sst_reader_unref(t->r);
    epoch_drain();
    io_destroy(t->io);
    test_dir_remove(t->dir);
}

static inline void check_entry(const struct iter *it, const struct model *m, size_t i)
{
    if (i >= m->count) {
        assert_false(it->valid);
        OK(it->status);
        return;
    }
    if (!it->valid)
        fail_msg("entry %zu of %zu is missing: %s %s", i, m->count, status_name(it->status), status_message());
    assert_true(slice_equal(it->key.user, m->entries[i].key.user));
    assert_int_equal(it->key.tag, m->entries[i].key.tag);
    assert_true(slice_equal(it->value, m->entries[i].value));
}

static inline void check_get(struct sst_reader *r, const struct model *m, struct slice key, uint64_t seq)
{
    struct lookup found = {0};
    const struct model_entry *wanted = model_get(m, key, seq);
    OK(sst_reader_get(r, key, sst_key_hash(key), seq, &found));
    assert_int_equal(found.found, wanted != NULL);
    if (wanted) {
        assert_int_equal(found.tag, wanted->key.tag);
        assert_true(slice_equal(found.value, wanted->value));
        assert_int_equal(found.holder != NULL, sst_reader_is_copied(r));
        assert_true(found.value.size == 0 || found.holder ||
                    sst_reader_contains(r, found.value.data, found.value.size));
    }
    assert_true(found.found || found.holder == NULL);
    if (found.holder)
        cache_block_unref(found.holder);
}

#endif
