// SPDX-License-Identifier: Apache-2.0
/*
 * nokv_bench_child.c - runs this program as a child process.
 *
 * The child leads a process group of its own, so that a signal reaches it and whatever it has started in one go, and
 * only through us: a Ctrl-C at the terminal comes to this process alone, which kills the group and then cleans up after
 * it. A child whose parent was killed does not go on measuring: the kernel ends it (PR_SET_PDEATHSIG).
 */
#include "nokv_bench_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nokv_bench_util.h"

static volatile sig_atomic_t interrupted; /* set by the handler */
static volatile sig_atomic_t child_group; /* its process id too; 0: none is running. Set with the signals blocked */

static void on_signal(int number)
{
    (void)number;
    int saved = errno;
    interrupted = 1;
    if (child_group)
        (void)kill(-(pid_t)child_group, SIGKILL);
    errno = saved;
}

static void signals_of_interest(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

void child_interrupts_catch(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    signals_of_interest(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

bool child_interrupted(void)
{
    return interrupted;
}

static _Noreturn void child_exec(const char *const argv[], int out, const sigset_t *mask)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDOUT_FILENO);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
    bench_die("exec: %s", strerror(errno));
}

/* Returns the end of the pipe to read from; the child's id is in child_group. */
static int child_start(const char *const argv[])
{
    int fds[2];
    sigset_t set, before;
    if (pipe2(fds, O_CLOEXEC) != 0)
        bench_die("pipe: %s", strerror(errno));
    signals_of_interest(&set);
    sigprocmask(SIG_BLOCK, &set, &before);
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (pid == 0)
        child_exec(argv, fds[1], &before);
    setpgid(pid, pid); /* here as well: whichever of the two comes first */
    child_group = pid;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(fds[1]);
    return fds[0];
}

int child_run(const char *const argv[], void (*take)(void *arg, const char *line), void *arg)
{
    if (interrupted)
        return -1;
    FILE *in = fdopen(child_start(argv), "r");
    if (!in)
        bench_die("fdopen: %s", strerror(errno));
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, in) > 0)
        take(arg, line);
    free(line);
    fclose(in);
    int status = 0;
    bool ended = waitpid((pid_t)child_group, &status, 0) > 0;
    child_group = 0;
    return ended && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
