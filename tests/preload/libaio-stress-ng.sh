#!/bin/sh
# SPDX-License-Identifier: MIT
# stress-ng --aiol: reads, writes, fsync and polls by the system calls of kernel AIO, several stressors as processes, with its own verification.

. "$(dirname -- "$0")/libaio.sh"

need stress-ng
make_work

for name in $SIGEVEC_ENGINES; do
	with_engine "$name"
	what="--aiol 2"
	run 90 "$work/under" stress-ng --aiol 2 --aiol-requests 16 --aiol-ops 500 --verify --temp-path "$work" --metrics-brief --timeout 40
	! grep -q 'not implemented\|was skipped' "$work/log" || skip "this stress-ng has no aiol"
	grep -q 'successful run completed' "$work/log" || fail "no successful end"
	! grep -qi 'fail:' "$work/log" || fail "stress-ng reports a failure"
	proved_aio 100 syscall
done
finish
