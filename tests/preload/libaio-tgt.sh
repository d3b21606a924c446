#!/bin/sh
# SPDX-License-Identifier: MIT
# tgtd, an iSCSI target, with its backing store on libaio (--bstype aio): it reads and writes with O_DIRECT, is told by an eventfd, and takes what it
# is told of by io_getevents. QEMU's iSCSI initiator writes patterns and checks them; another look is at the file.

. "$(dirname -- "$0")/libaio.sh"

need tgtd tgtadm qemu-io
own_network "$@"
make_work
qemu-io -c quit -f raw "iscsi://127.0.0.1:1/none/1" 2>&1 | grep -qi 'unknown protocol' && skip "this qemu-io has no iSCSI"
TGT_IPC_SOCKET=$work/socket
export TGT_IPC_SOCKET
target=
stop() {
	[ -z "$target" ] || { kill -9 "$target"; wait "$target"; } 2>/dev/null
	target=
}
trap 'stop; cleanup' EXIT

admin() { tgtadm --lld iscsi "$@" >>"$work/log" 2>&1; }

start() {
	rm -f "$work"/bind.* "$work"/stats* "$work"/socket*
	"$work/under" tgtd -f --iscsi portal=127.0.0.1:3260 >"$work/log" 2>&1 </dev/null &
	target=$!
	for _ in $(seq 300); do
		! admin --mode sys --op show || break
		kill -0 "$target" 2>/dev/null || fail "tgtd has ended"
		sleep 0.1
	done
	admin --mode target --op new --tid 1 -T iqn.test:one || fail "no target"
	admin --mode logicalunit --op new --tid 1 --lun 1 --bstype aio -b "$work/disk" || fail "no unit"
	admin --mode target --op bind --tid 1 -I ALL || fail "not bound"
}

for name in $SIGEVEC_ENGINES; do
	with_engine "$name"
	what="tgtd"
	rm -f "$work/disk"
	truncate -s 16M "$work/disk"
	start
	set --
	for i in 0 1 2 3 4 5 6 7; do set -- "$@" -c "aio_write -P $((65 + i)) $((i * 512))k 512k"; done
	set -- "$@" -c aio_flush
	for i in 0 1 2 3 4 5 6 7; do set -- "$@" -c "read -P $((65 + i)) $((i * 512))k 512k"; done
	timeout -k 5 60 qemu-io -f raw "$@" iscsi://127.0.0.1/iqn.test:one/1 >"$work/log" 2>&1 || fail "qemu-io"
	! grep -qi 'pattern verification failed\|error' "$work/log" || fail "not what was written"
	stop
	qemu-io -f raw -c "read -P 66 512k 512k" "$work/disk" >"$work/log" 2>&1
	! grep -qi 'pattern verification failed\|error' "$work/log" || fail "not what the file has"
	proved_aio 16 io_setup io_submit io_getevents
done
finish
