#!/bin/bash
# SPDX-License-Identifier: MIT
# Every source is as .clang-format says. Other versions of clang-format break some lines elsewhere: version 14 is the judge.
. "$(dirname "$0")/common.sh"
judge=
for name in clang-format-14 clang-format; do
	command -v $name >/dev/null && $name --version | grep -q 'version 14\.' && judge=$name && break
done
[ "$judge" ] || skip "there is no clang-format 14"
cd "$top_srcdir" || exit 99
mapfile -t sources < <(find include lib compat kmod tests tools examples bench \( -name '*.cpp' -o -name '*.hpp' -o -name '*.[ch]' \) ! -name '*.mod.c')
$judge --dry-run "${sources[@]}" 2>&1 | grep -m 20 warning: && fail "clang-format -i is to be run on these"
finish
