#!/bin/bash
# SPDX-License-Identifier: MIT
# The library has the probes that sigevec(7) names, each with its arguments, for tracers to find.
. "$(dirname "$0")/common.sh"
notes=$(readelf -n "$SIGEVEC_LIB" 2>/dev/null | grep -A 4 stapsdt)
[ -n "$notes" ] || {
	grep -q '^#define HAVE_SYS_SDT_H' "$top_builddir/config.h" && fail "there are no probes"
	[ "$failures" != 0 ] || skip "built without <sys/sdt.h>"
	finish
}

# probe NAME ARGUMENTS: readelf writes an argument as SIZE@PLACE
probe() {
	local arguments
	arguments=$(echo "$notes" | awk -v name="$1" '$1 == "Provider:" { mine = ($2 == "libsigevec") }
		$1 == "Name:" { mine = (mine && $2 == name) }
		$1 == "Arguments:" && mine { print NF - 1 }' | sort -u)
	[ "$arguments" = "$2" ] || fail "the probe $1 has ${arguments:-no place and no} arguments, not $2"
	grep -qE "^\.It Li $1 *\(" "$top_srcdir/man/sigevec.7" || fail "sigevec(7) does not explain the probe $1"
}
probe submit 4
probe complete 4
probe notify 3
probe fallback 2
[ "$(echo "$notes" | sed -n 's/^ *Name: *//p' | sort -u | wc -l)" = 4 ] || fail "other probes than these four"
finish
