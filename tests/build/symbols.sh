#!/bin/bash
# SPDX-License-Identifier: MIT
# What the library exports and needs: the names of POSIX in the base version, ours in SIGEVEC_1.0, nothing else.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it exports names of its own"

exported=$(readelf --dyn-syms -W "$SIGEVEC_LIB" | awk '$7 != "UND" && ($5 == "GLOBAL" || $5 == "WEAK" || $5 == "UNIQUE") { print $8 }')
ours=$(sed -n 's/^\t\([a-z_0-9]*\);$/\1/p' "$top_srcdir/lib/libsigevec.map")

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
nodes="SIGEVEC_1.0 GLIBC_2.3.3 GLIBC_2.34"
public=$(printf '%s\n' $posix_names $source_names $versioned $nodes && printf '%s@@%s\n' $(for n in $nodes; do echo $n $n; done) && printf '%s@@SIGEVEC_1.0\n' $ours)
for name in $exported; do
	echo "$public" | grep -qxF "$name" || fail "$name is exported, but is no public name"
done

dynamic=$(readelf -d -W "$SIGEVEC_LIB")
soname=$(echo "$dynamic" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
[ "$soname" = libsigevec.so.1 ] || fail "the soname is $soname"
for needed in $(echo "$dynamic" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
	case $needed in
	libstdc++* | libc++* | libgcc_s*) fail "needs $needed, which a C program need not have" ;;
	esac
done
echo "$dynamic" | grep -q 'TEXTREL' && fail "has text relocations"
echo "$dynamic" | grep -q 'FLAGS_1.*NODELETE' || fail "can be unloaded while its threads run (-z nodelete)"
echo "$dynamic" | grep -q 'FLAGS.*NOW' || fail "binds its symbols lazily (-z now)"
readelf -l -W "$SIGEVEC_LIB" | grep -q 'GNU_STACK.*RWE' && fail "asks for an executable stack"
finish
