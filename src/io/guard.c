// SPDX-License-Identifier: Apache-2.0
/*
 * The SIGBUS guard: a failing device, or a file that was cut short under its mapping, must not kill the host program.
 *
 * A guarded call leaves a jump target in a per-thread slot; the handler jumps there when the fault came while the slot
 * is set. A store into a shared buffer has no way back: it is given a page of private memory in place of the one that
 * the kernel refuses, and goes on; whoever stored then sees that the buffer is lost. Every other SIGBUS is passed on to
 * whoever had the signal before us.
 *
 * [I1] The jump leaves the signal mask as it was at the fault: the handler puts it back itself, from the context that
 *      it is given. So setting the target saves no mask and costs no system call; only a fault pays.
 * [I2] The slot is one pointer in the thread block of the initial-exec model: the handler must not be the first to
 *      touch a lazily allocated thread variable.
 * [I3] `previous` is written only while our handler is not installed.
 * [I4] Guards nest: the slot of the outer one is kept in the frame of the inner one and put back by it, also after a
 *      fault, which goes to the innermost.
 * [I5] We put the previous handler back only when ours is still the one in place; otherwise the host has put its own on
 *      top and ours stays below it, passing on.
 * [I6] A buffer is marked as lost before its page is copied and exchanged: nobody can have stored into private memory,
 *      or into what was copied already, and not know. Of two threads that meet the same page one may undo the other's
 *      store, which neither relies on any more.
 * [I7] The file keeps what it had. The private page begins with the same bytes, as far as they can be read, because the
 *      buffer may be moved to its file from there.
 *
 * Threading: install and remove take a mutex. Failure: a thread that blocks SIGBUS is killed by the kernel at a fault;
 * nothing in user space can change that.
 * Why not check each page with mincore or read the file instead: both cost a system call per read, which is what the
 * mapping is there to avoid.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/thread.h"
#include "io/io.h"

static _Thread_local sigjmp_buf *slot __attribute__((tls_model("initial-exec")));
/* this thread is inside the handler that we passed a signal on to */
static _Thread_local volatile sig_atomic_t passing_on __attribute__((tls_model("initial-exec")));

static pthread_mutex_t guard_mu = PTHREAD_MUTEX_INITIALIZER;
/* protected by guard_mu */
static unsigned install_count;
/* written under guard_mu while our handler is not installed, read by the handler [I3] */
static struct sigaction previous;
/* written under guard_mu, read by the handler; a buffer that goes has no stores on their way */
static _Atomic(struct io_shared *) buffers[IO_GUARD_SHARED_MAX];

/* As if we had never been there: by default the process dies at the same instruction, with a core dump. */
/* GCOV_EXCL_START: the counters die with the process; guard_test.c looks at what it died of */
static void die_by_default(int sig, const siginfo_t *info)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    (void)sigaction(sig, &dfl, NULL);
    if (info->si_code <= 0)
        (void)raise(sig); /* sent by kill(): returning would not raise it again */
}
/* GCOV_EXCL_STOP */

static void pass_on(int sig, siginfo_t *info, void *context)
{
    const bool is_siginfo = (previous.sa_flags & SA_SIGINFO) != 0;
    const bool is_plain_default = !is_siginfo && previous.sa_handler == SIG_DFL;
    const bool is_ignored = !is_siginfo && previous.sa_handler == SIG_IGN;
    if (is_ignored && info->si_code <= 0)
        return;
    /* a handler above us that calls us back would go round for ever */
    if (is_plain_default || is_ignored || passing_on) {
        die_by_default(sig, info); /* GCOV_EXCL_LINE: the process dies here, and its counters with it */
        return;                    /* GCOV_EXCL_LINE: it has died */
    }
    sigset_t during = previous.sa_mask, before;
    if (!(previous.sa_flags & SA_NODEFER))
        sigaddset(&during, sig);
    (void)pthread_sigmask(SIG_BLOCK, &during, &before);
    passing_on = 1;
    if (is_siginfo)
        previous.sa_sigaction(sig, info, context);
    else
        previous.sa_handler(sig);
    passing_on = 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static struct io_shared *buffer_of(uintptr_t at)
{
    for (size_t i = 0; i < IO_GUARD_SHARED_MAX; i++) {
        struct io_shared *shared = atomic_load_explicit(&buffers[i], memory_order_acquire);
        if (shared != NULL && at - (uintptr_t)shared->data < shared->size)
            return shared;
    }
    return NULL;
}

/* Only system calls. The copy is one as well: it fails where reading would fault again. */
static bool page_exchange(struct io_shared *shared, void *page)
{
    void *fresh = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fresh == MAP_FAILED)
        return false;
    struct iovec to = {.iov_base = fresh, .iov_len = PAGE_BYTES}, from = {.iov_base = page, .iov_len = PAGE_BYTES};
    atomic_store_explicit(&shared->is_lost, true, memory_order_seq_cst); /* [I6] */
    (void)process_vm_readv(getpid(), &to, 1, &from, 1, 0);               /* [I7] */
    return mremap(fresh, PAGE_BYTES, PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, page) != MAP_FAILED;
}

/* Was it a store into a shared buffer, which can go on now? */
static bool buffer_rescued(const siginfo_t *info)
{
    if (info->si_code <= 0)
        return false;
    struct io_shared *shared = buffer_of((uintptr_t)info->si_addr);
    if (shared == NULL)
        return false;
    int saved_errno = errno;
    size_t off = ((size_t)((uint8_t *)info->si_addr - shared->data)) & ~(size_t)(PAGE_BYTES - 1);
    bool rescued = page_exchange(shared, shared->data + off);
    errno = saved_errno;
    return rescued;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    if (buffer_rescued(info))
        return;
    sigjmp_buf *target = slot;
    if (target != NULL && info->si_code > 0) { /* raised by the kernel for an access of this thread */
        slot = NULL;
        (void)pthread_sigmask(SIG_SETMASK, &((const ucontext_t *)context)->uc_sigmask, NULL); /* [I1] */
        siglongjmp(*target, 1);
    }
    int saved_errno = errno;
    pass_on(sig, info, context);
    errno = saved_errno;
}

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_sigbus;
}

/* REQUIRES: guard_mu is held. */
static int handler_put(void)
{
    struct sigaction current;
    if (sigaction(SIGBUS, NULL, &current) != 0)
        return errno;
    if (is_ours(&current))
        return 0;
    previous = current; /* before ours can run */
    /* SA_NODEFER: a default action that is raised again must be delivered at once */
    struct sigaction ours = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    sigemptyset(&ours.sa_mask);
    return sigaction(SIGBUS, &ours, NULL) == 0 ? 0 : errno;
}

enum nokv_status io_guard_install(void)
{
    ASSERT(pthread_mutex_lock(&guard_mu) == 0);
    int err = install_count == 0 ? handler_put() : 0;
    install_count += err == 0;
    ASSERT(pthread_mutex_unlock(&guard_mu) == 0);
    return err == 0 ? NOKV_OK : FAIL_ERRNO(err, "could not install the SIGBUS handler");
}

void io_guard_remove(void)
{
    ASSERT(pthread_mutex_lock(&guard_mu) == 0);
    ASSERT(install_count > 0);
    struct sigaction current;
    if (--install_count == 0 && sigaction(SIGBUS, NULL, &current) == 0 && is_ours(&current)) /* [I5] */
        (void)sigaction(SIGBUS, &previous, NULL);
    ASSERT(pthread_mutex_unlock(&guard_mu) == 0);
}

static void buffer_put(const struct io_shared *old, struct io_shared *now)
{
    ASSERT(pthread_mutex_lock(&guard_mu) == 0);
    for (size_t i = 0; i < IO_GUARD_SHARED_MAX; i++) {
        if (atomic_load_explicit(&buffers[i], memory_order_relaxed) != old)
            continue;
        atomic_store_explicit(&buffers[i], now, memory_order_release);
        break;
    }
    ASSERT(pthread_mutex_unlock(&guard_mu) == 0);
}

void io_guard_shared_add(struct io_shared *shared)
{
    buffer_put(NULL, shared);
}

void io_guard_shared_remove(struct io_shared *shared)
{
    buffer_put(shared, NULL);
}

enum nokv_status io_guarded(enum nokv_status (*fn)(void *arg), void *arg)
{
    sigjmp_buf target;
    sigjmp_buf *const outer = slot; /* never changed, so the jump leaves it as it is */
    if (sigsetjmp(target, 0) != 0) {
        slot = outer; /* [I4] */
        return FAIL(IO, "a mapped file could not be read (SIGBUS): the device failed or the file was cut short");
    }
    slot = &target;
    /* the compiler may not move the reads of fn out from between the two stores */
    atomic_signal_fence(memory_order_seq_cst);
    enum nokv_status status = fn(arg);
    atomic_signal_fence(memory_order_seq_cst);
    slot = outer;
    return status;
}
