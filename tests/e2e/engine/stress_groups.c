// SPDX-License-Identifier: Apache-2.0
/*
 * Writers and readers of groups of keys.
 *
 * A writer owns groups of three keys and writes a group as one batch: three values with one counter that only grows, or
 * three deletes. So at any snapshot, in any iterator, in any multi_get: a group is there as a whole with one counter,
 * or not at all. Each value says whose it is and fills its length with a function of its counter. What a reader sees of
 * one group in the present never goes back to a lower counter.
 */
#include "stress.h"

void key_make(unsigned writer, unsigned group, unsigned part, char key[16])
{
    snprintf(key, 16, "w%02u/%05u/%u", writer % 100, group % 100000, part % 10);
}

static size_t value_make(uint64_t counter, unsigned part, uint8_t value[VALUE_MAX])
{
    size_t size = 16 + (counter * 37 + part * 101) % (VALUE_MAX - 16);
    memset(value, (int)(counter * 7 + part), size);
    memcpy(value, &counter, sizeof counter);
    memcpy(value + 8, &size, sizeof size);
    return size;
}

/* The counter of a sound value; 0 for any other. */
static uint64_t value_counter(const void *data, size_t size, unsigned part)
{
    uint8_t wanted[VALUE_MAX];
    uint64_t counter = 0;
    if (size < 16)
        return 0;
    memcpy(&counter, data, sizeof counter);
    return value_make(counter, part, wanted) == size && memcmp(wanted, data, size) == 0 ? counter : 0;
}

/* ---- writing -------------------------------------------------------------------------------------------------------
 */

static void group_write(struct task *t, nokv_batch *batch, unsigned group, uint64_t counter, bool is_delete)
{
    char key[16];
    uint8_t value[VALUE_MAX];
    nokv_write_options options = {.struct_size = sizeof options,
                                  .sync = draw(t, 200) == 0 ? NOKV_SYNC_COMMIT : NOKV_SYNC_NONE};
    CALL(t, nokv_batch_clear)(batch);
    for (unsigned part = 0; part < PARTS; part++) {
        key_make(t->index, group, part, key);
        size_t size = value_make(counter, part, value);
        nokv_status status = is_delete ? CALL(t, nokv_batch_delete)(batch, key, KEY_SIZE)
                                       : CALL(t, nokv_batch_put)(batch, key, KEY_SIZE, value, size);
        EXPECT(status == NOKV_OK, t->index, group);
    }
    EXPECT(CALL(t, nokv_batch_count)(batch) == PARTS, t->index, group);
    EXPECT(CALL(t, nokv_write)(stress_db, batch, &options) == NOKV_OK, t->index, group);
    t->last[t->index][group] = is_delete ? 0 : counter;
}

void writer_step(struct task *t)
{
    nokv_batch *batch = NULL;
    char own[16];
    EXPECT(CALL(t, nokv_batch_create)(&batch) == NOKV_OK, t->index, 0);
    if (batch == NULL)
        return;
    group_write(t, batch, (unsigned)draw(t, GROUPS), t->done + 1, draw(t, 6) == 0);
    CALL(t, nokv_batch_destroy)(batch);
    snprintf(own, sizeof own, "x%u/%u", t->index, (unsigned)draw(t, 50));
    nokv_status status = draw(t, 4) ? CALL(t, nokv_put)(stress_db, own, strlen(own), own, strlen(own), NULL)
                                    : CALL(t, nokv_delete)(stress_db, own, strlen(own), NULL);
    EXPECT(status == NOKV_OK, t->index, 0);
}

/* ---- reading -------------------------------------------------------------------------------------------------------
 */

uint64_t group_read(struct task *t, unsigned writer, unsigned group, const nokv_snapshot *snapshot)
{
    nokv_read_options options = {.struct_size = sizeof options, .snapshot = snapshot};
    uint64_t counters[PARTS] = {0};
    char text[PARTS][16];
    nokv_slice keys[PARTS];
    nokv_value values[PARTS] = {0};
    nokv_status statuses[PARTS];
    for (unsigned part = 0; part < PARTS; part++) {
        key_make(writer, group, part, text[part]);
        keys[part] = (nokv_slice){.data = text[part], .size = KEY_SIZE};
        if (group % 2 == 0)
            statuses[part] = CALL(t, nokv_get)(stress_db, text[part], KEY_SIZE, &options, &values[part]);
    }
    if (group % 2 != 0)
        EXPECT(CALL(t, nokv_multi_get)(stress_db, PARTS, keys, &options, values, statuses) == NOKV_OK, writer, group);
    for (unsigned part = 0; part < PARTS; part++) {
        EXPECT(statuses[part] == NOKV_OK || statuses[part] == NOKV_ERR_NOT_FOUND, writer, group);
        if (statuses[part] != NOKV_OK)
            continue;
        counters[part] = value_counter(values[part].data, values[part].size, part);
        EXPECT(counters[part] != 0, writer, group);
        CALL(t, nokv_value_release)(&values[part]);
    }
    EXPECT(counters[0] == counters[1] && counters[1] == counters[2], writer, group);
    return counters[0];
}

/* It is not older than what this thread has seen of the group. */
static void present_check(struct task *t, unsigned writer, unsigned group, uint64_t counter)
{
    EXPECT(counter != 0 && counter >= t->last[writer][group], writer, group);
    t->last[writer][group] = counter;
}

/* Gets in the present; some values are held for a while, and must still be sound when they are let go. */
void reader_step(struct task *t)
{
    unsigned writer = (unsigned)draw(t, WRITERS), group = (unsigned)draw(t, GROUPS), part = (unsigned)draw(t, PARTS);
    size_t slot = draw(t, HELD);
    char key[16];
    nokv_value value = {0};
    key_make(writer, group, part, key);
    nokv_status status = CALL(t, nokv_get)(stress_db, key, KEY_SIZE, NULL, &value);
    EXPECT(status == NOKV_OK || status == NOKV_ERR_NOT_FOUND, writer, group);
    if (status != NOKV_OK)
        return;
    present_check(t, writer, group, value_counter(value.data, value.size, part));
    if (t->held[slot].data)
        EXPECT(value_counter(t->held[slot].data, t->held[slot].size, t->held_part[slot]) != 0, writer, group);
    CALL(t, nokv_value_release)(&t->held[slot]);
    t->held[slot] = value;
    t->held_part[slot] = part;
}

void held_release_all(struct task *t)
{
    for (size_t slot = 0; slot < HELD; slot++)
        nokv_value_release(&t->held[slot]);
}

/* A value copied as a whole, then in two pieces, which may be of different versions but are sound each. */
void copier_step(struct task *t)
{
    unsigned writer = (unsigned)draw(t, WRITERS), group = (unsigned)draw(t, GROUPS), part = (unsigned)draw(t, PARTS);
    char key[16];
    uint8_t copy[VALUE_MAX], piece[VALUE_MAX];
    size_t size = 0, piece_size = 0, off = draw(t, 16);
    uint64_t whole = 0;
    key_make(writer, group, part, key);
    nokv_status status = CALL(t, nokv_get_copy)(stress_db, key, KEY_SIZE, NULL, copy, sizeof copy, &size);
    EXPECT(status == NOKV_OK || status == NOKV_ERR_NOT_FOUND, writer, group);
    if (status == NOKV_OK)
        present_check(t, writer, group, value_counter(copy, size, part));
    status = CALL(t, nokv_get_range)(stress_db, key, KEY_SIZE, NULL, off, piece, sizeof piece, &piece_size, &whole);
    EXPECT(status == NOKV_OK || status == NOKV_ERR_NOT_FOUND, writer, group);
    if (status == NOKV_OK)
        EXPECT(whole >= 16 && piece_size == whole - off, writer, group);
    if (status == NOKV_OK && off <= 8) { /* the size, which the value says itself */
        size_t said = 0;
        memcpy(&said, piece + (8 - off), sizeof said);
        EXPECT(said == whole, writer, group);
    }
}

/* A snapshot shows a group the same way as often as one looks. */
void snapshot_step(struct task *t)
{
    const nokv_snapshot *snapshot = NULL;
    uint64_t first[8];
    unsigned from = (unsigned)draw(t, GROUPS - 8), writer = (unsigned)draw(t, WRITERS);
    EXPECT(CALL(t, nokv_snapshot_create)(stress_db, &snapshot) == NOKV_OK, writer, from);
    for (unsigned g = 0; g < 8; g++)
        first[g] = group_read(t, writer, from + g, snapshot);
    for (unsigned g = 0; g < 8; g++)
        EXPECT(group_read(t, writer, from + g, snapshot) == first[g], writer, from + g);
    CALL(t, nokv_snapshot_release)(stress_db, snapshot);
}

/* ---- walking -------------------------------------------------------------------------------------------------------
 */

struct walk {
    struct task *t;
    uint64_t counter;
    unsigned writer, group, parts;
    char last_key[KEY_SIZE + 1];
    bool is_backward;
};

/* The group that was walked through must have been complete. */
static void walk_leave_group(struct walk *w)
{
    EXPECT(w->parts == 0 || w->parts == PARTS, w->writer, w->group);
    w->parts = 0;
}

static void walk_entry(struct walk *w, nokv_iter *it)
{
    nokv_slice key = CALL(w->t, nokv_iter_key)(it);
    size_t size = CALL(w->t, nokv_iter_value_size)(it);
    nokv_slice value = CALL(w->t, nokv_iter_value)(it);
    unsigned writer = 0, group = 0, part = 0;
    char text[KEY_SIZE + 1] = {0};
    if (key.size != KEY_SIZE) {
        fail_because("a key that nobody wrote", 0, 0);
        return;
    }
    memcpy(text, key.data, KEY_SIZE);
    EXPECT(sscanf(text, "w%2u/%5u/%1u", &writer, &group, &part) == 3, writer, group);
    int order = w->last_key[0] ? memcmp(text, w->last_key, KEY_SIZE) : w->is_backward ? -1 : 1;
    EXPECT(w->is_backward ? order < 0 : order > 0, writer, group);
    memcpy(w->last_key, text, KEY_SIZE);
    if (w->parts > 0 && (writer != w->writer || group != w->group))
        walk_leave_group(w);
    uint64_t counter = value.size == size ? value_counter(value.data, value.size, part) : 0;
    EXPECT(counter != 0 && (w->parts == 0 || counter == w->counter), writer, group);
    w->counter = counter;
    w->writer = writer;
    w->group = group;
    w->parts++;
}

static void walk_on(struct walk *w, nokv_iter *it, uint64_t entries_max)
{
    while (CALL(w->t, nokv_iter_valid)(it) && entries_max-- > 0) {
        walk_entry(w, it);
        w->is_backward ? CALL(w->t, nokv_iter_prev)(it) : CALL(w->t, nokv_iter_next)(it);
    }
    EXPECT(CALL(w->t, nokv_iter_status)(it) == NOKV_OK, w->writer, w->group);
}

/* Whole walks in either direction over one writer's groups, while they change. */
void walker_step(struct task *t)
{
    struct walk w = {.t = t, .is_backward = draw(t, 2) == 0};
    nokv_iter *it = NULL;
    char prefix[8];
    snprintf(prefix, sizeof prefix, "w%02u/", (unsigned)draw(t, WRITERS));
    nokv_iter_options options = {.struct_size = sizeof options, .prefix = {prefix, 4}};
    EXPECT(CALL(t, nokv_iter_create)(stress_db, &options, &it) == NOKV_OK, 0, 0);
    if (it == NULL)
        return;
    w.is_backward ? CALL(t, nokv_iter_last)(it) : CALL(t, nokv_iter_first)(it);
    walk_on(&w, it, UINT64_MAX);
    walk_leave_group(&w);
    CALL(t, nokv_iter_destroy)(it);
}

/* Between two bounds that lie between groups, at a snapshot or not: jump to the edge of a group, and go either way. */
void seeker_step(struct task *t)
{
    unsigned writer = (unsigned)draw(t, WRITERS), low = (unsigned)draw(t, GROUPS - 20);
    char lower[16], upper[16], target[16];
    const nokv_snapshot *snapshot = NULL;
    nokv_iter *it = NULL;
    key_make(writer, low, 0, lower);
    key_make(writer, low + 20, 0, upper);
    if (draw(t, 2) == 0)
        EXPECT(CALL(t, nokv_snapshot_create)(stress_db, &snapshot) == NOKV_OK, writer, low);
    nokv_iter_options options = {
        .struct_size = sizeof options, .snapshot = snapshot, .lower = {lower, KEY_SIZE}, .upper = {upper, KEY_SIZE}};
    EXPECT(CALL(t, nokv_iter_create)(stress_db, &options, &it) == NOKV_OK, writer, low);
    for (int jump = 0; it && jump < 6; jump++) {
        struct walk w = {.t = t, .is_backward = jump % 2 != 0, .writer = writer, .group = low};
        key_make(writer, low + (unsigned)draw(t, 20), w.is_backward ? PARTS : 0, target);
        w.is_backward ? CALL(t, nokv_iter_seek_for_prev)(it, target, KEY_SIZE)
                      : CALL(t, nokv_iter_seek)(it, target, KEY_SIZE);
        walk_on(&w, it, 2 * PARTS);
        walk_leave_group(&w);
        EXPECT(w.last_key[0] == 0 ||
                   (memcmp(w.last_key, lower, KEY_SIZE) >= 0 && memcmp(w.last_key, upper, KEY_SIZE) < 0),
               writer, low);
    }
    CALL(t, nokv_iter_destroy)(it);
    CALL(t, nokv_snapshot_release)(stress_db, snapshot);
}
