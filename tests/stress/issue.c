// SPDX-License-Identifier: Apache-2.0
/*
 * Doing a planned write through the public interface: a put, a put in parts, a delete or a batch.
 */
#include <stdlib.h>

#include "stress.h"
#include "test.h"

enum { PART_MAX = 9000 };

void issuer_init(struct issuer *s, nokv_db *db, uint64_t seed)
{
    *s = (struct issuer){.db = db, .seed = seed, .value = malloc(VALUE_MAX)};
    if (s->value == NULL || nokv_batch_create(&s->batch) != NOKV_OK)
        child_fail("no memory for a writer");
}

void issuer_deinit(struct issuer *s)
{
    nokv_batch_destroy(s->batch);
    free(s->value);
}

static void batch_fill(struct issuer *s, struct origin o, const struct planned *p)
{
    char key[KEY_TEXT];
    nokv_batch_clear(s->batch);
    for (uint32_t n = 0; n < p->count; n++) {
        const struct entry *e = &p->entries[n];
        size_t key_size = key_make(o.thread, e->key, key);
        value_make(s->seed, o, (uint8_t)n, s->value, e->value_size);
        nokv_status status = e->is_delete ? nokv_batch_delete(s->batch, key, key_size)
                                          : nokv_batch_put(s->batch, key, key_size, s->value, e->value_size);
        if (status != NOKV_OK)
            child_fail("a batch cannot be filled");
    }
}

static nokv_status stream_issue(struct issuer *s, const char *key, size_t key_size, size_t size, uint32_t i,
                                const nokv_write_options *options)
{
    nokv_value_writer *stream = NULL;
    size_t part = 1 + i % PART_MAX;
    nokv_status status = nokv_value_writer_open(s->db, key, key_size, i % 2 ? size : VALUE_MAX, &stream);
    if (status != NOKV_OK)
        return status;
    for (size_t at = 0; at < size && status == NOKV_OK; at += part)
        status = nokv_value_writer_append(stream, s->value + at, part < size - at ? part : size - at);
    if (status == NOKV_OK)
        return nokv_value_writer_commit(stream, options);
    nokv_value_writer_abandon(stream);
    return status;
}

nokv_status issue(struct issuer *s, struct origin o, const struct planned *p)
{
    char key[KEY_TEXT];
    nokv_write_options durable = {.struct_size = sizeof durable, .sync = NOKV_SYNC_COMMIT};
    const nokv_write_options *options = p->is_durable ? &durable : NULL;
    const struct entry *e = &p->entries[0];
    size_t key_size = key_make(o.thread, e->key, key);
    if (p->is_batch) {
        batch_fill(s, o, p);
        return nokv_write(s->db, s->batch, options);
    }
    if (e->is_delete)
        return nokv_delete(s->db, key, key_size, options);
    value_make(s->seed, o, 0, s->value, e->value_size);
    if (p->is_stream)
        return stream_issue(s, key, key_size, e->value_size, o.write, options);
    return nokv_put(s->db, key, key_size, s->value, e->value_size, options);
}
