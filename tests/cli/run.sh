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
complains '^sigevec run: PROGRAM: none is named$'
complains '^usage: sigevec run'
ends 2 "$SIGEVEC_TOOL" run --nonsense true
complains '^sigevec run: --nonsense: no such option$'
ends 2 "$SIGEVEC_TOOL" run -xe uring true
complains '^sigevec run: -x: no such option$'
ends 2 "$SIGEVEC_TOOL" run --engine
complains '^sigevec run: --engine: it wants a value$'
ends 2 "$SIGEVEC_TOOL" run --libevent=yes true
complains '^sigevec run: --libevent=yes: it takes no value$'
ends 2 "$SIGEVEC_TOOL" run --stats=xml true
complains '^sigevec run: --stats xml: the statistics are text or json$'
ends 2 "$SIGEVEC_TOOL" run --output "$scratch/figures" true
complains 'figures: --output is where --stats tells'

# Where the figures cannot be told the program is not started; what is lost afterwards is no success.
ends 125 "$SIGEVEC_TOOL" run --stats -o "$scratch/no/where" touch "$scratch/started"
complains '^sigevec run: .*no/where: No such file'
[ ! -e "$scratch/started" ] || fail "the program was started"
if [ -w /dev/full ]; then
	ends 125 "$SIGEVEC_TOOL" run --stats=json -o /dev/full true
	complains 'No space left'
	ends 3 "$SIGEVEC_TOOL" run --stats=json -o /dev/full sh -c 'exit 3'
fi
# What was in the file goes when there is something new.
echo "much more than before" >"$scratch/figures"
ends 0 "$SIGEVEC_TOOL" run --stats=json -o "$scratch/figures" true
cp "$scratch/figures" "$scratch/out"
is_json
json 'd["processes"] == 0 and d["requests"] == []'
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
