#!/bin/bash
# SPDX-License-Identifier: MIT
# examples/ether_notify is woken by the frames that come over a cable of virtual Ethernet devices, in a network namespace of its own.
. "$(dirname "$0")/common.sh"
program=$top_builddir/examples/ether_notify
[ -x "$program" ] || fail "there is no $program"
if [ -z "${ETHER_NOTIFY_INSIDE:-}" ]; then
	unshare -n true 2>/dev/null || skip "no right to make network namespaces"
	ETHER_NOTIFY_INSIDE=1 exec unshare -n bash "$0"
fi
{
	ip link add e0 type veth peer name e1 && ip link set e0 arp off up && ip address add 10.66.0.1/24 dev e1 && ip link set e1 up &&
		ip neighbour add 10.66.0.2 lladdr 02:00:00:00:00:02 dev e1
} 2>/dev/null || skip "no virtual Ethernet devices, or no program ip (iproute2)"

timeout -k 1 60 "$program" e0 3 >"$scratch/output" 2>&1 &
while kill -0 $! 2>/dev/null; do
	if grep -q '^ether_open:' "$scratch/output"; then
		skip "$(cat "$scratch/output")"
	fi
	grep -q waiting "$scratch/output" && echo x 2>/dev/null >/dev/udp/10.66.0.2/9
	sleep 0.05
done
wait $! || fail "exit $?"
[ "$(grep -c 'bytes from .* type ' "$scratch/output")" -ge 3 ] || {
	cat "$scratch/output"
	fail "not three frames"
}
ip link show dev e0 | grep -q xdp && fail "the program is still on the device"
finish
