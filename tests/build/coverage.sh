#!/bin/bash
# SPDX-License-Identifier: MIT
# tests/coverage.md is true: the tests it names exist, each row names one or says why there is none, and no contract
# program is left out.
. "$(dirname "$0")/common.sh"
cd "$top_srcdir" || exit 99
page=tests/coverage.md

# "program: case" of every case there is. A long name stands in a line of its own.
awk 'FNR == 1 { name = FILENAME; sub(/\.cpp$/, "", name); sub(/^tests\/contract\//, "", name); sub(/^tests\/kmod\//, "kmod_", name); wanted = 0 }
	sub(/^.*TEST_CASE\(/, "") { wanted = 1 }
	wanted && match($0, /[a-z0-9_]+/) { print name ": " substr($0, RSTART, RLENGTH); wanted = 0 }' \
	tests/contract/*.cpp tests/kmod/*.cpp | sort -u >"$scratch/there"
grep -oE '`[a-z0-9_]+: [a-z0-9_]+`' $page | tr -d '`' | sort -u >"$scratch/named"
[ -s "$scratch/named" ] || fail "$page names no case"
while read -r missing; do
	fail "$page names $missing, which is not there"
done < <(comm -13 "$scratch/there" "$scratch/named")

while read -r script; do
	[ -e "$script" ] || fail "$page names $script, which does not exist"
done < <(grep -oE '`tests/[a-z/_-]+\.sh`' $page | tr -d '`' | sort -u)

while read -r row; do
	fail "neither a test nor a reason: $row"
done < <(grep -E '^\| [0-9]' $page | grep -vE '`[a-z0-9_]+: [a-z0-9_]+`|`tests/[a-z/_-]+\.sh`|\| no test: ')

while read -r program; do
	fail "$page says nothing of $program"
done < <(comm -23 <(cut -d: -f1 "$scratch/there" | sort -u) <(grep -oE '`[a-z0-9_]+: ' $page | tr -d '`: ' | sort -u))
finish
