#!/bin/bash
# SPDX-License-Identifier: MIT
# The tests of endpoints, which know only the rules, by every provider of libfabric's that can be one here: the contract tests run by tcp,
# and this runs the same programs by the others. What a provider lacks is said by its name. With SIGEVEC_LONG all programs, and providers
# that nobody should use any more; otherwise those that show that bytes arrive.
. "$(dirname "$0")/common.sh"
[ -e "$top_builddir/libsigevec_fabric.la" ] || skip "built without libfabric"
skip_with_sanitizer "libfabric is not built with the sanitizer"
providers="net shm verbs efa"
programs="messages transfers"
[ -z "${SIGEVEC_LONG-}" ] || {
	providers="net net;ofi_rxm sockets shm verbs efa"
	programs="messages transfers peers rules kills hostile"
}
"$SIGEVEC_TOOL" info --fabric >"$scratch/info" || fail "info --fabric: exit $?"

ran=0
for provider in $providers; do
	for program in $programs; do
		file=$top_builddir/tests/contract/fabric_$program
		[ -x "$file" ] || fail "there is no $file"
		SIGEVEC_FABRIC_PROVIDER=$provider BOOST_TEST_COLOR_OUTPUT=0 timeout -k 5 400 "$file" </dev/null >"$scratch/output" 2>&1
		status=$?
		if [ $status = 77 ]; then
			reason=$(grep -E "^fabric  $provider(;[a-z_]*)?  *no " "$scratch/info" | head -n 1 | sed 's/^fabric  [^ ]*  *no  *//')
			[ -n "$reason" ] || fail "$provider is skipped, and \`sigevec info --fabric' knows no reason: $(tail -n 1 "$scratch/output")"
			echo "$provider skipped: $reason"
			break
		elif [ $status = 0 ]; then
			ran=$((ran + 1))
			echo "$provider $program: ok"
		else
			tail -n 40 "$scratch/output"
			fail "$provider $program: exit $status"
		fi
	done
done
[ $ran -gt 0 ] || [ "$failures" != 0 ] || skip "libfabric has no other provider here: $(tr '\n' ' ' <"$scratch/info")"
finish
