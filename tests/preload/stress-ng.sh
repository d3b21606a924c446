#!/bin/sh
# SPDX-License-Identifier: MIT
# stress-ng --aio: reads, writes, aio_fsync and aio_cancel with SIGEV_SIGNAL, several stressors as processes,
# with its own verification.

. "$(dirname -- "$0")/lib.sh"

need stress-ng
make_work

# stress WORKERS REQUESTS OPS
stress() {
	what="--aio $1 --aio-requests $2"
	run 60 "$work/under" stress-ng --aio "$1" --aio-requests "$2" --aio-ops "$3" --verify \
		--temp-path "$work" --metrics-brief --timeout 30
	grep -q 'successful run completed' "$work/log" || fail "no successful end"
	! grep -qi 'fail:' "$work/log" || fail "stress-ng reports a failure"
	ops=$(awk '$2 == "metrc:" && $4 == "aio" { print $5; exit }' "$work/log")
	[ "${ops:-0}" -ge "$3" ] || fail "only ${ops:-0} of $3 operations in 30 s"
	proved "$3" aio_read64 aio_write64 aio_error64 aio_cancel64
}

for name in $SIGEVEC_ENGINES; do
	with_engine "$name"
	stress 1 16 10000
	stress 4 64 40000
done
finish
