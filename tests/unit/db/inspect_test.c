// SPDX-License-Identifier: Apache-2.0
/*
 * inspect_test.c - looking at a database from outside: dumps of its files, figures, verification, and removing it. On
 * the real disk, because these calls make their own environment.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "db/db.h"
#include "lsm/names.h"
#include "sst/reader.h"
#include "test.h"

struct scene {
    char dir[256]; /* the database is "db" in it */
    char path[300];
    nokv_db *db;
};

static void scene_open(struct scene *s)
{
    nokv_options o;
    nokv_options_init(&o);
    o.memtable_bytes = 64 << 10;
    o.wal_buffer_bytes = 64 << 10;
    OK(nokv_open(s->path, &o, &s->db));
}

static void scene_init(struct scene *s)
{
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    test_dir_create(s->dir);
    snprintf(s->path, sizeof s->path, "%s/db", s->dir);
    scene_open(s);
}

static void scene_close(struct scene *s)
{
    OK(nokv_close(s->db));
    s->db = NULL;
}

static void scene_deinit(struct scene *s)
{
    if (s->db)
        scene_close(s);
    test_dir_remove(s->dir);
}

static void put(struct scene *s, const char *key, const char *value)
{
    OK(nokv_put(s->db, key, strlen(key), value, strlen(value), NULL));
}

static nokv_stats stats_of(struct scene *s)
{
    nokv_stats stats = {.struct_size = sizeof stats};
    OK(nokv_stats_get(s->db, true, &stats));
    return stats;
}

/* The one file of a kind; with several, the newest. */
static void file_find(const struct scene *s, enum file_type type, char out[600])
{
    char path[PATH_SIZE_MAX];
    bool found = false;
    for (uint64_t n = 1; n < 100; n++) {
        OK(type == FILE_WAL    ? path_wal(path, s->path, n)
           : type == FILE_SST  ? path_sst(path, s->path, n)
           : type == FILE_VLOG ? path_vlog(path, s->path, n)
                               : path_manifest(path, s->path, n));
        if (access(path, F_OK) != 0)
            continue;
        snprintf(out, 600, "%s", path);
        found = true;
    }
    assert_true(found);
}

/* ---- dumps ------------------------------------------------------------------------------------------------------ */

struct text {
    char bytes[1 << 16];
    size_t size, lines, lines_max;
};

static bool text_line(void *arg, const char *line)
{
    struct text *t = arg;
    assert_null(strchr(line, '\n'));
    t->size += (size_t)snprintf(t->bytes + t->size, sizeof t->bytes - t->size, "%s\n", line);
    assert_true(t->size < sizeof t->bytes);
    return ++t->lines < t->lines_max;
}

static nokv_status dump(const char *path, nokv_file_kind kind, struct text *t)
{
    *t = (struct text){.lines_max = SIZE_MAX};
    return nokv_dump_file(path, kind, text_line, t);
}

static void assert_has(const struct text *t, const char *part)
{
    if (strstr(t->bytes, part) == NULL)
        fail_msg("no \"%s\" in:\n%s", part, t->bytes);
}

static void bit_flip(const char *path, long off)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, off, SEEK_SET);
    int c = fgetc(file);
    fseek(file, off, SEEK_SET);
    fputc(c ^ 4, file);
    assert_int_equal(fclose(file), 0);
}

/* The records of a log are shown with what they write, one entry a line, bytes that do not print as \xNN. */
static void test_dump_wal(void **state)
{
    (void)state;
    static struct text t;
    struct scene s;
    char path[600];
    scene_init(&s);
    put(&s, "apple", "green");
    OK(nokv_put(s.db, "\x00\xff\\", 3, NULL, 0, NULL));
    OK(nokv_delete(s.db, "pear", 4, NULL));
    scene_close(&s);
    file_find(&s, FILE_WAL, path);
    OK(dump(path, NOKV_FILE_WAL, &t));
    assert_has(&t, "batch of 1, sequence 1");
    assert_has(&t, "1 put apple (5 bytes) green");
    assert_has(&t, "2 put \\x00\\xff\\x5c (0 bytes)");
    assert_has(&t, "3 delete pear");
    assert_has(&t, "3 records, sealed");
    t = (struct text){.lines_max = 2};
    OK(nokv_dump_file(path, NOKV_FILE_WAL, text_line, &t));
    assert_int_equal(t.lines, 2); /* stopped when told to */
    bit_flip(path, 64 + 20);
    FAILS(CORRUPT, dump(path, NOKV_FILE_WAL, &t));
    assert_has(&t, "damaged:");
    scene_deinit(&s);
}

/* A MANIFEST is shown edit by edit, a table block by block. */
static void test_dump_manifest_and_table(void **state)
{
    (void)state;
    static struct text t;
    struct scene s;
    char manifest[600], table[600];
    scene_init(&s);
    put(&s, "apple", "green");
    put(&s, "pear", "yellow");
    OK(nokv_flush(s.db));
    file_find(&s, FILE_MANIFEST, manifest);
    file_find(&s, FILE_SST, table);
    scene_close(&s);
    OK(dump(manifest, NOKV_FILE_MANIFEST, &t));
    assert_has(&t, "edit: log ");
    assert_has(&t, "+ level 0 table ");
    assert_has(&t, "2 entries, sequence 1..2, apple .. pear");
    OK(dump(table, NOKV_FILE_SST, &t));
    assert_has(&t, "apple");
    assert_has(&t, "pear");
    bit_flip(table, 4096 + 40);
    FAILS(CORRUPT, dump(table, NOKV_FILE_SST, &t));
    scene_deinit(&s);
}

/* What cannot be dumped is said, not guessed at. */
static void test_dump_refuses(void **state)
{
    (void)state;
    static struct text t;
    struct scene s;
    char wal[600];
    scene_init(&s);
    file_find(&s, FILE_WAL, wal);
    FAILS(INVALID, nokv_dump_file(NULL, NOKV_FILE_WAL, text_line, &t));
    FAILS(INVALID, nokv_dump_file(wal, NOKV_FILE_WAL, NULL, NULL));
    FAILS(INVALID, dump(wal, NOKV_FILE_MANIFEST, &t));
    FAILS(INVALID, dump(wal, (nokv_file_kind)9, &t));
    FAILS(INVALID, dump("notes.txt", NOKV_FILE_WAL, &t));
    char missing[700];
    snprintf(missing, sizeof missing, "%s/000099.wal", s.path);
    FAILS(NOT_FOUND, dump(missing, NOKV_FILE_WAL, &t));
    scene_deinit(&s);
}

/* ---- figures ---------------------------------------------------------------------------------------------------- */

/* The figures are those of what was done. */
static void test_stats(void **state)
{
    (void)state;
    struct scene s;
    nokv_value value = {0};
    nokv_batch *batch = NULL;
    nokv_iter *it = NULL;
    const nokv_snapshot *snapshot = NULL;
    scene_init(&s);
    for (int i = 0; i < 10; i++) {
        char key[2] = {(char)('a' + i), 0};
        put(&s, key, "12345");
    }
    OK(nokv_delete(s.db, "a", 1, NULL));
    OK(nokv_batch_create(&batch));
    OK(nokv_batch_put(batch, "x", 1, "1", 1));
    OK(nokv_batch_delete(batch, "b", 1));
    OK(nokv_write(s.db, batch, NULL));
    OK(nokv_get(s.db, "c", 1, NULL, &value));
    nokv_value_release(&value);
    FAILS(NOT_FOUND, nokv_get(s.db, "a", 1, NULL, &value));
    OK(nokv_iter_create(s.db, NULL, &it));
    OK(nokv_snapshot_create(s.db, &snapshot));
    nokv_stats st = stats_of(&s);
    assert_int_equal(st.sequence, 13);
    assert_int_equal(st.puts, 11);
    assert_int_equal(st.deletes, 2);
    assert_int_equal(st.batches, 1);
    assert_int_equal(st.gets, 2);
    assert_int_equal(st.gets_found, 1);
    assert_int_equal(st.iterators, 1);
    assert_int_equal(st.snapshots, 1);
    assert_int_equal(st.user_bytes_written, 10 * 6 + 1 + 2 + 1);
    assert_int_equal(st.wal_records, 12);
    assert_int_equal(st.background_error, NOKV_OK);
    assert_true(st.memtable_bytes > 0 && st.memtable_bytes < 64 << 10);
    assert_string_equal(st.components[NOKV_COMPONENT_WAL].name, "wal");
    assert_string_equal(st.components[NOKV_COMPONENT_SST].model, "mmap");
    nokv_snapshot_release(s.db, snapshot);
    nokv_iter_destroy(it);
    nokv_batch_destroy(batch);
    OK(nokv_compact_range(s.db, NULL, 0, NULL, 0));
    OK(nokv_wait_idle(s.db));
    st = stats_of(&s);
    assert_int_equal(st.flushes, 1);
    assert_int_equal(st.compactions, 1);
    assert_int_equal(st.levels[7].files, 1);
    assert_int_equal(st.levels[7].entries, 9);
    assert_int_equal(st.levels[7].tombstones, 0);
    assert_int_equal(st.components[NOKV_COMPONENT_SST].files, 1);
    assert_int_equal(st.components[NOKV_COMPONENT_SST].bytes, st.levels[7].bytes);
    assert_true(st.components[NOKV_COMPONENT_SST].resident_bytes <= st.levels[7].bytes);
    assert_int_equal(st.snapshots + st.immutable_count, 0);
    scene_deinit(&s);
}

/* The text has the figures, and an older or a careless caller is served or told. */
static void test_stats_text_and_sizes(void **state)
{
    (void)state;
    struct scene s;
    char *text = NULL;
    scene_init(&s);
    put(&s, "k", "v");
    OK(nokv_stats_text(s.db, &text));
    assert_non_null(strstr(text, "sequence 1, puts 1"));
    assert_non_null(strstr(text, "level "));
    assert_non_null(strstr(text, "manifest"));
    nokv_free(text);
    nokv_free(NULL);
    union {
        nokv_stats s;
        uint8_t bytes[sizeof(nokv_stats)];
    } older;
    memset(&older, 0xee, sizeof older);
    older.s.struct_size = offsetof(nokv_stats, snapshots);
    OK(nokv_stats_get(s.db, false, &older.s));
    assert_int_equal(older.s.puts, 1);
    for (size_t i = offsetof(nokv_stats, snapshots); i < sizeof older; i++)
        assert_int_equal(older.bytes[i], 0xee);
    older.s.struct_size = 0;
    FAILS(INVALID, nokv_stats_get(s.db, false, &older.s));
    FAILS(INVALID, nokv_stats_get(s.db, false, NULL));
    scene_deinit(&s);
}

/* ---- verification ----------------------------------------------------------------------------------------------- */

static bool stop_at_once(void *arg, uint64_t done, uint64_t total)
{
    ++*(int *)arg;
    assert_true(done <= total);
    return false;
}

/* A sound database is verified whole, progress may stop it, and a damaged table is found. */
static void test_verify(void **state)
{
    (void)state;
    struct scene s;
    nokv_verify_report report = {0};
    int calls = 0;
    char table[600];
    scene_init(&s);
    put(&s, "apple", "green");
    OK(nokv_flush(s.db));
    put(&s, "pear", "yellow");
    OK(nokv_flush(s.db));
    OK(nokv_verify(s.db, NULL, NULL, &report));
    assert_int_equal(report.entries, 2);
    assert_int_equal(report.files, 2);
    assert_true(report.blocks >= 2 && report.bytes > 0);
    FAILS(ABORTED, nokv_verify(s.db, stop_at_once, &calls, &report));
    assert_int_equal(calls, 1);
    scene_close(&s);
    file_find(&s, FILE_SST, table);
    bit_flip(table, 4096 + 40);
    scene_open(&s);
    FAILS(CORRUPT, nokv_verify(s.db, NULL, NULL, &report));
    assert_non_null(strstr(nokv_error_message(), table));
    scene_deinit(&s);
}

/* ---- removing it ------------------------------------------------------------------------------------------------ */

/* A database is removed whole, with its directory; not while it is open, and not somebody else's files. */
static void test_destroy(void **state)
{
    (void)state;
    struct scene s;
    char foreign[600];
    FAILS(INVALID, nokv_destroy(NULL));
    FAILS(INVALID, nokv_destroy(""));
    scene_init(&s);
    put(&s, "k", "v");
    OK(nokv_flush(s.db));
    FAILS(BUSY, nokv_destroy(s.path));
    put(&s, "k", "w");
    scene_close(&s);
    OK(nokv_destroy(s.path));
    assert_int_not_equal(access(s.path, F_OK), 0);
    FAILS(NOT_FOUND, nokv_destroy(s.path));

    scene_open(&s);
    scene_close(&s);
    snprintf(foreign, sizeof foreign, "%s/notes.txt", s.path);
    FILE *file = fopen(foreign, "w");
    assert_non_null(file);
    fclose(file);
    OK(nokv_destroy(s.path));
    assert_int_equal(access(foreign, F_OK), 0);
    FAILS(NOT_FOUND, nokv_destroy(s.path)); /* what is left is no database */
    assert_int_equal(access(foreign, F_OK), 0);
    scene_open(&s); /* and may become one */
    scene_deinit(&s);
}

/* Removing a database that lost files, or CURRENT, removes the rest. */
static void test_destroy_of_a_damaged_one(void **state)
{
    (void)state;
    struct scene s;
    char path[600];
    scene_init(&s);
    put(&s, "k", "v");
    OK(nokv_flush(s.db));
    scene_close(&s);
    file_find(&s, FILE_SST, path);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/CURRENT", s.path);
    assert_int_equal(unlink(path), 0);
    OK(nokv_destroy(s.path));
    assert_int_not_equal(access(s.path, F_OK), 0);
    scene_deinit(&s);
}

/* A database whose directory of values is gone is removed as any other. */
static void test_destroy_without_values(void **state)
{
    (void)state;
    struct scene s;
    char path[600];
    scene_init(&s);
    put(&s, "k", "v");
    scene_close(&s);
    snprintf(path, sizeof path, "%s/vlog", s.path);
    assert_int_equal(rmdir(path), 0);
    OK(nokv_destroy(s.path));
    assert_int_not_equal(access(s.path, F_OK), 0);
    scene_deinit(&s);
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

enum { LARGE_BYTES = 20000, LARGE_COUNT = 4 };

/* They go to a segment of the value log. */
static void large_put(struct scene *s)
{
    static char value[LARGE_BYTES];
    for (char i = 0; i < LARGE_COUNT; i++) {
        char key = (char)('a' + i);
        memset(value, key, sizeof value);
        OK(nokv_put(s->db, &key, 1, value, sizeof value, NULL));
    }
}

static void large_check(struct scene *s)
{
    for (char i = 0; i < LARGE_COUNT; i++) {
        char key = (char)('a' + i);
        nokv_value value = {0};
        OK(nokv_get(s->db, &key, 1, NULL, &value));
        assert_int_equal(value.size, LARGE_BYTES);
        assert_int_equal(((const char *)value.data)[LARGE_BYTES - 1], key);
        nokv_value_release(&value);
    }
}

struct salvaged {
    size_t count, stop_after;
};

static bool salvaged_count(void *arg, const nokv_salvage_record *record)
{
    struct salvaged *s = arg;
    assert_int_equal(record->key.size, 1);
    assert_int_equal(record->value.size, LARGE_BYTES);
    assert_int_equal(((const char *)record->value.data)[0], ((const char *)record->key.data)[0]);
    return ++s->count != s->stop_after;
}

/* A segment's records are handed out without the database, until who takes them has enough. */
static void test_salvage(void **state)
{
    (void)state;
    struct scene s;
    char path[600];
    nokv_salvage_report report = {0};
    struct salvaged all = {0}, two = {.stop_after = 2};
    scene_init(&s);
    large_put(&s);
    scene_close(&s);
    file_find(&s, FILE_VLOG, path);
    FAILS(INVALID, nokv_vlog_salvage(NULL, salvaged_count, &all, &report));
    FAILS(INVALID, nokv_vlog_salvage(path, NULL, &all, &report));
    FAILS(INVALID, nokv_vlog_salvage(path, salvaged_count, &all, NULL));
    OK(nokv_vlog_salvage(path, salvaged_count, &all, &report));
    assert_int_equal(all.count, LARGE_COUNT);
    assert_int_equal(report.records, LARGE_COUNT);
    assert_int_equal(report.damaged_bytes, 0);
    assert_true(report.sealed);
    FAILS(ABORTED, nokv_vlog_salvage(path, salvaged_count, &two, &report));
    assert_int_equal(two.count, 2);
    scene_deinit(&s);
}

/* Files of the value log's directory that are not ours, or cannot be opened, are no part of what is in memory; a table
 * that could not be read in part is told in the text. */
static void test_stats_of_odd_files(void **state)
{
    (void)state;
    struct scene s;
    char path[600];
    char *text = NULL;
    scene_init(&s);
    large_put(&s);
    OK(nokv_flush(s.db));
    uint64_t before = stats_of(&s).components[NOKV_COMPONENT_VLOG].resident_bytes;
    snprintf(path, sizeof path, "%s/vlog/notes", s.path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("not a segment", file) > 0);
    assert_int_equal(fclose(file), 0);
    snprintf(path, sizeof path, "%s/vlog/000999.vlog", s.path);
    assert_int_equal(mknod(path, S_IFSOCK | 0600, 0), 0);
    assert_int_equal(stats_of(&s).components[NOKV_COMPONENT_VLOG].resident_bytes, before);
    struct version *v = s.db->version;
    size_t level = 0;
    while (v->levels[level].count == 0)
        level++;
    atomic_store(&v->levels[level].tables[0]->reader->is_faulted, true);
    OK(nokv_stats_text(s.db, &text));
    assert_non_null(strstr(text, "files that could not be read in part: 1 "));
    nokv_free(text);
    assert_int_equal(unlink(path), 0);
    scene_deinit(&s);
}

/* ---- what a process leaves --------------------------------------------------------------------------------------- */

/* A shared buffer that is larger than any is CORRUPT: nobody reads gigabytes of it. */
static void test_huge_buffers(void **state)
{
    (void)state;
    static const char *const names[] = {"WALBUF", "VLOGBUF"};
    struct scene s;
    struct stat st;
    char path[600];
    scene_init(&s);
    large_put(&s);
    scene_close(&s);
    nokv_options o;
    nokv_options_init(&o);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", s.path, names[i]);
        off_t size = stat(path, &st) == 0 ? st.st_size : 0;
        close(open(path, O_CREAT | O_WRONLY, 0600));
        assert_int_equal(truncate(path, (1ll << 30) + 4096), 0);
        FAILS(CORRUPT, nokv_open(s.path, &o, &s.db));
        assert_non_null(strstr(nokv_error_message(), names[i]));
        assert_int_equal(truncate(path, size), 0);
    }
    scene_open(&s);
    large_check(&s);
    scene_deinit(&s);
}

/* What a killed process had reserved in a segment, and never wrote to, is given back by the next open. */
static void test_reserved_space_is_given_back(void **state)
{
    (void)state;
    struct scene s;
    struct stat before, after;
    char path[600];
    scene_init(&s);
    scene_close(&s);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        scene_open(&s);
        large_put(&s);
        OK(nokv_flush(s.db));
        test_exit(0);
    }
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    file_find(&s, FILE_VLOG, path);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(truncate(path, before.st_size + (8 << 20)), 0);
    scene_open(&s);
    large_check(&s);
    scene_close(&s);
    assert_int_equal(stat(path, &after), 0);
    assert_true(after.st_size < before.st_size + (4 << 20));
    scene_open(&s);
    large_check(&s);
    scene_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dump_wal),
        cmocka_unit_test(test_dump_manifest_and_table),
        cmocka_unit_test(test_dump_refuses),
        cmocka_unit_test(test_stats),
        cmocka_unit_test(test_stats_text_and_sizes),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_destroy),
        cmocka_unit_test(test_destroy_of_a_damaged_one),
        cmocka_unit_test(test_destroy_without_values),
        cmocka_unit_test(test_salvage),
        cmocka_unit_test(test_stats_of_odd_files),
        cmocka_unit_test(test_huge_buffers),
        cmocka_unit_test(test_reserved_space_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
