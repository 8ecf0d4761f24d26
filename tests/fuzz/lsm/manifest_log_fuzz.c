// SPDX-License-Identifier: Apache-2.0
/*
 * manifest_log_fuzz.c - CURRENT and the records of a MANIFEST, and what manifest_list() makes of them: files alone,
 * without the tables that they name.
 *
 * Input: one byte of choices, then pieces of two bytes of size and so many bytes. With CURRENT_GIVEN the first piece is
 * CURRENT (with CURRENT_SEALED its checksum is made right); otherwise CURRENT is as it should be. Each of the others is
 * an edit, in a record with a right checksum. TORN cuts bytes off the MANIFEST.
 *
 * Checked, against a plain model of a set of tables and segments: the same status, tables, segments and numbers.
 *
 * The mutator changes the order of edits, and the fields of one (edit_pieces.h).
 */
#include <inttypes.h>

#include "../memory_io.h"
#include "edit_pieces.h"
#include "lsm/manifest.h"
#include "lsm/names.h"
#include "rlog/format.h"

enum { CURRENT_GIVEN = 1, CURRENT_SEALED = 2, TORN = 4, LITTLE_MEMORY = 8 };
enum { NUMBER = 9, FILES_MAX = 64, HEAD = 1, SIZE_BYTES = 2, LOG_MAX = 1 << 16, CURRENT_MAX = 200 };

/* ---- the files -------------------------------------------------------------------------------------------------- */

struct log_image {
    uint8_t bytes[LOG_MAX];
    size_t size;
};

static void log_begin(struct log_image *l)
{
    format_file_header(l->bytes, RLOG_MANIFEST, NUMBER, 1);
    l->size = RLOG_FILE_HEADER;
}

static void log_add(struct log_image *l, struct slice payload)
{
    const struct log_id id = {.number = NUMBER, .salt = 1};
    uint64_t size = record_size(payload.size);
    uint8_t *p = l->bytes + l->size;
    if (size > LOG_MAX - l->size)
        return;
    memset(p, 0, size);
    record_put_header(p, (uint32_t)payload.size, NUMBER, RLOG_DATA);
    if (payload.size > 0)
        memcpy(p + RLOG_RECORD_HEADER, payload.data, payload.size);
    put_u32(p + RECORD_CHECKSUM, record_checksum(p, (uint32_t)payload.size, record_seed(id, l->size)));
    l->size += size;
}

/* CURRENT as it should be, or as given, perhaps with the checksum of the name in it. */
static void current_put(struct slice given, bool is_given, bool is_sealed)
{
    char line[CURRENT_MAX + 40];
    int n = 0;
    if (!is_given) {
        const char *name = "MANIFEST-000009";
        n = snprintf(line, sizeof line, "%s %016" PRIx64 "\n", name, checksum64(name, strlen(name), 0));
    } else if (is_sealed) {
        size_t size = u64_min(given.size, CURRENT_MAX);
        n = snprintf(line, sizeof line, "%.*s %016" PRIx64 "\n", (int)size, (const char *)given.data,
                     checksum64(given.data, size, 0));
    }
    memory_io_put("db/CURRENT", is_given && !is_sealed ? (const char *)given.data : line,
                  is_given && !is_sealed ? given.size : (size_t)n);
}

/* ---- the model -------------------------------------------------------------------------------------------------- */

struct model_table {
    uint64_t number, file_bytes;
    uint32_t level;
};

struct model {
    struct model_table tables[FILES_MAX];
    struct segment_desc segments[FILES_MAX];
    size_t table_count, segment_count;
    bool has_log_number, has_next_number, has_last_seq;
    uint64_t log_number, next_number, last_seq;
    bool is_full; /* more than the model holds: nothing is compared */
};

static size_t model_segment(const struct model *m, uint64_t number)
{
    size_t i = 0;
    while (i < m->segment_count && m->segments[i].number != number)
        i++;
    return i;
}

static bool model_apply_segments(struct model *m, const struct edit *e)
{
    for (size_t i = 0; i < e->segment_add_count; i++) {
        size_t at = model_segment(m, e->segment_adds[i].number);
        m->is_full = m->is_full || at == FILES_MAX;
        if (m->is_full)
            return true;
        m->segments[at] = e->segment_adds[i];
        m->segment_count += at == m->segment_count;
    }
    for (size_t i = 0; i < e->segment_remove_count; i++) {
        size_t at = model_segment(m, e->segment_removes[i]);
        if (at == m->segment_count)
            return false;
        m->segments[at] = m->segments[--m->segment_count];
    }
    return true;
}

static bool model_apply_tables(struct model *m, const struct edit *e)
{
    for (size_t i = 0; i < e->remove_count; i++) {
        size_t at = 0;
        while (at < m->table_count &&
               (m->tables[at].number != e->removes[i].number || m->tables[at].level != e->removes[i].level))
            at++;
        if (at == m->table_count)
            return false;
        m->tables[at] = m->tables[--m->table_count];
    }
    for (size_t i = 0; i < e->add_count; i++) {
        m->is_full = m->is_full || m->table_count == FILES_MAX;
        if (!m->is_full)
            m->tables[m->table_count++] = (struct model_table){.number = e->adds[i].table.number,
                                                               .file_bytes = e->adds[i].table.file_bytes,
                                                               .level = e->adds[i].level};
    }
    return true;
}

/* False: the edit removes what is not there. */
static bool model_apply(struct model *m, const struct edit *e)
{
    if (!model_apply_segments(m, e) || !model_apply_tables(m, e))
        return false;
    m->has_log_number |= e->has_log_number;
    m->has_next_number |= e->has_next_number;
    m->has_last_seq |= e->has_last_seq;
    m->log_number = u64_max(m->log_number, e->log_number);
    m->next_number = u64_max(m->next_number, e->next_number);
    m->last_seq = u64_max(m->last_seq, e->last_seq);
    return true;
}

static enum nokv_status model_end(const struct model *m)
{
    if (!m->has_log_number || !m->has_next_number || !m->has_last_seq || m->last_seq > KEY_SEQ_MAX)
        return NOKV_ERR_CORRUPT;
    for (size_t i = 0; i < m->table_count; i++)
        for (size_t k = 0; k < i; k++)
            if (m->tables[i].number == m->tables[k].number)
                return NOKV_ERR_CORRUPT;
    return NOKV_OK;
}

static void compare(const struct edit *found, const struct model *m)
{
    fuzz_must(found->add_count == m->table_count && found->segment_add_count == m->segment_count, "number of files");
    fuzz_must(found->log_number == m->log_number && found->next_number == m->next_number &&
                  found->last_seq == m->last_seq,
              "numbers");
    for (size_t i = 0; i < m->table_count; i++) {
        size_t k = 0;
        while (k < m->table_count && found->adds[k].table.number != m->tables[i].number)
            k++;
        fuzz_must(k < m->table_count && found->adds[k].level == m->tables[i].level &&
                      found->adds[k].table.file_bytes == m->tables[i].file_bytes,
                  "a table is missing or another");
    }
    for (size_t i = 0; i < found->segment_add_count; i++) {
        size_t at = model_segment(m, found->segment_adds[i].number);
        fuzz_must(at < m->segment_count && m->segments[at].file_bytes == found->segment_adds[i].file_bytes &&
                      m->segments[at].sealed == found->segment_adds[i].sealed,
                  "a segment is missing or another");
    }
}

/* ---- one input -------------------------------------------------------------------------------------------------- */

/* The next piece of the input; false at its end. */
static bool next_piece(const uint8_t **data, size_t *size, struct slice *out)
{
    if (*size < SIZE_BYTES)
        return false;
    size_t n = u64_min(get_u16(*data), *size - SIZE_BYTES);
    *out = slice_make(*data + SIZE_BYTES, n);
    *data += SIZE_BYTES + n;
    *size -= SIZE_BYTES + n;
    return true;
}

/* What the edits make, each understood on its own. */
static enum nokv_status model_run(struct model *m, struct slice payload)
{
    struct edit edit = {0};
    enum nokv_status status = edit_decode(payload, "fuzz", &edit);
    if (status == NOKV_OK && !model_apply(m, &edit))
        status = NOKV_ERR_CORRUPT;
    edit_deinit(&edit);
    return status;
}

static enum nokv_status list(struct edit *out_total)
{
    enum nokv_status status = manifest_list(memory_io(), "db", out_total);
    fuzz_must(status == NOKV_OK || status == NOKV_ERR_CORRUPT || status == NOKV_ERR_NOT_SUPPORTED ||
                  status == NOKV_ERR_NO_MEMORY,
              "an odd refusal");
    return status;
}

static void check_short_of_memory(enum nokv_status wanted, uint64_t allocation)
{
    struct edit total = {0};
    mem_fail_after(allocation);
    enum nokv_status status = list(&total);
    mem_fail_after(UINT64_MAX);
    fuzz_must(status == wanted || status == NOKV_ERR_NO_MEMORY, "another answer with little memory");
    edit_deinit(&total);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct log_image l;
    struct model m = {.table_count = 0};
    struct edit total = {0};
    struct slice piece = slice_make("", 0);
    enum nokv_status wanted = NOKV_OK;
    uint64_t allocation = hash64(data, size) % 32;
    if (size < HEAD)
        return 0;
    unsigned choices = data[0], cut = choices >> 4;
    data++, size--;
    if (choices & CURRENT_GIVEN)
        (void)next_piece(&data, &size, &piece);
    current_put(piece, choices & CURRENT_GIVEN, choices & CURRENT_SEALED);
    log_begin(&l);
    while (next_piece(&data, &size, &piece) && l.size + record_size(piece.size) <= LOG_MAX) {
        log_add(&l, piece);
        if (wanted == NOKV_OK)
            wanted = model_run(&m, piece);
    }
    memory_io_put("db/MANIFEST-000009", l.bytes, l.size - (choices & TORN ? cut : 0));
    enum nokv_status status = list(&total);
    if (!(choices & (CURRENT_GIVEN | TORN)) && !m.is_full) {
        wanted = wanted == NOKV_OK ? model_end(&m) : wanted;
        fuzz_must(status == wanted, "another status than the model's");
        if (status == NOKV_OK)
            compare(&total, &m);
    }
    edit_deinit(&total);
    if (choices & LITTLE_MEMORY)
        check_short_of_memory(status, allocation);
    return 0;
}

/* ---- the mutator ------------------------------------------------------------------------------------------------ */

static void list_split(struct fuzz_pieces *p)
{
    for (size_t off = p->head; p->size - off >= SIZE_BYTES; off = p->ends[p->count - 1])
        if (!piece_add(p, SIZE_BYTES + get_u16(p->data + off)))
            break;
    pieces_end(p);
}

/* The fields of edit i, behind its size. */
static void list_edit_change(struct fuzz_pieces *p, size_t i, uint64_t *random)
{
    static uint8_t scratch[1 << 12];
    struct fuzz_pieces fields;
    size_t size = piece_size(p, i);
    if (size < SIZE_BYTES || size > sizeof scratch / 2)
        return;
    memcpy(scratch, piece_at(p, i), size);
    pieces_begin(&fields, scratch, SIZE_BYTES, size, sizeof scratch);
    edit_split(&fields);
    edit_change(&fields, random);
    (void)piece_replace(p, i, scratch, fields.size);
}

/* An edit that a MANIFEST can begin with. */
static const uint8_t first_edit[] = {0, 0, 1, 8, 'b', 'y', 't', 'e', 'w', 'i', 's', 'e', 3, 1, 4, 5, 1, 20, 7, 1, 50};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed;
    struct fuzz_pieces p;
    if (size < HEAD || fuzz_draw(&random, 16) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    if (fuzz_draw(&random, 8) == 0)
        data[0] = (uint8_t)fuzz_draw(&random, 256);
    pieces_begin(&p, data, HEAD, size, max_size);
    list_split(&p);
    uint64_t how = p.count ? fuzz_draw(&random, 8) : 0;
    if (how == 0)
        (void)piece_insert(&p, fuzz_draw(&random, p.count + 1), first_edit, sizeof first_edit);
    else if (how < 6)
        list_edit_change(&p, fuzz_draw(&random, p.count), &random);
    else
        pieces_change(&p, SIZE_BYTES, &random);
    for (size_t i = 0; i < p.count; i++)
        if (piece_size(&p, i) >= SIZE_BYTES)
            put_u16(piece_at(&p, i), (uint16_t)(piece_size(&p, i) - SIZE_BYTES));
    return p.size;
}
