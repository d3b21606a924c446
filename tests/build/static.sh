#!/bin/bash
# SPDX-License-Identifier: MIT
# A static program links with libsigevec.a, and finds in it neither too few functions nor too many.
. "$(dirname "$0")/other.sh"
skip_with_sanitizer "no static program has one"
echo 'int main(void) { return 0; }' | "$CC" -static -x c -o "$scratch/none" - 2>/dev/null || skip "there is no static C library"

targets=libsigevec.la
other_build --enable-static --disable-shared --without-libevent --without-libfabric CC="$CC" CXX="$CXX"
libraries=
for library in uring aio; do
	if grep -q "^#define HAVE_LIB${library^^} 1" "$built/config.h"; then libraries="$libraries -l$library"; fi
done
# shellcheck disable=SC2086 # several
"$CC" -std=c11 -static -o "$scratch/static" "$(dirname "$0")/static.c" -I"$top_srcdir/include/sigevec/system" -I"$top_srcdir/include" \
	"$built/.libs/libsigevec.a" $libraries >"$scratch/log" 2>&1 || fail "the program does not link: $(cat "$scratch/log")"
timeout 60 "$scratch/static" >"$scratch/said" || fail "the program: $(cat "$scratch/said")"
[ ! -x "$scratch/static" ] || ! readelf -d "$scratch/static" | grep -q NEEDED || fail "the program is not static"
finish
