// SPDX-License-Identifier: Apache-2.0
/*
 * multi_get_test.c - many keys in one call are answered as nokv_get would answer each: from every place, in every way
 * of reading, also where something is damaged, a disk fails or memory is short; and what it costs to find out what is
 * cold.
 */
#include <errno.h>

#include "values_fixture.h"

enum { KEYS = 400, ABSENT = 40, VALUE_MAX = 80000, MODELS = NOKV_VLOG_READ_URING + 1, CALL_KEYS = 700 };

/* What is in the database: versions of keys, 0: absent. */
struct wanted {
    uint64_t versions[KEYS + ABSENT];
};

/* A call and its answers. */
struct call {
    char names[CALL_KEYS][24];
    uint64_t ids[CALL_KEYS];
    nokv_slice keys[CALL_KEYS];
    nokv_value values[CALL_KEYS];
    nokv_status statuses[CALL_KEYS];
    size_t count;
};

/* ---- keys and values -------------------------------------------------------------------------------------------- */

/* All homes of a value. */
static size_t mixed_size(uint64_t i, uint64_t version)
{
    static const size_t sizes[] = {40, 600, 900, 4000, 4096, 5000, 17000, 0};
    uint64_t state = i * 1000 + version, drawn = test_random(&state) % 40;
    return drawn == 0 ? VALUE_MAX : drawn < 4 ? 65536 + drawn - 2 : sizes[drawn % 8];
}

static void put_mixed(struct fixture *f, struct wanted *w, uint64_t i, uint64_t version)
{
    sized_put(f->db, i, version, mixed_size(i, version));
    w->versions[i] = version;
}

static void delete_one(struct fixture *f, struct wanted *w, uint64_t i)
{
    kv_delete(f->db, i);
    w->versions[i] = 0;
}

/* Every key in turn, some twice, in an order of its own. */
static void call_random(struct call *c, uint64_t *rng, size_t count)
{
    c->count = count;
    for (size_t n = 0; n < count; n++) {
        c->ids[n] = test_random(rng) % (KEYS + ABSENT);
        c->keys[n] = (nokv_slice){.data = c->names[n], .size = kv_key(c->ids[n], c->names[n])};
    }
}

static void call_all(struct call *c)
{
    c->count = KEYS;
    for (size_t n = 0; n < KEYS; n++) {
        c->ids[n] = n * 7 % KEYS;
        c->keys[n] = (nokv_slice){.data = c->names[n], .size = kv_key(c->ids[n], c->names[n])};
    }
}

static nokv_status call_run(nokv_db *db, struct call *c, const nokv_snapshot *snapshot)
{
    nokv_read_options ro = {.struct_size = sizeof ro, .snapshot = snapshot};
    memset(c->values, 0xee, sizeof c->values);
    memset(c->statuses, 0xee, sizeof c->statuses);
    return nokv_multi_get(db, c->count, c->keys, snapshot ? &ro : NULL, c->values, c->statuses);
}

static void value_is_zeroed(const nokv_value *v)
{
    assert_null(v->data);
    assert_null(v->_pin);
    assert_int_equal(v->size + v->_kind, 0);
}

/* Check one answer that must not be an error, and release it. */
static void answer_check(struct call *c, size_t n, uint64_t version)
{
    uint64_t i = c->ids[n];
    size_t size = mixed_size(i, version);
    assert_int_equal(c->statuses[n], version ? NOKV_OK : NOKV_ERR_NOT_FOUND);
    if (version == 0)
        value_is_zeroed(&c->values[n]);
    else if (!sized_is(i, version, size, c->values[n].data, c->values[n].size))
        fail_msg("key %llu: %zu other bytes than the %zu wanted", (unsigned long long)i, c->values[n].size, size);
    nokv_value_release(&c->values[n]);
}

static void call_check(nokv_db *db, struct call *c, const struct wanted *w, const nokv_snapshot *snapshot)
{
    OK(call_run(db, c, snapshot));
    for (size_t n = 0; n < c->count; n++)
        answer_check(c, n, w->versions[c->ids[n]]);
}

/* With each way of reading the value log one of reading tables, through a cache that is too small for them. */
static void multi_fixture_init(struct fixture *f, nokv_vlog_read model)
{
    fixture_init(f);
    f->options.vlog_read = model;
    f->options.sst_read = (nokv_io_model)(NOKV_IO_STD + (model + 1) % 4);
    f->options.block_cache_bytes = 64 << 10;
    f->options.vlog_segment_bytes = 1 << 20;
}

/* All versions of the keys on their way down: some deep, some in several tables of level 0, some in the memtable. */
static void mixed_fill(struct fixture *f, struct wanted *w, uint64_t *rng)
{
    for (uint64_t i = 0; i < KEYS; i++)
        put_mixed(f, w, i, 1);
    OK(nokv_compact_range(f->db, NULL, 0, NULL, 0));
    f->options.l0_compact_files = f->options.l0_busy_files = 100; /* of the next life: level 0 stays as it is */
    fixture_close(f);
    fixture_open(f);
    for (uint64_t version = 2; version < 6; version++) {
        for (int n = 0; n < KEYS / 8; n++) {
            uint64_t i = test_random(rng) % KEYS;
            if (test_random(rng) % 3 == 0)
                delete_one(f, w, i);
            else
                put_mixed(f, w, i, version);
        }
        if (version < 5)
            OK(nokv_flush(f->db));
    }
}

static void calls_check(struct fixture *f, const struct wanted *w, const nokv_snapshot *snapshot, uint64_t *rng)
{
    static struct call c;
    static const size_t counts[] = {1, 2, 3, 64, 255, 256, 257, CALL_KEYS};
    for (size_t n = 0; n < ARRAY_COUNT(counts); n++) {
        call_random(&c, rng, counts[n]);
        call_check(f->db, &c, w, snapshot);
    }
}

/* ---- right answers ---------------------------------------------------------------------------------------------- */

/* From every place (memtable, several tables of level 0, deep ones) and home, tombstones and absent keys included, in
 * any number and order and with repetitions, with every way of reading the value log, filters and none, the present and
 * a snapshot: what was written comes back. Sealed segments, one being written, and such as a crash left. */
static void test_answers(void **state)
{
    (void)state;
    uint64_t rng = test_seed(1);
    for (int model = 0; model < MODELS; model++) {
        struct fixture f;
        struct wanted old = {0}, now;
        const nokv_snapshot *snapshot = NULL;
        multi_fixture_init(&f, (nokv_vlog_read)model);
        f.options.filter_bits_per_key = model % 2 ? UINT32_MAX : 0;
        fixture_open(&f);
        mixed_fill(&f, &old, &rng);
        assert_true(stats_of(f.db).levels[0].files >= 3);
        OK(nokv_snapshot_create(f.db, &snapshot));
        now = old;
        for (uint64_t i = 0; i < KEYS; i += 3)
            put_mixed(&f, &now, i, 9);
        calls_check(&f, &old, snapshot, &rng);
        calls_check(&f, &now, NULL, &rng);
        nokv_snapshot_release(f.db, snapshot);
        fixture_kill(&f);
        fixture_open(&f);
        calls_check(&f, &now, NULL, &rng);
        OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
        calls_check(&f, &now, NULL, &rng);
        fixture_deinit(&f);
    }
}

/* Memtables that wait for their flush are looked at, the newest first. */
static void test_immutables(void **state)
{
    (void)state;
    static struct call c;
    struct fixture f;
    struct wanted w = {0};
    multi_fixture_init(&f, NOKV_VLOG_READ_AUTO);
    f.options.memtables_max = 8;
    fixture_open(&f);
    sim_fail(f.sim, IO_OP_COUNT, IO_FLUSH, 1, ENOSPC, true);
    for (uint64_t version = 1; version < 4; version++)
        for (uint64_t i = 0; i < 90; i++)
            if (i % version == 0) {
                sized_put(f.db, i, version, 600);
                w.versions[i] = version;
            }
    assert_true(stats_of(f.db).immutable_count >= 1);
    call_all(&c);
    OK(call_run(f.db, &c, NULL));
    for (size_t n = 0; n < c.count; n++) {
        uint64_t version = w.versions[c.ids[n]];
        assert_int_equal(c.statuses[n], version ? NOKV_OK : NOKV_ERR_NOT_FOUND);
        assert_true(version == 0 || sized_is(c.ids[n], version, 600, c.values[n].data, c.values[n].size));
        nokv_value_release(&c.values[n]);
    }
    sim_fail_clear(f.sim);
    fixture_deinit(&f);
}

/* Values that were handed out stay as they are when everything behind them has gone. */
static void test_values_stay(void **state)
{
    (void)state;
    static struct call c;
    for (int model = 0; model < MODELS; model++) {
        struct fixture f;
        struct wanted w = {0};
        uint64_t rng = 3;
        multi_fixture_init(&f, (nokv_vlog_read)model);
        fixture_open(&f);
        mixed_fill(&f, &w, &rng);
        call_all(&c);
        OK(call_run(f.db, &c, NULL));
        for (uint64_t i = 0; i < KEYS; i++)
            kv_delete(f.db, i);
        OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
        OK(nokv_vlog_collect(f.db, 1.0));
        for (size_t n = 0; n < c.count; n++)
            answer_check(&c, n, w.versions[c.ids[n]]);
        fixture_deinit(&f);
    }
}

/* ---- bad calls and bad keys ------------------------------------------------------------------------------------- */

/* An empty key and one that is too long fail alone, the call with the first of them, and its message is the thread's.
 */
static void test_bad_keys(void **state)
{
    (void)state;
    static struct call c;
    static char large[NOKV_KEY_SIZE_MAX + 1];
    struct fixture f;
    struct wanted w = {0};
    uint64_t rng = 4;
    multi_fixture_init(&f, NOKV_VLOG_READ_AUTO);
    fixture_open(&f);
    mixed_fill(&f, &w, &rng);
    call_random(&c, &rng, 300);
    c.keys[290].size = 0;
    c.keys[5] = (nokv_slice){.data = large, .size = sizeof large};
    FAILS(TOO_LARGE, call_run(f.db, &c, NULL));
    assert_non_null(strstr(nokv_error_message(), "65536"));
    for (size_t n = 0; n < c.count; n++) {
        if (n != 5 && n != 290)
            answer_check(&c, n, w.versions[c.ids[n]]);
        else
            value_is_zeroed(&c.values[n]);
    }
    assert_int_equal(c.statuses[5], NOKV_ERR_TOO_LARGE);
    assert_int_equal(c.statuses[290], NOKV_ERR_INVALID);
    fixture_deinit(&f);
}

/* No keys are answered at once; a call that makes no sense says so in every status. */
static void test_bad_calls(void **state)
{
    (void)state;
    static struct call c;
    struct fixture f;
    uint64_t rng = 5;
    nokv_read_options bad = {0};
    fixture_init(&f);
    fixture_open(&f);
    OK(nokv_multi_get(f.db, 0, NULL, NULL, NULL, NULL));
    call_random(&c, &rng, 3);
    FAILS(INVALID, nokv_multi_get(f.db, 3, c.keys, NULL, NULL, c.statuses));
    FAILS(INVALID, nokv_multi_get(f.db, 3, c.keys, &bad, c.values, c.statuses));
    for (size_t n = 0; n < 3; n++) {
        assert_int_equal(c.statuses[n], NOKV_ERR_INVALID);
        value_is_zeroed(&c.values[n]);
    }
    fixture_deinit(&f);
}

/* ---- damage and failures ---------------------------------------------------------------------------------------- */

/* Each key has the status that nokv_get has for it, and sound ones have their values; the call's status and message
 * are those of the first that failed. Returns how many failed. */
static size_t call_compare(nokv_db *db, struct call *c, const struct wanted *w)
{
    size_t failed = 0;
    char message[1024];
    nokv_status status = call_run(db, c, NULL);
    snprintf(message, sizeof message, "%s", nokv_error_message());
    for (size_t n = 0; n < c->count; n++) {
        nokv_value value = {0};
        nokv_status single = nokv_get(db, c->keys[n].data, c->keys[n].size, NULL, &value);
        assert_int_equal(single, c->statuses[n]);
        nokv_value_release(&value);
        if (single == NOKV_OK || single == NOKV_ERR_NOT_FOUND) {
            answer_check(c, n, w->versions[c->ids[n]]);
            continue;
        }
        value_is_zeroed(&c->values[n]);
        if (failed++ == 0) {
            assert_int_equal(status, single);
            assert_string_equal(message, nokv_error_message());
        }
    }
    assert_int_equal(status == NOKV_OK, failed == 0);
    return failed;
}

/* A flipped bit anywhere in a table or a segment hits the keys that nokv_get could not read either, and no others. */
static void test_damage(void **state)
{
    (void)state;
    static struct call c;
    uint64_t rng = test_seed(6);
    size_t some = 0, rounds = test_scale(40);
    for (size_t round = 0; round < rounds; round++) {
        struct fixture f;
        struct wanted w = {0};
        static struct file_list files;
        multi_fixture_init(&f, (nokv_vlog_read)(round % MODELS));
        fixture_open(&f);
        mixed_fill(&f, &w, &rng);
        OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
        fixture_close(&f);
        file_list_get(&f, &files);
        for (size_t n = 0; n < files.count; n++) {
            uint64_t number;
            char path[PATH_SIZE_MAX];
            enum file_type type = file_type_of(files.names[n], &number);
            if ((type != FILE_SST && type != FILE_VLOG) || files.sizes[n] < 4 * PAGE_BYTES)
                continue;
            OK(type == FILE_SST ? path_sst(path, "db", number) : path_vlog(path, "db", number));
            uint64_t at = PAGE_BYTES + test_random(&rng) % (files.sizes[n] - 3 * PAGE_BYTES);
            OK(sim_flip_bit(f.sim, path, at, round % 8));
        }
        if (fixture_try_open(&f) == NOKV_OK) {
            call_all(&c);
            size_t failed = call_compare(f.db, &c, &w);
            some += failed != 0 && failed < c.count;
            assert_int_equal(call_compare(f.db, &c, &w), failed); /* and again */
        }
        fixture_deinit(&f);
    }
    printf("%zu of %zu rounds with some keys that failed\n", some, rounds);
    assert_true(rounds < 10 || some >= rounds / 2);
}

/* A read of the value log that fails once is tried again where it was made ahead of need, and otherwise costs one key;
 * a dead disk costs the keys whose values are read from it, and no others. */
static void test_failed_reads(void **state)
{
    (void)state;
    static struct call c;
    for (int model = NOKV_VLOG_READ_PREAD; model < MODELS; model++) {
        struct fixture f;
        struct wanted w = {0};
        uint64_t rng = 7;
        multi_fixture_init(&f, (nokv_vlog_read)model);
        fixture_open(&f);
        mixed_fill(&f, &w, &rng);
        call_all(&c);
        call_check(f.db, &c, &w, NULL);
        for (uint64_t k = 1; k < 40; k += 3) {
            sim_fail(f.sim, IO_OP_READ, IO_VLOG, k, 5, false);
            size_t failed = 0;
            nokv_status status = call_run(f.db, &c, NULL);
            for (size_t n = 0; n < c.count; n++) {
                if (c.statuses[n] == NOKV_ERR_IO)
                    failed++;
                else
                    answer_check(&c, n, w.versions[c.ids[n]]);
            }
            assert_int_equal(status, failed ? NOKV_ERR_IO : NOKV_OK);
            assert_true(failed <= 1 && sim_failed(f.sim));
            sim_fail_clear(f.sim);
        }
        sim_fail(f.sim, IO_OP_READ, IO_VLOG, 1, 5, true);
        assert_in_range(call_compare(f.db, &c, &w), KEYS / 4, KEYS - 1);
        sim_fail_clear(f.sim);
        call_check(f.db, &c, &w, NULL);
        fixture_deinit(&f);
    }
}

/* One call while the allocation after `k` more fails: the call as a whole, or one key, or nobody. */
static void call_with_failure(struct fixture *f, struct call *c, const struct wanted *w, uint64_t k)
{
    size_t failed = 0;
    mem_fail_after(k);
    nokv_status status = call_run(f->db, c, NULL);
    mem_fail_after(UINT64_MAX);
    for (size_t n = 0; n < c->count; n++) {
        if (c->statuses[n] == NOKV_ERR_NO_MEMORY) {
            value_is_zeroed(&c->values[n]);
            failed++;
        } else {
            answer_check(c, n, w->versions[c->ids[n]]);
        }
    }
    assert_int_equal(status, failed ? NOKV_ERR_NO_MEMORY : NOKV_OK);
    assert_true(failed <= 1 || failed == c->count);
}

/* Whichever allocation fails, also in the first calls after opening: right values or NO_MEMORY, and nothing is lost. */
static void test_allocation_failures(void **state)
{
    (void)state;
    static struct call c;
    for (int model = 0; model < MODELS; model++) {
        struct fixture f;
        struct wanted w = {0};
        uint64_t rng = 8;
        multi_fixture_init(&f, (nokv_vlog_read)model);
        fixture_open(&f);
        mixed_fill(&f, &w, &rng);
        call_random(&c, &rng, 40);
        for (int opened = 0; opened < 2; opened++) {
            uint64_t count = 1;
            for (uint64_t k = 0; k <= count; k++) {
                if (opened == 0) {
                    fixture_close(&f);
                    fixture_open(&f);
                }
                uint64_t before = mem_alloc_count();
                call_with_failure(&f, &c, &w, k);
                count = u64_max(count, mem_alloc_count() - before);
            }
        }
        fixture_deinit(&f);
    }
}

/* The same for the blocks of tables that are read with calls: a read that fails once is nobody's error. */
static void test_failed_block_reads(void **state)
{
    (void)state;
    static struct call c;
    static const nokv_io_model models[] = {NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING};
    for (size_t m = 0; m < ARRAY_COUNT(models); m++) {
        struct fixture f;
        struct wanted w = {0};
        uint64_t rng = 10;
        multi_fixture_init(&f, NOKV_VLOG_READ_MMAP);
        f.options.sst_read = models[m];
        f.options.value_separation_min = f.options.value_direct_min = UINT32_MAX; /* more than fits into the cache */
        fixture_open(&f);
        mixed_fill(&f, &w, &rng);
        call_all(&c);
        uint64_t k = 1;
        for (bool failed = true; failed; k += 1 + k / 4) { /* until a call has fewer reads */
            sim_fail(f.sim, IO_OP_READ, IO_SST, k, 5, false);
            call_check(f.db, &c, &w, NULL);
            failed = sim_failed(f.sim);
            sim_fail_clear(f.sim);
        }
        assert_true(k > 20);
        sim_fail(f.sim, IO_OP_READ, IO_SST, 1, 5, true);
        nokv_status status = call_run(f.db, &c, NULL);
        size_t failed = 0;
        for (size_t n = 0; n < c.count; n++) {
            failed += c.statuses[n] == NOKV_ERR_IO;
            if (c.statuses[n] != NOKV_ERR_IO)
                answer_check(&c, n, w.versions[c.ids[n]]);
        }
        assert_in_range(failed, 1, c.count - 1);
        assert_int_equal(status, NOKV_ERR_IO);
        sim_fail_clear(f.sim);
        call_check(f.db, &c, &w, NULL);
        fixture_deinit(&f);
    }
}

/* ---- what it costs ---------------------------------------------------------------------------------------------- */

static uint64_t read_calls(nokv_db *db)
{
    nokv_stats s = stats_of(db);
    return s.components[NOKV_COMPONENT_SST].calls + s.components[NOKV_COMPONENT_VLOG].calls;
}

/* While everything is cached no system call is made for files, once that was seen often enough. */
static void test_hot_calls(void **state)
{
    (void)state;
    static struct call c;
    struct fixture f;
    struct wanted w = {0};
    multi_fixture_init(&f, NOKV_VLOG_READ_MMAP);
    f.options.sst_read = NOKV_IO_MMAP;
    fixture_open(&f);
    for (uint64_t i = 0; i < KEYS; i++)
        put_mixed(&f, &w, i, 1);
    OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
    fixture_close(&f); /* seals what is being written */
    fixture_open(&f);
    call_all(&c);
    uint64_t opened = read_calls(f.db);
    call_check(f.db, &c, &w, NULL);
    assert_true(read_calls(f.db) >= opened + 50); /* about every piece that is not the neighbour of the one before */
    for (int n = 0; n < 20; n++)
        call_check(f.db, &c, &w, NULL);
    uint64_t before = read_calls(f.db);
    for (int n = 0; n < 160; n++)
        call_check(f.db, &c, &w, NULL);
    assert_int_equal(read_calls(f.db), before);
    fixture_deinit(&f);
}

/* Level 0 with more tables than a call looks at together: the same answers; and what cannot be read is an error of its
 * key. */
static void test_many_tables(void **state)
{
    (void)state;
    enum { TABLES = 70 };
    static struct call c;
    struct fixture f;
    struct wanted w = {0};
    multi_fixture_init(&f, NOKV_VLOG_READ_PREAD);
    f.options.l0_compact_files = 200;
    f.options.l0_busy_files = 300;
    f.options.sst_read = NOKV_IO_STD;
    fixture_open(&f);
    for (uint64_t n = 0; n < TABLES; n++) {
        put_mixed(&f, &w, 0, n + 1);
        put_mixed(&f, &w, n + 1, 1);
        put_mixed(&f, &w, KEYS - 1, n + 1);
        OK(nokv_flush(f.db));
    }
    assert_int_equal(f.db->version->levels[0].count, TABLES);
    call_all(&c);
    call_check(f.db, &c, &w, NULL);
    fixture_close(&f);
    fixture_open(&f);
    sim_fail(f.sim, IO_OP_READ, IO_SST, 1, EIO, true);
    FAILS(IO, call_run(f.db, &c, NULL));
    sim_fail_clear(f.sim);
    size_t failed = 0;
    for (size_t n = 0; n < c.count; n++) {
        if (c.statuses[n] == NOKV_ERR_IO) {
            value_is_zeroed(&c.values[n]);
            failed++;
        } else {
            answer_check(&c, n, w.versions[c.ids[n]]);
        }
    }
    assert_true(failed > TABLES / 2);
    call_check(f.db, &c, &w, NULL);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_immutables),
        cmocka_unit_test(test_values_stay),
        cmocka_unit_test(test_bad_keys),
        cmocka_unit_test(test_bad_calls),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_failed_reads),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_failed_block_reads),
        cmocka_unit_test(test_hot_calls),
        cmocka_unit_test(test_many_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
