// SPDX-License-Identifier: Apache-2.0
/* What memtable.c and its iterator share. Included by no other module. */
#ifndef MEM_MEMTABLE_INTERNAL_H
#define MEM_MEMTABLE_INTERNAL_H

#include "mem/mem.h"
#include "mem/node.h"

struct memtable {
    struct pinned_object pinned;
    /* owned by the writer; two arenas, so that nodes lie close together and leaves need no padding */
    struct arena nodes;
    struct arena leaves;
    /* atomic: stored by the writer */
    _Alignas(CACHE_LINE) _Atomic uintptr_t root; /* release; 0: empty */
    _Atomic uint64_t count;                      /* relaxed: a figure */
};

/* Where the path of `key` through the tree ends. */
struct memtable_path {
    const struct leaf *leaf; /* a leaf that shares the longest prefix with `key` of all; NULL: tree is empty */
    size_t common;           /* the length of that prefix */
    bool exact;              /* the leaf's key is `key` */
};

void memtable_find_path(const struct memtable *m, struct slice key, struct memtable_path *out_path);

#endif
