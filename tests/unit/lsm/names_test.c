// SPDX-License-Identifier: Apache-2.0
/* names_test.c - what files are called, and which names in a directory are taken for ours. */
#include "lsm/names.h"
#include "test.h"

enum { ROUNDS = 20000 };

typedef enum nokv_status (*path_fn)(char out[PATH_SIZE_MAX], const char *dir, uint64_t number);

static void assert_type(const char *name, enum file_type wanted, uint64_t wanted_number)
{
    uint64_t number = 77;
    enum file_type type = file_type_of(name, &number);
    if (type != wanted || number != wanted_number)
        fail_msg("\"%s\" is taken for type %d, number %llu", name, (int)type, (unsigned long long)number);
}

static void round_trip(path_fn path, enum file_type type, uint64_t number)
{
    char out[PATH_SIZE_MAX];
    OK(path(out, "some/dir", number));
    assert_int_equal(strncmp(out, "some/dir/", 9), 0);
    assert_type(out + 9, type, number);
}

/* Every number that a file may have is read back from the name that it gives. */
static void test_round_trip(void **state)
{
    (void)state;
    uint64_t random = test_seed(1);
    static const uint64_t edges[] = {
        1, 9, 10, 99999, 100000, 999999, 1000000, 9999999, FILE_NUMBER_MAX - 1, FILE_NUMBER_MAX};
    for (size_t i = 0; i < ROUNDS; i++) {
        uint64_t number = i < ARRAY_COUNT(edges) ? edges[i] : 1 + (test_random(&random) >> (8 + i % 56));
        round_trip(path_wal, FILE_WAL, number);
        round_trip(path_sst, FILE_SST, number);
        round_trip(path_manifest, FILE_MANIFEST, number);
    }
}

/* The names without a number are known as well. */
static void test_fixed_names(void **state)
{
    (void)state;
    char out[PATH_SIZE_MAX];
    OK(path_current(out, "d"));
    assert_string_equal(out, "d/CURRENT");
    OK(path_lock(out, "d"));
    assert_string_equal(out, "d/LOCK");
    OK(path_walbuf(out, "d"));
    assert_string_equal(out, "d/WALBUF");
    assert_type("CURRENT", FILE_CURRENT, 0);
    assert_type("LOCK", FILE_LOCK, 0);
    assert_type("WALBUF", FILE_WALBUF, 0);
    assert_type("CURRENT.tmp", FILE_TEMP, 0);
    assert_type("000012.sst.tmp", FILE_TEMP, 0);
}

/* A name that is nearly one of ours is not ours, so that nobody's file is opened, counted or removed for it. */
static void test_hostile_names(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",
        ".",
        "..",
        "wal",
        ".wal",
        ".sst",
        "sst",
        "5.wal",
        "00005.wal",
        "0000005.wal",
        "000000.wal",
        "000000.sst",
        "000005.wa",
        "000005.wall",
        "000005.wal ",
        " 000005.wal",
        "+00005.wal",
        "-00005.wal",
        "0x0005.wal",
        "000005wal",
        "000005..wal",
        "000005.sst.wal",
        "000005.SST",
        "000005.sst~",
        "000005",
        "0000a5.sst",
        "MANIFEST",
        "MANIFEST-",
        "MANIFEST-4",
        "MANIFEST-00004",
        "MANIFEST-0000004",
        "MANIFEST-000004 ",
        "MANIFEST-000004.sst",
        "MANIFEST-000000",
        "MANIFEST--00004",
        "manifest-000004",
        "MANIFEST_000004",
        "current",
        "CURRENT ",
        "CURRENT2",
        "lock",
        "LOCKED",
        "WALBUF2",
        "72057594037927937.wal",
        "18446744073709551615.sst",
        "18446744073709551616.sst",
        "99999999999999999999999999999999999999999999.wal",
        "MANIFEST-18446744073709551617",
        "vlog",
        "tmp",
        "000005.tmp2",
        "\xff\xfe.wal",
        "000005\xff.wal",
    };
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        assert_type(names[i], FILE_UNKNOWN, 0);
}

/* Any bytes as a name: at most what was made from a number is read as that number. */
static void test_random_names(void **state)
{
    (void)state;
    static const char letters[] = "0123456789.walstmpMANIFEST-CURLOKB";
    uint64_t random = test_seed(2);
    for (size_t i = 0; i < ROUNDS * 5; i++) {
        char name[24] = {0}, out[PATH_SIZE_MAX];
        uint64_t number;
        size_t size = test_random(&random) % 16;
        for (size_t k = 0; k < size; k++)
            name[k] = letters[test_random(&random) % (sizeof letters - 1)];
        if (test_random(&random) % 2)
            memcpy(name + size, test_random(&random) % 2 ? ".wal" : ".sst", 5);
        enum file_type type = file_type_of(name, &number);
        if (type != FILE_WAL && type != FILE_SST && type != FILE_MANIFEST)
            continue;
        OK((type == FILE_WAL ? path_wal : type == FILE_SST ? path_sst : path_manifest)(out, "", number));
        assert_string_equal(out + 1, name);
    }
}

/* A directory whose path leaves no room for a file's name is refused, and one that just fits is not. */
static void test_long_directory(void **state)
{
    (void)state;
    static char dir[PATH_SIZE_MAX + 1];
    char out[PATH_SIZE_MAX];
    memset(dir, 'd', PATH_SIZE_MAX);
    FAILS(TOO_LARGE, path_current(out, dir));
    FAILS(TOO_LARGE, path_sst(out, dir, 7));
    FAILS(TOO_LARGE, path_wal(out, dir, 7));
    FAILS(TOO_LARGE, path_manifest(out, dir, 7));
    dir[PATH_SIZE_MAX - 1 - strlen("/000007.sst")] = 0;
    OK(path_sst(out, dir, 7));
    FAILS(TOO_LARGE, path_sst(out, dir, 1234567));
    FAILS(TOO_LARGE, path_join(out, dir, "000007.sst.tmp"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_fixed_names),
        cmocka_unit_test(test_hostile_names),  cmocka_unit_test(test_random_names),
        cmocka_unit_test(test_long_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
