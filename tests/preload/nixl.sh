#!/bin/sh
# SPDX-License-Identifier: MIT
# The pattern of NIXL's POSIX plugin (nixl.c): thousands of requests on O_DIRECT files, polled by aio_error, some cancelled, some of files that are
# closed. What comes is what was written.

. "$(dirname -- "$0")/lib.sh"

need "${CC:-cc}"
make_work
what="building"
run 60 "${CC:-cc}" -O1 -w -o "$work/nixl" "$preload_dir/nixl.c"
for name in $SIGEVEC_ENGINES; do
	with_engine "$name"
	what="polled by aio_error"
	run 60 "$work/under" "$work/nixl"
	grep -q ' right$' "$work/log" || fail "no end"
	proved 5000 aio_read aio_write aio_error aio_return aio_cancel
done
finish
