#!/bin/sh
# SPDX-License-Identifier: MIT
# sslsplit, whose connections are bufferevents of OpenSSL, with libsigevec_event preloaded: what passes through it, in both directions of many
# connections at once, comes out byte for byte. Not plain TCP: there it stalls now and then on libevent's own bufferevents, too.

. "$(dirname -- "$0")/lib.sh"

need sslsplit openssl python3
find_event_library
own_network "$@"
ip address add 10.77.0.1/32 dev lo # it asks for addresses of a kind that the machine has, and loopback's are none
make_work

what="a certificate"
run 60 openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/key" -out "$work/certificate" -days 30 -subj /CN=sslsplit

for name in $SIGEVEC_ENGINES; do
	with_event_engine "$name"
	rm -f "$work"/bind.* "$work"/stats*
	# -u: it leaves root for an account, and the statistics must stay where they can be written.
	"$work/under" sslsplit -u "$(id -un)" -k "$work/key" -c "$work/certificate" \
		ssl 127.0.0.1 11202 127.0.0.1 11200 >"$work/sslsplit.log" 2>&1 </dev/null &
	server=$!
	listening "$server" 11202 || { cp "$work/sslsplit.log" "$work/log"; fail "sslsplit does not begin"; }
	what=tls
	relay 11202 16000 tls "$work/certificate" "$work/key"
	stop_server
	proved_bufferevents
done
finish
