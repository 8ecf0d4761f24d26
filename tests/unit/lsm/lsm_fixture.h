// SPDX-License-Identifier: Apache-2.0
/*
 * lsm_fixture.h - a directory on the simulated disk, tables in it, and versions made of them.
 *
 * Two sorts of tables: real ones, built from a list of entries, and hollow ones, which have a description and no file:
 * enough for everything that only looks at keys and sizes.
 */
#ifndef TESTS_UNIT_LSM_FIXTURE_H
#define TESTS_UNIT_LSM_FIXTURE_H

#include "base/alloc.h"
#include "base/epoch.h"
#include "io/sim.h"
#include "lsm/names.h"
#include "lsm/version.h"
#include "test.h"

enum { OBSOLETE_MAX = 1024, ENTRY_KEY_MAX = 48, ENTRY_VALUE_MAX = 64 };

struct lsm {
    struct sim *sim;
    struct io *io;
    struct table_env env;
    uint64_t next_number;
    uint64_t obsolete[OBSOLETE_MAX];
    size_t obsolete_count;
};

static inline void lsm_obsolete(struct table_env *env, uint64_t number)
{
    struct lsm *f = CONTAINER_OF(env, struct lsm, env);
    assert_true(f->obsolete_count < OBSOLETE_MAX);
    f->obsolete[f->obsolete_count++] = number;
}

static inline void lsm_init(struct lsm *f)
{
    struct sim_options options = {.seed = 1};
    *f = (struct lsm){.next_number = 1};
    OK(epoch_register());
    OK(sim_create(&options, &f->sim));
    OK(sim_io_create(f->sim, &f->io));
    OK(io_mkdir(f->io, "db"));
    OK(io_sync_dir(f->io, "."));
    f->env = (struct table_env){.io = f->io, .dir = "db", .obsolete = lsm_obsolete};
}

static inline void lsm_deinit(struct lsm *f)
{
    epoch_drain();
    io_destroy(f->io);
    sim_destroy(f->sim);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

struct lsm_file_search {
    const char *part;
    size_t count;
};

static inline bool lsm_file_count_one(void *arg, const char *path, uint64_t size)
{
    struct lsm_file_search *s = arg;
    (void)size;
    s->count += strstr(path, s->part) != NULL;
    return true;
}

/* Files whose name contains `part`. */
static inline size_t lsm_files(struct lsm *f, const char *part)
{
    struct lsm_file_search s = {.part = part};
    sim_each_file(f->sim, lsm_file_count_one, &s);
    return s.count;
}

/* ---- entries ---------------------------------------------------------------------------------------------------- */

struct entry {
    uint8_t key[ENTRY_KEY_MAX];
    size_t key_size;
    uint64_t tag;
    uint8_t value[ENTRY_VALUE_MAX];
    size_t value_size;
};

static inline struct ikey entry_key(const struct entry *e)
{
    return (struct ikey){.user = slice_make(e->key, e->key_size), .tag = e->tag};
}

static inline struct slice entry_value(const struct entry *e)
{
    return slice_make(e->value, e->value_size);
}

static inline int entry_compare(const void *a, const void *b)
{
    return ikey_compare(entry_key(a), entry_key(b));
}

/* The value says key and tag, so that a wrong one is seen. */
static inline void entry_make(struct entry *e, struct slice key, uint64_t tag)
{
    *e = (struct entry){.key_size = key.size, .tag = tag};
    memcpy(e->key, key.data, key.size);
    if (tag_kind(tag) != KEY_TOMBSTONE)
        e->value_size =
            (size_t)snprintf((char *)e->value, sizeof e->value, "%016llx-%zu", (unsigned long long)tag, key.size);
}

/* ---- tables ----------------------------------------------------------------------------------------------------- */

static inline const struct sst_options *lsm_sst_options(void)
{
    static const struct sst_options options = {.block_bytes = 4096, .filter_bits_per_key = 10};
    return &options;
}

/* A table of `count` sorted entries, opened. */
static inline struct table *lsm_table(struct lsm *f, const struct entry *entries, size_t count)
{
    char path[PATH_SIZE_MAX];
    struct sst_builder *b = NULL;
    struct sst_info info;
    struct table *t = NULL;
    struct table_desc d = {
        .number = f->next_number++, .smallest = entry_key(&entries[0]), .largest = entry_key(&entries[count - 1])};
    OK(path_sst(path, "db", d.number));
    OK(sst_builder_create(f->io, path, IO_FLUSH, IO_STD, d.number, lsm_sst_options(), &b));
    for (size_t i = 0; i < count; i++)
        OK(sst_builder_add(b, entry_key(&entries[i]), entry_value(&entries[i])));
    OK(sst_builder_finish(b, &info));
    sst_builder_destroy(b);
    d.file_bytes = info.file_bytes;
    d.entries = info.entries;
    d.tombstones = info.tombstones;
    d.raw_bytes = info.raw_bytes;
    d.seq_min = info.seq_min;
    d.seq_max = info.seq_max;
    OK(table_open(&f->env, &d, &t));
    return t;
}

/* A description without a file. Newer ones have higher sequence numbers. */
static inline struct table *lsm_hollow(struct lsm *f, struct slice smallest, struct slice largest, uint64_t bytes)
{
    struct table *t = mem_zalloc(sizeof *t);
    assert_non_null(t);
    uint64_t n = f->next_number++;
    struct table_desc d = {.number = n,
                           .file_bytes = bytes,
                           .entries = 1,
                           .seq_min = n * 10,
                           .seq_max = n * 10 + 9,
                           .smallest = {.user = smallest, .tag = key_tag(n * 10 + 1, KEY_VALUE)},
                           .largest = {.user = largest, .tag = key_tag(n * 10, KEY_VALUE)}};
    t->env = &f->env;
    OK(table_desc_copy(&d, &t->desc));
    t->smallest_prefix = key_prefix(t->desc.smallest.user, 0);
    t->largest_prefix = key_prefix(t->desc.largest.user, 0);
    atomic_init(&t->refs, 1);
    return t;
}

/* ---- versions --------------------------------------------------------------------------------------------------- */

/* *v with the table on a level; takes the caller's reference to the table, replaces *v. */
static inline void lsm_put(struct lsm *f, struct version **v, uint32_t level, struct table *t)
{
    struct edit edit = {0};
    struct version *now = NULL;
    OK(edit_add_table(&edit, level, &t->desc));
    OK(version_apply(*v, &edit, &f->env, &t, 1, "test", &now));
    edit_deinit(&edit);
    table_unref(t);
    version_unref(*v);
    *v = now;
}

static inline struct version *lsm_empty(void)
{
    struct version *v = NULL;
    OK(version_create_empty(&v));
    return v;
}

static inline struct slice lsm_text(const char *s)
{
    return slice_make(s, strlen(s));
}

/* ---- random keys ------------------------------------------------------------------------------------------------ */

/* Few different bytes behind a shared prefix, so that keys are prefixes and neighbours of each other. */
static inline struct slice lsm_random_key(uint8_t out[ENTRY_KEY_MAX], size_t shared, uint64_t *random)
{
    static const uint8_t letters[] = {0x00, 'a', 'b', 0xff};
    size_t size = 1 + test_random(random) % 14;
    memset(out, 's', shared);
    for (size_t i = 0; i < size; i++)
        out[shared + i] = letters[test_random(random) % sizeof letters];
    return slice_make(out, shared + size);
}

#endif
