// SPDX-License-Identifier: Apache-2.0
/* Calls, and what is known afterwards: see sweep_steps.h. */
#include "sweep_steps.h"

#include <errno.h>
#include <sys/stat.h>

#include "lsm/names.h"

/* The last one is long. */
static size_t key_make(uint8_t key, char out[SWEEP_KEY_BYTES])
{
    int width = key == SWEEP_KEYS - 1 ? 600 : key % 4 == 0 ? 18 : 1;
    return (size_t)snprintf(out, SWEEP_KEY_BYTES, "key%03u%-*s", key, width, "/");
}

static void value_make(size_t write, uint8_t *out, size_t size)
{
    uint64_t state = write + 1;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t r = test_random(&state);
        memcpy(out + i, &r, size - i < 8 ? size - i : 8);
    }
}

/* Inline, in the value log at flush, directly. */
static uint32_t size_of(size_t write)
{
    static const uint32_t sizes[] = {60, 700, 2600, 0, 150, 1300, 5000};
    return sizes[write % ARRAY_COUNT(sizes)];
}

static size_t write_note(struct run *r, uint8_t key, uint32_t size, bool is_delete)
{
    assert_true(r->model.count < SWEEP_WRITES_MAX);
    r->model.writes[r->model.count] = (struct write){.key = key, .size = size, .is_delete = is_delete};
    return r->model.count++;
}

void all_synced(struct run *r)
{
    for (size_t i = 0; i < r->model.count; i++)
        r->model.writes[i].is_synced |= r->model.writes[i].is_acknowledged;
}

/* ---- what a call may say ---------------------------------------------------------------------------------------- */

static unsigned bit_of(enum nokv_status status)
{
    return 1u << (unsigned)status;
}

static unsigned allowed(const struct run *r)
{
    unsigned set = r->may_be_corrupt ? bit_of(NOKV_ERR_CORRUPT) | bit_of(NOKV_ERR_POISONED) : 0;
    set |= r->may_be_absent ? bit_of(NOKV_ERR_NOT_FOUND) : 0;
    if (r->plan.target == SWEEP_NOTHING || !sweep_has_failed() || r->plan.err == SWEEP_EINTR)
        return set;
    if (sweep_sync_failed()) /* the bytes of a large value are gone with it, and its pointer is still in the memtable */
        set |= bit_of(NOKV_ERR_CORRUPT);
    set |= bit_of(NOKV_ERR_POISONED);
    if (r->plan.target == SWEEP_ALLOCATIONS) /* the disk may be what lacked it, when a log was written to */
        return set | bit_of(NOKV_ERR_NO_MEMORY) |
               (strstr(status_message(), strerror(ENOMEM)) ? bit_of(NOKV_ERR_IO) : 0);
    set |= r->plan.target == SWEEP_BOTH ? bit_of(NOKV_ERR_NO_MEMORY) : 0;
    set |= bit_of(NOKV_ERR_IO);
    return set | (r->plan.err == SWEEP_ENOSPC ? bit_of(NOKV_ERR_NO_SPACE) : 0) |
           (r->plan.err == SWEEP_ENOMEM || r->plan.err == SWEEP_EMFILE ? bit_of(NOKV_ERR_NO_MEMORY) : 0);
}

/* True: it succeeded. */
bool went_well(const struct run *r, enum nokv_status status, const char *call)
{
    if (status == NOKV_OK)
        return true;
    if ((allowed(r) & bit_of(status)) == 0 || status_message()[0] == 0)
        fail_msg("%s: %s: %s %s", r->what, call, status_name(status), status_message());
    return false;
}

/* ---- steps --------------------------------------------------------------------------------------------------------
 */

void put(struct run *r, uint8_t key, uint32_t size, nokv_sync sync)
{
    static uint8_t value[SWEEP_VALUE_MAX];
    char name[SWEEP_KEY_BYTES];
    nokv_write_options wo = {.struct_size = sizeof wo, .sync = sync};
    size_t i = write_note(r, key, size, false);
    value_make(i, value, size);
    if (went_well(r, nokv_put(r->db, name, key_make(key, name), value, size, &wo), "put")) {
        r->model.writes[i].is_acknowledged = true;
        if (sync == NOKV_SYNC_COMMIT)
            all_synced(r);
    }
}

static void del(struct run *r, uint8_t key)
{
    char name[SWEEP_KEY_BYTES];
    size_t i = write_note(r, key, 0, true);
    r->model.writes[i].is_acknowledged = went_well(r, nokv_delete(r->db, name, key_make(key, name), NULL), "delete");
}

static bool batch_fill(struct run *r, nokv_batch *b, uint8_t first, uint32_t count, uint32_t size)
{
    static uint8_t value[SWEEP_VALUE_MAX];
    for (uint32_t i = 0; i < count; i++) {
        char name[SWEEP_KEY_BYTES];
        bool is_delete = i == 1;
        size_t n = write_note(r, (uint8_t)(first + i), is_delete ? 0 : size, is_delete);
        size_t key_size = key_make((uint8_t)(first + i), name);
        value_make(n, value, size);
        if (!went_well(
                r, is_delete ? nokv_batch_delete(b, name, key_size) : nokv_batch_put(b, name, key_size, value, size),
                "batch"))
            return false;
    }
    return true;
}

void batch(struct run *r, uint8_t first, uint32_t count, uint32_t size)
{
    nokv_batch *b = NULL;
    size_t begin = r->model.count;
    if (!went_well(r, nokv_batch_create(&b), "batch_create"))
        return;
    if (batch_fill(r, b, first, count, size) && went_well(r, nokv_write(r->db, b, NULL), "write"))
        for (size_t i = begin; i < r->model.count; i++)
            r->model.writes[i].is_acknowledged = true;
    nokv_batch_destroy(b);
}

void stream(struct run *r, uint8_t key, uint32_t size, uint64_t size_max)
{
    static uint8_t value[SWEEP_VALUE_MAX];
    char name[SWEEP_KEY_BYTES];
    nokv_value_writer *w = NULL;
    size_t i = write_note(r, key, size, false);
    value_make(i, value, size);
    if (!went_well(r, nokv_value_writer_open(r->db, name, key_make(key, name), size_max, &w), "value_writer_open"))
        return;
    if (!went_well(r, nokv_value_writer_append(w, value, size / 2), "value_writer_append") ||
        !went_well(r, nokv_value_writer_append(w, value + size / 2, size - size / 2), "value_writer_append"))
        nokv_value_writer_abandon(w);
    else
        r->model.writes[i].is_acknowledged = went_well(r, nokv_value_writer_commit(w, NULL), "value_writer_commit");
}

void writes(struct run *r, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint8_t key = (uint8_t)(r->model.count * 7 % SWEEP_KEYS);
        if (i % 11 == 10)
            del(r, key);
        else
            put(r, key, size_of(r->model.count), i % 9 == 8 ? NOKV_SYNC_COMMIT : NOKV_SYNC_NONE);
    }
}

/* Is it one of the states that the key may be in? `synced_only`: what was not durable may be lost. */
static bool is_possible(const struct model *m, uint8_t key, const nokv_value *value, bool synced_only)
{
    static uint8_t wanted[SWEEP_VALUE_MAX];
    for (size_t i = m->count; i > 0; i--) {
        const struct write *w = &m->writes[i - 1];
        if (w->key != key)
            continue;
        if (value == NULL && w->is_delete)
            return true;
        value_make(i - 1, wanted, w->size);
        if (value && !w->is_delete && value->size == w->size && memcmp(value->data, wanted, w->size) == 0)
            return true;
        if (synced_only ? w->is_synced : w->is_acknowledged)
            return false;
    }
    return value == NULL;
}

static void got_check(struct run *r, uint8_t key, enum nokv_status status, nokv_value *value, const char *call)
{
    bool synced_only = r->may_be_corrupt || sweep_sync_failed();
    if (status == NOKV_ERR_NOT_FOUND ? !is_possible(&r->model, key, NULL, synced_only)
                                     : went_well(r, status, call) && !is_possible(&r->model, key, value, synced_only))
        fail_msg("%s: %s: key %u is in a state that it cannot be in: %s, %zu bytes", r->what, call, key,
                 status_name(status), value->size);
    nokv_value_release(value);
}

void gets(struct run *r)
{
    static uint8_t buffer[SWEEP_VALUE_MAX];
    for (uint8_t k = 0; k < SWEEP_KEYS; k++) {
        char name[SWEEP_KEY_BYTES];
        nokv_value value = {0};
        size_t size = 0, key_size = key_make(k, name);
        got_check(r, k, nokv_get(r->db, name, key_size, NULL, &value), &value, "get");
        if (k % 8 != 0)
            continue;
        enum nokv_status status = nokv_get_copy(r->db, name, key_size, NULL, buffer, sizeof buffer, &size);
        got_check(r, k, status, &(nokv_value){.data = buffer, .size = size}, "get_copy");
        status = nokv_get_range(r->db, name, key_size, NULL, 0, buffer, sizeof buffer, &size, NULL);
        got_check(r, k, status, &(nokv_value){.data = buffer, .size = size}, "get_range");
        status = nokv_get_range(r->db, name, key_size, NULL, 10, buffer, 100, &size, NULL); /* a part of a chunk */
        (void)(status == NOKV_ERR_NOT_FOUND || went_well(r, status, "get_range"));
    }
}

void multi_get(struct run *r)
{
    static char names[SWEEP_KEYS][SWEEP_KEY_BYTES];
    nokv_slice keys[SWEEP_KEYS];
    nokv_value values[SWEEP_KEYS];
    nokv_status statuses[SWEEP_KEYS];
    for (uint8_t k = 0; k < SWEEP_KEYS; k++)
        keys[k] = (nokv_slice){names[k], key_make(k, names[k])};
    (void)went_well(r, nokv_multi_get(r->db, SWEEP_KEYS, keys, NULL, values, statuses), "multi_get");
    for (uint8_t k = 0; k < SWEEP_KEYS; k++)
        got_check(r, k, statuses[k], &values[k], "multi_get");
}

static void scan(struct run *r, const nokv_iter_options *options, bool backward)
{
    nokv_iter *it = NULL;
    if (!went_well(r, nokv_iter_create(r->db, options, &it), "iter_create"))
        return;
    for (backward ? nokv_iter_last(it) : nokv_iter_first(it); nokv_iter_valid(it);
         backward ? nokv_iter_prev(it) : nokv_iter_next(it)) {
        const char *p = nokv_iter_key(it).data;
        uint8_t key = (uint8_t)((p[3] - '0') * 100 + (p[4] - '0') * 10 + (p[5] - '0'));
        nokv_slice value = nokv_iter_value(it);
        if (!nokv_iter_valid(it)) /* its value could not be read */
            break;
        if (options == NULL)
            got_check(r, key, NOKV_OK, &(nokv_value){.data = value.data, .size = value.size}, "scan");
    }
    (void)went_well(r, nokv_iter_status(it), "scan");
    nokv_iter_seek(it, "key020", 6);
    nokv_iter_seek_for_prev(it, "key030", 6);
    (void)went_well(r, nokv_iter_status(it), "seek");
    nokv_iter_destroy(it);
}

static bool segment_seen(void *arg, const nokv_vlog_segment *segment)
{
    (void)segment;
    ++*(size_t *)arg;
    return true;
}

void inspection(struct run *r)
{
    nokv_stats stats = {.struct_size = sizeof stats};
    nokv_verify_report report;
    char *text = NULL;
    size_t segments = 0;
    (void)went_well(r, nokv_stats_get(r->db, true, &stats), "stats_get");
    if (went_well(r, nokv_stats_text(r->db, &text), "stats_text"))
        nokv_free(text);
    (void)went_well(r, nokv_vlog_segments(r->db, segment_seen, &segments), "vlog_segments");
    (void)went_well(r, nokv_verify(r->db, NULL, NULL, &report), "verify");
    if (!sweep_has_failed()) /* what a failed job leaves behind is an orphan */
        (void)went_well(r, db_check(r->db), "check");
}

void reads(struct run *r)
{
    const nokv_snapshot *snapshot = NULL;
    gets(r);
    multi_get(r);
    scan(r, NULL, false);
    scan(r, NULL, true);
    if (went_well(r, nokv_snapshot_create(r->db, &snapshot), "snapshot_create")) {
        nokv_iter_options o = {
            .struct_size = sizeof o, .snapshot = snapshot, .lower = {"key005", 6}, .prefix = {"key", 3}};
        scan(r, &o, false);
        nokv_snapshot_release(r->db, snapshot);
    }
}

void flush(struct run *r)
{
    if (went_well(r, nokv_flush(r->db), "flush"))
        all_synced(r);
}

/* Overwrites make garbage; everything that background work does is asked for. */
void maintenance(struct run *r)
{
    const nokv_snapshot *snapshot = NULL;
    flush(r);
    (void)went_well(r, nokv_snapshot_create(r->db, &snapshot), "snapshot_create");
    writes(r, 40);
    if (went_well(r, nokv_compact_range(r->db, NULL, 0, NULL, 0), "compact_range"))
        all_synced(r);
    nokv_snapshot_release(r->db, snapshot);
    writes(r, 30);
    flush(r);
    (void)went_well(r, nokv_vlog_collect(r->db, 1.0), "vlog_collect");
    (void)went_well(r, nokv_wait_idle(r->db), "wait_idle");
    if (went_well(r, nokv_compact_range(r->db, "key010", 6, "key030", 6), "compact_range"))
        all_synced(r);
}

/* After a failed sync what was not durable may be lost; from a reopen on, what is there is. */
static void unsynced_forget(struct run *r)
{
    for (size_t i = 0; i < r->model.count; i++)
        r->model.writes[i].is_acknowledged &= r->model.writes[i].is_synced;
}

bool run_open(struct run *r)
{
    if (sweep_sync_failed())
        unsynced_forget(r);
    return r->io ? went_well(r, db_open(r->io, "db", &r->options, &r->db), "open")
                 : went_well(r, nokv_open(r->dir, &r->options, &r->db), "open");
}

void run_close(struct run *r)
{
    if (r->db && went_well(r, nokv_close(r->db), "close"))
        all_synced(r);
    r->db = NULL;
}

static bool line_seen(void *arg, const char *line)
{
    (void)line;
    ++*(size_t *)arg;
    return true;
}

static bool file_seen(void *arg, const nokv_residency_file *file)
{
    (void)file;
    ++*(size_t *)arg;
    return true;
}

static bool record_seen(void *arg, const nokv_salvage_record *record)
{
    (void)record;
    ++*(size_t *)arg;
    return true;
}

/* Is there something in it? A file whose creation failed may be left empty. */
static bool has_bytes(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && st.st_size > 0;
}

/* Files that are looked at from outside of a database. */
void outside(struct run *r)
{
    char path[PATH_SIZE_MAX];
    size_t seen = 0;
    nokv_salvage_report report;
    OK(path_current(path, r->dir));
    if (access(path, F_OK) != 0) /* it did not come to be one */
        return;
    (void)went_well(r, nokv_residency(r->dir, 100, file_seen, &seen), "residency");
    for (uint64_t n = 1; n < 40; n++) {
        OK(path_sst(path, r->dir, n));
        if (has_bytes(path))
            (void)went_well(r, nokv_dump_file(path, NOKV_FILE_SST, line_seen, &seen), "dump of a table");
        OK(path_wal(path, r->dir, n));
        if (has_bytes(path))
            (void)went_well(r, nokv_dump_file(path, NOKV_FILE_WAL, line_seen, &seen), "dump of a log");
        OK(path_manifest(path, r->dir, n));
        if (has_bytes(path))
            (void)went_well(r, nokv_dump_file(path, NOKV_FILE_MANIFEST, line_seen, &seen), "dump of a MANIFEST");
        OK(path_vlog(path, r->dir, n));
        if (!has_bytes(path))
            continue;
        (void)went_well(r, nokv_dump_file(path, NOKV_FILE_VLOG, line_seen, &seen), "dump of a segment");
        (void)went_well(r, nokv_vlog_salvage(path, record_seen, &seen, &report), "salvage");
    }
}
