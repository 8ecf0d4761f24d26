// SPDX-License-Identifier: Apache-2.0
/*
 * What write i of a thread does. It follows from the seed, the thread, the number of the write and of the life alone,
 * so neither parent nor child has to remember it, and a value that comes back can be compared to its last byte.
 *
 * The number of the life is in it so that a write that was lost and the one that is issued in its place differ: what
 * came back from the dead would show.
 */
#include <stdio.h>
#include <string.h>

#include "stress.h"
#include "test.h"

uint64_t seed_mix(uint64_t a, uint64_t b)
{
    uint64_t state = a ^ b * 0x2545f4914f6cdd1dull;
    return test_random(&state);
}

static uint64_t origin_seed(uint64_t seed, struct origin o)
{
    return seed_mix(seed, (uint64_t)o.write << 32 | (uint64_t)o.life << 8 | o.thread);
}

/* Sizes for all homes: beside the key, moved to the value log by a flush, written to it directly. */
static uint32_t value_size_draw(uint64_t *rng)
{
    uint64_t shape = test_random(rng) % 1000;
    uint64_t below = shape < 930 ? 700 : shape < 997 ? 20000 : VALUE_MAX;
    return (uint32_t)(8 + test_random(rng) % (below - 8));
}

void write_plan(uint64_t seed, struct origin o, struct planned *out)
{
    uint64_t rng = origin_seed(seed, o);
    *out = (struct planned){.is_batch = test_random(&rng) % 4 == 0, .is_durable = test_random(&rng) % 48 == 0};
    out->count = out->is_batch ? 2 + (uint32_t)(test_random(&rng) % (BATCH_MAX - 1)) : 1;
    for (uint32_t n = 0; n < out->count; n++)
        out->entries[n] = (struct entry){.key = (uint32_t)(test_random(&rng) % KEYS),
                                         .is_delete = test_random(&rng) % 6 == 0,
                                         .value_size = value_size_draw(&rng)};
    out->is_stream = !out->is_batch && !out->entries[0].is_delete && test_random(&rng) % 8 == 0;
}

size_t key_make(unsigned thread, uint32_t key, char out[KEY_TEXT])
{
    return (size_t)snprintf(out, KEY_TEXT, "thread%u/%05u", thread % 10, key % 100000);
}

bool key_parse(nokv_slice text, unsigned *out_thread, uint32_t *out_key)
{
    char copy[KEY_TEXT] = {0}, again[KEY_TEXT];
    if (text.size >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.size);
    return sscanf(copy, "thread%u/%u", out_thread, out_key) == 2 && *out_thread < THREADS_MAX && *out_key < KEYS &&
           key_make(*out_thread, *out_key, again) == text.size && memcmp(again, copy, text.size) == 0;
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

static uint64_t origin_encode(struct origin o, uint8_t entry)
{
    return (uint64_t)o.thread << 56 | (uint64_t)entry << 48 | (uint64_t)o.life << 32 | o.write;
}

void value_make(uint64_t seed, struct origin o, uint8_t entry, uint8_t *out, size_t size)
{
    uint64_t word = origin_encode(o, entry), rng = seed_mix(seed, word);
    for (size_t at = 0; at < size; at += 8) {
        memcpy(out + at, &word, size - at < 8 ? size - at : 8);
        word = test_random(&rng);
    }
}

bool value_parse(uint64_t seed, nokv_slice value, struct origin *out_origin, uint8_t *out_entry)
{
    static _Thread_local uint8_t wanted[VALUE_MAX];
    uint64_t word;
    if (value.size < sizeof word || value.size > sizeof wanted)
        return false;
    memcpy(&word, value.data, sizeof word);
    struct origin o = {.thread = (uint8_t)(word >> 56), .life = (uint16_t)(word >> 32), .write = (uint32_t)word};
    *out_origin = o;
    *out_entry = (uint8_t)(word >> 48);
    value_make(seed, o, *out_entry, wanted, value.size);
    return memcmp(wanted, value.data, value.size) == 0;
}

/* ---- keys ------------------------------------------------------------------------------------------------------ */

bool held_same(const struct held *a, const struct held *b)
{
    if (a->is_there != b->is_there)
        return false;
    return !a->is_there ||
           (a->write == b->write && a->life == b->life && a->entry == b->entry && a->value_size == b->value_size);
}

void held_apply(struct held keys[KEYS], struct origin o, const struct planned *p, uint32_t n)
{
    const struct entry *e = &p->entries[n];
    keys[e->key] = (struct held){
        .write = o.write, .value_size = e->value_size, .life = o.life, .entry = (uint8_t)n, .is_there = !e->is_delete};
}

struct held held_of(uint64_t seed, unsigned thread, uint32_t key, nokv_status status, const nokv_value *value)
{
    struct held held = {.is_there = status == NOKV_OK};
    struct origin o = {0};
    if (!held.is_there)
        return held;
    if (!value_parse(seed, (nokv_slice){value->data, value->size}, &o, &held.entry) || o.thread != thread)
        child_fail("torn: thread %u, key %u has %zu bytes that nobody wrote there", thread, key, value->size);
    held.write = o.write;
    held.life = o.life;
    held.value_size = (uint32_t)value->size;
    return held;
}

/* ---- options ---------------------------------------------------------------------------------------------------- */

static nokv_io_model pick(uint64_t *rng, nokv_io_model a, nokv_io_model b, nokv_io_model c)
{
    uint64_t n = test_random(rng) % 4;
    return n == 0 ? a : n == 1 ? b : n == 2 ? c : NOKV_IO_DEFAULT;
}

void options_draw(uint64_t seed, nokv_options *out)
{
    uint64_t rng = seed;
    nokv_options_init(out);
    out->memtable_bytes = (64ull << 10) << test_random(&rng) % 4;
    out->wal_buffer_bytes = (64ull << 10) << 2 * (test_random(&rng) % 3);
    out->memtables_max = (uint32_t)(2 + test_random(&rng) % 3);
    out->table_bytes = 64 << 10;
    out->level_base_bytes = 128 << 10;
    out->level_ratio = 3;
    out->l0_compact_files = (uint32_t)(2 + test_random(&rng) % 3);
    out->l0_busy_files = out->l0_compact_files + (uint32_t)(test_random(&rng) % 4);
    out->background_threads = (uint32_t)(1 + test_random(&rng) % 3);
    out->inline_background_work = test_random(&rng) % 5 == 0;
    out->value_separation_min = 64u << test_random(&rng) % 5;
    out->value_direct_min = 1024u << test_random(&rng) % 5;
    out->vlog_segment_bytes = (64ull << 10) << test_random(&rng) % 5;
    out->vlog_space_amp_max = 1.1;
    out->block_cache_bytes = (64ull << 10) << 2 * (test_random(&rng) % 3);
    out->wal_write = pick(&rng, NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING);
    out->vlog_write = pick(&rng, NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING);
    out->background_io = pick(&rng, NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING);
    out->sst_read = pick(&rng, NOKV_IO_STD, NOKV_IO_MMAP, NOKV_IO_DIRECT);
    out->vlog_read = (nokv_vlog_read)(test_random(&rng) % 5);
}
