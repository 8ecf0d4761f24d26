// SPDX-License-Identifier: Apache-2.0
/*
 * compaction_test.c - flush and compaction against a plain list of all writes: what any snapshot and the present see
 * stays as it was, and nothing more than that is kept.
 */
#include <errno.h>

#include "base/thread.h"
#include "lsm/compaction.h"
#include "lsm_fixture.h"

enum { HISTORY_MAX = 6000, KEYS_MAX = 2000, SNAPSHOTS_MAX = 6 };

/* All writes; entry i has sequence number i + 1. */
struct history {
    struct entry entries[HISTORY_MAX];
    size_t count, keys;
    uint64_t snapshots[SNAPSHOTS_MAX];
    size_t snapshot_count;
};

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void key_make(size_t number, char out[24])
{
    snprintf(out, 24, "key%05zu", number);
}

static void history_draw(struct history *h, size_t count, size_t keys, size_t snapshots, uint64_t *random)
{
    size_t kept = 0;
    h->count = count;
    h->keys = keys;
    for (size_t i = 0; i < count; i++) {
        char key[24];
        bool deletion = test_random(random) % 4 == 0;
        key_make(test_random(random) % keys, key);
        entry_make(&h->entries[i], lsm_text(key), key_tag(i + 1, deletion ? KEY_TOMBSTONE : KEY_VALUE));
    }
    for (size_t i = 0; i < snapshots; i++)
        h->snapshots[i] = test_random(random) % (count + 1);
    qsort(h->snapshots, snapshots, sizeof h->snapshots[0], compare_u64);
    for (size_t i = 0; i < snapshots; i++)
        if (kept == 0 || h->snapshots[kept - 1] != h->snapshots[i])
            h->snapshots[kept++] = h->snapshots[i];
    h->snapshot_count = kept;
}

/* The tag that a read of the key at `seq` shows; 0: nothing, or deleted. */
static uint64_t history_read(const struct history *h, struct slice key, uint64_t seq)
{
    for (size_t i = seq < h->count ? seq : h->count; i > 0; i--)
        if (slice_equal(entry_key(&h->entries[i - 1]).user, key))
            return tag_kind(h->entries[i - 1].tag) == KEY_TOMBSTONE ? 0 : h->entries[i - 1].tag;
    return 0;
}

static void check_reads_at(const struct history *h, const struct version *v, uint64_t seq)
{
    for (size_t k = 0; k < h->keys; k++) {
        char key[24];
        struct lookup found;
        struct table *t;
        key_make(k, key);
        OK(version_get(v, lsm_text(key), seq, &found, &t));
        uint64_t tag = found.found && tag_kind(found.tag) != KEY_TOMBSTONE ? found.tag : 0;
        uint64_t wanted = history_read(h, lsm_text(key), seq);
        if (tag != wanted)
            fail_msg("%s at %llu shows %llx instead of %llx", key, (unsigned long long)seq, (unsigned long long)tag,
                     (unsigned long long)wanted);
    }
}

/* Each snapshot and the present see what they should. */
static void check_reads(const struct history *h, const struct version *v)
{
    for (size_t i = 0; i < h->snapshot_count; i++)
        check_reads_at(h, v, h->snapshots[i]);
    check_reads_at(h, v, KEY_SEQ_MAX);
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

static uint64_t number_allocate(void *arg)
{
    static struct mutex mu = {PTHREAD_MUTEX_INITIALIZER};
    struct lsm *f = arg;
    mutex_lock(&mu);
    uint64_t number = f->next_number++;
    mutex_unlock(&mu);
    return number;
}

static struct compaction_job job_make(struct lsm *f, const struct history *h, uint64_t table_bytes)
{
    return (struct compaction_job){.threads_max = 1,
                                   .writer = {.env = &f->env,
                                              .model = IO_STD,
                                              .sst = *lsm_sst_options(),
                                              .table_bytes = table_bytes,
                                              .snapshots = h->snapshots,
                                              .snapshot_count = h->snapshot_count,
                                              .allocate_number = number_allocate,
                                              .allocate_arg = f}};
}

static struct memtable *memtable_of(const struct history *h, size_t from, size_t to)
{
    struct memtable *m = NULL;
    OK(memtable_create(1 << 20, NULL, &m));
    for (size_t i = from; i < to; i++)
        OK(memtable_add(m, entry_key(&h->entries[i]), entry_value(&h->entries[i])));
    return m;
}

/* The entries [from, to) as a table of level 0. */
static void flush(struct lsm *f, struct version **v, const struct history *h, size_t from, size_t to)
{
    struct compaction_job job = job_make(f, h, 1);
    job.memtable = memtable_of(h, from, to);
    OK(flush_run(&job));
    memtable_unref(job.memtable);
    assert_true(job.output_count <= 1); /* however large: a flush is one table */
    if (job.output_count == 1) {
        table_ref(job.outputs[0]);
        lsm_put(f, v, 0, job.outputs[0]);
    }
    compaction_job_deinit(&job, false);
}

static void flush_all(struct lsm *f, struct version **v, const struct history *h, size_t tables)
{
    for (size_t i = 0; i < tables; i++)
        flush(f, v, h, h->count * i / tables, h->count * (i + 1) / tables);
}

/* The version after the compaction, in place of *v. */
static void install(struct lsm *f, struct version **v, const struct compaction_inputs *in, struct compaction_job *job)
{
    struct edit edit = {0};
    struct version *now = NULL;
    for (uint32_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < in->counts[l]; i++) {
            OK(edit_remove_table(&edit, l, in->tables[l][i]->desc.number));
            if (in->trivial_move)
                OK(edit_add_table(&edit, in->output_level, &in->tables[l][i]->desc));
            else
                atomic_store(&in->tables[l][i]->removed, true);
        }
    for (size_t i = 0; i < job->output_count; i++)
        OK(edit_add_table(&edit, in->output_level, &job->outputs[i]->desc));
    OK(version_apply(*v, &edit, &f->env, job->outputs, job->output_count, "test", &now));
    edit_deinit(&edit);
    version_unref(*v);
    *v = now;
}

/* ---- what must come out ----------------------------------------------------------------------------------------- */

struct entries {
    struct entry *items;
    size_t count, capacity;
};

static void entries_collect(struct entries *out, struct table *const *tables, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct iter *it = NULL;
        OK(sst_iter_create(tables[i]->reader, &it));
        for (iter_first(it); it->valid; iter_next(it)) {
            if (out->count == out->capacity) {
                out->capacity = out->capacity ? 2 * out->capacity : 256;
                out->items = realloc(out->items, out->capacity * sizeof *out->items);
                assert_non_null(out->items);
            }
            entry_make(&out->items[out->count], it->key.user, it->key.tag);
            assert_true(slice_equal(entry_value(&out->items[out->count]), it->value));
            out->count++;
        }
        OK(it->status);
        iter_destroy(it);
    }
}

/* Does anybody read between `seq` and the next newer version? */
static bool is_seen(const struct history *h, uint64_t seq, uint64_t newer)
{
    for (size_t i = 0; i < h->snapshot_count; i++)
        if (h->snapshots[i] >= seq && h->snapshots[i] < newer)
            return true;
    return newer > h->count; /* the newest of all: the present reads it */
}

static bool lies_deeper(const struct version *v, uint32_t level, struct slice key)
{
    for (uint32_t l = level + 1; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < v->levels[l].count; i++)
            if (table_overlaps(v->levels[l].tables[i], key, key))
                return true;
    return false;
}

static bool is_tombstone_of_nothing(const struct history *h, const struct version *v, uint32_t level,
                                    const struct entry *e)
{
    bool snapshot_below = h->snapshot_count > 0 && h->snapshots[0] < tag_seq(e->tag);
    return tag_kind(e->tag) == KEY_TOMBSTONE && !snapshot_below && !lies_deeper(v, level, entry_key(e).user);
}

/* The rule, one entry at a time: seen by somebody, and no tombstone that hides nothing. */
static void rule_apply(struct entries *e, const struct history *h, const struct version *v, uint32_t output_level)
{
    size_t kept = 0;
    struct entry before = {0};
    qsort(e->items, e->count, sizeof *e->items, entry_compare);
    for (size_t i = 0; i < e->count; i++) {
        struct entry entry = e->items[i];
        bool same_key = i > 0 && slice_equal(entry_key(&before).user, entry_key(&entry).user);
        uint64_t newer = same_key ? tag_seq(before.tag) : UINT64_MAX;
        before = entry;
        if (is_seen(h, tag_seq(entry.tag), newer) && !is_tombstone_of_nothing(h, v, output_level, &entry))
            e->items[kept++] = entry;
    }
    e->count = kept;
}

static void check_same(const struct entries *a, const struct entries *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++)
        assert_int_equal(entry_compare(&a->items[i], &b->items[i]), 0);
}

static struct entries inputs_entries(const struct compaction_inputs *in)
{
    struct entries e = {0};
    for (size_t l = 0; l < LEVELS_MAX; l++)
        entries_collect(&e, in->tables[l], in->counts[l]);
    return e;
}

static void check_outputs(const struct history *h, const struct version *v, const struct compaction_inputs *in,
                          const struct compaction_job *job)
{
    struct entries wanted = inputs_entries(in), got = {0};
    rule_apply(&wanted, h, v, in->output_level);
    entries_collect(&got, job->outputs, job->output_count);
    check_same(&wanted, &got);
    for (size_t i = 1; i < job->output_count; i++)
        assert_true(key_compare(job->outputs[i - 1]->desc.largest.user, job->outputs[i]->desc.smallest.user) < 0);
    free(wanted.items);
    free(got.items);
}

/* ---- the tests -------------------------------------------------------------------------------------------------- */

static const struct picker_options eager = {
    .level_base_bytes = 1, .level_ratio = 2, .table_bytes = 1, .l0_compact_files = 1, .l0_busy_files = 1};

/* One compaction, whichever is due. False: none is. */
static bool compact_once(struct lsm *f, struct version **v, const struct history *h, uint64_t *random)
{
    struct compaction_inputs in;
    bool found = false;
    OK(picker_pick(*v, &eager, true, false, &in, &found));
    if (!found)
        return false;
    struct compaction_job job = job_make(f, h, (3 + test_random(random) % 4) << 13);
    job.version = *v;
    job.inputs = &in;
    job.threads_max = 1 + (uint32_t)(test_random(random) % 4);
    if (!in.trivial_move) {
        OK(compaction_run(&job));
        check_outputs(h, *v, &in, &job);
    }
    install(f, v, &in, &job);
    compaction_job_deinit(&job, false);
    compaction_inputs_deinit(&in);
    return true;
}

/* From level 0 to the bottom, compaction by compaction: each keeps exactly what somebody sees, and all reads stay. */
static void test_reads_stay(void **state)
{
    (void)state;
    uint64_t random = test_seed(1);
    static struct history h;
    for (int round = 0; round < 12; round++) {
        struct lsm f;
        struct version *v = lsm_empty();
        size_t compactions = 0, keys = round % 3 == 0 ? 20 : 150;
        lsm_init(&f);
        history_draw(&h, 200 + test_random(&random) % 1000, keys, round % 4 == 0 ? 0 : SNAPSHOTS_MAX, &random);
        for (size_t part = 0; part < 3; part++) { /* older data is deeper when the next comes */
            for (size_t i = 0; i < 3; i++)
                flush(&f, &v, &h, h.count * (part * 3 + i) / 9, h.count * (part * 3 + i + 1) / 9);
            for (uint64_t n = part < 2 ? test_random(&random) % 6 : UINT64_MAX; n > 0; n--) {
                if (!compact_once(&f, &v, &h, &random))
                    break;
                compactions++;
                assert_true(compactions < 1000);
            }
        }
        check_reads(&h, v);
        assert_true(compactions > 0);
        assert_int_equal(v->levels[0].count, 0);
        version_unref(v);
        epoch_drain();
        lsm_deinit(&f);
    }
}

/* A range compaction without snapshots leaves one version per live key, and no tombstone at all. */
static void test_bottom_is_clean(void **state)
{
    (void)state;
    uint64_t random = test_seed(2);
    static struct history h;
    struct lsm f;
    struct version *v = lsm_empty();
    struct compaction_inputs in;
    bool found;
    lsm_init(&f);
    history_draw(&h, 2000, 100, 0, &random);
    flush_all(&f, &v, &h, 5);
    OK(picker_pick_range(v, (struct slice){0}, (struct slice){0}, &in, &found));
    struct compaction_job job = job_make(&f, &h, 1 << 20);
    job.version = v;
    job.inputs = &in;
    OK(compaction_run(&job));
    check_outputs(&h, v, &in, &job);
    size_t live = 0, entries = 0;
    for (size_t k = 0; k < h.keys; k++) {
        char key[24];
        key_make(k, key);
        live += history_read(&h, lsm_text(key), KEY_SEQ_MAX) != 0;
    }
    for (size_t i = 0; i < job.output_count; i++) {
        entries += job.outputs[i]->desc.entries;
        assert_int_equal(job.outputs[i]->desc.tombstones, 0);
    }
    assert_int_equal(entries, live);
    assert_int_equal(job.output_count, 1);
    install(&f, &v, &in, &job);
    check_reads(&h, v);
    compaction_job_deinit(&job, false);
    compaction_inputs_deinit(&in);
    size_t before = lsm_files(&f, ".sst");
    version_unref(v);
    assert_int_equal(f.obsolete_count, before - 1); /* every input, not the one output */
    lsm_deinit(&f);
}

/* A tombstone above older data stays: the older version must not come back. */
static void test_tombstone_stays_above_data(void **state)
{
    (void)state;
    static struct history h;
    struct lsm f;
    struct version *v = lsm_empty();
    struct compaction_inputs in;
    bool found;
    lsm_init(&f);
    h = (struct history){.count = 4, .keys = 3};
    entry_make(&h.entries[0], lsm_text("key00001"), key_tag(1, KEY_VALUE));
    entry_make(&h.entries[1], lsm_text("key00001"), key_tag(2, KEY_TOMBSTONE));
    entry_make(&h.entries[2], lsm_text("key00000"), key_tag(3, KEY_TOMBSTONE));
    entry_make(&h.entries[3], lsm_text("key00002"), key_tag(4, KEY_TOMBSTONE));
    lsm_put(&f, &v, 7, lsm_table(&f, h.entries, 1));
    flush(&f, &v, &h, 1, 4);
    lsm_put(&f, &v, 6, lsm_table(&f, h.entries, 1)); /* so that the base level is 6 */
    static const struct picker_options options = {
        .level_base_bytes = 1 << 20, .level_ratio = 2, .table_bytes = 1, .l0_compact_files = 1, .l0_busy_files = 1};
    OK(picker_pick(v, &options, true, false, &in, &found));
    assert_true(found && in.level == 0 && in.output_level == 6);
    struct compaction_job job = job_make(&f, &h, 1 << 20);
    job.version = v;
    job.inputs = &in;
    OK(compaction_run(&job));
    assert_int_equal(job.output_count, 1);
    assert_int_equal(job.outputs[0]->desc.entries, 1); /* of three tombstones the one that hides something */
    assert_int_equal(job.outputs[0]->desc.tombstones, 1);
    install(&f, &v, &in, &job);
    check_reads(&h, v);
    compaction_job_deinit(&job, false);
    compaction_inputs_deinit(&in);
    version_unref(v);
    lsm_deinit(&f);
}

/* Cut into parts that run side by side, a compaction writes the same entries as in one piece. */
static void test_parts(void **state)
{
    (void)state;
    uint64_t random = test_seed(3);
    static struct history h;
    struct lsm f;
    struct version *v = lsm_empty();
    struct compaction_inputs in;
    bool found;
    lsm_init(&f);
    history_draw(&h, HISTORY_MAX, KEYS_MAX, 4, &random);
    flush_all(&f, &v, &h, 4);
    OK(picker_pick_range(v, (struct slice){0}, (struct slice){0}, &in, &found));
    struct entries one = {0};
    for (uint32_t threads = 1; threads <= 16; threads *= 2) {
        struct entries parts = {0};
        struct compaction_job job = job_make(&f, &h, 1 << 15);
        job.version = v;
        job.inputs = &in;
        job.threads_max = threads;
        OK(compaction_run(&job));
        assert_true(job.parts <= threads && (threads == 1 || job.parts > 1));
        assert_true(job.read_bytes > 0 && job.write_bytes > 0);
        check_outputs(&h, v, &in, &job);
        entries_collect(threads == 1 ? &one : &parts, job.outputs, job.output_count);
        if (threads > 1)
            check_same(&one, &parts);
        free(parts.items);
        compaction_job_deinit(&job, true);
    }
    free(one.items);
    compaction_inputs_deinit(&in);
    version_unref(v);
    lsm_deinit(&f);
}

/* What is found when everything in a memtable is shadowed or deleted: a flush keeps its tombstones, one per key. */
static void test_flush_of_deletes(void **state)
{
    (void)state;
    static struct history h;
    struct lsm f;
    struct version *v = lsm_empty();
    lsm_init(&f);
    h = (struct history){.count = 100, .keys = 1};
    for (size_t i = 0; i < 100; i++)
        entry_make(&h.entries[i], lsm_text("key00000"), key_tag(i + 1, i == 99 ? KEY_TOMBSTONE : KEY_VALUE));
    flush(&f, &v, &h, 0, 100);
    assert_int_equal(v->levels[0].tables[0]->desc.entries, 1);
    assert_int_equal(v->levels[0].tables[0]->desc.tombstones, 1);
    check_reads(&h, v);
    version_unref(v);
    lsm_deinit(&f);
}

/* ---- failures --------------------------------------------------------------------------------------------------- */

struct scene {
    struct lsm f;
    struct version *v;
    struct compaction_inputs in;
    struct memtable *memtable;
    struct history *h;
};

static void scene_init(struct scene *s, uint64_t *random)
{
    static struct history h;
    bool found;
    s->h = &h;
    s->v = lsm_empty();
    lsm_init(&s->f);
    history_draw(&h, 900, 300, 2, random);
    flush_all(&s->f, &s->v, &h, 3);
    s->memtable = memtable_of(&h, 0, 300);
    OK(picker_pick_range(s->v, (struct slice){0}, (struct slice){0}, &s->in, &found));
    assert_true(found);
}

static void scene_deinit(struct scene *s)
{
    compaction_inputs_deinit(&s->in);
    memtable_unref(s->memtable);
    version_unref(s->v);
    lsm_deinit(&s->f);
}

static enum nokv_status scene_run(struct scene *s, bool compaction, uint32_t threads, struct compaction_job *job)
{
    *job = job_make(&s->f, s->h, 1 << 15);
    job->version = s->v;
    job->inputs = &s->in;
    job->memtable = s->memtable;
    job->threads_max = threads;
    return compaction ? compaction_run(job) : flush_run(job);
}

/* The k-th operation on the disk fails, for each k: the job reports it and leaves no file; at the end it succeeds. */
static void io_fails(bool compaction, uint32_t threads, int err)
{
    uint64_t random = 4, k = 1;
    struct scene s;
    scene_init(&s, &random);
    size_t files = lsm_files(&s.f, "");
    for (bool failed = true; failed; k++) {
        struct compaction_job job;
        sim_fail(s.f.sim, IO_OP_COUNT, IO_COMPONENT_COUNT, k, err, false);
        enum nokv_status status = scene_run(&s, compaction, threads, &job);
        failed = sim_failed(s.f.sim);
        sim_fail_clear(s.f.sim);
        if (status == NOKV_OK && !failed)
            assert_true(job.output_count > 0);
        else if (status != NOKV_OK)
            assert_true(failed && status_message()[0] != 0);
        if (status == NOKV_OK && failed && compaction)
            check_outputs(s.h, s.v, &s.in, &job); /* a hint failed: nothing depends on it */
        compaction_job_deinit(&job, status == NOKV_OK);
        if (s.f.env.names_failed) /* final; the next job is another database's */
            assert_int_equal(status, NOKV_ERR_POISONED);
        s.f.env.names_failed = false;
        if (status == NOKV_OK) { /* removed by whoever is told that they are obsolete */
            for (; s.f.obsolete_count > 0; s.f.obsolete_count--) {
                char path[PATH_SIZE_MAX];
                OK(path_sst(path, "db", s.f.obsolete[s.f.obsolete_count - 1]));
                OK(io_unlink(s.f.io, path));
            }
        }
        if (lsm_files(&s.f, "") != files)
            fail_msg("operation %llu failed and left a file: %s", (unsigned long long)k, status_message());
    }
    printf("%llu operations\n", (unsigned long long)k - 2);
    assert_true(k > 8);
    scene_deinit(&s);
}

/* A failing disk leaves no file behind, whatever operation of a flush or a compaction it hits. */
static void test_io_failure_leaves_nothing(void **state)
{
    (void)state;
    io_fails(false, 1, EIO);
    io_fails(true, 1, EIO);
    io_fails(true, 1, ENOSPC);
    io_fails(true, 3, EIO);
}

/* Nor does a failing allocation, and nothing leaks. */
static void test_no_memory_leaves_nothing(void **state)
{
    (void)state;
    uint64_t random = 5;
    struct scene s;
    scene_init(&s, &random);
    size_t files = lsm_files(&s.f, "");
    for (uint32_t threads = 0; threads < 3; threads++) /* 0: a flush */
        for (uint64_t k = 0;; k++) {
            struct compaction_job job;
            mem_fail_after(k);
            uint64_t begin = mem_alloc_count();
            enum nokv_status status = scene_run(&s, threads > 0, threads > 0 ? threads : 1, &job);
            bool reached = mem_alloc_count() - begin > k;
            mem_fail_after(UINT64_MAX);
            compaction_job_deinit(&job, status == NOKV_OK);
            if (status != NOKV_OK)
                assert_int_equal(lsm_files(&s.f, ""), files);
            files = lsm_files(&s.f, "");
            if (!reached) {
                OK(status);
                break;
            }
        }
    scene_deinit(&s);
}

/* A compaction that is told to stop does so, and leaves no file. */
static void test_cancel(void **state)
{
    (void)state;
    uint64_t random = 6;
    struct scene s;
    _Atomic bool cancel = true;
    scene_init(&s, &random);
    size_t files = lsm_files(&s.f, "");
    struct compaction_job job = job_make(&s.f, s.h, 1 << 14);
    job.version = s.v;
    job.inputs = &s.in;
    job.threads_max = 2;
    job.cancel = &cancel;
    FAILS(ABORTED, compaction_run(&job));
    compaction_job_deinit(&job, false);
    assert_int_equal(lsm_files(&s.f, ""), files);
    scene_deinit(&s);
}

/* An input that is damaged ends the compaction with CORRUPT: what cannot be read is not left out. */
static void test_damaged_input(void **state)
{
    (void)state;
    uint64_t random = 7;
    struct scene s;
    char path[PATH_SIZE_MAX];
    struct compaction_job job;
    scene_init(&s, &random);
    size_t files = lsm_files(&s.f, "");
    OK(path_sst(path, "db", s.v->levels[0].tables[1]->desc.number));
    OK(sim_flip_bit(s.f.sim, path, 2 * PAGE_BYTES + 77, 5));
    for (uint32_t threads = 1; threads <= 3; threads += 2) {
        FAILS(CORRUPT, scene_run(&s, true, threads, &job));
        assert_non_null(strstr(status_message(), path));
        compaction_job_deinit(&job, false);
        assert_int_equal(lsm_files(&s.f, ""), files);
    }
    scene_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_stay),
        cmocka_unit_test(test_bottom_is_clean),
        cmocka_unit_test(test_tombstone_stays_above_data),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_flush_of_deletes),
        cmocka_unit_test(test_io_failure_leaves_nothing),
        cmocka_unit_test(test_no_memory_leaves_nothing),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_damaged_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
