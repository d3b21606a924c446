#!/bin/sh
# SPDX-License-Identifier: MIT
# qemu-io and qemu-img bench with aio=native. QEMU imports io_setup, io_submit and io_destroy alone: it sleeps on an eventfd and takes events from the
# ring itself. Patterns are written, and checked when they are read.

. "$(dirname -- "$0")/libaio.sh"

need qemu-img qemu-io
make_work
qemu-img create -q -f raw "$work/disk" 16M || fail "qemu-img create"
qemu-img bench -c 1 -d 1 -n -t none -i native -f raw "$work/disk" >/dev/null 2>&1 || skip "this qemu-img has no aio=native"

for name in $SIGEVEC_ENGINES; do
	with_engine "$name"
	what="qemu-io"
	set --
	for i in 0 1 2 3 4 5 6 7; do set -- "$@" -c "aio_write -P $((65 + i)) $((i * 256))k 256k"; done
	set -- "$@" -c aio_flush
	for i in 0 1 2 3 4 5 6 7; do set -- "$@" -c "read -P $((65 + i)) $((i * 256))k 256k"; done
	run 60 "$work/under" qemu-io -n -t none -i native -f raw "$@" "$work/disk"
	! grep -qi 'pattern verification failed\|error' "$work/log" || fail "not what was written"
	proved_aio 16 io_setup io_submit io_destroy
	for write in "" -w; do
		what="qemu-img bench $write"
		run 60 "$work/under" qemu-img bench -c 2000 -d 32 -s 4096 -n -t none -i native $write -f raw "$work/disk"
		proved_aio 1000 io_setup io_submit io_destroy
	done
done
finish
