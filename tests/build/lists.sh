#!/bin/bash
# SPDX-License-Identifier: MIT
# Every file of the tree is in a list of a Makefile.inc: forgotten sources are not built, forgotten tests do not run,
# and both are missing in the release.
. "$(dirname "$0")/common.sh"
cd "$top_srcdir" || exit 99

declare -A listed
while read -r name; do listed[$name]=1; done < <(find . -name Makefile.inc -exec cat {} + | tr -s '[:space:]=' '\n' | grep /)
while read -r file; do
	name=${file#./}
	# A program is listed by its name, its source being NAME.cpp.
	[ "${listed[$name]-}${listed[${name%.cpp}]-}" ] || fail "$name is in no list"
done < <(find ./include ./lib ./compat ./kmod ./tests ./man ./tools ./examples ./bench ./cmake -type f \
	! -name Makefile.inc ! -name '*.o' ! -name '*.lo' ! -name '.dirstamp' ! -name '*.log' ! -name '*.trs' ! -name '*~' \
	! -path '*/.*/*' \( -name '*.*' -o -perm -u+x \) ! -name 'lt-*')
finish
