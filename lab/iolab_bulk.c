// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_bulk.c - part 1: files that are written at one go and synced at the end: a table, as flush and compaction write
 * them, and a segment of the value log with values of 64 KiB.
 *
 * The time includes making the bytes (the same for all models), the last sync and the renaming or sealing, so that no
 * model wins by leaving its bytes in the page cache. Afterwards the table is verified by the engine, and each value of
 * the segment is read back and compared.
 */
#include "base/alloc.h"
#include "base/epoch.h"
#include "lab/append.h"
#include "lab/files.h"
#include "sst/sst.h"

enum { BULK_VALUE = 64 << 10 };

static uint64_t bulk_bytes(const struct lab *lab)
{
    return u64_max(lab->size / 16, 2 << 20);
}

static enum nokv_status table_measure(struct lab_bench *bench, unsigned index, struct lab_sample *out_sample)
{
    char path[LAB_PATH_SIZE];
    uint64_t bytes = 0;
    struct sst_reader *reader = NULL;
    struct sst_verify_report report;
    lab_path(bench->lab, "bulk", path);
    struct lab_usage from = lab_usage_now(bench->io);
    TRY(lab_table_build(bench->lab, bench->io, "bulk", (enum io_model)bench->row->contenders[index].model,
                        bulk_bytes(bench->lab), bench->lab->seed + index, &bytes));
    *out_sample = lab_usage_sample(bench->io, &from, bytes / PAGE_BYTES, bytes, NULL);
    TRY(lab_file_drop(bench->io, path));
    TRY(sst_reader_open(bench->io, path, LAB_TABLE_NUMBER, bytes, &reader));
    enum nokv_status status = sst_reader_verify(reader, &report);
    sst_reader_unref(reader);
    bench->row->verified += bytes;
    TRY(status);
    return io_unlink(bench->io, path);
}

static enum nokv_status segment_check(struct lab_bench *bench, const char *path, const struct lab_values *values)
{
    struct vlog_reader *reader = NULL;
    uint8_t key[LAB_KEY_BYTES];
    uint8_t *got CLEANUP(mem_free_ptr) = mem_alloc(values->value_bytes);
    uint8_t *wanted CLEANUP(mem_free_ptr) = mem_alloc(values->value_bytes);
    if (!got || !wanted)
        return FAIL(NO_MEMORY, "iolab: a value");
    TRY(lab_file_drop(bench->io, path));
    TRY(epoch_register());
    TRY(vlog_reader_open(bench->io, path, LAB_SEGMENT_NUMBER, VLOG_READ_PREAD, NULL, NULL, &reader));
    enum nokv_status status = NOKV_OK;
    for (uint64_t i = 0; i < values->count && status == NOKV_OK; i++) {
        lab_key(values->seed, i, key);
        lab_fill(values->seed, i, wanted, values->value_bytes);
        status = vlog_read(reader, &values->pointers[i], slice_make(key, sizeof key), 0, got, values->value_bytes);
        bench->row->wrong += memcmp(got, wanted, values->value_bytes) != 0;
        bench->row->verified += values->value_bytes;
    }
    vlog_reader_unref(reader);
    return status;
}

static enum nokv_status segment_measure(struct lab_bench *bench, unsigned index, struct lab_sample *out_sample)
{
    char path[LAB_PATH_SIZE];
    uint64_t count = bulk_bytes(bench->lab) / BULK_VALUE;
    struct lab_values *values CLEANUP(mem_free_ptr) = mem_zalloc(lab_values_bytes(count));
    if (!values)
        return FAIL(NO_MEMORY, "iolab: pointers");
    *values = (struct lab_values){.seed = bench->lab->seed + index, .value_bytes = BULK_VALUE, .count = count};
    lab_path(bench->lab, "bulk", path);
    struct lab_usage from = lab_usage_now(bench->io);
    TRY(lab_segment_build(bench->lab, bench->io, "bulk", (enum io_model)bench->row->contenders[index].model, values));
    *out_sample = lab_usage_sample(bench->io, &from, count, count * BULK_VALUE, NULL);
    TRY(segment_check(bench, path, values));
    return io_unlink(bench->io, path);
}

static enum nokv_status bulk_task(struct lab *lab, struct io *io, void *arg)
{
    struct lab_row *row = arg;
    struct lab_bench bench = {.lab = lab, .io = io, .row = row};
    bench.measure = row->choice == LAB_BACKGROUND_IO ? table_measure : segment_measure;
    return lab_rounds_run(&bench);
}

static enum nokv_status bulk_row(struct lab *lab, enum lab_choice choice, const char *label)
{
    struct lab_row *row = lab_row_add(lab, 1, LAB_MB_S, choice, "file written at one go", label);
    lab_row_note(row, "%lu MiB, with the last sync; read back and verified", bulk_bytes(lab) >> 20);
    (void)lab_contender_add(lab, row, IO_STD, "std", "standard I/O");
    (void)lab_contender_add(lab, row, IO_DIRECT, "direct", "O_DIRECT");
    (void)lab_contender_add(lab, row, IO_URING, "uring", "io_uring");
    const struct lab_task task = {.run = bulk_task, .arg = row, .row = row};
    TRY(lab_child_run(lab, &task));
    if (choice == LAB_BACKGROUND_IO)
        row->choice = LAB_NO_CHOICE; /* how fast is not why its default adapts: the rows of part 4 speak for it */
    lab_progress_row(lab, row);
    return NOKV_OK;
}

enum nokv_status lab_bulk(struct lab *lab)
{
    TRY(bulk_row(lab, LAB_BACKGROUND_IO, "a table"));
    return bulk_row(lab, LAB_VLOG_WRITE, "values 64 KiB");
}
