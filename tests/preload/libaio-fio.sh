#!/bin/sh
# SPDX-License-Identifier: MIT
# fio with ioengine=libaio: random reads and writes, mixed with fsync; buffered and O_DIRECT; events by io_getevents and from the ring itself
# (userspace_reap). fio checks what it reads; what was written under the library is read by an fio without it.

. "$(dirname -- "$0")/libaio.sh"

need fio
fio --enghelp | grep -q '^[[:space:]]*libaio$' || skip "fio has no ioengine libaio"
make_work

blocks=512
out="--eta=never --group_reporting --fallocate=none --bs=4k --size=2m"
check="--verify=crc32c --verify_fatal=1 --verify_dump=0"

fio_under() { run 60 "$work/under" fio $out --ioengine=libaio --iodepth=16 "$@"; }

both() { # OPTIONS...
	what="randwrite $*"
	fio_under --name=job --filename="$work/written" --rw=randwrite --do_verify=1 $check "$@"
	proved_aio $((2 * blocks)) io_setup io_submit io_getevents io_destroy
	what="plain read of what randwrite $* wrote"
	run 60 fio $out --name=job --filename="$work/written" --rw=read --ioengine=psync $check
	rm -f "$work/written"
	what="randrw with fsync $*"
	fio_under --name=job --filename="$work/mixed" --rw=randrw --fsync=32 --do_verify=1 --verify_backlog=32 $check "$@"
	proved_aio $blocks io_submit io_getevents
	rm -f "$work/mixed"
}

for name in $SIGEVEC_ENGINES; do
	with_engine "$name"
	for direct in 0 1; do
		both --direct=$direct
		both --direct=$direct --userspace_reap
	done
	both --direct=1 --iodepth_batch=8 --iodepth_batch_complete_min=1 --iodepth_batch_complete_max=16 --thread
done
finish
