// SPDX-License-Identifier: Apache-2.0
/*
 * The oracle of the model test: see oracle.h. Nothing here is clever: what it says must be right by inspection.
 *
 * Keys come in the shapes that break engines: prefixes of each other, bytes 0x00 and 0xff at every place, a long common
 * beginning, counters in decimal, random bytes, and a few of the greatest length that is allowed.
 */
#include "oracle.h"

#include "test.h"

enum { POOL_BYTES = 1 << 20, LARGE_VALUE = 200 << 10, KEY_BYTES_MAX = 65535 };

/* ---- keys ------------------------------------------------------------------------------------------------------ */

struct key_list {
    struct slice *keys;
    size_t count;
    uint8_t *bytes;
    size_t used, capacity;
};

static uint8_t *key_room(struct key_list *l, size_t size)
{
    return l->used + size <= l->capacity ? l->bytes + l->used : NULL;
}

static void key_take(struct key_list *l, size_t size)
{
    l->keys[l->count++] = slice_make(l->bytes + l->used, size);
    l->used += size;
}

static size_t short_key(uint8_t *p, uint64_t *rng)
{
    static const uint8_t alphabet[] = {0x00, 0x01, 'a', 'b', 0x7f, 0x80, 0xfe, 0xff};
    size_t size = 1 + test_random(rng) % 6;
    for (size_t i = 0; i < size; i++)
        p[i] = alphabet[test_random(rng) % sizeof alphabet];
    return size;
}

static size_t random_key(uint8_t *p, uint64_t *rng)
{
    size_t size = 8 + test_random(rng) % 17;
    for (size_t i = 0; i < size; i++)
        p[i] = (uint8_t)test_random(rng);
    return size;
}

/* Beyond the first eight bytes everything is equal up to the last few. */
static size_t long_key(uint8_t *p, uint64_t *rng)
{
    size_t size = test_random(rng) % 64 == 0 ? KEY_BYTES_MAX - test_random(rng) % 3 : 100 + test_random(rng) % 2000;
    memset(p, test_random(rng) % 2 ? 'x' : 0xff, size);
    for (size_t i = size - 4; i < size; i++)
        p[i] = (uint8_t)(test_random(rng) % 4);
    return size;
}

/* A key that is there, cut or made longer by a byte. */
static size_t derived_key(uint8_t *p, const struct key_list *l, uint64_t *rng)
{
    struct slice from = l->keys[test_random(rng) % l->count];
    memcpy(p, from.data, from.size);
    if (from.size > 1 && (test_random(rng) % 2 || from.size == KEY_BYTES_MAX))
        return 1 + test_random(rng) % (from.size - 1);
    if (from.size == KEY_BYTES_MAX)
        return from.size;
    p[from.size] = test_random(rng) % 2 ? 0x00 : 0xff;
    return from.size + 1;
}

static void key_add(struct key_list *l, uint64_t *rng)
{
    uint8_t *p = key_room(l, KEY_BYTES_MAX + 1);
    if (p == NULL)
        return;
    switch (l->count == 0 ? 0 : test_random(rng) % 20) {
    case 0:
        key_take(l, long_key(p, rng));
        break;
    case 1:
    case 2:
    case 3:
        key_take(l, short_key(p, rng));
        break;
    case 4:
    case 5:
    case 6:
        key_take(l, derived_key(p, l, rng));
        break;
    case 7:
    case 8:
    case 9:
        key_take(l, random_key(p, rng));
        break;
    default:
        key_take(l, (size_t)snprintf((char *)p, 32, "user%010llu", (unsigned long long)(test_random(rng) % 100000)));
    }
}

static int compare(struct slice a, struct slice b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int c = n ? memcmp(a.data, b.data, n) : 0;
    return c ? c : a.size < b.size ? -1 : a.size > b.size;
}

static int compare_keys(const void *a, const void *b)
{
    return compare(*(const struct slice *)a, *(const struct slice *)b);
}

void universe_init(struct universe *u, uint64_t seed)
{
    static const size_t sizes[] = {60, 600, 2000, 6000};
    uint64_t rng = seed;
    size_t wanted = sizes[test_random(&rng) % ARRAY_COUNT(sizes)];
    struct key_list l = {.capacity = 16 << 20};
    l.keys = malloc(wanted * sizeof *l.keys);
    l.bytes = malloc(l.capacity);
    u->pool = malloc(POOL_BYTES);
    assert_true(l.keys && l.bytes && u->pool);
    for (size_t i = 0; i < wanted; i++)
        key_add(&l, &rng);
    qsort(l.keys, l.count, sizeof *l.keys, compare_keys);
    u->count = 0;
    for (size_t i = 0; i < l.count; i++)
        if (i == 0 || compare(l.keys[u->count - 1], l.keys[i]) != 0)
            l.keys[u->count++] = l.keys[i];
    u->keys = l.keys;
    u->bytes = l.bytes;
    u->value_profile = (unsigned)(test_random(&rng) % 3);
    for (size_t i = 0; i < POOL_BYTES; i += 8) {
        uint64_t word = test_random(&rng);
        memcpy(u->pool + i, &word, 8);
    }
}

void universe_deinit(struct universe *u)
{
    free(u->keys);
    free(u->bytes);
    free(u->pool);
}

size_t universe_lower_bound(const struct universe *u, struct slice target)
{
    size_t low = 0, high = u->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare(u->keys[mid], target) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

size_t universe_find(const struct universe *u, struct slice key)
{
    size_t i = universe_lower_bound(u, key);
    return i < u->count && compare(u->keys[i], key) == 0 ? i : u->count;
}

/* ---- values ---------------------------------------------------------------------------------------------------- */

static size_t value_size(const struct universe *u, uint64_t id)
{
    uint64_t rng = id;
    uint64_t shape = test_random(&rng) % 1000, r = test_random(&rng);
    if (shape < 50)
        return 0;
    if (shape < 51)
        return LARGE_VALUE + r % 1000;
    if (u->value_profile == 0 || shape < 500)
        return 1 + r % 100;
    if (u->value_profile == 2 || shape > 900)
        return r % 8192;
    return r % 1024;
}

static const uint8_t *value_pool(const struct universe *u, uint64_t id)
{
    return u->pool + id * 0x9e3779b97f4a7c15ull % (POOL_BYTES - LARGE_VALUE - 1000);
}

size_t oracle_value_max(void)
{
    return LARGE_VALUE + 1000;
}

/* A piece of the pool that begins with the identity. */
struct slice oracle_value(const struct universe *u, uint64_t id, uint8_t *scratch)
{
    size_t size = value_size(u, id);
    memcpy(scratch, value_pool(u, id), size);
    memcpy(scratch, &id, size < sizeof id ? size : sizeof id);
    return slice_make(scratch, size);
}

bool oracle_value_matches(const struct universe *u, uint64_t id, const void *data, size_t size)
{
    if (size != value_size(u, id))
        return false;
    size_t head = size < sizeof id ? size : sizeof id;
    return size == 0 || (memcmp(data, &id, head) == 0 &&
                         memcmp((const uint8_t *)data + head, value_pool(u, id) + head, size - head) == 0);
}

/* ---- states ---------------------------------------------------------------------------------------------------- */

struct state *state_create(const struct universe *u)
{
    struct state *s = calloc(1, sizeof *s + u->count * sizeof s->ids[0]);
    assert_non_null(s);
    s->refs = 1;
    return s;
}

struct state *state_copy(const struct universe *u, const struct state *s)
{
    struct state *copy = state_create(u);
    memcpy(copy->ids, s->ids, u->count * sizeof s->ids[0]);
    return copy;
}

struct state *state_ref(struct state *s)
{
    s->refs++;
    return s;
}

void state_unref(struct state *s)
{
    if (s && --s->refs == 0)
        free(s);
}

/* ---- cursors --------------------------------------------------------------------------------------------------- */

/* The first index behind all keys that begin with `prefix`. */
static size_t prefix_end(const struct universe *u, struct slice prefix)
{
    size_t i = universe_lower_bound(u, prefix);
    while (i < u->count && u->keys[i].size >= prefix.size && memcmp(u->keys[i].data, prefix.data, prefix.size) == 0)
        i++;
    return i;
}

void cursor_init(struct cursor *c, const struct universe *u, struct state *s, struct slice lower, struct slice upper,
                 struct slice prefix)
{
    *c = (struct cursor){.state = state_ref(s), .low = 0, .high = u->count};
    if (lower.size)
        c->low = universe_lower_bound(u, lower);
    if (upper.size)
        c->high = universe_lower_bound(u, upper);
    if (prefix.size) {
        c->low = u64_max(c->low, universe_lower_bound(u, prefix));
        c->high = u64_min(c->high, prefix_end(u, prefix));
    }
    if (c->high < c->low)
        c->high = c->low;
}

static void cursor_forward(struct cursor *c, size_t from)
{
    for (c->pos = from; c->pos < c->high; c->pos++)
        if (c->state->ids[c->pos] != 0)
            break;
    c->valid = c->pos < c->high;
}

/* To the last present key below `end`. */
static void cursor_backward(struct cursor *c, size_t end)
{
    c->valid = false;
    for (size_t i = end; i > c->low && !c->valid; i--) {
        c->valid = c->state->ids[i - 1] != 0;
        c->pos = i - 1;
    }
}

void cursor_first(struct cursor *c)
{
    cursor_forward(c, c->low);
}

void cursor_last(struct cursor *c)
{
    cursor_backward(c, c->high);
}

void cursor_seek(struct cursor *c, const struct universe *u, struct slice target)
{
    cursor_forward(c, u64_max(c->low, universe_lower_bound(u, target)));
}

void cursor_seek_for_prev(struct cursor *c, const struct universe *u, struct slice target)
{
    size_t end = universe_lower_bound(u, target);
    if (end < u->count && compare(u->keys[end], target) == 0)
        end++;
    cursor_backward(c, u64_min(c->high, end));
}

void cursor_next(struct cursor *c)
{
    cursor_forward(c, c->pos + 1);
}

void cursor_prev(struct cursor *c)
{
    cursor_backward(c, c->pos);
}
