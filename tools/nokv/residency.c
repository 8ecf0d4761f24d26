// SPDX-License-Identifier: Apache-2.0
/*
 * residency.c - `nokv residency`: what of a database is in the page cache, once or again and again.
 *
 * A picture is taken whole, then drawn into memory, then written at one go, so that a redrawn screen does not flicker.
 * On a terminal a watch begins each picture at the top left corner and clears what is left of the one before it line by
 * line; elsewhere each picture is a block of its own.
 *
 * A watch has no signal handler: SIGINT, SIGTERM and SIGWINCH are blocked, and the pause between two pictures is a wait
 * for them. So a picture is never cut off in the middle, and the terminal needs no repair.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "residency_rows.h"
#include "text.h"

#define CELLS_MAX 512
#define JSON_CELLS 60
#define NS_PER_S 1000000000.0

struct screen {
    bool is_terminal, is_ascii, has_colour;
    unsigned columns, lines;
};

struct view {
    const char *path;
    bool json, watch;
    double every_s;
    uint64_t count; /* pictures; 0: no end */
    struct screen screen;
    struct picture now, before;
    uint64_t drawn; /* pictures so far */
};

/* ---- the terminal --------------------------------------------------------------------------------------------- */

static bool is_utf8(void)
{
    locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    if (locale == (locale_t)0)
        return false;
    bool is_it = strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;
    freelocale(locale);
    return is_it;
}

static void screen_measure(struct screen *screen)
{
    struct winsize size;
    bool is_known = screen->is_terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    screen->columns = is_known ? size.ws_col : 80;
    screen->lines = is_known && size.ws_row > 0 ? size.ws_row : UINT32_MAX;
}

static void screen_init(struct screen *screen, bool ascii)
{
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    screen->is_terminal = isatty(STDOUT_FILENO) && !(term && strcmp(term, "dumb") == 0);
    screen->has_colour = screen->is_terminal && !(no_colour && no_colour[0]);
    screen->is_ascii = ascii || !is_utf8();
    screen_measure(screen);
}

#define BOLD "\033[1m"
#define CYAN "\033[36m"
#define GREEN "\033[32m"
#define RED "\033[31m"
#define DIM "\033[2m"

/* `text` as it is, or in a colour where there are any. */
static void put_coloured(FILE *out, const struct screen *screen, const char *colour, const char *text)
{
    if (screen->has_colour && text[0])
        fprintf(out, "%s%s\033[0m", colour, text);
    else
        fputs(text, out);
}

/* ---- the table ------------------------------------------------------------------------------------------------ */

static const char *shade(const struct screen *screen, unsigned percent)
{
    static const char *const shades[2][5] = {{" ", "░", "▒", "▓", "█"}, {" ", ".", ":", "+", "#"}};
    unsigned index = percent == 0 ? 0 : percent == 100 ? 4 : percent < 34 ? 1 : percent < 67 ? 2 : 3;
    return shades[screen->is_ascii][index];
}

static void put_map(FILE *out, const struct screen *screen, const struct row *row, size_t cells)
{
    unsigned char percents[CELLS_MAX];
    char text[CELLS_MAX * 3 + 1] = "";
    size_t size = 0;
    if (cells > CELLS_MAX)
        cells = CELLS_MAX;
    row_cells(row, cells, percents);
    for (size_t i = 0; i < cells; i++) {
        const char *s = row->is_unknown ? "?" : shade(screen, percents[i]);
        size += (size_t)snprintf(text + size, sizeof text - size, "%s", s);
    }
    fputs(" |", out);
    put_coloured(out, screen, CYAN, text);
    fputc('|', out);
}

/* What came into the cache or left it since the picture before. */
static void put_change(FILE *out, const struct screen *screen, const struct row *row, const struct row *before)
{
    char text[TEXT_SIZE + 1] = "", bytes[TEXT_SIZE];
    const char *colour = "";
    if (before && !before->is_unknown && !row->is_unknown && before->resident != row->resident) {
        bool more = row->resident > before->resident;
        uint64_t change = more ? row->resident - before->resident : before->resident - row->resident;
        snprintf(text, sizeof text, "%c%s", more ? '+' : '-', text_bytes(bytes, change));
        colour = more ? GREEN : RED;
    }
    fprintf(out, "%*s", text[0] ? (int)(12 - strlen(text)) : 12, "");
    put_coloured(out, screen, colour, text);
}

static const char *percent_text(char text[TEXT_SIZE], const struct row *row)
{
    if (row->is_unknown || row->bytes == 0)
        return row->is_unknown ? "?" : "-";
    snprintf(text, TEXT_SIZE, "%u%%", share_percent((double)row->resident, (double)row->bytes));
    return text;
}

struct columns {
    int name;
    bool files, change;
    size_t cells; /* of the map; 0: no room for one */
};

static struct columns columns_of(const struct view *view)
{
    struct columns c = {.name = 9, .files = !view->now.by_file, .change = view->watch};
    for (size_t i = 0; i < view->now.count; i++)
        c.name = (int)strlen(view->now.rows[i].name) > c.name ? (int)strlen(view->now.rows[i].name) : c.name;
    size_t used = (size_t)c.name + (c.files ? 7 : 0) + 11 + 11 + 5 + (c.change ? 12 : 0) + 3;
    c.cells = view->screen.columns > used + 7 ? view->screen.columns - used : 0;
    return c;
}

static void put_row(FILE *out, const struct view *view, const struct columns *c, const struct row *row)
{
    char text[TEXT_SIZE];
    const struct row *before = &view->before.total;
    if (row != &view->now.total)
        before = picture_find(&view->before, row->name, (size_t)(row - view->now.rows));
    fprintf(out, "%-*s", c->name, row->name);
    if (c->files)
        fprintf(out, " %6" PRIu64, row->files);
    fprintf(out, " %10s", text_bytes(text, row->bytes));
    fprintf(out, " %10s", row->is_unknown ? "unknown" : text_bytes(text, row->resident));
    fprintf(out, " %4s", percent_text(text, row));
    if (c->change && (view->drawn > 0 || row->span_count > 0))
        put_change(out, &view->screen, row, view->drawn > 0 ? before : NULL);
    if (c->cells > 0 && row->span_count > 0)
        put_map(out, &view->screen, row, c->cells);
    fputc('\n', out);
}

static void put_head(FILE *out, const struct view *view, const struct columns *c)
{
    char line[160], when[32] = "";
    time_t now = time(NULL);
    struct tm tm;
    if (view->watch && localtime_r(&now, &tm) != NULL) {
        strftime(when, sizeof when, "%H:%M:%S", &tm);
        fprintf(out, "%s at %s, every %g s", view->path, when, view->every_s);
        fputs(view->screen.is_terminal ? " (Ctrl-C ends)\n\n" : "\n", out);
    }
    snprintf(line, sizeof line, "%-*s%s %10s %10s %4s%s%s", c->name, view->now.by_file ? "file" : "component",
             c->files ? "  files" : "", "size", "in cache", "", c->change ? "      change" : "",
             c->cells >= 18 ? "  map, in key order" : "");
    put_coloured(out, &view->screen, BOLD, line);
    fputc('\n', out);
}

static void put_notes(FILE *out, const struct view *view, const struct columns *c)
{
    const struct screen *s = &view->screen;
    char line[256];
    fputc('\n', out);
    if (c->cells > 0) {
        snprintf(line, sizeof line, "map: %s up to a third of a cell is in the cache, %s two thirds, %s more, %s all",
                 shade(s, 1), shade(s, 50), shade(s, 99), shade(s, 100));
        put_coloured(out, s, DIM, line);
        fputc('\n', out);
    }
    if (view->now.total.is_unknown)
        fputs("unknown: the kernel tells only the owner of a file and who may write to it\n", out);
    if (view->now.damaged > 0)
        fprintf(out, "the footer of %" PRIu64 " table%s cannot be read: all of such a table counts as data\n",
                view->now.damaged, view->now.damaged == 1 ? "" : "s");
}

static void put_table(FILE *out, const struct view *view)
{
    struct columns c = columns_of(view);
    put_head(out, view, &c);
    for (size_t i = 0; i < view->now.count; i++)
        put_row(out, view, &c, &view->now.rows[i]);
    put_row(out, view, &c, &view->now.total);
    put_notes(out, view, &c);
}

/* ---- JSON ----------------------------------------------------------------------------------------------------- */

static void set_integer(json_t *object, const char *name, uint64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

static void set_bytes(json_t *object, const struct row *row)
{
    set_integer(object, "files", row->files);
    set_integer(object, "bytes", row->bytes);
    json_object_set_new(object, "resident_bytes",
                        row->is_unknown ? json_null() : json_integer((json_int_t)row->resident));
}

static json_t *json_map(const struct row *row)
{
    unsigned char percents[JSON_CELLS];
    if (row->is_unknown || row->bytes == 0)
        return json_null();
    json_t *map = json_array();
    row_cells(row, JSON_CELLS, percents);
    for (size_t i = 0; i < JSON_CELLS; i++)
        json_array_append_new(map, json_integer(percents[i]));
    return map;
}

static json_t *json_row(const struct row *row)
{
    json_t *object = json_object();
    json_object_set_new(object, "name", json_string(row->name));
    json_object_set_new(object, "component", json_string(row->component));
    json_object_set_new(object, "level", row->level >= 0 ? json_integer(row->level) : json_null());
    json_object_set_new(object, "part", row->part ? json_string(row->part) : json_null());
    set_bytes(object, row);
    json_object_set_new(object, "map", json_map(row));
    return object;
}

static void put_json(FILE *out, const struct view *view)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    json_t *root = json_object(), *rows = json_array();
    set_integer(root, "time_ms", (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
    set_bytes(root, &view->now.total);
    set_integer(root, "damaged_tables", view->now.damaged);
    for (size_t i = 0; i < view->now.count; i++)
        json_array_append_new(rows, json_row(&view->now.rows[i]));
    json_object_set_new(root, view->now.by_file ? "by_file" : "components", rows);
    json_dumpf(root, out, view->watch ? JSON_COMPACT : JSON_INDENT(2));
    fputc('\n', out);
    json_decref(root);
}

/* ---- one picture ---------------------------------------------------------------------------------------------- */

/* In place: from the top left corner, no more lines than there are, so that nothing scrolls. */
static void show_in_place(const struct view *view, const char *text)
{
    fputs(view->drawn == 0 ? "\033[2J\033[H" : "\033[H", stdout);
    for (unsigned line = 1; *text; line++) {
        const char *end = strchr(text, '\n');
        bool is_last = line + 1 >= view->screen.lines && strchr(end + 1, '\n') != NULL;
        if (is_last)
            fputs("... (more lines than the terminal has)\033[K\n", stdout);
        else
            printf("%.*s\033[K\n", (int)(end - text), text);
        if (is_last)
            break;
        text = end + 1;
    }
    fputs("\033[J", stdout);
}

static bool show(struct view *view)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return false;
    screen_measure(&view->screen);
    if (view->json)
        put_json(out, view);
    else
        put_table(out, view);
    if (fclose(out) != 0) {
        free(text);
        return false;
    }
    if (view->watch && !view->json && view->screen.is_terminal)
        show_in_place(view, text);
    else
        printf("%s%s", view->watch && !view->json && view->drawn > 0 ? "\n" : "", text);
    free(text);
    return fflush(stdout) == 0;
}

static enum cli_exit picture_failed(const struct cli_args *args, const struct view *view, nokv_status status)
{
    if (status == NOKV_ERR_NOT_FOUND && view->drawn > 0)
        cli_error(args, "the database is gone: %s", nokv_error_message());
    else
        cli_status_error(args, status);
    return CLI_FAILED;
}

static enum cli_exit take_and_show(const struct cli_args *args, struct view *view)
{
    picture_deinit(&view->before);
    view->before = view->now;
    view->now = (struct picture){.by_file = view->before.by_file};
    nokv_status status = picture_take(view->path, &view->now);
    if (status != NOKV_OK)
        return picture_failed(args, view, status);
    if (!show(view))
        return CLI_FAILED; /* main() says that the output did not arrive */
    view->drawn++;
    return CLI_OK;
}

/* ---- watching ------------------------------------------------------------------------------------------------- */

/* False: somebody wants it to end. */
static bool pause_until_next(const sigset_t *signals, double seconds)
{
    struct timespec pause = {.tv_sec = (time_t)seconds};
    pause.tv_nsec = (long)((seconds - (double)pause.tv_sec) * NS_PER_S);
    for (;;) {
        int found = sigtimedwait(signals, NULL, &pause);
        if (found == SIGINT || found == SIGTERM)
            return false;
        if (found == SIGWINCH || errno == EAGAIN)
            return true; /* it has another size, or it is time */
    }
}

static enum cli_exit watch(const struct cli_args *args, struct view *view)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGWINCH);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    for (;;) {
        enum cli_exit code = take_and_show(args, view);
        if (code != CLI_OK || (view->count > 0 && view->drawn >= view->count))
            return code;
        if (!pause_until_next(&signals, view->every_s))
            return CLI_OK;
    }
}

static enum cli_exit residency_run(const struct cli_args *args)
{
    struct view view = {.path = args->positionals[0],
                        .json = cli_flag(args, "json"),
                        .watch = cli_flag(args, "watch") || cli_flag(args, "every"),
                        .every_s = 1};
    view.now.by_file = cli_flag(args, "files");
    if (!cli_ratio(args, "every", 0.01, 86400, &view.every_s) || !cli_number(args, "count", 1, UINT32_MAX, &view.count))
        return CLI_USAGE;
    if (!view.watch && view.count > 0)
        return cli_usage_error(args, "--count belongs to --watch");
    screen_init(&view.screen, cli_flag(args, "ascii"));
    enum cli_exit code = view.watch ? watch(args, &view) : take_and_show(args, &view);
    picture_deinit(&view.now);
    picture_deinit(&view.before);
    return code;
}

static const struct cli_option residency_options[] = {
    {"watch", 'w', NULL, "again every second, with what changed, until Ctrl-C; on a\nterminal in place"},
    {"every", 'e', "SECONDS", "the same at another pace: 0.5, 10"},
    {"count", 'c', "N", "with --watch: end after N pictures"},
    {"files", 'f', NULL, "a line per file"},
    {"json", 'j', NULL, "one JSON object; with --watch one per line"},
    {"ascii", 'a', NULL, "draw the map with .:+# (the default where the locale is not\nUTF-8)"},
    {0},
};

const struct cli_command residency_command = {
    .name = "residency",
    .summary = "what part of a database is in the page cache, live",
    .usage = "DB [--watch | --every SECONDS] [--count N] [--files] [--json] [--ascii]",
    .description = "Asks the kernel which pages of the database's files are in memory, without\n"
                   "opening the database: it may be closed, or in use by another process. Looking\n"
                   "brings no table and no segment in, and does not count as use.\n"
                   "\n"
                   "  WAL, MANIFEST   the logs (a preallocated end counts as part of the size)\n"
                   "  buffers         WALBUF and VLOGBUF, memory that outlives the process\n"
                   "  L0 data ...     tables per level: data blocks; filter; index, with all that\n"
                   "                  is neither. A point read wants filter and index in memory\n"
                   "  no level        tables being built, or replaced and still being read\n"
                   "  value log       its segments\n"
                   "\n"
                   "The map shows the bytes of a row from left to right: tables in key order\n"
                   "(level 0: the newest first), segments and logs by age. A cell is blank when\n"
                   "nothing of it is in the cache and full when all of it is.\n"
                   "\n"
                   "The kernel answers only the owner of the files and who may write to them;\n"
                   "others see 'unknown'. Before Linux 6.5 the question is mincore, and slower.",
    .examples = "  nokv residency films.db\n"
                "  nokv residency films.db --watch\n"
                "  nokv residency films.db --files --every 5 --count 12 > a-minute.txt\n"
                "  nokv residency films.db --json | jq '.components[] | [.name, .resident_bytes]'",
    .options = residency_options,
    .positionals_min = 1,
    .positionals_max = 1,
    .run = residency_run,
};
