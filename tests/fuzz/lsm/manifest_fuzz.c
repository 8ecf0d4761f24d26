// SPDX-License-Identifier: Apache-2.0
/*
 * manifest_fuzz.c - a directory with CURRENT, a MANIFEST and three tables, mutated, and what recovery makes of it.
 *
 * Input: one byte of choices, then either patches (disk_fuzz.h), or, with choice EDIT, the payload of one more edit,
 * which stands in the MANIFEST with a right checksum. Whatever is recovered must be a sound version: levels above 0
 * disjoint. The mutator changes patches one by one, or the fields of the edit.
 */
#include "disk_fuzz.h"
#include "edit_pieces.h"
#include "lsm/manifest.h"

enum { SEAL = 1, EDIT = 2, PATCHES_MAX = 8 };

static void obsolete(struct table_env *env, uint64_t number)
{
    (void)env;
    (void)number;
}

static struct table *table_make(struct table_env *env, uint64_t number, const char *first, const char *last)
{
    const struct sst_options options = {.block_bytes = 4096, .filter_bits_per_key = 10};
    char path[PATH_SIZE_MAX];
    struct sst_builder *b = NULL;
    struct sst_info info;
    struct table *t = NULL;
    struct table_desc d = {.number = number,
                           .smallest = {slice_make(first, strlen(first)), key_tag(number, KEY_VALUE)},
                           .largest = {slice_make(last, strlen(last)), key_tag(number + 10, KEY_VALUE)}};
    fuzz_require(path_sst(path, env->dir, number) == NOKV_OK);
    fuzz_require(sst_builder_create(env->io, path, IO_FLUSH, IO_STD, number, &options, &b) == NOKV_OK);
    fuzz_require(sst_builder_add(b, d.smallest, slice_make("v", 1)) == NOKV_OK);
    fuzz_require(sst_builder_add(b, d.largest, slice_make("v", 1)) == NOKV_OK);
    fuzz_require(sst_builder_finish(b, &info) == NOKV_OK);
    sst_builder_destroy(b);
    d.file_bytes = info.file_bytes;
    d.entries = info.entries;
    d.raw_bytes = info.raw_bytes;
    d.seq_min = info.seq_min;
    d.seq_max = info.seq_max;
    fuzz_require(table_open(env, &d, &t) == NOKV_OK);
    return t;
}

static struct sim *disk_make(void)
{
    struct sim *sim = NULL;
    struct io *io = NULL;
    struct manifest *m = NULL;
    struct manifest_state state = {.log_number = 4, .next_number = 10, .last_seq = 50};
    struct version *empty = NULL;
    struct edit edit = {0};
    fuzz_require(epoch_register() == NOKV_OK);
    fuzz_require(sim_create(&(struct sim_options){.seed = 1}, &sim) == NOKV_OK && sim_io_create(sim, &io) == NOKV_OK);
    fuzz_require(io_mkdir(io, "db") == NOKV_OK);
    struct table_env env = {.io = io, .dir = "db", .obsolete = obsolete};
    struct table *tables[] = {table_make(&env, 1, "a", "z"), table_make(&env, 2, "a", "m"),
                              table_make(&env, 3, "n", "z")};
    fuzz_require(version_create_empty(&empty) == NOKV_OK);
    for (uint32_t i = 0; i < ARRAY_COUNT(tables); i++)
        fuzz_require(edit_add_table(&edit, i ? 6 : 0, &tables[i]->desc) == NOKV_OK);
    fuzz_require(version_apply(empty, &edit, &env, tables, ARRAY_COUNT(tables), "x", &state.version) == NOKV_OK);
    fuzz_require(manifest_create(&env, 9, &state, &m) == NOKV_OK);
    edit_deinit(&edit);
    fuzz_require(edit_remove_table(&edit, 6, 2) == NOKV_OK && manifest_append(m, &edit) == NOKV_OK);
    manifest_destroy(m);
    edit_deinit(&edit);
    version_unref(state.version);
    version_unref(empty);
    for (size_t i = 0; i < ARRAY_COUNT(tables); i++)
        table_unref(tables[i]);
    epoch_drain();
    io_destroy(io);
    return sim;
}

/* MANIFEST-000009 anew: one complete edit without tables, and a record with these bytes. */
static void manifest_with(struct io *io, const uint8_t *data, size_t size)
{
    struct rlog_writer *w = NULL;
    struct rlog_writer_options options = {.io = io,
                                          .path = "db/MANIFEST-000009",
                                          .component = IO_MANIFEST,
                                          .model = IO_STD,
                                          .kind = RLOG_MANIFEST,
                                          .number = 9,
                                          .salt = 1};
    struct edit edit = {.has_log_number = true,
                        .log_number = 4,
                        .has_next_number = true,
                        .next_number = 10,
                        .has_last_seq = true,
                        .last_seq = 50};
    struct buf bytes = {0};
    fuzz_require(edit_encode(&edit, &bytes) == NOKV_OK && io_unlink(io, "db/MANIFEST-000009") == NOKV_OK);
    fuzz_require(rlog_writer_create(&options, "db", &w) == NOKV_OK);
    struct slice first = buf_slice(&bytes), second = slice_make(data, size);
    fuzz_require(rlog_append(w, &first, 1) == NOKV_OK && rlog_append(w, &second, 1) == NOKV_OK);
    rlog_writer_destroy(w);
    buf_deinit(&bytes);
}

static void version_check(const struct version *v)
{
    for (size_t l = 1; l < LEVELS_MAX; l++)
        for (size_t i = 1; i < v->levels[l].count; i++)
            fuzz_require(key_compare(v->levels[l].tables[i - 1]->desc.largest.user,
                                     v->levels[l].tables[i]->desc.smallest.user) < 0);
    struct lookup found;
    struct table *t;
    (void)!version_get(v, slice_make("n", 1), KEY_SEQ_MAX, &found, &t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sim *base;
    struct sim *sim = NULL;
    struct io *io = NULL;
    if (size < 1)
        return 0;
    if (base == NULL)
        base = disk_make();
    fuzz_require(sim_clone(base, &sim) == NOKV_OK && sim_io_create(sim, &io) == NOKV_OK);
    if (data[0] & EDIT)
        manifest_with(io, data + 1, size - 1);
    else
        patches_apply(io, sim, data + 1, size - 1, PATCHES_MAX, data[0] & SEAL);
    struct table_env env = {.io = io, .dir = "db", .obsolete = obsolete};
    struct manifest_state state = {0};
    enum nokv_status status = manifest_recover(&env, &state);
    fuzz_require(status == NOKV_OK || status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED);
    if (status == NOKV_OK) {
        version_check(state.version);
        version_unref(state.version);
        manifest_state_deinit(&state);
    }
    epoch_drain();
    io_destroy(io);
    sim_destroy(sim);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    struct fuzz_pieces p;
    if (size < 1 || !(data[0] & EDIT))
        return fuzz_mutate_units(data, size, max_size, 1, PATCH_BYTES, &random);
    pieces_begin(&p, data, 1, size, max_size);
    edit_split(&p);
    edit_change(&p, &random);
    return p.size;
}
