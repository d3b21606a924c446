#!/bin/sh
# SPDX-License-Identifier: MIT
# xrdcp from file to file: its local file handler reads and writes with aio_read64 and aio_write64 and
# SIGEV_THREAD. Copies of several sizes and chunk sizes are compared byte by byte.

. "$(dirname -- "$0")/lib.sh"

need xrdcp cmp
make_work
HOME=$work
export HOME

# copy BYTES CHUNK PARALLEL
copy() {
	what="$1 bytes in chunks of $2, $3 at once"
	head -c "$1" /dev/urandom >"$work/from"
	rm -f "$work/to"
	run 40 env XRD_CPCHUNKSIZE="$2" XRD_CPPARALLELCHUNKS="$3" "$work/under" \
		xrdcp --nopbar --force "$work/from" "$work/to"
	cmp "$work/from" "$work/to" || fail "the copy differs"
	chunks=$((($1 + $2 - 1) / $2))
	proved $((2 * chunks)) aio_read64 aio_write64 aio_return64
}

for name in $SIGEVEC_ENGINES; do
	with_engine "$name"
	copy 1 8388608 4
	copy 30000001 8388608 4
	copy 10000000 65536 16
	copy 1000003 4096 64
done
finish
