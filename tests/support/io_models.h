// SPDX-License-Identifier: Apache-2.0
/*
 * tests/support/io_models.h - every combination of component and I/O model that nokv_open() accepts, by number.
 *
 * A table per component: who allows one more model adds it here, and the tests that go through all combinations have
 * it.
 */
#ifndef TESTS_SUPPORT_IO_MODELS_H
#define TESTS_SUPPORT_IO_MODELS_H

#include "nokv/nokv.h"
#include "test.h"

static const nokv_io_model io_models_sst_read[] = {NOKV_IO_DEFAULT, NOKV_IO_MMAP, NOKV_IO_STD, NOKV_IO_DIRECT,
                                                   NOKV_IO_URING};
static const nokv_io_model io_models_wal_write[] = {NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING};
static const nokv_io_model io_models_background_io[] = {NOKV_IO_DEFAULT, NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING};
static const nokv_vlog_read io_models_vlog_read[] = {NOKV_VLOG_READ_AUTO, NOKV_VLOG_READ_MMAP, NOKV_VLOG_READ_PREAD,
                                                     NOKV_VLOG_READ_DIRECT, NOKV_VLOG_READ_URING};
static const nokv_io_model io_models_vlog_write[] = {NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING};

enum {
    IO_MODELS_COUNT = ARRAY_COUNT(io_models_sst_read) * ARRAY_COUNT(io_models_wal_write) *
                      ARRAY_COUNT(io_models_background_io) * ARRAY_COUNT(io_models_vlog_read) *
                      ARRAY_COUNT(io_models_vlog_write)
};

/* The models of combination `index`, below IO_MODELS_COUNT. Neighbours differ in how tables are read. */
static inline void io_models_set(nokv_options *o, size_t index)
{
    o->sst_read = io_models_sst_read[index % ARRAY_COUNT(io_models_sst_read)];
    index /= ARRAY_COUNT(io_models_sst_read);
    o->wal_write = io_models_wal_write[index % ARRAY_COUNT(io_models_wal_write)];
    index /= ARRAY_COUNT(io_models_wal_write);
    o->background_io = io_models_background_io[index % ARRAY_COUNT(io_models_background_io)];
    index /= ARRAY_COUNT(io_models_background_io);
    o->vlog_read = io_models_vlog_read[index % ARRAY_COUNT(io_models_vlog_read)];
    index /= ARRAY_COUNT(io_models_vlog_read);
    o->vlog_write = io_models_vlog_write[index % ARRAY_COUNT(io_models_vlog_write)];
}

/* For messages; valid until the next call on this thread. */
static inline const char *io_models_text(const nokv_options *o)
{
    static _Thread_local char text[160];
    static const char *const models[] = {"default", "std", "mmap", "direct", "uring"};
    static const char *const values[] = {"auto", "mmap", "pread", "direct", "uring"};
    snprintf(text, sizeof text, "sst_read %s, wal_write %s, background_io %s, vlog_read %s, vlog_write %s",
             models[o->sst_read], models[o->wal_write], models[o->background_io], values[o->vlog_read],
             models[o->vlog_write]);
    return text;
}

#endif
