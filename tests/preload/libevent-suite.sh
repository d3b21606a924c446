#!/bin/sh
# SPDX-License-Identifier: MIT
# libevent's own tests of what is built on bufferevents, from Debian's source package, with libsigevec_event preloaded: on no engine does one fail that
# passes on libevent's own bufferevents. Part of `make check-deep'.
#
# SIGEVEC_LIBEVENT_SOURCE: an unpacked source of libevent 2.1; otherwise apt-get gets it.

. "$(dirname -- "$0")/lib.sh"

groups="bufferevent/.. http/.. ssl/.. listener/.. rpc/.. finalize/.. et/.."
engines=$SIGEVEC_ENGINES
again=3 # times a test that failed is tried alone: some of libevent's own measure time

find_library
find_event_library
library_dir=$(dirname -- "$SIGEVEC_LIB")
make_work

# A list of sources of our own: most machines have none configured, and the system's is not ours to change.
get_source() {
	need apt-get dpkg-source
	version=$(. /etc/os-release && [ "${ID:-}" = debian ] && printf '%s' "${VERSION_CODENAME:-}")
	[ -n "$version" ] || skip "not Debian: set SIGEVEC_LIBEVENT_SOURCE to a source of libevent 2.1"
	mkdir -p lists/partial
	echo "deb-src http://deb.debian.org/debian $version main" >sources
	set -- -q -o "Dir::Etc::sourcelist=$work/sources" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists" -o APT::Sandbox::User=root
	{ timeout 200 apt-get "$@" update && timeout 200 apt-get "$@" source libevent; } >log 2>&1 </dev/null ||
		skip "the source of libevent cannot be had: $(tail -n 1 log)"
	source=$(find "$work" -maxdepth 1 -type d -name 'libevent-*')
}

source=${SIGEVEC_LIBEVENT_SOURCE:-}
if [ -n "$source" ]; then source=$(absolute "$source"); else get_source; fi
grep -q 'bufferevent_socketpair_dirty_shutdown' "$source/test/regress_ssl.c" 2>/dev/null || skip "no libevent 2.1 in $source"
pkg-config --exists openssl || skip "OpenSSL's headers are not installed"

what="building libevent"
mkdir suite
cd suite || fail "cannot enter the folder"
run 1800 "$source/configure" --disable-dependency-tracking --disable-static --disable-samples CC="${CC:-cc}"
# Debian's patches are younger than what was generated: it is as it should be.
mkdir -p test
run 1800 "${MAKE:-make}" -j2 ACLOCAL=: AUTOCONF=: AUTOHEADER=: AUTOMAKE=: test/regress
export LD_LIBRARY_PATH="$PWD/.libs:$library_dir"

# regress TESTS LOG [VARIABLE=VALUE...]: a status of 1 is a test that failed.
regress() {
	tests=$1 log=$2
	shift 2
	# shellcheck disable=SC2086
	timeout -k 5 600 env "$@" test/.libs/regress $tests >"$log" 2>&1 </dev/null
}

# with ENGINE TESTS LOG: preloaded
with() {
	if [ "$1" = default ]; then
		regress "$2" "$3" LD_PRELOAD="$event_lib"
	else
		regress "$2" "$3" LD_PRELOAD="$event_lib" SIGEVEC_ENGINE="$1"
	fi
}

# failed LOG: "group/name" of each test that did
failed() { sed -n 's|^\([a-z_0-9]*/[a-z_0-9]*\): .*|\1|p; s|^ *\[\(.*\) FAILED\]$|-\1|p' "$1" | awk '/^-/ { print last; next } { last = $0 }'; }

complete() {
	grep -q 'tests ok\|TESTS FAILED' "$1" || { cp "$1" "$work/log"; fail "the suite did not come to its end"; }
}

# Whether TEST, which failed with ENGINE's bufferevents and not with libevent's, passes when it is alone, or does not pass without ours, either.
excused() {
	for i in $(seq "$again"); do
		with "$1" "$2" alone && continue
		regress "$2" alone.libevent || continue
		return 1
	done
}

what="preloaded"
timeout 60 env LD_DEBUG=bindings LD_DEBUG_OUTPUT="$work/bind" LD_PRELOAD="$event_lib" test/.libs/regress --no-fork bufferevent/bufferevent >"$work/log" 2>&1
cat "$work"/bind.* | grep -q 'libsigevec_event.so.1.*bufferevent_socket_new' || fail "bufferevent_socket_new is not ours"
rm -f "$work"/bind.*

# All at once: they wait most of the time.
what="the suite"
regress "$groups" libevent &
for engine in $engines; do with "$engine" "$groups" "$engine" & done
wait
complete libevent
failed libevent | sort -u >libevent.failed
for engine in $engines; do
	complete "$engine"
	failed "$engine" | sort -u >"$engine.failed"
	for test in $(comm -13 libevent.failed "$engine.failed"); do
		excused "$engine" "$test" || { cp alone "$work/log"; fail "$test, which passes without the library"; }
		echo "$engine: $test failed once, and not again"
	done
	passed=$((passed + 1))
done
echo "$(grep -c ': \(\[forking\] \)\?OK' libevent) tests pass, $(wc -l <libevent.failed) fail without the library: $(tr '\n' ' ' <libevent.failed)"
finish
