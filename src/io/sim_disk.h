// SPDX-License-Identifier: Apache-2.0
/*
 * io/sim_disk.h - the insides of the simulated disk, shared by its four sources. Only src/io includes it.
 *
 *   sim_io.c     the environment: operations as the dispatcher calls them; steps, planned failures, short transfers
 *   sim_disk.c   the disk as a whole: power cut, clone, bit flips, space
 *   sim_names.c  directories: the names now, the names that are durable, and the operations in between
 *   sim_node.c   a file's bytes and the undo log that leads back to what is durable
 *
 * Everything here happens under sim.mu. Functions answer 0 or -errno; one that fails has changed nothing.
 */
#ifndef IO_SIM_DISK_H
#define IO_SIM_DISK_H

#include "base/thread.h"
#include "io/backend.h"
#include "io/sim.h"

/* Content, shared by copy-on-write between clones of a disk, and by mappings. */
struct sim_bytes {
    _Atomic uint32_t refs; /* acq_rel on release: clones may live on different threads */
    size_t capacity;
    uint8_t *data; /* zeros from the file's size on */
};

/* One change since the last sync: what stood there before. */
struct sim_undo {
    uint64_t off;
    uint64_t size;        /* bytes changed */
    uint64_t old_size;    /* so many of them are kept in undo_bytes; the others were zeros */
    uint64_t size_before; /* of the file */
    size_t old_at;
    bool is_durable; /* a write that was durable on return: its sectors are settled, there is no way back */
};

struct sim_entry {
    char *name;            /* owned */
    struct sim_node *node; /* counted */
};

struct sim_entries {
    struct sim_entry *items;
    size_t count;
    size_t capacity;
};

/* One pending operation on a directory's names: `from` goes (unless NULL), `name` leads to `node` (unless NULL). */
struct sim_name_op {
    uint64_t seq; /* the same in both halves of a rename between two directories */
    char *from;
    char *name;
    struct sim_node *node;    /* counted */
    struct sim_node *partner; /* counted; the directory with the other half */
};

/* A page whose sync failed: clean for the system, which shows what was written, and not on the medium. */
struct sim_lost {
    uint64_t page;
    uint8_t durable[PAGE_BYTES];
};

struct sim_node {
    unsigned refs;  /* entries of either kind, pending operations, handles */
    unsigned links; /* names that it has now */
    unsigned opens; /* handles and locks */
    unsigned maps;  /* mappings and shared buffers: nobody may write through a handle meanwhile */
    bool is_dir;
    struct sim_node *twin; /* its copy, while a clone is made */
    struct sim_node *next; /* while all nodes are strung together */
    bool is_marked;        /* ... it is in the list */

    /* a file */
    struct sim_bytes *bytes; /* NULL: never written */
    uint64_t size;
    uint64_t charged; /* bytes of the disk's space */
    struct sim_undo *undo;
    size_t undo_count;
    size_t undo_capacity;
    struct buf undo_bytes;
    uint8_t *shared_base; /* while a shared buffer is open: the bytes at its opening or last sync */
    struct sim_lost *lost;
    size_t lost_count;
    size_t lost_capacity;

    /* a directory */
    struct sim_entries now;
    struct sim_entries durable; /* has room for every pending operation, so that a sync cannot fail for memory */
    struct sim_name_op *pending;
    size_t pending_count;
    size_t pending_capacity;
};

struct sim_plan {
    bool is_set;
    bool is_sticky;
    bool has_failed;
    enum io_op op;
    enum io_component component;
    uint64_t countdown; /* the operation that finds 1 fails */
    int err;
};

struct sim {
    /* set at creation, then constant */
    struct sim_options options;
    /* protected by mu */
    struct mutex mu;
    struct sim_node *root;
    uint64_t random;          /* the disk's choices */
    uint64_t workload_random; /* sim_random: a stream of its own, so that neither disturbs the other */
    uint64_t steps;
    uint64_t crash_at;
    bool is_crashed;
    uint64_t capacity;
    uint64_t used;
    uint64_t name_seq;
    struct sim_plan plan;
    struct io_memory memory; /* of the machine that the disk is in */
    struct sim_lock *locks;
    unsigned ios;
    /* atomic, relaxed: read without the mutex */
    _Atomic uint64_t clock_ns;
    _Atomic uint64_t failures[IO_OP_COUNT + 1]; /* by the kind that was planned; IO_OP_COUNT: any */
};

uint64_t sim_draw(uint64_t *state);
/* True once in `n` times. */
static inline bool sim_one_in(uint64_t *state, uint64_t n)
{
    return sim_draw(state) % n == 0;
}

/* ---- sim_node.c ----------------------------------------------------------------------------------------------- */

struct sim_node *sim_node_create(bool is_dir);
static inline struct sim_node *sim_node_ref(struct sim_node *n)
{
    n->refs++;
    return n;
}
void sim_node_unref(struct sim_node *n);   /* NULL is accepted */
void sim_bytes_unref(struct sim_bytes *b); /* NULL is accepted */
int sim_node_write(struct sim_node *n, const void *data, uint64_t size, uint64_t off, bool is_durable);
int sim_node_resize(struct sim_node *n, uint64_t size);
void sim_node_sync(struct sim_node *n);
/* A failed sync: the unsynced bytes are gone, here and for good; the size stays until the power goes. */
int sim_node_drop_unsynced(struct sim_node *n);
/* The same with pages that are still shown as they were written; what is written to again gets another chance. */
int sim_node_lose_unsynced(struct sim_node *n);
/* Choose what the medium holds. */
void sim_node_power_cut(struct sim_node *n, uint64_t *random);
/* Page-aligned bytes that stay where they are while somebody holds them; counted. */
int sim_node_pin_bytes(struct sim_node *n, struct sim_bytes **out_bytes);
int sim_node_shared_begin(struct sim_node *n, uint8_t **out_data);
void sim_node_shared_end(struct sim_node *n);
int sim_node_flip(struct sim_node *n, uint64_t off, unsigned bit);
/* Content only. Shares the bytes, but for those of an open shared buffer, whose stores come without notice: `to` has
 * them as they are now, unsynced, as if it had just been closed. */
int sim_node_copy(const struct sim_node *from, struct sim_node *to);

/* ---- sim_names.c ---------------------------------------------------------------------------------------------- */

/* Borrowed. -ENOENT, -ENOTDIR. */
int sim_lookup(struct sim *s, const char *path, struct sim_node **out_node);
int sim_name_create(struct sim *s, const char *path, bool is_dir, struct sim_node **out_node);
int sim_name_rename(struct sim *s, const char *from, const char *to);
int sim_name_remove(struct sim *s, const char *path, bool is_dir);
void sim_dir_sync(struct sim_node *dir);
/* A prefix of each directory's pending operations happens. `first` begins the list of all nodes. */
void sim_names_power_cut(struct sim_node *first, uint64_t *random);
/* What is durable is what is. */
void sim_dir_revert(struct sim_node *dir);
int sim_dir_copy(const struct sim_node *from, struct sim_node *to); /* every node that it names has its twin */
void sim_dir_clear(struct sim_node *dir);

/* ---- sim_disk.c ----------------------------------------------------------------------------------------------- */

/* Room for [0, end) of the file; less in *out_end when the disk is full. */
void sim_charge(struct sim *s, struct sim_node *n, uint64_t end, uint64_t *out_end);
void sim_uncharge(struct sim *s, struct sim_node *n, uint64_t size);
/* Call when links or opens went down: a file without either gives its space back. */
void sim_node_released(struct sim *s, struct sim_node *n);

#endif
