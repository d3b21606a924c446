#!/bin/sh
# SPDX-License-Identifier: MIT
# redsocks, whose connections are bufferevents, with libsigevec_event preloaded: it gives what it accepts to a SOCKS 5 proxy, and what passes through it, in
# both directions of many connections at once, comes out byte for byte, and the end of each side after its last byte.

. "$(dirname -- "$0")/lib.sh"

need redsocks python3
find_event_library
own_network "$@"
make_work

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
	relay 11201 90000 socks
	stop_server
	proved_bufferevents
done
finish
