// SPDX-License-Identifier: Apache-2.0
/*
 * instructions.c - eight small workloads through the public interface, for counting their instructions.
 *
 *     instructions --list          their names
 *     instructions WORKLOAD        runs one; prints "operations N"
 *
 * What counts is what runs inside measured(): callgrind is told to collect there alone (--toggle-collect=measured), so
 * opening, filling and checking at the end are left out. instructions.py runs this, divides and compares.
 *
 * The count must depend on the code alone. So keys and values come from a fixed seed, are made before the measured
 * part, there are no threads (flushes and compactions run inside the call that asks for them), and allocator.c takes
 * the place of malloc. What comes back is checked as it comes, cheaply; a workload that does not do its work has no
 * figure.
 */
#include <nokv/nokv.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    KEYS = 16000,
    KEY_SIZE = 16,
    VALUE_SIZE = 100,
    BATCH_SIZE = 100, /* entries */
    TABLES = 4,       /* that a compaction merges, each with a version of every second key */
};

struct state {
    nokv_db *db;
    char dir[256];
    uint32_t order[KEYS];             /* a random permutation of the keys' indexes */
    char present[KEYS][KEY_SIZE + 1]; /* by index, ascending */
    char absent[KEYS][KEY_SIZE + 1];  /* each between two that are present */
    unsigned char value[VALUE_SIZE];  /* begins with the index of its key */
};

static _Noreturn __attribute__((format(printf, 1, 2))) void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "instructions: ");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

static void check(nokv_status status, const char *what)
{
    if (status != NOKV_OK)
        die("%s: %s: %s", what, nokv_status_name(status), nokv_error_message());
}

static void expect(bool as_expected, const char *what)
{
    if (!as_expected)
        die("%s: not the expected answer", what);
}

/* ---- the input ------------------------------------------------------------------------------------------------ */

/* splitmix64 */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void input_make(struct state *s)
{
    uint64_t seed = 1;
    for (uint32_t i = 0; i < KEYS; i++) {
        uint32_t other = (uint32_t)(random_next(&seed) % (i + 1));
        s->order[i] = s->order[other];
        s->order[other] = i;
        snprintf(s->present[i], sizeof s->present[i], "%016u", 2 * i);
        snprintf(s->absent[i], sizeof s->absent[i], "%016u", 2 * i + 1);
    }
    for (size_t i = 0; i < sizeof s->value; i++)
        s->value[i] = (unsigned char)random_next(&seed);
}

static const unsigned char *value_of(struct state *s, uint32_t index)
{
    memcpy(s->value, &index, sizeof index);
    return s->value;
}

static bool value_ok(const void *data, size_t size, uint32_t index)
{
    return size == VALUE_SIZE && memcmp(data, &index, sizeof index) == 0;
}

/* ---- the workloads -------------------------------------------------------------------------------------------- */

static void put(struct state *s, uint32_t index)
{
    check(nokv_put(s->db, s->present[index], KEY_SIZE, value_of(s, index), VALUE_SIZE, NULL), "put");
}

static void put_all(struct state *s)
{
    for (uint32_t i = 0; i < KEYS; i++)
        put(s, s->order[i]);
}

static void batch_put_all(struct state *s)
{
    nokv_batch *batch;
    check(nokv_batch_create(&batch), "batch_create");
    for (uint32_t i = 0; i < KEYS; i++) {
        uint32_t index = s->order[i];
        check(nokv_batch_put(batch, s->present[index], KEY_SIZE, value_of(s, index), VALUE_SIZE), "batch_put");
        if (nokv_batch_count(batch) == BATCH_SIZE) {
            check(nokv_write(s->db, batch, NULL), "write");
            nokv_batch_clear(batch);
        }
    }
    nokv_batch_destroy(batch);
}

static void flush(struct state *s)
{
    check(nokv_flush(s->db), "flush");
}

static void get_all(struct state *s)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        nokv_value value;
        check(nokv_get(s->db, s->present[s->order[i]], KEY_SIZE, NULL, &value), "get");
        expect(value_ok(value.data, value.size, s->order[i]), "get");
        nokv_value_release(&value);
    }
}

static void miss_all(struct state *s)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        nokv_value value;
        nokv_status status = nokv_get(s->db, s->absent[s->order[i]], KEY_SIZE, NULL, &value);
        expect(status == NOKV_ERR_NOT_FOUND, "miss");
    }
}

/* Each with an iterator of its own, as a program that wants the newest state has to. */
static void seek_all(struct state *s)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        nokv_iter *iter;
        check(nokv_iter_create(s->db, NULL, &iter), "iter_create");
        nokv_iter_seek(iter, s->present[s->order[i]], KEY_SIZE);
        expect(nokv_iter_valid(iter) && value_ok(nokv_iter_value(iter).data, VALUE_SIZE, s->order[i]), "seek");
        nokv_iter_destroy(iter);
    }
}

static void next_all(struct state *s)
{
    nokv_iter *iter;
    uint32_t index = 0;
    check(nokv_iter_create(s->db, NULL, &iter), "iter_create");
    for (nokv_iter_first(iter); nokv_iter_valid(iter); nokv_iter_next(iter)) {
        nokv_slice value = nokv_iter_value(iter);
        expect(value_ok(value.data, value.size, index++), "next");
    }
    check(nokv_iter_status(iter), "next");
    expect(index == KEYS, "next");
    nokv_iter_destroy(iter);
}

static void compact(struct state *s)
{
    check(nokv_compact_range(s->db, NULL, 0, NULL, 0), "compact_range");
}

/* ---- what is there before ------------------------------------------------------------------------------------- */

static void nothing(struct state *s)
{
    (void)s;
}

/* A bottom level with all keys and a level 0 with newer versions of a quarter; every block read and verified once. */
static void two_levels(struct state *s)
{
    put_all(s);
    compact(s);
    for (uint32_t i = 0; i < KEYS / 4; i++)
        put(s, s->order[i]);
    flush(s);
    next_all(s);
    get_all(s);
}

static void overlapping_tables(struct state *s)
{
    for (uint32_t table = 0; table < TABLES; table++) {
        for (uint32_t i = 0; i < KEYS; i++)
            if (s->order[i] % 2 == table % 2)
                put(s, s->order[i]);
        flush(s);
    }
}

struct workload {
    const char *name;
    uint32_t operations;
    void (*before)(struct state *s);
    void (*body)(struct state *s);
    void (*after)(struct state *s);
};

static const struct workload workloads[] = {
    {"put", KEYS, nothing, put_all, get_all},
    {"get_hot", KEYS, two_levels, get_all, nothing},
    {"get_miss", KEYS, two_levels, miss_all, nothing},
    {"seek", KEYS, two_levels, seek_all, nothing},
    {"next", KEYS, two_levels, next_all, nothing},
    {"batch_put", KEYS, nothing, batch_put_all, get_all},
    {"flush", KEYS, put_all, flush, get_all},
    {"compact", KEYS / 2 * TABLES, overlapping_tables, compact, get_all},
};

enum { WORKLOADS = sizeof workloads / sizeof *workloads };

/* Not static, never inlined, and no tail call: callgrind knows it by its name. */
void measured(const struct workload *workload, struct state *s);
__attribute__((noinline)) void measured(const struct workload *workload, struct state *s)
{
    workload->body(s);
    __asm__ volatile("" ::: "memory");
}

/* ---- main ----------------------------------------------------------------------------------------------------- */

/* The database is reached by a path that is the same in every run: "db", in a directory of its own. */
static void state_open(struct state *s)
{
    nokv_options options;
    const char *parent = getenv("TMPDIR");
    input_make(s);
    snprintf(s->dir, sizeof s->dir, "%s/nokv-instructions-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(s->dir) || chdir(s->dir) != 0)
        die("%s: no directory could be made there", s->dir);
    nokv_options_init(&options);
    options.sst_read = NOKV_IO_MMAP; /* by default it depends on how long gets take */
    options.inline_background_work = true;
    options.l0_compact_files = 4 * TABLES; /* none that was not asked for */
    check(nokv_open("db", &options, &s->db), "open");
}

static void state_close(struct state *s)
{
    check(nokv_close(s->db), "close");
    check(nokv_destroy("db"), "destroy");
    if (rmdir(s->dir) != 0)
        die("%s could not be removed", s->dir);
}

int main(int argc, char **argv)
{
    static struct state s;
    if (argc != 2)
        die("usage: instructions WORKLOAD; instructions --list names them");
    if (strcmp(argv[1], "--list") == 0) {
        for (int i = 0; i < WORKLOADS; i++)
            puts(workloads[i].name);
        return 0;
    }
    for (int i = 0; i < WORKLOADS; i++) {
        const struct workload *workload = &workloads[i];
        if (strcmp(workload->name, argv[1]) != 0)
            continue;
        state_open(&s);
        workload->before(&s);
        measured(workload, &s);
        workload->after(&s);
        state_close(&s);
        printf("operations %u\n", workload->operations);
        return 0;
    }
    die("no workload \"%s\"; instructions --list names them", argv[1]);
}
