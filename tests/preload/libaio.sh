# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# For the tests of programs on libaio: lib.sh, with libsigevec_aio.so.1 preloaded before the library.

. "$(dirname -- "$0")/lib.sh"

if [ "$SIGEVEC_LIB" != none ]; then
	aio=$(dirname -- "$SIGEVEC_LIB")/libsigevec_aio.so.1
	[ -e "$aio" ] || skip "built without libsigevec_aio"
	preload="${runtime:+$runtime }$aio $SIGEVEC_LIB"
fi

# proved_aio MIN SYMBOL...: the last run bound every SYMBOL to libsigevec_aio, none of libaio's names to libaio, and at least MIN requests were counted.
proved_aio() {
	min=$1
	shift
	passed=$((passed + 1))
	[ "$SIGEVEC_LIB" = none ] && return
	for symbol; do
		cat "$work"/bind.* | grep -q "to [^ ]*libsigevec_aio\.so\.1 .*normal symbol \`$symbol'" ||
			fail "no caller's $symbol was bound to libsigevec_aio.so.1"
	done
	# fio asks for what it imports from libaio; libaio's own calls among its functions come here, too.
	wrong=$(cat "$work"/bind.* | grep -E "normal symbol \`io_(setup|destroy|submit|cancel|p?getevents|queue_[a-z]*)'" |
		grep -v 'to [^ ]*libsigevec_aio\.so\.1 ' | head -n 3)
	[ -z "$wrong" ] || fail "bound elsewhere: $wrong"
	[ -n "$SIGEVEC_TOOL" ] || return 0
	[ -e "$work/stats" ] || fail "the library wrote no statistics"
	requests=$(statistic requests)
	[ "${requests:-0}" -ge "$min" ] || fail "the library counted ${requests:-no} requests, expected at least $min"
}
