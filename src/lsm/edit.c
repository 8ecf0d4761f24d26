// SPDX-License-Identifier: Apache-2.0
/*
 * An edit is a list of fields: varint tag, varint size, payload. An even tag may be skipped by a reader that does not
 * know it, an odd one must be understood. Table fields begin with the column family, of which there is one (0) so far:
 * an edit that names another is refused, not ignored.
 *
 * A segment of the value log is described by an "add segment", which may come again for the same number; which of its
 * bytes are live is told by the tables, each of which carries what it points to (property 1). So the two cannot
 * disagree about a change: it is the same record.
 *
 * Failure: decoding checks every length against what is left; a field that is longer or shorter than its content is
 * corrupt, except that a table may carry properties after the known ones (same even/odd rule).
 */
#include "lsm/edit.h"

#include "base/alloc.h"
#include "base/coding.h"

enum edit_tag {
    TAG_COMPARATOR = 1,      /* bytes: "bytewise" */
    TAG_LOG_NUMBER = 3,      /* varint */
    TAG_NEXT_NUMBER = 5,     /* varint */
    TAG_LAST_SEQ = 7,        /* varint */
    TAG_REMOVE_TABLE = 9,    /* cf, level, number: varints */
    TAG_ADD_TABLE = 11,      /* see table_encode */
    TAG_ADD_SEGMENT = 13,    /* see segment_encode */
    TAG_REMOVE_SEGMENT = 15, /* varint */
};

/* Properties of a table. */
enum table_property {
    PROPERTY_REFS = 1, /* varints, three a segment: number, records, bytes */
};

static const char comparator_name[] = "bytewise";

void table_desc_deinit(struct table_desc *d)
{
    mem_free((void *)(uintptr_t)d->smallest.user.data);
    mem_free((void *)(uintptr_t)d->largest.user.data);
    mem_free(d->refs);
    *d = (struct table_desc){0};
}

static enum nokv_status key_copy(struct slice from, struct slice *out)
{
    uint8_t *bytes = mem_alloc(from.size);
    if (bytes == NULL)
        return FAIL(NO_MEMORY, "no memory for a key of %zu bytes", from.size);
    memcpy(bytes, from.data, from.size);
    *out = slice_make(bytes, from.size);
    return NOKV_OK;
}

static enum nokv_status refs_copy(const struct table_desc *from, struct vlog_ref **out)
{
    if (from->ref_count == 0)
        return NOKV_OK;
    struct vlog_ref *refs = mem_alloc(from->ref_count * sizeof *refs);
    if (refs == NULL)
        return FAIL(NO_MEMORY, "no memory for what a table points to in %zu segments", from->ref_count);
    memcpy(refs, from->refs, from->ref_count * sizeof *refs);
    *out = refs;
    return NOKV_OK;
}

enum nokv_status table_desc_copy(const struct table_desc *from, struct table_desc *out_copy)
{
    struct table_desc copy = *from;
    copy.smallest.user = copy.largest.user = (struct slice){0};
    copy.refs = NULL;
    enum nokv_status status = key_copy(from->smallest.user, &copy.smallest.user);
    if (status == NOKV_OK)
        status = key_copy(from->largest.user, &copy.largest.user);
    if (status == NOKV_OK)
        status = refs_copy(from, &copy.refs);
    if (status != NOKV_OK) {
        table_desc_deinit(&copy);
        return status;
    }
    *out_copy = copy;
    return NOKV_OK;
}

void edit_deinit(struct edit *e)
{
    for (size_t i = 0; i < e->add_count; i++)
        table_desc_deinit(&e->adds[i].table);
    mem_free(e->adds);
    mem_free(e->removes);
    mem_free(e->segment_adds);
    mem_free(e->segment_removes);
    *e = (struct edit){0};
}

enum nokv_status edit_add_table(struct edit *e, uint32_t level, const struct table_desc *table)
{
    ASSERT(level < LEVELS_MAX && table->number != 0);
    TRY(mem_grow(&e->adds, &e->add_capacity, e->add_count + 1, sizeof *e->adds));
    TRY(table_desc_copy(table, &e->adds[e->add_count].table));
    e->adds[e->add_count].level = level;
    e->add_count++;
    return NOKV_OK;
}

enum nokv_status edit_remove_table(struct edit *e, uint32_t level, uint64_t number)
{
    ASSERT(level < LEVELS_MAX && number != 0);
    TRY(mem_grow(&e->removes, &e->remove_capacity, e->remove_count + 1, sizeof *e->removes));
    e->removes[e->remove_count++] = (struct edit_remove){.level = level, .number = number};
    return NOKV_OK;
}

enum nokv_status edit_add_segment(struct edit *e, const struct segment_desc *segment)
{
    ASSERT(segment->number != 0 && segment->file_bytes != 0);
    TRY(mem_grow(&e->segment_adds, &e->segment_add_capacity, e->segment_add_count + 1, sizeof *e->segment_adds));
    e->segment_adds[e->segment_add_count++] = *segment;
    return NOKV_OK;
}

enum nokv_status edit_remove_segment(struct edit *e, uint64_t number)
{
    ASSERT(number != 0);
    TRY(mem_grow(&e->segment_removes, &e->segment_remove_capacity, e->segment_remove_count + 1,
                 sizeof *e->segment_removes));
    e->segment_removes[e->segment_remove_count++] = number;
    return NOKV_OK;
}

const char *segment_origin_name(enum segment_origin origin)
{
    static const char *const names[] = {[SEGMENT_DIRECT] = "direct",
                                        [SEGMENT_FLUSH] = "flush",
                                        [SEGMENT_COLLECT] = "collect",
                                        [SEGMENT_RECOVERED] = "recovered"};
    return (size_t)origin < ARRAY_COUNT(names) && names[origin] ? names[origin] : "?";
}

/* ---- encode --------------------------------------------------------------------------------------------------- */

static enum nokv_status field_encode(struct buf *out, enum edit_tag tag, const struct buf *payload)
{
    TRY(buf_append_varint(out, tag));
    return buf_append_sized(out, buf_slice(payload));
}

static enum nokv_status varint_field_encode(struct buf *out, enum edit_tag tag, uint64_t v)
{
    TRY(buf_append_varint(out, tag));
    TRY(buf_append_varint(out, varint_size(v)));
    return buf_append_varint(out, v);
}

static enum nokv_status varints_append(struct buf *out, const uint64_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        TRY(buf_append_varint(out, values[i]));
    return NOKV_OK;
}

static enum nokv_status ikey_append(struct buf *out, struct ikey key)
{
    TRY(buf_append_sized(out, key.user));
    return buf_append_varint(out, key.tag);
}

static enum nokv_status refs_encode(struct buf *out, const struct table_desc *t)
{
    struct buf payload CLEANUP(buf_deinit) = {0};
    if (t->ref_count == 0)
        return NOKV_OK;
    for (size_t i = 0; i < t->ref_count; i++) {
        const uint64_t numbers[] = {t->refs[i].segment, t->refs[i].records, t->refs[i].bytes};
        TRY(varints_append(&payload, numbers, ARRAY_COUNT(numbers)));
    }
    TRY(buf_append_varint(out, PROPERTY_REFS));
    return buf_append_sized(out, buf_slice(&payload));
}

static enum nokv_status segment_encode(struct buf *out, const struct segment_desc *s)
{
    const uint64_t numbers[] = {s->number, s->file_bytes, (uint64_t)s->origin, s->sealed};
    return varints_append(out, numbers, ARRAY_COUNT(numbers));
}

static enum nokv_status table_encode(struct buf *out, const struct edit_add *add)
{
    const struct table_desc *t = &add->table;
    uint64_t numbers[] = {0,          add->level, t->number, t->file_bytes, t->entries, t->tombstones, t->raw_bytes,
                          t->seq_min, t->seq_max};
    TRY(varints_append(out, numbers, ARRAY_COUNT(numbers)));
    TRY(ikey_append(out, t->smallest));
    TRY(ikey_append(out, t->largest));
    return refs_encode(out, t);
}

static enum nokv_status edit_encode_tables(const struct edit *e, struct buf *scratch, struct buf *out)
{
    for (size_t i = 0; i < e->remove_count; i++) {
        uint64_t numbers[] = {0, e->removes[i].level, e->removes[i].number};
        scratch->size = 0;
        TRY(varints_append(scratch, numbers, ARRAY_COUNT(numbers)));
        TRY(field_encode(out, TAG_REMOVE_TABLE, scratch));
    }
    for (size_t i = 0; i < e->add_count; i++) {
        scratch->size = 0;
        TRY(table_encode(scratch, &e->adds[i]));
        TRY(field_encode(out, TAG_ADD_TABLE, scratch));
    }
    return NOKV_OK;
}

static enum nokv_status edit_encode_segments(const struct edit *e, struct buf *scratch, struct buf *out)
{
    for (size_t i = 0; i < e->segment_add_count; i++) {
        scratch->size = 0;
        TRY(segment_encode(scratch, &e->segment_adds[i]));
        TRY(field_encode(out, TAG_ADD_SEGMENT, scratch));
    }
    for (size_t i = 0; i < e->segment_remove_count; i++)
        TRY(varint_field_encode(out, TAG_REMOVE_SEGMENT, e->segment_removes[i]));
    return NOKV_OK;
}

enum nokv_status edit_encode(const struct edit *e, struct buf *out)
{
    struct buf scratch CLEANUP(buf_deinit) = {0};
    TRY(buf_append(&scratch, comparator_name, sizeof comparator_name - 1));
    TRY(field_encode(out, TAG_COMPARATOR, &scratch));
    if (e->has_log_number)
        TRY(varint_field_encode(out, TAG_LOG_NUMBER, e->log_number));
    if (e->has_next_number)
        TRY(varint_field_encode(out, TAG_NEXT_NUMBER, e->next_number));
    if (e->has_last_seq)
        TRY(varint_field_encode(out, TAG_LAST_SEQ, e->last_seq));
    TRY(edit_encode_segments(e, &scratch, out));
    return edit_encode_tables(e, &scratch, out);
}

/* ---- decode --------------------------------------------------------------------------------------------------- */

/* What is left of the payload; `p` is NULL once something did not fit. */
struct cursor {
    const uint8_t *p, *end;
};

static uint64_t take_varint(struct cursor *c)
{
    uint64_t v = 0;
    if (c->p)
        c->p = get_varint64(c->p, c->end, &v);
    return v;
}

static struct slice take_sized(struct cursor *c)
{
    uint64_t size = take_varint(c);
    if (c->p == NULL || size > (uint64_t)(c->end - c->p)) {
        c->p = NULL;
        return (struct slice){0};
    }
    struct slice s = slice_make(c->p, size);
    c->p += size;
    return s;
}

static struct ikey take_ikey(struct cursor *c)
{
    struct slice user = take_sized(c);
    uint64_t tag = take_varint(c);
    if (c->p && (user.size == 0 || user.size > KEY_SIZE_MAX))
        c->p = NULL;
    return (struct ikey){.user = user, .tag = tag};
}

/* What the table points to. The list is decoded into memory of its own size: three varints are at least three bytes. */
static enum nokv_status refs_decode(struct slice payload, const char *where, struct table_desc *t)
{
    struct cursor c = {.p = payload.data, .end = payload.data + payload.size};
    size_t capacity = 0;
    while (c.p < c.end) {
        struct vlog_ref ref = {.segment = take_varint(&c)};
        ref.records = take_varint(&c);
        ref.bytes = take_varint(&c);
        uint64_t above = t->ref_count ? t->refs[t->ref_count - 1].segment : 0;
        if (c.p == NULL || ref.segment <= above || ref.records == 0 || ref.bytes < ref.records)
            return FAIL(CORRUPT, "%s: what table %llu points to in the value log makes no sense", where,
                        (unsigned long long)t->number);
        TRY(mem_grow(&t->refs, &capacity, t->ref_count + 1, sizeof *t->refs));
        t->refs[t->ref_count++] = ref;
    }
    return NOKV_OK;
}

/* Properties behind the known part of a table. */
static enum nokv_status table_properties_decode(struct cursor *c, const char *where, struct table_desc *t)
{
    while (c->p && c->p < c->end) {
        uint64_t tag = take_varint(c);
        struct slice payload = take_sized(c);
        if (c->p && tag == PROPERTY_REFS && t->ref_count == 0)
            TRY(refs_decode(payload, where, t));
        else if (c->p && (tag & 1))
            return FAIL(NOT_SUPPORTED, "%s: a table has property %llu, which this version does not know", where,
                        (unsigned long long)tag);
    }
    return NOKV_OK;
}

static enum nokv_status table_level_check(uint64_t cf, uint64_t level, const char *where)
{
    if (cf != 0)
        return FAIL(NOT_SUPPORTED, "%s: column family %llu: this version knows only the default one", where,
                    (unsigned long long)cf);
    if (level >= LEVELS_MAX)
        return FAIL(CORRUPT, "%s: a table on level %llu of %d", where, (unsigned long long)level, LEVELS_MAX);
    return NOKV_OK;
}

static enum nokv_status table_check(const struct table_desc *t, const char *where)
{
    if (t->number == 0 || t->seq_min > t->seq_max || t->seq_max > KEY_SEQ_MAX ||
        ikey_compare(t->smallest, t->largest) > 0)
        return FAIL(CORRUPT, "%s: table %llu is described with keys or sequence numbers out of order", where,
                    (unsigned long long)t->number);
    if (t->file_bytes == 0 || t->entries == 0 || t->tombstones > t->entries)
        return FAIL(CORRUPT, "%s: table %llu is described with %llu bytes, %llu entries, %llu tombstones", where,
                    (unsigned long long)t->number, (unsigned long long)t->file_bytes, (unsigned long long)t->entries,
                    (unsigned long long)t->tombstones);
    return NOKV_OK;
}

/* REQUIRES: t's keys borrow, its refs are owned and go to the caller. */
static enum nokv_status table_finish(struct cursor *c, const char *where, uint64_t level, struct table_desc *t,
                                     struct edit *e)
{
    TRY(table_properties_decode(c, where, t));
    TRY(table_check(t, where));
    return c->p ? edit_add_table(e, (uint32_t)level, t) : NOKV_OK;
}

static enum nokv_status table_decode(struct cursor *c, const char *where, struct edit *e)
{
    uint64_t cf = take_varint(c), level = take_varint(c);
    struct table_desc t = {0};
    t.number = take_varint(c);
    t.file_bytes = take_varint(c);
    t.entries = take_varint(c);
    t.tombstones = take_varint(c);
    t.raw_bytes = take_varint(c);
    t.seq_min = take_varint(c);
    t.seq_max = take_varint(c);
    t.smallest = take_ikey(c);
    t.largest = take_ikey(c);
    if (c->p == NULL)
        return NOKV_OK; /* the caller reports it */
    TRY(table_level_check(cf, level, where));
    enum nokv_status status = table_finish(c, where, level, &t, e);
    mem_free(t.refs);
    return status;
}

static enum nokv_status segment_decode(struct cursor *c, const char *where, struct edit *e)
{
    struct segment_desc s = {.number = take_varint(c)};
    s.file_bytes = take_varint(c);
    uint64_t origin = take_varint(c), sealed = take_varint(c);
    if (c->p == NULL)
        return NOKV_OK; /* the caller reports it */
    s.origin = (enum segment_origin)origin;
    s.sealed = sealed == 1;
    if (s.number == 0 || s.file_bytes == 0 || origin < SEGMENT_DIRECT || origin > SEGMENT_RECOVERED || sealed > 1)
        return FAIL(CORRUPT, "%s: segment %llu of the value log is described with %llu bytes, origin %llu, state %llu",
                    where, (unsigned long long)s.number, (unsigned long long)s.file_bytes, (unsigned long long)origin,
                    (unsigned long long)sealed);
    return edit_add_segment(e, &s);
}

static enum nokv_status segment_remove_decode(struct cursor *c, const char *where, struct edit *e)
{
    uint64_t number = take_varint(c);
    if (c->p && number == 0)
        return FAIL(CORRUPT, "%s: removes segment 0 of the value log", where);
    return c->p ? edit_remove_segment(e, number) : NOKV_OK;
}

static enum nokv_status remove_decode(struct cursor *c, const char *where, struct edit *e)
{
    uint64_t cf = take_varint(c), level = take_varint(c), number = take_varint(c);
    if (c->p == NULL)
        return NOKV_OK;
    TRY(table_level_check(cf, level, where));
    if (number == 0)
        return FAIL(CORRUPT, "%s: removes table 0", where);
    return edit_remove_table(e, (uint32_t)level, number);
}

static enum nokv_status field_decode(uint64_t tag, struct slice field, const char *where, struct edit *e)
{
    struct cursor c = {.p = field.data, .end = field.data + field.size};
    switch (tag) {
    case TAG_COMPARATOR:
        if (!slice_equal(field, slice_make(comparator_name, sizeof comparator_name - 1)))
            return FAIL(NOT_SUPPORTED, "%s: keys are ordered by another comparator than bytewise", where);
        return NOKV_OK;
    case TAG_LOG_NUMBER:
        e->has_log_number = true;
        e->log_number = take_varint(&c);
        break;
    case TAG_NEXT_NUMBER:
        e->has_next_number = true;
        e->next_number = take_varint(&c);
        break;
    case TAG_LAST_SEQ:
        e->has_last_seq = true;
        e->last_seq = take_varint(&c);
        break;
    case TAG_REMOVE_TABLE:
        TRY(remove_decode(&c, where, e));
        break;
    case TAG_ADD_TABLE:
        TRY(table_decode(&c, where, e));
        break;
    case TAG_ADD_SEGMENT:
        TRY(segment_decode(&c, where, e));
        break;
    case TAG_REMOVE_SEGMENT:
        TRY(segment_remove_decode(&c, where, e));
        break;
    default:
        if (tag & 1)
            return FAIL(NOT_SUPPORTED, "%s: an edit has field %llu, which this version does not know", where,
                        (unsigned long long)tag);
        return NOKV_OK;
    }
    if (c.p != c.end)
        return FAIL(CORRUPT, "%s: field %llu of an edit does not fill its %zu bytes", where, (unsigned long long)tag,
                    field.size);
    return NOKV_OK;
}

enum nokv_status edit_decode(struct slice payload, const char *where, struct edit *out_edit)
{
    struct cursor c = {.p = payload.data, .end = payload.data + payload.size};
    bool has_comparator = false;
    while (c.p && c.p < c.end) {
        uint64_t tag = take_varint(&c);
        struct slice field = take_sized(&c);
        if (c.p)
            TRY(field_decode(tag, field, where, out_edit));
        has_comparator |= tag == TAG_COMPARATOR;
    }
    if (c.p == NULL)
        return FAIL(CORRUPT, "%s: an edit ends in the middle of a field", where);
    if (!has_comparator)
        return FAIL(CORRUPT, "%s: an edit does not say how keys are ordered", where);
    return NOKV_OK;
}
