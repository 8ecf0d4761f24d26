// SPDX-License-Identifier: Apache-2.0
/*
 * residency_rows.h - what is in the page cache, as rows: one per component of the database, or one per file.
 */
#ifndef NOKV_CLI_RESIDENCY_ROWS_H
#define NOKV_CLI_RESIDENCY_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nokv/nokv.h>

/* A stretch of a row's bytes, and how many of them are resident. */
struct span {
    uint64_t bytes, resident;
};

struct row {
    char name[48];         /* "L1 data"; a file's name; unique in the picture */
    const char *component; /* "wal", "buffers", "manifest", "sst", "vlog"; static */
    const char *part;      /* of tables: "data", "filter", "index"; NULL: all of it; static */
    int level;             /* of tables; -1: none */
    uint64_t files, bytes, resident;
    bool is_unknown;    /* the kernel did not tell of every file */
    struct span *spans; /* the row's bytes in order, files one after the other */
    size_t span_count, span_capacity;
};

/* Zeroed is empty. */
struct picture {
    bool by_file; /* set before it is taken */
    struct row *rows;
    size_t count, capacity;
    struct row total; /* without spans */
    uint64_t damaged; /* tables whose regions are not known: all of them counts as data */
};

/* Look at the database in `path`. On a failure too: picture_deinit. */
nokv_status picture_take(const char *path, struct picture *picture);
void picture_deinit(struct picture *picture);
/* The row of that name, or NULL; `hint` is the index where it probably is. */
const struct row *picture_find(const struct picture *picture, const char *name, size_t hint);

/* 0 only for nothing and 100 only for all of it: 1 to 99 between them. */
unsigned share_percent(double part, double whole);
/* The row's bytes in `count` cells of equal size: the percentage of each that is resident. */
void row_cells(const struct row *row, size_t count, unsigned char *out_percents);

#endif
