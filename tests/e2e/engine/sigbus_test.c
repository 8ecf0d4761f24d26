// SPDX-License-Identifier: Apache-2.0
/*
 * Gets, verification and compaction on a live database, one of whose files loses half of its bytes: an error for what
 * is gone, the stats say how many files that is, everything else goes on, and the host's SIGBUS handler is where it
 * was.
 */
#include "sigbus_fixture.h"

static uint64_t faulted_tables(nokv_db *db)
{
    nokv_stats s = {.struct_size = sizeof s};
    CHECK_OK(nokv_stats_get(db, false, &s));
    return s.components[NOKV_COMPONENT_SST].faulted_files;
}

/* Keys of runs newer than the victim go on, those of the others are right or damaged, and some are damaged. */
static void table_gets(const char *dir, unsigned victim)
{
    struct bed b;
    struct bystander other;
    char path[600];
    bed_init(&b, dir, KEYS, 96);
    bed_fill(&b);
    all_hot(&b);
    if (victim + 1 < RUNS)
        bystander_start(&other, &b, victim + 1);
    file_find(b.path, ".sst", victim, path);
    CHECK(faulted_tables(b.db) == 0);
    file_halve(path);
    for (unsigned run = 0; run < RUNS; run++) {
        unsigned right = run_check(&b, run);
        CHECK(run <= victim || right == KEYS / RUNS);
        CHECK(run != victim || right < KEYS / RUNS);
    }
    CHECK(faulted_tables(b.db) == 1);
    if (victim + 1 < RUNS)
        bystander_finish(&other);
    CHECK_OK(nokv_put(b.db, "x", 1, "y", 1, NULL));
    CHECK_OK(nokv_close(b.db));
}

static void oldest_table(const char *dir)
{
    table_gets(dir, 0);
}

static void middle_table(const char *dir)
{
    table_gets(dir, 1);
}

static void newest_table(const char *dir)
{
    table_gets(dir, RUNS - 1);
}

/* Gets of a table that was cut short under its mapping, while another thread reads other tables. */
static void test_table_gets(void **state)
{
    (void)state;
    child_passes(oldest_table);
    child_passes(middle_table);
    child_passes(newest_table);
}

static void table_background(const char *dir)
{
    struct bed b;
    nokv_verify_report report;
    char path[600];
    bed_init(&b, dir, KEYS, 96);
    bed_fill(&b);
    all_hot(&b);
    file_find(b.path, ".sst", 1, path);
    file_halve(path);
    CHECK(is_damage(nokv_verify(b.db, NULL, NULL, &report)));
    CHECK(is_damage(nokv_compact_range(b.db, NULL, 0, NULL, 0)));
    CHECK(run_check(&b, 2) == KEYS / RUNS && run_check(&b, 3) == KEYS / RUNS);
    (void)nokv_close(b.db);
}

/* Verification and compaction of it end with a status, and the other tables stay readable. */
static void test_table_background(void **state)
{
    (void)state;
    child_passes(table_background);
}

static void segment_gets(const char *dir, nokv_vlog_read model, size_t value_size)
{
    struct bed b;
    nokv_verify_report report;
    char vlog[400], path[600];
    unsigned right = 0, keys = 4000;
    bed_init(&b, dir, keys, value_size);
    b.options.vlog_read = model;
    bed_fill(&b);
    all_hot(&b);
    snprintf(vlog, sizeof vlog, "%s/vlog", b.path);
    file_find(vlog, ".vlog", 0, path);
    file_halve(path);
    for (unsigned run = 0; run < RUNS; run++)
        right += run_check(&b, run);
    CHECK(right < keys && right >= keys / 2);
    CHECK(is_damage(nokv_verify(b.db, NULL, NULL, &report)));
    CHECK_OK(nokv_put(b.db, "x", 1, "y", 1, NULL));
    (void)nokv_close(b.db);
}

static void segment_mmap(const char *dir)
{
    segment_gets(dir, NOKV_VLOG_READ_MMAP, 2000);
}

static void segment_auto(const char *dir)
{
    segment_gets(dir, NOKV_VLOG_READ_AUTO, 2000);
}

static void segment_pread(const char *dir)
{
    segment_gets(dir, NOKV_VLOG_READ_PREAD, 4096);
}

/* Gets of values in a segment of the value log that was cut short, by each way to read it. */
static void test_segment_gets(void **state)
{
    (void)state;
    child_passes(segment_mmap);
    child_passes(segment_auto);
    child_passes(segment_pread);
}

static volatile sig_atomic_t host_calls;

static void host_handler(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)info, (void)context;
    host_calls++;
}

static void handler_check(const struct sigaction *expected)
{
    struct sigaction now;
    CHECK(sigaction(SIGBUS, NULL, &now) == 0);
    CHECK(now.sa_sigaction == expected->sa_sigaction && now.sa_flags == expected->sa_flags);
    for (int sig = 1; sig < NSIG; sig++)
        CHECK(sigismember(&now.sa_mask, sig) == sigismember(&expected->sa_mask, sig));
}

static void host_handler_stays(const char *dir)
{
    struct sigaction host, before;
    struct bed b, second;
    char path[600];
    memset(&host, 0, sizeof host);
    host.sa_sigaction = host_handler;
    host.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaddset(&host.sa_mask, SIGUSR2);
    CHECK(sigaction(SIGBUS, &host, NULL) == 0 && sigaction(SIGBUS, NULL, &before) == 0);
    bed_init(&b, dir, 4000, 400);
    bed_fill(&b);
    raise(SIGBUS); /* chained while a database is open */
    CHECK(host_calls == 1);
    bed_init(&second, dir, 8, 400);
    snprintf(second.path, sizeof second.path, "%s/second", dir);
    CHECK_OK(nokv_open(second.path, &second.options, &second.db));
    all_hot(&b);
    file_find(b.path, ".sst", 0, path);
    file_halve(path);
    CHECK(run_check(&b, 0) < 1000);
    CHECK(host_calls == 1); /* faults of ours are not the host's */
    CHECK_OK(nokv_close(second.db));
    CHECK(run_check(&b, 0) < 1000);
    CHECK_OK(nokv_close(b.db));
    handler_check(&before);
    raise(SIGBUS);
    CHECK(host_calls == 2);
}

/* The host's handler gets what is not ours while databases are open, and is the one in place after the last close. */
static void test_host_handler(void **state)
{
    (void)state;
    child_passes(host_handler_stays);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_gets),
        cmocka_unit_test(test_table_background),
        cmocka_unit_test(test_segment_gets),
        cmocka_unit_test(test_host_handler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
