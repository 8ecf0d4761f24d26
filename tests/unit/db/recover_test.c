// SPDX-License-Identifier: Apache-2.0
/*
 * recover_test.c - what opening finds: logs that are missing, damaged or torn, a shared buffer that is not the one it
 * was, a directory that lost CURRENT; and what many openings leave.
 */
#include <errno.h>

#include "db_fixture.h"

/* Lives that each write `writes` keys and close: one sealed log each. Keys count up from 0. */
static void lives(struct fixture *f, int count, int writes)
{
    for (int life = 0; life < count; life++) {
        fixture_open(f);
        for (int i = 0; i < writes; i++)
            kv_put(f->db, (uint64_t)(life * writes + i), 1);
        fixture_close(f);
    }
}

static void check_keys(struct fixture *f, uint64_t from, uint64_t to, uint64_t version)
{
    for (uint64_t i = from; i < to; i++)
        kv_check(f->db, i, version);
}

/* ---- logs ------------------------------------------------------------------------------------------------------- */

/* A log that is missing in the middle, or in front, is noticed by the next one. */
static void test_missing_log(void **state)
{
    (void)state;
    for (size_t missing = 0; missing < 2; missing++) {
        struct fixture f;
        uint64_t logs[256];
        char path[PATH_SIZE_MAX];
        fixture_init(&f);
        lives(&f, 3, 5);
        assert_int_equal(numbers_of(&f, FILE_WAL, logs), 3);
        wal_path(path, logs[missing]);
        OK(io_unlink(f.io, path));
        wal_path(path, logs[missing + 1]);
        fixture_assert_corrupt(&f, path);
        assert_non_null(strstr(status_message(), "missing"));
        assert_non_null(strstr(status_message(), "db/MANIFEST-")); /* it may be that one's fault */
        f.options.read_only = true;
        fixture_assert_corrupt(&f, path);
        fixture_deinit(&f);
    }
}

static void file_put(struct fixture *f, const char *path, const uint8_t *data, size_t size)
{
    struct io_file *file = NULL;
    fixture_file_cut(f, path, 0);
    OK(io_open(f->io, path, IO_OTHER, IO_STD, IO_READ | IO_WRITE, &file));
    OK(io_pwrite(file, data, size, 0));
    OK(io_sync(file));
    OK(io_close(file));
}

/* A MANIFEST that has lost the edit of a flush, or is the one from before it, is noticed although the log behind the
 * flush is empty: the log in front of it, which the old MANIFEST needs, is gone. */
static void test_manifest_without_its_last_edit(void **state)
{
    (void)state;
    static uint8_t before[FIXTURE_FILE_MAX], after[FIXTURE_FILE_MAX];
    struct fixture f;
    uint64_t numbers[256];
    char path[PATH_SIZE_MAX];
    fixture_init(&f);
    fixture_open(&f);
    for (uint64_t i = 0; i < 5; i++)
        kv_put_synced(f.db, i, 1);
    assert_int_equal(numbers_of(&f, FILE_MANIFEST, numbers), 1);
    OK(path_manifest(path, "db", numbers[0]));
    size_t size = fixture_file_read(&f, path, before, sizeof before);
    OK(nokv_flush(f.db));
    fixture_kill(&f);
    assert_int_equal(fixture_file_read(&f, path, after, sizeof after), size); /* the space is reserved */
    size_t first = 0, last = size, refused = 0;
    while (before[first] == after[first])
        first++;
    while (before[last - 1] == after[last - 1])
        last--;
    file_put(&f, path, before, size);
    fixture_assert_corrupt(&f, "has lost its last edits");
    f.options.read_only = true; /* it is opened again and again */
    for (size_t off = first; off < last; off += 5) {
        file_put(&f, path, after, size);
        OK(sim_flip_bit(f.sim, path, off, off % 8));
        if (fixture_try_open(&f) != NOKV_OK) {
            assert_non_null(strstr(status_message(), "MANIFEST"));
            refused++;
            continue;
        }
        check_keys(&f, 0, 5, 1); /* only the mark behind the edit is damaged */
        fixture_close(&f);
    }
    assert_true(refused > 10);
    f.options.read_only = false;
    file_put(&f, path, after, size);
    fixture_open(&f);
    check_keys(&f, 0, 5, 1);
    fixture_deinit(&f);
}

/* A log that is not the last and has a flipped bit anywhere is CORRUPT, with its name; where in it, for its records. */
static void test_damaged_older_log(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t logs[256];
    char path[PATH_SIZE_MAX];
    fixture_init(&f);
    lives(&f, 4, 3);
    assert_int_equal(numbers_of(&f, FILE_WAL, logs), 4);
    wal_path(path, logs[1]);
    uint64_t size = 0, refused = 0;
    OK(io_stat(f.io, path, &size));
    f.options.read_only = true; /* so that nothing changes from one try to the next */
    for (uint64_t bit = 0; bit < size * 8; bit += 5) {
        OK(sim_flip_bit(f.sim, path, bit / 8, bit % 8));
        enum nokv_status status = fixture_try_open(&f);
        OK(sim_flip_bit(f.sim, path, bit / 8, bit % 8));
        if (status == NOKV_OK)
            fail_msg("bit %llu is not missed", (unsigned long long)bit);
        assert_true(status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED);
        assert_non_null(strstr(status_message(), path));
        if (bit / 8 >= 64 && strpbrk(status_message() + strlen(path), "0123456789") == NULL)
            fail_msg("the message does not say where: %s", status_message());
        refused++;
    }
    assert_true(refused > 100);
    fixture_open(&f);
    check_keys(&f, 0, 12, 1);
    fixture_deinit(&f);
}

/* Damage to what was acknowledged as durable is CORRUPT in the last log as well: it is not taken for a torn tail. */
static void test_damaged_synced_part(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t logs[256], offs[8];
    char path[PATH_SIZE_MAX];
    fixture_init(&f);
    fixture_open(&f);
    for (uint64_t i = 0; i < 8; i++) {
        offs[i] = rlog_end(f.db->wal) + 24; /* behind the mark of the sync before, or of the logs before */
        kv_put_synced(f.db, i, 1);
    }
    fixture_power_cut(&f);
    assert_int_equal(numbers_of(&f, FILE_WAL, logs), 1);
    wal_path(path, logs[0]);
    OK(io_unlink(f.io, "db/WALBUF")); /* which has the same records once more */
    f.options.read_only = true;
    for (uint64_t i = 0; i < 7; i++) {
        OK(sim_flip_bit(f.sim, path, offs[i] + 36, 3));
        fixture_assert_corrupt(&f, path);
        char off[32];
        snprintf(off, sizeof off, "%llu", (unsigned long long)offs[i]);
        if (strstr(status_message(), off) == NULL)
            fail_msg("no word of offset %s: %s", off, status_message());
        OK(sim_flip_bit(f.sim, path, offs[i] + 36, 3));
    }
    fixture_open(&f);
    check_keys(&f, 0, 8, 1);
    fixture_deinit(&f);
}

/* A torn tail is cut, counted and gone: what stands before it is there, and the database goes on behind it. */
static void test_torn_tail(void **state)
{
    (void)state;
    for (uint64_t torn = 1; torn < 240; torn += 7) {
        struct fixture f;
        uint64_t logs[256];
        char path[PATH_SIZE_MAX];
        fixture_init(&f);
        fixture_open(&f);
        kv_put_synced(f.db, 0, 1);
        kv_put(f.db, 1, 1);
        OK(rlog_flush(f.db->wal));
        uint64_t end = rlog_end(f.db->wal);
        kv_put(f.db, 2, 1);
        OK(rlog_flush(f.db->wal));
        assert_true(rlog_end(f.db->wal) - end >= 240);
        fixture_kill(&f);
        assert_int_equal(numbers_of(&f, FILE_WAL, logs), 1);
        wal_path(path, logs[0]);
        fixture_file_cut(&f, path, end + torn);
        OK(io_unlink(f.io, "db/WALBUF"));
        fixture_open(&f);
        nokv_stats s = stats_of(f.db);
        assert_in_range(s.recovered_cut_bytes, 1, torn);
        assert_int_equal(s.recovered_records, 2);
        kv_check(f.db, 0, 1);
        kv_check(f.db, 1, 1);
        kv_check(f.db, 2, 0);
        kv_put(f.db, 2, 2);
        fixture_close(&f);
        fixture_open(&f);
        assert_int_equal(stats_of(f.db).recovered_cut_bytes, 0);
        kv_check(f.db, 1, 1);
        kv_check(f.db, 2, 2);
        fixture_deinit(&f);
    }
}

/* A tail of zeros is space that was reserved, not damage and not a loss. */
static void test_tail_of_zeros(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t logs[256];
    char path[PATH_SIZE_MAX];
    fixture_init(&f);
    fixture_open(&f);
    kv_put_synced(f.db, 0, 1);
    uint64_t end = rlog_end(f.db->wal);
    fixture_kill(&f);
    assert_int_equal(numbers_of(&f, FILE_WAL, logs), 1);
    wal_path(path, logs[0]);
    fixture_file_cut(&f, path, end);
    fixture_file_cut(&f, path, end + 100000);
    fixture_open(&f);
    assert_int_equal(stats_of(f.db).recovered_cut_bytes, 0);
    kv_check(f.db, 0, 1);
    fixture_deinit(&f);
}

/* ---- the shared buffer ------------------------------------------------------------------------------------------ */

/* What was acknowledged stands in the shared buffer only: a killed process loses nothing, whatever size the next wants.
 */
static void test_buffer_of_another_size(void **state)
{
    (void)state;
    for (uint64_t size = 64 << 10; size <= 1 << 20; size *= 2) {
        struct fixture f;
        fixture_init(&f);
        f.options.wal_buffer_bytes = 256 << 10;
        fixture_open(&f);
        for (uint64_t i = 0; i < 50; i++)
            kv_put(f.db, i, 1);
        assert_int_equal(stats_of(f.db).components[NOKV_COMPONENT_WAL].syncs, 1); /* of the header */
        fixture_kill(&f);
        f.options.wal_buffer_bytes = size;
        fixture_open(&f);
        assert_int_equal(stats_of(f.db).recovered_records, 50);
        check_keys(&f, 0, 50, 1);
        uint64_t walbuf = 0;
        OK(io_stat(f.io, "db/WALBUF", &walbuf));
        assert_int_equal(walbuf, size);
        kv_put(f.db, 50, 1);
        fixture_kill(&f);
        fixture_open(&f);
        check_keys(&f, 0, 51, 1);
        fixture_deinit(&f);
    }
}

/* Without the shared buffer everything that was synced is there. */
static void test_missing_buffer(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_open(&f);
    for (uint64_t i = 0; i < 20; i++)
        kv_put(f.db, i, 1);
    OK(nokv_sync_wal(f.db));
    kv_put(f.db, 20, 1);
    fixture_kill(&f);
    OK(io_unlink(f.io, "db/WALBUF"));
    fixture_open(&f);
    check_keys(&f, 0, 20, 1);
    kv_check(f.db, 20, 0);
    fixture_deinit(&f);
}

/* A shared buffer of a size that none has is CORRUPT, not guessed at. */
static void test_odd_buffer(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 8, 32, 1000, 5000};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct fixture f;
        fixture_init(&f);
        lives(&f, 1, 3);
        fixture_file_cut(&f, "db/WALBUF", sizes[i]);
        fixture_assert_corrupt(&f, "db/WALBUF");
        fixture_deinit(&f);
    }
}

/* Any byte of the shared buffer may be lost in a power cut: what was synced is not in danger, and the rest is a prefix.
 */
static void test_damaged_buffer(void **state)
{
    (void)state;
    uint64_t random = test_seed(4);
    for (int round = 0; round < 60; round++) {
        struct fixture f;
        fixture_init(&f);
        fixture_open(&f);
        for (uint64_t i = 0; i < 20; i++)
            kv_put(f.db, i, 1);
        OK(nokv_sync_wal(f.db));
        for (uint64_t i = 20; i < 40; i++)
            kv_put(f.db, i, 1);
        fixture_kill(&f);
        for (int i = 0; i < 3; i++)
            OK(sim_flip_bit(f.sim, "db/WALBUF", test_random(&random) % 12000, 1));
        fixture_open(&f);
        uint64_t there = stats_of(f.db).sequence;
        assert_in_range(there, 20, 40);
        check_keys(&f, 0, there, 1);
        check_keys(&f, there, 40, 0);
        fixture_deinit(&f);
    }
}

/* ---- the directory ---------------------------------------------------------------------------------------------- */

/* Tables or logs without CURRENT are a damaged database, not a new one, and not "no database" either. */
static void test_missing_current(void **state)
{
    (void)state;
    for (int flushed = 0; flushed < 2; flushed++) {
        struct fixture f;
        fixture_init(&f);
        lives(&f, 1, 3);
        if (flushed) {
            fixture_open(&f);
            OK(nokv_flush(f.db));
            fixture_close(&f);
        }
        OK(io_unlink(f.io, "db/CURRENT"));
        fixture_assert_corrupt(&f, "CURRENT");
        f.options.create_if_missing = false;
        fixture_assert_corrupt(&f, "CURRENT");
        f.options.read_only = true;
        fixture_assert_corrupt(&f, "CURRENT");
        fixture_deinit(&f);
    }
}

/* What the options say about a database that is there or not. */
static void test_exists_or_not(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    f.options.create_if_missing = false;
    FAILS(NOT_FOUND, fixture_try_open(&f));
    f.options.create_if_missing = true;
    f.options.read_only = true;
    FAILS(NOT_FOUND, fixture_try_open(&f));
    struct file_list l;
    file_list_get(&f, &l);
    assert_int_equal(l.count, 0); /* nothing was created on the way */
    f.options.read_only = false;
    fixture_open(&f);
    nokv_db *second = NULL;
    FAILS(BUSY, db_open(f.io, "db", &f.options, &second));
    fixture_close(&f);
    f.options.error_if_exists = true;
    FAILS(EXISTS, fixture_try_open(&f));
    FAILS(INVALID, db_open(f.io, "", &f.options, &second));
    FAILS(INVALID, db_open(f.io, NULL, &f.options, &second));
    fixture_deinit(&f);
}

/* Files that are not ours stay, whatever they are called; left-overs of a crash go. */
static void test_orphans(void **state)
{
    (void)state;
    static const char *const foreign[] = {"db/notes.txt", "db/5.wal", "db/7.sst", "db/MANIFEST-1", "db/000001.sst.bak"};
    static const char *const ours[] = {"db/000099.sst", "db/MANIFEST-000001", "db/000001.wal", "db/CURRENT.tmp",
                                       "db/000098.sst.tmp"};
    struct fixture f;
    fixture_init(&f);
    lives(&f, 6, 2);
    fixture_open(&f);
    OK(nokv_flush(f.db));
    fixture_close(&f);
    for (size_t i = 0; i < ARRAY_COUNT(foreign) + ARRAY_COUNT(ours); i++) {
        struct io_file *file = NULL;
        const char *path = i < ARRAY_COUNT(foreign) ? foreign[i] : ours[i - ARRAY_COUNT(foreign)];
        OK(io_open(f.io, path, IO_OTHER, IO_STD, IO_WRITE | IO_CREATE, &file));
        OK(io_pwrite(file, "x", 1, 0));
        OK(io_close(file));
    }
    fixture_open(&f);
    for (size_t i = 0; i < ARRAY_COUNT(foreign); i++)
        assert_true(io_exists(f.io, foreign[i]));
    for (size_t i = 0; i < ARRAY_COUNT(ours); i++)
        if (io_exists(f.io, ours[i]))
            fail_msg("%s is left", ours[i]);
    check_keys(&f, 0, 12, 1);
    fixture_deinit(&f);
}

/* A process that dies at any step of creating a database leaves the next one all that it needs to keep its promises:
 * the entry of the directory in its parent, too, which only the first one has made. */
static void test_killed_while_creating(void **state)
{
    (void)state;
    uint64_t steps = 0;
    for (bool is_done = false; !is_done; steps++) {
        for (uint64_t seed = 0; seed < 8 && !is_done; seed++) {
            struct fixture f;
            fixture_init(&f);
            sim_crash_after(f.sim, steps);
            is_done = fixture_try_open(&f) == NOKV_OK;
            fixture_kill(&f);
            sim_reseed(f.sim, seed);
            fixture_open(&f);
            kv_put_synced(f.db, 1, 1);
            fixture_power_cut(&f);
            fixture_open(&f);
            kv_check(f.db, 1, 1);
            fixture_deinit(&f);
        }
    }
    assert_true(steps > 10);
}

/* ---- reading only ----------------------------------------------------------------------------------------------- */

struct disk_sum {
    uint64_t sum;
    struct fixture *f;
};

static bool disk_sum_one(void *arg, const char *path, uint64_t size)
{
    static uint8_t bytes[FIXTURE_FILE_MAX];
    struct disk_sum *d = arg;
    size_t got = fixture_file_read(d->f, path, bytes, sizeof bytes);
    assert_int_equal(got, size);
    for (const char *p = path; *p; p++)
        d->sum = d->sum * 31 + (uint8_t)*p;
    for (size_t i = 0; i < got; i++)
        d->sum = d->sum * 31 + bytes[i];
    return true;
}

/* Every byte of every file. */
static uint64_t disk_sum(struct fixture *f)
{
    struct disk_sum d = {.f = f};
    static struct file_list l;
    file_list_get(f, &l);
    for (size_t i = 0; i < l.count; i++) {
        char path[PATH_SIZE_MAX];
        OK(path_join(path, "db", l.names[i]));
        disk_sum_one(&d, path, l.sizes[i]);
    }
    return d.sum;
}

/* Opened for reading, records that only the shared buffer has are seen, and not a byte below the directory changes. */
static void test_read_only(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    lives(&f, 2, 5);
    fixture_open(&f);
    for (uint64_t i = 10; i < 30; i++)
        kv_put(f.db, i, 1);
    fixture_kill(&f);
    uint64_t before = disk_sum(&f);
    f.options.read_only = true;
    for (int times = 0; times < 2; times++) {
        nokv_db *second = NULL;
        fixture_open(&f);
        OK(db_open(f.io, "db", &f.options, &second)); /* any number of readers */
        check_keys(&f, 0, 30, 1);
        kv_check(second, 29, 1);
        OK(nokv_close(second));
        FAILS(READ_ONLY, kv_try_put(f.db, 1, 2, NOKV_SYNC_NONE));
        FAILS(READ_ONLY, nokv_flush(f.db));
        FAILS(READ_ONLY, nokv_sync_wal(f.db));
        FAILS(READ_ONLY, nokv_compact_range(f.db, NULL, 0, NULL, 0));
        OK(nokv_wait_idle(f.db));
        fixture_close(&f);
        assert_int_equal(disk_sum(&f), before);
    }
    f.options.read_only = false;
    fixture_open(&f);
    check_keys(&f, 0, 30, 1);
    fixture_deinit(&f);
}

/* ---- many openings ---------------------------------------------------------------------------------------------- */

/* However often a database is opened and closed, with a few writes or none, its logs do not pile up. */
static void test_logs_do_not_pile_up(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) { /* with writes or without, with threads or without */
        struct fixture f;
        size_t most = 0;
        fixture_init(&f);
        f.options.inline_background_work = kind % 2;
        for (uint64_t life = 0; life < 40; life++) {
            fixture_open(&f);
            if (kind >= 2)
                kv_put(f.db, life % 10, life + 1);
            fixture_close(&f);
            size_t logs = count_of(&f, FILE_WAL);
            most = logs > most ? logs : most;
        }
        printf("kind %d: at most %zu logs\n", kind, most);
        assert_true(most <= 10);
        fixture_open(&f);
        for (uint64_t i = 0; kind >= 2 && i < 10; i++)
            kv_check(f.db, i, 31 + i);
        fixture_deinit(&f);
    }
}

/* No number is ever given to two files, over closes, kills, flushes and compactions. */
static void test_numbers_are_never_used_again(void **state)
{
    (void)state;
    static char owner[4096];
    uint64_t random = test_seed(5);
    struct fixture f;
    fixture_init(&f);
    memset(owner, 0, sizeof owner);
    for (uint64_t life = 0; life < 30; life++) {
        static bool seen_before[4096];
        static struct file_list l;
        memset(seen_before, 0, sizeof seen_before);
        file_list_get(&f, &l);
        for (size_t i = 0; i < l.count; i++) {
            uint64_t number;
            if (file_type_of(l.names[i], &number) != FILE_UNKNOWN)
                seen_before[number] = true;
        }
        fixture_open(&f);
        for (uint64_t i = test_random(&random) % 400; i > 0; i--)
            kv_put(f.db, i, life + 1);
        if (life % 3 == 0)
            OK(nokv_flush(f.db));
        if (life % 7 == 0)
            OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
        file_list_get(&f, &l);
        for (size_t i = 0; i < l.count; i++) {
            uint64_t number;
            enum file_type type = file_type_of(l.names[i], &number);
            if (type != FILE_WAL && type != FILE_SST && type != FILE_MANIFEST)
                continue;
            assert_true(number < sizeof owner);
            if (owner[number] && !seen_before[number])
                fail_msg("%s: this number was used before", l.names[i]);
            if (owner[number])
                assert_int_equal(owner[number], (char)type);
            owner[number] = (char)type;
        }
        if (test_random(&random) % 2)
            fixture_kill(&f);
        else
            fixture_close(&f);
    }
    fixture_deinit(&f);
}

/* The highest number of any file; below `least`: `least`. */
static uint64_t number_max(struct fixture *f, uint64_t least)
{
    static struct file_list l;
    file_list_get(f, &l);
    for (size_t i = 0; i < l.count; i++) {
        uint64_t number;
        if (file_type_of(l.names[i], &number) != FILE_UNKNOWN)
            least = number > least ? number : least;
    }
    return least;
}

/* Nor is one that a file has which nobody names yet: a process that died at any step leaves such files. */
static void test_numbers_of_left_overs(void **state)
{
    (void)state;
    bool crashed = true;
    for (uint64_t k = 0; crashed; k++) {
        struct fixture f;
        fixture_init(&f);
        fixture_open(&f);
        sim_crash_after(f.sim, k);
        for (uint64_t i = 0; i < 700; i++)
            if (kv_try_put(f.db, i, 1, NOKV_SYNC_NONE) != NOKV_OK)
                break;
        crashed = sim_is_crashed(f.sim);
        fixture_kill(&f);
        uint64_t before = number_max(&f, 0), manifests[256], logs[256];
        fixture_open(&f);
        assert_int_equal(numbers_of(&f, FILE_MANIFEST, manifests), 1);
        assert_true(manifests[0] > before);
        size_t count = numbers_of(&f, FILE_WAL, logs);
        assert_true(count > 0 && logs[count - 1] > before);
        fixture_deinit(&f);
    }
}

/* A database of many lives, killed at random, holds the newest of everything. */
static void test_many_lives(void **state)
{
    (void)state;
    uint64_t random = test_seed(6), version = 0, newest[20] = {0};
    struct fixture f;
    fixture_init(&f);
    for (int life = 0; life < 120; life++) {
        fixture_open(&f);
        for (uint64_t i = 0; i < 20; i++)
            kv_check(f.db, i, newest[i]);
        for (uint64_t n = test_random(&random) % 12; n > 0; n--) {
            uint64_t i = test_random(&random) % 20;
            newest[i] = test_random(&random) % 4 ? ++version : 0;
            if (newest[i])
                kv_put(f.db, i, newest[i]);
            else
                kv_delete(f.db, i);
        }
        if (test_random(&random) % 3 == 0)
            fixture_close(&f);
        else
            fixture_kill(&f);
    }
    fixture_deinit(&f);
}

/* A log with synced records whose flush failed, and records of the next log that only the buffer has; then a flush
 * that dies at step `at`. */
static void flush_dies(struct fixture *f, uint64_t at)
{
    fixture_open(f);
    for (uint64_t i = 0; i < 4; i++)
        kv_put_synced(f->db, i, 1);
    kv_put(f->db, 4, 1);
    sim_fail(f->sim, IO_OP_WRITE, IO_FLUSH, 1, ENOSPC, true);
    FAILS(NO_SPACE, nokv_flush(f->db));
    sim_fail_clear(f->sim);
    kv_put(f->db, 5, 1);
    sim_crash_after(f->sim, at);
    (void)!nokv_wait_idle(f->db); /* no rotation: the next log stays the buffer's */
}

/* The process dies in a flush, at any step; the power goes in the recovery, at any step: every synced write is
 * there. (That a log which is not sealed yet needs the MANIFEST's edit to be durable takes threads: see the next test.)
 */
static void test_power_cut_after_kill(void **state)
{
    (void)state;
    bool died = true;
    for (uint64_t at = 0; died; at++) {
        bool was_cut = true;
        for (uint64_t cut = 0; was_cut; cut++) {
            struct fixture f;
            fixture_init(&f);
            flush_dies(&f, at);
            died = sim_is_crashed(f.sim);
            fixture_kill(&f);
            sim_crash_after(f.sim, cut);
            (void)!fixture_try_open(&f);
            was_cut = sim_is_crashed(f.sim);
            fixture_power_cut(&f);
            fixture_open(&f);
            check_keys(&f, 0, 4, 1);
            fixture_deinit(&f);
        }
    }
}

static uint64_t log_bytes(struct fixture *f)
{
    uint64_t numbers[256], size = 0;
    char path[PATH_SIZE_MAX];
    size_t count = numbers_of(f, FILE_WAL, numbers);
    OK(path_wal(path, "db", numbers[count - 1]));
    OK(io_stat(f->io, path, &size));
    return size;
}

/* A MANIFEST that may be in the page cache only is synced before a log is touched: when that fails, so does the open,
 * and no log was repaired. */
static void test_manifest_is_settled_first(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_open(&f);
    for (uint64_t i = 0; i < 4; i++)
        kv_put_synced(f.db, i, 1);
    fixture_kill(&f);
    uint64_t before = log_bytes(&f);
    sim_fail(f.sim, IO_OP_SYNC, IO_MANIFEST, 1, EIO, false);
    FAILS(IO, fixture_try_open(&f));
    assert_true(sim_failed(f.sim));
    assert_int_equal(log_bytes(&f), before);
    sim_fail_clear(f.sim);
    fixture_open(&f);
    check_keys(&f, 0, 4, 1);
    fixture_deinit(&f);
}

/* A directory may be named with slashes behind it, and be at the top of the file system. */
static void test_names_of_the_directory(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"db/", "db"}, {"db///", "db/"}, {"/top", "/top/"}};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        struct fixture f;
        fixture_init(&f);
        OK(db_open(f.io, names[i][0], &f.options, &f.db));
        kv_put_synced(f.db, 1, 1);
        fixture_power_cut(&f);
        OK(db_open(f.io, names[i][1], &f.options, &f.db));
        kv_check(f.db, 1, 1);
        FAILS(BUSY, db_open(f.io, names[i][0], &f.options, &(nokv_db *){NULL}));
        fixture_deinit(&f);
    }
    OK(nokv_close(NULL));
}

/* Numbers that are nearly used up are refused before the first of them is given twice. */
static void test_number_out_of_range(void **state)
{
    (void)state;
    struct fixture f;
    struct io_file *file = NULL;
    fixture_init(&f);
    lives(&f, 1, 3);
    OK(io_open(f.io, "db/36028797018963968.sst", IO_OTHER, IO_STD, IO_WRITE | IO_CREATE, &file));
    OK(io_close(file));
    fixture_assert_corrupt(&f, "a file has number 36028797018963968");
    OK(io_unlink(f.io, "db/36028797018963968.sst"));
    fixture_open(&f);
    check_keys(&f, 0, 3, 1);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manifest_without_its_last_edit),
        cmocka_unit_test(test_missing_log),
        cmocka_unit_test(test_damaged_older_log),
        cmocka_unit_test(test_damaged_synced_part),
        cmocka_unit_test(test_torn_tail),
        cmocka_unit_test(test_tail_of_zeros),
        cmocka_unit_test(test_buffer_of_another_size),
        cmocka_unit_test(test_missing_buffer),
        cmocka_unit_test(test_odd_buffer),
        cmocka_unit_test(test_damaged_buffer),
        cmocka_unit_test(test_missing_current),
        cmocka_unit_test(test_exists_or_not),
        cmocka_unit_test(test_orphans),
        cmocka_unit_test(test_killed_while_creating),
        cmocka_unit_test(test_power_cut_after_kill),
        cmocka_unit_test(test_manifest_is_settled_first),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_logs_do_not_pile_up),
        cmocka_unit_test(test_numbers_are_never_used_again),
        cmocka_unit_test(test_numbers_of_left_overs),
        cmocka_unit_test(test_many_lives),
        cmocka_unit_test(test_names_of_the_directory),
        cmocka_unit_test(test_number_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
