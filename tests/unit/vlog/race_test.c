// SPDX-License-Identifier: Apache-2.0
/*
 * race_test.c - what threads do to each other in one moment only: calls that the module makes are replaced by ones that
 * stop there until another thread has come to where it waits. And answers of the kernel that no file gives.
 */
#include <pthread.h>

#include "base/thread.h"
#include "vlog/format.h"
#include "vlog_model.h"

/* ---- the calls -------------------------------------------------------------------------------------------------- */

enum nokv_status __real_io_open(struct io *io, const char *path, enum io_component component, enum io_model model,
                                unsigned flags, struct io_file **out_file);
enum nokv_status __wrap_io_open(struct io *io, const char *path, enum io_component component, enum io_model model,
                                unsigned flags, struct io_file **out_file);
enum nokv_status __real_io_pwrite(struct io_file *file, const void *data, size_t size, uint64_t off);
enum nokv_status __wrap_io_pwrite(struct io_file *file, const void *data, size_t size, uint64_t off);
enum nokv_status __real_io_size(struct io_file *file, uint64_t *out_size);
enum nokv_status __wrap_io_size(struct io_file *file, uint64_t *out_size);
enum nokv_status __real_io_guard_install(void);
enum nokv_status __wrap_io_guard_install(void);
void __real_cond_wait(struct cond *c, struct mutex *m);
void __wrap_cond_wait(struct cond *c, struct mutex *m);
void __real_mutex_unlock(struct mutex *m);
void __wrap_mutex_unlock(struct mutex *m);

/* Where threads stop until the gate is open. */
static pthread_mutex_t gate_mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_changed = PTHREAD_COND_INITIALIZER;
static unsigned gate_stopped;
static bool gate_is_open;

/* Of this thread, each for its next call only, but for the last one. */
static _Thread_local bool stops_at_pwrite, stops_at_unlock, opens_gate_at_wait, fails_pwrite, fails_all_pwrites;

static void (*before_open)(void *arg); /* once, at the next io_open */
static void *before_open_arg;
static bool guard_fails;
static uint64_t size_said; /* 0: the right one */

static bool take_flag(bool *flag)
{
    bool was = *flag;
    *flag = false;
    return was;
}

static void gate_close(void)
{
    gate_stopped = 0;
    gate_is_open = false;
}

static void gate_open(void)
{
    pthread_mutex_lock(&gate_mu);
    gate_is_open = true;
    pthread_cond_broadcast(&gate_changed);
    pthread_mutex_unlock(&gate_mu);
}

static void gate_stop(void)
{
    pthread_mutex_lock(&gate_mu);
    gate_stopped++;
    pthread_cond_broadcast(&gate_changed);
    while (!gate_is_open)
        pthread_cond_wait(&gate_changed, &gate_mu);
    pthread_mutex_unlock(&gate_mu);
}

static void gate_await(unsigned threads)
{
    pthread_mutex_lock(&gate_mu);
    while (gate_stopped < threads)
        pthread_cond_wait(&gate_changed, &gate_mu);
    pthread_mutex_unlock(&gate_mu);
}

enum nokv_status __wrap_io_open(struct io *io, const char *path, enum io_component component, enum io_model model,
                                unsigned flags, struct io_file **out_file)
{
    void (*fn)(void *) = TAKE(before_open);
    if (fn != NULL)
        fn(before_open_arg);
    return __real_io_open(io, path, component, model, flags, out_file);
}

enum nokv_status __wrap_io_pwrite(struct io_file *file, const void *data, size_t size, uint64_t off)
{
    if (take_flag(&stops_at_pwrite))
        gate_stop();
    if (take_flag(&fails_pwrite) || fails_all_pwrites)
        return FAIL(IO, "the disk is away");
    return __real_io_pwrite(file, data, size, off);
}

enum nokv_status __wrap_io_size(struct io_file *file, uint64_t *out_size)
{
    enum nokv_status status = __real_io_size(file, out_size);
    if (size_said != 0)
        *out_size = size_said;
    return status;
}

enum nokv_status __wrap_io_guard_install(void)
{
    return guard_fails ? FAIL(IO, "no handler") : __real_io_guard_install();
}

/* The gate opens while `m` is held: whoever was stopped comes on when this thread waits. */
void __wrap_cond_wait(struct cond *c, struct mutex *m)
{
    if (take_flag(&opens_gate_at_wait))
        gate_open();
    __real_cond_wait(c, m);
}

void __wrap_mutex_unlock(struct mutex *m)
{
    __real_mutex_unlock(m);
    if (take_flag(&stops_at_unlock))
        gate_stop();
}

/* ---- the segment ------------------------------------------------------------------------------------------------ */

enum { THREADS = 3, PER_THREAD = 100, ITEMS_MAX = THREADS * PER_THREAD + 10, SMALL = 1000 };

struct scene {
    struct sim *sim;
    struct io *io;
    struct vlog_writer *w;
    struct vlog_reader *r;
    struct item items[ITEMS_MAX];
    size_t count;
};

static void scene_init(struct scene *s, void (*full)(void *arg))
{
    memset(s, 0, sizeof *s);
    gate_close();
    OK(epoch_register());
    OK(sim_create(&(struct sim_options){.seed = 9}, &s->sim));
    OK(sim_io_create(s->sim, &s->io));
    struct vlog_writer_options o = model_options(s->io, "v", ".");
    o.buffer_bytes = VLOG_BUFFER_MIN;
    o.full = full;
    o.full_arg = s;
    OK(vlog_writer_create(&o, &s->w));
    OK(vlog_reader_open(s->io, "v", SEGMENT, VLOG_READ_AUTO, s->w, NULL, &s->r));
}

static struct item *item_next(struct scene *s, size_t value_size)
{
    assert_true(s->count < ITEMS_MAX);
    s->items[s->count] = (struct item){.number = s->count, .key_size = 8, .value_size = value_size};
    return &s->items[s->count++];
}

/* Sealed, the segment holds the items that have a place, and nothing else but padding. */
static void check_sealed(struct scene *s)
{
    static unsigned seen[ITEMS_MAX];
    struct vlog_scan_totals totals;
    const struct vlog_scan_options o = {
        .io = s->io, .path = "v", .number = SEGMENT, .component = IO_OTHER, .is_sealed = true};
    memset(seen, 0, sizeof seen);
    OK(vlog_writer_seal(s->w));
    OK(items_scan(&o, s->items, s->count, seen, &totals));
    for (size_t i = 0; i < s->count; i++)
        assert_int_equal(seen[i], s->items[i].pointer.off != 0);
    assert_int_equal(totals.record_bytes + totals.padding_bytes, totals.end - PAGE_BYTES);
}

static void scene_deinit(struct scene *s)
{
    vlog_reader_unref(s->r);
    vlog_writer_destroy(s->w);
    epoch_drain();
    io_destroy(s->io);
    sim_destroy(s->sim);
    free(s);
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

struct worker {
    struct scene *s;
    struct item items[PER_THREAD];
    size_t count;
    enum nokv_status status;
    pthread_t thread;
};

/* Appends until it has stopped once, with a full buffer in its hands. */
static void *fill_a_buffer(void *arg)
{
    struct worker *me = arg;
    stops_at_pwrite = true;
    while (stops_at_pwrite && me->status == NOKV_OK && me->count < PER_THREAD)
        me->status = item_append(me->s->w, &me->items[me->count++]);
    return NULL;
}

/* An append that finds every other buffer being written waits for one of them, and goes on. */
static void test_append_waits_for_a_buffer(void **state)
{
    (void)state;
    static struct worker workers[THREADS];
    struct scene *s = malloc(sizeof *s);
    scene_init(s, NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.s = s};
        for (size_t k = 0; k < PER_THREAD; k++)
            workers[i].items[k] = (struct item){.number = i * PER_THREAD + k, .key_size = 8, .value_size = SMALL};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, fill_a_buffer, &workers[i]), 0);
        gate_await(i + 1);
    }
    s->count = THREADS * PER_THREAD;
    opens_gate_at_wait = true;
    while (opens_gate_at_wait && s->count < ITEMS_MAX)
        OK(item_append(s->w, item_next(s, VLOG_BUFFER_MIN - SMALL)));
    assert_false(opens_gate_at_wait); /* it has waited */
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].status, NOKV_OK);
        memcpy(&s->items[i * PER_THREAD], workers[i].items, sizeof workers[i].items);
    }
    for (size_t i = 0; i < s->count; i++)
        if (s->items[i].pointer.off != 0)
            OK(item_read(s->r, &s->items[i]));
    check_sealed(s);
    scene_deinit(s);
}

static void *read_first(void *arg)
{
    struct worker *me = arg;
    me->status = epoch_register();
    stops_at_unlock = true; /* it has found the bytes in a buffer, and not copied them yet */
    if (me->status == NOKV_OK)
        me->status = item_read_range(me->s->r, &me->s->items[0], 0, SMALL);
    return NULL;
}

/* Sealing waits for who still copies out of a buffer, before it lets go of the memory. */
static void test_seal_waits_for_a_reader(void **state)
{
    (void)state;
    struct scene *s = malloc(sizeof *s);
    static struct worker reader;
    scene_init(s, NULL);
    OK(item_append(s->w, item_next(s, SMALL)));
    reader = (struct worker){.s = s};
    assert_int_equal(pthread_create(&reader.thread, NULL, read_first, &reader), 0);
    gate_await(1);
    opens_gate_at_wait = true;
    OK(vlog_writer_seal(s->w));
    assert_false(opens_gate_at_wait); /* it has waited */
    pthread_join(reader.thread, NULL);
    assert_int_equal(reader.status, NOKV_OK);
    check_sealed(s);
    scene_deinit(s);
}

static struct worker filler;

static void *write_full(void *arg)
{
    struct worker *me = arg;
    stops_at_pwrite = true;
    me->status = vlog_writer_write_full(me->s->w);
    return NULL;
}

/* Another thread is about to write the buffer with the record's head when the write of its middle fails. */
static void full_and_fails(void *arg)
{
    filler = (struct worker){.s = arg};
    assert_int_equal(pthread_create(&filler.thread, NULL, write_full, &filler), 0);
    gate_await(1);
    fails_pwrite = opens_gate_at_wait = true;
}

/* The place of a value that could not be written becomes padding, also where its head is being written right then: the
 * padding is written after that, not before. */
static void test_padding_waits_for_a_write(void **state)
{
    (void)state;
    struct scene *s = malloc(sizeof *s);
    scene_init(s, full_and_fails);
    OK(item_append(s->w, item_next(s, SMALL)));
    struct item *failed = item_next(s, 3 * VLOG_BUFFER_MIN);
    FAILS(IO, item_append(s->w, failed));
    assert_false(opens_gate_at_wait); /* it has waited */
    pthread_join(filler.thread, NULL);
    assert_int_equal(filler.status, NOKV_OK);
    assert_int_equal(failed->pointer.off, 0);
    OK(item_append(s->w, item_next(s, SMALL)));
    check_sealed(s);
    scene_deinit(s);
}

/* ---- one thread ------------------------------------------------------------------------------------------------- */

/* While the disk is away, failed places pile up to a number, and then none is taken; with the disk they all become
 * padding. */
static void test_failed_places_are_bounded(void **state)
{
    (void)state;
    enum { PLACES_MAX = 1024 };
    struct scene *s = malloc(sizeof *s);
    struct vlog_stream *last = NULL, *stream = NULL;
    enum nokv_status status = NOKV_OK;
    size_t count = 0;
    scene_init(s, NULL);
    fails_all_pwrites = true;
    OK(vlog_stream_begin(s->w, slice_make("k", 1), 10, &last));
    while (count <= PLACES_MAX && (status = vlog_stream_begin(s->w, slice_make("k", 1), 10, &stream)) == NOKV_OK) {
        vlog_stream_abandon(last); /* not the last place, so that it cannot be given back */
        last = stream;
        count++;
    }
    assert_int_equal(status, NOKV_ERR_IO);
    assert_int_equal(count, PLACES_MAX);
    fails_all_pwrites = false;
    OK(vlog_stream_begin(s->w, slice_make("k", 1), 10, &stream));
    vlog_stream_abandon(last);
    vlog_stream_abandon(stream);
    OK(item_append(s->w, item_next(s, SMALL)));
    check_sealed(s);
    scene_deinit(s);
}

static void prepare_scan(void *arg)
{
    struct scene *s = arg;
    struct io_read_request request = {0};
    uint8_t key[8];
    assert_true(vlog_read_prepare_scan(s->r, &s->items[0].pointer, item_key(&s->items[0], key), &request));
    assert_non_null(request.file);
}

/* Two long scans that need their handle at the same time: one's is kept, the other's is closed again. */
static void test_two_open_the_file(void **state)
{
    (void)state;
    struct scene *s = malloc(sizeof *s);
    scene_init(s, NULL);
    OK(item_append(s->w, item_next(s, SMALL)));
    OK(vlog_writer_seal(s->w));
    vlog_reader_unref(TAKE(s->r));
    OK(vlog_reader_open(s->io, "v", SEGMENT, VLOG_READ_AUTO, NULL, NULL, &s->r));
    before_open = prepare_scan;
    before_open_arg = s;
    prepare_scan(s);
    assert_null(before_open);
    scene_deinit(s); /* a handle that is left would leak */
}

/* A file that is longer than any segment can be is refused by its size alone. */
static void test_too_long(void **state)
{
    (void)state;
    struct scene *s = malloc(sizeof *s);
    struct vlog_reader *r = NULL;
    scene_init(s, NULL);
    size_said = VLOG_OFF_MAX + 1;
    FAILS(CORRUPT, vlog_reader_open(s->io, "v", SEGMENT, VLOG_READ_AUTO, NULL, NULL, &r));
    assert_non_null(strstr(status_message(), "bytes are no segment"));
    size_said = 0;
    check_sealed(s);
    scene_deinit(s);
}

/* Where SIGBUS cannot be handled no segment is opened for reading. */
static void test_no_guard(void **state)
{
    (void)state;
    struct scene *s = malloc(sizeof *s);
    struct vlog_reader *r = NULL;
    scene_init(s, NULL);
    guard_fails = true;
    FAILS(IO, vlog_reader_open(s->io, "v", SEGMENT, VLOG_READ_AUTO, s->w, NULL, &r));
    assert_non_null(strstr(status_message(), "no handler"));
    assert_null(r);
    guard_fails = false;
    check_sealed(s);
    scene_deinit(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_waits_for_a_buffer),
        cmocka_unit_test(test_seal_waits_for_a_reader),
        cmocka_unit_test(test_padding_waits_for_a_write),
        cmocka_unit_test(test_failed_places_are_bounded),
        cmocka_unit_test(test_two_open_the_file),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_no_guard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
