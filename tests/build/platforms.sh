#!/bin/bash
# SPDX-License-Identifier: MIT
# Where the library cannot be, configure says so in one sentence and stops.
. "$(dirname "$0")/common.sh"
[ ! -e "$top_srcdir/config.status" ] || skip "the sources have a build of their own in their folder"
echo 'int main(void) { return 0; }' >"$scratch/main.c"
tried=

# refused SENTENCE CC CXX: where that compiler is
refused() {
	local folder
	$2 -o "$scratch/main" "$scratch/main.c" 2>/dev/null || return 0
	tried=yes
	folder=$(mktemp -d "$scratch/build.XXXXXX")
	if (cd "$folder" && "$top_srcdir/configure" CC="$2" CXX="$3" >log 2>&1); then
		fail "configure has nothing against $2"
	elif ! grep -q "^configure: error: $1" "$folder/log"; then
		fail "configure with $2: $(tail -n 3 "$folder/log")"
	fi
}

refused "libsigevec is for 64-bit machines" "${CC##* } -m32" "${CXX##* } -m32"
refused "libsigevec takes the place of a part of glibc" musl-gcc "$CXX"
[ -n "$tried" ] || skip "there is no compiler for 32 bits or musl (Debian packages: gcc-multilib, musl-tools)"
finish
