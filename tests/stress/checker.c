// SPDX-License-Identifier: Apache-2.0
/*
 * Whether a database that came back is one that may come back.
 *
 * [C1] Each thread's writes that are there are a prefix of those it began: for some number p the keys hold exactly what
 *      its first p writes make of them. So no batch is there in part, and nothing is there that nobody wrote.
 * [C2] p is at least what was promised: acknowledged (a kill), or synced (a power cut, a device that failed).
 * [C3] Across threads: no write is there that began after one was acknowledged that is not there.
 *
 * The state is read once, through an iterator, each value compared to its last byte; then p is looked for by applying
 * one write after the other to what the life began with. A write that changes nothing (it deletes what is not there)
 * may leave several p; each of [C2] and [C3] is then judged by the one that is best for the database.
 *
 * Gets, in one call or one by one, must show what the iterator showed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress.h"
#include "test.h"

/* How many writes of a thread are there: from `least` to `most`, which look alike. */
struct span {
    uint32_t least, most;
};

/* What the database shows. */
struct sight {
    struct held held[THREADS_MAX][KEYS];
    struct held state[THREADS_MAX][KEYS]; /* what the writes up to span.most make of the keys */
    struct span spans[THREADS_MAX];
    uint64_t count;
};

/* A read may only fail because the power was cut meanwhile. */
static void must_read(nokv_status status, const char *what)
{
    if (!must(status, what))
        _exit(0);
}

/* ---- reading it ------------------------------------------------------------------------------------------------- */

static void see_entry(struct sight *s, uint64_t seed, nokv_slice key, nokv_slice value)
{
    unsigned thread;
    uint32_t k;
    struct origin o;
    uint8_t entry;
    if (!key_parse(key, &thread, &k))
        child_fail("a key that nobody wrote: %.*s", (int)key.size, (const char *)key.data);
    if (!value_parse(seed, value, &o, &entry) || o.thread != thread)
        child_fail("torn: %.*s has %zu bytes that are not as anybody wrote them", (int)key.size, (const char *)key.data,
                   value.size);
    s->held[thread][k] = (struct held){
        .write = o.write, .value_size = (uint32_t)value.size, .life = o.life, .entry = entry, .is_there = true};
    s->count++;
}

static void see_all(nokv_db *db, const struct round *r, struct sight *s)
{
    nokv_iter *it = NULL;
    uint64_t back = 0;
    must_read(nokv_iter_create(db, NULL, &it), "an iterator");
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it)) {
        nokv_slice key = nokv_iter_key(it), value = nokv_iter_value(it);
        if (!nokv_iter_valid(it)) /* the value could not be read */
            break;
        see_entry(s, r->seed, key, value);
    }
    must_read(nokv_iter_status(it), "a walk over all keys");
    if (r->draw % 4 == 1) {
        for (nokv_iter_last(it); nokv_iter_valid(it); nokv_iter_prev(it))
            back++;
        must_read(nokv_iter_status(it), "a walk back over all keys");
        if (back != s->count)
            child_fail("%llu keys forward, %llu back", (unsigned long long)s->count, (unsigned long long)back);
    }
    nokv_iter_destroy(it);
}

static void get_compare(const struct sight *s, const struct round *r, unsigned thread, uint32_t k, nokv_status status,
                        const nokv_value *value)
{
    must_read(status == NOKV_ERR_NOT_FOUND ? NOKV_OK : status, "a get");
    struct held got = held_of(r->seed, thread, k, status, value);
    if (!held_same(&got, &s->held[thread][k]))
        child_fail("a get of thread %u, key %u shows something else than an iterator", thread, k);
}

static void gets_compare(nokv_db *db, const struct sight *s, const struct round *r, unsigned thread)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        char key[KEY_TEXT];
        nokv_value value = {0};
        nokv_status status = nokv_get(db, key, key_make(thread, k, key), NULL, &value);
        get_compare(s, r, thread, k, status, &value);
        nokv_value_release(&value);
    }
}

static void multi_get_compare(nokv_db *db, const struct sight *s, const struct round *r, unsigned thread)
{
    char text[KEYS][KEY_TEXT];
    nokv_slice keys[KEYS];
    nokv_value values[KEYS] = {0};
    nokv_status statuses[KEYS];
    for (uint32_t k = 0; k < KEYS; k++)
        keys[k] = (nokv_slice){text[k], key_make(thread, k, text[k])};
    must_read(nokv_multi_get(db, KEYS, keys, NULL, values, statuses), "a get of many keys");
    for (uint32_t k = 0; k < KEYS; k++) {
        get_compare(s, r, thread, k, statuses[k], &values[k]);
        nokv_value_release(&values[k]);
    }
}

/* ---- which writes are there [C1], [C2] ------------------------------------------------------------------------- */

/* Apply a write; returns by how much the number of keys changes that differ from what is seen. */
static int write_apply(struct held state[KEYS], const struct held seen[KEYS], uint64_t seed, struct origin o)
{
    struct planned p;
    int change = 0;
    write_plan(seed, o, &p);
    for (uint32_t n = 0; n < p.count; n++) {
        uint32_t k = p.entries[n].key;
        change -= !held_same(&state[k], &seen[k]);
        held_apply(state, o, &p, n);
        change += !held_same(&state[k], &seen[k]);
    }
    return change;
}

static uint32_t first_difference(const struct held a[KEYS], const struct held b[KEYS])
{
    uint32_t k = 0;
    while (k < KEYS - 1 && held_same(&a[k], &b[k]))
        k++;
    return k;
}

static void report_difference(const struct life *life, const struct sight *s, unsigned t, uint32_t promised,
                              bool is_shorter)
{
    uint32_t k = first_difference(s->state[t], s->held[t]);
    const struct held *want = &s->state[t][k], *got = &s->held[t][k];
    child_fail(
        "%s: thread %u, life %u, writes %u to %u begun, %u acknowledged, %u promised: key %u %s write %u of life %u, "
        "and should %s write %u",
        is_shorter ? "lost" : "torn", t, life->number, life->base[t], atomic_load(&life->lines[t].begun),
        atomic_load(&life->lines[t].acked), promised, k, got->is_there ? "holds" : "is not there, was last seen with",
        got->write, got->life, want->is_there ? "hold" : "be gone by", want->write);
}

/* The writes of a thread that are there; ends the child when that is not a prefix, or too short. */
static void span_find(const struct life *life, struct sight *s, const struct round *r, unsigned t, uint32_t promised)
{
    uint32_t begun = atomic_load_explicit(&life->lines[t].begun, memory_order_acquire);
    struct held state[KEYS];
    struct span found = {.least = UINT32_MAX, .most = 0};
    int differing = 0;
    bool is_shorter = false;
    memcpy(state, life->held[t], sizeof state);
    for (uint32_t k = 0; k < KEYS; k++)
        differing += !held_same(&state[k], &s->held[t][k]);
    for (uint32_t p = life->base[t];; p++) {
        if (differing == 0 && p >= promised) {
            found.least = found.least < p ? found.least : p;
            found.most = p;
            memcpy(s->state[t], state, sizeof state);
        }
        is_shorter |= differing == 0;
        if (p == promised)
            memcpy(s->state[t], state, sizeof state);
        if (p >= begun)
            break;
        differing += write_apply(state, s->held[t], r->seed, (struct origin){p, life->number, (uint8_t)t});
    }
    if (found.least == UINT32_MAX)
        report_difference(life, s, t, promised, is_shorter);
    s->spans[t] = found;
}

/* ---- across threads [C3] --------------------------------------------------------------------------------------- */

static void order_check(const struct life *life, const struct sight *s)
{
    for (unsigned lost = 0; lost < THREADS_MAX; lost++) {
        uint32_t first = s->spans[lost].most;
        if (first >= atomic_load_explicit(&life->lines[lost].acked, memory_order_acquire))
            continue;
        uint32_t acked_at = life->ack_clock[lost][first - life->base[lost]];
        for (unsigned kept = 0; kept < THREADS_MAX; kept++) {
            uint32_t end = s->spans[kept].least;
            if (end > life->base[kept] && life->begin_clock[kept][end - 1 - life->base[kept]] > acked_at)
                child_fail(
                    "order: write %u of thread %u is there, and began after write %u of thread %u, which is not, "
                    "had been acknowledged",
                    end - 1, kept, first, lost);
        }
    }
}

/* ---- the next life --------------------------------------------------------------------------------------------- */

static void life_next(const struct life *life, const struct sight *s)
{
    unsigned current = atomic_load_explicit(&shared->current, memory_order_relaxed);
    struct life *next = &shared->lives[1 - current];
    next->number = (uint16_t)(life->number + 1);
    next->is_created = true;
    next->came_back = next->gone = 0;
    memcpy(next->held, s->held, sizeof next->held);
    for (unsigned t = 0; t < THREADS_MAX; t++) {
        uint32_t p = s->spans[t].most, acked = atomic_load(&life->lines[t].acked);
        next->came_back += p > acked ? p - acked : 0;
        next->gone += acked > p ? acked - p : 0;
        next->base[t] = p;
        atomic_store(&next->lines[t].begun, p);
        atomic_store(&next->lines[t].acked, p);
        atomic_store(&next->lines[t].synced, p); /* an open makes durable what it found */
        atomic_store(&next->lines[t].activity, PHASE_WRITE);
    }
    atomic_store(&next->clock, 1);
    atomic_store_explicit(&shared->current, 1 - current, memory_order_release);
}

void database_check(nokv_db *db, const struct round *r)
{
    struct sight *s = calloc(1, sizeof *s);
    const struct life *life = life_now();
    nokv_verify_report report;
    if (s == NULL)
        child_fail("no memory for a check");
    see_all(db, r, s);
    for (unsigned t = 0; t < THREADS_MAX; t++) {
        const struct line *line = &life->lines[t];
        uint32_t promised =
            atomic_load_explicit(r->ending == END_KILL ? &line->acked : &line->synced, memory_order_acquire);
        span_find(life, s, r, t, promised);
        if (t % 2 == r->draw % 2)
            gets_compare(db, s, r, t);
        else
            multi_get_compare(db, s, r, t);
    }
    order_check(life, s);
    if (r->is_last || r->draw % 8 == 0)
        must_read(nokv_verify(db, NULL, NULL, &report), "a verification of all files");
    life_next(life, s);
    free(s);
}
