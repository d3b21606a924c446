#!/bin/bash
# SPDX-License-Identifier: MIT
# `make check-abi`: nothing that a program was built against has changed since the record in abi/ was made: symbols, sizes, members,
# arguments. What has been added is no fault. `make renew-abi` (abi.sh --renew) writes the record anew; see CONTRIBUTING.md.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it is another library"
command -v abidw >/dev/null || skip "abidw is not there (Debian package: abigail-tools)"
machine=$("$CC" -dumpmachine)
record=$top_srcdir/abi/${machine%%-*}
libraries="libsigevec.so.1 libsigevec_event.so.1"
types="--headers-dir $top_srcdir/include --drop-private-types --exported-interfaces-only"

if [ "${1:-}" = --renew ]; then
	mkdir -p "$record" || exit
	for library in $libraries; do
		# shellcheck disable=SC2086
		abidw $types --type-id-style hash --no-corpus-path --no-comp-dir-path --no-show-locs --out-file "$record/$library.abi" "$top_builddir/.libs/$library" || exit
	done
	exit
fi

[ -d "$record" ] || skip "there is no record for ${machine%%-*}"
for library in $libraries; do
	file=$top_builddir/.libs/$library
	[ -e "$file" ] || continue # built without libevent
	readelf -S "$file" | grep -q '\.debug_info' || skip "$library was built without -g"
	abidiff --headers-dir2 "$top_srcdir/include" --drop-private-types --exported-interfaces-only --no-added-syms --no-show-locs \
		"$record/$library.abi" "$file" >"$scratch/report" 2>&1 || {
		cat "$scratch/report"
		fail "$library is not what it was"
	}
done
finish
