#!/bin/bash
# SPDX-License-Identifier: MIT
# A program whose first thread leaves main by pthread_exit ends as with libc's AIO: when its other threads have ended and nothing is
# outstanding, by exit(), with status 0 and all output written.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it cannot be preloaded on its own"
[ -r /proc/self/task ] || skip "there is no /proc"
unset SIGEVEC_ENGINE SIGEVEC_STATS

"$CC" -o "$scratch/last_thread" "$top_srcdir/tests/build/last_thread.c" -pthread || exit 99

# The sleeps in the program only give a wrong end its chance.
run() {
	SIGEVEC_ENGINE=$1 LD_PRELOAD=$SIGEVEC_LIB timeout -s KILL 30 "$scratch/last_thread" "$2" >"$scratch/$1-$2"
	echo "exit $?" >>"$scratch/$1-$2"
}

for engine in '' threads; do
	for how in alone other thread outstanding direct notify; do
		run "$engine" $how &
	done
done
wait

expect() {
	for engine in '' threads; do
		[ "$(cat "$scratch/$engine-$1")" = "$2" ] || fail "engine '$engine', $1: $(cat "$scratch/$engine-$1")"
	done
}
expect alone "usedexit 0"
expect other "usedexit 0"
expect thread "used stayedexit 0"
expect outstanding "used toldexit 0"
expect direct "usedexit 0"
expect notify "used complete 1exit 0"
finish
