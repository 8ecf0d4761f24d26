// SPDX-License-Identifier: Apache-2.0
/*
 * sst/sst.h - sorted string tables: building one, reading one in place. docs/formats/sst.md is the format.
 *
 * A table is immutable once finished. Regions, each beginning on a 4 KiB boundary: header page, data blocks, filter,
 * index, properties, footer (the last 4 KiB). Blocks are read in place: a block says its checksum, size, codec and
 * count, then one fingerprint byte per entry (the point-read hash index), entry offsets, entries.
 */
#ifndef SST_SST_H
#define SST_SST_H

#include "base/buf.h"
#include "base/pin.h"
#include "cache/cache.h"
#include "io/io.h"
#include "iter/iter.h"

/* What the filter and the fingerprints are made from; computed once per get. */
static inline uint64_t sst_key_hash(struct slice user_key);

struct sst_options {
    uint32_t block_bytes;         /* target; a multiple of 4096 */
    uint32_t filter_bits_per_key; /* 0: no filter */
};

/* What the MANIFEST needs to know of a finished table. Keys are owned by whoever holds the struct. */
struct sst_info {
    uint64_t file_bytes;
    uint64_t entries;
    uint64_t tombstones;
    uint64_t seq_min, seq_max;
    uint64_t raw_bytes; /* keys + values */
};

/* ---- builder (one thread) -------------------------------------------------------------------------------------- */

struct sst_builder;

/* Writes to path + ".tmp" in `component`'s name with `model` (IO_STD, IO_DIRECT, IO_URING). */
enum nokv_status sst_builder_create(struct io *io, const char *path, enum io_component component, enum io_model model,
                                    uint64_t file_number, const struct sst_options *options,
                                    struct sst_builder **out_builder) MUST_CHECK;
/* REQUIRES: key above the last one. Copies. After an error only abandon is allowed. */
enum nokv_status sst_builder_add(struct sst_builder *b, struct ikey key, struct slice value) MUST_CHECK;
/* Size that the file would have if it were finished now. */
uint64_t sst_builder_bytes(const struct sst_builder *b);
uint64_t sst_builder_count(const struct sst_builder *b);
/* The first and last key so far; borrowed until the next add. REQUIRES: count > 0. */
struct ikey sst_builder_first_key(const struct sst_builder *b);
struct ikey sst_builder_last_key(const struct sst_builder *b);
/* Write the rest, sync, rename to path. The directory is the caller's to sync. REQUIRES: count > 0. The builder is
 * still to be destroyed. */
enum nokv_status sst_builder_finish(struct sst_builder *b, struct sst_info *out_info) MUST_CHECK;
/* Without a finish before it: removes the temporary file (abandon). NULL is accepted. */
void sst_builder_destroy(struct sst_builder *b);

/* ---- reader (any number of threads) ---------------------------------------------------------------------------- */

struct sst_reader;

/*
 * How blocks are read: in place, through a mapping; or, `is_copied`, filter and index are read into memory when the
 * table is opened, and blocks into the cache when they are asked for. Zeroed: in place.
 */
struct sst_access {
    bool is_copied;
    enum io_model model; /* of what is copied: IO_STD, IO_DIRECT, IO_URING */
    struct cache *cache; /* outlives the reader; names its blocks by the table's number. In place: NULL, or for
                            sst_reader_get_cold */
    /* NULL, or outlives the reader; read relaxed: all tables have room in memory, so a mapped one that is not there yet
     * is brought in around what is asked for, not block by block */
    const _Atomic bool *read_around;
    /* NULL, or as above: sst_reader_get_cold may copy all there is, since every table together has room in the cache */
    const _Atomic bool *cache_takes_all;
    /* NULL, or as above: a mapped table is brought in by pages of 2 MiB; sst_reader_note_huge() when it changes */
    const _Atomic bool *huge_pages;
    bool small_pages; /* a mapped table has pages of 4 KiB, however the page cache keeps it */
};

/*
 * Opens, checks header, footer and size against `file_bytes` (0: whatever it has) and maps the file; reads no more.
 * Filter, index and each block are verified on first use, once per open file. CORRUPT, NOT_SUPPORTED, NOT_FOUND, IO.
 * One reference is the caller's. The advice of the data region is set to random.
 */
enum nokv_status sst_reader_open(struct io *io, const char *path, uint64_t file_number, uint64_t file_bytes,
                                 struct sst_reader **out_reader) MUST_CHECK;
/* The same, read as `access` says. One that copies verifies filter and index now, and each block when it is read. */
enum nokv_status sst_reader_open_with(struct io *io, const char *path, uint64_t file_number, uint64_t file_bytes,
                                      const struct sst_access *access, struct sst_reader **out_reader) MUST_CHECK;
/* Filter and index into memory, verified, if they are not yet: what the first lookup would do. */
enum nokv_status sst_reader_warm(struct sst_reader *r) MUST_CHECK;
/* What access.huge_pages points to may have changed. One thread at a time. */
void sst_reader_note_huge(struct sst_reader *r);
/* Begin to bring all of a mapped table in, without waiting; in pages of 2 MiB: and wait for it. */
void sst_reader_populate(struct sst_reader *r);
uint64_t sst_reader_warm_bytes(const struct sst_reader *r); /* of filter and index */
/* Does it copy, so that lookups have a holder and iterators must_release? */
bool sst_reader_is_copied(const struct sst_reader *r);
void sst_reader_ref(struct sst_reader *r);
/* After the last one it is unmapped by an epoch_reclaim(), once no pin is left; `r` may live on as long as pins do.
 * NULL is accepted. */
void sst_reader_unref(struct sst_reader *r);
void sst_reader_pin(struct sst_reader *r);
void sst_reader_unpin(struct sst_reader *r);

/*
 * The newest version of `user_key` with sequence <= seq; `hash` is sst_key_hash(user_key). In place: no allocation, no
 * system call on hot pages. CORRUPT names file and offset; a SIGBUS inside becomes IO (the call guards itself). A
 * reader that copies answers with a holder, and NO_MEMORY is possible.
 */
enum nokv_status sst_reader_get(struct sst_reader *r, struct slice user_key, uint64_t hash, uint64_t seq,
                                struct lookup *out_lookup) MUST_CHECK;
/* The same for one that is mapped and has a cache, with the block copied into it: for tables that are not in memory.
 * Answers with a holder; in place where memory or file handles are short. */
enum nokv_status sst_reader_get_cold(struct sst_reader *r, struct slice user_key, uint64_t hash, uint64_t seq,
                                     struct lookup *out_lookup) MUST_CHECK;
/* Touch the filter line that a get will need, ahead of time. */
void sst_reader_prefetch(const struct sst_reader *r, uint64_t hash);

/*
 * Many keys at once, each in the tables that may have it: what one key waits for, memory or the disk, goes on while the
 * others are looked at.
 *
 *      NEXT ──plan──► BLOCK ──look──► FOUND, ABSENT, or NEXT again: in the table behind
 *        └──────────► ABSENT, ASK ◄──────┘
 */
enum sst_probe_state {
    SST_PROBE_NEXT,   /* to be planned, from readers[at] on */
    SST_PROBE_BLOCK,  /* readers[at] may hold it, in one block, which was asked of the memory */
    SST_PROBE_FOUND,  /* in readers[at]: `lookup` */
    SST_PROBE_ABSENT, /* none of the readers holds it */
    SST_PROBE_ASK,    /* not decided here, the block was not verified yet, or something is wrong: sst_reader_get() */
};

struct sst_probe {
    /* set by the caller */
    struct slice user_key;
    uint64_t hash, seq;
    struct sst_reader *const *readers; /* newest first; kept by the caller */
    uint32_t reader_count;
    /* begin with 0, NEXT and NULL */
    uint32_t at;
    enum sst_probe_state state;
    struct cache_block *held; /* a BLOCK of a table that copies: a reference, until it was looked at */
    /* of a BLOCK */
    uint64_t block, off, size;
    struct lookup lookup; /* as that of sst_reader_get() */
};

/* By filter and index: those in NEXT get to BLOCK, ABSENT or ASK, or stay in NEXT with another table. Guards itself. */
void sst_probes_plan(struct sst_probe *probes, size_t count);
/* Bring the blocks of those in BLOCK. Mapped ones that are not in the page cache: begin to read them, without waiting,
 * `only_new`: asking only about those that nobody has read yet, for which alone it costs no system call to know that
 * they may be cold. Those of tables that copy: read all that the cache does not have, together. */
void sst_probes_fetch(struct sst_probe *probes, size_t count, bool only_new, struct io_hints *hints);
/* In the blocks: those in BLOCK get to FOUND, NEXT, ABSENT or ASK. Guards itself. REQUIRES: they were fetched. */
void sst_probes_look(struct sst_probe *probes, size_t count);

/* Reads in place through the mapping, or copies; holds a reference. Guards itself against SIGBUS. */
enum nokv_status sst_iter_create(struct sst_reader *r, struct iter **out_iter) MUST_CHECK;
/*
 * For flush and compaction: forward only (first, seek, next), read with `model` in windows through the component's own
 * file handle, kept out of the page cache where possible. key and value are valid until the next move only.
 */
enum nokv_status sst_scan_create(struct sst_reader *r, enum io_component component, enum io_model model,
                                 struct iter **out_iter) MUST_CHECK;

const struct sst_info *sst_reader_info(const struct sst_reader *r);
uint64_t sst_reader_number(const struct sst_reader *r);
/* Smallest and largest key; borrowed from the reader (copied out of the properties at open). */
struct ikey sst_reader_smallest(const struct sst_reader *r);
struct ikey sst_reader_largest(const struct sst_reader *r);
/* Approximate file offset at which `user_key` would stand: for splitting a range into parts of equal size. */
uint64_t sst_reader_approximate_offset(struct sst_reader *r, struct slice user_key);
/* Append the i-th of `count` keys to `out` that cut the table into parts of equal size: where a block begins, the
 * separator in front of it. For boundaries of sub-compactions. */
enum nokv_status sst_reader_sample_key(struct sst_reader *r, size_t index, size_t count, struct buf *out) MUST_CHECK;
/* Is [p, p + size) inside this table's mapping? */
bool sst_reader_contains(const struct sst_reader *r, const void *p, size_t size);
/* Has a page of it not been readable since it was opened? */
bool sst_reader_is_faulted(const struct sst_reader *r);
uint64_t sst_reader_resident_bytes(struct sst_reader *r);

/* Where the regions of a table lie in its file, in whole pages; the header is the first page, the footer the last. */
struct sst_extents {
    struct {
        uint64_t off, size;
    } data, filter, index, properties; /* size 0: there is none */
};
/* Reads one page of the table `file`, the footer, and nothing else of it. CORRUPT, NOT_SUPPORTED, IO, NO_MEMORY. */
enum nokv_status sst_extents_read(struct io_file *file, struct sst_extents *out_extents) MUST_CHECK;

struct sst_verify_report {
    uint64_t blocks, entries, bytes;
};
/* Read it through: all checksums, order, fingerprints, filter (no false negative), index, counts in the properties. */
enum nokv_status sst_reader_verify(struct sst_reader *r, struct sst_verify_report *out_report) MUST_CHECK;

/* Print the file for people, a line at a time; false from `line` stops. Damage is a line, and CORRUPT at the end. */
enum nokv_status sst_dump(struct io *io, const char *path, bool (*line)(void *arg, const char *text),
                          void *arg) MUST_CHECK;

#include "base/hash.h"

static inline uint64_t sst_key_hash(struct slice user_key)
{
    return hash64(user_key.data, user_key.size);
}

#endif
