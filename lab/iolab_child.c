// SPDX-License-Identifier: Apache-2.0
/*
 * iolab_child.c - each measurement in a process of its own.
 *
 * The parent forks, waits and reports; the child makes an environment of the I/O layer and runs the task. The child
 * joins its memory group before it touches anything, and dies with the parent. It leaves Ctrl-C to the parent, which
 * sets a flag that tasks look at between samples.
 *
 * A child that is killed with SIGKILL is taken for one that was out of memory: its row says so and the run goes on. A
 * task that fails ends the run, since what fails is the disk or a bug, and the message travels through shared memory.
 * Why processes and not threads: a memory limit holds for a process, and the counters of faults and processor time do.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/epoch.h"
#include "base/thread.h"
#include "lab/lab.h"

bool lab_stopped(const struct lab *lab)
{
    return atomic_load_explicit(&lab->stop, memory_order_relaxed);
}

static enum nokv_status task_run(struct lab *lab, const struct lab_task *task)
{
    struct io *io = NULL;
    if (task->limit_bytes && lab->cgroup.version)
        TRY(lab_cgroup_enter(lab, (long)getpid(), task->limit_bytes));
    TRY(io_guard_install());
    TRY(io_real_create(&io));
    enum nokv_status status = task->run(lab, io, task->arg);
    if (status != NOKV_OK)
        return status; /* files may still be open; the process ends */
    epoch_drain();     /* readers of tables and segments end here: there are no background threads */
    io_destroy(io);
    io_guard_remove();
    return NOKV_OK;
}

static void child_main(struct lab *lab, const struct lab_task *task)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGINT, SIG_IGN);
    enum nokv_status status = task_run(lab, task);
    if (status != NOKV_OK && status != NOKV_ERR_ABORTED)
        snprintf(lab->error, sizeof lab->error, "%s", status_message());
    _exit((int)status & 0xff);
}

static void killed(const struct lab_task *task)
{
    static const char why[] = "killed: it needed more memory than the limit";
    struct lab_row *row = task->row;
    if (task->contender)
        snprintf(task->contender->failed, sizeof task->contender->failed, "%s", why);
    for (unsigned i = 0; row && i < row->count; i++)
        if (row->contenders[i].count == 0)
            snprintf(row->contenders[i].failed, sizeof row->contenders[i].failed, "%s", why);
}

static enum nokv_status ended(struct lab *lab, const struct lab_task *task, int status)
{
    if (lab_stopped(lab))
        return FAIL(ABORTED, "interrupted");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && task->limit_bytes) {
        killed(task);
        return NOKV_OK;
    }
    if (WIFSIGNALED(status))
        return FAIL(IO, "a measuring process was ended by signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) == 0)
        return NOKV_OK;
    return FAIL_WITH((enum nokv_status)WEXITSTATUS(status), "%s", lab->error);
}

enum nokv_status lab_child_run(struct lab *lab, const struct lab_task *task)
{
    if (lab_stopped(lab))
        return FAIL(ABORTED, "interrupted");
    if (lab->options.progress)
        fflush(lab->options.progress);
    fflush(lab->options.out);
    pid_t pid = fork();
    if (pid < 0)
        return FAIL_ERRNO(errno, "fork");
    if (pid == 0)
        child_main(lab, task);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return FAIL_ERRNO(errno, "waitpid");
    if (task->limit_bytes && lab->cgroup.version)
        lab_cgroup_remove(lab, (long)pid);
    return ended(lab, task, status);
}

/* ---- rounds --------------------------------------------------------------------------------------------------- */

enum nokv_status lab_rounds_run(struct lab_bench *bench)
{
    struct lab_row *row = bench->row;
    for (unsigned round = 0; round < bench->lab->rounds; round++)
        for (unsigned k = 0; k < row->count; k++) {
            unsigned index = (k + round) % row->count; /* nobody is always the first */
            struct lab_sample sample = lab_sample_none();
            if (lab_stopped(bench->lab))
                return FAIL(ABORTED, "interrupted");
            if (row->contenders[index].failed[0])
                continue;
            TRY(bench->measure(bench, index, &sample));
            if (row->contenders[index].failed[0])
                continue;
            lab_contender_sample(&row->contenders[index], &sample);
        }
    return NOKV_OK;
}

/* ---- threads of a measurement --------------------------------------------------------------------------------- */

struct crew_member {
    struct lab_crew *crew;
    unsigned index;
    enum nokv_status status;
    char message[IOLAB_ERROR_SIZE];
};

static void *member_main(void *arg)
{
    struct crew_member *m = arg;
    (void)pthread_barrier_wait(&m->crew->start);
    m->status = m->crew->work(m->crew->arg, m->index);
    if (m->status != NOKV_OK)
        snprintf(m->message, sizeof m->message, "%s", status_message());
    return NULL;
}

enum nokv_status lab_crew_run(struct lab_crew *crew)
{
    struct crew_member members[LAB_THREADS_MAX] = {0};
    pthread_t threads[LAB_THREADS_MAX];
    ASSERT(crew->count > 0 && crew->count <= LAB_THREADS_MAX);
    if (crew->count == 1)
        return crew->work(crew->arg, 0);
    ASSERT(pthread_barrier_init(&crew->start, NULL, crew->count) == 0);
    for (unsigned i = 0; i < crew->count; i++) {
        members[i] = (struct crew_member){.crew = crew, .index = i};
        TRY(thread_create(&threads[i], "iolab", member_main, &members[i])); /* the process ends: those before wait */
    }
    for (unsigned i = 0; i < crew->count; i++)
        thread_join(threads[i]);
    (void)pthread_barrier_destroy(&crew->start);
    for (unsigned i = 0; i < crew->count; i++)
        if (members[i].status != NOKV_OK)
            return FAIL_WITH(members[i].status, "%s", members[i].message);
    return NOKV_OK;
}
