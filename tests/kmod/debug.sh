# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The kernel module on a Linux 6.12 with KASAN, UBSAN, lockdep, kmemleak and fault injection: make check-kmod-debug. Beside the usual tests:
# an ioctl fuzzer, failing allocations, leaks. The kernel's log must stay clean.
: "${module_programs=faults hostile transfers notify pools library card fuzz}"
. "$(dirname "$0")/run.sh"

more() {
	cat <<-'END'
		echo scan >/sys/kernel/debug/kmemleak
		sleep 1
		echo scan >/sys/kernel/debug/kmemleak
		run "nothing leaks" sh -c '! grep . /sys/kernel/debug/kmemleak'
		run "the modules can be unloaded" sh -c 'rmmod sigevec && rmmod sigevec_test && ! [ -e /dev/sigevec ]'
	END
}

skip_with_sanitizer "the guests run programs without"
find_tools
: "${SIGEVEC_DEBUG_KERNEL:=$top_builddir/kernels/debug}"
"$top_srcdir/tests/kmod/debug-kernel" "$SIGEVEC_DEBUG_KERNEL" || skip "there is no debugging kernel"
headers=$SIGEVEC_DEBUG_KERNEL/build
image=$headers/arch/x86/boot/bzImage
modules=$headers/none
version="6.12 (debug)"
guest_seconds=3600
export GUEST_TEST_SECONDS=900
run_guest 2G more
