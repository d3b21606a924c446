#!/bin/bash
# SPDX-License-Identifier: MIT
# Rule 14: where io_uring is refused, `sigevec info' and the statistics say which engine ran and why, and nothing else is
# said on the terminal.
. "$(dirname "$0")/common.sh"
: "${SIGEVEC_TOOL:=$top_builddir/sigevec}"
refuse=$top_builddir/tests/tools/refuse-uring
program=$top_builddir/tests/contract/r03_streams
unset SIGEVEC_ENGINE SIGEVEC_STATS

[ -x "$SIGEVEC_TOOL" ] || fail "there is no $SIGEVEC_TOOL"
for engine in inline kaio uring threads; do
	"$SIGEVEC_TOOL" info | grep -qE "^engine $engine +(yes|no) +[^ ]" || fail "info has no line for $engine"
done

for error in eperm enosys; do
	"$refuse" --$error true
	[ $? != 77 ] || skip "no seccomp filter is allowed here"
	"$refuse" --$error "$SIGEVEC_TOOL" info >"$scratch/info" 2>"$scratch/noise" || fail "$error: info failed"
	[ ! -s "$scratch/noise" ] || fail "$error: info says $(cat "$scratch/noise")"
	grep -qE '^engine uring +no +[^ ]' "$scratch/info" || fail "$error: info gives no reason: $(grep uring "$scratch/info")"
	grep -qE '^engine threads +yes' "$scratch/info" || fail "$error: no threads"

	SIGEVEC_STATS=$scratch/stats "$refuse" --$error "$program" \
		--run_test=pending_reads_take_the_data_in_submission_order >"$scratch/out" 2>&1 || fail "$error: $(cat "$scratch/out")"
	"$SIGEVEC_TOOL" stat "$scratch/stats" >"$scratch/counters" || fail "$error: no statistics"
	grep -q '^uring_done 0$' "$scratch/counters" || fail "$error: the ring carried something out"
	grep -q '^threads_done [1-9]' "$scratch/counters" || fail "$error: the threads are not counted"
	grep -q '^uring_unavailable [1-9]' "$scratch/counters" || fail "$error: the reason is not counted"
done
finish
