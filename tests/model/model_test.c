// SPDX-License-Identifier: Apache-2.0
/*
 * The model test: random operations on a database on the real file system and on a sorted array must never differ.
 *
 *     model_test                  a short run (label quick)
 *     model_test FIRST COUNT OPS  seeds FIRST to FIRST + COUNT - 1, OPS operations each (scaled by NOKV_TEST_SCALE)
 *     model_test models PART PARTS OPS
 *                                 each combination of I/O models that is allowed, OPS operations each, this part of
 * all; NOKV_TEST_SCALE is the percentage of them
 *
 * NOKV_TEST_SEED runs that one seed instead; with NOKV_TEST_KEEP set, databases that failed stay. Each run is a process
 * of its own, so that a crash is a finding like any other. A trace that fails is shrunk: cut behind the operation that
 * failed, then parts of it are left out as long as it still fails (delta debugging: Zeller, Hildebrandt 2002), and what
 * is left is printed. With background threads a failure may need luck; set the seed and look at the options that are
 * printed.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "io_models.h"
#include "model_run.h"
#include "test.h"

enum { SHRINK_ATTEMPTS_MAX = 400, PRINTED_MAX = 60 };

/* What the trace is run with, besides its seed. */
static size_t io_models = IO_MODELS_DRAWN;
static size_t part, parts;
static uint64_t first_seed = 1, seed_count = 1, op_count = 4000;

/* Shares of each kind, in 10,000. */
static const unsigned shares[OP_KIND_COUNT] = {
    [OP_PUT] = 3600,  [OP_DELETE] = 1300,  [OP_BATCH] = 700,    [OP_GET] = 2000,  [OP_MULTI_GET] = 300,
    [OP_PIN] = 500,   [OP_ITERATE] = 1100, [OP_SNAPSHOT] = 400, [OP_SCAN] = 10,   [OP_FLUSH] = 30,
    [OP_COMPACT] = 8, [OP_IDLE] = 20,      [OP_VERIFY] = 2,     [OP_REOPEN] = 22, [OP_READ_ONLY] = 8,
};

/* ---- traces ---------------------------------------------------------------------------------------------------- */

static enum op_kind draw_kind(uint64_t *rng)
{
    uint64_t at = test_random(rng) % 10000;
    for (int kind = 0; kind < OP_KIND_COUNT; kind++) {
        if (at < shares[kind])
            return (enum op_kind)kind;
        at -= shares[kind];
    }
    fail_msg("the shares do not add up");
    return OP_PUT;
}

static struct op *trace_create(uint64_t seed, size_t count)
{
    struct op *ops = malloc(count * sizeof *ops);
    assert_non_null(ops);
    uint64_t rng = seed;
    for (size_t i = 0; i < count; i++)
        ops[i] = (struct op){.kind = draw_kind(&rng), .seed = test_random(&rng), .number = i};
    return ops;
}

/* ---- one run in a process of its own --------------------------------------------------------------------------- */

static void run_report_finish(struct run_report *report, int wait_status)
{
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0)
        return;
    if (report->message[0])
        return;
    if (WIFSIGNALED(wait_status))
        snprintf(report->message, sizeof report->message, "killed by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else
        snprintf(report->message, sizeof report->message, "exit status %d (a sanitizer?)", WEXITSTATUS(wait_status));
}

/* True: no difference. */
static bool trace_passes(uint64_t seed, const struct op *ops, size_t count, struct run_report *report)
{
    char parent[256], dir[300];
    test_dir_create(parent);
    snprintf(dir, sizeof dir, "%s/db", parent);
    *report = (struct run_report){0};
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        model_run(dir, seed, io_models, ops, count, report);
        exit(0);
    }
    int wait_status = 0;
    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    run_report_finish(report, wait_status);
    if (report->message[0] && getenv("NOKV_TEST_KEEP"))
        printf("the database is in %s: %s\n", dir, report->message);
    else
        test_dir_remove(parent);
    return report->message[0] == 0;
}

/* ---- shrinking ------------------------------------------------------------------------------------------------- */

/* `ops` without [begin, end), cut behind what fails then. False, and nothing changed, when that passes. */
static bool try_without(uint64_t seed, struct op *ops, size_t *count, size_t begin, size_t end,
                        struct run_report *report)
{
    size_t left = *count - (end - begin);
    struct op *rest = malloc((left + 1) * sizeof *rest);
    assert_non_null(rest);
    memcpy(rest, ops, begin * sizeof *rest);
    memcpy(rest + begin, ops + end, (*count - end) * sizeof *rest);
    struct run_report attempt = {0}, *shared = report + 1;
    bool passes = trace_passes(seed, rest, left, shared);
    if (!passes) {
        attempt = *shared;
        *report = attempt;
        *count = attempt.ops_done < left ? (size_t)attempt.ops_done + 1 : left;
        memcpy(ops, rest, *count * sizeof *rest);
    }
    free(rest);
    return !passes;
}

static void trace_shrink(uint64_t seed, struct op *ops, size_t *count, struct run_report *report)
{
    int attempts = 0;
    *count = report->ops_done < *count ? (size_t)report->ops_done + 1 : *count;
    for (size_t chunk = (*count + 1) / 2; chunk > 0; chunk /= 2) {
        for (size_t begin = 0; begin < *count && attempts < SHRINK_ATTEMPTS_MAX; attempts++) {
            size_t end = begin + chunk < *count ? begin + chunk : *count;
            if (!try_without(seed, ops, count, begin, end, report))
                begin += chunk;
        }
    }
    printf("shrunk to %zu operations in %d runs\n", *count, attempts);
}

static void trace_print(const struct op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (i < PRINTED_MAX / 2 || i + PRINTED_MAX / 2 >= count)
            printf("  %6llu %-9s seed 0x%016llx\n", (unsigned long long)ops[i].number, op_name(ops[i].kind),
                   (unsigned long long)ops[i].seed);
        else if (i == PRINTED_MAX / 2)
            printf("  ... %zu more ...\n", count - PRINTED_MAX);
}

/* ---- tests ----------------------------------------------------------------------------------------------------- */

static void seed_check(uint64_t seed, size_t count, struct run_report *report)
{
    struct op *ops = trace_create(seed, count);
    if (!trace_passes(seed, ops, count, report)) {
        printf("seed %llu, operation %llu of %zu: %s\n", (unsigned long long)seed, (unsigned long long)report->ops_done,
               count, report->message);
        trace_shrink(seed, ops, &count, report);
        trace_print(ops, count);
        free(ops);
        fail_msg("seed %llu: %s", (unsigned long long)seed, report->message);
    }
    free(ops);
}

static struct run_report *reports_create(void)
{
    struct run_report *report =
        mmap(NULL, 2 * sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(report, MAP_FAILED);
    return report;
}

/* Whatever is done to it in whatever order, the database answers as a sorted array would. */
static void answers_as_a_sorted_array(void **state)
{
    (void)state;
    struct run_report *report = reports_create();
    size_t count = (size_t)test_scale(op_count);
    uint64_t first = getenv("NOKV_TEST_SEED") ? test_seed(0) : first_seed;
    uint64_t last = getenv("NOKV_TEST_SEED") ? first : first_seed + seed_count - 1;
    for (uint64_t seed = first; seed <= last; seed++) {
        printf("seed %llu, %zu operations (NOKV_TEST_SEED=%llu repeats it)\n", (unsigned long long)seed, count,
               (unsigned long long)seed);
        fflush(stdout);
        seed_check(seed, count, report);
    }
    munmap(report, 2 * sizeof *report);
}

/* So it does with each combination of component and I/O model that can be chosen. */
static void answers_with_all_io_models(void **state)
{
    (void)state;
    struct run_report *report = reports_create();
    uint64_t seed = test_seed(1), step = 100 / test_scale(100), runs = 0;
    for (size_t i = part + seed % step * parts; i < IO_MODELS_COUNT; i += parts * step, runs++) {
        nokv_options o;
        nokv_options_init(&o);
        io_models = i;
        io_models_set(&o, i);
        printf("combination %zu: %s\n", i, io_models_text(&o));
        seed_check(seed + i, op_count, report);
    }
    printf("%llu of %d combinations, %llu operations each\n", (unsigned long long)runs, (int)IO_MODELS_COUNT,
           (unsigned long long)op_count);
    munmap(report, 2 * sizeof *report);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "models") == 0) {
        part = strtoull(argv[2], NULL, 10);
        parts = strtoull(argv[3], NULL, 10);
        op_count = strtoull(argv[4], NULL, 10);
        const struct CMUnitTest models[] = {cmocka_unit_test(answers_with_all_io_models)};
        return cmocka_run_group_tests(models, NULL, NULL);
    }
    if (argc == 4) {
        first_seed = strtoull(argv[1], NULL, 10);
        seed_count = strtoull(argv[2], NULL, 10);
        op_count = strtoull(argv[3], NULL, 10);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers_as_a_sorted_array)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
