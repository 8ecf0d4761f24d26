// SPDX-License-Identifier: Apache-2.0
/* probe_test.c - point reads of many keys in steps, where the disk does not give what it should. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sst/reader.h"
#include "sst_model.h"

enum { KEYS = 3, VALUE_BYTES = 6000 }; /* each in a block of two pages */

static void model_fill_large(struct model *m)
{
    uint8_t value[VALUE_BYTES];
    memset(value, 'v', sizeof value);
    for (size_t i = 0; i < KEYS; i++)
        model_add(m, &"abc"[i], 1, key_tag(i + 1, KEY_VALUE), value, sizeof value);
}

/* As if the device did not give this page of a mapping any more: it is one behind the end of a file. */
static void page_lose(struct table *t, const uint8_t *page)
{
    char path[400];
    snprintf(path, sizeof path, "%s/empty", t->dir);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    void *lost = (void *)(uintptr_t)page;
    assert_ptr_equal(mmap(lost, PAGE_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0), lost);
    close(fd);
}

static struct lookup get_of(struct table *t, const struct model *m, size_t i)
{
    struct lookup found = {0};
    struct slice key = m->entries[i].key.user;
    OK(sst_reader_get(t->r, key, sst_key_hash(key), KEY_SEQ_MAX, &found));
    assert_true(found.found && slice_equal(found.value, m->entries[i].value));
    return found;
}

/*
 * A value whose first page is there and whose second one is lost: its key is left to sst_reader_get(), which says so.
 * What is handed out can be read.
 */
static void test_lost_page_of_a_value(void **state)
{
    (void)state;
    struct table t;
    struct model m = {0};
    struct sst_probe probes[KEYS];
    struct io_hints hints = {0};
    model_fill_large(&m);
    table_open(&t, &m, model_options());
    for (size_t i = 0; i < KEYS; i++) {
        struct slice key = m.entries[i].key.user;
        (void)get_of(&t, &m, i); /* verified */
        probes[i] = (struct sst_probe){
            .user_key = key, .hash = sst_key_hash(key), .seq = KEY_SEQ_MAX, .readers = &t.r, .reader_count = 1};
    }
    page_lose(&t, (const uint8_t *)align_up((uintptr_t)get_of(&t, &m, 1).value.data, PAGE_BYTES));
    sst_probes_plan(probes, KEYS);
    sst_probes_fetch(probes, KEYS, true, &hints);
    sst_probes_look(probes, KEYS);
    for (size_t i = 0; i < KEYS; i++) {
        if (i == 1) {
            struct lookup found = {0};
            assert_int_equal(probes[i].state, SST_PROBE_ASK);
            FAILS(IO, sst_reader_get(t.r, m.entries[i].key.user, probes[i].hash, KEY_SEQ_MAX, &found));
            continue;
        }
        assert_true(probes[i].state == SST_PROBE_FOUND || probes[i].state == SST_PROBE_ASK);
        if (probes[i].state == SST_PROBE_FOUND)
            assert_true(slice_equal(probes[i].lookup.value, m.entries[i].value));
        (void)get_of(&t, &m, i);
    }
    table_close(&t);
    model_free(&m);
}

static void probes_init(struct sst_probe probes[KEYS], struct table *t, const struct model *m)
{
    for (size_t i = 0; i < KEYS; i++) {
        struct slice key = m->entries[i].key.user;
        probes[i] = (struct sst_probe){
            .user_key = key, .hash = sst_key_hash(key), .seq = KEY_SEQ_MAX, .readers = &t->r, .reader_count = 1};
    }
}

/* A filter that is lost after it was verified leaves every key to sst_reader_get(), which says so. */
static void test_lost_filter(void **state)
{
    (void)state;
    struct table t;
    struct model m = {0};
    struct sst_probe probes[KEYS];
    struct io_hints hints = {0};
    model_fill_large(&m);
    table_open(&t, &m, model_options());
    (void)get_of(&t, &m, 0);
    probes_init(probes, &t, &m);
    page_lose(&t, t.r->filter);
    sst_probes_plan(probes, KEYS);
    sst_probes_fetch(probes, KEYS, true, &hints);
    sst_probes_look(probes, KEYS);
    for (size_t i = 0; i < KEYS; i++) {
        struct lookup found = {0};
        assert_int_equal(probes[i].state, SST_PROBE_ASK);
        FAILS(IO, sst_reader_get(t.r, m.entries[i].key.user, probes[i].hash, KEY_SEQ_MAX, &found));
    }
    table_close(&t);
    model_free(&m);
}

/* A file that was cut short after the open: what is in front of the cut is found, the key in the block that was cut is
 * left to sst_reader_get(), which says so. */
static void test_file_cut_short(void **state)
{
    (void)state;
    struct table t, copied;
    struct model m = {0};
    struct sst_probe probes[KEYS];
    struct io_hints hints = {0};
    model_fill_large(&m);
    table_open(&t, &m, model_options());
    table_open_copied(&copied, &t, IO_STD);
    probes_init(probes, &copied, &m);
    assert_int_equal(truncate(t.path, 5 * PAGE_BYTES), 0); /* header, two keys' block, half of the third one's */
    sst_probes_plan(probes, KEYS);
    sst_probes_fetch(probes, KEYS, true, &hints);
    sst_probes_look(probes, KEYS);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(probes[i].state, SST_PROBE_FOUND);
        assert_true(slice_equal(probes[i].lookup.value, m.entries[i].value));
        cache_block_unref(probes[i].lookup.holder);
    }
    struct lookup found = {0};
    assert_int_equal(probes[2].state, SST_PROBE_ASK);
    FAILS(CORRUPT, sst_reader_get(copied.r, m.entries[2].key.user, probes[2].hash, KEY_SEQ_MAX, &found));
    assert_non_null(strstr(status_message(), t.path));
    table_close_copied(&copied);
    table_close(&t);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lost_page_of_a_value),
        cmocka_unit_test(test_lost_filter),
        cmocka_unit_test(test_file_cut_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
