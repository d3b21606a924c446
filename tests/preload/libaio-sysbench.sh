#!/bin/sh
# SPDX-License-Identifier: MIT
# sysbench fileio with file-io-mode=async: random reads and writes through libaio, without its validation: all its requests share one buffer, which works only while none is under way beside another (it fails with O_DIRECT and libaio, too).

. "$(dirname -- "$0")/libaio.sh"

need sysbench
make_work

files="--file-num=4 --file-total-size=8M --file-io-mode=async --threads=2 "
for name in $SIGEVEC_ENGINES; do
	with_engine "$name"
	for flags in "" --file-extra-flags=direct; do
		what="fileio $flags"
		run 60 "$work/under" sysbench fileio $files $flags prepare
		run 60 "$work/under" sysbench fileio $files $flags --file-test-mode=rndrw --events=2000 --time=40 run
		grep -q 'execution time' "$work/log" || fail "no end of the test"
		! grep -qi 'fatal\|validation failed' "$work/log" || fail "sysbench reports a failure"
		proved_aio 1000 io_setup io_submit io_getevents
		run 60 "$work/under" sysbench fileio $files $flags cleanup
	done
done
finish
