// SPDX-License-Identifier: Apache-2.0
/*
 * sigbus_store_test.c - the files behind the shared buffers lose their pages while somebody stores into them, as they
 * do when a file system shuts down. The program lives; the write that met it, and every later one, is refused; what was
 * written before stays readable, and the database opens again.
 *
 * Here a stranger cuts the buffer's file. What it held goes with it, so only what had been flushed is asked for; until
 * the reopen the newest values among that are read out of the buffer, and may be damaged.
 */
#include "sigbus_fixture.h"

enum { FLUSHED = 2000, WRITES_MAX = 200000 };

static void is_poisoned(struct bed *b, nokv_status first)
{
    char key[KEY_SIZE + 1];
    CHECK(first == NOKV_ERR_IO || first == NOKV_ERR_POISONED);
    key_make(FLUSHED, key);
    CHECK(nokv_put(b->db, key, KEY_SIZE, "x", 1, NULL) == NOKV_ERR_POISONED);
    CHECK(nokv_delete(b->db, key, KEY_SIZE, NULL) == NOKV_ERR_POISONED);
    CHECK(nokv_sync_wal(b->db) == NOKV_ERR_POISONED);
}

static void flushed_is_there(struct bed *b, bool may_be_damaged)
{
    unsigned right = 0;
    for (unsigned i = 0; i < FLUSHED; i++)
        right += key_check(b, i);
    CHECK(right == FLUSHED || (may_be_damaged && right > 0));
}

/* `file`: below the database. Puts go on until one is refused; none is acknowledged behind it. */
static void buffer_lost(const char *dir, const char *file, size_t value_size, size_t direct_min)
{
    struct bed b = {0};
    char path[600], key[KEY_SIZE + 1];
    uint8_t value[VALUE_SIZE_MAX];
    bed_init(&b, dir, FLUSHED, value_size);
    b.options.value_direct_min = (uint32_t)direct_min;
    CHECK_OK(nokv_open(b.path, &b.options, &b.db));
    for (unsigned i = 0; i < FLUSHED; i++) {
        key_make(i, key);
        CHECK_OK(nokv_put(b.db, key, KEY_SIZE, value, value_make(i, value_size, value), NULL));
    }
    CHECK_OK(nokv_flush(b.db));
    snprintf(path, sizeof path, "%s/%s", b.path, file);
    CHECK(truncate(path, 0) == 0);
    nokv_status status = NOKV_OK;
    for (unsigned i = FLUSHED; status == NOKV_OK; i++) {
        CHECK(i < WRITES_MAX);
        key_make(i, key);
        status = nokv_put(b.db, key, KEY_SIZE, value, value_make(i, value_size, value), NULL);
    }
    CHECK(strstr(nokv_error_message(), "SIGBUS") != NULL || strstr(nokv_error_message(), file) != NULL);
    is_poisoned(&b, status);
    flushed_is_there(&b, direct_min != 0);
    (void)!nokv_close(b.db); /* whatever it says */
    CHECK_OK(nokv_open(b.path, &b.options, &b.db));
    flushed_is_there(&b, false);
    key_make(FLUSHED, key);
    CHECK_OK(nokv_put(b.db, key, KEY_SIZE, "x", 1, NULL));
    CHECK_OK(nokv_close(b.db));
}

static void log_buffer_lost(const char *dir)
{
    buffer_lost(dir, "WALBUF", 96, 0);
}

static void value_buffer_lost(const char *dir)
{
    buffer_lost(dir, "VLOGBUF", VALUE_SIZE_MAX, VALUE_SIZE_MAX);
}

/* A put whose record would stand in a page of the log's buffer that is gone is refused, and so is what follows. */
static void test_log_buffer(void **state)
{
    (void)state;
    child_passes(log_buffer_lost);
}

/* The same for a large value and the buffers of the value log. */
static void test_value_buffer(void **state)
{
    (void)state;
    child_passes(value_buffer_lost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_log_buffer), cmocka_unit_test(test_value_buffer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
