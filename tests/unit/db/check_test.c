// SPDX-License-Identifier: Apache-2.0
/*
 * check_test.c - db_check: a sound database passes at every stage of its life; each kind of violation, planted in
 * memory or on the disk, is found, and the message says what and where.
 */
#include <errno.h>
#include <sched.h>

#include "values_fixture.h"

enum { KEYS = 240 };

/* All three homes, overwrites and deletions, several levels. */
static void fill(struct fixture *f)
{
    for (uint64_t round = 1; round <= 3; round++) {
        for (uint64_t i = round; i < KEYS; i += round)
            sized_put(f->db, i, round, home_sizes[i % ARRAY_COUNT(home_sizes)]);
        for (uint64_t i = 0; i < KEYS; i += 37)
            kv_delete(f->db, i);
        OK(nokv_flush(f->db));
    }
}

static void scene_init(struct fixture *f)
{
    values_init(f);
    fixture_open(f);
    fill(f);
    OK(nokv_compact_range(f->db, NULL, 0, NULL, 0));
    for (uint64_t i = 0; i < 20; i++)
        sized_put(f->db, i, 9, home_sizes[i % ARRAY_COUNT(home_sizes)]);
    OK(nokv_flush(f->db));
    sized_put(f->db, 3, 10, DIRECT_BYTES); /* the active segment, pointed to by the memtable */
    OK(db_check(f->db));
}

static void finds(struct fixture *f, const char *part)
{
    FAILS(CORRUPT, db_check(f->db));
    if (strstr(status_message(), part) == NULL)
        fail_msg("no word of \"%s\": %s", part, status_message());
}

static struct level *level_of(struct fixture *f, size_t tables_min, size_t above)
{
    for (size_t l = above; l < LEVELS_MAX; l++)
        if (f->db->version->levels[l].count >= tables_min)
            return &f->db->version->levels[l];
    fail_msg("no level from %zu on has %zu tables", above, tables_min);
    return NULL;
}

static void file_make(struct fixture *f, const char *path)
{
    struct io_file *file = NULL;
    OK(io_open(f->io, path, IO_OTHER, IO_STD, IO_WRITE | IO_CREATE, &file));
    OK(io_pwrite(file, "left", 4, 0));
    OK(io_close(file));
}

struct stay {
    _Atomic bool inside, leave;
};

/* A reader that does not leave before it is told to. */
static void *stay_run(void *arg)
{
    struct stay *stay = arg;
    OK(epoch_register());
    epoch_enter();
    atomic_store(&stay->inside, true);
    while (!atomic_load(&stay->leave))
        sched_yield();
    epoch_exit();
    return NULL;
}

/* A sound database passes: new, filled, flushed, compacted, collected, reopened, killed, read-only, with threads. */
static void test_sound(void **state)
{
    (void)state;
    struct fixture f;
    values_init(&f);
    fixture_open(&f);
    OK(db_check(f.db));
    sized_put(f.db, 1, 1, DIRECT_BYTES);
    OK(db_check(f.db));
    fill(&f);
    OK(db_check(f.db));
    OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
    OK(nokv_vlog_collect(f.db, 1.0));
    OK(db_check(f.db));
    sized_put(f.db, 2, 4, DIRECT_BYTES);
    fixture_kill(&f);
    fixture_open(&f);
    OK(db_check(f.db));
    fixture_power_cut(&f);
    f.options.read_only = true;
    fixture_open(&f);
    OK(db_check(f.db));
    fixture_close(&f);
    f.options.read_only = false;
    f.options.inline_background_work = false;
    fixture_open(&f);
    fill(&f);
    OK(nokv_wait_idle(f.db));
    OK(db_check(f.db));
    fixture_deinit(&f);
}

/* A file of each kind that nobody knows is an orphan; names that are not ours are let be. */
static void test_orphans(void **state)
{
    (void)state;
    struct fixture f;
    static const char *const paths[] = {"db/000900.sst", "db/000901.wal", "db/MANIFEST-000902", "db/vlog/000903.vlog",
                                        "db/000904.sst.tmp"};
    scene_init(&f);
    file_make(&f, "db/notes.txt");
    OK(db_check(f.db));
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        file_make(&f, paths[i]);
        finds(&f, strrchr(paths[i], '/') + 1);
        OK(io_unlink(f.io, paths[i]));
        OK(db_check(f.db));
    }
    fixture_deinit(&f);
}

/* A table, a segment or a log that is gone, or has another size, is missed by its name. */
static void test_missing_files(void **state)
{
    (void)state;
    struct fixture f;
    char paths[3][PATH_SIZE_MAX];
    scene_init(&f);
    OK(path_sst(paths[0], "db", level_of(&f, 1, 1)->tables[0]->desc.number));
    OK(path_vlog(paths[1], "db", f.db->segments[0]->desc.number));
    OK(path_wal(paths[2], "db", rlog_number(f.db->wal)));
    for (size_t i = 0; i < 3; i++) {
        OK(io_rename(f.io, paths[i], "db/away"));
        finds(&f, paths[i]);
        OK(io_rename(f.io, "db/away", paths[i]));
        OK(db_check(f.db));
    }
    f.db->segments[0]->desc.file_bytes++;
    finds(&f, "segment");
    f.db->segments[0]->desc.file_bytes--;
    fixture_deinit(&f);
}

/* The MANIFEST on the disk and the database in memory must have the same tables, segments and logs. */
static void test_manifest_differs(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    struct table_desc *d = &level_of(&f, 1, 1)->tables[0]->desc;
    d->number += 1000;
    finds(&f, "the MANIFEST has table");
    d->number -= 1000;
    f.db->log_number++;
    finds(&f, "the MANIFEST needs logs from");
    f.db->log_number--;
    enum segment_origin origin = f.db->segments[0]->desc.origin;
    f.db->segments[0]->desc.origin = SEGMENT_RECOVERED;
    finds(&f, "the MANIFEST has segment");
    f.db->segments[0]->desc.origin = origin;
    OK(db_check(f.db));
    fixture_deinit(&f);
}

/* Levels above 0 are disjoint and in order, level 0 is by age, and each level's sums are those of its tables. */
static void test_levels(void **state)
{
    (void)state;
    struct fixture f;
    values_init(&f);
    fixture_open(&f);
    for (uint64_t i = 0; i < 900; i++)
        kv_put(f.db, i, 1);
    OK(nokv_compact_range(f.db, NULL, 0, NULL, 0));
    OK(db_check(f.db));
    struct level *deep = level_of(&f, 2, 1);
    struct table *first = deep->tables[0];
    deep->tables[0] = deep->tables[1];
    deep->tables[1] = first;
    finds(&f, "overlaps table");
    deep->tables[1] = deep->tables[0];
    deep->tables[0] = first;
    deep->bytes++;
    finds(&f, "bytes of tables and values");
    deep->bytes--;
    struct ikey smallest = first->desc.smallest;
    first->desc.smallest = (struct ikey){.user = slice_make("zz", 2), .tag = smallest.tag};
    finds(&f, "its smallest key is above its largest");
    first->desc.smallest = smallest;
    OK(db_check(f.db));
    fixture_deinit(&f);
}

/* Two tables of level 0 in the wrong order. */
static void test_level0_order(void **state)
{
    (void)state;
    struct fixture f;
    values_init(&f);
    f.options.l0_compact_files = f.options.l0_busy_files = 8;
    fixture_open(&f);
    for (uint64_t v = 1; v <= 2; v++) {
        kv_put(f.db, 1, v);
        OK(nokv_flush(f.db));
    }
    OK(db_check(f.db));
    struct level *zero = level_of(&f, 2, 0);
    assert_ptr_equal(zero, &f.db->version->levels[0]);
    struct table *newest = zero->tables[0];
    zero->tables[0] = zero->tables[1];
    zero->tables[1] = newest;
    finds(&f, "has older entries");
    zero->tables[1] = zero->tables[0];
    zero->tables[0] = newest;
    fixture_deinit(&f);
}

/* Each figure that the MANIFEST has of a table is held against what the table holds. */
static void test_table_metadata(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    struct table_desc *d = &level_of(&f, 1, 1)->tables[0]->desc;
    struct {
        uint64_t *field;
        const char *part;
    } figures[] = {
        {&d->tombstones, "number of tombstones"},
        {&d->raw_bytes, "size of keys and values"},
        {&d->seq_min, "lowest sequence number"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(figures); i++) {
        ++*figures[i].field;
        finds(&f, figures[i].part);
        --*figures[i].field;
    }
    struct ikey smallest = d->smallest;
    d->smallest.tag += 256;
    finds(&f, "begins or ends with another key");
    d->smallest = smallest;
    OK(db_check(f.db));
    fixture_deinit(&f);
}

/* No table has a sequence number that its logs still have, none is visible that was not given, snapshots are in order.
 */
static void test_sequence_numbers(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    uint64_t flushed = f.db->flushed_seq;
    f.db->flushed_seq = 1;
    finds(&f, "sequence numbers");
    f.db->flushed_seq = flushed;
    f.db->last_seq++;
    finds(&f, "is visible");
    f.db->last_seq--;
    OK(db_check(f.db));
    fixture_deinit(&f);
}

/* The live counters of a segment are those of a full count, and what a table says that it points to is what it does. */
static void test_live_counters(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    f.db->segments[0]->live_records++;
    finds(&f, "live records are counted");
    f.db->segments[0]->live_records--;
    f.db->segments[0]->live_bytes += 8;
    finds(&f, "live records are counted");
    f.db->segments[0]->live_bytes -= 8;
    struct level *level = level_of(&f, 1, 1);
    struct table_desc *d = &level->tables[0]->desc;
    assert_true(d->ref_count > 0);
    d->refs[0].records++;
    finds(&f, "points to less in segment");
    d->refs[0].records -= 2;
    finds(&f, "is pointed to than the MANIFEST says");
    d->refs[0].records++;
    OK(db_check(f.db));
    fixture_deinit(&f);
}

/* A pointer in the memtable whose record is not its key's. */
static void test_pointer_in_memtable(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    struct found found = {0};
    char key[24];
    size_t size = kv_key(3, key);
    db_find_in_memory(f.db->view, slice_make(key, size), f.db->last_seq, &found);
    assert_true(found.lookup.found);
    uint8_t *pointer = (uint8_t *)(uintptr_t)found.lookup.value.data;
    pointer[9] ^= 1; /* another place in the segment */
    finds(&f, "vlog");
    pointer[9] ^= 1;
    OK(db_check(f.db));
    fixture_deinit(&f);
}

/* What is held without anybody who holds it: a view, a version, a list of segments, a table, a pin, an epoch. */
static void test_leaked_holds(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    struct view *view = f.db->view;
    view_ref(view);
    finds(&f, "view at");
    view_unref(view);
    version_ref(f.db->version);
    finds(&f, "version at");
    version_unref(f.db->version);
    struct table *t = level_of(&f, 1, 1)->tables[0];
    table_ref(t);
    finds(&f, "table");
    table_unref(t);
    t->compacting = true;
    finds(&f, "being merged");
    t->compacting = false;
    segment_pin(f.db->segments[0]->segment);
    finds(&f, "pins");
    segment_unpin(f.db->segments[0]->segment);
    pinned_ref(&f.db->segments[0]->segment->object);
    finds(&f, "segment");
    pinned_unref(&f.db->segments[0]->segment->object);
    OK(db_check(f.db));
    fixture_deinit(&f);
}

/* An iterator, a snapshot and a value that are still open say so, by what they hold. */
static void test_open_handles(void **state)
{
    (void)state;
    struct fixture f;
    char key[24];
    scene_init(&f);
    nokv_iter *it = NULL;
    OK(nokv_iter_create(f.db, NULL, &it));
    finds(&f, "iterators and snapshots");
    nokv_iter_destroy(it);
    const nokv_snapshot *snapshot = NULL;
    OK(nokv_snapshot_create(f.db, &snapshot));
    finds(&f, "1 of them snapshots");
    nokv_snapshot_release(f.db, snapshot);
    f.options.vlog_read = NOKV_VLOG_READ_MMAP;
    fixture_close(&f);
    fixture_open(&f);
    nokv_value value = {0};
    OK(nokv_get(f.db, key, kv_key(1, key), NULL, &value)); /* 1,500 bytes, in a sealed segment's mapping */
    finds(&f, "pins");
    nokv_value_release(&value);
    OK(db_check(f.db));
    fixture_deinit(&f);
}

/* Snapshots stand in the order in which they were taken, and are as many as are counted. */
static void test_snapshots(void **state)
{
    (void)state;
    struct fixture f;
    const nokv_snapshot *snapshots[2];
    values_init(&f);
    f.options.inline_background_work = false; /* holds are not counted then */
    fixture_open(&f);
    for (size_t i = 0; i < 2; i++) {
        kv_put(f.db, i, 1);
        OK(nokv_snapshot_create(f.db, &snapshots[i]));
    }
    OK(db_check(f.db));
    f.db->snapshots.next->seq += 2;
    finds(&f, "a snapshot of 3 stands behind one of 0, and 2 is visible");
    f.db->snapshots.next->seq -= 1;
    f.db->snapshots.prev->seq -= 1;
    finds(&f, "a snapshot of 1 stands behind one of 2");
    f.db->snapshots.next->seq -= 1;
    f.db->snapshots.prev->seq += 1;
    f.db->snapshot_count++;
    finds(&f, "2 snapshots are listed, 3 counted");
    f.db->snapshot_count--;
    OK(db_check(f.db));
    for (size_t i = 0; i < 2; i++)
        nokv_snapshot_release(f.db, snapshots[i]);
    fixture_deinit(&f);
}

/* Memtables that wait for their flush follow each other, and each has what the one before it and the tables have not.
 */
static void test_memtables(void **state)
{
    (void)state;
    struct fixture f;
    scene_init(&f);
    sim_fail(f.sim, IO_OP_WRITE, IO_FLUSH, 1, ENOSPC, true);
    FAILS(NO_SPACE, nokv_flush(f.db));
    sim_fail_clear(f.sim);
    assert_int_equal(f.db->immutable_count, 1);
    kv_put(f.db, 5, 11);
    OK(db_check(f.db));
    uint64_t last = f.db->immutables[0].last_seq, flushed = f.db->flushed_seq;
    assert_int_equal(last, flushed + 1);
    f.db->immutables[0].last_seq = flushed - 1;
    finds(&f, "waiting memtable 0 ends at sequence number");
    f.db->immutables[0].last_seq = flushed;
    finds(&f, "a memtable has an entry of sequence number");
    f.db->immutables[0].last_seq = last + 1;
    finds(&f, "a memtable has an entry of sequence number");
    f.db->immutables[0].last_seq = last;
    f.db->flushed_seq++;
    finds(&f, "a memtable has an entry of sequence number");
    f.db->flushed_seq--;
    OK(db_check(f.db));
    fixture_deinit(&f);
}

/* A segment that only the MANIFEST has, and one whose file has become longer. */
static void test_counts_and_sizes(void **state)
{
    (void)state;
    struct fixture f;
    char path[PATH_SIZE_MAX];
    scene_init(&f);
    fixture_close(&f);
    f.options.vlog_read = NOKV_VLOG_READ_PREAD;
    fixture_open(&f);
    assert_true(f.db->segment_count > 1);
    f.db->segment_count--;
    finds(&f, "segments, the database has");
    f.db->segment_count++;
    const struct segment_desc *d = &f.db->segments[0]->desc;
    OK(path_vlog(path, "db", d->number));
    fixture_file_cut(&f, path, d->file_bytes + 1);
    finds(&f, " are known");
    assert_non_null(strstr(status_message(), path));
    fixture_file_cut(&f, path, d->file_bytes);
    OK(db_check(f.db));
    fixture_deinit(&f);
}

/* What readers get to see is the current state, and what was replaced is gone unless a reader is inside. */
static void test_readers(void **state)
{
    (void)state;
    struct fixture f;
    pthread_t thread;
    struct stay stay = {0};
    scene_init(&f);
    struct memtable *mem = f.db->mem;
    f.db->mem = NULL;
    finds(&f, "another state than the current one");
    f.db->mem = mem;
    OK(db_check(f.db));
    OK(thread_create(&thread, "reader", stay_run, &stay));
    while (!atomic_load(&stay.inside))
        sched_yield();
    OK(nokv_flush(f.db));
    finds(&f, "wait for a reader that does not leave");
    atomic_store(&stay.leave, true);
    thread_join(thread);
    OK(db_check(f.db));
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),
        cmocka_unit_test(test_orphans),
        cmocka_unit_test(test_missing_files),
        cmocka_unit_test(test_manifest_differs),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_level0_order),
        cmocka_unit_test(test_table_metadata),
        cmocka_unit_test(test_sequence_numbers),
        cmocka_unit_test(test_live_counters),
        cmocka_unit_test(test_pointer_in_memtable),
        cmocka_unit_test(test_leaked_holds),
        cmocka_unit_test(test_open_handles),
        cmocka_unit_test(test_snapshots),
        cmocka_unit_test(test_memtables),
        cmocka_unit_test(test_counts_and_sizes),
        cmocka_unit_test(test_readers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
