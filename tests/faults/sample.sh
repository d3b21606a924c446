#!/bin/bash
# SPDX-License-Identifier: MIT
# Twenty seconds of failing system calls (in check-deep five minutes), by a seed of the day: tests/faults/inject --seed S gives the same ones again, --only NAME one.
# Before them those that have found something, each with a scenario that it was found in.
. "$(dirname "$0")/../build/common.sh"
[ -z "$SIGEVEC_SANITIZER" ] || skip "the sanitizer makes system calls of its own"

once_found=(
	"accept_connect:fcntl:[^:]*:1:ENOMEM:"         # the table of descriptors was said to be full
	"aio_connection:(fcntl|ppoll):[^:]*:1:ENOMEM:" # the same; what poll() did not tell was taken for ready, for ever
	"queue:recvmsg:[^:]*:1:ENOMEM:"                # what could not be received was asked for, for ever
)

inject() {
	"$top_builddir/tests/faults/inject" "$@"
	local status=$?
	[ $status != 77 ] || skip "no user notification of system calls here"
	[ $status = 0 ] || fail "a failing system call is not survived"
}

for pattern in "${once_found[@]}"; do
	inject --only "$pattern" "${pattern%%:*}"
done
inject --seconds "${SIGEVEC_FAULTS_SECONDS:-20}"
finish
