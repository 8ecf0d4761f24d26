// SPDX-License-Identifier: Apache-2.0
/*
 * rewrite_test.c - tables that are written again on their own level so that values leave segments: everything else
 * about them stays.
 */
#include "lsm/compaction.h"
#include "values_fixture.h"

enum { TABLES = 3, PER_TABLE = 40 };

/* On levels 0, 5 and 6; keys of a table have two versions and some a tombstone on top. */
struct scene {
    struct lsm f;
    struct version *v;
    uint64_t segments[TABLES];
    struct placed values[TABLES][PER_TABLE];
    uint64_t snapshot;
};

static const uint32_t levels[TABLES] = {0, 5, 6};

static struct table *table_of(struct scene *s, size_t t)
{
    static struct entry e[PER_TABLE * 2];
    size_t count = 0;
    s->segments[t] = segment_make(&s->f, t * PER_TABLE, PER_TABLE, 400, s->values[t]);
    for (size_t i = 0; i < PER_TABLE; i++) {
        const struct placed *p = &s->values[t][i];
        if (i % 8 == 3) {
            entry_make(&e[count], lsm_text(p->key), key_tag(10000 + i, KEY_TOMBSTONE));
            count++;
        }
        entry_make(&e[count], lsm_text(p->key), key_tag(p->seq, KEY_VALUE_POINTER));
        memcpy(e[count].value, p->stored, p->stored_size);
        e[count++].value_size = p->stored_size;
    }
    struct table *table = lsm_table(&s->f, e, count);
    table->desc.refs = mem_alloc(sizeof *table->desc.refs);
    assert_non_null(table->desc.refs);
    table->desc.refs[0] = (struct vlog_ref){
        .segment = s->segments[t], .records = PER_TABLE, .bytes = PER_TABLE * vlog_record_size(9, 400)};
    table->desc.ref_count = 1;
    return table;
}

static void scene_init(struct scene *s)
{
    values_init(&s->f);
    s->v = lsm_empty();
    s->snapshot = 9000; /* below the tombstones: what they hide is still read */
    for (size_t t = 0; t < TABLES; t++)
        lsm_put(&s->f, &s->v, levels[t], table_of(s, t));
}

static void scene_deinit(struct scene *s)
{
    version_unref(s->v);
    lsm_deinit(&s->f);
}

static struct compaction_job job_make(struct scene *s, const uint64_t *victims, size_t victim_count, bool snapshot)
{
    return (struct compaction_job){.threads_max = 1,
                                   .version = s->v,
                                   .writer = {.env = &s->f.env,
                                              .model = IO_STD,
                                              .sst = *lsm_sst_options(),
                                              .table_bytes = 4096,
                                              .snapshots = &s->snapshot,
                                              .snapshot_count = snapshot,
                                              .allocate_number = lsm_number_allocate,
                                              .allocate_arg = &s->f,
                                              .values = {.origin = SEGMENT_COLLECT,
                                                         .model = IO_STD,
                                                         .read_model = IO_STD,
                                                         .separation_min = 300,
                                                         .segment_bytes = 1 << 20,
                                                         .victims = victims,
                                                         .victim_count = victim_count}}};
}

static void inputs_all(struct scene *s, struct compaction_inputs *in)
{
    *in = (struct compaction_inputs){.level = 0, .output_level = 6};
    for (size_t t = 0; t < TABLES; t++) {
        in->tables[levels[t]] = mem_alloc(sizeof(struct table *));
        assert_non_null(in->tables[levels[t]]);
        in->tables[levels[t]][0] = s->v->levels[levels[t]].tables[0];
        in->counts[levels[t]] = 1;
    }
}

/* What the rewritten table shows of key i of table t at `seq`. */
static void key_check(struct scene *s, struct table *t, size_t table, size_t i, uint64_t seq, bool moved)
{
    struct placed p = s->values[table][i];
    struct iter *it = NULL;
    OK(sst_iter_create(t->reader, &it));
    iter_seek(it, (struct ikey){.user = lsm_text(p.key), .tag = key_tag(seq, 0xff)});
    assert_true(it->valid && slice_equal(it->key.user, lsm_text(p.key)));
    if (i % 8 == 3 && seq > 10000) {
        assert_int_equal(tag_kind(it->key.tag), KEY_TOMBSTONE);
        assert_int_equal(tag_seq(it->key.tag), 10000 + i);
    } else {
        assert_int_equal(it->key.tag, key_tag(p.seq, KEY_VALUE_POINTER));
        memcpy(p.stored, it->value.data, it->value.size);
        assert_int_equal(placed_pointer(&p).segment != s->segments[table], moved);
        placed_check(&s->f, &p);
    }
    iter_destroy(it);
}

/* Tables stay on their levels, keys and sequence numbers and snapshots' versions and tombstones stay, the pointers into
 * the victims lead elsewhere and those into other segments as before, and the references add up. */
static void test_rewrite(void **state)
{
    (void)state;
    for (int snapshot = 0; snapshot < 2; snapshot++) {
        struct scene s;
        struct compaction_inputs in;
        scene_init(&s);
        inputs_all(&s, &in);
        uint64_t victims[] = {s.segments[0], s.segments[2]};
        struct compaction_job job = job_make(&s, victims, 2, snapshot);
        job.inputs = &in;
        OK(rewrite_run(&job));
        assert_int_equal(job.output_count, TABLES);
        assert_int_equal(job.segment_count, 2);
        assert_int_equal(job.damaged_count, 0);
        for (size_t t = 0; t < TABLES; t++) {
            bool moved = t != 1;
            uint64_t records = 0;
            assert_int_equal(job.levels[t], levels[t]);
            for (size_t i = 0; i < PER_TABLE; i++) {
                if (snapshot)
                    key_check(&s, job.outputs[t], t, i, s.snapshot, moved);
                key_check(&s, job.outputs[t], t, i, KEY_SEQ_MAX, moved);
                records += snapshot || i % 8 != 3;
            }
            assert_int_equal(job.outputs[t]->desc.ref_count, 1);
            assert_int_equal(job.outputs[t]->desc.refs[0].records, records);
            assert_int_equal(job.outputs[t]->desc.refs[0].bytes, records * vlog_record_size(9, 400));
            assert_int_equal(job.outputs[t]->desc.tombstones, PER_TABLE / 8);
        }
        compaction_job_deinit(&job, true);
        compaction_inputs_deinit(&in);
        scene_deinit(&s);
    }
}

/* A damaged value keeps its pointer in the rewritten table, and its segment is reported. */
static void test_rewrite_damaged(void **state)
{
    (void)state;
    struct scene s;
    struct compaction_inputs in;
    scene_init(&s);
    inputs_all(&s, &in);
    flip_value(&s.f, &s.values[1][20]);
    struct compaction_job job = job_make(&s, s.segments, TABLES, true);
    job.inputs = &in;
    OK(rewrite_run(&job));
    assert_int_equal(job.damaged_count, 1);
    assert_int_equal(job.damaged[0], s.segments[1]);
    assert_int_equal(job.outputs[1]->desc.ref_count, 2);
    for (size_t i = 0; i < PER_TABLE; i++)
        if (i != 20)
            key_check(&s, job.outputs[1], 1, i, s.snapshot, true);
    compaction_job_deinit(&job, true);
    compaction_inputs_deinit(&in);
    scene_deinit(&s);
}

/* The k-th I/O operation, then the k-th allocation, fails: the job reports it, or had only to read, and no file is left
 * but those that were there. */
static void test_rewrite_failures(void **state)
{
    (void)state;
    struct scene s;
    struct compaction_inputs in;
    scene_init(&s);
    inputs_all(&s, &in);
    size_t segments = lsm_files(&s.f, ".vlog"), tables = lsm_files(&s.f, ".sst"), failed = 0;
    for (int memory = 0; memory < 2; memory++)
        for (uint64_t k = 1;; k++) {
            struct compaction_job job = job_make(&s, s.segments, TABLES, true);
            uint64_t begin = mem_alloc_count();
            job.inputs = &in;
            if (memory)
                mem_fail_after(k - 1);
            else
                sim_fail(s.f.sim, IO_OP_WRITE, IO_COMPONENT_COUNT, k, EIO, false);
            enum nokv_status status = rewrite_run(&job);
            bool reached = memory ? mem_alloc_count() - begin >= k : sim_failed(s.f.sim);
            mem_fail_after(UINT64_MAX);
            sim_fail_clear(s.f.sim);
            if (status != NOKV_OK)
                assert_int_equal(lsm_files(&s.f, ".vlog"), segments);
            failed += status != NOKV_OK;
            compaction_job_deinit(&job, true);
            epoch_drain();
            assert_int_equal(lsm_files(&s.f, ".vlog"), segments);
            if (status != NOKV_OK)
                assert_int_equal(lsm_files(&s.f, ".sst"), tables);
            tables = lsm_files(&s.f, ".sst"); /* the fixture only notes which tables are obsolete */
            if (!reached)
                break;
        }
    assert_true(failed > 10);
    compaction_inputs_deinit(&in);
    scene_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rewrite),
        cmocka_unit_test(test_rewrite_damaged),
        cmocka_unit_test(test_rewrite_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
