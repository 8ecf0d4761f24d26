// SPDX-License-Identifier: Apache-2.0
/*
 * manifest_test.c - MANIFEST and CURRENT on the simulated disk: what was made durable comes back, damage and absence
 * are told from a new database, and a power cut at any step leaves the state before or after it.
 */
#include <errno.h>

#include "lsm/manifest.h"
#include "lsm_fixture.h"

static struct table *table_make(struct lsm *f, const char *first, const char *last, uint64_t seq)
{
    struct entry e[2];
    entry_make(&e[0], lsm_text(first), key_tag(seq, KEY_VALUE));
    entry_make(&e[1], lsm_text(last), key_tag(seq + 1, KEY_VALUE));
    struct table *t = lsm_table(f, e, 2);
    OK(io_sync_dir(f->io, "db"));
    return t;
}

/* A tree of three tables, as a MANIFEST would describe it. */
static struct manifest_state state_make(struct lsm *f)
{
    struct manifest_state s = {.log_number = 40, .last_seq = 99, .version = lsm_empty()};
    lsm_put(f, &s.version, 0, table_make(f, "a", "z", 50));
    lsm_put(f, &s.version, 6, table_make(f, "a", "m", 1));
    lsm_put(f, &s.version, 6, table_make(f, "n", "z", 3));
    s.next_number = 50;
    return s;
}

static void assert_same_state(const struct manifest_state *a, const struct manifest_state *b)
{
    assert_int_equal(a->log_number, b->log_number);
    assert_int_equal(a->next_number, b->next_number);
    assert_int_equal(a->last_seq, b->last_seq);
    for (size_t l = 0; l < LEVELS_MAX; l++) {
        assert_int_equal(a->version->levels[l].count, b->version->levels[l].count);
        for (size_t i = 0; i < a->version->levels[l].count; i++)
            assert_int_equal(a->version->levels[l].tables[i]->desc.number,
                             b->version->levels[l].tables[i]->desc.number);
    }
}

static void edit_numbers(struct edit *e, uint64_t log, uint64_t next, uint64_t seq)
{
    e->has_log_number = e->has_next_number = e->has_last_seq = true;
    e->log_number = log;
    e->next_number = next;
    e->last_seq = seq;
}

/* A database directory with MANIFEST-000060 in force, closed. */
static void scene_make(struct lsm *f, struct manifest_state *state)
{
    struct manifest *m = NULL;
    lsm_init(f);
    *state = state_make(f);
    OK(manifest_create(&f->env, 60, state, &m));
    assert_int_equal(manifest_number(m), 60);
    assert_true(manifest_bytes(m) > 64);
    manifest_destroy(m);
}

static void scene_end(struct lsm *f, struct manifest_state *state)
{
    version_unref(state->version);
    lsm_deinit(f);
}

static void file_write(struct lsm *f, const char *path, const void *data, size_t size)
{
    struct io_file *file = NULL;
    if (io_exists(f->io, path))
        OK(io_unlink(f->io, path));
    OK(io_open(f->io, path, IO_OTHER, IO_STD, IO_WRITE | IO_CREATE, &file));
    if (size)
        OK(io_pwrite(file, data, size, 0));
    OK(io_close(file));
}

static size_t file_read(struct lsm *f, const char *path, uint8_t *out, size_t capacity)
{
    struct io_file *file = NULL;
    size_t size = 0;
    OK(io_open(f->io, path, IO_OTHER, IO_STD, IO_READ, &file));
    OK(io_pread(file, out, capacity, 0, &size));
    OK(io_close(file));
    return size;
}

static enum nokv_status recover(struct lsm *f, struct manifest_state *out)
{
    *out = (struct manifest_state){0};
    return manifest_recover(&f->env, out);
}

static void assert_corrupt(struct lsm *f, const char *part_of_message)
{
    struct manifest_state s;
    FAILS(CORRUPT, recover(f, &s));
    if (strstr(status_message(), part_of_message) == NULL)
        fail_msg("no word of %s: %s", part_of_message, status_message());
}

static bool is_there(struct lsm *f)
{
    bool exists = false;
    OK(manifest_exists(f->io, "db", &exists));
    return exists;
}

/* ---- the tests -------------------------------------------------------------------------------------------------- */

/* A disk that cannot say whether a file is there is no damage, and no missing database. */
static void test_existence_unknown(void **state)
{
    (void)state;
    struct lsm f;
    struct manifest_state s, back;
    scene_make(&f, &s);
    for (uint64_t k = 1; k <= 2; k++) { /* of CURRENT, of the MANIFEST */
        bool exists = false;
        sim_fail(f.sim, IO_OP_NAMESPACE, IO_COMPONENT_COUNT, 1, EIO, false);
        if (k == 1)
            FAILS(IO, manifest_exists(f.io, "db", &exists));
        else
            FAILS(IO, recover(&f, &back));
        assert_true(sim_failed(f.sim));
        sim_fail_clear(f.sim);
    }
    assert_true(is_there(&f));
    scene_end(&f, &s);
}

/* What is described comes back, and what is appended as well; numbers never go backward. */
static void test_round_trip(void **state)
{
    (void)state;
    struct lsm f;
    struct manifest_state s, back;
    struct manifest *m = NULL;
    struct edit e = {0};
    lsm_init(&f);
    assert_false(is_there(&f));
    FAILS(NOT_FOUND, recover(&f, &back));
    s = state_make(&f);
    OK(manifest_create(&f.env, 60, &s, &m));
    assert_true(is_there(&f));
    OK(recover(&f, &back));
    s.next_number = 61; /* above the MANIFEST's own number */
    assert_same_state(&s, &back);
    assert_int_equal(back.manifest_number, 60);
    version_unref(back.version);

    struct table *t = table_make(&f, "b", "c", 60);
    edit_numbers(&e, 41, 70, 200);
    OK(edit_add_table(&e, 0, &t->desc));
    OK(edit_remove_table(&e, 6, s.version->levels[6].tables[0]->desc.number));
    OK(manifest_append(m, &e));
    edit_deinit(&e);
    edit_numbers(&e, 39, 65, 150); /* an edit that was made earlier and installed later */
    OK(manifest_append(m, &e));
    manifest_destroy(m);
    OK(recover(&f, &back));
    assert_int_equal(back.log_number, 41);
    assert_int_equal(back.next_number, 70);
    assert_int_equal(back.last_seq, 200);
    assert_int_equal(back.version->levels[0].count, 2);
    assert_int_equal(back.version->levels[6].count, 1);
    version_unref(back.version);
    table_unref(t);
    scene_end(&f, &s);
}

/* A table that was added and removed again is not asked for: its file is gone, and that is no damage. */
static void test_removed_tables_are_not_opened(void **state)
{
    (void)state;
    struct lsm f;
    struct manifest_state s, back;
    struct manifest *m = NULL;
    struct edit e = {0};
    char path[PATH_SIZE_MAX];
    lsm_init(&f);
    s = state_make(&f);
    OK(manifest_create(&f.env, 60, &s, &m));
    struct table *t = table_make(&f, "b", "c", 60);
    uint64_t number = t->desc.number;
    OK(edit_add_table(&e, 0, &t->desc));
    OK(manifest_append(m, &e));
    edit_deinit(&e);
    OK(edit_remove_table(&e, 0, number));
    OK(manifest_append(m, &e));
    edit_deinit(&e);
    manifest_destroy(m);
    table_unref(t);
    OK(path_sst(path, "db", number));
    OK(io_unlink(f.io, path));
    OK(recover(&f, &back));
    assert_int_equal(back.version->levels[0].count, 1);
    version_unref(back.version);
    scene_end(&f, &s);
}

/* The list has each table with its level and opens none: files that are gone are no damage to it, a bad CURRENT is. */
static void test_list(void **state)
{
    (void)state;
    struct lsm f;
    struct manifest_state s;
    struct edit total = {0}, none = {0};
    uint64_t levels[2] = {0};
    scene_make(&f, &s);
    OK(io_unlink(f.io, "db/000002.sst"));
    OK(manifest_list(f.io, "db", &total));
    for (size_t i = 0; i < total.add_count; i++)
        levels[total.adds[i].level == 6]++;
    assert_true(total.add_count == 3 && levels[0] == 1 && levels[1] == 2);
    assert_true(total.has_log_number && total.log_number == 40);
    edit_deinit(&total);
    FAILS(NOT_FOUND, manifest_list(f.io, "elsewhere", &none));
    file_write(&f, "db/CURRENT", "MANIFEST-000060", 15);
    FAILS(CORRUPT, manifest_list(f.io, "db", &none));
    edit_deinit(&none);
    scene_end(&f, &s);
}

/* CURRENT with any bit flipped, cut short anywhere, empty or with more behind it is CORRUPT: never another database. */
static void test_damaged_current(void **state)
{
    (void)state;
    struct lsm f;
    struct manifest_state s;
    uint8_t current[200];
    scene_make(&f, &s);
    size_t size = file_read(&f, "db/CURRENT", current, sizeof current);
    assert_in_range(size, 20, 60);
    for (size_t bit = 0; bit < size * 8; bit++) {
        OK(sim_flip_bit(f.sim, "db/CURRENT", bit / 8, bit % 8));
        assert_corrupt(&f, "db/CURRENT");
        OK(sim_flip_bit(f.sim, "db/CURRENT", bit / 8, bit % 8));
    }
    for (size_t cut = 0; cut < size; cut++) {
        file_write(&f, "db/CURRENT", current, cut);
        assert_corrupt(&f, "db/CURRENT");
        assert_true(is_there(&f));
    }
    memset(current + size, '\n', sizeof current - size);
    for (size_t more = 1; size + more <= sizeof current; more *= 2) {
        file_write(&f, "db/CURRENT", current, size + more);
        assert_corrupt(&f, "db/CURRENT");
    }
    scene_end(&f, &s);
}

/* A CURRENT that names a MANIFEST which is not there is CORRUPT, not a new database. */
static void test_missing_manifest(void **state)
{
    (void)state;
    struct lsm f;
    struct manifest_state s;
    scene_make(&f, &s);
    OK(io_unlink(f.io, "db/MANIFEST-000060"));
    assert_corrupt(&f, "MANIFEST-000060");
    file_write(&f, "db/MANIFEST-000060", "", 0);
    assert_corrupt(&f, "MANIFEST-000060");
    scene_end(&f, &s);
}

/* A MANIFEST under another one's name is refused: its number is part of it. */
static void test_exchanged_manifest(void **state)
{
    (void)state;
    struct lsm f;
    struct manifest_state s;
    struct manifest *m = NULL;
    scene_make(&f, &s);
    OK(manifest_create(&f.env, 61, &s, &m));
    manifest_destroy(m);
    OK(io_rename(f.io, "db/MANIFEST-000060", "db/MANIFEST-000061"));
    assert_corrupt(&f, "MANIFEST-000061");
    scene_end(&f, &s);
}

/* A table that is named and missing, or of another size, or another table under its name, is CORRUPT and named. */
static void test_missing_table(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        struct lsm f;
        struct manifest_state s;
        static uint8_t bytes[1 << 16];
        scene_make(&f, &s);
        size_t size = file_read(&f, "db/000002.sst", bytes, sizeof bytes);
        if (kind == 0)
            OK(io_unlink(f.io, "db/000002.sst"));
        else if (kind == 1)
            file_write(&f, "db/000002.sst", bytes, size - PAGE_BYTES);
        else
            OK(io_rename(f.io, "db/000003.sst", "db/000002.sst"));
        assert_corrupt(&f, kind == 2 ? ".sst" : "000002.sst");
        scene_end(&f, &s);
    }
}

/* Edits that contradict each other or themselves are CORRUPT, with the MANIFEST's name. */
static void test_contradictions(void **state)
{
    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        struct lsm f;
        struct manifest_state s;
        struct manifest *m = NULL;
        struct edit e = {0};
        lsm_init(&f);
        s = state_make(&f);
        if (kind == 4)
            s.last_seq = KEY_SEQ_MAX + 1;
        OK(manifest_create(&f.env, 60, &s, &m));
        const struct table_desc *first = &s.version->levels[6].tables[0]->desc;
        if (kind == 0)
            OK(edit_remove_table(&e, 5, first->number));
        else if (kind == 1)
            OK(edit_add_table(&e, 6, first));
        else if (kind == 2)
            OK(edit_add_table(&e, 5, first)); /* on two levels at once */
        else if (kind == 3)
            OK(edit_add_table(&e, 6, &s.version->levels[0].tables[0]->desc));
        OK(manifest_append(m, &e));
        edit_deinit(&e);
        manifest_destroy(m);
        assert_corrupt(&f, "MANIFEST-000060");
        scene_end(&f, &s);
    }
}

/* A MANIFEST whose first edit is not complete is refused. */
static void test_no_first_edit(void **state)
{
    (void)state;
    struct lsm f;
    struct manifest_state s;
    scene_make(&f, &s);
    struct io_file *file = NULL;
    OK(io_open(f.io, "db/MANIFEST-000060", IO_OTHER, IO_STD, IO_READ | IO_WRITE, &file));
    OK(io_truncate(file, 64)); /* only the file header */
    OK(io_close(file));
    assert_corrupt(&f, "MANIFEST-000060");
    scene_end(&f, &s);
}

/*
 * Every flipped bit of a MANIFEST of three edits is refused, the last edit's too, unless it hit the mark behind that or
 * what is not used: then nothing is lost.
 */
static void test_damaged_manifest(void **state)
{
    (void)state;
    struct lsm f;
    struct manifest_state s;
    struct manifest *m = NULL;
    enum { MARK = 24 };
    size_t refused = 0, same = 0;
    lsm_init(&f);
    s = state_make(&f);
    OK(manifest_create(&f.env, 60, &s, &m));
    for (uint64_t i = 1; i <= 2; i++) {
        struct edit e = {0};
        edit_numbers(&e, 40 + i, 100 + i, 200 + i);
        OK(manifest_append(m, &e));
        edit_deinit(&e);
    }
    uint64_t size = manifest_bytes(m);
    manifest_destroy(m);
    for (uint64_t bit = 0; bit < (size + 64) * 8; bit++) {
        struct manifest_state back;
        OK(sim_flip_bit(f.sim, "db/MANIFEST-000060", bit / 8, bit % 8));
        enum nokv_status status = recover(&f, &back);
        OK(sim_flip_bit(f.sim, "db/MANIFEST-000060", bit / 8, bit % 8));
        if (status != NOKV_OK) {
            assert_true(status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED);
            refused++;
            continue;
        }
        assert_int_equal(back.log_number, 42);
        assert_int_equal(back.next_number, 102);
        assert_int_equal(back.last_seq, 202);
        if (bit / 8 < size - MARK)
            fail_msg("bit %llu makes no difference", (unsigned long long)bit);
        same++;
        version_unref(back.version);
    }
    printf("%zu refused, %zu behind the last edit\n", refused, same);
    assert_int_equal(refused, (size - MARK) * 8);
    scene_end(&f, &s);
}

/* ---- faults ----------------------------------------------------------------------------------------------------- */

/* The process is gone; the power too, or not. A new life begins. */
static void crash(struct lsm *f, bool power)
{
    epoch_drain();
    io_destroy(f->io);
    if (power)
        sim_power_cut(f->sim);
    else
        sim_process_kill(f->sim);
    OK(sim_io_create(f->sim, &f->io));
    f->env.io = f->io;
}

/* CURRENT is switched from MANIFEST 60 to 61 with another state; the power goes off at step k. True: it was done. */
static bool create_crash(uint64_t k, uint64_t seed, bool power, bool *out_new)
{
    struct lsm f;
    struct manifest_state s, back;
    struct manifest *m = NULL;
    scene_make(&f, &s);
    sim_reseed(f.sim, seed);
    s.log_number = 77;
    sim_crash_after(f.sim, k);
    enum nokv_status status = manifest_create(&f.env, 61, &s, &m);
    bool done = !sim_is_crashed(f.sim);
    if (done)
        OK(status);
    sim_crash_after(f.sim, UINT64_MAX);
    manifest_destroy(m);
    version_unref(s.version);
    crash(&f, power);
    OK(recover(&f, &back));
    assert_int_equal(back.log_number, back.manifest_number == 61 ? 77 : 40);
    assert_true(back.manifest_number == 61 || (back.manifest_number == 60 && !done));
    assert_int_equal(back.version->levels[6].count, 2);
    *out_new = back.manifest_number == 61;
    version_unref(back.version);
    lsm_deinit(&f);
    return done;
}

/* A crash at any step of beginning a new MANIFEST leaves the old one in force or the complete new one. */
static void test_crash_in_create(void **state)
{
    (void)state;
    size_t old = 0, new = 0;
    for (uint64_t k = 0;; k++) {
        bool done = false, is_new;
        for (uint64_t seed = 0; seed < test_scale(40); seed++) {
            done = create_crash(k, seed, seed % 4 != 0, &is_new);
            old += !is_new;
            new += is_new;
        }
        if (done)
            break;
    }
    printf("%zu times the old one, %zu times the new one\n", old, new);
    assert_true(old > 0 && new > 0);
}

/* Edits are appended one by one; the power goes off at step k. Returns how many were acknowledged, *out_back: survived.
 */
static size_t append_crash(uint64_t k, uint64_t seed, bool power, size_t edits, size_t *out_back)
{
    struct lsm f;
    struct manifest_state s, back;
    struct manifest *m = NULL;
    size_t acknowledged = 0;
    lsm_init(&f);
    s = state_make(&f);
    OK(manifest_create(&f.env, 60, &s, &m));
    sim_reseed(f.sim, seed);
    sim_crash_after(f.sim, k);
    for (enum nokv_status status = NOKV_OK; acknowledged < edits && status == NOKV_OK;) {
        struct edit e = {0};
        edit_numbers(&e, 41 + acknowledged, 100, 200 + acknowledged);
        status = manifest_append(m, &e);
        acknowledged += status == NOKV_OK;
        edit_deinit(&e);
    }
    manifest_destroy(m);
    sim_crash_after(f.sim, UINT64_MAX);
    version_unref(s.version);
    crash(&f, power);
    OK(recover(&f, &back));
    *out_back = (size_t)(back.log_number - 40);
    version_unref(back.version);
    lsm_deinit(&f);
    return acknowledged;
}

/* A crash at any step of appending edits loses none that was acknowledged, and leaves no hole. */
static void test_crash_in_append(void **state)
{
    (void)state;
    enum { EDITS = 6 };
    for (uint64_t k = 0, done = 0; done < EDITS; k++)
        for (uint64_t seed = 0; seed < test_scale(40); seed++) {
            size_t back = 0;
            done = append_crash(k, seed, seed % 4 != 0, EDITS, &back);
            assert_in_range(back, done, done + 1);
        }
}

/* After a sync of the MANIFEST failed, nothing more is acknowledged on it, also when the disk is well again. */
static void test_failed_sync_is_final(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC, ENOMEM};
    for (size_t i = 0; i < ARRAY_COUNT(errors); i++) {
        struct lsm f;
        struct manifest_state s;
        struct manifest *m = NULL;
        struct edit e = {0};
        lsm_init(&f);
        s = state_make(&f);
        OK(manifest_create(&f.env, 60, &s, &m));
        sim_fail(f.sim, IO_OP_SYNC, IO_MANIFEST, 1, errors[i], false);
        edit_numbers(&e, 41, 100, 200);
        FAILS(IO, manifest_append(m, &e)); /* it may be on the medium, and must not be tried again */
        assert_true(sim_failed(f.sim));
        sim_fail_clear(f.sim);
        assert_int_not_equal(manifest_append(m, &e), NOKV_OK);
        edit_deinit(&e);
        manifest_destroy(m);
        scene_end(&f, &s);
    }
}

/* The k-th operation fails, for each k: CURRENT is as it was or names the complete new file. */
static void test_io_failure_in_create(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t k = 1; failed; k++) {
        struct lsm f;
        struct manifest_state s, back;
        struct manifest *m = NULL;
        scene_make(&f, &s);
        s.log_number = 77;
        sim_fail(f.sim, IO_OP_COUNT, IO_COMPONENT_COUNT, k, EIO, false);
        enum nokv_status status = manifest_create(&f.env, 61, &s, &m);
        failed = sim_failed(f.sim);
        sim_fail_clear(f.sim);
        manifest_destroy(m);
        OK(recover(&f, &back));
        assert_int_equal(back.log_number, back.manifest_number == 61 ? 77 : 40);
        assert_true(status != NOKV_OK || back.manifest_number == 61);
        version_unref(back.version);
        scene_end(&f, &s);
    }
}

/* Without memory nothing is half open: recovery fails as a whole and leaks nothing. */
static void test_no_memory(void **state)
{
    (void)state;
    struct lsm f;
    struct manifest_state s;
    scene_make(&f, &s);
    enum nokv_status status = NOKV_ERR_NO_MEMORY;
    for (uint64_t k = 0; status != NOKV_OK; k++) {
        struct manifest_state back;
        mem_fail_after(k);
        status = recover(&f, &back);
        mem_fail_after(UINT64_MAX);
        if (status == NOKV_OK)
            version_unref(back.version);
        else
            assert_int_equal(status, NOKV_ERR_NO_MEMORY);
    }
    scene_end(&f, &s);
}

/* ---- segments of the value log ---------------------------------------------------------------------------------- */

static void segment_append(struct manifest *m, uint64_t number, uint64_t bytes, bool sealed)
{
    struct edit e = {0};
    struct segment_desc d = {.number = number, .file_bytes = bytes, .origin = SEGMENT_DIRECT, .sealed = sealed};
    OK(edit_add_segment(&e, &d));
    OK(manifest_append(m, &e));
    edit_deinit(&e);
}

static enum nokv_status segment_remove(struct manifest *m, uint64_t number)
{
    struct edit e = {0};
    OK(edit_remove_segment(&e, number));
    enum nokv_status status = manifest_append(m, &e);
    edit_deinit(&e);
    return status;
}

/* numbers: ascending, 0-terminated. */
static void assert_segments(struct lsm *f, const uint64_t *numbers)
{
    struct manifest_state back;
    size_t count = 0;
    OK(recover(f, &back));
    while (numbers[count])
        count++;
    assert_int_equal(back.segment_count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(back.segments[i].number, numbers[i]);
    version_unref(back.version);
    manifest_state_deinit(&back);
}

/* Segments come, are described anew, and go, in any order; the next MANIFEST begins with those that are left, as they
 * were described last. */
static void test_segments(void **state)
{
    (void)state;
    struct lsm f;
    struct manifest_state s, back;
    struct manifest *m = NULL;
    lsm_init(&f);
    s = state_make(&f);
    OK(manifest_create(&f.env, 60, &s, &m));
    assert_segments(&f, (const uint64_t[]){0});
    segment_append(m, 21, 4096, false);
    segment_append(m, 9, 8192, true);
    segment_append(m, 30, 12288, true);
    assert_segments(&f, (const uint64_t[]){9, 21, 30, 0});
    segment_append(m, 21, 65536, true); /* sealed by now */
    OK(segment_remove(m, 9));
    assert_segments(&f, (const uint64_t[]){21, 30, 0});
    manifest_destroy(m);
    OK(recover(&f, &back));
    OK(manifest_create(&f.env, 61, &back, &m));
    version_unref(back.version);
    manifest_state_deinit(&back);
    OK(segment_remove(m, 30));
    manifest_destroy(m);
    OK(recover(&f, &back));
    assert_int_equal(back.manifest_number, 61);
    assert_int_equal(back.segment_count, 1);
    assert_int_equal(back.segments[0].number, 21);
    assert_int_equal(back.segments[0].file_bytes, 65536);
    assert_int_equal(back.segments[0].origin, SEGMENT_DIRECT);
    assert_true(back.segments[0].sealed);
    version_unref(back.version);
    manifest_state_deinit(&back);
    scene_end(&f, &s);
}

/* Removing a segment that is not there, or twice, is damage, and the message says which. */
static void test_unknown_segment_removed(void **state)
{
    (void)state;
    for (int twice = 0; twice < 2; twice++) {
        struct lsm f;
        struct manifest_state s;
        struct manifest *m = NULL;
        lsm_init(&f);
        s = state_make(&f);
        OK(manifest_create(&f.env, 60, &s, &m));
        segment_append(m, 21, 4096, true);
        OK(segment_remove(m, twice ? 21 : 22));
        if (twice)
            OK(segment_remove(m, 21));
        manifest_destroy(m);
        assert_corrupt(&f, twice ? "segment 21" : "segment 22");
        scene_end(&f, &s);
    }
}

/* An edit that adds and removes segments and tables is torn by a power cut: all of it is there, or none. */
static void test_torn_segment_edit(void **state)
{
    (void)state;
    size_t before = 0, after = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct lsm f;
        struct manifest_state s, back;
        struct manifest *m = NULL;
        struct edit e = {0};
        lsm_init(&f);
        sim_reseed(f.sim, seed);
        s = state_make(&f);
        OK(manifest_create(&f.env, 60, &s, &m));
        segment_append(m, 21, 4096, true);
        for (uint64_t n = 100; n < 140; n++) {
            struct segment_desc d = {.number = n, .file_bytes = 4096, .origin = SEGMENT_COLLECT, .sealed = true};
            OK(edit_add_segment(&e, &d));
        }
        OK(edit_remove_segment(&e, 21));
        sim_crash_after(f.sim, seed % 3);
        (void)!manifest_append(m, &e);
        edit_deinit(&e);
        manifest_destroy(m);
        version_unref(s.version);
        epoch_drain();
        io_destroy(f.io);
        sim_power_cut(f.sim);
        OK(sim_io_create(f.sim, &f.io));
        f.env.io = f.io;
        OK(recover(&f, &back));
        assert_true(back.segment_count == 1 || back.segment_count == 40);
        before += back.segment_count == 1;
        after += back.segment_count == 40;
        version_unref(back.version);
        manifest_state_deinit(&back);
        lsm_deinit(&f);
    }
    assert_true(before > 0 && after > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_removed_tables_are_not_opened),
        cmocka_unit_test(test_existence_unknown),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_damaged_current),
        cmocka_unit_test(test_missing_manifest),
        cmocka_unit_test(test_exchanged_manifest),
        cmocka_unit_test(test_missing_table),
        cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_no_first_edit),
        cmocka_unit_test(test_damaged_manifest),
        cmocka_unit_test(test_crash_in_create),
        cmocka_unit_test(test_crash_in_append),
        cmocka_unit_test(test_failed_sync_is_final),
        cmocka_unit_test(test_io_failure_in_create),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_unknown_segment_removed),
        cmocka_unit_test(test_torn_segment_edit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
