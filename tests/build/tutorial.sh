#!/bin/bash
# SPDX-License-Identifier: MIT
# The programs of sigevec_tutorial(7) build as they stand, each of one screen, and all print the sum that is right, on every engine.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "a program without it cannot load the library"
unset SIGEVEC_ENGINE SIGEVEC_STATS
page=$top_srcdir/man/sigevec_tutorial.7
export LD_LIBRARY_PATH=${SIGEVEC_LIB%/*}

awk -v folder="$scratch" '/^\.Bd -literal$/ { n++; on = 1; next }
	/^\.Ed/ { on = 0 }
	on { gsub(/\\e/, "\\"); print >(folder "/step" n ".c") }' "$page"
head -c 1000003 /dev/urandom >"$scratch/data"
: >"$scratch/empty"
sum=$(od -An -v -tu1 "$scratch/data" | awk '{ for (i = 1; i <= NF; i++) n += $i } END { printf "%d\n", n }')

steps=0
for source in "$scratch"/step*.c; do
	step=$(basename "$source" .c)
	steps=$((steps + 1))
	[ "$(wc -l <"$source")" -le 50 ] || fail "$step has $(wc -l <"$source") lines"
	own=()
	if grep -q 'sigevec\.h' "$source"; then
		own=(-I"$top_srcdir/include/sigevec/system" -I"$top_srcdir/include" "$SIGEVEC_LIB")
	fi
	"$CC" -std=gnu11 -Wall -Wextra -pedantic -Werror -o "$scratch/$step" "$source" "${own[@]}" || {
		fail "$step does not build"
		continue
	}
	for engine in "" inline kaio uring threads; do
		for of in "$scratch/data $sum" "$scratch/empty 0"; do
			answer=$(LD_PRELOAD=$SIGEVEC_LIB SIGEVEC_ENGINE=$engine timeout 120 "$scratch/$step" "${of% *}")
			[ "$answer" = "${of#* }" ] || fail "$step with ${engine:-any engine}: '$answer', not ${of#* }"
		done
	done
	! timeout 120 "$scratch/$step" "$scratch/nothing" >"$scratch/out" 2>&1 || fail "$step finds a file that is not there"
	grep -q 'nothing: ' "$scratch/out" || fail "$step does not say what is wrong: $(cat "$scratch/out")"
done
[ $steps = 4 ] || fail "the page has $steps steps"
finish
