// SPDX-License-Identifier: Apache-2.0
/*
 * How much memory there is: what is made of the kernel's texts, first as texts alone, then with a directory in the
 * shape of /proc and cgroup directories beside it, then on the simulated disk.
 */
#include "io/limit.h"

#include <sys/stat.h>

#include "base/alloc.h"
#include "io/sim.h"
#include "test.h"

#define MIB (1ull << 20)

static struct slice text(const char *s)
{
    return slice_make(s, strlen(s));
}

static struct limit_places places_of(const char *cgroup, const char *mountinfo)
{
    struct limit_places places;
    memset(&places, 0xaa, sizeof places);
    limit_places_find(text(cgroup), text(mountinfo), &places);
    return places;
}

static void place_check(const struct limit_place *place, const char *dir, const char *mount)
{
    assert_string_equal(place->dir, dir);
    assert_int_equal(place->mount_size, strlen(mount));
}

/* A number is a limit; "max", zero, what is too large for one and what is no number are none. */
static void test_numbers(void **state)
{
    (void)state;
    static const char *const none[] = {"max\n",
                                       "max",
                                       "",
                                       "\n",
                                       "0\n",
                                       "-1\n",
                                       "12k\n",
                                       " 12\n",
                                       "0x1",
                                       "1 2\n",
                                       "1\t",
                                       "9223372036854775808\n",
                                       "18446744073709551616",
                                       "99999999999999999999999999999999999999"};
    uint64_t bytes = 77;
    for (size_t i = 0; i < ARRAY_COUNT(none); i++)
        assert_false(limit_parse(text(none[i]), &bytes));
    assert_int_equal(bytes, 77);
    assert_true(limit_parse(text("536870912\n"), &bytes));
    assert_int_equal(bytes, 536870912);
    assert_true(limit_parse(text("1"), &bytes));
    assert_int_equal(bytes, 1);
    assert_true(limit_parse(text("9223372036854771712\n"), &bytes)); /* v1's word for no limit: above any machine */
    assert_int_equal(bytes, 9223372036854771712ull);
    assert_false(limit_parse(slice_make("12\0"
                                        "3\n",
                                        5),
                             &bytes));
}

/* MemTotal is found among the lines and counted in KiB; other shapes are refused. */
static void test_meminfo(void **state)
{
    (void)state;
    uint64_t bytes = 77;
    static const char *const bad[] = {"",
                                      "MemTotal:",
                                      "MemTotal: kB\n",
                                      "MemTotal: 12\n",
                                      "MemTotal: 12 MB\n",
                                      "MemTotal: 9223372036854775807 kB\n",
                                      "XMemTotal: 12 kB\n",
                                      "MemTotal: 0 kB\n",
                                      "MemFree:  12 kB\n",
                                      "\n\n\n"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(limit_parse_meminfo(text(bad[i]), &bytes));
    assert_int_equal(bytes, 77);
    assert_true(limit_parse_meminfo(text("MemTotal:       24684084 kB\nMemFree:  1 kB\n"), &bytes));
    assert_int_equal(bytes, 24684084ull * 1024);
    assert_true(limit_parse_meminfo(text("Hugetlb: 0 kB\nMemTotal: 3 kB"), &bytes));
    assert_int_equal(bytes, 3 * 1024);
}

#define V2_MOUNT "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
#define ROOT_MOUNT "23 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"

/* The unified hierarchy of a host: the group below the mount. */
static void test_v2(void **state)
{
    (void)state;
    struct limit_places p = places_of("0::/user.slice/user-0.slice/session-1.scope\n", ROOT_MOUNT V2_MOUNT);
    place_check(&p.v2, "/sys/fs/cgroup/user.slice/user-0.slice/session-1.scope", "/sys/fs/cgroup");
    place_check(&p.v1, "", "");
    p = places_of("0::/\n", V2_MOUNT ROOT_MOUNT);
    place_check(&p.v2, "/sys/fs/cgroup", "/sys/fs/cgroup");
}

#define V1_MOUNTS                                                                                  \
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"                  \
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 master:3 - cgroup cgroup rw,memory\n" \
    "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
#define V1_GROUPS "9:name=systemd:/a\n4:cpu,memory:/docker/abc\n3:cpu,cpuacct:/b\n"

/* Version 1: the hierarchy with the memory controller counts, alone or mounted with others. */
static void test_v1(void **state)
{
    (void)state;
    struct limit_places p = places_of(V1_GROUPS, ROOT_MOUNT V1_MOUNTS);
    place_check(&p.v1, "/sys/fs/cgroup/memory/docker/abc", "/sys/fs/cgroup/memory");
    place_check(&p.v2, "", "");
    p = places_of("4:memory_x,xmemory:/c\n", V1_MOUNTS);
    place_check(&p.v1, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory");
}

/* A hybrid has both; each is put together with its own group. */
static void test_hybrid(void **state)
{
    (void)state;
    struct limit_places p = places_of(V1_GROUPS "0::/system.slice/x.service\n",
                                      V1_MOUNTS "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    place_check(&p.v1, "/sys/fs/cgroup/memory/docker/abc", "/sys/fs/cgroup/memory");
    place_check(&p.v2, "/sys/fs/cgroup/unified/system.slice/x.service", "/sys/fs/cgroup/unified");
}

/* In a container the mount shows a part of the tree, or the namespace another name than the mount: what is below the
 * part is taken off; where the two do not fit, the mount's root is asked. */
static void test_namespaces(void **state)
{
    (void)state;
    struct limit_places p = places_of("4:memory:/docker/abc\n",
                                      "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    place_check(&p.v1, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory");
    p = places_of("4:memory:/docker/abc/inner\n",
                  "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    place_check(&p.v1, "/sys/fs/cgroup/memory/inner", "/sys/fs/cgroup/memory");
    p = places_of("4:memory:/docker/abcdef\n",
                  "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    place_check(&p.v1, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory");
    p = places_of("0::/\n", "29 23 0:26 /kubepods/pod1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    place_check(&p.v2, "/sys/fs/cgroup", "/sys/fs/cgroup");
    p = places_of("0::/../../x\n", "29 23 0:26 /.. /sys/fs/cgroup ro - cgroup2 cgroup rw\n" V2_MOUNT);
    place_check(&p.v2, "/sys/fs/cgroup", "/sys/fs/cgroup");
    /* a second mount that shows our group is better than a first one that does not */
    p = places_of("0::/b/c\n", "29 23 0:26 /a /mnt/a ro - cgroup2 cgroup rw\n29 23 0:26 /b /mnt/b ro - cgroup2 - rw\n"
                               "29 23 0:26 /b/c /mnt/c ro - cgroup2 cgroup rw\n");
    place_check(&p.v2, "/mnt/b/c", "/mnt/b");
}

/* Blanks in mount points are decoded, and a mount that is no cgroup is none whatever its name. */
static void test_names(void **state)
{
    (void)state;
    struct limit_places p = places_of("0::/a b:c\n", "1 2 0:1 / /tmp/cgroup2 rw - tmpfs cgroup2 rw,memory\n"
                                                     "29 23 0:26 / /sys/my\\040cg\\134x rw - cgroup2 none rw\n");
    place_check(&p.v2, "/sys/my cg\\x/a b:c", "/sys/my cg\\x");
}

/* Texts that are empty, cut short or of another shape give no place, or one that stays inside of its mount. */
static void test_hostile_texts(void **state)
{
    (void)state;
    static const char *const cgroups[] = {"",
                                          "\n",
                                          "::\n",
                                          "0:\n",
                                          "0::\n",
                                          "0::x\n",
                                          "0::/../../../etc\n",
                                          "0::/a/..",
                                          "4:memory:/..\n",
                                          "4:memory\n",
                                          "0::/a/../../b\n0::/..\n"};
    static const char *const mounts[] = {"",
                                         "\n\n",
                                         "1 2 3\n",
                                         "29 23 0:26 / /sys/fs/cgroup rw - cgroup2\n",
                                         "29 23 0:26 / /sys/fs/cgroup rw cgroup2 cgroup rw\n",
                                         "29 23 0:26 / relative rw - cgroup2 cgroup rw\n",
                                         "29 23 0:26 / /nul\\000 rw - cgroup2 cgroup rw\n",
                                         "- - - - - - cgroup2 - -\n",
                                         "29 23 0:26 / \\ rw - cgroup2 c rw"};
    for (size_t i = 0; i < ARRAY_COUNT(cgroups); i++) {
        struct limit_places p = places_of(cgroups[i], V2_MOUNT V1_MOUNTS);
        place_check(&p.v2, "/sys/fs/cgroup", "/sys/fs/cgroup");
        place_check(&p.v1, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory");
    }
    for (size_t i = 0; i < ARRAY_COUNT(mounts); i++) {
        struct limit_places p = places_of("0::/a\n4:memory:/b\n", mounts[i]);
        place_check(&p.v2, "", "");
        place_check(&p.v1, "", "");
    }
}

/* A group whose path is too long for us is left out: the mount's root is asked, and nothing is written past an end. */
static void test_long_paths(void **state)
{
    (void)state;
    static char cgroup[3 * LIMIT_PATH_SIZE], mountinfo[4 * LIMIT_PATH_SIZE];
    memset(cgroup, 'x', sizeof cgroup - 1);
    memcpy(cgroup, "0::/", 4);
    struct limit_places p = places_of(cgroup, V2_MOUNT);
    place_check(&p.v2, "/sys/fs/cgroup", "/sys/fs/cgroup");
    snprintf(mountinfo, sizeof mountinfo, "29 23 0:26 / %s rw - cgroup2 cgroup rw\n" V2_MOUNT, cgroup + 3);
    p = places_of("0::/a\n", mountinfo);
    place_check(&p.v2, "/sys/fs/cgroup/a", "/sys/fs/cgroup");
    cgroup[4 + LIMIT_PATH_SIZE - 1 - strlen("/sys/fs/cgroup") - 1] = '\0'; /* the longest that fits */
    p = places_of(cgroup, V2_MOUNT);
    assert_int_equal(strlen(p.v2.dir), LIMIT_PATH_SIZE - 1);
}

/* Random damage to sound texts: no crash, and every place begins with its mount. */
static void test_random_texts(void **state)
{
    (void)state;
    static const char cgroup[] = V1_GROUPS "0::/system.slice/x.service\n";
    static const char mounts[] = ROOT_MOUNT V2_MOUNT V1_MOUNTS "1 2 3 / /a\\040b rw - cgroup2 c rw\n";
    uint64_t random = test_seed(31);
    for (int n = 0; n < 20000; n++) {
        uint8_t c[sizeof cgroup], m[sizeof mounts];
        memcpy(c, cgroup, sizeof c);
        memcpy(m, mounts, sizeof m);
        for (int i = 0; i < 4; i++) {
            c[test_random(&random) % sizeof c] = (uint8_t)test_random(&random);
            m[test_random(&random) % sizeof m] = (uint8_t) "\\0/: -\n,."[test_random(&random) % 9];
        }
        struct limit_places p;
        limit_places_find(slice_make(c, test_random(&random) % sizeof c), slice_make(m, sizeof m - n % 2 * 90), &p);
        assert_true(strlen(p.v2.dir) >= p.v2.mount_size && strlen(p.v1.dir) >= p.v1.mount_size);
        assert_true(strstr(p.v2.dir, "/../") == NULL && strstr(p.v1.dir, "/../") == NULL);
    }
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

struct tree {
    char dir[256];
};

static void tree_put(const struct tree *t, const char *name, const char *content)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", t->dir, name);
    for (char *slash = path + strlen(t->dir) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        (void)mkdir(path, 0755);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
}

/* A directory with meminfo (1 GiB), a v2 mount at cg and a v1 mount at mem; this process is in /a/b and in /v. */
static void tree_create(struct tree *t)
{
    char mounts[1200];
    test_dir_create(t->dir);
    snprintf(mounts, sizeof mounts,
             ROOT_MOUNT
             "29 23 0:26 / %s/cg rw - cgroup2 cgroup2 rw\n30 23 0:27 / %s/mem rw - cgroup cgroup rw,memory\n",
             t->dir, t->dir);
    tree_put(t, "meminfo", "MemTotal:  1048576 kB\nMemFree:  5 kB\n");
    tree_put(t, "self/mountinfo", mounts);
    tree_put(t, "self/cgroup", "5:memory:/v\n0::/a/b\n");
}

static void memory_check(const struct tree *t, uint64_t limit_mib, const char *source)
{
    struct io_memory memory;
    limit_read(t->dir, &memory);
    assert_int_equal(memory.total_bytes, 1024 * MIB);
    assert_int_equal(memory.limit_bytes, limit_mib * MIB);
    assert_string_equal(memory.source, source);
}

/* The tightest limit counts, at whatever height and of whatever kind it is; what is not tighter than the machine is
 * none. */
static void test_tightest_limit(void **state)
{
    (void)state;
    struct tree t;
    tree_create(&t);
    memory_check(&t, 1024, "machine"); /* no file at all: the groups do not even exist */
    tree_put(&t, "cg/a/b/memory.max", "max\n");
    tree_put(&t, "cg/memory.max", "9223372036854771712\n");
    tree_put(&t, "mem/v/memory.limit_in_bytes", "9223372036854771712\n");
    memory_check(&t, 1024, "machine");
    tree_put(&t, "cg/a/memory.max", "536870912\n");
    memory_check(&t, 512, "cgroup v2 memory.max");
    tree_put(&t, "cg/a/b/memory.max", "943718400\n");
    memory_check(&t, 512, "cgroup v2 memory.max");
    tree_put(&t, "cg/a/b/memory.high", "314572800\n");
    memory_check(&t, 300, "cgroup v2 memory.high");
    tree_put(&t, "mem/memory.limit_in_bytes", "209715200\n");
    memory_check(&t, 200, "cgroup v1 memory.limit_in_bytes");
    tree_put(&t, "cg/memory.max", "104857600\n");
    memory_check(&t, 100, "cgroup v2 memory.max");
    tree_put(&t, "cg/memory.max", "0\n");
    tree_put(&t, "memory.max", "1048576\n"); /* above the mount: not a group */
    memory_check(&t, 200, "cgroup v1 memory.limit_in_bytes");
    test_dir_remove(t.dir);
}

/* A group that cannot be seen under its name: the groups above it that can be seen are asked. */
static void test_group_not_visible(void **state)
{
    (void)state;
    struct tree t;
    tree_create(&t);
    tree_put(&t, "self/cgroup", "0::/not/to/be/seen\n");
    tree_put(&t, "cg/memory.max", "268435456\n");
    memory_check(&t, 256, "cgroup v2 memory.max");
    tree_put(&t, "self/cgroup", "0::/../../outside\n");
    memory_check(&t, 256, "cgroup v2 memory.max");
    test_dir_remove(t.dir);
}

/* Without /proc, and without memory to read it, the machine is the answer. */
static void test_nothing_to_read(void **state)
{
    (void)state;
    struct io_memory memory;
    limit_read("/does/not/exist", &memory);
    assert_true(memory.total_bytes > 0 && memory.limit_bytes == memory.total_bytes);
    assert_string_equal(memory.source, "machine");
    for (uint64_t k = 0; k < 20; k++) {
        memory = (struct io_memory){0};
        mem_fail_after(k);
        limit_read("/proc", &memory);
        mem_fail_after(UINT64_MAX);
        assert_true(memory.total_bytes > 0 && memory.limit_bytes <= memory.total_bytes);
        assert_non_null(memory.source);
    }
}

/* The real environment knows this machine; the simulated one has 8 GiB, or what it is told, also in a clone. */
static void test_environments(void **state)
{
    (void)state;
    struct io_memory memory;
    struct io *io;
    struct sim *sim, *clone;
    OK(io_real_create(&io));
    io_memory_get(io, &memory);
    assert_true(memory.total_bytes >= 64 * MIB && memory.limit_bytes > 0 && memory.limit_bytes <= memory.total_bytes);
    io_destroy(io);
    OK(sim_create(&(struct sim_options){.seed = 1}, &sim));
    OK(sim_io_create(sim, &io));
    io_memory_get(io, &memory);
    assert_int_equal(memory.total_bytes, 8192 * MIB);
    assert_int_equal(memory.limit_bytes, 8192 * MIB);
    assert_string_equal(memory.source, "machine");
    sim_set_memory(sim, &(struct io_memory){4096 * MIB, 64 * MIB, "cgroup v2 memory.max"});
    io_destroy(io);
    OK(sim_clone(sim, &clone));
    OK(sim_io_create(clone, &io));
    io_memory_get(io, &memory);
    assert_int_equal(memory.total_bytes, 4096 * MIB);
    assert_int_equal(memory.limit_bytes, 64 * MIB);
    assert_string_equal(memory.source, "cgroup v2 memory.max");
    assert_int_equal(sim_steps(clone), 0); /* asking is not an operation on the disk */
    io_destroy(io);
    sim_destroy(clone);
    sim_destroy(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_meminfo),
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_v1),
        cmocka_unit_test(test_hybrid),
        cmocka_unit_test(test_namespaces),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_hostile_texts),
        cmocka_unit_test(test_long_paths),
        cmocka_unit_test(test_random_texts),
        cmocka_unit_test(test_tightest_limit),
        cmocka_unit_test(test_group_not_visible),
        cmocka_unit_test(test_nothing_to_read),
        cmocka_unit_test(test_environments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
