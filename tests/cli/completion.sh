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
# Nothing of a file's name is expanded: no command, no variable, no pattern, no space.
mkdir "$scratch/names"
cd "$scratch/names" || fail "no folder"
names=('$(touch ran)' '`touch ran`' '${x:=$(touch ran)}' '<(touch ran)' 'a b' '*' '~root' "q'q" 'w"w' 'e\e' 'x;touch ran' '-n')
touch -- "${names[@]}"
for words in "run" "check" "stat" "bench" "run -o" "bench --svg" "run --engine" "stat --list" "run echo"; do
	# shellcheck disable=SC2086 # several words
	completed sigevec $words '' >"$scratch/offered"
	case $words in
	check | stat | bench | "bench --svg")
		for name in "${names[@]}"; do
			grep -qxF -- "$name" "$scratch/offered" || fail "$words: '$name' is not offered"
		done
		;;
	esac
	for cur in '$(touch ran)' '`touch ran`' "'" '"' '~' '*'; do
		# shellcheck disable=SC2086
		completed sigevec $words "$cur" >/dev/null 2>&1
		completed sigevec "$cur" "$cur" '' >/dev/null 2>&1
	done
done
[ ! -e ran ] || fail "a command in a file's name has run"
cd "$scratch" || fail "no folder"

# Processes: numbers alone, of the user's own folder alone.
own=/dev/shm/sigevec-$EUID
if mkdir -m 700 "$own" 2>/dev/null || [ -O "$own" ]; then
	mkdir "$own/run.test-$$"
	touch "$own/999999$$" "$own/"'$(touch ran)1' "$own/run.test-$$/999998$$" "$own/run.test-$$/"'`touch ran`2' "$own/5x"
	completed sigevec stat 99999 >"$scratch/offered"
	completed sigevec stat '' >>"$scratch/offered"
	rm -rf "$own/run.test-$$" "$own/999999$$" "$own/"'$(touch ran)1' "$own/5x"
	[ ! -e ran ] || fail "a command in the name of a statistics file has run"
	! grep -qE 'ran|5x' "$scratch/offered" || fail "offered: $(cat "$scratch/offered")"
	if [ ${#$} -le 4 ]; then
		grep -qx "999999$$" "$scratch/offered" && grep -qx "999998$$" "$scratch/offered" || fail "numbers of processes are not completed"
	fi
fi
touch "$scratch/chart"
[ "$(completed sigevec bench --svg "$scratch/ch")" = "$scratch/chart" ] || fail "files are not completed"
finish
