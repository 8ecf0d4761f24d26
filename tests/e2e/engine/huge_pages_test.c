// SPDX-License-Identifier: Apache-2.0
/*
 * The option huge_pages on real files: what is read stays right, and tables come in the pages that were asked for.
 *
 * Whether the kernel and the file system have pages of 2 MiB for files is found out with a file of the test's own;
 * where they have none, only the values are checked, and the test says so. The kernel tells the size of the pages that
 * are mapped in smaps: FilePmdMapped.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "io/io.h"
#include "nokv/nokv.h"
#include "test.h"

enum { KEYS = 90000, VALUE_BYTES = 180, PROBE_BYTES = 8 << 20 };

static char dir[256];

static nokv_db *database_open(nokv_huge_pages huge, bool read_only)
{
    nokv_db *db = NULL;
    nokv_options o;
    nokv_options_init(&o);
    o.huge_pages = huge;
    o.read_only = read_only;
    o.background_io = NOKV_IO_DIRECT; /* nothing of the tables is left in the page cache */
    char path[300];
    snprintf(path, sizeof path, "%s/db", dir);
    OK(nokv_open(path, &o, &db));
    return db;
}

static size_t key_make(uint64_t i, char key[24])
{
    return (size_t)snprintf(key, 24, "key%012llu", (unsigned long long)i);
}

static void value_make(uint64_t i, uint8_t value[VALUE_BYTES])
{
    uint64_t r = i;
    for (size_t at = 0; at < VALUE_BYTES; at++)
        value[at] = (uint8_t)test_random(&r);
}

static void database_fill(void)
{
    char key[24];
    uint8_t value[VALUE_BYTES];
    nokv_db *db = database_open(NOKV_HUGE_PAGES_DEFAULT, false);
    for (uint64_t i = 0; i < KEYS; i++) {
        value_make(i, value);
        OK(nokv_put(db, key, key_make(i, key), value, sizeof value, NULL));
    }
    OK(nokv_compact_range(db, NULL, 0, NULL, 0));
    OK(nokv_close(db));
}

static void database_check(nokv_db *db)
{
    char key[24];
    uint8_t wanted[VALUE_BYTES];
    for (uint64_t i = 0; i < KEYS; i += 7) {
        nokv_value value;
        value_make(i, wanted);
        OK(nokv_get(db, key, key_make(i, key), NULL, &value));
        assert_int_equal(value.size, sizeof wanted);
        assert_memory_equal(value.data, wanted, sizeof wanted);
        nokv_value_release(&value);
    }
}

/* KiB of mappings of files whose name has `name` in it that are mapped in pages of 2 MiB. */
static unsigned long huge_kib(const char *name)
{
    char line[600];
    bool is_ours = false;
    unsigned long begin, end, kib, sum = 0;
    FILE *f = fopen("/proc/self/smaps", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            is_ours = strstr(line, name) != NULL;
        else if (is_ours && sscanf(line, "FilePmdMapped: %lu kB", &kib) == 1)
            sum += kib;
    }
    fclose(f);
    return sum;
}

/* A file that is not in memory, mapped, advised and touched: does it come in pages of 2 MiB? */
static bool kernel_has_huge_pages(void)
{
    char path[300];
    uint8_t *bytes = mmap(NULL, PROBE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(bytes != MAP_FAILED);
    memset(bytes, 1, PROBE_BYTES);
    snprintf(path, sizeof path, "%s/probe", dir);
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    assert_true(fd >= 0 && write(fd, bytes, PROBE_BYTES) == PROBE_BYTES && fsync(fd) == 0);
    assert_int_equal(munmap(bytes, PROBE_BYTES), 0);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    volatile const uint8_t *map = mmap(NULL, PROBE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    bool taken = madvise((void *)(uintptr_t)map, PROBE_BYTES, MADV_HUGEPAGE) == 0;
    for (size_t at = 0; at < PROBE_BYTES; at += 4096)
        (void)map[at];
    bool has = taken && huge_kib("/probe") != 0;
    munmap((void *)(uintptr_t)map, PROBE_BYTES);
    close(fd);
    unlink(path);
    return has;
}

/* Opened with ON, tables that were not in memory come in pages of 2 MiB; with OFF they stay in pages of 4 KiB even
 * where the page cache has larger ones by then; all values are right either way. */
static void test_tables_come_in_huge_pages(void **state)
{
    (void)state;
    test_dir_create(dir);
    bool has = kernel_has_huge_pages();
    database_fill();
    nokv_db *db = database_open(NOKV_HUGE_PAGES_ON, true);
    database_check(db);
    unsigned long on = huge_kib(".sst");
    OK(nokv_close(db));
    db = database_open(NOKV_HUGE_PAGES_OFF, true);
    database_check(db);
    unsigned long off = huge_kib(".sst");
    OK(nokv_close(db));
    printf("%lu KiB in pages of 2 MiB with ON, %lu with OFF%s\n", on, off,
           has ? "" : "; this kernel or file system has none for files: not compared");
    assert_int_equal(off, 0);
    assert_true(!has || on >= 4096);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tables_come_in_huge_pages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
