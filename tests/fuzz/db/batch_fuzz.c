// SPDX-License-Identifier: Apache-2.0
/*
 * batch_fuzz.c - any bytes as a batch of the WAL: entries within its bytes, with one sequence number after the other,
 * or a refusal. What is understood is built again by the encoder and understood the same.
 *
 * The mutator takes a batch apart into entries, and gives entries and header the sizes and the count that fit.
 */
#include "../fuzz.h"
#include "db/batch.h"

static unsigned touch(struct slice s, const uint8_t *data, size_t size)
{
    unsigned sum = 0;
    fuzz_must(s.data >= data && s.data + s.size <= data + size, "bytes of an entry are not the batch's");
    for (size_t i = 0; i < s.size; i++)
        sum += s.data[i];
    return sum;
}

static uint64_t entry_hash(uint64_t hash, const struct batch_entry *e)
{
    hash = checksum64(e->key.user.data, e->key.user.size, hash ^ e->key.tag);
    return checksum64(e->value.data, e->value.size, hash);
}

/* The entries of a batch that was built from what was read: there are as many, and they are the same. */
static void check_rebuilt(const struct nokv_batch *b, uint64_t seq, uint64_t hash)
{
    uint64_t found = 0, count = 0;
    struct batch_reader r = batch_entries(b, seq);
    struct batch_entry e;
    bool more = true;
    while (batch_reader_next(&r, &e, &more) == NOKV_OK && more) {
        found = entry_hash(found, &e);
        count++;
    }
    fuzz_must(!more && count == b->count && found == hash, "the batch that was built from it differs");
}

/* What is no key or no value is refused, whatever stands at its address. */
static void check_limits(const uint8_t *data, size_t size, uint64_t allocation)
{
    nokv_batch *b = NULL;
    mem_fail_after(allocation);
    enum nokv_status status = nokv_batch_create(&b);
    if (status == NOKV_OK)
        status = nokv_batch_put(b, "k", 1, data, size);
    mem_fail_after(UINT64_MAX);
    fuzz_must(status == NOKV_OK || (status == NOKV_ERR_NO_MEMORY && allocation < 2),
              "another answer with little memory");
    if (b != NULL) {
        size_t count = nokv_batch_count(b);
        fuzz_must(nokv_batch_put(b, data, 0, data, size) == NOKV_ERR_INVALID, "an empty key");
        fuzz_must(nokv_batch_put(b, "k", 1, NULL, 1 + size) == NOKV_ERR_INVALID, "a value at address NULL");
        fuzz_must(nokv_batch_delete(b, data, KEY_SIZE_MAX + 1 + size) == NOKV_ERR_TOO_LARGE, "a key that is too large");
        fuzz_must(nokv_batch_put(b, "k", 1, data, KEY_VALUE_SIZE_MAX + 1) == NOKV_ERR_TOO_LARGE, "a value, too large");
        fuzz_must(nokv_batch_count(b) == count, "what was refused was counted");
    }
    nokv_batch_destroy(b);
    fuzz_must(nokv_batch_create(NULL) == NOKV_ERR_INVALID, "a batch for nobody");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct nokv_batch rebuilt;
    uint64_t allocation;
    struct batch_reader r;
    volatile unsigned sum = 0;
    uint64_t hash = 0;
    enum nokv_status status = batch_reader_init(&r, slice_make(data, size), "fuzz");
    uint64_t first = status == NOKV_OK ? r.seq : 0, seq = first;
    nokv_batch_clear(&rebuilt);
    for (bool more = true; status == NOKV_OK && more; seq++) {
        struct batch_entry e;
        status = batch_reader_next(&r, &e, &more);
        if (status != NOKV_OK || !more)
            break;
        fuzz_must(tag_seq(e.key.tag) == seq && seq <= KEY_SEQ_MAX, "sequence numbers have a gap");
        fuzz_must(e.key.user.size > 0 && e.key.user.size <= KEY_SIZE_MAX, "a key beyond its limits");
        sum += touch(e.key.user, data, size) + touch(e.value, data, size);
        hash = entry_hash(hash, &e);
        fuzz_must(batch_append(&rebuilt, tag_kind_byte(e.key.tag), e.key.user, e.value) == NOKV_OK, "append");
    }
    (void)sum;
    fuzz_must(status == NOKV_OK || status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED, "an odd refusal");
    if (status == NOKV_OK)
        check_rebuilt(&rebuilt, first, hash);
    if (fuzz_short_of_memory(data, size, &allocation))
        check_limits(data, size, allocation);
    return 0;
}

/* ---- the mutator ------------------------------------------------------------------------------------------------ */

/* One piece per entry, as far as their sizes lead; the rest is one. */
static void batch_split(struct fuzz_pieces *p)
{
    const uint8_t *end = p->data + p->size;
    for (size_t off = p->head; off < p->size; off = p->ends[p->count - 1]) {
        uint32_t cf, key_size = 0, value_size = 0;
        const uint8_t *at = get_varint32(p->data + off + 1, end, &cf);
        at = at ? get_varint32(at, end, &key_size) : NULL;
        at = at ? get_varint32(at, end, &value_size) : NULL;
        if (at == NULL || !piece_add(p, (size_t)(at - p->data) - off + key_size + (size_t)value_size))
            break;
    }
    pieces_end(p);
}

/* An entry of these bytes: its kind, and a key and a value that share the rest. */
static void entry_repair(struct fuzz_pieces *p, size_t i, uint64_t *random)
{
    static const uint8_t kinds[] = {KEY_VALUE, KEY_TOMBSTONE, KEY_VALUE_POINTER, KEY_VALUE | KEY_HAS_EXPIRY};
    uint8_t head[BATCH_ENTRY_HEAD_MAX], body[512];
    uint32_t cf = 0, key_size = 0, value_size = 0;
    const uint8_t *from = piece_at(p, i), *end = from + piece_size(p, i), *at = from;
    unsigned kind = at < end ? *at++ : KEY_VALUE;
    if (!key_kind_known(kind) && fuzz_draw(random, 16))
        kind = kinds[fuzz_draw(random, ARRAY_COUNT(kinds))];
    const uint8_t *q = get_varint32(at, end, &cf);
    q = q ? get_varint32(q, end, &key_size) : NULL;
    q = q ? get_varint32(q, end, &value_size) : NULL;
    at = q ? q : at;
    size_t rest = u64_min((uint64_t)(end - at), sizeof body);
    memcpy(body, at, rest);
    memset(body + rest, 'x', sizeof body - rest);
    if (key_size == 0 || key_size > rest)
        key_size = rest ? 1 + (uint32_t)fuzz_draw(random, rest) : 1;
    value_size = (uint32_t)(rest > key_size ? rest - key_size : 0);
    if (kind == KEY_VALUE_POINTER)
        value_size = 20;
    else if (kind == KEY_TOMBSTONE)
        value_size = 0;
    else if ((kind & KEY_HAS_EXPIRY) && value_size < 8)
        value_size = 8;
    size_t head_size = batch_entry_head_encode(head, kind, key_size, value_size);
    if (key_size + value_size > sizeof body || !piece_resize(p, i, head_size + key_size + value_size))
        return;
    memcpy(piece_at(p, i), head, head_size);
    memcpy(piece_at(p, i) + head_size, body, key_size + value_size);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const uint8_t fresh[] = {KEY_VALUE, 0, 1, 1, 'k', 'v'};
    uint64_t random = seed;
    struct fuzz_pieces p;
    if (size < BATCH_HEADER || fuzz_draw(&random, 8) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    pieces_begin(&p, data, BATCH_HEADER, size, max_size);
    batch_split(&p);
    if (p.count == 0 || fuzz_draw(&random, 8) == 0)
        (void)piece_insert(&p, fuzz_draw(&random, p.count + 1), fresh, sizeof fresh);
    else
        pieces_change(&p, 0, &random);
    for (size_t i = 0; i < p.count; i++)
        if (fuzz_draw(&random, 16))
            entry_repair(&p, i, &random);
    if (fuzz_draw(&random, 8))
        batch_header_encode(data, (uint32_t)p.count, fuzz_draw(&random, 8) ? get_u64(data + 8) : fuzz_number(&random));
    return p.size;
}
