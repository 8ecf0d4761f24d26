// SPDX-License-Identifier: Apache-2.0
/*
 * main() of a fuzz target in an ordinary build: feeds it each file of a corpus directory as it is, cut short at 64
 * places and with each of up to 512 bits flipped, and 2,000 random inputs, so that the targets run (under the
 * sanitizers too) in every test run and with any compiler. Real fuzzing is ./dev fuzz.
 *
 * Passes when nothing crashed. A corpus that is named and cannot be read, or is empty, fails.
 */
#include <dirent.h>

#include "test.h"

enum { INPUT_BYTES_MAX = 1 << 20, RANDOM_BYTES_MAX = 600, RANDOM_INPUTS = 2000, CUTS = 64, FLIPS = 512 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

/* Under sanitizers a third: they look at each byte that is touched. */
static uint64_t scaled(uint64_t n)
{
    return test_scale(100) < 100 ? n / 3 : n;
}

static void input_mutate(uint8_t *data, size_t size, uint64_t *random)
{
    input_feed(data, size);
    for (int i = 0; i < (int)scaled(CUTS) && size > 0; i++)
        input_feed(data, size <= CUTS ? (size_t)i % size : test_random(random) % size);
    for (int i = 0; i < (int)scaled(FLIPS) && size > 0; i++) {
        size_t bit = size * 8 <= FLIPS ? (size_t)i % (size * 8) : test_random(random) % (size * 8);
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        input_feed(data, size);
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static bool file_replay(const char *path, uint8_t *buffer, uint64_t *random)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    size_t size = fread(buffer, 1, INPUT_BYTES_MAX, file);
    bool ok = !ferror(file);
    fclose(file);
    if (ok)
        input_mutate(buffer, size, random);
    return ok;
}

/* The number of files replayed, or -1 when one could not be read. */
static int corpus_replay(const char *dir, uint8_t *buffer, uint64_t *random)
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
        count = file_replay(path, buffer, random) ? count + 1 : -1;
    }
    closedir(d);
    return count;
}

int main(int argc, char **argv)
{
    uint64_t random = test_seed(1);
    uint8_t *buffer = malloc(INPUT_BYTES_MAX);
    if (!buffer)
        return 1;
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        int count = corpus_replay(argv[i], buffer, &random);
        if (count <= 0) {
            fprintf(stderr, "corpus %s: %s\n", argv[i], count < 0 ? "cannot be read" : "is empty");
            failed = 1;
        }
    }
    for (int i = 0; i < (int)scaled(RANDOM_INPUTS); i++) {
        size_t size = test_random(&random) % RANDOM_BYTES_MAX;
        for (size_t k = 0; k < size; k++)
            buffer[k] = (uint8_t)test_random(&random);
        input_feed(buffer, size);
    }
    free(buffer);
    return failed;
}
