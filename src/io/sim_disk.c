// SPDX-License-Identifier: Apache-2.0
/*
 * The simulated disk as a whole: its life from creation through power cuts to its end, clones, space and damage.
 *
 * A power cut first decides which pending name operations happened, then makes the durable names the names, then
 * decides the content of every file that still has one. Nodes that no durable name leads to are gone with their last
 * reference.
 *
 * To do something with every node, they are strung together once (each is marked, so it is in the list once): names
 * now, durable names and pending operations may lead to different ones. All of it is linear in names and bytes.
 *
 * Failure: this is a tool of tests, and the functions without a status assert that there is memory.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "io/sim_disk.h"

/* splitmix64 (Steele, Lea, Flood 2014). */
uint64_t sim_draw(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* ---- all nodes ------------------------------------------------------------------------------------------------ */

struct nodes {
    struct sim_node *first;
    struct sim_node *last;
};

static void nodes_add(struct nodes *all, struct sim_node *node)
{
    if (node == NULL || node->is_marked)
        return;
    node->is_marked = true;
    sim_node_ref(node);
    if (all->last)
        all->last->next = node;
    else
        all->first = node;
    all->last = node;
}

static void nodes_add_entries(struct nodes *all, const struct sim_entries *entries)
{
    for (size_t i = 0; i < entries->count; i++)
        nodes_add(all, entries->items[i].node);
}

/* Every node that the disk knows, each with a reference, the root first; the list runs through the nodes. */
static struct nodes nodes_collect(const struct sim *s)
{
    struct nodes all = {0};
    nodes_add(&all, s->root);
    for (struct sim_node *n = all.first; n != NULL; n = n->next) {
        nodes_add_entries(&all, &n->now);
        nodes_add_entries(&all, &n->durable);
        for (size_t i = 0; i < n->pending_count; i++) {
            nodes_add(&all, n->pending[i].node);
            nodes_add(&all, n->pending[i].partner);
        }
    }
    return all;
}

static void nodes_release(struct nodes *all)
{
    for (struct sim_node *n = all->first, *next; n != NULL; n = next) {
        next = n->next;
        n->next = NULL;
        n->is_marked = false;
        sim_node_unref(n);
    }
}

/* ---- space ---------------------------------------------------------------------------------------------------- */

void sim_charge(struct sim *s, struct sim_node *n, uint64_t end, uint64_t *out_end)
{
    uint64_t wanted = align_up(end, SIM_SECTOR);
    *out_end = end;
    if (wanted <= n->charged)
        return;
    uint64_t more = wanted - n->charged, free_bytes = s->capacity > s->used ? s->capacity - s->used : 0;
    if (s->capacity != 0 && more > free_bytes) {
        more = free_bytes & ~(uint64_t)(SIM_SECTOR - 1);
        *out_end = u64_min(end, n->charged + more);
    }
    n->charged += more;
    s->used += more;
}

void sim_uncharge(struct sim *s, struct sim_node *n, uint64_t size)
{
    uint64_t wanted = align_up(size, SIM_SECTOR);
    if (wanted >= n->charged)
        return;
    s->used -= n->charged - wanted;
    n->charged = wanted;
}

void sim_node_released(struct sim *s, struct sim_node *n)
{
    if (n->links == 0 && n->opens == 0)
        sim_uncharge(s, n, 0);
}

static void recharge(struct sim *s, const struct nodes *all)
{
    s->used = 0;
    for (struct sim_node *n = all->first; n != NULL; n = n->next) {
        n->charged = n->links > 0 ? align_up(n->size, SIM_SECTOR) : 0;
        s->used += n->charged;
    }
}

/* ---- life ----------------------------------------------------------------------------------------------------- */

static struct sim *sim_alloc(const struct sim_options *options)
{
    struct sim *s = mem_zalloc(sizeof *s);
    if (s == NULL)
        return NULL;
    s->root = sim_node_create(true);
    if (s->root == NULL) {
        mem_free(s);
        return NULL;
    }
    mutex_init(&s->mu);
    s->options = *options;
    s->root->links = 1;
    s->crash_at = UINT64_MAX;
    s->memory = (struct io_memory){SIM_MEMORY_BYTES, SIM_MEMORY_BYTES, "machine"};
    return s;
}

enum nokv_status sim_create(const struct sim_options *options, struct sim **out_sim)
{
    struct sim *s = sim_alloc(options);
    if (s == NULL)
        return FAIL(NO_MEMORY, "could not create a simulated disk");
    s->options.step_ns = options->step_ns ? options->step_ns : 1000;
    s->capacity = options->capacity_bytes;
    s->random = options->seed;
    s->workload_random = ~options->seed;
    *out_sim = s;
    return NOKV_OK;
}

void sim_destroy(struct sim *s)
{
    if (s == NULL)
        return;
    ASSERT(s->ios == 0 && s->locks == NULL);
    struct nodes all = nodes_collect(s);
    for (struct sim_node *n = all.first; n != NULL; n = n->next)
        sim_dir_clear(n); /* directories may hold each other through pending renames */
    sim_node_unref(s->root);
    nodes_release(&all);
    mutex_deinit(&s->mu);
    mem_free(s);
}

uint64_t sim_steps(const struct sim *sim)
{
    struct sim *s = (struct sim *)(uintptr_t)sim; /* the mutex is not part of what is constant */
    mutex_lock(&s->mu);
    uint64_t steps = s->steps;
    mutex_unlock(&s->mu);
    return steps;
}

void sim_crash_after(struct sim *s, uint64_t steps)
{
    mutex_lock(&s->mu);
    s->crash_at = steps > UINT64_MAX - s->steps ? UINT64_MAX : s->steps + steps;
    mutex_unlock(&s->mu);
}

bool sim_is_crashed(const struct sim *sim)
{
    struct sim *s = (struct sim *)(uintptr_t)sim;
    mutex_lock(&s->mu);
    bool is_crashed = s->is_crashed;
    mutex_unlock(&s->mu);
    return is_crashed;
}

static void power_on(struct sim *s)
{
    ASSERT(s->ios == 0 && s->locks == NULL);
    s->is_crashed = false;
    s->crash_at = UINT64_MAX;
}

void sim_process_kill(struct sim *s)
{
    mutex_lock(&s->mu);
    power_on(s);
    mutex_unlock(&s->mu);
}

void sim_power_cut(struct sim *s)
{
    mutex_lock(&s->mu);
    power_on(s);
    struct nodes all = nodes_collect(s);
    sim_names_power_cut(all.first, &s->random);
    for (struct sim_node *n = all.first; n != NULL; n = n->next)
        n->links = 0;
    s->root->links = 1;
    for (struct sim_node *n = all.first; n != NULL; n = n->next) {
        sim_dir_revert(n);
        sim_node_power_cut(n, &s->random);
    }
    recharge(s, &all);
    nodes_release(&all);
    mutex_unlock(&s->mu);
}

/* ---- planned failures ----------------------------------------------------------------------------------------- */

void sim_fail(struct sim *s, enum io_op op, enum io_component component, uint64_t k, int err, bool sticky)
{
    ASSERT(k > 0 && err > 0);
    mutex_lock(&s->mu);
    s->plan = (struct sim_plan){
        .is_set = true, .is_sticky = sticky, .op = op, .component = component, .countdown = k, .err = err};
    mutex_unlock(&s->mu);
}

bool sim_fail_clear(struct sim *s)
{
    mutex_lock(&s->mu);
    bool has_failed = s->plan.has_failed;
    s->plan = (struct sim_plan){0};
    mutex_unlock(&s->mu);
    return has_failed;
}

bool sim_failed(const struct sim *sim)
{
    struct sim *s = (struct sim *)(uintptr_t)sim;
    mutex_lock(&s->mu);
    bool has_failed = s->plan.has_failed;
    mutex_unlock(&s->mu);
    return has_failed;
}

uint64_t sim_failures(const struct sim *s, enum io_op op)
{
    return atomic_load_explicit(&s->failures[op], memory_order_relaxed); /* a counter */
}

void sim_set_capacity(struct sim *s, uint64_t bytes)
{
    mutex_lock(&s->mu);
    s->capacity = bytes;
    mutex_unlock(&s->mu);
}

void sim_set_memory(struct sim *s, const struct io_memory *memory)
{
    ASSERT(memory->limit_bytes <= memory->total_bytes && memory->source != NULL);
    mutex_lock(&s->mu);
    s->memory = *memory;
    mutex_unlock(&s->mu);
}

uint64_t sim_random(struct sim *s)
{
    mutex_lock(&s->mu);
    uint64_t n = sim_draw(&s->workload_random);
    mutex_unlock(&s->mu);
    return n;
}

void sim_reseed(struct sim *s, uint64_t seed)
{
    mutex_lock(&s->mu);
    s->random = seed;
    s->workload_random = ~seed;
    mutex_unlock(&s->mu);
}

enum nokv_status sim_flip_bit(struct sim *s, const char *path, uint64_t off, unsigned bit)
{
    struct sim_node *node = NULL;
    mutex_lock(&s->mu);
    int rc = sim_lookup(s, path, &node);
    if (rc == 0)
        rc = sim_node_flip(node, off, bit);
    mutex_unlock(&s->mu);
    if (rc == -EINVAL)
        return FAIL(INVALID, "%s: there is no bit %u at %llu", path, bit, (unsigned long long)off);
    return rc < 0 ? FAIL_ERRNO(-rc, "%s: could not flip a bit", path) : NOKV_OK;
}

/* ---- listing -------------------------------------------------------------------------------------------------- */

struct listed {
    char *path;
    uint64_t size;
};

struct listing {
    struct listed *items;
    size_t count;
    size_t capacity;
};

static void listing_add(struct listing *all, const char *path, uint64_t size)
{
    ASSERT(mem_grow(&all->items, &all->capacity, all->count + 1, sizeof *all->items) == NOKV_OK);
    char *copy = mem_strdup(path);
    ASSERT(copy != NULL);
    all->items[all->count++] = (struct listed){.path = copy, .size = size};
}

/* Depth first; `path` is `used` bytes of a buffer in which the names below are appended. */
static void listing_walk(struct listing *all, const struct sim_node *dir, struct buf *path)
{
    for (size_t i = 0; i < dir->now.count; i++) {
        const struct sim_entry *e = &dir->now.items[i];
        size_t used = path->size;
        ASSERT(used == 0 || buf_append(path, "/", 1) == NOKV_OK);
        ASSERT(buf_append(path, e->name, strlen(e->name) + 1) == NOKV_OK);
        path->size--; /* the zero is not part of the path */
        if (e->node->is_dir)
            listing_walk(all, e->node, path);
        else
            listing_add(all, (const char *)path->data, e->node->size);
        path->size = used;
    }
}

static int listed_compare(const void *a, const void *b)
{
    return strcmp(((const struct listed *)a)->path, ((const struct listed *)b)->path);
}

void sim_each_file(struct sim *s, bool (*fn)(void *arg, const char *path, uint64_t size), void *arg)
{
    struct listing all = {0};
    struct buf path CLEANUP(buf_deinit) = {0};
    mutex_lock(&s->mu);
    listing_walk(&all, s->root, &path);
    mutex_unlock(&s->mu);
    if (all.count > 0)
        qsort(all.items, all.count, sizeof *all.items, listed_compare);
    bool more = true;
    for (size_t i = 0; i < all.count; i++) {
        more = more && fn(arg, all.items[i].path, all.items[i].size);
        mem_free(all.items[i].path);
    }
    mem_free(all.items);
}

/* ---- clones --------------------------------------------------------------------------------------------------- */

static int twins_create(const struct nodes *all, struct sim_node *root)
{
    for (struct sim_node *n = all->first; n != NULL; n = n->next) {
        struct sim_node *twin = n == all->first ? sim_node_ref(root) : sim_node_create(n->is_dir);
        if (twin == NULL)
            return -ENOMEM;
        n->twin = twin;
        if (sim_node_copy(n, twin) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int twins_connect(const struct nodes *all)
{
    for (struct sim_node *n = all->first; n != NULL; n = n->next) {
        if (sim_dir_copy(n, n->twin) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* A process that still ran on the original holds nothing of the copy: files without a name give their space back. */
static void twins_recharge(struct sim *copy, const struct nodes *all)
{
    copy->used = 0;
    for (struct sim_node *n = all->first; n != NULL; n = n->next) {
        if (n->twin->links == 0)
            n->twin->charged = 0;
        copy->used += n->twin->charged;
    }
}

static void twins_release(const struct nodes *all)
{
    for (struct sim_node *n = all->first; n != NULL; n = n->next)
        sim_node_unref(TAKE(n->twin)); /* held by its names now, or not needed */
}

static int clone_nodes(const struct sim *s, struct sim *copy)
{
    struct nodes all = nodes_collect(s);
    int rc = twins_create(&all, copy->root);
    if (rc == 0)
        rc = twins_connect(&all);
    if (rc == 0 && s->ios > 0)
        twins_recharge(copy, &all);
    twins_release(&all);
    nodes_release(&all);
    return rc;
}

static void copy_state(const struct sim *s, struct sim *copy)
{
    copy->random = s->random;
    copy->workload_random = s->workload_random;
    copy->steps = s->steps;
    copy->crash_at = s->crash_at;
    copy->is_crashed = s->is_crashed;
    copy->capacity = s->capacity;
    copy->used = s->used;
    copy->name_seq = s->name_seq;
    copy->plan = s->plan;
    copy->memory = s->memory;
    /* relaxed: a clock of tests, read by whoever looks */
    atomic_init(&copy->clock_ns, atomic_load_explicit(&s->clock_ns, memory_order_relaxed));
}

enum nokv_status sim_clone(const struct sim *sim, struct sim **out_sim)
{
    struct sim *s = (struct sim *)(uintptr_t)sim;
    struct sim *copy = sim_alloc(&s->options);
    if (copy == NULL)
        return FAIL(NO_MEMORY, "could not clone a simulated disk");
    mutex_lock(&s->mu);
    copy_state(s, copy);
    int rc = clone_nodes(s, copy);
    mutex_unlock(&s->mu);
    if (rc < 0) {
        sim_destroy(copy);
        return FAIL(NO_MEMORY, "could not clone a simulated disk");
    }
    *out_sim = copy;
    return NOKV_OK;
}
