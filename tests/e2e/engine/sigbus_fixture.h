// SPDX-License-Identifier: Apache-2.0
/*
 * sigbus_fixture.h - a live database whose files lose their bytes: scenarios that run in a child process, so that a
 * crash is a failed test and not the end of the run, and a set of keys whose values are made from their numbers.
 *
 * The database has RUNS sorted runs that overlap: key i was written, and flushed, with run i % RUNS. A reader looks
 * from the newest run to the oldest, so a key of a newer run is found without a look at the damaged one; a key of that
 * run or of an older one may be an error, and must never be "not found" or another value.
 */
#ifndef TESTS_E2E_ENGINE_SIGBUS_FIXTURE_H
#define TESTS_E2E_ENGINE_SIGBUS_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/thread.h"
#include "nokv/nokv.h"
#include "test.h"

enum { RUNS = 4, KEYS = 40000, KEY_SIZE = 40, VALUE_SIZE_MAX = 4096, SKIPPED = 77 };

/* As OK and assert_true are in the parent; in a child and its threads. */
#define CHECK(cond)                                                                               \
    do {                                                                                          \
        if (!(cond)) {                                                                            \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #cond, nokv_error_message()); \
            _exit(1);                                                                             \
        }                                                                                         \
    } while (0)
#define CHECK_OK(expr) CHECK((expr) == NOKV_OK)

/* Runs `scenario` in a child with a directory of its own; what it did not survive is said and fails. */
static inline void child_passes(void (*scenario)(const char *dir))
{
    char dir[256];
    int status = 0;
    test_dir_create(dir);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        /* the test library's own handlers would run the rest of the tests in the child */
        static const int deadly[] = {SIGBUS, SIGSEGV, SIGABRT, SIGILL, SIGFPE};
        for (size_t i = 0; i < ARRAY_COUNT(deadly); i++)
            signal(deadly[i], SIG_DFL);
        scenario(dir);
        fflush(NULL);
        test_exit(0);
    }
    if (pid > 0)
        (void)waitpid(pid, &status, 0);
    test_dir_remove(dir);
    assert_true(pid > 0);
    if (WIFSIGNALED(status))
        fail_msg("the child died of signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    if (WEXITSTATUS(status) == SKIPPED)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static inline bool is_damage(nokv_status status)
{
    return status == NOKV_ERR_IO || status == NOKV_ERR_CORRUPT;
}

/* ---- keys and values ------------------------------------------------------------------------------------------ */

/* Longer than what a merge remembers of a key, and alike for so long that it has to look at the key itself. */
static inline void key_make(unsigned i, char key[KEY_SIZE + 1])
{
    snprintf(key, KEY_SIZE + 1, "key-%08u-with-a-tail-that-is-alike-", i / 8);
    key[KEY_SIZE - 1] = (char)('a' + i % 8);
}

static inline size_t value_make(unsigned i, size_t size, uint8_t value[VALUE_SIZE_MAX])
{
    uint64_t random = i;
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = test_random(&random);
        memcpy(value + at, &word, 8);
    }
    return size;
}

struct bed {
    nokv_db *db;
    char path[300];
    unsigned keys;
    size_t value_size; /* a multiple of 8 */
    nokv_options options;
};

/* Sizes and options that keep the runs apart: nothing is compacted unless asked for. */
static inline void bed_init(struct bed *b, const char *dir, unsigned keys, size_t value_size)
{
    snprintf(b->path, sizeof b->path, "%s/db", dir);
    b->keys = keys;
    b->value_size = value_size;
    nokv_options_init(&b->options);
    b->options.l0_compact_files = 64;
    b->options.vlog_segment_bytes = 4 << 20;
}

static inline void bed_fill(struct bed *b)
{
    char key[KEY_SIZE + 1];
    uint8_t value[VALUE_SIZE_MAX];
    CHECK_OK(nokv_open(b->path, &b->options, &b->db));
    for (unsigned run = 0; run < RUNS; run++) {
        for (unsigned i = run; i < b->keys; i += RUNS) {
            key_make(i, key);
            CHECK_OK(nokv_put(b->db, key, KEY_SIZE, value, value_make(i, b->value_size, value), NULL));
        }
        CHECK_OK(nokv_flush(b->db));
    }
}

/* Either the right value (true) or damage; anything else ends the child. */
static inline bool key_check(const struct bed *b, unsigned i)
{
    char key[KEY_SIZE + 1];
    uint8_t value[VALUE_SIZE_MAX], got[VALUE_SIZE_MAX];
    size_t size = 0;
    nokv_value pinned = {0};
    key_make(i, key);
    nokv_status status = nokv_get_copy(b->db, key, KEY_SIZE, NULL, got, sizeof got, &size);
    CHECK(status == NOKV_OK || is_damage(status));
    if (status == NOKV_OK) {
        CHECK(size == value_make(i, b->value_size, value) && memcmp(got, value, size) == 0);
    }
    /* in place, without touching its bytes: they may be gone by now, and are the caller's to touch */
    nokv_status in_place = nokv_get(b->db, key, KEY_SIZE, NULL, &pinned);
    CHECK(in_place == NOKV_OK || is_damage(in_place));
    nokv_value_release(&pinned);
    return status == NOKV_OK;
}

/* How many of the keys of `run` are still right. */
static inline unsigned run_check(const struct bed *b, unsigned run)
{
    unsigned right = 0;
    for (unsigned i = run; i < b->keys; i += RUNS)
        right += key_check(b, i);
    return right;
}

static inline void all_hot(const struct bed *b)
{
    nokv_iter *iter;
    for (unsigned run = 0; run < RUNS; run++)
        CHECK(run_check(b, run) == b->keys / RUNS);
    CHECK_OK(nokv_iter_create(b->db, NULL, &iter));
    unsigned count = 0;
    for (nokv_iter_first(iter); nokv_iter_valid(iter); nokv_iter_next(iter))
        count += nokv_iter_value(iter).data != NULL;
    CHECK(nokv_iter_status(iter) == NOKV_OK && count == b->keys);
    nokv_iter_destroy(iter);
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

static inline int names_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The path of the index-th file below `dir` whose name ends in `suffix`, by name (numbers have leading zeros). */
static inline void file_find(const char *dir, const char *suffix, unsigned index, char path[600])
{
    char names[64][64];
    unsigned count = 0;
    DIR *d = opendir(dir);
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d)) != NULL && count < ARRAY_COUNT(names);) {
        size_t size = strlen(e->d_name);
        if (size < sizeof names[0] && size > strlen(suffix) && strcmp(e->d_name + size - strlen(suffix), suffix) == 0)
            memcpy(names[count++], e->d_name, size + 1);
    }
    closedir(d);
    CHECK(index < count);
    qsort(names, count, sizeof names[0], names_compare);
    snprintf(path, 600, "%s/%s", dir, names[index]);
}

/* Cuts the file to half, `beyond` bytes behind the beginning of a page, as a stranger would. */
static inline void file_cut(const char *path, off_t beyond)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 16 * 4096);
    CHECK(ftruncate(fd, st.st_size / 2 / 4096 * 4096 + beyond) == 0);
    close(fd);
}

static inline void file_halve(const char *path)
{
    file_cut(path, 0);
}

/* ---- iterators ------------------------------------------------------------------------------------------------ */

enum way { FORWARD, BACKWARD, TURNING };

static inline bool iter_move(nokv_iter *iter, enum way way, unsigned n)
{
    bool forward = way == FORWARD || (way == TURNING && n % 7 < 4);
    forward ? nokv_iter_next(iter) : nokv_iter_prev(iter);
    return nokv_iter_valid(iter);
}

static inline void iter_begin(nokv_iter *iter, enum way way)
{
    way == BACKWARD ? nokv_iter_last(iter) : nokv_iter_first(iter);
}

/* Walks at most `count` entries; true when it is still valid then. */
static inline bool iter_walk(nokv_iter *iter, enum way way, unsigned count)
{
    for (unsigned n = 0; n < count && nokv_iter_valid(iter); n++)
        iter_move(iter, way, n);
    return nokv_iter_valid(iter);
}

/* It ended before it showed everything, and said so. */
static inline void iter_is_damaged(nokv_iter *iter)
{
    CHECK(!nokv_iter_valid(iter) && is_damage(nokv_iter_status(iter)));
}

/* ---- other threads -------------------------------------------------------------------------------------------- */

struct bystander {
    const struct bed *bed;
    unsigned first_run; /* reads keys of this run and of newer ones */
    pthread_t thread;
    _Atomic bool stop;
    _Atomic uint64_t rounds;
};

static inline void *bystander_main(void *arg)
{
    struct bystander *s = arg;
    uint64_t random = 1;
    while (!atomic_load(&s->stop)) {
        for (int n = 0; n < 100; n++) {
            unsigned run = s->first_run + (unsigned)(test_random(&random) % (RUNS - s->first_run));
            CHECK(key_check(s->bed, (unsigned)(test_random(&random) % (s->bed->keys / RUNS)) * RUNS + run));
        }
        atomic_fetch_add(&s->rounds, 1);
    }
    return NULL;
}

static inline void bystander_start(struct bystander *s, const struct bed *bed, unsigned first_run)
{
    *s = (struct bystander){.bed = bed, .first_run = first_run};
    CHECK_OK(thread_create(&s->thread, "bystander", bystander_main, s));
}

/* Some rounds from here on, then the end. */
static inline void bystander_finish(struct bystander *s)
{
    uint64_t target = atomic_load(&s->rounds) + 5;
    while (atomic_load(&s->rounds) < target)
        sched_yield();
    atomic_store(&s->stop, true);
    thread_join(s->thread);
}

/* Iterators that were created before the cut stand at `depth` entries when it happens, then go on. */
static inline void cut_under_way(const char *dir, enum way way, unsigned depth)
{
    struct bed b;
    nokv_iter *iter;
    char path[600];
    bed_init(&b, dir, KEYS, 96);
    bed_fill(&b);
    all_hot(&b);
    CHECK_OK(nokv_iter_create(b.db, NULL, &iter));
    iter_begin(iter, way);
    CHECK(iter_walk(iter, way == BACKWARD ? BACKWARD : FORWARD, depth));
    file_find(b.path, ".sst", 1, path);
    file_halve(path);
    CHECK(!iter_walk(iter, way, KEYS));
    iter_is_damaged(iter);
    nokv_iter_destroy(iter);
    CHECK(run_check(&b, 3) == KEYS / RUNS);
    (void)nokv_close(b.db);
}

#endif
