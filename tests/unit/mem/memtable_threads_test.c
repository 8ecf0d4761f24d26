// SPDX-License-Identifier: Apache-2.0
/*
 * One writer and readers that look up and iterate meanwhile, without any lock between them.
 *
 * The history is a function: the entry with sequence number i has key key_of(i) and value i. So a reader that has seen
 * the published number knows exactly what must be there, and what it sees tells whether it is sound.
 */
#include <sched.h>

#include "base/thread.h"
#include "mem/mem.h"
#include "test.h"

enum { READERS = 2, ENTRIES = 40000, KEYS = 15000, STEP = 400 };

static struct memtable *memtable;
static _Atomic uint64_t published; /* every entry up to this number can be read; release by the writer */
static _Atomic uint64_t rounds;    /* that readers have finished; the writer goes no faster than they do */

/* Some keys come back (versions), some are prefixes of others, all byte values and many shapes of node occur. */
static size_t key_of(uint64_t seq, uint8_t key[16])
{
    uint64_t state = seq % KEYS;
    uint64_t r = test_random(&state);
    unsigned alphabet = r % 3 == 0 ? 2 : r % 3 == 1 ? 20 : 256;
    size_t size = 1 + (r >> 8) % 12;
    for (size_t i = 0; i < size; i++)
        key[i] = (uint8_t)(test_random(&state) % alphabet);
    return size;
}

static void check_entry(struct slice user, uint64_t tag, struct slice value)
{
    uint8_t key[16];
    uint64_t seq = tag_seq(tag), stored;
    ASSERT(slice_equal(user, slice_make(key, key_of(seq, key))));
    ASSERT(value.size == sizeof stored);
    memcpy(&stored, value.data, sizeof stored);
    ASSERT(stored == seq);
}

/* An entry that was published is found at its own number and, at any later one, it or a newer version. */
static void check_gets(uint64_t seq_max, uint64_t *random)
{
    for (int n = 0; n < 50; n++) {
        uint8_t bytes[16];
        struct lookup found;
        uint64_t seq = 1 + test_random(random) % seq_max;
        struct slice key = slice_make(bytes, key_of(seq, bytes));
        memtable_get(memtable, key, seq, &found);
        ASSERT(found.found && tag_seq(found.tag) == seq);
        check_entry(key, found.tag, found.value);
        memtable_get(memtable, key, seq_max, &found);
        ASSERT(found.found && tag_seq(found.tag) >= seq && tag_seq(found.tag) <= seq_max);
        check_entry(key, found.tag, found.value);
    }
}

/* A whole walk is in strict order and misses no entry that was published before it began. */
static void check_walk(struct iter *it, uint64_t seq_max, bool forward)
{
    uint64_t seen = 0;
    struct ikey before = {0};
    for (forward ? iter_first(it) : iter_last(it); it->valid; forward ? iter_next(it) : iter_prev(it)) {
        check_entry(it->key.user, it->key.tag, it->value);
        seen += tag_seq(it->key.tag) <= seq_max;
        ASSERT(before.user.data == NULL || ikey_compare(before, it->key) * (forward ? 1 : -1) < 0);
        before = it->key;
    }
    ASSERT(seen == seq_max);
}

/* Seeking a published entry finds it, from both sides; the neighbours are in order. */
static void check_seeks(struct iter *it, uint64_t seq_max, uint64_t *random)
{
    for (int n = 0; n < 50; n++) {
        uint8_t bytes[16];
        uint64_t seq = 1 + test_random(random) % seq_max;
        struct ikey target = {slice_make(bytes, key_of(seq, bytes)), key_tag(seq, KEY_VALUE)};
        iter_seek(it, target);
        ASSERT(it->valid && ikey_compare(it->key, target) == 0);
        for (int i = 0; i < 5 && it->valid; i++) {
            check_entry(it->key.user, it->key.tag, it->value);
            iter_next(it);
            ASSERT(!it->valid || ikey_compare(it->key, target) > 0);
        }
        iter_seek_for_prev(it, target);
        ASSERT(it->valid && ikey_compare(it->key, target) == 0);
        iter_prev(it);
        ASSERT(!it->valid || ikey_compare(it->key, target) < 0);
    }
}

static void *reader(void *arg)
{
    uint64_t random = (uintptr_t)arg;
    uint64_t seq_max;
    struct iter *it;
    ASSERT(epoch_register() == NOKV_OK);
    ASSERT(memtable_iter_create(memtable, &it) == NOKV_OK);
    do {
        /* acquire: everything that was added before the number was published */
        seq_max = atomic_load_explicit(&published, memory_order_acquire);
        if (seq_max == 0)
            continue;
        check_gets(seq_max, &random);
        check_seeks(it, seq_max, &random);
        atomic_fetch_add_explicit(&rounds, 1, memory_order_relaxed);
        if (test_random(&random) % 8 == 0)
            check_walk(it, seq_max, test_random(&random) % 2);
    } while (seq_max < ENTRIES);
    iter_destroy(it);
    return NULL;
}

static void wait_for_a_round(void)
{
    uint64_t before = atomic_load_explicit(&rounds, memory_order_relaxed);
    while (atomic_load_explicit(&rounds, memory_order_relaxed) == before)
        sched_yield();
}

/* Readers see everything that is published, nothing torn, and in order, while the tree grows under them. */
static void readers_and_a_writer(void **state)
{
    (void)state;
    uint64_t seed = test_seed(1);
    pthread_t threads[READERS];
    OK(memtable_create(1 << 20, NULL, &memtable));
    for (uintptr_t i = 0; i < READERS; i++)
        OK(thread_create(&threads[i], "reader", reader, (void *)(seed + i)));
    for (uint64_t seq = 1; seq <= ENTRIES; seq++) {
        uint8_t key[16];
        size_t size = key_of(seq, key);
        OK(memtable_add(memtable, (struct ikey){slice_make(key, size), key_tag(seq, KEY_VALUE)},
                        slice_make(&seq, sizeof seq)));
        atomic_store_explicit(&published, seq, memory_order_release);
        if (seq % STEP == 0 && seq < ENTRIES)
            wait_for_a_round();
    }
    for (int i = 0; i < READERS; i++)
        thread_join(threads[i]);
    memtable_unref(memtable);
}

int main(void)
{
    OK(epoch_register());
    const struct CMUnitTest tests[] = {cmocka_unit_test(readers_and_a_writer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
