// SPDX-License-Identifier: Apache-2.0
/*
 * The checker: a walk through the begins and ends of a history in their order, with all states in which the map may be.
 *
 * This is the algorithm of Wing and Gong ("Testing and verifying concurrent objects", 1993) in the form that Lowe gave
 * it ("Testing for linearizability", 2017, "just-in-time linearization", with memoisation): a *configuration* is what
 * the map holds and which of the operations under way have happened already. An operation has to have happened when it
 * ends; so then, and only then, each configuration in which it has not is followed through all orders in which others
 * that are under way may have happened before it. Configurations that are equal count once. None left: the history is
 * not linearizable.
 *
 * [C1] A read under way that fits what the map holds has happened: it changes nothing, so an order in which it happens
 *      later is as good with it here. Only writes are followed.
 *
 * The cost is the number of operations times that of configurations, which depends on how many writes are under way at
 * one time, not on the history's length. (For single registers with unique values there is an algorithm in n log n:
 * Gibbons, Korach, "Testing shared memories", 1997. It knows neither deletes, whose value is not unique, nor several
 * keys at one moment.)
 *
 * Shrinking relies on this: a history stays linearizable when keys, reads, or writes that no read has seen are taken
 * out of it. So a part from which only those were taken and that is not linearizable shows that the whole is not.
 */
#include "checker.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

enum { SLOTS_MIN = 256, CONFIGS_MAX = 4000000, NO_SLOT = 0 };

/* ---- sets of configurations ----------------------------------------------------------------------------------------
 */

struct config {
    uint32_t values[LINEAR_KEYS];
    uint32_t done; /* bit t: thread t's operation under way has happened */
};

/* In the order of their coming, and a hash table of 1 + index. */
struct config_set {
    struct config *items;
    size_t count, capacity;
    uint32_t *slots;
    size_t slot_count; /* a power of two, at least twice the count */
};

static uint64_t config_hash(const struct config *c)
{
    uint64_t h = c->done;
    for (int k = 0; k < LINEAR_KEYS; k++) {
        h = (h ^ c->values[k]) * 0x9e3779b97f4a7c15ull;
        h ^= h >> 29;
    }
    return h;
}

static void set_init(struct config_set *s)
{
    *s = (struct config_set){.capacity = SLOTS_MIN / 2, .slot_count = SLOTS_MIN};
    s->items = malloc(s->capacity * sizeof *s->items);
    s->slots = calloc(s->slot_count, sizeof *s->slots);
    assert_true(s->items != NULL && s->slots != NULL);
}

static void set_deinit(struct config_set *s)
{
    free(s->items);
    free(s->slots);
}

static void set_clear(struct config_set *s)
{
    s->count = 0;
    memset(s->slots, 0, s->slot_count * sizeof *s->slots);
}

/* Where it is, or where it belongs. */
static size_t set_slot(const struct config_set *s, const struct config *c)
{
    size_t at = config_hash(c) & (s->slot_count - 1);
    while (s->slots[at] != NO_SLOT && memcmp(&s->items[s->slots[at] - 1], c, sizeof *c) != 0)
        at = (at + 1) & (s->slot_count - 1);
    return at;
}

static void set_grow(struct config_set *s)
{
    assert_true(s->capacity < CONFIGS_MAX); /* far more writes under way than this was made for */
    s->capacity *= 2;
    s->slot_count *= 2;
    s->items = realloc(s->items, s->capacity * sizeof *s->items);
    free(s->slots);
    s->slots = calloc(s->slot_count, sizeof *s->slots);
    assert_true(s->items != NULL && s->slots != NULL);
    for (size_t i = 0; i < s->count; i++)
        s->slots[set_slot(s, &s->items[i])] = (uint32_t)i + 1;
}

static void set_add(struct config_set *s, struct config c)
{
    size_t at = set_slot(s, &c);
    if (s->slots[at] != NO_SLOT)
        return;
    s->items[s->count++] = c;
    s->slots[at] = (uint32_t)s->count;
    if (s->count == s->capacity)
        set_grow(s);
}

/* ---- the walk ------------------------------------------------------------------------------------------------------
 */

struct walk {
    struct config_set now, next, open; /* open: those in which the operation that ends has not happened yet */
    const struct linear_op *pending[LINEAR_THREADS];
    size_t pending_count;
};

static bool op_fits(const struct linear_op *op, const struct config *c)
{
    for (int k = 0; k < LINEAR_KEYS; k++)
        if ((op->keys >> k & 1) && op->values[k] != c->values[k])
            return false;
    return true;
}

/* [C1] */
static void reads_happen(const struct walk *w, struct config *c)
{
    for (unsigned t = 0; t < LINEAR_THREADS; t++)
        if (w->pending[t] && !w->pending[t]->is_write && op_fits(w->pending[t], c))
            c->done |= 1u << t;
}

static void write_happens(const struct walk *w, const struct linear_op *op, struct config *c)
{
    for (int k = 0; k < LINEAR_KEYS; k++)
        if (op->keys >> k & 1)
            c->values[k] = op->values[k];
    c->done |= 1u << op->thread;
    reads_happen(w, c);
}

static void sets_swap(struct walk *w)
{
    struct config_set was = w->now;
    w->now = w->next;
    w->next = was;
}

static void op_begins(struct walk *w, const struct linear_op *op)
{
    assert_true(op->thread < LINEAR_THREADS && w->pending[op->thread] == NULL);
    w->pending[op->thread] = op;
    w->pending_count++;
    if (op->is_write)
        return;
    set_clear(&w->next);
    for (size_t i = 0; i < w->now.count; i++) {
        struct config c = w->now.items[i];
        reads_happen(w, &c);
        set_add(&w->next, c);
    }
    sets_swap(w);
}

/* A configuration goes on: to the next set when the operation that ends has happened in it. */
static void config_sort(struct walk *w, struct config c, uint32_t bit)
{
    if (c.done & bit) {
        c.done &= ~bit;
        set_add(&w->next, c);
    } else {
        set_add(&w->open, c);
    }
}

/* False: in no order that is left can it have happened. */
static bool op_ends(struct walk *w, const struct linear_op *op)
{
    uint32_t bit = 1u << op->thread;
    set_clear(&w->next);
    set_clear(&w->open);
    for (size_t i = 0; i < w->now.count; i++)
        config_sort(w, w->now.items[i], bit);
    for (size_t i = 0; i < w->open.count; i++) { /* grows meanwhile */
        for (unsigned t = 0; t < LINEAR_THREADS; t++) {
            struct config c = w->open.items[i];
            if (w->pending[t] == NULL || !w->pending[t]->is_write || (c.done >> t & 1))
                continue;
            write_happens(w, w->pending[t], &c);
            config_sort(w, c, bit);
        }
    }
    w->pending[op->thread] = NULL;
    w->pending_count--;
    sets_swap(w);
    return w->now.count > 0;
}

struct event {
    uint64_t when;
    size_t op;
    bool is_end;
};

static int compare_events(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    return x->when < y->when ? -1 : x->when > y->when;
}

static struct event *events_make(const struct linear_op *ops, size_t count)
{
    struct event *events = malloc((2 * count + 1) * sizeof *events);
    assert_non_null(events);
    for (size_t i = 0; i < count; i++) {
        assert_true(ops[i].begin < ops[i].end);
        events[2 * i] = (struct event){.when = ops[i].begin, .op = i};
        events[2 * i + 1] = (struct event){.when = ops[i].end, .op = i, .is_end = true};
    }
    qsort(events, 2 * count, sizeof *events, compare_events);
    return events;
}

static void walk_run(struct walk *w, const struct linear_op *ops, const struct event *events, size_t event_count,
                     struct linear_report *report)
{
    for (size_t i = 0; i < event_count; i++) {
        const struct linear_op *op = &ops[events[i].op];
        if (!events[i].is_end) {
            report->overlapping += w->pending_count > 0;
            op_begins(w, op);
        } else if (!op_ends(w, op)) {
            report->is_linearizable = false;
            report->failed = events[i].op;
            return;
        }
        if (w->now.count > report->states_peak)
            report->states_peak = w->now.count;
    }
}

void linear_check(const struct linear_op *ops, size_t count, struct linear_report *out_report)
{
    struct walk w = {0};
    struct event *events = events_make(ops, count);
    *out_report = (struct linear_report){.is_linearizable = true};
    set_init(&w.now);
    set_init(&w.next);
    set_init(&w.open);
    set_add(&w.now, (struct config){0});
    walk_run(&w, ops, events, 2 * count, out_report);
    set_deinit(&w.now);
    set_deinit(&w.next);
    set_deinit(&w.open);
    free(events);
}

/* ---- shrinking -----------------------------------------------------------------------------------------------------
 */

static bool is_bad(const struct linear_op *ops, size_t count)
{
    struct linear_report report;
    linear_check(ops, count, &report);
    return !report.is_linearizable;
}

/* Reads that have ended, and writes that have begun, by the end of the operation at which no order was left: what other
 * reads see may only be written afterwards. */
static size_t cut_behind(struct linear_op *ops, size_t count)
{
    struct linear_report report;
    size_t kept = 0;
    linear_check(ops, count, &report);
    assert_true(!report.is_linearizable);
    uint64_t last = ops[report.failed].end;
    for (size_t i = 0; i < count; i++)
        if (ops[i].is_write ? ops[i].begin < last : ops[i].end <= last)
            ops[kept++] = ops[i];
    return kept;
}

/* The history of some keys alone. */
static size_t project(const struct linear_op *ops, size_t count, uint16_t keys, struct linear_op *out)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if ((ops[i].keys & keys) == 0)
            continue;
        out[kept] = ops[i];
        out[kept++].keys &= keys;
    }
    return kept;
}

static size_t keys_shrink(struct linear_op *ops, size_t count, struct linear_op *room)
{
    uint16_t keys = (uint16_t)((1u << LINEAR_KEYS) - 1);
    for (unsigned k = 0; k < LINEAR_KEYS; k++) {
        uint16_t fewer = (uint16_t)(keys & ~(1u << k));
        if (is_bad(room, project(ops, count, fewer, room)))
            keys = fewer;
    }
    count = project(ops, count, keys, room);
    memcpy(ops, room, count * sizeof *ops);
    return count;
}

/* Does a read see what this write wrote? An absence may be anybody's delete. */
static bool is_seen(const struct linear_op *ops, size_t count, const struct linear_op *write)
{
    for (size_t i = 0; i < count; i++)
        for (unsigned k = 0; k < LINEAR_KEYS && !ops[i].is_write; k++)
            if ((ops[i].keys & write->keys) >> k & 1 && ops[i].values[k] == write->values[k])
                return true;
    return false;
}

/* Leave out up to `size` operations from index `from` on, as far as they may be; fewer are left, or none was. */
static size_t without(const struct linear_op *ops, size_t count, size_t from, size_t size, bool writes,
                      struct linear_op *out)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_meant = i >= from && i < from + size && ops[i].is_write == writes;
        if (is_meant && (!writes || !is_seen(ops, count, &ops[i])))
            continue;
        out[kept++] = ops[i];
    }
    return kept;
}

/* In ever smaller pieces (Zeller, Hildebrandt: "Simplifying and isolating failure-inducing input", 2002). */
static size_t ops_shrink(struct linear_op *ops, size_t count, bool writes, struct linear_op *room)
{
    for (size_t size = count / 2 + 1;; size /= 2) {
        for (size_t from = 0; from < count;) {
            size_t left = without(ops, count, from, size, writes, room);
            if (left < count && is_bad(room, left)) {
                memcpy(ops, room, left * sizeof *ops);
                count = left;
            } else {
                from += size;
            }
        }
        if (size == 1)
            return count;
    }
}

static int compare_begins(const void *a, const void *b)
{
    const struct linear_op *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

size_t linear_shrink(struct linear_op *ops, size_t count)
{
    struct linear_op *room = malloc((count + 1) * sizeof *room);
    assert_non_null(room);
    count = cut_behind(ops, count);
    qsort(ops, count, sizeof *ops, compare_begins);
    count = keys_shrink(ops, count, room);
    for (size_t before = count + 1; count < before;) {
        before = count;
        count = ops_shrink(ops, count, false, room);
        count = ops_shrink(ops, count, true, room);
    }
    free(room);
    return count;
}

/* ---- for people ----------------------------------------------------------------------------------------------------
 */

void linear_print(const struct linear_op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fprintf(stderr, "  thread %2u  %10llu to %10llu  %-16s %s", ops[i].thread, (unsigned long long)ops[i].begin,
                (unsigned long long)ops[i].end, ops[i].name, ops[i].is_write ? "writes" : "sees  ");
        for (unsigned k = 0; k < LINEAR_KEYS; k++) {
            if ((ops[i].keys >> k & 1) && ops[i].values[k] == 0)
                fprintf(stderr, "  key %u: absent", k);
            else if (ops[i].keys >> k & 1)
                fprintf(stderr, "  key %u: %u", k, ops[i].values[k]);
        }
        fprintf(stderr, "\n");
    }
}
