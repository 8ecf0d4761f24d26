// SPDX-License-Identifier: Apache-2.0
/*
 * residency_test.c - nokv_residency: the order and the sums of what it hands out, and that it holds against a database
 * that is written to, merged and opened anew at the same time. On the real disk.
 */
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "nokv/nokv.h"
#include "test.h"

enum { KEYS = 4000, VALUE_BYTES = 200 };

struct scene {
    char dir[256];
    char path[300];
    nokv_options options;
};

static void scene_init(struct scene *s)
{
    test_dir_create(s->dir);
    snprintf(s->path, sizeof s->path, "%s/db", s->dir);
    nokv_options_init(&s->options);
    s->options.memtable_bytes = s->options.table_bytes = s->options.level_base_bytes = 64 << 10;
    s->options.wal_buffer_bytes = 64 << 10;
    s->options.level_ratio = 2;
    s->options.l0_busy_files = 4;
    s->options.value_separation_min = 150;
}

/* Every third value goes to the value log. */
static void keys_put(nokv_db *db, uint64_t round)
{
    char key[32], value[VALUE_BYTES] = {0};
    for (uint64_t i = 0; i < KEYS; i++) {
        int size = snprintf(key, sizeof key, "key%06llu", (unsigned long long)(i * 7919 % KEYS));
        memcpy(value, &round, sizeof round);
        OK(nokv_put(db, key, (size_t)size, value, i % 3 == 0 ? VALUE_BYTES : 100, NULL));
    }
}

static void database_fill(struct scene *s)
{
    nokv_db *db = NULL;
    s->options.inline_background_work = true;
    OK(nokv_open(s->path, &s->options, &db));
    keys_put(db, 0);
    OK(nokv_compact_range(db, NULL, 0, NULL, 0));
    keys_put(db, 1);
    OK(nokv_close(db));
    s->options.inline_background_work = false;
}

struct found {
    const struct scene *scene;
    size_t files, stop_after; /* 0: never */
    size_t tables, levels, segments, maps;
    uint64_t ranges;
    int place, level; /* of the file before */
    uint64_t number;
};

static void ranges_check(const nokv_residency_file *f)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < f->range_count; i++) {
        uint64_t off = i * f->range_bytes;
        uint64_t size = f->bytes - off < f->range_bytes ? f->bytes - off : f->range_bytes;
        assert_true(f->resident_ranges[i] <= size);
        sum += f->resident_ranges[i];
    }
    if (f->range_count > 0) {
        assert_true(f->range_bytes % 4096 == 0 && (f->range_bytes & (f->range_bytes - 1)) == 0);
        assert_int_equal(f->range_count, (f->bytes + f->range_bytes - 1) / f->range_bytes);
        /* Nobody reads or evicts these files now; of the last page the map counts what the file has of it. */
        assert_true(sum <= f->resident_bytes && f->resident_bytes - sum < 4096);
    }
}

/* WAL, MANIFEST, tables by level, segments by number. */
static void place_check(struct found *found, const nokv_residency_file *f)
{
    const char *digits = strrchr(f->name, '/') ? strrchr(f->name, '/') + 1 : f->name;
    uint64_t number = strtoull(digits, NULL, 10);
    int place = strstr(f->name, "BUF") ? found->place : (int)f->kind;
    assert_true(place >= found->place);
    if (place == found->place && f->level == 0 && found->level == 0)
        assert_true(number < found->number); /* the newest first */
    if (f->kind == NOKV_FILE_SST)
        assert_true(f->level >= found->level);
    if (f->kind == NOKV_FILE_VLOG && place == found->place && found->segments > 1)
        assert_true(number > found->number);
    found->levels += f->kind == NOKV_FILE_SST && f->level > found->level;
    found->place = place;
    found->level = f->kind == NOKV_FILE_SST ? f->level : -1;
    found->number = number;
}

static bool file_check(void *arg, const nokv_residency_file *f)
{
    struct found *found = arg;
    struct stat st;
    char path[600];
    snprintf(path, sizeof path, "%s/%s", found->scene->path, f->name);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(f->bytes, st.st_size);
    assert_true(f->resident_bytes == UINT64_MAX || f->resident_bytes <= f->bytes);
    found->files++;
    found->tables += f->kind == NOKV_FILE_SST;
    found->segments += f->kind == NOKV_FILE_VLOG && strncmp(f->name, "vlog/", 5) == 0;
    found->maps += f->range_count > 0;
    found->ranges += f->range_count;
    place_check(found, f);
    ranges_check(f);
    if (f->kind == NOKV_FILE_SST) {
        assert_int_equal(f->data.off, 4096);
        assert_int_equal(f->filter.off, f->data.off + f->data.bytes);
        assert_int_equal(f->index.off, f->filter.off + f->filter.bytes);
        assert_true(f->index.bytes > 0 && f->index.off + f->index.bytes + 8192 == f->bytes);
    } else {
        assert_int_equal(f->level, -1);
        assert_int_equal(f->data.bytes + f->filter.bytes + f->index.bytes, 0);
    }
    return found->files != found->stop_after;
}

/* Files come in the order that is promised, their maps add up, their number is what ranges_max allows, fn can stop. */
static void test_what_is_handed_out(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    database_fill(&s);
    struct found plain = {.scene = &s, .level = -1}, stopped = {.scene = &s, .level = -1, .stop_after = 3};
    OK(nokv_residency(s.path, 0, file_check, &plain));
    assert_true(plain.tables > 3 && plain.levels > 1 && plain.segments > 0);
    assert_int_equal(plain.maps, 0);
    OK(nokv_residency(s.path, 0, file_check, &stopped));
    assert_int_equal(stopped.files, 3);
    for (size_t ranges_max = 1; ranges_max < 100000; ranges_max *= 10) {
        struct found mapped = {.scene = &s, .level = -1};
        OK(nokv_residency(s.path, ranges_max, file_check, &mapped));
        assert_int_equal(mapped.files, plain.files);
        assert_true(mapped.ranges <= ranges_max + mapped.files * 31);
    }
    test_dir_remove(s.dir);
}

/* What the caller gets wrong, and where there is no database, are said. */
static void test_errors(void **state)
{
    (void)state;
    struct scene s;
    struct found found = {.scene = &s, .level = -1};
    scene_init(&s);
    FAILS(INVALID, nokv_residency(NULL, 0, file_check, &found));
    FAILS(INVALID, nokv_residency(s.path, 0, NULL, &found));
    FAILS(NOT_FOUND, nokv_residency(s.path, 0, file_check, &found));
    FAILS(NOT_FOUND, nokv_residency(s.dir, 0, file_check, &found)); /* a directory, and no database */
    assert_non_null(strstr(nokv_error_message(), "holds no database"));
    assert_int_equal(found.files, 0);
    test_dir_remove(s.dir);
}

/* Whichever allocation fails: NO_MEMORY, nothing leaks, and the next call works. */
static void test_no_memory(void **state)
{
    (void)state;
    struct scene s;
    enum nokv_status status = NOKV_ERR_NO_MEMORY;
    scene_init(&s);
    database_fill(&s);
    for (uint64_t k = 0; status != NOKV_OK; k++) {
        struct found found = {.scene = &s, .level = -1};
        mem_fail_after(k);
        status = nokv_residency(s.path, 1000, file_check, &found);
        mem_fail_after(UINT64_MAX);
        assert_true(status == NOKV_OK || status == NOKV_ERR_NO_MEMORY);
    }
    test_dir_remove(s.dir);
}

struct owner {
    struct scene *scene;
    _Atomic bool is_done;
};

/* Opens, writes, merges and closes: logs, tables and MANIFESTs come and go. */
static void *owner_run(void *arg)
{
    struct owner *o = arg;
    for (uint64_t round = 2; round < 5; round++) {
        nokv_db *db = NULL;
        OK(nokv_open(o->scene->path, &o->scene->options, &db));
        keys_put(db, round);
        if (round % 2 == 0)
            OK(nokv_compact_range(db, NULL, 0, NULL, 0));
        OK(nokv_close(db));
    }
    for (int i = 0; i < 20; i++) {
        nokv_db *db = NULL;
        OK(nokv_open(o->scene->path, &o->scene->options, &db));
        OK(nokv_close(db));
    }
    atomic_store(&o->is_done, true);
    return NULL;
}

static bool file_count(void *arg, const nokv_residency_file *f)
{
    uint64_t *bytes = arg;
    *bytes += f->bytes;
    assert_true(f->resident_bytes == UINT64_MAX || f->resident_bytes <= f->bytes);
    return true;
}

/* A database that is written to, merged, closed and opened again meanwhile is never reported as damaged or missing. */
static void test_beside_the_owner(void **state)
{
    (void)state;
    struct scene s;
    struct owner owner = {.scene = &s};
    pthread_t thread;
    uint64_t looks = 0;
    scene_init(&s);
    database_fill(&s);
    OK(thread_create(&thread, "owner", owner_run, &owner));
    while (!atomic_load(&owner.is_done)) {
        uint64_t bytes = 0;
        OK(nokv_residency(s.path, 100, file_count, &bytes));
        assert_true(bytes > 0);
        looks++;
    }
    thread_join(thread);
    assert_true(looks > 0);
    test_dir_remove(s.dir);
}

struct parts {
    uint64_t empty_filters, unknown;
};

static bool parts_count(void *arg, const nokv_residency_file *f)
{
    struct parts *p = arg;
    if (f->resident_bytes == UINT64_MAX) {
        p->unknown++;
        assert_string_equal(f->name, "000999.sst");
        assert_int_equal(f->data.bytes + f->range_count, 0);
    } else if (f->kind == NOKV_FILE_SST) {
        assert_int_equal(f->filter.bytes + f->filter.resident_bytes, 0);
        p->empty_filters++;
    }
    assert_null(strstr(f->name, "notes"));
    return true;
}

/* Tables without a filter have none of it in memory, other people's files are left out, and of what cannot be opened
 * only the name is told. */
static void test_odd_files(void **state)
{
    (void)state;
    struct scene s;
    struct parts parts = {0};
    char path[400];
    scene_init(&s);
    s.options.filter_bits_per_key = UINT32_MAX;
    database_fill(&s);
    snprintf(path, sizeof path, "%s/vlog/notes", s.path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    snprintf(path, sizeof path, "%s/000999.sst", s.path);
    assert_int_equal(mknod(path, S_IFSOCK | 0600, 0), 0);
    OK(nokv_residency(s.path, 1000, parts_count, &parts));
    assert_true(parts.empty_filters > 3);
    assert_int_equal(parts.unknown, 1);
    test_dir_remove(s.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_handed_out), cmocka_unit_test(test_errors),    cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_beside_the_owner),   cmocka_unit_test(test_odd_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
