# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# For the tests in this folder: where things are, a scratch folder, and what a test says at its end.
# `make check` sets the variables; by hand, run a test from the build folder: bash ../tests/build/symbols.sh

set -u
export LC_ALL=C
: "${top_srcdir:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}"
: "${top_builddir:=$PWD}"
: "${SIGEVEC_LIB:=$top_builddir/.libs/libsigevec.so.1}"
: "${SIGEVEC_SANITIZER:=}"
: "${CC:=cc}"
: "${CXX:=c++}"
: "${MAKE:=make}"

posix_names="aio_read aio_write aio_fsync aio_error aio_return aio_suspend aio_cancel lio_listio"
posix_names="$posix_names aio_read64 aio_write64 aio_fsync64 aio_error64 aio_return64 aio_suspend64 aio_cancel64 lio_listio64"
posix_names="$posix_names aio_init"
# Taken over for SIGEV_EC alone; on x86-64 those of timers have the versions of libc's that mean today's ABI.
source_names="mq_notify getaddrinfo_a gai_suspend gai_cancel"
timer_names="timer_create timer_delete timer_getoverrun"

failures=0
scratch=$(mktemp -d "${TMPDIR:-/tmp}/sigevec-test.XXXXXX") || exit 99
trap 'rm -rf "$scratch"' EXIT

fail() {
	echo "FAIL: $*"
	failures=$((failures + 1))
}

skip() {
	echo "$*"
	exit 77
}

# The last line of every test.
finish() {
	[ "$failures" = 0 ] || echo "$failures failed"
	[ "$failures" = 0 ]
	exit
}

[ -e "$SIGEVEC_LIB" ] || {
	fail "there is no $SIGEVEC_LIB; run make first"
	finish
}

skip_with_sanitizer() {
	[ -z "$SIGEVEC_SANITIZER" ] || skip "the $SIGEVEC_SANITIZER sanitizer's run-time is linked in: $*"
}

# Installs into $installed_root, and makes pkg-config find that copy alone. One installation at a time.
install_copy() {
	installed_root=$scratch/installed
	unset MAKEFLAGS MFLAGS MAKELEVEL
	flock "$top_builddir/config.status" "$MAKE" -C "$top_builddir" install DESTDIR="$installed_root" \
		>"$scratch/install.log" 2>&1 || {
		tail -n 20 "$scratch/install.log"
		fail "make install"
		finish
	}
	local pc
	pc=$(find "$installed_root" -name sigevec.pc)
	export PKG_CONFIG_LIBDIR=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$installed_root PKG_CONFIG_PATH=
	installed_libdir=$(dirname "$PKG_CONFIG_LIBDIR")
}
