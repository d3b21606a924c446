#!/bin/bash
# SPDX-License-Identifier: MIT
# `sigevec run' preloads its library before what is preloaded already, and ends as env(1) does.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it cannot be preloaded on its own"
library=$(realpath "$SIGEVEC_LIB")

preload_of() {
	sed -n 's/^LD_PRELOAD=//p' "$scratch/out"
}

ends 0 "$SIGEVEC_TOOL" run env
[ "$(preload_of)" = "$library" ] || fail "LD_PRELOAD is $(preload_of)"
says '^LD_PRELOAD='
! grep -q SIGEVEC_ENGINE "$scratch/out" || fail "an engine is set without being asked for"

other=$(ldd /bin/sh | awk "/libc\.so/ { print \$3 }")
ends 0 env LD_PRELOAD="$other" "$SIGEVEC_TOOL" run -- env
[ "$(preload_of)" = "$library:$other" ] || fail "other preloads are lost: $(preload_of)"
ends 0 "$SIGEVEC_TOOL" run "$SIGEVEC_TOOL" run env
[ "$(preload_of)" = "$library" ] || fail "it is preloaded twice: $(preload_of)"

ends 0 "$SIGEVEC_TOOL" run --engine threads env
says '^SIGEVEC_ENGINE=threads$'
ends 0 "$SIGEVEC_TOOL" run -e uring -- env
says '^SIGEVEC_ENGINE=uring$'

# The options of the program are the program's.
ends 0 "$SIGEVEC_TOOL" run echo --engine --help
says '^--engine --help$'

ends 7 "$SIGEVEC_TOOL" run sh -c 'exit 7'
ends 127 "$SIGEVEC_TOOL" run "$scratch/nothing"
complains "^sigevec run: $scratch/nothing: No such file"
echo text >"$scratch/text"
ends 126 "$SIGEVEC_TOOL" run "$scratch/text"
complains 'Permission denied'

ends 2 "$SIGEVEC_TOOL" run
complains '^usage: sigevec run'
ends 2 "$SIGEVEC_TOOL" run --nonsense true
ends 2 "$SIGEVEC_TOOL" run --engine warp true
complains 'warp: no such engine'
ends 2 "$SIGEVEC_TOOL"
complains '^usage:'
ends 2 "$SIGEVEC_TOOL" nonsense
complains 'nonsense: no such command'

for command in run info check stat bench; do
	ends 0 "$SIGEVEC_TOOL" $command --help
	says "^usage: sigevec $command"
	[ ! -s "$scratch/err" ] || fail "$command --help complains"
done
ends 0 "$SIGEVEC_TOOL" --help
ends 0 "$SIGEVEC_TOOL" --version
says '^sigevec .*[0-9]+\.[0-9]+'
if [ -w /dev/full ]; then
	"$SIGEVEC_TOOL" --help >/dev/full 2>"$scratch/err"
	[ $? = 1 ] || fail "a full standard output is no error"
	complains 'No space left'
fi
finish
