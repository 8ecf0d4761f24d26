// SPDX-License-Identifier: Apache-2.0
/*
 * race_test.c - what two threads do in the wrong moment, without threads: a call of io is replaced by one that does
 * first what the other thread would do. And a process that cannot handle SIGBUS.
 */
#include "sst_model.h"

static void (*before_open)(void *arg); /* once, at the next io_open */
static void *before_open_arg;
static bool guard_fails;

enum nokv_status __real_io_open(struct io *io, const char *path, enum io_component component, enum io_model model,
                                unsigned flags, struct io_file **out_file);
enum nokv_status __wrap_io_open(struct io *io, const char *path, enum io_component component, enum io_model model,
                                unsigned flags, struct io_file **out_file);
enum nokv_status __real_io_guard_install(void);
enum nokv_status __wrap_io_guard_install(void);

enum nokv_status __wrap_io_open(struct io *io, const char *path, enum io_component component, enum io_model model,
                                unsigned flags, struct io_file **out_file)
{
    void (*fn)(void *) = TAKE(before_open);
    if (fn != NULL)
        fn(before_open_arg);
    return __real_io_open(io, path, component, model, flags, out_file);
}

enum nokv_status __wrap_io_guard_install(void)
{
    return guard_fails ? FAIL(IO, "no handler") : __real_io_guard_install();
}

struct scene {
    struct table t;
    struct model m;
};

static void scene_init(struct scene *s)
{
    *s = (struct scene){0};
    model_add(&s->m, "key", 3, key_tag(1, KEY_VALUE), "value", 5);
    table_open(&s->t, &s->m, model_options());
    sst_reader_unref(s->t.r);
    s->t.r = NULL;
    OK(cache_create(CACHE_BYTES_MIN, &s->t.cache));
}

static void scene_deinit(struct scene *s)
{
    sst_reader_unref(s->t.r);
    s->t.r = NULL;
    epoch_drain();
    cache_destroy(s->t.cache);
    table_close(&s->t);
    model_free(&s->m);
}

static void get_cold(void *arg)
{
    struct scene *s = arg;
    struct lookup found = {0};
    struct slice key = s->m.entries[0].key.user;
    OK(sst_reader_get_cold(s->t.r, key, sst_key_hash(key), KEY_SEQ_MAX, &found));
    assert_true(found.found && found.holder && slice_equal(found.value, s->m.entries[0].value));
    cache_block_unref(found.holder);
}

/* Two that need the handle for copying at the same time: one's is kept, the other's is closed again. */
static void test_two_open_the_file(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    struct sst_access access = {.cache = s.t.cache};
    OK(sst_reader_open_with(s.t.io, s.t.path, 7, 0, &access, &s.t.r));
    int unused = dup(0);
    close(unused);
    before_open = get_cold;
    before_open_arg = &s;
    get_cold(&s);
    assert_null(before_open);
    sst_reader_unref(TAKE(s.t.r));
    epoch_drain();
    int now = dup(0);
    close(now);
    assert_int_equal(now, unused); /* no handle is left */
    scene_deinit(&s);
}

/* Where SIGBUS cannot be handled no table is opened. */
static void test_no_guard(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    guard_fails = true;
    FAILS(IO, sst_reader_open(s.t.io, s.t.path, 7, 0, &s.t.r));
    assert_non_null(strstr(status_message(), "no handler"));
    assert_null(s.t.r);
    guard_fails = false;
    OK(sst_reader_open(s.t.io, s.t.path, 7, 0, &s.t.r));
    scene_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_open_the_file),
        cmocka_unit_test(test_no_guard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
