// SPDX-License-Identifier: Apache-2.0
/*
 * sst_block_fuzz.c - any bytes as a data block of a table, looked at in place.
 *
 * Input: the block as far as it is used; behind it zeros up to the next page, as in a file. Its checksum is not looked
 * at here: whoever calls these functions has done that, or has not yet.
 *
 * Checked besides not reading elsewhere: entries lie in the block; a point read finds what a plain search finds, for
 * each key and several sequence numbers, where the fingerprints are right; in a block that is in order the lower bound
 * is that of a plain search; a block that is not opened says why.
 *
 * The mutator takes a block apart into entries, and builds one of them again: with right offsets, sizes and
 * fingerprints, and mostly in order.
 */
#include "../fuzz.h"
#include "sst/sst.h"

#include "sst/block.h"

enum { BLOCK_BYTES_MAX = 1 << 17, ENTRIES_CHECKED_MAX = 12 };

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static struct ikey ikey_of(const struct sst_entry *e)
{
    return (struct ikey){.user = e->key, .tag = e->tag};
}

/* All entries can be read, in order, with right fingerprints? */
struct block_state {
    bool is_readable, is_ordered, has_fingerprints;
};

static struct block_state look(const struct sst_block *b, uint64_t extent)
{
    struct block_state s = {true, true, true};
    struct sst_entry e, before = {0};
    for (uint32_t i = 0; i < b->count; i++, before = e) {
        if (!sst_block_entry(b, i, &e)) {
            s.is_readable = false;
            return s;
        }
        fuzz_must(e.key.data > b->data && e.key.data + e.key.size == e.value.data &&
                      e.value.data + e.value.size <= b->data + extent,
                  "an entry is not in the block");
        if (i > 0 && ikey_compare(ikey_of(&before), ikey_of(&e)) >= 0)
            s.is_ordered = false;
        if (b->data[SST_BLOCK_HEADER_BYTES + i] != sst_fingerprint(sst_key_hash(e.key)))
            s.has_fingerprints = false;
    }
    return s;
}

/* The first entry with the key whose tag is not above `tag_max`; count: none. */
static uint32_t plain_find(const struct sst_block *b, struct slice key, uint64_t tag_max)
{
    struct sst_entry e;
    uint32_t i = 0;
    while (i < b->count && (!sst_block_entry(b, i, &e) || key_compare(e.key, key) != 0 || e.tag > tag_max))
        i++;
    return i;
}

static uint32_t plain_lower_bound(const struct sst_block *b, struct ikey target)
{
    struct sst_entry e;
    uint32_t i = 0;
    while (i < b->count && sst_block_entry(b, i, &e) && ikey_compare(ikey_of(&e), target) < 0)
        i++;
    return i;
}

static void check_key(const struct sst_block *b, struct block_state s, struct slice key, uint64_t tag)
{
    struct sst_entry found;
    uint32_t index = 0;
    bool is_found = false;
    bool is_read = sst_block_find(b, key, sst_key_hash(key), tag, &found, &index, &is_found);
    fuzz_must(is_read || !s.is_readable, "a block that can be read cannot be searched");
    if (s.is_readable && s.has_fingerprints)
        fuzz_must((is_found ? index : b->count) == plain_find(b, key, tag), "a point read finds another entry");
    if (is_found)
        fuzz_must(slice_equal(found.key, key) && found.tag <= tag, "a point read finds another key");
    if (sst_block_lower_bound(b, (struct ikey){.user = key, .tag = tag}, &index)) {
        fuzz_must(index <= b->count, "a bound behind the block");
        if (s.is_readable && s.is_ordered)
            fuzz_must(index == plain_lower_bound(b, (struct ikey){.user = key, .tag = tag}), "another lower bound");
    } else {
        fuzz_must(!s.is_readable, "a block that can be read has no lower bound");
    }
}

static void check_block(const struct sst_block *b, uint64_t extent, const uint8_t *data, size_t size)
{
    struct block_state s = look(b, extent);
    struct sst_entry e;
    uint32_t step = b->count / ENTRIES_CHECKED_MAX + 1;
    for (uint32_t i = 0; i < b->count; i += step) {
        if (!sst_block_entry(b, i, &e))
            continue;
        check_key(b, s, e.key, e.tag);
        check_key(b, s, e.key, e.tag - 1);
        check_key(b, s, slice_make(e.key.data, e.key.size - 1), UINT64_MAX);
    }
    check_key(b, s, slice_make(data, size < 8 ? size : 8), tag_for_seek(KEY_SEQ_MAX));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sst_block b;
    if (size < SST_BLOCK_HEADER_BYTES || size > BLOCK_BYTES_MAX)
        return 0;
    uint64_t extent = align_up(size, PAGE_BYTES);
    uint8_t *bytes = calloc(1, extent);
    fuzz_must(bytes != NULL, "calloc");
    memcpy(bytes, data, size);
    if (sst_block_open(bytes, extent, &b)) {
        check_block(&b, extent, data, size);
    } else {
        enum nokv_status status = sst_block_explain(bytes, extent, 7, 1);
        fuzz_must(status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED, "an odd refusal");
    }
    free(bytes);
    return 0;
}

/* ---- the mutator ------------------------------------------------------------------------------------------------ */

/* An entry on its way into a block: tag, size of the key (two bytes), key, value. */
enum { ENTRY_HEAD = 10 };

/* The entries of the block, in pieces of their own; `out` has `max` bytes. */
static void block_split(const uint8_t *data, size_t size, struct fuzz_pieces *p)
{
    static uint8_t bytes[BLOCK_BYTES_MAX + PAGE_BYTES];
    struct sst_block b;
    struct sst_entry e;
    memcpy(bytes, data, size);
    memset(bytes + size, 0, PAGE_BYTES);
    if (size < SST_BLOCK_HEADER_BYTES || !sst_block_open(bytes, align_up(size, PAGE_BYTES), &b))
        return;
    for (uint32_t i = 0; i < b.count; i++) {
        if (!sst_block_entry(&b, i, &e) || !piece_insert(p, p->count, NULL, 0) ||
            !piece_resize(p, p->count - 1, ENTRY_HEAD + e.key.size + e.value.size))
            return;
        uint8_t *to = piece_at(p, p->count - 1);
        put_u64(to, e.tag);
        put_u16(to + 8, (uint16_t)e.key.size);
        memcpy(to + ENTRY_HEAD, e.key.data, e.key.size + e.value.size);
    }
}

static void entry_insert(struct fuzz_pieces *p, uint64_t *random)
{
    uint8_t entry[ENTRY_HEAD + 40];
    size_t key_size = 1 + fuzz_draw(random, 10), value_size = fuzz_draw(random, 30);
    put_u64(entry, key_tag(1 + fuzz_draw(random, 50), fuzz_draw(random, 8) ? KEY_VALUE : fuzz_draw(random, 256)));
    put_u16(entry + 8, (uint16_t)key_size);
    memset(entry + ENTRY_HEAD, (int)('a' + fuzz_draw(random, 4)), sizeof entry - ENTRY_HEAD);
    entry[ENTRY_HEAD + key_size - 1] = (uint8_t)fuzz_draw(random, 256);
    (void)piece_insert(p, fuzz_draw(random, p->count + 1), entry, ENTRY_HEAD + key_size + value_size);
}

static struct ikey entry_ikey(const struct fuzz_pieces *p, size_t i)
{
    const uint8_t *e = piece_at(p, i);
    size_t key_size = u64_min(get_u16(e + 8), piece_size(p, i) - ENTRY_HEAD);
    return (struct ikey){.user = slice_make(e + ENTRY_HEAD, key_size), .tag = get_u64(e)};
}

/* Whoever is too small or has no key goes; then by insertion into their order. */
static void entries_repair(struct fuzz_pieces *p, bool sorted, size_t order[FUZZ_PIECES_MAX])
{
    for (size_t i = p->count; i > 0; i--)
        if (piece_size(p, i - 1) < ENTRY_HEAD + 1 || entry_ikey(p, i - 1).user.size == 0)
            piece_remove(p, i - 1);
    for (size_t i = 0; i < p->count; i++) {
        size_t k = i;
        for (; sorted && k > 0 && ikey_compare(entry_ikey(p, order[k - 1]), entry_ikey(p, i)) > 0; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
}

/* A block of these entries. Returns its size, 0: no room. */
static size_t block_build(const struct fuzz_pieces *p, const size_t *order, bool wide, uint8_t *out, size_t max)
{
    size_t n = p->count, offsets = SST_BLOCK_HEADER_BYTES + n, width = wide ? 4 : 2, at = offsets + width * (n + 1);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *from = piece_at(p, order[i]);
        struct ikey key = entry_ikey(p, order[i]);
        size_t value_size = piece_size(p, order[i]) - ENTRY_HEAD - key.user.size;
        if (at + ENTRY_HEAD + VARINT32_SIZE_MAX + key.user.size + value_size > max)
            return 0;
        out[SST_BLOCK_HEADER_BYTES + i] = sst_fingerprint(sst_key_hash(key.user));
        if (wide)
            put_u32(out + offsets + width * i, (uint32_t)at);
        else
            put_u16(out + offsets + width * i, (uint16_t)at);
        put_u64(out + at, key.tag);
        uint8_t *to = put_varint32(out + at + 8, (uint32_t)key.user.size);
        memcpy(to, from + ENTRY_HEAD, key.user.size + value_size);
        at = (size_t)(to - out) + key.user.size + value_size;
    }
    if (at > max)
        return 0;
    if (wide)
        put_u32(out + offsets + width * n, (uint32_t)at);
    else
        put_u16(out + offsets + width * n, (uint16_t)at);
    put_u32(out + 4, (uint32_t)at);
    put_u16(out + 8, (uint16_t)n);
    out[10] = 0;
    out[11] = wide ? SST_BLOCK_WIDE : 0;
    put_u32(out, 0);
    return at;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static uint8_t entries[2 * BLOCK_BYTES_MAX];
    size_t order[FUZZ_PIECES_MAX];
    uint64_t random = seed;
    struct fuzz_pieces p;
    if (size > BLOCK_BYTES_MAX || fuzz_draw(&random, 4) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    pieces_begin(&p, entries, 0, 0, sizeof entries);
    block_split(data, size, &p);
    for (uint64_t rounds = 1 + fuzz_draw(&random, 3); rounds > 0; rounds--)
        if (p.count == 0 || fuzz_draw(&random, 3) == 0)
            entry_insert(&p, &random);
        else
            pieces_change(&p, fuzz_draw(&random, 3) ? ENTRY_HEAD : 0, &random);
    entries_repair(&p, fuzz_draw(&random, 8), order);
    size_t built = block_build(&p, order, fuzz_draw(&random, 8) == 0, data, max_size);
    return built ? built : LLVMFuzzerMutate(data, size, max_size);
}
