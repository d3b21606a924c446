#!/bin/bash
# SPDX-License-Identifier: MIT
# One lio_listio of 40 receives goes to the driver in one offer, and from there to the kernel in one submission.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it cannot be traced with the leak checker"
unset SIGEVEC_ENGINE SIGEVEC_STATS
"$CC" -I"$top_srcdir/include/sigevec/system" -I"$top_srcdir/include" -o "$scratch/list" "$top_srcdir/tests/build/list_submission.c" \
	"$SIGEVEC_LIB" -Wl,-rpath,"$(cd "$(dirname "$SIGEVEC_LIB")" && pwd)" || fail "list_submission.c does not compile"
timeout -k 1 60 strace -f -o "$scratch/strace" -e trace=write,futex,sendmsg,io_uring_enter "$scratch/list" 2>"$scratch/error" ||
	skip "strace is missing or not allowed here: $(head -n 1 "$scratch/error")"

# Whom the caller woke, or what it sent, between its two marks.
offers=$(awk '/write.*"begin"/ { on = 1; me = $1 } /write.*"end"/ { on = 0 } on && $1 == me && /FUTEX_WAKE|sendmsg\(/' "$scratch/strace" | wc -l)
[ "$offers" -le 1 ] || fail "$offers offers for one list"

# With what the ring waits for to be woken. A thread that was interrupted by another's line is told of in two: the one that begins the call has its arguments.
if grep -q 'io_uring_enter(' "$scratch/strace"; then
	grep -qE 'io_uring_enter\([0-9]+, 4[01],' "$scratch/strace" || fail "the ring got the list in parts"
else
	echo "no io_uring here: the way to the driver was checked alone"
fi
finish
