// SPDX-License-Identifier: Apache-2.0
/*
 * The histories of a run and what may be seen of them: see oracle.h. Nothing here is clever but one thing.
 *
 * A sight collects, for each writer, for which numbers of writes each key that was looked at holds what it should. The
 * writes that touch a key form a chain, newest first; between two of them the key does not change, so a key says yes or
 * no to whole intervals. Those it says no to are noted as differences (+1 where one begins, -1 behind its end); their
 * running sum is 0 exactly at the numbers to which no key says no. The chain is followed inside of the window only.
 */
#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>

#include "sched.h"
#include "test.h"

enum { POOL_BYTES = 1 << 19, LARGE_ONE_IN = 24 };

/* ---- keys and values ------------------------------------------------------------------------------------------- */

static uint32_t writer_of(uint32_t key)
{
    return key % WRITERS_MAX;
}

size_t oracle_key(uint32_t key, char out[KEY_BYTES_MAX])
{
    return (size_t)snprintf(out, KEY_BYTES_MAX, "k%03u%s", key, key % 3 == 0 ? "/with-a-longer-name" : "");
}

uint32_t oracle_key_of(const void *data, size_t size)
{
    char expected[KEY_BYTES_MAX];
    const char *p = data;
    if (size < 4 || p[0] != 'k')
        return KEYS_MAX;
    uint32_t key = (uint32_t)((p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0'));
    if (key >= KEYS_MAX || oracle_key(key, expected) != size || memcmp(expected, data, size) != 0)
        return KEYS_MAX;
    return key;
}

static const uint8_t *pool_piece(const struct oracle *o, uint64_t id)
{
    return o->pool + id * 0x9e3779b97f4a7c15ull % (POOL_BYTES - VALUE_BYTES_MAX);
}

void oracle_value(const struct oracle *o, const struct entry *e, uint8_t *out)
{
    memcpy(out, pool_piece(o, e->id), e->value_size);
    memcpy(out, &e->id, u64_min(e->value_size, sizeof e->id));
}

static bool value_matches(const struct oracle *o, const struct entry *e, const void *data, size_t size)
{
    size_t head = u64_min(size, sizeof e->id);
    return size == e->value_size && (size == 0 || memcmp(data, &e->id, head) == 0) &&
           (size == head || memcmp((const uint8_t *)data + head, pool_piece(o, e->id) + head, size - head) == 0);
}

void oracle_init(struct oracle *o, uint64_t seed)
{
    *o = (struct oracle){.next_id = 1};
    o->pool = malloc(POOL_BYTES);
    ASSERT(o->pool != NULL);
    for (size_t i = 0; i < POOL_BYTES; i += sizeof(uint64_t)) {
        uint64_t word = test_random(&seed);
        memcpy(o->pool + i, &word, sizeof word);
    }
    for (uint32_t w = 0; w < WRITERS_MAX; w++) {
        o->histories[w].writes = malloc(WRITES_MAX * sizeof(struct write));
        ASSERT(o->histories[w].writes != NULL);
    }
}

void oracle_deinit(struct oracle *o)
{
    for (uint32_t w = 0; w < WRITERS_MAX; w++)
        free(o->histories[w].writes);
    free(o->pool);
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static uint32_t size_draw(uint64_t *random)
{
    uint64_t r = test_random(random);
    if (r % LARGE_ONE_IN == 0)
        return 9000 + (uint32_t)(r >> 32) % (VALUE_BYTES_MAX - 9000);
    if (r % 16 == 1)
        return (uint32_t)(r >> 32) % 9;
    return 9 + (uint32_t)(r >> 32) % (r % 2 ? 300 : 3000);
}

static const struct entry *entry_of(const struct write *w, uint32_t key)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (w->entries[i].key == key)
            return &w->entries[i];
    return NULL;
}

const struct write *oracle_begin(struct oracle *o, uint32_t writer, uint64_t *random)
{
    struct history *h = &o->histories[writer];
    if (h->started == WRITES_MAX)
        return NULL;
    struct write *w = &h->writes[h->started++];
    uint32_t wanted = test_random(random) % 4 == 0 ? 1 + (uint32_t)(test_random(random) % ENTRIES_MAX) : 1;
    *w = (struct write){.begun = ++o->moment, .acknowledged = UINT64_MAX};
    for (uint32_t i = 0; i < wanted; i++) {
        uint32_t own = (uint32_t)(test_random(random) % WRITER_KEYS), key = own * WRITERS_MAX + writer;
        if (entry_of(w, key) != NULL)
            continue;
        struct entry *e = &w->entries[w->count++];
        *e = (struct entry){.key = key, .before = h->last[own]};
        if (test_random(random) % 5 != 0) {
            e->id = o->next_id++;
            e->value_size = size_draw(random);
        }
        h->last[own] = h->started;
    }
    return w;
}

void oracle_acknowledge(struct oracle *o, uint32_t writer)
{
    struct history *h = &o->histories[writer];
    h->writes[h->started - 1].acknowledged = ++o->moment;
    h->acknowledged = h->started;
}

static void newest_forget(struct history *h)
{
    const struct write *w = &h->writes[h->started - 1];
    for (uint32_t i = 0; i < w->count; i++)
        h->last[w->entries[i].key / WRITERS_MAX] = w->entries[i].before;
    h->started--;
}

void oracle_withdraw(struct oracle *o, uint32_t writer)
{
    struct history *h = &o->histories[writer];
    ASSERT(h->started > h->acknowledged);
    newest_forget(h);
}

void oracle_marks(const struct oracle *o, uint32_t out_marks[WRITERS_MAX])
{
    for (uint32_t w = 0; w < WRITERS_MAX; w++)
        out_marks[w] = o->histories[w].acknowledged;
}

void oracle_synced(struct oracle *o, const uint32_t marks[WRITERS_MAX])
{
    for (uint32_t w = 0; w < WRITERS_MAX; w++)
        if (marks[w] > o->histories[w].synced)
            o->histories[w].synced = marks[w];
}

void oracle_all_synced(struct oracle *o)
{
    for (uint32_t w = 0; w < WRITERS_MAX; w++)
        o->histories[w].synced = o->histories[w].acknowledged;
}

bool oracle_survive(struct oracle *o, const struct window *w)
{
    bool has_lost = false;
    for (uint32_t i = 0; i < WRITERS_MAX; i++) {
        struct history *h = &o->histories[i];
        has_lost |= h->started > w->high[i];
        while (h->started > w->high[i])
            newest_forget(h);
        o->moment++;
        for (uint32_t n = h->acknowledged; n < h->started; n++)
            h->writes[n].acknowledged = o->moment;
        h->acknowledged = h->synced = h->started;
    }
    return has_lost;
}

/* ---- windows --------------------------------------------------------------------------------------------------- */

void window_open(const struct oracle *o, struct window *w)
{
    for (uint32_t i = 0; i < WRITERS_MAX; i++)
        w->low[i] = o->histories[i].acknowledged;
}

void window_close(const struct oracle *o, struct window *w)
{
    for (uint32_t i = 0; i < WRITERS_MAX; i++)
        w->high[i] = o->histories[i].started;
}

void window_survivors(const struct oracle *o, bool is_power_cut, struct window *w)
{
    for (uint32_t i = 0; i < WRITERS_MAX; i++) {
        w->low[i] = is_power_cut ? o->histories[i].synced : o->histories[i].acknowledged;
        w->high[i] = o->histories[i].started;
    }
}

/* ---- sights ----------------------------------------------------------------------------------------------------- */

void sight_begin(struct sight *v, const struct oracle *o, const struct window *w, const char *what)
{
    *v = (struct sight){.oracle = o, .window = *w};
    snprintf(v->what, sizeof v->what, "%s", what);
    for (uint32_t i = 0; i < WRITERS_MAX; i++) {
        /* a write may have been withdrawn since the window was closed: then nobody can see it */
        v->window.high[i] = (uint32_t)u64_min(w->high[i], o->histories[i].started);
        v->contradictions[i] = calloc(v->window.high[i] - w->low[i] + 2, sizeof(uint32_t));
        ASSERT(v->contradictions[i] != NULL);
    }
}

/* Does the key hold after the entry (NULL: never written) what was seen? */
static bool entry_explains(const struct oracle *o, const struct entry *e, bool is_present, const void *data,
                           size_t size)
{
    if (e == NULL || e->id == 0)
        return !is_present;
    return is_present && value_matches(o, e, data, size);
}

static void key_unexplained(const struct sight *v, uint32_t key, bool is_present, const void *data, size_t size)
{
    uint32_t w = writer_of(key);
    uint64_t id = 0;
    if (is_present)
        memcpy(&id, data, u64_min(size, sizeof id));
    sched_violation("%s: key %u of writer %u %s (%zu bytes, identity %llu), which none of its writes %u to %u leaves",
                    v->what, key, w, is_present ? "has a value" : "is absent", size, (unsigned long long)id,
                    v->window.low[w], v->window.high[w]);
}

static void sight_note(struct sight *v, uint32_t key, bool is_present, const void *data, size_t size)
{
    uint32_t w = writer_of(key), low = v->window.low[w], high = v->window.high[w], end = high + 1;
    const struct history *h = &v->oracle->histories[w];
    bool is_possible = false;
    v->seen[key] = true;
    for (uint32_t n = h->last[key / WRITERS_MAX]; end > low;) {
        const struct entry *e = n > 0 ? entry_of(&h->writes[n - 1], key) : NULL;
        uint32_t begin = n > low ? n : low;
        if (begin < end) {
            bool explains = entry_explains(v->oracle, e, is_present, data, size);
            is_possible |= explains;
            if (!explains) {
                v->contradictions[w][begin - low]++;
                v->contradictions[w][end - low]--;
            }
            end = begin;
        }
        n = e ? e->before : 0;
    }
    if (!is_possible)
        key_unexplained(v, key, is_present, data, size);
}

void sight_present(struct sight *v, uint32_t key, const void *data, size_t size)
{
    sight_note(v, key, true, data, size);
}

void sight_absent(struct sight *v, uint32_t key)
{
    sight_note(v, key, false, NULL, 0);
}

void sight_rest_absent(struct sight *v, uint32_t first, uint32_t end)
{
    for (uint32_t key = first; key < end; key++)
        if (!v->seen[key])
            sight_absent(v, key);
}

/* The numbers of writes of `w` that no key contradicts: the least and the greatest. */
static void writer_narrow(struct sight *v, uint32_t w)
{
    uint32_t low = v->window.low[w], high = v->window.high[w], count = 0, least = UINT32_MAX, greatest = 0;
    for (uint32_t n = low; n <= high; n++) {
        count += v->contradictions[w][n - low]; /* differences: wraps and comes back */
        if (count != 0)
            continue;
        least = least == UINT32_MAX ? n : least;
        greatest = n;
    }
    if (least == UINT32_MAX)
        sched_violation("%s: what is seen of writer %u is the state after no number of its writes from %u to %u",
                        v->what, w, low, high);
    v->window.low[w] = least;
    v->window.high[w] = greatest;
}

/* Who sees a write sees what was acknowledged before it began. */
static void writers_compare(const struct sight *v, uint32_t a, uint32_t b)
{
    const struct history *seer = &v->oracle->histories[a], *other = &v->oracle->histories[b];
    if (v->window.low[a] == 0 || v->window.low[a] > seer->started)
        return;
    uint64_t begun = seer->writes[v->window.low[a] - 1].begun;
    uint32_t next = v->window.high[b]; /* the first that is certainly not seen, counted from 0 */
    if (next < other->started && other->writes[next].acknowledged < begun)
        sched_violation("%s: write %u of writer %u is there, but of writer %u at most %u, although the next was "
                        "acknowledged before",
                        v->what, v->window.low[a], a, b, next);
}

void sight_end(struct sight *v, struct window *out_window)
{
    for (uint32_t w = 0; w < WRITERS_MAX; w++)
        writer_narrow(v, w);
    for (uint32_t a = 0; a < WRITERS_MAX; a++)
        for (uint32_t b = 0; b < WRITERS_MAX; b++)
            if (a != b)
                writers_compare(v, a, b);
    for (uint32_t w = 0; w < WRITERS_MAX; w++)
        free(v->contradictions[w]);
    if (out_window)
        *out_window = v->window;
}
