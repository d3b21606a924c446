#!/bin/bash
# SPDX-License-Identifier: MIT
# Clang builds everything without a warning, and the library that comes of it has the right symbols and works.
. "$(dirname "$0")/other.sh"
skip_with_sanitizer "clang has another"
clang=$(command -v clang clang-{21,20,19,18,17,16,15,14} | head -n 1)
[ -n "$clang" ] || skip "there is no clang (Debian package: clang)"
# A compiler without the headers of a C++ library is none.
echo '#include <atomic>' | "${clang/clang/clang++}" -x c++ -std=c++20 -fsyntax-only - 2>/dev/null || skip "$clang has no C++20"

other_build CC="$clang" CXX="${clang/clang/clang++}"
library=$built/.libs/libsigevec.so.1
# Without optimisation functions of the C++ library's headers are functions: they are nobody's names.
SIGEVEC_LIB=$library bash "$(dirname "$0")/symbols.sh" | grep '^FAIL' | grep -vE '^FAIL: _Z(N|NK)?St[^ ]* is exported' >"$scratch/symbols"
[ ! -s "$scratch/symbols" ] || fail "symbols: $(cat "$scratch/symbols")"

# The programs of the other build, with this library in the place of theirs: it has the same name.
for name in posix_read posix_listio ec_channel ev_sync_locks source_timer; do
	program=$top_builddir/tests/contract/$name
	[ -x "$program" ] || continue
	LD_PRELOAD=$library timeout 120 "$program" >"$scratch/$name" 2>&1
	case $? in
	0 | 77) ;;
	*) fail "$name: $(tail -n 20 "$scratch/$name")" ;;
	esac
done
finish
