// SPDX-License-Identifier: Apache-2.0
/*
 * progress.c - the bar and the lines.
 *
 * The rate is the average since the beginning: with files of all sizes a moving window jumps about, and the time left
 * with it. The bar is redrawn ten times a second at the most, a line comes every five seconds.
 */
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "text.h"

#define BAR_EVERY_NS 100000000u
#define LINE_EVERY_NS 5000000000u
#define COLUMNS_MAX 160

void progress_begin(struct progress *progress, const char *label, uint64_t total_bytes, bool quiet)
{
    const char *term = getenv("TERM");
    *progress = (struct progress){.label = label,
                                  .quiet = quiet,
                                  .terminal = isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0),
                                  .total_bytes = total_bytes,
                                  .start_ns = clock_ns()};
    progress->shown_ns = progress->start_ns;
}

static unsigned terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 80;
    return size.ws_col < COLUMNS_MAX ? size.ws_col : COLUMNS_MAX;
}

/* "312.4 of 758.2 MiB, 27,114 files, 145 MB/s, 0:03 left" */
static int describe(const struct progress *progress, uint64_t done, uint64_t items, char *out, size_t size)
{
    char a[TEXT_SIZE], b[TEXT_SIZE], c[TEXT_SIZE], files[TEXT_SIZE + 16] = "", left[TEXT_SIZE + 16] = "";
    uint64_t elapsed = clock_ns() - progress->start_ns;
    if (items > 0)
        snprintf(files, sizeof files, ", %s files", text_count(c, items));
    if (done > 0 && progress->total_bytes >= done)
        snprintf(left, sizeof left, ", %s left",
                 text_duration(c, (double)elapsed / 1e9 * (double)(progress->total_bytes - done) / (double)done));
    return snprintf(out, size, "%s%s%s%s, %.0f MB/s%s", text_bytes(a, done), progress->total_bytes > 0 ? " of " : "",
                    progress->total_bytes > 0 ? text_bytes(b, progress->total_bytes) : "", files,
                    rate_mb(done, elapsed), left);
}

static void draw_bar(struct progress *progress, unsigned percent, const char *text)
{
    char bar[COLUMNS_MAX + 1] = "";
    unsigned columns = terminal_columns();
    unsigned used = (unsigned)(strlen(progress->label) + strlen(text)) + 12;
    unsigned width = columns > used + 6 ? columns - used : 0;
    if (width > 30)
        width = 30;
    memset(bar, ' ', width);
    memset(bar, '=', width * percent / 100);
    if (percent < 100 && width > 0)
        bar[width * percent / 100] = '>';
    if (width > 0)
        fprintf(stderr, "\r\033[K%s %3u%% [%s] %s", progress->label, percent, bar, text);
    else
        fprintf(stderr, "\r\033[K%s %3u%% %.*s", progress->label, percent,
                (int)(columns > strlen(progress->label) + 7 ? columns - strlen(progress->label) - 7 : 0), text);
    fflush(stderr);
    progress->drawn = true;
}

/* Is it time to show something again? */
static bool is_due(struct progress *progress)
{
    uint64_t now = clock_ns();
    if (progress->quiet || now - progress->shown_ns < (progress->terminal ? BAR_EVERY_NS : LINE_EVERY_NS))
        return false;
    progress->shown_ns = now;
    return true;
}

void progress_update(struct progress *progress, uint64_t done_bytes, uint64_t items)
{
    if (!is_due(progress))
        return;
    char text[256];
    describe(progress, done_bytes, progress->terminal ? 0 : items, text, sizeof text); /* a bar has no room for it */
    uint64_t total = progress->total_bytes;
    unsigned percent = total == 0            ? 0
                       : done_bytes >= total ? 100
                                             : (unsigned)((double)done_bytes * 100 / (double)total);
    if (progress->terminal)
        draw_bar(progress, percent, text);
    else
        fprintf(stderr, "%s: %u%%, %s\n", progress->label, percent, text);
}

void progress_note(struct progress *progress, const char *text)
{
    if (!is_due(progress))
        return;
    unsigned columns = terminal_columns(), used = (unsigned)strlen(progress->label) + 3;
    if (progress->terminal)
        fprintf(stderr, "\r\033[K%s: %.*s", progress->label, (int)(columns > used ? columns - used : 0), text);
    else
        fprintf(stderr, "%s: %s\n", progress->label, text);
    fflush(stderr);
    progress->drawn = progress->terminal;
}

void progress_clear(struct progress *progress)
{
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}
