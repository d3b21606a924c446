#!/bin/bash
# SPDX-License-Identifier: MIT
# examples/one_loop hears of every kind of source, each time.
. "$(dirname "$0")/common.sh"
program=$top_builddir/examples/one_loop
[ -x "$program" ] || fail "there is no $program"
for run in 1 2 3 4 5 6 7 8 9 10; do
	timeout -k 1 60 "$program" >"$scratch/output" 2>&1 || {
		cat "$scratch/output"
		fail "run $run: exit $?"
		break
	}
	for source in socket file "message queue" timer semaphore signal "name look-up"; do
		grep -q "^$source: " "$scratch/output" || fail "run $run: nothing of the $source"
	done
done
finish
