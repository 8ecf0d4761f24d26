// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_model.c - what must be in the database; the parts that no measured operation calls.
 *
 * Words are mapped, not allocated: pages that no key needs take no memory, a killed child leaves them to its parent,
 * and they count as shared memory, not as the anonymous memory that is the engine's figure.
 */
#include "nokv_bench_model.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

void model_init(struct model *model, uint64_t keys, uint64_t part, bool words)
{
    *model = (struct model){.keys = keys, .part = part};
    atomic_init(&model->next, keys);
    if (!words)
        return;
    model->word_count = keys + MODEL_INSERTS_MAX;
    size_t size = model->word_count * sizeof *model->words;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        bench_die("mmap of %zu bytes: %s", size, strerror(errno));
    model->words = memory;
}

void model_deinit(struct model *model)
{
    if (model->words)
        munmap((void *)(uintptr_t)model->words, model->word_count * sizeof *model->words);
    model->words = NULL;
}

void model_track(struct model *model)
{
    if (model->tracked)
        return;
    for (uint64_t i = 0; i < model->keys; i++)
        atomic_init(&model->words[i], model_live(model, i) ? (uint32_t)model_version(model, i) : 0);
    model->tracked = true;
}

uint64_t model_bytes(const struct model *model)
{
    return model->tracked ? model->keys * sizeof *model->words : 0;
}

uint64_t model_count(const struct model *model)
{
    uint64_t odd = model->first < model->odd_end ? model->odd_end / 2 - model->first / 2 : 0;
    return model->keys - (model->first > model->odd_end ? model->first : model->odd_end) + odd;
}

uint64_t model_live_bytes(const struct model *model, const struct data *data)
{
    if (!data->mixed)
        return model_count(model) * (DATA_KEY_SIZE + data->value_size);
    uint64_t sum = 0;
    for (uint64_t i = 0; (i = model_at_or_after(model, i)) != MODEL_NONE; i++)
        sum += DATA_KEY_SIZE + data_value_size(data, i);
    return sum;
}

uint64_t model_insert(struct model *model)
{
    uint64_t index = atomic_fetch_add_explicit(&model->next, 1, memory_order_relaxed);
    if (index >= model->word_count)
        bench_die("more than %d inserts", MODEL_INSERTS_MAX);
    return index;
}

void model_inserted(struct model *model)
{
    model->keys = atomic_load_explicit(&model->next, memory_order_relaxed);
}

static void words_clear(struct model *model, uint64_t begin, uint64_t end, uint64_t step)
{
    for (uint64_t i = begin; model->tracked && i < end; i += step)
        atomic_store_explicit(&model->words[i], 0, memory_order_relaxed);
}

void model_deleted_even(struct model *model)
{
    words_clear(model, 0, model->keys, 2);
    model->odd_end = model->keys;
}

void model_deleted_below(struct model *model, uint64_t first)
{
    words_clear(model, 0, first, 1);
    model->first = first > model->first ? first : model->first;
}
