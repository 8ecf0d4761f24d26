// SPDX-License-Identifier: Apache-2.0
/*
 * The simulation as a test: a slice of seeds and those that once failed without a violation, the same seed twice with
 * the same hash, and a planted mistake that is found and shrunk.
 *
 *     sim_test quick          a seed or two of each
 *     sim_test FIRST COUNT    that many seeds (scaled by NOKV_TEST_SCALE)
 *
 * NOKV_TEST_SEED is the first seed instead.
 */
#include "campaign.h"
#include "test.h"

static uint64_t first_seed = 1, seed_count = 2;
static unsigned shrink_tries = 8;

/* Whatever goes wrong under whatever schedule, each crash leaves what was promised. */
static void test_slice(void **state)
{
    (void)state;
    static struct campaign_result r;
    struct campaign c = {.first_seed = first_seed, .seed_count = seed_count, .jobs = 1};
    campaign_run(&c, &r);
    campaign_print(&r);
    if (r.violations > 0)
        fail_msg("seed %llu: %s", (unsigned long long)r.findings[0].config.seed, r.findings[0].message);
    assert_true(r.seeds_done > 0 && r.totals.crashes[CRASH_POWER_CUT] > 0);
}

/* The same seed gives the same run, event by event, also after other runs in one process; another schedule another. */
static void test_deterministic(void **state)
{
    (void)state;
    struct run_report *a = campaign_shared(sizeof *a), *b = campaign_shared(sizeof *b);
    for (uint64_t seed = first_seed; seed < first_seed + u64_min(seed_count / 2, 3); seed++) {
        struct run_config config;
        run_config_init(&config, seed);
        if (!campaign_try(&config, a) || !campaign_try(&config, b))
            fail_msg("seed %llu: %s%s", (unsigned long long)seed, a->message, b->message);
        assert_int_equal(a->hash, b->hash);
        assert_memory_equal(&a->totals, &b->totals, sizeof a->totals);
        struct run_config other = config;
        other.schedule_seed++;
        if (!campaign_try_after(&other, &config, b))
            fail_msg("seed %llu, after another schedule: %s", (unsigned long long)seed, b->message);
        assert_int_equal(a->hash, b->hash);
        if (!campaign_try(&other, b))
            fail_msg("seed %llu, another schedule: %s", (unsigned long long)seed, b->message);
        assert_int_not_equal(a->hash, b->hash);
    }
}

/* Seeds that showed a violation once, of the engine or of the simulation itself. A change of either makes another run
 * of a seed, so each of their bugs has a unit test as well (docs/reliability.md). */
static void test_once_failed(void **state)
{
    (void)state;
    static const uint64_t seeds[] = {6, 49, 72, 313, 362, 1051, 1400, 2023, 2357};
    struct run_report *report = campaign_shared(sizeof *report);
    size_t count = seed_count < ARRAY_COUNT(seeds) ? 1 : ARRAY_COUNT(seeds); /* quick: one */
    for (size_t i = 0; i < count; i++) {
        struct run_config config;
        run_config_init(&config, seeds[i]);
        if (!campaign_try(&config, report))
            fail_msg("seed %llu: %s", (unsigned long long)seeds[i], report->message);
    }
}

static void lie(struct run_config *config)
{
    config->syncs_lie = true;
    config->faults = 0;
}

/* A disk that forgets what it said it had synced is found out, and the run that did is shrunk to a small one. */
static void test_planted_mistake(void **state)
{
    (void)state;
    struct run_report *report = campaign_shared(sizeof *report);
    struct run_config config;
    for (uint64_t seed = first_seed; seed < first_seed + 20; seed++) {
        run_config_init(&config, seed);
        lie(&config);
        if (campaign_try(&config, report))
            continue;
        uint32_t operations = config.ops_max * config.lives_max * config.clients_max;
        campaign_shrink(&config, report, shrink_tries);
        uint32_t shrunk = config.ops_max * config.lives_max * config.clients_max;
        printf("found in seed %llu: %s\nshrunk from %u to at most %u operations\n", (unsigned long long)seed,
               report->message, operations, shrunk);
        assert_true(shrunk < operations);
        assert_false(campaign_try(&config, report)); /* what is printed can be repeated */
        return;
    }
    fail_msg("20 seeds did not notice that no sync is one");
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        first_seed = strtoull(argv[1], NULL, 0);
        seed_count = u64_max(2, test_scale(strtoull(argv[2], NULL, 0)));
        shrink_tries = 60;
    }
    first_seed = test_seed(first_seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deterministic),
        cmocka_unit_test(test_planted_mistake),
        cmocka_unit_test(test_once_failed),
        cmocka_unit_test(test_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
