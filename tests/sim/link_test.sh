#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# link_test.sh PROGRAM ARCHIVE... - no lock, wait or thread of the engine escapes the simulation's scheduler.
#
# Of the engine's objects only these may call pthreads or sleep: base/thread.c, for which the simulation has its own; the
# guard against SIGBUS, under whose lock nothing else is locked; and the real environment, which the simulation does not
# use. And the program must have the simulation's functions, not the engine's.
set -eu
program=$1
shift
failed=0
complain() {
    echo "link: $*"
    failed=1
}

waits='pthread_(mutex|cond|rwlock|spin|create|join|barrier)[a-z_]*|sem_[a-z]+|sched_yield|nanosleep|usleep|poll|select'
calls=$(nm -A "$@" 2>/dev/null | sed -n 's/.*[:/]\([a-z_0-9]*\)\.c\.o: *U \([a-z_]*\).*/\1 \2/p' | grep -E "^[a-z_0-9]+ ($waits)\$" | sort -u)
escaped=$(echo "$calls" | grep -v -E '^(thread .*|guard pthread_mutex_(lock|unlock)|real nanosleep)$' || true)
[ -n "$calls" ] || complain "nothing was found: the look itself is broken"
[ -z "$escaped" ] || complain "$escaped"
nm "$program" | grep -q ' [tT] mutex_lock$' || complain "no mutex_lock in $program"
! nm "$program" | grep -q 'pthread_cond_timedwait' || complain "base/thread.c is linked into $program"
echo "link: $(echo "$calls" | wc -l) calls looked at"
exit $failed
