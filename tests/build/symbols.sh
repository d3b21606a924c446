#!/bin/bash
# SPDX-License-Identifier: MIT
# What the library exports and needs: the names of POSIX in the base version, ours in SIGEVEC_1.0, nothing else.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it exports names of its own"

exported=$(readelf --dyn-syms -W "$SIGEVEC_LIB" | awk '$7 != "UND" && ($5 == "GLOBAL" || $5 == "WEAK" || $5 == "UNIQUE") { print $8 }')
# names NODE: what libsigevec.map has in that node
names() {
	sed -n "/^$1 {/,/^}/s/^\t\([a-z_0-9]*\);\$/\1/p" "$top_srcdir/lib/libsigevec.map"
}
ours=$(names SIGEVEC_1.0)
inside=$(names SIGEVEC_PRIVATE)
[ -n "$ours" ] && [ -n "$inside" ] || fail "libsigevec.map has not both nodes"

versioned=
if [ "$(uname -m)" = x86_64 ]; then
	for name in $timer_names; do versioned="$versioned $name@@GLIBC_2.34 $name@GLIBC_2.3.3"; done
else
	source_names="$source_names $timer_names"
fi
for name in $versioned; do
	echo "$exported" | grep -qxF "$name" || fail "$name is not exported"
done
for name in $posix_names $source_names; do
	echo "$exported" | grep -qx "$name" || fail "$name is not exported in the base version"
done
for name in $ours; do
	echo "$exported" | grep -qx "$name@@SIGEVEC_1.0" || fail "$name of libsigevec.map is not exported in SIGEVEC_1.0"
done
for name in $inside; do
	echo "$exported" | grep -qx "$name@@SIGEVEC_PRIVATE" || fail "$name of libsigevec.map is not exported in SIGEVEC_PRIVATE"
done
nodes="SIGEVEC_1.0 SIGEVEC_PRIVATE GLIBC_2.3.3 GLIBC_2.34"
public=$(printf '%s\n' $posix_names $source_names $versioned $nodes && printf '%s@@%s\n' $(for n in $nodes; do echo $n $n; done) && printf '%s@@SIGEVEC_1.0\n' $ours &&
	printf '%s@@SIGEVEC_PRIVATE\n' $inside)
for name in $exported; do
	echo "$public" | grep -qxF "$name" || fail "$name is exported, but is no public name"
done

# libsigevec_aio has libaio's names and versions, as programs ask for them, and libc's syscall, which answers to every version.
aio=${SIGEVEC_LIB%libsigevec.so.1}libsigevec_aio.so.1
expected="io_cancel@@LIBAIO_0.4 io_cancel@LIBAIO_0.1 io_destroy@@LIBAIO_0.4 io_getevents@@LIBAIO_0.4 io_getevents@LIBAIO_0.1
	io_pgetevents@@LIBAIO_0.5 io_queue_init@@LIBAIO_0.1 io_queue_release@@LIBAIO_0.1 io_queue_run@@LIBAIO_0.1 io_queue_wait@@LIBAIO_0.4
	io_queue_wait@LIBAIO_0.1 io_setup@@LIBAIO_0.4 io_submit@@LIBAIO_0.1"
case $(uname -m) in x86_64 | aarch64) expected="$expected syscall" ;; esac
found=$(readelf --dyn-syms -W "$aio" | awk '$7 != "UND" && $4 != "OBJECT" && ($5 == "GLOBAL" || $5 == "WEAK" || $5 == "UNIQUE") { print $8 }' | sort)
wanted=$(printf '%s\n' $expected | sort)
[ "$found" = "$wanted" ] || fail "libsigevec_aio exports other names than libaio: $(diff <(echo "$wanted") <(echo "$found"))"

# libsigevec_fabric has what its map says; of the others nobody needs libfabric.
fabric=${SIGEVEC_LIB%libsigevec.so.1}libsigevec_fabric.so.1
if [ -e "$fabric" ]; then
	found=$(readelf --dyn-syms -W "$fabric" | awk '$7 != "UND" && $4 != "OBJECT" && ($5 == "GLOBAL" || $5 == "WEAK" || $5 == "UNIQUE") { print $8 }' | sort)
	wanted=$(sed -n 's/^\t\([a-z_0-9]*\);$/\1@@SIGEVEC_FABRIC_1.0/p' "$top_srcdir/lib/fabric/libsigevec_fabric.map" | sort)
	[ "$found" = "$wanted" ] || fail "libsigevec_fabric exports other names than its map: $(diff <(echo "$wanted") <(echo "$found"))"
	! readelf -d -W "$SIGEVEC_LIB" "$aio" | grep -q 'NEEDED.*libfabric' || fail "the core needs libfabric"
else
	fabric=
fi

for library in "$SIGEVEC_LIB" "$aio" $fabric; do
	dynamic=$(readelf -d -W "$library")
	soname=$(echo "$dynamic" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
	[ "$soname" = "${library##*/}" ] || fail "the soname of $library is $soname"
	for needed in $(echo "$dynamic" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
		case $needed in
		libstdc++* | libc++* | libgcc_s*) fail "$library needs $needed, which a C program need not have" ;;
		esac
	done
	echo "$dynamic" | grep -q 'TEXTREL' && fail "$library has text relocations"
	echo "$dynamic" | grep -q 'FLAGS_1.*NODELETE' || fail "$library can be unloaded while its threads run (-z nodelete)"
	echo "$dynamic" | grep -q 'FLAGS.*NOW' || fail "$library binds its symbols lazily (-z now)"
	readelf -l -W "$library" | grep -q 'GNU_STACK.*RWE' && fail "$library asks for an executable stack"
done
finish
