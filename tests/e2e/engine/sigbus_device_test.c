// SPDX-License-Identifier: Apache-2.0
/*
 * A device that stops answering under a live database: an ext4 file system in a file, whose end is cut off while it is
 * mounted, so that reading what is not cached is EIO by a call and SIGBUS by a mapping.
 *
 * Everything happens in a child with mounts of its own, which end with it. Needs root, a loop device and mkfs.ext4;
 * where one of them is missing the test says so and is skipped.
 */
#include <sched.h>
#include <sys/mount.h>

#include "sigbus_fixture.h"

enum { IMAGE_MIB = 96, WARM = 400 };

/* False: it could not be done, and `what` was said. */
static bool try_command(const char *what, const char *command)
{
    if (system(command) == 0)
        return true;
    printf("skipped: %s is not possible here\n", what);
    return false;
}

static bool image_mount(const char *dir)
{
    char command[700];
    snprintf(command, sizeof command, "mount -o loop '%s/image' '%s/mnt' 2>/dev/null", dir, dir);
    return try_command("mounting a file (a loop device)", command);
}

static bool image_create(const char *dir)
{
    char command[700];
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        printf("skipped: mounts of its own need root\n");
        return false;
    }
    snprintf(command, sizeof command,
             "cd '%s' && mkdir mnt && truncate -s %dM image && "
             "mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 image 2>/dev/null",
             dir, IMAGE_MIB);
    return try_command("making an ext4 file system (mkfs.ext4)", command) && image_mount(dir);
}

/* A closed database on a device whose files are in no cache. */
static void device_prepare(const char *dir, struct bed *b, unsigned keys, size_t value_size)
{
    char mnt[280];
    if (!image_create(dir)) {
        fflush(stdout);
        _exit(SKIPPED);
    }
    snprintf(mnt, sizeof mnt, "%s/mnt", dir);
    bed_init(b, mnt, keys, value_size);
    bed_fill(b);
    CHECK_OK(nokv_close(b->db));
    CHECK(umount(mnt) == 0);
    CHECK(image_mount(dir));
}

static void device_cut(const char *dir)
{
    char path[300];
    snprintf(path, sizeof path, "%s/image", dir);
    CHECK(truncate(path, 1 << 20) == 0);
}

static unsigned warm_check(const struct bed *b)
{
    unsigned right = 0;
    for (unsigned i = 0; i < WARM; i++)
        right += key_check(b, i);
    return right;
}

static void walks_end_with_damage(const struct bed *b)
{
    for (enum way way = FORWARD; way <= BACKWARD; way++) {
        nokv_iter *iter;
        CHECK_OK(nokv_iter_create(b->db, NULL, &iter));
        iter_begin(iter, way);
        CHECK(!iter_walk(iter, way, b->keys));
        iter_is_damaged(iter);
        nokv_iter_destroy(iter);
    }
}

static void device_fails(const char *dir, unsigned keys, size_t value_size, nokv_vlog_read model)
{
    struct bed b;
    struct sigaction before, after;
    unsigned right = 0;
    device_prepare(dir, &b, keys, value_size);
    CHECK(sigaction(SIGBUS, NULL, &before) == 0);
    b.options.vlog_read = model;
    CHECK_OK(nokv_open(b.path, &b.options, &b.db));
    CHECK(warm_check(&b) == WARM);
    device_cut(dir);
    CHECK(warm_check(&b) == WARM); /* what is cached goes on */
    for (unsigned run = 0; run < RUNS; run++)
        right += run_check(&b, run);
    CHECK(right >= WARM && right < keys);
    CHECK(warm_check(&b) == WARM);
    if (value_size < 512) /* in the tables */
        walks_end_with_damage(&b);
    (void)nokv_close(b.db); /* it may not be able to write, and says so */
    CHECK(sigaction(SIGBUS, NULL, &after) == 0 && after.sa_handler == before.sa_handler);
}

static void tables_fail(const char *dir)
{
    device_fails(dir, KEYS, 96, NOKV_VLOG_READ_AUTO);
}

/* Tables, which are mapped: gets and walks of what is not cached are errors, what is cached goes on. */
static void test_tables(void **state)
{
    (void)state;
    child_passes(tables_fail);
}

static void mapped_values_fail(const char *dir)
{
    device_fails(dir, 4000, 2000, NOKV_VLOG_READ_MMAP);
}

static void read_values_fail(const char *dir)
{
    device_fails(dir, 4000, 4096, NOKV_VLOG_READ_PREAD);
}

/* Values in the value log, mapped and read with calls. */
static void test_values(void **state)
{
    (void)state;
    child_passes(mapped_values_fail);
    child_passes(read_values_fail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
