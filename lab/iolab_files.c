// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_files.c - makes the tables and segments that are measured, with the engine's builder and writer.
 *
 * What is measured is the I/O of the formats that the engine has, so nothing here knows a byte of them: a table comes
 * out of sst_builder, a segment out of vlog_writer. A table is then seen as pages of 4 KiB (its blocks begin at pages),
 * and the checksum of each page, taken once through standard I/O after the engine has verified the whole table, is what
 * every later read is held against.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "lab/files.h"
#include "sst/sst.h"

enum { TABLE_VALUE = 100, COPY_BYTES = 256 << 10 };

void lab_key(uint64_t seed, uint64_t index, uint8_t out_key[LAB_KEY_BYTES])
{
    uint64_t big = __builtin_bswap64(index), tail = lab_mix(seed ^ index);
    memcpy(out_key, &big, 8);
    memcpy(out_key + 8, &tail, 8);
}

static enum nokv_status table_fill(struct sst_builder *b, uint64_t bytes, uint64_t seed)
{
    uint8_t key[LAB_KEY_BYTES], value[TABLE_VALUE];
    for (uint64_t i = 0; sst_builder_bytes(b) < bytes; i++) {
        lab_key(seed, i, key);
        lab_fill(seed, i, value, sizeof value);
        TRY(sst_builder_add(b, (struct ikey){slice_make(key, sizeof key), key_tag(i + 1, KEY_VALUE)},
                            slice_make(value, sizeof value)));
    }
    return NOKV_OK;
}

enum nokv_status lab_table_build(const struct lab *lab, struct io *io, const char *name, enum io_model model,
                                 uint64_t bytes, uint64_t seed, uint64_t *out_file_bytes)
{
    const struct sst_options options = {.block_bytes = 4096, .filter_bits_per_key = 10};
    struct sst_builder *b = NULL;
    struct sst_info info = {0};
    char path[LAB_PATH_SIZE];
    lab_path(lab, name, path);
    TRY(sst_builder_create(io, path, IO_FLUSH, model, LAB_TABLE_NUMBER, &options, &b));
    enum nokv_status status = table_fill(b, bytes, seed);
    if (status == NOKV_OK)
        status = sst_builder_finish(b, &info);
    sst_builder_destroy(b);
    TRY(status);
    *out_file_bytes = info.file_bytes;
    return NOKV_OK;
}

static enum nokv_status table_verify(struct io *io, const char *path)
{
    struct sst_reader *reader = NULL;
    struct sst_verify_report report;
    TRY(sst_reader_open(io, path, LAB_TABLE_NUMBER, 0, &reader));
    enum nokv_status status = sst_reader_verify(reader, &report);
    sst_reader_unref(reader);
    return status;
}

enum nokv_status lab_pages_take(const struct lab *lab, struct io *io, const char *name, struct lab_pages *out_pages)
{
    char path[LAB_PATH_SIZE];
    struct io_file *file CLEANUP(io_close_ptr) = NULL;
    uint8_t *buffer CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, COPY_BYTES);
    uint64_t size = 0;
    if (!buffer)
        return FAIL(NO_MEMORY, "iolab: a buffer");
    lab_path(lab, name, path);
    TRY(table_verify(io, path));
    TRY(io_open(io, path, IO_OTHER, IO_STD, IO_READ, &file));
    TRY(io_size(file, &size));
    out_pages->count = size / PAGE_BYTES;
    for (uint64_t page = 0; page < out_pages->count; page += COPY_BYTES / PAGE_BYTES) {
        uint64_t count = u64_min(COPY_BYTES / PAGE_BYTES, out_pages->count - page);
        TRY(io_pread_exact(file, buffer, count * PAGE_BYTES, page * PAGE_BYTES));
        for (uint64_t i = 0; i < count; i++)
            out_pages->sums[page + i] = checksum64(buffer + i * PAGE_BYTES, PAGE_BYTES, page + i);
    }
    return lab_file_drop(io, path);
}

static enum nokv_status segment_fill(struct vlog_writer *w, struct lab_values *values)
{
    uint8_t key[LAB_KEY_BYTES];
    uint8_t *value CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, values->value_bytes);
    if (!value)
        return FAIL(NO_MEMORY, "iolab: a value");
    for (uint64_t i = 0; i < values->count; i++) {
        lab_key(values->seed, i, key);
        lab_fill(values->seed, i, value, values->value_bytes);
        TRY(vlog_append(w, (struct ikey){slice_make(key, sizeof key), key_tag(i + 1, KEY_VALUE)},
                        slice_make(value, values->value_bytes), &values->pointers[i]));
    }
    return vlog_writer_seal(w);
}

enum nokv_status lab_segment_build(const struct lab *lab, struct io *io, const char *name, enum io_model model,
                                   struct lab_values *values)
{
    char path[LAB_PATH_SIZE];
    lab_path(lab, name, path);
    const struct vlog_writer_options options = {.io = io,
                                                .path = path,
                                                .dir = lab->dir,
                                                .component = IO_VLOG,
                                                .model = model,
                                                .number = LAB_SEGMENT_NUMBER,
                                                .preallocate_bytes = 16 << 20};
    struct vlog_writer *w = NULL;
    TRY(vlog_writer_create(&options, &w));
    enum nokv_status status = segment_fill(w, values);
    vlog_writer_destroy(w);
    return status;
}
