#!/bin/bash
# SPDX-License-Identifier: MIT
# A program that never uses AIO pays nothing for the preload: no thread, no ring, no descriptor, no signal set up.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it cannot be preloaded on its own"
unset SIGEVEC_ENGINE SIGEVEC_STATS

threads=$(LD_PRELOAD=$SIGEVEC_LIB awk '/^Threads:/ { print $2 }' /proc/self/status)
[ "$threads" = 1 ] || fail "$threads threads"

plain=$(ls /proc/self/fd | wc -l)
preloaded=$(LD_PRELOAD=$SIGEVEC_LIB ls /proc/self/fd | wc -l)
[ "$plain" = "$preloaded" ] || fail "$preloaded descriptors instead of $plain"

forbidden='clone|clone3|fork|vfork|io_uring_setup|io_uring_enter|io_uring_register|io_setup|socket|socketpair|pipe|pipe2'
forbidden="$forbidden|eventfd2|epoll_create1|signalfd4|timerfd_create|memfd_create|memfd_secret|rt_sigaction|rt_sigprocmask"
if strace -f -o "$scratch/strace" -E LD_PRELOAD="$SIGEVEC_LIB" /bin/true 2>/dev/null; then
	grep -q 'libsigevec\.so\.1.*= [0-9]' "$scratch/strace" || fail "the library was not loaded"
	calls=$(grep -E "^[0-9]+ +($forbidden)\(" "$scratch/strace") && fail "system calls at start: $calls"
	echo "$(wc -l <"$scratch/strace") system calls with the preload"
else
	echo "strace is missing or not allowed here: threads and descriptors were checked, system calls were not"
fi
finish
