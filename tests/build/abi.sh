#!/bin/bash
# SPDX-License-Identifier: MIT
# `make check-abi`: nothing that a program was built against has changed since the record in abi/ was made: symbols, sizes, members,
# arguments. What has been added is no fault. abi_breaks.sh shows that it would be seen. `make renew-abi` (abi.sh --renew) writes the record anew; see CONTRIBUTING.md.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it is another library"
command -v abidw >/dev/null || skip "abidw is not there (Debian package: abigail-tools)"
machine=$("$CC" -dumpmachine)
record=${ABI_RECORD:-$top_srcdir/abi/${machine%%-*}}
libraries="libsigevec.so.1 libsigevec_event.so.1"

# record LIBRARY FILE: of what a program sees by the public headers
record() {
	abidw --headers-dir "$top_srcdir/include" --drop-private-types --exported-interfaces-only --type-id-style hash --no-corpus-path \
		--no-comp-dir-path --no-show-locs --out-file "$2" "$top_builddir/.libs/$1"
}

if [ "${1:-}" = --renew ]; then
	mkdir -p "$record" || exit
	for library in $libraries; do
		record "$library" "$record/$library.abi" || exit
	done
	exit
fi

[ -d "$record" ] || skip "there is no record for ${machine%%-*}"
for library in $libraries; do
	file=$top_builddir/.libs/$library
	[ -e "$file" ] || continue # built without libevent
	readelf -S "$file" | grep -q '\.debug_info' || skip "$library was built without -g"
	record "$library" "$scratch/now.abi" || fail "abidw $library"
	# Two records: compared with a library, abidiff takes the record's types, which have no places, for private ones and ignores them.
	abidiff --no-added-syms --no-show-locs "$record/$library.abi" "$scratch/now.abi" >"$scratch/report" 2>&1 || {
		cat "$scratch/report"
		fail "$library is not what it was"
	}
done
finish
