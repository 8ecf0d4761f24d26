// SPDX-License-Identifier: Apache-2.0
/*
 * picker_test.c - which compaction is due: targets and scores, what a pick takes with it, that two compactions never
 * meet, and that a range takes everything that it touches. On hollow tables.
 */
#include "lsm/picker.h"
#include "lsm_fixture.h"

enum { MIB = 1 << 20, KEY_SPACE = 1000 };

static const struct picker_options options = {.level_base_bytes = 100 * MIB,
                                              .level_ratio = 10,
                                              .table_bytes = 10 * MIB,
                                              .l0_compact_files = 4,
                                              .l0_busy_files = 12};

/* A table over the keys number [first, last]. */
static void put_range(struct lsm *f, struct version **v, uint32_t level, unsigned first, unsigned last, uint64_t bytes)
{
    char a[16], b[16];
    snprintf(a, sizeof a, "%06u", first);
    snprintf(b, sizeof b, "%06u", last);
    lsm_put(f, v, level, lsm_hollow(f, lsm_text(a), lsm_text(b), bytes));
}

static void put_many(struct lsm *f, struct version **v, uint32_t level, unsigned count, uint64_t bytes_each)
{
    for (unsigned i = 0; i < count; i++)
        put_range(f, v, level, i * 10, i * 10 + 5, bytes_each);
}

static struct level_targets targets_of(const struct version *v, bool tidy)
{
    struct level_targets t;
    picker_targets(v, &options, tidy, &t);
    return t;
}

/* ---- targets ---------------------------------------------------------------------------------------------------- */

/* Nothing is due in an empty tree, and what comes first goes to the last level. */
static void test_empty(void **state)
{
    (void)state;
    struct version *v = lsm_empty();
    struct level_targets t = targets_of(v, true);
    struct compaction_inputs in;
    bool found = true;
    assert_int_equal(t.base_level, LEVELS_MAX - 1);
    assert_int_equal(t.pending_bytes, 0);
    for (size_t l = 0; l < LEVELS_MAX; l++)
        assert_true(t.score[l] < 1.0);
    OK(picker_pick(v, &options, true, false, &in, &found));
    assert_false(found);
    OK(picker_pick_range(v, (struct slice){0}, (struct slice){0}, &in, &found));
    assert_false(found);
    version_unref(v);
}

/* A table that points to `value_bytes` of the value log. */
static void put_values(struct lsm *f, struct version **v, uint32_t level, uint64_t bytes, uint64_t value_bytes)
{
    char a[16], b[16];
    struct vlog_ref ref = {.segment = 7, .records = 1, .bytes = value_bytes};
    snprintf(a, sizeof a, "%06u", level * 100);
    snprintf(b, sizeof b, "%06u", level * 100 + 50);
    struct table *t = lsm_hollow(f, lsm_text(a), lsm_text(b), bytes);
    mem_free(t->desc.refs);
    t->desc.refs = mem_alloc(sizeof ref);
    assert_non_null(t->desc.refs);
    t->desc.refs[0] = ref;
    t->desc.ref_count = 1;
    lsm_put(f, v, level, t);
}

/* A level 0 of few, small tables that point to much of the value log is due before it is by its count: until it is
 * merged, nobody knows how much of what lies below is garbage. Without values below, or with tables that are themselves
 * as large, it is not. */
static void test_level0_that_hides_values(void **state)
{
    (void)state;
    static const struct {
        uint64_t zero_values, below_values, zero_bytes;
        unsigned tables;
        bool tidy, due;
    } cases[] = {
        {10 * MIB, 160 * MIB, 4096, 1, true, true},      /* a sixteenth, when nobody writes */
        {9 * MIB, 160 * MIB, 4096, 1, true, false},      /* less */
        {10 * MIB, 160 * MIB, 4096, 4, false, false},    /* not while somebody does */
        {80 * MIB, 160 * MIB, 4096, 4, false, true},     /* half, then */
        {80 * MIB, 160 * MIB, 2 * MIB, 3, false, false}, /* with as many tables as are worth a merge at all */
        {80 * MIB, 160 * MIB, MIB, 1, false, true},      /* any, when the merge is very cheap */
        {80 * MIB, 0, 4096, 1, true, false},             /* nothing to hide below */
        {80 * MIB, 0, 4096, 2, false, true},             /* but the one table hides what the other has */
        {80 * MIB, 160 * MIB, 90 * MIB, 1, true, false}, /* the merge would cost more than it shows */
    };
    for (size_t c = 0; c < ARRAY_COUNT(cases); c++) {
        struct lsm f;
        struct version *v = lsm_empty();
        lsm_init(&f);
        for (unsigned i = 0; i < cases[c].tables; i++)
            put_values(&f, &v, 0, cases[c].zero_bytes / cases[c].tables, cases[c].zero_values / cases[c].tables);
        if (cases[c].below_values)
            put_values(&f, &v, LEVELS_MAX - 1, 4096, cases[c].below_values);
        bool due = targets_of(v, cases[c].tidy).score[0] >= 1.0;
        if (due != cases[c].due)
            fail_msg("case %zu: %s", c, due ? "due" : "not due");
        version_unref(v);
        lsm_deinit(&f);
    }
}

/* Level 0 is merged from few tables on when it is tidied, from many on under a stream of writes. */
static void test_level0_is_due(void **state)
{
    (void)state;
    struct lsm f;
    struct version *v = lsm_empty();
    lsm_init(&f);
    for (uint32_t n = 1; n <= 14; n++) {
        put_range(&f, &v, 0, 0, 100, MIB);
        assert_int_equal(targets_of(v, true).score[0] >= 1.0, n >= options.l0_compact_files);
        assert_int_equal(targets_of(v, false).score[0] >= 1.0, n >= options.l0_busy_files);
        assert_int_equal(targets_of(v, false).pending_bytes > 0, n >= options.l0_busy_files);
    }
    version_unref(v);
    lsm_deinit(&f);
}

/* A small level 0 is not merged into a large level for tidiness alone: it would rewrite much for little. */
static void test_tidying_must_be_worth_it(void **state)
{
    (void)state;
    struct lsm f;
    struct version *v = lsm_empty();
    lsm_init(&f);
    put_many(&f, &v, LEVELS_MAX - 1, 10, 80 * MIB);
    for (int i = 0; i < 4; i++)
        put_range(&f, &v, 0, 0, 100, 24 * MIB);
    assert_true(targets_of(v, true).score[0] < 1.0);
    put_range(&f, &v, 0, 0, 100, 8 * MIB);
    assert_true(targets_of(v, true).score[0] >= 1.0);
    version_unref(v);
    lsm_deinit(&f);
}

/* Levels open upwards as the last one grows: each target is a ratio above the next, the base one is within its range.
 */
static void test_dynamic_levels(void **state)
{
    (void)state;
    static const struct {
        uint64_t mib;
        uint32_t base;
    } cases[] = {{10, 7}, {1000, 7}, {1001, 6}, {10000, 6}, {10010, 5}, {100100, 4}, {1001000, 3}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct lsm f;
        struct version *v = lsm_empty();
        lsm_init(&f);
        put_range(&f, &v, LEVELS_MAX - 1, 0, 100, cases[i].mib * MIB);
        struct level_targets t = targets_of(v, false);
        assert_int_equal(t.base_level, cases[i].base);
        assert_true(t.target[t.base_level] >= options.level_base_bytes);
        assert_true(t.base_level == LEVELS_MAX - 1 ||
                    t.target[t.base_level] <= options.level_base_bytes * options.level_ratio);
        for (uint32_t l = t.base_level; l + 2 < LEVELS_MAX; l++)
            assert_in_range(t.target[l + 1] / t.target[l], options.level_ratio - 1, options.level_ratio);
        version_unref(v);
        lsm_deinit(&f);
    }
}

/* ---- random trees ----------------------------------------------------------------------------------------------- */

static void level_draw(struct lsm *f, struct version **v, uint32_t level, uint64_t *random)
{
    unsigned at = (unsigned)(test_random(random) % 30);
    for (unsigned n = (unsigned)(test_random(random) % 12); n > 0 && at < KEY_SPACE; n--) {
        unsigned width = (unsigned)(test_random(random) % 90);
        put_range(f, v, level, at, at + width, (1 + test_random(random) % 400) * MIB);
        at += width + 1 + (unsigned)(test_random(random) % 60);
    }
}

static struct version *tree_draw(struct lsm *f, uint64_t *random)
{
    struct version *v = lsm_empty();
    for (uint32_t l = 1; l < LEVELS_MAX; l++)
        if (test_random(random) % 2)
            level_draw(f, &v, l, random);
    for (unsigned n = (unsigned)(test_random(random) % 16); n > 0; n--) {
        unsigned first = (unsigned)(test_random(random) % KEY_SPACE);
        put_range(f, &v, 0, first, first + (unsigned)(test_random(random) % 300), (1 + test_random(random) % 20) * MIB);
    }
    return v;
}

static bool level_contains(const struct level *level, const struct table *t)
{
    for (size_t i = 0; i < level->count; i++)
        if (level->tables[i] == t)
            return true;
    return false;
}

static bool inputs_contain(const struct compaction_inputs *in, uint32_t level, const struct table *t)
{
    for (size_t i = 0; i < in->counts[level]; i++)
        if (in->tables[level][i] == t)
            return true;
    return false;
}

/* The user keys that the inputs span. */
static void inputs_hull(const struct compaction_inputs *in, struct slice *first, struct slice *last)
{
    *first = *last = (struct slice){0};
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < in->counts[l]; i++) {
            const struct table_desc *d = &in->tables[l][i]->desc;
            if (first->data == NULL || key_compare(d->smallest.user, *first) < 0)
                *first = d->smallest.user;
            if (last->data == NULL || key_compare(d->largest.user, *last) > 0)
                *last = d->largest.user;
        }
}

/* What is picked is free and of this version; everything on the output level that it overlaps goes with it. */
static void check_pick(const struct version *v, const struct compaction_inputs *in, const struct level_targets *t)
{
    uint32_t from = in->level, to = in->output_level;
    assert_true(in->counts[from] > 0);
    assert_int_equal(to, from == 0 ? t->base_level : from + 1);
    assert_true(t->score[from] >= 1.0);
    for (uint32_t l = 0; l < LEVELS_MAX; l++) {
        assert_true(l == from || l == to || in->counts[l] == 0);
        for (size_t i = 0; i < in->counts[l]; i++) {
            assert_true(level_contains(&v->levels[l], in->tables[l][i]));
            assert_false(in->tables[l][i]->compacting);
        }
    }
    if (from == 0)
        assert_int_equal(in->counts[0], v->levels[0].count);
    else
        assert_int_equal(in->counts[from], 1);
    for (size_t i = 0; i < in->counts[from]; i++)
        for (size_t k = 0; k < v->levels[to].count; k++) {
            const struct table_desc *d = &in->tables[from][i]->desc;
            struct table *below = v->levels[to].tables[k];
            if (table_overlaps(below, d->smallest.user, d->largest.user))
                assert_true(inputs_contain(in, to, below));
        }
    if (in->trivial_move)
        assert_int_equal(in->counts[to], 0);
}

static void check_apart(const struct compaction_inputs *a, const struct compaction_inputs *b)
{
    struct slice a_first, a_last, b_first, b_last;
    for (uint32_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < a->counts[l]; i++)
            assert_false(inputs_contain(b, l, a->tables[l][i]));
    if (a->output_level != b->output_level)
        return;
    inputs_hull(a, &a_first, &a_last);
    inputs_hull(b, &b_first, &b_last);
    assert_true(key_compare(a_last, b_first) < 0 || key_compare(b_last, a_first) < 0);
}

static void mark(const struct compaction_inputs *in)
{
    for (uint32_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < in->counts[l]; i++)
            in->tables[l][i]->compacting = true;
}

/* As many compactions at once as are due: none shares a table with another, and their outputs cannot overlap. */
static void test_picks_are_apart(void **state)
{
    (void)state;
    uint64_t random = test_seed(1);
    size_t together_max = 0, moves = 0;
    for (int round = 0; round < 400; round++) {
        struct lsm f;
        struct compaction_inputs running[64];
        size_t count = 0;
        bool found = true, level0_busy = false, tidy = test_random(&random) % 2;
        lsm_init(&f);
        struct version *v = tree_draw(&f, &random);
        struct level_targets t = targets_of(v, tidy);
        for (; count < 64; count++) {
            OK(picker_pick(v, &options, tidy, level0_busy, &running[count], &found));
            if (!found)
                break;
            check_pick(v, &running[count], &t);
            for (size_t i = 0; i < count; i++)
                check_apart(&running[i], &running[count]);
            mark(&running[count]);
            assert_false(level0_busy && running[count].level == 0);
            level0_busy |= running[count].level == 0;
            moves += running[count].trivial_move;
        }
        together_max = count > together_max ? count : together_max;
        while (count > 0)
            compaction_inputs_deinit(&running[--count]);
        version_unref(v);
        lsm_deinit(&f);
    }
    printf("up to %zu at once, %zu moves\n", together_max, moves);
    assert_true(together_max >= 4 && moves > 0);
}

/* New data never goes below older data that stands higher, and debt is told exactly when a compaction is due. */
static void test_targets_of_random_trees(void **state)
{
    (void)state;
    uint64_t random = test_seed(2);
    for (int round = 0; round < 400; round++) {
        struct lsm f;
        bool tidy = test_random(&random) % 2, due = false;
        lsm_init(&f);
        struct version *v = tree_draw(&f, &random);
        struct level_targets t = targets_of(v, tidy);
        for (uint32_t l = 1; l < LEVELS_MAX; l++) {
            assert_true(v->levels[l].count == 0 || l >= t.base_level);
            assert_true(l < t.base_level || t.target[l] > 0);
            due = due || t.score[l] > 1.0;
        }
        assert_int_equal(t.pending_bytes > 0, due || t.score[0] >= 1.0);
        struct compaction_inputs in;
        bool found;
        OK(picker_pick(v, &options, tidy, false, &in, &found));
        if (t.pending_bytes > 0)
            assert_true(found); /* all tables are free: what is due is possible */
        compaction_inputs_deinit(&in);
        version_unref(v);
        lsm_deinit(&f);
    }
}

/* ---- single decisions ------------------------------------------------------------------------------------------- */

/* Of a level that is too large, the table goes down that rewrites the least of the level below; the oldest of equals.
 */
static void test_cheapest_table(void **state)
{
    (void)state;
    struct lsm f;
    struct version *v = lsm_empty();
    struct compaction_inputs in;
    bool found;
    lsm_init(&f);
    put_range(&f, &v, 7, 0, 100, 2000 * MIB);  /* 1 */
    put_range(&f, &v, 7, 200, 300, 900 * MIB); /* 2 */
    put_range(&f, &v, 7, 400, 500, 900 * MIB); /* 3 */
    put_range(&f, &v, 6, 50, 60, 300 * MIB);   /* 4 */
    put_range(&f, &v, 6, 410, 420, 300 * MIB); /* 5: as cheap as 6, and older */
    put_range(&f, &v, 6, 210, 220, 300 * MIB); /* 6 */
    OK(picker_pick(v, &options, false, false, &in, &found));
    assert_true(found && !in.trivial_move);
    assert_int_equal(in.tables[6][0]->desc.number, 5);
    assert_int_equal(in.counts[7], 1);
    assert_int_equal(in.tables[7][0]->desc.number, 3);
    mark(&in);
    compaction_inputs_deinit(&in);
    OK(picker_pick(v, &options, false, false, &in, &found));
    assert_true(found);
    assert_int_equal(in.tables[6][0]->desc.number, 6);
    compaction_inputs_deinit(&in);
    put_range(&f, &v, 6, 600, 700, 100 * MIB); /* nothing below: it only moves */
    OK(picker_pick(v, &options, false, false, &in, &found));
    assert_true(found && in.trivial_move);
    assert_int_equal(in.tables[6][0]->desc.number, 7);
    compaction_inputs_deinit(&in);
    version_unref(v);
    lsm_deinit(&f);
}

/* Tables of level 0 that do not touch each other or anything below move down as they are; others are merged. */
static void test_level0_moves(void **state)
{
    (void)state;
    struct lsm f;
    struct compaction_inputs in;
    bool found;
    for (int overlapping = 0; overlapping < 3; overlapping++) {
        struct version *v = lsm_empty();
        lsm_init(&f);
        put_range(&f, &v, 7, 900, 910, MIB);
        for (unsigned i = 0; i < 4; i++)
            put_range(&f, &v, 0, i * 10, i * 10 + (overlapping == 1 ? 10 : 9), MIB);
        if (overlapping == 2)
            put_range(&f, &v, 7, 35, 36, MIB);
        OK(picker_pick(v, &options, true, false, &in, &found));
        assert_true(found);
        assert_int_equal(in.trivial_move, overlapping == 0);
        assert_int_equal(in.counts[0], 4);
        assert_int_equal(in.counts[7], overlapping == 2);
        compaction_inputs_deinit(&in);
        OK(picker_pick(v, &options, true, true, &in, &found)); /* one from level 0 runs already */
        assert_false(found);
        version_unref(v);
        lsm_deinit(&f);
    }
}

/* ---- ranges ----------------------------------------------------------------------------------------------------- */

static struct slice bound_draw(char out[16], uint64_t *random)
{
    if (test_random(random) % 4 == 0)
        return (struct slice){0};
    snprintf(out, 16, "%06u", (unsigned)(test_random(random) % (KEY_SPACE + 100)));
    return lsm_text(out);
}

/* A range takes all that it overlaps on any level, and all that those overlap, and no more. */
static void test_range(void **state)
{
    (void)state;
    uint64_t random = test_seed(3);
    for (int round = 0; round < 600; round++) {
        struct lsm f;
        char a[16], b[16];
        struct compaction_inputs in;
        bool found, taken = false;
        struct slice first = bound_draw(a, &random), last = bound_draw(b, &random), hull_first, hull_last;
        if (first.data && last.data && key_compare(first, last) > 0)
            last = first;
        lsm_init(&f);
        struct version *v = tree_draw(&f, &random);
        OK(picker_pick_range(v, first, last, &in, &found));
        inputs_hull(&in, &hull_first, &hull_last);
        for (uint32_t l = 0; l < LEVELS_MAX; l++)
            for (size_t i = 0; i < v->levels[l].count; i++) {
                struct table *t = v->levels[l].tables[i];
                bool wanted = table_overlaps(t, first, last);
                if (hull_first.data)
                    wanted = wanted || table_overlaps(t, hull_first, hull_last);
                assert_int_equal(inputs_contain(&in, l, t), wanted);
                if (wanted && !taken)
                    assert_int_equal(in.level, l);
                taken = taken || wanted;
            }
        assert_int_equal(found, taken);
        assert_int_equal(in.output_level, LEVELS_MAX - 1);
        assert_false(in.trivial_move);
        compaction_inputs_deinit(&in);
        version_unref(v);
        lsm_deinit(&f);
    }
}

/* Without memory a pick fails and leaves nothing behind. */
static void test_no_memory(void **state)
{
    (void)state;
    uint64_t random = 5;
    struct lsm f;
    struct compaction_inputs in;
    bool found = false;
    lsm_init(&f);
    struct version *v = tree_draw(&f, &random);
    while (v->levels[0].count < options.l0_busy_files)
        put_range(&f, &v, 0, 0, 999, MIB);
    for (uint64_t k = 0; !found; k++) {
        mem_fail_after(k);
        enum nokv_status status = picker_pick(v, &options, false, false, &in, &found);
        mem_fail_after(UINT64_MAX);
        if (status != NOKV_OK)
            assert_int_equal(status, NOKV_ERR_NO_MEMORY);
        compaction_inputs_deinit(&in);
    }
    found = false;
    for (uint64_t k = 0; !found; k++) {
        mem_fail_after(k);
        enum nokv_status status = picker_pick_range(v, (struct slice){0}, (struct slice){0}, &in, &found);
        mem_fail_after(UINT64_MAX);
        found = status == NOKV_OK;
        if (status != NOKV_OK)
            assert_int_equal(status, NOKV_ERR_NO_MEMORY);
        compaction_inputs_deinit(&in);
    }
    version_unref(v);
    lsm_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_level0_is_due),
        cmocka_unit_test(test_tidying_must_be_worth_it),
        cmocka_unit_test(test_dynamic_levels),
        cmocka_unit_test(test_picks_are_apart),
        cmocka_unit_test(test_targets_of_random_trees),
        cmocka_unit_test(test_cheapest_table),
        cmocka_unit_test(test_level0_moves),
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_level0_that_hides_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
