// SPDX-License-Identifier: Apache-2.0
/*
 * verify.c - read a table through and check everything that docs/formats/sst.md calls valid.
 *
 * Checksums find what the disk did to a table; the rest (order, fingerprints, filter, index, counts) finds what a
 * builder with a bug wrote and then sealed with a right checksum. Header, footer, filter and index are checked again
 * here, not taken from the open file's memory. Data blocks are read through their own file handle, so that a
 * verification of everything does not flush the page cache.
 *
 * Stops at the first fault. One thread per call; any number of calls.
 */
#include "base/alloc.h"
#include "sst/filter.h"
#include "sst/scan.h"

struct verifier {
    struct sst_reader *r;
    struct sst_window window;
    /* of the last entry; the key is a copy, because its block may have left the window */
    struct buf last_key;
    uint64_t last_tag;
    /* found, to be held against the properties */
    struct sst_properties found;
    /* of the block under work */
    uint64_t block_index;
    struct sst_block block;
    struct sst_extent extent;
};

static unsigned long long number_of(const struct verifier *v)
{
    return v->r->footer.file_number;
}

static unsigned long long offset_of(const struct verifier *v)
{
    return (unsigned long long)v->extent.page * PAGE_BYTES;
}

/* ---- frame ----------------------------------------------------------------------------------------------------- */

struct frame_call {
    struct sst_reader *r;
    uint8_t header[PAGE_BYTES], footer[PAGE_BYTES];
    uint64_t filter, index, properties; /* checksums */
};

static enum nokv_status frame_guarded(void *arg)
{
    struct frame_call *c = arg;
    const struct sst_footer *f = &c->r->footer;
    const uint8_t *data = c->r->data;
    memcpy(c->header, data, PAGE_BYTES);
    memcpy(c->footer, data + f->file_bytes - PAGE_BYTES, PAGE_BYTES);
    c->filter = sst_region_checksum(data + f->filter.off, f->filter.size, f->file_number);
    c->index = sst_region_checksum(data + f->index.off, f->index.size, f->file_number);
    c->properties = sst_region_checksum(data + f->properties.off, f->properties.size, f->file_number);
    return NOKV_OK;
}

/* A page whose rest is not zeros has a right checksum but was not written by this version. */
static bool is_zero(const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (p[i] != 0)
            return false;
    return true;
}

static enum nokv_status verify_frame(struct verifier *v)
{
    const struct sst_footer *f = &v->r->footer;
    struct sst_footer again;
    uint64_t number = 0;
    struct frame_call *c CLEANUP(mem_free_ptr) = mem_zalloc(sizeof *c);
    if (c == NULL)
        return FAIL(NO_MEMORY, "sst verify");
    c->r = v->r;
    TRY(io_guarded(frame_guarded, c));
    TRY(sst_header_decode(c->header, &number));
    TRY(sst_footer_decode(c->footer, f->file_bytes, &again));
    if (number != f->file_number || again.file_number != number ||
        !is_zero(c->header + 24, SST_PAGE_CHECKSUM_OFF - 24) || !is_zero(c->footer + 136, SST_PAGE_CHECKSUM_OFF - 136))
        return FAIL(CORRUPT, "sst %llu: header or footer changed", number_of(v));
    if (c->filter != f->filter.checksum)
        return FAIL(CORRUPT, "sst %llu filter @%llu: checksum mismatch", number_of(v),
                    (unsigned long long)f->filter.off);
    if (c->index != f->index.checksum)
        return FAIL(CORRUPT, "sst %llu index @%llu: checksum mismatch", number_of(v), (unsigned long long)f->index.off);
    if (c->properties != f->properties.checksum)
        return FAIL(CORRUPT, "sst %llu properties @%llu: checksum mismatch", number_of(v),
                    (unsigned long long)f->properties.off);
    return NOKV_OK;
}

/* ---- index ----------------------------------------------------------------------------------------------------- */

/* Leaves are the prefixes of the separators, the rest is 2^64 - 1; each number above is the greatest below it. */
static bool tree_is_sound(const struct sst_index *x)
{
    const uint64_t *leaves = x->levels[x->level_count - 1];
    for (uint64_t i = x->count; i < (uint64_t)x->nodes[x->level_count - 1] * SST_INDEX_FANOUT; i++)
        if (leaves[i] != UINT64_MAX)
            return false;
    for (unsigned l = 0; l + 1 < x->level_count; l++) {
        uint64_t slots = (uint64_t)x->nodes[l] * SST_INDEX_FANOUT;
        for (uint64_t i = 0; i < slots; i++) {
            uint64_t wanted = i < x->nodes[l + 1] ? x->levels[l + 1][(i + 1) * SST_INDEX_FANOUT - 1] : UINT64_MAX;
            if (x->levels[l][i] != wanted)
                return false;
        }
    }
    return true;
}

static bool separators_are_sound(const struct sst_index *x)
{
    struct sst_separator s;
    for (uint64_t i = 0; i < x->count; i++) {
        if (!sst_index_separator(x, i, &s) || x->levels[x->level_count - 1][i] != key_prefix(s.suffix, 0))
            return false;
    }
    return (get_u64(x->key_offsets) & ~SST_SEPARATOR_TAGGED) == 0 &&
           get_u64(x->key_offsets + 8 * (uint64_t)x->count) == x->keys.size;
}

static enum nokv_status index_guarded(void *arg)
{
    struct verifier *v = arg;
    const struct sst_index *x = &v->r->index;
    if (!tree_is_sound(x) || !separators_are_sound(x) || sst_index_page(x, 0) != 1 ||
        sst_index_page(x, x->count) != v->r->end_page)
        return sst_reader_bad_index(v->r);
    return NOKV_OK;
}

/* Is the separator in front of the block below `key` (its first), or is that of the block itself not below (its last)?
 */
struct separator_call {
    struct verifier *v;
    uint64_t block;
    struct ikey key;
    int order; /* out: the separator against the key */
};

static enum nokv_status separator_guarded(void *arg)
{
    struct separator_call *c = arg;
    const struct sst_index *x = &c->v->r->index;
    struct sst_separator s;
    if (!sst_index_separator(x, c->block, &s))
        return sst_reader_bad_index(c->v->r); /* GCOV_EXCL_LINE: it was sound a moment ago: no test can time it */
    if (c->key.user.size < x->common.size || memcmp(c->key.user.data, x->common.data, x->common.size) != 0) {
        struct slice head = slice_make(x->common.data, x->common.size);
        c->order = key_compare(head, c->key.user);
        return NOKV_OK;
    }
    c->order = sst_separator_compare(x, &s, c->key);
    return NOKV_OK;
}

static enum nokv_status verify_separator(struct verifier *v, uint64_t block, struct ikey key, bool wants_below)
{
    struct separator_call c = {.v = v, .block = block, .key = key};
    TRY(io_guarded(separator_guarded, &c));
    if (wants_below ? c.order >= 0 : c.order < 0)
        return FAIL(CORRUPT, "sst %llu block @%llu: the index has separator %llu on the wrong side of it", number_of(v),
                    offset_of(v), (unsigned long long)block);
    return NOKV_OK;
}

/* ---- entries --------------------------------------------------------------------------------------------------- */

struct filter_call {
    const struct sst_reader *r;
    uint64_t hash;
    bool has; /* out */
};

static enum nokv_status filter_guarded(void *arg)
{
    struct filter_call *c = arg;
    const uint8_t *line = c->r->filter + sst_filter_line(c->hash, c->r->filter_lines) * SST_FILTER_LINE_BYTES;
    c->has = sst_filter_line_has(line, c->hash, c->r->filter_probes);
    return NOKV_OK;
}

static enum nokv_status verify_hash(struct verifier *v, uint32_t i, uint64_t hash)
{
    if (v->block.data[SST_BLOCK_HEADER_BYTES + i] != sst_fingerprint(hash))
        return FAIL(CORRUPT, "sst %llu block @%llu: wrong fingerprint of entry %u", number_of(v), offset_of(v), i);
    struct filter_call c = {.r = v->r, .hash = hash, .has = true};
    if (v->r->filter_lines != 0)
        TRY(io_guarded(filter_guarded, &c));
    if (!c.has)
        return FAIL(CORRUPT, "sst %llu block @%llu: entry %u is missing in the filter", number_of(v), offset_of(v), i);
    return NOKV_OK;
}

static enum nokv_status verify_order(struct verifier *v, uint32_t i, const struct sst_entry *e)
{
    struct sst_info *info = &v->found.info;
    bool first = info->entries == 0;
    int c = first ? -1 : key_compare(buf_slice(&v->last_key), e->key);
    if (c > 0 || (c == 0 && v->last_tag <= e->tag))
        return FAIL(CORRUPT, "sst %llu block @%llu: entry %u is not above the one before", number_of(v), offset_of(v),
                    i);
    struct ikey smallest = v->r->properties.smallest;
    if (first && (smallest.tag != e->tag || !slice_equal(smallest.user, e->key)))
        return FAIL(CORRUPT, "sst %llu: the first entry is not the smallest key in the properties", number_of(v));
    v->found.filter_keys += c != 0;
    info->entries++;
    info->tombstones += tag_kind(e->tag) == KEY_TOMBSTONE;
    info->seq_min = first ? tag_seq(e->tag) : u64_min(info->seq_min, tag_seq(e->tag));
    info->seq_max = u64_max(info->seq_max, tag_seq(e->tag));
    info->raw_bytes += e->key.size + e->value.size;
    v->found.kinds[tag_kind_byte(e->tag)]++;
    v->last_tag = e->tag;
    v->last_key.size = 0;
    return buf_append(&v->last_key, e->key.data, e->key.size);
}

static enum nokv_status verify_entry(struct verifier *v, uint32_t i)
{
    struct sst_entry e;
    if (!sst_block_entry(&v->block, i, &e))
        return sst_reader_bad_block(v->r, v->extent.page);
    if (!key_kind_known(tag_kind_byte(e.tag)))
        return sst_reader_bad_kind(v->r, v->extent.page, e.tag);
    if (tag_kind(e.tag) == KEY_TOMBSTONE && e.value.size != 0)
        return FAIL(CORRUPT, "sst %llu block @%llu: tombstone %u has a value", number_of(v), offset_of(v), i);
    TRY(verify_order(v, i, &e));
    TRY(verify_hash(v, i, sst_key_hash(e.key)));
    struct ikey key = {.user = e.key, .tag = e.tag};
    if (i == 0 && v->block_index > 0)
        TRY(verify_separator(v, v->block_index - 1, key, true));
    if (i + 1 == v->block.count)
        TRY(verify_separator(v, v->block_index, key, false));
    return NOKV_OK;
}

static enum nokv_status verify_block(struct verifier *v)
{
    const struct sst_block *b = &v->block;
    TRY(sst_window_block(&v->window, v->block_index, &v->block, &v->extent));
    if (sst_block_offset(b, 0) != b->entries || sst_block_offset(b, b->count) != b->used ||
        b->wide != (b->used > SST_BLOCK_NARROW_MAX) || !is_zero(b->data + b->used, v->extent.size - b->used))
        return FAIL(CORRUPT, "sst %llu block @%llu: offsets or filling are wrong", number_of(v), offset_of(v));
    for (uint32_t i = 0; i < b->count; i++)
        TRY(verify_entry(v, i));
    return NOKV_OK;
}

static enum nokv_status verify_counts(struct verifier *v)
{
    const struct sst_properties *p = &v->r->properties;
    v->found.info.file_bytes = v->r->footer.file_bytes;
    if (memcmp(&v->found.info, &p->info, sizeof p->info) != 0 ||
        memcmp(v->found.kinds, p->kinds, sizeof p->kinds) != 0 || v->found.filter_keys != p->filter_keys)
        return FAIL(CORRUPT, "sst %llu: %llu entries, %llu tombstones; the properties say otherwise", number_of(v),
                    (unsigned long long)v->found.info.entries, (unsigned long long)v->found.info.tombstones);
    if (v->last_tag != p->largest.tag || !slice_equal(buf_slice(&v->last_key), p->largest.user))
        return FAIL(CORRUPT, "sst %llu: the last entry is not the largest key in the properties", number_of(v));
    return NOKV_OK;
}

static enum nokv_status verify_all(struct verifier *v)
{
    TRY(verify_frame(v));
    TRY(io_guarded(index_guarded, v));
    TRY(sst_window_init(&v->window, v->r, IO_SST, IO_STD));
    for (v->block_index = 0; v->block_index < v->r->index.count; v->block_index++)
        TRY(verify_block(v));
    return verify_counts(v);
}

/* Filter and index of a reader that copies are in memory: what is on the disk is seen through a mapping. */
static enum nokv_status verify_mapped(const struct sst_reader *r, struct sst_verify_report *out_report)
{
    struct sst_reader *mapped = NULL;
    TRY(sst_reader_open(r->io, r->path, r->footer.file_number, r->footer.file_bytes, &mapped));
    enum nokv_status status = sst_reader_verify(mapped, out_report);
    sst_reader_unref(mapped);
    (void)epoch_reclaim(); /* not as many mappings as there are tables */
    return status;
}

enum nokv_status sst_reader_verify(struct sst_reader *r, struct sst_verify_report *out_report)
{
    if (sst_reader_is_copied(r))
        return verify_mapped(r, out_report);
    struct verifier v = {.r = r};
    enum nokv_status status = verify_all(&v);
    sst_window_deinit(&v.window);
    buf_deinit(&v.last_key);
    TRY(status);
    *out_report = (struct sst_verify_report){
        .blocks = r->index.count, .entries = v.found.info.entries, .bytes = r->footer.file_bytes};
    return NOKV_OK;
}
