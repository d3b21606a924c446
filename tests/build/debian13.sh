#!/bin/bash
# SPDX-License-Identifier: MIT
# Debian 13 (gcc 14, glibc 2.41) builds everything without a warning, and some of the tests pass there: in a root of its own, from the archive
# that apt's configuration names. It stays in the build folder, and takes two to three minutes the first time.
. "$(dirname "$0")/other.sh"
. "$(dirname "$0")/archive.sh"
skip_with_sanitizer "nothing of this build is used"
[ "$(sed -n 's/^VERSION_ID="\(1[3-9]\).*/\1/p' /etc/os-release)" = "" ] || skip "this is Debian 13 or later itself"
[ "$(id -u)" = 0 ] || skip "only root can make a root of its own"
command -v debootstrap >/dev/null || skip "there is no debootstrap (Debian package: debootstrap)"
archive=$(debian_archive)
[ -n "$archive" ] || skip "apt's configuration names no archive of Debian's"
unshare --mount true 2>/dev/null || skip "no mount namespaces here"

root=$top_builddir/debian13
packages=g++,make,pkgconf,libc6-dev,liburing-dev,libaio-dev,libevent-dev,libfabric-dev,libboost-test-dev
if [ ! -e "$root/complete" ]; then
	rm -rf "$root"
	timeout 500 debootstrap --variant=minbase --include=$packages trixie "$root" "$archive" >"$scratch/log" 2>&1 ||
		skip "debootstrap gets no Debian 13 here: $(tail -n 1 "$scratch/log")"
	rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
	mkdir "$root/src"
	touch "$root/complete"
fi

cat >"$root/build-and-test" <<'END'
set -e
tests='tests/contract/posix_read tests/contract/ev_sync_locks tests/contract/source_timer'
rm -rf /build && mkdir /build && cd /build
/src/configure --disable-lto --enable-werror CFLAGS=-O0 CXXFLAGS=-O0
# Whatever the times of its files are: they are the other build's.
# One after the other: "all" is made by a make of its own, which would make the library beside the tests' one.
for goal in all "$tests"; do
	make -j"$(nproc)" ACLOCAL=: AUTOCONF=: AUTOMAKE=: AUTOHEADER=: $goal || exit
done
for test in $tests; do
	echo "running $test"
	timeout 120 $test || [ $? = 77 ]
done
END

# The mounts end with the command.
unshare --mount sh -e -c '
	mount --bind "$2" "$1/src"
	mount -o remount,bind,ro "$1/src"
	mount -t proc proc "$1/proc"
	mount -t tmpfs tmpfs "$1/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=666 devpts "$1/dev/pts"
	exec chroot "$1" /usr/bin/env -i PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/root LC_ALL=C sh /build-and-test
' sh "$root" "$top_srcdir" >"$scratch/log" 2>&1 </dev/null || {
	grep -E -A 6 '(error|warning|Error)[: ]' "$scratch/log" | head -n 60
	tail -n 20 "$scratch/log"
	fail "not on Debian 13"
}
rm -rf "$root/build"
finish
