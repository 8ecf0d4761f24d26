// SPDX-License-Identifier: Apache-2.0
/*
 * What is to be in memory before it is asked for, and what is worth bringing in.
 *
 * Every lookup in a table goes through its filter and its index, and the first one would wait for both, some MiB per
 * table. So a background thread reads and verifies them after the open, from the top of the tree down, until they take
 * WARM_SHARE of the memory that this process may use: more than that would only push out what was brought in before.
 *
 * Data blocks come when they are asked for. Where all tables together are small against the memory, what is around a
 * block comes with it (sst/reader.c): they will all be wanted and all have room, and a few hundred reads of 256 KiB
 * bring a GiB in that would take a quarter of a million reads of a block. So it is with large values, of which the
 * tables only have the pointers. Where they are large, each read-ahead would push out something that is wanted as much.
 *
 * With the option huge_pages that is left to the page faults, each of which brings in 2 MiB in one page. The kernel is
 * told so for each table, and the opposite as soon as the tables have no room any more.
 *
 * What flushes and compactions write goes past the page cache when memory is short: through it, it would push out what
 * readers use, and where a container's limit is near they would wait for its pages to be written back (a get's 99th
 * percentile during a compaction is hundreds of times worse: docs/io-models.md). But a table that takes the place of
 * one that was in memory, or comes fresh from a flush, will be read at once: it is brought in before it is installed.
 *
 * Failure: what cannot be read is met again by whoever needs it.
 */
#include "db/db.h"

/* Parts of the memory: a quarter, a third, an eighth; of the block cache an eighth is left for what blocks cost. */
enum { WARM_SHARE = 4, FIT_SHARE = 3, PLENTY_SHARE = 8, ROOM_SHARE = 8 };

static void fact_set(_Atomic bool *fact, bool is)
{
    atomic_store_explicit(fact, is, memory_order_relaxed);
}

/* Each time anew: a table may have been opened just before the fact changed, and is in the tree only now. */
static void huge_note_locked(struct nokv_db *db, bool fit)
{
    if (db->options.huge_pages != NOKV_HUGE_PAGES_ON)
        return;
    fact_set(&db->huge_pages, fit);
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < db->version->levels[l].count; i++)
            sst_reader_note_huge(db->version->levels[l].tables[i]->reader);
}

void warm_note_locked(struct nokv_db *db)
{
    uint64_t tables = 0, values = 0;
    for (size_t l = 0; l < LEVELS_MAX; l++)
        tables += db->version->levels[l].bytes;
    for (size_t i = 0; i < db->segment_count; i++)
        values += segment_bytes_locked(db->segments[i]);
    fact_set(&db->tables_fit, tables <= db->memory_bytes / FIT_SHARE);
    fact_set(&db->values_fit, values <= db->memory_bytes / FIT_SHARE);
    fact_set(&db->cache_takes_all, tables <= db->options.block_cache_bytes / ROOM_SHARE * (ROOM_SHARE - 1) &&
                                       values > db->memory_bytes / FIT_SHARE);
    huge_note_locked(db, tables <= db->memory_bytes / FIT_SHARE);
    fact_set(&db->is_plentiful, tables + values <= db->memory_bytes / PLENTY_SHARE);
}

static bool is_plentiful(const struct nokv_db *db)
{
    return atomic_load_explicit(&db->is_plentiful, memory_order_relaxed);
}

enum io_model warm_write_model(const struct nokv_db *db)
{
    if (db->options.background_io != NOKV_IO_DEFAULT)
        return (enum io_model)(db->options.background_io - NOKV_IO_STD);
    return is_plentiful(db) ? IO_STD : IO_DIRECT;
}

/* Only where it will matter: the outputs go past the page cache, and there is room to bring them in. */
static bool is_worth_bringing_in(const struct nokv_db *db)
{
    return db->options.background_io == NOKV_IO_DEFAULT && !is_plentiful(db) &&
           atomic_load_explicit(&db->tables_fit, memory_order_relaxed);
}

bool warm_are_hot(const struct nokv_db *db, const struct compaction_inputs *in)
{
    uint64_t bytes = 0, resident = 0;
    if (!is_worth_bringing_in(db))
        return false;
    for (size_t l = 0; l < LEVELS_MAX; l++)
        for (size_t i = 0; i < in->counts[l]; i++) {
            uint64_t r = sst_reader_resident_bytes(in->tables[l][i]->reader);
            bytes += in->tables[l][i]->desc.file_bytes;
            resident += r == UINT64_MAX ? 0 : r;
        }
    return resident >= bytes / 2;
}

void warm_outputs(const struct nokv_db *db, const struct compaction_job *run, bool are_hot)
{
    if (!are_hot || !is_worth_bringing_in(db))
        return;
    for (size_t i = 0; i < run->output_count; i++)
        sst_reader_populate(run->outputs[i]->reader);
}

static bool tables_warm(struct nokv_db *db, const struct level *level, uint64_t *left)
{
    for (size_t i = 0; i < level->count; i++) {
        struct sst_reader *r = level->tables[i]->reader;
        uint64_t bytes = sst_reader_warm_bytes(r);
        if (bytes > *left || atomic_load_explicit(&db->cancel, memory_order_relaxed))
            return false;
        *left -= bytes;
        enum nokv_status status = sst_reader_warm(r);
        (void)status; /* nobody has asked yet */
    }
    return true;
}

void warm_run(struct nokv_db *db)
{
    uint64_t left = db->memory_bytes / WARM_SHARE;
    if (epoch_register() != NOKV_OK)
        return;
    struct view *v = db_view_acquire(db);
    for (size_t l = 0; l < LEVELS_MAX && tables_warm(db, &v->version->levels[l], &left); l++)
        continue;
    db_view_release(db, v);
}
