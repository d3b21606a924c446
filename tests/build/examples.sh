#!/bin/bash
# SPDX-License-Identifier: MIT
# Every program of examples/ is run by a test: the echo servers and the proxy here, with many connections at once, the others by tests
# of their own. And each says at its top what it shows.
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

# start NAME ARGUMENT...: sets server and port; false: it has not begun
start() {
	local name=$1
	shift
	port=
	server=
	[ -x "$top_builddir/examples/$name" ] || {
		fail "there is no examples/$name"
		return 1
	}
	stdbuf -oL "$top_builddir/examples/$name" "$@" >"$scratch/$name" 2>&1 </dev/null &
	server=$!
	for _ in {1..200}; do
		grep -q 'port [0-9]' "$scratch/$name" && break
		sleep 0.05
	done
	port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$scratch/$name")
	[ -n "$port" ] || {
		fail "$name does not start: $(cat "$scratch/$name")"
		return 1
	}
}
stop() {
	[ -z "$1" ] || kill -KILL "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}

for name in $servers; do
	if start "$name"; then
		exchange "$port" && exchange "$port" || fail "$name does not echo"
		kill -0 "$server" 2>/dev/null || fail "$name has ended: $(tail -n 3 "$scratch/$name")"
	fi
	stop "$server"
done

# Through the proxy: many connections, and one with more than fits into any buffer on the way.
long_one() {
	local one sender
	exec {one}<>"/dev/tcp/127.0.0.1/$1" || return
	head -c 20000000 /dev/urandom >"$scratch/sent"
	cat "$scratch/sent" >&"$one" &
	sender=$!
	timeout 60 head -c 20000000 <&"$one" >"$scratch/came"
	wait "$sender"
	exec {one}>&-
	cmp -s "$scratch/sent" "$scratch/came"
}
if start echo_server; then
	behind=$server
	if start proxy "$port"; then
		exchange "$port" && exchange "$port" || fail "the proxy does not pass on lines"
		long_one "$port" || fail "the proxy does not pass on 20 MB"
		kill -TERM "$server"
		wait "$server" || fail "the proxy has ended with $?"
		grep -q '^4[0-9]* bytes received, 0 of them' "$scratch/proxy" || fail "the proxy counts: $(tail -n 1 "$scratch/proxy")"
	fi
	stop "$server"
	stop "$behind"
fi
finish
