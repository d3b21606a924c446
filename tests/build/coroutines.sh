#!/bin/bash
# SPDX-License-Identifier: MIT
# <sigevec.hpp>: the table in coroutines.cpp (lives, cancellation, exceptions, what is moved and destroyed, several threads), built by gcc and clang, where
# they are, at every level of optimization and with their sanitizers. Sanitizers look at what is compiled with them, so not into the library.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "its run-time would come before those of this test"
unset SIGEVEC_STATS

library=$(dirname "$SIGEVEC_LIB")
include="-I$top_srcdir/include"
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1
export TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1 die_after_fork=0"

# table COMPILER NAME ENGINE... -- FLAGS: builds it, and runs it on each engine.
table() {
	local compiler=$1 program=$scratch/$1-$2 name="$1 $2" engine
	shift 2
	local engines=()
	while [ "$1" != -- ]; do
		engines+=("$1")
		shift
	done
	shift
	"$compiler" -std=c++20 -Wall -Wextra -Werror $include "$@" -o "$program" "$top_srcdir/tests/build/coroutines.cpp" -L"$library" \
		-l:libsigevec.so.1 -Wl,-rpath,"$library" -pthread >"$program.log" 2>&1 || {
		fail "$name: does not compile"
		head -n 15 "$program.log"
		return
	}
	for engine in "${engines[@]}"; do
		SIGEVEC_ENGINE=${engine#default} timeout -s KILL 120 "$program" >"$program.log" 2>&1 && continue
		fail "$name, engine $engine: status $?"
		head -n 40 "$program.log"
	done
	rm -f "$program"
}

# can COMPILER FLAGS: whether it has them, and what it makes of them runs here.
can() {
	local program=$scratch/can-$1
	echo 'int main() { return 0; }' >"$program.cc"
	"$@" -o "$program" "$program.cc" >"$program.log" 2>&1 && "$program" >"$program.log" 2>&1
}

# Two at a time.
wrong=0
for compiler in g++ clang++; do
	command -v $compiler >/dev/null || continue
	(
		for level in 0 1 2 3; do table $compiler O$level default -- -O$level; done
		exit $((failures != 0))
	) &
	(
		# clang 14 cannot have coroutines and what -fsanitize=function puts before them.
		without=
		can $compiler -fsanitize=undefined -fno-sanitize=function && without=-fno-sanitize=function
		for with in address,undefined thread; do
			if can $compiler -fsanitize=$with; then
				table $compiler "${with%,*}" default -- -O1 -fsanitize=$with $without
			else
				echo "$compiler: no sanitizer $with here"
			fi
		done
		exit $((failures != 0))
	) &
	wait -n || wrong=1
	wait -n || wrong=1
done
failures=$wrong
finish
