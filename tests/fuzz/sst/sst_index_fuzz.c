// SPDX-License-Identifier: Apache-2.0
/*
 * sst_index_fuzz.c - any bytes as the index region of a table.
 *
 * Input: number of blocks (two bytes), size of the common prefix (one byte), then the region. It is searched for keys
 * out of itself and of the input.
 *
 * Checked besides not reading elsewhere: an answer is a block, "behind all of them" or "malformed"; where the tree is
 * what the separators make of it, and these are in order, it is that of a plain search.
 *
 * The mutator changes the list of separators and builds the region from it with the engine's own builder, or changes
 * some of its bytes.
 */
#include "../fuzz.h"
#include "sst/index.h"

enum { HEAD = 3, REGION_MAX = 1 << 16, BLOCKS_CHECKED_MAX = 200 };

/* ---- reading ---------------------------------------------------------------------------------------------------- */

/* The separator against the target, both whole. */
static int plain_compare(const struct sst_index *x, const struct sst_separator *s, struct ikey target)
{
    uint8_t whole[UINT8_MAX + 512];
    if (x->common.size + s->suffix.size > sizeof whole)
        return 0;
    if (x->common.size > 0)
        memcpy(whole, x->common.data, x->common.size);
    if (s->suffix.size > 0)
        memcpy(whole + x->common.size, s->suffix.data, s->suffix.size);
    struct ikey key = {.user = slice_make(whole, x->common.size + s->suffix.size), .tag = s->tag};
    return ikey_compare(key, target);
}

/* Are the leaves and the levels above what the separators make of them, and those short and in order? */
static bool is_sound(const struct sst_index *x)
{
    struct sst_separator s, before = {0};
    const uint64_t *leaves = x->levels[x->level_count - 1];
    if (x->count > BLOCKS_CHECKED_MAX)
        return false;
    for (uint64_t i = 0; i < x->count; i++, before = s) {
        if (!sst_index_separator(x, i, &s) || s.suffix.size > 256 || leaves[i] != key_prefix(s.suffix, 0))
            return false;
        int c = i == 0 ? -1 : key_compare(before.suffix, s.suffix);
        if (c > 0 || (c == 0 && before.tag <= s.tag))
            return false;
    }
    for (uint64_t i = x->count; i < (uint64_t)x->nodes[x->level_count - 1] * SST_INDEX_FANOUT; i++)
        if (leaves[i] != UINT64_MAX)
            return false;
    for (unsigned l = 0; l + 1 < x->level_count; l++)
        for (uint64_t i = 0; i < (uint64_t)x->nodes[l] * SST_INDEX_FANOUT; i++)
            if (x->levels[l][i] !=
                (i < x->nodes[l + 1] ? x->levels[l + 1][(i + 1) * SST_INDEX_FANOUT - 1] : UINT64_MAX))
                return false;
    return true;
}

/* Its page number, for the sanitizers. */
static void index_touch(const struct sst_index *x, uint64_t block)
{
    volatile uint32_t page = sst_index_page(x, block);
    (void)page;
}

static void check_target(const struct sst_index *x, bool sound, struct ikey target)
{
    struct sst_separator s;
    int64_t block = sst_index_search(x, target);
    fuzz_must(block >= -1 && block <= (int64_t)x->count, "an answer that is no block");
    if (block >= 0)
        index_touch(x, (uint64_t)block);
    if (!sound)
        return;
    uint64_t plain = 0;
    while (plain < x->count && sst_index_separator(x, plain, &s) && plain_compare(x, &s, target) < 0)
        plain++;
    fuzz_must(block == (int64_t)plain, "another block than that of a plain search");
}

/* The separator itself, with tags around its own, and what is a little above and below it. */
static void check_around(const struct sst_index *x, bool sound, uint64_t i)
{
    uint8_t key[UINT8_MAX + 512];
    struct sst_separator s;
    if (!sst_index_separator(x, i, &s) || x->common.size + s.suffix.size + 1 > sizeof key)
        return;
    size_t size = x->common.size + s.suffix.size;
    if (x->common.size > 0)
        memcpy(key, x->common.data, x->common.size);
    if (s.suffix.size > 0)
        memcpy(key + x->common.size, s.suffix.data, s.suffix.size);
    const uint64_t tags[] = {0, s.tag, s.tag + 1, s.tag - 1, UINT64_MAX};
    for (size_t k = 0; size > 0 && k < ARRAY_COUNT(tags); k++)
        check_target(x, sound, (struct ikey){.user = slice_make(key, size), .tag = tags[k]});
    key[size] = 0;
    check_target(x, sound, (struct ikey){.user = slice_make(key, size + 1), .tag = UINT64_MAX});
    if (size > 1)
        check_target(x, sound, (struct ikey){.user = slice_make(key, size - 1), .tag = 0});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sst_index x;
    if (size < HEAD || size - HEAD > REGION_MAX)
        return 0;
    size_t region = size - HEAD;
    uint8_t *bytes = malloc(region + 1); /* of malloc, so that numbers of eight bytes are where they may be */
    fuzz_must(bytes != NULL, "malloc");
    memcpy(bytes, data + HEAD, region);
    enum nokv_status status = sst_index_open(bytes, region, get_u16(data), data[2], &x);
    fuzz_must(status == NOKV_OK || status == NOKV_ERR_CORRUPT, "an odd refusal");
    if (status == NOKV_OK) {
        bool sound = is_sound(&x);
        for (uint64_t i = 0; i < x.count; i += x.count / 6 + 1)
            check_around(&x, sound, i);
        for (size_t n = 1; n <= region && n <= 16; n *= 2)
            check_target(&x, sound, (struct ikey){.user = slice_make(bytes + region - n, n), .tag = n});
    }
    free(bytes);
    return 0;
}

/* ---- the mutator ------------------------------------------------------------------------------------------------ */

/* A separator on its way into an index: tagged or not (one byte), tag, user key. */
enum { SEPARATOR_HEAD = 9 };

static void index_split(const uint8_t *data, size_t size, struct fuzz_pieces *p)
{
    static uint64_t bytes[REGION_MAX / 8 + 1];
    struct sst_index x;
    struct sst_separator s;
    if (size < HEAD || size - HEAD > REGION_MAX)
        return;
    memcpy(bytes, data + HEAD, size - HEAD);
    if (sst_index_open((const uint8_t *)bytes, size - HEAD, get_u16(data), data[2], &x) != NOKV_OK)
        return;
    for (uint64_t i = 0; i < x.count; i++) {
        if (!sst_index_separator(&x, i, &s) || !piece_insert(p, p->count, NULL, 0) ||
            !piece_resize(p, p->count - 1, SEPARATOR_HEAD + x.common.size + s.suffix.size))
            return;
        uint8_t *to = piece_at(p, p->count - 1);
        to[0] = s.tagged;
        put_u64(to + 1, s.tag);
        if (x.common.size > 0)
            memcpy(to + SEPARATOR_HEAD, x.common.data, x.common.size);
        if (s.suffix.size > 0)
            memcpy(to + SEPARATOR_HEAD + x.common.size, s.suffix.data, s.suffix.size);
    }
}

static void separator_insert(struct fuzz_pieces *p, uint64_t *random)
{
    uint8_t separator[SEPARATOR_HEAD + 24];
    size_t key_size = 1 + fuzz_draw(random, 20);
    separator[0] = fuzz_draw(random, 4) == 0;
    put_u64(separator + 1, separator[0] ? key_tag(1 + fuzz_draw(random, 9), KEY_VALUE) : 0);
    memset(separator + SEPARATOR_HEAD, 'a', key_size);
    separator[SEPARATOR_HEAD + fuzz_draw(random, key_size)] = (uint8_t)fuzz_draw(random, 256);
    (void)piece_insert(p, fuzz_draw(random, p->count + 1), separator, SEPARATOR_HEAD + key_size);
}

static struct ikey separator_key(const struct fuzz_pieces *p, size_t i)
{
    const uint8_t *s = piece_at(p, i);
    return (struct ikey){.user = slice_make(s + SEPARATOR_HEAD, piece_size(p, i) - SEPARATOR_HEAD),
                         .tag = s[0] & 1 ? get_u64(s + 1) : 0};
}

/* The region of these separators, sorted, at `out`; 0: none, or no room. */
static size_t index_build(struct fuzz_pieces *p, uint8_t *out, size_t max)
{
    struct sst_index_builder b = {.count = 0};
    struct buf region = {0};
    size_t order[FUZZ_PIECES_MAX], size = 0;
    uint32_t common = 0;
    for (size_t i = p->count; i > 0; i--)
        if (piece_size(p, i - 1) <= SEPARATOR_HEAD)
            piece_remove(p, i - 1);
    for (size_t i = 0; i < p->count; i++) {
        size_t k = i;
        for (; k > 0 && ikey_compare(separator_key(p, order[k - 1]), separator_key(p, i)) > 0; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
    for (size_t i = 0; i < p->count; i++)
        fuzz_must(sst_index_builder_add(&b, (uint32_t)(i + 1), separator_key(p, order[i]),
                                        piece_at(p, order[i])[0] & 1) == NOKV_OK,
                  "add");
    if (p->count > 0 && sst_index_builder_finish(&b, (uint32_t)b.count + 1, &region, &common) == NOKV_OK &&
        common <= UINT8_MAX && region.size <= REGION_MAX && HEAD + region.size <= max) {
        put_u16(out, (uint16_t)b.count);
        out[2] = (uint8_t)common;
        memcpy(out + HEAD, region.data, region.size);
        size = HEAD + region.size;
    }
    sst_index_builder_deinit(&b);
    buf_deinit(&region);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static uint8_t separators[2 * REGION_MAX];
    uint64_t random = seed;
    struct fuzz_pieces p;
    if (fuzz_draw(&random, 3) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    pieces_begin(&p, separators, 0, 0, sizeof separators);
    index_split(data, size, &p);
    for (uint64_t rounds = 1 + fuzz_draw(&random, fuzz_draw(&random, 16) ? 4 : 30); rounds > 0; rounds--)
        if (p.count == 0 || fuzz_draw(&random, 2) == 0)
            separator_insert(&p, &random);
        else
            pieces_change(&p, fuzz_draw(&random, 3) ? SEPARATOR_HEAD : 0, &random);
    size_t built = index_build(&p, data, max_size);
    return built ? built : LLVMFuzzerMutate(data, size, max_size);
}
