// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_kill.c - what a database is like after the process that wrote it was killed.
 *
 * Timed is the open, with whatever recovery the engine does, and the first get. Then, untimed, all that is there is
 * compared with all that must be there, entry by entry. An engine that does not promise to keep what was acknowledged
 * without sync may have lost keys, or have older versions of them: those count as missing, and are no error.
 */
#include <string.h>

#include "nokv_bench_workload.h"

uint64_t kill_reopen(struct run *run)
{
    char key[DATA_KEY_SIZE];
    struct bytes value;
    struct bench_rng rng = {run->data.seed};
    uint64_t count = model_count(&run->model);
    data_key(model_nth(&run->model, bench_rng_below(&rng, count ? count : 1)), true, key);
    run->db = run->engine->open(&run->config);
    void *session = run->engine->session_begin(run->db);
    if (run->engine->get(session, (struct bytes){key, sizeof key}, &value)) /* kill_check() looks at what came back */
        run->engine->get_done(session);
    run->engine->session_end(session);
    return 0;
}

static void lost(struct worker *w)
{
    w->missing++;
    w->wrong += w->engine->survives_kill;
}

/* Key `index` came back with `value`. */
static void value_check(struct worker *w, uint64_t index, struct bytes value)
{
    uint64_t version = model_version(&w->run->model, index);
    w->found++;
    if (data_value_ok(&w->run->data, index, version, value))
        return;
    if (version > 1 && data_value_version(&w->run->data, index, 1, version - 1, value))
        lost(w);
    else
        w->wrong++;
}

/* The scan stands on a key that must not be there: one whose delete was lost, or one that never was. */
static void surplus_check(struct worker *w)
{
    struct bytes key;
    w->engine->key(w->session, &key);
    if (data_key_index(key) < w->run->model.keys)
        lost(w);
    else
        w->wrong++;
}

void kill_check(struct worker *w)
{
    const struct model *model = &w->run->model;
    char first[DATA_KEY_SIZE];
    uint64_t index = model_at_or_after(model, 0);
    data_key(0, true, first);
    bool valid = w->engine->seek(w->session, (struct bytes){first, sizeof first});
    while (valid || index != MODEL_NONE) {
        struct bytes key, value;
        char expected[DATA_KEY_SIZE];
        int order = valid ? -1 : 1; /* of what came back against what must be there */
        if (valid && index != MODEL_NONE) {
            data_key(index, true, expected);
            w->engine->entry(w->session, &key, &value);
            order = key.size == sizeof expected ? memcmp(key.data, expected, sizeof expected) : -1;
        }
        if (order == 0)
            value_check(w, index, value);
        else if (order < 0)
            surplus_check(w);
        else
            lost(w);
        if (order <= 0)
            valid = w->engine->next(w->session);
        if (order >= 0)
            index = model_at_or_after(model, index + 1);
    }
    w->engine->scan_done(w->session);
}
