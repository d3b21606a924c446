#!/bin/sh
# SPDX-License-Identifier: MIT
# fio with ioengine=posixaio on files: random reads, writes, mixed with fsync; buffered and O_DIRECT; one and
# four jobs, as processes and as threads. fio checks what it reads (crc32c in every block); data written
# under the library is checked by an fio without it, and the other way round.

. "$(dirname -- "$0")/lib.sh"

need fio
make_work

size=2m
blocks=512
out="--eta=never --group_reporting --fallocate=none"
check="--verify=crc32c --verify_fatal=1 --verify_dump=0"

fio_under() { run 40 "$work/under" fio $out --bs=4k --size=$size --ioengine=posixaio "$@"; }
fio_plain() { run 40 fio $out --bs=4k --size=$size --ioengine=psync "$@"; }

# io_count DIRECTION COUNT: fio says that it issued so many reads or writes.
io_count() {
	n=$(sed -n 's/.*issued rwts: total=\([0-9]*\),\([0-9]*\),.*/\1 \2/p' "$work/log" |
		awk -v d="$1" '{ s += d == "read" ? $1 : $2 } END { print s + 0 }')
	[ "$n" -ge "$2" ] || fail "fio issued $n ${1}s, expected $2"
}

reads() { # MODE OPTIONS...: blocks written by a plain fio are read and checked
	what="randread $*"
	fio_under --name=job --filename="$work/verified" --rw=randread --iodepth=16 $check "$@"
	io_count read $blocks
	proved $blocks aio_read64 aio_error64 aio_return64 aio_suspend64
}

writes() { # written and read back under the library, then checked once more by a plain fio
	what="randwrite $*"
	fio_under --name=job --filename="$work/written" --rw=randwrite --iodepth=16 --do_verify=1 $check "$@"
	io_count write $blocks
	proved $((2 * blocks)) aio_write64 aio_read64 aio_error64 aio_return64
	what="plain read of what randwrite $* wrote"
	fio_plain --name=job --filename="$work/written" --rw=read $check
	rm -f "$work/written"
}

mixed() { # reads and writes in flight together, aio_fsync between them, blocks read back soon after
	what="randrw with fsync $*"
	fio_under --name=job --filename="$work/mixed" --rw=randrw --fsync=64 --iodepth=16 \
		--do_verify=1 --verify_backlog=32 $check "$@"
	proved $blocks aio_read64 aio_write64 aio_fsync64 aio_error64 aio_return64
	rm -f "$work/mixed"
}

four_jobs() { # four jobs, each with its own file, then all on one file
	what="4 jobs $*"
	fio_under --name=job --directory="$work" --numjobs=4 --rw=randwrite --iodepth=8 --do_verify=1 $check "$@"
	io_count write $((4 * blocks))
	proved $((4 * blocks)) aio_write64 aio_read64 aio_error64 aio_return64
	rm -f "$work"/job.*
	what="4 readers of one file $*"
	fio_under --name=job --filename="$work/verified" --numjobs=4 --rw=randread --iodepth=8 $check "$@"
	io_count read $((4 * blocks))
	proved $((4 * blocks)) aio_read64 aio_error64 aio_return64
}

what="preparation"
fio_plain --name=job --filename="$work/verified" --rw=write --do_verify=0 --end_fsync=1 $check

for name in $SIGEVEC_ENGINES; do
	with_engine "$name"
	reads --direct=0
	reads --direct=1
	reads --direct=1 --thread
	writes --direct=0
	writes --direct=1
	mixed --direct=0
	mixed --direct=1
	four_jobs --direct=1
	four_jobs --direct=1 --thread
	four_jobs --direct=0 --thread
done
finish
