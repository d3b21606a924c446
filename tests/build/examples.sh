#!/bin/bash
# SPDX-License-Identifier: MIT
# Every program of examples/ is run by a test: the echo servers here, with many connections at once, the others by tests of their
# own. And each says at its top what it shows.
. "$(dirname "$0")/common.sh"
many=50
export LD_LIBRARY_PATH=${SIGEVEC_LIB%/*}

# The servers that are tested here; all have the same way of telling their port.
servers="echo_coroutine echo_server echo_server_dma"
[ ! -e "$top_builddir/libsigevec_event.la" ] || servers="$servers echo_server_libevent"

for source in "$top_srcdir"/examples/*.c "$top_srcdir"/examples/*.cpp; do
	name=${source##*/}
	name=${name%.*}
	grep -q '^int main' "$source" || continue # a part of another one
	head -n 4 "$source" | grep -qE "^(//| \*) $name[ :]" || fail "$name does not begin with what it shows"
	case " $servers " in *" $name "*) continue ;; esac
	[ "$name" = echo_server_libevent ] || grep -qlE "(examples/$name|/$name)\b" "$top_srcdir"/tests/build/*.sh ||
		fail "no test runs examples/$name"
done

# exchange PORT: what is written to each of many connections comes back, all of them being open
exchange() {
	local open=() one answer i
	for ((i = 0; i < many; i++)); do
		exec {one}<>"/dev/tcp/127.0.0.1/$1" || return
		printf 'line of %d\n' "$i" >&"$one"
		open+=("$one")
	done
	for ((i = 0; i < many; i++)); do
		read -r -t 20 -u "${open[i]}" answer
		[ "$answer" = "line of $i" ] || return
	done
	for one in "${open[@]}"; do exec {one}>&-; done
}

for name in $servers; do
	program=$top_builddir/examples/$name
	[ -x "$program" ] || {
		fail "there is no $program"
		continue
	}
	stdbuf -oL "$program" >"$scratch/$name" 2>&1 </dev/null &
	server=$!
	for _ in {1..200}; do
		grep -q 'port [0-9]' "$scratch/$name" && break
		sleep 0.05
	done
	port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$scratch/$name")
	if [ -z "$port" ]; then
		fail "$name does not start"
		cat "$scratch/$name"
	else
		exchange "$port" && exchange "$port" || fail "$name does not echo"
		kill -0 $server 2>/dev/null || fail "$name has ended: $(tail -n 3 "$scratch/$name")"
	fi
	kill -KILL $server 2>/dev/null
	wait $server 2>/dev/null
done
finish
