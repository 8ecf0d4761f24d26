// SPDX-License-Identifier: Apache-2.0
/*
 * MANIFEST and CURRENT.
 *
 * CURRENT is one line: "MANIFEST-000004 0123456789abcdef\n", the second word being the XXH3-64 of the first in
 * hexadecimal. It is replaced by writing CURRENT.tmp, syncing it, renaming it and syncing the directory, after the
 * MANIFEST that it names is itself durable. A CURRENT that is damaged, or that names a file that is not there, is
 * CORRUPT: never taken for a new database.
 *
 * Recovery applies all edits to one in-memory description (numbers only) before it opens a table, so that tables that
 * were added and removed again are never asked for.
 */
#include "lsm/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "lsm/names.h"
#include "rlog/rlog.h"

struct manifest {
    struct rlog_writer *log;
    struct buf scratch;
    _Atomic uint64_t bytes; /* who appends writes, statistics read; relaxed: only a figure */
};

enum { CURRENT_SIZE_MAX = 128, MANIFEST_PREALLOCATE = 64 << 10, SETTLE_BYTES = 16 << 10 };

/* Is the file there? What cannot be found out is neither yes nor no. */
static enum nokv_status file_exists(struct io *io, const char *path, bool *out_exists)
{
    uint64_t size;
    enum nokv_status status = io_stat(io, path, &size);
    if (status != NOKV_OK && status != NOKV_ERR_NOT_FOUND)
        return status;
    *out_exists = status == NOKV_OK;
    return NOKV_OK;
}

enum nokv_status manifest_exists(struct io *io, const char *dir, bool *out_exists)
{
    char path[PATH_SIZE_MAX];
    TRY(path_current(path, dir));
    return file_exists(io, path, out_exists);
}

/* ---- CURRENT -------------------------------------------------------------------------------------------------- */

static int current_format(char line[CURRENT_SIZE_MAX], uint64_t number)
{
    char name[64];
    int n = snprintf(name, sizeof name, "MANIFEST-%06" PRIu64, number);
    return snprintf(line, CURRENT_SIZE_MAX, "%s %016" PRIx64 "\n", name, checksum64(name, (size_t)n, 0));
}

static enum nokv_status current_write(struct table_env *env, uint64_t number)
{
    char path[PATH_SIZE_MAX], temp[PATH_SIZE_MAX], line[CURRENT_SIZE_MAX];
    TRY(path_current(path, env->dir));
    TRY(path_join(temp, env->dir, "CURRENT.tmp"));
    TRY(io_unlink_if_exists(env->io, temp));
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    TRY(io_open(env->io, temp, IO_OTHER, IO_STD, IO_WRITE | IO_CREATE, &file));
    TRY(io_pwrite(file, line, (size_t)current_format(line, number), 0));
    TRY(io_sync(file));
    TRY(io_close(TAKE(file)));
    TRY(io_rename(env->io, temp, path));
    return io_sync_dir(env->io, env->dir);
}

static enum nokv_status current_read(struct io *io, const char *dir, uint64_t *out_number)
{
    char path[PATH_SIZE_MAX], line[CURRENT_SIZE_MAX] = {0}, wanted[CURRENT_SIZE_MAX];
    TRY(path_current(path, dir));
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    TRY(io_open(io, path, IO_OTHER, IO_STD, IO_READ, &file));
    size_t size = 0;
    TRY(io_pread(file, line, sizeof line - 1, 0, &size));
    char *space = strchr(line, ' ');
    uint64_t number = 0;
    if (space) {
        *space = 0;
        if (file_type_of(line, &number) != FILE_MANIFEST)
            number = 0;
        *space = ' ';
    }
    if (number == 0 || (size_t)current_format(wanted, number) != size || memcmp(line, wanted, size) != 0)
        return FAIL(CORRUPT, "%s does not hold the name of a MANIFEST with its checksum (%zu bytes)", path, size);
    *out_number = number;
    return NOKV_OK;
}

/* ---- recovery ------------------------------------------------------------------------------------------------- */

/* The tables that are left after all edits so far: `total.adds` is kept as the list. */
static enum nokv_status total_remove(struct edit *total, const struct edit_remove *remove, const char *where)
{
    for (size_t i = 0; i < total->add_count; i++) {
        if (total->adds[i].table.number != remove->number || total->adds[i].level != remove->level)
            continue;
        table_desc_deinit(&total->adds[i].table);
        total->adds[i] = total->adds[--total->add_count];
        return NOKV_OK;
    }
    return FAIL(CORRUPT, "%s: removes table %llu from level %u, where it is not", where,
                (unsigned long long)remove->number, remove->level);
}

static struct segment_desc *total_segment(const struct edit *total, uint64_t number)
{
    for (size_t i = 0; i < total->segment_add_count; i++)
        if (total->segment_adds[i].number == number)
            return &total->segment_adds[i];
    return NULL;
}

static enum nokv_status total_apply_segments(struct edit *total, const struct edit *edit, const char *where)
{
    for (size_t i = 0; i < edit->segment_add_count; i++) {
        struct segment_desc *known = total_segment(total, edit->segment_adds[i].number);
        if (known)
            *known = edit->segment_adds[i];
        else
            TRY(edit_add_segment(total, &edit->segment_adds[i]));
    }
    for (size_t i = 0; i < edit->segment_remove_count; i++) {
        struct segment_desc *known = total_segment(total, edit->segment_removes[i]);
        if (known == NULL)
            return FAIL(CORRUPT, "%s: removes segment %llu of the value log, which is not there", where,
                        (unsigned long long)edit->segment_removes[i]);
        *known = total->segment_adds[--total->segment_add_count];
    }
    return NOKV_OK;
}

static enum nokv_status total_apply(struct edit *total, const struct edit *edit, const char *where)
{
    TRY(total_apply_segments(total, edit, where));
    for (size_t i = 0; i < edit->remove_count; i++)
        TRY(total_remove(total, &edit->removes[i], where));
    for (size_t i = 0; i < edit->add_count; i++)
        TRY(edit_add_table(total, edit->adds[i].level, &edit->adds[i].table));
    if (edit->has_log_number) {
        total->has_log_number = true;
        total->log_number = u64_max(total->log_number, edit->log_number);
    }
    if (edit->has_next_number) {
        total->has_next_number = true;
        total->next_number = u64_max(total->next_number, edit->next_number);
    }
    if (edit->has_last_seq) {
        total->has_last_seq = true;
        total->last_seq = u64_max(total->last_seq, edit->last_seq);
    }
    return NOKV_OK;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* A table stands in one place only: removing it there would take its file away from the other. */
static enum nokv_status numbers_check(const struct edit *total, const char *path)
{
    uint64_t *numbers CLEANUP(mem_free_ptr) = mem_alloc(total->add_count * sizeof *numbers);
    if (numbers == NULL)
        return FAIL(NO_MEMORY, "no memory for the numbers of %zu tables", total->add_count);
    for (size_t i = 0; i < total->add_count; i++)
        numbers[i] = total->adds[i].table.number;
    qsort(numbers, total->add_count, sizeof *numbers, compare_numbers);
    for (size_t i = 1; i < total->add_count; i++)
        if (numbers[i - 1] == numbers[i])
            return FAIL(CORRUPT, "%s: table %" PRIu64 " stands in two places", path, numbers[i]);
    return NOKV_OK;
}

static enum nokv_status edits_read(struct rlog_reader *reader, const char *path, struct edit *total)
{
    for (;;) {
        struct slice payload;
        uint64_t off;
        bool more = false;
        TRY(rlog_reader_next(reader, &payload, &off, &more));
        if (!more)
            break;
        char where[PATH_SIZE_MAX + 32];
        snprintf(where, sizeof where, "%s @%" PRIu64, path, off);
        struct edit edit CLEANUP(edit_deinit) = {0};
        TRY(edit_decode(payload, where, &edit));
        TRY(total_apply(total, &edit, where));
    }
    if (!total->has_log_number || !total->has_next_number || !total->has_last_seq)
        return FAIL(CORRUPT, "%s holds no complete first edit", path);
    if (total->last_seq > KEY_SEQ_MAX)
        return FAIL(CORRUPT, "%s: sequence number %llu is out of range", path, (unsigned long long)total->last_seq);
    return NOKV_OK;
}

static void rlog_reader_close_ptr(struct rlog_reader **r)
{
    rlog_reader_close(*r);
}

static void version_unref_ptr(struct version **v)
{
    version_unref(*v);
}

/* A table that the MANIFEST names and that is not there is damage, whatever the file system calls it. */
static enum nokv_status version_build(struct table_env *env, const struct edit *total, const char *path,
                                      struct version **out_version)
{
    struct version *empty CLEANUP(version_unref_ptr) = NULL;
    TRY(version_create_empty(&empty));
    enum nokv_status status = version_apply(empty, total, env, NULL, 0, path, out_version);
    if (status == NOKV_ERR_NOT_FOUND) {
        char message[512];
        snprintf(message, sizeof message, "%s", status_message());
        return FAIL(CORRUPT, "%s names a table that is missing: %s", path, message);
    }
    return status;
}

static int compare_segments(const void *a, const void *b)
{
    const struct segment_desc *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

void manifest_state_deinit(struct manifest_state *state)
{
    mem_free(TAKE(state->segments));
    state->segment_count = 0;
}

/* CURRENT, and everything that the MANIFEST says; on failure the caller still calls edit_deinit. */
static enum nokv_status manifest_read(struct io *io, const char *dir, uint64_t *out_number, char path[PATH_SIZE_MAX],
                                      struct edit *out_total)
{
    TRY(current_read(io, dir, out_number));
    TRY(path_manifest(path, dir, *out_number));
    bool exists = false;
    TRY(file_exists(io, path, &exists));
    if (!exists)
        return FAIL(CORRUPT, "CURRENT names %s, which does not exist", path);
    struct rlog_reader_options options = {
        .io = io, .path = path, .component = IO_MANIFEST, .kind = RLOG_MANIFEST, .number = *out_number};
    struct rlog_reader *reader CLEANUP(rlog_reader_close_ptr) = NULL;
    TRY(rlog_reader_open(&options, &reader));
    TRY(edits_read(reader, path, out_total));
    return numbers_check(out_total, path);
}

enum nokv_status manifest_list(struct io *io, const char *dir, struct edit *out_total)
{
    uint64_t number = 0;
    char path[PATH_SIZE_MAX];
    return manifest_read(io, dir, &number, path, out_total);
}

enum nokv_status manifest_recover(struct table_env *env, struct manifest_state *out_state)
{
    uint64_t number = 0;
    char path[PATH_SIZE_MAX];
    struct edit total CLEANUP(edit_deinit) = {0};
    TRY(manifest_read(env->io, env->dir, &number, path, &total));
    struct manifest_state state = {.manifest_number = number,
                                   .log_number = total.log_number,
                                   .next_number = u64_max(total.next_number, number + 1),
                                   .last_seq = total.last_seq};
    TRY(version_build(env, &total, path, &state.version));
    if (total.segment_add_count > 0)
        qsort(total.segment_adds, total.segment_add_count, sizeof *total.segment_adds, compare_segments);
    state.segment_count = total.segment_add_count;
    state.segments = TAKE(total.segment_adds);
    *out_state = state;
    return NOKV_OK;
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

/* Edits that were read may be in the page cache only, if their sync failed (rlog/tail.c, write_again). */
static enum nokv_status write_again(struct io_file *file, struct io_file *out)
{
    uint8_t bytes[SETTLE_BYTES];
    uint64_t size = 0;
    TRY(io_size(file, &size));
    for (uint64_t off = 0; off < size; off += sizeof bytes) {
        size_t part = u64_min(size - off, sizeof bytes);
        TRY(io_pread_exact(file, bytes, part, off));
        TRY(io_pwrite(out, bytes, part, off));
    }
    return NOKV_OK;
}

enum nokv_status manifest_settle(const struct table_env *env, uint64_t number)
{
    char path[PATH_SIZE_MAX];
    struct io_file *file CLEANUP(io_close_ptr) = NULL, *out CLEANUP(io_close_ptr) = NULL;
    TRY(path_manifest(path, env->dir, number));
    TRY(io_open(env->io, path, IO_MANIFEST, IO_STD, IO_READ, &file));
    TRY(io_open(env->io, path, IO_MANIFEST, IO_DIRECT, IO_READ | IO_WRITE, &out));
    TRY(write_again(file, out));
    TRY(io_sync(out));
    TRY(io_close(TAKE(out)));
    return io_sync_dir(env->io, env->dir);
}

enum nokv_status manifest_snapshot_edit(const struct manifest_state *state, struct edit *out_edit)
{
    out_edit->has_log_number = out_edit->has_next_number = out_edit->has_last_seq = true;
    out_edit->log_number = state->log_number;
    out_edit->next_number = state->next_number;
    out_edit->last_seq = state->last_seq;
    for (uint32_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < state->version->levels[l].count; i++)
            TRY(edit_add_table(out_edit, l, &state->version->levels[l].tables[i]->desc));
    for (size_t i = 0; i < state->segment_count; i++)
        TRY(edit_add_segment(out_edit, &state->segments[i]));
    return NOKV_OK;
}

static void manifest_destroy_ptr(struct manifest **m)
{
    manifest_destroy(*m);
}

enum nokv_status manifest_create(struct table_env *env, uint64_t number, const struct manifest_state *state,
                                 struct manifest **out_manifest)
{
    char path[PATH_SIZE_MAX];
    TRY(path_manifest(path, env->dir, number));
    struct manifest *m CLEANUP(manifest_destroy_ptr) = mem_zalloc(sizeof *m);
    if (m == NULL)
        return FAIL(NO_MEMORY, "no memory for a MANIFEST");
    struct rlog_writer_options options = {.io = env->io,
                                          .path = path,
                                          .component = IO_MANIFEST,
                                          .model = IO_STD,
                                          .kind = RLOG_MANIFEST,
                                          .number = number,
                                          .preallocate_bytes = MANIFEST_PREALLOCATE};
    enum nokv_status status = rlog_writer_create(&options, env->dir, &m->log);
    if (status != NOKV_OK)
        return status == NOKV_ERR_POISONED ? FAIL(IO, "%s", status_message()) : status;
    struct edit edit CLEANUP(edit_deinit) = {0};
    TRY(manifest_snapshot_edit(state, &edit));
    TRY(manifest_append(m, &edit));
    TRY(current_write(env, number));
    *out_manifest = TAKE(m);
    return NOKV_OK;
}

enum nokv_status manifest_append(struct manifest *m, const struct edit *edit)
{
    m->scratch.size = 0;
    TRY(edit_encode(edit, &m->scratch));
    struct slice payload = buf_slice(&m->scratch);
    TRY(rlog_append(m->log, &payload, 1));
    TRY(rlog_sync(m->log)); /* never NO_SPACE or NO_MEMORY: the record may be on the medium, so nobody tries again */
    /* Without it damage to this edit, the last one, would pass for a torn tail, and its tables for left-overs. The edit
     * is durable: that the mark could not be written is a failure of the next one. */
    (void)!rlog_write_mark(m->log);
    atomic_store_explicit(&m->bytes, rlog_end(m->log), memory_order_relaxed);
    return NOKV_OK;
}

void manifest_destroy(struct manifest *m)
{
    if (m == NULL)
        return;
    rlog_writer_destroy(m->log);
    buf_deinit(&m->scratch);
    mem_free(m);
}

uint64_t manifest_number(const struct manifest *m)
{
    return rlog_number(m->log);
}

uint64_t manifest_bytes(const struct manifest *m)
{
    return atomic_load_explicit(&m->bytes, memory_order_relaxed);
}
