#!/bin/sh
# SPDX-License-Identifier: MIT
# coturn's server, whose TCP connections are bufferevents, with libsigevec_event preloaded: no message is lost between its clients but by UDP sockets that
# were full, which the kernel counts. Between TCP clients the server relays by TCP (RFC 6062) and by UDP. Part of `make check-deep'.
#
# The client gives up on messages after a time of its own: what a busy machine delays counts as lost there. So a loss that no counter explains is one if it
# comes in every attempt, and libevent's own bufferevents lose nothing in the same time.

. "$(dirname -- "$0")/lib.sh"

clients=40 messages=50
attempts=4

find_library
find_event_library
need turnserver turnutils_uclient
make_work
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; cleanup' EXIT

# start ENVIRONMENT...: a server that listens on $port
start() {
	port=$((20000 + $$ % 9000))
	for _ in 1 2 3 4 5 6 7 8; do
		port=$((port + 7))
		rm -f started db
		env "$@" turnserver -n --no-auth --no-tls --no-dtls --no-cli --allow-loopback-peers -L 127.0.0.1 -p "$port" -m 2 -v \
			--log-file=stdout --simple-log --pidfile "$work/pid" --db "$work/db" >started 2>&1 </dev/null &
		server=$!
		for _ in $(seq 100); do
			grep -q 'Total General servers' started && grep -q "TCP listener opened on : 127.0.0.1:$port" started && return
			kill -0 "$server" 2>/dev/null || break
			sleep 0.1
		done
		stop
	done
	skip "turnserver does not start: $(tail -n 1 started)"
}

stop() {
	kill "$server" 2>/dev/null
	wait "$server" 2>/dev/null
	server=
}

# Datagrams that found no room, so far.
dropped() { awk '$1 == "Udp:" { line++; for (i = 2; i <= NF; i++) if (line == 1) name[i] = $i; else if (name[i] ~ /^(Rcvbuf|Sndbuf)Errors$/) n += $i } END { print n + 0 }' /proc/net/snmp; }

# exchange OPTIONS...: sets $sent, $lost (unexplained) and $by_udp
exchange() {
	before=$(dropped)
	run 120 turnutils_uclient "$@" -n "$messages" -m "$clients" -l 200 -z 5 -p "$port" 127.0.0.1
	by_udp=$(($(dropped) - before))
	sent=$(sed -n 's/.*: start_mclient: tot_send_msgs=\([0-9]*\), tot_recv_msgs=.*/\1/p' log | tail -n 1)
	received=$(sed -n 's/.*: start_mclient: tot_send_msgs=[0-9]*, tot_recv_msgs=\([0-9]*\).*/\1/p' log | tail -n 1)
	[ "${sent:-0}" -gt 0 ] || fail "the client has sent nothing"
	lost=$((sent - received - by_udp))
	[ "$lost" -ge 0 ] || lost=0
}

# Whether there is an attempt in which nothing is lost; if not, whether libevent loses something as well.
loses_nothing() {
	for _ in $(seq "$attempts"); do
		start LD_PRELOAD="$event_lib" LD_DEBUG=bindings LD_DEBUG_OUTPUT="$work/bound" $engine_variable
		exchange "$@"
		stop
		cat "$work"/bound.* | grep -q 'libsigevec_event.so.1.*bufferevent_socket_new' || fail "bufferevent_socket_new is not ours"
		rm -f "$work"/bound.*
		echo "engine=$engine $*: $sent sent, $lost lost, $by_udp by full UDP sockets"
		[ "$lost" -gt 0 ] || return 0
	done
	start LD_PRELOAD=
	exchange "$@"
	stop
	echo "libevent's own $*: $sent sent, $lost lost, $by_udp by full UDP sockets"
	[ "$lost" -gt 0 ]
}

for name in $SIGEVEC_ENGINES; do
	engine=$name
	engine_variable=
	[ "$engine" = default ] || engine_variable=SIGEVEC_ENGINE=$engine
	for relay in "-t -y -c" "-T"; do
		what="relay $relay"
		# shellcheck disable=SC2086
		loses_nothing $relay || fail "messages are lost in $attempts of $attempts attempts, and none by libevent's own"
		passed=$((passed + 1))
	done
done
finish
