// SPDX-License-Identifier: Apache-2.0
/*
 * ahead_test.c - iterators that look ahead show what iterators that do not would show: the same entries, the same
 * values, the same errors at the same keys; and they cost the reads that they should.
 */
#include "db_fixture.h"

enum { KEYS = 300, VALUE_MAX = 80000, MODELS = NOKV_VLOG_READ_URING + 1 };

/* What an iterator must show: versions of keys, 0: absent; those in [first, end). */
struct wanted {
    uint64_t versions[KEYS];
    size_t first, end;
};

/* ---- keys and values -------------------------------------------------------------------------------------------- */

/* All homes of a value, most of them copied ones. */
static size_t mixed_size(uint64_t i, uint64_t version)
{
    static const size_t sizes[] = {40, 600, 900, 4096, 5000, 17000, 65536};
    uint64_t state = i * 1000 + version, drawn = test_random(&state) % 40;
    return drawn == 0 ? VALUE_MAX : drawn < 3 ? 65536 + drawn - 1 : sizes[drawn % 6];
}

static size_t small_size(uint64_t i, uint64_t version)
{
    return 600 + (i + version) % 50;
}

/* Unlike any other, from its first bytes on. */
static void value_make(uint64_t i, uint64_t version, size_t size, char *out)
{
    uint64_t state = i << 32 | version;
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = test_random(&state);
        memcpy(out + at, &word, size - at < 8 ? size - at : 8);
    }
}

static void shown_check(nokv_slice value, uint64_t i, uint64_t version, size_t size)
{
    static char expected[VALUE_MAX];
    assert_non_null(value.data);
    assert_int_equal(value.size, size);
    value_make(i, version, size, expected);
    if (memcmp(value.data, expected, size) != 0)
        fail_msg("wrong value of key %llu", (unsigned long long)i);
}

static void put_sized(nokv_db *db, uint64_t i, uint64_t version, size_t size)
{
    static char value[VALUE_MAX];
    char key[24];
    value_make(i, version, size, value);
    OK(nokv_put(db, key, kv_key(i, key), value, size, NULL));
}

static void ahead_fixture_init(struct fixture *f, nokv_vlog_read model)
{
    fixture_init(f);
    f->options.vlog_read = model;
    f->options.vlog_segment_bytes = 1 << 20;
}

/* KEYS keys with copied values of one chunk, all in tables and in sealed segments. */
static void small_fill(struct fixture *f)
{
    fixture_open(f);
    for (uint64_t i = 0; i < KEYS; i++)
        put_sized(f->db, i, 1, small_size(i, 1));
    OK(nokv_flush(f->db));
    OK(nokv_compact_range(f->db, NULL, 0, NULL, 0));
}

static nokv_iter *iter_new(nokv_db *db)
{
    nokv_iter *it = NULL;
    OK(nokv_iter_create(db, NULL, &it));
    return it;
}

/* From the current entry, which must be key `i`, on; with values. Where it stopped. */
static uint64_t walk_on(nokv_iter *it, uint64_t i)
{
    for (; nokv_iter_valid(it); nokv_iter_next(it), i++) {
        char key[24];
        nokv_slice k = nokv_iter_key(it), v = nokv_iter_value(it);
        if (!nokv_iter_valid(it))
            return i;
        assert_int_equal(k.size, kv_key(i, key));
        assert_memory_equal(k.data, key, k.size);
        shown_check(v, i, 1, small_size(i, 1));
    }
    return i;
}

static uint64_t walk(nokv_iter *it)
{
    nokv_iter_first(it);
    return walk_on(it, 0);
}

/* The same backward, from key `i` - 1 on; down to where. */
static uint64_t walk_back_on(nokv_iter *it, uint64_t i)
{
    for (; nokv_iter_valid(it); nokv_iter_prev(it), i--) {
        nokv_slice v = nokv_iter_value(it);
        if (!nokv_iter_valid(it))
            return i;
        shown_check(v, i - 1, 1, small_size(i - 1, 1));
    }
    return i;
}

static uint64_t walk_back(nokv_iter *it)
{
    nokv_iter_last(it);
    return walk_back_on(it, KEYS);
}

static void seek_to(nokv_iter *it, uint64_t i)
{
    char key[24];
    nokv_iter_seek(it, key, kv_key(i, key));
}

/* ---- random walks ----------------------------------------------------------------------------------------------- */

static void random_write(struct fixture *f, uint64_t *rng, uint64_t version, struct wanted *w)
{
    for (int n = 0; n < KEYS; n++) {
        uint64_t i = test_random(rng) % KEYS;
        if (test_random(rng) % 4 == 0) {
            kv_delete(f->db, i);
            w->versions[i] = 0;
        } else {
            put_sized(f->db, i, version, mixed_size(i, version));
            w->versions[i] = version;
        }
        if (n == KEYS / 2)
            OK(nokv_flush(f->db));
    }
}

/* The nearest key from `at` on in this direction that must be shown; KEYS: none. */
static size_t wanted_find(const struct wanted *w, size_t at, bool backward)
{
    for (; at >= w->first && at < w->end; backward ? at-- : at++)
        if (w->versions[at])
            return at;
    return KEYS;
}

static void position_check(nokv_iter *it, const struct wanted *w, size_t at, bool with_value)
{
    OK(nokv_iter_status(it));
    assert_int_equal(nokv_iter_valid(it), at != KEYS);
    if (at == KEYS)
        return;
    char key[24];
    nokv_slice k = nokv_iter_key(it);
    size_t size = mixed_size(at, w->versions[at]);
    assert_int_equal(k.size, kv_key(at, key));
    assert_memory_equal(k.data, key, k.size);
    assert_int_equal(nokv_iter_value_size(it), size);
    if (with_value) {
        shown_check(nokv_iter_value(it), at, w->versions[at], size);
        shown_check(nokv_iter_value(it), at, w->versions[at], size); /* the same when asked again */
    }
}

static size_t random_position(nokv_iter *it, const struct wanted *w, uint64_t *rng)
{
    char key[24];
    size_t target = w->first + test_random(rng) % (w->end - w->first);
    switch (test_random(rng) % 4) {
    case 0:
        nokv_iter_first(it);
        return wanted_find(w, w->first, false);
    case 1:
        nokv_iter_last(it);
        return wanted_find(w, w->end - 1, true);
    case 2:
        nokv_iter_seek(it, key, kv_key(target, key));
        return wanted_find(w, target, false);
    default:
        nokv_iter_seek_for_prev(it, key, kv_key(target, key));
        return wanted_find(w, target, true);
    }
}

/* Runs in one direction, long enough to look ahead; some of them leave out values. */
static void random_walk(nokv_iter *it, const struct wanted *w, uint64_t *rng)
{
    static const uint64_t skips[] = {UINT64_MAX, UINT64_MAX, 10, 2, 1};
    size_t at = random_position(it, w, rng);
    position_check(it, w, at, true);
    for (int run = 0; run < 6 && at != KEYS; run++) {
        bool backward = test_random(rng) % 2;
        uint64_t skip = skips[test_random(rng) % ARRAY_COUNT(skips)], left = 1 + test_random(rng) % 60;
        for (; left > 0 && at != KEYS; left--) {
            if (backward)
                nokv_iter_prev(it);
            else
                nokv_iter_next(it);
            at = wanted_find(w, backward ? at - 1 : at + 1, backward);
            position_check(it, w, at, test_random(rng) % skip != 0);
        }
    }
}

static void random_walks(struct fixture *f, const struct wanted *all, const nokv_snapshot *snapshot, uint64_t *rng)
{
    struct wanted w = *all;
    nokv_iter *it = NULL;
    char lower[24], upper[24];
    nokv_iter_options o = {.struct_size = sizeof o, .snapshot = snapshot};
    if (test_random(rng) % 2) {
        w.first = test_random(rng) % (KEYS / 2);
        w.end = w.first + 1 + test_random(rng) % (KEYS / 2);
        o.lower = (nokv_slice){.data = (uint8_t *)lower, .size = kv_key(w.first, lower)};
        o.upper = (nokv_slice){.data = (uint8_t *)upper, .size = kv_key(w.end, upper)};
    }
    OK(nokv_iter_create(f->db, &o, &it));
    for (int n = 0; n < 4; n++)
        random_walk(it, &w, rng);
    nokv_iter_destroy(it);
}

/* Random walks with turns and seeks, over values of all homes and sizes, deletes, a snapshot and bounds, with every way
 * of reading the value log, show what was written; sealed segments, one being written, and such as a crash left. */
static void test_random_walks(void **state)
{
    (void)state;
    uint64_t rng = test_seed(1);
    for (int model = 0; model < MODELS; model++) {
        struct fixture f;
        struct wanted old = {.end = KEYS}, now;
        const nokv_snapshot *snapshot = NULL;
        ahead_fixture_init(&f, (nokv_vlog_read)model);
        fixture_open(&f);
        random_write(&f, &rng, 1, &old);
        if (model % 2)
            fixture_kill(&f), fixture_open(&f);
        OK(nokv_snapshot_create(f.db, &snapshot));
        now = old;
        random_write(&f, &rng, 2, &now);
        for (uint64_t round = test_scale(20); round > 0; round--) {
            random_walks(&f, &now, NULL, &rng);
            random_walks(&f, &old, snapshot, &rng);
        }
        nokv_snapshot_release(f.db, snapshot);
        fixture_kill(&f);
        fixture_open(&f);
        for (uint64_t round = test_scale(20); round > 0; round--)
            random_walks(&f, &now, NULL, &rng);
        fixture_deinit(&f);
    }
}

/* ---- what it costs ---------------------------------------------------------------------------------------------- */

static nokv_component_stats vlog_stats(nokv_db *db)
{
    return stats_of(db).components[NOKV_COMPONENT_VLOG];
}

/* A scan of keys reads nothing of the value log, nor does one of values that are handed out in place. */
static void test_no_reads_without_need(void **state)
{
    (void)state;
    struct fixture f;
    ahead_fixture_init(&f, NOKV_VLOG_READ_URING);
    small_fill(&f);
    uint64_t reads = vlog_stats(f.db).reads, count = 0;
    nokv_iter *it = iter_new(f.db);
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it))
        count += nokv_iter_value_size(it) != 0;
    assert_int_equal(count, KEYS);
    assert_int_equal(vlog_stats(f.db).reads, reads);
    nokv_iter_destroy(it);
    fixture_close(&f);
    f.options.vlog_read = NOKV_VLOG_READ_MMAP;
    fixture_open(&f);
    it = iter_new(f.db);
    assert_int_equal(walk(it), KEYS); /* opens the segments */
    nokv_component_stats before = vlog_stats(f.db);
    assert_int_equal(walk(it), KEYS);
    assert_int_equal(vlog_stats(f.db).calls, before.calls);
    nokv_iter_destroy(it);
    fixture_deinit(&f);
}

/* With standard I/O each value is a read of its own still, and few hints come before them. */
static void test_hints(void **state)
{
    (void)state;
    struct fixture f;
    ahead_fixture_init(&f, NOKV_VLOG_READ_PREAD);
    small_fill(&f);
    nokv_iter *it = iter_new(f.db);
    assert_int_equal(walk(it), KEYS);
    nokv_component_stats before = vlog_stats(f.db);
    assert_int_equal(walk(it), KEYS);
    nokv_component_stats after = vlog_stats(f.db);
    uint64_t hints = after.calls - before.calls - (after.reads - before.reads);
    assert_int_equal(after.reads - before.reads, KEYS);
    assert_true(hints > 0 && hints < KEYS / 4);
    nokv_iter_destroy(it);
    fixture_deinit(&f);
}

/* How many system calls a walk over values costs that lie in the value log in another order than that of the keys. */
static uint64_t scattered_calls(nokv_db *db, nokv_iter *it, bool backward)
{
    uint64_t before = vlog_stats(db).calls;
    if (backward)
        assert_int_equal(walk_back(it), 0);
    else
        assert_int_equal(walk(it), KEYS);
    return vlog_stats(db).calls - before;
}

/* Through io_uring and O_DIRECT a real file's values cost far fewer system calls than there are values, both ways. */
static void test_calls_on_a_real_disk(void **state)
{
    (void)state;
    static const nokv_vlog_read models[] = {NOKV_VLOG_READ_URING, NOKV_VLOG_READ_DIRECT};
    char dir[256], path[300];
    bool looked = false;
    test_dir_create(dir);
    for (size_t m = 0; m < ARRAY_COUNT(models); m++) {
        nokv_options o;
        nokv_db *db = NULL;
        nokv_options_init(&o);
        o.vlog_read = models[m];
        o.value_direct_min = 512;
        snprintf(path, sizeof path, "%s/db%zu", dir, m);
        OK(nokv_open(path, &o, &db));
        for (uint64_t i = 0; i < KEYS; i++)
            put_sized(db, i * 77 % KEYS, 1, small_size(i * 77 % KEYS, 1));
        OK(nokv_close(db)); /* seals the segment */
        OK(nokv_open(path, &o, &db));
        nokv_iter *it = iter_new(db);
        assert_int_equal(walk(it), KEYS);
        bool is_on = strcmp(vlog_stats(db).model, models[m] == NOKV_VLOG_READ_URING ? "uring" : "direct") == 0 &&
                     strcmp(io_uring_state(db->io), "on") == 0;
        uint64_t forward = scattered_calls(db, it, false), back = scattered_calls(db, it, true);
        printf("%s: %llu and %llu calls for %d values\n", vlog_stats(db).model, (unsigned long long)forward,
               (unsigned long long)back, KEYS);
        assert_true(!is_on || (forward < KEYS / 8 && back < KEYS / 8));
        looked |= is_on;
        nokv_iter_destroy(it);
        OK(nokv_close(db));
    }
    test_dir_remove(dir);
    if (!looked)
        skip();
}

/* ---- failures --------------------------------------------------------------------------------------------------- */

/* Flip a bit in the middle of a value, wherever it is. */
static void value_damage(struct fixture *f, uint64_t i)
{
    static uint8_t file[2 * FIXTURE_FILE_MAX];
    uint64_t numbers[256];
    char value[1000], path[PATH_SIZE_MAX];
    size_t size = small_size(i, 1), count = numbers_of(f, FILE_VLOG, numbers), found = 0;
    value_make(i, 1, size, value);
    for (size_t n = 0; n < count; n++) {
        OK(path_vlog(path, "db", numbers[n]));
        size_t file_size = fixture_file_read(f, path, file, sizeof file);
        const uint8_t *at = memmem(file, file_size, value, size);
        if (at != NULL) {
            OK(sim_flip_bit(f->sim, path, (uint64_t)(at - file) + size / 2, 3));
            found++;
        }
    }
    assert_int_equal(found, 1);
}

/* A damaged value is met at its key, wherever that is in what was looked at ahead, and all others can be read. */
static void test_damage(void **state)
{
    (void)state;
    for (int model = NOKV_VLOG_READ_AUTO; model < MODELS; model++) {
        for (uint64_t bad = 0; bad < 60; bad += 1 + bad / 8) {
            struct fixture f;
            ahead_fixture_init(&f, (nokv_vlog_read)model);
            small_fill(&f);
            fixture_close(&f);
            value_damage(&f, bad);
            fixture_open(&f);
            nokv_iter *it = iter_new(f.db);
            for (int round = 0; round < 2; round++) {
                assert_int_equal(walk(it), bad);
                FAILS(CORRUPT, nokv_iter_status(it));
                assert_non_null(strstr(nokv_error_message(), "checksum mismatch"));
                seek_to(it, bad + 1);
                assert_int_equal(walk_on(it, bad + 1), KEYS);
                OK(nokv_iter_status(it));
            }
            nokv_iter_destroy(it);
            fixture_deinit(&f);
        }
    }
}

/* A read ahead that fails once is nobody's error: the value is read again when it is asked for. */
static void test_failed_reads(void **state)
{
    (void)state;
    struct fixture f;
    bool failed = true;
    ahead_fixture_init(&f, NOKV_VLOG_READ_URING);
    small_fill(&f);
    nokv_iter *it = iter_new(f.db);
    assert_int_equal(walk(it), KEYS);
    for (uint64_t k = 2; failed; k++) { /* the first is not ahead */
        sim_fail(f.sim, IO_OP_READ, IO_VLOG, k, 5, false);
        assert_int_equal(walk(it), KEYS);
        OK(nokv_iter_status(it));
        failed = sim_failed(f.sim);
        sim_fail_clear(f.sim);
        assert_true(k < KEYS);
    }
    nokv_iter_destroy(it);
    fixture_deinit(&f);
}

/* A disk that fails for good is reported at the first value that is not there yet, and not before. */
static void test_dead_disk(void **state)
{
    (void)state;
    struct fixture f;
    ahead_fixture_init(&f, NOKV_VLOG_READ_URING);
    small_fill(&f);
    nokv_iter *it = iter_new(f.db);
    assert_int_equal(walk(it), KEYS);
    sim_fail(f.sim, IO_OP_READ, IO_VLOG, 3, 5, true); /* a value, and what is looked at first: nine */
    assert_int_equal(walk(it), 1 + 9);
    FAILS(IO, nokv_iter_status(it));
    sim_fail_clear(f.sim);
    assert_int_equal(walk(it), KEYS);
    nokv_iter_destroy(it);
    fixture_deinit(&f);
}

/* A damaged table ends the walk behind the same key as a walk that does not look ahead, and with the same message. */
static void test_damaged_table(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t numbers[256], keys = 0;
    char path[PATH_SIZE_MAX], message[1000];
    ahead_fixture_init(&f, NOKV_VLOG_READ_URING);
    small_fill(&f);
    fixture_close(&f);
    assert_int_equal(numbers_of(&f, FILE_SST, numbers), 1);
    OK(path_sst(path, "db", numbers[0]));
    OK(sim_flip_bit(f.sim, path, 2 * PAGE_BYTES + 100, 3));
    fixture_open(&f);
    nokv_iter *it = iter_new(f.db);
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it))
        keys++;
    FAILS(CORRUPT, nokv_iter_status(it));
    snprintf(message, sizeof message, "%s", nokv_error_message());
    assert_true(keys > 10 && keys < KEYS);
    for (uint64_t start = 0; start < 20; start++) {         /* so that it is now here, now there in what is looked at */
        FAILS(INVALID, nokv_put(f.db, "", 0, "", 0, NULL)); /* another message */
        seek_to(it, start);
        for (uint64_t i = start; i < keys; i++) {
            shown_check(nokv_iter_value(it), i, 1, small_size(i, 1));
            assert_null(strstr(nokv_error_message(), "checksum")); /* not before it is met */
            nokv_iter_next(it);
        }
        assert_false(nokv_iter_valid(it));
        FAILS(CORRUPT, nokv_iter_status(it));
        assert_string_equal(nokv_error_message(), message);
    }
    nokv_iter_destroy(it);
    fixture_deinit(&f);
}

/* All values, forward and back, while the allocation after `k` more fails; going on with a seek where it hurt. */
static void walk_with_failure(nokv_db *db, uint64_t k)
{
    nokv_iter *it = NULL;
    uint64_t i = 0;
    mem_fail_after(k);
    if (nokv_iter_create(db, NULL, &it) != NOKV_OK)
        OK(nokv_iter_create(db, NULL, &it)); /* it fails once */
    for (i = walk(it); i < KEYS; i = walk_on(it, i)) {
        FAILS(NO_MEMORY, nokv_iter_status(it));
        seek_to(it, i);
    }
    OK(nokv_iter_status(it));
    for (i = walk_back(it); i > 0; i = walk_back_on(it, i)) {
        FAILS(NO_MEMORY, nokv_iter_status(it));
        seek_to(it, i - 1);
    }
    OK(nokv_iter_status(it));
    mem_fail_after(UINT64_MAX);
    nokv_iter_destroy(it);
}

/* Whichever allocation fails, a walk shows the right values, or NO_MEMORY at a key, from which it can go on. */
static void test_allocation_failures(void **state)
{
    (void)state;
    for (int model = NOKV_VLOG_READ_PREAD; model < MODELS; model++) {
        struct fixture f;
        ahead_fixture_init(&f, (nokv_vlog_read)model);
        small_fill(&f);
        walk_with_failure(f.db, UINT64_MAX);
        uint64_t before = mem_alloc_count();
        walk_with_failure(f.db, UINT64_MAX);
        uint64_t count = mem_alloc_count() - before;
        for (uint64_t k = 0; k < count; k++)
            walk_with_failure(f.db, k);
        fixture_deinit(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_walks),
        cmocka_unit_test(test_no_reads_without_need),
        cmocka_unit_test(test_hints),
        cmocka_unit_test(test_calls_on_a_real_disk),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_failed_reads),
        cmocka_unit_test(test_dead_disk),
        cmocka_unit_test(test_damaged_table),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
