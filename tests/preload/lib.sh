# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# Shared helpers of the preload tests: real, unmodified programs run with LD_PRELOAD=libsigevec.so.1.
#
# Sourced by every test. It finds the library, makes a work folder on a disk file system and defines the
# helpers below. A test exits with 0 (passed), 77 (skipped, the reason is the last line) or 1 (failed).
#
#   SIGEVEC_LIB      the library; "none" runs the same test under the plain libc (to tell a fault of the
#                    test from one of the library: the proofs of binding are left out)
#   SIGEVEC_TOOL     the sigevec tool, which reads the statistics file
#   SIGEVEC_ENGINES  engines to test, default "default inline kaio uring threads" (default: variable unset)
#   TMPDIR           where the work folder goes; default: the build folder
#
# After a run under the library the test must call `proved`: see there.

set -u
umask 022
export LC_ALL=C

# shellcheck disable=SC2034 # used by mpi.sh
preload_dir=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
build_dir=${top_builddir:-build}
[ -d "$build_dir" ] || build_dir=.
: "${SIGEVEC_LIB:=$build_dir/.libs/libsigevec.so.1}"
: "${SIGEVEC_TOOL:=$build_dir/sigevec}"
: "${SIGEVEC_ENGINES:=default inline kaio uring threads}"
work=
engine=default
what=
passed=0
server= # the process of a test whose program is a server

skip() { echo "SKIP: $*"; exit 77; }

fail() {
	echo "FAIL: engine=$engine: ${what:+$what: }$*"
	if [ -n "$work" ] && [ -f "$work/log" ]; then
		echo "--- output of the last program"
		tail -n 40 "$work/log"
	fi
	exit 1
}

# need PROGRAM...: skip when a program is not installed.
need() {
	for program; do
		command -v "$program" >/dev/null 2>&1 || skip "$program is not installed"
	done
}

# some_engines NAME...: those of them that are to be tested, for a test that takes long.
some_engines() {
	for name; do
		case " $SIGEVEC_ENGINES " in *" $name "*) echo "$name" ;; esac
	done
}

# own_network "$@": the test goes on in a network namespace, where all ports are its own.
own_network() {
	[ -z "${SIGEVEC_OWN_NETWORK:-}" ] || return 0
	need unshare ip
	maps=
	[ "$(id -u)" = 0 ] || maps=--map-root-user
	unshare $maps --net true 2>/dev/null || skip "no network namespace can be made here"
	SIGEVEC_OWN_NETWORK=1 exec unshare $maps --net sh -c 'ip link set lo up && exec "$@"' sh sh "$0" "$@"
}

# listening PROCESS PORT...: waits until somebody listens on each PORT of this machine; false if the process has ended before.
listening() {
	process=$1
	shift
	for _ in $(seq 600); do
		missing=
		for port; do
			grep -q ":$(printf '%04X' "$port") [0-9A-F:]* 0A " /proc/net/tcp || missing=1
		done
		[ -n "$missing" ] || return 0
		kill -0 "$process" 2>/dev/null || return 1
		sleep 0.1
	done
	return 1
}

absolute() { (CDPATH='' cd -- "$(dirname -- "$1")" && printf '%s/%s\n' "$(pwd)" "$(basename -- "$1")"); }

find_library() {
	[ "$SIGEVEC_LIB" = none ] && return
	[ -e "$SIGEVEC_LIB" ] || { echo "FAIL: no library at $SIGEVEC_LIB (set SIGEVEC_LIB)"; exit 1; }
	SIGEVEC_LIB=$(absolute "$SIGEVEC_LIB")
	if [ -x "$SIGEVEC_TOOL" ]; then SIGEVEC_TOOL=$(absolute "$SIGEVEC_TOOL"); else SIGEVEC_TOOL=; fi
	# A library built with a sanitizer needs that runtime to come first in the preload list.
	preload=$SIGEVEC_LIB
	runtime=$(ldd "$SIGEVEC_LIB" | awk '$1 ~ /^lib(asan|ubsan)\./ { print $3; exit }')
	[ -z "$runtime" ] || preload="$runtime $SIGEVEC_LIB"
	if ldd "$SIGEVEC_LIB" | grep -q 'libtsan\.'; then
		skip "the library is built with the thread sanitizer, which cannot be preloaded into a foreign program"
	fi
}

# For programs on libevent: $event_lib, which preloads the library by itself.
find_event_library() {
	[ "$SIGEVEC_LIB" != none ] || skip "there is nothing to preload"
	event_lib=$(dirname -- "$SIGEVEC_LIB")/libsigevec_event.so.1
	[ -e "$event_lib" ] || skip "the library is built without libevent"
}

# with_event_engine NAME: as with_engine, with bufferevent_socket_new replaced, too.
with_event_engine() {
	with_engine "$1"
	sed -i "s#LD_PRELOAD='#&$event_lib #" "$work/under"
}

# relay PORT PIECE ARGUMENTS...: what is sent through $server at PORT, in pieces, comes out at port 11200, in both directions of 24 connections at once.
relay() {
	port=$1 piece=$2
	shift 2
	timeout -k 5 240 python3 "$preload_dir/relay.py" "$port" 11200 24 600000 "$piece" "$@" >"$work/log" 2>&1 || fail "$(tail -n 1 "$work/log")"
}

# The last program's bufferevents are ours.
proved_bufferevents() {
	passed=$((passed + 1))
	cat "$work"/bind.* | grep -q 'libsigevec_event.so.1.*bufferevent_socket_new' || fail "bufferevent_socket_new is not ours"
}

# stop_server: ends it, if there is one, and waits for that.
stop_server() {
	[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null
	server=
}

cleanup() {
	stop_server
	cd /
	[ -z "$work" ] || rm -rf "$work"
}

# The work folder must be on a file system with O_DIRECT that is not memory.
make_work() {
	work=$(mktemp -d "$(cd "${TMPDIR:-$build_dir}" && pwd)/sigevec-preload.XXXXXX") || fail "mktemp failed"
	trap cleanup EXIT
	trap 'exit 1' HUP INT TERM
	case $(stat -f -c %T "$work") in
		tmpfs | ramfs) skip "the work folder is on a memory file system; set TMPDIR to a folder on a disk" ;;
	esac
	dd if=/dev/zero of="$work/probe" bs=4096 count=1 oflag=direct 2>/dev/null ||
		skip "the file system of the work folder has no O_DIRECT; set TMPDIR to another"
	rm -f "$work/probe"
	cd "$work" || fail "cannot enter $work" # whatever the programs drop there goes away with it
}

# with_engine NAME: what follows runs with SIGEVEC_ENGINE=NAME, or unset for "default".
# Writes $work/under, a wrapper that runs a command under the library and nothing before it, so that
# `timeout 9 $work/under fio …` and `mpiexec -n 2 $work/under ./prog` preload into the program alone.
with_engine() {
	engine=$1
	{
		echo '#!/bin/sh'
		echo 'unset SIGEVEC_ENGINE'
		if [ "$SIGEVEC_LIB" != none ]; then
			[ "$engine" = default ] || echo "SIGEVEC_ENGINE=$engine; export SIGEVEC_ENGINE"
			echo "exec env ASAN_OPTIONS='${ASAN_OPTIONS:-}:detect_leaks=0' SIGEVEC_STATS='$work/stats' \\"
			echo "    LD_DEBUG=bindings LD_DEBUG_OUTPUT='$work/bind' \\"
			echo "    LD_PRELOAD='$preload' \"\$@\""
		else
			echo 'exec "$@"'
		fi
	} >"$work/under"
	chmod +x "$work/under"
}

# run SECONDS COMMAND...: must end with status 0 in time; its output goes to $work/log.
run() {
	limit=$1
	shift
	rm -f "$work"/bind.* "$work"/stats*
	timeout -k 5 "$limit" "$@" >"$work/log" 2>&1 </dev/null
	status=$?
	case $status in
		0) ;;
		124 | 137) fail "not finished after $limit s: $*" ;;
		*) fail "exit status $status: $*" ;;
	esac
}

# proved MIN SYMBOL...: the last run bound every SYMBOL to our library, none of the AIO names to libc,
# and the library counted at least MIN requests.
proved() {
	min=$1
	shift
	passed=$((passed + 1))
	[ "$SIGEVEC_LIB" = none ] && return
	ls "$work"/bind.* >/dev/null 2>&1 || fail "the dynamic linker wrote no list of bindings"
	for symbol; do
		cat "$work"/bind.* | grep "to [^ ]*libsigevec\.so\.1 .*normal symbol \`$symbol'" |
			grep -qv 'binding file [^ ]*libsigevec\.so\.1 ' ||
			fail "no caller's $symbol was bound to libsigevec.so.1"
	done
	wrong=$(cat "$work"/bind.* | grep -E "normal symbol \`(aio_|lio_listio)" |
		grep -v 'to [^ ]*libsigevec\.so\.1 ' | grep -v 'binding file [^ ]*libsigevec\.so\.1 ' | head -n 3)
	[ -z "$wrong" ] || fail "bound elsewhere: $wrong"
	[ -n "$SIGEVEC_TOOL" ] || return 0
	[ -e "$work/stats" ] || fail "the library wrote no statistics"
	requests=$(statistic requests)
	[ "${requests:-0}" -ge "$min" ] ||
		fail "the library counted ${requests:-no} requests, expected at least $min"
	# The override took effect: these two can do everything; the other engines pass on what they cannot do.
	case $engine in
	uring) [ "$(statistic uring_unavailable)" != 0 ] || counted uring_done ;;
	threads) counted threads_done ;;
	esac
}

counted() { [ "$(statistic "$1")" -gt 0 ] || fail "the statistic $1 is 0"; }

tool() { LD_LIBRARY_PATH=$(dirname -- "$SIGEVEC_LIB") "$SIGEVEC_TOOL" "$@"; }

# statistic NAME: a value of the last run's statistics.
statistic() {
	tool stat "$work/stats" |
		awk -v name="$1" '$1 == name { print $2; exit }'
}

finish() {
	if [ "$SIGEVEC_LIB" = none ]; then echo "PASS: $passed runs under the plain libc"; exit 0; fi
	echo "PASS: $passed runs under the library${SIGEVEC_TOOL:+, statistics read}"
	exit 0
}

find_library
