// SPDX-License-Identifier: Apache-2.0
/* Options under which everything happens often: see options.h. */
#include "options.h"

#include "test.h"

/* All three homes of a value, segments that are soon full, and a collector that is never content. */
static void values_draw(nokv_options *o, uint64_t *r)
{
    static const nokv_io_model models[] = {NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING};
    o->value_separation_min = test_random(r) % 8 == 0 ? UINT32_MAX : 64 + (uint32_t)(test_random(r) % 800);
    o->value_direct_min = o->value_separation_min;
    if (o->value_direct_min != UINT32_MAX)
        o->value_direct_min =
            test_random(r) % 6 == 0 ? UINT32_MAX : o->value_direct_min + (uint32_t)(test_random(r) % 3000);
    o->vlog_segment_bytes = 64 << 10;
    o->vlog_space_amp_max = 1.05 + (double)(test_random(r) % 4) / 10;
    o->vlog_write = models[test_random(r) % 3];
    o->vlog_read = (nokv_vlog_read)(test_random(r) % 5);
}

void crash_options_draw(nokv_options *o, uint64_t seed)
{
    uint64_t r = seed;
    nokv_options_init(o);
    o->inline_background_work = true;
    o->memtable_bytes = 64 << 10;
    o->wal_buffer_bytes = 64 << 10;
    o->table_bytes = 64 << 10;
    o->level_base_bytes = 64 << 10;
    o->level_ratio = 2 + (uint32_t)(test_random(&r) % 3);
    o->l0_compact_files = 2 + (uint32_t)(test_random(&r) % 2);
    o->l0_busy_files = o->l0_compact_files;
    o->filter_bits_per_key = test_random(&r) % 4 == 0 ? UINT32_MAX : 10;
    o->background_io = test_random(&r) % 4 == 0 ? NOKV_IO_URING : NOKV_IO_STD;
    static const nokv_io_model wal_models[] = {NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING};
    o->wal_write = wal_models[test_random(&r) % 3];
    static const nokv_io_model table_models[] = {NOKV_IO_MMAP, NOKV_IO_STD, NOKV_IO_DIRECT, NOKV_IO_URING};
    values_draw(o, &r);
    o->sst_read = table_models[test_random(&r) % 4];
    o->block_cache_bytes = 64 << 10;
}
