# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# For the tests of the kernel module: kernels, the module for one of them, a guest that runs programs. What comes of them is said in TAP.
. "${BASH_SOURCE[0]%/*}/../build/common.sh"

: "${SIGEVEC_KERNELS:=$top_builddir/kernels}"
guest_seconds=${GUEST_SECONDS:-600} # a guest that takes longer hangs
# The emulation makes strings of single bytes, so the guest must not take them for the quickest way to copy.
cpu=max,la57=off,erms=off,fsrm=off

number=0

# tap ok|"not ok" NAME
tap() {
	number=$((number + 1))
	echo "$1 $number - $2"
}

# What is more than a line of it follows as diagnostics.
fail() {
	failures=$((failures + 1))
	tap "not ok" "$(head -n 1 <<<"$*")"
	sed '1d; s/^/# /' <<<"$*"
}

skip() {
	echo "1..0 # SKIP $*"
	exit 77
}

finish() {
	echo "1..$number"
	[ "$failures" = 0 ]
	exit
}

find_tools() {
	command -v qemu-system-x86_64 >/dev/null || skip "there is no qemu-system-x86_64 (Debian package: qemu-system-x86)"
	[ -x /bin/busybox ] || skip "there is no busybox (Debian package: busybox-static)"
	[ "$(uname -m)" = x86_64 ] || skip "the guests are x86-64"
}

# find_kernel X.Y: sets version, headers, image, modules; or skips. Where nothing is to be built for it: build_for_kernel=no
find_kernel() {
	local folder
	find_tools
	for folder in "$SIGEVEC_KERNELS"/"$1".*/ /; do
		headers=$(find "${folder}usr/src" -maxdepth 1 -name "linux-headers-$1.*-cloud-amd64" 2>/dev/null | sort -V | tail -n 1)
		version=${headers##*/linux-headers-}
		image=${folder}boot/vmlinuz-$version
		modules=${folder}lib/modules/$version
		[ -z "$version" ] || [ ! -e "$image" ] || {
			[ "${build_for_kernel-}" = no ] || find_compiler
			return
		}
	done
	skip "there is no Linux $1 with headers here: tests/kmod/fetch-kernels $SIGEVEC_KERNELS"
}

# The headers build with the compiler that the kernel was built with; without it nothing can be said of warnings.
find_compiler() {
	local compiler
	compiler=$(sed -nE 's/.*(gcc-[0-9]+)[^-0-9]*$/\1/p' "$headers/.kernelvariables" | head -n 1)
	[ -z "$compiler" ] || command -v "$compiler" >/dev/null || command -v "x86_64-linux-gnu-$compiler" >/dev/null ||
		skip "Linux $version's headers need $compiler (Debian package: $compiler)"
}

# build_module FOLDER: sets module_source, where sigevec.ko and sigevec_test.ko are then. From what is installed for DKMS, without a warning
# of the compiler or of sparse.
build_module() {
	local part sparse='' log=$scratch/module.log
	! command -v sparse >/dev/null || sparse="C=2 CHECK=sparse"
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL "$MAKE" -C "$top_builddir" install-kmod-source DESTDIR="$1" >"$log" 2>&1 || {
		fail "make install-kmod-source: $(cat "$log")"
		finish
	}
	module_source=$(echo "$1"/usr/src/sigevec-*)
	mkdir -p "$module_source/tests/kmod"
	cp -r "$top_srcdir/tests/kmod/module" "$module_source/tests/kmod/"
	chmod -R u+w "$module_source"
	for part in kmod tests/kmod/module; do
		# shellcheck disable=SC2086 # two words or none
		env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u CC -u CXX "$MAKE" -C "$headers" M="$module_source/$part" W=1 $sparse modules \
			>"$log" 2>&1 || fail "$part does not build for Linux $version: $(tail -n 20 "$log")"
		grep -qE '(warning|error):' "$log" && fail "warnings in $part for Linux $version: $(grep -E -A 5 '(warning|error):' "$log")"
	done
	[ "$failures" = 0 ] || finish
	tap ok "the modules build without a warning"
	tap ok "sparse warns of nothing$([ -n "$sparse" ] || echo " # SKIP there is no sparse (Debian package: sparse)")"
}

# add_program FILE [NAME]: into the guest's /tests, with the libraries it needs
add_program() {
	local library
	cp -L "$1" "$root/tests/${2:-${1##*/}}"
	for library in $(ldd "$1" | sed -nE 's/.*[[:space:]](\/[^ ]+) \(0x.*/\1/p'); do
		case $library in
		*/ld-linux*) mkdir -p "$root/${library%/*}" && cp -L "$library" "$root/$library" ;;
		*) cp -L "$library" "$root/lib/" ;;
		esac
	done
}

make_root() {
	root=$scratch/root
	mkdir -p "$root"/{bin,lib,tests,modules,proc,sys,dev,tmp,etc,run,root}
	cp /bin/busybox "$root/bin/"
	cp "$top_srcdir/tests/kmod/guest-init" "$root/init"
	[ -z "${GUEST_TEST_SECONDS-}" ] || sed -i "s/^GUEST_TEST_SECONDS=[0-9]*/GUEST_TEST_SECONDS=$GUEST_TEST_SECONDS/" "$root/init"
	chmod +x "$root/init"
	printf 'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
}

# boot MEMORY: the guest's console goes to $console
boot() {
	console=$scratch/console
	(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$scratch/initrd"
	# QEMU's emulation, on a busy machine, now and then runs into a breakpoint of a kernel that patches its own text. Before our modules are
	# loaded that is no failure of theirs.
	for _ in 1 2 3; do
		boot_once "$1"
		tr -d '\r' <"$console" >"$console.text"
		! grep -q '^guest: begins' "$console.text" || break
		sed 's/^/# before the tests: /' "$console.text"
	done
	grep -q '^guest: done' "$console.text" || fail "the guest did not come to its end: $(tail -n 60 "$console.text" "$scratch/qemu")"
}

boot_once() {
	truncate -s 64M "$scratch/disk"
	timeout -k 5 "$guest_seconds" qemu-system-x86_64 -accel tcg,thread=multi -machine q35 -cpu "$cpu" -smp 2 -m "$1" \
		-nodefaults -no-user-config -display none -no-reboot -serial file:"$console" \
		-drive file="$scratch/disk",format=raw,if=virtio,cache=unsafe \
		-kernel "$image" -initrd "$scratch/initrd" \
		-append "console=ttyS0 quiet loglevel=1 panic=-1 oops=panic kasan_multi_shot" </dev/null >"$scratch/qemu" 2>&1
	[ $? != 124 ] || fail "the guest hangs"
}

# What the guest says, as ours; what a failed program said follows it.
judge() {
	local line explaining=
	while IFS= read -r line; do
		case $line in
		"ok - "*) explaining= && tap ok "${line#ok - }" ;;
		"skip - "*" # "*) explaining= && tap ok "$(sed -E 's/^skip - (.*) # /\1 # SKIP /' <<<"$line")" ;;
		"not ok - "*) explaining=yes && fail "${line#not ok - }" ;;
		figure*) echo "$line" ;;
		*) [ -z "$explaining" ] || echo "# $line" ;;
		esac
	done <"$console.text"
	grep -q '^ok' "$console.text" || fail "nothing ran in the guest"
}
