// SPDX-License-Identifier: Apache-2.0
/*
 * main() of a fuzz target in an ordinary build: feeds it each file of a corpus directory as it is, cut short, with bits
 * flipped and changed by the target's own mutator, and random inputs, so that targets and mutators run (under the
 * sanitizers too) in every test run and with any compiler. Real fuzzing is ./dev fuzz.
 *
 *      TARGET EXECUTIONS [CORPUS...]
 *
 * EXECUTIONS is what a target has time for: divided among the files, and for each file among the ways to change it.
 * Each file itself is run in any case.
 *
 * Passes when nothing crashed. A corpus that is named and cannot be read, or is empty, fails.
 */
#include <dirent.h>

#include "test.h"

enum { INPUT_BYTES_MAX = 1 << 20, RANDOM_BYTES_MAX = 600, CUTS = 64, FLIPS = 512, GROWTH = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) __attribute__((weak));

struct replay {
    uint8_t *input;  /* INPUT_BYTES_MAX, as all of them */
    uint8_t *change; /* what becomes of it */
    uint64_t per_file;
};

static uint64_t random_state;

static uint64_t draw(uint64_t below)
{
    return test_random(&random_state) % below;
}

/* Each input gets a block of exactly its size, so that AddressSanitizer sees the first byte read beyond it. */
static void input_feed(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact)
        abort();
    if (size)
        memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

/* What libFuzzer has for mutators: a byte more, some bytes less, or another byte. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size)
{
    size_t at = draw(size + 1);
    switch (draw(3)) {
    case 0:
        if (size == max_size)
            break;
        memmove(data + at + 1, data + at, size - at);
        data[at] = (uint8_t)draw(256);
        return size + 1;
    case 1:
        if (at == size)
            break;
        size_t less = 1 + draw(size - at < 8 ? size - at : 8);
        memmove(data + at, data + at + less, size - at - less);
        return size - less;
    default:
        if (at < size)
            data[at] ^= (uint8_t)(1 + draw(255));
    }
    return size;
}

static void cuts_feed(const struct replay *r, size_t size)
{
    uint64_t count = r->per_file / 8 < CUTS ? r->per_file / 8 : CUTS;
    for (uint64_t i = 0; i < count && size > 0; i++)
        input_feed(r->input, size <= count ? i % size : draw(size));
}

static void flips_feed(const struct replay *r, size_t size)
{
    uint64_t count = r->per_file / 2 < FLIPS ? r->per_file / 2 : FLIPS;
    for (uint64_t i = 0; i < count && size > 0; i++) {
        size_t bit = size * 8 <= count ? i % (size * 8) : draw(size * 8);
        r->input[bit / 8] ^= (uint8_t)(1u << bit % 8);
        input_feed(r->input, size);
        r->input[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* Chains of changes: each begins with the file, and goes on from what became of it. */
static void mutations_feed(const struct replay *r, size_t size)
{
    size_t changed = size, most = size + GROWTH < INPUT_BYTES_MAX ? size + GROWTH : INPUT_BYTES_MAX;
    if (!LLVMFuzzerCustomMutator)
        return;
    for (uint64_t i = 0; i < r->per_file / 4; i++) {
        if (i % 16 == 0) {
            memcpy(r->change, r->input, size);
            changed = size;
        }
        changed = LLVMFuzzerCustomMutator(r->change, changed, most, (unsigned)draw(UINT32_MAX));
        if (changed > most)
            abort();
        input_feed(r->change, changed);
    }
}

static bool file_replay(const struct replay *r, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    size_t size = fread(r->input, 1, INPUT_BYTES_MAX, file);
    bool ok = !ferror(file);
    fclose(file);
    if (!ok)
        return false;
    input_feed(r->input, size);
    cuts_feed(r, size);
    flips_feed(r, size);
    mutations_feed(r, size);
    return true;
}

/* The number of files in the corpus, each replayed unless `r` is NULL; -1 when one could not be read. */
static int corpus_replay(const char *dir, const struct replay *r)
{
    DIR *d = opendir(dir);
    if (!d)
        return -1;
    int count = 0;
    for (struct dirent *entry; count >= 0 && (entry = readdir(d));) {
        char path[1024];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        count = r == NULL || file_replay(r, path) ? count + 1 : -1;
    }
    closedir(d);
    return count;
}

static void randoms_feed(const struct replay *r, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        size_t size = draw(RANDOM_BYTES_MAX);
        for (size_t k = 0; k < size; k++)
            r->input[k] = (uint8_t)draw(256);
        input_feed(r->input, size);
    }
}

int main(int argc, char **argv)
{
    random_state = test_seed(1);
    struct replay r = {.input = malloc(INPUT_BYTES_MAX), .change = malloc(INPUT_BYTES_MAX)};
    /* under sanitizers a third: they look at each byte that is touched */
    uint64_t executions = argc > 1 ? strtoull(argv[1], NULL, 10) / (test_scale(100) < 100 ? 3 : 1) : 0;
    if (!r.input || !r.change || executions == 0)
        return 1;
    int failed = 0;
    for (int i = 2; i < argc; i++) {
        int count = corpus_replay(argv[i], NULL);
        r.per_file = count > 0 ? executions / (uint64_t)count : 0;
        if (count <= 0 || corpus_replay(argv[i], &r) < 0) {
            fprintf(stderr, "corpus %s: %s\n", argv[i], count == 0 ? "is empty" : "cannot be read");
            failed = 1;
        }
    }
    randoms_feed(&r, executions / 16);
    free(r.input);
    free(r.change);
    return failed;
}
