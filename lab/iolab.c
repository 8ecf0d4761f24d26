// SPDX-License-Identifier: Apache-2.0
/*
 * iolab.c - a run of the laboratory from its options to its reports.
 *
 *     check options ─ make the directory ─ look at the machine ─ parts 1 to 5 ─ reports ─ remove the directory
 *
 * Whatever ends a run, the directory goes: a failure, Ctrl-C (which first reports what was measured by then), the death
 * of a child. Only the death of this process itself leaves it behind. Reports are written last, after the files are
 * gone, so that a report that cannot be written costs no space.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/thread.h"
#include "lab/lab.h"

static struct lab *running; /* for the signal handler; one run at a time */

static void on_signal(int number)
{
    (void)number;
    if (running)
        atomic_store_explicit(&running->stop, true, memory_order_relaxed);
}

/* ---- progress ------------------------------------------------------------------------------------------------- */

void lab_progress(const struct lab *lab, const char *format, ...)
{
    if (!lab->options.progress)
        return;
    va_list list;
    va_start(list, format);
    fputs("== ", lab->options.progress);
    vfprintf(lab->options.progress, format, list);
    fputc('\n', lab->options.progress);
    fflush(lab->options.progress);
    va_end(list);
}

void lab_progress_row(const struct lab *lab, const struct lab_row *row)
{
    char best[32];
    struct lab_winner w = lab_row_winner(row);
    if (!lab->options.progress)
        return;
    fprintf(lab->options.progress, "   %s, %s: ", row->group, row->label);
    if (w.index < 0) {
        fprintf(lab->options.progress, "left out\n");
    } else {
        lab_figure_text(lab_contender_spread(&row->contenders[w.index], row->figure).median, row->figure, best);
        fprintf(lab->options.progress, "%s, %s%s\n", row->contenders[w.index].name, best,
                row->wrong ? " (WRONG bytes were read)" : "");
    }
    fflush(lab->options.progress);
}

/* ---- the machine ---------------------------------------------------------------------------------------------- */

static void cpu_name(char *out, size_t size)
{
    char line[256];
    snprintf(out, size, "unknown processor");
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            snprintf(out, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (f)
        fclose(f);
}

static void machine_describe(struct lab *lab)
{
    struct utsname name = {0};
    char cpu[128];
    time_t now = time(NULL);
    struct tm utc;
    (void)uname(&name);
    cpu_name(cpu, sizeof cpu);
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    snprintf(lab->machine, sizeof lab->machine, "%s, %ld processors, %lu MiB of memory, %s %s", cpu,
             sysconf(_SC_NPROCESSORS_ONLN), memory >> 20, name.sysname, name.release);
    if (gmtime_r(&now, &utc))
        (void)strftime(lab->date, sizeof lab->date, "%Y-%m-%d %H:%M UTC", &utc);
}

static enum nokv_status models_try(struct lab *lab, struct io *io, void *arg)
{
    static const enum io_model tried[] = {IO_DIRECT, IO_URING};
    (void)arg;
    char path[LAB_PATH_SIZE];
    lab_path(lab, "probe", path);
    for (unsigned i = 0; i < ARRAY_COUNT(tried); i++) {
        struct io_file *file CLEANUP(io_close_ptr) = NULL;
        TRY(io_open(io, path, IO_OTHER, tried[i], IO_READ | IO_WRITE | IO_CREATE, &file));
        if (io_file_model(file) != tried[i])
            snprintf(lab->refused[tried[i]], sizeof lab->refused[0], "%s",
                     tried[i] == IO_URING ? io_uring_state(io) : "refused: this file system has no O_DIRECT");
        TRY(io_unlink(io, path));
    }
    return NOKV_OK;
}

/* ---- a run ---------------------------------------------------------------------------------------------------- */

/* The most that is there at a time: two tables or a table and a segment in parts 2 and 3; in part 4 a database that is
 * written anew, with its log. */
static uint64_t space_needed(const struct lab *lab)
{
    return u64_max(5 * lab->size / 2, lab->size / 2 + 10 * lab->memory + (192 << 20));
}

static enum nokv_status terms_set(struct lab *lab, const struct iolab_options *options)
{
    struct stat st;
    lab->options = *options;
    lab->seed = options->seed;
    lab->size = options->size_bytes ? options->size_bytes : options->quick ? 128ull << 20 : 512ull << 20;
    if (lab->size < IOLAB_SIZE_MIN || lab->size > IOLAB_SIZE_MAX)
        return FAIL(INVALID, "a size from %llu MiB to %llu GiB is possible", IOLAB_SIZE_MIN >> 20,
                    IOLAB_SIZE_MAX >> 30);
    /* a process needs some MiB of its own */
    lab->memory = options->memory_bytes ? options->memory_bytes : u64_max(lab->size / 4, 8 << 20);
    if (lab->memory < 8 << 20 || lab->memory > lab->size)
        return FAIL(INVALID,
                    "memory can be limited to 8 MiB and more, and to be short to no more than the size of the "
                    "files, %lu MiB",
                    lab->size >> 20);
    lab->rounds = options->quick ? 3 : 5;
    lab->slice_ns = options->quick ? 30000000 : 250000000;
    if (options->quick && lab->size <= 16 << 20) { /* a test of this program, not of the machine */
        lab->slice_ns = 2000000;
        lab->rounds = 1;
    }
    if (stat(options->dir, &st) != 0)
        return FAIL_ERRNO(errno, "%s: cannot be used as the directory", options->dir);
    if (!S_ISDIR(st.st_mode))
        return FAIL(INVALID, "%s: is not a directory", options->dir);
    if (snprintf(lab->dir, sizeof lab->dir - 64, "%s/nokv-iolab-%ld", options->dir, (long)getpid()) >=
        (int)sizeof lab->dir - 64)
        return FAIL(INVALID, "%s: the name is too long", options->dir);
    return lab_space_check(lab, space_needed(lab));
}

static enum nokv_status parts_run(struct lab *lab)
{
    static enum nokv_status (*const parts[])(struct lab * lab) = {lab_append, lab_small, lab_large, lab_pollution,
                                                                  lab_faults};
    const struct lab_task probe = {.run = models_try};
    TRY(lab_child_run(lab, &probe));
    for (unsigned i = 0; i < ARRAY_COUNT(parts); i++)
        TRY(parts[i](lab));
    return NOKV_OK;
}

static enum nokv_status measure(struct lab *lab)
{
    char message[IOLAB_ERROR_SIZE];
    uint64_t begin = clock_now_ns();
    if (mkdir(lab->dir, 0700) != 0)
        return FAIL_ERRNO(errno, "%s: cannot be made", lab->dir);
    machine_describe(lab);
    lab_cgroup_find(lab);
    enum nokv_status status = parts_run(lab);
    snprintf(message, sizeof message, "%s", status_message());
    lab_cgroup_forget(lab);
    enum nokv_status removed = lab_dir_remove(lab->dir);
    lab->seconds = (double)(clock_now_ns() - begin) / 1e9;
    if (status != NOKV_OK)
        return FAIL_WITH(status, "%s", message);
    return removed;
}

/* Rows that were never begun, or in the middle of which the run was stopped, are not part of the report. */
static void unfinished_remove(struct lab *lab)
{
    while (lab->row_count > 0 && lab_row_winner(&lab->rows[lab->row_count - 1]).index < 0 &&
           !lab->rows[lab->row_count - 1].skipped)
        lab->row_count--;
}

static enum nokv_status report(const struct lab *lab)
{
    const struct iolab_options *o = &lab->options;
    bool json_only = o->json_path && strcmp(o->json_path, "-") == 0;
    if (json_only)
        lab_report_json(lab, o->out);
    else
        lab_report_text(lab, o->out);
    if (o->json_path && !json_only)
        TRY(lab_file_write(o->json_path, lab_report_json, lab));
    if (o->html_path)
        TRY(lab_file_write(o->html_path, lab_report_html, lab));
    return NOKV_OK;
}

static bool anything_wrong(const struct lab *lab)
{
    for (unsigned i = 0; i < lab->row_count; i++)
        if (lab->rows[i].wrong)
            return true;
    return false;
}

static enum iolab_outcome run(struct lab *lab, const struct iolab_options *options)
{
    enum nokv_status status = terms_set(lab, options);
    if (status != NOKV_OK)
        return IOLAB_FAILED;
    status = measure(lab);
    bool stopped = lab_stopped(lab);
    if (status != NOKV_OK && !stopped)
        return IOLAB_FAILED;
    if (stopped)
        unfinished_remove(lab);
    if (report(lab) != NOKV_OK)
        return IOLAB_FAILED;
    return stopped ? IOLAB_STOPPED : anything_wrong(lab) ? IOLAB_WRONG : IOLAB_OK;
}

enum iolab_outcome iolab_run(const struct iolab_options *options, char out_error[IOLAB_ERROR_SIZE])
{
    struct sigaction action = {.sa_handler = on_signal}, old_int, old_term;
    running = lab_shared_alloc(sizeof *running);
    if (!running) {
        snprintf(out_error, IOLAB_ERROR_SIZE, "out of memory");
        return IOLAB_FAILED;
    }
    (void)sigaction(SIGINT, &action, &old_int);
    (void)sigaction(SIGTERM, &action, &old_term);
    enum iolab_outcome outcome = run(running, options);
    if (outcome == IOLAB_FAILED)
        snprintf(out_error, IOLAB_ERROR_SIZE, "%s", status_message());
    (void)sigaction(SIGINT, &old_int, NULL);
    (void)sigaction(SIGTERM, &old_term, NULL);
    lab_shared_free(TAKE(running), sizeof *running);
    return outcome;
}
