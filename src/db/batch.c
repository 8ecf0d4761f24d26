// SPDX-License-Identifier: Apache-2.0
/*
 * Batches: built by the user, decoded by recovery. The decoder trusts nothing: every size is checked against what is
 * left of the record before it is used, and the count against what was found.
 */
#include "db/batch.h"
#include "vlog/vlog.h"

#include "base/alloc.h"

enum nokv_status key_check(const void *key, size_t key_size)
{
    if (key_size == 0 || key == NULL)
        return FAIL(INVALID, "a key must have at least one byte");
    if (key_size > NOKV_KEY_SIZE_MAX)
        return FAIL(TOO_LARGE, "a key of %zu bytes: the limit is %u", key_size, NOKV_KEY_SIZE_MAX);
    return NOKV_OK;
}

enum nokv_status value_check(const void *value, size_t value_size)
{
    if (value == NULL && value_size > 0)
        return FAIL(INVALID, "a value of %zu bytes at address NULL", value_size);
    if (value_size > NOKV_VALUE_SIZE_MAX)
        return FAIL(TOO_LARGE, "a value of %zu bytes: the limit is %llu", value_size, NOKV_VALUE_SIZE_MAX);
    return NOKV_OK;
}

/* ---- building ------------------------------------------------------------------------------------------------- */

nokv_status nokv_batch_create(nokv_batch **out_batch)
{
    if (out_batch == NULL)
        return FAIL(INVALID, "nokv_batch_create: out_batch is NULL");
    struct nokv_batch *b = mem_zalloc(sizeof *b);
    if (b == NULL)
        return FAIL(NO_MEMORY, "no memory for a batch");
    *out_batch = b;
    return NOKV_OK;
}

void nokv_batch_destroy(nokv_batch *batch)
{
    if (batch == NULL)
        return;
    buf_deinit(&batch->bytes);
    mem_free(batch);
}

void nokv_batch_clear(nokv_batch *batch)
{
    batch->bytes.size = 0;
    batch->count = 0;
    batch->deletes = 0;
    batch->payload_bytes = 0;
    batch->value_size_max = 0;
}

size_t nokv_batch_count(const nokv_batch *batch)
{
    return batch->count;
}

enum nokv_status batch_append(struct nokv_batch *b, unsigned kind, struct slice key, struct slice value)
{
    size_t needed = BATCH_HEADER + BATCH_ENTRY_HEAD_MAX + key.size + value.size;
    if (b->bytes.size + needed > NOKV_BATCH_SIZE_MAX || b->count == UINT32_MAX)
        return FAIL(TOO_LARGE, "a batch of %zu bytes and %u entries cannot take %zu more: the limit is %llu bytes",
                    b->bytes.size, b->count, key.size + value.size, NOKV_BATCH_SIZE_MAX);
    uint8_t *p = buf_reserve(&b->bytes, needed);
    if (p == NULL)
        return FAIL(NO_MEMORY, "no memory for a batch of %zu bytes", b->bytes.size + needed);
    uint8_t *start = p;
    if (b->bytes.size == 0) {
        batch_header_encode(p, 0, 0);
        p += BATCH_HEADER;
    }
    p += batch_entry_head_encode(p, kind, key.size, value.size);
    ASSERT(p != NULL && key.data != NULL);
    memcpy(p, key.data, key.size);
    p += key.size;
    if (value.size)
        memcpy(p, value.data, value.size);
    p += value.size;
    b->bytes.size += (size_t)(p - start);
    b->count++;
    b->deletes += kind == KEY_TOMBSTONE;
    b->payload_bytes += key.size + value.size;
    b->value_size_max = u64_max(b->value_size_max, value.size);
    return NOKV_OK;
}

nokv_status nokv_batch_put(nokv_batch *batch, const void *key, size_t key_size, const void *value, size_t value_size)
{
    TRY(key_check(key, key_size));
    TRY(value_check(value, value_size));
    return batch_append(batch, KEY_VALUE, slice_make(key, key_size), slice_make(value, value_size));
}

nokv_status nokv_batch_delete(nokv_batch *batch, const void *key, size_t key_size)
{
    TRY(key_check(key, key_size));
    return batch_append(batch, KEY_TOMBSTONE, slice_make(key, key_size), (struct slice){0});
}

/* ---- decoding ------------------------------------------------------------------------------------------------- */

enum nokv_status batch_reader_init(struct batch_reader *r, struct slice payload, const char *where)
{
    if (payload.size < BATCH_HEADER)
        return FAIL(CORRUPT, "%s: a batch of %zu bytes is shorter than its header", where, payload.size);
    if (payload.data[0] != BATCH_VERSION || payload.data[1] != 0)
        return FAIL(NOT_SUPPORTED, "%s: batch format %u with flags %u: this version knows %u with 0", where,
                    payload.data[0], payload.data[1], BATCH_VERSION);
    r->left = get_u32(payload.data + 4);
    r->seq = get_u64(payload.data + 8);
    r->p = payload.data + BATCH_HEADER;
    r->end = payload.data + payload.size;
    r->where = where;
    if (r->left == 0 || r->seq == 0 || r->seq > KEY_SEQ_MAX - r->left + 1 || get_u16(payload.data + 2) != 0)
        return FAIL(CORRUPT, "%s: a batch of %u entries from sequence number %llu on", where, r->left,
                    (unsigned long long)r->seq);
    return NOKV_OK;
}

static enum nokv_status entry_bad(const struct batch_reader *r, const char *what)
{
    return FAIL(CORRUPT, "%s: entry with sequence number %llu: %s", r->where, (unsigned long long)r->seq, what);
}

enum nokv_status batch_reader_next(struct batch_reader *r, struct batch_entry *out_entry, bool *out_more)
{
    if (r->left == 0) {
        if (r->p != r->end)
            return entry_bad(r, "bytes behind the last entry");
        *out_more = false;
        return NOKV_OK;
    }
    uint32_t cf = 0, key_size = 0, value_size = 0;
    const uint8_t *p = r->p;
    if (p == r->end)
        return entry_bad(r, "missing");
    unsigned kind = *p++;
    if (!key_kind_known(kind))
        return FAIL(NOT_SUPPORTED, "%s: entry kind %u, which this version does not know", r->where, kind);
    p = get_varint32(p, r->end, &cf);
    p = p ? get_varint32(p, r->end, &key_size) : NULL;
    p = p ? get_varint32(p, r->end, &value_size) : NULL;
    if (p == NULL || key_size > (size_t)(r->end - p) || value_size > (size_t)(r->end - p) - key_size)
        return entry_bad(r, "its sizes go beyond the record");
    if (cf != 0)
        return FAIL(NOT_SUPPORTED, "%s: column family %u: this version knows only the default one", r->where, cf);
    if (key_size == 0 || key_size > KEY_SIZE_MAX || value_size > KEY_VALUE_SIZE_MAX)
        return entry_bad(r, "its key or value is out of limits");
    if (kind == KEY_VALUE_POINTER && value_size != VLOG_POINTER_SIZE)
        return entry_bad(r, "its value is no pointer");
    if ((kind == KEY_TOMBSTONE && value_size != 0) || ((kind & KEY_HAS_EXPIRY) && value_size < sizeof(uint64_t)))
        return entry_bad(r, "its value does not fit its kind");
    out_entry->key = (struct ikey){.user = slice_make(p, key_size), .tag = key_tag(r->seq, kind)};
    out_entry->value = slice_make(p + key_size, value_size);
    r->p = p + key_size + value_size;
    r->left--;
    r->seq++;
    *out_more = true;
    return NOKV_OK;
}
