#!/bin/bash
# SPDX-License-Identifier: MIT
# `make check-abi` sees what breaks programs, and names it: the library is compared with records of libraries that differ from it. What has only
# been added passes.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it is another library"
command -v abidw >/dev/null || skip "abidw is not there (Debian package: abigail-tools)"
machine=$("$CC" -dumpmachine)
record=$top_srcdir/abi/${machine%%-*}
[ -d "$record" ] || skip "there is no record for ${machine%%-*}"
readelf -S "$SIGEVEC_LIB" | grep -q '\.debug_info' || skip "built without -g"

# compare SED-EXPRESSION: abi.sh with a record altered so
compare() {
	rm -rf "$scratch/record"
	mkdir "$scratch/record"
	cp "$record"/*.abi "$scratch/record"
	sed -E -i "$1" "$scratch/record/libsigevec.so.1.abi"
	cmp -s "$scratch/record/libsigevec.so.1.abi" "$record/libsigevec.so.1.abi" && fail "the record has nothing like $1"
	ABI_RECORD=$scratch/record bash "$top_srcdir/tests/build/abi.sh" >"$scratch/output" 2>&1
}

# seen WHAT SED-EXPRESSION WORDS-OF-THE-MESSAGE...
seen() {
	local what=$1 word
	compare "$2" && fail "$what is not seen"
	shift 2
	for word in "$@" "libsigevec.so.1 is not what it was"; do
		grep -q -- "$word" "$scratch/output" || {
			cat "$scratch/output"
			fail "$what: nothing is said of $word"
		}
	done
}

seen "a function that is gone" 's/\bec_post\b/ec_gone/g' "Removed function" ec_gone
seen "a structure of another size" "/class-decl name='ec_stat'/s/size-in-bits='[0-9]+'/size-in-bits='512'/" ec_stat "type size changed"
seen "a member somewhere else" "/layout-offset-in-bits='384'/{N;/high_water/s/384/896/}" ec_stat high_water
seen "another value of a constant" "s/(enumerator name='event_type_timer' value=)'6'/\1'16'/" "event_type_timer.*from value '16' to '6'"
seen "another argument" "/function-decl name='ec_set_limit'/,/<\/function-decl>/{/type-id='[0-9a-f]*' name='ec'/d}" ec_set_limit parameter
compare "/elf-symbol name='ec_submit'/d;/function-decl name='ec_submit'/,/<\/function-decl>/d" || {
	cat "$scratch/output"
	fail "a function that has been added is taken for a fault"
}
finish
