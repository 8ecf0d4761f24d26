// SPDX-License-Identifier: Apache-2.0
/*
 * page_cache_bench.c - does reading the value log push the tables' hot pages out of the page cache?
 *
 * That is what a mapped value log does, and why how it is read is an option (nokv_vlog_read). The experiment, once per
 * model, each in a process of its own:
 *
 *   1. a database of many small records (in tables) and large values (in the value log), none of it in the page cache
 *   2. the process joins a memory cgroup of its own; its limit holds the tables with ease, the value log not at all
 *   3. it gets every small record twice: the pages that are resident in the tables now are the hot ones
 *   4. it scans large values, each checked byte for byte, until it has read four times the limit
 *   5. of the hot pages, how many are still there? The same pages: mincore() says it of each, before and after
 *
 * and what that means for a get: the time of one, and the major faults of as many as were timed, before and after. With
 * --gets, random records are also read between two large values, as a server would: pages that were pushed out come
 * back then, count as resident, and the major faults of those gets show it.
 *
 * The limit makes the machine small. The page cache is charged to the cgroup of who touches a page first, so the
 * caches are emptied (of the database's files alone) before the process joins, and joining comes before the open.
 * Cgroups of version 1 (memory.limit_in_bytes) and 2 (memory.max) are used as found; where no group can be made, which
 * takes rights that most containers do not have, the program says so and goes on without a limit. Then its figures say
 * little unless memory is short by itself.
 *
 * Uses the public interface only; that tables are the files that end in .sst is all that it knows of the directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <nokv/nokv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nokv_bench_data.h"
#include "nokv_bench_util.h"

enum { SMALL_VALUE_SIZE = 100, SMALL_RECORD_SIZE = 136, WARM_PASSES = 2, SCAN_LIMITS = 4, PATH_SIZE = 4096 };
enum { TIMED_GETS = 50000, TABLES_MAX = 4096, MODELS_MAX = 16 };

struct bench {
    char dir[PATH_SIZE - 64];
    const char *cgroup_parent; /* NULL: where the kernel's memory controller is mounted by custom */
    const char *models[MODELS_MAX];
    unsigned model_count;
    uint64_t limit_bytes;
    unsigned gets_between; /* of small records, per large value of the scan */
    bool keep, existing;
    struct data small, large; /* keys and values; the first byte of a key says which of the two */
};

/* ---- the database --------------------------------------------------------------------------------------------- */

static void check(nokv_status status, const char *what)
{
    if (status != NOKV_OK)
        bench_die("%s: %s: %s", what, nokv_status_name(status), nokv_error_message());
}

static void key_make(char kind, uint64_t index, char out_key[DATA_KEY_SIZE])
{
    data_key(index, true, out_key);
    out_key[0] = kind;
}

static void put_all(nokv_db *db, char kind, const struct data *data, bool shuffled)
{
    uint8_t *value = bench_alloc(data->value_size);
    char key[DATA_KEY_SIZE];
    for (uint64_t i = 0; i < data->keys; i++) {
        uint64_t index = shuffled ? data_permute(i, data->keys, data->seed) : i;
        key_make(kind, index, key);
        data_value(data, index, 1, value);
        check(nokv_put(db, key, sizeof key, value, data->value_size, NULL), "put");
    }
    free(value);
}

/* The tables are merged to the bottom, so that what is hot does not depend on when the writes paused. */
static void database_build(const struct bench *b)
{
    nokv_db *db;
    check(nokv_open(b->dir, NULL, &db), "open");
    put_all(db, 's', &b->small, true);
    put_all(db, 'l', &b->large, false);
    check(nokv_compact_range(db, NULL, 0, NULL, 0), "compact");
    check(nokv_wait_idle(db), "wait_idle");
    check(nokv_close(db), "close");
}

/* REQUIRES: `index` is present, and its value is the right one; anything else ends the program. */
static void small_get(const struct bench *b, nokv_db *db, uint64_t index)
{
    char key[DATA_KEY_SIZE];
    nokv_value value;
    key_make('s', index, key);
    check(nokv_get(db, key, sizeof key, NULL, &value), "get");
    if (!data_value_ok(&b->small, index, 1, (struct bytes){value.data, value.size}))
        bench_die("record %lu: not its value", index);
    nokv_value_release(&value);
}

static uint64_t major_faults(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        bench_die("getrusage: %s", strerror(errno));
    return (uint64_t)usage.ru_majflt;
}

/* Random small records; returns the major faults that it took. */
static uint64_t small_gets(const struct bench *b, nokv_db *db, struct bench_rng *rng, unsigned count)
{
    uint64_t faults = count ? major_faults() : 0;
    for (unsigned i = 0; i < count; i++)
        small_get(b, db, bench_rng_below(rng, b->small.keys));
    return count ? major_faults() - faults : 0;
}

struct scan {
    struct bench_rng rng;
    uint64_t bytes;  /* of large values, so far */
    uint64_t faults; /* of the gets between them */
};

/* One pass over the large values in key order, or less when `bytes` are read. */
static void large_scan(const struct bench *b, nokv_db *db, uint64_t bytes, struct scan *scan)
{
    nokv_iter_options options = {.struct_size = sizeof options, .prefix = {"l", 1}};
    nokv_iter *iter;
    uint64_t index = 0;
    check(nokv_iter_create(db, &options, &iter), "iter_create");
    for (nokv_iter_first(iter); nokv_iter_valid(iter) && scan->bytes < bytes; nokv_iter_next(iter)) {
        nokv_slice value = nokv_iter_value(iter);
        if (!value.data)
            break;
        if (!data_value_ok(&b->large, index, 1, (struct bytes){value.data, value.size}))
            bench_die("large value %lu: not what was put", index);
        index++;
        scan->bytes += value.size;
        scan->faults += small_gets(b, db, &scan->rng, b->gets_between);
    }
    check(nokv_iter_status(iter), "scan");
    if (scan->bytes < bytes && index != b->large.keys)
        bench_die("a scan over %lu large values showed %lu", b->large.keys, index);
    nokv_iter_destroy(iter);
}

/* ---- the page cache ------------------------------------------------------------------------------------------- */

/* nftw() has no argument for its callback: the tables that the walk met, of the one database there is. */
static char *table_paths[TABLES_MAX];
static size_t table_count;

static int file_visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)ftw;
    int fd = type == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    if (fsync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        bench_die("%s: cannot be dropped from the page cache", path);
    close(fd);
    size_t length = strlen(path);
    if (length > 4 && strcmp(path + length - 4, ".sst") == 0 && table_count < TABLES_MAX)
        table_paths[table_count++] = strdup(path);
    return 0;
}

/* Drop every page of the database's files, and list its tables. */
static void caches_drop(const struct bench *b)
{
    while (table_count > 0)
        free(table_paths[--table_count]);
    if (nftw(b->dir, file_visit, 16, FTW_PHYS) != 0 || table_count == 0)
        bench_die("%s: no tables there", b->dir);
}

struct residency {
    unsigned char *pages; /* one byte per page of all tables, one behind the other; bit 0: resident */
    size_t count;         /* of pages */
    size_t resident;
};

static void table_residency(const char *path, struct residency *r)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        bench_die("%s: %s", path, strerror(errno));
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE), size = (size_t)st.st_size;
    size_t count = (size + page_size - 1) / page_size;
    void *map = count ? mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0) : NULL;
    r->pages = realloc(r->pages, r->count + count + 1);
    if (map == MAP_FAILED || !r->pages || (map && mincore(map, size, r->pages + r->count) != 0))
        bench_die("%s: mincore: %s", path, strerror(errno));
    for (size_t i = r->count; i < r->count + count; i++)
        r->resident += r->pages[i] & 1;
    r->count += count;
    if (map)
        munmap(map, size);
    close(fd);
}

/* Which pages of the tables are in the page cache. Free `pages`. */
static struct residency residency_take(void)
{
    struct residency r = {.pages = NULL};
    for (size_t i = 0; i < table_count; i++)
        table_residency(table_paths[i], &r);
    return r;
}

/* Pages that were resident before and still are. */
static size_t residency_kept(const struct residency *before, const struct residency *after)
{
    size_t kept = 0;
    if (before->count != after->count)
        bench_die("the tables changed while they were watched");
    for (size_t i = 0; i < before->count; i++)
        kept += before->pages[i] & after->pages[i] & 1;
    return kept;
}

/* ---- the cgroup ----------------------------------------------------------------------------------------------- */

struct cgroup {
    char dir[PATH_SIZE]; /* "": there is none */
    const char *version; /* or why there is none */
};

static bool file_write(const char *dir, const char *name, uint64_t number)
{
    char path[PATH_SIZE + 64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    if (!f)
        return false;
    bool ok = fprintf(f, "%lu\n", number) > 0;
    return fclose(f) == 0 && ok;
}

/* A group of its own with that limit; without one, `version` says why. */
static struct cgroup cgroup_make(const struct bench *b)
{
    static const char v1_limit[] = "memory.limit_in_bytes", v2_limit[] = "memory.max";
    struct cgroup group = {.version = "no memory cgroup can be made here"};
    const char *parent = b->cgroup_parent;
    if (!parent)
        parent = access("/sys/fs/cgroup/memory/cgroup.procs", F_OK) == 0 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup";
    snprintf(group.dir, sizeof group.dir, "%s/nokv-page-cache-%d", parent, (int)getpid());
    if (mkdir(group.dir, 0755) != 0) {
        group.dir[0] = 0;
        return group;
    }
    if (file_write(group.dir, v1_limit, b->limit_bytes))
        group.version = "cgroup v1";
    else if (file_write(group.dir, v2_limit, b->limit_bytes))
        group.version = "cgroup v2";
    else {
        rmdir(group.dir);
        group.dir[0] = 0;
        group.version = "the cgroup that can be made here has no memory limit";
    }
    return group;
}

static void cgroup_join(const struct cgroup *group)
{
    if (group->dir[0] && !file_write(group->dir, "cgroup.procs", (uint64_t)getpid()))
        bench_die("%s: cannot be joined: %s", group->dir, strerror(errno));
}

/* REQUIRES: the processes in it have ended. */
static void cgroup_remove(const struct cgroup *group)
{
    if (group->dir[0] && rmdir(group->dir) != 0)
        fprintf(stderr, "page_cache_bench: rmdir %s: %s\n", group->dir, strerror(errno));
}

/* ---- one model ------------------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    nokv_vlog_read model;
} models[] = {{"auto", NOKV_VLOG_READ_AUTO},
              {"mmap", NOKV_VLOG_READ_MMAP},
              {"pread", NOKV_VLOG_READ_PREAD},
              {"direct", NOKV_VLOG_READ_DIRECT},
              {"uring", NOKV_VLOG_READ_URING}};

static nokv_vlog_read model_find(const char *name)
{
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (strcmp(models[i].name, name) == 0)
            return models[i].model;
    bench_die("no vlog_read \"%s\"; there are auto, mmap, pread, direct and uring", name);
}

static nokv_db *model_open(const struct bench *b, const char *model)
{
    nokv_options options;
    nokv_db *db;
    nokv_options_init(&options);
    options.create_if_missing = false;
    options.read_only = true; /* no memtables, no log: what the process holds is what it reads */
    options.vlog_read = model_find(model);
    check(nokv_open(b->dir, &options, &db), model);
    return db;
}

struct gets {
    double us; /* each */
    uint64_t major_faults;
};

static struct gets gets_time(const struct bench *b, nokv_db *db, uint64_t seed)
{
    struct bench_rng rng = {seed};
    uint64_t begin = bench_clock_ns(), faults = small_gets(b, db, &rng, TIMED_GETS);
    return (struct gets){(double)(bench_clock_ns() - begin) / 1000.0 / TIMED_GETS, faults};
}

static void tables_warm(const struct bench *b, nokv_db *db)
{
    for (unsigned pass = 0; pass < WARM_PASSES; pass++)
        for (uint64_t i = 0; i < b->small.keys; i++)
            small_get(b, db, data_permute(i, b->small.keys, pass));
}

/* The experiment, in a process of its own that has joined the group. */
static void model_run(const struct bench *b, const char *model)
{
    struct residency cold = residency_take();
    nokv_db *db = model_open(b, model);
    tables_warm(b, db);
    struct gets before = gets_time(b, db, 1);
    struct residency hot = residency_take();
    struct scan scan = {.rng = {3}};
    uint64_t wanted = b->limit_bytes * SCAN_LIMITS, begin = bench_clock_ns();
    while (scan.bytes < wanted)
        large_scan(b, db, wanted, &scan);
    double seconds = (double)(bench_clock_ns() - begin) / 1e9;
    struct residency left = residency_take();
    struct gets after = gets_time(b, db, 2);
    size_t kept = residency_kept(&hot, &left);
    printf("| %s | %.1f | %.1f %% | %.0f | %.2f / %.2f | %lu / %lu / %lu |\n", model,
           (double)hot.resident * (double)sysconf(_SC_PAGESIZE) / 1e6, 100.0 * (double)kept / (double)hot.resident,
           (double)scan.bytes / seconds / 1e6, before.us, after.us, before.major_faults, scan.faults,
           after.major_faults);
    if (cold.resident > cold.count / 50)
        printf("\n%s: %zu of %zu table pages were in the page cache before, charged to others: not a fair figure\n\n",
               model, cold.resident, cold.count);
    free(cold.pages);
    free(hot.pages);
    free(left.pages);
    check(nokv_close(db), "close");
}

/* Run in a child; false when it failed or was killed (the limit may be too small for the process itself). */
static bool child_run(const struct bench *b, const char *model, const struct cgroup *group)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (pid == 0) {
        cgroup_join(group);
        if (model)
            model_run(b, model);
        else
            database_build(b);
        exit(0);
    }
    int status;
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool model_measure(const struct bench *b, const char *model)
{
    caches_drop(b);
    struct cgroup group = cgroup_make(b);
    bool ok = child_run(b, model, &group);
    if (!ok)
        printf("| %s | failed | | | | |\n", model);
    cgroup_remove(&group);
    return ok;
}

/* ---- the program ---------------------------------------------------------------------------------------------- */

static void terms_print(const struct bench *b)
{
    struct cgroup group = cgroup_make(b);
    cgroup_remove(&group);
    printf("%lu records of %d bytes in tables, %lu values of %zu bytes in the value log; ", b->small.keys,
           SMALL_VALUE_SIZE + DATA_KEY_SIZE, b->large.keys, b->large.value_size);
    if (group.dir[0])
        printf("memory limited to %lu MiB (%s)", b->limit_bytes >> 20, group.version);
    else
        printf("**memory is not limited**: %s", group.version);
    printf("; %lu MB of values scanned, %u gets between two of them; %d random gets timed before and after\n\n",
           b->limit_bytes * SCAN_LIMITS / 1000000, b->gets_between, TIMED_GETS);
    printf("| vlog_read | hot table pages, MB | of them still resident | scan, MB/s | get, us: before / after | "
           "major faults of gets: before / during / after |\n| --- | ---: | ---: | ---: | ---: | ---: |\n");
}

static void usage_print(void)
{
    fputs("usage: page_cache_bench [options]   what a scan of the value log leaves of the tables in the page cache\n\n"
          "  --dir D         where the database is made, and removed afterwards (.)\n"
          "  --limit MIB     of memory; tables take half of it, four times as much is scanned (256)\n"
          "  --value-size V  of the large values (65536)\n"
          "  --models LIST   of vlog_read: auto, mmap, pread, direct, uring (auto,direct,uring,mmap)\n"
          "  --gets N        of random small records between two values of the scan (0)\n"
          "  --cgroup DIR    the cgroup below which one is made (the root of the memory controller)\n"
          "  --keep          leave the database behind\n"
          "  --existing      take up one that was left; the other options must be the same\n",
          stderr);
    exit(2);
}

/* Cuts `list` up; it must live on. */
static void models_parse(struct bench *b, char *list)
{
    for (char *model = strtok(list, ","); model && b->model_count < MODELS_MAX; model = strtok(NULL, ",")) {
        (void)model_find(model); /* ends the program when there is none of that name */
        b->models[b->model_count++] = model;
    }
}

static void options_parse(struct bench *b, int argc, char **argv, uint64_t *out_value_size)
{
    static char models_default[] = "auto,direct,uring,mmap";
    const char *dir = ".";
    char *list = models_default;
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(option, "--keep") == 0 || strcmp(option, "--existing") == 0) {
            b->keep = true;
            b->existing = b->existing || strcmp(option, "--existing") == 0;
            continue;
        }
        if (!value)
            usage_print();
        if (strcmp(option, "--dir") == 0)
            dir = value;
        else if (strcmp(option, "--limit") == 0)
            b->limit_bytes = strtoull(value, NULL, 10) << 20;
        else if (strcmp(option, "--value-size") == 0)
            *out_value_size = strtoull(value, NULL, 10);
        else if (strcmp(option, "--gets") == 0)
            b->gets_between = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(option, "--models") == 0)
            list = value;
        else if (strcmp(option, "--cgroup") == 0)
            b->cgroup_parent = value;
        else
            usage_print();
        i++;
    }
    models_parse(b, list);
    if (snprintf(b->dir, sizeof b->dir, "%s/nokv-page-cache", dir) >= (int)sizeof b->dir)
        bench_die("%s: too long", dir);
}

static void database_make(const struct bench *b)
{
    const struct cgroup none = {.dir = ""};
    bench_dir_remove(b->dir);
    if (!child_run(b, NULL, &none))
        bench_die("the database could not be made");
}

int main(int argc, char **argv)
{
    struct bench b = {.limit_bytes = 256u << 20};
    uint64_t value_size = 64u << 10;
    options_parse(&b, argc, argv, &value_size);
    if (b.limit_bytes < 1u << 20 || value_size < 4096 || value_size > 64u << 20)
        bench_die("a limit of 1 MiB and more, and values of 4 KiB to 64 MiB are possible");
    data_init(&b.small, 1, b.limit_bytes / 2 / SMALL_RECORD_SIZE, SMALL_VALUE_SIZE);
    data_init(&b.large, 2, (b.limit_bytes * SCAN_LIMITS + value_size - 1) / value_size, value_size);
    if (!b.existing)
        database_make(&b);
    terms_print(&b);
    bool ok = true;
    for (unsigned i = 0; i < b.model_count; i++)
        ok = model_measure(&b, b.models[i]) && ok;
    if (!b.keep)
        bench_dir_remove(b.dir);
    data_deinit(&b.small);
    data_deinit(&b.large);
    return !ok;
}
