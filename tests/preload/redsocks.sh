#!/bin/sh
# SPDX-License-Identifier: MIT
# redsocks, whose connections are bufferevents, with libsigevec_event preloaded: it gives what it accepts to a SOCKS 5 proxy, and what passes through it, in
# both directions of many connections at once, comes out byte for byte, and the end of each side after its last byte.

. "$(dirname -- "$0")/lib.sh"

clients=24 bytes=600000 piece=90000

need redsocks python3
find_event_library
own_network "$@"
make_work
server=
stop() {
	[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null
	server=
}
trap 'stop; cleanup' EXIT

cat >"$work/config" <<END
base { log_debug = off; log_info = on; log = stderr; daemon = off; redirector = generic; }
redsocks { local_ip = 127.0.0.1; local_port = 11201; ip = 127.0.0.1; port = 11200; type = socks5; }
END

for name in $SIGEVEC_ENGINES; do
	with_event_engine "$name"
	rm -f "$work"/bind.* "$work"/stats*
	"$work/under" redsocks -c "$work/config" >"$work/redsocks.log" 2>&1 </dev/null &
	server=$!
	listening "$server" 11201 || { cp "$work/redsocks.log" "$work/log"; fail "redsocks does not begin"; }
	timeout -k 5 240 python3 "$preload_dir/relay.py" 11201 11200 "$clients" "$bytes" "$piece" socks >"$work/log" 2>&1 || fail "$(tail -n 1 "$work/log")"
	stop
	proved_bufferevents
done
finish
