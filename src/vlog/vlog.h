// SPDX-License-Identifier: Apache-2.0
/*
 * vlog/vlog.h - the value log: segments of values that the tree only points to. docs/formats/vlog.md is the format.
 *
 * Mechanism only: writing a segment, reading values out of one, walking one. Which values go here, how many bytes of a
 * segment are still live, when it is collected and when it may be unlinked is the database's business.
 *
 * A record is a 32-byte header, the key, the value, and one checksum per 64 KiB chunk of the value; it begins at a
 * multiple of 8 and can be read, verified and attributed without the tree. A sealed segment ends in a footer.
 */
#ifndef VLOG_VLOG_H
#define VLOG_VLOG_H

#include "base/coldness.h"
#include "base/pin.h"
#include "io/io.h"
#include "key/key.h"

enum { VLOG_POINTER_SIZE = 20, VLOG_CHUNK = 64 << 10, VLOG_MAPPED_BELOW = 4096 };

/* Where a value is; 20 bytes in the tree: u64 segment, u64 offset of its record, u32 size of the value. */
struct vlog_pointer {
    uint64_t segment;
    uint64_t off;
    uint32_t value_size;
};

void vlog_pointer_encode(const struct vlog_pointer *p, uint8_t out[VLOG_POINTER_SIZE]);
/* CORRUPT when the size is not VLOG_POINTER_SIZE or a field is out of limits. */
enum nokv_status vlog_pointer_decode(struct slice bytes, struct vlog_pointer *out_pointer) MUST_CHECK;
/* Bytes that a record takes in its segment, padding included: what live-byte counters count. */
uint64_t vlog_record_size(size_t key_size, uint64_t value_size);

/* What a segment holds; of a sealed one it stands in the footer. */
struct vlog_info {
    uint64_t records;
    uint64_t record_bytes; /* the sum of their vlog_record_size() */
    uint64_t value_bytes;
    uint64_t file_bytes;
};

/* ---- writer: any number of threads append side by side --------------------------------------------------------- */

struct vlog_writer;

/* Less than the first and a record's first and last bytes need more buffers than there are. */
enum { VLOG_BUFFER_MIN = 64 << 10, VLOG_BUFFER_MAX = 1 << 20 };
/* Bytes of one writer's shared memory: a page that says where each buffer belongs, then the buffers. */
size_t vlog_shared_bytes(uint32_t buffer_bytes);
/* A sixteenth of the segment, within the limits: small segments do not need large buffers. */
static inline uint32_t vlog_buffer_bytes(uint64_t segment_bytes)
{
    uint64_t bytes = align_up(segment_bytes / 16, PAGE_BYTES);
    return (uint32_t)u64_min(u64_max(bytes, VLOG_BUFFER_MIN), VLOG_BUFFER_MAX);
}

struct vlog_writer_options {
    struct io *io;
    const char *path;
    const char *dir; /* synced after the file was created */
    enum io_component component;
    enum io_model model;        /* IO_STD, IO_URING; IO_DIRECT: whole blocks past the page cache, gathered into 1 MiB */
    uint64_t number;            /* never used again for another segment; not 0 */
    uint64_t preallocate_bytes; /* reserved ahead in steps of this; 0: none */
    uint64_t salt;              /* 0: drawn */
    uint32_t
        buffer_bytes; /* of each of four: a multiple of a page, VLOG_BUFFER_MIN to VLOG_BUFFER_MAX; 0: the latter */
    /* Memory for its buffers that outlives the process: vlog_shared_bytes() of an io_shared, page-aligned, this
     * writer's alone from its creation, which forgets what stood there, until it is sealed or destroyed. Appended
     * records then survive the process without a flush: see vlog_rescue. NULL: memory of its own */
    uint8_t *shared;
    /* Called, by an appender that holds no lock, when it has left a full buffer to be written by somebody else: that
     * one calls vlog_writer_write_full. Whoever finds no free buffer still writes one. NULL: the appender who was the
     * last to leave a buffer writes it */
    void (*full)(void *arg);
    void *full_arg;
};

/* Creates the file, writes and syncs its header and its name. EXISTS, NO_SPACE, IO; POISONED when a sync failed: other
 * names in the directory may be lost with it. After a failure there is no file. */
enum nokv_status vlog_writer_create(const struct vlog_writer_options *options,
                                    struct vlog_writer **out_writer) MUST_CHECK;
/*
 * Append one record. The place is taken under a short lock, the bytes are written outside of it. On return with OK all
 * but its first and last bytes (small records: all of it) is in the page cache; those wait in the writer's buffers for
 * the next vlog_writer_flush; in shared memory a rescue finds them there. Key and value are borrowed for the call.
 *
 * NO_SPACE, IO, NO_MEMORY: the record is not there; a place that was taken is turned into padding, other appends go on.
 * A buffer that could not be written is kept and tried again by the next append or flush that needs it. POISONED after
 * a failed sync. INVALID: key or value out of limits.
 */
enum nokv_status vlog_append(struct vlog_writer *w, struct ikey key, struct slice value,
                             struct vlog_pointer *out_pointer) MUST_CHECK;

/* A value that is never in one buffer: begin, append parts in order, then end or abandon; one thread at a time. A place
 * for `size_max` bytes is taken at once; what is not used of it is given back, or padding when others came behind it.
 */
struct vlog_stream;
enum nokv_status vlog_stream_begin(struct vlog_writer *w, struct slice user_key, uint64_t size_max,
                                   struct vlog_stream **out_stream) MUST_CHECK;
/* INVALID: more than size_max in all. After any failure the stream can only be abandoned. */
enum nokv_status vlog_stream_append(struct vlog_stream *s, struct slice part) MUST_CHECK;
/* The record is complete and points back to `tag`; it is in the page cache. Frees the stream, also on failure. */
enum nokv_status vlog_stream_end(struct vlog_stream *s, uint64_t tag, struct vlog_pointer *out_pointer) MUST_CHECK;
void vlog_stream_abandon(struct vlog_stream *s); /* NULL is accepted */

/* Write the full buffers that appenders left, until there is none. A failure is that of the write: the buffer is kept,
 * and tried again by whoever needs it. */
enum nokv_status vlog_writer_write_full(struct vlog_writer *w) MUST_CHECK;
/* Everything appended so far is in the file (page cache). */
enum nokv_status vlog_writer_flush(struct vlog_writer *w) MUST_CHECK;
/* ... and durable. Concurrent callers share one sync. The first failed sync is final: POISONED from then on. */
enum nokv_status vlog_writer_sync(struct vlog_writer *w) MUST_CHECK;
/* Cut what was preallocated, sync, write the footer durably, let go of the buffers: shared memory is the caller's
 * again. REQUIRES: no append or stream under way, none to come. May be called again after a failure other than
 * POISONED. */
enum nokv_status vlog_writer_seal(struct vlog_writer *w) MUST_CHECK;
uint64_t vlog_writer_bytes(const struct vlog_writer *w);  /* file offset behind the last taken place */
struct vlog_info vlog_writer_info(struct vlog_writer *w); /* of the completed records; file_bytes as they are now */
/* NULL is accepted. Leaves the file as it is: what is still in the buffers is lost (in shared memory it stays, as after
 * the death of the process). REQUIRES: no stream is left. */
void vlog_writer_destroy(struct vlog_writer *w);

/* ---- reader: any number of threads ----------------------------------------------------------------------------- */

struct vlog_reader;

enum vlog_read_model { VLOG_READ_AUTO, VLOG_READ_MMAP, VLOG_READ_PREAD, VLOG_READ_DIRECT, VLOG_READ_URING };

/*
 * Open a segment. `writer`: it is still being written, by this writer, which outlives the reader: reads look into its
 * buffers and use pread, never a mapping. Sealed ones are mapped, when first asked for it, for VLOG_READ_MMAP and AUTO,
 * which reads values from VLOG_MAPPED_BELOW on in place when they are in the page cache, else with pread. One that a
 * crash left unsealed is read with pread. `coldness` (NULL: none) outlives the reader: while it is cold, AUTO reads
 * smaller values with pread as well. REQUIRES: the thread is registered with the epochs.
 */
enum nokv_status vlog_reader_open(struct io *io, const char *path, uint64_t number, enum vlog_read_model model,
                                  struct vlog_writer *writer, struct coldness *coldness,
                                  struct vlog_reader **out_reader) MUST_CHECK;
void vlog_reader_ref(struct vlog_reader *r);
void vlog_reader_unref(struct vlog_reader *r); /* NULL is accepted */
void vlog_reader_pin(struct vlog_reader *r);
void vlog_reader_unpin(struct vlog_reader *r);
/* Has a page of it not been readable through the mapping since it was opened? */
bool vlog_reader_is_faulted(const struct vlog_reader *r);
bool vlog_reader_is_sealed(const struct vlog_reader *r);
/* The footer's; of one that is not sealed only file_bytes is known. */
struct vlog_info vlog_reader_info(const struct vlog_reader *r);
/* Bytes of the mapping that are in the page cache; UINT64_MAX: not mapped, or not known. */
uint64_t vlog_reader_resident_bytes(const struct vlog_reader *r);
/* In place when the model says so (*out_value points into the mapping, verified, as long as a
 * reference or a pin lives), otherwise *out_value is empty with data NULL and the caller uses vlog_read. */
enum nokv_status vlog_read_in_place(struct vlog_reader *r, const struct vlog_pointer *p, struct slice user_key,
                                    struct slice *out_value) MUST_CHECK;
/* Copy value bytes [off, off + size) to buffer; chunks that are touched are verified, and the header and key always.
 * CORRUPT names segment and offset. REQUIRES: off + size <= p->value_size. */
enum nokv_status vlog_read(struct vlog_reader *r, const struct vlog_pointer *p, struct slice user_key, uint64_t off,
                           void *buffer, size_t size) MUST_CHECK;

/*
 * Reading ahead: a read of vlog_read in two halves, so that the caller can issue many of them together, or hint at
 * them.
 *
 * Fill in file, off and size of the read that brings the whole record; the caller sets `buffer` (of off and size both
 * whole pages: best page-aligned). The file is the reader's: a reference must be held until the read is done. False: it
 * is not read ahead, because it is mapped, has more than one chunk or still has a writer, or because the pointer leads
 * out of the segment; vlog_read_in_place and vlog_read take care of it, and say what is wrong.
 */
bool vlog_read_prepare(const struct vlog_reader *r, const struct vlog_pointer *p, struct slice user_key,
                       struct io_read_request *out_request);
/* The same for a long scan, which is read past the page cache (O_DIRECT) also where the model is AUTO: false as well
 * where that file cannot be opened. */
bool vlog_read_prepare_scan(struct vlog_reader *r, const struct vlog_pointer *p, struct slice user_key,
                            struct io_read_request *out_request);
/* Let go of what the record has in the page cache. */
void vlog_reader_drop(struct vlog_reader *r, const struct vlog_pointer *p);
/* A read of the value alone began then and is over: whoever does a prepared read himself tells, for `coldness`. */
void vlog_read_note(const struct vlog_reader *r, const struct vlog_pointer *p, uint64_t begin_ns);
/* Verify the record that came with a prepared read of the same `p` and `user_key`; *out_value points into its buffer.
 * The request's own status, CORRUPT. After any failure vlog_read may be tried. */
enum nokv_status vlog_read_finish(const struct vlog_reader *r, const struct vlog_pointer *p, struct slice user_key,
                                  const struct io_read_request *request, struct slice *out_value) MUST_CHECK;

/*
 * For whoever is about to read many values, in place or not: ask the memory for the record's first bytes. Then, if the
 * disk may have to be asked: true when the value can be read with others at one go (*out_request is as that of
 * vlog_read_prepare); else what is not in the page cache goes to `hints`. `only_new`: see sst_probes_hint().
 */
void vlog_read_prefetch(const struct vlog_reader *r, const struct vlog_pointer *p);
bool vlog_read_plan(struct vlog_reader *r, const struct vlog_pointer *p, struct slice user_key, bool only_new,
                    struct io_hints *hints, struct io_read_request *out_request);

/* ---- source: one segment, read for moving values out of it; one thread ------------------------------------------ */

struct vlog_source;

/*
 * Sealed, or left unsealed by a crash; never one with a writer. Reads are counted for `component` and stay out of the
 * page cache (IO_STD: IO_SCAN_ONCE; IO_DIRECT): a window of VLOG_SOURCE_WINDOW bytes, so that records that are asked
 * for in the order of their places cost one read per window. One that lies elsewhere is read alone.
 */
enum { VLOG_SOURCE_WINDOW = 512 << 10 };
enum nokv_status vlog_source_open(struct io *io, const char *path, uint64_t number, enum io_component component,
                                  enum io_model model, struct vlog_source **out_source) MUST_CHECK;
/* Verify the record (header, key, each chunk) and append it to `to` under `key`, which may have a tag. A value larger
 * than a window is streamed in parts and never whole in memory. CORRUPT names segment and offset. */
enum nokv_status vlog_source_move(struct vlog_source *s, const struct vlog_pointer *p, struct ikey key,
                                  struct vlog_writer *to, struct vlog_pointer *out_pointer) MUST_CHECK;
/* The value, verified, valid until the next call. REQUIRES: p->value_size <= VLOG_SOURCE_WINDOW / 2. */
enum nokv_status vlog_source_read(struct vlog_source *s, const struct vlog_pointer *p, struct slice user_key,
                                  struct slice *out_value) MUST_CHECK;
/* It will be asked for soon. Nothing for files that are read past the page cache. */
void vlog_source_hint(struct vlog_source *s, const struct vlog_pointer *p, size_t key_size);
/* Was the last call's failure one of reading the source (IO, or CORRUPT), not of writing to `to` or of memory? */
bool vlog_source_is_to_blame(const struct vlog_source *s);
void vlog_source_close(struct vlog_source *s); /* NULL is accepted */

/* ---- rescue: what a dead process left in a segment and in shared buffers; one thread ----------------------------- */

struct vlog_rescue;

/*
 * `shared`: the bytes of one or more writers' shared memories, back to back, as found (of one buffer size,
 * which the first page says; may be empty, and may be anything: after a power cut it is); borrowed. `repair`: the file
 * may be written to. NOT_FOUND, CORRUPT (the header page), IO, NO_MEMORY.
 */
enum nokv_status vlog_rescue_open(struct io *io, const char *path, uint64_t number, struct slice shared, bool repair,
                                  struct vlog_rescue **out_rescue) MUST_CHECK;
/*
 * Is the record that `p` points to whole, in the file or with what the buffers hold? Verified by its checksums, never
 * guessed. *out_sound false: it is not. With `repair` its bytes are written to the file (NO_SPACE, IO), which grows if
 * need be, also those that were read from there. Without, and when only the buffers make it whole, the file is left
 * alone and *out_value is the value, valid until the next call (NO_MEMORY). In all other cases *out_value is empty with
 * data NULL. `out_value` NULL: it is not wanted.
 */
enum nokv_status vlog_rescue_record(struct vlog_rescue *r, const struct vlog_pointer *p, struct slice user_key,
                                    bool *out_sound, struct slice *out_value) MUST_CHECK;
/* With `repair`: everything that was found sound is durable on return. A failed one must never be tried again. */
enum nokv_status vlog_rescue_sync(struct vlog_rescue *r) MUST_CHECK;
void vlog_rescue_close(struct vlog_rescue *r); /* NULL is accepted */

/* ---- scan: one thread ------------------------------------------------------------------------------------------ */

struct vlog_record {
    struct ikey key;
    uint64_t value_size;
    uint64_t off;       /* of the record */
    struct slice value; /* data NULL: larger than value_size_max, which vlog_read can read in parts */
};

/*
 * Walk the records of a segment in order, each verified whole, with bounded memory: a window of 1 MiB that grows for a
 * record whose value is to be shown. Places without a record (padding) are skipped and counted.
 *
 * Damage in a sealed segment is CORRUPT, or with `salvage` skipped up to the next sound record and counted. In one that
 * was not sealed it cannot be told from what a crash leaves, and is counted as unfinished.
 */
struct vlog_scan_options {
    struct io *io;
    const char *path;
    uint64_t number; /* 0: any */
    enum io_component component;
    enum io_model model;
    uint64_t value_size_max; /* show values up to this size */
    bool is_sealed;          /* known from elsewhere (the MANIFEST): a footer that is not sound is damage */
    bool salvage;
};

struct vlog_scan_totals {
    uint64_t number;
    uint64_t records, record_bytes, value_bytes; /* sound */
    uint64_t padding_bytes;                      /* places that were given up */
    uint64_t unfinished_bytes;                   /* not sealed: what a crash left, behind the last sound record too */
    uint64_t damaged_bytes;                      /* salvage */
    uint64_t end;                                /* behind the last sound record or padding */
    bool sealed;
};

struct vlog_scan;
/* CORRUPT, NOT_SUPPORTED: the header page; with `salvage` a sound footer does as well. */
enum nokv_status vlog_scan_open(const struct vlog_scan_options *options, struct vlog_scan **out_scan) MUST_CHECK;
/* The record's slices live until the next call. After a failure the scan is at its end. */
enum nokv_status vlog_scan_next(struct vlog_scan *s, struct vlog_record *out_record, bool *out_more) MUST_CHECK;
struct vlog_scan_totals vlog_scan_totals(const struct vlog_scan *s); /* of what was walked so far */
void vlog_scan_close(struct vlog_scan *s);                           /* NULL is accepted */

#endif
