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
 * Failure: what cannot be read is met again by whoever needs it.
 */
#include "db/db.h"

enum { WARM_SHARE = 4, FIT_SHARE = 3 }; /* a quarter, a third of the memory */

void warm_note_locked(struct nokv_db *db)
{
    uint64_t bytes = 0;
    for (size_t l = 0; l < LEVELS_MAX; l++)
        bytes += db->version->levels[l].bytes;
    atomic_store_explicit(&db->tables_fit, bytes <= db->memory_bytes / FIT_SHARE, memory_order_relaxed);
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
    view_unref(v);
}
