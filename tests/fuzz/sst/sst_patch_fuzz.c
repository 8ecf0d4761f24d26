// SPDX-License-Identifier: Apache-2.0
/*
 * sst_patch_fuzz.c - the input is a list of changes to a sound table: four bytes each (position, how, value); the table
 * then gets right checksums, so that every change reaches the code behind them. The first byte chooses one of two
 * tables. The mutator changes one of the changes.
 */
#include "io/sim.h"
#include "table_fuzz.h"

enum { TABLE_BYTES_MAX = 1 << 18, TABLES = 3, KEYS = 6 };

struct base_table {
    uint8_t *data;
    size_t size;
    struct slice keys[KEYS];
};

/* Blocks of one page, so many that the index has two levels and a walk reads ahead. */
static void table_fill_blocks(struct sst_builder *b)
{
    static uint8_t value[3900];
    for (unsigned i = 0; i < 40; i++) {
        const uint8_t key[] = {'b', (uint8_t)(i * 5), 'k'};
        struct ikey ikey = {.user = slice_make(key, sizeof key), .tag = key_tag(1 + i, KEY_VALUE)};
        fuzz_require(sst_builder_add(b, ikey, slice_make(value, sizeof value)) == NOKV_OK);
    }
}

static void table_fill(struct sst_builder *b, int which)
{
    static uint8_t value[40000];
    for (unsigned i = 0; i < 150; i++) {
        uint8_t key[16];
        /* of the one all keys differ in the first bytes, of the other only in the last, with versions over blocks */
        for (unsigned k = 0; k < sizeof key; k++)
            key[k] = which ? (uint8_t)(k < 14 ? 'k' : k == 14 ? i / 20 : 7) : (uint8_t)(i >> (k ? 0 : 1));
        size_t value_size = which && i == 100 ? sizeof value : i % 90;
        unsigned kind = i % 9 == 0 ? KEY_TOMBSTONE : KEY_VALUE;
        struct ikey ikey = {.user = slice_make(key, which ? 16 : 2 + i % 2), .tag = key_tag(1000 - i, kind)};
        fuzz_require(sst_builder_add(b, ikey, slice_make(value, kind == KEY_TOMBSTONE ? 0 : value_size)) == NOKV_OK);
    }
}

static void table_make(struct base_table *t, int which)
{
    const struct sst_options options = {.block_bytes = 4096, .filter_bits_per_key = 10};
    struct sim *sim = NULL;
    struct io *io = NULL;
    struct sst_builder *b = NULL;
    struct sst_info info;
    struct io_file *file = NULL;
    fuzz_require(sim_create(&(struct sim_options){.seed = 1}, &sim) == NOKV_OK && sim_io_create(sim, &io) == NOKV_OK);
    fuzz_require(sst_builder_create(io, "t", IO_FLUSH, IO_STD, 7, &options, &b) == NOKV_OK);
    if (which == 2)
        table_fill_blocks(b);
    else
        table_fill(b, which);
    fuzz_require(sst_builder_finish(b, &info) == NOKV_OK && info.file_bytes <= TABLE_BYTES_MAX);
    sst_builder_destroy(b);
    t->size = info.file_bytes;
    t->data = malloc(t->size);
    fuzz_require(t->data != NULL);
    fuzz_require(io_open(io, "t", IO_OTHER, IO_STD, IO_READ, &file) == NOKV_OK);
    fuzz_require(io_pread_exact(file, t->data, t->size, 0) == NOKV_OK && io_close(file) == NOKV_OK);
    io_destroy(io);
    sim_destroy(sim);
}

static const struct base_table *table_get(int which)
{
    static struct base_table tables[TABLES];
    static const uint8_t long_key[16] = "kkkkkkkkkkkkkk\5\7";
    struct base_table *t = &tables[which];
    if (t->data == NULL) {
        table_make(t, which);
        t->keys[0] = slice_make("", 0);
        t->keys[1] = slice_make(long_key, 16);
        t->keys[2] = slice_make(long_key, 15);
        t->keys[3] = slice_make("\0\0", 2);
        t->keys[4] = which == 2 ? slice_make("b\x64k", 3) : slice_make("\x40\x80\x80", 3);
        t->keys[5] = slice_make("\xff\xff", 2);
    }
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const struct base_table *t = table_get(data[0] % TABLES);
    uint8_t *patched = malloc(t->size);
    fuzz_require(patched != NULL);
    memcpy(patched, t->data, t->size);
    for (size_t i = 1; i + 4 <= size; i += 4) {
        /* most of what matters stands at the start of a page */
        size_t page = data[i] % (t->size / PAGE_BYTES);
        size_t at = page * PAGE_BYTES + (data[i + 2] & 0x80 ? data[i + 1] * 16u + (data[i + 2] & 15) : data[i + 1]);
        at = at < t->size ? at : 0;
        patched[at] = data[i + 2] & 0x40 ? patched[at] ^ (uint8_t)(1u << data[i + 3] % 8) : data[i + 3];
    }
    fuzz_seal(patched, t->size);
    fuzz_table(patched, t->size, t->keys, KEYS);
    free(patched);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    return fuzz_mutate_units(data, size, max_size, 1, 4, &random);
}
