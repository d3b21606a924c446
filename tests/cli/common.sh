# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# For the tests of sigevec(1): what tests/build/common.sh has, the tool, and checks of what a command says and ends with.

. "$(dirname "${BASH_SOURCE[0]}")/../build/common.sh"
: "${SIGEVEC_TOOL:=$top_builddir/sigevec}"
cli_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
unset SIGEVEC_ENGINE SIGEVEC_STATS LD_PRELOAD

# ends STATUS COMMAND...: its output is in $scratch/out and $scratch/err
ends() {
	local expected=$1 status
	shift
	"$@" >"$scratch/out" 2>"$scratch/err" </dev/null
	status=$?
	[ "$status" = "$expected" ] || {
		fail "'${*##*/}' ended with $status, not $expected"
		head -n 5 "$scratch/out" "$scratch/err"
	}
}

# says PATTERN, complains PATTERN: of the last command, on standard output and on standard error
says() {
	grep -qE -- "$1" "$scratch/out" || {
		fail "standard output has no '$1'"
		cat "$scratch/out"
	}
}
complains() {
	grep -qE -- "$1" "$scratch/err" || {
		fail "standard error has no '$1'"
		cat "$scratch/err"
	}
}

# no_line_over COLUMNS: of the last command's output
no_line_over() {
	awk -v most="$1" 'length($0) > most { exit 1 }' "$scratch/out" || {
		fail "a line is longer than $1 columns"
		cat "$scratch/out"
	}
}

# is_json: the last command's output is JSON; json EXPRESSION: true of it, as `d'
is_json() {
	python3 -m json.tool "$scratch/out" >/dev/null || fail "no JSON"
}
json() {
	python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
sys.exit(not eval(sys.argv[2]))' "$scratch/out" "$1" || fail "not true: $1"
}

# compile NAME FLAG...: $scratch/NAME of aio_user.c
compile() {
	local name=$1
	shift
	"$CC" -o "$scratch/$name" "$cli_dir/aio_user.c" "$@" || fail "$name does not compile"
}
