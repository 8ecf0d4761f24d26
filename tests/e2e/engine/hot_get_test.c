// SPDX-License-Identifier: Apache-2.0
/*
 * A hot get is free of system calls, of heap allocation and of copying.
 *
 * A child opens a database, reads every key once, and puts a seccomp filter on its own thread that kills the process at
 * any system call but exit_group and getrusage, which a get makes that the machine has interrupted for so long that it
 * might have waited for the device (io_read_time). Then it does a million gets. It counts what the engine asks its
 * allocator for, and, by standing between the program and libc, what anybody asks malloc for on this thread. Each value
 * must lie inside a mapping of a table, as /proc/self/maps listed them before. Two more tests show that filter and
 * counters notice.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "nokv/nokv.h"
#include "test.h"

enum { KEYS = 40000, VALUE_BYTES = 100, GETS = 1000000, MAPPINGS_MAX = 256 };

/* ---- malloc, counted per thread --------------------------------------------------------------------------------- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *p);

static _Thread_local uint64_t heap_calls;

void *malloc(size_t size)
{
    heap_calls++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    heap_calls++;
    return __libc_calloc(count, size);
}

void *realloc(void *p, size_t size)
{
    heap_calls++;
    return __libc_realloc(p, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    heap_calls++;
    return __libc_memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
    heap_calls++;
    *out = __libc_memalign(align, size);
    return *out ? 0 : 12;
}

void free(void *p)
{
    heap_calls += p != NULL;
    __libc_free(p);
}

/* ---- the filter ------------------------------------------------------------------------------------------------- */

/* This thread may call exit_group and nothing else from here on. */
static void filter_install(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getrusage, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {.len = ARRAY_COUNT(code), .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(77);
}

/* ---- the tables' mappings --------------------------------------------------------------------------------------- */

struct mappings {
    struct {
        uintptr_t begin, end;
    } items[MAPPINGS_MAX];
    size_t count;
};

static void mappings_read(struct mappings *m)
{
    char line[600], access[8];
    unsigned long long begin, end;
    FILE *f = fopen("/proc/self/maps", "r");
    m->count = 0;
    while (f && m->count < MAPPINGS_MAX && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%llx-%llx %7s", &begin, &end, access) != 3 || strstr(line, ".sst\n") == NULL)
            continue;
        if (strcmp(access, "r--s") != 0 && strcmp(access, "r--p") != 0)
            continue;
        m->items[m->count].begin = (uintptr_t)begin;
        m->items[m->count++].end = (uintptr_t)end;
    }
    if (f)
        fclose(f);
}

static bool mappings_contain(const struct mappings *m, const void *p, size_t size)
{
    for (size_t i = 0; i < m->count; i++)
        if ((uintptr_t)p >= m->items[i].begin && (uintptr_t)p + size <= m->items[i].end)
            return true;
    return false;
}

/* ---- the database ----------------------------------------------------------------------------------------------- */

/* Shared with the children. */
struct result {
    uint64_t found, misses, inside, right;
    uint64_t engine_allocations, heap_calls;
    size_t mappings;
    char message[512];
};

static struct result *result;
static char parent_dir[256], dir[300];

static void key_make(uint64_t i, char key[17])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t rng = i, mixed = test_random(&rng);
    for (int n = 0; n < 16; n++)
        key[n] = digits[mixed >> 4 * n & 15];
    key[16] = 0;
}

static void value_make(uint64_t i, uint8_t value[VALUE_BYTES])
{
    for (size_t n = 0; n < VALUE_BYTES; n++)
        value[n] = (uint8_t)(i * 31 + n * 7);
}

static void options_make(nokv_options *o)
{
    nokv_options_init(o);
    o->memtable_bytes = 512 << 10;
    o->table_bytes = 256 << 10;
    o->level_base_bytes = 512 << 10;
    o->level_ratio = 4;
}

/* Tables on several levels, and some on level 0. */
static int group_setup(void **state)
{
    (void)state;
    nokv_options options;
    nokv_db *db = NULL;
    char key[17];
    uint8_t value[VALUE_BYTES];
    test_dir_create(parent_dir);
    snprintf(dir, sizeof dir, "%s/db", parent_dir);
    options_make(&options);
    OK(nokv_open(dir, &options, &db));
    for (uint64_t i = 0; i < KEYS; i++) {
        key_make(i, key);
        value_make(i, value);
        OK(nokv_put(db, key, 16, value, sizeof value, NULL));
    }
    OK(nokv_flush(db));
    OK(nokv_close(db));
    result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return result == MAP_FAILED ? -1 : 0;
}

static int group_teardown(void **state)
{
    (void)state;
    test_dir_remove(parent_dir);
    return 0;
}

/* What a child does; returns its wait status. */
static int in_child(void (*run)(nokv_db *db))
{
    nokv_options options;
    nokv_db *db = NULL;
    *result = (struct result){0};
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        options_make(&options);
        if (nokv_open(dir, &options, &db) != NOKV_OK || nokv_wait_idle(db) != NOKV_OK) {
            snprintf(result->message, sizeof result->message, "%s", nokv_error_message());
            _exit(1);
        }
        run(db);
        syscall(SYS_exit_group, 0);
    }
    int wait_status = 0;
    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 77)
        fail_msg("seccomp filters are not available");
    return wait_status;
}

/* ---- a million gets ---------------------------------------------------------------------------------------------- */

static void one_get(nokv_db *db, const struct mappings *m, uint64_t i)
{
    char key[17];
    uint8_t expected[VALUE_BYTES];
    nokv_value value = {0};
    key_make(i, key);
    nokv_status status = nokv_get(db, key, 16, NULL, &value);
    if (status == NOKV_ERR_NOT_FOUND && i >= KEYS)
        result->misses++;
    if (status != NOKV_OK)
        return;
    result->found++;
    value_make(i, expected);
    result->right += value.size == sizeof expected && memcmp(value.data, expected, sizeof expected) == 0;
    result->inside += mappings_contain(m, value.data, value.size);
    nokv_value_release(&value);
}

static void hot_gets(nokv_db *db)
{
    static struct mappings m;
    mappings_read(&m);
    for (uint64_t i = 0; i < KEYS + KEYS / 4; i++)
        one_get(db, &m, i);
    *result = (struct result){.mappings = m.count};
    uint64_t engine_before = mem_alloc_count(), heap_before = heap_calls, rng = 1;
    filter_install();
    for (uint64_t n = 0; n < GETS; n++)
        one_get(db, &m, test_random(&rng) % (KEYS + KEYS / 4));
    result->engine_allocations = mem_alloc_count() - engine_before;
    result->heap_calls = heap_calls - heap_before;
}

/* 1,000,000 hot gets, a fifth of them misses: no system call, no allocation, each value in place in a table's mapping.
 */
static void test_hot_gets_cost_no_call_no_allocation_no_copy(void **state)
{
    (void)state;
    int wait_status = in_child(hot_gets);
    if (wait_status != 0)
        fail_msg("the child ended with status 0x%x (signal %d): %s", (unsigned)wait_status,
                 WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0, result->message);
    assert_int_equal(result->found + result->misses, GETS);
    assert_true(result->found > GETS / 2 && result->misses > GETS / 10);
    assert_int_equal(result->right, result->found);
    assert_int_equal(result->inside, result->found);
    assert_true(result->mappings > 4);
    assert_int_equal(result->engine_allocations, 0);
    assert_int_equal(result->heap_calls, 0);
    printf("%llu hits and %llu misses in %zu tables\n", (unsigned long long)result->found,
           (unsigned long long)result->misses, result->mappings);
}

/* ---- the instruments ----------------------------------------------------------------------------------------------
 */

static void durable_put(nokv_db *db)
{
    nokv_write_options durable = {.struct_size = sizeof durable, .sync = NOKV_SYNC_COMMIT};
    filter_install();
    (void)!nokv_put(db, "k", 1, "v", 1, &durable);
}

static void first_get_of_a_table(nokv_db *db)
{
    struct mappings m;
    mappings_read(&m);
    filter_install();
    for (uint64_t i = 0; i < KEYS; i++)
        one_get(db, &m, i);
}

/* The filter kills a durable put, which has to call fdatasync, and a cold get, which asks for the index to be read. */
static void test_the_filter_notices_a_system_call(void **state)
{
    (void)state;
    int wait_status = in_child(durable_put);
    assert_true(WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGSYS);
    wait_status = in_child(first_get_of_a_table);
    assert_true(WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGSYS);
}

static void iterator_create(nokv_db *db)
{
    struct mappings m;
    nokv_value value = {0};
    mappings_read(&m);
    result->right =
        nokv_put(db, "new", 3, "value", 5, NULL) == NOKV_OK && nokv_get(db, "new", 3, NULL, &value) == NOKV_OK;
    result->inside = mappings_contain(&m, value.data, value.size);
    nokv_value_release(&value);
    uint64_t engine_before = mem_alloc_count(), heap_before = heap_calls;
    nokv_iter *it = NULL;
    result->found = nokv_iter_create(db, NULL, &it) == NOKV_OK;
    result->engine_allocations = mem_alloc_count() - engine_before;
    result->heap_calls = heap_calls - heap_before;
    nokv_iter_destroy(it);
}

/* Both counters see the memory that an iterator takes; and a value in a memtable is not inside a table's mapping. */
static void test_the_counters_notice_an_allocation(void **state)
{
    (void)state;
    assert_int_equal(in_child(iterator_create), 0);
    assert_int_equal(result->found, 1);
    assert_true(result->engine_allocations > 0);
    assert_true(result->heap_calls >= result->engine_allocations);
    assert_int_equal(result->right, 1);
    assert_int_equal(result->inside, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hot_gets_cost_no_call_no_allocation_no_copy),
        cmocka_unit_test(test_the_filter_notices_a_system_call),
        cmocka_unit_test(test_the_counters_notice_an_allocation),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
