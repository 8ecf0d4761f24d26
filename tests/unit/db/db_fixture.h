// SPDX-License-Identifier: Apache-2.0
/*
 * db_fixture.h - a database on the simulated disk, with background work inside the calls, so that what it did follows
 * from them alone. Lives of the process follow each other: fixture_kill, fixture_power_cut.
 */
#ifndef TESTS_UNIT_DB_FIXTURE_H
#define TESTS_UNIT_DB_FIXTURE_H

#include "base/alloc.h"
#include "db/db.h"
#include "io/sim.h"
#include "lsm/names.h"
#include "test.h"

enum { FIXTURE_FILE_MAX = 1 << 20 };

struct fixture {
    struct sim *sim;
    struct io *io;
    nokv_options options;
    nokv_db *db; /* NULL between lives */
};

static inline void fixture_init(struct fixture *f)
{
    struct sim_options so = {.seed = 1};
    *f = (struct fixture){0};
    OK(sim_create(&so, &f->sim));
    OK(sim_io_create(f->sim, &f->io));
    nokv_options_init(&f->options);
    f->options.inline_background_work = true;
    f->options.memtable_bytes = 64 << 10;
    f->options.wal_buffer_bytes = 64 << 10;
    f->options.table_bytes = 64 << 10;
    f->options.level_base_bytes = 64 << 10;
    f->options.level_ratio = 2;
    f->options.l0_compact_files = 2;
    f->options.l0_busy_files = 4;
}

static inline enum nokv_status fixture_try_open(struct fixture *f)
{
    return db_open(f->io, "db", &f->options, &f->db);
}

static inline void fixture_open(struct fixture *f)
{
    OK(fixture_try_open(f));
}

static inline void fixture_close(struct fixture *f)
{
    OK(nokv_close(TAKE(f->db)));
}

/*
 * The end of a life in the middle of work: from here on no operation reaches the disk, so that what close would write
 * is not written. Then the next life.
 */
static inline void fixture_die(struct fixture *f, bool power)
{
    sim_crash_after(f->sim, 0);
    if (f->db)
        (void)nokv_close(TAKE(f->db));
    io_destroy(f->io);
    if (power)
        sim_power_cut(f->sim);
    else
        sim_process_kill(f->sim);
    OK(sim_io_create(f->sim, &f->io));
}

static inline void fixture_kill(struct fixture *f)
{
    fixture_die(f, false);
}

static inline void fixture_power_cut(struct fixture *f)
{
    fixture_die(f, true);
}

static inline void fixture_deinit(struct fixture *f)
{
    if (f->db)
        fixture_close(f);
    io_destroy(f->io);
    sim_destroy(f->sim);
}

/* ---- keys and values -------------------------------------------------------------------------------------------- */

/* Key and value number i; values of one number differ by `version`. */
static inline size_t kv_key(uint64_t i, char out[24])
{
    return (size_t)snprintf(out, 24, "key%06llu", (unsigned long long)i);
}

static inline size_t kv_value(uint64_t i, uint64_t version, char out[256])
{
    memset(out, 'v', 200);
    return 200 + (size_t)snprintf(out + 200, 56, "%llu/%llu", (unsigned long long)i, (unsigned long long)version);
}

static inline enum nokv_status kv_try_put(nokv_db *db, uint64_t i, uint64_t version, nokv_sync sync)
{
    char key[24], value[256];
    nokv_write_options wo = {.struct_size = sizeof wo, .sync = sync};
    size_t key_size = kv_key(i, key), value_size = kv_value(i, version, value);
    return nokv_put(db, key, key_size, value, value_size, &wo);
}

static inline void kv_put(nokv_db *db, uint64_t i, uint64_t version)
{
    OK(kv_try_put(db, i, version, NOKV_SYNC_NONE));
}

static inline void kv_put_synced(nokv_db *db, uint64_t i, uint64_t version)
{
    OK(kv_try_put(db, i, version, NOKV_SYNC_COMMIT));
}

static inline void kv_delete(nokv_db *db, uint64_t i)
{
    char key[24];
    OK(nokv_delete(db, key, kv_key(i, key), NULL));
}

/* version 0: it must be absent. */
static inline void kv_check_at(nokv_db *db, uint64_t i, uint64_t version, const nokv_snapshot *snapshot)
{
    char key[24], wanted[256];
    nokv_value value = {0};
    nokv_read_options ro = {.struct_size = sizeof ro, .snapshot = snapshot};
    enum nokv_status status = nokv_get(db, key, kv_key(i, key), &ro, &value);
    if (version == 0) {
        FAILS(NOT_FOUND, status);
        return;
    }
    OK(status);
    size_t size = kv_value(i, version, wanted);
    if (value.size != size || memcmp(value.data, wanted, size) != 0)
        fail_msg("%s: %.*s instead of %s", key, (int)value.size, (const char *)value.data, wanted);
    nokv_value_release(&value);
}

static inline void kv_check(nokv_db *db, uint64_t i, uint64_t version)
{
    kv_check_at(db, i, version, NULL);
}

static inline nokv_stats stats_of(nokv_db *db)
{
    nokv_stats s = {.struct_size = sizeof s};
    OK(nokv_stats_get(db, false, &s));
    return s;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

struct file_list {
    char names[256][64]; /* behind the last slash, sorted */
    uint64_t sizes[256];
    size_t count;
};

static inline bool file_list_add(void *arg, const char *path, uint64_t size)
{
    struct file_list *l = arg;
    const char *slash = strrchr(path, '/');
    assert_true(l->count < 256);
    snprintf(l->names[l->count], 64, "%s", slash ? slash + 1 : path);
    l->sizes[l->count++] = size;
    return true;
}

static inline void file_list_get(struct fixture *f, struct file_list *out)
{
    out->count = 0;
    sim_each_file(f->sim, file_list_add, out);
}

/* The numbers of the files of a type, ascending. */
static inline size_t numbers_of(struct fixture *f, enum file_type type, uint64_t out[256])
{
    static struct file_list l;
    size_t count = 0;
    file_list_get(f, &l);
    for (size_t i = 0; i < l.count; i++) {
        uint64_t number;
        if (file_type_of(l.names[i], &number) == type)
            out[count++] = number;
    }
    return count;
}

static inline size_t count_of(struct fixture *f, enum file_type type)
{
    uint64_t numbers[256];
    return numbers_of(f, type, numbers);
}

static inline size_t fixture_file_read(struct fixture *f, const char *path, uint8_t *out, size_t capacity)
{
    struct io_file *file = NULL;
    size_t size = 0;
    OK(io_open(f->io, path, IO_OTHER, IO_STD, IO_READ, &file));
    OK(io_pread(file, out, capacity, 0, &size));
    OK(io_close(file));
    return size;
}

static inline void fixture_file_cut(struct fixture *f, const char *path, uint64_t size)
{
    struct io_file *file = NULL;
    OK(io_open(f->io, path, IO_OTHER, IO_STD, IO_READ | IO_WRITE, &file));
    OK(io_truncate(file, size));
    OK(io_sync(file));
    OK(io_close(file));
}

static inline void wal_path(char out[PATH_SIZE_MAX], uint64_t number)
{
    OK(path_wal(out, "db", number));
}

/* Opening must fail as CORRUPT with `part` in the message. */
static inline void fixture_assert_corrupt(struct fixture *f, const char *part)
{
    FAILS(CORRUPT, fixture_try_open(f));
    if (strstr(status_message(), part) == NULL)
        fail_msg("no word of %s: %s", part, status_message());
}

#endif
