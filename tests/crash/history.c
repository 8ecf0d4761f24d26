// SPDX-License-Identifier: Apache-2.0
/* The history and its check: see history.h. */
#include "history.h"

static size_t key_make(uint8_t key, char out[32])
{
    return (size_t)snprintf(out, 32, "key%02u%s", key, key % 3 == 0 ? "/a-longer-name" : "");
}

static void value_make(size_t write, size_t entry, uint8_t *out, size_t size)
{
    uint64_t state = write * 31 + entry + 1;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t r = test_random(&state);
        memcpy(out + i, &r, size - i < 8 ? size - i : 8);
    }
}

static uint32_t value_size_draw(uint64_t *random)
{
    uint64_t r = test_random(random);
    switch (r % 16) {
    case 0:
        return 0;
    case 1:
        return 9000 + (uint32_t)(r >> 32) % 30000; /* larger than a block, or than half of the shared buffer */
    default:
        return (uint32_t)(r >> 32) % 3000;
    }
}

static void write_draw(struct history_write *w, uint64_t *random)
{
    w->count = test_random(random) % 4 == 0 ? 1 + (uint32_t)(test_random(random) % HISTORY_ENTRIES_MAX) : 1;
    for (uint32_t i = 0; i < w->count; i++) {
        w->keys[i] = (uint8_t)(test_random(random) % HISTORY_KEYS);
        w->deletes[i] = test_random(random) % 5 == 0;
        w->value_sizes[i] = value_size_draw(random);
    }
}

static enum nokv_status write_apply(const struct history_write *w, size_t index, nokv_db *db, bool sync)
{
    static uint8_t value[64 << 10];
    char key[32];
    nokv_write_options options = {.struct_size = sizeof options, .sync = sync ? NOKV_SYNC_COMMIT : NOKV_SYNC_NONE};
    nokv_batch *batch = NULL;
    OK(nokv_batch_create(&batch));
    for (uint32_t i = 0; i < w->count; i++) {
        size_t key_size = key_make(w->keys[i], key);
        value_make(index, i, value, w->value_sizes[i]);
        if (w->deletes[i])
            OK(nokv_batch_delete(batch, key, key_size));
        else
            OK(nokv_batch_put(batch, key, key_size, value, w->value_sizes[i]));
    }
    enum nokv_status status = nokv_write(db, batch, &options);
    nokv_batch_destroy(batch);
    return status;
}

enum nokv_status history_write_next(struct history *h, nokv_db *db, uint64_t *random, bool sync)
{
    assert_true(h->count < HISTORY_WRITES_MAX);
    struct history_write *w = &h->writes[h->count];
    write_draw(w, random);
    w->seq_end = (h->count ? h->writes[h->count - 1].seq_end : 0) + w->count;
    enum nokv_status status = write_apply(w, h->count, db, sync);
    h->count++;
    if (status == NOKV_OK) {
        h->acknowledged = h->count;
        if (sync)
            h->synced = h->count;
    }
    return status;
}

void history_mark_synced(struct history *h)
{
    h->synced = h->acknowledged;
}

/* What each key holds after the first `writes` writes. */
struct expected {
    bool present;
    size_t write, entry;
    uint32_t size;
};

static void expected_make(const struct history *h, size_t writes, struct expected out[HISTORY_KEYS])
{
    memset(out, 0, HISTORY_KEYS * sizeof *out);
    for (size_t w = 0; w < writes; w++)
        for (uint32_t i = 0; i < h->writes[w].count; i++)
            out[h->writes[w].keys[i]] = (struct expected){
                .present = !h->writes[w].deletes[i], .write = w, .entry = i, .size = h->writes[w].value_sizes[i]};
}

static void entry_check(const struct expected *e, nokv_slice key, nokv_slice value, const char *what)
{
    static uint8_t wanted[64 << 10];
    if (!e->present)
        fail_msg("%s: %.*s came back from the dead", what, (int)key.size, (const char *)key.data);
    value_make(e->write, e->entry, wanted, e->size);
    if (value.size != e->size || memcmp(value.data, wanted, e->size) != 0)
        fail_msg("%s: %.*s has %zu bytes that are not those of write %zu", what, (int)key.size, (const char *)key.data,
                 value.size, e->write);
}

static uint8_t key_number(nokv_slice key)
{
    const char *p = key.data;
    return (uint8_t)((p[3] - '0') * 10 + (p[4] - '0'));
}

static void content_check(const struct expected expected[HISTORY_KEYS], nokv_db *db, const char *what)
{
    size_t seen = 0, wanted = 0;
    nokv_iter *it = NULL;
    OK(nokv_iter_create(db, NULL, &it));
    for (nokv_iter_first(it); nokv_iter_valid(it); nokv_iter_next(it), seen++)
        entry_check(&expected[key_number(nokv_iter_key(it))], nokv_iter_key(it), nokv_iter_value(it), what);
    OK(nokv_iter_status(it));
    nokv_iter_destroy(it);
    for (uint8_t k = 0; k < HISTORY_KEYS; k++) {
        char key[32];
        nokv_value value = {0};
        size_t key_size = key_make(k, key);
        enum nokv_status status = nokv_get(db, key, key_size, NULL, &value);
        wanted += expected[k].present;
        if (status == NOKV_OK)
            entry_check(&expected[k], (nokv_slice){key, key_size}, (nokv_slice){value.data, value.size}, what);
        else if (status != NOKV_ERR_NOT_FOUND || expected[k].present)
            fail_msg("%s: %s: %s %s", what, key, status_name(status), status_message());
        nokv_value_release(&value);
    }
    if (seen != wanted)
        fail_msg("%s: an iterator shows %zu keys, %zu are there", what, seen, wanted);
}

void history_check(struct history *h, nokv_db *db, size_t least, const char *what)
{
    struct expected expected[HISTORY_KEYS];
    nokv_stats stats = {.struct_size = sizeof stats};
    OK(nokv_stats_get(db, false, &stats));
    size_t p = 0;
    while (p < h->count && h->writes[p].seq_end <= stats.sequence)
        p++;
    uint64_t end = p ? h->writes[p - 1].seq_end : 0;
    if (end != stats.sequence)
        fail_msg("%s: half a batch came back: sequence %llu, write %zu ends at %llu", what,
                 (unsigned long long)stats.sequence, p, (unsigned long long)end);
    if (p < least)
        fail_msg("%s: writes are lost: %zu came back, %zu were promised", what, p, least);
    expected_make(h, p, expected);
    content_check(expected, db, what);
    h->count = p;
    h->acknowledged = h->acknowledged < p ? h->acknowledged : p;
    h->synced = h->synced < p ? h->synced : p;
}
