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

# Nor is anything of its own memory written: what is constructed at load is touched by every process.
# The mapping that follows the library's own without a name is its memory that has no place in the file.
LD_PRELOAD=$SIGEVEC_LIB cat /proc/self/smaps | awk '
	/^[0-9a-f]+-[0-9a-f]+ / {
		split($1, at, "-")
		bss = own && NF == 5 && at[1] == end
		own = /libsigevec\.so/
		end = at[2]
	}
	bss && /^Rss:/ { print $2 }' >"$scratch/rss"
[ -s "$scratch/rss" ] || fail "the library's memory is not in /proc/self/smaps"
touched=$(awk '{ n += $1 } END { print n }' "$scratch/rss")
[ "${touched:-0}" -le 64 ] || fail "$touched KiB of the library's memory are touched when it is loaded"

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
