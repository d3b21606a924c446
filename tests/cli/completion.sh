#!/bin/bash
# SPDX-License-Identifier: MIT
# The completion of bash knows every subcommand and every option that the tool has, and no other.
. "$(dirname "$0")/common.sh"
. "$top_srcdir/tools/completion/sigevec" || fail "it cannot be read"

# completed WORD...: what the last word may become
completed() {
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
	_sigevec
	printf '%s\n' "${COMPREPLY[@]}" | sort -u
}

commands=$("$SIGEVEC_TOOL" --help | sed -n 's/^  \([a-z]*\) .*/\1/p' | grep -v sigevec | sort -u)
[ "$(completed sigevec '' | grep -v ^-)" = "$commands" ] || fail "subcommands: $(completed sigevec '')"
for command in $commands; do
	options=$("$SIGEVEC_TOOL" $command --help | grep -E '^  ' | grep -oE -- '--[a-z]+' | sort -u)
	known=$(completed sigevec $command -- | sed 's/=.*//' | sort -u)
	[ "$options" = "$known" ] || fail "$command: it has" $options", the completion knows" $known
done
[ "$(completed sigevec run --engine u)" = uring ] || fail "engines: $(completed sigevec run --engine u)"
[ "$(completed sigevec run --stats = j)" = json ] || fail "--stats=: $(completed sigevec run --stats = j)"
completed sigevec run ech | grep -qx echo || fail "programs are not completed"
touch "$scratch/chart"
[ "$(completed sigevec bench --svg "$scratch/ch")" = "$scratch/chart" ] || fail "files are not completed"
finish
