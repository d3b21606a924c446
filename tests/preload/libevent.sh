#!/bin/sh
# SPDX-License-Identifier: MIT
# A program on libevent, unmodified: evhttp and its client, with libsigevec_event preloaded by hand and by `sigevec run --libevent'. libevent itself
# makes the bufferevents. What it answers is right, and with a ring they wait for room in channels; a program that is linked with the library keeps libevent's.

. "$(dirname -- "$0")/lib.sh"

find_library
find_event_library
[ -n "$SIGEVEC_TOOL" ] || skip "there is no sigevec tool"
make_work
what="compiling"
pkg-config --exists libevent || skip "libevent is not installed"
# shellcheck disable=SC2046
run 60 ${CC:-cc} -O1 -o "$work/http" "$preload_dir/libevent_http.c" $(pkg-config --cflags --libs libevent)

what="plain"
run 60 "$work/http"
grep -q '^320 of 320 answers right' "$work/log" || fail "the program itself is wrong"

for name in $SIGEVEC_ENGINES; do
	with_event_engine "$name"
	what="preloaded"
	run 60 "$work/under" "$work/http"
	grep -q '^320 of 320 answers right' "$work/log" || fail "not all answers are right"
	proved_bufferevents
done

what="sigevec run --libevent"
run 60 "$SIGEVEC_TOOL" run --libevent --stats=json --output "$work/figures" "$work/http"
grep -q '^320 of 320 answers right' "$work/log" || fail "not all answers are right"
if "$SIGEVEC_TOOL" info | grep -q '^uring *yes'; then
	grep -q '"poll"' "$work/figures" || fail "no bufferevent has waited for room in a channel: $(cut -c 1-300 "$work/figures")"
fi

what="sigevec check"
"$SIGEVEC_TOOL" check "$work/http" >"$work/log" 2>&1
grep -q 'run --libevent' "$work/log" || fail "check does not tell of --libevent"

what="linked"
# shellcheck disable=SC2046
run 60 ${CC:-cc} -O1 -o "$work/linked" "$preload_dir/libevent_http.c" -Wl,--no-as-needed "$event_lib" "$SIGEVEC_LIB" $(pkg-config --cflags --libs libevent)
run 60 env LD_LIBRARY_PATH="$(dirname -- "$SIGEVEC_LIB")" SIGEVEC_STATS="$work/linked.stats" "$work/linked"
grep -q '^320 of 320 answers right' "$work/log" || fail "not all answers are right"
[ ! -e "$work/linked.stats" ] || fail "a program that has not asked for channels has got some"
finish
