#!/bin/bash
# SPDX-License-Identifier: MIT
# A program outside of the tree, built with cc and pkg-config against an installed copy, and run.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "a program without it cannot load the library"
install_copy
printf 'sigevec' >"$scratch/file"

# expect_output PROGRAM
expect_output() {
	LD_LIBRARY_PATH=$installed_libdir "$1" "$scratch/file" >"$scratch/output" || fail "${1##*/}: exit $?"
	cat "$scratch/output"
	grep -q 'begins with sige$' "$scratch/output" || fail "${1##*/}: read the wrong thing"
}

# shellcheck disable=SC2046
"$CC" -std=c11 -Wall -Wextra -pedantic -Werror -o "$scratch/consumer" "$top_srcdir/tests/build/consumer.c" \
	$(pkg-config --cflags --libs sigevec) || fail "consumer.c does not build"
readelf -d "$scratch/consumer" | grep -q 'NEEDED.*libsigevec\.so\.1' || fail "the program does not need libsigevec.so.1"
expect_output "$scratch/consumer"

if [ -f "$installed_libdir/libsigevec.a" ]; then
	# shellcheck disable=SC2046
	"$CC" -std=c11 -o "$scratch/consumer-static" "$top_srcdir/tests/build/consumer.c" $(pkg-config --cflags sigevec) \
		"$installed_libdir/libsigevec.a" $(pkg-config --static --libs-only-l sigevec | sed 's/-lsigevec//') ||
		fail "consumer.c does not build with the static library"
	expect_output "$scratch/consumer-static"
fi
finish
