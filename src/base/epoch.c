// SPDX-License-Identifier: Apache-2.0
/*
 * Epoch-based reclamation (Fraser, "Practical lock-freedom", 2004) in plain C11 atomics, so that ThreadSanitizer sees
 * every edge: it cannot see through fences or the inline assembly of liburcu.
 *
 * [I1] epoch_global only grows. retire increments it after the object was unlinked; the node carries the value before.
 * [I2] A reader that entered with an epoch > node->epoch loaded epoch_global after that increment (acquire), hence
 *      after the unlinking store: it cannot reach the object.
 * [I3] So a node may run when every slot is outside (0) or entered with an epoch > node->epoch.
 * [I4] A reader between its load of epoch_global and its store to the slot looks outside. Its later loads of shared
 *      pointers follow its seq_cst store; reclaim's scan (seq_cst) that missed that store precedes it in the single
 *      total order, and the unlinking store (seq_cst) precedes the scan: the reader sees the object unlinked.
 *
 * Retiring is rare (a few times a second), so the list, the scan and the registry share one mutex. The functions run
 * outside of it, because they may retire more; on any thread that reclaims, that of another database too. So whoever
 * drains waits for those that run as well.
 */
#include "base/epoch.h"

#include "base/alloc.h"
#include "base/thread.h"

enum { SLOTS_PER_CHUNK = 64 };

struct slot_chunk {
    struct epoch_slot slots[SLOTS_PER_CHUNK];
    struct slot_chunk *next;
};

_Thread_local struct epoch_slot *epoch_thread_slot;
_Atomic uint64_t epoch_global = 1;

static struct mutex registry_mu = {PTHREAD_MUTEX_INITIALIZER};
/* protected by registry_mu; chunks are never freed: their number is that of the most threads at one time */
static struct slot_chunk first_chunk;
static struct slot_chunk *last_chunk = &first_chunk;
static struct epoch_node *waiting; /* newest first */
/* atomic: read without the mutex, as a hint; relaxed */
static _Atomic size_t waiting_count;
static _Atomic size_t running_count; /* taken off the list, not yet through */
static _Atomic size_t expected_count;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

static void thread_exits(void *arg)
{
    struct epoch_slot *slot = arg;
    mutex_lock(&registry_mu);
    atomic_store_explicit(&slot->entered, 0, memory_order_release);
    slot->used = false;
    mutex_unlock(&registry_mu);
    epoch_thread_slot = NULL;
}

static void exit_key_create(void)
{
    ASSERT(pthread_key_create(&exit_key, thread_exits) == 0);
}

static struct epoch_slot *slot_take_locked(void)
{
    uint32_t index = 0;
    for (struct slot_chunk *c = &first_chunk; c; c = c->next) {
        for (size_t i = 0; i < SLOTS_PER_CHUNK; i++, index++) {
            if (c->slots[i].used)
                continue;
            c->slots[i].used = true;
            c->slots[i].index = index;
            return &c->slots[i];
        }
    }
    struct slot_chunk *chunk = mem_alloc_aligned(CACHE_LINE, sizeof *chunk);
    if (chunk == NULL)
        return NULL;
    memset(chunk, 0, sizeof *chunk);
    last_chunk->next = chunk;
    last_chunk = chunk;
    chunk->slots[0].used = true;
    chunk->slots[0].index = index;
    return &chunk->slots[0];
}

enum nokv_status epoch_register_slow(void)
{
    ASSERT(pthread_once(&exit_once, exit_key_create) == 0);
    mutex_lock(&registry_mu);
    struct epoch_slot *slot = slot_take_locked();
    mutex_unlock(&registry_mu);
    if (slot == NULL)
        return FAIL(NO_MEMORY, "no memory to register a thread as a reader");
    epoch_thread_slot = slot;
    int rc = pthread_setspecific(exit_key, slot);
    if (rc != 0) {
        thread_exits(slot);
        return FAIL_ERRNO(rc, "could not register a thread as a reader");
    }
    return NOKV_OK;
}

/* The oldest epoch that a reader is inside of; UINT64_MAX when all are outside. */
static uint64_t oldest_reader_locked(void)
{
    uint64_t oldest = UINT64_MAX;
    for (struct slot_chunk *c = &first_chunk; c; c = c->next) {
        for (size_t i = 0; i < SLOTS_PER_CHUNK; i++) {
            uint64_t e = atomic_load_explicit(&c->slots[i].entered, memory_order_seq_cst);
            if (e != 0 && e < oldest)
                oldest = e;
        }
    }
    return oldest;
}

/* Wraps around: a difference may be added. */
static size_t count_add(_Atomic size_t *count, size_t delta)
{
    return atomic_fetch_add_explicit(count, delta, memory_order_relaxed) + delta;
}

static size_t count_of(const _Atomic size_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

/* Returns what it has taken off the list and run. */
static size_t reclaim_once(size_t *out_left)
{
    struct epoch_node *due = NULL;
    size_t due_count = 0;
    mutex_lock(&registry_mu);
    uint64_t oldest = waiting ? oldest_reader_locked() : 0;
    for (struct epoch_node **link = &waiting; *link;) {
        struct epoch_node *node = *link;
        if (node->epoch < oldest) {
            *link = node->next;
            node->next = due;
            due = node;
            due_count++;
        } else {
            link = &node->next;
        }
    }
    *out_left = count_add(&running_count, due_count) + count_add(&waiting_count, -due_count);
    mutex_unlock(&registry_mu);
    if (due == NULL)
        return 0;
    while (due) {
        struct epoch_node *node = due;
        due = node->next;
        node->fn(node);
    }
    mutex_lock(&registry_mu);
    *out_left = count_add(&running_count, -due_count) + count_of(&waiting_count);
    mutex_unlock(&registry_mu);
    return due_count;
}

size_t epoch_reclaim(void)
{
    size_t left;
    while (reclaim_once(&left) != 0 && left != 0)
        ;
    return left;
}

bool epoch_has_waiting(void)
{
    return count_of(&waiting_count) != 0 || count_of(&running_count) != 0 || count_of(&expected_count) != 0;
}

void epoch_retire(struct epoch_node *node, void (*fn)(struct epoch_node *node))
{
    ASSERT(fn != NULL);
    node->fn = fn;
    mutex_lock(&registry_mu);
    node->epoch = atomic_fetch_add_explicit(&epoch_global, 1, memory_order_seq_cst);
    node->next = waiting;
    waiting = node;
    (void)count_add(&waiting_count, 1);
    mutex_unlock(&registry_mu);
}

void epoch_expect(void)
{
    (void)count_add(&expected_count, 1);
}

void epoch_expect_no_more(void)
{
    (void)count_add(&expected_count, (size_t)-1);
}

void epoch_drain(void)
{
    /* Readers' sections are short: yielding is enough, and a running retire function may add nodes. */
    while (epoch_reclaim() != 0)
        thread_yield();
}
