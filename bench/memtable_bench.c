// SPDX-License-Identifier: Apache-2.0
/*
 * memtable_bench [repeats] [MiB] - the engine's memtable against the structures that others use (docs/memtable.md).
 *
 * Fills each with 16-byte keys and 100-byte values, then looks up every key and as many absent ones in random order,
 * and walks all entries. The candidates take turns within each repetition, so that a noisy minute hurts all of them;
 * the figures are medians. Every answer is checked: a structure that finds nothing is not fast.
 *
 * The skip list is that of LevelDB (branching 4, at most 12 levels), with key and value in the node itself, which
 * spares it LevelDB's extra pointer. The B+-tree keeps 8-byte prefixes of keys in its nodes and compares the key itself
 * only when they are equal; it has no provision for concurrent readers at all, so it shows what such a tree could reach
 * at best.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/epoch.h"
#include "mem/mem.h"
#include "nokv_bench_util.h"

enum { KEY_BYTES = 16, VALUE_BYTES = 100, CHUNK_BYTES = 2 << 20, REPEATS_MAX = 99 };

struct candidate {
    const char *name;
    void *(*create)(size_t bytes);
    void (*destroy)(void *map);
    void (*add)(void *map, struct ikey key, struct slice value);
    void (*get)(const void *map, struct slice key, uint64_t seq, struct lookup *out);
    uint64_t (*walk)(void *map); /* reads every entry in order; returns their number */
    size_t (*bytes)(const void *map);
};

/* So that what is read counts as used. */
static volatile uint64_t sink;

static void require(bool ok, const char *what)
{
    if (!ok)
        bench_die("%s", what);
}

/* ---- the engine's memtable ----------------------------------------------------------------------------------------
 */

static void *tree_create(size_t bytes)
{
    struct memtable *m;
    require(memtable_create(bytes, NULL, &m) == NOKV_OK, "out of memory");
    return m;
}

static void tree_destroy(void *map)
{
    memtable_unref(map);
    epoch_drain();
}

static void tree_add(void *map, struct ikey key, struct slice value)
{
    require(memtable_add(map, key, value) == NOKV_OK, "out of memory");
}

static void tree_get(const void *map, struct slice key, uint64_t seq, struct lookup *out)
{
    memtable_get(map, key, seq, out);
}

static uint64_t tree_walk(void *map)
{
    struct iter *it;
    uint64_t count = 0, sum = 0;
    require(memtable_iter_create(map, &it) == NOKV_OK, "out of memory");
    for (iter_first(it); it->valid; iter_next(it), count++)
        sum += it->key.user.data[0] + it->value.data[0];
    sink += sum;
    iter_destroy(it);
    return count;
}

static size_t tree_bytes(const void *map)
{
    return memtable_bytes(map);
}

/* ---- a skip list ---------------------------------------------------------------------------------------------------
 */

enum { SKIP_HEIGHT_MAX = 12, SKIP_BRANCHING = 4 };

struct skip_node {
    uint64_t tag;
    uint32_t value_size;
    uint16_t key_size;
    uint16_t height;
    struct skip_node *_Atomic next[]; /* then the key, then the value */
};

struct skip_list {
    struct arena arena;
    struct skip_node *head;
    int height;
    struct bench_rng random;
};

static const uint8_t *skip_key(const struct skip_node *n)
{
    return (const uint8_t *)(n + 1) + n->height * sizeof n->next[0];
}

static struct skip_node *skip_next(const struct skip_node *n, int level)
{
    return atomic_load_explicit(&n->next[level], memory_order_acquire);
}

static struct skip_node *skip_node_create(struct skip_list *s, struct ikey key, struct slice value, int height)
{
    size_t fixed = sizeof(struct skip_node) + (size_t)height * sizeof(struct skip_node *);
    struct skip_node *n = arena_alloc(&s->arena, fixed + key.user.size + value.size, 8);
    require(n != NULL, "out of memory");
    memset(n, 0, fixed);
    n->tag = key.tag;
    n->value_size = (uint32_t)value.size;
    n->key_size = (uint16_t)key.user.size;
    n->height = (uint16_t)height;
    uint8_t *p = (uint8_t *)n + fixed;
    if (key.user.size)
        memcpy(p, key.user.data, key.user.size);
    if (value.size)
        memcpy(p + key.user.size, value.data, value.size);
    return n;
}

static void *skip_create(size_t bytes)
{
    (void)bytes;
    struct skip_list *s = bench_alloc(sizeof *s);
    arena_init(&s->arena, CHUNK_BYTES, NULL);
    s->height = 1;
    s->random.state = 1;
    s->head = skip_node_create(s, (struct ikey){0}, (struct slice){0}, SKIP_HEIGHT_MAX);
    return s;
}

static void skip_destroy(void *map)
{
    struct skip_list *s = map;
    arena_deinit(&s->arena);
    free(s);
}

static bool skip_before(const struct skip_node *n, struct ikey key)
{
    return n && ikey_compare((struct ikey){slice_make(skip_key(n), n->key_size), n->tag}, key) < 0;
}

/* The first node >= key; `before`, when asked for, gets the last smaller one of each level. */
static struct skip_node *skip_find(const struct skip_list *s, struct ikey key, struct skip_node **before)
{
    struct skip_node *n = s->head;
    for (int level = s->height - 1;; level--) {
        struct skip_node *next = skip_next(n, level);
        while (skip_before(next, key)) {
            n = next;
            next = skip_next(n, level);
        }
        if (before)
            before[level] = n;
        if (level == 0)
            return next;
    }
}

static void skip_add(void *map, struct ikey key, struct slice value)
{
    struct skip_list *s = map;
    struct skip_node *before[SKIP_HEIGHT_MAX];
    int height = 1;
    while (height < SKIP_HEIGHT_MAX && bench_rng_below(&s->random, SKIP_BRANCHING) == 0)
        height++;
    skip_find(s, key, before);
    for (; s->height < height; s->height++)
        before[s->height] = s->head;
    struct skip_node *n = skip_node_create(s, key, value, height);
    for (int i = 0; i < height; i++) {
        atomic_store_explicit(&n->next[i], skip_next(before[i], i), memory_order_relaxed);
        atomic_store_explicit(&before[i]->next[i], n, memory_order_release);
    }
}

static void skip_get(const void *map, struct slice key, uint64_t seq, struct lookup *out)
{
    const struct skip_node *n = skip_find(map, (struct ikey){key, tag_for_seek(seq)}, NULL);
    out->found = n && slice_equal(slice_make(skip_key(n), n->key_size), key);
    if (!out->found)
        return;
    out->tag = n->tag;
    out->value = slice_make(skip_key(n) + n->key_size, n->value_size);
}

static uint64_t skip_walk(void *map)
{
    struct skip_list *s = map;
    uint64_t count = 0, sum = 0;
    for (const struct skip_node *n = skip_next(s->head, 0); n; n = skip_next(n, 0), count++)
        sum += skip_key(n)[0] + skip_key(n)[n->key_size];
    sink += sum;
    return count;
}

static size_t skip_bytes(const void *map)
{
    return arena_bytes(&((const struct skip_list *)map)->arena);
}

/* ---- a B+-tree with 8-byte prefixes --------------------------------------------------------------------------------
 */

enum { BTREE_FANOUT = 32, BTREE_DEPTH_MAX = 12 };

struct btree_entry {
    uint64_t tag;
    uint32_t value_size;
    uint16_t key_size;
    uint8_t bytes[]; /* key, value */
};

/* In an inner node, entry[i] is the smallest of child[i]. */
struct btree_node {
    uint64_t prefix[BTREE_FANOUT];
    const struct btree_entry *entry[BTREE_FANOUT];
    struct btree_node *child[BTREE_FANOUT]; /* of leaves: child[0] is the next leaf */
    int count;
};

struct btree {
    struct arena arena;
    struct btree_node *root;
    struct btree_node *first;
    int depth; /* of inner nodes */
};

static struct btree_node *btree_node_create(struct btree *t)
{
    struct btree_node *n = arena_alloc(&t->arena, sizeof *n, 64);
    require(n != NULL, "out of memory");
    n->count = 0;
    n->child[0] = NULL;
    return n;
}

static void *btree_create(size_t bytes)
{
    (void)bytes;
    struct btree *t = bench_alloc(sizeof *t);
    arena_init(&t->arena, CHUNK_BYTES, NULL);
    t->root = t->first = btree_node_create(t);
    return t;
}

static void btree_destroy(void *map)
{
    struct btree *t = map;
    arena_deinit(&t->arena);
    free(t);
}

static struct ikey btree_key(const struct btree_entry *e)
{
    return (struct ikey){slice_make(e->bytes, e->key_size), e->tag};
}

/* The number of entries < key. */
static int btree_rank(const struct btree_node *n, struct ikey key, uint64_t prefix)
{
    int low = 0, size = n->count;
    while (size > 0) {
        int half = size / 2, mid = low + half;
        bool before =
            n->prefix[mid] != prefix ? n->prefix[mid] < prefix : ikey_compare(btree_key(n->entry[mid]), key) < 0;
        low = before ? mid + 1 : low;
        size = before ? size - half - 1 : half;
    }
    return low;
}

static void btree_insert_at(struct btree_node *n, int at, const struct btree_entry *e, uint64_t prefix,
                            struct btree_node *child)
{
    size_t after = (size_t)(n->count - at);
    memmove(&n->prefix[at + 1], &n->prefix[at], after * sizeof n->prefix[0]);
    memmove(&n->entry[at + 1], &n->entry[at], after * sizeof n->entry[0]);
    n->prefix[at] = prefix;
    n->entry[at] = e;
    if (child) {
        memmove(&n->child[at + 1], &n->child[at], after * sizeof n->child[0]);
        n->child[at] = child;
    }
    n->count++;
}

/* Move the upper half to a new right neighbour; at the end of a leaf only the last, for ascending keys. */
static struct btree_node *btree_split(struct btree *t, struct btree_node *n, bool leaf, int at)
{
    struct btree_node *right = btree_node_create(t);
    int keep = at == n->count ? n->count - 1 : n->count / 2;
    right->count = n->count - keep;
    memcpy(right->prefix, &n->prefix[keep], (size_t)right->count * sizeof n->prefix[0]);
    memcpy(right->entry, &n->entry[keep], (size_t)right->count * sizeof n->entry[0]);
    if (leaf) {
        right->child[0] = n->child[0];
        n->child[0] = right;
    } else {
        memcpy(right->child, &n->child[keep], (size_t)right->count * sizeof n->child[0]);
    }
    n->count = keep;
    return right;
}

static void btree_root_grow(struct btree *t, struct btree_node *right)
{
    struct btree_node *root = btree_node_create(t);
    btree_insert_at(root, 0, t->root->entry[0], t->root->prefix[0], t->root);
    btree_insert_at(root, 1, right->entry[0], right->prefix[0], right);
    t->root = root;
    t->depth++;
}

static struct btree_entry *btree_entry_create(struct btree *t, struct ikey key, struct slice value)
{
    struct btree_entry *e = arena_alloc(&t->arena, offsetof(struct btree_entry, bytes) + key.user.size + value.size, 8);
    require(e != NULL, "out of memory");
    e->tag = key.tag;
    e->key_size = (uint16_t)key.user.size;
    e->value_size = (uint32_t)value.size;
    memcpy(e->bytes, key.user.data, key.user.size);
    memcpy(e->bytes + key.user.size, value.data, value.size);
    return e;
}

static void btree_add(void *map, struct ikey key, struct slice value)
{
    struct btree *t = map;
    struct btree_node *path[BTREE_DEPTH_MAX], *n = t->root;
    int at[BTREE_DEPTH_MAX];
    uint64_t prefix = key_prefix(key.user, 0);
    const struct btree_entry *e = btree_entry_create(t, key, value);
    for (int d = 0; d < t->depth; d++) {
        int rank = btree_rank(n, key, prefix);
        path[d] = n;
        at[d] = rank ? rank - 1 : 0;
        if (rank == 0) { /* a new smallest */
            n->prefix[0] = prefix;
            n->entry[0] = e;
        }
        n = n->child[at[d]];
    }
    struct btree_node *child = NULL;
    int where = btree_rank(n, key, prefix);
    for (int d = t->depth;; d--) {
        struct btree_node *right = NULL;
        if (n->count == BTREE_FANOUT) {
            right = btree_split(t, n, d == t->depth, where);
            if (where > n->count)
                btree_insert_at(right, where - n->count, e, prefix, child);
            else
                btree_insert_at(n, where, e, prefix, child);
        } else {
            btree_insert_at(n, where, e, prefix, child);
        }
        if (right == NULL)
            return;
        if (n == t->root) {
            btree_root_grow(t, right);
            return;
        }
        n = path[d - 1];
        where = at[d - 1] + 1;
        child = right;
        e = right->entry[0];
        prefix = right->prefix[0];
    }
}

static void btree_get(const void *map, struct slice key, uint64_t seq, struct lookup *out)
{
    const struct btree *t = map;
    const struct btree_node *n = t->root;
    struct ikey target = {key, tag_for_seek(seq)};
    uint64_t prefix = key_prefix(key, 0);
    for (int d = 0; d < t->depth; d++) {
        int rank = btree_rank(n, target, prefix);
        n = n->child[rank ? rank - 1 : 0];
    }
    int rank = btree_rank(n, target, prefix);
    if (rank == n->count && n->child[0]) {
        n = n->child[0];
        rank = 0;
    }
    const struct btree_entry *e = rank < n->count ? n->entry[rank] : NULL;
    out->found = e && slice_equal(slice_make(e->bytes, e->key_size), key);
    if (!out->found)
        return;
    out->tag = e->tag;
    out->value = slice_make(e->bytes + e->key_size, e->value_size);
}

static uint64_t btree_walk(void *map)
{
    struct btree *t = map;
    uint64_t count = 0, sum = 0;
    for (const struct btree_node *n = t->first; n; n = n->child[0])
        for (int i = 0; i < n->count; i++, count++)
            sum += n->entry[i]->bytes[0] + n->entry[i]->bytes[n->entry[i]->key_size];
    sink += sum;
    return count;
}

static size_t btree_bytes(const void *map)
{
    return arena_bytes(&((const struct btree *)map)->arena);
}

static const struct candidate candidates[] = {
    {"radix tree", tree_create, tree_destroy, tree_add, tree_get, tree_walk, tree_bytes},
    {"skip list", skip_create, skip_destroy, skip_add, skip_get, skip_walk, skip_bytes},
    {"B+-tree", btree_create, btree_destroy, btree_add, btree_get, btree_walk, btree_bytes},
};

/* ---- the data ------------------------------------------------------------------------------------------------------
 */

struct data {
    size_t count;
    uint8_t (*inserted)[KEY_BYTES];
    uint8_t (*present)[KEY_BYTES]; /* the same in the order of looking up */
    uint8_t (*absent)[KEY_BYTES];
    uint32_t *order; /* present[i] is inserted[order[i]] */
    uint8_t *values;
};

static void decimal(uint8_t key[KEY_BYTES], uint64_t number)
{
    char text[KEY_BYTES + 8];
    snprintf(text, sizeof text, "%016llu", (unsigned long long)(number % 10000000000000000u));
    memcpy(key, text, KEY_BYTES);
}

static void random_binary(uint8_t key[KEY_BYTES], uint64_t number, uint64_t count)
{
    (void)count;
    uint64_t words[2] = {bench_mix(number + 1), bench_mix(~number)};
    memcpy(key, words, KEY_BYTES);
}

static void random_decimal(uint8_t key[KEY_BYTES], uint64_t number, uint64_t count)
{
    (void)count;
    decimal(key, bench_mix(number + 1));
}

/* As most benchmarks do: numbers below 2 * count, the even ones are there. */
static void sorted_decimal(uint8_t key[KEY_BYTES], uint64_t number, uint64_t count)
{
    decimal(key, number < count ? 2 * number : 2 * (number - count) + 1);
}

static void shared_prefix(uint8_t key[KEY_BYTES], uint64_t number, uint64_t count)
{
    (void)count;
    memcpy(key, "user:000:", 9);
    uint64_t word = bench_mix(number + 1);
    memcpy(key + 9, &word, KEY_BYTES - 9);
}

struct key_shape {
    const char *name;
    void (*make)(uint8_t key[KEY_BYTES], uint64_t number, uint64_t count); /* present: number < count */
};

static const struct key_shape cases[] = {
    {"random binary", random_binary},
    {"random decimal", random_decimal},
    {"sorted decimal", sorted_decimal},
    {"9-byte prefix", shared_prefix},
};

/* Keys to look up are copied in the order of looking up, so that fetching them costs next to nothing. */
static void data_fill(struct data *d, const struct key_shape *shape)
{
    struct bench_rng rng = {7};
    for (size_t i = 0; i < d->count; i++)
        d->order[i] = (uint32_t)i;
    for (size_t i = d->count; i > 1; i--) {
        size_t j = bench_rng_below(&rng, i);
        uint32_t t = d->order[i - 1];
        d->order[i - 1] = d->order[j];
        d->order[j] = t;
    }
    for (size_t i = 0; i < d->count; i++) {
        shape->make(d->inserted[i], i, d->count);
        shape->make(d->present[i], d->order[i], d->count);
        shape->make(d->absent[i], d->count + d->order[i], d->count);
    }
}

static void data_init(struct data *d, size_t bytes)
{
    d->count = bytes / (KEY_BYTES + VALUE_BYTES);
    d->inserted = bench_alloc(d->count * KEY_BYTES);
    d->present = bench_alloc(d->count * KEY_BYTES);
    d->absent = bench_alloc(d->count * KEY_BYTES);
    d->order = bench_alloc(d->count * sizeof *d->order);
    d->values = bench_alloc(4096 + VALUE_BYTES);
    for (size_t i = 0; i < 4096 + VALUE_BYTES; i++)
        d->values[i] = (uint8_t)bench_mix(i);
}

static void data_deinit(struct data *d)
{
    free(d->inserted);
    free(d->present);
    free(d->absent);
    free(d->order);
    free(d->values);
}

/* ---- measuring -----------------------------------------------------------------------------------------------------
 */

enum { INSERT, HIT, MISS, WALK, BYTES, FIGURES };

static void run_once(const struct candidate *c, const struct data *d, double out[FIGURES])
{
    uint64_t times[5];
    void *map = c->create(d->count * (KEY_BYTES + VALUE_BYTES));
    struct lookup found;
    times[0] = bench_cpu_ns();
    for (size_t i = 0; i < d->count; i++)
        c->add(map, (struct ikey){slice_make(d->inserted[i], KEY_BYTES), key_tag(i + 1, KEY_VALUE)},
               slice_make(d->values + i % 4096, VALUE_BYTES));
    times[1] = bench_cpu_ns();
    for (size_t i = 0; i < d->count; i++) {
        c->get(map, slice_make(d->present[i], KEY_BYTES), d->count, &found);
        require(found.found && found.value.data[0] == d->values[d->order[i] % 4096], "a key is not found");
    }
    times[2] = bench_cpu_ns();
    for (size_t i = 0; i < d->count; i++) {
        c->get(map, slice_make(d->absent[i], KEY_BYTES), d->count, &found);
        require(!found.found, "an absent key is found");
    }
    times[3] = bench_cpu_ns();
    require(c->walk(map) == d->count, "a walk misses entries");
    times[4] = bench_cpu_ns();
    for (int i = INSERT; i <= WALK; i++)
        out[i] = (double)(times[i + 1] - times[i]) / (double)d->count;
    out[BYTES] = (double)c->bytes(map) / (double)d->count;
    c->destroy(map);
}

static void run_case(size_t which, struct data *d, int repeats, unsigned wanted)
{
    static double figures[ARRAY_COUNT(candidates)][FIGURES][REPEATS_MAX];
    data_fill(d, &cases[which]);
    for (int r = 0; r < repeats; r++) {
        for (size_t c = 0; c < ARRAY_COUNT(candidates); c++) {
            double out[FIGURES];
            if (!(wanted >> c & 1))
                continue;
            run_once(&candidates[c], d, out);
            for (int f = 0; f < FIGURES; f++)
                figures[c][f][r] = out[f];
        }
    }
    for (size_t c = 0; c < ARRAY_COUNT(candidates); c++) {
        if (!(wanted >> c & 1))
            continue;
        printf("| %-14s | %-10s |", cases[which].name, candidates[c].name);
        for (int f = 0; f < FIGURES; f++)
            printf(" %6.0f |", bench_median(figures[c][f], (size_t)repeats));
        printf("\n");
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int repeats = argc > 1 ? atoi(argv[1]) : 5;
    size_t mebibytes = argc > 2 ? strtoul(argv[2], NULL, 10) : 64;
    unsigned wanted = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : ~0u; /* bit mask of candidates, for profiling */
    if (repeats < 1 || repeats > REPEATS_MAX || mebibytes < 1 || mebibytes > 4096)
        bench_die("usage: memtable_bench [repeats, 1 to %d] [MiB, 1 to 4096]", REPEATS_MAX);
    require(epoch_register() == NOKV_OK, "out of memory");
    struct data d;
    data_init(&d, mebibytes << 20);
    printf("%zu entries, medians of %d; ns per operation, bytes per entry (%d are key and value)\n\n", d.count, repeats,
           KEY_BYTES + VALUE_BYTES);
    printf("| keys           | structure  | insert | hit    | miss   | next   | bytes  |\n");
    printf("| -------------- | ---------- | -----: | -----: | -----: | -----: | -----: |\n");
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        run_case(i, &d, repeats, wanted);
    data_deinit(&d);
    return 0;
}
