// SPDX-License-Identifier: Apache-2.0
/*
 * verify.c - `nokv verify`: is the database sound, and does it hold what it should?
 *
 * Three questions, three modes. Alone: every checksum, the order, every reference (the engine's own nokv_verify()).
 * --against DIR: each file below DIR is in the database and equal, byte for byte, and the database holds nothing else;
 * both sides come in the same order, so one pass over both answers it. --acked LOG --against DIR: each key that import
 * acknowledged to LOG is there with the file's bytes; this is what may be asked right after a crash.
 *
 * A difference is named on standard output, one line each: "missing", "extra" or "different", a tab, the path escaped.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "progress.h"
#include "source.h"
#include "text.h"
#include "value.h"
#include "walk.h"

/* What one run found. */
struct findings {
    uint64_t same, same_bytes, missing, extra, different;
    uint64_t unreadable; /* files that could not be compared */
    uint64_t left_out;   /* what import leaves out too: unreadable, above 1 GiB, a path above 65,535 bytes */
    uint64_t ns;
};

struct verify {
    const struct cli_args *args;
    nokv_db *db;
    bool json, quiet;
    uint64_t open_ns;
    struct progress progress;
    struct findings findings;
    struct value_reader value; /* in hand */
    struct bytes closed;       /* directories that cannot be read: paths, each with its '/' and a NUL behind it */
};

static void name_difference(struct verify *verify, uint64_t *counter, const char *what, const void *path, size_t size)
{
    ++*counter;
    if (verify->json)
        return;
    progress_clear(&verify->progress);
    printf("%s\t", what);
    escape_print(stdout, path, size);
    putchar('\n');
}

static void unreadable(struct verify *verify, const void *path, size_t size, int error)
{
    struct bytes name = {0};
    escape_append(&name, path, size);
    progress_clear(&verify->progress);
    cli_error(verify->args, "%.*s: %s", (int)name.size, name.data, strerror(error));
    bytes_deinit(&name);
    verify->findings.unreadable++;
}

/* Count what comparing the file with its value gave. A file that is gone by now leaves its key extra. */
static void count_comparison(struct verify *verify, enum source_comparison result, const void *path, size_t path_size,
                             uint64_t value_size)
{
    struct findings *findings = &verify->findings;
    if (result == SOURCE_SAME) {
        findings->same++;
        findings->same_bytes += value_size;
    } else if (result == SOURCE_DIFFERENT) {
        name_difference(verify, &findings->different, "different", path, path_size);
    } else if (result == SOURCE_ABSENT) {
        name_difference(verify, &findings->extra, "extra", path, path_size);
    } else {
        unreadable(verify, path, path_size, errno);
    }
}

/* ---- against a directory -------------------------------------------------------------------------------------- */

/* A directory that cannot be read has no files for import; what the database has below it cannot be compared. */
static void report_directory(void *arg, const char *path, int error)
{
    struct verify *verify = arg;
    verify->findings.left_out++;
    bytes_append(&verify->closed, path, strlen(path));
    if (path[strlen(path) - 1] != '/')
        bytes_append(&verify->closed, "/", 1);
    bytes_append(&verify->closed, "", 1);
    progress_clear(&verify->progress);
    cli_error(verify->args, "directory %s: %s", path, strerror(error));
}

static bool is_below_closed(const struct verify *verify, nokv_slice key)
{
    const char *end = verify->closed.data + verify->closed.size;
    for (const char *path = verify->closed.data; path < end; path += strlen(path) + 1)
        if (key.size > strlen(path) && memcmp(key.data, path, strlen(path)) == 0)
            return true;
    return false;
}

static void key_without_file(struct verify *verify, nokv_slice key)
{
    if (is_below_closed(verify, key))
        unreadable(verify, key.data, key.size, EACCES);
    else
        name_difference(verify, &verify->findings.extra, "extra", key.data, key.size);
}

static int compare_keys(const void *a, size_t a_size, const void *b, size_t b_size)
{
    size_t common = a_size < b_size ? a_size : b_size;
    int order = common ? memcmp(a, b, common) : 0;
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

/* A file without a key: missing, unless it vanished or import leaves it out. */
static void file_without_key(struct verify *verify, const struct walk_file *file)
{
    enum source_kind kind = source_kind(file->directory_fd, file->name);
    if (kind == SOURCE_KIND_NONE)
        return;
    if (file->path_size > NOKV_KEY_SIZE_MAX || kind == SOURCE_KIND_LEFT_OUT)
        verify->findings.left_out++;
    else
        name_difference(verify, &verify->findings.missing, "missing", file->path, file->path_size);
}

/* The file against the value at the iterator, which has its key. */
static nokv_status compare_file(struct verify *verify, nokv_iter *iter, const struct walk_file *file)
{
    nokv_status status = value_of_iter(&verify->value, verify->db, iter);
    if (status != NOKV_OK)
        return status;
    enum source_comparison result = source_compare(file->directory_fd, file->name, &verify->value);
    if (result != SOURCE_NO_VALUE)
        count_comparison(verify, result, file->path, file->path_size, verify->value.size);
    return verify->value.status;
}

/* One pass over both, always moving the one that is behind. */
static nokv_status merge(struct verify *verify, nokv_iter *iter, struct walk *walk)
{
    struct walk_file file;
    bool have_file = walk_next(walk, &file);
    nokv_iter_first(iter);
    while (have_file || nokv_iter_valid(iter)) {
        nokv_slice key = nokv_iter_valid(iter) ? nokv_iter_key(iter) : (nokv_slice){0};
        int order = !have_file               ? -1
                    : !nokv_iter_valid(iter) ? 1
                                             : compare_keys(key.data, key.size, file.path, file.path_size);
        if (order < 0) {
            key_without_file(verify, key);
        } else if (order > 0) {
            nokv_status status = nokv_iter_status(iter);
            if (status != NOKV_OK)
                return status;
            file_without_key(verify, &file);
        } else {
            nokv_status status = compare_file(verify, iter, &file);
            if (status != NOKV_OK)
                return status;
        }
        if (order <= 0)
            nokv_iter_next(iter);
        if (order >= 0)
            have_file = walk_next(walk, &file);
        progress_update(&verify->progress, verify->findings.same_bytes, verify->findings.same);
    }
    return nokv_iter_status(iter);
}

static enum cli_exit compare_tree(struct verify *verify, const char *root)
{
    uint64_t files, bytes;
    const char *database = verify->args->positionals[0];
    struct walk *walk = NULL;
    if (walk_measure(root, database, &files, &bytes))
        walk = walk_create(root, database, report_directory, verify);
    if (!walk) {
        cli_error(verify->args, "%s: %s", root, strerror(errno));
        return CLI_FAILED;
    }
    nokv_iter *iter = NULL;
    nokv_status status = nokv_iter_create(verify->db, NULL, &iter);
    if (status == NOKV_OK) {
        progress_begin(&verify->progress, "verify", bytes, verify->quiet);
        status = merge(verify, iter, walk);
        progress_end(&verify->progress);
    }
    enum cli_exit code = status == NOKV_OK ? CLI_OK : cli_status_error(verify->args, status);
    nokv_iter_destroy(iter);
    walk_destroy(walk);
    return code;
}

/* ---- against a log of acknowledgements ------------------------------------------------------------------------ */

static nokv_status compare_acked_key(struct verify *verify, int root_fd, const struct bytes *key)
{
    struct value_reader *value = &verify->value;
    nokv_status status = value_of_key(value, verify->db, (nokv_slice){key->data, key->size});
    if (status == NOKV_ERR_NOT_FOUND) {
        name_difference(verify, &verify->findings.missing, "missing", key->data, key->size);
        return NOKV_OK;
    }
    if (status != NOKV_OK)
        return status;
    struct bytes path = {0};
    bytes_append(&path, key->data, key->size);
    bytes_append(&path, "", 1);
    const char *name;
    int directory_fd = path_open_parent(root_fd, path.data, false, &name);
    enum source_comparison result = directory_fd < 0 && errno == ENOENT ? SOURCE_ABSENT : SOURCE_UNREADABLE;
    if (directory_fd >= 0)
        result = source_compare(directory_fd, name, value);
    if (result != SOURCE_NO_VALUE)
        count_comparison(verify, result, key->data, key->size, value->size);
    if (directory_fd >= 0)
        close(directory_fd);
    bytes_deinit(&path);
    return value->status;
}

/* The key of one line, "KEY<TAB>..."; false when the line is none: the last one may be torn. */
static bool acked_key(const char *line, size_t size, struct bytes *out_key)
{
    const char *tab = memchr(line, '\t', size);
    return size > 0 && line[size - 1] == '\n' && tab && escape_decode(line, (size_t)(tab - line), out_key) &&
           path_refusal(out_key->data, out_key->size) == NULL;
}

static enum cli_exit compare_lines(struct verify *verify, int root_fd, FILE *log)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    struct bytes key = {0};
    nokv_status status = NOKV_OK;
    while (status == NOKV_OK && (size = getline(&line, &capacity, log)) >= 0) {
        if (acked_key(line, (size_t)size, &key))
            status = compare_acked_key(verify, root_fd, &key);
        else if (line[size - 1] == '\n')
            cli_error(verify->args, "a line of the log is no acknowledgement, passed by: %.60s", line);
        progress_update(&verify->progress, verify->findings.same_bytes, verify->findings.same);
    }
    free(line);
    bytes_deinit(&key);
    return status == NOKV_OK ? CLI_OK : cli_status_error(verify->args, status);
}

static enum cli_exit compare_acked(struct verify *verify, const char *log_path, const char *root)
{
    enum cli_exit code = CLI_FAILED;
    int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FILE *log = root_fd < 0 ? NULL : fopen(log_path, "re");
    if (!log) {
        cli_error(verify->args, "%s: %s", root_fd < 0 ? root : log_path, strerror(errno));
    } else {
        progress_begin(&verify->progress, "verify", 0, verify->quiet);
        code = compare_lines(verify, root_fd, log);
        progress_end(&verify->progress);
        fclose(log);
    }
    if (root_fd >= 0)
        close(root_fd);
    return code;
}

/* ---- the reports ---------------------------------------------------------------------------------------------- */

static enum cli_exit findings_exit(const struct findings *findings)
{
    if (findings->missing + findings->extra + findings->different > 0)
        return CLI_DIFFERS;
    return findings->unreadable > 0 ? CLI_FAILED : CLI_OK;
}

static void print_findings_json(const struct verify *verify)
{
    const struct findings *f = &verify->findings;
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {
        {"same", f->same},           {"same_bytes", f->same_bytes}, {"missing", f->missing},   {"extra", f->extra},
        {"different", f->different}, {"unreadable", f->unreadable}, {"left_out", f->left_out}, {"ns", f->ns},
        {"open_ns", verify->open_ns}};
    json_t *object = json_object();
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        json_object_set_new(object, members[i].name, json_integer((json_int_t)members[i].value));
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static void print_findings(const struct verify *verify)
{
    const struct findings *f = &verify->findings;
    char a[TEXT_SIZE], b[TEXT_SIZE], c[TEXT_SIZE];
    printf("  equal, byte for byte         %s, %s\n", text_count(a, f->same), text_bytes(b, f->same_bytes));
    printf("  missing, different, extra    %s, %s, %s\n", text_count(a, f->missing), text_count(b, f->different),
           text_count(c, f->extra));
    if (f->left_out > 0)
        printf("  left out, as import does     %s\n", text_count(a, f->left_out));
    if (f->unreadable > 0)
        printf("  could not be compared        %s\n", text_count(a, f->unreadable));
    printf("  database opened in           %s\n", text_elapsed(a, verify->open_ns));
    printf("  time, rate                   %s, %.0f MB/s\n", text_elapsed(a, f->ns), rate_mb(f->same_bytes, f->ns));
}

static enum cli_exit compare_and_report(struct verify *verify, const char *log, const char *root)
{
    uint64_t start = clock_ns();
    enum cli_exit code = log ? compare_acked(verify, log, root) : compare_tree(verify, root);
    verify->findings.ns = clock_ns() - start;
    bytes_deinit(&verify->closed);
    value_deinit(&verify->value);
    if (verify->json)
        print_findings_json(verify);
    else if (!verify->quiet)
        print_findings(verify);
    return code == CLI_OK ? findings_exit(&verify->findings) : CLI_FAILED;
}

/* ---- the database alone --------------------------------------------------------------------------------------- */

static bool on_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
    struct verify *verify = arg;
    verify->progress.total_bytes = total_bytes;
    progress_update(&verify->progress, done_bytes, 0);
    return true;
}

static void print_report_json(const struct verify *verify, nokv_status status, const nokv_verify_report *report,
                              uint64_t ns)
{
    json_t *object = json_object();
    json_object_set_new(object, "status", json_string(nokv_status_name(status)));
    if (status != NOKV_OK)
        json_object_set_new(object, "message", json_string(nokv_error_message()));
    json_object_set_new(object, "files", json_integer((json_int_t)report->files));
    json_object_set_new(object, "bytes", json_integer((json_int_t)report->bytes));
    json_object_set_new(object, "blocks", json_integer((json_int_t)report->blocks));
    json_object_set_new(object, "entries", json_integer((json_int_t)report->entries));
    json_object_set_new(object, "wal_records", json_integer((json_int_t)report->wal_records));
    json_object_set_new(object, "segments", json_integer((json_int_t)report->segments));
    json_object_set_new(object, "segment_bytes", json_integer((json_int_t)report->segment_bytes));
    json_object_set_new(object, "values", json_integer((json_int_t)report->values));
    json_object_set_new(object, "ns", json_integer((json_int_t)ns));
    json_object_set_new(object, "open_ns", json_integer((json_int_t)verify->open_ns));
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static void print_report(const struct verify *verify, const nokv_verify_report *report, uint64_t ns)
{
    char a[TEXT_SIZE], b[TEXT_SIZE], c[TEXT_SIZE];
    printf("  tables read through          %s, %s\n", text_count(a, report->files), text_bytes(b, report->bytes));
    printf("  segments read through        %s, %s\n", text_count(a, report->segments),
           text_bytes(b, report->segment_bytes));
    printf("  checksums verified           %s blocks, %s log records, %s separate values\n",
           text_count(a, report->blocks), text_count(b, report->wal_records), text_count(c, report->values));
    printf("  entries in order             %s\n", text_count(a, report->entries));
    printf("  database opened in           %s\n", text_elapsed(a, verify->open_ns));
    printf("  time, rate                   %s, %.0f MB/s\n", text_elapsed(a, ns),
           rate_mb(report->bytes + report->segment_bytes, ns));
}

static enum cli_exit check_database(struct verify *verify)
{
    nokv_verify_report report = {0};
    uint64_t start = clock_ns();
    progress_begin(&verify->progress, "verify", 0, verify->quiet);
    nokv_status status = nokv_verify(verify->db, on_progress, verify, &report);
    progress_end(&verify->progress);
    uint64_t ns = clock_ns() - start;
    if (verify->json)
        print_report_json(verify, status, &report, ns);
    else if (status == NOKV_OK && !verify->quiet)
        print_report(verify, &report, ns);
    if (status == NOKV_OK)
        return CLI_OK;
    cli_status_error(verify->args, status);
    return CLI_FAILED;
}

/* ---- the command ---------------------------------------------------------------------------------------------- */

static const struct cli_option verify_options[] = {
    {"against", 'a', "DIR", "compare with the files below DIR, in both directions"},
    {"acked", 0, "LOG", "with --against: only the keys in LOG, which import\nwrote (--ack-fd)"},
    {"json", 'j', NULL, "one JSON object; differences are counted, not listed"},
    {"quiet", 'q', NULL, "no progress and no summary"},
    {0},
};

static enum cli_exit verify_run(const struct cli_args *args)
{
    const char *root = cli_value(args, "against"), *log = cli_value(args, "acked");
    if (log && !root)
        return cli_usage_error(args, "--acked needs --against DIR");
    struct verify verify = {.args = args, .json = cli_flag(args, "json"), .quiet = cli_flag(args, "quiet")};
    uint64_t start = clock_ns();
    if (cli_open(args, args->positionals[0], CLI_READ, &verify.db) != CLI_OK)
        return CLI_FAILED;
    verify.open_ns = clock_ns() - start;
    enum cli_exit code = root ? compare_and_report(&verify, log, root) : check_database(&verify);
    return cli_close(args, verify.db, code);
}

const struct cli_command verify_command = {
    .name = "verify",
    .summary = "check every checksum, or compare with a directory",
    .usage = "DB [--against DIR [--acked LOG]] [--json] [--quiet]",
    .description = "Reads every table and every segment of the value log through and checks each\n"
                   "checksum, the order of the entries, and that every reference leads to its value;\n"
                   "damage is exit code 3, and the message names the file. With --against DIR it\n"
                   "compares instead, byte for byte and both ways, with the files that import takes\n"
                   "from DIR:\n"
                   "\n"
                   "  missing    a file below DIR, not in the database\n"
                   "  extra      in the database, no file below DIR\n"
                   "  different  in both, with different bytes\n"
                   "\n"
                   "Each is a line \"WHAT<TAB>PATH\", and the exit code is 1. Never writes to DB.",
    .examples = "  nokv verify doc.db\n"
                "  nokv verify doc.db --against /usr/share/doc\n"
                "  nokv verify doc.db --against /usr/share/doc --acked acknowledged.log",
    .options = verify_options,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = verify_run,
};
