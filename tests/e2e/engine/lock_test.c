// SPDX-License-Identifier: Apache-2.0
/*
 * One process at a time: the second one is told who has the database; a killed owner leaves no lock behind; and a
 * read-only handle leaves no trace at all.
 */
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/hash.h"
#include "nokv/nokv.h"
#include "test.h"

enum { FILES_MAX = 200, KEYS = 3000 };

static char parent_dir[256], dir[300];

static int test_setup(void **state)
{
    (void)state;
    test_dir_create(parent_dir);
    snprintf(dir, sizeof dir, "%s/db", parent_dir);
    return 0;
}

static int test_teardown(void **state)
{
    (void)state;
    test_dir_remove(parent_dir);
    return 0;
}

/* A process that opens the database, writes, says so through a pipe, and waits to be killed. */
static pid_t owner_start(uint64_t puts)
{
    int ends[2];
    char byte = 0;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        nokv_db *db = NULL;
        nokv_options options;
        nokv_options_init(&options);
        options.memtable_bytes = 64 << 10;
        if (nokv_open(dir, &options, &db) != NOKV_OK)
            _exit(1);
        for (uint64_t i = 0; i < puts; i++)
            if (nokv_put(db, &i, sizeof i, "some value or other", 19, NULL) != NOKV_OK)
                _exit(1);
        if (write(ends[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    return pid;
}

static void owner_kill(pid_t pid)
{
    int wait_status = 0;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    assert_true(WIFSIGNALED(wait_status));
}

static void assert_busy_with(long pid)
{
    char text[32];
    snprintf(text, sizeof text, "%ld", pid);
    if (strstr(nokv_error_message(), text) == NULL)
        fail_msg("the message does not name pid %s: %s", text, nokv_error_message());
}

/* A second process gets BUSY and the owner's pid, whichever way it opens; so do verify's and destroy's ways in. */
static void test_second_process_is_told_who_has_it(void **state)
{
    (void)state;
    nokv_db *db = NULL;
    nokv_options options;
    nokv_options_init(&options);
    pid_t owner = owner_start(10);
    FAILS(BUSY, nokv_open(dir, &options, &db));
    assert_busy_with(owner);
    options.read_only = true;
    FAILS(BUSY, nokv_open(dir, &options, &db));
    assert_busy_with(owner);
    FAILS(BUSY, nokv_destroy(dir));
    assert_busy_with(owner);
    assert_null(db);
    owner_kill(owner);
}

/* The lock dies with its owner: after a kill -9 the next open succeeds at once and finds what was acknowledged. */
static void test_killed_owner_leaves_no_lock(void **state)
{
    (void)state;
    nokv_db *db = NULL;
    owner_kill(owner_start(10));
    OK(nokv_open(dir, NULL, &db));
    nokv_value value = {0};
    uint64_t key = 9;
    OK(nokv_get(db, &key, sizeof key, NULL, &value));
    nokv_value_release(&value);
    OK(nokv_close(db));
}

/* A second handle in the same process is refused as well, and the refusal does not disturb the first one's lock. */
static void test_second_handle_of_one_process_is_refused(void **state)
{
    (void)state;
    nokv_db *db = NULL, *other = NULL;
    OK(nokv_open(dir, NULL, &db));
    for (int i = 0; i < 3; i++) {
        FAILS(BUSY, nokv_open(dir, NULL, &other));
        assert_busy_with(getpid());
    }
    OK(nokv_put(db, "k", 1, "v", 1, NULL));
    OK(nokv_close(db));
    OK(nokv_open(dir, NULL, &other));
    OK(nokv_close(other));
}

/* Read-only handles share a database with each other, and keep a writer out meanwhile. */
static void test_read_only_handles_share(void **state)
{
    (void)state;
    nokv_db *writer = NULL, *a = NULL, *b = NULL;
    nokv_options options;
    nokv_options_init(&options);
    options.read_only = true;
    FAILS(NOT_FOUND, nokv_open(dir, &options, &a));
    struct stat st;
    assert_int_equal(stat(dir, &st), -1); /* and nothing was created */
    OK(nokv_open(dir, NULL, &writer));
    OK(nokv_put(writer, "k", 1, "v", 1, NULL));
    OK(nokv_close(writer));
    OK(nokv_open(dir, &options, &a));
    OK(nokv_open(dir, &options, &b));
    FAILS(BUSY, nokv_open(dir, NULL, &writer));
    OK(nokv_close(a));
    OK(nokv_close(b));
    OK(nokv_open(dir, NULL, &writer));
    OK(nokv_close(writer));
}

/* ---- traces of a read-only handle ---------------------------------------------------------------------------------
 */

struct file_print {
    char name[256];
    struct stat st;
    uint64_t hash;
};

struct print {
    struct file_print files[FILES_MAX];
    size_t count;
    struct stat dir;
};

static uint64_t file_hash(const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    uint8_t buffer[4096];
    uint64_t hash = 1;
    for (size_t n = 0; (n = fread(buffer, 1, sizeof buffer, f)) > 0;)
        hash = hash * 31 + hash64(buffer, n);
    fclose(f);
    return hash;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct file_print *)a)->name, ((const struct file_print *)b)->name);
}

static void print_take(struct print *p)
{
    char path[600];
    DIR *d = opendir(dir);
    assert_non_null(d);
    p->count = 0;
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        struct file_print *f = &p->files[p->count];
        if (e->d_name[0] == '.')
            continue;
        assert_true(p->count < FILES_MAX);
        memset(f, 0, sizeof *f);
        snprintf(f->name, sizeof f->name, "%s", e->d_name);
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        f->hash = file_hash(path);
        assert_int_equal(stat(path, &f->st), 0);
        p->count++;
    }
    closedir(d);
    qsort(p->files, p->count, sizeof p->files[0], compare_names);
    assert_int_equal(stat(dir, &p->dir), 0);
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static void print_compare(const struct print *before, const struct print *after)
{
    assert_int_equal(before->count, after->count);
    assert_true(same_time(before->dir.st_mtim, after->dir.st_mtim));
    for (size_t i = 0; i < before->count; i++) {
        const struct file_print *a = &before->files[i], *b = &after->files[i];
        assert_string_equal(a->name, b->name);
        if (a->st.st_size != b->st.st_size || a->hash != b->hash || a->st.st_ino != b->st.st_ino ||
            a->st.st_blocks != b->st.st_blocks || !same_time(a->st.st_mtim, b->st.st_mtim) ||
            !same_time(a->st.st_ctim, b->st.st_ctim))
            fail_msg("%s was changed", a->name);
    }
}

static void read_everything(nokv_db *db, uint64_t keys)
{
    nokv_iter *it = NULL;
    nokv_verify_report report;
    nokv_stats stats = {.struct_size = sizeof stats};
    uint64_t shown = 0;
    OK(nokv_iter_create(db, NULL, &it));
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it))
        shown++;
    OK(nokv_iter_status(it));
    nokv_iter_destroy(it);
    assert_int_equal(shown, keys);
    for (uint64_t i = 0; i < keys; i++) {
        nokv_value value = {0};
        OK(nokv_get(db, &i, sizeof i, NULL, &value));
        nokv_value_release(&value);
    }
    OK(nokv_verify(db, NULL, NULL, &report));
    OK(nokv_stats_get(db, true, &stats));
    OK(nokv_wait_idle(db));
}

static void refuse_every_write(nokv_db *db)
{
    nokv_batch *batch = NULL;
    OK(nokv_batch_create(&batch));
    OK(nokv_batch_put(batch, "k", 1, "v", 1));
    FAILS(READ_ONLY, nokv_put(db, "k", 1, "v", 1, NULL));
    FAILS(READ_ONLY, nokv_delete(db, "k", 1, NULL));
    FAILS(READ_ONLY, nokv_write(db, batch, NULL));
    FAILS(READ_ONLY, nokv_flush(db));
    FAILS(READ_ONLY, nokv_sync_wal(db));
    FAILS(READ_ONLY, nokv_compact_range(db, NULL, 0, NULL, 0));
    nokv_batch_destroy(batch);
}

/* A read-only handle on what a killed process left (tables, logs, and records that only the shared buffer holds) shows
 * every write and changes not one byte, time or name; nor does it on a database that was closed. */
static void test_read_only_leaves_no_trace(void **state)
{
    (void)state;
    static struct print before, after;
    nokv_db *db = NULL;
    nokv_options options;
    nokv_options_init(&options);
    options.read_only = true;
    owner_kill(owner_start(KEYS));
    for (int round = 0; round < 2; round++) {
        print_take(&before);
        OK(nokv_open(dir, &options, &db));
        read_everything(db, KEYS);
        refuse_every_write(db);
        OK(nokv_close(db));
        print_take(&after);
        print_compare(&before, &after);
        OK(nokv_open(dir, NULL, &db)); /* repairs, so that the second round sees a database at rest */
        OK(nokv_close(db));
    }
    print_take(&after);
    assert_true(!same_time(before.dir.st_mtim, after.dir.st_mtim)); /* it would have been noticed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_second_process_is_told_who_has_it, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_killed_owner_leaves_no_lock, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_second_handle_of_one_process_is_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_read_only_handles_share, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_read_only_leaves_no_trace, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
