// SPDX-License-Identifier: Apache-2.0
/*
 * import.c - `nokv import DIR DB`: each regular file below DIR becomes relative path -> content.
 *
 * The tree is walked twice: once to know how much there is (for the time left), once to read. Small files are collected
 * into a batch of about a mebibyte, which is one write of the engine; a larger file goes on its own, and one of
 * VALUE_LARGE or more passes through a value writer piece by piece, so that memory does not grow with the files.
 *
 * Resuming needs no state of its own. A file whose key already holds exactly its bytes is left alone, so that starting
 * the same command again goes on where the last one ended, however that ended: the database is the state.
 *
 * [I1] A key is named on --ack-fd after the write that holds it was acknowledged by the engine, never before.
 * [I2] What cannot be taken (unreadable, too large, changing all the time) is named on standard error, counted, and
 *      makes the exit code 1; everything else is imported all the same.
 *
 * SIGINT and SIGTERM set a flag that is looked at between files and between the pieces of a large one, which is then
 * given up: the batch is written, the database closed.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "progress.h"
#include "source.h"
#include "stats.h"
#include "text.h"
#include "value.h"
#include "walk.h"

#define BATCH_BYTES (1024 * 1024)
#define BATCH_ENTRIES 256
#define ALONE_BYTES (512 * 1024) /* a file from this size on is put without being copied into a batch */

struct tally {
    uint64_t files, bytes;
};

struct import {
    const struct cli_args *args;
    nokv_db *db;
    nokv_batch *batch;
    size_t batch_bytes;
    nokv_write_options write_options;
    struct bytes content;      /* of the file in hand, unless it is large */
    struct value_reader value; /* of its key */
    struct bytes acks;         /* lines to write once the batch is acknowledged */
    int ack_fd;                /* -1: nobody wants to know */
    uint64_t acked_bytes;
    struct progress progress;
    uint64_t seen_bytes, seen_files;
    struct tally stored, present;
    uint64_t vanished, unreadable, too_large, unstable, refused;
    bool overwrites; /* the database held something before */
    bool failed;     /* an error of the engine, reported */
    uint64_t open_ns, import_ns, settle_ns;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    interrupted = signal_number;
}

/* A signal that the parent chose to ignore stays ignored. A second one ends the process at once. */
static void catch_interrupts(void)
{
    static const int signals[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)(SA_RESETHAND | SA_RESTART)}, old;
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
}

static void engine_error(struct import *import, nokv_status status)
{
    progress_clear(&import->progress);
    cli_status_error(import->args, status);
    import->failed = true;
}

/* ---- acknowledgements ----------------------------------------------------------------------------------------- */

static void ack_add(struct import *import, const struct walk_file *file, uint64_t size)
{
    import->acked_bytes += size;
    if (import->ack_fd < 0)
        return;
    char numbers[64];
    escape_append(&import->acks, file->path, file->path_size);
    int length = snprintf(numbers, sizeof numbers, "\t%" PRIu64 "\t%" PRIu64 "\n", size, import->acked_bytes);
    bytes_append(&import->acks, numbers, (size_t)length);
}

static void ack_send(struct import *import)
{
    const char *data = import->acks.data;
    size_t left = import->acks.size;
    while (left > 0) {
        ssize_t written = write(import->ack_fd, data, left);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            progress_clear(&import->progress);
            cli_error(import->args, "descriptor %d (--ack-fd): %s", import->ack_fd, strerror(errno));
            import->failed = true;
            break;
        }
        data += written;
        left -= (size_t)written;
    }
    import->acks.size = 0;
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

static void flush_batch(struct import *import)
{
    if (nokv_batch_count(import->batch) > 0) {
        nokv_status status = nokv_write(import->db, import->batch, &import->write_options);
        if (status != NOKV_OK) {
            engine_error(import, status);
            return;
        }
    }
    nokv_batch_clear(import->batch);
    import->batch_bytes = 0;
    ack_send(import);
}

static void store(struct import *import, const struct walk_file *file)
{
    const struct bytes *content = &import->content;
    bool alone = content->size >= ALONE_BYTES;
    nokv_status status;
    if (alone) {
        flush_batch(import);
        if (import->failed)
            return;
        status =
            nokv_put(import->db, file->path, file->path_size, content->data, content->size, &import->write_options);
    } else {
        status = nokv_batch_put(import->batch, file->path, file->path_size, content->data, content->size);
        import->batch_bytes += file->path_size + content->size;
    }
    if (status != NOKV_OK) {
        engine_error(import, status);
        return;
    }
    import->stored.files++;
    import->stored.bytes += content->size;
    ack_add(import, file, content->size);
    if (alone || import->batch_bytes >= BATCH_BYTES || nokv_batch_count(import->batch) >= BATCH_ENTRIES)
        flush_batch(import);
}

/* What the key holds; false when it holds nothing, or could not be read, which is reported. */
static bool find_value(struct import *import, const struct walk_file *file)
{
    nokv_status status = value_of_key(&import->value, import->db, (nokv_slice){file->path, file->path_size});
    if (status != NOKV_OK && status != NOKV_ERR_NOT_FOUND)
        engine_error(import, status);
    return status == NOKV_OK;
}

/* Does the key hold the content in hand already? */
static bool is_present(struct import *import, const struct walk_file *file)
{
    const struct bytes *content = &import->content;
    if (!find_value(import, file) || import->value.size != content->size)
        return false;
    bool same = value_has(&import->value, 0, content->data, content->size);
    if (import->value.status != NOKV_OK)
        engine_error(import, import->value.status);
    return same;
}

static void count_present(struct import *import, const struct walk_file *file, uint64_t size)
{
    import->present.files++;
    import->present.bytes += size;
    ack_add(import, file, size);
    if (import->acks.size >= BATCH_BYTES)
        flush_batch(import);
}

/* ---- a large file --------------------------------------------------------------------------------------------- */

struct large_file {
    struct import *import;
    const struct walk_file *file;
    nokv_value_writer *writer;
    uint64_t done;
};

static bool large_begin(void *arg, uint64_t size)
{
    struct large_file *large = arg;
    nokv_value_writer_abandon(large->writer);
    large->writer = NULL;
    large->done = 0;
    nokv_status status =
        nokv_value_writer_open(large->import->db, large->file->path, large->file->path_size, size, &large->writer);
    if (status != NOKV_OK)
        engine_error(large->import, status);
    return status == NOKV_OK;
}

static bool large_piece(void *arg, const void *data, size_t size)
{
    struct large_file *large = arg;
    struct import *import = large->import;
    if (interrupted)
        return false;
    nokv_status status = nokv_value_writer_append(large->writer, data, size);
    if (status != NOKV_OK) {
        engine_error(import, status);
        return false;
    }
    large->done += size;
    progress_update(&import->progress, import->seen_bytes + large->done, import->seen_files);
    return true;
}

static void large_commit(struct large_file *large)
{
    struct import *import = large->import;
    nokv_status status = nokv_value_writer_commit(large->writer, &import->write_options);
    large->writer = NULL;
    if (status != NOKV_OK) {
        engine_error(import, status);
        return;
    }
    import->stored.files++;
    import->stored.bytes += large->done;
    ack_add(import, large->file, large->done);
    flush_batch(import);
}

/* Does the key hold what the file has now? */
static bool large_is_present(struct import *import, const struct walk_file *file)
{
    if (!find_value(import, file))
        return false;
    enum source_comparison result = source_compare(file->directory_fd, file->name, &import->value);
    if (result == SOURCE_NO_VALUE)
        engine_error(import, import->value.status);
    return result == SOURCE_SAME;
}

/* Store a large file, unless it is there. What came before it goes first, so that acknowledgements are in order. */
static enum source_result take_large(struct import *import, const struct walk_file *file, uint64_t *out_size)
{
    if (import->overwrites && large_is_present(import, file)) {
        *out_size = import->value.size;
        count_present(import, file, *out_size);
        return SOURCE_READ;
    }
    if (!import->failed)
        flush_batch(import);
    if (import->failed)
        return SOURCE_STOPPED;
    struct large_file large = {.import = import, .file = file};
    const struct source_sink sink = {large_begin, large_piece, &large};
    enum source_result result = source_stream(file->directory_fd, file->name, &sink);
    *out_size = large.done;
    int error = errno;
    if (result == SOURCE_READ)
        large_commit(&large);
    else
        nokv_value_writer_abandon(large.writer);
    errno = error;
    return result;
}

/* ---- one file ------------------------------------------------------------------------------------------------- */

static void left_out(struct import *import, uint64_t *counter, const struct walk_file *file, const char *why)
{
    ++*counter;
    progress_clear(&import->progress);
    cli_left_out(import->args, file->path, file->path_size, why);
}

/* Store the file, unless it is there. */
static enum source_result take(struct import *import, const struct walk_file *file, uint64_t *out_size)
{
    enum source_result result = source_read(file->directory_fd, file->name, &import->content);
    if (result == SOURCE_LARGE)
        return take_large(import, file, out_size);
    if (result != SOURCE_READ)
        return result;
    *out_size = import->content.size;
    if (import->overwrites && is_present(import, file))
        count_present(import, file, *out_size);
    else if (!import->failed)
        store(import, file);
    return result;
}

static void import_file(struct import *import, const struct walk_file *file)
{
    uint64_t size = 0;
    if (file->path_size > NOKV_KEY_SIZE_MAX) {
        left_out(import, &import->refused, file, "the path is longer than a key may be (65,535 bytes)");
        return;
    }
    switch (take(import, file, &size)) {
    case SOURCE_READ:
        import->seen_bytes += size;
        import->seen_files++;
        break;
    case SOURCE_VANISHED:
        import->vanished++;
        break;
    case SOURCE_DENIED:
        left_out(import, &import->unreadable, file, strerror(errno));
        break;
    case SOURCE_TOO_LARGE:
        left_out(import, &import->too_large, file, "larger than a value may be (1 GiB)");
        break;
    case SOURCE_UNSTABLE:
        left_out(import, &import->unstable, file, "it changed each time that it was read");
        break;
    case SOURCE_LARGE:
    case SOURCE_STOPPED: /* interrupted, or the engine failed, which was reported */
        break;
    }
}

static void unreadable_directory(void *arg, const char *path, int error)
{
    struct import *import = arg;
    progress_clear(&import->progress);
    cli_error(import->args, "left out: directory %s: %s", path, strerror(error));
}

/* ---- the report ----------------------------------------------------------------------------------------------- */

static void report_count(const char *what, uint64_t count)
{
    char text[TEXT_SIZE];
    if (count > 0)
        printf("  %-28s %s\n", what, text_count(text, count));
}

static void report_tally(const char *what, const struct tally *tally)
{
    char a[TEXT_SIZE], b[TEXT_SIZE];
    printf("  %-28s %s, %s\n", what, text_count(a, tally->files), text_bytes(b, tally->bytes));
}

static void report(const struct import *import, const struct walk *walk)
{
    char text[TEXT_SIZE];
    const struct walk_counts *counts = walk_counts(walk);
    report_tally("files imported", &import->stored);
    if (import->present.files > 0)
        report_tally("files that were there already", &import->present);
    report_count("symbolic links, passed by", counts->symlinks);
    report_count("special files, passed by", counts->specials);
    report_count("files that vanished", import->vanished);
    report_count("files left out: unreadable", import->unreadable);
    report_count("files left out: too large", import->too_large);
    report_count("files left out: changing", import->unstable);
    report_count("files left out: long path", import->refused);
    report_count("directories left out", counts->unreadable_directories);
    if (walk_skipped_path(walk))
        printf("  the database's own directory lies in the tree and was left out\n");
    printf("  %-28s %s, %.0f MB/s, %.0f files/s\n", "time, rate", text_elapsed(text, import->import_ns),
           rate_mb(import->seen_bytes, import->import_ns),
           (double)import->seen_files * 1e9 / (double)(import->import_ns + 1));
}

static enum cli_exit report_interrupt(const struct import *import)
{
    cli_error(import->args,
              "stopped; what was imported is safe. The same command goes on from here:\n  nokv import '%s' '%s'",
              import->args->positionals[0], import->args->positionals[1]);
    return CLI_DIFFERS;
}

/* ---- the run -------------------------------------------------------------------------------------------------- */

static void walk_files(struct import *import, struct walk *walk)
{
    struct walk_file file;
    while (!interrupted && !import->failed && walk_next(walk, &file)) {
        import_file(import, &file);
        progress_update(&import->progress, import->seen_bytes, import->seen_files);
    }
    if (!import->failed)
        flush_batch(import);
}

/* Everything on stable storage; with --settle in tables as well, and no compaction due. */
static void settle(struct import *import)
{
    nokv_status status = nokv_sync_wal(import->db);
    uint64_t start = clock_ns();
    if (status == NOKV_OK && cli_flag(import->args, "settle") && !interrupted) {
        status = nokv_flush(import->db);
        if (status == NOKV_OK)
            status = nokv_wait_idle(import->db);
    }
    import->settle_ns = clock_ns() - start;
    if (status != NOKV_OK)
        engine_error(import, status);
}

static void write_stats(struct import *import)
{
    const char *path = cli_value(import->args, "stats");
    if (!path || import->failed)
        return;
    nokv_stats stats = {.struct_size = sizeof stats};
    nokv_status status = nokv_stats_get(import->db, true, &stats);
    if (status != NOKV_OK) {
        engine_error(import, status);
        return;
    }
    char more[512];
    snprintf(more, sizeof more,
             "import.files %" PRIu64 "\nimport.bytes %" PRIu64 "\nimport.present_files %" PRIu64
             "\nimport.present_bytes %" PRIu64 "\nimport.ns %" PRIu64 "\nimport.settle_ns %" PRIu64
             "\nimport.open_ns %" PRIu64 "\n",
             import->stored.files, import->stored.bytes, import->present.files, import->present.bytes,
             import->import_ns, import->settle_ns, import->open_ns);
    if (!stats_write_file(path, &stats, more)) {
        cli_error(import->args, "%s: %s", path, strerror(errno));
        import->failed = true;
    }
}

/* A database without a key needs no look-up per file. */
static bool holds_something(struct import *import)
{
    nokv_iter *iter;
    if (nokv_iter_create(import->db, NULL, &iter) != NOKV_OK)
        return true;
    nokv_iter_first(iter);
    bool holds = nokv_iter_valid(iter) || nokv_iter_status(iter) != NOKV_OK;
    nokv_iter_destroy(iter);
    return holds;
}

static enum cli_exit run_open(struct import *import, struct walk *walk, uint64_t total_bytes)
{
    const struct cli_args *args = import->args;
    progress_begin(&import->progress, "import", total_bytes, cli_flag(args, "quiet"));
    import->overwrites = holds_something(import);
    uint64_t start = clock_ns();
    walk_files(import, walk);
    if (!import->failed)
        settle(import);
    import->import_ns = clock_ns() - start - import->settle_ns;
    write_stats(import);
    progress_end(&import->progress);
    if (!cli_flag(args, "quiet"))
        report(import, walk);
    if (import->failed)
        return CLI_FAILED;
    if (interrupted)
        return report_interrupt(import);
    uint64_t missing = import->unreadable + import->too_large + import->unstable + import->refused +
                       walk_counts(walk)->unreadable_directories;
    return missing > 0 ? CLI_DIFFERS : CLI_OK;
}

/* The walk begins when the database exists, so that it can leave the database out. */
static enum cli_exit run_walk(struct import *import, uint64_t total_bytes)
{
    char *const *names = import->args->positionals;
    struct walk *walk = walk_create(names[0], names[1], unreadable_directory, import);
    if (!walk) {
        cli_error(import->args, "%s: %s", names[0], strerror(errno));
        return CLI_FAILED;
    }
    nokv_status status = nokv_batch_create(&import->batch);
    enum cli_exit code =
        status == NOKV_OK ? run_open(import, walk, total_bytes) : cli_status_error(import->args, status);
    nokv_batch_destroy(import->batch);
    walk_destroy(walk);
    return code;
}

static bool same_directory(const char *a, const char *b)
{
    struct stat sa, sb;
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

static enum cli_exit import_tree(struct import *import, uint64_t total_bytes)
{
    catch_interrupts();
    uint64_t start = clock_ns();
    enum cli_exit code = cli_open_tuned(import->args, import->args->positionals[1], CLI_CREATE, &import->db);
    if (code != CLI_OK)
        return code;
    import->open_ns = clock_ns() - start;
    code = run_walk(import, total_bytes);
    bytes_deinit(&import->content);
    value_deinit(&import->value);
    bytes_deinit(&import->acks);
    return cli_close(import->args, import->db, code);
}

static enum cli_exit import_run(const struct cli_args *args)
{
    const char *root = args->positionals[0], *path = args->positionals[1];
    uint64_t ack_fd = UINT64_MAX, files, bytes;
    if (!cli_number(args, "ack-fd", 1, 1023, &ack_fd))
        return CLI_USAGE;
    if (same_directory(root, path))
        return cli_usage_error(args, "DIR and DB are the same directory");
    if (!walk_measure(root, path, &files, &bytes)) {
        cli_error(args, "%s: %s", root, strerror(errno));
        return CLI_FAILED;
    }
    if (cli_flag(args, "dry-run")) {
        printf("files %" PRIu64 "\nbytes %" PRIu64 "\n", files, bytes);
        return CLI_OK;
    }
    struct import import = {
        .args = args, .write_options = cli_write_options(args), .ack_fd = ack_fd == UINT64_MAX ? -1 : (int)ack_fd};
    return import_tree(&import, bytes);
}

static const struct cli_option import_options[] = {
    {"sync", 's', NULL, "each batch is on stable storage before the next"},
    {"settle", 0, NULL, "at the end wait until everything is in tables and\nnothing is left to compact"},
    {"quiet", 'q', NULL, "no progress and no summary"},
    {"dry-run", 'n', NULL, "only count what would be imported; DB is not touched"},
    {"stats", 0, "FILE", "write the engine's counters to FILE, one per line"},
    {"ack-fd", 0, "N", "write KEY<TAB>BYTES<TAB>BYTES-SO-FAR to descriptor\nN for each file once it is acknowledged"},
    CLI_VLOG_OPTIONS,
    {0},
};

const struct cli_command import_command = {
    .name = "import",
    .summary = "store each file below a directory",
    .usage = "DIR DB [OPTION...]",
    .description = "Each regular file below DIR becomes a key (its path relative to DIR) with the\n"
                   "file's content as value. DB is created when it is missing. Symbolic links and\n"
                   "special files are passed by; a file above 1 GiB, an unreadable one, one that\n"
                   "changes each time it is read and a path above 65,535 bytes are named, left out,\n"
                   "and make the exit code 1.\n"
                   "\n"
                   "The command can be interrupted, or killed, and started again: a file whose key\n"
                   "already holds exactly its bytes is not written again. Keys are never deleted.",
    .examples = "  nokv import /usr/share/doc doc.db\n"
                "  nokv import photos photos.db --sync\n"
                "  nokv import src src.db --ack-fd 3 3>acknowledged.log\n"
                "  nokv import mail mail.db --separate-min 4K --direct-min 64K",
    .options = import_options,
    .positionals_min = 2,
    .positionals_max = 2,
    .run = import_run,
};
