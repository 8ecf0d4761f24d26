// SPDX-License-Identifier: Apache-2.0
/*
 * checker_test.c - the checker of histories judges right: histories made by hand, good and bad; small random ones
 * against a search through all orders; large ones, sound and with one stale read in them.
 */
#include "checker.h"
#include "test.h"

enum { SMALL_OPS = 7, LARGE_OPS = 2000 };

/* ---- histories by hand ---------------------------------------------------------------------------------------------
 */

#define OP(t, b, e, write, mask, v0, v1)                                                                      \
    (struct linear_op)                                                                                        \
    {                                                                                                         \
        .thread = (t), .begin = (b), .end = (e), .is_write = (write), .keys = (mask), .values = {(v0), (v1)}, \
        .name = (write) ? "write" : "read"                                                                    \
    }
/* Of key 0; of key 1; of both at one moment. */
#define W(t, b, e, v) OP(t, b, e, true, 1, v, 0)
#define R(t, b, e, v) OP(t, b, e, false, 1, v, 0)
#define W1(t, b, e, v) OP(t, b, e, true, 2, 0, v)
#define R1(t, b, e, v) OP(t, b, e, false, 2, 0, v)
#define WW(t, b, e, v0, v1) OP(t, b, e, true, 3, v0, v1)
#define RR(t, b, e, v0, v1) OP(t, b, e, false, 3, v0, v1)

struct history {
    const char *what;
    bool is_good;
    struct linear_op ops[8]; /* up to the first with end 0 */
};

static const struct history by_hand[] = {
    {"nothing at all", true, {{0}}},
    {"a key is absent at first", true, {R(0, 1, 2, 0)}},
    {"one after the other", true, {W(0, 1, 2, 7), R(1, 3, 4, 7), W(0, 5, 6, 8), R(1, 7, 8, 8)}},
    {"a read beside a write sees the old value", true, {W(0, 1, 4, 7), R(1, 2, 3, 0)}},
    {"a read beside a write sees the new value", true, {W(0, 1, 4, 7), R(1, 2, 3, 7)}},
    {"two writes at once, either may be last", true, {W(0, 1, 4, 7), W(1, 2, 3, 8), R(2, 5, 6, 7)}},
    {"a write that ends late is seen, then overwritten",
     true,
     {W(0, 1, 20, 7), R(1, 2, 3, 7), W(1, 4, 5, 8), R(1, 6, 7, 8)}},
    {"a write that ends late happens after others",
     true,
     {W(0, 1, 20, 7), W(1, 2, 3, 8), R(1, 4, 5, 8), R(1, 6, 7, 7)}},
    {"a delete, and another value", true, {W(0, 1, 2, 7), W(0, 3, 4, 0), R(1, 5, 6, 0), W(0, 7, 8, 9), R(1, 9, 10, 9)}},
    {"a batch is seen as a whole", true, {WW(0, 1, 2, 7, 8), RR(1, 3, 4, 7, 8)}},
    {"a read of both keys beside two writes", true, {W(0, 1, 6, 7), W1(1, 2, 5, 8), RR(2, 3, 4, 0, 8)}},
    {"a slow snapshot shows its moment", true, {W(0, 1, 2, 7), RR(1, 3, 20, 7, 0), WW(0, 4, 5, 8, 8), R(2, 6, 7, 8)}},
    {"an acknowledged write is missing", false, {W(0, 1, 2, 7), R(1, 3, 4, 0)}},
    {"an overwritten value", false, {W(0, 1, 2, 7), W(0, 3, 4, 8), R(1, 5, 6, 7)}},
    {"a value before its write began", false, {R(1, 1, 2, 7), W(0, 3, 4, 7)}},
    {"a value that nobody wrote", false, {W(0, 1, 2, 7), R(1, 3, 4, 9)}},
    {"a deleted value", false, {W(0, 1, 2, 7), W(0, 3, 4, 0), R(1, 5, 6, 7)}},
    {"reads that go back while a write is under way", false, {W(0, 1, 20, 7), R(1, 2, 3, 7), R(2, 4, 5, 0)}},
    {"a value, another one, the first again",
     false,
     {W(0, 1, 30, 7), W(1, 2, 20, 8), R(2, 3, 4, 7), R(2, 5, 6, 8), R(2, 7, 8, 7)}},
    {"half a batch", false, {WW(0, 1, 2, 7, 8), RR(1, 3, 4, 7, 0)}},
    {"half a batch, while it is written", false, {WW(0, 1, 6, 7, 8), RR(1, 2, 3, 0, 8)}},
    {"half a batch, key by key", false, {WW(0, 1, 20, 7, 8), R1(1, 2, 3, 8), R(1, 4, 5, 0)}},
    {"two readers see two writes in different orders",
     false,
     {W(0, 1, 20, 7), W1(1, 2, 21, 8), RR(2, 3, 4, 7, 0), RR(3, 5, 6, 0, 8)}},
    {"a snapshot that has a younger write and lacks an older one",
     false,
     {W(0, 1, 2, 7), W1(0, 3, 4, 8), RR(1, 5, 6, 0, 8)}},
    {"a snapshot of two moments", false, {RR(1, 1, 20, 0, 8), W(0, 2, 3, 7), W1(0, 4, 5, 8)}},
    {"a thread's second snapshot is older", false, {WW(0, 1, 20, 7, 8), RR(1, 2, 3, 7, 8), RR(1, 4, 5, 0, 0)}},
};

static size_t history_count(const struct history *h)
{
    size_t count = 0;
    while (count < ARRAY_COUNT(h->ops) && h->ops[count].end != 0)
        count++;
    return count;
}

/* Good histories are taken for good, and bad ones for bad. */
static void test_by_hand(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(by_hand); i++) {
        struct linear_report report;
        linear_check(by_hand[i].ops, history_count(&by_hand[i]), &report);
        if (report.is_linearizable != by_hand[i].is_good)
            fail_msg("%s: taken for %s", by_hand[i].what, report.is_linearizable ? "good" : "bad");
    }
}

static bool has_thread(const struct linear_op *ops, size_t count, unsigned thread)
{
    for (size_t i = 0; i < count; i++)
        if (ops[i].thread == thread)
            return true;
    return false;
}

/* A bad history stays bad when it is shrunk, and what has nothing to do with it goes. */
static void test_shrink_by_hand(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(by_hand); i++) {
        struct linear_op ops[16];
        struct linear_report report;
        size_t count = history_count(&by_hand[i]), own = count;
        if (by_hand[i].is_good)
            continue;
        for (size_t n = 0; n < count; n++) {
            ops[n] = by_hand[i].ops[n];
            ops[n].begin *= 10;
            ops[n].end *= 10;
        }
        for (unsigned n = 0; n < 4; n++) { /* of another thread and key, beside it */
            ops[count] = OP(9, 13 + 20 * n, 14 + 20 * n, n % 2 == 0, 4, 0, 0);
            ops[count++].values[2] = 50 + n / 2;
        }
        count = linear_shrink(ops, count);
        linear_check(ops, count, &report);
        if (report.is_linearizable || count > own || has_thread(ops, count, 9))
            fail_msg("%s: shrunk to %zu operations", by_hand[i].what, count);
    }
}

/* ---- against all orders --------------------------------------------------------------------------------------------
 */

/* May op i come next? Every operation that ended before it began has happened. */
static bool is_next(const struct linear_op *ops, size_t count, uint32_t done, size_t i)
{
    for (size_t j = 0; j < count; j++)
        if (!(done >> j & 1) && ops[j].end < ops[i].begin)
            return false;
    return !(done >> i & 1);
}

static bool search(const struct linear_op *ops, size_t count, uint32_t done, const uint32_t values[LINEAR_KEYS])
{
    if (done == (1u << count) - 1)
        return true;
    for (size_t i = 0; i < count; i++) {
        uint32_t after[LINEAR_KEYS];
        bool fits = is_next(ops, count, done, i);
        memcpy(after, values, sizeof after);
        for (unsigned k = 0; k < LINEAR_KEYS && fits; k++) {
            if (!(ops[i].keys >> k & 1))
                continue;
            fits = ops[i].is_write || values[k] == ops[i].values[k];
            after[k] = ops[i].values[k];
        }
        if (fits && search(ops, count, done | 1u << i, after))
            return true;
    }
    return false;
}

/* Threads take turns at random in beginning and ending operations; what they see is drawn from what is written. */
static size_t random_history(uint64_t *rng, struct linear_op ops[SMALL_OPS])
{
    size_t count = 0;
    const uint64_t threads = 2 + test_random(rng) % 3;
    bool is_open[4] = {false};
    size_t last[4] = {0};
    for (uint64_t now = 1; now < 40; now++) {
        unsigned t = (unsigned)(test_random(rng) % threads);
        if (is_open[t]) {
            ops[last[t]].end = now;
            is_open[t] = false;
        } else if (count < SMALL_OPS) {
            bool write = test_random(rng) % 2 == 0;
            uint16_t keys = (uint16_t)(1 + test_random(rng) % 3);
            uint32_t value =
                write ? (test_random(rng) % 5 ? (uint32_t)count + 1 : 0) : (uint32_t)(test_random(rng) % (count + 2));
            uint32_t second = write ? value : (uint32_t)(test_random(rng) % (count + 2));
            ops[count] = OP(t, now, 0, write, keys, value, second);
            last[t] = count++;
            is_open[t] = true;
        }
    }
    for (unsigned t = 0; t < threads; t++)
        if (is_open[t])
            ops[last[t]].end = 100 + t;
    return count;
}

/* On small random histories the checker and a search through all orders agree. */
static void test_against_search(void **state)
{
    (void)state;
    uint64_t rng = test_seed(3), good = 0, bad = 0;
    for (uint64_t n = test_scale(40000); n > 0; n--) {
        struct linear_op ops[SMALL_OPS];
        struct linear_report report;
        static const uint32_t absent[LINEAR_KEYS];
        size_t count = random_history(&rng, ops);
        linear_check(ops, count, &report);
        bool wanted = search(ops, count, 0, absent);
        good += wanted;
        bad += !wanted;
        if (report.is_linearizable == wanted)
            continue;
        linear_print(ops, count);
        fail_msg("taken for %s", report.is_linearizable ? "good" : "bad");
    }
    printf("%llu good, %llu bad\n", (unsigned long long)good, (unsigned long long)bad);
    assert_true(good > 50 && bad > 50);
}

/* ---- large ones ----------------------------------------------------------------------------------------------------
 */

/* As from a sound map: each operation happens at a random moment between its begin and its end. */
static void sound_history(uint64_t *rng, struct linear_op *ops, size_t count)
{
    enum { THREADS = 8 };
    uint32_t values[LINEAR_KEYS] = {0};
    struct linear_op *open[THREADS] = {0};
    bool has_happened[THREADS] = {false};
    uint64_t now = 1;
    for (size_t made = 0, ended = 0; ended < count; now++) {
        unsigned t = (unsigned)(test_random(rng) % THREADS);
        if (open[t] == NULL && made < count) {
            open[t] = &ops[made++];
            *open[t] = OP(t, now, 0, test_random(rng) % 2 == 0, (uint16_t)(1 + test_random(rng) % 255), 0, 0);
            has_happened[t] = false;
        } else if (open[t] && !has_happened[t]) {
            for (unsigned k = 0; k < LINEAR_KEYS; k++) {
                if (open[t]->is_write && (open[t]->keys >> k & 1))
                    values[k] = test_random(rng) % 6 ? (uint32_t)(open[t] - ops) + 1 : 0;
                open[t]->values[k] = values[k];
            }
            has_happened[t] = true;
        } else if (open[t]) {
            open[t]->end = now;
            open[t] = NULL;
            ended++;
        }
    }
}

/* The last write of key 0 that ended before `when`; NULL: none. */
static const struct linear_op *last_write(const struct linear_op *ops, size_t count, uint64_t when)
{
    const struct linear_op *last = NULL;
    for (size_t i = 0; i < count; i++)
        if (ops[i].is_write && (ops[i].keys & 1) && ops[i].end < when && (last == NULL || ops[i].end > last->end))
            last = &ops[i];
    return last;
}

/* Make a read see a value of key 0 that had certainly been overwritten. */
static bool make_stale(struct linear_op *ops, size_t count, struct linear_op *read)
{
    const struct linear_op *newer = last_write(ops, count, read->begin);
    const struct linear_op *older = newer ? last_write(ops, count, newer->begin) : NULL;
    if (older == NULL || older->values[0] == 0 || read->is_write)
        return false;
    read->keys = 1;
    read->values[0] = older->values[0];
    return true;
}

/* A long sound history is taken for good; with one stale read in it for bad, and three operations show that. */
static void test_large(void **state)
{
    (void)state;
    uint64_t rng = test_seed(4);
    static struct linear_op ops[LARGE_OPS];
    for (uint64_t n = test_scale(10); n > 0; n--) {
        struct linear_report report;
        sound_history(&rng, ops, LARGE_OPS);
        linear_check(ops, LARGE_OPS, &report);
        assert_true(report.is_linearizable && report.overlapping > LARGE_OPS / 2);
        size_t at = LARGE_OPS / 2 + test_random(&rng) % (LARGE_OPS / 4);
        while (!make_stale(ops, LARGE_OPS, &ops[at]))
            at++;
        linear_check(ops, LARGE_OPS, &report);
        assert_false(report.is_linearizable);
        size_t count = linear_shrink(ops, LARGE_OPS);
        if (count == 3)
            continue;
        linear_print(ops, count);
        fail_msg("shrunk to %zu operations", count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_shrink_by_hand),
        cmocka_unit_test(test_against_search),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
