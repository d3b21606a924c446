#!/bin/bash
# SPDX-License-Identifier: MIT
# tests/coverage.md is true: the tests it names exist, each row names one or says why there is none, and no contract
# program is left out.
. "$(dirname "$0")/common.sh"
cd "$top_srcdir" || exit 99
page=tests/coverage.md

while read -r program test_case; do
	program=${program%:}
	source=tests/contract/$program.cpp
	[ "$program" = "${program#kmod_}" ] || source=tests/kmod/${program#kmod_}.cpp
	# A long name stands in a line of its own.
	grep -qzE "TEST_CASE\([[:space:]]*$test_case[,)]" "$source" || fail "$page names $program $test_case, which $source has not"
done < <(grep -oE '`[a-z0-9_]+: [a-z0-9_]+`' $page | tr -d '`' | sort -u)

while read -r script; do
	[ -e "$script" ] || fail "$page names $script, which does not exist"
done < <(grep -oE '`tests/[a-z/_-]+\.sh`' $page | tr -d '`' | sort -u)

while read -r row; do
	fail "neither a test nor a reason: $row"
done < <(grep -E '^\| [0-9]' $page | grep -vE '`[a-z0-9_]+: [a-z0-9_]+`|`tests/[a-z/_-]+\.sh`|\| no test: ')

for source in tests/contract/*.cpp tests/kmod/*.cpp; do
	program=$(basename "$source" .cpp)
	[ "${source%/*}" != tests/kmod ] || program=kmod_$program
	grep -q "\`$program: " $page || fail "$page says nothing of $source"
done
finish
