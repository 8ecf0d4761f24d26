// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_multi_get: many keys in one call, for less than the sum of the calls.
 *
 *      group of keys ─► memtables ─► plan: filters, indexes ─► hint: blocks that are cold ─► look: blocks ─► values
 *                                      ▲                                                       │
 *                                      └───────────── not in this table: the next ─────────────┘
 *
 * All keys go through each step before any goes through the next. Where the data is in memory, the cache misses of one
 * key overlap with those of the others (sst/probe.c); where it is not, the kernel is asked for all blocks at once, and
 * then for all values, and the device works on them side by side. The reads are the ordinary ones: they find the page
 * there, or wait for one that is on its way. Values that are read past the page cache or through io_uring are read with
 * one call, each straight into the memory that is handed out.
 *
 * To know whether a page is in memory is a system call per block (mincore: about a microsecond), more than a hot key
 * costs. So a group asks about all of its blocks only while groups find cold ones: HOT_TRUSTED groups in a row with
 * less than COLD_MIN cold pieces, and they are taken to be hot. From then on one in HOT_CHECK counts what the kernel
 * had to read for this thread (getrusage, before and after), and COLD_PAGES_MIN pages end the trust. That is two calls
 * of a third of a microsecond for a group where asking is one per key; it cannot replace asking, because it only tells
 * afterwards. Blocks and values that nobody has read since the database was opened are asked about each time; that
 * these exist costs nothing to know. One cold piece alone is nothing to overlap with, which is why COLD_MIN is 2; a
 * block of two pages that is read by page faults is two pages.
 *
 * One view is held for the whole call, not an epoch section: it may wait for disks.
 *
 * [I1] A key has its final status, and its value or a zeroed one, when its group is over. The first failure's message
 *      is kept, and is the thread's when the call returns; nothing else changes the message.
 * [I2] What a step could not decide is decided by the ordinary read of that key, which also says what is wrong.
 *
 * Threading: any number of threads. Failure: of one key alone; only the call's own memory can fail the call, before it
 * has answered anything.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "db/db.h"

enum {
    GROUP_KEYS = 256,    /* at the most that are on their way at once */
    GROUP_KEYS_HOT = 64, /* more would not stay in the first-level cache from one step to the next */
    HOT_TRUSTED = 16,
    HOT_CHECK = 16,
    COLD_MIN = 2,
    COLD_PAGES_MIN = 2 * COLD_MIN,
    MESSAGE_SIZE = 1024,
};

/* A key whose value is in the value log. */
struct pointed {
    size_t index; /* of the group's keys */
    struct located located;
    struct io_read_request request; /* file NULL: none was planned */
};

struct multi {
    /* set for the call */
    struct nokv_db *db;
    struct view *view;
    uint64_t seq;
    /* set for the group */
    const nokv_slice *keys;
    nokv_value *values;
    nokv_status *statuses;
    size_t count;
    bool asks; /* what is cold, whatever was read before */
    bool checks;
    uint64_t pages_before; /* when it checks */
    struct io_hints hints;
    /* the state */
    nokv_status failed; /* of the first key that did, in the caller's order */
    const nokv_slice *failed_key;
    size_t found;
    size_t probe_count, pointed_count;
    char message[MESSAGE_SIZE];
    /* room for a group */
    size_t stride; /* readers per probe */
    struct sst_probe *probes;
    size_t *owners; /* of the probes: indexes of keys */
    struct sst_reader **readers;
    struct pointed *pointed;
};

static struct slice key_of(const struct multi *m, size_t index)
{
    return slice_make(m->keys[index].data, m->keys[index].size);
}

/* ---- the outcome of a key --------------------------------------------------------------------------------------- */

static void key_end(struct multi *m, size_t index, nokv_status status)
{
    m->statuses[index] = status;
    m->found += status == NOKV_OK;
    if (status == NOKV_OK)
        return;
    m->values[index] = (nokv_value){0};
    const nokv_slice *key = &m->keys[index];
    if (status != NOKV_ERR_NOT_FOUND && (m->failed == NOKV_OK || key < m->failed_key)) {
        m->failed = status;
        m->failed_key = key;
        snprintf(m->message, sizeof m->message, "%s", status_message());
    }
}

/* Whatever the look-up found, nothing included. */
static void key_located(struct multi *m, size_t index, struct found *f)
{
    struct pointed *p = &m->pointed[m->pointed_count];
    p->located.segment = NULL;
    nokv_status status = db_found_locate(m->view, f, &p->located);
    if (status == NOKV_OK && p->located.segment != NULL) {
        p->index = index;
        p->request.file = NULL;
        m->pointed_count++;
        return;
    }
    if (status == NOKV_OK)
        m->values[index] = p->located.value;
    key_end(m, index, status);
}

/* [I2] */
static void key_ask(struct multi *m, size_t index)
{
    struct found f = {0};
    nokv_status status = db_find(m->view, key_of(m, index), m->seq, &f);
    if (status == NOKV_OK)
        key_located(m, index, &f);
    else
        key_end(m, index, status);
}

/* ---- keys ------------------------------------------------------------------------------------------------------- */

static void probe_add(struct multi *m, size_t index)
{
    struct sst_probe *p = &m->probes[m->probe_count];
    struct sst_reader **readers = m->readers + m->probe_count * m->stride;
    struct slice key = key_of(m, index);
    *p = (struct sst_probe){.user_key = key, .hash = sst_key_hash(key), .seq = m->seq, .readers = readers};
    if (!version_candidates(m->view->version, key, p->hash, readers, &p->reader_count)) {
        key_ask(m, index);
        return;
    }
    m->owners[m->probe_count++] = index;
}

/* What is in memtables is found; the others become probes. */
static void group_begin(struct multi *m)
{
    m->probe_count = m->pointed_count = 0;
    for (size_t i = 0; i < m->count; i++) {
        struct found f = {0};
        nokv_status status = key_check(m->keys[i].data, m->keys[i].size);
        if (UNLIKELY(status != NOKV_OK)) {
            key_end(m, i, status);
            continue;
        }
        db_find_in_memory(m->view, key_of(m, i), m->seq, &f);
        if (f.lookup.found)
            key_located(m, i, &f);
        else if (m->count == 1)
            key_ask(m, i); /* nothing to overlap with */
        else
            probe_add(m, i);
    }
}

/* A table's answer that a step could not give. False: that was the end of this key. */
static bool probe_ask(struct multi *m, struct sst_probe *p, size_t index)
{
    nokv_status status = sst_reader_get(p->readers[p->at], p->user_key, p->hash, p->seq, &p->lookup);
    if (status != NOKV_OK) {
        key_end(m, index, status);
        return false;
    }
    if (!p->lookup.found)
        p->at++;
    p->state = p->lookup.found ? SST_PROBE_FOUND : p->at < p->reader_count ? SST_PROBE_NEXT : SST_PROBE_ABSENT;
    return true;
}

/* Keep those that have to go on. */
static void probes_settle(struct multi *m)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->probe_count; i++) {
        struct sst_probe *p = &m->probes[i];
        size_t index = m->owners[i];
        if (UNLIKELY(p->state == SST_PROBE_ASK) && !probe_ask(m, p, index))
            continue;
        if (p->state == SST_PROBE_NEXT) {
            m->owners[kept] = index;
            m->probes[kept++] = *p; /* its readers stay where they are */
        } else if (p->state == SST_PROBE_ABSENT) {
            key_end(m, index, NOKV_ERR_NOT_FOUND);
        } else {
            struct found f = {.lookup = p->lookup, .table = p->readers[p->at]};
            key_located(m, index, &f);
        }
    }
    m->probe_count = kept;
}

static void tables_look(struct multi *m)
{
    while (m->probe_count != 0) {
        sst_probes_plan(m->probes, m->probe_count);
        sst_probes_fetch(m->probes, m->probe_count, !m->asks, &m->hints);
        sst_probes_look(m->probes, m->probe_count);
        probes_settle(m);
    }
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

/* No memory for it, as any other failure here: it is read singly then. */
static void request_buffer_make(struct io_read_request *r)
{
    r->buffer = mem_alloc_aligned(r->size % PAGE_BYTES ? CACHE_LINE : PAGE_BYTES, r->size);
    if (r->buffer == NULL)
        r->file = NULL;
}

static void value_plan(struct multi *m, struct pointed *p)
{
    struct vlog_reader *r;
    struct located *l = &p->located;
    if (segment_reader(l->segment, &r) == NOKV_OK &&
        vlog_read_plan(r, &l->pointer, key_of(m, p->index), !m->asks, &m->hints, &p->request))
        request_buffer_make(&p->request);
    else
        p->request.file = NULL;
}

/* Those that were planned, together. Their requests move up front and back again: one array for all. */
static void values_read_many(struct multi *m)
{
    struct io_read_request requests[GROUP_KEYS];
    size_t count = 0;
    for (size_t i = 0; i < m->pointed_count; i++)
        if (m->pointed[i].request.file != NULL)
            requests[count++] = m->pointed[i].request;
    if (count == 0)
        return;
    enum nokv_status status = io_read_many(m->db->io, requests, count);
    (void)status; /* each has its own */
    for (size_t i = m->pointed_count; i-- > 0;)
        if (m->pointed[i].request.file != NULL)
            m->pointed[i].request = requests[--count];
}

static void values_fetch(struct multi *m)
{
    for (size_t i = 0; i < m->pointed_count; i++) {
        const struct vlog_reader *r = segment_reader_now(m->pointed[i].located.segment);
        if (r != NULL)
            vlog_read_prefetch(r, &m->pointed[i].located.pointer);
    }
    if (m->pointed_count > 1) {
        for (size_t i = 0; i < m->pointed_count; i++)
            value_plan(m, &m->pointed[i]);
        io_hints_end(&m->hints);
        values_read_many(m);
    }
    for (size_t i = 0; i < m->pointed_count; i++) {
        struct pointed *p = &m->pointed[i];
        struct io_read_request *request = p->request.file ? &p->request : NULL;
        nokv_status status = db_located_fetch(&p->located, key_of(m, p->index), request, &m->values[p->index]);
        key_end(m, p->index, status);
        if (request)
            mem_free(request->buffer);
    }
}

/* ---- the call --------------------------------------------------------------------------------------------------- */

/* See above. */
static void group_decide(struct multi *m)
{
    static _Thread_local unsigned turn;
    m->asks = atomic_load_explicit(&m->db->hot_groups, memory_order_relaxed) < HOT_TRUSTED;
    m->checks = !m->asks && ++turn % HOT_CHECK == 0;
    if (m->checks)
        m->pages_before = io_thread_pages_read();
}

static void group_learn(struct multi *m)
{
    uint32_t streak = atomic_load_explicit(&m->db->hot_groups, memory_order_relaxed), now = streak;
    bool is_cold =
        m->hints.cold >= COLD_MIN || (m->checks && io_thread_pages_read() - m->pages_before >= COLD_PAGES_MIN);
    if (is_cold)
        now = 0;
    else if (m->asks && streak < HOT_TRUSTED)
        now = streak + 1;
    if (now != streak)
        atomic_store_explicit(&m->db->hot_groups, now, memory_order_relaxed);
}

static void group_run(struct multi *m)
{
    m->hints = (struct io_hints){0};
    group_begin(m);
    tables_look(m);
    values_fetch(m);
    group_learn(m);
}

static size_t parts_size(size_t keys, size_t stride)
{
    return keys *
           (sizeof(struct sst_probe) + sizeof(struct pointed) + sizeof(size_t) + stride * sizeof(struct sst_reader *));
}

/* One piece of memory, that of the call and of its largest group. NULL: there is none. */
static struct multi *multi_create(struct nokv_db *db, struct view *view, size_t keys)
{
    size_t stride = version_candidates_max(view->version);
    struct multi *m = mem_alloc(sizeof *m + parts_size(keys, stride));
    if (m == NULL)
        return NULL;
    m->db = db;
    m->view = view;
    m->failed = NOKV_OK;
    m->found = 0;
    m->stride = stride;
    m->probes = (struct sst_probe *)(m + 1);
    m->pointed = (struct pointed *)(m->probes + keys);
    m->owners = (size_t *)(m->pointed + keys);
    m->readers = (struct sst_reader **)(m->owners + keys);
    snprintf(m->message, sizeof m->message, "%s", status_message());
    return m;
}

static void multi_run(struct multi *m, size_t count, const nokv_slice *keys, nokv_value *values, nokv_status *statuses)
{
    for (size_t done = 0; done < count; done += m->count) {
        group_decide(m);
        m->count = u64_min(count - done, m->asks ? GROUP_KEYS : GROUP_KEYS_HOT);
        m->keys = keys + done;
        m->values = values + done;
        m->statuses = statuses + done;
        group_run(m);
    }
    status_message_set(m->message); /* [I1] */
}

static nokv_status read_all(nokv_db *db, size_t count, const nokv_slice *keys, const nokv_read_options *options,
                            nokv_value *values, nokv_status *statuses, nokv_status *out_failed)
{
    nokv_read_options given = {0};
    if (options)
        TRY(call_options_copy(options, "nokv_read_options", sizeof given, &given));
    TRY(epoch_register());
    uint64_t seq;
    struct view *view = db_view_acquire_at(db, given.snapshot, &seq);
    struct multi *m = multi_create(db, view, u64_min(count, GROUP_KEYS));
    if (m == NULL) {
        db_view_release(db, view);
        return FAIL(NO_MEMORY, "no memory for looking up %zu keys", count);
    }
    m->seq = seq;
    multi_run(m, count, keys, values, statuses);
    struct counter_slot *counters = db_counters(db);
    atomic_fetch_add_explicit(&counters->gets, count, memory_order_relaxed);
    atomic_fetch_add_explicit(&counters->gets_found, m->found, memory_order_relaxed);
    *out_failed = m->failed;
    mem_free(m);
    db_view_release(db, view);
    return NOKV_OK;
}

nokv_status nokv_multi_get(nokv_db *db, size_t count, const nokv_slice *keys, const nokv_read_options *options,
                           nokv_value *out_values, nokv_status *out_statuses)
{
    if (count != 0 && (keys == NULL || out_values == NULL || out_statuses == NULL))
        return FAIL(INVALID, "nokv_multi_get: keys, out_values and out_statuses must be arrays of %zu", count);
    nokv_status failed = NOKV_OK;
    nokv_status status = read_all(db, count, keys, options, out_values, out_statuses, &failed);
    for (size_t i = 0; status != NOKV_OK && i < count; i++) {
        out_values[i] = (nokv_value){0};
        out_statuses[i] = status;
    }
    return status != NOKV_OK ? status : failed;
}
