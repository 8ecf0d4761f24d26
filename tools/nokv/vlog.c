// SPDX-License-Identifier: Apache-2.0
/*
 * vlog.c - `nokv vlog DB`: the segments of the value log and how much of each is garbage; `nokv vlog gc DB`: collect
 * it.
 *
 * Garbage is what a segment holds beside the records that tables point to: replaced and deleted values, and a few pages
 * of frame. A record that only the memtables point to is not counted as live before it is flushed, so of such a segment
 * (marked '+') the garbage is an upper bound.
 *
 * Collecting is one call of the engine, in the command's own thread, because the engine's error message is the thread's
 * that called. A second thread looks at the counters and draws; it is joined before anything else is printed.
 */
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "progress.h"
#include "text.h"

#define SPACE_AMP_DEFAULT 1.3 /* of the option vlog_space_amp_max, which a database does not store */

struct sums {
    uint64_t segments, file_bytes, live_records, live_bytes, reads;
    bool pending;
};

static void add_segment(struct sums *sums, const nokv_vlog_segment *segment)
{
    sums->segments++;
    sums->file_bytes += segment->file_bytes;
    sums->live_records += segment->live_records;
    sums->live_bytes += segment->live_bytes;
    sums->reads += segment->reads;
    sums->pending = sums->pending || segment->pending != 0;
}

static uint64_t garbage(uint64_t file_bytes, uint64_t live_bytes)
{
    return file_bytes > live_bytes ? file_bytes - live_bytes : 0;
}

/* "1.24 times", or "-" when nothing is live. */
static const char *amplification(char text[TEXT_SIZE], const struct sums *sums)
{
    if (sums->live_bytes == 0)
        snprintf(text, TEXT_SIZE, "-");
    else
        snprintf(text, TEXT_SIZE, "%.2f times", (double)sums->file_bytes / (double)sums->live_bytes);
    return text;
}

/* ---- the table ------------------------------------------------------------------------------------------------ */

static void print_row(const char *number, const char *origin, const char *state, const struct sums *sums)
{
    char size[TEXT_SIZE], records[TEXT_SIZE], live[TEXT_SIZE], waste[TEXT_SIZE], reads[TEXT_SIZE];
    uint64_t bytes = garbage(sums->file_bytes, sums->live_bytes);
    double share = sums->file_bytes > 0 ? (double)bytes * 100 / (double)sums->file_bytes : 0;
    printf("%9s %-9s %-10s %10s %11s %10s%c %11s %3.0f%% %9s\n", number, origin, state,
           text_bytes(size, sums->file_bytes), text_count(records, sums->live_records),
           text_bytes(live, sums->live_bytes), sums->pending ? '+' : ' ', text_bytes(waste, bytes), share,
           text_count(reads, sums->reads));
}

static bool print_segment(void *arg, const nokv_vlog_segment *segment)
{
    char number[TEXT_SIZE];
    struct sums row = {0};
    snprintf(number, sizeof number, "%06" PRIu64, segment->number);
    add_segment(&row, segment);
    print_row(number, segment->origin, segment->state, &row);
    add_segment(arg, segment);
    return true;
}

static nokv_status print_table(nokv_db *db)
{
    char text[TEXT_SIZE];
    struct sums total = {0};
    printf("%9s %-9s %-10s %10s %11s %10s  %11s %4s %9s\n", "segment", "origin", "state", "size", "records", "live",
           "garbage", "", "reads");
    nokv_status status = nokv_vlog_segments(db, print_segment, &total);
    if (status != NOKV_OK)
        return status;
    print_row("total", "", "", &total);
    printf("\nspace amplification %s%s; the background collects above %.2f\n",
           total.pending && total.live_bytes > 0 ? "at most " : "", amplification(text, &total), SPACE_AMP_DEFAULT);
    if (total.pending)
        printf("+ memtables may point to more, which counts as garbage here until it is flushed\n");
    return NOKV_OK;
}

/* ---- the same as JSON ----------------------------------------------------------------------------------------- */

struct json_table {
    json_t *segments;
    struct sums total;
};

static void set_count(json_t *object, const char *name, uint64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

static void set_sums(json_t *object, const struct sums *sums)
{
    set_count(object, "file_bytes", sums->file_bytes);
    set_count(object, "live_records", sums->live_records);
    set_count(object, "live_bytes", sums->live_bytes);
    set_count(object, "garbage_bytes", garbage(sums->file_bytes, sums->live_bytes));
    json_object_set_new(object, "pending", json_boolean(sums->pending));
    set_count(object, "reads", sums->reads);
}

static bool add_json(void *arg, const nokv_vlog_segment *segment)
{
    struct json_table *table = arg;
    struct sums row = {0};
    json_t *object = json_object();
    add_segment(&row, segment);
    add_segment(&table->total, segment);
    set_count(object, "number", segment->number);
    json_object_set_new(object, "origin", json_string(segment->origin));
    json_object_set_new(object, "state", json_string(segment->state));
    set_sums(object, &row);
    json_array_append_new(table->segments, object);
    return true;
}

static nokv_status print_json(nokv_db *db)
{
    struct json_table table = {.segments = json_array()};
    nokv_status status = nokv_vlog_segments(db, add_json, &table);
    json_t *root = json_object();
    json_object_set_new(root, "segments", table.segments);
    set_sums(root, &table.total);
    bool known = table.total.live_bytes > 0;
    json_object_set_new(root, "space_amp",
                        known ? json_real((double)table.total.file_bytes / (double)table.total.live_bytes)
                              : json_null());
    json_object_set_new(root, "space_amp_max", json_real(SPACE_AMP_DEFAULT));
    if (status == NOKV_OK) {
        json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
    }
    json_decref(root);
    return status;
}

static enum cli_exit show_segments(const struct cli_args *args)
{
    nokv_db *db;
    if (cli_open(args, args->positionals[0], CLI_READ, &db) != CLI_OK)
        return CLI_FAILED;
    nokv_status status = cli_flag(args, "json") ? print_json(db) : print_table(db);
    return cli_close(args, db, status == NOKV_OK ? CLI_OK : cli_status_error(args, status));
}

/* ---- gc ------------------------------------------------------------------------------------------------------- */

#define LOOK_EVERY_NS 100000000L

struct watcher {
    /* set at start, then constant */
    nokv_db *db;
    struct progress *progress; /* the watcher's alone until it is joined */
    pthread_t thread;
    /* protected by mu */
    pthread_mutex_t mu;
    pthread_cond_t stopped;
    bool stop;
};

static void draw_counters(const struct watcher *watcher)
{
    char text[128], moved[TEXT_SIZE], reclaimed[TEXT_SIZE], segments[TEXT_SIZE];
    nokv_stats stats = {.struct_size = sizeof stats};
    if (nokv_stats_get(watcher->db, false, &stats) != NOKV_OK)
        return;
    snprintf(text, sizeof text, "%s of segments, moved %s, reclaimed %s",
             text_bytes(segments, stats.components[NOKV_COMPONENT_VLOG].bytes),
             text_bytes(moved, stats.vlog_moved_bytes), text_bytes(reclaimed, stats.vlog_reclaimed_bytes));
    progress_note(watcher->progress, text);
}

static void *watch(void *arg)
{
    struct watcher *watcher = arg;
    pthread_mutex_lock(&watcher->mu);
    while (!watcher->stop) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_EVERY_NS;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000L;
        }
        pthread_cond_timedwait(&watcher->stopped, &watcher->mu, &until);
        if (watcher->stop)
            break;
        pthread_mutex_unlock(&watcher->mu);
        draw_counters(watcher);
        pthread_mutex_lock(&watcher->mu);
    }
    pthread_mutex_unlock(&watcher->mu);
    return NULL;
}

static void stop_watching(struct watcher *watcher)
{
    pthread_mutex_lock(&watcher->mu);
    watcher->stop = true;
    pthread_cond_signal(&watcher->stopped);
    pthread_mutex_unlock(&watcher->mu);
    pthread_join(watcher->thread, NULL);
}

/* All of the work: with --compact the tables first, then the value log. */
static nokv_status collect(const struct cli_args *args, nokv_db *db, double amp)
{
    nokv_status status = NOKV_OK;
    if (cli_flag(args, "compact"))
        status = nokv_compact_range(db, NULL, 0, NULL, 0);
    return status == NOKV_OK ? nokv_vlog_collect(db, amp) : status;
}

static nokv_status collect_watched(const struct cli_args *args, nokv_db *db, double amp)
{
    struct progress progress;
    struct watcher watcher = {
        .db = db, .progress = &progress, .mu = PTHREAD_MUTEX_INITIALIZER, .stopped = PTHREAD_COND_INITIALIZER};
    progress_begin(&progress, "vlog gc", 0, cli_flag(args, "quiet"));
    bool watched = pthread_create(&watcher.thread, NULL, watch, &watcher) == 0;
    nokv_status status = collect(args, db, amp);
    if (watched)
        stop_watching(&watcher);
    progress_end(&progress);
    return status;
}

static bool sum_segment(void *arg, const nokv_vlog_segment *segment)
{
    add_segment(arg, segment);
    return true;
}

/* Where the value log stands: its segments, and the counters of what was done so far. */
static nokv_status look(nokv_db *db, struct sums *out_sums, nokv_stats *out_stats)
{
    *out_sums = (struct sums){0};
    *out_stats = (nokv_stats){.struct_size = sizeof *out_stats};
    nokv_status status = nokv_vlog_segments(db, sum_segment, out_sums);
    return status == NOKV_OK ? nokv_stats_get(db, false, out_stats) : status;
}

static void print_sums(const char *what, const struct sums *sums)
{
    char count[TEXT_SIZE], size[TEXT_SIZE], live[TEXT_SIZE], amp[TEXT_SIZE];
    printf("  %-28s %s in %s segments, %s%s live: %s\n", what, text_bytes(size, sums->file_bytes),
           text_count(count, sums->segments), text_bytes(live, sums->live_bytes), sums->pending ? " or more" : "",
           amplification(amp, sums));
}

static void print_work(const nokv_stats *before, const nokv_stats *after, uint64_t ns)
{
    char text[TEXT_SIZE];
    printf("  %-28s %s\n", "values moved", text_bytes(text, after->vlog_moved_bytes - before->vlog_moved_bytes));
    printf("  %-28s %s\n", "segments removed",
           text_bytes(text, after->vlog_reclaimed_bytes - before->vlog_reclaimed_bytes));
    printf("  %-28s %s\n", "time", text_elapsed(text, ns));
}

static enum cli_exit collect_and_report(const struct cli_args *args, nokv_db *db, double amp)
{
    struct sums sums_before, sums_after;
    nokv_stats stats_before, stats_after;
    nokv_status status = nokv_flush(db); /* what only memtables point to would look like garbage */
    uint64_t start = clock_ns();
    if (status == NOKV_OK)
        status = look(db, &sums_before, &stats_before);
    if (status == NOKV_OK)
        status = collect_watched(args, db, amp);
    uint64_t ns = clock_ns() - start;
    if (status == NOKV_OK)
        status = look(db, &sums_after, &stats_after);
    if (status != NOKV_OK) {
        cli_status_error(args, status);
        return CLI_FAILED;
    }
    if (cli_flag(args, "quiet"))
        return CLI_OK;
    print_sums("before", &sums_before);
    print_sums("after", &sums_after);
    print_work(&stats_before, &stats_after, ns);
    return CLI_OK;
}

static enum cli_exit collect_garbage(const struct cli_args *args)
{
    double amp = 0; /* what the database is opened with */
    nokv_db *db;
    if (!cli_ratio(args, "amp", 1, 1000, &amp))
        return CLI_USAGE;
    if (cli_open(args, args->positionals[1], CLI_WRITE, &db) != CLI_OK)
        return CLI_FAILED;
    return cli_close(args, db, collect_and_report(args, db, amp));
}

/* ---- the command ---------------------------------------------------------------------------------------------- */

static enum cli_exit vlog_run(const struct cli_args *args)
{
    bool gc = strcmp(args->positionals[0], "gc") == 0;
    if (gc && args->positional_count < 2)
        return cli_usage_error(args, "gc needs a database (one that is called gc can be named ./gc)");
    if (!gc && args->positional_count > 1)
        return cli_usage_error(args, "'%s' is neither gc nor the only argument", args->positionals[0]);
    if (!gc && (cli_flag(args, "amp") || cli_flag(args, "compact") || cli_flag(args, "quiet")))
        return cli_usage_error(args, "--amp, --compact and --quiet belong to gc");
    if (gc && cli_flag(args, "json"))
        return cli_usage_error(args, "--json belongs to the table");
    return gc ? collect_garbage(args) : show_segments(args);
}

static const struct cli_option vlog_options[] = {
    {"json", 'j', NULL, "the table as one JSON object"},
    {"amp", 'a', "X", "gc: until segments take at most X times what is live;\n1: as far as it goes (default 1.3)"},
    {"compact", 'c', NULL, "gc: merge all tables first, so that every replaced and\ndeleted value counts as garbage"},
    {"quiet", 'q', NULL, "gc: no progress and no summary"},
    {0},
};

const struct cli_command vlog_command = {
    .name = "vlog",
    .summary = "show the value log's segments, or collect its garbage",
    .usage = "DB [--json]  |  nokv vlog gc DB [--amp X] [--compact] [--quiet]",
    .description = "Large values live in segments, vlog/NUMBER.vlog, and the tables point to them.\n"
                   "A row of the table is a segment:\n"
                   "\n"
                   "  origin     who wrote it: direct (large values, ahead of the log), flush,\n"
                   "             collect (values moved out of others), recovered (after a crash)\n"
                   "  state      active: being written. sealed: complete, checked by its footer.\n"
                   "             unsealed: left by a crash. collecting: being emptied. damaged: a\n"
                   "             value in it cannot be read, see 'nokv salvage'\n"
                   "  records    values that tables point to; live: their bytes\n"
                   "  garbage    the rest of the file: replaced and deleted values. After a '+'\n"
                   "             it is at most this, since memtables may point to some of it\n"
                   "  reads      values read since this command opened the database\n"
                   "\n"
                   "The space amplification is size / live of all segments. The background empties\n"
                   "segments with much garbage while it is above a bound, by default 1.3. A value\n"
                   "counts as replaced once a compaction has met both versions, so garbage appears\n"
                   "some time after the overwrite. The table never writes to DB.\n"
                   "\n"
                   "gc collects now, and says what it moved and gave back. It can be interrupted\n"
                   "or killed at any time; what was done by then stays done.",
    .examples = "  nokv vlog films.db\n"
                "  nokv vlog films.db --json | jq .space_amp\n"
                "  nokv vlog gc films.db\n"
                "  nokv vlog gc films.db --compact --amp 1      # all there is to get",
    .options = vlog_options,
    .positionals_min = 1,
    .positionals_max = 2,
    .run = vlog_run,
};
