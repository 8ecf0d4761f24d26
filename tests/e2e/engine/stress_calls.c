// SPDX-License-Identifier: Apache-2.0
/*
 * Everything that the interface offers beside groups of keys: streamed values, maintenance, inspection, calls that must
 * be refused, a second database, and handles that are passed on to a thread that has never called anything. What has
 * several cases takes them in turn, so that a few steps are enough for each of them.
 */
#include "stress.h"

enum { STREAMS = 8, STREAM_MAX = 40000 };

/* ---- streamed values -----------------------------------------------------------------------------------------------
 */

static size_t stream_make(unsigned owner, uint64_t version, uint8_t *out)
{
    size_t size = 100 + version * 7919 % (STREAM_MAX - 100);
    memset(out, (int)(version * 3 + owner), size);
    memcpy(out, &version, sizeof version);
    return size;
}

/* A value in parts, committed or given up; then read back. Nobody else writes these keys. */
void large_step(struct task *t)
{
    static uint8_t values[THREADS_MAX][STREAM_MAX], copies[THREADS_MAX][STREAM_MAX];
    uint8_t *value = values[t->index], *copy = copies[t->index];
    unsigned at = (unsigned)draw(t, STREAMS);
    uint64_t version = t->done + 1;
    size_t size = stream_make(t->index, version, value), copied = 0;
    char key[32];
    nokv_value_writer *w = NULL;
    int key_size = snprintf(key, sizeof key, "s%u/%u", t->index, at);
    EXPECT(CALL(t, nokv_value_writer_open)(stress_db, key, (size_t)key_size, t->done % 2 ? size : 0, &w) == NOKV_OK,
           t->index, at);
    if (w == NULL)
        return;
    for (size_t off = 0, part = 0; off < size; off += part) {
        part = 1 + draw(t, 9000);
        part = part < size - off ? part : size - off;
        EXPECT(CALL(t, nokv_value_writer_append)(w, value + off, part) == NOKV_OK, t->index, at);
    }
    if (t->done % 5 == 4) {
        CALL(t, nokv_value_writer_abandon)(w);
    } else {
        EXPECT(CALL(t, nokv_value_writer_commit)(w, NULL) == NOKV_OK, t->index, at);
        t->last[0][at] = version;
    }
    nokv_status status = CALL(t, nokv_get_copy)(stress_db, key, (size_t)key_size, NULL, copy, STREAM_MAX, &copied);
    EXPECT(status == (t->last[0][at] ? NOKV_OK : NOKV_ERR_NOT_FOUND), t->index, at);
    size = stream_make(t->index, t->last[0][at], value);
    EXPECT(status != NOKV_OK || (copied == size && memcmp(copy, value, size) == 0), t->index, at);
}

/* ---- maintenance ---------------------------------------------------------------------------------------------------
 */

void maintenance_step(struct task *t)
{
    unsigned writer = (unsigned)draw(t, WRITERS), group = (unsigned)draw(t, GROUPS);
    char first[16], last[16];
    nokv_status status;
    key_make(writer, group, 0, first);
    key_make(writer, group + 20, 2, last);
    switch (t->done % 4) {
    case 0:
        status = CALL(t, nokv_compact_range)(stress_db, first, KEY_SIZE, last, KEY_SIZE);
        break;
    case 1:
        status = CALL(t, nokv_sync_wal)(stress_db);
        break;
    default:
        status = CALL(t, nokv_flush)(stress_db);
    }
    EXPECT(status == NOKV_OK, writer, group);
}

void collector_step(struct task *t)
{
    static const double amps[] = {0, 1, 2};
    nokv_status status =
        t->done % 2 ? CALL(t, nokv_vlog_collect)(stress_db, amps[draw(t, 3)]) : CALL(t, nokv_wait_idle)(stress_db);
    EXPECT(status == NOKV_OK, 0, 0);
}

/* ---- inspection ----------------------------------------------------------------------------------------------------
 */

static bool segment_seen(void *arg, const nokv_vlog_segment *segment)
{
    uint64_t *last = arg;
    EXPECT(segment->number > *last && (segment->live_records > 0 || segment->live_bytes == 0), 0, 0);
    *last = segment->number;
    return true;
}

static bool never_on(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
    (void)arg;
    (void)done_bytes;
    (void)total_bytes;
    return false;
}

static void stats_look(struct task *t, bool with_residency)
{
    nokv_stats stats = {.struct_size = sizeof stats};
    EXPECT(CALL(t, nokv_stats_get)(stress_db, with_residency, &stats) == NOKV_OK, 0, 0);
    EXPECT(stats.background_error == NOKV_OK && stats.sequence >= t->last[0][0], 0, 0);
    t->last[0][0] = stats.sequence;
}

void inspector_step(struct task *t)
{
    nokv_verify_report report = {0};
    uint64_t number = 0;
    char *text = NULL;
    switch (t->done % 6) {
    case 0:
    case 1:
        stats_look(t, t->done % 2 == 0);
        break;
    case 2:
        EXPECT(CALL(t, nokv_stats_text)(stress_db, &text) == NOKV_OK && strstr(text, "level"), 0, 0);
        CALL(t, nokv_free)(text);
        break;
    case 3:
        EXPECT(CALL(t, nokv_vlog_segments)(stress_db, segment_seen, &number) == NOKV_OK, 0, 0);
        break;
    case 4:
        EXPECT(CALL(t, nokv_verify)(stress_db, NULL, NULL, &report) == NOKV_OK, 0, 0);
        break;
    default: { /* there may be nothing to verify, and so nobody to ask */
        nokv_status status = CALL(t, nokv_verify)(stress_db, never_on, NULL, &report);
        EXPECT(status == NOKV_ERR_ABORTED || (status == NOKV_OK && report.files + report.segments == 0), 0, 0);
    }
    }
}

struct pick {
    struct task *t;
    uint64_t seen;
    nokv_file_kind kind;
    bool is_whole; /* a table of the tree: nobody writes to it any more */
    char path[sizeof stress_dir + 64];
};

/* Any file, each as likely as the others. The shared buffers are none that can be dumped. */
static bool file_pick(void *arg, const nokv_residency_file *file)
{
    struct pick *p = arg;
    if (strstr(file->name, "BUF") != NULL || draw(p->t, ++p->seen) != 0)
        return true;
    p->kind = file->kind;
    p->is_whole = file->level >= 0;
    snprintf(p->path, sizeof p->path, "%s/%.60s", stress_dir, file->name);
    return true;
}

static bool line_seen(void *arg, const char *line)
{
    *(uint64_t *)arg += line[0] != 0;
    return true;
}

static bool record_seen(void *arg, const nokv_salvage_record *record)
{
    *(uint64_t *)arg += record->key.size;
    return true;
}

/* A file that is written to may end in the middle of something, and any may be gone. */
static bool is_file_status(const struct pick *p, nokv_status status)
{
    return status == NOKV_OK || status == NOKV_ERR_NOT_FOUND || (status == NOKV_ERR_CORRUPT && !p->is_whole);
}

/* The files of the open database, looked at without it. */
void files_step(struct task *t)
{
    struct pick p = {.t = t};
    uint64_t sum = 0;
    nokv_salvage_report report = {0};
    EXPECT(CALL(t, nokv_residency)(stress_dir, draw(t, 2) * 64, file_pick, &p) == NOKV_OK, 0, 0);
    if (p.seen == 0)
        return;
    EXPECT(is_file_status(&p, CALL(t, nokv_dump_file)(p.path, p.kind, line_seen, &sum)), 0, 0);
    if (p.kind == NOKV_FILE_VLOG)
        EXPECT(is_file_status(&p, CALL(t, nokv_vlog_salvage)(p.path, record_seen, &sum, &report)), 0, 0);
}

/* ---- what must be refused ------------------------------------------------------------------------------------------
 */

static void refused(struct task *t, nokv_status status, nokv_status wanted, unsigned which)
{
    EXPECT(status == wanted, 0, which);
    EXPECT(CALL(t, nokv_error_message)()[0] != 0, 0, which);
    EXPECT(strstr(CALL(t, nokv_status_name)(wanted), "NOKV_ERR_") != NULL, 0, which);
    EXPECT(CALL(t, nokv_status_text)(wanted)[0] != 0, 0, which);
}

static void mistaken_writes(struct task *t)
{
    nokv_value_writer *w = NULL;
    nokv_write_options no_size = {0};
    refused(t, CALL(t, nokv_put)(stress_db, "", 0, "v", 1, NULL), NOKV_ERR_INVALID, 1);
    refused(t, CALL(t, nokv_delete)(stress_db, "k", NOKV_KEY_SIZE_MAX + 1, NULL), NOKV_ERR_TOO_LARGE, 2);
    refused(t, CALL(t, nokv_put)(stress_db, "k", 1, "v", 1, &no_size), NOKV_ERR_INVALID, 3);
    EXPECT(CALL(t, nokv_value_writer_open)(stress_db, "never", 5, 4, &w) == NOKV_OK, 0, 4);
    if (w == NULL)
        return;
    refused(t, CALL(t, nokv_value_writer_append)(w, "larger", 6), NOKV_ERR_TOO_LARGE, 4);
    CALL(t, nokv_value_writer_abandon)(w);
}

static void mistaken_reads(struct task *t)
{
    nokv_value value = {0};
    nokv_iter *it = NULL;
    nokv_read_options no_size = {0};
    nokv_iter_options no_iter_size = {0};
    char copy[1];
    size_t size = 0;
    nokv_slice keys[2] = {{"", 0}, {"never", 5}};
    nokv_value values[2] = {0};
    nokv_status statuses[2];
    refused(t, CALL(t, nokv_get)(stress_db, "", 0, NULL, &value), NOKV_ERR_INVALID, 5);
    refused(t, CALL(t, nokv_get)(stress_db, "k", 1, &no_size, &value), NOKV_ERR_INVALID, 6);
    refused(t, CALL(t, nokv_iter_create)(stress_db, &no_iter_size, &it), NOKV_ERR_INVALID, 7);
    refused(t, CALL(t, nokv_multi_get)(stress_db, 2, keys, NULL, values, statuses), NOKV_ERR_INVALID, 8);
    EXPECT(statuses[0] == NOKV_ERR_INVALID && statuses[1] == NOKV_ERR_NOT_FOUND, 0, 8);
    EXPECT(CALL(t, nokv_put)(stress_db, "too large", 9, "value", 5, NULL) == NOKV_OK, 0, 9);
    refused(t, CALL(t, nokv_get_copy)(stress_db, "too large", 9, NULL, copy, sizeof copy, &size), NOKV_ERR_TOO_LARGE,
            9);
    EXPECT(size == 5, 0, 9);
}

static void mistaken_others(struct task *t)
{
    nokv_db *other = NULL;
    nokv_stats no_size = {0};
    nokv_options options;
    uint64_t sum = 0;
    CALL(t, nokv_options_init_sized)(&options, sizeof options);
    refused(t, CALL(t, nokv_open)(stress_dir, &options, &other), NOKV_ERR_BUSY, 10);
    options.read_only = true;
    refused(t, CALL(t, nokv_open)(stress_dir, &options, &other), NOKV_ERR_BUSY, 11);
    refused(t, CALL(t, nokv_destroy)(stress_dir), NOKV_ERR_BUSY, 12);
    refused(t, CALL(t, nokv_compact_range)(stress_db, "", 0, NULL, 0), NOKV_ERR_INVALID, 13);
    refused(t, CALL(t, nokv_vlog_collect)(stress_db, 0.5), NOKV_ERR_INVALID, 14);
    refused(t, CALL(t, nokv_stats_get)(stress_db, false, &no_size), NOKV_ERR_INVALID, 15);
    refused(t, CALL(t, nokv_dump_file)("/nowhere/000001.sst", NOKV_FILE_SST, line_seen, &sum), NOKV_ERR_NOT_FOUND, 16);
    EXPECT(strcmp(CALL(t, nokv_version)(), "") != 0, 0, 17);
}

/* Calls that are refused change nothing, and each thread has the message of its own. */
void mistakes_step(struct task *t)
{
    mistaken_writes(t);
    mistaken_reads(t);
    mistaken_others(t);
}

/* ---- a second database ---------------------------------------------------------------------------------------------
 */

static void neighbour_use(struct task *t, nokv_db *db, bool is_new)
{
    nokv_value value = {0};
    if (is_new) {
        EXPECT(CALL(t, nokv_put)(db, "key", 3, "value", 5, NULL) == NOKV_OK, 1, 0);
        EXPECT(CALL(t, nokv_flush)(db) == NOKV_OK, 1, 0);
    }
    EXPECT(CALL(t, nokv_get)(db, "key", 3, NULL, &value) == NOKV_OK && value.size == 5, 1, 0);
    CALL(t, nokv_value_release)(&value);
    EXPECT(CALL(t, nokv_close)(db) == NOKV_OK, 1, 0);
}

/* It shares the process with the other one: opened, closed, opened read-only, removed. */
void neighbour_step(struct task *t)
{
    char dir[sizeof stress_dir + 16];
    nokv_options options;
    nokv_db *db = NULL, *again = NULL;
    snprintf(dir, sizeof dir, "%s-neighbour", stress_dir);
    CALL(t, nokv_options_init_sized)(&options, sizeof options);
    options.memtable_bytes = 64 << 10;
    options.inline_background_work = t->done % 2 != 0;
    EXPECT(CALL(t, nokv_open)(dir, &options, &db) == NOKV_OK, 1, 0);
    if (db)
        neighbour_use(t, db, true);
    options.read_only = true;
    EXPECT(CALL(t, nokv_open)(dir, &options, &again) == NOKV_OK, 1, 0);
    if (again)
        neighbour_use(t, again, false);
    EXPECT(CALL(t, nokv_destroy)(dir) == NOKV_OK, 1, 0);
}

/* ---- handing over --------------------------------------------------------------------------------------------------
 */

/* What one thread made and another one uses and ends. */
struct handles {
    struct task *t;
    nokv_iter *it;
    nokv_batch *batch;
    nokv_value_writer *writer;
    nokv_value value;
    const nokv_snapshot *snapshot;
};

static void *handles_end(void *arg)
{
    struct handles *h = arg;
    struct task *t = h->t;
    size_t shown = 0;
    for (CALL(t, nokv_iter_first)(h->it); CALL(t, nokv_iter_valid)(h->it) && shown < 50; shown++) {
        EXPECT(CALL(t, nokv_iter_value)(h->it).size == CALL(t, nokv_iter_value_size)(h->it), 0, 0);
        CALL(t, nokv_iter_next)(h->it);
    }
    EXPECT(CALL(t, nokv_iter_status)(h->it) == NOKV_OK, 0, 0);
    EXPECT(h->value.size == 4 && memcmp(h->value.data, "kept", 4) == 0, 0, 0);
    CALL(t, nokv_iter_destroy)(h->it);
    CALL(t, nokv_value_release)(&h->value);
    EXPECT(CALL(t, nokv_write)(stress_db, h->batch, NULL) == NOKV_OK, 0, 0);
    CALL(t, nokv_batch_destroy)(h->batch);
    EXPECT(CALL(t, nokv_value_writer_append)(h->writer, "part", 4) == NOKV_OK, 0, 0);
    EXPECT(CALL(t, nokv_value_writer_commit)(h->writer, NULL) == NOKV_OK, 0, 0);
    CALL(t, nokv_snapshot_release)(stress_db, h->snapshot);
    return NULL;
}

/* Everything that belongs to one thread at a time goes to another thread, which has made no call before. */
void hand_over_step(struct task *t)
{
    struct handles h = {.t = t};
    pthread_t other;
    bool ok = CALL(t, nokv_put)(stress_db, "h/kept", 6, "kept", 4, NULL) == NOKV_OK &&
              CALL(t, nokv_get)(stress_db, "h/kept", 6, NULL, &h.value) == NOKV_OK &&
              CALL(t, nokv_snapshot_create)(stress_db, &h.snapshot) == NOKV_OK;
    nokv_iter_options options = {.struct_size = sizeof options, .snapshot = h.snapshot};
    ok = ok && CALL(t, nokv_iter_create)(stress_db, &options, &h.it) == NOKV_OK &&
         CALL(t, nokv_batch_create)(&h.batch) == NOKV_OK &&
         CALL(t, nokv_batch_put)(h.batch, "h/batch", 7, "value", 5) == NOKV_OK &&
         CALL(t, nokv_value_writer_open)(stress_db, "h/stream", 8, 0, &h.writer) == NOKV_OK &&
         thread_create(&other, "handed over", handles_end, &h) == NOKV_OK;
    EXPECT(ok, 0, 0);
    if (ok)
        thread_join(other);
}
