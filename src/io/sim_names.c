// SPDX-License-Identifier: Apache-2.0
/*
 * Directories of the simulated disk: the names as they are now, the names that are durable, and in between an ordered
 * list of pending operations.
 *
 * A sync of a directory carries its pending operations over into the durable names. A power cut carries over a random
 * prefix of them and then the durable names are the names. A rename within a directory is one operation; one between
 * two directories leaves a half in each, and whoever carries over one half carries over the other first.
 *
 * [I1] The list is in the order of seq.
 * [I2] `durable` has capacity for its entries and every pending operation, so that carrying over never allocates.
 *
 * A path is a name below the one root, absolute or not; ".." is not known. Directories are searched linearly: a
 * database has some hundred files, and a string comparison is cheaper than keeping an index through clones and cuts.
 */
#include <errno.h>

#include "base/alloc.h"
#include "io/sim_disk.h"

/* ---- paths ---------------------------------------------------------------------------------------------------- */

struct component {
    const char *name;
    size_t size;
};

/* The next component at *path, which moves behind it; its size is 0 at the end. */
static struct component path_next(const char **path)
{
    struct component c = {.name = *path};
    do {
        c.name += c.size;
        c.name += strspn(c.name, "/");
        c.size = strcspn(c.name, "/");
    } while (c.size == 1 && c.name[0] == '.');
    *path = c.name + c.size;
    return c;
}

static struct sim_entry *entries_find(const struct sim_entries *entries, const char *name, size_t size)
{
    for (size_t i = 0; i < entries->count; i++) {
        const char *other = entries->items[i].name;
        if (strncmp(other, name, size) == 0 && other[size] == '\0')
            return &entries->items[i];
    }
    return NULL;
}

static struct sim_entry *entries_find_name(const struct sim_entries *entries, const char *name)
{
    return entries_find(entries, name, strlen(name));
}

/* Where `path` leads: its directory, the last component (size 0: the root itself) and the entry, NULL when absent. */
struct place {
    struct sim_node *dir;
    struct component last;
    struct sim_entry *entry;
};

static int path_resolve(struct sim *s, const char *path, struct place *out)
{
    struct sim_node *dir = s->root;
    struct component c = path_next(&path);
    for (;;) {
        struct component next = path_next(&path);
        struct sim_entry *entry = c.size ? entries_find(&dir->now, c.name, c.size) : NULL;
        if (next.size == 0) {
            *out = (struct place){.dir = dir, .last = c, .entry = entry};
            return 0;
        }
        if (entry == NULL)
            return -ENOENT;
        if (!entry->node->is_dir)
            return -ENOTDIR;
        dir = entry->node;
        c = next;
    }
}

int sim_lookup(struct sim *s, const char *path, struct sim_node **out_node)
{
    struct place p;
    int rc = path_resolve(s, path, &p);
    if (rc < 0)
        return rc;
    if (p.last.size > 0 && p.entry == NULL)
        return -ENOENT;
    *out_node = p.entry ? p.entry->node : s->root;
    return 0;
}

/* ---- entries -------------------------------------------------------------------------------------------------- */

static int entries_reserve(struct sim_entries *entries, size_t count)
{
    return mem_grow(&entries->items, &entries->capacity, count, sizeof *entries->items) == NOKV_OK ? 0 : -ENOMEM;
}

/* REQUIRES: reserved. Takes `name`, counts `node`. */
/* NOLINTNEXTLINE(readability-non-const-parameter): the entry frees it. */
static void entries_add(struct sim_entries *entries, char *name, struct sim_node *node)
{
    entries->items[entries->count++] = (struct sim_entry){.name = name, .node = sim_node_ref(node)};
}

static void entries_remove(struct sim_entries *entries, struct sim_entry *entry)
{
    struct sim_entry gone = *entry;
    *entry = entries->items[--entries->count];
    mem_free(gone.name);
    sim_node_unref(gone.node);
}

static void entries_deinit(struct sim_entries *entries)
{
    while (entries->count > 0)
        entries_remove(entries, &entries->items[entries->count - 1]);
    mem_free(entries->items);
    *entries = (struct sim_entries){0};
}

static char *component_dup(struct component c)
{
    char *name = mem_alloc(c.size + 1);
    if (name) {
        memcpy(name, c.name, c.size);
        name[c.size] = '\0';
    }
    return name;
}

/* ---- pending operations --------------------------------------------------------------------------------------- */

static void op_deinit(struct sim_name_op *op)
{
    mem_free(op->from);
    mem_free(op->name);
    sim_node_unref(op->node);
    sim_node_unref(op->partner);
}

/* Room for one more of them in `dir` [I2]. */
static int pending_reserve(struct sim_node *dir)
{
    if (mem_grow(&dir->pending, &dir->pending_capacity, dir->pending_count + 1, sizeof *dir->pending) != NOKV_OK)
        return -ENOMEM;
    return entries_reserve(&dir->durable, dir->durable.count + dir->pending_count + 1);
}

/* REQUIRES: reserved. Takes the strings, counts the nodes. */
static void pending_add(struct sim_node *dir, struct sim_name_op op)
{
    if (op.node)
        sim_node_ref(op.node);
    if (op.partner)
        sim_node_ref(op.partner);
    dir->pending[dir->pending_count++] = op;
}

static void op_apply(struct sim_node *dir, struct sim_name_op *op)
{
    struct sim_entry *gone = op->from ? entries_find_name(&dir->durable, op->from) : NULL;
    if (gone)
        entries_remove(&dir->durable, gone);
    if (op->name == NULL)
        return;
    struct sim_entry *replaced = entries_find_name(&dir->durable, op->name);
    if (replaced)
        entries_remove(&dir->durable, replaced);
    entries_add(&dir->durable, TAKE(op->name), op->node);
}

/* Carry over the operations up to and including `seq`. */
static void pending_commit(struct sim_node *dir, uint64_t seq)
{
    size_t count = 0;
    while (count < dir->pending_count && dir->pending[count].seq <= seq)
        count++;
    if (count == 0)
        return;
    /* out of the list before a partner looks at it again */
    struct sim_name_op *ops = dir->pending;
    size_t left = dir->pending_count - count;
    struct sim_name_op *rest = NULL;
    if (left > 0) {
        rest = mem_alloc(left * sizeof *rest);
        ASSERT(rest != NULL); /* a tool of tests: there is nobody to tell */
        memcpy(rest, ops + count, left * sizeof *rest);
    }
    dir->pending = rest;
    dir->pending_count = dir->pending_capacity = left;
    for (size_t i = 0; i < count; i++) {
        if (ops[i].partner)
            pending_commit(ops[i].partner, ops[i].seq);
        op_apply(dir, &ops[i]);
        op_deinit(&ops[i]);
    }
    mem_free(ops);
}

void sim_dir_sync(struct sim_node *dir)
{
    pending_commit(dir, UINT64_MAX);
}

static uint64_t cut_seq(const struct sim_node *dir, uint64_t *random)
{
    uint64_t choice = sim_draw(random) % 4;
    if (choice == 0)
        return 0;
    size_t index = choice == 1 ? dir->pending_count - 1 : sim_draw(random) % dir->pending_count;
    return dir->pending[index].seq;
}

void sim_names_power_cut(struct sim_node *first, uint64_t *random)
{
    for (struct sim_node *n = first; n != NULL; n = n->next) {
        if (n->pending_count > 0)
            pending_commit(n, cut_seq(n, random));
    }
}

static void pending_clear(struct sim_node *dir)
{
    for (size_t i = 0; i < dir->pending_count; i++)
        op_deinit(&dir->pending[i]);
    mem_free(dir->pending);
    dir->pending = NULL;
    dir->pending_count = dir->pending_capacity = 0;
}

void sim_dir_revert(struct sim_node *dir)
{
    pending_clear(dir);
    entries_deinit(&dir->now);
    ASSERT(entries_reserve(&dir->now, dir->durable.count) == 0); /* a tool of tests: there is nobody to tell */
    for (size_t i = 0; i < dir->durable.count; i++) {
        char *name = mem_strdup(dir->durable.items[i].name);
        ASSERT(name != NULL);
        entries_add(&dir->now, name, dir->durable.items[i].node);
        dir->durable.items[i].node->links++;
    }
}

void sim_dir_clear(struct sim_node *dir)
{
    pending_clear(dir);
    entries_deinit(&dir->now);
    entries_deinit(&dir->durable);
}

/* ---- operations ----------------------------------------------------------------------------------------------- */

int sim_name_create(struct sim *s, const char *path, bool is_dir, struct sim_node **out_node)
{
    struct place p;
    int rc = path_resolve(s, path, &p);
    if (rc < 0)
        return rc;
    if (p.entry != NULL || p.last.size == 0)
        return -EEXIST;
    char *name CLEANUP(mem_free_ptr) = component_dup(p.last);
    char *again CLEANUP(mem_free_ptr) = component_dup(p.last);
    if (name == NULL || again == NULL || pending_reserve(p.dir) < 0 ||
        entries_reserve(&p.dir->now, p.dir->now.count + 1) < 0)
        return -ENOMEM;
    struct sim_node *node = sim_node_create(is_dir);
    if (node == NULL)
        return -ENOMEM;
    entries_add(&p.dir->now, TAKE(name), node);
    pending_add(p.dir, (struct sim_name_op){.seq = ++s->name_seq, .name = TAKE(again), .node = node});
    node->links = 1;
    sim_node_unref(node); /* the entries hold it now */
    *out_node = node;
    return 0;
}

/* Let the entry's node go from the names of now. */
static void unlink_entry(struct sim *s, struct sim_node *dir, struct sim_entry *entry)
{
    ASSERT(entry != NULL);
    struct sim_node *node = sim_node_ref(entry->node);
    entries_remove(&dir->now, entry);
    node->links--;
    sim_node_released(s, node);
    sim_node_unref(node);
}

static int remove_check(const struct sim_entry *entry, bool is_dir)
{
    if (entry == NULL)
        return -ENOENT;
    if (entry->node->is_dir != is_dir)
        return is_dir ? -ENOTDIR : -EISDIR;
    return entry->node->now.count > 0 ? -ENOTEMPTY : 0;
}

int sim_name_remove(struct sim *s, const char *path, bool is_dir)
{
    struct place p;
    int rc = path_resolve(s, path, &p);
    if (rc == 0)
        rc = p.last.size ? remove_check(p.entry, is_dir) : -EBUSY;
    if (rc < 0)
        return rc;
    char *from CLEANUP(mem_free_ptr) = component_dup(p.last);
    if (from == NULL || pending_reserve(p.dir) < 0)
        return -ENOMEM;
    pending_add(p.dir, (struct sim_name_op){.seq = ++s->name_seq, .from = TAKE(from)});
    unlink_entry(s, p.dir, p.entry);
    return 0;
}

static int rename_check(const struct place *from, const struct place *to)
{
    if (from->last.size == 0 || to->last.size == 0)
        return -EBUSY;
    if (from->entry == NULL)
        return -ENOENT;
    if (to->entry == NULL || to->entry->node == from->entry->node)
        return 0;
    if (to->entry->node->is_dir)
        return !from->entry->node->is_dir ? -EISDIR : to->entry->node->now.count > 0 ? -ENOTEMPTY : 0;
    return from->entry->node->is_dir ? -ENOTDIR : 0;
}

static void rename_apply(struct sim *s, struct place *from, struct place *to, char *name)
{
    struct sim_node *node = sim_node_ref(from->entry->node);
    struct component old = from->last;
    if (to->entry)
        unlink_entry(s, to->dir, to->entry);
    entries_add(&to->dir->now, name, node);
    node->links++; /* before the old name goes: it is never without one */
    unlink_entry(s, from->dir, entries_find(&from->dir->now, old.name, old.size));
    sim_node_unref(node);
}

static void rename_record(struct sim *s, const struct place *from, const struct place *to, char *old, char *name)
{
    struct sim_node *node = from->entry->node;
    uint64_t seq = ++s->name_seq;
    if (from->dir == to->dir) {
        pending_add(to->dir, (struct sim_name_op){.seq = seq, .from = old, .name = name, .node = node});
        return;
    }
    pending_add(to->dir, (struct sim_name_op){.seq = seq, .name = name, .node = node, .partner = from->dir});
    pending_add(from->dir, (struct sim_name_op){.seq = seq, .from = old, .partner = to->dir});
}

int sim_name_rename(struct sim *s, const char *from_path, const char *to_path)
{
    struct place from, to;
    int rc = path_resolve(s, from_path, &from);
    if (rc == 0)
        rc = path_resolve(s, to_path, &to);
    if (rc == 0)
        rc = rename_check(&from, &to);
    if (rc < 0)
        return rc;
    ASSERT(from.entry != NULL);
    if (to.entry && to.entry->node == from.entry->node)
        return 0;
    char *old CLEANUP(mem_free_ptr) = component_dup(from.last);
    char *name CLEANUP(mem_free_ptr) = component_dup(to.last);
    char *again CLEANUP(mem_free_ptr) = component_dup(to.last);
    if (old == NULL || name == NULL || again == NULL || pending_reserve(from.dir) < 0 || pending_reserve(to.dir) < 0 ||
        entries_reserve(&to.dir->now, to.dir->now.count + 1) < 0)
        return -ENOMEM;
    /* the reservation may have moved the entries */
    from.entry = entries_find(&from.dir->now, from.last.name, from.last.size);
    to.entry = entries_find(&to.dir->now, to.last.name, to.last.size);
    rename_record(s, &from, &to, TAKE(old), TAKE(again));
    rename_apply(s, &from, &to, TAKE(name));
    return 0;
}

/* ---- clones --------------------------------------------------------------------------------------------------- */

static int entries_copy(const struct sim_entries *from, struct sim_entries *to, size_t capacity)
{
    if (entries_reserve(to, capacity) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < from->count; i++) {
        char *name = mem_strdup(from->items[i].name);
        if (name == NULL)
            return -ENOMEM;
        entries_add(to, name, from->items[i].node->twin);
    }
    return 0;
}

static int op_copy(const struct sim_name_op *from, struct sim_node *to)
{
    char *old CLEANUP(mem_free_ptr) = from->from ? mem_strdup(from->from) : NULL;
    char *name CLEANUP(mem_free_ptr) = from->name ? mem_strdup(from->name) : NULL;
    if ((from->from && old == NULL) || (from->name && name == NULL))
        return -ENOMEM;
    pending_add(to, (struct sim_name_op){.seq = from->seq,
                                         .from = TAKE(old),
                                         .name = TAKE(name),
                                         .node = from->node ? from->node->twin : NULL,
                                         .partner = from->partner ? from->partner->twin : NULL});
    return 0;
}

int sim_dir_copy(const struct sim_node *from, struct sim_node *to)
{
    if (entries_copy(&from->now, &to->now, from->now.count) < 0 ||
        entries_copy(&from->durable, &to->durable, from->durable.count + from->pending_count) < 0 ||
        mem_grow(&to->pending, &to->pending_capacity, from->pending_count, sizeof *to->pending) != NOKV_OK)
        return -ENOMEM;
    for (size_t i = 0; i < from->pending_count; i++) {
        if (op_copy(&from->pending[i], to) < 0)
            return -ENOMEM;
    }
    return 0;
}
