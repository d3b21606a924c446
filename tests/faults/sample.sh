#!/bin/bash
# SPDX-License-Identifier: MIT
# A minute of failing system calls, by a seed of the day: tests/faults/inject --seed S gives the same ones again, --only NAME one.
. "$(dirname "$0")/../build/common.sh"
[ -z "$SIGEVEC_SANITIZER" ] || skip "the sanitizer makes system calls of its own"
"$top_builddir/tests/faults/inject" --seconds "${SIGEVEC_FAULTS_SECONDS:-50}"
status=$?
[ $status != 77 ] || skip "no user notification of system calls here"
[ $status = 0 ] || fail "a failing system call is not survived"
finish
